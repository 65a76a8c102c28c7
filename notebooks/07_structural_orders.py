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
# # Twelve specimens and one more
#
# **What the paper says** (§3.1, Fig. 3). One model reconstructs crystals, biomolecules and disordered
# solids "without introducing artifacts" (claim C8): MoS₂, an Al–P–O framework, NCM and CaTiO₃;
# apoferritin, an α-synuclein truncation, the neurotensin receptor and a eukaryotic protein; PEO,
# Cu-Zr, LiPON and glassy Li₅La₃Nb₂O₁₂. Li₂CoO₃ is the thirteenth, of Fig. 4.
#
# **What is measured here.** The same thirteen, true to scale: the atoms, and below them what
# {term}`direct ptychography`, the paper's network and the {term}`informed one <informed network>` make of them at one dose; and every method
# that works on {term}`views <virtual bright field>`, on all thirteen, with its spread over {term}`noise draws <draw>`. No
# training has seen any. {numref}`tab-parameters` is our Supplementary Table 1: the paper's own is not
# available to us, so each parameter says where it comes from. The electrons of this page are counted in the
# bright disc's pixels alone, which is quicker: they are other draws than those of the study, of the same
# detector and the same doses.
#
# **How long it takes.** A few minutes on two cores.

# %% tags=["parameters"]
dose: float = 300.0  # e⁻/Å²
doses: list[float] = [300.0, 1000.0]  # e⁻/Å², finite, of the table; infinite dose is added
draws: int = 8  # noise draws behind each median of the table
seed: int = 0  # of the first noise draw

# %% tags=["remove-cell"]
from misr4d.companion.parameters import check_parameters

check_parameters(globals())

from IPython.display import Image, Markdown

from misr4d import plotting
from misr4d.companion import figures
from misr4d.companion.chapters import structural_orders as page

plotting.use_style()

# %%
import math

from misr4d.companion.study import METHODS, place
from misr4d.measure.metrics import correlation, specimen_mask
from misr4d.specimens.catalogue import SPECIMENS, make_specimen

# %% [markdown]
# ## Model beside reconstruction
#
# One column a specimen, so that a reconstruction is compared with its own {term}`truth`. Where the true
# phase shows spots and a reconstruction clouds, either the {term}`information limit` or the dose forbids
# more.

# %%
for name in SPECIMENS:
    scene = place(make_specimen(name))  # under its regime's measurement
    inside = specimen_mask(scene.truth, scene.pixel)
    fits = []
    for level in (dose, math.inf):
        image = METHODS["direct"](scene.expose(level, seed))
        fits.append(correlation(image, scene.truth, within=inside))
    print(f"{name:12} direct at {dose:g} e⁻/Å² {fits[0]:5.2f}, at ∞ {fits[1]:5.2f}")

# %% tags=["remove-cell"]
found = page.Specimens(dose, doses, draws, seed)

# %% tags=["remove-cell"]
Image(figures.save(found.gallery(page.CRYSTALS, 0.5, 5.0), "specimens_crystals"))

# %% [markdown]
# ```{figure} ../figures/specimens_crystals.png
# :name: fig-specimens-crystals
# :alt: Five crystals, a column each: atoms, three reconstructions at low dose, true phase
#
# Re-makes Fig. 3a: crystals, and Li₂CoO₃ of Fig. 4; the inner 32 Å at the lowest of this page's doses. Rows:
# atoms along the beam, coloured by element (O red, C grey, Li violet, N blue, P orange); direct
# ptychography, the paper's network and the informed one; the true projected phase. The images of a column have one pair of grey limits. Scale bar 5 Å.
# ```

# %% tags=["remove-cell"]
Image(figures.save(found.gallery(found.proteins, 0.625, 50.0), "specimens_proteins"))

# %% [markdown]
# ```{figure} ../figures/specimens_proteins.png
# :name: fig-specimens-proteins
# :alt: Four proteins, a column each: atoms, three reconstructions at low dose, true phase
#
# Re-makes Fig. 3b: proteins in vacuum, the inner 160 Å, rows as above, hydrogen left out. All four are
# stand-ins for the paper's entries. Scale bar 50 Å.
# ```

# %% tags=["remove-cell"]
Image(figures.save(found.gallery(found.disordered, 0.5, 5.0), "specimens_disordered"))

# %% [markdown]
# ```{figure} ../figures/specimens_disordered.png
# :name: fig-specimens-disordered
# :alt: A polymer and three glasses, a column each: atoms, three reconstructions at low dose, true phase
#
# Re-makes Fig. 3c: a polymer and three glasses, the inner 32 Å, rows as above, hydrogen left out. Scale
# bar 5 Å.
# ```

# %% [markdown]
# ## Methods × specimens × doses
#
# The methods that work on views and take seconds. iDPC, ptychography and refinement stand beside them in
# {doc}`06_method_comparison` for three of the specimens; `misr4d bench --full` runs all on all.

# %% [markdown]
# A negative correlation is the truth with its sign turned.

# %% tags=["remove-input"]
Markdown(found.correlation_table())

# %% [markdown]
# *Resolution* is the finest period up to which every {term}`ring with power` correlates by one half, *last ring* the
# finest that does.

# %% tags=["remove-input"]
Markdown(found.measures_table())

# %% [markdown]
# ## Every specimen and every parameter

# %% tags=["remove-input"]
Markdown(found.specimen_table())

# %% tags=["remove-input"]
title = "Parameters of every simulation: the paper's Supplementary Table 1, as ours"
Markdown(f"```{{table}} {title}\n:name: tab-parameters\n\n{page.parameter_table()}\n```")

# %% tags=["remove-cell"]
figures.save_results("07_structural_orders", found.record())

# %% [markdown]
# ## What was seen

# %% tags=["remove-input"]
Markdown(page.seen(found))

# %% [markdown]
# **Exercise.** In which of these specimens do neighbouring columns lie closer than λ/2α = 0.98 Å along
# the beam direction chosen here? What would you see of them?
#
# ```{dropdown} Solution
# Not in MoS₂ and NCM. In Li₂CoO₃ two kinds of oxygen lie closer, in CaTiO₃ the Ca and O that are
# displaced to opposite sides in successive layers and the O beside a Ti, in the framework of Al, P and O many pairs; and in
# all glasses and proteins, since atoms at different depths may lie at any projected distance. Pairs
# closer than the limit merge into one spot, or make it oblong.
# ```
