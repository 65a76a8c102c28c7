"""The one measuring instrument: specimens × doses × methods × draws → one tidy table.

Work is cut into rows; each finished row is a small file, so that an interrupted run takes up where
it stopped and two runs on one folder do not harm each other. Rows run on dask workers.
"""

from __future__ import annotations

import csv
import io
import json
import math
import platform
import subprocess
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from misr4d.companion.study import METHODS, Measurement, Scene, make_scene, method_key
from misr4d.core.files import write_whole
from misr4d.core.workers import each_done
from misr4d.measure.metrics import (
    contrast_to_noise,
    correlation,
    ms_ssim,
    psnr,
    specimen_mask,
    truth_masks,
)
from misr4d.measure.spectra import (
    RINGS,
    counting_rings,
    equalised,
    fourier_ring_correlation,
    half_bit_threshold,
    highest_resolvable_frequency,
    power_spectrum,
    resolution,
    score_rings,
)
from misr4d.specimens.catalogue import SPECIMENS

__all__ = [
    "BY_ROUNDING",
    "COLUMNS",
    "FAST",
    "FULL",
    "GAIN",
    "OF_CONTRAST",
    "PLANS",
    "QUICK",
    "STUDY",
    "TOLERANCE",
    "UNFILTERED",
    "Plan",
    "Row",
    "differing",
    "draws_as_the_study",
    "late_gain",
    "missing_rows",
    "read_part",
    "read_study",
    "read_table",
    "row_key",
    "run_bench",
    "score",
    "score_image",
    "write_tables",
]

COLUMNS = {
    "correlation": "Pearson correlation with the truth inside the specimen",
    "correlation_field": "the same over the whole field, where the outline counts most",
    "inverted": "whether the image is the truth with its sign turned",
    "ceiling": "highest correlation that any isotropic filter of the image could reach",
    "weighted_frc": "mean ring correlation with the truth, weighted by the truth's power",
    "resolution": "period up to which the ring correlation with the truth stays above 0.5, over "
    "the rings in which the truth has power [Å]",
    "last_ring": "period of the finest of these rings that is above 0.5 [Å]",
    "lattice": "ring correlation with the truth in its strongest ring below 5 Å",
    "psnr": "peak signal-to-noise ratio after the best offset and gain [dB]",
    "ms_ssim": "multi-scale structural similarity after the best offset and gain",
    "cnr": "contrast to noise between the truth's brightest 5 % and darkest 40 % inside the "
    "specimen, every image brought to one resolution",
    "cnr_raw": "the same of the image as it is, which smoothing raises",
    "half_bit": "period at which the ring correlation of half-sets falls below half a bit [Å]",
    "half_0143": "period at which that of half-sets falls below 0.143 [Å]",
    "frequency": "highest frequency whose power stands above the floor [Å⁻¹]",
}
"""Measures of the table."""
INVERTED = -0.2  # our choice: an image correlates less, inside or by rings, if upside down
LATTICE = 5.0  # Å: of the truth's rings below this period, the strongest is called the lattice's
HALVED = 3  # draws whose half-sets are reconstructed too, which takes three times as long
_SLOW = ("ptychography", "refined")
_COUNTS = ("refined",)  # need counts: no infinite dose
FAST = tuple(method for method in METHODS if method not in _SLOW)
"""Methods that take seconds: all but iterative ptychography and refinement."""


