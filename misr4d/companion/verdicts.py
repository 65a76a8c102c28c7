"""Words for verdicts on the paper's claims, and how they are shown: chips, strips, a table.

:mod:`misr4d.companion.claims` gives the verdicts. A verdict is one for each method; that of the
claim is the verdict on the network that the claim is about, with the weights shipped here.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files
from typing import Any

from misr4d.specimens.catalogue import SHORT_TITLES

__all__ = [
    "CANNOT",
    "CONTRADICTED",
    "FEWEST",
    "JUDGED_METHODS",
    "LEVEL",
    "MARKS",
    "NOT",
    "NOT_RUN",
    "OPEN",
    "PARTLY",
    "REPRODUCED",
    "SEEN",
    "SUBJECT",
    "Claim",
    "Finding",
    "anchor",
    "chip",
    "counted",
    "enough",
    "fewest",
    "for_readers",
    "from_parts",
    "percent",
    "plain_strip",
    "previous_verdicts",
    "strip",
    "together",
    "what_changed",
]

REPRODUCED, PARTLY, NOT = "reproduced", "partly", "not reproduced"
CANNOT = "cannot hold"  # with a derivation
CONTRADICTED = "contradicted by the released code"
OPEN = "not decided"  # the results on disk do not hold what it takes

MARKS: Mapping[str, tuple[str, str]] = {
    REPRODUCED: ("✔", "#1b5e20"),
    PARTLY: ("◐", "#7a4f00"),
    NOT: ("✘", "#a31515"),
    CANNOT: ("⊘", "#4a148c"),
    CONTRADICTED: ("≠", "#1a237e"),
    OPEN: ("?", "#455a64"),
}
"""Sign and colour of each verdict: the sign suffices, and white on the colour is legible."""

SUBJECT = "attention U-Net"
"""The paper's network, of §2.1.1, which most claims are about."""

JUDGED_METHODS = (SUBJECT, "dual path", "informed", "direct")
"""Methods judged: the paper's two networks, and beside them the two of this book."""

SEEN = 0.5  # our choice: at less, not even a quarter of the variation inside is the specimen's
"""Least correlation with the truth inside a specimen of an image that shows something of it."""

LEVEL = 0.02  # our choice
"""Correlations that differ by less are level."""

FEWEST = 3  # our choice: of two draws, each may be the odd one
"""Draws of a noisy dose, or trainings, that a verdict takes."""

Parts = Sequence[bool | None]

_NAME = re.compile(rf"\b({'|'.join(SHORT_TITLES)})\b(?!`)")


@dataclass(frozen=True)
class Finding:
    """What one method does with a claim.

    Parameters
    ----------
    verdict : str
    text : str
        What was measured, each median with its spread and number of draws.
    share : (int, int), optional
        In how many of how many comparisons it holds, where the verdict is such a count.
    n : int, optional
        Fewest draws at finite dose behind it, of the method or of a rival; none where it rests on
        arithmetic.
    short : str
        The numbers that decide it in a few words, for the front page.
    """

    verdict: str
    text: str
    share: tuple[int, int] | None = None
    n: int | None = None
    short: str = ""


@dataclass(frozen=True)
class Claim:
    """A claim, how it was measured, and the findings.

    Parameters
    ----------
    number : str
        ``C1`` to ``C14`` as in the paper map, ``R1`` on for the released code.
    section : str
        Of the paper.
    statement, measure : str
        What the paper says, in our words, and what was measured and why.
    findings : mapping
        :class:`Finding` by method; one named ``""`` where no method is involved.
    sources : tuple of str
        Chapters that show or measure it.
    subject : str
        The method that the claim is about.
    remark : str
        What else belongs to it, such as a derivation or the rival's numbers.

    Raises
    ------
    ValueError
        If there is no finding on the subject.
    """

    number: str
    section: str
    statement: str
    measure: str
    findings: Mapping[str, Finding]
    sources: tuple[str, ...]
    subject: str = "attention U-Net"
    remark: str = field(default="")

    def __post_init__(self) -> None:
        if self.subject not in self.findings:
            raise ValueError(
                f"claim {self.number} is about {self.subject!r}, of which there is no finding; "
                f"expected it among {', '.join(map(repr, self.findings))}"
            )

    @property
    def verdict(self) -> str:
        """The verdict on the method that the claim is about."""
        return self.findings[self.subject].verdict

    @property
    def evidence(self) -> str:
        """What was measured of the method that the claim is about."""
        return self.findings[self.subject].text

    @property
    def sentence(self) -> str:
        """Claim, verdict and evidence in Markdown, for the chapter that measured it."""
        evidence = for_readers(self.evidence[:1].upper() + self.evidence[1:])
        return f"**{self.statement}** (claim {self.number}): {self.verdict}. {evidence}."


NOT_RUN = Finding(OPEN, "not run")
"""Finding on a method that nobody measured."""


def together(parts: Parts) -> str:
    """Verdict on parts that must all hold; one that is none could not be judged."""
    if True in parts and False in parts:
        return PARTLY
    if not parts or None in parts:
        return OPEN
    return REPRODUCED if True in parts else NOT


def from_parts(parts: Parts, text: str, n: int | None = None, short: str = "") -> Finding:
    """Judge comparisons that must all hold; arguments as of :class:`Finding`."""
    held = (parts.count(True), len(parts)) if parts else None
    return Finding(together(parts), text, held, n, short)


def enough(holds: bool | None, n: int, dose: float = 0.0) -> bool | None:
    """Leave a part undecided that rests on fewer than :data:`FEWEST` draws.

    At infinite dose [e⁻/Å²] there is no noise to draw, and one image is all there is.
    """
    return holds if n >= FEWEST or math.isinf(dose) else None


