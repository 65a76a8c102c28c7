"""Tune py4DSTEM's single-slice ptychography per dose, on draws of the corpus.

    python benchmarks/tune_ptychography.py             # all, and the record
    python benchmarks/tune_ptychography.py atomic      # one regime, in a process beside the other's

Coordinate descent over step size, updates per iteration, low-pass filter and object type, each run
scored after every number of iterations until the score has stopped rising. A parameter's grid goes
on until its best value has worse ones on either side, or lies at a bound that no grid sets
(:data:`BOUNDS`). This is done on a quarter of the scan, 32 × 32 positions that hold both specimen
and vacuum, scored :data:`MARGIN` positions inside its edge, and begins with the best of the dose
before. The step size is then searched again on whole scans, where the choice is made. A start from
a flat object and one from the image of parallax are run beside it. Score: ``tuning_draws.score``,
mean over draws. Written to ``misr4d/data/ptychography_tuning.json``; an interrupted run takes up
where it stopped. About half an hour on one core.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tuning_draws
from torch import Tensor
from tuning_draws import REGIMES, SEED, Draw, draws, score

import misr4d
from misr4d.companion.study import Measurement, starting_phase
from misr4d.core.acquisition import UPSAMPLING
from misr4d.core.datacube import Datacube
from misr4d.core.files import whole_file, write_whole
from misr4d.reconstruction import classical, direct
from misr4d.reconstruction.classical import ptychography, ptychography_course
from misr4d.reconstruction.tuned import PtychographySettings
from misr4d.simulate import patterns as probes
from misr4d.simulate.patterns import camera_pixel

DOSES = (300.0, 1000.0, 100.0, math.inf)  # each descent starts where the one before ended
DRAWS = 2  # of each regime, with a noise seed of their own
QUARTER = 32  # scan positions along a side, where the descent is done
MARGIN = 6  # positions at the quarter's edge that are not scored: the probe saw what lies beyond
WHOLE = 0.5  # of the quarter's step size: a whole scan, whose edges are quiet, is in no such hurry
ITERATIONS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
RISING = 0.002  # gain per doubling of the iterations below which a score no longer rises
FALLEN = 0.01  # below its best: a run is given up
GAIN = 0.001  # that a step of the descent must bring
LADDERS: dict[str, dict[str, tuple[Any, ...]]] = {
    regime: {
        "step_size": tuple(2.0**k for k in range(-10, 3)),
        "batches": (1, 2, 8, 32, 128, 512),
        "lowpass": filters,  # Å⁻¹
    }
    for regime, filters in {
        "atomic": (0.35, 0.5, 0.7, 1.0, 1.4, 2.0, None),
        "molecular": (0.125, 0.18, 0.25, 0.35, 0.5, 0.7, None),
    }.items()
}
BOUNDS = {
    "batches": "1 update per iteration is the least there is",
    "lowpass": "none is a filter of infinite frequency",
    "iterations": "0 iterations is the start itself",
}
FIRST = {
    "atomic": PtychographySettings(0, 0.125, 32, "potential", None, "direct"),
    "molecular": PtychographySettings(0, 0.25, 32, "potential", 0.5, "direct"),
}
# Without noise the phase of direct ptychography is nothing that iterations improve: a reference is
# then made from a flat object.
FIRST_INFINITE = {
    "atomic": PtychographySettings(0, 1.0, 32, "complex", None, "flat"),
    "molecular": PtychographySettings(0, 1.0, 128, "potential", None, "flat"),
}
# Step size of a run that starts far from the truth, and its most iterations; what starts from the
# image of parallax soon goes the way of what starts flat.
FAR_STEP = {"atomic": 0.5, "molecular": 1.0}
FAR = {"flat": 64, "parallax": 8}
FAR_DOSE = 300.0
OUT = Path(misr4d.__file__).parent / "data" / "ptychography_tuning.json"
# A score belongs to the code that made it.
CODE = hashlib.sha256(
    "".join(map(inspect.getsource, (classical, direct, probes, tuning_draws))).encode()
).hexdigest()[:12]
PARTS = Path(__file__).resolve().parent.parent / "_build" / "tune_ptychography"
TUNED = ("step_size", "batches", "object_type", "lowpass", "start")

Rows = list[dict[str, Any]]


@lru_cache(maxsize=1)
def all_draws(regime: str) -> tuple[Draw, ...]:
    """Make the regime's draws, or read back patterns that were simulated before."""
    found = tuple(draws(regime, DRAWS))
    for draw in found:
        path = PARTS / f"{regime}-{draw.index}.npy"
        if path.is_file():
            acquisition = draw.scene.acquisition
            pixel = camera_pixel(acquisition.wavelength) / 3  # the simulated one
            cube = Datacube(np.load(path), acquisition.step, (pixel, pixel))
            vars(draw.scene)["patterns"] = cube  # where the scene would keep it
        else:
            with whole_file(path) as temporary:
                np.save(temporary, draw.scene.patterns.patterns)
    return found


