"""Read a 4D-STEM scan, lazily, from the file it is in, with what that file says of it.

Others read formats better than we could. Ours is the small table :data:`READERS` of who reads
what, one set of units, and errors that say what to do. Nothing here loads a pickle.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import os
import stat
import warnings
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401  # registers the compressions that detectors write
import numpy as np
import zarr

from misr4d.core import optics
from misr4d.io.scan import (
    QUANTITIES,
    Quantity,
    Scan,
    _as_given,
    _check_fits,
    _check_names,
    _checked,
    _four_axes,
    _lazy,
    _one_line,
    _UnfitError,
)

__all__ = ["READERS", "Reader", "read_scan"]


@dataclass(frozen=True)
class _Found:
    """What a reader hands over: numbers in their own units, to be checked and converted."""

    patterns: Any
    values: Mapping[str, Any] = field(default_factory=dict)
    # A detector pixel's unit is an angle or, as yet without the wavelength, a frequency.
    pixel: tuple[tuple[float, float], str] | None = None
    notes: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Reader:
    """Who reads a kind of file.

    Parameters
    ----------
    name : str
        As a report names it.
    what : str
        Which files it takes, in words.
    takes : callable
        From a path that exists to whether it is one of them.
    read : callable
        From a path and the name of an array in it, which may be none, to what was found.
    """

    name: str
    what: str
    takes: Callable[[Path], bool]
    read: Callable[[Path, str | None], _Found]


def read_scan(
    path: str | Path,
    *,
    dataset: str | None = None,
    scan_shape: tuple[int, int] | None = None,
    **given: Any,
) -> Scan:
    """Open a scan; its patterns stay on disk until they are used.

    Parameters
    ----------
    path : str or Path
    dataset : str, optional
        Which array of a file that holds several.
    scan_shape : (int, int), optional
        Positions along (Rx, Ry) of a file that lists its patterns one after the other.
    **given
        Values that replace what the file says, by the names of :data:`misr4d.io.scan.QUANTITIES`
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
    _check_names(given, scan_shape)
    _check_there(path)
    reader = next((r for r in READERS if r.takes(path)), None)
    if reader is None:
        what = "a folder" if path.is_dir() else f"a file of kind {path.suffix or 'unknown'!r}"
        kinds = "; ".join(r.what for r in READERS)
        raise ValueError(f"{path} is {what}, which no reader takes; known: {kinds}")
    try:
        found = reader.read(path, dataset)
    except _UnfitError as error:
        raise ValueError(f"{path}: {error}") from None
    except Exception as error:  # the readers of others raise whatever they like
        raise ValueError(
            f"{path} cannot be read by {reader.name}: {_one_line(error)}; {_guess(path)}"
        ) from error
    try:
        patterns = _four_axes(found.patterns, scan_shape)
    except _UnfitError as error:
        raise ValueError(f"{path} {error}") from None
    known = _as_given(given)
    said = {k: v for k, v in found.values.items() if k not in known}
    notes = list(found.notes)
    for name, value in said.items():
        known[name] = Quantity(_checked(name, value, path.name), QUANTITIES[name][0], "file")
    if found.pixel is not None and "detector_pixel" not in known:
        size, unit = found.pixel
        if unit in _ANGLES:
            scale: float | None = _ANGLES[unit]
        elif "energy" in known:
            scale = _FREQUENCIES[unit] * optics.wavelength(known["energy"].value) * 1e3
        else:
            scale = None
            notes.append(f"the detector pixel is {size[0]:g} {unit}: without energy, no angle")
        if scale is not None:
            pixel = _checked("detector_pixel", (size[0] * scale, size[1] * scale), path.name)
            known["detector_pixel"] = Quantity(pixel, "mrad", "file")
    return Scan(path, reader.name, patterns, known, tuple(notes), found.provenance)


