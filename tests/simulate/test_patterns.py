from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from misr4d import ATOMIC
from misr4d.simulate.multislice import build_potential, simulate_datacube
from misr4d.simulate.patterns import simulate_patterns, smallest_window
from misr4d.simulate.reciprocity import simulate_views
from misr4d.specimens.catalogue import make_specimen
from misr4d.specimens.potential import Potential


@pytest.fixture(scope="module")
def crystal() -> Potential:
    return build_potential(make_specimen("CaTiO3"), 1 / 3, 4.0)


def test_patterns_are_abtems_at_the_same_angles(crystal: Potential) -> None:
    """A window half as wide as the cell has every second of the cell's detector pixels."""
    few = replace(ATOMIC, scan_shape=(8, 6))
    ours = simulate_patterns(crystal, few, window=32.0)
    reference = simulate_datacube(crystal, few)
    pixel = 2 * reference.detector_pixel[0]
    assert ours.detector_pixel[0] == pytest.approx(pixel, rel=1e-5)
    middle = [n // 2 for n in reference.patterns.shape[2:]]
    reach = min(*(n // 2 for n in ours.patterns.shape[2:]), min(middle) // 2 - 1)
    pick = [slice(m - 2 * reach, m + 2 * reach + 1, 2) for m in middle]
    theirs = 4 * reference.patterns[:, :, pick[0], pick[1]]
    centre = [n // 2 for n in ours.patterns.shape[2:]]
    mine = ours.patterns[
        :, :, centre[0] - reach : centre[0] + reach + 1, centre[1] - reach : centre[1] + reach + 1
    ]
    assert np.corrcoef(mine.ravel(), theirs.ravel())[0, 1] > 0.999
    # A hard aperture has slowly decaying rings, which the window cuts: the rim feels it most.
    assert np.sqrt(((mine - theirs) ** 2).mean()) < 0.05 * theirs.std()


def test_binned_patterns_are_the_views_by_reciprocity(crystal: Potential) -> None:
    pixel = 3 * ATOMIC.wavelength / 48.0 * 1e3
    measured = replace(ATOMIC, detector_pixel=pixel, pixel_samples=3, scan_shape=(16, 16))
    views = simulate_patterns(crystal, measured, max_angle=11.0).views(measured)
    expected = simulate_views(crystal, measured)
    pair = torch.stack([views.flatten(), expected.flatten()])
    assert float(torch.corrcoef(pair)[0, 1]) > 0.995


def test_vacuum_keeps_all_electrons() -> None:
    empty = Potential(torch.zeros(2, 192, 192), (64.0, 64.0), (2.0, 2.0))
    cube = simulate_patterns(empty, replace(ATOMIC, scan_shape=(3, 3)))
    np.testing.assert_allclose(cube.patterns.sum((2, 3)), 1.0, rtol=1e-4)


def test_a_probe_may_stand_anywhere(crystal: Potential) -> None:
    """On the regular positions all is as without; a little off them, a little different."""
    few = replace(ATOMIC, scan_shape=(3, 2))
    regular = simulate_patterns(crystal, few)
    places = np.stack(np.meshgrid(np.arange(3.0), np.arange(2.0), indexing="ij"), -1)
    same = simulate_patterns(crystal, few, positions=places)
    np.testing.assert_allclose(same.patterns, regular.patterns, atol=1e-8)
    off = simulate_patterns(crystal, few, positions=places + np.array([0.1, 0.05])).patterns
    on = simulate_patterns(crystal, few, positions=places + np.array([0.2, 0.1])).patterns
    # Half-way the patterns are nearly the mean of both ends.
    middle = (regular.patterns + on) / 2
    assert np.abs(off - middle).max() < 0.1 * np.abs(on - regular.patterns).max()
    with pytest.raises(ValueError, match="positions have shape"):
        simulate_patterns(crystal, few, positions=places[:2])


def test_an_axis_between_pixels_moves_the_disc() -> None:
    empty = Potential(torch.zeros(1, 192, 192), (64.0, 64.0), (2.0,))
    one = replace(ATOMIC, scan_shape=(1, 1))
    mean = simulate_patterns(empty, one, axis=(0.4, -0.3)).patterns[0, 0].astype(float)
    index = np.arange(len(mean)) - len(mean) // 2
    found = mean.sum(1) @ index / mean.sum(), mean.sum(0) @ index / mean.sum()
    assert found == pytest.approx((0.4, -0.3), abs=0.05)


def test_bad_windows_are_named(crystal: Potential) -> None:
    assert smallest_window(ATOMIC, 21.0) < 32
    with pytest.raises(ValueError, match="cuts the probe"):
        simulate_patterns(crystal, replace(ATOMIC, defocus=5000.0))
    with pytest.raises(ValueError, match=r"window 40\.1 Å is 120\.300 pixels"):
        simulate_patterns(crystal, ATOMIC, window=40.1)
    with pytest.raises(ValueError, match="wider than the cell"):
        simulate_patterns(crystal, ATOMIC, window=70.0)
