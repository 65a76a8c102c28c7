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
# # Power spectra, ring correlation, and the limits
#
# **What the paper says** (§3.2, Suppl. Fig. 3). The isotropic power spectrum of the network's image
# reaches a higher resolvable frequency than that of ptychography (claim C7).
#
# **What is measured here.** The same spectra, in rings and in two dimensions, for methods with and without training.
# The spectrum of an empty scan stands beside them: a "resolvable frequency" there says nothing of a specimen. Three
# measures tell what a power spectrum cannot:
#
# * the {term}`ring correlation <FRC>` with the {term}`truth`;
# * the ring correlation between {term}`half-sets <half-set>` of the same electrons;
# * the {term}`spectral signal-to-noise ratio` over {term}`noise draws <draw>`, against the bound that counting noise
#   sets.
#
# **How long it takes.** About a minute on two cores, with the image by ptychography that the study
# keeps (300 e⁻/Å²); minutes more with another dose, once.

# %% tags=["parameters"]
crystal: str = "Li2CoO3"  # scanned in the atomic regime
glass: str = "CuZr"  # scanned in the atomic regime
protein: str = "apoferritin"  # scanned in the molecular regime
dose: float = 300.0  # e⁻/Å²
draws: int = 8  # noise draws of every method but ptychography, which has one
seed: int = 0  # of the first draw

# %% tags=["remove-cell"]
from misr4d.companion.parameters import check_parameters

check_parameters(globals())

from IPython.display import Image, Markdown

from misr4d import plotting
from misr4d.companion import figures
from misr4d.companion.chapters import power_spectra as page

plotting.use_style()

# %%
import torch

from misr4d.core.dose import electrons_per_pixel, thin
from misr4d.measure.spectra import (
    RINGS,
    fourier_ring_correlation,
    half_bit_threshold,
    power_spectrum,
)

# %% tags=["remove-cell"]
found = page.Spectra((crystal, glass, protein), dose, draws, seed)

# %% [markdown]
# ## Power spectra
#
# |F(q)|² of each image, averaged over rings. The paper does not say how it reads a highest resolvable
# frequency off such a curve. The rule here: the last ring that stands three standard errors above the
# floor, as the ring before it does too; the floor is the median of the outermost fifth of the rings.
#
# The spectrum of the crystal's image by direct ptychography, written out:

# %%
scene = found.scenes[crystal]
image, side = found.images[crystal, "direct"].double(), len(scene.truth)
area = scene.acquisition.field[0] * scene.acquisition.field[1]  # Å²
power = torch.fft.fft2(image - image.mean(), norm="forward").abs().square() * area

periods = torch.fft.fftfreq(side, 1 / side, dtype=torch.float64)  # across the field
ring = ((periods[:, None].hypot(periods) - 0.5) / RINGS).floor()  # −1 is the mean alone
density = torch.stack([power[ring == n].mean() for n in range(int((side / 2 - 0.5) / RINGS + 0.5))])
assert torch.allclose(density, power_spectrum(image, scene.pixel, width=RINGS)[1])

# %% tags=["remove-cell"]
Image(figures.save(found.power_figure(), "power_spectra"))

# %% [markdown]
# ```{figure} ../figures/power_spectra.png
# :name: fig-power-spectra
# :alt: Isotropic power spectra of seven methods, of the truth and of empty scans, for a crystal, a glass and a protein
#
# Re-makes Suppl. Fig. 3: isotropic power spectra at low dose. Dotted: the same method on an empty scan.
# Parallax and the summed bright field are not in rad, so their height means nothing; their shape does.
# ```

# %% tags=["remove-cell"]
Image(figures.save(found.plane_figure(), "power_spectra_2d"))

# %% [markdown]
# ```{figure} ../figures/power_spectra_2d.png
# :name: fig-power-spectra-2d
# :alt: Two-dimensional power spectra of a crystal, a glass and a protein: the truth, ptychography, direct ptychography and three networks
#
# The same spectra in two dimensions, each as a share of its own maximum. The crystal's power lies in
# reflections, with nothing but noise between them. Dashed: 2α/λ, where it lies within the image. Scale
# bars 0.5 Å⁻¹, and 0.2 Å⁻¹ for the protein.
# ```

