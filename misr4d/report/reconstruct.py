"""A prepared scan, reconstructed and judged by half-sets."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from misr4d import __version__
from misr4d.calibrate.drift import straighten
from misr4d.core.acquisition import UPSAMPLING, Acquisition, nearest_regime
from misr4d.core.device import pick_device
from misr4d.core.dose import electrons_per_pixel
from misr4d.core.estimate import TILE, Estimate, tiles
from misr4d.core.workers import TaskPool, task_pool
from misr4d.io.scan import Quantity, Scan
from misr4d.learn.learned import card, informed, informed_tiled, network_for
from misr4d.learn.ranges import deepest, outside
from misr4d.reconstruction.direct import covering_factor, starting_point
from misr4d.reconstruction.refine import Refined, refine_scan
from misr4d.reconstruction.tuned import prior_strength
from misr4d.report.beam import DISC_RADIUS
from misr4d.report.counts import BadPixelChoice
from misr4d.report.half_sets import (
    half_set_curve,
    half_set_resolution,
    halves_by_lines,
    halves_of_counts,
    on_first_lines,
)
from misr4d.report.html import is_end
from misr4d.report.noise import unexplained
from misr4d.report.preparation import Prepared, check_known, prepare
from misr4d.report.report import (
    METHOD_NAMES,
    Method,
    Report,
    quantity_line,
    rms,
    shown_period,
)

__all__ = ["plan", "reconstruct_scan"]

# Our choice: from this noise on, that of counting being 1, a value is several counts.
_SEVERAL = 1.5
_THICK = 100.0  # Å; our choice: a specimen so thin has to be made with care
# Our choice: so much finer than direct ptychography's half-sets, and the prior drew it.
_FAR = 1.25


def plan(scan: Scan, method: Method = "informed", upsampling: int = UPSAMPLING) -> str:
    """Describe what a reconstruction would use, do and need, without reading a pattern.

    Raises
    ------
    ValueError
        If it could not start: as :func:`misr4d.report.preparation.prepare` for what must be known.
    """
    _check_grid(method, upsampling)
    check_known(scan)
    nx, ny = scan.patterns.shape[:2]
    lines = [scan.described()]
    lines += [quantity_line(name, q) for name, q in scan.known.items()]
    quantity_names = ("centre", "semiangle", "detector_pixel", "defocus", "rotation", "dose")
    missing = [name.replace("_", " ") for name in quantity_names if name not in scan.known]
    if missing:
        lines.append("  to be estimated: " + ", ".join(missing))
    lines += [f"warning: {note}" for note in scan.notes]
    count = len(tiles((nx, ny), (min(nx, TILE), min(ny, TILE))))
    # Some 200 views, and as much again for half-sets.
    memory = 2 * math.pi * DISC_RADIUS**2 * nx * ny * 4 / 2**30
    lines.append(
        f"would reconstruct {upsampling * nx} × {upsampling * ny} pixels by {method} in {count} "
        f"{'tile' if count == 1 else 'tiles'}, views in about {memory:.2g} GiB of memory"
    )
    return "\n".join(lines)


class _Direct(nn.Module):
    """In place of the network: the direct estimate that it starts from, without a deviation."""

    def forward(self, maps: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        return maps[:, 0], torch.zeros_like(maps[:, 0])


_STARTS: dict[str, nn.Module | None] = {"informed": None, "direct": _Direct()}


def reconstruct_scan(
    scan: Scan,
    *,
    method: Method = "informed",
    upsampling: int = UPSAMPLING,
    seed: int = 0,
    bad_pixels: BadPixelChoice = "found",
    level_dose: bool = True,
    device: str | None = None,
    scheduler: str | None = None,
    workers: int | None = None,
) -> Report:
    """Reconstruct a scan, on a grid finer than its positions.

    Parameters
    ----------
    scan : Scan
        As from :func:`misr4d.io.reading.read_scan`.
    method : {"informed", "direct", "refined"}
        The shipped network that starts from direct ptychography, direct ptychography alone, or the
        network's image refined by the counted electrons (:mod:`misr4d.reconstruction.refine`;
        minutes).
    upsampling : int
        Pixels of the image per scan step; all methods but direct take 3, 6, 9 … as the network
        works on blocks of 3 × 3.
    seed : int
        Of the random division of electrons into two half-sets.
    bad_pixels : {"found", "none"} or ndarray
    level_dose : bool
        As in :func:`misr4d.report.preparation.prepare`.
    device : str, optional
        Where to reconstruct, such as ``cpu``; by default a GPU if there is one.
    scheduler, workers
        Distribute the tiles of a scan larger than 64 × 64 to dask workers, as
        :func:`misr4d.core.workers.task_pool`; by default this process does them all.

    Returns
    -------
    Report

    Raises
    ------
    ValueError
        As :func:`misr4d.report.preparation.prepare`, or if the method does not exist, or needs
        counts and there are none, or there is no such device or scheduler.
    """
    device = pick_device(device)
    if method not in METHOD_NAMES:
        raise ValueError(f"unknown method {method!r}; known: {', '.join(METHOD_NAMES)}")
    _check_grid(method, upsampling)
    check_known(scan)  # before workers are started
    if max(scan.patterns.shape[:2]) <= TILE:
        scheduler = workers = None  # one tile is not distributed
    with task_pool(scheduler, workers) as pool:
        prepared = prepare(scan, bad_pixels, level_dose=level_dose, upsampling=upsampling)
        return _reconstruct(scan, prepared, method, seed, device, pool)


def _reconstruct(
    scan: Scan, ready: Prepared, method: Method, seed: int, device: str, pool: TaskPool
) -> Report:
    acquisition = ready.acquisition
    views = ready.cube.views(acquisition)
    if method == "refined" and not ready.counted:
        raise ValueError(
            f"{scan.path.name} does not hold counts of single electrons, which refinement weighs; "
            "use --method informed"
        )
    upsampling = ready.upsampling
    pixel = _fine(acquisition, upsampling)
    curves: dict[str, tuple[Tensor, Tensor, Tensor]] = {}
    known, warnings = dict(ready.quantities), list(ready.warnings)
    single_electrons, several = ready.counted, 1.0
    if ready.counted:
        known["noise"] = Quantity(
            unexplained(views, acquisition, ready.cube, upsampling, device).ratio,
            "times that of counting",
            "estimated",
        )
        warnings += _miscounted(known["noise"].value)
        single_electrons = known["noise"].value <= _SEVERAL
        several = 1.0 if single_electrons else known["noise"].value
    estimates = _images(
        views, ready, method, device, pool, dose_fraction=1.0, counts_per_electron=several
    )
    direct = estimates["direct"].mean
    deviation = None if method == "direct" else estimates["informed"].deviation.numpy()
    if single_electrons:
        half_set_images: dict[str, list[Tensor]] = {name: [] for name in estimates}
        for half in halves_of_counts(views, ready, seed):
            for name, estimate in _images(
                half, ready, method, device, pool, dose_fraction=0.5
            ).items():
                half_set_images[name].append(estimate.mean)
        del views, half  # before the spectra, which take as much memory
        for name, images in half_set_images.items():
            curves[name] = half_set_curve(
                images[0], images[1], pixel, acquisition.information_limit
            )
    else:
        try:
            lines_acquisition, parts = halves_by_lines(views, acquisition, upsampling)
        except ValueError as reason:
            warnings.append(f"there is no half-set resolution: of every other line, {reason}")
        else:
            even, odd = (
                _image(part, lines_acquisition, upsampling, "direct", device, pool).mean
                for part in parts
            )
            curves["direct"] = half_set_curve(
                even,
                on_first_lines(odd, upsampling),
                _fine(lines_acquisition, upsampling),
                acquisition.information_limit,
            )
            warnings.append(
                "the half-sets are the even and the odd lines of the scan, since the values do not "
                "have the noise of single electrons; only direct ptychography is compared, and no "
                f"ring finer than {1 / float(curves['direct'][0][-1]):.3g} Å"
            )
    limits = {name: half_set_resolution(*curve) for name, curve in curves.items()}
    warnings += _coarse_grid(curves, limits, acquisition, upsampling, method)
    provenance = {
        "misr4d": __version__,
        "reader": scan.reader,
        "file": dict(scan.provenance),
        "seed": seed,
        "device": device,
    }
    if method != "direct":
        network = network_for(acquisition, upsampling)
        provenance["network"] = network
        provenance["weights"] = card(network)["sha256"]
    refined = estimates.get("refined")
    if isinstance(refined, _Second):
        strength = prior_strength(nearest_regime(acquisition))
        provenance["prior_strength"] = {"weight": strength.weight, "tail": str(strength.tail)}
        if single_electrons:
            known["deviance_z"] = Quantity(
                refined.result.deviance_z, "standard deviations", "estimated"
            )
            warnings += [refined.result.warning] if refined.result.warning else []
        else:
            warnings.append(_widened(several))
        known["fitted_defocus"] = Quantity(refined.result.defocus, "Å", "estimated")
        known["fitted_gain"] = Quantity(refined.result.gain, "times the dose", "estimated")
    report = Report(
        scan.path.name,
        method,
        estimates[method].mean,
        deviation,
        direct,
        estimates["informed"].mean if method == "refined" else None,
        pixel,
        known,
        limits,
        tuple(warnings),
        provenance,
        ready.detector,
        curves,
        acquisition.scan_matrix,
    )
    warnings += _training_range_warnings(report, acquisition, upsampling)
    return replace(report, warnings=tuple(warnings))


@dataclass(frozen=True)
class _Second(Estimate):
    """A refined image with its first stage's deviation, and the other results of refinement.

    The first stage's calibration does not hold for it: it states no intervals.
    """

    result: Refined = field(kw_only=True)


def _images(
    views: Tensor,
    ready: Prepared,
    method: str,
    device: str,
    pool: TaskPool,
    *,
    dose_fraction: float,
    counts_per_electron: float = 1.0,
) -> dict[str, Estimate]:
    """Make a method's image, after the images that it starts from, at a fraction of the dose.

    Counts are refined divided by the number that an electron makes: their noise is then that of the
    Poisson likelihood, which is wider by as much.
    """
    acquisition = ready.acquisition
    upsampling = ready.upsampling
    estimates = {"direct": _image(views, acquisition, upsampling, "direct", device, pool)}
    if method != "direct":
        estimates["informed"] = _image(views, acquisition, upsampling, "informed", device, pool)
    if method == "refined":
        network_estimate = estimates["informed"]
        dose = dose_fraction * ready.cube.electrons / math.prod(acquisition.step)
        electrons = electrons_per_pixel(dose, acquisition)
        result = refine_scan(
            # Where a floor was subtracted, its noise may leave less than nothing.
            lambda rows, columns: (
                (views[:, rows, columns] * electrons).round().clamp_min(0) / counts_per_electron
            ),
            acquisition,
            dose / counts_per_electron,
            network_estimate,
            strength=prior_strength(nearest_regime(acquisition)),
            tile=TILE,
            fit_defocus=ready.quantities["defocus"].origin == "estimated",
            fit_gain=True,
            device=device,
            pool=pool,
        )
        estimates["refined"] = _Second(result.image, network_estimate.deviation, result=result)
    return {
        name: _straightened(estimate, acquisition, upsampling)
        for name, estimate in estimates.items()
    }


def _straightened(estimate: Estimate, acquisition: Acquisition, upsampling: int) -> Estimate:
    """Put an image and its deviation on a regular grid of the specimen, if the scan drifted."""
    if not acquisition.drifts:
        return estimate
    pixel = _fine(acquisition, upsampling)
    mean = straighten(estimate.mean, pixel, acquisition.scan_matrix)
    # A spline may fall below zero beside a peak; a deviation must not.
    deviation = straighten(estimate.deviation, pixel, acquisition.scan_matrix).clamp_min(0)
    return replace(estimate, mean=mean - mean.mean(), deviation=deviation)


def _fine(acquisition: Acquisition, upsampling: int) -> tuple[float, float]:
    """Pixel of an image [Å]."""
    return acquisition.step[0] / upsampling, acquisition.step[1] / upsampling


def _image(
    views: Tensor,
    acquisition: Acquisition,
    upsampling: int,
    name: str,
    device: str,
    pool: TaskPool,
) -> Estimate:
    """Image and deviation; all images of a field of one tile share its kernels."""
    network = _STARTS[name]
    if max(acquisition.scan_shape) > TILE:
        return informed_tiled(
            views,
            acquisition,
            upsampling=upsampling,
            tile=TILE,
            device=device,
            network=network,
            pool=pool,
        )
    starting = starting_point(acquisition, upsampling, device=device)
    estimate = informed(starting, views, network=network)
    return replace(estimate, mean=estimate.mean.cpu(), deviation=estimate.deviation.cpu())


def _miscounted(noise: float) -> list[str]:
    """Warn if the noise of the values is not that of counted electrons."""
    if noise > _SEVERAL:
        return [
            f"the noise is {noise:.3g} times that of counted electrons: either the camera gives "
            "several counts per electron, so that the dose is as many times too high (pass "
            "--gain), or the dose is so high that what the linear model misses exceeds the noise"
        ]
    if noise < 0.7:
        return [
            f"the noise is {noise:.3g} times that of counted electrons: the patterns were filtered "
            "or scaled, and the half-set resolution is too fine"
        ]
    return []


def _widened(counts_per_electron: float) -> str:
    """Say that the electrons weigh less against the prior than there are counts."""
    return (
        f"the likelihood of the refinement is wider: it counts an electron for every "
        f"{counts_per_electron:.3g} counts, as their noise says, and whether the image explains "
        "the electrons cannot be tested"
    )


def _check_grid(method: Method, upsampling: int) -> None:
    """Raise unless a method makes an image so many times finer than the scan."""
    if method == "direct" and upsampling < 1:
        raise ValueError(f"upsampling is {upsampling}; expected 1 or more pixels per scan step")
    if method != "direct" and (upsampling < 1 or upsampling % UPSAMPLING):
        raise ValueError(
            f"upsampling is {upsampling} and the method {method}, whose network works on blocks of "
            f"{UPSAMPLING} × {UPSAMPLING} pixels; expected {UPSAMPLING}, {2 * UPSAMPLING}, "
            f"{3 * UPSAMPLING} …, or --method direct"
        )


def _coarse_grid(
    curves: Mapping[str, tuple[Tensor, Tensor, Tensor]],
    limits: Mapping[str, Mapping[str, float]],
    acquisition: Acquisition,
    upsampling: int,
    method: Method,
) -> list[str]:
    """Warn if half-sets agree in the grid's last ring, and a finer grid can be had."""
    ends = {name: 1 / float(curve[0][-1]) for name, curve in curves.items()}
    if not any(is_end(limits[name]["finest ring"], end) for name, end in ends.items()):
        return []
    block = 1 if method == "direct" else UPSAMPLING
    possible = math.isqrt(acquisition.number_of_views)
    finer = min(math.ceil(covering_factor(acquisition) / block), possible // block) * block
    if finer <= upsampling:
        return []
    return [
        f"half-sets still agree in the last ring, {max(ends.values()):.3g} Å: that is where this "
        f"grid ends, not the data; the information limit is {acquisition.information_limit:.3g} Å: "
        f"take --upsampling {finer}"
    ]


def _training_range_warnings(
    report: Report, acquisition: Acquisition, upsampling: int
) -> list[str]:
    """Warn where the network was not trained, and where its prior, not the data, made the image."""
    if report.method == "direct":
        return []
    warnings = []
    if network_for(acquisition, upsampling) == "InstrumentInformed":
        warnings += [f"{text}: compare with direct" for text in outside(acquisition, upsampling)]
        if (limit := deepest(acquisition)) < _THICK:
            warnings.append(
                f"views of a specimen thicker than {limit:.0f} Å, three times λ/α², do not show "
                "its projected phase, and the stated deviation is too small"
            )
    if report.deviation is not None:
        if rms(report.deviation) > float(report.mean.std()):
            warnings.append("the deviation is larger than the signal: this image shows noise")
        warnings += _prior(report)
    return warnings


def _prior(report: Report) -> list[str]:
    if not report.resolution:
        return []
    direct_resolution = report.resolution["direct"]["half-bit"]
    if math.isinf(direct_resolution):
        return ["the half-sets of direct ptychography agree at no frequency: the prior drew this"]
    method_resolution = report.resolution.get(report.method)
    if method_resolution is not None and method_resolution["half-bit"] < direct_resolution / _FAR:
        return [
            f"half-sets agree to {shown_period(method_resolution['half-bit'])} with the network "
            f"and to {shown_period(direct_resolution)} without: detail between the two rests on "
            "the network's prior"
        ]
    return []
