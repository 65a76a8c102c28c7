"""Noise of cameras that count, multiply and spread electrons."""

from __future__ import annotations

import numpy as np
import pytest

from misr4d.calibrate.camera import camera_noise

CENTRE, RADIUS = (23.5, 23.5), 20.0


def events(mean: float) -> np.ndarray:
    return np.random.default_rng(0).poisson(mean, (12, 13, 48, 48)).astype(float)


def test_counted_electrons_vary_as_their_mean() -> None:
    noise = camera_noise(events(4.0), CENTRE, RADIUS)
    assert noise.sides == (1, 2, 4, 8, 16)
    np.testing.assert_allclose(noise.variance, 1.0, atol=0.15)
    assert abs(noise.neighbours) < 0.01


def test_counts_of_an_electron_show_in_large_blocks_where_they_are_spread() -> None:
    """Six counts an electron, half of them in the pixel beside: per pixel 6·(¼ + ¼) = 3."""
    electrons = events(0.8)
    counts = 3 * electrons + 3 * np.roll(electrons, 1, axis=3)
    noise = camera_noise(counts, CENTRE, RADIUS)
    assert noise.variance[0] == pytest.approx(3.0, rel=0.05)
    assert noise.variance[-1] == pytest.approx(6.0, rel=0.15)
    assert noise.neighbours == pytest.approx(0.25, abs=0.02)  # 1/2 along one axis, 0 the other


def test_a_specimen_between_the_two_patterns_adds_little() -> None:
    slow = 1 + 0.05 * np.sin(2 * np.pi * np.arange(13) / 13)[None, :, None, None]
    counts = np.random.default_rng(0).poisson(4.0 * slow, (12, 13, 48, 48))
    assert camera_noise(counts, CENTRE, RADIUS).variance[0] == pytest.approx(1.0, abs=0.05)


def test_a_disc_without_a_block_is_refused() -> None:
    with pytest.raises(ValueError, match="no block of 2 × 2"):
        camera_noise(events(1.0), CENTRE, 1.0)
    with pytest.raises(ValueError, match="a line holds 1 pattern"):
        camera_noise(events(1.0)[:, :1], CENTRE, RADIUS)
