"""Why does the dual path fail? Small trainings of variants of it, and of the paper's U-Net.

    python benchmarks/dual_path.py aligned-below-a-step

An earlier dual path saw a few views at a time, because all of them at once took too long, and drew
stripes. In today's one convolution adds all registered and gated views up, whose kernel for each
follows from its angle: fast enough for a step to see nearly all views. These runs chose it, before
it stood in the package with its inputs in another order, so that a rerun starts from other weights.

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

from misr4d.core.acquisition import UPSAMPLING
from misr4d.core.dose import expose
from misr4d.core.files import write_whole
from misr4d.learn.configuration import DEFOCI, Training, acquisition_of, view_geometry
from misr4d.learn.examples import example
from misr4d.learn.losses import PaperLoss
from misr4d.learn.networks import AttentionUNet, DualPath, register
from misr4d.learn.recipes import make_batch
from misr4d.measure.metrics import correlation, specimen_mask

OUT = Path(__file__).with_suffix(".json")
STEPS, BATCH, SPECIMENS, VIEWS = 300, 4, 40, 177
DOSES = (100.0, 300.0, 1000.0)  # e⁻/Å², at which it is scored
UNSEEN = range(12)  # specimens from seed 1


class WholeSteps(DualPath):
    """Dual path whose views are registered by whole scan steps alone; it knows what is left."""

    def forward(self, views: Tensor, shifts: Tensor, angles: Tensor) -> Tensor:
        """Reconstruct as :meth:`misr4d.learn.networks.DualPath.forward` does."""
        image: Tensor = super().forward(register(views, shifts.round() - shifts), shifts, angles)
        return image


SIZE = {"width": 16, "decoder": 48}
# Each variant's network, and its learning rate.
VARIANTS: dict[str, tuple[Any, float]] = {
    "aligned-by-whole-steps": (lambda: WholeSteps(**SIZE), 1e-3),
    "aligned-below-a-step": (lambda: DualPath(**SIZE), 1e-3),
    "three-times-the-rate": (lambda: WholeSteps(**SIZE), 3e-3),
    "without-gates": (lambda: DualPath(**SIZE, rounds=0), 1e-3),
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
