"""A study by grid: every combination of some parameters, on dask workers, into one table.

A study is a YAML file. It sweeps either the bench's own measurement, one specimen, method, dose and
draw at a time, or the parameters of a notebook:

.. code-block:: yaml

    name: thickness          # the folder of its table
    bench: true              # or  notebook: 03_dose_series.ipynb, beside this file
    parameters:              # the same in every run
      specimen: Li2CoO3
      dose: 300
    grid:                    # every combination of these is run
      thickness: [20, 60, 200]
      method: [direct, informed]

Each finished run is a small file, so that an interrupted study takes up where it stopped.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from tqdm import tqdm

from misr4d.companion.bench import read_part, score, write_tables
from misr4d.companion.study import METHODS, make_scene, method_key
from misr4d.core.files import write_whole
from misr4d.core.keys import result_key
from misr4d.core.workers import each_done
from misr4d.report.html import flatten
from misr4d.specimens.catalogue import SPECIMENS

__all__ = ["BENCH", "Study", "read_study", "run_key", "sweep"]

_KEYS = ("name", "bench", "notebook", "parameters", "grid")
BENCH: Mapping[str, type] = {
    "specimen": str,
    "method": str,
    "dose": float,
    "draw": int,
    "thickness": float,
    "defocus": float,
}
"""Parameters of a run of the bench: e⁻/Å² or ``.inf``, and Å; specimen, method and dose must be."""

# Our choices: a grid beyond this is a slip, and no study file is this long.
_MOST_RUNS = 100_000
_MOST_BYTES = 2**20


@dataclass(frozen=True)
class Study:
    """A grid of runs.

    Parameters
    ----------
    name : str
        Letters, digits, ``-`` and ``_``: the folder of its table.
    notebook : Path or None
        What is run with the parameters; none for a measurement of the bench.
    runs : sequence of mapping
        Parameters of every run.
    """

    name: str
    notebook: Path | None
    runs: Sequence[Mapping[str, Any]]


def read_study(path: str | Path) -> Study:
    """Read a study's YAML file, and check all that can be checked before it runs.

    Raises
    ------
    ValueError
        If it cannot be read, has a key or parameter that does not exist, or a value out of range.
    """
    path = Path(path)
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError(f"{path} is longer than a MiB; expected a study")
        said = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, RecursionError, yaml.YAMLError) as error:
        raise ValueError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(said, dict):
        raise ValueError(f"{path} holds no keys; expected {', '.join(_KEYS)}")
    _refuse_unknown(path, "key", said, _KEYS)
    name = said.get("name", path.stem)
    if not (isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9_-]{1,100}", name)):
        raise ValueError(
            f"{path}: name is {name!r}; expected letters, digits, - and _, since it names a folder"
        )
    if (said.get("notebook") is None) == (said.get("bench") is not True):
        raise ValueError(f"{path}: expected either bench: true or notebook: FILE.ipynb")
    fixed, grid = said.get("parameters") or {}, said.get("grid") or {}
    for part, label in ((fixed, "parameters"), (grid, "grid")):
        if not isinstance(part, dict) or not all(isinstance(k, str) for k in part):
            raise ValueError(f"{path}: {label} is {part!r}; expected names with their values")
    if both := sorted(set(fixed) & set(grid)):
        raise ValueError(f"{path}: {both[0]} stands in parameters and in grid; expected it once")
    for key, values in grid.items():
        if not isinstance(values, list) or not values:
            raise ValueError(f"{path}: grid: {key} is {values!r}; expected a list of values")
    count = math.prod(len(values) for values in grid.values())
    if count > _MOST_RUNS:
        raise ValueError(f"{path} asks for {count} runs; expected at most {_MOST_RUNS}")
    notebook = None
    if said.get("notebook") is None:
        _refuse_unknown(path, "parameter", {**fixed, **grid}, BENCH)
    else:
        notebook = _notebook(path, said["notebook"])
    runs = [
        {**fixed, **dict(zip(grid, values, strict=True))}
        for values in itertools.product(*grid.values())
    ]
    if notebook is None:
        runs = [_checked_run(path, run) for run in runs]
    return Study(name, notebook, runs)


def _refuse_unknown(
    path: Path, kind: str, names: Mapping[Any, Any], known: Sequence[str] | Mapping[str, Any]
) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"{path}: unknown {kind} {name!r}; known: {', '.join(known)}")


def _notebook(path: Path, name: Any) -> Path:
    notebook = path.parent / str(name)
    if notebook.suffix != ".ipynb" or not notebook.is_file():
        raise ValueError(
            f"{path}: notebook is {name!r}; expected an .ipynb file, named from the study's folder"
        )
    return notebook.resolve()


def _checked_run(path: Path, run: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run of the bench with its values as their types, or say what is wrong with one."""
    checked: dict[str, Any] = {}
    for name, value in run.items():
        kind = BENCH[name]
        plain = isinstance(value, int | float if kind is float else kind)
        if not plain or isinstance(value, bool):
            raise ValueError(f"{path}: {name} is {value!r}; expected one {kind.__name__}")
        checked[name] = kind(value)
    for name in ("specimen", "method", "dose"):
        if name not in checked:
            raise ValueError(f"{path}: {name} stands neither in parameters nor in grid")
    for name, known in (("specimen", SPECIMENS), ("method", tuple(METHODS))):
        if checked[name] not in known:
            raise ValueError(f"{path}: unknown {name} {checked[name]!r}; known: {', '.join(known)}")
    for name in ("dose", "thickness"):
        value = checked.get(name, 1.0)
        if not value > 0 or (math.isinf(value) and name != "dose"):
            raise ValueError(f"{path}: {name} is {value}; expected a positive number")
    if not math.isfinite(checked.get("defocus", 0.0)) or checked.get("draw", 0) < 0:
        raise ValueError(f"{path}: expected a finite defocus and a draw of 0 or more")
    return {**checked, "draw": checked.get("draw", 0)}


