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
# # Line scans and contrast to noise
#
# **What the paper says** (§3.2, Fig. 4d–f). At 300 e⁻/Å² the network's line scans show peaks close to
# those of infinite-dose {term}`ptychography` ({term}`ptycho∞`), where low-dose ptychography is noise
# (claim C11), with more than three times its {term}`contrast to noise <CNR>` (claim C2, which does not
# define it).
#
# **What is measured here.** Profiles along the lines that the paper describes, horizontal for Li₂CoO₃
# and diagonal for Cu-Zr glass and apoferritin, of the paper's tuned ptychography (py4DSTEM), of direct
# ptychography, of the three networks and of the {term}`truth`, on the same electrons. Contrast to noise is
# taken {term}`inside the specimen`, between images of one resolution. A last measure asks how well each
# method tells the specimen from its surroundings along the line, which the paper claims of the glass.
#
# **How long it takes.** About two minutes on two cores, once the ptychography of
# {doc}`06_method_comparison` is in the cache; minutes more without it.

# %% tags=["parameters"]
dose: float = 300.0  # e⁻/Å²
draws: int = 8  # noise draws of every method but ptychography
ptychography_draws: int = 1  # of them, how many it has, at a minute each
seed: int = 0  # of the first draw

# %% tags=["hide-input"]
from misr4d.companion.parameters import check_parameters

check_parameters(globals())

# %% tags=["hide-input"]
import math
import textwrap

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Image, Markdown
from scipy.stats import mannwhitneyu

from misr4d import plotting
from misr4d.companion import bench, figures
from misr4d.companion.study import METHODS, make_scene
from misr4d.measure.metrics import (
    contrast_to_error,
    line_profile,
    peak_to_background,
    specimen_mask,
)
from misr4d.measure.summary import plain, select, summarise

plotting.use_style()
TRIO = ("Li2CoO3", "CuZr", "apoferritin")  # the paper's Fig. 4d–f
UNTRAINED = ("iDPC", "parallax", "ptychography", "direct")
NETWORKS = ("attention U-Net", "dual path", "informed")
MEASURED = (*UNTRAINED, *NETWORKS)


# %% [markdown]
# ## The lines
#
# The horizontal line on the crystal runs along the row of the truth with the highest mean phase inside it; the
# diagonals go through the middle. Profiles are averaged over one scan step across. For the surroundings
# the same line is drawn on to the edges of the field: the measure is the chance that a value inside the
# specimen is higher than one outside (the area under the ROC curve), 0.5 for an image that does not tell
# them apart. Gaps between columns are as dark as vacuum, so that the truth itself does not reach 1.

# %%
scenes, lines, profiles, table, pictures = {}, {}, {}, [], {}
for name in TRIO:
    scene = scenes[name] = make_scene(name)
    side, width = scene.acquisition.field[0], scene.acquisition.step[0]
    mask = specimen_mask(scene.truth, scene.pixel)
    margin = 12.0 if scene.specimen.regime == "atomic" else 50.0  # Å, ends inside the specimen
    if name == "Li2CoO3":
        row = torch.where(mask, scene.truth, 0.0).mean(1).argmax()
        across = [float(row) * scene.pixel[0]] * 2
    else:
        across = [margin, side - margin]
    lines[name] = ((across[0], margin), (across[1], side - margin))
    far = side - scene.pixel[0] - width  # the line on to the edges, less what it averages over
    edges = across if name == "Li2CoO3" else [width, far]
    on_to_the_edges = ((edges[0], width), (edges[1], far))

    def along(image, line, scene=scene, width=width):
        return line_profile(image, *line, scene.pixel, width=width)[1]

    inside = along(mask.double(), on_to_the_edges) >= 0.5
    distance, true_profile = line_profile(scene.truth, *lines[name], scene.pixel, width=width)
    profiles[name, "distance"] = distance

    def told_apart(image, inside=inside, line=on_to_the_edges, along=along):
        values = along(image, line)
        statistic = mannwhitneyu(values[inside], values[~inside]).statistic
        return float(statistic) / (int(inside.sum()) * int((~inside).sum()))

    def score_and_keep(image, method, draw, name=name, scene=scene, true=true_profile, along=along):
        profile = along(image, lines[name])
        profiles.setdefault((name, method), profile)
        pictures.setdefault((name, method), image)
        table.append(
            {
                "specimen": name,
                "method": method,
                "draw": draw,
                **(scores := bench.score_image(image, scene)),
                "contrast": contrast_to_error(scores["correlation"]),
                "peaks": peak_to_background(profile, true),
                "line": float(np.corrcoef(profile, true)[0, 1]),
                "surroundings": told_apart(image),
            }
        )

    profiles[name, "truth"], pictures[name, "truth"] = true_profile, scene.truth
    surroundings = told_apart(scene.truth)
    ideal = bench.score_image(scene.truth, scene)
    table.append(
        {
            "specimen": name,
            "method": "truth",
            "draw": 0,
            "surroundings": surroundings,
            **{key: ideal[key] for key in ("cnr", "cnr_raw")},
        }
    )
    score_and_keep(METHODS["ptychography"](scene.measure(math.inf, seed)), "ptycho∞", 0)
    for draw in range(draws):
        measurement = scene.measure(dose, seed + draw)
        for method in MEASURED:
            if method != "ptychography" or draw < ptychography_draws:
                score_and_keep(METHODS[method](measurement), method, draw)

