"""The bright disc: its centre, radius and rim."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.optimize import least_squares
from scipy.special import erf

from misr4d.core.detector import Matrix

__all__ = ["Disc", "distance_from", "find_disc", "rim", "second_disc"]


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
        Standard error of the radius [pixels]; of a soft edge with half of its width.
    ellipse : (float, float)
        How much longer than wide the disc is along Qx and along the diagonal, as
        (l² − s²)/(l² + s²) of its long and short axis times cosine and sine of twice the long
        axis' angle from Qx; zero unless it is an ellipse beyond doubt.
    """

    centre: tuple[float, float]
    radius: float
    centre_error: tuple[float, float]
    radius_error: float
    ellipse: tuple[float, float] = (0.0, 0.0)

    @property
    def stretch(self) -> float:
        """Ratio of the long axis to the short one; 1 for a circle."""
        size = math.hypot(*self.ellipse)
        return math.sqrt((1 + size) / (1 - size))

    @property
    def matrix(self) -> Matrix:
        """Matrix that makes the disc round and keeps its area, along (Qx, Qy)."""
        size, angle = math.hypot(*self.ellipse), math.atan2(self.ellipse[1], self.ellipse[0])
        # Its square root along the long axis and across: the short axis over the long one.
        along = ((1 - size) / (1 + size)) ** 0.25
        c, s = math.cos(angle / 2), math.sin(angle / 2)
        mixed = (along - 1 / along) * c * s
        return (
            (along * c * c + s * s / along, mixed),
            (mixed, along * s * s + c * c / along),
        )

    def outline(self, points: int = 181) -> NDArray[np.float64]:
        """Return points along its edge, of which the last is the first ``(points, 2)`` [pixels]."""
        turn = np.linspace(0, 2 * np.pi, points)
        circle = self.radius * np.stack([np.cos(turn), np.sin(turn)])
        edge: NDArray[np.float64] = np.linalg.solve(np.array(self.matrix), circle).T + self.centre
        return edge

    def detector_pixel(self, semiangle: float) -> float:
        """Side of a detector pixel [mrad] for a known convergence semi-angle [mrad]."""
        return _positive("semiangle", semiangle) / self.radius

    def semiangle(self, detector_pixel: float) -> float:
        """Convergence semi-angle [mrad] for a known detector pixel [mrad]."""
        return _positive("detector_pixel", detector_pixel) * self.radius

    def mask(self, shape: tuple[int, int], fraction: float = 1.0) -> NDArray[np.bool_]:
        """Pixels with their centre within `fraction` of the radius ``(Qx, Qy)``."""
        reach = _positive("fraction", fraction) * self.radius * (1 + 1e-9)
        inside: NDArray[np.bool_] = distance_from(shape, self.centre) <= reach
        return inside


def _positive(name: str, value: float) -> float:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} is {value!r}; expected a positive number")
    return value


def distance_from(shape: tuple[int, ...], centre: tuple[float, float]) -> NDArray[np.float64]:
    """Distance of every pixel from a point ``(Qx, Qy)`` [pixels]."""
    x, y = (np.arange(n) - c for n, c in zip(shape, centre, strict=True))
    return np.hypot(x[:, None], y[None, :])


# Our choices: how much more variance a disc (or its stretch) explains than as many random
# parameters would, of which the best disc in noise alone reaches 4; from which likeness of
# neighbouring residuals on they are not noise (0.14 in scans with sharp discs, 0.5 and more with
# soft ones); and how much of the misfit of a sharp disc a soft one may leave to take its place.
_STANDS_OUT = 10.0
_PATTERNED = 0.3
_FAR_BETTER = 0.6
_OF_EDGE = 0.5  # our choice: how far from its middle, in widths, a soft edge may be the aperture's
_TOLERANCE, _MOST = 1e-6, 1000  # of the fits; evaluations


