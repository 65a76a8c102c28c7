"""What the book and its README open with, computed from the study and the claims page's results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from misr4d.companion import timing
from misr4d.companion.cases import (
    CRYSTAL,
    OURS,
    PROTEIN,
    PTYCHOGRAPHY,
    Rows,
    best_ptychography,
    program,
    scores,
)
from misr4d.companion.chapters import refinement
from misr4d.companion.chapters.tables import table as as_table
from misr4d.companion.recorded import recorded
from misr4d.companion.verdicts import LEVEL, MARKS, SUBJECT
from misr4d.learn.learned import card
from misr4d.measure.summary import select, summarise
from misr4d.plotting import dose_label, period_label
from misr4d.reconstruction.tuned import ptychography_tuning
from misr4d.specimens.catalogue import regime_of

__all__ = [
    "SHOWN_CLAIMS",
    "caveat",
    "claims_in_words",
    "core_seconds",
    "opening",
    "rivals",
    "table",
]

DOSE = timing.DOSE  # e⁻/Å², of the picture and of the paper's line scans
PAIR = {CRYSTAL: "crystal", PROTEIN: "protein"}
METHODS = {
    SUBJECT: "the paper's network, as trained here",
    "direct": "direct ptychography (no training)",
    OURS: "direct + U-Net",
    "refined": "direct + U-Net, refined by the counts",
}
"""Methods of the table below ptychography, as in the picture."""
SHOWN_CLAIMS = ("C1", "C2", "C3", "C4", "C10")
"""Claims that the front page has in words."""


def _values(rows: Rows, specimen: str, method: str, column: str) -> list[float]:
    where = {"specimen": specimen, "method": method, "dose": DOSE, "thickness": None}
    values = select(rows, column, **where)
    if not values:
        raise ValueError(
            f"the study has no {column} of {method} on {specimen} at {DOSE:g} e⁻/Å²; run "
            "`misr4d bench --study`"
        )
    return values


def _middle(rows: Rows, specimen: str, method: str, column: str) -> float:
    return summarise(_values(rows, specimen, method, column)).median


def _best(rows: Rows, specimen: str) -> str:
    best = best_ptychography(rows, specimen, DOSE)
    if best is None:
        raise ValueError(f"the study has no ptychography of {specimen} at {DOSE:g} e⁻/Å²")
    return best


def opening(rows: Rows) -> str:
    """One sentence of result, at 300 e⁻/Å². What correlates best comes first."""
    named = {
        "the best iterative ptychography": {name: _best(rows, name) for name in PAIR},
        "direct ptychography with a small network and a fit to the counts": dict.fromkeys(
            PAIR, "refined"
        ),
        "the paper's network, as it could be trained here,": dict.fromkeys(PAIR, SUBJECT),
    }
    correlations = {
        words: [_middle(rows, name, method, "correlation") for name, method in methods.items()]
        for words, methods in named.items()
    }
    ordered = sorted(correlations, key=lambda words: -sum(correlations[words]))
    first, *others = ordered
    crystal, protein = correlations[first]
    rest = ["{} reaches {:.2f} and {:.2f}".format(words, *correlations[words]) for words in others]
    return (
        f"At {dose_label(DOSE)} {first} reaches a correlation with the truth of {crystal:.2f} "
        f"inside a crystal and {protein:.2f} inside a protein, {', '.join(rest[:-1])}, and "
        f"{rest[-1]}."
    )


def rivals(rows: Rows) -> str:
    """Say in how many of the study's cases ptychography correlates better than direct + U-Net."""
    cases = sorted(
        {
            (str(row["specimen"]), float(row["dose"]))
            for row in rows
            if row["method"] in PTYCHOGRAPHY and not row.get("thickness")
        }
    )
    leads = []
    for specimen, dose in cases:
        ours = scores(rows, specimen, dose, OURS, "correlation")
        best = best_ptychography(rows, specimen, dose)
        if ours and best is not None:
            theirs = scores(rows, specimen, dose, best, "correlation")
            # On the same electrons, as the claims compare.
            pairs = [theirs[draw] - ours[draw] for draw in sorted(ours.keys() & theirs.keys())]
            leads.append(summarise(pairs).median)
    ahead = sum(lead >= LEVEL for lead in leads)
    behind = sum(lead <= -LEVEL for lead in leads)
    return (
        "**Where the rival is ahead.** The study measured both the best ptychography and direct "
        f"ptychography with a U-Net in {len(leads)} cases, each a specimen at a dose. By "
        f"correlation ptychography is ahead in {ahead} and behind in {behind}. In "
        f"{len(leads) - ahead - behind} they differ by less than {LEVEL:g}."
    )


