"""Train one network at one width and budget, and add how it scores to ``misr4d/data/scaling.json``.

    python benchmarks/scaling.py AttentionUNet --width 32 --budget 16

The whole budget is the paper's: 400 specimens, 512 epochs, 204,800 samples of 64 × 64 positions;
``--budget 16`` is a sixteenth of it. Every run has its own schedule from beginning to end, the
same specimens, doses and noise. It is scored on specimens drawn like those of the training, but
from another seed, and on three of the paper's, which no training sees. A run is kept below
``_output/scaling`` and taken up where it stopped; one that is on record is not repeated.
"""

from __future__ import annotations

import csv
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import misr4d
from misr4d.companion.bench import score_image
from misr4d.companion.study import Scene, place
from misr4d.core.acquisition import UPSAMPLING
from misr4d.core.dose import expose
from misr4d.core.files import write_whole
from misr4d.learn.configuration import DEFOCI, Training, acquisition_of, build_network
from misr4d.learn.examples import example
from misr4d.learn.learned import attention_unet, dual_path, informed
from misr4d.learn.networks import NETWORKS
from misr4d.learn.training import train
from misr4d.measure.metrics import correlation, specimen_mask
from misr4d.measure.spectra import score_rings
from misr4d.reconstruction.direct import DirectPtychography, starting_point
from misr4d.specimens.catalogue import make_specimen

SPECIMENS, EPOCHS = 400, 512  # paper §2.1.2 and released code
BATCH = 8  # our choice: small budgets need steps more than smooth gradients
LEARNING_RATE = 1e-3  # our choice, of all runs
DEPTHS = {"AttentionUNet": 5, "DirectInformed": 4, "DualPath": 4}
HELD_OUT = ("Li2CoO3", "CuZr", "apoferritin")
UNSEEN = {"atomic": 20, "molecular": 10}  # specimens of the training's kind, from seed 1
DOSES = (100.0, 300.0, 1000.0)
DRAWS = 2
OUT = Path(misr4d.__file__).parent / "data" / "scaling.json"


def configuration(network: str, width: int, budget: int, repeat: int) -> Training:
    """Return the settings of a run: the paper's budget over ``budget``."""
    steps = SPECIMENS * EPOCHS // BATCH // budget
    return Training(
        network=network,
        width=width,
        depth=DEPTHS[network],
        steps=steps,
        batch=BATCH,
        specimens=SPECIMENS,
        learning_rate=LEARNING_RATE,
        half=NETWORKS[network].mixed_precision,
        repeat=repeat,
        checkpoint=min(400, steps),
    )


def reconstruct(network: nn.Module, name: str, views: Tensor, method: DirectPtychography) -> Tensor:
    """Reconstruct one field by a network that is not shipped."""
    if name == "DirectInformed":
        return informed(method, views, network=network).mean
    apply = attention_unet if name == "AttentionUNet" else dual_path
    return apply(views, method.acquisition, network=network)


def score_unseen(network: nn.Module | None, name: str) -> list[dict[str, Any]]:
    """Score specimens of the training's kind; without a network, direct ptychography."""
    rows = []
    for regime, count in UNSEEN.items():
        for index in range(count):
            with np.load(example(regime, 1, index), allow_pickle=False) as stored:
                views, truth = (torch.from_numpy(stored[k]).float() for k in ("views", "truth"))
            acquisition = acquisition_of(regime, index % len(DEFOCI[regime]))
            method = starting_point(acquisition)
            pixel = (acquisition.step[0] / UPSAMPLING, acquisition.step[1] / UPSAMPLING)
            inside = specimen_mask(truth, pixel)
            for dose in DOSES:
                generator = torch.Generator().manual_seed(index)
                noisy = expose(views, acquisition, dose, generator)
                image = reconstruct(network, name, noisy, method) if network else method(noisy)
                rows.append(
                    {
                        "specimen": f"unseen {regime}",
                        "dose": dose,
                        "draw": index,
                        "correlation": round(correlation(image, truth, within=inside), 4),
                        "weighted_frc": round(score_rings(image, truth, pixel).weighted, 4),
                    }
                )
    return rows


