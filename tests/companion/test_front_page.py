from __future__ import annotations

import re

import pytest

from misr4d.companion.bench import read_study
from misr4d.companion.front_page import SHOWN_CLAIMS, claims_in_words, opening, table


def test_the_front_page_has_the_studys_numbers() -> None:
    rows = read_study()

    def median(specimen: str, method: str) -> float:
        values = sorted(
            row["correlation"]
            for row in rows
            if (row["specimen"], row["method"], row["dose"], row["thickness"])
            == (specimen, method, 300.0, None)
        )
        half = len(values) // 2
        return values[half] if len(values) % 2 else (values[half - 1] + values[half]) / 2

    shown = [float(number) for number in re.findall(r"0\.\d\d", opening(rows))]
    asked = [
        median(specimen, method)
        for method in ("direct", "informed", "refined", "attention U-Net")
        for specimen in ("Li2CoO3", "apoferritin")
    ]
    programs = ("ptychography", "phaserEM", "quantem direct")
    best = [
        max(median(specimen, program) for program in programs)
        for specimen in ("Li2CoO3", "apoferritin")
    ]
    asked = [*best, *asked]
    assert shown == pytest.approx(asked, abs=0.00501)
    lines = table(rows).splitlines()
    assert len(lines) >= 7
    refined = next(line for line in lines if "refined by the counts" in line)
    cells = [cell.strip() for cell in refined.split("|")]
    assert float(cells[2]) == pytest.approx(median("Li2CoO3", "refined"), abs=0.00501)
    assert float(cells[4]) == pytest.approx(median("apoferritin", "refined"), abs=0.00501)


def test_what_the_study_lacks_is_named() -> None:
    with pytest.raises(ValueError, match="no correlation of attention U-Net on Li2CoO3 at 300"):
        opening([row for row in read_study() if row["method"] != "attention U-Net"])


def test_claims_are_in_words_with_their_verdicts() -> None:
    claims = [
        {"number": number, "statement": f"statement {number}", "verdict": "not reproduced"}
        for number in ("C14", *SHOWN_CLAIMS)
    ]
    words = claims_in_words(claims)
    assert words.count("\n") == len(SHOWN_CLAIMS)
    assert "statement C14" not in words
    assert "* statement C1: **✘ not reproduced** (C1)" in words
