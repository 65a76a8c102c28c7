"""The specimens by name, and any structure file, as atoms in a box the probe can scan."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from ase.spacegroup import crystal
from numpy.typing import ArrayLike, NDArray

from misr4d.specimens.cutting import (
    CLEARANCE,
    beam_frame,
    fill_block,
    in_box,
    octahedral_rotations,
    tilt_matrix,
)
from misr4d.specimens.structures import draw_occupied, load_structure, read_crystal, share_places

__all__ = [
    "SHORT_TITLES",
    "SPECIMENS",
    "Specimen",
    "describe",
    "format_description",
    "make_specimen",
    "read_specimen",
]

SHORT_TITLES: Mapping[str, str] = {
    "MoS2": "MoS₂",
    "AlPO": "AlPO₄-17",
    "NCM": "NCM111",
    "CaTiO3": "CaTiO₃",
    "apoferritin": "apoferritin",
    "synuclein": "amyloid-β fibril",
    "neurotensin_receptor": "rhodopsin",
    "Pmt": "CFTR",
    "PEO": "poly(ethylene oxide)",
    "CuZr": "Cu-Zr glass",
    "LiPON": "LiPON glass",
    "LLNO_glass": "Li₅La₃Nb₂O₁₂ glass",
    "Li2CoO3": "Li₂CoO₃",
}
"""Names for readers, one for each specimen; its title says what it stands in for."""


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
        Licence of the coordinates.
    stands_in_for : str
        What the paper shows, if this specimen is only similar to it; otherwise empty.
    patch : (float, float, float), optional
        Sides of the block cut from a crystal or a glass [Å]; none for a molecule.
    ice : float
        Thickness of the vitreous ice around a molecule [Å], in the middle of the box; see
        :mod:`misr4d.specimens.ice`.
    """

    name: str
    title: str
    atoms: Atoms
    regime: str
    source: str
    licence: str
    stands_in_for: str = ""
    patch: tuple[float, float, float] | None = None
    ice: float = 0.0

    @property
    def short_title(self) -> str:
        """Name for a reader: one wherever the specimen is named, without what it stands in for."""
        return SHORT_TITLES.get(self.name) or self.title.split(",")[0].split(" as ")[0]

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
    stands_in_for: str = ""
    supercell: tuple[int, int, int] = (1, 1, 1)
    seed: int = 0

    def atoms(self) -> Atoms:
        unit: Atoms = crystal(
            list(self.symbols), list(self.sites), spacegroup=self.spacegroup, cellpar=self.cell
        )
        unit *= self.supercell
        if self.shuffled:
            places = np.flatnonzero(unit.numbers == atomic_numbers[self.symbols[1]])
            order = np.random.default_rng(self.seed).permutation(len(places))
            kinds = np.array([atomic_numbers[symbol] for symbol in self.shuffled])
            unit.numbers[places[order]] = np.resize(kinds, len(places))
        return unit


# Cells in Å and degrees, sites in fractions of the cell. Zone axes are our choice, since the paper
# states none for these crystals; each is a low-index axis along which atoms form columns.
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
        "aluminophosphate AlPO₄-17",
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
        stands_in_for="the paper's unnamed framework of Al, P and O",
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
        "Li₂CoO₃ as a C2/m prototype",
        (0, 1, 0),
        "C2/m Li₂MO₃ prototype; relaxing it with CHGNet moves it by less than 0.01 Å",
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
        stands_in_for="mp-1173879",
    ),
}


@dataclass(frozen=True)
class _Protein:
    title: str
    file: str
    source: str
    licence: str
    stands_in_for: str
    # Chains of an assembly: rotations about the origin, or steps [Å] along x.
    octahedral: bool = False
    repeats: int = 1
    rise: float = 0.0

    def atoms(self) -> Atoms:
        with np.load(str(files("misr4d") / "data" / self.file)) as stored:
            chain, numbers = stored["positions"].astype(float), stored["numbers"]
        copies = octahedral_rotations() if self.octahedral else np.eye(3)[None]
        positions = np.einsum("gij,nj->gni", copies, chain).reshape(-1, 3)
        steps = self.rise * np.arange(self.repeats)[:, None, None] * np.array([1.0, 0.0, 0.0])
        positions = (positions + steps).reshape(-1, 3)
        return Atoms(np.resize(numbers, len(positions)), positions)


_PDB = "CC0 (PDB)"

_HEAVY = "hydrogen, water, ions and ligands left out"

