"""What the chapter on the cryo scan draws and tabulates, also where the scan is not at hand."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from misr4d import plotting
from misr4d.calibrate.camera import CameraNoise
from misr4d.companion.bench import STUDY_FOLDER
from misr4d.companion.chapters.tables import table
from misr4d.io.scan import shown_value
from misr4d.measure.metrics import checkerboard
from misr4d.report.html import is_end
from misr4d.report.report import Report

__all__ = [
    "KEPT",
    "MISSING",
    "OWNERS",
    "REFINED_PART",
    "QuantemImage",
    "beside_quantem",
    "conclusion",
    "draw_camera",
    "draw_images",
    "draw_quantem",
    "draw_refined",
    "estimates",
    "quantem",
    "reading_of",
    "reading_of_refined",
    "relative_to_owners",
]

MISSING = (
    "**The scan is not on this machine**, so this page shows no result. `misr4d fetch cryo` "
    "fetches 331 MB from its authors' repository and keeps 66 MB; then run the notebook again."
)
OWNERS = {"defocus": 135_000.0, "radius": 1.03 / 0.033076}
"""The owners' script: defocus [Å], and semi-angle over pixel, the radius in pixels."""
KEPT = STUDY_FOLDER / "cryo_quantem.npz"
"""quantem's image of the same counts, which ``benchmarks/peers/cryo_scan.py`` makes."""

_GOAL = 0.04  # of the stated defocus: our choice
_SLOW = 500.0  # Å, half the width of a particle: our choice
_DETAIL, _FINEST = 80.0, 30.0  # Å: our choices


REFINED_PART = (slice(60, 108), slice(10, 58))
"""Positions whose image is refined: particles, and a tenth of the time that all would take."""


@dataclass(frozen=True)
class QuantemImage:
    """What quantem made of the same counts.

    Parameters
    ----------
    phase : ndarray
        On the chapter's grid of six pixels a step [rad].
    version : str
        Of quantem.
    defocus, astigmatism : float
        As quantem fitted them [Å].
    rotation : float
        As quantem fitted it, of the transposed detector [deg].
    """

    phase: NDArray[np.float64]
    version: str
    defocus: float
    astigmatism: float
    rotation: float


@cache
def quantem(path: Path = KEPT) -> QuantemImage:
    """Read quantem's image and fit.

    Raises
    ------
    ValueError
        If quantem's detector was not transposed, by which its rotation is another.
    """
    with np.load(path, allow_pickle=False) as file:
        low, width = file["scale"]
        phase = low + width * file["image"].astype(np.float64)
        made: dict[str, Any] = json.loads(str(file["made"]))
    if not made["detector transposed"]:
        raise ValueError(f"{path} is of a detector that was not transposed; make it again")
    fit = made["fitted by quantem"]
    return QuantemImage(
        phase, made["versions"]["quantem"], -fit["C10"], abs(fit["C12"]), fit["rotation"]
    )


def _nothing() -> Figure:
    """Make a figure that says that there is none."""
    figure = plt.figure(figsize=(7.4, 1.0))
    figure.text(0.5, 0.5, "The scan is not on this machine: misr4d fetch cryo", ha="center")
    return figure


def _half_turn(angle: float) -> float:
    """Angle in (−90, 90], since half a turn and the sign of the defocus are alike [deg]."""
    return 90.0 - (90.0 - angle) % 180.0


def estimates(report: Report) -> str:
    """Table of what was estimated, beside what its owners state and another program fitted."""

    def of(name: str, digits: int, scale: float = 1.0) -> str:
        q = report.quantities[name]
        values = " × ".join(f"{v / scale:.{digits}f}" for v in np.atleast_1d(q.value))
        return f"{values} ± {(q.error or 0) / scale:.{digits}f}"

    angle = _half_turn(report.quantities["rotation"].value)
    other = quantem()
    astigmatism = of("astigmatism", 0) if "astigmatism" in report.quantities else "0, see below"
    rows = (
        ("radius of the disc (pixels)", of("disc_radius", 1), f"{OWNERS['radius']:.1f}", "–"),
        (
            "defocus (µm)",
            of("defocus", 2, 1e4),
            f"{OWNERS['defocus'] / 1e4:.2f}",
            f"{other.defocus / 1e4:.2f}",
        ),
        ("drift (Å a line)", of("drift", 2), "–", "not fitted"),
        ("two-fold astigmatism (Å)", astigmatism, "–", f"{other.astigmatism:.0f}"),
        (
            "rotation, up to half a turn (°)",
            f"{angle:.1f} ± {report.quantities['rotation'].error:.1f}",
            "–",
            f"{_half_turn(other.rotation):.1f}",
        ),
        ("detector transposed", shown_value(report.quantities["transposed"].value), "–", "yes"),
    )
    return table(
        ["", "misr4d, blind", "stated by the owners", f"fitted by quantem {other.version}"], rows
    )


