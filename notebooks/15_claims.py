# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
#   language_info:
#     name: python
# ---

# %% [markdown]
# # The claims
#
# **What the paper says** (throughout). Fourteen claims can be measured, C1 to C14 in the numbering of
# [](../book/paper_map.md). Four more, R1 to R4, are what its text says of the simulations, held against
# the code that was released with it. The paper states that its exact codebase is not public, so that code
# need not be the one that made its figures.
#
# **What is measured here.** Nothing anew: this page reads the committed study and what the other chapters
# wrote, and judges it by the rules of `misr4d.companion.claims`. The verdict on a claim is one on the paper's network
# *as it could be trained here*, which the next cell describes. Beside it are the {term}`informed network` and
# {term}`direct ptychography`, which learns nothing. {term}`Ptychography <ptychography>`, the rival in most
# claims, is the best that was measured: py4DSTEM's, which is the paper's program, tuned on other specimens,
# or one of today's strongest.
#
# **How long it takes.** Seconds, once the chapters have run.

# %% tags=["parameters"]
upsampling: int = 3  # r, the refinement of the scan grid; paper §2.1.1

# %% tags=["hide-input"]
from misr4d.companion.parameters import check_parameters

check_parameters(globals())

# %% tags=["hide-input"]
import torch
from IPython.display import Markdown

from misr4d import MOLECULAR
from misr4d.companion import figures
from misr4d.companion.bench import read_study
from misr4d.companion.cases import where_run
from misr4d.companion.claims import judge_claims, read_results
from misr4d.companion.verdicts import (
    CANNOT,
    CONTRADICTED,
    FEWEST,
    MARKS,
    OPEN,
    PARTLY,
    REPRODUCED,
    SEEN,
    anchor,
    chip,
    counted,
    what_changed,
)
from misr4d.learn.learned import card, load_network, trained_detector
from misr4d.learn.networks import AttentionUNet

study = read_study()
claims = judge_claims(read_results(figures.output_folder()), study, MOLECULAR, upsampling)
paper = [claim for claim in claims if claim.number.startswith("C")]
code = [claim for claim in claims if claim.number.startswith("R")]


# %% tags=["remove-input"]
def first_channels(network):
    """Channels of the first convolution, which are those of the first block."""
    return next(p for p in network.parameters() if p.ndim == 4).shape[0]


lines = []
for name, label in (
    ("AttentionUNet", "attention U-Net (§2.1.1)"),
    ("DualPath", "dual path (§2.2)"),
):
    shipped = card(name)
    lines.append(
        f"* **{label}**: {shipped['parameters'] / 1e6:.2f} million parameters, "
        f"{first_channels(load_network(name))} channels in the first block, trained for "
        f"{shipped['seconds'] / 60:.0f} minutes on {shipped['device']}, on views of "
        f"{trained_detector(shipped)}"
    )
with torch.device("meta"):  # shapes without weights
    as_published = AttentionUNet(load_network("AttentionUNet").views)
Markdown(
    "The paper's networks, trained anew, because its weights are not available to us:\n\n"
    + "\n".join(lines)
    + f"""

What is scored has finite pixels. The paper's network has {first_channels(as_published)} channels in its first block and was trained far longer. **Not
reproduced** therefore means *not by this training*: it is no verdict on the paper's own weights. **Cannot
hold** is another matter: it comes with a derivation, which no training changes. **Contradicted by the
released code** means that this code does other than the text says. **Partly** means that some of a claim's
parts or specimens hold and some do not, and **not decided** that it is not measured for this method, not at
doses that could tell, or by fewer than {FEWEST} draws.

A comparison counts for a method only where its image shows something: where it correlates with the truth by
{SEEN:g} or more *inside* the specimen, since the outline of a specimen alone makes a high correlation over the
whole field. Ptychography was measured by {where_run(study)}. The best at a dose is the best of those that ran
there; quantem's iterations and PtyRAD, which are other strong programs, were not run.
"""
)

# %% [markdown]
# ## At a glance


# %% tags=["hide-input"]
def share(finding):
    """In how many of its comparisons a claim holds in part."""
    return (
        f" ({finding.share[0]} of {finding.share[1]})"
        if finding.verdict == PARTLY and finding.share
        else ""
    )


def drawn(finding):
    """The fewest draws behind a finding."""
    return "" if finding.n is None or finding.verdict == OPEN else f", n ≥ {finding.n}"


