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
# **What is measured here.** The same spectra, in rings and in two dimensions, for methods with and without training, beside three
# measures that a power spectrum cannot replace: the {term}`ring correlation <FRC>` with the {term}`truth`,
# that between {term}`half-sets <half-set>` of the same electrons, and the
# {term}`spectral signal-to-noise ratio` over noise draws against the bound that counting noise sets. And the spectrum of an empty scan: whatever "resolvable frequency" a method
# shows there, it shows for nothing.
#
# **How long it takes.** About a minute on two cores, once the ptychography of
# {doc}`06_method_comparison` is in the cache; minutes more without it.

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

# %% tags=["hide-input"]
import textwrap
from dataclasses import replace

import matplotlib.pyplot as plt
import torch
from IPython.display import Image, Markdown

from misr4d import plotting
from misr4d.companion import figures
from misr4d.companion.study import METHODS, make_scene
from misr4d.core.dose import expose
from misr4d.measure.snr import shot_noise_bound, spectral_snr
from misr4d.measure.spectra import (
    RINGS,
    fourier_ring_correlation,
    half_bit_threshold,
    highest_resolvable_frequency,
    power_spectrum,
    resolution,
    ring_mean,
    score_rings,
)
from misr4d.measure.summary import plain, summarise

plotting.use_style()
NETWORKS = ("attention U-Net", "dual path", "informed")
SHOWN = ("summed VBF", "parallax", "ptychography", "direct", *NETWORKS)
LINEAR = ("summed VBF", "parallax", "direct")  # their noise is the same with and without specimen


# %%
scenes = {name: make_scene(name) for name in (crystal, glass, protein)}
images, halves, stacks, empty, values = {}, {}, {}, {}, {}
for name, scene in scenes.items():
    for draw in range(draws):
        measurement = scene.measure(dose, seed + draw)
        for method in SHOWN:
            if method == "ptychography" and draw:
                continue
            image = METHODS[method](measurement)
            rings = score_rings(image, scene.truth, scene.pixel)
            top = highest_resolvable_frequency(*power_spectrum(image, scene.pixel, width=RINGS))
            for key, value in (
                ("highest_frequency", top),
                ("resolution", rings.resolution),
                ("last_ring", rings.last_ring),
                ("weighted_frc", rings.weighted),
            ):
                values.setdefault((name, method, key), []).append(value)
            if method in LINEAR:
                stacks.setdefault((name, method), []).append(image)
            if draw == 0:
                images[name, method] = image
                if method != "ptychography":
                    halves[name, method] = [METHODS[method](half) for half in measurement.halves]
    # An empty scan: every lit pixel expects its share, nothing else.
    acquisition = scene.acquisition
    noisy = expose(acquisition.vacuum_views, acquisition, dose, torch.Generator().manual_seed(seed))
    for method in (*LINEAR, *NETWORKS):
        empty[name, method] = METHODS[method](replace(measurement, views=noisy, halves=None))

# %% [markdown]
# ## Power spectra
#
# |F(q)|² of each image, averaged over rings. The paper does not say how it reads a highest resolvable
# frequency off such a curve. The rule here: the last ring that stands three standard errors above the
# floor, as the ring before it does too; the floor is the median of the outermost fifth of the rings.


# %% tags=["hide-input"]
def limits(axes, scene):
    acquisition = scene.acquisition
    top = 0.5 / max(scene.pixel)
    for value, text in (
        (0.5 / max(acquisition.step), "Nyquist of a view"),
        (1 / acquisition.information_limit, "2α/λ"),
    ):
        if value < top:
            plotting.mark_limit(axes, value, text, upright=True)
    axes.set_xlim(0, top)


