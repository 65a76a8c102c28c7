"""What every peer's runner does with its folders; runs in the peer's environment.

``exchange.py`` says what the files hold.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

GEOMETRY = ("step", "pixel", "energy", "semiangle", "defocus")
Reconstruct = Callable[[Any, dict[str, float], dict[str, Any]], dict[str, Any]]


def main(reconstruct: Reconstruct) -> None:
    """Reconstruct the counts of each folder on the command line, once for each of its settings.

    Parameters
    ----------
    reconstruct : callable
        Of the counts ``(Rx, Ry, Qx, Qy)`` [electrons], the geometry and the settings: what a file
        of images holds.
    """
    for folder in map(Path, sys.argv[1:]):
        every = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
        with np.load(folder.parent / "counts.npz") as file:
            counts = file["counts"].astype(np.float32)
            given = {name: float(file[name]) for name in GEOMETRY}
        for number, settings in enumerate(every):
            np.savez(folder / f"images_{number}.npz", **reconstruct(counts, given, settings))
