"""Chapter 1, from atoms to views: its figures, tables and words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from misr4d import plotting
from misr4d.companion import bench
from misr4d.companion.chapters.drawing import SIDE, Sheet, size_of, watch
from misr4d.companion.chapters.tables import minus, spread, table
from misr4d.companion.study import METHODS, Scene, place
from misr4d.core.acquisition import Acquisition
from misr4d.core.datacube import Datacube
from misr4d.core.dose import expose
from misr4d.learn.learned import attention_unet, informed, load_network
from misr4d.learn.networks import direct_features
from misr4d.measure.metrics import correlation, specimen_mask
from misr4d.measure.summary import plain, select, summarise
from misr4d.reconstruction.bright_field import summed_bright_field
from misr4d.reconstruction.direct import DirectPtychography
from misr4d.simulate.multislice import build_potential, simulate_datacube
from misr4d.specimens.catalogue import Specimen, make_specimen
from misr4d.specimens.potential import Potential, truth

__all__ = [
    "Defoci",
    "against_dose",
    "measurement_table",
    "nine_views",
    "reciprocity",
    "seen",
    "share_table",
    "specimen_text",
    "views_of_the_disc",
    "workflow",
]

HIGH, PITCH = 5.7, 1.43  # inches: the page of Fig. 2, one column to the next
ROWS = (4.75, 2.75, 0.8)  # inches, of the thumbnails' centres
MEASURES = ("correlation", "weighted_frc", "resolution")
MADE = ("direct", "informed")


def specimen_text(sample: Specimen, potential: Potential) -> str:
    """Say what the specimen is, and how its potential is sampled."""
    box = " × ".join(f"{side:g}" for side in sample.atoms.cell.lengths())
    formula = sample.atoms.get_chemical_formula()  # type: ignore[no-untyped-call]
    return (
        f"{sample.title}: {len(sample.atoms)} atoms ({formula}) in a box "
        f"of {box} Å; {len(potential.slices)} slices of {potential.thicknesses[0]:.2f} Å, sampled at "
        f"{potential.sampling[0]:.3f} Å. Source: {sample.source}."
    )


def measurement_table(cube: Datacube, views: Tensor, acquisition: Acquisition) -> str:
    """Quantities of the measurement, as a table."""
    a = acquisition
    rows = [
        ["energy, semi-angle", f"{a.energy / 1e3:g} keV, {a.semiangle:g} mrad"],
        ["scan", f"{a.scan_shape[0]} × {a.scan_shape[1]}, step {a.step[0]:g} Å"],
        ["defocus", f"{a.defocus:g} Å (underfocus)"],
        [
            "datacube (Rx, Ry, Qx, Qy)",
            f"{size_of(cube.patterns)}, {cube.detector_pixel[0]:.4f} mrad a pixel",
        ],
        ["views (M, Rx, Ry)", f"{size_of(views)}, {a.detector_pixel:.3f} mrad a pixel"],
        [
            "largest displacement of a view",
            f"{a.largest_view_shift:g} Å = {a.largest_view_shift / a.step[0]:g} scan steps",
        ],
        [
            "finest period: one view / ×3 output / any bright-field method",
            f"{a.nyquist_period():g} / {a.nyquist_period(3):.3f} / {a.information_limit:.3f} Å",
        ],
        ["electrons kept by the recorded patterns", f"{cube.patterns.sum((2, 3)).mean():.2%}"],
    ]
    return table(["", ""], rows)


def nine_views(acquisition: Acquisition) -> list[int]:
    """Choose nine views by where their pixel sits: three rows of three around the axial one."""
    offsets = 0.7 * acquisition.semiangle * np.array([-1, 0, 1]) / np.sqrt(2)
    angles = acquisition.view_angles
    return [
        int((angles - torch.tensor([x, y])).norm(dim=1).argmin()) for x in offsets for y in offsets
    ]


def views_of_the_disc(views: Tensor, acquisition: Acquisition) -> Figure:
    """Draw nine views by their place in the disc, and the displacement of every view (Fig. 1a)."""
    angles, chosen = acquisition.view_angles, nine_views(acquisition)
    figure = Figure(figsize=(7.6, 3.7), layout="constrained")
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=[1.1, 1])[0]
    limits = plotting.display_limits([views[index] for index in chosen])
    for axes, index in zip(left.subplots(3, 3).flat, chosen, strict=True):
        plotting.show_image(
            axes,
            views[index],
            acquisition.field,
            title=f"({minus(float(angles[index, 0]), 1)}, {minus(float(angles[index, 1]), 1)}) mrad",
            limits=limits,
            bar=5.0 if index == chosen[0] else None,
        )
        axes.title.set_fontsize(7)
    axes = right.subplots()
    moved = -acquisition.registering_shifts
    arrows = axes.quiver(
        angles[:, 1],
        angles[:, 0],
        moved[:, 1],
        moved[:, 0],
        moved.norm(dim=1),
        angles="xy",
        pivot="mid",
        cmap="cividis_r",
    )
    title = "displacement of each view, ∞ dose"
    axes.set(xlabel="Qy (mrad)", ylabel="Qx (mrad)", aspect="equal", title=title)
    axes.invert_yaxis()
    right.colorbar(arrows, label="displacement (Å)", shrink=0.7)
    return figure


def reciprocity(views: Tensor, fast: Tensor, acquisition: Acquisition) -> Figure:
    """Draw one off-axis view cut from a datacube, the same by reciprocity, and their difference."""
    outer = nine_views(acquisition)[2]
    figure = Figure(figsize=(7.2, 2.7), layout="constrained")
    pair = plotting.display_limits([views[outer], fast[outer]])
    residual = fast[outer] - views[outer]
    span = float(residual.abs().max())
    for axes, image, title, grey in zip(
        figure.subplots(1, 3),
        (views[outer], fast[outer], residual),
        (
            "cut from abTEM's datacube, ∞ dose",
            "by reciprocity, ∞ dose",
            f"difference, grey range ±{span:.1e}",
        ),
        (pair, pair, (-span, span)),
        strict=True,
    ):
        plotting.show_image(axes, image, acquisition.field, title=title, limits=grey, bar=20.0)
    return figure


def against_dose(
    noisy: Sequence[Tensor], doses: Sequence[float], acquisition: Acquisition
) -> Figure:
    """Draw the axial view and the sum of all views against dose (Suppl. Fig. 1).

    Parameters
    ----------
    noisy : sequence of Tensor
        Views ``(M, Rx, Ry)`` at each dose.
    doses : sequence of float
        [e⁻/Å²]; the two highest set the grey limits.
    acquisition : Acquisition
    """
    axial = nine_views(acquisition)[4]
    return plotting.image_grid(
        [
            ("one view", [stack[axial] for stack in noisy]),
            ("summed VBF", [summed_bright_field(stack, acquisition) for stack in noisy]),
        ],
        [plotting.dose_label(dose) for dose in doses],
        acquisition.field,
        bar=5.0,
        common=[False] * (len(doses) - 2) + [True, True],
    )


def share_table(doses: Sequence[float], shares: Sequence[float], signal: Sequence[float]) -> str:
    """Electrons of a pixel, and what one view shows, against dose, as a table."""
    head = [
        "dose (e⁻/Å²)",
        "electrons per pixel and position",
        "correlation of one view with itself at ∞ dose",
    ]
    rows = [
        [f"{d:g}", f"{n:.2f}", f"{r:.2f}"] for d, n, r in zip(doses, shares, signal, strict=True)
    ]
    return table(head, rows)


class Defoci:
    """The same crystal at several defoci, by direct ptychography and the informed network.

    Parameters
    ----------
    sample : Specimen
    defoci : sequence of float
        Underfocus [Å].
    dose : float
        [e⁻/Å²].
    draws, seed : int
        Noise draws, and the seed of the first.
    """

    def __init__(
        self, sample: Specimen, defoci: Sequence[float], dose: float, draws: int, seed: int
    ) -> None:
        self.defoci, self.dose = list(defoci), dose
        self.scenes = {defocus: place(sample, defocus) for defocus in defoci}
        self.images: dict[tuple[str, float], Tensor] = {}
        self.rows: list[dict[str, Any]] = []
        for defocus, scene in self.scenes.items():
            for draw in range(draws):
                exposed = scene.expose(dose, seed + draw)
                for method in MADE:
                    image = METHODS[method](exposed)
                    self.images.setdefault((method, defocus), image)
                    row = {"method": method, "defocus": defocus, "draw": draw}
                    self.rows.append(row | bench.score_image(image, scene))

    def _values(self, method: str, defocus: float, key: str) -> list[float]:
        return select(self.rows, key, method=method, defocus=defocus)

    def figure(self) -> Figure:
        """Draw one view at infinite dose and both reconstructions at each defocus."""
        acquisitions = [scene.acquisition for scene in self.scenes.values()]
        last = acquisitions[-1]
        corner = torch.tensor([1.0, 1.0]) * 0.5 * last.semiangle  # mrad, an off-axis view
        number = int((last.view_angles - corner).norm(dim=1).argmin())
        shown: list[tuple[str, list[Tensor | None]]] = [
            ("one view", [scene.expected_views[number] for scene in self.scenes.values()])
        ]
        notes = [[f"shift {a.largest_view_shift:g} Å at most" for a in acquisitions]]
        for method in MADE:
            shown.append((method, [self.images[method, d] for d in self.defoci]))
            notes.append([minus(self._values(method, d, "correlation")[0]) for d in self.defoci])
        labels = [f"{d:g} Å" for d in self.defoci]
        return plotting.image_grid(shown, labels, last.field, bar=10.0, notes=notes)

    def table(self) -> str:
        """Scores by method and defocus, as a table."""
        rows = [
            [m, f"{d:g}", *(spread(self._values(m, d, key), key) for key in MEASURES)]
            for m in MADE
            for d in self.defoci
        ]
        return (
            f"At {plotting.dose_label(self.dose)}: correlation {{term}}`inside the specimen`, ring correlation weighted by the "
            "truth's power, and the finest period up to which every {term}`ring with power` holds. Median, and in "
            "brackets the spread and the number n of draws (quartiles from eight draws on).\n\n"
            + table(["method", "defocus (Å)", "correlation", "weighted FRC", "resolution"], rows)
        )

    def words(self, method: str) -> str:
        """Median correlation at each defocus, in words."""
        medians = [summarise(self._values(method, d, "correlation")).median for d in self.defoci]
        return ", ".join(f"{m:.2f} at {d:g} Å" for m, d in zip(medians, self.defoci, strict=True))

    def record(self) -> list[dict[str, Any]]:
        """Every value by method and defocus."""
        return [
            {
                "method": m,
                "defocus": d,
                "dose": self.dose,
                "values": {key: plain(self._values(m, d, key)) for key in MEASURES},
            }
            for m in MADE
            for d in self.defoci
        ]


def _centre(column: int, row: int) -> tuple[float, float]:
    return 0.74 + PITCH * column, ROWS[row]


def _name(function: Callable[..., Any]) -> str:
    return function.__qualname__.replace(".", ".\n")


def workflow(
    potential: Potential,
    cube: Datacube,
    views: Tensor,
    fast: Tensor,
    acquisition: Acquisition,
    scene: Scene,
    counted: Tensor,
    dose: float,
) -> Figure:
    """Draw the whole way from atoms to images, each picture what a function made (Fig. 2).

    Parameters
    ----------
    potential, cube : Potential, Datacube
        As made for abTEM's scan.
    views, fast : Tensor
        Its views ``(M, Rx, Ry)``, and the same by reciprocity.
    acquisition : Acquisition
        Of that scan.
    scene : Scene
        The specimen on the study's detector.
    counted : Tensor
        Its views with counting noise.
    dose : float
        Of these [e⁻/Å²].
    """
    sheet = Sheet(7.2, HIGH)

    def stage(column: int, row: int, maker: str, picture: Any, below: str, **shown: Any) -> Any:
        """Draw what a function made, its name above and what it is below."""
        x, y = _centre(column, row)
        axes = sheet.picture(picture, x, y, **shown)
        sheet.write(x, y + SIDE / 2 + 0.05, maker, va="bottom", weight="bold")
        sheet.write(x, y - SIDE / 2 - 0.06, below, va="top")
        return axes

    def onward(row: int, *columns: int) -> None:
        for column in columns:
            x, y = _centre(column, row)
            sheet.arrow((x + SIDE / 2 + 0.04, y), (x + PITCH - SIDE / 2 - 0.04, y))

    sample = scene.specimen
    known, within = scene.truth, specimen_mask(scene.truth, scene.pixel)

    def scored(picture: Tensor) -> str:
        fit = correlation(picture, known, within=within)
        return f"{size_of(picture)}\ncorrelation {fit:.2f}"

    side = sample.atoms.cell.lengths()[:2]
    x, y = sample.atoms.positions[:, :2].T
    density = np.histogram2d(
        x,
        y,
        bins=96,
        range=[(0, side[0]), (0, side[1])],
        weights=sample.atoms.numbers,
    )[0]
    middle = tuple(n // 2 for n in acquisition.scan_shape)
    axial = counted[int(scene.midplane.view_angles.norm(dim=1).argmin())]
    field = {"extent": (0, acquisition.field[1], acquisition.field[0], 0)}
    atoms = f"{len(sample.atoms)} atoms\n{sample.short_title}"
    plotting.scale_bar(stage(0, 0, _name(make_specimen), density, atoms, **field), 20.0)
    volts, pattern = potential.slices, np.sqrt(cube.patterns[middle])
    stage(1, 0, _name(build_potential), volts.sum(0), f"{size_of(volts)}\nslices, x, y")
    below = f"{size_of(cube.patterns)}\nRx, Ry, Qx, Qy"
    stage(2, 0, _name(simulate_datacube), pattern, below)
    outer = fast[nine_views(acquisition)[2]]
    stage(3, 0, _name(Datacube.views), outer, f"{size_of(views)}\nviews, Rx, Ry")
    stage(4, 0, _name(expose), axial, f"{size_of(counted)}\n{plotting.dose_label(dose)}")
    onward(0, 0, 1, 2, 3)

    statistic = scene.direct.statistic(counted)
    whitened = direct_features(scene.direct, statistic)[0][0, -1]
    direct_image = scene.direct.solve(statistic)[0]
    model: Any = load_network("DirectInformed")
    estimate, passed = watch(
        {"gate": model.body.gates[0]}, lambda: informed(scene.direct, counted, network=model)
    )
    gate = passed["gate"][1]
    stage(0, 1, _name(DirectPtychography.whitened), whitened, size_of(whitened))
    stage(1, 1, _name(DirectPtychography.solve), direct_image, scored(direct_image))
    opened, name = torch.sigmoid(gate[0]).mean(0), type(model).__name__  # mean of its channels
    stage(2, 1, f"{name}\nfirst gate", opened, size_of(gate[0]), cmap="viridis")
    stage(3, 1, _name(informed), estimate.mean, scored(estimate.mean))
    onward(1, 0, 1, 2)

    model = load_network("AttentionUNet")
    fused, passed = watch(
        {"gate": model.gates[0].psi},
        lambda: attention_unet(counted, scene.midplane, network=model),
    )
    attention, name = passed["gate"][1], type(model).__name__
    mean = f"{size_of(counted)}\ntheir mean"
    stage(1, 2, f"{name}\nviews as channels", counted.mean(0), mean)
    stage(2, 2, f"{name}\nfirst gate", attention[0, 0], size_of(attention[0]), cmap="viridis")
    stage(3, 2, _name(attention_unet), fused, scored(fused))
    onward(2, 1, 2)
    plotting.scale_bar(stage(4, 1, _name(truth), known, size_of(known), **field), 20.0)

    # From the counted views down to both ways.
    (right, top), (left, low), first = _centre(4, 0), _centre(1, 2), _centre(0, 1)
    bus = (ROWS[0] + ROWS[1]) / 2 - 0.02
    start, corner = (right, top - SIDE / 2 - 0.36), (right, bus)
    end = (first[0] - SIDE / 2 - 0.04, first[1])
    sheet.arrow(start, corner, (0.1, bus), (0.1, first[1]), end)
    sheet.arrow((0.1, first[1]), (0.1, low), (left - SIDE / 2 - 0.04, low))
    return sheet.figure


def seen(
    doses: Sequence[float],
    shares: Sequence[float],
    signal: Sequence[float],
    difference: float,
    defoci: Defoci,
) -> str:
    """Write what was seen.

    Parameters
    ----------
    doses, shares, signal : sequence of float
        [e⁻/Å²]; electrons in a pixel and position; correlation of a view with its noiseless self.
    difference : float
        Of views by reciprocity from abTEM's, as a share of their variation.
    defoci : Defoci
    """
    return f"""
Views displaced by known sub-pixel amounts come out of a simulation that is true to scale. At {doses[0]:g} e⁻/Å² one view
correlates with its own noiseless self by {signal[0]:.2f}.

* The chain of §2.2–2.3 runs true to scale, and views displaced by known sub-pixel amounts come out
  of it. **Fig. 1a and 2 are reproduced** in substance.
* Views by reciprocity equal abTEM's to {difference:.1%} of their variation, so later chapters
  may use them.
* At {doses[0]:g} e⁻/Å² a detector pixel receives {shares[0]:.2f} electrons a position: a single view
  correlates {signal[0]:.2f} with its own infinite-dose self. What a method recovers at such a dose
  it recovers from the ensemble. **Supplementary Fig. 1 is reproduced** in substance.
* **Several defoci.** At {defoci.dose:g} e⁻/Å² direct ptychography correlates {defoci.words("direct")} inside the specimen,
  the informed network {defoci.words("informed")}.
"""