def _check_there(path: Path) -> None:
    """Raise unless a path leads to a file or folder that may be read."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        if path.is_symlink():
            raise ValueError(
                f"{path} is a link to {os.readlink(path)}, which does not exist"
            ) from None
        raise ValueError(f"there is no file {path}; check the name") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise ValueError(f"{path} cannot be reached: {why}") from None
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise ValueError(f"{path} is neither a file nor a folder; copy the scan into a file first")
    own = os.access in os.supports_effective_ids
    if not os.access(path, os.R_OK, effective_ids=own):
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
    """Ask what may be wrong with a file that its reader refused, by how it begins."""
    with contextlib.suppress(OSError):
        with path.open("rb") as file:
            begins = file.read(8)
        for mark, (kind, suffixes) in _BEGINNINGS.items():
            if begins.startswith(mark) and path.suffix.lower() not in suffixes:
                return f"is it {kind}?"
    return "is it complete?"


# --- Units -------------------------------------------------------------------------------------

_LENGTHS = {"a": 1.0, "å": 1.0, "ang": 1.0, "angstrom": 1.0, "pm": 0.01, "nm": 10.0}
_LENGTHS |= {"um": 1e4, "µm": 1e4, "μm": 1e4, "mm": 1e7, "m": 1e10}
_ANGLES = {"mrad": 1.0, "rad": 1e3, "urad": 1e-3, "µrad": 1e-3, "μrad": 1e-3}
_ANGLES |= {"deg": math.radians(1) * 1e3}
_FREQUENCIES = {
    spelt: 1 / _LENGTHS[unit]
    for unit in _LENGTHS
    for spelt in (f"1/{unit}", f"{unit}^-1", f"{unit}-1", f"{unit}⁻¹")
}


_ENERGIES = {"ev", "kev"}


def _spelt(unit: Any) -> str:
    text = unit.decode() if isinstance(unit, bytes) else str(unit)
    return text.strip().strip("$").replace("{", "").replace("}", "").replace(" ", "").lower()


class _Calibration:
    """Collects what axes say of step and pixel, and notes units that nobody knows."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.pixel: tuple[tuple[float, float], str] | None = None
        self.notes: list[str] = []

    @contextlib.contextmanager
    def noting(self) -> Iterator[None]:
        """Note what cannot be made sense of, so that it can be given instead."""
        try:
            yield
        except _UnfitError:
            raise
        except Exception as error:  # a file may say anything
            self.notes.append(
                f"what the file says of its calibration makes no sense ({_one_line(error)})"
            )

    def scan(self, sizes: tuple[Any, Any], units: tuple[Any, Any]) -> None:
        known = [_LENGTHS.get(_spelt(u)) for u in units]
        if None not in known:
            self.values["step"] = tuple(
                float(s) * k for s, k in zip(sizes, known, strict=True) if k is not None
            )
        else:
            self._note("scan step", sizes, units)

    def detector(self, sizes: tuple[Any, Any], units: tuple[Any, Any]) -> None:
        first, second = (_spelt(u) for u in units)
        if first == second and (first in _ANGLES or first in _FREQUENCIES):
            self.pixel = ((float(sizes[0]), float(sizes[1])), first)
        else:
            self._note("detector pixel", sizes, units)

    def _note(self, what: str, sizes: tuple[Any, Any], units: tuple[Any, Any]) -> None:
        if {_spelt(u) for u in units} - {"", "none", "<undefined>", "pixels", "pixel", "px"}:
            self.notes.append(f"the file's {what} has the unit {units[0]!s}, which is not known")


# --- NumPy -------------------------------------------------------------------------------------


_PICKLED = "pickled objects, which are never loaded"


def _read_numpy(path: Path, dataset: str | None) -> _Found:
    if zipfile.is_zipfile(path):
        return _read_archive(path, dataset)
    try:
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        if "pickle" in str(error) or "Python objects" in str(error):
            raise _UnfitError(
                f"holds {_PICKLED}, or no array at all ({_guess(path)}); save numbers with "
                "numpy.save"
            ) from None
        raise
    chunks = ("auto",) * (loaded.ndim - 2) + (-1, -1) if loaded.ndim > 2 else "auto"
    return _Found(_lazy(loaded, chunks))


