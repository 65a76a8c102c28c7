from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner, Result

from misr4d import __version__
from misr4d.cli import main
from misr4d.companion import bench
from misr4d.io.emd import Recording
from misr4d.learn.configuration import PRESETS
from misr4d.learn.networks import NETWORKS
from misr4d.specimens.catalogue import SPECIMENS


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


def test_info_of_a_scan_says_what_is_stated_and_what_must_be_given(
    tmp_path: Path, small_recording: Recording
) -> None:
    path = tmp_path / "scan.npy"
    np.save(path, np.ones((3, 4, 5, 6), np.uint16))
    done = call("info", str(path))
    assert done.exit_code == 0
    assert "3 × 4 positions, 5 × 6 pixels, uint16" in done.output
    for needed in ("energy: not stated; give --energy, in eV", "give --step", "give --semiangle"):
        assert needed in done.output
    done = call("info", str(small_recording.write(tmp_path / "scan.h5")))
    assert "energy: 300000 eV (file)" in done.output
    assert "not stated; give" not in done.output
    done = call("info", str(tmp_path / "none.h5"))
    assert done.exit_code == 2
    assert "none.h5" in done.output
    assert "unknown specimen" not in done.output
    done = call("info", str(path), "--thickness", "20")
    assert "--thickness is of a specimen" in done.output


def test_bench_runs_the_plan_it_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans = []

    def run_bench(plan: bench.Plan, folder: Path, **options: object) -> list[object]:
        plans.append(plan)
        return []

    monkeypatch.setattr(bench, "run_bench", run_bench)
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
        "image.h5",
        "image.npz",
        "image.png",
        "report.html",
        "report.json",
    }
    done = call("reconstruct", "scan.h5", "--method", "direct", "--defocus", "480", "--out", "r2")
    assert "defocus        480 Å (given)" in done.output
    assert "written: r2/image.h5" in done.output


@pytest.mark.parametrize("command", ["simulate", "reconstruct"])
def test_help_shows_a_call_that_can_be_copied(command: str) -> None:
    done = call(command, "--help")
    assert f"misr4d {command} " in done.output
    assert "--out" in done.output
