from __future__ import annotations

import math
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.neighborlist import neighbor_list
from ase.spacegroup import crystal
from scipy.spatial.transform import Rotation

from misr4d.specimens.catalogue import (
    _CRYSTALS,
    SPECIMENS,
    describe,
    format_description,
    load_structure,
    make_specimen,
    read_specimen,
)
from misr4d.specimens.cutting import octahedral_rotations

RUTILE = (4.594, 4.594, 2.959, 90, 90, 90)


def shortest(atoms: Atoms, a: str, b: str, cutoff: float = 3.0) -> tuple[float, float]:
    distance = neighbor_list("d", atoms, {(a, b): cutoff})
    return float(distance.min()), float(distance.max())


@pytest.mark.parametrize(
    ("name", "pair", "cutoff", "low", "high"),
    [
        ("MoS2", ("Mo", "S"), 2.6, 2.40, 2.43),
        ("CaTiO3", ("Ti", "O"), 2.2, 1.945, 1.960),
        ("Li2CoO3", ("Co", "O"), 2.2, 1.895, 1.925),
        ("AlPO", ("Al", "O"), 2.0, 1.705, 1.815),
        ("AlPO", ("P", "O"), 1.65, 1.505, 1.545),
        ("NCM", ("Ni", "O"), 2.0, 1.962, 1.964),
        ("NCM", ("Co", "O"), 2.0, 1.962, 1.964),
        ("NCM", ("Mn", "O"), 2.0, 1.962, 1.964),
        ("NCM", ("Li", "O"), 2.2, 2.109, 2.111),
    ],
)
def test_bond_lengths(
    name: str, pair: tuple[str, str], cutoff: float, low: float, high: float
) -> None:
    atoms = make_specimen(name, 40.0).atoms
    found = shortest(atoms, *pair, cutoff)
    assert low <= found[0] <= found[1] <= high


@pytest.mark.parametrize(
    ("name", "density"),
    [("MoS2", 5.0), ("CaTiO3", 4.04), ("Li2CoO3", 4.05), ("AlPO", 1.62), ("NCM", 4.77)],
)
def test_density(name: str, density: float) -> None:
    """The slab keeps the crystal's density [g/cm³]: nothing lost or doubled in the cutting."""
    specimen = make_specimen(name, 80.0, thickness=60.0)
    volume = 60.0 * 60.0 * 60.0
    found = specimen.atoms.get_masses().sum() / volume / 0.602214
    assert found == pytest.approx(density, rel=0.04)
    assert neighbor_list("d", specimen.atoms, 1.3).size == 0


def test_aluminophosphate_framework_is_whole() -> None:
    """Every Al and P of ERI has four oxygens, every oxygen bridges one Al and one P."""
    unit = _CRYSTALS["AlPO"].atoms()
    assert unit.get_chemical_formula() == "Al18O72P18"
    first = neighbor_list("i", unit, {("Al", "O"): 2.0, ("P", "O"): 1.65})
    bonds = np.bincount(first, minlength=len(unit))
    assert (bonds[unit.numbers != 8] == 4).all()
    assert (bonds[unit.numbers == 8] == 2).all()


def test_ncm_shares_its_metal_sites_in_equal_parts() -> None:
    unit = _CRYSTALS["NCM"].atoms()
    assert unit.get_chemical_formula() == "Co9Li27Mn9Ni9O54"
    metals = unit[np.isin(unit.numbers, [25, 27, 28])]
    # Shuffled: each of the three layers holds more than one element, yet the seed repeats.
    for height in np.unique(metals.positions[:, 2].round(2)):
        layer = metals.numbers[np.abs(metals.positions[:, 2] - height) < 0.1]
        assert len(layer) == 9
        assert len(set(layer)) > 1
    assert (unit.numbers == _CRYSTALS["NCM"].atoms().numbers).all()


def test_slab_keeps_its_border_and_its_zone_axis() -> None:
    atoms = make_specimen("CaTiO3", thickness=20.0).atoms
    assert atoms.cell.lengths() == pytest.approx([64, 64, 21])
    assert atoms.positions[:, :2].min() >= 10 - 1e-5
    assert atoms.positions[:, :2].max() < 54
    assert atoms.positions[:, 2].min() > 0
    assert atoms.positions[:, 2].max() < 21
    titanium = atoms.positions[atoms.numbers == 22]
    # Looking along b, titanium stacks at b / 2 into columns.
    columns = np.unique(titanium[:, :2].round(3), axis=0)
    assert len(titanium) / len(columns) == pytest.approx(20 / (7.6388 / 2), abs=0.6)


