"""Read structure files: atoms after symmetry, occupancy and conformers have been resolved.

CIF, mmCIF and PDB are read by gemmi, all else by ASE. A file may say that a place holds one of
several atoms, or none: :func:`load_structure` draws one for each place of a cell, and
:func:`misr4d.specimens.catalogue.read_specimen` for each place of the slab that it cuts.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import ase.io
import gemmi
import numpy as np
from ase import Atoms
from ase.data import atomic_masses
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

__all__ = ["draw_occupied", "load_structure", "read_crystal", "share_places"]

# Our choices: sites closer than any bond exclude each other; closer images of a site are one.
_EXCLUSIVE, _SAME = 0.8, 0.4  # Å
_FULL = 0.999
_DENSITIES = (0.5, 25.0)  # g/cm³, from aerogels' struts to beyond osmium
_STATED = 0.05  # relative difference that a density may have from the one in its file
_GRAM = 1.66053907  # g/cm³ of one dalton in a cubic Å

_KINDS = (".cif", ".mmcif", ".pdb", ".ent")


def load_structure(path: str | Path, *, seed: int = 0, block: str | None = None) -> Atoms:
    """Read a structure file in CIF, mmCIF, PDB or any format that ASE reads (XYZ, …).

    A CIF of a crystal gives the whole cell by its space group. A PDB or mmCIF file
    gives no cell. Of its models the first is read, since depositors rank them, and of several
    conformers of a residue the most occupied one. Any other file gives its last frame.

    Parameters
    ----------
    path : str or Path
        A CIF, mmCIF or PDB file may be compressed by gzip.
    seed : int
        Seed of the random choice of atoms for places that several share or that may be empty.
    block : str, optional
        Data block of a CIF that holds several structures; by default the first.

    Returns
    -------
    ase.Atoms
        The decisions made are in ``info["notes"]``.

    Warns
    -----
    UserWarning
        If the content of the file was corrected, or is doubtful.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it cannot be read or holds no atoms; the message names the file and the reason.
    """
    atoms = _read(Path(path), block, crystal=False)
    return draw_occupied(atoms, np.random.default_rng(seed))


def read_crystal(path: str | Path, *, block: str | None = None) -> Atoms:
    """Read the cell of a crystal, with all atoms that may occupy its places.

    Returns
    -------
    ase.Atoms
        One cell of the crystal, as input of :func:`draw_occupied`. The cell of a PDB or mmCIF file
        is completed by its space group.

    Raises
    ------
    FileNotFoundError, ValueError
        As :func:`load_structure`, or if the density is not that of a solid.
    """
    return _read(Path(path), block, crystal=True)


def _read(path: Path, block: str | None, *, crystal: bool) -> Atoms:
    if not path.is_file():
        raise FileNotFoundError(f"no structure file at {path}")
    suffixes = [suffix.lower() for suffix in path.suffixes]
    kind = suffixes[-2] if suffixes[-1:] == [".gz"] and len(suffixes) > 1 else path.suffix.lower()
    notes: list[str] = []
    stated = None
    try:
        if kind in (".cif", ".mmcif"):
            atoms, stated = _read_cif(path, block, crystal, notes)
        elif kind in _KINDS:
            atoms = _from_models(gemmi.read_structure(str(path)), crystal, notes, _rows(path))
        else:
            with warnings.catch_warnings():
                warnings.simplefilter(
                    "ignore"
                )  # ASE's remarks on unusual tags do not help the user
                frames = [frame for frame in ase.io.read(path, ":") if len(frame)]
            atoms = share_places(frames[-1], np.ones(len(frames[-1]))) if frames else Atoms()
    except _UnfitError as error:
        raise ValueError(f"{path}: {error}") from None
    except Exception as error:  # readers may raise any error while parsing
        raise ValueError(
            f"{path} cannot be read as a structure ({type(error).__name__}: {error}); expected a "
            "file that gemmi or ASE reads, such as CIF, PDB or XYZ"
        ) from error
    if not len(atoms):
        raise ValueError(f"{path} holds no atoms; expected a structure")
    if not np.isfinite(atoms.positions).all():
        raise ValueError(f"{path} holds atoms at positions that are not finite")
    _check_density(path, atoms, stated, crystal, notes)
    if notes:
        warnings.warn(f"{path.name}: {'; '.join(notes)}", UserWarning, stacklevel=3)
    shared_sites = int((atoms.arrays["high"] < 1).sum())
    if shared_sites:
        notes.append(
            f"{shared_sites} sites of its cell are shared or not always taken, drawn by seed"
        )
    atoms.info["notes"] = tuple(notes)
    return atoms


class _UnfitError(ValueError):
    """A readable file that lacks something needed. The message is for the user."""


# --- Crystals: CIF --------------------------------------------------------------------------------


def _read_cif(
    path: Path, block: str | None, crystal: bool, notes: list[str]
) -> tuple[Atoms, float | None]:
    """Read atoms of a CIF or mmCIF, and the density that it states [g/cm³]."""
    document = gemmi.cif.read(str(path))
    tags = ("_atom_site_fract_x", "_atom_site_Cartn_x", "_atom_site.Cartn_x")
    blocks = {b.name: b for b in document if any(b.find_values(t) for t in tags)}
    if not blocks:
        return Atoms(), None
    if block is not None and block not in blocks:
        raise _UnfitError(
            f"it has no structure in a data block {block!r}; it has {', '.join(blocks)}"
        )
    name = next(iter(blocks)) if block is None else block
    if len(blocks) > 1 and block is None:
        notes.append(f"of its structures {', '.join(blocks)} the first was taken")
    chosen = blocks[name]
    if chosen.find_values("_atom_site.Cartn_x"):
        return _from_models(_completed(chosen), crystal, notes), None
    stated = chosen.find_value("_exptl_crystal_density_diffrn")
    density = gemmi.cif.as_number(stated) if stated else math.nan
    return _from_small(path, chosen, notes), density if math.isfinite(density) else None


# Columns that gemmi needs for every atom, and the value used if a file leaves one out.
_COLUMNS = {
    "id": "1",
    "label_atom_id": "X",
    "label_alt_id": ".",
    "label_comp_id": "UNL",
    "label_asym_id": "A",
    "auth_asym_id": "A",
    "label_seq_id": ".",
    "auth_seq_id": "1",
    "pdbx_PDB_model_num": "1",
    "occupancy": "1",
    "B_iso_or_equiv": "0",
}


def _completed(block: Any) -> Any:
    """Model of an mmCIF, also if it states only element and position of its atoms."""
    loop = block.find_loop("_atom_site.Cartn_x").get_loop()
    if loop is None:  # there is one atom
        return gemmi.make_structure_from_block(block)
    tags = {tag.removeprefix("_atom_site.") for tag in loop.tags}
    for name, value in _COLUMNS.items():
        if name not in tags:
            loop.add_columns([f"_atom_site.{name}"], value)
    return gemmi.make_structure_from_block(block)


def _from_small(path: Path, block: Any, notes: list[str]) -> Atoms:
    """Complete the cell of a crystal."""
    small = gemmi.make_small_structure_from_block(block)
    if not small.cell.is_crystal():
        raise _UnfitError("it states no unit cell; expected one beside fractions of it")
    sites = list(small.sites)
    flags = list(block.find_values("_atom_site_calc_flag"))
    if len(flags) == len(sites):  # a dummy's coordinates mean nothing
        sites = [s for s, flag in zip(sites, flags, strict=True) if flag.lower() != "dum"]
    unknown = [s.label for s in sites if s.element.atomic_number == 0]
    if unknown:
        raise _UnfitError(f"it has sites of no known element: {', '.join(unknown[:5])}")
    groups = sorted({s.disorder_group for s in sites if s.disorder_group > 0})
    occupancy = np.array([min(max(s.occ, 0.0), 1.0) for s in sites])
    chosen = np.ones(len(sites), dtype=bool)
    if len(groups) > 1:
        member = np.array([s.disorder_group for s in sites])
        fraction = {g: float(occupancy[member == g].mean()) for g in groups}
        best_group = max(groups, key=lambda g: fraction[g])
        chosen = ~np.isin(member, groups) | (member == best_group)
        if abs(sum(fraction.values()) - 1) < 0.05:
            occupancy[member == best_group] = 1.0
        notes.append(f"of its disorder groups {groups} the most occupied, {best_group}, was taken")
    operations = _operations(small, block, notes)
    numbers, fractions, occupied = [], [], []
    orthogonal = np.array(small.cell.orth.mat.tolist())
    for site, fraction, selected in zip(sites, occupancy, chosen, strict=True):
        if not selected or fraction == 0:
            continue
        images: list[NDArray[np.float64]] = []
        for operation in operations:
            position = np.array(operation.apply_to_xyz(site.fract.tolist()))
            separations = [(position - image + 0.5) % 1 - 0.5 for image in images]
            if all(np.linalg.norm(orthogonal @ separation) > _SAME for separation in separations):
                images.append(position)
        numbers += [site.element.atomic_number] * len(images)
        fractions += [position % 1 for position in images]
        occupied += [fraction] * len(images)
    atoms = Atoms(numbers, scaled_positions=np.reshape(fractions, (-1, 3)), cell=orthogonal.T)
    atoms.pbc = True
    return share_places(atoms, np.array(occupied))


def _operations(small: Any, block: Any, notes: list[str]) -> list[Any]:
    """Symmetry operations of a crystal, with the centring if its list lacks that."""
    cell = small.cell
    named_group = gemmi.find_spacegroup_by_name(small.spacegroup_hm or "", cell.alpha, cell.gamma)
    if small.symops:
        listed_operations = {
            gemmi.Op(text).wrap().triplet(): gemmi.Op(text) for text in small.symops
        }
        group_operations = (
            {op.triplet(): op for op in named_group.operations()} if named_group else {}
        )
        if set(listed_operations) < set(group_operations) and len(group_operations) == len(
            listed_operations
        ) * len(named_group.operations().cen_ops):
            notes.append(
                f"its {len(listed_operations)} operations lack the centring of its space group "
                f"{small.spacegroup_hm}, which was added"
            )
            return list(group_operations.values())
        return list(listed_operations.values())
    group = small.spacegroup or named_group
    if group is None:
        stated_group = small.spacegroup_hm or small.spacegroup_number
        if stated_group:
            raise _UnfitError(
                f"its space group {stated_group} is not known and it lists no operations; "
                "expected either"
            )
        notes.append("it states no symmetry: its atoms were taken for all of the cell, P 1")
        return [gemmi.Op()]
    codes = ("_space_group_IT_coordinate_system_code", "_symmetry_cell_setting_code")
    origin_stated = ":" in small.spacegroup_hm or any(block.find_value(c) for c in codes)
    settings = [g for g in gemmi.spacegroup_table() if g.number == group.number and g.ext in "12"]
    if group.ext in ("1", "2") and len({g.ext for g in settings}) > 1 and not origin_stated:
        notes.append(
            f"it does not say which of two origins its space group {group.hm} has; choice "
            f"{group.ext} was taken"
        )
    return list(group.operations())


# --- Molecules: PDB and mmCIF ---------------------------------------------------------------------


def _rows(path: Path) -> bool:
    """Whether a PDB file states the elements in the element columns."""
    if path.suffix.lower() == ".gz":
        return True
    with path.open(encoding="utf-8", errors="replace") as file:
        rows = [line for line in file if line.startswith(("ATOM", "HETATM"))]
    return all(row[76:78].strip() for row in rows)


def _from_models(structure: Any, crystal: bool, notes: list[str], named: bool = True) -> Atoms:
    """First model, one conformer per residue; completed by the space group for a crystal."""
    numbers, positions, occupied = [], [], []
    for residue in _residues(structure):
        for atom in _conformer(residue):
            numbers.append(_element(atom, residue, named))
            positions.append(atom.pos.tolist())
            occupied.append(min(atom.occ, 1.0) if crystal and atom.occ > 0 else 1.0)
    atoms = Atoms(numbers, np.reshape(positions, (-1, 3)))
    if not crystal:
        return share_places(atoms, np.ones(len(atoms)))
    cell = structure.cell
    if not len(atoms):
        return atoms
    mass = float(atomic_masses[atoms.numbers].sum())
    if not cell.is_crystal() or mass * _GRAM / cell.volume > _DENSITIES[1]:
        raise _UnfitError(
            f"its cell {[round(v, 3) for v in cell.parameters]} is a place-holder, as entries of "
            "cryo-EM and NMR have; leave out the zone axis"
        )
    group = gemmi.find_spacegroup_by_name(structure.spacegroup_hm, cell.alpha, cell.gamma)
    if group is None:
        raise _UnfitError(
            f"its space group {structure.spacegroup_hm!r} is not known, by which its asymmetric "
            "unit makes a crystal"
        )
    orthogonal = np.array(cell.orth.mat.tolist())
    inverse = np.array(cell.frac.mat.tolist())
    fractions = np.array(positions) @ inverse.T
    images = [
        np.array([operation.apply_to_xyz(position.tolist()) for position in fractions])
        for operation in group.operations()
    ]
    image_positions = np.concatenate(images)
    close_pairs = cKDTree(image_positions % 1 % 1, boxsize=1.0).query_pairs(
        _SAME / max(cell.parameters[:3])
    )
    duplicates = {j for i, j in close_pairs if i % len(fractions) == j % len(fractions)}
    unique_atoms = np.array([i for i in range(len(image_positions)) if i not in duplicates])
    cell_atoms = Atoms(
        np.tile(atoms.numbers, len(images))[unique_atoms], cell=orthogonal.T, pbc=True
    )
    cell_atoms.positions = image_positions[unique_atoms] @ orthogonal.T
    return share_places(cell_atoms, np.tile(occupied, len(images))[unique_atoms])


def _residues(structure: Any) -> Iterator[Any]:
    """Residues of the first model; of several kinds at one place, the most occupied one."""

    def is_alternate(residue: Any) -> bool:
        return all(atom.altloc != "\0" for atom in residue)

    def occupied(residue: Any) -> float:
        return float(np.mean([atom.occ for atom in residue]))

    for chain in structure[0] if len(structure) else ():
        kinds: dict[str, list[Any]] = {}
        for residue in filter(is_alternate, chain):
            kinds.setdefault(str(residue.seqid), []).append(residue)
        for residue in chain:
            place = str(residue.seqid)
            if not is_alternate(residue) or residue.name == max(kinds[place], key=occupied).name:
                yield residue


def _conformer(residue: Any) -> list[Any]:
    """Atoms of a residue in its most occupied conformer, the first of them if equal."""
    atoms = list(residue)
    weights: dict[str, float] = {}
    for atom in atoms:
        if atom.altloc != "\0":
            weights[atom.altloc] = weights.get(atom.altloc, 0.0) + atom.occ
    if not weights:
        return atoms
    best_name = max(weights, key=lambda name: weights[name])
    # An atom that only another conformer has is left out with that conformer.
    return [atom for atom in atoms if atom.altloc in ("\0", best_name)]


def _element(atom: Any, residue: Any, named: bool) -> int:
    """Atomic number. Without an element column, CA of an amino acid is carbon, not calcium."""
    residue_type = gemmi.find_tabulated_residue(residue.name)
    if not named and (residue_type.is_amino_acid() or residue_type.is_nucleic_acid()):
        letters = atom.name.lstrip("0123456789")
        return int(gemmi.Element(letters[:1]).atomic_number)
    number = int(atom.element.atomic_number)
    if number == 0:
        raise _UnfitError(f"atom {atom.name} of {residue.name} is of no known element")
    return number


# --- Places that are shared -----------------------------------------------------------------------


def share_places(atoms: Atoms, occupancy: NDArray[np.float64]) -> Atoms:
    """Find which atoms share a place, and in which interval of chance from 0 to 1 each has it.

    Partly occupied atoms that are closer to each other than any bond share one place.

    Parameters
    ----------
    atoms : ase.Atoms
        Arrays for :func:`draw_occupied` are added to it.
    occupancy : ndarray
        ``(n,)`` from 0 to 1.
    """
    partial = np.flatnonzero(occupancy < _FULL)
    place = np.arange(len(atoms))
    pairs = _near(atoms, partial)
    if len(pairs):
        graph = coo_matrix((np.ones(len(pairs)), pairs.T), (len(atoms),) * 2)
        place = connected_components(graph, directed=False)[1]
    low, high = np.zeros(len(atoms)), np.full(len(atoms), 2.0)
    for number in np.unique(place[partial]):
        members = partial[place[partial] == number]
        fractions = occupancy[members] / max(1.0, float(occupancy[members].sum()))
        high[members] = np.cumsum(fractions)
        low[members] = high[members] - fractions
    atoms.arrays["place"] = place
    atoms.arrays["low"] = low
    atoms.arrays["high"] = high
    atoms.arrays["occupancy"] = occupancy
    return atoms


def _near(atoms: Atoms, partial: NDArray[np.intp]) -> NDArray[np.intp]:
    """Pairs of partly occupied atoms that exclude each other, across the cell's faces too."""
    shifts: Iterable[Sequence[int]] = [(0, 0, 0)]
    if atoms.pbc.all():
        shifts = list(itertools.product((-1, 0, 1), repeat=3))
    tree = cKDTree(atoms.positions[partial])
    pairs: list[tuple[int, int]] = []
    for shift in shifts:
        shifted_tree = cKDTree(atoms.positions[partial] + np.array(shift) @ np.asarray(atoms.cell))
        for i, neighbours in enumerate(tree.query_ball_tree(shifted_tree, _EXCLUSIVE)):
            pairs += [(int(partial[i]), int(partial[j])) for j in neighbours if j != i]
    return np.array(pairs, dtype=np.intp).reshape(-1, 2)


