"""Images as grey levels, for the page on which a reader compares them."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from misr4d.companion.figures import output_folder
from misr4d.plotting import display_limits

__all__ = ["Series", "save_frames"]

LEVELS = 64  # our choice: no eye tells more apart, and noise does not compress


@dataclass(frozen=True)
class Series:
    """What is compared of one specimen.

    Parameters
    ----------
    name, title : str
        For file names, and for the reader.
    field : (float, float)
        Size of every image [Å].
    bar : float
        Scale bar [Å].
    truth : Tensor
        ``(X, Y)``, under the grey limits of the method `like`.
    images : mapping
        ``(X, Y)`` by method and dose [e⁻/Å²]; a pair that was not run is left out.
    scores : mapping
        Correlation inside the specimen and resolution [Å] of each image; a resolution may be inf.
    like : str
        Method whose grey limits the truth shares.
    """

    name: str
    title: str
    field: tuple[float, float]
    bar: float
    truth: Tensor
    images: Mapping[tuple[str, float], Tensor]
    scores: Mapping[tuple[str, float], tuple[float, float]]
    like: str = "direct"


def _grey(image: Tensor, limits: tuple[float, float]) -> NDArray[np.uint8]:
    low, high = limits
    grey = np.clip((image.detach().cpu().double().numpy() - low) / (high - low), 0, 1)
    steps = np.round(grey * (LEVELS - 1)) / (LEVELS - 1)
    return np.asarray(np.round(255 * steps), dtype=np.uint8)


def _dose(dose: float) -> float | str:
    return "inf" if math.isinf(dose) else dose


def save_frames(series: Sequence[Series], doses: Sequence[float]) -> Path:
    """Save every image as a grey PNG, a pixel to a pixel, and an ``index.json`` beside them.

    The images of a method share their grey limits over all doses, as in a row of a figure.

    Parameters
    ----------
    series : sequence of Series
        With the same methods; one that has no image of a dose leaves a gap in the index.
    doses : sequence of float
        [e⁻/Å²]; inf is written ``"inf"``.

    Returns
    -------
    Path
        The folder, ``frames`` in the output folder, written whole or not at all.

    Raises
    ------
    ValueError
        If an image has a dose that is not among `doses`, or no scores.
    """
    folder = output_folder() / "frames"
    temporary = folder.with_name("frames.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    entries = [_save_series(specimen_series, doses, temporary) for specimen_series in series]
    index = {"doses": [_dose(dose) for dose in doses], "specimens": entries}
    text = json.dumps(index, indent=1, ensure_ascii=False) + "\n"
    (temporary / "index.json").write_text(text, encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)
    return folder


def _save_series(series: Series, doses: Sequence[float], folder: Path) -> dict[str, Any]:
    for method, dose in series.images:
        if dose not in doses:
            raise ValueError(
                f"{series.name} has an image by {method} at {dose:g} e⁻/Å²; expected one of {doses}"
            )
        if (method, dose) not in series.scores:
            raise ValueError(f"{series.name} has no scores of {method} at {dose:g} e⁻/Å²")
    methods = list(dict.fromkeys(method for method, _ in series.images))
    if series.like not in methods:
        raise ValueError(
            f"{series.name} has no image by {series.like!r}, like which the truth is shown"
        )
    entries: dict[str, list[dict[str, Any] | None]] = {}
    for place, method in enumerate(methods):
        by_dose = {
            dose: series.images[method, dose] for dose in doses if (method, dose) in series.images
        }
        # The truth stands in the row of the method that it is like, mean removed.
        limits = display_limits(
            [
                *by_dose.values(),
                *([series.truth - series.truth.mean()] if method == series.like else []),
            ]
        )
        if method == series.like:
            shared = limits
        entries[method] = []
        for number, dose in enumerate(doses):
            if dose not in by_dose:
                entries[method].append(None)
                continue
            file = f"{series.name}_{place}_{number}.png"
            Image.fromarray(_grey(by_dose[dose], limits)).save(folder / file, optimize=True)
            fit, period = series.scores[method, dose]
            entries[method].append(
                {
                    "file": file,
                    "correlation": round(fit, 4),
                    "resolution": round(period, 4) if math.isfinite(period) else None,
                }
            )
    file = f"{series.name}_truth.png"
    Image.fromarray(_grey(series.truth - series.truth.mean(), shared)).save(
        folder / file, optimize=True
    )
    entries["truth"] = [{"file": file} for _ in doses]
    return {
        "name": series.name,
        "title": series.title,
        "field": list(series.field),
        "bar": series.bar,
        "frames": entries,
    }
