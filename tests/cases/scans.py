"""Small scans of a weak phase object of known geometry, made by NumPy alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from misr4d.core import optics
from misr4d.io.scan import QUANTITIES, Quantity, Scan

GEOMETRY = {
    "energy": 300e3,
    "step": (1.0, 1.0),
    "semiangle": 10.0,
    "detector_pixel": (0.8, 0.8),
    "defocus": 500.0,
    "rotation": 0.0,
    "transposed": False,
}


def mean_scan(
    positions: int = 40,
    pixels: int = 40,
    strength: float = 0.15,
    *,
    energy: float = 300e3,
    step: float = 1.0,
    semiangle: float = 10.0,
    defocus: float = 500.0,
    seed: int = 3,
) -> NDArray[np.float64]:
    """Patterns as fractions of one electron ``(Rx, Ry, Qx, Qy)``, disc of radius 12.5 pixels."""
    wavelength = optics.wavelength(energy)
    pitch = semiangle / 12.5 * 1e-3 / wavelength
    sampling = 1 / (pixels * pitch)
    rng = np.random.default_rng(seed)
    k = (np.arange(pixels) - pixels // 2) * pitch
    square = k[:, None] ** 2 + k[None, :] ** 2
    aperture = np.sqrt(square) <= semiangle * 1e-3 / wavelength
    probe = aperture * np.exp(1j * np.pi * wavelength * defocus * square)
    width = pixels * sampling
    side = int((positions * step + width) / sampling) + 2
    grid = np.arange(side) * sampling
    phase = np.zeros((side, side))
    for x, y, size in rng.uniform((0, 0, 0.7), (side * sampling,) * 2 + (1.6,), (side * 3, 3)):
        phase += strength * np.multiply.outer(
            np.exp(-((grid - x) ** 2) / (2 * size**2)), np.exp(-((grid - y) ** 2) / (2 * size**2))
        )
    specimen = np.exp(1j * phase)
    patterns = np.empty((positions, positions, pixels, pixels))
    for i in range(positions):
        for j in range(positions):
            first = [int(n * step / sampling) for n in (i, j)]
            rest = [n * step - f * sampling for n, f in zip((i, j), first, strict=True)]
            ramp = np.exp(-2j * np.pi * (k[:, None] * rest[0] + k[None, :] * rest[1]))
            wave = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(probe * ramp)))
            exit_wave = wave * specimen[first[0] :, first[1] :][:pixels, :pixels]
            patterns[i, j] = np.abs(np.fft.fftshift(np.fft.fft2(exit_wave))) ** 2
    return patterns / aperture.sum()


def scan_of(patterns: NDArray[Any], **given: Any) -> Scan:
    """Make a scan of patterns; what is given replaces the geometry, and None takes it away."""
    known = {k: v for k, v in (GEOMETRY | given).items() if v is not None}
    quantities = {k: Quantity(v, QUANTITIES[k][0], "given") for k, v in known.items()}
    return Scan(Path("scan.npy"), "a test", patterns, quantities)


def written(folder: Path, array: Any, suffix: str, *, chunk: int | None = None) -> Path:
    """Write an array as ``.npy``, or as HDF5 for another suffix, in chunks of this side."""
    path = folder / f"scan{suffix}"
    if suffix == ".npy":
        np.save(path, array)
    else:
        chunks = None if chunk is None else (chunk,) * array.ndim
        with h5py.File(path, "w") as file:
            file.create_dataset("data", data=array, chunks=chunks)
    return path
