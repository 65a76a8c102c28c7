"""A survey of all patterns of a scan, in one pass, and which of their values are readings."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from misr4d.core.datacube import Datacube
from misr4d.io.scan import Scan, one_line

__all__ = ["BLANK", "Survey", "is_reading", "survey"]

# Above the first, no float64 sum of a scan is exact; below the second, nothing was counted.
_LARGEST, _SMALLEST = 1e15, 1e-20

# Our choice: read noise around zero makes far more values of dim pixels negative than this.
_NOISY = 0.01

# Our choice: noise of a few thousand values reaches this many times its usual lowest value.
_BEYOND_NOISE = 3.0

# Our choice: the end of a type is a mark and no count if nothing is above this share of it.
_ALONE = 0.25

BLANK = 0.5
"""Fraction of its pixels: with fewer readings a pattern tells no dose, and counts as blank."""

# Our choice: a scan with more values that are no readings is not one that can be repaired.
_MOST_INVALID = 0.5


@dataclass(frozen=True)
class Survey:
    """Result of one pass over all patterns: sums, extremes and type of the values.

    Parameters
    ----------
    mean : ndarray
        Position-averaged pattern ``(Qx, Qy)``, of readings alone.
    totals : ndarray
        Sum of the readings of each pattern ``(Rx, Ry)``.
    whole : bool
        Whether all readings are whole numbers, as counts are.
    largest : float
    least : ndarray
        Smallest reading of each pixel ``(Qx, Qy)``.
    at_end : ndarray, optional
        How often each pixel read the largest value ``(Qx, Qy)``; of whole numbers.
    limits : (float, float)
        Smallest and largest value that is a reading: others are not finite, absurd, negative
        where the noise is not, or a mark that a camera writes where it has no count.
    invalid : ndarray, optional
        How often each pixel has no reading ``(Qx, Qy)``; none if all values are readings.
    unread : int
        Patterns without a reading in half of their pixels.
    negative : float
        Fraction of the readings below zero, as read noise leaves them.
    """

    mean: NDArray[np.float64]
    totals: NDArray[np.float64]
    whole: bool
    largest: float
    least: NDArray[np.float64]
    at_end: NDArray[np.int64] | None = None
    limits: tuple[float, float] = (0.0, _LARGEST)
    invalid: NDArray[np.int64] | None = None
    unread: int = 0
    negative: float = 0.0

    @property
    def clipped(self) -> bool:
        """Whether the counter ended at the largest value.

        Of Poisson counts with mean m, the value n + 1 occurs m/(n + 1) times as often as n. If 30
        or more values n + 1 are expected and there are none, the counter could not reach them.
        """
        if not self.whole or self.at_end is None:
            return False
        return float((self.at_end * self.mean).sum()) / (self.largest + 1) > 30


def is_reading(block: NDArray[Any], limits: tuple[float, float]) -> NDArray[np.bool_]:
    """Tell readings from values that are not finite or outside of `limits`, element by element."""
    reading: NDArray[np.bool_] = (block >= limits[0]) & (block <= limits[1])  # NaN is neither
    return reading


def survey(scan: Scan, *, signed: bool = False) -> Survey:
    """Read all patterns once, or twice if some values are no readings, and check them.

    Values that are not finite or absurdly large are no readings. Neither are negative ones, unless
    so many values of dim pixels are negative that they are read noise; nor the largest number of
    an integer type, if no count comes near it.

    Parameters
    ----------
    scan : Scan
    signed : bool
        Accept negative values in any case, as after subtraction of an offset.

    Raises
    ------
    ValueError
        If more than half of all values are no readings, or nothing was counted at all; if the
        bytes of all values seem to be in the wrong order; or if the file ends before its patterns
        do.
    """
    first = _Pass(scan, (-_LARGEST, _LARGEST))
    limits = (-_LARGEST if signed else first.least_reading(), first.largest_reading())
    # A second pass is needed only where the first took values for readings that are none.
    seen = first if first.fits(limits) else _Pass(scan, limits)
    number = math.prod(scan.patterns.shape)
    invalid = int(seen.invalid.sum())
    if invalid > _MOST_INVALID * number:
        place = seen.example or (0, 0, 0, 0)
        value = scan.patterns[tuple(slice(p, p + 1) for p in place)]
        raise ValueError(
            f"{scan.path} has no reading in {invalid / number:.0%} of its values: it holds "
            f"{np.asarray(value).ravel()[0]} at position {place[:2]}, pixel {place[2:]}; expected "
            f"counts or intensities from 0 to {_LARGEST:g}"
        )
    if seen.largest <= 0:
        raise ValueError(f"{scan.path} holds no electron: none of its values is above zero")
    _check_order(scan, seen)
    return Survey(
        seen.total / np.maximum(math.prod(scan.patterns.shape[:2]) - seen.invalid, 1),
        seen.sums,
        seen.whole,
        seen.largest,
        np.where(np.isfinite(seen.least), seen.least, 0.0),
        seen.at_end,
        limits,
        seen.invalid if invalid else None,
        seen.unread,
        float(seen.negative.sum()) / number,
    )


def _check_order(scan: Scan, seen: _Pass) -> None:
    """Raise if the bytes of all values seem to be in the wrong order."""
    low_bytes = 2 ** (8 * (scan.patterns.dtype.itemsize - 1)) if seen.bits else 1
    multiples = low_bytes > 1 and seen.bits % low_bytes == 0 and "gain" not in scan.known
    if seen.largest < _SMALLEST or multiples:
        reason = (
            f"all its values are multiples of {low_bytes}"
            if seen.bits
            else f"none is above {seen.largest:g}"
        )
        raise ValueError(
            f"{scan.path} holds no counts: {reason}, as if its bytes were in the wrong order; "
            "write it with the order that its type states, or pass --gain if it is meant"
        )


def _extremes(
    block: NDArray[Any], reading: NDArray[np.bool_] | None
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Smallest and largest reading of each pixel ``(Qx, Qy)``."""
    if reading is None:
        return block.min((0, 1)), block.max((0, 1))
    low, high = (np.where(reading, block, empty) for empty in (math.inf, -math.inf))
    return low.min((0, 1)), high.max((0, 1))


