"""Chapter 10, ablations: the record of the trainings, its figure, tables and words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from misr4d import plotting
from misr4d.companion.chapters.tables import table
from misr4d.companion.study import METHODS, Scene
from misr4d.companion.verdicts import for_readers
from misr4d.measure.metrics import correlation, specimen_mask
from misr4d.measure.summary import plain, summarise

__all__ = ["BASE", "HEADS", "Ablations", "count_views", "views_table"]

BASE = "as the paper"
HEADS = {"as the paper": "1×1", "3×3 head": "3×3", "no head": "none"}
FACTORS = (1.0, 1.5, 2.0, 3.0, 4.0)  # by which the detector's pixels are widened

Values = NDArray[np.float64]


class Ablations:
    """The record that ``benchmarks/ablate.py`` wrote: trainings with one thing changed."""

    def __init__(self) -> None:
        path = files("misr4d") / "data" / "ablations.json"
        self.record = json.loads(path.read_text(encoding="utf-8"))
        self.variants = list(self.record["variants"])
        self.results: list[dict[str, Any]] = self.record["results"]
        groups = dict.fromkeys(score["group"] for score in self.results[0]["scores"])
        self.crystals = [group for group in groups if group != "unseen"]
        self.gaps = {
            variant: np.array([[r["loss_seen"], r["loss_unseen"]] for r in self._of(variant)])
            for variant in (BASE, "fixed noise")
        }

    def _of(self, variant: str) -> list[dict[str, Any]]:
        return [result for result in self.results if result["variant"] == variant]

    def values(self, variant: str, key: str, groups: Sequence[str] = ("unseen",)) -> Values:
        """Return a measure of every scored image of a variant ``(trainings, images)``."""
        return np.array(
            [
                [
                    np.nan if score[key] is None else score[key]
                    for group in groups
                    for score in result["scores"]
                    if score["group"] == group
                ]
                for result in self._of(variant)
            ]
        )

    def paired(self, variant: str) -> Values:
        """Return differences from the base on the same images and electrons."""
        return self.values(variant, "correlation") - self.values(BASE, "correlation")

    def setting(self) -> str:
        """Say how the variants were trained and scored."""
        base, record = self.record["base"], self.record
        minutes = sum(r["core_seconds"] for r in self.results) / 60 / len(self.results)
        repeats = len({result["seed"] for result in self.results})
        pixels = "Training and scoring here are of *point pixels*, unlike the rest of the book."
        return f"""
