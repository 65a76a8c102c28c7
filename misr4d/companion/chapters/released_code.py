"""Chapter 9, what the released code simulates: its figures, tables and words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from misr4d import plotting
from misr4d.companion.chapters.tables import table
from misr4d.companion.released import CarriedProbe, areal_dose
from misr4d.core.acquisition import Acquisition
from misr4d.core.dose import electrons_per_pixel, expose
from misr4d.measure.metrics import correlation, specimen_mask
from misr4d.measure.summary import summarise
from misr4d.reconstruction.direct import AMPLITUDE_CONTRAST, DirectPtychography
from misr4d.simulate.reciprocity import simulate_views
from misr4d.specimens.potential import Potential, truth

__all__ = [
    "Imaged",
    "agreement",
    "dose_figure",
    "image",
    "largest_table",
    "largest_values",
    "probe_figure",
    "seen",
    "size_figure",
]

DARK = 0.01  # of a lit pixel: our choice; a view below shows nothing


def agreement(
    image: Tensor, reference: Tensor, acquisition: Acquisition, scale: float = 1.0
) -> float:
    """Correlation with the truth inside a specimen that is `scale` times larger than in truth."""
    # The mask closes gaps of a few ångström between columns; enlarged ones are wider by the scale.
    x, y = (step / 3 / scale for step in acquisition.step)
    return correlation(image, reference, within=specimen_mask(reference, (x, y)))


@dataclass(frozen=True)
class Imaged:
    """A specimen by direct ptychography at one dose, several draws.

    Parameters
    ----------
    acquisition : Acquisition
    dose : float
        [e⁻/Å²].
    truth, image : Tensor
        ``(X, Y)`` [rad]: true phase, less its mean, and the image of the first draw.
    views : Tensor
        ``(M, Rx, Ry)`` without counting noise.
    scores : list of float
        Correlation inside of each draw.
    limit : float
        The same at infinite dose.
    """

    acquisition: Acquisition
    dose: float
    truth: Tensor
    image: Tensor
    views: Tensor
    scores: list[float]
    limit: float


def _draws(
    views: Tensor, acquisition: Acquisition, dose: float, draws: int, seed: int
) -> Iterator[Tensor]:
    for draw in range(draws):
        generator = torch.Generator().manual_seed(seed + draw)
        yield expose(views, acquisition, dose, generator)


def image(
    potential: Potential,
    acquisition: Acquisition,
    dose: float,
    draws: int,
    seed: int,
    *,
    regime: str,
    scale: float = 1.0,
    views: Tensor | None = None,
    direct: DirectPtychography | None = None,
) -> Imaged:
    """Simulate the views of a potential, count electrons, and reconstruct.

    Parameters
    ----------
    potential : Potential
    acquisition : Acquisition
    dose : float
        [e⁻/Å²].
    draws, seed : int
        Noise draws, and the seed of the first.
    regime : {"atomic", "molecular"}
        Whose amplitude contrast is taken.
    scale : float
        How many times larger than in truth the specimen is.
    views : Tensor, optional
        ``(M, Rx, Ry)`` without counting noise, and
    direct : DirectPtychography, optional
        the method, where they are at hand.
    """
    known = truth(potential, acquisition)
    if views is None:
        views = simulate_views(potential, acquisition)
    if direct is None:
        direct = DirectPtychography(
            acquisition.refocused(potential.thickness / 2),
            upsampling=3,
            aliases=3,
            amplitude_contrast=AMPLITUDE_CONTRAST[regime],
        )
    images = [direct(noisy) for noisy in _draws(views, acquisition, dose, draws, seed)]
    return Imaged(
        acquisition,
        dose,
        known - known.mean(),
        images[0],
        views,
        [agreement(image, known, acquisition, scale) for image in images],
        agreement(direct(views), known, acquisition, scale),
    )


def dose_figure(area: Imaged, position: Imaged, label: float) -> Figure:
    """Draw a dose in e⁻/Å² beside the same number of electrons per position."""
    columns = [
        f"{label:g} e⁻/Å²",
        f"{label:g} e⁻ per position\n= {position.dose:.1f} e⁻/Å²",
        "truth",
    ]
    images = [area.image, position.image, area.truth]
    return plotting.image_grid([("direct", images)], columns, area.acquisition.field, bar=50.0)


def size_figure(scenes: Mapping[str, Imaged], label: float) -> Figure:
    """Draw a crystal true to scale and enlarged, with the frequencies that hold its power."""
    figure = Figure(figsize=(7.4, 4.9), layout="constrained")
    grid = figure.subplots(2, 3)
    for row, (name, scene) in zip(grid, scenes.items(), strict=True):
        field, limit = scene.acquisition.field, 1 / scene.acquisition.information_limit
        limits = plotting.display_limits([scene.truth, scene.image])
        bar = 20.0 if row is grid[0] else 50.0
        title = f"direct, {label:g} e⁻ per position\n= {scene.dose:.3g} e⁻/Å²"
        plotting.show_image(row[0], scene.truth, field, title="truth", limits=limits, bar=bar)
        plotting.show_image(row[1], scene.image, field, title=title, limits=limits)
        row[0].set_ylabel(name)
        pixel, n = scene.acquisition.step[0] / 3, scene.truth.shape[0]
        power = torch.fft.fft2(scene.truth.double()).abs() ** 2
        frequency = torch.fft.fftfreq(n, pixel).abs()
        radius = (frequency[:, None] ** 2 + frequency[None, :] ** 2).sqrt().flatten()
        order = radius.argsort()
        total = power.flatten()[order].cumsum(0)
        row[2].plot(radius[order], total / total[-1], color="0.2")
        row[2].axvline(limit, color="0.6", ls="--", lw=0.8)
        row[2].set(xlim=(0, 1.1), ylim=(0, 1.02), ylabel="share of the power below")
        row[2].annotate(
            "2α/λ",
            (limit, 0.1),
            ha="right",
            xytext=(-3, 0),
            textcoords="offset points",
            fontsize=7,
            color="0.4",
        )
    grid[1, 2].set_xlabel("spatial frequency (Å⁻¹)")
    return figure


def probe_figure(
    probes: Mapping[float, CarriedProbe], whole: Tensor, cut: Tensor, rim: Acquisition
) -> Figure:
    """Draw the focused probe by wave-field sampling, and views with and without its rim.

    Parameters
    ----------
    probes : mapping
        By sampling [Å].
    whole, cut : Tensor
        Views ``(M, Rx, Ry)`` at a fine and at a coarse sampling.
    rim : Acquisition
        Of both.
    """
    angle = rim.view_angles
    edge = int(((angle - torch.tensor([8.4, 0.0])).norm(dim=1)).argmin())
    axial = int(angle.norm(dim=1).argmin())
    figure = Figure(figsize=(7.4, 2.3), layout="constrained")
    axes = figure.subplots(1, 4, width_ratios=(1.4, 1, 1, 1))
    colours = ("#d55e00", "#0072b2", "#000000")
    for (sampling, found), colour in zip(probes.items(), colours, strict=True):
        middle = found.intensity.shape[0] // 2
        line = found.intensity[middle]
        where = (np.arange(len(line)) - middle) * found.sampling
        axes[0].plot(
            where,
            line,
            color=colour,
            ls="-" if sampling != 1 / 3 else ":",
            label=f"{sampling:.2g} Å: {found.angle:.1f} mrad",
        )
    label = "probe intensity (Å⁻²)"
    axes[0].set(xlim=(-4, 4), xlabel="position (Å)", ylabel=label, ylim=(0, None))
    axes[0].legend(fontsize=6.5, loc="upper left", handlelength=1.0, borderaxespad=0)
    axes[0].set_ylim(0, axes[0].get_ylim()[1] * 1.45)
    tilt = angle[edge].norm()
    for ax, stack, index, title in (
        (axes[1], whole, edge, f"view at {tilt:.1f} mrad,\n0.5 Å sampling"),
        (axes[2], cut, edge, f"view at {tilt:.1f} mrad,\n1 Å sampling"),
        (axes[3], cut, axial, "axial view,\n1 Å sampling"),
    ):
        bar = 50.0 if ax is axes[1] else None
        shown = stack[index]
        plotting.show_image(ax, shown, rim.field, title=title, limits=(0.0, 1.4), bar=bar)
    return figure


def largest_values(
    views: Tensor, acquisition: Acquisition, numbers: Sequence[float], draws: int, seed: int
) -> dict[float, list[float]]:
    """Largest value of a counted stack of each draw, by electrons per position."""
    return {
        number: [
            float(stack.max())
            for stack in _draws(views, acquisition, areal_dose(number, acquisition), draws, seed)
        ]
        for number in numbers
    }


def largest_table(
    largest: Mapping[float, Sequence[float]], views: Tensor, acquisition: Acquisition
) -> str:
    """Write what the largest value of a stack does to its scale, as a table and in words."""
    label = min(largest)
    electrons = electrons_per_pixel(areal_dose(label, acquisition), acquisition)
    first = summarise(largest[label])
    count = first.median / float(views.mean())
    rows = [[f"{number:g}", summarise(values).text()] for number, values in largest.items()]
    rows.append(["∞", f"{float(views.max()):.2f}"])
    head = ["electrons per position", f"largest value of the stack, median ({first.ends})"]
    return f"""
{table(head, rows)}

