"""Views by reciprocity: one tilted plane wave per detector pixel instead of one probe per position.

The amplitude that probe position R sends to detector pixel k is the image at R of a plane wave of
frequency −k that crosses the specimen backwards, seen through the probe's aperture and aberrations.
M plane waves therefore give every bright-field view of the whole field (Cowley 1969).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from misr4d import optics
from misr4d.acquisition import Acquisition
from misr4d.potential import Potential

__all__ = ["simulate_views"]


def simulate_views(
    potential: Potential,
    acquisition: Acquisition,
    *,
    source: float = 0.0,
    device: torch.device | str = "cpu",
    batch: int = 16,
) -> Tensor:
    """Simulate the bright-field views of a specimen at infinite dose by multislice.

    Parameters
    ----------
    potential : Potential
        Its cell is periodic and holds a whole number of scan steps.
    acquisition : Acquisition
    source : float
        Standard deviation of the effective source, a Gaussian, along one axis in the plane of the
        specimen [Å]: the incoherent sum over its points. By default it is a point.
    device : torch.device or str
        Where to compute.
    batch : int
        Plane waves propagated at once; memory grows with it.

    Returns
    -------
    Tensor
        ``(M, Rx, Ry)``, float32 on `device`, relative to a fully lit detector pixel in vacuum, in
        the order of ``acquisition.view_frequencies``.

    Raises
    ------
    ValueError
        If the potential's sampling cuts the probe, its cell does not fit the scan, or the source is
        negative or not finite.

    Notes
    -----
    The band limit is abTEM's, so that the two agree to rounding. The wave of frequency −k is
    carried as its periodic part u(r) = w(r)·exp(2πi k·r), which lets k lie off the grid.
    """
    acquisition.check_wave_sampling(potential.sampling)
    steps = potential.check_scan(acquisition)
    if not (math.isfinite(source) and source >= 0):
        raise ValueError(f"source is {source!r} Å; expected 0 or a positive number of Å")
    lam = acquisition.wavelength
    shape = (potential.slices.shape[1], potential.slices.shape[2])
    qx, qy = optics.frequencies(shape, potential.sampling, device=device)
    sigma = optics.interaction_parameter(acquisition.energy)
    band = optics.antialias_aperture(qx**2 + qy**2, potential.sampling).to(torch.float32)
    transmission = []
    for one in potential.slices:
        t = torch.exp(1j * sigma * one.to(device=device, dtype=torch.float32))
        transmission.append(torch.fft.ifft2(torch.fft.fft2(t) * band))

    # The image is band-limited to α around k, so it is formed on the smallest grid of whole scan
    # grids that holds 2α, and folded onto the scan: sampling in space is aliasing in frequency.
    reach = 2e-3 * acquisition.semiangle / lam
    folds = tuple(
        math.ceil((2 * reach * side + 3) / n) for side, n in zip(potential.cell, steps, strict=True)
    )
    image_shape = (folds[0] * steps[0], folds[1] * steps[1])
    px, py = optics.frequencies(
        image_shape,
        (potential.cell[0] / image_shape[0], potential.cell[1] / image_shape[1]),
        device=device,
    )

    samples = acquisition.view_samples
    flat = samples.reshape(-1, 2).to(device)
    images = torch.empty((len(flat), *acquisition.scan_shape), device=device)
    for start in range(0, len(flat), batch):
        kx, ky = flat[start : start + batch].T[..., None, None]
        u = _propagate(transmission, potential, (qx - kx, qy - ky), lam)
        spectrum = optics.resize_spectrum(torch.fft.fft2(u, norm="forward"), image_shape)
        p2 = (px - kx) ** 2 + (py - ky) ** 2
        pupil = optics.aperture(p2, lam, acquisition.semiangle).to(torch.complex64)
        phase = acquisition.chi(px - kx, py - ky).to(torch.float32)
        spectrum = spectrum * pupil * torch.exp(-1j * phase)
        folded = spectrum.reshape(-1, folds[0], steps[0], folds[1], steps[1]).sum((1, 3))
        nx, ny = acquisition.scan_shape
        if source:
            # Before sampling: frequencies above the scan's Nyquist fade by what they are, not by
            # what they alias to. The grid holds the intensity, whose band is 2α too.
            fine = torch.fft.ifft2(spectrum, norm="forward").abs() ** 2
            blur = optics.gaussian_transfer(px**2 + py**2, source).float()
            seen = torch.fft.ifft2(torch.fft.fft2(fine) * blur).real
            images[start : start + batch] = seen[:, :: folds[0], :: folds[1]][:, :nx, :ny]
            continue
        wave = torch.fft.ifft2(folded, norm="forward")
        images[start : start + batch] = (wave.abs() ** 2)[:, :nx, :ny]
    return images.reshape(*samples.shape[:2], *acquisition.scan_shape).mean(1)


def _propagate(
    transmission: list[Tensor],
    potential: Potential,
    frequency: tuple[Tensor, Tensor],
    wavelength: float,
) -> Tensor:
    """Periodic part of each plane wave after all slices, exit surface first ``(B, X, Y)``."""
    k2 = frequency[0] ** 2 + frequency[1] ** 2
    band = optics.antialias_aperture(k2, potential.sampling).to(torch.float32)
    kernels: dict[float, Tensor] = {}
    u = transmission[-1]
    # The free space behind the last slice changes no intensity in the detector plane.
    for t, dz in zip(transmission[-2::-1], potential.thicknesses[-2::-1], strict=True):
        if dz not in kernels:
            angle = (-math.pi * wavelength * dz * k2).to(torch.float32)
            kernels[dz] = torch.polar(band, angle)
        u = torch.fft.ifft2(torch.fft.fft2(u) * kernels[dz]) * t
    return u.expand(k2.shape)
