from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from misr4d.companion import cases, goals
from misr4d.companion.bench import COLUMNS, read_study
from misr4d.measure.summary import Summary, summarise

ROOT = Path(__file__).parents[2]


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
        "thickness": None,
        "defocus": None,
        **dict.fromkeys(COLUMNS),
        **scores,
    }


def series(method: str, dose: float, measure: str, values: list[float | None], **more: Any) -> list:
    return [row(method, dose, n, **{measure: v}, **more) for n, v in enumerate(values)]


def ahead(lead: Summary) -> bool:
    return lead.median > 0


def test_draws_are_paired_on_the_same_electrons() -> None:
    # Each draw is ahead by 0.1, though the draws scatter by far more.
    table = series("informed", 100.0, "correlation", [0.3, 0.9, 0.5])
    table += series("direct", 100.0, "correlation", [0.2, 0.8, 0.4])
    case = cases.compare_methods(table, "CuZr", 100.0, "direct", "correlation", ahead)
    assert case is not None
    assert (case.lead.low, case.lead.median, case.lead.high) == pytest.approx((0.1, 0.1, 0.1))
    assert (case.ours.median, case.theirs.median, case.n, case.met) == (0.5, 0.4, 3, True)
    # A rival with one draw is compared with every one of ours, and the comparison has one draw.
    table = [r for r in table if r["method"] == "informed" or r["draw"] == 0]
    case = cases.compare_methods(table, "CuZr", 100.0, "direct", "correlation", lambda s: s.low > 0)
    assert case is not None
    assert (case.lead.n, case.theirs.n, case.n) == (3, 1, 1)
    assert (case.lead.low, case.lead.median, case.lead.high) == pytest.approx((0.1, 0.3, 0.7))
    assert cases.compare_methods(table, "CuZr", 200.0, "direct", "psnr", ahead) is None


def test_a_comparison_of_four_draws_has_the_median_of_four() -> None:
    """Not its upper quartile, which the nearest of four is."""
    table = series("informed", 100.0, "correlation", [0.1, 0.2, 0.5, 0.9])
    table += series("direct", 100.0, "correlation", [0.0, 0.0, 0.0, 0.0])
    case = cases.compare_methods(table, "CuZr", 100.0, "direct", "correlation", ahead)
    assert case is not None
    assert case.lead == summarise([0.1, 0.2, 0.5, 0.9])
    assert case.lead.median == pytest.approx(0.35)
    assert (case.lead.low, case.lead.high) == (0.1, 0.9)  # fewer than eight: all lie between


def test_medians_and_brackets_come_from_one_function() -> None:
    files = {path.stem: path for path in (ROOT / "misr4d" / "companion").glob("*.py")}
    assert files.keys() > {"goals", "claims", "chapter_claims", "verdicts", "study", "bench"}
    del files["demo"]  # its quantiles are of pixels
    for name, path in files.items():
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"import statistics|percentile|quantile\(|median\(", text), name


def test_an_inverted_image_is_named_and_ranked_by_what_it_shows() -> None:
    table = series("informed", 100.0, "correlation", [0.8] * 3)
    table += series("parallax", 100.0, "correlation", [0.7] * 3)
    table += series("summed VBF", 100.0, "correlation", [-0.91] * 3, inverted=True)
    assert cases.scores(table, "CuZr", 100.0, "summed VBF", "correlation") == {
        0: 0.91,
        1: 0.91,
        2: 0.91,
    }
    goal = goals.beats_classical(table, "correlation")
    assert goal.met is False
    assert goal.cases[0].rival == "summed VBF"
    assert "against 0.910 (n = 3) of summed VBF (inverted)" in goal.measured


def test_rows_of_a_thickness_series_are_of_other_scans() -> None:
    table = series("direct", 300.0, "correlation", [0.8] * 3)
    table += series("direct", 300.0, "correlation", [0.1] * 3, thickness=200.0)
    table += series("direct", 300.0, "correlation", [0.2] * 3, defocus=900.0)
    assert set(cases.scores(table, "CuZr", 300.0, "direct", "correlation").values()) == {0.8}
    thick = cases.scores(table, "CuZr", 300.0, "direct", "correlation", thickness=200.0)
    assert set(thick.values()) == {0.1}