def test_apoferritin_is_a_hollow_24_mer() -> None:
    specimen = make_specimen("apoferritin")
    assert specimen.regime == "molecular"
    assert len(specimen.atoms) == 24 * 1351
    assert specimen.thickness == pytest.approx(124.5, abs=1.0)
    radius = np.linalg.norm(specimen.atoms.positions - [128, 128, specimen.thickness / 2], axis=1)
    assert radius.max() < 70
    assert (radius < 30).mean() < 0.01
    assert neighbor_list("d", specimen.atoms, 0.9).size == 0  # subunits do not clash


@pytest.mark.parametrize("name", ["synuclein", "neurotensin_receptor", "Pmt"])
def test_stand_ins_are_whole_molecules_and_say_so(name: str) -> None:
    specimen = make_specimen(name)
    atoms = specimen.atoms
    assert specimen.regime == "molecular"
    assert set(atoms.symbols) == {"C", "N", "O", "S"}
    assert f"standing in for {specimen.stands_in_for}" in specimen.title
    # Nearest neighbours are bonded, and none are closer than a double bond.
    first, distance = neighbor_list("id", atoms, 2.0)
    assert distance.min() > 1.1
    assert len(set(first)) == len(atoms)
    # Long axis across, shortest along the beam.
    extent = np.ptp(atoms.positions, axis=0)
    assert extent[0] > extent[1] > extent[2] == pytest.approx(specimen.thickness - 1.0)


def test_the_fibril_repeats_every_rung() -> None:
    atoms = make_specimen("synuclein").atoms
    rungs = atoms.positions.reshape(40, -1, 3)
    assert np.diff(rungs, axis=0) == pytest.approx(
        np.broadcast_to([4.8, 0.0, 0.0], (39, rungs.shape[1], 3)), abs=1e-9
    )
    contacts = np.linalg.norm(rungs[0][:, None] - rungs[1][None], axis=2)
    assert 2.5 < contacts.min() < 3.0  # hydrogen bonds, no clashes


@pytest.mark.parametrize(
    ("name", "title", "stands_in_for"),
    [
        ("neurotensin_receptor", "bovine rhodopsin 1U19", "neurotensin receptor 6OS9"),
        ("Li2CoO3", "Li₂CoO₃ as a C2/m prototype", "mp-1173879"),
    ],
)
def test_titles_name_the_stand_in(name: str, title: str, stands_in_for: str) -> None:
    specimen = make_specimen(name)
    assert specimen.title == f"{title}, standing in for {stands_in_for}"
    assert specimen.stands_in_for == stands_in_for
    assert make_specimen("CaTiO3").stands_in_for == ""


def test_a_slab_around_a_protein_is_no_thinner_than_it() -> None:
    own = make_specimen("synuclein")
    slab = make_specimen("synuclein", thickness=100.0)
    assert slab.thickness == 100.0
    assert slab.atoms.positions - own.atoms.positions == pytest.approx(
        np.broadcast_to([0, 0, (100 - own.thickness) / 2], (len(own.atoms), 3))
    )
    with pytest.raises(ValueError, match=r"thickness is 20.0 Å and the molecule is 22\.7 Å high"):
        make_specimen("synuclein", thickness=20.0)


@pytest.mark.parametrize(
    ("tilt", "shift"), [((20.0, 0.0), (0.0, -1.0)), ((0.0, 20.0), (1.0, 0.0)), ((0.0, 0.0), (0, 0))]
)
def test_tilt_is_right_handed(
    tmp_path: Path, tilt: tuple[float, float], shift: tuple[float, float]
) -> None:
    """A column along the beam leans by tan(tilt): to −y about x, to +x about y."""
    path = tmp_path / "cubic.cif"
    ase.io.write(path, Atoms("Po", cell=[4.0, 4.0, 4.0], pbc=True))
    atoms = read_specimen(path, 40.0, zone_axis=(0, 0, 1), thickness=40.0, tilt=tilt).atoms
    # The column through the middle of the patch, which is the lattice's origin.
    offset = atoms.positions - [20.0, 20.0, 20.5]
    height = offset[:, 2]
    lean = height[:, None] * np.array(shift) * math.tan(20e-3)
    column = np.abs(offset[:, :2] - lean).max(1) < 1e-6
    assert column.sum() >= 9
    assert np.diff(np.sort(height[column])) == pytest.approx(
        4.0 * math.cos(max(tilt) * 1e-3), abs=1e-9
    )
    # The block stays upright.
    assert atoms.positions[:, :2].min() >= 10 - 1e-5
    assert atoms.positions[:, :2].max() < 30


