"""Chapter 12, refinement: its figures, tables and words."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from torch import Tensor

from misr4d import plotting
from misr4d.companion.chapters.drawing import dose_ticks, plot_spread
from misr4d.companion.chapters.refinement import STAGES, WAYS, Explained, Invented, StudyRows
from misr4d.companion.chapters.tables import table
from misr4d.companion.study import Scene
from misr4d.learn.learned import card
from misr4d.measure.spectra import RINGS
from misr4d.measure.summary import summarise
from misr4d.reconstruction.tuned import refine_tuning

__all__ = [
    "assumption_table",
    "curves",
    "defocus_table",
    "images",
    "invention_table",
    "overruled_curves",
    "prior_table",
    "seen",
    "ways_table",
]

LEVEL = 0.002  # correlations nearer than this count as level
TENTH = 0.1  # of a ring's width: frequencies nearer than this count as level
STYLES = {
    "direct": ("#d55e00", "o-"),
    "informed": ("#332288", "o-"),
    "painted over, not refined": ("#332288", "s:"),
    "painted over, refined": ("#117733", "s-"),
}


def prior_table() -> str:
    """Weight and tail on record, and what they gained where they were chosen, as a table."""
    record = refine_tuning()
    rows = [
        [
            row["regime"],
            f"{row['weight']:g}",
            row["tail"].replace("inf", "∞"),
            f"{row['first_stage']:.3f}",
            f"{row['correlation']:.3f}",
        ]
        for row in record["choice"]
    ]
    older = []  # what has changed since the choice
    if record["network"] != card("DirectInformed")["sha256"]:
        older.append("with another network than that of this page")
    if "key" not in record:
        older.append("before the count of what an image has fitted of the noise was corrected")
    since = f" They were chosen {' and '.join(older)}, and not again since." if older else ""
    return (
        "Weight and tail on record, and the mean correlation with the truth over the whole field on the "
        f"specimens that they were chosen on.{since}\n\n"
        + table(["regime", "w", "t", "first stage", "refined"], rows)
    )


def images(
    scenes: Mapping[str, Scene], shown: Mapping[str, Mapping[str, Tensor]], dose: float
) -> Figure:
    """Draw both stages, truth, and where the electrons moved the first stage."""
    figure = Figure(figsize=(7.4, 5.0), layout="constrained")
    grid = figure.subplots(len(scenes), 5)
    for row, (name, scene) in zip(grid, scenes.items(), strict=True):
        part, bar = (0.5, 5.0) if scene.specimen.regime == "atomic" else (0.6, 50.0)
        whole = scene.acquisition.field
        centred, field = plotting.middle(scene.truth - scene.truth.mean(), whole, part)
        limits = plotting.display_limits([centred], 0.5)
        for axes, label in zip(row, STAGES, strict=False):
            image = plotting.middle(shown[name][label], whole, part)[0]
            first = label == STAGES[0]
            plotting.show_image(axes, image, field, limits=limits, bar=bar if first else None)
        plotting.show_image(row[3], centred, field, limits=limits)
        inner = plotting.middle(shown[name]["change"], whole, part)[0]
        reach = max(abs(limit) for limit in plotting.display_limits([inner], 0.5))
        change = row[4].imshow(inner, cmap="RdBu_r", vmin=-reach, vmax=reach, extent=(0, 1, 1, 0))
        figure.colorbar(change, ax=row[4], shrink=0.8, aspect=20)
        row[4].set(xticks=[], yticks=[])
        row[4].spines[:].set_visible(False)
        row[0].set_ylabel(textwrap.fill(scene.specimen.short_title, 18))
    titles = ("direct", "informed (first)", "refined (second)", "truth", "change / σ")
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title)
    figure.suptitle(plotting.dose_label(dose), fontsize=9)
    return figure


def curves(scenes: Mapping[str, Scene], study: StudyRows) -> Figure:
    """Draw correlation and resolved frequency of both stages against dose."""
    figure = Figure(figsize=(7.4, 4.4), layout="constrained")
    grid = figure.subplots(2, len(scenes), sharex=True)
    for column, (name, scene) in enumerate(scenes.items()):
        for axes, key in zip(grid[:, column], ("correlation", "frequency"), strict=True):
            for method in STAGES:
                drawn = [(d, summarise(study.values(name, method, d, key))) for d in study.doses]
                plot_spread(axes, drawn, method)
            dose_ticks(axes, study.doses)
        top = min(1 / scene.acquisition.information_limit, 0.5 / max(scene.pixel))
        grid[1, column].axhline(top, color="0.6", ls="--", lw=0.8)
        grid[1, column].set(xlabel="dose (e⁻/Å²)", ylim=(0, 1.1 * top))
        grid[0, column].set_title(scene.specimen.short_title)
    grid[0, 0].set_ylabel("correlation inside")
    grid[1, 0].set_ylabel("FRC-0.5 frequency (Å⁻¹)")
    for axes in grid.flat:
        axes.minorticks_off()
    figure.suptitle(f"{len(study.draws)} draws at each dose", fontsize=9)
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def ways_table(ways: Sequence[Mapping[str, Any]]) -> str:
    """Both ways to use a network, as a table and in words."""

    def entry(measures: Mapping[str, Sequence[float]]) -> str:
        frequency = summarise(measures["frequency"]).median
        period = plotting.period_label(1 / frequency if frequency else math.inf)
        return f"{summarise(measures['correlation']).text(digits=3)}, {period}"

    rows = [
        [row["specimen"], plotting.dose_label(row["dose"]), *(entry(row[way]) for way in WAYS)]
        for row in ways
    ]
    pairs = [
        (plugged, prior)
        for row in ways
        for plugged, prior in zip(
            row["plug and play"]["correlation"], row["prior"]["correlation"], strict=True
        )
    ]
    ahead = sum(plugged > prior for plugged, prior in pairs)
    return (
        "Correlation with the truth inside the specimen, and the median FRC-0.5 resolution:\n\n"
        + table(["specimen", "dose", *WAYS], rows)
        + f"\n\nPlug and play is ahead in {ahead} of {len(pairs)} scans by correlation. "
        + (
            "The prior is what the rest of the book uses: asked again about electrons that the image "
            "fits already, the network takes their noise for the specimen's."
            if 2 * ahead < len(pairs)
            else "The rest of the book uses the prior all the same, which is a third of the work."
        )
    )


def assumption_table(cases: Explained, dose: float) -> str:
    """Deviance, excess and warning of each case, as a table."""
    rows = [
        [
            label,
            f"{summarise(draw['deviance'] for draw in draws).median:.4f}",
            summarise(draw["excess"] for draw in draws).text(1, sign=True),
            f"in {sum(draw['warned'] for draw in draws)} of {len(draws)}",
        ]
        for label, draws in cases.items()
    ]
    return (
        f"At {dose:g} e⁻/Å². The median deviance over its expectation, the excess in standard deviations, and "
        "in how many draws the warning says that the image does not explain the counts:\n\n"
        + table(["case", "deviance", "excess", "warned"], rows)
    )


def defocus_table(defoci: Sequence[Mapping[str, Any]], counts: int) -> str:
    """Write what the excess sees of a wrong defocus, as a table and in words.

    Parameters
    ----------
    defoci : sequence of mapping
        As from :func:`misr4d.companion.chapters.refinement.all_assumptions`.
    counts : int
        Number of counts over which the excess sums.
    """
    unseen = [row for row in defoci if row["error"] and min(row["excess"]) < 5]
    rows = [
        [
            f"{row['error']:.0%}",
            plotting.dose_label(row["dose"]),
            summarise(row["excess"]).text(1, sign=True),
            f"{summarise(100 * left for left in row['left']).text(1, sign=True)}",
        ]
        for row in defoci
    ]
    return (
        "What the check sees of a wrong defocus, and what is left of the error if the defocus is fitted along:"
        "\n\n" + table(["error", "dose", "excess", "error after the fit (%)"], rows) + "\n\n"
    ) + (
        "The warning at 5 does not always see "
        + ", ".join(f"{row['error']:.0%} at {plotting.dose_label(row['dose'])}" for row in unseen)
        + ": the image gives way to part of a wrong defocus, and the rest is lost in the noise of "
        f"{counts} counts. An excess below five does not say that what was assumed is "
        "right, only that these electrons do not contradict it."
        if unseen
        else "The warning at 5 sees each of these errors."
    )


def overruled_curves(overruled: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw share shown and detection of the missing column against dose."""
    doses = [row["dose"] for row in overruled]
    figure = Figure(figsize=(8.2, 3.0), layout="constrained")
    grid = figure.subplots(1, 2)
    for axes, key, ends in ((grid[0], "share", (0.0, 1.0)), (grid[1], "probability", (0.5, 1.0))):
        for label, (colour, style) in STYLES.items():
            drawn = [summarise(row[label][key]) for row in overruled]
            middle = [summary.median for summary in drawn]
            axes.plot(doses, middle, style, ms=3, color=colour, label=label)
            spread = [summary.low for summary in drawn], [summary.high for summary in drawn]
            axes.fill_between(doses, *spread, color=colour, alpha=0.15, lw=0)
        for level in ends:
            axes.axhline(level, color="0.6", lw=0.8, ls=":")
        axes.set(xlabel="dose (e⁻/Å²)")
        dose_ticks(axes, doses)
        axes.minorticks_off()
    grid[0].set_ylabel("share of the missing column")
    grid[1].set_ylabel("detection probability")
    handles = grid[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside right center", fontsize=7.5)
    return figure


def invention_table(invented: Invented) -> str:
    """Write the false peaks of both stages, direct ptychography and ptychography, as a table."""
    stages = ("direct", "ptychography", "first", "second")
    rows = []
    for kind, dose in dict.fromkeys(key[:2] for key in invented):
        drawn = [invented.get((kind, dose, stage)) for stage in stages]
        cells = ["–" if values is None else summarise(values).text() for values in drawn]
        rows.append([kind, plotting.dose_label(dose), *cells])
    rows.sort(key=lambda row: row[0] != "vacuum")
    head = ["scan", "dose", "direct", "ptychography", "first stage", "refined"]
    return "False peaks in 100 Å², median over n draws:\n\n" + table(head, rows)


def seen(
    scenes: Mapping[str, Scene],
    study: StudyRows,
    longest: float,
    overruled: Sequence[Mapping[str, Any]],
    cases: Explained,
    invented: Invented,
) -> str:
    """Write what was seen; arguments are what the other functions of this page were given."""

    def compared(key: str, least: float) -> tuple[int, int, int]:
        """In how many specimens and doses the second stage is better, level and worse than the first."""
        better = level_ = worse = 0
        for name in scenes:
            for dose in study.doses:
                if dose < least:
                    continue
                pairs = zip(
                    study.values(name, "refined", dose, key),
                    study.values(name, "informed", dose, key),
                    strict=True,
                )
                difference = summarise(b - a for b, a in pairs).median
                ring = RINGS / scenes[name].acquisition.field[0]
                edge = LEVEL if key == "correlation" else TENTH * ring
                better += difference > edge
                worse += difference < -edge
                level_ += abs(difference) <= edge
        return better, level_, worse

    def words(counts: tuple[int, int, int]) -> str:
        return f"better in {counts[0]}, {{term}}`level` in {counts[1]}, worse in {counts[2]}"

    def verdict(met: bool) -> str:
        return "met" if met else "not met"

    low_and_high = {
        key: (compared(key, 0), compared(key, 500)) for key in ("correlation", "frequency")
    }
    no_worse = all(whole[2] == 0 for whole, _ in low_and_high.values())
    from_500 = all(high[0] == sum(high) for _, high in low_and_high.values())

    def peaks(stage: str, kinds: tuple[str, ...] = ("vacuum", "shuffled")) -> float:
        return sum(
            summarise(v).median for (k, _, s), v in invented.items() if s == stage and k in kinds
        )

    totals = {stage: peaks(stage) for stage in ("direct", "first", "second")}
    in_vacuum = {stage: peaks(stage, ("vacuum",)) for stage in ("ptychography", "second")}
    halved = totals["second"] <= totals["first"] / 2
    halved_iterative = in_vacuum["second"] <= in_vacuum["ptychography"] / 2

    def shown_from(way: str) -> float:
        """Lowest dose from which on more than half of the defect is shown."""
        shares = [(row["dose"], summarise(row[way]["share"]).median) for row in overruled]
        return next((dose for dose, share in shares if share > 0.5), math.inf)

    back, alone = shown_from("painted over, refined"), shown_from("direct")
    late = (
        " What the prior believes, the refinement gives up late: a second stage does not make a wrong first\n"
        "  one harmless at low dose."
        if back > alone
        else ""
    )
    true_case = ", ".join(f"{draw['excess']:+.1f}" for draw in cases["the crystal as it is"])
    warned = [label for label, draws in cases.items() if all(draw["warned"] for draw in draws)]
    silent = [label for label, draws in cases.items() if not any(d["warned"] for d in draws)]
    some = [label for label in cases if label not in (*warned, *silent)]
    sometimes = f" In some of the draws it spoke for {', '.join(some)}." if some else ""
    better, _, worse = low_and_high["correlation"][0]
    return f"""
By correlation inside the specimen the refined image is better than the first stage in {better} of
{len(scenes) * len(study.doses)} comparisons and worse in {worse}.

Goals that were set before this was built:

* *No worse than the first stage at any dose*: **{verdict(no_worse)}**. Of {len(scenes) * len(study.doses)}
  comparisons, correlation is {words(low_and_high["correlation"][0])}; the resolved frequency is
  {words(low_and_high["frequency"][0])}.
* *Better from 500 e⁻/Å² up*: **{verdict(from_500)}**. Correlation is {words(low_and_high["correlation"][1])},
  the resolved frequency {words(low_and_high["frequency"][1])}. Ptychography on the same footing stands
  beside `refined` in {{doc}}`06_method_comparison`.
* *Invention cut by at least half*: against tuned ptychography **{verdict(halved_iterative)}**, false peaks
  over vacuum {in_vacuum["ptychography"]:.2f} there and {in_vacuum["second"]:.2f} here; against the first
  stage **{verdict(halved)}**, over vacuum and shuffled scans {totals["first"]:.2f} before and
  {totals["second"]:.2f} after, {totals["direct"]:.2f} by direct ptychography (sums of the medians above).
  What the network still takes for structure in nothing, these electrons do suggest; no second look at
  the same ones can tell.
* *At most 60 s for a scan*: **{verdict(longest <= 60)}** where the study was measured; the longest of
  three took {longest:.0f} s there, on one core.

And beyond the goals:

* **The electrons overrule a painted first stage** by more than half of the difference from
  {"no dose measured" if math.isinf(back) else f"{back:g} e⁻/Å²"} on; direct ptychography, without any prior,
  shows the missing column by as much from {"no dose measured" if math.isinf(alone) else f"{alone:g} e⁻/Å²"}
  on.{late}
* **The excess** of the true case is {true_case} standard deviations in the draws; from image to image it
  scatters by one. The warning spoke in every draw for: {", ".join(warned) if warned else "none of the cases"}. It
  spoke in none for {", ".join(silent) if silent else "any other"}.{sometimes}
"""
