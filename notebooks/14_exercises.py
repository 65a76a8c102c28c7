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
# # Ten exercises
#
# **What the paper says** (throughout). Doses in e⁻/Å², sub-Ångström features, an atomic lattice from
# 200 e⁻/Å², no artefacts. Each of these words stands for a quantity that can be worked out, by hand or
# in a few lines.
#
# **What is measured here.** Ten such quantities, from counting electrons to making a network show an
# atom that is not there. Each exercise stands on its own. It gives its level, the time that a student needs, and a
# skeleton to fill in: every `...`. The folded solution was run with the page. The cell below it checks the
# names of the skeleton, so it checks a student's answer too.
#
# **How long it takes.** The page runs in under a minute on two cores. An exercise takes a student five to forty
# minutes; [](../book/teaching.md) says which belongs to which lesson, and how to make the hand-out.

# %% tags=["parameters"]
crystal: str = "Li2CoO3"  # of misr4d.specimens.catalogue.SPECIMENS, in the atomic regime
element: str = "Co"  # of the atom that exercise 10 forges
dose: float = 200.0  # e⁻/Å²
seed: int = 0  # of the first noise draw

# %% tags=["remove-cell"]
from misr4d.companion.parameters import check_parameters

check_parameters(globals())

# %% [markdown]
# ## What all of them use
#
# One specimen, its measurement in the atomic regime ([](../book/conventions.md)), its views at infinite
# dose and its true phase. `measure` counts electrons; `direct` reconstructs.

# %%
import math
from dataclasses import replace

import numpy as np
import torch
from IPython.display import Markdown

from misr4d import ATOMIC, MOLECULAR, plotting
from misr4d.companion import figures
from misr4d.companion.released import areal_dose
from misr4d.core.dose import count_electrons, electrons_per_pixel, electrons_per_probe, expose, thin
from misr4d.core.optics import wave_sampling_limit
from misr4d.learn.learned import informed, load_network
from misr4d.learn.networks import direct_features
from misr4d.measure.metrics import correlation, dose_to_reach, specimen_mask
from misr4d.measure.spectra import fourier_ring_correlation, half_bit_threshold, resolution
from misr4d.measure.summary import summarise
from misr4d.reconstruction.direct import AMPLITUDE_CONTRAST, DirectPtychography
from misr4d.simulate.multislice import build_potential
from misr4d.simulate.patterns import camera_pixel
from misr4d.simulate.reciprocity import simulate_views
from misr4d.specimens.catalogue import make_specimen
from misr4d.specimens.potential import truth

acquisition = replace(ATOMIC, detector_pixel=camera_pixel(ATOMIC.wavelength))
sample = make_specimen(crystal)
potential = build_potential(sample, sampling=1 / 3)
views = simulate_views(potential, acquisition)
phase = truth(potential, acquisition)
pixel = (acquisition.step[0] / 3, acquisition.step[1] / 3)  # Å, of the ×3 image
direct = DirectPtychography(
    acquisition.refocused(potential.thickness / 2),
    upsampling=3,
    amplitude_contrast=AMPLITUDE_CONTRAST["atomic"],
)


def measure(expected, dose, number):
    """Views as measured at a dose, in the noise draw of that number."""
    generator = torch.Generator().manual_seed(seed + number)
    return expose(expected, acquisition, dose, generator)


# %% tags=["remove-input"]
Markdown(
    f"{sample.title}, {acquisition.scan_shape[0]} × {acquisition.scan_shape[1]} positions at "
    f"{acquisition.step[0]:g} Å, {acquisition.number_of_views} views, {dose:g} e⁻/Å²."
)

# %% [markdown]
# ## 1. How many electrons hit a column?
#
# *Basic, 10 minutes.*
#
# Take a column's image to be a disc as wide as the {term}`information limit` λ/2α. How many electrons pass
# through it at this dose? How many does *one* detector pixel count at the probe position above it? An
# ideal measurement of the phase of something that N electrons pass through errs by 1/(2√N) at least.
# Compare that with the phase of a column.
#
# ```python
# column = ...  # electrons through a disc as wide as λ/2α
# position = ...  # electrons that land at one probe position
# one_pixel = ...  # electrons that one detector pixel counts there
# error = ...  # rad, the least error of the phase of what `column` electrons pass through
# ```

