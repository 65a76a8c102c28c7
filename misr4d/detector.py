"""How the detector lies in the scan: rotation and transpose, exact because only frequencies turn.

A detector pixel at k_det sees the frequency k_scan = R(θ)·T·k_det of the specimen, where T swaps
the two detector axes if the detector is transposed, and R(θ) turns by θ from Rx towards Ry. This is
py4DSTEM's convention for ``force_com_rotation`` and ``force_com_transpose``. No count is
interpolated: the views stay what the pixels recorded, and every method learns where they looked.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import cached_property

import torch
from torch import Tensor

from misr4d.acquisition import Acquisition

__all__ = ["TurnedAcquisition", "detector_axes", "detector_index"]


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


@dataclass(frozen=True)
class TurnedAcquisition(Acquisition):
    """A measurement whose detector is rotated, or transposed, against the scan.

    Its view frequencies are those along the scan's axes, one for each detector pixel as recorded,
    so that it can stand wherever an :class:`~misr4d.acquisition.Acquisition` can.

    Parameters
    ----------
    rotation : float
        θ [deg], positive from Rx towards Ry.
    transposed : bool
        Whether the detector's axes are swapped, before the rotation.

    Raises
    ------
    ValueError
        If the rotation is not finite.
    """

    rotation: float = 0.0
    transposed: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not math.isfinite(self.rotation):
            raise ValueError(f"rotation is {self.rotation!r}°; expected a finite number of degrees")

    @classmethod
    def of(
        cls, acquisition: Acquisition, rotation: float, transposed: bool = False
    ) -> TurnedAcquisition:
        """Return the same measurement with its detector turned by so much in all."""
        values = {f.name: getattr(acquisition, f.name) for f in fields(Acquisition)}
        return cls(**values, rotation=rotation, transposed=transposed)

    @property
    def axes(self) -> Tensor:
        """Matrix that takes detector coordinates to scan coordinates ``(2, 2)``."""
        return detector_axes(self.rotation, self.transposed)

    @cached_property
    def _pixels(self) -> tuple[Tensor, Tensor]:
        """Frequencies along the scan's axes of the samples of every pixel; the disc is round."""
        k, lit = super()._pixels
        return k @ self.axes.T, lit


def detector_index(acquisition: Acquisition) -> Tensor:
    """Detector pixel of each view, counted from the optical axis along (Qx, Qy) ``(M, 2)``."""
    angles = acquisition.view_angles
    if isinstance(acquisition, TurnedAcquisition):
        angles = angles @ acquisition.axes  # the axes are orthogonal: this is the inverse
    return torch.round(angles / acquisition.detector_pixel).long()
