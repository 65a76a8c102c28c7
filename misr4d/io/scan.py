"""A scan, its known quantities and their origin."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from misr4d.core.datacube import Datacube

__all__ = [
    "QUANTITIES",
    "REQUIRED",
    "Quantity",
    "Scan",
    "UnfitError",
    "check_given",
    "check_memory",
    "checked_value",
    "given_quantities",
    "shown_value",
    "value_or",
]

Origin = Literal["given", "file", "estimated", "assumed"]

# Unit, and the smallest and largest plausible value (our choice, wide).
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
    "offset": ("counts of a pixel without electrons", -1e6, 1e9),
    "centre": ("pixel", 0.0, 1e5),
    "drift": ("Å a line", -1e4, 1e4),
    "astigmatism": ("Å", -1e7, 1e7),
}
"""Quantities of a scan that may be known."""

REQUIRED = ("energy", "step", "semiangle")
"""Quantities without which nothing can be reconstructed; all others are estimated or assumed."""

_FLAGS = {"detector_pixel": "--detector-pixel", "transposed": "--transpose"}

# Our choices, far beyond any recorded scan: a file that claims more is damaged.
_MOST_POSITIONS = 2**26

_MOST_BYTES = 2**44


def flag(name: str) -> str:
    """Name a quantity's option on the command line."""
    return _FLAGS.get(name, f"--{name}")


@dataclass(frozen=True)
class Quantity:
    """A number with its unit, its origin, and its standard error if it was estimated.

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
        """Return a dictionary that can be written as JSON."""
        value = list(self.value) if isinstance(self.value, tuple) else self.value
        entry = {"value": value, "unit": self.unit, "origin": self.origin}
        return entry if self.error is None else {**entry, "error": self.error}


def shown_value(value: Any) -> str:
    """Write a number with five digits, yes or no, or several numbers."""
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    numbers = [float(number) for number in np.atleast_1d(value)]
    return " × ".join(f"{x:.0f}" if 1e5 <= abs(x) < 1e7 else f"{x:.5g}" for x in numbers)


def value_or(known: Mapping[str, Quantity], name: str, otherwise: Any) -> Any:
    """Return the value of a quantity, or `otherwise` if it is not known."""
    return known[name].value if name in known else otherwise


@dataclass(frozen=True)
class Scan:
    """Diffraction patterns as recorded, not read yet, and their known quantities.

    Parameters
    ----------
    path : Path
    reader : str
        Name of the reader.
    patterns : ndarray, or any array that is sliced like one
        ``(Rx, Ry, Qx, Qy)``.
    known : mapping
        Quantities by the names of :data:`QUANTITIES`.
    notes : tuple of str
        Statements of the file that could not be used.
    provenance : mapping
        How the file was made, as it states.
    """

    path: Path
    reader: str
    patterns: Any
    known: Mapping[str, Quantity]
    notes: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_array(
        cls,
        patterns: ArrayLike,
        *,
        scan_shape: tuple[int, int] | None = None,
        skip_frames: int | None = None,
        frames_per_position: int = 1,
        scan_crop: tuple[int, int, int, int] | None = None,
        axes: str | Sequence[str] | None = None,
        positions: str | Path | ArrayLike | None = None,
        **given: Any,
    ) -> Scan:
        """Wrap patterns in memory and their known quantities.

        Parameters
        ----------
        patterns : array
            ``(Rx, Ry, Qx, Qy)``, or ``(Rx·Ry, Qx, Qy)`` with `scan_shape`: a NumPy or dask array,
            a tensor, or anything else that NumPy takes.
        scan_shape : (int, int), optional
            Positions along (Rx, Ry) of patterns that are listed one after the other.
        skip_frames, frames_per_position, scan_crop
            As for :class:`misr4d.io.layout.Layout`.
        axes : str or sequence of str, optional
            Order of the array's axes, such as ``Qx,Qy,Rx,Ry``: as for
            :func:`misr4d.io.layout.read_axes`.
        positions : str, Path or array, optional
            Measured scan positions [Å]: as for :func:`misr4d.io.reading.read_scan`.
        **given
            As for :func:`misr4d.io.reading.read_scan`.

        Raises
        ------
        ValueError
            If the array does not hold diffraction patterns, or a value is out of range.
        TypeError
            For a quantity that does not exist.
        """
        from misr4d.io.layout import Layout, read_axes

        check_given(given, scan_shape)
        order = None if axes is None else read_axes(axes)
        layout = Layout(scan_shape, skip_frames, frames_per_position, scan_crop, order)
        array: Any = patterns if hasattr(patterns, "dask") else np.asarray(patterns)
        try:
            four_axes, notes = layout.arrange(array)
        except UnfitError as error:
            raise ValueError(f"the array {error}") from None
        if positions is not None:
            from misr4d.io.positions import with_positions

            given, turn = with_positions(positions, array, layout, given)
            notes += turn
        return cls(Path("array"), "NumPy", four_axes, given_quantities(given), notes)

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
        """The patterns as a datacube, on the recorded scale.

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

    def inventory(self) -> str:
        """Say, a line each, what is known and from where, what must be given, what is ignored."""
        lines = [self.described()]
        for name, (unit, _, _) in QUANTITIES.items():
            title = name.replace("_", " ")
            if name in self.known:
                known = self.known[name]
                value = f"{shown_value(known.value)} {unit}".strip()
                lines.append(f"{title}: {value} ({known.origin})")
            elif name in REQUIRED:
                lines.append(f"{title}: not stated; give {flag(name)}, in {unit}")
        absent = [n for n in QUANTITIES if n not in self.known and n not in REQUIRED]
        lines.append(
            "not stated, and estimated or assumed unless given: "
            + ", ".join(name.replace("_", " ") for name in absent)
        )
        return "\n".join(lines + [f"note: {note}" for note in self.notes])


