"""Train a network on specimens that never repeat: ``misr4d train --preset cpu``.

Everything random follows from seed, step and rank, so that a run that was killed goes on from its
last checkpoint to the very weights that it would have reached.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import os
import re
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from functools import cache, lru_cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from misr4d.core.acquisition import REGIMES, Acquisition
from misr4d.core.dose import add_detector_noise, electrons_per_pixel
from misr4d.core.keys import result_key
from misr4d.learn.losses import PaperLoss, gaussian_likelihood, ring_error
from misr4d.learn.networks import FEATURES, NETWORKS, UPSAMPLING, direct_features
from misr4d.reconstruction.direct import AMPLITUDE_CONTRAST, DirectPtychography, Statistic
from misr4d.simulate.probes import camera_pixel
from misr4d.simulate.reciprocity import simulate_views
from misr4d.specimens.corpus import draw_specimen
from misr4d.specimens.fetch import cache_folder
from misr4d.specimens.potential import project_atoms, truth

__all__ = [
    "DEFOCI",
    "DETECTOR_BIAS",
    "PRESETS",
    "Training",
    "acquisition_of",
    "aligned",
    "build_network",
    "example",
    "loss_of",
    "make_batch",
    "pick_device",
    "prepare",
    "recorded_training",
    "shipped_training",
    "simulate_example",
    "train",
    "view_geometry",
]

DEFOCI = {
    "atomic": (400.0, 450.0, 490.0, 540.0, 600.0),
    "molecular": (1200.0, 1320.0, 1435.0, 1550.0, 1700.0),
}
"""Defoci from the middle of the specimen [Å], about those of the two regimes (our choice)."""

# Wave-field sampling [Å], thinnest slice [Å] and most slices. A simulation for training may be
# coarser than one for a figure: what it misses is far below the noise.
_SIMULATION = {"atomic": (1 / 3, 2.0, 24), "molecular": (256 / 480, 25.0, 6)}

DETECTOR_BIAS = 0.5
"""Deviation of a pixel's lasting offset, as a share of its Gaussian noise's (our choice)."""

_HELD = 800  # examples of an endless supply that memory holds: both regimes, old and new


@dataclass(frozen=True)
class Training:
    """A training run, whole: the same values give the same weights on the same machine.

    Parameters
    ----------
    network : str
        One of :data:`misr4d.learn.networks.NETWORKS`.
    width, depth : int
        Of the network.
    steps, batch : int
        Optimiser steps, and samples in each (of every process).
    specimens : int
        Distinct specimens of each regime, simulated beforehand and kept on disk; 0 for an endless
        supply, simulated while training on the device that trains.
    pool : int
        Specimens of each regime that an endless supply holds at once, in memory (2 MB each).
    renewed : float
        How many of them it replaces in a step; those it lets go never come back.
    molecular : float
        Share of the samples that are molecules.
    learning_rate, weight_decay : float
        Of AdamW; the rate rises over the first 3 % of the steps and falls as a cosine.
    average : float
        Decay of the exponential average of the weights, which is what is kept.
    doses : (float, float)
        Ends of the log-uniform dose [e⁻/Å²].
    infinite, vacuum : float
        Shares of samples without counting noise, and without a specimen.
    detector_noise : float
        Largest standard deviation of the detector's Gaussian noise [electrons a pixel]; a third
        of the samples have some.
    defocus_error : float
        Standard deviation of the relative error of the assumed defocus.
    views : int
        Views drawn for each step of `DualPath`; the other networks see all.
    inputs : {"views", "aligned", "direct"}
        What `AttentionUNet` is given: the raw views as in the paper, views that the known geometry
        has registered, or the maps of direct ptychography that `DirectInformed` starts from.
    attention, head, loss, fresh_noise :
        For the ablations: gates on or off, the layer after the pixel shuffle, the paper's loss or
        its L1 alone, and whether noise is drawn anew each time a specimen is met (paper §2.1.2).
    half : bool
        On a CPU too, the network's products in bfloat16, weights and loss in float32: worth it
        where the processor has instructions for it (AVX-512 BF16). A GPU always does. Not for
        `DualPath`: its views are a contrast of a per cent on a mean of one, for which bfloat16
        has no digits, and trained so it ended in a flat image.
    seed : int
        Of everything.
    repeat : int
        Another number draws other first weights and other noise of the same specimens.
    checkpoint : int
        Steps between checkpoints.
    start : str
        SHA-256 of the shipped weights of this network that the run starts from, as their card
        states it; empty to start from random ones.
    """

    network: str = "DirectInformed"
    width: int = 48
    depth: int = 4
    steps: int = 20_000
    batch: int = 16  # our choice; the released code's is 32
    specimens: int = 0
    pool: int = 300  # our choice: about 1 GB
    renewed: float = 0.5  # our choice: a specimen is met some tens of times
    molecular: float = 0.35  # our choice: they vary less than crystals do
    learning_rate: float = 1e-3  # our choice; the released code's is 0.5e-4
    weight_decay: float = 1e-4  # released code
    average: float = 0.999  # our choice
    doses: tuple[float, float] = (20.0, 20_000.0)  # our choice, past both ends of the study
    infinite: float = 0.08  # our choice
    vacuum: float = 0.03  # our choice: nothing must come of nothing
    detector_noise: float = 0.1  # our choice; paper §2.1.2 states no size
    defocus_error: float = 0.01  # our choice
    views: int = 48  # our choice: what two cores can bear
    inputs: str = "views"
    attention: bool = True
    head: str = "1x1"
    loss: str = "paper"
    fresh_noise: bool = True
    half: bool = False
    seed: int = 0
    repeat: int = 0
    checkpoint: int = 500
    start: str = ""

    def __post_init__(self) -> None:
        if self.network not in NETWORKS:
            raise ValueError(f"network is {self.network!r}; expected one of {', '.join(NETWORKS)}")
        for name in ("width", "depth", "steps", "batch", "checkpoint", "views", "pool"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected 1 or more")
        low, high = self.doses
        if not (0 < low < high < math.inf):
            raise ValueError(f"doses are {self.doses} e⁻/Å²; expected 0 < low < high, both finite")
        for name in ("molecular", "infinite", "vacuum"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected a share from 0 to 1")
        if self.pool > _HELD // 2 or not 0 <= self.renewed <= self.pool / 2:
            raise ValueError(
                f"pool is {self.pool} and renewed {self.renewed}; expected at most {_HELD // 2} "
                "specimens, and to renew from none to half of them in a step"
            )
        for name, known in (("loss", ("paper", "l1")), ("inputs", ("views", "aligned", "direct"))):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}; expected one of {', '.join(known)}"
                )
        if self.inputs != "views" and self.network != "AttentionUNet":
            raise ValueError(
                f"inputs is {self.inputs!r}; {self.network} has its own: only AttentionUNet chooses"
            )
        if self.half and self.network == "DualPath":
            raise ValueError("half is True; DualPath is trained in float32 alone (--no-half)")
        if self.start and not re.fullmatch("[0-9a-f]{64}", self.start):
            raise ValueError(
                f"start is {self.start!r}; expected the SHA-256 of shipped weights, 64 hexadecimal "
                "digits as on their card, or nothing"
            )
        if not self.fresh_noise and (self.network, self.inputs) == ("DirectInformed", "views"):
            raise ValueError("fresh_noise is False; DirectInformed is always given fresh noise")


def recorded_training(record: dict[str, Any]) -> Training:
    """Run that a card or a checkpoint records under ``training``."""
    known = {f.name for f in fields(Training)}
    values: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v
        for k, v in record["training"].items()
        if k in known
    }
    return Training(**values)


def shipped_training(network: str) -> Training:
    """Run that goes on from a network's shipped weights, with the settings that they had.

    Raises
    ------
    ValueError
        If no such network is shipped.
    """
    from misr4d.learn.learned import card  # which builds its networks here

    record = card(network)
    return replace(recorded_training(record), start=record["sha256"])


PRESETS = {
    "ci": Training(width=12, steps=200, batch=8, specimens=10, learning_rate=4e-3, checkpoint=40),
    "cpu": Training(width=40, steps=5_000, specimens=600, infinite=0.15, half=True, checkpoint=100),
    "paper": Training(network="AttentionUNet", width=64, depth=5, steps=100_000, batch=32),
    "gpu": Training(width=96, steps=150_000, batch=64),
}
"""Runs by name: ``ci`` a minute on two cores, ``cpu`` under two hours, the others on a GPU."""


# ---- data ------------------------------------------------------------------------------------


@lru_cache(maxsize=16)
def acquisition_of(regime: str, kernel: int) -> Acquisition:
    """Measurement whose defocus counts from the specimen's middle: one of :data:`DEFOCI`."""
    base = REGIMES[regime]
    pixel = camera_pixel(base.wavelength)
    return replace(base, defocus=DEFOCI[regime][kernel], detector_pixel=pixel)


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
        the reconstruction is told.
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
    sampling, thinnest, most = _SIMULATION[regime]
    number = min(most, max(1, math.ceil(cell[2] / thinnest)))
    potential = project_atoms(
        specimen.atoms.numbers,
        specimen.atoms.positions,
        (float(cell[0]), float(cell[1])),
        (round(cell[0] / sampling), round(cell[1] / sampling)),
        (float(cell[2]) / number,) * number,
        device=device,
    )
    kernel = index % len(DEFOCI[regime])
    told = acquisition_of(regime, kernel)
    error = np.random.default_rng([seed, index, 7]).normal(0, defocus_error)
    true = replace(told, defocus=told.defocus * (1 + error) + float(cell[2]) / 2)
    views = simulate_views(potential, true, device=device)
    statistic = _method(regime, kernel, device).statistic(views)
    return {
        "views": views.cpu().half(),
        "truth": truth(potential, told, UPSAMPLING).cpu(),
        "score": statistic.score[0].cpu(),
        "misfit": statistic.noise[0].cpu(),
        "intensity": told.relative_to_vacuum(views).mean().cpu(),
    }


