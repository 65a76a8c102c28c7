"""Recordings of single electrons: for each frame the pixels that were hit, and no patterns.

stempy (4D Camera) writes HDF5 with a list of flat pixel numbers for each frame, and the scan
position of each frame. LiberTEM's RAW_CSR is a TOML text beside three arrays of compressed rows.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from misr4d.io.scan import UnfitError
from misr4d.io.units import Reading

__all__ = ["Events", "is_csr", "is_stempy", "read_csr", "read_stempy"]

_FRAMES, _PLACES = "electron_events/frames", "electron_events/scan_positions"


class Events:
    """Patterns that are counted from lists of electrons on reading.

    Parameters
    ----------
    shape : (int, int, int, int)
        ``(Rx, Ry, Qx, Qy)``
    hits : callable
        Takes the number of a position, in the order of the scan, and returns the flat numbers of
        the pixels that were hit and how many electrons each got; None for one each.
    """

    def __init__(
        self,
        shape: tuple[int, int, int, int],
        hits: Callable[[int], tuple[NDArray[Any], NDArray[Any] | None]],
    ) -> None:
        self.shape, self.hits = shape, hits
        self.ndim, self.dtype, self.chunks = 4, np.dtype(np.uint16), None

    def __getitem__(self, key: tuple[slice, ...]) -> NDArray[np.uint16]:
        rx, ry, *window = (*key, *(slice(None),) * (4 - len(key)))
        rows, columns = (range(n)[s] for n, s in zip(self.shape, (rx, ry), strict=False))
        pixels = self.shape[2] * self.shape[3]
        block = np.empty((len(rows), len(columns), pixels), np.uint16)
        for i, row in enumerate(rows):
            for j, column in enumerate(columns):
                index, number = self.hits(row * self.shape[1] + column)
                if len(index) and not 0 <= index.min() <= index.max() < pixels:
                    raise ValueError(f"an electron hit pixel {index.max()} of {pixels}")
                block[i, j] = np.bincount(index, number, pixels)
        patterns = block.reshape(len(rows), len(columns), *self.shape[2:])
        return patterns[:, :, *window]


def is_stempy(path: Path) -> bool:
    """Whether a file is HDF5 with the electrons of a 4D Camera."""
    if not path.is_file() or not h5py.is_hdf5(path):
        return False
    try:
        with h5py.File(path, "r") as file:
            return _FRAMES in file and _PLACES in file
    except (OSError, RuntimeError):  # damaged: the reader chosen by its suffix explains how
        return False


def read_stempy(path: Path, dataset: str | None) -> Reading:
    """Open the electrons of a 4D Camera; several frames of a position are summed.

    Raises
    ------
    ValueError
        If the file does not state the shapes of scan and frames.
    """
    file = h5py.File(path, "r")
    frames, places = file[_FRAMES], file[_PLACES]
    if not all(name in d.attrs for d in (frames, places) for name in ("Nx", "Ny")):
        raise UnfitError(
            "holds electrons, and does not state Nx and Ny of its frames and scan positions; "
            "write it again by stempy.io.save_electron_counts"
        )
    # The scan's rows are Ny, those of a frame are Nx.
    scan = int(places.attrs["Ny"]), int(places.attrs["Nx"])
    detector = int(frames.attrs["Nx"]), int(frames.attrs["Ny"])
    place = np.asarray(places[()]).ravel()
    each = frames.shape[1] if frames.ndim == 2 else 1
    if len(place) != len(frames) or (len(place) and place.max() >= math.prod(scan)):
        raise UnfitError(
            f"has {len(frames)} frames and {len(place)} positions up to {place.max(initial=0)}, "
            f"which do not fit a scan of {scan[0]} × {scan[1]} positions; is it complete?"
        )
    order = np.argsort(place, kind="stable")
    limits = np.searchsorted(place[order], np.arange(math.prod(scan) + 1))

    def hits(position: int) -> tuple[NDArray[Any], None]:
        frame_numbers = np.sort(order[limits[position] : limits[position + 1]])
        lists = [frames[n] if each == 1 else np.concatenate(frames[n]) for n in frame_numbers]
        return (np.concatenate(lists) if lists else np.zeros(0)).astype(np.int64), None

    missing = int((np.diff(limits) == 0).sum())
    notes = (f"{missing} positions have no frame and are blank",) if missing else ()
    return Reading(Events((*scan, *detector), hits), notes=notes)


def is_csr(path: Path) -> bool:
    """Whether a file is the TOML text of LiberTEM's RAW_CSR."""
    return path.is_file() and path.suffix.lower() == ".toml"


def read_csr(path: Path, dataset: str | None) -> Reading:
    """Open LiberTEM's RAW_CSR: the text, and three arrays beside it.

    Raises
    ------
    ValueError
        If the text is none of RAW_CSR, or an array is missing or does not fit.
    """
    text = tomllib.loads(path.read_text(encoding="utf-8"))
    params = text.get("params", {})
    if str(params.get("filetype", "")).lower() != "raw_csr":
        raise UnfitError("is no description of a RAW_CSR scan of LiberTEM")
    said = text[params["filetype"]]
    arrays = {}
    for name in ("indptr", "indices", "data"):
        file = path.parent / Path(said[f"{name}_file"]).name
        if not file.is_file():
            raise UnfitError(f"its {name} are in {file.name}, which is not beside it; copy it")
        arrays[name] = np.memmap(file, np.dtype(said[f"{name}_dtype"]), "r")
    scan = tuple(int(n) for n in params["nav_shape"])
    detector = tuple(int(n) for n in params["sig_shape"])
    starts, index, values = arrays["indptr"], arrays["indices"], arrays["data"]
    positions = math.prod(scan)
    if len(starts) < positions + 1 or len(index) != len(values) or starts[positions] > len(index):
        raise UnfitError(
            f"has {len(starts) - 1} frames and {len(index)} electrons, which do not fit "
            f"{' × '.join(map(str, scan))} positions; is it complete?"
        )

    def hits(position: int) -> tuple[NDArray[Any], NDArray[Any]]:
        electrons = slice(int(starts[position]), int(starts[position + 1]))
        return np.asarray(index[electrons], np.int64), np.asarray(values[electrons], np.float64)

    notes: tuple[str, ...] = ()
    if len(starts) - 1 > positions:
        notes = (f"{len(starts) - 1 - positions} frames after the last position were left out",)
    return Reading(Events((scan[0], scan[1], detector[0], detector[1]), hits), notes=notes)
