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
# # Thickness, and the edge of the field
#
# **What the paper says** (§3.2). From 2 to 20 nm thickness its reconstruction and ptychography both degrade,
# its own less (claim C6), and the reconstruction is best in the centre of the field of view (claim C5).
#
# **What is measured here.** The same two questions, asked of methods with and without training: how
# the correlation with the true projected {term}`phase` {term}`inside the specimen` and the ring correlation
# ({term}`FRC`) change with thickness, and with the distance from the edge of a scan that ends inside the
# specimen. What the plain methods show too is not a property of the network. The curves against thickness read
# the committed study, in which every method sees the same counts, ptychography among them. The pictures,
# and all of the edge, count electrons in the bright disc's pixels alone: they are other draws of the same
# detector.
#
# **How long it takes.** About a minute on two cores. Pictures by ptychography are left out unless
# `with_ptychography` is set: it takes minutes for each thickness.

# %% tags=["parameters"]
crystal: str = "Li2CoO3"  # scanned in the atomic regime
thicknesses: list[float] = [20.0, 50.0, 100.0, 200.0]  # Å along the beam, of the pictures
dose: float = 300.0  # e⁻/Å², finite; infinite dose is added
draws: int = 8  # noise draws of the edge
seed: int = 0  # of the first draw
with_ptychography: bool = False  # also draw ptychography at every thickness
study: str = ""  # folder that `misr4d bench` wrote, instead of the committed study

# %% tags=["hide-input"]
from misr4d.companion.parameters import check_parameters

check_parameters(globals())

# %% tags=["hide-input"]
import math
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Image, Markdown

from misr4d import ATOMIC, plotting
from misr4d.companion import bench, figures
from misr4d.companion.study import METHODS, make_scene, place
from misr4d.learn.configuration import Training
from misr4d.learn.examples import DETECTOR_BIAS
from misr4d.measure.metrics import correlation, specimen_mask
from misr4d.measure.spectra import score_rings
from misr4d.measure.summary import plain, select, summarise
from misr4d.specimens.catalogue import make_specimen

plotting.use_style()
MEASURED = ("summed VBF", "parallax", "direct", "attention U-Net", "dual path", "informed")

# %% [markdown]
# ## Thickness
#
# All methods take the specimen for a single thin plane; its {term}`defocus` is counted from the middle. The
# networks were trained on specimens of 6 to 300 Å. What all are asked for is the projected phase. In truth
# the wave spreads on its way: at the rim of a 10 mrad cone a feature at the entrance of 200 Å is displaced
# by 2 Å against one at the exit, two of the finest periods ({term}`information limit`). And the specimen is
# no longer a {term}`weak phase object`: a heavy column turns the phase by radians.


# %%
rows = bench.read_study(Path(study) if study else None)
# A row without a thickness has the specimen's own, which is in whole cells.
whole = make_specimen(crystal).thickness
usual = [t for t in thicknesses if make_specimen(crystal, thickness=t).thickness == whole]
series = [
    {**row, "thickness": row.get("thickness") or (usual[0] if usual else whole)}
    for row in rows
    if row["specimen"] == crystal
]
measured, images, truths = [], {}, {}
for thickness in thicknesses:
    scene = make_scene(crystal, thickness)
    truths[thickness] = scene.truth
    for level in (dose, math.inf):
        exposed = scene.expose(level, seed)
        made = {method: METHODS[method](exposed) for method in MEASURED}
        if with_ptychography:
            made["ptychography"] = METHODS["ptychography"](scene.measure(level, seed))
        for method, image in made.items():
            images[method, thickness, level] = image
            row = {"method": method, "thickness": thickness, "dose": level}
            measured.append(row | bench.score_image(image, scene))
make_scene.cache_clear()
pictured = [*MEASURED, *(["ptychography"] if with_ptychography else [])]


def values(method, thickness, level, key="correlation"):
    """Draws of a measure: the study's, or if it has none at this dose those of the pictures."""
    studied = any(float(row["dose"]) == level for row in series)
    where = {"method": method, "thickness": thickness, "dose": level}
    return select(series if studied else measured, key, **where)


