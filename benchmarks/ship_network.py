"""Calibrate a trained network, score it on held-out specimens, and put it into the package.

    python benchmarks/ship_network.py DirectInformed _output/training --device "2 CPU cores"

The intervals are measured on specimens drawn like those of the training, but from another seed;
the scores on three of the paper's, which no training sees. Both land on the card,
``misr4d/data/weights/NAME.json``.
"""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray

from misr4d.learned import card, load_network, pack
from misr4d.metrics import correlation
from misr4d.specimens import make_specimen
from misr4d.spectra import fourier_ring_correlation, resolution
from misr4d.study import METHODS, place
from misr4d.training import example, make_batch, recorded_training

HELD_OUT = ("Li2CoO3", "CuZr", "apoferritin")
DOSES = (50.0, 100.0, 300.0, 1000.0, math.inf)
SHARES = (0.68, 0.95)
LABELS = {"DirectInformed": "informed", "AttentionUNet": "attention U-Net", "DualPath": "dual path"}


def calibrate(record: dict[str, Any], steps: int) -> tuple[dict[str, float], dict[str, float]]:
    """Factors on the deviation that hold each share of pixels, and what they hold of others."""
    network = load_network("DirectInformed")
    config = replace(
        recorded_training(record), seed=1, specimens=40, vacuum=0.0, detector_noise=0.0
    )
    ratios: list[NDArray[np.float32]] = []
    for step in range(steps):
        for batch in make_batch(config, step):
            with torch.inference_mode():
                mean, deviation = network(*batch.inputs)
            error = (mean - mean.mean((-2, -1), keepdim=True) - batch.target).abs()
            ratios.append((error / deviation).numpy().ravel()[::7])
    half = len(ratios) // 2
    first, second = np.concatenate(ratios[:half]), np.concatenate(ratios[half:])
    factors = {str(share): float(np.quantile(first, share)) for share in SHARES}
    covered = {share: float((second < factor).mean()) for share, factor in factors.items()}
    return factors, covered


def scores(name: str) -> list[dict[str, Any]]:
    """Correlation and FRC-0.5 resolution on held-out specimens, beside direct ptychography's."""
    rows = []
    for specimen_name in HELD_OUT:
        scene = place(make_specimen(specimen_name))
        for dose in DOSES:
            found: dict[str, list[tuple[float, float]]] = {"direct": [], name: []}
            for draw in range(1 if math.isinf(dose) else 4):
                measurement = scene.expose(dose, draw)
                for key in found:
                    image = METHODS[LABELS.get(key, key)](measurement)
                    curve = fourier_ring_correlation(image, scene.truth, scene.pixel, width=3)
                    found[key].append((correlation(image, scene.truth), resolution(*curve[:2])))
            for key, values in found.items():
                middle = np.median(np.array(values), axis=0)
                rows.append(
                    {
                        "specimen": specimen_name,
                        "dose": str(dose),
                        "method": key,
                        "correlation": round(float(middle[0]), 4),
                        "resolution": round(float(middle[1]), 3)
                        if math.isfinite(middle[1])
                        else None,
                    }
                )
                print(rows[-1], flush=True)
    return rows


@click.command(help=__doc__)
@click.argument("name")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--device", required=True, help="What it was trained on, in words.")
@click.option("--steps", default=40, show_default=True, help="Batches to calibrate on.")
def main(name: str, folder: Path, device: str, steps: int) -> None:
    with (folder / "log.csv").open(encoding="utf-8", newline="") as file:
        last = list(csv.DictReader(file))[-1]
    facts: dict[str, Any] = {
        "data": "specimens of misr4d.corpus, drawn from the seed; none of the paper's thirteen",
        "device": device,
        "seconds": float(last["seconds"]),
        "final_loss": float(last["loss"]),
        "command": f"misr4d train with the values under 'training'; then "
        f"python benchmarks/ship_network.py {name}",
    }
    pack(folder / "weights.safetensors", name, facts)
    if name == "DirectInformed":
        record = card(name)
        for regime, count in (("atomic", 40), ("molecular", 8)):
            for index in range(count):
                example(regime, 1, index, defocus_error=record["training"]["defocus_error"])
        factors, covered = calibrate(record, steps)
        facts |= {"intervals": factors, "coverage": covered}
        print(facts)
    facts["held_out"] = scores(name)
    print(f"wrote {pack(folder / 'weights.safetensors', name, facts)}")


if __name__ == "__main__":
    main()
