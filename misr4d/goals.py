"""What the learned method was asked to reach, and whether it does: judged from the bench's table.

Every function takes rows as :func:`misr4d.bench.run` returns them, or the weights' cards, and none
runs a method. A network is compared with a rival draw by draw, on the same electrons; where the
rival has one draw, each of the network's is compared with that one, and the spread is the network's
alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch

from misr4d.figures import dose_label
from misr4d.metrics import dose_to_reach

__all__ = [
    "CLASSICAL",
    "Case",
    "Goal",
    "as_records",
    "as_table",
    "beats_classical",
    "calibrated",
    "compare",
    "contrast_ratio",
    "dose_ratio",
    "judge",
    "never_worse_than_direct",
    "same_budget",
]

CLASSICAL = ("summed VBF", "iDPC", "parallax", "ptychography", "SSB", "OBF", "direct")
"""Methods that learn nothing."""

OURS = "informed"
Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Case:
    """One comparison behind a goal.

    Parameters
    ----------
    specimen : str
    dose : float
        e⁻/Å².
    rival : str
        Method compared with.
    ours, theirs : float
        Median score of each.
    low, middle, high : float
        Quartiles of what the goal is about, over `pairs` pairs of draws.
    pairs, rival_draws : int
    met : bool or None
        None if the table cannot tell.
    bounded : bool
        The median is an upper bound, because the lowest dose measured is past the target already.
    """

    specimen: str
    dose: float
    rival: str
    ours: float
    theirs: float
    low: float
    middle: float
    high: float
    pairs: int
    rival_draws: int
    met: bool | None
    bounded: bool = False


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


def _scores(rows: Rows, specimen: str, dose: float, method: str, measure: str) -> dict[int, float]:
    """Score of each draw, the higher the better: a period becomes its frequency, none becomes 0."""
    found = {}
    for row in rows:
        if (row["specimen"], row["method"], float(row["dose"])) == (specimen, method, dose):
            value = row[measure]
            if measure == "resolution":
                value = 0.0 if value is None else 1 / value
            if value is not None:
                found[int(row["draw"])] = float(value)
    return found


def _pairs(ours: Mapping[int, float], theirs: Mapping[int, float]) -> list[tuple[float, float]]:
    if len(theirs) == 1:
        (only,) = theirs.values()
        return [(value, only) for value in ours.values()]
    return [(ours[draw], theirs[draw]) for draw in sorted(ours.keys() & theirs.keys())]


def compare(
    rows: Rows,
    specimen: str,
    dose: float,
    rival: str,
    measure: str,
    met: Callable[[float, float, float], bool],
    *,
    ratio: bool = False,
    method: str = OURS,
) -> Case | None:
    """Compare a method with a rival on one specimen at one dose.

    Parameters
    ----------
    rows : sequence of mappings
        The bench's table.
    specimen, rival, method : str
    dose : float
        e⁻/Å².
    measure : str
        Column of the table. ``resolution`` is compared as a frequency [Å⁻¹], 0 where there is none.
    met : callable
        From the quartiles (low, middle, high) to the verdict.
    ratio : bool
        Take ours over theirs instead of ours less theirs.

    Returns
    -------
    Case or None
        None if the table does not hold both.

    Raises
    ------
    ValueError
        If a ratio to zero is asked for.
    """
    ours = _scores(rows, specimen, dose, method, measure)
    theirs = _scores(rows, specimen, dose, rival, measure)
    pairs = _pairs(ours, theirs)
    if not pairs:
        return None
    if ratio and any(b == 0 for _, b in pairs):
        raise ValueError(
            f"{rival} has a {measure} of 0 on {specimen} at {dose:g} e⁻/Å²; no ratio to it exists"
        )
    values = [a / b if ratio else a - b for a, b in pairs]
    low, middle, high = (float(v) for v in np.percentile(values, [25, 50, 75]))
    a, b = (float(np.median(list(side))) for side in zip(*pairs, strict=True))
    verdict = met(low, middle, high)
    return Case(
        specimen, dose, rival, a, b, low, middle, high, len(pairs), len(theirs), bool(verdict)
    )


def _measured(rows: Rows, regime: str | None = None) -> tuple[list[str], list[float]]:
    """Specimens in the table's order, and rising doses."""
    chosen = [row for row in rows if regime in (None, row["regime"])]
    specimens = list(dict.fromkeys(str(row["specimen"]) for row in chosen))
    return specimens, sorted({float(row["dose"]) for row in chosen})


