"""Which frames of a file belong to which scan position: skipped, summed and cropped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from misr4d.io.scan import UnfitError, on_disk, with_four_axes

__all__ = ["AXES", "Layout", "read_axes"]

AXES = ("Rx", "Ry", "Qx", "Qy")
"""Names of a scan's axes in their order here: positions, then detector pixels."""

_LISTED = ("R", "Qx", "Qy")
_REPEATED = ("Rx", "Ry", "F", "Qx", "Qy")


def read_axes(names: str | Sequence[str]) -> tuple[str, ...]:
    """Read the order of an array's axes, such as ``Qx,Qy,Rx,Ry``.

    Rx and Ry are scan axes, Qx and Qy those of the detector, R is the axis of a list of patterns
    and F that of several frames of a position.

    Raises
    ------
    ValueError
        If they are not the axes of a scan, each named once.
    """
    given = names.replace(",", " ").split() if isinstance(names, str) else list(names)
    axes = tuple(str(name).strip().capitalize() for name in given)
    if sorted(axes) not in (sorted(AXES), sorted(_LISTED), sorted(_REPEATED)):
        raise ValueError(
            f"--axes is {','.join(map(str, given))}; expected the order in which the file has "
            "them: Rx,Ry,Qx,Qy in any order, R,Qx,Qy for a list of patterns, or Rx,Ry,F,Qx,Qy "
            "with F for frames of a position"
        )
    return axes


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
    axes : tuple of str, optional
        Names of the array's axes in their order, from :func:`read_axes`; by default (Rx, Ry, Qx,
        Qy). Four names with `scan_shape`, the scan's first, order a list of patterns.

    Raises
    ------
    ValueError
        If a number is out of range.
    """

    scan_shape: tuple[int, int] | None = None
    skip_frames: int | None = None
    frames_per_position: int = 1
    scan_crop: tuple[int, int, int, int] | None = None
    axes: tuple[str, ...] | None = None

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
            a position; in the order of `axes` if that is given.

        Returns
        -------
        patterns : array
            ``(Rx, Ry, Qx, Qy)``
        notes : tuple of str
            Which frames were left out, unless none.
        """
        notes: tuple[str, ...] = ()
        frames, swapped = self._ordered(frames)
        shape = tuple(frames.shape)
        each = self.frames_per_position
        if len(shape) == 5:
            if shape[2] != each:
                raise UnfitError(
                    f"has five axes, {shape}: if the third are frames of a position, pass "
                    f"--frames-per-position {shape[2]}"
                )
            listed = _sliceable(frames).reshape(-1, *shape[3:])
            patterns = _summed(listed, each).reshape(*shape[:2], *shape[3:])
            patterns = with_four_axes(patterns, self.scan_shape)
        elif self._lists(shape):
            patterns, notes = self._from_list(frames)
        else:
            if self.skip_frames is not None or each > 1:
                name = "--skip-frames" if self.skip_frames is not None else "--frames-per-position"
                raise UnfitError(
                    f"has shape {shape}, and {name} is for a list of patterns only: choose "
                    "positions by --scan-crop"
                )
            patterns = with_four_axes(frames, self.scan_shape)
        if swapped:
            patterns = _sliceable(patterns).transpose(1, 0, 2, 3)
        return self._cropped(patterns), notes

    @property
    def exchanges(self) -> tuple[bool, bool, bool]:
        """Whether scan and detector change places, both scan axes, both detector axes."""
        axes = [name for name in self.axes or AXES if name != "F"]
        scan_last = axes[0].startswith("Q") or axes[-1].startswith("R")
        scan_axes, detector_axes = ([n for n in axes if n[0] == kind] for kind in "RQ")
        return scan_last, scan_axes == ["Ry", "Rx"], detector_axes == ["Qy", "Qx"]

    def _ordered(self, frames: Any) -> tuple[Any, bool]:
        """Bring the axes into their order; the scan's of a list are left, and must be swapped."""
        axes = self.axes
        if axes is None:
            return _on_disk(frames), False
        shape = tuple(frames.shape)
        listed = len(shape) == 3 and len(axes) == 4 and axes[0][0] == axes[1][0] == "R"
        names = ("R", *axes[2:]) if listed else axes
        if len(shape) != len(names):
            raise UnfitError(
                f"has {len(shape)} axes, {shape}, and --axes names {len(names)}, {','.join(axes)}"
            )
        order = next(o for o in (AXES, _LISTED, _REPEATED) if sorted(o) == sorted(names))
        indices = [names.index(name) for name in order]
        if indices != list(range(len(shape))):
            frames = _sliceable(frames).transpose(indices)
        return _on_disk(frames), listed and self.exchanges[1]

    def _lists(self, shape: tuple[int, ...]) -> bool:
        return self.scan_shape is not None and (
            len(shape) == 3 or (len(shape) == 4 and 1 in shape[:2])
        )

    def _from_list(self, frames: Any) -> tuple[Any, tuple[str, ...]]:
        assert self.scan_shape is not None
        if self.axes is not None and len(self.axes) == 4 and self.exchanges[1]:
            # The list runs along Rx first; the axes are exchanged once it is a scan.
            return replace(
                self, scan_shape=(self.scan_shape[1], self.scan_shape[0]), axes=None
            )._from_list(frames)
        shape = tuple(frames.shape)
        number = math.prod(shape[:-2])
        rx, ry = self.scan_shape
        each, skipped = self.frames_per_position, self.skip_frames or 0
        needed = rx * ry * each
        surplus = number - skipped - needed
        if surplus and (surplus < 0 or self.skip_frames is None):
            raise UnfitError(
                f"has shape {shape}, which is not {rx} × {ry} positions"
                + (f" of {each} frames" if each > 1 else "")
                + (f" after {skipped} skipped" if skipped else "")
                + f"; {_remedy(surplus, self.scan_shape, each)}"
            )
        if each == 1 and not skipped and not surplus:
            return with_four_axes(frames, self.scan_shape), ()
        listed = _sliceable(frames).reshape(number, *shape[-2:])[skipped : skipped + needed]
        left_out = [
            f"the first {skipped}" * bool(skipped),
            f"the last {surplus}" * bool(surplus),
        ]
        text = " and ".join(t for t in left_out if t)
        note = f"of {number} frames, {text} are in no position and were left out"
        return with_four_axes(_summed(listed, each), self.scan_shape), (note,) if text else ()

    def _cropped(self, patterns: Any) -> Any:
        if self.scan_crop is None:
            return patterns
        x_from, x_to, y_from, y_to = self.scan_crop
        nx, ny = patterns.shape[:2]
        if not (0 <= x_from < x_to <= nx and 0 <= y_from < y_to <= ny):
            raise UnfitError(
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


def _on_disk(frames: Any) -> Any:
    """Wrap a NumPy array on disk, after its axes are in order, so that parts of it are read."""
    if not isinstance(frames, np.memmap):
        return frames
    whole = (-1, -1) if frames.ndim > 2 else ()
    return on_disk(frames, ("auto",) * (frames.ndim - len(whole)) + whole)


def _sliceable(frames: Any) -> Any:
    """Wrap an array that cannot be reshaped, such as one of h5py or zarr."""
    if isinstance(frames, np.ndarray) or hasattr(frames, "dask"):
        return frames
    return on_disk(frames, frames.chunks or "auto")


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
