from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from misr4d import __version__, bench
from misr4d.cli import main
from misr4d.specimens import SPECIMENS


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def test_the_installed_command_says_what_it_is() -> None:
    command = Path(sys.executable).with_name("misr4d")
    done = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert __version__ in done.stdout
    assert {"bench", "info"} <= set(call("--help").output.split())


@pytest.mark.parametrize("name", SPECIMENS)
def test_info_names_composition_density_size_source_and_licence(name: str) -> None:
    done = call("info", name)
    assert done.exit_code == 0
    for word in ("composition", "extent", "thickness", "source", "licence"):
        assert word in done.output
    assert ("density" in done.output) != ("mass" in done.output)


def test_info_follows_the_thickness() -> None:
    thin, thick = (call("info", "Li2CoO3", "--thickness", t).output for t in ("20", "40"))
    assert thin != thick


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("info", "unobtainium"), "unknown specimen 'unobtainium'"),
        (("info", "Li2CoO3", "--thickness", "-1"), "thickness is -1"),
        (("bench", "--dose", "much"), "a dose is not a number"),
        (("bench", "--dose", "-3"), "dose is -3"),
        (("bench", "--specimen", "unobtainium"), "unknown specimen"),
        (("bench", "--method", "magic"), "unknown method 'magic'"),
    ],
)
def test_bad_input_is_one_clear_line_and_leaves_nothing(
    arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = call(*arguments)
    assert done.exit_code == 2
    assert message in done.output
    assert "Traceback" not in done.output
    assert not list(tmp_path.iterdir())


def test_bench_runs_the_plan_it_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans = []

    def run(plan: bench.Plan, folder: Path, **options: object) -> list[object]:
        plans.append(plan)
        assert folder.is_dir()
        return []

    monkeypatch.setattr(bench, "run", run)
    out = ("--out", str(tmp_path / "table"))
    done = call("bench", *out)
    assert done.exit_code == 0
    assert "this plan leaves out" in done.output
    call("bench", "--full", *out)
    call("bench", "--dose", "300", "--dose", "inf", "--method", "direct", "--draws", "2", *out)
    assert plans[0] == bench.QUICK
    assert plans[1] == bench.FULL
    assert plans[2].doses == (300.0, float("inf"))
    assert plans[2].methods == ("direct",)
    assert plans[2].draws == 2


def test_train_refuses_what_cannot_run(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["train", "--network", "magic"])
    assert result.exit_code == 2
    assert "'magic' is not one of 'DirectInformed', 'AttentionUNet', 'DualPath'" in result.output
    (tmp_path / "file").write_text("", encoding="utf-8")
    result = CliRunner().invoke(main, ["train", "--out", str(tmp_path / "file")])
    assert result.exit_code == 2
    assert "is a file" in result.output
