"""Speed, as ratios measured in one run on this machine.

    make bench

* Views of a crystal patch by reciprocity against abTEM's full scan of the same specimen: the same
  potential, scan and band limit, both with as many threads as torch and the FFTs take.
* Full diffraction patterns of the same scan by the windowed multislice that the study uses, against
  the same scan of abTEM's; ``tests/simulate/test_patterns.py`` holds the two to each other.
* py4DSTEM's ptychography as the package runs it against the same with plain NumPy.
* One direct reconstruction of a 64×64 scan with 177 views against drawing that scan's electrons.
* The shipped networks on one such scan against its direct reconstruction.
* A training sample of the informed network, whose noise is added to the clean statistic, against a
  sample of drawn electrons in every view, as the raw-view networks need.

Each is the median of a few runs. Seconds are printed to say how long a run is, not to compare
machines.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from unittest import mock

import py4DSTEM
import torch

from misr4d import ATOMIC
from misr4d.core.acquisition import UPSAMPLING
from misr4d.core.dose import expose
from misr4d.learn.configuration import Training
from misr4d.learn.examples import example
from misr4d.learn.learned import STUDIED, attention_unet, dual_path, informed
from misr4d.learn.recipes import make_batch
from misr4d.reconstruction import classical
from misr4d.reconstruction.direct import AMPLITUDE_CONTRAST, DirectPtychography
from misr4d.reconstruction.tuned import PtychographySettings
from misr4d.simulate.multislice import build_potential, simulate_datacube
from misr4d.simulate.patterns import WINDOW, camera_pixel, simulate_patterns
from misr4d.simulate.reciprocity import simulate_views
from misr4d.specimens.catalogue import make_specimen


def median_time(action: Callable[[], object], repeats: int) -> float:
    """Median wall time of a few runs after one to warm up [s]."""
    if repeats > 1:
        action()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        action()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def training_samples(network: str) -> float:
    """Seconds a sample of a training batch takes to draw, its specimens simulated beforehand."""
    config = Training(network=network, specimens=5, molecular=0.0, batch=8)
    for index in range(5):
        example("atomic", config.seed, index)
    steps = iter(range(1000))  # never the same twice
    return median_time(lambda: make_batch(config, next(steps)), 9) / config.batch


def networks() -> None:
    """Print what the shipped networks take for one scan, and their training samples."""
    acquisition = replace(ATOMIC, detector_pixel=camera_pixel(ATOMIC.wavelength))
    midplane = acquisition.refocused(10.0)
    method = DirectPtychography(
        midplane, aliases=UPSAMPLING, amplitude_contrast=AMPLITUDE_CONTRAST["atomic"]
    )
    generator = torch.Generator().manual_seed(0)
    views = torch.rand((acquisition.number_of_views, 64, 64), generator=generator)
    solve = median_time(lambda: method(views), 11)
    print(f"\nnetworks, {len(views)} views of 64×64, ×3, in all:")
    actions: dict[str, Callable[[], object]] = {
        "DirectInformed": lambda: informed(method, views),
        "AttentionUNet": lambda: attention_unet(views, midplane),
        "DualPath": lambda: dual_path(views, midplane),
    }
    for name in STUDIED:
        taken = median_time(actions[name], 5)
        print(f"  {name:15} {taken:6.3f} s = {taken / solve:.1f} × the direct reconstruction")
    added, drawn = training_samples("DirectInformed"), training_samples("AttentionUNet")
    print(
        f"\ntraining samples: {1 / added:.0f} a second with noise added to the statistic, "
        f"{drawn / added:.1f} × as many as with electrons drawn in every view"
    )


def main() -> None:
    print(f"{torch.get_num_threads()} threads; wait about three minutes")
    potential = build_potential(make_specimen("Li2CoO3"), 1 / 3)
    scan = median_time(lambda: simulate_datacube(potential, ATOMIC), 1)
    views = median_time(lambda: simulate_views(potential, ATOMIC), 3)
    shape = " × ".join(str(n) for n in potential.slices.shape)
    print(
        f"\nviews, 64×64 positions, potential {shape}:\n"
        f"  abTEM full scan {scan:6.2f} s    reciprocity {views:6.3f} s    "
        f"{scan / views:.0f}× faster"
    )
    began = time.perf_counter()
    cube = simulate_patterns(potential, ATOMIC, window=WINDOW)
    windowed = time.perf_counter() - began
    print(
        f"  patterns by windowed multislice {windowed:6.2f} s    {scan / windowed:.1f}× faster "
        "than abTEM's scan"
    )
    midplane = ATOMIC.refocused(potential.thickness / 2)
    few = PtychographySettings(iterations=4, batches=32, object_type="potential")
    quicker = median_time(lambda: classical.ptychography(cube, midplane, UPSAMPLING, few), 1)
    theirs = py4DSTEM.process.phase.SingleslicePtychography
    with mock.patch.object(classical, "_QuickPtychography", theirs):
        plain = median_time(lambda: classical.ptychography(cube, midplane, UPSAMPLING, few), 1)
    print(
        f"\niterative ptychography, {few.iterations} iterations of {few.batches} updates:\n"
        f"  py4DSTEM {plain:6.2f} s    as the package runs it {quicker:6.2f} s    "
        f"{plain / quicker:.1f}× faster"
    )
    stack = simulate_views(potential, ATOMIC)
    build = median_time(lambda: DirectPtychography(midplane), 3)
    method = DirectPtychography(midplane)
    noisy = expose(stack, ATOMIC, 300.0, torch.Generator().manual_seed(0))
    draw = median_time(lambda: expose(stack, ATOMIC, 300.0, torch.Generator().manual_seed(0)), 5)
    solve = median_time(lambda: method(noisy), 11)
    print(
        f"\ndirect reconstruction, {len(stack)} views of 64×64, ×3:\n"
        f"  one reconstruction {solve:.4f} s = {solve / draw:.2f} × drawing its electrons "
        f"({draw:.4f} s);\n  its kernels, once for a measurement, {build / solve:.0f} × a "
        "reconstruction"
    )
    networks()


if __name__ == "__main__":
    main()
