"""Find and replace hot and dead detector pixels, from the sum of all patterns.

A pixel is *hot* if it counts more than three times what its surroundings explain, and *dead* if it
counts less than a third of that, in both cases beyond Poisson statistics. Surroundings are
summarised by quartiles of the 5 × 5 pixels around: a disc's edge, straight on that scale, always
leaves a quarter of them on the lit side, and a bad row fills no more than a sixth of them.

A bad pixel is replaced by counts drawn at the level of the good ones around it, the same at every
position of the scan. They carry the noise that every method expects of a pixel and no information,
so that half-sets stay independent; an interpolated pixel would repeat its neighbours' electrons.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import grey_closing, label, rank_filter

from misr4d.calibrate.disc import find_disc
from misr4d.io.survey import BLANK, Survey, is_reading

__all__ = [
    "BadPixels",
    "PixelsReplaced",
    "ValuesReplaced",
    "find_bad_pixels",
    "find_dead_areas",
    "pixels_never_read",
    "read_bad_pixels",
]

# Our choices: the factor is far above the gain spread of a camera and below what a bad pixel shows;
# a row is averaged over many pixels, so that less is enough.
_FACTOR = 3.0
_ROW_FACTOR = 1.5
_LIT = 0.1  # of the disc's level; below it a dead pixel does no harm and a shadow looks like one
_DEAD_AREA = 0.1  # of the level around: a seam between chips reads nothing
_PART = 64  # positions of a line that are drawn together
# Chance that a scan of good pixels raises one false alarm by counting noise.
_FALSE_ALARM = 1e-3


@dataclass(frozen=True)
class BadPixels:
    """Pixels of a detector that are not reliable.

    Parameters
    ----------
    hot, dead : ndarray
        ``(Qx, Qy)`` of bool, disjoint.
    """

    hot: NDArray[np.bool_]
    dead: NDArray[np.bool_]

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Hot or dead ``(Qx, Qy)``."""
        return self.hot | self.dead


def find_bad_pixels(counts: NDArray[Any]) -> BadPixels:
    """Find hot pixels, hot rows and columns, and dead pixels in a lit place.

    A row is hot if half of its pixels are, or if the sum of the others is more than 1.5 times that
    of the two rows above and the two below: of the second largest at each pixel, or the second
    largest sum. Dead pixels are looked for where the surroundings have a tenth of the disc's level
    or more.

    Parameters
    ----------
    counts : ndarray
        ``(Qx, Qy)``: what each pixel counted over the whole scan. Good pixels raise a false alarm
        by counting noise in fewer than one of a thousand scans.

    Raises
    ------
    ValueError
        If it is not an image of finite values of 0 or more, at least 5 pixels a side.

    Notes
    -----
    What it misses, by ``python benchmarks/bad_pixels.py --draws 100``: crystal and glass, 64 × 64
    positions of 1 Å, 74 × 74 pixels, one fault a draw, the worse of the two. In 100 scans of each
    at each dose there was no false alarm. Factors are of what a good pixel counts there.

    =======================  ========  =========  ==========  ===========
    missed                   1 e⁻/Å²   10 e⁻/Å²   100 e⁻/Å²   1000 e⁻/Å²
    =======================  ========  =========  ==========  ===========
    hot in the disc, × 4     100 %     100 %      9 %         0 %
    hot in the disc, × 5     100 %     94 %       0 %         0 %
    hot in the disc, × 10    100 %     0 %        0 %         0 %
    hot beside it, × 10      100 %     100 %      98 %        18 %
    dead in the disc, × 0.3  100 %     100 %      47 %        11 %
    dead in the disc, × 0    100 %     23 %       0 %         1 %
    row, × 2                 99 %      14 %       4 %         2 %
    =======================  ========  =========  ==========  ===========

    Hot pixels of up to 3 times, dead ones of a half and rows of up to 1.5 times are within the
    limits, and always missed. Beside the disc little is counted and no view is cut.
    """
    image = np.asarray(counts, dtype=np.float64)
    if image.ndim != 2 or min(image.shape) < 5 or not (np.isfinite(image) & (image >= 0)).all():
        raise ValueError(
            f"counts have shape {image.shape} or values below 0 or not finite; expected (Qx, Qy), "
            "at least 5 pixels a side"
        )
    from scipy.stats import poisson  # takes a second to load

    chance = _FALSE_ALARM / (2 * image.size)
    neighbours = np.ones((5, 5), dtype=bool)
    neighbours[2, 2] = False
    lower, upper = (rank_filter(image, r, footprint=neighbours, mode="mirror") for r in (6, 17))
    # One count more, since a quartile of few counts may be zero by chance.
    hot = poisson.sf(image - 1, _FACTOR * (upper + 1)) < chance
    dead = (image < lower / _FACTOR) & (poisson.cdf(image, lower) < chance)
    dead &= lower > _LIT * lower.max()
    hot |= _hot_rows(image, hot, chance) | _hot_rows(image.T, hot.T, chance).T
    return BadPixels(hot, dead & ~hot)