@dataclass(frozen=True)
class _Member:
    """What the header of an array in an archive says, before any memory is given to it."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def _read_archive(path: Path, dataset: str | None) -> _Found:
    with zipfile.ZipFile(path) as archive:
        members = {
            n.removesuffix(".npy"): _member(archive, n)
            for n in archive.namelist()
            if n.endswith(".npy")
        }
    for name, member in members.items():
        if member.dtype.hasobject:
            raise _UnfitError(f"its array {name!r} holds {_PICKLED}; save numbers")
    chosen = _choose({k: m for k, m in members.items() if len(m.shape) in (3, 4)}, dataset)
    key = next(k for k, m in members.items() if m is chosen)
    _check_fits(
        math.prod(chosen.shape) * chosen.dtype.itemsize,
        f"its array {key!r} would be read as a whole,",
        "save it by numpy.save as .npy, which stays on disk",
    )
    # An archive may carry the numbers beside the patterns, under the names used here.
    beside = [k for k in QUANTITIES if k in members and math.prod(members[k].shape) <= 2]
    with np.load(path, allow_pickle=False) as loaded:
        return _Found(loaded[key], {k: loaded[k].tolist() for k in beside})


def _member(archive: zipfile.ZipFile, name: str) -> _Member:
    form: Any = np.lib.format  # its functions carry no types
    with archive.open(name) as file:
        first = form.read_magic(file) == (1, 0)
        read = form.read_array_header_1_0 if first else form.read_array_header_2_0
        shape, _, dtype = read(file)
    claimed = math.prod(shape) * dtype.itemsize
    if not dtype.hasobject and claimed > archive.getinfo(name).file_size:
        raise _UnfitError(
            f"its array {name!r} claims the shape {shape}, which is more than it holds; is it "
            "complete?"
        )
    return _Member(tuple(shape), dtype)


def _choose(arrays: Mapping[str, Any], dataset: str | None) -> Any:
    """Pick the one array, or the one that was named."""
    listing = ", ".join(f"{k} {tuple(v.shape)}" for k, v in arrays.items()) or "none"
    if dataset is not None:
        if dataset not in arrays:
            raise _UnfitError(f"has no array {dataset!r} of three or four axes; it has {listing}")
        return arrays[dataset]
    if not arrays:
        raise _UnfitError("holds no array of three or four axes, so no scan")
    four = {k: v for k, v in arrays.items() if len(v.shape) == 4} or arrays
    if len(four) != 1:
        raise _UnfitError(
            f"holds several arrays that could be a scan: {listing}; name one: --dataset"
        )
    return next(iter(four.values()))


# --- HDF5: EMD 1.0 of py4DSTEM and emdfile, and any other with one array -------------------------


def _is_hdf5(path: Path) -> bool:
    return path.is_file() and bool(h5py.is_hdf5(path))


def _is_emd1(path: Path) -> bool:
    if not _is_hdf5(path):
        return False
    try:
        with h5py.File(path, "r") as file:
            kinds = [_text(group.attrs.get("emd_group_type")) for group in file.values()]
    except Exception:  # damaged: the reader that its name asks for says how
        return False
    return "root" in kinds


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def _hdf5_arrays(file: h5py.File) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.ndim in (3, 4) and item.dtype.kind in "uifb":
            found[name] = item

    file.visititems(visit)  # does not follow links that lead out of the file
    return found


def _written(patterns: Any) -> Any:
    """Return an array of HDF5, unless nothing was ever written to it."""
    if not patterns.is_virtual and not patterns.external and not patterns.id.get_storage_size():
        raise _UnfitError(
            f"its array {patterns.name!r} of shape {patterns.shape} was never written to; was the "
            "recording broken off?"
        )
    return patterns


def _read_hdf5(path: Path, dataset: str | None) -> _Found:
    patterns = _written(_choose(_hdf5_arrays(h5py.File(path, "r")), dataset))
    found = _Calibration()
    with found.noting():
        _read_nion(patterns, found)
    return _Found(patterns, found.values, found.pixel, tuple(found.notes))


def _read_nion(patterns: h5py.Dataset, found: _Calibration) -> None:
    """Take what Nion Swift writes beside an array: a JSON text of its properties."""
    said = patterns.attrs.get("properties")
    if said is None:
        return
    properties = json.loads(_text(said))
    if properties.get("datum_dimension_count") == 1:
        raise _UnfitError(
            f"holds spectra of shape {tuple(patterns.shape)} and not diffraction patterns"
        )
    axes = properties.get("dimensional_calibrations") or []
    if len(axes) == patterns.ndim == 4:
        sizes, units = [a.get("scale", 1.0) for a in axes], [a.get("units") or "" for a in axes]
        found.scan((sizes[0], sizes[1]), (units[0], units[1]))
        found.detector((sizes[2], sizes[3]), (units[2], units[3]))
    metadata = properties.get("metadata") or {}
    for place in ("instrument", "hardware_source"):
        volts = (metadata.get(place) or {}).get("high_tension")
        if isinstance(volts, int | float):
            found.values["energy"] = volts
            break


def _read_emd1(path: Path, dataset: str | None) -> _Found:
    file = h5py.File(path, "r")
    arrays = _hdf5_arrays(file)
    patterns = _written(_choose(arrays, dataset))
    found, ours = _Calibration(), {}
    with found.noting():
        ours = _read_bundle(file, patterns, found)
    return _Found(patterns, found.values, found.pixel, tuple(found.notes), ours)


def _read_bundle(file: h5py.File, patterns: h5py.Dataset, found: _Calibration) -> dict[str, Any]:
    """Take the calibration of py4DSTEM, and return what misr4d wrote of the file's making."""
    root = file[patterns.name.split("/")[1]]
    bundle = root.get("metadatabundle", {})
    calibration = _entries(bundle.get("calibration", {}))
    ours = _entries(bundle.get("misr4d", {}))
    step, pixel = calibration.get("R_pixel_size"), calibration.get("Q_pixel_size")
    if step is not None:
        found.scan((step, step), (calibration.get("R_pixel_units", ""),) * 2)
    if pixel is not None:
        found.detector((pixel, pixel), (calibration.get("Q_pixel_units", ""),) * 2)
    for name, key in (
        ("semiangle", "convergence_semiangle_mrad"),
        ("rotation", "QR_rotation_degrees"),
        ("transposed", "QR_flip"),
    ):
        if calibration.get(key) is not None:
            found.values[name] = calibration[key]
    if "rotation" not in found.values:  # py4DSTEM writes that nothing is flipped before it knows
        found.values.pop("transposed", None)
    origin = calibration.get("qx0_mean"), calibration.get("qy0_mean")
    if None not in origin:
        found.values["centre"] = origin
    quantities = ours.pop("quantities", {})
    found.values |= {k: v for k, v in quantities.items() if k in QUANTITIES}
    return ours


