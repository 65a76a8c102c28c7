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
# # What the released code simulates
#
# **What the paper says** (§2.2–2.3). Specimens are simulated by {term}`multislice` at 300 keV and 10 mrad on
# 64 × 64 positions, and {term}`doses <dose>` are given in e⁻/Å². The code that was released with the paper
# ([ZifeiWang0313/4D-MISR](https://github.com/ZifeiWang0313/4D-MISR)) differs from that text in places
# that change the picture.
#
# **What is measured here.** Each difference is executed, one at a time, beside the case that is true
# to scale. There are five: a dose counted per probe position, crystals ten times too large, a wave
# field that cuts the probe, dark-field pixels taken for views, and a network input scaled by its own
# noisiest pixel. The reconstructions are by {term}`direct ptychography`, so that no training is
# involved.
#
# **How long it takes.** About a minute and a half on one core.

# %% tags=["parameters"]
crystal: str = "Li2CoO3"  # made true to scale and ten times larger
protein: str = "apoferritin"  # given electrons per area and per position
label: float = 200.0  # what is called dose: electrons per position, or e⁻/Å²
draws: int = 8  # noise draws behind each median
seed: int = 0  # of the first draw

# %% tags=["remove-cell"]
from misr4d.companion.parameters import check_parameters

check_parameters(globals())

from IPython.display import Image, Markdown

from misr4d import plotting
from misr4d.companion import figures
from misr4d.companion.chapters import released_code as page

plotting.use_style()

# %%
import math
from dataclasses import replace

import numpy as np
import torch

from misr4d import ATOMIC, MOLECULAR
from misr4d.companion.released import areal_dose, carried_probe, magnified, scan_with_cut_probe
from misr4d.core.acquisition import Acquisition
from misr4d.core.dose import expose
from misr4d.measure.metrics import correlation
from misr4d.reconstruction.direct import AMPLITUDE_CONTRAST, DirectPtychography
from misr4d.simulate.multislice import build_potential
from misr4d.simulate.patterns import simulate_patterns
from misr4d.simulate.reciprocity import simulate_views
from misr4d.specimens.catalogue import make_specimen
from misr4d.specimens.potential import truth

# %% [markdown]
# ## A dose per position is not a dose per area
#
# The released code scales every pattern to sum 1, multiplies by the "dose" and draws Poisson counts:
# the number is electrons *per probe position*. On a scan of 256 Å with 64 positions, end point
# included, the step is 256/63 Å, and the dose in e⁻/Å² is smaller by the square of it. The specimen
# that is said to withstand 200 e⁻/Å² was given far fewer electrons; read the other way, a network
# trained at "10²–10⁵" was trained at 6–6000 e⁻/Å².

# %%
released = replace(MOLECULAR, step=(256 / 63, 256 / 63))
per_area = label / (released.step[0] * released.step[1])  # e⁻/Å²
assert math.isclose(per_area, areal_dose(label, released))

potential = build_potential(make_specimen(protein), 0.5, 20.0)
views = simulate_views(potential, MOLECULAR)
direct = DirectPtychography(
    MOLECULAR.refocused(potential.thickness / 2),
    upsampling=3,
    aliases=3,
    amplitude_contrast=AMPLITUDE_CONTRAST["molecular"],
)
known = truth(potential, MOLECULAR)
for dose in (label, per_area):
    generator = torch.Generator().manual_seed(seed)
    image = direct(expose(views, MOLECULAR, dose, generator))
    print(f"{dose:.1f} e⁻/Å²: correlation in the whole field {correlation(image, known):.2f}")

# %% tags=["remove-cell"]
ready = {"regime": "molecular", "views": views, "direct": direct}
area, position = (
    page.image(potential, MOLECULAR, dose, draws, seed, **ready) for dose in (label, per_area)
)

# %% tags=["remove-cell"]
Image(figures.save(page.dose_figure(area, position, label), "released_dose"))

# %% [markdown]
# ```{figure} ../figures/released_dose.png
# :name: fig-released-dose
# :alt: Apoferritin by direct ptychography at one number of electrons per square angstrom and per position, beside the truth
#
# The same word "dose", two meanings. Direct ptychography, same grey limits. Scale bar 50 Å.
# ```

# %% [markdown]
# ## Crystals ten times too large
#
# The crystal script samples the potential of a patch 15 Å wide at 0.1 Å and then declares the pixels
# to be 1 Å. Thickness and phase stay, lengths across the beam grow tenfold: columns that are 2 Å
# apart in truth are imaged 20 Å apart. Here the patch is made at 0.05 Å and declared 0.5 Å, so that
# nothing but the size differs; the scan has 64 positions across it (our reading), and the paper's
# defocus.

# %%
patch = make_specimen(crystal, 15.0, border=2.0)
large = magnified(build_potential(patch, 0.05, 2.0), 10.0)
wide = Acquisition(defocus=1500.0, step=(large.cell[0] / 64, large.cell[1] / 64))
small = build_potential(make_specimen(crystal), 1 / 3, 2.0)

