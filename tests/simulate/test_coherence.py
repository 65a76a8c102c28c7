"""Thermal motion, an extended source and a detector's own noise, each against its closed form."""

from __future__ import annotations

import math
from dataclasses import replace

import abtem
import numpy as np
import pytest
import torch
from ase import Atoms

from misr4d import ATOMIC
from misr4d.companion.study import METHODS, place
from misr4d.core import optics
from misr4d.core.dose import add_detector_noise, electrons_per_pixel, expose
from misr4d.simulate.multislice import build_potential, repeatable
from misr4d.simulate.reciprocity import simulate_views
from misr4d.specimens.catalogue import Specimen, make_specimen
from misr4d.specimens.potential import Potential, project_atoms
from tests.conftest import perovskite, weak_phase

CELL, SHAPE = (12.0, 12.0), (96, 96)


def test_a_moving_atom_is_the_still_one_blurred() -> None:
    """Against a sum over displacements: an independent average of the projected potential."""
    u = 0.3
    still = project_atoms([22], [[6.0, 6.0, 1.0]], CELL, SHAPE, [2.0]).slices[0].double()
    moving = project_atoms([22], [[6.0, 6.0, 1.0]], CELL, SHAPE, [2.0], thermal=u).slices[0]
    points, weights = np.polynomial.hermite_e.hermegauss(25)
    places = [[6.0 + u * x, 6.0 + u * y, 1.0] for x in points for y in points]
    shares = np.outer(weights, weights).ravel() / (2 * np.pi)
    average = torch.zeros(SHAPE, dtype=torch.float64)
    for position, share in zip(places, shares, strict=True):
        average += share * project_atoms([22], [position], CELL, SHAPE, [2.0]).slices[0].double()
    assert float((moving - average).abs().max()) < 1e-3 * float(still.max())
    assert float(moving.sum()) == pytest.approx(float(still.sum()), rel=1e-5)
    assert float(moving.max()) < 0.7 * float(still.max())


def test_displacements_by_element_and_both_engines() -> None:
    thermal = {"Ca": 0.08, "Ti": 0.05, "O": 0.12}
    places = [[2.1, 3.3, 1.0], [6.2, 5.9, 1.2], [4.4, 9.7, 0.8]]
    atoms = Atoms("CaTiO", places, cell=[*CELL, 2.0], pbc=(True, True, False))
    specimen = Specimen("three", "three atoms", atoms, "atomic", "test", "test")
    fine = build_potential(specimen, 1 / 32, 2.0, thermal=thermal)
    exact = project_atoms(
        atoms.numbers, places, CELL, SHAPE, fine.thicknesses, thermal=thermal
    ).slices
    built = optics.fourier_resample(fine.slices, SHAPE)
    qx, qy = optics.frequencies(SHAPE, (0.125, 0.125))
    band = qx**2 + qy**2 < 1.0
    error = torch.fft.fft2(built - exact) * band
    assert float(error.norm() / (torch.fft.fft2(exact) * band).norm()) < 0.01
    still = build_potential(specimen, 0.125, 2.0)
    same = build_potential(specimen, 0.125, 2.0, thermal=dict.fromkeys(thermal, 0.0))
    torch.testing.assert_close(same.slices, still.slices, rtol=0, atol=0)


def test_frozen_phonons_have_this_mean() -> None:
    """abTEM's frozen phonons, averaged, come to the closed form as their number grows."""
    u, count = 0.15, 200
    atoms = Atoms("Ti", [[3.0, 3.0, 1.0]], cell=[6.0, 6.0, 2.0])
    phonons = abtem.FrozenPhonons(atoms, num_configs=count, sigmas=u, seed=1)
    mean = torch.zeros(48, 48, dtype=torch.float64)
    with repeatable():
        for moved in phonons:
            moved = moved.copy()
            moved.positions[:, 2] = 1.0  # abTEM moves along the beam too
            built = abtem.Potential(
                moved, gpts=(144, 144), slice_thickness=2.0, projection="infinite", periodic=True
            )
            slices = torch.from_numpy(np.asarray(built.build(lazy=False).array, dtype=np.float32))
            mean += optics.fourier_resample(slices, (48, 48)).sum(0).double() / count
    specimen = Specimen("atom", "Ti", atoms, "atomic", "test", "test")
    closed = build_potential(specimen, 0.125, 2.0, thermal=u).slices.sum(0).double()
    still = build_potential(specimen, 0.125, 2.0).slices.sum(0).double()
    # What is left is the mean's own spread, 1/√200 of the displacement in place and width.
    assert float((mean - closed).norm()) < 0.15 * float((still - closed).norm())


