from __future__ import annotations

import math

import numpy as np
import pytest
from ase import Atoms

from misr4d.simulate.multislice import build_potential
from misr4d.specimens.catalogue import Specimen, describe, format_description, make_specimen
from misr4d.specimens.ice import ICE_POTENTIAL, ice_slices


def ball(radius: float, ice: float = 40.0, hollow: float = 0.0, box: float = 60.0) -> Specimen:
    """Carbon at every 1.5 Å between two radii, in the middle of a box with ice."""
    axis = np.arange(-30, 31) * 1.5
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    distance = np.linalg.norm(grid, axis=1)
    grid = grid[(distance <= radius) & (distance >= hollow)]
    atoms = Atoms("C" * len(grid), grid + box / 2, cell=[box] * 3, pbc=(True, True, False))
    return Specimen("ball", "ball", atoms, "molecular", "", "", ice=ice)


def test_ice_without_matter_has_its_mean_inner_potential() -> None:
    """The slab alone: 3.5 V times its thickness, in the slices it reaches and no other."""
    specimen = ball(3.0, ice=30.0)
    slices = ice_slices(specimen, (120, 100), (10.0,) * 6)
    assert slices.shape == (6, 120, 100)
    corner = slices[:, 0, 0]
    assert corner == pytest.approx([0, 5 * 3.5, 10 * 3.5, 10 * 3.5, 5 * 3.5, 0])
    assert slices.max() <= 10 * ICE_POTENTIAL * (1 + 1e-6)
    assert slices.min() >= 0


@pytest.mark.parametrize("shape", [(120, 120), (240, 180), (75, 300)])
def test_the_molecule_displaces_its_own_volume(shape: tuple[int, int]) -> None:
    """A ball of atoms keeps the ice out to a van der Waals radius from its outermost atoms."""
    radius = 12.0
    specimen = ball(radius)
    missing = 40 * ICE_POTENTIAL - ice_slices(specimen, shape, (10.0,) * 6).sum(0)
    volume = missing.mean() * 60 * 60 / ICE_POTENTIAL
    # The lattice's surface is rough: between its inner and outer spheres.
    low, high = (4 / 3 * math.pi * (radius + extra) ** 3 for extra in (1.1, 2.1))
    assert low < volume < high
    # Symmetric about the middle of the box: nothing is shifted by the voxels.
    flipped = np.roll(missing[::-1, ::-1], 1, axis=(0, 1))
    assert np.abs(missing - flipped).mean() < 0.1 * missing.mean()
    depth = missing[shape[0] // 2, shape[1] // 2] / ICE_POTENTIAL
    assert depth == pytest.approx(2 * (radius + 1.88), abs=1.2)


def test_ice_fills_a_hollow() -> None:
    solid = ball(15.0)
    shell = ball(15.0, hollow=9.0)
    middle = [
        ice_slices(specimen, (120, 120), (6.0,) * 10).sum(0)[60, 60] / ICE_POTENTIAL
        for specimen in (solid, shell)
    ]
    assert middle[1] - middle[0] == pytest.approx(2 * (9.0 - 1.88), abs=1.5)


def test_a_proteins_volume_and_contrast() -> None:
    """Its volume is its mass times 1.21 Å³/Da, and ice leaves it less contrast than vacuum."""
    dry = make_specimen("neurotensin_receptor", 128.0, thickness=80.0)
    wet = make_specimen("neurotensin_receptor", 128.0, ice=80.0)
    assert (dry.ice, wet.ice, wet.thickness) == (0.0, 80.0, 80.0)
    bare, iced = (build_potential(s, 0.8, 20.0).slices.sum(0).numpy() for s in (dry, wet))
    ice = iced - bare
    missing = 80 * ICE_POTENTIAL - ice
    volume = missing.mean() * 128**2 / ICE_POTENTIAL
    # Partial specific volume 0.73 cm³/g; hydrogen, 7 % of the mass, is not among the atoms.
    mass = dry.atoms.get_masses().sum() * 1.075
    assert volume == pytest.approx(1.21 * mass, rel=0.1)
    assert ice[0, 0] == pytest.approx(80 * 3.5, rel=1e-5)
    contrast = [image[60:100, 64:96].mean() - image[0, 0] for image in (bare, iced)]
    assert 0 < contrast[1] < 0.7 * contrast[0]


def test_the_description_names_the_ice() -> None:
    found = describe(make_specimen("synuclein", ice=60.0, thickness=100.0))
    assert (found["ice"], found["thickness"]) == (60.0, 100.0)
    assert "ice            60.0 Å" in format_description(found)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("synuclein", {"ice": 10.0}, r"ice is 10\.0 Å and the molecule is 22\.7 Å high"),
        ("synuclein", {"ice": math.nan}, "ice is nan Å"),
        ("synuclein", {"ice": 90.0, "thickness": 80.0}, "ice is 90 Å in a slab of 80 Å"),
        ("MoS2", {"ice": 50.0}, "ice is 50 Å for MoS2; ice goes around a molecule"),
    ],
)
def test_ice_that_does_not_fit_is_named(name: str, options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_specimen(name, **options)  # type: ignore[arg-type]


def test_slices_must_fill_the_box() -> None:
    specimen = ball(3.0)
    with pytest.raises(
        ValueError, match=r"5 slices from 10 to 10 Å thick are given for a box of 60"
    ):
        ice_slices(specimen, (60, 60), (10.0,) * 5)
