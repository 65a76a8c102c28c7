from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner, Result

from misr4d import __version__, bench
from misr4d.cli import main
from misr4d.networks import NETWORKS
from misr4d.recording import Recording
from misr4d.specimens import SPECIMENS
from misr4d.training import PRESETS


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


def test_train_offers_every_preset_and_network() -> None:
    offered = {option.name: option.type for option in main.commands["train"].params}
    assert list(offered["preset"].choices) == list(PRESETS)  # type: ignore[attr-defined]
    assert set(offered["network"].choices) == set(NETWORKS)  # type: ignore[attr-defined]


def test_train_refuses_what_cannot_run(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["train", "--network", "magic"])
    assert result.exit_code == 2
    assert "'magic' is not one of 'DirectInformed', 'AttentionUNet', 'DualPath'" in result.output
    (tmp_path / "file").write_text("", encoding="utf-8")
    result = CliRunner().invoke(main, ["train", "--out", str(tmp_path / "file")])
    assert result.exit_code == 2
    assert "is a file" in result.output


def test_a_simulated_scan_becomes_an_image_in_two_commands(
    tmp_path: Path, small_recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    small = ("--positions", "32", "--dose", "2000")
    done = call("simulate", "CaTiO3", *small, "--out", "scan.h5")
    assert done.exit_code == 0, done.output
    assert "32 × 32 positions" in done.output
    assert [p.name for p in tmp_path.iterdir()] == ["scan.h5"]
    with h5py.File("scan.h5", "r") as file:
        patterns = file["datacube_root/datacube/data"][()]
    np.testing.assert_array_equal(patterns, small_recording.cube.patterns)
    done = call("reconstruct", "scan.h5", "--method", "direct", "--out", "result", "--json")
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    assert record["quantities"]["dose"] == {"value": 2000.0, "unit": "e⁻/Å²", "origin": "file"}
    assert record == json.loads(Path("result/report.json").read_text(encoding="utf-8"))
    assert {p.name for p in Path("result").iterdir()} == {
        "image.npz",
        "image.png",
        "report.html",
        "report.json",
    }
    done = call("reconstruct", "scan.h5", "--method", "direct", "--defocus", "480", "--out", "r2")
    assert "defocus        480 Å (given)" in done.output
    assert "written: r2/image.npz" in done.output


def _save(patterns: np.ndarray) -> Callable[[Path], object]:
    return lambda path: np.save(path, patterns)


def _spoilt(value: float) -> np.ndarray:
    patterns = np.ones((32, 32, 9, 9), dtype=np.float32)
    patterns[3, 4, 5, 6] = value
    return patterns


def _truncated(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["data"] = np.ones((32, 32, 9, 9))
    path.write_bytes(path.read_bytes()[:20000])


OBJECTS = np.array([{}], dtype=object)
BAD_FILES: dict[str, tuple[str, Callable[[Path], object] | None, str]] = {
    "missing": ("scan.npy", None, "there is no file"),
    "folder": ("scan", Path.mkdir, "is a folder, which no reader takes"),
    "unknown kind": ("scan.txt", Path.touch, "kind '.txt', which no reader takes"),
    "empty": ("scan.npy", Path.touch, "cannot be read by NumPy"),
    "truncated": ("scan.h5", _truncated, "cannot be read by h5py"),
    "nan": ("scan.npy", _save(_spoilt(np.nan)), "holds nan at position (3, 4), pixel (5, 6)"),
    "negative": ("scan.npy", _save(_spoilt(-1.0)), "holds -1.0 at position (3, 4)"),
    "five axes": ("scan.npy", _save(np.ones((1, 32, 32, 9, 9))), "has 5 axes"),
    "two axes": ("scan.npy", _save(np.ones((32, 32))), "has 2 axes"),
    "complex": ("scan.npy", _save(np.ones((32, 32, 9, 9), complex)), "of type complex128"),
    "no electron": ("scan.npy", _save(np.zeros((32, 32, 9, 9))), "holds no electron"),
    "too small": ("scan.npy", _save(np.ones((31, 32, 9, 9))), "expected at least 32 × 32"),
    "no disc": ("scan.npy", _save(np.ones((32, 32, 9, 9))), "constant"),
    "pickled": ("scan.npz", lambda p: np.savez(p, patterns=OBJECTS), "never loaded"),
    "not a format": ("scan.hspy", lambda p: p.write_bytes(b"hello"), "cannot be read by"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_bad_file_is_one_clear_line_and_leaves_nothing(kind: str, tmp_path: Path) -> None:
    name, make, message = BAD_FILES[kind]
    if make is not None:
        make(tmp_path / name)
    known = ("--energy", "300e3", "--step", "1", "--semiangle", "10", "--defocus", "500")
    done = call("reconstruct", str(tmp_path / name), *known, "--out", str(tmp_path / "result"))
    assert done.exit_code == 2, done.output
    (line,) = [x for x in done.output.splitlines() if x.startswith("Error: ")]
    assert message in line
    assert "Traceback" not in done.output
    assert {p.name for p in tmp_path.iterdir()} <= {name}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("simulate", "unobtainium", "--dose", "300"), "unknown specimen 'unobtainium'"),
        (("simulate", "CaTiO3", "--dose", "0"), "dose is 0.0 e⁻/Å²"),
        (("simulate", "CaTiO3", "--dose", "1", "--positions", "9"), "positions is 9"),
        (("simulate", "CaTiO3"), "Missing option '--dose'"),
        (("reconstruct",), "Missing argument 'FILE'"),
        (("reconstruct", "x.npy", "--method", "magic"), "'magic' is not one of"),
        (("reconstruct", "x.npy", "--bad-pixels", "b", "--keep-all-pixels"), "exclude each other"),
    ],
)
def test_a_wrong_call_is_one_clear_line_and_leaves_nothing(
    arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = call(*arguments)
    assert done.exit_code == 2
    assert message in done.output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["simulate", "reconstruct"])
def test_help_shows_a_call_that_can_be_copied(command: str) -> None:
    done = call(command, "--help")
    assert f"misr4d {command} " in done.output
    assert "--out" in done.output
