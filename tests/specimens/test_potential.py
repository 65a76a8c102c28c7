from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms

from misr4d import ATOMIC
from misr4d.core import optics
from misr4d.simulate.multislice import build_potential
from misr4d.specimens.catalogue import Specimen
from misr4d.specimens.potential import Potential, project_atoms, truth
from tests.conftest import weak_phase


def test_truth_is_sigma_times_the_projection_inside_the_band() -> None:
    potential, phase = weak_phase()
    spectrum = torch.fft.fft2(phase.double())
    qx, qy = optics.frequencies((192, 192), (1 / 3, 1 / 3))
    inside = (qx**2 + qy**2).sqrt() <= 2e-2 / ATOMIC.wavelength
    expected = torch.fft.ifft2(spectrum * inside).real
    torch.testing.assert_close(truth(potential, ATOMIC).double(), expected, atol=1e-7, rtol=0)
    residual = torch.fft.fft2(truth(potential, ATOMIC).double())[~inside]
    assert float(residual.abs().max()) < 1e-3


def test_truth_of_part_of_a_cell_is_its_corner() -> None:
    potential, _ = weak_phase()
    part = truth(potential, replace(ATOMIC, scan_shape=(20, 30)))
    torch.testing.assert_close(part, truth(potential, ATOMIC)[:60, :90])


def test_slices_must_have_thicknesses() -> None:
    with pytest.raises(ValueError, match=r"expected \(n, X, Y\) and n thicknesses"):
        Potential(torch.zeros(2, 8, 8), (4.0, 4.0), (1.0,))


def scattered_atoms() -> Atoms:
    """Atoms of three elements anywhere between the pixels of a 16 × 20 Å cell, 4 Å high."""
    rng = np.random.default_rng(3)
    places = rng.uniform(0, 1, (40, 3)) * [16, 20, 3.8] + [0, 0, 0.1]
    return Atoms(rng.choice([6, 14, 79], 40), places, cell=[16, 20, 4], pbc=True)


def test_projection_is_what_abtem_tends_to_on_finer_grids() -> None:
    atoms = scattered_atoms()
    specimen = Specimen("scattered", "scattered", atoms, "atomic", "test", "test")
    kx, ky = optics.frequencies((64, 80), (0.25, 0.25))
    band = (kx**2 + ky**2).sqrt() <= 2e-2 / ATOMIC.wavelength
    found = []
    for finer in (1, 2, 4):
        built = build_potential(specimen, 0.25 / finer, 2.0)
        exact = project_atoms(
            atoms.numbers, atoms.positions, built.cell, (64, 80), built.thicknesses
        )
        coarse = optics.fourier_resample(built.slices.double(), (64, 80))
        error = torch.fft.fft2(coarse - exact.slices) * band
        found.append(float(error.norm() / (torch.fft.fft2(exact.slices.double()) * band).norm()))
    assert found[0] < 0.02
    assert found[2] < found[1] / 3 < found[0] / 9
    assert found[2] < 0.002


def test_an_atom_outside_the_slices_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"lie from 1\.00 to 5\.00 Å and the slices from 0 to 4\.00"
    ):
        project_atoms([6, 6], [[1, 1, 1], [1, 1, 5]], (8.0, 8.0), (32, 32), (2.0, 2.0))