@dataclass(frozen=True, eq=False)
class Case:
    """A measurement of a draw, and the part of it that is reconstructed."""

    draw: Draw
    measurement: Measurement
    field: str

    @cached_property
    def _corner(self) -> tuple[int, int]:
        """First position of the quarter of the scan whose share of specimen is nearest a half."""
        inside, n = self.draw.inside.float(), QUARTER * UPSAMPLING
        corners = [(a, b) for a in (0, QUARTER) for b in (0, QUARTER)]
        return min(
            corners,
            key=lambda c: abs(
                float(inside[c[0] * UPSAMPLING :, c[1] * UPSAMPLING :][:n, :n].mean()) - 0.5
            ),
        )

    def part(self, image: Tensor) -> Tensor:
        """Cut the field out of an image on the ×3 grid."""
        if self.field == "whole":
            return image
        (a, b), n = self._corner, QUARTER * UPSAMPLING
        return image[a * UPSAMPLING :, b * UPSAMPLING :][:n, :n]

    @lru_cache(maxsize=4)  # noqa: B019
    def start(self, name: str) -> Tensor | None:
        """Phase that a run begins with."""
        phase = starting_phase(self.measurement, name)
        return None if phase is None else self.part(phase).contiguous()

    def score(self, image: Tensor) -> dict[str, float]:
        """Score an image of the field."""
        scene, m = self.draw.scene, UPSAMPLING * MARGIN
        shown = (image, self.part(scene.truth), self.part(self.draw.inside))
        if self.field == "quarter":
            shown = tuple(array[m:-m, m:-m] for array in shown)
        return score(*shown, scene.pixel)

    def course(self, settings: PtychographySettings) -> Iterator[dict[str, Any]]:
        """Score a run after each number of iterations, from none on."""
        scene, cube = self.draw.scene, self.measurement.whole
        if self.field == "quarter":
            a, b = self._corner
            positions = cube.patterns[a : a + QUARTER, b : b + QUARTER]
            cube = replace(cube, patterns=np.ascontiguousarray(positions))
        label = {**self.draw.label, "noise": self.draw.index}
        initial = self.start(settings.start)
        if initial is not None:
            yield label | {"iterations": 0} | self.score(initial)
        course = ptychography_course(
            cube, scene.midplane, UPSAMPLING, settings, ITERATIONS, initial=initial
        )
        for iterations, image in course:
            yield label | {"iterations": iterations} | self.score(image)

    def cpu_seconds(self, settings: PtychographySettings) -> float:
        """Time one reconstruction."""
        initial, cube = self.start(settings.start), self.measurement.whole
        began = time.process_time()
        ptychography(cube, self.draw.scene.midplane, UPSAMPLING, settings, initial=initial)
        return round(time.process_time() - began, 1)


