"""The direct beam on the detector: its disc, the centre, descan, and the angle of a pixel."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from misr4d.calibrate.descan import fit_descan, recentre
from misr4d.calibrate.disc import Disc, find_disc, second_disc
from misr4d.core.datacube import Datacube
from misr4d.core.detector import STRAIGHT, Matrix
from misr4d.io.scan import Quantity, Scan

__all__ = [
    "DISC_RADIUS",
    "Angles",
    "Centred",
    "binning",
    "centre_beam",
    "disc_warnings",
    "measure_angles",
]

DISC_RADIUS = 8.0
"""Radius [pixels] to which discs are binned; our choice: the network was trained on such."""

_DISAGREE = 0.02  # our choice: by how much semi-angle and pixel may contradict the disc unsaid
_RIVAL = 0.5  # our choice: from this brightness on a second disc may be the beam
# Our choices: from this ratio of its axes on a disc is corrected, and from this one on it is told.
_CORRECTED, _ELLIPSE = 1.02, 1.05


@dataclass(frozen=True)
class Centred:
    """Patterns with the optical axis in the middle of the detector.

    Parameters
    ----------
    cube : Datacube
    disc : Disc
        Of these patterns.
    recorded_disc : Disc
        As it lies on the recorded pattern, in the middle of the scan.
    quantities : mapping
        What was found out.
    warnings : tuple of str
    """

    cube: Datacube
    disc: Disc
    recorded_disc: Disc
    quantities: Mapping[str, Quantity]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Angles:
    """Semi-angle and side of a detector pixel [mrad].

    Parameters
    ----------
    semiangle, pixel : float
        The pixel's is that of a square of the same area.
    distortion : ((float, float), (float, float))
        From the places of pixels to angles, see :class:`misr4d.core.acquisition.Acquisition`.
    quantities : mapping
        What was found out.
    warnings : tuple of str
    """

    semiangle: float
    pixel: float
    distortion: Matrix
    quantities: Mapping[str, Quantity]
    warnings: tuple[str, ...] = ()


def centre_beam(scan: Scan, mean: NDArray[np.float64]) -> Centred:
    """Move the axis to the middle of the detector, along a drift if there is one.

    Parameters
    ----------
    scan : Scan
    mean : ndarray
        Its mean pattern ``(Qx, Qy)``.

    Raises
    ------
    ValueError
        If no disc is found, or it is not wholly on the detector at every position.
    """
    quantities: dict[str, Quantity] = {}
    unknown_size = (math.nan, math.nan)  # neither step nor pixel matters here
    cube = Datacube(scan.patterns, unknown_size, unknown_size)
    detector_centre = tuple(n // 2 for n in scan.patterns.shape[2:])
    if "centre" in scan.known:
        x, y = scan.known["centre"].value
        recentred_cube = recentre(cube, (x, y))
        shift = (detector_centre[0] - round(x), detector_centre[1] - round(y))
        disc = _moved(_disc_around(mean, (x, y)), shift)
        warnings: tuple[str, ...] = ()
        distance = math.hypot(*(c - m for c, m in zip(disc.centre, detector_centre, strict=True)))
        if distance > max(1.5, 0.15 * disc.radius):
            warnings = (
                f"the brightest disc lies {distance:.1f} pixels from the given centre: check "
                "--centre, unless that disc is a Bragg reflection brighter than the beam",
            )
        as_recorded = replace(disc, centre=(x, y))
        return Centred(recentred_cube, disc, as_recorded, quantities, warnings)
    drift = fit_descan(cube)
    # Counts can be moved by whole pixels only; less than one over the scan is left as it is.
    span = np.abs(drift.slope) @ (np.array(scan.patterns.shape[:2]) - 1)
    error = drift.slope_error @ np.array(scan.patterns.shape[:2])
    if (span > np.maximum(1.0, 3 * error)).any():
        recentred_cube = recentre(cube, drift)
        disc = find_disc(recentred_cube.mean_pattern())
        nx, ny = cube.patterns.shape[:2]
        _check_on_detector(drift.centres((nx, ny)), disc.radius, mean.shape)
        quantities["descan"] = Quantity(
            tuple(float(v) for v in span), "pixel", "estimated", float(error.max())
        )
        centre: tuple[float, float] = drift.middle
    else:
        fitted_disc = find_disc(mean)
        centre = fitted_disc.centre
        recentred_cube = recentre(cube, fitted_disc)
        shift = (detector_centre[0] - round(centre[0]), detector_centre[1] - round(centre[1]))
        disc = _moved(fitted_disc, shift)
    quantities["centre"] = Quantity(centre, "pixel", "estimated", max(disc.centre_error))
    return Centred(recentred_cube, disc, replace(disc, centre=centre), quantities)


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


def disc_warnings(disc: Disc, mean: NDArray[np.float64]) -> tuple[str, ...]:
    """Say that a disc on the mean pattern ``(Qx, Qy)`` may not be the beam."""
    warnings: tuple[str, ...] = ()
    other = second_disc(mean, disc)
    if other is not None and other[1] > _RIVAL:
        (x, y), brightness = other
        warnings += (
            f"a second disc, {brightness:.0%} as bright, lies {x - disc.centre[0]:+.0f} × "
            f"{y - disc.centre[1]:+.0f} pixels from the one that was taken for the beam: where "
            "that is a Bragg reflection, pass --centre",
        )
    return warnings


def measure_angles(disc: Disc, known: Mapping[str, Quantity]) -> Angles:
    """Semi-angle and detector pixel, if needed one from the other by the disc's radius."""
    quantities: dict[str, Quantity] = {}
    warnings: tuple[str, ...] = ()
    quantities["disc_radius"] = Quantity(disc.radius, "pixel", "estimated", disc.radius_error)
    relative_error = disc.radius_error / disc.radius
    if "detector_pixel" in known:
        pixel = math.sqrt(math.prod(known["detector_pixel"].value))
        if "semiangle" not in known:
            value = disc.semiangle(pixel)
            quantities["semiangle"] = Quantity(value, "mrad", "estimated", value * relative_error)
    else:
        pixel = disc.detector_pixel(known["semiangle"].value)
        quantities["detector_pixel"] = Quantity(
            (pixel, pixel), "mrad", "estimated", pixel * relative_error
        )
    semiangle = float({**known, **quantities}["semiangle"].value)
    if abs(disc.radius * pixel / semiangle - 1) > max(_DISAGREE, 3 * relative_error):
        warnings = (
            f"the disc has a radius of {disc.radius:.2f} pixels, which at {pixel:.4g} mrad is "
            f"{disc.radius * pixel:.3g} mrad and not the semi-angle of {semiangle:.3g} mrad: check "
            "both",
        )
    distortion, stretched = _distortion(disc, {**known, **quantities}["detector_pixel"].value)
    return Angles(semiangle, pixel, distortion, quantities, warnings + stretched)


