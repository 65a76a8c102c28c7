"""Read a 4D-STEM scan lazily from a file, with the quantities that the file states.

Other packages read the formats. This module adds the small table :data:`READERS` of the reader for
each kind of file, one set of units, and errors that say what to do. It never loads a pickle.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import stat
import struct
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401  # makes the cameras' compression known to h5py
import numpy as np
from numpy.typing import ArrayLike

from misr4d.core import optics
from misr4d.io.dectris import hdf5_holds, is_master, read_master
from misr4d.io.described import read_described
from misr4d.io.events import is_csr, is_stempy, read_csr, read_stempy
from misr4d.io.layout import Layout, read_axes
from misr4d.io.positions import with_positions
from misr4d.io.rosetta import ROSETTA, read_rosetta
from misr4d.io.scan import (
    QUANTITIES,
    Quantity,
    Scan,
    UnfitError,
    check_given,
    check_memory,
    checked_value,
    given_quantities,
    one_line,
)
from misr4d.io.stores import is_zarr, read_zarr
from misr4d.io.units import ANGLES, FREQUENCIES, Calibration, Reading, choose_array

__all__ = [
    "READERS",
    "Reader",
    "read_scan",
]


@dataclass(frozen=True)
class Reader:
    """Reader of a kind of file.

    Parameters
    ----------
    name : str
        Name in reports.
    what : str
        Description of the files that it reads.
    takes : callable
        Takes an existing path and returns whether it is such a file.
    read : callable
        Takes a path and the name of an array in it, or None, and returns the result.
    """

    name: str
    what: str
    takes: Callable[[Path], bool]
    read: Callable[[Path, str | None], Reading]


def read_scan(
    path: str | Path,
    *,
    dataset: str | None = None,
    scan_shape: tuple[int, int] | None = None,
    skip_frames: int | None = None,
    frames_per_position: int = 1,
    scan_crop: tuple[int, int, int, int] | None = None,
    axes: str | Sequence[str] | None = None,
    positions: str | Path | ArrayLike | None = None,
    **given: Any,
) -> Scan:
    """Open a scan; its patterns stay on disk until they are used.

    Parameters
    ----------
    path : str or Path
    dataset : str, optional
        Name of the array, if the file holds several.
    scan_shape : (int, int), optional
        Positions along (Rx, Ry) of a file that lists its patterns one after the other.
    skip_frames, frames_per_position, scan_crop
        Frames before the first position, consecutive frames of a position to sum, and the part
        of the scan to use: as for :class:`misr4d.io.layout.Layout`.
    axes : str or sequence of str, optional
        Order of the array's axes, such as ``Qx,Qy,Rx,Ry``, if it is not (Rx, Ry, Qx, Qy): as for
        :func:`misr4d.io.layout.read_axes`. Values that are given count along the axes by name.
    positions : str, Path or array, optional
        Measured scan positions [Å] in the order of the scan, before a crop, or a file of them: as
        for :mod:`misr4d.io.positions`. A regular grid gives step and drift; others are refused.
    **given
        Values that replace those of the file, by the names of :data:`misr4d.io.scan.QUANTITIES`
        and in its units. ``step``, ``detector_pixel`` and ``centre`` are one number or two,
        ``drift`` and ``astigmatism`` (C₁₂·cos 2φ₁₂ and C₁₂·sin 2φ₁₂) two.

    Returns
    -------
    Scan

    Raises
    ------
    ValueError
        If there is no such file, it cannot be read as a scan, or a value is out of range.
    TypeError
        For a quantity that does not exist.
    """
    path = Path(path)
    check_given(given, scan_shape)
    order = None if axes is None else read_axes(axes)
    layout = Layout(scan_shape, skip_frames, frames_per_position, scan_crop, order)
    _check_there(path)
    reader = next((r for r in READERS if r.takes(path)), None)
    if reader is None:
        description = (
            "a folder" if path.is_dir() else f"a file of kind {path.suffix or 'unknown'!r}"
        )
        patterns_beside = None if path.is_dir() else _beside(path)
        if patterns_beside is not None:
            raise ValueError(
                f"{path} is {description}, which no reader takes on its own; give "
                f"{patterns_beside.name}, which is beside it"
            )
        kinds = "; ".join(r.what for r in READERS)
        raise ValueError(f"{path} is {description}, which no reader takes; known: {kinds}")
    try:
        contents = reader.read(path, dataset)
    except UnfitError as error:
        raise ValueError(f"{path}: {error}") from None
    except Exception as error:  # external readers may raise any error
        raise ValueError(
            f"{path} cannot be read by {reader.name}: {one_line(error)}; {_guess(path)}"
        ) from error
    try:
        patterns, left_out = layout.arrange(contents.patterns)
    except UnfitError as error:
        raise ValueError(f"{path} {error}") from None
    turn: tuple[str, ...] = ()
    if positions is not None:
        given, turn = with_positions(positions, contents.patterns, layout, given)
    known = given_quantities(given)
    if order is not None:
        contents = _reordered(contents, layout)
    stated = {k: v for k, v in contents.values.items() if k not in known}
    notes = [*contents.notes, *left_out, *turn]
    for name, value in stated.items():
        known[name] = Quantity(checked_value(name, value, path.name), QUANTITIES[name][0], "file")
    if contents.pixel is not None and "detector_pixel" not in known:
        size, unit = contents.pixel
        if unit in ANGLES:
            scale: float | None = ANGLES[unit]
        elif "energy" in known:
            scale = FREQUENCIES[unit] * optics.wavelength(known["energy"].value) * 1e3
        else:
            scale = None
            notes.append(f"the detector pixel is {size[0]:g} {unit}: without energy, no angle")
        if scale is not None:
            pixel = checked_value("detector_pixel", (size[0] * scale, size[1] * scale), path.name)
            known["detector_pixel"] = Quantity(pixel, "mrad", "file")
    return Scan(path, reader.name, patterns, known, tuple(notes), contents.provenance)


# What a file states along its axes, or of how they lie to each other.
_OF_THE_SCAN = ("step",)
_OF_THE_DETECTOR = ("centre", "detector_pixel")
_OF_BOTH = ("rotation", "transposed", "drift", "astigmatism")


def _reordered(contents: Reading, layout: Layout) -> Reading:
    """Bring what a file states along its axes into another order, or drop it with a note."""
    across, scan, detector = layout.exchanges
    if not (across or scan or detector):
        return contents
    dropped = _OF_BOTH + (_OF_THE_SCAN + _OF_THE_DETECTOR if across else ())
    values = {name: value for name, value in contents.values.items() if name not in dropped}
    for name in (*(_OF_THE_SCAN * scan), *(_OF_THE_DETECTOR * detector)):
        if isinstance(values.get(name), tuple | list):
            values[name] = tuple(values[name])[::-1]
    pixel = None if across else contents.pixel
    if pixel is not None and detector:
        pixel = (pixel[0][::-1], pixel[1])
    lost = [name for name in dropped if name in contents.values]
    lost += ["detector_pixel"] * (across and contents.pixel is not None)
    notes = contents.notes
    if lost:
        notes += (
            f"the file's {', '.join(n.replace('_', ' ') for n in lost)}: not used, since --axes "
            "says that its axes are others",
        )
    return replace(contents, values=values, pixel=pixel, notes=notes)


def _beside(path: Path) -> Path | None:
    """Find the file to give in the place of one that belongs to it, by its name or its text."""
    stem = path.stem.removesuffix("_info")
    for other in sorted(path.parent.iterdir()):
        if path.suffix.lower() == ".raw":  # of EMPAD, whose XML names it
            belongs = other.suffix.lower() == ".xml" and path.name.encode() in other.read_bytes()
        else:
            belongs = other != path and other.stem.removesuffix("_movie") == stem
        if belongs and any(r.takes(other) for r in READERS):
            return other
    return None


def _check_there(path: Path) -> None:
    """Raise unless the path is a file or folder that may be read."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        if path.is_symlink():
            raise ValueError(
                f"{path} is a link to {os.readlink(path)}, which does not exist"
            ) from None
        raise ValueError(f"there is no file {path}; check the name") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"{path} cannot be reached: {reason}") from None
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise ValueError(f"{path} is neither a file nor a folder; copy the scan into a file first")
    by_effective_ids = os.access in os.supports_effective_ids
    if not os.access(path, os.R_OK, effective_ids=by_effective_ids):
        raise ValueError(f"{path} may not be read: Permission denied; ask its owner, or copy it")


