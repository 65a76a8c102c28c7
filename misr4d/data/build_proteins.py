"""Make the arrays of the proteins that stand in for three of the paper's.

    python misr4d/data/build_proteins.py 2BEG.pdb md_1u19.pdb 6msm.pdb.bz2

The files are ``Tests/PDB/2BEG.pdb`` of the source distribution biopython 1.88,
``nglview/datafiles/md_1u19.pdb`` of nglview 4.0.1 and ``MDAnalysisTests/data/6msm.pdb.bz2`` of
MDAnalysisTests 2.11.0. Kept are the first model's ``ATOM`` records without hydrogen: no water,
ions, lipids or ligands. Each molecule is turned so that its longest principal axis lies along x
and its shortest along z, the beam.

Of the fibril 2BEG one chain is kept, with the fibril's axis along x and the widest direction of
its cross-section along y; ``misr4d.specimens.catalogue`` repeats it along x.
"""

from __future__ import annotations

import bz2
import sys
from pathlib import Path

import numpy as np
from ase.data import atomic_numbers
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from misr4d.core.files import whole_file

RISE = 4.8  # Å between the strands of a cross-β fibril


def read(path: str) -> tuple[NDArray[np.float64], NDArray[np.uint8], NDArray[np.str_]]:
    """Read positions, atomic numbers and chains of the first model's heavy protein atoms."""
    data = Path(path).read_bytes()
    text = (bz2.decompress(data) if path.endswith(".bz2") else data).decode("ascii")
    lines = [line for line in text.split("ENDMDL")[0].splitlines() if line[:6] == "ATOM  "]
    # Of alternate conformations the first; the element from the name where its column is empty.
    lines = [line for line in lines if line[16] in " A"]
    elements = [line[76:78].strip() or line[12:16].strip().lstrip("123456789")[0] for line in lines]
    heavy = [i for i, element in enumerate(elements) if element != "H"]
    positions = np.array([[float(lines[i][j : j + 8]) for j in (30, 38, 46)] for i in heavy])
    numbers = np.array([atomic_numbers[elements[i]] for i in heavy], np.uint8)
    return positions, numbers, np.array([lines[i][21] for i in heavy])


def laid(points: NDArray[np.float64], first: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """Right-handed axes, rows: `first` or the longest principal axis, then falling extent."""
    spread = points - points.mean(0)
    if first is None:
        _, vectors = np.linalg.eigh(spread.T @ spread)
        x, y = vectors[:, 2], vectors[:, 1]
    else:
        x = first / np.linalg.norm(first)
        across = spread - np.outer(spread @ x, x)
        y = np.linalg.eigh(across.T @ across)[1][:, 2]
    return np.array([x, y, np.cross(x, y)])


def write(name: str, positions: NDArray[np.float64], numbers: NDArray[np.uint8]) -> None:
    """Write one molecule, centred."""
    middle = (positions.max(0) + positions.min(0)) / 2
    out = Path(__file__).with_name(f"{name}.npz")
    centred = (positions - middle).round(3).astype(np.float32)
    with whole_file(out) as temporary:
        np.savez_compressed(temporary, positions=centred, numbers=numbers)
    extent = np.ptp(positions, axis=0).round(1).tolist()
    print(f"wrote {out.name}: {len(numbers)} atoms, {extent} Å, {out.stat().st_size} bytes")


def main(fibril: str, receptor: str, transporter: str) -> None:
    positions, numbers, chains = read(fibril)
    names = sorted(set(chains))
    # The axis is the mean step from chain to chain; the chains have the same atoms in order.
    centres = np.array([positions[chains == name].mean(0) for name in names])
    axis = (centres[-1] - centres[0]) / (len(names) - 1)
    print(f"2BEG: chains {names}, {np.linalg.norm(axis):.2f} Å apart")
    axes = laid(positions, axis)

    def clash(name: str) -> float:
        chain = positions[chains == name] @ axes.T
        return float(cKDTree(chain).query(chain + np.array([RISE, 0, 0]))[0].min())

    best = max(names, key=clash)
    print(f"chain {best}: nearest atoms of neighbouring copies {clash(best):.2f} Å apart")
    write("amyloid_2beg", positions[chains == best] @ axes.T, numbers[chains == best])
    for name, path in (("rhodopsin_1u19", receptor), ("cftr_6msm", transporter)):
        positions, numbers, _ = read(path)
        write(name, positions @ laid(positions, None).T, numbers)


if __name__ == "__main__":
    main(*sys.argv[1:])