# The beam is perpendicular to the long axis of the last three: the side view is the usual one of a
# fibril, with its 4.8 Å repeat in the image, and the one that identifies a membrane protein.
_PROTEINS = {
    "apoferritin": _Protein(
        "human apoferritin 6Z6U",
        "apoferritin_6z6u.npz",
        f"PDB 6Z6U (1.25 Å): one chain and the 24 octahedral rotations; {_HEAVY}",
        _PDB,
        "apoferritin 8RQB",
        octahedral=True,
    ),
    "synuclein": _Protein(
        "amyloid-β fibril 2BEG",
        "amyloid_2beg.npz",
        "PDB 2BEG, first model: one chain (residues 17–42) repeated 40 times at 4.8 Å without "
        f"twist; {_HEAVY}",
        _PDB,
        "a truncated α-synuclein's fibril",
        repeats=40,
        rise=4.8,
    ),
    "neurotensin_receptor": _Protein(
        "bovine rhodopsin 1U19",
        "rhodopsin_1u19.npz",
        "PDB 1U19 with its retinal, as the start of a simulation in nglview 4.0.1; hydrogen left "
        "out",
        "CC0 (PDB), MIT (nglview)",
        "neurotensin receptor 6OS9",
    ),
    "Pmt": _Protein(
        "human CFTR 6MSM",
        "cftr_6msm.npz",
        f"PDB 6MSM; {_HEAVY}",
        _PDB,
        "Pmt1–Pmt2 6P25",
    ),
}

_GLASSES = {
    "PEO": "poly(ethylene oxide)",
    "CuZr": "Cu₅₀Zr₅₀ metallic glass",
    "LiPON": "LiPON glass, Li₇P₂O₇N",
    "LLNO_glass": "Li₅La₃Nb₂O₁₂ glass",
}

SPECIMENS: tuple[str, ...] = (
    *("MoS2", "AlPO", "NCM", "CaTiO3"),
    *("apoferritin", "synuclein", "neurotensin_receptor", "Pmt"),
    *(name for name in _GLASSES if (files("misr4d") / "data" / f"{name}.npz").is_file()),
    "Li2CoO3",
)
"""Names that :func:`make_specimen` knows, in the order of the paper's Fig. 3 and Fig. 4."""

_OURS = "coordinates are facts; this file's compilation is GPL-3.0-or-later"

_THICKNESS = 20.0  # Å, paper Fig. 4: 2 nm

_DALTON_PER_A3 = 1.66053907  # in g/cm³, CODATA 2018


def data_files(name: str) -> tuple[str, ...]:
    """List the files below the package's ``data`` that a named specimen is made from."""
    if name in _PROTEINS:
        return (_PROTEINS[name].file,)
    return (f"{name}.npz",) if name in _GLASSES else ()


def regime_of(name: str) -> str:
    """Regime that a named specimen is meant for, as a key of ``misr4d.REGIMES``."""
    return "molecular" if name in _PROTEINS else "atomic"


def make_specimen(
    name: str,
    field: float | tuple[float, float] | None = None,
    *,
    thickness: float | None = None,
    border: float = 10.0,
    tilt: tuple[float, float] = (0.0, 0.0),
    ice: float | None = None,
) -> Specimen:
    """Make one of the paper's specimens.

    Parameters
    ----------
    name : str
        One of :data:`SPECIMENS`.
    field : float or (float, float), optional
        Lateral size of the box [Å]: 64 for crystals and glasses, 256 for proteins unless given.
    thickness : float, optional
        Thickness of a crystal or glass [Å], 20 unless given. A protein has its own height; for
        a protein, the thickness is the height of the vacuum slab around it.
    border : float
        Vacuum kept around a crystal or glass on every side [Å], so that the scan ends in vacuum.
    tilt : (float, float)
        Right-handed rotation about x, then about y [mrad], of the crystal before it is cut, or of
        the protein: a positive tilt about x takes the far end of a column to −y, one about y
        to +x. A glass is isotropic and takes no tilt.
    ice : float, optional
        Thickness of vitreous ice around a protein [Å]; the box becomes higher if necessary.

    Returns
    -------
    Specimen

    Raises
    ------
    ValueError
        For an unknown name (the message lists the known ones), a size that leaves no specimen or
        exceeds a glass's box, a slab or ice thinner than the protein, or ice around a crystal.
    """
    if name not in SPECIMENS:
        raise ValueError(f"unknown specimen {name!r}; known: {', '.join(SPECIMENS)}")
    if name in _PROTEINS:
        protein = _PROTEINS[name]
        atoms = in_box(protein.atoms(), _pair(field, 256.0), thickness, tilt, ice)
        return Specimen(
            name,
            _title(protein.title, protein.stands_in_for),
            atoms,
            "molecular",
            protein.source,
            protein.licence,
            protein.stands_in_for,
            ice=ice or 0.0,
        )
    _refuse_ice(ice, name)
    size = _pair(field, 64.0)
    patch = _patch(size, _THICKNESS if thickness is None else thickness, border)
    if name in _GLASSES:
        atoms, source = _glass(name, patch, border, tilt)
        title = _GLASSES[name]
        return Specimen(name, title, atoms, "atomic", source, "GPL-3.0-or-later", patch=patch)
    entry = _CRYSTALS[name]
    return Specimen(
        name,
        _title(entry.title, entry.stands_in_for),
        _slab(entry.atoms(), entry.zone_axis, patch, border, tilt),
        "atomic",
        entry.source,
        _OURS,
        entry.stands_in_for,
        patch,
    )


