"""Defocus from a scan itself: the one by which its bright-field views register.

View k is displaced in proportion to its angle a_k; the shift M·a_k registers it, with the 2×2
matrix M = −defocus·R(θ)·T and R(θ)·T as in :mod:`misr4d.core.detector`. Registered views add up to
the power Σ_q |Σ_k I_k(q)·exp(−2πi q·M·a_k)|², whose inner sum is a Fourier transform over the
detector at the point Mᵀq. One transform therefore serves all trials of M, each a look-up per
frequency.

That finds the neighbourhood. Yet a view near the rim of the disc has one side band of q only, whose
phase is another than that of both, so that views of large things register a few per cent off. The
best trial is therefore refined by the power that two side bands explain, each registered on its
own, Σ_k over |k − q| ≤ α/λ and over |k + q| ≤ α/λ; how they relate, which depends on the defocus
again and on how the specimen absorbs, is left free. A pixel that the edge of a band crosses counts
by its share in the band, at the middle of that share.

A specimen that drifts while it is scanned makes M more than a turn and a length: with the matrix D
of :func:`misr4d.calibrate.drift.drift_matrix`, a frequency q of the scan as stated is D⁻ᵀq of
the specimen, and M = −defocus·D⁻¹·R(θ)·T. Its four numbers give defocus, θ and both parts of a
steady drift; so it can be told from one scan, as long as nothing else is anisotropic. Two-fold
astigmatism C₁₂ is, and looks like a drift of about 2·C₁₂ / defocus of a step: M = (C₁₀ + A)·R(θ)·T
then, with the symmetric A of no trace. One scan cannot tell the two apart. Astigmatism is sought
where the drift is known, such as to be none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy.fft
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from misr4d.calibrate.drift import drift_matrix
from misr4d.core import optics
from misr4d.core.acquisition import Acquisition
from misr4d.core.detector import detector_axes

__all__ = ["Focus", "Search", "estimate_defocus", "registered_power"]

# Our choices: frequencies, the strongest, enough for 64 × 64 positions and a bound to memory, and
# those of them that the search looks at; samples of the transform over the detector for each of its
# own; parts left out for the error, made of cells of so many frequencies a side.
_FREQUENCIES = 2048
_SEARCHED = 512
_OVERSAMPLING = 4
_PARTS = 8
_CELL = 3
# What the model leaves of the defocus, as a share: rounded up from benchmarks/stand_in.py.
_MODEL = 0.01
# What stands at the field's edge enters some views and leaves others, which feigns up to this share
# of the defocus, times shift over field area and frequency: from eleven scans of 16 to 40 Å. Our
# choice: a drift or astigmatism is believed beyond three times that.
_EDGE, _BEYOND_EDGE = 0.8, 3.0
# Our choice, so high because the best of some ten thousand trials is picked.
_CERTAIN = 8.0
# Our choices: a drift, or astigmatism, is believed from so many standard errors on, and so much of
# a step, or of the defocus.
_CERTAIN_ERRORS = 7.0
_LEAST = 0.02
# What may be sought beside the defocus: places of a drift [Å a line] and of C₁₂'s components [Å].
_DRIFT, _ASTIGMATISM = slice(0, 2), slice(2, 4)


@dataclass(frozen=True)
class Search:
    """How well the views register for every trial, the picture behind a :class:`Focus`.

    Parameters
    ----------
    defoci : ndarray
        ``(T,)`` [Å].
    score : ndarray
        ``(T, T)`` over defocus·cos θ and defocus·sin θ, both of `defoci`, where the rotation was
        sought, and ``(T,)`` where it was known: standard deviations of all trials above their
        median. What was not tried is not a number.
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
        Standard error, by leaving out parts of the frequencies, 1 % for what the model leaves, and
        more in a small field, whose edge differs from view to view [Å].
    rotation : float
        θ of the detector [deg]: as given, or as found if the specimen is underfocused. At
        θ + 180° the same displacements mean as much overfocus.
    rotation_error : float
        Standard error [deg]; zero for a rotation that was given.
    transposed : bool
    score : float
        By how many standard deviations of all trials the best exceeds their median.
    drift : (float, float)
        How far a line of the scan lies from where it should, beyond the line before it, along
        (Rx, Ry) [Å]; zero unless certain or given. See
        :func:`misr4d.calibrate.drift.drift_matrix`.
    drift_error : (float, float)
        Standard errors [Å]; zero for a drift that was given.
    astigmatism : (float, float)
        C₁₂·cos 2φ₁₂ and C₁₂·sin 2φ₁₂ along the scan's axes [Å]: as given, or as found where the
        drift was given; zero unless it is certain.
    astigmatism_error : (float, float)
        Standard errors [Å]; zero if it was not sought.
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
        """Whether noise alone may have made it."""
        return self.score < _CERTAIN


