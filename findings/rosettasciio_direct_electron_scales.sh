#!/usr/bin/env bash
# Guess: RosettaSciIO 0.15.0 gives a 4D scan of a Direct Electron camera (.mrc, with the camera's
# _info.txt beside it) the scan step and the diffraction pixel
# that the text states.
# What happened: the text is read, and its size of the scan is used, but both scales of the scan are
# 1 nm and both of the detector 1 nm^-1, whatever it states: 0.12 nm and 0.05 nm^-1 here. The stated
# numbers are only in original_metadata. Nothing warns.
# Exits non-zero if this is no longer so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PEER_PYTHON:-}" ]; then  # the Python of an environment that has RosettaSciIO, to save the install
    "${PYTHON:-python3.11}" -m venv "$folder/venv"
    PEER_PYTHON="$folder/venv/bin/python"
    "$PEER_PYTHON" -m pip install --quiet rosettasciio==0.15.0 2>"$folder/pip.log" ||
        { cat "$folder/pip.log"; exit 1; }
fi
cd "$folder"
"$PEER_PYTHON" - <<'PYTHON'
import struct
from importlib.metadata import version
from pathlib import Path

import numpy as np
from rsciio.mrc import file_reader

LINES, POSITIONS, SIDE = 4, 5, 16
STEP, PIXEL = 0.12, 0.05  # nm and 1/nm, as the text states
head = bytearray(1024)
struct.pack_into("<4i", head, 0, SIDE, SIDE, LINES * POSITIONS, 6)  # mode 6: uint16
struct.pack_into("<3i", head, 28, SIDE, SIDE, LINES * POSITIONS)
struct.pack_into("<3f", head, 40, 1, 1, 1)
head[208:212] = b"MAP "
counts = np.random.default_rng(0).poisson(3.0, (LINES * POSITIONS, SIDE, SIDE)).astype("<u2")
Path("20250101_00001_movie.mrc").write_bytes(bytes(head) + counts.tobytes())
said = {
    "Scan - Enable": "Enable", "Scan - Type": "Raster",
    "Scan - Size X": POSITIONS, "Scan - Size Y": LINES,
    "Scan - Time (seconds)": 1, "Scan - Repeat Delay (seconds)": 0,
    "Image Size X (pixels)": SIDE, "Image Size Y (pixels)": SIDE,
    "Specimen Pixel Size X (nanometers)": STEP, "Specimen Pixel Size Y (nanometers)": STEP,
    "Diffraction Pixel Size X": PIXEL, "Diffraction Pixel Size Y": PIXEL,
    "Instrument Accelerating Voltage (V)": 300000,
    "Instrument Project Camera Length (centimeters)": 10,
    "Instrument Project TEMorSTEM Mode": 1, "ADUs Per Electron Bin1x": 1,
    "Frames Per Second": 1000, "Camera Model": "x",
}
text = Path("20250101_00001_info.txt")
text.write_text("".join(f"{key:<60}= {value}\n" for key, value in said.items()))

signal = file_reader("20250101_00001_movie.mrc", lazy=True)[0]
scales = [(axis["name"], axis["scale"], axis["units"]) for axis in signal["axes"]]
stated = signal["original_metadata"]["de_metadata"]
print("rosettasciio", version("rosettasciio"))
print("shape", signal["data"].shape, "axes", scales)
print("stated", {key: stated[key] for key in said if "Pixel Size" in key})
assert signal["data"].shape == (LINES, POSITIONS, SIDE, SIDE), "the text is not read at all"
assert float(stated["Specimen Pixel Size X (nanometers)"]) == STEP
assert [scale for _, scale, _ in scales] == [1.0] * 4, scales
assert [unit for *_, unit in scales] == ["nm", "nm", "nm^-1", "nm^-1"], scales
PYTHON
