"""Calibrate the informed network's deviation on some specimens, and check it on others.

Called by ``python benchmarks/ship_network.py DirectInformed --rescore``, and for
``InstrumentInformed``.

The factors that turn a deviation into an interval come from draws of `misr4d.specimens.corpus`
under one seed; the share of pixels that the intervals hold is counted on draws under another.
Neither is the training's. The network for any instrument is given scans on instruments drawn under
the same seeds. A third of the specimens have detector noise, and vacuum counts with its share of
the training. Coverage is given for every regime and dose, with its spread over specimens.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from misr4d.core.acquisition import Acquisition
from misr4d.core.dose import electrons_per_pixel
from misr4d.learn.configuration import DEFOCI, Training, acquisition_of
from misr4d.learn.examples import example, generator_of
from misr4d.learn.instruments import scan
from misr4d.learn.learned import informed_from
from misr4d.learn.networks import InstrumentInformed, direct_features
from misr4d.reconstruction.direct import DirectPtychography, Statistic, starting_point

SHARES = (0.68, 0.95)
DOSES = (50.0, 100.0, 300.0, 1000.0, 10_000.0, math.inf)  # e⁻/Å²
CALIBRATED_ON, CHECKED_ON = 11, 12  # seeds; the training's is on its card, and tuning has 1
SPECIMENS = {"atomic": 10, "molecular": 5}  # of each seed, two and one at every defocus
SCANS = 60  # of instruments drawn at random, of each seed
VACUUM = 2  # draws of vacuum at every dose and regime
EMPTY_SCANS = 6  # instruments that are given vacuum, too
EVERY = 7  # of the pixels: neighbours err together
RESAMPLED = 2000  # draws of the bootstrap


@dataclass(frozen=True)
class Sample:
    """Errors of one specimen, or of vacuum, over the deviation that was predicted."""

    regime: str
    dose: float
    vacuum: bool
    ratios: NDArray[np.float32]


@lru_cache(maxsize=10)
def _method(acquisition: Acquisition) -> DirectPtychography:
    return starting_point.__wrapped__(acquisition)


@torch.inference_mode()
def measure(
    network: nn.Module,
    config: Training,
    regime: str,
    seed: int,
    index: int,
    dose: float,
    *,
    vacuum: bool = False,
) -> Sample:
    """Reconstruct a draw of the corpus, or vacuum, with noise as the training has it."""
    acquisition = acquisition_of(regime, index % len(DEFOCI[regime]))
    method = _method(acquisition)
    order = sorted(DOSES).index(dose)
    rng = np.random.default_rng([seed, index, order, int(vacuum)])
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    # A third of the specimens, and which ones shifts from dose to dose.
    noisy = (index + order) % 3 == 0
    detector = float(rng.uniform(0, config.detector_noise)) if noisy else 0.0
    with np.load(example(regime, seed, index, defocus_error=config.defocus_error)) as stored:
        score, truth = (torch.from_numpy(stored[k]) for k in ("score", "truth"))
        intensity, misfit = float(stored["intensity"]), float(stored["misfit"])
    if vacuum:
        score, truth = torch.zeros_like(score), torch.zeros_like(truth)
        intensity, misfit = 1.0, 1e-16
    electrons = electrons_per_pixel(dose, acquisition)
    positions = math.prod(acquisition.scan_shape)
    shot = torch.tensor([(intensity / electrons + (detector / electrons) ** 2) / positions])
    statistic = Statistic(score + method.draw_noise(shot, generator), misfit + shot)
    mean, deviation = network(*direct_features(method, statistic))
    error = (mean[0] - mean.mean() - (truth - truth.mean())).abs()
    return Sample(regime, dose, vacuum, (error / deviation[0]).numpy().ravel()[::EVERY])


@torch.inference_mode()
def measure_scan(network: nn.Module, config: Training, seed: int, index: int) -> Iterator[Sample]:
    """Reconstruct a scan on an instrument drawn at random, at every dose; of some, vacuum too."""
    measured = scan(seed, index)
    method = _method(measured.instrument.acquisition)
    for order, dose in enumerate(sorted(DOSES)):
        for vacuum in (False, True) if index < EMPTY_SCANS and math.isfinite(dose) else (False,):
            generator = generator_of(seed, index, order, int(vacuum))
            noisy = (index + order) % 3 == 0
            detector = config.detector_noise * float(torch.rand((), generator=generator))
            statistic, truth = measured.expose(
                method, dose, generator, detector=detector if noisy else 0.0, vacuum=vacuum
            )
            estimate, _ = informed_from(method, statistic, network=network)
            ratios = ((estimate.mean - truth).abs() / estimate.deviation)[0]
            regime = measured.instrument.regime
            yield Sample(regime, dose, vacuum, ratios.numpy().ravel()[::EVERY])


def draw(network: nn.Module, config: Training, seed: int) -> list[Sample]:
    """Measure every specimen of a seed, and vacuum, at every dose."""
    if isinstance(network, InstrumentInformed):
        scans = tqdm(range(SCANS), desc=f"seed {seed}", leave=False)
        return [s for index in scans for s in measure_scan(network, config, seed, index)]
    tasks = [
        (regime, index, dose, vacuum)
        for regime, count in SPECIMENS.items()
        for index in range(count)
        for dose in DOSES
        for vacuum in ((False, True) if index < VACUUM and math.isfinite(dose) else (False,))
    ]
    return [
        measure(network, config, regime, seed, index, dose, vacuum=vacuum)
        for regime, index, dose, vacuum in tqdm(tasks, desc=f"seed {seed}", leave=False)
    ]


def factors(samples: list[Sample], share_of_vacuum: float, regime: str) -> dict[float, float]:
    """Quantiles of the ratio over specimens and doses, vacuum weighted by its share."""
    own = [s for s in samples if s.regime == regime]
    empty = sum(s.vacuum for s in own)
    values = np.concatenate([s.ratios for s in own])
    weights = np.concatenate(
        [
            np.full(
                len(s.ratios),
                share_of_vacuum / empty if s.vacuum else (1 - share_of_vacuum) / (len(own) - empty),
            )
            for s in own
        ]
    )
    order = values.argsort()
    below = weights[order].cumsum() / weights.sum()
    return {share: float(values[order][below.searchsorted(share)]) for share in SHARES}


def coverage(
    samples: list[Sample], share_of_vacuum: float, known: dict[str, dict[float, float]]
) -> list[dict[str, Any]]:
    """Share of pixels in each interval, for every regime, dose and interval."""
    rows = []
    rng = np.random.default_rng(0)
    for regime, widths in known.items():
        for dose in sorted({s.dose for s in samples if s.regime == regime}):
            cell = [s for s in samples if (s.regime, s.dose) == (regime, dose)]
            for share, width in widths.items():
                held, empty = (
                    np.array([(s.ratios <= width).mean() for s in cell if s.vacuum is vacuum])
                    for vacuum in (False, True)
                )
                part = share_of_vacuum if len(empty) else 0.0
                in_vacuum = float(empty.mean()) if len(empty) else None
                picked = rng.integers(len(held), size=(RESAMPLED, len(held)))
                means = (1 - part) * held[picked].mean(1) + part * (in_vacuum or 0.0)
                low, high = np.percentile(means, [2.5, 97.5])
                middle = (1 - part) * held.mean() + part * (in_vacuum or 0.0)
                rows.append(
                    {
                        "regime": regime,
                        "dose": str(dose),
                        "share": share,
                        "coverage": round(float(middle), 4),
                        "low": round(float(low), 4),
                        "high": round(float(high), 4),
                        "specimens": len(held),
                        "values": [round(float(v), 4) for v in held],
                        "vacuum": None if in_vacuum is None else round(in_vacuum, 4),
                    }
                )
    return rows


def calibrate(network: nn.Module, config: Training) -> dict[str, Any]:
    """Factors from one seed, and what the intervals hold under another, for the card."""
    if config.seed in (CALIBRATED_ON, CHECKED_ON):
        raise ValueError(f"the training's seed is {config.seed}; calibration needs draws of others")
    instruments = isinstance(network, InstrumentInformed)
    drawn = {"instruments": SCANS} if instruments else {"specimens": SPECIMENS}
    samples = draw(network, config, CALIBRATED_ON)
    known = {regime: factors(samples, config.vacuum, regime) for regime in SPECIMENS}
    return {
        "calibrated_on": {"seed": CALIBRATED_ON, **drawn},
        "checked_on": {"seed": CHECKED_ON, **drawn},
        "vacuum": config.vacuum,
        "detector_noise": f"up to {config.detector_noise:g} electrons a pixel, a third of samples",
        "intervals": [
            {"regime": regime, "factors": {str(k): round(v, 4) for k, v in widths.items()}}
            for regime, widths in known.items()
        ],
        "coverage": coverage(draw(network, config, CHECKED_ON), config.vacuum, known),
    }
