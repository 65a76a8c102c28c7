"""One summary for every page."""

import math

import pytest

from misr4d.measure.summary import plain, select, summarise


def test_median_of_an_even_number_is_the_mean_of_the_middle_two() -> None:
    # The upper of the two was taken once, which made the median of four its upper quartile.
    summary = summarise([1.0, 2.0, 4.0, 10.0])
    assert (summary.low, summary.median, summary.high) == (1, 3, 10)
    assert summary.ends == "least to largest"


def test_eight_draws_show_quartiles() -> None:
    summary = summarise(range(9))
    assert (summary.n, summary.low, summary.median, summary.high) == (9, 2, 4, 6)
    assert summary.ends == "quartiles"


def test_what_is_infinite_stays_infinite() -> None:
    assert summarise([1.0, math.inf]).median == math.inf
    assert summarise([1.0, 2.0, math.inf]).median == 2


def test_what_rounds_to_nothing_has_no_sign() -> None:
    assert summarise([-0.004, -0.001, 0.004]).text() == "0.00 (n = 3)"
    assert summarise([-0.006]).text() == "−0.01 (n = 1)"


def test_text_says_how_many() -> None:
    assert summarise([0.5]).text() == "0.50 (n = 1)"
    assert summarise([-0.1, 0.1, 0.3]).text(1, sign=True) == "+0.1 (−0.1 to +0.3, n = 3)"


@pytest.mark.parametrize("values", [[], [math.nan]])
def test_nothing_to_summarise_is_an_error(values: list[float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        summarise(values)


def test_values_of_a_measure_are_those_of_the_rows_asked_for() -> None:
    rows = [
        {"method": "direct", "dose": "inf", "draw": 0, "resolution": 1.5},
        {"method": "direct", "dose": 300.0, "draw": 0, "resolution": None},
        {"method": "direct", "dose": 300.0, "draw": 1, "resolution": 2.5},
        {"method": "direct", "dose": 300.0, "draw": 0, "resolution": 4.5, "thickness": 50.0},
    ]
    # No resolution is an infinite period; a row without a thickness has none.
    at = select(rows, "resolution", method="direct", dose=300.0, thickness=None)
    assert at == [math.inf, 2.5]
    assert select(rows, "resolution", dose=math.inf) == [1.5]
    assert select(rows, "resolution", method="SSB") == []
    assert plain(at) == ["inf", 2.5]
