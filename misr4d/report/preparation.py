"""Scan preparation: bad pixels, disc, descan, electrons, defocus, rotation and drift."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from misr4d.calibrate.calibration import estimate_rotation
from misr4d.calibrate.counting import (
    BeamDose,
    LevelledCube,
    common_flicker,
    cropped,
    find_beam_dose,
    flicker,
    halves_of_totals,
    with_flicker,
)
from misr4d.calibrate.defocus import Search, estimate_defocus
from misr4d.calibrate.descan import fit_descan, recentre
from misr4d.calibrate.disc import Disc, find_disc, second_disc
from misr4d.calibrate.drift import drift_matrix
from misr4d.calibrate.square import SquarePixels
from misr4d.core.acquisition import UPSAMPLING, Acquisition
from misr4d.core.datacube import Datacube
from misr4d.core.detector import STRAIGHT
from misr4d.io.scan import Quantity, Scan
from misr4d.io.survey import Survey, survey
from misr4d.report.readings import BadPixelChoice, replace_bad_pixels, said

__all__ = ["Detector", "Prepared", "prepare"]

# Our choice: the network was trained on discs some eight detector pixels in radius.
_DISC_RADIUS = 8.0

# Our choice: a larger ratio to the value that the network was trained at gives a warning.
_FAR = 1.25

# Our choice: a smaller replaced share costs less contrast than the dose's uncertainty.
_MUCH_REPLACED = 0.03

# Our choice: clipped values are rarer than this if the disc is well within the counter's range.
_CLIPPED = 1e-4

# Our choices: sides that differ by less are called equal, and by more are not those of a detector.
_SQUARE, _OBLONG = 1e-3, 4.0

# Our choice: 256 × 256 positions show the geometry as well as a million, in less memory and time.
_MIDDLE = 256


@dataclass(frozen=True)
class Detector:
    """What the detector recorded, which pixels were replaced, and how its views register.

    Parameters
    ----------
    mean : ndarray
        Mean pattern as recorded ``(Qx, Qy)``.
    bad : ndarray
        Pixels that were replaced ``(Qx, Qy)``.
    disc : Disc
        As it lies on the recorded pattern, in the middle of the scan.
    totals : ndarray
        What it counted at each position, bad pixels replaced ``(Rx, Ry)``.
    search : Search or None
        How the views register for every trial, if the defocus was estimated.
    """

    mean: NDArray[np.float64]
    bad: NDArray[np.bool_]
    disc: Disc
    totals: NDArray[np.float64]
    search: Search | None = None


@dataclass(frozen=True)
class Prepared:
    """A prepared scan: recentred patterns, their acquisition, and the quantities that it rests on.

    Parameters
    ----------
    cube : Datacube
        Recentred; it stays on disk if it was there.
    acquisition : Acquisition
        Its defocus counts from the specimen's middle; a turned one if the detector is turned.
    quantities : mapping
        Every number that entered, with its origin.
    counted : bool
        Whether the patterns are counts of electrons.
    warnings : tuple of str
    detector : Detector
    """

    cube: Datacube
    acquisition: Acquisition
    quantities: Mapping[str, Quantity]
    counted: bool
    warnings: tuple[str, ...]
    detector: Detector


def prepare(
    scan: Scan, bad_pixels: BadPixelChoice = "found", *, level_dose: bool = True
) -> Prepared:
    """Calibrate a scan: what is neither given nor in the file is estimated from the patterns.

    Parameters
    ----------
    scan : Scan
        Energy and step must be known, and the semi-angle or the detector pixel.
    bad_pixels : {"found", "none"} or ndarray
        Detector pixels to replace by noise of the level around them, before all else: those that
        :func:`misr4d.calibrate.pixels.find_bad_pixels` finds, none, or the given ones ``(Qx, Qy)``
        of bool.

    Returns
    -------
    Prepared

    Raises
    ------
    ValueError
        If something that must be known is not, or the patterns are not a scan of at least
        32 × 32 positions with a whole bright-field disc; the message says which.
    """
    _check_known(scan)
    energy, step = scan.value("energy"), scan.value("step")
    known = dict(scan.known)
    warnings = list(scan.notes)
    scan, scan_survey, recorded, bad, floor = replace_bad_pixels(scan, bad_pixels, known, warnings)
    square = None
    sides = said(known, "detector_pixel", (1.0, 1.0))
    if max(sides) > (1 + _SQUARE) * min(sides):
        counted = scan_survey.whole and said(known, "gain", 1.0) == 1.0
        square = SquarePixels(scan.patterns, sides, counted=counted)
        scan = replace(scan, patterns=square)
        scan_survey = replace(
            survey(scan, signed=float(scan_survey.least.min()) < 0), whole=scan_survey.whole
        )
        recorded, bad = square.deal(recorded), square.deal(bad) > 0
        floor /= square.ratio
        if "centre" in known:
            known["centre"] = replace(known["centre"], value=square.place(known["centre"].value))
        warnings.append(
            f"the detector's pixels are {sides[0]:.4g} × {sides[1]:.4g} mrad: they were dealt to "
            f"square ones of {max(sides):.4g} mrad, each electron at random within its pixel"
        )
    dose = None
    if level_dose:
        dose = find_beam_dose(_beam_electrons(scan_survey, floor, known))
        scan = replace(scan, patterns=cropped(scan.patterns, dose.part))
    positions = scan.patterns.shape[:2]
    if min(positions) < 32:
        raise ValueError(
            f"{scan.path.name} has {positions[0]} × {positions[1]} positions with beam "
            f"({'; '.join(dose.notes if dose else ())}); expected at least 32 × 32"
        )
    try:
        cube, disc = _recentred(scan, scan_survey, known, warnings)
    except ValueError as error:
        if _shows_disc(scan_survey.totals) and not _shows_disc(scan_survey.mean):
            raise ValueError(
                f"{scan.path.name} has the bright disc in its scan axes and none in its patterns: "
                "pass --axes Qx,Qy,Rx,Ry if the detector's axes come first"
            ) from error
        raise
    if dose is not None:
        dose = _with_flicker(cube, disc, scan_survey, floor, dose, known)
    _check_counter(scan_survey, _as_recorded(disc, known), warnings)
    bad_fraction = float(np.mean(bad[_as_recorded(disc, known).mask((bad.shape[0], bad.shape[1]))]))
    if bad_fraction > _MUCH_REPLACED:
        warnings.append(
            f"bad pixels cover {bad_fraction:.0%} of the bright-field disc and were replaced by "
            "noise: the contrast is lower by as much"
        )
    _check_disc(_as_recorded(disc, known), scan_survey.mean, warnings)
    semiangle, pixel = _angles(disc, known, warnings)
    electrons, counted = _electrons(scan_survey, floor, dose, step, known, warnings)
    if dose is not None and dose.even:
        dose = None
    cube = _levelled(cube, dose, floor)
    cube = replace(cube, detector_pixel=(pixel, pixel), electrons=electrons)
    binning = _binning(semiangle / pixel)
    known["binning"] = Quantity(binning, "pixel", "estimated")
    acquisition = Acquisition(
        defocus=said(known, "defocus", 0.0),  # or estimated below
        step=step,
        energy=energy,
        semiangle=semiangle,
        scan_shape=(positions[0], positions[1]),
        detector_pixel=binning * pixel,
    )
    search = None
    if "defocus" not in known:
        midplane, search = _focused(cube, acquisition, known, warnings)
    else:
        # Unless the thickness is known, a defocus counts from the middle, as a measured one does.
        known.setdefault("thickness", Quantity(0.0, "Å", "assumed"))
        astigmatism = said(known, "astigmatism", (0.0, 0.0))
        midplane = replace(acquisition, astigmatism=astigmatism).refocused(
            known["thickness"].value / 2
        )
    midplane.check_upsampling(UPSAMPLING)
    if midplane.largest_view_shift > min(midplane.field):
        raise ValueError(
            f"a defocus of {midplane.defocus:g} Å displaces the outermost views by "
            f"{midplane.largest_view_shift:.3g} Å, out of the field of {midplane.field[0]:g} × "
            f"{midplane.field[1]:g} Å; check --defocus and --step"
        )
    turned_acquisition = _turned(cube, midplane, known, warnings)
    # Nearer to the edge than this, some views show what lies outside the field.
    known["rim"] = Quantity(turned_acquisition.largest_view_shift, "Å", "estimated")
    detector = Detector(recorded, bad, _as_recorded(disc, known), scan_survey.totals, search)
    if square is not None:
        centre = square.place(known["centre"].value, back=True)
        known["centre"] = replace(known["centre"], value=centre)
    return Prepared(cube, turned_acquisition, known, counted, tuple(warnings), detector)


def _check_known(scan: Scan) -> None:
    """Raise if too little is known of a scan to start."""
    positions = scan.patterns.shape[:2]
    if min(positions) < 32:
        raise ValueError(
            f"{scan.path.name} has {positions[0]} × {positions[1]} positions; expected at least "
            "32 × 32"
        )
    for name in ("energy", "step"):
        scan.value(name)
    drift = said(scan.known, "drift", (0.0, 0.0))
    if math.hypot(*drift) >= min(scan.value("step")) / 2:
        raise ValueError(
            f"the drift is ({drift[0]:g}, {drift[1]:g}) Å from one line to the next; expected less "
            f"than half a step of {min(scan.value('step')):g} Å: check --drift and --step"
        )
    if "detector_pixel" not in scan.known:
        scan.value("semiangle")
        return
    sides = scan.value("detector_pixel")
    if max(sides) > _OBLONG * min(sides):
        raise ValueError(
            f"the detector pixel is {sides[0]:g} × {sides[1]:g} mrad; expected one at most "
            f"{_OBLONG:g} times as long as wide: check --detector-pixel, or bin the patterns first"
        )


def _beam_electrons(
    seen: Survey, floor: float, known: Mapping[str, Quantity]
) -> NDArray[np.float64]:
    """Sum the electrons of every position ``(Rx, Ry)``, without the floor."""
    totals_above_floor: NDArray[np.float64] = seen.totals - floor * seen.mean.size
    return totals_above_floor / float(said(known, "gain", 1.0))


def _with_flicker(
    cube: Datacube,
    disc: Disc,
    seen: Survey,
    floor: float,
    dose: BeamDose,
    known: dict[str, Quantity],
) -> BeamDose:
    """Add flicker of the beam, if both halves of the disc show it."""
    totals = _beam_electrons(seen, floor, known)
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


def _levelled(cube: Datacube, dose: BeamDose | None, floor: float) -> Datacube:
    """Give a cube the dose of its positions and its floor, if there is any."""
    if dose is None and not floor:
        return cube
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


def _check_counter(seen: Survey, disc: Disc, warnings: list[str]) -> None:
    """Warn of values that were clipped at the counter's end."""
    if not seen.clipped or seen.at_end is None:
        return
    in_disc = disc.mask((seen.mean.shape[0], seen.mean.shape[1]))
    clipped_fraction = float(seen.at_end[in_disc].sum()) / (in_disc.sum() * seen.totals.size)
    if clipped_fraction > _CLIPPED:
        warnings.append(
            f"{clipped_fraction:.2g} of the values in the disc are at {seen.largest:g} and none is "
            "above, as many would be: the counter ended there. Dose and contrast are too low; "
            "record with less current or a deeper counter"
        )


