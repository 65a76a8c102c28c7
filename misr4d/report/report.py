"""From a scan of one's own to an image, what it rests on, and where not to trust it.

:func:`reconstruct` is what ``misr4d reconstruct`` calls: calibrate what is not known, cut the
views, reconstruct, compare half-sets, warn.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import emdfile
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from misr4d import __version__
from misr4d.calibrate.calibration import (
    Disc,
    drift_matrix,
    estimate_rotation,
    find_disc,
    fit_descan,
    recentre,
    straighten,
)
from misr4d.calibrate.counting import (
    BeamDose,
    LevelledCube,
    Lowered,
    common_flicker,
    cropped,
    find_beam_dose,
    find_floor,
    flicker,
    halves_of_totals,
    with_flicker,
)
from misr4d.calibrate.defocus import Search, estimate_defocus
from misr4d.calibrate.pixels import Mended, find_bad_pixels, find_dead_areas
from misr4d.core.acquisition import (
    REGIMES,
    UPSAMPLING,
    Acquisition,
    nearest_regime,
)
from misr4d.core.datacube import Datacube
from misr4d.core.detector import STRAIGHT, Matrix, TurnedAcquisition
from misr4d.core.device import (
    pick_device,
)
from misr4d.core.dose import electrons_per_pixel, thin
from misr4d.core.estimate import (
    Estimate,
    tiles,
)
from misr4d.core.workers import Deal, dealing
from misr4d.io.emd import phase_array
from misr4d.io.reading import Quantity, Scan, Survey, survey
from misr4d.learn.learned import (
    card,
    informed,
    informed_tiled,
)
from misr4d.measure.spectra import fourier_ring_correlation, half_bit_threshold, resolution
from misr4d.reconstruction.direct import (
    starting_point,
)
from misr4d.reconstruction.refine import Refined, refine_scan
from misr4d.reconstruction.tuned import prior_trust
from misr4d.report.html import report_page, shown_value

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["METHODS", "Detector", "Prepared", "Report", "outlook", "prepare", "reconstruct_scan"]

Method = Literal["informed", "direct", "refined"]
BadPixelChoice = Literal["found", "none"] | NDArray[np.bool_]
METHODS = get_args(Method)
FILES = ("image.h5", "image.npz", "image.png", "report.html", "report.json")
"""What a report writes."""
_LAST = "report.json"

# Our choice: the network was trained on discs some eight detector pixels in radius.
_DISC_RADIUS = 8.0
# Our choice: a departure from what the network was trained at that is worth a warning.
_FAR = 1.25
# Our choice: less than this costs less contrast than the dose is known to.
_MUCH_MENDED = 0.03
# Our choice: clipped values are rarer than this in a scan whose disc is well within the counter.
_CLIPPED = 1e-4
# Our choice: 256 × 256 positions show the geometry as well as a million, in less memory and time.
_MIDDLE = 256
_TILE = 64  # scan positions: the network's training field


@dataclass(frozen=True)
class Detector:
    """What the detector saw, which of its pixels were not believed, and what its views showed.

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
    """A scan made ready: recentred patterns, the measurement they are of, and what that rests on.

    Parameters
    ----------
    cube : Datacube
        Recentred; on disk, where it was.
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
    scan, seen, recorded, bad, floor = _mended(scan, bad_pixels, known, warnings)
    dose = None
    if level_dose:
        dose = find_beam_dose(_beam_electrons(seen, floor, known))
        scan = replace(scan, patterns=cropped(scan.patterns, dose.part))
    positions = scan.patterns.shape[:2]
    if min(positions) < 32:
        raise ValueError(
            f"{scan.path.name} has {positions[0]} × {positions[1]} positions with beam "
            f"({'; '.join(dose.notes if dose else ())}); expected at least 32 × 32"
        )
    cube, disc = _recentred(scan, seen, known, warnings)
    if dose is not None:
        dose = _with_flicker(cube, disc, seen, floor, dose, known)
    _check_counter(seen, _as_recorded(disc, known), warnings)
    share = float(np.mean(bad[_as_recorded(disc, known).mask((bad.shape[0], bad.shape[1]))]))
    if share > _MUCH_MENDED:
        warnings.append(
            f"bad pixels cover {share:.0%} of the bright-field disc and were replaced by noise: "
            "the contrast is lower by as much"
        )
    semiangle, pixel = _angles(disc, known, warnings)
    electrons, counted = _electrons(seen, floor, dose, step, known, warnings)
    if dose is not None and dose.even:
        dose = None
    cube = _levelled(cube, dose, floor)
    cube = replace(cube, detector_pixel=(pixel, pixel), electrons=electrons)
    binning = _binning(semiangle / pixel)
    known["binning"] = Quantity(binning, "pixel", "estimated")
    acquisition = Acquisition(
        defocus=_said(known, "defocus", 0.0),  # or estimated below
        step=step,
        energy=energy,
        semiangle=semiangle,
        scan_shape=(positions[0], positions[1]),
        detector_pixel=binning * pixel,
    )
    search = None
    if "defocus" not in known:
        focused, search = _focused(cube, acquisition, known, warnings)
    else:
        # Unless the thickness is known, a defocus counts from the middle, as a measured one does.
        known.setdefault("thickness", Quantity(0.0, "Å", "assumed"))
        lens = _said(known, "astigmatism", (0.0, 0.0))
        focused = replace(acquisition, astigmatism=lens).refocused(known["thickness"].value / 2)
    focused.check_upsampling(UPSAMPLING)
    if focused.largest_view_shift > min(focused.field):
        raise ValueError(
            f"a defocus of {focused.defocus:g} Å displaces the outermost views by "
            f"{focused.largest_view_shift:.3g} Å, out of the field of {focused.field[0]:g} × "
            f"{focused.field[1]:g} Å; check --defocus and --step"
        )
    turned = _turned(cube, focused, known, warnings)
    # Nearer to the edge than this, some views show what lies outside the field.
    known["rim"] = Quantity(turned.largest_view_shift, "Å", "estimated")
    detector = Detector(recorded, bad, _as_recorded(disc, known), seen.totals, search)
    return Prepared(cube, turned, known, counted, tuple(warnings), detector)


def _check_known(scan: Scan) -> None:
    """Raise if what a scan says of itself is too little to start with."""
    positions = scan.patterns.shape[:2]
    if min(positions) < 32:
        raise ValueError(
            f"{scan.path.name} has {positions[0]} × {positions[1]} positions; expected at least "
            "32 × 32"
        )
    for name in ("energy", "step"):
        scan.value(name)
    drift = _said(scan.known, "drift", (0.0, 0.0))
    if math.hypot(*drift) >= min(scan.value("step")) / 2:
        raise ValueError(
            f"the drift is ({drift[0]:g}, {drift[1]:g}) Å from one line to the next; expected less "
            f"than half a step of {min(scan.value('step')):g} Å: check --drift and --step"
        )
    if "detector_pixel" not in scan.known:
        scan.value("semiangle")
        return
    first, second = scan.value("detector_pixel")
    if abs(first - second) > 1e-3 * first:
        raise ValueError(
            f"the detector pixel is {first:g} × {second:g} mrad; expected a square one: bin "
            "the patterns first"
        )


def _said(known: Mapping[str, Quantity], name: str, otherwise: Any) -> Any:
    """Return the value of a quantity, or what holds where nothing says it."""
    return known[name].value if name in known else otherwise


def outlook(scan: Scan, method: Method = "informed") -> str:
    """Say what a reconstruction would rest on, do and take, without reading a pattern.

    Raises
    ------
    ValueError
        If it could not begin: as :func:`prepare` for what must be known.
    """
    _check_known(scan)
    nx, ny = scan.patterns.shape[:2]
    lines = [scan.described()]
    lines += [_shown_quantity(name, q) for name, q in scan.known.items()]
    wanted = ("centre", "semiangle", "detector_pixel", "defocus", "rotation", "dose")
    missing = [name.replace("_", " ") for name in wanted if name not in scan.known]
    if missing:
        lines.append("  to be estimated: " + ", ".join(missing))
    lines += [f"warning: {note}" for note in scan.notes]
    count = len(tiles((nx, ny), (min(nx, _TILE), min(ny, _TILE))))
    # Some 200 views, and as much again for half-sets.
    memory = 2 * math.pi * _DISC_RADIUS**2 * nx * ny * 4 / 2**30
    lines.append(
        f"would reconstruct {UPSAMPLING * nx} × {UPSAMPLING * ny} pixels by {method} in {count} "
        f"{'tile' if count == 1 else 'tiles'}, views in about {memory:.2g} GiB of memory"
    )
    return "\n".join(lines)


def _shown_quantity(name: str, q: Quantity) -> str:
    error = "" if q.error is None else f" ± {q.error:.2g}"
    return f"  {name.replace('_', ' '):<15}{shown_value(q.value)}{error} {q.unit} ({q.origin})"


def _mended(
    scan: Scan, choice: BadPixelChoice, known: dict[str, Quantity], warnings: list[str]
) -> tuple[Scan, Survey, NDArray[np.float64], NDArray[np.bool_], float]:
    """Replace bad pixels and subtract a pedestal.

    Returns
    -------
    scan, seen : Scan, Survey
    recorded, bad : ndarray
        Mean as recorded and the mask ``(Qx, Qy)``.
    floor : float
        What a pixel still reads without electrons [counts].
    """
    shape = scan.patterns.shape
    gain = _said(known, "gain", 1.0)
    positions = math.prod(shape[:2])
    if isinstance(choice, str):
        if choice not in ("found", "none"):
            raise ValueError(f"bad_pixels is {choice!r}; expected 'found', 'none' or a mask")
        seen = survey(scan)
        bad = np.zeros(shape[2:], dtype=bool)
        if choice == "found":
            # Per electron, since counting noise is what the search allows for.
            found = find_bad_pixels(seen.mean * (positions / gain))
            bad = found.mask
    else:
        bad = np.asarray(choice, dtype=bool)
        if bad.shape != shape[2:]:
            raise ValueError(
                f"bad_pixels has shape {bad.shape}; expected the detector's, {tuple(shape[2:])}"
            )
        known["bad_pixels"] = Quantity(int(bad.sum()), "pixel", "given")
        # What they hold need not even be a number.
        seen = survey(replace(scan, patterns=Mended(scan.patterns, bad)))
    recorded, whole = seen.mean, seen.whole
    pedestal, floor = _floor(seen, ~bad, positions, known, warnings)
    if pedestal:
        scan = replace(scan, patterns=Lowered(scan.patterns, pedestal))
        lowered = seen.totals - pedestal * seen.mean.size
        seen = replace(seen, mean=seen.mean - pedestal, totals=lowered)
    if isinstance(choice, str) and choice == "found":
        summed = np.maximum(seen.mean - floor, 0) * (positions / gain)
        dead = found.dead | find_dead_areas(np.where(bad, 0, summed), found.hot)
        if pedestal or floor:
            dead |= find_bad_pixels(summed).dead & ~found.hot
        known["hot_pixels"] = Quantity(int(found.hot.sum()), "pixel", "estimated")
        known["dead_pixels"] = Quantity(int(dead.sum()), "pixel", "estimated")
        bad = bad | dead
    if bad.any():
        mended = Mended(scan.patterns, bad, seen.mean, counted=whole and gain == 1.0)
        scan = replace(scan, patterns=mended)
        seen = replace(survey(scan, signed=bool(pedestal)), whole=whole)
    return scan, seen, recorded, bad, floor


def _floor(
    seen: Survey,
    good: NDArray[np.bool_],
    positions: int,
    known: dict[str, Quantity],
    warnings: list[str],
) -> tuple[float, float]:
    """Split what a pixel reads without electrons: to subtract from values, and from views."""
    counted = seen.whole and _said(known, "gain", 1.0) == 1.0
    least = seen.least if seen.whole else None
    if "offset" in known:
        level = float(known["offset"].value)
        constant = least is not None and float(np.quantile(least[good], 0.05)) >= level
        pedestal = level if constant and level.is_integer() else 0.0
    else:
        found = find_floor(seen.mean, good, least, positions)
        if found is None:
            return 0.0, 0.0
        level, pedestal = found.level, float(found.pedestal)
        known["offset"] = Quantity(level, "count", "estimated", found.error)
        share = level * seen.mean.size / float(seen.mean.sum())
        warnings.append(
            f"every detector pixel reads {level:.4g} counts without electrons, by the level far "
            f"from the disc, {share:.0%} of all that was counted: subtracted. Pass --offset 0 if "
            "it is scattering, or the offset if it is known better"
        )
    if counted:
        # A constant can be taken off each value; of what comes and goes only the mean.
        return pedestal, level - pedestal
    return level, 0.0


def _beam_electrons(
    seen: Survey, floor: float, known: Mapping[str, Quantity]
) -> NDArray[np.float64]:
    """Sum the electrons of every position ``(Rx, Ry)``, without the floor."""
    lowered: NDArray[np.float64] = seen.totals - floor * seen.mean.size
    return lowered / float(_said(known, "gain", 1.0))


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
        part = replace(dose, part=(slice(None), slice(None)))
        here = replace(part, relative=dose.relative[dose.part], blank=dose.blank[dose.part])
        lowered = floor * disc.mask((seen.mean.shape[0], seen.mean.shape[1])).sum() / 2
        first, second = (half - lowered for half in halves_of_totals(cube, disc))
        variance = common_flicker((first, second), here)
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
    """Warn of values that a counter could not count."""
    if not seen.clipped or seen.at_end is None:
        return
    inside = disc.mask((seen.mean.shape[0], seen.mean.shape[1]))
    share = float(seen.at_end[inside].sum()) / (inside.sum() * seen.totals.size)
    if share > _CLIPPED:
        warnings.append(
            f"{share:.2g} of the values in the disc are at {seen.largest:g} and none is above, as "
            "many would be: the counter ended there. Dose and contrast are too low; "
            "record with less current or a deeper counter"
        )


def _as_recorded(disc: Disc, known: Mapping[str, Quantity]) -> Disc:
    """Put the disc, found after recentring, back to where the detector saw it."""
    return replace(disc, centre=known["centre"].value)


def _recentred(
    scan: Scan, seen: Survey, known: dict[str, Quantity], warnings: list[str]
) -> tuple[Datacube, Disc]:
    """Move the axis to the middle of the detector, along a drift if there is one."""
    nowhere = (math.nan, math.nan)  # neither step nor pixel matters here
    cube = Datacube(scan.patterns, nowhere, nowhere)
    middle = tuple(n // 2 for n in scan.patterns.shape[2:])
    if "centre" in known:
        x, y = known["centre"].value
        moved = recentre(cube, (x, y))
        shift = (middle[0] - round(x), middle[1] - round(y))
        _check_centre(seen.mean, (x, y))
        disc = find_disc(np.roll(seen.mean, shift, (0, 1)))
        away = math.hypot(*(c - m for c, m in zip(disc.centre, middle, strict=True)))
        if away > max(1.5, 0.15 * disc.radius):
            warnings.append(
                f"the brightest disc lies {away:.1f} pixels from the given centre: check --centre, "
                "unless that disc is a Bragg reflection brighter than the beam"
            )
        return moved, disc
    drift = fit_descan(cube)
    # Whole pixels are all that counts can be moved by; less than one over the scan is left alone.
    span = np.abs(drift.slope) @ (np.array(scan.patterns.shape[:2]) - 1)
    error = drift.slope_error @ np.array(scan.patterns.shape[:2])
    if (span > np.maximum(1.0, 3 * error)).any():
        moved = recentre(cube, drift)
        disc = find_disc(moved.mean_pattern())
        nx, ny = cube.patterns.shape[:2]
        _check_on_detector(drift.centres((nx, ny)), disc.radius, seen.mean.shape)
        known["descan"] = Quantity(
            tuple(float(v) for v in span), "pixel", "estimated", float(error.max())
        )
        centre: tuple[float, float] = drift.middle
    else:
        found = find_disc(seen.mean)
        centre = found.centre
        moved = recentre(cube, found)
        shift = (middle[0] - round(centre[0]), middle[1] - round(centre[1]))
        disc = find_disc(np.roll(seen.mean, shift, (0, 1)))
    known["centre"] = Quantity(centre, "pixel", "estimated", max(disc.centre_error))
    return moved, disc


def _check_centre(mean: NDArray[np.float64], centre: tuple[float, float]) -> None:
    """Raise unless a disc around the given centre lies on the detector."""
    recentre(Datacube(mean[None, None], (1.0, 1.0), (1.0, 1.0)), centre)  # is it on the detector?
    _check_on_detector(np.array(centre)[:, None, None], find_disc(mean).radius, mean.shape)


def _check_on_detector(centres: NDArray[np.float64], radius: float, shape: tuple[int, ...]) -> None:
    """Raise if the disc leaves the detector around any of these centres ``(2, Rx, Ry)``."""
    low, high = centres.min((1, 2)), centres.max((1, 2))
    # Half a pixel is what the fit of a radius and rounding to pixels may be off by.
    if (low - radius < -1.0).any() or (high + radius > np.array(shape)).any():
        raise ValueError(
            f"a disc of radius {radius:.1f} pixels around ({low[0]:.1f}, {low[1]:.1f}) to "
            f"({high[0]:.1f}, {high[1]:.1f}) is not wholly on a detector of {shape[0]} × "
            f"{shape[1]} pixels; expected the whole bright-field disc at every position: check "
            "--centre, or record again"
        )


def _angles(disc: Disc, known: dict[str, Quantity], warnings: list[str]) -> tuple[float, float]:
    """Semi-angle and detector pixel [mrad], one from the other if need be by the disc's radius."""
    known["disc_radius"] = Quantity(disc.radius, "pixel", "estimated", disc.radius_error)
    relative = disc.radius_error / disc.radius
    if "detector_pixel" in known:
        pixel = float(known["detector_pixel"].value[0])
        if "semiangle" not in known:
            value = disc.semiangle(pixel)
            known["semiangle"] = Quantity(value, "mrad", "estimated", value * relative)
    else:
        pixel = disc.detector_pixel(known["semiangle"].value)
        known["detector_pixel"] = Quantity((pixel, pixel), "mrad", "estimated", pixel * relative)
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
    """Electrons that a position receives, on the scale of the patterns; and whether they count."""
    area = step[0] * step[1]
    totals = seen.totals - floor * seen.mean.size if floor else seen.totals
    if dose is not None and not dose.even:
        good = ~dose.blank[dose.part]
        spread = float(dose.relative[dose.part][good].std())
        known["dose_variation"] = Quantity(spread, "of the dose", "estimated")
        warnings += dose.notes
        totals = totals[dose.part][good]
    electrons = float(totals.mean())  # all detected; those scattered past it are missed
    if electrons <= 0:
        raise ValueError(
            f"an offset of {_said(known, 'offset', 0.0):g} counts a pixel leaves no electron: "
            "check --offset"
        )
    gain = _said(known, "gain", 1.0)
    counted = seen.whole and gain == 1.0
    if "dose" in known:
        electrons = known["dose"].value * area * gain if seen.whole or gain != 1.0 else electrons
    elif seen.whole or gain != 1.0:
        # Of the mean over the positions; what is scattered past the detector is not in it.
        error = float(totals.std()) / math.sqrt(totals.size) / gain / area
        known["dose"] = Quantity(electrons / gain / area, "e⁻/Å²", "estimated", error)
    if not counted:
        why = f"count {gain:g} per electron" if gain != 1.0 else "are not whole numbers"
        warnings.append(
            f"the patterns {why}, so electrons cannot be dealt into half-sets: there is no "
            "half-set resolution"
        )
    empty = int((totals == 0).sum())
    if empty:
        warnings.append(f"{empty} of {totals.size} positions hold no electron")
    return electrons, counted