@dataclass(frozen=True)
class Row:
    """One number of the table: which electrons, which method."""

    specimen: str
    method: str
    dose: float
    draw: int
    thickness: float | None = None


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
    thicknesses : sequence of float, optional
        Of the specimens along the beam [Å]; by default each has its own.
    """

    specimens: Sequence[str]
    doses: Sequence[float]
    methods: Sequence[str] = tuple(METHODS)
    draws: int = 8
    slow_doses: Sequence[float] | None = None
    slow_draws: int = 1
    seed: int = 0
    thicknesses: Sequence[float | None] = (None,)
    left_out: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        for kind, asked_for, known in (
            ("specimen", self.specimens, SPECIMENS),
            ("method", self.methods, tuple(METHODS)),
        ):
            if unknown := [name for name in asked_for if name not in known]:
                raise ValueError(f"unknown {kind} {unknown[0]!r}; known: {', '.join(known)}")
        for dose in self.doses:
            if math.isnan(dose) or dose <= 0:
                raise ValueError(f"dose is {dose!r} e⁻/Å²; expected a positive number or inf")
        for thickness in self.thicknesses:
            if thickness is not None and not (math.isfinite(thickness) and thickness > 0):
                raise ValueError(f"thickness is {thickness!r} Å; expected a positive number")
        if self.draws < 1 or self.slow_draws < 1:
            raise ValueError(
                f"draws is {self.draws} and slow_draws {self.slow_draws}; expected 1 or more"
            )

    def rows(self) -> Iterator[Row]:
        """Every row, specimen by specimen so that workers reuse a scene, slow ones first."""
        slow_doses = self.doses if self.slow_doses is None else self.slow_doses
        methods = sorted(self.methods, key=lambda name: name not in _SLOW)
        for specimen, thickness, method in product(self.specimens, self.thicknesses, methods):
            for dose in slow_doses if method in _SLOW else self.doses:
                if math.isinf(dose) and method in _COUNTS:
                    continue
                draws = self.slow_draws if method in _SLOW else self.draws
                for draw in range(1 if math.isinf(dose) else draws):
                    yield Row(specimen, method, float(dose), draw, thickness)


_COMPARED = ("Li2CoO3", "CuZr", "apoferritin")  # the paper's Figs. 4 and 5

QUICK = Plan(
    specimens=_COMPARED,
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
STUDY = (
    Plan(
        specimens=_COMPARED,
        doses=(50.0, 100.0, 200.0, 300.0, 500.0, 1000.0, math.inf),
        slow_doses=(100.0, 300.0, 1000.0, math.inf),
        slow_draws=3,
    ),
    Plan(
        specimens=("Li2CoO3",),
        doses=(300.0, math.inf),
        methods=("parallax", "ptychography", "direct", "attention U-Net", "dual path", "informed"),
        slow_draws=3,
        thicknesses=(50.0, 100.0, 200.0, 300.0),
    ),
    Plan(
        specimens=tuple(name for name in SPECIMENS if name not in _COMPARED),
        doses=(300.0, 1000.0, math.inf),
        methods=FAST,
    ),
)
"""The committed study, which pages and verdicts read: eight draws, three of the slow methods.

Three specimens are compared by every method; the ten others are measured by the fast ones.
"""
PLANS: Mapping[str, Plan | tuple[Plan, ...]] = {"quick": QUICK, "full": FULL, "study": STUDY}
"""Plans by name."""


def measure_rows(rows: Sequence[Row], seed: int) -> list[dict[str, Any]]:
    """Reconstruct and score rows that share specimen, dose and draw; runs on a worker.

    Every method gets the same electrons, whichever rows they are asked for with.
    """
    torch.set_num_threads(1)
    first = rows[0]
    scene = make_scene(first.specimen, first.thickness)
    measurement = scene.measure(first.dose, seed + first.draw)
    if first.draw >= HALVED:
        measurement = replace(measurement, halves=None)
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
        half-sets at infinite dose or of slow methods, which would be run three times. Numbers have
        six digits: what follows differs between processors.
    """
    scene = measurement.scene
    scores = score_image(METHODS[method](measurement), scene)
    if measurement.halves is not None and method not in _SLOW:
        a, b = (METHODS[method](half) for half in measurement.halves)
        frequency, curve, count = fourier_ring_correlation(a, b, scene.pixel, width=RINGS)
        counting = counting_rings(
            frequency, power_spectrum(scene.truth, scene.pixel, width=RINGS)[1]
        )
        for name, threshold in (("half_bit", half_bit_threshold(count)), ("half_0143", 0.143)):
            period = resolution(frequency, curve, threshold, counting=counting)
            scores[name] = float(f"{period:.6g}") if math.isfinite(period) else None
    return scores


