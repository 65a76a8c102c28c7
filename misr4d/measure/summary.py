"""One summary of repeated draws: the only place where medians and brackets are made."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Summary", "plain", "select", "summarise"]

ENOUGH = 8  # draws from which on quartiles are shown; of fewer, all lie between the ends shown


@dataclass(frozen=True)
class Summary:
    """Median and spread of a number of draws.

    Parameters
    ----------
    n : int
        Draws.
    low, median, high : float
        The ends are the quartiles of eight draws or more, and the least and the largest of fewer.
    least, largest : float
        Of all draws, however many there are.
    """

    n: int
    low: float
    median: float
    high: float
    least: float = field(default=math.nan, compare=False, repr=False)
    largest: float = field(default=math.nan, compare=False, repr=False)

    @property
    def ends(self) -> str:
        """What the ends are, in words."""
        return "quartiles" if self.n >= ENOUGH else "least to largest"

    def text(
        self, digits: int = 2, *, sign: bool = False, word: Callable[[float], str] | None = None
    ) -> str:
        """Median with its spread and n, as in ``0.83 (0.81 to 0.85, n = 3)``.

        Parameters
        ----------
        digits : int
            Behind the decimal point.
        sign : bool
            Write a plus too.
        word : callable, optional
            From a value to its text, instead of `digits` and `sign`.
        """
        if word is None:
            sign_format = "+" if sign else ""

            def word(value: float) -> str:
                if value == math.inf:
                    return "∞"
                # Adding 0 removes the sign of a value that rounds to zero.
                text = f"{round(value, digits) + 0.0:{sign_format}.{digits}f}"
                return text.replace("-", "−")

        low, median, high = word(self.low), word(self.median), word(self.high)
        spread = "" if low == median == high else f"{low} to {high}, "
        return f"{median} ({spread}n = {self.n})"


def summarise(values: Iterable[float]) -> Summary:
    """Median and spread of draws.

    An even number of draws has the mean of the middle two as its median, so that neither half of
    them is preferred; quartiles are interpolated linearly. A value may be infinite, such as the
    resolution of an image that resolves nothing: what is interpolated towards it is infinite too.

    Parameters
    ----------
    values : iterable of float
        One for each draw.

    Raises
    ------
    ValueError
        If there is no value, or one is not a number.
    """
    ordered = sorted(float(value) for value in values)
    if not ordered:
        raise ValueError("no value to summarise; expected one draw or more")
    if any(math.isnan(value) for value in ordered):
        raise ValueError(f"values are {ordered}; expected numbers, one for each draw")
    n = len(ordered)
    quantiles = (0.25, 0.75) if n >= ENOUGH else (0.0, 1.0)
    low, median, high = (
        _quantile(ordered, quantile) for quantile in (quantiles[0], 0.5, quantiles[1])
    )
    return Summary(n, low, median, high, ordered[0], ordered[-1])


def _quantile(ordered: list[float], fraction: float) -> float:
    position = fraction * (len(ordered) - 1)
    index = math.floor(position)
    fraction = position - index
    if fraction == 0:
        return ordered[index]
    lower, upper = ordered[index], ordered[index + 1]
    if lower == upper:
        return lower
    if math.isinf(lower) or math.isinf(upper):
        return upper if math.isinf(upper) else lower
    return lower + fraction * (upper - lower)


def select(rows: Iterable[Mapping[str, Any]], column: str, **where: object) -> list[float]:
    """Values of one measure in the selected rows, one row for each draw.

    Parameters
    ----------
    rows : iterable of mapping
        As :func:`misr4d.companion.bench.run_bench` returns them.
    column : str
        A measure. Where it has no value, as the period of an image that resolves nothing, its
        value is infinite.
    **where
        What other columns must be, such as ``method="direct"``; a dose is compared as a number.

    Returns
    -------
    list of float
        Empty if there is no such row.
    """
    values = []
    for row in rows:
        compared_row = {**row, "dose": float(row["dose"])} if "dose" in row else row
        if all(compared_row.get(name) == value for name, value in where.items()):
            value = row[column]
            values.append(math.inf if value is None else float(value))
    return values


def plain(values: Iterable[float]) -> list[float | str]:
    """Values for a JSON file, in which an infinite one is the text ``inf``."""
    return [float(v) if math.isfinite(v) else str(float(v)) for v in values]
