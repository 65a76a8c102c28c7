"""Chapter 8, thickness and the edge of the field: what it measures, its figures and words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from torch import Tensor

from misr4d import plotting
from misr4d.companion import bench
from misr4d.companion.chapters.drawing import plot_spread
from misr4d.companion.chapters.tables import minus, nested, spread, table
from misr4d.companion.study import METHODS, Scene, make_scene, place
from misr4d.core.acquisition import REGIMES
from misr4d.learn.examples import DETECTOR_BIAS
from misr4d.measure.metrics import correlation, specimen_mask
from misr4d.measure.spectra import score_rings
from misr4d.measure.summary import plain, select, summarise
from misr4d.specimens.catalogue import make_specimen

__all__ = ["Edge", "Thickness", "hidden_effects", "hidden_table", "seen"]

MEASURED = ("summed VBF", "parallax", "direct", "attention U-Net", "dual path", "informed")
CURVES = ("summed VBF", "parallax", "ptychography", "direct", *MEASURED[3:])
MEASURES: Mapping[str, str] = {
    "correlation": "correlation inside the specimen",
    "weighted_frc": "weighted FRC",
    "resolution": "resolution (Å)",
}
IDEAL_METHODS = ("direct", "informed")
SCORED = ("correlation", "weighted_frc")
PART = 0.5  # of each side that is shown, so that columns can be told apart
NAMES = {
    "attention U-Net": "the paper's network",
    "dual path": "the dual path",
    "informed": "the informed network",
    "direct": "direct ptychography",
    "ptychography": "tuned ptychography (py4DSTEM, the paper's program)",
}

Hidden = Mapping[tuple[str, str], Mapping[str, Sequence[float]]]


class Thickness:
    """A crystal at several thicknesses: pictures of one draw, and the study's draws.

    Parameters
    ----------
    crystal : str
    thicknesses : sequence of float
        Of the pictures [Å].
    dose : float
        [e⁻/Å²]; infinite dose is added.
    seed : int
        Of the pictures' draw.
    rows : sequence of mapping
        The study.
    with_ptychography : bool
        Whether to make pictures by ptychography too.
    """

    def __init__(
        self,
        crystal: str,
        thicknesses: Sequence[float],
        dose: float,
        seed: int,
        rows: Sequence[Mapping[str, Any]],
        with_ptychography: bool,
    ) -> None:
        self.crystal, self.thicknesses, self.dose = crystal, list(thicknesses), dose
        # A row without a thickness has the specimen's own, which is in whole cells.
        whole = make_specimen(crystal).thickness
        usual = [t for t in thicknesses if make_specimen(crystal, thickness=t).thickness == whole]
        self.series = [
            {**row, "thickness": row.get("thickness") or (usual[0] if usual else whole)}
            for row in rows
            if row["specimen"] == crystal
        ]
        self.every = sorted({*thicknesses, *(row["thickness"] for row in self.series)})
        self.pictured = [*MEASURED, *(["ptychography"] if with_ptychography else [])]
        self.measured: list[dict[str, Any]] = []
        self.images: dict[tuple[str, float, float], Tensor] = {}
        self.truths: dict[float, Tensor] = {}
        for thickness in thicknesses:
            scene = make_scene(crystal, thickness)
            self.truths[thickness] = scene.truth
            for level in (dose, math.inf):
                exposed = scene.expose(level, seed)
                images = {method: METHODS[method](exposed) for method in MEASURED}
                if with_ptychography:
                    images["ptychography"] = METHODS["ptychography"](scene.measure(level, seed))
                for method, image in images.items():
                    self.images[method, thickness, level] = image
                    row = {"method": method, "thickness": thickness, "dose": level}
                    self.measured.append(row | bench.score_image(image, scene))
        make_scene.cache_clear()

    def values(
        self, method: str, thickness: float, level: float, key: str = "correlation"
    ) -> list[float]:
        """Draws of a measure: the study's, or if it has none at this dose those of the pictures."""
        studied = any(float(row["dose"]) == level for row in self.series)
        rows = self.series if studied else self.measured
        return select(rows, key, method=method, thickness=thickness, dose=level)

    def median(
        self, method: str, thickness: float, level: float, key: str = "correlation"
    ) -> float:
        """Median of the draws, or nan where there is none."""
        drawn = self.values(method, thickness, level, key)
        return summarise(drawn).median if drawn else math.nan

    def figure(self) -> Figure:
        """Draw the middle of the crystal by each method, thickness and dose, above the truth."""
        whole = REGIMES["atomic"].field
        columns = [(t, level) for level in (self.dose, math.inf) for t in self.thicknesses]

        def unit(image: Tensor) -> Tensor:
            # Each image has its own contrast: the true phase grows tenfold along a row.
            inner: Tensor = plotting.middle(image, whole, PART)[0]
            return (inner - inner.mean()) / inner.std()

        pictures, notes = [], []
        for method in self.pictured:
            row = [unit(self.images[method, t, level]) for t, level in columns]
            pictures.append((method, row))
            where = [{"method": method, "thickness": t, "dose": level} for t, level in columns]
            notes.append([minus(select(self.measured, "correlation", **w)[0]) for w in where])
        pictures.append(("truth", [unit(self.truths[t]) for t, _ in columns]))
        notes.append([""] * len(columns))
        labels = [f"{t / 10:g} nm\n{plotting.dose_label(level)}" for t, level in columns]
        half = plotting.middle(self.truths[self.thicknesses[0]], whole, PART)[1]
        return plotting.image_grid(pictures, labels, half, bar=5.0, notes=notes)

    def curves(self) -> Figure:
        """Draw correlation, ring correlation and resolution against thickness."""
        figure = Figure(figsize=(9.2, 5.0), layout="constrained")
        grid = figure.subplots(2, len(MEASURES), sharex=True)
        ticks = [t / 10 for t in self.every]
        for row, level in zip(grid, (self.dose, math.inf), strict=True):
            for axes, (key, name) in zip(row, MEASURES.items(), strict=True):
                for method in CURVES:
                    by_thickness = [(t, self.values(method, t, level, key)) for t in self.every]
                    drawn = [(t / 10, summarise(v)) for t, v in by_thickness if v]
                    if sum(math.isfinite(v.median) for _, v in drawn) >= 2:
                        plot_spread(axes, drawn, method)
                axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
                axes.set_ylabel(name)
            row[0].set_title(plotting.dose_label(level), loc="left")
            limit = REGIMES["atomic"].information_limit
            plotting.mark_limit(row[2], limit, "λ/2α", far=True)
            row[2].set_yscale("log")
            row[2].set_yticks([1, 2, 4, 6], ["1", "2", "4", "6"])
            row[2].yaxis.set_minor_formatter("")
        for axes in grid[1]:
            axes.set_xlabel("thickness (nm)")
        handles = grid[0, 0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside lower center", ncols=4, fontsize=7)
        return figure

    def table(self) -> str:
        """Correlation inside the specimen against thickness, as a table."""
        rows = []
        for method in CURVES:
            for level in (self.dose, math.inf):
                drawn = [self.values(method, t, level) for t in self.every]
                if any(drawn):
                    rows.append([method, plotting.dose_label(level), *map(spread, drawn)])
        head = ["method", "dose", *(f"{t / 10:g} nm" for t in self.every)]
        return (
            "Correlation inside the specimen: median, and in brackets the spread and the number n of draws:\n\n"
            + table(head, rows)
        )

    def record(self) -> list[dict[str, Any]]:
        """Every value by method, thickness and dose."""
        keys = ("correlation", "correlation_field", "weighted_frc", "resolution")
        return [
            {
                "specimen": self.crystal,
                "method": m,
                "thickness": t,
                "dose": str(level),
                "values": {key: plain(self.values(m, t, level, key)) for key in keys},
            }
            for m in CURVES
            for t in self.every
            for level in (self.dose, math.inf)
            if self.values(m, t, level)
        ]


class Edge:
    """Correlation with the truth in frames at a distance from the edge of the field.

    Parameters
    ----------
    scene : Scene
        A specimen that goes on beyond the scan.
    bands : mapping
        Boolean ``(X, Y)`` of each frame, by its distances from the nearest edge [Å].
    dose : float
        [e⁻/Å²]; infinite dose is added.
    draws, seed : int
        Noise draws, and the seed of the first.
    """

    def __init__(
        self,
        scene: Scene,
        bands: Mapping[tuple[float, float], Tensor],
        dose: float,
        draws: int,
        seed: int,
    ) -> None:
        self.scene, self.bands, self.levels = scene, list(bands), (dose, math.inf)
        self.rows: list[dict[str, Any]] = []
        self.images: dict[tuple[str, float], Tensor] = {}
        for level in self.levels:
            for draw in range(1 if math.isinf(level) else draws):
                measurement = scene.expose(level, seed + draw)
                for method in MEASURED:
                    image = METHODS[method](measurement)
                    self.images.setdefault((method, level), image)
                    for ends, band in bands.items():
                        row = {"method": method, "dose": level, "draw": draw, "band": ends}
                        value = correlation(image, scene.truth, within=band)
                        self.rows.append(row | {"correlation": value})

    def values(self, method: str, level: float, band: tuple[float, float]) -> list[float]:
        """One correlation for each draw."""
        return select(self.rows, "correlation", method=method, dose=level, band=band)

    def median(self, method: str, level: float, band: tuple[float, float]) -> float:
        """Median of the draws."""
        return summarise(self.values(method, level, band)).median

    def figure(self) -> Figure:
        """Draw reconstructions of the whole field, and correlation against the distance."""
        dose = self.levels[0]
        shown = [
            ("direct", dose),
            *((m, math.inf) for m in ("direct", "attention U-Net", "informed")),
        ]
        figure = Figure(figsize=(7.4, 4.6), layout="constrained")
        top, bottom = figure.subfigures(2, 1, squeeze=False, height_ratios=(1, 1.35))[:, 0]
        pictures = top.subplots(1, len(shown) + 1)
        centred = self.scene.truth - self.scene.truth.mean()
        limits, field = plotting.display_limits([centred]), self.scene.acquisition.field
        for axes, (method, level) in zip(pictures, shown, strict=False):
            plotting.show_image(
                axes,
                self.images[method, level],
                field,
                title=f"{method}\n{plotting.dose_label(level)}",
                limits=limits,
                bar=20 if axes is pictures[0] else None,
            )
        plotting.show_image(pictures[-1], centred, field, title="truth", limits=limits)
        curves, shift = (
            bottom.subplots(1, 2, sharey=True),
            self.scene.acquisition.largest_view_shift,
        )
        for axes, level in zip(curves, self.levels, strict=True):
            for method in MEASURED:
                x = [sum(band) / 2 for band in self.bands]
                y = [self.median(method, level, band) for band in self.bands]
                colour = plotting.METHOD_COLOURS[method]
                axes.plot(x, y, "o-", color=colour, ms=3, label=method)
            axes.axvline(shift, color="0.6", ls="--", lw=0.8)
            axes.set(xlabel="distance from the edge (Å)", title=plotting.dose_label(level))
        curves[0].set_ylabel("correlation")
        curves[0].annotate(
            "largest shift\nof a view",
            (shift, 0.14),
            xycoords=("data", "axes fraction"),
            fontsize=6.5,
            color="0.4",
            xytext=(3, 0),
            textcoords="offset points",
        )
        handles = curves[0].get_legend_handles_labels()
        bottom.legend(*handles, loc="outside lower center", ncols=6, fontsize=7)
        return figure

    def record(self) -> list[dict[str, Any]]:
        """Every value by method, dose and frame."""
        return [
            {
                "method": m,
                "dose": str(level),
                "band": band,
                "values": plain(self.values(m, level, band)),
            }
            for m in MEASURED
            for level in self.levels
            for band in self.bands
        ]


def hidden_effects(
    crystal: str, cases: Mapping[str, Mapping[str, float]], dose: float, draws: int, seed: int
) -> dict[tuple[str, str], dict[str, list[float]]]:
    """Score images of measurements that are less ideal than those of the book.

    Parameters
    ----------
    crystal : str
    cases : mapping
        What is switched on: ``thermal`` and ``source`` [Å] as of
        :func:`misr4d.companion.study.place`, and ``noise`` of the detector [electrons a pixel].
    dose : float
        [e⁻/Å²].
    draws, seed : int

    Returns
    -------
    dict
        Correlation inside and weighted ring correlation of each draw, by case and method.
    """
    scores: dict[tuple[str, str], dict[str, list[float]]] = {}
    for case, options in cases.items():
        noise = options.get("noise", 0.0)
        thermal, source = options.get("thermal", 0.0), options.get("source", 0.0)
        scene = place(make_specimen(crystal), thermal=thermal, source=source)
        inside = specimen_mask(scene.truth, scene.pixel)
        for draw in range(draws):
            measurement = scene.expose(dose, seed + draw, noise=noise, bias=DETECTOR_BIAS * noise)
            for method in IDEAL_METHODS:
                image = METHODS[method](measurement)
                values = scores.setdefault((case, method), {key: [] for key in SCORED})
                values["correlation"].append(correlation(image, scene.truth, within=inside))
                rings = score_rings(image, scene.truth, scene.pixel)
                values["weighted_frc"].append(rings.weighted)
    return scores


def hidden_table(crystal: str, hidden: Hidden, dose: float) -> str:
    """Scores of each case of :func:`hidden_effects`, as a table."""
    rows = [
        [case, *(summarise(hidden[case, m][key]).text() for m in IDEAL_METHODS for key in SCORED)]
        for case in dict.fromkeys(case for case, _ in hidden)
    ]
    words = ("correlation inside", "weighted FRC")
    head = ["switched on", *(f"{m}: {word}" for m in IDEAL_METHODS for word in words)]
    title = make_specimen(crystal).short_title
    return f"{title} at {dose:g} e⁻/Å²: median (least to largest).\n\n" + table(head, rows)


def seen(found: Thickness, edge: Edge, hidden: Hidden) -> str:
    """Write what was seen; arguments are what the page measured."""
    every, dose, crystal = found.every, found.dose, found.crystal
    title = make_specimen(crystal).short_title
    values, median, bands = found.values, found.median, edge.bands
    hidden_draws = len(next(iter(hidden.values()))["correlation"])
    thin, paper_thick, thick = min(every), max(found.thicknesses), max(every)
    best = max(
        (t for t in every if values("direct", t, dose)), key=lambda t: median("direct", t, dose)
    )

    def change(case: str, method: str, key: str) -> str:
        """Median against that of the ideal measurement."""
        ours, ideal = (summarise(hidden[c, method][key]).median for c in (case, "none"))
        return f"{ours - ideal:+.2f}".replace("-", "−")

    hides = "; ".join(
        f"{case} {change(case, 'direct', 'correlation')} and {change(case, 'informed', 'correlation')}"
        for case in dict.fromkeys(case for case, _ in hidden)
        if case != "none"
    )

    def period(method: str, thickness: float, level: float) -> str:
        return plotting.period_label(median(method, thickness, level, "resolution"))

    outer, inner = bands[0], bands[-1]

    def course(method: str, key: str) -> str:
        return ", ".join(
            f"{median(method, t, dose, key):.2f} at {t / 10:g} nm"
            for t in sorted({thin, paper_thick, thick})
            if values(method, t, dose)
        ).replace("-", "−")

    ran = {m: name for m, name in NAMES.items() if values(m, thin, dose) and values(m, thick, dose)}
    against_thickness = nested(
        f"{name}: {course(method, 'correlation')}; by weighted rings {course(method, 'weighted_frc')}"
        for method, name in ran.items()
    )
    against_edge = nested(
        f"{name} {edge.median(method, dose, outer):.2f} within {outer[1]:g} Å of the edge, "
        f"{edge.median(method, dose, inner):.2f} in the centre"
        for method, name in NAMES.items()
        if method in MEASURED
    )
    fallen = sum(median(m, thick, dose) < median(m, thin, dose) for m in ran)
    return f"""
From {thin / 10:g} to {thick / 10:g} nm the correlation inside falls for {fallen} of {len(ran)} methods at {dose:g} e⁻/Å².
Near the edge of the field it falls over as much as a view is displaced.

* **Claim C6.** Correlation with the projected phase inside the specimen at {dose:g} e⁻/Å², and the ring correlation
  weighted by the truth's power:{against_thickness}
* Direct ptychography is best at {best / 10:g} nm there. At infinite dose it goes from
  {median("direct", thin, math.inf):.2f} to {median("direct", thick, math.inf):.2f}, its resolution
  from {period("direct", thin, math.inf)} to {period("direct", thick, math.inf)}. More electrons do not help: what
  is lost is lost to multiple scattering and to the spread of the cone, not to noise. Over the whole field the
  outline of the patch alone correlates, so that a featureless image looks like a success there.
* **Claim C5.** The frame that suffers is as wide as the largest displacement of a view: it follows from defocus
  and aperture, with a network and without. Correlation at {dose:g} e⁻/Å²:{against_edge}
* **What is idealised.** Correlation inside {title} at {dose:g} e⁻/Å² changes, for direct ptychography and
  the informed network, by: {hides} (medians of {hidden_draws} draws). Scores on other pages are for still atoms,
  a point source and a detector that only counts.
"""
