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
# # From atoms to views
#
# **What the paper says** (§2.2–2.3, Fig. 1a, Fig. 2, Supplementary Fig. 1). A convergent, *defocused*
# electron probe is scanned over the specimen and a diffraction pattern is recorded at every
# position: {term}`4D-STEM`. Read the other way round, each detector pixel inside the
# {term}`bright-field disc` records an image of its own: a
# {term}`virtual bright-field view <virtual bright field>`. Each view is sampled far too coarsely, but
# each is displaced by a different, known, sub-pixel amount. The paper simulates such data with abTEM
# {cite}`madsen2021` and shows how the views drown as the {term}`dose` falls.
#
# **What is measured here.** The same chain, true to scale: atoms → potential → {term}`datacube` → views. The
# direction and size of every view's displacement; whether the fast engine that makes the views of
# all later chapters agrees with abTEM's full scan; and how many electrons a view has.
#
# **How long it takes.** About a minute and a half on one core, most of it abTEM's scan of 4096 positions.

# %% tags=["parameters"]
specimen: str = "Li2CoO3"  # a crystal of misr4d.specimens.catalogue.SPECIMENS
thickness: float = 20.0  # Å along the beam
sampling: float = 1 / 3  # Å, wave field
slice_thickness: float = 2.0  # Å
doses: list[float] = [100.0, 300.0, 1000.0, 10000.0]  # e⁻/Å², finite
defoci: list[float] = [250.0, 500.0, 750.0, 1000.0]  # Å, underfocus, in their section
dose: float = 300.0  # e⁻/Å², of that section
draws: int = 8  # noise draws of that section
seed: int = 0  # of the counting noise

# %% tags=["remove-cell"]
from misr4d.companion.parameters import check_parameters

check_parameters(globals())

from IPython.display import Image, Markdown

from misr4d import plotting
from misr4d.companion import figures
from misr4d.companion.chapters import simulation as page

plotting.use_style()

# %%
import math
from dataclasses import replace

import numpy as np
import torch

from misr4d import ATOMIC
from misr4d.companion.study import METHODS, place
from misr4d.core.dose import electrons_per_pixel, expose
from misr4d.measure.metrics import correlation, specimen_mask
from misr4d.simulate.multislice import build_potential, simulate_datacube
from misr4d.simulate.patterns import camera_pixel
from misr4d.simulate.reciprocity import simulate_views
from misr4d.specimens.catalogue import make_specimen

# %% [markdown]
# ## The specimen and its potential
#
# The crystal is cut to a patch in vacuum, a zone axis along the beam. The vacuum border keeps the
# scan's edges quiet, so that no method is judged by how it treats a cut lattice.

# %%
sample = make_specimen(specimen, thickness=thickness)
potential = build_potential(sample, sampling, slice_thickness)

# %% tags=["remove-input"]
Markdown(page.specimen_text(sample, potential))

# %% [markdown]
# ## The measurement
#
# The *atomic* regime of this study ([](../book/conventions.md)). A detector pixel is chosen five
# times wider than the pixels of the simulated wave field, and every view averages the plane waves
# that fall inside its pixel, as a real camera does.

# %%
pixel = ATOMIC.wavelength / sample.atoms.cell.lengths()[0] * 1e3  # mrad, of the wave field
acquisition = replace(ATOMIC, detector_pixel=5 * pixel, pixel_samples=5)
cube = simulate_datacube(potential, acquisition)
views = cube.views(acquisition)

# %% tags=["remove-input"]
Markdown(page.measurement_table(cube, views, acquisition))

# %% [markdown]
# (views-per-page)=
# ### How many views a scan has
#
# A scan has as many views as pixels of its detector lie in the bright disc. How wide a pixel is, is a choice, and
# three choices are made in this book. Here a pixel holds five pixels of the wave field. The {term}`regimes <regime>` as
# they are defined have round numbers. The {term}`study`'s pixels, which most pages use, hold whole pixels of the
# simulated patterns. All of them see the same electrons.

# %%
widths = {
    "this page": acquisition.detector_pixel,
    "the regimes": ATOMIC.detector_pixel,
    "the study": camera_pixel(ATOMIC.wavelength),
}
for where, width in widths.items():
    number = replace(ATOMIC, detector_pixel=width).number_of_views
    print(f"{where}: {number} views of {width:.2f} mrad")