def test_the_best_ptychography_is_chosen_by_specimen_dose_and_measure() -> None:
    table = series("ptychography", 100.0, "correlation", [0.6, 0.7, 0.8])
    table += series("phaserEM", 100.0, "correlation", [0.5, 0.6, 0.7])
    table += series("ptychography", 300.0, "correlation", [0.7])
    table += series("phaserEM", 300.0, "correlation", [0.9], weighted_frc=0.8)
    table += series("quantem", 300.0, "correlation", [0.8], weighted_frc=0.9)
    assert cases.best_ptychography(table, "CuZr", 100.0) == "ptychography"
    assert cases.best_ptychography(table, "CuZr", 300.0) == "phaserEM"
    assert cases.best_ptychography(table, "CuZr", 300.0, "weighted_frc") == "quantem"
    direct = [*table, *series("quantem direct", 300.0, "correlation", [0.95])]
    assert cases.best_ptychography(direct, "CuZr", 300.0) == "quantem direct"
    papers = cases.best_ptychography(table, "CuZr", 300.0, among=("ptychography",))
    assert papers == "ptychography"
    assert cases.best_ptychography(table, "CuZr", 500.0) is None
    assert cases.best_ptychography(table, "MoS2", 300.0) is None


def test_the_rival_is_the_best_method_that_learns_nothing_of_each_comparison() -> None:
    table = []
    for dose, direct, ptychography in ((100.0, 0.7, 0.6), (1000.0, 0.8, 0.85)):
        table += series("informed", dose, "correlation", [0.9] * 3)
        table += series("direct", dose, "correlation", [direct] * 3)
        table += series("attention U-Net", dose, "correlation", [0.95] * 3)  # learned: no rival
        table += series("ptychography", dose, "correlation", [ptychography] * 3)
    table += series("informed", 5000.0, "correlation", [0.1])  # outside the goal's range
    table += series("direct", 5000.0, "correlation", [0.9])
    table += series("informed", 100.0, "correlation", [0.1], specimen="apoferritin")
    table += series("direct", 100.0, "correlation", [0.9], specimen="apoferritin")
    goal = goals.beats_classical(table, "correlation")
    assert goal.met is True
    assert [case.rival for case in goal.cases] == ["direct", "ptychography"]
    assert "least: 0.900 (n = 3) against 0.850 (n = 3) of py4DSTEM, +0.050 (n = 3)" in goal.measured
    # A peer that is ahead opens the sentence.
    peer = [*table, *series("phaserEM", 1000.0, "correlation", [0.93, 0.94, 0.94])]
    goal = goals.beats_classical(peer, "correlation")
    assert goal.met is False
    assert goal.measured.startswith("behind phaserEM on CuZr at 1000 e⁻/Å²; ")
    two = [r for r in table if r["draw"] < 2]
    assert goals.beats_classical(two, "correlation").verdict == "not decided"  # too few draws
    table += series("parallax", 100.0, "correlation", [0.92] * 3)
    goal = goals.beats_classical(table, "correlation")
    assert goal.verdict == "not met"
    assert "−0.020" in goal.measured
    missing = [r for r in table if (r["method"], r["dose"]) != ("ptychography", 100.0)]
    assert "No ptychography at 100" in goals.beats_classical(missing, "correlation").measured


def test_a_resolution_that_does_not_exist_is_the_worst() -> None:
    table = series("informed", 100.0, "resolution", [2.0] * 3) + series(
        "direct", 100.0, "resolution", [None] * 3
    )
    goal = goals.beats_classical(table, "resolution")
    assert goal.met is True
    assert goal.cases[0].lead.median == pytest.approx(0.5)
    assert "2.00 Å (n = 3) against none (n = 3) of direct, +0.500 (n = 3) Å⁻¹" in goal.measured
    swapped = [{**r, "method": {"informed": "direct"}.get(r["method"], "informed")} for r in table]
    assert goals.beats_classical(swapped, "resolution").met is False


