"""Signal to noise by spatial frequency: from half-sets, from several draws, and its upper bound."""

from __future__ import annotations

import torch
from torch import Tensor

from misr4d.core.dose import electrons_per_pixel
from misr4d.measure.metrics import check_pair
from misr4d.measure.spectra import ring_mean
from misr4d.reconstruction.direct import DirectPtychography

__all__ = ["shot_noise_bound", "snr_from_halves", "spectral_snr"]


def snr_from_halves(curve: Tensor) -> Tensor:
    """Power signal-to-noise ratio of the whole from the ring correlation F of its halves.

    2F / (1 − F); negative where the halves disagree by chance, infinite where they are equal.
    """
    f = curve.double()
    return 2 * f / (1 - f)


def spectral_snr(
    images: Tensor,
    sampling: tuple[float, float],
    *,
    reference: Tensor | None = None,
    width: int = 1,
) -> tuple[Tensor, Tensor, Tensor]:
    """Spectral signal-to-noise ratio of a method from several noise draws of one specimen.

    At each Fourier pixel the signal is what the D draws have in common, |mean|², and the noise
    their variance about it. Their ratio, corrected for the bias of few draws, is averaged over
    rings. A filter changes neither, so the ratio is a property of how a method uses its electrons.
    What is common to all draws need not be true: a prior that paints the same thing each time
    counts as signal, unless a reference is given. Then only the reference φ counts, with the one
    gain g that fits the mean m in each ring, weighted by the variance v:

        SNR = g²·⟨|φ|²/v⟩,   g = Σ Re(m·φ*)/v / Σ |φ|²/v,

    which by Cauchy and Schwarz is no more than without reference, apart from noise. The two are
    equal if each ring of m is a multiple of φ, and their difference is what the method invents or
    bends.

    Parameters
    ----------
    images : Tensor
        ``(D, X, Y)``, at least four draws.
    sampling : (float, float)
        Pixel size [Å].
    reference : Tensor, optional
        ``(X, Y)``, such as the truth.
    width : int
        Width of a ring in frequency steps.

    Returns
    -------
    frequency, snr, count : Tensor
        Power ratio per Fourier pixel, unbiased, so it scatters about zero where there is no signal.

    Raises
    ------
    ValueError
        If there are fewer than four draws, values are not finite, or the reference is of another
        shape.
    """
    draws = len(images)
    if images.ndim != 3 or draws < 4:
        raise ValueError(
            f"images have shape {tuple(images.shape)}; expected (D, X, Y) with four draws or more"
        )
    if not torch.isfinite(images).all():
        raise ValueError("an image holds values that are not finite; nothing can be measured")
    if reference is not None:
        check_pair(images[0], reference)
    spectra = torch.fft.fft2(images.double())
    mean = spectra.mean(0)
    variance = ((spectra - mean).abs() ** 2).sum(0) / (draws - 1)
    # E[1/variance] of D complex draws is (D − 1)/(D − 2) of the true one; |mean|² holds 1/D of it.
    varies = variance > 1e-12 * variance.max()
    weight = varies / torch.where(varies, variance, 1.0) * (draws - 2) / (draws - 1)
    if reference is None:
        ratio = mean.abs() ** 2 * weight - varies / draws
        return ring_mean(ratio, sampling, width=width)
    phi = torch.fft.fft2(reference.double())
    frequency, cross, count = ring_mean((mean * phi.conj()).real * weight, sampling, width=width)
    _, power, _ = ring_mean(phi.abs() ** 2 * weight, sampling, width=width)
    snr = torch.where(power > 0, cross**2 / torch.where(power > 0, power, 1.0), 0.0)
    # The gain is one number per ring: noise adds 1/D to the sum, more for variances of few draws.
    bias = (power > 0) * (draws - 2) / (draws - 3) / draws / count
    return frequency, snr - bias, count


def shot_noise_bound(method: DirectPtychography, phase: Tensor, dose: float) -> Tensor:
    """Largest signal-to-noise ratio that counting noise leaves to any linear, unbiased estimate.

    For a weak phase object view k has the spectrum I_k(q) = i·φ(q)·γ_k(q). A pixel that is lit to
    a share m_k counts n·m_k electrons on average at each of the N positions, n those of a fully
    lit pixel; in units of n, its noise is white with variance m_k/n per position, so m_k/(n·N) per
    frequency of the normalised transform. Independent measurements of one number φ(q) with
    coefficients iγ_k and variances m_k/(n·N) determine it no better than with variance

        1 / Σ_k |γ_k(q)|²·n·N/m_k   (Gauss and Markov),

    hence SNR(q) = n·N·|φ(q)|²·Σ_k |γ_k(q)|²/m_k. Aliases, which must be solved for at the same
    time, and specimens that are not weak only lower it.

    Parameters
    ----------
    method : DirectPtychography
        Gives acquisition and kernels.
    phase : Tensor
        True phase ``(r·Rx, r·Ry)`` [rad], r the method's up-sampling.
    dose : float
        e⁻/Å².

    Returns
    -------
    Tensor
        SNR(q) ``(r·Rx, r·Ry)`` in the order of ``torch.fft.fft2``; average it with
        :func:`misr4d.measure.spectra.ring_mean`.

    Raises
    ------
    ValueError
        If the phase does not fit the method or the dose is not positive.
    """
    acquisition = method.acquisition
    expected = acquisition.output_shape(method.upsampling)
    if tuple(phase.shape) != expected:
        raise ValueError(f"phase has shape {tuple(phase.shape)}; expected {expected}")
    electrons = electrons_per_pixel(dose, acquisition)
    positions = acquisition.scan_shape[0] * acquisition.scan_shape[1]
    power = torch.fft.fft2(phase.double(), norm="forward").abs() ** 2
    bound: Tensor = electrons * positions * power * method.information()
    return bound
