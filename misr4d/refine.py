"""Phase retrieval under a learned prior: the first stage proposes, the electrons decide.

The first stage is an image with a standard deviation for each pixel. What is sought is the phase φ
that is likeliest given it and the counts n of every view and position:

    minimise  Σ [λ(φ) − n·log λ(φ)]  +  w/2 · Σ t²·log(1 + u²/t²),   u = (φ − μ)/σ,

λ being the electrons that a multislice of φ expects (the Poisson likelihood of the raw counts) and
μ, σ the first stage's mean and deviation. Near the first stage the prior is a Gaussian of variance
σ²/w; beyond t deviations it is Cauchy's, which gives way: noise, which is small everywhere, moves
nothing, and a column that the first stage painted over, which is far off in a few pixels, comes
back. An infinite t is the Gaussian at any distance.

It is solved in variables in which both terms together have about unit curvature, known in closed
form for a weak phase, so that a few steps of L-BFGS do. It ends where nothing changes any more, and
before that if the counts are explained better than their own noise allows (the discrepancy
principle; Morozov 1966): what follows would be noise.

The first stage has seen the same electrons, so its deviation is no independent prior. How far it is
to be trusted, w and t, was chosen on specimens that no page scores
(:func:`misr4d.settings.prior_trust`).

:func:`plug_and_play` asks the network again after every refinement, about views from which the
refined image has removed what is not linear. Chapter 12 of the book measures both.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from misr4d import optics
from misr4d.acquisition import Acquisition
from misr4d.direct import DirectPtychography
from misr4d.dose import electrons_per_pixel
from misr4d.learned import Estimate, blend_tiles, starting_point, tiles
from misr4d.networks import UPSAMPLING
from misr4d.workers import Deal, here

__all__ = [
    "EVALUATIONS",
    "ExpectedViews",
    "Refined",
    "Trust",
    "as_weak",
    "deviance",
    "expected_deviance",
    "plug_and_play",
    "refine",
    "refine_scan",
]

EVALUATIONS = 15
"""Most evaluations of the model: our choice, beyond which little is gained for the time."""

_WAVES = 1 << 22  # complex values in a batch of plane waves: about 200 MB with what autograd keeps
_FINEST = 0.75  # Å: the wave field's sampling is at most this
_OVERFITTED = -3.0  # standard deviations: our choice
_FORBIDDEN = 10.0  # times the prior's weight, for what lies below vacuum: our choice
_DIFFRACTED = 3  # scan positions
_SMALL = 2.0  # a step that gains less log-likelihood ends it: our choice
_DEFOCUS_UNIT, _GAIN_UNIT = 1.0, 1e-3  # Å, and a relative one: sizes of a step of one
_NOTHING = torch.empty(0)


class _DoneError(Exception):
    """No further step."""


@dataclass(frozen=True)
class Trust:
    """How far a first stage is trusted.

    Parameters
    ----------
    weight : float
        w, on the inverse of its variance; 1 takes the deviation at its word.
    tail : float
        t, beyond how many deviations it gives way; ``inf`` is a Gaussian prior.

    Raises
    ------
    ValueError
        If either is not positive, or the weight not finite.
    """

    weight: float = 1.0
    tail: float = math.inf

    def __post_init__(self) -> None:
        if not (math.isfinite(self.weight) and self.weight > 0):
            raise ValueError(f"weight is {self.weight!r}; expected a positive number")
        if not self.tail > 0:
            raise ValueError(f"tail is {self.tail!r}; expected a positive number of deviations")

    def penalty(self, squared: Tensor) -> Tensor:
        """Negative logarithm of the prior, pixel by pixel, of the squared distance u²."""
        if math.isinf(self.tail):
            return self.weight / 2 * squared
        return self.weight * self.tail**2 / 2 * torch.log1p(squared / self.tail**2)


@dataclass(frozen=True)
class Refined:
    """What the electrons made of the first stage's image.

    Parameters
    ----------
    image : Tensor
        ``(r·Rx, r·Ry)`` [rad], of zero mean.
    moved : Tensor
        Where the data moved the prior: change over the first stage's deviation, same shape.
    deviance : float
        Deviance of the counts over its expectation: 1 if this image explains the electrons.
    excess : float
        The same difference in standard deviations; above about 5 the image, or what was assumed of
        the measurement, does not explain the electrons.
    history : tuple of float
        Deviance over its expectation after every step; the first is the first stage's own.
    defocus, gain : float
        As refined, or as given [Å].
    """

    image: Tensor
    moved: Tensor
    deviance: float
    excess: float
    history: tuple[float, ...]
    defocus: float
    gain: float

    @property
    def warning(self) -> str | None:
        """One line if the image does not explain the electrons."""
        if self.excess < 5:
            return None
        return (
            f"the counts deviate {self.deviance:.4f} times as much as this image explains "
            f"({self.excess:.0f} standard deviations too much): check defocus, rotation, "
            "thickness and dose, or do not trust it"
        )


class ExpectedViews:
    """Views that a phase makes, by multislice of tilted plane waves; differentiable.

    The model of :func:`misr4d.reciprocity.simulate_views` for a specimen that is the same at all
    depths: each of n slices holds 1/n of the phase.

    Parameters
    ----------
    acquisition : Acquisition
        Its defocus counted from the middle of the specimen.
    upsampling : int
        Pixels of the phase per scan step.
    thickness : float
        Of the specimen [Å].
    slices : int
        How many; one is the phase-object approximation in the middle of the specimen.
    device : torch.device or str
        Where to compute.

    Raises
    ------
    ValueError
        If thickness or slices make no specimen.
    """

    def __init__(
        self,
        acquisition: Acquisition,
        upsampling: int = 3,
        *,
        thickness: float = 0.0,
        slices: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        if slices < 1 or not (math.isfinite(thickness) and thickness >= 0):
            raise ValueError(
                f"thickness is {thickness!r} Å in {slices} slices; expected 0 Å or more in 1 or "
                "more slices"
            )
        self.acquisition, self.slices, self.device = acquisition, slices, torch.device(device)
        self.image_shape = acquisition.output_shape(upsampling)
        factor = max(upsampling, math.ceil(max(acquisition.step) / _FINEST))
        self.shape = acquisition.output_shape(factor)
        self.samples = acquisition.view_samples.to(self.device)  # (M, S, 2)
        self.spacing = thickness / slices
        radius = acquisition.semiangle * 1e-3 / acquisition.wavelength
        scan, field = acquisition.scan_shape, acquisition.field
        # On a scan that drifts the aperture is an ellipse: how far it reaches along each axis.
        axes = acquisition.scan_frequencies(torch.eye(2, dtype=torch.float64))
        reach = (radius * axes.norm(dim=0)).tolist()
        # A plane wave's image holds frequencies within the aperture: a box of whole scan grids.
        self._folds = tuple(
            min(factor, math.ceil((2 * own * side + 3) / n))
            for own, side, n in zip(reach, field, scan, strict=True)
        )

    def __len__(self) -> int:
        return len(self.samples)

    def transmission(self, phase: Tensor) -> Tensor:
        """Transmission of one slice on the wave field's grid."""
        fine = optics.fourier_resample(phase, self.shape)
        return torch.polar(torch.ones_like(fine), fine / self.slices)

    def batches(self) -> list[slice]:
        """Divide the views into those that are computed at once, by memory."""
        per_view = self.samples.shape[1] * math.prod(self.shape if self.slices > 1 else self._box)
        count = max(1, _WAVES // per_view)
        return [slice(i, min(i + count, len(self))) for i in range(0, len(self), count)]

    @property
    def _box(self) -> tuple[int, int]:
        nx, ny = self.acquisition.scan_shape
        return self._folds[0] * nx, self._folds[1] * ny

    def __call__(
        self, transmission: Tensor, views: slice = slice(None), *, defocus: Tensor | None = None
    ) -> Tensor:
        """Compute views ``(m, Rx, Ry)``, relative to a fully lit pixel in vacuum.

        Parameters
        ----------
        transmission : Tensor
            As from :meth:`transmission`.
        views : slice
            Which of them.
        defocus : Tensor, optional
            Scalar [Å], to be differentiated by; the acquisition's unless given.
        """
        acq = self.acquisition
        lam, field = acq.wavelength, acq.field
        k = self.samples[views].reshape(-1, 2)  # (B, 2)
        middle = acq.scan_frequencies(k)
        start = [
            torch.round(middle[:, axis] * field[axis]).long() - self._box[axis] // 2
            for axis in (0, 1)
        ]
        steps = [torch.arange(n, device=self.device) for n in self._box]
        index = [s[:, None] + n for s, n in zip(start, steps, strict=True)]  # (B, box)
        spectrum = self._spectra(transmission, k)
        rows, columns = (i % n for i, n in zip(index, self.shape, strict=True))
        if spectrum.ndim == 2:
            box = spectrum[rows[:, :, None], columns[:, None, :]]
        else:
            which = torch.arange(len(k), device=self.device)[:, None, None]
            box = spectrum[which, rows[:, :, None], columns[:, None, :]]
        qx, qy = acq.specimen_frequencies(
            index[0][:, :, None] / field[0], index[1][:, None, :] / field[1]
        )
        x, y = (q - k[:, a, None, None] for a, q in enumerate((qx, qy)))
        x2, y2 = x**2, y**2
        inside = (x2 + y2) <= ((acq.semiangle * 1e-3 / lam) ** 2 * (1 + 1e-9))
        # Beyond the grid the box would wrap around: nothing lives there.
        for axis, i in enumerate(index):
            held = (i >= -(self.shape[axis] // 2)) & (i < (self.shape[axis] + 1) // 2)
            inside = inside & (held[:, :, None] if axis == 0 else held[:, None, :])
        # χ is a sum over the axes, so its phase factor is a product; the first slice lies above
        # the middle, from which the defocus counts.
        focus: Tensor | float = acq.defocus if defocus is None else defocus
        angle = math.pi * lam * (focus + (self.slices - 1) / 2 * self.spacing)
        # The angles are taken in float64, whatever the image has.
        for square in (x2, y2):  # each along one axis, unless the scan drifts
            box = box * torch.exp(1j * (angle * square)).to(box.dtype)
        if any(acq.astigmatism):
            more = optics.astigmatic_chi(x, y, lam, acq.astigmatism)
            box = box * torch.exp(-1j * more).to(box.dtype)
        box = box * inside
        nx, ny = acq.scan_shape
        # Sampling in space is folding in frequency; where the box begins changes no modulus.
        folded = box.reshape(-1, self._folds[0], nx, self._folds[1], ny).sum((1, 3))
        wave = torch.fft.ifft2(folded, norm="forward")
        intensity = wave.real.square() + wave.imag.square()
        found: Tensor = intensity.reshape(-1, self.samples.shape[1], nx, ny).mean(1)
        return found

    def _spectra(self, transmission: Tensor, k: Tensor) -> Tensor:
        """Spectrum behind all slices: one for all waves, or ``(B, X, Y)`` where they propagate."""
        if self.slices == 1:
            single: Tensor = torch.fft.fft2(transmission, norm="forward")
            return single
        lam = self.acquisition.wavelength
        sampling = tuple(s / n for s, n in zip(self.acquisition.field, self.shape, strict=True))
        qx, qy = self.acquisition.specimen_frequencies(
            *optics.frequencies(self.shape, (sampling[0], sampling[1]), device=self.device)
        )
        ax, ay = ((q - k[:, i, None, None]) ** 2 for i, q in enumerate((qx, qy)))
        angle = -math.pi * lam * self.spacing
        kx, ky = (torch.exp(1j * angle * a).to(transmission.dtype) for a in (ax, ay))
        u = transmission
        for _ in range(self.slices - 1):
            u = torch.fft.ifft2(torch.fft.fft2(u) * kx * ky) * transmission
        spectra: Tensor = torch.fft.fft2(u, norm="forward")
        return spectra


def deviance(counts: Tensor, expected: Tensor) -> Tensor:
    """Twice the log-likelihood that a Poisson model lacks: 2·[n·log(n/λ) − n + λ], each pixel."""
    # Not of the quotient n/λ, whose derivative does not exist where nothing was counted.
    logs = torch.special.xlogy(counts, counts) - torch.special.xlogy(counts, expected)
    found: Tensor = 2 * (logs - counts + expected)
    return found


@lru_cache(maxsize=1)
def _deviance_table() -> tuple[Tensor, Tensor, Tensor]:
    """Log λ, mean and variance of the deviance of Poisson counts, summed over the counts."""
    rate = torch.logspace(-6, 3, 400, dtype=torch.float64)
    n = torch.arange(0, 1500, dtype=torch.float64)
    log_p = torch.special.xlogy(n, rate[:, None]) - rate[:, None] - torch.lgamma(n + 1)
    p, d = log_p.exp(), deviance(n.expand(len(rate), -1), rate[:, None])
    mean = (p * d).sum(1)
    return rate.log(), mean, (p * d**2).sum(1) - mean**2


def expected_deviance(expected: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of each pixel's deviance if the model is true.

    About 1 and 2 where many electrons are expected, other values where few are: summed over the
    Poisson distribution, and interpolated.
    """
    grid, mean, variance = _deviance_table()
    at = expected.double().clamp(1e-6, 1e3).log()
    place = (at - grid[0]) / (grid[1] - grid[0])
    low = place.floor().long().clamp(0, len(grid) - 2)
    part = place - low
    return (
        mean[low] * (1 - part) + mean[low + 1] * part,
        variance[low] * (1 - part) + variance[low + 1] * part,
    )


@dataclass(frozen=True)
class _Problem:
    """Counts, model and prior of one measurement."""

    counts: Tensor  # (M, Rx, Ry)
    model: ExpectedViews
    share: float
    dark: float
    mean: Tensor
    precision: Tensor  # 1/σ²
    trust: Trust = Trust()
    vacuum: float = -math.inf
    recorded: Tensor | None = None  # (Rx, Ry), 1 where counts are known and 0 elsewhere

    def evaluate(
        self, phase: Tensor, gain: Tensor, defocus: Tensor, *, gradient: bool
    ) -> tuple[float, float, float, float]:
        """Return the counts' deviance, its mean and variance, and the prior's part of the loss.

        With `gradient`, derivatives of the whole loss are left in the arguments' ``grad``.
        """
        found = [0.0, 0.0, 0.0]
        transmission = self.model.transmission(phase)
        # One batch of views is differentiated at a time, up to the transmission that they share.
        leaf = transmission.detach().requires_grad_(gradient)
        for views in self.model.batches():
            counts = self.counts[views]
            with torch.set_grad_enabled(gradient):
                model = self.model(leaf, views, defocus=defocus).double()
                expected = self.share * gain * model + self.dark
                part = self._seen(deviance(counts, expected)).sum(dtype=torch.float64)
            if gradient:
                (part / 2).backward()  # type: ignore[no-untyped-call]
            mean, variance = (self._seen(v) for v in expected_deviance(expected.detach()))
            for index, value in enumerate((part, mean.sum(), variance.sum())):
                found[index] += float(value.detach())
        below = (self.vacuum - phase).clamp_min(0)
        own = self.trust.penalty((phase - self.mean).square() * self.precision)
        forbidden = _FORBIDDEN * self.trust.weight / 2 * below.square() * self.precision
        prior = (own + forbidden).sum(dtype=torch.float64)
        if gradient:
            transmission.backward(leaf.grad, retain_graph=True)  # type: ignore[no-untyped-call]
            prior.backward()  # type: ignore[no-untyped-call]
        return found[0], found[1], found[2], float(prior.detach())

    def _seen(self, values: Tensor) -> Tensor:
        return values if self.recorded is None else values * self.recorded


def refine(
    counts: Tensor,
    method: DirectPtychography,
    dose: float,
    prior: Estimate,
    *,
    thickness: float = 0.0,
    slices: int = 1,
    trust: Trust = Trust(),
    dark: float = 1e-3,
    vacuum: float | None = None,
    recorded: Tensor | None = None,
    fit_defocus: bool = False,
    fit_gain: bool = False,
    evaluations: int = EVALUATIONS,
    report: Callable[[int, float], None] | None = None,
) -> Refined:
    """Refine the first stage's image by the counts themselves.

    Parameters
    ----------
    counts : Tensor
        Electrons of every view and position ``(M, Rx, Ry)``, as counted.
    method : DirectPtychography
        Of the measurement; its acquisition counts the defocus from the specimen's middle.
    dose : float
        e⁻/Å², finite.
    prior : Estimate
        The first stage, ``(r·Rx, r·Ry)`` [rad].
    thickness : float
        Of the specimen [Å]; matters with several slices only.
    slices : int
        Of the model.
    trust : Trust
        How far the prior is trusted; by default it is a Gaussian of its own deviation.
    dark : float
        Counts a pixel expected without a beam; above 0, so that a stray electron in a dark pixel
        is not impossible.
    vacuum : float, optional
        Phase of vacuum on the prior's scale [rad], for a projected potential that is nowhere
        negative: what lies below counts ten times as much as the same distance from the prior.
    recorded : Tensor, optional
        Boolean ``(Rx, Ry)``: positions whose counts are known; all of them unless given. A field
        that is not periodic gets a rim of unknown ones (:func:`refine_scan`).
    fit_defocus, fit_gain : bool
        Whether to refine the defocus, and a factor on the dose, along with the image.
    evaluations : int
        Most evaluations of the model and its gradient.
    report : callable, optional
        Called after each with its number and the deviance over its expectation.

    Returns
    -------
    Refined

    Raises
    ------
    ValueError
        If shapes do not fit each other, counts are not counts, or a number is out of range.
    """
    acq = method.acquisition
    method.check_views(counts)
    if (counts < 0).any():
        raise ValueError("counts hold negative values; expected electrons as counted")
    if prior.mean.shape != acq.output_shape(method.upsampling):
        raise ValueError(
            f"the prior has shape {tuple(prior.mean.shape)}; expected "
            f"{acq.output_shape(method.upsampling)}"
        )
    if not (math.isfinite(dark) and dark > 0):
        raise ValueError(f"dark is {dark!r}; expected a positive number")
    if recorded is not None and recorded.shape != acq.scan_shape:
        raise ValueError(
            f"recorded has shape {tuple(recorded.shape)}; expected the scan's, {acq.scan_shape}"
        )
    if vacuum is not None and not math.isfinite(vacuum):
        raise ValueError(f"vacuum is {vacuum!r} rad; expected a finite number, or none")
    if math.isinf(dose):
        raise ValueError("dose is inf e⁻/Å²; the likelihood of counts needs a finite one")
    device = method.device
    share = electrons_per_pixel(dose, acq)
    mean = prior.mean.to(device)
    precision = prior.deviation.to(device).square().reciprocal()
    model = ExpectedViews(acq, method.upsampling, thickness=thickness, slices=slices, device=device)
    lowest = -math.inf if vacuum is None else vacuum
    seen = None if recorded is None else recorded.to(device, torch.float64)
    problem = _Problem(counts.to(device), model, share, dark, mean, precision, trust, lowest, seen)

    # Curvature of the likelihood for a weak phase, frequency by frequency, and of the prior.
    data = share / method.upsampling**2 * method.information().to(device).clamp_min(0)
    flat = trust.weight * float(precision.mean())
    scale = (data + flat).rsqrt().to(torch.float32)
    freedom = float((data / (data + flat)).sum()) + fit_defocus + fit_gain

    z = torch.zeros_like(mean, requires_grad=True)
    extra = torch.zeros(2, device=device, requires_grad=True)
    units = torch.tensor([_DEFOCUS_UNIT * fit_defocus, _GAIN_UNIT * fit_gain], device=device)
    stretch = 1.0

    def unpack() -> tuple[Tensor, Tensor, Tensor]:
        phase = mean + stretch * torch.fft.ifft2(torch.fft.fft2(z) * scale).real
        free = stretch * extra * units
        return phase, torch.exp(free[1]), acq.defocus + free[0]

    history: list[tuple[float, float]] = []  # deviance over its expectation, and excess
    best: tuple[float, int, tuple[Tensor, ...]] = (math.inf, 0, ())
    progress = tqdm(total=evaluations, unit="evaluation", disable=None, leave=False)

    def closure() -> Tensor:
        nonlocal best
        optimiser.zero_grad()
        outer = unpack()
        inner = [t.detach().requires_grad_() for t in outer]
        found, expects, variance, own = problem.evaluate(*inner, gradient=True)
        aim = expects - freedom
        history.append((found / aim, (found - aim) / math.sqrt(variance)))
        progress.update()
        if report is not None:
            report(len(history) - 1, history[-1][0])
        loss = found / 2 + own
        gained = best[0] - loss
        if gained > 0:
            best = (loss, len(history) - 1, tuple(t.detach() for t in inner))
        explained_too_well = history[-1][1] < _OVERFITTED
        if len(history) == evaluations or explained_too_well or 0 <= gained < _SMALL:
            raise _DoneError
        for whole, leaf in zip(outer, inner, strict=True):
            if whole.requires_grad and leaf.grad is not None:
                whole.backward(leaf.grad / stretch**2, retain_graph=True)  # type: ignore[no-untyped-call]
        return torch.tensor(loss / stretch**2, dtype=torch.float64, device=device)

    optimiser = torch.optim.LBFGS(
        [z, extra],
        max_iter=evaluations,
        tolerance_grad=0,
        tolerance_change=0,
        history_size=10,
        line_search_fn="strong_wolfe",
    )
    with contextlib.suppress(_DoneError), progress:
        closure()
        # torch's first step has unit length in the sum of its parts. In variables stretched by
        # the gradient's, it is the whole gradient, which unit curvature makes the right step.
        parts = [t.grad for t in (z, extra) if t.grad is not None]
        stretch = max(1.0, float(sum(t.abs().sum() for t in parts)))
        history.clear()
        best = (math.inf, 0, ())
        optimiser.step(closure)  # type: ignore[no-untyped-call]
    _, index, (phase, gain, defocus) = best
    image = phase - phase.mean()
    first = mean - mean.mean()
    return Refined(
        image,
        (image - first) / prior.deviation.to(device),
        history[index][0],
        history[index][1],
        tuple(ratio for ratio, _ in history),
        float(defocus),
        float(gain),
    )


def refine_scan(
    counts: Tensor | Callable[[slice, slice], Tensor],
    acquisition: Acquisition,
    dose: float,
    prior: Estimate,
    *,
    trust: Trust = Trust(),
    tile: int = 64,
    fit_defocus: bool = False,
    fit_gain: bool = False,
    evaluations: int = EVALUATIONS,
    device: str = "cpu",
    deal: Deal = here,
) -> Refined:
    """Refine a recorded scan, which does not repeat beyond its edge, of any size, tile by tile.

    Each tile lies in a rim whose counts are not known, so what lies outside may be anything.

    Parameters
    ----------
    counts : Tensor or callable
        Electrons of every view and position ``(M, Rx, Ry)``, or a function from two slices of the
        scan to those there.
    acquisition : Acquisition
        Its defocus counted from the specimen's middle.
    dose : float
        e⁻/Å², finite.
    prior : Estimate
        The first stage, ``(r·Rx, r·Ry)`` [rad].
    trust, fit_defocus, fit_gain, evaluations
        As for :func:`refine`.
    tile : int
        Side of a tile [scan positions].
    device : str
        Where to compute; the images come back on the CPU.
    deal : Deal
        Where the tiles are refined (:func:`misr4d.workers.dealing`); by default here.

    Returns
    -------
    Refined
        Deviance, excess and history are those of the tile that is explained worst; defocus and
        gain are means over the tiles.

    Raises
    ------
    ValueError
        As :func:`refine`.
    """
    scan = acquisition.scan_shape
    if not callable(counts) and counts.shape[1:] != scan:
        raise ValueError(
            f"counts have shape {tuple(counts.shape)}; expected (M, {scan[0]}, {scan[1]})"
        )
    if prior.mean.shape != acquisition.output_shape(UPSAMPLING):
        raise ValueError(
            f"the prior has shape {tuple(prior.mean.shape)}; expected "
            f"{acquisition.output_shape(UPSAMPLING)}"
        )
    shape = (min(tile, scan[0]), min(tile, scan[1]))
    own = replace(acquisition, scan_shape=shape)
    # What is not recorded may be anything that the whole field shows.
    least = float(prior.mean.std())
    options = {
        "trust": trust,
        "fit_defocus": fit_defocus,
        "fit_gain": fit_gain,
        "evaluations": evaluations,
    }

    def tasks() -> Iterator[tuple[Any, ...]]:
        for rows, columns in tiles(scan, shape):
            x, y = (slice(UPSAMPLING * s.start, UPSAMPLING * s.stop) for s in (rows, columns))
            # A slice that is sent to a worker would take all of its tensor along.
            first = Estimate(prior.mean[x, y].clone(), prior.deviation[x, y].clone())
            part = counts(rows, columns) if callable(counts) else counts[:, rows, columns].clone()
            yield part, own, dose, first, least, device, options

    parts: list[Refined] = []

    def images() -> Iterator[tuple[Tensor, Tensor]]:
        for part in deal(_refined_tile, tasks()):
            yield part.image, part.moved
            parts.append(replace(part, image=_NOTHING, moved=_NOTHING))

    image, moved = blend_tiles(images(), scan, shape)
    worst = max(parts, key=lambda part: part.excess)
    return replace(
        worst,
        image=image,
        moved=moved,
        defocus=sum(part.defocus for part in parts) / len(parts),
        gain=sum(part.gain for part in parts) / len(parts),
    )


def _refined_tile(
    counts: Tensor,
    acquisition: Acquisition,
    dose: float,
    prior: Estimate,
    least: float,
    device: str,
    options: dict[str, Any],
) -> Refined:
    """Refine one tile in a rim of unknown counts, here or on a worker; the images without it."""
    # As far as a view can show what lies beside it, and a little more for diffraction.
    rim = [math.ceil(acquisition.largest_view_shift / s) + _DIFFRACTED for s in acquisition.step]
    nx, ny = acquisition.scan_shape
    padded = replace(acquisition, scan_shape=(nx + 2 * rim[0], ny + 2 * rim[1]))
    around = (rim[1], rim[1], rim[0], rim[0])
    fine = tuple(UPSAMPLING * n for n in around)
    widest = max(least, float(prior.deviation.max()))
    found = refine(
        functional.pad(counts, around),
        starting_point(padded, device=device),
        dose,
        Estimate(
            functional.pad(prior.mean[None, None], fine, mode="replicate")[0, 0],
            functional.pad(prior.deviation, fine, value=widest),
        ),
        recorded=functional.pad(torch.ones(nx, ny, dtype=torch.bool), around),
        **options,
    )
    inside = tuple(slice(UPSAMPLING * n, -UPSAMPLING * n) for n in rim)
    return replace(found, image=found.image[inside].cpu(), moved=found.moved[inside].cpu())


def as_weak(views: Tensor, model: ExpectedViews, image: Tensor) -> Tensor:
    """Remove from views what an image foretells beyond a weak specimen's response.

    Parameters
    ----------
    views : Tensor
        ``(M, Rx, Ry)``, relative to a fully lit pixel in vacuum.
    model : ExpectedViews
        Of one slice.
    image : Tensor
        Phase ``(r·Rx, r·Ry)`` [rad], on the model's device.

    Raises
    ------
    ValueError
        If the model has several slices.
    """
    if model.slices > 1:
        raise ValueError(f"the model has {model.slices} slices; expected one")
    fine = optics.fourier_resample(image, model.shape)
    blank = torch.ones_like(fine)
    full = torch.polar(blank, fine)
    # With 1 ± iφ the intensity is that of vacuum ± its linear part + the same square.
    plus, vacuum = torch.complex(blank, fine), torch.complex(blank, torch.zeros_like(fine))
    parts = []
    with torch.no_grad():
        for own in model.batches():
            linear = (model(plus, own) - model(plus.conj(), own)) / 2
            parts.append(views[own] - model(full, own) + model(vacuum, own) + linear)
    return torch.cat(parts)


def plug_and_play(
    counts: Tensor,
    method: DirectPtychography,
    dose: float,
    denoise: Callable[[Tensor], Estimate],
    *,
    rounds: int = 3,
    trust: Trust = Trust(),
) -> Refined:
    """Alternate between the network and the electrons, the network counting less each time.

    Parameters
    ----------
    counts, method, dose
        As for :func:`refine`.
    denoise : callable
        From views ``(M, Rx, Ry)`` to the first stage's estimate, such as
        :func:`misr4d.learned.informed` of the method.
    rounds : int
        How often; the first is :func:`refine` alone.
    trust : Trust
        Of the first round; the weight is halved in every other.

    Raises
    ------
    ValueError
        As :func:`refine`, or if there is no round.
    """
    if rounds < 1:
        raise ValueError(f"rounds is {rounds}; expected 1 or more")
    model = ExpectedViews(method.acquisition, method.upsampling, device=method.device)
    views = counts.to(method.device) / electrons_per_pixel(dose, method.acquisition)
    found = refine(counts, method, dose, denoise(views), trust=trust)
    for number in range(1, rounds):
        prior = denoise(as_weak(views, model, found.image))
        less = replace(trust, weight=trust.weight / 2**number)
        found = refine(counts, method, dose, prior, trust=less)
    return found