class _Pass:
    """Sums of all values between two limits, in one pass."""

    def __init__(self, scan: Scan, limits: tuple[float, float]) -> None:
        shape, kind = scan.patterns.shape, scan.patterns.dtype
        self.frames = math.prod(shape[:2])
        self.total, self.sums = np.zeros(shape[2:]), np.zeros(shape[:2])
        self.least, self.most = np.full(shape[2:], math.inf), np.full(shape[2:], -math.inf)
        self.at_end, self.invalid, self.negative = np.zeros((3, *shape[2:]), dtype=np.int64)
        self.whole, self.largest, self.bits, self.unread = True, -math.inf, 0, 0
        # Largest value below the end of an integer type: a mark stands alone.
        self.end = float(np.iinfo(kind).max) if kind.kind in "ui" else math.inf
        self.below_end = 0.0
        self.example: tuple[int, ...] | None = None
        cube = Datacube(scan.patterns, (math.nan, math.nan), (math.nan, math.nan))
        blocks = cube.read(label="reading")
        while True:
            try:
                positions, block = next(blocks)
            except StopIteration:
                break
            except Exception as error:  # the readers of others raise whatever they like
                raise ValueError(
                    f"{scan.path} breaks off or is damaged: {one_line(error)}; copy it again"
                ) from error
            self._add(positions, block, limits)

    def _add(
        self, positions: tuple[slice, slice], block: NDArray[Any], limits: tuple[float, float]
    ) -> None:
        low, high = float(block.min()), float(block.max())
        reading = None
        if not (low >= limits[0] and high <= limits[1]):
            reading = is_reading(block, limits)
            self.invalid += (~reading).sum((0, 1))
            self.unread += int((reading.mean((2, 3)) <= BLANK).sum())
            if self.example is None:
                place = np.argwhere(~reading)[0]
                self.example = tuple(
                    int(place[a]) + (positions[a].start if a < 2 else 0) for a in range(4)
                )
            if not reading.any():
                return
            high = float(block[reading].max())
        least, most = _extremes(block, reading)
        self.least, self.most = np.minimum(self.least, least), np.maximum(self.most, most)
        if least.min() < 0:
            # A frame without a positive value is none: skipped ones are filled with −1.
            negative = block < 0 if reading is None else (block < 0) & reading
            self.negative += negative[(block > 0).any((2, 3))].sum(0)
        if high > self.largest:
            self.at_end[:] = 0
        self.largest = max(self.largest, high)
        if high == self.largest:
            self.at_end += (block == high).sum((0, 1))
        below = block[block < self.end] if high == self.end else np.array([high])
        self.below_end = max(self.below_end, float(below.max(initial=0)))
        values = block if reading is None else np.where(reading, block, block.dtype.type(0))
        if block.dtype.kind in "ui":
            self.bits |= int(np.bitwise_or.reduce(values, axis=None))
        else:
            self.whole = self.whole and bool((values == np.rint(values)).all())
        self.sums[positions] = values.sum((2, 3), dtype=np.float64)
        self.total += values.sum((0, 1), dtype=np.float64)

    def least_reading(self) -> float:
        """Smallest value that is a reading: zero, unless dim pixels read noise around it."""
        varying = self.least < self.most
        if not self.negative.any() or not varying.any():
            return 0.0
        mean = self.total / np.maximum(self.frames - self.invalid, 1)
        dim = varying & (mean <= np.median(mean[varying]))
        if self.negative[dim].mean() < _NOISY * self.frames:
            return 0.0
        return _BEYOND_NOISE * float(np.median(self.least[dim]))

    def largest_reading(self) -> float:
        """Largest value that is a reading: not the end of a type that stands alone."""
        if self.largest == self.end and 0 < self.below_end < _ALONE * self.end:
            return self.below_end
        return _LARGEST

    def fits(self, limits: tuple[float, float]) -> bool:
        """Whether this pass took no value for a reading that is none."""
        return float(self.least.min()) >= limits[0] and self.largest <= limits[1]