def relative_to_owners(report: Report) -> tuple[float, float]:
    """How far the defocus is from the stated one: as a fraction of it, and in our errors."""
    q = report.quantities["defocus"]
    difference = q.value - OWNERS["defocus"]
    return difference / OWNERS["defocus"], difference / q.error


def draw_camera(report: Report | None, noise: CameraNoise | None) -> Figure:
    """Mean pattern with its disc, variance of blocks, and ring correlation of the half-sets."""
    if report is None or noise is None:
        return _nothing()
    figure, axes = plt.subplots(1, 3, figsize=(7.4, 2.5), layout="constrained")
    disc = report.detector.disc
    axes[0].imshow(np.sqrt(report.detector.mean), cmap="gray")
    width, height, angle = _axes_of(disc.matrix, disc.radius)
    axes[0].add_patch(
        Ellipse(disc.centre[::-1], width, height, angle=angle, fill=False, color="#56b4e9", lw=1.2)
    )
    axes[0].set(xticks=[], yticks=[], title="mean pattern, fitted disc")
    axes[1].plot(noise.sides, noise.variance, "o-", ms=3, color="#332288")
    axes[1].axhline(1, color="0.6", lw=0.8)
    axes[1].text(noise.sides[-1], 1.1, "counted electrons", ha="right", fontsize=7)
    axes[1].set(
        xscale="log",
        xlabel="side of a block (pixels)",
        ylabel="variance over mean",
        ylim=(0, None),
        title="noise of the camera",
    )
    axes[1].set_xticks(noise.sides, [str(side) for side in noise.sides])
    axes[1].minorticks_off()
    for method, (frequency, curve, _) in report.curves.items():
        axes[2].plot(frequency, curve, color="#332288", label=method)
    axes[2].axhline(0.143, color="0.6", lw=0.8, ls=":")
    axes[2].set(
        xlabel="frequency (1/Å)",
        ylabel="ring correlation",
        ylim=(-0.1, 1.05),
        title="even against odd lines",
    )
    return figure


def _axes_of(matrix: object, radius: float) -> tuple[float, float, float]:
    """Width, height and angle of the disc's outline, as matplotlib draws an ellipse."""
    back = np.linalg.inv(np.array(matrix, dtype=float))[::-1, ::-1]  # x is the second axis there
    values, vectors = np.linalg.eigh(back)
    angle = float(np.degrees(np.arctan2(vectors[1, 0], vectors[0, 0])))
    return 2 * radius * float(values[0]), 2 * radius * float(values[1]), angle


def draw_images(report: Report | None) -> Figure:
    """Direct ptychography, the network on top of it, and what the network changed."""
    if report is None:
        return _nothing()
    direct, image = np.asarray(report.direct), np.asarray(report.mean)
    reach = max(abs(limit) for limit in plotting.display_limits([direct]))
    figure, axes = plt.subplots(1, 3, figsize=(7.4, 2.9), layout="constrained")
    for panel, (title, values, colours) in zip(
        axes,
        (
            ("direct ptychography", direct, "gray"),
            ("the network on top of it", image, "gray"),
            ("what the network changed", image - direct, "RdBu_r"),
        ),
        strict=True,
    ):
        extent = (0.0, values.shape[1] * report.pixel[1], values.shape[0] * report.pixel[0], 0.0)
        shown = panel.imshow(values, cmap=colours, vmin=-reach, vmax=reach, extent=extent)
        panel.set(xticks=[], yticks=[], title=title)
        plotting.scale_bar(panel, 1000.0, "1000 Å")
        figure.colorbar(shown, ax=panel, orientation="horizontal", label="phase (rad)", pad=0.02)
    return figure


