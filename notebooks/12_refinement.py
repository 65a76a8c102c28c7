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
# # Refinement: the electrons have the last word
#
# **What the paper says** (§1). Its introduction promises "iterative phase retrieval constrained by a
# physics-informed denoiser" after the fusion. Neither its released code nor its results contain it.
#
# **What is measured here.** That second stage, as built in `misr4d.reconstruction.refine`. Three questions:
#
# * Does it improve on the {term}`informed network`'s image and on {term}`direct ptychography`, on the same electrons?
# * Can a reader tell from the counts alone that an image does not explain them?
# * From which dose on do the electrons overrule a first stage that painted a defect over?
#
# Tables and curves below are of three {term}`draws <draw>` each. The cases behind them are kept with the study, and measured again
# where code or parameters are others (`python benchmarks/record.py`); a test measures one of them again.
#
# **How long it takes.** About three minutes on two cores.

# %% tags=["parameters"]
pictured: float = 300.0  # e⁻/Å² of the pictures
check_dose: float = 3000.0  # e⁻/Å² at which assumptions are tested
detected: list[float] = [100.0, 300.0, 1000.0, 3000.0, 10_000.0, 30_000.0]  # e⁻/Å², the defect's
empty_doses: list[float] = [100.0, 300.0]  # e⁻/Å², of vacuum
draws: int = 3  # noise draws of every table and curve
seed: int = 0  # of the first draw
study: str = ""  # folder of another study than the committed one

# %% tags=["remove-cell"]
from misr4d.companion.parameters import check_parameters

check_parameters(globals())

from IPython.display import Image, Markdown

from misr4d import plotting
from misr4d.companion import figures
from misr4d.companion.chapters import refinement
from misr4d.companion.chapters import refinement_page as page

plotting.use_style()
detected = sorted(detected)

# %%
from dataclasses import replace
from pathlib import Path

import torch
from ase.data import atomic_numbers

from misr4d.companion.bench import read_study
from misr4d.companion.study import place
from misr4d.core.dose import electrons_per_pixel
from misr4d.learn.learned import informed
from misr4d.measure.audit import central_column, detect, signature
from misr4d.reconstruction.direct import AMPLITUDE_CONTRAST, DirectPtychography
from misr4d.reconstruction.forward import ExpectedViews
from misr4d.reconstruction.refine import plug_and_play, refine
from misr4d.reconstruction.tuned import prior_strength, refine_tuning
from misr4d.specimens.catalogue import make_specimen

TRIO = refinement.TRIO  # the paper's Fig. 4
scenes = {name: place(make_specimen(name)) for name in TRIO}
crystal = scenes["Li2CoO3"]

# %% [markdown]
# ## On one page
#
# A phase φ makes every view k expect $\lambda_k(\varphi) = n\,|\psi_k(\varphi)|^2$ electrons at each
# position: a plane wave through the specimen, the lens, and the dose n of a pixel. What is counted,
# $n_k$, scatters about that as Poisson. The first stage is an image μ with a standard deviation σ for
# each pixel; u = (φ − μ)/σ is how far a phase lies from it. The phase that is likeliest given both
# minimises
#
# $$
# \sum_{k,r}\left[\lambda_k(\varphi) - n_k \log\lambda_k(\varphi)\right]
#  + \frac{w\,t^2}{2}\sum_r \log\left(1 + \frac{u_r^2}{t^2}\right).
# $$
#
# The first sum is what the electrons say, with no approximation of a weak phase; the second is what the
# first stage says. At low dose the second decides, at high dose the first, and σ says where: pixel by
# pixel the network is believed as far as it believes itself.
#
# * **The weight** w. The first stage has seen these same electrons. Were it perfect, they could teach it
#   nothing more, and a second look at them would only add their noise once again: so near μ it must
#   count for more than its deviation says.
# * **The tail** t. But where the first stage is wrong, it is wrong by much, in a few pixels. Within t
#   deviations the second sum is that of a Gaussian prior; beyond, it is Cauchy's, which grows as a
#   logarithm only and gives way. Noise, small everywhere, stays out; a column that was painted over
#   comes back. w and t were chosen on specimens that no page shows (`benchmarks/calibrate_refine.py`).
# * **The path.** For a weak phase the curvature of both terms is known in closed form, frequency by
#   frequency. In variables of unit curvature a few steps of L-BFGS do; the gradient comes from the
#   multislice by automatic differentiation, a batch of views at a time.
# * **The end.** The {term}`deviance` D = 2 Σ [n log(n/λ) − n + λ] of the counts has a known expectation if the
#   image is true. The refinement ends when nothing changes any more, or before that when the counts are
#   explained better than their own noise allows: what follows would be noise (Morozov's discrepancy
#   principle).
#
# What comes out beside the image is a number that a reader can check without knowing the truth: the
# *excess* of the deviance over its expectation, in standard deviations (`deviance_z`). Above five, this image, or what
# was assumed of the measurement, does not explain the electrons. The expectation is lower than that of
# the truth by what the image has fitted of the noise, which the first stage has begun: it saw the same
# electrons. It is counted frequency by frequency, for the pixels that recorded positions see.

