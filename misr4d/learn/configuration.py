"""What fixes a training run, the network that it trains, and how it sees the scan.

The shipped networks need nothing else of their training.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from misr4d.core.acquisition import REGIMES, Acquisition
from misr4d.learn.networks import NETWORKS, Network, register
from misr4d.simulate.patterns import camera_pixel

__all__ = [
    "DEFOCI",
    "MOST_EXAMPLES",
    "PRESETS",
    "Training",
    "acquisition_of",
    "aligned",
    "build_network",
    "recorded_training",
    "register",
    "view_geometry",
]

DEFOCI = {
    "atomic": (400.0, 450.0, 490.0, 540.0, 600.0),
    "molecular": (1200.0, 1320.0, 1435.0, 1550.0, 1700.0),
}
"""Defoci from the middle of the specimen [Å], about those of the two regimes (our choice)."""

MOST_EXAMPLES = 800
"""Examples of an endless supply that memory holds: of both regimes, old and new."""


@dataclass(frozen=True)
class Training:
    """A complete training run: the same values give the same weights on the same machine.

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
        How many of them it replaces in a step; those it drops are never used again.
    molecular : float
        Share of the samples that are molecules.
    learning_rate, weight_decay : float
        Of AdamW; the rate rises over the first 3 % of the steps and falls as a cosine.
    average : float
        Decay of the exponential average of the weights, which is what is saved.
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
        has no digits, and such a training ended in a flat image.
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
    vacuum: float = 0.03  # our choice: an empty field must give an empty image
    detector_noise: float = 0.1  # our choice; paper §2.1.2 states no size
    defocus_error: float = 0.01  # our choice
    views: int = 48  # our choice: what two cores can handle
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
        if self.pool > MOST_EXAMPLES // 2 or not 0 <= self.renewed <= self.pool / 2:
            raise ValueError(
                f"pool is {self.pool} and renewed {self.renewed}; expected at most "
                f"{MOST_EXAMPLES // 2} specimens, and to renew from none to half of them in a step"
            )
        network = NETWORKS[self.network]
        for name, allowed in (("loss", ("paper", "l1")), ("inputs", network.inputs)):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}; expected one of {', '.join(allowed)} for "
                    f"{self.network}"
                )
        if self.half and not network.mixed_precision:
            raise ValueError(
                f"half is True; {self.network} is trained in float32 alone (--no-half)"
            )
        if self.start and not re.fullmatch("[0-9a-f]{64}", self.start):
            raise ValueError(
                f"start is {self.start!r}; expected the SHA-256 of shipped weights, 64 hexadecimal "
                "digits as on their card, or nothing"
            )
        if not self.fresh_noise and (network.takes_maps or self.inputs == "direct"):
            raise ValueError(
                "fresh_noise is False; maps of direct ptychography are always given fresh noise: "
                "use AttentionUNet or DualPath with inputs 'views'"
            )


def recorded_training(record: dict[str, Any]) -> Training:
    """Run that a card or a checkpoint records under ``training``."""
    field_names = {f.name for f in fields(Training)}
    values: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v
        for k, v in record["training"].items()
        if k in field_names
    }
    return Training(**values)


PRESETS = {
    "ci": Training(width=12, steps=200, batch=8, specimens=10, learning_rate=4e-3, checkpoint=40),
    "cpu": Training(width=40, steps=5_000, specimens=600, infinite=0.15, half=True, checkpoint=100),
    "paper": Training(network="AttentionUNet", width=64, depth=5, steps=100_000, batch=32),
    "gpu": Training(width=96, steps=150_000, batch=64),
}
"""Runs by name: ``ci`` a minute on two cores, ``cpu`` under two hours, the others on a GPU."""


@lru_cache(maxsize=16)
def acquisition_of(regime: str, kernel: int) -> Acquisition:
    """Measurement whose defocus counts from the specimen's middle: one of :data:`DEFOCI`."""
    base = REGIMES[regime]
    pixel = camera_pixel(base.wavelength)
    return replace(base, defocus=DEFOCI[regime][kernel], detector_pixel=pixel)


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
    return register(views, view_geometry(acquisition)[0].to(views.device))


def build_network(config: Training) -> Network:
    """Build a run's network, untrained, from its seed."""
    state = torch.random.get_rng_state()
    torch.manual_seed(config.seed + 1000 * config.repeat)
    try:
        views = acquisition_of("atomic", 0).number_of_views
        return NETWORKS[config.network].of_run(
            views,
            inputs=config.inputs,
            width=config.width,
            depth=config.depth,
            attention=config.attention,
            head=config.head,
        )
    finally:
        torch.random.set_rng_state(state)