def draw_occupied(atoms: Atoms, rng: np.random.Generator) -> Atoms:
    """Draw which atom, if any, occupies each place.

    Parameters
    ----------
    atoms : ase.Atoms
        With the arrays of :func:`share_places`, which are removed.
    rng : Generator
    """
    high, low, place = (atoms.arrays[name] for name in ("high", "low", "place"))
    if (high < 1.5).any():
        chance = rng.random(int(place.max()) + 1)[place]
        info = dict(atoms.info)
        atoms = atoms[(low <= chance) & (chance < high)]
        atoms.info = info
    for name in ("high", "low", "place", "occupancy"):
        del atoms.arrays[name]
    return atoms


def _check_density(
    path: Path, atoms: Atoms, stated: float | None, crystal: bool, notes: list[str]
) -> None:
    """Raise if no solid has this density; note if it differs from what the file states."""
    volume = abs(float(np.linalg.det(np.asarray(atoms.cell))))
    if not atoms.pbc.all() or volume < 1e-3:
        return
    mass = float((atomic_masses[atoms.numbers] * atoms.arrays["occupancy"]).sum())
    density = mass * _GRAM / volume
    low, high = _DENSITIES
    if not low <= density <= high and (crystal or density > high):
        raise ValueError(
            f"{path} makes a crystal of {density:.3g} g/cm³; expected {low:g} to {high:g}: are "
            "atoms missing or counted twice, or is the cell a place-holder?"
        )
    if stated is not None and abs(density / stated - 1) > _STATED:
        notes.append(f"its atoms make {density:.3g} g/cm³ and it states {stated:.3g}")