per_position = areal_dose(label, wide)  # e⁻/Å²
scenes = {
    "true to scale": page.image(small, ATOMIC, label, draws, seed, regime="atomic"),
    "ten times larger": page.image(
        large, wide, per_position, draws, seed, regime="atomic", scale=10.0
    ),
}

# %% tags=["remove-cell"]
Image(figures.save(page.size_figure(scenes, label), "released_magnified"))

# %% [markdown]
# ```{figure} ../figures/released_magnified.png
# :name: fig-released-magnified
# :alt: The crystal true to scale and ten times larger, with its reconstruction and the spatial frequencies that hold its power
#
# The crystal true to scale (top; scale bar 20 Å) and ten times larger (bottom; 50 Å), same electrons
# per position. Right: the share of the true phase's power below each frequency. Ten times larger,
# all of it lies where any method at all transfers it: there is little left to super-resolve.
# ```

# %% [markdown]
# ## A wave field that cuts the probe
#
# abTEM limits every wave to two thirds of the grid's Nyquist frequency, so that multiplying by the
# specimen cannot alias. At 1 Å sampling that is less than 10 mrad: the rim of the aperture, where the
# finest detail comes from, never reaches the specimen, and the electrons in it are lost.

# %%
samplings = (1.0, 0.5, 1 / 3)
probes = {sampling: carried_probe(sampling, MOLECULAR) for sampling in samplings}

coarse = magnified(build_potential(patch, 0.1, 2.0), 10.0)
window = 7 / 15 * large.cell[0]  # Å, which holds the probe; a detector pixel is 7 of its patterns'
rim = replace(wide, detector_pixel=15 * wide.wavelength / coarse.cell[0] * 1e3)
cut = scan_with_cut_probe(coarse, rim).views(rim)
axes = (np.arange(n) * step for n, step in zip(rim.scan_shape, rim.step, strict=True))
places = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
whole = simulate_patterns(large, rim, window=window, max_angle=12.0, positions=places).views(rim)

# %% tags=["remove-cell"]
Image(figures.save(page.probe_figure(probes, whole, cut, rim), "released_probe"))

# %% [markdown]
# ```{figure} ../figures/released_probe.png
# :name: fig-released-probe
# :alt: Focused probe at three samplings; a view at the rim with and without the cut; the axial view
#
# Left: the focused 10 mrad probe after abTEM's first slices, by wave-field sampling. Right: views of
# the crystal of {numref}`fig-released-magnified`, all under the same grey limits. At 1 Å sampling the
# view at the rim is dark: no electron arrives there. Scale bar 50 Å.
# ```

# %% [markdown]
# ## Dark-field pixels as views, and an input scaled by its noise
#
# The released networks read all 32 × 32 detector pixels as channels, also those outside the
# {term}`bright-field disc`, and divide the noisy stack by
# its largest value. Neither is in the paper's text. How many of those channels lie outside the bright
# field depends on the range of the detector; how the scale moves with the noise can be computed.

# %%
outside = {}
for half_angle in (13.2, 19.7):  # mrad: what 0.5 and 0.333 Å sampling carry
    axis = (torch.arange(32) - 15.5) * (2 * half_angle / 32)
    outside[half_angle] = float(
        ((axis[:, None] ** 2 + axis[None, :] ** 2).sqrt() > 10).double().mean()
    )

numbers = (label, 10 * label, 100 * label)  # electrons per position
largest = page.largest_values(area.views, MOLECULAR, numbers, draws, seed)

# %% tags=["remove-input"]
Markdown(page.largest_table(largest, area.views, MOLECULAR))

# %% tags=["remove-cell"]
figures.save_results(
    "09_released_code",
    {
        "label": label,
        "areal_dose": per_area,
        "correlation_per_area": area.scores,
        "correlation_per_position": position.scores,
        "crystal": {
            name: {
                "dose": scene.dose,
                "correlation": scene.scores,
                "correlation_at_infinite_dose": scene.limit,
            }
            for name, scene in scenes.items()
        },
        "probe": {
            f"{sampling:.3f}": {"share": found.share, "angle": found.angle}
            for sampling, found in probes.items()
        },
        "outside": {str(k): v for k, v in outside.items()},
    },
)

# %% [markdown]
# ## What was seen

# %% tags=["remove-input"]
Markdown(page.seen(label, area, position, scenes, probes[1.0], cut, outside))

# %% [markdown]
# **Exercise.** The released training draws its dose between 10² and 10⁵. Which range is that in e⁻/Å²
# on a 1 Å scan, and on a 4.06 Å scan?
#
# ```{dropdown} Solution
# Electrons per position over the area of a step: 10²–10⁵ e⁻/Å² at 1 Å, and 6–6100 e⁻/Å² at 4.06 Å.
# One network input, two physical meanings.
# ```
