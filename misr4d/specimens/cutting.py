"""Cut blocks out of crystals, in any orientation, and put atoms into boxes."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "CLEARANCE",
    "beam_frame",
    "fill_block",
    "in_box",
    "octahedral_rotations",
    "tilt_matrix",
]

CLEARANCE = 0.5
"""Vacuum above and below the atoms [Å]: our choice, so that no nucleus is on a face of the box."""


def tilt_matrix(tilt: tuple[float, float]) -> NDArray[np.float64]:
    """Right-handed rotation about x, then about y."""
    if len(tilt) != 2 or not all(math.isfinite(angle) for angle in tilt):
        raise ValueError(f"tilt is {tilt!r}; expected two finite angles in mrad")
    (cx, sx), (cy, sy) = ((math.cos(1e-3 * a), math.sin(1e-3 * a)) for a in tilt)
    about_x = np.array([[1.0, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1.0, 0], [-sy, 0, cy]])
    rotation: NDArray[np.float64] = about_y @ about_x
    return rotation


def in_box(
    atoms: Atoms,
    field: tuple[float, float],
    thickness: float | None,
    tilt: tuple[float, float],
    ice: float | None,
) -> Atoms:
    """Centre a molecule in a box of the given field. The height fits, unless more is given."""
    turned = atoms.positions @ tilt_matrix(tilt).T
    extent = np.ptp(turned, axis=0)
    if (extent[:2] > field).any():
        raise ValueError(
            f"the atoms span {extent[0]:.1f} × {extent[1]:.1f} Å and do not fit the field of "
            f"{field[0]:g} × {field[1]:g} Å; take a larger field, or give a zone axis if this is "
            "a crystal"
        )
    molecule_height = extent[2] + 2 * CLEARANCE
    for label, value in (("thickness", thickness), ("ice", ice or None)):
        if value is not None and not (math.isfinite(value) and value >= molecule_height):
            raise ValueError(
                f"{label} is {value!r} Å and the molecule is {molecule_height:.1f} Å high; "
                "expected that height or more, or leave it out"
            )
    if thickness and ice and ice > thickness:
        raise ValueError(f"ice is {ice:g} Å in a slab of {thickness:g} Å; expected no more")
    height = thickness or ice or molecule_height
    middle = (turned.max(0) + turned.min(0)) / 2
    placed = turned - middle + np.array([field[0] / 2, field[1] / 2, height / 2])
    return Atoms(atoms.numbers, placed, cell=[*field, height], pbc=(True, True, False))


def fill_block(
    unit: Atoms, rotation: NDArray[np.float64], sides: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.integer[Any]]]:
    """Repeat a turned unit cell until it covers a block about the origin.

    Parameters
    ----------
    unit : ase.Atoms
    rotation : ndarray
        ``(3, 3)``, from the cell's frame to the block's.
    sides : array_like
        Of the block [Å].

    Returns
    -------
    positions, numbers : ndarray
        ``(n, 3)`` [Å] and ``(n,)``; atoms outside the block are among them.
    """
    rotated = np.asarray(unit.cell) @ rotation.T
    # The ball around the block, in fractional coordinates, bounds the cells that can reach it.
    radius = np.linalg.norm(sides) / 2 + 1e-6
    reach = np.ceil(radius * np.linalg.norm(np.linalg.inv(rotated), axis=0)).astype(int) + 1
    shifts = np.array(list(itertools.product(*(range(-n, n + 1) for n in reach)))) @ rotated
    # Cells that do not reach the block are left out before their atoms are placed.
    margin = np.abs(rotated).sum(0)
    reaches_block = (np.abs(shifts) <= np.asarray(sides) / 2 + 2 * margin).all(1)
    unit_positions = unit.positions @ rotation.T
    positions = (unit_positions[None] + shifts[reaches_block][:, None]).reshape(-1, 3)
    return positions, np.tile(unit.numbers, int(reaches_block.sum()))


def beam_frame(lattice: NDArray[np.float64], axis: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotation that puts [uvw] along z and the least parallel lattice vector in the xz plane."""
    z = axis @ lattice
    z /= np.linalg.norm(z)
    unit = lattice / np.linalg.norm(lattice, axis=1)[:, None]
    x = lattice[int(np.argmin(np.abs(unit @ z).round(6)))]
    x = x - (x @ z) * z
    x /= np.linalg.norm(x)
    return np.array([x, np.cross(z, x), z])


def octahedral_rotations() -> NDArray[np.float64]:
    """List the 24 proper rotations of the octahedral group about x, y, z ``(24, 3, 3)``."""
    rotations = []
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1.0, -1.0), repeat=3):
            matrix = np.zeros((3, 3))
            matrix[range(3), order] = signs
            if np.linalg.det(matrix) > 0:
                rotations.append(matrix)
    return np.array(rotations)