def score_image(image: Tensor, scene: Scene) -> dict[str, float | None]:
    """Measure an image of a scene, whichever program made it: the columns of the table.

    Parameters
    ----------
    image : Tensor
        ``(3·Rx, 3·Ry)``, the first pixel at the first probe position.
    scene : Scene

    Returns
    -------
    dict
        By the names of :data:`COLUMNS`; those of half-sets are ``None``.

    Raises
    ------
    ValueError
        If the image is not on the scene's grid or not finite.
    """
    truth, pixel = scene.truth, scene.pixel
    inside = specimen_mask(truth, pixel)
    rings = score_rings(image, truth, pixel)
    masks = truth_masks(truth, within=inside)
    correlation_inside = correlation(image, truth, within=inside)
    fine = rings.density * rings.count * (rings.frequency > 1 / LATTICE)
    level = equalised(image, truth, pixel, scene.acquisition.nyquist_period())
    scores: dict[str, float | None] = {
        "correlation": correlation_inside,
        "correlation_field": correlation(image, truth),
        "inverted": min(correlation_inside, rings.weighted) < INVERTED,
        "ceiling": rings.ceiling,
        "weighted_frc": rings.weighted,
        "resolution": rings.resolution,
        "last_ring": rings.last_ring,
        "lattice": float(rings.curve[fine.argmax()]),
        "psnr": psnr(image, truth),
        "ms_ssim": ms_ssim(image, truth),
        "cnr": contrast_to_noise(level, *masks),
        "cnr_raw": contrast_to_noise(image, *masks),
        "half_bit": None,
        "half_0143": None,
        "frequency": highest_resolvable_frequency(*power_spectrum(image, pixel, width=RINGS)),
    }
    return {
        k: v
        if v is None or isinstance(v, bool)
        else float(f"{v:.6g}")
        if math.isfinite(v)
        else None
        for k, v in scores.items()
    }


def row_key(row: Row, seed: int) -> str:
    """Return the key of a row: what its method, its measures and its scene depend on."""
    return method_key(row.method, row.specimen, row.dose, measure_rows, given=(row, seed))


def read_part(path: Path) -> dict[str, Any] | None:
    """Read what a finished row left; none if it is missing or damaged, to be measured again."""
    try:
        scores = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return scores if isinstance(scores, dict) else None


