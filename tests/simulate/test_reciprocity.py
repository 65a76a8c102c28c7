from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from misr4d import ATOMIC
from misr4d.core import optics
from misr4d.simulate.multislice import build_potential, simulate_datacube
from misr4d.simulate.reciprocity import simulate_views
from misr4d.specimens.potential import Potential
from tests.conftest import Scene, perovskite


def compare(ours: torch.Tensor, reference: torch.Tensor) -> tuple[float, float]:
    """Correlation, and RMS difference relative to the RMS variation of the reference."""
    pair = torch.stack([ours.flatten(), reference.flatten()]).double()
    rms = float((pair[0] - pair[1]).square().mean().sqrt() / pair[1].std())
    return float(torch.corrcoef(pair)[0, 1]), rms


def test_views_are_those_of_a_full_abtem_scan(perovskite_scene: Scene) -> None:
    scene = perovskite_scene
    reference = simulate_datacube(scene.potential, scene.acquisition).views(scene.acquisition)
    ours = simulate_views(scene.potential, scene.acquisition)
    correlation, rms = compare(ours, reference)
    assert correlation >= 0.999
    assert rms <= 0.02
    flipped = compare(ours.flip(0), reference)[0]  # k → −k
    assert flipped < 0.95


def test_an_astigmatic_probe_is_abtems() -> None:
    """Components and azimuth, by a full scan; patterns by windows agree with both."""
    specimen = perovskite(4.0)
    potential = build_potential(specimen, 0.25, 0.9)
    side = specimen.atoms.cell.lengths()[0]
    pixel = ATOMIC.wavelength / side * 1e3
    skewed = replace(
        ATOMIC,
        step=(side / 16, side / 16),
        scan_shape=(16, 16),
        defocus=150.0,
        detector_pixel=pixel,
        pixel_samples=1,
        astigmatism=(30.0, -45.0),
    )
    reference = simulate_datacube(potential, skewed).views(skewed)
    assert compare(simulate_views(potential, skewed), reference)[0] >= 0.999
    for other in ((30.0, 45.0), (-30.0, -45.0), (0.0, 0.0)):
        wrong = simulate_views(potential, replace(skewed, astigmatism=other))
        assert compare(wrong, reference)[0] < 0.97


def test_pixels_of_finite_size_are_binned_detector_pixels(perovskite_scene: Scene) -> None:
    scene = perovskite_scene
    binned = replace(
        scene.acquisition, detector_pixel=3 * scene.acquisition.detector_pixel, pixel_samples=3
    )
    reference = simulate_datacube(scene.potential, scene.acquisition).views(binned)
    correlation, rms = compare(simulate_views(scene.potential, binned), reference)
    assert correlation >= 0.999
    assert rms <= 0.02


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("exact", [False, True])
def test_vacuum_is_what_lights_each_pixel(samples: int, exact: bool) -> None:
    """One in a fully lit pixel, and on the rim the share of it that the disc covers."""
    empty = Potential(torch.zeros(3, 48, 48), (16.0, 16.0), (60.0, 60.0, 60.0))
    acquisition = replace(ATOMIC, scan_shape=(16, 16), pixel_samples=samples)
    views = simulate_views(empty, acquisition, exact=exact)
    torch.testing.assert_close(views, acquisition.vacuum_views, atol=1e-5, rtol=0)
    assert bool(acquisition.vacuum_views.min() == 1) is (samples == 1)


@pytest.mark.parametrize("astigmatism", [(0.0, 0.0), (30.0, -45.0)])
def test_interpolated_waves_are_those_propagated_on_their_own(
    perovskite_scene: Scene, astigmatism: tuple[float, float]
) -> None:
    scene = perovskite_scene
    pixel = 3 * scene.acquisition.detector_pixel
    finite = replace(
        scene.acquisition, detector_pixel=pixel, pixel_samples=3, astigmatism=astigmatism
    )
    exact = simulate_views(scene.potential, finite, exact=True)
    contrast = float((exact - finite.vacuum_views).square().mean().sqrt())
    for measured in (finite, replace(finite, rotation=33.0, transposed=True)):
        exact = simulate_views(scene.potential, measured, exact=True)
        error = float((simulate_views(scene.potential, measured) - exact).square().mean().sqrt())
        assert error < (0.01 if scene.potential.thickness < 10 else 0.03) * contrast


def test_registering_shift_lays_a_view_on_the_axial_one() -> None:
    """Inside the disc a weak smooth object's views differ by their displacement alone."""
    axis = (torch.arange(192) / 3 - 30.0) ** 2
    blob = torch.exp(-(axis[:, None] + axis[None, :]) / (2 * 2.0**2))
    views = simulate_views(Potential(blob[None] * 5, (64.0, 64.0), (1.0,)), ATOMIC)
    k = ATOMIC.view_angles
    axial = int(k.norm(dim=1).argmin())
    qx, qy = optics.frequencies((64, 64), (1.0, 1.0))
    for angle in ((4.0, 0.0), (-2.7, 5.3)):
        index = int((k - torch.tensor(angle)).norm(dim=1).argmin())
        for sign, agree in ((1, True), (-1, False)):
            dx, dy = sign * ATOMIC.registering_shifts[index]
            moved = torch.fft.fft2(views[index].double()) * torch.exp(
                -2j * torch.pi * (qx * dx + qy * dy)
            )
            correlation, _ = compare(torch.fft.ifft2(moved).real, views[axial])
            assert (correlation > 0.99) is agree


def test_batches_do_not_matter(perovskite_scene: Scene) -> None:
    scene = perovskite_scene
    coarse = replace(scene.acquisition, detector_pixel=4.0)
    together = simulate_views(scene.potential, coarse, batch=100)
    torch.testing.assert_close(
        simulate_views(scene.potential, coarse, batch=5), together, atol=1e-5, rtol=1e-5
    )


def test_a_scan_of_part_of_the_cell_is_part_of_the_scan(perovskite_scene: Scene) -> None:
    scene = perovskite_scene
    coarse = replace(scene.acquisition, detector_pixel=4.0)
    part = simulate_views(scene.potential, replace(coarse, scan_shape=(7, 11)))
    whole = simulate_views(scene.potential, coarse)
    torch.testing.assert_close(part, whole[:, :7, :11])


def test_errors_come_before_the_work(perovskite_scene: Scene) -> None:
    scene = perovskite_scene
    with pytest.raises(ValueError, match="expected a cell of a whole number of steps"):
        simulate_views(scene.potential, ATOMIC)
    coarse = Potential(torch.zeros(1, 64, 64), (64.0, 64.0), (1.0,))
    with pytest.raises(ValueError, match="cuts the 10 mrad probe"):
        simulate_views(coarse, ATOMIC)
    with pytest.raises(ValueError, match="cuts the 10 mrad probe"):
        simulate_datacube(coarse, ATOMIC)
