#!/usr/bin/env bash
# Guess: phaserEM 0.3.1 puts an atom that lies on a probe position at the coordinates of this
# position, whatever the number of detector pixels.
# What happened: with an odd number it does; with an even number, which nearly every detector has,
# the image is half a pixel off along both axes in phaserEM's own coordinates. A window of even size
# is laid around the position by its middle, between two pixels, while the probe in it is centred on
# the pixel after. Nothing warns.
# Exits non-zero if this is no longer so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PEER_PYTHON:-}" ]; then  # the Python of an environment that has phaserEM, to save the install
    "${PYTHON:-python3.11}" -m venv "$folder/venv"
    PEER_PYTHON="$folder/venv/bin/python"
    "$PEER_PYTHON" -m pip install --quiet "phaserEM[jax]==0.3.1" jax==0.10.2 optax==0.2.8 2>"$folder/pip.log" ||
        { cat "$folder/pip.log"; exit 1; }
fi
cd "$folder"
JAX_PLATFORMS=cpu MPLBACKEND=Agg "$PEER_PYTHON" - <<'PYTHON'
import logging
from importlib.metadata import version

import numpy as np
from phaser.execute import initialize_reconstruction, prepare_for_engine
from phaser.plan import ReconsPlan
from phaser.utils.num import get_array_module

logging.disable(logging.INFO)
KV, SEMIANGLE, DEFOCUS, PIXEL, SCAN, STEP, ATOM = 300.0, 20.0, 200.0, 0.5, 9, 2.0, 4
WAVELENGTH = 12.2643 / np.sqrt(KV * 1e3 * (1 + 0.978476e-6 * KV * 1e3))  # Å


def atom_is_at(size):
    """Offset [pixels] of the atom in the image from probe position (ATOM, ATOM), where it lies."""
    k = np.fft.fftfreq(size, PIXEL)
    squared = k[:, None] ** 2 + k**2
    aperture = np.sqrt(squared) * WAVELENGTH * 1e3 <= SEMIANGLE
    probe = aperture * np.exp(-1j * np.pi * WAVELENGTH * DEFOCUS * squared)  # overfocus
    probe = np.fft.ifft2(probe) / np.sqrt(aperture.sum()) * size  # centred on pixel (0, 0)
    x = np.fft.fftfreq(size, 1 / size) * PIXEL  # Å from the probe's centre
    patterns = np.empty((SCAN, SCAN, size, size), dtype=np.float32)
    for i in range(SCAN):
        for j in range(SCAN):
            there = (x[:, None] - STEP * (ATOM - i)) ** 2 + (x - STEP * (ATOM - j)) ** 2
            wave = probe * np.exp(0.3j * np.exp(-there / 2))
            patterns[i, j] = np.fft.fftshift(abs(np.fft.fft2(wave)) ** 2)
    np.save("patterns.npy", 1e6 * patterns / patterns[0, 0].sum())
    engine = {
        "type": "gradient", "noise_model": "poisson", "niter": 30, "grouping": 16,
        "bwlim_frac": None, "update_probe": False, "calc_error": False,
        "solvers": {"object": {"type": "adam", "learning_rate": 0.01}},
        "regularizers": [], "group_constraints": [], "iter_constraints": [],
    }
    plan = ReconsPlan.from_data({
        "name": "atom", "backend": "jax",
        "raw_data": {"type": "manual", "path": "patterns.npy", "kv": KV, "adu": 1.0,
                     "diff_step": WAVELENGTH / (size * PIXEL) * 1e3},
        "init": {"scan": {"type": "raster", "shape": [SCAN, SCAN], "step_size": STEP},
                 "probe": {"type": "focused", "conv_angle": SEMIANGLE, "defocus": DEFOCUS}},
        "engines": [engine],
    })
    ready = initialize_reconstruction(plan, seed=0, override_observers=[])
    xp = get_array_module(ready.state.object.data)
    data, state = prepare_for_engine(ready.patterns, ready.state, xp, plan.engines[0].props)
    from phaser.observer import Observer
    state = plan.engines[0]({"data": data, "state": state, "dtype": np.float32, "xp": xp,
                             "recons_name": "atom", "observer": Observer(), "seed": 0})
    phase = np.angle(np.asarray(state.object.data)).sum(0)
    grid = state.object.sampling
    pixel, corner = np.asarray(grid.sampling), np.asarray(grid.corner)
    expected = (np.asarray(state.scan.data).reshape(SCAN, SCAN, 2)[ATOM, ATOM] - corner) / pixel
    near = np.rint(expected).astype(int)
    part = tuple(slice(n - 5, n + 6) for n in near)
    weight = np.clip(phase[part] - np.median(phase[part]), 0, None) ** 2
    axis = np.arange(-5, 6)
    seen = near + [(weight.sum(1) * axis).sum() / weight.sum(), (weight.sum(0) * axis).sum() / weight.sum()]
    return seen - expected


print("phaserEM", version("phaserem"), "NumPy", version("numpy"), "JAX", version("jax"))
offset = {size: atom_is_at(size) for size in (47, 48)}
for size, (row, column) in offset.items():
    print(f"{size} detector pixels: atom is {row:+.2f}, {column:+.2f} pixels from its probe position")
assert abs(offset[47]).max() < 0.1, "an odd number of pixels is off too"
assert abs(abs(offset[48]) - 0.5).max() < 0.1, "an even number of pixels is no longer half a pixel off"
PYTHON
