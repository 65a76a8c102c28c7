"""Datacubes ``(Rx, Ry, Qx, Qy)`` and the views cut from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from misr4d.acquisition import Acquisition

__all__ = ["Datacube", "patterns_from_views"]


@dataclass(frozen=True)
class Datacube:
    """Diffraction patterns over a scan, optical axis at detector index (Qx // 2, Qy // 2).

    Parameters
    ----------
    patterns : ndarray
        ``(Rx, Ry, Qx, Qy)``, as fractions of the incident electrons.
    step : (float, float)
        Scan step [Å].
    detector_pixel : (float, float)
        Side of a detector pixel [mrad].
    """

    patterns: NDArray[np.float32]
    step: tuple[float, float]
    detector_pixel: tuple[float, float]

    def __post_init__(self) -> None:
        if self.patterns.ndim != 4:
            raise ValueError(
                f"patterns have shape {self.patterns.shape}; expected four axes (Rx, Ry, Qx, Qy)"
            )

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
        window = [
            slice(n // 2 - r * factor - half, n // 2 + r * factor + half + 1)
            for n, r in zip(shape[2:], reach, strict=True)
        ]
        kept = self.patterns[:, :, window[0], window[1]]
        nx, ny = (2 * r + 1 for r in reach)
        summed = kept.reshape(*shape[:2], nx, factor, ny, factor).sum((3, 5))
        pixel = (self.detector_pixel[0] * factor, self.detector_pixel[1] * factor)
        return Datacube(summed, self.step, pixel)

    def views(self, acquisition: Acquisition) -> Tensor:
        """Interchange the domains and keep the bright field: ``(Rx, Ry, Qx, Qy) → (M, Rx, Ry)``.

        Parameters
        ----------
        acquisition : Acquisition
            Its detector pixel is a whole odd multiple of the datacube's.

        Returns
        -------
        Tensor
            Relative to a fully lit pixel in vacuum, in the order of
            ``acquisition.view_frequencies``.

        Raises
        ------
        ValueError
            If scan or detector pixels do not match, or the patterns end inside the disc.
        """
        if self.patterns.shape[:2] != acquisition.scan_shape:
            raise ValueError(
                f"the datacube has {self.patterns.shape[:2]} positions; the acquisition says "
                f"{acquisition.scan_shape}"
            )
        ratio = acquisition.detector_pixel / np.asarray(self.detector_pixel)
        factor = round(float(ratio[0]))
        if np.abs(ratio - factor).max() > 1e-3 or factor % 2 == 0:
            raise ValueError(
                f"the acquisition's detector pixel is {acquisition.detector_pixel:.4f} mrad and "
                f"the datacube's {self.detector_pixel} mrad; expected an odd whole multiple"
            )
        cube = self.binned(factor)
        index = torch.round(acquisition.view_angles / acquisition.detector_pixel).long()
        centre = torch.tensor([n // 2 for n in cube.patterns.shape[2:]])
        where = (index + centre).numpy()
        if where.min() < 0 or (where >= cube.patterns.shape[2:]).any():
            raise ValueError(
                f"patterns of {cube.patterns.shape[2:]} pixels of {acquisition.detector_pixel:g} "
                f"mrad end inside the {acquisition.semiangle:g} mrad disc; record larger angles"
            )
        views = cube.patterns[:, :, where[:, 0], where[:, 1]].transpose(2, 0, 1)
        return torch.from_numpy(np.ascontiguousarray(views)) * acquisition.pixels_per_disc


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
    index = torch.round(acquisition.view_angles / acquisition.detector_pixel).long().numpy()
    reach = int(np.abs(index).max())
    side = 2 * reach + 1
    patterns = np.zeros((*views.shape[1:], side, side), dtype=np.float32)
    where = index + reach
    scaled = views.detach().cpu().numpy() / acquisition.pixels_per_disc
    patterns[:, :, where[:, 0], where[:, 1]] = scaled.transpose(1, 2, 0)
    mask = np.zeros((side, side), dtype=bool)
    mask[where[:, 0], where[:, 1]] = True
    pixel = acquisition.detector_pixel
    return Datacube(patterns, acquisition.step, (pixel, pixel)), mask