Values are relative to a fully lit pixel. At {label:g} electrons per position a lit pixel expects
{electrons:.2f} electrons, so the largest of {views.numel():,} counts is {count:.0f} times the mean: the
same specimen reaches the network at a scale that is set by the dose and the luck of one pixel, and
its phase in radians is not recoverable from such an input.
"""


def seen(
    label: float,
    area: Imaged,
    position: Imaged,
    scenes: Mapping[str, Imaged],
    probe: CarriedProbe,
    cut: Tensor,
    outside: Mapping[float, float],
) -> str:
    """Write what was seen.

    Parameters
    ----------
    label : float
        What is called dose.
    area, position : Imaged
        The protein at this dose per area, and per position.
    scenes : mapping of str to Imaged
        The crystal true to scale and ten times larger.
    probe : CarriedProbe
        At 1 Å sampling.
    cut : Tensor
        Views ``(M, Rx, Ry)`` of it.
    outside : mapping
        Share of the released detector's pixels outside the disc, by half angle [mrad].
    """
    scale, large = scenes["true to scale"], scenes["ten times larger"]
    per_area = position.dose
    lit = float((cut.mean((1, 2)) > DARK).double().mean())
    return f"""
Executed one at a time, the differences between the released code and the paper's text change what is seen.

* **Dose.** "{label:g}" in the released code is {per_area:.1f} e⁻/Å² on the paper's protein scan, a
  factor of {label / per_area:.1f} below the unit that the paper states. Direct ptychography
  correlates with the truth inside the protein by {summarise(position.scores).text()} there, and by
  {summarise(area.scores).text()} at {label:g} e⁻/Å²
  (median and {summarise(area.scores).ends} of the draws).
