"""The shipped networks, ready to use: weights with their cards, and one call each.

Weights are safetensors beside this module, checked against the checksum on their card
(``data/weights/NAME.json``), which also says how they were made and how they score.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn import functional

from misr4d.core.acquisition import REGIMES, UPSAMPLING, Acquisition, nearest_regime
from misr4d.core.estimate import OVERLAP, TILE, Estimate, blend_tiles, tiles
from misr4d.core.files import whole_file, write_whole
from misr4d.core.workers import TaskPool, in_this_process
from misr4d.learn.configuration import (
    acquisition_of,
    build_network,
    recorded_training,
    view_geometry,
)
from misr4d.learn.networks import NETWORKS, InstrumentInformed, conditions, direct_features
from misr4d.reconstruction.direct import DirectPtychography, Statistic, starting_point

__all__ = [
    "SHIPPED",
    "STUDIED",
    "amend",
    "attention_unet",
    "calibrated_intervals",
    "card",
    "dual_path",
    "informed",
    "informed_from",
    "informed_tiled",
    "is_shipped",
    "load_network",
    "network_for",
    "pack",
    "starting_weights",
    "trained_detector",
    "training_log",
    "view_groups",
]

_FOLDER = files("misr4d") / "data" / "weights"
STUDIED = ("DirectInformed", "AttentionUNet", "DualPath")
"""Shipped networks that the study compares, at the paper's two settings."""
SHIPPED = (*STUDIED, "InstrumentInformed")
"""Networks whose weights come with the package."""


def calibrated_intervals(name: str, acquisition: Acquisition) -> dict[float, float] | None:
    """Read a network's calibration for the regime whose scan step is nearest from its card.

    None if its card has none: then nothing is known of its deviation.
    """
    regime = nearest_regime(acquisition)
    for row in card(name).get("calibration", {}).get("intervals", []):
        if row["regime"] == regime:
            return {float(coverage): float(factor) for coverage, factor in row["factors"].items()}
    return None


_NEAR = 1.25  # our choice: a larger ratio to a value of the paper's settings is another instrument


def network_for(acquisition: Acquisition, upsampling: int = UPSAMPLING) -> str:
    """Name the shipped network that starts from direct ptychography of a measurement.

    ``DirectInformed`` at one of the paper's two settings: if pixel of the image, semi-angle, energy
    and the displacement of the outermost view are within a quarter of theirs, and the probe has no
    astigmatism. ``InstrumentInformed`` for any other.
    """
    trained = REGIMES[nearest_regime(acquisition)]
    ratios = (
        min(acquisition.step) / upsampling / (trained.step[0] / UPSAMPLING),
        acquisition.semiangle / trained.semiangle,
        acquisition.energy / trained.energy,
        acquisition.largest_view_shift
        / min(acquisition.step)
        / (trained.largest_view_shift / trained.step[0]),
    )
    near = all(1 / _NEAR <= ratio <= _NEAR for ratio in ratios)
    return "DirectInformed" if near and not any(acquisition.astigmatism) else "InstrumentInformed"


def is_shipped(name: str) -> bool:
    """Whether the package has weights of a network."""
    return name in SHIPPED and (_FOLDER / f"{name}.json").is_file()


def starting_weights(name: str) -> dict[str, str]:
    """List the shipped weights that a run may start from: the network of each SHA-256."""
    possible = (name, *NETWORKS[name].adopts)
    return {card(each)["sha256"]: each for each in possible if is_shipped(each)}


def card(name: str) -> dict[str, Any]:
    """Read what is known of a shipped network: data, seed, steps, device, time, scores, checksum.

    Raises
    ------
    ValueError
        If no such network is shipped.
    """
    path = _FOLDER / f"{name}.json"
    if not is_shipped(name):
        raise ValueError(f"no weights for {name!r}; shipped are {', '.join(SHIPPED)}")
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record


def trained_detector(record: dict[str, Any]) -> str:
    """Say what pixels a network was trained on, according to its card."""
    runs = [*record.get("before", []), record["training"]]
    finite = [samples > 1 for samples in record["pixel_samples"]]
    if len(finite) != len(runs):
        raise ValueError(
            f"the card of {record['network']} has {len(finite)} pixel_samples for {len(runs)} runs"
        )
    if all(finite):
        return "finite pixels"
    if not any(finite):
        return "point pixels"
    steps = sum(run["steps"] for run, is_finite in zip(runs, finite, strict=True) if is_finite)
    return f"point pixels, and finite ones in {steps} of {sum(run['steps'] for run in runs)} steps"


