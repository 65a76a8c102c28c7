"""The chapter of other instruments judges its record by the stated goals."""

from __future__ import annotations

import math
from typing import Any

import pytest

from misr4d.companion.chapters.instruments import ALLOWED, Instruments
from misr4d.learn.ranges import SEMIANGLES


def record(
    *, gain: float = 0.05, within: tuple[float, float] = (0.68, 0.95), odd: tuple[float, ...] = ()
) -> dict[str, Any]:
    """Two instruments, three specimens each; those of the second have what `odd` says instead."""
    listed = []
    for instrument in ("A", "B"):
        for specimen in range(3):
            for dose in ("300.0", "inf"):
                lead = odd[0] if odd and instrument == "B" and dose == "inf" else gain
                narrow = odd[1] if odd and instrument == "B" and dose == "inf" else within[0]
                listed.append(
                    {
                        "instrument": instrument,
                        "kind": "thin",
                        "specimen": specimen,
                        "thickness": 20.0,
                        "dose": dose,
                        "direct": 0.8,
                        "network": 0.8 + lead + 0.001 * specimen,
                        "within_0.68": narrow,
                        "within_0.95": within[1],
                    }
                )
    drawn = [
        {
            "energy": 200e3,
            "semiangle": 10.0 * (1 + n),
            "step": 1.0,
            "thickness": 20.0 * n,
            "dose": dose,
            "direct": 0.5,
            "network": 0.6,
            "within_0.68": 0.7,
            "within_0.95": 0.9,
        }
        for n in range(3)
        for dose in ("300.0", "inf")
    ]
    instruments = {name: {"energy": 200.0, "semiangle": 10.0} for name in ("A", "B")}
    return {"listed": listed, "drawn": drawn, "instruments": instruments}


def test_goals_that_every_cell_meets_are_met() -> None:
    page = Instruments(record())
    assert len(page.cells) == 4
    assert [": *met*" in line for line in page.goals()] == [True, True, True]
    assert page.gain() == "+0.051 (n = 2)"
    assert page.where_not() == "None of these scans speaks against it."
    assert "3 instruments drawn at random: gain +0.100" in page.elsewhere()
    assert "of 68 % hold 70 % and of 95 % hold 90 %" in page.elsewhere()


def test_one_cell_that_misses_a_goal_is_named() -> None:
    page = Instruments(record(odd=(-0.02, 0.3)))
    first, second, third = page.goals()
    assert (
        "*not met*, in 3 of 4, and in 3 of the 4 whose specimens are thinner than 3 λ/α²" in first
    )
    assert first.endswith("Farthest off are thin specimens at B, ∞ dose: 30 %")
    assert "*met*, in 4 of 4" in second
    assert "*not met*, in 3 of 4 cells" in third
    assert "thin specimens at B, ∞ dose: −0.019" in third
    assert page.where_not().endswith("is behind direct ptychography here: B, thin, at ∞ dose.")


@pytest.mark.parametrize("share", ALLOWED)
def test_the_ends_of_what_is_allowed_count_as_met(share: float) -> None:
    low, high = ALLOWED[share]
    other = {0.68: 0.68, 0.95: 0.95}
    for value, met in ((low, 4), (high, 4), (low - 0.001, 0), (high + 0.001, 0)):
        within = {**other, share: value}
        page = Instruments(record(within=(within[0.68], within[0.95])))
        assert page.held(share, page.cells)[0] == met


def test_the_heat_maps_hold_every_cell_and_every_bin() -> None:
    page = Instruments(record())
    left, right = page.figure().axes
    assert [t.get_text() for t in left.texts] == ["+0.05"] * 4
    assert [t.get_text() for t in right.texts] == ["0.68"] * 4
    assert [t.get_text() for t in left.get_yticklabels()] == ["A, thin", "B, thin"]
    drawn = page.drawn_figure()
    # Semi-angles lie in two bins; up to 20 Å at 10 mrad, 20 at 20 and 40 at 30 in three of depth.
    assert [len(axes.texts) for axes in drawn.axes] == [4, 4, 6, 6]


def test_a_specimen_deeper_than_the_focus_is_told_apart() -> None:
    given = record(odd=(0.05, 0.3))
    for row in given["listed"]:
        if row["instrument"] == "B":
            row["thickness"] = 1000.0
    page = Instruments(given)
    # 1000 Å in units of λ/α² = 0.02508 Å / (10 mrad)² at 200 kV.
    assert page.depth(given["listed"][-1]) == pytest.approx(1000 * 1e-4 / 0.0250793, rel=1e-4)
    assert {cell.instrument for cell in page.shallow} == {"A"}
    assert "in 2 of the 2 whose specimens are thinner than 3 λ/α²" in page.goals()[0]
    # Of the deep ones half hold 30 % and half 68 %.
    assert "The 68 % interval then holds 49 % of the pixels" in page.where_not()
    assert SEMIANGLES[0] == 3.0


def test_the_record_of_the_repository_is_complete() -> None:
    page = Instruments()
    assert len({cell.instrument for cell in page.cells}) >= 8
    assert {cell.dose for cell in page.cells} >= {50.0, 300.0, 10_000.0, math.inf}
    assert all(len(cell.gains) >= 6 for cell in page.cells)
