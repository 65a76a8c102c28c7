"""What the learned method was asked to reach, and whether it does: judged from the bench's table.

Every function takes rows as :func:`misr4d.companion.bench.run_bench` returns them, or the weights'
cards, and none runs a method. A network is compared with a rival draw by draw, on the same
electrons; where the rival has one draw, each of the network's is compared with that one. Every
median and spread is :func:`misr4d.measure.summary.summarise`'s.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from misr4d.companion.cases import (
    CLASSICAL,
    CONTRAST,
    MEASURE_NAMES,
    OURS,
    PEERS,
    PERIODS,
    PTYCHOGRAPHY,
    Case,
    Rows,
    behind,
    best_ptychography,
    compare_methods,
    doses_text,
    is_inverted,
    lead_text,
    period_text,
    scores,
    scores_text,
    sign_of,
)
from misr4d.companion.verdicts import enough, for_readers
from misr4d.measure.metrics import dose_to_reach
from misr4d.measure.summary import Summary, summarise
from misr4d.plotting import dose_label

__all__ = [
    "Goal",
    "as_records",
    "as_table",
    "beats_classical",
    "calibrated",
    "contrast_ratio",
    "dose_ratio",
    "judge_goals",
    "never_worse_than_direct",
    "same_budget",
]


@dataclass(frozen=True)
class Goal:
    """A goal, what was measured, and the verdict.

    Parameters
    ----------
    key : str
        Short name, for other pages.
    asked, measured : str
        Sentences for a table.
    met : bool or None
        None if the table cannot tell.
    cases : tuple of Case
        The comparisons behind it.
    """

    key: str
    asked: str
    measured: str
    met: bool | None
    cases: tuple[Case, ...] = field(default=())

    @property
    def verdict(self) -> str:
        """The verdict in words."""
        return {True: "met", False: "not met", None: "not decided"}[self.met]


def _measured(rows: Rows, regime: str | None = None) -> tuple[list[str], list[float]]:
    """Specimens in the table's order, and rising doses."""
    chosen = [row for row in rows if regime in (None, row.get("regime"))]
    specimens = list(dict.fromkeys(str(row["specimen"]) for row in chosen))
    return specimens, sorted({float(row["dose"]) for row in chosen})


def _together(cases: Iterable[Case]) -> bool | None:
    verdicts = [enough(case.met, case.n, case.dose) for case in cases]
    if not verdicts or (None in verdicts and False not in verdicts):
        return None
    return False not in verdicts


NOT_MEASURED = "not measured: the table does not hold both methods"


def beats_classical(
    rows: Rows, measure: str, *, doses: tuple[float, float] = (50.0, 1000.0), method: str = OURS
) -> Goal:
    """Judge whether a network is ahead of the best classical method wherever atoms are seen.

    Every atomic specimen, every dose in a range. The rival of each comparison is the method that
    learns nothing, peers included, with the smallest median difference. Met if that median is
    above zero.

    Parameters
    ----------
    rows : sequence of mappings
    measure : {"correlation", "resolution"}
    doses : (float, float)
        Range that the goal names [e⁻/Å²]; those in it that the table holds are judged.
    method : str
    """
    specimens, levels = _measured(rows, "atomic")
    levels = [d for d in levels if doses[0] <= d <= doses[1]]
    cases = []
    for specimen in specimens:
        for dose in levels:
            against = [
                compare_methods(
                    rows, specimen, dose, rival, measure, lambda s: s.median > 0, method=method
                )
                for rival in (*CLASSICAL, *PEERS)
            ]
            known = [case for case in against if case is not None]
            if known:
                cases.append(min(known, key=lambda case: case.lead.median))
    asked = (
        f"{method} ahead of the best method that learns nothing, tuned, in "
        f"{MEASURE_NAMES[measure]}, on atomic specimens, at every dose from {doses[0]:g} to "
        f"{doses[1]:g} e⁻/Å²"
    )
    if not cases:
        return Goal(f"classical_{measure}", asked, NOT_MEASURED, None)
    ahead = sum(case.met is True for case in cases)
    clear = sum(case.lead.low > 0 for case in cases)
    lacking = {
        d for d in levels for s in specimens if best_ptychography(rows, s, d, measure) is None
    }
    measured = (
        f"{behind(cases)}ahead in {ahead} of {len(cases)} comparisons at {doses_text(levels)}, "
        f"with the lower end of the spread too in {clear}; least: "
        f"{lead_text(min(cases, key=lambda c: c.lead.median))}"
    )
    if lacking:
        measured += f". No ptychography at {doses_text(sorted(lacking))}"
    return Goal(f"classical_{measure}", asked, measured, _together(cases), tuple(cases))