# %% tags=["remove-input"]
Markdown(page.prior_table())

# %% [markdown]
# The function that is minimised, written out for the crystal and one batch of its views, and its gradient. The
# gradient is checked by the difference of two values nearby.

# %%
measurement = crystal.expose(pictured, seed)
first = informed(crystal.direct, measurement.views)
mu, sigma = first.mean.clone(), first.deviation.clone()  # rad
strength = prior_strength("atomic")  # w and t
model = ExpectedViews(crystal.midplane)
views = model.batches()[0]
share = electrons_per_pixel(pictured, crystal.acquisition)
counts = measurement.counts[views].double()


def objective(phase):
    """What the electrons say, and what the first stage says."""
    expected = share * model(model.transmission(phase), views).double() + 1e-4
    electrons = (expected - counts * expected.log()).sum()
    u = (phase - mu) / sigma
    w, t = strength.weight, strength.tail
    return electrons + (w * t**2 / 2 * torch.log1p(u**2 / t**2)).double().sum()


phase = mu.clone().requires_grad_()
objective(phase).backward()
slope = phase.grad  # (X, Y), of the objective by the phase of each pixel

direction = 1e-3 * slope / slope.abs().max()  # rad
with torch.no_grad():
    difference = (objective(mu + direction) - objective(mu - direction)) / 2
assert torch.isclose(difference, (slope * direction).double().sum(), rtol=0.02)

# %% [markdown]
# The package does this for all views, a batch at a time, and walks down by L-BFGS:

# %%
refined = refine(measurement.counts, crystal.direct, pictured, first, strength=strength)
print(f"deviance over its expectation: {refined.history[0]:.4f} → {refined.deviance:.4f}")
print(f"excess: {refined.deviance_z:+.1f} standard deviations")

# %% [markdown]
# ## Three specimens

# %% tags=["remove-cell"]
shown = refinement.three_specimens(scenes, pictured, seed)

# %% [markdown]
# The curves are those of the committed study (`misr4d bench --study`): for each draw of the noise all
# three methods had the same electrons.

# %%
rows = refinement.StudyRows(read_study(Path(study) if study else None), TRIO)

# %% tags=["remove-cell"]
Image(figures.save(page.images(scenes, shown, pictured), "refined_images"))

# %% [markdown]
# ```{figure} ../figures/refined_images.png
# :name: fig-refined-images
# :alt: Direct ptychography, first stage, second stage and truth of three specimens, and where the electrons moved the first stage
#
# First and second stage at one dose, the same electrons, a specimen's images under the same grey limits
# (scale bars 5 Å and 50 Å). Right: how far the electrons moved the first stage, in its own standard
# deviations, each on a scale of its own.
# ```

# %% tags=["remove-cell"]
Image(figures.save(page.curves(scenes, rows), "refined_curves"))

# %% [markdown]
# ```{figure} ../figures/refined_curves.png
# :name: fig-refined-curves
# :alt: Correlation and resolved frequency against dose of direct ptychography, first stage and second stage
#
# Correlation with the truth inside the specimen, and the frequency up to which the ring correlation with
# the truth stays above 0.5 where the truth has power: median of the draws, and their spread where there
# are several. Dashed: the finest that the measurement or the image's grid carries.
# ```

# %% [markdown]
# ## Two ways to use a network
#
# As a prior, as above, the network speaks once. As a *plug-and-play denoiser* it speaks again
# after every refinement, and counts half as much each time. It knows specimens that are weak; so it is
# given views from which the refined image has removed what is not linear in the phase
# (`misr4d.reconstruction.refine.as_weak`). Beside the crystal and the glass stands the crystal at 5 nm, which is no
# longer weak.


# %%
def denoise(views):
    """What the network makes of views that are linear in the phase."""
    return informed(crystal.direct, views)


plugged = plug_and_play(measurement.counts, crystal.direct, pictured, denoise, strength=strength)
for label, image in (("prior", refined.image), ("plug and play", plugged.image)):
    print(f"{label}: {refinement.measure(image, crystal)['correlation']:.3f}")

# %% tags=["remove-cell"]
ways = refinement.all_ways((pictured, check_dose), draws, seed)

# %% tags=["remove-input"]
Markdown(page.ways_table(ways))

# %% [markdown]
# ## Does this picture explain the electrons?
#
# The same counts of the crystal, refined under what is true and under what is not. The excess sums over
# all counts, so an error has to stand out from the noise of all of them. Two ways to see more: more
# electrons, and a fit of the very quantity that is doubted.