class _Registered:
    """Power of registered views, frequency by frequency, for trials of M."""

    def __init__(self, views: Tensor, acquisition: Acquisition) -> None:
        index = acquisition.detector_index.numpy()
        nx, ny = acquisition.scan_shape
        # The edge of a field stands still in all views, and is faded out.
        from scipy.signal.windows import tukey  # scipy.signal takes a second to load

        window = torch.from_numpy(np.multiply.outer(tukey(nx, 0.5), tukey(ny, 0.5))).float()
        still = (views * window).sum((1, 2), keepdim=True) / window.sum()
        spectra = torch.fft.rfft2((views - still) * window)
        qx, qy = optics.frequencies((nx, ny), acquisition.step)
        kept = spectra.shape[1:]
        qx, qy = qx.expand(kept), qy[:, : kept[1]].abs().expand(kept)
        q = (qx**2 + qy**2).sqrt()
        # Nothing is transferred beyond 2α; the lowest frequencies hold what drifts.
        inside = (q > 1.5 / min(acquisition.field)) & (q < 1 / acquisition.information_limit)
        power = torch.where(inside, spectra.abs().square().sum(0).double(), -1.0).flatten()
        keep = power.topk(min(_FREQUENCIES, int(inside.sum()))).indices
        if len(keep) == 0 or not float(power[keep].sum()) > 0:
            raise ValueError("the views do not vary over the scan; they show no defocus")
        self.q = torch.stack([qx.flatten()[keep], qy.flatten()[keep]], 1).numpy()
        self.values = spectra.flatten(1)[:, keep].T.contiguous().numpy()  # (F, M)
        # Neighbours share what the fading lets leak: they are left out together, and the strongest
        # are dealt first.
        cell = np.floor_divide(np.rint(self.q * acquisition.field), _CELL)
        _, first, own = np.unique(cell, axis=0, return_index=True, return_inverse=True)
        self.part = first.argsort().argsort()[own.ravel()] % _PARTS
        # A pixel on the rim is displaced as the lit part of it is, not as its middle.
        samples = acquisition.view_samples
        lit = optics.aperture((samples**2).sum(-1), acquisition.wavelength, acquisition.semiangle)
        centroid = (samples * lit[..., None]).sum(1) / lit.sum(1, keepdim=True)
        self.angles = centroid.numpy() * acquisition.wavelength
        self.side = _OVERSAMPLING * (2 * int(np.abs(index).max()) + 1)
        self.scale = acquisition.detector_pixel * 1e-3 * self.side
        self.wavelength = acquisition.wavelength
        self.acquisition = acquisition
        self.radius = acquisition.semiangle * 1e-3 / acquisition.wavelength
        self.pixel = acquisition.detector_pixel * 1e-3 / acquisition.wavelength
        searched = self.values[:_SEARCHED]
        grid = np.zeros((len(searched), self.side, self.side), dtype=np.complex64)
        grid[:, index[:, 0], index[:, 1]] = searched
        self.power = (np.abs(scipy.fft.fft2(grid)) ** 2).astype(np.float32)

    def rough(self, matrices: NDArray[np.float64]) -> NDArray[np.float64]:
        """Power for many M ``(T, 2, 2)`` [Å/rad], by linear interpolation ``(T,)``."""
        place, q = np.arange(len(self.power)), self.q[: len(self.power)]
        found = np.empty(len(matrices))
        for start in range(0, len(matrices), 64):
            at = np.einsum("fi,tij->tfj", q, matrices[start : start + 64]) * self.scale
            low = np.floor(at).astype(np.intp)
            part = (at - low).astype(np.float32)
            x0, y0 = (low[..., a] % self.side for a in (0, 1))
            x1, y1 = (x0 + 1) % self.side, (y0 + 1) % self.side
            px, py = part[..., 0], part[..., 1]
            near = self.power[place, x0, y0] * (1 - px) + self.power[place, x1, y0] * px
            far = self.power[place, x0, y1] * (1 - px) + self.power[place, x1, y1] * px
            total = near * (1 - py) + far * py
            found[start : start + 64] = total.sum(1, dtype=np.float64)
        return found

    def _covered(self, square: NDArray[np.float64]) -> NDArray[np.float32]:
        """Share of a pixel that lies inside the disc, from the square of its distance [Å⁻²]."""
        depth = (self.radius - np.sqrt(np.maximum(square, 0)).astype(np.float32)) / self.pixel
        share: NDArray[np.float32] = np.clip(depth + np.float32(0.5), 0, 1)
        return share

    def explained(
        self, point: NDArray[np.float64], beside: NDArray[np.float64], transposed: bool
    ) -> NDArray[np.float64]:
        """Power of every frequency that two side bands at this defocus explain ``(F,)``."""
        defocus = float(np.hypot(*point))
        turn = detector_axes(math.degrees(math.atan2(point[1], point[0])), transposed).numpy()
        k = self.angles @ turn.T / self.wavelength
        scan = self.acquisition
        along, across, a, b = beside
        q = self.q @ np.linalg.inv(drift_matrix((along, across), scan.step, scan.scan_shape))
        cross = q @ k.T
        skew = q @ (k @ np.array([[a, b], [b, -a]])).T if a or b else 0.0
        length = (q**2).sum(1)[:, None]
        # exp(−2πi·λ(C₁₀ + A)k·q), with C₁₀ = −defocus, takes out what displaces a view.
        angle = 2 * np.pi * self.wavelength * defocus
        turned = np.exp((1j * angle * (cross - skew / defocus)).astype(np.complex64))
        turned *= self.values
        sides, sums = [], []
        for sign in (-1, 1):
            square = (k**2).sum(1) + length + 2 * sign * cross
            side = self._covered(square)
            band = turned * side
            # A pixel that the band's edge crosses sees the band's side of it: its middle lies
            # further in, towards −sign·q, by half of what is not covered.
            crossed = np.nonzero((side > 0) & (side < 1))
            towards = (-sign * length - cross)[crossed] / np.sqrt(square[crossed])
            further = (1 - side[crossed]) * (self.pixel / 2 * angle) * towards
            band[crossed] *= np.exp(1j * further)
            sides.append(side)
            sums.append(band.sum(1))
        (minus, plus), (first, second) = sides, sums
        # The Gram matrix of the two, kept from being singular where they cover the same views.
        a, d = ((side**2).sum(1) + 0.1 for side in (minus, plus))
        c = (minus * plus).sum(1)
        shared = 2 * c * (first.conj() * second).real
        power = d * np.abs(first) ** 2 + a * np.abs(second) ** 2 - shared
        found: NDArray[np.float64] = power.astype(np.float64) / (a * d - c**2)
        return found

    def reliability(self, explained: NDArray[np.float64]) -> NDArray[np.float64]:
        """Share of the explained power that is not noise, as Wiener would have it ``(F,)``."""
        count = self.values.shape[1]
        total = (np.abs(self.values) ** 2).sum(1)
        noise = float(np.median((total - explained) / max(1, count - 2)))
        share: NDArray[np.float64] = 1 - 2 * noise / np.maximum(explained, 2 * noise)
        return share