def core_seconds(rows: Rows, specimen: str, method: str) -> float:
    """Seconds of one core for a method's image of one scan, where the study was measured.

    Those of py4DSTEM's ptychography are of the tuning's specimens, whose scans are as large. Those
    of a refinement hold its first stage. Those of other programs are medians of their rows.
    """
    if method == PTYCHOGRAPHY[0]:
        regime = regime_of(specimen)
        (tuned,) = (
            row
            for row in ptychography_tuning()["choice"]
            if (row["regime"], float(row["dose"])) == (regime, DOSE)
        )
        return float(tuned["cpu_seconds"])
    if method in timing.TIMED:
        asked = {"method": method, "specimen": specimen, "dose": DOSE, "seed": timing.SEED}
        return float(recorded(timing.seconds, **asked)["seconds"])
    if method == "refined":
        asked = {"specimen": specimen, "dose": DOSE, "seed": timing.SEED}
        second_stage = float(recorded(refinement.seconds, **asked)["seconds"])
        return core_seconds(rows, specimen, OURS) + second_stage
    return _middle(rows, specimen, method, "seconds")


def _seconds(value: float) -> str:
    digits = 2 if value < 1 else 1 if value < 10 else 0
    return f"{value:.{digits}f} s"


def table(rows: Rows) -> str:
    """Table in Markdown of crystal and protein: correlation inside, resolution, seconds an image.

    First py4DSTEM's ptychography, the paper's program, and any other that is the best.
    """
    programs = dict.fromkeys([*(_best(rows, name) for name in PAIR), PTYCHOGRAPHY[0]])
    labels = {
        method: f"ptychography by {program(method)}"
        + (", the paper's program" if method == PTYCHOGRAPHY[0] else "")
        for method in programs
    } | METHODS

    def cell(name: str, method: str) -> str:
        correlation = _middle(rows, name, method, "correlation")
        period = period_label(_middle(rows, name, method, "resolution"))
        seconds = _seconds(core_seconds(rows, name, method))
        return f"{correlation:.2f} · {period} · {seconds}".replace(" ", "\N{NO-BREAK SPACE}")

    lines = [[label, *(cell(name, m) for name in PAIR)] for m, label in labels.items()]
    drawn = [len(_values(rows, name, m, "correlation")) for name in PAIR for m in labels]
    note = (
        "In each cell: correlation with the truth inside the specimen, resolution, and seconds of "
        "one processor core for one image. Resolution is the finest period up to which the image "
        f"correlates with the truth by one half. Medians of {min(drawn)} to {max(drawn)} random "
        "countings of the electrons."
    )
    return f"{as_table(['', *PAIR.values()], lines)}\n\n{note}\n"


def claims_in_words(claims: Sequence[Mapping[str, Any]]) -> str:
    """List a few claims in Markdown, each with its verdict in words.

    Parameters
    ----------
    claims : sequence of mappings
        ``claims`` of the claims page's results.
    """
    chosen = {claim["number"]: claim for claim in claims if claim["number"] in SHOWN_CLAIMS}
    return "".join(
        f"* {claim['statement']}: **{MARKS[claim['verdict']][0]} {claim['verdict']}**"
        f"{_short(claim)} ({number})\n"
        for number in SHOWN_CLAIMS
        if (claim := chosen.get(number))
    )


def _short(claim: Mapping[str, Any]) -> str:
    """Write the numbers that decide a claim, after a comma, where its finding has them."""
    short = claim["findings"][claim["subject"]]["short"]
    return f", {short}" if short else ""


def caveat() -> str:
    """Say in Markdown what the results do not rest on: the paper's weights, and real scans."""
    trained = card("AttentionUNet")
    return (
        "**What these results cannot say.** The paper's weights are not available. Its network is "
        f"trained anew here: {trained['parameters'] / 1e6:.1f} million parameters, "
        f"{trained['seconds'] / 60:.0f} minutes on {trained['device']}. The paper's own is wider "
        "and was trained far longer, so *not reproduced* means *not by this training*. The scans "
        "are simulated, but for one published scan of virus particles in ice, of which no truth is "
        "known.\n"
    )