# %% [markdown]
# ## Views and their displacements
#
# A view is one detector pixel, read at every position of the scan. Here is one cut by hand: the small pixels of
# the wave field inside one pixel of the detector are added, on a scale where a fully lit pixel in vacuum is 1.

# %%
chosen_view = 17
factor = round(acquisition.detector_pixel / cube.detector_pixel[0])  # small pixels along a side
x, y = (
    n // 2 + factor * index - factor // 2
    for n, index in zip(
        cube.patterns.shape[2:], acquisition.detector_index[chosen_view].tolist(), strict=True
    )
)
block = cube.patterns[:, :, x : x + factor, y : y + factor]  # (Rx, Ry, factor, factor)
by_hand = block.sum((2, 3)) * acquisition.pixels_per_disc
assert np.allclose(by_hand, views[chosen_view], atol=1e-4)

# %% [markdown]
# Its displacement, from the pixel's angle and the defocus alone:

# %%
angle = acquisition.view_angles[chosen_view]  # (2,) [mrad]
displacement = acquisition.defocus * angle * 1e-3  # Å: −C₁₀·λk, with C₁₀ = −defocus
assert torch.allclose(displacement, -acquisition.registering_shifts[chosen_view])

# %% [markdown]
# Nine views, laid out by where their pixel sits in the disc, beside the displacement of all of them.
# The displacement is −∇χ(k)/2π = −λ·C₁₀·k, with the wavelength λ and C₁₀ the {term}`defocus` with its
# sign reversed, as in {eq}`eq-chi`: proportional to the pixel's angle λ·k and to the defocus, and known before
# any electron is counted.

# %% tags=["remove-cell"]
Image(figures.save(page.views_of_the_disc(views, acquisition), "views_montage"))

# %% [markdown]
# ```{figure} ../figures/views_montage.png
# :name: fig-views-montage
# :alt: Nine virtual bright-field views of a crystal patch, and a map of arrows that grow with the angle
#
# Re-makes Fig. 1a. Left: nine views at infinite dose under one pair of grey limits, each titled with
# the angle (Qx, Qy) of its detector pixel; scale bar 5 Å. The patch moves with the pixel. Right: the
# displacement of every view.
# ```

# %% [markdown]
# ## The same views, by reciprocity
#
# By {term}`reciprocity`, one plane wave sent backwards from each detector pixel replaces one probe for
# each position. A pixel of finite size takes many plane waves, of which a few are propagated and the
# others interpolated. The two ways must agree to far less than counting noise, because everything that
# follows uses the faster; with every wave propagated (`exact=True`) they agree to rounding.

# %%
fast = simulate_views(potential, acquisition)
agreement = correlation(fast.flatten(1), views.flatten(1))
difference = float((fast - views).square().mean().sqrt() / views.std())

# %% tags=["remove-cell"]
Image(figures.save(page.reciprocity(views, fast, acquisition), "reciprocity_check"))

# %% [markdown]
# ```{figure} ../figures/reciprocity_check.png
# :name: fig-reciprocity-check
# :alt: One view from the full scan, the same view by reciprocity, and their small difference, which is that of interpolated waves
#
# One off-axis view made in two ways, and their difference on a grey range of its own: what the
# interpolation of waves within a detector pixel leaves.
# ```

# %% tags=["remove-input"]
Markdown(
    f"Over all {len(views)} views the correlation is {agreement:.6f} and the RMS difference "
    f"{difference:.1%} of the views' own variation."
)

# %% [markdown]
# ## Views against dose
#
# Dose is counted on the specimen. At a step of 1 Å each position receives as many electrons as the
# dose has per Å², and they are shared among all the pixels of the disc.

# %%
generator = torch.Generator().manual_seed(seed)
noisy = [expose(views, acquisition, dose, generator) for dose in doses]

axial = int(acquisition.view_angles.norm(dim=1).argmin())
area = acquisition.step[0] * acquisition.step[1]  # Å², of a scan step
shares, signal = [], []
for dose_on_specimen, stack in zip(doses, noisy, strict=True):
    share = dose_on_specimen * area / acquisition.pixels_per_disc  # electrons a pixel and position
    assert math.isclose(share, electrons_per_pixel(dose_on_specimen, acquisition))
    shares.append(share)
    signal.append(correlation(stack[axial], views[axial]))

# %% tags=["remove-cell"]
drawn = page.against_dose([*noisy, views], [*doses, math.inf], acquisition)
Image(figures.save(drawn, "vbf_against_dose"))

