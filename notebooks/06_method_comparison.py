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
# # Methods compared
#
# **What the paper says** (§3.3, Fig. 5). At 1000 e⁻/Å² on Li₂CoO₃, Cu-Zr glass and apoferritin, 4D-MISR
# beats the {term}`virtual bright field`, {term}`iDPC`, {term}`parallax` and {term}`ptychography` (claim C10).
#
# **What is measured here.** The four established methods of the paper, each at its best,
# {term}`direct ptychography` in three forms, and the networks of {doc}`02_training`, on the same electrons.
# Iterative ptychography is tuned per dose on other specimens, because its defaults are far from its
# best, and stronger programs stand beside the paper's. None of the specimens was seen in a training or a
# tuning. A table then holds the informed network to goals that were set before it was trained. The page
# makes the pictures. Curves, tables and goals read the committed study.
#
# **How long it takes.** A few minutes on two cores the first time, nearly all of it iterative
# ptychography. Its images are kept by a hash of everything that enters: a second run is a minute.

# %% tags=["parameters"]
dose: float = 1000.0  # e⁻/Å² of the pictures
seed: int = 0  # of the pictures' noise draw
study: str = ""  # folder that `misr4d bench` wrote, instead of the committed study

# %% tags=["hide-input"]
from misr4d.companion.parameters import check_parameters

check_parameters(globals())

# %% tags=["hide-input"]
import json
import math
import textwrap
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Image, Markdown

from misr4d import plotting
from misr4d.companion import bench, figures
from misr4d.companion.cases import CLASSICAL
from misr4d.companion.comparison import read_levels
from misr4d.companion.goals import as_records, as_table, judge_goals
from misr4d.companion.study import METHODS, UPSAMPLING, make_scene
from misr4d.learn.learned import SHIPPED, card
from misr4d.measure.metrics import correlation, dose_to_reach, specimen_mask
from misr4d.measure.summary import plain, select, summarise
from misr4d.reconstruction.classical import iterative_dpc, ptychography
from misr4d.reconstruction.tuned import PtychographySettings, ptychography_tuning

plotting.use_style()
TRIO = ("Li2CoO3", "CuZr", "apoferritin")  # the paper's Fig. 5

# %% [markdown]
# ## Every method at its best
#
# All of them see the same counted patterns. What each is told, and what was tuned:
#
# * **Summed VBF**: the views added as they are; nothing to tune.
# * **iDPC** {cite}`lazic2016`: the centre of mass, integrated in Fourier form; nothing to tune. py4DSTEM integrates it
#   iteratively on a padded field instead, and its numbers stand below. The defocus that the views
#   need blurs it: iDPC is at its best in focus, and is shown here on the measurement that the others
#   share.
# * **Parallax** (py4DSTEM): registered by the known defocus, merged on the ×3 grid, signs of the
#   transfer function flipped.
# * **Ptychography** (py4DSTEM, single slice), the paper's program: probe known and held; step size, updates per iteration,
#   iterations, object type, a filter and the object that it starts from chosen per dose by
#   `benchmarks/tune_ptychography.py` on draws of the training corpus that no training has seen, by their
#   correlation with the truth inside the specimen and ring by ring.
# * **phaserEM** and **quantem direct**, where the study has them: programs of today, the first iterative, on the
#   same counts, with the true parameters, their settings tuned like those of py4DSTEM's (`benchmarks/peers`).
#   quantem's iterations were not tuned, and so not run. The best of all these programs is what this page calls ptychography at its best.
#   PtyRAD was not run: its release 1.0.0 does not import on Python 3.11, and on 3.12 it needs torchvision, beside
#   which PyPI has PyTorch for graphics cards alone, several gigabytes of it.
# * **SSB, OBF, direct**: direct ptychography with the weights of the single side band ({term}`SSB`
#   {cite}`rodenburg1993`) and of the optimum bright field ({term}`OBF` {cite}`ooe2021`), and the joint
#   least-squares solution with the {term}`prior` spectrum read off the noisy data.
# * **Networks** ({doc}`02_training`), as shipped: the attention U-Net works on the raw views as in the
#   paper but is narrower; the dual path, where its weights are shipped, fuses views that are encoded one
#   by one; the informed network starts from the direct estimate.
# * **Refined** ({doc}`12_refinement`): the informed network's image, refined by the counts themselves.

