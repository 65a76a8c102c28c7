"""Arrays of HDF5 whose axes have arrays of their own: EMD 0.2 and 1.0, and NeXus."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np

from misr4d.io.units import Calibration, energy_of

__all__ = ["read_described"]

_ENERGIES = ("incident_energy", "incident_beam_energy")


def read_described(patterns: h5py.Dataset, calibration: Calibration) -> None:
    """Read the axes beside an array, and the energy of the electrons in the same file.

    EMD counts ``dim1`` to ``dim4`` (0.2) or ``dim0`` to ``dim3`` (1.0) in the order of the array;
    NeXus names the axes in an attribute of the group.

    Parameters
    ----------
    patterns : h5py.Dataset
        ``(Rx, Ry, Qx, Qy)`` or a list ``(N, Qx, Qy)``.
    calibration : Calibration
        What is found is added.
    """
    group, axes = patterns.parent, patterns.ndim
    first = 0 if "dim0" in group else 1
    names = [f"dim{n + first}" for n in range(axes)]
    if "axes" in group.attrs:
        names = [_text(name) for name in np.atleast_1d(group.attrs["axes"])]
    elif "axes" in patterns.attrs:
        names = _text(np.atleast_1d(patterns.attrs["axes"])[0]).split(":")
    _read_energy(patterns.file, calibration)
    if len(names) != axes or not all(isinstance(group.get(n), h5py.Dataset) for n in names):
        return
    sizes, units = [], []
    for name in names:
        values = np.asarray(group[name][()], dtype=np.float64).ravel()
        if len(values) < 2:
            return
        sizes.append(abs(float(values[-1] - values[0])) / (len(values) - 1))
        units.append(_text(group[name].attrs.get("units", "")))
    if axes == 4:
        calibration.scan((sizes[0], sizes[1]), (units[0], units[1]))
    calibration.detector((sizes[-2], sizes[-1]), (units[-2], units[-1]))


def _read_energy(file: h5py.File, calibration: Calibration) -> None:
    def visit(name: str, item: Any) -> None:
        if name.rpartition("/")[2] in _ENERGIES and isinstance(item, h5py.Dataset):
            energy = energy_of(item[()], item.attrs.get("units", ""))
            if energy is not None:
                calibration.values.setdefault("energy", energy)

    file.visititems(visit)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
