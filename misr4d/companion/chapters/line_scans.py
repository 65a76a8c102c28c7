"""Chapter 4, line scans and contrast to noise: what it measures, its figures and words."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy.stats import mannwhitneyu
from torch import Tensor

from misr4d import plotting
from misr4d.companion import bench
from misr4d.companion.chapters.tables import minus, table
from misr4d.companion.comparison_claims import CONTRAST
from misr4d.companion.study import Scene, make_scene
from misr4d.companion.study_images import image_of
from misr4d.measure.metrics import (
    contrast_to_error,
    line_profile,
    peak_to_background,
    specimen_mask,
)
from misr4d.measure.summary import plain, select, summarise

__all__ = ["LineScans", "line_of", "seen"]

UNTRAINED = ("iDPC", "parallax", "ptychography", "direct")
NETWORKS = ("attention U-Net", "dual path", "informed")
MEASURED = (*UNTRAINED, *NETWORKS)
PICTURED = ("truth", "ptycho∞", "ptychography", "direct", *NETWORKS)
KEYS = (
    "contrast",
    "cnr",
    "cnr_raw",
    "peaks",
    "line",
    "correlation",
    "correlation_field",
    "surroundings",
)
OF_TRUTH = ("cnr", "cnr_raw", "surroundings")
SAVED = ("cnr", "cnr_raw", "peaks", "line", "correlation", "correlation_field")
LINE = "#e69f00"

Line = tuple[tuple[float, float], tuple[float, float]]
"""Ends of a line, (x, y) each [Å]."""


def line_of(scene: Scene) -> tuple[Line, Line]:
    """Place the paper's line on a specimen, and the same line on to the edges of the field.

    On Li₂CoO₃ it is horizontal, along the row of the truth with the highest mean phase inside; on
    the others it is a diagonal through the middle.
    """
    side, width = scene.acquisition.field[0], scene.acquisition.step[0]
    margin = 12.0 if scene.specimen.regime == "atomic" else 50.0  # Å, ends inside the specimen
    far = side - scene.pixel[0] - width  # on to the edges, less what a profile averages over
    if scene.specimen.name == "Li2CoO3":
        mask = specimen_mask(scene.truth, scene.pixel)
        row = torch.where(mask, scene.truth, 0.0).mean(1).argmax()
        across = edges = [float(row) * scene.pixel[0]] * 2
    else:
        across, edges = [margin, side - margin], [width, far]
    inner = ((across[0], margin), (across[1], side - margin))
    return inner, ((edges[0], width), (edges[1], far))


class LineScans:
    """Profiles of three specimens by each method, and measures of every draw.

    Parameters
    ----------
    names : sequence of str
        Specimens.
    dose : float
        [e⁻/Å²].
    draws, ptychography_draws : int
        Noise draws, and how many of them ptychography has.
    seed : int
        Of the first draw.
    """

    def __init__(
        self, names: Sequence[str], dose: float, draws: int, ptychography_draws: int, seed: int
    ) -> None:
        self.dose = dose
        self.scenes: dict[str, Scene] = {name: make_scene(name) for name in names}
        self.lines = {name: line_of(scene) for name, scene in self.scenes.items()}
        self.distances: dict[str, Tensor] = {}
        self.profiles: dict[tuple[str, str], Tensor] = {}
        self.pictures: dict[tuple[str, str], Tensor] = {}
        self.table: list[dict[str, Any]] = []
        for name, scene in self.scenes.items():
            distance, profile = self._along(scene.truth, name, 0)
            self.distances[name], self.profiles[name, "truth"] = distance, profile
            self.pictures[name, "truth"] = scene.truth
            ideal = bench.score_image(scene.truth, scene)
            row = {"specimen": name, "method": "truth", "draw": 0}
            row["surroundings"] = self.told_apart(scene.truth, name)
            self.table.append(row | {key: ideal[key] for key in ("cnr", "cnr_raw")})
            exact = image_of("ptychography", scene.measure(math.inf, seed), seed)
            self._score(exact, name, "ptycho∞", 0)
            for draw in range(draws):
                measurement = scene.measure(dose, seed + draw)
                for method in MEASURED:
                    if method != "ptychography" or draw < ptychography_draws:
                        image = image_of(method, measurement, seed + draw)
                        self._score(image, name, method, draw)
            scene.__dict__.pop("patterns", None)  # they are large

    def _along(self, image: Tensor, name: str, which: int) -> tuple[Tensor, Tensor]:
        scene = self.scenes[name]
        width = scene.acquisition.step[0]
        return line_profile(image, *self.lines[name][which], scene.pixel, width=width)

    def told_apart(self, image: Tensor, name: str) -> float:
        """Chance that the line is higher inside the specimen than outside."""
        scene = self.scenes[name]
        mask = specimen_mask(scene.truth, scene.pixel)
        inside = self._along(mask.double(), name, 1)[1] >= 0.5
        values = self._along(image, name, 1)[1]
        statistic = mannwhitneyu(values[inside], values[~inside]).statistic
        return float(statistic) / (int(inside.sum()) * int((~inside).sum()))

    def _score(self, image: Tensor, name: str, method: str, draw: int) -> None:
        profile, true = self._along(image, name, 0)[1], self.profiles[name, "truth"]
        self.profiles.setdefault((name, method), profile)
        self.pictures.setdefault((name, method), image)
        scores = bench.score_image(image, self.scenes[name])
        inside = scores["correlation"]
        assert inside is not None
        row = {"specimen": name, "method": method, "draw": draw, **scores}
        row["contrast"] = contrast_to_error(inside)
        row["peaks"] = peak_to_background(profile, true)
        row["line"] = float(np.corrcoef(profile, true)[0, 1])
        row["surroundings"] = self.told_apart(image, name)
        self.table.append(row)

    def values(self, name: str, method: str, key: str) -> list[float]:
        """One value for each draw."""
        return select(self.table, key, specimen=name, method=method)

    def images(self) -> Figure:
        """Draw the reconstructions with the line on each."""
        figure = Figure(figsize=(9.2, 4.6), layout="constrained")
        grid = figure.subplots(len(self.scenes), len(PICTURED))
        for row, (name, scene) in zip(grid, self.scenes.items(), strict=True):
            bar = 5.0 if scene.specimen.regime == "atomic" else 50.0
            for axes, column in zip(row, PICTURED, strict=True):
                # Each image has its own grey limits: methods scale their phase differently.
                plotting.show_image(
                    axes,
                    self.pictures[name, column],
                    scene.acquisition.field,
                    title=column if row is grid[0] else "",
                    bar=bar if column == PICTURED[0] else None,
                )
                (x0, y0), (x1, y1) = self.lines[name][0]
                axes.plot([y0, y1], [x0, x1], color=LINE, lw=0.8)
                if column != "truth":
                    where = {"specimen": name, "method": column, "draw": 0}
                    (score,) = select(self.table, "correlation", **where)
                    axes.set_xlabel(minus(score), fontsize=7, labelpad=1)
            row[0].set_ylabel(textwrap.fill(scene.specimen.short_title, 16))
        figure.suptitle(plotting.dose_label(self.dose), fontsize=9)
        return figure

    def figure(self) -> Figure:
        """Draw truth and profiles (Fig. 4d–f): above what is not trained, below the networks."""
        figure = Figure(figsize=(7.4, 8.6), layout="constrained")
        grid = figure.add_gridspec(6, 2, width_ratios=(1, 3.2))
        colours = plotting.METHOD_COLOURS | {"ptycho∞": plotting.METHOD_COLOURS["ptychography"]}
        parts = (("truth", "ptycho∞", "ptychography", "direct"), ("truth", *NETWORKS))
        handles = {}
        for row, (name, scene) in enumerate(self.scenes.items()):
            left = figure.add_subplot(grid[2 * row : 2 * row + 2, 0])
            bar = 5.0 if scene.specimen.regime == "atomic" else 50.0
            title = f"{'def'[row]}: {scene.specimen.short_title}"
            plotting.show_image(left, scene.truth, scene.acquisition.field, title=title, bar=bar)
            (x0, y0), (x1, y1) = self.lines[name][0]
            left.plot([y0, y1], [x0, x1], color=LINE, lw=1.2)
            for part, shown in enumerate(parts):
                right = figure.add_subplot(grid[2 * row + part, 1])
                for label in shown:
                    profile, dosed = self.profiles[name, label], label not in ("truth", "ptycho∞")
                    text = f"{label}, {plotting.dose_label(self.dose)}" if dosed else label
                    # Means are removed: no method knows the mean phase.
                    (handles[text],) = right.plot(
                        self.distances[name],
                        profile - profile.mean(),
                        ":" if label == "ptycho∞" else "-",
                        color=colours[label],
                        lw=1,
                    )
                right.set(ylabel="phase (rad)", xlim=(0, float(self.distances[name][-1])))
                if part == 0:
                    right.tick_params(labelbottom=False)
        right.set_xlabel("distance along the line (Å)")
        order = handles.values(), handles.keys()
        figure.legend(*order, loc="outside lower center", ncols=3, fontsize=7.5)
        return figure

    def measures_table(self) -> str:
        """Every measure of every method, as a table."""

        def entry(name: str, method: str, key: str) -> str:
            if method == "truth" and key not in OF_TRUTH:
                return "·"
            return summarise(self.values(name, method, key)).text()

        rows = [
            [scene.specimen.short_title, method, *(entry(name, method, key) for key in KEYS)]
            for name, scene in self.scenes.items()
            for method in (*MEASURED, "ptycho∞", "truth")
        ]
        head = ["specimen", "method", "contrast over error", "CNR", "raw CNR", "peaks", "line"]
        return (
            f"At {self.dose:g} e⁻/Å²: median, and in brackets the spread and the number n of draws (quartiles from "
            "eight draws on, least to largest of fewer). Contrast over error: r/√(1 − r²), r being the correlation "
            "inside, to which the contrast of any two parts over what does not follow the truth is proportional. {term}`CNR` is |μ_s − μ_b|/σ_b between the brightest 5 % and "
            "the darkest 40 % of the truth inside the specimen, of images brought to one resolution; *raw* is that of "
            "the image as it is, which smoothing raises. Peaks: height of the true peaks over the true valleys along "
            "the line, over the spread at the valleys. Line: correlation of the profile with the true one. Inside and "
            "whole field: correlation of the image. Surroundings: how well the line tells specimen from vacuum, 0.5 "
            "for not at all.\n\n" + table([*head, "inside", "whole field", "surroundings"], rows)
        )

    def record(self) -> dict[str, Any]:
        """Everything that was measured."""
        methods = (*MEASURED, "ptycho∞")
        return {
            "dose": self.dose,
            "summary": [
                {
                    "specimen": n,
                    "method": m,
                    "values": {key: plain(self.values(n, m, key)) for key in SAVED},
                }
                for n in self.scenes
                for m in methods
            ],
            "surroundings": [
                {"specimen": n, "method": m, "values": plain(self.values(n, m, "surroundings"))}
                for n in self.scenes
                for m in (*methods, "truth")
            ],
        }


def seen(scans: LineScans) -> str:
    """Write what was seen."""
    scenes, dose, values = scans.scenes, scans.dose, scans.values

    def middle(name: str, method: str, key: str) -> float:
        return summarise(values(name, method, key)).median

    def times(name: str, method: str, key: str, reference: str) -> float:
        """Median of the ratio, draw by draw on the same electrons; the truth has one value."""
        ours, theirs = values(name, method, key), values(name, reference, key)
        if len(ours) == 1:
            ours = [*ours] * len(theirs)
        return summarise(a / b for a, b in zip(ours, theirs, strict=False)).median

    def each(method: str, key: str, reference: str) -> str:
        """Return how many times a reference's value a method has, on each specimen."""
        return ", ".join(
            f"{times(n, method, key, reference):.2f} ({scenes[n].specimen.short_title})"
            for n in scenes
        )

    def medians(method: str, key: str) -> str:
        return ", ".join(
            f"{middle(n, method, key):.2f} ({scenes[n].specimen.short_title})" for n in scenes
        )

    ratios = [times(n, "attention U-Net", "contrast", "ptychography") for n in scenes]
    least, most = min(ratios), max(ratios)
    return f"""
At {dose:g} e⁻/Å² the paper's network, as trained here, has {least:.2f} to {most:.2f} times the contrast to noise of tuned
ptychography, where the paper says more than {CONTRAST:g}.

* **Claim C2** depends on its baseline, and on what is called noise. Contrast over error inside the specimen at
  {dose:g} e⁻/Å², over that of *tuned* ptychography (py4DSTEM, the paper's program) on the same electrons: the paper's
  network {each("attention U-Net", "contrast", "ptychography")}; the informed network
  {each("informed", "contrast", "ptychography")}; direct ptychography, which is closed-form and untrained,
  {each("direct", "contrast", "ptychography")}. Stronger programs than py4DSTEM are in {{doc}}`06_method_comparison`.
* The usual contrast to noise cannot decide it. The spread of its background holds the specimen's own texture, so that
  the truth itself, with no noise at all, has {each("truth", "cnr", "ptychography")} times that of ptychography; and of
  the images as they are, smoothing raises it without showing more (see the exercise).
* **Claim C11**: peaks over those of the infinite-dose reference. The paper's network
  {each("attention U-Net", "peaks", "ptycho∞")}; the informed network {each("informed", "peaks", "ptycho∞")};
  direct ptychography {each("direct", "peaks", "ptycho∞")}.
* **Specimen and surroundings** (the same claim, of the glass). The line tells them apart with a chance of
  {middle("CuZr", "attention U-Net", "surroundings"):.2f} in the paper's network's image of Cu-Zr,
  {middle("CuZr", "informed", "surroundings"):.2f} in the informed network's,
  {middle("CuZr", "direct", "surroundings"):.2f} in direct ptychography's,
  {middle("CuZr", "ptychography", "surroundings"):.2f} in tuned ptychography's, and
  {middle("CuZr", "truth", "surroundings"):.2f} in the truth.
* Along the line the paper's network correlates {medians("attention U-Net", "line")} with the truth, the
  informed network {medians("informed", "line")}, direct ptychography {medians("direct", "line")}.
* The reference has faults of its own: infinite-dose ptychography correlates
  {medians("ptycho∞", "correlation")} with the truth inside the specimen. A network that is trained to look like it learns
  them too.
"""
