"""Structure files: the atoms that are there, by what the file says of them."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from misr4d.specimens.catalogue import load_structure, read_specimen

CUBE = (4.0, 4.0, 4.0, 90.0, 90.0, 90.0)
GROUP_15 = [
    *("x, y, z", "-x, y, -z+1/2", "x+1/2, y+1/2, z", "-x+1/2, y+1/2, -z+1/2"),
    *("-x, -y, -z", "x, -y, z-1/2", "-x+1/2, -y+1/2, -z", "x+1/2, -y+1/2, z-1/2"),
]


def block(
    atoms: Sequence[str],
    cell: Sequence[float] = CUBE,
    group: str = "P 1",
    operations: Sequence[str] = (),
    more: str = "",
    name: str = "x",
) -> str:
    """Write a data block of a CIF; an atom is label, element, place and occupancy."""
    keys = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
    text = f"data_{name}\n" + "".join(f"_cell_{k} {v}\n" for k, v in zip(keys, cell, strict=True))
    text += f"_symmetry_space_group_name_H-M '{group}'\n" if group else ""
    if operations:
        text += "loop_\n_symmetry_equiv_pos_as_xyz\n" + "".join(f"'{o}'\n" for o in operations)
    columns = ("label", "type_symbol", "fract_x", "fract_y", "fract_z", "occupancy")
    text += f"{more}loop_\n" + "".join(f"_atom_site_{c}\n" for c in columns)
    return text + "".join(f"{atom}\n" for atom in atoms)


def count(path: Path, **options: int | str) -> dict[str, int]:
    return dict(Counter(load_structure(path, **options).get_chemical_symbols()))  # type: ignore[arg-type]


GE_SB_TE = ["Ge1 Ge .5 .5 .5 .4", "Sb1 Sb .5 .5 .5 .4", "Te1 Te 0 0 0 1"]


def test_shared_and_vacant_places_are_drawn_for_each_place_of_a_slab(tmp_path: Path) -> None:
    path = tmp_path / "gst.cif"
    path.write_text(block(GE_SB_TE, (6.02,) * 3 + (90,) * 3, "F m -3 m"))
    specimen = read_specimen(path, 70.0, zone_axis=(0, 0, 1), thickness=40.0, border=5.0)
    number = Counter(specimen.atoms.get_chemical_symbols())
    assert number["Te"] > 2000
    for element in ("Ge", "Sb"):
        assert number[element] / number["Te"] == pytest.approx(0.4, abs=0.04)
    assert "drawn by seed" in specimen.source
    again, other = (
        read_specimen(path, 70.0, zone_axis=(0, 0, 1), thickness=40.0, border=5.0, seed=seed)
        for seed in (0, 1)
    )
    assert (again.atoms.numbers == specimen.atoms.numbers).all()
    assert Counter(other.atoms.get_chemical_symbols()) != number


def test_one_of_split_sites_is_there_at_most(tmp_path: Path) -> None:
    path = tmp_path / "split.cif"
    path.write_text(block(["O1 O .1 0 0 .5", "O2 O .17 0 0 .5", "Al1 Al .5 .5 .5 1"]))
    drawn = [load_structure(path, seed=seed) for seed in range(20)]
    assert {str(atoms.symbols) for atoms in drawn} == {"OAl"}
    assert len({round(atoms.positions[0, 0], 3) for atoms in drawn}) == 2
    across = tmp_path / "across.cif"  # the faces of the cell
    across.write_text(block(["O1 O .97 0 0 .5", "O2 O .03 0 0 .5", "Al1 Al .5 .5 .5 1"]))
    assert {count(across, seed=s)["O"] for s in range(20)} == {1}


def test_vacancies_are_left_vacant(tmp_path: Path) -> None:
    path = tmp_path / "vacant.cif"
    path.write_text(block(["O1 O .25 .25 .25 .25", "Al1 Al 0 0 0 1", "Al2 Al .5 .5 .5 1"]))
    mean = np.mean([count(path, seed=s).get("O", 0) for s in range(200)])
    assert mean == pytest.approx(0.25, abs=0.1)


@pytest.mark.parametrize(
    ("operations", "warns"),
    [(GROUP_15, False), ([], False), (GROUP_15[:2] + GROUP_15[4:6], True)],
    ids=["all", "none", "without centring"],
)
def test_a_lost_centring_is_added(
    tmp_path: Path, operations: list[str], warns: bool, recwarn: pytest.WarningsRecorder
) -> None:
    path = tmp_path / "group.cif"
    cell = (10, 10, 10, 90, 100, 90)
    path.write_text(block(["Ru1 Ru .1 .2 .3 1"], cell, "C 1 2/c 1", operations))
    if warns:
        with pytest.warns(UserWarning, match="lack the centring"):
            assert count(path) == {"Ru": 8}
    else:
        assert count(path) == {"Ru": 8}


SILICON = ["Si1 Si .125 .125 .125 1"]


@pytest.mark.parametrize(
    ("group", "more"),
    [
        ("F d -3 m :2", ""),
        ("F d -3 m", "_space_group_IT_coordinate_system_code 2\n_space_group_IT_number 227\n"),
    ],
)
def test_a_second_origin_by_name_or_number(tmp_path: Path, group: str, more: str) -> None:
    path = tmp_path / "silicon.cif"
    path.write_text(block(SILICON, (5.4307,) * 3 + (90,) * 3, group, more=more))
    assert count(path) == {"Si": 8}


def test_an_origin_that_is_not_said_is_doubted(tmp_path: Path) -> None:
    path = tmp_path / "silicon.cif"
    path.write_text(block(SILICON, (5.4307,) * 3 + (90,) * 3, "F d -3 m"))
    with pytest.warns(UserWarning, match="which of two origins"):
        load_structure(path)


def test_symmetry_that_is_not_said_or_not_known(tmp_path: Path) -> None:
    path = tmp_path / "none.cif"
    path.write_text(block(["Al1 Al 0 0 0 1"], group=""))
    with pytest.warns(UserWarning, match="states no symmetry"):
        assert count(path) == {"Al": 1}
    path.write_text(block(["Al1 Al 0 0 0 1"], group="Q 7"))
    with pytest.raises(ValueError, match="space group Q 7 is not known"):
        load_structure(path)


def test_of_several_data_blocks_the_first_unless_another_is_named(tmp_path: Path) -> None:
    path = tmp_path / "two.cif"
    first, second = (block([f"{e}1 {e} 0 0 0 1"], name=e.lower()) for e in ("Fe", "Ni"))
    path.write_text(f"data_global\n_journal_year 2026\n{first}{second}")
    with pytest.warns(UserWarning, match="of its structures fe, ni the first"):
        assert count(path) == {"Fe": 1}
    assert count(path, block="ni") == {"Ni": 1}
    with pytest.raises(ValueError, match="no structure in a data block 'co'; it has fe, ni"):
        load_structure(path, block="co")


def test_a_density_that_no_solid_has_or_the_file_denies(tmp_path: Path) -> None:
    path = tmp_path / "dense.cif"
    path.write_text(block(["Au1 Au 0 0 0 1", "Au2 Au .5 .5 .5 1"], (2.0, 2.0, 2.0, 90, 90, 90)))
    with pytest.raises(ValueError, match=r"expected 0\.5 to 25"):
        load_structure(path)
    path.write_text(block(["O1 O 0 0 0 1"], (10.0, 10.0, 10.0, 90, 90, 90)))
    assert count(path) == {"O": 1}  # a molecule in a box
    with pytest.raises(ValueError, match=r"expected 0\.5 to 25"):
        read_specimen(path, 30.0, zone_axis=(0, 0, 1), border=2.0)
    said = "_exptl_crystal_density_diffrn 9.9(1)\n"
    path.write_text(block(["Al1 Al 0 0 0 1", "Al2 Al .5 .5 .5 1"], more=said))
    with pytest.warns(UserWarning, match=r"1\.4 g/cm³ and it states 9\.9"):
        load_structure(path)


Row = tuple[str, str, str, float, float, str]
LYSINE: list[Row] = [
    (" N", " ", "LYS", 0.0, 1.0, "N"),
    (" CA", " ", "LYS", 1.5, 1.0, "C"),
    (" CE", "A", "LYS", 3.0, 0.4, "C"),
    (" CE", "B", "LYS", 3.05, 0.6, "C"),
    (" NZ", "A", "LYS", 4.5, 0.4, "N"),
    (" NZ", "B", "LYS", 4.6, 0.6, "N"),
]


def pdb(rows: list[Row], cell: str = "", column: bool = True) -> str:
    text = cell
    for n, (name, alternate, residue, x, occupancy, element) in enumerate(rows, 1):
        kind = "ATOM" if residue == "LYS" else "HETATM"
        text += f"{kind:<6}{n:>5} {name:<4}{alternate}{residue:>3} A{1:>4}    {x:8.3f}   2.000"
        text += f"   3.000{occupancy:6.2f}{10:6.2f}" + (f"{element:>12}" if column else "") + "\n"
    return text + "END\n"


def test_one_conformer_of_a_residue(tmp_path: Path) -> None:
    path = tmp_path / "alternates.pdb"
    path.write_text(pdb(LYSINE))
    atoms = load_structure(path)
    assert atoms.positions[:, 0] == pytest.approx([0.0, 1.5, 3.05, 4.6])


def test_one_of_two_kinds_of_residue_at_a_place(tmp_path: Path) -> None:
    path = tmp_path / "kinds.pdb"
    serine = [(" CA ", "A", "SER", 0.0, 0.6, "C"), (" CB ", "A", "SER", 1.5, 0.6, "C")]
    threonine = [
        (" CA ", "B", "THR", 0.1, 0.4, "C"),
        (" CB ", "B", "THR", 1.6, 0.4, "C"),
        (" CG2", "B", "THR", 3.0, 0.4, "C"),
    ]
    path.write_text(pdb([*threonine, *serine]))
    assert load_structure(path).positions[:, 0] == pytest.approx([0.0, 1.5])
    # Two residues that only share a number are both there.
    path.write_text(pdb([(*row[:1], " ", *row[2:]) for row in (*threonine, *serine)]))
    assert len(load_structure(path)) == 5


def test_a_dummy_site_is_no_atom(tmp_path: Path) -> None:
    path = tmp_path / "dummy.cif"
    names = ("label", "type_symbol", "fract_x", "fract_y", "fract_z", "calc_flag")
    path.write_text(
        "data_x\n"
        + "".join(f"_cell_length_{axis} 3.5\n" for axis in "abc")
        + "".join(f"_cell_angle_{angle} 90\n" for angle in ("alpha", "beta", "gamma"))
        + "_symmetry_space_group_name_H-M 'P 1'\nloop_\n"
        + "".join(f"_atom_site_{name}\n" for name in names)
        + "Si1 Si 0 0 0 d\nCnt1 C 0.5 0.5 0.5 dum\n"
    )
    assert str(load_structure(path).symbols) == "Si"


@pytest.mark.parametrize("column", [True, False])
def test_an_alpha_carbon_is_no_calcium(tmp_path: Path, column: bool) -> None:
    path = tmp_path / "names.pdb"
    calcium: Row = ("CA", " ", " CA", 9.0, 1.0, "CA")
    path.write_text(pdb([*LYSINE[:2], calcium], column=column))
    assert str(load_structure(path).symbols) == "NCCa"
    shifted = [("CA", *row[1:]) if row[0] == " CA" else row for row in LYSINE[:2]]
    path.write_text(pdb(shifted, column=False))  # written left-aligned by some programs
    assert str(load_structure(path).symbols) == "NC"


def crystal_line(a: float, group: str) -> str:
    return f"CRYST1{a:9.3f}{a:9.3f}{a:9.3f}  90.00  90.00  90.00 {group:<11}   4\n"


@pytest.mark.parametrize("suffix", ["pdb", "ent"])
def test_a_place_holder_is_no_cell(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"entry.{suffix}"
    path.write_text(pdb(LYSINE[:2], crystal_line(1.0, "P 1")))
    atoms = load_structure(path)
    assert str(atoms.symbols) == "NC"
    assert not atoms.cell.any()
    with pytest.raises(ValueError, match="is a place-holder"):
        read_specimen(path, 30.0, zone_axis=(0, 0, 1), border=2.0)


def test_an_asymmetric_unit_is_completed_before_it_makes_a_crystal(tmp_path: Path) -> None:
    """Four iron atoms for each of the file in P 21 21 21, 8 Å a side."""
    path = tmp_path / "iron.pdb"
    path.write_text(pdb([("FE", " ", " FE", 1.0, 1.0, "FE")], crystal_line(8.0, "P 21 21 21")))
    assert len(load_structure(path)) == 1
    specimen = read_specimen(path, 24.0, zone_axis=(0, 0, 1), thickness=16.0, border=0.0)
    assert len(specimen.atoms) == 4 * 3 * 3 * 2
    path.write_text(pdb([("FE", " ", " FE", 1.0, 1.0, "FE")], crystal_line(8.0, "Q 7")))
    with pytest.raises(ValueError, match=r"'Q 7' is not known"):
        read_specimen(path, 24.0, zone_axis=(0, 0, 1), thickness=16.0, border=0.0)


def test_mmcif_in_any_order_of_columns_and_packed(tmp_path: Path) -> None:
    columns = ("id", "type_symbol", "group_PDB", "Cartn_x", "Cartn_y", "Cartn_z")
    text = "data_x\nloop_\n" + "".join(f"_atom_site.{c}\n" for c in columns)
    text += "1 N ATOM -1.5 0.2 6.5\n2 C ATOM 0.1 -0.3 6.0\n"
    (tmp_path / "entry.cif").write_text(text)
    (tmp_path / "entry.cif.gz").write_bytes(gzip.compress(text.encode()))
    for name in ("entry.cif", "entry.cif.gz"):
        atoms = load_structure(tmp_path / name)
        assert str(atoms.symbols) == "NC"
        assert atoms.positions[0] == pytest.approx([-1.5, 0.2, 6.5])