def _binning(radius: float) -> int:
    """Odd number of detector pixels that leaves a disc of about the radius trained on."""
    odd = range(1, max(2, math.floor(radius / 3)) + 1, 2)
    return min(odd, key=lambda n: abs(math.log(radius / n / _DISC_RADIUS)))


def _focused(
    cube: Datacube, acquisition: Acquisition, known: dict[str, Quantity], warnings: list[str]
) -> tuple[Acquisition, Search | None]:
    """Estimate the defocus from the views, and with it the rotation if that is not known."""
    _check_orientation(known)
    orientation = None
    if "rotation" in known:
        orientation = known["rotation"].value, known["transposed"].value
    part, seen = _middle(cube, acquisition)
    drift, lens = _said(known, "drift", None), _said(known, "astigmatism", None)
    found = estimate_defocus(part.views(seen), seen, orientation, drift, lens)
    if found.ambiguous:
        raise ValueError(
            "the defocus is neither in the file nor given, and the views show none: the best of "
            f"all trials, {found.defocus:.0f} Å, stands out by {found.score:.1f} standard "
            "deviations only; pass --defocus, in Å"
        )
    known["defocus"] = Quantity(found.defocus, "Å", "estimated", found.error)
    if drift is None:
        known["drift"] = Quantity(found.drift, "Å a line", "estimated", max(found.drift_error))
        if any(found.drift):
            warnings.append(_drifted(found.drift, acquisition))
    elif lens is None:
        error = max(found.astigmatism_error)
        known["astigmatism"] = Quantity(found.astigmatism, "Å", "estimated", error)
    if orientation is None:
        known["rotation"] = Quantity(found.rotation, "deg", "estimated", found.rotation_error)
        known["transposed"] = Quantity(found.transposed, "", "estimated")
        warnings.append(
            f"the views register at a defocus of {found.defocus:.0f} Å and a rotation of "
            f"{found.rotation:.1f}°, and as well at {-found.defocus:.0f} Å and half a turn from "
            "there, which inverts the contrast: underfocus is assumed, pass --rotation to settle it"
        )
    return replace(acquisition, defocus=found.defocus, astigmatism=found.astigmatism), found.search


