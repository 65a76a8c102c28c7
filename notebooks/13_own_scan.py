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
# # Your own scan
#
# **What the paper says** (§2.2). Before reconstruction its pipeline calibrates a scan: recentring, an
# affine transformation, the interchange of the domains. How well that must be done, and how well it can
# be done at low dose, is not said; all its scans are simulated, and their geometry is known.
#
# **What is measured here.** What `misr4d reconstruct` makes of a scan of which nobody told it the
# defocus, the rotation or the centre: each step of the calibration, its result against the truth over
# doses, and the image. The scan is a *stand-in*, simulated to be as untidy as a microscope's
# (`misr4d.companion.demo`, or `misr4d demo` on the command line), with the truth kept from the program in a second
# file. A published scan is reconstructed too, if `misr4d fetch WS2` has put it there.
#
# **How long it takes.** About a minute on one core.

# %% tags=["parameters"]
specimen: str = "Li2CoO3"  # of the stand-in
positions: int = 48  # of the scan, each way
doses: list[float] = [30.0, 100.0, 300.0, 1000.0]  # e⁻/Å², finite
draws: int = 2  # noise draws behind each estimate
pictured: float = 1000.0  # e⁻/Å² of the pictures, one of the doses
seed: int = 0  # of the stand-in and the first draw

# %% tags=["remove-cell"]
from misr4d.companion.parameters import check_parameters

check_parameters(globals())

# %% tags=["hide-input"]
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from IPython.display import Image, Markdown

from misr4d import plotting
from misr4d.calibrate.defocus import registered_power
from misr4d.companion import figures
from misr4d.companion.chapters import own_scan as page
from misr4d.companion.demo import compare_with_truth, make_stand_in
from misr4d.io.reading import read_scan
from misr4d.io.scan import Quantity
from misr4d.report.preparation import prepare
from misr4d.report.reconstruct import reconstruct_scan

plotting.use_style()
doses = sorted(doses)
if pictured not in doses:
    raise ValueError(f"pictured is {pictured:g}; expected one of {doses}")

# %% [markdown]
# ## What the file says, and what it does not
#
# Each probe position is simulated where the beam really was: on a scan turned against the detector, of a
# specimen that moves on by a share of a step from line to line. Electrons may be counted beside the pixel
# they hit; each is counted once. A row of the detector and some pixels are hot, two are dead.

# %%
stand_in = make_stand_in(specimen, seed=seed, positions=positions)
recording, truth = stand_in.expose(pictured, seed)
with tempfile.TemporaryDirectory() as folder:
    scan = read_scan(recording.write(Path(folder) / "scan.h5"))
    # Taken into memory, since the file does not stay.
    scan = replace(scan, patterns=np.asarray(scan.patterns))
title = f"{stand_in.title}, {plotting.dose_label(pictured)}"

# %% tags=["remove-input"]
Markdown(page.quantities(scan, truth))

# %% [markdown]
# ## An image in one call
#
# Counts in memory and three numbers that every microscopist knows give an image
# ({numref}`fig-own-call`); a path to a file in place of the array does the same. All else is estimated. The
# sections below go through what happens inside.

# %% tags=["remove-output"]
import misr4d

patterns = scan.patterns  # counts (Rx, Ry, Qx, Qy): NumPy, dask or a tensor
energy, step, semiangle = (
    scan.value("energy"),
    scan.value("step"),
    scan.value("semiangle"),
)  # eV, Å, mrad

report = misr4d.reconstruct(patterns, energy=energy, step=step, semiangle=semiangle)

print(report.summary())  # every number with its origin, and warnings
phase, deviation = report.phase, report.deviation  # NumPy arrays (3·Rx, 3·Ry) [rad]
Image(figures.save(report.show(), "own_call"))

# %% [markdown]
# ```{figure} ../figures/own_call.png
# :name: fig-own-call
# :alt: Direct ptychography, the informed network's image and its standard deviation, as report.show() draws them
#
# What `report.show()` draws: the image of direct ptychography, the network's that starts from it, and the
# standard deviation of the latter. Scale bar in the first image.
# ```

