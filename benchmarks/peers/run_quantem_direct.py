"""quantem's direct ptychography on the counts of folders; runs in quantem's environment.

    _build/peers/quantem/bin/python benchmarks/peers/run_quantem_direct.py FOLDER ...

Reads ``../counts.npz`` and ``settings.json``, writes ``images_0.npz`` and so on; ``exchange.py``
says what they hold. Detector pixels are binned 3×3, as for this package's direct ptychography.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from quantem.core.datastructures import Dataset4d
from quantem.diffractive_imaging.direct_ptychography import DirectPtychography
from runner import main

BINNING = 3
UPSAMPLING = 3


def binned(counts: Any) -> Any:
    """Sum 3×3 pixels; the axis stays in the middle of pixel (Qx // 2, Qy // 2)."""
    parts = []
    for n in counts.shape[2:]:
        reach = min(n // 2 - 1, n - 2 - n // 2) // BINNING
        parts.append(slice(n // 2 - reach * BINNING - 1, n // 2 + reach * BINNING + 2))
    cut = counts[:, :, parts[0], parts[1]]
    rows, columns = (n // BINNING for n in cut.shape[2:])
    return cut.reshape(*cut.shape[:2], rows, BINNING, columns, BINNING).sum((3, 5))


def reconstruct(counts: Any, given: dict[str, float], settings: dict[str, Any]) -> dict[str, Any]:
    """Run quantem once: what a file of images holds. It has no epochs, so the image is repeated."""
    began = time.process_time()
    step, pixel = given["step"], BINNING * given["pixel"]
    dataset = Dataset4d.from_array(
        binned(counts), sampling=(step, step, pixel, pixel), units=["A", "A", "mrad", "mrad"]
    )
    shape = dataset.shape
    run = DirectPtychography.from_dataset4d(
        dataset,
        energy=given["energy"],
        semiangle_cutoff=given["semiangle"],
        aberration_coefs={"C10": -given["defocus"]},
        rotation_angle=0.0,  # degrees
        force_fitted_origin=(shape[2] // 2, shape[3] // 2),
        verbose=False,
    )
    kernel = settings["kernel"]
    asked = {
        "deconvolution_kernel": kernel,
        "upsampling_factor": UPSAMPLING,
        "verbose": False,
    }
    run.reconstruct(**asked)
    if kernel == "wiener" and settings["noise"] != 1:
        estimate = run.noise_variance
        run.reconstruct(**asked, noise_variance=settings["noise"] * estimate)
    phase = np.asarray(run.corrected_bf, dtype=np.float32)
    return {
        "phases": np.stack([phase] * len(settings["epochs"])),
        "first": np.zeros(2),
        "pixel": np.full(2, step / UPSAMPLING),
        "seconds": np.full(len(settings["epochs"]), time.process_time() - began),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(reconstruct)
