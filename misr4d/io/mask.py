"""A picture of the bad detector pixels, as detectors and their software write it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from misr4d.io.scan import one_line

__all__ = ["read_mask"]


def read_mask(path: str | Path, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Read a mask of bad pixels from a ``.npy``, ``.tif`` or ``.tiff`` picture.

    Parameters
    ----------
    path : str or Path
        Of a picture that is 0 on good pixels and anything else on bad ones.
    shape : (int, int)
        Of the detector.

    Returns
    -------
    ndarray
        ``(Qx, Qy)`` of bool, true on bad pixels.

    Raises
    ------
    ValueError
        If the file cannot be read, does not have the detector's shape, or marks more than half of
        the pixels.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in {".npy", ".tif", ".tiff"}:
        raise ValueError(f"--mask is {path}; expected a picture .npy, .tif or .tiff")
    try:
        if suffix == ".npy":
            picture: Any = np.load(path, allow_pickle=False)
        else:
            from rsciio.tiff import file_reader

            picture = np.asarray(file_reader(str(path))[0]["data"])
    except Exception as error:  # the readers of others raise whatever they like
        raise ValueError(f"{path} cannot be read as a mask: {one_line(error)}") from None
    if picture.shape != tuple(shape) or picture.dtype.kind not in "biuf":
        raise ValueError(
            f"{path} has shape {picture.shape} and type {picture.dtype}; expected numbers of the "
            f"detector's shape, {tuple(shape)}"
        )
    bad: NDArray[np.bool_] = picture != 0
    if bad.mean() > 0.5:
        raise ValueError(
            f"{path} marks {bad.mean():.0%} of the pixels as bad; expected 0 on good pixels and "
            "another number on bad ones: turn it round"
        )
    return bad
