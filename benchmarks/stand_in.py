"""Measure how well a stand-in's scan is calibrated from its file alone.

    python benchmarks/stand_in.py

For each specimen, seed and dose: errors of defocus, rotation, transpose, drift and centre, beside
the standard errors that are stated, and bad pixels that were missed or invented.
``misr4d/companion/demo.py`` quotes the largest; ``tests/companion/test_demo.py`` holds a part of
it.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from misr4d.companion.demo import DRIFT, compare_with_truth, make_stand_in
from misr4d.io.reading import read_scan
from misr4d.report.preparation import prepare


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--specimens", nargs="+", default=["Li2CoO3", "CuZr"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--doses", type=float, nargs="+", default=[1000.0, 100.0])
    parser.add_argument("--draws", type=int, default=2)
    parser.add_argument("--positions", type=int, default=48)
    parser.add_argument("--drift", type=float, default=DRIFT)
    arguments = parser.parse_args()
    for name in arguments.specimens:
        for seed in range(arguments.seeds):
            stand_in = make_stand_in(
                name, seed=seed, positions=arguments.positions, drift=arguments.drift
            )
            step = stand_in.acquisition.step[0]
            for dose in arguments.doses:
                for draw in range(arguments.draws):
                    recording, truth = stand_in.expose(dose, draw)
                    with tempfile.TemporaryDirectory() as folder:
                        path = recording.write(Path(folder) / "scan.h5")
                        label = f"{name} {seed} {dose:g} e⁻/Å² draw {draw}:"
                        try:
                            found = prepare(read_scan(path))
                        except ValueError as error:
                            print(f"{label} {error}", flush=True)
                            continue
                    row = {r.name: r for r in compare_with_truth(found, truth)}
                    drift = np.array(row["drift"].error) / step
                    stated = [row[n].stated or 0.0 for n in ("defocus", "rotation", "drift")]
                    print(
                        f"{label} defocus {row['defocus'].error[0] / truth.defocus:+.2%} "
                        f"± {stated[0] / truth.defocus:.2%}, rotation "
                        f"{row['rotation'].error[0]:+.2f}° ± {stated[1]:.2f}°, transpose "
                        f"{'wrong' if row['transposed'].error[0] else 'right'}, drift "
                        f"{drift[0]:+.3f} {drift[1]:+.3f} ± {stated[2] / step:.3f} of a step, "
                        f"centre {max(np.abs(row['centre'].error)):.2f} pixels, bad pixels "
                        f"{-row['bad pixels found'].error[0]:g} missed, "
                        f"{row['good taken for bad'].error[0]:g} invented",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
