"""Electron optics: signs, units and frequency grids, defined only here.

Conventions (each pinned against abTEM in ``tests/core/test_optics.py``):

* A plane wave is exp(+2πi k·r); free space over dz multiplies it by exp(−iπλ·dz·k²).
* The probe is ψ(k) = A(k)·exp(−iχ(k)) with χ(k) = πλ·C₁₀·k² and C₁₀ = −defocus, so that a
  positive defocus is underfocus: the crossover lies beyond the entrance surface.
* The view recorded by detector pixel k shows the specimen displaced by −λ·C₁₀·k; moving it by
  λ·C₁₀·k registers it.
* Two-fold astigmatism adds πλ·C₁₂·k²·cos 2(φ − φ₁₂) to χ, φ from Rx towards Ry. It is kept as its
  components a = C₁₂·cos 2φ₁₂ and b = C₁₂·sin 2φ₁₂, so that it adds πλ·[a·(kx² − ky²) + 2b·kx·ky].
"""

from __future__ import annotations

import math

import torch
from scipy import constants
from torch import Tensor

__all__ = [
    "antialias_aperture",
    "aperture",
    "astigmatic_chi",
    "chi",
    "fourier_resample",
    "frequencies",
    "interaction_parameter",
    "registering_shift",
    "resize_spectrum",
    "wave_sampling_limit",
    "wavelength",
]

# abTEM keeps two thirds of the Nyquist frequency, with a taper of 1 % of the sampling frequency.
ANTIALIAS_CUTOFF = 2 / 3
ANTIALIAS_TAPER = 0.01


def wavelength(energy: float) -> float:
    """Relativistic electron wavelength [Å].

    Parameters
    ----------
    energy : float
        Electron energy [eV].

    Raises
    ------
    ValueError
        If `energy` is not positive and finite.

    References
    ----------
    Kirkland, *Advanced Computing in Electron Microscopy*, 2nd ed., Eq. 2.5.
    """
    if not (math.isfinite(energy) and energy > 0):
        raise ValueError(
            f"energy is {energy!r} eV; expected a positive number of eV, such as 300e3"
        )
    rest_energy = constants.m_e * constants.c**2 / constants.e  # eV
    metres: float = (constants.h * constants.c / constants.e) / math.sqrt(
        energy * (2 * rest_energy + energy)
    )
    return metres * 1e10


def interaction_parameter(energy: float) -> float:
    """Phase shift per projected potential, σ = 2π·m·e·λ/h² [rad/(V·Å)].

    Parameters
    ----------
    energy : float
        Electron energy [eV].

    References
    ----------
    Kirkland, *Advanced Computing in Electron Microscopy*, 2nd ed., Eq. 5.6.
    """
    lam = wavelength(energy) * 1e-10
    gamma = 1 + energy * constants.e / (constants.m_e * constants.c**2)
    sigma: float = 2 * math.pi * gamma * constants.m_e * constants.e * lam / constants.h**2
    return sigma * 1e-10


def frequencies(
    shape: tuple[int, int],
    sampling: tuple[float, float],
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float64,
) -> tuple[Tensor, Tensor]:
    """Spatial frequencies of a grid in FFT order [Å⁻¹], shapes ``(X, 1)`` and ``(1, Y)``."""
    kx = torch.fft.fftfreq(shape[0], sampling[0], device=device, dtype=dtype)[:, None]
    ky = torch.fft.fftfreq(shape[1], sampling[1], device=device, dtype=dtype)[None, :]
    return kx, ky


def chi(k2: Tensor, wavelength: float, defocus: float) -> Tensor:
    """Aberration phase χ = πλ·C₁₀·k², C₁₀ = −defocus [rad], for squared frequencies [Å⁻²]."""
    return (-math.pi * wavelength * defocus) * k2


def astigmatic_chi(
    kx: Tensor, ky: Tensor, wavelength: float, astigmatism: tuple[float, float]
) -> Tensor:
    """Part of χ of two-fold astigmatism, πλ·[a·(kx² − ky²) + 2b·kx·ky] [rad].

    Parameters
    ----------
    kx, ky : Tensor
        Frequencies that broadcast to one shape [Å⁻¹].
    wavelength : float
        In Å.
    astigmatism : (float, float)
        (a, b) = C₁₂·(cos 2φ₁₂, sin 2φ₁₂) [Å].
    """
    a, b = astigmatism
    return (math.pi * wavelength) * (a * (kx**2 - ky**2) + 2 * b * kx * ky)