def example(
    regime: str, seed: int, index: int, *, defocus_error: float = 0.01, device: str = "cpu"
) -> Path:
    """Make an example only once: an npz of what :func:`simulate_example` returns, kept."""
    path = _example_path(regime, seed, index, defocus_error)
    if path.is_file():
        return path
    found = simulate_example(regime, seed, index, defocus_error=defocus_error, device=device)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    with os.fdopen(handle, "wb") as file:
        np.savez(file, **{k: v.numpy() for k, v in found.items()})
    os.replace(temporary, path)
    return path


@lru_cache(maxsize=_HELD)
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
    share = {"atomic": 1 - config.molecular, "molecular": config.molecular}
    return [regime for regime in REGIMES if share[regime] > 0]


def _supply(config: Training, regime: str) -> int:
    """Distinct specimens of a regime at one time: fewer molecules, each larger and slower."""
    share = 1.0 if regime == "atomic" else 0.2
    return max(len(DEFOCI[regime]), round((config.specimens or config.pool) * share))


def _first(config: Training, regime: str, step: int) -> int:
    """First specimen that an endless supply holds at a step."""
    if config.specimens:
        return 0
    return math.floor(step * config.renewed * _supply(config, regime) / config.pool)


@lru_cache(maxsize=6000)
def _load(path: Path, name: str) -> Tensor:
    with np.load(path, allow_pickle=False) as stored:
        return torch.from_numpy(np.asarray(stored[name]))


