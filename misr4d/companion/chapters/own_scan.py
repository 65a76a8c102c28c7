"""Chapter 13, a scan of one's own: figures, tables and words on a stand-in for one."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from numpy.typing import NDArray

from misr4d import plotting
from misr4d.companion.chapters.drawing import dose_ticks
from misr4d.companion.chapters.tables import minus, table
from misr4d.companion.demo import (
    Comparison,
    StandIn,
    Truth,
    compare_with_truth,
    make_stand_in,
)
from misr4d.companion.recorded import Case, all_recorded
from misr4d.io.reading import read_scan
from misr4d.io.scan import Scan
from misr4d.report.preparation import Prepared, prepare
from misr4d.report.reconstruct import reconstruct_scan
from misr4d.report.report import Report
from misr4d.specimens.fetch import DATASETS

__all__ = [
    "calibrated",
    "cases",
    "defocus_power",
    "detector",
    "estimate_all",
    "estimate_table",
    "estimates",
    "images",
    "published",
    "quantities",
    "scores",
    "seen",
]

DEFOCUS_GOAL, ROTATION_GOAL = 2.0, 0.5  # % and deg, at the highest dose
ESTIMATE, TRUTH = "#332288", "#d55e00"


def quantities(scan: Scan, truth: Truth) -> str:
    """Write what the file says of the scan and what it does not, as a table."""
    known = [
        [
            name.replace("_", " "),
            " × ".join(f"{v:.6g}" for v in np.atleast_1d(q.value)) + f" {q.unit}",
            "the file",
        ]
        for name, q in scan.known.items()
    ]
    hidden = (
        ("defocus", f"{truth.defocus:.1f} Å under focus, from the specimen's middle"),
        ("rotation", f"{truth.rotation:.2f}°"),
        ("transposed", "yes" if truth.transposed else "no"),
        ("centre", f"({truth.centre[0]:.2f}, {truth.centre[1]:.2f}) pixels"),
        ("drift", f"({truth.drift[0]:.3f}, {truth.drift[1]:.3f}) Å a line"),
        ("dose", plotting.dose_label(truth.dose)),
        ("bad pixels", f"{int(truth.hot.sum())} hot, {int(truth.dead.sum())} dead"),
    )
    rows = [*known, *([name, value, "nobody"] for name, value in hidden)]
    return table(["quantity", "value", "who says it"], rows)


def detector(scan: Scan, ready: Prepared, truth: Truth, title: str) -> Figure:
    """Draw the mean pattern, its bad pixels and disc, and the electrons of each position."""
    seen, disc = ready.detector, ready.detector.disc
    figure = Figure(figsize=(7.4, 2.6), layout="constrained")
    axes = figure.subplots(1, 3)
    good = seen.mean[~seen.bad]
    axes[0].imshow(np.sqrt(seen.mean), cmap="gray", vmax=np.sqrt(good.max() * 3))
    axes[0].set_title("mean pattern as recorded")
    axes[1].imshow(np.sqrt(np.where(seen.bad, np.nan, seen.mean)), cmap="gray", vmin=0)
    axes[1].imshow(np.where(seen.bad, 1.0, np.nan), cmap="autumn", vmin=1, vmax=2)
    for centre, style in ((disc.centre, "-"), (truth.centre, ":")):
        axes[1].add_patch(
            Circle(centre[::-1], disc.radius, fill=False, color="#56b4e9", lw=1.2, ls=style)
        )
    axes[1].plot(*truth.centre[::-1], "x", color=TRUTH, ms=6)
    axes[1].plot(*disc.centre[::-1], "+", color="#56b4e9", ms=8)
    axes[1].set_title("bad pixels (red), fitted disc")
    for panel in axes[:2]:
        panel.set(xticks=[], yticks=[])
    # Electrons of each position in good pixels, over the area of a step.
    area = float(np.prod(scan.known["step"].value))
    totals = np.where(seen.bad, 0, scan.patterns).sum((2, 3)) / area
    axes[2].hist(totals.ravel(), bins=30, density=True, color="0.75", label="positions")
    axis = np.linspace(totals.min(), totals.max(), 200)
    mean = totals.mean()
    spread = np.sqrt(mean / area)
    bell = np.exp(-(((axis - mean) / spread) ** 2) / 2) / (spread * np.sqrt(2 * np.pi))
    axes[2].plot(axis, bell, color=ESTIMATE, label="counting noise")
    peak = 1.15 * bell.max()
    axes[2].vlines(ready.quantities["dose"].value, 0, peak, color="k", lw=0.8, label="estimate")
    axes[2].vlines(truth.dose, 0, peak, color=TRUTH, ls=":", label="truth")
    axes[2].set(yticks=[], xlabel="dose (e⁻/Å²)", title="electrons of each position")
    axes[2].spines["left"].set_visible(False)
    axes[2].set_ylim(0, 1.6 * bell.max())
    axes[2].set_box_aspect(1)
    axes[2].legend(fontsize=7, ncols=2, loc="upper center")
    figure.suptitle(title, fontsize=9)
    return figure


def defocus_power(
    power: Mapping[bool, NDArray[np.float64]],
    defoci: NDArray[np.float64],
    angles: NDArray[np.float64],
    estimated: Mapping[str, Any],
    truth: Truth,
    title: str,
) -> Figure:
    """Draw the power of the registered views against defocus and rotation.

    Parameters
    ----------
    power : mapping of bool to ndarray
        ``(defoci, angles)``, by whether the detector's axes are swapped.
    defoci, angles : ndarray
        [Å] and [deg].
    estimated : mapping
        Estimated ``defocus`` [Å] and ``rotation`` [deg].
    truth : Truth
    title : str
    """
    figure = Figure(figsize=(7.4, 2.6), layout="constrained")
    axes = figure.subplots(1, 3, width_ratios=[1, 1, 1.1])
    top = max(values.max() for values in power.values())
    low = min(np.median(values) for values in power.values())
    for panel, (way, values) in zip(axes, power.items(), strict=False):
        panel.imshow(
            (values - low) / (top - low),
            vmin=0,
            vmax=1,
            cmap="viridis",
            aspect="auto",
            origin="lower",
            extent=(-180, 180, defoci[0], defoci[-1]),
        )
        panel.set(
            xlabel="rotation (deg)",
            xticks=(-180, -90, 0, 90, 180),
            title="axes swapped" if way else "axes as recorded",
        )
    axes[0].set_ylabel("defocus (Å)")
    axes[0].plot(
        truth.rotation, truth.defocus, "o", ms=11, mfc="none", mec=TRUTH, mew=1.5, label="truth"
    )
    axes[0].plot(
        estimated["rotation"], estimated["defocus"], "+", ms=7, color="w", mew=1.2, label="estimate"
    )
    axes[0].legend(
        fontsize=7, labelcolor="w", loc="upper right" if truth.rotation < 0 else "upper left"
    )
    near = int(np.abs(angles - estimated["rotation"]).argmin())
    for (way, values), colour in zip(power.items(), (ESTIMATE, "0.6"), strict=True):
        label = "axes swapped" if way else "as recorded"
        axes[2].plot(defoci, (values[:, near] - low) / (top - low), color=colour, label=label)
    axes[2].vlines(truth.defocus, 0, 1.1, color=TRUTH, ls=":", label="truth")
    axes[2].vlines(estimated["defocus"], 0, 1.1, color="k", lw=0.8, label="estimate")
    axes[2].set(
        xlabel="defocus (Å)",
        ylabel="registered power (relative)",
        title=f"at {minus(estimated['rotation'], 1)}°",
        ylim=(-0.05, 1.6),
        yticks=(0, 0.5, 1),
    )
    axes[2].legend(fontsize=7, ncols=2, loc="upper center")
    figure.suptitle(title, fontsize=9)
    return figure


def _stated(row: Comparison) -> float:
    return math.nan if row.stated is None else row.stated


def scores(prepared: Prepared, truth: Truth, step: float) -> dict[str, Any]:
    """Errors of the estimates and what is stated of them.

    Parameters
    ----------
    prepared : Prepared
    truth : Truth
    step : float
        Of the scan [Å]; drift is given in steps a line.
    """
    rows = {row.name: row for row in compare_with_truth(prepared, truth)}
    return {
        "defocus": 100 * rows["defocus"].error[0] / truth.defocus,
        "defocus_stated": 100 * _stated(rows["defocus"]) / truth.defocus,
        "rotation": rows["rotation"].error[0],
        "rotation_stated": _stated(rows["rotation"]),
        "drift": math.hypot(*rows["drift"].error) / step,
        "drift_stated": _stated(rows["drift"]) / step,
        "centre": math.hypot(*rows["centre"].error),
        "dose_error": 100 * rows["dose"].error[0] / truth.dose,
        "transposed": rows["transposed"].error == (0.0,),
        "missed": -int(rows["bad pixels found"].error[0]),
        "invented": int(rows["good taken for bad"].error[0]),
    }


@lru_cache(maxsize=1)
def _stand_in(specimen: str, positions: int, seed: int) -> StandIn:
    return make_stand_in(specimen, seed=seed, positions=positions)


def calibrated(specimen: str, positions: int, dose: float, draw: int, seed: int) -> dict[str, Any]:
    """Calibrate a scan of a stand-in.

    Parameters
    ----------
    specimen : str
    positions : int
        Of the scan, each way.
    dose : float
        e⁻/Å².
    draw, seed : int
        Of the counting noise, and of the stand-in and the first draw.

    Returns
    -------
    dict
        What :func:`scores` says, or why the scan was refused, ``error``.
    """
    source = _stand_in(specimen, positions, seed)
    recording, truth = source.expose(dose, seed + draw)
    with tempfile.TemporaryDirectory() as folder:
        try:
            prepared = prepare(read_scan(recording.write(Path(folder) / "scan.h5")))
        except ValueError as error:
            return {"error": str(error)}
    return scores(prepared, truth, source.acquisition.step[0])


def cases(
    specimen: str = "Li2CoO3",
    positions: int = 48,
    doses: Sequence[float] = (30.0, 100.0, 300.0, 1000.0),
    draws: int = 2,
    seed: int = 0,
) -> list[Case]:
    """List what the study keeps for the page: arguments are its parameters, as they are there."""
    scan = {"specimen": specimen, "positions": positions, "seed": seed}
    return [
        (calibrated, {**scan, "dose": dose, "draw": draw})
        for dose, draw in product(doses, range(draws))
    ]


def estimate_all(asked: Sequence[Case]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Calibrate every scan of :func:`cases`.

    Returns
    -------
    rows, failed : list of dict
        What :func:`scores` says of each scan; and why it was refused.
    """
    rows: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    for given, found in all_recorded(asked):
        row = {"dose": given["dose"], "draw": given["draw"], **found}
        (failed if "error" in found else rows).append(row)
    return rows, failed


