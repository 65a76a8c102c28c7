"""The generated amorphous specimens: neighbours where they belong, and no order far away."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import pytest
from ase.data import atomic_masses, atomic_numbers
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from misr4d.specimens.catalogue import make_specimen

NAMES = ("PEO", "CuZr", "LiPON", "LLNO_glass")
DENSITY = {"PEO": 1.12, "CuZr": 7.14, "LiPON": 2.35, "LLNO_glass": 5.0}  # g/cm³
COMPOSITION = {
    "CuZr": {"Cu": 1, "Zr": 1},
    "LiPON": {"Li": 7, "P": 2, "O": 7, "N": 1},
    "LLNO_glass": {"Li": 5, "La": 3, "Nb": 2, "O": 12},
}
# Pair, range of the first maximum [Å], reach of the first shell [Å], range of its coordination.
NEIGHBOURS = {
    "PEO": [
        ("C", "H", (1.05, 1.13), 1.3, (1.9, 2.1)),
        ("C", "O", (1.38, 1.48), 1.7, (0.9, 1.1)),
        ("C", "C", (1.48, 1.58), 1.8, (0.9, 1.1)),
    ],
    "CuZr": [
        ("Cu", "Zr", (2.65, 2.90), 3.7, (5.0, 8.0)),
        ("Zr", "Zr", (3.00, 3.40), 4.2, (5.0, 8.5)),
    ],
    "LiPON": [
        ("P", "O", (1.45, 1.62), 2.1, (2.7, 4.2)),
        ("Li", "O", (1.80, 2.15), 2.7, (2.0, 5.0)),
    ],
    "LLNO_glass": [
        ("Nb", "O", (1.90, 2.10), 2.6, (5.0, 7.5)),
        ("La", "O", (2.35, 2.70), 3.3, (6.0, 10.0)),
        ("Li", "O", (1.85, 2.15), 2.7, (3.0, 5.5)),
    ],
}


def load(name: str) -> tuple[NDArray[np.float64], NDArray[np.uint8], NDArray[np.float64]]:
    with np.load(str(files("misr4d") / "data" / f"{name}.npz"), allow_pickle=False) as stored:
        cell = stored["cell"].astype(float)
        return stored["positions"].astype(float) % cell, stored["numbers"], cell


def distances(
    a: NDArray[np.float64], b: NDArray[np.float64], cell: NDArray[np.float64], reach: float
) -> NDArray[np.float64]:
    """All distances up to `reach` from atoms a to atoms b in the periodic box, none to itself."""
    tree, other = cKDTree(a, boxsize=cell), cKDTree(b, boxsize=cell)
    found = tree.sparse_distance_matrix(other, reach, output_type="ndarray")["v"]
    return found[found > 1e-6]


def pair_distribution(
    positions: NDArray[np.float64], cell: NDArray[np.float64], low: float, high: float
) -> NDArray[np.float64]:
    """g(r) of all atoms in bins of 0.25 Å."""
    edges = np.arange(low, high + 0.1, 0.25)
    pick = np.random.default_rng(0).permutation(len(positions))[:800]
    found = distances(positions[pick], positions, cell, high)
    shell = 4 / 3 * np.pi * (edges[1:] ** 3 - edges[:-1] ** 3)
    expected = len(pick) * len(positions) / np.prod(cell) * shell
    return np.histogram(found, edges)[0] / expected


def strongest_order(positions: NDArray[np.float64], side: float) -> float:
    """Highest peak of the projected structure factor, over what random positions would give."""
    found = np.histogram2d(*positions[:, :2].T, bins=256, range=[[0, side], [0, side]])[0]
    power = np.abs(np.fft.fft2(found)) ** 2 / len(positions)
    q = np.fft.fftfreq(256, side / 256)
    radius = np.hypot(q[:, None], q[None, :])
    return float(power[(radius > 0.1) & (radius < 1.0)].max())


@pytest.mark.parametrize("name", NAMES)
def test_density_and_composition(name: str) -> None:
    _, numbers, cell = load(name)
    mass = atomic_masses[numbers].sum() * 1.66053907
    assert mass / np.prod(cell) == pytest.approx(DENSITY[name], rel=0.02)
    if name in COMPOSITION:
        total = sum(COMPOSITION[name].values())
        for symbol, count in COMPOSITION[name].items():
            share = (numbers == atomic_numbers[symbol]).mean()
            assert share == pytest.approx(count / total, abs=1e-3)


@pytest.mark.parametrize(
    ("name", "pair"),
    [(name, pair) for name, pairs in NEIGHBOURS.items() for pair in pairs],
    ids=lambda v: v if isinstance(v, str) else f"{v[0]}-{v[1]}",
)
def test_first_neighbours_and_their_number(
    name: str, pair: tuple[str, str, tuple[float, float], float, tuple[float, float]]
) -> None:
    first, second, where, reach, number = pair
    positions, numbers, cell = load(name)
    a, b = (positions[numbers == atomic_numbers[s]] for s in (first, second))
    found = distances(a, b, cell, reach)
    histogram, edges = np.histogram(found, np.arange(0.5, reach, 0.02))
    middle = (edges[1:] + edges[:-1]) / 2
    peak = middle[int((histogram / middle**2).argmax())]
    assert where[0] <= peak <= where[1]
    assert number[0] <= len(found) / len(a) <= number[1]


@pytest.mark.parametrize("name", NAMES)
def test_no_two_atoms_overlap(name: str) -> None:
    positions, numbers, cell = load(name)
    heavy = positions[numbers > 1]
    assert distances(heavy, heavy, cell, 1.3).size == 0


@pytest.mark.parametrize("name", NAMES)
def test_far_away_there_is_no_order(name: str) -> None:
    positions, numbers, cell = load(name)
    heavy = positions[numbers > 1]
    # Beyond 10 Å the pair distribution is flat; the box is 24 Å high.
    assert np.abs(pair_distribution(heavy, cell, 9.5, 11.5) - 1).max() < 0.08
    # A sum over N random phases has exponential power: about ln(pixels) at its strongest.
    assert strongest_order(heavy, cell[0]) < 40


def test_the_measures_of_order_see_a_crystal() -> None:
    crystal = make_specimen("Li2CoO3", border=0.0).atoms
    assert strongest_order(crystal.positions, 64.0) > 400
    cell = crystal.cell.lengths()
    cell[2] = 60.0  # no neighbours through the faces of the slab
    flat = pair_distribution(crystal.positions, cell, 9.5, 11.5)
    assert flat.std() / flat.mean() > 0.15
