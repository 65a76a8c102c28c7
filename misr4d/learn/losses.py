"""What the networks are trained to reduce: the paper's Eqs. 3–7, and a calibrated likelihood."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

import pytorch_msssim
import torch
from torch import Tensor, nn

from misr4d.specimens.fetch import fetch

__all__ = [
    "PaperLoss",
    "VGGFeatures",
    "gaussian_likelihood",
    "ring_error",
]

VGG_ADDRESS = "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth"
VGG_SHA256_START = "dcbb9e9d"  # part of the official file's name
_VGG_LAYERS = (64, 64, "pool", 128, 128, "pool", 256, 256, 256, 256, "pool")


class VGGFeatures(nn.Module):
    """First 19 layers of VGG19: up to the pool after its third block of convolutions (Eq. 6).

    Parameters
    ----------
    path : str or Path, optional
        A file of the official weights; by default they are fetched once, with checksum,
        which needs a network connection.

    Raises
    ------
    ConnectionError
        If the weights are not here and the network cannot be reached.
    ValueError
        If the file is not the official one.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for layer in _VGG_LAYERS:
            if isinstance(layer, str):
                layers.append(nn.MaxPool2d(2))
            else:
                layers += [nn.Conv2d(channels, layer, 3, padding=1), nn.ReLU()]
                channels = layer
        self.features = nn.Sequential(*layers)
        file = Path(path) if path else fetch(VGG_ADDRESS, "vgg19-dcbb9e9d.pth")
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        if not digest.startswith(VGG_SHA256_START):
            raise ValueError(
                f"{file} has the SHA-256 {digest[:8]}…; expected the official VGG19 weights, "
                f"{VGG_SHA256_START}…: delete it to fetch {VGG_ADDRESS} again"
            )
        # weights_only: tensors alone are read, no code is run.
        state = torch.load(file, map_location="cpu", weights_only=True)
        feature_weights = {k: v for k, v in state.items() if k in self.state_dict()}
        self.load_state_dict(feature_weights)
        self.requires_grad_(False).eval()
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406])[:, None, None])
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225])[:, None, None])

    def forward(self, image: Tensor) -> Tensor:
        """Features of grey images in [0, 1]: ``(N, 1, H, W) → (N, 256, H/8, W/8)``."""
        rgb = (image.expand(-1, 3, -1, -1) - self.mean) / self.std
        features: Tensor = self.features(rgb)
        return features


@lru_cache(maxsize=1)
def _shared_vgg() -> VGGFeatures:
    return VGGFeatures()


class PaperLoss(nn.Module):
    """The paper's training loss, §2.1.3.

    For a scan step below 1 Å (Eq. 3)  L = L₁ + λ·L_VGG + (1 − MS-SSIM), λ = 0.006;
    above 1 Å (Eq. 4)                  L = L₁ + (1 − MS-SSIM);
    with L₁ = mean |x − y| (Eq. 5), L_VGG = ‖φ(x) − φ(y)‖² / CHW (Eq. 6) and MS-SSIM over five
    scales (Eq. 7). The paper leaves a step of exactly 1 Å undefined: it counts as above here (our
    choice: the perceptual term needs weights that no package ships).

    Images are divided by the range of their target first, since both terms of the paper are made
    for images of unit range and ours are in rad.

    Parameters
    ----------
    step : float
        Scan step [Å].
    perceptual : VGGFeatures, optional
        Used where Eq. 3 requires it; fetched if it is not given.
    weight : float
        λ.
    """

    def __init__(
        self,
        step: float,
        perceptual: VGGFeatures | None = None,
        weight: float = 0.006,  # paper §2.1.3
    ) -> None:
        super().__init__()
        self.weight = weight
        self.perceptual: VGGFeatures | None = None
        if step < 1:
            self.perceptual = perceptual or _shared_vgg()

    def forward(self, image: Tensor, target: Tensor) -> Tensor:
        """Loss of ``(N, 1, H, W)`` images, H and W above 160 pixels; a scalar."""
        lowest = target.amin((1, 2, 3), keepdim=True)
        span = (target.amax((1, 2, 3), keepdim=True) - lowest).clamp_min(1e-3)
        x, y = (image - lowest) / span, (target - lowest) / span
        loss: Tensor = (x - y).abs().mean()
        loss = loss + 1 - pytorch_msssim.ms_ssim(x, y, data_range=1.0)
        if self.perceptual is not None:
            loss = loss + self.weight * (self.perceptual(x) - self.perceptual(y)).square().mean()
        return loss


def gaussian_likelihood(
    mean: Tensor, deviation: Tensor, target: Tensor, *, beta: float = 0.5
) -> Tensor:
    """Negative log-likelihood of a target under a pixel's own Gaussian, weighted by σ^(2β).

    L = ⟨ ⌊σ^2β⌋ · [ (y − μ)²/2σ² + log σ ] ⟩, where ⌊·⌋ is held fixed in the gradient. With β = 0
    pixels that are hard to predict are given up early; β = ½ keeps their mean learning.

    Parameters
    ----------
    mean, deviation, target : Tensor
        Of one shape, `deviation` positive.
    beta : float
        Between 0, the likelihood, and 1, in which the mean learns as from squared errors.

    References
    ----------
    Seitzer et al., ICLR (2022), arXiv:2203.09168.
    """
    likelihood = (target - mean).square() / (2 * deviation.square()) + deviation.log()
    return (likelihood * deviation.detach() ** (2 * beta)).mean()


def ring_error(image: Tensor, target: Tensor, rings: Tensor) -> Tensor:
    """Relative error of each ring of spatial frequency, bounded, averaged over the rings.

    A pixel's error is dominated by low frequencies; this counts each ring alike, as the ring
    correlation does. With E the error's and T the target's power in a ring, it is ⟨E/(E + T)⟩.

    Parameters
    ----------
    image, target : Tensor
        ``(N, X, Y)``.
    rings : Tensor
        Ring of each frequency in the order of ``torch.fft.rfft2`` ``(X, Y/2 + 1)``; ring 0 is
        left out.
    """
    count = int(rings.max()) + 1
    index = rings.flatten()

    def power(x: Tensor) -> Tensor:
        p = torch.fft.rfft2(x.float(), norm="forward").abs().square().flatten(1)
        sums: Tensor = p.new_zeros((len(p), count)).index_add(1, index, p)[:, 1:]
        return sums

    error, signal = power(image - target), power(target)
    floor = 1e-4 * signal.sum(1, keepdim=True) / count + 1e-12
    mean_error: Tensor = ((error + floor) / (error + signal + floor)).mean()
    return mean_error