def _as_recorded(disc: Disc, known: Mapping[str, Quantity]) -> Disc:
    """Move the disc, fitted after recentring, back to its place on the detector."""
    return replace(disc, centre=known["centre"].value)


def _recentred(
    scan: Scan, seen: Survey, known: dict[str, Quantity], warnings: list[str]
) -> tuple[Datacube, Disc]:
    """Move the axis to the middle of the detector, along a drift if there is one."""
    unknown_size = (math.nan, math.nan)  # neither step nor pixel matters here
    cube = Datacube(scan.patterns, unknown_size, unknown_size)
    detector_centre = tuple(n // 2 for n in scan.patterns.shape[2:])
    if "centre" in known:
        x, y = known["centre"].value
        recentred_cube = recentre(cube, (x, y))
        shift = (detector_centre[0] - round(x), detector_centre[1] - round(y))
        disc = _moved(_disc_around(seen.mean, (x, y)), shift)
        distance = math.hypot(*(c - m for c, m in zip(disc.centre, detector_centre, strict=True)))
        if distance > max(1.5, 0.15 * disc.radius):
            warnings.append(
                f"the brightest disc lies {distance:.1f} pixels from the given centre: check "
                "--centre, unless that disc is a Bragg reflection brighter than the beam"
            )
        return recentred_cube, disc
    drift = fit_descan(cube)
    # Counts can be moved by whole pixels only; less than one over the scan is left as it is.
    span = np.abs(drift.slope) @ (np.array(scan.patterns.shape[:2]) - 1)
    error = drift.slope_error @ np.array(scan.patterns.shape[:2])
    if (span > np.maximum(1.0, 3 * error)).any():
        recentred_cube = recentre(cube, drift)
        disc = find_disc(recentred_cube.mean_pattern())
        nx, ny = cube.patterns.shape[:2]
        _check_on_detector(drift.centres((nx, ny)), disc.radius, seen.mean.shape)
        known["descan"] = Quantity(
            tuple(float(v) for v in span), "pixel", "estimated", float(error.max())
        )
        centre: tuple[float, float] = drift.middle
    else:
        fitted_disc = find_disc(seen.mean)
        centre = fitted_disc.centre
        recentred_cube = recentre(cube, fitted_disc)
        shift = (detector_centre[0] - round(centre[0]), detector_centre[1] - round(centre[1]))
        disc = _moved(fitted_disc, shift)
    known["centre"] = Quantity(centre, "pixel", "estimated", max(disc.centre_error))
    return recentred_cube, disc


def _moved(disc: Disc, shift: tuple[int, int]) -> Disc:
    """Disc of patterns that are moved by whole pixels."""
    return replace(disc, centre=(disc.centre[0] + shift[0], disc.centre[1] + shift[1]))


def _disc_around(mean: NDArray[np.float64], centre: tuple[float, float]) -> Disc:
    """Find the disc; raise unless one of its size around the given centre lies on the detector."""
    recentre(Datacube(mean[None, None], (1.0, 1.0), (1.0, 1.0)), centre)  # is it on the detector?
    disc = find_disc(mean)
    _check_on_detector(np.array(centre)[:, None, None], disc.radius, mean.shape)
    return disc


def _check_on_detector(centres: NDArray[np.float64], radius: float, shape: tuple[int, ...]) -> None:
    """Raise if the disc leaves the detector around any of these centres ``(2, Rx, Ry)``."""
    low, high = centres.min((1, 2)), centres.max((1, 2))
    # The fit of a radius and rounding to pixels may be wrong by half a pixel.
    if (low - radius < -1.0).any() or (high + radius > np.array(shape)).any():
        raise ValueError(
            f"a disc of radius {radius:.1f} pixels around ({low[0]:.1f}, {low[1]:.1f}) to "
            f"({high[0]:.1f}, {high[1]:.1f}) is not wholly on a detector of {shape[0]} × "
            f"{shape[1]} pixels; expected the whole bright-field disc at every position: check "
            "--centre, or record again"
        )


_RIVAL = 0.5  # our choice: from this brightness on a second disc may be the beam
_ELLIPSE = 1.05  # our choice: from this ratio of its axes on a disc is called an ellipse


def _check_disc(disc: Disc, mean: NDArray[np.float64], warnings: list[str]) -> None:
    """Warn of what may not be the direct beam, or not be round."""
    other = second_disc(mean, disc)
    if other is not None and other[1] > _RIVAL:
        (x, y), brightness = other
        warnings.append(
            f"a second disc, {brightness:.0%} as bright, lies {x - disc.centre[0]:+.0f} × "
            f"{y - disc.centre[1]:+.0f} pixels from the one that was taken for the beam: where "
            "that is a Bragg reflection, pass --centre"
        )
    if disc.stretch > _ELLIPSE:
        warnings.append(
            f"the disc is an ellipse, {disc.stretch:.2f} times as long as wide: its pixels are not "
            "square, or projector lenses distort it. All angles are those of a round disc of the "
            f"same area, up to {100 * (math.sqrt(disc.stretch) - 1):.0f} % wrong along its axes; "
            "pass --detector-pixel A,B if the pixels are oblong"
        )


def _shows_disc(image: NDArray[np.float64]) -> bool:
    try:
        find_disc(np.maximum(image, 0))
    except ValueError:
        return False
    return True


def _angles(disc: Disc, known: dict[str, Quantity], warnings: list[str]) -> tuple[float, float]:
    """Semi-angle and detector pixel [mrad], if needed one from the other by the disc's radius."""
    known["disc_radius"] = Quantity(disc.radius, "pixel", "estimated", disc.radius_error)
    relative_error = disc.radius_error / disc.radius
    if "detector_pixel" in known:
        pixel = float(max(known["detector_pixel"].value))  # that of square ones
        if "semiangle" not in known:
            value = disc.semiangle(pixel)
            known["semiangle"] = Quantity(value, "mrad", "estimated", value * relative_error)
    else:
        pixel = disc.detector_pixel(known["semiangle"].value)
        known["detector_pixel"] = Quantity(
            (pixel, pixel), "mrad", "estimated", pixel * relative_error
        )
    semiangle = float(known["semiangle"].value)
    if abs(disc.radius * pixel / semiangle - 1) > 0.05:
        warnings.append(
            f"the disc has a radius of {disc.radius:.2f} pixels, which at {pixel:.4g} mrad is "
            f"{disc.radius * pixel:.3g} mrad and not the semi-angle of {semiangle:.3g} mrad: check "
            "both"
        )
    return semiangle, pixel


def _electrons(
    seen: Survey,
    floor: float,
    dose: BeamDose | None,
    step: tuple[float, float],
    known: dict[str, Quantity],
    warnings: list[str],
) -> tuple[float, bool]:
    """Electrons of a position, on the scale of the patterns, and whether these are counts."""
    area = step[0] * step[1]
    totals = seen.totals - floor * seen.mean.size if floor else seen.totals
    if dose is not None and not dose.even:
        with_beam = ~dose.blank[dose.part]
        spread = float(dose.relative[dose.part][with_beam].std())
        known["dose_variation"] = Quantity(spread, "of the dose", "estimated")
        warnings += dose.notes
        totals = totals[dose.part][with_beam]
    electrons = float(totals.mean())  # all detected; those scattered past it are missed
    if electrons <= 0:
        raise ValueError(
            f"an offset of {said(known, 'offset', 0.0):g} counts a pixel leaves no electron: "
            "check --offset"
        )
    gain = said(known, "gain", 1.0)
    counted = seen.whole and gain == 1.0
    if "dose" in known:
        electrons = known["dose"].value * area * gain if seen.whole or gain != 1.0 else electrons
    elif seen.whole or gain != 1.0:
        # Error of the mean over positions; electrons scattered past the detector are not in it.
        error = float(totals.std()) / math.sqrt(totals.size) / gain / area
        known["dose"] = Quantity(electrons / gain / area, "e⁻/Å²", "estimated", error)
    if not counted:
        reason = f"count {gain:g} per electron" if gain != 1.0 else "are not whole numbers"
        warnings.append(
            f"the patterns {reason}, so electrons cannot be dealt into half-sets: there is no "
            "half-set resolution"
        )
    empty = int((totals == 0).sum())
    if empty:
        warnings.append(f"{empty} of {totals.size} positions hold no electron")
    return electrons, counted


def _binning(radius: float) -> int:
    """Odd binning that gives a disc of about the radius that the network was trained on."""
    odd_numbers = range(1, max(2, math.floor(radius / 3)) + 1, 2)
    return min(odd_numbers, key=lambda n: abs(math.log(radius / n / _DISC_RADIUS)))


def _focused(
    cube: Datacube, acquisition: Acquisition, known: dict[str, Quantity], warnings: list[str]
) -> tuple[Acquisition, Search | None]:
    """Estimate the defocus from the views, and with it the rotation if that is not known."""
    _check_orientation(known)
    orientation = None
    if "rotation" in known:
        orientation = known["rotation"].value, known["transposed"].value
    middle_cube, middle_acquisition = _middle(cube, acquisition)
    drift, astigmatism = said(known, "drift", None), said(known, "astigmatism", None)
    estimate = estimate_defocus(
        middle_cube.views(middle_acquisition), middle_acquisition, orientation, drift, astigmatism
    )
    if estimate.ambiguous:
        raise ValueError(
            "the defocus is neither in the file nor given, and the views show none: the best of "
            f"all trials, {estimate.defocus:.0f} Å, stands out by {estimate.score:.1f} standard "
            "deviations only; pass --defocus, in Å"
        )
    known["defocus"] = Quantity(estimate.defocus, "Å", "estimated", estimate.error)
    if drift is None:
        known["drift"] = Quantity(
            estimate.drift, "Å a line", "estimated", max(estimate.drift_error)
        )
        if any(estimate.drift):
            warnings.append(_drifted(estimate.drift, acquisition))
    elif astigmatism is None:
        error = max(estimate.astigmatism_error)
        known["astigmatism"] = Quantity(estimate.astigmatism, "Å", "estimated", error)
    if orientation is None:
        known["rotation"] = Quantity(estimate.rotation, "deg", "estimated", estimate.rotation_error)
        known["transposed"] = Quantity(estimate.transposed, "", "estimated")
        warnings.append(
            f"the views register at a defocus of {estimate.defocus:.0f} Å and a rotation of "
            f"{estimate.rotation:.1f}°, and as well at {-estimate.defocus:.0f} Å and half a turn "
            "from "
            "there, which inverts the contrast: underfocus is assumed, pass --rotation to settle it"
        )
    return replace(
        acquisition, defocus=estimate.defocus, astigmatism=estimate.astigmatism
    ), estimate.search


def _middle(cube: Datacube, acquisition: Acquisition) -> tuple[Datacube, Acquisition]:
    """Cut out the middle of the scan, from which its geometry is estimated."""
    middle_cube = cube.middle(_MIDDLE)
    nx, ny = middle_cube.patterns.shape[:2]
    return middle_cube, replace(acquisition, scan_shape=(nx, ny))


def _drifted(drift: tuple[float, float], acquisition: Acquisition) -> str:
    """Say what a drift does to the image."""
    length, step = math.hypot(*drift), acquisition.step[0]
    return (
        f"each line of the scan lies {length:.2g} Å ({length / step:.0%} of a step) from where it "
        "should, beyond the line before it, as the views show unless the probe has two-fold "
        "astigmatism. Defocus, rotation and image allow for that, and the image is straightened "
        "and cropped to what the scan saw all of; if the specimen is known to have stood still, "
        "pass --drift 0 0, and astigmatism is sought instead"
    )


def _check_orientation(known: dict[str, Quantity]) -> None:
    if "rotation" in known:
        known.setdefault("transposed", Quantity(False, "", "assumed"))
    elif "transposed" in known:
        raise ValueError(
            "it is known whether the detector is transposed, but not how it is rotated; pass "
            "--rotation, in deg, or leave both to be estimated"
        )


def _turned(
    cube: Datacube, acquisition: Acquisition, known: dict[str, Quantity], warnings: list[str]
) -> Acquisition:
    """Set the detector's rotation against the scan: known, or estimated from the views."""
    _check_orientation(known)
    if "rotation" not in known:
        estimate = estimate_rotation(*_middle(cube, acquisition))
        known["rotation"] = Quantity(estimate.rotation, "deg", "estimated")
        known["transposed"] = Quantity(estimate.transposed, "", "estimated")
        if estimate.ambiguous:
            warnings.append(
                f"the rotation of {estimate.rotation:.1f}° between scan and detector is uncertain "
                f"(transpose by {estimate.transpose_score:.1f} and sign by "
                f"{estimate.sign_score:.1f} "
                "standard deviations): measure it at a higher dose and pass --rotation"
            )
    rotation, transposed = known["rotation"].value, known["transposed"].value
    drift = said(known, "drift", (0.0, 0.0))
    matrix = STRAIGHT
    if any(drift):
        (a, b), (c, d) = drift_matrix(drift, acquisition.step, acquisition.scan_shape).tolist()
        matrix = ((a, b), (c, d))
    return replace(acquisition, rotation=rotation, transposed=transposed, scan_matrix=matrix)
