"""Crystals, grains and glasses drawn at random, for training."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii
from ase.spacegroup import crystal
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from misr4d.specimens.cutting import CLEARANCE, beam_frame, fill_block

__all__ = [
    "PROTOTYPES",
    "Array",
    "Integers",
    "Prototype",
    "Rng",
    "about_z",
    "boxed",
    "closest_distance",
    "finish",
    "glass",
    "grains",
    "random_elements",
    "random_heading",
    "random_side",
    "random_thickness",
    "random_turn",
    "relax",
]

Array = NDArray[np.float64]

Integers = NDArray[np.integer[Any]]

Rng = np.random.Generator


@dataclass(frozen=True)
class Prototype:
    """A structure type with free elements and size.

    Parameters
    ----------
    spacegroup : int
    cell : tuple of float
        Shape: b/a, c/a and three angles [°]; the size follows from the atoms' radii.
    sites : tuple of (str, (float, float, float))
        Kind of atom (a cation ``A``, ``B``, or an anion ``X``) and fractional coordinates.
    """

    spacegroup: int
    cell: tuple[float, float, float, float, float]
    sites: tuple[tuple[str, tuple[float, float, float]], ...]


_CUBIC = (1.0, 1.0, 90.0, 90.0, 90.0)

_HEX = (90.0, 90.0, 120.0)

# Idealised parameters of common structure types, from any textbook of crystal chemistry.
PROTOTYPES: Mapping[str, Prototype] = {
    "fcc": Prototype(225, _CUBIC, (("A", (0, 0, 0)),)),
    "bcc": Prototype(229, _CUBIC, (("A", (0, 0, 0)),)),
    "hcp": Prototype(194, (1.0, 1.62, *_HEX), (("A", (1 / 3, 2 / 3, 0.25)),)),
    "diamond": Prototype(227, _CUBIC, (("A", (0, 0, 0)),)),
    "zincblende": Prototype(216, _CUBIC, (("A", (0, 0, 0)), ("X", (0.25, 0.25, 0.25)))),
    "wurtzite": Prototype(
        186, (1.0, 1.62, *_HEX), (("A", (1 / 3, 2 / 3, 0)), ("X", (1 / 3, 2 / 3, 0.378)))
    ),
    "rocksalt": Prototype(225, _CUBIC, (("A", (0, 0, 0)), ("X", (0.5, 0.5, 0.5)))),
    "caesium chloride": Prototype(221, _CUBIC, (("A", (0, 0, 0)), ("X", (0.5, 0.5, 0.5)))),
    "fluorite": Prototype(225, _CUBIC, (("A", (0, 0, 0)), ("X", (0.25, 0.25, 0.25)))),
    "rutile": Prototype(
        136, (1.0, 0.65, 90.0, 90.0, 90.0), (("A", (0, 0, 0)), ("X", (0.305, 0.305, 0)))
    ),
    "perovskite": Prototype(
        221, _CUBIC, (("A", (0, 0, 0)), ("B", (0.5, 0.5, 0.5)), ("X", (0.5, 0.5, 0)))
    ),
    "rhenium trioxide": Prototype(221, _CUBIC, (("A", (0, 0, 0)), ("X", (0.5, 0, 0)))),
    "spinel": Prototype(
        227, _CUBIC, (("A", (0, 0, 0)), ("B", (0.625, 0.625, 0.625)), ("X", (0.387, 0.387, 0.387)))
    ),
    "corundum": Prototype(167, (1.0, 2.73, *_HEX), (("A", (0, 0, 0.352)), ("X", (0.306, 0, 0.25)))),
    "cadmium iodide": Prototype(
        164, (1.0, 1.6, *_HEX), (("A", (0, 0, 0)), ("X", (1 / 3, 2 / 3, 0.25)))
    ),
    "nickel arsenide": Prototype(
        194, (1.0, 1.4, *_HEX), (("A", (0, 0, 0)), ("X", (1 / 3, 2 / 3, 0.25)))
    ),
    "Cu3Au": Prototype(221, _CUBIC, (("A", (0, 0, 0)), ("B", (0.5, 0.5, 0)))),
    "K2NiF4": Prototype(
        139,
        (1.0, 3.3, 90.0, 90.0, 90.0),
        (("A", (0, 0, 0.355)), ("B", (0, 0, 0)), ("X", (0, 0.5, 0)), ("X", (0, 0, 0.155))),
    ),
    "scheelite": Prototype(
        88,
        (1.0, 2.17, 90.0, 90.0, 90.0),
        (("A", (0, 0.25, 0.625)), ("B", (0, 0.25, 0.125)), ("X", (0.15, 0.009, 0.211))),
    ),
    "A15": Prototype(223, _CUBIC, (("A", (0, 0, 0)), ("B", (0.25, 0, 0.5)))),
}
"""Structure types, by name."""

_CATIONS = [
    "Li",
    "Be",
    "Na",
    "Mg",
    "Al",
    "Si",
    "K",
    "Ca",
    "Sc",
    "Ti",
    "V",
    "Cr",
    "Mn",
    "Fe",
    "Co",
    "Ni",
    "Cu",
    "Zn",
    "Ga",
    "Ge",
    "Rb",
    "Sr",
    "Y",
    "Zr",
    "Nb",
    "Mo",
    "Ag",
    "Cd",
    "In",
    "Sn",
    "Sb",
    "Cs",
    "Ba",
    "La",
    "Ce",
    "Nd",
    "Gd",
    "Hf",
    "Ta",
    "W",
    "Pt",
    "Au",
    "Pb",
    "Bi",
]

_ANIONS = ["B", "C", "N", "O", "F", "P", "S", "Cl", "Se", "Br", "Te", "I"]

_AXES = ((0, 0, 1), (1, 0, 0), (0, 1, 0), (1, 1, 0), (1, 0, 1), (0, 1, 1), (1, 1, 1), (2, 1, 0))

# Space groups of the random crystals: a few of every system.
_GROUPS = (1, 2, 4, 6, 10, 14, 19, 25, 47, 62, 75, 99, 123, 143, 147, 156, 174, 187, 191, 195, 221)


# ---- crystals --------------------------------------------------------------------------------


def random_elements(kinds: list[str], rng: Rng) -> dict[str, str]:
    """Draw an element for each kind of site of a prototype."""
    chosen: dict[str, str] = {}
    for kind in kinds:
        pool = _ANIONS if kind == "X" else _CATIONS
        chosen[kind] = str(
            rng.choice([element for element in pool if element not in chosen.values()])
        )
    return chosen


def closest_distance(atoms: Atoms) -> float:
    """Smallest distance between atoms over the sum of their covalent radii, images included."""
    radii = covalent_radii[atoms.numbers]
    shifts = np.array(list(itertools.product((-1, 0, 1), repeat=3))) @ np.asarray(atoms.cell)
    delta = atoms.positions[None, :, None] - atoms.positions[:, None, None] - shifts
    distance = np.linalg.norm(delta, axis=-1) / (radii[:, None] + radii)[..., None]
    distance[distance < 1e-6] = np.inf
    return float(distance.min())


def _sized(atoms: Atoms, rng: Rng) -> Atoms | None:
    """Scale a cell until neighbours are about a bond apart; None if the result is no crystal."""
    closest = closest_distance(atoms)
    if not math.isfinite(closest) or closest < 1e-3:
        return None
    scale = rng.uniform(0.92, 1.12) / closest
    atoms = Atoms(
        atoms.numbers, atoms.positions * scale, cell=np.asarray(atoms.cell) * scale, pbc=True
    )
    volume = atoms.cell.volume / len(atoms)
    lengths = atoms.cell.lengths()
    # Å³ an atom of real solids lies between diamond's 5.7 and an open framework's 60.
    return atoms if 5 < volume < 60 and lengths.max() < 40 and lengths.min() > 1.5 else None


def _prototype(rng: Rng) -> Atoms | None:
    prototype = PROTOTYPES[str(rng.choice(list(PROTOTYPES)))]
    kinds = list(dict.fromkeys(kind for kind, _ in prototype.sites))
    chosen = random_elements(kinds, rng)
    b, c, *angles = prototype.cell
    a = 5.0
    strain = rng.uniform(0.97, 1.03)
    ratios = (a, a * b, a * c * (strain if c != 1.0 else 1.0))
    unit = crystal(
        [chosen[kind] for kind, _ in prototype.sites],
        [site for _, site in prototype.sites],
        spacegroup=prototype.spacegroup,
        cellpar=(*ratios, *angles),
    )
    return _sized(unit, rng)


def _random_crystal(rng: Rng) -> Atoms | None:
    group = int(rng.choice(_GROUPS))
    a, b, c = rng.uniform(3.0, 13.0, 3)
    alpha = beta = gamma = 90.0
    if group <= 2:
        alpha, beta, gamma = rng.uniform(75, 105, 3)
    elif group <= 15:
        beta = rng.uniform(90, 115)
    elif 75 <= group < 143:
        b = a
    elif 143 <= group < 195:
        b, gamma = a, 120.0
    elif group >= 195:
        b = c = a
    kinds = ["A", "B", "X", "Y"][: rng.integers(1, 5)]
    chosen = random_elements([k for k in kinds if k != "Y"], rng)
    special = np.array([0, 0.25, 1 / 3, 0.5, 2 / 3, 0.75])
    symbols, sites = [], []
    for kind in rng.choice(list(chosen), rng.integers(len(chosen), len(chosen) + 4)):
        snap = rng.random(3) < 0.5
        sites.append(np.where(snap, rng.choice(special, 3), rng.random(3)))
        symbols.append(chosen[str(kind)])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            unit = crystal(
                symbols,
                sites,
                spacegroup=group,
                cellpar=(a, b, c, alpha, beta, gamma),
                onduplicates="keep",
            )
    except Exception:  # ASE refuses some combinations of site and group: draw again
        return None
    return _sized(unit, rng) if len(unit) < 200 else None


def random_turn(rng: Rng) -> Array:
    """Any rotation, uniformly."""
    q = rng.normal(size=4)
    w, x, y, z = q / np.linalg.norm(q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def about_z(angle: float) -> Array:
    """Rotation about the beam by an angle [rad] ``(3, 3)``."""
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])


def _orientation(unit: Atoms, rng: Rng) -> Array:
    """Draw a zone axis along the beam, often slightly tilted; sometimes any direction."""
    if rng.random() < 0.12:
        return random_turn(rng)
    axis = np.array(_AXES[rng.integers(len(_AXES))], dtype=float)
    rotation = about_z(rng.uniform(0, 2 * math.pi)) @ beam_frame(np.asarray(unit.cell), axis)
    if rng.random() < 0.5:
        tilt = rng.normal(0, 8e-3, 2)
        small_rotation = np.array([[1, 0, tilt[1]], [0, 1, -tilt[0]], [-tilt[1], tilt[0], 1]])
        left_vectors, _, right_vectors = np.linalg.svd(small_rotation)
        rotation = left_vectors @ right_vectors @ rotation
    return rotation


def random_thickness(rng: Rng, largest: float = 300.0) -> float:
    """Log-uniform from 6 Å; two thirds of the specimens are thinner than 60 Å."""
    top = 60.0 if rng.random() < 0.6 else largest
    return float(np.exp(rng.uniform(math.log(6.0), math.log(min(top, largest)))))


def grains(rng: Rng) -> tuple[str, Atoms] | None:
    """One crystal, or two that meet at a boundary or overlap along the beam."""
    makers = (_prototype, _random_crystal)
    unit = makers[int(rng.random() < 0.45)](rng)
    if unit is None:
        return None
    side, thickness = random_side(rng), random_thickness(rng)
    block = np.array([side, side, thickness])
    if len(unit) / unit.cell.volume * block.prod() > 60_000:
        return None
    grains = [fill_block(unit, _orientation(unit, rng), block)]
    name = "crystal"
    if rng.random() < 0.2:
        name = "bicrystal"
        second_unit = unit
        if rng.random() < 0.5:
            second_unit = _prototype(rng) or unit
        second_grain = fill_block(second_unit, _orientation(second_unit, rng), block)
        normal = random_turn(rng)[0] if rng.random() < 0.3 else np.append(random_heading(rng), 0)
        offset = rng.uniform(-0.2, 0.2) * side
        first_grain = grains[0]
        in_first = first_grain[0] @ normal < offset
        in_second = second_grain[0] @ normal >= offset + 1.0
        grains = [
            (first_grain[0][in_first], first_grain[1][in_first]),
            (second_grain[0][in_second], second_grain[1][in_second]),
        ]
    positions = np.concatenate([grain_positions for grain_positions, _ in grains])
    numbers = np.concatenate([grain_numbers for _, grain_numbers in grains])
    inside = (np.abs(positions) <= block / 2).all(1)
    return finish(name, positions[inside], numbers[inside], block, rng)


def random_heading(rng: Rng) -> Array:
    """Draw a direction across the beam ``(2,)``."""
    angle = rng.uniform(0, 2 * math.pi)
    return np.array([math.cos(angle), math.sin(angle)])


def random_side(rng: Rng) -> float:
    """Box of the size of the scan, or larger so that the scan ends inside the specimen."""
    return 64.0 if rng.random() < 0.7 else 80.0


# ---- defects and shapes ----------------------------------------------------------------------


def finish(
    name: str, positions: Array, numbers: Integers, block: Array, rng: Rng
) -> tuple[str, Atoms] | None:
    """Defects, thermal displacement and an outline, then the box of the scan.

    `positions` are counted from the middle of the block.
    """
    if len(positions) < 5:
        return None
    numbers = numbers.copy()
    kinds = np.unique(numbers)
    if rng.random() < 0.35:  # columns removed, or replaced by another element
        for _ in range(rng.integers(1, 6)):
            column = positions[rng.integers(len(positions)), :2]
            in_column = np.linalg.norm(positions[:, :2] - column, axis=1) < rng.uniform(0.4, 0.9)
            if rng.random() < 0.5:
                positions, numbers = positions[~in_column], numbers[~in_column]
                if len(positions) < 5:
                    return None
            else:
                numbers[in_column] = atomic_numbers[str(rng.choice(_CATIONS))]
    if rng.random() < 0.35:  # single vacancies
        occupied = rng.random(len(numbers)) > rng.uniform(0, 0.12)
        positions, numbers = positions[occupied], numbers[occupied]
    if rng.random() < 0.2 and len(kinds) > 1:  # sites that share their elements
        swap = rng.random(len(numbers)) < rng.uniform(0, 0.3)
        numbers[swap] = rng.permutation(numbers[swap])
    if rng.random() < 0.1:  # an edge dislocation along the beam
        centre = rng.uniform(-20, 20, 2)
        x, y = (positions[:, :2] - centre).T
        positions = positions.copy()
        positions[:, 0] += rng.uniform(2, 5) * np.arctan2(y, x) / (2 * math.pi)
    positions = positions + rng.normal(0, rng.uniform(0.0, 0.12), positions.shape)
    inside = _outline(positions, block, rng)
    return boxed(name, positions[inside], numbers[inside], block)


def _outline(positions: Array, block: Array, rng: Rng) -> NDArray[np.bool_]:
    """Square, disc, polygon, edge or hole; sometimes with a wedge."""
    x = positions[:, :2]
    inside = np.ones(len(x), dtype=bool)
    half = block[0] / 2
    shape = rng.choice(["square", "disc", "polygon", "edge", "hole", "full"])
    if shape == "square":
        inside &= (np.abs(x) < half - rng.uniform(4, 18, 2)).all(1)
    elif shape == "disc":
        inside &= np.linalg.norm(x - rng.uniform(-8, 8, 2), axis=1) < rng.uniform(8, half - 3)
    elif shape == "polygon":
        for _ in range(rng.integers(3, 7)):
            inside &= x @ random_heading(rng) < rng.uniform(0.3, 0.9) * half
    elif shape == "edge":
        inside &= x @ random_heading(rng) < rng.uniform(-0.5, 0.5) * half
    elif shape == "hole":
        inside &= np.linalg.norm(x - rng.uniform(-15, 15, 2), axis=1) > rng.uniform(3, 18)
    if block[0] <= 64 and shape in {"edge", "hole", "full"} and rng.random() < 0.5:
        inside &= (np.abs(x) < half - rng.uniform(2, 10)).all(1)
    if rng.random() < 0.2:
        slope = rng.uniform(0.2, 1.0) * block[2] / block[0]
        inside &= (
            positions[:, 2] < x @ random_heading(rng) * slope + rng.uniform(-0.2, 0.5) * block[2]
        )
    return inside


def boxed(name: str, positions: Array, numbers: Integers, block: Array) -> tuple[str, Atoms] | None:
    """Put the block into its box, with vacuum above and below."""
    height = block[2] + 2 * CLEARANCE
    placed = positions + np.array([block[0] / 2, block[1] / 2, height / 2])
    fits = (placed[:, 2] > 0.05) & (placed[:, 2] < height - 0.05)
    if not fits.any():
        return None
    return name, Atoms(
        numbers[fits], placed[fits], cell=[block[0], block[1], height], pbc=(True, True, False)
    )


# ---- glasses and polymers --------------------------------------------------------------------


def relax(positions: Array, radii: Array, box: Array, rounds: int) -> Array:
    """Push atoms apart that are closer than the sum of their radii."""
    positions = positions.copy()
    for _ in range(rounds):
        pairs = cKDTree(positions).query_pairs(2 * float(radii.max()), output_type="ndarray")
        if not len(pairs):
            break
        i, j = pairs.T
        delta = positions[i] - positions[j]
        distance = np.linalg.norm(delta, axis=1).clip(0.05)
        overlap = (radii[i] + radii[j] - distance).clip(0)
        push = (0.5 * overlap / distance)[:, None] * delta
        np.add.at(positions, i, push)
        np.add.at(positions, j, -push)
        positions[:, 2] = positions[:, 2].clip(-box[2] / 2, box[2] / 2)
    return positions


def glass(rng: Rng) -> tuple[str, Atoms] | None:
    """Draw a packed glass; None if what was drawn is held out or cannot be packed."""
    side, thickness = random_side(rng), random_thickness(rng, 60.0)
    block = np.array([side, side, thickness])
    number_of_cations = rng.integers(1, 4)
    symbols = [str(symbol) for symbol in rng.choice(_CATIONS, number_of_cations, replace=False)]
    if rng.random() < 0.6:
        symbols.append(str(rng.choice(_ANIONS)))
    fractions = rng.dirichlet(np.full(len(symbols), 2.0))
    kinds = np.array([atomic_numbers[symbol] for symbol in symbols])
    mean_volume = float(fractions @ (covalent_radii[kinds] ** 3)) * 4.19
    density = rng.uniform(0.45, 0.75) / mean_volume
    number_of_atoms = int(density * block.prod())
    if not 50 < number_of_atoms < 15_000:
        return None
    numbers = rng.choice(kinds, number_of_atoms, p=fractions)
    positions = rng.uniform(-0.5, 0.5, (number_of_atoms, 3)) * block
    radii = covalent_radii[numbers] * rng.uniform(0.85, 1.05)
    return finish("glass", relax(positions, radii, block, 12), numbers, block, rng)