def _middle(cube: Datacube, acquisition: Acquisition) -> tuple[Datacube, Acquisition]:
    """Cut out as much of the scan as its geometry is estimated from."""
    part = cube.middle(_MIDDLE)
    nx, ny = part.patterns.shape[:2]
    return part, replace(acquisition, scan_shape=(nx, ny))


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
    """Turn the detector as it lies in the scan: known, or estimated from the views."""
    _check_orientation(known)
    if "rotation" not in known:
        found = estimate_rotation(*_middle(cube, acquisition))
        known["rotation"] = Quantity(found.rotation, "deg", "estimated")
        known["transposed"] = Quantity(found.transposed, "", "estimated")
        if found.ambiguous:
            warnings.append(
                f"the rotation of {found.rotation:.1f}° between scan and detector is uncertain "
                f"(transpose by {found.transpose_score:.1f} and sign by {found.sign_score:.1f} "
                "standard deviations): measure it at a higher dose and pass --rotation"
            )
    rotation, transposed = known["rotation"].value, known["transposed"].value
    drift = _said(known, "drift", (0.0, 0.0))
    if rotation == 0 and not transposed and not any(drift):
        return acquisition
    (a, b), (c, d) = drift_matrix(drift, acquisition.step, acquisition.scan_shape).tolist()
    return TurnedAcquisition.of(acquisition, rotation, transposed, ((a, b), (c, d)))


