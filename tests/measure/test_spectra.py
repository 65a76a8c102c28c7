from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from misr4d import ATOMIC
from misr4d.core import optics
from misr4d.core.dose import expose
from misr4d.core.optics import frequencies, interaction_parameter
from misr4d.measure.metrics import contrast_to_noise, correlation, truth_masks
from misr4d.measure.snr import shot_noise_bound, snr_from_halves, spectral_snr
from misr4d.measure.spectra import (
    ceiling,
    counting_rings,
    equalised,
    fourier_ring_correlation,
    half_bit_threshold,
    highest_resolvable_frequency,
    power_spectrum,
    resolution,
    ring_mean,
    score_rings,
    weighted_ring_correlation,
)
from misr4d.reconstruction.direct import DirectPtychography
from misr4d.simulate.reciprocity import simulate_views
from misr4d.specimens.potential import Potential, truth


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Arrays are small here: on a busy machine threads would mostly wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def noise(seed: int, n: int = 128) -> torch.Tensor:
    return torch.randn(n, n, generator=torch.Generator().manual_seed(seed))


def test_ring_correlation_of_independent_noise_is_zero_and_of_itself_one() -> None:
    frequency, values, count = fourier_ring_correlation(noise(0), noise(1), (0.5, 0.5))
    assert frequency[-1] == pytest.approx(1.0)
    # A ring of n Fourier pixels holds n / 2 independent ones: standard deviation √(2/n)·√½ each.
    assert float((values * count.sqrt())[3:].std()) == pytest.approx(1.0, abs=0.25)
    assert abs(float((values * count).sum() / count.sum())) < 0.03
    torch.testing.assert_close(
        fourier_ring_correlation(noise(0), noise(0), (0.5, 0.5))[1],
        torch.ones(64, dtype=torch.float64),
    )
    assert float(count.sum()) == pytest.approx(math.pi * 64.5**2, rel=0.01)


def test_wider_rings_pool_narrow_ones() -> None:
    a, b = noise(0), noise(0) + noise(1)
    frequency, _, count = fourier_ring_correlation(a, b, (0.5, 0.5))
    wide_frequency, _, wide_count = fourier_ring_correlation(a, b, (0.5, 0.5), width=3)
    torch.testing.assert_close(wide_frequency[0], frequency[1])
    torch.testing.assert_close(wide_count[0], count[:3].sum())
    assert float(wide_frequency[-1]) <= 1.0


def test_resolution_of_a_gaussian_blur_in_noise_is_its_own_cut_off() -> None:
    """signal·G + noise against signal: FRC = G/√(G² + v), one half where G² = v/3."""
    n, width, v = 256, 0.3, 0.03
    qx, qy = frequencies((n, n), (0.5, 0.5))
    blur = torch.exp(-(qx**2 + qy**2) / (2 * width**2))
    signal = noise(0, n).double()
    image = torch.fft.ifft2(torch.fft.fft2(signal) * blur).real + math.sqrt(v) * noise(1, n)
    frequency, values, _ = fourier_ring_correlation(image, signal, (0.5, 0.5))
    expected = 1 / (width * math.sqrt(math.log(3 / v)))
    assert resolution(frequency, values) == pytest.approx(expected, rel=0.05)


def test_resolution_at_the_ends() -> None:
    frequency = torch.tensor([0.1, 0.2, 0.3])
    assert resolution(frequency, torch.tensor([0.2, 0.9, 0.9])) == math.inf
    assert resolution(frequency, torch.tensor([1.0, 0.9, 0.8])) == pytest.approx(1 / 0.3)
    assert resolution(frequency, torch.tensor([1.0, 0.0, 0.9])) == pytest.approx(1 / 0.15)
    with pytest.raises(ValueError, match="not finite"):
        resolution(frequency, torch.tensor([1.0, math.nan, 0.9]))
    with pytest.raises(ValueError, match="expected one value for each ring"):
        resolution(frequency, torch.ones(3), torch.ones(2))


def test_half_sets_of_known_noise_give_its_signal_to_noise() -> None:
    """Signal 1 and noise 2 in either half: F = 1/3, and the whole has a ratio of 1."""
    signal = noise(0, 256)
    halves = [signal + math.sqrt(2) * noise(seed, 256) for seed in (1, 2)]
    _, curve, count = fourier_ring_correlation(halves[0], halves[1], (1.0, 1.0), width=8)
    torch.testing.assert_close(curve, torch.full_like(curve, 1 / 3), atol=0.12, rtol=0)
    mean = float((curve * count).sum() / count.sum())
    assert float(snr_from_halves(torch.tensor(mean))) == pytest.approx(1.0, abs=0.05)


