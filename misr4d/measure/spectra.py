"""Measures by spatial frequency: ring correlation, power spectra, and where they end.

Signal to noise by frequency is in :mod:`misr4d.measure.snr`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from misr4d.measure.metrics import check_pair

__all__ = [
    "RingScores",
    "ceiling",
    "counting_rings",
    "equalised",
    "fourier_ring_correlation",
    "half_bit_threshold",
    "highest_resolvable_frequency",
    "power_spectrum",
    "resolution",
    "ring_mean",
    "score_rings",
    "weighted_ring_correlation",
]


def _rings(
    shape: tuple[int, int], sampling: tuple[float, float], width: int
) -> tuple[Tensor, Tensor, int]:
    """Ring of every Fourier pixel, centres of rings 1 to `last` [Å⁻¹], and `last`."""
    qx = torch.fft.fftfreq(shape[0], sampling[0], dtype=torch.float64)[:, None]
    qy = torch.fft.fftfreq(shape[1], sampling[1], dtype=torch.float64)[None, :]
    step = max(1 / (shape[0] * sampling[0]), 1 / (shape[1] * sampling[1]))
    # Ring 0 is the mean alone; ring n covers n − 1 to n widths beyond half a step.
    radius = (qx**2 + qy**2).sqrt() / step
    ring = (((radius - 0.5) / width).floor() + 1).clamp_min(0).long()
    last = math.floor((0.5 / max(sampling) / step - 0.5) / width + 0.5 + 1e-9)
    centre = torch.arange(1, last + 1, dtype=torch.float64) - 0.5
    return ring, (0.5 + centre * width) * step, last


def _ring_sum(values: Tensor, ring: Tensor, last: int) -> Tensor:
    sums = torch.zeros(int(ring.max()) + 1, dtype=torch.float64)
    return sums.index_add(0, ring.flatten(), values.flatten().double())[1 : last + 1]


def ring_mean(
    values: Tensor, sampling: tuple[float, float], *, width: int = 1
) -> tuple[Tensor, Tensor, Tensor]:
    """Average a map over rings of spatial frequency.

    Parameters
    ----------
    values : Tensor
        ``(X, Y)`` in the order of ``torch.fft.fft2``.
    sampling : (float, float)
        Pixel size of the image [Å].
    width : int
        Width of a ring in frequency steps.

    Returns
    -------
    frequency, mean, count : Tensor
        Ring centres [Å⁻¹] up to the Nyquist frequency of the coarser axis, the mean in each ring,
        and its number of Fourier pixels. The zero frequency is left out.
    """
    ring, frequency, last = _rings((values.shape[0], values.shape[1]), sampling, width)
    count = _ring_sum(torch.ones(values.shape), ring, last)
    return frequency, _ring_sum(values, ring, last) / count, count


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
    check_pair(image, reference)
    a, b = torch.fft.fft2(image.double()), torch.fft.fft2(reference.double())
    ring, frequency, last = _rings((image.shape[0], image.shape[1]), sampling, width)
    cross = _ring_sum((a * b.conj()).real, ring, last)
    norm = (_ring_sum(a.abs() ** 2, ring, last) * _ring_sum(b.abs() ** 2, ring, last)).sqrt()
    values = torch.where(norm > 0, cross / norm.clamp_min(1e-300), 0.0)
    return frequency, values, _ring_sum(torch.ones(ring.shape), ring, last)


def equalised(
    image: Tensor, truth: Tensor, sampling: tuple[float, float], period: float, *, width: int = 3
) -> Tensor:
    """Bring an image to a stated resolution, ring by ring, so that two can be compared.

    In each ring the image's own gain is fitted to the truth and divided out, and a Gaussian
    transfer that falls to one half at the frequency 1/`period` takes its place. The structure of
    the truth then has the same contrast in every image, and only noise and errors differ: smoothing
    gains nothing. A ring in which the image hardly follows the truth has its noise amplified, as it
    should be, but by no more than a hundredfold of the strongest ring's gain.

    Parameters
    ----------
    image, truth : Tensor
        ``(X, Y)``.
    sampling : (float, float)
        Pixel size [Å].
    period : float
        Where the transfer is one half [Å].
    width : int
        Width of a ring in frequency steps.

    Returns
    -------
    Tensor
        ``(X, Y)``, float64, of zero mean.

    Raises
    ------
    ValueError
        If shapes differ, values are not finite, the period is not positive, or the image shows
        nothing of the truth in any ring.
    """
    check_pair(image, truth)
    if not (math.isfinite(period) and period > 0):
        raise ValueError(f"period is {period!r} Å; expected a positive number")
    a, b = torch.fft.fft2(image.double()), torch.fft.fft2(truth.double())
    ring, _, _ = _rings((image.shape[0], image.shape[1]), sampling, width)
    size = int(ring.max()) + 1

    def total(values: Tensor) -> Tensor:
        return torch.zeros(size, dtype=torch.float64).index_add(0, ring.flatten(), values.flatten())

    power = total(b.abs() ** 2)
    has_power = power > 1e-12 * power[1:].max()
    gain = torch.where(has_power, total((a * b.conj()).real) / power.clamp_min(1e-300), 0.0)
    gain[0] = 0.0
    largest = float(gain.abs().max())
    if largest == 0:
        raise ValueError(
            "the image shows nothing of the truth; it cannot be brought to a resolution"
        )
    floor = 0.01 * largest
    bounded = torch.where(gain.abs() < floor, torch.where(gain < 0, -floor, floor), gain)
    qx = torch.fft.fftfreq(image.shape[0], sampling[0], dtype=torch.float64)[:, None]
    qy = torch.fft.fftfreq(image.shape[1], sampling[1], dtype=torch.float64)[None, :]
    transfer = torch.exp(-math.log(2) * (qx**2 + qy**2) * period**2)
    spectrum = a * transfer / bounded[ring]
    spectrum[0, 0] = 0
    equalised_image: Tensor = torch.fft.ifft2(spectrum).real
    return equalised_image


def half_bit_threshold(count: Tensor) -> Tensor:
    """Ring correlation of half-sets that holds half a bit of information per Fourier pixel.

    Parameters
    ----------
    count : Tensor
        Fourier pixels in each ring, both of each conjugate pair.

    Returns
    -------
    Tensor
        (0.2071 + 1.9102/√n) / (1.2071 + 0.9102/√n).

    References
    ----------
    van Heel & Schatz, J. Struct. Biol. 151, 250 (2005).
    """
    root = count.double().sqrt()
    return (0.2071 + 1.9102 / root) / (1.2071 + 0.9102 / root)


EMPTY = 0.05  # our choice: below a twentieth of what its surroundings hold, a ring holds nothing


def counting_rings(frequency: Tensor, density: Tensor, *, fraction: float = EMPTY) -> Tensor:
    """Separate the rings in which the truth has structure from those between reflections.

    A crystal's spectrum is empty between its reflections, and a shell's at the zeros of its form
    factor: no method can correlate there, and a resolution that stops there says nothing. A ring
    counts if its density is at least `fraction` of the level around it: the geometric mean of the
    strongest density within the octave below and of the strongest at any higher frequency, both
    with the ring itself. On a spectrum that falls as a power q⁻ⁿ that level is 2ⁿᐟ² times the
    ring's own, so that with n up to 8 every ring of such a spectrum counts, a protein's among them.

    Parameters
    ----------
    frequency, density : Tensor
        Of the truth, as from :func:`power_spectrum` ``(rings,)``.
    fraction : float
        Of the level around a ring.

    Returns
    -------
    Tensor
        Boolean ``(rings,)``.

    Raises
    ------
    ValueError
        If shapes differ, or the density is not finite or nowhere positive.
    """
    if frequency.shape != density.shape or frequency.ndim != 1:
        raise ValueError(
            f"frequency and density have shapes {tuple(frequency.shape)} and "
            f"{tuple(density.shape)}; expected one value for each ring"
        )
    if not (torch.isfinite(density).all() and (density > 0).any()):
        raise ValueError("the density is not finite, or zero in every ring; no ring can count")
    f, p = frequency.double(), density.double()
    octave = (f[None] <= f[:, None]) & (2 * f[None] >= f[:, None] * (1 - 1e-9))
    strongest_below = torch.where(octave, p[None], 0.0).amax(1)
    strongest_above = p.flip(0).cummax(0).values.flip(0)
    return (p > 0) & (p >= fraction * (strongest_below * strongest_above).sqrt())


def resolution(
    frequency: Tensor,
    curve: Tensor,
    threshold: float | Tensor = 0.5,
    *,
    counting: Tensor | None = None,
) -> float:
    """Finest period up to which a ring-correlation curve stays above a threshold [Å].

    Parameters
    ----------
    frequency, curve : Tensor
        As from :func:`fourier_ring_correlation`.
    threshold : float or Tensor
        One number or one for each ring: 0.5 against the truth; between half-sets 0.143 or
        :func:`half_bit_threshold`.
    counting : Tensor, optional
        Boolean ``(rings,)``, as from :func:`counting_rings`: the others are skipped. By default
        every ring counts, which is right where nothing is known of the specimen, and stops at the
        first gap between a crystal's reflections.

    Returns
    -------
    float
        By linear interpolation between neighbouring rings, never across rings that do not count:
        at most one ring beyond the last that is above. ``inf`` if the first that counts is below
        already, and the period of the last that counts if none is.

    Raises
    ------
    ValueError
        If shapes differ, values are not finite or no ring counts.
    """
    if (
        curve.shape != frequency.shape
        or (isinstance(threshold, Tensor) and threshold.shape not in ((), frequency.shape))
        or (counting is not None and counting.shape != frequency.shape)
    ):
        tensors = [t for t in (frequency, curve, threshold, counting) if t is not None]
        shapes = [tuple(torch.as_tensor(t).shape) for t in tensors]
        raise ValueError(
            f"frequency, curve, threshold and counting have shapes {shapes}; expected one value "
            "for each ring"
        )
    margin = curve.double() - threshold
    if not torch.isfinite(margin).all():
        raise ValueError("curve or threshold is not finite; no crossing can be found")
    rings = torch.arange(len(frequency)) if counting is None else counting.nonzero()[:, 0]
    if len(rings) == 0:
        raise ValueError("no ring counts; no crossing can be found")
    failing = (margin[rings] < 0).nonzero()
    if len(failing) == 0:
        return 1 / float(frequency[rings[-1]])
    first_failing = int(failing[0])
    if first_failing == 0:
        return math.inf
    ring_before, ring_after = int(rings[first_failing - 1]), int(rings[first_failing])
    margin_before, margin_after = float(margin[ring_before]), float(margin[ring_after])
    ring_spacing = float(frequency[ring_before + 1] - frequency[ring_before])
    return 1 / (
        float(frequency[ring_before])
        + margin_before / (margin_before - margin_after) * ring_spacing
    )


def weighted_ring_correlation(curve: Tensor, density: Tensor, count: Tensor) -> float:
    """Mean ring correlation with the truth, each ring weighted by the truth's power in it.

    Parameters
    ----------
    curve, density, count : Tensor
        Ring correlation with the truth, the truth's density and the pixels of each ring, as from
        :func:`fourier_ring_correlation` and :func:`power_spectrum` ``(rings,)``.

    Raises
    ------
    ValueError
        If shapes differ, values are not finite, or the truth has no power.
    """
    weight = _power(curve, density, count)
    return float((weight * curve.double()).sum())


def ceiling(curve: Tensor, density: Tensor, count: Tensor) -> float:
    """Highest correlation with the truth that any isotropic filter of the image could reach.

    Multiplying each ring of an image by any number leaves its ring correlations F
    unchanged. The correlation of the whole is largest, √(Σ P·F² / Σ P) with P the truth's power in
    each ring, if each ring's amplitude is F times that of the truth (Cauchy and Schwarz). Methods
    that do not filter their image are not judged by that here. Negative F count with their sign
    turned, as the filter would turn them.

    Parameters
    ----------
    curve, density, count : Tensor
        As for :func:`weighted_ring_correlation`.

    Raises
    ------
    ValueError
        As for :func:`weighted_ring_correlation`.
    """
    weight = _power(curve, density, count)
    return math.sqrt(float((weight * curve.double() ** 2).sum()))


def _power(curve: Tensor, density: Tensor, count: Tensor) -> Tensor:
    """Share of the truth's power in each ring."""
    if not curve.shape == density.shape == count.shape or curve.ndim != 1:
        shapes = [tuple(t.shape) for t in (curve, density, count)]
        raise ValueError(
            f"curve, density and count have shapes {shapes}; expected one value for each ring"
        )
    power = density.double() * count.double()
    if not (torch.isfinite(curve).all() and torch.isfinite(power).all() and power.sum() > 0):
        raise ValueError("curve or density is not finite, or the truth has no power in any ring")
    return power / power.sum()


