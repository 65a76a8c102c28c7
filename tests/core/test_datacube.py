from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path

import dask.array
import h5py
import numpy as np
import pytest
import torch
import zarr

from misr4d import ATOMIC
from misr4d.calibrate.descan import recentre
from misr4d.core.datacube import Datacube, centre_of_mass, patterns_from_views

SMALL = replace(ATOMIC, scan_shape=(5, 6))


def test_views_to_patterns_and_back() -> None:
    views = torch.rand(177, 5, 6, generator=torch.Generator().manual_seed(0))
    cube, mask = patterns_from_views(views, SMALL)
    assert cube.patterns.shape == (5, 6, 15, 15)
    assert mask.sum() == 177
    torch.testing.assert_close(cube.views(SMALL), views)
    assert (cube.patterns[:, :, ~mask] == 0).all()


def test_interchange_keeps_scan_and_detector_axes_apart() -> None:
    patterns = np.zeros((5, 6, 21, 23), dtype=np.float32)
    patterns[3, 1, 10 + 4, 11 - 2] = 1.0
    views = Datacube(patterns, SMALL.step, (SMALL.detector_pixel,) * 2).views(SMALL)
    found = views.nonzero()
    assert found.shape == (1, 3)
    index = SMALL.view_angles[found[0, 0]] / SMALL.detector_pixel
    torch.testing.assert_close(index, torch.tensor([4.0, -2.0], dtype=torch.float64))
    assert found[0, 1:].tolist() == [3, 1]


@pytest.mark.parametrize("side", [20, 21])
def test_binning_sums_around_the_axis(side: int) -> None:
    patterns = np.zeros((1, 1, side, side), dtype=np.float32)
    middle = side // 2
    patterns[0, 0, middle - 1 : middle + 2, middle - 1 : middle + 2] = 1
    binned = Datacube(patterns, (1.0, 1.0), (0.5, 0.5)).binned(3)
    centre = binned.patterns.shape[2] // 2
    assert binned.patterns[0, 0, centre, centre] == 9
    assert binned.patterns.sum() == 9
    assert binned.detector_pixel == (1.5, 1.5)


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="expected four axes"):
        Datacube(np.zeros((3, 3, 3), np.float32), (1.0, 1.0), (1.0, 1.0))
    cube = Datacube(np.zeros((5, 6, 9, 9), np.float32), SMALL.step, (SMALL.detector_pixel,) * 2)
    with pytest.raises(ValueError, match="binning factor is 2"):
        cube.binned(2)
    with pytest.raises(ValueError, match="end inside the 10 mrad disc"):
        cube.views(SMALL)
    with pytest.raises(ValueError, match="the datacube has"):
        cube.views(ATOMIC)
    with pytest.raises(ValueError, match="odd whole multiple"):
        cube.views(replace(SMALL, detector_pixel=2 * SMALL.detector_pixel))


def test_counts_are_relative_to_the_electrons_of_a_position() -> None:
    patterns = np.zeros((5, 6, 21, 21), dtype=np.uint16)
    patterns[:, :, 3:18, 3:18] = 4
    electrons = 4 * SMALL.pixels_per_disc
    views = Datacube(patterns, SMALL.step, (SMALL.detector_pixel,) * 2, electrons).views(SMALL)
    torch.testing.assert_close(views, torch.ones(177, 5, 6))
    with pytest.raises(ValueError, match="electrons is 0"):
        Datacube(patterns, SMALL.step, (1.0, 1.0), 0)


def test_domains_interchange_and_come_back_in_the_same_memory() -> None:
    rng = np.random.default_rng(0)
    cube = Datacube(rng.random((3, 4, 5, 6), dtype=np.float32), (1.0, 2.0), (0.5, 0.25), 7.0)
    swapped = cube.interchanged()
    assert swapped.shape == (5, 6, 3, 4)
    assert np.shares_memory(swapped, cube.patterns)
    assert swapped[4, 1, 2, 3] == cube.patterns[2, 3, 4, 1]
    back = Datacube.from_interchanged(swapped, cube.step, cube.detector_pixel, cube.electrons)
    assert np.shares_memory(back.patterns, cube.patterns)
    np.testing.assert_array_equal(back.patterns, cube.patterns)
    assert (back.step, back.detector_pixel, back.electrons) == ((1.0, 2.0), (0.5, 0.25), 7.0)
    lazy = dask.array.from_array(cube.patterns, chunks=(2, 2, 5, 6))
    np.testing.assert_array_equal(replace(cube, patterns=lazy).interchanged(), swapped)


@pytest.mark.parametrize("size", [1, 5_000, 40_000, 10**9])
@pytest.mark.parametrize("chunks", [None, (2, 7), (4, 3), (40, 40)])
def test_blocks_cover_every_position_once_in_whole_chunks(
    chunks: tuple[int, int] | None, size: int
) -> None:
    patterns = np.zeros((11, 17, 6, 5), dtype=np.uint16)
    stored = patterns if chunks is None else dask.array.from_array(patterns, (*chunks, 6, 5))
    seen = np.zeros((11, 17), dtype=int)
    for rx, ry in Datacube(stored, (1.0, 1.0), (1.0, 1.0)).blocks(size):
        seen[rx, ry] += 1
        block = seen[rx, ry].size * 6 * 5 * 2
        assert block <= max(size, 60 if chunks is None else 60 * chunks[0] * chunks[1])
        if chunks is not None:
            assert rx.start % chunks[0] == 0
            assert ry.start % chunks[1] == 0
    assert (seen == 1).all()