def estimate_defocus(
    views: Tensor,
    acquisition: Acquisition,
    orientation: tuple[float, bool] | None = None,
    drift: tuple[float, float] | None = None,
    astigmatism: tuple[float, float] | None = None,
) -> Focus:
    """Estimate the defocus, and the rotation with it unless that is known.

    A drift is estimated too unless it is given; astigmatism only if the drift is.

    Parameters
    ----------
    views : Tensor
        ``(M, Rx, Ry)``, of an unturned detector.
    acquisition : Acquisition
        As it would be with an unturned detector; its defocus does not matter.
    orientation : (float, bool), optional
        Rotation [deg] and transpose of the detector. With it the sign of the defocus is found;
        without, underfocus is assumed, since half a turn does the same as the other sign.
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
    # What stands still in all views, as flicker of the beam does, would pass for focus.
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
    every = np.concatenate(list(trials.values()))
    middle = np.median(every)
    deviation = 1.4826 * np.median(np.abs(every - middle))
    scores = np.full(tried.shape, np.nan)
    scores[tried] = (trials[flip] - middle) / max(deviation, 1e-30)
    score, search = float(np.nanmax(scores)), Search(line, scores.reshape(shape))
    start = points[int(trials[flip].argmax())]
    # Overfocus is underfocus half a turn away, with the other sign of all else.
    sign = 1.0 if orientation is None else math.copysign(1.0, float(start @ directions[0]))
    lens = sign * np.array(astigmatism or (0.0, 0.0), dtype=np.float64)
    known = np.concatenate([drift or (0.0, 0.0), lens])
    point, parts, beside = _refined(registered, start, directions, flip, spacing / 2, known, None)
    errors = np.zeros(4)
    sought = _DRIFT if drift is None else _ASTIGMATISM if astigmatism is None else None
    if sought is not None:
        free = _refined(registered, point, directions, flip, spacing / 2, known, sought)
        value = free[2][0, sought]
        errors[sought] = _spread(free[2][1:, sought] - free[2][1:, sought].mean(0))
        edge = _edge_error(registered, point, beside[0], flip)
        unit = max(acquisition.step) if sought is _DRIFT else float(np.hypot(*point))
        certain = np.hypot(*(value / errors[sought])) > _CERTAIN_ERRORS
        if certain and np.hypot(*value) > max(_LEAST, _BEYOND_EDGE * edge) * unit:
            point, parts, beside = free
        errors[sought] = np.hypot(errors[sought], edge * unit)
    edge = _edge_error(registered, point, beside[0], flip)
    error = parts - parts.mean(0)
    length = float(np.hypot(*point))
    along = point / length
    defocus_error = math.hypot(float(_spread(error @ along)), _MODEL * length, edge * length)
    across = float(_spread(error @ np.array([-along[1], along[0]])))
    sideways = math.hypot(across, edge * length)
    angle = math.degrees(math.atan2(point[1], point[0]))
    return Focus(
        defocus=sign * length,
        error=defocus_error,
        rotation=angle if orientation is None else orientation[0],
        rotation_error=math.degrees(sideways / length) if orientation is None else 0.0,
        transposed=flip,
        score=score,
        drift=_pair(beside[0, _DRIFT]),
        drift_error=_pair(errors[_DRIFT]),
        astigmatism=_pair(sign * beside[0, _ASTIGMATISM]),
        astigmatism_error=_pair(errors[_ASTIGMATISM]),
        search=search,
    )


def _edge_error(
    views: _Registered, point: NDArray[np.float64], beside: NDArray[np.float64], flip: bool
) -> float:
    """Share of the defocus that the edge of a small field may feign."""
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
    """Power of the views registered for trials: the map whose top :func:`estimate_defocus` refines.

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