def _distortion(disc: Disc, pixel: tuple[float, float]) -> tuple[Matrix, tuple[str, ...]]:
    """Matrix from the places of pixels to angles: of stated pixels, or one that rounds the disc."""
    if abs(pixel[0] - pixel[1]) > 1e-3 * pixel[0]:
        ratio = math.sqrt(pixel[0] / pixel[1])
        stated: Matrix = ((ratio, 0.0), (0.0, 1 / ratio))
        left = np.linalg.svd(np.array(disc.matrix) @ np.linalg.inv(stated), compute_uv=False)
        stretch = float(left[0] / left[-1])
        if stretch <= _ELLIPSE:
            return stated, ()
        return stated, (
            f"at pixels of {pixel[0]:g} × {pixel[1]:g} mrad the disc is an ellipse, {stretch:.2f} "
            "times as long as wide: check --detector-pixel",
        )
    if disc.stretch <= _CORRECTED:
        return STRAIGHT, ()
    if disc.stretch <= _ELLIPSE:
        return disc.matrix, ()
    return disc.matrix, (
        f"the disc is an ellipse, {disc.stretch:.2f} times as long as wide: its pixels are not "
        "square, or projector lenses distort it. The aperture is taken to be round, and all "
        "angles are corrected for that",
    )


def binning(radius: float) -> int:
    """Odd binning that gives a disc of about the radius that the network was trained on."""
    odd_numbers = range(1, max(2, math.floor(radius / 3)) + 1, 2)
    return min(odd_numbers, key=lambda n: abs(math.log(radius / n / DISC_RADIUS)))