def _entries(group: Any) -> dict[str, Any]:
    """Scalars and short rows of a metadata group of EMD 1.0, and its dictionaries."""
    found: dict[str, Any] = {}
    for name, item in group.items():
        if isinstance(item, h5py.Group):
            found[name] = _entries(item)
        elif item.size is not None and item.size <= 16:
            value = _text(np.asarray(item[()]).tolist())
            found[name] = None if value == "_None" else value
    return found


# --- Zarr: any array, and measurements of abTEM --------------------------------------------------


_ZARR_MARKS = ("zarr.json", ".zgroup", ".zarray")


def _is_zarr(path: Path) -> bool:
    marked = any((path / m).is_file() for m in _ZARR_MARKS)
    return path.is_dir() and path.suffix != ".zspy" and marked


def _read_zarr(path: Path, dataset: str | None) -> _Found:
    opened = zarr.open(path, mode="r")
    if isinstance(opened, zarr.Array):
        _check_chunks_written(path)
        return _Found(opened)
    arrays = {k: v for k, v in opened.arrays() if v.ndim in (3, 4)}
    patterns = _choose(arrays, dataset)
    _check_chunks_written(path / patterns.path)
    number = Path(patterns.path).name.removeprefix("array")
    said = opened.attrs.get(f"kwargs{number}")  # abTEM 1.0.9
    if said is None:  # abTEM 1.0.11
        whole = opened.attrs.get(f"metadata{number}", {})
        said = whole.get("kwargs", {}) if isinstance(whole, dict) else {}
    found = _Calibration()
    if isinstance(said, dict):
        with found.noting():
            _read_abtem(said, found)
    return _Found(patterns, found.values, found.pixel, tuple(found.notes))


