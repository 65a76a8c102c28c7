"""Whether the pages of the book agree: the same quantity has the same number on each.

A page saves the draws behind its numbers (:func:`misr4d.companion.figures.save_results`). What two
pages measure of one specimen by one method at one dose must be the same draw by draw, as far as
both go: then their medians, spreads and tables are the same too.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from misr4d.companion.cases import Rows
from misr4d.core.acquisition import REGIMES
from misr4d.measure.summary import summarise

__all__ = ["OTHER_ELECTRONS", "disagreements"]

OTHER_ELECTRONS = ("01_simulation",)
"""Pages that count electrons in the bright disc's pixels alone, and say so: other draws."""

STUDY = "the study"
_DRAW = 2e-3  # our choice: images that the study keeps are rounded, and no page prints more digits
_OTHER = 0.03  # our choice: medians of correlations over other draws differ by less

_AMBIGUOUS = "frequency"  # where a resolution ends on a page, where a spectrum does in the study

Quantity = tuple[str, str, float, float | None, float | None, str]
"""Specimen, method, dose [e⁻/Å²], thickness [Å] and defocus [Å] unless the usual, measure."""


def disagreements(results: Path, rows: Rows) -> list[str]:
    """Name every quantity that has other numbers on one page than on another, or in the study.

    Parameters
    ----------
    results : Path
        Folder of the pages' results, a ``.json`` each.
    rows : sequence of mapping
        The study.

    Returns
    -------
    list of str
        A line for each; empty if all agree.

    Raises
    ------
    ValueError
        If no two places have any quantity in common: then nothing was compared.
    """
    usual = _usual_thickness(rows)
    found: dict[Quantity, dict[str, list[float]]] = {}
    for path in sorted(results.glob("*.json")):
        page = json.loads(path.read_text(encoding="utf-8"))
        for quantity, values in _quantities(page, {}, usual):
            found.setdefault(quantity, {})[path.stem] = values
    for quantity, places in found.items():
        if values := _of_the_study(rows, quantity):
            places[STUDY] = values
    shared = {quantity: places for quantity, places in found.items() if len(places) > 1}
    if not shared:
        raise ValueError(f"no quantity is on two pages of {results}; run `make figures` first")
    return [line for quantity, places in shared.items() for line in _compared(quantity, places)]


def _compared(quantity: Quantity, places: Mapping[str, list[float]]) -> Iterator[str]:
    """Compare every page with the study, or where that has nothing, with the first page."""
    names = sorted(places, key=lambda name: (name != STUDY, name in OTHER_ELECTRONS, name))
    reference, *others = names
    expected = places[reference]
    for name in others:
        values = places[name]
        if name in OTHER_ELECTRONS:
            medians = summarise(values).median, summarise(expected).median
            same = quantity[-1] != "correlation" or _near(medians[0], medians[1], _OTHER)
        else:
            same = all(_near(a, b, _DRAW) for a, b in zip(values, expected, strict=False))
        if not same:
            what = " ".join(str(part) for part in quantity if part is not None)
            yield f"{what}: {values} on {name}, {expected} in {reference}"


def _near(a: float, b: float, tolerance: float) -> bool:
    return a == b or abs(a - b) <= tolerance * max(1.0, abs(b))


def _number(value: Any) -> float:
    return math.inf if value is None else float(value)


def _usual_thickness(rows: Rows) -> dict[str, float]:
    """Thickness of the study's specimens [Å] that a page writes where the study writes none."""
    from misr4d.specimens.catalogue import make_specimen

    return {
        name: make_specimen(name).thickness
        for name in dict.fromkeys(str(row["specimen"]) for row in rows)
    }


def _quantities(
    part: Any, around: Mapping[str, Any], usual: Mapping[str, float]
) -> Iterator[tuple[Quantity, list[float]]]:
    """Find in a page's results what has a specimen, a method and the values of its draws."""
    if isinstance(part, list):
        for item in part:
            yield from _quantities(item, around, usual)
    if not isinstance(part, Mapping):
        return
    plain = {key: value for key, value in part.items() if isinstance(value, str | int | float)}
    around = {**around, **plain}
    measures = part.get("values", part)
    if "method" in plain and isinstance(measures, Mapping) and {"specimen", "dose"} <= set(around):
        for measure, values in measures.items():
            if measure == _AMBIGUOUS:
                continue
            if isinstance(values, list) and values and not isinstance(values[0], list | dict):
                yield _quantity(around, str(measure), usual), [_number(v) for v in values]
    for value in part.values():
        yield from _quantities(value, around, usual)


def _quantity(place: Mapping[str, Any], measure: str, usual: Mapping[str, float]) -> Quantity:
    name, thickness, defocus = place["specimen"], place.get("thickness"), place.get("defocus")
    if thickness is not None and math.isclose(thickness, usual.get(name, math.nan), rel_tol=0.1):
        thickness = None
    if defocus is not None and defocus in {regime.defocus for regime in REGIMES.values()}:
        defocus = None
    return name, place["method"], float(place["dose"]), thickness, defocus, measure


def _of_the_study(rows: Rows, quantity: Quantity) -> list[float]:
    specimen, method, dose, thickness, defocus, measure = quantity
    return [
        _number(row[measure])
        for row in rows
        if (row["specimen"], row["method"], float(row["dose"])) == (specimen, method, dose)
        and (row.get("thickness"), row.get("defocus")) == (thickness, defocus)
        and measure in row
    ]
