"""Calibrate a recorded datacube: disc, pixel size, descan, rotation and a distorted scan.

Order of use: :func:`misr4d.calibrate.descan.fit_descan` and
:func:`misr4d.calibrate.descan.recentre`, :func:`misr4d.calibrate.disc.find_disc` and
:meth:`misr4d.calibrate.disc.Disc.detector_pixel`, which :func:`calibrate` does in one call, then
:func:`estimate_rotation`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from torch import Tensor
from tqdm import tqdm

from misr4d.calibrate.descan import fit_descan, recentre, scan_positions
from misr4d.calibrate.disc import Disc, find_disc
from misr4d.core import optics
from misr4d.core.acquisition import Acquisition
from misr4d.core.datacube import Datacube, centre_of_mass
from misr4d.core.detector import detector_axes

__all__ = ["Orientation", "calibrate", "estimate_rotation"]

Source = Literal["views", "curl"]


def calibrate(
    cube: Datacube, semiangle: float, *, descan: bool = True, subpixel: bool = False
) -> tuple[Datacube, Disc]:
    """Recentre a datacube and find its detector pixel from the known semi-angle.

    Parameters
    ----------
    cube : Datacube
        Its detector pixel is replaced. In memory, or on disk, where it stays. Whole numbers whose
        ``electrons`` were left at 1 are taken as counts of all electrons, and their mean for the
        incident ones.
    semiangle : float
        Convergence semi-angle [mrad].
    descan : bool
        Follow a linear drift of the disc over the scan; otherwise one centre serves all.
    subpixel : bool
        As in :func:`misr4d.calibrate.descan.recentre`.

    Returns
    -------
    Datacube, Disc
        The recentred datacube with square detector pixels, and its disc after recentring.

    Raises
    ------
    ValueError
        If the disc cannot be found; the message says why.
    """
    centres = fit_descan(cube) if descan else find_disc(cube.mean_pattern())
    recentred = recentre(cube, centres, subpixel=subpixel)
    mean = recentred.mean_pattern()
    disc = find_disc(mean)
    pixel = disc.detector_pixel(semiangle)
    are_counts = cube.electrons == 1 and cube.patterns.dtype.kind in "iu"
    electrons = float(mean.sum()) if are_counts else cube.electrons
    return replace(recentred, detector_pixel=(pixel, pixel), electrons=electrons), disc


# Our choice, so high because the best of some two hundred angles is picked.
_CERTAIN = 5.0


@dataclass(frozen=True)
class Orientation:
    """Orientation of the detector in the scan, as estimated from data.

    Parameters
    ----------
    rotation : float
        θ [deg] from −180 to 180, positive from Rx towards Ry; see :mod:`misr4d.core.detector`.
    transposed : bool
    by : {"views", "curl"}
        Source of the estimate.
    transpose_score : float
        How much better it is than the best angle with the opposite `transposed`, in standard
        deviations of the noise.
    sign_score : float
        How much better the views register at `rotation` than at 180° from it, in standard
        deviations of the noise; zero if they are not displaced.
    """

    rotation: float
    transposed: bool
    by: Source
    transpose_score: float
    sign_score: float

    @property
    def ambiguous(self) -> bool:
        """Whether it may be wrong: by 180°, or in the transpose and then in the angle too."""
        return min(self.sign_score, self.transpose_score) < _CERTAIN

    def applied(self, acquisition: Acquisition) -> Acquisition:
        """Return the measurement with this orientation of the detector."""
        return replace(acquisition, rotation=self.rotation, transposed=self.transposed)


def estimate_rotation(
    cube: Datacube, acquisition: Acquisition, by: Source | None = None
) -> Orientation:
    """Estimate the rotation of the detector against the scan.

    Parameters
    ----------
    cube : Datacube
        Recentred and calibrated.
    acquisition : Acquisition
        As it would be with an unturned detector. Its detector pixel is a whole odd multiple of
        the datacube's, and the sign of its defocus is trusted.
    by : {"views", "curl"}, optional
        ``views``: defocused views are displaced, and register only at the right angle. This
        distinguishes θ, θ + 180° and the transpose, and works at low dose.
        ``curl``: the centre of mass of a phase object is a gradient and has no curl. It needs no
        defocus, but about a thousand times the electrons: a fifth of a degree takes 10⁵ e⁻/Å²
        in the atomic regime, and the views 100. The curl is as small at θ + 180°, where the
        contrast is inverted, so that the views must distinguish the two. By default ``views`` if
        defocus displaces them by a scan step or more, and otherwise ``curl``.

    Returns
    -------
    Orientation
        See its ``ambiguous``.

    Raises
    ------
    ValueError
        If the datacube does not fit the acquisition, `by` is unknown or asks for views that are
        not displaced, or nothing varies over the scan.

    References
    ----------
    Savitzky et al., Microsc. Microanal. 27, 712 (2021), for the least curl; Varnavides et al.,
    arXiv:2309.05250, for the displacement of views as a measure of rotation.
    """
    if acquisition.turned:
        raise ValueError("the acquisition is turned already; give the unturned one")
    if by not in (None, *get_args(Source)):
        raise ValueError(f"by is {by!r}; expected one of {get_args(Source)} or None")
    displaced = acquisition.largest_view_shift >= max(acquisition.step)
    if by == "views" and not displaced:
        raise ValueError(
            f"a defocus of {acquisition.defocus:g} Å displaces the views by "
            f"{acquisition.largest_view_shift:.3g} Å at most, less than the scan step of "
            f"{max(acquisition.step):g} Å; use by='curl'"
        )
    registration = _Registration(cube.views(acquisition), acquisition) if displaced else None
    if registration is not None and by != "curl":
        return registration.best()
    return _by_curl(cube, acquisition, registration)


class _Registration:
    """Power of the sum of views, registered as for a detector turned by some angle."""

    def __init__(self, views: Tensor, acquisition: Acquisition) -> None:
        self.acquisition = acquisition
        # Without their means, which add up coherently at any angle.
        spectra = torch.fft.rfft2(views - views.mean((1, 2), keepdim=True))
        qx, qy = optics.frequencies(acquisition.scan_shape, acquisition.step)
        self.spectra = spectra.numpy()
        self.qx, self.qy = qx[:, 0].numpy(), qy[0, : spectra.shape[2]].abs().numpy()
        self.shifts = acquisition.registering_shifts.numpy()
        summed = self._summed(0.0, False)
        if not float(summed.sum()) > 0:
            raise ValueError("the views do not vary over the scan; they show no rotation")
        # Most frequencies hold noise alone, whose power is distributed exponentially.
        noise = float(np.median(summed)) / math.log(2)
        self.deviation = noise * math.sqrt(2 * summed.size)

    def _summed(self, rotation: float, transposed: bool) -> NDArray[np.float32]:
        shift = self.shifts @ detector_axes(rotation, transposed).numpy().T
        ramp_x, ramp_y = (
            np.exp(-2j * np.pi * shift[:, axis, None] * q).astype(np.complex64)
            for axis, q in enumerate((self.qx, self.qy))
        )
        registered = self.spectra * ramp_x[:, :, None]
        registered *= ramp_y[:, None, :]
        power: NDArray[np.float32] = np.abs(registered.sum(0)) ** 2
        return power

    def power(self, rotation: float, transposed: bool) -> float:
        return float(self._summed(rotation, transposed).sum(dtype=np.float64))

    def sign_score(self, rotation: float, transposed: bool) -> float:
        power_at, power_opposite = (
            self.power(rotation + half_turn, transposed) for half_turn in (0.0, 180.0)
        )
        return (power_at - power_opposite) / self.deviation

    def best(self) -> Orientation:
        acq = self.acquisition
        # The peak is as wide as the angle that moves the outermost view by half a finest period.
        width = math.degrees(acq.nyquist_period() / 2 / acq.largest_view_shift)
        angles = np.linspace(-180, 180, max(36, math.ceil(720 / width)), endpoint=False)
        peaks = {}
        for transposed in (False, True):
            trial = [
                self.power(float(a), transposed)
                for a in tqdm(angles, desc="rotation", disable=None, leave=False)
            ]
            top = int(np.argmax(trial))
            spacing = float(angles[1] - angles[0])
            refined = minimize_scalar(
                lambda a, t=transposed: -self.power(float(a), t),
                bounds=(angles[top] - spacing, angles[top] + spacing),
                method="bounded",
                options={"xatol": 0.01},
            )
            peaks[transposed] = (-float(refined.fun), float(refined.x))
        transposed = peaks[True][0] > peaks[False][0]
        power, angle = peaks[transposed]
        return Orientation(
            _principal(angle),
            transposed,
            "views",
            (power - peaks[not transposed][0]) / self.deviation,
            self.sign_score(angle, transposed),
        )


def _by_curl(
    cube: Datacube, acquisition: Acquisition, registration: _Registration | None
) -> Orientation:
    """Orientation of least curl. The views give its sign, if they are displaced."""
    field = centre_of_mass(cube, acquisition).double()
    # A drift of the axis is a plane, which is not from the specimen.
    x, y = (torch.from_numpy(p) for p in scan_positions(acquisition.scan_shape))
    plane = torch.stack([torch.ones_like(x + y), x + 0 * y, y + 0 * x]).flatten(1).T
    solved = torch.linalg.lstsq(plane, field.flatten(1).T).solution
    u, v = torch.fft.fft2(field - (plane @ solved).T.reshape(field.shape))
    qx, qy = optics.frequencies(acquisition.scan_shape, cube.step)
    # The blur of the gradient by the probe leaves little above α.
    q = (qx**2 + qy**2).sqrt()
    in_band = (q > 0) & (q <= acquisition.semiangle * 1e-3 / acquisition.wavelength)
    ex, ey = (qx / q.clamp_min(1e-12))[in_band], (qy / q.clamp_min(1e-12))[in_band]
    u, v = u[in_band], v[in_band]
    if not float((u.abs() ** 2 + v.abs() ** 2).sum()) > 0:
        raise ValueError("the centre of mass is the same everywhere; it shows no rotation")
    least_curl = {False: _least_curl(u, v, ex, ey), True: _least_curl(v, u, ex, ey)}
    transposed = least_curl[True][1] < least_curl[False][1]
    angle = least_curl[transposed][0]
    # Noise alone leaves half in the curl, ± one over the root of the number of frequencies.
    curl_difference = least_curl[not transposed][1] - least_curl[transposed][1]
    sign = 0.0 if registration is None else registration.sign_score(angle, transposed)
    if sign < 0:
        angle, sign = angle + 180.0, -sign
    score = curl_difference * math.sqrt(len(u) / 2)
    return Orientation(_principal(angle), transposed, "curl", score, sign)


def _principal(angle: float) -> float:
    """Return the same angle between −180 and 180 [deg]."""
    return (angle + 180.0) % 360.0 - 180.0


def _least_curl(u: Tensor, v: Tensor, ex: Tensor, ey: Tensor) -> tuple[float, float]:
    """Angle [deg] with the least power across the frequency, and the fraction of power there.

    Rotated by θ, the component across is cosθ·C + sinθ·D, with C and D the components across and
    along. Noise is equal in both, so that it does not bias the angle.
    """
    across, along = ex * v - ey * u, ex * u + ey * v
    cc, dd = float((across.abs() ** 2).sum()), float((along.abs() ** 2).sum())
    cd = float((across * along.conj()).real.sum())
    values, vectors = np.linalg.eigh(np.array([[cc, cd], [cd, dd]]))
    c, s = vectors[:, 0]
    return math.degrees(math.atan2(s, c)), float(values[0] / values.sum())
