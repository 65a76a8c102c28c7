"""Phase retrieval under a learned prior: the first stage proposes, the electrons decide.

The first stage is an image with a standard deviation for each pixel. The result is the phase φ
that is most likely given this image and the counts n of every view and position:

    minimise  Σ [λ(φ) − n·log λ(φ)]  +  w/2 · Σ t²·log(1 + u²/t²),   u = (φ − μ)/σ,

λ being the electrons that a multislice of φ expects (the Poisson likelihood of the raw counts) and
μ, σ the first stage's mean and deviation. Near the first stage the prior is a Gaussian of variance
σ²/w; beyond t deviations it is Cauchy's, which yields to the data. Noise, which is small
everywhere, then changes nothing, and a column that the first stage removed, which is far off in a
few pixels, is restored. An infinite t is the Gaussian at any distance.

It is solved in variables in which both terms together have about unit curvature, known in closed
form for a weak phase, so that a few steps of L-BFGS suffice. It ends where nothing changes any
more, or earlier if the counts are explained better than their own noise allows (the discrepancy
principle; Morozov 1966): further steps would only fit noise.

The first stage has seen the same electrons, so its deviation is no independent prior. How far it is
to be trusted, w and t, was chosen on specimens that no page scores
(:func:`misr4d.reconstruction.tuned.prior_strength`).

:func:`plug_and_play` asks the network again after every refinement, about views from which the
refined image has removed what is not linear. Chapter 12 of the book measures both.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from misr4d.core import optics
from misr4d.core.acquisition import UPSAMPLING, Acquisition
from misr4d.core.dose import electrons_per_pixel
from misr4d.core.estimate import Estimate, blend_tiles, tiles
from misr4d.core.workers import TaskPool, in_this_process
from misr4d.reconstruction.deviance import deviance, deviance_curvature, predicted_deviance
from misr4d.reconstruction.direct import DirectPtychography, starting_point
from misr4d.reconstruction.forward import ExpectedViews
from misr4d.reconstruction.freedom import Freedom

__all__ = [
    "EVALUATIONS",
    "PriorStrength",
    "Refined",
    "as_weak",
    "plug_and_play",
    "refine",
    "refine_scan",
]

EVALUATIONS = 15
"""Most evaluations of the model: our choice, beyond which little is gained for the time."""

_OVERFITTED = -3.0  # standard deviations: our choice
_FORBIDDEN = 10.0  # times the prior's weight, for what lies below vacuum: our choice
_DIFFRACTED = 3  # scan positions
_SMALL = 2.0  # a step that gains less log-likelihood ends it: our choice
_DEFOCUS_UNIT, _GAIN_UNIT = 1.0, 1e-3  # Å, and a relative one: sizes of a step of one
_NOTHING = torch.empty(0)


class _DoneError(Exception):
    """No further step."""


@dataclass(frozen=True)
class PriorStrength:
    """How far a first stage is trusted.

    Parameters
    ----------
    weight : float
        w, on the inverse of its variance; 1 uses the deviation as it is stated.
    tail : float
        t, the number of deviations beyond which it yields to the data; ``inf`` is a Gaussian prior.

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
    """The first stage's image after its refinement by the electrons.

    Parameters
    ----------
    image : Tensor
        ``(r·Rx, r·Ry)`` [rad], of zero mean.
    change : Tensor
        How far the data changed the image, over the first stage's deviation, same shape.
    deviance : float
        Deviance of the counts over its expectation: 1 if this image explains the electrons.
    deviance_z : float
        The same difference in standard deviations; above about 5 the image, or what was assumed of
        the measurement, does not explain the electrons.
    history : tuple of float
        Deviance over its expectation after every step; the first is the first stage's own.
    defocus, gain : float
        As refined, or as given [Å].
    """

    image: Tensor
    change: Tensor
    deviance: float
    deviance_z: float
    history: tuple[float, ...]
    defocus: float
    gain: float

    @property
    def warning(self) -> str | None:
        """One line if the image does not explain the electrons."""
        if self.deviance_z < 5:
            return None
        return (
            f"the counts deviate {self.deviance:.4f} times as much as this image explains "
            f"({self.deviance_z:.0f} standard deviations too much): check defocus, rotation, "
            "thickness and dose, or do not trust it"
        )