def _generator(*key: int) -> torch.Generator:
    digest = hashlib.sha256(repr(key).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def _uniform(generator: torch.Generator, low: float = 0.0, high: float = 1.0) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))


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
    own = generator if config.fresh_noise else _generator(config.seed, index)
    low, high = (math.log(d) for d in config.doses)
    dose = math.inf if _uniform(own) < config.infinite else math.exp(_uniform(own, low, high))
    detector = _uniform(own, 0, config.detector_noise) if _uniform(own) < 1 / 3 else 0.0
    vacuum = _uniform(own) < config.vacuum and config.network == "DirectInformed"
    key = (regime, config.seed, index)
    if config.specimens:
        path = example(*key, defocus_error=config.defocus_error, device=device)
        return _Draw(partial(_load, path), index, dose, detector, vacuum)
    held = _fresh_example(*key, config.defocus_error, device)
    return _Draw(held.__getitem__, index, dose, detector, vacuum)


def _condition(config: Training, generator: torch.Generator) -> tuple[str, int]:
    """Draw the regime and the defocus that a batch shares."""
    regime = "molecular" if _uniform(generator) < config.molecular else "atomic"
    return regime, int(torch.randint(len(DEFOCI[regime]), (), generator=generator))


def _turned(images: Tensor, turn: int, roll: tuple[int, int]) -> Tensor:
    """One of the square's eight symmetries about pixel (0, 0), then a shift ``(..., X, Y)``."""
    if turn & 1:
        images = torch.roll(images.flip(-1), 1, -1)
    if turn & 2:
        images = torch.roll(images.flip(-2), 1, -2)
    if turn & 4:
        images = images.mT
    return torch.roll(images, roll, (-2, -1))