# %% tags=["remove-input"]
choice = ptychography_tuning()["choice"]
rows = "\n".join(
    f"| {row['regime']} | {plotting.dose_label(float(row['dose']))} | {row['step_size']:g} | "
    f"{row['batches']} | {row['iterations']} | {row['object_type']} | "
    f"{'none' if row['lowpass'] is None else format(row['lowpass'], 'g') + ' Å⁻¹'} | "
    f"{row['start']} | {row['score']:.2f} |"
    for row in choice
)
Markdown(
    "What the tuning chose; the score is the mean of correlation inside the specimen and "
    "truth-weighted ring correlation, over the tuning draws:\n\n"
    "| regime | dose | step size | updates an iteration | iterations | object | filter | start | score |\n"
    "|---|---|---|---|---|---|---|---|---|\n" + rows
)

# %% tags=["remove-input"]
rows = bench.read_study(Path(study) if study else None)
table = [row for row in rows if row.get("thickness") is None]
peers = list(dict.fromkeys(row["method"] for row in table if row["method"] not in METHODS))
tuned = json.loads((bench.STUDY_FOLDER / "peers_tuning.json").read_text(encoding="utf-8"))["choice"]
Markdown(
    "No peer was stopped while it still gained: the second half of the epochs that were tried adds "
    f"less than {bench.GAIN:g} to the tuning's score. Chosen epochs: "
    + "; ".join(
        f"{row['peer']}, {row['regime']}, {row['dose']:g} e⁻/Å²: {row['epochs']} of {row['grids']['epochs'][-1]}"
        for row in tuned
        if len(row["grids"]["epochs"]) > 1
    )
    + "."
)

# %%
PROGRAMS = ["ptychography", *peers]
MEASURED = [*METHODS, *peers]

# %% [markdown]
# ## The methods at one dose

# %% tags=["hide-input"]
NETWORKS = [method for method in METHODS if method not in CLASSICAL]
# SSB and OBF look like direct ptychography, and have their numbers below.
PLAIN = [method for method in CLASSICAL if method not in ("SSB", "OBF")]
PEER = "phaserEM"  # whose images the study holds, of the first draw
SHOWN = [*PLAIN, *NETWORKS]
stored = read_levels(bench.STUDY_FOLDER / "peers_images.npz") if seed == 0 else {}
pictures, scenes, inside, iterated, scored = {}, {}, {}, {}, {}


def fit(image, name):
    """Correlation with the truth inside the specimen."""
    return correlation(image, scenes[name].truth, within=inside[name])


for name in TRIO:
    scene = scenes[name] = make_scene(name)
    inside[name] = specimen_mask(scene.truth, scene.pixel)
    measurement = scene.measure(dose, seed)
    for method in SHOWN:
        pictures[name, method] = METHODS[method](measurement)
    if (name, dose) in stored:
        pictures[name, PEER] = stored[name, dose]
    again = iterative_dpc(measurement.whole, scene.acquisition, UPSAMPLING)
    iterated[name] = fit(again, name)
    exact = scene.measure(math.inf, seed)
    pictures[name, "ptycho∞"] = METHODS["ptychography"](exact)
    pictures[name, "truth"] = scene.truth
    if name == TRIO[0]:
        untuned = ptychography(
            measurement.whole, scene.midplane, UPSAMPLING, PtychographySettings(batches=1)
        )
scored = {(n, m): fit(image, n) for (n, m), image in pictures.items() if m != "truth"}


def unit(image):
    """An image scaled to zero mean and unit standard deviation."""
    return (image - image.mean()) / image.std()


# %% tags=["hide-input", "remove-output"]
with_peer = [PEER] if any(method == PEER for _, method in pictures) else []
lines = [[*PLAIN, *with_peer], [*NETWORKS, "ptycho∞", "truth"]]
width = max(len(line) for line in lines)
figure = plt.figure(figsize=(1.7 * width + 0.4, 12.2), layout="constrained")
grid = figure.subplots(2 * len(TRIO), width)
for axes in grid.flat:
    axes.set_axis_off()
for block, name in enumerate(TRIO):
    scene = scenes[name]
    bar = 5.0 if scene.specimen.regime == "atomic" else 50.0
    shown = {}
    for column in (column for line in lines for column in line if (name, column) in pictures):
        inner, field = plotting.middle(pictures[name, column], scene.acquisition.field, 0.75)
        shown[column] = unit(inner)
    limits = plotting.display_limits(list(shown.values()), 0.5)
    for row, line in zip(grid[2 * block :], lines, strict=False):
        for axes, column in zip(row, line, strict=False):
            if column not in shown:
                continue
            axes.set_axis_on()
            first = column == lines[0][0]
            plotting.show_image(
                axes,
                shown[column],
                field,
                title=column,
                limits=limits,
                bar=bar if first else None,
            )
            if (name, column) in scored:
                note = f"{scored[name, column]:.2f}".replace("-", "−")
                axes.set_xlabel(note, fontsize=7, labelpad=1)
    grid[2 * block, 0].set_ylabel(textwrap.fill(scene.specimen.short_title, 20))