@pytest.mark.parametrize(
    ("thermal", "message"),
    [
        (-0.1, r"thermal displacement of Ca is -0\.1 Å; expected 0 or a positive number"),
        (math.nan, "is nan Å"),
        ({"Ca": 0.1}, "thermal names Ca and the specimen holds"),
    ],
)
def test_a_wrong_displacement_is_refused(thermal: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_potential(perovskite(4.0), 0.25, 4.0, thermal=thermal)  # type: ignore[arg-type]


def test_an_extended_source_is_the_sum_over_its_points() -> None:
    """Against views of the specimen displaced by whole pixels, weighted by the Gaussian."""
    deviation, pixel = 0.45, 1 / 3
    potential, _ = weak_phase(amplitude=0.3)
    acquisition = replace(ATOMIC, detector_pixel=8.0)  # few views, for time
    blurred = simulate_views(potential, acquisition, source=deviation)
    sharp = simulate_views(potential, acquisition)
    total, weights = torch.zeros_like(sharp, dtype=torch.float64), 0.0
    for x in range(-6, 7):
        for y in range(-6, 7):
            weight = math.exp(-((x * pixel) ** 2 + (y * pixel) ** 2) / (2 * deviation**2))
            moved = Potential(potential.slices.roll((x, y), (1, 2)), potential.cell, (1.0,))
            total += weight * simulate_views(moved, acquisition)
            weights += weight
    contrast = (sharp - sharp.mean((1, 2), keepdim=True)).norm()
    error = float((blurred - total / weights).norm() / contrast)
    assert error < 1e-3
    assert float((blurred - sharp).norm() / contrast) > 0.1
    # Blurring the scan as sampled would fade what is aliased too little.
    q2 = sum(q**2 for q in optics.frequencies((64, 64), (1.0, 1.0)))
    assert isinstance(q2, torch.Tensor)
    sampled = torch.fft.ifft2(torch.fft.fft2(sharp) * optics.gaussian_transfer(q2, deviation)).real
    assert float((blurred - sampled).norm() / contrast) > 10 * error


def test_a_wrong_source_is_refused_and_patterns_have_none() -> None:
    potential, _ = weak_phase()
    with pytest.raises(ValueError, match=r"source is -1\.0 Å; expected 0 or a positive number"):
        simulate_views(potential, ATOMIC, source=-1.0)
    scene = place(make_specimen("Li2CoO3"), source=0.3)
    with pytest.raises(ValueError, match=r"deviation of 0\.3 Å; patterns are simulated of a point"):
        scene.measure(300.0, 0)
    assert METHODS["direct"](scene.expose(300.0, 0)).shape == scene.truth.shape


def test_detector_noise_has_the_stated_size() -> None:
    acquisition = replace(ATOMIC, detector_pixel=5.0)
    views = torch.ones(acquisition.number_of_views, 64, 64)
    share = electrons_per_pixel(1e6, acquisition)
    generator = torch.Generator().manual_seed(0)
    noisy = (add_detector_noise(views, share, 3.0, 2.0, generator) - 1) * share
    assert float((noisy - noisy.mean((1, 2), keepdim=True)).std()) == pytest.approx(3.0, rel=0.02)
    many = torch.ones(4000, 2, 2)
    lasting = (add_detector_noise(many, 1.0, 0.0, 2.0, generator) - 1)[:, 0, 0]
    assert float(lasting.std()) == pytest.approx(2.0, rel=0.05)


def test_without_noise_only_electrons_are_counted() -> None:
    acquisition = replace(ATOMIC, detector_pixel=5.0)
    views = torch.ones(acquisition.number_of_views, 64, 64)
    first, second, noisy = (
        expose(views, acquisition, 300.0, torch.Generator().manual_seed(0), noise=noise)
        for noise in (0.0, 0.0, 0.1)
    )
    counts = first * electrons_per_pixel(300.0, acquisition)
    torch.testing.assert_close(counts, counts.round(), rtol=0, atol=1e-3)
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    assert (first != noisy).double().mean() > 0.99
    with pytest.raises(ValueError, match=r"noise is -1\.0 electrons a pixel"):
        expose(views, acquisition, 300.0, torch.Generator(), noise=-1.0)