_HDF5 = (".h5", ".hdf5", ".hdf", ".nhdf", ".emd", ".de5", ".hspy", ".nxs")

_BEGINNINGS: Mapping[bytes, tuple[str, tuple[str, ...]]] = {
    b"\x93NUMPY": ("a NumPy array (.npy)", (".npy",)),
    b"PK\x03\x04": ("a zip archive (.npz)", (".npz",)),
    b"\x89HDF": ("HDF5 (.h5)", _HDF5),
    b"II*\0": ("a TIFF (.tif)", (".tif", ".tiff")),
    b"MM\0*": ("a TIFF (.tif)", (".tif", ".tiff")),
    b"\x1f\x8b": ("a gzip archive (.gz), which is to be unpacked", ()),
}


def _guess(path: Path) -> str:
    """Suggest, from its first bytes, what is wrong with a file that its reader refused."""
    with contextlib.suppress(OSError):
        with path.open("rb") as file:
            first_bytes = file.read(8)
        for beginning, (kind, suffixes) in _BEGINNINGS.items():
            if first_bytes.startswith(beginning) and path.suffix.lower() not in suffixes:
                return f"is it {kind}?"
    return "is it complete?"


# --- NumPy -------------------------------------------------------------------------------------


_PICKLED = "pickled objects, which are never loaded"


