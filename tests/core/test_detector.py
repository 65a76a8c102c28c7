from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from misr4d import ATOMIC, Acquisition
from misr4d.core.datacube import Datacube, centre_of_mass, patterns_from_views
from misr4d.core.detector import STRAIGHT, detector_axes
from misr4d.measure.metrics import correlation
from misr4d.reconstruction.direct import DirectPtychography
from misr4d.reconstruction.dpc import idpc
from misr4d.reconstruction.forward import (
    ExpectedViews,
)
from misr4d.simulate.patterns import simulate_patterns
from misr4d.simulate.reciprocity import simulate_views
from misr4d.specimens.potential import truth
from tests.conftest import weak_phase


def test_positive_rotation_runs_from_rx_to_ry_after_the_transpose() -> None:
    torch.testing.assert_close(
        detector_axes(90.0, False) @ torch.tensor([1.0, 0.0], dtype=torch.float64),
        torch.tensor([0.0, 1.0], dtype=torch.float64),
    )
    c, s = math.cos(math.radians(20)), math.sin(math.radians(20))
    expected = torch.tensor([[c, -s], [s, c]], dtype=torch.float64)
    swap = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(detector_axes(20.0, False), expected)
    torch.testing.assert_close(detector_axes(20.0, True), expected @ swap)


def test_views_of_a_turned_detector_look_where_its_pixels_are() -> None:
    turned = replace(ATOMIC, rotation=33.0, transposed=True)
    assert turned.number_of_views == 177
    assert turned.pixels_per_disc == ATOMIC.pixels_per_disc
    expected = ATOMIC.view_frequencies @ detector_axes(33.0, True).T
    torch.testing.assert_close(turned.view_frequencies, expected)
    assert replace(turned, defocus=100.0).rotation == 33.0
    with pytest.raises(ValueError, match="rotation is nan"):
        replace(ATOMIC, rotation=math.nan)


@pytest.mark.parametrize(("rotation", "transposed"), [(0.0, False), (37.0, False), (-120.0, True)])
def test_views_of_a_turned_detector_go_to_patterns_and_back(
    rotation: float, transposed: bool
) -> None:
    """The detector keeps its own pixels: the patterns do not depend on how it is turned."""
    small = replace(ATOMIC, scan_shape=(3, 4))
    turned = replace(small, rotation=rotation, transposed=transposed)
    views = torch.rand(177, 3, 4, generator=torch.Generator().manual_seed(0))
    cube, mask = patterns_from_views(views, turned)
    plain, plain_mask = patterns_from_views(views, small)
    np.testing.assert_array_equal(cube.patterns, plain.patterns)
    np.testing.assert_array_equal(mask, plain_mask)
    torch.testing.assert_close(cube.views(turned), views)


@pytest.fixture(scope="module")
def upright() -> tuple[Datacube, Acquisition]:
    pixel = 3 * ATOMIC.wavelength / 48.0 * 1e3
    few = replace(ATOMIC, scan_shape=(32, 32), detector_pixel=pixel, pixel_samples=3)
    return simulate_patterns(weak_phase(0.05)[0], few, max_angle=13.0), few


@pytest.mark.parametrize(
    ("rotation", "transposed", "turn"),
    [
        (90.0, False, lambda p: p.swapaxes(2, 3)[:, :, :, ::-1]),
        (180.0, False, lambda p: p[:, :, ::-1, ::-1]),
        (0.0, True, lambda p: p.swapaxes(2, 3)),
    ],
)
def test_methods_give_the_same_image_whichever_way_the_detector_lies(  # type: ignore[no-untyped-def]
    rotation: float, transposed: bool, turn, upright: tuple[Datacube, Acquisition]
) -> None:
    """Patterns turned by index arithmetic, which knows nothing of the acquisition."""
    cube, acquisition = upright
    other = replace(cube, patterns=np.ascontiguousarray(turn(cube.patterns)))
    turned = replace(acquisition, rotation=rotation, transposed=transposed)
    torch.testing.assert_close(
        centre_of_mass(other, turned), centre_of_mass(cube, acquisition), atol=1e-6, rtol=0
    )
    torch.testing.assert_close(idpc(other, turned), idpc(cube, acquisition), atol=1e-4, rtol=1e-3)
    image = DirectPtychography(turned)(other.views(turned))
    expected = DirectPtychography(acquisition)(cube.views(acquisition))
    assert correlation(image, expected) > 0.999