def check_given(given: Mapping[str, Any], scan_shape: tuple[int, int] | None) -> None:
    """Raise if what is given has a name that no quantity has, or the scan no positions.

    Raises
    ------
    TypeError
        If there is no such quantity in :data:`QUANTITIES`.
    ValueError
        If the scan's shape is not two positive numbers.
    """
    unknown = set(given) - set(QUANTITIES)
    if unknown:
        raise TypeError(f"unknown quantity {min(unknown)!r}; known: {', '.join(QUANTITIES)}")
    if scan_shape is not None and (len(scan_shape) != 2 or min(scan_shape) < 1):
        raise ValueError(
            f"--scan-shape is {' × '.join(map(str, scan_shape))}; expected two numbers of "
            "positions, each 1 or more"
        )


def given_quantities(given: Mapping[str, Any]) -> dict[str, Quantity]:
    """Return the quantities that the user gives, checked; None means not given.

    Raises
    ------
    ValueError
        If a value is out of its range.
    """
    return {
        name: Quantity(checked_value(name, value, flag(name)), QUANTITIES[name][0], "given")
        for name, value in given.items()
        if value is not None
    }


class UnfitError(ValueError):
    """A readable file that is not a scan; the message is for the user."""


def _memory() -> float:
    """Bytes of memory that this machine has."""
    return float(os.sysconf("SC_PHYS_PAGES")) * os.sysconf("SC_PAGE_SIZE")


def check_memory(size: float, what: str, remedy: str) -> None:
    """Raise if something is larger than a quarter of memory.

    Parameters
    ----------
    size : float
        Bytes.
    what : str
        Beginning of the message, which the size follows: "would be read as a whole,".
    remedy : str
        End of the message: what to do.

    Raises
    ------
    UnfitError
        If it is larger.
    """
    if size > _memory() / 4:
        raise UnfitError(
            f"{what} {size / 2**30:.4g} GiB, of which memory, {_memory() / 2**30:.4g} GiB, can "
            f"spare a quarter; {remedy}"
        )