def training_log(name: str) -> list[dict[str, float]]:
    """Read the log of a shipped network's training: ``step``, ``loss``, ``rate``, ``seconds``."""
    card(name)
    csv_text = (_FOLDER / f"{name}.csv").read_text(encoding="utf-8")
    return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(csv_text.splitlines())]


@cache
def load_network(name: str, device: str = "cpu") -> nn.Module:
    """Load a shipped network, checked, in evaluation mode.

    Raises
    ------
    ValueError
        If no such network is shipped, or the file does not have the checksum of its card.
    """
    record = card(name)
    content = (_FOLDER / f"{name}.safetensors").read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != record["sha256"]:
        raise ValueError(
            f"the weights of {name} have the SHA-256 {digest[:12]}…; their card says "
            f"{record['sha256'][:12]}…: install the package anew"
        )
    network = build_network(recorded_training(record))
    state = {k: v.float() if v.is_floating_point() else v for k, v in load(content).items()}
    network.load_state_dict(state)
    return network.to(device).eval()


def _joined(first: str, second: str) -> str:
    """Join the logs of two runs, one after the other: steps and seconds continue."""
    head, *rows = first.splitlines()
    last_row = dict(zip(head.split(","), rows[-1].split(","), strict=True))
    step, seconds = int(last_row["step"]), float(last_row["seconds"])
    for row in csv.DictReader(second.splitlines()):
        elapsed = f"{seconds + float(row['seconds']):.1f}"
        rows.append(f"{step + int(row['step'])},{row['loss']},{row['rate']},{elapsed}")
    return "\n".join([head, *rows]) + "\n"


