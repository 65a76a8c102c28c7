"""Examples to train on: simulated specimens that never repeat, at a dose drawn at random."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, lru_cache, partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from misr4d.core.acquisition import REGIMES, UPSAMPLING
from misr4d.core.dose import add_detector_noise, electrons_per_pixel
from misr4d.core.files import whole_file
from misr4d.core.keys import result_key
from misr4d.learn.configuration import DEFOCI, MOST_EXAMPLES, Training, acquisition_of
from misr4d.learn.networks import NETWORKS, direct_features
from misr4d.reconstruction.direct import AMPLITUDE_CONTRAST, DirectPtychography, Statistic
from misr4d.simulate.reciprocity import simulate_views
from misr4d.specimens.corpus import draw_specimen
from misr4d.specimens.fetch import cache_folder
from misr4d.specimens.potential import project_atoms, truth

__all__ = [
    "DETECTOR_BIAS",
    "draw_condition",
    "draw_maps",
    "draw_views",
    "example",
    "generator_of",
    "prepare",
    "quick_counts",
    "simulate_example",
    "symmetric",
]

# Wave-field sampling [Å], thinnest slice [Å] and most slices. A simulation for training may be
# coarser than one for a figure: what it misses is far below the noise.
_SIMULATION = {"atomic": (1 / 3, 2.0, 24), "molecular": (256 / 480, 25.0, 6)}

DETECTOR_BIAS = 0.5
"""Deviation of a pixel's constant offset, as a share of its Gaussian noise's (our choice)."""


@lru_cache(maxsize=16)
def _method(regime: str, kernel: int, device: str) -> DirectPtychography:
    return DirectPtychography(
        acquisition_of(regime, kernel),
        UPSAMPLING,
        aliases=UPSAMPLING,
        amplitude_contrast=AMPLITUDE_CONTRAST[regime],
        device=device,
    )


def _example_path(regime: str, seed: int, index: int, defocus_error: float) -> Path:
    name = f"{regime}-{seed}-{defocus_error!r}-{index}.npz"
    return cache_folder() / "corpus" / result_key(simulate_example, data=()) / name


def simulate_example(
    regime: str, seed: int, index: int, *, defocus_error: float = 0.01, device: str = "cpu"
) -> dict[str, Tensor]:
    """Simulate a specimen's views at infinite dose, and what direct ptychography takes from them.

    Parameters
    ----------
    regime : {"atomic", "molecular"}
    seed, index : int
        As for :func:`misr4d.specimens.corpus.draw_specimen`.
    defocus_error : float
        Standard deviation of the relative difference between the true defocus and the one that
        the reconstruction assumes.
    device : str
        Where to compute; the result is in memory.

    Returns
    -------
    dict
        ``views`` (float16 ``(M, 64, 64)``), ``truth`` (float32 ``(192, 192)``, rad), ``score`` and
        ``misfit`` (the statistic at infinite dose), ``intensity`` (mean of the views, relative to
        vacuum).
    """
    specimen = draw_specimen(regime, seed, index)
    cell = specimen.atoms.cell.lengths()
    sampling, thinnest, most_slices = _SIMULATION[regime]
    slices = min(most_slices, max(1, math.ceil(cell[2] / thinnest)))
    potential = project_atoms(
        specimen.atoms.numbers,
        specimen.atoms.positions,
        (float(cell[0]), float(cell[1])),
        (round(cell[0] / sampling), round(cell[1] / sampling)),
        (float(cell[2]) / slices,) * slices,
        device=device,
    )
    kernel = index % len(DEFOCI[regime])
    assumed_acquisition = acquisition_of(regime, kernel)
    error = np.random.default_rng([seed, index, 7]).normal(0, defocus_error)
    true_acquisition = replace(
        assumed_acquisition, defocus=assumed_acquisition.defocus * (1 + error) + float(cell[2]) / 2
    )
    views = simulate_views(potential, true_acquisition, device=device)
    statistic = _method(regime, kernel, device).statistic(views)
    return {
        "views": views.cpu().half(),
        "truth": truth(potential, assumed_acquisition, UPSAMPLING).cpu(),
        "score": statistic.score[0].cpu(),
        "misfit": statistic.noise[0].cpu(),
        "intensity": assumed_acquisition.relative_to_vacuum(views).mean().cpu(),
    }


def example(
    regime: str, seed: int, index: int, *, defocus_error: float = 0.01, device: str = "cpu"
) -> Path:
    """Make an example or reuse the stored one: an npz of what :func:`simulate_example` returns."""
    path = _example_path(regime, seed, index, defocus_error)
    if path.is_file():
        return path
    arrays = simulate_example(regime, seed, index, defocus_error=defocus_error, device=device)
    with whole_file(path) as temporary:
        np.savez(temporary, **{k: v.numpy() for k, v in arrays.items()})
    return path


@lru_cache(maxsize=MOST_EXAMPLES)
def _fresh_example(
    regime: str, seed: int, index: int, defocus_error: float, device: str
) -> dict[str, Tensor]:
    return simulate_example(regime, seed, index, defocus_error=defocus_error, device=device)


def _work(task: tuple[str, int, int, float, str]) -> None:
    torch.set_num_threads(1)
    regime, seed, index, error, device = task
    example(regime, seed, index, defocus_error=error, device=device)


def prepare(config: Training, workers: int | None = None, device: str = "cpu") -> None:
    """Simulate a run's specimens beforehand, in parallel; what is there already is kept.

    Raises
    ------
    ValueError
        If the run never repeats a specimen: there is no end to what it would prepare.
    """
    if config.specimens == 0:
        raise ValueError("specimens is 0, an endless supply; give a number of them to prepare")
    tasks = [
        (regime, config.seed, index, config.defocus_error, device)
        for index in range(config.specimens)
        for regime in _regimes(config)
        if index < _supply(config, regime)
        and not _example_path(regime, config.seed, index, config.defocus_error).is_file()
    ]
    if not tasks:
        return
    count = workers or os.cpu_count() or 1
    with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as pool:
        for _ in tqdm(pool.map(_work, tasks), total=len(tasks), unit="specimen", disable=None):
            pass


def _regimes(config: Training) -> list[str]:
    fractions = {"atomic": 1 - config.molecular, "molecular": config.molecular}
    return [regime for regime in REGIMES if fractions[regime] > 0]


def _supply(config: Training, regime: str) -> int:
    """Distinct specimens of a regime at one time: fewer molecules, each larger and slower."""
    fraction = 1.0 if regime == "atomic" else 0.2
    return max(len(DEFOCI[regime]), round((config.specimens or config.pool) * fraction))


def _first(config: Training, regime: str, step: int) -> int:
    """First specimen that an endless supply holds at a step."""
    if config.specimens:
        return 0
    return math.floor(step * config.renewed * _supply(config, regime) / config.pool)


@lru_cache(maxsize=6000)
def _load(path: Path, name: str) -> Tensor:
    with np.load(path, allow_pickle=False) as stored:
        return torch.from_numpy(np.asarray(stored[name]))


def generator_of(*key: int) -> torch.Generator:
    """Return a generator that follows from numbers, such as seed, step and rank."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def _uniform(generator: torch.Generator, low: float = 0.0, high: float = 1.0) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))


