"""Direct ptychography of quantem 0.1.10 and of this package, fed the same counts.

    python benchmarks/peer_quantem.py

quantem needs numpy 2 and cannot share an environment with py4DSTEM; this script makes one for it
under ``_build/peer_quantem`` and says so and stops where it cannot be installed. Prints, for each
kernel, the correlation of either image with the truth and with the other, their FRC-0.5
resolutions, and the two gains.

What to expect: OBF agrees. quantem's SSB is not divided by the sum of the moduli of γ, as ours
is, so its transfer fades where few views overlap: less noise, no quantitative phase. quantem's
Wiener solves the aliases jointly with a prior spectrum from the data, as ours does; ours averages
γ over each detector pixel and knows the amplitude contrast, which a thick or strong object needs.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
from pathlib import Path

import numpy as np

VERSION = "0.1.10"
KERNELS = {"ssb": "ssb", "obf": "obf", "wiener": "joint"}  # theirs: ours
HOME = Path(__file__).resolve().parent.parent / "_build" / "peer_quantem"
DOSES = (100.0, 1000.0, math.inf)
SPECIMENS = ("Li2CoO3", "apoferritin")


def install() -> Path | None:
    """Make quantem's environment once; its Python, or None where that fails."""
    python = HOME / "venv" / "bin" / "python"
    done = HOME / f"installed-{VERSION}"
    if done.exists():
        return python
    HOME.mkdir(parents=True, exist_ok=True)
    print(f"installing quantem {VERSION} into its own environment (a few minutes)", flush=True)
    made = subprocess.run([sys.executable, "-m", "venv", str(HOME / "venv")])
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if made.returncode or subprocess.run([*pip, f"quantem=={VERSION}"]).returncode:
        return None
    done.touch()
    return python


def worker(folder: Path) -> None:
    """Reconstruct in quantem's environment what the other process left in the folder."""
    from quantem.core.datastructures import Dataset4d
    from quantem.diffractive_imaging.direct_ptychography import DirectPtychography

    with np.load(folder / "counts.npz") as given:
        counts = given["counts"].astype(np.float32)
        step, pixel = float(given["step"]), float(given["pixel"])
        energy, semiangle = float(given["energy"]), float(given["semiangle"])
        defocus, upsampling = float(given["defocus"]), int(given["upsampling"])
    dataset = Dataset4d.from_array(
        counts, sampling=(step, step, pixel, pixel), units=["A", "A", "mrad", "mrad"]
    )
    run = DirectPtychography.from_dataset4d(
        dataset,
        energy=energy,
        semiangle_cutoff=semiangle,
        aberration_coefs={"C10": -defocus},
        rotation_angle=0.0,
        force_fitted_origin=(counts.shape[2] // 2, counts.shape[3] // 2),
        verbose=False,
    )
    images = {}
    for kernel in KERNELS:
        run.reconstruct(deconvolution_kernel=kernel, upsampling_factor=upsampling, verbose=False)
        images[kernel] = np.asarray(run.corrected_bf, dtype=np.float64)
    np.savez(folder / "images.npz", **images)


def compare(python: Path) -> None:
    import torch

    from misr4d.metrics import correlation
    from misr4d.spectra import fourier_ring_correlation, resolution
    from misr4d.study import UPSAMPLING, make_scene

    head = ("specimen", "dose", "kernel", "truth:quantem", "truth:ours", "mutual", "Å:quantem")
    print(*head, "Å:ours", "gain:quantem", "gain:ours", sep="  ")
    for name in SPECIMENS:
        scene = make_scene(name)
        for dose in DOSES:
            measurement = scene.measure(dose, seed=0)
            cube = measurement.whole.binned(3)
            acquisition = scene.focused
            np.savez(
                HOME / "counts.npz",
                counts=cube.patterns,
                step=cube.step[0],
                pixel=cube.detector_pixel[0],
                energy=acquisition.energy,
                semiangle=acquisition.semiangle,
                defocus=acquisition.defocus,
                upsampling=UPSAMPLING,
            )
            command = [str(python), __file__, "--worker", str(HOME)]
            subprocess.run(command, check=True)
            with np.load(HOME / "images.npz") as found:
                theirs = {k: torch.from_numpy(found[k]).float() for k in KERNELS}
            for kernel, solver in KERNELS.items():
                a, b = theirs[kernel], scene.direct(measurement.views, solver=solver)
                period = []
                gain = []
                for image in (a, b):
                    f, curve, _ = fourier_ring_correlation(image, scene.truth, scene.pixel, width=3)
                    period.append(resolution(f, curve))
                    centred = scene.truth - scene.truth.mean()
                    gain.append(float((image * centred).sum() / (centred**2).sum()))
                print(
                    f"{name:12s} {dose:6g} {kernel:7s} {correlation(a, scene.truth):6.3f} "
                    f"{correlation(b, scene.truth):6.3f} {correlation(a, b):6.3f} "
                    f"{period[0]:6.2f} {period[1]:6.2f} {gain[0]:9.3g} {gain[1]:9.3g}",
                    flush=True,
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        worker(given.worker)
        return
    python = install()
    if python is None:
        print(f"skipped: quantem {VERSION} cannot be installed here; nothing was compared")
        return
    compare(python)


if __name__ == "__main__":
    main()
