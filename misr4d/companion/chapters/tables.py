"""Tables and numbers as a page writes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from misr4d.measure.summary import select, summarise
from misr4d.plotting import dose_label, period_label

__all__ = ["OTHER_MEASURES", "by_dose", "minus", "nested", "other_measures", "spread", "table"]

OTHER_MEASURES: Mapping[str, str] = {
    "correlation_field": "whole field",
    "weighted_frc": "weighted FRC",
    "ceiling": "ceiling",
    "resolution": "resolution",
    "last_ring": "last ring",
    "cnr": "CNR",
    "cnr_raw": "raw CNR",
}
"""Columns of the bench beside the correlation inside the specimen, and their headings."""

PERIODS = ("resolution", "last_ring")  # measured in Å
DRAWS = (
    "median, and in brackets the spread and the number n of draws (quartiles from eight draws on, "
    "least to largest of fewer)"
)
MEANING = {
    "correlation_field": "*Whole field* is the correlation that includes the outline.",
    "weighted_frc": "*Weighted FRC* is the mean ring correlation, weighted by the truth's power.",
    "ceiling": "The {term}`ceiling` is the correlation that the best filter of the image would reach.",
    "last_ring": "*Last ring* is the finest ring with power that correlates by one half or more.",
    "cnr": "{term}`CNR` is between images of one resolution, *raw* without this.",
}


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a Markdown table, one line for each row."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def nested(lines: Iterable[str]) -> str:
    """Write a list within an item of a Markdown list."""
    return "".join(f"\n  * {line[:1].upper()}{line[1:]}." for line in lines)


def minus(value: float, digits: int = 2) -> str:
    """Write a number with a typographic minus, as in ``−0.12``."""
    return f"{value:.{digits}f}".replace("-", "−")


def spread(values: Sequence[float], measure: str = "correlation") -> str:
    """Median, spread and number of draws of a measure; a dot where there is no draw."""
    word = period_label if measure in PERIODS else None
    return summarise(values).text(word=word) if values else "·"


def by_dose(
    rows: Sequence[Mapping[str, Any]],
    titles: Mapping[str, str],
    methods: Sequence[str],
    doses: Sequence[float],
) -> str:
    """Correlation inside the specimen of each specimen and method against dose, as a table.

    Parameters
    ----------
    rows : sequence of mapping
        Rows of the bench: one for each specimen, method, dose and draw.
    titles : mapping of str to str
        Specimens, and what a reader calls them.
    methods : sequence of str
        A method without a row of a specimen has no line there.
    doses : sequence of float
        [e⁻/Å²]; inf is the noiseless measurement.
    """
    lines = []
    for name, title in titles.items():
        for method in methods:
            where = {"specimen": name, "method": method}
            drawn = [select(rows, "correlation", dose=dose, **where) for dose in doses]
            if any(drawn):
                lines.append([title, method, *map(spread, drawn)])
    head = ["specimen", "method", *map(dose_label, doses)]
    return f"Correlation inside the specimen: {DRAWS}.\n\n{table(head, lines)}"


def other_measures(
    rows: Sequence[Mapping[str, Any]],
    titles: Mapping[str, str],
    methods: Sequence[str],
    dose: float,
    measures: Sequence[str] = tuple(OTHER_MEASURES),
) -> str:
    """Measures beside the correlation at one dose, as a table; arguments as :func:`by_dose`'s."""
    lines = []
    for name, title in titles.items():
        for method in methods:
            where = {"specimen": name, "method": method, "dose": dose}
            if select(rows, "correlation", **where):
                cells = [spread(select(rows, key, **where), key) for key in measures]
                lines.append([title, method, *cells])
    head = ["specimen", "method", *(OTHER_MEASURES[key] for key in measures)]
    meaning = " ".join(MEANING[key] for key in measures if key in MEANING)
    return f"The other measures at {dose_label(dose)}. {meaning}\n\n{table(head, lines)}"
