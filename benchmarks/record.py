"""Measure and picture what chapters ask for and ``notebooks/study`` lacks.

    python benchmarks/record.py [--workers N]

It holds measurements in ``measurements.json`` and images in ``pictures.npz``. A case whose code,
data and arguments are what they were is taken over, and one that no chapter asks for any more is
left out. Each finished measurement is kept below ``_output/record``: an interrupted run goes on
where it stopped.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click
import torch
from tqdm import tqdm

from misr4d.companion import bounds, timing
from misr4d.companion.bench import read_part
from misr4d.companion.chapters import method_comparison, own_scan, refinement, training
from misr4d.companion.chapters.invention_cases import Questions
from misr4d.companion.recorded import (
    PICTURES,
    RECORD,
    Case,
    PictureCase,
    case_key,
    measured,
    read_pictures,
    read_record,
    write_pictures,
    write_record,
)
from misr4d.core.files import write_whole
from misr4d.core.workers import each_done


def wanted() -> list[Case]:
    """List the cases of every chapter, as its parameters are by default, and of the front page."""
    chapters = (training, method_comparison, refinement, own_scan, bounds, timing)
    return [*Questions().cases(), *(case for chapter in chapters for case in chapter.cases())]


def wanted_pictures() -> list[PictureCase]:
    """List the images of every chapter, as its parameters are by default."""
    return Questions().pictures()


def on_one_thread(case: Case) -> object:
    """Measure a case on a worker."""
    torch.set_num_threads(1)
    return measured(case)


def done(tasks: list[tuple[Case]], workers: int) -> Iterator[tuple[int, object]]:
    """Yield the index and the value of each case: in this process, or as workers finish them."""
    if workers == 1 or not tasks:
        return ((index, on_one_thread(*task)) for index, task in enumerate(tasks))
    return each_done(on_one_thread, tasks, workers=workers)


@click.command(help=__doc__)
@click.option("--workers", default=1, show_default=True, help="Processes; 1 is this one.")
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
        for index, value in done(tasks, workers):
            key = keys[missing[index]]
            values[key] = value
            write_whole(folder / f"{key}.json", json.dumps(value) + "\n")
            bar.update()
    write_record(cases, [values[key] for key in keys])
    print(f"{len(missing)} of {len(cases)} cases measured; wrote {RECORD.name}")

    before, made = read_pictures(), 0
    pictures = {}
    for function, arguments in tqdm(wanted_pictures(), unit="picture"):
        key = case_key((function, arguments))
        made += key not in before
        pictures[key] = before[key] if key in before else function(**arguments)
    if made or before.keys() != pictures.keys():
        write_pictures(pictures)
    size = PICTURES.stat().st_size / 1e6
    print(f"{made} of {len(pictures)} pictures made; {PICTURES.name} has {size:.1f} MB")


if __name__ == "__main__":
    main()
