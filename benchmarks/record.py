"""Measure what chapters and the front page ask for and ``notebooks/study/measurements.json`` lacks.

    python benchmarks/record.py [--workers N]

A case whose code, data and arguments are what they were is taken over, and one that no chapter asks
for any more is left out. Each finished case is kept below ``_output/record``: an interrupted run
goes on where it stopped.
"""

from __future__ import annotations

import json
from pathlib import Path

import click
import torch
from tqdm import tqdm

from misr4d.companion import timing
from misr4d.companion.bench import read_part
from misr4d.companion.chapters import refinement
from misr4d.companion.recorded import RECORD, Case, case_key, measured, read_record, write_record
from misr4d.core.files import write_whole
from misr4d.core.workers import each_done

CHAPTERS = (refinement, timing)


def wanted() -> list[Case]:
    """List the cases of every chapter, as its parameters are by default, and of the front page."""
    return [case for chapter in CHAPTERS for case in chapter.cases()]


def on_one_thread(case: Case) -> object:
    """Measure a case on a worker."""
    torch.set_num_threads(1)
    return measured(case)


@click.command(help=__doc__)
@click.option("--workers", default=1, show_default=True, help="Processes.")
@click.option("--folder", default="_output/record", show_default=True, type=Path)
def main(workers: int, folder: Path) -> None:
    cases = wanted()
    keys = [case_key(case) for case in cases]
    values = {entry["key"]: entry["value"] for entry in read_record()}
    for key in keys:
        if key not in values and (part := read_part(folder / f"{key}.json")) is not None:
            values[key] = part
    missing = [n for n, key in enumerate(keys) if key not in values]
    tasks = [(cases[n],) for n in missing]
    with tqdm(total=len(cases), initial=len(cases) - len(missing), unit="case") as bar:
        for index, value in each_done(on_one_thread, tasks, workers=workers) if tasks else ():
            key = keys[missing[index]]
            values[key] = value
            write_whole(folder / f"{key}.json", json.dumps(value) + "\n")
            bar.update()
    write_record(cases, [values[key] for key in keys])
    print(f"{len(missing)} of {len(cases)} cases measured; wrote {RECORD.name}")


if __name__ == "__main__":
    main()
