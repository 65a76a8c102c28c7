from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import py4DSTEM
import pytest
import torch

from misr4d.demo import (
    Row,
    StandIn,
    Truth,
    compare,
    format_comparison,
    make_stand_in,
)
from misr4d.metrics import correlation
from misr4d.reading import read_scan
from misr4d.report import Prepared, prepare

# What is known of the estimates, measured over more draws by benchmarks/stand_in.py.
BOUNDS = {
    1000.0: {"defocus": 0.02, "rotation": 0.5},
    100.0: {"defocus": 0.04, "rotation": 2.0},
}


@pytest.fixture(scope="module", params=[("Li2CoO3", 0), ("Li2CoO3", 1), ("CuZr", 2)], ids=str)
def stand_in(request: pytest.FixtureRequest) -> StandIn:
    name, seed = request.param
    return make_stand_in(name, seed=seed, positions=40)


def prepared(stand_in: StandIn, dose: float, seed: int, folder: Path) -> tuple[Prepared, Truth]:
    recording, truth = stand_in.expose(dose, seed)
    return prepare(read_scan(recording.write(folder / "scan.h5"))), truth


def rows_of(found: Prepared, truth: Truth) -> dict[str, Row]:
    return {row.name: row for row in compare(found, truth)}


@pytest.mark.parametrize("dose", BOUNDS)
def test_the_stand_in_is_calibrated_to_what_is_stated(
    dose: float, stand_in: StandIn, tmp_path: Path
) -> None:
    rows = rows_of(*prepared(stand_in, dose, 0, tmp_path))
    bounds = BOUNDS[dose]
    assert abs(rows["defocus"].error[0]) < bounds["defocus"] * stand_in.truth.defocus
    assert abs(rows["rotation"].error[0]) < bounds["rotation"]
    assert rows["transposed"].error == (0.0,)
    assert np.abs(rows["centre"].error).max() < 0.3
    assert rows["bad pixels found"].error == (0.0,)
    assert rows["good taken for bad"].error == (0.0,)