def measure_run(run: Mapping[str, Any]) -> dict[str, Any]:
    """Measure one run of the bench, on a worker: the columns of its table."""
    import torch

    torch.set_num_threads(1)
    scene = make_scene(run["specimen"], run.get("thickness"), run.get("defocus"))
    return dict(score(scene.measure(run["dose"], run["draw"]), run["method"]))


def execute_run(notebook: str, run: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """Run a notebook with parameters, on a worker: the single numbers among its results.

    Its figures and results go below `folder`, and the notebook as it was run beside them.
    """
    import papermill

    Path(folder).mkdir(parents=True, exist_ok=True)
    before = os.environ.get("MISR4D_OUTPUT")
    os.environ["MISR4D_OUTPUT"] = folder
    try:
        papermill.execute_notebook(
            notebook,
            str(Path(folder) / "notebook.ipynb"),
            parameters=dict(run),
            cwd=folder,
            progress_bar=False,
        )
    finally:
        if before is None:
            del os.environ["MISR4D_OUTPUT"]
        else:
            os.environ["MISR4D_OUTPUT"] = before
    results: dict[str, Any] = {}
    for path in sorted((Path(folder) / "results").glob("*.json")):
        said = json.loads(path.read_text(encoding="utf-8"))
        for name, value in flatten(said, f"{path.stem}: "):
            if isinstance(value, int | float | str):  # lists are left in their files
                results[name] = value
    return results


def run_key(study: Study, run: Mapping[str, Any]) -> str:
    """Return the key of a run: its parameters, and what the method or the notebook depends on."""
    if study.notebook is None:
        return method_key(run["method"], run["specimen"], run["dose"], measure_run, given=run)
    return result_key(notebook_code(study.notebook), execute_run, given=run)


def notebook_code(path: Path) -> str:
    """Join the code of a notebook's cells; magics and shell commands are left out."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    lines = "\n".join(sources).splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith(("%", "!")))


def sweep(
    study: Study,
    out: Path,
    *,
    scheduler: str | None = None,
    workers: int | None = None,
) -> list[dict[str, Any]]:
    """Run what a study asks for and is not done yet; write its table.

    Parameters
    ----------
    study : Study
    out : Path
        Its folder, ``out/name``, holds ``parts/`` (one file a run), ``table.csv`` and
        ``table.json``, and of a notebook ``runs/``.
    scheduler : str, optional
        Address of a running dask scheduler, which sees the same files; by default a local cluster.
    workers : int, optional
        Processes of the local cluster; by default one a core.

    Returns
    -------
    list of dict
        Parameters and measures of every run, in the grid's order.

    Raises
    ------
    ValueError
        If no scheduler answers at the address.
    """
    folder = out.absolute() / study.name
    keys = [run_key(study, run) for run in study.runs]
    parts = [folder / "parts" / f"{key}.json" for key in keys]
    missing = [i for i in range(len(keys)) if read_part(parts[i]) is None]
    if missing:
        work: Any = measure_run if study.notebook is None else execute_run
        tasks: list[tuple[Any, ...]] = []
        for i in missing:
            if study.notebook is None:
                tasks.append((study.runs[i],))
            else:
                run_folder = folder / "runs" / keys[i]
                shutil.rmtree(run_folder, ignore_errors=True)  # what an interrupted run left
                tasks.append((str(study.notebook), study.runs[i], str(run_folder)))
        bar = tqdm(total=len(keys), initial=len(keys) - len(missing), unit="run", disable=None)
        with bar:
            for index, scores in each_done(work, tasks, scheduler, workers):
                write_whole(parts[missing[index]], json.dumps(scores) + "\n")
                bar.update()
    rows = [
        {**_shown(run), **(read_part(p) or {}), "made": p.stem}
        for run, p in zip(study.runs, parts, strict=True)
    ]
    asked = {"name": study.name, "notebook": study.notebook and study.notebook.name}
    write_tables(folder, rows, {"study": asked})
    return rows


def _shown(run: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as a table and JSON can hold them; an infinite dose is a word."""
    return {k: str(v) if isinstance(v, float) and math.isinf(v) else v for k, v in run.items()}
