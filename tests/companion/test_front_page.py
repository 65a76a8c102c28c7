from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from misr4d.companion import front_page
from misr4d.companion.bench import read_study
from misr4d.companion.front_page import (
    SHOWN_CLAIMS,
    caveat,
    claims_in_words,
    core_seconds,
    opening,
    rivals,
    table,
)
from misr4d.companion.recorded import read_record
from tests.scripts import load_script

PAIR = ("Li2CoO3", "apoferritin")
PROGRAMS = ("ptychography", "phaserEM", "quantem direct")
ROWS = read_study()


def median(specimen: str, method: str, dose: float = 300.0) -> float:
    values = sorted(
        row["correlation"]
        for row in ROWS
        if (row["specimen"], row["method"], float(row["dose"]), row["thickness"])
        == (specimen, method, dose, None)
    )
    half = len(values) // 2
    return values[half] if len(values) % 2 else (values[half - 1] + values[half]) / 2


def test_the_opening_has_the_studys_numbers_and_the_best_comes_first() -> None:
    shown = [float(number) for number in re.findall(r"0\.\d\d", opening(ROWS))]
    best = [max(median(specimen, program) for program in PROGRAMS) for specimen in PAIR]
    pairs = [best, *([median(s, m) for s in PAIR] for m in ("refined", "attention U-Net"))]
    expected = [value for pair in sorted(pairs, key=sum, reverse=True) for value in pair]
    assert shown == pytest.approx(expected, abs=0.00501)
    assert opening(ROWS).count(".") == 1 + len(shown)  # one sentence


def test_the_table_has_every_methods_numbers() -> None:
    lines = table(ROWS).splitlines()
    cells = {
        line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]]
        for line in lines
        if line.startswith("| ")
    }
    methods = {
        "U-Net, refined": "refined",
        "no training": "direct",
        "direct + U-Net": "informed",
        "the paper's network": "attention U-Net",
        "py4DSTEM, the paper's program": "ptychography",
        "by phaserEM": "phaserEM",
    }
    for words, method in methods.items():
        row = next(row for label, row in cells.items() if words in label)
        for shown, specimen in zip(row, PAIR, strict=True):
            correlation, period, seconds = shown.replace("\N{NO-BREAK SPACE}", " ").split(" · ")
            assert float(correlation) == pytest.approx(median(specimen, method), abs=0.00501)
            assert period.endswith(" Å")
            expected = core_seconds(ROWS, specimen, method)
            assert float(seconds.removesuffix(" s")) == pytest.approx(expected, rel=0.05, abs=0.051)


def test_the_best_ptychography_is_in_the_table_whichever_it_is() -> None:
    better = [
        row | ({"correlation": 0.99} if row["method"] == "quantem direct" else {}) for row in ROWS
    ]
    assert "ptychography by quantem direct" not in table(ROWS)
    assert "ptychography by quantem direct" in table(better)


def test_seconds_of_a_refinement_hold_its_first_stage() -> None:
    kept = {
        (entry["function"].rpartition(".")[2], entry["arguments"].get("method")): entry["value"]
        for entry in read_record()
        if entry["arguments"].get("specimen") == "Li2CoO3" and "seconds" in entry["function"]
    }
    both = kept["timing:seconds", "informed"], kept["refinement:seconds", None]
    assert core_seconds(ROWS, "Li2CoO3", "refined") == pytest.approx(
        sum(value["seconds"] for value in both)
    )


def test_where_the_rival_is_ahead_is_counted_on_the_same_electrons() -> None:
    def drawn(specimen: str, method: str, dose: float) -> dict[int, float]:
        return {
            row["draw"]: row["correlation"]
            for row in ROWS
            if (row["specimen"], row["method"], float(row["dose"]), row["thickness"])
            == (specimen, method, dose, None)
        }

    leads = []
    for specimen in ("Li2CoO3", "CuZr", "apoferritin"):
        for dose in sorted({float(row["dose"]) for row in ROWS}):
            rivals_here = [r for p in PROGRAMS if (r := drawn(specimen, p, dose))]
            if rivals_here:
                ours = drawn(specimen, "informed", dose)
                best = max(rivals_here, key=lambda r: sorted(r.values())[len(r) // 2])
                pairs = sorted(best[draw] - ours[draw] for draw in best.keys() & ours.keys())
                assert len(pairs) % 2  # three draws, or the one at infinite dose
                leads.append(pairs[len(pairs) // 2])
    ahead, behind = sum(lead >= 0.02 for lead in leads), sum(lead <= -0.02 for lead in leads)
    text = rivals(ROWS)
    assert f"in {len(leads)} cases" in text
    assert f"ahead in {ahead} and behind in {behind}. In {len(leads) - ahead - behind} " in text


def test_what_the_study_lacks_is_named() -> None:
    with pytest.raises(ValueError, match="no correlation of attention U-Net on Li2CoO3 at 300"):
        opening([row for row in ROWS if row["method"] != "attention U-Net"])


def claim(number: str, short: str) -> dict[str, Any]:
    finding = {"verdict": "not reproduced", "short": short}
    return {"number": number, "statement": f"statement {number}", "subject": "network"} | {
        "verdict": "not reproduced",
        "findings": {"network": finding, "other": finding | {"short": "wrong"}},
    }


def test_claims_are_in_words_with_verdict_and_numbers() -> None:
    claims = [claim(number, "true in 0 of 9") for number in ("C14", *SHOWN_CLAIMS[1:])]
    words = claims_in_words([*claims, claim(SHOWN_CLAIMS[0], "")])
    assert words.count("\n") == len(SHOWN_CLAIMS)
    assert "statement C14" not in words
    assert "wrong" not in words
    assert "* statement C2: **✘ not reproduced**, true in 0 of 9 (C2)" in words
    assert "* statement C1: **✘ not reproduced** (C1)" in words


def test_the_caveat_is_of_the_shipped_network() -> None:
    assert f"{front_page.card('AttentionUNet')['seconds'] / 60:.0f} minutes" in caveat()


def test_the_readme_has_todays_sentence_and_table() -> None:
    build = load_script("book/build.py")
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
    start, end = build.OPENING
    assert readme.split(start)[1].split(end)[0].strip() == opening(ROWS), "run `make readme`"
    for part in (table(ROWS), rivals(ROWS), caveat()):
        assert part.strip() in readme, "run `make readme`"