def estimates(rows: Sequence[Mapping[str, Any]], title: str) -> Figure:
    """Draw errors of defocus, rotation and drift against dose, with what is stated of them."""
    draws, doses = 1 + max(row["draw"] for row in rows), sorted({row["dose"] for row in rows})
    figure = Figure(figsize=(7.4, 2.4), layout="constrained")
    for panel, (key, label, goal) in zip(
        figure.subplots(1, 3, sharex=True),
        (
            ("defocus", "error of defocus (%)", DEFOCUS_GOAL),
            ("rotation", "error of rotation (deg)", ROTATION_GOAL),
            ("drift", "error of drift (steps a line)", None),
        ),
        strict=True,
    ):
        panel.errorbar(
            [row["dose"] * (1 + 0.06 * (row["draw"] - (draws - 1) / 2)) for row in rows],
            [row[key] for row in rows],
            [row[f"{key}_stated"] for row in rows],
            fmt="o",
            ms=3,
            lw=0.8,
            capsize=2,
            color=ESTIMATE,
        )
        if goal is not None:
            panel.axhspan(-goal, goal, color="0.9", lw=0)
        panel.axhline(0, color="0.6", lw=0.8)
        if key == "drift":
            panel.set_ylim(0)
        panel.set(xlabel="dose (e⁻/Å²)", ylabel=label)
        dose_ticks(panel, doses)
        panel.minorticks_off()
    figure.suptitle(title, fontsize=9)
    return figure