def test_tilt_turns_x_first_and_a_protein_too() -> None:
    flat = make_specimen("neurotensin_receptor").atoms.positions
    turned = make_specimen("neurotensin_receptor", tilt=(300.0, 200.0)).atoms.positions
    about_x = Rotation.from_euler("xy", [0.3, 0.2])  # scipy: lower case is about fixed axes
    expected = about_x.apply(flat)
    assert turned - turned[0] == pytest.approx(expected - expected[0], abs=1e-9)
    with pytest.raises(ValueError, match=r"tilt is \(nan, 0\.0\)"):
        make_specimen("MoS2", tilt=(math.nan, 0.0))


def test_description_of_a_crystal(tmp_path: Path) -> None:
    path = tmp_path / "rutile.cif"
    ase.io.write(
        path, crystal(["Ti", "O"], [(0, 0, 0), (0.3, 0.3, 0)], spacegroup=136, cellpar=RUTILE)
    )
    side = 8 * RUTILE[0]
    specimen = read_specimen(
        path, side + 20.0, zone_axis=(0, 0, 1), thickness=10 * RUTILE[2], border=10.0
    )
    found = describe(specimen)
    # A block of whole cells has the crystal's own density: 2 formula units of 79.866 Da a cell.
    assert found["counts"] == {"O": 4 * 640, "Ti": 2 * 640}
    assert found["formula"] == "O2560Ti1280"
    assert found["density"] == pytest.approx(
        2 * 79.866 * 1.66054 / (RUTILE[0] ** 2 * RUTILE[2]), rel=1e-4
    )
    assert found["extent"] == pytest.approx((side, side, 10 * RUTILE[2]))
    assert found["box"] == pytest.approx((side + 20, side + 20, 10 * RUTILE[2] + 1))
    assert found["mass"] is None
    assert "4.25 g/cm³" in format_description(found)


def test_description_of_a_protein() -> None:
    found = describe(make_specimen("Pmt", thickness=150.0))
    assert found["atoms"] == sum(found["counts"].values()) == 9551
    assert list(found["counts"]) == ["C", "N", "O", "S"]  # Hill order, no hydrogen
    assert found["density"] is None
    masses = {"C": 12.011, "N": 14.007, "O": 15.999, "S": 32.06}
    kilodalton = sum(masses[symbol] * n for symbol, n in found["counts"].items()) / 1e3
    assert found["mass"] == pytest.approx(kilodalton, rel=1e-4)
    assert found["thickness"] == 150.0
    lines = format_description(found).splitlines()
    assert "is             human CFTR 6MSM, standing in for Pmt1–Pmt2 6P25" in lines
    assert any(line.startswith("mass") and "125.5 kDa" in line for line in lines)
    assert not any(line.startswith(("density", "ice")) for line in lines)


