"""Polymers and proteins drawn at random, for training."""

from __future__ import annotations

import math

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers

from misr4d.specimens.cutting import beam_frame
from misr4d.specimens.random_crystals import (
    Array,
    Integers,
    Rng,
    about_z,
    boxed,
    finish,
    random_side,
    random_thickness,
    random_turn,
    relax,
)

__all__ = [
    "polymer",
    "proteins",
]

_BACKBONES: tuple[tuple[str, tuple[str, ...], dict[int, str]], ...] = (
    ("polyethylene", ("C", "C"), {}),
    ("PVC", ("C", "C"), {1: "Cl"}),
    ("PVDF", ("C", "C"), {1: "F"}),
    ("polyimine", ("C", "C", "N"), {}),
    ("polysiloxane", ("Si", "O"), {0: "C"}),
    ("polysulphide", ("C", "C", "S"), {}),
    ("polyphosphazene", ("P", "N"), {0: "F"}),
)


def _chain(length: int, bond: float, rng: Rng) -> Array:
    """Backbone of a chain molecule: fixed bonds and angles, torsions at random."""
    angle, torsion = math.radians(68), 0.0  # deflection of a tetrahedral backbone
    frame = random_turn(rng)
    steps = []
    for kind in rng.choice(3, length, p=[0.6, 0.2, 0.2]):
        torsion = (math.pi, math.pi / 3, -math.pi / 3)[kind] + rng.normal(0, 0.2)
        frame = (
            frame
            @ about_z(torsion)
            @ np.array(
                [
                    [math.cos(angle), 0, math.sin(angle)],
                    [0, 1, 0],
                    [-math.sin(angle), 0, math.cos(angle)],
                ]
            )
        )
        steps.append(frame[:, 2] * bond)
    return np.cumsum(steps, axis=0)


def polymer(rng: Rng) -> tuple[str, Atoms] | None:
    """Draw a polymer melt; None if what was drawn is held out or cannot be packed."""
    side, thickness = random_side(rng), random_thickness(rng, 60.0)
    block = np.array([side, side, thickness])
    _, backbone, pendants = _BACKBONES[rng.integers(len(_BACKBONES))]
    target_atoms = int(rng.uniform(0.035, 0.055) * block.prod())
    if target_atoms > 12_000:
        return None
    places, numbers = [], []
    number_of_atoms = 0
    while number_of_atoms < target_atoms:
        chain = _chain(int(rng.integers(40, 200)), 1.53, rng)
        chain += rng.uniform(-0.5, 0.5, 3) * block - chain.mean(0)
        kinds = np.resize([atomic_numbers[s] for s in backbone], len(chain))
        for site, symbol in pendants.items():
            bears_pendant = np.arange(len(chain)) % len(backbone) == site
            pendant_positions = chain[bears_pendant] + 1.6 * unit_vectors(
                rng.normal(size=(int(bears_pendant.sum()), 3))
            )
            chain = np.concatenate([chain, pendant_positions])
            kinds = np.concatenate([kinds, np.full(len(pendant_positions), atomic_numbers[symbol])])
        # Chains that leave the block enter on the opposite side, as in a periodic melt.
        chain = (chain + block / 2) % block - block / 2
        places.append(chain)
        numbers.append(kinds)
        number_of_atoms += len(chain)
    kinds = np.concatenate(numbers)
    relaxed = relax(np.concatenate(places), np.full(len(kinds), 0.74), block, 6)
    return finish("polymer", relaxed, kinds, block, rng)


def unit_vectors(vectors: Array) -> Array:
    normed: Array = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return normed


# ---- proteins --------------------------------------------------------------------------------

# Cylinder coordinates of an ideal α-helix's backbone: radius [Å], angle [°], height [Å], element.
_HELIX = ((1.55, -28, -0.9, 7), (2.29, 0, 0.0, 6), (1.66, 26, 1.1, 6), (2.0, 24, 2.3, 8))

_SIDE_CHAINS = (0, 1, 1, 2, 3, 3, 4, 4, 4, 4, 5, 5, 6, 7, 7, 8, 10)  # heavy atoms, Gly … Trp


