"""What displaces the views: a specimen that drifts, or an astigmatic probe."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from misr4d.companion.study import Scene, make_scene
from misr4d.core.dose import electrons_per_probe
from misr4d.io.scan import Scan
from misr4d.report.noise import Unexplained
from misr4d.report.preparation import prepare


def test_likelihood_counts_what_is_left_by_the_number_of_independent_values() -> None:
    right, wrong = Unexplained(1.0, 1.0, 10_000), Unexplained(1.01, 1.01, 10_000)
    assert right.log_likelihood_over(wrong) == pytest.approx(5000 * math.log(1.01))
    assert wrong.log_likelihood_over(right) == pytest.approx(-5000 * math.log(1.01))
    # A camera that makes four counts of an electron has a quarter of the values.
    spread = Unexplained(1.0, 4.0, 10_000)
    assert spread.log_likelihood_over(replace(spread, variance=1.01)) == pytest.approx(
        1250 * math.log(1.01)
    )


def test_astigmatism_of_a_still_specimen_is_not_taken_for_a_drift() -> None:
    astigmatism, dose = (40.0, 25.0), 1000.0
    still = make_scene("CaTiO3")
    acquisition = replace(still.acquisition, astigmatism=astigmatism, scan_shape=(48, 48))
    cube = Scene(still.specimen, acquisition, still.potential).measure(dose, 0).whole
    electrons = electrons_per_probe(dose, acquisition)
    ready = prepare(
        Scan.from_array(
            np.rint(cube.patterns * np.float32(electrons)).astype(np.uint16),
            energy=acquisition.energy,
            step=acquisition.step,
            semiangle=acquisition.semiangle,
            detector_pixel=cube.detector_pixel,
            rotation=0.0,
        )
    )
    assert ready.quantities["drift"].value == (0.0, 0.0)
    found = ready.quantities["astigmatism"]
    assert np.abs(np.subtract(found.value, astigmatism)).max() < 3 * found.error
    assert not any("each line of the scan lies" in warning for warning in ready.warnings)