def pack(weights: Path, name: str, extra: dict[str, Any]) -> Path:
    """Ship a training's result: half-precision weights and a card, in the package's own folder.

    Parameters
    ----------
    weights : Path
        ``weights.safetensors`` of a finished :func:`misr4d.learn.training.train`, its ``log.csv``
        beside. A run that continued from the shipped weights continues their log, too.
    name : str
        One of :data:`SHIPPED`.
    extra : dict
        What the card shall say beside configuration, seconds and detector of all runs (points a
        side of a pixel), and checksum.
    """
    from safetensors import safe_open

    with safe_open(weights, "pt") as file:
        config = json.loads(file.metadata()["config"])
        state = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
    half = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    content = save(half)
    folder = Path(str(_FOLDER))
    folder.mkdir(parents=True, exist_ok=True)
    log = weights.with_name("log.csv").read_text(encoding="utf-8")
    earlier_trainings: list[dict[str, Any]] = []
    samples: list[int] = []
    if config.get("start"):
        starts = starting_weights(name)
        if config["start"] not in starts:
            raise ValueError(
                f"the run went on from weights {config['start'][:12]}…; shipped are "
                f"{', '.join(f'{digest[:12]}…' for digest in starts)}, so their log cannot be "
                "continued"
            )
        start = starts[config["start"]]
        shipped = card(start)
        log = _joined((folder / f"{start}.csv").read_text(encoding="utf-8"), log)
        earlier_trainings = [*shipped.get("before", []), shipped["training"]]
        samples = shipped["pixel_samples"]
    record = {
        "network": name,
        "parameters": sum(v.numel() for v in half.values()),
        "training": config,
        "before": earlier_trainings,
        "pixel_samples": [*samples, acquisition_of("atomic", 0).pixel_samples],
        "seconds": float(log.splitlines()[-1].rsplit(",", 1)[1]),
        **extra,
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    write_whole(folder / f"{name}.csv", log)
    with whole_file(folder / f"{name}.safetensors") as temporary:
        temporary.write_bytes(content)
    return _write_card(folder, record)


def amend(name: str, extra: dict[str, Any]) -> Path:
    """Add to or change a shipped network's card; the weights stay the same.

    Raises
    ------
    ValueError
        If no such network is shipped, or the change concerns what identifies the weights.
    """
    fixed = {"network", "parameters", "training", "pixel_samples", "sha256"}
    if changed := fixed & extra.keys():
        raise ValueError(
            f"{sorted(changed)[0]} on the card of {name} belongs to its weights; use pack to ship "
            "others"
        )
    return _write_card(Path(str(_FOLDER)), {**card(name), **extra})


def _write_card(folder: Path, record: dict[str, Any]) -> Path:
    path = folder / f"{record['network']}.json"
    write_whole(path, json.dumps(record, indent=1) + "\n")
    return path


@torch.inference_mode()
def informed(
    method: DirectPtychography, views: Tensor, *, network: nn.Module | None = None
) -> Estimate:
    """Reconstruct by `DirectInformed`.

    Parameters
    ----------
    method : DirectPtychography
        Of the measurement, its defocus counted from the specimen's middle.
    views : Tensor
        ``(..., M, Rx, Ry)``, relative to a fully lit pixel in vacuum.
    network : Module, optional
        By default the shipped one.

    Returns
    -------
    Estimate
        ``(..., r·Rx, r·Ry)``, with the shipped network's calibration; another's has none.

    Raises
    ------
    ValueError
        If the views do not fit the method, or its image is not 3, 6, 9 … times finer than the scan.
    """
    method.check_views(views)
    if network is None and method.upsampling % UPSAMPLING:
        raise ValueError(
            f"upsampling is {method.upsampling}; the network works on blocks of {UPSAMPLING} × "
            f"{UPSAMPLING} pixels: take a multiple of {UPSAMPLING}, or direct ptychography alone"
        )
    estimate, _ = informed_from(method, method.statistic(views), network=network)
    shape = (*views.shape[:-3], *estimate.mean.shape[1:])
    return replace(
        estimate, mean=estimate.mean.reshape(shape), deviation=estimate.deviation.reshape(shape)
    )


@torch.inference_mode()
def informed_from(
    method: DirectPtychography, statistic: Statistic, *, network: nn.Module | None = None
) -> tuple[Estimate, Tensor]:
    """Reconstruct from the statistic of N measurements: :func:`informed`, and direct ptychography.

    Returns
    -------
    Estimate, Tensor
        ``(N, r·Rx, r·Ry)``; the second is the direct estimate [rad].
    """
    name = network_for(method.acquisition, method.upsampling)
    model = network or load_network(name, str(method.device))
    maps, step = direct_features(method, statistic)
    told = step
    if isinstance(model, InstrumentInformed):
        told = conditions(method).to(step).expand(len(maps), -1)
    mean, deviation = model(maps, told)
    mean = mean - mean.mean((-2, -1), keepdim=True)
    intervals = _calibration(network, method.acquisition, method.upsampling)
    return Estimate(mean, deviation, intervals), maps[:, 0]


def _calibration(
    network: nn.Module | None, acquisition: Acquisition, upsampling: int
) -> dict[float, float] | None:
    """Calibration of the shipped network at its own up-sampling; no other is known."""
    if network is not None or upsampling != UPSAMPLING:
        return None
    return calibrated_intervals(network_for(acquisition), acquisition)


@torch.inference_mode()
def informed_tiled(
    views: Tensor | Callable[[slice, slice], Tensor],
    acquisition: Acquisition,
    *,
    upsampling: int = UPSAMPLING,
    tile: int = TILE,
    overlap: int = OVERLAP,
    amplitude_contrast: float | None = None,
    device: str = "cpu",
    network: nn.Module | None = None,
    pool: TaskPool = in_this_process,
) -> Estimate:
    """Reconstruct a field of any size by overlapping tiles, in the memory of a few.

    Parameters
    ----------
    views : Tensor or callable
        ``(M, Rx, Ry)``, or a function from two slices of the scan to the views there, so that a
        scan larger than memory is read tile by tile.
    acquisition : Acquisition
        Of the whole scan, its defocus counted from the specimen's middle.
    upsampling : int
        Pixels of the image per scan step, as for :func:`informed`.
    tile, overlap : int
        Side of a tile, and how far it reaches into its neighbours [scan positions].
    amplitude_contrast : float, optional
        By default that of the regime with the nearest step.
    device : str
        Where to compute.
    network : Module, optional
        By default the shipped one.
    pool : TaskPool
        Where the tiles are reconstructed (:func:`misr4d.core.workers.task_pool`); by default in
        this process.

    Returns
    -------
    Estimate
        ``(r·Rx, r·Ry)``. Each tile's mean is set by where it overlaps those before it.

    Raises
    ------
    ValueError
        If the field is smaller than 32 × 32 positions, or tile and overlap do not fit each other.
    """
    nx, ny = acquisition.scan_shape
    if min(nx, ny) < 32:
        raise ValueError(f"the scan has {nx} × {ny} positions; expected at least 32 × 32")
    if not 0 <= 2 * overlap < tile or tile < 32:
        raise ValueError(
            f"tile is {tile} and overlap {overlap}; expected a tile of 32 or more, over twice the "
            "overlap"
        )
    shape = (min(tile, nx), min(tile, ny))
    tile_acquisition = replace(acquisition, scan_shape=shape)

    def tasks() -> Iterator[tuple[Any, ...]]:
        for rows, columns in tiles((nx, ny), shape, overlap):
            tile_views = views(rows, columns) if callable(views) else views[:, rows, columns]
            # As arrays, which are sent to a worker uncopied; cloned, to send no more than the tile.
            yield (
                tile_views.clone().cpu().numpy(),
                tile_acquisition,
                upsampling,
                amplitude_contrast,
                device,
                network,
            )

    tile_images = (
        (torch.from_numpy(array) for array in tile_image)
        for tile_image in pool(_informed_tile, tasks())
    )
    mean, deviation = blend_tiles(tile_images, (nx, ny), shape, overlap, upsampling)
    return Estimate(mean, deviation, _calibration(network, acquisition, upsampling))


@torch.inference_mode()
def _informed_tile(
    views: NDArray[np.float32],
    acquisition: Acquisition,
    upsampling: int,
    amplitude_contrast: float | None,
    device: str,
    network: nn.Module | None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Reconstruct one tile, here or on a worker."""
    method = starting_point(
        acquisition, upsampling, amplitude_contrast=amplitude_contrast, device=device
    )
    estimate = informed(method, torch.from_numpy(views), network=network)
    return estimate.mean.cpu().numpy(), estimate.deviation.cpu().numpy()


@torch.inference_mode()
def attention_unet(
    views: Tensor, acquisition: Acquisition, *, network: nn.Module | None = None
) -> Tensor:
    """Reconstruct by the paper's network: ``(M, Rx, Ry) → (3·Rx, 3·Ry)`` [rad], of zero mean.

    Raises
    ------
    ValueError
        If the detector is not the one that the network was trained for: its views are channels.
    """
    trained = acquisition_of("atomic", 0)
    if len(views) != trained.number_of_views or not math.isclose(
        acquisition.detector_pixel, trained.detector_pixel, rel_tol=0.02
    ):
        raise ValueError(
            f"{len(views)} views of {acquisition.detector_pixel:.3g} mrad pixels; the attention "
            f"U-Net knows {trained.number_of_views} views of {trained.detector_pixel:.3g} mrad and "
            "no others: use DirectInformed or DualPath"
        )
    model = network or load_network("AttentionUNet", str(views.device))
    nx, ny = views.shape[1:]
    pad = (0, -ny % 16, 0, -nx % 16)
    padded = functional.pad(acquisition.relative_to_vacuum(views)[None], pad, mode="replicate")
    image = model(padded)[0, 0, : UPSAMPLING * nx, : UPSAMPLING * ny]
    return image - image.mean()  # type: ignore[no-any-return]


@torch.inference_mode()
def dual_path(
    views: Tensor, acquisition: Acquisition, *, network: nn.Module | None = None
) -> Tensor:
    """Reconstruct by the dual-path network: ``(M, Rx, Ry) → (3·Rx, 3·Ry)`` [rad], of zero mean.

    Any number of views in any order, as long as `acquisition` lists them so; its defocus counts
    from the specimen's middle. The network takes them all at once, but attention over many more
    views than it was trained with picks out noise: they are divided over the disc into groups of
    about as many, and the images of the groups averaged.
    """
    model = network or load_network("DualPath", str(views.device))
    shifts, angles = (t.to(views.device) for t in view_geometry(acquisition))
    relative_views = acquisition.relative_to_vacuum(views)
    image = torch.stack(
        [
            model(relative_views[None, group], shifts[group], angles[group])[0, 0]
            for group in view_groups(acquisition)
        ]
    ).mean(0)
    return image - image.mean()


def view_groups(acquisition: Acquisition) -> list[list[int]]:
    """Divide the disc's views into groups of about as many as `DualPath` was trained with."""
    angles = acquisition.view_angles.round(decimals=6).tolist()
    order = sorted(range(len(angles)), key=lambda k: tuple(angles[k]))
    count = max(1, round(len(order) / recorded_training(card("DualPath")).views))
    return [order[start::count] for start in range(count)]