* **Size.** Ten times larger, an atomic column gets
  {large.dose / scale.dose * 100:.0f} times the electrons
  and lies far from its neighbours: the lattice shows at once, and a resolution in Å that is quoted for
  it says nothing about atoms. The correlation with the truth inside is
  {summarise(large.scores).text()} against
  {summarise(scale.scores).text()} true to scale, and at infinite dose
  {large.limit:.2f} against {scale.limit:.2f}. The
  larger columns keep their full phase of up to
  {float(large.truth.max()):.1f} rad over many pixels, where true to scale the
  probe blurs it to {float(scale.truth.max()):.1f} rad: no weak-phase method is
  made for that.
* **Probe.** At 1 Å sampling abTEM carries {probe.angle:.1f} mrad of the stated 10 and {probe.share:.0%} of
  the electrons; {1 - lit:.0%} of the bright-field views are dark. At 0.5 Å and finer the probe is
  whole.
* **Views.** Of 32 × 32 pixels, {outside[13.2]:.0%} (detector to 13.2 mrad) to {outside[19.7]:.0%}
  (19.7 mrad) are dark-field pixels, which carry next to no electrons and no parallax.
* Every other page of this book uses electrons per area, crystals true to scale and whole probes;
  simulating with a cut probe is an error in this package, not a picture.
"""
