"""Measure the network for any instrument on instruments and specimens that no training saw.

    python benchmarks/instruments.py

Thirteen instruments, from 60 to 300 kV and 4 to 31 mrad; on each, thin and thick crystals, glasses
and polymers of the corpus, or proteins, where the step is coarse. Specimens come from draws of
their own. For each scan and dose: correlation with the truth by direct ptychography and by the
network that `misr4d reconstruct` takes there, and the share of pixels within its stated intervals.
Then the same on scans of instruments drawn at random. All lands in
``misr4d/data/instruments.json``; about ten minutes on one core.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor
from tqdm import tqdm

import misr4d
from misr4d.core.acquisition import Acquisition
from misr4d.core.files import write_whole
from misr4d.learn.examples import generator_of
from misr4d.learn.instruments import Instrument, Scan, draw_instrument, simulate_scan
from misr4d.learn.learned import card, informed_from, network_for
from misr4d.measure.metrics import correlation
from misr4d.reconstruction.direct import DirectPtychography, Statistic, starting_point
from misr4d.specimens.corpus import draw_specimen

OUT = Path(misr4d.__file__).parent / "data" / "instruments.json"
SEED, DRAWN_SEED = 43, 44  # of specimens and instruments; training, calibration have others
DOSES = (50.0, 100.0, 300.0, 1000.0, 10_000.0, math.inf)  # e⁻/Å²
SPECIMENS = 6  # in each cell
DRAWN = 60  # instruments at random
THICK = {"thin": (0.0, 40.0), "thick": (80.0, 400.0)}  # Å
SHARES = (0.68, 0.95)
ERROR = 0.01  # standard deviation of the relative error of the assumed defocus

# Energy [kV], semi-angle [mrad], step [Å], defocus [Å], pixels in a semi-angle.
INSTRUMENTS: dict[str, tuple[float, float, float, float, float]] = {
    "60 kV, 31 mrad": (60, 31.0, 0.70, 120.0, 6.0),
    "80 kV, 22 mrad": (80, 22.0, 0.80, 200.0, 8.0),
    "80 kV, 25 mrad, overfocus": (80, 25.0, 0.60, -150.0, 7.5),
    "120 kV, 12 mrad": (120, 12.0, 1.20, 500.0, 7.5),
    "200 kV, 8 mrad": (200, 8.0, 1.50, 900.0, 5.0),
    "200 kV, 26 mrad": (200, 26.0, 0.50, 100.0, 9.0),
    "300 kV, 15 mrad": (300, 15.0, 0.90, 300.0, 7.5),
    "300 kV, 21 mrad": (300, 21.0, 0.50, 150.0, 4.0),
    "300 kV, 30 mrad": (300, 30.0, 0.40, 80.0, 10.0),
    "120 kV, 5 mrad": (120, 5.0, 2.50, 3000.0, 6.0),
    "200 kV, 6 mrad": (200, 6.0, 3.00, 2500.0, 8.0),
    "300 kV, 4 mrad": (300, 4.0, 4.00, 5000.0, 7.5),
    "300 kV, 6 mrad": (300, 6.0, 5.00, 6000.0, 5.0),
}
COARSE = 2.0  # Å; from this step on the specimens are proteins


def acquisition_of(name: str) -> Acquisition:
    """Return the measurement of an instrument of the list, counted from the specimen's middle."""
    energy, semiangle, step, defocus, pixels = INSTRUMENTS[name]
    return Acquisition(
        defocus=defocus,
        step=(step, step),
        energy=energy * 1e3,
        semiangle=semiangle,
        scan_shape=(48, 48),
        detector_pixel=semiangle / pixels,
    )


def indices(regime: str, ends: tuple[float, float]) -> Iterator[int]:
    """Yield the numbers of the corpus's draws that are as thick."""
    index = 0
    while True:
        thickness = draw_specimen(regime, SEED, index).atoms.cell.lengths()[2]
        if ends[0] <= thickness <= ends[1]:
            yield index
        index += 1


