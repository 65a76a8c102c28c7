"""How figures look: one style, one colour per method, grey rules, scale bars, limits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray
from torch import Tensor

__all__ = [
    "display_limits",
    "dose_label",
    "image_grid",
    "mark_limit",
    "middle",
    "period_label",
    "scale_bar",
    "show_image",
    "use_style",
]

METHOD_COLOURS = {
    "summed VBF": "#7f7f7f",
    "iDPC": "#009e73",
    "parallax": "#0072b2",
    "ptychography": "#cc79a7",
    "SSB": "#e69f00",
    "OBF": "#56b4e9",
    "direct": "#d55e00",
    "attention U-Net": "#882255",
    "dual path": "#999933",
    "informed": "#332288",
    "refined": "#117733",
    "phaserEM": "#dd2222",
    "quantem": "#4477aa",
    "quantem direct": "#aa7733",
    "truth": "#000000",
}
"""One colour per method (Okabe-Ito and Tol, which colour-blind readers can distinguish)."""


def use_style() -> None:
    """Set matplotlib's parameters for every figure of the book."""
    mpl.rcParams.update(
        {
            "figure.dpi": 110,
            "savefig.dpi": 150,
            "savefig.bbox": "tight",
            "figure.facecolor": "white",
            "font.size": 9,
            "axes.titlesize": 9,
            "axes.labelsize": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "legend.frameon": False,
            "image.cmap": "gray",
            "image.interpolation": "nearest",
            "lines.linewidth": 1.5,
            "svg.hashsalt": "misr4d",
        }
    )


def dose_label(dose: float) -> str:
    """Write a dose for a title, as in ``300 e⁻/Å²`` or ``∞ dose``."""
    return "∞ dose" if math.isinf(dose) else f"{dose:g} e⁻/Å²"


def period_label(period: float) -> str:
    """Write a period for a table, as in ``1.25 Å``; an infinite one resolves nothing."""
    return "none" if math.isinf(period) else f"{period:.2f} Å"


