"""From the values of a file to readings: what is none, bad pixels, and the floor."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from misr4d.calibrate.floor import Lowered, find_floor
from misr4d.calibrate.pixels import (
    PixelsReplaced,
    ValuesReplaced,
    find_bad_pixels,
    find_dead_areas,
    pixels_never_read,
)
from misr4d.io.scan import Quantity, Scan
from misr4d.io.survey import Survey, survey

__all__ = ["BadPixelChoice", "replace_bad_pixels", "said"]

BadPixelChoice = Literal["found", "none"] | NDArray[np.bool_]


def said(known: Mapping[str, Quantity], name: str, otherwise: Any) -> Any:
    """Return the value of a quantity, or `otherwise` if it is not known."""
    return known[name].value if name in known else otherwise


def replace_bad_pixels(
    scan: Scan, choice: BadPixelChoice, known: dict[str, Quantity], warnings: list[str]
) -> tuple[Scan, Survey, NDArray[np.float64], NDArray[np.bool_], float]:
    """Replace values that are no counts and bad pixels, and subtract a pedestal.

    Parameters
    ----------
    scan : Scan
    choice : {"found", "none"} or ndarray
        As of :func:`misr4d.report.preparation.prepare`.
    known : dict
        Quantities; those that are found are added.
    warnings : list of str
        What was found is added.

    Returns
    -------
    scan, scan_survey : Scan, Survey
        The scan without them, and a survey of it.
    recorded, bad : ndarray
        Mean as recorded and the mask ``(Qx, Qy)``.
    floor : float
        What a pixel still reads without electrons [counts].

    Raises
    ------
    ValueError
        If the choice is neither word nor a mask of the detector's shape, or as
        :func:`misr4d.io.survey.survey`.
    """
    shape = scan.patterns.shape
    gain = said(known, "gain", 1.0)
    positions = math.prod(shape[:2])
    given_bad = np.zeros(shape[2:], dtype=bool)
    if not isinstance(choice, str):
        given_bad = np.asarray(choice, dtype=bool)
        if given_bad.shape != shape[2:]:
            raise ValueError(
                f"bad_pixels has shape {given_bad.shape}; expected the detector's, "
                f"{tuple(shape[2:])}"
            )
        known["bad_pixels"] = Quantity(int(given_bad.sum()), "pixel", "given")
        # Bad pixels may hold values that are not even numbers.
        scan = replace(scan, patterns=PixelsReplaced(scan.patterns, given_bad))
    elif choice not in ("found", "none"):
        raise ValueError(f"bad_pixels is {choice!r}; expected 'found', 'none' or a mask")
    scan, scan_survey = _only_readings(scan, known, warnings)
    never = pixels_never_read(scan_survey, positions) & ~given_bad
    bad = given_bad | never
    if isinstance(choice, str) and choice == "found":
        # In electrons, since the search allows for counting noise.
        unit = max(gain, _read_noise(scan_survey, bad, positions))
        pixel_search = find_bad_pixels(np.maximum(scan_survey.mean, 0) * (positions / unit))
        bad = bad | pixel_search.mask
    recorded, whole_numbers = scan_survey.mean, scan_survey.whole
    pedestal, floor = _floor(scan_survey, ~bad, positions, known, warnings)
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
        known["hot_pixels"] = Quantity(int(pixel_search.hot.sum()), "pixel", "estimated")
        known["dead_pixels"] = Quantity(int(dead.sum()), "pixel", "estimated")
        bad = bad | dead
    if bad.any():
        replaced = PixelsReplaced(
            scan.patterns, bad, scan_survey.mean, counted=whole_numbers and gain == 1.0
        )
        scan = replace(scan, patterns=replaced)
        scan_survey = survey(scan, signed=signed)
    scan_survey = replace(scan_survey, whole=whole_numbers)
    return scan, scan_survey, recorded, bad, floor


def _only_readings(
    scan: Scan, known: Mapping[str, Quantity], warnings: list[str]
) -> tuple[Scan, Survey]:
    """Replace values that are no readings, each at its position, and say how many."""
    seen = survey(scan)
    if seen.negative:
        warnings.append(
            f"{seen.negative:.0%} of all values are below 0, as read noise leaves them around a "
            "level that was subtracted: they are used as they are, and are no counts of electrons"
        )
    if seen.invalid is None:
        return scan, seen
    values, positions = int(seen.invalid.sum()), math.prod(scan.patterns.shape[:2])
    never = int(pixels_never_read(seen, positions).sum())
    counted = seen.whole and not seen.negative and said(known, "gain", 1.0) == 1.0
    repaired = replace(
        scan, patterns=ValuesReplaced(scan.patterns, seen.limits, seen.mean, counted=counted)
    )
    low, high = seen.limits
    warnings.append(
        f"{values} of {positions * seen.mean.size} values are no readings (not finite, below "
        f"{low:.6g} or above {high:.6g}) and were not counted: each was replaced by noise of its "
        "pixel's level"
        + (f"; {never} pixels have none at all and are bad ones" if never else "")
        + (
            f"; {seen.unread} patterns have none in half of their pixels and are blank"
            if seen.unread
            else ""
        )
    )
    return repaired, replace(
        survey(repaired, signed=bool(seen.negative)), invalid=seen.invalid, negative=seen.negative
    )


def _read_noise(seen: Survey, bad: NDArray[np.bool_], positions: int) -> float:
    """Noise of the sum of all patterns in a dim pixel, where values are negative by noise."""
    if not seen.negative:
        return 0.0
    dim = ~bad & (seen.mean <= np.median(seen.mean[~bad]))
    spread = np.median(np.abs(seen.mean[dim] - np.median(seen.mean[dim])))
    return 1.48 * float(spread) * positions


def _floor(
    seen: Survey,
    good: NDArray[np.bool_],
    positions: int,
    known: dict[str, Quantity],
    warnings: list[str],
) -> tuple[float, float]:
    """Split a pixel's reading without electrons: a part to subtract from values, one from views."""
    counted = seen.whole and said(known, "gain", 1.0) == 1.0
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
            return 0.0, 0.0
        level, pedestal = floor_estimate.level, float(floor_estimate.pedestal)
        known["offset"] = Quantity(level, "count", "estimated", floor_estimate.error)
        share = level * seen.mean.size / float((seen.mean - min(level, 0.0)).sum())
        warnings.append(
            f"every detector pixel reads {level:.4g} counts without electrons, by the level far "
            f"from the disc, {abs(share):.0%} of all that was counted: "
            + (
                "subtracted. Pass --offset 0 if it is scattering, or the offset if it is known "
                "better"
                if level > 0
                else "too much was subtracted from the patterns, and is added again. Pass the "
                "--offset if it is known better"
            )
        )
    if counted:
        # A constant can be subtracted from each value; of a changing level only the mean can.
        return pedestal, level - pedestal
    return level, 0.0
