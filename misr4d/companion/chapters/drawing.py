"""What figures of several chapters share: diagrams in inches, curves with spread."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor, nn

from misr4d import plotting
from misr4d.core.acquisition import UPSAMPLING, Acquisition
from misr4d.measure.summary import Summary

__all__ = [
    "Sheet",
    "dose_ticks",
    "mark_periods",
    "plot_spread",
    "size_of",
    "watch",
]

SIDE = 0.98  # inches, of a thumbnail: our choice
LINE: Mapping[str, Any] = {"color": "0.35", "lw": 1.0}


def watch(
    parts: Mapping[str, nn.Module], run: Callable[[], Any]
) -> tuple[Any, dict[str, tuple[Any, Any]]]:
    """Run something, and keep what entered and left the named parts of a network meanwhile.

    Parameters
    ----------
    parts : mapping of str to Module
    run : callable

    Returns
    -------
    made : object
        What `run` returned.
    passed : dict
        Inputs, a tuple, and output of each part that was called; of its last call.
    """
    passed: dict[str, tuple[Any, Any]] = {}

    def keep(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_: nn.Module, inputs: Any, output: Any) -> None:
            passed[name] = (inputs, output)

        return hook

    hooks = [part.register_forward_hook(keep(name)) for name, part in parts.items()]
    try:
        result = run()
    finally:
        for hook in hooks:
            hook.remove()
    return result, passed


def size_of(array: Tensor | NDArray[Any]) -> str:
    """Write an array's shape, as in ``64 × 64``."""
    return " × ".join(map(str, array.shape))


class Sheet:
    """A page in inches that takes images, labels and arrows; the diagrams of Figs. 1b and 2.

    Parameters
    ----------
    width, height : float
        Of the page [inches].
    """

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width, height))
        self.page = self.figure.add_axes((0, 0, 1, 1))
        self.page.set(xlim=(0, width), ylim=(0, height))
        self.page.axis("off")

    def picture(
        self,
        image: Tensor | NDArray[Any],
        x: float,
        y: float,
        side: float = SIDE,
        *,
        percent: float = 0.2,
        **shown: Any,
    ) -> Axes:
        """Draw an image around (x, y) [inches]; its grey limits are its own unless given.

        Parameters
        ----------
        image : Tensor or ndarray
            ``(X, Y)``.
        x, y, side : float
            Centre and side [inches].
        percent : float
            Of its pixels that lie beyond each of its own limits.
        **shown
            As for ``imshow`` of matplotlib; a colour map takes the whole range.
        """
        width, height = self.width, self.height
        corner = ((x - side / 2) / width, (y - side / 2) / height)
        axes = self.figure.add_axes((*corner, side / width, side / height))
        if not {"vmin", "cmap"} & shown.keys():
            shown["vmin"], shown["vmax"] = plotting.display_limits([image], percent)
        axes.imshow(np.asarray(image), **shown)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set(visible=True, color="0.35", lw=0.6)
        return axes

    def write(self, x: float, y: float, text: str, **style: Any) -> None:
        """Write text at (x, y) [inches]."""
        self.page.text(x, y, text, **{"ha": "center", "fontsize": 7.5, **style})

    def arrow(
        self,
        *points: tuple[float, float],
        label: str = "",
        at: tuple[float, float] = (0.0, 0.0),
        side: str = "center",
    ) -> None:
        """Draw an arrow along points [inches].

        Parameters
        ----------
        *points : (float, float)
        label : str
            Beside the middle of the first leg.
        at : (float, float)
            Offset of the label from there [inches].
        side : str
            Horizontal alignment of the label.
        """
        self.page.plot(*zip(*points[:-1], strict=True), **LINE)
        head = {"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 1, "mutation_scale": 9, **LINE}
        self.page.annotate("", points[-1], points[-2], arrowprops=head)
        x, y = ((a + b) / 2 + d for a, b, d in zip(points[0], points[1], at, strict=True))
        self.page.text(x, y, label, ha=side, va="center", fontsize=7)


def plot_spread(
    axes: Axes,
    drawn: Sequence[tuple[float, Summary]],
    method: str,
    marker: str = "o-",
    *,
    alpha: float = 0.2,
) -> bool:
    """Draw a method's medians as a line and their spread as a band.

    Parameters
    ----------
    axes : Axes
    drawn : sequence of (float, Summary)
        Where a median lies, and it; one that is infinite has no point, and an infinite upper end
        of the spread ends at the median.
    method : str
        Gives colour and label.
    marker : str
        Of the line.
    alpha : float
        Opacity of the band.

    Returns
    -------
    bool
        Whether there was anything to draw.
    """
    points = [(x, v.low, v.median, v.high) for x, v in drawn if math.isfinite(v.median)]
    if not points:
        return False
    colour = plotting.METHOD_COLOURS[method]
    x, low, middle, high = np.array(points).T
    axes.plot(x, middle, marker, color=colour, label=method, ms=3)
    ends = np.where(np.isfinite(high), high, middle)
    axes.fill_between(x, low, ends, color=colour, alpha=alpha, lw=0)
    return True


def dose_ticks(axes: Axes, doses: Sequence[float]) -> None:
    """Give a logarithmic dose axis these doses [e⁻/Å²] as its only ticks."""
    axes.set_xscale("log")
    axes.set_xticks(doses, [f"{dose:g}" for dose in doses])
    axes.xaxis.set_minor_formatter("")


def mark_periods(axes: Axes, acquisition: Acquisition) -> None:
    """Mark the periods [Å] that no method can pass: of a view, of the ×3 image and of the lens."""
    for value, label in (
        (acquisition.nyquist_period(), "Nyquist of a view"),
        (acquisition.nyquist_period(UPSAMPLING), "Nyquist of the ×3 image"),
        (acquisition.information_limit, "λ/2α"),
    ):
        plotting.mark_limit(axes, value, label)