def _symmetry(generator: torch.Generator) -> tuple[int, tuple[int, int]]:
    turn = int(torch.randint(8, (), generator=generator))
    roll = torch.randint(64, (2,), generator=generator).tolist()
    return turn, (roll[0], roll[1])


def _informed_group(
    config: Training, count: int, step: int, generator: torch.Generator, device: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw maps, step and truth of samples that share regime and defocus."""
    regime, kernel = _condition(config, generator)
    method = _method(regime, kernel, device)
    acquisition = acquisition_of(regime, kernel)
    draws = [_draw(config, regime, kernel, step, generator, device) for _ in range(count)]
    positions = math.prod(acquisition.scan_shape)
    # What the detector adds weighs more where fewer electrons are counted: in the mean of views.
    added = float((1 / acquisition.view_illumination).mean())
    scores, variances, misfits, targets = [], [], [], []
    for one in draws:
        score, target = one.load("score"), one.load("truth")
        intensity, misfit = float(one.load("intensity")), float(one.load("misfit"))
        if one.vacuum:
            score, target, intensity, misfit = (
                torch.zeros_like(score),
                torch.zeros_like(target),
                1.0,
                1e-16,
            )
        electrons = electrons_per_pixel(one.dose, acquisition)
        # Poisson counts, and the detector's own noise, in units of a fully lit pixel.
        shot = intensity / electrons + added * (one.detector / electrons) ** 2
        variances.append(shot / positions)
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
    both = torch.cat([maps, (target - target.mean((-2, -1), keepdim=True))[:, None]], 1)
    moved = []
    for one in both:
        turn, roll = _symmetry(generator)
        moved.append(_turned(one, turn, (roll[0] * UPSAMPLING, roll[1] * UPSAMPLING)))
    whole = torch.stack(moved)
    return whole[:, :-1], scan_step, whole[:, -1]


@cache
def _view_order(regime: str, turn: int) -> Tensor:
    """Which view takes each view's place when the scan is turned."""
    k = acquisition_of(regime, 0).view_frequencies
    turned = k.clone()
    if turn & 4:
        turned = turned.flip(1)
    if turn & 2:
        turned[:, 0] *= -1
    if turn & 1:
        turned[:, 1] *= -1
    return torch.cdist(turned, k).argmin(1)


def _view_sample(
    config: Training,
    condition: tuple[str, int],
    step: int,
    generator: torch.Generator,
    device: str,
    chosen: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Draw one sample's noisy views ``(M, 64, 64)``, relative to vacuum, and its truth.

    The truth ``(192, 192)`` is of zero mean.
    """
    regime, kernel = condition
    acquisition = acquisition_of(regime, kernel)
    one = _draw(config, regime, kernel, step, generator, device)
    turn, roll = _symmetry(generator)
    views = one.load("views").float()
    if math.isfinite(one.dose):
        electrons = electrons_per_pixel(one.dose, acquisition)
        own = generator
        if not config.fresh_noise:
            own = _generator(config.seed, one.index, 1)
        views = torch.poisson(views * electrons, generator=own) / electrons
        if one.detector:
            bias = DETECTOR_BIAS * one.detector
            views = add_detector_noise(views, electrons, one.detector, bias, own)
    views = acquisition.relative_to_vacuum(views)[_view_order(regime, turn)]
    if chosen is not None:
        views = views[chosen]
    target = one.load("truth")
    target = _turned(target - target.mean(), turn, (roll[0] * UPSAMPLING, roll[1] * UPSAMPLING))
    return _turned(views, turn, roll), target


def view_geometry(acquisition: Acquisition) -> tuple[Tensor, Tensor]:
    """List what `DualPath` knows of each view.

    Returns
    -------
    shifts, angles : Tensor
        Registering displacement ``(M, 2)`` [scan steps], and angle over the semi-angle ``(M, 2)``.
    """
    step = torch.tensor(acquisition.step, dtype=torch.float64)
    shifts = acquisition.registering_shifts / step
    return shifts.float(), (acquisition.view_angles / acquisition.semiangle).float()


def aligned(views: Tensor, acquisition: Acquisition) -> Tensor:
    """Register views ``(..., M, Rx, Ry)`` by the known geometry, in Fourier space, cyclically."""
    shifts = view_geometry(acquisition)[0].to(views.device)  # (M, 2), scan steps
    nx, ny = views.shape[-2:]
    qx = torch.fft.fftfreq(nx, device=views.device)[:, None]
    qy = torch.fft.rfftfreq(ny, device=views.device)[None, :]
    turns = shifts[:, 0, None, None] * qx + shifts[:, 1, None, None] * qy
    moved = torch.fft.rfft2(views) * torch.exp(-2j * math.pi * turns)
    found: Tensor = torch.fft.irfft2(moved, s=(nx, ny))
    return found


@dataclass(frozen=True)
class Batch:
    """What one step sees."""

    inputs: tuple[Tensor, ...]
    target: Tensor
    step: float


def make_batch(config: Training, step: int, rank: int = 0, device: str = "cpu") -> list[Batch]:
    """Draw the samples of a step; the same arguments give the same samples.

    Returns
    -------
    list of Batch
        Parts of the step that share regime and defocus.
    """
    generator = _generator(config.seed, config.repeat, step, rank)
    if config.network == "DirectInformed":
        parts = 2 if config.batch > 1 else 1
        sizes = [config.batch - config.batch // 2, config.batch // 2][:parts]
        batches = []
        for size in sizes:
            maps, steps, target = _informed_group(config, size, step, generator, device)
            batches.append(Batch((maps, steps), target, float(steps[0])))
        return batches
    if config.network == "AttentionUNet" and config.inputs == "direct":
        maps, steps, target = _informed_group(config, config.batch, step, generator, device)
        return [Batch((functional.pixel_unshuffle(maps, UPSAMPLING),), target, float(steps[0]))]
    if config.network == "AttentionUNet":
        # Each sample has its own regime and defocus: batch normalisation is used afterwards with
        # the statistics of all of them, so it must be trained on their mixture.
        samples, scan_steps = [], []
        for _ in range(config.batch):
            condition = _condition(config, generator)
            views, target = _view_sample(config, condition, step, generator, device)
            acquisition = acquisition_of(*condition)
            if config.inputs == "aligned":
                views = aligned(views, acquisition)
            samples.append((views, target))
            scan_steps.append(min(acquisition.step))
        views, target = (torch.stack(part).to(device) for part in zip(*samples, strict=True))
        return [Batch((views,), target, min(scan_steps))]
    condition = _condition(config, generator)
    acquisition = acquisition_of(*condition)
    chosen = torch.randperm(acquisition.number_of_views, generator=generator)[: config.views]
    samples = [
        _view_sample(config, condition, step, generator, device, chosen)
        for _ in range(config.batch)
    ]
    views, target = (torch.stack(part).to(device) for part in zip(*samples, strict=True))
    shifts, angles = view_geometry(acquisition)
    inputs = (views, shifts[chosen].to(device), angles[chosen].to(device))
    return [Batch(inputs, target, min(acquisition.step))]


# ---- the loop --------------------------------------------------------------------------------


def build_network(config: Training) -> nn.Module:
    """Build a run's network, untrained, from its seed."""
    state = torch.random.get_rng_state()
    torch.manual_seed(config.seed + 1000 * config.repeat)
    try:
        if config.network == "DirectInformed":
            return NETWORKS[config.network](config.width, config.depth)  # type: ignore[no-any-return]
        if config.network == "DualPath":
            return NETWORKS[config.network](config.width)  # type: ignore[no-any-return]
        views = acquisition_of("atomic", 0).number_of_views
        if config.inputs == "direct":
            views = FEATURES * UPSAMPLING**2
        network: nn.Module = NETWORKS[config.network](
            views, config.width, config.depth, config.attention, config.head
        )
        return network
    finally:
        torch.random.set_rng_state(state)


@lru_cache(maxsize=4)
def _frequency_rings(shape: tuple[int, int], device: str) -> Tensor:
    """Rings three frequencies wide up to the edge of the spectrum; ring 0 is the rest."""
    qx = torch.fft.fftfreq(shape[0], 1 / shape[0])[:, None]
    qy = torch.fft.rfftfreq(shape[1], 1 / shape[1])[None, :]
    radius = (qx**2 + qy**2).sqrt()
    ring: Tensor = ((radius - 0.5) / 3).floor().long() + 1
    ring[(radius > min(shape) / 2) | (radius < 0.5)] = 0
    return ring.to(device)


@lru_cache(maxsize=4)
def _paper_loss(step: float) -> PaperLoss:
    return PaperLoss(step)


def loss_of(config: Training, network: nn.Module, batch: Batch) -> Tensor:
    """Loss of one part of a step: the network in mixed precision if so wished, the loss never."""
    target = batch.target
    kind = target.device.type
    mixed = config.half or (kind == "cuda" and config.network != "DualPath")
    with torch.autocast(kind, torch.bfloat16, enabled=mixed):
        found = network(*batch.inputs)
    if config.network == "DirectInformed":
        mean, deviation = (one.float() for one in found)
        # In units of the direct estimate, so that weak and strong specimens count alike.
        size = batch.inputs[0][:, :1].square().mean((-3, -2, -1)).sqrt().clamp_min(1e-6)
        unit = size[:, None, None]
        rings = _frequency_rings((target.shape[-2], target.shape[-1]), str(target.device))
        loss = gaussian_likelihood(mean / unit, deviation / unit, target / unit)
        return loss + 0.3 * ring_error(mean, target, rings)  # our choice of weight
    image = found.float()
    if config.loss == "l1":
        absolute: Tensor = (image[:, 0] - target).abs().mean()
        return absolute
    paper: Tensor = _paper_loss(batch.step)(image, target[:, None])
    return paper


def _rate(config: Training, step: int) -> float:
    warm = max(1, round(0.03 * config.steps))
    if step < warm:
        return config.learning_rate * (step + 1) / warm
    part = (step - warm) / max(1, config.steps - warm)
    return config.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * part)))


