"""Training specimens without end: drawn at random, never the same, none of them held out.

A specimen is fixed by regime, seed and index. The thirteen specimens of the paper are held out, and
so is everything with the elements of one of them (:data:`HELD_OUT`), closed protein shells and
cross-β fibrils; see :func:`is_held_out`. Real structures are not needed: crystals are prototypes
with other elements or random cells under a space group, glasses and polymers are packed again each
time, and proteins are bundles, rings and globules of ideal helices and strands.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii
from ase.spacegroup import crystal
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from misr4d.specimens.catalogue import Specimen, beam_frame, fill_block

__all__ = ["HELD_OUT", "PROTOTYPES", "draw_specimen", "is_held_out"]

Array = NDArray[np.float64]
Integers = NDArray[np.integer[Any]]
Rng = np.random.Generator

HELD_OUT: Mapping[str, frozenset[str]] = {
    "MoS2": frozenset({"Mo", "S"}),
    "AlPO": frozenset({"Al", "P", "O"}),
    "NCM": frozenset({"Li", "Ni", "Co", "Mn", "O"}),
    "CaTiO3": frozenset({"Ca", "Ti", "O"}),
    "Li2CoO3": frozenset({"Li", "Co", "O"}),
    "PEO": frozenset({"C", "O"}),
    "CuZr": frozenset({"Cu", "Zr"}),
    "LiPON": frozenset({"Li", "P", "O", "N"}),
    "LLNO_glass": frozenset({"Li", "La", "Nb", "O"}),
}
"""Elements (hydrogen apart) of the held-out crystals, glasses and polymer."""

_CLEARANCE = 0.5  # Å of vacuum above and below the atoms, as for the specimens


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
_BACKBONES: tuple[tuple[str, tuple[str, ...], dict[int, str]], ...] = (
    ("polyethylene", ("C", "C"), {}),
    ("PVC", ("C", "C"), {1: "Cl"}),
    ("PVDF", ("C", "C"), {1: "F"}),
    ("polyimine", ("C", "C", "N"), {}),
    ("polysiloxane", ("Si", "O"), {0: "C"}),
    ("polysulphide", ("C", "C", "S"), {}),
    ("polyphosphazene", ("P", "N"), {0: "F"}),
)


def is_held_out(atoms: Atoms) -> bool:
    """Whether these elements, hydrogen apart, are those of a held-out crystal, glass or polymer."""
    return frozenset(map(str, atoms.symbols)) - {"H"} in HELD_OUT.values()


def draw_specimen(regime: str, seed: int, index: int) -> Specimen:
    """Draw one training specimen.

    Parameters
    ----------
    regime : {"atomic", "molecular"}
    seed, index : int
        Fix the specimen: the same pair gives the same atoms.

    Returns
    -------
    Specimen
        Its name is the kind of specimen; the box is 64 or 80 Å wide in the atomic regime and
        256 Å in the molecular one.

    Raises
    ------
    ValueError
        If the regime is unknown or the index negative.
    """
    if regime not in _KINDS:
        raise ValueError(f"regime is {regime!r}; expected one of {', '.join(_KINDS)}")
    if index < 0:
        raise ValueError(f"index is {index}; expected 0 or more")
    rng = np.random.default_rng([seed, index, list(_KINDS).index(regime)])
    kinds, weights = zip(*_KINDS[regime], strict=True)
    while True:
        kind = kinds[rng.choice(len(kinds), p=np.array(weights) / sum(weights))]
        named_atoms = kind(rng)
        if named_atoms is not None and len(named_atoms[1]) and not is_held_out(named_atoms[1]):
            name, atoms = named_atoms
            title = f"{name} {atoms.symbols.formula.reduce()[0]}"
            return Specimen(name, title, atoms, regime, f"drawn: {seed}/{index}", "none needed")


# ---- crystals --------------------------------------------------------------------------------


def _elements(kinds: list[str], rng: Rng) -> dict[str, str]:
    chosen: dict[str, str] = {}
    for kind in kinds:
        pool = _ANIONS if kind == "X" else _CATIONS
        chosen[kind] = str(
            rng.choice([element for element in pool if element not in chosen.values()])
        )
    return chosen


def _closest(atoms: Atoms) -> float:
    """Smallest distance between atoms over the sum of their covalent radii, images included."""
    radii = covalent_radii[atoms.numbers]
    shifts = np.array(list(itertools.product((-1, 0, 1), repeat=3))) @ np.asarray(atoms.cell)
    delta = atoms.positions[None, :, None] - atoms.positions[:, None, None] - shifts
    distance = np.linalg.norm(delta, axis=-1) / (radii[:, None] + radii)[..., None]
    distance[distance < 1e-6] = np.inf
    return float(distance.min())


def _sized(atoms: Atoms, rng: Rng) -> Atoms | None:
    """Scale a cell until neighbours are about a bond apart; None if the result is no crystal."""
    closest = _closest(atoms)
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
    chosen = _elements(kinds, rng)
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
    chosen = _elements([k for k in kinds if k != "Y"], rng)
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


def _turn(rng: Rng) -> Array:
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


def _about_z(angle: float) -> Array:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])


def _orientation(unit: Atoms, rng: Rng) -> Array:
    """Draw a zone axis along the beam, often slightly tilted; sometimes any direction."""
    if rng.random() < 0.12:
        return _turn(rng)
    axis = np.array(_AXES[rng.integers(len(_AXES))], dtype=float)
    rotation = _about_z(rng.uniform(0, 2 * math.pi)) @ beam_frame(np.asarray(unit.cell), axis)
    if rng.random() < 0.5:
        tilt = rng.normal(0, 8e-3, 2)
        small_rotation = np.array([[1, 0, tilt[1]], [0, 1, -tilt[0]], [-tilt[1], tilt[0], 1]])
        left_vectors, _, right_vectors = np.linalg.svd(small_rotation)
        rotation = left_vectors @ right_vectors @ rotation
    return rotation


def _thickness(rng: Rng, largest: float = 300.0) -> float:
    """Log-uniform from 6 Å; two thirds of the specimens are thinner than 60 Å."""
    top = 60.0 if rng.random() < 0.6 else largest
    return float(np.exp(rng.uniform(math.log(6.0), math.log(min(top, largest)))))


def _grains(rng: Rng) -> tuple[str, Atoms] | None:
    """One crystal, or two that meet at a boundary or overlap along the beam."""
    makers = (_prototype, _random_crystal)
    unit = makers[int(rng.random() < 0.45)](rng)
    if unit is None:
        return None
    side, thickness = _side(rng), _thickness(rng)
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
        normal = _turn(rng)[0] if rng.random() < 0.3 else np.append(_heading(rng), 0)
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
    return _finish(name, positions[inside], numbers[inside], block, rng)


def _heading(rng: Rng) -> Array:
    angle = rng.uniform(0, 2 * math.pi)
    return np.array([math.cos(angle), math.sin(angle)])


def _side(rng: Rng) -> float:
    """Box of the size of the scan, or larger so that the scan ends inside the specimen."""
    return 64.0 if rng.random() < 0.7 else 80.0


# ---- defects and shapes ----------------------------------------------------------------------


def _finish(
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
    return _boxed(name, positions[inside], numbers[inside], block)


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
            inside &= x @ _heading(rng) < rng.uniform(0.3, 0.9) * half
    elif shape == "edge":
        inside &= x @ _heading(rng) < rng.uniform(-0.5, 0.5) * half
    elif shape == "hole":
        inside &= np.linalg.norm(x - rng.uniform(-15, 15, 2), axis=1) > rng.uniform(3, 18)
    if block[0] <= 64 and shape in {"edge", "hole", "full"} and rng.random() < 0.5:
        inside &= (np.abs(x) < half - rng.uniform(2, 10)).all(1)
    if rng.random() < 0.2:
        slope = rng.uniform(0.2, 1.0) * block[2] / block[0]
        inside &= positions[:, 2] < x @ _heading(rng) * slope + rng.uniform(-0.2, 0.5) * block[2]
    return inside


def _boxed(
    name: str, positions: Array, numbers: Integers, block: Array
) -> tuple[str, Atoms] | None:
    """Put the block into its box, with vacuum above and below."""
    height = block[2] + 2 * _CLEARANCE
    placed = positions + np.array([block[0] / 2, block[1] / 2, height / 2])
    fits = (placed[:, 2] > 0.05) & (placed[:, 2] < height - 0.05)
    if not fits.any():
        return None
    return name, Atoms(
        numbers[fits], placed[fits], cell=[block[0], block[1], height], pbc=(True, True, False)
    )


# ---- glasses and polymers --------------------------------------------------------------------


def _relax(positions: Array, radii: Array, box: Array, rounds: int) -> Array:
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


def _glass(rng: Rng) -> tuple[str, Atoms] | None:
    side, thickness = _side(rng), _thickness(rng, 60.0)
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
    return _finish("glass", _relax(positions, radii, block, 12), numbers, block, rng)


def _chain(length: int, bond: float, rng: Rng) -> Array:
    """Backbone of a chain molecule: fixed bonds and angles, torsions at random."""
    angle, torsion = math.radians(68), 0.0  # deflection of a tetrahedral backbone
    frame = _turn(rng)
    steps = []
    for kind in rng.choice(3, length, p=[0.6, 0.2, 0.2]):
        torsion = (math.pi, math.pi / 3, -math.pi / 3)[kind] + rng.normal(0, 0.2)
        frame = (
            frame
            @ _about_z(torsion)
            @ np.array(
                [
                    [math.cos(angle), 0, math.sin(angle)],
                    [0, 1, 0],
                    [-math.sin(angle), 0, math.cos(angle)],
                ]
            )
        )
        steps.append(frame[:, 2] * bond)
    return np.cumsum(steps, axis=0)


def _polymer(rng: Rng) -> tuple[str, Atoms] | None:
    side, thickness = _side(rng), _thickness(rng, 60.0)
    block = np.array([side, side, thickness])
    _, backbone, pendants = _BACKBONES[rng.integers(len(_BACKBONES))]
    target_atoms = int(rng.uniform(0.035, 0.055) * block.prod())
    if target_atoms > 12_000:
        return None
    places, numbers = [], []
    number_of_atoms = 0
    while number_of_atoms < target_atoms:
        chain = _chain(int(rng.integers(40, 200)), 1.53, rng)
        chain += rng.uniform(-0.5, 0.5, 3) * block - chain.mean(0)
        kinds = np.resize([atomic_numbers[s] for s in backbone], len(chain))
        for site, symbol in pendants.items():
            bears_pendant = np.arange(len(chain)) % len(backbone) == site
            pendant_positions = chain[bears_pendant] + 1.6 * _unit(
                rng.normal(size=(int(bears_pendant.sum()), 3))
            )
            chain = np.concatenate([chain, pendant_positions])
            kinds = np.concatenate([kinds, np.full(len(pendant_positions), atomic_numbers[symbol])])
        # Chains that leave the block enter on the opposite side, as in a periodic melt.
        chain = (chain + block / 2) % block - block / 2
        places.append(chain)
        numbers.append(kinds)
        number_of_atoms += len(chain)
    kinds = np.concatenate(numbers)
    relaxed = _relax(np.concatenate(places), np.full(len(kinds), 0.74), block, 6)
    return _finish("polymer", relaxed, kinds, block, rng)


def _unit(vectors: Array) -> Array:
    normed: Array = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return normed


# ---- proteins --------------------------------------------------------------------------------

# Cylinder coordinates of an ideal α-helix's backbone: radius [Å], angle [°], height [Å], element.
_HELIX = ((1.55, -28, -0.9, 7), (2.29, 0, 0.0, 6), (1.66, 26, 1.1, 6), (2.0, 24, 2.3, 8))
_SIDE_CHAINS = (0, 1, 1, 2, 3, 3, 4, 4, 4, 4, 5, 5, 6, 7, 7, 8, 10)  # heavy atoms, Gly … Trp


def _helix(residues: int, rng: Rng) -> tuple[Array, Integers]:
    """Build an α-helix along z about the origin, with side chains that point outwards."""
    n = np.arange(residues)
    places, kinds = [], []
    for radius, angle, height, number in _HELIX:
        phi = np.radians(angle + 100.0 * n)
        places.append(
            np.stack([radius * np.cos(phi), radius * np.sin(phi), height + 1.5 * n], axis=1)
        )
        kinds.append(np.full(residues, number))
    phi = np.radians(100.0 * n)
    outward = np.stack([np.cos(phi), np.sin(phi), np.full(residues, -0.3)], axis=1)
    return _with_side_chains(places, kinds, places[1], outward, 1.5 * (residues - 1) / 2, rng)


def _strand(residues: int, rng: Rng) -> tuple[Array, Integers]:
    """Build a β-strand along z, zigzag in x, with side chains to either side."""
    n = np.arange(residues)
    side = np.where(n % 2, 1.0, -1.0)
    zero = np.zeros(residues)
    places = [
        np.stack([0.9 * side, zero, 3.35 * n], axis=1),
        np.stack([0.3 * side, zero, 3.35 * n + 1.2], axis=1),
        np.stack([0.3 * side, 1.2 * side, 3.35 * n + 1.4], axis=1),
        np.stack([-0.3 * side, zero, 3.35 * n + 2.3], axis=1),
    ]
    kinds = [np.full(residues, number) for number in (6, 6, 8, 7)]
    outward = np.stack([side, zero, zero], axis=1)
    return _with_side_chains(places, kinds, places[0], outward, 3.35 * (residues - 1) / 2, rng)


def _with_side_chains(
    places: list[Array],
    kinds: list[Integers],
    roots: Array,
    outward: Array,
    middle: float,
    rng: Rng,
) -> tuple[Array, Integers]:
    length = rng.choice(_SIDE_CHAINS, len(roots))
    tip = roots.copy()
    for step in range(int(length.max(initial=0))):
        grows = length > step
        heading = _unit(outward[grows] + rng.normal(0, 0.7, (int(grows.sum()), 3)))
        tip[grows] += 1.5 * heading
        places.append(tip[grows].copy())
        kinds.append(rng.choice([6, 7, 8, 16], int(grows.sum()), p=[0.75, 0.1, 0.13, 0.02]))
    joined = np.concatenate(places)
    joined[:, 2] -= middle
    return joined, np.concatenate(kinds)


def _globule(radii: Array, rng: Rng, parallel: float) -> tuple[Array, Integers]:
    """Fill an ellipsoid with helices and strands, about as dense as a protein.

    Parameters
    ----------
    radii : ndarray
        Half axes [Å].
    rng : Generator
    parallel : float
        From 0, segments in any direction, to 1, all along the third axis as in a membrane.
    """
    helical = rng.choice([0.2, 0.6, 0.95])
    volume = 4.19 * float(radii.prod())
    target_atoms = volume / 21.0  # Å³ a heavy atom: 1.35 g/cm³
    axes: list[tuple[Array, Array, float]] = []
    places, kinds = [], []
    number_of_atoms, failures = 0, 0
    while number_of_atoms < target_atoms and failures < 150:
        is_helix = rng.random() < helical
        residues = int(rng.integers(8, 26) if is_helix else rng.integers(4, 10))
        length = residues * (1.5 if is_helix else 3.35)
        heading = _unit(rng.normal(size=3) * np.array([1 - parallel, 1 - parallel, 1.0]) + 1e-9)
        centre = rng.uniform(-1, 1, 3) * radii
        ends = centre + np.outer([-0.5, 0.5], heading * length)
        gap = 8.5 if is_helix else 5.5
        if (((ends * 0.92) / radii) ** 2).sum(1).max() > 1 or any(
            _axis_distance(centre, heading, length, *axis) < gap for axis in axes
        ):
            failures += 1
            continue
        failures = 0
        axes.append((centre, heading, length))
        atoms, numbers = (_helix if is_helix else _strand)(residues, rng)
        lattice = np.eye(3)
        places.append(atoms @ beam_frame(lattice, heading) + centre)
        kinds.append(numbers)
        number_of_atoms += len(numbers)
    # Loops and side chains between the segments: atoms at random places in the ellipsoid.
    filler_atoms = max(int(target_atoms) - number_of_atoms, 8)
    filler = rng.normal(size=(filler_atoms, 3))
    filler = _unit(filler) * rng.random((filler_atoms, 1)) ** (1 / 3) * radii
    places.append(filler)
    kinds.append(rng.choice([6, 7, 8, 16], filler_atoms, p=[0.62, 0.17, 0.2, 0.01]))
    positions, numbers = np.concatenate(places), np.concatenate(kinds)
    return _relax(positions, np.full(len(numbers), 0.66), np.full(3, np.inf), 4), numbers


def _axis_distance(
    centre: Array, heading: Array, length: float, other: Array, direction: Array, extent: float
) -> float:
    """Distance between two segments, from points along both."""
    points = centre + np.outer(np.linspace(-0.5, 0.5, 7) * length, heading)
    other_points = other + np.outer(np.linspace(-0.5, 0.5, 7) * extent, direction)
    return float(np.linalg.norm(points[:, None] - other_points[None], axis=-1).min())


def _complex(rng: Rng) -> tuple[Array, Integers]:
    """One globule, or several in a ring, a stack of two rings, or without symmetry."""
    kind = rng.choice(["single", "membrane", "ring", "barrel", "random"])
    radii = rng.uniform(14, 32, 3)
    if kind == "single":
        return _globule(radii * rng.uniform(1.0, 1.6), rng, 0.0)
    if kind == "membrane":
        return _globule(np.array([*rng.uniform(14, 40, 2), rng.uniform(22, 34)]), rng, 0.85)
    unit, numbers = _globule(radii * 0.8, rng, rng.choice([0.0, 0.5]))
    if kind == "random":
        copies = [unit @ _turn(rng).T + rng.normal(0, 24, 3) for _ in range(rng.integers(2, 4))]
        return np.concatenate(copies), np.resize(numbers, len(copies) * len(numbers))
    fold = int(rng.integers(2, 9))
    ring_radius = radii.max() * 0.85 / math.sin(math.pi / max(fold, 3))
    subunit = unit @ _turn(rng).T + np.array([min(ring_radius, 70.0), 0, 0])
    ring = np.concatenate([subunit @ _about_z(2 * math.pi * k / fold).T for k in range(fold)])
    if kind == "barrel":
        upper = ring + np.array([0, 0, radii.max() * 0.85])
        ring = np.concatenate([upper, upper @ np.diag([1.0, -1.0, -1.0])])
    return ring, np.resize(numbers, len(ring))


def _proteins(rng: Rng) -> tuple[str, Atoms] | None:
    side = 256.0
    places: list[Array] = []
    kinds: list[Integers] = []
    discs: list[tuple[Array, float]] = []
    height = 0.0
    for _ in range(rng.integers(1, 6)):
        atoms, numbers = _complex(rng)
        if len(numbers) > 25_000:
            continue
        atoms = atoms @ _turn(rng).T
        atoms -= (atoms.max(0) + atoms.min(0)) / 2
        extent = np.ptp(atoms, axis=0)
        if extent[2] > 150 or extent[:2].max() > 230:
            continue
        radius = float(np.linalg.norm(atoms[:, :2], axis=1).max())
        for _ in range(20):
            centre = rng.uniform(-1, 1, 2) * max(side / 2 - 0.8 * radius, 1.0)
            if all(np.linalg.norm(centre - c) > 0.85 * (radius + r) for c, r in discs):
                discs.append((centre, radius))
                places.append(atoms + np.array([*centre, rng.uniform(-5, 5)]))
                kinds.append(numbers)
                height = max(height, float(extent[2]) + 10)
                break
    if not places:
        return None
    positions, numbers = np.concatenate(places), np.concatenate(kinds)
    if len(numbers) > 45_000:
        return None
    positions = positions + rng.normal(0, rng.uniform(0, 0.4), positions.shape)
    return _boxed("protein", positions, numbers, np.array([side, side, height]))


_Maker = Callable[[Rng], "tuple[str, Atoms] | None"]
_KINDS: Mapping[str, tuple[tuple[_Maker, float], ...]] = {
    "atomic": ((_grains, 0.66), (_glass, 0.22), (_polymer, 0.12)),
    "molecular": ((_proteins, 1.0),),
}
