"""Chapter 11, what a network invents: its figures, tables and words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.patches import Circle

from misr4d import plotting
from misr4d.companion.chapters.drawing import dose_ticks
from misr4d.companion.chapters.invention import Audit
from misr4d.companion.chapters.invention_cases import AWAY, ITERATIVE
from misr4d.companion.chapters.tables import minus, table
from misr4d.learn.learned import card
from misr4d.measure.summary import summarise
from misr4d.reconstruction.tuned import ptychography_settings

__all__ = [
    "defect_images",
    "detection_curves",
    "deviation_table",
    "nothing_images",
    "seen",
    "spiral_table",
]


def _median(values: Sequence[float]) -> float:
    return summarise(values).median


def nothing_images(audit: Audit) -> Figure:
    """Draw what each method makes of vacuum and of a shuffled scan, and its false peaks."""
    doses, shown = audit.doses, audit.questions.shown_dose
    figure = Figure(figsize=(10.0, 3.6), layout="constrained")
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=(1.9, 1))[0]
    limits = (-2 * audit.threshold, 4 * audit.threshold)
    columns = [(label, shown) for label in audit.methods]
    if audit.ptychography_dose is not None:
        columns.append((ITERATIVE, audit.ptychography_dose))
    grid = left.subplots(2, len(columns))
    for row, kind in zip(grid, ("vacuum", "shuffled"), strict=True):
        for axes, (label, dose) in zip(row, columns, strict=True):
            first = kind == "vacuum"
            plotting.show_image(
                axes,
                audit.pictures[kind, label, dose],
                audit.acquisition.field,
                title=f"{label}\n{plotting.dose_label(dose)}" if first else "",
                limits=limits,
                bar=10.0 if first and label == "direct" else None,
            )
        row[0].set_ylabel(kind)
    axes = right.subplots()
    for label in audit.shown:
        for kind, style in (("vacuum", "o-"), ("shuffled", "s--")):
            levels = [d for d in doses if (kind, label, d) in audit.nothing]
            axes.plot(
                levels,
                [_median(audit.nothing[kind, label, d]) for d in levels],
                style if len(levels) > 1 else style[0],
                color=plotting.METHOD_COLOURS[label],
                ms=3 if len(levels) > 1 else 6,
                label=f"{label}, {kind}",
            )
    axes.set(xlabel="dose (e⁻/Å²)", ylabel="false peaks in 100 Å²")
    dose_ticks(axes, doses)
    right.legend(
        *axes.get_legend_handles_labels(),
        loc="outside lower center",
        ncols=2,
        fontsize=6.5,
        handlelength=3,
    )
    return figure


def defect_images(audit: Audit) -> Figure:
    """Draw a removed column at two doses and a turned disc at one, by each method."""
    rows = audit.questions.shown_defects
    figure = Figure(figsize=(1.6 * (len(audit.shown) + 1) + 0.4, 5.2), layout="constrained")
    grid = figure.subplots(len(rows), len(audit.shown) + 1)
    for index, (row, (kind, dose)) in enumerate(zip(grid, rows, strict=True)):
        labels = [*audit.shown, "truth"]
        images = [audit.pictures.get((kind, label, dose)) for label in labels]
        present = [image for image in images if image is not None]
        size = present[0].shape
        field = (size[0] * audit.pixel[0], size[1] * audit.pixel[1])
        limits = plotting.display_limits(present, 0.5)
        for axes, image, label in zip(row, images, labels, strict=True):
            title = label if index == 0 else ""
            if image is None:
                axes.set_title(title)
                axes.set_axis_off()
                axes.set_box_aspect(1)  # as its neighbours, whose titles stand on their images
                axes.text(0.5, 0.5, "not run", ha="center", fontsize=8, transform=axes.transAxes)
                continue
            bar = 5.0 if label == audit.shown[0] else None
            plotting.show_image(axes, image, field, title=title, limits=limits, bar=bar)
            around = (field[1] / 2, field[0] / 2)
            radius = 1.3 if kind == "removed" else audit.questions.swapped_radius
            axes.add_patch(Circle(around, radius, fill=False, ec="#d55e00", lw=0.8))
        row[0].set_ylabel(f"{kind}\n{plotting.dose_label(dose)}")
    return figure


def detection_curves(audit: Audit, titles: Mapping[str, str]) -> Figure:
    """Draw share shown and detection probability of each defect against dose.

    Parameters
    ----------
    audit : Audit
    titles : mapping of str to str
        Defects, and what stands above each column.
    """
    figure = Figure(figsize=(9.2, 5.2), layout="constrained")
    grid = figure.subplots(2, len(titles), sharey="row", sharex=True)
    for column, (kind, title) in enumerate(titles.items()):
        for axes, found, lines in (
            (grid[0, column], audit.shares, (0.0, 1.0)),
            (grid[1, column], audit.chances, (0.5, 1.0)),
        ):
            for label in audit.shown:
                levels = [d for d in audit.doses if (kind, label, d) in found]
                drawn = [summarise(found[kind, label, d]) for d in levels]
                colour = plotting.METHOD_COLOURS[label]
                if len(levels) > 1:
                    middle = [d.median for d in drawn]
                    axes.plot(levels, middle, "o-", color=colour, ms=3, label=label)
                    low, high = ([d.low for d in drawn], [d.high for d in drawn])
                    axes.fill_between(levels, low, high, color=colour, alpha=0.15, lw=0)
                elif levels:
                    name = f"{label}, one draw"
                    axes.plot(levels, drawn[0].median, "D", color=colour, ms=5, label=name)
            for level in lines:
                axes.axhline(level, color="0.6", ls="--", lw=0.8)
            dose_ticks(axes, audit.doses)
        grid[0, column].set_title(title)
        grid[1, column].set_xlabel("dose (e⁻/Å²)")
    grid[0, 0].set_ylabel("share shown")
    grid[1, 0].set_ylabel("detection probability")
    handles = grid[0, 0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=5, fontsize=7)
    return figure


def spiral_table(audit: Audit) -> str:
    """Correlations of the spiral and overconfidence of its halves, as a table."""
    rows = []
    for name, found in (
        ("correlation inside the specimen", audit.inside),
        ("correlation in the whole field", audit.whole),
        ("overconfidence of its halves", audit.promised),
    ):
        for label in audit.shown:
            drawn = [found.get((label, d)) for d in audit.doses]
            if any(drawn):
                rows.append(
                    [label, name, *("·" if v is None else summarise(v).text() for v in drawn)]
                )
    return table(["method", "measure", *map(plotting.dose_label, audit.doses)], rows)


def _at_home(audit: Audit, share: float) -> str:
    """Coverage of an interval on specimens like those of the training, over doses: ends, in %."""
    held = [
        row["coverage"]
        for row in card("DirectInformed")["calibration"]["coverage"]
        if row["regime"] == audit.home.specimen.regime and row["share"] == share
    ]
    return f"{min(held):.1%} to {max(held):.1%}"


def deviation_table(audit: Audit) -> str:
    """Predicted deviation, error and coverage of the informed network, as a table."""
    shares = audit.interval_shares
    head = ["where", "dose", "predicted (rad)", "error (rad)"]
    head += [f"in the {share:.0%} interval" for share in shares]
    home = [_at_home(audit, share) for share in shares]
    rows = [["in distribution, from the card", "each of its doses", "·", "·", *home]]
    for name in AWAY:
        for dose in sorted({audit.doses[0], audit.doses[-1]}):
            found = audit.reliabilities[name, dose]
            cells = [
                summarise([one.predicted for one in found]).text(3),
                summarise([one.error for one in found]).text(3),
                *(f"{_median([one.covered[share] for one in found]):.1%}" for share in shares),
            ]
            rows.append([name, plotting.dose_label(dose), *cells])
    return table(head, rows)


def seen(audit: Audit) -> str:
    """Write what was seen."""
    doses, draws, shares, chances = audit.doses, audit.draws, audit.shares, audit.chances
    nothing, novel_inside, promised = audit.nothing, audit.inside, audit.promised
    error_ratios, reliabilities = audit.error_ratios, audit.reliabilities
    intervals = audit.interval_shares
    perfect = list(dict.fromkeys(key[0] for key in chances))

    def named(found: Mapping[tuple[str, float], Sequence[float]], dose: float) -> str:
        """Medians at a dose by each method that has one."""
        return ", ".join(
            f"{minus(_median(found[label, dose]))} ({label})"
            for label in audit.shown
            if (label, dose) in found
        )

    def over(kind: str, level: float = 0.9) -> str:
        """From which dose on a defect is told from the perfect crystal, by each method."""
        cells = []
        for label in audit.methods:
            missed = [d for d in doses if _median(chances[kind, label, d]) < level]
            later = [d for d in doses if not missed or d > max(missed)]
            least = f"{later[0]:g} e⁻/Å²" if later else f"no dose up to {doses[-1]:g} e⁻/Å²"
            cells.append(f"{least} ({label})")
        return ", ".join(cells)

    def each_defect(label: str, ptychography_dose: float) -> str:
        key = label, ptychography_dose
        return ", ".join(
            f"{minus(_median(chances[kind, *key]))} ({kind}, share {minus(_median(shares[kind, *key]))})"
            for kind in perfect
        )

    def part(
        found: Mapping[tuple[str, str, float], Sequence[float]], kind: str
    ) -> dict[tuple[str, float], Sequence[float]]:
        return {(label, dose): v for (k, label, dose), v in found.items() if k == kind}

    low, high = doses[0], doses[-1]
    clean = [
        label
        for label in audit.shown
        if not any(_median(found) for key, found in nothing.items() if key[1] == label)
    ]
    times = "; ".join(
        f"{name} at {d:g} e⁻/Å²: the deviation {found.predicted:.2f} times, the error {found.observed:.2f} times"
        for (name, d), found in error_ratios.items()
        if d in (low, high)
    )
    away = [found for found in error_ratios.values() if found.predicted_rises is not None]
    enough = sum(found.predicted >= found.observed for found in error_ratios.values())
    verdict = "yes" if away and all(found.predicted_rises for found in away) else "no"
    short = {
        name: min(
            _median([one.covered[intervals[-1]] for one in reliabilities[name, d]]) for d in doses
        )
        for name, (*_, home) in AWAY.items()
        if home is not None
    }
    iterative = ""
    if audit.ptychography_dose is not None:
        dose = audit.ptychography_dose
        settings = ptychography_settings(audit.home.specimen.regime, dose)
        sign = (
            " Its object is a potential, which py4DSTEM keeps from going negative: noise can only stand up."
            if settings.object_type == "potential"
            else ""
        )
        iterative = f"""
