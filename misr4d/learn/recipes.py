"""What each network is trained on, and what it is trained to reduce: one recipe a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from misr4d.core.acquisition import UPSAMPLING
from misr4d.learn.configuration import Training, acquisition_of, aligned, view_geometry
from misr4d.learn.examples import draw_condition, draw_maps, draw_views, generator_of, prepare
from misr4d.learn.instruments import draw_batch, prepare_scans
from misr4d.learn.losses import PaperLoss, gaussian_likelihood, ring_error
from misr4d.learn.networks import NETWORKS

__all__ = ["RECIPES", "Batch", "Recipe", "loss_of", "make_batch"]


@dataclass(frozen=True)
class Batch:
    """Samples that one step trains on.

    Parameters
    ----------
    inputs : tuple of Tensor
        What the network is called with.
    target : Tensor
        Truth ``(N, 192, 192)`` [rad], of zero mean.
    step : float
        Smallest scan step among the samples [Å].
    """

    inputs: tuple[Tensor, ...]
    target: Tensor
    step: float


@dataclass(frozen=True)
class Recipe:
    """How one network is trained.

    Parameters
    ----------
    batches : callable
        From run, step, generator and device to the parts of a step.
    loss : callable
        From run, the network's output in float32 and batch to a scalar.
    prepare : callable
        From run and number of processes: simulates beforehand what the run will see.
    """

    batches: Callable[[Training, int, torch.Generator, str], list[Batch]]
    loss: Callable[[Training, tuple[Tensor, ...], Batch], Tensor]
    prepare: Callable[[Training, int | None], None] = prepare


def make_batch(config: Training, step: int, rank: int = 0, device: str = "cpu") -> list[Batch]:
    """Draw the samples of a step; the same arguments give the same samples.

    Returns
    -------
    list of Batch
        Parts of the step, each to be given to the network at once.
    """
    generator = generator_of(config.seed, config.repeat, step, rank)
    return RECIPES[config.network].batches(config, step, generator, device)


def loss_of(config: Training, network: nn.Module, batch: Batch) -> Tensor:
    """Loss of one part of a step: the network in mixed precision if configured, not the loss."""
    kind = batch.target.device.type
    mixed = config.half or (kind == "cuda" and NETWORKS[config.network].mixed_precision)
    with torch.autocast(kind, torch.bfloat16, enabled=mixed):
        output = network(*batch.inputs)
    outputs = output if isinstance(output, tuple) else (output,)
    return RECIPES[config.network].loss(config, tuple(t.float() for t in outputs), batch)


# --- images from views, by the paper's loss -------------------------------------------------------


def _unet_batches(
    config: Training, step: int, generator: torch.Generator, device: str
) -> list[Batch]:
    """Draw what ``config.inputs`` names: raw or registered views, or maps at the scan's pixels."""
    if config.inputs == "direct":
        maps, scan_steps, truth = draw_maps(config, config.batch, step, generator, device)
        return [Batch((functional.pixel_unshuffle(maps, UPSAMPLING),), truth, float(scan_steps[0]))]
    # Each sample has its own regime and defocus: batch normalisation is used afterwards with
    # the statistics of all of them, so it must be trained on their mixture.
    samples, steps = [], []
    for _ in range(config.batch):
        condition = draw_condition(config, generator)
        views, truth = draw_views(config, condition, step, generator, device)
        acquisition = acquisition_of(*condition)
        if config.inputs == "aligned":
            views = aligned(views, acquisition)
        samples.append((views, truth))
        steps.append(min(acquisition.step))
    views, truth = _stacked(samples, device)
    return [Batch((views,), truth, min(steps))]


def _dual_path_batches(
    config: Training, step: int, generator: torch.Generator, device: str
) -> list[Batch]:
    """Draw samples that share regime, defocus and the views that are drawn of each."""
    condition = draw_condition(config, generator)
    acquisition = acquisition_of(*condition)
    chosen = torch.randperm(acquisition.number_of_views, generator=generator)[: config.views]
    samples = [
        draw_views(config, condition, step, generator, device, chosen) for _ in range(config.batch)
    ]
    views, truth = _stacked(samples, device)
    shifts, angles = view_geometry(acquisition)
    inputs = (views, shifts[chosen].to(device), angles[chosen].to(device))
    return [Batch(inputs, truth, min(acquisition.step))]


