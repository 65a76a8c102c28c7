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
# # Dose series: a crystal, a glass and a protein
#
# **What the paper says** (§3.2, Fig. 4a–c). From 100 to 1000 e⁻/Å² the network recovers the lattice
# of Li₂CoO₃ from 200 e⁻/Å² on, where ptychography fails below 500 (claim C1). The shell of
# apoferritin sharpens with dose, where ptychography is noise until 1000 (claim C4). Cu-Zr glass is the third
# specimen.
#
# **What is measured here.** Methods *without any training* at the same {term}`doses <dose>`: the {term}`summed bright
# field <virtual bright field>`, {term}`parallax`, and {term}`direct ptychography` with up-sampling. On the same
# electrons, the shipped networks of {doc}`02_training`, and iterative {term}`ptychography`, the paper's baseline.
# This page reconstructs the images that it shows, from one {term}`noise draw <draw>`. The curves and tables read the
# committed {term}`study`, which has more draws of each.
#
# **How long it takes.** About two minutes on two cores. Each dose in `ptychography_doses` whose image the study
# does not keep adds minutes, once.

# %% tags=["parameters"]
crystal: str = "Li2CoO3"  # scanned in the atomic regime
glass: str = "CuZr"  # scanned in the atomic regime
protein: str = "apoferritin"  # scanned in the molecular regime
doses: list[float] = [100.0, 200.0, 300.0, 500.0, 1000.0]  # e⁻/Å², finite; infinite dose is added
ptychography_doses: list[float] = []  # e⁻/Å², beside those that the study keeps; minutes each
draws: int = 1  # noise draws that the page makes; they count where the study has none
seed: int = 0  # of the first draw
study: str = ""  # folder that `misr4d bench` wrote, instead of the committed study

# %% tags=["remove-cell"]
from misr4d.companion.parameters import check_parameters

check_parameters(globals())

from IPython.display import Image, Markdown

from misr4d import plotting
from misr4d.companion import figures
from misr4d.companion.chapters import dose_series as page
from misr4d.companion.comparison import save_frames

plotting.use_style()
doses = sorted(doses)

# %%
import math
from pathlib import Path

import torch

from misr4d.companion.bench import read_study
from misr4d.companion.chapters.dose_series import DoseSeries
from misr4d.companion.study import UPSAMPLING
from misr4d.core.optics import aperture
from misr4d.measure.metrics import correlation, dose_to_reach, specimen_mask
from misr4d.reconstruction.direct import AMPLITUDE_CONTRAST, DirectPtychography, covering_factor

# %% [markdown]
# ## Three specimens, two scales
#
# A scan of 64 × 64 positions with 1 Å steps holds a patch of crystal or glass; with the paper's 4 Å
# steps, a whole protein. All are simulated true to scale, with wave fields fine enough for the probe.
# The protein stands in vacuum (`make_specimen(…, ice=…)` puts it in ice). Every method sees the same
# counts of the same detector, whose pixels average over their width.

# %%
series = DoseSeries((crystal, glass, protein), doses, read_study(Path(study) if study else None))

# %% [markdown]
# ## The methods
#
# * **Summed VBF**: all views added as they are.
# * **Parallax** (py4DSTEM): views registered by the known defocus, merged on the finer grid, sign of
#   the transfer function flipped where it is negative.
# * **Direct ptychography**: the least-squares solution of the weak-phase equations for all views and
#   all {term}`aliases` together. Its noise level and the object's power spectrum are read off the noisy
#   views themselves, ring by ring; no truth and no training enter. Its one fixed number, the
#   amplitude contrast, is near the best on draws of the training corpus (`benchmarks/calibrate_direct.py`). The
#   3 × 3 aliases that the image holds are solved; what solving more changes is measured below.
# * **Networks**, as shipped. The attention U-Net is the paper's, on the stacked views. The dual path
#   is that of the paper's text, on the same views as a set. The informed network starts from direct
#   ptychography. No training has seen these three specimens.
# * **Ptychography** by other programs starts from whole patterns of the same counts. The row *ptychography* is
#   py4DSTEM's, the program of the paper, at the doses whose images the study keeps. *phaserEM*, where the study
#   holds its images, maximises the Poisson likelihood with a phase that is never negative; *quantem direct* solves
#   in closed form. All were tuned on other specimens. {doc}`06_method_comparison` has
#   the settings. The best of such programs is what a claim on ptychography is compared with.

