"""Frames that are not one a position: skipped, surplus, several each, flyback, and a crop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from misr4d.cli import main
from misr4d.io.reading import read_scan
from misr4d.io.scan import Scan
from tests.cases.scans import written

SCAN = np.arange(6 * 5 * 4 * 8, dtype="u2").reshape(6, 5, 4, 8)
LIST = SCAN.reshape(30, 4, 8)
OTHER = np.full((2, 4, 8), 60000, "u2")


@pytest.mark.parametrize("suffix", [".npy", ".h5"])
@pytest.mark.parametrize(("before", "after"), [(2, 0), (0, 2), (2, 2), (1, 0)])
def test_surplus_frames_are_left_out_and_named(
    tmp_path: Path, suffix: str, before: int, after: int
) -> None:
    frames = np.concatenate([OTHER[:before], LIST, OTHER[:after]])
    path = written(tmp_path, frames, suffix)
    scan = read_scan(path, scan_shape=(6, 5), skip_frames=before)
    np.testing.assert_array_equal(np.asarray(scan.patterns[:, :]), SCAN)
    (note,) = scan.notes
    assert f"of {30 + before + after} frames" in note
    assert (f"the first {before}" in note) == bool(before)
    assert (f"the last {after}" in note) == bool(after)


def test_surplus_frames_without_a_word_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, np.concatenate([LIST, OTHER]), ".npy")
    with pytest.raises(ValueError, match=r"2 frames are left over; pass --skip-frames 2 if"):
        read_scan(path, scan_shape=(6, 5))
    with pytest.raises(ValueError, match=r"after 4 skipped; 2 frames are missing"):
        read_scan(path, scan_shape=(6, 5), skip_frames=4)


def test_a_frame_a_line_too_many_is_recognised(tmp_path: Path) -> None:
    flyback = np.concatenate([SCAN, SCAN[:, -1:] * 0 + 7], axis=1).reshape(36, 4, 8)
    path = written(tmp_path, flyback, ".npy")
    with pytest.raises(ValueError, match=r"--scan-shape 6 6 --scan-crop 0 6 0 5"):
        read_scan(path, scan_shape=(6, 5))
    scan = read_scan(path, scan_shape=(6, 6), scan_crop=(0, 6, 0, 5))
    np.testing.assert_array_equal(np.asarray(scan.patterns[:, :]), SCAN)


@pytest.mark.parametrize("suffix", [".npy", ".h5"])
@pytest.mark.parametrize("each", [2, 3])
def test_frames_of_a_position_are_summed_and_do_not_overflow(
    tmp_path: Path, suffix: str, each: int
) -> None:
    frames = np.repeat(np.concatenate([LIST[:29], OTHER[:1]]), each, axis=0)
    path = written(tmp_path, frames, suffix)
    scan = read_scan(path, scan_shape=(6, 5), frames_per_position=each)
    expected = each * np.concatenate([LIST[:29], OTHER[:1]]).astype(int).reshape(6, 5, 4, 8)
    np.testing.assert_array_equal(np.asarray(scan.patterns[:, :]), expected)
    assert scan.patterns[5, 4, 0, 0] == each * 60000
    with pytest.raises(ValueError, match=f"{30 * (each - 1)} frames"):
        read_scan(path, scan_shape=(6, 5))


def test_five_axes_are_summed_only_if_told() -> None:
    frames = np.stack([SCAN, SCAN + 1], axis=2)
    with pytest.raises(ValueError, match=r"five axes.*--frames-per-position 2"):
        Scan.from_array(frames)
    scan = Scan.from_array(frames, frames_per_position=2)
    np.testing.assert_array_equal(scan.patterns, 2 * SCAN.astype(int) + 1)


@pytest.mark.parametrize("suffix", [".npy", ".h5"])
def test_a_crop_is_the_part_named(tmp_path: Path, suffix: str) -> None:
    path = written(tmp_path, SCAN, suffix)
    scan = read_scan(path, scan_crop=(1, 5, 2, 4))
    np.testing.assert_array_equal(np.asarray(scan.patterns[:, :]), SCAN[1:5, 2:4])


@pytest.mark.parametrize("crop", [(0, 7, 0, 5), (0, 6, 3, 3), (-1, 6, 0, 5)])
def test_a_crop_outside_of_the_scan_is_refused(crop: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="has 6 × 5 positions, and --scan-crop is"):
        Scan.from_array(SCAN, scan_crop=crop)


@pytest.mark.parametrize("option", [{"skip_frames": 0}, {"frames_per_position": 5}])
def test_a_scan_of_four_axes_is_not_taken_for_a_list(option: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="for a list of patterns only"):
        Scan.from_array(SCAN, **option)


def test_the_command_line_passes_the_layout(tmp_path: Path) -> None:
    frames = np.ones((2 + 2 * 40 * 41, 16, 16), "u1")
    path = written(tmp_path, frames, ".npy")
    options = "--scan-shape 40 41 --skip-frames 2 --frames-per-position 2 --scan-crop 0 40 0 40"
    known = "--energy 300e3 --step 1 --semiangle 10 --dry-run"
    result = CliRunner().invoke(main, ["reconstruct", str(path), *options.split(), *known.split()])
    assert result.exit_code == 0, result.output
    assert "40 × 40 positions, 16 × 16 pixels, uint16" in result.output