def find_disc(pattern: NDArray[Any]) -> Disc:
    """Fit the bright disc of a position-averaged pattern to a fraction of a pixel.

    A first guess takes the area above half of the disc's level. The refinement fits a disc whose
    edge is one pixel wide, on a constant background, by least squares weighted as
    counting noise is. The disc's level may rise or fall towards the rim and from side to side,
    because a specimen makes it uneven. Where an edge of free width and scattering around the disc,
    stronger on one side, explain the pattern far better, as behind thick ice or on a camera that
    blurs, the centre and radius are theirs: the radius is where the edge falls to the middle
    between disc and scattering. At last the disc may be an ellipse.

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
    image = image / image.max()
    smooth = gaussian_filter(image, 1.0)
    floor = float(np.median(image[rim(image.shape)]))
    covered = smooth > floor + 0.5 * (np.quantile(smooth, 0.99) - floor)
    # The level of the brightest few pixels overstates a noisy or uneven disc: take its median.
    level = float(np.median(smooth[covered]))
    covered = smooth > (floor + level) / 2
    x, y = np.nonzero(covered)
    radius = math.sqrt(covered.sum() / math.pi)
    first = np.array([x.mean(), y.mean(), radius, level - floor, floor, 0, 0, 0, *_SHARP], float)
    fit = _fit(image, first, _ROUND)
    flat = (((image - np.average(image, weights=fit.weight**2)) * fit.weight) ** 2).sum()
    stands_out = flat - 2 * fit.cost >= _STANDS_OUT * (len(_ROUND) - 1) * fit.variance
    placed = fit.p[2] > 2 and ((fit.p[:2] > 0) & (fit.p[:2] < image.shape)).all()
    if stands_out and placed:
        fit = _stretched(image, fit)
        if fit.likeness > _PATTERNED:
            soft = _stretched(image, _fit_soft(image, fit))
            if soft.cost < _FAR_BETTER * fit.misfit(image, soft.weight):
                fit = soft
    _check_whole(fit.p, image.shape)
    if not stands_out:
        raise ValueError(
            "no disc stands out of the pattern's noise; expected the bright-field disc, brighter "
            "than what is around it"
        )
    return Disc(
        (float(fit.p[0]), float(fit.p[1])),
        float(fit.p[2]),
        (float(fit.error[0]), float(fit.error[1])),
        math.hypot(fit.error[2], _OF_EDGE * fit.p[8]),
        (float(fit.p[13]), float(fit.p[14])),
    )


def second_disc(pattern: NDArray[Any], disc: Disc) -> tuple[tuple[float, float], float] | None:
    """Find the brightest other place of a disc's size, as a Bragg reflection makes.

    Parameters
    ----------
    pattern : ndarray
        ``(Qx, Qy)``, that `disc` was found in.
    disc : Disc

    Returns
    -------
    ((float, float), float) or None
        Its centre (Qx, Qy) [pixels] and its brightness over the disc's, above the rim of the
        detector; None where none fits on the detector beside the disc.
    """
    from scipy.signal import fftconvolve  # takes a second to load

    image = np.asarray(pattern, dtype=np.float64)
    image = image - np.median(image[rim(image.shape)])
    inside = disc.mask((image.shape[0], image.shape[1]), 0.9)
    outside = np.where(disc.mask((image.shape[0], image.shape[1]), 1.2), 0.0, image)
    reach = int(0.9 * disc.radius)
    x = np.arange(-reach, reach + 1)
    size = (np.hypot(x[:, None], x) <= reach).astype(float)
    level = fftconvolve(outside, size / size.sum(), mode="same")
    away = distance_from(image.shape, disc.centre) >= 2 * disc.radius
    away[:reach], away[-reach:], away[:, :reach], away[:, -reach:] = False, False, False, False
    brightness = float(image[inside].mean())
    if not away.any() or brightness <= 0:
        return None
    at = np.unravel_index(np.where(away, level, -math.inf).argmax(), image.shape)
    return (float(at[0]), float(at[1])), float(level[at]) / brightness


# Parameters of a disc: centre and radius; level and floor; how the level changes along both axes
# and from the middle to the rim; width of the edge; level of the scattering, the logarithm of its
# reach in radii, and how it changes along both axes; stretch along the axes and the diagonals.
_ROUND = tuple(range(8))
_SOFT = tuple(range(13))
_STRETCH = (13, 14)
_SHARP = (0.0,) * 7
_LINEAR = (3, 4, 5, 6, 7, 9, 11, 12)


@dataclass(frozen=True)
class _Fit:
    p: NDArray[np.float64]  # all parameters
    free: tuple[int, ...]  # those that were fitted
    cost: float  # half of the weighted squares
    weight: NDArray[np.float64]
    variance: float  # of a weighted residual
    error: NDArray[np.float64]  # of the fitted parameters
    likeness: float  # correlation of neighbouring residuals

    def misfit(self, image: NDArray[np.float64], weight: NDArray[np.float64]) -> float:
        """Cost with the weights of another fit."""
        return 0.5 * float((((_model(self.p, image.shape) - image) * weight) ** 2).sum())


def _stretched(image: NDArray[np.float64], fit: _Fit) -> _Fit:
    """Fit of an ellipse where it is one beyond doubt, otherwise of a circle."""
    circle = fit.p.copy()
    circle[list(_STRETCH)] = 0
    free = tuple(number for number in fit.free if number not in _STRETCH)
    ellipse = _fit(image, fit.p, (*free, *_STRETCH), fit.weight)
    size = math.hypot(*ellipse.p[list(_STRETCH)])
    if _STANDS_OUT * float((ellipse.error[-2:] ** 2).sum()) < size**2 < 1:
        return ellipse
    return fit if (fit.p == circle).all() else _fit(image, circle, free, fit.weight)


def _fit(
    image: NDArray[np.float64],
    first: NDArray[np.float64],
    free: tuple[int, ...],
    weight: NDArray[np.float64] | None = None,
) -> _Fit:
    index = list(free)
    p = first.copy()
    passes = 3 if weight is None else 1
    weight = np.ones_like(image) if weight is None else weight

    def full(q: NDArray[np.float64]) -> NDArray[np.float64]:
        whole = p.copy()
        whole[index] = q
        return whole

    for _ in range(passes):
        fit = least_squares(
            lambda q, w=weight: ((_model(full(q), image.shape) - image) * w).ravel(),
            p[index],
            method="lm",
            ftol=_TOLERANCE,
            xtol=_TOLERANCE,
            max_nfev=_MOST,
        )
        p = full(fit.x)
        # Below a hundredth of the disc, a few stray counts would otherwise weigh too much.
        weight = 1 / np.sqrt(np.maximum(_model(p, image.shape), 0.01 * max(p[3], 1e-9)))
    variance = 2 * fit.cost / max(1, image.size - len(index))
    residual = fit.fun.reshape(image.shape)
    beside = (
        (residual[1:] * residual[:-1]).mean() + (residual[:, 1:] * residual[:, :-1]).mean()
    ) / 2
    likeness = float(beside / max((residual**2).mean(), 1e-300))
    # Residuals that are alike over a distance count as one, along both axes.
    alike = (1 + max(likeness, 0)) / (1 - min(likeness, 0.99))
    error = np.sqrt(np.diag(np.linalg.pinv(fit.jac.T @ fit.jac)).clip(0) * variance) * alike
    return _Fit(p, free, float(fit.cost), weight, variance, error, likeness)


def _fit_soft(image: NDArray[np.float64], sharp: _Fit) -> _Fit:
    """Fit edge and scattering too, from the best of several starts on blocks of pixels.

    There the disc is some 12 blocks in radius, and what the model is linear in is solved for.
    """
    block = max(1, int(sharp.p[2] // 12))
    size = [n // block for n in image.shape]
    whole = image[: size[0] * block, : size[1] * block]
    blocks = whole.reshape(size[0], block, size[1], block).mean((1, 3))
    weight = 1 / np.sqrt(np.maximum(blocks, 0.01 * max(sharp.p[3], 1e-9)))
    middle = (sharp.p[:2] - (block - 1) / 2) / block
    radius = _steepest(image, sharp.p) / block
    stretch = sharp.p[list(_STRETCH)]

    def solved(q: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Parameters, with the best linear ones, and the residual."""
        linear = [0.0] * 5
        p = np.array([*q[:3], *linear, abs(q[3]) + 1e-3, 0, q[4], 0, 0, *stretch])
        parts = []
        for number in _LINEAR:
            p[list(_LINEAR)] = 0
            p[number] = 1
            parts.append((_model(p, blocks.shape) * weight).ravel())
        columns, target = np.stack(parts, 1), (blocks * weight).ravel()
        normal = columns.T @ columns
        p[list(_LINEAR)] = np.linalg.lstsq(normal, columns.T @ target, rcond=1e-12)[0]
        return p, columns @ p[list(_LINEAR)] - target

    fits = [
        least_squares(
            lambda q: solved(q)[1],
            np.array([*middle, radius, width, reach]),
            bounds=(
                [*(middle - radius / 2), radius / 2, 0, -4],
                [*(middle + radius / 2), 1.5 * radius, radius / 2, 3],
            ),
            x_scale=(1, 1, 1, 0.3, 0.3),
            ftol=_TOLERANCE,
            xtol=_TOLERANCE,
            max_nfev=50,
        )
        for width, reach in product((0.3, 1.5), (-2.0, -0.5))
    ]
    p, _ = solved(min(fits, key=lambda fit: float(fit.cost)).x)
    p[:2] = p[:2] * block + (block - 1) / 2
    p[[2, 8]] *= block
    return _fit(image, p, _SOFT, sharp.weight)


