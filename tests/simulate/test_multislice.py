from __future__ import annotations

import math
from typing import Any

import abtem
import numpy as np
import pytest
import torch
from ase import Atoms

from misr4d import ATOMIC
from misr4d.core import optics
from misr4d.simulate.multislice import build_potential, make_probe, simulate_datacube
from misr4d.specimens.catalogue import Specimen
from misr4d.specimens.potential import Potential
from tests.conftest import Scene


def single_atom() -> Specimen:
    atoms = Atoms("Ti", [[5.0, 7.0, 2.0]], cell=[12.0, 16.0, 4.0], pbc=(True, True, False))
    return Specimen("atom", "Ti", atoms, "atomic", "test", "test")


def test_a_potential_is_the_same_in_every_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """FFTW may not choose its plans by timing: the last digits would differ from run to run."""
    efforts, build = [], abtem.Potential.build

    def watched(self: abtem.Potential, **options: Any) -> Any:
        efforts.append(abtem.config.get("fftw.planning_effort"))
        return build(self, **options)

    monkeypatch.setattr(abtem.Potential, "build", watched)
    first, second = (build_potential(single_atom(), 0.1, 1.0) for _ in range(2))
    assert efforts == ["FFTW_ESTIMATE"] * 2
    assert torch.equal(first.slices, second.slices)


def test_potential_sits_where_the_atom_is_and_has_its_forward_scattering() -> None:
    potential = build_potential(single_atom(), 0.1, 1.0)
    assert potential.cell == (12.0, 16.0)
    assert potential.thickness == pytest.approx(4.0)
    assert potential.sampling[0] <= 0.1
    projected = potential.slices.sum(0)
    peak = np.unravel_index(int(projected.argmax()), projected.shape)
    assert peak[0] * potential.sampling[0] == pytest.approx(5.0, abs=0.1)
    assert peak[1] * potential.sampling[1] == pytest.approx(7.0, abs=0.1)
    # ∫V d³r = (h²/2πme)·f(0) = 47.878 V·Å² · f(0); Lobato & Van Dyck's f(0) of Ti is 8.78 Å.
    area = potential.sampling[0] * potential.sampling[1]
    assert float(projected.sum()) * area == pytest.approx(47.878 * 8.78, rel=0.03)


def test_a_box_without_atoms_is_vacuum() -> None:
    atoms = Atoms(cell=[12.0, 16.0, 4.0], pbc=(True, True, False))
    empty = build_potential(Specimen("empty", "-", atoms, "atomic", "test", "test"), 0.2, 1.0)
    assert empty.slices.shape == build_potential(single_atom(), 0.2, 1.0).slices.shape
    assert empty.thickness == pytest.approx(4.0)
    assert not empty.slices.any()


def test_entrance_surface_comes_first() -> None:
    specimen = single_atom()
    specimen.atoms.positions[0, 2] = 0.5
    slices = build_potential(specimen, 0.2, 1.0).slices
    assert int(slices.amax((1, 2)).argmax()) == 0


def test_patterns_are_fractions_of_the_electrons(perovskite_scene: Scene) -> None:
    cube = simulate_datacube(perovskite_scene.potential, perovskite_scene.acquisition)
    total = cube.patterns.sum((2, 3))
    assert (total < 1.0001).all()
    assert (total > 0.7).all()


def test_probe_is_the_formula_of_optics() -> None:
    potential = Potential(torch.zeros(1, 192, 192), (64.0, 64.0), (1.0,))
    wave = np.asarray(make_probe(potential, ATOMIC).build(lazy=False).array)
    qx, qy = optics.frequencies((192, 192), potential.sampling)
    k2 = qx**2 + qy**2
    pupil = optics.aperture(k2, ATOMIC.wavelength, ATOMIC.semiangle)
    ours = pupil * torch.exp(-1j * optics.chi(k2, ATOMIC.wavelength, ATOMIC.defocus))
    theirs = np.fft.fft2(wave)
    # abTEM builds a probe in the middle of the cell or at the origin: compare up to position.
    ratio = theirs[pupil.numpy() > 0] / ours.numpy()[pupil.numpy() > 0]
    position = np.exp(2j * np.pi * (qx + qy).numpy() * 32.0)[pupil.numpy() > 0]
    flat = max(abs(ratio.mean()), abs((ratio * position).mean())) / np.abs(ratio).mean()
    assert flat > 0.999


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan])
def test_bad_sampling_is_named(value: float) -> None:
    with pytest.raises(ValueError, match="sampling is"):
        build_potential(single_atom(), value)
    with pytest.raises(ValueError, match="slice_thickness is"):
        build_potential(single_atom(), 0.1, value)
