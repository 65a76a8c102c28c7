"""Recentre patterns that move over the detector during the scan."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from misr4d.calibrate.disc import Disc, distance_from, find_disc, rim
from misr4d.core.datacube import Datacube

__all__ = ["Descan", "fit_descan", "recentre"]


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
        x, y = scan_positions(scan_shape)
        middle = np.asarray(self.middle)[:, None, None]
        return cast(
            "NDArray[np.float64]",
            middle + self.slope[:, :1, None] * x + self.slope[:, 1:, None] * y,
        )


def scan_positions(scan_shape: tuple[int, int]) -> tuple[NDArray[np.float64], ...]:
    """Positions from the middle of the scan, ``(Rx, 1)`` and ``(1, Ry)`` [steps]."""
    nx, ny = scan_shape
    return np.arange(nx)[:, None] - (nx - 1) / 2, np.arange(ny)[None, :] - (ny - 1) / 2


def fit_descan(cube: Datacube, blocks: tuple[int, int] = (8, 8)) -> Descan:
    """Fit a plane to the disc's position, from the centres of mass of averaged patterns.

    Each block of the scan gives one averaged pattern. Its centre of mass is taken inside a window
    1.5 times as wide as the disc, which follows the plane, so that background and the edge of the
    detector do not bias it.

    Parameters
    ----------
    cube : Datacube
    blocks : (int, int)
        Blocks along (Rx, Ry), at least 2 by 2. More blocks smear a steep drift less; each needs
        about a hundred electrons. Our choice of 8 leaves 64 positions of a 64 × 64 scan to each.

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
    patterns, block_positions = _block_patterns(cube, blocks)
    total = patterns.sum((1, 2))
    if (total > 0).sum() < 4:
        raise ValueError("fewer than four blocks of the scan hold electrons; nothing can be fitted")
    design = np.column_stack([np.ones(len(block_positions)), block_positions])
    # A disc may fill more than half of the detector, but not its rim.
    floor = np.median(patterns[:, rim(patterns.shape[1:])], axis=1)
    above_background = np.maximum(patterns - floor[:, None, None], 0)
    centres = _centroids(above_background, np.full((len(block_positions), 2), np.nan), math.inf)
    plane = _weighted_plane(design, centres, total)[0]
    # The disc's radius, from blocks laid on top of each other by the first plane.
    middle = [n // 2 for n in shape[2:]]
    stacked = sum(
        np.roll(p, tuple(int(v) for v in np.round(middle - c)), (0, 1))
        for p, c in zip(patterns, design @ plane, strict=True)
    )
    reach = 1.5 * find_disc(np.asarray(stacked)).radius
    for _ in range(50):  # converges by the fraction of background in the window
        centres = _centroids(patterns, design @ plane, reach)
        previous_plane = plane
        plane, error = _weighted_plane(design, centres, total)
        if np.abs(design @ (plane - previous_plane)).max() < 1e-4:
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
    x, y = scan_positions((nx, ny))
    mx = np.bincount(bx, x[:, 0]) / np.bincount(bx)
    my = np.bincount(by, y[0]) / np.bincount(by)
    middles = np.stack(np.meshgrid(mx, my, indexing="ij"), -1).reshape(-1, 2)
    return sums.reshape(-1, *sums.shape[2:]), middles


def _runs(labels: NDArray[np.intp]) -> Iterator[tuple[int, slice]]:
    """Yield each of the ascending labels, and its positions."""
    values, starts = np.unique(labels, return_index=True)
    for value, start, stop in zip(values, starts, [*starts[1:], len(labels)], strict=True):
        yield int(value), slice(int(start), int(stop))


def _centroids(
    patterns: NDArray[np.float64], around: NDArray[np.float64], reach: float
) -> NDArray[np.float64]:
    """Centres of mass ``(B, 2)`` within `reach` of a point; without electrons, the middle."""
    x, y = (np.arange(n, dtype=np.float64) for n in patterns.shape[1:])
    centres = np.empty((len(patterns), 2))
    for b, pattern in enumerate(patterns):
        if math.isfinite(reach):
            distance = distance_from(pattern.shape, (float(around[b, 0]), float(around[b, 1])))
            pattern = pattern * np.clip(reach - distance + 0.5, 0, 1)
        total = pattern.sum()
        if total > 0:
            centres[b] = (pattern.sum(1) @ x) / total, (pattern.sum(0) @ y) / total
        else:
            centres[b] = (len(x) - 1) / 2, (len(y) - 1) / 2
    return centres


def _weighted_plane(
    design: NDArray[np.float64], values: NDArray[np.float64], weight: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Least squares ``(3, 2)`` and its standard errors, weighted by the electrons."""
    weighted = design * weight[:, None]
    inverse = np.linalg.inv(design.T @ weighted)
    plane = inverse @ (weighted.T @ values)
    freedom = max(1, int((weight > 0).sum()) - 3)
    variance = (weight[:, None] * (values - design @ plane) ** 2).sum(0) / freedom
    return plane, np.sqrt(np.diag(inverse)[:, None] * variance)


class _Recentred:
    """Patterns shifted on reading, so that a cube on disk stays there."""

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
            source_window = self._unmoved(window, np.round(shift).astype(int))
            if source_window is not None:
                unmoved: NDArray[Any] = np.asarray(self.source[rx, ry, *source_window])
                return unmoved
        shifted = self._move(np.asarray(self.source[rx, ry]), shift)
        return shifted[:, :, *window]

    def _unmoved(self, window: list[slice], shift: NDArray[np.intp]) -> list[slice] | None:
        """Source of a detector window, if it is the same for all patterns and not wrapped."""
        if not shift.size or (shift != shift[:, :1, :1]).any():
            return None
        source_window = []
        for axis, n in enumerate(self.shape[2:]):
            start, stop, stride = (window[axis] if axis < len(window) else slice(None)).indices(n)
            start, stop = start - int(shift[axis, 0, 0]), stop - int(shift[axis, 0, 0])
            if start < 0 or stop > n or stride != 1:
                return None
            source_window.append(slice(start, stop))
        return source_window

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        patterns: NDArray[Any] = self[:, :]
        return patterns if dtype is None else patterns.astype(dtype)

    def _move(self, block: NDArray[Any], shift: NDArray[np.float64]) -> NDArray[Any]:
        if not self.subpixel:
            return _roll(block, np.round(shift).astype(int))
        whole_pixels = np.floor(shift).astype(int)
        fraction = (shift - whole_pixels)[..., None, None].astype(np.float32)
        shifted = _roll(block.astype(np.float32), whole_pixels)
        shifted += fraction[0] * (np.roll(shifted, 1, 2) - shifted)
        shifted += fraction[1] * (np.roll(shifted, 1, 3) - shifted)
        return shifted


def _roll(block: NDArray[Any], shift: NDArray[Any]) -> NDArray[Any]:
    """Roll every pattern by its whole number of pixels ``(2, rx, ry)``."""
    rolled = np.empty_like(block)
    for pattern_shift in np.unique(shift.reshape(2, -1), axis=1).T:  # a few: the axis moves slowly
        same_shift = (shift == pattern_shift[:, None, None]).all(0)
        rolled[same_shift] = np.roll(block[same_shift], tuple(pattern_shift), (1, 2))
    return rolled


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
        In memory, or on disk: then the patterns are shifted on reading.
    centre : Disc, Descan, (float, float) or ndarray
        Where the axis is: for all patterns, or ``(2, Rx, Ry)`` for each [pixels].
    subpixel : bool
        False shifts by whole pixels: counts stay whole numbers with Poisson statistics, and the
        axis may be up to half a pixel off. True interpolates linearly: the axis is exact and
        electrons are conserved, but neighbouring pixels share them, so that noise is correlated
        and no longer Poisson; the patterns become float32.

    Returns
    -------
    Datacube
        Pixels that leave the detector on one side enter on the other.

    Raises
    ------
    ValueError
        If the centre is off the detector, or not one for each position.
    """
    nx, ny, qx, qy = cube.patterns.shape
    if isinstance(centre, Descan):
        centres = centre.centres((nx, ny))
    elif isinstance(centre, Disc):
        centres = np.asarray(centre.centre)
    else:
        centres = np.asarray(centre, dtype=np.float64)
    if centres.shape == (2,):
        centres = np.broadcast_to(centres[:, None, None], (2, nx, ny))
    if centres.shape != (2, nx, ny):
        raise ValueError(
            f"centre has shape {centres.shape}; expected (2,) or one for each position, "
            f"{(2, nx, ny)}"
        )
    size = np.array([qx, qy])[:, None, None]
    if not np.isfinite(centres).all() or (centres < -0.5).any() or (centres > size - 0.5).any():
        raise ValueError(
            f"the axis runs from {centres.min((1, 2))} to {centres.max((1, 2))}, off a detector of "
            f"{(qx, qy)} pixels; check the fit of the disc or of the descan"
        )
    recentred = _Recentred(cube.patterns, size // 2 - centres, subpixel)
    patterns = recentred[:, :] if isinstance(cube.patterns, np.ndarray) else recentred
    return replace(cube, patterns=patterns)
