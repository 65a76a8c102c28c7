"""Deviance of Poisson counts: its value, its expectation, and the expectation's curvature."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

__all__ = ["deviance", "deviance_curvature", "expected_deviance", "predicted_deviance"]


def deviance(counts: Tensor, expected: Tensor) -> Tensor:
    """Deviance of each pixel under a Poisson model: 2·[n·log(n/λ) − n + λ]."""
    # Two logarithms: the derivative of log(n/λ) does not exist where nothing was counted.
    log_ratio = torch.special.xlogy(counts, counts) - torch.special.xlogy(counts, expected)
    deviance_of_pixels: Tensor = 2 * (log_ratio - counts + expected)
    return deviance_of_pixels


@lru_cache(maxsize=1)
def _deviance_table() -> tuple[Tensor, Tensor, Tensor]:
    """Log λ, mean and variance of the deviance of Poisson counts, summed over the counts."""
    rate = torch.logspace(-6, 3, 400, dtype=torch.float64)
    n = torch.arange(0, 1500, dtype=torch.float64)
    log_p = torch.special.xlogy(n, rate[:, None]) - rate[:, None] - torch.lgamma(n + 1)
    p, d = log_p.exp(), deviance(n.expand(len(rate), -1), rate[:, None])
    mean = (p * d).sum(1)
    return rate.log(), mean, (p * d**2).sum(1) - mean**2


def expected_deviance(expected: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of each pixel's deviance if the model is true.

    About 1 and 2 where many electrons are expected, other values where few are: summed over the
    Poisson distribution, and interpolated.
    """
    _, mean, variance = _deviance_table()
    return _looked_up(mean, expected), _looked_up(variance, expected)


@lru_cache(maxsize=1)
def _deviance_slopes() -> tuple[Tensor, Tensor]:
    """First and second derivative of the mean deviance by the rate, where it is tabulated."""
    grid, mean, _ = _deviance_table()
    (slope,) = torch.gradient(mean, spacing=(grid.exp(),))
    (curvature,) = torch.gradient(slope, spacing=(grid.exp(),))
    return slope, curvature


def _looked_up(table: Tensor, expected: Tensor) -> Tensor:
    """Interpolate a table at each rate."""
    grid = _deviance_table()[0]
    table_position = (expected.double().clamp(1e-6, 1e3).log() - grid[0]) / (grid[1] - grid[0])
    lower_index = table_position.floor().long().clamp(0, len(grid) - 2)
    fraction = table_position - lower_index
    values = table.to(expected.device)
    interpolated: Tensor = values[lower_index] * (1 - fraction) + values[lower_index + 1] * fraction
    return interpolated


def predicted_deviance(counts: Tensor, expected: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of each pixel's deviance, given how many electrons there were.

    Parameters
    ----------
    counts, expected : Tensor
        Electrons of each pixel as counted, and as a model expects them, of one shape.

    Returns
    -------
    mean, variance : Tensor
        Of the same shape.

    Notes
    -----
    An image that is smoother than the specimen scatters too few electrons out of the disc. Where
    few are counted the mean deviance depends on the rate; the part that is linear in the rate's
    error is taken from the counts, so that the z of the deviance judges how they are spread.
    """
    mean, variance = expected_deviance(expected)
    slope = _looked_up(_deviance_slopes()[0], expected)
    return mean + slope * (counts - expected), variance - slope.square() * expected


def deviance_curvature(rate: float) -> float:
    """Curvature of the expected deviance m at a rate λ of electrons a pixel: −λ·m''(λ)/2.

    It is 0 where many electrons are counted.
    """
    curvature = _deviance_slopes()[1]
    return float(-rate * _looked_up(curvature, torch.tensor(rate)) / 2)