def test_worse_than_direct_counts_only_beyond_the_spread() -> None:
    direct = series("direct", 100.0, "correlation", [0.5] * 4)
    within = series("informed", 100.0, "correlation", [0.4, 0.4, 0.4, 0.51])
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
    assert "0.993 (n = 1) against 0.994 (n = 1) of direct, −0.001 (n = 1), on" in goal.measured
    assert "the spread is zero" in goal.measured
    equal = series("informed", math.inf, "correlation", [0.994], specimen="apoferritin")
    assert goals.never_worse_than_direct(direct + within + exact + equal, "correlation").met is True


def test_contrast_is_a_ratio_to_the_best_ptychography_on_every_specimen() -> None:
    table = series("informed", 300.0, "correlation", [0.95, 0.96, 0.97])
    table += series("ptychography", 300.0, "correlation", [0.6] * 3)
    assert goals.contrast_ratio(table).met is True
    peer = [*table, *series("phaserEM", 300.0, "correlation", [-0.8] * 3)]
    assert goals.contrast_ratio(peer).met is False
    assert goals.contrast_ratio(peer, among=("ptychography",)).met is True
    table += series("informed", 300.0, "correlation", [0.8] * 3, specimen="Li2CoO3")
    table += series("ptychography", 300.0, "correlation", [0.6] * 3, specimen="Li2CoO3")
    goal = goals.contrast_ratio(table)
    assert goal.met is False
    # 0.96/0.28 and 0.8/0.6 over 0.6/0.8.
    medians = [case.lead.median for case in goal.cases]
    assert medians == pytest.approx([3.4286 / 0.75, 1.3333 / 0.75], rel=1e-4)
    table += series("informed", 300.0, "correlation", [0.8], specimen="AlPO")
    table += series("ptychography", 300.0, "correlation", [0.0], specimen="AlPO")
    with pytest.raises(
        ValueError, match="ptychography has a contrast_to_error of 0 on AlPO at 300"
    ):
        goals.contrast_ratio(table)


def test_the_truth_has_three_times_the_contrast_of_every_rival() -> None:
    """A measure that the truth itself fails carries no verdict; the usual ratio is one."""
    rows = read_study()
    ideal = [{**r, "method": "truth", "correlation": 1.0} for r in rows if r["method"] == "direct"]
    goal = goals.contrast_ratio([*rows, *ideal], method="truth")
    assert goal.met is True
    assert len(goal.cases) == 3


def curve(method: str, periods: dict[float, list[float | None]], **more: Any) -> list:
    return [r for dose, p in periods.items() for r in series(method, dose, "resolution", p, **more)]


def test_dose_to_the_same_resolution() -> None:
    # Frequencies 0.5, 1.0, 1.5 Å⁻¹ over doses a decade apart: 1.25 is reached at 10^2.5.
    ours = curve("informed", {10.0: [2.0] * 3, 100.0: [1.0] * 3, 1000.0: [1 / 1.5] * 3})
    goal = goals.dose_ratio(ours + curve("ptychography", {1000.0: [0.8] * 3}), 0.4)
    assert goal.met is True
    assert goal.cases[0].lead.median == pytest.approx(10**2.5 / 1000)
    assert goals.dose_ratio(ours + curve("ptychography", {1000.0: [0.8] * 3}), 0.1).met is False
    # A finer peer is the target, and named.
    peer = (
        ours
        + curve("ptychography", {1000.0: [0.8] * 3})
        + curve("quantem", {1000.0: [1 / 1.5] * 3})
    )
    goal = goals.dose_ratio(peer, 0.4)
    assert goal.met is False
    assert "of quantem on CuZr" in goal.measured
    # Past the target at the lowest dose: a bound, below the share. Nothing could meet a share of
    # the dose that is below the lowest one measured.
    early = ours + curve("ptychography", {100.0: [4.0] * 3})
    assert goals.dose_ratio(early, 0.1).met is True
    goal = goals.dose_ratio(early, 0.05)
    assert (goal.met, goal.verdict, goal.cases) == (None, "not decided", ())
    goal = goals.dose_ratio(early, 0.1)
    assert goal.measured == (
        "in 1 of 1 comparisons: less than 0.10 (n = 3) of 100 e⁻/Å² of py4DSTEM on CuZr (4.00 Å "
        "(n = 3))"
    )
    # Never reached: infinitely many electrons.
    goal = goals.dose_ratio(ours + curve("ptychography", {100.0: [0.5] * 3}), 0.4)
    assert goal.met is False
    assert "not reached up to 1000" in goal.measured
    # No target where ptychography resolves nothing, and none without noise.
    nothing = ours + curve("ptychography", {100.0: [None] * 3, math.inf: [0.7]})
    goal = goals.dose_ratio(nothing, 0.4)
    assert (goal.met, goal.cases) == (None, ())
    assert "not measured" in goal.measured


