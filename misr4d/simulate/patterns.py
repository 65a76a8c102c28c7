"""Diffraction patterns by small windows: each probe position uses only the specimen around it.

abTEM propagates every probe over the whole cell. A defocused probe is far narrower than that, so a
window around it holds the same wave, and the cost falls with the window's area. The detector pixel
is then λ/window, which must stay finer than the inverse of the probe's width.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from misr4d.core import optics
from misr4d.core.acquisition import Acquisition
from misr4d.core.datacube import Datacube
from misr4d.specimens.potential import Potential

__all__ = ["WINDOW", "camera_pixel", "simulate_patterns", "smallest_window"]

WINDOW = 48.0
"""Side of the window [Å]: our choice, which holds the probes of both regimes."""


def camera_pixel(wavelength: float) -> float:
    """Side of the study's detector pixel [mrad]: 3·λ/window, about 1.23 mrad."""
    return 3 * wavelength / WINDOW * 1e3


def smallest_window(acquisition: Acquisition, thickness: float = 0.0) -> float:
    """Smallest side of a window that holds the probe and its scattering to 2α [Å].

    It is the sum of the geometric width of the defocused probe at either surface, the width to
    which waves of up to 2α spread within the specimen, and the probe's main diffraction rings.
    """
    alpha = acquisition.semiangle * 1e-3
    defocus = max(abs(acquisition.defocus), abs(acquisition.defocus - thickness))
    defocus += math.hypot(*acquisition.astigmatism)
    rings = 6 * acquisition.information_limit
    return 2 * alpha * (defocus + thickness) + 2 * rings


