"""The bright disc: its centre, radius and rim."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.optimize import least_squares

__all__ = ["Disc", "find_disc"]


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


# Our choice: how much more variance a disc explains than as many random parameters would. The best
# disc in noise alone reaches 4.
_STANDS_OUT = 10.0


def find_disc(pattern: NDArray[Any]) -> Disc:
    """Fit the bright disc of a position-averaged pattern to a fraction of a pixel.

    A first guess takes the area above half of the disc's level. The refinement fits a disc whose
    edge is one pixel wide, on a constant background, by least squares weighted as
    counting noise is. The disc's level may rise or fall towards the rim and from side to side,
    because a specimen makes it uneven.

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
    covered = smooth > floor + 0.5 * (np.quantile(smooth, 0.99) - floor)
    # The level of the brightest few pixels overstates a noisy or uneven disc: take its median.
    level = float(np.median(smooth[covered]))
    covered = smooth > (floor + level) / 2
    x, y = np.nonzero(covered)
    radius = math.sqrt(covered.sum() / math.pi)
    index = [np.arange(n)[:, None] if a == 0 else np.arange(n) for a, n in enumerate(image.shape)]

    def model(p: NDArray[np.float64]) -> NDArray[Any]:
        dx, dy = (index[0] - p[0]) / p[2], (index[1] - p[1]) / p[2]
        r = np.hypot(dx, dy)
        covered = _coverage((1 - r) * p[2], dx / np.maximum(r, 1e-9), dy / np.maximum(r, 1e-9))
        level = p[3] + p[5] * dx + p[6] * dy + p[7] * (r**2 - 0.5)
        intensity: NDArray[Any] = level * covered + p[4]
        return intensity

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
    """Fraction inside a straight edge of normal (c, s) of a pixel whose centre is `depth` in."""
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