@pytest.fixture
def glass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A made-up glass under a known name: a grid of copper, every 2 Å, that fills its box."""
    axes = [np.arange(0.0, side, 2.0) for side in (64.0, 64.0, 24.0)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3).astype(np.float32)
    numbers = np.full(len(grid), 29, np.uint8)
    numbers[(grid == [32.0, 32.0, 12.0]).all(1)] = 79  # gold marks the middle
    (tmp_path / "data").mkdir()
    np.savez(
        tmp_path / "data" / "CuZr.npz",
        positions=grid + np.float32([64, 64, 24]),  # a generator need not have wrapped its atoms
        numbers=numbers,
        cell=np.array([64.0, 64.0, 24.0], np.float32),
        source="made up",
    )
    monkeypatch.setattr("misr4d.specimens.catalogue.files", lambda _: tmp_path)
    monkeypatch.setattr("misr4d.specimens.catalogue.SPECIMENS", ("MoS2", "CuZr"))
    return tmp_path


@pytest.mark.usefixtures("glass")
def test_a_glass_is_cut_from_its_box() -> None:
    whole = make_specimen("CuZr", border=0.0, thickness=24.0)
    assert len(whole.atoms) == 32 * 32 * 12
    assert whole.atoms.cell.lengths() == pytest.approx([64, 64, 25])
    cut = make_specimen("CuZr")
    assert cut.patch == (44.0, 44.0, 20.0)
    assert len(cut.atoms) == 22 * 22 * 10
    assert cut.atoms.positions[cut.atoms.numbers == 79] == pytest.approx(
        np.array([[32.0, 32.0, 10.5]])
    )
    assert cut.atoms.positions.min(0) == pytest.approx([10, 10, 0.5], abs=1e-4)
    assert cut.atoms.positions.max(0) == pytest.approx([52, 52, 18.5], abs=1e-4)
    assert (cut.regime, cut.source, cut.licence) == ("atomic", "made up", "GPL-3.0-or-later")
    assert describe(cut)["density"] == pytest.approx(63.546 / 8 * 1.66054, rel=1e-3)


@pytest.mark.usefixtures("glass")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"thickness": 25.0}, r"made in a box of 64 × 64 × 24 Å and 44 × 44 × 25 Å is asked for"),
        ({"field": 100.0}, "80 × 80 × 20 Å is asked for"),
        ({"tilt": (5.0, 0.0)}, "a glass has no zone axis"),
        ({"ice": 30.0}, "ice is 30 Å for CuZr"),
    ],
)
def test_a_glass_is_never_repeated_nor_tilted(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_specimen("CuZr", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "density", "closest"),
    [
        case
        for case in (
            ("PEO", 1.12, 0.95),  # C–H
            ("CuZr", 7.1, 2.0),
            ("LiPON", 2.35, 1.3),  # P–O
            ("LLNO_glass", 5.0, 1.5),  # Nb–O
        )
        if case[0] in SPECIMENS
    ],
)
def test_the_glasses_that_ship(name: str, density: float, closest: float) -> None:
    specimen = make_specimen(name)
    assert describe(specimen)["density"] == pytest.approx(density, rel=0.08)
    # Isolated atoms and overlaps would show here.
    first, distance = neighbor_list("id", specimen.atoms, 3.2)
    assert distance.min() > closest
    assert len(set(first)) > 0.97 * len(specimen.atoms)
    # No lattice: nearly every atom is a column of its own.
    columns = np.unique(specimen.atoms.positions[:, :2].round(2), axis=0)
    assert len(columns) > 0.95 * len(specimen.atoms)


def test_the_papers_specimens_in_the_papers_order() -> None:
    paper = (
        *("MoS2", "AlPO", "NCM", "CaTiO3"),
        *("apoferritin", "synuclein", "neurotensin_receptor", "Pmt"),
        *("PEO", "CuZr", "LiPON", "LLNO_glass"),
        "Li2CoO3",
    )
    assert tuple(name for name in paper if name in SPECIMENS) == SPECIMENS


def test_octahedral_rotations_form_the_group() -> None:
    group = octahedral_rotations()
    assert group.shape == (24, 3, 3)
    keys = {tuple(g.ravel()) for g in group}
    assert {tuple((a @ b).ravel()) for a in group for b in group} == keys


def test_unknown_specimen_lists_the_known() -> None:
    with pytest.raises(ValueError, match="unknown specimen 'unobtainium'; known: MoS2") as error:
        make_specimen("unobtainium")
    assert all(name in str(error.value) for name in SPECIMENS)


def test_any_file_that_ase_reads(tmp_path: Path) -> None:
    path = tmp_path / "silicon.cif"
    ase.io.write(path, bulk("Si", cubic=True))
    specimen = read_specimen(path, 30.0, zone_axis=(1, 1, 0), thickness=15.0, border=5.0)
    assert shortest(specimen.atoms, "Si", "Si", 2.6)[0] == pytest.approx(2.352, abs=0.01)
    molecule = tmp_path / "water.xyz"
    molecule.write_text("3\n\nO 0 0 0\nH 0.96 0 0\nH -0.24 0.93 0\n")
    placed = read_specimen(molecule, 10.0)
    assert len(placed.atoms) == 3
    centre = (placed.atoms.positions.max(0) + placed.atoms.positions.min(0)) / 2
    assert centre == pytest.approx([5.0, 5.0, placed.thickness / 2])


def pdb_line(serial: int, element: str, x: float) -> str:
    return f"ATOM  {serial:5d}  {element:<3} GLY A   1    {x:8.3f}   0.000   0.000  1.00  0.00" + (
        f"          {element:>2}\n"
    )


def test_the_first_model_of_a_pdb_file(tmp_path: Path) -> None:
    path = tmp_path / "models.pdb"
    models = "".join(
        f"MODEL     {n:4d}\n{pdb_line(1, 'N', n)}{pdb_line(2, 'C', n + 1.5)}ENDMDL\n"
        for n in (1, 2)
    )
    path.write_text(models + "END\n")
    atoms = load_structure(path)
    assert str(atoms.symbols) == "NC"
    assert atoms.positions[:, 0] == pytest.approx([1.0, 2.5])


MMCIF = """data_TEST
#
loop_
_atom_site.group_PDB
_atom_site.type_symbol
_atom_site.label_atom_id
_atom_site.label_alt_id
_atom_site.label_asym_id
_atom_site.Cartn_x
_atom_site.Cartn_y
_atom_site.Cartn_z
_atom_site.auth_seq_id
_atom_site.pdbx_PDB_model_num
ATOM   N  N      . A 1.0 2.0 3.0 7 1
ATOM   O  "O5'"  . A 2.5 2.0 3.0 7 1
ATOM   C  'C a'  B A 4.0 2.0 3.0 7 1
ATOM   C  'C a'  C A 4.4 2.0 3.0 7 1
HETATM ZN ZN     C A 8.0 2.0 3.0 8 1
HETATM D  D1     . A 9.0 2.0 3.0 9 1
ATOM   N  N      . A 1.1 2.0 3.0 7 2
#
loop_
_other.id
ATOM
"""


def test_mmcif(tmp_path: Path) -> None:
    """Quoted names, the first model, and the first conformation of each residue."""
    path = tmp_path / "entry.cif"
    path.write_text(MMCIF)
    atoms = load_structure(path)
    assert str(atoms.symbols) == "NOCZnH"
    assert atoms.positions[:, 0] == pytest.approx([1.0, 2.5, 4.0, 8.0, 9.0])
    path.write_text(MMCIF.replace(" 4.4 2.0", " 4.4"))
    with pytest.raises(ValueError, match=r"entry\.cif cannot .*Wrong number of values"):
        load_structure(path)
    path.write_text(MMCIF.replace("_atom_site.", "_other_site."))
    with pytest.raises(ValueError, match=r"entry\.cif holds no atoms"):
        load_structure(path)


@pytest.mark.parametrize("suffix", ["cif", "pdb", "xyz"])
def test_unreadable_files_are_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"broken.{suffix}"
    path.write_text("this is\nnot a structure\n")
    with pytest.raises(ValueError, match=rf"broken\.{suffix}"):
        load_structure(path)
    with pytest.raises(FileNotFoundError, match="no structure file at"):
        load_structure(tmp_path / f"absent.{suffix}")


def test_cells_that_cannot_be_made_orthogonal(tmp_path: Path) -> None:
    molecule = tmp_path / "flat.xyz"
    molecule.write_text("1\n\nO 0 0 0\n")
    with pytest.raises(ValueError, match="spans no volume and cannot be made orthogonal"):
        read_specimen(molecule, 30.0, zone_axis=(0, 0, 1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"thickness": 0.0}, r"thickness is 0\.0 Å"),
        ({"thickness": math.nan}, "thickness is nan"),
        ({"border": 40.0}, "leaves nothing of the field"),
        ({"field": -3.0}, r"field is -3\.0"),
    ],
)
def test_bad_sizes_are_named(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_specimen("MoS2", **options)  # type: ignore[arg-type]


def test_a_protein_must_fit_the_field() -> None:
    with pytest.raises(ValueError, match="do not fit the field of 64 × 64 Å"):
        make_specimen("apoferritin", 64.0)
