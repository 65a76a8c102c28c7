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
# # Ablations
#
# **What the paper says** (§2). {term}`Attention gates <attention gate>` weigh the skips (§2.1.1, Eq. 2). A 1×1
# convolution after the {term}`pixel shuffle` removes {term}`checkerboards <checkerboard>` (claim C12). Noise drawn anew in every epoch prevents overfitting
# (§2.1.2, claim C13). The fusion takes any number of views (§2.2, claim C14).
#
# **What is measured here.** A small attention U-Net is trained again and again with one thing changed:
# its input, its gates, its head, its noise, its loss. Every variant sees the same specimens in the same
# number of steps. The trainings take minutes each, so they were run once by `benchmarks/ablate.py`, and
# this page reads its record; what one shipped network does to checkerboards, and how the fusion fares
# with fewer and larger detector pixels, is computed here. The record holds correlations over the whole
# field; what is computed here is taken {term}`inside the specimen`. The electrons are counted in the bright
# disc's pixels alone: other draws than the study's, of the same detector.
#
# **How long it takes.** A minute on two cores; the trainings, most of an hour on one.

# %% tags=["parameters"]
crystal: str = "Li2CoO3"  # held out, for the number of views
dose: float = 300.0  # e⁻/Å²
draws: int = 8  # noise draws behind each median
seed: int = 0  # of the first draw

# %% tags=["hide-input"]
from misr4d.companion.parameters import check_parameters

check_parameters(globals())

# %% tags=["hide-input"]
import json
from dataclasses import replace
from importlib.resources import files

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Image, Markdown

from misr4d import plotting
from misr4d.companion import figures
from misr4d.companion.chapter_claims import any_number, checkerboards, fresh_noise
from misr4d.companion.study import METHODS, UPSAMPLING, place
from misr4d.learn.learned import load_network
from misr4d.measure.metrics import checkerboard, correlation, specimen_mask
from misr4d.measure.summary import plain, summarise
from misr4d.specimens.catalogue import make_specimen

plotting.use_style()
record = json.loads((files("misr4d") / "data" / "ablations.json").read_text(encoding="utf-8"))
BASE, VARIANTS, RESULTS = "as the paper", list(record["variants"]), record["results"]
CRYSTALS = list(dict.fromkeys(s["group"] for s in RESULTS[0]["scores"] if s["group"] != "unseen"))
REPEATS = sorted({result["seed"] for result in RESULTS})


def values(variant, key, group="unseen"):
    """A measure of every scored image of a variant, training by training."""
    return np.array(
        [
            [np.nan if s[key] is None else s[key] for s in result["scores"] if s["group"] == group]
            for result in RESULTS
            if result["variant"] == variant
        ]
    )


def medians(numbers):
    """Median of each training."""
    return [summarise(row).median for row in numbers]


# %% [markdown]
# ## One thing changed at a time

# %% tags=["remove-input"]
base = record["base"]
minutes = sum(result["core_seconds"] for result in RESULTS) / 60 / len(RESULTS)
Markdown(
    f"""
Width {base["width"]}, {base["depth"]} blocks, {base["steps"]} steps of {base["batch"]} samples from
{base["specimens"]} specimens at {base["doses"][0]:g} to {base["doses"][1]:g} e⁻/Å², {minutes:.1f} minutes
of one core each on average, {len(REPEATS)} trainings of every variant. Scored at {record["dose"]:g} e⁻/Å²
on {values(BASE, "correlation").shape[1]} specimens of the training's kind that no variant saw, and on
{len(CRYSTALS)} of the paper's. These networks are small and far from converged: read the differences.
{"Training and scoring here are of *point pixels*, unlike the rest of the book." if record["pixel_samples"] == 1 else ""}
"""
)

