from __future__ import annotations

import hashlib
import math
from pathlib import Path

import pytest
import pytorch_msssim
import torch
from torch import Tensor, nn

from misr4d.learn import losses
from misr4d.learn.losses import PaperLoss, VGGFeatures, gaussian_likelihood, ring_error
from misr4d.learn.recipes import _frequency_rings


def images() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    target = torch.rand((2, 1, 192, 192), generator=generator)
    return target + 0.1 * torch.randn(target.shape, generator=generator), target


class Squares(nn.Module):
    """Features that can be summed by hand."""

    def forward(self, image: Tensor) -> Tensor:
        return image**2


def unit(image: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    low = target.amin((1, 2, 3), keepdim=True)
    span = target.amax((1, 2, 3), keepdim=True) - low
    return (image - low) / span, (target - low) / span


def test_above_one_angstrom_the_loss_is_equation_four() -> None:
    image, target = images()
    x, y = unit(image, target)
    structure = pytorch_msssim.ms_ssim(x, y, data_range=1.0)
    expected = (x - y).abs().mean() + 1 - structure
    torch.testing.assert_close(PaperLoss(4.0)(image, target), expected)
    # A step of exactly 1 Å, which the paper leaves open, counts as above.
    torch.testing.assert_close(PaperLoss(1.0)(image, target), expected)
    assert float(PaperLoss(4.0)(target, target)) == pytest.approx(0, abs=1e-6)


def test_below_one_angstrom_the_perceptual_term_joins_as_in_equation_three() -> None:
    image, target = images()
    x, y = unit(image, target)
    loss = PaperLoss(0.5, Squares())  # type: ignore[arg-type]
    expected = PaperLoss(4.0)(image, target) + 0.006 * (x**2 - y**2).square().mean()
    torch.testing.assert_close(loss(image, target), expected)


def test_loss_does_not_depend_on_the_unit_of_the_phase() -> None:
    image, target = images()
    torch.testing.assert_close(PaperLoss(2.0)(7 * image, 7 * target), PaperLoss(2.0)(image, target))


def write_vgg(path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """Write a file with the official layout and drawn weights, and take its checksum for theirs."""
    generator = torch.Generator().manual_seed(0)
    state, channels, index = {}, 3, 0
    for item in (64, 64, "p", 128, 128, "p", 256, 256, 256, 256, "p", 512):
        if item == "p":
            index += 1
            continue
        assert isinstance(item, int)
        scale = 1 / math.sqrt(9 * channels)
        state[f"features.{index}.weight"] = (
            torch.randn((item, channels, 3, 3), generator=generator) * scale
        )
        state[f"features.{index}.bias"] = torch.randn(item, generator=generator)
        channels, index = item, index + 2
    state["classifier.0.weight"] = torch.zeros(1)
    torch.save(state, path)
    start = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    monkeypatch.setattr(losses, "VGG_SHA256_START", start)
    return state


def test_vgg_features_are_its_first_19_layers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = write_vgg(tmp_path / "vgg.pth", monkeypatch)
    network = VGGFeatures(tmp_path / "vgg.pth")
    assert len(network.features) == 19
    image = torch.rand(1, 1, 64, 64)
    found = network(image)
    assert found.shape == (1, 256, 8, 8)
    x = image.expand(-1, 3, -1, -1)
    x = (x - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor(
        [0.229, 0.224, 0.225]
    )[:, None, None]
    for index in range(19):
        if index in (4, 9, 18):
            x = nn.functional.max_pool2d(x, 2)
        elif f"features.{index}.weight" in state:
            weight, bias = state[f"features.{index}.weight"], state[f"features.{index}.bias"]
            x = nn.functional.conv2d(x, weight, bias, padding=1).relu()
    torch.testing.assert_close(found, x)
    assert not any(p.requires_grad for p in network.parameters())


def test_other_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / "vgg.pth").write_bytes(b"not the weights")
    with pytest.raises(ValueError, match="expected the official VGG19 weights, dcbb9e9d"):
        VGGFeatures(tmp_path / "vgg.pth")


def test_likelihood_is_least_at_the_true_deviation() -> None:
    generator = torch.Generator().manual_seed(0)
    error = 0.3 * torch.randn(100_000, generator=generator)
    zero = torch.zeros_like(error)

    def at(sigma: float) -> float:
        return float(gaussian_likelihood(zero, torch.full_like(error, sigma), error, beta=0.0))

    assert at(0.3) < min(at(0.2), at(0.27), at(0.33), at(0.5))
    # With β = 0 it is −log of the normal density, but for the constant.
    normal = torch.distributions.Normal(0.0, 0.5)
    expected = -normal.log_prob(error).mean() - 0.5 * math.log(2 * math.pi)
    assert at(0.5) == pytest.approx(float(expected), rel=1e-5)


def test_likelihood_with_full_weight_teaches_the_mean_as_squares_do() -> None:
    mean = torch.zeros(4, requires_grad=True)
    deviation, target = torch.tensor([0.1, 1.0, 2.0, 5.0]), torch.tensor([1.0, 2.0, 3.0, 4.0])
    gaussian_likelihood(mean, deviation, target, beta=1.0).backward()
    torch.testing.assert_close(mean.grad, -target / 4)


def test_ring_error_counts_every_ring_alike() -> None:
    rings = _frequency_rings((96, 96), "cpu")
    generator = torch.Generator().manual_seed(0)
    target = torch.randn((1, 96, 96), generator=generator)
    assert float(ring_error(target, target, rings)) < 1e-3
    # An image of nothing misses all of every ring: E = T, one half.
    assert float(ring_error(torch.zeros_like(target), target, rings)) == pytest.approx(
        0.5, abs=0.01
    )
    spectrum = torch.fft.rfft2(target)
    half = int(rings.max()) // 2
    missing = torch.fft.irfft2(torch.where(rings > half, 0, spectrum), s=(96, 96))
    share = (int(rings.max()) - half) / int(rings.max())
    assert float(ring_error(missing, target, rings)) == pytest.approx(0.5 * share, abs=0.03)