RINGS = 3  # frequency steps a ring: narrower ones are noisy where they hold few pixels


@dataclass(frozen=True)
class RingScores:
    """What an image shows of the truth, ring by ring.

    Parameters
    ----------
    frequency, curve, density, count : Tensor
        Ring centres [Å⁻¹], ring correlation with the truth, the truth's power density, and pixels
        of each ring ``(rings,)``.
    counting : Tensor
        Boolean ``(rings,)``: where the truth has something to show.
    threshold : float
    """

    frequency: Tensor
    curve: Tensor
    density: Tensor
    count: Tensor
    counting: Tensor
    threshold: float = 0.5

    @property
    def resolution(self) -> float:
        """Finest period up to which every ring that counts is above the threshold [Å]."""
        return resolution(self.frequency, self.curve, self.threshold, counting=self.counting)

    @property
    def last_ring(self) -> float:
        """Period of the finest ring that counts and is above the threshold [Å]; ``inf`` if none."""
        passing = (self.counting & (self.curve >= self.threshold)).nonzero()
        return 1 / float(self.frequency[int(passing[-1])]) if len(passing) else math.inf

    @property
    def weighted(self) -> float:
        """Mean ring correlation, weighted by the truth's power."""
        return weighted_ring_correlation(self.curve, self.density, self.count)

    @property
    def ceiling(self) -> float:
        """Highest correlation that any isotropic filter of the image could reach."""
        return ceiling(self.curve, self.density, self.count)