# %% tags=["hide-input", "remove-output"]
COLUMNS = ("truth", "ptycho∞", "ptychography", "direct", *NETWORKS)
figure = plt.figure(figsize=(9.2, 4.6), layout="constrained")
grid = figure.subplots(len(TRIO), len(COLUMNS))
for row, name in zip(grid, TRIO, strict=True):
    scene = scenes[name]
    bar = 5.0 if scene.specimen.regime == "atomic" else 50.0
    for axes, column in zip(row, COLUMNS, strict=True):
        # Each image has its own grey limits: methods scale their phase differently.
        plotting.show_image(
            axes,
            pictures[name, column],
            scene.acquisition.field,
            title=column if name == TRIO[0] else "",
            bar=bar if column == COLUMNS[0] else None,
        )
        (x0, y0), (x1, y1) = lines[name]
        axes.plot([y0, y1], [x0, x1], color="#e69f00", lw=0.8)
        if column != "truth":
            (score,) = select(table, "correlation", specimen=name, method=column, draw=0)
            axes.set_xlabel(f"{score:.2f}".replace("-", "−"), fontsize=7, labelpad=1)
    row[0].set_ylabel(textwrap.fill(scene.specimen.short_title, 16))
figure.suptitle(plotting.dose_label(dose), fontsize=9)
path = figures.save(figure, "line_scan_images")
plt.close(figure)
Image(path)

# %% [markdown]
# ```{figure} ../figures/line_scan_images.png
# :name: fig-line-scan-images
# :alt: Truth and reconstructions of a crystal, a glass and a protein by six methods at low dose, with the line of the profile drawn on each
#
# The reconstructions behind the profiles of {numref}`fig-line-scans`, with the line on each. Under an image is
# its correlation with the truth inside the specimen. Grey limits are each image's own. Scale bars 5 Å
# and 50 Å.
# ```

# %% tags=["hide-input", "remove-output"]
figure = plt.figure(figsize=(7.4, 8.6), layout="constrained")
grid = figure.add_gridspec(6, 2, width_ratios=(1, 3.2))
LINES = (  # label, colour, style: above what is not trained, below what is
    (
        ("truth", "#000000", "-"),
        ("ptycho∞", plotting.METHOD_COLOURS["ptychography"], ":"),
        *((m, plotting.METHOD_COLOURS[m], "-") for m in ("ptychography", "direct")),
    ),
    (("truth", "#000000", "-"), *((m, plotting.METHOD_COLOURS[m], "-") for m in NETWORKS)),
)
handles = {}
for row, name in enumerate(TRIO):
    scene = scenes[name]
    left = figure.add_subplot(grid[2 * row : 2 * row + 2, 0])
    bar = 5.0 if scene.specimen.regime == "atomic" else 50.0
    title = f"{'def'[row]}: {scene.specimen.short_title}"
    plotting.show_image(left, scene.truth, scene.acquisition.field, title=title, bar=bar)
    (x0, y0), (x1, y1) = lines[name]
    left.plot([y0, y1], [x0, x1], color="#e69f00", lw=1.2)
    distance = profiles[name, "distance"]
    for part, shown in enumerate(LINES):
        right = figure.add_subplot(grid[2 * row + part, 1])
        # Means are removed: no method knows the mean phase.
        for label, colour, style in shown:
            profile = profiles[name, label]
            text = (
                label if label in ("truth", "ptycho∞") else f"{label}, {plotting.dose_label(dose)}"
            )
            (handles[text],) = right.plot(
                distance, profile - profile.mean(), style, color=colour, lw=1
            )
        right.set(ylabel="phase (rad)", xlim=(0, float(distance[-1])))
        if part == 0:
            right.tick_params(labelbottom=False)
right.set_xlabel("distance along the line (Å)")
figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3, fontsize=7.5)
path = figures.save(figure, "line_scans")
plt.close(figure)
Image(path)

# %% [markdown]
# ```{figure} ../figures/line_scans.png
# :name: fig-line-scans
# :alt: Line profiles of three specimens by ptychography, direct ptychography and three networks at low dose, by infinite-dose ptychography and of the truth
#
# Re-makes Fig. 4d–f. Left: the true phase and the line (scale bars 5 Å and 50 Å). Right: profiles in
# rad, each less its mean; of each pair the upper shows methods without training, the lower the networks.
# ```


# %% tags=["remove-input"]
KEYS = (
    "contrast",
    "cnr",
    "cnr_raw",
    "peaks",
    "line",
    "correlation",
    "correlation_field",
    "surroundings",
)


def values(name, method, key):
    return select(table, key, specimen=name, method=method)


def entry(name, method, key):
    if method == "truth" and key not in ("cnr", "cnr_raw", "surroundings"):
        return "·"
    return summarise(values(name, method, key)).text()


