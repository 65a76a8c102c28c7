"""Zarr, in folders and zip archives: any array, measurements of abTEM, data sets of quantem."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import zarr
from zarr.storage import ZipStore

from misr4d.io.scan import UnfitError
from misr4d.io.units import Calibration, Reading, choose_array

__all__ = ["is_zarr", "read_zarr"]

_MARKS = ("zarr.json", ".zgroup", ".zarray")


def is_zarr(path: Path) -> bool:
    """Whether a path is a folder or a zip archive of Zarr."""
    if path.is_dir():
        return path.suffix != ".zspy" and any((path / m).is_file() for m in _MARKS)
    if path.suffix.lower() != ".zip" or not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return bool(set(_MARKS) & set(archive.namelist()))


def read_zarr(path: Path, dataset: str | None) -> Reading:
    """Open an array of a folder or an archive of Zarr, with what its writer says of it."""
    opened = zarr.open(path if path.is_dir() else ZipStore(path, mode="r"), mode="r")
    if isinstance(opened, zarr.Array):
        _check_chunks_written(path, "")
        return Reading(opened)
    arrays = {k: v for k, v in opened.arrays() if v.ndim in (3, 4)}
    patterns = choose_array(arrays, dataset)
    _check_chunks_written(path, patterns.path)
    calibration = Calibration()
    with calibration.noting():
        if "_autoserialize" in opened.attrs:
            _read_quantem(opened, patterns.ndim, calibration)
        else:
            _read_abtem(_of_abtem(opened, patterns), calibration)
    return Reading(patterns, calibration.values, calibration.pixel, tuple(calibration.notes))


def _check_chunks_written(path: Path, array: str) -> None:
    unchunked = (*_MARKS, ".zattrs", ".zmetadata")
    if path.is_dir():
        names = [p.name for p in (path / array).iterdir()]
    else:
        with zipfile.ZipFile(path) as archive:
            inside = [n for n in archive.namelist() if n.startswith(f"{array}/" if array else "")]
            names = [n.rpartition("/")[2] for n in inside if not n.endswith("/")]
    if all(name in unchunked for name in names):
        raise UnfitError(
            "no chunk of its array was ever written; was the recording broken off, or the folder "
            "copied in part?"
        )


def _of_abtem(opened: zarr.Group, patterns: zarr.Array[Any]) -> Mapping[str, Any]:
    number = Path(patterns.path).name.removeprefix("array")
    stated: Any = opened.attrs.get(f"kwargs{number}")  # abTEM 1.0.9
    if stated is None:  # abTEM 1.0.11
        attributes = opened.attrs.get(f"metadata{number}", {})
        stated = attributes.get("kwargs", {}) if isinstance(attributes, dict) else {}
    return stated if isinstance(stated, dict) else {}


def _read_abtem(said: Mapping[str, Any], calibration: Calibration) -> None:
    """Read the metadata that abTEM writes with a measurement."""
    axes = said.get("ensemble_axes_metadata") or []
    if len(axes) == 2:
        calibration.scan(
            (axes[0].get("sampling", 0), axes[1].get("sampling", 0)),
            (axes[0].get("units", ""), axes[1].get("units", "")),
        )
    sampling = said.get("sampling")
    if isinstance(sampling, dict):  # a tuple, as abTEM 1.0.11 writes one
        sampling = sampling["_value"]
    if sampling is not None:  # abTEM states it as a frequency
        calibration.detector((sampling[0], sampling[1]), ("1/Å", "1/Å"))
    metadata = said.get("metadata") or {}
    for name, key in (("energy", "energy"), ("semiangle", "semiangle_cutoff")):
        if isinstance(metadata.get(key), int | float):
            calibration.values[name] = metadata[key]


def _read_quantem(opened: zarr.Group, axes: int, calibration: Calibration) -> None:
    """Read sampling and units of a data set of quantem: an array, and a group of attributes."""
    members = dict(opened.members())
    sampling, group = members.get("_sampling"), members.get("_units")
    if not isinstance(sampling, zarr.Array) or not isinstance(group, zarr.Group):
        return
    sizes = [float(v) for v in sampling[:]]  # type: ignore[union-attr]
    units = [str(group.attrs.get(str(n), "")) for n in range(len(sizes))]
    if len(sizes) == axes == 4:
        calibration.scan((sizes[0], sizes[1]), (units[0], units[1]))
    if len(sizes) == axes:
        calibration.detector((sizes[-2], sizes[-1]), (units[-2], units[-1]))