def _check_chunks_written(folder: Path) -> None:
    if all(p.name in (*_ZARR_MARKS, ".zattrs", ".zmetadata") for p in folder.iterdir()):
        raise _UnfitError(
            "no chunk of its array was ever written; was the recording broken off, or the folder "
            "copied in part?"
        )


def _read_abtem(said: Mapping[str, Any], found: _Calibration) -> None:
    """Take what abTEM writes beside a measurement."""
    axes = said.get("ensemble_axes_metadata") or []
    if len(axes) == 2:
        found.scan(
            (axes[0].get("sampling", 0), axes[1].get("sampling", 0)),
            (axes[0].get("units", ""), axes[1].get("units", "")),
        )
    sampling = said.get("sampling")
    if isinstance(sampling, dict):  # a tuple, as abTEM 1.0.11 writes one
        sampling = sampling["_value"]
    if sampling is not None:  # abTEM states it as a frequency
        found.detector((sampling[0], sampling[1]), ("1/Å", "1/Å"))
    metadata = said.get("metadata") or {}
    for name, key in (("energy", "energy"), ("semiangle", "semiangle_cutoff")):
        if isinstance(metadata.get(key), int | float):
            found.values[name] = metadata[key]


# --- Everything else: RosettaSciIO ----------------------------------------------------------------


# By name, because some of its other readers evaluate or unpickle what a file holds.
ROSETTA: Mapping[str, str] = {
    ".mib": "quantumdetector",
    ".dm3": "digitalmicrograph",
    ".dm4": "digitalmicrograph",
    ".blo": "blockfile",
    ".hspy": "hspy",
    ".zspy": "zspy",
    ".emd": "emd",
    ".de5": "emd",
    ".xml": "empad",
    ".tvips": "tvips",
    ".nxs": "nexus",
    ".ser": "tia",
    ".emi": "tia",
    ".app5": "topspin",
    ".mrc": "mrc",
    ".tif": "tiff",
    ".tiff": "tiff",
}
"""Plugin of RosettaSciIO that reads a file, by its extension."""


def _read_rosetta(path: Path, dataset: str | None) -> _Found:
    name = ROSETTA[path.suffix.lower()]
    # That one alone would open the file for writing.
    more = {"mode": "r"} if name == "zspy" else {}
    if name == "empad":
        read = _read_empad(path)
        if read is not None:
            return read
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # some leave the file open
        read_file = importlib.import_module(f"rsciio.{name}").file_reader
        signals = read_file(str(path), lazy=True, **more)
    arrays: dict[str, Any] = {}
    for index, signal in enumerate(signals):
        title = signal.get("metadata", {}).get("General", {}).get("title") or f"signal {index}"
        if signal["data"].ndim in (3, 4):
            arrays[title if title not in arrays else f"{title} {index}"] = signal["data"]
    patterns = _choose(arrays, dataset)
    signal = next(s for s in signals if s["data"] is patterns)
    _refuse_spectra(signal)
    found = _Calibration()
    with found.noting():
        patterns = _read_signal(signal, found)
    return _Found(patterns, found.values, found.pixel, tuple(found.notes))