# %% tags=["hide-input", "remove-output"]
figure, grid = plt.subplots(2, 3, figsize=(9.2, 5.6), layout="constrained", sharex="col")
found, handles = {}, {}
for column, (name, scene) in enumerate(scenes.items()):
    frequency, true_power, _ = power_spectrum(scene.truth, scene.pixel, width=RINGS)
    level = float(true_power.max())
    for axes, methods in zip(grid[:, column], (SHOWN[:4], ("direct", *NETWORKS)), strict=True):
        lines = {"truth": axes.semilogy(frequency, true_power, color="black")[0]}
        for method in methods:
            spectrum = power_spectrum(images[name, method], scene.pixel, width=RINGS)
            colour = plotting.METHOD_COLOURS[method]
            (lines[method],) = axes.semilogy(
                spectrum[0], spectrum[1].clamp_min(1e-12), color=colour
            )
            if (name, method) in empty and method != "summed VBF":
                spectrum = power_spectrum(empty[name, method], scene.pixel, width=RINGS)
                found[name, method, "empty"] = highest_resolvable_frequency(*spectrum)
                axes.semilogy(spectrum[0], spectrum[1].clamp_min(1e-12), ":", color=colour)
        handles |= lines
        axes.set(ylim=(1e-8 * level, 5 * level))
        limits(axes, scene)
    grid[0, column].set_title(scene.specimen.short_title)
    grid[1, column].set_xlabel("spatial frequency (Å⁻¹)")
for axes, kind in zip(grid[:, 0], ("without training", "networks, and direct"), strict=True):
    axes.set_ylabel(f"{kind}\npower density (units² Å²)")
figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4, fontsize=7)
path = figures.save(figure, "power_spectra")
plt.close(figure)
Image(path)

# %% [markdown]
# ```{figure} ../figures/power_spectra.png
# :name: fig-power-spectra
# :alt: Isotropic power spectra of seven methods, of the truth and of empty scans, for a crystal, a glass and a protein
#
# Re-makes Suppl. Fig. 3: isotropic power spectra at low dose. Dotted: the same method on an empty scan.
# Parallax and the summed bright field are not in rad, so their height means nothing; their shape does.
# ```

# %% tags=["hide-input", "remove-output"]
DRAWN = ("truth", "ptychography", "direct", *NETWORKS)
DEPTH = 6.0  # decades that are shown
figure, grid = plt.subplots(
    len(scenes), len(DRAWN), figsize=(9.2, 4.9), layout="constrained", squeeze=False
)
for row, (name, scene) in zip(grid, scenes.items(), strict=True):
    top, aperture = 0.5 / max(scene.pixel), 1 / scene.acquisition.information_limit
    for axes, method in zip(row, DRAWN, strict=True):
        image = scene.truth if method == "truth" else images[name, method]
        spectrum = torch.fft.fft2(image.double() - image.double().mean()).abs().square()
        share = torch.fft.fftshift(spectrum / spectrum.max()).clamp_min(10**-DEPTH).log10()
        picture = axes.imshow(
            share, cmap="magma", vmin=-DEPTH, vmax=0, extent=(-top, top, top, -top)
        )
        axes.set(xticks=[], yticks=[], title=method if name == crystal else "")
        if aperture < top:
            circle = plt.Circle((0, 0), aperture, fill=False, color="white", ls="--", lw=0.6)
            axes.add_patch(circle)
        if method == DRAWN[0]:
            plotting.scale_bar(axes, 0.2 if aperture > top else 0.5, "")
    row[0].set_ylabel(textwrap.fill(scene.specimen.short_title, 16))
figure.colorbar(picture, ax=grid, shrink=0.5, label="log₁₀ of the share of the maximum")
figure.suptitle(plotting.dose_label(dose), fontsize=9)
path = figures.save(figure, "power_spectra_2d")
plt.close(figure)
Image(path)

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
first, second = halves[crystal, "direct"]
pixel = scenes[crystal].pixel
F, G = torch.fft.fft2(first.double()), torch.fft.fft2(second.double())
side = len(first)
periods = torch.fft.fftfreq(side, 1 / side, dtype=torch.float64)  # across the field
ring = ((periods[:, None].hypot(periods) - 0.5) / RINGS).floor()  # −1 is the mean alone
by_hand = []
for number in range(int((side / 2 - 0.5) / RINGS + 0.5)):
    here = ring == number
    cross = (F[here] * G[here].conj()).real.sum()
    by_hand.append(cross / (F[here].abs().square().sum() * G[here].abs().square().sum()).sqrt())
_, curve, _ = fourier_ring_correlation(first, second, pixel, width=RINGS)
assert torch.allclose(torch.stack(by_hand), curve, atol=1e-9)


# %% tags=["hide-input", "remove-output"]
def carried(scene, method):
    """Nyquist frequency of an image: interpolating the summed bright field does not raise it [Å⁻¹]."""
    return 0.5 / max(scene.acquisition.step if method == "summed VBF" else scene.pixel)


