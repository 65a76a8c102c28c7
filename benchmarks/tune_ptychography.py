"""Tune py4DSTEM's single-slice ptychography per dose, on specimens that no page scores.

    python benchmarks/tune_ptychography.py

Grid: step size × iterations, declared below; score: mean correlation with the truth over the
regime's tuning specimens (atomic: MoS₂ and CaTiO₃, a 32×32 corner with both crystal and vacuum;
molecular: the random ball of ``calibrate_direct.py``). Every score and the choice are written to
``misr4d/data/ptychography_tuning.json``. An interrupted run takes up where it stopped.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from calibrate_direct import random_ball

import misr4d
from misr4d import ATOMIC, MOLECULAR, Acquisition
from misr4d.classical import PtychographySettings, ptychography_course
from misr4d.datacube import Datacube
from misr4d.metrics import correlation
from misr4d.multislice import build_potential
from misr4d.potential import truth
from misr4d.probes import simulate_patterns
from misr4d.specimens import Specimen, make_specimen

DOSES = (100.0, 300.0, 1000.0, math.inf)
STEP_SIZES = (0.02, 0.1, 0.5)
CHECKPOINTS = (2, 4, 8, 16, 32)
ATOMIC_CORNER = replace(ATOMIC, scan_shape=(32, 32))
CASES: list[tuple[str, Specimen, Acquisition, float, float, float]] = [
    ("atomic", make_specimen("CaTiO3"), ATOMIC_CORNER, 1 / 3, 2.0, 20.0),
    ("atomic", make_specimen("MoS2"), ATOMIC_CORNER, 1 / 3, 2.0, 20.0),
    ("molecular", random_ball(), MOLECULAR, 0.5, 20.0, 13.0),
]
OUT = Path(misr4d.__file__).parent / "data" / "ptychography_tuning.json"
PART = Path(__file__).resolve().parent.parent / "_build" / "tune_ptychography.json"


def main() -> None:
    PART.parent.mkdir(exist_ok=True)
    rows = json.loads(PART.read_text()) if PART.exists() else []
    done = {(r["specimen"], r["dose"], r["step_size"]) for r in rows}
    for regime, specimen, acquisition, sampling, thickness, angle in CASES:
        potential = build_potential(specimen, sampling, thickness)
        reference = truth(potential, acquisition)
        clean = simulate_patterns(potential, acquisition, max_angle=angle)
        focused = acquisition.refocused(potential.thickness / 2)
        for dose in DOSES:
            rng = np.random.default_rng(0)
            area = acquisition.step[0] * acquisition.step[1]
            counts = (
                clean.patterns if math.isinf(dose) else rng.poisson(clean.patterns * dose * area)
            )
            noisy = Datacube(counts.astype(np.float32), clean.step, clean.detector_pixel)
            for step_size in STEP_SIZES:
                if (specimen.name, str(dose), step_size) in done:
                    continue
                began = time.monotonic()
                settings = PtychographySettings(step_size=step_size)
                course = ptychography_course(noisy, focused, 3, settings, CHECKPOINTS)
                for iterations, image in course.items():
                    rows.append(
                        {
                            "regime": regime,
                            "specimen": specimen.name,
                            "dose": str(dose),
                            "step_size": step_size,
                            "iterations": iterations,
                            "correlation": round(correlation(image, reference), 4),
                        }
                    )
                best = max(rows[-len(course) :], key=lambda row: row["correlation"])
                print(f"{best}  {time.monotonic() - began:.0f} s", flush=True)
                PART.write_text(json.dumps(rows))
    choice = []
    for regime in ("atomic", "molecular"):
        for dose in DOSES:
            scores: dict[tuple[float, int], list[float]] = {}
            for row in rows:
                if (row["regime"], row["dose"]) == (regime, str(dose)):
                    key = (row["step_size"], row["iterations"])
                    scores.setdefault(key, []).append(row["correlation"])
            step_size, iterations = max(scores, key=lambda key: float(np.mean(scores[key])))
            choice.append(
                {
                    "regime": regime,
                    "dose": str(dose),
                    "step_size": step_size,
                    "iterations": iterations,
                    "correlation": round(float(np.mean(scores[step_size, iterations])), 4),
                }
            )
    record = {
        "command": "python benchmarks/tune_ptychography.py",
        "grid": {"step_size": STEP_SIZES, "iterations": CHECKPOINTS},
        "choice": choice,
        "scores": rows,
    }
    temporary = OUT.with_suffix(".tmp")
    temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    temporary.replace(OUT)
    for row in choice:
        print(row)


if __name__ == "__main__":
    main()