def never_worse_than_direct(rows: Rows, measure: str, *, method: str = OURS) -> Goal:
    """Judge whether a network is nowhere worse than direct ptychography beyond the spread.

    Every specimen, every dose. Worse beyond the spread: even the upper end of the spread of the
    pairwise differences is below zero. At infinite dose there is one draw, and any deficit counts.
    """
    specimens, levels = _measured(rows)
    against = [
        compare_methods(rows, s, d, "direct", measure, lambda s: s.high >= 0, method=method)
        for s in specimens
        for d in levels
    ]
    cases = [case for case in against if case is not None]
    asked = (
        f"{method} nowhere worse than direct ptychography beyond its spread in "
        f"{MEASURE_NAMES[measure]}: every specimen, every dose, infinite included"
    )
    key = f"direct_{measure}"
    if not cases:
        return Goal(key, asked, NOT_MEASURED, None)
    worse = sorted((c for c in cases if not c.met), key=lambda c: c.lead.median)
    measured = f"worse in {len(worse)} of {len(cases)} comparisons"
    if worse:
        measured += ": " + "; ".join(lead_text(case) for case in worse)
    else:
        measured += f"; least: {lead_text(min(cases, key=lambda c: c.lead.median))}"
    if any(math.isinf(case.dose) for case in cases):
        measured += ". At infinite dose there is one draw, so the spread is zero"
    return Goal(key, asked, measured, _together(cases), tuple(cases))


def contrast_ratio(
    rows: Rows,
    *,
    dose: float = 300.0,
    factor: float = 3.0,
    method: str = OURS,
    measure: str = CONTRAST,
    among: Sequence[str] = PTYCHOGRAPHY,
) -> Goal:
    """Judge whether a network's contrast to noise is so many times that of the best ptychography.

    Parameters
    ----------
    rows : sequence of mappings
    dose : float
        e⁻/Å².
    factor : float
        Of claim C2.
    method : str
    measure : {"contrast_to_error", "cnr", "cnr_raw"}
        Over what does not follow the truth; or between two parts of the specimen over the spread
        within one of them, at one resolution or of the images as they are. That spread holds the
        specimen's own texture, so that the truth itself may not reach the factor.
    among : sequence of str
        Ptychographies, of which the best by this measure is the rival on each specimen.
    """
    specimens, _ = _measured(rows)
    against = [
        compare_methods(
            rows,
            *(specimen, dose, rival, measure, lambda s: s.median > factor),
            ratio=True,
            method=method,
        )
        for specimen in specimens
        if (rival := best_ptychography(rows, specimen, dose, measure, among=among))
    ]
    cases = sorted((c for c in against if c is not None), key=lambda case: -case.lead.median)
    asked = (
        f"contrast to noise of {method} more than {factor:g} times that of the best ptychography "
        f"at {dose:g} e⁻/Å² (claim C2)"
    )
    if not cases:
        return Goal("contrast", asked, NOT_MEASURED, None)
    each = "; ".join(
        f"{case.lead.text()} times on {case.specimen}, {scores_text(case)}" for case in cases
    )
    return Goal("contrast", asked, behind(cases) + each, _together(cases), tuple(cases))


