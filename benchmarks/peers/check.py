"""Which way up, of which sign and where exactly a peer's image is: asserted on a known object.

    python benchmarks/peers/check.py [PEER ...]

The object is a handful of atoms without any symmetry. Of the eight ways to turn and mirror a
square, and the two signs, the image as it is read back must agree best with the truth, and its best
shift must be within 0.15 pixels of the ×3 image.
"""

from __future__ import annotations

import itertools
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from ase import Atoms
from environments import HOME, install
from exchange import run_peer, write_counts
from torch import Tensor
from tune import BEGIN

from misr4d import ATOMIC
from misr4d.core.acquisition import UPSAMPLING
from misr4d.measure.metrics import correlation
from misr4d.simulate.multislice import build_potential
from misr4d.simulate.patterns import simulate_patterns
from misr4d.specimens.catalogue import Specimen
from misr4d.specimens.potential import truth

FIRST, SIDE = (16, 20), 24  # first probe position and positions along either axis
ELECTRONS = 1e5  # of a probe position
PLACES = ((5.0, 4.0), (5.0, 8.0), (5.0, 12.0), (5.0, 16.0), (10.0, 4.0), (18.0, 7.5))  # Å
EPOCHS = 8
RATE = 0.005  # small beside the atoms' phase, so that the noise of the last steps is too
NEAR = 0.15  # pixels


def measure(name: str) -> tuple[Any, Tensor]:
    """Write the counts of the known object for a peer; its folder and the truth."""
    places = [(x + FIRST[0], y + FIRST[1], 3.0) for x, y in PLACES]
    atoms = Atoms("Cu6", positions=places, cell=(64.0, 64.0, 6.0), pbc=(True, True, False))
    specimen = Specimen("letter", "Six atoms", atoms, "atomic", "made here", "none needed")
    potential = build_potential(specimen, 1 / 3, 2.0)
    scan = np.stack(np.meshgrid(*(f + np.arange(SIDE) for f in FIRST), indexing="ij"), -1)
    small = replace(ATOMIC, scan_shape=(SIDE, SIDE))
    cube = simulate_patterns(potential, small, max_angle=20.0, positions=scan.astype(float))
    generator = torch.Generator().manual_seed(0)
    counts = torch.poisson(torch.from_numpy(cube.patterns) * ELECTRONS, generator=generator)
    folder = HOME / "check" / name
    midplane = small.refocused(potential.thickness / 2)
    drawn = replace(cube, patterns=counts.numpy() / ELECTRONS)
    write_counts(folder, drawn, midplane, ELECTRONS, "")  # simulated anew each time
    part = [slice(UPSAMPLING * f, UPSAMPLING * (f + SIDE)) for f in FIRST]
    return folder, truth(potential, ATOMIC, UPSAMPLING)[part[0], part[1]]


def shift_of(image: Tensor, reference: Tensor) -> tuple[float, float]:
    """Shift of an image against a reference [pixels], from the cross-correlation's peak."""
    product = torch.fft.fft2(image.double()) * torch.fft.fft2(reference.double()).conj()
    fine = 50
    n = product.shape[0]
    k = torch.fft.fftfreq(n, dtype=torch.float64)
    lags = torch.arange(-2 * fine, 2 * fine + 1, dtype=torch.float64) / fine
    wave = torch.exp(2j * torch.pi * torch.outer(lags, k))
    peak = int((wave @ product @ wave.T).real.argmax())
    return float(lags[peak // len(lags)]), float(lags[peak % len(lags)])


def check(name: str) -> None:
    """Assert that a peer's image of the known object is where and what it should be.

    Raises
    ------
    AssertionError
        If it is turned, mirrored, inverted or shifted.
    """
    folder, reference = measure(name)
    settings = BEGIN[name] | ({"rate": RATE} if "rate" in BEGIN[name] else {})
    image = run_peer(name, {folder: [settings | {"epochs": [EPOCHS]}]})[0][0].images[-1]
    agreement = {}
    for sign, turns, mirrored in itertools.product((1, -1), range(4), (False, True)):
        turned = torch.rot90(image.T if mirrored else image, turns, (0, 1))
        agreement[sign, turns, mirrored] = correlation(sign * turned, reference)
    best = max(agreement, key=lambda key: agreement[key])
    shift = shift_of(image, reference)
    print(f"{name}: correlation {agreement[1, 0, False]:.3f}, shift {shift}", flush=True)
    assert best == (1, 0, False), f"{name} agrees best with sign, turns, mirror {best}"
    assert max(map(abs, shift)) <= NEAR, f"{name} is shifted by {shift} pixels"


if __name__ == "__main__":
    torch.set_num_threads(1)
    for peer in sys.argv[1:] or BEGIN:
        install(peer)
        check(peer)