def _steepest(image: NDArray[np.float64], p: NDArray[np.float64]) -> float:
    """Radius [pixels] at which the mean over all directions falls most."""
    r = distance_from(image.shape, (p[0], p[1])).ravel()
    ring = np.rint(r).astype(int)
    profile = np.bincount(ring, image.ravel()) / np.maximum(np.bincount(ring), 1)
    slope = np.gradient(gaussian_filter(profile[: int(1.5 * p[2]) + 2], 1.0))
    return max(2.0, float(slope[2:].argmin() + 2))


def _model(p: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Intensity of a disc, with the parameters above."""
    dx, dy = ((np.arange(n) - c) / p[2] for n, c in zip(shape, p[:2], strict=True))
    dx, dy = dx[:, None], dy[None, :]
    # Of a stretch that keeps the area.
    area = math.sqrt(max(1 - p[13] ** 2 - p[14] ** 2, 1e-6))
    r = np.sqrt(np.maximum((1 - p[13]) * dx**2 + (1 + p[13]) * dy**2 - 2 * p[14] * dx * dy, 0))
    r = r / math.sqrt(area)
    level = p[3] + p[5] * dx + p[6] * dy + p[7] * (r**2 - 0.5)
    safe = np.maximum(r, 1e-9)
    depth = (1 - r) * p[2]
    if p[8] == 0:
        return cast("NDArray[np.float64]", level * _coverage(depth, dx / safe, dy / safe) + p[4])
    # A pixel's own width beside the edge's.
    inside = 0.5 * (1 + erf(depth / math.sqrt(2 * (p[8] ** 2 + 1 / 12))))
    reach = np.exp(-np.maximum(r - 1, 0) * math.exp(-min(max(p[10], -7), 7)))
    scattered = (p[9] + p[11] * dx / safe + p[12] * dy / safe) * reach
    return cast("NDArray[np.float64]", level * inside + scattered * (1 - inside) + p[4])


def _check_whole(p: NDArray[np.float64], shape: tuple[int, ...]) -> None:
    limit = np.array(shape) - 0.5
    if p[2] < 1 or (p[:2] - p[2] < -0.5).any() or (p[:2] + p[2] > limit).any() or p[3] <= 0:
        raise ValueError(
            f"a disc of radius {p[2]:.2f} pixels at ({p[0]:.2f}, {p[1]:.2f}) is not wholly on a "
            f"detector of {shape} pixels; expected the whole bright-field disc"
        )


def _coverage(
    depth: NDArray[np.float64], c: NDArray[np.float64], s: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Fraction inside a straight edge of normal (c, s) of a pixel whose centre is `depth` in."""
    a, b = np.maximum(np.abs(c), 1e-3), np.maximum(np.abs(s), 1e-3)

    def ramp(t: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.maximum(t, 0) ** 2 / 2

    wide, narrow = (a + b) / 2, (a - b) / 2
    area = ramp(depth + wide) - ramp(depth + narrow) - ramp(depth - narrow) + ramp(depth - wide)
    return cast("NDArray[np.float64]", area / (a * b))


def rim(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Outermost pixels of a detector ``(Qx, Qy)``."""
    outermost = np.ones(shape, dtype=bool)
    outermost[1:-1, 1:-1] = False
    return outermost
