"""phaserEM's gradient engine on the counts of folders; runs in phaserEM's environment.

    _build/peers/phaserEM/bin/python benchmarks/peers/run_phaserem.py FOLDER ...

Reads ``../counts.npz`` and ``settings.json``, writes ``images_0.npz`` and so on; ``exchange.py``
says what they hold. The probe is known and held, the object is one slice.
"""

from __future__ import annotations

import logging
import math
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from phaser.execute import initialize_reconstruction, prepare_for_engine
from phaser.observer import Observer
from phaser.plan import ReconsPlan
from phaser.utils.num import get_array_module
from runner import main


class Recorder(Observer):
    """The object's phase after each of some epochs, and the processor time from the start."""

    def __init__(self, epochs: list[int]) -> None:
        self.epochs = epochs
        self.phases: list[Any] = []
        self.seconds: list[float] = []
        self.began = time.process_time()

    def update_iteration(self, state: Any, i: int, n: int, errors: dict[str, float]) -> None:
        """Keep the phase if this epoch was asked for."""
        if i in self.epochs:
            data = np.asarray(state.object.data)
            self.phases.append(np.angle(data).sum(0).astype(np.float32))
            self.seconds.append(time.process_time() - self.began)


def plan(
    path: Path, shape: tuple[int, int], given: dict[str, float], settings: dict[str, Any]
) -> ReconsPlan:
    """Write phaserEM's plan; its positive defocus is overfocus."""
    constraints: list[dict[str, Any]] = []
    if settings["smoothing"]:
        constraints.append({"type": "obj_gaussian", "sigma": settings["smoothing"], "weight": 1.0})
    if settings["positive"]:
        constraints.append({"type": "nonneg_object_phase"})
    engine = {
        "type": "gradient",
        "noise_model": settings["likelihood"],
        "niter": max(settings["epochs"]),
        "grouping": math.ceil(math.prod(shape) / settings["updates"]),
        "bwlim_frac": None,
        "update_probe": False,
        "calc_error": False,
        "solvers": {"object": {"type": "adam", "learning_rate": settings["rate"]}},
        "regularizers": [],
        "group_constraints": [],
        "iter_constraints": constraints,
    }
    return ReconsPlan.from_data(
        {
            "name": "peer",
            "backend": "jax",
            "raw_data": {
                "type": "manual",
                "path": str(path),
                "diff_step": given["pixel"],
                "kv": given["energy"] / 1e3,
                "adu": 1.0,
            },
            "init": {
                "scan": {
                    "type": "raster",
                    "shape": list(shape),
                    "step_size": given["step"],
                },
                "probe": {
                    "type": "focused",
                    "conv_angle": given["semiangle"],
                    "defocus": -given["defocus"],
                },
            },
            "engines": [engine],
        }
    )


def reconstruct(counts: Any, given: dict[str, float], settings: dict[str, Any]) -> dict[str, Any]:
    """Run phaserEM once: what a file of images holds."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "patterns.npy"
        np.save(path, counts)
        asked = plan(path, counts.shape[:2], given, settings)
        recorder = Recorder(settings["epochs"])
        ready = initialize_reconstruction(asked, seed=0, override_observers=[recorder])
    xp = get_array_module(ready.state.object.data)
    engine = asked.engines[0]
    patterns, state = prepare_for_engine(ready.patterns, ready.state, xp, engine.props)
    # phaserEM's own loop hands no seed to the engine, so that no two runs are the same.
    state = engine(
        {
            "data": patterns,
            "state": state,
            "dtype": np.float32,
            "xp": xp,
            "recons_name": "peer",
            "observer": recorder,
            "seed": 0,
        }
    )
    sampling = state.object.sampling
    corner, pixel = np.asarray(sampling.corner), np.asarray(sampling.sampling)
    first = (np.asarray(state.scan.data).reshape(-1, 2)[0] - corner) / pixel
    # A window of even size is laid around the position by its middle, between two pixels, while
    # the probe in it is centred on the pixel after.
    first += [0.5 if n % 2 == 0 else 0.0 for n in patterns.patterns.shape[2:]]
    return {
        "phases": np.stack(recorder.phases),
        "first": first,
        "pixel": pixel,
        "seconds": np.array(recorder.seconds),
    }


if __name__ == "__main__":
    logging.disable(logging.INFO)
    main(reconstruct)
