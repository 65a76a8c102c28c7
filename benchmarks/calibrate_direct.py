"""Choose the amplitude contrast of direct ptychography on specimens that no page scores.

    python benchmarks/calibrate_direct.py

Atomic regime: MoS₂ and CaTiO₃. Molecular regime: a hollow ball of atoms at random, of a protein's
composition and density. For each amplitude contrast it prints the mean correlation with the
truth over doses and draws; the choice is recorded in ``misr4d/direct.py``.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from ase import Atoms

from misr4d import ATOMIC, MOLECULAR
from misr4d.direct import DirectPtychography
from misr4d.dose import expose
from misr4d.metrics import correlation
from misr4d.multislice import build_potential
from misr4d.potential import truth
from misr4d.reciprocity import simulate_views
from misr4d.specimens import Specimen, make_specimen

DOSES = (100.0, 200.0, 300.0, 500.0, 1000.0, math.inf)
CONTRASTS = (0.0, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.08)
DRAWS = 3


def random_ball(outer: float = 50.0, inner: float = 25.0, seed: int = 0) -> Specimen:
    """Hollow ball of C, N, O, S at 1.35 g/cm³, about a protein's share of each."""
    rng = np.random.default_rng(seed)
    symbols, shares = ["C", "N", "O", "S"], [0.63, 0.17, 0.19, 0.01]
    mass = float(np.dot(shares, [12.011, 14.007, 15.999, 32.06])) / 0.93  # 7 % is hydrogen
    spacing = (mass / (1.35 * 0.60221)) ** (1 / 3)
    axis = np.arange(-outer, outer, spacing)
    points = np.stack(np.meshgrid(axis, axis, axis), -1).reshape(-1, 3)
    points += rng.uniform(-0.35, 0.35, points.shape) * spacing
    radius = np.linalg.norm(points, axis=1)
    points = points[(radius < outer) & (radius > inner)]
    chosen = rng.choice(symbols, len(points), p=shares)
    height = 2 * outer + 2
    points += [128, 128, height / 2]
    atoms = Atoms(list(chosen), points, cell=[256, 256, height], pbc=(True, True, False))
    return Specimen("ball", "random ball", atoms, "molecular", "generated", "-")


def main() -> None:
    cases = [
        (make_specimen("MoS2"), ATOMIC, 1 / 3, 2.0),
        (make_specimen("CaTiO3"), ATOMIC, 1 / 3, 2.0),
        (random_ball(), MOLECULAR, 0.5, 20.0),
    ]
    print(f"{'specimen':12s}" + "".join(f"{a:>8g}" for a in CONTRASTS))
    for specimen, acquisition, sampling, thickness in cases:
        potential = build_potential(specimen, sampling, thickness)
        reference = truth(potential, acquisition)
        views = simulate_views(potential, acquisition)
        focused = acquisition.refocused(potential.thickness / 2)
        scores = []
        for contrast in CONTRASTS:
            method = DirectPtychography(focused, aliases=3, amplitude_contrast=contrast)
            values = []
            for dose in DOSES:
                generator = torch.Generator().manual_seed(0)
                for _ in range(1 if math.isinf(dose) else DRAWS):
                    image = method(expose(views, acquisition, dose, generator))
                    values.append(correlation(image, reference))
            scores.append(float(np.mean(values)))
        print(f"{specimen.name:12s}" + "".join(f"{s:8.4f}" for s in scores))


if __name__ == "__main__":
    main()