@dataclass(frozen=True)
class _Problem:
    """Counts, model and prior of one measurement."""

    counts: Tensor  # (M, Rx, Ry)
    model: ExpectedViews
    electrons: float  # of a fully lit pixel at a position
    dark: float
    mean: Tensor
    precision: Tensor  # 1/σ²
    strength: PriorStrength = PriorStrength()
    lower_phase: float = -math.inf
    scan_mask: Tensor | None = None  # (Rx, Ry), 1 where counts are known and 0 elsewhere

    def evaluate(
        self, phase: Tensor, gain: Tensor, defocus: Tensor, *, gradient: bool
    ) -> tuple[float, float, float, float]:
        """Return the counts' deviance, its mean and variance, and the prior's part of the loss.

        With `gradient`, derivatives of the whole loss are stored in the arguments' ``grad``.
        """
        totals = [0.0, 0.0, 0.0]
        transmission = self.model.transmission(phase)
        # One batch of views is differentiated at a time, up to the transmission that they share.
        leaf = transmission.detach().requires_grad_(gradient)
        for views in self.model.batches():
            counts = self.counts[views]
            with torch.set_grad_enabled(gradient):
                model = self.model(leaf, views, defocus=defocus).double()
                expected = self.electrons * gain * model + self.dark
                batch_deviance = self._seen(deviance(counts, expected)).sum(dtype=torch.float64)
            if gradient:
                (batch_deviance / 2).backward()  # type: ignore[no-untyped-call]
            mean, variance = (self._seen(v) for v in predicted_deviance(counts, expected.detach()))
            for index, value in enumerate((batch_deviance, mean.sum(), variance.sum())):
                totals[index] += float(value.detach())
        below_vacuum = (self.lower_phase - phase).clamp_min(0)
        prior_penalty = self.strength.penalty((phase - self.mean).square() * self.precision)
        vacuum_penalty = (
            _FORBIDDEN * self.strength.weight / 2 * below_vacuum.square() * self.precision
        )
        prior = (prior_penalty + vacuum_penalty).sum(dtype=torch.float64)
        if gradient:
            transmission.backward(leaf.grad, retain_graph=True)  # type: ignore[no-untyped-call]
            prior.backward()  # type: ignore[no-untyped-call]
        return totals[0], totals[1], totals[2], float(prior.detach())

    def _seen(self, values: Tensor) -> Tensor:
        return values if self.scan_mask is None else values * self.scan_mask