#
# ### Direct ptychography at one frequency
#
# View k has the spectrum $I_k(q) = i\,\varphi(q)\,\gamma_k(q)$. The factor γ is known from aperture and defocus.
# A scan takes nine frequencies of the ×3 image for one: they are its {term}`aliases`. Every view mixes them by
# other γ, so that all views together tell them apart, as the least-squares solution of a small system. A
# {term}`prior`, the power that the phase is expected to have, keeps noise from growing where γ is small.
# The last line checks that the package finds the same at this frequency.

# %%
scene = series.scenes[crystal]
direct, acquisition = scene.direct, scene.midplane
noisy = scene.measure(doses[0], seed).views
prior = 0.5  # rad²·Å², expected power of the phase, here the same at all frequencies
r, (nx, ny), (i, j) = direct.upsampling, acquisition.scan_shape, (7, 5)


def probe(k):
    """Aperture and aberrations in Fourier space, ψ(k) = A·exp(−iχ)."""
    inside = aperture(k.square().sum(-1), acquisition.wavelength, acquisition.semiangle)
    return inside * torch.exp(-1j * acquisition.chi(k[..., 0], k[..., 1]))


fine_x, fine_y = (
    torch.fft.fftfreq(r * n, step / r, dtype=torch.float64)
    for n, step in zip((nx, ny), acquisition.step, strict=True)
)
q = torch.cartesian_prod(fine_x[i::nx], fine_y[j::ny])  # (r², 2) [Å⁻¹], the aliases
k = acquisition.view_samples[:, :, None]  # (M, S, 1, 2): plane waves in a detector pixel
a = direct.amplitude_contrast
below = (1 + 1j * a) * probe(k).conj() * probe(k - q)
above = (1 - 1j * a) * probe(k) * probe(k + q).conj()
gamma = (below - above).mean(1)  # (M, r²): the pixel averages
measured = -1j * torch.fft.fft2(noisy.double(), norm="forward")[:, i, j]
weighted = (gamma / acquisition.view_illumination[:, None]).mH  # a view counts by its noise
noise = direct.statistic(noisy).noise.double()
damping = noise * math.prod(acquisition.field) / prior
phase = torch.linalg.solve(weighted @ gamma + damping * torch.eye(r * r), weighted @ measured)

image = direct(noisy, prior=prior).double()
same = torch.fft.fft2(image, norm="forward")[i::nx, j::ny].flatten()
assert torch.allclose(phase, same, rtol=0, atol=1e-4 * float(same.abs().max()))

# %% tags=["remove-cell"]
series.measure(draws, seed, ptychography_doses)

# %% [markdown]
# ## The crystal

# %% tags=["remove-cell"]
Image(figures.save(series.figure(crystal, 5.0), "dose_series_crystal"))

# %% [markdown]
# ```{figure} ../figures/dose_series_crystal.png
# :name: fig-dose-series-crystal
# :alt: Li₂CoO₃ against dose by methods without training and by the shipped networks; the columns sharpen with dose, and are sharper by direct ptychography than by adding views
#
# Re-makes Fig. 4a: Li₂CoO₃ along [010], 20 Å thick, against dose, the inner 48 Å. Last the two rows of
# the paper, its network over ptychography by the paper's program, and below it ptychography by phaserEM where
# the study holds its images. Under each image is its correlation with the truth inside the specimen. Each
# row has one pair of grey limits; the truth is the projected phase, band-limited to 2α, under those of
# the direct row. A negative correlation is the truth with its sign turned. Scale bar 5 Å.
# ```

# %% [markdown]
# ## The glass

# %% tags=["remove-cell"]
Image(figures.save(series.figure(glass, 5.0), "dose_series_glass"))

# %% [markdown]
# ```{figure} ../figures/dose_series_glass.png
# :name: fig-dose-series-glass
# :alt: Cu-Zr glass against dose by methods without training and by the shipped networks; with direct ptychography dark and bright spots sharpen with dose
#
# Re-makes Fig. 4b: Cu-Zr glass (Cu₅₀Zr₅₀), 20 Å thick, against dose, rows and grey limits as above. Spots are
# chance alignments of atoms along the beam. Scale bar 5 Å.
# ```

# %% [markdown]
# ## The protein

# %% tags=["remove-cell"]
Image(figures.save(series.figure(protein, 50.0), "dose_series_protein"))

# %% [markdown]
# ```{figure} ../figures/dose_series_protein.png
# :name: fig-dose-series-protein
# :alt: Apoferritin against dose by methods without training and by the shipped networks; the hollow shell sharpens with dose
#
# Re-makes Fig. 4c: apoferritin (6Z6U) in vacuum, 4 Å scan step, against dose, the inner 192 Å, rows and
# grey limits as above. Scale bar 50 Å.
# ```
#

# %% tags=["remove-input"]
Markdown(series.absent())

