"""Geometry that the views show: defocus, astigmatism and drift, the detector's rotation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from misr4d.calibrate.calibration import estimate_rotation
from misr4d.calibrate.counting import LevelledCube
from misr4d.calibrate.defocus import Focus, Search, estimate_defocus
from misr4d.calibrate.drift import drift_matrix
from misr4d.core.acquisition import Acquisition
from misr4d.core.detector import STRAIGHT
from misr4d.io.scan import Quantity, value_or
from misr4d.report.noise import unexplained

__all__ = ["Geometry", "find_defocus", "find_rotation"]

# Our choice: 256 × 256 positions show the geometry as well as a million, in less memory and time.
_MIDDLE = 256
# Our choice, as for a drift beside none: a logarithm of how much likelier one must be.
_SURE = 10.0


@dataclass(frozen=True)
class Geometry:
    """An acquisition with what was estimated in it.

    Parameters
    ----------
    acquisition : Acquisition
    quantities : mapping
        What was found out or assumed.
    warnings : tuple of str
    search : Search or None
        How the views register for every trial, if the defocus was estimated.
    """

    acquisition: Acquisition
    quantities: Mapping[str, Quantity]
    warnings: tuple[str, ...] = ()
    search: Search | None = None


def find_defocus(
    cube: LevelledCube, acquisition: Acquisition, known: Mapping[str, Quantity]
) -> Geometry:
    """Estimate the defocus from the views, and with it the rotation if that is not known.

    Raises
    ------
    ValueError
        If the views show none.
    """
    quantities = _assumed_orientation(known)
    warnings: tuple[str, ...] = ()
    known = {**known, **quantities}
    orientation = None
    if "rotation" in known:
        orientation = known["rotation"].value, known["transposed"].value
    middle_cube, middle_acquisition = _middle(cube, acquisition)
    drift, astigmatism = value_or(known, "drift", None), value_or(known, "astigmatism", None)
    views = middle_cube.views(middle_acquisition)
    estimate = estimate_defocus(views, middle_acquisition, orientation, drift, astigmatism)
    certainty = 0.0
    if any(estimate.drift) and drift is None and astigmatism is None:
        still = estimate_defocus(views, middle_acquisition, orientation, (0.0, 0.0))
        certainty = _likelier(estimate, still, middle_cube, middle_acquisition)
        if certainty < -_SURE:
            drift, estimate = (0.0, 0.0), still
            quantities["drift"] = Quantity(drift, "Å a line", "estimated")
    if estimate.ambiguous:
        raise ValueError(
            "the defocus is neither in the file nor given, and the views show none: the best of "
            f"all trials, {estimate.defocus:.0f} Å, stands out by {estimate.score:.1f} standard "
            "deviations only; pass --defocus, in Å"
        )
    # Displacements tell the defocus times the angle of a pixel.
    error = math.hypot(estimate.error, _error_of_angles(known) * estimate.defocus)
    quantities["defocus"] = Quantity(estimate.defocus, "Å", "estimated", error)
    if drift is None:
        quantities["drift"] = Quantity(
            estimate.drift, "Å a line", "estimated", max(estimate.drift_error)
        )
        if any(estimate.drift):
            warnings += (_drifted(estimate.drift, acquisition, certainty > _SURE),)
    elif astigmatism is None:
        error = max(estimate.astigmatism_error)
        quantities["astigmatism"] = Quantity(estimate.astigmatism, "Å", "estimated", error)
    if orientation is None:
        quantities["rotation"] = Quantity(
            estimate.rotation, "deg", "estimated", estimate.rotation_error
        )
        quantities["transposed"] = Quantity(estimate.transposed, "", "estimated")
        warnings += (
            f"the views register at a defocus of {estimate.defocus:.0f} Å and a rotation of "
            f"{estimate.rotation:.1f}°, and as well at {-estimate.defocus:.0f} Å and half a turn "
            "from there, which inverts the contrast: underfocus is assumed, pass --rotation to "
            "settle it",
        )
    focused = replace(acquisition, defocus=estimate.defocus, astigmatism=estimate.astigmatism)
    return Geometry(focused, quantities, warnings, estimate.search)


def _error_of_angles(known: Mapping[str, Quantity]) -> float:
    """Relative error of all angles.

    Where pixel and semi-angle were both known before, that is how far the disc's radius says that
    they contradict each other.
    """
    pixel, semiangle = known["detector_pixel"], known["semiangle"]
    side: float = math.sqrt(math.prod(pixel.value))
    if pixel.origin == "estimated" or semiangle.origin == "estimated":
        return (pixel.error or 0.0) / side
    return abs(float(known["disc_radius"].value * side / semiangle.value) - 1)


def _likelier(
    drifting: Focus,
    still: Focus,
    cube: LevelledCube,
    acquisition: Acquisition,
) -> float:
    """How much likelier a drift is than a still specimen and an astigmatic probe, as a logarithm.

    Both displace the views alike. They differ in what they say of frequencies: astigmatism changes
    the phase with which a view transfers one, drift changes which one it is. So the geometry is
    right under which direct ptychography leaves less of the views unexplained.
    """
    left = []
    for focus in (drifting, still):
        matrix = drift_matrix(focus.drift, acquisition.step, acquisition.scan_shape).tolist()
        assumed = replace(
            acquisition,
            defocus=focus.defocus,
            astigmatism=focus.astigmatism,
            rotation=focus.rotation,
            transposed=focus.transposed,
            scan_matrix=(tuple(matrix[0]), tuple(matrix[1])),
        )
        left.append(unexplained(cube.views(assumed), assumed, cube))
    return left[0].log_likelihood_over(left[1])


def _middle(cube: LevelledCube, acquisition: Acquisition) -> tuple[LevelledCube, Acquisition]:
    """Cut out the middle of the scan, from which its geometry is estimated."""
    middle_cube = cube.middle(_MIDDLE)
    nx, ny = middle_cube.patterns.shape[:2]
    return middle_cube, replace(acquisition, scan_shape=(nx, ny))


def _drifted(drift: tuple[float, float], acquisition: Acquisition, certain: bool) -> str:
    """Say what a drift does to the image, and whether it may be astigmatism instead."""
    length, step = math.hypot(*drift), acquisition.step[0]
    evidence, advice = ", as the views show", ""
    if not certain:
        evidence += " unless the probe has two-fold astigmatism"
        advice = (
            "; if the specimen is known to have stood still, pass --drift 0 0, and astigmatism is "
            "sought instead; if the probe is known to have none, pass --astigmatism 0 0, and the "
            "defocus is known better"
        )
    return (
        f"each line of the scan lies {length:.2g} Å ({length / step:.0%} of a step) from where it "
        f"should, beyond the line before it{evidence}. Defocus, rotation and image allow for "
        f"that, and the image is straightened and cropped to what the scan saw all of{advice}"
    )


def _assumed_orientation(known: Mapping[str, Quantity]) -> dict[str, Quantity]:
    """Assume that a detector of known rotation is not transposed; raise for the reverse."""
    if "rotation" in known:
        return {} if "transposed" in known else {"transposed": Quantity(False, "", "assumed")}
    if "transposed" in known:
        raise ValueError(
            "it is known whether the detector is transposed, but not how it is rotated; pass "
            "--rotation, in deg, or leave both to be estimated"
        )
    return {}


def find_rotation(
    cube: LevelledCube, acquisition: Acquisition, known: Mapping[str, Quantity]
) -> Geometry:
    """Set the detector's rotation against the scan: known, or estimated from the views."""
    quantities = _assumed_orientation(known)
    warnings: tuple[str, ...] = ()
    if "rotation" not in known:
        estimate = estimate_rotation(*_middle(cube, acquisition))
        quantities["rotation"] = Quantity(estimate.rotation, "deg", "estimated")
        quantities["transposed"] = Quantity(estimate.transposed, "", "estimated")
        if estimate.ambiguous:
            warnings = (
                f"the rotation of {estimate.rotation:.1f}° between scan and detector is uncertain "
                f"(transpose by {estimate.transpose_score:.1f} and sign by "
                f"{estimate.sign_score:.1f} standard deviations): measure it at a higher dose and "
                "pass --rotation",
            )
    now_known = {**known, **quantities}
    rotation, transposed = now_known["rotation"].value, now_known["transposed"].value
    drift = value_or(known, "drift", (0.0, 0.0))
    matrix = STRAIGHT
    if any(drift):
        (a, b), (c, d) = drift_matrix(drift, acquisition.step, acquisition.scan_shape).tolist()
        matrix = ((a, b), (c, d))
    turned = replace(acquisition, rotation=rotation, transposed=transposed, scan_matrix=matrix)
    return Geometry(turned, quantities, warnings)
