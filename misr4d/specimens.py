"""The specimens by name, and any structure file, as atoms in a box the probe can scan."""

from __future__ import annotations

import itertools
import math
import warnings
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from ase.spacegroup import crystal
from numpy.typing import ArrayLike, NDArray

__all__ = ["SPECIMENS", "Specimen", "load_structure", "make_specimen", "read_specimen"]

# Vacuum above and below the atoms [Å]: our choice, so that no nucleus sits on a face of the box.
_CLEARANCE = 0.5


@dataclass(frozen=True)
class Specimen:
    """Atoms in an orthogonal box, beam along +z, entrance surface at z = 0.

    Parameters
    ----------
    name : str
        Short name, as used in files.
    title : str
        Name for people.
    atoms : ase.Atoms
        Orthogonal cell, laterally periodic.
    regime : str
        Key of ``misr4d.REGIMES`` that the specimen is meant for.
    source : str
        Where the coordinates come from.
    licence : str
        Under which terms.
    """

    name: str
    title: str
    atoms: Atoms
    regime: str
    source: str
    licence: str

    @property
    def thickness(self) -> float:
        """Height of the box along the beam [Å]."""
        return float(self.atoms.cell.lengths()[2])


@dataclass(frozen=True)
class _Crystal:
    title: str
    zone_axis: tuple[int, int, int]
    source: str
    spacegroup: int
    cell: tuple[float, ...]
    symbols: tuple[str, ...]
    sites: tuple[tuple[float, float, float], ...]
    # Elements that take the sites of the second symbol in equal parts and at random.
    shuffled: tuple[str, ...] = ()
    supercell: tuple[int, int, int] = (1, 1, 1)
    seed: int = 0

    def atoms(self) -> Atoms:
        unit = crystal(
            list(self.symbols), list(self.sites), spacegroup=self.spacegroup, cellpar=self.cell
        ).repeat(self.supercell)
        if self.shuffled:
            places = np.flatnonzero(unit.numbers == atomic_numbers[self.symbols[1]])
            order = np.random.default_rng(self.seed).permutation(len(places))
            kinds = np.array([atomic_numbers[symbol] for symbol in self.shuffled])
            unit.numbers[places[order]] = np.resize(kinds, len(places))
        return unit


# Cells in Å and degrees, sites in fractions of the cell. Zone axes are our choice: the paper names
# none for these; each puts atomic columns further apart than the information limit.
_CRYSTALS = {
    "MoS2": _Crystal(
        "MoS₂",
        (0, 0, 1),
        "2H polytype, P6₃/mmc",
        194,
        (3.1604, 3.1604, 12.295, 90, 90, 120),
        ("Mo", "S"),
        ((1 / 3, 2 / 3, 0.25), (1 / 3, 2 / 3, 0.621)),
    ),
    "AlPO": _Crystal(
        "AlPO₄-17",
        (1, 0, 0),
        "ERI framework, P6₃/m, after Pluth, Smith & Bennett 1986; template and water left out",
        176,
        (13.2371, 13.2371, 14.7708, 90, 90, 120),
        ("Al", "Al", "P", "P", "O", "O", "O", "O", "O", "O", "O"),
        (
            (0.7708, 0.9983, 0.118),
            (0.0999, 0.4214, 0.25),
            (0.9989, 0.2369, 0.0938),
            (0.5675, 0.9079, 0.25),
            (0.0365, 0.3435, 0.1529),
            (0.6373, 0.9669, 0.1649),
            (0.0826, 0.191, 0.1053),
            (0.1432, 0.264, 0.6244),
            (0.2773, 0.003, 0.997),
            (0.2468, 0.4693, 0.25),
            (0.4584, 0.9171, 0.25),
        ),
    ),
    "NCM": _Crystal(
        "NCM111, Li(Ni,Co,Mn)O₂",
        (1, 0, 0),
        "α-NaFeO₂ type, R-3m; 9 Ni, 9 Co and 9 Mn shuffled over the 27 metal sites of a 3×3×1 "
        "supercell, which repeats (NumPy's default generator, seed 0)",
        166,
        (2.862, 2.862, 14.227, 90, 90, 120),
        ("Li", "Mn", "O"),
        ((0, 0, 0), (0, 0, 0.5), (0, 0, 0.2411)),
        shuffled=("Ni", "Co", "Mn"),
        supercell=(3, 3, 1),
    ),
    "CaTiO3": _Crystal(
        "CaTiO₃",
        (0, 1, 0),
        "Pnma perovskite, after Sasaki et al. 1987",
        62,
        (5.4361, 7.6388, 5.3789, 90, 90, 90),
        ("Ca", "Ti", "O", "O"),
        (
            (0.03602, 0.25, -0.00676),
            (0.5, 0, 0),
            (0.48383, 0.25, 0.07141),
            (0.28856, 0.03713, 0.71053),
        ),
    ),
    "Li2CoO3": _Crystal(
        "Li₂CoO₃",
        (0, 1, 0),
        "C2/m Li₂MO₃ prototype, relaxed with CHGNet to within 0.01 Å; stands in for mp-1173879",
        12,
        (4.9246, 8.5216, 5.0245, 90, 109.398, 90),
        ("Co", "Li", "Li", "Li", "O", "O"),
        (
            (0, 0.16708, 0),
            (0, 0.5, 0),
            (0, 0, 0.5),
            (0, 0.6606, 0.5),
            (0.2189, 0, 0.2273),
            (0.2540, 0.32119, 0.2233),
        ),
    ),
}
SPECIMENS: tuple[str, ...] = ("MoS2", "AlPO", "NCM", "CaTiO3", "apoferritin", "Li2CoO3")
"""Names that :func:`make_specimen` knows."""

