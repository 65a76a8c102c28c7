"""Count the false alarms and the misses of the search for bad pixels, at 64 × 64 positions.

    python benchmarks/bad_pixels.py

The mean pattern is a stand-in's (``misr4d demo``), without its own faults. Each draw counts the sum
of all patterns at a dose. False alarms: good pixels taken for bad, in all draws without a fault.
Misses: one fault a draw, put where it lies in the disc or beside it, and how often it is not found.
``misr4d/calibrate/pixels.py`` quotes the table.
"""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray

from misr4d.calibrate.pixels import find_bad_pixels
from misr4d.companion.demo import make_stand_in
from misr4d.core.dose import electrons_per_probe

DOSES = (1.0, 10.0, 100.0, 1000.0)  # e⁻/Å²
HOT = (2.0, 3.0, 4.0, 5.0, 10.0)  # counts over those of a good pixel there
DEAD = (0.5, 0.3, 0.0)
ROWS = (1.25, 1.5, 2.0, 3.0)


def missed(
    expected: NDArray[np.float64], kind: str, factor: float, draws: int, rng: np.random.Generator
) -> float:
    """Share of draws in which a fault is not found."""
    lit = expected > 0.7 * np.quantile(expected, 0.9)
    rows = np.flatnonzero(lit.any(1))
    misses = 0
    for _ in range(draws):
        rate = expected.copy()
        if kind == "row":
            where: tuple[object, ...] = (rng.choice(rows), slice(None))
        else:
            place = lit if "disc" in kind else ~lit
            where = tuple(rng.choice(np.argwhere(place)))
        rate[where] *= factor
        found = find_bad_pixels(rng.poisson(rate))
        misses += not (found.dead if factor < 1 else found.hot)[where].all()
    return misses / draws


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--specimens", nargs="+", default=["Li2CoO3", "CuZr"])
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    for name in arguments.specimens:
        stand_in = make_stand_in(name, positions=32)
        mean = stand_in.expected.mean((0, 1), dtype=np.float64)
        print(f"{name}, detector {mean.shape}")
        print(f"{'':24s}" + "".join(f"{f'{d:g} e⁻/Å²':>14s}" for d in DOSES))
        rates = [mean * 64**2 * electrons_per_probe(d, stand_in.acquisition) for d in DOSES]
        alarms = [
            sum(int(find_bad_pixels(rng.poisson(r)).mask.sum()) for _ in range(arguments.draws))
            for r in rates
        ]
        print(f"{'false alarms, all draws':24s}" + "".join(f"{a:14d}" for a in alarms))
        kinds = [("hot in the disc", f) for f in HOT] + [("hot beside it", f) for f in HOT]
        kinds += [("dead in the disc", f) for f in DEAD] + [("row", f) for f in ROWS]
        for kind, factor in kinds:
            shares = [missed(r, kind, factor, arguments.draws, rng) for r in rates]
            print(f"{f'missed: {kind} ×{factor:g}':24s}" + "".join(f"{s:14.0%}" for s in shares))


if __name__ == "__main__":
    main()
