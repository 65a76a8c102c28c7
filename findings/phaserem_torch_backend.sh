#!/usr/bin/env bash
# Guess: phaserEM 0.3.1 installed with its extra [torch] runs its gradient engine with
# backend "torch", on the CPU where there is no graphics card.
# What happened: without a graphics card "IndexError: tuple index out of range", since the list of
# PyTorch's devices leaves the CPU out; with the device "cpu" named, "No module named 'jax'": the
# engine maps over its state by jax.tree, and the extra [torch] does not ask for JAX.
# Exits non-zero if this is no longer so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --quiet "phaserEM[torch]==0.3.1" torch==2.13.0 2>"$folder/pip.log" ||
    { cat "$folder/pip.log"; exit 1; }
cd "$folder"
CUDA_VISIBLE_DEVICES="" MPLBACKEND=Agg "$python" - <<'PYTHON'
import logging
from importlib.metadata import version

import numpy as np
from phaser.execute import execute_plan
from phaser.plan import ReconsPlan

logging.disable(logging.CRITICAL)
counts = np.random.default_rng(0).poisson(5.0, (4, 4, 32, 32)).astype(np.float32)
np.save("patterns.npy", counts)


def run(**device):
    plan = ReconsPlan.from_data({
        "name": "noise", "backend": "torch", **device,
        "raw_data": {"type": "manual", "path": "patterns.npy", "kv": 300.0, "adu": 1.0,
                     "diff_step": 1.0},
        "init": {"scan": {"type": "raster", "shape": [4, 4], "step_size": 1.0},
                 "probe": {"type": "focused", "conv_angle": 10.0, "defocus": 100.0}},
        "engines": [{"type": "gradient", "noise_model": "poisson", "niter": 2, "grouping": 8,
                     "solvers": {"object": {"type": "adam", "learning_rate": 0.01}},
                     "regularizers": [], "group_constraints": [], "iter_constraints": []}],
    })
    try:
        execute_plan(plan)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "an image"


print("phaserEM", version("phaserem"), "PyTorch", version("torch"))
said = {"no device named": run(), 'device "cpu"': run(device="cpu")}
for asked, answer in said.items():
    print(f"{asked}: {answer}")
assert said["no device named"] == "IndexError: tuple index out of range"
assert said['device "cpu"'] == "ModuleNotFoundError: No module named 'jax'"
PYTHON
