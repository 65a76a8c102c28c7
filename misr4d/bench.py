"""The one measuring instrument: specimens × doses × methods × draws → one tidy table.

Work is cut into rows; each finished row is a small file, so that an interrupted run takes up where
it stopped and two runs on one folder do not harm each other. Rows run on dask workers.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import platform
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from misr4d.metrics import contrast_to_noise, correlation, ms_ssim, psnr, truth_masks
from misr4d.specimens import SPECIMENS
from misr4d.spectra import (
    fourier_ring_correlation,
    half_bit_threshold,
    highest_resolvable_frequency,
    power_spectrum,
    resolution,
)
from misr4d.study import METHODS, Measurement, make_scene, method_key
from misr4d.workers import each_done

__all__ = [
    "COLUMNS",
    "FULL",
    "PLANS",
    "QUICK",
    "Plan",
    "Row",
    "read_part",
    "read_table",
    "row_key",
    "run",
    "score",
    "write_tables",
    "write_whole",
]

COLUMNS = {
    "correlation": "Pearson correlation with the truth",
    "psnr": "peak signal-to-noise ratio after the best offset and gain [dB]",
    "ms_ssim": "multi-scale structural similarity after the best offset and gain",
    "cnr": "contrast to noise between the truth's brightest 5 % and darkest 40 %",
    "resolution": "period at which the ring correlation with the truth falls below 0.5 [Å]",
    "half_bit": "period at which that of half-sets falls below half a bit [Å]",
    "half_0143": "period at which that of half-sets falls below 0.143 [Å]",
    "frequency": "highest frequency whose power stands above the floor [Å⁻¹]",
}
"""Measures of the table."""
RINGS = 3  # frequency steps a ring, as in the chapters: narrower ones are noisy where few
_SLOW = ("ptychography", "refined")
_COUNTS = ("refined",)  # need counts: no infinite dose


@dataclass(frozen=True)
class Row:
    """One number of the table: which electrons, which method."""

    specimen: str
    method: str
    dose: float
    draw: int


@dataclass(frozen=True)
class Plan:
    """What a bench measures.

    Parameters
    ----------
    specimens, methods : sequence of str
    doses : sequence of float
        e⁻/Å²; ``inf`` is allowed and has one draw.
    draws : int
        Noise draws of every method but ptychography and refinement.
    slow_doses : sequence of float
        Doses at which these two, by far the slowest, are run; by default all.
    slow_draws : int
        Their noise draws.
    seed : int
        Seed of the first draw; draw n has seed + n, whatever the method.
    """

    specimens: Sequence[str]
    doses: Sequence[float]
    methods: Sequence[str] = tuple(METHODS)
    draws: int = 8
    slow_doses: Sequence[float] | None = None
    slow_draws: int = 1
    seed: int = 0
    left_out: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        for kind, given, known in (
            ("specimen", self.specimens, SPECIMENS),
            ("method", self.methods, tuple(METHODS)),
        ):
            if unknown := [name for name in given if name not in known]:
                raise ValueError(f"unknown {kind} {unknown[0]!r}; known: {', '.join(known)}")
        for dose in self.doses:
            if math.isnan(dose) or dose <= 0:
                raise ValueError(f"dose is {dose!r} e⁻/Å²; expected a positive number or inf")
        if self.draws < 1 or self.slow_draws < 1:
            raise ValueError(
                f"draws is {self.draws} and slow_draws {self.slow_draws}; expected 1 or more"
            )

    def rows(self) -> Iterator[Row]:
        """Every row, specimen by specimen so that workers reuse a scene, slow ones first."""
        slow_doses = self.doses if self.slow_doses is None else self.slow_doses
        for specimen in self.specimens:
            for method in sorted(self.methods, key=lambda name: name not in _SLOW):
                for dose in slow_doses if method in _SLOW else self.doses:
                    if math.isinf(dose) and method in _COUNTS:
                        continue
                    draws = self.slow_draws if method in _SLOW else self.draws
                    for draw in range(1 if math.isinf(dose) else draws):
                        yield Row(specimen, method, float(dose), draw)


QUICK = Plan(
    specimens=("Li2CoO3", "CuZr", "apoferritin"),  # the paper's Fig. 5
    doses=(50.0, 100.0, 300.0, 1000.0, math.inf),
    draws=3,
    slow_doses=(300.0, 1000.0, math.inf),
    left_out="ten specimens and five of eight draws; ptychography and refinement have one draw, "
    "and neither 50 nor 100 e⁻/Å²",
)
FULL = Plan(
    specimens=SPECIMENS,
    doses=(50.0, 100.0, 300.0, 1000.0, math.inf),
    slow_doses=(300.0, math.inf),
    left_out="ptychography and refinement at two doses and one draw, where the other methods have "
    "five and eight; refinement needs counts, so it has no infinite dose",
)
PLANS = {"quick": QUICK, "full": FULL}
"""Plans by name."""


def measure_rows(rows: Sequence[Row], seed: int) -> list[dict[str, Any]]:
    """Reconstruct and score rows that share specimen, dose and draw; runs on a worker.

    Every method gets the same electrons, whichever rows they are asked for with.
    """
    torch.set_num_threads(1)
    first = rows[0]
    measurement = make_scene(first.specimen).measure(first.dose, seed + first.draw)
    return [
        {
            **asdict(row),
            "dose": str(row.dose) if math.isinf(row.dose) else row.dose,
            "regime": measurement.scene.specimen.regime,
            "seed": seed + row.draw,
            **score(measurement, row.method),
        }
        for row in rows
    ]


def score(measurement: Measurement, method: str) -> dict[str, float | None]:
    """Reconstruct by one method and measure the image: the columns of the table.

    Returns
    -------
    dict
        By the names of :data:`COLUMNS`; ``None`` where a measure does not exist, such as one of
        half-sets at infinite dose or of slow methods, which would be run three times.
    """
    scene = measurement.scene
    image = METHODS[method](measurement)
    frequency, curve, count = fourier_ring_correlation(image, scene.truth, scene.pixel, width=RINGS)
    found: dict[str, float | None] = {
        "correlation": correlation(image, scene.truth),
        "psnr": psnr(image, scene.truth),
        "ms_ssim": ms_ssim(image, scene.truth),
        "cnr": contrast_to_noise(image, *truth_masks(scene.truth)),
        "resolution": resolution(frequency, curve),
        "half_bit": None,
        "half_0143": None,
        "frequency": highest_resolvable_frequency(*power_spectrum(image, scene.pixel, width=RINGS)),
    }
    if measurement.halves is not None and method not in _SLOW:
        a, b = (METHODS[method](half) for half in measurement.halves)
        frequency, curve, count = fourier_ring_correlation(a, b, scene.pixel, width=RINGS)
        found["half_bit"] = resolution(frequency, curve, half_bit_threshold(count))
        found["half_0143"] = resolution(frequency, curve, 0.143)
    return {k: None if v is None or not math.isfinite(v) else v for k, v in found.items()}


def row_key(row: Row, seed: int) -> str:
    """Return the key of a row: what its method, its measures and its scene depend on."""
    return method_key(row.method, row.specimen, row.dose, measure_rows, given=(row, seed))


def write_whole(path: Path, text: str) -> None:
    """Write a text whole or not at all, also when another run writes the same file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_part(path: Path) -> dict[str, Any] | None:
    """Read what a finished row left; none if it is missing or damaged, to be measured again."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def run(
    plan: Plan,
    folder: Path,
    *,
    scheduler: str | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> list[dict[str, Any]]:
    """Measure what the plan asks for and is not measured yet; write the table.

    Parameters
    ----------
    plan : Plan
    folder : Path
        Holds ``parts/`` (one file a row), ``table.csv`` and ``table.json``.
    scheduler : str, optional
        Address of a running dask scheduler; by default a local cluster is started.
    workers : int, optional
        Processes of the local cluster; by default one a core, two at most for each 6 GB.
    progress : bool
        Show a progress bar on a terminal.

    Returns
    -------
    list of dict
        The rows, in the plan's order.

    Raises
    ------
    ValueError
        If the plan holds no row, or no scheduler answers at the address.
    """
    wanted = list(plan.rows())
    if not wanted:
        raise ValueError("the plan holds no row; refinement needs counts, so a finite dose")
    parts = {row: folder / "parts" / f"{row_key(row, plan.seed)}.json" for row in wanted}
    missing = [row for row in wanted if read_part(parts[row]) is None]
    if missing:
        _compute(missing, parts, plan.seed, scheduler, workers, progress, len(wanted))
    rows = [
        {**json.loads(parts[row].read_text(encoding="utf-8")), "key": parts[row].stem}
        for row in wanted
    ]
    _write_table(plan, rows, folder)
    return rows


def _compute(
    missing: list[Row],
    parts: dict[Row, Path],
    seed: int,
    scheduler: str | None,
    workers: int | None,
    progress: bool,
    total: int,
) -> None:
    grouped: dict[tuple[Any, ...], list[Row]] = {}
    for row in missing:
        own = row.method if row.method in _SLOW else None
        grouped.setdefault((row.specimen, row.dose, row.draw, own), []).append(row)
    groups = list(grouped.values())
    tasks = [(group, seed) for group in groups]
    with tqdm(
        total=total,
        initial=total - len(missing),
        unit="row",
        disable=None if progress else True,
    ) as bar:
        for index, result in each_done(measure_rows, tasks, scheduler, workers):
            for row, found in zip(groups[index], result, strict=True):
                write_whole(parts[row], json.dumps(found) + "\n")
            bar.update(len(groups[index]))


def _write_table(plan: Plan, rows: list[dict[str, Any]], folder: Path) -> None:
    plan_record = {**asdict(plan), "doses": [str(d) for d in plan.doses]}
    write_tables(folder, rows, {"plan": plan_record})


def write_tables(folder: Path, rows: Sequence[Mapping[str, Any]], asked: dict[str, Any]) -> None:
    """Write ``table.csv`` and ``table.json``, the latter with what was asked and by which code."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, names)
    writer.writeheader()
    writer.writerows(rows)
    write_whole(folder / "table.csv", text.getvalue())
    packages = ("misr4d", "abtem", "py4dstem", "numpy", "torch", "scipy", "ase")
    record = {
        **asked,
        "versions": {name: version(name) for name in packages}
        | {"python": platform.python_version()},
        "commit": _commit(),
        "rows": rows,
    }
    write_whole(folder / "table.json", json.dumps(record, indent=1) + "\n")


def _commit() -> str | None:
    """Commit of the checkout that the package runs from, if it is one."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def read_table(folder: Path) -> list[dict[str, Any]]:
    """Read the rows of a finished bench.

    Raises
    ------
    FileNotFoundError
        If the folder holds no table.
    """
    path = folder / "table.json"
    if not path.is_file():
        raise FileNotFoundError(f"no table at {path}; run `misr4d bench` first")
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["rows"]
    return rows