rows = "\n".join(
    f"| {scenes[name].specimen.short_title} | {method} | "
    + " | ".join(entry(name, method, key) for key in KEYS)
    + " |"
    for name in TRIO
    for method in (*MEASURED, "ptycho∞", "truth")
)
Markdown(
    f"At {dose:g} e⁻/Å²: median, and in brackets the spread and the number n of draws (quartiles from "
    "eight draws on, least to largest of fewer). Contrast over error: r/√(1 − r²), r being the correlation "
    "inside, to which the contrast of any two parts over what does not follow the truth is proportional. {term}`CNR` is |μ_s − μ_b|/σ_b between the brightest 5 % and "
    "the darkest 40 % of the truth inside the specimen, of images brought to one resolution; *raw* is that of "
    "the image as it is, which smoothing raises. Peaks: height of the true peaks over the true valleys along "
    "the line, over the spread at the valleys. Line: correlation of the profile with the true one. Inside and "
    "whole field: correlation of the image. Surroundings: how well the line tells specimen from vacuum, 0.5 "
    "for not at all.\n\n"
    "| specimen | method | contrast over error | CNR | raw CNR | peaks | line | inside | whole field | surroundings |\n"
    "|---|---|---|---|---|---|---|---|---|---|\n" + rows
)

# %% tags=["remove-cell"]
SAVED = ("cnr", "cnr_raw", "peaks", "line", "correlation", "correlation_field")
figures.save_results(
    "04_line_scans",
    {
        "dose": dose,
        "summary": [
            {
                "specimen": n,
                "method": m,
                "values": {key: plain(values(n, m, key)) for key in SAVED},
            }
            for n in TRIO
            for m in (*MEASURED, "ptycho∞")
        ],
        "surroundings": [
            {"specimen": n, "method": m, "values": plain(values(n, m, "surroundings"))}
            for n in TRIO
            for m in (*MEASURED, "ptycho∞", "truth")
        ],
    },
)


# %% tags=["remove-input"]
def middle(name, method, key):
    return summarise(values(name, method, key)).median


def each(method, key, reference):
    """A method's median over that of a reference, on each specimen."""
    return ", ".join(
        f"{middle(n, method, key) / middle(n, reference, key):.2f} "
        f"({scenes[n].specimen.short_title})"
        for n in TRIO
    )


def medians(method, key):
    return ", ".join(
        f"{middle(n, method, key):.2f} ({scenes[n].specimen.short_title})" for n in TRIO
    )


Markdown(
    f"""
## What was seen

* **Claim C2** depends on its baseline, and on what is called noise. Contrast over error inside the specimen at
  {dose:g} e⁻/Å², over that of *tuned* ptychography (py4DSTEM, the paper's program) on the same electrons: the paper's
  network {each("attention U-Net", "contrast", "ptychography")}; the informed network
  {each("informed", "contrast", "ptychography")}; direct ptychography, which is closed-form and untrained,
  {each("direct", "contrast", "ptychography")}. Stronger programs than py4DSTEM are in {{doc}}`06_method_comparison`.
* The usual contrast to noise cannot decide it. The spread of its background holds the specimen's own texture, so that
  the truth itself, with no noise at all, has {each("truth", "cnr", "ptychography")} times that of ptychography; and of
  the images as they are, smoothing raises it without showing more (see the exercise).
* **Claim C11**: peaks over those of the infinite-dose reference. The paper's network
  {each("attention U-Net", "peaks", "ptycho∞")}; the informed network {each("informed", "peaks", "ptycho∞")};
  direct ptychography {each("direct", "peaks", "ptycho∞")}.
* **Specimen and surroundings** (the same claim, of the glass). The line tells them apart with a chance of
  {middle("CuZr", "attention U-Net", "surroundings"):.2f} in the paper's network's image of Cu-Zr,
  {middle("CuZr", "informed", "surroundings"):.2f} in the informed network's,
  {middle("CuZr", "direct", "surroundings"):.2f} in direct ptychography's,
  {middle("CuZr", "ptychography", "surroundings"):.2f} in tuned ptychography's, and
  {middle("CuZr", "truth", "surroundings"):.2f} in the truth.
* Along the line the paper's network correlates {medians("attention U-Net", "line")} with the truth, the
  informed network {medians("informed", "line")}, direct ptychography {medians("direct", "line")}.
* The reference has faults of its own: infinite-dose ptychography correlates
  {medians("ptycho∞", "correlation")} with the truth inside the specimen. A network that is trained to look like it learns
  them too.
"""
)

# %% [markdown]
# **Exercise.** Smooth the direct images of apoferritin and of Li₂CoO₃ with a Gaussian of 1 Å standard
# deviation and measure the raw contrast to noise and the correlation inside again. Which rises, and where? Has
# anything been learned about it?
#
# ```{dropdown} Solution
# On the protein the contrast to noise rises while the correlation falls: the spread of the background
# shrinks by more than the broad peaks do. On the crystal both fall, since its columns are finer than the
# Gaussian and go with the noise. Nothing was learned in either case: smoothing throws information away.
# Contrast to noise is a fair measure only between images of equal resolution.
# ```
