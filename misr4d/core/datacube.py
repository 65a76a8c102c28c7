"""Datacubes ``(Rx, Ry, Qx, Qy)``, in memory or on disk, and the views cut from them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from misr4d.core.acquisition import Acquisition

__all__ = ["Datacube", "ScanPart", "centre_of_mass", "patterns_from_views"]

# Our choice: much less than a cube that does not fit in memory, and enough to make a read pay.
BLOCK_BYTES = 32 * 2**20


@dataclass(frozen=True)
class Datacube:
    """Diffraction patterns over a scan, optical axis at detector index (Qx // 2, Qy // 2).

    Parameters
    ----------
    patterns : ndarray, or any array that is sliced like one (dask, zarr, h5py)
        ``(Rx, Ry, Qx, Qy)``. An array on disk is read block by block, never as a whole.
    step : (float, float)
        Scan step [Å].
    detector_pixel : (float, float)
        Side of a detector pixel [mrad].
    electrons : float
        Electrons that a probe position receives, on the scale of the patterns: 1 if they are
        fractions, the incident electrons if they are counts.

    Raises
    ------
    ValueError
        If the patterns do not have four axes, or the electrons are not positive.
    """

    patterns: NDArray[Any]
    step: tuple[float, float]
    detector_pixel: tuple[float, float]
    electrons: float = 1.0

    def __post_init__(self) -> None:
        if len(self.patterns.shape) != 4:
            raise ValueError(
                f"patterns have shape {self.patterns.shape}; expected four axes (Rx, Ry, Qx, Qy)"
            )
        if not (math.isfinite(self.electrons) and self.electrons > 0):
            raise ValueError(
                f"electrons is {self.electrons!r}; expected a positive number of them a position"
            )

    @classmethod
    def from_interchanged(
        cls,
        patterns: NDArray[Any],
        step: tuple[float, float],
        detector_pixel: tuple[float, float],
        electrons: float = 1.0,
    ) -> Datacube:
        """Make a datacube of an array ``(Qx, Qy, Rx, Ry)`` without copying it.

        Raises
        ------
        ValueError
            If the array does not have four axes or cannot be transposed.
        """
        return cls(_interchange(patterns), step, detector_pixel, electrons)

    def interchanged(self) -> NDArray[Any]:
        """Interchange the domains, ``(Rx, Ry, Qx, Qy) → (Qx, Qy, Rx, Ry)``, without copying.

        The result is a view of the same memory, or for dask a lazy one.

        Raises
        ------
        ValueError
            If the array cannot be transposed, as those of zarr and h5py.
        """
        return _interchange(self.patterns)

    def blocks(self, size: int = BLOCK_BYTES) -> list[tuple[slice, slice]]:
        """Divide the scan into blocks of whole chunks of the array, of about `size` bytes or less.

        A chunk that is larger than `size` is one block, since reading a part of it costs as much
        as reading all of it.
        """
        nx, ny, qx, qy = self.patterns.shape
        capacity = max(1, size // (qx * qy * self.patterns.dtype.itemsize))
        high, wide = _scan_chunk(self.patterns)
        if high * ny <= capacity:
            high, wide = capacity // ny // high * high, ny
        else:
            wide = max(wide, capacity // high // wide * wide)
        return [
            (slice(i, min(i + high, nx)), slice(j, min(j + wide, ny)))
            for i in range(0, nx, high)
            for j in range(0, ny, wide)
        ]

    def read(
        self,
        window: tuple[slice, slice] = (slice(None), slice(None)),
        *,
        label: str | None = None,
    ) -> Iterator[tuple[tuple[slice, slice], NDArray[Any]]]:
        """Read the patterns block by block, with a progress bar on a terminal.

        Parameters
        ----------
        window : (slice, slice)
            Part of the detector to read.
        label : str, optional
            Text of the progress bar.

        Yields
        ------
        (slice, slice), ndarray
            Part of the scan, and its patterns.
        """
        for rx, ry in tqdm(self.blocks(), desc=label, disable=None, leave=False):
            yield (rx, ry), np.asarray(self.patterns[rx, ry, window[0], window[1]])

    def mean_pattern(self) -> NDArray[np.float64]:
        """Position-averaged pattern ``(Qx, Qy)``, on the scale of the patterns."""
        total = np.zeros(self.patterns.shape[2:])
        for _, block in self.read(label="mean pattern"):
            total += block.sum((0, 1), dtype=np.float64)
        return total / math.prod(self.patterns.shape[:2])

    def middle(self, most: int) -> Datacube:
        """Crop the scan to about `most` positions along each axis, around its middle.

        Patterns on disk stay there. The crop begins and ends at chunk borders of the array. A
        scan that is not longer than `most` is not cropped.
        """
        shape = self.patterns.shape[:2]
        windows = []
        for n, chunk in zip(shape, _scan_chunk(self.patterns), strict=True):
            size = min(n, math.ceil(most / chunk) * chunk)
            start = (n - size) // 2 // chunk * chunk
            windows.append(slice(start, start + size))
        if tuple(p.stop - p.start for p in windows) == tuple(shape):
            return self
        cropped: Any = ScanPart(self.patterns, (windows[0], windows[1]))
        return replace(self, patterns=cropped)

    def binned(self, factor: int) -> Datacube:
        """Sum `factor`×`factor` detector pixels, `factor` odd so that the axis stays centred.

        Raises
        ------
        ValueError
            If the factor is even or larger than the detector.
        """
        shape = self.patterns.shape
        if factor < 1 or factor % 2 == 0 or factor > min(shape[2:]):
            raise ValueError(
                f"binning factor is {factor!r}; expected an odd whole number up to {min(shape[2:])}"
            )
        half = factor // 2
        reach = [min(n // 2 - half, n - 1 - n // 2 - half) // factor for n in shape[2:]]
        window_x, window_y = (
            slice(n // 2 - r * factor - half, n // 2 + r * factor + half + 1)
            for n, r in zip(shape[2:], reach, strict=True)
        )
        keeps_type = self.patterns.dtype.kind in "fc"
        summed = np.empty(
            (*shape[:2], 2 * reach[0] + 1, 2 * reach[1] + 1),
            dtype=self.patterns.dtype if keeps_type else np.uint32,
        )
        for positions, block in self.read((window_x, window_y), label="binning"):
            summed[positions] = _bin(block, factor, summed.dtype)
        pixel = (self.detector_pixel[0] * factor, self.detector_pixel[1] * factor)
        return replace(self, patterns=summed, detector_pixel=pixel)

    def views(self, acquisition: Acquisition) -> Tensor:
        """Interchange the domains and keep the bright field: ``(Rx, Ry, Qx, Qy) → (M, Rx, Ry)``.

        Patterns on disk are read block by block: in addition to the views, memory holds a few
        times ``BLOCK_BYTES``, or a few chunks where those are larger.

        Parameters
        ----------
        acquisition : Acquisition
            Its detector pixel is a whole odd multiple of the datacube's.

        Returns
        -------
        Tensor
            Relative to a fully lit pixel in vacuum, float32, in the order of
            ``acquisition.view_frequencies``.

        Raises
        ------
        ValueError
            If scan or detector pixels do not match, or the patterns end inside the disc.
        """
        shape = self.patterns.shape
        if tuple(shape[:2]) != acquisition.scan_shape:
            raise ValueError(
                f"the datacube has {tuple(shape[:2])} positions; the acquisition says "
                f"{acquisition.scan_shape}"
            )
        ratio = acquisition.detector_pixel / np.asarray(self.detector_pixel)
        factor = round(float(ratio[0]))
        if np.abs(ratio - factor).max() > 1e-3 or factor % 2 == 0:
            raise ValueError(
                f"the acquisition's detector pixel is {acquisition.detector_pixel:.4f} mrad and "
                f"the datacube's {self.detector_pixel} mrad; expected an odd whole multiple"
            )
        index = acquisition.detector_index.numpy()
        lowest = np.array(shape[2:]) // 2 + index.min(0) * factor - factor // 2
        highest = np.array(shape[2:]) // 2 + index.max(0) * factor + factor // 2
        if lowest.min() < 0 or (highest >= shape[2:]).any():
            raise ValueError(
                f"patterns of {tuple(shape[2:])} pixels of {self.detector_pixel[0]:g} mrad end "
                f"inside the {acquisition.semiangle:g} mrad disc; record larger angles"
            )
        window = (
            slice(int(lowest[0]), int(highest[0]) + 1),
            slice(int(lowest[1]), int(highest[1]) + 1),
        )
        window_index = index - index.min(0)
        views = np.empty((len(index), *shape[:2]), dtype=np.float32)
        scale = np.float32(acquisition.pixels_per_disc / self.electrons)
        for (rx, ry), block in self.read(window, label="views"):
            binned = block if factor == 1 else _bin(block, factor, np.float32)
            in_disc = binned[:, :, window_index[:, 0], window_index[:, 1]].transpose(2, 0, 1)
            np.multiply(in_disc, scale, out=views[:, rx, ry], casting="unsafe")
        return torch.from_numpy(views)


class ScanPart:
    """Some of the positions of a scan, sliced as it is read.

    It has the attributes that :class:`Datacube` asks of patterns on disk: ``shape``, ``dtype``,
    ``ndim`` and ``chunks``.

    Parameters
    ----------
    source : array
        Patterns ``(Rx, Ry, Qx, Qy)``, or any array that is sliced like one.
    part : (slice, slice)
        Positions along Rx and Ry, with start and stop, without a step.
    """

    def __init__(self, source: Any, part: tuple[slice, slice]) -> None:
        self.source, self.part = source, part
        counts = [p.stop - p.start for p in part]
        self.shape = (*counts, *source.shape[2:])
        self.dtype, self.ndim = source.dtype, 4
        self.chunks = (*_scan_chunk(source), *source.shape[2:])

    def __getitem__(self, key: tuple[slice, ...]) -> Any:
        scan = [
            slice(p.start + k.indices(n)[0], p.start + k.indices(n)[1])
            for p, k, n in zip(self.part, key, self.shape, strict=False)
        ]
        return self.source[(*scan, *key[2:])]


def _interchange(patterns: NDArray[Any]) -> NDArray[Any]:
    if not hasattr(patterns, "transpose") or len(patterns.shape) != 4:
        raise ValueError(
            f"{type(patterns).__name__} of shape {patterns.shape} cannot be interchanged; expected "
            "four axes of NumPy or dask: wrap an array on disk by dask.array.from_array first"
        )
    return patterns.transpose(2, 3, 0, 1)


def _scan_chunk(patterns: NDArray[Any]) -> tuple[int, int]:
    """Positions along (Rx, Ry) that are stored together; one if the array has no chunks."""
    chunks = getattr(patterns, "chunks", None) or (1, 1)
    high, wide = (max(c) if isinstance(c, tuple) else int(c) for c in chunks[:2])
    return high, wide


def _bin(block: NDArray[Any], factor: int, dtype: Any) -> NDArray[Any]:
    """Sum `factor`×`factor` pixels of patterns whose sides are whole multiples of it."""
    nx, ny = (n // factor for n in block.shape[2:])
    summed: NDArray[Any] = block.reshape(*block.shape[:2], nx, factor, ny, factor).sum(
        (3, 5), dtype=dtype
    )
    return summed


def centre_of_mass(cube: Datacube, acquisition: Acquisition) -> Tensor:
    """Mean scattering of every pattern along the scan's axes ``(2, Rx, Ry)`` [Å⁻¹].

    At a position without electrons it is zero.

    Parameters
    ----------
    cube : Datacube
    acquisition : Acquisition
        Gives the wavelength, and rotation and distortion of the detector.
    """
    shape = cube.patterns.shape
    fields = np.zeros((2, *shape[:2]))
    k = [
        (np.arange(n) - n // 2) * (pixel * 1e-3 / acquisition.wavelength)
        for n, pixel in zip(shape[2:], cube.detector_pixel, strict=True)
    ]
    for (rx, ry), block in cube.read(label="centre of mass"):
        profile = block.sum(3, dtype=np.float64)
        total = np.maximum(profile.sum(-1), 1e-12)
        fields[0, rx, ry] = (profile @ k[0]) / total
        fields[1, rx, ry] = (block.sum(2, dtype=np.float64) @ k[1]) / total
    centres = torch.from_numpy(fields)
    if acquisition.distorted:
        centres = torch.einsum("ab,bxy->axy", acquisition.distortion, centres)
    if acquisition.turned:
        centres = torch.einsum("ab,bxy->axy", acquisition.axes, centres)
    return centres.float()


def patterns_from_views(
    views: Tensor, acquisition: Acquisition
) -> tuple[Datacube, NDArray[np.bool_]]:
    """Put views back on a detector: the datacube of their bright-field disc, and its mask.

    Parameters
    ----------
    views : Tensor
        ``(M, Rx, Ry)`` in the order of ``acquisition.view_frequencies``.
    acquisition : Acquisition

    Returns
    -------
    Datacube, ndarray
        Patterns zero outside the disc, and the disc ``(Qx, Qy)``.
    """
    index = acquisition.detector_index.numpy()
    reach = int(np.abs(index).max())
    side = 2 * reach + 1
    patterns = np.zeros((*views.shape[1:], side, side), dtype=np.float32)
    pixels = index + reach
    scaled = views.detach().cpu().numpy() / acquisition.pixels_per_disc
    patterns[:, :, pixels[:, 0], pixels[:, 1]] = scaled.transpose(1, 2, 0)
    mask = np.zeros((side, side), dtype=bool)
    mask[pixels[:, 0], pixels[:, 1]] = True
    pixel = acquisition.detector_pixel
    return Datacube(patterns, acquisition.step, (pixel, pixel)), mask
