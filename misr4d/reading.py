"""Read a 4D-STEM scan, lazily, from the file it is in, with what that file says of it.

Others read formats better than we could. Ours is the small table :data:`READERS` of who reads
what, one set of units, and errors that say what to do. Nothing here loads a pickle.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import dask.array
import h5py
import hdf5plugin  # noqa: F401  # registers the compressions that detectors write
import numpy as np
import zarr
from numpy.typing import NDArray

from misr4d import optics
from misr4d.datacube import Datacube

__all__ = ["QUANTITIES", "READERS", "Quantity", "Reader", "Scan", "Survey", "read_scan", "survey"]

Origin = Literal["given", "file", "estimated", "assumed"]

# Unit, and the smallest and largest value that is not a slip (our choice, wide).
QUANTITIES: Mapping[str, tuple[str, float, float]] = {
    "energy": ("eV", 1e4, 1e7),
    "step": ("Å", 1e-3, 1e4),
    "semiangle": ("mrad", 0.1, 200.0),
    "detector_pixel": ("mrad", 1e-4, 100.0),
    "defocus": ("Å", -1e7, 1e7),
    "rotation": ("deg", -360.0, 360.0),
    "transposed": ("", 0, 1),
    "thickness": ("Å", 0.0, 1e5),
    "dose": ("e⁻/Å²", 1e-6, 1e12),
    "gain": ("counts per electron", 1e-3, 1e6),
    "centre": ("pixel", 0.0, 1e5),
}
"""What may be known of a scan."""

_FLAGS = {"detector_pixel": "--detector-pixel", "transposed": "--transpose"}


def flag(name: str) -> str:
    """Name a quantity's option on the command line."""
    return _FLAGS.get(name, f"--{name}")


@dataclass(frozen=True)
class Quantity:
    """A number with its unit, where it comes from, and its standard error if it was estimated.

    Parameters
    ----------
    value : float, bool or tuple of float
    unit : str
    origin : {"given", "file", "estimated", "assumed"}
    error : float, optional
    """

    value: Any
    unit: str
    origin: Origin
    error: float | None = None

    def record(self) -> dict[str, Any]:
        """Make what JSON can hold."""
        value = list(self.value) if isinstance(self.value, tuple) else self.value
        found = {"value": value, "unit": self.unit, "origin": self.origin}
        return found if self.error is None else {**found, "error": self.error}


@dataclass(frozen=True)
class Scan:
    """Diffraction patterns as recorded, not read yet, and what is known of them.

    Parameters
    ----------
    path : Path
    reader : str
        Who read it.
    patterns : ndarray, or any array that is sliced like one
        ``(Rx, Ry, Qx, Qy)``.
    known : mapping
        Quantities by the names of :data:`QUANTITIES`.
    notes : tuple of str
        What the file says that could not be used.
    provenance : mapping
        What the file says of its making.
    """

    path: Path
    reader: str
    patterns: Any
    known: Mapping[str, Quantity]
    notes: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def value(self, name: str) -> Any:
        """Return the value of a quantity that must be known.

        Raises
        ------
        ValueError
            If it is not; the message says how to give it.
        """
        if name not in self.known:
            raise ValueError(
                f"the {name.replace('_', ' ')} is neither in {self.path.name} nor given; pass "
                f"{flag(name)}, in {QUANTITIES[name][0]}"
            )
        return self.known[name].value

    @property
    def datacube(self) -> Datacube:
        """The patterns as a datacube, on the scale they were recorded in.

        Raises
        ------
        ValueError
            If the step or the detector pixel is not known.
        """
        return Datacube(self.patterns, self.value("step"), self.value("detector_pixel"))

    def described(self) -> str:
        """Say in one line what the file holds."""
        rx, ry, qx, qy = self.patterns.shape
        size = math.prod(self.patterns.shape) * self.patterns.dtype.itemsize / 2**20
        return (
            f"{self.path.name}: {rx} × {ry} positions, {qx} × {qy} pixels, "
            f"{self.patterns.dtype.name}, {size:.4g} MiB, read by {self.reader}"
        )


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
        Values that replace what the file says, by the names of :data:`QUANTITIES` and in its
        units. ``step``, ``detector_pixel`` and ``centre`` are one number or two.

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
    unknown = set(given) - set(QUANTITIES)
    if unknown:
        raise TypeError(f"unknown quantity {min(unknown)!r}; known: {', '.join(QUANTITIES)}")
    if not path.exists():
        raise ValueError(f"there is no file {path}; check the name")
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
            f"{path} cannot be read by {reader.name}: {_one_line(error)}; is it complete?"
        ) from error
    patterns = _four_axes(found.patterns, scan_shape, path)
    known = {}
    for name, value in given.items():
        if value is not None:
            known[name] = Quantity(_checked(name, value, flag(name)), QUANTITIES[name][0], "given")
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