def estimate_table(rows: Sequence[Mapping[str, Any]], failed: Sequence[Mapping[str, Any]]) -> str:
    """Errors of every scan's estimates, as a table."""
    lines = [
        [
            f"{row['dose']:g}",
            f"{row['draw']}",
            f"{row['defocus']:+.1f} % ± {row['defocus_stated']:.1f}",
            f"{row['rotation']:+.2f}° ± {row['rotation_stated']:.2f}",
            "right" if row["transposed"] else "wrong",
            f"{row['drift']:.3f}",
            f"{row['centre']:.2f} px",
            f"{row['dose_error']:+.1f} %",
            f"{row['missed']} / {row['invented']}",
        ]
        for row in rows
    ]
    for row in failed:
        refused = f"none: {row['error'][:90]}…"
        lines.append([f"{row['dose']:g}", f"{row['draw']}", refused, *[""] * 6])
    head = ["e⁻/Å²", "draw", "defocus", "rotation", "axes", "drift", "centre", "dose", "pixels"]
    return (
        "Errors of the estimates ± what the report states; drift in steps a line; bad pixels missed / good "
        "ones taken for bad:\n\n" + table(head, lines)
    )


def images(
    ignored: Report, report: Report, truth: Truth, fits: Mapping[str, float], title: str
) -> Figure:
    """Draw what comes out with the drift ignored and with it, beside the truth.

    Parameters
    ----------
    ignored, report : Report
    truth : Truth
    fits : mapping of str to float
        Correlation of each image with the truth.
    title : str
    """
    phase = torch.from_numpy(truth.phase)
    limits = plotting.display_limits([phase - phase.mean()], 0.5)
    figure = Figure(figsize=(7.4, 5.2), layout="constrained")
    for axes, drawn_report, more, where in zip(
        figure.subplots(2, 3),
        (ignored, report),
        (", drift ignored", ""),
        ("as scanned", "straightened"),
        strict=True,
    ):
        (x, y), (dx, dy) = drawn_report.mean.shape, drawn_report.pixel
        field = (x * dx, y * dy)
        seen = drawn_report.straightened(phase)
        shown = [
            (f"{label}{more}: {fits[f'correlation, {label}{more}']:.2f}", image)
            for label, image in (("direct", drawn_report.direct), ("informed", drawn_report.mean))
        ]
        for panel, (text, image) in zip(
            axes, [*shown, (f"truth, {where}", seen - seen.mean())], strict=True
        ):
            bar = (10.0 if field[0] < 100 else 50.0) if panel is axes[0] else None
            plotting.show_image(panel, image, field, title=text, limits=limits, bar=bar)
    figure.suptitle(f"{title}, nothing given; correlation with the truth", fontsize=9)
    return figure