# %% [markdown]
# ## The detector: bad pixels, disc, centre, dose
#
# Bad pixels come first, because a hot row pulls at everything else. They are found in the sum of all
# patterns and replaced by noise of the level around them, which carries no information
# (`misr4d.calibrate.pixels`). A disc fitted to what is left gives the centre ({numref}`fig-own-detector`). The counts give the dose, less what
# is scattered past the detector.

# %%
ready = prepare(scan)

# %% tags=["remove-cell"]
Image(figures.save(page.detector(scan, ready, truth, title), "own_detector"))

# %% [markdown]
# ```{figure} ../figures/own_detector.png
# :name: fig-own-detector
# :alt: Mean pattern with a hot row, the same with its bad pixels marked and the fitted disc, and a histogram of the electrons of every position
#
# Square root of the mean pattern, over-exposed on the hot row; the bad pixels that were found, with the
# fitted disc and its centre (blue, +) and the true centre (orange, ×); and the electrons that good pixels
# counted at each position, with the spread that counting noise alone gives them. The specimen is thin and
# scatters nearly all within the detector, so that the mean is the dose, less the bad pixels' share.
# ```

# %% [markdown]
# ## Rotation and defocus, from how the views register
#
# Each bright-field view is displaced by defocus times its angle, turned as the detector is. For a trial
# of both the views are shifted back and added up: at the right one their sum is strong. That map
# ({numref}`fig-own-focus`) is searched for either way round of the detector's axes. Its top is then refined by what two side bands
# explain, with the drift beside it, since a drift displaces the views too, but not as a turn or a focus
# would (`misr4d.calibrate.defocus`).

# %%
views = ready.cube.views(ready.acquisition)
found = {n: ready.quantities[n].value for n in ("defocus", "rotation", "transposed", "drift")}
defoci = np.linspace(0.05, 2.0, 79) * truth.defocus
angles = np.arange(-180.0, 180.0, 2.5)
power = {
    way: registered_power(views, ready.acquisition.unturned, defoci, angles, way)
    for way in (found["transposed"], not found["transposed"])
}

# %% tags=["remove-cell"]
Image(figures.save(page.defocus_power(power, defoci, angles, found, truth, title), "own_focus"))

# %% [markdown]
# ```{figure} ../figures/own_focus.png
# :name: fig-own-focus
# :alt: Power of the registered views against defocus and rotation for both ways round of the detector's axes, and its profile along the defocus
#
# Power of the registered views over its median, for the detector's axes as they turn out to be (left)
# and the other way round (middle), and along the defocus at the rotation that was found (right). The
# search looks at similarities alone; drift and side bands move the refined estimate off its top.
# ```

# %% [markdown]
# ## Estimates against the truth
#
# The same specimen on the same scan, at other doses and with other electrons ({numref}`fig-own-estimates`), as
# the study keeps them. First those of the scan above:

# %%
for row in compare_with_truth(ready, truth):
    print(row.name, "wrong by", np.round(row.error, 3), "stated", row.stated)

# %% tags=["remove-cell"]
table, failed = page.estimate_all(page.cases(specimen, positions, doses, draws, seed))

# %% tags=["remove-cell"]
drawn = page.estimates(table, f"{stand_in.title}, {positions} × {positions} positions")
Image(figures.save(drawn, "own_estimates"))

# %% [markdown]
# ```{figure} ../figures/own_estimates.png
# :name: fig-own-estimates
# :alt: Errors of defocus, rotation and drift against dose, with the standard errors that the program states
#
# Estimate less truth, each with the standard error that the report states. Grey: the goal at the highest
# dose, 2 % of the defocus and half a degree.
# ```

# %% tags=["remove-input"]
Markdown(page.estimate_table(table, failed))

