"""Does a method show what is not there? Measures of invention, each against a known specimen."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from misr4d.metrics import check_pair

__all__ = ["false_peaks", "overconfidence", "survival"]


def false_peaks(
    image: Tensor,
    empty: Tensor,
    height: float,
    sampling: tuple[float, float],
    *,
    distance: float = 1.0,
) -> float:
    """Count peaks where nothing is, per Å².

    Parameters
    ----------
    image : Tensor
        ``(X, Y)`` [rad]; heights count from its median where it should be empty.
    empty : Tensor
        Boolean ``(X, Y)``: where the truth holds nothing, with a margin.
    height : float
        Least height of a peak [rad], such as half that of one carbon atom.
    sampling : (float, float)
        Pixel size [Å].
    distance : float
        Within this distance only the highest counts [Å].

    Returns
    -------
    float
        Peaks per Å² of the empty area.

    Raises
    ------
    ValueError
        If shapes differ, the image is not finite, nothing is empty, or height or distance is not
        positive.
    """
    check_pair(image, empty.to(image.dtype))
    for name, value in (("height", height), ("distance", distance)):
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} is {value!r}; expected a positive number")
    if not empty.any():
        raise ValueError("the mask of what is empty holds no pixel; nothing can be counted there")
    above = image.double() - image[empty].double().median()
    reach = [max(1, round(distance / step)) for step in sampling]
    window = (2 * reach[0] + 1, 2 * reach[1] + 1)
    highest = functional.max_pool2d(above[None, None], window, 1, (reach[0], reach[1]))[0, 0]
    peaks = (above == highest) & (above > height) & empty
    return float(peaks.sum()) / (float(empty.sum()) * sampling[0] * sampling[1])


def survival(image: Tensor, whole: Tensor, defect: Tensor, *, level: float = 0.05) -> float:
    """Share of a defect that an image shows.

    With d the difference that the defect makes to the truth, the image's own gain and offset are
    fitted where d is small, and what is left in the rest is projected onto d.

    Parameters
    ----------
    image : Tensor
        Reconstruction of the specimen with the defect ``(X, Y)``.
    whole, defect : Tensor
        True phase of the specimen without and with the defect ``(X, Y)``.
    level : float
        Pixels where d exceeds this share of its largest modulus belong to the defect.

    Returns
    -------
    float
        1 if the defect is shown as it is, 0 if the image shows the perfect specimen in its place;
        below 0 or above 1 by noise, or by what the method makes of it.

    Raises
    ------
    ValueError
        If shapes differ, values are not finite, or the two truths are the same.
    """
    check_pair(image, whole)
    check_pair(image, defect)
    difference = (defect - whole).double()
    if float(difference.abs().max()) == 0:
        raise ValueError("the truths with and without the defect are the same")
    inside = difference.abs() > level * difference.abs().max()
    x, y = whole[~inside].double(), image[~inside].double()
    spread = float((x - x.mean()).square().sum())
    gain = float(((x - x.mean()) * (y - y.mean())).sum()) / spread if spread > 0 else 0.0
    if gain == 0:
        raise ValueError("the image shows nothing of the specimen around the defect")
    offset = float(y.mean()) - gain * float(x.mean())
    left = (image[inside].double() - offset) / gain - whole[inside].double()
    d = difference[inside]
    return float((left * d).sum() / d.square().sum())


def overconfidence(halves: Tensor, truth: Tensor, count: Tensor) -> float:
    """By how much two halves agree more than they are true, averaged over Fourier pixels.

    Halves of the same electrons that are independent but for the specimen foretell the correlation
    of the whole with the truth, √(2F / (1 + F)). A prior that paints the same thing into both makes
    them agree about what is not there.

    Parameters
    ----------
    halves, truth : Tensor
        Ring correlation F between half-sets, and of the whole with the truth ``(rings,)``.
    count : Tensor
        Fourier pixels in each ring ``(rings,)``.

    Returns
    -------
    float
        0 for independent noise; positive if the halves promise too much.

    Raises
    ------
    ValueError
        If shapes differ or values are not finite.

    References
    ----------
    Rosenthal & Henderson, J. Mol. Biol. 333, 721 (2003), for the correlation foretold.
    """
    if not halves.shape == truth.shape == count.shape or halves.ndim != 1:
        shapes = [tuple(t.shape) for t in (halves, truth, count)]
        raise ValueError(f"halves, truth and count have shapes {shapes}; expected one, (rings,)")
    if not (torch.isfinite(halves).all() and torch.isfinite(truth).all()):
        raise ValueError("a ring correlation is not finite; nothing can be compared")
    f = halves.double().clamp_min(0)
    foretold = (2 * f / (1 + f)).sqrt()
    weight = count.double() / count.double().sum()
    return float((weight * (foretold - truth.double())).sum())