def beside(claim, method):
    if method == claim.subject or method not in claim.findings:
        return "·"
    finding = claim.findings[method]
    return f"{MARKS[finding.verdict][0]} {finding.verdict}{share(finding)}{drawn(finding)}"


def verdict(claim):
    finding = claim.findings[claim.subject]
    return f"{chip(claim.verdict)}{share(finding)}{drawn(finding)}"


table = [
    f"| {claim.statement} | {verdict(claim)} | {beside(claim, 'informed')} | "
    f"{beside(claim, 'direct')} | {claim.number} |"
    for claim in claims
]
Markdown(
    "| the paper says | verdict | informed network | direct ptychography | |\n|---|---|---|---|---|\n"
    + "\n".join(table)
)

# %% [markdown]
# ## One by one
#
# Numbers are medians; in brackets the quartiles of eight draws or more, the least and the largest of fewer,
# and n, the number of draws. At infinite dose there is no noise to draw, and n is 1. Each chapter is rerun by
# `papermill notebooks/NAME.ipynb out.ipynb`, and the study by `misr4d bench`.

# %% tags=["remove-input"]
NAMES = {"": "The released code", "informed": "Informed network", "direct": "Direct ptychography"}


def named(method):
    return NAMES[method] if method in NAMES else method[0].upper() + method[1:]


sections = []
for claim in claims:
    others = [m for m in claim.findings if m != claim.subject]
    findings = [
        f"* **{named(m)}**{f', {claim.findings[m].verdict}' if m else ''}{share(claim.findings[m])}: "
        f"{claim.findings[m].text}."
        for m in (claim.subject, *others)
    ]
    sources = ", ".join(f"{{doc}}`{name}`" for name in claim.sources)
    sections.append(
        f"({anchor(claim.number)})=\n### {claim.statement} ({claim.number})\n\n{chip(claim.verdict)}\n\n"
        f"*Paper {claim.section}; seen in {sources}.* {claim.measure}\n\n"
        + "\n".join(findings)
        + (f"\n\n{claim.remark}" if claim.remark else "")
    )
Markdown("\n\n".join(sections))

# %% [markdown]
# (verdicts-changed)=
# ## What changed
#
# Two readings of an earlier state of this book found that several verdicts rested on measures that cannot
# carry them. *Before* is what the page said then, *now* what it says by the rules above; new verdicts are
# bold. The last column says what changed in the judging, also where the verdict did not.

# %% tags=["remove-input"]
Markdown(what_changed(claims))

# %% tags=["remove-cell"]
figures.save_results(
    "15_claims",
    {
        "claims": [
            {
                "number": claim.number,
                "section": claim.section,
                "statement": claim.statement,
                "verdict": claim.verdict,
                "subject": claim.subject,
                "findings": {
                    method: {"verdict": f.verdict, "text": f.text, "share": f.share, "n": f.n}
                    for method, f in claim.findings.items()
                },
                "remark": claim.remark,
                "sources": claim.sources,
            }
            for claim in claims
        ],
        "what_changed": what_changed(claims),
    },
)


# %% tags=["remove-input"]
def statements(chosen):
    return "; ".join(f"{claim.statement} ({claim.number})" for claim in chosen) or "none"


def verdicts_on(method):
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
Markdown(
    f"""
## What was seen

* **Of {len(paper)} claims**, for the paper's networks as trained here: {counted(c.verdict for c in paper)}.
* **For the informed network**: {verdicts_on("informed")}. **For direct ptychography**:
  {verdicts_on("direct")}.
* **What no training can change**: {statements(ruled_out)}.
* **What needs no training**, reproduced by direct ptychography though not by the network as trained
  here: {statements(needs_none)}.
* **Of {len(code)} things that the text says of the simulations**, {len(contradicted)} are contradicted by
  the released code, which need not be the paper's own: {statements(contradicted)}.
"""
)

# %% [markdown]
# **Exercise.** Choose another threshold, such as `SEEN` in `misr4d.companion.verdicts` or `NEAR` in `misr4d.companion.chapter_claims`, and run this page
# again. Which verdicts depend on it?
#
# ```{dropdown} Solution
# `SEEN` can change every claim that asks for an image, since it says from where on one shows something;
# `KEPT` C14, `NEAR` C11, `TOLD` C8 and C11, `LEVEL` C5, `LATTICE` C1 and `SHELL` C4. The paper defines none
# of these words. C2 and C3 have its own numbers, C6 compares with ptychography alone, and C12 and R1 to R4
# rest on arithmetic.
# ```
