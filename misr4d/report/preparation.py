"""Scan preparation: bad pixels, disc, descan, electrons, defocus, rotation and drift."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from misr4d.calibrate.counting import LevelledCube, cropped, find_beam_dose
from misr4d.calibrate.defocus import Search
from misr4d.calibrate.disc import Disc, find_disc
from misr4d.core.acquisition import UPSAMPLING, Acquisition
from misr4d.io.scan import Quantity, Scan, value_or
from misr4d.report.beam import binning, centre_beam, disc_warnings, measure_angles
from misr4d.report.counts import (
    BadPixelChoice,
    add_flicker,
    beam_electrons,
    clean,
    count_electrons,
    counting_warnings,
    levelled,
)
from misr4d.report.geometry import find_defocus, find_rotation

__all__ = ["Detector", "Prepared", "check_known", "prepare"]

_OBLONG = 4.0  # our choice: longer pixels than this many widths are not those of a detector


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
    cube : LevelledCube
        Recentred; it stays on disk if it was there.
    acquisition : Acquisition
        Its defocus counts from the specimen's middle; a turned one if the detector is turned.
    quantities : mapping
        Every number that entered, with its origin.
    counted : bool
        Whether the patterns are counts of electrons.
    warnings : tuple of str
    detector : Detector
    upsampling : int
        Pixels per scan step of the image that the views determine.
    """

    cube: LevelledCube
    acquisition: Acquisition
    quantities: Mapping[str, Quantity]
    counted: bool
    warnings: tuple[str, ...]
    detector: Detector
    upsampling: int


def prepare(
    scan: Scan,
    bad_pixels: BadPixelChoice = "found",
    *,
    level_dose: bool = True,
    upsampling: int = UPSAMPLING,
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
    level_dose : bool
        Whether a dose that changes over the scan, where the counts show one, is divided out.
    upsampling : int
        Pixels per scan step of the image that the views must determine.

    Returns
    -------
    Prepared

    Raises
    ------
    ValueError
        If something that must be known is not, or the patterns are not a scan of at least
        32 × 32 positions with a whole bright-field disc; the message says which.
    """
    check_known(scan)
    energy, step = scan.value("energy"), scan.value("step")
    clean_scan = clean(scan, bad_pixels)
    scan, floor = clean_scan.scan, clean_scan.floor
    known = {**scan.known, **clean_scan.quantities}
    warnings = scan.notes + clean_scan.warnings
    dose = None
    if level_dose:
        dose = find_beam_dose(beam_electrons(clean_scan.survey, floor, known))
        scan = replace(scan, patterns=cropped(scan.patterns, dose.part))
    positions = scan.patterns.shape[:2]
    if min(positions) < 32:
        raise ValueError(
            f"{scan.path.name} has {positions[0]} × {positions[1]} positions with beam "
            f"({'; '.join(dose.notes if dose else ())}); expected at least 32 × 32"
        )
    try:
        centred = centre_beam(scan, clean_scan.survey.mean)
    except ValueError as error:
        if _shows_disc(clean_scan.survey.totals) and not _shows_disc(clean_scan.survey.mean):
            raise ValueError(
                f"{scan.path.name} has the bright disc in its scan axes and none in its patterns: "
                "pass --axes Qx,Qy,Rx,Ry if the detector's axes come first"
            ) from error
        raise
    known |= centred.quantities
    if dose is not None:
        dose = add_flicker(centred.cube, centred.disc, clean_scan.survey, floor, dose, known)
    angles = measure_angles(centred.disc, known)
    known |= angles.quantities
    electrons = count_electrons(clean_scan.survey, floor, dose, step, known)
    known |= electrons.quantities
    warnings += (
        *centred.warnings,
        *counting_warnings(clean_scan.survey, clean_scan.bad, centred.recorded_disc),
        *disc_warnings(centred.recorded_disc, clean_scan.survey.mean),
        *angles.warnings,
        *electrons.warnings,
    )
    if dose is not None and dose.even:
        dose = None
    cube = replace(
        levelled(centred.cube, dose, floor),
        detector_pixel=(angles.pixel, angles.pixel),
        electrons=electrons.number,
    )
    binned = binning(angles.semiangle / angles.pixel)
    known["binning"] = Quantity(binned, "pixel", "estimated")
    acquisition = Acquisition(
        defocus=value_or(known, "defocus", 0.0),  # or estimated below
        step=step,
        energy=energy,
        semiangle=angles.semiangle,
        scan_shape=(positions[0], positions[1]),
        detector_pixel=binned * angles.pixel,
        detector_matrix=angles.distortion,
    )
    search = None
    if "defocus" not in known:
        focused = find_defocus(cube, acquisition, known)
        midplane, search = focused.acquisition, focused.search
        known |= focused.quantities
        warnings += focused.warnings
    else:
        # Unless the thickness is known, a defocus counts from the middle, as a measured one does.
        known.setdefault("thickness", Quantity(0.0, "Å", "assumed"))
        astigmatism = value_or(known, "astigmatism", (0.0, 0.0))
        midplane = replace(acquisition, astigmatism=astigmatism).refocused(
            known["thickness"].value / 2
        )
    midplane.check_upsampling(upsampling)
    if midplane.largest_view_shift > min(midplane.field):
        raise ValueError(
            f"a defocus of {midplane.defocus:g} Å displaces the outermost views by "
            f"{midplane.largest_view_shift:.3g} Å, out of the field of {midplane.field[0]:g} × "
            f"{midplane.field[1]:g} Å; check --defocus and --step"
        )
    turned = find_rotation(cube, midplane, known)
    known |= turned.quantities
    warnings += turned.warnings
    # Nearer to the edge than this, some views show what lies outside the field.
    known["rim"] = Quantity(turned.acquisition.largest_view_shift, "Å", "estimated")
    detector = Detector(
        clean_scan.recorded, clean_scan.bad, centred.recorded_disc, clean_scan.survey.totals, search
    )
    return Prepared(
        cube, turned.acquisition, known, electrons.counted, warnings, detector, upsampling
    )


def _shows_disc(image: NDArray[np.float64]) -> bool:
    try:
        find_disc(np.maximum(image, 0))
    except ValueError:
        return False
    return True


def check_known(scan: Scan) -> None:
    """Raise if too little is known of a scan to start.

    Raises
    ------
    ValueError
        That names what is missing or cannot be.
    """
    positions = scan.patterns.shape[:2]
    if min(positions) < 32:
        raise ValueError(
            f"{scan.path.name} has {positions[0]} × {positions[1]} positions; expected at least "
            "32 × 32"
        )
    for name in ("energy", "step"):
        scan.value(name)
    drift = value_or(scan.known, "drift", (0.0, 0.0))
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
