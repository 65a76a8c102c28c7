"""Chapter 15, the claims: its tables, sections and words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from misr4d.companion.bounds import featureless
from misr4d.companion.cases import where_run
from misr4d.companion.chapters.tables import table
from misr4d.companion.dose_claims import specimens_of
from misr4d.companion.verdicts import (
    CANNOT,
    CONTRADICTED,
    FEWEST,
    MARKS,
    OPEN,
    PARTLY,
    REPRODUCED,
    SEEN,
    Claim,
    Finding,
    anchor,
    chip,
    counted,
    for_readers,
    what_changed,
)
from misr4d.learn.learned import card, load_network, trained_detector
from misr4d.learn.networks import AttentionUNet

__all__ = ["at_a_glance", "one_by_one", "record", "seen", "trained_here"]

NAMES = {"": "The released code", "informed": "Informed network", "direct": "Direct ptychography"}
LABELS = {"AttentionUNet": "attention U-Net (§2.1.1)", "DualPath": "dual path (§2.2)"}


def _first_channels(network: nn.Module) -> int:
    """Channels of the first convolution, which are those of the first block."""
    return next(p for p in network.parameters() if p.ndim == 4).shape[0]


def trained_here(study: Sequence[Mapping[str, Any]]) -> str:
    """Say how the paper's networks were trained here, and what the verdicts mean."""
    lines = []
    for name, label in LABELS.items():
        shipped = card(name)
        lines.append(
            f"* **{label}**: {shipped['parameters'] / 1e6:.2f} million parameters, "
            f"{_first_channels(load_network(name))} channels in the first block, trained for "
            f"{shipped['seconds'] / 60:.0f} minutes on {shipped['device']}, on views of "
            f"{trained_detector(shipped)}"
        )
    narrow: Any = load_network("AttentionUNet")
    with torch.device("meta"):  # shapes without weights
        as_published = AttentionUNet(narrow.views)
    blank = ", ".join(f"{featureless(name):.2f} on {name}" for name in specimens_of(study))
    return (
        "The paper's networks, trained anew, because its weights are not available to us:\n\n"
        + "\n".join(lines)
        + f"""

What is scored has finite pixels. The paper's network has {_first_channels(as_published)} channels in its first block and was trained far longer. **Not
reproduced** therefore means *not by this training*: it is no verdict on the paper's own weights. **Cannot
hold** is another matter: it comes with a derivation, which no training changes. **Contradicted by the
released code** means that this code does other than the text says. **Partly** means that some of a claim's
parts or specimens hold and some do not, and **not decided** that it is not measured for this method, not at
doses that could tell, or by fewer than {FEWEST} draws.

A comparison counts for a method only where its image shows something: where it correlates with the truth by
{SEEN:g} or more *inside* the specimen, and by more than an outline without structure does
({blank}). A comparison that not even the truth could win, because the rival is
at the end of the measure, counts for nobody. Every rule was tried with the truth in the place of the network: it
meets those of C2, C3, C6, C7, C9 and C10, and of C1 and C4 all but the rival's failure. Each network was trained
once, so n counts noise draws and not trainings (C13 apart).

Ptychography was measured by {where_run(study)}. The best at a dose is the best of those that ran
there; quantem's iterations and PtyRAD, which are other strong programs, were not run.
"""
    )


def _share(finding: Finding) -> str:
    """In how many of its comparisons a claim holds in part."""
    if finding.verdict == PARTLY and finding.share:
        return f" ({finding.share[0]} of {finding.share[1]})"
    return ""