def simulate_patterns(
    potential: Potential,
    acquisition: Acquisition,
    *,
    window: float = WINDOW,
    max_angle: float | None = None,
    positions: NDArray[np.float64] | None = None,
    axis: tuple[float, float] = (0.0, 0.0),
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
    positions : ndarray, optional
        Position of the probe in the cell, ``(Rx, Ry, 2)`` [Å], such as those of a scan that
        drifts or is turned; they need not fall on pixels. By default the regular scan from the
        cell's corner.
    axis : (float, float)
        Where the optical axis meets the detector, counted from the middle of pixel
        (Qx // 2, Qy // 2) [pixels].
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
        the probe, step or window is not a whole number of pixels, or the number of given
        positions is not that of the scan.
    """
    acquisition.check_wave_sampling(potential.sampling)
    nx, ny = acquisition.scan_shape
    if positions is None:
        potential.check_scan(acquisition)
    elif positions.shape != (nx, ny, 2) or not np.isfinite(positions).all():
        raise ValueError(
            f"positions have shape {positions.shape} or are not finite; expected {(nx, ny, 2)}, "
            "one for each of the scan"
        )
    smallest = smallest_window(acquisition, potential.thickness)
    if window < smallest:
        raise ValueError(
            f"a window of {window:g} Å cuts the probe, which needs {smallest:.0f} Å at a defocus "
            f"of {acquisition.defocus:g} Å through {potential.thickness:.0f} Å; take a larger "
            "window"
        )
    shape: list[int] = []
    step_pixels: list[int] = []
    for side, pixel in enumerate(potential.sampling):
        for label, length, pixels_per_side in (
            ("window", window, shape),
            ("step", acquisition.step[side], step_pixels),
        ):
            count = round(length / pixel)
            fractional = abs(count * pixel - length) > 1e-4 * pixel
            if fractional and (pixels_per_side is shape or positions is None):
                raise ValueError(
                    f"{label} {length:g} Å is {length / pixel:.3f} pixels of {pixel:.4f} Å along "
                    f"axis {side}; expected a whole number: change the potential's sampling"
                )
            pixels_per_side.append(count)
        if shape[side] > potential.slices.shape[side + 1]:
            raise ValueError(
                f"a window of {window:g} Å is wider than the cell of {potential.cell[side]:g} Å"
            )
    lam = acquisition.wavelength
    grid = (potential.slices.shape[1], potential.slices.shape[2])
    gx, gy = optics.frequencies(grid, potential.sampling, device=device)
    full_band = optics.antialias_aperture(gx**2 + gy**2, potential.sampling)
    sigma = optics.interaction_parameter(acquisition.energy)
    transmission = []
    for slice_potential in potential.slices:
        slice_transmission = torch.exp(
            1j * sigma * slice_potential.to(device=device, dtype=torch.float32)
        )
        slice_transmission = torch.fft.ifft2(
            torch.fft.fft2(slice_transmission) * full_band.to(torch.float32)
        )
        for side, n in enumerate(shape):  # repeated, so that every window is one block
            slice_transmission = torch.cat(
                [slice_transmission, slice_transmission.narrow(side, 0, n)], side
            )
        transmission.append(slice_transmission)

    size = (shape[0], shape[1])
    qx, qy = optics.frequencies(size, potential.sampling, device=device)
    k2 = qx**2 + qy**2
    pupil = optics.aperture(k2, lam, acquisition.semiangle)
    lens = torch.polar(pupil, -acquisition.chi(qx, qy)) / pupil.sum().sqrt()

    def make_probe(spectrum: Tensor) -> Tensor:
        wave = torch.fft.fftshift(torch.fft.ifft2(spectrum), dim=(-2, -1))
        normalized: Tensor = (wave * math.sqrt(size[0] * size[1])).to(torch.complex64)
        return normalized

    probe = make_probe(lens)
    band = optics.antialias_aperture(k2, potential.sampling)
    kernels = {
        dz: torch.polar(band, -math.pi * lam * dz * k2).to(torch.complex64)
        for dz in set(potential.thicknesses)
    }

    reach = [_reach(lam, window, n, acquisition, max_angle) for n in size]
    patterns = np.empty((nx * ny, 2 * reach[0] + 1, 2 * reach[1] + 1), dtype=np.float32)
    half_window = torch.tensor([n // 2 for n in size])
    recorded_pixels = [
        torch.arange(-r, r + 1, device=device) % n for r, n in zip(reach, size, strict=True)
    ]
    if positions is None:
        position = torch.cartesian_prod(
            torch.arange(nx) * step_pixels[0], torch.arange(ny) * step_pixels[1]
        )
    else:
        exact_position = torch.from_numpy(positions.reshape(-1, 2) / np.array(potential.sampling))
        position = exact_position.round().long()
    # The far field of a wave times exp(2πi·f·n/N) is that of the wave, f pixels further on.
    axis_ramps = [
        torch.polar(torch.ones(n, device=device), 2 * math.pi * f / n * torch.arange(n))
        for f, n in zip(axis, size, strict=True)
    ]
    for start in range(0, nx * ny, batch):
        centre = position[start : start + batch].to(device)
        if positions is not None:  # the probe is off the pixel by the rounding error
            offset = (exact_position[start : start + batch].to(device) - centre) * torch.tensor(
                potential.sampling, dtype=torch.float64, device=device
            )
            ramp = offset[:, 0, None, None] * qx + offset[:, 1, None, None] * qy
            probe = make_probe(lens * torch.polar(torch.ones_like(ramp), -2 * math.pi * ramp))
        corners = ((centre.cpu() - half_window) % torch.tensor(grid)).tolist()
        wave = probe
        for index, slice_transmission in enumerate(transmission):
            wave = wave * torch.stack(
                [slice_transmission[x : x + size[0], y : y + size[1]] for x, y in corners]
            )
            if index == len(transmission) - 1 and any(axis):
                wave = wave * (axis_ramps[0][:, None] * axis_ramps[1])
            wave = torch.fft.fft2(wave)
            if index < len(transmission) - 1:
                wave = torch.fft.ifft2(wave * kernels[potential.thicknesses[index]])
        recorded = wave[:, recorded_pixels[0][:, None], recorded_pixels[1][None, :]]
        intensity = recorded.real**2 + recorded.imag**2
        patterns[start : start + batch] = (intensity / (size[0] * size[1])).cpu().numpy()
    pixel = lam / window * 1e3
    return Datacube(patterns.reshape(nx, ny, *patterns.shape[1:]), acquisition.step, (pixel, pixel))


def _reach(
    wavelength: float, window: float, size: int, acquisition: Acquisition, max_angle: float | None
) -> int:
    """Count the recorded detector pixels on either side of the axis."""
    largest_angle = 2 * acquisition.semiangle if max_angle is None else max_angle
    carried_angle = optics.wave_sampling_limit(window / size, wavelength)
    return math.floor(min(largest_angle, carried_angle) * 1e-3 * window / wavelength)