figure.suptitle(plotting.dose_label(dose), fontsize=9)
path = figures.save(figure, "method_comparison")
plt.close(figure)
Image(path)

# %% [markdown]
# ```{figure} ../figures/method_comparison.png
# :name: fig-method-comparison
# :alt: Three specimens by each method at one dose, beside ptychography at infinite dose and the truth
#
# Re-makes Fig. 5. Two rows a specimen, the inner three quarters of each side: methods that learn nothing, then the networks and two references.
# Every image is scaled to zero mean and unit standard deviation, because the methods have different
# units; a specimen's images share their grey limits. Under each is its correlation with the truth
# {term}`inside the specimen`; a negative one is the truth with its sign turned. *Ptychography* is
# py4DSTEM's, the paper's program, and *ptycho∞* the same at infinite dose, the paper's reference. Scale
# bars 5 Å and 50 Å.
# ```

# %% [markdown]
# ## Against dose, with spread


# %% tags=["hide-input"]
def values(name, method, level, column="correlation"):
    return select(table, column, specimen=name, method=method, dose=level)


def median(name, method, level, column="correlation"):
    drawn = values(name, method, level, column)
    return summarise(drawn).median if drawn else math.nan


levels = sorted({float(row["dose"]) for row in table})
finite = [d for d in levels if math.isfinite(d)]

# %% tags=["hide-input", "remove-output"]
figure, grid = plt.subplots(2, len(TRIO), figsize=(9.0, 5.2), layout="constrained", sharex=True)
for column, name in enumerate(TRIO):
    scene = scenes[name]
    for row, key in enumerate(("correlation", "resolution")):
        axes = grid[row, column]
        for method in MEASURED:
            drawn = [(d, summarise(v)) for d in finite if (v := values(name, method, d, key))]
            points = [(d, v.low, v.median, v.high) for d, v in drawn if math.isfinite(v.median)]
            if not points:
                continue
            x, low, middle, high = np.array(points).T
            colour = plotting.METHOD_COLOURS[method]
            marker = "D-" if method in PROGRAMS else "s-" if method in NETWORKS else "o-"
            axes.plot(x, middle, marker, color=colour, ms=3, label=method)
            axes.fill_between(
                x, low, np.where(np.isfinite(high), high, middle), color=colour, alpha=0.2, lw=0
            )
        axes.set_xscale("log")
    grid[0, column].set_title(scene.specimen.short_title)
    axes = grid[1, column]
    for value, text in (
        (scene.acquisition.nyquist_period(), "Nyquist of a view"),
        (scene.acquisition.nyquist_period(UPSAMPLING), "Nyquist of the ×3 image"),
        (scene.acquisition.information_limit, "λ/2α"),
    ):
        plotting.mark_limit(axes, value, text)
    axes.set(xlabel="dose (e⁻/Å²)", yscale="log")
    axes.set_yticks([0.7, 1, 2, 5, 10, 20, 50], ["0.7", "1", "2", "5", "10", "20", "50"])
    axes.yaxis.set_minor_formatter("")
    axes.set_xticks(finite, [f"{d:g}" for d in finite])
    axes.xaxis.set_minor_formatter("")
grid[0, 0].set_ylabel("correlation inside the specimen")
grid[1, 0].set_ylabel("resolution (Å)")
figure.legend(
    *grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=6, fontsize=7
)
path = figures.save(figure, "method_curves")
plt.close(figure)
Image(path)

# %% [markdown]
# ```{figure} ../figures/method_curves.png
# :name: fig-method-curves
# :alt: Correlation and resolution against dose for every method and three specimens, with physical limits
#
# Correlation inside the specimen (top) and resolution (bottom) against dose: medians over the noise draws of the
# study, with the quartiles of eight draws or more and the least to largest of fewer. Resolution is the
# finest period up to which every {term}`ring with power <ring with power>` correlates with the truth by one half.
# Squares: networks. Diamonds: ptychography by other programs. Dashed: limits. A method below
# one half in the first ring with power has no point. SSB, OBF and direct nearly coincide below: they weigh the
# same electrons, and a ring correlation is blind to weights that depend on |q| alone.
# ```


# %% tags=["remove-input"]
def text(name, method, level, column, word=None):
    drawn = values(name, method, level, column)
    return summarise(drawn).text(word=word) if drawn else "·"