class _UnfitError(ValueError):
    """A readable file that is not a scan; the message is for the user."""


def _one_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200]


def _checked(name: str, value: Any, where: str) -> Any:
    """Return a value as this module keeps it, or say what is wrong with it."""
    unit, low, high = QUANTITIES[name]
    if name == "transposed":
        return bool(value)
    pair = name in {"step", "detector_pixel", "centre"}
    try:
        numbers = np.atleast_1d(np.asarray(value, dtype=float))
    except (TypeError, ValueError):
        numbers = np.array([math.nan])
    fit = numbers.shape == (1,) or (pair and numbers.shape == (2,))
    if not fit or not np.isfinite(numbers).all() or (numbers < low).any() or (numbers > high).any():
        shown = value if isinstance(value, str) else numbers.tolist()
        shown = shown[0] if isinstance(shown, list) and len(shown) == 1 else shown
        raise ValueError(
            f"{name.replace('_', ' ')} is {shown} {unit} ({where}); expected "
            f"{'one number or two' if pair else 'a number'} between {low:g} and {high:g} {unit}: "
            f"give {flag(name)}"
        )
    if pair:
        return (float(numbers[0]), float(numbers[-1]))
    return float(numbers[0])


def _lazy(array: Any, chunks: Any) -> Any:
    """Wrap an array on disk in dask, under a name of its own rather than a hash of its content."""
    return dask.array.from_array(array, chunks, name=False)  # type: ignore[no-untyped-call]


def _four_axes(patterns: Any, scan_shape: tuple[int, int] | None, path: Path) -> Any:
    """Return the patterns with axes (Rx, Ry, Qx, Qy), or say what is wrong with them."""
    shape, kind = tuple(patterns.shape), patterns.dtype.kind
    if kind not in "uif":
        raise ValueError(
            f"{path} holds values of type {patterns.dtype}; expected whole or real numbers"
        )
    if scan_shape is not None:
        listed = shape[0] if len(shape) == 3 else math.prod(shape[:2]) if len(shape) == 4 else 0
        if listed != math.prod(scan_shape):
            raise ValueError(
                f"{path} has shape {shape}, which is not {scan_shape[0]} × {scan_shape[1]} "
                "positions; give another --scan-shape"
            )
        if not isinstance(patterns, np.ndarray | dask.array.Array):
            patterns = _lazy(patterns, patterns.chunks or "auto")
        patterns = patterns.reshape(*scan_shape, *shape[-2:])
    elif len(shape) == 3:
        raise ValueError(
            f"{path} lists {shape[0]} patterns of {shape[1]} × {shape[2]} pixels; say how they "
            "were scanned: --scan-shape RX RY"
        )
    elif len(shape) != 4:
        raise ValueError(
            f"{path} has {len(shape)} axes, {shape}; expected four: scan Rx, Ry, detector Qx, Qy"
        )
    if 0 in patterns.shape:
        raise ValueError(f"{path} has shape {tuple(patterns.shape)}; there is nothing in it")
    return patterns


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


def _spelt(unit: Any) -> str:
    text = unit.decode() if isinstance(unit, bytes) else str(unit)
    return text.strip().strip("$").replace("{", "").replace("}", "").replace(" ", "").lower()


