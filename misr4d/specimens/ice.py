"""Vitreous ice around a molecule, as a continuum: its mean inner potential outside the atoms.

The molecule's volume is a mask, one of the models that Shang & Sigworth (2012,
doi:10.1016/j.jsb.2012.04.021) compare with molecular dynamics; they find that a binary mask does
nearly as well as their hydration layer. Explicit water is not used: the box around apoferritin
alone would take a quarter of a million molecules. The continuum lacks the granularity of ice,
which is a background noise of the specimen itself.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
from ase.data import vdw_radii
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from misr4d.specimens.catalogue import Specimen

__all__ = ["ICE_POTENTIAL", "ice_slices"]

ICE_POTENTIAL = 3.5
"""Mean inner potential of vitreous ice [V], measured: 3.5 ± 1.2, Harscher & Lichte (1998).

Independent atoms at 0.94 g/cm³ would give 4.6 V. The proteins here lack hydrogen, which is about
a fifth of their potential, so that the lower, measured value also keeps the contrast between them.
"""

_VOXEL = 0.5  # Å, upper bound: our choice; at 1 Å the mask is a tenth too large
# Radii that cover the hydrogen left out [Å]: protein atoms, after Tsai et al. (1999), rounded.
_UNITED = {6: 1.88, 7: 1.64, 8: 1.44, 16: 1.77}
_PROBE, _SHRINK = 1.11, 0.9  # Å, the bulk-solvent mask of cctbx, after Jiang & Brünger (1994)


def ice_slices(
    specimen: Specimen, shape: tuple[int, int], thicknesses: tuple[float, ...]
) -> NDArray[np.float32]:
    """Projected potential of the ice in every slice of a specimen's box.

    Parameters
    ----------
    specimen : Specimen
        Its ``ice`` lies in the middle of the box and fills the field.
    shape : (int, int)
        Grid points over the box.
    thicknesses : tuple of float
        Of the slices [Å], all the same, from the entrance surface to the exit.

    Returns
    -------
    ndarray
        ``(n, X, Y)`` [V·Å].

    Raises
    ------
    ValueError
        If the slices are not equally thick or do not fill the box.
    """
    sides = specimen.atoms.cell.lengths()
    if np.ptp(thicknesses) > 1e-6 or abs(sum(thicknesses) - sides[2]) > 1e-6 * sides[2]:
        raise ValueError(
            f"{len(thicknesses)} slices from {min(thicknesses):g} to {max(thicknesses):g} Å thick "
            f"are given for a box of {sides[2]:g} Å; expected equal ones that fill it"
        )
    # Voxels lie on every stride-th grid point, and at mid-height of equal parts of a slice.
    strides = [_stride(n, side / n) for n, side in zip(shape, sides[:2], strict=True)]
    voxels_per_slice = math.ceil(thicknesses[0] / _VOXEL - 1e-9)
    counts = (shape[0] // strides[0], shape[1] // strides[1], voxels_per_slice * len(thicknesses))
    spacing = sides / counts
    outside = ~_molecule(specimen, counts, spacing)
    ice_start = (sides[2] - specimen.ice) / 2
    edges = np.clip(np.arange(counts[2] + 1) * spacing[2], ice_start, ice_start + specimen.ice)
    heights = np.diff(edges).reshape(-1, voxels_per_slice)
    volumes = outside.reshape(*counts[:2], -1, voxels_per_slice)
    coarse: NDArray[np.float32] = np.einsum("xynp,np->nxy", volumes, heights.astype(np.float32))
    for axis, stride in enumerate(strides, start=1):
        coarse = _refine(coarse, stride, axis)
    coarse *= np.float32(ICE_POTENTIAL)
    return coarse


def _stride(points: int, sampling: float) -> int:
    """Largest divisor of the points that keeps the voxel small enough."""
    largest = max(1, math.floor(_VOXEL / sampling + 1e-9))
    return max(n for n in range(1, largest + 1) if points % n == 0)


def _refine(array: NDArray[np.float32], factor: int, axis: int) -> NDArray[np.float32]:
    """Interpolate linearly along a periodic axis."""
    next_values = np.roll(array, -1, axis)
    weights = [np.float32(k / factor) for k in range(factor)]
    interpolated = [(1 - w) * array + w * next_values for w in weights]
    shape = list(array.shape)
    shape[axis] *= factor
    return np.stack(interpolated, axis + 1).reshape(shape)


def _molecule(
    specimen: Specimen, counts: tuple[int, int, int], spacing: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Voxels within a van der Waals radius plus a probe radius, minus a shell, of an atom."""
    covered = np.zeros(counts, dtype=bool)
    shift = np.array([0.0, 0.0, 0.5])  # lateral voxels lie on grid points, vertical ones between
    atoms = specimen.atoms
    for number in np.unique(atoms.numbers):
        voxel_positions = atoms.positions[atoms.numbers == number] / spacing - shift
        voxels = np.rint(voxel_positions).astype(np.int32)
        remainder = ((voxels - voxel_positions) * spacing).astype(np.float32)
        radius = _UNITED.get(int(number), float(vdw_radii[number])) + _PROBE
        reach = [range(-math.ceil(radius / step), math.ceil(radius / step) + 1) for step in spacing]
        for offset in itertools.product(*reach):
            step = (np.array(offset) * spacing).astype(np.float32)
            if np.linalg.norm(step) > radius + np.linalg.norm(spacing) / 2:
                continue
            inside = ((remainder + step) ** 2).sum(1) < radius**2
            x, y, z = (voxels[inside] + offset).T
            fits = (z >= 0) & (z < counts[2])
            covered[x[fits] % counts[0], y[fits] % counts[1], z[fits]] = True
    # Only the part that holds the molecule is eroded, with one voxel around it.
    block = tuple(
        slice(max(0, int(indices.min()) - 1), int(indices.max()) + 2)
        for indices in covered.nonzero()
    )
    # The transform measures from the nearest voxel outside, half a voxel beyond the surface.
    depth = distance_transform_edt(covered[block], sampling=spacing) - spacing.mean() / 2
    covered[block] = depth > _SHRINK
    return covered
