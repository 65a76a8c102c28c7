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
# **What is measured here.** The same two questions, asked of methods with and without training. How do the
# correlation with the true projected {term}`phase` {term}`inside the specimen` and the ring correlation ({term}`FRC`)
# change with thickness? And how with the distance from the edge of a scan that ends inside the specimen? What the
# plain methods show too is not a property of the network. The curves against thickness read the committed study, in
# which every method sees the same counts, ptychography among them. The pictures, and all of the edge, count electrons
# in the bright disc's pixels alone: they are other {term}`draws <draw>` of the same detector.
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

# %% tags=["remove-cell"]
from misr4d.companion.parameters import check_parameters

check_parameters(globals())

from IPython.display import Image, Markdown

from misr4d import plotting
from misr4d.companion import figures
from misr4d.companion.chapters import thickness as page

plotting.use_style()

# %%
import math
from pathlib import Path

import torch

from misr4d.companion.bench import read_study
from misr4d.companion.study import METHODS, place
from misr4d.learn.configuration import Training
from misr4d.measure.metrics import correlation, specimen_mask
from misr4d.specimens.catalogue import make_specimen

# %% [markdown]
# ## Thickness
#
# All methods take the specimen for a single thin plane; its {term}`defocus` is counted from the middle. The
# networks were trained on specimens of 6 to 300 Å. What all are asked for is the projected phase. In truth
# the wave spreads on its way: at the rim of a 10 mrad cone a feature at the entrance of 200 Å is displaced
# by 2 Å against one at the exit, two of the finest periods ({term}`information limit`). And the specimen is
# no longer a {term}`weak phase object`: a heavy column turns the phase by radians.

# %%
for thickness in thicknesses:
    scene = place(make_specimen(crystal, thickness=thickness))
    inside = specimen_mask(scene.truth, scene.pixel)
    image = METHODS["direct"](scene.expose(math.inf, seed))
    span, fit = (
        float(scene.truth.max() - scene.truth.min()),
        correlation(image, scene.truth, within=inside),
    )
    print(
        f"{thickness / 10:g} nm: phase up to {span:.1f} rad; direct, ∞ dose, correlates {fit:.2f}"
    )

# %% tags=["remove-cell"]
rows = read_study(Path(study) if study else None)
found = page.Thickness(crystal, thicknesses, dose, seed, rows, with_ptychography)

# %% tags=["remove-cell"]
Image(figures.save(found.figure(), "thickness_images"))

# %% [markdown]
# ```{figure} ../figures/thickness_images.png
# :name: fig-thickness-images
# :alt: The crystal at four thicknesses and two doses by each method, above the truth
#
# The inner 32 Å of the crystal against thickness, each image scaled to unit standard deviation,
# because the true phase grows along a row. Under each image is its correlation with the truth inside the
# specimen; a negative one is the truth with its sign turned. Scale bar 5 Å.
# ```

# %% tags=["remove-cell"]
Image(figures.save(found.curves(), "thickness_curves"))

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
Markdown(found.table())

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


image = METHODS["direct"](filled.expose(dose, seed))
masks = {(low, high): (depth >= low) & (depth < high) for low, high in bands}
for (low, high), band in masks.items():
    print(f"{low:g} to {high:g} Å: {correlation(image, known, within=band):.2f}")

# %% tags=["remove-cell"]
edge = page.Edge(filled, masks, dose, draws, seed)

# %% tags=["remove-cell"]
Image(figures.save(edge.figure(), "edge_of_the_field"))

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

# %% tags=["remove-cell"]
hidden = page.hidden_effects(crystal, CASES, dose, 3, seed)

# %% tags=["remove-input"]
Markdown(page.hidden_table(crystal, hidden, dose))

# %% tags=["remove-cell"]
cases = [{"case": case, "method": method} | scores for (case, method), scores in hidden.items()]
results = {"hidden": cases, "thickness": found.record(), "edge": edge.record()}
figures.save_results("08_thickness_and_field", results)

# %% [markdown]
# ## What was seen

# %% tags=["remove-input"]
Markdown(page.seen(found, edge, hidden))

# %% [markdown]
# **Exercise.** At which thickness does the spread of a 10 mrad cone reach the finest period λ/2α?
#
# ```{dropdown} Solution
# A feature at depth z below the focal plane is displaced by z·α between axis and rim. With the focus
# in the middle of a slab of thickness t, the outermost features move by α·t/2 = λ/2α, so
# t = λ/α² = 0.0197 Å / 10⁻⁴ ≈ 197 Å: the 20 nm of the paper is just where it ends.
# ```