def score_held_out(
    network: nn.Module | None, name: str, scenes: list[Scene]
) -> list[dict[str, Any]]:
    """Score the paper's specimens; without a network, direct ptychography."""
    rows = []
    for scene in scenes:
        for dose in DOSES:
            for draw in range(DRAWS):
                views = scene.expose(dose, draw).views
                method = scene.direct
                image = reconstruct(network, name, views, method) if network else method(views)
                scores = score_image(image, scene)
                rows.append(
                    {
                        "specimen": scene.specimen.name,
                        "dose": dose,
                        "draw": draw,
                        "correlation": round(scores["correlation"] or 0.0, 4),
                        "weighted_frc": round(scores["weighted_frc"] or 0.0, 4),
                    }
                )
    return rows


@torch.inference_mode()
def scores_of(network: nn.Module | None, name: str) -> list[dict[str, Any]]:
    """Score a network on both kinds of specimens, or direct ptychography in its place."""
    scenes = [place(make_specimen(specimen)) for specimen in HELD_OUT]
    return score_unseen(network, name) + score_held_out(network, name, scenes)


def read() -> list[dict[str, Any]]:
    """Read the runs on record."""
    if not OUT.is_file():
        return []
    found: list[dict[str, Any]] = json.loads(OUT.read_text(encoding="utf-8"))["runs"]
    return found


def record(row: dict[str, Any]) -> None:
    """Add a run, in the order of network, width, budget and repeat."""
    order = ("network", "width", "budget", "repeat")
    runs = sorted(
        [*read(), row], key=lambda r: [r[k] or 0 if k != "network" else r[k] for k in order]
    )
    whole = {
        "command": "python benchmarks/scaling.py NETWORK --width W --budget B --repeat R",
        "samples": SPECIMENS * EPOCHS,
        "runs": runs,
    }
    write_whole(OUT, json.dumps(whole, indent=1, ensure_ascii=False) + "\n")


@click.command(help=__doc__)
@click.argument("network", type=click.Choice([*DEPTHS, "direct"]))
@click.option("--width", type=click.IntRange(1), help="Channels of its first level.")
@click.option("--budget", type=click.IntRange(1), help="Divisor of the paper's 204,800 samples.")
@click.option("--repeat", default=0, show_default=True, help="Other first weights and noise.")
@click.option("--folder", default="_output/scaling", show_default=True, type=Path)
@click.option("--device", default="cpu", show_default=True)
def main(
    network: str, width: int | None, budget: int | None, repeat: int, folder: Path, device: str
) -> None:
    if device == "cpu":
        torch.set_num_threads(1)
    key = {"network": network, "width": width, "budget": budget, "repeat": repeat}
    if any(all(row[k] == v for k, v in key.items()) for row in read()):
        print(f"{key} is on record")
        return
    if network == "direct":
        record({**key, "scores": scores_of(None, network)})
        return
    if width is None or budget is None:
        raise click.UsageError("give --width and --budget of the network")
    config = configuration(network, width, budget, repeat)
    place_of = folder / f"{network}-{width}-{budget}-{repeat}"
    weights = train(config, place_of, device=device)
    model = build_network(config)
    model.load_state_dict(load_file(weights))
    with (place_of / "log.csv").open(encoding="utf-8", newline="") as file:
        log = list(csv.DictReader(file))
    tail = [float(r["loss"]) for r in log[-max(1, len(log) // 20) :]]
    rows = scores_of(model.eval(), network)
    record(
        {
            **key,
            "parameters": sum(p.numel() for p in model.parameters()),
            "samples": config.steps * config.batch,
            "seconds": float(log[-1]["seconds"]),
            "device": "one CPU core" if device == "cpu" else torch.cuda.get_device_name(),
            "last_loss": round(math.fsum(tail) / len(tail), 5),
            "training": asdict(config),
            "scores": rows,
        }
    )
    for group in ("unseen atomic", "unseen molecular", *HELD_OUT):
        values = [r["correlation"] for r in rows if r["specimen"] == group]
        print(f"{group}: {np.median(values):.3f} ({len(values)})", flush=True)


if __name__ == "__main__":
    main()