def _title(what: str, stands_in_for: str) -> str:
    return f"{what}, standing in for {stands_in_for}" if stands_in_for else what


def describe(specimen: Specimen) -> dict[str, Any]:
    """Summarise a specimen.

    Parameters
    ----------
    specimen : Specimen

    Returns
    -------
    dict
        ``name``, ``title``, ``stands_in_for``, ``formula`` (Hill order, with counts), ``counts``
        (atoms of each element), ``atoms`` (their number), ``density`` over the block cut from a
        crystal or glass [g/cm³] or None, ``mass`` of a molecule's atoms [kDa] or None, ``extent``
        of the matter along x, y and z [Å], ``box`` [Å], ``thickness`` of the box [Å], ``ice``
        [Å], ``regime``, ``source`` and ``licence``.
    """
    atoms = specimen.atoms
    formula = atoms.symbols.formula.convert("hill")
    mass = float(atoms.get_masses().sum())  # Da
    patch = specimen.patch
    extent = np.ptp(atoms.positions, axis=0) if patch is None else patch
    return {
        "name": specimen.name,
        "title": specimen.title,
        "stands_in_for": specimen.stands_in_for,
        "formula": str(formula),
        "counts": formula.count(),
        "atoms": len(atoms),
        "density": None if patch is None else mass / math.prod(patch) * _DALTON_PER_A3,
        "mass": mass / 1e3 if patch is None else None,
        "extent": tuple(float(side) for side in extent),
        "box": tuple(float(side) for side in atoms.cell.lengths()),
        "thickness": specimen.thickness,
        "ice": specimen.ice,
        "regime": specimen.regime,
        "source": specimen.source,
        "licence": specimen.licence,
    }


def format_description(description: dict[str, Any]) -> str:
    """Format the result of :func:`describe` as lines for a terminal."""

    def sides(values: tuple[float, ...]) -> str:
        return " × ".join(f"{value:.1f}" for value in values) + " Å"

    density, ice = description["density"], description["ice"]
    rows = {
        "specimen": description["name"],
        "is": description["title"],
        "composition": f"{description['formula']} ({description['atoms']} atoms)",
        "mass": f"{description['mass']:.1f} kDa" if density is None else "",
        "density": "" if density is None else f"{density:.2f} g/cm³, the block as cut",
        "extent": sides(description["extent"]),
        "box": sides(description["box"]),
        "thickness": f"{description['thickness']:.1f} Å, the box",
        "ice": f"{ice:.1f} Å" if ice else "",
        "regime": description["regime"],
        "source": description["source"],
        "licence": description["licence"],
        "stands in for": description["stands_in_for"],
    }
    return "\n".join(f"{label:<14} {text}" for label, text in rows.items() if text)


def read_specimen(
    path: str | Path,
    field: float | tuple[float, float],
    *,
    zone_axis: tuple[int, int, int] | None = None,
    thickness: float | None = None,
    border: float = 10.0,
    tilt: tuple[float, float] = (0.0, 0.0),
    ice: float | None = None,
    regime: str = "atomic",
    seed: int = 0,
    block: str | None = None,
) -> Specimen:
    """Make a specimen from a structure file.

    Parameters
    ----------
    path : str or Path
        A CIF, mmCIF or PDB file, or any that ASE reads.
    field : float or (float, float)
        Lateral size of the box [Å].
    zone_axis : (int, int, int), optional
        Lattice direction [uvw] of a crystal to lay along the beam. Without one the atoms are taken
        as they are and centred, as for a molecule.
    thickness, border, tilt, ice, regime
        As in :func:`make_specimen`: a structure with a zone axis is a crystal, one without is
        treated as a protein is.
    seed : int
        Seed of the random choice of atoms for sites that several atoms share, or that are not
        always occupied. Every site of the slab is drawn separately.
    block : str, optional
        As in :func:`misr4d.specimens.structures.load_structure`.

    Returns
    -------
    Specimen

    Raises
    ------
    FileNotFoundError, ValueError
        If the file is missing or unreadable, its cell spans no volume although a zone axis is
        given or its density is not that of a solid, the atoms do not fit the field or the
        slab, or a crystal is given ice.
    """
    size = _pair(field, math.nan)
    patch = None
    if zone_axis is None:
        atoms = load_structure(path, seed=seed, block=block)
        slab = in_box(atoms, size, thickness, tilt, ice)
    else:
        atoms = read_crystal(path, block=block)
        _refuse_ice(ice, Path(path).name)
        patch = _patch(size, _THICKNESS if thickness is None else thickness, border)
        # Index instead of atomic number, so that each atom of the slab can be traced to its site.
        unit = Atoms(np.arange(len(atoms)), atoms.positions, cell=atoms.cell)
        slab = _slab(unit, zone_axis, patch, border, tilt)
        site = slab.numbers.copy()  # assigning writes into it
        slab.numbers = atoms.numbers[site]
        sites_shared = share_places(slab, atoms.arrays["occupancy"][site])
        slab = draw_occupied(sites_shared, np.random.default_rng(seed))
    name = Path(path).stem
    terms = "as the file says"
    source = "; ".join([Path(path).name, *atoms.info.get("notes", ())])
    return Specimen(name, name, slab, regime, source, terms, patch=patch, ice=ice or 0.0)


