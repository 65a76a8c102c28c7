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
# # Ablations
#
# **What the paper says** (§2). {term}`Attention gates <attention gate>` weigh the skips (§2.1.1, Eq. 2). A 1×1
# convolution after the {term}`pixel shuffle` removes {term}`checkerboards <checkerboard>` (claim C12). Noise drawn anew in every epoch prevents overfitting
# (§2.1.2, claim C13). The fusion takes any number of views (§2.2, claim C14).
#
# **What is measured here.** A small attention U-Net is trained again and again with one thing changed: its
# input, its gates, its head, its noise, its loss. Every variant sees the same specimens in the same number
# of steps. The trainings take minutes each, so they were run once by `benchmarks/ablate.py`, and this page
# reads its record. What one shipped network does to checkerboards is computed here, and how the fusion
# fares with fewer and larger detector pixels. The record holds correlations over the whole field; what is
# computed here is taken {term}`inside the specimen`. The electrons are counted in the bright disc's pixels
# alone: other {term}`draws <draw>` than the study's, of the same detector.
#
# **How long it takes.** A minute on two cores; the trainings, most of an hour on one.

# %% tags=["parameters"]
crystal: str = "Li2CoO3"  # held out, for the number of views
dose: float = 300.0  # e⁻/Å²
draws: int = 8  # noise draws behind each median
seed: int = 0  # of the first draw

# %% tags=["remove-cell"]
from misr4d.companion.parameters import check_parameters

check_parameters(globals())

from IPython.display import Image, Markdown

from misr4d import plotting
from misr4d.companion import figures
from misr4d.companion.chapter_claims import any_number, checkerboards, fresh_noise
from misr4d.companion.chapters import ablations as page
from misr4d.measure.summary import plain

plotting.use_style()
trained = page.Ablations()

# %%
import torch

from misr4d.companion.study import UPSAMPLING, place
from misr4d.learn.learned import load_network
from misr4d.measure.metrics import checkerboard
from misr4d.specimens.catalogue import make_specimen

scene = place(make_specimen(crystal))

# %% [markdown]
# ## One thing changed at a time

# %% tags=["remove-input"]
Markdown(trained.setting())

# %% tags=["remove-cell"]
Image(figures.save(trained.figure(), "ablations"))

# %% [markdown]
# ```{figure} ../figures/ablations.png
# :name: fig-ablations
# :alt: Correlation with the truth of eight variants of a small attention U-Net, on unseen specimens and on three of the paper
#
# Each row is the network as the paper describes it with one thing changed. Dot and line: median and
# quartiles over images and trainings; orange ticks: the median of each training. Dashed: as
# the paper.
# ```

# %% tags=["remove-input"]
Markdown(trained.variant_table())

# %% [markdown]
# ## Checkerboards (C12)
#
# After a pixel shuffle to *one* channel, a 1×1 convolution has one weight and one bias: the image is
# multiplied by a number and shifted by another. No pattern can be removed by that; whatever it does
# happens in training, through the convolution *before* the shuffle. The 3×3 smoothing of the released
# code can remove one. Measured is the power of what repeats every three pixels over that of the
# neighbouring frequencies, as geometric mean: 1 is none.

# %%
network = load_network("AttentionUNet")
seen = {}
hooks = [
    network.shuffle.register_forward_hook(lambda m, i, o: seen.update(before=o[0, 0])),
    network.head.register_forward_hook(lambda m, i, o: seen.update(after=o[0, 0])),
]
with torch.inference_mode():
    network(scene.expose(dose, seed).views[None])
for hook in hooks:
    hook.remove()

weight, bias = network.head.weight.item(), network.head.bias.item()  # all that a 1×1 layer has
assert torch.allclose(weight * seen["before"] + bias, seen["after"], atol=1e-5)
before, after = (checkerboard(seen[k], UPSAMPLING) for k in ("before", "after"))

# %% tags=["remove-input"]
Markdown(
    f"{trained.checkerboard_table()}\n\nThe shipped attention U-Net on {scene.specimen.short_title} at "
    f"{plotting.dose_label(dose)}: {before:.4f} before its 1×1 convolution, {after:.4f} after it."
)

# %% [markdown]
# ## Noise drawn anew, or once (C13)

# %% tags=["remove-input"]
Markdown(trained.noise_table())

# %% [markdown]
# ## Any number of views (C14)
#
# The {term}`dual path` knows where each view looks, so one set of weights takes any detector. The bright disc
# is cut into fewer and larger pixels, which see the same electrons.

# %% tags=["remove-cell"]
counted = page.count_views(scene, dose, draws, seed)

# %% tags=["remove-input"]
Markdown(page.views_table(counted, scene, dose))

# %% tags=["remove-cell"]
measured = trained.measured() | {
    "checkerboard_before_and_after_the_1x1": (before, after),
    "views": [
        {"method": label, "views": m, "values": plain(drawn)}
        for (label, m), drawn in counted.items()
    ],
}
figures.save_results("10_ablations", measured)

# %% [markdown]
# ## What was seen

# %% tags=["remove-input"]
# The claims page says the same, from the same results.
C12, C13, C14 = (
    rule({"10_ablations": measured}) for rule in (checkerboards, fresh_noise, any_number)
)
Markdown(f"""
{trained.conclusion()}

* **Against the network as the paper has it**, on unseen specimens, the correlation of: {trained.changes()}.
* {C12.sentence}
* {C13.sentence}
* {C14.sentence}
""")

# %% [markdown]
# **Exercise.** Which layer could remove a checkerboard, and what would it cost?
#
# ```{dropdown} Solution
# One that mixes pixels of different places in the 3×3 block: a 3×3 convolution after the shuffle, or
# one kernel for all nine channels before it. A kernel that blurs out the period of three pixels also
# damps what the specimen has at that frequency: at 1/3 Å a pixel that is 1 Å⁻¹, the information limit.
# ```
