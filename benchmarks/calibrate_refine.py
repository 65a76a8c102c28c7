"""Choose how much the first stage counts in the second, on specimens that no page scores.

    python benchmarks/calibrate_refine.py

`misr4d.refine` weighs the first stage's image by a factor w on the inverse of its variance.
Specimens drawn like those of the training, but from another seed, are refined under every w of a
grid; the choice for a regime is the w of the highest mean correlation with the truth. Every score
and the choice are written to ``misr4d/data/refine_tuning.json``. An interrupted run takes up where
it stopped. About 15 minutes on one core.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

import misr4d
from misr4d.direct import AMPLITUDE_CONTRAST, DirectPtychography
from misr4d.dose import electrons_per_pixel
from misr4d.learned import card, informed
from misr4d.metrics import correlation
from misr4d.networks import UPSAMPLING
from misr4d.refine import refine
from misr4d.spectra import fourier_ring_correlation, resolution
from misr4d.training import DEFOCI, acquisition_of, simulate_example

SEED = 1  # no training draws from it
SPECIMENS = 4  # of each regime
DOSES = (100.0, 300.0, 1000.0, 3000.0)  # e⁻/Å²
WEIGHTS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
OUT = Path(misr4d.__file__).parent / "data" / "refine_tuning.json"
PART = Path(__file__).resolve().parent.parent / "_build" / "calibrate_refine.json"


def scores(image: torch.Tensor, truth: torch.Tensor, pixel: tuple[float, float]) -> dict[str, Any]:
    """Correlation and FRC-0.5 resolution [Å], as text where it may be infinite."""
    frequency, curve, _ = fourier_ring_correlation(image, truth, pixel, width=3)
    return {
        "correlation": round(correlation(image, truth), 4),
        "resolution": str(round(resolution(frequency, curve), 3)),
    }


def measure(regime: str, index: int, weights: list[float | None]) -> list[dict[str, Any]]:
    """Refine one specimen at every dose under each weight; none is the first stage itself."""
    acquisition = acquisition_of(regime, index % len(DEFOCI[regime]))
    method = DirectPtychography(
        acquisition,
        UPSAMPLING,
        aliases=UPSAMPLING,
        amplitude_contrast=AMPLITUDE_CONTRAST[regime],
    )
    pixel = (acquisition.step[0] / UPSAMPLING, acquisition.step[1] / UPSAMPLING)
    example = simulate_example(regime, SEED, index, defocus_error=0.0)
    rows = []
    for dose in DOSES:
        electrons = electrons_per_pixel(dose, acquisition)
        generator = torch.Generator().manual_seed(index)
        counts = torch.poisson(example["views"].float() * electrons, generator=generator)
        first = informed(method, counts / electrons)
        case = {"regime": regime, "specimen": index, "dose": dose}
        for weight in weights:
            if weight is None:
                rows.append(case | {"weight": None} | scores(first.mean, example["truth"], pixel))
                continue
            found = refine(counts, method, dose, first, weight=weight)
            rows.append(
                case
                | {"weight": weight, "excess": round(found.excess, 2)}
                | scores(found.image, example["truth"], pixel)
            )
    return rows


def choose(rows: list[dict[str, Any]], regime: str) -> dict[str, Any]:
    """Weight of the highest mean correlation, beside the first stage's own."""
    means = {
        weight: float(
            np.mean(
                [r["correlation"] for r in rows if (r["regime"], r["weight"]) == (regime, weight)]
            )
        )
        for weight in (None, *WEIGHTS)
    }
    best = max(WEIGHTS, key=lambda weight: means[weight])
    return {
        "regime": regime,
        "weight": best,
        "correlation": round(means[best], 4),
        "first_stage": round(means[None], 4),
    }


def main() -> None:
    # A score belongs to the network that made its first stage.
    network = card("DirectInformed")["sha256"]
    kept = json.loads(PART.read_text()) if PART.exists() else {}
    rows: list[dict[str, Any]] = kept.get(network, [])
    for regime in DEFOCI:
        for index in range(SPECIMENS):
            done = {r["weight"] for r in rows if (r["regime"], r["specimen"]) == (regime, index)}
            if missing := [w for w in (None, *WEIGHTS) if w not in done]:
                rows += measure(regime, index, missing)
            PART.parent.mkdir(exist_ok=True)
            PART.write_text(json.dumps({network: rows}))
            print(f"{regime} {index}: done", flush=True)
    record = {
        "command": "python benchmarks/calibrate_refine.py",
        "network": network,
        "choice": [choose(rows, regime) for regime in DEFOCI],
        "scores": rows,
    }
    temporary = OUT.with_suffix(".tmp")
    temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    temporary.replace(OUT)
    for row in record["choice"]:
        print(row)


if __name__ == "__main__":
    main()
