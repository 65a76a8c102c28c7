"""What the paper's released code simulates, as functions to set beside the true-scale case.

Read in the repository ZifeiWang0313/4D-MISR; each point is executed here, none is copied.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import abtem
import numpy as np
import torch
from numpy.typing import NDArray

from misr4d.core import optics
from misr4d.core.acquisition import Acquisition
from misr4d.core.datacube import Datacube
from misr4d.core.dose import electrons_per_probe
from misr4d.simulate.multislice import make_probe, repeatable, simulate_datacube
from misr4d.specimens.potential import Potential

__all__ = [
    "CarriedProbe",
    "areal_dose",
    "carried_probe",
    "count_per_pattern",
    "magnified",
    "scan_with_cut_probe",
]


def areal_dose(electrons: float, acquisition: Acquisition) -> float:
    """Dose [e⁻/Å²] of a scan that puts `electrons` on each probe position."""
    return electrons / electrons_per_probe(1.0, acquisition)


def count_per_pattern(cube: Datacube, electrons: float, generator: np.random.Generator) -> Datacube:
    """Count electrons as the released code does: each pattern scaled to sum 1, then Poisson.

    Parameters
    ----------
    cube : Datacube
        Patterns at infinite dose.
    electrons : float
        What that code calls dose: expected electrons **per probe position**, whatever the step.
    generator : numpy.random.Generator

    Returns
    -------
    Datacube
        Counts over `electrons`.

    Raises
    ------
    ValueError
        If `electrons` is not positive and finite, or a pattern is empty.
    """
    if not (math.isfinite(electrons) and electrons > 0):
        raise ValueError(f"electrons is {electrons!r}; expected a positive number per position")
    total = cube.patterns.sum((2, 3), keepdims=True)
    if (total <= 0).any():
        raise ValueError("a pattern is empty and cannot be scaled to sum 1")
    counts = generator.poisson(cube.patterns / total * electrons)
    scaled = (counts / electrons).astype(np.float32)
    return Datacube(scaled, cube.step, cube.detector_pixel)


def magnified(potential: Potential, factor: float = 10.0) -> Potential:
    """Declare a potential's pixels to be `factor` times larger, thickness and values as they are.

    The released crystal script samples the potential at 0.1 Å and declares 1 Å: a factor of 10.
    """
    if not (math.isfinite(factor) and factor > 0):
        raise ValueError(f"factor is {factor!r}; expected a positive number")
    return replace(potential, cell=(potential.cell[0] * factor, potential.cell[1] * factor))


@dataclass(frozen=True)
class CarriedProbe:
    """What is left of a probe after abTEM's first slice of vacuum.

    Parameters
    ----------
    share : float
        Fraction of the electrons that are left.
    angle : float
        Largest angle that carries more than a hundredth of the brightest one [mrad].
    intensity : ndarray
        Probe in focus, centred and interpolated ``(X, Y)`` [Å⁻²].
    sampling : float
        Its pixel [Å].
    """

    share: float
    angle: float
    intensity: NDArray[np.float64]
    sampling: float


def carried_probe(
    sampling: float, acquisition: Acquisition, *, extent: float = 160.0
) -> CarriedProbe:
    """Send abTEM's focused probe through two slices of vacuum on a grid of the given sampling.

    Parameters
    ----------
    sampling : float
        Of the wave field [Å].
    acquisition : Acquisition
        Gives energy and semi-angle; its defocus is left out.
    extent : float
        Side of the cell [Å].
    """
    n = round(extent / sampling)
    empty = Potential(torch.zeros(2, n, n), (extent, extent), (2.0, 2.0))
    probe = make_probe(empty, replace(acquisition, defocus=0.0))
    array = abtem.PotentialArray(empty.slices.numpy(), empty.thicknesses, extent=(extent, extent))
    with repeatable():
        exit_wave = probe.multislice(array, lazy=False)
        assert isinstance(exit_wave, abtem.Waves)
        pattern = exit_wave.diffraction_patterns(max_angle=None)
    values = np.asarray(pattern.array, dtype=float).squeeze()
    axis = (np.arange(n) - n // 2) * pattern.angular_sampling[0]
    radius = np.hypot(axis[:, None], axis[None, :])
    lit = values > 0.01 * values.max()
    # A grid as fine as the wave allows shows the probe itself, not the straight lines between.
    refined = 6 * math.ceil(sampling) * n
    spectrum = torch.fft.fft2(torch.from_numpy(np.asarray(exit_wave.array).squeeze()))
    wave = torch.fft.ifft2(optics.resize_spectrum(spectrum, (refined, refined)), norm="forward")
    image: NDArray[np.float64] = (wave.abs() ** 2).double().numpy()
    peak = np.unravel_index(int(image.argmax()), image.shape)
    image = np.roll(image, (refined // 2 - int(peak[0]), refined // 2 - int(peak[1])), (0, 1))
    pixel = extent / refined
    carried = float(values.sum())
    image *= carried / (image.sum() * pixel**2)
    angle = float(radius[lit].max())
    return CarriedProbe(carried, angle, image, pixel)


def scan_with_cut_probe(potential: Potential, acquisition: Acquisition) -> Datacube:
    """Scan with abTEM on a grid that cuts the probe, padded with what was cut: zeros.

    Parameters
    ----------
    potential : Potential
        Sampled so coarsely that ``acquisition.check_wave_sampling`` refuses it.
    acquisition : Acquisition

    Returns
    -------
    Datacube
        Patterns out to the whole bright-field disc.
    """
    cube = simulate_datacube(potential, acquisition, cut_probe=True)
    widths = [
        max(0, math.ceil(1.2 * acquisition.semiangle / pixel) - n // 2)
        for n, pixel in zip(cube.patterns.shape[2:], cube.detector_pixel, strict=True)
    ]
    padding = ((0, 0), (0, 0), (widths[0], widths[0]), (widths[1], widths[1]))
    return Datacube(np.pad(cube.patterns, padding), cube.step, cube.detector_pixel)