def score_rings(
    image: Tensor, truth: Tensor, sampling: tuple[float, float], *, width: int = RINGS
) -> RingScores:
    """Compare an image with the truth ring by ring; every page's resolution comes from here.

    Parameters
    ----------
    image, truth : Tensor
        ``(X, Y)``.
    sampling : (float, float)
        Pixel size [Å].
    width : int
        Width of a ring in frequency steps.

    Raises
    ------
    ValueError
        If shapes differ, values are not finite, or the truth is constant.
    """
    frequency, curve, count = fourier_ring_correlation(image, truth, sampling, width=width)
    _, density, _ = power_spectrum(truth, sampling, width=width)
    counting = counting_rings(frequency, density)
    return RingScores(frequency, curve, density, count, counting)


def power_spectrum(
    image: Tensor, sampling: tuple[float, float], *, width: int = 1
) -> tuple[Tensor, Tensor, Tensor]:
    """Isotropic power spectral density: |FFT|² averaged over rings.

    Parameters
    ----------
    image : Tensor
        ``(X, Y)``; the mean is left out.
    sampling : (float, float)
        Pixel size [Å].
    width : int
        Width of a ring in frequency steps.

    Returns
    -------
    frequency, density, count : Tensor
        Density in image units squared times Å², so that its integral over the frequency plane is
        the variance: white noise of variance s² has s²·Δx·Δy at all frequencies. The sum of
        density × count over the field's area is the variance within the rings, which leave out the
        corners beyond the Nyquist frequency.

    Raises
    ------
    ValueError
        If the image is not ``(X, Y)`` or not finite.
    """
    check_pair(image, image)
    spectrum = torch.fft.fft2(image.double(), norm="forward").abs() ** 2
    area = image.shape[0] * image.shape[1] * sampling[0] * sampling[1]
    return ring_mean(spectrum * area, sampling, width=width)


