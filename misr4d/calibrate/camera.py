"""What a value of a camera is: how many counts an electron makes, and over how many pixels.

Counted electrons vary as their mean does. A camera that makes g counts of an electron has g times
that variance, and one that spreads them over neighbouring pixels shows it only in sums of pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["CameraNoise", "camera_noise"]


@dataclass(frozen=True)
class CameraNoise:
    """Noise of a camera's values, from the difference of neighbouring patterns.

    Parameters
    ----------
    sides : tuple of int
        Sides of square blocks [pixels].
    variance : ndarray
        Variance of a block's sum over its mean, one for each side; 1 for counted electrons.
    neighbours : float
        Correlation of the noise of neighbouring pixels; 0 for counted electrons.
    """

    sides: tuple[int, ...]
    variance: NDArray[np.float64]
    neighbours: float


def camera_noise(patterns: NDArray[Any], centre: tuple[float, float], radius: float) -> CameraNoise:
    """Compare sums of blocks of pixels between patterns that are neighbours along Ry.

    The specimen differs little between the two, and what it does differ adds to the variance of
    large blocks: the largest is an upper limit of the counts that an electron makes.

    Parameters
    ----------
    patterns : ndarray
        ``(Rx, Ry, Qx, Qy)``.
    centre, radius
        Of the bright disc [pixels]. Blocks tile a square inside it.

    Raises
    ------
    ValueError
        If the disc holds less than 2 × 2 pixels, or there are no two patterns on a line.
    """
    if patterns.shape[1] < 2:
        raise ValueError(f"a line holds {patterns.shape[1]} pattern; expected two or more")
    side = 1 << max(0, int(np.log2(max(1.0, radius * np.sqrt(2)))))
    if side < 2:
        raise ValueError(f"a disc of radius {radius:g} pixels holds no block of 2 × 2 pixels")
    corner = [round(c - (side - 1) / 2) for c in centre]
    square = np.asarray(
        patterns[:, :, corner[0] : corner[0] + side, corner[1] : corner[1] + side]
    ).astype(np.float32)
    difference = square[:, 1:] - square[:, :-1]
    difference -= difference.mean((0, 1))
    level = float(square.mean())
    sides = tuple(2**n for n in range(int(np.log2(side)) + 1))
    variance = []
    for block in sides:
        count = side // block
        sums = difference.reshape(*difference.shape[:2], count, block, count, block).sum((3, 5))
        variance.append(float((sums**2).mean()) / 2 / (level * block**2))
    power = float((difference**2).mean())
    beside = [
        float((difference[..., 1:, :] * difference[..., :-1, :]).mean()),
        float((difference[..., 1:] * difference[..., :-1]).mean()),
    ]
    return CameraNoise(sides, np.array(variance), sum(beside) / 2 / power)