def _pair(value: float | tuple[float, float] | None, default: float) -> tuple[float, float]:
    value = default if value is None else value
    pair = (value, value) if isinstance(value, int | float) else tuple(value)
    if not all(math.isfinite(side) and side > 0 for side in pair):
        raise ValueError(f"field is {value!r} Å; expected one or two positive numbers of Å")
    return float(pair[0]), float(pair[1])


def _refuse_ice(ice: float | None, name: str) -> None:
    if ice:
        raise ValueError(f"ice is {ice:g} Å for {name}; ice goes around a molecule, leave it out")


def _patch(
    field: tuple[float, float], thickness: float, border: float
) -> tuple[float, float, float]:
    """Sides of the block that fills a field up to its border."""
    for label, value, lower_bound in (("thickness", thickness, 0.0), ("border", border, -1e-9)):
        if not (math.isfinite(value) and value > lower_bound):
            raise ValueError(f"{label} is {value!r} Å; expected a finite number above zero")
    patch = (field[0] - 2 * border, field[1] - 2 * border, float(thickness))
    if min(patch) <= 0:
        raise ValueError(
            f"a border of {border:g} Å leaves nothing of the field {field[0]:g} × {field[1]:g} Å"
        )
    return patch


def _slab(
    unit: Atoms,
    zone_axis: ArrayLike,
    patch: tuple[float, float, float],
    border: float,
    tilt: tuple[float, float],
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
    rotation = tilt_matrix(tilt) @ beam_frame(lattice, axis)
    positions, numbers = fill_block(unit, rotation, patch)
    return _cut(positions + np.array(patch) / 2, numbers, patch, border)


def _cut(
    positions: NDArray[np.float64],
    numbers: NDArray[np.integer[Any]],
    patch: tuple[float, float, float],
    border: float,
) -> Atoms:
    """Keep the atoms between the origin and the patch's far corner, and put a border around."""
    # Half-open interval, so that a patch of whole periods holds no atom twice.
    inside = ((positions >= -1e-6) & (positions < np.array(patch) - 1e-6)).all(1)
    if not inside.any():
        raise ValueError(
            f"no atom falls inside a patch of {[round(side, 2) for side in patch]} Å; take a "
            "thicker slab or a larger field"
        )
    return Atoms(
        numbers[inside],
        positions[inside] + np.array([border, border, CLEARANCE]),
        cell=[patch[0] + 2 * border, patch[1] + 2 * border, patch[2] + 2 * CLEARANCE],
        pbc=(True, True, False),
    )


def _glass(
    name: str, patch: tuple[float, float, float], border: float, tilt: tuple[float, float]
) -> tuple[Atoms, str]:
    """Cut a block from the middle of a generated glass, and return its source too."""
    if any(tilt):
        raise ValueError(
            f"tilt is {tilt!r} mrad for {name}; a glass has no zone axis, leave it out"
        )
    with np.load(str(files("misr4d") / "data" / f"{name}.npz")) as stored:
        positions, numbers = stored["positions"].astype(float), stored["numbers"]
        cell = stored["cell"].astype(float)
        source = str(stored["source"]) if "source" in stored else "generated for this package"
    if (np.array(patch) > cell + 1e-6).any():
        raise ValueError(
            f"{name} was made in a box of {' × '.join(f'{side:g}' for side in cell)} Å and "
            f"{' × '.join(f'{side:g}' for side in patch)} Å is asked for; expected no more, since "
            "a repeated glass is none: take a smaller field or thickness"
        )
    positions = positions % cell - (cell - np.array(patch)) / 2
    return _cut(positions, numbers, patch, border), source
