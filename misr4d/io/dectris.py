"""Masters of Dectris cameras (EIGER, ARINA): patterns in files of their own, by external links.

A master holds ``entry/data/data_000001``, ``data_000002``, … as links to the files beside it, the
mask of pixels that do not count and the energy of the electrons. The layout is that of the
camera's "SIMPLON" filewriter, which follows NeXus.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from misr4d.io.scan import UnfitError, on_disk
from misr4d.io.units import Calibration, Reading, energy_of

__all__ = ["hdf5_holds", "is_master", "read_master"]

DATA = "entry/data"
DETECTOR = "entry/instrument/detector"
MASK = f"{DETECTOR}/detectorSpecific/pixel_mask"
ENERGIES = (f"{DETECTOR}/incident_energy", "entry/instrument/beam/incident_energy")
GEOMETRY = ("x_pixel_size", "y_pixel_size", "detector_distance")


def _links(file: h5py.File) -> dict[str, h5py.ExternalLink]:
    group = file.get(DATA)
    if not isinstance(group, h5py.Group):
        return {}
    links = {name: group.get(name, getlink=True) for name in sorted(group)}
    return {name: link for name, link in links.items() if isinstance(link, h5py.ExternalLink)}


def hdf5_holds(path: Path, condition: Callable[[h5py.File], object]) -> bool:
    """Whether a path is an HDF5 file that meets a condition; a damaged file meets none."""
    if not path.is_file() or not h5py.is_hdf5(path):
        return False
    try:
        with h5py.File(path, "r") as file:
            return bool(condition(file))
    except Exception:  # damaged: the reader chosen by its suffix explains how
        return False


def is_master(path: Path) -> bool:
    """Whether a file is HDF5 whose data are links to other files."""
    return hdf5_holds(path, _links)


def read_master(path: Path, dataset: str | None) -> Reading:
    """Open all parts of a recording, one after the other; they stay on disk.

    Pixels that the file's mask rejects read 0 here, so that they are found as dead ones are: what
    the camera writes there is the largest number of its type, and no count.

    Parameters
    ----------
    path : Path
    dataset : str, optional
        One part alone, by its name in ``entry/data``.

    Raises
    ------
    ValueError
        If a part is missing, does not lie beside the master, or has another shape or type; or if
        the mask does not fit.
    """
    from dask.array import concatenate, where  # takes a second to load

    with h5py.File(path, "r") as file:
        links = _links(file)
        if dataset is not None:
            name = dataset.removeprefix(f"{DATA}/")
            if name not in links:
                raise UnfitError(f"has no part {dataset!r}; it has {', '.join(links)}")
            links = {name: links[name]}
        mask = np.asarray(file[MASK]) if MASK in file else None
        calibration = Calibration()
        with calibration.noting():
            _read_energy(file, calibration)
        ignored = [name for name in GEOMETRY if f"{DETECTOR}/{name}" in file]
    parts = [_part(path, name, link) for name, link in links.items()]
    patterns = parts[0]
    if len(parts) > 1:
        for name, part in zip(links, parts, strict=True):
            if part.shape[1:] != patterns.shape[1:] or part.dtype != patterns.dtype:
                raise UnfitError(
                    f"has parts that do not fit together: {name} holds {part.dtype} of "
                    f"{part.shape[1:]}, and the first {patterns.dtype} of {patterns.shape[1:]}"
                )
        patterns = concatenate(parts)  # type: ignore[no-untyped-call]
    notes = [*calibration.notes]
    if mask is not None:
        if mask.shape != patterns.shape[1:]:
            raise UnfitError(
                f"has a pixel mask of shape {mask.shape}, and patterns of {patterns.shape[1:]}"
            )
        if (mask != 0).any():
            patterns = where(mask != 0, patterns.dtype.type(0), patterns)
            notes.append(f"{int((mask != 0).sum())} pixels that the file's mask rejects read 0")
    if ignored:
        notes.append(
            f"{', '.join(ignored)} are not used: without the camera length they give no angle"
        )
    return Reading(patterns, calibration.values, calibration.pixel, tuple(notes))


def _read_energy(file: h5py.File, calibration: Calibration) -> None:
    for place in ENERGIES:
        if place in file:
            energy = energy_of(file[place][()], file[place].attrs.get("units", "eV"))
            if energy is not None:
                calibration.values["energy"] = energy
            return


def _part(master: Path, name: str, link: h5py.ExternalLink) -> Any:
    """One linked array, lazily."""
    target = (master.parent / link.filename).resolve()
    if target.parent != master.parent.resolve():
        raise UnfitError(
            f"links its part {name} to {link.filename}; expected a file beside it: put master and "
            "parts into one folder"
        )
    if not target.is_file():
        raise UnfitError(
            f"links its part {name} to {target.name}, which is not beside it; copy all parts too"
        )
    array = h5py.File(target, "r").get(link.path)
    if not isinstance(array, h5py.Dataset) or array.ndim != 3:
        raise UnfitError(f"links its part {name} to {target.name}, which has no list of patterns")
    return on_disk(array, array.chunks or "auto")
