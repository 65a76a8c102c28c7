#!/usr/bin/env bash
# Guess: a py4DSTEM datacube with the centre of the beam at pixel 4 and pixels of 0.5 mrad has a
# detector axis that begins at -4 x 0.5 = -2.0 mrad, whichever of the two was set first.
# What happened: set in the order centre, size, the axis begins at -4.0: the centre in pixels is
# taken from coordinates that are in mrad already. In the order size, centre it begins at 0: the
# centre does not enter. An EMD file that is written then carries the axis; readers that believe it
# are off by the centre.
# Exits non-zero if this is no longer so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --quiet py4dstem==0.14.18 numpy==1.26.4 2>"$folder/pip.log" ||
    { cat "$folder/pip.log"; exit 1; }
cd "$folder"
MPLBACKEND=Agg "$python" - <<'PYTHON' 2>/dev/null
from importlib.metadata import version

import emdfile
import h5py
import numpy as np
import py4DSTEM


def axis(order):
    """First coordinates along Qx: in memory, and as written to a file."""
    cube = py4DSTEM.DataCube(np.ones((4, 4, 10, 10), np.float32))
    for what in order:
        if what == "centre":
            cube.calibration.set_qx0_mean(4.0)
            cube.calibration.set_qy0_mean(4.0)
        else:
            cube.calibration.set_Q_pixel_size(0.5)
            cube.calibration.set_Q_pixel_units("mrad")
    path = "-".join(order) + ".h5"
    emdfile.save(path, cube)
    stored = []
    with h5py.File(path) as file:
        file.visititems(
            lambda name, item: stored.append(item[:2].tolist()) if name.endswith("dim2") else None
        )
    return cube.dims[2][:2].tolist(), stored[0]


print("py4DSTEM", version("py4dstem"), "emdfile", version("emdfile"))
seen = {order: axis(order) for order in (("centre", "size"), ("size", "centre"))}
for order, (memory, stored) in seen.items():
    print(", then ".join(order), "-> in memory", memory, "in the file", stored)
assert seen["centre", "size"][0] == [-4.0, -3.5], seen
assert seen["size", "centre"][0] == [0.0, 0.5], seen
PYTHON