# %% tags=["hide-cell"]
column = dose * math.pi / 4 * acquisition.information_limit**2
position = electrons_per_probe(dose, acquisition)
one_pixel = electrons_per_pixel(dose, acquisition)
error = 1 / (2 * math.sqrt(column))
height = float(phase.max() - phase.median())

Markdown(
    f"""
Through the column: {dose:g} · π/4 · ({acquisition.information_limit:.3f} Å)² = {column:.0f} electrons.
At the position above it land {position:.0f}, spread over the disc, so that one detector pixel counts
{one_pixel:.1f}: a single view is noise. The column's phase stands {height:.2f} rad above the vacuum and the
ideal error is {error:.3f} rad, {height / error:.0f} times less. The electrons are there; what is asked of
a method is not to waste them.
"""
)

# %% tags=["check"]
assert math.isclose(column / dose, 0.761, abs_tol=0.001)  # Å²
assert math.isclose(position, dose * acquisition.step[0] * acquisition.step[1])
assert math.isclose(one_pixel * acquisition.pixels_per_disc, position, rel_tol=1e-6)
assert math.isclose(error**2 * column, 0.25)

# %% [markdown]
# ## 2. Two hundred of what?
#
# *Basic, 5 minutes.*
#
# A colleague used 200 electrons *per probe position* on the paper's protein scan and calls it a
# dose of 200. Which dose is it in e⁻/Å²? By how much does the radiation damage of the two differ?
#
# ```python
# hers = ...  # e⁻/Å²
# ```

# %% tags=["hide-cell"]
hers = areal_dose(dose, MOLECULAR)

Markdown(
    f"""
{dose:g} electrons on {MOLECULAR.step[0]:g} Å × {MOLECULAR.step[1]:g} Å are {hers:g} e⁻/Å². Damage goes with
electrons per area, so the two experiments are a factor of {dose / hers:g} apart. On a scan of 1 Å the two
numbers agree, and nobody notices. {{doc}}`09_released_code` finds this in published code.
"""
)

# %% tags=["check"]
assert math.isclose(hers * MOLECULAR.step[0] * MOLECULAR.step[1], dose)

# %% [markdown]
# ## 3. Sub-Ångström features
#
# *Basic, 10 minutes.*
#
# A protein is scanned in steps of 4 Å and the image has three pixels a step. What is the finest period
# that this image can hold? Which step, and which semi-angle, would 0.8 Å need at the same energy?
#
# ```python
# held = ...  # Å, the finest period of the image
# needed_step = ...  # Å
# needed_angle = ...  # mrad
# ```

# %% tags=["hide-cell"]
held = MOLECULAR.nyquist_period(3)
wanted = 0.8
needed_step = wanted * 3 / 2
needed_angle = MOLECULAR.wavelength / (2 * wanted) * 1e3

Markdown(
    f"""
A period takes two pixels: 2 · {MOLECULAR.step[0]:g}/3 = {held:.2f} Å. For {wanted:g} Å the step must be
{needed_step:.1f} Å or less *and* the semi-angle {needed_angle:.1f} mrad or more, because λ/2α is
{MOLECULAR.information_limit:.3f} Å now. Up-sampling can undo the first limit with more pixels a step, if
there are views enough; nothing undoes the second.
"""
)

# %% tags=["check"]
assert math.isclose(held, MOLECULAR.nyquist_period(3))
assert math.isclose(replace(MOLECULAR, step=needed_step).nyquist_period(3), 0.8)
assert math.isclose(replace(MOLECULAR, semiangle=needed_angle).information_limit, 0.8)

# %% [markdown]
# ## 4. A probe that does not fit its grid
#
# *Basic, 10 minutes.*
#
# Multislice keeps two thirds of a wave field's Nyquist frequency. Which angle is left at a sampling of
# 1 Å? Simulate the crystal at that sampling and see what the package says to it.
#
# ```python
# largest_angle = ...  # mrad, at a sampling of 1 Å
# message = ...  # what the package says, as text
# finest = ...  # Å, the sampling at which the probe just fits
# ```

# %% tags=["hide-cell"]
largest_angle = wave_sampling_limit(1.0, ATOMIC.wavelength)
try:
    simulate_views(build_potential(sample, sampling=1.0), acquisition)
except ValueError as refusal:
    message = str(refusal)