def draw_refined(part: Report | None) -> Figure:
    """Direct ptychography, the network's image, the refined one, and what refinement changed."""
    if part is None:
        return _nothing()
    images = {name: np.asarray(image) for name, image in part.images.items()}
    low, high = plotting.display_limits([images["direct"]], 0.5)
    _, reach = plotting.display_limits([np.abs(images["refined"] - images["informed"])], 0.5)
    figure, axes = plt.subplots(1, 4, figsize=(7.4, 2.5), layout="constrained")
    shown = (
        ("direct ptychography", images["direct"], "gray", (low, high)),
        ("the network", images["informed"], "gray", (low, high)),
        ("refined", images["refined"], "gray", (low, high)),
        ("refined − network", images["refined"] - images["informed"], "RdBu_r", (-reach, reach)),
    )
    for panel, (title, values, colours, limits) in zip(axes, shown, strict=True):
        extent = (0.0, values.shape[1] * part.pixel[1], values.shape[0] * part.pixel[0], 0.0)
        picture = panel.imshow(values, cmap=colours, vmin=limits[0], vmax=limits[1], extent=extent)
        panel.set(xticks=[], yticks=[])
        panel.set_title(title, fontsize=8)
        plotting.scale_bar(panel, 500.0, "500 Å")
        figure.colorbar(picture, ax=panel, orientation="horizontal", label="phase (rad)", pad=0.02)
    return figure


def reading_of_refined(part: Report) -> str:
    """Say how far the electrons moved the network's image, and towards what."""
    images = {name: np.asarray(image).ravel() for name, image in part.images.items()}

    def alike(first: str, second: str) -> float:
        return float(np.corrcoef(images[first], images[second])[0, 1])

    before, after = alike("informed", "direct"), alike("refined", "direct")
    noise = part.quantities["noise"].value
    moved = "towards" if after > before else "away from"
    return (
        f"The counts vary {noise:.1f} times as much as single electrons would, so {noise:.1f} of "
        "them are weighed as one electron. With that the refinement moves the network's image "
        f"{moved} direct ptychography's: their correlation goes from {before:.2f} to {after:.2f}. "
        "What it takes back of the network's image is prior. What all three share is data."
    )


def draw_quantem(report: Report | None) -> Figure:
    """Direct ptychography beside quantem's image, each without its slow changes below."""
    if report is None:
        return _nothing()
    ours, other = np.asarray(report.direct), quantem().phase
    figure, axes = plt.subplots(2, 2, figsize=(7.4, 7.6), layout="constrained")
    for column, (title, values) in enumerate(
        (("misr4d, direct ptychography", ours), (f"quantem {quantem().version}, Wiener", other))
    ):
        extent = (0.0, values.shape[1] * report.pixel[1], values.shape[0] * report.pixel[0], 0.0)
        fine = _without_slow(values, report)
        for row, (image, what) in enumerate(
            ((values, ""), (fine, f", periods below {_SLOW:.0f} Å"))
        ):
            low, high = plotting.display_limits([image], 0.5)
            panel = axes[row, column]
            panel.imshow(image, cmap="gray", vmin=low, vmax=high, extent=extent)
            panel.set(xticks=[], yticks=[], title=title + what)
            panel.set_title(title + what, fontsize=8)
            plotting.scale_bar(panel, 1000.0, "1000 Å")
    return figure


def _without_slow(values: NDArray[Any], report: Report) -> NDArray[np.float64]:
    """Leave out periods above `_SLOW`, gradually."""
    sigma = [_SLOW / (2 * np.pi) / pixel for pixel in report.pixel]
    fine: NDArray[np.float64] = values - gaussian_filter(values.astype(float), sigma)
    return fine


def beside_quantem(report: Report) -> str:
    """Say how alike the two images are, and what each draws where the half-sets do not agree."""
    ours, other = np.asarray(report.direct), quantem().phase
    alike, fine_alike = (
        float(np.corrcoef(a.ravel(), b.ravel())[0, 1])
        for a, b in ((ours, other), tuple(_without_slow(v, report) for v in (ours, other)))
    )
    (ours_noise, _), (other_noise, peak) = (_finest(v, report) for v in (ours, other))
    return (
        "**Both programs show the same particles, the same way up.** The images correlate by "
        f"{alike:.2f}, and by {fine_alike:.2f} where periods above {_SLOW:.0f} Å are left out of "
        "both. Slow changes differ most: their transfer is weak, and each program limits their "
        f"noise in its own way. Of the power at periods below {_DETAIL:.0f} Å, {ours_noise:.0%} of "
        f"ours and {other_noise:.0%} of quantem's is at periods below {_FINEST:.0f} Å: grain in "
        f"ours, a hatch of {peak:.1f} Å in quantem's. Half-sets of lines agree to "
        f"{report.resolution['direct']['half-bit']:.0f} Å: no detail so fine should be read from "
        "either image."
    )


