from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import jupytext
import nbformat
import papermill
import pytest
import yaml

from tests.scripts import load_script

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "notebooks").glob("*.py"))
CHAPTERS = sorted((ROOT / "misr4d" / "companion" / "chapters").glob("[!_]*.py"))  # their helpers


@pytest.fixture(scope="module")
def build() -> ModuleType:
    return load_script("book/build.py")


def run(notebook: Path, tmp_path: Path, **parameters: object) -> None:
    papermill.execute_notebook(
        notebook,
        tmp_path / "out.ipynb",
        parameters=parameters,
        kernel_name="python3",
        cwd=str(tmp_path),
        progress_bar=False,
    )


@pytest.mark.parametrize("source", SOURCES, ids=lambda p: p.stem)
def test_pair_is_the_source_without_outputs(source: Path, build: ModuleType) -> None:
    paired = source.with_suffix(".ipynb").read_text(encoding="utf-8")
    expected = nbformat.writes(build.stripped(source), version=4) + "\n"
    assert paired == expected, "run `make pair`"
    assert '"outputs": []' in paired
    assert not re.search(r'"output_type"', paired)


@pytest.mark.parametrize("source", SOURCES, ids=lambda p: p.stem)
def test_source_has_a_kernel_and_one_parameters_cell_with_types_and_comments(source: Path) -> None:
    notebook = jupytext.read(source)
    assert notebook.metadata.kernelspec.name == "python3"
    assert notebook.metadata.kernelspec.language == "python"
    cells = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    assert len(cells) == 1
    for line in cells[0].source.splitlines():
        assert re.match(r"\w+: [\w\[\], ]+ = .+  # .+", line), line
    following = notebook.cells[notebook.cells.index(cells[0]) + 1].source
    assert "check_parameters(globals())" in following


@pytest.mark.parametrize("source", SOURCES, ids=lambda p: p.stem)
def test_notebook_opens_and_closes_as_the_house_rules_say(source: Path) -> None:
    notebook = jupytext.read(source)
    opening = notebook.cells[0].source
    for phrase in (
        "**What the paper says**",
        "**What is measured here.**",
        "**How long it takes.**",
    ):
        assert phrase in opening
    assert any("## What was seen" in cell.source for cell in notebook.cells[-3:])


@pytest.mark.parametrize("source", [*SOURCES, *CHAPTERS], ids=lambda p: p.stem)
def test_a_page_has_no_measure_of_draws_or_detector_of_its_own(source: Path) -> None:
    # Pages once had medians, resolutions and point pixels that other pages did not have.
    if source.stem == "own_scan":
        pytest.skip("its one median is of a spectrum")
    text = source.read_text(encoding="utf-8")
    for call in ("np.median(", "percentile(", "quantile(", "pixel_samples=1)", "truth_masks("):
        assert call not in text, call
    assert not re.search(r"resolution\(frequency, curve\)", text)


@pytest.mark.parametrize(
    ("paths", "phrases"),
    [
        # What the excess of the deviance lets pass, measured there.
        (
            tuple(f"misr4d/companion/chapters/refinement{part}.py" for part in ("", "_page")),
            ("DEFOCUS_ERRORS = (0.0, 0.05, 0.2)", "The warning at 5 does not always see "),
        ),
        # What static atoms hide; whose noise is where; what the targets are.
        (
            ("notebooks/08_thickness_and_field.py",),
            (
                "## What static atoms, a point source and a noiseless detector hide",
                "The *training* of the networks is not so kind",
                "The targets of the training, and what is scored against, are the true projected",
                '"thermal motion": {"thermal": U}',
            ),
        ),
    ],
)
def test_a_page_says_what_its_measure_cannot_see(
    paths: tuple[str, ...], phrases: tuple[str, ...]
) -> None:
    text = "".join((ROOT / path).read_text(encoding="utf-8") for path in paths)
    assert not [phrase for phrase in phrases if phrase not in text]


def test_most_of_the_code_is_to_be_read() -> None:
    """Of the pages' code at least two fifths are visible, and in every chapter some."""
    hidden = {"remove-input", "hide-input", "remove-cell"}
    visible = lines = 0
    for source in SOURCES:
        own = 0
        for cell in jupytext.read(source).cells:
            if cell.cell_type == "code":
                count = sum(bool(line.strip()) for line in cell.source.splitlines())
                lines += count
                own += 0 if hidden & set(cell.metadata.get("tags", [])) else count
        assert own >= 5, source.stem
        visible += own
    assert visible >= 0.4 * lines
    assert lines <= 2200


