"""Choose how far the second stage trusts the first, on specimens that no page scores.

    python benchmarks/calibrate_refine.py

`misr4d.reconstruction.refine` weighs the first stage's image by a factor w on the inverse of its
variance, and gives way where the electrons want it farther off than t deviations. Specimens drawn
like those of the training, but from another seed, are refined under every w and t of a grid, and
refined once more with a false column painted into the first stage. The choice for a regime is the
pair of the highest mean correlation with the truth; how much of the false column it takes away
stands beside it. (A shorter tail takes away more, and lets single pixels follow their noise.) Every
score and the choice are written to ``misr4d/data/refine_tuning.json``. An interrupted run takes up
where it stopped. About 20 minutes on one core.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import misr4d
from misr4d.core.acquisition import UPSAMPLING
from misr4d.core.dose import electrons_per_pixel
from misr4d.core.files import write_whole
from misr4d.core.keys import result_key
from misr4d.learn.configuration import DEFOCI, acquisition_of
from misr4d.learn.examples import simulate_example
from misr4d.learn.learned import card, informed
from misr4d.measure.audit import signature
from misr4d.measure.metrics import correlation, specimen_mask
from misr4d.measure.spectra import score_rings
from misr4d.reconstruction.direct import AMPLITUDE_CONTRAST, DirectPtychography
from misr4d.reconstruction.refine import PriorStrength, refine

SEED = 1  # no training draws from it
SPECIMENS = 3  # of each regime
DOSES = (100.0, 300.0, 3000.0)  # e⁻/Å²
GRID = tuple(
    PriorStrength(weight, tail) for weight in (1.0, 3.0, 10.0) for tail in (0.3, 0.6, math.inf)
)
PAINTED = 300.0  # e⁻/Å² of the counts under a painted first stage
COLUMN = 1.5  # pixels: standard deviation of the painted column, as high as the image's own peak
OUT = Path(misr4d.__file__).parent / "data" / "refine_tuning.json"
PART = Path(__file__).resolve().parent.parent / "_build" / "calibrate_refine.json"


def scores(image: torch.Tensor, truth: torch.Tensor, pixel: tuple[float, float]) -> dict[str, Any]:
    """Correlation inside the specimen and resolution [Å], as text where it may be infinite."""
    inside = specimen_mask(truth, pixel)
    return {
        "correlation": round(correlation(image, truth, within=inside), 4),
        "resolution": str(round(score_rings(image, truth, pixel).resolution, 3)),
    }


@dataclass(frozen=True)
class Case:
    """One refinement: strength of the prior, and whether the first stage was painted."""

    strength: PriorStrength | None  # none is the first stage itself
    painted: bool = False

    def named(self) -> dict[str, Any]:
        """Weight, tail and painting as a record keeps them."""
        weight, tail = (
            (self.strength.weight, str(self.strength.tail)) if self.strength else (None, None)
        )
        return {"weight": weight, "tail": tail, "painted": self.painted}


CASES = (Case(None), *(Case(strength, painted) for painted in (False, True) for strength in GRID))


def column(image: torch.Tensor) -> torch.Tensor:
    """Return a column in the middle of the field, as high as the image's highest peak."""
    x, y = (torch.arange(n) - n // 2 for n in image.shape)
    return image.max() * torch.exp(-(x[:, None] ** 2 + y**2) / (2 * COLUMN**2))


def measure(regime: str, index: int, cases: list[Case]) -> list[dict[str, Any]]:
    """Refine one specimen in each case at every dose."""
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
        truth, false = example["truth"], column(first.mean)
        spoilt = replace(first, mean=first.mean + false)
        painted = signature(truth, truth + false)
        for case in cases:
            row = {"regime": regime, "specimen": index, "dose": dose} | case.named()
            if case.strength is None:
                rows.append(row | scores(first.mean, truth, pixel))
            elif not case.painted:
                found = refine(counts, method, dose, first, strength=case.strength)
                score = scores(found.image, truth, pixel)
                rows.append(row | {"excess": round(found.deviance_z, 2)} | score)
            elif dose == PAINTED:
                found = refine(counts, method, dose, spoilt, strength=case.strength)
                clean = refine(counts, method, dose, first, strength=case.strength)
                both = [painted.responses(one.image)[0] for one in (found, clean)]
                rows.append(row | {"taken_away": round(1 - float(both[0] - both[1]), 3)})
    return rows


def choose(rows: list[dict[str, Any]], regime: str) -> dict[str, Any]:
    """Strength of the highest mean correlation, beside the first stage's own."""

    def mean(case: Case, key: str) -> float:
        wanted = {"regime": regime} | case.named()
        return float(np.mean([r[key] for r in rows if wanted.items() <= r.items()]))

    best = max(GRID, key=lambda strength: mean(Case(strength), "correlation"))
    return {
        "regime": regime,
        "weight": best.weight,
        "tail": str(best.tail),
        "correlation": round(mean(Case(best), "correlation"), 4),
        "first_stage": round(mean(Case(None), "correlation"), 4),
        "taken_away": round(mean(Case(best, painted=True), "taken_away"), 2),
    }


def main() -> None:
    # A score belongs to the network that made its first stage, and to the code of the second.
    network = card("DirectInformed")["sha256"]
    weights = ("weights/DirectInformed.safetensors",)
    entering = result_key(simulate_example, informed, refine, data=weights)
    kept = json.loads(PART.read_text()) if PART.exists() else {}
    rows: list[dict[str, Any]] = kept.get(entering, [])
    for regime in DEFOCI:
        for index in range(SPECIMENS):
            own = [r for r in rows if (r["regime"], r["specimen"]) == (regime, index)]
            done = {(r["weight"], r["tail"], r["painted"]) for r in own}
            if missing := [c for c in CASES if tuple(c.named().values()) not in done]:
                rows += measure(regime, index, missing)
            write_whole(PART, json.dumps({entering: rows}))
            print(f"{regime} {index}: done", flush=True)
    record = {
        "command": "python benchmarks/calibrate_refine.py",
        "network": network,
        "key": entering,
        "choice": [choose(rows, regime) for regime in DEFOCI],
        "scores": rows,
    }
    write_whole(OUT, json.dumps(record, indent=1) + "\n")
    for row in record["choice"]:
        print(row)


if __name__ == "__main__":
    main()
