"""The specimen as the electron sees it: slices of projected potential, and the true phase."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from misr4d import optics
from misr4d.acquisition import Acquisition

__all__ = ["Potential", "truth"]


@dataclass(frozen=True)
class Potential:
    """Slices of projected potential over a laterally periodic cell, entrance surface first.

    Parameters
    ----------
    slices : Tensor
        Projected potential of each slice ``(n, X, Y)`` [V·Å].
    cell : (float, float)
        Lateral size of the cell [Å].
    thicknesses : tuple of float
        Thickness of each slice [Å], n of them.
    """

    slices: Tensor
    cell: tuple[float, float]
    thicknesses: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.slices.ndim != 3 or len(self.slices) != len(self.thicknesses):
            raise ValueError(
                f"slices have shape {tuple(self.slices.shape)} and {len(self.thicknesses)} "
                "thicknesses were given; expected (n, X, Y) and n thicknesses"
            )

    @property
    def sampling(self) -> tuple[float, float]:
        """Lateral sampling [Å]."""
        return self.cell[0] / self.slices.shape[1], self.cell[1] / self.slices.shape[2]

    @property
    def thickness(self) -> float:
        """Total thickness [Å]."""
        return sum(self.thicknesses)

    def check_scan(self, acquisition: Acquisition) -> tuple[int, int]:
        """Whole number of scan steps that fit the cell along (Rx, Ry).

        Raises
        ------
        ValueError
            If a side of the cell is not a whole number of steps, or the scan leaves the cell.
        """
        fit = []
        for axis, (side, step, n) in enumerate(
            zip(self.cell, acquisition.step, acquisition.scan_shape, strict=True)
        ):
            count = round(side / step)
            if abs(count * step - side) > 1e-4 * step or count < n:
                raise ValueError(
                    f"the potential's cell is {side:g} Å along axis {axis} and the scan takes {n} "
                    f"steps of {step:g} Å; expected a cell of a whole number of steps, {n} or more"
                )
            fit.append(count)
        return fit[0], fit[1]


def truth(potential: Potential, acquisition: Acquisition, upsampling: int = 3) -> Tensor:
    """Projected phase σ·∫V dz, band-limited to 2α, on the grid of the super-resolved image.

    Parameters
    ----------
    potential : Potential
    acquisition : Acquisition
        Gives energy, semi-angle and scan.
    upsampling : int
        Output pixels per scan step.

    Returns
    -------
    Tensor
        ``(upsampling·Rx, upsampling·Ry)`` [rad], float32.
    """
    steps = potential.check_scan(acquisition)
    phase = potential.slices.double().sum(0) * optics.interaction_parameter(acquisition.energy)
    kx, ky = optics.frequencies((phase.shape[0], phase.shape[1]), potential.sampling)
    band = optics.aperture(kx**2 + ky**2, acquisition.wavelength, 2 * acquisition.semiangle)
    limited = torch.fft.ifft2(torch.fft.fft2(phase) * band.to(phase.device)).real
    fine = optics.fourier_resample(limited, (upsampling * steps[0], upsampling * steps[1]))
    nx, ny = acquisition.output_shape(upsampling)
    return fine[:nx, :ny].float()