else:
    raise AssertionError("a cut probe was simulated")
finest = 2 / 3 * ATOMIC.wavelength / (2e-3 * ATOMIC.semiangle)

Markdown(
    f"""
⅔ · λ/(2 · 1 Å) = {largest_angle:.2f} mrad of the probe's {ATOMIC.semiangle:g}. The package refuses:

> {message}

With ⅔ · λ/2α = {finest:.3f} Å the probe just fits.
"""
)

# %% tags=["check"]
assert math.isclose(largest_angle, wave_sampling_limit(1.0, ATOMIC.wavelength))
assert f"cuts the {ATOMIC.semiangle:g} mrad probe" in message
assert math.isclose(wave_sampling_limit(finest, ATOMIC.wavelength), ATOMIC.semiangle)

# %% [markdown]
# ## 5. The least defocus
#
# *Middle, 15 minutes.*
#
# Views differ because defocus displaces them, by defocus × angle. If all displacements together span
# less than a step, every view samples the object in the same places and up-sampling is a guess. Find
# the least defocus for both regimes, by hand and with `check_upsampling`.
#
# ```python
# by_hand = {"1 Å": ..., "4 Å": ...}  # Å of defocus, by step
# ```


# %% tags=["hide-cell"]
def least_defocus(regime, lowest=1.0, highest=2000.0):
    """Bisect for the defocus at which up-sampling starts to be determined [Å]."""
    while highest - lowest > 0.01:
        middle = (lowest + highest) / 2
        try:
            replace(regime, defocus=middle).check_upsampling(3)
        except ValueError:
            lowest = middle
        else:
            highest = middle
    return highest


least = {name: least_defocus(regime) for name, regime in (("1 Å", ATOMIC), ("4 Å", MOLECULAR))}
by_hand = {
    "1 Å": ATOMIC.step[0] / (2e-3 * ATOMIC.semiangle),
    "4 Å": MOLECULAR.step[0] / (2e-3 * MOLECULAR.semiangle),
}
assert all(abs(least[name] - by_hand[name]) < 0.1 for name in least)

Markdown(
    f"""
The disc is 2α wide, so the displacements span 2α · defocus: step/2α is
{", ".join(f"{by_hand[name]:.0f} Å at a step of {name}" for name in by_hand)}, which bisection confirms
({", ".join(f"{value:.1f} Å" for value in least.values())}). The study uses {ATOMIC.defocus:g} and
{MOLECULAR.defocus:g} Å.
"""
)

# %% tags=["check"]
for name, regime in (("1 Å", ATOMIC), ("4 Å", MOLECULAR)):
    replace(regime, defocus=1.001 * by_hand[name]).check_upsampling(3)
    try:
        replace(regime, defocus=0.999 * by_hand[name]).check_upsampling(3)
    except ValueError:
        continue
    raise AssertionError(f"at a step of {name} less defocus is enough")

# %% [markdown]
# ## 6. Two experiments out of one
#
# *Middle, 15 minutes.*
#
# Deal the counted electrons of one scan at random into two halves ({term}`thinning`). Show that each half is again a
# Poisson measurement (its variance equals its mean) and that the halves know nothing of each other (no
# covariance), although they were cut from the same counts. What goes wrong if the second half is
# everything that exceeds ten counts?
#
# ```python
# flat = acquisition.vacuum_views  # less than one where the disc lights a pixel in part
# even = torch.ones_like(flat)
# counts = count_electrons(even, acquisition, 10 * dose, torch.Generator().manual_seed(seed))
# halves = ...  # two tensors that add up to `counts`
# ```

# %% tags=["hide-cell"]
flat = acquisition.vacuum_views  # less than one where the disc lights a pixel in part
even = torch.ones_like(flat)
counts = count_electrons(even, acquisition, 10 * dose, torch.Generator().manual_seed(seed))
halves = thin(counts, torch.Generator().manual_seed(seed + 1))
greedy = (counts.clamp(max=10), (counts - 10).clamp(min=0))


def statistics(pair):
    """Variance over mean of both parts, and their correlation."""
    a, b = (part.double().flatten() for part in pair)
    together = float(torch.corrcoef(torch.stack([a, b]))[0, 1])
    return float(a.var() / a.mean()), float(b.var() / b.mean()), together