def _read_signal(signal: Mapping[str, Any], found: _Calibration) -> Any:
    """Take axes and microscope of a signal; return its patterns, with the scan's axes first."""
    for name, key, scale in (
        ("energy", "beam_energy", 1e3),
        ("semiangle", "convergence_angle", 1.0),
    ):
        value = _of_microscope(signal, key)
        if isinstance(value, int | float | np.number) and value > 0:  # 0 is what was not set
            found.values[name] = float(value) * scale
    patterns, axes = signal["data"], signal["axes"]
    said = signal.get("original_metadata", {}).get("de_metadata")
    if said is not None:
        _read_direct_electron(said, patterns.ndim == 4, found)
        return patterns
    if len(axes) != 4 or patterns.ndim != 4 or not all("scale" in a for a in axes):
        return patterns
    axes = sorted(axes, key=lambda a: a.get("index_in_array", axes.index(a)))
    sizes, units = [a["scale"] for a in axes], [a.get("units") or "" for a in axes]
    angular = [_spelt(u) in _ANGLES or _spelt(u) in _FREQUENCIES for u in units]
    if angular == [True, True, False, False]:  # some microscopes store the detector's axes first
        patterns = patterns.transpose(2, 3, 0, 1)
        sizes, units = sizes[2:] + sizes[:2], units[2:] + units[:2]
    found.scan((sizes[0], sizes[1]), (units[0], units[1]))
    found.detector((sizes[2], sizes[3]), (units[2], units[3]))
    return patterns


def _refuse_spectra(signal: Mapping[str, Any]) -> None:
    """Raise if what a signal has at each position are spectra and not patterns."""
    axes = signal.get("axes", [])
    units = {_spelt(a.get("units") or "") for a in axes}
    kind = str(signal.get("metadata", {}).get("Signal", {}).get("signal_type") or "")
    flags = [a["navigate"] for a in axes if "navigate" in a]
    one = len(flags) == len(axes) > 0 and flags.count(False) == 1
    if one or units & _ENERGIES or kind.startswith(("EELS", "EDS", "Luminescence")):
        raise _UnfitError(
            f"holds spectra{f' ({kind})' if kind else ''} of shape {tuple(signal['data'].shape)} "
            "and not diffraction patterns"
        )


def _read_direct_electron(said: Mapping[str, Any], mapped: bool, found: _Calibration) -> None:
    """Take what the sidecar of a Direct Electron camera says; RosettaSciIO replaces each scale.

    Numbers that its software does not know are −1 there.
    """

    def number(key: str) -> float | None:
        try:
            value = float(said.get(key, -1))
        except (TypeError, ValueError):
            return None
        return value if math.isfinite(value) and value > 0 else None

    energy = number("Instrument Accelerating Voltage (V)")
    if energy is not None:
        found.values["energy"] = energy
    for what, unit, key in (
        ("scan step", "nm", "Specimen Pixel Size {} (nanometers)"),
        ("detector pixel", "1/nm", "Diffraction Pixel Size {}"),
    ):
        first, second = (number(key.format(axis)) for axis in "YX")
        if first is None or second is None:
            found.notes.append(f"the camera's info file does not know the {what}")
        elif what == "detector pixel":
            found.detector((first, second), (unit, unit))
        elif mapped:
            found.scan((first, second), (unit, unit))


_EMPAD = np.dtype([("data", "<f4", (128, 128)), ("footer", "<f4", (2, 128))])