def median(method, thickness, level, key="correlation"):
    drawn = values(method, thickness, level, key)
    return summarise(drawn).median if drawn else math.nan


# %% tags=["hide-input", "remove-output"]
def unit(image):
    """The inner half, so that columns can be told apart, at unit contrast; and its size."""
    inner, field = plotting.middle(image, ATOMIC.field, 0.5)
    return (inner - inner.mean()) / inner.std(), field


pictures, notes = [], []
for method in pictured:
    # Each image has its own contrast: the true phase grows tenfold along a row.
    row = [unit(images[method, t, level])[0] for level in (dose, math.inf) for t in thicknesses]
    pictures.append((method, row))
    scores = [
        select(measured, "correlation", method=method, thickness=t, dose=level)[0]
        for level in (dose, math.inf)
        for t in thicknesses
    ]
    notes.append([f"{score:.2f}".replace("-", "−") for score in scores])
pictures.append(("truth", [unit(truths[t])[0] for t in thicknesses] * 2))
notes.append([""] * len(pictures[-1][1]))
half = unit(truths[thicknesses[0]])[1]
labels = [
    f"{t / 10:g} nm\n{plotting.dose_label(level)}"
    for level in (dose, math.inf)
    for t in thicknesses
]
figure = plotting.image_grid(pictures, labels, half, bar=5.0, notes=notes)
path = figures.save(figure, "thickness_images")
Image(path)

# %% [markdown]
# ```{figure} ../figures/thickness_images.png
# :name: fig-thickness-images
# :alt: The crystal at four thicknesses and two doses by each method, above the truth
#
# The inner 32 Å of the crystal against thickness, each image scaled to unit standard deviation,
# because the true phase grows along a row. Under each image is its correlation with the truth inside the
# specimen; a negative one is the truth with its sign turned. Scale bar 5 Å.
# ```


# %% tags=["hide-input", "remove-output"]
CURVES = ["summed VBF", "parallax", "ptychography", "direct", *MEASURED[3:]]
KEYS = {
    "correlation": "correlation inside the specimen",
    "weighted_frc": "weighted FRC",
    "resolution": "resolution (Å)",
}
every = sorted({*thicknesses, *(row["thickness"] for row in series)})
figure, grid = plt.subplots(2, 3, figsize=(9.2, 5.0), layout="constrained", sharex=True)
for row, level in zip(grid, (dose, math.inf), strict=True):
    for axes, (key, name) in zip(row, KEYS.items(), strict=True):
        for method in CURVES:
            drawn = [(t, summarise(v)) for t in every if (v := values(method, t, level, key))]
            points = [(t / 10, v.low, v.median, v.high) for t, v in drawn]
            points = [point for point in points if math.isfinite(point[2])]
            if len(points) < 2:
                continue
            colour = plotting.METHOD_COLOURS[method]
            x, low, middle, high = np.array(points).T
            axes.plot(x, middle, "o-", color=colour, ms=3, label=method)
            high = np.where(np.isfinite(high), high, middle)
            axes.fill_between(x, low, high, color=colour, alpha=0.2, lw=0)
        axes.set_xticks([t / 10 for t in every], [f"{t / 10:g}" for t in every])
        axes.set_ylabel(name)
    row[0].set_title(plotting.dose_label(level), loc="left")
    plotting.mark_limit(row[2], ATOMIC.information_limit, "λ/2α", far=True)
    row[2].set_yscale("log")
    row[2].set_yticks([1, 2, 4, 6], ["1", "2", "4", "6"])
    row[2].yaxis.set_minor_formatter("")
for axes in grid[1]:
    axes.set_xlabel("thickness (nm)")
figure.legend(
    *grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=7
)
path = figures.save(figure, "thickness_curves")
plt.close(figure)
Image(path)

# %% [markdown]
# ```{figure} ../figures/thickness_curves.png
# :name: fig-thickness-curves
# :alt: Correlation, weighted ring correlation and resolution against thickness for each method at two doses
#
# Correlation inside the specimen, ring correlation weighted by the truth's power, and the finest period up to
# which every {term}`ring with power <ring with power>` holds, against thickness: medians over the draws, with
# the quartiles of eight or more and the least to largest of fewer. A method without a point resolves nothing.
# ```