def _helix(residues: int, rng: Rng) -> tuple[Array, Integers]:
    """Build an α-helix along z about the origin, with side chains that point outwards."""
    n = np.arange(residues)
    places, kinds = [], []
    for radius, angle, height, number in _HELIX:
        phi = np.radians(angle + 100.0 * n)
        places.append(
            np.stack([radius * np.cos(phi), radius * np.sin(phi), height + 1.5 * n], axis=1)
        )
        kinds.append(np.full(residues, number))
    phi = np.radians(100.0 * n)
    outward = np.stack([np.cos(phi), np.sin(phi), np.full(residues, -0.3)], axis=1)
    return _with_side_chains(places, kinds, places[1], outward, 1.5 * (residues - 1) / 2, rng)


def _strand(residues: int, rng: Rng) -> tuple[Array, Integers]:
    """Build a β-strand along z, zigzag in x, with side chains to either side."""
    n = np.arange(residues)
    side = np.where(n % 2, 1.0, -1.0)
    zero = np.zeros(residues)
    places = [
        np.stack([0.9 * side, zero, 3.35 * n], axis=1),
        np.stack([0.3 * side, zero, 3.35 * n + 1.2], axis=1),
        np.stack([0.3 * side, 1.2 * side, 3.35 * n + 1.4], axis=1),
        np.stack([-0.3 * side, zero, 3.35 * n + 2.3], axis=1),
    ]
    kinds = [np.full(residues, number) for number in (6, 6, 8, 7)]
    outward = np.stack([side, zero, zero], axis=1)
    return _with_side_chains(places, kinds, places[0], outward, 3.35 * (residues - 1) / 2, rng)


def _with_side_chains(
    places: list[Array],
    kinds: list[Integers],
    roots: Array,
    outward: Array,
    middle: float,
    rng: Rng,
) -> tuple[Array, Integers]:
    length = rng.choice(_SIDE_CHAINS, len(roots))
    tip = roots.copy()
    for step in range(int(length.max(initial=0))):
        grows = length > step
        heading = unit_vectors(outward[grows] + rng.normal(0, 0.7, (int(grows.sum()), 3)))
        tip[grows] += 1.5 * heading
        places.append(tip[grows].copy())
        kinds.append(rng.choice([6, 7, 8, 16], int(grows.sum()), p=[0.75, 0.1, 0.13, 0.02]))
    joined = np.concatenate(places)
    joined[:, 2] -= middle
    return joined, np.concatenate(kinds)


def _globule(radii: Array, rng: Rng, parallel: float) -> tuple[Array, Integers]:
    """Fill an ellipsoid with helices and strands, about as dense as a protein.

    Parameters
    ----------
    radii : ndarray
        Half axes [Å].
    rng : Generator
    parallel : float
        From 0, segments in any direction, to 1, all along the third axis as in a membrane.
    """
    helical = rng.choice([0.2, 0.6, 0.95])
    volume = 4.19 * float(radii.prod())
    target_atoms = volume / 21.0  # Å³ a heavy atom: 1.35 g/cm³
    axes: list[tuple[Array, Array, float]] = []
    places, kinds = [], []
    number_of_atoms, failures = 0, 0
    while number_of_atoms < target_atoms and failures < 150:
        is_helix = rng.random() < helical
        residues = int(rng.integers(8, 26) if is_helix else rng.integers(4, 10))
        length = residues * (1.5 if is_helix else 3.35)
        heading = unit_vectors(
            rng.normal(size=3) * np.array([1 - parallel, 1 - parallel, 1.0]) + 1e-9
        )
        centre = rng.uniform(-1, 1, 3) * radii
        ends = centre + np.outer([-0.5, 0.5], heading * length)
        gap = 8.5 if is_helix else 5.5
        if (((ends * 0.92) / radii) ** 2).sum(1).max() > 1 or any(
            _axis_distance(centre, heading, length, *axis) < gap for axis in axes
        ):
            failures += 1
            continue
        failures = 0
        axes.append((centre, heading, length))
        atoms, numbers = (_helix if is_helix else _strand)(residues, rng)
        lattice = np.eye(3)
        places.append(atoms @ beam_frame(lattice, heading) + centre)
        kinds.append(numbers)
        number_of_atoms += len(numbers)
    # Loops and side chains between the segments: atoms at random places in the ellipsoid.
    filler_atoms = max(int(target_atoms) - number_of_atoms, 8)
    filler = rng.normal(size=(filler_atoms, 3))
    filler = unit_vectors(filler) * rng.random((filler_atoms, 1)) ** (1 / 3) * radii
    places.append(filler)
    kinds.append(rng.choice([6, 7, 8, 16], filler_atoms, p=[0.62, 0.17, 0.2, 0.01]))
    positions, numbers = np.concatenate(places), np.concatenate(kinds)
    return relax(positions, np.full(len(numbers), 0.66), np.full(3, np.inf), 4), numbers


