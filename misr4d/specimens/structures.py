"""Read structure files: which atoms there are, once symmetry, occupancy and conformers are settled.

CIF, mmCIF and PDB are read by gemmi, all else by ASE. A file may say that a place is taken by one
of several atoms, or by none: :func:`load_structure` draws one for each place of a cell, and
:func:`misr4d.specimens.catalogue.read_specimen` for each place of the slab that it cuts.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterable, Sequence
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

# Our choices: sites nearer than any bond exclude each other; images of a site this near are one.
_EXCLUSIVE, _SAME = 0.8, 0.4  # Å
_FULL = 0.999
_DENSITIES = (0.5, 25.0)  # g/cm³, from aerogels' struts to beyond osmium
_STATED = 0.05  # by which a density may differ from the one that its file states
_GRAM = 1.66053907  # g/cm³ of one dalton in a cubic Å

_KINDS = (".cif", ".mmcif", ".pdb", ".ent")


def load_structure(path: str | Path, *, seed: int = 0, block: str | None = None) -> Atoms:
    """Read a structure file in CIF, mmCIF, PDB or any format that ASE reads (XYZ, …).

    A CIF of a crystal gives the whole cell by its space group. Of several models a PDB or mmCIF
    file gives the first, as their depositors rank them, of several conformers of a residue the
    most occupied one, and no cell; of several frames any other file gives the last.

    Parameters
    ----------
    path : str or Path
        A CIF, mmCIF or PDB file may be packed by gzip.
    seed : int
        Of the draw of atoms for places that several share, or that are not always taken.
    block : str, optional
        Data block of a CIF that holds several structures; by default the first.

    Returns
    -------
    ase.Atoms
        What was decided is in ``info["notes"]``.

    Warns
    -----
    UserWarning
        If what the file says was mended, or is doubtful.

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
    """Read the cell of a crystal, with what may take its places.

    Returns
    -------
    ase.Atoms
        As :func:`draw_occupied` takes it, one cell of the crystal; that of a PDB or mmCIF file is
        completed by its space group.

    Raises
    ------
    FileNotFoundError, ValueError
        As :func:`load_structure`, or if the density is not that of a solid.
    """
    return _read(Path(path), block, crystal=True)


def _read(path: Path, block: str | None, *, crystal: bool) -> Atoms:
    if not path.is_file():
        raise FileNotFoundError(f"no structure file at {path}")
    suffixes = [s.lower() for s in path.suffixes]
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
                warnings.simplefilter("ignore")  # ASE's remarks on odd tags are not the user's
                frames = [frame for frame in ase.io.read(path, ":") if len(frame)]
            atoms = share_places(frames[-1], np.ones(len(frames[-1]))) if frames else Atoms()
    except _UnfitError as error:
        raise ValueError(f"{path}: {error}") from None
    except Exception as error:  # readers raise whatever their parsing met
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
    shared = int((atoms.arrays["high"] < 1).sum())
    if shared:
        notes.append(f"{shared} sites of its cell are shared or not always taken, drawn by seed")
    atoms.info["notes"] = tuple(notes)
    return atoms


class _UnfitError(ValueError):
    """A readable file that does not say what is needed; the message is for the user."""


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


# What gemmi wants of every atom, and what stands for it where a file leaves it out.
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
    """Model of an mmCIF, also of one that says of its atoms no more than element and place."""
    loop = block.find_loop("_atom_site.Cartn_x").get_loop()
    if loop is None:  # of one atom
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
    unknown = [s.label for s in sites if s.element.atomic_number == 0]
    if unknown:
        raise _UnfitError(f"it has sites of no known element: {', '.join(unknown[:5])}")
    groups = sorted({s.disorder_group for s in sites if s.disorder_group > 0})
    occupancy = np.array([min(max(s.occ, 0.0), 1.0) for s in sites])
    chosen = np.ones(len(sites), dtype=bool)
    if len(groups) > 1:
        member = np.array([s.disorder_group for s in sites])
        share = {g: float(occupancy[member == g].mean()) for g in groups}
        best = max(groups, key=lambda g: share[g])
        chosen = ~np.isin(member, groups) | (member == best)
        if abs(sum(share.values()) - 1) < 0.05:
            occupancy[member == best] = 1.0
        notes.append(f"of its disorder groups {groups} the most occupied, {best}, was taken")
    operations = _operations(small, block, notes)
    numbers, fractions, occupied = [], [], []
    orthogonal = np.array(small.cell.orth.mat.tolist())
    for site, share, take in zip(sites, occupancy, chosen, strict=True):
        if not take or share == 0:
            continue
        images: list[NDArray[np.float64]] = []
        for operation in operations:
            place = np.array(operation.apply_to_xyz(site.fract.tolist()))
            apart = [(place - other + 0.5) % 1 - 0.5 for other in images]
            if all(np.linalg.norm(orthogonal @ d) > _SAME for d in apart):
                images.append(place)
        numbers += [site.element.atomic_number] * len(images)
        fractions += [place % 1 for place in images]
        occupied += [share] * len(images)
    atoms = Atoms(numbers, scaled_positions=np.reshape(fractions, (-1, 3)), cell=orthogonal.T)
    atoms.pbc = True
    return share_places(atoms, np.array(occupied))


