"""Report of a scan: its image, what the image rests on, and where not to trust it.

:func:`misr4d.report.reconstruct.reconstruct_scan` is what ``misr4d reconstruct`` calls: calibrate
what is not known, cut the views, reconstruct, compare half-sets, warn.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import emdfile
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from misr4d.calibrate.drift import straighten
from misr4d.core.detector import STRAIGHT, Matrix
from misr4d.io.emd import phase_array
from misr4d.io.scan import Quantity, shown_value
from misr4d.report.html import is_end, report_page
from misr4d.report.preparation import Detector

if TYPE_CHECKING:
    pass

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["METHOD_NAMES", "Report"]

Method = Literal["informed", "direct", "refined"]
METHOD_NAMES = get_args(Method)
FILES = ("image.h5", "image.npz", "image.png", "report.html", "report.json")
"""Files that a report writes."""
_LAST = "report.json"


@dataclass(frozen=True)
class Report:
    """An image with its deviation, its resolution, what it rests on and its warnings.

    Parameters
    ----------
    source : str
        Name of the file.
    method : {"informed", "direct", "refined"}
    mean : Tensor
        The image ``(r·Rx, r·Ry)`` [rad], of zero mean, r pixels a step of the scan; smaller if a
        drift was straightened.
    deviation : ndarray or None
        Standard deviation of each pixel's error [rad]; only the network states one, and it is the
        network's own where the image was refined.
    direct : Tensor
        The plain direct estimate [rad].
    first : Tensor or None
        The network's image [rad], of which the refined one is the second stage.
    pixel : (float, float)
        Pixel size [Å].
    quantities : mapping
        Every number that entered, with its origin.
    resolution : mapping
        Method to half-set resolution by two thresholds [Å]; empty if electrons were not counted.
    warnings : tuple of str
    provenance : mapping
        Reader, version, weights, and what the file says of its making.
    detector : Detector
    curves : mapping
        Method to frequency [Å⁻¹], half-set correlation and number of pixels of each ring.
    scan_matrix : ((float, float), (float, float))
        From the scan as stated to the specimen; see :meth:`straightened`.
    """

    source: str
    method: str
    mean: Tensor
    deviation: NDArray[np.float32] | None
    direct: Tensor
    first: Tensor | None
    pixel: tuple[float, float]
    quantities: Mapping[str, Quantity]
    resolution: Mapping[str, Mapping[str, float]]
    warnings: tuple[str, ...]
    provenance: Mapping[str, Any]
    detector: Detector
    curves: Mapping[str, tuple[Tensor, Tensor, Tensor]]
    scan_matrix: Matrix = STRAIGHT

    def straightened(self, image: Tensor) -> Tensor:
        """Put an image on the scan's own grid ``(r·Rx, r·Ry)`` where this report's images lie."""
        if self.scan_matrix == STRAIGHT:
            return image
        return straighten(image, self.pixel, self.scan_matrix)

    @property
    def phase(self) -> NDArray[np.float32]:
        """The image as an array ``(r·Rx, r·Ry)`` [rad], of zero mean."""
        phase: NDArray[np.float32] = self.mean.numpy()
        return phase

    def show(self) -> Figure:
        """Draw every image and the deviation, as ``image.png`` of :meth:`write` has them.

        Returns
        -------
        Figure
            Of Matplotlib. A notebook shows it; elsewhere, ``savefig`` writes it.
        """
        import matplotlib.pyplot as plt

        # A closed figure is shown once by a notebook, as what the cell returns.
        figure = self._figure(plt.figure)
        plt.close(figure)
        return figure

    @property
    def images(self) -> dict[str, Tensor]:
        """Every image by its method, the chosen one last."""
        stages = {"direct": self.direct, "informed": self.first, self.method: self.mean}
        return {name: image for name, image in stages.items() if image is not None}

    @property
    def finest_ring(self) -> float | None:
        """Period [Å] of the finest ring in which half-sets were compared, if they were.

        Half-sets that agree up to there say nothing of where they part.
        """
        ends = [1 / float(frequency[-1]) for frequency, _, _ in self.curves.values()]
        return max(ends, default=None)

    def record(self) -> dict[str, Any]:
        """Return everything except the images, as JSON can hold it; no resolution is ``null``."""
        limits = {
            name: {k: v if math.isfinite(v) else None for k, v in resolutions.items()}
            for name, resolutions in self.resolution.items()
        }
        return {
            "source": self.source,
            "method": self.method,
            "shape": list(self.mean.shape),
            "pixel": {"value": list(self.pixel), "unit": "Å"},
            "scan_matrix": [list(row) for row in self.scan_matrix],
            "signal": {"value": float(self.mean.std()), "unit": "rad"},
            "deviation": {
                "value": None if self.deviation is None else rms(self.deviation),
                "unit": "rad",
            },
            "half_set_resolution": {**limits, "finest": self.finest_ring, "unit": "Å"}
            if limits
            else None,
            "quantities": {name: q.record() for name, q in self.quantities.items()},
            "bad_pixels": np.argwhere(self.detector.bad).tolist(),
            "warnings": list(self.warnings),
            "provenance": dict(self.provenance),
        }

    def summary(self) -> str:
        """Describe the result in a few lines, for a terminal."""
        lines = [
            f"{self.source}: {self.mean.shape[0]} × {self.mean.shape[1]} pixels of "
            f"{self.pixel[0]:.4g} × {self.pixel[1]:.4g} Å, {self.method}"
        ]
        lines += [quantity_line(name, q) for name, q in self.quantities.items()]
        spread = "" if self.deviation is None else f", deviation {rms(self.deviation):.3g} rad"
        lines.append(f"  {'signal':<15}{float(self.mean.std()):.3g} rad{spread}")
        for name, resolutions in self.resolution.items():
            finest = self.finest_ring or 0.0
            limits = ", ".join(
                f"{'≤ ' if is_end(v, finest) else ''}{shown_period(v)} by {k}"
                for k, v in resolutions.items()
            )
            end = " (≤: they agree as far as was compared)" if "≤" in limits else ""
            lines.append(f"  {'half-sets':<15}{limits} ({name}){end}")
        lines += [f"warning: {warning}" for warning in self.warnings]
        return "\n".join(lines)

    def write(self, folder: str | Path) -> tuple[Path, ...]:
        """Write image.h5, image.npz, image.png, report.html and report.json, all of them or none.

        If the folder exists, the complete files move into it one after the other, ``report.json``
        last. Where that is missing, the others may come from two reports. ``image.h5`` is EMD 1.0,
        which emdfile and py4DSTEM read.

        Raises
        ------
        ValueError
            If the folder cannot be made or written to.
        """
        folder = Path(folder)
        with _whole_folder(folder) as scratch:
            self._write_into(scratch)
        return tuple(folder / name for name in FILES)

    def _write_into(self, folder: Path) -> None:
        record = self.record()
        arrays = {"mean": self.mean.numpy()}
        arrays |= {name: image.numpy() for name, image in self.images.items()}
        if self.deviation is not None:
            arrays["deviation"] = self.deviation
        np.savez_compressed(
            folder / "image.npz",
            **arrays,
            pixel=np.array(self.pixel),
            provenance=np.array(json.dumps(record, ensure_ascii=False)),
        )
        self._write_emd(folder / "image.h5", arrays, record)
        self._draw(folder / "image.png")
        json_text = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False)
        (folder / "report.json").write_text(json_text + "\n", encoding="utf-8")
        detector = self.detector
        page = report_page(
            record,
            (folder / "image.png").read_bytes(),
            self.curves,
            detector.mean,
            detector.bad,
            detector.disc,
            detector.totals,
            detector.search,
        )
        (folder / "report.html").write_text(page, encoding="utf-8")

    def _write_emd(
        self, path: Path, arrays: Mapping[str, NDArray[Any]], record: Mapping[str, Any]
    ) -> None:
        root = emdfile.Root(name="misr4d")
        root.metadata = emdfile.Metadata("report", {"json": json.dumps(record, ensure_ascii=False)})
        for name, data in arrays.items():
            root.tree(phase_array(name, data, self.pixel))
        emdfile.save(str(path), root)

    def _draw(self, path: Path) -> None:
        from matplotlib.figure import Figure

        self._figure(Figure).savefig(path, metadata={"Software": None})

    def _figure(self, make: Callable[..., Figure]) -> Figure:
        import matplotlib as mpl

        from misr4d.plotting import display_limits, dose_label, show_image, use_style

        field = tuple(n * p for n, p in zip(self.mean.shape, self.pixel, strict=True))
        dose = self.quantities.get("dose")
        dose_text = f", {dose_label(float(f'{dose.value:.3g}'))}" if dose is not None else ""
        images = [
            (f"{'direct ptychography' if name == 'direct' else name}{dose_text}", image)
            for name, image in self.images.items()
        ]
        limits = display_limits([image for _, image in images])
        panels = len(images) + (self.deviation is not None)
        with mpl.rc_context():
            use_style()
            height = 3.2 * field[0] / field[1] + 0.4
            figure = make(figsize=(3.2 * panels + 0.6, height), layout="constrained")
            axes = figure.subplots(1, panels, squeeze=False)[0]
            bar = _round_length(field[1] / 5)
            for index, (title, image) in enumerate(images):
                show_image(
                    axes[index],
                    image,
                    (field[0], field[1]),
                    title=title,
                    limits=limits,
                    bar=bar if index == 0 else None,
                )
            if self.deviation is not None:
                colour_image = axes[-1].imshow(
                    self.deviation, cmap="viridis", extent=(0, field[1], field[0], 0)
                )
                axes[-1].set(xticks=[], yticks=[], title="standard deviation [rad]")
                axes[-1].spines[:].set_visible(False)
                figure.colorbar(colour_image, ax=axes[-1], shrink=0.8)
        return figure


@contextlib.contextmanager
def _whole_folder(folder: Path) -> Iterator[Path]:
    """Yield a hidden folder to write into; afterwards its contents move to their place at once."""
    created_folders: list[Path] = []
    try:
        created_folders = [p for p in folder.absolute().parents if not p.exists()]
        folder.parent.mkdir(parents=True, exist_ok=True)
        parent = folder if folder.is_dir() else folder.parent
        scratch = Path(tempfile.mkdtemp(prefix=".misr4d-", dir=parent))
    except OSError as error:
        _remove_empty(created_folders)
        raise ValueError(f"{folder} cannot be written to: {error.strerror}") from None
    try:
        content_folder = scratch / "whole"
        content_folder.mkdir()
        yield content_folder
        if folder.is_dir():
            (folder / _LAST).unlink(missing_ok=True)
            for path in sorted(content_folder.iterdir(), key=lambda p: (p.name == _LAST, p.name)):
                os.replace(path, folder / path.name)
        else:
            os.replace(content_folder, folder)
        created_folders = []
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        _remove_empty(created_folders)


def _remove_empty(folders: Sequence[Path]) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


def rms(values: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.square(values, dtype=np.float64).mean()))


def shown_period(value: float) -> str:
    return f"{value:.3g} Å" if math.isfinite(value) else "none"


def _round_length(length: float) -> float:
    """Largest of 1, 2, 5, 10, 20, 50, … that is not longer than the given length."""
    power = 10.0 ** math.floor(math.log10(length))
    return max(m * power for m in (1.0, 2.0, 5.0) if m * power <= length)


def quantity_line(name: str, q: Quantity) -> str:
    error = "" if q.error is None else f" ± {q.error:.2g}"
    value = f"{shown_value(q.value)}{error} {q.unit}".strip()
    return f"  {name.replace('_', ' '):<15}{value} ({q.origin})"