def _stacked(samples: list[tuple[Tensor, Tensor]], device: str) -> tuple[Tensor, Tensor]:
    views, truth = (torch.stack(tensors).to(device) for tensors in zip(*samples, strict=True))
    return views, truth


@lru_cache(maxsize=4)
def _paper_loss(step: float) -> PaperLoss:
    return PaperLoss(step)


def _image_loss(config: Training, output: tuple[Tensor, ...], batch: Batch) -> Tensor:
    """Compare an image ``(N, 1, 192, 192)`` with the truth."""
    (image,) = output
    if config.loss == "l1":
        absolute: Tensor = (image[:, 0] - batch.target).abs().mean()
        return absolute
    paper: Tensor = _paper_loss(batch.step)(image, batch.target[:, None])
    return paper


# --- images with their deviation, by a likelihood -------------------------------------------------


def _informed_batches(
    config: Training, step: int, generator: torch.Generator, device: str
) -> list[Batch]:
    """Draw a step in two parts, each of samples that share regime and defocus."""
    sizes = [config.batch - config.batch // 2, config.batch // 2]
    batches = []
    for size in filter(None, sizes):
        maps, scan_steps, truth = draw_maps(config, size, step, generator, device)
        batches.append(Batch((maps, scan_steps), truth, float(scan_steps[0])))
    return batches


def _instrument_batches(
    config: Training, step: int, generator: torch.Generator, device: str
) -> list[Batch]:
    """Draw a step in two parts; each sample has an instrument of its own."""
    batches = []
    for _ in range(2):
        half = replace(config, batch=max(1, config.batch // 2))
        maps, numbers, truth = (t.to(device) for t in draw_batch(half, generator))
        batches.append(Batch((maps, numbers), truth, float(numbers[:, 0].min())))
    return batches


@lru_cache(maxsize=4)
def _frequency_rings(shape: tuple[int, int], device: str) -> Tensor:
    """Rings three frequencies wide up to the edge of the spectrum; ring 0 holds all others."""
    qx = torch.fft.fftfreq(shape[0], 1 / shape[0])[:, None]
    qy = torch.fft.rfftfreq(shape[1], 1 / shape[1])[None, :]
    radius = (qx**2 + qy**2).sqrt()
    ring: Tensor = ((radius - 0.5) / 3).floor().long() + 1
    ring[(radius > min(shape) / 2) | (radius < 0.5)] = 0
    return ring.to(device)


def _informed_loss(config: Training, output: tuple[Tensor, ...], batch: Batch) -> Tensor:
    """Compare mean and deviation ``(N, 192, 192)`` with the truth, pixel by pixel and in rings."""
    # In units of the direct estimate, so that weak and strong specimens count alike.
    return _estimate_loss(output, batch, _size(batch.inputs[0][:, 0]))


def _instrument_loss(config: Training, output: tuple[Tensor, ...], batch: Batch) -> Tensor:
    """Compare as for the paper's settings, in units of the truth where that is larger.

    Of a thick crystal direct ptychography may show a tenth: in its units, one such specimen would
    outweigh all others.
    """
    unit = torch.maximum(_size(batch.inputs[0][:, 0]), _size(batch.target))
    return _estimate_loss(output, batch, unit)


def _size(images: Tensor) -> Tensor:
    """Root mean square of images ``(N, X, Y) → (N,)``."""
    return images.square().mean((-2, -1)).sqrt().clamp_min(1e-6)


def _estimate_loss(output: tuple[Tensor, ...], batch: Batch, size: Tensor) -> Tensor:
    (mean, deviation), target = output, batch.target
    unit = size[:, None, None]
    rings = _frequency_rings((target.shape[-2], target.shape[-1]), str(target.device))
    loss = gaussian_likelihood(mean / unit, deviation / unit, target / unit)
    return loss + 0.3 * ring_error(mean, target, rings)  # our choice of weight


RECIPES: Mapping[str, Recipe] = {
    "AttentionUNet": Recipe(_unet_batches, _image_loss),
    "DualPath": Recipe(_dual_path_batches, _image_loss),
    "DirectInformed": Recipe(_informed_batches, _informed_loss),
    "InstrumentInformed": Recipe(_instrument_batches, _instrument_loss, prepare_scans),
}
"""Recipe of every network of :data:`misr4d.learn.networks.NETWORKS`, by its name."""
