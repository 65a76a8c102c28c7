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


@pytest.mark.parametrize(("dose", "strength", "seed"), [(300.0, 0.15, 4), (3000.0, 0.05, 5)])
def test_the_error_covers_the_defocus_of_a_weak_specimen(
    dose: float, strength: float, seed: int
) -> None:
    """Without noise its views register up to 1.5 % off."""
    mean = mean_scan(pixels=41, strength=strength, seed=seed)
    counts = np.random.default_rng(seed).poisson(mean * dose).astype(np.uint16)
    unknown = dict.fromkeys(("defocus", "rotation", "transposed"))
    defocus = prepare(scan_of(counts, **unknown)).quantities["defocus"]
    assert abs(defocus.value - 500.0) < 2 * defocus.error
    assert 0.015 * 500 < defocus.error < 0.1 * 500


def test_a_pixel_and_a_semi_angle_that_disagree_are_told_and_widen_the_error() -> None:
    """The disc is 12.5 pixels in radius: at 0.78 mrad no 10 mrad, and the defocus 2.6 % longer."""
    mean = mean_scan(seed=2)
    counts = np.random.default_rng(2).poisson(mean * 3000).astype(np.uint16)
    unknown = dict.fromkeys(("defocus", "rotation", "transposed"))
    right, wrong = (
        prepare(scan_of(counts, detector_pixel=(side, side), **unknown)) for side in (0.8, 0.78)
    )
    assert not any("and not the semi-angle" in warning for warning in right.warnings)
    assert any("and not the semi-angle" in warning for warning in wrong.warnings)
    error = []
    for ready, side in ((right, 0.8), (wrong, 0.78)):
        apart = ready.quantities["disc_radius"].value * side / 10.0 - 1
        defocus = ready.quantities["defocus"]
        assert defocus.error > abs(apart) * defocus.value
        error.append(np.sqrt(defocus.error**2 - (apart * defocus.value) ** 2))
    assert error[1] == pytest.approx(error[0], rel=0.2)  # the rest is about the same
