"""A stand-in for one's own scan: what a microscope hands over, and the truth in a file beside it.

The specimen is one of the paper's. Everything else is as at a microscope: the defocus is some
number, the detector lies turned and perhaps transposed against the scan, its axis is not in the
middle, a row and some pixels are hot, two are dead, an electron may be counted in a neighbouring
pixel, and the specimen drifts. :func:`make_stand_in` simulates that, :meth:`StandIn.expose` counts
electrons, and :func:`run_demo` does what ``misr4d reconstruct`` does with the file, and compares.

Nothing is interpolated. The simulation's axes are the detector's, and the probe stands at each of
the turned and drifting scan's positions, between pixels of the potential; the detector's own pixels
are where the wave is sampled. The spread over neighbouring pixels blurs the pattern that is
expected, before counting: each electron is counted once, and the counts are Poisson.

How well the geometry is found, by ``python benchmarks/stand_in.py``: crystal and glass on 48 × 48
positions, three seeds and two draws each. All twelve scans had the detector's axes right at either
dose; the worst were 1.1 % of the defocus, 0.5° and a drift of 0.02 steps a line at 1000 e⁻/Å², and
3.5 %, 1.4° and 0.05 at 100. None of these 96 estimates was off by more than three of its stated
standard errors, the worst by 2.8.

Not in it: aberrations but defocus, partial coherence, a drift that changes, and damage.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from misr4d import __version__
from misr4d.calibrate.drift import drift_matrix
from misr4d.companion.study import UPSAMPLING, Scene, make_scene, place
from misr4d.core.acquisition import REGIMES, Acquisition
from misr4d.core.datacube import Datacube
from misr4d.core.detector import detector_axes
from misr4d.core.dose import electrons_per_probe
from misr4d.core.files import whole_file
from misr4d.io.emd import Recording, smallest_kind
from misr4d.io.reading import read_scan
from misr4d.measure.metrics import correlation
from misr4d.report.preparation import Prepared
from misr4d.report.reconstruct import reconstruct_scan
from misr4d.report.report import Method, Report
from misr4d.simulate.patterns import simulate_patterns
from misr4d.specimens.catalogue import make_specimen
from misr4d.specimens.potential import Potential, truth

__all__ = [
    "Comparison",
    "StandIn",
    "Truth",
    "compare_with_truth",
    "format_comparison",
    "make_stand_in",
    "record_scan",
    "run_demo",
]

DRIFT = 0.15
"""Drift from one line to the next, as a share of the scan step: our choice, a bad day's."""

# Our choices. Standard deviation of where an electron is counted [detector pixels]: at the
# detector's Nyquist frequency 17 % of the contrast is left.
_SPREAD = 0.6
_ANGLE = 16.0  # mrad, recorded at most
_OFF_AXIS = 2  # pixels, of the axis from the detector's middle at most
_HOT, _DEAD = 6, 2
_HOT_LEVEL = (4.0, 30.0)  # times the disc's
_ROW_LEVEL = 2.0


@dataclass(frozen=True)
class Truth:
    """What the scan file of a stand-in does not say.

    Parameters
    ----------
    defocus : float
        Counted from the specimen's middle [Å].
    rotation : float
        Of the detector against the scan [deg]; see :mod:`misr4d.core.detector`.
    transposed : bool
    centre : (float, float)
        Optical axis on the detector [pixels].
    drift : (float, float)
        Of each line from the one before it, along (Rx, Ry) [Å]; see
        :func:`misr4d.calibrate.drift.drift_matrix`.
    dose : float
        e⁻/Å² incident.
    phase : ndarray
        Projected phase ``(3·Rx, 3·Ry)`` [rad] on the scan as it ran: where a perfect image of this
        scan shows it, sheared by the drift; see :meth:`misr4d.report.report.Report.straightened`.
    hot, dead : ndarray
        Detector pixels ``(Qx, Qy)`` of bool.
    """

    defocus: float
    rotation: float
    transposed: bool
    centre: tuple[float, float]
    drift: tuple[float, float]
    dose: float
    phase: NDArray[np.float32]
    hot: NDArray[np.bool_]
    dead: NDArray[np.bool_]

    def write(self, path: str | Path) -> Path:
        """Write an ``.npz`` of all fields by their names, whole or not at all."""
        path = Path(path)
        with whole_file(path) as temporary:
            np.savez_compressed(temporary, **{f.name: getattr(self, f.name) for f in fields(self)})
        return path