def fewest(numbers: Iterable[int]) -> int | None:
    """Fewest draws behind a finding; none if nothing was drawn."""
    return min(numbers, default=None)


def for_readers(text: str) -> str:
    """Give the specimens of a text the names that readers know them by."""
    return _NAME.sub(lambda found: SHORT_TITLES[found[0]], text)


def percent(fraction: float) -> str:
    """Write a fraction as whole percents."""
    return f"{100 * fraction:.0f} %"


def anchor(number: str) -> str:
    """Name of a claim's place on the claims page, as in ``claim-c1``."""
    return f"claim-{number.lower()}"


def chip(verdict: str, text: str = "") -> str:
    """Mark a verdict in HTML: its sign, and a text on its colour, by default the verdict."""
    sign, colour = MARKS[verdict]
    style = f"background:{colour};color:#fff;padding:0 .4em;border-radius:.25em;white-space:nowrap"
    return f'<span style="{style}">{sign} {text or verdict}</span>'


def counted(verdicts: Iterable[str], *, signs: bool = False) -> str:
    """Say how often each verdict was given, as in ``1 reproduced, 7 partly``."""
    count = Counter(verdicts)
    present = [verdict for verdict in MARKS if count[verdict]]
    return ", ".join(f"{MARKS[v][0] + ' ' if signs else ''}{count[v]} {v}" for v in present)


def _by_kind(claims: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """Results of the claims page under two headings: what is measured, what is simulated."""
    paper = [claim for claim in claims if claim["number"].startswith("C")]
    code = [claim for claim in claims if claim["number"].startswith("R")]
    return [
        (f"Of {len(paper)} claims", paper),
        (f"Of {len(code)} statements on the simulations, held against the released code", code),
    ]


def strip(claims: Sequence[Mapping[str, Any]], address: str) -> str:
    """Sum up the claims in HTML: a linked chip for each, and how often each verdict was given.

    Parameters
    ----------
    claims : sequence of mappings
        ``claims`` of the claims page's results: ``number``, ``statement`` and ``verdict`` of each.
    address : str
        Address of the claims page, relative to where the strip is shown.
    """
    lines = []
    for heading, chosen in _by_kind(claims):
        chips = " ".join(
            f'<a class="verdict" href="{address}#{anchor(claim["number"])}" '
            f'title="{escape(claim["statement"])}: {claim["verdict"]}">'
            f"{chip(claim['verdict'], claim['number'])}</a>"
            for claim in chosen
        )
        count = counted((claim["verdict"] for claim in chosen), signs=True)
        lines.append(f'<p class="verdicts">{chips}<br>{heading}: {count}.</p>')
    return "\n".join(lines) + "\n"


def plain_strip(claims: Sequence[Mapping[str, Any]]) -> str:
    """Sum up the claims in Markdown without colours or links; `claims` as in :func:`strip`.

    Where they have findings, the fewest draws behind each verdict follow.
    """
    parts = []
    for heading, chosen in _by_kind(claims):
        signs = " · ".join(f"{claim['number']} {MARKS[claim['verdict']][0]}" for claim in chosen)
        count = counted((claim["verdict"] for claim in chosen), signs=True)
        drawn = ", ".join(
            f"{claim['number']} {n}" for claim in chosen if (n := _fewest_draws(claim)) is not None
        )
        behind = f" Fewest draws behind each: {drawn}." if drawn else ""
        parts.append(f"{signs}\n\n{heading}: {count}.{behind}")
    return "\n\n".join(parts) + "\n"


def _fewest_draws(claim: Mapping[str, Any]) -> int | None:
    """Fewest draws behind a verdict on the paper's method, in the claims page's results."""
    finding = claim.get("findings", {}).get(claim.get("subject"), {})
    n: int | None = finding.get("n")
    return n


def previous_verdicts() -> dict[str, dict[str, str]]:
    """Verdicts by number as they were before the rules changed: ``verdict``, and ``why`` not now.

    ``why`` says what changed in how the claim is judged, whether or not the verdict did.
    """
    text = (files("misr4d") / "data" / "previous_verdicts.json").read_text(encoding="utf-8")
    verdicts: dict[str, dict[str, str]] = json.loads(text)
    return verdicts


def what_changed(
    claims: Sequence[Claim], previous: Mapping[str, Mapping[str, str]] | None = None
) -> str:
    """Table in Markdown of each claim's verdict before and now, and what changed in the judging.

    Parameters
    ----------
    claims : sequence of Claim
        As judged now.
    previous : mapping, optional
        By default :func:`previous_verdicts`.

    Raises
    ------
    ValueError
        If the two do not hold the same claims.
    """
    before = previous_verdicts() if previous is None else previous
    numbers = [claim.number for claim in claims]
    if set(numbers) != set(before):
        raise ValueError(
            f"claims judged now are {', '.join(numbers)}, those with a previous verdict "
            f"{', '.join(before)}; expected the same: give previous_verdicts.json what is missing"
        )
    lines = ["| | the paper says | before | now | what changed |", "|---|---|---|---|---|"]
    for claim in claims:
        old = before[claim.number]
        now = claim.verdict if claim.verdict == old["verdict"] else f"**{claim.verdict}**"
        lines.append(
            f"| {claim.number} | {claim.statement} | {MARKS[old['verdict']][0]} {old['verdict']} | "
            f"{MARKS[claim.verdict][0]} {now} | {old['why']} |"
        )
    return "\n".join(lines)
