"""Defocus from a scan itself: the value at which its bright-field views register.

View k is displaced in proportion to its angle a_k; the shift M·a_k registers it, with the 2×2
matrix M = −defocus·R(θ)·T and R(θ)·T as in :mod:`misr4d.core.detector`. Registered views add up to
the power Σ_q |Σ_k I_k(q)·exp(−2πi q·M·a_k)|², whose inner sum is a Fourier transform over the
detector at the point Mᵀq. One transform is therefore enough for all trials of M: each trial is a
look-up per frequency.

This gives an approximate value. A view near the rim of the disc has only one side band of q, whose
phase differs from that of both, so that views of large objects register a few per cent off. The
best trial is therefore refined by the power that two side bands explain, each registered
separately, Σ_k over |k − q| ≤ α/λ and over |k + q| ≤ α/λ. Their relation depends on the defocus and
on the absorption of the specimen, and is left free. A pixel that the edge of a band crosses counts
by its fraction inside the band, at the middle of that fraction.

With few electrons most of that power is noise, and its maximum is one of many. A frequency counts
by how much of its power is expected to be signal, given its ring's. A drift is accepted only if it
is likelier than none, and errors hold the likelihood of other values.

If the specimen drifts during the scan, M is more than a rotation and a length: with the matrix D
of :func:`misr4d.calibrate.drift.drift_matrix`, a frequency q of the stated scan is D⁻ᵀq of the
specimen, and M = −defocus·D⁻¹·R(θ)·T. Its four numbers give defocus, θ and both components of a
steady drift. One scan is enough, as long as nothing else is anisotropic. Two-fold astigmatism C₁₂
is anisotropic, and looks like a drift of about 2·C₁₂ / defocus of a step: then M = (C₁₀ + A)·R(θ)·T
with a symmetric, traceless A. One scan cannot distinguish the two. Astigmatism is therefore fitted
only where the drift is known, for example to be zero.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from misr4d.calibrate.registration import PARTS, Registered
from misr4d.core.acquisition import Acquisition
from misr4d.core.detector import detector_axes

__all__ = ["Focus", "Search", "estimate_defocus", "registered_power"]

# Error of the model as a fraction of the defocus: rounded up from benchmarks/stand_in.py, and from
# weak specimens without noise, at +1.5 to −0.9 % by how many pixels make a view.
_MODEL = 0.015
# Objects at the field's edge enter some views and leave others. This can change the defocus by up
# to this fraction times shift over field area and frequency: from eleven scans of 16 to 40 Å. Our
# choice: a drift or astigmatism is accepted above three times that.
_EDGE, _BEYOND_EDGE = 0.8, 3.0
# Our choice, so high because the best of about ten thousand trials is chosen.
_CERTAIN = 8.0
# Our choices: a drift or astigmatism is accepted above this many standard errors, and above this
# fraction of a step or of the defocus, respectively.
_CERTAIN_ERRORS = 7.0
_LEAST = 0.02
# Our choice: its likelihood must be e to this power times that of none. Noise alone gave up to 3.5.
_EVIDENCE = 10.0
# Our choices: how far around the defocus trials are weighed by their likelihood, and how many.
_AROUND, _TRIALS = 0.25, 41
# Fitted in addition to the defocus: indices of the drift [Å a line] and of C₁₂'s components [Å].
_DRIFT, _ASTIGMATISM = slice(0, 2), slice(2, 4)


@dataclass(frozen=True)
class Search:
    """How well the views register for every trial that led to a :class:`Focus`.

    Parameters
    ----------
    defoci : ndarray
        ``(T,)`` [Å].
    score : ndarray
        ``(T, T)`` over defocus·cos θ and defocus·sin θ, both of `defoci`, if the rotation was
        fitted, and ``(T,)`` if it was known: standard deviations of all trials above their
        median. Values that were not tried are NaN.
    """

    defoci: NDArray[np.float64]
    score: NDArray[np.float64]


@dataclass(frozen=True)
class Focus:
    """Defocus as estimated from the views, and the rotation that goes with it.

    Parameters
    ----------
    defocus : float
        Counted from the specimen's middle [Å]; positive is underfocus.
    error : float
        Standard error [Å], from leaving out parts of the frequencies and from the likelihood of
        other values, with 1.5 % for the model, more in a small field, whose edge differs from view
        to view, and half of what astigmatism in the place of a drift that was found would make it
        differ.
    rotation : float
        θ of the detector [deg]: as given, or as found for an underfocused specimen. At θ + 180° the
        same displacements mean overfocus of the same size.
    rotation_error : float
        Standard error [deg]; zero for a rotation that was given.
    transposed : bool
    score : float
        Best trial above the median of all trials, in their standard deviations.
    drift : (float, float)
        How far a line of the scan lies from where it should, beyond the line before it, along
        (Rx, Ry) [Å]; zero unless certain or given. See
        :func:`misr4d.calibrate.drift.drift_matrix`.
    drift_error : (float, float)
        Standard errors [Å], with what was seen in them where it is not certain enough to be
        accepted; zero for a drift that was given.
    astigmatism : (float, float)
        C₁₂·cos 2φ₁₂ and C₁₂·sin 2φ₁₂ along the scan's axes [Å]: as given, or as found where the
        drift was given; zero unless it is certain.
    astigmatism_error : (float, float)
        Standard errors [Å], as of the drift; zero if it was not fitted.
    search : Search or None
        The trials with the detector's axes as found.
    """

    defocus: float
    error: float
    rotation: float
    rotation_error: float
    transposed: bool
    score: float
    drift: tuple[float, float] = (0.0, 0.0)
    drift_error: tuple[float, float] = (0.0, 0.0)
    astigmatism: tuple[float, float] = (0.0, 0.0)
    astigmatism_error: tuple[float, float] = (0.0, 0.0)
    search: Search | None = None

    @property
    def ambiguous(self) -> bool:
        """Whether it may be due to noise alone."""
        return self.score < _CERTAIN


def estimate_defocus(
    views: Tensor,
    acquisition: Acquisition,
    orientation: tuple[float, bool] | None = None,
    drift: tuple[float, float] | None = None,
    astigmatism: tuple[float, float] | None = None,
) -> Focus:
    """Estimate the defocus, and also the rotation unless it is known.

    A drift is estimated too unless it is given; astigmatism only if the drift is.

    Parameters
    ----------
    views : Tensor
        ``(M, Rx, Ry)``, of an unturned detector.
    acquisition : Acquisition
        As it would be with an unturned detector; its defocus does not matter.
    orientation : (float, bool), optional
        Rotation [deg] and transpose of the detector. With it the sign of the defocus is found.
        Without it underfocus is assumed, since half a turn has the same effect as the sign.
    drift : (float, float), optional
        How far a line lies from where it should, beyond the line before it, if that is known [Å].
    astigmatism : (float, float), optional
        C₁₂·cos 2φ₁₂ and C₁₂·sin 2φ₁₂ along the scan's axes, if they are known [Å].

    Returns
    -------
    Focus
        See its ``ambiguous``.

    Raises
    ------
    ValueError
        If the acquisition is turned, or the views do not vary over the scan.

    References
    ----------
    Varnavides et al., arXiv:2309.05250, for the displacement of views as a measure of defocus.
    """
    registered = _registered(views, acquisition)
    alpha = acquisition.semiangle * 1e-3
    # A quarter of a period at the rim, for the finest frequency.
    spacing = 0.25 / (alpha * float(np.hypot(*registered.q.T).max()))
    # Our choice: no view is displaced by more than a quarter of the field, or 32 steps.
    reach = float((np.minimum(acquisition.scan_shape, 128) * acquisition.step).min())
    largest = reach / (4 * alpha)
    # Anything equal in all views, such as flicker of the beam, would look like focus.
    smallest = max(max(acquisition.step) / (2 * alpha), 1.5 * spacing)
    if orientation is None:
        line = np.arange(-largest, largest + spacing, spacing)
        x, y = (a.ravel() for a in np.meshgrid(line, line, indexing="ij"))
        distance = np.hypot(x, y)
        inside = (distance >= smallest) & (distance <= largest)
        points = np.stack([x[inside], y[inside]], 1)
        directions, flips = np.eye(2), [False, True]
        shape: tuple[int, ...]
        shape, tried = (len(line), len(line)), inside
    else:
        turn = math.radians(orientation[0])
        directions, flips = np.array([[math.cos(turn), math.sin(turn)]]), [orientation[1]]
        half = np.arange(smallest, largest + spacing, spacing)
        line = np.concatenate([-half[::-1], half])
        points = line[:, None] * directions
        shape, tried = (len(line),), np.ones(len(line), dtype=bool)
    trials = {f: registered.rough(np.stack([_matrix(p, f) for p in points])) for f in flips}
    flip = max(flips, key=lambda f: float(trials[f].max()))
    all_powers = np.concatenate(list(trials.values()))
    middle = np.median(all_powers)
    deviation = 1.4826 * np.median(np.abs(all_powers - middle))
    scores = np.full(tried.shape, np.nan)
    scores[tried] = (trials[flip] - middle) / max(deviation, 1e-30)
    score, search = float(np.nanmax(scores)), Search(line, scores.reshape(shape))
    start = points[int(trials[flip].argmax())]
    # Overfocus is underfocus rotated by half a turn, with the opposite sign of all other terms.
    sign = 1.0 if orientation is None else math.copysign(1.0, float(start @ directions[0]))
    lens = sign * np.array(astigmatism or (0.0, 0.0), dtype=np.float64)
    known_values = np.concatenate([drift or (0.0, 0.0), lens])
    point, part_points, distortions = _refined(
        registered, start, directions, flip, spacing / 2, known_values, None
    )
    errors = np.zeros(4)
    apart = 0.0
    fitted_slice = _DRIFT if drift is None else _ASTIGMATISM if astigmatism is None else None
    if fitted_slice is not None:
        free_fit = _refined(
            registered, point, directions, flip, spacing / 2, known_values, fitted_slice
        )
        value = free_fit[2][0, fitted_slice]
        errors[fitted_slice] = _spread(
            free_fit[2][1:, fitted_slice] - free_fit[2][1:, fitted_slice].mean(0)
        )
        edge_error = _edge_error(registered, point, distortions[0], flip)
        unit = max(acquisition.step) if fitted_slice is _DRIFT else float(np.hypot(*point))
        certain = np.hypot(*(value / errors[fitted_slice])) > _CERTAIN_ERRORS
        likelier = registered.evidence(
            np.stack([point, free_fit[0]]), np.stack([distortions[0], free_fit[2][0]]), flip
        )[1]
        certain &= likelier > _EVIDENCE
        if certain and np.hypot(*value) > max(_LEAST, _BEYOND_EDGE * edge_error) * unit:
            if fitted_slice is _DRIFT and astigmatism is None:
                # Astigmatism would explain the same, at another defocus: one of two values.
                instead, _, _ = _refined(
                    registered, point, directions, flip, spacing / 2, known_values, _ASTIGMATISM
                )
                apart = float(np.hypot(*instead) - np.hypot(*free_fit[0])) / 2
            point, part_points, distortions = free_fit
        else:  # what was seen, and is reported as none, may be there
            errors[fitted_slice] = np.hypot(
                errors[fitted_slice], value - known_values[fitted_slice]
            )
        errors[fitted_slice] = np.hypot(errors[fitted_slice], edge_error * unit)
    edge_error = _edge_error(registered, point, distortions[0], flip)
    error = part_points - part_points.mean(0)
    length = float(np.hypot(*point))
    direction = point / length
    aside = np.linspace(-_AROUND, _AROUND, _TRIALS)[:, None] * length
    along, across = (
        max(
            float(_spread(error @ axis)),
            _width(registered, np.vstack([point, point + aside * axis]), distortions[0], flip),
        )
        for axis in (direction, np.array([-direction[1], direction[0]]))
    )
    defocus_error = math.hypot(along, _MODEL * length, edge_error * length, apart)
    sideways = math.hypot(across, edge_error * length)
    angle = math.degrees(math.atan2(point[1], point[0]))
    return Focus(
        defocus=sign * length,
        error=defocus_error,
        rotation=angle if orientation is None else orientation[0],
        rotation_error=math.degrees(sideways / length) if orientation is None else 0.0,
        transposed=flip,
        score=score,
        drift=_pair(distortions[0, _DRIFT]),
        drift_error=_pair(errors[_DRIFT]),
        astigmatism=_pair(sign * distortions[0, _ASTIGMATISM]),
        astigmatism_error=_pair(errors[_ASTIGMATISM]),
        search=search,
    )


def _width(
    views: Registered, trials: NDArray[np.float64], beside: NDArray[np.float64], flip: bool
) -> float:
    """Weigh trials along a line by their likelihood, and return their standard deviation [Å].

    Where there are few electrons, noise makes several maxima. Leaving out parts of the frequencies
    shows the width of one of them.
    """
    evidence = views.evidence(trials, np.tile(beside, (len(trials), 1)), flip)[1:]
    weight = np.exp(evidence - evidence.max())
    weight /= weight.sum()
    away = trials[1:] - weight @ trials[1:]
    return math.sqrt(float(weight @ (away**2).sum(1)))


def _edge_error(
    views: Registered, point: NDArray[np.float64], beside: NDArray[np.float64], flip: bool
) -> float:
    """Error by the edge of a small field, as a fraction of the defocus."""
    explained = views.explained(point, beside, flip)
    weight = explained * views.reliability(explained)
    if not weight.sum() > 0:
        return 0.0
    frequency = math.sqrt(float((weight * (views.q**2).sum(1)).sum() / weight.sum()))
    shift = float(np.hypot(*point)) * views.acquisition.semiangle * 1e-3
    return _EDGE * shift / (math.prod(views.acquisition.field) * frequency)


def _pair(values: NDArray[np.float64]) -> tuple[float, float]:
    return float(values[0]) + 0.0, float(values[1]) + 0.0  # no negative zero


def registered_power(
    views: Tensor,
    acquisition: Acquisition,
    defoci: ArrayLike,
    rotations: ArrayLike,
    transposed: bool = False,
) -> NDArray[np.float64]:
    """Power of the registered views: the map whose maximum :func:`estimate_defocus` refines.

    Parameters
    ----------
    views, acquisition
        As for :func:`estimate_defocus`.
    defoci : array_like
        ``(D,)`` [Å].
    rotations : array_like
        ``(R,)`` [deg].
    transposed : bool

    Returns
    -------
    ndarray
        ``(D, R)``, on an arbitrary scale.

    Raises
    ------
    ValueError
        As :func:`estimate_defocus`.
    """
    registered = _registered(views, acquisition)
    length, turn = np.meshgrid(np.asarray(defoci), np.radians(rotations), indexing="ij")
    points = np.stack([length * np.cos(turn), length * np.sin(turn)], -1).reshape(-1, 2)
    power = registered.rough(np.stack([_matrix(p, transposed) for p in points]))
    return power.reshape(length.shape)


def _registered(views: Tensor, acquisition: Acquisition) -> Registered:
    if acquisition.turned:
        raise ValueError("the acquisition is turned already; give the unturned one")
    return Registered(views, acquisition)


def _spread(error: NDArray[np.float64]) -> NDArray[np.float64]:
    """Jackknife standard error from the estimates without each part, minus their mean."""
    root: NDArray[np.float64] = np.sqrt((PARTS - 1) / PARTS * (error**2).sum(0))
    return root


def _matrix(point: NDArray[np.float64], transposed: bool) -> NDArray[np.float64]:
    """Build M for a defocus of length |point| and a rotation by the angle of the point."""
    axes = detector_axes(math.degrees(math.atan2(point[1], point[0])), transposed)
    matrix: NDArray[np.float64] = -float(np.hypot(*point)) * axes.numpy()
    return matrix


def _refined(
    views: Registered,
    start: NDArray[np.float64],
    directions: NDArray[np.float64],
    flip: bool,
    spacing: float,
    known: NDArray[np.float64],
    sought: slice | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Maximum of a parabola through trials around a point, with drift and astigmatism.

    Returns
    -------
    point, parts, distortions : ndarray
        ``(2,)``; ``(P, 2)`` with each part of the frequencies left out; drift [Å a line] and
        astigmatism [Å] ``(1 + P, 4)``, from all frequencies first. All but the two that are fitted
        are as known.
    """
    along = len(directions)
    size = along + (0 if sought is None else 2)
    steps = _design(size)
    # A drift of this times u displaces views as much as a change of defocus by u.
    slip = views.acquisition.step[0] / float(np.hypot(*start))
    scale = slip if sought is _DRIFT else 1.0
    part_of_frequency = views.part

    def placed(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        distortions = np.broadcast_to(known, (*values.shape[:-1], 4)).copy()
        if sought is not None:
            distortions[..., sought] += values[..., along:] * scale
        return start + values[..., :along] @ directions, distortions

    best, halvings = np.zeros(size), 0
    middle = int((~steps.any(1)).argmax())
    for _ in range(12):
        power = np.stack([views.explained(*placed(t), flip) for t in best + steps * spacing])
        power *= views.reliability(power[middle])
        sums = np.stack(
            [power.sum(1)] + [power[:, part_of_frequency != p].sum(1) for p in range(PARTS)]
        )
        tops = np.stack([_top(steps, values) for values in sums])
        all_tops = best + tops * spacing
        best = all_tops[0]
        if np.abs(tops[0]).max() <= 1:
            halvings += 1
            if halvings == 4:
                break
            spacing /= 2
    points, distortions = placed(all_tops)
    return points[0], points[1:], distortions


def _design(size: int) -> NDArray[np.float64]:
    """Trials ``(T, size)`` for a parabola: the middle, the axes, the corners of each pair."""
    grid = np.stack(np.meshgrid(*[(-1.0, 0.0, 1.0)] * size, indexing="ij"), -1).reshape(-1, size)
    trials: NDArray[np.float64] = grid[np.abs(grid).sum(1) <= 2]
    return trials


def _top(steps: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Maximum of a parabola through trials; uphill along a direction that opens upwards."""
    n = steps.shape[1]
    pairs = [(i, j) for i in range(n) for j in range(i, n)]
    design = np.column_stack(
        [np.ones(len(steps)), steps, *(steps[:, i] * steps[:, j] for i, j in pairs)]
    )
    coefficients = np.linalg.lstsq(design, values, rcond=None)[0]
    curve = np.zeros((n, n))
    for (i, j), value in zip(pairs, coefficients[1 + n :], strict=True):
        curve[i, j] += value
        curve[j, i] += value
    width, axes = np.linalg.eigh(curve)
    # Newton's step without saddles; the step along a flat direction is limited.
    width = np.maximum(np.abs(width), 1e-2 * max(float(np.abs(width).max()), 1e-30))
    top: NDArray[np.float64] = np.clip(
        axes @ ((axes.T @ coefficients[1 : 1 + n]) / width), -1.5, 1.5
    )
    return top