# %% [markdown]
# ## The image
#
# From the file alone, with all of the above estimated ({numref}`fig-own-images`). The estimated drift enters
# the model: each view is taken to be sampled where the probe was, not where the scan says. The image that comes
# out is then put on a straight grid and cropped to what the scan saw all of. Beside it stands what comes out if
# the drift is left out (`--drift 0 0 --astigmatism 0 0`), as most programs would; the truth is shown where
# either image has it.

# %%
report = reconstruct_scan(scan, seed=seed)
nothing = Quantity((0.0, 0.0), "Å", "given")
still = {**scan.known, "drift": nothing, "astigmatism": nothing}
ignored = reconstruct_scan(replace(scan, known=still), seed=seed)
scores = {row.name: row.estimated[0] for row in compare_with_truth(report, truth)}
scores |= {
    f"{row.name}, drift ignored": row.estimated[0]
    for row in compare_with_truth(ignored, truth)
    if row.name.startswith("correlation")
}

# %% tags=["remove-cell"]
Image(figures.save(page.images(ignored, report, truth, scores, title), "own_images"))

# %% [markdown]
# ```{figure} ../figures/own_images.png
# :name: fig-own-images
# :alt: Direct ptychography, the informed network's image and the truth, above with the drift ignored and sheared, below straightened and sharper
#
# The stand-in reconstructed from its file, all under the truth's grey limits, the number being the correlation
# with the truth beside it. Above, the drift ignored: the lattice is sheared and its finest detail blurred. Below, as
# `misr4d reconstruct` does it: solved for where the probe was, straightened, and cropped. Scale bars in the first
# images.
# ```

# %% tags=["remove-input"]
warned = "\n".join(f"- {text}" for text in report.warnings)
Markdown(f"What the report warns of, word by word:\n\n{warned}")

# %% [markdown]
# ## Where it fails
#
# * **Half a turn.** Underfocus at one rotation and overfocus half a turn from there displace the views
#   alike; the report says so. A calibration of the microscope settles it, or a look at the contrast.
# * **Drift or astigmatism.** A steady drift and two-fold astigmatism stretch the pattern of displacements
#   alike. One scan cannot tell them apart: the drift that is reported holds if the probe was stigmated.
#   A second scan with the fast axis turned by a quarter tells them apart, since the drift turns and the
#   lens does not. `--drift 0 0` says that the specimen stood still: then astigmatism is sought instead, and
#   the image solved for with it. If the lattice is known, it shows which of the two images is true.
# * **Few electrons.** The estimates scatter more, as the error says that is stated for them; below some dose
#   none stands out and the program refuses.
# * **A drift that changes**, flyback errors, damage, coma: not simulated and not estimated.
#
# ## A published scan

# %% tags=["remove-input"]
outcome, text = page.published()
Markdown(text)

# %% tags=["remove-cell"]
figures.save_results(
    "13_own_scan",
    {
        "specimen": specimen,
        "positions": positions,
        "estimates": table,
        "failed": failed,
        "scores": scores,
        "warnings": list(report.warnings),
        "published": outcome,
    },
)

# %% [markdown]
# ## What was seen

# %% tags=["remove-input"]
Markdown(page.seen(table, failed, doses, scores))

# %% [markdown]
# **Exercise.** How far off may the defocus be before the outermost view misses its place by half a pixel of
# the image? Compare with the errors above, and with the rotation that does the same.
#
# ```{dropdown} Solution
# A view at the rim of the disc is displaced by α times the defocus; a share ε of the defocus misplaces it by
# ε·α·|defocus|, which is ε times `ready.acquisition.largest_view_shift`. Half a pixel of the image is a
# sixth of the step, so ε may be step / (6·α·|defocus|): with a displacement of some five steps, about
# 3 %. A rotation by δ misplaces the same view by δ·α·|defocus|, across instead of along: 0.03 rad, about
# two degrees. Beyond that fine detail of outer and inner views no longer adds up, and the image loses its
# resolution first.
# ```