def _operations(small: Any, block: Any, notes: list[str]) -> list[Any]:
    """Symmetry operations of a crystal, with a centring that its list of them left out."""
    cell = small.cell
    named = gemmi.find_spacegroup_by_name(small.spacegroup_hm or "", cell.alpha, cell.gamma)
    if small.symops:
        given = {gemmi.Op(text).wrap().triplet(): gemmi.Op(text) for text in small.symops}
        whole = {op.triplet(): op for op in named.operations()} if named else {}
        if set(given) < set(whole) and len(whole) == len(given) * len(named.operations().cen_ops):
            notes.append(
                f"its {len(given)} operations lack the centring of its space group "
                f"{small.spacegroup_hm}, which was added"
            )
            return list(whole.values())
        return list(given.values())
    group = small.spacegroup or named
    if group is None:
        said = small.spacegroup_hm or small.spacegroup_number
        if said:
            raise _UnfitError(
                f"its space group {said} is not known and it lists no operations; expected either"
            )
        notes.append("it states no symmetry: its atoms were taken for all of the cell, P 1")
        return [gemmi.Op()]
    codes = ("_space_group_IT_coordinate_system_code", "_symmetry_cell_setting_code")
    settled = ":" in small.spacegroup_hm or any(block.find_value(c) for c in codes)
    others = [g for g in gemmi.spacegroup_table() if g.number == group.number and g.ext in "12"]
    if group.ext in ("1", "2") and len({g.ext for g in others}) > 1 and not settled:
        notes.append(
            f"it does not say which of two origins its space group {group.hm} has; choice "
            f"{group.ext} was taken"
        )
    return list(group.operations())


# --- Molecules: PDB and mmCIF ---------------------------------------------------------------------


def _rows(path: Path) -> bool:
    """Whether a PDB file names the element of its atoms in their columns."""
    if path.suffix.lower() == ".gz":
        return True
    with path.open(encoding="utf-8", errors="replace") as file:
        rows = [line for line in file if line.startswith(("ATOM", "HETATM"))]
    return all(row[76:78].strip() for row in rows)


def _from_models(structure: Any, crystal: bool, notes: list[str], named: bool = True) -> Atoms:
    """First model, one conformer a residue; completed by the space group for a crystal."""
    numbers, positions, occupied = [], [], []
    for residue in itertools.chain.from_iterable(structure[0]) if len(structure) else ():
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
        np.array([op.apply_to_xyz(place.tolist()) for place in fractions])
        for op in group.operations()
    ]
    places = np.concatenate(images)
    near = cKDTree(places % 1 % 1, boxsize=1.0).query_pairs(_SAME / max(cell.parameters[:3]))
    same = {j for i, j in near if i % len(fractions) == j % len(fractions)}
    kept = np.array([i for i in range(len(places)) if i not in same])
    whole = Atoms(np.tile(atoms.numbers, len(images))[kept], cell=orthogonal.T, pbc=True)
    whole.positions = places[kept] @ orthogonal.T
    return share_places(whole, np.tile(occupied, len(images))[kept])


def _conformer(residue: Any) -> list[Any]:
    """Atoms of a residue, of its conformers those of the most occupied, the first of equals."""
    atoms = list(residue)
    weights: dict[str, float] = {}
    for atom in atoms:
        if atom.altloc != "\0":
            weights[atom.altloc] = weights.get(atom.altloc, 0.0) + atom.occ
    if not weights:
        return atoms
    best = max(weights, key=lambda name: weights[name])
    # An atom that another conformer alone has is of none other: it is left out with it.
    return [atom for atom in atoms if atom.altloc in ("\0", best)]


def _element(atom: Any, residue: Any, named: bool) -> int:
    """Atomic number; without a column for it CA of an amino acid is carbon and not calcium."""
    known = gemmi.find_tabulated_residue(residue.name)
    if not named and (known.is_amino_acid() or known.is_nucleic_acid()):
        letters = atom.name.lstrip("0123456789")
        return int(gemmi.Element(letters[:1]).atomic_number)
    number = int(atom.element.atomic_number)
    if number == 0:
        raise _UnfitError(f"atom {atom.name} of {residue.name} is of no known element")
    return number


# --- Places that are shared -----------------------------------------------------------------------


def share_places(atoms: Atoms, occupancy: NDArray[np.float64]) -> Atoms:
    """Tell which atoms share a place, and in which part of chances 0 to 1 each takes it.

    Atoms that are not always there and nearer to each other than any bond share one place.

    Parameters
    ----------
    atoms : ase.Atoms
        To which arrays are added, for :func:`draw_occupied`.
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
        shares = occupancy[members] / max(1.0, float(occupancy[members].sum()))
        high[members] = np.cumsum(shares)
        low[members] = high[members] - shares
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
        moved = cKDTree(atoms.positions[partial] + np.array(shift) @ np.asarray(atoms.cell))
        for i, others in enumerate(tree.query_ball_tree(moved, _EXCLUSIVE)):
            pairs += [(int(partial[i]), int(partial[j])) for j in others if j != i]
    return np.array(pairs, dtype=np.intp).reshape(-1, 2)


def draw_occupied(atoms: Atoms, rng: np.random.Generator) -> Atoms:
    """Draw which atom takes each place, if any.

    Parameters
    ----------
    atoms : ase.Atoms
        With the arrays of :func:`share_places`, which are taken away.
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
    """Raise if a crystal has the density of none; note if it differs from what its file states."""
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
