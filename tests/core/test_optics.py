from __future__ import annotations

import math
from dataclasses import replace

import abtem
import numpy as np
import pytest
import torch
from abtem.antialias import antialias_aperture
from abtem.core.energy import energy2sigma, energy2wavelength
from abtem.multislice import _fresnel_propagator_array
from abtem.transfer import CTF

from misr4d import ATOMIC
from misr4d.core import optics


@pytest.mark.parametrize("energy", [30e3, 80e3, 200e3, 300e3])
def test_wavelength_and_interaction_parameter_agree_with_abtem(energy: float) -> None:
    assert optics.wavelength(energy) == pytest.approx(energy2wavelength(energy), rel=1e-6)
    assert optics.interaction_parameter(energy) == pytest.approx(energy2sigma(energy), rel=1e-6)


def test_wavelength_at_300_kv_is_the_tabulated_one() -> None:
    assert optics.wavelength(300e3) == pytest.approx(0.01968749, abs=1e-7)


@pytest.mark.parametrize("energy", [0.0, -1.0, math.nan, math.inf])
def test_wavelength_refuses_impossible_energies(energy: float) -> None:
    with pytest.raises(ValueError, match=r"energy is .* eV; expected a positive number"):
        optics.wavelength(energy)


def test_chi_is_abtems_for_positive_defocus() -> None:
    ctf = CTF(energy=300e3, defocus=500.0, semiangle_cutoff=np.inf)
    angles = np.linspace(0, 0.01, 50)  # rad
    theirs = ctf._evaluate_from_angular_grid(angles, np.zeros_like(angles))
    lam = optics.wavelength(300e3)
    ours = np.exp(-1j * optics.chi(torch.from_numpy((angles / lam) ** 2), lam, 500.0).numpy())
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    wrong = np.exp(-1j * optics.chi(torch.from_numpy((angles / lam) ** 2), lam, -500.0).numpy())
    assert np.abs(wrong - theirs).max() > 1


def test_astigmatism_is_abtems() -> None:
    ctf = CTF(energy=300e3, defocus=500.0, C12=80.0, phi12=0.4, semiangle_cutoff=np.inf)
    angle, azimuth = np.meshgrid(np.linspace(0, 0.01, 30), np.linspace(-3, 3, 20), indexing="ij")
    theirs = ctf._evaluate_from_angular_grid(angle, azimuth)
    parts = (80.0 * math.cos(0.8), 80.0 * math.sin(0.8))
    k = torch.from_numpy(angle) / optics.wavelength(300e3)
    turn = torch.from_numpy(azimuth)
    kx, ky = k * turn.cos(), k * turn.sin()
    ours = torch.exp(-1j * replace(ATOMIC, astigmatism=parts).chi(kx, ky)).numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    plain = torch.exp(-1j * ATOMIC.chi(kx, ky)).numpy()
    assert np.abs(plain - theirs).max() > 0.5


def test_positive_defocus_is_underfocus_the_crossover_lies_beyond_the_entrance() -> None:
    probe = abtem.Probe(
        energy=300e3, semiangle_cutoff=10, defocus=1000.0, extent=60, gpts=400, soft=False
    )
    wave = np.asarray(probe.build(lazy=False).array)
    sharp = {}
    for distance in (-1000.0, 0.0, 1000.0):
        kernel = _fresnel_propagator_array(distance, (400, 400), (0.15, 0.15), 300e3, "cpu")
        moved = np.fft.ifft2(np.fft.fft2(wave) * kernel)
        sharp[distance] = (np.abs(moved) ** 2).max() / (np.abs(moved) ** 2).sum()
    assert sharp[1000.0] > 3 * sharp[0.0]
    assert sharp[0.0] > 3 * sharp[-1000.0]


def test_antialias_aperture_is_abtems() -> None:
    qx, qy = optics.frequencies((96, 80), (0.3, 0.25))
    ours = optics.antialias_aperture(qx**2 + qy**2, (0.3, 0.25)).numpy()
    np.testing.assert_allclose(ours, antialias_aperture((96, 80), (0.3, 0.25), np), atol=1e-5)


@pytest.mark.parametrize("shape", [(12, 15), (13, 12), (9, 9), (24, 24)])
def test_fourier_resampling_keeps_band_limited_images(shape: tuple[int, int]) -> None:
    def wave(n: int, m: int) -> torch.Tensor:
        x = torch.arange(n, dtype=torch.float64)[:, None] / n
        y = torch.arange(m, dtype=torch.float64)[None, :] / m
        return 2 + torch.cos(2 * math.pi * (2 * x + y)) + torch.sin(2 * math.pi * (3 * y - x))

    out = optics.fourier_resample(wave(10, 11), shape)
    torch.testing.assert_close(out, wave(*shape), atol=1e-12, rtol=0)


def test_growing_and_shrinking_a_spectrum_gives_it_back_even_at_nyquist() -> None:
    image = torch.randn(8, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    there = optics.fourier_resample(image, (16, 18))
    torch.testing.assert_close(optics.fourier_resample(there, (8, 6)), image)


def test_wave_sampling_limits_of_the_released_code() -> None:
    lam = ATOMIC.wavelength
    assert optics.wave_sampling_limit(1.0, lam) == pytest.approx(6.56, abs=0.02)
    assert optics.wave_sampling_limit(1 / 3, lam) == pytest.approx(19.69, abs=0.02)