@dataclass(frozen=True)
class StandIn:
    """A scan before its electrons are counted.

    Parameters
    ----------
    title : str
        Of the specimen.
    acquisition : Acquisition
        As the microscope would say it, but for the defocus.
    detector_pixel : float
        Of the camera [mrad].
    expected : ndarray
        Share of the electrons in every pixel, its faults left out ``(Rx, Ry, Qx, Qy)``.
    faults : ndarray
        What hot pixels count beside that, as a share of the electrons ``(Qx, Qy)``.
    truth : Truth
        Of an infinite dose.
    """

    title: str
    acquisition: Acquisition
    detector_pixel: float
    expected: NDArray[np.float32]
    faults: NDArray[np.float32]
    truth: Truth

    def expose(self, dose: float, seed: int = 0) -> tuple[Recording, Truth]:
        """Count electrons, each in one pixel, of Poisson statistics.

        Parameters
        ----------
        dose : float
            e⁻/Å².
        seed : int
            Of the counting noise.

        Returns
        -------
        Recording, Truth
            A file that says energy, step, semi-angle and detector pixel, and what it does not say.

        Raises
        ------
        ValueError
            If the dose is not positive and finite.
        """
        electrons = electrons_per_probe(dose, self.acquisition)
        if math.isinf(dose):
            raise ValueError("dose is inf e⁻/Å²; a camera counts a finite number of electrons")
        generator = torch.Generator().manual_seed(seed)
        good = ~self.truth.dead
        counts = np.empty(self.expected.shape, dtype=np.float32)
        for line, mean in zip(counts, self.expected, strict=True):
            rate = torch.from_numpy((mean + self.faults) * good * np.float32(electrons))
            line[:] = torch.poisson(rate, generator=generator).numpy()
        pixel = (self.detector_pixel, self.detector_pixel)
        cube = Datacube(smallest_kind(counts), self.acquisition.step, pixel, electrons)
        known = {
            "energy": self.acquisition.energy,
            "step": self.acquisition.step,
            "semiangle": self.acquisition.semiangle,
            "detector_pixel": pixel,
        }
        provenance = {
            "title": f"stand-in for a scan of {self.title}",
            "made_by": f"misr4d {__version__}",
        }
        return Recording(cube, None, known, provenance), replace(self.truth, dose=dose)


