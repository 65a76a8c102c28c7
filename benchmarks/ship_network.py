"""Calibrate a trained network, score it on held-out specimens, and put it into the package.

    python benchmarks/ship_network.py DirectInformed _output/training --device "2 CPU cores"
    python benchmarks/ship_network.py DirectInformed --rescore

The second form leaves the weights alone, and measures again what their card says of them: after
every change of what the networks are given. Intervals come from `calibrate_deviation.py`, whose
specimens are drawn like those of the training, but from other seeds; the scores from three of the
paper's specimens, which no training sees. Both land on the card,
``misr4d/data/weights/NAME.json``.
"""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import click
from calibrate_deviation import calibrate

from misr4d.companion.bench import score_image
from misr4d.companion.study import METHODS, place
from misr4d.learn.configuration import recorded_training
from misr4d.learn.learned import SHIPPED, STUDIED, amend, card, load_network, pack
from misr4d.measure.summary import summarise
from misr4d.specimens.catalogue import make_specimen

HELD_OUT = ("Li2CoO3", "CuZr", "apoferritin")
DOSES = (50.0, 100.0, 300.0, 1000.0, math.inf)
CALIBRATED = ("DirectInformed", "InstrumentInformed")  # those that state a deviation
LABELS = {"DirectInformed": "informed", "AttentionUNet": "attention U-Net", "DualPath": "dual path"}


def scores(name: str) -> list[dict[str, Any]]:
    """Correlation inside held-out specimens and resolution, beside direct ptychography's."""
    rows = []
    for specimen_name in HELD_OUT:
        scene = place(make_specimen(specimen_name))
        for dose in DOSES:
            values: dict[str, list[dict[str, Any]]] = {"direct": [], name: []}
            for draw in range(1 if math.isinf(dose) else 4):
                measurement = scene.expose(dose, draw)
                for key, measured in values.items():
                    image = METHODS[LABELS.get(key, key)](measurement)
                    measured.append(score_image(image, scene))
            for key, measured in values.items():
                fit = summarise(entry["correlation"] for entry in measured)
                period = summarise(entry["resolution"] or math.inf for entry in measured)
                rows.append(
                    {
                        "specimen": specimen_name,
                        "dose": str(dose),
                        "method": key,
                        "n": fit.n,
                        "correlation": round(fit.median, 4),
                        "resolution": round(period.median, 3)
                        if math.isfinite(period.median)
                        else None,
                    }
                )
                print(rows[-1], flush=True)
    return rows


def facts(name: str) -> dict[str, Any]:
    """Measure what the card of a shipped network says of its quality."""
    found: dict[str, Any] = {}
    if name in CALIBRATED:
        config = recorded_training(card(name))
        found["calibration"] = calibrate(load_network(name), config)
        for row in found["calibration"]["intervals"]:
            print(row, flush=True)
    # That for any instrument is no method of the study: benchmarks/instruments.py measures it.
    return found | ({"held_out": scores(name)} if name in STUDIED else {})


@click.command(help=__doc__)
@click.argument("name", type=click.Choice(SHIPPED))
@click.argument(
    "folder", type=click.Path(exists=True, file_okay=False, path_type=Path), required=False
)
@click.option("--device", help="What it was trained on, in words.")
@click.option("--rescore", is_flag=True, help="Measure the shipped weights again.")
def main(name: str, folder: Path | None, device: str | None, rescore: bool) -> None:
    if rescore == (folder is not None) or (folder is not None and device is None):
        raise click.UsageError("give a training's folder and --device, or --rescore alone")
    if folder is not None:
        with (folder / "log.csv").open(encoding="utf-8", newline="") as file:
            last = list(csv.DictReader(file))[-1]
        known = {
            "data": "specimens of misr4d.specimens.corpus, drawn from the seed; none is scored",
            "device": device,
            "final_loss": float(last["loss"]),
            "command": f"misr4d train with the values under 'training'; then "
            f"python benchmarks/ship_network.py {name}",
        }
        pack(folder / "weights.safetensors", name, known)
    print(f"wrote {amend(name, facts(name))}")


if __name__ == "__main__":
    main()
