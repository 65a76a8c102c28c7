"""A phase with its deviation, and large fields in overlapping tiles."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from misr4d.core.acquisition import UPSAMPLING

__all__ = ["Estimate", "blend_tiles", "tiles"]

TILE, OVERLAP = (
    64,
    16,
)  # scan positions: the networks' training field, and three times a view's shift


@dataclass(frozen=True)
class Estimate:
    """A phase and its uncertainty.

    Parameters
    ----------
    mean : Tensor
        ``(..., r·Rx, r·Ry)`` [rad], of zero mean.
    deviation : Tensor
        Standard deviation of each pixel's error [rad], of the same shape.
    intervals : mapping of float to float, optional
        Calibration of the method that made this estimate: factor on the deviation, by the fraction
        of pixels that the interval holds. None if it was never calibrated.
    """

    mean: Tensor
    deviation: Tensor
    intervals: Mapping[float, float] | None = None

    def interval(self, coverage: float) -> Tensor:
        """Half width of the interval that holds this fraction of the pixels [rad].

        Raises
        ------
        ValueError
            If the estimate has no calibration, or none for this fraction.
        """
        if self.intervals is None:
            raise ValueError(
                "this estimate has no calibration: its deviation was never compared with errors, "
                "so no interval can be named; those of the shipped networks have one"
            )
        if coverage not in self.intervals:
            calibrated = ", ".join(f"{fraction:g}" for fraction in self.intervals)
            raise ValueError(f"coverage is {coverage!r}; calibrated are {calibrated}")
        return self.deviation * self.intervals[coverage]


def tiles(
    scan_shape: tuple[int, int], tile: tuple[int, int], overlap: int = OVERLAP
) -> list[tuple[slice, slice]]:
    """Divide a scan into overlapping tiles, the last of each axis flush with its end.

    Parameters
    ----------
    scan_shape : (int, int)
        Positions of the whole field.
    tile : (int, int)
        Positions of a tile, no more than the field's.
    overlap : int
        How far it reaches into its neighbours [scan positions].
    """
    rows, columns = (
        [slice(start, start + side) for start in _tile_starts(size, side, overlap)]
        for size, side in zip(scan_shape, tile, strict=True)
    )
    return [(x, y) for x in rows for y in columns]


def _tile_starts(size: int, tile: int, overlap: int) -> Iterator[int]:
    if size > tile:
        yield from range(0, size - tile, tile - 2 * overlap)
    yield size - tile


def blend_tiles(
    tile_images: Iterable[Iterable[Tensor]],
    scan_shape: tuple[int, int],
    tile: tuple[int, int],
    overlap: int = OVERLAP,
    upsampling: int = UPSAMPLING,
) -> tuple[Tensor, Tensor]:
    """Join tiles of an image and of its companion, fading from each to the next.

    Parameters
    ----------
    tile_images : iterable of (Tensor, Tensor)
        Two images ``(r·tile,)²`` of each of the :func:`tiles`, on the CPU, in their order.
    scan_shape : (int, int)
        Positions of the whole field.
    tile, overlap
        As for :func:`tiles`.
    upsampling : int
        Pixels of the images per scan step, r.

    Returns
    -------
    Tensor, Tensor
        ``(r·Rx, r·Ry)``: the first with the offset of each tile set by those before it, and of
        zero mean.
    """
    (nx, ny), r = scan_shape, upsampling
    weight = torch.zeros(r * nx, r * ny)
    mean, companion_mean = torch.zeros_like(weight), torch.zeros_like(weight)
    windows = tiles(scan_shape, tile, overlap)
    hide_bar = True if len(windows) == 1 else None  # one tile needs no progress bar
    bar = tqdm(
        tile_images, total=len(windows), desc="tiles", unit="tile", disable=hide_bar, leave=False
    )
    for (rows, columns), (image, companion) in zip(windows, bar, strict=True):
        x, y = rows.start, columns.start
        ramps = _ramp(x, tile[0], nx, overlap, r), _ramp(y, tile[1], ny, overlap, r)
        tile_weight = ramps[0][:, None] * ramps[1]
        pixels = (slice(r * x, r * (x + tile[0])), slice(r * y, r * (y + tile[1])))
        weight_before = weight[pixels]
        shared_weight = tile_weight * weight_before
        if shared_weight.any():
            mean_before = mean[pixels] / weight_before.clamp_min(1e-12)
            image = image + ((mean_before - image) * shared_weight).sum() / shared_weight.sum()
        mean[pixels] += tile_weight * image
        companion_mean[pixels] += tile_weight * companion
        weight[pixels] += tile_weight
    mean = mean / weight
    return mean - mean.mean(), companion_mean / weight


def _ramp(start: int, tile: int, size: int, overlap: int, r: int) -> Tensor:
    """Weight of a tile along an axis ``(r·tile,)``: it fades where a neighbour takes over."""
    position = (torch.arange(r * tile) + 0.5) / r
    weight = torch.ones(r * tile)
    width = max(2 * overlap, 1)
    if start > 0:
        weight = torch.minimum(weight, position / width)
    if start + tile < size:
        weight = torch.minimum(weight, (tile - position) / width)
    return weight.clamp(1e-3, 1)
