"""What the book and its README open with, computed from the study and the claims page's results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from misr4d.companion.cases import CRYSTAL, PROTEIN, Rows, best_ptychography, program
from misr4d.companion.verdicts import MARKS
from misr4d.measure.summary import select, summarise
from misr4d.plotting import period_label

__all__ = ["SHOWN_CLAIMS", "claims_in_words", "opening", "table"]

DOSE = 300.0  # e⁻/Å², of the picture and of the paper's line scans
METHODS = {
    "attention U-Net": "the paper's network, as trained here",
    "direct": "direct ptychography, untrained",
    "informed": "direct ptychography + U-Net",
    "refined": "the same, refined by the counts",
}
SHOWN_CLAIMS = ("C1", "C2", "C3", "C4", "C10")
"""Claims that the front page has in words."""


def _middle(rows: Rows, specimen: str, method: str, column: str) -> float:
    values = select(rows, column, specimen=specimen, method=method, dose=DOSE, thickness=None)
    if not values:
        raise ValueError(
            f"the study has no {column} of {method} on {specimen} at {DOSE:g} e⁻/Å²; run "
            "`misr4d bench --study`"
        )
    return summarise(values).median


def _best(rows: Rows, specimen: str) -> str:
    best = best_ptychography(rows, specimen, DOSE)
    if best is None:
        raise ValueError(f"the study has no ptychography of {specimen} at {DOSE:g} e⁻/Å²")
    return best


def opening(rows: Rows) -> str:
    """One sentence of result: the correlations inside crystal and protein at 300 e⁻/Å²."""

    def both(method: str | None = None) -> str:
        return " and ".join(
            f"{_middle(rows, name, method or _best(rows, name), 'correlation'):.2f}"
            for name in (CRYSTAL, PROTEIN)
        )

    return (
        f"At {DOSE:g} e⁻/Å² the best iterative ptychography that was tried correlates by {both()} "
        "with the true image inside a crystal and a protein; direct ptychography, a closed "
        f"formula without training, by {both('direct')}; a small U-Net on top of it by "
        f"{both('informed')}, refined by the electron counts {both('refined')}; and the paper's "
        f"network, as it could be trained here, by {both('attention U-Net')}."
    )


def table(rows: Rows) -> str:
    """Table in Markdown: correlation inside, and resolution, of crystal and protein."""
    lines = [
        "| | crystal: correlation | resolution | protein: correlation | resolution |",
        "|---|---|---|---|---|",
    ]
    for method, label in {"": "iterative ptychography, the best tried", **METHODS}.items():
        cells = []
        for name in (CRYSTAL, PROTEIN):
            shown = method or _best(rows, name)
            whose = "" if method else f" ({program(shown)})"
            cells += [
                f"{_middle(rows, name, shown, 'correlation'):.2f}{whose}",
                period_label(_middle(rows, name, shown, "resolution")),
            ]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def claims_in_words(claims: Sequence[Mapping[str, Any]]) -> str:
    """List a few claims in Markdown, each with its verdict in words.

    Parameters
    ----------
    claims : sequence of mappings
        ``claims`` of the claims page's results.
    """
    chosen = {claim["number"]: claim for claim in claims if claim["number"] in SHOWN_CLAIMS}
    return "".join(
        f"* {chosen[number]['statement']}: **{MARKS[chosen[number]['verdict']][0]} "
        f"{chosen[number]['verdict']}** ({number})\n"
        for number in SHOWN_CLAIMS
        if number in chosen
    )