class _Run:
    """Weights, their average, the optimiser, and how they are kept on disk."""

    def __init__(self, config: Training, folder: Path, device: str) -> None:
        self.config, self.folder, self.device = config, folder, device
        self.network = build_network(config).to(device)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = {k: v.clone() for k, v in self.network.state_dict().items()}
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), config.learning_rate, weight_decay=config.weight_decay
        )
        self.step = 0

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint.safetensors"

    def begin(self) -> None:
        """Take the weights that the run starts from, where it names any.

        Raises
        ------
        ValueError
            If those that are shipped are others, or of a network of another shape.
        """
        if not self.config.start:
            return
        from misr4d.learn.learned import card, load_network  # which builds its networks here

        name = self.config.network
        record = card(name)
        if record["sha256"] != self.config.start:
            raise ValueError(
                f"start is {self.config.start[:12]}…; the shipped weights of {name} have the "
                f"SHA-256 {record['sha256']}: give that, or none to start from random weights"
            )
        shipped = recorded_training(record)
        for field in ("width", "depth", "inputs", "attention", "head"):
            ours, theirs = getattr(self.config, field), getattr(shipped, field)
            if ours != theirs:
                raise ValueError(
                    f"{field} is {ours!r}; the weights that the run starts from have {theirs!r}"
                )
        self.network.load_state_dict(load_network(name).state_dict())
        self.average = {k: v.clone() for k, v in self.network.state_dict().items()}

    def follow(self) -> None:
        """Let the average follow the weights."""
        decay = min(self.config.average, (1 + self.step) / (10 + self.step))
        for name, value in self.network.state_dict().items():
            if value.dtype.is_floating_point:
                self.average[name].lerp_(value, 1 - decay)
            else:
                self.average[name].copy_(value)

    def save(self) -> None:
        tensors = {f"network/{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"average/{k}": v for k, v in self.average.items()}
        for index, own in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser/{index}/{k}": torch.as_tensor(v) for k, v in own.items()}
        ready = {k: v.detach().cpu().clone().contiguous() for k, v in tensors.items()}
        metadata = {"step": str(self.step), "config": json.dumps(asdict(self.config))}
        _save_tensors(ready, self.checkpoint, metadata)

    def restore(self) -> None:
        """Go on from the last checkpoint.

        Raises
        ------
        ValueError
            If it belongs to another run, or is damaged.
        """
        try:
            self._restore()
        except (SafetensorError, KeyError, TypeError, RuntimeError, json.JSONDecodeError) as error:
            raise ValueError(
                f"{self.checkpoint} is damaged ({str(error).splitlines()[0][:200]}); delete it to "
                "start anew"
            ) from error

    def _restore(self) -> None:
        with safe_open(self.checkpoint, "pt") as file:
            metadata = file.metadata()
            # A setting that the run did not know yet had what is now its default.
            stored = asdict(recorded_training({"training": json.loads(metadata["config"])}))
            own = asdict(self.config)
            if stored != own:
                differ = [k for k in own if own[k] != stored[k]]
                raise ValueError(
                    f"{self.folder} holds a run with other settings ({', '.join(differ)}); choose "
                    "another folder, or delete it"
                )
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        parts: dict[str, dict[str, Tensor]] = {"network": {}, "average": {}, "optimiser": {}}
        for name, value in tensors.items():
            kind, rest = name.split("/", 1)
            parts[kind][rest] = value
        self.network.load_state_dict(parts["network"])
        self.average = {k: v.to(self.device) for k, v in parts["average"].items()}
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in parts["optimiser"].items():
            index, key = name.split("/")
            state.setdefault(int(index), {})[key] = value
        whole = self.optimiser.state_dict()
        self.optimiser.load_state_dict({"state": state, "param_groups": whole["param_groups"]})
        self.step = int(metadata["step"])


def _save_tensors(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    save_file(tensors, temporary, metadata)
    os.replace(temporary, path)


def train(
    config: Training,
    folder: Path,
    *,
    device: str | None = None,
    workers: int | None = None,
    stop_after: int | None = None,
    report: Callable[[int, float], None] | None = None,
) -> Path:
    """Run a training, or go on with one that was interrupted.

    Under ``torchrun`` every process takes its own samples and gradients are averaged; the first
    writes.

    Parameters
    ----------
    config : Training
    folder : Path
        Gets ``checkpoint.safetensors``, ``log.csv``, ``loss.png``, and at the end
        ``weights.safetensors``, the averaged weights.
    device : str, optional
        By default a GPU if there is one.
    workers : int, optional
        Processes that simulate specimens before the first step.
    stop_after : int, optional
        Stop at this step, with a checkpoint, as if interrupted.
    report : callable, optional
        Called with step and loss after every step.

    Returns
    -------
    Path
        The weights, or the checkpoint if the run was stopped before its end.

    Raises
    ------
    ValueError
        If the folder holds a run with other settings, or what it holds is damaged; if there is no
        such device; or if the weights that the run starts from are not those that are shipped.
    """
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    device = pick_device(device, local)
    if world > 1 and not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    folder.mkdir(parents=True, exist_ok=True)
    run = _Run(config, folder, device)
    if run.checkpoint.is_file():
        run.restore()
    else:
        run.begin()
    if config.specimens and rank == 0:
        prepare(config, workers, "cpu")
    if world > 1:
        torch.distributed.barrier()
    network: nn.Module = run.network
    if world > 1:
        network = nn.parallel.DistributedDataParallel(run.network)
    network.train()
    log = _Log(folder / "log.csv", run.step) if rank == 0 else None
    end = min(config.steps, stop_after or config.steps)
    bar = tqdm(
        total=config.steps, initial=run.step, unit="step", disable=None if rank == 0 else True
    )
    # On a GPU its time; on a CPU that of all cores, which other processes do not lengthen.
    clock = time.monotonic if device.startswith("cuda") else time.process_time
    began = clock()
    try:
        while run.step < end:
            loss = _one_step(config, run, network, rank, device)
            run.step += 1
            run.follow()
            bar.update()
            if log is not None:
                log.add(run.step, loss, _rate(config, run.step - 1), clock() - began)
                bar.set_postfix(loss=f"{log.mean:.4f}")
            if report is not None:
                report(run.step, loss)
            if rank == 0 and (run.step % config.checkpoint == 0 or run.step == end):
                assert log is not None
                run.save()
                log.write()
    finally:
        bar.close()
    if world > 1:
        torch.distributed.barrier()
    if run.step < config.steps:
        return run.checkpoint
    weights = folder / "weights.safetensors"
    if rank == 0:
        kept = {k: v.detach().cpu().contiguous() for k, v in run.average.items()}
        _save_tensors(kept, weights, {"config": json.dumps(asdict(config))})
    return weights


def pick_device(device: str | None, number: int = 0) -> str:
    """Check a device's name, or take a GPU if there is one and none was named.

    Parameters
    ----------
    device : str or None
        Such as ``cpu`` or ``cuda:0``.
    number : int
        Which of several GPUs, unless named.

    Raises
    ------
    ValueError
        If there is no such device.
    """
    if device is None:
        return f"cuda:{number}" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(
            f"device is {device!r}: {str(error).splitlines()[0]}; expected cpu, or cuda:0 where "
            "there is such a GPU"
        ) from error
    return device


def _one_step(config: Training, run: _Run, network: nn.Module, rank: int, device: str) -> float:
    for group in run.optimiser.param_groups:
        group["lr"] = _rate(config, run.step)
    run.optimiser.zero_grad()
    batches = make_batch(config, run.step, rank, device)
    total = 0.0
    for batch in batches:
        loss = loss_of(config, network, batch) / len(batches)
        loss.backward()  # type: ignore[no-untyped-call]
        total += float(loss.detach())
    nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    run.optimiser.step()
    return total


class _Log:
    """Loss against step: a CSV, and a picture that is drawn anew at every checkpoint."""

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []
        self.mean = math.nan
        self._since: list[float] = []
        self._before = 0.0
        if path.is_file():
            try:
                with path.open(encoding="utf-8", newline="") as file:
                    self.rows = [row for row in csv.DictReader(file) if int(row["step"]) <= step]
                if self.rows:
                    self._before = float(self.rows[-1]["seconds"])
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(f"{path} is no log of a training ({error}); delete it") from error

    def add(self, step: int, loss: float, rate: float, seconds: float) -> None:
        self._since.append(loss)
        self.mean = loss if math.isnan(self.mean) else 0.98 * self.mean + 0.02 * loss
        if step % 20 == 0:
            self.rows.append(
                {
                    "step": step,
                    "loss": f"{sum(self._since) / len(self._since):.6f}",
                    "rate": f"{rate:.3e}",
                    "seconds": f"{self._before + seconds:.1f}",
                }
            )
            self._since.clear()

    def write(self) -> None:
        if not self.rows:
            return
        temporary = self.path.with_suffix(".tmp")
        with temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(self.rows[0]))
            writer.writeheader()
            writer.writerows(self.rows)
        temporary.replace(self.path)
        self._draw()

    def _draw(self) -> None:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(5, 3), layout="constrained")
        axes = figure.subplots()
        axes.plot(
            [int(r["step"]) for r in self.rows], [float(r["loss"]) for r in self.rows], lw=0.8
        )
        axes.set(xlabel="step", ylabel="loss")
        temporary = self.path.with_name(".loss.png")
        figure.savefig(temporary, dpi=110, format="png")
        temporary.replace(self.path.with_name("loss.png"))
