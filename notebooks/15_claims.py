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
# the code that was released with it.
#
# **What is measured here.** Nothing anew: this page reads what the other chapters wrote and judges it by
# the rules of `misr4d.claims`. The verdict on a claim is one on the paper's network *as it could be
# trained here*, which the next cell describes. Beside it stand the {term}`informed network` and
# {term}`direct ptychography`, which learns nothing. {term}`Ptychography <ptychography>`, the rival in most
# claims, is tuned on other specimens
# and has one noise draw.
#
# **How long it takes.** Seconds, once the chapters have run.

# %% tags=["parameters"]
upsampling: int = 3  # r, the refinement of the scan grid; paper §2.1.1

# %% tags=["hide-input"]
from misr4d.parameters import check_parameters

check_parameters(globals())

# %% tags=["hide-input"]
import torch
from IPython.display import Markdown

from misr4d import MOLECULAR, figures
from misr4d.bench import read_table
from misr4d.claims import (
    CANNOT,
    MARKS,
    PARTLY,
    REPRODUCED,
    anchor,
    chip,
    counted,
    judge,
    read_results,
)
from misr4d.learned import card, load_network
from misr4d.networks import AttentionUNet

folder = figures.output_folder()
results = read_results(folder)
claims = judge(results, read_table(folder / "bench"), MOLECULAR, upsampling)


# %% tags=["remove-input"]
def first_channels(network):
    """Channels of the first convolution, which are those of the first block."""
    return next(p for p in network.parameters() if p.ndim == 4).shape[0]


lines = []
for name, label in (
    ("AttentionUNet", "attention U-Net (§2.1.1)"),
    ("DualPath", "dual path (§2.2)"),
):
    one = card(name)
    lines.append(
        f"* **{label}**: {one['parameters'] / 1e6:.2f} million parameters, "
        f"{first_channels(load_network(name))} channels in the first block, trained for "
        f"{one['seconds'] / 60:.0f} minutes on {one['device']}"
    )
with torch.device("meta"):  # shapes without weights
    as_published = AttentionUNet(load_network("AttentionUNet").views)
Markdown(
    "The paper's networks, trained anew, because its weights are not available to us:\n\n"
    + "\n".join(lines)
    + f"""

The paper's has {first_channels(as_published)} channels in its first block and was trained far longer. **Not
reproduced** therefore means *not by this training*: it is no verdict on the paper's own weights. **Cannot
hold** is another matter: it comes with a derivation, which no training changes. **Partly** means that some
of a claim's parts or specimens hold and some do not, and **not decided** that no chapter measures it for
this method, or none at doses that could tell.
"""
)

# %% [markdown]
# ## At a glance


# %% tags=["hide-input"]
def share(found):
    """In how many of its comparisons a claim holds in part."""
    return (
        f" ({found.share[0]} of {found.share[1]})"
        if found.verdict == PARTLY and found.share
        else ""
    )


def beside(claim, method):
    if method == claim.subject or method not in claim.findings:
        return "·"
    found = claim.findings[method]
    return f"{MARKS[found.verdict][0]} {found.verdict}{share(found)}"


table = [
    f"| {claim.number} | {claim.statement} | {chip(claim.verdict)}{share(claim.findings[claim.subject])} | "
    f"{beside(claim, 'informed')} | "
    f"{beside(claim, 'direct')} |"
    for claim in claims
]
Markdown(
    "| | the paper says | verdict | informed network | direct ptychography |\n|---|---|---|---|---|\n"
    + "\n".join(table)
)

# %% [markdown]
# ## One by one
#
# Numbers are medians with their quartiles in brackets; a number without brackets is of one draw, or its
# quartiles are equal. Each chapter is rerun by `papermill notebooks/NAME.ipynb out.ipynb`, and the table
# of {doc}`06_method_comparison` by `misr4d bench`.

# %% tags=["remove-input"]
NAMES = {"": "The released code", "informed": "Informed network", "direct": "Direct ptychography"}


def named(method):
    return NAMES[method] if method in NAMES else method[0].upper() + method[1:]


sections = []
for claim in claims:
    others = [m for m in claim.findings if m != claim.subject]
    found = [
        f"* **{named(m)}**, {claim.findings[m].verdict}{share(claim.findings[m])}: {claim.findings[m].text}."
        for m in (claim.subject, *others)
    ]
    sources = ", ".join(f"{{doc}}`{name}`" for name in claim.sources)
    sections.append(
        f"({anchor(claim.number)})=\n### {claim.number}. {claim.statement}\n\n{chip(claim.verdict)}\n\n"
        f"*Paper {claim.section}; measured in {sources}.* {claim.measure}\n\n"
        + "\n".join(found)
        + (f"\n\n{claim.remark}" if claim.remark else "")
    )
Markdown("\n\n".join(sections))

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
                "findings": {m: [f.verdict, f.text] for m, f in claim.findings.items()},
                "sources": claim.sources,
            }
            for claim in claims
        ]
    },
)

# %% tags=["remove-input"]
paper = [claim for claim in claims if claim.number.startswith("C")]
code = [claim for claim in claims if claim.number.startswith("R")]


def numbers(chosen):
    return ", ".join(claim.number for claim in chosen) or "none"


astray = [claim for claim in code if claim.verdict == CANNOT]
ruled_out = [claim for claim in paper if claim.verdict == CANNOT]
ahead = [
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
* **For the informed network**: {counted(c.findings["informed"].verdict for c in paper if "informed" in c.findings)}.
  **For direct ptychography**: {counted(c.findings["direct"].verdict for c in paper if "direct" in c.findings)}.
* **What no training can change**: {numbers(ruled_out)}.
* **What needs no training**, reproduced by direct ptychography though not by the network as trained
  here: {numbers(ahead)}.
* **Of {len(code)} things that the text says of the simulations**, {len(astray)} do not describe the released
  code: {numbers(astray)}.
"""
)

# %% [markdown]
# **Exercise.** Choose another threshold in `misr4d.claims`, such as `KEPT` or `NEAR`, and run this page
# again. Which verdicts depend on it?
#
# ```{dropdown} Solution
# `KEPT` can change C6 and C14, `NEAR` C11, `LEVEL` C5; `LATTICE`, `SHELL` and `SEEN` C1, C4 and C8. The
# paper defines none of these words. C2 and C3 have its own numbers, and C9, C12 and R1 to R4 rest on
# arithmetic: they stay as they are.
# ```