# %% [markdown]
# The numbers under the images, for direct ptychography of the protein:

# %%
scene = series.scenes[protein]
inside = specimen_mask(scene.truth, scene.pixel)
for dose in (*doses, math.inf):
    image = scene.direct(series.views[protein, dose])
    print(f"{dose:g} e⁻/Å²: correlation {correlation(image, scene.truth, within=inside):.2f}")

# %% [markdown]
# The ×3 image holds 3 × 3 aliases of a scan's frequencies. The protein's scan is coarse, so more of them reach 2α.
# Solving all of these changes little:

# %%
every_alias = max(UPSAMPLING, covering_factor(scene.acquisition))
covering = DirectPtychography(
    scene.midplane,
    UPSAMPLING,
    aliases=every_alias,
    amplitude_contrast=AMPLITUDE_CONTRAST[scene.specimen.regime],
)
more = {}
for dose in (series.picked, math.inf):
    noisy = series.views[protein, dose]
    images = (scene.direct(noisy), covering(noisy))
    more[dose] = [correlation(image, scene.truth, within=inside) for image in images]
    print(
        f"{dose:g} e⁻/Å²: {UPSAMPLING}² aliases {more[dose][0]:.4f}, {every_alias}² {more[dose][1]:.4f}"
    )

# %% tags=["remove-cell"]
figures.save(series.hero(), "hero")

# %% tags=["remove-cell"]
# For the page on which a reader compares them; scores are those of the draw that is shown.
save_frames(series.compared(), series.every_dose)

# %% [markdown]
# ## Measured against the truth
#
# All of these images, two at a time under a divider: {doc}`../book/explore`.
#
# Correlation is taken {term}`inside the specimen`, because over a whole field it is mostly the specimen's
# outline. The ring correlation ({term}`FRC`) {cite}`saxton1982` gives the resolution: the finest period
# up to which every {term}`ring with power <ring with power>` correlates by one half or more. Lines are
# medians over the noise draws of the study. Bands reach from the lower to the upper quartile of eight draws or
# more, and from the least to the largest of fewer. The limits that no method can pass are drawn too.

# %% tags=["remove-cell"]
Image(figures.save(series.curves(), "dose_series_curves"))

# %% [markdown]
# ```{figure} ../figures/dose_series_curves.png
# :name: fig-dose-series-curves
# :alt: Correlation with the truth and resolution against dose for three specimens, for methods without training and the shipped networks, with limits
#
# Correlation inside the specimen (top) and resolution (bottom; smaller is finer) against dose. Dotted: the same
# method at infinite dose. Squares: networks. Diamonds: ptychography by other programs. Dashed: limits. A method that
# is below one half in its first ring with power has no point.
# ```

# %% tags=["remove-input"]
Markdown(series.correlation_table())

# %% tags=["remove-input"]
Markdown(series.measures_table())

# %% tags=["remove-cell"]
figures.save_results("03_dose_series", {"draws": draws, "seed": seed, "values": series.record()})

# %% [markdown]
# ## How many electrons a network saves
#
# The dose at which a network has the correlation inside the specimen that direct ptychography has at
# another, by interpolation between the medians. Nothing is extrapolated.

# %%
at = [dose for dose in series.finite if series.draws.values(crystal, "informed", dose)]
curve = torch.tensor([series.draws.median(crystal, "informed", dose) for dose in at])
target = series.draws.median(crystal, "direct", doses[-1])
if len(at) > 1:  # one dose cannot be interpolated
    reached = dose_to_reach(torch.tensor(at), curve, target)
    print(f"direct {target:.2f} at {doses[-1]:g} e⁻/Å², informed from {reached:.0f} on")

# %% [markdown]
# The dose (e⁻/Å²) that each network needs for direct ptychography's correlation at the dose above each column:

# %% tags=["remove-input"]
Markdown(series.needed_table())

# %% [markdown]
# ## What was seen

# %% tags=["remove-input"]
Markdown(page.seen(series, more, every_alias))

# %% [markdown]
# **Exercise.** How many electrons pass through the image of one column of Li₂CoO₃ at 200 e⁻/Å²? Take the image
# to be a disc as wide as the finest period that the aperture transfers, λ/2α = 0.984 Å.
#
# ```{dropdown} Solution
# The disc has an area of π/4 × (0.984 Å)² = 0.76 Å², so 200 e⁻/Å² × 0.76 Å² = 152 electrons. The first of
# {doc}`14_exercises` goes on from there: the phase of something that N electrons pass through is known to
# 1/(2√N) at best, here 0.04 rad. A column's phase is many times that.
# ```