_OURS = "coordinates are facts; this file's compilation is GPL-3.0-or-later"


def make_specimen(
    name: str,
    field: float | tuple[float, float] | None = None,
    *,
    thickness: float = 20.0,
    border: float = 10.0,
) -> Specimen:
    """Make one of the paper's specimens.

    Parameters
    ----------
    name : str
        One of :data:`SPECIMENS`.
    field : float or (float, float), optional
        Lateral size of the box [Å]: 64 for crystals and 256 for proteins unless given.
    thickness : float
        Thickness of a crystal [Å]. A protein has its own.
    border : float
        Vacuum kept around a crystal on every side [Å], so that the scan ends in vacuum.

    Returns
    -------
    Specimen

    Raises
    ------
    ValueError
        For an unknown name (the message lists the known ones) or a size that leaves no specimen.
    """
    if name == "apoferritin":
        atoms = _in_box(_apoferritin(), _pair(field, 256.0))
        return Specimen(
            name,
            "apoferritin",
            atoms,
            "molecular",
            "PDB 6Z6U (human, 1.25 Å): one chain and the 24 octahedral rotations; stands in for "
            "8RQB; hydrogen, water and ions left out",
            "CC0 (PDB)",
        )
    if name not in _CRYSTALS:
        raise ValueError(f"unknown specimen {name!r}; known: {', '.join(SPECIMENS)}")
    entry = _CRYSTALS[name]
    atoms = _slab(entry.atoms(), entry.zone_axis, _pair(field, 64.0), thickness, border)
    return Specimen(name, entry.title, atoms, "atomic", entry.source, _OURS)