def at_a_glance(claims: Sequence[Claim]) -> str:
    """Every claim in words, its verdict, and those on the methods beside, as a table."""

    def beside(claim: Claim, method: str) -> str:
        if method == claim.subject or method not in claim.findings:
            return "·"
        return MARKS[claim.findings[method].verdict][0]

    def drawn(finding: Finding) -> str:
        return "" if finding.n is None or finding.verdict == OPEN else str(finding.n)

    rows = [
        [
            claim.statement,
            f"{chip(claim.verdict)}{_share(finding)}",
            drawn(finding),
            beside(claim, "informed"),
            beside(claim, "direct"),
            claim.number,
        ]
        for claim in claims
        for finding in [claim.findings[claim.subject]]
    ]
    head = ["the paper says", "verdict", "n", "informed", "direct", ""]
    signs = ", ".join(f"{sign} {verdict}" for verdict, (sign, _) in MARKS.items())
    return (
        f"{table(head, rows)}\n\nThe verdict is that on the paper's network, n the fewest draws "
        "behind it. The next two columns are the verdicts on the informed network and on direct "
        f"ptychography: {signs}; a dot where a claim is not about methods."
    )


def one_by_one(claims: Sequence[Claim]) -> str:
    """Write a section for each claim: its measure, and what was found for each method."""
    sections = []
    for claim in claims:
        others = [m for m in claim.findings if m != claim.subject]
        findings = []
        for method in (claim.subject, *others):
            found = claim.findings[method]
            name = NAMES.get(method, method[:1].upper() + method[1:])
            verdict = f", {found.verdict}" if method else ""
            findings.append(f"* **{name}**{verdict}{_share(found)}: {for_readers(found.text)}.")
        sources = ", ".join(f"{{doc}}`{name}`" for name in claim.sources)
        sections.append(
            f"({anchor(claim.number)})=\n### {claim.statement} ({claim.number})\n\n"
            f"{chip(claim.verdict)}\n\n"
            f"*Paper {claim.section}; seen in {sources}.* {claim.measure}\n\n"
            + "\n".join(findings)
            + (f"\n\n{for_readers(claim.remark)}" if claim.remark else "")
        )
    return "\n\n".join(sections)


def record(claims: Sequence[Claim]) -> dict[str, Any]:
    """Every verdict with its findings, and what changed in it."""
    return {
        "claims": [
            {
                "number": claim.number,
                "section": claim.section,
                "statement": claim.statement,
                "verdict": claim.verdict,
                "subject": claim.subject,
                "findings": {method: asdict(finding) for method, finding in claim.findings.items()},
                "remark": claim.remark,
                "sources": claim.sources,
            }
            for claim in claims
        ],
        "what_changed": what_changed(claims),
    }


def seen(claims: Sequence[Claim]) -> str:
    """Write what was seen."""
    paper = [claim for claim in claims if claim.number.startswith("C")]
    code = [claim for claim in claims if claim.number.startswith("R")]

    def statements(chosen: Sequence[Claim]) -> str:
        return "; ".join(f"{claim.statement} ({claim.number})" for claim in chosen) or "none"

    def verdicts_on(method: str) -> str:
        return counted(c.findings[method].verdict for c in paper if method in c.findings)

    contradicted = [claim for claim in code if claim.verdict == CONTRADICTED]
    ruled_out = [claim for claim in paper if claim.verdict == CANNOT]
    needs_none = [
        claim
        for claim in paper
        if "direct" in claim.findings
        and claim.findings["direct"].verdict == REPRODUCED
        and claim.verdict != REPRODUCED
    ]
    reproduced = sum(claim.verdict == REPRODUCED for claim in paper)
    return f"""
The paper's networks as trained here reproduce {reproduced} of {len(paper)} claims.

* **Of {len(paper)} claims**, for the paper's networks as trained here: {counted(c.verdict for c in paper)}.
* **For the informed network**: {verdicts_on("informed")}. **For direct ptychography**:
  {verdicts_on("direct")}.
* **What no training can change**: {statements(ruled_out)}.
* **What needs no training**, reproduced by direct ptychography though not by the network as trained
  here: {statements(needs_none)}.
* **Of {len(code)} things that the text says of the simulations**, {len(contradicted)} are contradicted by
  the released code, which need not be the paper's own: {statements(contradicted)}.
"""
