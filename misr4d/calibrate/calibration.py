"""Calibrate a recorded datacube: disc, pixel size, descan, rotation and a distorted scan.

The order in which to use it: :func:`fit_descan` and :func:`recentre`, :func:`find_disc` and
:meth:`Disc.detector_pixel`, which :func:`calibrate` does in one call, then
:func:`estimate_rotation`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, cast, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.optimize import least_squares, minimize_scalar
from torch import Tensor
from tqdm import tqdm

from misr4d.core import optics
from misr4d.core.acquisition import Acquisition
from misr4d.core.datacube import Datacube, centre_of_mass
from misr4d.core.detector import TurnedAcquisition, detector_axes

__all__ = [
    "Descan",
    "Disc",
    "Orientation",
    "calibrate",
    "correct_scan",
    "drift_matrix",
    "estimate_rotation",
    "find_disc",
    "fit_descan",
    "recentre",
    "straighten",
]

Source = Literal["views", "curl"]


@dataclass(frozen=True)
class Disc:
    """The bright-field disc on a detector.

    Parameters
    ----------
    centre : (float, float)
        Detector index along (Qx, Qy) [pixels]; a whole number is the middle of a pixel.
    radius : float
        In pixels.
    centre_error : (float, float)
        Standard error of the centre, from the fit's residual [pixels].
    radius_error : float
        Standard error of the radius [pixels].
    """

    centre: tuple[float, float]
    radius: float
    centre_error: tuple[float, float]
    radius_error: float

    def detector_pixel(self, semiangle: float) -> float:
        """Side of a detector pixel [mrad] for a known convergence semi-angle [mrad]."""
        return _positive("semiangle", semiangle) / self.radius

    def semiangle(self, detector_pixel: float) -> float:
        """Convergence semi-angle [mrad] for a known detector pixel [mrad]."""
        return _positive("detector_pixel", detector_pixel) * self.radius

    def mask(self, shape: tuple[int, int], fraction: float = 1.0) -> NDArray[np.bool_]:
        """Pixels with their centre within `fraction` of the radius ``(Qx, Qy)``."""
        reach = _positive("fraction", fraction) * self.radius * (1 + 1e-9)
        inside: NDArray[np.bool_] = _distance(shape, self.centre) <= reach
        return inside


def _positive(name: str, value: float) -> float:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} is {value!r}; expected a positive number")
    return value


def _distance(shape: tuple[int, ...], centre: tuple[float, float]) -> NDArray[np.float64]:
    """Distance of every pixel from a point ``(Qx, Qy)`` [pixels]."""
    x, y = (np.arange(n) - c for n, c in zip(shape, centre, strict=True))
    return np.hypot(x[:, None], y[None, :])


# Our choice: by how much more a disc explains than as many numbers without meaning would; noise
# alone, in which the best disc is picked, reaches 4.
_STANDS_OUT = 10.0


def find_disc(pattern: NDArray[Any]) -> Disc:
    """Fit the bright disc of a position-averaged pattern to a fraction of a pixel.

    A first guess takes the area above half of the disc's level. Its refinement fits a disc whose
    edge is as soft as a pixel is wide, on a constant background, by least squares weighted as
    counting noise is. The disc's level may rise or fall towards the rim and from side to side,
    because a specimen leaves it uneven.

    Parameters
    ----------
    pattern : ndarray
        ``(Qx, Qy)``: counts or fractions, summed or averaged over positions.

    Returns
    -------
    Disc
        With standard errors.

    Raises
    ------
    ValueError
        If the pattern is not an image of finite values with something in it, or the disc is
        not wholly on it.
    """
    image = np.asarray(pattern, dtype=np.float64)
    if image.ndim != 2 or min(image.shape) < 5 or not np.isfinite(image).all():
        raise ValueError(
            f"the pattern has shape {image.shape} or values that are not finite; expected "
            "(Qx, Qy), at least 5 pixels a side: average a datacube with mean_pattern"
        )
    if image.max() <= image.min():
        raise ValueError("the pattern is constant; no disc can be found in it")
    scale = image.max()
    image = image / scale
    smooth = gaussian_filter(image, 1.0)
    floor = float(np.median(image[_rim(image.shape)]))
    lit = smooth > floor + 0.5 * (np.quantile(smooth, 0.99) - floor)
    # The level of the brightest few pixels overstates a noisy or uneven disc: take its median.
    level = float(np.median(smooth[lit]))
    lit = smooth > (floor + level) / 2
    x, y = np.nonzero(lit)
    radius = math.sqrt(lit.sum() / math.pi)
    index = [np.arange(n)[:, None] if a == 0 else np.arange(n) for a, n in enumerate(image.shape)]

    def model(p: NDArray[np.float64]) -> NDArray[Any]:
        dx, dy = (index[0] - p[0]) / p[2], (index[1] - p[1]) / p[2]
        r = np.hypot(dx, dy)
        lit = _coverage((1 - r) * p[2], dx / np.maximum(r, 1e-9), dy / np.maximum(r, 1e-9))
        level = p[3] + p[5] * dx + p[6] * dy + p[7] * (r**2 - 0.5)
        shown: NDArray[Any] = level * lit + p[4]
        return shown

    p = np.array([x.mean(), y.mean(), radius, level - floor, floor, 0.0, 0.0, 0.0])
    weight = np.ones_like(image)
    for _ in range(3):
        fit = least_squares(lambda q, w=weight: ((model(q) - image) * w).ravel(), p, method="lm")
        p = fit.x
        # Below a hundredth of the disc, a few stray counts would otherwise weigh too much.
        weight = 1 / np.sqrt(np.maximum(model(p), 0.01 * max(p[3], 1e-9)))
    limit = np.array(image.shape) - 0.5
    if p[2] < 1 or (p[:2] - p[2] < -0.5).any() or (p[:2] + p[2] > limit).any() or p[3] <= 0:
        raise ValueError(
            f"a disc of radius {p[2]:.2f} pixels at ({p[0]:.2f}, {p[1]:.2f}) is not wholly on a "
            f"detector of {image.shape} pixels; expected the whole bright-field disc"
        )
    flat = (((image - np.average(image, weights=weight**2)) * weight) ** 2).sum() - 2 * fit.cost
    variance = 2 * fit.cost / max(1, image.size - len(p))
    if flat < _STANDS_OUT * (len(p) - 1) * variance:
        raise ValueError(
            "no disc stands out of the pattern's noise; expected the bright-field disc, brighter "
            "than what is around it"
        )
    error = np.sqrt(np.diag(np.linalg.pinv(fit.jac.T @ fit.jac)) * variance)
    return Disc(
        (float(p[0]), float(p[1])),
        float(p[2]),
        (float(error[0]), float(error[1])),
        float(error[2]),
    )


def _coverage(
    depth: NDArray[np.float64], c: NDArray[np.float64], s: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Share of a square pixel that is `depth` inside a straight edge of normal (c, s)."""
    a, b = np.maximum(np.abs(c), 1e-3), np.maximum(np.abs(s), 1e-3)

    def ramp(t: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.maximum(t, 0) ** 2 / 2

    wide, narrow = (a + b) / 2, (a - b) / 2
    area = ramp(depth + wide) - ramp(depth + narrow) - ramp(depth - narrow) + ramp(depth - wide)
    return cast("NDArray[np.float64]", area / (a * b))


def _rim(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    rim = np.ones(shape, dtype=bool)
    rim[1:-1, 1:-1] = False
    return rim


@dataclass(frozen=True)
class Descan:
    """Drift of the optical axis over the scan, linear in the position.

    Parameters
    ----------
    middle : (float, float)
        Axis at the middle of the scan, detector index along (Qx, Qy) [pixels].
    slope : ndarray
        ``(2, 2)``: how far the axis moves along (Qx, Qy), rows, for one position along (Rx, Ry),
        columns [pixels].
    slope_error : ndarray
        ``(2, 2)``, standard error of the slope.
    """

    middle: tuple[float, float]
    slope: NDArray[np.float64]
    slope_error: NDArray[np.float64]

    def centres(self, scan_shape: tuple[int, int]) -> NDArray[np.float64]:
        """Axis of every pattern ``(2, Rx, Ry)`` [pixels]."""
        x, y = _scan_positions(scan_shape)
        middle = np.asarray(self.middle)[:, None, None]
        return cast(
            "NDArray[np.float64]",
            middle + self.slope[:, :1, None] * x + self.slope[:, 1:, None] * y,
        )


def _scan_positions(scan_shape: tuple[int, int]) -> tuple[NDArray[np.float64], ...]:
    """Positions from the middle of the scan, ``(Rx, 1)`` and ``(1, Ry)`` [steps]."""
    nx, ny = scan_shape
    return np.arange(nx)[:, None] - (nx - 1) / 2, np.arange(ny)[None, :] - (ny - 1) / 2


def fit_descan(cube: Datacube, blocks: tuple[int, int] = (8, 8)) -> Descan:
    """Fit a plane to the disc's position, from the centres of mass of averaged patterns.

    Each block of the scan gives one averaged pattern. Its centre of mass is taken inside a window
    half as wide again as the disc, which follows the plane, so that background and the edge of
    the detector do not pull.

    Parameters
    ----------
    cube : Datacube
    blocks : (int, int)
        Blocks along (Rx, Ry), at least 2 by 2. More blocks smear a steep drift less; each needs
        some hundred electrons. Our choice of 8 leaves 64 positions of a 64 × 64 scan to each.

    Raises
    ------
    ValueError
        If there are fewer positions than blocks, or fewer than four blocks hold electrons.
    """
    shape = cube.patterns.shape
    if min(blocks) < 2 or blocks[0] > shape[0] or blocks[1] > shape[1]:
        raise ValueError(
            f"blocks is {blocks}; expected at least 2 and at most the scan's "
            f"{tuple(shape[:2])} along each axis"
        )
    patterns, where = _block_patterns(cube, blocks)
    total = patterns.sum((1, 2))
    if (total > 0).sum() < 4:
        raise ValueError("fewer than four blocks of the scan hold electrons; nothing can be fitted")
    design = np.column_stack([np.ones(len(where)), where])
    excess = np.maximum(patterns - np.median(patterns, axis=(1, 2), keepdims=True), 0)
    centres = _centroids(excess, np.full((len(where), 2), np.nan), math.inf)
    plane = _weighted_plane(design, centres, total)[0]
    # The disc's radius, from blocks laid on top of each other by the first plane.
    middle = [n // 2 for n in shape[2:]]
    stacked = sum(
        np.roll(p, tuple(int(v) for v in np.round(middle - c)), (0, 1))
        for p, c in zip(patterns, design @ plane, strict=True)
    )
    reach = 1.5 * find_disc(np.asarray(stacked)).radius
    for _ in range(50):  # it contracts by the share of background in the window
        centres = _centroids(patterns, design @ plane, reach)
        before = plane
        plane, error = _weighted_plane(design, centres, total)
        if np.abs(design @ (plane - before)).max() < 1e-4:
            break
    return Descan((float(plane[0, 0]), float(plane[0, 1])), plane[1:].T, error[1:].T)


def _block_patterns(
    cube: Datacube, blocks: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum patterns in blocks of the scan ``(B, Qx, Qy)``, and find the middles ``(B, 2)``."""
    nx, ny = cube.patterns.shape[:2]
    bx, by = np.arange(nx) * blocks[0] // nx, np.arange(ny) * blocks[1] // ny
    sums = np.zeros((*blocks, *cube.patterns.shape[2:]))
    for (rx, ry), patterns in cube.read(label="descan"):
        for i, rows in _runs(bx[rx]):
            for j, columns in _runs(by[ry]):
                sums[i, j] += patterns[rows, columns].sum((0, 1), dtype=np.float64)
    x, y = _scan_positions((nx, ny))
    mx = np.bincount(bx, x[:, 0]) / np.bincount(bx)
    my = np.bincount(by, y[0]) / np.bincount(by)
    middles = np.stack(np.meshgrid(mx, my, indexing="ij"), -1).reshape(-1, 2)
    return sums.reshape(-1, *sums.shape[2:]), middles


def _runs(labels: NDArray[np.intp]) -> Iterator[tuple[int, slice]]:
    """Yield each of ascending labels, and where it stands."""
    values, starts = np.unique(labels, return_index=True)
    for value, start, stop in zip(values, starts, [*starts[1:], len(labels)], strict=True):
        yield int(value), slice(int(start), int(stop))


def _centroids(
    patterns: NDArray[np.float64], around: NDArray[np.float64], reach: float
) -> NDArray[np.float64]:
    """Centres of mass ``(B, 2)`` within `reach` of a point; without electrons, the middle."""
    x, y = (np.arange(n, dtype=np.float64) for n in patterns.shape[1:])
    found = np.empty((len(patterns), 2))
    for b, pattern in enumerate(patterns):
        if math.isfinite(reach):
            distance = _distance(pattern.shape, (float(around[b, 0]), float(around[b, 1])))
            pattern = pattern * np.clip(reach - distance + 0.5, 0, 1)
        total = pattern.sum()
        if total > 0:
            found[b] = (pattern.sum(1) @ x) / total, (pattern.sum(0) @ y) / total
        else:
            found[b] = (len(x) - 1) / 2, (len(y) - 1) / 2
    return found


def _weighted_plane(
    design: NDArray[np.float64], values: NDArray[np.float64], weight: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Least squares ``(3, 2)`` and its standard errors; variance falls as the electrons grow."""
    weighted = design * weight[:, None]
    inverse = np.linalg.inv(design.T @ weighted)
    plane = inverse @ (weighted.T @ values)
    freedom = max(1, int((weight > 0).sum()) - 3)
    variance = (weight[:, None] * (values - design @ plane) ** 2).sum(0) / freedom
    return plane, np.sqrt(np.diag(inverse)[:, None] * variance)


class _Recentred:
    """Patterns moved as they are read, so that a cube on disk stays there."""

    def __init__(self, source: NDArray[Any], shift: NDArray[np.float64], subpixel: bool) -> None:
        self.source, self.shift, self.subpixel = source, shift, subpixel
        self.shape = source.shape
        self.ndim = 4
        self.dtype = np.dtype(np.float32) if subpixel else source.dtype
        self.chunks = getattr(source, "chunks", None)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        key = key if isinstance(key, tuple) else (key,)
        if not all(isinstance(k, slice) for k in key):
            chosen: NDArray[Any] = self.__array__()[key]
            return chosen
        rx, ry, *window = (*key, slice(None), slice(None))[: max(2, len(key))]
        shift = self.shift[:, rx, ry]
        if not self.subpixel:
            inside = self._unmoved(window, np.round(shift).astype(int))
            if inside is not None:
                unmoved: NDArray[Any] = np.asarray(self.source[rx, ry, *inside])
                return unmoved
        moved = self._move(np.asarray(self.source[rx, ry]), shift)
        return moved[:, :, *window]

    def _unmoved(self, window: list[slice], shift: NDArray[np.intp]) -> list[slice] | None:
        """Part of the detector that is seen in a window, if it is one for all and not wrapped."""
        if not shift.size or (shift != shift[:, :1, :1]).any():
            return None
        found = []
        for axis, n in enumerate(self.shape[2:]):
            start, stop, stride = (window[axis] if axis < len(window) else slice(None)).indices(n)
            start, stop = start - int(shift[axis, 0, 0]), stop - int(shift[axis, 0, 0])
            if start < 0 or stop > n or stride != 1:
                return None
            found.append(slice(start, stop))
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        whole: NDArray[Any] = self[:, :]
        return whole if dtype is None else whole.astype(dtype)

    def _move(self, block: NDArray[Any], shift: NDArray[np.float64]) -> NDArray[Any]:
        if not self.subpixel:
            return _roll(block, np.round(shift).astype(int))
        whole = np.floor(shift).astype(int)
        part = (shift - whole)[..., None, None].astype(np.float32)
        moved = _roll(block.astype(np.float32), whole)
        moved += part[0] * (np.roll(moved, 1, 2) - moved)
        moved += part[1] * (np.roll(moved, 1, 3) - moved)
        return moved


def _roll(block: NDArray[Any], shift: NDArray[Any]) -> NDArray[Any]:
    """Roll every pattern by its own whole number of pixels ``(2, rx, ry)``."""
    moved = np.empty_like(block)
    for own in np.unique(shift.reshape(2, -1), axis=1).T:  # a few: the axis moves slowly
        where = (shift == own[:, None, None]).all(0)
        moved[where] = np.roll(block[where], tuple(own), (1, 2))
    return moved


def recentre(
    cube: Datacube,
    centre: Disc | Descan | tuple[float, float] | NDArray[np.float64],
    *,
    subpixel: bool = False,
) -> Datacube:
    """Move the patterns so that the optical axis falls on (Qx // 2, Qy // 2).

    Parameters
    ----------
    cube : Datacube
        In memory, or on disk: then the patterns are moved as they are read.
    centre : Disc, Descan, (float, float) or ndarray
        Where the axis is: for all patterns, or ``(2, Rx, Ry)`` for each [pixels].
    subpixel : bool
        Off, whole pixels: counts stay whole numbers with Poisson statistics, and an axis is left
        up to half a pixel away. On, linear interpolation: the axis is exact and electrons are
        kept, but neighbouring pixels share them, so that noise is correlated and no longer
        Poisson; the patterns become float32.

    Returns
    -------
    Datacube
        What leaves the detector on one side enters on the other.

    Raises
    ------
    ValueError
        If the centre is off the detector, or not one for each position.
    """
    nx, ny, qx, qy = cube.patterns.shape
    if isinstance(centre, Descan):
        found = centre.centres((nx, ny))
    elif isinstance(centre, Disc):
        found = np.asarray(centre.centre)
    else:
        found = np.asarray(centre, dtype=np.float64)
    if found.shape == (2,):
        found = np.broadcast_to(found[:, None, None], (2, nx, ny))
    if found.shape != (2, nx, ny):
        raise ValueError(
            f"centre has shape {found.shape}; expected (2,) or one for each position, {(2, nx, ny)}"
        )
    size = np.array([qx, qy])[:, None, None]
    if not np.isfinite(found).all() or (found < -0.5).any() or (found > size - 0.5).any():
        raise ValueError(
            f"the axis runs from {found.min((1, 2))} to {found.max((1, 2))}, off a detector of "
            f"{(qx, qy)} pixels; check the fit of the disc or of the descan"
        )
    moved = _Recentred(cube.patterns, size // 2 - found, subpixel)
    patterns = moved[:, :] if isinstance(cube.patterns, np.ndarray) else moved
    return replace(cube, patterns=patterns)


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
        As in :func:`recentre`.

    Returns
    -------
    Datacube, Disc
        Recentred, with square detector pixels; and the disc as it lies afterwards.

    Raises
    ------
    ValueError
        If the disc cannot be found; the message says why.
    """
    where = fit_descan(cube) if descan else find_disc(cube.mean_pattern())
    moved = recentre(cube, where, subpixel=subpixel)
    mean = moved.mean_pattern()
    disc = find_disc(mean)
    pixel = disc.detector_pixel(semiangle)
    counted = cube.electrons == 1 and cube.patterns.dtype.kind in "iu"
    electrons = float(mean.sum()) if counted else cube.electrons
    return replace(moved, detector_pixel=(pixel, pixel), electrons=electrons), disc


# Our choice, so high because the best of some two hundred angles is picked.
_CERTAIN = 5.0


@dataclass(frozen=True)
class Orientation:
    """How the detector lies in the scan, as estimated from data.

    Parameters
    ----------
    rotation : float
        θ [deg] from −180 to 180, positive from Rx towards Ry; see :mod:`misr4d.core.detector`.
    transposed : bool
    by : {"views", "curl"}
        What it was read off.
    transpose_score : float
        By how many standard deviations of the noise it beats the best angle with `transposed` the
        other way round.
    sign_score : float
        By how many standard deviations of the noise the views register better at `rotation` than
        at 180° from it; zero if they are not displaced.
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

    def applied(self, acquisition: Acquisition) -> TurnedAcquisition:
        """Return the measurement with its detector turned so."""
        return TurnedAcquisition.of(acquisition, self.rotation, self.transposed)


def estimate_rotation(
    cube: Datacube, acquisition: Acquisition, by: Source | None = None
) -> Orientation:
    """Estimate how the detector is turned against the scan.

    Parameters
    ----------
    cube : Datacube
        Recentred and calibrated.
    acquisition : Acquisition
        As it would be with an unturned detector. Its detector pixel is a whole odd multiple of
        the datacube's, and the sign of its defocus is trusted.
    by : {"views", "curl"}, optional
        ``views``: the displacements of defocused views, by which they register and add up at the
        right angle alone. It tells all of θ, θ + 180° and the transpose, and works at low dose.
        ``curl``: the centre of mass of a phase object is a gradient and has no curl. It needs no
        defocus, but about a thousand times the electrons: a fifth of a degree takes 10⁵ e⁻/Å²
        in the atomic regime, and the views 100. The curl is as small at θ + 180°, where the
        contrast is inverted, so that the views must tell the two apart. By default ``views`` if
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
    if isinstance(acquisition, TurnedAcquisition):
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
        # Without their means, which add up at any angle.
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
        moved = self.spectra * ramp_x[:, :, None]
        moved *= ramp_y[:, None, :]
        power: NDArray[np.float32] = np.abs(moved.sum(0)) ** 2
        return power

    def power(self, rotation: float, transposed: bool) -> float:
        return float(self._summed(rotation, transposed).sum(dtype=np.float64))

    def sign_score(self, rotation: float, transposed: bool) -> float:
        ahead, behind = (self.power(rotation + turn, transposed) for turn in (0.0, 180.0))
        return (ahead - behind) / self.deviation

    def best(self) -> Orientation:
        acq = self.acquisition
        # The peak is as wide as the angle that moves the outermost view by half a finest period.
        width = math.degrees(acq.nyquist_period() / 2 / acq.largest_view_shift)
        angles = np.linspace(-180, 180, max(36, math.ceil(720 / width)), endpoint=False)
        found = {}
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
            found[transposed] = (-float(refined.fun), float(refined.x))
        transposed = found[True][0] > found[False][0]
        power, angle = found[transposed]
        return Orientation(
            _principal(angle),
            transposed,
            "views",
            (power - found[not transposed][0]) / self.deviation,
            self.sign_score(angle, transposed),
        )


def _by_curl(
    cube: Datacube, acquisition: Acquisition, registration: _Registration | None
) -> Orientation:
    """Orientation of least curl; its sign from the views, if they are displaced."""
    field = centre_of_mass(cube, acquisition).double()
    # A drift of the axis is a gradient too, but not the specimen's.
    x, y = (torch.from_numpy(p) for p in _scan_positions(acquisition.scan_shape))
    plane = torch.stack([torch.ones_like(x + y), x + 0 * y, y + 0 * x]).flatten(1).T
    solved = torch.linalg.lstsq(plane, field.flatten(1).T).solution
    u, v = torch.fft.fft2(field - (plane @ solved).T.reshape(field.shape))
    qx, qy = optics.frequencies(acquisition.scan_shape, cube.step)
    # The blur of the gradient by the probe leaves little above α.
    q = (qx**2 + qy**2).sqrt()
    keep = (q > 0) & (q <= acquisition.semiangle * 1e-3 / acquisition.wavelength)
    ex, ey = (qx / q.clamp_min(1e-12))[keep], (qy / q.clamp_min(1e-12))[keep]
    u, v = u[keep], v[keep]
    if not float((u.abs() ** 2 + v.abs() ** 2).sum()) > 0:
        raise ValueError("the centre of mass is the same everywhere; it shows no rotation")
    found = {False: _least_curl(u, v, ex, ey), True: _least_curl(v, u, ex, ey)}
    transposed = found[True][1] < found[False][1]
    angle = found[transposed][0]
    # Noise alone leaves half in the curl, give or take one over the root of the frequencies.
    gap = found[not transposed][1] - found[transposed][1]
    sign = 0.0 if registration is None else registration.sign_score(angle, transposed)
    if sign < 0:
        angle, sign = angle + 180.0, -sign
    score = gap * math.sqrt(len(u) / 2)
    return Orientation(_principal(angle), transposed, "curl", score, sign)


def _principal(angle: float) -> float:
    """Return the same angle between −180 and 180 [deg]."""
    return (angle + 180.0) % 360.0 - 180.0


def _least_curl(u: Tensor, v: Tensor, ex: Tensor, ey: Tensor) -> tuple[float, float]:
    """Angle [deg] that leaves least power across the frequency, and the share left there.

    Turned by θ the part across is cosθ·C + sinθ·D, with C and D the parts across and along. Noise
    is as strong in both, so that it does not pull the angle.
    """
    across, along = ex * v - ey * u, ex * u + ey * v
    cc, dd = float((across.abs() ** 2).sum()), float((along.abs() ** 2).sum())
    cd = float((across * along.conj()).real.sum())
    values, vectors = np.linalg.eigh(np.array([[cc, cd], [cd, dd]]))
    c, s = vectors[:, 0]
    return math.degrees(math.atan2(s, c)), float(values[0] / values.sum())


def drift_matrix(
    drift: tuple[float, float], step: tuple[float, float], scan_shape: tuple[int, int]
) -> NDArray[np.float64]:
    """Matrix of a scan over a specimen that moves at a constant speed, for :func:`correct_scan`.

    Lines run along Ry and follow each other along Rx; the beam is taken to fly back at once, so
    that a line lasts as long as its positions.

    Parameters
    ----------
    drift : (float, float)
        How far a line lies from where it should, beyond the line before it, along (Rx, Ry) [Å];
        the specimen moves the other way.
    step : (float, float)
        Scan step that the acquisition states [Å].
    scan_shape : (int, int)

    Returns
    -------
    ndarray
        ``(2, 2)``: a position as stated, counted from the middle of the scan, to where the probe
        was [Å].
    """
    a_line = np.array([1 / step[0], 1 / (scan_shape[1] * step[1])])  # lines in an Å along (Rx, Ry)
    matrix: NDArray[np.float64] = np.eye(2) + np.outer(drift, a_line)
    return matrix


def correct_scan(
    views: Tensor, step: tuple[float, float], matrix: ArrayLike
) -> tuple[Tensor, Tensor]:
    """Resample views recorded on a sheared, rotated or stretched scan onto the regular grid.

    Needed only for what a frequency cannot say: steps of two lengths belong in
    ``Acquisition.step`` and a rotation in :class:`~misr4d.core.detector.TurnedAcquisition`, both
    exact. The matrix of a drift is :func:`drift_matrix`.

    Parameters
    ----------
    views : Tensor
        ``(..., Rx, Ry)``.
    step : (float, float)
        Scan step that the acquisition states [Å].
    matrix : ndarray
        ``(2, 2)``: takes a position as stated to where the probe really was, both in Å along
        (Rx, Ry) from the middle of the scan.

    Returns
    -------
    views, inside : Tensor
        The views at the stated positions, by linear interpolation: noise is smoothed and no
        longer Poisson; and where ``(Rx, Ry)`` the scan reached. Elsewhere its edge is repeated.

    Raises
    ------
    ValueError
        If the matrix is not 2 × 2, finite and invertible.
    """
    nx, ny = views.shape[-2:]
    at = _stated((nx, ny), (nx, ny), step, matrix)
    inside = (at >= -1e-9).all(0) & (at[0] <= nx - 1 + 1e-9) & (at[1] <= ny - 1 + 1e-9)
    return _interpolated(views, at, 1), torch.from_numpy(inside)


def straighten(images: Tensor, pixel: tuple[float, float], matrix: ArrayLike) -> Tensor:
    """Resample images on a sheared or stretched scan onto a regular grid of the specimen.

    Parameters
    ----------
    images : Tensor
        ``(..., X, Y)``, on a grid finer than their detail: by cubic splines.
    pixel : (float, float)
        As the scan states it [Å]; the regular grid has the same.
    matrix : ndarray
        As for :func:`correct_scan`.

    Returns
    -------
    Tensor
        ``(..., X', Y')``: the largest upright rectangle, around the middle, of which the scan saw
        all.

    Raises
    ------
    ValueError
        If the matrix is not 2 × 2, finite and invertible.
    """
    nx, ny = images.shape[-2:]
    inverse = np.abs(np.linalg.inv(_invertible(matrix)))
    room = np.array([(nx - 1) * pixel[0], (ny - 1) * pixel[1]]) / 2
    # Half sides (w, h) fit if |D⁻¹|·(w, h) stays within the room; the area is largest at the rim.
    w = np.linspace(0, float((room / np.maximum(inverse[:, 0], 1e-12)).min()), 2001)
    left = room[:, None] - inverse[:, :1] * w
    free = np.full_like(left, np.inf)
    h = np.divide(left, inverse[:, 1:], out=free, where=inverse[:, 1:] > 1e-12).min(0)
    best = int((w * h).argmax())
    shape = (int(2 * w[best] / pixel[0] + 1e-9) + 1, int(2 * h[best] / pixel[1] + 1e-9) + 1)
    return _interpolated(images, _stated(shape, (nx, ny), pixel, matrix), 3)


def _invertible(matrix: ArrayLike) -> NDArray[np.float64]:
    found = np.asarray(matrix, dtype=np.float64)
    if found.shape != (2, 2) or not np.isfinite(found).all() or abs(np.linalg.det(found)) < 1e-6:
        raise ValueError(f"matrix is {found.tolist()}; expected an invertible 2 × 2 matrix")
    return found


def _stated(
    shape: tuple[int, int], source: tuple[int, int], step: tuple[float, float], matrix: ArrayLike
) -> NDArray[np.float64]:
    """Index on a scan of every point of a regular grid around its middle ``(2, X, Y)``."""
    x, y = _scan_positions(shape)
    wanted = np.stack(np.broadcast_arrays(x * step[0], y * step[1]))
    stated = np.einsum("ab,bxy->axy", np.linalg.inv(_invertible(matrix)), wanted)
    return np.stack([s / d + (n - 1) / 2 for s, d, n in zip(stated, step, source, strict=True)])


def _interpolated(images: Tensor, at: NDArray[np.float64], order: int) -> Tensor:
    """Values of images at places between their pixels; beyond the edge, the edge's."""
    flat = images.reshape(-1, *images.shape[-2:]).detach().cpu().numpy()
    moved = np.stack([map_coordinates(v, at, order=order, mode="nearest") for v in flat])
    return torch.from_numpy(moved).reshape(*images.shape[:-2], *at.shape[1:]).to(images)