def dose_ratio(
    rows: Rows,
    fraction: float,
    *,
    claim: str = "",
    method: str = OURS,
    measure: str = "resolution",
) -> Goal:
    """Judge whether a network reaches ptychography's FRC resolution at a fraction of its dose.

    For every specimen and every finite dose at which ptychography was run, against the best of it
    there. Each of the network's draws is a curve against dose, interpolated by
    :func:`misr4d.measure.metrics.dose_to_reach`; nothing is extrapolated. A curve that is past the
    target at the lowest dose gives an upper bound, one that never reaches it an infinite ratio.
    Where ptychography resolves nothing there is no target, and no comparison; nor is there one at
    a dose of which the fraction is below the lowest that was measured, which nothing could meet.

    Parameters
    ----------
    rows : sequence of mappings
    fraction : float
        Largest fraction of ptychography's dose.
    claim : str
        What the goal is called in the sentence, such as ``(claim C3)``.
    method : str
    measure : {"resolution", "weighted_frc"}
        What is to be reached.
    """
    specimens, levels = _measured(rows)
    levels = [d for d in levels if math.isfinite(d)]
    cases = [
        case
        for specimen in specimens
        for dose in levels
        if fraction * dose >= levels[0]
        and (case := _dose_case(rows, specimen, dose, levels, fraction, method, measure))
        is not None
    ]
    asked = f"FRC-0.5 resolution of the best ptychography at {fraction:g} of its dose or less"
    asked += f" {claim}" if claim else ""
    key = f"dose_{fraction:g}"
    if not cases:
        return Goal(key, asked, NOT_MEASURED, None)
    reached = sum(case.met is True for case in cases)
    open_ = sum(case.met is None for case in cases)
    measured = f"in {reached} of {len(cases)} comparisons"
    measured += f", {open_} of them undecided: " if open_ else ": "
    measured += "; ".join(
        f"{_ratio_text(case, levels[-1])} {case.dose:g} e⁻/Å² of {case.against} on "
        f"{case.specimen} ({_target(case)})"
        for case in sorted(cases, key=lambda case: case.lead.median)
    )
    return Goal(key, asked, measured, _together(cases), tuple(cases))


def _target(case: Case) -> str:
    word = period_text if case.measure in PERIODS else None
    return case.theirs.text(word=word)


def _dose_case(
    rows: Rows,
    specimen: str,
    dose: float,
    levels: Sequence[float],
    fraction: float,
    method: str,
    measure: str,
) -> Case | None:
    rival = best_ptychography(rows, specimen, dose, measure)
    if rival is None:
        return None
    theirs = scores(rows, specimen, dose, rival, measure)
    curves: dict[int, dict[float, float]] = {}
    for level in levels:
        for draw, value in scores(rows, specimen, level, method, measure).items():
            curves.setdefault(draw, {})[level] = value
    if len(theirs) > 1:
        curves = {draw: curve for draw, curve in curves.items() if draw in theirs}
    whole = {draw: curve for draw, curve in curves.items() if len(curve) > 1}
    target = summarise(theirs.values())
    if not whole or target.median <= 0:
        return None
    ratios, certain = [], []
    for draw, curve in whole.items():
        doses = sorted(curve)
        needed = dose_to_reach(
            torch.tensor(doses, dtype=torch.float64),
            torch.tensor([curve[d] for d in doses], dtype=torch.float64),
            theirs.get(draw, target.median),
        )
        ratios.append((doses[0] if needed == 0 else needed) / dose)
        certain.append(needed / dose)
    # An upper bound may stand for any lower number: with those, the median may be anything down to
    # `least`.
    lead, least = summarise(ratios), summarise(certain).median
    met = True if lead.median <= fraction else None if least <= fraction else False
    at_dose = [curve[dose] for curve in whole.values() if dose in curve]
    return Case(
        specimen,
        dose,
        rival,
        measure,
        summarise(at_dose) if at_dose else Summary(0, math.nan, math.nan, math.nan),
        target,
        lead,
        met,
        sign_of(1 - lead.median),
        bounded=least < lead.median,
        inverted=is_inverted(rows, specimen, dose, rival),
    )


def _ratio_text(case: Case, highest: float) -> str:
    if math.isinf(case.lead.median):
        return f"not reached up to {highest:g} e⁻/Å² (n = {case.lead.n}), where the rival needs"
    return f"{'less than ' if case.bounded else ''}{case.lead.text()} of"


TOLERANCE = {"0.68": 0.04, "0.95": 0.02}
"""How far the share of pixels in an interval may be off, by the interval's nominal share."""