# --- Images ------------------------------------------------------------------------------------


class _Direct(nn.Module):
    """In place of the network: the direct estimate that it starts from, without a deviation."""

    def forward(self, maps: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        return maps[:, 0], torch.zeros_like(maps[:, 0])


_STARTS: dict[str, nn.Module | None] = {"informed": None, "direct": _Direct()}


@dataclass(frozen=True)
class Report:
    """An image with its deviation, its resolution, what it rests on and what speaks against it.

    Parameters
    ----------
    source : str
        Name of the file.
    method : {"informed", "direct", "refined"}
    mean : Tensor
        The image ``(3·Rx, 3·Ry)`` [rad], of zero mean; smaller if a drift was straightened.
    deviation : ndarray or None
        Standard deviation of each pixel's error [rad]; only the network states one, and it is the
        network's own where the image was refined.
    direct : Tensor
        The plain direct estimate [rad].
    first : Tensor or None
        The network's image [rad], of which the refined one is the second stage.
    pixel : (float, float)
        Pixel size [Å].
    quantities : mapping
        Every number that entered, with its origin.
    resolution : mapping
        Method to half-set resolution by two thresholds [Å]; empty if electrons were not counted.
    warnings : tuple of str
    provenance : mapping
        Reader, version, weights, and what the file says of its making.
    detector : Detector
    curves : mapping
        Method to frequency [Å⁻¹], half-set correlation and number of pixels of each ring.
    scan_matrix : ((float, float), (float, float))
        From the scan as stated to the specimen; see :meth:`straightened`.
    """

    source: str
    method: str
    mean: Tensor
    deviation: NDArray[np.float32] | None
    direct: Tensor
    first: Tensor | None
    pixel: tuple[float, float]
    quantities: Mapping[str, Quantity]
    resolution: Mapping[str, Mapping[str, float]]
    warnings: tuple[str, ...]
    provenance: Mapping[str, Any]
    detector: Detector
    curves: Mapping[str, tuple[Tensor, Tensor, Tensor]]
    scan_matrix: Matrix = STRAIGHT

    def straightened(self, image: Tensor) -> Tensor:
        """Put an image on the scan's own grid ``(3·Rx, 3·Ry)`` where this report's images lie."""
        if self.scan_matrix == STRAIGHT:
            return image
        return straighten(image, self.pixel, self.scan_matrix)

    @property
    def phase(self) -> NDArray[np.float32]:
        """The image as an array ``(3·Rx, 3·Ry)`` [rad], of zero mean."""
        phase: NDArray[np.float32] = self.mean.numpy()
        return phase

    def show(self) -> Figure:
        """Draw every image and the deviation, as ``image.png`` of :meth:`write` has them.

        Returns
        -------
        Figure
            Of Matplotlib. A notebook shows it; elsewhere, ``savefig`` writes it.
        """
        import matplotlib.pyplot as plt

        # A closed figure is shown once by a notebook, as what the cell returns.
        figure = self._figure(plt.figure)
        plt.close(figure)
        return figure

    @property
    def images(self) -> dict[str, Tensor]:
        """Every image by its method, the chosen one last."""
        stages = {"direct": self.direct, "informed": self.first, self.method: self.mean}
        return {name: image for name, image in stages.items() if image is not None}

    def record(self) -> dict[str, Any]:
        """Return all but the images, as JSON can hold it; no resolution at all is ``null``."""
        limits = {
            name: {k: v if math.isfinite(v) else None for k, v in found.items()}
            for name, found in self.resolution.items()
        }
        return {
            "source": self.source,
            "method": self.method,
            "shape": list(self.mean.shape),
            "pixel": {"value": list(self.pixel), "unit": "Å"},
            "scan_matrix": [list(row) for row in self.scan_matrix],
            "signal": {"value": float(self.mean.std()), "unit": "rad"},
            "deviation": {
                "value": None if self.deviation is None else _rms(self.deviation),
                "unit": "rad",
            },
            "half_set_resolution": {**limits, "unit": "Å"} if limits else None,
            "quantities": {name: q.record() for name, q in self.quantities.items()},
            "bad_pixels": np.argwhere(self.detector.bad).tolist(),
            "warnings": list(self.warnings),
            "provenance": dict(self.provenance),
        }

    def summary(self) -> str:
        """Say in a few lines what came out, for a terminal."""
        lines = [
            f"{self.source}: {self.mean.shape[0]} × {self.mean.shape[1]} pixels of "
            f"{self.pixel[0]:.4g} × {self.pixel[1]:.4g} Å, {self.method}"
        ]
        lines += [_shown_quantity(name, q) for name, q in self.quantities.items()]
        spread = "" if self.deviation is None else f", deviation {_rms(self.deviation):.3g} rad"
        lines.append(f"  {'signal':<15}{float(self.mean.std()):.3g} rad{spread}")
        for name, found in self.resolution.items():
            limits = ", ".join(f"{_period(v)} by {k}" for k, v in found.items())
            lines.append(f"  {'half-sets':<15}{limits} ({name})")
        lines += [f"warning: {text}" for text in self.warnings]
        return "\n".join(lines)

    def write(self, folder: str | Path) -> tuple[Path, ...]:
        """Write image.h5, image.npz, image.png, report.html and report.json, all of them or none.

        Into a folder that exists they move one after the other, each whole, ``report.json`` last:
        where that is missing, the others may be of two reports. ``image.h5`` is EMD 1.0, which
        emdfile and py4DSTEM read.

        Raises
        ------
        ValueError
            If the folder cannot be made or written to.
        """
        folder = Path(folder)
        with _whole_folder(folder) as scratch:
            self._write_into(scratch)
        return tuple(folder / name for name in FILES)

    def _write_into(self, folder: Path) -> None:
        record = self.record()
        arrays = {"mean": self.mean.numpy()}
        arrays |= {name: image.numpy() for name, image in self.images.items()}
        if self.deviation is not None:
            arrays["deviation"] = self.deviation
        np.savez_compressed(
            folder / "image.npz",
            **arrays,
            pixel=np.array(self.pixel),
            provenance=np.array(json.dumps(record, ensure_ascii=False)),
        )
        self._write_emd(folder / "image.h5", arrays, record)
        self._draw(folder / "image.png")
        text = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False)
        (folder / "report.json").write_text(text + "\n", encoding="utf-8")
        seen = self.detector
        page = report_page(
            record,
            (folder / "image.png").read_bytes(),
            self.curves,
            seen.mean,
            seen.bad,
            seen.disc,
            seen.totals,
            seen.search,
        )
        (folder / "report.html").write_text(page, encoding="utf-8")

    def _write_emd(
        self, path: Path, arrays: Mapping[str, NDArray[Any]], record: Mapping[str, Any]
    ) -> None:
        root = emdfile.Root(name="misr4d")
        root.metadata = emdfile.Metadata("report", {"json": json.dumps(record, ensure_ascii=False)})
        for name, data in arrays.items():
            root.tree(phase_array(name, data, self.pixel))
        emdfile.save(str(path), root)

    def _draw(self, path: Path) -> None:
        from matplotlib.figure import Figure

        self._figure(Figure).savefig(path, metadata={"Software": None})

    def _figure(self, make: Callable[..., Figure]) -> Figure:
        import matplotlib as mpl

        from misr4d.plotting import (
            display_limits,
            dose_label,
            show_image,
            use_style,
        )

        field = tuple(n * p for n, p in zip(self.mean.shape, self.pixel, strict=True))
        dose = self.quantities.get("dose")
        at = f", {dose_label(float(f'{dose.value:.3g}'))}" if dose is not None else ""
        images = [
            (f"{'direct ptychography' if name == 'direct' else name}{at}", image)
            for name, image in self.images.items()
        ]
        limits = display_limits([image for _, image in images])
        panels = len(images) + (self.deviation is not None)
        with mpl.rc_context():
            use_style()
            height = 3.2 * field[0] / field[1] + 0.4
            figure = make(figsize=(3.2 * panels + 0.6, height), layout="constrained")
            axes = figure.subplots(1, panels, squeeze=False)[0]
            bar = _round_length(field[1] / 5)
            for index, (title, image) in enumerate(images):
                show_image(
                    axes[index],
                    image,
                    (field[0], field[1]),
                    title=title,
                    limits=limits,
                    bar=bar if index == 0 else None,
                )
            if self.deviation is not None:
                shown = axes[-1].imshow(
                    self.deviation, cmap="viridis", extent=(0, field[1], field[0], 0)
                )
                axes[-1].set(xticks=[], yticks=[], title="standard deviation [rad]")
                axes[-1].spines[:].set_visible(False)
                figure.colorbar(shown, ax=axes[-1], shrink=0.8)
        return figure


