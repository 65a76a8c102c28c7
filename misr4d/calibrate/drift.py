"""A specimen that drifts during the scan: its matrix, and correction of images."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import map_coordinates
from torch import Tensor

from misr4d.calibrate.descan import scan_positions

__all__ = ["correct_scan", "drift_matrix", "straighten"]


def drift_matrix(
    drift: tuple[float, float], step: tuple[float, float], scan_shape: tuple[int, int]
) -> NDArray[np.float64]:
    """Matrix of a scan over a specimen that moves at a constant speed, for :func:`correct_scan`.

    Lines run along Ry and follow each other along Rx; the beam is taken to fly back at once, so
    that a line lasts as long as its positions.

    Parameters
    ----------
    drift : (float, float)
        How far a line lies from where it should, beyond the line before it, along (Rx, Ry) [Å];
        the specimen moves the other way.
    step : (float, float)
        Scan step that the acquisition states [Å].
    scan_shape : (int, int)

    Returns
    -------
    ndarray
        ``(2, 2)``: a position as stated, counted from the middle of the scan, to where the probe
        was [Å].
    """
    a_line = np.array([1 / step[0], 1 / (scan_shape[1] * step[1])])  # lines in an Å along (Rx, Ry)
    matrix: NDArray[np.float64] = np.eye(2) + np.outer(drift, a_line)
    return matrix


def correct_scan(
    views: Tensor, step: tuple[float, float], matrix: ArrayLike
) -> tuple[Tensor, Tensor]:
    """Resample views recorded on a sheared, rotated or stretched scan onto the regular grid.

    Needed only for distortions that frequencies cannot describe: two step lengths belong in
    ``Acquisition.step`` and a rotation in :class:`~misr4d.core.acquisition.Acquisition`, both
    exact. The matrix of a drift is :func:`drift_matrix`.

    Parameters
    ----------
    views : Tensor
        ``(..., Rx, Ry)``.
    step : (float, float)
        Scan step that the acquisition states [Å].
    matrix : ndarray
        ``(2, 2)``: takes a position as stated to where the probe really was, both in Å along
        (Rx, Ry) from the middle of the scan.

    Returns
    -------
    views, inside : Tensor
        The views at the stated positions, by linear interpolation: noise is smoothed and no
        longer Poisson; and where ``(Rx, Ry)`` the scan reached. Elsewhere its edge is repeated.

    Raises
    ------
    ValueError
        If the matrix is not 2 × 2, finite and invertible.
    """
    nx, ny = views.shape[-2:]
    at = _stated((nx, ny), (nx, ny), step, matrix)
    inside = (at >= -1e-9).all(0) & (at[0] <= nx - 1 + 1e-9) & (at[1] <= ny - 1 + 1e-9)
    return _interpolated(views, at, 1), torch.from_numpy(inside)


def straighten(images: Tensor, pixel: tuple[float, float], matrix: ArrayLike) -> Tensor:
    """Resample images on a sheared or stretched scan onto a regular grid of the specimen.

    Parameters
    ----------
    images : Tensor
        ``(..., X, Y)``, on a grid finer than their detail: by cubic splines.
    pixel : (float, float)
        As the scan states it [Å]; the regular grid has the same.
    matrix : ndarray
        As for :func:`correct_scan`.

    Returns
    -------
    Tensor
        ``(..., X', Y')``: the largest upright rectangle around the middle that the scan
        covered completely.

    Raises
    ------
    ValueError
        If the matrix is not 2 × 2, finite and invertible.
    """
    nx, ny = images.shape[-2:]
    inverse = np.abs(np.linalg.inv(_invertible(matrix)))
    half_sides = np.array([(nx - 1) * pixel[0], (ny - 1) * pixel[1]]) / 2
    # Half sides (w, h) fit if |D⁻¹|·(w, h) stays within the room; the area is largest at the rim.
    half_width = np.linspace(0, float((half_sides / np.maximum(inverse[:, 0], 1e-12)).min()), 2001)
    height_room = half_sides[:, None] - inverse[:, :1] * half_width
    unbounded = np.full_like(height_room, np.inf)
    half_height = np.divide(
        height_room, inverse[:, 1:], out=unbounded, where=inverse[:, 1:] > 1e-12
    ).min(0)
    best = int((half_width * half_height).argmax())
    shape = (
        int(2 * half_width[best] / pixel[0] + 1e-9) + 1,
        int(2 * half_height[best] / pixel[1] + 1e-9) + 1,
    )
    return _interpolated(images, _stated(shape, (nx, ny), pixel, matrix), 3)


def _invertible(matrix: ArrayLike) -> NDArray[np.float64]:
    checked = np.asarray(matrix, dtype=np.float64)
    if (
        checked.shape != (2, 2)
        or not np.isfinite(checked).all()
        or abs(np.linalg.det(checked)) < 1e-6
    ):
        raise ValueError(f"matrix is {checked.tolist()}; expected an invertible 2 × 2 matrix")
    return checked


def _stated(
    shape: tuple[int, int], source: tuple[int, int], step: tuple[float, float], matrix: ArrayLike
) -> NDArray[np.float64]:
    """Index on a scan of every point of a regular grid around its middle ``(2, X, Y)``."""
    x, y = scan_positions(shape)
    regular_positions = np.stack(np.broadcast_arrays(x * step[0], y * step[1]))
    stated = np.einsum("ab,bxy->axy", np.linalg.inv(_invertible(matrix)), regular_positions)
    return np.stack([s / d + (n - 1) / 2 for s, d, n in zip(stated, step, source, strict=True)])


def _interpolated(images: Tensor, at: NDArray[np.float64], order: int) -> Tensor:
    """Values of images between their pixels; beyond the edge, the value at the edge."""
    flat = images.reshape(-1, *images.shape[-2:]).detach().cpu().numpy()
    resampled = np.stack(
        [map_coordinates(image, at, order=order, mode="nearest") for image in flat]
    )
    return torch.from_numpy(resampled).reshape(*images.shape[:-2], *at.shape[1:]).to(images)