class _Calibration:
    """Collects what axes say of step and pixel, and notes units that nobody knows."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.pixel: tuple[tuple[float, float], str] | None = None
        self.notes: list[str] = []

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


def _read_numpy(path: Path, dataset: str | None) -> _Found:
    try:
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        if "pickle" in str(error) or "Python objects" in str(error):
            raise _UnfitError(
                "holds pickled objects, which are never loaded, or is no array at all; save "
                "numbers with numpy.save"
            ) from None
        raise
    if isinstance(loaded, np.ndarray):
        chunks = ("auto",) * (loaded.ndim - 2) + (-1, -1) if loaded.ndim > 2 else "auto"
        return _Found(_lazy(loaded, chunks))
    with loaded:
        headers = {}
        for name in loaded.files:
            try:
                headers[name] = loaded[name]
            except ValueError:
                raise _UnfitError(
                    f"its array {name!r} holds pickled objects, which are never loaded; save "
                    "numbers"
                ) from None
    chosen = _choose({k: v for k, v in headers.items() if v.ndim in (3, 4)}, dataset)
    # An archive may carry the numbers beside the patterns, under the names used here.
    values = {k: headers[k].tolist() for k in QUANTITIES if k in headers and headers[k].size <= 2}
    return _Found(chosen, values)


def _choose(arrays: Mapping[str, Any], dataset: str | None) -> Any:
    """Pick the one array, or the one that was named."""
    listing = ", ".join(f"{k} {tuple(v.shape)}" for k, v in arrays.items()) or "none"
    if dataset is not None:
        if dataset not in arrays:
            raise _UnfitError(f"has no array {dataset!r} of three or four axes; it has {listing}")
        return arrays[dataset]
    four = {k: v for k, v in arrays.items() if len(v.shape) == 4} or arrays
    if len(four) != 1:
        which = "several" if four else "no"
        raise _UnfitError(
            f"holds {which} arrays that could be a scan: {listing}; name one: --dataset"
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
    except (OSError, RuntimeError):  # damaged: the reader that its name asks for says how
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


def _read_hdf5(path: Path, dataset: str | None) -> _Found:
    return _Found(_choose(_hdf5_arrays(h5py.File(path, "r")), dataset))


def _read_emd1(path: Path, dataset: str | None) -> _Found:
    file = h5py.File(path, "r")
    arrays = _hdf5_arrays(file)
    patterns = _choose(arrays, dataset)
    root = file[patterns.name.split("/")[1]]
    bundle = root.get("metadatabundle", {})
    calibration = _entries(bundle.get("calibration", {}))
    ours = _entries(bundle.get("misr4d", {}))
    found = _Calibration()
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
    return _Found(patterns, found.values, found.pixel, tuple(found.notes), ours)


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


def _is_zarr(path: Path) -> bool:
    marks = ("zarr.json", ".zgroup", ".zarray")
    return path.is_dir() and path.suffix != ".zspy" and any((path / m).is_file() for m in marks)


def _read_zarr(path: Path, dataset: str | None) -> _Found:
    opened = zarr.open(path, mode="r")
    if isinstance(opened, zarr.Array):
        return _Found(opened)
    arrays = {k: v for k, v in opened.arrays() if v.ndim in (3, 4)}
    patterns = _choose(arrays, dataset)
    said = opened.attrs.get("kwargs" + Path(patterns.path).name.removeprefix("array"), {})
    if not isinstance(said, dict):
        return _Found(patterns)
    found = _Calibration()
    axes = said.get("ensemble_axes_metadata") or []
    if len(axes) == 2:
        found.scan(
            (axes[0].get("sampling", 0), axes[1].get("sampling", 0)),
            (axes[0].get("units", ""), axes[1].get("units", "")),
        )
    sampling = said.get("sampling")
    if sampling is not None:  # abTEM states it as a frequency
        found.detector((sampling[0], sampling[1]), ("1/Å", "1/Å"))
    metadata = said.get("metadata") or {}
    for name, key in (("energy", "energy"), ("semiangle", "semiangle_cutoff")):
        if isinstance(metadata.get(key), int | float):
            found.values[name] = metadata[key]
    return _Found(patterns, found.values, found.pixel, tuple(found.notes))


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
    signals = importlib.import_module(f"rsciio.{name}").file_reader(str(path), lazy=True, **more)
    arrays: dict[str, Any] = {}
    for index, signal in enumerate(signals):
        title = signal.get("metadata", {}).get("General", {}).get("title") or f"signal {index}"
        if signal["data"].ndim in (3, 4):
            arrays[title if title not in arrays else f"{title} {index}"] = signal["data"]
    patterns = _choose(arrays, dataset)
    signal = next(s for s in signals if s["data"] is patterns)
    found = _Calibration()
    axes = signal["axes"]
    if len(axes) == patterns.ndim == 4 and all("scale" in a for a in axes):
        axes = sorted(axes, key=lambda a: a.get("index_in_array", axes.index(a)))
        sizes, units = [a["scale"] for a in axes], [a.get("units") or "" for a in axes]
        found.scan((sizes[0], sizes[1]), (units[0], units[1]))
        found.detector((sizes[2], sizes[3]), (units[2], units[3]))
    microscope = signal.get("metadata", {}).get("Acquisition_instrument", {}).get("TEM", {})
    if isinstance(microscope.get("beam_energy"), int | float):
        found.values["energy"] = microscope["beam_energy"] * 1e3
    if isinstance(microscope.get("convergence_angle"), int | float):
        found.values["semiangle"] = microscope["convergence_angle"]
    return _Found(patterns, found.values, found.pixel, tuple(found.notes))


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
        "any other HDF5 (.h5, .hdf5) with one array of four axes",
        lambda p: p.suffix.lower() in {".h5", ".hdf5", ".hdf"} and p.is_file(),
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


@dataclass(frozen=True)
class Survey:
    """One pass over all patterns: they are intensities, and what they add up to.

    Parameters
    ----------
    mean : ndarray
        Position-averaged pattern ``(Qx, Qy)``.
    totals : ndarray
        Sum of each pattern ``(Rx, Ry)``.
    whole : bool
        Whether all values are whole numbers, as counts are.
    largest : float
    """

    mean: NDArray[np.float64]
    totals: NDArray[np.float64]
    whole: bool
    largest: float


def survey(scan: Scan) -> Survey:
    """Read all patterns once and check them.

    Raises
    ------
    ValueError
        If a value is negative or not finite, or nothing was counted at all; or if the file ends
        before its patterns do.
    """
    cube = Datacube(scan.patterns, (math.nan, math.nan), (math.nan, math.nan))
    shape = scan.patterns.shape
    total, sums = np.zeros(shape[2:]), np.zeros(shape[:2])
    whole, largest = True, 0.0
    try:
        for where, block in cube.read(label="reading"):
            low, high = float(block.min()), float(block.max())
            if not (math.isfinite(low) and math.isfinite(high)) or low < 0:
                bad = np.argwhere(~(np.isfinite(block) & (block >= 0)))[0]
                place = [int(bad[a]) + (where[a].start if a < 2 else 0) for a in range(4)]
                raise _UnfitError(
                    f"holds {block[tuple(bad)]} at position {tuple(place[:2])}, pixel "
                    f"{tuple(place[2:])}; expected counts or intensities of 0 or more: mask bad "
                    "pixels, and undo a background subtraction"
                )
            largest = max(largest, high)
            whole = whole and (block.dtype.kind in "ui" or bool((block == np.rint(block)).all()))
            sums[where] = block.sum((2, 3), dtype=np.float64)
            total += block.sum((0, 1), dtype=np.float64)
    except _UnfitError as error:
        raise ValueError(f"{scan.path} {error}") from None
    except (OSError, RuntimeError, KeyError) as error:
        raise ValueError(
            f"{scan.path} breaks off or is damaged: {_one_line(error)}; copy it again"
        ) from error
    if largest == 0:
        raise ValueError(f"{scan.path} holds no electron: all its values are zero")
    return Survey(total / math.prod(shape[:2]), sums, whole, largest)
