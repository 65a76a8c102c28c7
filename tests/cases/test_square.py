"""Detector pixels that are not square: the image is that of square ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from misr4d.measure.metrics import correlation
from misr4d.report.preparation import prepare
from misr4d.report.reconstruct import reconstruct_scan
from tests.cases.scans import mean_scan, scan_of

DOSE = 6000.0


@pytest.fixture(scope="module")
def mean() -> NDArray[np.float64]:
    """A disc 25 pixels across, of which pixels are summed."""
    return mean_scan(positions=36, pixels=84, semiangle=10.0)


def binned(mean: NDArray[np.float64], x: int, y: int) -> NDArray[np.float64]:
    nx, ny = 84 // x, 84 // y
    cut = mean[:, :, : nx * x, : ny * y]
    return cut.reshape(*mean.shape[:2], nx, x, ny, y).sum((3, 5))


def counts(mean: NDArray[np.float64]) -> NDArray[np.uint16]:
    return np.random.default_rng(0).poisson(mean * DOSE).astype(np.uint16)


@pytest.mark.parametrize(("x", "y"), [(2, 1), (1, 2)])
def test_oblong_pixels_give_the_image_of_square_ones(
    mean: NDArray[np.float64], x: int, y: int
) -> None:
    side = max(x, y)
    square = reconstruct_scan(
        scan_of(counts(binned(mean, side, side)), detector_pixel=(0.8 * side, 0.8 * side)),
        method="direct",
    )
    oblong = scan_of(counts(binned(mean, x, y)), detector_pixel=(0.8 * x, 0.8 * y))
    report = reconstruct_scan(oblong, method="direct")
    assert not any("ellipse" in text for text in report.warnings)
    found = report.quantities
    assert found["dose"].value == pytest.approx(square.quantities["dose"].value, rel=5e-3)
    assert found["detector_pixel"].value == (0.8 * x, 0.8 * y)
    # 42 is the middle of the disc on the finest pixels.
    centre = [(42 + 0.5) / n - 0.5 for n in (x, y)]
    assert found["centre"].value == pytest.approx(centre, abs=0.15)
    assert correlation(report.mean, square.mean) > 0.9
    assert found["noise"].value == pytest.approx(1.0, abs=0.1)


def test_a_blind_defocus_is_right_with_oblong_pixels(mean: NDArray[np.float64]) -> None:
    unknown: dict[str, Any] = dict.fromkeys(("defocus", "rotation", "transposed"))
    oblong = scan_of(counts(binned(mean, 1, 2)), detector_pixel=(0.8, 1.6), **unknown)
    found = prepare(oblong).quantities
    for name, true in (("defocus", 500.0), ("rotation", 0.0)):
        assert abs(found[name].value - true) < 3 * found[name].error, name
    assert found["drift"].value == (0.0, 0.0)


def test_a_given_centre_counts_in_recorded_pixels(mean: NDArray[np.float64]) -> None:
    oblong = scan_of(counts(binned(mean, 2, 1)), detector_pixel=(1.6, 0.8), centre=(20.75, 42.0))
    ready = prepare(oblong)
    assert not any("centre" in text for text in ready.warnings)
    assert ready.quantities["centre"].value == pytest.approx((20.75, 42.0))