head = "| specimen | method | " + " | ".join(map(plotting.dose_label, levels)) + " |"
lines = [
    f"| {scenes[name].specimen.short_title} | {method} | "
    + " | ".join(text(name, method, d, "correlation") for d in levels)
    + " |"
    for name in TRIO
    for method in MEASURED
    if any(values(name, method, d) for d in levels)
]
Markdown(
    "Correlation inside the specimen: median, and in brackets the spread and the number n of "
    "draws (quartiles from eight draws on, least to largest of fewer):\n\n"
    + "\n".join([head, "|---" * (2 + len(levels)) + "|", *lines])
)

# %% tags=["remove-input"]
COLUMNS = {
    "correlation_field": ("whole field", None),
    "weighted_frc": ("weighted FRC", None),
    "ceiling": ("ceiling", None),
    "resolution": ("resolution", plotting.period_label),
    "last_ring": ("last ring", plotting.period_label),
    "cnr": ("CNR", None),
    "cnr_raw": ("raw CNR", None),
}
compared = [d for d in finite if any(values(n, "ptychography", d) for n in TRIO)]
nearest = min(compared or finite, key=lambda d: abs(math.log(d / dose)))
lines = [
    f"| {scenes[name].specimen.short_title} | {method} | "
    + " | ".join(text(name, method, nearest, key, word) for key, (_, word) in COLUMNS.items())
    + " |"
    for name in TRIO
    for method in MEASURED
    if values(name, method, nearest)
]
Markdown(
    f"The other measures at {plotting.dose_label(nearest)}. *Whole field* is the correlation that "
    "includes the outline. *Weighted FRC* is the mean ring correlation, weighted by the truth's power. "
    "The {term}`ceiling` is the correlation that the best filter of the image would reach. *Last ring* "
    "is the finest ring with power that correlates by one half or more. {term}`CNR` is between images of "
    "one resolution, *raw* without this:\n\n"
    + "\n".join(
        [
            "| specimen | method | " + " | ".join(title for title, _ in COLUMNS.values()) + " |",
            "|---" * (2 + len(COLUMNS)) + "|",
            *lines,
        ]
    )
)

# %% [markdown]
# ## Goals
#
# What the informed network was asked to reach, set before it was trained, and what the table above and
# the cards of the shipped weights say. Methods are compared draw by draw on the same electrons. Every
# difference has its spread and its number of draws beside it. A resolution is compared as a frequency, in
# which a method that resolves nothing has zero. *Not decided* means that the study's doses do not reach
# far enough down to tell.

# %% tags=["remove-input"]
goals = judge_goals(table, {name: card(name) for name in SHIPPED})
Markdown(as_table(goals))

# %% tags=["remove-cell"]
figures.save_results(
    "06_method_comparison",
    {
        "dose": dose,
        "goals": as_records(goals),
        "pictures": [
            {"specimen": n, "method": m, "correlation": value} for (n, m), value in scored.items()
        ],
        "values": [
            {
                "specimen": n,
                "method": m,
                "dose": str(d),
                "values": {key: plain(values(n, m, d, key)) for key in ("correlation", *COLUMNS)},
            }
            for n in TRIO
            for m in MEASURED
            for d in levels
            if values(n, m, d)
        ],
    },
)

# %% tags=["remove-input"]
SIGNS = {"correlation": 1, "weighted_frc": 1, "resolution": -1}
WORDS = {"correlation": "correlation", "weighted_frc": "weighted FRC", "resolution": "resolution"}
established = ("summed VBF", "iDPC", "parallax", *PROGRAMS)
OURS = ("direct", *NETWORKS)


def best(methods, name, level, column):
    """The best median of some methods, and whose it is."""
    ran = [m for m in methods if values(name, m, level)]
    return max((SIGNS[column] * median(name, m, level, column), m) for m in ran)


def rank(name):
    """Methods by what they show: an inverted image shows the truth, so its sign does not count."""
    ran = [m for m in MEASURED if values(name, m, nearest)]
    words = []
    for m in sorted(ran, key=lambda m: -abs(median(name, m, nearest))):
        turned = summarise(values(name, m, nearest, "inverted")).median > 0.5
        number = f"{median(name, m, nearest):.2f}".replace("-", "−")
        words.append(f"{m} {number}{' (inverted)' if turned else ''}")
    return ", ".join(words)


