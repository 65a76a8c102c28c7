from __future__ import annotations

import itertools

import numpy as np
import pytest
from ase import Atoms
from scipy.spatial import cKDTree

from misr4d.specimens.catalogue import SPECIMENS, make_specimen
from misr4d.specimens.corpus import HELD_OUT, draw_specimen, is_held_out
from misr4d.specimens.random_crystals import _CATIONS, PROTOTYPES, closest_distance

PROTEINS = {"apoferritin", "synuclein", "neurotensin_receptor", "Pmt"}


def test_every_specimen_of_the_paper_is_held_out() -> None:
    """Its elements, whatever their arrangement, are refused in training."""
    for name in SPECIMENS:
        if name not in PROTEINS:
            assert is_held_out(make_specimen(name).atoms), name
    assert set(SPECIMENS) - PROTEINS == set(HELD_OUT)
    assert not is_held_out(Atoms("SrTiO3"))


def test_nothing_drawn_is_held_out() -> None:
    """A hundred draws: no composition of the paper's, and no protein made from its data."""
    for index in range(100):
        specimen = draw_specimen("atomic", 0, index)
        assert not is_held_out(specimen.atoms), specimen.title
    assert len(_CATIONS) > 40
    assert len(PROTOTYPES) >= 20


def test_proteins_are_no_closed_shells() -> None:
    """A shell, such as apoferritin's, has a hole in the middle of its density; none is drawn."""
    shell = make_specimen("apoferritin").atoms.positions
    radius = np.linalg.norm(shell - shell.mean(0), axis=1)
    assert np.percentile(radius, 0.5) > 35
    for index in range(12):
        atoms = draw_specimen("molecular", 0, index).atoms
        # Around the middle of all atoms within 60 Å of any atom, some lie within 35 Å.
        tree = cKDTree(atoms.positions)
        for centre in atoms.positions[:: max(1, len(atoms) // 20)]:
            near = atoms.positions[tree.query_ball_point(centre, 60.0)]
            around = np.linalg.norm(near - near.mean(0), axis=1)
            assert np.percentile(around, 0.5) < 35


@pytest.mark.parametrize("regime", ["atomic", "molecular"])
def test_a_draw_is_fixed_by_seed_and_index(regime: str) -> None:
    one, same = draw_specimen(regime, 3, 5), draw_specimen(regime, 3, 5)
    assert np.array_equal(one.atoms.positions, same.atoms.positions)
    other = draw_specimen(regime, 4, 5)
    assert len(other.atoms) != len(one.atoms) or not np.allclose(
        other.atoms.positions, one.atoms.positions
    )


def test_draws_fit_their_boxes_and_differ() -> None:
    names, thickness = set(), []
    for index in range(80):
        specimen = draw_specimen("atomic", 0, index)
        cell = specimen.atoms.cell.lengths()
        assert cell[0] in (64.0, 80.0)
        assert cell[0] == cell[1]
        assert (specimen.atoms.positions[:, 2] > 0).all()
        assert (specimen.atoms.positions[:, 2] < cell[2]).all()
        assert len(specimen.atoms) <= 60_000
        names.add(specimen.name)
        thickness.append(cell[2])
    assert names == {"crystal", "bicrystal", "glass", "polymer"}
    assert min(thickness) < 10
    assert max(thickness) > 150


def test_prototypes_are_crystals() -> None:
    """Every prototype gives distinct sites, two thirds of a bond apart or more."""
    from ase.spacegroup import crystal

    for name, prototype in PROTOTYPES.items():
        b, c, *angles = prototype.cell
        symbols = [{"A": "Sr", "B": "Zr", "X": "O"}[kind] for kind, _ in prototype.sites]
        unit = crystal(
            symbols,
            [place for _, place in prototype.sites],
            spacegroup=prototype.spacegroup,
            cellpar=(6.0, 6.0 * b, 6.0 * c, *angles),
        )
        assert len(unit) > 0, name
        assert closest_distance(unit) > 0.25, name


def test_closest_pair_counts_images() -> None:
    """A single atom of a cubic cell meets its own images a cell away."""
    unit = Atoms("Cu", [[0, 0, 0]], cell=[3, 3, 3], pbc=True)
    assert closest_distance(unit) == pytest.approx(3 / (2 * 1.32), rel=1e-6)


def test_proteins_are_as_dense_as_proteins() -> None:
    """Heavy atoms within a molecule: about one in 21 Å³, as at 1.35 g/cm³ with hydrogen."""
    atoms = draw_specimen("molecular", 0, 3).atoms
    tree = cKDTree(atoms.positions)
    inner = [len(tree.query_ball_point(p, 6.0)) for p in atoms.positions[::50]]
    density = np.percentile(inner, 75) / (4 / 3 * np.pi * 6.0**3)
    assert 1 / 30 < density < 1 / 14
    assert set(np.unique(atoms.numbers)) <= {6, 7, 8, 16}


@pytest.mark.parametrize(("regime", "index", "message"), [
    ("nuclear", 0, "regime is 'nuclear'; expected one of atomic, molecular"),
    ("atomic", -1, "index is -1"),
])  # fmt: skip
def test_wrong_draws_are_refused(regime: str, index: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw_specimen(regime, 0, index)


def test_held_out_sets_are_distinct() -> None:
    assert all(a != b for a, b in itertools.combinations(HELD_OUT.values(), 2))