def checked_value(name: str, value: Any, where: str) -> Any:
    """Return a quantity's value as a number, two numbers or a bool.

    Parameters
    ----------
    name : str
        Of :data:`QUANTITIES`.
    value : object
        As given or read.
    where : str
        Where it is from, for the message: an option or the name of a file.

    Raises
    ------
    ValueError
        If it is no number, or out of its range.
    """
    unit, low, high = QUANTITIES[name]
    if name == "transposed":
        return bool(value)
    pair = name in {"step", "detector_pixel", "centre", "drift", "astigmatism"}
    try:
        numbers = np.atleast_1d(np.asarray(value, dtype=float))
    except (TypeError, ValueError):
        numbers = np.array([math.nan])
    shape_fits = numbers.shape == (1,) or (pair and numbers.shape == (2,))
    if (
        not shape_fits
        or not np.isfinite(numbers).all()
        or (numbers < low).any()
        or (numbers > high).any()
    ):
        printed = value if isinstance(value, str) else numbers.tolist()
        printed = printed[0] if isinstance(printed, list) and len(printed) == 1 else printed
        raise ValueError(
            f"{name.replace('_', ' ')} is {printed} {unit} ({where}); expected "
            f"{'one number or two' if pair else 'a number'} between {low:g} and {high:g} {unit}: "
            f"give {flag(name)}"
        )
    if pair:
        return (float(numbers[0]), float(numbers[-1]))
    return float(numbers[0])


def on_disk(array: Any, chunks: Any) -> Any:
    """Wrap an array on disk in dask, under a new name rather than a hash of its content."""
    from dask.array import from_array  # takes a second to load

    return from_array(array, chunks, name=False)  # type: ignore[no-untyped-call]


def with_four_axes(patterns: Any, scan_shape: tuple[int, int] | None) -> Any:
    """Return the patterns with axes (Rx, Ry, Qx, Qy), or raise with the reason."""
    shape, kind = tuple(patterns.shape), patterns.dtype.kind
    if len(shape) in (3, 4) and shape[-1] in (3, 4) and shape[-2] >= 16:
        raise UnfitError(
            f"has shape {shape}, whose last axis looks like the {shape[-1]} colours of pictures; "
            "expected diffraction patterns of one number a pixel"
        )
    if kind not in "uif":
        raise UnfitError(f"holds values of type {patterns.dtype}; expected whole or real numbers")
    if scan_shape is not None:
        if len(shape) == 4 and tuple(scan_shape) != shape[:2] and 1 not in shape[:2]:
            raise UnfitError(
                f"has {shape[0]} × {shape[1]} positions of its own, and --scan-shape says "
                f"{scan_shape[0]} × {scan_shape[1]}: leave it out, and take a part "
                "by --scan-crop, if that was meant"
            )
        listed = shape[0] if len(shape) == 3 else math.prod(shape[:2]) if len(shape) == 4 else 0
        if listed != math.prod(scan_shape):
            raise UnfitError(
                f"has shape {shape}, which is not {scan_shape[0]} × {scan_shape[1]} "
                "positions; give another --scan-shape"
            )
        _check_size((*scan_shape, *shape[-2:]), patterns)
        if not isinstance(patterns, np.ndarray) and not hasattr(patterns, "dask"):
            patterns = on_disk(patterns, patterns.chunks or "auto")
        return patterns.reshape(*scan_shape, *shape[-2:])
    if len(shape) == 3:
        raise UnfitError(
            f"lists {shape[0]} patterns of {shape[1]} × {shape[2]} pixels; say how they "
            "were scanned: --scan-shape RX RY"
        )
    if len(shape) != 4:
        raise UnfitError(
            f"has {len(shape)} axes, {shape}; expected four: scan Rx, Ry, detector Qx, Qy"
        )
    _check_size(shape, patterns)
    return patterns


def _check_size(shape: tuple[int, ...], patterns: Any) -> None:
    """Raise if there are no patterns, or impossibly many, since a file may claim anything."""
    if 0 in shape:
        raise UnfitError(f"has shape {shape}; there is nothing in it")
    size = math.prod(shape) * patterns.dtype.itemsize
    if math.prod(shape[:2]) > _MOST_POSITIONS or size > _MOST_BYTES:
        raise UnfitError(
            f"claims the shape {shape}, {size / 2**40:.4g} TiB; expected at most "
            f"{_MOST_POSITIONS} positions and {_MOST_BYTES / 2**40:g} TiB: is it damaged?"
        )
    chunks = getattr(patterns, "chunks", None)
    if chunks and not isinstance(patterns, np.ndarray):
        sides = [max(c) if isinstance(c, tuple) else int(c) for c in chunks]
        check_memory(
            math.prod(sides) * patterns.dtype.itemsize,
            f"is stored in chunks of {' × '.join(map(str, sides))} values, each",
            "store it in smaller chunks",
        )


def one_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200]
