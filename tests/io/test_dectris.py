"""Masters of Dectris cameras, written here as the camera's file writer lays them out."""

from __future__ import annotations

from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest
from numpy.typing import NDArray

from misr4d.io.reading import read_scan
from misr4d.io.survey import survey

FRAMES = np.random.default_rng(0).poisson(3, (12, 6, 8)).astype("u2")
BAD = (2, 5)


def write_master(folder: Path, mask: NDArray[np.uint32] | None = None, parts: int = 2) -> Path:
    """Twelve frames in parts of equal length; a bad pixel reads the largest number."""
    frames = FRAMES.copy()
    frames[:, BAD[0], BAD[1]] = 65535
    master = folder / "scan_master.h5"
    with h5py.File(master, "w") as file:
        for number, part in enumerate(np.split(frames, parts), 1):
            name = f"scan_data_{number:06}.h5"
            with h5py.File(folder / name, "w") as data:
                data.create_dataset(
                    "entry/data/data",
                    data=part,
                    chunks=(1, 6, 8),
                    **hdf5plugin.Bitshuffle(cname="lz4"),
                )
            file[f"entry/data/data_{number:06}"] = h5py.ExternalLink(name, "entry/data/data")
        detector = file.create_group("entry/instrument/detector")
        detector["incident_energy"] = 2e5
        detector["detector_distance"] = 0.5
        if mask is None:
            mask = np.zeros((6, 8), "u4")
            mask[BAD] = 1
        detector["detectorSpecific/pixel_mask"] = mask
    return master


def test_all_parts_of_a_master_are_read_in_order_and_stay_on_disk(tmp_path: Path) -> None:
    scan = read_scan(write_master(tmp_path), scan_shape=(3, 4))
    assert scan.reader == "h5py, as a Dectris master"
    assert hasattr(scan.patterns, "dask")
    expected = FRAMES.copy()
    expected[:, BAD[0], BAD[1]] = 0
    np.testing.assert_array_equal(np.asarray(scan.patterns), expected.reshape(3, 4, 6, 8))
    assert scan.patterns.dtype == "u2"
    assert (scan.known["energy"].value, scan.known["energy"].origin) == (2e5, "file")
    assert survey(scan).largest == expected.max()  # and not the number of a masked pixel
    notes = " ".join(scan.notes)
    assert "1 pixels that the file's mask rejects read 0" in notes
    assert "detector_distance are not used" in notes


def test_one_part_of_a_master_is_named(tmp_path: Path) -> None:
    scan = read_scan(write_master(tmp_path), dataset="data_000002", scan_shape=(2, 3))
    np.testing.assert_array_equal(np.asarray(scan.patterns)[..., 0, 0].ravel(), FRAMES[6:, 0, 0])
    with pytest.raises(ValueError, match="has no part 'data_000009'; it has data_000001"):
        read_scan(tmp_path / "scan_master.h5", dataset="data_000009", scan_shape=(2, 3))


def test_what_is_missing_of_a_master_is_named(tmp_path: Path) -> None:
    master = write_master(tmp_path)
    with pytest.raises(ValueError, match="lists 12 patterns of 6 × 8 pixels"):
        read_scan(master)
    (tmp_path / "scan_data_000002.h5").unlink()
    with pytest.raises(
        ValueError, match=r"data_000002 to scan_data_000002\.h5, which is not besid"
    ):
        read_scan(master, scan_shape=(3, 4))


def test_a_part_elsewhere_a_mask_of_another_shape_and_unlike_parts_are_refused(
    tmp_path: Path,
) -> None:
    master = write_master(tmp_path, mask=np.zeros((3, 3), "u4"))
    with pytest.raises(ValueError, match=r"pixel mask of shape \(3, 3\), and patterns of \(6, 8\)"):
        read_scan(master, scan_shape=(3, 4))
    master = write_master(tmp_path)
    with h5py.File(tmp_path / "scan_data_000002.h5", "w") as data:
        data["entry/data/data"] = FRAMES[6:].astype("u4")
    with pytest.raises(
        ValueError, match="parts that do not fit together: data_000002 holds uint32"
    ):
        read_scan(master, scan_shape=(3, 4))
    inner = tmp_path / "inner"
    inner.mkdir()
    with h5py.File(inner / "other_master.h5", "w") as file:
        file["entry/data/data_000001"] = h5py.ExternalLink(
            "../scan_data_000001.h5", "entry/data/data"
        )
    with pytest.raises(ValueError, match="expected a file beside it"):
        read_scan(inner / "other_master.h5", scan_shape=(2, 3))