_SURE = 12.0  # counts above which the corrected normal quantile replaces Poisson's


def quick_counts(expected: Tensor, generator: torch.Generator) -> Tensor:
    """Draw Poisson counts for training, up to three times as fast as ``torch.poisson``.

    Where few are expected, the draws are exact within float32. Where a part of the views expects
    twelve or more throughout, the quantile of a normal distribution is rounded, with the
    corrections of Cornish and Fisher (Rev. Inst. Int. Stat. 5, 307, 1938) up to the kurtosis: that
    differs from Poisson's distribution by at most 0.2 % in total variation. Scored counts come from
    :func:`misr4d.core.dose.expose`.

    Parameters
    ----------
    expected : Tensor
        Expected counts ``(M, ...)``, float32, not negative; on a GPU all are drawn exactly.
    generator : torch.Generator
        Of the same device.

    Returns
    -------
    Tensor
        Whole numbers, float32, of the same shape.
    """
    if expected.device.type != "cpu":
        return torch.poisson(expected, generator=generator)
    return torch.cat([_count_part(chunk, generator) for chunk in torch.split(expected, 16)])


def _count_part(mean: Tensor, generator: torch.Generator) -> Tensor:
    lowest, highest = (float(value) for value in mean.aminmax())
    if lowest >= _SURE:
        z = torch.randn(mean.shape, generator=generator)
        deviation = (mean - 1 / 12).sqrt()  # rounding adds the other twelfth
        square = z.square()
        third = z * ((square - 3) / 24 - (2 * square - 5) / 36)
        return (mean + deviation * z + (square - 1) / 6 + third / deviation).round_().clamp_min_(0)
    if not 1 <= highest <= 2 * _SURE:
        return torch.poisson(mean, generator=generator)
    uniform = torch.rand(mean.shape, generator=generator).clamp_min_(4e-6)
    term = torch.exp(-mean)
    cumulative = term.clone()
    counts, step = torch.zeros_like(mean), torch.empty_like(mean)
    for number in range(1, math.ceil(highest + 6 * math.sqrt(highest) + 8)):
        # 1 where the chance is not yet reached, 0 elsewhere: a comparison would be slower.
        counts += torch.sub(uniform, cumulative, out=step).ceil_()
        cumulative += term.mul_(mean).mul_(1 / number)
    return counts


