"""Diffraction patterns by small windows: each probe position sees only the specimen around it.

abTEM propagates every probe over the whole cell. A defocused probe is far narrower than that, so a
window around it holds the same wave, and the cost falls with the window's area. The detector pixel
is then λ/window, which must stay finer than the inverse of the probe's width.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from misr4d import optics
from misr4d.acquisition import Acquisition
from misr4d.datacube import Datacube
from misr4d.potential import Potential

__all__ = ["WINDOW", "camera_pixel", "simulate_patterns", "smallest_window"]

WINDOW = 48.0
"""Side of the window [Å]: our choice, which holds the probes of both regimes."""


def camera_pixel(wavelength: float) -> float:
    """Side of the study's detector pixel [mrad], three of a window's λ/window: about 1.23 mrad."""
    return 3 * wavelength / WINDOW * 1e3


def smallest_window(acquisition: Acquisition, thickness: float = 0.0) -> float:
    """Smallest side of a window that holds the probe and its scattering to 2α [Å].

    Geometric width of the defocused probe at either surface, and the width that waves of up to 2α
    spread to within the specimen, with the main part of the probe's diffraction rings beside it.
    """
    alpha = acquisition.semiangle * 1e-3
    defocus = max(abs(acquisition.defocus), abs(acquisition.defocus - thickness))
    rings = 6 * acquisition.information_limit
    return 2 * alpha * (defocus + thickness) + 2 * rings


def simulate_patterns(
    potential: Potential,
    acquisition: Acquisition,
    *,
    window: float = WINDOW,
    max_angle: float | None = None,
    device: torch.device | str = "cpu",
    batch: int = 64,
) -> Datacube:
    """Simulate the full datacube by multislice in a window around each probe position.

    Parameters
    ----------
    potential : Potential
        Its cell is periodic; scan step and window are whole numbers of its pixels.
    acquisition : Acquisition
        Its detector is ignored: the pixels are λ/window.
    window : float
        Side of the window [Å].
    max_angle : float, optional
        Largest recorded angle along an axis [mrad]; default twice the semi-angle, capped by the
        wave field.
    device : torch.device or str
        Where to compute.
    batch : int
        Probe positions propagated at once.

    Returns
    -------
    Datacube
        Patterns are fractions of the incident electrons.

    Raises
    ------
    ValueError
        If the sampling cuts the probe, the cell does not fit the scan, the window does not hold
        the probe, or step or window is not a whole number of pixels.
    """
    acquisition.check_wave_sampling(potential.sampling)
    potential.check_scan(acquisition)
    least = smallest_window(acquisition, potential.thickness)
    if window < least:
        raise ValueError(
            f"a window of {window:g} Å cuts the probe, which needs {least:.0f} Å at a defocus of "
            f"{acquisition.defocus:g} Å through {potential.thickness:.0f} Å; take a larger window"
        )
    shape: list[int] = []
    hop: list[int] = []
    for axis, pixel in enumerate(potential.sampling):
        for label, length, into in (
            ("window", window, shape),
            ("step", acquisition.step[axis], hop),
        ):
            count = round(length / pixel)
            if abs(count * pixel - length) > 1e-4 * pixel:
                raise ValueError(
                    f"{label} {length:g} Å is {length / pixel:.3f} pixels of {pixel:.4f} Å along "
                    f"axis {axis}; expected a whole number: change the potential's sampling"
                )
            into.append(count)
        if shape[axis] > potential.slices.shape[axis + 1]:
            raise ValueError(
                f"a window of {window:g} Å is wider than the cell of {potential.cell[axis]:g} Å"
            )
    lam = acquisition.wavelength
    grid = (potential.slices.shape[1], potential.slices.shape[2])
    gx, gy = optics.frequencies(grid, potential.sampling, device=device)
    full_band = optics.antialias_aperture(gx**2 + gy**2, potential.sampling)
    sigma = optics.interaction_parameter(acquisition.energy)
    transmission = []
    for one in potential.slices:
        t = torch.exp(1j * sigma * one.to(device=device, dtype=torch.float32))
        transmission.append(torch.fft.ifft2(torch.fft.fft2(t) * full_band.to(torch.float32)))

    size = (shape[0], shape[1])
    qx, qy = optics.frequencies(size, potential.sampling, device=device)
    k2 = qx**2 + qy**2
    pupil = optics.aperture(k2, lam, acquisition.semiangle)
    probe = torch.polar(pupil, -optics.chi(k2, lam, acquisition.defocus))
    probe = torch.fft.fftshift(torch.fft.ifft2(probe / pupil.sum().sqrt()))
    probe = (probe * math.sqrt(size[0] * size[1])).to(torch.complex64)
    band = optics.antialias_aperture(k2, potential.sampling)
    kernels = {
        dz: torch.polar(band, -math.pi * lam * dz * k2).to(torch.complex64)
        for dz in set(potential.thicknesses)
    }

    reach = [_reach(lam, window, n, acquisition, max_angle) for n in size]
    nx, ny = acquisition.scan_shape
    patterns = np.empty((nx * ny, 2 * reach[0] + 1, 2 * reach[1] + 1), dtype=np.float32)
    local = [torch.arange(n, device=device) - n // 2 for n in size]
    keep = [torch.arange(-r, r + 1, device=device) % n for r, n in zip(reach, size, strict=True)]
    position = torch.cartesian_prod(torch.arange(nx) * hop[0], torch.arange(ny) * hop[1])
    for start in range(0, nx * ny, batch):
        centre = position[start : start + batch].to(device)
        ix = (centre[:, 0, None] + local[0]) % grid[0]
        iy = (centre[:, 1, None] + local[1]) % grid[1]
        wave = probe
        for index, t in enumerate(transmission):
            wave = wave * t[ix[:, :, None], iy[:, None, :]]
            wave = torch.fft.fft2(wave)
            if index < len(transmission) - 1:
                wave = torch.fft.ifft2(wave * kernels[potential.thicknesses[index]])
        kept = wave[:, keep[0][:, None], keep[1][None, :]]
        intensity = kept.real**2 + kept.imag**2
        patterns[start : start + batch] = (intensity / (size[0] * size[1])).cpu().numpy()
    pixel = lam / window * 1e3
    return Datacube(patterns.reshape(nx, ny, *patterns.shape[1:]), acquisition.step, (pixel, pixel))


def _reach(
    wavelength: float, window: float, size: int, acquisition: Acquisition, max_angle: float | None
) -> int:
    """Count the recorded detector pixels on either side of the axis."""
    wanted = 2 * acquisition.semiangle if max_angle is None else max_angle
    carried = optics.wave_sampling_limit(window / size, wavelength)
    return math.floor(min(wanted, carried) * 1e-3 * window / wavelength)
