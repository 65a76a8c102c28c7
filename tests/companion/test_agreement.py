"""A number that differs between two pages is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from misr4d.companion.agreement import disagreements

ROWS = [
    {"specimen": "Li2CoO3", "method": "direct", "dose": 300.0, "draw": draw, "thickness": None}
    | {"correlation": 0.78 + draw / 100, "resolution": None if draw else 1.8, "frequency": 0.9}
    for draw in range(3)
]


def page(
    folder: Path, name: str, correlations: list[float], dose: object = 300.0, **more: Any
) -> None:
    place = {"specimen": "Li2CoO3", "method": "direct", **more}
    record = place | {"values": {"correlation": correlations, "resolution": [1.8, "inf"]}}
    text = json.dumps({"dose": dose, "table": [record], "note": "of no draw"})
    (folder / f"{name}.json").write_text(text, encoding="utf-8")


def test_pages_with_the_studys_draws_agree(tmp_path: Path) -> None:
    page(tmp_path, "03", [0.78])  # as many as it has
    page(tmp_path, "06", [0.78, 0.79, 0.8], dose="300.0", thickness=20.0)
    page(tmp_path, "08", [0.5], thickness=100.0)  # another specimen, so to say
    page(tmp_path, "09", [0.6], defocus=250.0)
    assert disagreements(tmp_path, ROWS) == []


@pytest.mark.parametrize(
    ("name", "values", "bad"),
    [
        ("06", [0.78, 0.79, 0.81], True),  # one draw differs
        ("06", [0.79, 0.80], True),  # other draws
        ("01_simulation", [0.80, 0.79, 0.81], False),  # which this page says it has
        ("01_simulation", [0.70, 0.71, 0.72], True),
        ("07_structural_orders", [0.80, 0.79, 0.81], True),  # which reads the study's draws
    ],
)
def test_a_number_that_differs_is_named(
    tmp_path: Path, name: str, values: list[float], bad: bool
) -> None:
    page(tmp_path, "03", [0.78])
    page(tmp_path, name, values)
    lines = disagreements(tmp_path, ROWS)
    assert len(lines) == bad
    if bad:
        assert lines[0].startswith("Li2CoO3 direct 300.0 correlation: ")
        assert f"on {name}, " in lines[0]


def test_pages_are_compared_with_each_other_where_the_study_has_nothing(tmp_path: Path) -> None:
    page(tmp_path, "03", [0.78], dose=150.0)
    page(tmp_path, "04", [0.70], dose=150.0)
    (line,) = disagreements(tmp_path, ROWS)
    assert line.endswith("[0.7] on 04, [0.78] in 03")


def test_a_check_that_compared_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="make figures"):
        disagreements(tmp_path, ROWS)