@pytest.mark.parametrize("profile", ["ci", "paper"])
def test_profiles_name_parameters_that_exist(profile: str, build: ModuleType) -> None:
    for stem, parameters in build.read_profile(profile).items():
        known = set(papermill.inspect_notebook(ROOT / "notebooks" / f"{stem}.ipynb"))
        assert set(parameters) <= known


def test_claims_run_again_when_a_result_changes(tmp_path: Path, build: ModuleType) -> None:
    """Only the page that reads the others' results depends on them, and not on its own."""
    (tmp_path / "results").mkdir()
    pages = [ROOT / "notebooks" / f"{stem}.py" for stem in (build.JUDGE, "03_dose_series")]
    own = f"results/{build.JUDGE}.json"
    keys = []
    for path in ("", "results/03_dose_series.json", "results/peers.json", own):
        if path:
            (tmp_path / path).write_text("1")
        keys.append([build.fingerprint(page, {}, tmp_path) for page in pages])
    judge, other = zip(*keys, strict=True)
    assert len(set(judge[:3])) == 3
    assert judge[3] == judge[2]
    assert len(set(other)) == 1
    assert build.NOTEBOOKS[-1].stem == build.JUDGE


def test_a_page_that_reads_the_study_runs_again_when_it_changes(
    tmp_path: Path, build: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows, single cases or images; by whatever function of the package."""
    monkeypatch.setattr(build, "STUDY_FOLDER", tmp_path)
    pages = [ROOT / "notebooks" / f"{stem}.py" for stem in ("04_line_scans", "12_refinement")]
    pages.append(ROOT / "notebooks" / "14_exercises.py")
    before = [build.fingerprint(page, {}, tmp_path) for page in pages]
    (tmp_path / "pictures.npz").write_bytes(b"others")
    after = [build.fingerprint(page, {}, tmp_path) for page in pages]
    assert [old != new for old, new in zip(before, after, strict=True)] == [True, True, False]


def test_unknown_profile_lists_the_known(build: ModuleType) -> None:
    with pytest.raises(SystemExit, match="unknown profile 'full'; known: ci, paper"):
        build.read_profile("full")


@pytest.mark.parametrize("source", SOURCES, ids=lambda p: p.stem)
def test_an_unknown_parameter_stops_the_run(source: Path) -> None:
    """As papermill gives it, between the parameters and the cell below them."""
    cells = [cell for cell in jupytext.read(source).cells if cell.cell_type == "code"]
    declared, checked = cells[:2]
    assert "parameters" in declared.metadata["tags"]
    values: dict[str, object] = {"__name__": "__main__"}
    exec(declared.source, values)
    first, _, _ = checked.source.partition("check_parameters(globals())")
    exec(f"{first}check_parameters(globals())", values)
    with pytest.raises(TypeError, match="unknown parameter 'dosis'"):
        exec(f"{first}check_parameters(globals())", values | {"dosis": 3.0})


def test_papermill_stops_at_an_unknown_parameter(tmp_path: Path) -> None:
    with pytest.raises(papermill.PapermillExecutionError, match="unknown parameter 'dosis'"):
        run(SOURCES[0].with_suffix(".ipynb"), tmp_path, dosis=3.0)


def test_dose_series_runs_under_other_parameters(tmp_path: Path) -> None:
    """A dose study by papermill: another crystal alone, two doses, one draw, results on disk."""
    study = tmp_path / "study"
    study.mkdir()
    (study / "table.json").write_text('{"rows": []}')  # the page's own draws serve instead
    run(
        ROOT / "notebooks" / "03_dose_series.ipynb",
        tmp_path,
        **dict.fromkeys(("crystal", "glass", "protein"), "CaTiO3"),
        doses=[150.0, 600.0],
        draws=1,
        seed=7,
        study=str(study),
    )
    results = yaml.safe_load((tmp_path / "_output" / "results" / "03_dose_series.json").read_text())
    direct = {
        row["dose"]: row["values"]["correlation"]
        for row in results["values"]
        if (row["specimen"], row["method"]) == ("CaTiO3", "direct")
    }
    assert {dose: len(values) for dose, values in direct.items()} == {
        "150.0": 1,
        "600.0": 1,
        "inf": 1,
    }
    assert direct["150.0"] < direct["600.0"] < direct["inf"]
    assert (tmp_path / "_output" / "figures" / "dose_series_crystal.png").is_file()
