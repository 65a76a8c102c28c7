"""The report of one scan as a page of HTML that needs no other file."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jinja2
import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from misr4d.calibrate.defocus import Search
from misr4d.calibrate.disc import Disc
from misr4d.io.scan import shown_value
from misr4d.measure.spectra import half_bit_threshold
from misr4d.plotting import METHOD_COLOURS, use_style

__all__ = ["flatten", "is_end", "report_page"]

_STYLE = """
:root { color-scheme: light dark; --line: #ccc; --warn: #fff3cd; --edge: #b8860b; }
@media (prefers-color-scheme: dark) { :root { --line: #444; --warn: #3a3000; } }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 68rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.5rem; overflow-wrap: anywhere; } h2 { font-size: 1.2rem; margin-top: 2rem; }
.warnings { background: var(--warn); border-left: .3rem solid var(--edge); padding: .5rem 1rem; }
.warnings li { margin: .4rem 0; }
img { max-width: 100%; height: auto; background: #fff; border-radius: .3rem; }
figure { margin: 1rem 0; } figcaption { font-size: .9rem; }
.pair { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fit, minmax(min(24rem, 100%), 1fr)); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; } td, th { border-bottom: 1px solid var(--line);
  padding: .25rem .8rem .25rem 0; text-align: left; vertical-align: top; }
td { white-space: nowrap; }
"""


_PAGE = jinja2.Environment(
    autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
).from_string(
    """\
{% macro figure(f) %}
<figure><img alt="{{ f.alt }}" src="data:image/png;base64,{{ f.data }}">\
<figcaption>{{ f.caption }}</figcaption></figure>
{% endmacro %}
{% macro row(cells) %}
<tr>{% for cell in cells %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endmacro %}
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>{{ style|safe }}</style>
</head>
<body>
<h1>{{ title }}</h1>
{% if warnings %}
<section class="warnings"><h2>Read this first</h2><ul>
{% for text in warnings %}
<li>{{ text }}</li>
{% endfor %}
</ul></section>
{% else %}
<p>No warning was raised.</p>
{% endif %}
{{ figure(images) -}}
<div class="pair">
{% for f in pictures %}
{{ figure(f) -}}
{% endfor %}
</div>
<h2>Numbers</h2>
<div class="scroll"><table><thead><tr><th>quantity</th><th>value</th>\
<th>uncertainty</th><th>unit</th><th>origin</th></tr></thead><tbody>
{% for cells in numbers %}
{{ row(cells) -}}
{% endfor %}
</tbody></table></div>
<h2>Provenance</h2>
<div class="scroll"><table><tbody>
{% for cells in provenance %}
{{ row(cells) -}}
{% endfor %}
</tbody></table></div>
</body>
</html>
"""
)


class _Picture(NamedTuple):
    png: bytes
    alt: str
    caption: str

    @property
    def data(self) -> str:
        return base64.b64encode(self.png).decode()


def report_page(
    record: Mapping[str, Any],
    image: bytes,
    curves: Mapping[str, tuple[Tensor, Tensor, Tensor]],
    mean: NDArray[np.float64],
    bad: NDArray[np.bool_],
    disc: Disc,
    totals: NDArray[np.float64],
    search: Search | None = None,
) -> str:
    """Write a page that contains its pictures, loads nothing and runs no script.

    Parameters
    ----------
    record : mapping
        What ``report.json`` holds, see :meth:`misr4d.report.report.Report.record`.
    image : bytes
        The images, as PNG.
    curves : mapping
        Method to frequency [Å⁻¹], half-set correlation and pixels of each ring; may be empty.
    mean, bad : ndarray
        Mean pattern, and the pixels that were replaced ``(Qx, Qy)``.
    disc : Disc
        As it lies on the mean pattern.
    totals : ndarray
        What was counted at each position ``(Rx, Ry)``.
    search : Search, optional
        How the views register for every trial of the defocus.
    """
    pictures = []
    if curves:
        pictures.append(
            _Picture(
                _curves(curves),
                "Half-set ring correlation against spatial frequency",
                "Agreement of two halves of the electrons. Beyond where direct ptychography's "
                "curve falls below the threshold, detail rests on the network's prior.",
            )
        )
    pictures.append(
        _Picture(
            _pattern(mean, bad, disc),
            "Mean diffraction pattern with the fitted disc",
            f"Mean pattern (square root) with the fitted disc and {int(bad.sum())} bad pixels "
            "(red).",
        )
    )
    pictures.append(
        _Picture(
            _totals(totals),
            "Counts of every scan position",
            "What the detector counted at each position: steps, stripes or a slope are the beam's "
            "or the specimen's, and what is even has the grain of counting noise.",
        )
    )
    if search is not None:
        pictures.append(_search(search, record["quantities"]))
    return _PAGE.render(
        title=f"{record['source']}: {record['method']} reconstruction",
        style=_STYLE,
        warnings=record["warnings"],
        images=_images(record, image),
        pictures=pictures,
        numbers=list(_numbers(record)),
        provenance=flatten(record["provenance"]),
    )


def _images(record: Mapping[str, Any], image: bytes) -> _Picture:
    deviation = " and the network's standard deviation" if record["deviation"]["value"] else ""
    size = f"{record['shape'][0]} × {record['shape'][1]} pixels"
    pitch = " × ".join(f"{v:.4g}" for v in record["pixel"]["value"])
    caption = f"Projected phase, {size} of {pitch} Å; all images under the same grey limits"
    return _Picture(
        image, f"Reconstructed images{deviation}", f"{caption}{deviation and ','}{deviation}."
    )


def _numbers(record: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield quantity, value, uncertainty, unit and origin of every number."""
    for name, q in record["quantities"].items():
        error = f"± {q['error']:.2g}" if "error" in q else ""
        yield name.replace("_", " "), shown_value(q["value"]), error, q["unit"], q["origin"]
    for name in ("signal", "deviation"):
        value = record[name]["value"]
        if value is not None:
            yield f"{name}, rms", shown_value(value), "", record[name]["unit"], "estimated"
    for method, limits in (record["half_set_resolution"] or {}).items():
        if isinstance(limits, Mapping):
            finest = record["half_set_resolution"]["finest"]
            for threshold, value in limits.items():
                limit = "none" if value is None else shown_value(value)
                note = "as far as was compared" if value and is_end(value, finest) else ""
                at_most = "≤ " if note else ""
                name = f"half-set resolution, {method}, {threshold}"
                yield name, f"{at_most}{limit}", note, "Å", "estimated"


def is_end(period: float, finest: float) -> bool:
    """Whether half-sets agree up to the finest ring that was compared [Å]."""
    return period <= 1.001 * finest


def flatten(entries: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the entries of nested mappings by their path, as in ``outer: inner``."""
    for name, value in entries.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{above}{name}: ")
        else:
            yield above + name, value


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def _curves(curves: Mapping[str, tuple[Tensor, Tensor, Tensor]]) -> bytes:
    with mpl.rc_context():
        use_style()
        figure = Figure(figsize=(4.8, 3.2), layout="constrained")
        axes = figure.subplots()
        for name, (frequency, curve, _) in curves.items():
            axes.plot(frequency, curve, color=METHOD_COLOURS[name], label=name)
        frequency, _, count = next(iter(curves.values()))
        axes.plot(frequency, half_bit_threshold(count), "k--", lw=0.8, label="½ bit")
        axes.axhline(0.143, color="k", ls=":", lw=0.8, label="0.143")
        axes.set(xlabel="spatial frequency [Å⁻¹]", ylabel="half-set correlation", ylim=(-0.2, 1.02))
        figure.legend(loc="outside upper center", ncols=4)
        return _png(figure)


def _totals(totals: NDArray[np.float64]) -> bytes:
    with mpl.rc_context():
        use_style()
        figure = Figure(figsize=(4.8, 4.0), layout="constrained")
        axes = figure.subplots()
        low, high = np.quantile(totals, (0.005, 0.995))
        colour_image = axes.imshow(totals, cmap="gray", vmin=low, vmax=high)
        axes.set(xlabel="Ry [position]", ylabel="Rx [position]")
        figure.colorbar(colour_image, ax=axes, shrink=0.8, label="counts a position")
        return _png(figure)


def _search(search: Search, quantities: Mapping[str, Any]) -> _Picture:
    """Draw the trials of defocus, and of rotation if it was estimated, with the estimate."""
    defocus = float(quantities["defocus"]["value"])
    with mpl.rc_context():
        use_style()
        figure = Figure(figsize=(4.8, 4.0), layout="constrained")
        axes = figure.subplots()
        if search.score.ndim == 1:
            axes.plot(search.defoci, search.score, color="#332288")
            axes.axvline(defocus, color="#d55e00", lw=0.8)
            axes.set(xlabel="defocus [Å]", ylabel="standard deviations above the median")
            return _Picture(
                _png(figure),
                "How well the views register against the defocus",
                "How well the views register for every trial of the defocus, and the estimate "
                "(orange).",
            )
        rotation = math.radians(float(quantities["rotation"]["value"]))
        half_spacing = (search.defoci[1] - search.defoci[0]) / 2
        axis_limits = (search.defoci[0] - half_spacing, search.defoci[-1] + half_spacing)
        colour_image = axes.imshow(
            search.score.T,
            extent=(*axis_limits, *axis_limits),
            origin="lower",
            cmap="viridis",
            vmin=0,
        )
        estimate_position = (defocus * math.cos(rotation), defocus * math.sin(rotation))
        axes.plot(*estimate_position, "+", color="white", ms=14, mew=1.5)
        axes.set(xlabel="defocus · cos(rotation) [Å]", ylabel="defocus · sin(rotation) [Å]")
        figure.colorbar(
            colour_image, ax=axes, shrink=0.8, label="standard deviations above the median"
        )
        return _Picture(
            _png(figure),
            "How well the views register against defocus and rotation",
            "How well the views register for every trial: the distance from the middle is the "
            "defocus, the direction the rotation. The estimate (white cross) is where one place "
            "stands out.",
        )


def _pattern(mean: NDArray[np.float64], bad: NDArray[np.bool_], disc: Disc) -> bytes:
    with mpl.rc_context():
        use_style()
        figure = Figure(figsize=(4.8, 4.0), layout="constrained")
        axes = figure.subplots()
        good_pixels = mean[~bad]
        axes.imshow(
            np.sqrt(np.maximum(mean, 0)), vmax=math.sqrt(float(good_pixels.max())), cmap="gray"
        )
        axes.imshow(np.where(bad, 1.0, np.nan), cmap="autumn", vmin=1, vmax=2)
        edge = disc.outline()
        axes.plot(edge[:, 1], edge[:, 0], color="#56b4e9", lw=1.2, scalex=False, scaley=False)
        axes.set(xlabel="Qy [pixel]", ylabel="Qx [pixel]")
        return _png(figure)
