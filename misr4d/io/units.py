"""What readers hand over: the array of a scan, and numbers in the units that writers use."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from misr4d.io.scan import _one_line, _UnfitError

__all__ = [
    "ANGLES",
    "ENERGIES",
    "FREQUENCIES",
    "LENGTHS",
    "Calibration",
    "Reading",
    "choose_array",
    "spelling",
]


@dataclass(frozen=True)
class Reading:
    """Result of a reader: numbers in the units of the file, to be checked and converted."""

    patterns: Any
    values: Mapping[str, Any] = field(default_factory=dict)
    # The unit of a detector pixel is an angle, or a frequency while the wavelength is not known.
    pixel: tuple[tuple[float, float], str] | None = None
    notes: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)


# --- Units -------------------------------------------------------------------------------------

LENGTHS = {"a": 1.0, "å": 1.0, "ang": 1.0, "angstrom": 1.0, "pm": 0.01, "nm": 10.0}

ANGLES = {"mrad": 1.0, "rad": 1e3, "urad": 1e-3, "µrad": 1e-3, "μrad": 1e-3}

FREQUENCIES = {
    spelt: 1 / LENGTHS[unit]
    for unit in LENGTHS
    for spelt in (f"1/{unit}", f"{unit}^-1", f"{unit}-1", f"{unit}⁻¹")
}


ENERGIES = {"ev", "kev"}


def spelling(unit: Any) -> str:
    """Spell a unit in one way: lower case, without TeX and blanks."""
    text = unit.decode() if isinstance(unit, bytes) else str(unit)
    return text.strip().strip("$").replace("{", "").replace("}", "").replace(" ", "").lower()


class Calibration:
    """Collects step and pixel from the axes, and notes unknown units."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.pixel: tuple[tuple[float, float], str] | None = None
        self.notes: list[str] = []

    @contextlib.contextmanager
    def noting(self) -> Iterator[None]:
        """Note a calibration that cannot be understood, so that the user can give it instead."""
        try:
            yield
        except _UnfitError:
            raise
        except Exception as error:  # a file may contain anything
            self.notes.append(
                f"what the file says of its calibration makes no sense ({_one_line(error)})"
            )

    def scan(self, sizes: tuple[Any, Any], units: tuple[Any, Any]) -> None:
        """Take the scan step in the units that the file states; note what is not understood."""
        lengths = [LENGTHS.get(spelling(u)) for u in units]
        if None not in lengths:
            self.values["step"] = tuple(
                float(size) * length
                for size, length in zip(sizes, lengths, strict=True)
                if length is not None
            )
        else:
            self._note("scan step", sizes, units)

    def detector(self, sizes: tuple[Any, Any], units: tuple[Any, Any]) -> None:
        """Take the detector pixel, an angle or a frequency; note what is not understood."""
        unit_x, unit_y = (spelling(u) for u in units)
        if unit_x == unit_y and (unit_x in ANGLES or unit_x in FREQUENCIES):
            self.pixel = ((float(sizes[0]), float(sizes[1])), unit_x)
        else:
            self._note("detector pixel", sizes, units)

    def _note(self, what: str, sizes: tuple[Any, Any], units: tuple[Any, Any]) -> None:
        if {spelling(u) for u in units} - {"", "none", "<undefined>", "pixels", "pixel", "px"}:
            self.notes.append(f"the file's {what} has the unit {units[0]!s}, which is not known")


def choose_array(arrays: Mapping[str, Any], dataset: str | None) -> Any:
    """Choose the only array, or the named one."""
    listing = ", ".join(f"{k} {tuple(v.shape)}" for k, v in arrays.items()) or "none"
    if dataset is not None:
        if dataset not in arrays:
            raise _UnfitError(f"has no array {dataset!r} of three or four axes; it has {listing}")
        return arrays[dataset]
    if not arrays:
        raise _UnfitError("holds no array of three or four axes, so no scan")
    candidates = {k: v for k, v in arrays.items() if len(v.shape) == 4} or arrays
    if len(candidates) != 1:
        raise _UnfitError(
            f"holds several arrays that could be a scan: {listing}; name one: --dataset"
        )
    return next(iter(candidates.values()))