# %% [markdown]
# ## Ring correlation: with the truth, and between halves
#
# In a ring of spatial frequencies q, of two images with the spectra F and G,
#
# $$
# \mathrm{FRC} = \frac{\mathrm{Re}\sum_q F(q)\,G^*(q)}
#  {\sqrt{\sum_q |F(q)|^2 \, \sum_q |G(q)|^2}} .
# $$ (eq-frc)
#
# It is 1 where the two say the same and 0 on average where they have nothing in common. In a ring where the
# specimen has nothing to show, no image can correlate: a resolution here is the finest period up to which
# every {term}`ring with power` holds, not the first crossing. Where two halves
# agree enough for information to be had is drawn by the {term}`half-bit criterion`
# {cite}`vanheel2005`, T(n) = (0.2071 + 1.9102/√n) / (1.2071 + 0.9102/√n) of a ring of n pixels, and by the
# customary 0.143.
#
# Half-sets deal the electrons of one measurement to two of half the dose; each is reconstructed on its own.
# The ring correlation of the two, written out:

# %%
measurement = scene.measure(dose, seed)
electrons = measurement.counts  # (M, Rx, Ry); each is dealt to one of the halves at random
parts = thin(electrons, torch.Generator().manual_seed(seed))
share = electrons_per_pixel(dose / 2, scene.acquisition)
first, second = (scene.direct(part / share) for part in parts)

F, G = torch.fft.fft2(first.double()), torch.fft.fft2(second.double())
by_hand = []
for number in range(len(density)):
    here = ring == number
    cross = (F[here] * G[here].conj()).real.sum()
    by_hand.append(cross / (F[here].abs().square().sum() * G[here].abs().square().sum()).sqrt())
frequency, curve, count = fourier_ring_correlation(first, second, scene.pixel, width=RINGS)
assert torch.allclose(torch.stack(by_hand), curve, atol=1e-9)

half_bit = (0.2071 + 1.9102 / count.sqrt()) / (1.2071 + 0.9102 / count.sqrt())
assert torch.allclose(half_bit, half_bit_threshold(count), atol=1e-3)

# %% tags=["remove-cell"]
Image(figures.save(found.ring_figure(), "ring_correlation"))

# %% [markdown]
# ```{figure} ../figures/ring_correlation.png
# :name: fig-ring-correlation
# :alt: Fourier ring correlation with the truth and between half-sets for a crystal, a glass and a protein
#
# Fourier ring correlation with the truth (top; dotted one half) and between halves of the same electrons
# (bottom), with the ½-bit curve and 0.143. Grey: rings without power, between a crystal's reflections and beyond 2α/λ,
# where nothing can correlate. The summed bright field ends at its scan's Nyquist frequency.
# Halves agree on what is reproducible, which includes what a method always does; only the truth says what
# is right.
# ```

# %% [markdown]
# ## Signal to noise, and what counting allows
#
# For a {term}`weak phase object`, view k carries the object's spectrum φ(q) times a known
# $\gamma_k(q)$ of {eq}`eq-weak`, and white counting noise. By the theorem of Gauss and Markov the best
# weighted mean of all views determines φ(q) with a signal-to-noise ratio of
#
# $$
# \mathrm{SNR}(q) \le n N\,|\varphi(q)|^2 \sum_k \frac{|\gamma_k(q)|^2}{m_k},
# $$ (eq-bound)
#
# with n electrons in a fully lit pixel, N scan positions and the share $m_k$ of pixel k that is lit. It
# bounds every linear estimate without a {term}`prior`; `misr4d.measure.snr.shot_noise_bound` derives it.
# A filter changes neither curve.

# %% tags=["remove-cell"]
Image(figures.save(found.snr_figure(), "spectral_snr"))

# %% [markdown]
# ```{figure} ../figures/spectral_snr.png
# :name: fig-spectral-snr
# :alt: Spectral signal-to-noise ratio of three methods against the bound set by counting noise
#
# Power signal-to-noise ratio per Fourier pixel, averaged over rings, from the spread over noise draws;
# dashed the bound by counting noise. From few draws the ratio itself scatters, so that a point may lie
# a little above the bound.
# ```

# %% tags=["remove-cell"]
figures.save_results("05_power_spectra", found.record())

# %% tags=["remove-input"]
Markdown(found.table())

# %% [markdown]
# ## What was seen

# %% tags=["remove-input"]
Markdown(page.seen(found))

# %% [markdown]
# **Exercise.** Double the dose. By how much does the bound rise, and by how much the ½-bit resolution?
#
# ```{dropdown} Solution
# The bound is proportional to the dose: it doubles at every frequency. The resolution moves to where
# the halved signal at a finer frequency still gives the same ratio; as the phase spectrum falls with
# frequency, that is a small step, which is why resolution against dose is a slow curve.
# ```
