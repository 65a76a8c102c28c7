"""Chapter 2, would more training help: scores of short runs against samples and width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from misr4d.companion.scaling import Trend, fit_trend, read_scaling, run_score
from misr4d.plotting import mark_limit

__all__ = ["GROUPS", "PUBLISHED", "Scaling"]

GROUPS: Mapping[str, tuple[str, ...]] = {
    "specimens of the training's kind": ("unseen atomic", "unseen molecular"),
    "specimens of the paper": ("Li2CoO3", "CuZr", "apoferritin"),
}
"""Specimens that are scored together, by what they are called."""
PUBLISHED = 64
"""Width of the paper's network."""
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")


class Scaling:
    """Runs of the paper's network on record, beside direct ptychography.

    Parameters
    ----------
    record : mapping, optional
        As :func:`misr4d.companion.scaling.read_scaling` returns it, which is the default.
    """

    network = "AttentionUNet"

    def __init__(self, record: Mapping[str, Any] | None = None) -> None:
        self.record = read_scaling() if record is None else record
        runs = self.record["runs"]
        self.runs = [run for run in runs if run["network"] == self.network]
        (self.direct,) = (run for run in runs if run["network"] == "direct")
        self.widths = sorted({run["width"] for run in self.runs})

    def trend(self, groups: Sequence[str]) -> Trend | None:
        """Fit the score against samples and width; none of too few runs."""
        return fit_trend(
            [
                (run["samples"], run["width"], run_score(run, groups, "correlation").median)
                for run in self.runs
            ]
        )

    def figure(self) -> Figure:
        """Draw score against samples, a line a width, with the trend to the paper's size."""
        figure = Figure(figsize=(9.0, 3.2), layout="constrained")
        paper = self.record["samples"]
        for axes, (title, groups) in zip(
            figure.subplots(1, 2, sharey=True), GROUPS.items(), strict=True
        ):
            for colour, width in zip(_COLOURS, self.widths, strict=False):
                own = sorted(
                    (run["samples"], run_score(run, groups, "correlation"))
                    for run in self.runs
                    if run["width"] == width
                )
                samples = [n for n, _ in own]
                middle = [s.median for _, s in own]
                reach = [[s.median - s.low for _, s in own], [s.high - s.median for _, s in own]]
                axes.errorbar(
                    samples,
                    middle,
                    reach,
                    fmt="o-",
                    ms=4,
                    color=colour,
                    lw=1.2,
                    elinewidth=0.6,
                    label=f"width {width}",
                )
            if (trend := self.trend(groups)) is not None:
                reached = np.geomspace(max(r["samples"] for r in self.runs), paper, 30)
                followed = np.array([trend.at(n, PUBLISHED) for n in reached])
                axes.plot(reached, followed[:, 0], color="0.3", ls=":", lw=1.2)
                axes.fill_between(reached, followed[:, 1], followed[:, 2], color="0.85", lw=0)
            direct = run_score(self.direct, groups, "correlation").median
            mark_limit(axes, direct, "direct ptychography, no training")
            mark_limit(axes, paper, "the paper's samples", upright=True)
            axes.set(xscale="log", xlabel="training samples", title=title, ylim=(0, 1))
        figure.axes[0].set_ylabel("correlation inside the specimen")
        figure.axes[0].legend(loc="upper left", fontsize=8)  # at their ends they would overlap
        return figure

    def text(self) -> str:
        """Say what more samples bring, and what the trend expects of the paper's size."""
        lines = [self._of(title, groups) for title, groups in GROUPS.items()]
        steps = ", ".join(f"{n:,} samples" for n in sorted({run["samples"] for run in self.runs}))
        return (
            f"{len(self.runs)} runs of the paper's network, of widths "
            f"{', '.join(map(str, self.widths))} and {steps}, each with its own schedule to its end, "
            f"on finite pixels (`{self.record['command']}`). The paper's has width {PUBLISHED} and "
            f"{self.record['samples']:,} samples.\n\n" + "\n".join(f"* {line}" for line in lines)
        )

    def _of(self, title: str, groups: Sequence[str]) -> str:
        direct = run_score(self.direct, groups, "correlation").median
        best = max(self.runs, key=lambda run: run_score(run, groups, "correlation").median)
        score = run_score(best, groups, "correlation")
        line = (
            f"On {title} the best run, width {best['width']} and {best['samples']:,} samples, "
            f"reaches a correlation of {score.text()}, and direct ptychography {direct:.2f}."
        )
        trend = self.trend(groups)
        if trend is None:
            return f"{line} So few runs carry no trend."
        expected, low, high = trend.at(self.record["samples"], PUBLISHED)
        verdict = (
            "which is ahead of direct ptychography"
            if low > direct
            else "which is behind direct ptychography"
            if high < direct
            else "in which direct ptychography lies"
        )
        return (
            f"{line} Followed to the paper's size, 1 − correlation falls as the power "
            f"{trend.by_samples:.2f} of the samples and {trend.by_width:.2f} of the width: "
            f"{expected:.2f} is expected, and of such runs 68 % between {max(low, -1.0):.2f} and "
            f"{min(high, 1.0):.2f}, {verdict}. That is an extrapolation over a factor of "
            f"{self.record['samples'] / max(run['samples'] for run in self.runs):.0f} in samples "
            f"(n = {trend.n} runs)."
        )