Width {base["width"]}, {base["depth"]} blocks, {base["steps"]} steps of {base["batch"]} samples from
{base["specimens"]} specimens at {base["doses"][0]:g} to {base["doses"][1]:g} e⁻/Å², {minutes:.1f} minutes
of one core each on average, {repeats} trainings of every variant. Scored at {record["dose"]:g} e⁻/Å²
on {self.values(BASE, "correlation").shape[1]} specimens of the training's kind that no variant saw, and on
{len(self.crystals)} of the paper's. These networks are small and far from converged: read the differences.
{pixels if record["pixel_samples"] == 1 else ""}
"""

    def figure(self) -> Figure:
        """Draw the correlation of every variant, on unseen specimens and on the paper's."""
        figure = Figure(figsize=(9.2, 3.3), layout="constrained")
        grid = figure.subplots(1, 2, sharey=True)
        rows = np.arange(len(self.variants))[::-1]
        for axes, groups, title in (
            (grid[0], ["unseen"], "specimens of the training's kind"),
            (grid[1], self.crystals, "specimens of the paper"),
        ):
            for row, variant in zip(rows, self.variants, strict=True):
                scores = self.values(variant, "correlation", groups)
                spread = summarise(scores.ravel())
                colour = "#000000" if variant == BASE else "#0072b2"
                axes.plot([spread.low, spread.high], [row, row], color=colour, lw=1.2)
                axes.plot(spread.median, row, "o", color=colour, ms=5)
                axes.plot(_medians(scores), np.full(len(scores), row), "|", color="#d55e00", ms=9)
            base = summarise(self.values(BASE, "correlation", groups).ravel()).median
            axes.axvline(base, color="0.6", ls="--", lw=0.8)
            axes.set(xlabel="correlation with the truth inside", title=title)
        grid[0].set_yticks(rows, self.variants)
        return figure

    def variant_table(self) -> str:
        """Correlation of every variant, as a table."""
        rows = []
        for variant in self.variants:
            correlations = self.values(variant, "correlation")
            groups = [self.values(variant, "correlation", [g]).ravel() for g in self.crystals]
            rows.append(
                [
                    variant,
                    f"{self._of(variant)[0]['parameters'] / 1e6:.3f} M",
                    _text(correlations),
                    "–" if variant == BASE else _text(self.paired(variant), sign=True),
                    *(f"{summarise(group).median:.2f}" for group in groups),
                ]
            )
        head = ["variant", "parameters", "unseen", "difference", *map(for_readers, self.crystals)]
        return (
            "Correlation with the truth {term}`inside the specimen`: median (quartiles, n), difference from *as the paper* on the "
            "same images, and medians on the paper's specimens:\n\n" + table(head, rows)
        )

    def checkerboard_table(self) -> str:
        """Power of checkerboards by the layer after the shuffle, as a table."""
        rows = []
        for variant, label in HEADS.items():
            powers = self.values(variant, "checkerboard")
            each = ", ".join(f"{v:.2f}" for v in _medians(powers))
            rows.append([label, _text(powers, 2), each])
        head = ["layer after the shuffle", "checkerboard: median (quartiles, n)"]
        return table([*head, "of each training"], rows)

    def noise_table(self) -> str:
        """Loss on seen and unseen samples with noise drawn anew and once, as a table."""
        rows = []
        for variant, label in ((BASE, "drawn anew each time"), ("fixed noise", "drawn once")):
            seen, unseen = self.gaps[variant].T
            columns = ((seen, ".3f"), (unseen, ".3f"), (unseen - seen, "+.3f"))
            cells = [", ".join(f"{v:{form}}" for v in values) for values, form in columns]
            rows.append([label, *cells])
        return (
            "Loss of every training on the samples that it saw, and on other specimens with other noise:\n\n"
            + table(["noise of the training", "seen", "unseen", "gap"], rows)
        )

    def _verdict(self, variant: str) -> str:
        """Whether a variant is better or worse: the quartiles and every training must agree."""
        spread = summarise(self.paired(variant).ravel())
        each = np.array(_medians(self.paired(variant)))
        if spread.low > 0 and (each > 0).all():
            return "better"
        below = spread.high < 0 and (each < 0).all()
        return "worse" if below else "no different beyond the spread"

    def changes(self) -> str:
        """Say of every variant whether it is better or worse than the network of the paper."""
        return "; ".join(
            f"*{v}* is {self._verdict(v)}, {_text(self.paired(v), sign=True)}"
            for v in self.variants
            if v != BASE
        )

    def conclusion(self) -> str:
        """Say which changes make the network better."""
        better = [v for v in self.variants if v != BASE and self._verdict(v) == "better"]
        count = f"{len(better)} of {len(self.variants) - 1} changes"
        which = f": {', '.join(better)}" if better else ""
        return f"Against the paper's network, in small, {count} make the correlation with the truth better{which}."

    def measured(self) -> dict[str, Any]:
        """Return what the claims page reads of the record."""
        return {
            "difference_from_the_paper": {
                v: plain(self.paired(v).ravel()) for v in self.variants if v != BASE
            },
            "checkerboard": {
                label: plain(self.values(v, "checkerboard").ravel()) for v, label in HEADS.items()
            },
            "loss_seen_and_unseen": {k: v.tolist() for k, v in self.gaps.items()},
        }


def _medians(numbers: Values) -> list[float]:
    """Median of each training."""
    return [summarise(row).median for row in numbers]


def _text(numbers: Values, digits: int = 3, *, sign: bool = False) -> str:
    """Median with quartiles and n over images and trainings; what has no value is left out."""
    return summarise(numbers[np.isfinite(numbers)]).text(digits, sign=sign)


def count_views(
    scene: Scene, dose: float, draws: int, seed: int
) -> dict[tuple[str, int], list[float]]:
    """Correlation inside by direct ptychography and the dual path, by method and number of views.

    The bright disc is cut into fewer and larger pixels, which see the same electrons.
    """
    within = specimen_mask(scene.truth, scene.pixel)
    correlations: dict[tuple[str, int], list[float]] = {}
    for factor in FACTORS:
        wide = factor * scene.acquisition.detector_pixel
        coarse = replace(scene, acquisition=replace(scene.acquisition, detector_pixel=wide))
        for draw in range(draws):
            measurement = coarse.expose(dose, seed + draw)
            for label in ("direct", "dual path"):
                value = correlation(METHODS[label](measurement), scene.truth, within=within)
                correlations.setdefault((label, len(measurement.views)), []).append(value)
    return correlations


def views_table(counted: dict[tuple[str, int], list[float]], scene: Scene, dose: float) -> str:
    """Correlations of :func:`count_views`, as a table."""
    numbers = sorted({m for _, m in counted}, reverse=True)
    rows = [
        [label, *(summarise(counted[label, m]).text() for m in numbers)]
        for label in ("direct", "dual path")
    ]
    return (
        f"Correlation inside the specimen, median with its spread and n, of "
        f"{scene.specimen.short_title} at {plotting.dose_label(dose)}:\n\n"
        + table(["method", *(f"{m} views" for m in numbers)], rows)
    )