# %% tags=["hide-input", "remove-output"]
figure, grid = plt.subplots(1, 2, figsize=(9.2, 3.3), layout="constrained", sharey=True)
rows = np.arange(len(VARIANTS))[::-1]
for axes, groups, title in (
    (grid[0], ["unseen"], "specimens of the training's kind"),
    (grid[1], CRYSTALS, "specimens of the paper"),
):
    for row, variant in zip(rows, VARIANTS, strict=True):
        found = np.concatenate([values(variant, "correlation", g) for g in groups], 1)
        spread = summarise(found.ravel())
        colour = "#000000" if variant == BASE else "#0072b2"
        axes.plot([spread.low, spread.high], [row, row], color=colour, lw=1.2)
        axes.plot(spread.median, row, "o", color=colour, ms=5)
        axes.plot(medians(found), np.full(len(found), row), "|", color="#d55e00", ms=9)
    axes.axvline(
        summarise(
            np.concatenate([values(BASE, "correlation", g) for g in groups], 1).ravel()
        ).median,
        color="0.6",
        ls="--",
        lw=0.8,
    )
    axes.set(xlabel="correlation with the truth, whole field", title=title)
grid[0].set_yticks(rows, VARIANTS)
path = figures.save(figure, "ablations")
plt.close(figure)
Image(path)

# %% [markdown]
# ```{figure} ../figures/ablations.png
# :name: fig-ablations
# :alt: Correlation with the truth of eight variants of a small attention U-Net, on unseen specimens and on three of the paper
#
# Each row is the network as the paper describes it with one thing changed. Dot and line: median and
# quartiles over images and trainings; orange ticks: the median of each training. Dashed: as
# the paper.
# ```


# %% tags=["remove-input"]
def paired(variant, group="unseen"):
    """Differences from the base on the same images and electrons."""
    return values(variant, "correlation", group) - values(BASE, "correlation", group)


def text(numbers, digits=3, *, sign=False):
    """Median with quartiles and n over images and trainings; what has no value is left out."""
    return summarise(numbers[np.isfinite(numbers)]).text(digits, sign=sign)


lines = []
for variant in VARIANTS:
    change = "–" if variant == BASE else text(paired(variant), sign=True)
    paper = [summarise(values(variant, "correlation", g).ravel()).median for g in CRYSTALS]
    size = next(r["parameters"] for r in RESULTS if r["variant"] == variant)
    lines.append(
        f"| {variant} | {size / 1e6:.3f} M | {text(values(variant, 'correlation'))} | "
        f"{change} | " + " | ".join(f"{v:.2f}" for v in paper) + " |"
    )
Markdown(
    "Correlation with the truth over the whole field: median (quartiles, n), difference from *as the paper* on the "
    "same images, and medians on the paper's specimens:\n\n"
    "| variant | parameters | unseen | difference | "
    + " | ".join(CRYSTALS)
    + " |\n"
    + "|---" * (4 + len(CRYSTALS))
    + "|\n"
    + "\n".join(lines)
)

# %% [markdown]
# ## Checkerboards (C12)
#
# After a pixel shuffle to *one* channel, a 1×1 convolution has one weight and one bias: the image is
# multiplied by a number and shifted by another. No pattern can be removed by that; whatever it does
# happens in training, through the convolution *before* the shuffle. The 3×3 smoothing of the released
# code can remove one. Measured is the power of what repeats every three pixels over that of the
# neighbouring frequencies, as geometric mean: 1 is none.

# %% tags=["hide-input"]
specimen = make_specimen(crystal)
scene = place(specimen)
network = load_network("AttentionUNet")
seen = {}
hooks = [
    network.shuffle.register_forward_hook(lambda m, i, o: seen.update(before=o[0, 0])),
    network.head.register_forward_hook(lambda m, i, o: seen.update(after=o[0, 0])),
]
with torch.inference_mode():
    network(scene.expose(dose, seed).views[None])
for hook in hooks:
    hook.remove()
before, after = (checkerboard(seen[k], UPSAMPLING) for k in ("before", "after"))
HEADS = {"as the paper": "1×1", "3×3 head": "3×3", "no head": "none"}

# %% tags=["remove-input"]
lines = [
    f"| {label} | {text(values(variant, 'checkerboard'), 2)} | "
    + ", ".join(f"{v:.2f}" for v in medians(values(variant, "checkerboard")))
    + " |"
    for variant, label in HEADS.items()
]
Markdown(
    "| layer after the shuffle | checkerboard: median (quartiles, n) | of each training |\n"
    "|---|---|---|\n" + "\n".join(lines) + f"\n\nThe shipped attention U-Net on "
    f"{specimen.short_title} at {plotting.dose_label(dose)}: {before:.4f} before its 1×1 convolution, "
    f"{after:.4f} after it."
)

# %% [markdown]
# ## Noise drawn anew, or once (C13)

