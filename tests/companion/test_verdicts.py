from __future__ import annotations

import re

import pytest

from misr4d.companion import verdicts
from misr4d.companion.verdicts import (
    CANNOT,
    CONTRADICTED,
    MARKS,
    NOT,
    OPEN,
    PARTLY,
    REPRODUCED,
    Claim,
    Finding,
    for_readers,
)

UNET = "attention U-Net"
SHOWN = [
    {"number": "C1", "statement": 'A "lattice" < shows', "verdict": PARTLY},
    {"number": "C2", "statement": "Contrast", "verdict": REPRODUCED},
    {"number": "R1", "statement": "Doses", "verdict": CONTRADICTED},
]


def claim(number: str, verdict: str) -> Claim:
    return Claim(number, "§3", f"statement {number}", "m.", {UNET: Finding(verdict, "text")}, ())


def test_a_claim_has_a_finding_on_what_it_is_about() -> None:
    with pytest.raises(ValueError, match="claim C1 is about 'attention U-Net'"):
        Claim("C1", "§3", "x", "y", {"direct": Finding(NOT, "z")}, ())


def test_a_strip_has_a_linked_chip_for_each_claim_and_counts() -> None:
    text = verdicts.strip(SHOWN, "claims.html")
    assert re.findall(r'href="claims.html#(claim-\w+)"', text) == [
        "claim-c1",
        "claim-c2",
        "claim-r1",
    ]
    assert 'title="A &quot;lattice&quot; &lt; shows: partly"' in text
    assert "Of 2 claims: ✔ 1 reproduced, ◐ 1 partly." in text
    assert "\n\n" not in text  # a blank line would end the HTML in Markdown
    plain = verdicts.plain_strip(SHOWN)
    assert "C1 ◐ · C2 ✔\n\nOf 2 claims: ✔ 1 reproduced, ◐ 1 partly." in plain
    assert "released code: ≠ 1 contradicted by the released code." in plain
    assert verdicts.counted([PARTLY, CANNOT, PARTLY]) == "2 partly, 1 cannot hold"


def test_every_verdict_has_a_sign_of_its_own_and_a_colour_that_white_reads_on() -> None:
    assert set(MARKS) == {REPRODUCED, PARTLY, NOT, CANNOT, CONTRADICTED, OPEN}
    assert len({sign for sign, _ in MARKS.values()}) == len(MARKS)
    for _, colour in MARKS.values():
        levels = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in levels]
        luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
        assert 1.05 / (luminance + 0.05) > 4.5


def test_previous_verdicts_are_those_of_every_claim_with_a_reason() -> None:
    before = verdicts.previous_verdicts()
    assert list(before) == [f"C{n}" for n in range(1, 15)] + [f"R{n}" for n in range(1, 5)]
    for number, old in before.items():
        assert old["verdict"] in MARKS, number
        assert old["why"].endswith("."), number


def test_what_changed_has_a_row_for_each_claim_and_marks_new_verdicts() -> None:
    before = {
        "C1": {"verdict": PARTLY, "why": "Other masks."},
        "C2": {"verdict": REPRODUCED, "why": "More draws."},
    }
    table = verdicts.what_changed([claim("C1", PARTLY), claim("C2", NOT)], before)
    assert "| C1 | statement C1 | ◐ partly | ◐ partly | Other masks. |" in table
    assert "| C2 | statement C2 | ✔ reproduced | ✘ **not reproduced** | More draws. |" in table
    with pytest.raises(ValueError, match="those with a previous verdict C1, C2; expected the same"):
        verdicts.what_changed([claim("C1", PARTLY)], before)


def test_readers_are_given_the_names_that_they_know() -> None:
    text = for_readers("behind on Li2CoO3 and CuZr, see `Pmt` and CuZrX; NCM (n = 3)")
    assert text == "behind on Li₂CoO₃ and Cu-Zr glass, see `Pmt` and CuZrX; NCM111 (n = 3)"
