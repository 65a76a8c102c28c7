"""Counts out to a peer's environment, and its image back onto the study's ×3 grid.

A folder is all that the two processes share; each peer has one in it. ``counts.npz`` holds the
electrons of every detector pixel ``counts`` (Rx, Ry, Qx, Qy), the optical axis at
(Qx // 2, Qy // 2), and the geometry: ``step`` [Å], ``pixel`` [mrad], ``energy`` [eV], ``semiangle``
[mrad], ``defocus`` [Å], positive for underfocus and counted from the middle of the specimen. Beside
them is the key of what simulated them, ``made``. In the peer's folder ``settings.json`` is a list
of settings, one for each run. The peer writes ``images_0.npz`` of the first run and so on: its
phases ``phases`` (epochs, X, Y), which pixel of them the first probe position is ``first``, its
pixel ``pixel`` [Å], and the processor time until each ``seconds``, the reading of the counts left
out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy.fft
import torch
from environments import run_script
from numpy.typing import NDArray
from torch import Tensor

from misr4d.companion.study import Scene
from misr4d.core.acquisition import UPSAMPLING, Acquisition
from misr4d.core.datacube import Datacube
from misr4d.core.dose import electrons_per_probe
from misr4d.core.files import whole_file


@dataclass(frozen=True)
class Course:
    """Images of one run after several epochs.

    Parameters
    ----------
    images : tuple of Tensor
        On the ×3 grid [rad].
    seconds : tuple of float
        Processor time until each, the start of the program included.
    """

    images: tuple[Tensor, ...]
    seconds: tuple[float, ...]


def measure_counts(
    folder: Path, made: str, scene: Scene, dose: float, seed: int, side: int | None = None
) -> None:
    """Write the counts of a scene for a peer, unless the folder holds those of the same key.

    Parameters
    ----------
    folder : Path
    made : str
        Key of what simulates the counts.
    scene : Scene
    dose : float
        e⁻/Å².
    seed : int
        Of the counting noise.
    side : int, optional
        Probe positions along either axis of a corner; by default all of the scan.
    """
    if counts_made(folder) == made:
        return
    cube = scene.measure(dose, seed).whole
    cube = replace(cube, patterns=cube.patterns[:side, :side])
    electrons = electrons_per_probe(dose, scene.acquisition)
    write_counts(folder, cube, scene.midplane, electrons, made)


def counts_made(folder: Path) -> str | None:
    """Key of the counts that a folder holds; none where it holds none, or some without a key."""
    path = folder / "counts.npz"
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as file:
        return str(file["made"]) if "made" in file.files else None


def write_counts(
    folder: Path, cube: Datacube, acquisition: Acquisition, electrons: float, made: str
) -> None:
    """Write a measurement for a peer, its rim trimmed to a size of fast transforms.

    Parameters
    ----------
    folder : Path
    cube : Datacube
        Patterns as fractions of the electrons.
    acquisition : Acquisition
        With its defocus counted from the middle of the specimen.
    electrons : float
        Of a probe position.
    made : str
        Key of what simulated the patterns.

    Raises
    ------
    ValueError
        If the patterns hold no whole numbers of electrons.
    """
    window = []
    for n in cube.patterns.shape[2:]:
        size = next(m for m in range(n, 0, -1) if m % 2 == 0 and scipy.fft.next_fast_len(m) == m)
        window.append(slice(n // 2 - size // 2, n // 2 + size // 2))
    exact = cube.patterns[:, :, window[0], window[1]] * np.float32(electrons)
    counts = np.rint(exact)
    worst = float(np.abs(counts - exact).max())
    if worst > 0.01 or counts.max() > 65535:
        raise ValueError(
            f"patterns times {electrons:g} electrons are up to {worst:.2g} from whole numbers and "
            f"{counts.max():g} at most; expected counts below 65536"
        )
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {
        "counts": counts.astype(np.uint16),
        "step": cube.step[0],
        "pixel": cube.detector_pixel[0],
        "energy": acquisition.energy,
        "semiangle": acquisition.semiangle,
        "defocus": acquisition.defocus,
        "made": made,
    }
    with whole_file(folder / "counts.npz") as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


def run_peer(name: str, tasks: Mapping[Path, Sequence[dict[str, Any]]]) -> list[list[Course]]:
    """Let a peer reconstruct the counts of each folder, once for each settings, on one core.

    Raises
    ------
    RuntimeError
        If it cannot be installed or fails.
    """
    places = [folder / name.replace(" ", "_") for folder in tasks]
    for place, runs in zip(places, tasks.values(), strict=True):
        place.mkdir(exist_ok=True)
        (place / "settings.json").write_text(json.dumps(runs), encoding="utf-8")
        for path in place.glob("images_*.npz"):
            path.unlink()
    run_script(name, places)
    courses = []
    for place, (folder, runs) in zip(places, tasks.items(), strict=True):
        with np.load(folder / "counts.npz") as given:
            shape, step = given["counts"].shape[:2], float(given["step"])
        paths = [place / f"images_{number}.npz" for number in range(len(runs))]
        courses.append([_read_course(path, shape, step) for path in paths])
    return courses


def _read_course(path: Path, shape: tuple[int, int], step: float) -> Course:
    with np.load(path) as file:
        images = tuple(
            on_scan_grid(phase, file["first"], np.broadcast_to(file["pixel"], 2), shape, step)
            for phase in file["phases"]
        )
        return Course(images, tuple(float(s) for s in file["seconds"]))


def on_scan_grid(
    phase: NDArray[Any],
    first: NDArray[Any],
    pixel: NDArray[Any],
    shape: tuple[int, int],
    step: float,
) -> Tensor:
    """Sample a peer's phase at the ×3 grid by Fourier series, which adds and loses nothing.

    Parameters
    ----------
    phase : ndarray
        ``(X, Y)`` on the peer's grid, which reaches beyond the scan.
    first : ndarray
        Where the first probe position is, ``(2,)`` [peer's pixels].
    pixel : ndarray
        The peer's pixel ``(2,)`` [Å].
    shape : (int, int)
        Probe positions of the scan.
    step : float
        Of the scan [Å].
    """
    image = phase.astype(np.float64)
    for axis in (0, 1):
        n = image.shape[axis]
        place = first[axis] + np.arange(UPSAMPLING * shape[axis]) * step / UPSAMPLING / pixel[axis]
        series = np.exp(2j * np.pi * np.outer(place, np.fft.fftfreq(n))) / n
        if n % 2 == 0:  # the Nyquist frequency stands for both of its signs
            series[:, n // 2] = np.cos(np.pi * place) / n
        image = np.moveaxis(
            np.tensordot(series, np.fft.fft(image, axis=axis), (1, axis)).real, 0, axis
        )
    return torch.from_numpy(image - image.mean()).float()