def test_half_bit_threshold_ends_at_the_half_bit_and_crosses_where_it_should() -> None:
    assert float(half_bit_threshold(torch.tensor(1e12))) == pytest.approx(0.2071 / 1.2071, rel=1e-4)
    assert float(half_bit_threshold(torch.tensor(1.0))) == pytest.approx(1.0, abs=1e-3)
    frequency = torch.tensor([0.1, 0.2, 0.3])
    curve, threshold = torch.tensor([0.9, 0.5, 0.1]), torch.tensor([0.5, 0.4, 0.3])
    # Excess 0.1 at 0.2 and −0.2 at 0.3: zero a third of the way.
    assert resolution(frequency, curve, threshold) == pytest.approx(1 / (0.2 + 0.1 / 3))


def test_power_of_white_noise_is_its_variance_times_the_pixel() -> None:
    frequency, density, count = power_spectrum(3 * noise(0, 256), (0.5, 0.5))
    weight = count / count.sum()
    assert float((density * weight).sum()) == pytest.approx(9 * 0.25, rel=0.02)
    assert highest_resolvable_frequency(frequency, density, count) == 0.0


def test_power_within_the_rings_is_the_variance() -> None:
    """Parseval, for an image that has nothing in the corners; fields and pixels need no square."""
    shape, sampling = (96, 120), (0.5, 0.4)
    qx, qy = frequencies(shape, sampling)
    band = ((qx**2 + qy**2).sqrt() < 0.9).double()
    random = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    image = torch.fft.ifft2(torch.fft.fft2(random) * band).real + 7
    area = shape[0] * sampling[0] * shape[1] * sampling[1]
    for width in (1, 3):
        _, density, count = power_spectrum(image, sampling, width=width)
        assert float((density * count).sum()) / area == pytest.approx(
            float(image.var(correction=0)), rel=1e-9
        )
    with pytest.raises(ValueError, match="not finite"):
        power_spectrum(image * math.nan, sampling)


def test_noise_that_a_filter_colours_needs_its_own_floor() -> None:
    """Signal to 0.3 Å⁻¹ in noise that falls with frequency, through a filter that ends at 0.8."""
    n, limit, draws = 192, 0.3, 6
    qx, qy = frequencies((n, n), (0.5, 0.5))
    radius = (qx**2 + qy**2).sqrt()
    seen = torch.exp(-4 * radius) * (radius < 0.8)

    def filtered(image: torch.Tensor, cut: float) -> torch.Tensor:
        return torch.fft.ifft2(torch.fft.fft2(image.double()) * seen * (radius < cut)).real

    empty = [filtered(noise(seed, n), 2.0) for seed in range(2, 2 + draws)]
    floor = torch.stack([power_spectrum(e, (0.5, 0.5), width=3)[1] for e in empty]).mean(0)
    image = filtered(2 * noise(0, n), limit) + filtered(noise(1, n), 2.0)
    spectrum = power_spectrum(image, (0.5, 0.5), width=3)
    assert highest_resolvable_frequency(*spectrum, floor=floor) == pytest.approx(limit, abs=0.035)
    blank = power_spectrum(filtered(noise(1, n), 2.0), (0.5, 0.5), width=3)
    assert highest_resolvable_frequency(*blank, floor=floor) == 0.0
    # Without it, noise passes for signal, as the docstring warns; beyond 0.8 is rounding alone.
    assert limit + 0.1 < highest_resolvable_frequency(*blank) < 0.8
    with pytest.raises(ValueError, match="expected one"):
        highest_resolvable_frequency(*spectrum, floor=floor[:4])


def test_highest_frequency_of_a_band_limited_image_is_its_limit() -> None:
    n, limit = 192, 0.6
    qx, qy = frequencies((n, n), (0.333, 0.333))
    band = ((qx**2 + qy**2).sqrt() < limit).double()
    image = torch.fft.ifft2(torch.fft.fft2(noise(0, n).double()) * band).real
    spectrum = power_spectrum(image + 0.1 * noise(1, n), (0.333, 0.333), width=3)
    assert highest_resolvable_frequency(*spectrum) == pytest.approx(limit, abs=0.06)


def test_ring_mean_of_a_radial_map_is_the_map() -> None:
    qx, qy = frequencies((64, 64), (0.5, 0.5))
    radius = (qx**2 + qy**2).sqrt()
    frequency, mean, _ = ring_mean(radius, (0.5, 0.5), width=2)
    torch.testing.assert_close(mean, frequency, atol=0.02, rtol=0)


