"""Medians of draws by specimen, method and dose, and their curves: chapters 3 and 6."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from misr4d.companion.cases import best_ptychography
from misr4d.companion.chapters.drawing import dose_ticks, mark_periods, plot_spread
from misr4d.companion.study import NETWORK_OF, Scene
from misr4d.measure.summary import select, summarise
from misr4d.plotting import METHOD_COLOURS, period_label

__all__ = ["SIGNS", "WORDS", "Draws", "curves"]

SIGNS: Mapping[str, int] = {"correlation": 1, "weighted_frc": 1, "resolution": -1}
"""Measures by which methods are compared; −1 where smaller is better."""

WORDS: Mapping[str, str] = {
    "correlation": "correlation",
    "weighted_frc": "weighted FRC",
    "resolution": "resolution",
}


class Draws:
    """Rows of the bench, looked up by specimen, method and dose.

    Parameters
    ----------
    rows : sequence of mapping
        As of the committed study, at the specimens' own thickness.
    more : sequence of mapping
        Rows that count where `rows` has none of the same specimen, method and dose.
    """

    def __init__(
        self, rows: Sequence[Mapping[str, Any]], more: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        of_the_study = [row for row in rows if row.get("thickness") is None]

        def place(row: Mapping[str, Any]) -> tuple[str, str, float]:
            return row["specimen"], row["method"], float(row["dose"])

        known = {place(row) for row in of_the_study}
        self.rows = of_the_study + [row for row in more if place(row) not in known]

    def values(
        self, name: str, method: str, dose: float, column: str = "correlation"
    ) -> list[float]:
        """One value for each draw; none where the method did not run."""
        return select(self.rows, column, specimen=name, method=method, dose=dose)

    def median(self, name: str, method: str, dose: float, column: str = "correlation") -> float:
        """Median of the draws, or nan where there is none."""
        drawn = self.values(name, method, dose, column)
        return summarise(drawn).median if drawn else math.nan

    def period(self, name: str, method: str, dose: float) -> str:
        """Median resolution as text."""
        return period_label(self.median(name, method, dose, "resolution"))

    def best(
        self, methods: Iterable[str], name: str, dose: float, column: str = "correlation"
    ) -> str | None:
        """Which of some methods has the best median there, or none if none ran."""
        return best_ptychography(self.rows, name, dose, column, among=[*methods])


def curves(
    draws: Draws,
    scenes: Mapping[str, Scene],
    methods: Sequence[str],
    doses: Sequence[float],
    programs: Sequence[str],
    *,
    infinite: bool = False,
) -> Figure:
    """Draw correlation and resolution of each method and specimen against dose.

    Parameters
    ----------
    draws : Draws
    scenes : mapping of str to Scene
        A column each.
    methods : sequence of str
    doses : sequence of float
        Finite [e⁻/Å²].
    programs : sequence of str
        Methods that are ptychography by other programs, drawn with diamonds; networks have squares.
    infinite : bool
        Draw the median at infinite dose too, as a dotted line.
    """
    figure = Figure(figsize=(9.2, 5.4), layout="constrained")
    grid = figure.subplots(2, len(scenes), sharex=True, squeeze=False)
    for column, (name, scene) in enumerate(scenes.items()):
        for axes, key in zip(grid[:, column], ("correlation", "resolution"), strict=True):
            for method in methods:
                marker = "D-" if method in programs else "s-" if method in NETWORK_OF else "o-"
                at = [dose for dose in doses if draws.values(name, method, dose)]
                drawn = [(d, summarise(draws.values(name, method, d, key))) for d in at]
                plot_spread(axes, drawn, method, marker, alpha=0.25)
                limit = draws.median(name, method, math.inf, key)
                if infinite and math.isfinite(limit):
                    axes.axhline(limit, color=METHOD_COLOURS[method], ls=":", lw=1)
            axes.set_xscale("log")
        grid[0, column].set_title(scene.specimen.short_title)
        axes = grid[1, column]
        mark_periods(axes, scene.acquisition)
        axes.set(xlabel="dose (e⁻/Å²)", yscale="log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("")
        dose_ticks(axes, doses)
    handles = grid[0, 0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=6, fontsize=8)
    grid[0, 0].set_ylabel("correlation inside the specimen")
    grid[1, 0].set_ylabel("resolution (Å)")
    return figure