* **Ptychography**, tuned, one draw at {dose:g} e⁻/Å²: false peaks in 100 Å²
  {minus(nothing["vacuum", "ptychography", dose][0])} in vacuum and
  {minus(nothing["shuffled", "ptychography", dose][0])} in the shuffled scan.{sign} Detection
  probability {each_defect("ptychography", dose)}, where direct ptychography has {each_defect("direct", dose)} and the
  informed network {each_defect("informed", dose)}."""
    return f"""
{f"No false peak at any dose: {', '.join(clean)}" if clean else "Every method draws false peaks"} in vacuum or in a scan
without order. How many depends on method and dose.

A {{term}}`draw` is one random counting of the electrons. Numbers are medians of {draws} draws where nothing else is said, and those of one draw by ptychography.

* **Vacuum.** At {low:g} e⁻/Å² the false peaks in 100 Å² are {named(part(nothing, "vacuum"), low)}; at
  {high:g} e⁻/Å² {named(part(nothing, "vacuum"), high)}.
* **Shuffled scan**, at {low:g} e⁻/Å²: {named(part(nothing, "shuffled"), low)}; at {high:g} e⁻/Å²
  {named(part(nothing, "shuffled"), high)}.
* **A removed column.** It is told from the perfect crystal with a probability of 0.9 or more from this
  dose on: {over("removed")}. At {high:g} e⁻/Å² the share shown is {named(part(shares, "removed"), high)};
  without counting noise {named(part(shares, "removed"), math.inf)}. Where a network's share lies below the
  direct ptychography's without noise, its prior is at work.
* **A turned disc.** It is told from the perfect crystal from this dose on: {over("turned")}; at
  {low:g} e⁻/Å² with a probability of {named(part(chances, "turned"), low)}.{iterative}
* **Never trained on.** On the spiral at {high:g} e⁻/Å² the correlations inside the specimen are
  {named(novel_inside, high)}, and the halves agree by {named(promised, high)} more than they are true.
  What direct ptychography has of it is the transfer that varies within a ring and what its model leaves
  out; more than that, a method adds to both halves alike.
* **The deviation rises out of distribution: {verdict}.** Against the crystal at home, {times}. It rises as
  much as the error or more in {enough} of {len(error_ratios)} comparisons over all doses. The {intervals[-1]:.0%} interval holds at worst
  {", ".join(f"{value:.1%} ({name})" for name, value in short.items())} of the pixels, where it held
  {_at_home(audit, intervals[-1])} in distribution, over doses. A deviation that rises by less than the error warns
  too little; one that rises with a stronger signal alone is no warning of a strange arrangement.
* **Claim C8**, that nothing false is introduced. No false peak, at any dose measured, in vacuum or in the
  shuffled scan: {", ".join(clean) or "no method"}. What is left is by how much, at which dose, and that is
  what these numbers are for.
"""
