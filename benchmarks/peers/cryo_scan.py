"""quantem's image of the real cryo scan, kept for chapter 16.

    python benchmarks/peers/cryo_scan.py

The scan is that of `misr4d fetch cryo`, or of the folder that MISR4D_CRYO_SCAN names. Both programs
get the same counts. quantem is told where this package finds the centre of the disc, and the pixel,
on which its own angles rest, and starts from the defocus and the rotation; its geometry is then its
own fit. It takes four minutes on one core, after the environment.

``notebooks/study/cryo_quantem.npz`` holds the ``image`` as 8-bit levels, ``scale``, which is
level 0 and the width of a level [rad], and ``made``, JSON of versions, settings and fit. One pixel
in a thousand is brighter or darker than the levels reach.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from environments import HOME, install, single_thread, versions

from misr4d import __version__
from misr4d.companion.chapters.cryo_scan import KEPT, MISSING
from misr4d.core.files import whole_file
from misr4d.io.scan import Scan
from misr4d.report.preparation import prepare
from misr4d.specimens.cryo_scan import KNOWN, find_cryo_scan
from misr4d.specimens.fetch import DATASETS

UPSAMPLING = 6  # as in the chapter
KERNEL = "wiener"  # the one of its kernels whose values are radians
CLIPPED = 0.0005  # of the pixels, at either end of the levels
FIT = ("C10", "C12", "phi12", "rotation")


def main() -> None:
    counts = find_cryo_scan(DATASETS["cryo"].path)
    if counts is None:
        sys.exit(MISSING)
    python = install("quantem")
    prepared = prepare(Scan.from_array(counts, **KNOWN), upsampling=UPSAMPLING)
    q = {name: quantity.value for name, quantity in prepared.quantities.items()}
    if q["transposed"]:  # quantem knows no transposed detector
        counts, centre = counts.swapaxes(2, 3), q["centre"][::-1]
    else:
        centre = q["centre"]
    geometry = {
        "step": KNOWN["step"],
        "pixel": q["detector_pixel"][0],
        "energy": KNOWN["energy"],
        "semiangle": KNOWN["semiangle"],
        "defocus": q["defocus"],
    }
    settings = {
        "rotation": q["rotation"],
        "centre": list(centre),
        "kernel": KERNEL,
        "upsampling": UPSAMPLING,
    }
    place = HOME / "cryo" / "quantem"
    place.mkdir(parents=True, exist_ok=True)
    np.savez(place.parent / "counts.npz", counts=counts, **geometry)
    (place / "settings.json").write_text(json.dumps([settings]), encoding="utf-8")
    script = Path(__file__).with_name("run_quantem_cryo.py")
    subprocess.run([str(python), str(script), str(place)], env=single_thread(), check=True)
    with np.load(place / "images_0.npz") as made:
        phase = made["phase"]
        fit = {name: float(made[name]) for name in FIT}
    keep(
        phase,
        {
            "versions": {"misr4d": __version__, **versions("quantem")},
            "detector transposed": q["transposed"],
            "given": {**geometry, **settings},
            "fitted by quantem": fit,
        },
    )


def keep(phase: Any, made: dict[str, Any]) -> None:
    """Write the file that the module's docstring describes."""
    low, high = (float(v) for v in np.quantile(phase, (CLIPPED, 1 - CLIPPED)))
    width = (high - low) / 255
    levels = np.rint((np.clip(phase, low, high) - low) / width).astype(np.uint8)
    with whole_file(KEPT) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            image=levels,
            scale=np.array([low, width]),
            made=json.dumps(made, ensure_ascii=False),
        )
    print(json.dumps(made, indent=1, ensure_ascii=False))
    print(f"{KEPT}: {phase.shape[0]} × {phase.shape[1]} pixels, {KEPT.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