def _hot_rows(
    image: NDArray[np.float64], hot: NDArray[np.bool_], chance: float
) -> NDArray[np.bool_]:
    from scipy.stats import poisson

    hot_rows = np.zeros_like(hot)
    rows = len(image)
    for row in range(rows):
        if hot[row].mean() > 0.5:
            hot_rows[row] = True
            continue
        # Mirrored at the edge, as the 5 × 5 pixels are.
        rows_around = [
            min(abs(r), 2 * (rows - 1) - r) for r in (row - 2, row - 1, row + 1, row + 2)
        ]
        good = ~hot[row]
        counts_around = image[rows_around][:, good]
        # With few counts, the second largest is zero at most pixels, but that of the sums is not.
        second_largest = max(
            np.sort(counts_around, axis=0)[-2].sum(), np.sort(counts_around.sum(1))[-2]
        )
        expected = _ROW_FACTOR * (second_largest + 1)
        if poisson.sf(image[row, good].sum() - 1, expected) < chance:
            hot_rows[row] = True
    return hot_rows


def find_dead_areas(counts: NDArray[Any], bad: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Find dead areas two or more pixels wide in the disc: seams, modules, gaps between chips.

    They fill the 5 × 5 surroundings that :func:`find_bad_pixels` uses. Here the level comes from a
    closing that is wider than the area, by up to the disc's radius. An area is dead if its
    pixels count less than a tenth of that, beyond chance, and lie in the disc that is fitted once
    they are filled.

    Parameters
    ----------
    counts : ndarray
        ``(Qx, Qy)``: what each pixel counted over the whole scan.
    bad : ndarray
        Pixels known to count too much ``(Qx, Qy)`` of bool.

    Returns
    -------
    ndarray
        ``(Qx, Qy)`` of bool.
    """
    from scipy.stats import poisson

    image = np.asarray(counts, dtype=np.float64)
    # A hot pixel would be spread by the closing.
    without_hot = np.minimum(image, rank_filter(image, -3, size=5, mode="nearest"))
    without_hot[bad] = 0
    level = np.quantile(without_hot, 0.99) / 2
    radius = np.sqrt(max((without_hot > level).sum(), 1) / np.pi)
    chance = _FALSE_ALARM / image.size
    empty = np.zeros(image.shape, dtype=bool)
    # Wider closings only where narrower ones find nothing more: they reach past the disc's edge.
    for side in range(5, max(6, min(int(radius), 65)), 4):
        closed = grey_closing(without_hot, size=(side, side), mode="nearest")
        dark = (
            (without_hot < _DEAD_AREA * closed)
            & (poisson.cdf(without_hot, closed / 3) < chance)
            & ~bad
        )
        dark &= closed > level
        filled = np.where(dark | bad, closed, without_hot)
        try:
            disc = find_disc(filled)
        except ValueError:
            continue
        # The edge of a pixelated disc is dark by itself.
        inside = disc.mask((image.shape[0], image.shape[1]), max(0.0, 1 - 1 / disc.radius) or 1e-6)
        # An area that continues to the disc's edge is dead too; one side of it is dark anyway.
        areas, _ = label((dark | (without_hot < 2 * _DEAD_AREA * level)) & inside & ~bad)
        sizes, dark_sizes = np.bincount(areas.ravel()), np.bincount(areas.ravel(), dark.ravel())
        sizes[0] = 0
        empty |= ((sizes >= 4) & (dark_sizes >= 4))[areas]
    return empty


def read_bad_pixels(path: str | Path, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Read a list of bad pixels, one per line: ``row,column`` from 0 along (Qx, Qy).

    A ``*`` means all, so that ``12,*`` is a row; text after a ``#`` is ignored.

    Parameters
    ----------
    path : str or Path
    shape : (int, int)
        Of the detector.

    Returns
    -------
    ndarray
        ``(Qx, Qy)`` of bool.

    Raises
    ------
    ValueError
        If the file cannot be read, or a line is not two indices on the detector.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read as a list of bad pixels: {error}") from None
    mask = np.zeros(shape, dtype=bool)
    for number, line in enumerate(lines, 1):
        text = line.split("#")[0].replace(" ", "")
        if not text:
            continue
        indices = text.split(",")
        valid = len(indices) == 2 and all(
            p == "*" or (p.isdecimal() and int(p) < n) for p, n in zip(indices, shape, strict=False)
        )
        if not valid:
            raise ValueError(
                f"{path}, line {number}, is {line.strip()!r}; expected row,column of a detector of "
                f"{shape[0]} × {shape[1]} pixels, from 0, or * for all"
            )
        row, column = (slice(None) if p == "*" else int(p) for p in indices)
        mask[row, column] = True
    return mask


class PixelsReplaced:
    """Patterns with bad pixels replaced on reading, so that a scan on disk stays there.

    Parameters
    ----------
    source : ndarray, or any array that is sliced like one
        ``(Rx, Ry, Qx, Qy)``.
    mask : ndarray
        Bad pixels ``(Qx, Qy)``.
    mean : ndarray, optional
        Mean pattern ``(Qx, Qy)``; bad pixels in it do not matter. Without it they become zero.
    counted : bool
        Draw whole numbers with Poisson statistics; otherwise the level itself is inserted.
    seed : int
        Of the draws.

    Raises
    ------
    ValueError
        If no good pixel is left.
    """

    def __init__(
        self,
        source: Any,
        mask: NDArray[np.bool_],
        mean: NDArray[np.float64] | None = None,
        *,
        counted: bool = True,
        seed: int = 0,
    ) -> None:
        if mask.all():
            raise ValueError("all pixels of the detector are bad; nothing is left to look at")
        self.source, self.mask = source, mask
        self.shape, self.dtype, self.ndim = tuple(source.shape), source.dtype, 4
        self.chunks = getattr(source, "chunks", None)
        self.level = np.zeros(int(mask.sum())) if mean is None else _level(mean, mask)
        self.counted, self.seed = counted, seed

    def __getitem__(self, key: tuple[slice, ...]) -> NDArray[Any]:
        rx, ry, *window = key
        block = np.array(self.source[rx, ry])
        block[:, :, self.mask] = self._values(rx, ry)
        return block[:, :, *window]

    def _values(self, rx: slice, ry: slice) -> NDArray[Any]:
        """Draw the inserted values at some positions ``(rx, ry, B)``, the same in every call.

        Each part of a line has its own seed, so that nothing must be stored.
        """
        rows, columns = (range(n)[s] for n, s in zip(self.shape, (rx, ry), strict=False))
        values = np.empty((len(rows), len(columns), len(self.level)))
        if not self.counted:
            values[:] = self.level
            return values.astype(self.dtype)
        blocks = range(columns.start // _PART, (columns.stop - 1) // _PART + 1)
        for i, row in enumerate(rows):
            drawn_blocks = [
                np.random.default_rng([self.seed, row, block]).poisson(
                    self.level, (_PART, len(self.level))
                )
                for block in blocks
            ]
            offset = columns.start - blocks.start * _PART
            values[i] = np.concatenate(drawn_blocks)[offset : offset + len(columns)]
        if self.dtype.kind in "ui":
            values = np.minimum(values, np.iinfo(self.dtype).max)
        return values.astype(self.dtype)


def pixels_never_read(seen: Survey, positions: int) -> NDArray[np.bool_]:
    """Pixels without a reading at half of the positions or more ``(Qx, Qy)``, so bad at all."""
    if seen.invalid is None:
        return np.zeros(seen.mean.shape, dtype=bool)
    pixels: NDArray[np.bool_] = seen.invalid >= BLANK * positions
    return pixels


class ValuesReplaced:
    """Patterns with values that are no readings replaced on reading, each at its own position.

    A value is drawn at the mean of its pixel, times the dose of its pattern, so that it carries
    the noise of a pixel and no information. A pattern without a reading in half of its pixels
    becomes zero, as that of a blanked beam.

    Parameters
    ----------
    source : ndarray, or any array that is sliced like one
        ``(Rx, Ry, Qx, Qy)``.
    limits : (float, float)
        Smallest and largest value that is a reading.
    mean : ndarray
        Mean of the readings ``(Qx, Qy)``.
    counted : bool
        Draw whole numbers with Poisson statistics; otherwise the level itself is inserted.
    seed : int
        Of the draws.
    """

    def __init__(
        self,
        source: Any,
        limits: tuple[float, float],
        mean: NDArray[np.float64],
        *,
        counted: bool,
        seed: int = 0,
    ) -> None:
        self.source, self.limits, self.mean = source, limits, mean
        self.shape, self.dtype, self.ndim = tuple(source.shape), source.dtype, 4
        self.chunks = getattr(source, "chunks", None)
        self.counted, self.seed = counted, seed

    def __getitem__(self, key: tuple[slice, ...]) -> NDArray[Any]:
        rx, ry, *window = key
        block = np.array(self.source[rx, ry])
        reading = is_reading(block, self.limits)
        rows, columns = (range(n)[s] for n, s in zip(self.shape, (rx, ry), strict=False))
        for i, j in np.argwhere(~reading.all((2, 3))):
            good = reading[i, j]
            if good.mean() <= BLANK:
                block[i, j] = 0
                continue
            dose = float(block[i, j][good].sum(dtype=np.float64)) / max(
                self.mean[good].sum(), 1e-30
            )
            level = np.maximum(self.mean[~good] * dose, 0)
            if self.counted:  # the same at every call, however the scan is cut into blocks
                generator = np.random.default_rng([self.seed, rows[i], columns[j]])
                level = generator.poisson(level)
                if self.dtype.kind in "ui":
                    level = np.minimum(level, np.iinfo(self.dtype).max)
            block[i, j][~good] = level
        return block[:, :, *window]


def _level(mean: NDArray[np.float64], mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Median of the good pixels around each bad one, of three or more ``(B,)``."""
    levels = []
    for x, y in np.argwhere(mask):
        for reach in range(1, max(mask.shape)):
            window = (
                slice(max(0, x - reach), x + reach + 1),
                slice(max(0, y - reach), y + reach + 1),
            )
            good = mean[window][~mask[window]]
            if len(good) >= 3 or good.size == (~mask).sum():
                break
        levels.append(float(np.median(good)))
    return np.array(levels)
