"""Simulated scans as files: counts of every detector pixel in EMD 1.0, which py4DSTEM reads."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import emdfile
import h5py
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from misr4d.core.acquisition import UPSAMPLING
from misr4d.core.datacube import Datacube
from misr4d.core.files import whole_file

__all__ = ["Recording"]


@dataclass(frozen=True)
class Recording:
    """A scan as a camera would record it, and the truth that only a simulation knows.

    Parameters
    ----------
    cube : Datacube
        Whole numbers of electrons, or fractions of them at infinite dose.
    truth : Tensor or None
        Projected phase ``(3·Rx, 3·Ry)`` [rad]; None if the file should not contain it.
    quantities : mapping
        Known quantities of the measurement, by the names of :data:`misr4d.io.scan.QUANTITIES`. The
        file states only these, and the cube's step and detector pixel.
    provenance : mapping
        How it was made.
    """

    cube: Datacube
    truth: Tensor | None
    quantities: Mapping[str, Any]
    provenance: Mapping[str, Any]

    def write(self, path: str | Path) -> Path:
        """Write EMD 1.0 (HDF5), compressed, with the truth if there is one, and no partial file.

        ``py4DSTEM.read(path)`` returns the datacube with its calibration.

        Raises
        ------
        ValueError
            If the folder does not exist or cannot be written to.
        """
        path = Path(path)
        if path.is_dir() or not path.parent.is_dir():
            raise ValueError(f"{path} cannot be written; expected a file in a folder that exists")
        try:
            scratch = tempfile.TemporaryDirectory(prefix=".misr4d-", dir=path.parent)
        except OSError as error:
            raise ValueError(f"{path} cannot be written: {error.strerror}") from None
        with scratch as folder, whole_file(path) as packed:
            plain = Path(folder) / "plain.h5"
            emdfile.save(str(plain), self._tree())
            _compress(plain, packed)
        return path

    def _tree(self) -> emdfile.Root:
        cube, known = self.cube, self.quantities
        # Written uncompressed here, since emdfile cannot compress; replaced in _compress.
        steps, centre = (*cube.step, *cube.detector_pixel), (0, 0, *known.get("centre", (0, 0)))
        data = _DATACUBE(
            cube.patterns,
            name="datacube",
            units="pixel intensity",
            dims=[
                (np.arange(count) - zero) * length
                for count, zero, length in zip(cube.patterns.shape, centre, steps, strict=True)
            ],
            dim_names=["Rx", "Ry", "Qx", "Qy"],
            dim_units=["A", "A", "mrad", "mrad"],
        )
        values: dict[str, Any] = {
            "R_pixel_size": cube.step[0],
            "R_pixel_units": "A",
            "Q_pixel_size": cube.detector_pixel[0],
            "Q_pixel_units": "mrad",
            "_target_paths": ["/datacube"],
        }
        if "centre" in known:
            values |= {"qx0_mean": known["centre"][0], "qy0_mean": known["centre"][1]}
        if "semiangle" in known:
            values["convergence_semiangle_mrad"] = known["semiangle"]
        if "rotation" in known:
            values |= {
                "QR_rotation": math.radians(known["rotation"]),
                "QR_rotation_degrees": known["rotation"],
                "QR_flip": known["transposed"],
            }
        root = emdfile.Root(name="datacube_root")
        root.tree(data)
        root.metadata = _CALIBRATION("calibration", values)
        root.metadata = emdfile.Metadata("misr4d", {**self.provenance, "quantities": dict(known)})
        if self.truth is None:
            return root
        pixel = (cube.step[0] / UPSAMPLING, cube.step[1] / UPSAMPLING)
        data.tree(phase_array("truth", self.truth.numpy(), pixel))
        return root


# py4DSTEM reads an entry as its class of the same name as in the file.
_DATACUBE = type("DataCube", (emdfile.Array,), {})
_CALIBRATION = type("Calibration", (emdfile.Metadata,), {})


def phase_array(name: str, image: NDArray[Any], pixel: tuple[float, float]) -> emdfile.Array:
    """Wrap a phase ``(X, Y)`` [rad] with its pixel size [Å] for EMD 1.0."""
    return emdfile.Array(
        image,
        name=name,
        units="rad",
        dims=[np.arange(n) * p for n, p in zip(image.shape, pixel, strict=True)],
        dim_names=["Rx", "Ry"],
        dim_units=["A", "A"],
    )


def smallest_kind(counts: NDArray[Any]) -> NDArray[Any]:
    """Store whole numbers of 0 or more in the smallest type that holds the largest."""
    return counts.astype(np.min_scalar_type(int(counts.max())))


def _compress(plain: Path, packed: Path) -> None:
    """Copy an HDF5 file with its patterns in chunks of whole patterns, compressed."""
    with h5py.File(plain, "r") as source, h5py.File(packed, "w") as target:
        for name, value in source.attrs.items():
            target.attrs[name] = value

        def visit(name: str, item: Any) -> None:
            if isinstance(item, h5py.Group):
                copy = target.require_group(name)
            elif item.ndim == 4:
                copy = target.create_dataset(
                    name,
                    data=item[()],
                    chunks=(1, min(16, item.shape[1]), *item.shape[2:]),
                    compression="gzip",
                    compression_opts=4,
                    shuffle=item.dtype.itemsize > 1,
                )
            else:
                copy = target.create_dataset(name, data=item[()])
            for key, value in item.attrs.items():
                copy.attrs[key] = value

        source.visititems(visit)
