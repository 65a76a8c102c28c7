"""Orientation of detector and specimen in the scan. It is exact: only frequencies change.

A detector pixel at k_det sees the frequency k_scan = R(θ)·T·k_det of the specimen, where T swaps
the two detector axes if the detector is transposed, and R(θ) turns by θ from Rx towards Ry. This is
py4DSTEM's convention for ``force_com_rotation`` and ``force_com_transpose``. No count is
interpolated: the views stay as recorded, and every method receives their true frequencies.

A specimen that drifts steadily is scanned on a sheared and stretched grid: the stated position x
is D·x on the specimen, so that the frequency q of the stated scan is D⁻ᵀ·q on the specimen.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["STRAIGHT", "Matrix", "detector_axes"]


Matrix = tuple[tuple[float, float], tuple[float, float]]
STRAIGHT: Matrix = ((1.0, 0.0), (0.0, 1.0))
"""Matrix of a scan that does not drift."""


def detector_axes(rotation: float, transposed: bool) -> Tensor:
    """Matrix R(θ)·T that takes detector coordinates to scan coordinates ``(2, 2)``, orthogonal.

    Parameters
    ----------
    rotation : float
        θ [deg], positive from Rx towards Ry.
    transposed : bool
        Whether the detector's axes are swapped, before the rotation.
    """
    c, s = math.cos(math.radians(rotation)), math.sin(math.radians(rotation))
    turn = torch.tensor([[c, -s], [s, c]], dtype=torch.float64)
    return turn.flip(1) if transposed else turn