class Tuner:
    """Scores of one regime and dose on record, and the descent over them."""

    def __init__(self, regime: str, dose: float) -> None:
        PARTS.mkdir(parents=True, exist_ok=True)
        self.regime, self.dose = regime, dose
        self.path = PARTS / f"{CODE}-{regime}-{dose:g}.json"
        self.rows: Rows = json.loads(self.path.read_text()) if self.path.exists() else []

    @lru_cache(maxsize=2)  # noqa: B019
    def cases(self, field: str) -> tuple[Case, ...]:
        """Measure every draw; the noise of each has its own seed."""
        cases = []
        for draw in all_draws(self.regime):
            measurement = draw.scene.measure(self.dose, draw.index)
            cases.append(Case(draw, replace(measurement, halves=None), field))
        return tuple(cases)

    def means(self, field: str, settings: PtychographySettings) -> dict[int, float]:
        """Mean score over all draws after each number of iterations."""
        wanted = {"field": field} | {name: getattr(settings, name) for name in TUNED}
        scores: dict[int, list[float]] = {}
        for row in self.rows:
            if wanted.items() <= row.items():
                scores.setdefault(row["iterations"], []).append(row["score"])
        return {n: float(np.mean(s)) for n, s in scores.items() if len(s) == DRAWS}

    def top(
        self, settings: PtychographySettings, *, field: str = "quarter", most: int = ITERATIONS[-1]
    ) -> tuple[float, int]:
        """Best mean score of a setting and after how many iterations; run if not on record."""
        if not self.means(field, settings):
            given = {name: getattr(settings, name) for name in TUNED}
            label = {"regime": self.regime, "dose": str(self.dose), "field": field} | given
            runs = [case.course(settings) for case in self.cases(field)]
            fresh: Rows = []
            means: dict[int, float] = {}
            for rows in zip(*runs, strict=True):
                fresh += [label | row for row in rows]
                n = rows[0]["iterations"]
                means[n] = float(np.mean([row["score"] for row in rows]))
                best = max(means.values())
                earlier = max((s for m, s in means.items() if 2 * m <= n), default=-1.0)
                settled = n >= 4 and best - earlier < RISING
                if n >= most or settled or means[n] < best - FALLEN:
                    break
            self.rows += fresh
            write_whole(self.path, json.dumps(self.rows))
            best_n = max(means, key=lambda n: means[n])
            shown = {**given, "iterations": best_n, "score": round(means[best_n], 4)}
            print(self.regime, self.dose, field, shown, flush=True)
        scores = {n: mean for n, mean in self.means(field, settings).items() if n > 0}
        best = max(scores, key=lambda n: scores[n])
        return scores[best], best

    def neighbours(self, settings: PtychographySettings, name: str) -> list[PtychographySettings]:
        """List the settings one rung below and above in one parameter."""
        ladder = LADDERS[self.regime][name]
        rung = ladder.index(getattr(settings, name))
        rungs = [i for i in (rung - 1, rung + 1) if 0 <= i < len(ladder)]
        return [replace(settings, **{name: ladder[i]}) for i in rungs]

    def descend(self, here: PtychographySettings) -> PtychographySettings:
        """Move along one parameter after the other until none of them gains."""
        stuck = False
        while not stuck:
            stuck = True
            for name in ("step_size", "lowpass", "batches", "object_type"):
                best = self.best_neighbour(here, name)
                while self.top(best)[0] > self.top(here)[0] + GAIN:
                    here, stuck = best, False
                    best = self.best_neighbour(here, name)
        return here

    def best_neighbour(self, here: PtychographySettings, name: str) -> PtychographySettings:
        """Find the best of the settings that differ by one rung of one parameter."""
        if name == "object_type":
            other = {"complex": "potential", "potential": "complex"}[here.object_type]
            return replace(here, object_type=other)
        return max(self.neighbours(here, name), key=lambda s: self.top(s)[0])

    def confirm(self, here: PtychographySettings) -> PtychographySettings:
        """Move on in step size on whole scans, from the best of the quarter."""
        stuck = False
        while not stuck:
            stuck = True
            for near in self.neighbours(here, "step_size"):
                if self.top(near, field="whole")[0] > self.top(here, field="whole")[0] + GAIN:
                    here, stuck = near, False
        return here

    def choice(self, quarter: PtychographySettings, whole: PtychographySettings) -> dict[str, Any]:
        """Say what was chosen, where the quarter of the scan had it, and the spread over draws."""
        score, iterations = self.top(whole, field="whole")
        quarter = replace(quarter, iterations=self.top(quarter)[1])
        chosen = {name: getattr(whole, name) for name in TUNED} | {"iterations": iterations}
        rows = [r for r in self.rows if (chosen | {"field": "whole"}).items() <= r.items()]
        scores = [row["score"] for row in rows]
        return {
            "regime": self.regime,
            "dose": str(self.dose),
            **chosen,
            "score": round(score, 4),
            "draws": len(rows),
            "lowest": min(scores),
            "highest": max(scores),
            "cpu_seconds": self.cases("whole")[0].cpu_seconds(PtychographySettings(**chosen)),
            "quarter": {name: getattr(quarter, name) for name in (*TUNED, "iterations")},
        }

    def far(self, here: PtychographySettings) -> None:
        """Run from other starts, which take more and larger steps."""
        for start, most in FAR.items():
            for kind in ("potential", "complex"):
                step = FAR_STEP[self.regime]
                other = replace(here, start=start, object_type=kind, step_size=step, batches=32)
                self.top(other, most=most)


def tune(regime: str) -> list[dict[str, Any]]:
    """Tune a regime at every dose, and say what was chosen."""
    here = FIRST[regime]
    quarter = {}
    for dose in DOSES:
        first = FIRST_INFINITE[regime] if math.isinf(dose) else here
        here = quarter[dose] = Tuner(regime, dose).descend(first)
    choice = []
    for dose, best in quarter.items():
        tuner = Tuner(regime, dose)
        step = best.step_size * (1.0 if best.start == "flat" else WHOLE)
        choice.append(tuner.choice(best, tuner.confirm(replace(best, step_size=step))))
    Tuner(regime, FAR_DOSE).far(quarter[FAR_DOSE])
    Tuner(regime, math.inf).top(replace(quarter[FAR_DOSE], start="direct"))
    return sorted(choice, key=lambda row: float(row["dose"]))


def courses(rows: Rows) -> Rows:
    """Gather the scores of a run after each number of iterations into lists."""
    along = ("iterations", "score", "inside", "rings")
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        label = {name: value for name, value in row.items() if name not in (*along, "seconds")}
        run = found.setdefault(tuple(label.values()), label | {name: [] for name in along})
        for name in along:
            run[name].append(row[name])
    return list(found.values())


def main() -> None:
    torch.set_num_threads(1)
    regimes = sys.argv[1:] or REGIMES
    choice = [row for regime in regimes for row in tune(regime)]
    for row in choice:
        print(row)
    if sys.argv[1:]:
        return
    record = {
        "command": "python benchmarks/tune_ptychography.py",
        "seed": SEED,
        "grid": LADDERS | {"iterations": ITERATIONS},
        "bounds": BOUNDS,
        "rising": RISING,
        "gain": GAIN,
        "other starts": str(FAR_DOSE),
        "choice": choice,
        "runs": [run for r in REGIMES for dose in DOSES for run in courses(Tuner(r, dose).rows)],
    }
    write_whole(OUT, json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