won = {
    column: [
        (name, best(PROGRAMS, name, nearest, column), best(OURS, name, nearest, column))
        for name in TRIO
        if any(values(name, m, nearest) for m in PROGRAMS)
    ]
    for column in SIGNS
}
beaten = "; ".join(
    f"by {WORDS[column]} "
    + ", ".join(f"{theirs[1]} on {scenes[n].specimen.short_title}" for n, theirs, _ in lost)
    for column, found in won.items()
    if (lost := [(n, theirs, ours) for n, theirs, ours in found if theirs[0] > ours[0]])
)
opening = (
    f"* **At {nearest:g} e⁻/Å² ptychography by another program is ahead of every method of this study**: {beaten}.\n"
    if beaten
    else ""
)
least = min(compared or finite)
needed, finest = [], []
for name in TRIO:
    at = [d for d in finite if values(name, "direct", d)]
    curve = torch.tensor([median(name, "direct", d) for d in at])
    target, whose = best(PROGRAMS, name, least, "correlation")
    dose_needed = dose_to_reach(torch.tensor(at), curve, target)
    shown = (
        f"less than {at[0]:g}"
        if dose_needed == 0
        else f"more than {at[-1]:g}"
        if math.isinf(dose_needed)
        else f"{dose_needed:.0f}"
    )
    needed.append(f"{shown} on {scenes[name].specimen.short_title} ({whose})")
    theirs = -best(PROGRAMS, name, least, "resolution")[0]
    finest.append(
        f"{plotting.period_label(median(name, 'direct', least, 'resolution'))} against "
        f"{plotting.period_label(theirs)}"
    )
ahead = {
    m: sum(median(n, m, nearest) > best(established, n, nearest, "correlation")[0] for n in TRIO)
    for m in OURS
}
over_direct = {
    m: sum(median(n, m, nearest) > median(n, "direct", nearest) for n in TRIO) for m in NETWORKS
}
verdicts = [goal.verdict for goal in goals]
tuned = scored[TRIO[0], "ptychography"]
plainly = fit(untuned, TRIO[0])
Markdown(
    f"""
## What was seen

{opening}* Ranked by correlation inside the specimen at {nearest:g} e⁻/Å². An inverted image shows the truth with its
  sign turned, and is ranked by how well it shows it:

"""
    + "\n".join(f"  * {scenes[name].specimen.short_title}: {rank(name)}" for name in TRIO)
    + f"""

* **Tuning decides.** With py4DSTEM's defaults (8 iterations of one update at step size 0.5)
  ptychography reaches {plainly:.2f} inside {scenes[TRIO[0]].specimen.short_title} at {dose:g} e⁻/Å²; tuned on other specimens, {tuned:.2f}.
  A comparison with an untuned ptychography compares with its settings.
* **Two ways to integrate.** iDPC in Fourier form correlates
  {", ".join(f"{scored[n, 'iDPC']:.2f}" for n in TRIO)} inside the three at
  {dose:g} e⁻/Å², py4DSTEM's iterative integration {", ".join(f"{iterated[n]:.2f}" for n in TRIO)}.
* **Electrons saved** (claim C3 is 60 % fewer, for the network). To reach the correlation that the best
  ptychography has at {least:g} e⁻/Å², direct ptychography needs
  {", ".join(needed)} e⁻/Å². The answer depends on the measure: at {least:g} e⁻/Å² the
  resolution of direct against the best ptychography is {", ".join(finest)}.
* **Claim C10**, for the networks shipped here. At {nearest:g} e⁻/Å² the established methods, ptychography at
  its best among them, are behind direct ptychography, which needs no training, on {ahead["direct"]} of
  {len(TRIO)} specimens by correlation, and behind the networks thus:
  {", ".join(f"{m} on {ahead[m]}" for m in NETWORKS)}. Ahead of direct
  ptychography are {", ".join(f"{m} on {over_direct[m]}" for m in NETWORKS)}. The
  attention U-Net is narrower than the paper's and was trained for
  {card("AttentionUNet")["seconds"] / 60:.0f} minutes on {card("AttentionUNet")["device"]}, so this is no
  verdict on the paper's own weights.
* **Goals.** Of {len(goals)}, {verdicts.count("met")} are met, {verdicts.count("not met")} are not, and
  {verdicts.count("not decided")} cannot be decided from the study's doses.
"""
)

# %% [markdown]
# **Exercise.** iDPC integrates 4096 centres of mass, each measured with all electrons of its
# position. Why does it still lose to direct ptychography, which sees the same electrons?
#
# ```{dropdown} Solution
# A centre of mass keeps two numbers of a pattern. With defocus, most of the phase information sits in
# the fine structure of the pattern, where neighbouring detector pixels carry opposite signs: summed
# into a centre of mass it cancels. And each position's noise is integrated: at low frequency 1/q turns
# it into clouds.
# ```
