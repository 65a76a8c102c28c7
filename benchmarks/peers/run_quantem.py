"""quantem's iterative ptychography on the counts of folders; runs in quantem's environment.

    _build/peers/quantem/bin/python benchmarks/peers/run_quantem.py FOLDER ...

Reads ``../counts.npz`` and ``settings.json``, writes ``images_0.npz`` and so on; ``exchange.py``
says what they hold. The probe is known and held, the object is one slice.
"""

from __future__ import annotations

import gc
import math
import time
from typing import Any

import numpy as np
import torch
from quantem.core.datastructures import Dataset4dstem
from quantem.diffractive_imaging.dataset_models import PtychographyDatasetRaster
from quantem.diffractive_imaging.detector_models import DetectorPixelated
from quantem.diffractive_imaging.object_models import ObjectPixelated
from quantem.diffractive_imaging.probe_models import ProbePixelated
from quantem.diffractive_imaging.ptychography import Ptychography
from runner import main


def prepare(counts: Any, given: dict[str, float], settings: dict[str, Any]) -> Ptychography:
    """Set up quantem with the true geometry; its angles are degrees, underfocus is positive."""
    step, pixel = given["step"], given["pixel"]
    dataset = Dataset4dstem.from_array(
        counts, sampling=(step, step, pixel, pixel), units=["A", "A", "mrad", "mrad"]
    )
    raster = PtychographyDatasetRaster.from_dataset4dstem(
        dataset, verbose=0, learn_descan=False, learn_scan_positions=False
    )
    raster.preprocess(
        com_fit_function="no_shift",
        force_com_rotation=0.0,
        force_com_transpose=False,
        plot_rotation=False,
        plot_com=False,
        probe_energy=given["energy"],
    )
    probe = {name: given[name] for name in ("energy", "defocus", "semiangle")}
    probe["semiangle_cutoff"] = probe.pop("semiangle")
    run = Ptychography.from_models(
        dset=raster,
        obj_model=ObjectPixelated.from_uniform(obj_type=settings["object"], rng=0),
        probe_model=ProbePixelated.from_params(probe_params=probe, rng=0),
        detector_model=DetectorPixelated(),
        verbose=0,
        rng=0,
    )
    # Half a window around, so that no probe at the rim wraps to the other side.
    return run.preprocess(obj_padding_px=tuple(n // 2 for n in counts.shape[2:]))


def reconstruct(counts: Any, given: dict[str, float], settings: dict[str, Any]) -> dict[str, Any]:
    """Run quantem once: what a file of images holds."""
    began = time.process_time()
    run = prepare(counts, given, settings)
    constraints: dict[str, Any] = {"positivity": settings["positive"]}
    if settings["smoothing"]:
        constraints["gaussian_sigma"] = settings["smoothing"] / float(run.sampling[0])
    optimizer = {"object": {"name": "adam", "lr": settings["rate"]}}
    begin = {"optimizer_params": optimizer, "constraints": {"object": constraints}}
    phases, seconds = [], []
    for epochs in np.diff(settings["epochs"], prepend=0):
        run.reconstruct(
            num_iters=int(epochs),
            batch_size=math.ceil(counts.shape[0] * counts.shape[1] / settings["updates"]),
            loss_type=settings["likelihood"],
            **({} if phases else begin),
        )
        values = run.obj_model.obj.detach().numpy().sum(0)
        phases.append(np.angle(values) if np.iscomplexobj(values) else values)
        seconds.append(time.process_time() - began)
    return {
        "phases": np.stack(phases),
        "first": run.dset.scan_positions_px.detach().numpy()[0],
        "pixel": np.asarray(run.sampling, dtype=np.float64)[-2:],
        "seconds": np.array(seconds),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    gc.freeze()  # after each call quantem collects garbage twice: a second, were PyTorch's walked
    main(reconstruct)
