from __future__ import annotations

import math

import pytest
import torch

from misr4d.measure.metrics import (
    checkerboard,
    contrast_to_noise,
    correlation,
    dose_to_reach,
    line_profile,
    ms_ssim,
    peak_to_background,
    psnr,
    specimen_mask,
    truth_masks,
)


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


@pytest.mark.parametrize("n", [192, 96, 40])
def test_structural_similarity_falls_with_noise_and_ignores_gain(n: int) -> None:
    x = torch.arange(n) / n
    image = torch.sin(20 * x[:, None]) * torch.cos(31 * x[None, :])
    assert ms_ssim(3 * image - 5, image) == pytest.approx(1.0, abs=1e-6)
    scores = [ms_ssim(image + level * noise(0, n), image) for level in (0.1, 0.3, 1.0)]
    assert 1 > scores[0] > scores[1] > scores[2] > 0
    with pytest.raises(ValueError, match="a side of 20 pixels; expected at least 33"):
        ms_ssim(noise(0, 20), noise(1, 20))


def disc(n: int = 64, radius: float = 16.0) -> torch.Tensor:
    x = torch.arange(n) - n / 2
    return ((x[:, None] ** 2 + x[None, :] ** 2).sqrt() < radius).float()


def test_contrast_to_noise_of_a_drawn_disc_is_its_height_over_the_noise() -> None:
    drawn = disc()
    truth = drawn + 0.1 * disc(radius=8.0) + 1e-3 * noise(2, 64)
    signal, background = truth_masks(truth, signal=0.96, background=0.5)
    assert (drawn[signal] == 1).all()
    assert (drawn[background] == 0).all()
    image = 4.0 * drawn + 0.5 * noise(0, 64)
    assert contrast_to_noise(image, signal, background) == pytest.approx(8.0, rel=0.1)
    assert contrast_to_noise(-3 * image + 7, signal, background) == pytest.approx(8.0, rel=0.1)
    assert contrast_to_noise(noise(3, 64), signal, background) < 0.5


def test_masks_keep_to_the_region_they_are_given() -> None:
    left = torch.zeros(64, 64, dtype=torch.bool)
    left[:, :32] = True
    signal, background = truth_masks(noise(0, 64), within=left)
    assert not (signal & ~left).any()
    assert not (background & ~left).any()
    assert int(signal.sum()) == pytest.approx(0.05 * 2048, abs=2)


def test_masks_and_contrast_refuse_what_has_none() -> None:
    for blank in (torch.zeros(8, 8), 0 * disc(64)):
        with pytest.raises(ValueError, match="the signal mask is empty: the truth is 0 at"):
            truth_masks(blank)
    with pytest.raises(ValueError, match=r"within has shape \(4, 8\); expected \(8, 8\)"):
        truth_masks(noise(0, 8), within=torch.ones(4, 8, dtype=torch.bool))
    with pytest.raises(ValueError, match="expected 0 < background < signal < 1"):
        truth_masks(noise(0, 8), signal=0.2, background=0.4)
    with pytest.raises(ValueError, match="within holds no pixel"):
        truth_masks(noise(0, 8), within=torch.zeros(8, 8, dtype=torch.bool))
    mask = disc(8, 2).bool()
    with pytest.raises(ValueError, match="the background has no spread"):
        contrast_to_noise(torch.ones(8, 8), mask, ~mask)
    with pytest.raises(ValueError, match="signal mask has shape"):
        contrast_to_noise(torch.ones(8, 8), mask & ~mask, ~mask)
    with pytest.raises(ValueError, match="not finite"):
        contrast_to_noise(torch.full((8, 8), math.nan), mask, ~mask)


def test_masks_of_a_flat_disc_in_vacuum_are_disc_and_vacuum() -> None:
    signal, background = truth_masks(disc(), signal=0.9)
    assert torch.equal(signal, disc().bool())
    assert torch.equal(background, ~disc().bool())
    image = 2.0 * disc() + 0.25 * noise(0, 64)
    assert contrast_to_noise(image, signal, background) == pytest.approx(8.0, rel=0.05)


def test_peaks_over_valleys_of_a_wave_in_noise() -> None:
    """Height 2 between crest and trough over noise of 0.1, and nothing where there is none."""
    x = torch.linspace(0, 40 * math.pi, 1001)
    truth = torch.cos(x)
    random = noise(0, 1001)[0]
    assert peak_to_background(truth + 0.1 * random, truth) == pytest.approx(20.0, rel=0.35)
    assert peak_to_background(5 * (truth + 0.1 * random) - 3, truth) == pytest.approx(
        peak_to_background(truth + 0.1 * random, truth), rel=1e-4
    )
    assert abs(peak_to_background(random, truth)) < 1
    with pytest.raises(ValueError, match="0 peaks and 0 valleys"):
        peak_to_background(random, torch.linspace(0, 1, 1001))
    with pytest.raises(ValueError, match="cannot be compared"):
        peak_to_background(random[:5], truth)