def _read_empad(path: Path) -> _Found | None:
    """Read a map of EMPAD's software from 1.2 on; nothing if the XML is an older one.

    Its sidecar lists the settings of several kinds of scan under the same keys, of which the size
    of the raw file says which was recorded. Only a share ``scan_size`` of the field was scanned.
    """
    root = ET.parse(path).getroot()
    scans = [s for s in root.findall("scan_parameters") if s.find("scan_resolution_x") is not None]
    raw = root.find("raw_file")
    if raw is None or not scans:
        return None
    name = raw.get("filename") or (raw.text or "").strip()
    file = path.parent / Path(name.replace("\\", "/")).name
    if not file.is_file():
        raise _UnfitError(f"its patterns are in {file.name}, which is not beside it; copy it there")
    frames, rest = divmod(file.stat().st_size, _EMPAD.itemsize)
    if rest or not frames:
        raise _UnfitError(f"{file.name} is not whole frames of 130 × 128 values; is it complete?")

    def number(element: ET.Element, key: str) -> float:
        return float(element.findtext(key, "nan"))

    fitting = {}
    for scan in scans:
        nx, ny = (int(number(scan, f"scan_resolution_{axis}")) for axis in "yx")
        if nx * ny == frames:
            fitting[nx, ny, number(scan, "scan_size")] = scan.get("mode")
    if not fitting:
        listed = ", ".join(
            f"{number(s, 'scan_resolution_y'):g} × {number(s, 'scan_resolution_x'):g}"
            for s in scans
        )
        raise _UnfitError(
            f"{file.name} holds {frames} frames, and the scans that the XML lists have {listed} "
            "positions; is it complete?"
        )
    shapes = {key[:2] for key in fitting}
    if len(shapes) > 1:
        raise _UnfitError(
            f"its {frames} frames fit several of the scans that it lists ({sorted(shapes)}); keep "
            "the one that was recorded in the XML"
        )
    nx, ny = shapes.pop()
    found = _Calibration()
    with found.noting():
        field = root.find("iom_measurements/full_scan_field_of_view")
        sizes = {key[2] for key in fitting}
        if field is not None and len(sizes) == 1:
            # The field is that of the longer side, and is stored times the scale factor.
            width = number(field, "x") / float(field.findtext("scale_factor", "1"))
            step = width * sizes.pop() / max(nx, ny)
            if math.isfinite(step):
                found.scan((step, step), ("m", "m"))
        if "step" not in found.values:
            found.notes.append("the XML does not say which part of the field was scanned: no step")
        pixel = root.findtext("iom_measurements/calibrated_pixelsize")
        if pixel is not None:
            found.detector((float(pixel) * 1e9,) * 2, ("1/nm", "1/nm"))
    frames_on_disk = np.memmap(file, _EMPAD, "r", shape=(nx, ny))["data"]
    patterns = _lazy(frames_on_disk, ("auto", "auto", -1, -1))
    return _Found(patterns, found.values, found.pixel, tuple(found.notes))


def _of_microscope(signal: Mapping[str, Any], key: str) -> Any:
    """Look up a setting of the microscope, also where RosettaSciIO only says where it would be."""
    instrument = signal.get("metadata", {}).get("Acquisition_instrument", {})
    if key in instrument.get("TEM", {}):
        return instrument["TEM"][key]
    for place, (target, convert) in signal.get("mapping", {}).items():
        if target.split(".")[0] == "Acquisition_instrument" and target.split(".")[-1] == key:
            value: Any = signal.get("original_metadata", {})
            for part in place.split("."):
                value = value.get(part) if isinstance(value, Mapping) else None
            if value is not None:
                return convert(value) if convert else value
    return None


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
        "h5py",
        "any other HDF5 (.h5, .hdf5, .nhdf of Nion) with one array of four axes",
        lambda p: p.suffix.lower() in _HDF5[:4] and p.is_file(),
        _read_hdf5,
    ),
    Reader("zarr", ".zarr, of abTEM or with one array of four axes", _is_zarr, _read_zarr),
    Reader(
        "RosettaSciIO",
        "of cameras and microscopes: " + ", ".join(ROSETTA),
        lambda p: p.suffix.lower() in ROSETTA and (p.is_file() or p.suffix.lower() == ".zspy"),
        _read_rosetta,
    ),
)
"""Who reads what, in the order in which they are asked."""
