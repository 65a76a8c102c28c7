from __future__ import annotations

import math

import pytest
import torch

from misr4d.metrics import (
    correlation,
    fourier_ring_correlation,
    line_profile,
    psnr,
    resolution,
)
from misr4d.optics import frequencies


def noise(seed: int, n: int = 128) -> torch.Tensor:
    return torch.randn(n, n, generator=torch.Generator().manual_seed(seed))


def test_correlation_of_signal_in_noise_has_its_closed_form() -> None:
    signal = noise(0)
    assert correlation(signal + noise(1), signal) == pytest.approx(1 / math.sqrt(2), abs=0.02)
    assert correlation(3 * signal + 5, signal) == pytest.approx(1.0)
    assert correlation(-signal, signal) == pytest.approx(-1.0)
    assert correlation(torch.ones(8, 8), noise(0, 8)) == 0.0


def test_psnr_removes_one_gain_and_offset() -> None:
    image = torch.zeros(100, 100)
    image[40:60] = 1.0
    assert psnr(2 * image + 7, image) > 200
    noisy = image + 0.1 * noise(0)[:100, :100]
    assert psnr(noisy, image) == pytest.approx(20.0, abs=0.5)
    with pytest.raises(ValueError, match="reference is constant"):
        psnr(image, torch.ones(100, 100))


def test_ring_correlation_of_independent_noise_is_zero_and_of_itself_one() -> None:
    frequency, values, count = fourier_ring_correlation(noise(0), noise(1), (0.5, 0.5))
    assert frequency[-1] == pytest.approx(1.0)
    # A ring of n Fourier pixels holds n / 2 independent ones: standard deviation √(2/n)·√½ each.
    assert float((values * count.sqrt())[3:].std()) == pytest.approx(1.0, abs=0.45)
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


def test_profile_follows_a_plane_exactly() -> None:
    x = torch.arange(30.0)[:, None] * 0.5
    y = torch.arange(40.0)[None, :] * 0.25
    plane = 2 * x - y
    distance, value = line_profile(plane, (1.0, 2.0), (10.0, 8.0), (0.5, 0.25), width=1.5)
    along = torch.tensor([9.0, 6.0], dtype=torch.float64) / math.hypot(9, 6)
    expected = 0.0 + distance * (2 * along[0] - along[1])
    torch.testing.assert_close(value, expected, atol=1e-6, rtol=0)
    assert float(distance[-1]) == pytest.approx(math.hypot(9, 6))


def test_profile_refuses_lines_outside() -> None:
    image = torch.zeros(10, 10)
    with pytest.raises(ValueError, match="leaves the image"):
        line_profile(image, (0.0, 0.0), (20.0, 0.0), (1.0, 1.0))
    with pytest.raises(ValueError, match="no length"):
        line_profile(image, (1.0, 1.0), (1.0, 1.0), (1.0, 1.0))


def test_images_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(ValueError, match="expected two images of one shape"):
        correlation(torch.zeros(3, 3), torch.zeros(4, 4))
    with pytest.raises(ValueError, match="not finite"):
        psnr(torch.full((3, 3), math.nan), torch.zeros(3, 3))