def test_spectral_snr_of_known_signal_and_noise_and_of_any_filter() -> None:
    """Few draws leave no bias, and a filter changes nothing."""
    n, draws = 128, 6
    qx, qy = frequencies((n, n), (1.0, 1.0))
    signal = torch.fft.fft2(noise(0, n).double())
    signal = n * signal / signal.abs()
    random = torch.stack([torch.fft.fft2(noise(seed, n).double()) for seed in range(1, draws + 1)])
    images = torch.fft.ifft2(signal + 0.5 * random).real
    _, ratio, count = spectral_snr(images, (1.0, 1.0), width=4)
    mean = float((ratio * count).sum() / count.sum())
    assert mean == pytest.approx(4.0, rel=0.05)
    filtered = torch.fft.ifft2((signal + 0.5 * random) * torch.exp(-8 * (qx**2 + qy**2))).real
    torch.testing.assert_close(spectral_snr(filtered, (1.0, 1.0), width=4)[1], ratio)
    _, empty, count = spectral_snr(images - images.mean(0) + noise(9, n) * 0, (1.0, 1.0), width=4)
    assert float((empty * count).sum() / count.sum()) == pytest.approx(-1 / draws, abs=0.01)
    with pytest.raises(ValueError, match="four draws or more"):
        spectral_snr(images[:3], (1.0, 1.0))


def test_only_what_the_reference_holds_counts_where_there_is_one() -> None:
    """Truth of power 2 at gain 1/2, an invention of power 1 in every draw, noise of power 1/4."""
    n, draws = 128, 6
    truth, painted = math.sqrt(2) * noise(20, n), noise(21, n)
    random = torch.stack([noise(seed, n) for seed in range(1, draws + 1)])
    images = 0.5 * truth + painted + 0.5 * random

    def mean(reference: torch.Tensor | None, stack: torch.Tensor = images, width: int = 4) -> float:
        _, ratio, count = spectral_snr(stack, (1.0, 1.0), reference=reference, width=width)
        return float((ratio * count).sum() / count.sum())

    assert mean(None) == pytest.approx((0.5 + 1) / 0.25, rel=0.05)
    assert mean(truth) == pytest.approx(0.5 / 0.25, rel=0.05)
    assert mean(painted) == pytest.approx(1 / 0.25, rel=0.05)
    assert mean(truth, 0.5 * truth + 0.5 * random) == pytest.approx(0.5 / 0.25, rel=0.05)
    # Narrow rings, where the one gain per ring that noise brings would show as 1.1e-3.
    assert mean(truth, random, 1) == pytest.approx(0.0, abs=5e-4)
    with pytest.raises(ValueError, match="cannot be compared"):
        spectral_snr(images, (1.0, 1.0), reference=truth[:5])


def test_shot_noise_bound_is_met_by_least_squares_ring_by_ring() -> None:
    """Monte Carlo: multislice views of a weak phase, fine steps, 200 draws, no regularisation.

    The reference gives the same answer as the draws alone, since the estimate is unbiased.
    """
    few = replace(ATOMIC, step=(0.5, 0.5), scan_shape=(48, 48), detector_pixel=2.0)
    soft = torch.exp(-sum(q**2 for q in frequencies((72, 72), (1 / 3, 1 / 3))) / 0.6**2)
    random = torch.fft.ifft2(torch.fft.fft2(noise(0, 72).double()) * soft).real
    volts = 0.02 * random / random.std() / interaction_parameter(few.energy)
    potential = Potential(volts.float()[None], (24.0, 24.0), (1.0,))
    method = DirectPtychography(few, 1)
    phase = truth(potential, few, 1)
    views = simulate_views(potential, few)
    generator = torch.Generator().manual_seed(0)
    dose = 1e5
    draws = [expose(views, few, dose, generator) for _ in range(200)]
    images = torch.stack([method(one, solver="wiener", prior=1e12) for one in draws])
    frequency, bound, _ = ring_mean(shot_noise_bound(method, phase, dose), few.step, width=3)
    band = (frequency > 0.08) & (frequency < 0.92)
    assert int(band.sum()) >= 6
    for reference in (None, phase):
        _, found, _ = spectral_snr(images, few.step, reference=reference, width=3)
        torch.testing.assert_close(found[band], bound[band], rtol=0.1, atol=0)
    torch.testing.assert_close(
        shot_noise_bound(method, phase, 2 * dose), 2 * shot_noise_bound(method, phase, dose)
    )
    with pytest.raises(ValueError, match="phase has shape"):
        shot_noise_bound(method, phase[:5], dose)


def test_rings_count_unless_they_are_empty() -> None:
    frequency = torch.arange(1, 41, dtype=torch.float64) / 20
    for power in (0.0, 2.0, 4.0, 8.0):  # a power law has no gap, however steep
        assert counting_rings(frequency, frequency**-power).all()
    gap = torch.ones(40)
    gap[10:14] = 0.02
    assert counting_rings(frequency, gap).logical_not().nonzero().flatten().tolist() == [
        *(10, 11, 12, 13)
    ]
    ended = torch.ones(40)
    ended[30:] = 0  # beyond what the probe transfers
    assert counting_rings(frequency, ended).sum() == 30
    with pytest.raises(ValueError, match="no ring can count"):
        counting_rings(frequency, torch.zeros(40))