@pytest.mark.parametrize("kind", ["zarr", "hdf5", "dask"])
@pytest.mark.parametrize("factor", [1, 3])
def test_patterns_on_disk_give_what_those_in_memory_give(
    kind: str, factor: int, tmp_path: Path
) -> None:
    few = replace(ATOMIC, scan_shape=(9, 10), semiangle=10.0, detector_pixel=2.0)
    pixel = (2.0 / factor,) * 2
    patterns = np.random.default_rng(0).poisson(3.0, (9, 10, 37, 41)).astype(np.uint8)
    chunks = (4, 3, 37, 41)
    if kind == "zarr":
        stored = zarr.create_array(tmp_path / "cube.zarr", data=patterns, chunks=chunks)
    elif kind == "hdf5":
        file = h5py.File(tmp_path / "cube.h5", "w")
        stored = file.create_dataset("patterns", data=patterns, chunks=chunks, compression="gzip")
    else:
        stored = dask.array.from_array(patterns, chunks)
    kept, cube = (Datacube(p, few.step, pixel, 50.0) for p in (patterns, stored))
    assert torch.equal(cube.views(few), kept.views(few))
    np.testing.assert_array_equal(cube.mean_pattern(), kept.mean_pattern())
    np.testing.assert_array_equal(cube.binned(3).patterns, kept.binned(3).patterns)
    assert torch.equal(centre_of_mass(cube, few), centre_of_mass(kept, few))
    moved, expected = (recentre(c, (17.0, 22.0)) for c in (cube, kept))
    assert not isinstance(moved.patterns, np.ndarray)
    np.testing.assert_array_equal(np.asarray(moved.patterns), expected.patterns)
    assert torch.equal(moved.views(few), expected.views(few))
    if kind != "dask":
        with pytest.raises(ValueError, match="wrap an array on disk"):
            cube.interchanged()


def test_a_large_scan_on_disk_is_cut_into_views_in_little_memory(tmp_path: Path) -> None:
    """256 × 256 positions: beside the views, less than a quarter of the cube is ever held."""
    few = replace(ATOMIC, scan_shape=(256, 256), detector_pixel=1.25)
    pixel, side, high = few.detector_pixel, 48, 8
    row = np.random.default_rng(0).poisson(0.3, (high, 256, side, side)).astype(np.uint16)
    stored = zarr.create_array(
        tmp_path / "cube.zarr",
        shape=(256, 256, side, side),
        chunks=(high, 64, side, side),
        dtype=row.dtype,
        compressors=zarr.codecs.BloscCodec(cname="lz4", clevel=1),
    )
    expected = torch.empty(few.number_of_views, 256, 256)
    one = replace(few, scan_shape=(high, 256))
    for i in range(0, 256, high):
        rows = np.roll(row, i, axis=1)
        stored[i : i + high] = rows
        expected[:, i : i + high] = Datacube(rows, few.step, (pixel, pixel), 53.0).views(one)
    cube = Datacube(stored, few.step, (pixel, pixel), 53.0)
    tracemalloc.start()
    views = cube.views(few)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    whole = 256 * 256 * side * side * 2
    assert views.dtype == torch.float32
    assert torch.equal(views, expected)
    assert peak - views.numel() * 4 < 0.25 * whole


@pytest.mark.parametrize("kind", ["numpy", "zarr", "dask"])
def test_the_middle_is_cut_out_by_whole_chunks_and_stays_on_disk(kind: str, tmp_path: Path) -> None:
    patterns = np.random.default_rng(0).poisson(3.0, (24, 20, 5, 6)).astype(np.uint8)
    stored = {
        "numpy": lambda: patterns,
        "zarr": lambda: zarr.create_array(tmp_path / "c.zarr", data=patterns, chunks=(4, 3, 5, 6)),
        "dask": lambda: dask.array.from_array(patterns, (4, 3, 5, 6)),
    }[kind]()
    cube = Datacube(stored, (1.0, 1.0), (1.0, 1.0))
    part = cube.middle(8)
    rows, columns = (slice(8, 16), slice(6, 14) if kind == "numpy" else slice(3, 12))
    assert part.patterns.shape == patterns[rows, columns].shape
    found = np.zeros(part.patterns.shape, np.uint8)
    for where, block in part.read((slice(1, 4), slice(0, 6))):
        found[where][..., 1:4, :] = block
    np.testing.assert_array_equal(found[..., 1:4, :], patterns[rows, columns, 1:4])
    assert cube.middle(24) is cube


def test_centre_of_mass_of_a_tilted_pattern_is_the_tilt() -> None:
    patterns = np.zeros((2, 3, 11, 9), dtype=np.float32)
    patterns[:, :, 5 + 2, 4 - 1] = 3.0
    com = centre_of_mass(Datacube(patterns, (1.0, 1.0), (0.5, 0.25)), ATOMIC) * ATOMIC.wavelength
    torch.testing.assert_close(com[0], torch.full((2, 3), 1.0e-3))
    torch.testing.assert_close(com[1], torch.full((2, 3), -0.25e-3))