@contextlib.contextmanager
def _whole_folder(folder: Path) -> Iterator[Path]:
    """Give a hidden folder to write into; what it then holds goes to its place at once."""
    made: list[Path] = []
    try:
        made = [p for p in folder.absolute().parents if not p.exists()]
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = folder if folder.is_dir() else folder.parent
        scratch = Path(tempfile.mkdtemp(prefix=".misr4d-", dir=beside))
    except OSError as error:
        _remove_empty(made)
        raise ValueError(f"{folder} cannot be written to: {error.strerror}") from None
    try:
        inner = scratch / "whole"
        inner.mkdir()
        yield inner
        if folder.is_dir():
            (folder / _LAST).unlink(missing_ok=True)
            for path in sorted(inner.iterdir(), key=lambda p: (p.name == _LAST, p.name)):
                os.replace(path, folder / path.name)
        else:
            os.replace(inner, folder)
        made = []
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        _remove_empty(made)


def _remove_empty(folders: Sequence[Path]) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


def _rms(values: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.square(values, dtype=np.float64).mean()))


def _period(value: float) -> str:
    return f"{value:.3g} Å" if math.isfinite(value) else "none"


def _round_length(length: float) -> float:
    """Largest of 1, 2, 5, 10, 20, 50, … that is no longer."""
    power = 10.0 ** math.floor(math.log10(length))
    return max(m * power for m in (1.0, 2.0, 5.0) if m * power <= length)


