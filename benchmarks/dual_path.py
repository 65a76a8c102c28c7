"""Why does the dual path fail? Small trainings of variants of it, and of the paper's U-Net.

    python benchmarks/dual_path.py aligned-below-a-step

The shipped dual path sees a few views at a time, because all of them at once take too long. Here
every view is registered by its known displacement and gated, and then one convolution adds all
views up, whose kernel for each view follows from an embedding of its angle and of what its
displacement leaves below one scan step: fast enough for a step to see nearly all views.

Each variant is trained on crystals and glasses alone, 300 steps of 4 samples at 100 to 3000 e⁻/Å²,
and scored on twelve others at 100, 300 and 1000 e⁻/Å²: median correlation inside the specimen. A
few minutes of one core. The result is added to ``benchmarks/dual_path.json``.
"""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from misr4d.core.acquisition import UPSAMPLING
from misr4d.core.dose import expose
from misr4d.core.files import write_whole
from misr4d.learn.configuration import DEFOCI, Training, acquisition_of, register, view_geometry
from misr4d.learn.examples import example, make_batch
from misr4d.learn.losses import PaperLoss
from misr4d.learn.networks import AttentionUNet, _GatedUNet
from misr4d.measure.metrics import correlation, specimen_mask

OUT = Path(__file__).with_suffix(".json")
STEPS, BATCH, SPECIMENS, VIEWS = 300, 4, 40, 177
DOSES = (100.0, 300.0, 1000.0)  # e⁻/Å², at which it is scored
UNSEEN = range(12)  # specimens from seed 1


