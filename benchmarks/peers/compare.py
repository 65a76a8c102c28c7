"""Images of today's other programs from the counts that the study's methods get, and their scores.

    python benchmarks/peers/compare.py [PEER ...]

Each peer has the true parameters and the settings of ``tune.py`` at the nearest dose; where no peer
is named, all run that were tuned for the specimen's regime. Writes ``notebooks/study/peers.json``,
a row for each specimen, thickness, dose, draw and peer with the bench's scores, and
``peers_images.npz``, the images of phaserEM's first draw in 256 grey levels. An image that was made
with the same settings is read back from ``_build/peers/images``, so that a change of the scores
alone costs no reconstruction; the counts are kept there too, 4 GB. Without that folder a row on
record stands if its settings and the peer's version are today's; ``--again`` makes its image anew,
as a change of the scores needs.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from environments import HOME, PEERS, versions
from exchange import run_peer, write_counts
from torch import Tensor

from misr4d.companion.bench import score_image
from misr4d.companion.study import make_scene
from misr4d.core.dose import electrons_per_probe
from misr4d.core.files import write_whole
from misr4d.specimens.catalogue import regime_of

SPECIMENS = ("Li2CoO3", "CuZr", "apoferritin")
THICKNESSES = {"Li2CoO3": (50.0, 100.0, 200.0, 300.0)}  # Å, those of the bench's study
THICK_DOSE = 300.0  # e⁻/Å², at which they are measured
DOSES = (50.0, 100.0, 200.0, 300.0, 500.0, 1000.0)  # e⁻/Å², the paper's up to 1000
FEWER = dict.fromkeys(("quantem", "quantem direct"), (100.0, 300.0, 1000.0))  # those tuned at
DRAWS = 3  # of the counting noise, the seeds 0, 1 and 2 of the bench
SHOWN = "phaserEM"  # whose images the book shows
STUDY = Path(__file__).resolve().parents[2] / "notebooks" / "study"
IMAGES = HOME / "images"
Measured = tuple[str, float | None, float, int]  # specimen, thickness, dose and draw
Rows = dict[tuple[Measured, str], dict[str, Any]]  # and the peer


def tuned_in(regime: str) -> list[str]:
    """Peers that have settings for a regime."""
    record = json.loads((STUDY / "peers_tuning.json").read_text(encoding="utf-8"))
    have = {row["peer"] for row in record["choice"] if row["regime"] == regime}
    return [name for name in PEERS if name in have]


def tuned(peer: str, regime: str, dose: float) -> dict[str, Any]:
    """Look up a peer's settings, epochs among them, at the nearest dose on record.

    Raises
    ------
    ValueError
        If the peer was not tuned.
    """
    record = json.loads((STUDY / "peers_tuning.json").read_text(encoding="utf-8"))
    rows = [row for row in record["choice"] if (row["peer"], row["regime"]) == (peer, regime)]
    if not rows:
        raise ValueError(f"{peer} has no settings for regime {regime!r}; run tune.py {peer} first")
    row = min(rows, key=lambda row: abs(math.log(row["dose"] / dose)))
    return {**row["settings"], "epochs": row["epochs"]}


def reconstruct(
    specimen: str, thickness: float | None, dose: float, peers: Sequence[str], recorded: Rows
) -> None:
    """Let each peer make the images of a dose that are not there yet, all of the same counts."""
    scene = make_scene(specimen, thickness)
    for peer in peers:
        if dose not in FEWER.get(peer, DOSES):
            continue
        today = _today(peer, scene.specimen.regime, dose)
        settings = today["settings"]
        tasks = {}
        for draw in range(DRAWS):
            case = (specimen, thickness, dose, draw)
            record = _place(case, peer).with_suffix(".json")
            done = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
            row = recorded.get((case, peer), {})
            if not any(today.items() <= there.items() for there in (done, row)):
                folder = HOME / "measurements" / _name(case)
                if not (folder / "counts.npz").is_file():
                    cube = scene.measure(dose, seed=draw).whole
                    electrons = electrons_per_probe(dose, scene.acquisition)
                    write_counts(folder, cube, scene.midplane, electrons)
                tasks[folder] = [settings | {"epochs": [settings["epochs"]]}]
        if not tasks:
            continue
        for folder, [course] in zip(tasks, run_peer(peer, tasks), strict=True):
            draw = int(folder.name.rsplit("-", 1)[1])
            place = _place((specimen, thickness, dose, draw), peer)
            place.parent.mkdir(parents=True, exist_ok=True)
            np.save(place, course.images[-1].numpy())
            record = today | {"seconds": round(course.seconds[-1], 1)}
            write_whole(place.with_suffix(".json"), json.dumps(record))
            print(folder.name, peer, record, flush=True)


def _today(peer: str, regime: str, dose: float) -> dict[str, Any]:
    return {"settings": tuned(peer, regime, dose), "version": PEERS[peer].version}


def _name(case: Measured) -> str:
    specimen, thickness, dose, draw = case
    thick = "" if thickness is None else f"-{thickness:g}A"
    return f"{specimen}{thick}-{dose:g}-{draw}"


def _place(case: Measured, peer: str) -> Path:
    return IMAGES / f"{_name(case)}-{peer.replace(' ', '_')}.npy"


def scans() -> Iterator[tuple[str, float | None, float]]:
    """Every specimen, thickness and dose."""
    for specimen in SPECIMENS:
        for dose in DOSES:
            yield specimen, None, dose
        for thickness in THICKNESSES.get(specimen, ()):
            yield specimen, thickness, THICK_DOSE


def measurements() -> Iterator[Measured]:
    """Every draw of every scan."""
    for scan in scans():
        for draw in range(DRAWS):
            yield (*scan, draw)


def on_record() -> tuple[Rows, dict[str, Any]]:
    """Rows of the committed table, and the versions that made them."""
    path = STUDY / "peers.json"
    if not path.is_file():
        return {}, {}
    record = json.loads(path.read_text(encoding="utf-8"))
    rows = {
        ((row["specimen"], row["thickness"], row["dose"], row["draw"]), row["method"]): row
        for row in record["rows"]
    }
    return rows, record["versions"]


def tabulate(peers: Sequence[str], recorded: Rows) -> list[dict[str, Any]]:
    """Score every image that is there; rows on record of the others, unless outdated."""
    rows = []
    for case in measurements():
        specimen, thickness, dose, draw = case
        for peer in peers:
            place = _place(case, peer)
            if not place.is_file():
                row = recorded.get((case, peer))
                if row and row.items() >= _today(peer, row["regime"], dose).items():
                    rows.append(row)
                continue
            record = json.loads(place.with_suffix(".json").read_text(encoding="utf-8"))
            scene = make_scene(specimen, thickness)
            rows.append(
                {
                    "specimen": specimen,
                    "regime": scene.specimen.regime,
                    "dose": dose,
                    "method": peer,
                    "draw": draw,
                    "thickness": thickness,
                    "seed": draw,
                    **score_image(torch.from_numpy(np.load(place)), scene),
                    **record,
                }
            )
    return rows


def levels(image: Tensor) -> tuple[np.ndarray[Any, Any], float, float]:
    """Turn an image into 256 grey levels, the value of level 0 and that of a step."""
    low, high = float(image.min()), float(image.max())
    step = (high - low) / 255
    return ((image - low) / step).round().to(torch.uint8).numpy(), low, step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("peers", nargs="*", metavar="PEER", help=f"of {', '.join(PEERS)}")
    parser.add_argument("--specimen", choices=SPECIMENS, help="one alone")
    parser.add_argument("--again", action="store_true", help="take no row from the record")
    given = parser.parse_args()
    asked = given.peers
    if unknown := [name for name in asked if name not in PEERS]:
        parser.error(f"unknown peer {unknown[0]!r}; known: {', '.join(PEERS)}")
    torch.set_num_threads(1)
    recorded = {} if given.again else on_record()[0]
    for specimen, thickness, dose in scans():
        if given.specimen in (None, specimen):
            ready = asked or tuned_in(regime_of(specimen))
            reconstruct(specimen, thickness, dose, ready, recorded)
    recorded, used = on_record()
    rows = tabulate(list(PEERS), recorded)
    present = [name for name in PEERS if any(row["method"] == name for row in rows)]
    used |= {name: versions(name) for name in present if PEERS[name].interpreter.is_file()}
    record = {
        "command": "python benchmarks/peers/compare.py",
        "doses": DOSES,
        "draws": DRAWS,
        "versions": {name: used[name] for name in present},
        "rows": rows,
    }
    write_whole(STUDY / "peers.json", json.dumps(record, indent=1) + "\n")
    with np.load(STUDY / "peers_images.npz") as file:
        shown: dict[str, Any] = dict(file)
    for case in measurements():
        specimen, thickness, dose, draw = case
        if draw == 0 and thickness is None and (place := _place(case, SHOWN)).is_file():
            grey, low, step = levels(torch.from_numpy(np.load(place)))
            name = f"{specimen}-{dose:g}"
            shown[name], shown[f"{name}-scale"] = grey, np.array([low, step])
    np.savez_compressed(STUDY / "peers_images.npz", **shown)


if __name__ == "__main__":
    main()