def reconstruct_scan(
    scan: Scan,
    *,
    method: Method = "informed",
    seed: int = 0,
    bad_pixels: BadPixelChoice = "found",
    level_dose: bool = True,
    device: str | None = None,
    scheduler: str | None = None,
    workers: int | None = None,
) -> Report:
    """Reconstruct a scan, on a grid three times finer than its positions.

    Parameters
    ----------
    scan : Scan
        As from :func:`misr4d.io.reading.read_scan`.
    method : {"informed", "direct", "refined"}
        The shipped network that starts from direct ptychography, direct ptychography alone, or the
        network's image refined by the counted electrons (:mod:`misr4d.reconstruction.refine`;
        minutes).
    seed : int
        Of the dealing of electrons into two half-sets.
    bad_pixels : {"found", "none"} or ndarray
    level_dose : bool
        As in :func:`prepare`.
    device : str, optional
        Where to reconstruct, such as ``cpu``; by default a GPU if there is one.
    scheduler, workers
        Deal the tiles of a scan larger than 64 × 64 to dask workers, as
        :func:`misr4d.core.workers.dealing`; by default this process does them all.

    Returns
    -------
    Report

    Raises
    ------
    ValueError
        As :func:`prepare`, or if the method does not exist, or needs counts and there are none, or
        there is no such device or scheduler.
    """
    device = pick_device(device)
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; known: {', '.join(METHODS)}")
    _check_known(scan)  # before workers are started
    if max(scan.patterns.shape[:2]) <= _TILE:
        scheduler = workers = None  # one tile is not dealt
    with dealing(scheduler, workers) as deal:
        ready = prepare(scan, bad_pixels, level_dose=level_dose)
        return _reconstruct(scan, ready, method, seed, device, deal)