def test_resolution_of_a_crystal_is_where_its_reflections_end() -> None:
    # A square lattice of 3.2 Å, its reflections beyond 1.2 Å lost: between them there is nothing.
    side, pixel = 192, 1 / 3
    x = torch.arange(side, dtype=torch.float64) * pixel
    column = torch.exp(-(((x % 3.2) - 1.6) ** 2) / 0.18)
    truth = column[:, None] * column[None, :]
    generator = torch.Generator().manual_seed(1)
    qx, qy = optics.frequencies((side, side), (pixel, pixel))
    kept = (qx**2 + qy**2).sqrt() < 1 / 1.2
    image = torch.fft.ifft2(torch.fft.fft2(truth) * kept).real
    image = image + 0.02 * torch.randn(image.shape, generator=generator, dtype=torch.float64)
    scores = score_rings(image, truth, (pixel, pixel))
    plain = resolution(scores.frequency, scores.curve)
    assert plain > 3.3  # the first gap
    assert 1.1 < scores.resolution < 1.5
    assert scores.last_ring == pytest.approx(scores.resolution, rel=0.08)


@pytest.mark.parametrize("period", [2.5, 4.0])
def test_resolution_without_gaps_is_the_plain_one(period: float) -> None:
    # A disordered specimen fills every ring, so that nothing is passed over.
    side, pixel = 192, 1 / 3
    generator = torch.Generator().manual_seed(2)
    qx, qy = optics.frequencies((side, side), (pixel, pixel))
    q = (qx**2 + qy**2).sqrt()
    white = torch.randn((side, side), generator=generator, dtype=torch.float64)
    truth = torch.fft.ifft2(torch.fft.fft2(white) * torch.exp(-(q**2)) / (0.05 + q)).real
    noise = torch.randn((side, side), generator=generator, dtype=torch.float64) * truth.std()
    image = torch.fft.ifft2(torch.fft.fft2(truth) * torch.exp(-((q * period) ** 2))).real
    scores = score_rings(image + 0.05 * noise, truth, (pixel, pixel))
    plain = resolution(scores.frequency, scores.curve)
    ring = float(scores.frequency[1] - scores.frequency[0])
    assert abs(1 / plain - 1 / scores.resolution) <= ring


def test_resolution_is_not_carried_across_a_gap() -> None:
    frequency = torch.arange(1, 6, dtype=torch.float64) / 10
    curve = torch.tensor([0.9, 0.9, 0.1, 0.1, 0.49])
    counting = torch.tensor([True, True, False, False, True])
    value = 1 / resolution(frequency, curve, counting=counting)
    assert 0.2 < value <= 0.3


def test_weighted_ring_correlation_and_ceiling() -> None:
    density, count = torch.tensor([4.0, 1.0]), torch.tensor([1.0, 4.0])
    curve = torch.tensor([1.0, 0.0])
    assert weighted_ring_correlation(curve, density, count) == pytest.approx(0.5)
    assert ceiling(curve, density, count) == pytest.approx(0.5**0.5)


def test_no_isotropic_filter_passes_the_ceiling() -> None:
    generator = torch.Generator().manual_seed(3)
    truth = torch.randn((60, 60), generator=generator, dtype=torch.float64)
    image = truth + 2 * torch.randn((60, 60), generator=generator, dtype=torch.float64)
    scores = score_rings(image, truth, (1.0, 1.0), width=1)
    assert correlation(image, truth) <= scores.ceiling + 0.02  # corners lie beyond the rings
    flat = equalised(image, truth, (1.0, 1.0), 1e-6)
    assert correlation(flat, truth) <= scores.ceiling + 0.02


def test_smoothing_gains_nothing_at_equal_resolution() -> None:
    side, pixel = 96, 0.5
    generator = torch.Generator().manual_seed(4)
    qx, qy = optics.frequencies((side, side), (pixel, pixel))
    q2 = qx**2 + qy**2
    white = torch.randn((2, side, side), generator=generator, dtype=torch.float64)
    truth = torch.fft.ifft2(torch.fft.fft2(white[0]) * torch.exp(-2 * q2)).real
    image = truth + 0.8 * white[1]
    smooth = torch.fft.ifft2(torch.fft.fft2(image) * torch.exp(-2 * q2)).real
    signal, background = truth_masks(truth)
    assert contrast_to_noise(smooth, signal, background) > 1.2 * contrast_to_noise(
        image, signal, background
    )
    a, b = (equalised(one, truth, (pixel, pixel), 2.0) for one in (image, smooth))
    assert contrast_to_noise(a, signal, background) == pytest.approx(
        contrast_to_noise(b, signal, background), rel=0.02
    )
    inverted = equalised(-image, truth, (pixel, pixel), 2.0)
    torch.testing.assert_close(inverted, a)
