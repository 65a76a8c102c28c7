"""From an array or a file to an image: ``misr4d.reconstruct``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from misr4d.core.acquisition import UPSAMPLING
from misr4d.io.reading import read_scan
from misr4d.io.scan import Scan
from misr4d.report.counts import BadPixelChoice
from misr4d.report.reconstruct import reconstruct_scan
from misr4d.report.report import Method, Report

__all__ = ["reconstruct"]


def reconstruct(
    scan: ArrayLike | str | Path | Scan,
    *,
    energy: float | None = None,
    step: float | tuple[float, float] | None = None,
    semiangle: float | None = None,
    defocus: float | None = None,
    detector_pixel: float | tuple[float, float] | None = None,
    rotation: float | None = None,
    method: Method = "informed",
    upsampling: int = UPSAMPLING,
    scan_shape: tuple[int, int] | None = None,
    dataset: str | None = None,
    skip_frames: int | None = None,
    frames_per_position: int | None = None,
    scan_crop: tuple[int, int, int, int] | None = None,
    axes: str | Sequence[str] | None = None,
    positions: str | Path | ArrayLike | None = None,
    bad_pixels: BadPixelChoice = "found",
    level_dose: bool = True,
    seed: int = 0,
    device: str | None = None,
    workers: int | None = None,
    **known: Any,
) -> Report:
    """Reconstruct a 4D-STEM scan, on a grid finer than its positions.

    Parameters
    ----------
    scan : array, str, Path or Scan
        Diffraction patterns in memory ``(Rx, Ry, Qx, Qy)``, best as counts of electrons, of any
        type that NumPy takes; a file or folder that :func:`misr4d.io.reading.read_scan` opens; or
        what it returned.
    energy : float, optional
        Of the electrons [eV]. Energy, step and semi-angle must be known, from here or the file.
    step : float or (float, float), optional
        Between scan positions along (Rx, Ry) [Å].
    semiangle : float, optional
        Of the probe's convergence [mrad].
    defocus : float, optional
        Of the probe [Å], positive for underfocus; estimated from the scan if nothing states it.
    detector_pixel : float or (float, float), optional
        Angle of a detector pixel [mrad]; by default from the bright disc and the semi-angle.
    rotation : float, optional
        Of the scan against the detector [degrees]; estimated if nothing states it.
    method : {"informed", "direct", "refined"}
        The shipped network that starts from direct ptychography, direct ptychography alone, or the
        network's image refined by the counted electrons (minutes).
    upsampling : int
        Pixels of the image per scan step; all methods but direct take 3, 6, 9 … as the network
        works on blocks of 3 × 3.
    scan_shape, dataset, skip_frames, frames_per_position, scan_crop, axes, positions
        Of a file, as for :func:`misr4d.io.reading.read_scan`; all but the dataset of an array too.
        One frame a position unless given.
    bad_pixels : {"found", "none"} or ndarray
        Detector pixels to replace: those that are found, none, or a mask ``(Qx, Qy)`` of bool.
    level_dose : bool
        Whether a dose that changes over the scan, where the counts show one, is divided out.
    seed : int
        Of the random division of electrons into two half-sets.
    device : str, optional
        Where to reconstruct, such as ``cpu``; by default a GPU if there is one.
    workers : int, optional
        Processes that share the tiles of a scan larger than 64 × 64.
    **known
        Other known quantities, by the names of :data:`misr4d.io.scan.QUANTITIES`, such as
        ``centre``, ``gain`` or ``thickness``.

    Returns
    -------
    Report
        ``phase`` and ``deviation`` are NumPy arrays ``(r·Rx, r·Ry)`` [rad], r being `upsampling`;
        ``show()`` draws them, ``write(folder)`` saves all of it; ``warnings`` says what is doubtful
        about the image.

    Raises
    ------
    ValueError
        If a value is missing or out of range, the file cannot be read, or the array holds no
        patterns; the message says what to do.
    TypeError
        For a quantity that does not exist.
    """
    possible = {
        "energy": energy,
        "step": step,
        "semiangle": semiangle,
        "defocus": defocus,
        "detector_pixel": detector_pixel,
        "rotation": rotation,
        **known,
        "dataset": dataset,
        "scan_shape": scan_shape,
        "skip_frames": skip_frames,
        "frames_per_position": frames_per_position,
        "scan_crop": scan_crop,
        "axes": axes,
        "positions": positions,
    }
    stated: dict[str, Any] = {name: value for name, value in possible.items() if value is not None}
    if isinstance(scan, Scan):
        for name in stated:
            raise ValueError(f"{name} is given beside a Scan, which holds its own; read it with it")
        opened_scan = scan
    elif isinstance(scan, str | Path):
        opened_scan = read_scan(scan, **stated)
    elif dataset is not None:
        raise ValueError(f"dataset is {dataset!r}, but the patterns are an array already")
    else:
        opened_scan = Scan.from_array(scan, **stated)
    return reconstruct_scan(
        opened_scan,
        method=method,
        upsampling=upsampling,
        seed=seed,
        bad_pixels=bad_pixels,
        level_dose=level_dose,
        device=device,
        workers=workers,
    )
