#!/usr/bin/env bash
# Guess: quantem 0.1.10's DirectPtychography takes every detector pixel of the bright disc that its
# aperture model reaches, whether the disc ends one pixel or none before the detector does.
# What happened: the mask is cropped to the disc and one pixel around it. Where the disc's outermost
# pixels are the detector's first rows, that window begins at row -1, which indexing reads as the
# last row, and the mask is empty: no bright-field pixel is left, and nothing says so. With a pixel
# more of detector on every side, or crop_bf_mask=False, all of the disc is used.
# Exits non-zero if this is no longer so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PEER_PYTHON:-}" ]; then  # the Python of an environment that has quantem, to save the install
    "${PYTHON:-python3.11}" -m venv "$folder/venv"
    PEER_PYTHON="$folder/venv/bin/python"
    "$PEER_PYTHON" -m pip install --quiet quantem==0.1.10 torch==2.13.0 torchvision==0.28.0 2>"$folder/pip.log" ||
        { cat "$folder/pip.log"; exit 1; }
fi
cd "$folder"
MPLBACKEND=Agg "$PEER_PYTHON" - <<'PYTHON'
import warnings
from importlib.metadata import version

import numpy as np
from quantem.core.datastructures import Dataset4d
from quantem.diffractive_imaging.direct_ptychography import DirectPtychography

PIXEL, SEMIANGLE = 1.0, 10.0  # mrad: a disc of 10 pixels in radius, around the middle pixel


def pixels_of_the_disc(side, **options):
    """How many bright-field pixels quantem keeps of a detector of so many pixels a side."""
    x = np.arange(side) - side // 2
    lit = np.hypot(x[:, None], x) <= SEMIANGLE / PIXEL
    counts = np.random.default_rng(0).poisson(20.0 * lit + 0.1, (8, 8, side, side))
    dataset = Dataset4d.from_array(
        counts.astype(np.float32),
        sampling=(1.0, 1.0, PIXEL, PIXEL),
        units=["A", "A", "mrad", "mrad"],
    )
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        run = DirectPtychography.from_dataset4d(
            dataset,
            energy=300e3,
            semiangle_cutoff=SEMIANGLE,
            aberration_coefs={"C10": -500.0},
            rotation_angle=0.0,
            force_fitted_origin=(side // 2, side // 2),
            verbose=False,
            **options,
        )
    return int(run.bf_mask.sum()), [str(w.message) for w in said if "mask" in str(w.message)]


print("quantem", version("quantem"), "PyTorch", version("torch"), "NumPy", version("numpy"))
kept = {
    "a pixel beside the disc": pixels_of_the_disc(23),
    "no pixel beside the disc": pixels_of_the_disc(21),
    "no pixel beside the disc, not cropped": pixels_of_the_disc(21, crop_bf_mask=False),
}
for case, (pixels, said) in kept.items():
    print(f"{case}: {pixels} pixels, warnings about the mask: {said or 'none'}")
assert kept["a pixel beside the disc"][0] > 300
assert kept["no pixel beside the disc"] == (0, []), "it keeps the disc, or says that it does not"
assert kept["no pixel beside the disc, not cropped"][0] > 300
PYTHON