def _reconstruct(
    scan: Scan, ready: Prepared, method: Method, seed: int, device: str, deal: Deal
) -> Report:
    acquisition = ready.acquisition
    views = ready.cube.views(acquisition)
    if method == "refined" and not ready.counted:
        raise ValueError(
            f"{scan.path.name} does not hold counts of single electrons, which refinement weighs; "
            "use --method informed"
        )
    made = _images(views, ready, method, device, deal, share=1.0)
    direct = made["direct"].mean
    deviation = None if method == "direct" else made["informed"].deviation.numpy()
    pixel = _fine(acquisition)
    limits: dict[str, dict[str, float]] = {}
    curves: dict[str, tuple[Tensor, Tensor, Tensor]] = {}
    known, warnings = dict(ready.quantities), list(ready.warnings)
    if ready.counted:
        known["noise"] = Quantity(
            _noise(views, ready, device), "times that of counting", "estimated"
        )
        warnings += _miscounted(known["noise"].value)
        pairs: dict[str, list[Tensor]] = {name: [] for name in made}
        for half in _halves(views, ready, seed):
            for name, found in _images(half, ready, method, device, deal, share=0.5).items():
                pairs[name].append(found.mean)
        del views, half  # before the spectra, which take as much memory
        for name, pair in pairs.items():
            curves[name] = _half_set_curve(pair[0], pair[1], pixel, acquisition.information_limit)
            limits[name] = _half_set_resolution(*curves[name])
    provenance = {
        "misr4d": __version__,
        "reader": scan.reader,
        "file": dict(scan.provenance),
        "seed": seed,
        "device": device,
    }
    if method != "direct":
        provenance["weights"] = card("DirectInformed")["sha256"]
    refined = made.get("refined")
    if isinstance(refined, _Second):
        trust = prior_trust(nearest_regime(acquisition))
        provenance["trust"] = {"weight": trust.weight, "tail": str(trust.tail)}
        known["excess"] = Quantity(refined.result.excess, "standard deviations", "estimated")
        known["fitted_defocus"] = Quantity(refined.result.defocus, "Å", "estimated")
        known["fitted_gain"] = Quantity(refined.result.gain, "times the dose", "estimated")
        if refined.result.warning is not None:
            warnings.append(refined.result.warning)
    report = Report(
        scan.path.name,
        method,
        made[method].mean,
        deviation,
        direct,
        made["informed"].mean if method == "refined" else None,
        pixel,
        known,
        limits,
        tuple(warnings),
        provenance,
        ready.detector,
        curves,
        _scan_matrix(acquisition),
    )
    return replace(report, warnings=(*warnings, *_doubts(report, acquisition)))


@dataclass(frozen=True)
class _Second(Estimate):
    """A refined image under its first stage's deviation, and what else refinement found.

    The first stage's calibration is not its own: no interval can be named.
    """

    result: Refined = field(kw_only=True)


def _images(
    views: Tensor, ready: Prepared, method: str, device: str, deal: Deal, *, share: float
) -> dict[str, Estimate]:
    """Make a method's image, after those that it starts from, of so large a share of the dose."""
    acquisition = ready.acquisition
    found = {"direct": _image(views, acquisition, "direct", device, deal)}
    if method != "direct":
        found["informed"] = _image(views, acquisition, "informed", device, deal)
    if method == "refined":
        first = found["informed"]
        dose = share * ready.cube.electrons / math.prod(acquisition.step)
        electrons = electrons_per_pixel(dose, acquisition)
        result = refine_scan(
            lambda rows, columns: (views[:, rows, columns] * electrons).round(),
            acquisition,
            dose,
            first,
            trust=prior_trust(nearest_regime(acquisition)),
            tile=_TILE,
            fit_defocus=ready.quantities["defocus"].origin == "estimated",
            fit_gain=True,
            device=device,
            deal=deal,
        )
        found["refined"] = _Second(result.image, first.deviation, result=result)
    return {name: _straightened(one, acquisition) for name, one in found.items()}


def _straightened(found: Estimate, acquisition: Acquisition) -> Estimate:
    """Put an image and its deviation on a regular grid of the specimen, if the scan drifted."""
    matrix = _scan_matrix(acquisition)
    if matrix == STRAIGHT:
        return found
    pixel = _fine(acquisition)
    mean = straighten(found.mean, pixel, matrix)
    # A spline may swing below zero beside a peak; no deviation is.
    deviation = straighten(found.deviation, pixel, matrix).clamp_min(0)
    return replace(found, mean=mean - mean.mean(), deviation=deviation)


def _scan_matrix(acquisition: Acquisition) -> Matrix:
    return acquisition.scan_matrix if isinstance(acquisition, TurnedAcquisition) else STRAIGHT


def _fine(acquisition: Acquisition) -> tuple[float, float]:
    """Pixel of an image [Å]."""
    return acquisition.step[0] / UPSAMPLING, acquisition.step[1] / UPSAMPLING


def _image(views: Tensor, acquisition: Acquisition, name: str, device: str, deal: Deal) -> Estimate:
    """Image and deviation; all images of a field of one tile share its kernels."""
    network = _STARTS[name]
    if max(acquisition.scan_shape) > _TILE:
        return informed_tiled(
            views, acquisition, tile=_TILE, device=device, network=network, deal=deal
        )
    found = informed(starting_point(acquisition, device=device), views, network=network)
    return replace(found, mean=found.mean.cpu(), deviation=found.deviation.cpu())


