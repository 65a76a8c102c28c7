"""Deviance of Poisson counts: what it is, what it should be, and how that bends."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

__all__ = ["deviance", "expected_deviance"]


def deviance(counts: Tensor, expected: Tensor) -> Tensor:
    """Twice the log-likelihood that a Poisson model lacks: 2·[n·log(n/λ) − n + λ], each pixel."""
    # Not of the quotient n/λ, whose derivative does not exist where nothing was counted.
    logs = torch.special.xlogy(counts, counts) - torch.special.xlogy(counts, expected)
    found: Tensor = 2 * (logs - counts + expected)
    return found


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
    (first,) = torch.gradient(mean, spacing=(grid.exp(),))
    (second,) = torch.gradient(first, spacing=(grid.exp(),))
    return first, second


def _looked_up(table: Tensor, expected: Tensor) -> Tensor:
    """Value for each rate of what is tabulated, interpolated."""
    grid = _deviance_table()[0]
    place = (expected.double().clamp(1e-6, 1e3).log() - grid[0]) / (grid[1] - grid[0])
    low = place.floor().long().clamp(0, len(grid) - 2)
    part = place - low
    values = table.to(expected.device)
    found: Tensor = values[low] * (1 - part) + values[low + 1] * part
    return found


def _predicted_deviance(counts: Tensor, expected: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of each pixel's deviance, given how many electrons there were.

    An image that is smoother than the specimen scatters too few electrons out of the disc. Where
    few are counted the mean deviance depends on the rate; the part that is linear in the rate's
    error is taken from the counts, so that the z of the deviance judges how they are spread.
    """
    mean, variance = expected_deviance(expected)
    slope = _looked_up(_deviance_slopes()[0], expected)
    return mean + slope * (counts - expected), variance - slope.square() * expected


def _curving(rate: float) -> float:
    """How much the expected deviance curves at a rate λ, −λ·m''(λ)/2: 0 where many are counted."""
    second = _deviance_slopes()[1]
    return float(-rate * _looked_up(second, torch.tensor(rate)) / 2)