@dataclass(frozen=True)
class _Draw:
    """One sample's specimen and noise."""

    load: Callable[[str], Tensor]
    index: int
    dose: float
    detector: float
    vacuum: bool


def _draw(
    config: Training, regime: str, kernel: int, step: int, generator: torch.Generator, device: str
) -> _Draw:
    """Draw a specimen that was measured at a defocus, a dose, and the detector's noise."""
    kernels = len(DEFOCI[regime])
    number = int(torch.randint(_supply(config, regime) // kernels, (), generator=generator))
    index = (number + _first(config, regime, step) // kernels) * kernels + kernel
    noise_generator = generator if config.fresh_noise else generator_of(config.seed, index)
    low, high = (math.log(d) for d in config.doses)
    dose = (
        math.inf
        if _uniform(noise_generator) < config.infinite
        else math.exp(_uniform(noise_generator, low, high))
    )
    detector = (
        _uniform(noise_generator, 0, config.detector_noise)
        if _uniform(noise_generator) < 1 / 3
        else 0.0
    )
    empty = _uniform(noise_generator) < config.vacuum  # drawn for every network
    vacuum = empty and NETWORKS[config.network].trained_on_vacuum
    key = (regime, config.seed, index)
    if config.specimens:
        path = example(*key, defocus_error=config.defocus_error, device=device)
        return _Draw(partial(_load, path), index, dose, detector, vacuum)
    arrays = _fresh_example(*key, config.defocus_error, device)
    return _Draw(arrays.__getitem__, index, dose, detector, vacuum)


def draw_condition(config: Training, generator: torch.Generator) -> tuple[str, int]:
    """Draw what samples share: their regime, and the number of their defocus.

    The number is that in :data:`misr4d.learn.configuration.DEFOCI`.
    """
    regime = "molecular" if _uniform(generator) < config.molecular else "atomic"
    return regime, int(torch.randint(len(DEFOCI[regime]), (), generator=generator))


def _turned(images: Tensor, turn: int, roll: tuple[int, int]) -> Tensor:
    """Apply one of a square's eight symmetries about pixel (0, 0), then a shift ``(..., X, Y)``."""
    if turn & 1:
        images = torch.roll(images.flip(-1), 1, -1)
    if turn & 2:
        images = torch.roll(images.flip(-2), 1, -2)
    if turn & 4:
        images = images.mT
    return torch.roll(images, roll, (-2, -1))


def _symmetry(generator: torch.Generator) -> tuple[int, tuple[int, int]]:
    symmetry = int(torch.randint(8, (), generator=generator))
    roll = torch.randint(64, (2,), generator=generator).tolist()
    return symmetry, (roll[0], roll[1])


def symmetric(images: Tensor, generator: torch.Generator) -> Tensor:
    """Turn, mirror and shift images ``(..., 3·R, 3·R)`` alike, by a whole number of steps."""
    turn = int(torch.randint(8, (), generator=generator))
    positions = images.shape[-1] // UPSAMPLING
    roll = torch.randint(positions, (2,), generator=generator).tolist()
    return _turned(images, turn, (roll[0] * UPSAMPLING, roll[1] * UPSAMPLING))


def draw_maps(
    config: Training, count: int, step: int, generator: torch.Generator, device: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw samples that share regime and defocus, as direct ptychography shows them.

    Parameters
    ----------
    config : Training
    count : int
        Number of samples N.
    step : int
        Of the training.
    generator : torch.Generator
        On the CPU.
    device : str
        Of what is returned.

    Returns
    -------
    maps : Tensor
        ``(N, 3, 192, 192)``, as from :func:`misr4d.learn.networks.direct_features`.
    scan_step : Tensor
        ``(N,)`` [Å].
    truth : Tensor
        ``(N, 192, 192)`` [rad], of zero mean.
    """
    regime, kernel = draw_condition(config, generator)
    method = _method(regime, kernel, device)
    acquisition = acquisition_of(regime, kernel)
    draws = [_draw(config, regime, kernel, step, generator, device) for _ in range(count)]
    positions = math.prod(acquisition.scan_shape)
    # What the detector adds weighs more where fewer electrons are counted: in the mean of views.
    detector_noise_factor = float((1 / acquisition.view_illumination).mean())
    scores, variances, misfits, targets = [], [], [], []
    for sample in draws:
        score, target = sample.load("score"), sample.load("truth")
        intensity, misfit = float(sample.load("intensity")), float(sample.load("misfit"))
        if sample.vacuum:
            score, target, intensity, misfit = (
                torch.zeros_like(score),
                torch.zeros_like(target),
                1.0,
                1e-16,
            )
        electrons = electrons_per_pixel(sample.dose, acquisition)
        # Poisson counts, and the detector's own noise, in units of a fully lit pixel.
        noise_variance = (
            intensity / electrons + detector_noise_factor * (sample.detector / electrons) ** 2
        )
        variances.append(noise_variance / positions)
        scores.append(score)
        misfits.append(misfit)
        targets.append(target)
    variance = torch.tensor(variances)
    noise = method.draw_noise(variance, generator)
    statistic = Statistic(
        torch.stack(scores).to(device) + noise, (torch.tensor(misfits) + variance).to(device)
    )
    maps, scan_step = direct_features(method, statistic)
    target = torch.stack(targets).to(device)
    maps_and_target = torch.cat([maps, (target - target.mean((-2, -1), keepdim=True))[:, None]], 1)
    stacked = torch.stack([symmetric(sample, generator) for sample in maps_and_target])
    return stacked[:, :-1], scan_step, stacked[:, -1]


@cache
def _view_order(regime: str, turn: int) -> Tensor:
    """Which view takes each view's place when the scan is turned."""
    frequencies = acquisition_of(regime, 0).view_frequencies
    turned_frequencies = frequencies.clone()
    if turn & 4:
        turned_frequencies = turned_frequencies.flip(1)
    if turn & 2:
        turned_frequencies[:, 0] *= -1
    if turn & 1:
        turned_frequencies[:, 1] *= -1
    return torch.cdist(turned_frequencies, frequencies).argmin(1)


def draw_views(
    config: Training,
    condition: tuple[str, int],
    step: int,
    generator: torch.Generator,
    device: str,
    chosen: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Draw one sample's noisy views and its truth.

    Parameters
    ----------
    config : Training
    condition : (str, int)
        Regime and defocus, as from :func:`draw_condition`.
    step : int
        Of the training.
    generator : torch.Generator
        On the CPU.
    device : str
        Of what is returned.
    chosen : Tensor, optional
        Numbers of the views to return; all of them unless given.

    Returns
    -------
    views : Tensor
        ``(M, 64, 64)``, relative to a fully lit pixel in vacuum.
    truth : Tensor
        ``(192, 192)`` [rad], of zero mean.
    """
    regime, kernel = condition
    acquisition = acquisition_of(regime, kernel)
    draw = _draw(config, regime, kernel, step, generator, device)
    symmetry, roll = _symmetry(generator)
    views = draw.load("views").to(device).float()
    if math.isfinite(draw.dose):
        electrons = electrons_per_pixel(draw.dose, acquisition)
        noise_generator = generator
        if not config.fresh_noise:
            noise_generator = generator_of(config.seed, draw.index, 1)
        if device != "cpu":  # draws on the device, since drawing on the CPU would take longest
            seed = int(torch.randint(2**62, (), generator=noise_generator))
            noise_generator = torch.Generator(device).manual_seed(seed)
        views = quick_counts(views * electrons, noise_generator) / electrons
        if draw.detector:
            bias = DETECTOR_BIAS * draw.detector
            views = add_detector_noise(views, electrons, draw.detector, bias, noise_generator)
    views = acquisition.relative_to_vacuum(views)[_view_order(regime, symmetry)]
    if chosen is not None:
        views = views[chosen]
    target = draw.load("truth").to(device)
    target = _turned(target - target.mean(), symmetry, (roll[0] * UPSAMPLING, roll[1] * UPSAMPLING))
    return _turned(views, symmetry, roll), target