def run_bench(
    plan: Plan | Sequence[Plan],
    folder: Path,
    *,
    scheduler: str | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> list[dict[str, Any]]:
    """Measure what the plan asks for and is not measured yet; write the table.

    Parameters
    ----------
    plan : Plan or sequence of Plan
        Several of one seed make one table.
    folder : Path
        Holds ``parts/`` (one file a row), ``table.csv`` and ``table.json``. A row of a table that
        is there, by the code, data and settings of today, is not measured again.
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
        If the plan holds no row, plans differ in their seed, or no scheduler answers at the
        address.
    """
    plans = (plan,) if isinstance(plan, Plan) else tuple(plan)
    seeds = {part.seed for part in plans}
    wanted = list(dict.fromkeys(row for part in plans for row in part.rows()))
    if not wanted:
        raise ValueError("the plan holds no row; refinement needs counts, so a finite dose")
    if len(seeds) > 1:
        raise ValueError(f"the plans have the seeds {sorted(seeds)}; expected one for a table")
    (seed,) = seeds
    parts = {row: folder / "parts" / f"{row_key(row, seed)}.json" for row in wanted}
    _take_over(folder, parts.values())
    missing = [row for row in wanted if read_part(parts[row]) is None]
    if missing:
        _compute(missing, parts, seed, scheduler, workers, progress, len(wanted))
    rows = [
        {**json.loads(parts[row].read_text(encoding="utf-8")), "made": parts[row].stem}
        for row in wanted
    ]
    _write_table(plans, rows, folder)
    return rows


def _take_over(folder: Path, parts: Iterable[Path]) -> None:
    """Take rows from a table that has them without their parts, such as the committed one."""
    table = read_part(folder / "table.json") or {}
    measured = {row.get("made"): row for row in table.get("rows", ())}
    for path in parts:
        if path.stem in measured and not path.is_file():
            row = {key: value for key, value in measured[path.stem].items() if key != "made"}
            write_whole(path, json.dumps(row) + "\n")


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
        slow_method = row.method if row.method in _SLOW else None
        electrons = (row.specimen, row.thickness, row.dose, row.draw)
        grouped.setdefault((*electrons, slow_method), []).append(row)
    groups = list(grouped.values())
    tasks = [(group, seed) for group in groups]
    with tqdm(
        total=total,
        initial=total - len(missing),
        unit="row",
        disable=None if progress else True,
    ) as bar:
        for index, result in each_done(measure_rows, tasks, scheduler, workers):
            for row, scores in zip(groups[index], result, strict=True):
                write_whole(parts[row], json.dumps(scores) + "\n")
            bar.update(len(groups[index]))


def _write_table(plans: Sequence[Plan], rows: list[dict[str, Any]], folder: Path) -> None:
    def plain(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        return str(value) if isinstance(value, float) else value

    records = [{key: plain(value) for key, value in asdict(plan).items()} for plan in plans]
    write_tables(folder, rows, {"plan": records[0] if len(records) == 1 else records})


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
        "versions": {name: _version(name) for name in packages}
        | {"python": platform.python_version()},
        "commit": _commit(),
    }
    head = json.dumps({**record, "rows": []}, indent=1).removesuffix("[]\n}")
    lines = ",\n  ".join(json.dumps(row) for row in rows)  # a row a line, so that changes show
    write_whole(folder / "table.json", f"{head}[\n  {lines}\n ]\n}}\n")


def _version(package: str) -> str | None:
    """Version of a package; none where it is not installed, as py4DSTEM need not be."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


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


STUDY_FOLDER = Path(__file__).resolve().parents[2] / "notebooks" / "study"
"""Where a checkout keeps the committed study."""


def read_study(
    folder: Path | None = None, *, specimens: Collection[str] | None = None
) -> list[dict[str, Any]]:
    """Read the committed study: the bench's rows, and below them those of the peers.

    Parameters
    ----------
    folder : Path, optional
        Another one, such as that of ``misr4d bench``; by default the checkout's.
    specimens : collection of str, optional
        Of these; by default, of those that slow methods were run on too, if any was. Goals and
        claims compare with ptychography, the rival, on every specimen of the rows.

    Returns
    -------
    list of dict
        Of one row each: specimen, method, dose, draw, thickness and :data:`COLUMNS`.

    Raises
    ------
    FileNotFoundError
        If the folder holds no table.
    """
    folder = STUDY_FOLDER if folder is None else folder
    rows = read_table(folder)
    peers = folder / "peers.json"
    if peers.is_file():
        rows += json.loads(peers.read_text(encoding="utf-8"))["rows"]
    if specimens is None and not (
        specimens := {row["specimen"] for row in rows if row["method"] in _SLOW}
    ):
        return rows
    return [row for row in rows if row["specimen"] in specimens]


def late_gain(course: Sequence[float]) -> float:
    """Say what the second half of a run's epochs gained over its first; 0 of a single one."""
    return max(course) - max(course[: len(course) // 2]) if len(course) > 1 else 0.0


def stale_rows(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Name the rows of a table that today's code would measure anew, and why no page may show them.

    Parameters
    ----------
    rows : sequence of mappings
        Of the bench, each with the key of what made it (``made``).

    Returns
    -------
    list of str
        One line a row; empty where code, data, settings and versions are what they were.
    """
    return [
        f"{_words(row)}: made by other code, data or settings; run `misr4d bench --study` again"
        for entry in rows
        if row_key(row := row_of(entry), int(entry["seed"]) - row.draw) != entry["made"]
    ]


def missing_rows(rows: Sequence[Mapping[str, Any]], plan: Sequence[Plan] = STUDY) -> list[str]:
    """Name the rows that a plan holds and a table does not, one line each."""
    measured = {row_of(entry) for entry in rows}
    return [
        f"{_words(row)}: not measured; run `misr4d bench --study`"
        for row in dict.fromkeys(row for part in plan for row in part.rows())
        if row not in measured
    ]


def _words(row: Row) -> str:
    thick = f", {row.thickness:g} Å" if row.thickness is not None else ""
    return f"{row.method} on {row.specimen}{thick} at {row.dose:g} e⁻/Å², draw {row.draw}"


def row_of(entry: Mapping[str, Any]) -> Row:
    """Which electrons and method an entry of the table is of."""
    thickness = entry.get("thickness")
    return Row(
        str(entry["specimen"]),
        str(entry["method"]),
        float(entry["dose"]),
        int(entry["draw"]),
        None if thickness is None else float(thickness),
    )


def draws_as_the_study() -> bool:
    """Whether this processor draws the study's electrons: a row of many counts, measured again.

    Counts are drawn by rejection from rates in float32. Where another processor rounds a rate
    otherwise, a draw may be rejected that was not, and all that follow are others.
    """
    wanted = ("neurotensin_receptor", "direct", 1000.0, 1)
    row = next(
        row
        for row in read_table(STUDY_FOLDER)
        if (row["specimen"], row["method"], row["dose"], row["draw"]) == wanted
    )
    (again,) = measure_rows([row_of(row)], int(row["seed"]) - int(row["draw"]))
    return bool(abs(again["correlation"] - row["correlation"]) < 2e-5)


GAIN = 0.002
"""Of a tuning's score, what more epochs must bring (our choice)."""
TOLERANCE = 0.005
"""How far a score may differ on another processor, of itself or of one where it is smaller."""
OF_CONTRAST = 0.018
"""The same of contrast to noise, which divides by gains of rings that may be near nothing."""
BY_ROUNDING: Mapping[str, float] = {
    "cnr": 0.4,
    "cnr_raw": 0.05,
    "weighted_frc": 0.05,
    "ceiling": 0.05,
}
"""The same for images without a filter, of which rings hold nothing but rounding, and count."""
UNFILTERED = ("summed VBF", "iDPC", "SSB", "OBF")
"""Methods whose images are such: on two kinds of processor 20 draws differ by 0.23 at most."""


def differing(
    entry: Mapping[str, Any], again: Mapping[str, Any], within: float | None = None
) -> list[str]:
    """Name the scores of a row that another measurement of it does not give again.

    Rounding differs between processors, and iterations let it grow; where it changes what electrons
    are drawn, nothing can be compared (:func:`draws_as_the_study`). A period of a ring may move by
    one ring where its correlation is at the threshold, so periods and frequencies may differ by a
    tenth; those of :data:`UNFILTERED` by a quarter.

    Parameters
    ----------
    entry, again : mapping
        The scores by the names of :data:`COLUMNS`.
    within : float, optional
        Of every score, by how much of itself it may differ where the same image is scored twice;
        by default what is said above, and :data:`TOLERANCE`, :data:`OF_CONTRAST` and
        :data:`BY_ROUNDING`. Contrast may differ by a hundredth at least.
    """
    lines = []
    for name in COLUMNS:
        old, new = entry[name], again[name]
        if isinstance(old, float | int) and isinstance(new, float | int):
            periods = ("resolution", "last_ring", "half_bit", "half_0143", "frequency")
            contrast = name in ("cnr", "cnr_raw")
            allowed = OF_CONTRAST if contrast else 0.1 if name in periods else TOLERANCE
            if entry["method"] in UNFILTERED:
                allowed = BY_ROUNDING.get(name, 0.25 if name in periods else allowed)
            if within:
                allowed = max(within, 0.01) if contrast else within
            least = 0.0 if within or name in periods else 1.0
            if abs(new - old) <= allowed * max(abs(old), least):
                continue
        elif old == new:
            continue
        lines.append(f"{name} of {row_of(entry)} is {new} and was {old}")
    return lines