def _halves(views: Tensor, ready: Prepared, seed: int) -> Iterator[Tensor]:
    """Deal the counted electrons of the bright field into two independent measurements.

    The second takes the place of the first: a scan of a million positions has a gigabyte of views.
    """
    share = ready.cube.electrons / ready.acquisition.pixels_per_disc
    generator = torch.Generator().manual_seed(seed)
    half = torch.empty_like(views)
    cube, acquisition = ready.cube, ready.acquisition
    for index, view in enumerate(views):  # one at a time: thinning works in double precision
        if isinstance(cube, LevelledCube):  # electrons are dealt as they were counted
            counted = cube.recorded(view, acquisition) * share
            dealt = thin(counted.round(), generator)[0] * (2 / share)
            half[index] = cube.levelled(dealt, acquisition)
        else:
            half[index] = thin((view * share).round(), generator)[0] * (2 / share)
    yield half
    for own, view in zip(half, views, strict=True):
        own.neg_().add_(view, alpha=2)
    yield half


def _noise(views: Tensor, ready: Prepared, device: str) -> float:
    """Variance that no object explains, over that of counted electrons; of the first tile."""
    tile = [min(n, _TILE) for n in ready.acquisition.scan_shape]
    part = views[:, : tile[0], : tile[1]]
    method = starting_point(
        replace(ready.acquisition, scan_shape=(tile[0], tile[1])), device=device
    )
    share = ready.cube.electrons / ready.acquisition.pixels_per_disc
    level = ready.acquisition.relative_to_vacuum(part).mean()
    expected = float(level) / (share * tile[0] * tile[1])
    if isinstance(ready.cube, LevelledCube):
        expected *= ready.cube.noise(float(level), ready.acquisition)
    return float(method.statistic(part).noise) / expected


def _miscounted(noise: float) -> list[str]:
    """Doubt that values are counts of electrons if their noise is not that of counting."""
    if noise > 1.5:
        return [
            f"the noise is {noise:.3g} times that of counted electrons: either the camera gives "
            "several counts per electron (pass --gain; the half-set resolution is then void), or "
            "the dose is so high that what the linear model misses exceeds the noise"
        ]
    if noise < 0.7:
        return [
            f"the noise is {noise:.3g} times that of counted electrons: the patterns were filtered "
            "or scaled, and the half-set resolution is too fine"
        ]
    return []


def _half_set_curve(
    a: Tensor, b: Tensor, pixel: tuple[float, float], finest: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Correlate two half-sets' images ring by ring: frequency, correlation, pixels of the ring.

    The rim is faded out, an eighth of the field on each side: a real field is not periodic, and
    the jump at its edge is the same in both halves. Nothing finer than the information limit is
    measured; what fading leaks there from coarser detail is the same in both halves too.
    """
    from scipy.signal.windows import tukey  # scipy.signal takes a second to load

    window = torch.from_numpy(np.multiply.outer(*(tukey(n, 0.25) for n in a.shape)))
    a, b = ((image - image.mean()) * window for image in (a, b))
    frequency, curve, count = fourier_ring_correlation(a, b, pixel, width=2)
    measured = frequency <= 1 / finest
    return frequency[measured], curve[measured], count[measured]


def _half_set_resolution(frequency: Tensor, curve: Tensor, count: Tensor) -> dict[str, float]:
    """Period at which the half-sets' images stop to agree [Å], by two thresholds.

    A crystal's stop at the first gap between its reflections, which without a truth nobody can
    tell from the end: the period of the finest ring that agrees stands beside them.
    """
    threshold = half_bit_threshold(count)
    # Beyond chance: 100 rings without signal have one above three deviations in a scan of eight.
    agree = (curve > torch.maximum(threshold, 3 / count.double().sqrt())).nonzero()
    return {
        "half-bit": resolution(frequency, curve, threshold),
        "0.143": resolution(frequency, curve, 0.143),
        "finest ring": 1 / float(frequency[int(agree[-1])]) if len(agree) else math.inf,
    }


def _doubts(report: Report, acquisition: Acquisition) -> list[str]:
    """Where the network was not trained, and where its prior and not the data drew the image."""
    if report.method == "direct":
        return []
    doubts = []
    regime = nearest_regime(acquisition)
    trained = REGIMES[regime]
    for name, here, there, unit in (
        ("step", min(acquisition.step), trained.step[0], "Å"),
        ("semi-angle", acquisition.semiangle, trained.semiangle, "mrad"),
        ("energy", acquisition.energy / 1e3, trained.energy / 1e3, "keV"),
        (
            "largest displacement of a view",
            acquisition.largest_view_shift / min(acquisition.step),
            trained.largest_view_shift / trained.step[0],
            "steps",
        ),
    ):
        if max(here / there, there / here) > _FAR:
            doubts.append(
                f"the {name} is {here:.3g} {unit} and the network was trained at {there:.3g} "
                f"{unit} ({regime} regime): compare with direct"
            )
    if any(acquisition.astigmatism):
        doubts.append(
            f"the probe has two-fold astigmatism of {math.hypot(*acquisition.astigmatism):.3g} Å, "
            "which the network was not trained with: compare with direct"
        )
    if report.deviation is not None:
        if _rms(report.deviation) > float(report.mean.std()):
            doubts.append("the deviation is larger than the signal: this image shows noise")
        doubts += _prior(report)
    return doubts


def _prior(report: Report) -> list[str]:
    if not report.resolution:
        return []
    data, shown = report.resolution["direct"]["half-bit"], report.resolution[report.method]
    if math.isinf(data):
        return ["the half-sets of direct ptychography agree at no frequency: the prior drew this"]
    if shown["half-bit"] < data / _FAR:
        return [
            f"half-sets agree to {_period(shown['half-bit'])} with the network and to "
            f"{_period(data)} without: detail between the two rests on the network's prior"
        ]
    return []
