"""Discs as cameras and specimens make them: soft, scattered to one side, stretched."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import erf

from misr4d.calibrate.disc import Disc, find_disc
from tests.calibrate.test_calibration import drawn

CENTRE, RADIUS = (45.2, 48.7), 29.3


def soft(
    edge: float, scattered: float, reach: float, side: float, stretch: float = 1.0
) -> NDArray[np.float64]:
    """Disc of level 7 and 0.1 of floor, with an edge that is not sharp and scattering around it."""
    x, y = np.indices((96, 92), dtype=float)
    dx, dy = (x - CENTRE[0]) / np.sqrt(stretch), (y - CENTRE[1]) * np.sqrt(stretch)
    r = np.hypot(dx, dy)
    disc = 0.5 * (1 - erf((r - RADIUS) / edge / np.sqrt(2)))
    one_sided = 1 - side * np.clip(dy / RADIUS, -1.5, 1.5) * (r > RADIUS)
    around = scattered * np.exp(-np.maximum(r - RADIUS, 0) / reach) * one_sided
    pattern: NDArray[np.float64] = 7 * disc + around + 0.1
    return pattern


@pytest.mark.parametrize("edge", [0.7, 2.0])
@pytest.mark.parametrize("reach", [6.0, 15.0])
@pytest.mark.parametrize(("scattered", "side"), [(1.0, 0.0), (1.0, 0.5), (2.0, 0.5)])
def test_a_soft_disc_with_scattering_on_one_side_is_where_its_edge_is(
    edge: float, reach: float, scattered: float, side: float
) -> None:
    """A sharp disc fitted to it is up to 16 % too large and 3.7 pixels off."""
    counts = np.random.default_rng(0).poisson(40 * soft(edge, scattered, reach, side))
    disc = find_disc(counts)
    assert disc.centre == pytest.approx(CENTRE, abs=0.1)
    assert disc.radius == pytest.approx(RADIUS, rel=0.005)
    assert disc.stretch == 1.0


@pytest.mark.parametrize("stretch", [1.06, 1.33])
def test_an_ellipse_is_seen_as_one(stretch: float) -> None:
    counts = np.random.default_rng(0).poisson(40 * soft(1.0, 0.5, 10.0, 0.3, stretch))
    disc = find_disc(counts)
    assert disc.stretch == pytest.approx(stretch, rel=0.01)
    assert disc.centre == pytest.approx(CENTRE, abs=0.2)
    assert disc.radius == pytest.approx(RADIUS, rel=0.005)


def test_a_sharp_disc_in_noise_is_no_ellipse() -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        counts = rng.poisson(20 * (drawn((48, 48), (23.3, 24.1), 15.2) + 0.02))
        assert find_disc(counts).stretch == 1.0


def test_the_matrix_of_an_ellipse_makes_it_round() -> None:
    """The long axis, 20° from Qx, is made shorter by as much as the short one is made longer."""
    angle, stretch = np.radians(20.0), 1.2
    size = (stretch**2 - 1) / (stretch**2 + 1)
    ellipse = (float(size * np.cos(2 * angle)), float(size * np.sin(2 * angle)))
    disc = Disc((0.0, 0.0), 10.0, (0.1, 0.1), 0.1, ellipse)
    long, short = np.array([np.cos(angle), np.sin(angle)]), [-np.sin(angle), np.cos(angle)]
    np.testing.assert_allclose(disc.matrix @ long, long / np.sqrt(stretch), atol=1e-12)
    np.testing.assert_allclose(disc.matrix @ np.array(short), np.sqrt(stretch) * np.array(short))
    assert disc.stretch == pytest.approx(stretch)


def test_a_soft_edge_leaves_the_radius_uncertain() -> None:
    counts = np.random.default_rng(0).poisson(40 * soft(2.0, 1.0, 6.0, 0.0))
    assert find_disc(counts).radius_error == pytest.approx(1.0, rel=0.2)


def test_the_outline_is_the_ellipse_that_was_seen() -> None:
    angle, long, short = 0.7, 12.0, 9.0
    size = (long**2 - short**2) / (long**2 + short**2)
    ellipse = (float(size * np.cos(2 * angle)), float(size * np.sin(2 * angle)))
    radius = float(np.sqrt(long * short))
    edge = Disc((20.0, 31.0), radius, (0.1, 0.1), 0.1, ellipse).outline() - (20.0, 31.0)
    axes = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    along, across = axes @ edge.T
    np.testing.assert_allclose((along / long) ** 2 + (across / short) ** 2, 1, atol=1e-9)
    np.testing.assert_allclose(edge[0], edge[-1], atol=1e-9)
    round_edge = Disc((0.0, 0.0), 7.0, (0.1, 0.1), 0.1).outline()
    np.testing.assert_allclose(np.hypot(*round_edge.T), 7.0)
