"""What the build runs: all chapters, or the one that makes a figure."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.scripts import load_script

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = load_script("book/build.py")
    monkeypatch.setattr(module, "BUILD", tmp_path)
    for name in ("MISR4D_OUTPUT", module.FOLDER_VARIABLE, *module.SIDE_BY_SIDE):
        monkeypatch.setenv(name, "")  # the build sets them, and the test takes them back
    return module


@pytest.fixture
def ran(build: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    stems: list[str] = []

    def run(source: Path, parameters: dict[str, object], folder: Path) -> None:
        stems.append(source.stem)

    monkeypatch.setattr(build, "execute_notebook", run)
    return stems


def test_the_page_of_verdicts_runs_when_all_others_have(build: ModuleType, ran: list[str]) -> None:
    build.execute("ci")
    assert sorted(ran) == sorted(path.stem for path in (ROOT / "notebooks").glob("*.py"))
    assert ran[-1] == build.JUDGE


@pytest.mark.parametrize(
    ("figure", "notebook"), [("line_scans", "04_line_scans"), ("hero", "03_dose_series")]
)
def test_one_figure_runs_the_notebook_that_makes_it(
    build: ModuleType,
    ran: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    figure: str,
    notebook: str,
) -> None:
    monkeypatch.setattr(sys, "argv", ["build.py", "figure", "--name", figure])
    build.main()
    assert ran == [notebook]
    assert capsys.readouterr().out.strip() == str(tmp_path / "ci" / "figures" / f"{figure}.png")


@pytest.mark.parametrize("words", [["figure"], ["figures", "--name", "hero"]])
def test_a_figure_needs_a_name_and_nothing_else_takes_one(
    build: ModuleType, ran: list[str], monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["build.py", *words])
    with pytest.raises(SystemExit, match="hero"):
        build.main()
    assert ran == []