# %% tags=["remove-input"]
lines = [
    f"| {method} | {plotting.dose_label(level)} | "
    + " | ".join(
        summarise(v).text() if (v := values(method, t, level, "correlation")) else "·"
        for t in every
    )
    + " |"
    for method in CURVES
    for level in (dose, math.inf)
    if any(values(method, t, level) for t in every)
]
Markdown(
    "Correlation inside the specimen: median, and in brackets the spread and the number n of draws:\n\n"
    "| method | dose | "
    + " | ".join(f"{t / 10:g} nm" for t in every)
    + " |\n"
    + "|---" * (2 + len(every))
    + "|\n"
    + "\n".join(lines)
)

# %% [markdown]
# ## Centre against edge
#
# A real scan ends inside the specimen. Views are displaced by up to 5 Å, so that near the edge some of
# them look at matter that others never see, and every Fourier method here joins opposite edges, where
# the specimen does not continue. The crystal now fills a cell of 96 Å, of which 64 Å are scanned.

# %%
filled = place(make_specimen(crystal, 96.0, border=0.0))
known = filled.truth

index = torch.arange(known.shape[0]) + 0.5
inward = torch.minimum(index, known.shape[0] - index) * filled.pixel[0]
depth = torch.minimum(inward[:, None], inward[None, :])  # Å from the nearest edge
bands = [(0.0, 2.5), (2.5, 5.0), (5.0, 10.0), (10.0, 20.0), (20.0, 32.0)]  # Å

edge_table, edge_images = [], {}
for level in (dose, math.inf):
    for draw in range(1 if math.isinf(level) else draws):
        measurement = filled.expose(level, seed + draw)
        for method in MEASURED:
            image = METHODS[method](measurement)
            edge_images.setdefault((method, level), image)
            for low, high in bands:
                band = (depth >= low) & (depth < high)
                row = {"method": method, "dose": level, "draw": draw, "band": (low, high)}
                edge_table.append(row | {"correlation": correlation(image, known, within=band)})

# %% tags=["hide-input", "remove-output"]
PICTURES = (
    ("direct", dose),
    ("direct", math.inf),
    ("attention U-Net", math.inf),
    ("informed", math.inf),
)
figure = plt.figure(figsize=(7.4, 4.6), layout="constrained")
top, bottom = figure.subfigures(2, 1, height_ratios=(1, 1.35))
pictures = top.subplots(1, len(PICTURES) + 1)
centred = known - known.mean()
limits = plotting.display_limits([centred])
field = filled.acquisition.field
for ax, key in zip(pictures[:-1], PICTURES, strict=True):
    first = ax is pictures[0]
    title = f"{key[0]}\n{plotting.dose_label(key[1])}"
    plotting.show_image(
        ax, edge_images[key], field, title=title, limits=limits, bar=20 if first else None
    )
plotting.show_image(pictures[-1], centred, field, title="truth", limits=limits)


def band_values(method, level, band):
    return select(edge_table, "correlation", method=method, dose=level, band=band)


def band_median(method, level, band):
    return summarise(band_values(method, level, band)).median


curves = bottom.subplots(1, 2, sharey=True)
for axes, level in zip(curves, (dose, math.inf), strict=True):
    for method in MEASURED:
        x = [sum(band) / 2 for band in bands]
        y = [band_median(method, level, band) for band in bands]
        axes.plot(x, y, "o-", color=plotting.METHOD_COLOURS[method], ms=3, label=method)
    axes.axvline(ATOMIC.largest_view_shift, color="0.6", ls="--", lw=0.8)
    axes.set(xlabel="distance from the edge (Å)", title=plotting.dose_label(level))
