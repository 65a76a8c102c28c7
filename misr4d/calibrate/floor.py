"""Reading of a detector without electrons, and its removal from the patterns.

The reading of a detector without electrons (its pedestal, its dark counts) is the same everywhere.
It is therefore the level to which the scattering around the disc decays.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import poisson

from misr4d.calibrate.counting import SIGNIFICANT
from misr4d.calibrate.disc import find_disc

__all__ = ["Floor", "Lowered", "find_floor"]

# Our choice: a floor that changes the dose by less is left alone.
_LEAST_FLOOR = 0.02


@dataclass(frozen=True)
class Floor:
    """Reading of a detector pixel without electrons.

    Parameters
    ----------
    level : float
        Mean [counts].
    error : float
        Standard error [counts].
    pedestal : int
        The constant part of it, contained in every value and without noise.
    """

    level: float
    error: float
    pedestal: int = 0


def find_floor(
    mean: NDArray[np.float64],
    good: NDArray[np.bool_],
    least: NDArray[np.float64] | None = None,
    positions: int = 1,
) -> Floor | None:
    """Find the reading of a detector without electrons, if it is certain.

    The pedestal is the number below which no whole count lies, although so few electrons arrive
    that some counts should. The floor is the level to which the mean pattern decays around the
    disc, ring by ring: a constant and an exponential are fitted. It is accepted if no decay length
    explains the rings without it, if the outermost ring has nearly reached it, and if it is 2 % of
    the dose or more. Where the outermost rings are below zero, too much was subtracted, and their
    level is the floor.

    Parameters
    ----------
    mean : ndarray
        Mean pattern ``(Qx, Qy)``.
    good : ndarray
        Valid pixels ``(Qx, Qy)`` of bool.
    least : ndarray, optional
        Smallest value of each pixel ``(Qx, Qy)``, of whole counts.
    positions : int
        Number of positions from which `least` is the smallest value.
    """
    if mean[good].max() <= mean[good].min():
        return None  # only a floor, or all clipped
    pedestal = 0
    if least is not None:
        dim = good & (mean <= np.median(mean[good]))
        lowest = int(np.quantile(least[dim], 0.05))
        below = positions * float(poisson.cdf(lowest - 1, mean[dim]).sum())
        if lowest >= 1 and below > 14:  # but none was found: a chance of one in a million
            pedestal = lowest
    rings = _rings(mean, good)
    if rings is not None and rings[1][-2:].mean() < 0:
        return _oversubtracted(mean, good, least, rings)
    level, error = (0.0, 0.0) if rings is None else _plateau(*rings)
    total = float(mean.sum())
    if level <= pedestal or (level - error * SIGNIFICANT) * mean.size < _LEAST_FLOOR * total:
        level, error = (float(pedestal), 0.0)
    return Floor(level, error, pedestal) if level > 0 else None


def _oversubtracted(
    mean: NDArray[np.float64],
    good: NDArray[np.bool_],
    least: NDArray[np.float64] | None,
    rings: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]],
) -> Floor | None:
    """Level of the outermost rings, if it is certainly below zero: no electrons count less."""
    level = float(rings[1][-2:].mean())
    error = float(np.hypot(*rings[2][-2:])) / 2
    total = float((mean[good] - level).sum())
    if (level + error * SIGNIFICANT) * mean.size > -_LEAST_FLOOR * total:
        return None
    if least is not None:
        dim = good & (mean <= np.median(mean[good]))
        lowest = float(np.median(least[dim]))
        # Counts that begin below zero, all at the same number: with noise they would not.
        if abs(level - lowest) < 0.5 and float(np.mean(least[dim] == lowest)) > 0.95:
            return Floor(lowest, 0.0, int(lowest))
    return Floor(level, error)


def _rings(
    mean: NDArray[np.float64], good: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]] | None:
    """Distance from the disc's edge in disc radii, level and error of rings around the disc."""
    try:
        disc = find_disc(np.where(good, mean, np.median(mean[good])))
    except ValueError:
        return None
    x, y = (np.arange(n) - c for n, c in zip(mean.shape, disc.centre, strict=True))
    distance = np.hypot(x[:, None], y[None, :]) / disc.radius - 1
    width = max(0.08, 1.5 / disc.radius)
    distances, level, error = [], [], []
    inner_radius = 0.15 + 1 / disc.radius
    while inner_radius < float(distance.max()):
        ring = good & (distance >= inner_radius) & (distance < inner_radius + width)
        if ring.sum() >= 12:
            values = mean[ring]
            distances.append(float(distance[ring].mean()))
            level.append(float(values.mean()))
            error.append(float(values.std(ddof=1)) / math.sqrt(len(values)))
        inner_radius += width
    if len(distances) < 5:
        return None
    return np.array(distances), np.array(level), np.maximum(np.array(error), 1e-12)


def _plateau(
    at: NDArray[np.float64], level: NDArray[np.float64], error: NDArray[np.float64]
) -> tuple[float, float]:
    """Constant below an exponential decay, and its standard error; zeros if it is uncertain."""
    floor = max(float(np.median(error)), 1e-3 * float(level.min()), 1e-12)
    weight = 1 / np.maximum(error, floor)
    fits = []
    for length in np.geomspace(0.05, 3.0, 40):
        design = np.column_stack([np.ones_like(at), np.exp(-at / length)])
        weighted = design * weight[:, None]
        value = np.linalg.lstsq(weighted, level * weight, rcond=None)[0]
        value[1] = max(value[1], 0.0)
        if value[1] == 0:
            value[0] = float(np.average(level, weights=weight**2))
        misfit = float((((design @ value - level) * weight) ** 2).sum())
        covariance = np.linalg.pinv(weighted.T @ weighted)
        fits.append(
            (misfit, float(value[0]), math.sqrt(max(covariance[0, 0], 0)), value[1], length)
        )
    best_fit = min(fits)
    scale = max(1.0, best_fit[0] / max(1, len(at) - 3))
    good_fits = [f for f in fits if f[0] <= best_fit[0] + 9 * scale]
    scaled_error = best_fit[2] * math.sqrt(scale)
    spread = max(best_fit[1] - min(f[1] for f in good_fits), 0.0)
    plateau = best_fit[1] > 0 and level[-2:].mean() < 1.25 * best_fit[1]
    if not plateau or spread > 0.3 * best_fit[1]:
        return 0.0, 0.0
    return best_fit[1], max(scaled_error, spread / 3)


class Lowered:
    """Patterns minus a constant, subtracted on reading: whole counts stay whole, and 0 or more.

    Parameters
    ----------
    source : ndarray, or any array that is sliced like one
        ``(Rx, Ry, Qx, Qy)``.
    offset : float
        Constant to subtract. A whole number does not change the type; any other gives float32.
    """

    def __init__(self, source: Any, offset: float) -> None:
        self.source, self.offset = source, offset
        self.shape, self.ndim = tuple(source.shape), 4
        stays_whole = float(offset).is_integer() and offset >= 0 and source.dtype.kind in "ui"
        self.dtype = source.dtype if stays_whole else np.dtype(np.float32)
        self.chunks = getattr(source, "chunks", None)

    def __getitem__(self, key: tuple[slice, ...]) -> NDArray[Any]:
        block = np.asarray(self.source[key])
        if self.dtype == np.float32 and block.dtype.kind in "uif":
            lowered: NDArray[Any] = block.astype(np.float32) - np.float32(self.offset)
            return lowered
        offset = self.dtype.type(self.offset)
        return np.where(block > offset, block - offset, self.dtype.type(0))
