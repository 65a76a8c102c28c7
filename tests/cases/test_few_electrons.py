"""A scan with few electrons: as uncertain as it says, and nothing is made of noise."""

from __future__ import annotations

import numpy as np
import pytest

from misr4d.report.preparation import prepare
from tests.cases.scans import mean_scan, scan_of

UNKNOWN = ("defocus", "rotation", "transposed")


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_few_electrons_make_no_drift_and_no_false_certainty(seed: int) -> None:
    """At 300 e⁻/Å² noise makes maxima: scans that stood still were said to drift by a tenth."""
    patterns = mean_scan(positions=48, seed=seed) * 300.0
    counts = np.random.default_rng(seed).poisson(patterns).astype(np.uint16)
    found = prepare(scan_of(counts, **dict.fromkeys(UNKNOWN))).quantities
    assert found["drift"].value == (0.0, 0.0)
    assert abs(found["defocus"].value - 500.0) < 3.5 * found["defocus"].error
    assert found["defocus"].error < 40.0
    assert abs(found["rotation"].value) < 3.5 * found["rotation"].error
