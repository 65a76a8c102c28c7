"""Does a method show what is not there? Measures of invention, each against a known specimen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from ase import Atoms
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn import functional

from misr4d.metrics import check_pair

__all__ = [
    "Reliability",
    "Rise",
    "central_column",
    "false_peaks",
    "overconfidence",
    "reliability",
    "rise",
    "shuffle_positions",
    "survival",
    "turn_disc",
]


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


@dataclass(frozen=True)
class Reliability:
    """What a predicted deviation promised of an image, and what became of it.

    Parameters
    ----------
    foretold : float
        Root mean square of the predicted deviation [rad].
    found : float
        Root mean square of the error [rad].
    covered : dict of float to float
        Share of pixels whose error lies within each interval, by the share it names.
    """

    foretold: float
    found: float
    covered: dict[float, float]


def reliability(
    image: Tensor,
    truth: Tensor,
    deviation: Tensor,
    half_widths: Mapping[float, Tensor],
    where: Tensor | None = None,
) -> Reliability:
    """Compare a predicted deviation with the error, after both images' means are removed.

    Parameters
    ----------
    image, truth, deviation : Tensor
        ``(X, Y)`` [rad].
    half_widths : mapping of float to Tensor
        Half width of each interval ``(X, Y)`` [rad], by the share that it names, as from
        :meth:`misr4d.learned.Estimate.interval`.
    where : Tensor, optional
        Boolean ``(X, Y)``: only these pixels count; by default all. The means are of all.

    Raises
    ------
    ValueError
        If shapes differ, values are not finite, or no pixel counts.
    """
    inside = torch.ones_like(truth, dtype=torch.bool) if where is None else where
    for other in (image, deviation, inside.to(truth.dtype), *half_widths.values()):
        check_pair(other, truth)
    if not inside.any():
        raise ValueError("the mask of what counts holds no pixel; nothing can be compared")
    error = ((image - image.mean()) - (truth - truth.mean())).double()[inside]
    return Reliability(
        foretold=float(deviation.double()[inside].square().mean().sqrt()),
        found=float(error.square().mean().sqrt()),
        covered={
            share: float((error.abs() <= width.double()[inside]).double().mean())
            for share, width in half_widths.items()
        },
    )


@dataclass(frozen=True)
class Rise:
    """How many times larger deviation and error are than on a reference: medians over draws.

    Parameters
    ----------
    foretold, found : float
        Of the predicted deviation, and of the error.
    follows : bool or None
        Whether the deviation rises with the error; None where the error does not rise.
    """

    foretold: float
    found: float
    follows: bool | None


def rise(reference: Sequence[Reliability], other: Sequence[Reliability]) -> Rise:
    """Ask whether a deviation rises where the error does, draw by draw.

    Parameters
    ----------
    reference, other : sequence of Reliability
        Of the same draws: where the network is at home, and elsewhere.

    Raises
    ------
    ValueError
        If there is no draw, or not as many of both.
    """
    if not reference or len(reference) != len(other):
        raise ValueError(
            f"{len(reference)} draws of the reference and {len(other)} of the other; expected as "
            "many of both, and at least one"
        )
    pairs = list(zip(reference, other, strict=True))
    foretold = float(np.median([b.foretold / a.foretold for a, b in pairs]))
    found = float(np.median([b.found / a.found for a, b in pairs]))
    return Rise(foretold, found, foretold > 1 if found > 1 else None)


def shuffle_positions(views: Tensor, generator: torch.Generator) -> Tensor:
    """Deal each view's values to its positions at random: the same counts, without their places.

    Parameters
    ----------
    views : Tensor
        ``(M, Rx, Ry)``.
    generator : torch.Generator
        Source of randomness, on the CPU.
    """
    flat = views.flatten(1)
    order = torch.rand(flat.shape, generator=generator).argsort(1)
    return flat.gather(1, order).reshape(views.shape)


def central_column(atoms: Atoms, number: int) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Find the column of an element that lies nearest to the middle, looking along the beam.

    Parameters
    ----------
    atoms : ase.Atoms
        Beam along +z.
    number : int
        Atomic number; atoms of it within 0.5 Å of the column belong to it.

    Returns
    -------
    ndarray, ndarray
        Which atoms it holds, and where it is ``(2,)`` [Å].
    """
    own = atoms.numbers == number
    middle = atoms.cell.lengths()[:2] / 2
    columns = atoms.positions[own, :2]
    place = columns[np.linalg.norm(columns - middle, axis=1).argmin()]
    return own & (np.linalg.norm(atoms.positions[:, :2] - place, axis=1) < 0.5), place


def turn_disc(
    atoms: Atoms,
    centre: tuple[float, float],
    radius: float,
    *,
    angle: float = 90.0,
    gap: float = 1.2,
) -> Atoms:
    """Turn a disc of a specimen about the beam: the same lattice, another way round.

    Parameters
    ----------
    atoms : ase.Atoms
        Beam along +z.
    centre : (float, float)
        Of the disc [Å].
    radius : float
        Of the disc [Å].
    angle : float
        Turn, counter-clockwise seen against the beam [°].
    gap : float
        A turned atom nearer than this to one that stayed is left out [Å]; our choice, shorter than
        any bond to a metal.

    Returns
    -------
    ase.Atoms

    Raises
    ------
    ValueError
        If the disc leaves the cell or holds no atom.
    """
    cell = atoms.cell.lengths()
    if any(c - radius < 0 or c + radius > side for c, side in zip(centre, cell, strict=False)):
        raise ValueError(
            f"a disc of {radius:g} Å around {centre} Å leaves the cell of {cell[0]:g} × "
            f"{cell[1]:g} Å"
        )
    offset = atoms.positions[:, :2] - np.asarray(centre)
    inside = np.linalg.norm(offset, axis=1) < radius
    if not inside.any():
        raise ValueError(f"the disc of {radius:g} Å around {centre} Å holds no atom")
    turned: Atoms = atoms[:]  # a copy
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    turned.positions[inside, :2] = np.asarray(centre) + offset[inside] @ np.array([[c, s], [-s, c]])
    keep = np.ones(len(atoms), dtype=bool)
    if not inside.all():
        distance, _ = cKDTree(turned.positions[~inside]).query(turned.positions[inside])
        keep[np.flatnonzero(inside)[distance < gap]] = False
    kept: Atoms = turned[keep]
    return kept
