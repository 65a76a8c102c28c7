"""Images of today's other programs from the counts that the study's methods get, and their scores.

    python benchmarks/peers/compare.py [PEER ...]

Each peer has the true parameters and the settings of ``tune.py`` at the nearest dose; where no peer
is named, all run that were tuned for the specimen's regime. Writes ``notebooks/study/peers.json``,
a row for each specimen, dose, draw and peer with the bench's scores, and ``peers_images.npz``, the
images of phaserEM's first draw in 256 grey levels. An image that was made with the same settings is
read back from ``_build/peers/images``, so that a change of the scores alone costs no
reconstruction; the counts are kept there too, 3.2 GB. Without that folder a row on record stands if
its settings and the peer's version are today's; ``--again`` makes its image anew, as a change of
the scores needs.
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

from misr4d.companion.bench import score_image, write_whole
from misr4d.companion.study import make_scene
from misr4d.core.dose import electrons_per_probe

SPECIMENS = ("Li2CoO3", "CuZr", "apoferritin")
DOSES = (50.0, 100.0, 200.0, 300.0, 500.0, 1000.0)  # e⁻/Å², the paper's up to 1000
FEWER = dict.fromkeys(("quantem", "quantem direct"), (100.0, 300.0, 1000.0))  # those tuned at
DRAWS = 3  # of the counting noise, the seeds 0, 1 and 2 of the bench
SHOWN = "phaserEM"  # whose images the book shows
STUDY = Path(__file__).resolve().parents[2] / "notebooks" / "study"
IMAGES = HOME / "images"
Rows = dict[tuple[str, float, int, str], dict[str, Any]]  # by specimen, dose, draw and peer


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


def reconstruct(specimen: str, dose: float, peers: Sequence[str], recorded: Rows) -> None:
    """Let each peer make the images of a dose that are not there yet, all of the same counts."""
    scene = make_scene(specimen)
    for peer in peers:
        if dose not in FEWER.get(peer, DOSES):
            continue
        today = _today(peer, scene.specimen.regime, dose)
        settings = today["settings"]
        tasks = {}
        for draw in range(DRAWS):
            record = _place(specimen, dose, draw, peer).with_suffix(".json")
            done = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
            row = recorded.get((specimen, dose, draw, peer), {})
            if not any(today.items() <= there.items() for there in (done, row)):
                folder = _measurement(specimen, dose, draw)
                if not (folder / "counts.npz").is_file():
                    cube = scene.measure(dose, seed=draw).whole
                    electrons = electrons_per_probe(dose, scene.acquisition)
                    write_counts(folder, cube, scene.midplane, electrons)
                tasks[folder] = [settings | {"epochs": [settings["epochs"]]}]
        if not tasks:
            continue
        for folder, [course] in zip(tasks, run_peer(peer, tasks), strict=True):
            draw = int(folder.name.rsplit("-", 1)[1])
            place = _place(specimen, dose, draw, peer)
            place.parent.mkdir(parents=True, exist_ok=True)
            np.save(place, course.images[-1].numpy())
            record = today | {"seconds": round(course.seconds[-1], 1)}
            write_whole(place.with_suffix(".json"), json.dumps(record))
            print(specimen, dose, draw, peer, record, flush=True)


def _today(peer: str, regime: str, dose: float) -> dict[str, Any]:
    return {"settings": tuned(peer, regime, dose), "version": PEERS[peer].version}


def _measurement(specimen: str, dose: float, draw: int) -> Path:
    return HOME / "measurements" / f"{specimen}-{dose:g}-{draw}"


def _place(specimen: str, dose: float, draw: int, peer: str) -> Path:
    return IMAGES / f"{specimen}-{dose:g}-{draw}-{peer.replace(' ', '_')}.npy"


def measurements() -> Iterator[tuple[str, float, int]]:
    """Every specimen, dose and draw."""
    for specimen in SPECIMENS:
        for dose in DOSES:
            for draw in range(DRAWS):
                yield specimen, dose, draw


def on_record() -> tuple[Rows, dict[str, Any]]:
    """Rows of the committed table, and the versions that made them."""
    path = STUDY / "peers.json"
    if not path.is_file():
        return {}, {}
    record = json.loads(path.read_text(encoding="utf-8"))
    rows = {
        (row["specimen"], row["dose"], row["draw"], row["method"]): row for row in record["rows"]
    }
    return rows, record["versions"]


def tabulate(peers: Sequence[str], recorded: Rows) -> list[dict[str, Any]]:
    """Score every image that is there; rows on record of the others, unless outdated."""
    rows = []
    for specimen, dose, draw in measurements():
        scene = make_scene(specimen)
        for peer in peers:
            place = _place(specimen, dose, draw, peer)
            if not place.is_file():
                row = recorded.get((specimen, dose, draw, peer))
                if row and row.items() >= _today(peer, row["regime"], dose).items():
                    rows.append(row)
                continue
            record = json.loads(place.with_suffix(".json").read_text(encoding="utf-8"))
            rows.append(
                {
                    "specimen": specimen,
                    "regime": scene.specimen.regime,
                    "dose": dose,
                    "method": peer,
                    "draw": draw,
                    "thickness": None,
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
    for specimen in [given.specimen] if given.specimen else SPECIMENS:
        ready = asked or tuned_in(make_scene(specimen).specimen.regime)
        for dose in DOSES:
            reconstruct(specimen, dose, ready, recorded)
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
    for specimen, dose, draw in measurements():
        if draw == 0 and (place := _place(specimen, dose, draw, SHOWN)).is_file():
            grey, low, step = levels(torch.from_numpy(np.load(place)))
            name = f"{specimen}-{dose:g}"
            shown[name], shown[f"{name}-scale"] = grey, np.array([low, step])
    np.savez_compressed(STUDY / "peers_images.npz", **shown)


if __name__ == "__main__":
    main()
