from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import pytest
from click.testing import CliRunner

from misr4d.cli import main
from misr4d.companion import bench
from misr4d.companion import sweep as sweeps
from misr4d.companion.sweep import read_study, sweep

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "notebooks" / "params" / "study_thickness.yaml"


def here(work: Any, tasks: list[tuple[Any, ...]], *_: Any) -> Any:
    """Do in this process what workers would."""
    for index, task in enumerate(tasks):
        yield index, work(*task)


def fake(run: dict[str, Any]) -> dict[str, Any]:
    return {"correlation": len(run)}


def study(folder: Path, text: str) -> Path:
    (folder / "study.yaml").write_text(text, encoding="utf-8")
    return folder / "study.yaml"


def test_the_example_is_a_study_of_every_combination() -> None:
    found = read_study(EXAMPLE)
    assert found.name == "thickness"
    assert len(found.runs) == 6
    assert found.runs[1] == {
        "specimen": "Li2CoO3",
        "dose": 300.0,
        "thickness": 10.0,
        "method": "informed",
        "draw": 0,
    }
    done = CliRunner().invoke(main, ["sweep", str(EXAMPLE), "--dry-run"])
    assert done.exit_code == 0
    assert "6 runs; nothing was done" in done.output


def test_a_study_takes_up_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def some(work: Any, tasks: list[tuple[Any, ...]], *rest: Any) -> Any:
        asked.append(len(tasks))
        for index, found in here(work, tasks):
            if len(asked) == 1 and index == 4:
                raise KeyboardInterrupt
            yield index, found

    monkeypatch.setattr(sweeps, "each_done", some)
    monkeypatch.setattr(sweeps, "measure_run", fake)
    monkeypatch.setattr(sweeps, "run_key", lambda _, run: "-".join(map(str, run.values())))
    found = read_study(EXAMPLE)
    with pytest.raises(KeyboardInterrupt):
        sweep(found, tmp_path)
    parts = tmp_path / "thickness" / "parts"
    assert len(list(parts.iterdir())) == 4
    next(parts.iterdir()).write_text("{", encoding="utf-8")  # one is damaged
    rows = sweep(found, tmp_path)
    assert asked == [6, 3]
    assert [row["thickness"] for row in rows] == [10.0, 10.0, 40.0, 40.0, 100.0, 100.0]
    assert {row["correlation"] for row in rows} == {5}
    assert bench.read_table(tmp_path / "thickness") == rows
    assert sweep(found, tmp_path) == rows
    assert len(asked) == 2


def test_a_run_measures_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(name: str, thickness: float | None = None, defocus: float | None = None) -> Any:
        return SimpleNamespace(measure=lambda dose, seed: (name, thickness, defocus, dose, seed))

    monkeypatch.setattr(sweeps, "make_scene", make)
    scored: list[Any] = []
    monkeypatch.setattr(sweeps, "score", lambda m, method: scored.append((m, method)) or {"a": 1})
    run = {"specimen": "CaTiO3", "method": "direct", "dose": 300.0, "draw": 1, "defocus": 400.0}
    assert sweeps.measure_run(run) == {"a": 1}
    assert scored == [(("CaTiO3", None, 400.0, 300.0, 1), "direct")]


def test_a_notebook_is_run_in_a_folder_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeps, "each_done", here)
    first = nbformat.v4.new_code_cell("a: int = 1", metadata={"tags": ["parameters"]})
    second = nbformat.v4.new_code_cell(
        "import json, os, pathlib\n"
        "p = pathlib.Path(os.environ['MISR4D_OUTPUT'], 'results')\n"
        "p.mkdir()\n"
        "_ = (p / 'r.json').write_text(json.dumps({'sum': {'twice': 2 * a}, 'list': [a]}))"
    )
    kernel = {"kernelspec": {"name": "python3", "display_name": "", "language": "python"}}
    notebook = nbformat.v4.new_notebook(cells=[first, second], metadata=kernel)
    nbformat.write(notebook, tmp_path / "note.ipynb")
    path = study(tmp_path, "name: s\nnotebook: note.ipynb\ngrid: {a: [3]}")
    (row,) = sweep(read_study(path), tmp_path / "out")
    assert (tmp_path / "out/s/parts" / f"{row.pop('made')}.json").is_file()
    assert row == {"a": 3, "r: sum: twice": 6}
    assert json.loads((tmp_path / "out/s/table.json").read_text())["study"]["name"] == "s"
    assert {p.name for p in tmp_path.iterdir()} == {"note.ipynb", "study.yaml", "out"}


START = "bench: true\nparameters: {specimen: CaTiO3, dose: 300, method: direct}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no keys; expected name, bench"),
        ("a: [", "cannot be read as YAML"),
        ("a: !!python/object/apply:os.system [ls]", "cannot be read as YAML"),
        ("colour: red", "unknown key 'colour'; known: name, bench, notebook"),
        ("name: ../up\n" + START, r"name is '\.\./up'; expected letters"),
        ("name: /etc/x\n" + START, "expected letters"),
        ("grid: {dose: [3]}", "expected either bench: true or notebook"),
        ("bench: true\nnotebook: a.ipynb", "expected either bench"),
        ("notebook: gone.ipynb", r"expected an \.ipynb file"),
        (START + "grid: {colour: [1]}", "unknown parameter 'colour'; known: specimen, method"),
        (START + "grid: {dose: [1]}", "dose stands in parameters and in grid"),
        (START + "grid: {draw: 3}", "grid: draw is 3; expected a list"),
        (START + "grid: {draw: []}", r"grid: draw is \[\]; expected a list"),
        (START + "grid: [draw]", "expected names with their values"),
        (START + "grid: {draw: [a]}", "draw is 'a'; expected one int"),
        (START + "grid: {draw: [-1]}", "a draw of 0 or more"),
        (START + "grid: {thickness: [-1]}", "thickness is -1.0; expected a positive"),
        (START + "grid: {thickness: [.inf]}", "thickness is inf"),
        (START + "grid: {defocus: [.nan]}", "expected a finite defocus"),
        ("bench: true\ngrid: {dose: [1]}", "specimen stands neither"),
        (START.replace("direct", "magic"), "unknown method 'magic'; known: summed VBF"),
        (START + f"grid: {{draw: &a {list(range(400))}, defocus: *a}}", "asks for 160000 runs"),
        ("# " + "x" * 2**20, "longer than a MiB"),
    ],
)
def test_a_wrong_study_is_one_clear_line_and_leaves_nothing(
    text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = study(tmp_path, text)
    with pytest.raises(ValueError, match=message):
        read_study(path)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["sweep", "study.yaml"])
    assert done.exit_code == 2
    assert [p.name for p in tmp_path.iterdir()] == ["study.yaml"]