# %% [markdown]
# ```{figure} ../figures/vbf_against_dose.png
# :name: fig-vbf-against-dose
# :alt: One view and the sum of all views at rising dose; the single view is mostly noise until high dose
#
# Re-makes Suppl. Fig. 1. Top: the axial view. Bottom: the sum of all views, which has all the
# electrons and little phase contrast. Each row has one pair of grey limits, set by its two highest
# doses; scale bar 5 Å.
# ```

# %% tags=["remove-input"]
Markdown(page.share_table(doses, shares, signal))

# %% [markdown]
# ## Several defoci
#
# The paper simulates several defoci (§2.2). Defocus sets how far the views are displaced, and which frequencies
# each of them carries. Direct ptychography knows it from the measurement. The informed network was trained
# at a few defoci about the study's own, so that far from these it works off its training. Electrons are
# counted in the bright disc's pixels alone.

# %%
for defocus in defoci:
    scene = place(sample, defocus)
    image = METHODS["direct"](scene.expose(dose, seed))
    fit = correlation(image, scene.truth, within=specimen_mask(scene.truth, scene.pixel))
    shift = scene.acquisition.largest_view_shift
    print(f"defocus {defocus:g} Å: views move by {shift:g} Å at most; direct {fit:.2f}")

# %% tags=["remove-cell"]
found = page.Defoci(sample, defoci, dose, draws, seed)

# %% tags=["remove-cell"]
Image(figures.save(found.figure(), "several_defoci"))

# %% [markdown]
# ```{figure} ../figures/several_defoci.png
# :name: fig-several-defoci
# :alt: One view at infinite dose and two reconstructions at low dose of a crystal patch, at four defoci
#
# The same crystal at several defoci. Top: one off-axis view at infinite dose, and the largest displacement of any
# view. Below: direct ptychography and the informed network at low dose, with their correlation inside the
# specimen. Each row has one pair of grey limits; scale bar 10 Å.
# ```

# %% tags=["remove-input"]
Markdown(found.table())

# %% [markdown]
# ## The whole way
#
# What the paper shows as its workflow, with what passed through each function in one run. It goes down to the
# noisy views, and from them to three images: by {term}`direct ptychography`, by the {term}`informed network`
# that starts from it, and by the paper's attention U-Net. The study's detector is finer than the one above, so
# the counted views are of that one. Electrons are counted in the bright disc's pixels alone.

# %%
picked = min(doses, key=lambda dose: abs(dose - 1000))
scene = place(sample)
counted = scene.expose(picked, seed).views

# %% tags=["remove-cell"]
drawn = page.workflow(potential, cube, views, fast, acquisition, scene, counted, picked)
Image(figures.save(drawn, "workflow"))

# %% [markdown]
# ```{figure} ../figures/workflow.png
# :name: fig-workflow
# :alt: The workflow as a chain of thumbnails with arrows, from atoms by potential, datacube and views to images by direct ptychography and two networks, beside the truth
#
# Re-makes Fig. 2. Every picture is what the function above it made in this run, with its shape below; of
# stacks one slice, view or mean is drawn. Top: a specimen's atoms become a potential, a datacube (the
# square root of one pattern), views, and counted views. Middle: direct ptychography and the network
# that starts from it, and the truth. Bottom: the paper's network, to which the views are channels. Grey
# limits are each picture's own; the correlation is with the truth, {term}`inside the specimen`. Scale bars 20 Å.
# ```

# %% tags=["remove-cell"]
figures.save_results(
    "01_simulation",
    {
        "specimen": specimen,
        "views": len(views),
        "reciprocity_correlation": agreement,
        "reciprocity_relative_rms": difference,
        "doses": doses,
        "electrons_per_pixel": shares,
        "single_view_correlation": signal,
        "defoci": found.record(),
    },
)

# %% [markdown]
# ## What was seen

# %% tags=["remove-input"]
Markdown(page.seen(doses, shares, signal, difference, found))

# %% [markdown]
# **Exercise.** Double the defocus (`replace(ATOMIC, defocus=1000.0, …)`). What happens to the
# displacements, and to the contrast of a single view?
#
# ```{dropdown} Solution
# The displacements double, since they are λ·C₁₀·k. The contrast of each view changes too: the
# transfer 2·sin(πλ·C₁₀·q²) oscillates faster in q, so low frequencies gain and high ones cross more
# zeros. Run the cells again and look.
# ```