def _read_numpy(path: Path, dataset: str | None) -> Reading:
    if zipfile.is_zipfile(path):
        return _read_archive(path, dataset)
    try:
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        if "pickle" in str(error) or "Python objects" in str(error):
            raise UnfitError(
                f"holds {_PICKLED}, or no array at all ({_guess(path)}); save numbers with "
                "numpy.save"
            ) from None
        raise
    return _with_export(path, loaded)  # on disk


def _with_export(path: Path, patterns: Any) -> Reading:
    """Add what Nion Swift writes beside an array that it exports: a ``.json`` of the same name."""
    beside = path.with_suffix(".json")
    try:
        properties = json.loads(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return Reading(patterns)
    if not isinstance(properties, Mapping) or "spatial_calibrations" not in properties:
        return Reading(patterns)  # of another program
    calibration = Calibration()
    with calibration.noting():
        _read_nion(properties, tuple(patterns.shape), calibration)
    return Reading(patterns, calibration.values, calibration.pixel, tuple(calibration.notes))


@dataclass(frozen=True)
class _Member:
    """Header of an array in an archive, read before any memory is allocated."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def _read_archive(path: Path, dataset: str | None) -> Reading:
    with zipfile.ZipFile(path) as archive:
        members = {
            n.removesuffix(".npy"): _member(archive, n)
            for n in archive.namelist()
            if n.endswith(".npy")
        }
    for name, member in members.items():
        if member.dtype.hasobject:
            raise UnfitError(f"its array {name!r} holds {_PICKLED}; save numbers")
    chosen = choose_array({k: m for k, m in members.items() if len(m.shape) in (3, 4)}, dataset)
    key = next(k for k, m in members.items() if m is chosen)
    check_memory(
        math.prod(chosen.shape) * chosen.dtype.itemsize,
        f"its array {key!r} would be read as a whole,",
        "save it by numpy.save as .npy, which stays on disk",
    )
    # An archive may also contain quantities, under the names used here.
    quantities = [k for k in QUANTITIES if k in members and math.prod(members[k].shape) <= 2]
    with np.load(path, allow_pickle=False) as loaded:
        return Reading(loaded[key], {k: loaded[k].tolist() for k in quantities})


def _member(archive: zipfile.ZipFile, name: str) -> _Member:
    form: Any = np.lib.format  # its functions carry no types
    with archive.open(name) as file:
        version_1 = form.read_magic(file) == (1, 0)
        read_header = form.read_array_header_1_0 if version_1 else form.read_array_header_2_0
        shape, _, dtype = read_header(file)
    claimed = math.prod(shape) * dtype.itemsize
    if not dtype.hasobject and claimed > archive.getinfo(name).file_size:
        raise UnfitError(
            f"its array {name!r} claims the shape {shape}, which is more than it holds; is it "
            "complete?"
        )
    return _Member(tuple(shape), dtype)


# --- HDF5: EMD 1.0 of py4DSTEM and emdfile, and any other with one array -------------------------


def _is_emd1(path: Path) -> bool:
    def kinds_of_groups(file: h5py.File) -> list[Any]:
        return [plain_text(group.attrs.get("emd_group_type")) for group in file.values()]

    return hdf5_holds(path, lambda file: "root" in kinds_of_groups(file))


def plain_text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def _hdf5_arrays(file: h5py.File) -> dict[str, Any]:
    arrays: dict[str, Any] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.ndim in (3, 4) and item.dtype.kind in "uifb":
            arrays[name] = item

    file.visititems(visit)  # does not follow links to other files
    return arrays


def check_written(patterns: Any) -> Any:
    """Return an HDF5 array; raise if nothing was ever written to it."""
    if not patterns.is_virtual and not patterns.external and not patterns.id.get_storage_size():
        raise UnfitError(
            f"its array {patterns.name!r} of shape {patterns.shape} was never written to; was the "
            "recording broken off?"
        )
    return patterns


def _read_hdf5(path: Path, dataset: str | None) -> Reading:
    patterns = check_written(choose_array(_hdf5_arrays(h5py.File(path, "r")), dataset))
    calibration = Calibration()
    with calibration.noting():
        text = patterns.attrs.get("properties")
        if text is not None:
            _read_nion(json.loads(plain_text(text)), tuple(patterns.shape), calibration)
        if not calibration.values and calibration.pixel is None:
            read_described(patterns, calibration)
    return Reading(patterns, calibration.values, calibration.pixel, tuple(calibration.notes))


def _read_nion(
    properties: Mapping[str, Any], shape: tuple[int, ...], calibration: Calibration
) -> None:
    """Read the properties that Nion Swift writes with an array."""
    if properties.get("datum_dimension_count") == 1:
        raise UnfitError(f"holds spectra of shape {shape} and not diffraction patterns")
    axes = properties.get("dimensional_calibrations") or []
    if not axes:  # of an archive
        axes = properties.get("spatial_calibrations") or []
    if len(axes) == len(shape) in (3, 4):
        sizes, units = [a.get("scale", 1.0) for a in axes], [a.get("units") or "" for a in axes]
        if len(axes) == 4:
            calibration.scan((sizes[0], sizes[1]), (units[0], units[1]))
        calibration.detector((sizes[-2], sizes[-1]), (units[-2], units[-1]))
    metadata = properties.get("metadata") or {}
    for place in ("instrument", "hardware_source"):
        volts = (metadata.get(place) or {}).get("high_tension")
        if isinstance(volts, int | float):
            calibration.values["energy"] = volts
            break


def _read_emd1(path: Path, dataset: str | None) -> Reading:
    file = h5py.File(path, "r")
    arrays = _hdf5_arrays(file)
    patterns = check_written(choose_array(arrays, dataset))
    calibration, provenance = Calibration(), {}
    with calibration.noting():
        provenance = _read_bundle(file, patterns, calibration)
    return Reading(
        patterns, calibration.values, calibration.pixel, tuple(calibration.notes), provenance
    )


def _read_bundle(file: h5py.File, patterns: h5py.Dataset, stated: Calibration) -> dict[str, Any]:
    """Read the calibration of py4DSTEM, and return the provenance that misr4d wrote."""
    root = file[patterns.name.split("/")[1]]
    bundle = root.get("metadatabundle", {})
    calibration = entries_of(bundle.get("calibration", {}))
    provenance = entries_of(bundle.get("misr4d", {}))
    step, pixel = calibration.get("R_pixel_size"), calibration.get("Q_pixel_size")
    if step is None and pixel is None:
        read_described(patterns, stated)
    if step is not None:
        stated.scan((step, step), (calibration.get("R_pixel_units", ""),) * 2)
    if pixel is not None:
        stated.detector((pixel, pixel), (calibration.get("Q_pixel_units", ""),) * 2)
    for name, key in (
        ("semiangle", "convergence_semiangle_mrad"),
        ("rotation", "QR_rotation_degrees"),
        ("transposed", "QR_flip"),
    ):
        if calibration.get(key) is not None:
            stated.values[name] = calibration[key]
    if "rotation" not in stated.values:  # py4DSTEM writes "not flipped" before it is known
        stated.values.pop("transposed", None)
    origin = calibration.get("qx0_mean"), calibration.get("qy0_mean")
    if None not in origin:
        stated.values["centre"] = origin
    quantities = provenance.pop("quantities", {})
    stated.values |= {k: v for k, v in quantities.items() if k in QUANTITIES}
    return provenance


def entries_of(group: Any) -> dict[str, Any]:
    """Scalars and short rows of a metadata group of EMD 1.0, and its dictionaries."""
    entries: dict[str, Any] = {}
    for name, item in group.items():
        if isinstance(item, h5py.Group):
            entries[name] = entries_of(item)
        elif item.size is not None and item.size <= 16:
            value = plain_text(np.asarray(item[()]).tolist())
            entries[name] = None if value == "_None" else value
    return entries


# --- Nion Swift ----------------------------------------------------------------------------------


def _read_ndata(path: Path, dataset: str | None) -> Reading:
    """Read an archive of Nion Swift: ``data.npy``, uncompressed, and ``metadata.json``."""
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        if "data.npy" not in names:
            raise UnfitError(f"holds no data.npy, only {', '.join(sorted(names)) or 'nothing'}")
        properties = json.loads(archive.read("metadata.json")) if "metadata.json" in names else {}
        info, member = archive.getinfo("data.npy"), _member(archive, "data.npy")
        if member.dtype.hasobject:
            raise UnfitError(f"holds {_PICKLED}; save numbers")
        with archive.open("data.npy") as file:
            file.read(8)
            header = struct.unpack("<H", file.read(2))[0] + 10
    if info.compress_type != zipfile.ZIP_STORED:
        size = math.prod(member.shape) * member.dtype.itemsize
        check_memory(size, "would be read as a whole,", "export it as .nhdf")
        with np.load(path, allow_pickle=False) as loaded:
            patterns: Any = loaded["data"]
    else:
        with path.open("rb") as file:
            file.seek(info.header_offset + 26)
            name_length, extra_length = struct.unpack("<HH", file.read(4))
        start = info.header_offset + 30 + name_length + extra_length + header
        patterns = np.memmap(path, member.dtype, "r", start, member.shape)
    calibration = Calibration()
    with calibration.noting():
        _read_nion(properties, tuple(member.shape), calibration)
    return Reading(patterns, calibration.values, calibration.pixel, tuple(calibration.notes))


READERS: tuple[Reader, ...] = (
    Reader(
        "NumPy",
        ".npy and .npz",
        lambda p: p.is_file() and p.suffix.lower() in {".npy", ".npz"},
        _read_numpy,
    ),
    Reader(
        "h5py, as EMD 1.0", "HDF5 and EMD of py4DSTEM, emdfile and misr4d", _is_emd1, _read_emd1
    ),
    Reader(
        "h5py, as electrons of stempy",
        "HDF5 of stempy (4D Camera): lists of electrons",
        is_stempy,
        read_stempy,
    ),
    Reader(
        "h5py, as a Dectris master",
        "_master.h5 of EIGER and ARINA, with its parts beside it",
        is_master,
        read_master,
    ),
    Reader(
        "h5py",
        "any other HDF5 (.h5, .hdf5, .nhdf of Nion) with one array of four axes",
        lambda p: p.suffix.lower() in _HDF5[:4] and p.is_file(),
        _read_hdf5,
    ),
    Reader(
        "zarr",
        "folders and .zip of Zarr: of abTEM, of quantem, or with one array of four axes",
        is_zarr,
        read_zarr,
    ),
    Reader(
        "NumPy, as Nion Swift writes",
        ".ndata1 and .ndata of Nion Swift",
        lambda p: p.is_file() and p.suffix.lower() in {".ndata1", ".ndata"},
        _read_ndata,
    ),
    Reader(
        "NumPy, as LiberTEM's RAW_CSR",
        ".toml of RAW_CSR: electrons of LiberTEM, with its three arrays beside it",
        is_csr,
        read_csr,
    ),
    Reader(
        "RosettaSciIO",
        "of cameras and microscopes: " + ", ".join(ROSETTA),
        lambda p: p.suffix.lower() in ROSETTA and (p.is_file() or p.suffix.lower() == ".zspy"),
        read_rosetta,
    ),
)
"""Readers, in the order in which they are tried."""