def test_any_angle_costs_direct_ptychography_nothing_if_it_is_told() -> None:
    potential, _ = weak_phase()
    coarse = replace(ATOMIC, step=(2.0, 2.0), scan_shape=(32, 32))
    turned = replace(coarse, rotation=20.0)
    views, reference = simulate_views(potential, turned), truth(potential, coarse)
    assert correlation(DirectPtychography(turned)(views), reference) > 0.97
    assert correlation(DirectPtychography(coarse)(views), reference) < 0.8


@pytest.mark.classical
def test_py4dstem_methods_refuse_a_turned_detector() -> None:
    from misr4d.reconstruction.classical import parallax

    with pytest.raises(ValueError, match="turned by 20°"):
        parallax(torch.ones(177, 64, 64), replace(ATOMIC, rotation=20.0))


# A shear by a whole field is a drift after which the positions fall on those of the straight scan.
SHEARED = ((1.0, 0.0), (1.0, 1.0))


def along_the_shear(images: torch.Tensor) -> torch.Tensor:
    """Images ``(..., N, N)`` on the sheared scan: row i begins i pixels further along Ry."""
    rows = torch.arange(images.shape[-2])[:, None]
    columns = (torch.arange(images.shape[-1]) + rows) % images.shape[-1]
    return images[..., rows, columns]


@pytest.fixture(scope="module")
def sheared() -> Acquisition:
    small = replace(ATOMIC, defocus=300.0, detector_pixel=2.0)
    return replace(small, rotation=25.0, transposed=True, scan_matrix=SHEARED)


def test_frequencies_of_a_drifting_scan_go_to_the_specimen_and_back() -> None:
    matrix = ((1.1, 0.02), (-0.2, 0.97))
    drifting = replace(ATOMIC, scan_matrix=matrix)
    q = torch.randn(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    there = torch.stack(drifting.specimen_frequencies(q[:, 0], q[:, 1]), 1)
    torch.testing.assert_close(drifting.scan_frequencies(there), q)
    # The same plane wave: q along the scan as stated, D⁻ᵀq on the specimen.
    x = torch.tensor([3.0, -7.0], dtype=torch.float64)
    on_specimen = torch.tensor(matrix, dtype=torch.float64) @ x
    torch.testing.assert_close(there @ on_specimen, q @ x)
    moved = torch.tensor(matrix, dtype=torch.float64) @ drifting.registering_shifts.T
    torch.testing.assert_close(moved.T, ATOMIC.registering_shifts)
    assert drifting.drifts
    assert not replace(ATOMIC, rotation=10.0).drifts
    with pytest.raises(ValueError, match="expected an invertible 2 × 2 matrix"):
        replace(ATOMIC, scan_matrix=((1.0, 1.0), (1.0, 1.0)))


def test_views_of_a_drifting_scan_are_expected_where_the_probe_was(
    sheared: Acquisition,
) -> None:
    """On the straight scan, which has the same positions."""
    potential, phase = weak_phase(0.3)
    straight = ExpectedViews(replace(sheared, scan_matrix=STRAIGHT))
    views = along_the_shear(straight(straight.transmission(phase)))
    model = ExpectedViews(sheared)
    expected = model(model.transmission(along_the_shear(phase)))
    torch.testing.assert_close(expected, views, atol=1e-5, rtol=1e-5)
    assert (views - 1).abs().max() > 0.3
    with pytest.raises(ValueError, match="the scan drifts over the specimen"):
        simulate_views(potential, sheared)


def test_direct_ptychography_sees_the_specimen_under_a_drifting_scan(
    sheared: Acquisition,
) -> None:
    potential, _ = weak_phase(0.01)
    straight = replace(sheared, scan_matrix=STRAIGHT)
    views = along_the_shear(simulate_views(potential, straight))
    image = DirectPtychography(sheared)(views)
    expected = along_the_shear(DirectPtychography(straight)(simulate_views(potential, straight)))
    assert correlation(image, expected) > 0.999
    assert correlation(DirectPtychography(straight)(views), expected) < 0.7


def test_an_unturned_acquisition_keeps_all_but_rotation_axes_and_drift(
    sheared: Acquisition,
) -> None:
    turned = replace(sheared, rotation=10.0, transposed=True)
    assert not turned.unturned.turned
    assert turned.unturned == replace(sheared, rotation=0.0, transposed=False, scan_matrix=STRAIGHT)