@lru_cache(maxsize=1)
def make_stand_in(
    specimen: str = "Li2CoO3",
    *,
    seed: int = 0,
    positions: int = 64,
    drift: float = DRIFT,
    transposed: bool | None = None,
) -> StandIn:
    """Simulate a scan that nobody calibrated; the last one is kept for the process.

    Parameters
    ----------
    specimen : str
        One of ``misr4d.specimens.catalogue.SPECIMENS``.
    seed : int
        Of all that a microscope leaves to chance: the defocus, within 15 % of its regime's, the
        rotation, the drift's direction, the axis, the place of the scan, faults of the detector.
    positions : int
        Of the scan, each way.
    drift : float
        From one line to the next, as a share of the step.
    transposed : bool, optional
        By default left to chance.

    Returns
    -------
    StandIn

    Raises
    ------
    ValueError
        For an unknown specimen, or a value out of range.
    """
    rng = np.random.default_rng(seed)
    sample = make_specimen(specimen)
    regime = REGIMES[sample.regime]
    most = min(regime.scan_shape)
    if not 32 <= positions <= most:
        raise ValueError(f"positions is {positions}; expected 32 to {most}")
    if not 0 <= drift <= 0.3:
        raise ValueError(f"drift is {drift!r} of a step; expected 0 to 0.3")
    scene = place(sample, regime.defocus * rng.uniform(0.85, 1.05))
    acquisition = replace(scene.acquisition, scan_shape=(positions, positions))
    rotation = rng.uniform(-180, 180)
    swapped = bool(rng.integers(2))
    swapped = swapped if transposed is None else transposed
    direction = rng.uniform(0, 2 * math.pi)
    step = acquisition.step[0]
    slip = (drift * step * math.cos(direction), drift * step * math.sin(direction))
    middle = np.array(scene.potential.cell) * (0.5 + rng.uniform(-0.05, 0.05, 2))
    axis = rng.uniform(-_OFF_AXIS, _OFF_AXIS, 2)
    to_cell = detector_axes(-rotation, False).numpy() @ drift_matrix(
        slip, acquisition.step, acquisition.scan_shape
    )

    def on_specimen(finer: int) -> NDArray[np.float64]:
        """Places in the cell of a grid finer than the scan ``(finer·Rx, finer·Ry, 2)`` [Å]."""
        line = np.arange(finer * positions) / finer - (positions - 1) / 2
        stated = np.stack(np.meshgrid(line, line, indexing="ij"), -1) * acquisition.step
        where: NDArray[np.float64] = stated @ to_cell.T + middle
        return where

    whole = np.rint(axis).astype(int)
    cube = simulate_patterns(
        scene.potential,
        acquisition,
        max_angle=_ANGLE,
        positions=on_specimen(1),
        axis=(axis[0] - whole[0], axis[1] - whole[1]),
    )
    reach = cube.patterns.shape[2] // 2 - _OFF_AXIS
    first = [cube.patterns.shape[2] // 2 - reach - int(w) for w in whole]
    window = [slice(f, f + 2 * reach) for f in first]
    spread = np.stack(
        [gaussian_filter(line, (0, _SPREAD, _SPREAD), mode="constant") for line in cube.patterns]
    )
    expected = spread[:, :, window[0], window[1]]
    centre = (reach + axis[0], reach + axis[1])
    if swapped:
        expected, centre = expected.swapaxes(2, 3), (centre[1], centre[0])
    faults, hot, dead = _faults(expected.mean((0, 1)), rng)
    known = Truth(
        acquisition.refocused(scene.potential.thickness / 2).defocus,
        rotation,
        swapped,
        centre,
        slip,
        math.inf,
        _phase(scene.potential, regime, on_specimen(UPSAMPLING)),
        hot,
        dead,
    )
    return StandIn(
        scene.specimen.short_title,
        acquisition,
        cube.detector_pixel[0],
        np.ascontiguousarray(expected),
        faults,
        known,
    )


def _faults(
    mean: NDArray[np.float32], rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
    """Put a hot row, hot pixels and, within the disc, dead ones on a detector ``(Qx, Qy)``."""
    level = float(np.quantile(mean, 0.9))
    hot, dead = np.zeros(mean.shape, dtype=bool), np.zeros(mean.shape, dtype=bool)
    lit = np.flatnonzero(mean.ravel() > 0.8 * level)
    dead.ravel()[rng.choice(lit, _DEAD, replace=False)] = True
    faults = np.zeros(mean.shape, dtype=np.float32)
    places = rng.choice(mean.size, _HOT, replace=False)
    faults.ravel()[places] = (
        level * _HOT_LEVEL[0] * (_HOT_LEVEL[1] / _HOT_LEVEL[0]) ** rng.uniform(size=_HOT)
    )
    hot.ravel()[places] = True
    row = int(rng.integers(2, len(mean) - 2))
    faults[row] += _ROW_LEVEL * level
    hot[row] = True
    return faults, hot & ~dead, dead


def _phase(
    potential: Potential, regime: Acquisition, places: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Projected phase at places in the cell, by cubic splines on a grid twice as fine as wanted."""
    steps = tuple(round(c / s) for c, s in zip(potential.cell, regime.step, strict=True))
    fine = 2 * UPSAMPLING
    grid = truth(potential, replace(regime, scan_shape=(steps[0], steps[1])), fine).numpy()
    at = places / np.array(regime.step) * fine
    phase: NDArray[np.float32] = map_coordinates(
        grid, at.transpose(2, 0, 1), order=3, mode="grid-wrap"
    )
    return phase


@dataclass(frozen=True)
class Comparison:
    """One line of the comparison of what was estimated with what is true.

    Parameters
    ----------
    name, unit : str
    true, estimated : tuple of float, or bool
    error : tuple of float
        Estimated less true; an angle's by the shorter way round.
    stated : float or None
        Standard error that the report states.
    """

    name: str
    unit: str
    true: tuple[float, ...]
    estimated: tuple[float, ...]
    error: tuple[float, ...]
    stated: float | None = None

    def record(self) -> dict[str, object]:
        """Make what JSON can hold."""
        return asdict(self)


def compare_with_truth(result: Prepared | Report, known: Truth) -> list[Comparison]:
    """Set what was estimated beside the truth.

    Parameters
    ----------
    result : Prepared or Report
    known : Truth

    Returns
    -------
    list of Comparison
        Defocus, rotation, transpose, centre, drift, dose; then of the detector's faults how many
        were found and how many good pixels were taken for one; for a report, the correlation of
        its images with the phase, both straightened by the drift as estimated.
    """
    rows = []
    for name in ("defocus", "rotation", "transposed", "centre", "drift", "dose"):
        quantity = result.quantities[name]
        true, estimated = (
            tuple(float(v) for v in np.atleast_1d(value))
            for value in (getattr(known, name), quantity.value)
        )
        error = tuple(e - t for e, t in zip(estimated, true, strict=True))
        if name == "rotation":
            error = tuple((e + 180) % 360 - 180 for e in error)
        rows.append(Comparison(name, quantity.unit, true, estimated, error, quantity.error))
    bad, faulty = result.detector.bad, known.hot | known.dead
    for name, pixels, true_count in (
        ("bad pixels found", bad & faulty, int(faulty.sum())),
        ("good taken for bad", bad & ~faulty, 0),
    ):
        count = int(pixels.sum())
        rows.append(Comparison(name, "", (true_count,), (count,), (count - true_count,)))
    if isinstance(result, Report):
        phase = result.straightened(torch.from_numpy(known.phase))
        for name, image in result.images.items():
            value = float(correlation(image, phase))
            rows.append(Comparison(f"correlation, {name}", "", (1.0,), (value,), (value - 1,)))
    return rows


def format_comparison(rows: list[Comparison]) -> str:
    """Lay out a comparison for a terminal."""

    def shown(values: tuple[float, ...], sign: str = "") -> str:
        return " × ".join(f"{v:{sign}.5g}" if v else "0" for v in values)

    cells = [("", "true", "estimated", "error", "stated error")]
    for row in rows:
        stated = "" if row.stated is None else f"± {row.stated:.2g}"
        name = f"{row.name} [{row.unit}]" if row.unit else row.name
        error = " × ".join(f"{v:+.2g}" for v in row.error)
        cells.append((name, shown(row.true), shown(row.estimated), error, stated))
    width = [max(len(line[column]) for line in cells) for column in range(5)]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(line, width, strict=True)).rstrip()
        for line in cells
    )


def run_demo(
    folder: str | Path, stand_in: StandIn, dose: float, seed: int = 0, method: Method = "informed"
) -> tuple[Report, list[Comparison]]:
    """Write a stand-in's scan and its truth, reconstruct the scan from its file, and compare.

    Parameters
    ----------
    folder : str or Path
        Gets ``scan.h5``, ``truth.npz`` and what ``misr4d reconstruct`` writes.
    stand_in : StandIn
    dose : float
        e⁻/Å².
    seed : int
        Of the counting noise and the half-sets.
    method : {"informed", "direct"}

    Returns
    -------
    Report, list of Comparison
        The reconstruction saw ``scan.h5`` alone.

    Raises
    ------
    ValueError
        If the folder cannot be written to, or the electrons are too few to calibrate by.
    """
    folder = Path(folder)
    recording, known = stand_in.expose(dose, seed)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{folder} cannot be written to: {error.strerror}") from None
    path = recording.write(folder / "scan.h5")
    known.write(folder / "truth.npz")
    report = reconstruct_scan(read_scan(path), method=method, seed=seed)
    report.write(folder)
    return report, compare_with_truth(report, known)


def record_scan(
    specimen: str,
    dose: float,
    *,
    seed: int = 0,
    thickness: float | None = None,
    defocus: float | None = None,
    positions: int | None = None,
) -> Recording:
    """Simulate a scan of one of the paper's specimens, as the study measures it.

    Parameters
    ----------
    specimen : str
        One of ``misr4d.specimens.catalogue.SPECIMENS``.
    dose : float
        e⁻/Å²; ``inf`` gives the expected patterns as fractions.
    seed : int
        Of the counting noise.
    thickness, defocus : float, optional
        In Å; the specimen's and the regime's own unless given.
    positions : int, optional
        Scan only so many along each axis, from the corner of the field.

    Raises
    ------
    ValueError
        For an unknown specimen, or a value out of range.
    """
    scene = make_scene(specimen, thickness, defocus)
    acquisition = scene.acquisition
    if positions is not None:
        most = min(acquisition.scan_shape)
        if not 32 <= positions <= most:
            raise ValueError(f"positions is {positions}; expected 32 to {most}")
        acquisition = replace(acquisition, scan_shape=(positions, positions))
        scene = Scene(scene.specimen, acquisition, scene.potential)
    electrons = electrons_per_probe(dose, acquisition)
    cube = scene.measure(dose, seed).whole
    if math.isfinite(dose):
        counts = np.rint(cube.patterns * np.float32(electrons))
        cube = replace(cube, patterns=smallest_kind(counts), electrons=electrons)
    quantities = {
        "energy": acquisition.energy,
        "step": acquisition.step,
        "semiangle": acquisition.semiangle,
        "detector_pixel": cube.detector_pixel,
        "defocus": acquisition.defocus,
        "thickness": scene.potential.thickness,
        "rotation": 0.0,
        "transposed": False,
        "centre": tuple(float(n // 2) for n in cube.patterns.shape[2:]),
    }
    if math.isfinite(dose):
        quantities["dose"] = dose
    provenance = {
        "specimen": scene.specimen.name,
        "title": scene.specimen.title,
        "seed": seed,
        "dose": dose,
        "made_by": f"misr4d {__version__}",
        "torch": torch.__version__,
    }
    return Recording(cube, scene.truth, quantities, provenance)
