"""Specimens that settings are tuned on, and the score that they are tuned by.

Draws of the corpus under the study's measurement, from a seed that no training uses, so none of
them is scored on any page. ``calibrate_direct.py`` and ``tune_ptychography.py`` share them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from misr4d.companion.study import Scene, place
from misr4d.measure.metrics import correlation, specimen_mask
from misr4d.measure.spectra import (
    fourier_ring_correlation,
    power_spectrum,
    weighted_ring_correlation,
)
from misr4d.specimens.corpus import draw_specimen

REGIMES = ("atomic", "molecular")
SEED = 2  # no training draws from it
SHARE = (0.1, 0.9)  # of the field that is specimen: both it and vacuum are to be seen
THICKEST = 200.0  # Å, as the thickest that the study scores
WIDTH = 3  # frequency steps a ring is wide


@dataclass(frozen=True)
class Draw:
    """A draw of the corpus under the study's measurement."""

    index: int
    scene: Scene
    inside: Tensor

    @property
    def label(self) -> dict[str, str | int]:
        """Which specimen it is, as a record keeps it."""
        return {"draw": self.index, "specimen": self.scene.specimen.title}


def draws(regime: str, count: int) -> Iterator[Draw]:
    """Yield the first draws that are thin enough and hold both specimen and vacuum."""
    found = 0
    for index in itertools.count():
        scene = place(draw_specimen(regime, SEED, index))
        inside = specimen_mask(scene.truth, scene.pixel)
        low, high = SHARE
        if scene.potential.thickness > THICKEST or not low <= float(inside.float().mean()) <= high:
            continue
        yield Draw(index, scene, inside)
        found += 1
        if found == count:
            return


def score(
    image: Tensor, truth: Tensor, inside: Tensor, pixel: tuple[float, float]
) -> dict[str, float]:
    """Score an image by the mean of two measures, which stand beside it.

    Correlation inside the specimen sees mostly low frequencies, and the ring correlation weighted
    by the truth's power sees all that the truth holds.
    """
    image, truth = image.double(), truth.double()
    _, curve, _ = fourier_ring_correlation(image, truth, pixel, width=WIDTH)
    _, density, count = power_spectrum(truth, pixel, width=WIDTH)
    within = correlation(image, truth, within=inside)
    rings = weighted_ring_correlation(curve, density, count)
    return {
        "score": round((within + rings) / 2, 5),
        "inside": round(within, 4),
        "rings": round(rings, 4),
    }


def generator(*numbers: int) -> torch.Generator:
    """Random numbers of one draw of the counting noise."""
    seed = sum(number * 1000**place for place, number in enumerate(numbers))
    return torch.Generator().manual_seed(seed)
