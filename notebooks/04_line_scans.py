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
# (claim C11). Its {term}`contrast to noise <CNR>`, which the paper does not define, is more than three
# times as high (claim C2).
#
# **What is measured here.** Profiles along the lines that the paper describes: horizontal for Li₂CoO₃,
# diagonal for Cu-Zr glass and apoferritin. They are of the paper's tuned ptychography (py4DSTEM), of
# direct ptychography, of the three networks and of the {term}`truth`, on the same electrons. Contrast to
# noise is taken {term}`inside the specimen`, between images of one resolution. A last measure asks how
# well each method tells the specimen from its surroundings along the line, which the paper claims of the
# glass.
#
# **How long it takes.** About two minutes on two cores. Images by ptychography are read back from the
# study where it keeps them (300 e⁻/Å², three {term}`draws <draw>`); others take minutes more, once.

# %% tags=["parameters"]
dose: float = 300.0  # e⁻/Å²
draws: int = 8  # noise draws of every method but ptychography
ptychography_draws: int = 1  # of them, how many it has, at a minute each
seed: int = 0  # of the first draw

# %% tags=["remove-cell"]
from misr4d.companion.parameters import check_parameters

check_parameters(globals())

from IPython.display import Image, Markdown

from misr4d import plotting
from misr4d.companion import figures
from misr4d.companion.chapters import line_scans as page

plotting.use_style()

# %%
import math

import numpy as np
from scipy.stats import mannwhitneyu

from misr4d.companion.study import METHODS, make_scene
from misr4d.measure.metrics import contrast_to_error, correlation, line_profile, specimen_mask

TRIO = ("Li2CoO3", "CuZr", "apoferritin")  # the paper's Fig. 4d–f

# %% [markdown]
# ## The lines
#
# The horizontal line on the crystal runs along the row of the truth with the highest mean phase inside it; the
# diagonals go through the middle. Profiles are averaged over one scan step across. For the surroundings the
# same line is drawn on to the edges of the field. The measure is the chance that a value inside the specimen
# is higher than one outside (the area under the ROC curve). It is 0.5 for an image that does not tell them
# apart. Gaps between columns are as dark as vacuum, so that the truth itself does not reach 1.

# %%
scene = make_scene("CuZr")
step, side = scene.acquisition.step[0], scene.acquisition.field[0]
line = ((12.0, 12.0), (side - 12.0, side - 12.0))  # Å, the glass's diagonal
image = METHODS["informed"](scene.measure(dose, seed))

distance, truth = line_profile(scene.truth, *line, scene.pixel, width=step)
_, profile = line_profile(image, *line, scene.pixel, width=step)
print(f"the profile correlates {np.corrcoef(profile, truth)[0, 1]:.2f} with the true one")

# Contrast over what does not follow the truth, from the correlation r inside the specimen.
inside = specimen_mask(scene.truth, scene.pixel)
r = correlation(image, scene.truth, within=inside)
assert math.isclose(contrast_to_error(r), r / math.sqrt(1 - r**2))

# Specimen and surroundings: the line goes on to the edges of the field.
far = side - scene.pixel[0] - step
ends = ((step, step), (far, far))
within = line_profile(inside.double(), *ends, scene.pixel, width=step)[1] >= 0.5
values = line_profile(image, *ends, scene.pixel, width=step)[1]
higher = (values[within][:, None] > values[~within]).double().mean()
rank = mannwhitneyu(values[within], values[~within]).statistic / (within.sum() * (~within).sum())
assert math.isclose(higher, rank, abs_tol=1e-6)
print(f"contrast over error {r / math.sqrt(1 - r**2):.2f}, told apart {higher:.2f}")

# %% tags=["remove-cell"]
scans = page.LineScans(TRIO, dose, draws, ptychography_draws, seed)

# %% tags=["remove-cell"]
Image(figures.save(scans.images(), "line_scan_images"))

# %% [markdown]
# ```{figure} ../figures/line_scan_images.png
# :name: fig-line-scan-images
# :alt: Truth and reconstructions of a crystal, a glass and a protein by six methods at low dose, with the line of the profile drawn on each
#
# The reconstructions behind the profiles of {numref}`fig-line-scans`, with the line on each. Under an image is
# its correlation with the truth inside the specimen. Grey limits are each image's own. Scale bars 5 Å
# and 50 Å.
# ```

# %% tags=["remove-cell"]
Image(figures.save(scans.figure(), "line_scans"))

# %% [markdown]
# ```{figure} ../figures/line_scans.png
# :name: fig-line-scans
# :alt: Line profiles of three specimens by ptychography, direct ptychography and three networks at low dose, by infinite-dose ptychography and of the truth
#
# Re-makes Fig. 4d–f. Left: the true phase and the line (scale bars 5 Å and 50 Å). Right: profiles in
# rad, each less its mean; of each pair the upper shows methods without training, the lower the networks.
# ```

# %% tags=["remove-input"]
Markdown(scans.measures_table())

# %% tags=["remove-cell"]
figures.save_results("04_line_scans", scans.record())

# %% [markdown]
# ## What was seen

# %% tags=["remove-input"]
Markdown(page.seen(scans))

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
