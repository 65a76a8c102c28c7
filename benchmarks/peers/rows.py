"""Rows of the peers' table: which there are, the keys of what made them, and what is wrong.

A row of ``notebooks/study/peers.json`` has two keys. ``image`` is that of its image, by which
``peers_images.npz`` holds it: of the code and data that simulate the counts, of ``exchange.py``, of
the peer's script, its pinned versions and its settings. ``made`` is that of the row: of its image
and of the code that scores it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

from environments import PEERS
from torch import Tensor

from misr4d.companion.bench import STUDY_FOLDER, Row, differing, row_of, score_image
from misr4d.companion.study import make_scene
from misr4d.core.keys import result_key
from misr4d.specimens.catalogue import data_files, regime_of

SPECIMENS = ("Li2CoO3", "CuZr", "apoferritin")
DOSES = (50.0, 100.0, 200.0, 300.0, 500.0, 1000.0)  # e⁻/Å², the paper's up to 1000
FEWER = dict.fromkeys(("quantem", "quantem direct"), (100.0, 300.0, 1000.0))  # those tuned at
THICKNESSES = {"Li2CoO3": (50.0, 100.0, 200.0, 300.0)}  # Å, those of the bench's study
THICK_DOSE = 300.0  # e⁻/Å², at which they are measured
THICK_PEERS = ("phaserEM",)  # and by which: the one that has all doses
DRAWS = 3  # of the counting noise, the seeds 0, 1 and 2 of the bench
CLOSE = 1e-3
"""Of a score, by how much of itself that of the kept image may differ."""
WRITING = ("misr4d.core.files:whole_file",)  # changes no counts
REMEDY = "run `python benchmarks/peers/compare.py`"


@cache
def _tuning() -> list[dict[str, Any]]:
    text = (STUDY_FOLDER / "peers_tuning.json").read_text(encoding="utf-8")
    choices: list[dict[str, Any]] = json.loads(text)["choice"]
    return choices


def tuned_in(regime: str) -> list[str]:
    """Peers that have settings for a regime."""
    have = {row["peer"] for row in _tuning() if row["regime"] == regime}
    return [name for name in PEERS if name in have]


def tuned(peer: str, regime: str, dose: float) -> dict[str, Any]:
    """Look up a peer's settings, epochs among them, at the nearest dose on record.

    Raises
    ------
    ValueError
        If the peer was not tuned.
    """
    rows = [row for row in _tuning() if (row["peer"], row["regime"]) == (peer, regime)]
    if not rows:
        raise ValueError(f"{peer} has no settings for regime {regime!r}; run tune.py {peer} first")
    row = min(rows, key=lambda row: abs(math.log(row["dose"] / dose)))
    return {**row["settings"], "epochs": row["epochs"]}


def planned() -> list[Row]:
    """Every row: specimen by specimen, then by dose or thickness, draw and peer."""
    rows = []
    for name in SPECIMENS:
        peers = tuned_in(regime_of(name))
        scans = [(dose, None) for dose in DOSES]
        scans += [(THICK_DOSE, thickness) for thickness in THICKNESSES.get(name, ())]
        for dose, thickness in scans:
            run = [
                peer
                for peer in peers
                if dose in FEWER.get(peer, DOSES) and (thickness is None or peer in THICK_PEERS)
            ]
            rows += [Row(name, p, dose, draw, thickness) for draw in range(DRAWS) for p in run]
    return rows


def label(row: Row) -> str:
    """Name the counts of a row, as its folder is named."""
    thick = "" if row.thickness is None else f"-{row.thickness:g}A"
    return f"{row.specimen}{thick}-{row.dose:g}-{row.draw}"


def said(row: Row) -> dict[str, Any]:
    """Say of a row what its entry in the table holds besides scores and keys."""
    regime = regime_of(row.specimen)
    return {
        "specimen": row.specimen,
        "regime": regime,
        "dose": row.dose,
        "method": row.method,
        "draw": row.draw,
        "thickness": row.thickness,
        "seed": row.draw,
        "settings": tuned(row.method, regime, row.dose),
        "version": PEERS[row.method].version,
    }


@cache
def _script(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def counts_key(row: Row) -> str:
    """Key of what simulates the counts of a row, which are the same for every peer."""
    given = asdict(replace(row, method=""))
    return counts_of(make_scene, given=given, data=data_files(row.specimen))


def counts_of(*scene: Callable[..., Any], given: Any, data: Sequence[str] | None = None) -> str:
    """Key of the counts of a scene, by the functions that build it and what they are given."""
    return result_key(*scene, _script("exchange.py"), given=given, data=data, apart=WRITING)


def peer_key(peer: str, given: Any) -> str:
    """Key of what a peer makes of something that is given: its scripts and pinned versions."""
    pinned = PEERS[peer]
    versions = (pinned.package, pinned.version, pinned.python, pinned.beside, pinned.extra)
    scripts = (_script("runner.py"), _script(pinned.runner))
    return result_key(*scripts, given=(peer, versions, given), data=())


def image_key(row: Row) -> str:
    """Key of the image of a row."""
    settings = tuned(row.method, regime_of(row.specimen), row.dose)
    return peer_key(row.method, (counts_key(row), settings))


def row_key(row: Row) -> str:
    """Key of a row: of its image and of what scores it."""
    return result_key(score_image, given=image_key(row), data=())


def faults(entries: Sequence[Mapping[str, Any]], images: Mapping[str, Tensor]) -> list[str]:
    """Say what is wrong with a table and its images, a line each; nothing is scored.

    Parameters
    ----------
    entries : sequence of mapping
        Rows of the table.
    images : mapping
        By their keys.
    """
    lines = []
    table = {row_of(entry): entry for entry in entries}
    if len(table) < len(entries):
        lines.append(f"{len(entries) - len(table)} rows stand twice in the table")
    for row in planned():
        entry = table.pop(row, None)
        here = f"{row.method} on {label(row)}"
        if entry is None:
            lines.append(f"{here}: no row; {REMEDY}")
        elif not entry.get("made") or not entry.get("image"):
            lines.append(f"{here}: without a key of what made it; {REMEDY}")
        elif (entry["image"], entry["made"]) != (image_key(row), row_key(row)):
            lines.append(f"{here}: made by other code, data, settings or version; {REMEDY}")
        elif not said(row).items() <= entry.items():
            wrong = [name for name, value in said(row).items() if entry.get(name) != value]
            lines.append(f"{here}: {', '.join(wrong)} not those of its key; {REMEDY}")
        elif entry["image"] not in images:
            lines.append(f"{here}: its image is not kept; {REMEDY}")
    lines += [f"{row.method} on {label(row)}: not planned" for row in table]
    held = {entry.get("image") for entry in entries}
    return lines + [f"image {key} is of no row; {REMEDY}" for key in images if key not in held]


def misscored(entries: Sequence[Mapping[str, Any]], images: Mapping[str, Tensor]) -> list[str]:
    """Name every score of some rows that their kept images do not have."""
    lines = []
    for entry in sorted(entries, key=lambda e: (e["specimen"], e["thickness"] or 0)):
        scene = make_scene(entry["specimen"], entry["thickness"])
        again = score_image(images[entry["image"]], scene)
        lines += differing(entry, again, within=CLOSE)
    return lines