def refine(
    counts: Tensor,
    method: DirectPtychography,
    dose: float,
    prior: Estimate,
    *,
    thickness: float = 0.0,
    slices: int = 1,
    strength: PriorStrength = PriorStrength(),
    dark: float = 1e-4,
    lower_phase: float | None = None,
    scan_mask: Tensor | None = None,
    independent: bool = False,
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
    strength : PriorStrength
        How far the prior is trusted; by default it is a Gaussian of its own deviation.
    dark : float
        Counts a pixel expected without a beam; above 0, so that a stray electron in a dark pixel
        is not impossible, and so few that they do not enter ``deviance_z``.
    lower_phase : float, optional
        Phase of vacuum on the prior's scale [rad], for a projected potential that is nowhere
        negative: what lies below counts ten times as much as the same distance from the prior.
    scan_mask : Tensor, optional
        Boolean ``(Rx, Ry)``: positions whose counts are known; all of them unless given. A field
        that is not periodic gets a rim of unknown ones (:func:`refine_scan`).
    independent : bool
        Whether the prior was made without these counts. One that has seen them fits their noise
        already, and ``deviance_z`` has to know.
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
    if scan_mask is not None and scan_mask.shape != acq.scan_shape:
        raise ValueError(
            f"scan_mask has shape {tuple(scan_mask.shape)}; expected the scan's, {acq.scan_shape}"
        )
    if lower_phase is not None and not math.isfinite(lower_phase):
        raise ValueError(f"lower_phase is {lower_phase!r} rad; expected a finite number, or none")
    if math.isinf(dose):
        raise ValueError("dose is inf e⁻/Å²; the likelihood of counts needs a finite one")
    device = method.device
    electrons = electrons_per_pixel(dose, acq)
    mean = prior.mean.to(device)
    precision = prior.deviation.to(device).square().reciprocal()
    model = ExpectedViews(acq, method.upsampling, thickness=thickness, slices=slices, device=device)
    lowest = -math.inf if lower_phase is None else lower_phase
    position_mask = None if scan_mask is None else scan_mask.to(device, torch.float64)
    problem = _Problem(
        counts.to(device), model, electrons, dark, mean, precision, strength, lowest, position_mask
    )

    # Curvature of the likelihood for a weak phase, frequency by frequency, and of the prior.
    data_curvature = electrons / method.upsampling**2 * method.information().to(device).clamp_min(0)
    prior_curvature = strength.weight * float(precision.mean())
    scale = (data_curvature + prior_curvature).rsqrt().to(torch.float32)
    freedom = Freedom(
        data_curvature,
        _seen_fraction(acq, position_mask, mean),
        precision,
        strength.weight,
        strength.tail,
        deviance_curvature(electrons),
        independent,
    )

    z = torch.zeros_like(mean, requires_grad=True)
    defocus_and_gain = torch.zeros(2, device=device, requires_grad=True)
    units = torch.tensor([_DEFOCUS_UNIT * fit_defocus, _GAIN_UNIT * fit_gain], device=device)
    stretch = 1.0

    def unpack() -> tuple[Tensor, Tensor, Tensor]:
        phase = mean + stretch * torch.fft.ifft2(torch.fft.fft2(z) * scale).real
        changes = stretch * defocus_and_gain * units
        return phase, torch.exp(changes[1]), acq.defocus + changes[0]

    history: list[tuple[float, float]] = []  # deviance over its expectation, and deviance_z
    best: tuple[float, int, tuple[Tensor, ...]] = (math.inf, 0, ())
    progress = tqdm(total=evaluations, unit="evaluation", disable=None, leave=False)

    def closure() -> Tensor:
        nonlocal best
        optimiser.zero_grad()
        parameters = unpack()
        leaves = [t.detach().requires_grad_() for t in parameters]
        total_deviance, expected_total, variance, prior_loss = problem.evaluate(
            *leaves, gradient=True
        )
        squared_change = (leaves[0].detach() - mean).square() * precision
        aim = expected_total - freedom(squared_change) - fit_defocus - fit_gain
        history.append((total_deviance / aim, (total_deviance - aim) / math.sqrt(variance)))
        progress.update()
        if report is not None:
            report(len(history) - 1, history[-1][0])
        loss = total_deviance / 2 + prior_loss
        improvement = best[0] - loss
        if improvement > 0:
            best = (loss, len(history) - 1, tuple(t.detach() for t in leaves))
        explained_too_well = history[-1][1] < _OVERFITTED
        if len(history) == evaluations or explained_too_well or 0 <= improvement < _SMALL:
            raise _DoneError
        for parameter, leaf in zip(parameters, leaves, strict=True):
            if parameter.requires_grad and leaf.grad is not None:
                parameter.backward(leaf.grad / stretch**2, retain_graph=True)  # type: ignore[no-untyped-call]
        return torch.tensor(loss / stretch**2, dtype=torch.float64, device=device)

    optimiser = torch.optim.LBFGS(
        [z, defocus_and_gain],
        max_iter=evaluations,
        tolerance_grad=0,
        tolerance_change=0,
        history_size=10,
        line_search_fn="strong_wolfe",
    )
    with contextlib.suppress(_DoneError), progress:
        closure()
        # torch's first step has an L1 norm of one. In variables stretched by the gradient's L1 norm
        # it is the whole gradient, which is the right step at unit curvature.
        gradients = [t.grad for t in (z, defocus_and_gain) if t.grad is not None]
        stretch = max(1.0, float(sum(t.abs().sum() for t in gradients)))
        history.clear()
        best = (math.inf, 0, ())
        optimiser.step(closure)  # type: ignore[no-untyped-call]
    _, index, (phase, gain, defocus) = best
    image = phase - phase.mean()
    first_image = mean - mean.mean()
    return Refined(
        image,
        (image - first_image) / prior.deviation.to(device),
        history[index][0],
        history[index][1],
        tuple(ratio for ratio, _ in history),
        float(defocus),
        float(gain),
    )


def _seen_fraction(acquisition: Acquisition, scan_mask: Tensor | None, image: Tensor) -> Tensor:
    """Share of the views that see each pixel of an image from a recorded position, same shape."""
    if scan_mask is None:
        return torch.ones_like(image)
    factor = image.shape[0] // acquisition.scan_shape[0]
    fine_mask = scan_mask.repeat_interleave(factor, 0).repeat_interleave(factor, 1)
    view_count = torch.zeros_like(fine_mask)
    for shift in (acquisition.registering_shifts / torch.tensor(acquisition.step)).tolist():
        view_count += fine_mask.roll((round(factor * shift[0]), round(factor * shift[1])), (0, 1))
    return (view_count / len(acquisition.registering_shifts)).to(image.dtype)


def refine_scan(
    counts: Tensor | Callable[[slice, slice], Tensor],
    acquisition: Acquisition,
    dose: float,
    prior: Estimate,
    *,
    strength: PriorStrength = PriorStrength(),
    tile: int = 64,
    independent: bool = False,
    fit_defocus: bool = False,
    fit_gain: bool = False,
    evaluations: int = EVALUATIONS,
    device: str = "cpu",
    pool: TaskPool = in_this_process,
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
    strength, independent, fit_defocus, fit_gain, evaluations
        As for :func:`refine`.
    tile : int
        Side of a tile [scan positions].
    device : str
        Where to compute; the images come back on the CPU.
    pool : TaskPool
        Where the tiles are refined (:func:`misr4d.core.workers.task_pool`); by default in this
        process.

    Returns
    -------
    Refined
        ``deviance``, ``deviance_z`` and ``history`` are those of the tile that is explained worst;
        defocus and gain are means over the tiles.

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
    upsampling = max(1, prior.mean.shape[0] // scan[0])
    if prior.mean.shape != acquisition.output_shape(upsampling):
        raise ValueError(
            f"the prior has shape {tuple(prior.mean.shape)}; expected a whole number of pixels "
            f"per position, the same along both axes: {acquisition.output_shape(UPSAMPLING)}"
        )
    shape = (min(tile, scan[0]), min(tile, scan[1]))
    tile_acquisition = replace(acquisition, scan_shape=shape)
    # Where nothing is recorded the phase may vary as much as in the whole field.
    least_deviation = float(prior.mean.std())
    options = {
        "strength": strength,
        "independent": independent,
        "fit_defocus": fit_defocus,
        "fit_gain": fit_gain,
        "evaluations": evaluations,
    }

    def tasks() -> Iterator[tuple[Any, ...]]:
        for rows, columns in tiles(scan, shape):
            x, y = (slice(upsampling * s.start, upsampling * s.stop) for s in (rows, columns))
            # Copies, since a slice that is sent to a worker would take its whole tensor along.
            tile_prior = Estimate(prior.mean[x, y].clone(), prior.deviation[x, y].clone())
            tile_counts = (
                counts(rows, columns) if callable(counts) else counts[:, rows, columns].clone()
            )
            yield tile_counts, tile_acquisition, dose, tile_prior, least_deviation, device, options

    refined_tiles: list[Refined] = []

    def images() -> Iterator[tuple[Tensor, Tensor]]:
        for refined_tile in pool(_refined_tile, tasks()):
            yield refined_tile.image, refined_tile.change
            refined_tiles.append(replace(refined_tile, image=_NOTHING, change=_NOTHING))

    image, change = blend_tiles(images(), scan, shape, upsampling=upsampling)
    worst_tile = max(refined_tiles, key=lambda part: part.deviance_z)
    return replace(
        worst_tile,
        image=image,
        change=change,
        defocus=sum(refined_tile.defocus for refined_tile in refined_tiles) / len(refined_tiles),
        gain=sum(refined_tile.gain for refined_tile in refined_tiles) / len(refined_tiles),
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
    # The largest displacement of a view, and a little more for diffraction.
    rim = [math.ceil(acquisition.largest_view_shift / s) + _DIFFRACTED for s in acquisition.step]
    nx, ny = acquisition.scan_shape
    padded = replace(acquisition, scan_shape=(nx + 2 * rim[0], ny + 2 * rim[1]))
    padding = (rim[1], rim[1], rim[0], rim[0])
    upsampling = prior.mean.shape[0] // nx
    fine_padding = tuple(upsampling * n for n in padding)
    largest_deviation = max(least, float(prior.deviation.max()))
    refined = refine(
        functional.pad(counts, padding),
        starting_point(padded, upsampling, device=device),
        dose,
        Estimate(
            functional.pad(prior.mean[None, None], fine_padding, mode="replicate")[0, 0],
            functional.pad(prior.deviation, fine_padding, value=largest_deviation),
        ),
        scan_mask=functional.pad(torch.ones(nx, ny, dtype=torch.bool), padding),
        **options,
    )
    window = tuple(slice(upsampling * n, -upsampling * n) for n in rim)
    return replace(refined, image=refined.image[window].cpu(), change=refined.change[window].cpu())


def as_weak(views: Tensor, model: ExpectedViews, image: Tensor) -> Tensor:
    """Remove from views what an image predicts beyond a weak specimen's response.

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
    fine_phase = optics.fourier_resample(image, model.shape)
    ones = torch.ones_like(fine_phase)
    strong_transmission = torch.polar(ones, fine_phase)
    # With 1 ± iφ the intensity is that of vacuum ± its linear part + the same square.
    weak_transmission, vacuum = (
        torch.complex(ones, fine_phase),
        torch.complex(ones, torch.zeros_like(fine_phase)),
    )
    weak_views = []
    with torch.no_grad():
        for batch in model.batches():
            linear = (model(weak_transmission, batch) - model(weak_transmission.conj(), batch)) / 2
            weak_views.append(
                views[batch] - model(strong_transmission, batch) + model(vacuum, batch) + linear
            )
    return torch.cat(weak_views)


def plug_and_play(
    counts: Tensor,
    method: DirectPtychography,
    dose: float,
    denoise: Callable[[Tensor], Estimate],
    *,
    rounds: int = 3,
    strength: PriorStrength = PriorStrength(),
) -> Refined:
    """Alternate between the network and the electrons, the network counting less each time.

    Parameters
    ----------
    counts, method, dose
        As for :func:`refine`.
    denoise : callable
        From views ``(M, Rx, Ry)`` to the first stage's estimate, such as
        :func:`misr4d.learn.learned.informed` of the method.
    rounds : int
        How often; the first is :func:`refine` alone.
    strength : PriorStrength
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
    refined = refine(counts, method, dose, denoise(views), strength=strength)
    for round_number in range(1, rounds):
        prior = denoise(as_weak(views, model, refined.image))
        weaker_strength = replace(strength, weight=strength.weight / 2**round_number)
        refined = refine(counts, method, dose, prior, strength=weaker_strength)
    return refined