def published(name: str = "WS2") -> tuple[dict[str, Any], str]:
    """Reconstruct a published scan if it is in the cache.

    Returns
    -------
    outcome : dict
        The report's record, or why the scan was refused; empty if it is not here.
    text : str
        For the page.
    """
    scan = DATASETS[name]
    if not scan.path.is_file():
        return {}, (
            f"{scan.title} ({scan.licence}) is not on this machine, and this page asks nothing of "
            f"the network: `misr4d fetch {name}` gets it, and the next run of this chapter shows it here."
        )
    try:
        report = reconstruct_scan(read_scan(scan.path))
    except ValueError as error:
        return {"error": str(error)}, f"{scan.title} is in the cache, and is refused: {error}."
    return report.record(), (
        f"{scan.title} ({scan.licence}), calibrated and reconstructed as it is:\n\n"
        "```\n" + report.summary() + "\n```"
    )


def seen(
    rows: Sequence[Mapping[str, Any]],
    failed: Sequence[Mapping[str, Any]],
    doses: Sequence[float],
    fits: Mapping[str, float],
) -> str:
    """Write what was seen; arguments are what the other functions of this page return."""

    def counted(dose: float) -> int:
        return sum(row["dose"] == dose for row in rows)

    def worst(dose: float, key: str) -> float:
        values = [abs(row[key]) for row in rows if row["dose"] == dose]
        return max(values) if values else float("nan")

    high, least = doses[-1], doses[0]
    met = worst(high, "defocus") < DEFOCUS_GOAL and worst(high, "rotation") < ROTATION_GOAL
    sides = sum(row["transposed"] for row in rows)
    beyond = sum(
        abs(row[key]) > 3 * row[f"{key}_stated"] for row in rows for key in ("defocus", "rotation")
    )
    return (
        f"At {plotting.dose_label(high)} (n = {counted(high)}) the defocus was within {worst(high, 'defocus'):.1f} % of the truth and "
        f"the rotation within {worst(high, 'rotation'):.2f}°: the goal of {DEFOCUS_GOAL:g} % and "
        f"{ROTATION_GOAL:g}° is {'met' if met else 'missed'}. At {plotting.dose_label(least)} (n = {counted(least)}) they were within "
        f"{worst(least, 'defocus'):.1f} % and {worst(least, 'rotation'):.1f}°. The detector's axes were told "
        f"right in {sides} of {len(rows) + len(failed)} scans. Of {2 * len(rows)} estimates {beyond} were off "
        "by more than three of the standard errors that were stated for them. The informed image of the "
        f"stand-in correlates with the truth at {fits['correlation, informed']:.2f}, direct ptychography's at "
        f"{fits['correlation, direct']:.2f}, with nothing given but energy, step, semi-angle and detector pixel; "
        f"were the drift ignored, it would be {fits['correlation, informed, drift ignored']:.2f} and "
        f"{fits['correlation, direct, drift ignored']:.2f}."
    )
