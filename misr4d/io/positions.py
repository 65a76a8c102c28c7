"""Measured scan positions: used as step and shear if they are a regular grid, refused if not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from misr4d.io.layout import Layout
from misr4d.io.scan import one_line

__all__ = ["Grid", "fit_grid", "read_positions", "with_positions"]

# Our choice: a position that is wrong by less than this part of a step is where it should be.
_REGULAR = 0.1


@dataclass(frozen=True)
class Grid:
    """A regular grid of scan positions, turned and sheared.

    Parameters
    ----------
    step : (float, float)
        Between positions along (Rx, Ry) [Å].
    drift : (float, float)
        How far a line lies from where it should, beyond the one before [Å a line].
    turn : float
        Angle of the lines against the axes of the positions [degrees].
    """

    step: tuple[float, float]
    drift: tuple[float, float]
    turn: float


def read_positions(path: str | Path) -> NDArray[np.float64]:
    """Read positions [Å] ``(N, 2)`` or ``(Rx, Ry, 2)`` from ``.npy``, or a text of two columns.

    Raises
    ------
    ValueError
        If the file cannot be read as that.
    """
    path = Path(path)
    try:
        if path.suffix.lower() == ".npy":
            return np.asarray(np.load(path, allow_pickle=False), dtype=np.float64)
        lines = path.read_text(encoding="utf-8").replace(",", " ").splitlines()
        return np.loadtxt(lines, ndmin=2)
    except Exception as error:  # NumPy raises whatever it likes
        raise ValueError(
            f"--positions {path} cannot be read: {one_line(error)}; expected .npy or a text of "
            "two columns, in Å"
        ) from None


def with_positions(
    positions: str | Path | ArrayLike, frames: Any, layout: Layout, given: Mapping[str, Any]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Add step and drift of measured positions to what the user gives.

    Returns
    -------
    given : dict
    notes : tuple of str
        How the grid is turned, if it is.

    Raises
    ------
    ValueError
        If the step or the drift is given too, or as :func:`fit_grid`.
    """
    twice = [n for n in ("step", "drift") if given.get(n) is not None]
    if twice:
        raise ValueError(f"--positions gives the {twice[0]} too; leave --{twice[0]} out")
    whole, _ = replace(layout, scan_crop=None).arrange(frames)
    measured = read_positions(positions) if isinstance(positions, str | Path) else positions
    grid = fit_grid(measured, (whole.shape[0], whole.shape[1]))
    added = {**given, "step": grid.step, "drift": grid.drift}
    if abs(grid.turn) < 0.5:
        return added, ()
    note = (
        f"the scan is turned by {grid.turn:.1f}° against the axes of the measured positions: the "
        "image and all angles are those of the scan"
    )
    return added, (note,)


def fit_grid(positions: ArrayLike, scan_shape: tuple[int, int]) -> Grid:
    """Fit a regular grid to measured positions.

    Parameters
    ----------
    positions : array
        ``(N, 2)`` or ``(Rx, Ry, 2)`` in the order of the scan [Å], along (Rx, Ry), or (Ry, Rx) if
        only that makes a grid that is not mirrored.
    scan_shape : (int, int)

    Raises
    ------
    ValueError
        If there is not one for each scan position, or they are no regular grid.
    """
    measured: NDArray[np.float64] = np.asarray(positions, dtype=np.float64)
    nx, ny = scan_shape
    if measured.size != nx * ny * 2 or measured.shape[-1] != 2 or not np.isfinite(measured).all():
        raise ValueError(
            f"positions have shape {measured.shape}; expected two finite numbers, in Å, for each "
            f"of {nx} × {ny} scan positions"
        )
    measured = measured.reshape(nx, ny, 2)
    i, j = np.meshgrid(np.arange(nx), np.arange(ny), indexing="ij")
    design: Any = np.column_stack([np.ones(nx * ny), i.ravel(), j.ravel()])
    fit = np.linalg.lstsq(design, measured.reshape(-1, 2), rcond=None)[0]
    misfit = float(np.abs(design @ fit - measured.reshape(-1, 2)).max())
    line, place = fit[1], fit[2]
    if line[0] * place[1] - line[1] * place[0] < 0:  # columns are (Ry, Rx)
        line, place = line[::-1], place[::-1]
    spacing = min(math.hypot(*line), math.hypot(*place))
    if not misfit < _REGULAR * spacing:
        to_and_fro = measured.copy()
        to_and_fro[1::2] = to_and_fro[1::2, ::-1]
        turned_back = np.linalg.lstsq(design, to_and_fro.reshape(-1, 2), rcond=None)[0]
        apart = float(np.abs(design @ turned_back - to_and_fro.reshape(-1, 2)).max())
        if apart < _REGULAR * min(math.hypot(*turned_back[1]), math.hypot(*turned_back[2])):
            raise ValueError(
                "the measured positions run to and fro, every other line backwards, and patterns "
                "are taken line by line in one direction: reverse every other line of both, as "
                "patterns[1::2] = patterns[1::2, ::-1] of an array (Rx, Ry, Qx, Qy) does"
            )
        raise ValueError(
            f"the measured positions are no regular grid: one lies {misfit:.3g} Å from where it "
            f"should, and the step is {spacing:.3g} Å; expected less than {_REGULAR:g} of a step. "
            "Resample the scan to a regular grid, or use ptychography that takes any positions"
        )
    turn = math.atan2(-place[0], place[1])
    turned = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    across, shear = (turned @ line).tolist()
    # A drift goes on along a line: the last of its positions lies where the next line's does.
    step = (float(across), float(math.hypot(*place) - shear / ny))
    return Grid(step, (0.0, float(shear)), math.degrees(turn))
