"""Discs that are not round, or not the direct beam: the report says so."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from misr4d.calibrate.disc import find_disc, second_disc
from misr4d.report.preparation import prepare
from tests.calibrate.test_calibration import drawn
from tests.cases.scans import scan_of


def scan_like(pattern: NDArray[np.float64]) -> NDArray[np.uint16]:
    counts = np.random.default_rng(0).poisson(pattern, (32, 32, *pattern.shape))
    return counts.astype(np.uint16)


def warnings_of(pattern: NDArray[np.float64]) -> str:
    given = {"defocus": 500.0, "detector_pixel": None}
    return " ".join(prepare(scan_of(scan_like(pattern), **given)).warnings)


@pytest.mark.parametrize("brightness", [0.7, 2.0])
def test_a_second_disc_is_told(brightness: float) -> None:
    """A Bragg reflection as bright as the beam can be taken for it: which one is not decided."""
    beam = 8 * drawn((64, 64), (24.0, 26.5), 9.0)
    both = beam + 8 * brightness * drawn((64, 64), (46.0, 45.0), 9.0)
    found = find_disc(both + 0.05)
    other = second_disc(both + 0.05, found)
    assert other is not None
    beam_is_taken = brightness < 1
    assert found.centre == pytest.approx((24.0, 26.5) if beam_is_taken else (46.0, 45.0), abs=0.2)
    assert other[0] == pytest.approx((46.0, 45.0) if beam_is_taken else (24.0, 26.5), abs=1.5)
    assert other[1] == pytest.approx(brightness if beam_is_taken else 1 / brightness, rel=0.15)


def test_the_report_warns_of_a_bragg_disc_and_of_an_ellipse() -> None:
    beam = 8 * drawn((64, 64), (24.0, 26.5), 9.0) + 0.05
    assert "second disc" not in (alone := warnings_of(beam))
    assert "ellipse" not in alone
    both = beam + 7 * drawn((64, 64), (46.0, 45.0), 9.0)
    assert "pass --centre" in warnings_of(both)
    x, y = np.indices((64, 64))
    oval = 8.0 * (np.hypot((x - 30) / 1.15, (y - 32) * 1.15) < 14) + 0.05
    assert "ellipse, 1.3" in warnings_of(oval)