def _finest(values: NDArray[Any], report: Report) -> tuple[float, float]:
    """Share of the detail's power below `_FINEST`, and the period of the strongest one there."""
    window = np.multiply.outer(*(np.hanning(n) for n in values.shape))
    power = np.abs(np.fft.rfft2((values - values.mean()) * window)) ** 2
    nx, ny = values.shape
    frequency = np.hypot(
        np.fft.fftfreq(nx, report.pixel[0])[:, None], np.fft.rfftfreq(ny, report.pixel[1])
    )
    finest = np.where(frequency > 1 / _FINEST, power, 0)
    share = float(finest.sum() / power[frequency > 1 / _DETAIL].sum())
    return share, float(1 / frequency.ravel()[finest.argmax()])


def _grid_of_the_scan(values: NDArray[Any], report: Report) -> float:
    """How much power at the period of the scan stands out from what is around it."""
    period = round(report.quantities["step"].value[0] / report.pixel[0])  # pixels
    nx, ny = (n - n % period for n in values.shape)
    return checkerboard(torch.from_numpy(np.ascontiguousarray(values[:nx, :ny])), period)


def reading_of(report: Report, noise: CameraNoise) -> str:
    """Say what the estimates mean, with their numbers."""
    fraction, errors = relative_to_owners(report)
    radius = report.quantities["disc_radius"].value
    stretch = report.detector.disc.stretch
    stated = OWNERS["radius"]
    within = "within" if abs(fraction) <= _GOAL else "**not** within"
    lines = (
        f"The defocus differs from the stated one by {100 * fraction:+.1f} %, {within} our goal of "
        f"{100 * _GOAL:.0f} %, and by {abs(errors):.1f} of its own standard errors. Most of that "
        "error is the radius of the disc, whose edge is soft: the displacement of a view is "
        "defocus times angle, and angles are counted in radii.",
        f"The disc is {stretch:.2f} times as long as wide. Its radius is {radius:.1f} pixels; "
        f"semi-angle over pixel, as the owners state them, is {stated:.1f}.",
        _drift_or_astigmatism(report),
        f"The variance over the mean rises from {noise.variance[0]:.1f} in single pixels to "
        f"{noise.variance.max():.1f} in blocks, which is at most what an electron counts; the "
        f"noise of neighbouring pixels correlates by {noise.neighbours:.2f}.",
    )
    return "\n".join(f"* {line}" for line in lines)


def _drift_or_astigmatism(report: Report) -> str:
    """Say which of the two is reported, and on what evidence."""
    drift = float(np.hypot(*report.quantities["drift"].value))
    step = float(report.quantities["step"].value[0])
    both = (
        "Drift and two-fold astigmatism displace the views alike. They differ in the phase with "
        "which a view shows each frequency, so that the wrong one leaves more of the patterns "
        "unexplained by any object."
    )
    if drift:
        return f"{both} A drift of {drift:.2f} Å a line ({drift / step:.0%} of a step) is reported."
    astigmatism = float(np.hypot(*report.quantities["astigmatism"].value))
    found = f"an astigmatism of {astigmatism:.0f} Å" if astigmatism else "none that is certain"
    return (
        f"{both} By that the specimen stood still: displacements alone make it look as if it "
        f"drifted. Of astigmatism there is {found}; the other program fitted "
        f"{quantem().astigmatism:.0f} Å from the displacements."
    )


def conclusion(report: Report) -> str:
    """Say what the chapter ends with."""
    direct, image = np.asarray(report.direct), np.asarray(report.mean)
    alike = float(np.corrcoef(direct.ravel(), image.ravel())[0, 1])
    grid = [_grid_of_the_scan(values, report) for values in (direct, image)]
    limits = report.resolution.get("direct")
    finest = report.finest_ring or 0.0
    halves = "there is no half-set resolution"
    if limits is not None:
        halves = (
            f"even and odd lines agree to {finest:.0f} Å, the finest ring that was compared: the "
            "scan's resolution is not known, but no worse"
            if is_end(limits["half-bit"], finest)
            else f"even and odd lines agree to {limits['half-bit']:.0f} Å"
        )
    agrees = abs(relative_to_owners(report)[0]) <= _GOAL
    return (
        "**A published scan is reconstructed from energy, step and semi-angle alone**, and its "
        f"geometry {'agrees' if agrees else 'does not agree'} with what others found. The network's image correlates with direct "
        f"ptychography's by {alike:.2f}. By direct ptychography {halves}. The network draws "
        f"{'a' if grid[1] > 2 * grid[0] else 'no'} grid of the scan's step: power at that period "
        f"stands out {grid[1]:.1f} times from what is around it, {grid[0]:.1f} times without the "
        "network. It was trained on counted electrons, "
        "on other steps and other angles, and there is no truth: here direct ptychography is the "
        "image to look at."
    )
