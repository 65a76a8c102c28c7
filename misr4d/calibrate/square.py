"""Detectors whose pixels are not square, such as those of simulations of an oblong cell."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["SquarePixels"]


class SquarePixels:
    """Patterns of oblong pixels on square ones of the longer side, dealt on reading.

    Counts stay counts: each electron falls at random within its recorded pixel, by a binomial draw
    where that lies on two square ones. So noise stays that of counting, and half-sets stay
    independent. Values that are no counts are shared in proportion.

    Parameters
    ----------
    source : ndarray, or any array that is sliced like one
        ``(Rx, Ry, Qx, Qy)``.
    sides : (float, float)
        Sides of a recorded pixel along (Qx, Qy), in any unit.
    counted : bool
        Whether the values are counts.
    seed : int
        Of the draws, which are the same at every reading.
    """

    def __init__(
        self, source: Any, sides: tuple[float, float], *, counted: bool, seed: int = 0
    ) -> None:
        self.source, self.counted, self.seed = source, counted, seed
        self.axis = int(sides[1] < sides[0])
        self.ratio = min(sides) / max(sides)
        shape = list(source.shape)
        shape[2 + self.axis] = math.ceil(shape[2 + self.axis] * self.ratio - 1e-9)
        self.shape, self.ndim = tuple(shape), 4
        whole = source.dtype.kind in "ui"
        wide = np.uint32 if source.dtype.itemsize < 4 else np.uint64
        self.dtype = np.dtype(wide) if counted and whole else np.dtype(np.float64)
        self.chunks = getattr(source, "chunks", None)

    def __getitem__(self, key: tuple[slice, ...]) -> NDArray[Any]:
        rx, ry, *window = key
        block = np.asarray(self.source[rx, ry])
        dealt = np.empty((*block.shape[:2], *self.shape[2:]), self.dtype)
        rows, columns = (range(n)[s] for n, s in zip(self.shape, (rx, ry), strict=False))
        for i, row in enumerate(rows):
            for j, column in enumerate(columns):
                generator = np.random.default_rng([self.seed, row, column])
                dealt[i, j] = self.deal(block[i, j], generator)
        return dealt[:, :, *window]

    def deal(
        self, pattern: NDArray[Any], generator: np.random.Generator | None = None
    ) -> NDArray[np.float64]:
        """Deal one image of the detector ``(Qx, Qy)``; without a generator in proportion."""
        values = np.moveaxis(np.asarray(pattern, dtype=np.float64), self.axis, 0)
        number = self.shape[2 + self.axis]
        start = np.arange(len(values)) * self.ratio
        first = np.minimum(np.floor(start + 1e-9).astype(int), number - 1)
        share = np.clip((first + 1 - start) / self.ratio, 0.0, 1.0)
        share[first == number - 1] = 1.0
        shares = np.broadcast_to(share[:, None], values.shape)
        if self.counted and generator is not None:
            staying = generator.binomial(values.astype(np.int64), shares).astype(np.float64)
        else:
            staying = values * shares
        dealt = np.zeros((number, *values.shape[1:]))
        np.add.at(dealt, first, staying)
        np.add.at(dealt, np.minimum(first + 1, number - 1), values - staying)
        return np.moveaxis(dealt, 0, self.axis)

    def place(self, recorded: tuple[float, float], *, back: bool = False) -> tuple[float, float]:
        """Convert a place on the recorded detector [pixels] to the square pixels, or back."""
        place = list(recorded)
        factor = 1 / self.ratio if back else self.ratio
        place[self.axis] = (place[self.axis] + 0.5) * factor - 0.5
        return place[0], place[1]
