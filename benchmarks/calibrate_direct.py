"""Choose the amplitude contrast of direct ptychography on draws of the corpus.

    python benchmarks/calibrate_direct.py

For each amplitude contrast the image of every draw at every dose is scored against the truth
(``tuning_draws.score``). The grid goes on from zero, the least that absorption can be, until the
score falls. Every score, the choice and what the value in use lacks to it on each draw go to
``misr4d/data/contrast_tuning.json``. The value in use is
``misr4d.reconstruction.direct.AMPLITUDE_CONTRAST``: networks are trained on direct images, so it
gives way only to a lead that matters. About six minutes on one core.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tuning_draws import REGIMES, SEED, draws, generator, score

import misr4d
from misr4d.core.acquisition import UPSAMPLING
from misr4d.core.dose import expose
from misr4d.core.files import write_whole
from misr4d.reconstruction.direct import AMPLITUDE_CONTRAST, DirectPtychography

DOSES = (100.0, 300.0, 1000.0, math.inf)
CONTRASTS = (0.0, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.065, 0.08, 0.1, 0.13)
DRAWS = 6  # of each regime
NOISE = 2  # draws of the counting noise at each finite dose
OUT = Path(misr4d.__file__).parent / "data" / "contrast_tuning.json"

Rows = list[dict[str, Any]]


def measure(regime: str) -> Rows:
    """Score every contrast on every draw and dose."""
    rows: Rows = []
    for draw in draws(regime, DRAWS):
        scene = draw.scene
        views = scene.patterns.views(scene.acquisition)
        methods = [
            DirectPtychography(
                scene.midplane, UPSAMPLING, aliases=UPSAMPLING, amplitude_contrast=contrast
            )
            for contrast in CONTRASTS
        ]
        for dose in DOSES:
            for noise in range(1 if math.isinf(dose) else NOISE):
                noisy = expose(views, scene.acquisition, dose, generator(noise, draw.index))
                label = {"regime": regime, **draw.label, "dose": str(dose), "noise": noise}
                scores = [
                    score(method(noisy), scene.truth, draw.inside, scene.pixel)["score"]
                    for method in methods
                ]
                rows.append(label | {"scores": scores})
        print(f"{regime} {draw.index}: {scene.specimen.title}", flush=True)
    return rows


def choose(rows: Rows, regime: str) -> dict[str, Any]:
    """Contrast of the highest mean score, and how the draws differ."""
    here = [row for row in rows if row["regime"] == regime]
    # Every draw has the same doses and draws of noise, so its mean weighs as any other's.
    means = np.array(
        [
            np.mean([row["scores"] for row in here if row["draw"] == draw], axis=0)
            for draw in sorted({row["draw"] for row in here})
        ]
    )
    best = int(means.mean(0).argmax())
    used = AMPLITUDE_CONTRAST[regime]
    lead = means[:, best] - means[:, CONTRASTS.index(used)]
    return {
        "regime": regime,
        "contrast": CONTRASTS[best],
        "score": round(float(means.mean(0)[best]), 5),
        "draws": len(means),
        "best_of_each_draw": sorted(CONTRASTS[i] for i in means.argmax(1)),
        "in_use": used,
        "lead": round(float(lead.mean()), 5),
        "lead_on_each_draw": [round(float(value), 5) for value in lead],
    }


def main() -> None:
    torch.set_num_threads(1)
    rows = [row for regime in REGIMES for row in measure(regime)]
    record = {
        "command": "python benchmarks/calibrate_direct.py",
        "seed": SEED,
        "grid": CONTRASTS,
        "choice": [choose(rows, regime) for regime in REGIMES],
        "scores": rows,
    }
    write_whole(OUT, json.dumps(record) + "\n")
    for row in record["choice"]:
        print(row)


if __name__ == "__main__":
    main()