def _axis_distance(
    centre: Array, heading: Array, length: float, other: Array, direction: Array, extent: float
) -> float:
    """Distance between two segments, from points along both."""
    points = centre + np.outer(np.linspace(-0.5, 0.5, 7) * length, heading)
    other_points = other + np.outer(np.linspace(-0.5, 0.5, 7) * extent, direction)
    return float(np.linalg.norm(points[:, None] - other_points[None], axis=-1).min())


def _complex(rng: Rng) -> tuple[Array, Integers]:
    """One globule, or several in a ring, a stack of two rings, or without symmetry."""
    kind = rng.choice(["single", "membrane", "ring", "barrel", "random"])
    radii = rng.uniform(14, 32, 3)
    if kind == "single":
        return _globule(radii * rng.uniform(1.0, 1.6), rng, 0.0)
    if kind == "membrane":
        return _globule(np.array([*rng.uniform(14, 40, 2), rng.uniform(22, 34)]), rng, 0.85)
    unit, numbers = _globule(radii * 0.8, rng, rng.choice([0.0, 0.5]))
    if kind == "random":
        copies = [
            unit @ random_turn(rng).T + rng.normal(0, 24, 3) for _ in range(rng.integers(2, 4))
        ]
        return np.concatenate(copies), np.resize(numbers, len(copies) * len(numbers))
    fold = int(rng.integers(2, 9))
    ring_radius = radii.max() * 0.85 / math.sin(math.pi / max(fold, 3))
    subunit = unit @ random_turn(rng).T + np.array([min(ring_radius, 70.0), 0, 0])
    ring = np.concatenate([subunit @ about_z(2 * math.pi * k / fold).T for k in range(fold)])
    if kind == "barrel":
        upper = ring + np.array([0, 0, radii.max() * 0.85])
        ring = np.concatenate([upper, upper @ np.diag([1.0, -1.0, -1.0])])
    return ring, np.resize(numbers, len(ring))


def proteins(rng: Rng) -> tuple[str, Atoms] | None:
    """Draw proteins: bundles, rings and globules of ideal helices and strands."""
    side = 256.0
    places: list[Array] = []
    kinds: list[Integers] = []
    discs: list[tuple[Array, float]] = []
    height = 0.0
    for _ in range(rng.integers(1, 6)):
        atoms, numbers = _complex(rng)
        if len(numbers) > 25_000:
            continue
        atoms = atoms @ random_turn(rng).T
        atoms -= (atoms.max(0) + atoms.min(0)) / 2
        extent = np.ptp(atoms, axis=0)
        if extent[2] > 150 or extent[:2].max() > 230:
            continue
        radius = float(np.linalg.norm(atoms[:, :2], axis=1).max())
        for _ in range(20):
            centre = rng.uniform(-1, 1, 2) * max(side / 2 - 0.8 * radius, 1.0)
            if all(np.linalg.norm(centre - c) > 0.85 * (radius + r) for c, r in discs):
                discs.append((centre, radius))
                places.append(atoms + np.array([*centre, rng.uniform(-5, 5)]))
                kinds.append(numbers)
                height = max(height, float(extent[2]) + 10)
                break
    if not places:
        return None
    positions, numbers = np.concatenate(places), np.concatenate(kinds)
    if len(numbers) > 45_000:
        return None
    positions = positions + rng.normal(0, rng.uniform(0, 0.4), positions.shape)
    return boxed("protein", positions, numbers, np.array([side, side, height]))
