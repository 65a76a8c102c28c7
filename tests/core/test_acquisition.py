from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from misr4d import ATOMIC, MOLECULAR, Acquisition
from misr4d.core.optics import chi


def test_regimes_are_those_of_the_design() -> None:
    assert ATOMIC.number_of_views == MOLECULAR.number_of_views == 177
    assert ATOMIC.pixel_samples == MOLECULAR.pixel_samples == 3  # one detector, of finite pixels
    assert ATOMIC.field == (64.0, 64.0)
    assert MOLECULAR.field == (256.0, 256.0)
    assert ATOMIC.largest_view_shift == pytest.approx(5.0)
    assert MOLECULAR.largest_view_shift == pytest.approx(15.0)
    assert ATOMIC.information_limit == pytest.approx(0.984, abs=1e-3)
    assert ATOMIC.nyquist_period(3) == pytest.approx(2 / 3)


def test_registering_shift_is_the_gradient_of_chi() -> None:
    k = ATOMIC.view_frequencies.clone().requires_grad_()
    chi((k**2).sum(-1), ATOMIC.wavelength, ATOMIC.defocus).sum().backward()
    assert k.grad is not None
    torch.testing.assert_close(ATOMIC.registering_shifts, k.grad / (2 * math.pi))


def test_an_astigmatic_probe_displaces_views_by_the_slope_of_its_chi() -> None:
    skewed = replace(ATOMIC, astigmatism=(60.0, -25.0))
    k = skewed.view_frequencies.clone().requires_grad_()
    skewed.chi(k[:, 0], k[:, 1]).sum().backward()
    assert k.grad is not None
    torch.testing.assert_close(skewed.registering_shifts, k.grad / (2 * math.pi))
    assert skewed.largest_view_shift == pytest.approx((500 + 65) * 0.01)
    with pytest.raises(ValueError, match="astigmatism is"):
        replace(ATOMIC, astigmatism=(math.nan, 0.0))
    # Along one axis the views are all but in place.
    with pytest.raises(ValueError, match="under-determined"):
        replace(ATOMIC, astigmatism=(480.0, 0.0)).check_upsampling(3)


def test_pixels_of_finite_size_conserve_the_disc() -> None:
    fine = replace(ATOMIC, pixel_samples=9)
    assert fine.view_samples.shape == (177, 81, 2)
    torch.testing.assert_close(fine.view_frequencies, ATOMIC.view_frequencies)
    assert fine.pixels_per_disc == pytest.approx(math.pi * 7.5**2, rel=2e-3)
    assert replace(ATOMIC, pixel_samples=1).pixels_per_disc == 177


def test_vacuum_is_one_where_a_pixel_is_fully_lit() -> None:
    vacuum = ATOMIC.vacuum_views
    assert vacuum.shape == (177, 64, 64)
    assert float(vacuum.max()) == 1.0
    assert 0.3 < float(vacuum.min()) < 1.0
    inner = ATOMIC.view_angles.norm(dim=1) < ATOMIC.semiangle - ATOMIC.detector_pixel
    assert bool((vacuum[inner] == 1).all())
    torch.testing.assert_close(ATOMIC.relative_to_vacuum(vacuum), torch.ones_like(vacuum))


def test_refocusing_counts_defocus_from_a_depth() -> None:
    assert ATOMIC.refocused(10.0).defocus == 490.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"defocus": math.nan}, "defocus is nan Å"),
        ({"step": 0.0}, r"step is 0\.0 Å"),
        ({"step": (1.0, -1.0)}, r"step is -1\.0 Å"),
        ({"energy": math.inf}, "energy is inf eV"),
        ({"semiangle": -3.0}, r"semiangle is -3\.0 mrad"),
        ({"scan_shape": (0, 5)}, r"scan_shape is \(0, 5\)"),
        ({"pixel_samples": 2}, "pixel_samples is 2"),
        ({"detector_pixel": 11.0}, "there would be one view"),
    ],
)
def test_bad_values_are_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(ATOMIC, **change)  # type: ignore[arg-type]


def test_coarse_wave_field_says_what_sampling_is_needed() -> None:
    with pytest.raises(ValueError, match=r"sample the potential at 0\.656 Å or finer"):
        ATOMIC.check_wave_sampling((1.0, 1.0))
    ATOMIC.check_wave_sampling((0.656, 0.656))


def test_views_without_displacement_are_under_determined() -> None:
    focused = replace(ATOMIC, defocus=10.0)
    with pytest.raises(ValueError, match=r"use a defocus of at least 50 Å or a finer step"):
        focused.check_upsampling(3)
    focused.check_upsampling(1)
    replace(ATOMIC, defocus=-50.0).check_upsampling(3)
    with pytest.raises(ValueError, match="use a defocus of at least 5000 Å"):
        Acquisition(defocus=1500.0, step=100.0).check_upsampling(3)


def test_too_few_views_are_under_determined() -> None:
    with pytest.raises(ValueError, match=r"5 views cannot determine 3×3 aliases"):
        replace(ATOMIC, detector_pixel=8.0).check_upsampling(3)
    with pytest.raises(ValueError, match="upsampling is 0"):
        ATOMIC.check_upsampling(0)
