"""quantem's direct ptychography on the cryo scan; runs in quantem's environment.

    _build/peers/quantem/bin/python benchmarks/peers/run_quantem_cryo.py FOLDER

Reads ``../counts.npz`` and ``settings.json``, writes ``images_0.npz``: the image ``phase`` [rad] of
`upsampling` pixels a step from the first position, and quantem's fit, lengths [Å] and angles as it
names them, ``rotation`` [degrees]. quantem starts from the geometry that it is given and fits its
own by the cross-correlation of its bright-field images.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from quantem.core.datastructures import Dataset4d
from quantem.diffractive_imaging.direct_ptychography import DirectPtychography
from run_quantem_direct import BINNING, binned
from runner import main


def reconstruct(counts: Any, given: dict[str, float], settings: dict[str, Any]) -> dict[str, Any]:
    """Fit the geometry and make the image: what a file of images holds."""
    began = time.process_time()
    step, pixel = given["step"], BINNING * given["pixel"]
    small = binned(counts)
    centre = [
        m // 2 + (c - n // 2) / BINNING
        for c, n, m in zip(settings["centre"], counts.shape[2:], small.shape[2:], strict=True)
    ]
    run = DirectPtychography.from_dataset4d(
        Dataset4d.from_array(
            small, sampling=(step, step, pixel, pixel), units=["A", "A", "mrad", "mrad"]
        ),
        energy=given["energy"],
        semiangle_cutoff=given["semiangle"],
        aberration_coefs={"C10": -given["defocus"]},
        rotation_angle=settings["rotation"],  # degrees
        force_fitted_origin=tuple(centre),
        # The disc reaches the last row of the detector, where cropping would leave none of it.
        crop_bf_mask=False,
        verbose=False,
    )
    run.fit_hyperparameters_cross_correlation(verbose=False)
    run.reconstruct(
        deconvolution_kernel=settings["kernel"],
        upsampling_factor=settings["upsampling"],
        verbose=False,
    )
    fitted = run.hyperparameter_state
    return {
        "phase": np.asarray(run.corrected_bf, dtype=np.float32),
        "rotation": float(fitted.current_rotation_angle()),
        "seconds": time.process_time() - began,
        **{name: float(value) for name, value in fitted.current_aberrations().items()},
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(reconstruct)
