"""Chapter 17, other instruments: the record of the scans, its heat maps, and whether goals are met."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from torch import Tensor

from misr4d.companion.chapters.tables import minus
from misr4d.companion.verdicts import percent
from misr4d.core.acquisition import Acquisition
from misr4d.core.optics import wavelength
from misr4d.learn.instruments import Scan
from misr4d.learn.ranges import DEPTHS
from misr4d.measure.metrics import correlation
from misr4d.measure.summary import plain, summarise
from misr4d.plotting import display_limits, dose_label, show_image

__all__ = ["ALLOWED", "BEHIND", "Cell", "Instruments", "draw_scan", "one_scan"]

ALLOWED = {0.68: (0.60, 0.76), 0.95: (0.91, 0.98)}
"""Least and largest share of pixels that an interval may hold, by the share that it names."""
BEHIND = 0.003
"""How far in correlation the network may be behind direct ptychography."""
_ANGLES = (3.0, 6.0, 12.0, 35.0)  # mrad, edges of the bins of drawn instruments
_DEPTHS = (0.0, 0.3, 1.0, DEPTHS, math.inf)  # λ/α²

Row = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """Scans of one instrument, kind of specimen and dose.

    Parameters
    ----------
    instrument, kind : str
    dose : float
        e⁻/Å².
    gains : tuple of float
        Correlation with the network less that of direct ptychography, of every specimen.
    within : dict
        Share of all pixels within an interval, by the share that it names.
    depth : float
        Median thickness of the specimens, in depths of focus λ/α².
    """

    instrument: str
    kind: str
    dose: float
    gains: tuple[float, ...]
    within: dict[float, float]
    depth: float = 0.0

    @property
    def name(self) -> str:
        """Instrument, kind and dose in words."""
        return f"{self.kind} specimens at {self.instrument}, {dose_label(self.dose)}"


class Instruments:
    """The record that ``benchmarks/instruments.py`` wrote."""

    def __init__(self, record: dict[str, Any] | None = None) -> None:
        if record is None:
            path = files("misr4d") / "data" / "instruments.json"
            record = json.loads(path.read_text(encoding="utf-8"))
        self.record = record
        self.doses = list(dict.fromkeys(float(row["dose"]) for row in record["listed"]))

    @cached_property
    def cells(self) -> list[Cell]:
        """Every cell of the listed instruments, instrument by instrument."""
        grouped: dict[tuple[str, str, float], list[Row]] = {}
        for row in self.record["listed"]:
            key = (row["instrument"], row["kind"], float(row["dose"]))
            grouped.setdefault(key, []).append(row)
        return [
            Cell(*key, _gains(rows), _within(rows), summarise(map(self.depth, rows)).median)
            for key, rows in grouped.items()
        ]

    def depth(self, row: Row) -> float:
        """Thickness of a scan's specimen in depths of focus λ/α²."""
        listed = self.record["instruments"].get(row.get("instrument"))
        energy, semiangle = (
            (row["energy"], row["semiangle"])
            if listed is None
            else (listed["energy"] * 1e3, listed["semiangle"])
        )
        depth: float = row["thickness"] * (semiangle * 1e-3) ** 2 / wavelength(energy)
        return depth

    @property
    def labels(self) -> list[tuple[str, str]]:
        """Instrument and kind of every row of the heat maps."""
        return list(dict.fromkeys((cell.instrument, cell.kind) for cell in self.cells))

    def _map(self, value: Callable[[Cell], float]) -> np.ndarray[Any, np.dtype[np.float64]]:
        by_place = {(c.instrument, c.kind, c.dose): value(c) for c in self.cells}
        return np.array([[by_place[(*label, d)] for d in self.doses] for label in self.labels])

    def figure(self) -> Figure:
        """Draw gain and coverage of every instrument and kind against dose, as heat maps."""
        figure = Figure(figsize=(9.4, 0.27 * len(self.labels) + 1.1), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        _draw(left, self._map(lambda c: summarise(c.gains).median), 0.0, 0.3, "{:+.2f}")
        _draw(right, self._map(lambda c: c.within[0.68]), 0.68, 0.32, "{:.2f}")
        left.set_title("gain in correlation over direct")
        right.set_title("pixels within the 68 % interval")
        names = [f"{instrument}, {kind}" for instrument, kind in self.labels]
        left.set_yticks(range(len(names)), names)
        for axes in (left, right):
            _dose_axis(axes, self.doses)
        return figure

    def drawn_figure(self) -> Figure:
        """Draw gain and coverage over angle, of instruments drawn at random, and over depth, of all."""
        figure = Figure(figsize=(9.4, 4.2), layout="constrained")
        grid = figure.subplots(2, 2)
        listed, drawn = self.record["listed"], self.record["drawn"]
        for axes_row, key, rows, edges, label in (
            (grid[0], lambda row: row["semiangle"], drawn, _ANGLES, "semi-angle [mrad]"),
            (grid[1], self.depth, [*listed, *drawn], _DEPTHS, "thickness [λ/α²]"),
        ):
            bins = list(itertools.pairwise(edges))
            cells = [
                [
                    [r for r in rows if low <= key(r) < high and float(r["dose"]) == dose]
                    for dose in self.doses
                ]
                for low, high in bins
            ]
            gain, within = (
                np.array([[measure(own) if own else math.nan for own in line] for line in cells])
                for measure in (_median_gain, lambda own: _within(own)[0.68])
            )
            _draw(axes_row[0], gain, 0.0, 0.3, "{:+.2f}")
            _draw(axes_row[1], within, 0.68, 0.32, "{:.2f}")
            for axes in axes_row:
                axes.set_yticks(
                    range(len(bins)),
                    [f"over {a:g}" if math.isinf(b) else f"{a:g}–{b:g}" for a, b in bins],
                )
                _dose_axis(axes, self.doses)
            axes_row[0].set_ylabel(label)
        grid[0, 0].set_title("gain in correlation over direct")
        grid[0, 1].set_title("pixels within the 68 % interval")
        return figure

    @property
    def shallow(self) -> list[Cell]:
        """Cells whose specimens lie within the depths of focus that the deviation holds for."""
        return [cell for cell in self.cells if cell.depth <= DEPTHS]

    def held(self, share: float, cells: Sequence[Cell]) -> tuple[int, Cell]:
        """Cells whose interval holds what is allowed, and the one farthest off."""
        low, high = ALLOWED[share]
        inside = [cell for cell in cells if low <= cell.within[share] <= high]
        return len(inside), max(cells, key=lambda cell: abs(cell.within[share] - share))

    def behind(self) -> list[Cell]:
        """Cells in which the network's median is further behind direct than is allowed."""
        return [cell for cell in self.cells if summarise(cell.gains).median < -BEHIND]

    def goals(self) -> list[str]:
        """Say of every goal whether it is met, with its number."""
        lines = []
        for share, (low, high) in ALLOWED.items():
            met, worst = self.held(share, self.cells)
            lines.append(
                f"the {percent(share)} interval holds {percent(low)} to {percent(high)} of the "
                f"pixels in every cell: *{'met' if met == len(self.cells) else 'not met'}*, in "
                f"{met} of {len(self.cells)}, and in {self.held(share, self.shallow)[0]} of the "
                f"{len(self.shallow)} whose specimens are thinner than {DEPTHS:g} λ/α². Farthest off "
                f"are {worst.name}: {percent(worst.within[share])}"
            )
        behind = self.behind()
        verdict = "not met" if behind else "met"
        line = (
            f"the correlation is nowhere more than {BEHIND:g} below that of direct ptychography: "
            f"*{verdict}*, in {len(self.cells) - len(behind)} of {len(self.cells)} cells by the "
            "median of its specimens"
        )
        if behind:
            worst = min(behind, key=lambda cell: summarise(cell.gains).median)
            line += f"; worst are {worst.name}: {minus(summarise(worst.gains).median, 3)}"
        return [*lines, line]

    def gain(self, finite: bool = True) -> str:
        """Median gain over the cells with their spread, at finite or at infinite dose."""
        gains = [
            summarise(cell.gains).median
            for cell in self.cells
            if math.isfinite(cell.dose) == finite
        ]
        return summarise(gains).text(3, sign=True)

    def elsewhere(self) -> str:
        """Say what the drawn instruments show, pooled over all that differs."""
        rows = self.record["drawn"]
        within = _within(rows)
        instruments = {(r["energy"], r["semiangle"], r["step"]) for r in rows}
        return (
            f"{len(instruments)} instruments drawn at random: gain "
            f"{summarise(_gains(rows)).text(3, sign=True)} over scans and doses; the intervals "
            + " and ".join(
                f"of {percent(share)} hold {percent(within[share])}" for share in ALLOWED
            )
        )

    def where_not(self) -> str:
        """Say where the interval is too narrow, and where the network is behind."""
        rows = [*self.record["listed"], *self.record["drawn"]]
        deep = [row for row in rows if self.depth(row) > DEPTHS]
        thin = [row for row in rows if self.depth(row) <= DEPTHS]
        parts = []
        if deep and thin:
            parts.append(
                f"Beyond a thickness of {DEPTHS:g} λ/α² views do not show the projected phase. The "
                f"68 % interval then holds {percent(_within(deep)[0.68])} of the pixels, and "
                f"{percent(_within(thin)[0.68])} up to there. The report of a scan says how thick that is."
            )
        behind: dict[tuple[str, str], list[str]] = {}
        for cell in self.behind():
            behind.setdefault((cell.instrument, cell.kind), []).append(dose_label(cell.dose))
        if behind:
            listed = "; ".join(
                f"{instrument}, {kind}, at {', '.join(doses)}"
                for (instrument, kind), doses in behind.items()
            )
            parts.append(f"The network is behind direct ptychography here: {listed}.")
        return "\n\n".join(parts) or "None of these scans speaks against it."

    def seen(self) -> str:
        """Open with a conclusion, and list what the record says."""
        finite = [cell for cell in self.cells if math.isfinite(cell.dose)]
        better = sum(summarise(cell.gains).median > BEHIND for cell in finite)
        held, _ = self.held(0.68, self.shallow)
        conclusion = (
            f"The network is better than direct ptychography in {better} of {len(finite)} cells of "
            f"instrument, specimen and finite dose, and behind it in {len(self.behind())} of all "
            f"{len(self.cells)}. Its 68 % interval holds what it says in {held} of the "
            f"{len(self.shallow)} cells whose specimens are thinner than {DEPTHS:g} λ/α²."
        )
        lines = [
            f"against direct ptychography the correlation changes by {self.gain()} over the cells at "
            f"finite doses, and by {self.gain(finite=False)} at infinite dose; n counts cells",
            *self.goals(),
            self.elsewhere(),
        ]
        listed = "\n".join(f"* {line[:1].upper()}{line[1:]}." for line in lines)
        return f"{conclusion}\n\n{listed}"

    def measured(self) -> dict[str, Any]:
        """Return the numbers that other pages may read."""
        return {
            "cells": [
                {
                    "instrument": cell.instrument,
                    "kind": cell.kind,
                    "dose": str(cell.dose),
                    "gains": plain(cell.gains),
                    "within": {f"{share:g}": value for share, value in cell.within.items()},
                }
                for cell in self.cells
            ],
            "goals": self.goals(),
        }


def _gains(rows: Iterable[Row]) -> tuple[float, ...]:
    return tuple(row["network"] - row["direct"] for row in rows)


def _median_gain(rows: Sequence[Row]) -> float:
    return summarise(_gains(rows)).median


def _within(rows: Sequence[Row]) -> dict[float, float]:
    """Share of the pixels of all scans within each interval; all scans have as many pixels."""
    return {
        share: round(float(np.mean([row[f"within_{share:g}"] for row in rows])), 4)
        for share in ALLOWED
    }


def _draw(axes: Axes, values: Any, centre: float, reach: float, form: str) -> None:
    """Draw a heat map with its numbers; white is `centre`."""
    norm = TwoSlopeNorm(centre, centre - reach, centre + reach)
    axes.imshow(values, cmap="PuOr", norm=norm, aspect="auto")
    for (i, j), value in np.ndenumerate(values):
        if math.isfinite(value):
            dark = abs(value - centre) > 0.6 * reach
            text = form.format(value).replace("-", "−")
            axes.text(
                j, i, text, ha="center", va="center", fontsize=8, color="white" if dark else "black"
            )
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0)


