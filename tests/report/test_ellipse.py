"""A detector whose angles are stretched: the disc is an ellipse, and the aperture round."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

import misr4d
from misr4d import ATOMIC, Acquisition
from misr4d.core.datacube import patterns_from_views
from misr4d.core.detector import Matrix
from misr4d.measure.metrics import correlation
from misr4d.report.report import Report
from misr4d.simulate.reciprocity import simulate_views
from tests.conftest import weak_phase

STRETCHED: Matrix = ((1.06, 0.02), (0.02, 0.95))
ELECTRONS = 2000.0


def recorded(acquisition: Acquisition) -> tuple[np.ndarray, torch.Tensor]:
    """Counts on a detector of square pixels in software, and the phase behind them."""
    potential, phase = weak_phase(0.1, 0)
    cube, _ = patterns_from_views(simulate_views(potential, acquisition), acquisition)
    edge = ((0, 0), (0, 0), (6, 6), (6, 6))
    mean = np.pad(np.asarray(cube.patterns), edge) * ELECTRONS
    return np.random.default_rng(0).poisson(mean).astype(np.uint16), phase


def reconstruct(counts: np.ndarray, **known: object) -> Report:
    return misr4d.reconstruct(
        counts,
        energy=300e3,
        step=1.0,
        method="direct",
        device="cpu",
        **known,  # type: ignore[arg-type]
    )


@pytest.fixture(scope="module")
def scan() -> tuple[np.ndarray, torch.Tensor]:
    return recorded(replace(ATOMIC, detector_pixel=0.62, detector_matrix=STRETCHED))


def test_the_disc_is_made_round(scan: tuple[np.ndarray, torch.Tensor]) -> None:
    """Taken for round, it looks as if the specimen drifted by 8 % of a step a line."""
    counts, phase = scan
    found = reconstruct(counts, semiangle=10.0)
    (ratio,) = re.findall(r"the disc is an ellipse, (1\.\d+)", " ".join(found.warnings))
    # Of the singular values of the stretch; the disc's soft rim hides some of it.
    assert float(ratio) == pytest.approx(1.124, abs=0.04)
    defocus = found.quantities["defocus"]
    assert abs(defocus.value - ATOMIC.defocus) < 3 * defocus.error < 0.06 * ATOMIC.defocus
    assert found.quantities["drift"].value == (0.0, 0.0)
    assert correlation(found.mean, phase) > 0.75


def test_pixels_that_are_not_square_are_as_stated(scan: tuple[np.ndarray, torch.Tensor]) -> None:
    oblong = replace(ATOMIC, detector_pixel=0.62, detector_matrix=((1.1, 0.0), (0.0, 1 / 1.1)))
    counts, phase = recorded(oblong)
    found = reconstruct(counts, detector_pixel=(0.62 * 1.1, 0.62 / 1.1))
    assert found.quantities["semiangle"].value == pytest.approx(10.0, rel=0.02)
    defocus = found.quantities["defocus"]
    assert abs(defocus.value - ATOMIC.defocus) < 2 * defocus.error < 0.04 * ATOMIC.defocus
    assert not any("ellipse" in text for text in found.warnings)
    assert correlation(found.mean, phase) > 0.8
    wrong = reconstruct(counts, detector_pixel=(0.62 / 1.1, 0.62 * 1.1))
    assert any("check --detector-pixel" in text for text in wrong.warnings)


def test_a_stretched_detector_sees_the_round_disc() -> None:
    """Every pixel in the disc sees the angle that the matrix says, turned as the detector is."""
    turned = replace(ATOMIC, detector_matrix=STRETCHED, rotation=30.0, transposed=True)
    places = turned.detector_index.double() * turned.detector_pixel
    angles = places @ torch.tensor(STRETCHED, dtype=torch.float64).T @ turned.axes.T
    torch.testing.assert_close(turned.view_angles, angles)
    assert float(angles.norm(dim=1).max()) <= turned.semiangle
    with pytest.raises(ValueError, match="detector_matrix"):
        replace(ATOMIC, detector_matrix=((1.0, 1.0), (1.0, 1.0)))
