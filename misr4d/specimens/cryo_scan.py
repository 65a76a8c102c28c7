"""A published cryo scan, fetched from its authors' repository and checked array by array.

Virus particles in ice at the edge of a carbon film: 127 × 127 positions 31.25 Å apart, 300 kV,
1.03 mrad, a defocus of about 13.5 µm. The scan is stored there as one file a position, of 256 × 256
pixels; here the middle 128 × 128 pixels are kept and summed 2 × 2, so that it fits in 66 MB.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import tarfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from misr4d.core.files import whole_file

__all__ = ["KNOWN", "cut", "find_cryo_scan", "from_archive", "read_parts"]

COMMIT = "5ffb9f3a762c9760a87c9b2b211edc4778e88922"
URL = f"https://codeload.github.com/SeanXPWu/Ptycho.jl/tar.gz/{COMMIT}"
KNOWN = {"energy": 300e3, "step": 31.25, "semiangle": 1.03}
"""What its owners state [eV, Å, mrad]: what ``misr4d.reconstruct`` must be told."""

FOLDER_VARIABLE = "MISR4D_CRYO_SCAN"
_SIDE = 127  # positions along both axes
_PART = 8  # lines of the scan in each array that has a checksum
_ROWS, _COLUMNS = slice(64, 192), slice(62, 190)  # kept of the stored pattern
# SHA-256 of the arrays of eight lines (the last of seven), counted here from the owners' files.
_SUMS = (
    "b35aad360b3e809be0fa1d512468a2849f898d782642a095ad3e035ebc7825c5",
    "8f6a2a6956907af419f0a2223b0b36b8dd9a2da06c2a105295cf16780351d3b4",
    "27c238047572ba228bc4dd0350343680bc0ba6bfff4c589c26e809fa4edd5f9f",
    "2f3dd1c592832819cc8e69bd6b9d0552f9216e11093fe680d02edb2403e95f5e",
    "ce8d5cbcf4734369c80466852015cf4c2250b22d7d2048e11dc26979d282415e",
    "7ecffbabe2a4477ffb4ba4c7950a31bc40adf55764cb440ca0dcba4298996d89",
    "28abb3b5557a400468bd611bdc3e4d073c7ce1ac81fe33238f3d8755facbc816",
    "9c1a6f281b0e54c9d0bfde447f121f92b8f510f0ca43408bd4670ddf153a964b",
    "d76bd3272910d06e38d5661df0b399433a9c161fd6c22d6df24715beb8b66b54",
    "5f477b889218b4669c3c463b47bbca21e5a7375d668261bb5deea7cca0555bca",
    "cfe05923e94d69349f2226921df4baa2c6d9d9b0fa3d04576fe55861bc30cd7c",
    "2f2c5fb7891ad849ee91459b7c26c3741e21ee145f474ad290304d7093e4094b",
    "7677ec3b373093e09ab6678a09441ddefcf9b0cd39276fac1eca11fd5756d02c",
    "74d1981854a9f5af0aeacdbf9b7e106e0e8b4813a5d80390bccbdfb006d45130",
    "956ee79e894afcfa7461e52712fe52fb41d48517f30e6fc8b5a2b195bea5985a",
    "97aa3bc446848b11aeacc99ef507bd7e9bbe1403a6d00dbbfd64b1ef2e0b2bc4",
)


def cut(pattern: NDArray[Any] | h5py.Dataset) -> NDArray[np.uint8]:
    """Keep the middle of a stored pattern ``(256, 256)`` and sum 2 × 2 pixels: ``(64, 64)``.

    Raises
    ------
    ValueError
        If the pattern has another size, or a sum is more than a byte holds.
    """
    if pattern.shape != (256, 256):
        raise ValueError(f"the pattern has shape {pattern.shape}; expected (256, 256)")
    middle = pattern[_ROWS, _COLUMNS].astype(np.uint16)
    summed: NDArray[np.integer[Any]] = middle.reshape(64, 2, 64, 2).sum((1, 3))
    if summed.max() > 255:
        raise ValueError(f"four pixels hold {summed.max()} counts; expected at most 255")
    return summed.astype(np.uint8)


def from_archive(archive: Path, target: Path) -> Path:
    """Read the scan from the repository's archive into one file ``(127, 127, 64, 64)``.

    Parameters
    ----------
    archive : Path
        As the repository gives it, tar of one HDF5 file a position.
    target : Path
        An ``.npy`` file, written whole or not at all.

    Raises
    ------
    ValueError
        If a position is missing, or a part does not have its checksum.
    """
    counts = np.zeros((_SIDE, _SIDE, 64, 64), dtype=np.uint8)
    seen = np.zeros(_SIDE * _SIDE, dtype=bool)
    with (
        tarfile.open(archive) as files,
        tqdm(total=seen.size, disable=None, desc="patterns") as bar,
    ):
        for member in files:
            number = re.search(r"/test_data/dp_(\d+)\.mat$", member.name)
            content = files.extractfile(member) if number and member.isfile() else None
            if number is None or content is None:
                continue
            index = int(number[1]) - 1
            if not index < seen.size:
                raise ValueError(f"{member.name} is none of {seen.size} positions")
            with h5py.File(io.BytesIO(content.read()), "r") as stored:
                # MATLAB stores by columns: what HDF5 reads is transposed.
                counts[divmod(index, _SIDE)] = cut(stored["dp"])
            seen[index] = True
            bar.update()
    if not seen.all():
        raise ValueError(f"the archive holds {seen.sum()} of {seen.size} positions; fetch it again")
    _check(counts)
    with whole_file(target) as part, part.open("wb") as file:
        np.save(file, counts)
    return target


def read_parts(folder: Path) -> NDArray[np.uint8]:
    """Read the scan from sixteen files ``rota_rowsNNN.npz`` of eight lines each.

    Raises
    ------
    ValueError
        If one is missing, or does not have its checksum.
    """
    files = [folder / f"rota_rows{start:03}.npz" for start in range(0, _SIDE, _PART)]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise ValueError(f"{folder} has no {missing[0]}; expected sixteen, up to {files[-1].name}")
    lines = []
    for file in files:
        with np.load(file, allow_pickle=False) as stored:
            lines.append(stored["counts"])
    counts: NDArray[np.uint8] = np.concatenate(lines)
    _check(counts)
    return counts


def _check(counts: NDArray[np.uint8]) -> None:
    """Raise unless every part has its checksum."""
    shape = (_SIDE, _SIDE, 64, 64)
    if counts.shape != shape or counts.dtype != np.uint8:
        raise ValueError(f"the scan is {counts.dtype} of {counts.shape}; expected uint8 of {shape}")
    for number, expected in enumerate(_SUMS):
        start = number * _PART
        digest = hashlib.sha256(counts[start : start + _PART].tobytes()).hexdigest()
        if digest != expected:
            raise ValueError(
                f"lines {start} to {min(start + _PART, _SIDE) - 1} have the SHA-256 {digest}; "
                f"expected {expected}: fetch the scan again"
            )


def find_cryo_scan(cached: Path) -> NDArray[np.uint8] | None:
    """Find the scan on this machine, without the network ``(127, 127, 64, 64)``.

    Parameters
    ----------
    cached : Path
        Where ``misr4d fetch cryo`` puts it. Otherwise the folder that the environment variable
        MISR4D_CRYO_SCAN names is looked in, see :func:`read_parts`.

    Returns
    -------
    ndarray or None
        None if it is in neither place.

    Raises
    ------
    ValueError
        As :func:`read_parts`, if it is there and damaged.
    """
    if cached.is_file():
        counts: NDArray[np.uint8] = np.load(cached, allow_pickle=False)
        _check(counts)
        return counts
    folder = os.environ.get(FOLDER_VARIABLE)
    return read_parts(Path(folder)) if folder else None