def calibrated(coverage: Rows) -> Goal:
    """Judge whether the intervals hold their shares in every regime and at every dose.

    Pooled over doses, too much at one hides too little at another: each cell has to hold.

    Parameters
    ----------
    coverage : sequence of mappings
        Rows of the card of ``DirectInformed``: ``regime``, ``dose``, ``share`` of the interval,
        ``coverage`` with ``low`` and ``high`` (bootstrap over specimens), and ``specimens``.

    Raises
    ------
    ValueError
        If an interval is missing.
    """
    known = {f"{float(row['share']):g}" for row in coverage}
    if missing := [interval for interval in TOLERANCE if interval not in known]:
        raise ValueError(
            f"no coverage of {missing[0]}; the card holds {', '.join(sorted(known)) or 'none'}"
        )
    asked = (
        " and ".join(
            f"{float(interval):.0%} intervals that hold {float(interval):.0%} ± {off:.0%}"
            for interval, off in TOLERANCE.items()
        )
        + " of the pixels, in each regime and at each dose, on specimens like those of the training"
        " that the calibration has not seen"
    )

    def off(row: Mapping[str, Any]) -> float:
        return float(row["coverage"]) - float(row["share"])

    judged = [row for row in coverage if f"{float(row['share']):g}" in TOLERANCE]
    failed = [row for row in judged if not abs(off(row)) <= TOLERANCE[f"{float(row['share']):g}"]]
    parts = []
    for interval in TOLERANCE:
        worst = max(
            (r for r in judged if f"{float(r['share']):g}" == interval), key=lambda r: abs(off(r))
        )
        parts.append(
            f"the {float(interval):.0%} interval is farthest off in the {worst['regime']} regime "
            f"at {dose_label(float(worst['dose']))}, where it holds {worst['coverage']:.1%} "
            f"({worst['low']:.1%} to {worst['high']:.1%} over {worst['specimens']} specimens)"
        )
    measured = f"{len(judged) - len(failed)} of {len(judged)} hold; " + "; ".join(parts)
    return Goal("calibration", asked, measured, not failed)


BUDGET = 1.1  # our choice: longest over shortest training that still counts as the same


def same_budget(cards: Mapping[str, Mapping[str, Any]]) -> Goal:
    """Judge whether the networks were trained for the same time on the same device.

    Parameters
    ----------
    cards : mapping
        Cards by network, with ``seconds`` and ``device``.
    """
    asked = (
        "the same budget of device time for every network: one kind of device, and the longest "
        f"training at most {BUDGET:g} times the shortest"
    )
    if len(cards) < 2:
        return Goal("budget", asked, f"{len(cards)} network shipped: nothing to compare", None)
    seconds = {name: float(card["seconds"]) for name, card in cards.items()}
    devices = {str(card["device"]) for card in cards.values()}
    ratio = max(seconds.values()) / min(seconds.values())
    times = ", ".join(f"{name} {value:.0f} s" for name, value in seconds.items())
    where = " and ".join(sorted(devices))
    met = ratio <= BUDGET and len(devices) == 1
    return Goal("budget", asked, f"{times}, on {where}; longest over shortest {ratio:.2f}", met)


def judge_goals(rows: Rows, cards: Mapping[str, Mapping[str, Any]]) -> list[Goal]:
    """Judge every goal.

    Parameters
    ----------
    rows : sequence of mappings
        The bench's table.
    cards : mapping
        Cards of the shipped networks by name; ``DirectInformed`` must be among them.
    """
    return [
        beats_classical(rows, "correlation"),
        beats_classical(rows, "resolution"),
        never_worse_than_direct(rows, "correlation"),
        never_worse_than_direct(rows, "resolution"),
        contrast_ratio(rows),
        dose_ratio(rows, 0.4, claim="(claim C3)"),
        dose_ratio(rows, 0.1, claim="(the aim)"),
        calibrated(cards["DirectInformed"]["calibration"]["coverage"]),
        same_budget(cards),
    ]


def as_table(goals: Sequence[Goal]) -> str:
    """Goals as a table in Markdown."""
    lines = [f"| {g.asked} | {for_readers(g.measured)} | {g.verdict} |" for g in goals]
    return "\n".join(["| asked | measured | verdict |", "|---|---|---|", *lines])


def as_records(goals: Sequence[Goal]) -> list[dict[str, Any]]:
    """Goals with their comparisons for a JSON file, whose numbers are finite or text."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(part) for key, part in value.items()}
        if isinstance(value, float) and not math.isfinite(value):
            return str(value)
        return value

    return [
        {
            "key": goal.key,
            "asked": goal.asked,
            "measured": goal.measured,
            "verdict": goal.verdict,
            "cases": [plain(asdict(case)) for case in goal.cases],
        }
        for goal in goals
    ]
