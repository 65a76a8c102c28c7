"""Train the attention U-Net anew with one thing changed at a time, and measure what that does.

    python benchmarks/ablate.py

Half the width that the paper's network has, and short trainings, because only the differences
matter: every variant sees the same specimens, doses, steps and starting seed. Scored on specimens
drawn like those of the training but from another seed, and on crystals of the paper, at one dose,
with the same electrons for all. Trainings are kept below ``_output/ablations`` and taken up where
they stopped; the result lands in ``misr4d/data/ablations.json``. About three minutes a training on
one core that multiplies in bfloat16, and ten times that on one that does not.
"""

from __future__ import annotations

import csv
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

import misr4d
from misr4d.companion.study import place
from misr4d.core.acquisition import UPSAMPLING, Acquisition
from misr4d.core.dose import expose
from misr4d.core.files import write_whole
from misr4d.learn.configuration import Training, acquisition_of, aligned, build_network
from misr4d.learn.examples import example
from misr4d.learn.networks import direct_features
from misr4d.learn.recipes import loss_of, make_batch
from misr4d.learn.training import train
from misr4d.measure.metrics import checkerboard, correlation, specimen_mask
from misr4d.measure.spectra import score_rings
from misr4d.reconstruction.direct import AMPLITUDE_CONTRAST, DirectPtychography
from misr4d.specimens.catalogue import make_specimen

BASE = Training(
    network="AttentionUNet",
    width=32,
    depth=4,
    steps=300,
    batch=8,
    specimens=100,
    molecular=0.0,
    learning_rate=2e-3,
    doses=(100.0, 3000.0),
    infinite=0.0,
    detector_noise=0.0,
    half=True,
    checkpoint=50,
)
VARIANTS: dict[str, dict[str, Any]] = {
    "as the paper": {},
    "aligned views": {"inputs": "aligned"},
    "direct estimate": {"inputs": "direct"},
    "no attention gates": {"attention": False},
    "3×3 head": {"head": "3x3"},
    "no head": {"head": "none"},
    "fixed noise": {"fresh_noise": False},
    "L1 only": {"loss": "l1"},
}
"""What each variant changes; every other value is the base's."""
DOSE = 300.0
UNSEEN = range(16)  # specimens of the training's kind, from seed 1
CRYSTALS = ("Li2CoO3", "CaTiO3", "CuZr")
OUT = Path(misr4d.__file__).parent / "data" / "ablations.json"

Case = tuple[str, Tensor, Tensor, Acquisition]  # group, exact views, truth, mid-plane acquisition


def cases() -> list[Case]:
    """List what is scored: unseen specimens of the training's kind, and the paper's crystals."""
    found: list[Case] = []
    for index in UNSEEN:
        with np.load(example("atomic", 1, index), allow_pickle=False) as stored:
            views, reference = (torch.from_numpy(stored[k]).float() for k in ("views", "truth"))
        found.append(("unseen", views, reference, acquisition_of("atomic", index % 5)))
    for name in CRYSTALS:
        scene = place(make_specimen(name))
        found.append((name, scene.expected_views, scene.truth, scene.midplane))
    return found


@torch.inference_mode()
def apply(network: nn.Module, config: Training, views: Tensor, acquisition: Acquisition) -> Tensor:
    """Reconstruct one stack by a variant ``(M, 64, 64) → (192, 192)``."""
    given = acquisition.relative_to_vacuum(views)
    if config.inputs == "aligned":
        given = aligned(given, acquisition)
    elif config.inputs == "direct":
        method = DirectPtychography(
            acquisition,
            UPSAMPLING,
            aliases=UPSAMPLING,
            amplitude_contrast=AMPLITUDE_CONTRAST["atomic"],
        )
        maps, _ = direct_features(method, method.statistic(views))
        given = functional.pixel_unshuffle(maps, UPSAMPLING)[0]
    image: Tensor = network(given[None])[0, 0]
    return image


def score(network: nn.Module, config: Training, scored: list[Case]) -> list[dict[str, Any]]:
    """Correlation inside the specimen, resolution and checkerboard of each case's image."""
    rows = []
    for number, (group, exact, reference, acquisition) in enumerate(scored):
        generator = torch.Generator().manual_seed(number)
        image = apply(network, config, expose(exact, acquisition, DOSE, generator), acquisition)
        pixel = (acquisition.step[0] / UPSAMPLING, acquisition.step[1] / UPSAMPLING)
        inside = specimen_mask(reference, pixel)
        fine = score_rings(image, reference, pixel).resolution
        rows.append(
            {
                "group": group,
                "correlation": round(correlation(image, reference, within=inside), 4),
                "resolution": round(fine, 3) if np.isfinite(fine) else None,
                "checkerboard": round(checkerboard(image, UPSAMPLING), 3),
            }
        )
    return rows


@torch.inference_mode()
def loss_gap(network: nn.Module, config: Training) -> tuple[float, float]:
    """Mean loss on the training's own samples, and on other specimens with other noise."""
    own = [b for step in range(20) for b in make_batch(config, step)]
    unseen = replace(config, seed=1, specimens=len(UNSEEN) + 4, fresh_noise=True)
    other = [b for step in range(20) for b in make_batch(unseen, step)]
    first, second = (
        float(torch.stack([loss_of(config, network, b) for b in part]).mean())
        for part in (own, other)
    )
    return first, second


def trained(changes: dict[str, Any], seed: int, folder: Path) -> tuple[nn.Module, Training, float]:
    """Train a variant, or read it back; return it, its configuration and its core-seconds."""
    config = replace(BASE, **changes, repeat=seed)
    weights = train(config, folder, device="cpu")
    network = build_network(config)
    network.load_state_dict(load_file(weights))
    with (folder / "log.csv").open(encoding="utf-8", newline="") as file:
        seconds = float(list(csv.DictReader(file))[-1]["seconds"])
    return network.eval(), config, seconds


@click.command(help=__doc__)
@click.option("--seeds", default=3, show_default=True, help="Trainings of each variant.")
@click.option("--folder", default="_output/ablations", show_default=True, type=Path)
def main(seeds: int, folder: Path) -> None:
    torch.set_num_threads(1)
    scored = cases()
    results = []
    for seed in range(seeds):
        for name, changes in VARIANTS.items():
            place = folder / f"{name.replace(' ', '_').replace('×', 'x')}-{seed}"
            network, config, seconds = trained(changes, seed, place)
            seen, unseen = loss_gap(network, config)
            rows = score(network, config, scored)
            middle = np.median([r["correlation"] for r in rows if r["group"] == "unseen"])
            print(f"{name}, {seed}: {middle:.3f}, loss {seen:.3f} and {unseen:.3f}", flush=True)
            results.append(
                {
                    "variant": name,
                    "seed": seed,
                    "parameters": sum(p.numel() for p in network.parameters()),
                    "core_seconds": round(seconds, 1),
                    "loss_seen": round(seen, 5),
                    "loss_unseen": round(unseen, 5),
                    "scores": rows,
                }
            )
    record = {
        "command": "python benchmarks/ablate.py",
        "base": asdict(BASE),
        "pixel_samples": acquisition_of("atomic", 0).pixel_samples,
        "variants": VARIANTS,
        "dose": DOSE,
        "results": results,
    }
    write_whole(OUT, json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    print(f"wrote {OUT}")


if __name__ == "__main__":
    main()
