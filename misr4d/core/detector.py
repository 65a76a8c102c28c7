"""How detector and specimen lie in the scan: exact, because only frequencies turn and shear.

A detector pixel at k_det sees the frequency k_scan = R(θ)·T·k_det of the specimen, where T swaps
the two detector axes if the detector is transposed, and R(θ) turns by θ from Rx towards Ry. This is
py4DSTEM's convention for ``force_com_rotation`` and ``force_com_transpose``. No count is
interpolated: the views stay what the pixels recorded, and every method learns where they looked.

A specimen that drifts steadily is scanned on a sheared and stretched grid: the position x as stated
is D·x on the specimen, so that the frequency q of the scan as stated is D⁻ᵀ·q there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import cached_property

import torch
from torch import Tensor

from misr4d.core.acquisition import Acquisition

__all__ = ["STRAIGHT", "Matrix", "TurnedAcquisition", "detector_axes", "detector_index"]


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


@dataclass(frozen=True)
class TurnedAcquisition(Acquisition):
    """A measurement whose detector is turned against the scan, or whose specimen drifts under it.

    Its view frequencies are those along the scan's axes, one for each detector pixel as recorded,
    so that it can stand wherever an :class:`~misr4d.core.acquisition.Acquisition` can.

    Parameters
    ----------
    rotation : float
        θ [deg], positive from Rx towards Ry.
    transposed : bool
        Whether the detector's axes are swapped, before the rotation.
    scan_matrix : ((float, float), (float, float))
        D, from a position as stated to where the probe was on the specimen, both from the middle
        of the scan; of a steady drift by :func:`misr4d.calibrate.drift.drift_matrix`.

    Raises
    ------
    ValueError
        If the rotation is not finite, or the matrix not invertible.
    """

    rotation: float = 0.0
    transposed: bool = False
    scan_matrix: Matrix = STRAIGHT

    def __post_init__(self) -> None:
        super().__post_init__()
        if not math.isfinite(self.rotation):
            raise ValueError(f"rotation is {self.rotation!r}°; expected a finite number of degrees")
        (a, b), (c, d) = self.scan_matrix
        if not abs(a * d - b * c) > 1e-6:
            raise ValueError(
                f"scan_matrix is {self.scan_matrix!r}; expected an invertible 2 × 2 matrix"
            )

    @classmethod
    def of(
        cls,
        acquisition: Acquisition,
        rotation: float,
        transposed: bool = False,
        scan_matrix: Matrix = STRAIGHT,
    ) -> TurnedAcquisition:
        """Return the same measurement with detector and scan lying so in all."""
        values = {f.name: getattr(acquisition, f.name) for f in fields(Acquisition)}
        return cls(**values, rotation=rotation, transposed=transposed, scan_matrix=scan_matrix)

    @property
    def drifts(self) -> bool:
        """Whether the scan on the specimen is not the one that is stated."""
        return self.scan_matrix != STRAIGHT

    @cached_property
    def _scan(self) -> Tensor:
        return torch.tensor(self.scan_matrix, dtype=torch.float64)

    def specimen_frequencies(self, qx: Tensor, qy: Tensor) -> tuple[Tensor, Tensor]:
        """Frequencies on the specimen of those along the scan as stated, D⁻ᵀ·q [Å⁻¹].

        Parameters
        ----------
        qx, qy : Tensor
            That broadcast to one shape; a straight scan gives them back.
        """
        if not self.drifts:
            return qx, qy
        (a, b), (c, d) = torch.linalg.inv(self._scan).tolist()
        return a * qx + c * qy, b * qx + d * qy

    def scan_frequencies(self, k: Tensor) -> Tensor:
        """Undo :meth:`specimen_frequencies` for frequencies ``(..., 2)``: Dᵀ·k."""
        return k @ self._scan.to(k)

    @property
    def registering_shifts(self) -> Tensor:
        """Shift along the scan as stated that registers each view, D⁻¹·λ·C₁₀·k ``(M, 2)`` [Å]."""
        shifts: Tensor = super().registering_shifts @ torch.linalg.inv(self._scan).T
        return shifts

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
