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
# # Other instruments
#
# **What the paper says** (§2.3). All its scans are of one instrument: 300 kV and 10 mrad.
#
# **What is measured here.** Your instrument is another one. `misr4d reconstruct` then takes a second network,
# `InstrumentInformed`. It was trained on instruments drawn at random: 60 to 300 kV, 3 to 35 mrad, steps of 0.35 to
# 5.3 Å, and defocus of either sign. Their pixels are a third to a tenth of the semi-angle, and some are astigmatic.
# It is tried on thirteen instruments and on specimens that no training saw. Two questions are asked of each: is it
# better than {term}`direct ptychography` alone, and is the {term}`deviation` that it states true?
#
# The rest of the book does not use this network. Its verdicts are of the paper's two settings.
#
# **How long it takes.** Seconds; the record behind the heat maps is made by
# `python benchmarks/instruments.py`.

# %% tags=["parameters"]
energy: float = 200e3  # eV
semiangle: float = 26.0  # mrad
step: float = 0.5  # Å
defocus: float = 100.0  # Å, from the middle of the specimen; positive is underfocus
dose: float = 300.0  # e⁻/Å²
seed: int = 43  # of specimen and electrons

# %% tags=["remove-cell"]
from misr4d.companion.parameters import check_parameters

check_parameters(globals())

from IPython.display import Image, Markdown

from misr4d import plotting
from misr4d.companion import figures
from misr4d.companion.chapters import instruments as page

plotting.use_style()
record = page.Instruments()

# %% [markdown]
# ## One scan
#
# An instrument, a specimen of the corpus on it, the electrons, and the network's image with its deviation:

# %%
from misr4d.core.acquisition import Acquisition
from misr4d.learn.examples import generator_of
from misr4d.learn.instruments import Instrument, simulate_scan
from misr4d.learn.learned import informed_from, network_for
from misr4d.reconstruction.direct import starting_point

acquisition = Acquisition(
    defocus=defocus, step=step, energy=energy, semiangle=semiangle, scan_shape=(48, 48)
)
scan = simulate_scan(Instrument("atomic", acquisition, defocus_error=0.01), seed, index=1)
method = starting_point(acquisition)
electrons, truth = scan.expose(method, dose, generator_of(seed))
estimate, direct = informed_from(method, electrons)

network = network_for(acquisition)
within = {
    share: float(((estimate.mean[0] - truth).abs() <= estimate.interval(share)[0]).float().mean())
    for share in page.ALLOWED
}

# %% tags=["remove-cell"]
drawn = page.draw_scan(direct[0], estimate.mean[0], estimate.deviation[0], truth, acquisition)
Image(figures.save(drawn, "instrument_images"))

# %% [markdown]
# ```{figure} ../figures/instrument_images.png
# :name: fig-instrument-images
# :alt: Phase of a specimen by direct ptychography and by the network, the deviation that the network states, and the truth
#
# Phase by direct ptychography, by the network, the deviation that it states, and the truth. The phases share
# one scale of grey.
# ```

# %% tags=["remove-input"]
Markdown(
    page.one_scan(scan, network, direct[0], estimate.mean[0], truth, within, acquisition, dose)
)

# %% [markdown]
# ## Thirteen instruments
#
# {numref}`fig-instrument-cells` has every instrument with each kind of specimen, {numref}`fig-instrument-images` above
# one of its scans.

# %% tags=["remove-cell"]
Image(figures.save(record.figure(), "instrument_cells"))

# %% [markdown]
# ```{figure} ../figures/instrument_cells.png
# :name: fig-instrument-cells
# :alt: Heat maps of the gain over direct ptychography and of the share of pixels within the 68 % interval, for thirteen instruments against dose
#
# A row is an instrument with one kind of specimen: thin (up to 40 Å) or thick (80 to 400 Å) crystals, glasses and
# polymers, or proteins. Left: correlation with the truth less that of direct ptychography, median of six
# specimens; purple is better. Right: share of their pixels that the 68 % interval holds; orange is too few.
# ```

# %% [markdown]
# ## Over angle and depth
#
# The same on instruments drawn at random, each with a specimen of its own ({numref}`fig-instruments-drawn`, above); and
# on all scans (below), over the thickness of
# the specimen in depths of focus λ/α². Views of a specimen that is much thicker than that no longer show its
# projected phase, which is what an image is compared with.

# %% tags=["remove-cell"]
Image(figures.save(record.drawn_figure(), "instruments_drawn"))

# %% [markdown]
# ```{figure} ../figures/instruments_drawn.png
# :name: fig-instruments-drawn
# :alt: Heat maps of gain and coverage over semi-angle and dose, and over thickness in depths of focus and dose
#
# Gain and coverage over semi-angle, of instruments that were drawn at random, and over thickness, of all scans.
# ```

# %% tags=["remove-cell"]
figures.save_results("17_instruments", record.measured())

# %% [markdown]
# ## Where not to use it

# %% tags=["remove-input"]
Markdown(record.where_not())

# %% [markdown]
# ## What was seen

# %% tags=["remove-input"]
Markdown(record.seen())

# %% [markdown]
# **Exercise.** A scan at 300 kV and 21 mrad has steps of 0.5 Å. How many steps must the outermost view move at
# least, so that nine aliases can be told apart, and what defocus is that?
#
# ```{dropdown} Solution
# Views on opposite sides of the disc must differ by a step or more: the outermost one moves by at least half a
# step, α·Δf ≥ 0.25 Å, so Δf ≥ 0.25 Å / 0.021 = 12 Å. `Acquisition.check_upsampling` refuses less.
# ```
