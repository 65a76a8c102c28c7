"""Measurements on many instruments: scans drawn over energy, angle, step, defocus and detector.

The networks are trained on two settings. What is drawn here is what they meet elsewhere: it serves
to calibrate their deviation, and to measure where they gain.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from scipy import fft
from torch import Tensor
from tqdm import tqdm

from misr4d.core import optics
from misr4d.core.acquisition import UPSAMPLING, Acquisition
from misr4d.core.dose import electrons_per_pixel
from misr4d.core.files import whole_file
from misr4d.core.keys import result_key
from misr4d.core.workers import each_done
from misr4d.learn.configuration import Training
from misr4d.learn.examples import symmetric
from misr4d.learn.networks import conditions, direct_features
from misr4d.learn.ranges import ENERGIES, PERIODS, PIXELS, POSITIONS, SEMIANGLES, SHIFTS, STEPS
from misr4d.reconstruction.direct import DirectPtychography, Statistic, starting_point
from misr4d.simulate.reciprocity import simulate_views
from misr4d.specimens.catalogue import Specimen
from misr4d.specimens.corpus import draw_specimen
from misr4d.specimens.fetch import cache_folder
from misr4d.specimens.potential import Potential, project_atoms, truth

__all__ = [
    "Instrument",
    "Scan",
    "draw_batch",
    "draw_instrument",
    "prepare_scans",
    "scan",
    "simulate_scan",
]

# Wave-field sampling [Å], thinnest slice [Å] and most slices, as for the training's examples.
_SIMULATION = {"atomic": (1 / 3, 2.0, 24), "molecular": (0.55, 25.0, 6)}
_BAND = 1.6  # semi-angles that the simulated wave holds at least


@dataclass(frozen=True)
class Instrument:
    """A measurement and how well its aberrations are known.

    Parameters
    ----------
    regime : {"atomic", "molecular"}
        Of the specimens that it is drawn for.
    acquisition : Acquisition
        As assumed; its defocus counts from the specimen's middle.
    defocus_error : float
        Relative difference of the true defocus.
    """

    regime: str
    acquisition: Acquisition
    defocus_error: float


@dataclass(frozen=True)
class Scan:
    """A specimen as an instrument sees it at infinite dose.

    Parameters
    ----------
    instrument : Instrument
    specimen : str
        Its kind and its elements.
    thickness : float
        Of the specimen [Å].
    statistic : Statistic
        At infinite dose, under the assumed measurement.
    intensity : float
        Mean of the views, relative to vacuum.
    truth : Tensor
        ``(r·Rx, r·Ry)`` [rad], of zero mean.
    """

    instrument: Instrument
    specimen: str
    thickness: float
    statistic: Statistic
    intensity: float
    truth: Tensor

    def expose(
        self,
        method: DirectPtychography,
        dose: float,
        generator: torch.Generator,
        *,
        detector: float = 0.0,
        vacuum: bool = False,
    ) -> tuple[Statistic, Tensor]:
        """Add what counting adds to the statistic.

        Parameters
        ----------
        method : DirectPtychography
            Of the instrument.
        dose : float
            e⁻/Å².
        generator : torch.Generator
        detector : float
            Standard deviation of the detector's own noise [electrons a pixel].
        vacuum : bool
            Whether there is no specimen.

        Returns
        -------
        Statistic, Tensor
            And the truth that belongs to it.
        """
        acquisition = self.instrument.acquisition
        electrons = electrons_per_pixel(dose, acquisition)
        # What the detector adds weighs more where fewer electrons are counted: on the rim.
        rim = float((1 / acquisition.view_illumination).mean())
        shot = (1.0 if vacuum else self.intensity) / electrons + rim * (detector / electrons) ** 2
        variance = torch.tensor([shot / math.prod(acquisition.scan_shape)])
        noise = method.draw_noise(variance, generator)
        if vacuum:
            return Statistic(noise, variance.clamp_min(1e-16)), torch.zeros_like(self.truth)
        score, misfit = self.statistic.score, self.statistic.noise
        return Statistic(score + noise, misfit + variance), self.truth


def draw_instrument(seed: int, index: int) -> Instrument:
    """Draw an instrument, from :mod:`misr4d.learn.ranges`; the pair fixes it."""
    rng = np.random.default_rng([seed, index, 19])
    regime = "molecular" if rng.random() < 0.35 else "atomic"

    def between(ends: tuple[float, float]) -> float:
        return math.exp(rng.uniform(math.log(ends[0]), math.log(ends[1])))

    while True:
        energy = float(rng.choice(ENERGIES))
        semiangle = between(SEMIANGLES)
        step = between(STEPS[regime])
        shift = between(SHIFTS)
        pixel = semiangle / between(PIXELS)
        period = optics.wavelength(energy) / (2e-3 * semiangle)
        if PERIODS[0] <= step / period <= PERIODS[1]:
            break
    sign = 1 if rng.random() < 0.8 else -1
    defocus = sign * shift * step / (semiangle * 1e-3)
    astigmatism = (0.0, 0.0)
    if rng.random() < 0.4:
        size, angle = abs(defocus) * rng.uniform(0, 0.08), rng.uniform(0, 2 * math.pi)
        astigmatism = (size * math.cos(angle), size * math.sin(angle))
    error = float(rng.normal(0, math.exp(rng.uniform(math.log(0.003), math.log(0.04)))))
    acquisition = Acquisition(
        defocus=defocus,
        step=(step, step),
        energy=energy,
        semiangle=semiangle,
        scan_shape=(POSITIONS, POSITIONS),
        detector_pixel=pixel,
        astigmatism=astigmatism,
    )
    try:
        acquisition.check_upsampling(UPSAMPLING)
    except ValueError:  # too few views, or too little displaced: another draw
        return draw_instrument(seed, index + 1_000_000)
    return Instrument(regime, acquisition, error)


def _cut(specimen: Specimen, acquisition: Acquisition, rng: np.random.Generator) -> Potential:
    """Project what of a specimen lies in the scanned field, at a place drawn at random."""
    sampling, thinnest, most_slices = _SIMULATION[specimen.regime]
    cell = specimen.atoms.cell.lengths()
    field = np.array(acquisition.field)
    spare = np.maximum(cell[:2] - field, 0)
    corner = spare * (0.3 + 0.4 * rng.random(2)) - np.maximum(field - cell[:2], 0) / 2
    positions = specimen.atoms.positions - [*corner, 0]
    inside = ((positions[:, :2] >= 0) & (positions[:, :2] < field)).all(1)
    wanted = acquisition.wavelength / (3 * _BAND * acquisition.semiangle * 1e-3)  # two thirds
    sampling = min(sampling, wanted)
    shape = tuple(int(fft.next_fast_len(math.ceil(f / sampling))) for f in field)
    slices = min(most_slices, max(1, math.ceil(cell[2] / thinnest)))
    return project_atoms(
        specimen.atoms.numbers[inside],
        positions[inside],
        (float(field[0]), float(field[1])),
        (shape[0], shape[1]),
        (float(cell[2]) / slices,) * slices,
    )


def simulate_scan(instrument: Instrument, seed: int, index: int) -> Scan:
    """Simulate a draw of the corpus on an instrument, at infinite dose.

    Parameters
    ----------
    instrument : Instrument
    seed, index : int
        Of :func:`misr4d.specimens.corpus.draw_specimen`; they fix the place of the field, too.
    """
    acquisition = instrument.acquisition
    specimen = draw_specimen(instrument.regime, seed, index)
    thickness = float(specimen.atoms.cell.lengths()[2])
    potential = _cut(specimen, acquisition, np.random.default_rng([seed, index, 23]))
    true_defocus = acquisition.defocus * (1 + instrument.defocus_error) + thickness / 2
    views = simulate_views(potential, replace(acquisition, defocus=true_defocus))
    phase = truth(potential, acquisition, UPSAMPLING)
    return Scan(
        instrument,
        specimen.title,
        thickness,
        starting_point(acquisition).statistic(views),
        float(acquisition.relative_to_vacuum(views).mean()),
        phase - phase.mean(),
    )


def _scan_path(seed: int, index: int) -> Path:
    name = f"{seed}-{index}.npz"
    return (
        cache_folder() / "instruments" / result_key(simulate_scan, draw_instrument, data=()) / name
    )


def scan(seed: int, index: int) -> Scan:
    """Make a scan on an instrument drawn at random, or read it back if it was made before.

    Seed and index fix both, as of :func:`draw_instrument` and :func:`simulate_scan`.
    """
    path = _scan_path(seed, index)
    if not path.is_file():
        made = simulate_scan(draw_instrument(seed, index), seed, index)
        with whole_file(path) as temporary:
            np.savez(
                temporary,
                specimen=made.specimen,
                thickness=made.thickness,
                score=made.statistic.score.numpy(),
                misfit=made.statistic.noise.numpy(),
                intensity=made.intensity,
                truth=made.truth.numpy(),
            )
    with np.load(path, allow_pickle=False) as stored:
        return Scan(
            draw_instrument(seed, index),
            str(stored["specimen"]),
            float(stored["thickness"]),
            Statistic(torch.from_numpy(stored["score"]), torch.from_numpy(stored["misfit"])),
            float(stored["intensity"]),
            torch.from_numpy(stored["truth"]),
        )


def _prepare(task: tuple[int, int]) -> None:
    torch.set_num_threads(1)
    scan(*task)


def prepare_scans(config: Training, workers: int | None = None) -> None:
    """Simulate a run's scans beforehand, in parallel; what is there already is kept.

    Raises
    ------
    ValueError
        If the run states no number of them.
    """
    if config.specimens == 0:
        raise ValueError("specimens is 0; a training over instruments needs a number of scans")
    tasks = [(config.seed, i) for i in range(config.specimens)]
    missing = [task for task in tasks if not _scan_path(*task).is_file()]
    if missing:
        for _ in tqdm(
            each_done(
                _prepare, [(task,) for task in missing], workers=workers or os.cpu_count() or 1
            ),
            total=len(missing),
            unit="scan",
            disable=None,
        ):
            pass


@lru_cache(maxsize=1000)
def _scan_and_method(seed: int, index: int) -> tuple[Scan, DirectPtychography]:
    method = starting_point.__wrapped__(draw_instrument(seed, index).acquisition)
    method.forget_views()
    return scan(seed, index), method


def draw_batch(config: Training, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Draw samples of a training, each of a scan of its own.

    Parameters
    ----------
    config : Training
        ``specimens`` is the number of scans.
    generator : torch.Generator

    Returns
    -------
    maps : Tensor
        ``(N, 3, 3·Rx, 3·Ry)``, as from :func:`misr4d.learn.networks.direct_features`.
    conditions : Tensor
        ``(N, 3)``, as from :func:`misr4d.learn.networks.conditions`.
    truth : Tensor
        ``(N, 3·Rx, 3·Ry)`` [rad], of zero mean.
    """
    maps, numbers, targets = [], [], []
    low, high = (math.log(dose) for dose in config.doses)
    for _ in range(config.batch):
        index = int(torch.randint(config.specimens, (), generator=generator))
        measured, method = _scan_and_method(config.seed, index)
        uniform = torch.rand(5, generator=generator).tolist()
        dose = (
            math.inf if uniform[0] < config.infinite else math.exp(low + (high - low) * uniform[1])
        )
        detector = config.detector_noise * uniform[2] if uniform[3] < 1 / 3 else 0.0
        statistic, target = measured.expose(
            method, dose, generator, detector=detector, vacuum=uniform[4] < config.vacuum
        )
        features, _ = direct_features(method, statistic)
        turned = symmetric(torch.cat([features[0], target[None]]), generator)
        maps.append(turned[:-1])
        targets.append(turned[-1])
        numbers.append(conditions(method))
    return torch.stack(maps), torch.stack(numbers), torch.stack(targets)