def _dose_axis(axes: Axes, doses: Sequence[float]) -> None:
    axes.set_xticks(range(len(doses)), ["∞" if math.isinf(d) else f"{d:g}" for d in doses])
    axes.set_xlabel("dose [e⁻/Å²]")


def draw_scan(
    direct: Tensor, image: Tensor, deviation: Tensor, truth: Tensor, acquisition: Acquisition
) -> Figure:
    """Draw both images, the deviation on its own scale, and the truth."""
    figure = Figure(figsize=(9.4, 2.7), layout="constrained")
    limits = display_limits([direct, image, truth])
    bar = float(f"{min(acquisition.field) / 4:.1g}")
    for axes, (title, values) in zip(
        figure.subplots(1, 4),
        {"direct": direct, "network": image, "its deviation": deviation, "truth": truth}.items(),
        strict=True,
    ):
        own = display_limits([values]) if values is deviation else limits
        unit = f"{title}, {own[0]:.2f} to {own[1]:.2f} rad"
        first = bar if values is direct else None
        show_image(axes, values, acquisition.field, title=unit, limits=own, bar=first)
    return figure


def one_scan(
    scan: Scan,
    network: str,
    direct: Tensor,
    image: Tensor,
    truth: Tensor,
    within: dict[float, float],
    acquisition: Acquisition,
    dose: float,
) -> str:
    """Say what one scan shows."""
    intervals = " and ".join(
        f"{percent(held)} within that of {percent(share)}" for share, held in within.items()
    )
    return (
        f"{scan.specimen}, {scan.thickness:.0f} Å thick, at {dose_label(dose)}: λ/2α is "
        f"{acquisition.information_limit:.2f} Å, and the outermost view moves by "
        f"{acquisition.largest_view_shift / acquisition.step[0]:.1f} steps. `{network}` has a correlation "
        f"of {correlation(image, truth):.2f} with the truth, direct ptychography "
        f"{correlation(direct, truth):.2f}. Of the pixels, {intervals}."
    )