def load_structure(path: str | Path) -> Atoms:
    """Read a structure file in any format that ASE reads (CIF, PDB, XYZ, …).

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If ASE cannot read it or it holds no atoms; the message names the file and the reason.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no structure file at {path}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # ASE's remarks on odd CIF tags are not the user's
            atoms = ase.io.read(path)
    except Exception as error:  # ASE's readers raise whatever their parsing met
        raise ValueError(
            f"{path} cannot be read as a structure ({type(error).__name__}: {error}); expected a "
            "file that ASE reads, such as CIF, PDB or XYZ"
        ) from error
    if isinstance(atoms, list):
        atoms = atoms[-1]
    if len(atoms) == 0:
        raise ValueError(f"{path} holds no atoms; expected a structure")
    if not np.isfinite(atoms.positions).all():
        raise ValueError(f"{path} holds atoms at positions that are not finite")
    return atoms


def read_specimen(
    path: str | Path,
    field: float | tuple[float, float],
    *,
    zone_axis: tuple[int, int, int] | None = None,
    thickness: float = 20.0,
    border: float = 10.0,
    regime: str = "atomic",
) -> Specimen:
    """Make a specimen from a structure file.

    Parameters
    ----------
    path : str or Path
        Any file that ASE reads.
    field : float or (float, float)
        Lateral size of the box [Å].
    zone_axis : (int, int, int), optional
        Lattice direction [uvw] of a crystal to lay along the beam. Without one the atoms are taken
        as they are and centred, as for a molecule.
    thickness, border, regime
        As in :func:`make_specimen`; `thickness` and `border` hold for a crystal.

    Returns
    -------
    Specimen

    Raises
    ------
    FileNotFoundError, ValueError
        If the file is missing or unreadable, its cell spans no volume although a zone axis is
        asked for, or the atoms do not fit the field.
    """
    atoms = load_structure(path)
    size = _pair(field, math.nan)
    if zone_axis is None:
        placed = _in_box(atoms, size)
    else:
        placed = _slab(atoms, zone_axis, size, thickness, border)
    name = Path(path).stem
    return Specimen(name, name, placed, regime, Path(path).name, "as the file says")


def _pair(value: float | tuple[float, float] | None, default: float) -> tuple[float, float]:
    value = default if value is None else value
    pair = (value, value) if isinstance(value, int | float) else tuple(value)
    if not all(math.isfinite(side) and side > 0 for side in pair):
        raise ValueError(f"field is {value!r} Å; expected one or two positive numbers of Å")
    return float(pair[0]), float(pair[1])


def _in_box(atoms: Atoms, field: tuple[float, float]) -> Atoms:
    """Centre a molecule in a box of the given field, its own height."""
    atoms = Atoms(atoms.numbers, atoms.positions)
    extent = np.ptp(atoms.positions, axis=0)
    if (extent[:2] > field).any():
        raise ValueError(
            f"the atoms span {extent[0]:.1f} × {extent[1]:.1f} Å and do not fit the field of "
            f"{field[0]:g} × {field[1]:g} Å; take a larger field, or give a zone axis if this is "
            "a crystal"
        )
    height = extent[2] + 2 * _CLEARANCE
    middle = (atoms.positions.max(0) + atoms.positions.min(0)) / 2
    atoms.positions += np.array([field[0] / 2, field[1] / 2, height / 2]) - middle
    return Atoms(atoms.numbers, atoms.positions, cell=[*field, height], pbc=(True, True, False))


def _slab(
    unit: Atoms,
    zone_axis: ArrayLike,
    field: tuple[float, float],
    thickness: float,
    border: float,
) -> Atoms:
    """Cut a slab from a crystal, [uvw] along the beam, the first other lattice vector along x."""
    axis = np.asarray(zone_axis, dtype=float)
    if axis.shape != (3,) or not axis.any():
        raise ValueError(f"zone_axis is {zone_axis!r}; expected three whole numbers, not all zero")
    lattice = np.asarray(unit.cell)
    lengths = np.linalg.norm(lattice, axis=1)
    if abs(np.linalg.det(lattice)) < 1e-3 * max(float(np.prod(lengths)), 1.0):
        raise ValueError(
            f"the cell {unit.cell.cellpar().round(4).tolist()} spans no volume and cannot be made "
            "orthogonal; expected a crystal's three independent lattice vectors"
        )
    for label, value, least in (("thickness", thickness, 0.0), ("border", border, -1e-9)):
        if not (math.isfinite(value) and value > least):
            raise ValueError(f"{label} is {value!r} Å; expected a finite number above zero")
    patch = np.array([field[0] - 2 * border, field[1] - 2 * border, thickness])
    if patch.min() <= 0:
        raise ValueError(
            f"a border of {border:g} Å leaves nothing of the field {field[0]:g} × {field[1]:g} Å"
        )
    rotation = _beam_frame(lattice, axis)
    rotated = lattice @ rotation.T
    # The ball around the patch, in fractional coordinates, bounds the cells that can reach it.
    radius = np.linalg.norm(patch) / 2 + 1e-6
    reach = np.ceil(radius * np.linalg.norm(np.linalg.inv(rotated), axis=0)).astype(int) + 1
    shifts = np.array(list(itertools.product(*(range(-n, n + 1) for n in reach)))) @ rotated
    base = unit.positions @ rotation.T
    positions = (base[None] + shifts[:, None]).reshape(-1, 3)
    numbers = np.tile(unit.numbers, len(shifts))
    centred = positions + patch / 2
    inside = ((centred >= -1e-6) & (centred < patch - 1e-6)).all(1)
    if not inside.any():
        raise ValueError(
            f"no atom falls inside a patch of {patch.round(2).tolist()} Å; take a thicker slab or "
            "a larger field"
        )
    return Atoms(
        numbers[inside],
        centred[inside] + np.array([border, border, _CLEARANCE]),
        cell=[*field, thickness + 2 * _CLEARANCE],
        pbc=(True, True, False),
    )


def _beam_frame(lattice: NDArray[np.float64], axis: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotation that lays [uvw] along z and the least parallel lattice vector in the xz plane."""
    z = axis @ lattice
    z /= np.linalg.norm(z)
    unit = lattice / np.linalg.norm(lattice, axis=1)[:, None]
    x = lattice[int(np.argmin(np.abs(unit @ z).round(6)))]
    x = x - (x @ z) * z
    x /= np.linalg.norm(x)
    return np.array([x, np.cross(z, x), z])


def octahedral_rotations() -> NDArray[np.float64]:
    """List the 24 proper rotations of the octahedral group about x, y, z ``(24, 3, 3)``."""
    found = []
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1.0, -1.0), repeat=3):
            matrix = np.zeros((3, 3))
            matrix[range(3), order] = signs
            if np.linalg.det(matrix) > 0:
                found.append(matrix)
    return np.array(found)


def _apoferritin() -> Atoms:
    """Rebuild the 24-mer from the chain that ``data/build_apoferritin.py`` stored."""
    with np.load(str(files("misr4d") / "data" / "apoferritin_6z6u.npz")) as stored:
        chain, numbers = stored["positions"].astype(float), stored["numbers"]
    positions = np.einsum("gij,nj->gni", octahedral_rotations(), chain).reshape(-1, 3)
    return Atoms(np.tile(numbers, 24), positions)
