"""Slices of projected potential of a specimen, and the true phase."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy import constants
from torch import Tensor

from misr4d.core import optics
from misr4d.core.acquisition import Acquisition

__all__ = ["Potential", "Thermal", "project_atoms", "rms_displacement", "truth"]


Thermal = float | Mapping[str, float]
"""Root-mean-square displacement u along one axis [Å], of all atoms or by chemical symbol.

The time average of the projected potential is each atom's times exp(−2π²u²q²), the Debye–Waller
factor with B = 8π²u². This is the mean phase of a thin specimen. Inelastic and thermal diffuse
scattering are left out.
"""


def rms_displacement(number: int, thermal: Thermal) -> float:
    """Look up an element's thermal displacement [Å].

    Raises
    ------
    ValueError
        If the element is not named, or the displacement is negative or not finite.
    """
    from ase.data import chemical_symbols

    symbol = chemical_symbols[number]
    if isinstance(thermal, Mapping):
        if symbol not in thermal:
            raise ValueError(
                f"thermal names {', '.join(thermal)} and the specimen holds {symbol}; expected a "
                "displacement in Å for each of its elements, or one number for all"
            )
        value = float(thermal[symbol])
    else:
        value = float(thermal)
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(
            f"the thermal displacement of {symbol} is {value!r} Å; expected 0 or a positive number"
        )
    return value


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
            If a side of the cell is not a whole number of steps, the scan leaves the cell, or it
            drifts over the specimen.
        """
        if acquisition.drifts:
            raise ValueError(
                f"the scan drifts over the specimen, by {acquisition.scan_matrix}; expected one on "
                "a regular grid: simulate patterns at given positions instead"
            )
        steps = []
        for axis, (side, step, n) in enumerate(
            zip(self.cell, acquisition.step, acquisition.scan_shape, strict=True)
        ):
            count = round(side / step)
            if abs(count * step - side) > 1e-4 * step or count < n:
                raise ValueError(
                    f"the potential's cell is {side:g} Å along axis {axis} and the scan takes {n} "
                    f"steps of {step:g} Å; expected a cell of a whole number of steps, {n} or more"
                )
            steps.append(count)
        return steps[0], steps[1]


@cache
def _scattering_parameters(number: int) -> Tensor:
    """Lobato's a [Å] and b [Å²] of an element ``(2, 5)``, from the table that abTEM ships."""
    from abtem.parametrizations import LobatoParametrization
    from ase.data import chemical_symbols

    table = LobatoParametrization().parameters
    symbol = chemical_symbols[number]
    if symbol not in table:
        raise ValueError(f"element {symbol} (Z = {number}) has no scattering factor in the table")
    return torch.tensor(np.asarray(table[symbol]), dtype=torch.float64)


def _projected_factor(number: int, k2: Tensor) -> Tensor:
    """Fourier transform of an atom's projected potential at squared frequencies [V·Å³]."""
    # h²/2πme, which turns a scattering factor in Å into V·Å³.
    scale = constants.h**2 / (2 * math.pi * constants.m_e * constants.e) * 1e20
    factor = torch.zeros_like(k2)
    for a, b in _scattering_parameters(number).T.tolist():
        factor += scale * a * (2 + b * k2) / (1 + b * k2) ** 2
    return factor


def _phases(q: Tensor, x: Tensor) -> Tensor:
    """Phase factors exp(−2πi·q·x) ``(len(q), len(x))``, complex64, their angle taken in float64."""
    turns = torch.remainder(q[:, None] * x, 1.0)
    angle = (-2 * math.pi * turns).float()
    return torch.polar(torch.ones_like(angle), angle)


def project_atoms(
    numbers: ArrayLike,
    positions: ArrayLike,
    cell: tuple[float, float],
    shape: tuple[int, int],
    thicknesses: Sequence[float],
    *,
    thermal: Thermal = 0.0,
    device: torch.device | str = "cpu",
) -> Potential:
    """Project atoms onto slices in torch: the same potential as abTEM's, fast, on any device.

    The whole atom enters the slice that holds its nucleus. Its position enters as an exact phase,
    where abTEM interpolates between pixels.

    Parameters
    ----------
    numbers : array_like
        Atomic numbers ``(n,)``.
    positions : array_like
        ``(n, 3)`` [Å], entrance surface at z = 0; x and y are periodic.
    cell : (float, float)
        Lateral size [Å].
    shape : (int, int)
        Grid points.
    thicknesses : sequence of float
        Of the slices [Å], entrance surface first.
    thermal : float or mapping
        Of :data:`Thermal`; by default the atoms do not vibrate.
    device : torch.device or str
        Where to compute.

    Returns
    -------
    Potential

    Raises
    ------
    ValueError
        If an atom lies above or below the slices, or an element has no scattering factor or no
        valid displacement.

    References
    ----------
    Lobato & Van Dyck, Acta Cryst. A70, 636 (2014), for the scattering factors.
    """
    atomic_numbers = np.asarray(numbers)
    coordinates = torch.as_tensor(np.asarray(positions, dtype=float), device=device)
    total_thickness = float(sum(thicknesses))
    if len(atomic_numbers) and not (
        float(coordinates[:, 2].min()) >= 0 and float(coordinates[:, 2].max()) <= total_thickness
    ):
        raise ValueError(
            f"atoms lie from {float(coordinates[:, 2].min()):.2f} to "
            f"{float(coordinates[:, 2].max()):.2f} Å and the slices from 0 to "
            f"{total_thickness:.2f} Å; expected the atoms inside"
        )
    sampling = (cell[0] / shape[0], cell[1] / shape[1])
    qx, qy = optics.frequencies(shape, sampling, device=device)
    k2 = qx**2 + qy**2
    edges = torch.tensor(np.cumsum(thicknesses)[:-1], device=device)
    slice_index = torch.bucketize(coordinates[:, 2].contiguous(), edges, right=True)
    half = shape[1] // 2 + 1  # the other half of a real image's spectrum is redundant
    spectrum = torch.zeros((len(thicknesses), shape[0], half), dtype=torch.complex64, device=device)
    for number in sorted(set(atomic_numbers.tolist())):
        factor = _projected_factor(number, k2[:, :half]) / (sampling[0] * sampling[1])
        factor *= optics.gaussian_transfer(k2[:, :half], rms_displacement(number, thermal))
        of_element = torch.as_tensor(atomic_numbers == number, device=device)
        for index in sorted(set(slice_index[of_element].tolist())):
            x, y = coordinates[of_element & (slice_index == index), :2].T
            # Σ exp(−2πi q·r) over atoms is a matrix product, because the phase factors into axes.
            along_x, along_y = _phases(qx[:, 0], x), _phases(qy[0, :half], y)
            spectrum[index] += (along_x @ along_y.T) * factor
    slices = torch.fft.irfft2(spectrum, s=shape)
    return Potential(
        slices,
        (float(cell[0]), float(cell[1])),
        tuple(float(slice_thickness) for slice_thickness in thicknesses),
    )


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
    band_limited = torch.fft.ifft2(torch.fft.fft2(phase) * band.to(phase.device)).real
    resampled = optics.fourier_resample(
        band_limited, (upsampling * steps[0], upsampling * steps[1])
    )
    nx, ny = acquisition.output_shape(upsampling)
    return resampled[:nx, :ny].float()