def _together(cases: Iterable[Case]) -> bool | None:
    verdicts = [case.met for case in cases]
    if not verdicts or (None in verdicts and False not in verdicts):
        return None
    return False not in verdicts


def _spread(case: Case, digits: int, *, sign: bool = False) -> str:
    plus = "+" if sign else ""
    middle = f"{case.middle:{plus}.{digits}f}".replace("-", "−")
    if case.pairs == 1:
        return f"{middle} (one draw)"
    ends = " to ".join(f"{v:{plus}.{digits}f}".replace("-", "−") for v in (case.low, case.high))
    return f"{middle} ({ends})"


def _period(frequency: float) -> str:
    return f"{1 / frequency:.2f} Å" if frequency > 0 else "none"


def _lead(case: Case, measure: str) -> str:
    """Word an advantage, with its spread."""
    where = f"on {case.specimen} at {dose_label(case.dose)}"
    if measure == "resolution":
        ends = f"{_period(case.ours)} against {_period(case.theirs)}"
        return f"{ends} ({case.rival}), {_spread(case, 3, sign=True)} Å⁻¹, {where}"
    ends = f"{case.ours:.3f} against {case.theirs:.3f}"
    return f"{ends} ({case.rival}), {_spread(case, 3, sign=True)}, {where}"


def _doses(doses: Sequence[float]) -> str:
    """Doses as a list in words, as in ``100, 300 and 1000 e⁻/Å²``."""
    names = [f"{d:g}" for d in doses if math.isfinite(d)]
    text = " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
    return f"{text} e⁻/Å²"


_NAMES = {"correlation": "correlation", "resolution": "FRC-0.5 resolution"}
NOT_MEASURED = "not measured: the table does not hold both methods"