fair, unfair = statistics(halves), statistics(greedy)

Markdown(
    f"""
| | variance / mean of the first | of the second | correlation |
|---|---|---|---|
| dealt at random | {fair[0]:.3f} | {fair[1]:.3f} | {fair[2]:+.4f} |
| cut at ten counts | {unfair[0]:.3f} | {unfair[1]:.3f} | {unfair[2]:+.4f} |

Dealing each electron on its own splits a Poisson variable into two independent ones. Cutting at a
threshold makes the halves share their fluctuations, and whatever is compared between them agrees for
the wrong reason.
"""
)

# %% tags=["check"]
first_half, second_half = (half.double().flatten() for half in halves)
assert torch.equal(first_half + second_half, counts.double().flatten())
assert abs(float(first_half.var() / first_half.mean()) - 1) < 0.02
assert abs(float(torch.corrcoef(torch.stack([first_half, second_half]))[0, 1])) < 0.01

# %% [markdown]
# ## 7. Is the crystal a weak phase object?
#
# *Middle, 20 minutes.*
#
# {term}`Direct ptychography <direct ptychography>` takes the views to be linear in the phase
# {eq}`eq-weak`. Make the crystal a hundred times weaker,
# simulate its views, and scale their contrast back up. How far are they from the true ones? Which part
# of the error will no amount of electrons remove?
#
# ```python
# flat = acquisition.vacuum_views
# feeble = ...  # a potential a hundred times weaker
# linear = ...  # contrast of its views, scaled back up
# departure = ...  # root mean square of what is missing, over that of the true contrast
# ```

# %% tags=["hide-cell"]
feeble = replace(potential, slices=potential.slices / 100)
linear = 100 * (simulate_views(feeble, acquisition).double() - flat)
true_contrast = views.double() - flat
departure = float((true_contrast - linear).norm() / true_contrast.norm())
best = correlation(direct(views), phase)
best_feeble = correlation(direct(flat + linear.float()), phase)

Markdown(
    f"""
The contrast of the views departs by {departure:.0%} (RMS) from that of the scaled weak object. At
infinite dose direct ptychography correlates {best:.3f} with the truth, and {best_feeble:.3f} on the views
that obey its assumption. The gap, and only the gap, is the price of linearity in this number; counting
noise comes on top.
"""
)

# %% tags=["check"]
rest = views.double() - flat - linear
assert math.isclose(departure, float(rest.norm() / (views.double() - flat).norm()), rel_tol=1e-6)
assert 0.01 < departure < 1

# %% [markdown]
# ## 8. What does a doubled dose buy?
#
# *Middle, 25 minutes.*
#
# Reconstruct at 50, 100, … 1600 e⁻/Å². How much correlation with the truth does each doubling add, over
# the whole field and within the crystal alone? At which dose does the inside reach three quarters of its
# infinite-dose value? Why is the whole field so much better?
#
# ```python
# inside = specimen_mask(phase, pixel)
# doses = torch.tensor([50.0, 100.0, 200.0, 400.0, 800.0, 1600.0])
# scores = {"whole": [], "inside": []}  # medians of three draws at each dose
# target_dose = ...  # e⁻/Å², by dose_to_reach
# ```

# %% tags=["hide-cell"]
inside = specimen_mask(phase, pixel)
doses = torch.tensor([50.0, 100.0, 200.0, 400.0, 800.0, 1600.0])
areas = {"whole": None, "inside": inside}
scores = {name: [] for name in areas}
for d in doses.tolist():
    images = [direct(measure(views, d, n)) for n in range(3)]
    for name, area in areas.items():
        drawn = [correlation(image, phase, within=area) for image in images]
        scores[name].append(summarise(drawn).median)
final = correlation(direct(views), phase, within=inside)
target_dose = dose_to_reach(doses, torch.tensor(scores["inside"]), 0.75 * final)
gains = np.diff(scores["inside"])
reached = (
    f"at {target_dose:.0f} e⁻/Å²"
    if 0 < target_dose < math.inf
    else "at none of the doses that were tried"
)