def _array(image: Tensor | NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(image.detach().cpu() if isinstance(image, Tensor) else image, dtype=float)


def display_limits(
    images: Sequence[Tensor | NDArray[Any]], percent: float = 0.2
) -> tuple[float, float]:
    """Grey limits shared by images that are compared: their joint central percentiles."""
    values = np.concatenate([_array(image).ravel() for image in images])
    low, high = np.percentile(values, [percent, 100 - percent])
    return float(low), float(high)


def scale_bar(axes: Axes, length: float, label: str | None = None) -> None:
    """Draw a scale bar in the lower left corner of an image shown in Å.

    Parameters
    ----------
    axes : Axes
        As made by :func:`show_image`.
    length : float
        Length [Å].
    label : str, optional
        Text above the bar, by default the length in Å; an empty one omits the text.
    """
    (x0, x1), (y0, y1) = axes.get_xlim(), axes.get_ylim()
    width, height = x1 - x0, abs(y1 - y0)
    if not 0 < length < width:
        raise ValueError(f"a scale bar of {length:g} Å does not fit an image {width:g} Å wide")
    left, top = x0 + 0.05 * width, max(y0, y1) - 0.075 * height
    # On noise only a solid background keeps bar and text legible.
    bar = Rectangle((left, top), length, 0.03 * height, fc="white", lw=0)
    bar.set_path_effects([withStroke(linewidth=2.5, foreground="black")])
    axes.add_patch(bar)
    label_text = f"{length:g} Å" if label is None else label
    if label_text:
        axes.text(
            left + length / 2,
            top - 0.02 * height,
            label_text,
            ha="center",
            va="bottom",
            fontsize=7,
            color="white",
            bbox={"facecolor": "black", "pad": 1, "linewidth": 0},
        )


def show_image(
    axes: Axes,
    image: Tensor | NDArray[Any],
    field: tuple[float, float],
    *,
    title: str = "",
    limits: tuple[float, float] | None = None,
    bar: float | None = None,
) -> None:
    """Show an image ``(X, Y)`` in Å, first axis downwards, in grey.

    Parameters
    ----------
    axes : Axes
    image : Tensor or ndarray
    field : (float, float)
        Its size [Å].
    title : str
        Says method and dose.
    limits : (float, float), optional
        Grey limits; by default the image's own central percentiles.
    bar : float, optional
        Length of a scale bar [Å].
    """
    low, high = display_limits([image]) if limits is None else limits
    axes.imshow(_array(image), vmin=low, vmax=high, extent=(0, field[1], field[0], 0))
    axes.set(xticks=[], yticks=[], title=title)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if bar is not None:
        scale_bar(axes, bar)


def image_grid(
    rows: Sequence[tuple[str, Sequence[Tensor | NDArray[Any] | None]]],
    columns: Sequence[str],
    field: tuple[float, float],
    *,
    bar: float,
    common: Sequence[bool] | None = None,
    notes: Sequence[Sequence[str]] | None = None,
) -> Figure:
    """Images in named rows and columns, each row under one pair of grey limits.

    Parameters
    ----------
    rows : sequence of (str, sequence of images)
        Name and images of each row, all of the same field; ``None`` leaves a place empty.
    columns : sequence of str
        Column titles, such as doses.
    field : (float, float)
        Size of every image [Å].
    bar : float
        Scale bar, drawn in the first image [Å].
    common : sequence of bool, optional
        Which images of a row set its limits; by default all.
    notes : sequence of sequences of str, optional
        Text under each image, such as its score; as many as there are images.

    Returns
    -------
    Figure
    """
    note_height = 0 if notes is None else 0.14  # inches
    height = (1.3 * field[0] / field[1] + note_height) * len(rows) + 0.3
    layout = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
    figure = Figure(figsize=(1.25 * len(columns) + 0.4, height), layout=layout)
    grid = figure.subplots(len(rows), len(columns), squeeze=False)
    for i, (name, images) in enumerate(rows):
        sets_limits = [True] * len(images) if common is None else common
        limit_images = [m for m, c in zip(images, sets_limits, strict=True) if c and m is not None]
        limits = display_limits(limit_images)
        for j, image in enumerate(images):
            if image is None:
                grid[i, j].set_axis_off()
                if i == 0:
                    grid[i, j].set_title(columns[j])
                continue
            show_image(
                grid[i, j],
                image,
                field,
                title=columns[j] if i == 0 else "",
                limits=limits,
                bar=bar if i == j == 0 else None,
            )
            if notes is not None:
                grid[i, j].set_xlabel(notes[i][j], fontsize=7, labelpad=1)
        grid[i, 0].set_ylabel(name)
    return figure


def middle(
    image: Tensor | NDArray[Any], field: tuple[float, float], part: float
) -> tuple[Any, tuple[float, float]]:
    """Cut the middle out of an image ``(X, Y)``, in whole pixels.

    Parameters
    ----------
    image : Tensor or ndarray
    field : (float, float)
        Its size [Å].
    part : float
        Share of each side that is kept, as nearly as whole pixels allow.

    Returns
    -------
    image : Tensor or ndarray
    field : (float, float)
        Size of the cut-out [Å].
    """
    edges = [round(n * (1 - part) / 2) for n in image.shape]
    window = tuple(slice(e, n - e) for e, n in zip(edges, image.shape, strict=True))
    x, y = (side * (n - 2 * e) / n for side, e, n in zip(field, edges, image.shape, strict=True))
    return image[window], (x, y)


def mark_limit(
    axes: Axes, value: float, label: str, *, upright: bool = False, far: bool = False
) -> None:
    """Draw a limit that no curve can pass as a dashed line, its name beside it.

    Parameters
    ----------
    axes : Axes
    value : float
        On the vertical axis; on the horizontal one if `upright`.
    label : str
        Name of the limit.
    upright : bool
        Draw the line from bottom to top instead of from left to right.
    far : bool
        Write the name at the line's far end instead of its near one.
    """
    dashed: dict[str, Any] = {"color": "0.6", "ls": "--", "lw": 0.8}
    position = 0.99 if far else 0.01
    text_options: dict[str, Any]
    if upright:
        axes.axvline(value, **dashed)
        text_options = {
            "xy": (value, position),
            "xycoords": ("data", "axes fraction"),
            "xytext": (-2, 0),
        }
        text_options |= {"rotation": 90, "ha": "right", "va": "top" if far else "bottom"}
    else:
        axes.axhline(value, **dashed)
        text_options = {
            "xy": (position, value),
            "xycoords": ("axes fraction", "data"),
            "xytext": (0, 2),
        }
        text_options |= {"ha": "right" if far else "left", "va": "bottom"}
    axes.annotate(
        label,
        textcoords="offset points",
        fontsize=7,
        color="0.25",
        zorder=1.5,  # below the curves, which it must not hide
        **text_options,
    )
