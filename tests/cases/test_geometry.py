"""Geometry that a small field feigns: no drift is seen where there is none."""

from __future__ import annotations

import numpy as np
import pytest

from misr4d.report.preparation import prepare
from tests.cases.scans import mean_scan, scan_of


@pytest.mark.parametrize("seed", [2, 3])
def test_a_small_field_shows_no_drift_and_errors_that_cover(seed: int) -> None:
    """60 kV, 34 mrad, 16 Å: the outermost views are displaced by a third of the field."""
    settings = {"energy": 60e3, "step": 0.4, "semiangle": 34.0, "defocus": 150.0}
    mean = mean_scan(seed=seed, **settings)  # type: ignore[arg-type]
    counts = np.random.default_rng(seed).poisson(mean * 3200).astype(np.uint16)
    found = prepare(
        scan_of(
            counts,
            energy=60e3,
            step=(0.4, 0.4),
            semiangle=34.0,
            detector_pixel=(2.72, 2.72),
            **dict.fromkeys(("defocus", "rotation", "transposed")),
        )
    ).quantities
    assert found["drift"].value == (0.0, 0.0)
    assert not found["transposed"].value
    for name, true in (("defocus", 150.0), ("rotation", 0.0)):
        assert abs(found[name].value - true) < 3 * found[name].error, name