Markdown(
    f"Medians of {len(images)} draws:\n\n| dose (e⁻/Å²) | whole field | inside |\n|---|---|---|\n"
    + "\n".join(
        f"| {d:g} | {w:.3f} | {i:.3f} |"
        for d, w, i in zip(doses.tolist(), scores["whole"], scores["inside"], strict=True)
    )
    + f"""

Inside, each doubling adds {", ".join(f"{g:.3f}" for g in gains)}, and three quarters of {final:.3f} are
reached {reached}. At low dose the whole field scores higher, because the outline of the crystal
against the vacuum is a strong signal at low frequencies, which few electrons show. A correlation over a field
with edges says less about atoms than it seems to.
"""
)

# %% tags=["check"]
assert all(len(of_area) == len(doses) for of_area in scores.values())
assert (np.diff(scores["inside"]) > 0).all()
assert target_dose > 0

# %% [markdown]
# ## 9. A resolution that lies
#
# *Middle, 20 minutes.*
#
# {term}`Fourier ring correlation <FRC>` between two halves of the electrons is an honest estimate. Now compare the
# image of *all* electrons with that of one half. What does the ½-bit criterion say, and why is it wrong?
# Then do the same for a scan of vacuum. Take OBF weights, which are the same for any dose and specimen.
#
# ```python
# def claims(expected):
#     """Half-bit periods between the two halves, and between the whole and one half [Å]."""
#     ...
#
#
# honest, lying = claims(views)
# vacuum_honest, vacuum_lying = claims(acquisition.vacuum_views)
# ```


# %% tags=["hide-cell"]
def half_bit(a, b):
    """Period at which two images cease to agree by half a bit [Å]."""
    frequency, curve, count = fourier_ring_correlation(a, b, pixel, width=3)
    return resolution(frequency, curve, half_bit_threshold(count))


def claims(expected):
    """Half-bit periods between the two halves, and between the whole and one half [Å]."""
    counted = count_electrons(expected, acquisition, dose, torch.Generator().manual_seed(seed))
    share = electrons_per_pixel(dose, acquisition)
    first, second = thin(counted, torch.Generator().manual_seed(seed + 1))
    whole = counted / share
    image, a, b = (
        direct(part, solver="obf") for part in (whole, 2 * first / share, 2 * second / share)
    )
    return half_bit(a, b), half_bit(image, a)


honest, lying = claims(views)
vacuum_honest, vacuum_lying = claims(flat)


Markdown(
    f"""
| | half against half | whole against half |
|---|---|---|
| {sample.short_title} | {plotting.period_label(honest)} | {plotting.period_label(lying)} |
| vacuum | {plotting.period_label(vacuum_honest)} | {plotting.period_label(vacuum_lying)} |

The whole *contains* the half: they share its noise, which correlates by about 1/√2 at all
frequencies, above every threshold. So vacuum, too, is "resolved". The same happens, less visibly, when
two halves pass through one network: they share its prior.
"""
)

# %% tags=["check"]
assert lying < honest
assert vacuum_lying < vacuum_honest

# %% [markdown]
# ## 10. Make the network invent an atom
#
# *Advanced, 40 minutes.*
#
# Take the counts of a scan of *vacuum* at a quarter of the dose. Move as few electrons as you can, each to
# another pixel, until the informed network shows one atom in the middle of nothing. It shall be as high as
# a real one. What it shows there is a differentiable function of the counts: let its gradient say which
# electrons to move. Compare their number with the electrons that a real atom moves, with counting noise,
# and with what direct ptychography falls for. Does the network's own deviation warn?
#
# ```python
# low = dose / 4
# share = electrons_per_pixel(low, acquisition)
# flat = acquisition.vacuum_views
# vacuum = count_electrons(flat, acquisition, low, torch.Generator().manual_seed(seed))
# atom = sample.atoms[[sample.atoms.get_chemical_symbols().index(element)]]
# lone_phase = truth(build_potential(replace(sample, atoms=atom), sampling=1 / 3), acquisition)
# atom_height = float(lone_phase.max() - lone_phase.median())
# centre = (phase.shape[0] // 2, phase.shape[1] // 2)
# forged = ...  # counts like `vacuum`, with some electrons in other pixels
# ```

