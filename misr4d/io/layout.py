"""Which frames of a file belong to which scan position: skipped, summed and cropped."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from misr4d.io.scan import _four_axes, _lazy, _UnfitError

__all__ = ["Layout"]


@dataclass(frozen=True)
class Layout:
    """How the frames of a file make up a scan.

    Parameters
    ----------
    scan_shape : (int, int), optional
        Positions along (Rx, Ry) of a list of frames, before the crop.
    skip_frames : int, optional
        Frames of a list that come before the first position. If it is given, 0 included, frames
        after the last position are left out too; otherwise they are an error.
    frames_per_position : int
        Consecutive frames of a position, which are summed.
    scan_crop : (int, int, int, int), optional
        First position and the one after the last, along Rx and then along Ry.

    Raises
    ------
    ValueError
        If a number is out of range.
    """

    scan_shape: tuple[int, int] | None = None
    skip_frames: int | None = None
    frames_per_position: int = 1
    scan_crop: tuple[int, int, int, int] | None = None

    def __post_init__(self) -> None:
        if self.skip_frames is not None and self.skip_frames < 0:
            raise ValueError(f"--skip-frames is {self.skip_frames}; expected 0 or more")
        if self.frames_per_position < 1:
            raise ValueError(f"--frames-per-position is {self.frames_per_position}; expected 1 up")
        if self.scan_crop is not None and len(self.scan_crop) != 4:
            raise ValueError(
                f"--scan-crop is {self.scan_crop}; expected four numbers: RX from and to, RY from "
                "and to"
            )

    def arrange(self, frames: Any) -> tuple[Any, tuple[str, ...]]:
        """Arrange frames into a scan; those on disk stay there.

        Parameters
        ----------
        frames : array
            ``(Rx, Ry, Qx, Qy)``, a list ``(N, Qx, Qy)``, or ``(Rx, Ry, F, Qx, Qy)`` with F frames
            a position.

        Returns
        -------
        patterns : array
            ``(Rx, Ry, Qx, Qy)``
        notes : tuple of str
            Which frames were left out, unless none.
        """
        notes: tuple[str, ...] = ()
        shape = tuple(frames.shape)
        each = self.frames_per_position
        if len(shape) == 5:
            if shape[2] != each:
                raise _UnfitError(
                    f"has five axes, {shape}: if the third are frames of a position, pass "
                    f"--frames-per-position {shape[2]}"
                )
            listed = _sliceable(frames).reshape(-1, *shape[3:])
            patterns = _summed(listed, each).reshape(*shape[:2], *shape[3:])
            patterns = _four_axes(patterns, self.scan_shape)
        elif self._lists(shape):
            patterns, notes = self._from_list(frames)
        else:
            if self.skip_frames is not None or each > 1:
                name = "--skip-frames" if self.skip_frames is not None else "--frames-per-position"
                raise _UnfitError(
                    f"has shape {shape}, and {name} is for a list of patterns only: choose "
                    "positions by --scan-crop"
                )
            patterns = _four_axes(frames, self.scan_shape)
        return self._cropped(patterns), notes

    def _lists(self, shape: tuple[int, ...]) -> bool:
        return self.scan_shape is not None and (
            len(shape) == 3 or (len(shape) == 4 and 1 in shape[:2])
        )

    def _from_list(self, frames: Any) -> tuple[Any, tuple[str, ...]]:
        assert self.scan_shape is not None
        shape = tuple(frames.shape)
        number = math.prod(shape[:-2])
        rx, ry = self.scan_shape
        each, skipped = self.frames_per_position, self.skip_frames or 0
        needed = rx * ry * each
        surplus = number - skipped - needed
        if surplus and (surplus < 0 or self.skip_frames is None):
            raise _UnfitError(
                f"has shape {shape}, which is not {rx} × {ry} positions"
                + (f" of {each} frames" if each > 1 else "")
                + (f" after {skipped} skipped" if skipped else "")
                + f"; {_remedy(surplus, self.scan_shape, each)}"
            )
        if each == 1 and not skipped and not surplus:
            return _four_axes(frames, self.scan_shape), ()
        listed = _sliceable(frames).reshape(number, *shape[-2:])[skipped : skipped + needed]
        left_out = [
            f"the first {skipped}" * bool(skipped),
            f"the last {surplus}" * bool(surplus),
        ]
        text = " and ".join(t for t in left_out if t)
        note = f"of {number} frames, {text} are in no position and were left out"
        return _four_axes(_summed(listed, each), self.scan_shape), (note,) if text else ()

    def _cropped(self, patterns: Any) -> Any:
        if self.scan_crop is None:
            return patterns
        x_from, x_to, y_from, y_to = self.scan_crop
        nx, ny = patterns.shape[:2]
        if not (0 <= x_from < x_to <= nx and 0 <= y_from < y_to <= ny):
            raise _UnfitError(
                f"has {nx} × {ny} positions, and --scan-crop is {x_from} {x_to} {y_from} {y_to}; "
                f"expected RX from and to between 0 and {nx}, RY from and to between 0 and {ny}"
            )
        return _sliceable(patterns)[x_from:x_to, y_from:y_to]


def _remedy(surplus: int, scan_shape: tuple[int, int], each: int) -> str:
    """Say what can be done about frames that are left over, or missing."""
    rx, ry = scan_shape
    if surplus == rx * each:
        return (
            f"there is one frame too many a line, as of flyback: pass --scan-shape {rx} {ry + 1} "
            f"--scan-crop 0 {rx} 0 {ry}"
        )
    if surplus > 0:
        return (
            f"{surplus} frames are left over; pass --skip-frames {surplus} if they come first, "
            "--skip-frames 0 if last, or give another --scan-shape"
        )
    return f"{-surplus} frames are missing; give another --scan-shape"


def _sliceable(frames: Any) -> Any:
    """Wrap an array that cannot be reshaped, such as one of h5py or zarr."""
    if isinstance(frames, np.ndarray) or hasattr(frames, "dask"):
        return frames
    return _lazy(frames, frames.chunks or "auto")


def _summed(listed: Any, each: int) -> Any:
    """Sum consecutive frames ``(N·each, Qx, Qy) → (N, Qx, Qy)``, in a type that holds the sum."""
    if each == 1:
        return listed
    kind = listed.dtype
    if kind.kind in "ui":
        largest = int(np.iinfo(kind).max) * each
        sizes = [np.dtype(f"{kind.kind}{n}") for n in (1, 2, 4, 8)]
        kind = next((t for t in sizes if np.iinfo(t).max >= largest), sizes[-1])
    grouped = listed.reshape(-1, each, *listed.shape[1:])
    return grouped.sum(1, dtype=kind)