def test_a_bound_decides_nothing_if_the_true_median_may_be_lower() -> None:
    # Two of four draws are past the target at the lowest dose: their ratio may be anything below.
    doses = (100.0, 1000.0)
    past, late = [1.0, 0.5], [4.0, 1.9]
    draws = [past, past, late, late]
    ours = curve("informed", {d: [one[k] for one in draws] for k, d in enumerate(doses)})
    goal = goals.dose_ratio(ours + curve("ptychography", {1000.0: [2.0] * 4}), 0.42)
    case = goal.cases[0]
    assert case.bounded
    assert case.lead.median > 0.42
    assert case.met is None


def test_the_spread_of_a_dose_is_over_draws() -> None:
    slow, fast = [2.0, 1.0, 1 / 1.5], [2.0, 1 / 1.5, 0.5]
    draws = [fast, fast, slow, slow, slow]
    doses = (10.0, 100.0, 1000.0)
    ours = curve("informed", {d: [one[k] for one in draws] for k, d in enumerate(doses)})
    goal = goals.dose_ratio(ours + curve("ptychography", {1000.0: [1.0]}), 0.4)
    case = goal.cases[0]
    assert case.lead.median == pytest.approx(0.1)
    assert case.lead.low == pytest.approx(10**1.5 / 1000)
    assert case.lead.high == pytest.approx(0.1)


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
    assert goals.calibrated([*good, cell(0.95, math.nan, regime="molecular")]).met is False
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
        for method, good in (("informed", 0.9), ("direct", 0.85), ("ptychography", 0.8)):
            scores = {"correlation": good, "resolution": 2 - good, "cnr": 10 * good}
            table += [row(method, dose, n, **scores) for n in range(1 if dose == math.inf else 3)]
    card = {
        "seconds": 10.0,
        "device": "a core",
        "calibration": {"coverage": [cell(0.68, 0.68), cell(0.95, 0.95)]},
    }
    found = goals.judge_goals(table, {"DirectInformed": card, "AttentionUNet": card})
    assert len({goal.key for goal in found}) == len(found) == 9
    text = goals.as_table(found)
    assert text.count("\n") == 10
    assert "| not met |" in text  # contrast: 1.5 times, not 3
    records = goals.as_records(found)
    assert json.loads(json.dumps(records, allow_nan=False)) == records
    assert any(case["dose"] == "inf" for case in records[2]["cases"])
    for record in records:
        for case in record["cases"]:
            assert case["lead"]["n"] == (1 if case["dose"] == "inf" else 3)
    assert goals.judge_goals([], {"DirectInformed": card})[0].verdict == "not decided"


def test_where_each_ptychography_ran_is_said() -> None:
    rows = series("ptychography", 100.0, "correlation", [0.5])
    rows += series("ptychography", math.inf, "correlation", [0.9])
    rows += series("phaserEM", 50.0, "correlation", [0.5])
    assert cases.where_run(rows) == "py4DSTEM at 100 e⁻/Å²; phaserEM at 50 e⁻/Å²"
    thick = [{**row("phaserEM", 300.0), "thickness": 50.0}]
    assert cases.where_run([*rows, *thick]).endswith("; against thickness phaserEM")
    assert cases.where_run(series("direct", 100.0, "correlation", [0.5])) == "no program"