def _registered(views: Tensor, acquisition: Acquisition) -> _Registered:
    if acquisition.turned:
        raise ValueError("the acquisition is turned already; give the unturned one")
    return _Registered(views, acquisition)


def _spread(error: NDArray[np.float64]) -> NDArray[np.float64]:
    """Jackknife standard error from the estimates with a part left out, less their mean."""
    root: NDArray[np.float64] = np.sqrt((_PARTS - 1) / _PARTS * (error**2).sum(0))
    return root


def _matrix(point: NDArray[np.float64], transposed: bool) -> NDArray[np.float64]:
    """Build M of a defocus of length |point| at the rotation that the point shows."""
    axes = detector_axes(math.degrees(math.atan2(point[1], point[0])), transposed)
    matrix: NDArray[np.float64] = -float(np.hypot(*point)) * axes.numpy()
    return matrix


def _refined(
    views: _Registered,
    start: NDArray[np.float64],
    directions: NDArray[np.float64],
    flip: bool,
    spacing: float,
    known: NDArray[np.float64],
    sought: slice | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Top of a parabola through trials around a point, with drift and astigmatism beside it.

    Returns
    -------
    point, parts, beside : ndarray
        ``(2,)``; ``(P, 2)`` with each part of the frequencies left out; drift [Å a line] and
        astigmatism [Å] ``(1 + P, 4)``, as known but for what is sought, of all frequencies first.
    """
    along = len(directions)
    size = along + (0 if sought is None else 2)
    steps = _design(size)
    # A drift of this times u displaces views as much as another defocus by u does.
    slip = views.acquisition.step[0] / float(np.hypot(*start))
    scale = slip if sought is _DRIFT else 1.0
    part = views.part

    def placed(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        beside = np.broadcast_to(known, (*values.shape[:-1], 4)).copy()
        if sought is not None:
            beside[..., sought] += values[..., along:] * scale
        return start + values[..., :along] @ directions, beside

    best, halvings = np.zeros(size), 0
    middle = int((~steps.any(1)).argmax())
    for _ in range(12):
        power = np.stack([views.explained(*placed(t), flip) for t in best + steps * spacing])
        power *= views.reliability(power[middle])
        sums = np.stack([power.sum(1)] + [power[:, part != p].sum(1) for p in range(_PARTS)])
        tops = np.stack([_top(steps, values) for values in sums])
        every = best + tops * spacing
        best = every[0]
        if np.abs(tops[0]).max() <= 1:
            halvings += 1
            if halvings == 4:
                break
            spacing /= 2
    points, beside = placed(every)
    return points[0], points[1:], beside


def _design(size: int) -> NDArray[np.float64]:
    """Trials ``(T, size)`` that fix a parabola: the middle, the axes, the corners of each pair."""
    grid = np.stack(np.meshgrid(*[(-1.0, 0.0, 1.0)] * size, indexing="ij"), -1).reshape(-1, size)
    few: NDArray[np.float64] = grid[np.abs(grid).sum(1) <= 2]
    return few


def _top(steps: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where a parabola through trials is highest; along a direction that opens upwards, uphill."""
    n = steps.shape[1]
    pairs = [(i, j) for i in range(n) for j in range(i, n)]
    design = np.column_stack(
        [np.ones(len(steps)), steps, *(steps[:, i] * steps[:, j] for i, j in pairs)]
    )
    fit = np.linalg.lstsq(design, values, rcond=None)[0]
    curve = np.zeros((n, n))
    for (i, j), value in zip(pairs, fit[1 + n :], strict=True):
        curve[i, j] += value
        curve[j, i] += value
    width, axes = np.linalg.eigh(curve)
    # Newton's step without saddles; a flat direction takes no longer step than it must.
    width = np.maximum(np.abs(width), 1e-2 * max(float(np.abs(width).max()), 1e-30))
    found: NDArray[np.float64] = np.clip(axes @ ((axes.T @ fit[1 : 1 + n]) / width), -1.5, 1.5)
    return found
