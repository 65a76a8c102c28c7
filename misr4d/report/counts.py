"""What was counted: bad pixels, the floor of the detector, the dose of positions, electrons."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from misr4d.calibrate.counting import (
    BeamDose,
    LevelledCube,
    common_flicker,
    flicker,
    halves_of_totals,
    with_flicker,
)
from misr4d.calibrate.disc import Disc
from misr4d.calibrate.floor import Lowered, find_floor
from misr4d.calibrate.pixels import (
    PixelsReplaced,
    ValuesReplaced,
    find_bad_pixels,
    find_dead_areas,
    pixels_never_read,
)
from misr4d.core.datacube import Datacube
from misr4d.io.scan import Quantity, Scan, value_or
from misr4d.io.survey import Survey, survey

__all__ = [
    "BadPixelChoice",
    "CleanScan",
    "Electrons",
    "add_flicker",
    "beam_electrons",
    "clean",
    "count_electrons",
    "counting_warnings",
    "levelled",
]

BadPixelChoice = Literal["found", "none"] | NDArray[np.bool_]

# Our choice: a larger replaced fraction costs more contrast than the dose's uncertainty.
_MUCH_REPLACED = 0.03

# Our choice: clipped values are rarer than this if the disc is well within the counter's range.
_CLIPPED = 1e-4


@dataclass(frozen=True)
class CleanScan:
    """A scan whose bad pixels are replaced and whose pedestal is subtracted.

    Parameters
    ----------
    scan : Scan
    survey : Survey
        Of the patterns of `scan`.
    recorded : ndarray
        Mean pattern as recorded ``(Qx, Qy)``.
    bad : ndarray
        Pixels that were replaced ``(Qx, Qy)``.
    floor : float
        What a pixel of `scan` still reads without electrons [counts].
    quantities : mapping
        What was found out.
    warnings : tuple of str
    """

    scan: Scan
    survey: Survey
    recorded: NDArray[np.float64]
    bad: NDArray[np.bool_]
    floor: float
    quantities: Mapping[str, Quantity]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Electrons:
    """Electrons of a position.

    Parameters
    ----------
    number : float
        Mean over positions, on the scale of the patterns.
    counted : bool
        Whether the patterns are counts of electrons.
    quantities : mapping
        What was found out.
    warnings : tuple of str
    """

    number: float
    counted: bool
    quantities: Mapping[str, Quantity]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class _Floor:
    """Reading without electrons [counts]: a part to subtract from values, and one from views."""

    pedestal: float
    floor: float
    quantities: Mapping[str, Quantity]
    warnings: tuple[str, ...] = ()


def clean(scan: Scan, choice: BadPixelChoice) -> CleanScan:
    """Replace values that are no readings and bad pixels, and subtract a pedestal.

    Parameters
    ----------
    scan : Scan
    choice : {"found", "none"} or ndarray
        Pixels to replace: those that are found, none, or a mask ``(Qx, Qy)`` of bool.

    Raises
    ------
    ValueError
        If the choice is none of these, or the mask has another shape.
    """
    quantities: dict[str, Quantity] = {}
    shape = scan.patterns.shape
    gain = value_or(scan.known, "gain", 1.0)
    positions = math.prod(shape[:2])
    given_bad = np.zeros(shape[2:], dtype=bool)
    if not isinstance(choice, str):
        given_bad = np.asarray(choice, dtype=bool)
        if given_bad.shape != shape[2:]:
            raise ValueError(
                f"bad_pixels has shape {given_bad.shape}; expected the detector's, "
                f"{tuple(shape[2:])}"
            )
        quantities["bad_pixels"] = Quantity(int(given_bad.sum()), "pixel", "given")
        # Bad pixels may hold values that are not even numbers.
        scan = replace(scan, patterns=PixelsReplaced(scan.patterns, given_bad))
    elif choice not in ("found", "none"):
        raise ValueError(f"bad_pixels is {choice!r}; expected 'found', 'none' or a mask")
    scan, scan_survey, warnings = _only_readings(scan, scan.known)
    never = pixels_never_read(scan_survey, positions) & ~given_bad
    bad = given_bad | never
    if isinstance(choice, str) and choice == "found":
        # In electrons, since the search allows for counting noise.
        unit = max(gain, _read_noise(scan_survey, bad, positions))
        pixel_search = find_bad_pixels(np.maximum(scan_survey.mean, 0) * (positions / unit))
        bad = bad | pixel_search.mask
    recorded, whole_numbers = scan_survey.mean, scan_survey.whole
    background = _background(scan_survey, ~bad, positions, scan.known)
    quantities |= background.quantities
    pedestal, floor = background.pedestal, background.floor
    signed = bool(pedestal) or scan_survey.negative > 0
    if float(scan_survey.least[~bad].min()) < min(pedestal, 0.0):
        whole_numbers = False  # read noise, and no count
    if pedestal:
        scan = replace(scan, patterns=Lowered(scan.patterns, pedestal))
        totals = scan_survey.totals - pedestal * scan_survey.mean.size
        scan_survey = replace(scan_survey, mean=scan_survey.mean - pedestal, totals=totals)
    if isinstance(choice, str) and choice == "found":
        summed = np.maximum(scan_survey.mean - floor, 0) * (positions / unit)
        dead = (
            pixel_search.dead | never | find_dead_areas(np.where(bad, 0, summed), pixel_search.hot)
        )
        if pedestal or floor:
            dead |= find_bad_pixels(summed).dead & ~pixel_search.hot
        quantities["hot_pixels"] = Quantity(int(pixel_search.hot.sum()), "pixel", "estimated")
        quantities["dead_pixels"] = Quantity(int(dead.sum()), "pixel", "estimated")
        bad = bad | dead
    if bad.any():
        replaced = PixelsReplaced(
            scan.patterns, bad, scan_survey.mean, counted=whole_numbers and gain == 1.0
        )
        scan = replace(scan, patterns=replaced)
        scan_survey = survey(scan, signed=signed)
    scan_survey = replace(scan_survey, whole=whole_numbers)
    warnings += background.warnings
    return CleanScan(scan, scan_survey, recorded, bad, floor, quantities, warnings)


def _only_readings(
    scan: Scan, known: Mapping[str, Quantity]
) -> tuple[Scan, Survey, tuple[str, ...]]:
    """Replace values that are no readings, each at its position, and say how many."""
    seen = survey(scan)
    warnings: tuple[str, ...] = ()
    if seen.negative:
        warnings += (
            f"{seen.negative:.0%} of all values are below 0, as read noise leaves them around a "
            "level that was subtracted: they are used as they are, and are no counts of electrons",
        )
    if seen.invalid is None:
        return scan, seen, warnings
    values, positions = int(seen.invalid.sum()), math.prod(scan.patterns.shape[:2])
    never = int(pixels_never_read(seen, positions).sum())
    counted = seen.whole and not seen.negative and value_or(known, "gain", 1.0) == 1.0
    repaired = replace(
        scan, patterns=ValuesReplaced(scan.patterns, seen.limits, seen.mean, counted=counted)
    )
    low, high = seen.limits
    warnings += (
        f"{values} of {positions * seen.mean.size} values are no readings (not finite, below "
        f"{low:.6g} or above {high:.6g}) and were not counted: each was replaced by noise of its "
        "pixel's level"
        + (f"; {never} pixels have none at all and are bad ones" if never else "")
        + (
            f"; {seen.unread} patterns have none in half of their pixels and are blank"
            if seen.unread
            else ""
        ),
    )
    repaired_survey = survey(repaired, signed=bool(seen.negative))
    repaired_survey = replace(repaired_survey, invalid=seen.invalid, negative=seen.negative)
    return repaired, repaired_survey, warnings


def _read_noise(seen: Survey, bad: NDArray[np.bool_], positions: int) -> float:
    """Noise of the sum of all patterns in a dim pixel, where values are negative by noise."""
    if not seen.negative:
        return 0.0
    dim = ~bad & (seen.mean <= np.median(seen.mean[~bad]))
    spread = np.median(np.abs(seen.mean[dim] - np.median(seen.mean[dim])))
    return 1.48 * float(spread) * positions


def _background(
    seen: Survey, good: NDArray[np.bool_], positions: int, known: Mapping[str, Quantity]
) -> _Floor:
    """Take the given offset, or find what good pixels ``(Qx, Qy)`` read without electrons."""
    quantities: dict[str, Quantity] = {}
    warnings: tuple[str, ...] = ()
    counted = seen.whole and value_or(known, "gain", 1.0) == 1.0
    least_values = seen.least if seen.whole else None
    if "offset" in known:
        level = float(known["offset"].value)
        constant = (
            least_values is not None and float(np.quantile(least_values[good], 0.05)) >= level
        )
        pedestal = level if constant and level.is_integer() else 0.0
    else:
        floor_estimate = find_floor(seen.mean, good, least_values, positions)
        if floor_estimate is None:
            return _Floor(0.0, 0.0, quantities)
        level, pedestal = floor_estimate.level, float(floor_estimate.pedestal)
        quantities["offset"] = Quantity(level, "count", "estimated", floor_estimate.error)
        fraction = level * seen.mean.size / float((seen.mean - min(level, 0.0)).sum())
        remedy = (
            "subtracted. Pass --offset 0 if it is scattering, or the offset if it is known better"
            if level > 0
            else "too much was subtracted from the patterns, and is added again. Pass the --offset "
            "if it is known better"
        )
        warnings = (
            f"every detector pixel reads {level:.4g} counts without electrons, by the level far "
            f"from the disc, {abs(fraction):.0%} of all that was counted: {remedy}",
        )
    if counted:
        # A constant can be subtracted from each value; of a changing level only the mean can.
        return _Floor(pedestal, level - pedestal, quantities, warnings)
    return _Floor(level, 0.0, quantities, warnings)


def beam_electrons(
    seen: Survey, floor: float, known: Mapping[str, Quantity]
) -> NDArray[np.float64]:
    """Sum the electrons of every position ``(Rx, Ry)``, without the floor."""
    totals_above_floor: NDArray[np.float64] = seen.totals - floor * seen.mean.size
    return totals_above_floor / float(value_or(known, "gain", 1.0))


def add_flicker(
    cube: Datacube,
    disc: Disc,
    seen: Survey,
    floor: float,
    dose: BeamDose,
    known: Mapping[str, Quantity],
) -> BeamDose:
    """Add flicker of the beam, if both halves of the disc show it."""
    totals = beam_electrons(seen, floor, known)
    if flicker(totals, dose):
        uncropped_dose = replace(dose, part=(slice(None), slice(None)))
        cropped_dose = replace(
            uncropped_dose, relative=dose.relative[dose.part], blank=dose.blank[dose.part]
        )
        floor_per_half = floor * disc.mask((seen.mean.shape[0], seen.mean.shape[1])).sum() / 2
        first_half, second_half = (
            half_totals - floor_per_half for half_totals in halves_of_totals(cube, disc)
        )
        variance = common_flicker((first_half, second_half), cropped_dose)
        if variance:
            dose = with_flicker(dose, totals, variance)
    return dose


def levelled(cube: Datacube, dose: BeamDose | None, floor: float) -> LevelledCube:
    """Give a cube the dose of its positions, if that is uneven, and its floor."""
    relative = None if dose is None else dose.relative[dose.part]
    blank = None if dose is None else dose.blank[dose.part]
    return LevelledCube(
        cube.patterns,
        cube.step,
        cube.detector_pixel,
        cube.electrons,
        relative=relative,
        blank=blank,
        floor=floor,
    )


def counting_warnings(seen: Survey, bad: NDArray[np.bool_], disc: Disc) -> tuple[str, ...]:
    """Say that the counter clipped values in the disc, or that many of its pixels were replaced."""
    warnings: tuple[str, ...] = ()
    in_disc = disc.mask((bad.shape[0], bad.shape[1]))
    if seen.clipped and seen.at_end is not None:
        clipped_fraction = float(seen.at_end[in_disc].sum()) / (in_disc.sum() * seen.totals.size)
        if clipped_fraction > _CLIPPED:
            warnings += (
                f"{clipped_fraction:.2g} of the values in the disc are at {seen.largest:g} and "
                "none is above, as many would be: the counter ended there. Dose and contrast are "
                "too low; record with less current or a deeper counter",
            )
    bad_fraction = float(np.mean(bad[in_disc]))
    if bad_fraction > _MUCH_REPLACED:
        warnings += (
            f"bad pixels cover {bad_fraction:.0%} of the bright-field disc and were replaced by "
            "noise: the contrast is lower by as much",
        )
    return warnings


def count_electrons(
    seen: Survey,
    floor: float,
    dose: BeamDose | None,
    step: tuple[float, float],
    known: Mapping[str, Quantity],
) -> Electrons:
    """Count the electrons of a position; with a known gain or whole numbers, state the dose.

    Raises
    ------
    ValueError
        If none is left.
    """
    quantities: dict[str, Quantity] = {}
    warnings: tuple[str, ...] = ()
    area = step[0] * step[1]
    totals = seen.totals - floor * seen.mean.size if floor else seen.totals
    if dose is not None and not dose.even:
        with_beam = ~dose.blank[dose.part]
        spread = float(dose.relative[dose.part][with_beam].std())
        quantities["dose_variation"] = Quantity(spread, "of the dose", "estimated")
        warnings += dose.notes
        totals = totals[dose.part][with_beam]
    electrons = float(totals.mean())  # all detected; those scattered past it are missed
    if electrons <= 0:
        raise ValueError(
            f"an offset of {value_or(known, 'offset', 0.0):g} counts a pixel leaves no electron: "
            "check --offset"
        )
    gain = value_or(known, "gain", 1.0)
    counted = seen.whole and gain == 1.0
    scale_is_known = seen.whole or gain != 1.0
    if "dose" in known and scale_is_known:
        electrons = known["dose"].value * area * gain
    elif "dose" in known:
        warnings += (
            f"the dose of {known['dose'].value:g} e⁻/Å² is not used: the patterns are not whole "
            "numbers, and what they count for an electron is not known: give --gain",
        )
    elif scale_is_known:
        # Error of the mean over positions; electrons scattered past the detector are not in it.
        error = float(totals.std()) / math.sqrt(totals.size) / gain / area
        quantities["dose"] = Quantity(electrons / gain / area, "e⁻/Å²", "estimated", error)
    if not counted:
        reason = f"count {gain:g} per electron" if gain != 1.0 else "are not whole numbers"
        warnings += (
            f"the patterns {reason}, so that single electrons cannot be dealt into half-sets",
        )
    empty = int((totals == 0).sum())
    if empty:
        warnings += (f"{empty} of {totals.size} positions hold no electron",)
    return Electrons(electrons, counted, quantities, warnings)