# %% tags=["remove-input"]
gaps = {
    variant: np.array(
        [[r["loss_seen"], r["loss_unseen"]] for r in RESULTS if r["variant"] == variant]
    )
    for variant in (BASE, "fixed noise")
}
lines = [
    f"| {label} | "
    + ", ".join(f"{v:.3f}" for v in gaps[variant][:, 0])
    + " | "
    + ", ".join(f"{v:.3f}" for v in gaps[variant][:, 1])
    + " | "
    + ", ".join(f"{v:+.3f}" for v in gaps[variant][:, 1] - gaps[variant][:, 0])
    + " |"
    for variant, label in ((BASE, "drawn anew each time"), ("fixed noise", "drawn once"))
]
Markdown(
    "Loss of every training on the samples that it saw, and on other specimens with other noise:\n\n"
    "| noise of the training | seen | unseen | gap |\n|---|---|---|---|\n" + "\n".join(lines)
)

# %% [markdown]
# ## Any number of views (C14)
#
# The {term}`dual path` knows where each view looks, so one set of weights takes any detector. The bright disc
# is cut into fewer and larger pixels, which see the same electrons.

# %% tags=["hide-input"]
within = specimen_mask(scene.truth, scene.pixel)
counted = {}
for factor in (1.0, 1.5, 2.0, 3.0, 4.0):
    wide = factor * scene.acquisition.detector_pixel
    coarse = replace(scene, acquisition=replace(scene.acquisition, detector_pixel=wide))
    for draw in range(draws):
        measurement = coarse.expose(dose, seed + draw)
        for label in ("direct", "dual path"):
            value = correlation(METHODS[label](measurement), scene.truth, within=within)
            counted.setdefault((label, len(measurement.views)), []).append(value)
numbers = sorted({m for _, m in counted}, reverse=True)

# %% tags=["remove-input"]
head = "| method | " + " | ".join(f"{m} views" for m in numbers) + " |\n"
lines = [
    f"| {label} | " + " | ".join(summarise(counted[label, m]).text() for m in numbers) + " |"
    for label in ("direct", "dual path")
]
Markdown(
    f"Correlation inside the specimen, median with its spread and n, of {specimen.short_title} at {plotting.dose_label(dose)}:\n\n"
    + head
    + "|---" * (1 + len(numbers))
    + "|\n"
    + "\n".join(lines)
)

# %% tags=["remove-cell"]
measured = {
    "difference_from_the_paper": {v: plain(paired(v).ravel()) for v in VARIANTS if v != BASE},
    "checkerboard": {label: plain(values(v, "checkerboard").ravel()) for v, label in HEADS.items()},
    "checkerboard_before_and_after_the_1x1": (before, after),
    "loss_seen_and_unseen": {k: v.tolist() for k, v in gaps.items()},
    "views": [
        {"method": label, "views": m, "values": plain(drawn)}
        for (label, m), drawn in counted.items()
    ],
}
figures.save_results("10_ablations", measured)


# %% tags=["remove-input"]
def verdict(variant):
    """Better or worse only if the quartiles of the paired differences and every training agree."""
    spread, each = summarise(paired(variant).ravel()), np.array(medians(paired(variant)))
    if spread.low > 0 and (each > 0).all():
        return "better"
    return "worse" if spread.high < 0 and (each < 0).all() else "no different beyond the spread"


# The claims page says the same, from the same results.
C12, C13, C14 = (
    rule({"10_ablations": measured}) for rule in (checkerboards, fresh_noise, any_number)
)
Markdown(
    """
## What was seen

* **Against the network as the paper has it**, on unseen specimens, the correlation of: """
    + "; ".join(
        f"*{v}* is {verdict(v)}, {text(paired(v), sign=True)}" for v in VARIANTS if v != BASE
    )
    + f""".
* {C12.sentence}
* {C13.sentence}
* {C14.sentence}
"""
)

# %% [markdown]
# **Exercise.** Which layer could remove a checkerboard, and what would it cost?
#
# ```{dropdown} Solution
# One that mixes pixels of different places in the 3×3 block: a 3×3 convolution after the shuffle, or
# one kernel for all nine channels before it. A kernel that blurs out the period of three pixels also
# damps what the specimen has at that frequency: at 1/3 Å a pixel that is 1 Å⁻¹, the information limit.
# ```
