"""Masks of bad pixels as pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from rsciio.tiff import file_writer

from misr4d.cli import main
from misr4d.io.mask import read_mask

MASK = np.zeros((6, 8), "u1")
MASK[1, 5] = 255
MASK[4] = 1


def save(path: Path, picture: Any) -> Path:
    if path.suffix == ".npy":
        np.save(path, picture)
    else:
        axes = [
            {"name": n, "size": s, "scale": 1.0, "offset": 0.0, "units": "", "navigate": False}
            for n, s in zip("yx", picture.shape, strict=True)
        ]
        file_writer(str(path), {"data": picture, "axes": axes, "metadata": {"General": {}}})
    return path


@pytest.mark.parametrize("name", ["mask.npy", "mask.tif"])
def test_a_picture_marks_what_is_not_zero(tmp_path: Path, name: str) -> None:
    np.testing.assert_array_equal(read_mask(save(tmp_path / name, MASK), (6, 8)), MASK != 0)


@pytest.mark.parametrize(
    ("picture", "reason"),
    [
        (MASK.T, r"has shape \(8, 6\).*the detector's shape, \(6, 8\)"),
        (MASK == 0, "turn it round"),
        (MASK.astype("U1"), "expected numbers"),
    ],
)
def test_another_picture_is_refused(tmp_path: Path, picture: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read_mask(save(tmp_path / "mask.npy", picture), (6, 8))


def test_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mask.npy").write_text("0 0 1")
    with pytest.raises(ValueError, match="cannot be read as a mask"):
        read_mask(tmp_path / "mask.npy", (6, 8))
    with pytest.raises(ValueError, match=r"expected a picture \.npy"):
        read_mask(tmp_path / "mask.txt", (6, 8))


def test_the_command_reads_the_mask(tmp_path: Path) -> None:
    scan = save(tmp_path / "scan.npy", np.ones((32, 32, 6, 8), "u1"))
    mask = save(tmp_path / "mask.npy", MASK.T)
    known = ["--energy", "300e3", "--step", "1", "--semiangle", "10"]
    result = CliRunner().invoke(main, ["reconstruct", str(scan), "--mask", str(mask), *known])
    assert result.exit_code == 2
    assert "the detector's shape, (6, 8)" in result.output
