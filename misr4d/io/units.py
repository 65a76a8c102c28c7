"""What readers hand over: the array of a scan, and numbers in the units that writers use."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from misr4d.io.scan import UnfitError, one_line

__all__ = [
    "ANGLES",
    "ENERGIES",
    "FREQUENCIES",
    "LENGTHS",
    "Calibration",
    "Reading",
    "choose_array",
    "energy_of",
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

LENGTHS = {
    **dict.fromkeys(("a", "å", "ang", "angstrom", "angstroms", "ångström"), 1.0),
    **dict.fromkeys(("pm", "picometer"), 0.01),
    **dict.fromkeys(("nm", "nanometer", "nanometers", "nanometre"), 10.0),
    **dict.fromkeys(("um", "µm", "μm", "micron", "micrometer"), 1e4),
    **dict.fromkeys(("mm", "millimeter"), 1e7),
    **dict.fromkeys(("cm", "centimeter"), 1e8),
    **dict.fromkeys(("m", "meter"), 1e10),
}

ANGLES = {
    **dict.fromkeys(("mrad", "mrads", "milliradian", "milliradians"), 1.0),
    # pyxem calls the angle between beams 2θ.
    **dict.fromkeys(("rad", "rads", "radian", "radians", "2th_rad"), 1e3),
    **dict.fromkeys(("urad", "µrad", "μrad"), 1e-3),
    **dict.fromkeys(("deg", "degree", "degrees", "°", "2th_deg"), math.radians(1) * 1e3),
}

_FREQUENCIES = {
    spelt: 1 / length
    for unit, length in LENGTHS.items()
    for spelt in (
        f"1/{unit}",
        f"{unit}^-1",
        f"{unit}^(-1)",
        f"{unit}**-1",
        f"{unit}-1",
        f"{unit}⁻¹",
        f"/{unit}",
    )
}

# pyxem writes k for spatial frequencies and q for 2π times those.
FREQUENCIES = {
    **_FREQUENCIES,
    **{f"k_{spelt}": size for spelt, size in _FREQUENCIES.items()},
    **{f"q_{spelt}": size / math.tau for spelt, size in _FREQUENCIES.items()},
}


ENERGIES = {"ev", "kev"}


def spelling(unit: Any) -> str:
    """Spell a unit in one way: lower case, without TeX, blanks and the marks of EMD 0.2."""
    text = unit.decode() if isinstance(unit, bytes) else str(unit)
    text = text.replace("\\AA", "Å")
    for mark in "$[]{} \\":
        text = text.replace(mark, "")
    text = text.lower().removeprefix("mathrm")
    # EMD 0.2 writes n_m for nm and n_m_^-1 for 1/nm.
    return text.replace("n_m", "nm").replace("_^", "^").replace("\u212b", "å")


def energy_of(number: Any, unit: Any) -> float | None:
    """Energy of the electrons [eV]; without a unit thousands are volts, and less kilovolts."""
    try:
        value = float(np.ravel(number)[0])
    except (TypeError, ValueError, IndexError):
        return None
    if not (math.isfinite(value) and value > 0):
        return None
    scales = {
        "ev": 1.0,
        "v": 1.0,
        "kev": 1e3,
        "kv": 1e3,
        "mev": 1e6,
        "mv": 1e6,
        "j": 1 / 1.602176634e-19,
    }
    spelt = spelling(unit)
    if spelt in scales:
        return value * scales[spelt]
    return value if value >= 5e3 else value * 1e3


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
        except UnfitError:
            raise
        except Exception as error:  # a file may contain anything
            self.notes.append(
                f"what the file says of its calibration makes no sense ({one_line(error)})"
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

    def detector(
        self, sizes: tuple[Any, Any], units: tuple[Any, Any], camera_length: float | None = None
    ) -> None:
        """Take the detector pixel, an angle or a frequency; note what is not understood.

        Parameters
        ----------
        sizes, units
            Of a pixel along (Qx, Qy).
        camera_length : float, optional
            In Å; it turns a length on the detector into an angle.
        """
        unit_x, unit_y = (spelling(u) for u in units)
        if unit_x == unit_y and unit_x in LENGTHS and camera_length:
            angles = [float(size) * LENGTHS[unit_x] / camera_length * 1e3 for size in sizes]
            self.pixel = ((angles[0], angles[1]), "mrad")
        elif unit_x == unit_y and (unit_x in ANGLES or unit_x in FREQUENCIES):
            self.pixel = ((float(sizes[0]), float(sizes[1])), unit_x)
        else:
            self._note("detector pixel", sizes, units)

    def _note(self, what: str, sizes: tuple[Any, Any], units: tuple[Any, Any]) -> None:
        spelt = {spelling(u) for u in units}
        if not spelt - {"", "none", "<undefined>", "pixels", "pixel", "px"}:
            return
        reason = "not known"
        if what == "detector pixel" and spelt <= set(LENGTHS):
            reason = "a length: without a camera length it gives no angle"
        names = " and ".join(dict.fromkeys(str(u) or "none" for u in units))
        self.notes.append(f"the unit of the file's {what} is {names}, {reason}")


def choose_array(arrays: Mapping[str, Any], dataset: str | None) -> Any:
    """Choose the only array, or the named one."""
    listing = ", ".join(f"{k} {tuple(v.shape)}" for k, v in arrays.items()) or "none"
    if dataset is not None:
        if dataset not in arrays:
            raise UnfitError(f"has no array {dataset!r} of three or four axes; it has {listing}")
        return arrays[dataset]
    if not arrays:
        raise UnfitError("holds no array of three or four axes, so no scan")
    candidates = {k: v for k, v in arrays.items() if len(v.shape) == 4} or arrays
    if len(candidates) != 1:
        raise UnfitError(
            f"holds several arrays that could be a scan: {listing}; name one: --dataset"
        )
    return next(iter(candidates.values()))