def beats_classical(
    rows: Rows, measure: str, *, doses: tuple[float, float] = (50.0, 1000.0), method: str = OURS
) -> Goal:
    """Judge whether a network is ahead of the best classical method wherever atoms are seen.

    Every atomic specimen, every dose in a range. The rival of each comparison is the classical
    method with the smallest median difference. Met if that median is above zero.

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
            found = [
                compare(
                    rows, specimen, dose, rival, measure, lambda _l, m, _h: m > 0, method=method
                )
                for rival in CLASSICAL
            ]
            known = [case for case in found if case is not None]
            if known:
                cases.append(min(known, key=lambda case: case.middle))
    asked = (
        f"{method} ahead of the best classical method, tuned, in {_NAMES[measure]}, on atomic "
        f"specimens, at every dose from {doses[0]:g} to {doses[1]:g} e⁻/Å²"
    )
    if not cases:
        return Goal(f"classical_{measure}", asked, NOT_MEASURED, None)
    ahead = sum(case.met is True for case in cases)
    clear = sum(case.low > 0 for case in cases)
    lacking = {d for d in levels for s in specimens if not _has(rows, s, d, "ptychography")}
    measured = (
        f"ahead in {ahead} of {len(cases)} comparisons at {_doses(levels)}, with the lower quartile"
        f" too in {clear}; least: {_lead(min(cases, key=lambda c: c.middle), measure)}"
    )
    if lacking:
        measured += f". No ptychography at {_doses(sorted(lacking))}"
    return Goal(f"classical_{measure}", asked, measured, _together(cases), tuple(cases))


def _has(rows: Rows, specimen: str, dose: float, method: str) -> bool:
    key = (specimen, dose, method)
    return any((row["specimen"], float(row["dose"]), row["method"]) == key for row in rows)


def never_worse_than_direct(rows: Rows, measure: str, *, method: str = OURS) -> Goal:
    """Judge whether a network is nowhere worse than direct ptychography beyond the spread.

    Every specimen, every dose. Worse beyond the spread: even the upper quartile of the pairwise
    differences is below zero. At infinite dose there is one draw, and any deficit counts.
    """
    specimens, levels = _measured(rows)
    found = [
        compare(rows, s, d, "direct", measure, lambda _l, _m, h: h >= 0, method=method)
        for s in specimens
        for d in levels
    ]
    cases = [case for case in found if case is not None]
    asked = (
        f"{method} nowhere worse than direct ptychography beyond its spread in {_NAMES[measure]}: "
        "every specimen, every dose, infinite included"
    )
    key = f"direct_{measure}"
    if not cases:
        return Goal(key, asked, NOT_MEASURED, None)
    worse = sorted((c for c in cases if not c.met), key=lambda c: c.middle)
    measured = f"worse in {len(worse)} of {len(cases)} comparisons"
    if worse:
        measured += ": " + "; ".join(_lead(case, measure) for case in worse)
    else:
        measured += f"; least: {_lead(min(cases, key=lambda c: c.middle), measure)}"
    if any(math.isinf(case.dose) for case in cases):
        measured += ". At infinite dose there is one draw, so the spread is zero"
    return Goal(key, asked, measured, _together(cases), tuple(cases))


def contrast_ratio(
    rows: Rows, *, dose: float = 300.0, factor: float = 3.0, method: str = OURS
) -> Goal:
    """Judge whether a network's contrast to noise is so many times that of tuned ptychography.

    Parameters
    ----------
    rows : sequence of mappings
    dose : float
        e⁻/Å².
    factor : float
        Of claim C2.
    method : str
    """
    specimens, _ = _measured(rows)
    found = [
        compare(
            rows,
            *(specimen, dose, "ptychography", "cnr", lambda _l, m, _h: m >= factor),
            ratio=True,
            method=method,
        )
        for specimen in specimens
    ]
    cases = sorted((case for case in found if case is not None), key=lambda case: -case.middle)
    asked = (
        f"contrast to noise of {method} at least {factor:g} times that of tuned ptychography at "
        f"{dose:g} e⁻/Å² (claim C2)"
    )
    if not cases:
        return Goal("contrast", asked, NOT_MEASURED, None)
    each = "; ".join(
        f"{_spread(case, 2)} times on {case.specimen}, {case.ours:.1f} against {case.theirs:.1f}"
        for case in cases
    )
    return Goal("contrast", asked, each, _together(cases), tuple(cases))


def dose_ratio(rows: Rows, share: float, *, claim: str = "", method: str = OURS) -> Goal:
    """Judge whether a network reaches ptychography's FRC resolution at a share of its dose.

    For every specimen and every finite dose at which ptychography was run. Each of the network's
    draws is a curve of resolution against dose, interpolated by
    :func:`misr4d.metrics.dose_to_reach`; nothing is extrapolated. A curve that is past the target
    at the lowest dose gives an upper bound, one that never reaches it an infinite ratio. Where
    ptychography resolves nothing there is no target, and no comparison.

    Parameters
    ----------
    rows : sequence of mappings
    share : float
        Largest share of ptychography's dose.
    claim : str
        What the goal is called in the sentence, such as ``(claim C3)``.
    method : str
    """
    specimens, levels = _measured(rows)
    levels = [d for d in levels if math.isfinite(d)]
    cases = [
        case
        for specimen in specimens
        for dose in levels
        if (case := _dose_case(rows, specimen, dose, levels, share, method)) is not None
    ]
    asked = f"FRC-0.5 resolution of tuned ptychography at {share:g} of its dose or less"
    asked += f" {claim}" if claim else ""
    key = f"dose_{share:g}"
    if not cases:
        return Goal(key, asked, NOT_MEASURED, None)
    reached = sum(case.met is True for case in cases)
    open_ = sum(case.met is None for case in cases)
    measured = f"in {reached} of {len(cases)} comparisons"
    measured += f", {open_} of them undecided: " if open_ else ": "
    measured += "; ".join(
        f"{_ratio_text(case, levels[-1])} {case.dose:g} e⁻/Å² on {case.specimen} "
        f"({_period(case.theirs)})"
        for case in sorted(cases, key=lambda case: case.middle)
    )
    return Goal(key, asked, measured, _together(cases), tuple(cases))


def _dose_case(
    rows: Rows, specimen: str, dose: float, levels: Sequence[float], share: float, method: str
) -> Case | None:
    theirs = _scores(rows, specimen, dose, "ptychography", "resolution")
    curves: dict[int, dict[float, float]] = {}
    for level in levels:
        for draw, value in _scores(rows, specimen, level, method, "resolution").items():
            curves.setdefault(draw, {})[level] = value
    whole = {draw: curve for draw, curve in curves.items() if len(curve) > 1}
    target = float(np.median(list(theirs.values()))) if theirs else 0.0
    if not whole or target == 0:
        return None
    values, bounds = [], []
    for draw, curve in whole.items():
        doses = sorted(curve)
        wanted = theirs.get(draw, target) if len(theirs) > 1 else target
        needed = dose_to_reach(
            torch.tensor(doses, dtype=torch.float64),
            torch.tensor([curve[d] for d in doses], dtype=torch.float64),
            wanted,
        )
        values.append((doses[0] if needed == 0 else needed) / dose)
        bounds.append(needed == 0)
    # Draws, not averages of two: an infinite one would swallow its neighbour.
    low, middle, high = (float(v) for v in np.percentile(values, [25, 50, 75], method="nearest"))
    bounded = any(b for v, b in zip(values, bounds, strict=True) if v == middle)
    met = True if middle <= share else None if bounded else False
    ours = [curve[dose] for curve in whole.values() if dose in curve]
    return Case(
        specimen,
        dose,
        "ptychography",
        float(np.median(ours)) if ours else math.nan,
        target,
        low,
        middle,
        high,
        len(values),
        len(theirs),
        met,
        bounded,
    )


def _ratio_text(case: Case, highest: float) -> str:
    if math.isinf(case.middle):
        return f"not reached up to {highest:g} e⁻/Å², where ptychography needs"
    middle = f"{'less than ' if case.bounded else ''}{case.middle:.2f}"
    if case.pairs == 1:
        return f"{middle} (one draw) of"
    if case.low == case.high:
        return f"{middle} of"
    ends = " to ".join("∞" if math.isinf(v) else f"{v:.2f}" for v in (case.low, case.high))
    return f"{middle} ({ends}) of"


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
    if missing := [share for share in TOLERANCE if share not in known]:
        raise ValueError(
            f"no coverage of {missing[0]}; the card holds {', '.join(sorted(known)) or 'none'}"
        )
    asked = (
        " and ".join(
            f"{float(share):.0%} intervals that hold {float(share):.0%} ± {off:.0%}"
            for share, off in TOLERANCE.items()
        )
        + " of the pixels, in each regime and at each dose, on specimens like those of the training"
        " that the calibration has not seen"
    )

    def off(row: Mapping[str, Any]) -> float:
        return float(row["coverage"]) - float(row["share"])

    judged = [row for row in coverage if f"{float(row['share']):g}" in TOLERANCE]
    failed = [row for row in judged if abs(off(row)) > TOLERANCE[f"{float(row['share']):g}"]]
    parts = []
    for share in TOLERANCE:
        worst = max(
            (r for r in judged if f"{float(r['share']):g}" == share), key=lambda r: abs(off(r))
        )
        parts.append(
            f"the {float(share):.0%} interval is farthest off in the {worst['regime']} regime at "
            f"{dose_label(float(worst['dose']))}, where it holds {worst['coverage']:.1%} "
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
    seconds = {name: float(one["seconds"]) for name, one in cards.items()}
    devices = {str(one["device"]) for one in cards.values()}
    ratio = max(seconds.values()) / min(seconds.values())
    times = ", ".join(f"{name} {value:.0f} s" for name, value in seconds.items())
    where = " and ".join(sorted(devices))
    met = ratio <= BUDGET and len(devices) == 1
    return Goal("budget", asked, f"{times}, on {where}; longest over shortest {ratio:.2f}", met)


def judge(rows: Rows, cards: Mapping[str, Mapping[str, Any]]) -> list[Goal]:
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
    lines = [f"| {g.asked} | {g.measured} | {g.verdict} |" for g in goals]
    return "\n".join(["| asked | measured | verdict |", "|---|---|---|", *lines])


def as_records(goals: Sequence[Goal]) -> list[dict[str, Any]]:
    """Goals with their comparisons for a JSON file, whose numbers are finite or text."""

    def plain(value: Any) -> Any:
        if isinstance(value, float) and not math.isfinite(value):
            return str(value)
        return value

    return [
        {
            "key": goal.key,
            "asked": goal.asked,
            "measured": goal.measured,
            "verdict": goal.verdict,
            "cases": [{k: plain(v) for k, v in asdict(case).items()} for case in goal.cases],
        }
        for goal in goals
    ]
