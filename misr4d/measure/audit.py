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

from misr4d.measure.metrics import check_pair
from misr4d.measure.summary import summarise

__all__ = [
    "SHOWN",
    "Detection",
    "ErrorRatio",
    "Reliability",
    "Signature",
    "central_column",
    "detect",
    "error_ratio",
    "false_peaks",
    "overconfidence",
    "reliability",
    "shuffle_positions",
    "signature",
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
    """Count peaks in empty areas, per Å².

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
    heights = image.double() - image[empty].double().median()
    reach = [max(1, round(distance / step)) for step in sampling]
    window = (2 * reach[0] + 1, 2 * reach[1] + 1)
    highest = functional.max_pool2d(heights[None, None], window, 1, (reach[0], reach[1]))[0, 0]
    peaks = (heights == highest) & (heights > height) & empty
    return float(peaks.sum()) / (float(empty.sum()) * sampling[0] * sampling[1])


@dataclass(frozen=True)
class Signature:
    """What a defect changes, as a template that can be laid on any place of the crystal.

    Parameters
    ----------
    template : Tensor
        ``(x, y)`` of the window around the defect [rad]: the difference that it makes to the truth,
        less its mean there, so that neither an image's offset nor slow noise answers to it.
    corners : Tensor
        Where a window begins ``(places, 2)`` [pixels]: the defect's own place first, then others
        where the perfect specimen has about as much structure.
    whole : Tensor
        True phase of the perfect specimen ``(X, Y)`` [rad].
    """

    template: Tensor
    corners: Tensor
    whole: Tensor

    def responses(self, image: Tensor) -> Tensor:
        """Project an image onto the template at every place ``(places,)``.

        The unit is the true difference: at the defect's own place, truth with the defect less
        truth without is 1.

        Raises
        ------
        ValueError
            If the image has another shape or is not finite.
        """
        check_pair(image, self.whole)
        size = tuple(self.template.shape)
        windows = image.double().unfold(0, size[0], 1).unfold(1, size[1], 1)
        patches = windows[self.corners[:, 0], self.corners[:, 1]]
        projections: Tensor = (patches * self.template).sum((1, 2)) / self.template.square().sum()
        return projections

    def unexplained(self, image: Tensor) -> Tensor:
        """Responses to what an image of the perfect specimen shows beside it ``(places,)``.

        The true phase, scaled to fit the image, is taken away.
        """
        check_pair(image, self.whole)
        truth = self.whole.double() - self.whole.double().mean()
        centred_image = image.double() - image.double().mean()
        gain = float((truth * centred_image).sum() / truth.square().sum().clamp_min(1e-30))
        return self.responses(centred_image - gain * truth)


def signature(
    whole: Tensor,
    defect: Tensor,
    *,
    level: float = 0.05,
    margin: int = 3,
    places: int = 400,
) -> Signature:
    """Find what a defect changes, and where else in the specimen one could look for it.

    Parameters
    ----------
    whole, defect : Tensor
        True phase of the specimen without and with the defect ``(X, Y)`` [rad].
    level : float
        Pixels where the difference exceeds this share of its largest modulus belong to it.
    margin : int
        How far the window reaches beyond them [pixels].
    places : int
        About how many other places are looked at, spread evenly over those whose window of `whole`
        has half or more of the variance of the defect's (our choice).

    Raises
    ------
    ValueError
        If shapes differ, values are not finite, or the two truths are the same.
    """
    check_pair(whole, defect)
    difference = (defect - whole).double()
    largest = float(difference.abs().max())
    if largest == 0:
        raise ValueError("the truths with and without the defect are the same")
    window = []
    for axis, axis_length in enumerate(whole.shape):
        changed_pixels = (difference.abs() > level * largest).any(1 - axis).nonzero()
        window.append(
            slice(
                max(0, int(changed_pixels[0]) - margin),
                min(axis_length, int(changed_pixels[-1]) + margin + 1),
            )
        )
    template = difference[window[0], window[1]]
    size = tuple(template.shape)
    windows = whole.double().unfold(0, size[0], 1).unfold(1, size[1], 1)
    variance = windows.square().mean((2, 3)) - windows.mean((2, 3)).square()
    defect_variance = float(whole[window[0], window[1]].double().var(correction=0))
    other_corners = (variance >= defect_variance / 2).nonzero()
    other_corners = other_corners[:: max(1, len(other_corners) // places)]
    defect_corner = torch.tensor([[window[0].start, window[1].start]])
    return Signature(template - template.mean(), torch.cat([defect_corner, other_corners]), whole)


@dataclass(frozen=True)
class Detection:
    """Whether images show a defect, against images of the perfect specimen by the same method.

    Parameters
    ----------
    shares : tuple of float
        Of each image with the defect: share of the true difference that it shows [1]. 0 if nothing
        answers to the defect, 1 if all of it is there in radians; between them it is blurred or
        damped, above 1 overdone, below 0 shown as its opposite.
    probabilities : tuple of float
        Of each image: probability that an observer tells the defect from what the method shows
        beside the specimen at a place of the perfect crystal chosen at random. The observer knows
        the crystal and the defect, not the method's artefacts. 1 is certain, 0.5 a guess, 0 the
        opposite. Their mean is the area under the receiver's curve.
    d_prime : float
        Mean share over the spread of those responses; 0 if nothing is shown, infinite if the method
        shows nothing but the specimen.
    places : int
        Number of places examined in each image of the perfect crystal.
    """

    shares: tuple[float, ...]
    probabilities: tuple[float, ...]
    d_prime: float
    places: int


SHOWN = 0.02
"""Responses nearer than this share of the true difference count as the same: our choice.

Without it the last digits of a flat image would decide.
"""


def detect(of: Signature, images: Sequence[Tensor], perfect: Sequence[Tensor]) -> Detection:
    """Ask whether images show a defect.

    The share compares the defect's own place with that of the perfect specimen, by the same method.
    Whether an observer sees it depends on what else the image shows: noise and artefacts answer to
    the template too, anywhere. An image without features shows nothing; stripes that are stronger
    than their part of the defect hide it.

    Parameters
    ----------
    of : Signature
        As from :func:`signature`.
    images, perfect : sequence of Tensor
        Reconstructions ``(X, Y)`` [rad] of the specimen with the defect, and without it from
        electrons of their own.

    Raises
    ------
    ValueError
        If there is no image of either, or one does not fit the signature.

    References
    ----------
    Barrett & Myers, Foundations of Image Science (2004), chapter 13, for d′ and the area.
    """
    if not images or not perfect:
        raise ValueError(
            f"{len(images)} images with the defect and {len(perfect)} without; expected at least "
            "one of both"
        )
    # The unit is signed: a removed column gives +1, as an added one does.
    absent = torch.stack([of.responses(image)[0] for image in perfect])
    shown_fractions = torch.stack([of.responses(image)[0] for image in images]) - absent.mean()
    background_responses = torch.stack([of.unexplained(image) for image in perfect])
    noise = (background_responses - background_responses.mean()).flatten()
    differences = shown_fractions[:, None] - noise
    correct = (differences > SHOWN).double() + 0.5 * (differences.abs() <= SHOWN).double()
    mean, spread = float(shown_fractions.mean()), float(noise.std(correction=0))
    if abs(mean) <= SHOWN:
        d_prime = 0.0
    else:
        d_prime = mean / spread if spread > 0 else math.copysign(math.inf, mean)
    return Detection(
        tuple(shown_fractions.tolist()),
        tuple(correct.mean(1).tolist()),
        d_prime,
        background_responses.shape[1],
    )


def overconfidence(halves: Tensor, first: Tensor, second: Tensor, count: Tensor) -> float:
    """By how much two halves agree about what is not true, averaged over Fourier pixels.

    Halves of the same electrons that share nothing but the specimen correlate by the product of
    their correlations with the truth: F = C₁·C₂. What F holds beyond that is the correlation of
    their errors, such as what a prior paints into both. Noise of F and of C₁·C₂ has zero mean
    whatever the signal, because the errors of the halves are independent; a whole's C², which
    the linear relation F = C²/(2 − C²) needs, would be too large by 1/n.

    Parameters
    ----------
    halves : Tensor
        Ring correlation F between the half-sets ``(rings,)``.
    first, second : Tensor
        Ring correlation of each half-set with the truth ``(rings,)``.
    count : Tensor
        Fourier pixels in each ring ``(rings,)``.

    Returns
    -------
    float
        0 for independent errors; positive if the halves agree more than they are true. A transfer
        that varies within a ring, or what the method's model leaves out, is an error of both too:
        a linear method's value is the line to compare with.

    Raises
    ------
    ValueError
        If shapes differ or values are not finite.

    References
    ----------
    Rosenthal & Henderson, J. Mol. Biol. 333, 721 (2003): the whole of such halves correlates with
    the truth by C = √(2F / (1 + F)), for a linear method the same statement.
    """
    curves = (halves, first, second, count)
    if halves.ndim != 1 or any(curve.shape != halves.shape for curve in curves):
        shapes = [tuple(t.shape) for t in curves]
        raise ValueError(
            f"halves, first, second and count have shapes {shapes}; expected one, (rings,)"
        )
    if not all(bool(torch.isfinite(curve).all()) for curve in curves):
        raise ValueError("a ring correlation is not finite; nothing can be compared")
    weight = count.double() / count.double().sum()
    shared_error = halves.double() - first.double() * second.double()
    return float((weight * shared_error).sum())


@dataclass(frozen=True)
class Reliability:
    """A predicted deviation of an image, compared with the actual error.

    Parameters
    ----------
    predicted : float
        Root mean square of the predicted deviation [rad].
    error : float
        Root mean square of the error [rad].
    covered : dict of float to float
        Share of pixels whose error lies within each interval, by the share it names.
    """

    predicted: float
    error: float
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
        :meth:`misr4d.core.estimate.Estimate.interval`.
    where : Tensor, optional
        Boolean ``(X, Y)``: only these pixels count; by default all. The means are of all.

    Raises
    ------
    ValueError
        If shapes differ, values are not finite, or no pixel counts.
    """
    inside = torch.ones_like(truth, dtype=torch.bool) if where is None else where
    for tensor in (image, deviation, inside.to(truth.dtype), *half_widths.values()):
        check_pair(tensor, truth)
    if not inside.any():
        raise ValueError("the mask of what counts holds no pixel; nothing can be compared")
    error = ((image - image.mean()) - (truth - truth.mean())).double()[inside]
    return Reliability(
        predicted=float(deviation.double()[inside].square().mean().sqrt()),
        error=float(error.square().mean().sqrt()),
        covered={
            nominal_fraction: float((error.abs() <= width.double()[inside]).double().mean())
            for nominal_fraction, width in half_widths.items()
        },
    )


@dataclass(frozen=True)
class ErrorRatio:
    """How many times larger deviation and error are than on a reference: medians over draws.

    Parameters
    ----------
    predicted, observed : float
        Of the predicted deviation, and of the observed error.
    predicted_rises : bool or None
        Whether the deviation rises with the error; None where the error does not rise.
    """

    predicted: float
    observed: float
    predicted_rises: bool | None


def error_ratio(reference: Sequence[Reliability], other: Sequence[Reliability]) -> ErrorRatio:
    """Ask whether a deviation rises where the error does, draw by draw.

    Parameters
    ----------
    reference, other : sequence of Reliability
        Of the same draws: in the network's familiar conditions, and in others.

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
    predicted = summarise(b.predicted / a.predicted for a, b in pairs).median
    observed = summarise(b.error / a.error for a, b in pairs).median
    return ErrorRatio(predicted, observed, predicted > 1 if observed > 1 else None)


def shuffle_positions(views: Tensor, generator: torch.Generator) -> Tensor:
    """Shuffle each view's values over its positions: the same counts at random places.

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
    is_element = atoms.numbers == number
    cell_centre = atoms.cell.lengths()[:2] / 2
    positions = atoms.positions[is_element, :2]
    column_position = positions[np.linalg.norm(positions - cell_centre, axis=1).argmin()]
    return is_element & (
        np.linalg.norm(atoms.positions[:, :2] - column_position, axis=1) < 0.5
    ), column_position


def turn_disc(
    atoms: Atoms,
    centre: tuple[float, float],
    radius: float,
    *,
    angle: float = 90.0,
    gap: float = 1.2,
) -> Atoms:
    """Turn a disc of a specimen about the beam: the same lattice in another orientation.

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
    if any(
        c - radius < 0 or c + radius > cell_length
        for c, cell_length in zip(centre, cell, strict=False)
    ):
        raise ValueError(
            f"a disc of {radius:g} Å around {centre} Å leaves the cell of {cell[0]:g} × "
            f"{cell[1]:g} Å"
        )
    offset = atoms.positions[:, :2] - np.asarray(centre)
    in_disc = np.linalg.norm(offset, axis=1) < radius
    if not in_disc.any():
        raise ValueError(f"the disc of {radius:g} Å around {centre} Å holds no atom")
    rotated: Atoms = atoms[:]  # a copy
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    rotated.positions[in_disc, :2] = np.asarray(centre) + offset[in_disc] @ np.array(
        [[c, s], [-s, c]]
    )
    keep = np.ones(len(atoms), dtype=bool)
    if not in_disc.all():
        distance, _ = cKDTree(rotated.positions[~in_disc]).query(rotated.positions[in_disc])
        keep[np.flatnonzero(in_disc)[distance < gap]] = False
    specimen: Atoms = rotated[keep]
    return specimen
