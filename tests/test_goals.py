from __future__ import annotations

import json
import math
from typing import Any

import pytest

from misr4d import goals
from misr4d.bench import COLUMNS


def row(
    method: str, dose: float, draw: int = 0, *, specimen: str = "CuZr", **scores: Any
) -> dict[str, Any]:
    """A row as the bench writes it: infinite dose as text, no score where none is given."""
    return {
        "specimen": specimen,
        "method": method,
        "dose": "inf" if math.isinf(dose) else dose,
        "draw": draw,
        "regime": "molecular" if specimen == "apoferritin" else "atomic",
        **dict.fromkeys(COLUMNS),
        **scores,
    }


def series(method: str, dose: float, measure: str, values: list[float | None], **more: Any) -> list:
    return [row(method, dose, n, **{measure: v}, **more) for n, v in enumerate(values)]


def test_draws_are_paired_on_the_same_electrons() -> None:
    # Each draw is ahead by 0.1, though the draws scatter by far more.
    table = series("informed", 100.0, "correlation", [0.3, 0.9, 0.5])
    table += series("direct", 100.0, "correlation", [0.2, 0.8, 0.4])
    case = goals.compare(table, "CuZr", 100.0, "direct", "correlation", lambda _a, m, _b: m > 0)
    assert case is not None
    assert (case.low, case.middle, case.high) == pytest.approx((0.1, 0.1, 0.1))
    assert (case.ours, case.theirs, case.pairs, case.met) == (0.5, 0.4, 3, True)
    # A rival with one draw is compared with every one of ours.
    table = [r for r in table if r["method"] == "informed" or r["draw"] == 0]
    case = goals.compare(table, "CuZr", 100.0, "direct", "correlation", lambda a, _m, _b: a > 0)
    assert case is not None
    assert (case.pairs, case.rival_draws) == (3, 1)
    assert (case.low, case.middle, case.high) == pytest.approx((0.2, 0.3, 0.5))
    assert goals.compare(table, "CuZr", 200.0, "direct", "psnr", lambda *_: True) is None


def test_the_rival_is_the_best_classical_method_of_each_comparison() -> None:
    table = []
    for dose, direct, ptychography in ((100.0, 0.7, 0.6), (1000.0, 0.8, 0.85)):
        table += series("informed", dose, "correlation", [0.9, 0.9])
        table += series("direct", dose, "correlation", [direct, direct])
        table += series("attention U-Net", dose, "correlation", [0.95, 0.95])  # learned: no rival
        table += series("ptychography", dose, "correlation", [ptychography])
    table += series("informed", 5000.0, "correlation", [0.1])  # outside the goal's range
    table += series("direct", 5000.0, "correlation", [0.9])
    table += series("informed", 100.0, "correlation", [0.1], specimen="apoferritin")
    table += series("direct", 100.0, "correlation", [0.9], specimen="apoferritin")
    goal = goals.beats_classical(table, "correlation")
    assert goal.met is True
    assert [case.rival for case in goal.cases] == ["direct", "ptychography"]
    assert "least: 0.900 against 0.850 (ptychography), +0.050 (+0.050 to +0.050)" in goal.measured
    table += series("parallax", 100.0, "correlation", [0.92, 0.92])
    goal = goals.beats_classical(table, "correlation")
    assert goal.met is False
    assert goal.verdict == "not met"
    assert "−0.020" in goal.measured
    missing = [r for r in table if (r["method"], r["dose"]) != ("ptychography", 100.0)]
    assert "No ptychography at 100" in goals.beats_classical(missing, "correlation").measured


def test_a_resolution_that_does_not_exist_is_the_worst() -> None:
    table = series("informed", 100.0, "resolution", [2.0]) + series(
        "direct", 100.0, "resolution", [None]
    )
    goal = goals.beats_classical(table, "resolution")
    assert goal.met is True
    assert goal.cases[0].middle == pytest.approx(0.5)
    assert "2.00 Å against none (direct), +0.500 (one draw) Å⁻¹" in goal.measured
    swapped = [{**r, "method": {"informed": "direct"}.get(r["method"], "informed")} for r in table]
    assert goals.beats_classical(swapped, "resolution").met is False


