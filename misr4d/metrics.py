"""How an image is judged. Every measure says what it removes before it compares."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["correlation", "fourier_ring_correlation", "line_profile", "psnr", "resolution"]


def _check_pair(image: Tensor, reference: Tensor) -> None:
    if image.shape != reference.shape or image.ndim != 2:
        raise ValueError(
            f"image {tuple(image.shape)} and reference {tuple(reference.shape)} cannot be "
            "compared; expected two images of one shape"
        )
    if not (torch.isfinite(image).all() and torch.isfinite(reference).all()):
        raise ValueError("an image holds values that are not finite; nothing can be measured")


def correlation(image: Tensor, reference: Tensor) -> float:
    """Pearson correlation of two images ``(X, Y)``: blind to offset and positive gain.

    Raises
    ------
    ValueError
        If shapes differ or values are not finite.
    """
    _check_pair(image, reference)
    a = image.double() - image.double().mean()
    b = reference.double() - reference.double().mean()
    norm = float(a.norm() * b.norm())
    return float((a * b).sum()) / norm if norm > 0 else 0.0


def psnr(image: Tensor, reference: Tensor) -> float:
    """Peak signal-to-noise ratio [dB] after the best offset and one gain.

    The peak is the reference's range. Both images are ``(X, Y)``; identical ones give ``inf``.

    Raises
    ------
    ValueError
        If shapes differ, values are not finite or the reference is constant.
    """
    _check_pair(image, reference)
    a = image.double() - image.double().mean()
    b = reference.double() - reference.double().mean()
    span = float(b.max() - b.min())
    if span == 0:
        raise ValueError("the reference is constant; a peak signal cannot be defined")
    energy = float((a * a).sum())
    gain = float((a * b).sum()) / energy if energy > 0 else 0.0
    error = float(((gain * a - b) ** 2).mean())
    return math.inf if error == 0 else 10 * math.log10(span**2 / error)


def fourier_ring_correlation(
    image: Tensor, reference: Tensor, sampling: tuple[float, float], *, width: int = 1
) -> tuple[Tensor, Tensor, Tensor]:
    """Correlation of two images' spectra, ring by ring.

    Parameters
    ----------
    image, reference : Tensor
        ``(X, Y)``.
    sampling : (float, float)
        Pixel size [Å].
    width : int
        Width of a ring in frequency steps. Wider rings hold more pixels and are less noisy, which
        matters at low frequencies.

    Returns
    -------
    frequency, correlation, count : Tensor
        Ring centres [Å⁻¹] up to the Nyquist frequency of the coarser axis, the correlation in each
        ring, and the number of Fourier pixels in it. The mean is left out.

    Raises
    ------
    ValueError
        If shapes differ or values are not finite.

    References
    ----------
    Saxton & Baumeister, J. Microsc. 127, 127 (1982).
    """
    _check_pair(image, reference)
    a, b = torch.fft.fft2(image.double()), torch.fft.fft2(reference.double())
    qx = torch.fft.fftfreq(image.shape[0], sampling[0], dtype=torch.float64)[:, None]
    qy = torch.fft.fftfreq(image.shape[1], sampling[1], dtype=torch.float64)[None, :]
    step = max(1 / (image.shape[0] * sampling[0]), 1 / (image.shape[1] * sampling[1]))
    # Ring 0 is the mean alone; ring n covers n − 1 to n widths beyond half a step.
    radius = (qx**2 + qy**2).sqrt() / step
    ring = (((radius - 0.5) / width).floor() + 1).clamp_min(0).long().flatten()
    last = math.floor((0.5 / max(sampling) / step - 0.5) / width + 0.5 + 1e-9)

    def total(values: Tensor) -> Tensor:
        out = torch.zeros(int(ring.max()) + 1, dtype=torch.float64)
        return out.index_add(0, ring, values.flatten().double())[1 : last + 1]

    cross = total((a * b.conj()).real)
    norm = (total(a.abs() ** 2) * total(b.abs() ** 2)).sqrt()
    values = torch.where(norm > 0, cross / norm.clamp_min(1e-300), 0.0)
    centre = torch.arange(1, last + 1, dtype=torch.float64) - 0.5
    frequency = (0.5 + centre * width) * step
    return frequency, values, total(torch.ones(ring.shape))


def resolution(frequency: Tensor, curve: Tensor, threshold: float = 0.5) -> float:
    """Period at which a ring-correlation curve first falls below a threshold [Å].

    Parameters
    ----------
    frequency, curve : Tensor
        As from :func:`fourier_ring_correlation`.
    threshold : float
        0.5 against the truth.

    Returns
    -------
    float
        By linear interpolation between rings; ``inf`` if the first ring is below already, and the
        period of the last ring if the curve never falls below.
    """
    below = (curve < threshold).nonzero()
    if len(below) == 0:
        return 1 / float(frequency[-1])
    i = int(below[0])
    if i == 0:
        return math.inf
    high, low = float(curve[i - 1]), float(curve[i])
    part = (high - threshold) / (high - low)
    return 1 / (float(frequency[i - 1]) + part * float(frequency[i] - frequency[i - 1]))


def line_profile(
    image: Tensor,
    start: tuple[float, float],
    end: tuple[float, float],
    sampling: tuple[float, float],
    *,
    width: float = 0.0,
    points: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Values along a line, averaged across a width.

    Parameters
    ----------
    image : Tensor
        ``(X, Y)``; pixel (i, j) sits at (i·sampling_x, j·sampling_y).
    start, end : (float, float)
        Ends of the line [Å].
    sampling : (float, float)
        Pixel size [Å].
    width : float
        Width across which to average [Å]; 0 takes the line alone.
    points : int, optional
        Samples along the line; by default two per pixel.

    Returns
    -------
    distance, value : Tensor
        Distance from `start` [Å] and bilinear interpolation of the image there.

    Raises
    ------
    ValueError
        If the line has no length or leaves the image.
    """
    a, b = torch.tensor(start, dtype=torch.float64), torch.tensor(end, dtype=torch.float64)
    pixel = torch.tensor(sampling, dtype=torch.float64)
    length = float((b - a).norm())
    if length == 0:
        raise ValueError(f"the line from {start} to {end} Å has no length")
    along = (b - a) / length
    across = torch.stack([-along[1], along[0]])
    number = points or max(2, round(2 * length / float(pixel.min())))
    distance = torch.linspace(0, length, number, dtype=torch.float64)
    lanes = max(1, 2 * round(width / float(pixel.min())) + 1) if width > 0 else 1
    offset = torch.linspace(-width / 2, width / 2, lanes, dtype=torch.float64)
    if lanes == 1:
        offset = torch.zeros(1, dtype=torch.float64)
    where = a + distance[:, None, None] * along + offset[None, :, None] * across
    grid = where / pixel
    limit = torch.tensor(image.shape, dtype=torch.float64) - 1
    if (grid < -1e-9).any() or (grid > limit + 1e-9).any():
        raise ValueError(
            f"the line from {start} to {end} Å, {width:g} Å wide, leaves the image of "
            f"{[float(v) for v in limit * pixel]} Å"
        )
    low = torch.minimum(grid.clamp_min(0).floor(), (limit - 1).clamp_min(0)).long()
    part = grid - low
    value = torch.zeros(grid.shape[:-1], dtype=torch.float64)
    high = torch.minimum(low + 1, limit.long())
    for dx, wx in ((low[..., 0], 1 - part[..., 0]), (high[..., 0], part[..., 0])):
        for dy, wy in ((low[..., 1], 1 - part[..., 1]), (high[..., 1], part[..., 1])):
            value += wx * wy * image.double()[dx, dy]
    return distance, value.mean(1)
