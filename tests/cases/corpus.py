"""The corpus of writers: what each leaves in a file, and what is taken from it.

``tests/cases/test_corpus.py`` writes and reads each. The table of *which files* in
``book/own_scans.md`` is made of it, by ``python -m tests.bad_inputs``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.cases import test_writers as writers
from tests.io import writers as formats

SHAPE = (6, 5, 8, 9)

_AXES = {"step": writers.STEP, "detector_pixel": writers.PIXEL}
_ALL = {**_AXES, "energy": writers.ENERGY}

_STEP_R = {"step": (formats.STEP, formats.STEP)}
_ENERGY_R = {"energy": formats.ENERGY}
_PIXEL_R = {"detector_pixel": (formats.PIXEL, formats.PIXEL)}
_ANGLE_R = {"semiangle": 12.0}
_ALL_R = {**_STEP_R, **_PIXEL_R, **_ENERGY_R}


@dataclass(frozen=True)
class Written:
    """A file as a writer leaves it.

    Parameters
    ----------
    writer : str
        As the page has it.
    name : str
        Of the file.
    write : callable
        Writes counts ``(Rx, Ry, Qx, Qy)`` to a path.
    takes : mapping
        Quantities that are taken, and no others, with their right values.
    needs : mapping
        Quantities that must be given for that.
    """

    writer: str
    name: str
    write: Callable[[Path, NDArray[Any]], object]
    takes: Mapping[str, Any] = field(default_factory=dict)
    needs: Mapping[str, Any] = field(default_factory=dict)


def _zipped(path: Path, counts: NDArray[Any]) -> None:
    writers.write_quantem(path.with_suffix(""), counts)
    writers.zipped(path.with_suffix(""), path)


def _of_reading(kind: str) -> tuple[str, Callable[[Path, NDArray[Any]], object]]:
    name, _, write = formats.WRITERS[kind]
    return name, write


def _events(path: Path, counts: NDArray[Any]) -> None:
    writers.write_events(path, writers.lists(counts), np.arange(SHAPE[0] * SHAPE[1]))


_FREQUENCY = {"energy": writers.ENERGY}

CORPUS: tuple[Written, ...] = (
    Written("NumPy, `.npy`", *_of_reading("npy")),
    Written("NumPy, `.npz` with quantities", *_of_reading("npz"), {**_STEP_R, **_ENERGY_R}),
    Written("HDF5 with one array", *_of_reading("hdf5")),
    Written("Zarr with one array", *_of_reading("zarr")),
    Written("emdfile", "scan.h5", writers.write_emdfile, _AXES, _FREQUENCY),
    Written("ncempy, EMD 0.2", "scan.emd", writers.write_ncempy, _AXES, _FREQUENCY),
    Written("ncempy, as `.h5`", "scan.h5", writers.write_ncempy, _AXES, _FREQUENCY),
    Written("NeXus, as `.h5`", "scan.h5", writers.write_nexus, _ALL),
    Written("abTEM 1.0.9", *_of_reading("abTEM"), {**_ALL_R, **_ANGLE_R}),
    Written("abTEM 1.0.11", *_of_reading("abTEM 1.0.11"), {**_ALL_R, **_ANGLE_R}),
    Written("quantem, folder", "scan", writers.write_quantem, _AXES, _FREQUENCY),
    Written("quantem, `.zip`", "scan.zip", _zipped, _AXES, _FREQUENCY),
    Written("HyperSpy and pyxem, `.hspy`", *_of_reading("hspy"), {**_ALL_R, **_ANGLE_R}),
    Written("HyperSpy and pyxem, `.zspy`", *_of_reading("zspy"), {**_ALL_R, **_ANGLE_R}),
    Written("Nion Swift, `.nhdf`", *_of_reading("Nion export"), _ALL_R),
    Written("Nion Swift, `.ndata1`", "scan.ndata1", writers.write_ndata, _ALL),
    Written("stempy, electrons", "scan.h5", _events),
    Written("LiberTEM, RAW_CSR", "scan.toml", lambda p, a: writers.write_csr(p.parent, a)),
    Written("Merlin, `.mib` with its `.hdr`", *_of_reading("mib")),
    Written("Gatan, `.dm4`", *_of_reading("dm4"), _ALL_R),
    Written("Gatan, `.dm4`, detector first", *_of_reading("dm4, detector first"), _ALL_R),
)
"""Writers, and what is taken from their files."""


def table() -> list[tuple[str, ...]]:
    """Rows of the page's table: writer, what is taken, what must be given."""
    required = ("energy", "step", "semiangle")

    def listed(names: Any) -> str:
        return ", ".join(str(n).replace("_", " ") for n in names) or "nothing"

    return [
        (w.writer, listed(w.takes), listed(n for n in required if n not in w.takes)) for w in CORPUS
    ]
