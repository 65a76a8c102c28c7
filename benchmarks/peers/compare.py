"""Images of today's other programs from the counts that the study's methods get, and their scores.

    python benchmarks/peers/compare.py [PEER ...]

Each peer has the true parameters and the settings of ``tune.py`` at the nearest dose; where no peer
is named, all run that were tuned for the specimen's regime. Writes ``notebooks/study/peers.json``,
a row for each specimen, thickness, dose, draw and peer with the bench's scores, and
``peers_images.npz``, the images that were scored, in 20 bit. Both have keys, of which
``rows.py`` tells. An image is made where none is kept under today's key, and a row is scored, from
the image as it is kept, where it does not have today's key: a change of the scores alone costs no
reconstruction. Rows of peers that are not named stay, until their images have to be made anew.
An interrupted run goes on where it stopped. ``--again`` makes the images of the peers anew.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Collection, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from environments import HOME, PEERS, versions
from exchange import measure_counts, run_peer
from rows import DOSES, DRAWS, counts_key, faults, image_key, label, planned, row_key, said, tuned
from torch import Tensor

from misr4d.companion.bench import STUDY_FOLDER, Row, row_of, score_image
from misr4d.companion.study import make_scene
from misr4d.companion.study_images import PEER_IMAGES, read_images, write_images
from misr4d.core.files import whole_file, write_whole
from misr4d.specimens.catalogue import regime_of

TABLE = STUDY_FOLDER / "peers.json"
IMAGES = HOME / "images"
# 20 bit: beyond quantem's transfer limit there is nothing but rounding, and the levels of 16 bit,
# which are above it, move the highest frequency by a ring.
LEVELS = 2**20
Entries = dict[Row, dict[str, Any]]


def reconstruct(wanted: Sequence[Row], kept: Collection[str]) -> None:
    """Let the peers make the images that are not there.

    Parameters
    ----------
    wanted : sequence of Row
    kept : collection of str
        Keys of images that need not be made.
    """
    missing = [row for row in wanted if image_key(row) not in kept and not _place(row).is_file()]
    # One process of a peer for the draws of a scan: its compiled code is the same.
    for _, group in groupby(missing, lambda row: (row.specimen, row.thickness, row.dose)):
        rows = sorted(group, key=lambda row: row.method)
        for peer, drawn in groupby(rows, lambda row: row.method):
            tasks: dict[Path, list[dict[str, Any]]] = {}
            draws = list(drawn)
            for row in draws:
                folder = HOME / "measurements" / label(row)
                scene = make_scene(row.specimen, row.thickness)
                measure_counts(folder, counts_key(row), scene, row.dose, row.draw)
                settings = tuned(peer, regime_of(row.specimen), row.dose)
                tasks[folder] = [settings | {"epochs": [settings["epochs"]]}]
            for row, [course] in zip(draws, run_peer(peer, tasks), strict=True):
                _place(row).parent.mkdir(parents=True, exist_ok=True)
                with whole_file(_place(row)) as temporary, temporary.open("wb") as file:
                    seconds = round(course.seconds[-1], 1)
                    np.savez(file, image=course.images[-1].numpy(), seconds=seconds)
                print(label(row), peer, settings, seconds, flush=True)


def _place(row: Row) -> Path:
    """Where an image just made lies until the table is written."""
    return IMAGES / f"{image_key(row)}.npz"


def gather(recorded: Entries, kept: dict[str, Tensor]) -> dict[str, Tensor]:
    """Take the image of every row by its key: the one just made, or else the one that is kept.

    A row whose image of today's key is not there keeps that of its own.
    """
    images = {}
    for row in planned():
        key = image_key(row)
        if _place(row).is_file():
            with np.load(_place(row)) as file:
                images[key] = torch.from_numpy(file["image"])
            continue
        key = key if key in kept else recorded.get(row, {}).get("image", "")
        if key in kept:
            images[key] = kept[key]
    return images


def tabulate(recorded: Entries, images: dict[str, Tensor]) -> list[dict[str, Any]]:
    """Score the images of rows that do not have today's key; a row without today's image stays."""
    entries = []
    for row in planned():
        key, entry = image_key(row), recorded.get(row)
        stands = entry is not None and entry.get("made") == row_key(row)
        if key in images and (_place(row).is_file() or not stands):
            scene = make_scene(row.specimen, row.thickness)
            scores = score_image(images[key], scene)
            entry = said(row) | scores | {"seconds": _seconds(row, entry)}
            entry |= {"image": key, "made": row_key(row)}
        if entry is not None:
            entries.append(entry)
    return entries


def _seconds(row: Row, entry: dict[str, Any] | None) -> float | None:
    """Processor time of an image: of the one just made, or else of the one that the row had."""
    if _place(row).is_file():
        with np.load(_place(row)) as file:
            return float(file["seconds"])
    return entry["seconds"] if entry and entry.get("image") == image_key(row) else None


def read_record() -> tuple[Entries, dict[str, Any]]:
    """Rows of the committed table, and the versions that made them."""
    if not TABLE.is_file():
        return {}, {}
    record = json.loads(TABLE.read_text(encoding="utf-8"))
    return {row_of(entry): entry for entry in record["rows"]}, record["versions"]


def write_record(entries: Sequence[dict[str, Any]], used: dict[str, Any]) -> None:
    """Write the table, with the versions of what made it."""
    methods = {entry["method"] for entry in entries}
    record = {
        "command": "python benchmarks/peers/compare.py",
        "doses": DOSES,
        "draws": DRAWS,
        "versions": {name: used[name] for name in PEERS if name in methods},
        "rows": entries,
    }
    write_whole(TABLE, json.dumps(record, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("peers", nargs="*", metavar="PEER", help=f"of {', '.join(PEERS)}")
    parser.add_argument("--specimen", help="one alone")
    parser.add_argument("--again", action="store_true", help="make every image anew")
    given = parser.parse_args()
    if unknown := [name for name in given.peers if name not in PEERS]:
        parser.error(f"unknown peer {unknown[0]!r}; known: {', '.join(PEERS)}")
    torch.set_num_threads(1)
    rows = planned()
    if given.specimen and given.specimen not in (known := sorted({row.specimen for row in rows})):
        parser.error(f"unknown specimen {given.specimen!r}; known: {', '.join(known)}")
    wanted = [
        row
        for row in rows
        if row.method in (given.peers or PEERS) and given.specimen in (None, row.specimen)
    ]
    recorded, used = read_record()
    kept = read_images(PEER_IMAGES)
    if given.again:
        for row in wanted:
            _place(row).unlink(missing_ok=True)
    reconstruct(wanted, () if given.again else kept)
    images = gather(recorded, kept)
    write_images(images.items(), PEER_IMAGES, LEVELS)
    images = read_images(PEER_IMAGES)
    entries = tabulate(recorded, images)
    new = [row for row in rows if _place(row).is_file()]
    write_record(entries, used | {peer: versions(peer) for peer in {row.method for row in new}})
    for row in new:
        _place(row).unlink()
    print("\n".join(faults(entries, images)) or f"{len(entries)} rows, all of today's code")


if __name__ == "__main__":
    main()