# %% tags=["hide-cell"]
symbols = sample.atoms.get_chemical_symbols()
lone = build_potential(
    replace(sample, atoms=sample.atoms[[symbols.index(element)]]), sampling=1 / 3
)
lone_phase = truth(lone, acquisition)
atom_height = float(lone_phase.max() - lone_phase.median())
low = dose / 4
share = electrons_per_pixel(low, acquisition)
atom_moves = float((simulate_views(lone, acquisition) - flat).abs().sum()) * share / 2
vacuum = count_electrons(flat, acquisition, low, torch.Generator().manual_seed(seed))
total = float(vacuum.sum())
centre = (phase.shape[0] // 2, phase.shape[1] // 2)
model = load_network("DirectInformed")


def network(views):
    """Mean of the informed network, as a function that can be differentiated."""
    return model(*direct_features(direct, direct.statistic(views)))[0][0]


def forge(method):
    """Fewest electrons to move for an atom's height at the centre, and the counts with them moved."""
    given = (vacuum / share).requires_grad_()
    image = method(given)
    (image[centre] - image.mean()).backward()
    order = given.grad.flatten().argsort()
    counted = vacuum.flatten()
    donors, takers = order[counted[order] > 0], order.flip(0)

    def moved(number):
        table = counted.clone()
        table[donors[:number]] -= 1
        table[takers[:number]] += 1
        return table.reshape(vacuum.shape)

    fewest, enough = 0, 5000
    while enough - fewest > 1:
        half = (fewest + enough) // 2
        with torch.no_grad():
            shown = method(moved(half) / share)
        if float(shown[centre] - shown.median()) >= atom_height:
            enough = half
        else:
            fewest = half
    return enough, moved(enough)


needed = {"direct ptychography": forge(direct), "the informed network": forge(network)}
forged = needed["the informed network"][1]
estimate = informed(direct, forged / share)
height_shown = float(estimate.mean[centre] - estimate.mean.median())
deviations = height_shown / float(estimate.deviation[centre])

Markdown(
    f"""
| an atom of {atom_height:.2f} rad appears in | when this many electrons are moved | of all |
|---|---|---|
"""
    + "\n".join(f"| {name} | {n} | {n / total:.2%} |" for name, (n, _) in needed.items())
    + f"""

A real {element} atom moves {atom_moves:.0f} electrons, and the total of {total:.0f} itself fluctuates by
{math.sqrt(total):.0f}. So few, well placed, make an atom of nothing. The network needs
{"more" if needed["the informed network"][0] > needed["direct ptychography"][0] else "fewer"} of them than the
linear method that it starts from. By its own deviation the forged atom stands {deviations:.1f} deviations
high: whoever reads the deviation beside the image {"is" if deviations < 3 else "is not"} warned. Nature does
not aim at gradients; inventions by chance are rare, and an audit must look for them where they are likely
({{doc}}`11_invention`).
"""
)

# %% tags=["check"]
assert float(forged.sum()) == float(vacuum.sum())
assert float(forged.min()) >= 0
shown = informed(direct, forged / share).mean
assert float(shown[centre] - shown.median()) >= atom_height

# %% tags=["remove-cell"]
figures.save_results(
    "14_exercises",
    {
        "dose": dose,
        "electrons_on_a_column": column,
        "departure_from_linear": departure,
        "doses": doses.tolist(),
        "correlation": scores,
        "half_bit": {"halves": str(honest), "whole_and_half": str(lying)},
        "electrons_that_forge_an_atom": {name: n for name, (n, _) in needed.items()},
        "electrons_that_an_atom_moves": atom_moves,
    },
)

# %% [markdown]
# ## What was seen

# %% tags=["remove-input"]
Markdown(
    f"""
Words such as dose, resolution and artefact become numbers with a few lines of arithmetic: at {dose:g} e⁻/Å² an image
of a column has {column:.0f} electrons.

* Counting comes first: {column:.0f} electrons on a column at {dose:g} e⁻/Å², {one_pixel:.1f} in a detector
  pixel, and a factor of {dose / hers:g} between two things that are both called a dose.
* Limits are arithmetic: {held:.2f} Å from the grid and {MOLECULAR.information_limit:.2f} Å from the aperture
  bound the paper's protein images before any method is chosen.
* A resolution is as honest as its halves are independent: vacuum has one of {plotting.period_label(vacuum_lying)} if
  they are not.
* {needed["the informed network"][0]} electrons out of {total:.0f}, moved on purpose, make the network show an
  atom; {needed["direct ptychography"][0]} do for the linear method. Neither is safe from data that were made to
  deceive it.
"""
)