figure, grid = plt.subplots(2, 3, figsize=(9.2, 5.4), layout="constrained", sharex="col")
period = {}
for column, (name, scene) in enumerate(scenes.items()):
    top, bottom = grid[:, column]
    for method in SHOWN:
        colour = plotting.METHOD_COLOURS[method]
        rings = score_rings(images[name, method], scene.truth, scene.pixel)
        shown = rings.frequency <= carried(scene, method)
        top.plot(rings.frequency[shown], rings.curve[shown], color=colour, label=method)
        if (name, method) in halves:
            frequency, curve, count = fourier_ring_correlation(
                *halves[name, method], scene.pixel, width=RINGS
            )
            period[name, method] = resolution(
                frequency, curve, half_bit_threshold(count), counting=rings.counting
            )
            bottom.plot(frequency[shown], curve[shown], color=colour)
    top.axhline(0.5, color="0.6", lw=0.8, ls=":")
    half = float(rings.frequency[1] - rings.frequency[0]) / 2
    for axes in (top, bottom):
        for q in rings.frequency[~rings.counting].tolist():
            axes.axvspan(q - half, q + half, color="0.94", lw=0, zorder=0)
    bottom.plot(frequency, half_bit_threshold(count), color="0.3", lw=0.8, ls="--", label="½ bit")
    bottom.axhline(0.143, color="0.6", lw=0.8, ls=":", label="0.143")
    for axes in (top, bottom):
        axes.set_ylim(top=1.02)
    top.set_title(scene.specimen.short_title)
    bottom.set_xlabel("spatial frequency (Å⁻¹)")
    limits(top, scene)
    limits(bottom, scene)
grid[0, 0].set_ylabel("ring correlation\nwith the truth")
grid[1, 0].set_ylabel("ring correlation\nbetween half-sets")
figure.legend(
    *(
        a + b
        for a, b in zip(*(axes.get_legend_handles_labels() for axes in grid[:, 0]), strict=True)
    ),
    loc="outside lower center",
    ncols=5,
    fontsize=7,
)
path = figures.save(figure, "ring_correlation")
plt.close(figure)
Image(path)

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

# %% tags=["hide-input", "remove-output"]
figure, grid = plt.subplots(1, 3, figsize=(9.2, 3.0), layout="constrained")
share = {}
for axes, (name, scene) in zip(grid, scenes.items(), strict=True):
    bound = shot_noise_bound(scene.direct, scene.truth, dose)
    frequency, allowed, _ = ring_mean(bound, scene.pixel, width=RINGS)
    axes.semilogy(frequency, allowed.clamp_min(1e-6), color="black", ls="--", label="bound")
    for method in LINEAR:
        stack = torch.stack(stacks[name, method])
        frequency, ratio, _ = spectral_snr(stack, scene.pixel, width=RINGS)
        if method == "direct":
            share[name] = float((ratio / allowed)[allowed > 1].median())
        positive = ratio > 0
        axes.semilogy(
            frequency[positive],
            ratio[positive],
            ".-",
            ms=3,
            lw=0.8,
            color=plotting.METHOD_COLOURS[method],
            label=method,
        )
    axes.axhline(1, color="0.6", lw=0.8, ls=":")
    axes.set(xlabel="spatial frequency (Å⁻¹)", title=scene.specimen.short_title, ylim=(1e-2, None))
    limits(axes, scene)
grid[0].set_ylabel("spectral signal to noise")
figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=7)
path = figures.save(figure, "spectral_snr")
plt.close(figure)
Image(path)

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
figures.save_results(
    "05_power_spectra",
    {
        "dose": dose,
        "highest_frequency": {
            f"{n} / {m}": values[n, m, "highest_frequency"][0] for n in scenes for m in SHOWN
        }
        | {" / ".join(key): value for key, value in found.items()},
        "values": [
            {
                "specimen": n,
                "method": m,
                "values": {
                    key: plain(values[n, m, key])
                    for key in ("highest_frequency", "resolution", "last_ring", "weighted_frc")
                },
            }
            for n in scenes
            for m in SHOWN
        ],
        "half_bit": {" / ".join(key): plain([value]) for key, value in period.items()},
        "share_of_bound": share,
    },
)