def aperture(k2: Tensor, wavelength: float, semiangle: float) -> Tensor:
    """Hard circular aperture (1 inside, 0 outside) for squared frequencies [Å⁻²], `semiangle` mrad.

    Pixels on the rim count as inside, independently of rounding.
    """
    return (k2 <= (semiangle * 1e-3 / wavelength) ** 2 * (1 + 1e-9)).to(k2.dtype)


def registering_shift(
    k: Tensor,
    wavelength: float,
    defocus: float,
    astigmatism: tuple[float, float] = (0.0, 0.0),
) -> Tensor:
    """Shift that registers the view of detector pixel k, ∇χ(k)/2π = λ·C₁₀·k if stigmated [Å].

    Parameters
    ----------
    k : Tensor
        Spatial frequencies of detector pixels ``(..., 2)`` [Å⁻¹].
    wavelength, defocus : float
        In Å; a positive defocus is underfocus.
    astigmatism : (float, float)
        As for :func:`astigmatic_chi` [Å].

    Returns
    -------
    Tensor
        ``(..., 2)`` in Å along (Rx, Ry). The view itself is displaced by the opposite.
    """
    a, b = astigmatism
    matrix = torch.tensor([[a - defocus, b], [b, -a - defocus]], dtype=k.dtype, device=k.device)
    return wavelength * (k @ matrix)


def wave_sampling_limit(sampling: float, wavelength: float) -> float:
    """Largest angle [mrad] that a wave field sampled at `sampling` Å carries after antialiasing."""
    return ANTIALIAS_CUTOFF * wavelength / (2 * sampling) * 1e3


def antialias_aperture(k2: Tensor, sampling: tuple[float, float]) -> Tensor:
    """Band limit of abTEM's multislice for squared frequencies [Å⁻²]: ⅔ of Nyquist, tapered."""
    cutoff = ANTIALIAS_CUTOFF / max(sampling) / 2
    taper = ANTIALIAS_TAPER / max(sampling)
    ramp = ((cutoff - k2.sqrt()) / taper).clamp(0, 1)
    return 0.5 * (1 - torch.cos(math.pi * ramp))


def resize_spectrum(spectrum: Tensor, shape: tuple[int, int]) -> Tensor:
    """Crop or zero-pad a spectrum in FFT order ``(..., X, Y)`` to ``(..., *shape)``.

    On an even axis the Nyquist term represents both signs of the frequency. It is split in two
    when the axis grows, and the two terms are added when it shrinks, so that real images stay real.
    """
    for axis, size in ((-2, shape[0]), (-1, shape[1])):
        spectrum = _resize_axis(spectrum.movedim(axis, -1), size).movedim(-1, axis)
    return spectrum


def _resize_axis(spectrum: Tensor, size: int) -> Tensor:
    old_size = spectrum.shape[-1]
    if size == old_size:
        return spectrum
    smaller_size = min(size, old_size)
    half_size = smaller_size // 2
    out = spectrum.new_zeros((*spectrum.shape[:-1], size))
    out[..., : smaller_size - half_size] = spectrum[..., : smaller_size - half_size]
    if half_size:
        out[..., -half_size:] = spectrum[..., -half_size:]
    if smaller_size % 2 == 0:
        if size > old_size:
            out[..., -half_size] = spectrum[..., half_size] / 2
            out[..., half_size] = spectrum[..., half_size] / 2
        else:
            out[..., half_size] = spectrum[..., half_size] + spectrum[..., -half_size]
    return out


def gaussian_transfer(k2: Tensor, deviation: float) -> Tensor:
    """Factor by which a Gaussian blur multiplies each frequency, exp(−2π²σ²k²).

    Parameters
    ----------
    k2 : Tensor
        Squared frequencies [Å⁻²].
    deviation : float
        σ along one axis [Å].
    """
    return torch.exp((-2 * math.pi**2 * deviation**2) * k2)


def fourier_resample(image: Tensor, shape: tuple[int, int]) -> Tensor:
    """Resample periodic real images ``(..., X, Y)`` to ``(..., *shape)``, keeping their mean."""
    spectrum = resize_spectrum(torch.fft.fft2(image), shape)
    gain = shape[0] * shape[1] / (image.shape[-2] * image.shape[-1])
    resampled: Tensor = torch.fft.ifft2(spectrum).real * gain
    return resampled