curves[0].set_ylabel("correlation")
curves[0].annotate(
    "largest shift\nof a view",
    (ATOMIC.largest_view_shift, 0.14),
    xycoords=("data", "axes fraction"),
    fontsize=6.5,
    color="0.4",
    xytext=(3, 0),
    textcoords="offset points",
)
bottom.legend(
    *curves[0].get_legend_handles_labels(), loc="outside lower center", ncols=6, fontsize=7
)
path = figures.save(figure, "edge_of_the_field")
plt.close(figure)
Image(path)

# %% [markdown]
# ```{figure} ../figures/edge_of_the_field.png
# :name: fig-edge-of-the-field
# :alt: A crystal that goes on beyond the scan, and the correlation with the truth against the distance from the edge of the field
#
# A scan that ends inside the crystal. Above: reconstructions and truth under the same grey limits, scale
# bar 20 Å. Below: correlation with the truth in frames at a distance from the nearest edge.
# ```

# %% [markdown]
# ## What static atoms, a point source and a noiseless detector hide
#
# Everything that this book scores has atoms that stand still, a point source, and a detector that counts
# electrons and adds nothing of its own. The *training* of the networks is not so kind: a third of its
# samples have the Gaussian noise of §2.1.2 on top of the counts, and those given as views also an offset
# that each pixel keeps. The targets of the training, and what is scored against, are the true projected
# phase and not the paper's ptychography at infinite dose.
#
# Here each of the three is switched on, on the same electrons (same seeds). *Thermal motion* multiplies
# each atom's projected potential by the {math}`\exp(-2\pi^2u^2q^2)` of its time average; u = 0.08 Å along
# an axis is our choice, B = 8π²u² ≈ 0.5 Å² being typical of oxides at room temperature. The *source* is a
# Gaussian in the plane of the specimen, summed incoherently before the scan samples it. The *detector's
# noise* is the largest of the training's. The image is compared with the phase that is true in each case:
# with thermal motion the time average.

# %%
U, SOURCE = 0.08, 0.35  # Å: u along an axis; a source of 0.82 Å full width at half maximum
NOISE = Training().detector_noise  # electrons a pixel and position
CASES = {
    "none": {},
    "thermal motion": {"thermal": U},
    "source size": {"source": SOURCE},
    "detector noise": {"noise": NOISE},
    "all three": {"thermal": U, "source": SOURCE, "noise": NOISE},
}
HIDDEN_DRAWS = 3
IDEAL_METHODS = ("direct", "informed")

hidden = {}
for case, options in CASES.items():
    still = {k: v for k, v in options.items() if k != "noise"}
    scene = place(make_specimen(crystal), **still)
    noise = options.get("noise", 0.0)
    inside = specimen_mask(scene.truth, scene.pixel)
    for method in IDEAL_METHODS:
        hidden[case, method] = {"correlation": [], "weighted_frc": []}
    for draw in range(HIDDEN_DRAWS):
        measurement = scene.expose(dose, seed + draw, noise=noise, bias=DETECTOR_BIAS * noise)
        for method in IDEAL_METHODS:
            image = METHODS[method](measurement)
            scores = hidden[case, method]
            scores["correlation"].append(correlation(image, scene.truth, within=inside))
            scores["weighted_frc"].append(score_rings(image, scene.truth, scene.pixel).weighted)

# %% tags=["remove-input"]
lines = [
    f"| {case} | "
    + " | ".join(
        summarise(hidden[case, method][key]).text()
        for method in IDEAL_METHODS
        for key in ("correlation", "weighted_frc")
    )
    + " |"
    for case in CASES
]
Markdown(
    f"{make_specimen(crystal).short_title} at {dose:g} e⁻/Å²: median (least to largest).\n\n| switched on | "
    + " | ".join(f"{m}: {k}" for m in IDEAL_METHODS for k in ("correlation inside", "weighted FRC"))
    + " |\n|---|---|---|---|---|\n"
    + "\n".join(lines)
)