def test_worse_than_direct_counts_only_beyond_the_spread() -> None:
    direct = series("direct", 100.0, "correlation", [0.5] * 4)
    within = series("informed", 100.0, "correlation", [0.4, 0.4, 0.51, 0.51])
    assert goals.never_worse_than_direct(direct + within, "correlation").met is True
    beyond = series("informed", 100.0, "correlation", [0.4, 0.4, 0.49, 0.49])
    goal = goals.never_worse_than_direct(direct + beyond, "correlation")
    assert goal.met is False
    assert "worse in 1 of 1" in goal.measured
    # One draw at infinite dose: any deficit counts, and equality does not.
    exact = [*series("direct", math.inf, "correlation", [0.994], specimen="apoferritin")]
    less = series("informed", math.inf, "correlation", [0.993], specimen="apoferritin")
    goal = goals.never_worse_than_direct(direct + within + exact + less, "correlation")
    assert goal.met is False
    assert "0.993 against 0.994 (direct), −0.001 (one draw), on apoferritin at ∞" in goal.measured
    assert "the spread is zero" in goal.measured
    equal = series("informed", math.inf, "correlation", [0.994], specimen="apoferritin")
    assert goals.never_worse_than_direct(direct + within + exact + equal, "correlation").met is True


def test_contrast_is_a_ratio_on_every_specimen() -> None:
    table = series("informed", 300.0, "cnr", [9.0, 10.0, 11.0])
    table += series("ptychography", 300.0, "cnr", [2.5])
    assert goals.contrast_ratio(table).met is True
    table += series("informed", 300.0, "cnr", [5.0], specimen="Li2CoO3")
    table += series("ptychography", 300.0, "cnr", [2.5], specimen="Li2CoO3")
    goal = goals.contrast_ratio(table)
    assert goal.met is False
    assert [case.middle for case in goal.cases] == [4.0, 2.0]
    table += series("informed", 300.0, "cnr", [5.0], specimen="AlPO")
    table += series("ptychography", 300.0, "cnr", [0.0], specimen="AlPO")
    with pytest.raises(ValueError, match="ptychography has a cnr of 0 on AlPO at 300"):
        goals.contrast_ratio(table)


def curve(method: str, periods: dict[float, list[float | None]], **more: Any) -> list:
    return [r for dose, p in periods.items() for r in series(method, dose, "resolution", p, **more)]


def test_dose_to_the_same_resolution() -> None:
    # Frequencies 0.5, 1.0, 1.5 Å⁻¹ over doses a decade apart: 1.25 is reached at 10^2.5.
    ours = curve("informed", {10.0: [2.0] * 3, 100.0: [1.0] * 3, 1000.0: [1 / 1.5] * 3})
    goal = goals.dose_ratio(ours + curve("ptychography", {1000.0: [0.8]}), 0.4)
    assert goal.met is True
    assert goal.cases[0].middle == pytest.approx(10**2.5 / 1000)
    assert goals.dose_ratio(ours + curve("ptychography", {1000.0: [0.8]}), 0.1).met is False
    # Past the target at the lowest dose: a bound, which may or may not decide.
    early = ours + curve("ptychography", {100.0: [4.0]})
    assert goals.dose_ratio(early, 0.1).met is True
    goal = goals.dose_ratio(early, 0.05)
    assert goal.met is None
    assert goal.verdict == "not decided"
    assert goal.measured == (
        "in 0 of 1 comparisons, 1 of them undecided: less than 0.10 of 100 e⁻/Å² on CuZr (4.00 Å)"
    )
    # Never reached: infinitely many electrons.
    goal = goals.dose_ratio(ours + curve("ptychography", {100.0: [0.5]}), 0.4)
    assert goal.met is False
    assert "not reached up to 1000" in goal.measured
    # No target where ptychography resolves nothing, and none without noise.
    nothing = ours + curve("ptychography", {100.0: [None], math.inf: [0.7]})
    goal = goals.dose_ratio(nothing, 0.4)
    assert (goal.met, goal.cases) == (None, ())
    assert "not measured" in goal.measured


