"""The benchmark that calibrates the deviation, and the card that it wrote."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from misr4d.learn.configuration import recorded_training
from misr4d.learn.instruments import draw_instrument
from misr4d.learn.learned import card, load_network
from tests.scripts import load_script

calibrating = load_script("benchmarks/calibrate_deviation.py")


def samples(seed: int, size: float = 1.0) -> list[Any]:
    """Normal errors, wider at the second dose; those in vacuum are far smaller."""
    rng = np.random.default_rng(seed)
    return [
        calibrating.Sample(
            "atomic", dose, vacuum, np.abs(rng.normal(0, width, 4000)).astype(np.float32)
        )
        for dose, wide in ((50.0, size), (100.0, 2 * size))
        for vacuum, count in ((False, 8), (True, 2))
        for width in [0.01 if vacuum else wide] * count
    ]


def test_factors_hold_on_other_draws_with_vacuum_in_its_share() -> None:
    for part in (0.0, 0.3):
        found = calibrating.factors(samples(0), part, "atomic")
        cells = calibrating.coverage(samples(1), part, {"atomic": found})
        own = [c for c in cells if c["dose"] in {"50.0", "100.0"}]
        for share in calibrating.SHARES:
            held = [c["coverage"] for c in own if c["share"] == share]
            # Right on average, and each dose by itself is not: that is what a cell is for.
            assert np.mean(held) == pytest.approx(share, abs=0.01)
            assert held[0] > share + 0.02 > share - 0.02 > held[1]
        assert all(c["low"] <= c["coverage"] <= c["high"] for c in own)
        assert all(c["specimens"] == len(c["values"]) == 8 for c in own)
    # Wrongly calibrated, it shows.
    cells = calibrating.coverage(samples(1, 3.0), 0.0, {"atomic": found})
    assert max(c["coverage"] for c in cells if c["share"] == 0.95 and c["dose"] == "100.0") < 0.7


def test_the_card_is_what_todays_code_gives() -> None:
    """One specimen of one cell, made anew; `ship_network.py NAME --rescore` writes the card."""
    record = card("DirectInformed")
    known = record["calibration"]
    seeds = {
        known["calibrated_on"]["seed"],
        known["checked_on"]["seed"],
        record["training"]["seed"],
    }
    assert len(seeds) == 3
    widths = {row["regime"]: row["factors"] for row in known["intervals"]}
    found = calibrating.measure(
        load_network("DirectInformed"),
        recorded_training(record),
        *("atomic", known["checked_on"]["seed"], 0, 100.0),
    )
    for row in known["coverage"]:
        if (row["regime"], row["dose"]) == ("atomic", "100.0"):
            width = widths["atomic"][str(row["share"])]
            assert (found.ratios <= width).mean() == pytest.approx(row["values"][0], abs=2e-3)


def test_the_card_for_any_instrument_is_what_todays_code_gives() -> None:
    """The first scan of a regime, simulated anew, at one dose."""
    record = card("InstrumentInformed")
    known = record["calibration"]
    checked = known["checked_on"]["seed"]
    assert len({known["calibrated_on"]["seed"], checked, record["training"]["seed"]}) == 3
    network, config = load_network("InstrumentInformed"), recorded_training(record)
    regime = draw_instrument(checked, 1).regime
    before = [draw_instrument(checked, index).regime for index in range(1)]
    (found,) = [
        sample
        for sample in calibrating.measure_scan(network, config, checked, 1)
        if sample.dose == 300.0 and not sample.vacuum
    ]
    widths = {row["regime"]: row["factors"] for row in known["intervals"]}[regime]
    cells = [r for r in known["coverage"] if (r["regime"], r["dose"]) == (regime, "300.0")]
    assert len(cells) == 2
    for row in cells:
        held = (found.ratios <= widths[f"{row['share']:g}"]).mean()
        assert held == pytest.approx(row["values"][before.count(regime)], abs=2e-3)