# %% tags=["remove-input"]
def number(name, method, *more):
    """Highest frequency of the power spectrum: the median with a specimen, one draw without."""
    if more:
        return f"{found[(name, method, *more)]:.2f}"
    return f"{summarise(values[name, method, 'highest_frequency']).median:.2f}"


def fine(name, method):
    return plotting.period_label(summarise(values[name, method, "resolution"]).median)


def halved(name, method):
    return plotting.period_label(period[name, method])


def text(name, method, key, word=None):
    return summarise(values[name, method, key]).text(word=word)


rows = "\n".join(
    f"| {scene.specimen.short_title} | {method} | {text(name, method, 'highest_frequency')} | "
    f"{number(name, method, 'empty') if (name, method, 'empty') in found else '·'} | "
    f"{text(name, method, 'resolution', plotting.period_label)} | "
    f"{text(name, method, 'last_ring', plotting.period_label)} | "
    f"{text(name, method, 'weighted_frc')} | "
    f"{halved(name, method) if (name, method) in period else '·'} |"
    for name, scene in scenes.items()
    for method in SHOWN
)
Markdown(
    f"""
Median, and in brackets the spread and the number n of draws (quartiles from eight draws on, least to largest of
fewer). Half-sets and empty scans: the first draw.

| specimen | method | highest frequency of the power spectrum (Å⁻¹) | the same, empty scan | resolution | last ring | weighted FRC | half-sets, ½ bit |
|---|---|---|---|---|---|---|---|
{rows}

## What was seen

A power spectrum cannot tell how fine an image is right, because an empty scan has a "resolution" by it too. Ring
correlation with the truth can. A *draw* is one random counting of the electrons.

* **Claim C7** cannot be settled by power spectra. On an empty scan the spectrum of direct ptychography
  still has a "highest resolvable frequency" of {number(crystal, "direct", "empty")} Å⁻¹ in the atomic and
  {number(protein, "direct", "empty")} Å⁻¹ in the molecular regime, against {number(crystal, "direct")} and
  {number(protein, "direct")} Å⁻¹ with the specimens in place: the measure mostly sees where a method's own
  filter ends.
* The paper's network has {number(crystal, "attention U-Net")} and {number(protein, "attention U-Net")} Å⁻¹
  with the specimens, {number(crystal, "attention U-Net", "empty")} and
  {number(protein, "attention U-Net", "empty")} Å⁻¹ of an empty scan; the informed network
  {number(crystal, "informed")} and {number(protein, "informed")} with,
  {number(crystal, "informed", "empty")} and {number(protein, "informed", "empty")} without.
* What survives comparison with the truth at {dose:g} e⁻/Å², up to the finest period at which every ring with
  power holds: {fine(crystal, "direct")} for direct, {fine(crystal, "ptychography")} for tuned ptychography,
  {fine(crystal, "attention U-Net")} for the paper's network and {fine(crystal, "informed")} for the informed
  one on {scenes[crystal].specimen.short_title}; {fine(glass, "direct")}, {fine(glass, "ptychography")},
  {fine(glass, "attention U-Net")} and {fine(glass, "informed")} on {scenes[glass].specimen.short_title};
  {fine(protein, "direct")}, {fine(protein, "ptychography")}, {fine(protein, "attention U-Net")} and
  {fine(protein, "informed")} on {scenes[protein].specimen.short_title}.
* Between half-sets the informed network promises {halved(crystal, "informed")} on the crystal and
  {halved(protein, "informed")} on the protein: what its prior draws into both halves counts as
  agreement. {{doc}}`11_invention` measures by how much.
* Where the bound exceeds one, direct ptychography reaches {share[crystal]:.0%} of it on the crystal and
  {share[protein]:.0%} on the protein (median over rings). What is missing is the price of telling aliases
  apart, and of specimens that are not weak.
"""
)

# %% [markdown]
# **Exercise.** Double the dose. By how much does the bound rise, and by how much the ½-bit resolution?
#
# ```{dropdown} Solution
# The bound is proportional to the dose: it doubles at every frequency. The resolution moves to where
# the halved signal at a finer frequency still gives the same ratio; as the phase spectrum falls with
# frequency, that is a small step, which is why resolution against dose is a slow curve.
# ```