# %% tags=["remove-cell"]
figures.save_results(
    "08_thickness_and_field",
    {
        "hidden": [
            {"case": case, "method": method} | scores for (case, method), scores in hidden.items()
        ],
        "thickness": [
            {
                "specimen": crystal,
                "method": m,
                "thickness": t,
                "dose": str(level),
                "values": {
                    key: plain(values(m, t, level, key))
                    for key in ("correlation", "correlation_field", "weighted_frc", "resolution")
                },
            }
            for m in CURVES
            for t in every
            for level in (dose, math.inf)
            if values(m, t, level)
        ],
        "edge": [
            {
                "method": m,
                "dose": str(level),
                "band": band,
                "values": plain(band_values(m, level, band)),
            }
            for m in MEASURED
            for level in (dose, math.inf)
            for band in bands
        ],
    },
)

# %% tags=["remove-input"]
thin, paper_thick, thick = min(every), max(thicknesses), max(every)
best = max((t for t in every if values("direct", t, dose)), key=lambda t: median("direct", t, dose))


def change(case, method, key):
    """Median against that of the ideal measurement."""
    values = (summarise(hidden[c, method][key]).median for c in (case, "none"))
    return f"{next(values) - next(values):+.2f}".replace("-", "−")


hides = "; ".join(
    f"{case} {change(case, 'direct', 'correlation')} and {change(case, 'informed', 'correlation')}"
    for case in CASES
    if case != "none"
)


def period(method, thickness, level):
    return plotting.period_label(median(method, thickness, level, "resolution"))


outer, inner = bands[0], bands[-1]
NAMES = {
    "attention U-Net": "the paper's network",
    "dual path": "the dual path",
    "informed": "the informed network",
    "direct": "direct ptychography",
    "ptychography": "tuned ptychography (py4DSTEM, the paper's program)",
}


def course(method, key):
    return ", ".join(
        f"{median(method, t, dose, key):.2f} at {t / 10:g} nm"
        for t in sorted({thin, paper_thick, thick})
        if values(method, t, dose)
    ).replace("-", "−")


ran = {m: name for m, name in NAMES.items() if values(m, thin, dose) and values(m, thick, dose)}
against_thickness = "; ".join(
    f"{name} {course(method, 'correlation')}" for method, name in ran.items()
)
by_rings = "; ".join(f"{name} {course(method, 'weighted_frc')}" for method, name in ran.items())
against_edge = "; ".join(
    f"{name} {band_median(method, dose, outer):.2f} within {outer[1]:g} Å of the edge, "
    f"{band_median(method, dose, inner):.2f} in the centre"
    for method, name in NAMES.items()
    if method in MEASURED
)
Markdown(
    f"""
## What was seen

* **Claim C6.** Correlation with the projected phase inside the specimen at {dose:g} e⁻/Å²:
  {against_thickness}. Ring correlation weighted by the truth's power: {by_rings}.
* Direct ptychography is best at {best / 10:g} nm there. At infinite dose it goes from
  {median("direct", thin, math.inf):.2f} to {median("direct", thick, math.inf):.2f}, its resolution
  from {period("direct", thin, math.inf)} to {period("direct", thick, math.inf)}. More electrons do not help: what
  is lost is lost to multiple scattering and to the spread of the cone, not to noise. Over the whole field the
  outline of the patch alone correlates, so that a featureless image looks like a success there.
* **Claim C5.** Correlation at {dose:g} e⁻/Å²: {against_edge}. The frame that suffers is as wide as the
  largest displacement of a view: it follows from defocus and aperture, with a network and without.
* **What is idealised.** Correlation inside {crystal} at {dose:g} e⁻/Å² changes, for direct ptychography and
  the informed network, by: {hides} (medians of {HIDDEN_DRAWS} draws). Scores on other pages are for still atoms,
  a point source and a detector that only counts.
"""
)

# %% [markdown]
# **Exercise.** At which thickness does the spread of a 10 mrad cone reach the finest period λ/2α?
#
# ```{dropdown} Solution
# A feature at depth z below the focal plane is displaced by z·α between axis and rim. With the focus
# in the middle of a slab of thickness t, the outermost features move by α·t/2 = λ/2α, so
# t = λ/α² = 0.0197 Å / 10⁻⁴ ≈ 197 Å: the 20 nm of the paper is just where it ends.
# ```
