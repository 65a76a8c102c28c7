"""Simulated scans as files: counts of every detector pixel in EMD 1.0, which py4DSTEM reads."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import emdfile
import h5py
import numpy as np
import py4DSTEM
import torch
from numpy.typing import NDArray
from torch import Tensor

from misr4d import __version__
from misr4d.companion.study import UPSAMPLING, Scene, make_scene
from misr4d.core.datacube import Datacube
from misr4d.core.dose import electrons_per_probe

__all__ = ["Recording", "record_scan"]


@dataclass(frozen=True)
class Recording:
    """A scan as a camera would hand it over, and what only a simulation knows.

    Parameters
    ----------
    cube : Datacube
        Whole numbers of electrons, or fractions of them at infinite dose.
    truth : Tensor or None
        Projected phase ``(3·Rx, 3·Ry)`` [rad]; none if the file shall not hold it.
    quantities : mapping
        What is known of the measurement, by the names of :data:`misr4d.io.reading.QUANTITIES`; what
        is left out, the file does not say. Step and detector pixel are the cube's.
    provenance : mapping
        How it was made.
    """

    cube: Datacube
    truth: Tensor | None
    quantities: Mapping[str, Any]
    provenance: Mapping[str, Any]

    def write(self, path: str | Path) -> Path:
        """Write EMD 1.0 (HDF5), compressed, whole or not at all, with the truth if there is one.

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
        with scratch as folder:
            plain, packed = Path(folder) / "plain.h5", Path(folder) / "packed.h5"
            emdfile.save(str(plain), self._tree())
            _compress(plain, packed)
            packed.replace(path)
        return path

    def _tree(self) -> emdfile.Root:
        cube, known = self.cube, self.quantities
        # Written small here and replaced by the compressed patterns, which emdfile cannot write.
        data = py4DSTEM.DataCube(cube.patterns, name="datacube")
        calibration = data.calibration
        calibration.set_R_pixel_size(cube.step[0])
        calibration.set_R_pixel_units("A")
        calibration.set_Q_pixel_size(cube.detector_pixel[0])
        calibration.set_Q_pixel_units("mrad")
        if "centre" in known:
            calibration.set_qx0_mean(known["centre"][0])
            calibration.set_qy0_mean(known["centre"][1])
        if "semiangle" in known:
            calibration.set_convergence_semiangle_mrad(known["semiangle"])
        if "rotation" in known:
            calibration.set_QR_rotation_degrees(known["rotation"])
            calibration.set_QR_flip(known["transposed"])
        root = data.root
        root.metadata = emdfile.Metadata("misr4d", {**self.provenance, "quantities": dict(known)})
        if self.truth is None:
            return root
        pixel = (cube.step[0] / UPSAMPLING, cube.step[1] / UPSAMPLING)
        data.tree(phase_array("truth", self.truth.numpy(), pixel))
        return root


def phase_array(name: str, image: NDArray[Any], pixel: tuple[float, float]) -> emdfile.Array:
    """Wrap a phase ``(X, Y)`` [rad] of pixels of this size [Å] for EMD 1.0."""
    return emdfile.Array(
        image,
        name=name,
        units="rad",
        dims=[np.arange(n) * p for n, p in zip(image.shape, pixel, strict=True)],
        dim_names=["Rx", "Ry"],
        dim_units=["A", "A"],
    )


def smallest_kind(counts: NDArray[Any]) -> NDArray[Any]:
    """Store whole numbers of 0 or more in as few bytes as the largest needs."""
    return counts.astype(np.min_scalar_type(int(counts.max())))


def _compress(plain: Path, packed: Path) -> None:
    """Copy an HDF5 file with its patterns in chunks of whole patterns, compressed."""
    with h5py.File(plain, "r") as source, h5py.File(packed, "w") as target:
        for name, value in source.attrs.items():
            target.attrs[name] = value

        def visit(name: str, item: Any) -> None:
            if isinstance(item, h5py.Group):
                made = target.require_group(name)
            elif item.ndim == 4:
                made = target.create_dataset(
                    name,
                    data=item[()],
                    chunks=(1, min(16, item.shape[1]), *item.shape[2:]),
                    compression="gzip",
                    compression_opts=4,
                    shuffle=item.dtype.itemsize > 1,
                )
            else:
                made = target.create_dataset(name, data=item[()])
            for key, value in item.attrs.items():
                made.attrs[key] = value

        source.visititems(visit)


def record_scan(
    specimen: str,
    dose: float,
    *,
    seed: int = 0,
    thickness: float | None = None,
    defocus: float | None = None,
    positions: int | None = None,
) -> Recording:
    """Simulate a scan of one of the paper's specimens, as the study measures it.

    Parameters
    ----------
    specimen : str
        One of ``misr4d.specimens.catalogue.SPECIMENS``.
    dose : float
        e⁻/Å²; ``inf`` gives the expected patterns as fractions.
    seed : int
        Of the counting noise.
    thickness, defocus : float, optional
        In Å; the specimen's and the regime's own unless given.
    positions : int, optional
        Scan only so many along each axis, from the corner of the field.

    Raises
    ------
    ValueError
        For an unknown specimen, or a value out of range.
    """
    scene = make_scene(specimen, thickness, defocus)
    acquisition = scene.acquisition
    if positions is not None:
        most = min(acquisition.scan_shape)
        if not 32 <= positions <= most:
            raise ValueError(f"positions is {positions}; expected 32 to {most}")
        acquisition = replace(acquisition, scan_shape=(positions, positions))
        scene = Scene(scene.specimen, acquisition, scene.potential)
    electrons = electrons_per_probe(dose, acquisition)
    cube = scene.measure(dose, seed).whole
    if math.isfinite(dose):
        counts = np.rint(cube.patterns * np.float32(electrons))
        cube = replace(cube, patterns=smallest_kind(counts), electrons=electrons)
    quantities = {
        "energy": acquisition.energy,
        "step": acquisition.step,
        "semiangle": acquisition.semiangle,
        "detector_pixel": cube.detector_pixel,
        "defocus": acquisition.defocus,
        "thickness": scene.potential.thickness,
        "rotation": 0.0,
        "transposed": False,
        "centre": tuple(float(n // 2) for n in cube.patterns.shape[2:]),
    }
    if math.isfinite(dose):
        quantities["dose"] = dose
    provenance = {
        "specimen": scene.specimen.name,
        "title": scene.specimen.title,
        "seed": seed,
        "dose": dose,
        "made_by": f"misr4d {__version__}",
        "torch": torch.__version__,
    }
    return Recording(cube, scene.truth, quantities, provenance)