class KernelDualPath(nn.Module):
    """Views as a set, gated on a coarse scale and added up by kernels that their angles give.

    Parameters
    ----------
    width : int
        Channels of a coarse view's features.
    rounds : int
        Turns in which what views have in common and their angles refine each other; 0: no gates.
    fused, decoder : int
        Channels of the sum over views, and of the decoder.
    below_a_step : bool
        Register views below one scan step too, or by whole steps alone.
    """

    pool, size, embedding = 4, 3, 64

    def __init__(
        self,
        width: int = 16,
        rounds: int = 1,
        fused: int = 64,
        decoder: int = 48,
        below_a_step: bool = True,
    ) -> None:
        super().__init__()
        length = self.embedding
        self.fused, self.below_a_step = fused, below_a_step
        self.embed = nn.Sequential(
            *(nn.Linear(14, length), nn.SiLU(), nn.Linear(length, length), nn.SiLU()),
            nn.Linear(length, length),
        )
        self.encode = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1)
        )
        self.film = nn.ModuleList(nn.Linear(length, 2 * width) for _ in range(rounds))
        self.weigh = nn.ModuleList(nn.Conv2d(2 * width, 1, 1) for _ in range(rounds))
        self.spatial = nn.ModuleList(
            nn.Conv2d(2 * width, width, 3, padding=1) for _ in range(rounds)
        )
        self.angular = nn.ModuleList(
            nn.Sequential(
                nn.Linear(2 * width + length, length), nn.SiLU(), nn.Linear(length, length)
            )
            for _ in range(rounds)
        )
        for parameter in self.weigh.parameters():  # gates are open at first
            nn.init.zeros_(parameter)
        self.kernel = nn.Linear(length, fused * self.size**2)
        self.decoder = _GatedUNet(fused, decoder, UPSAMPLING**2)
        self.shuffle = nn.PixelShuffle(UPSAMPLING)
        self.head = nn.Conv2d(1, 1, 1)

    def forward(self, views: Tensor, shifts: Tensor, angles: Tensor) -> Tensor:
        """Reconstruct ``(N, M, Rx, Ry)`` with shifts and angles ``(M, 2)``: ``(N, 1, 3·Rx, …)``."""
        n, m = views.shape[:2]
        whole = shifts.round()
        contrast = register(views, shifts if self.below_a_step else whole) - 1
        rest = shifts - whole
        turn, half_turn = 2 * math.pi * rest, math.pi * angles
        known = torch.cat(
            [
                *(angles, angles.square(), rest, turn.sin(), turn.cos()),
                *(half_turn.sin(), half_turn.cos()),
            ],
            1,
        )
        angular = self.embed(known).expand(n, m, -1)
        if len(self.film):
            attention, angular = self._two_paths(contrast, angular)
            contrast = contrast * attention
        kernels = 10 * self.kernel(angular) / m
        kernels = kernels.reshape(n, m, self.fused, self.size, self.size).transpose(1, 2)
        fused = torch.cat(
            [
                functional.conv2d(each[None], kernel, padding=self.size // 2)
                for each, kernel in zip(contrast, kernels, strict=True)
            ]
        )
        image: Tensor = self.head(self.shuffle(self.decoder(fused)))
        return image

    def _two_paths(self, contrast: Tensor, angular: Tensor) -> tuple[Tensor, Tensor]:
        n, m = contrast.shape[:2]
        coarse = functional.avg_pool2d(contrast, self.pool)
        size = coarse.shape[2:]
        x = self.encode(self.pool * coarse.reshape(n * m, 1, *size)).reshape(n, m, -1, *size)
        attention = torch.ones_like(coarse)
        for film, weigh, spatial, refine in zip(
            self.film, self.weigh, self.spatial, self.angular, strict=True
        ):
            gain, offset = film(angular).chunk(2, -1)
            x = x * (1 + gain[..., None, None]) + offset[..., None, None]
            joined = torch.cat([x, x.mean(1, keepdim=True).expand_as(x)], 2).flatten(0, 1)
            attention = torch.softmax(weigh(joined).reshape(n, m, *size), 1) * m
            x = x + functional.silu(spatial(joined)).reshape(x.shape)
            gated = x * attention[:, :, None]
            cues = torch.cat([x.mean((-2, -1)), gated.mean((-2, -1)), angular], -1)
            angular = angular + refine(cues)
        gates = functional.interpolate(attention, scale_factor=float(self.pool), mode="nearest")
        return gates, angular


# Each variant's network, and its learning rate.
VARIANTS: dict[str, tuple[Any, float]] = {
    "aligned-by-whole-steps": (lambda: KernelDualPath(below_a_step=False), 1e-3),
    "aligned-below-a-step": (lambda: KernelDualPath(), 1e-3),
    "three-times-the-rate": (lambda: KernelDualPath(below_a_step=False), 3e-3),
    "without-gates": (lambda: KernelDualPath(rounds=0), 1e-3),
    "attention-unet-16": (lambda: AttentionUNet(213, 16, 5), 1e-3),
}


def trained(network: nn.Module, rate: float) -> float:
    """Train a network in place, with its weights averaged at the end; core-seconds."""
    config = Training(
        network="AttentionUNet" if isinstance(network, AttentionUNet) else "DualPath",
        steps=STEPS,
        batch=BATCH,
        specimens=SPECIMENS,
        molecular=0.0,
        doses=(100.0, 3000.0),
        infinite=0.0,
        detector_noise=0.0,
        views=VIEWS,
    )
    optimiser = torch.optim.AdamW(network.parameters(), rate, weight_decay=1e-4)
    average = {k: v.clone() for k, v in network.state_dict().items()}
    warm, began = round(0.03 * STEPS), time.process_time()
    for step in range(STEPS):
        part = (step - warm) / (STEPS - warm)
        factor = (step + 1) / warm if step < warm else 0.01 + 0.495 * (1 + math.cos(math.pi * part))
        for group in optimiser.param_groups:
            group["lr"] = rate * factor
        optimiser.zero_grad()
        for batch in make_batch(config, step):
            loss = PaperLoss(batch.step)(network(*batch.inputs), batch.target[:, None])
            loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        for name, value in network.state_dict().items():
            if value.dtype.is_floating_point:
                average[name].lerp_(value, 1 - min(0.99, (1 + step) / (10 + step)))
            else:
                average[name].copy_(value)
        if step % 50 == 49:
            print(f"step {step + 1}: {float(loss):.4f}", flush=True)
    network.load_state_dict(average)
    return time.process_time() - began


@torch.inference_mode()
def scores(network: nn.Module) -> dict[str, float]:
    """Median correlation inside unseen crystals and glasses, by dose."""
    values: dict[str, list[float]] = {f"{dose:g}": [] for dose in DOSES}
    for index in UNSEEN:
        with np.load(example("atomic", 1, index), allow_pickle=False) as stored:
            views, truth = (torch.from_numpy(stored[k]).float() for k in ("views", "truth"))
        acquisition = acquisition_of("atomic", index % len(DEFOCI["atomic"]))
        pixel = (acquisition.step[0] / UPSAMPLING, acquisition.step[1] / UPSAMPLING)
        inside = specimen_mask(truth, pixel)
        for dose in DOSES:
            noisy = expose(views, acquisition, dose, torch.Generator().manual_seed(index))
            lit = acquisition.relative_to_vacuum(noisy)[None]
            known = () if isinstance(network, AttentionUNet) else view_geometry(acquisition)
            image = network(lit, *known)[0, 0]
            values[f"{dose:g}"].append(correlation(image, truth, within=inside))
    return {dose: round(float(np.median(each)), 3) for dose, each in values.items()}


@click.command(help=__doc__)
@click.argument("variant", type=click.Choice([*VARIANTS]))
def main(variant: str) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    make, rate = VARIANTS[variant]
    network = make()
    seconds = trained(network, rate)
    row = {
        "variant": variant,
        "parameters": sum(p.numel() for p in network.parameters()),
        "samples": STEPS * BATCH,
        "core_seconds": round(seconds),
        "correlation": scores(network.eval()),
    }
    print(row)
    rows = json.loads(OUT.read_text(encoding="utf-8")) if OUT.is_file() else []
    rows = [old for old in rows if old["variant"] != variant]
    write_whole(OUT, json.dumps([*rows, row], indent=1) + "\n")


if __name__ == "__main__":
    main()