def test_the_spread_of_a_dose_is_over_draws() -> None:
    slow, fast = [2.0, 1.0, 1 / 1.5], [2.0, 1 / 1.5, 0.5]
    draws = [fast, fast, slow, slow, slow]
    doses = (10.0, 100.0, 1000.0)
    ours = curve("informed", {d: [one[k] for one in draws] for k, d in enumerate(doses)})
    goal = goals.dose_ratio(ours + curve("ptychography", {1000.0: [1.0]}), 0.4)
    case = goal.cases[0]
    assert case.middle == pytest.approx(0.1)
    assert case.low == pytest.approx(10**1.5 / 1000)
    assert case.high == pytest.approx(0.1)


def cell(share: float, held: float, dose: str = "100.0", regime: str = "atomic") -> dict:
    low, high = held - 0.01, held + 0.01
    own = {"regime": regime, "dose": dose, "share": share, "specimens": 5}
    return own | {"coverage": held, "low": low, "high": high}


def test_calibration_has_to_hold_in_every_regime_and_at_every_dose() -> None:
    good = [cell(0.68, 0.70), cell(0.95, 0.94)]
    assert goals.calibrated(good).met is True
    # Too much at one dose and too little at another are level on average, and fail.
    pooled = [cell(0.68, 0.78, "50.0"), cell(0.68, 0.58, "inf"), *good]
    goal = goals.calibrated(pooled)
    assert goal.met is False
    assert goal.measured.startswith("2 of 4 hold; the 68% interval is farthest off in the atomic")
    assert "(57.0% to 59.0% over 5 specimens)" in goal.measured or "77.0%" in goal.measured
    assert goals.calibrated([*good, cell(0.95, 0.90, regime="molecular")]).met is False
    with pytest.raises(ValueError, match=r"no coverage of 0\.95; the card holds 0\.68"):
        goals.calibrated(good[:1])


def test_budget_is_read_from_the_cards() -> None:
    one = {"seconds": 1000.0, "device": "a core"}
    assert goals.same_budget({"A": one, "B": {**one, "seconds": 1050.0}}).met is True
    assert goals.same_budget({"A": one, "B": {**one, "seconds": 1500.0}}).met is False
    assert goals.same_budget({"A": one, "B": {**one, "device": "a card"}}).met is False
    assert goals.same_budget({"A": one}).met is None


def test_every_goal_has_a_row() -> None:
    table = []
    for dose in (100.0, 300.0, math.inf):
        for method, good in (("informed", 1.0), ("direct", 0.9), ("ptychography", 0.8)):
            scores = {"correlation": good, "resolution": 2 - good, "cnr": 10 * good}
            table.append(row(method, dose, **scores))
    card = {
        "seconds": 10.0,
        "device": "a core",
        "calibration": {"coverage": [cell(0.68, 0.68), cell(0.95, 0.95)]},
    }
    found = goals.judge(table, {"DirectInformed": card, "AttentionUNet": card})
    assert len({goal.key for goal in found}) == len(found) == 9
    text = goals.as_table(found)
    assert text.count("\n") == 10
    assert "| not met |" in text  # contrast: 1.25 times, not 3
    records = goals.as_records(found)
    assert json.loads(json.dumps(records, allow_nan=False)) == records
    assert any(case["dose"] == "inf" for case in records[2]["cases"])
    assert goals.judge([], {"DirectInformed": card})[0].verdict == "not decided"
