"""What the measures themselves allow: the score of the truth, and that of a shape without inside.

A rule that the truth itself cannot meet tells nothing of a method, and a threshold that a blank
outline passes tells less. Both are measured here for every specimen, and the claims are held
against them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from misr4d.companion.bench import score_image
from misr4d.companion.recorded import Case, recorded
from misr4d.companion.study import Scene, make_scene
from misr4d.companion.verdicts import LEVEL, SEEN
from misr4d.measure.metrics import correlation, specimen_mask
from misr4d.measure.spectra import EMPTY, counting_rings, score_rings
from misr4d.specimens.catalogue import SPECIMENS

__all__ = ["bounds", "cases", "featureless", "finest", "least_shown", "marginal_text", "outlines"]


def outlines(scene: Scene) -> Iterator[Tensor]:
    """Shapes ``(3·Rx, 3·Ry)`` that know where a specimen is and nothing of what is in it.

    Its mask with a rim of growing softness, from a pixel to the whole half width, and the mean of
    the truth at every distance from its middle, which is a hollow shell where the specimen is one.
    """
    truth, pixel = scene.truth.double().numpy(), scene.pixel
    mask = specimen_mask(scene.truth, pixel).numpy()
    depth = ndimage.distance_transform_edt(np.pad(mask, 1), sampling=pixel)[1:-1, 1:-1]
    softness = pixel[0]
    while softness < 2 * depth.max():
        yield torch.from_numpy(np.minimum(depth / softness, 1.0)).float()
        softness *= 2**0.5
    middle = ndimage.center_of_mass(mask)
    x, y = ((np.arange(n) - m) * p for n, m, p in zip(truth.shape, middle, pixel, strict=True))
    ring = np.rint(np.hypot(x[:, None], y) / pixel[0]).astype(int)
    mean = np.bincount(ring.ravel(), truth.ravel()) / np.maximum(np.bincount(ring.ravel()), 1)
    yield torch.from_numpy(mean[ring]).float()


def bounds(specimen: str) -> dict[str, Any]:
    """Measure what no image can pass, and what an image passes that shows nothing.

    Returns
    -------
    dict
        ``truth``: the columns of the study's table for the true phase itself; ``featureless``: the
        highest correlation inside the specimen that one of the :func:`outlines` has; ``marginal``:
        periods [Å] of the rings that count with half our least share of power and not with twice.
    """
    scene = make_scene(specimen)
    truth = {k: v for k, v in score_image(scene.truth, scene).items() if v is not None}
    inside = specimen_mask(scene.truth, scene.pixel)
    blank = [
        abs(correlation(shape, scene.truth, within=inside))
        for shape in outlines(scene)
        if float(shape[inside].std()) > 0
    ]
    rings = score_rings(scene.truth, scene.truth, scene.pixel)
    strict, lax = (
        counting_rings(rings.frequency, rings.density, fraction=fraction)
        for fraction in (2 * EMPTY, EMPTY / 2)
    )
    marginal = [1 / float(f) for f in rings.frequency[lax & ~strict]]
    return {"truth": truth, "featureless": max(blank, default=0.0), "marginal": marginal}


def cases() -> list[Case]:
    """List the specimens that claims are made of."""
    return [(bounds, {"specimen": name}) for name in SPECIMENS]


def featureless(specimen: str) -> float:
    """Highest correlation inside that a shape without structure reaches."""
    return float(recorded(bounds, specimen=specimen)["featureless"])


def least_shown(specimen: str) -> float:
    """Least correlation inside of an image that shows something of a specimen.

    :data:`misr4d.companion.verdicts.SEEN`, or more where a blank outline has that much.
    """
    return max(SEEN, featureless(specimen) + LEVEL)


def marginal_text(specimens: Iterable[str]) -> str:
    """Name the rings on which the choice of what counts as empty decides."""
    words = [
        f"{', '.join(f'{period:.3g}' for period in periods)} Å on {name}"
        for name in specimens
        if (periods := recorded(bounds, specimen=name)["marginal"])
    ]
    if not words:
        return ""
    return (
        f"A ring counts from {100 * EMPTY:g} % of the power around it on, which is our choice. "
        f"These count with half as much and not with twice: {'; '.join(words)}. A resolution that "
        "ends at one of them rests on that choice; the weighted ring correlation does not."
    )


def finest(specimen: str) -> float:
    """Highest frequency that the resolution of a perfect image can have [Å⁻¹]."""
    return 1 / float(recorded(bounds, specimen=specimen)["truth"]["resolution"])