def test_peaks_over_valleys_of_drawn_gaussians_is_the_number_drawn() -> None:
    """Nine atoms 4 Å apart; the eight valleys between them are moved up and down by 0.05."""
    x = torch.linspace(0, 40, 801, dtype=torch.float64)
    centres = torch.arange(4.0, 37.0, 4.0, dtype=torch.float64)
    truth = torch.exp(-((x[:, None] - centres) ** 2) / (2 * 0.6**2)).sum(1)
    moved = truth + 0.05 * torch.sin(math.pi * x / 4)
    height = 1 - 2 * math.exp(-(2.0**2) / (2 * 0.6**2))
    expected = height / (0.05 * math.sqrt(8 / 7))
    assert peak_to_background(moved, truth) == pytest.approx(expected, rel=1e-3)
    flat = torch.tensor([0.0, 1, 0, 1, 0, 1, 0])
    assert peak_to_background(flat, flat) == math.inf
    assert peak_to_background(torch.ones(7), flat) == 0.0
    with pytest.raises(ValueError, match="not finite"):
        peak_to_background(flat * math.nan, flat)


def test_dose_to_reach_is_interpolated_and_never_extrapolated() -> None:
    doses = torch.tensor([100.0, 400.0, 1600.0])
    scores = torch.tensor([0.2, 0.6, 0.5], dtype=torch.float64)
    assert dose_to_reach(doses, scores, 0.4) == pytest.approx(200.0)
    assert dose_to_reach(doses, scores, 0.2) == pytest.approx(100.0)
    assert dose_to_reach(doses, scores, 0.6) == pytest.approx(400.0)
    assert dose_to_reach(doses, scores, 0.1) == 0.0
    assert dose_to_reach(doses, scores, 0.7) == math.inf
    # Past the target at the lowest dose, whatever the curve does after.
    assert dose_to_reach(doses, torch.tensor([0.5, 0.1, 0.9]), 0.3) == 0.0
    with pytest.raises(ValueError, match="1/resolution"):
        dose_to_reach(doses, torch.tensor([math.inf, 5.0, 3.0]), 4.0)
    with pytest.raises(ValueError, match="target is nan"):
        dose_to_reach(doses, scores, math.nan)
    with pytest.raises(ValueError, match="expected two or more, positive and rising"):
        dose_to_reach(doses.flip(0), scores, 0.4)
    with pytest.raises(ValueError, match="expected one score for each dose"):
        dose_to_reach(doses, scores[:2], 0.4)


def test_checkerboard_of_noise_of_a_smooth_image_and_of_a_pattern() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn((40, 192, 192), generator=generator)
    found = torch.tensor([checkerboard(one, 3) for one in noise]).log()
    assert abs(float(found.mean())) < 0.2
    tile = torch.tensor([[1.0, -0.5, -0.5], [0.0, 0.2, -0.2], [-1.0, 0.3, 0.7]])
    pattern = tile.repeat(64, 64)
    one = checkerboard(noise[0] + pattern, 3)
    assert one > 30
    # A layer of one weight and one bias, the paper's head after a shuffle to one channel, is blind.
    assert checkerboard(-0.3 * (noise[0] + pattern) + 2.0, 3) == pytest.approx(one, rel=1e-6)
    with pytest.raises(ValueError, match="64 × 64 and period 3 do not fit"):
        checkerboard(torch.zeros(64, 64), 3)


def test_correlation_inside_does_not_reward_the_outline() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.zeros(96, 96)
    x = torch.arange(96) * 0.5
    columns = 1 + torch.cos(2 * torch.pi * x / 3)
    truth[24:72, 24:72] = (columns[:, None] * columns[None, :])[24:72, 24:72]
    inside = specimen_mask(truth, (0.5, 0.5))
    patch = inside.float() + 0.01 * torch.randn(96, 96, generator=generator)
    assert correlation(patch, truth) > 0.5  # a featureless patch
    assert abs(correlation(patch, truth, within=inside)) < 0.15
    assert correlation(truth, truth, within=inside) == pytest.approx(1)
    with pytest.raises(ValueError, match="at least two"):
        correlation(truth, truth, within=torch.zeros(96, 96, dtype=torch.bool))


def test_specimen_mask_closes_columns_and_leaves_vacuum() -> None:
    x = torch.arange(120) * 0.5
    columns = torch.exp(-(((x % 4) - 2) ** 2) / 0.3)
    truth = columns[:, None] * columns[None, :]
    assert specimen_mask(truth, (0.5, 0.5)).all()  # the crystal fills the field
    truth[:40] = 0
    inside = specimen_mask(truth, (0.5, 0.5))
    assert not inside[10:30].any()
    assert inside[50:110].all()
    with pytest.raises(ValueError, match="0 in vacuum"):
        specimen_mask(torch.zeros(20, 20), (1.0, 1.0))
