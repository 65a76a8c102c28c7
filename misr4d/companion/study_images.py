"""Images that take long and that pages show, kept with the study under the key of what made them.

By the slow methods they take long themselves, and of all thirteen specimens their patterns do.
``python benchmarks/study_images.py`` makes them. A page asks :func:`image_of` and gets the image
that the study holds, or, where code, data, settings or seed are others, one that is made then;
:func:`kept_image` gives it without patterns.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from misr4d.companion.bench import STUDY, STUDY_FOLDER
from misr4d.companion.study import METHODS, Measurement, Scene, make_scene, method_key
from misr4d.core.acquisition import REGIMES
from misr4d.core.files import whole_file
from misr4d.simulate.patterns import camera_pixel
from misr4d.specimens.catalogue import SPECIMENS, make_specimen

__all__ = [
    "GALLERY",
    "KEPT",
    "PEER_IMAGES",
    "SHOWN",
    "image_key",
    "image_of",
    "is_kept",
    "kept_image",
    "peer_images",
    "read_images",
    "write_images",
]

KEPT = STUDY_FOLDER / "images.npz"
"""The file: 16-bit levels of each image by its key, beside them ``KEY-scale``: level 0 and step."""
PEER_IMAGES = STUDY_FOLDER / "peers_images.npz"
"""The same of other programs' images; ``peers.json`` has the key of each."""
_LEVELS = 65_536  # so fine that no score of an image moves in its fourth digit

Case = tuple[str, str, float, int]
"""Method, specimen, dose [e⁻/Å²] and seed of the electrons."""

_TRIO = STUDY[0].specimens  # the paper's Figs. 4 and 5
GALLERY = ("direct", "attention U-Net", "informed")
"""Methods by which chapter 7 shows every specimen."""
SHOWN: tuple[Case, ...] = (
    *(
        ("ptychography", name, dose, 0)
        for name in _TRIO
        for dose in (100.0, 200.0, 300.0, 500.0, 1000.0, math.inf)
    ),
    *(("ptychography", name, 300.0, seed) for name in _TRIO for seed in (1, 2)),
    *(("refined", name, dose, 0) for name in _TRIO for dose in (300.0, 1000.0)),
    *((method, name, 300.0, 0) for name in SPECIMENS for method in GALLERY),
)
"""Images that chapters 3 to 7 show or measure along a line."""


def image_key(method: str, specimen: str, dose: float, seed: int) -> str:
    """Return the key of an image: what its method, its electrons and its scene depend on."""
    return method_key(method, specimen, dose, make_scene, given=("image", seed))


def image_of(method: str, measurement: Measurement, seed: int) -> Tensor:
    """Image by a method: from the study, if it holds the one that today's code would make.

    Parameters
    ----------
    method : str
        Of :data:`misr4d.companion.study.METHODS`.
    measurement : Measurement
        ``make_scene(name).measure(dose, seed)``, of atoms that stand still.
    seed : int
        Of its electrons.

    Returns
    -------
    Tensor
        ``(3·Rx, 3·Ry)`` [rad].
    """
    kept = _kept_image(method, measurement, seed)
    return METHODS[method](measurement) if kept is None else kept


def is_kept(method: str, measurement: Measurement, seed: int) -> bool:
    """Whether the study holds the image that :func:`image_of` would return."""
    return _kept_image(method, measurement, seed) is not None


def _kept_image(method: str, measurement: Measurement, seed: int) -> Tensor | None:
    scene = measurement.scene
    kept = kept_image(method, scene.specimen.name, measurement.dose, seed)
    return kept if kept is not None and _as_shown(scene) else None


def kept_image(method: str, specimen: str, dose: float, seed: int) -> Tensor | None:
    """Image that the study holds, if today's code would make the same; no pattern is simulated.

    Parameters
    ----------
    method, specimen : str
        Of :data:`misr4d.companion.study.METHODS` and
        :data:`misr4d.specimens.catalogue.SPECIMENS`.
    dose : float
        e⁻/Å².
    seed : int
        Of the electrons.

    Returns
    -------
    Tensor or None
        ``(3·Rx, 3·Ry)`` [rad], a copy.
    """
    if (method, specimen, dose, seed) not in SHOWN:
        return None
    kept = _kept().get(image_key(method, specimen, dose, seed))
    return None if kept is None else kept.clone()


def _as_shown(scene: Scene) -> bool:
    """Whether specimen and measurement are what the catalogue has by this name."""
    usual = make_specimen(scene.specimen.name)
    acquisition = REGIMES[usual.regime]
    pixel = camera_pixel(acquisition.wavelength)
    return (
        scene.specimen.atoms == usual.atoms
        and scene.specimen.ice == usual.ice
        and scene.acquisition == replace(acquisition, detector_pixel=pixel)
        and scene.source == 0
    )


@cache
def _kept() -> Mapping[str, Tensor]:
    return read_images(KEPT)


def peer_images(peer: str) -> dict[tuple[str, float], Tensor]:
    """Images of another program that the study keeps, of the first draw of every scan.

    Parameters
    ----------
    peer : str
        Its name in the study's table.

    Returns
    -------
    dict
        ``(3·Rx, 3·Ry)`` [rad] by specimen, at its own thickness, and dose [e⁻/Å²].
    """
    rows = json.loads((STUDY_FOLDER / "peers.json").read_text(encoding="utf-8"))["rows"]
    images = read_images(PEER_IMAGES)
    return {
        (row["specimen"], row["dose"]): images[row["image"]]
        for row in rows
        if (row["method"], row["draw"], row["thickness"]) == (peer, 0, None)
    }


def read_images(path: Path) -> dict[str, Tensor]:
    """Read images by their keys; none where there is no file."""
    if not path.is_file():
        return {}
    with np.load(path, allow_pickle=False) as stored:
        images = {}
        for key in (key for key in stored.files if not key.endswith("-scale")):
            low, step = stored[f"{key}-scale"]
            images[key] = torch.from_numpy(stored[key] * step + low).float()
    return images


def write_images(images: Iterable[tuple[str, Tensor]], path: Path, levels: int = _LEVELS) -> None:
    """Write images by their keys, in grey levels; the file is whole or as it was.

    Parameters
    ----------
    images : iterable of (str, Tensor)
        Key and image ``(X, Y)`` of each.
    path : Path
    levels : int
        From the least to the greatest value of an image, 2³² at most. An image that was read
        from a file of as many levels is written as it was.

    Raises
    ------
    ValueError
        If an image holds values that are not finite.
    """
    arrays: dict[str, NDArray[Any]] = {}
    for key, image in images:
        values = image.double().numpy()
        if not np.isfinite(values).all():
            raise ValueError(f"image {key} holds values that are not finite; make it anew")
        low = float(values.min())
        step = float(values.max() - low) / (levels - 1) or 1.0
        arrays[key] = np.rint((values - low) / step).astype(np.min_scalar_type(levels - 1))
        arrays[f"{key}-scale"] = np.array([low, step])
    # np.load reads any compression of a zip file; of noisy levels this one makes a sixth less.
    with whole_file(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_BZIP2) as file:
        for name, array in arrays.items():
            with file.open(f"{name}.npy", "w") as member:
                np.save(member, array, allow_pickle=False)