def plan() -> Iterator[tuple[str, str, Instrument, int]]:
    """Yield label, kind, instrument and specimen of every scan of the list."""
    for number, name in enumerate(INSTRUMENTS):
        acquisition = acquisition_of(name)
        regime = "molecular" if acquisition.step[0] >= COARSE else "atomic"
        kinds = {"protein": (0.0, math.inf)} if regime == "molecular" else THICK
        for kind, ends in kinds.items():
            chosen = indices(regime, ends)
            errors = torch.randn(SPECIMENS, generator=generator_of(SEED, number)) * ERROR
            for error in errors.tolist():
                yield name, kind, Instrument(regime, acquisition, error), next(chosen)


def measure(scan: Scan, method: DirectPtychography, key: tuple[int, ...]) -> list[dict[str, Any]]:
    """Score a scan at every dose; nothing if the field holds no specimen."""
    if float(scan.truth.std()) == 0:
        return []
    rows = []
    for number, dose in enumerate(DOSES):
        statistic, truth = scan.expose(method, dose, generator_of(*key, number, 0))
        rows.append({"dose": str(dose), **score(method, statistic, truth)})
    return rows


def score(method: DirectPtychography, statistic: Statistic, truth: Tensor) -> dict[str, Any]:
    """Compare with the truth: correlations, and the share of pixels within each interval."""
    estimate, direct = informed_from(method, statistic)
    error = (estimate.mean[0] - truth).abs()
    found = {
        "direct": round(correlation(direct[0], truth), 4),
        "network": round(correlation(estimate.mean[0], truth), 4),
    }
    for share in SHARES:
        found[f"within_{share:g}"] = round(
            float((error <= estimate.interval(share)[0]).float().mean()), 4
        )
    return found


@click.command(help=__doc__)
def main() -> None:
    torch.set_num_threads(1)
    start = time.process_time()
    listed, drawn = [], []
    tasks = list(plan())
    for number, (name, kind, instrument, index) in enumerate(tqdm(tasks, unit="scan")):
        scan = simulate_scan(instrument, SEED, index)
        method = starting_point.__wrapped__(instrument.acquisition)
        common = {"instrument": name, "kind": kind, "specimen": index}
        for row in measure(scan, method, (SEED, number)):
            listed.append({**common, "thickness": round(scan.thickness, 1), **row})
    for index in tqdm(range(DRAWN), unit="scan"):
        instrument = draw_instrument(DRAWN_SEED, index)
        acquisition = instrument.acquisition
        scan = simulate_scan(instrument, DRAWN_SEED, index)
        common = {
            "regime": instrument.regime,
            "specimen": scan.specimen,
            "thickness": round(scan.thickness, 1),
            "energy": acquisition.energy,
            "semiangle": round(acquisition.semiangle, 3),
            "step": round(acquisition.step[0], 3),
            "defocus": round(acquisition.defocus, 1),
            "views": acquisition.number_of_views,
            "defocus_error": round(instrument.defocus_error, 4),
        }
        method = starting_point.__wrapped__(acquisition)
        drawn += [{**common, **row} for row in measure(scan, method, (DRAWN_SEED, index))]
    record = {
        "command": "python benchmarks/instruments.py",
        "networks": {
            name: card(name)["sha256"]
            for name in sorted({network_for(acquisition_of(i)) for i in INSTRUMENTS})
        },
        "instruments": {
            name: dict(
                zip(
                    ("energy", "semiangle", "step", "defocus", "pixels"),
                    values,
                    strict=True,
                )
            )
            for name, values in INSTRUMENTS.items()
        },
        "defocus_error": ERROR,
        "core_seconds": round(time.process_time() - start, 1),
        "listed": listed,
        "drawn": drawn,
    }
    write_whole(OUT, json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    print(f"wrote {OUT}")


if __name__ == "__main__":
    main()