def highest_resolvable_frequency(
    frequency: Tensor,
    density: Tensor,
    count: Tensor,
    *,
    floor: Tensor | None = None,
    sigmas: float = 3.0,
) -> float:
    """Highest frequency [Å⁻¹] at which a power spectrum is above its floor.

    The rule (the paper states none): a ring is above the floor if it exceeds it by `sigmas`
    standard errors of n/2 independent exponential values, and the ring before it does too. Rings
    that hold rounding errors alone, below 10⁻¹² of the largest density, as beyond a method's
    transfer limit, count neither as signal nor as floor.

    A power spectrum cannot tell signal from noise: without `floor` the noise is taken to be white,
    so noise that a method colours is taken for signal, and signal that fills the band for noise.
    Read it beside the ring correlation with the truth.

    Parameters
    ----------
    frequency, density, count : Tensor
        As from :func:`power_spectrum`.
    floor : Tensor, optional
        Density of the noise in each ring, such as the mean spectrum of several empty scans at the
        same dose, taken as exact; good for filters that do not depend on the data. By default the
        median density of the outermost fifth of the rings.
    sigmas : float
        How far above the floor.

    Returns
    -------
    float
        Zero if no two neighbouring rings are above the floor.

    Raises
    ------
    ValueError
        If shapes differ or values are not finite.
    """
    rings = {tuple(t.shape) for t in (frequency, density, count, floor) if t is not None}
    if len(rings) != 1 or not torch.isfinite(density).all():
        raise ValueError(
            f"frequency, density, count and floor have shapes {sorted(rings)}; expected one, and "
            "finite densities"
        )
    has_power = density > 1e-12 * density.max()
    if not has_power.any():
        return 0.0
    if floor is None:
        nonempty_density = density[has_power]
        floor = (
            nonempty_density[-max(1, len(nonempty_density) // 5) :].median().expand(density.shape)
        )
    above_floor = has_power & (density > floor * (1 + sigmas * (2 / count).sqrt()))
    neighbours = (above_floor[1:] & above_floor[:-1]).nonzero()
    return float(frequency[int(neighbours[-1]) + 1]) if len(neighbours) else 0.0
