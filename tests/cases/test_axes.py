"""Axes in another order than (Rx, Ry, Qx, Qy): said by ``--axes``, and nothing stays behind."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import misr4d
from misr4d.cli import main
from misr4d.io.layout import AXES
from misr4d.io.reading import read_scan
from misr4d.io.scan import Scan
from misr4d.report.preparation import prepare
from misr4d.report.report import Report
from tests.cases.scans import mean_scan, scan_of, written

SCAN = np.arange(6 * 5 * 4 * 8, dtype="u2").reshape(6, 5, 4, 8)


def stored(order: tuple[str, ...], array: Any = SCAN) -> Any:
    return np.ascontiguousarray(array.transpose([AXES.index(name) for name in order]))


@pytest.mark.parametrize("suffix", [".npy", ".h5"])
@pytest.mark.parametrize("order", list(permutations(AXES)), ids=",".join)
def test_any_order_of_axes(tmp_path: Path, order: tuple[str, ...], suffix: str) -> None:
    path = written(tmp_path, stored(order), suffix, chunk=2)
    scan = read_scan(path, axes=",".join(order))
    assert type(scan.patterns) is not np.ndarray  # it stays on disk
    assert scan.patterns.shape == SCAN.shape
    np.testing.assert_array_equal(np.asarray(scan.patterns[1:4, 2:]), SCAN[1:4, 2:])
    again = Scan.from_array(stored(order), axes=order)
    np.testing.assert_array_equal(again.patterns, SCAN)


@pytest.mark.parametrize(
    ("array", "axes"),
    [
        (SCAN.reshape(30, 4, 8).transpose(1, 2, 0), "Qx Qy R"),
        (SCAN.reshape(30, 4, 8).transpose(0, 2, 1), "r,qy,qx"),
        (SCAN.transpose(1, 0, 2, 3).reshape(30, 4, 8), "Ry,Rx,Qx,Qy"),
        (SCAN.transpose(1, 0, 3, 2).reshape(30, 8, 4), "Ry,Rx,Qy,Qx"),
    ],
    ids=["last", "transposed", "columns first", "both"],
)
@pytest.mark.parametrize("suffix", [".npy", ".h5"])
def test_a_list_in_another_order(tmp_path: Path, array: Any, axes: str, suffix: str) -> None:
    path = written(tmp_path, array, suffix, chunk=2)
    scan = read_scan(path, axes=axes, scan_shape=(6, 5))
    np.testing.assert_array_equal(np.asarray(scan.patterns[:, :]), SCAN)
    assert read_scan(path, axes=axes, scan_shape=(6, 5), scan_crop=(1, 4, 0, 5)).patterns.shape[
        :2
    ] == (3, 5)


def test_frames_of_a_position_anywhere() -> None:
    frames = np.stack([SCAN, SCAN + 1], axis=0)
    scan = Scan.from_array(frames, axes="F,Rx,Ry,Qx,Qy", frames_per_position=2)
    np.testing.assert_array_equal(scan.patterns, 2 * SCAN.astype(int) + 1)


@pytest.mark.parametrize("axes", ["Rx,Ry", "Qx,Qy,Qx,Qy", "x,y,u,v", "", "R,Rx,Qx,Qy"])
def test_axes_of_no_scan_are_refused(axes: str) -> None:
    with pytest.raises(ValueError, match=r"--axes is .*; expected the order"):
        Scan.from_array(SCAN, axes=axes)


def test_axes_of_another_number_are_refused() -> None:
    with pytest.raises(ValueError, match=r"has 3 axes.*--axes names 4"):
        Scan.from_array(SCAN[0], axes="Qx,Qy,Rx,Ry")


def test_what_the_file_states_follows_its_axes(tmp_path: Path) -> None:
    from tests.io.writers import WRITERS

    counts = np.zeros((6, 5, 9, 8), "u1")
    name, _, write = WRITERS["hspy"]
    write(tmp_path / name, counts)
    plain = read_scan(tmp_path / name).known
    swapped = read_scan(tmp_path / name, axes="Ry,Rx,Qy,Qx").known
    for quantity in ("step", "detector_pixel"):
        assert swapped[quantity].value == plain[quantity].value[::-1]
    across = read_scan(tmp_path / name, axes="Qx,Qy,Rx,Ry")
    assert not {"step", "detector_pixel"} & set(across.known)
    assert any("not used, since --axes" in note for note in across.notes)
    given = read_scan(tmp_path / name, axes="Ry,Rx,Qx,Qy", step=(1.0, 2.0))
    assert given.known["step"].value == (1.0, 2.0)


def test_patterns_first_are_recognised() -> None:
    counts = np.random.default_rng(0).poisson(mean_scan() * 3000).astype("u2")
    with pytest.raises(ValueError, match="pass --axes Qx,Qy,Rx,Ry"):
        prepare(scan_of(counts.transpose(2, 3, 0, 1)))


def test_the_same_by_command_and_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, np.ones((9, 10, 40, 41), "u1"), ".npy")
    options = "--energy 300e3 --step 1 --semiangle 10 --dry-run --axes Qx,Qy,Rx,Ry"
    result = CliRunner().invoke(main, ["reconstruct", str(path), *options.split()])
    assert result.exit_code == 0, result.output
    assert "40 × 41 positions, 9 × 10 pixels" in result.output
    seen: list[Scan] = []

    def stop(scan: Scan, **_: Any) -> Report:
        seen.append(scan)
        raise ValueError("seen")

    monkeypatch.setattr("misr4d.report.front.reconstruct_scan", stop)
    for source in (path, np.load(path)):
        with pytest.raises(ValueError, match="seen"):
            misr4d.reconstruct(source, energy=300e3, step=1.0, semiangle=10.0, axes="Qx,Qy,Rx,Ry")
    assert [s.patterns.shape for s in seen] == [(40, 41, 9, 10)] * 2