# %%
counted = crystal.expose(check_dose, seed)
midplane = crystal.midplane  # its defocus counts from the middle of the specimen
wrong = DirectPtychography(
    replace(midplane, defocus=1.2 * midplane.defocus),
    upsampling=3,
    aliases=3,
    amplitude_contrast=AMPLITUDE_CONTRAST["atomic"],
)
prior = informed(wrong, counted.views)
for fit in (False, True):
    found = refine(counted.counts, wrong, check_dose, prior, strength=strength, fit_defocus=fit)
    error = found.defocus / midplane.defocus - 1
    print(f"defocus wrong by {error:+.1%}: excess {found.deviance_z:+.1f} standard deviations")

# %% tags=["remove-cell"]
cases, focus = refinement.all_assumptions(check_dose, draws, seed)

# %% tags=["remove-input"]
Markdown(page.assumption_table(cases, check_dose))

# %% tags=["remove-input"]
Markdown(page.defocus_table(focus, counted.counts.numel()))

# %% [markdown]
# ## When do the data overrule the prior?
#
# The worst first stage is one that is sure of what is not there. Here it is the network's image of the
# perfect crystal, with that image's deviation, while the electrons come from a crystal in which one
# column is missing. {term}`Share shown <share shown>` and {term}`detection probability` are those of
# {doc}`11_invention`: against images of the perfect crystal by the same way, from other electrons.

# %%
perfect = crystal.specimen.atoms
near, _ = central_column(perfect, atomic_numbers["Co"])
holed = place(replace(crystal.specimen, atoms=perfect[~near]))
missing = signature(crystal.truth, holed.truth)

dose = detected[-1]
painted, other = (  # first stages that show the perfect crystal, from other electrons
    informed(crystal.direct, crystal.expose(dose, seed + number).views) for number in (100, 300)
)
with_defect, without = (
    refine(scene.expose(dose, number).counts, scene.direct, dose, prior, strength=strength)
    for scene, number, prior in ((holed, seed, painted), (crystal, seed + 200, other))
)
(before,) = detect(missing, [painted.mean], [other.mean]).shares
(after,) = detect(missing, [with_defect.image], [without.image]).shares
print(f"share shown at {dose:g} e⁻/Å²: {before:.2f} before the refinement, {after:.2f} after it")

# %% tags=["remove-cell"]
overruled = refinement.all_columns(detected, draws, seed)

# %% tags=["remove-cell"]
Image(figures.save(page.overruled_curves(overruled), "refined_detection"))

# %% [markdown]
# ```{figure} ../figures/refined_detection.png
# :name: fig-refined-detection
# :alt: Share shown and detection of a missing column against dose when the first stage was painted over, before and after refinement
#
# A missing column under a first stage that shows the perfect crystal: how much of the defect is shown
# before and after refinement, and how surely it is told from what else the image shows, beside
# methods that were given the right electrons. Median of the draws, and their spread.
# ```

# %% [markdown]
# ## Nothing, again
#
# Vacuum, and a scan whose positions were shuffled in each view: local maxima higher than half a carbon
# atom, per 100 Å², before and after. Beside them direct ptychography, and tuned iterative ptychography of
# vacuum.

# %% tags=["remove-cell"]
invented = refinement.all_empty(empty_doses, draws, seed)

# %% tags=["remove-input"]
Markdown(page.invention_table(invented))

# %% tags=["remove-cell"]
longest = refinement.longest_refinement(pictured, seed)
figures.save_results(
    "12_refinement",
    {
        "weights": refine_tuning()["choice"],
        "table": rows.record(),
        "seconds": longest,
        "ways": ways,
        "explained": cases,
        "focus": focus,
        "overruled": overruled,
        "invented": [
            {"kind": kind, "dose": dose, "stage": stage, "per_100_A2": peaks}
            for (kind, dose, stage), peaks in invented.items()
        ],
    },
)

# %% [markdown]
# ## What was seen

# %% tags=["remove-input"]
Markdown(page.seen(scenes, rows, longest, overruled, cases, invented))

# %% [markdown]
# **Exercise.** Take a Gaussian prior, t = ∞, and w a hundred times larger and a hundred times smaller, for
# the missing column at 1000 e⁻/Å². What do share shown and excess say in each case? Then give the large w a
# tail of 0.3.
#
# ```{dropdown} Solution
# A large w keeps the first stage: the share shown goes to zero, and the excess rises only little, since one
# column out of hundreds moves few of the electrons. A small w gives the electrons their way, noise
# included: the share comes back, the image grows grainy, and the refinement ends early because the counts
# are explained better than their noise allows. The excess watches over the whole field; it cannot see
# that one column is wrong. The tail sees it: the column is many deviations off in a few pixels, where
# the prior gives way, and nowhere else.
# ```
