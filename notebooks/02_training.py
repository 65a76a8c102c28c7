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
# # Networks and their training
#
# **What the paper says** (§2.1, Fig. 1b, Eqs. 1–7). An attention U-Net {cite}`ronneberger2015,oktay2018` takes the
# stacked views and ends in a sub-pixel head {cite}`shi2016`. It is trained on simulated data with losses that depend
# on the scan step. Noise is drawn anew in every epoch, so that it does not overfit (claim C13). The text of §2.2
# describes another network, which fuses any number of views (claim C14).
#
# **What is measured here.** Both networks are in `misr4d.learn.networks`, and a third that starts from
# {term}`direct ptychography`, the {term}`informed network`. Those whose weights are shipped were trained on the same endless specimens; the table
# below says how large they are and how long that took, which is little. This page draws them at work,
# shows what they are trained on, one step of a training, the curves of a small run and of the shipped ones, and
# what they make of specimens that no training has seen. Electrons are counted in the bright disc's pixels alone: other draws
# than the study's, of the same detector.
#
# **How long it takes.** About a minute on one core. The small run is kept with the study, and made again, in two
# minutes, where code or parameters are others (`python benchmarks/record.py`).

# %% tags=["parameters"]
preset: str = "ci"  # training preset of the small run
crystal: str = "Li2CoO3"  # held out, scanned in the atomic regime
protein: str = "apoferritin"  # held out, scanned in the molecular regime
doses: list[float] = [100.0, 300.0, 1000.0]  # e⁻/Å² of the pictures
seed: int = 0  # of the noise draw

# %% tags=["remove-cell"]
from misr4d.companion.parameters import check_parameters

check_parameters(globals())

from IPython.display import Image, Markdown

from misr4d import plotting
from misr4d.companion import figures
from misr4d.companion.chapters import training as page

plotting.use_style()

# %%
from dataclasses import replace

import torch
from pytorch_msssim import ms_ssim

from misr4d.companion.recorded import recorded
from misr4d.companion.study import METHODS, place
from misr4d.learn.configuration import PRESETS, build_network
from misr4d.learn.learned import load_network
from misr4d.learn.losses import PaperLoss, gaussian_likelihood
from misr4d.learn.recipes import loss_of, make_batch
from misr4d.measure.metrics import correlation, specimen_mask
from misr4d.specimens.catalogue import make_specimen

# Held out from the training, on the detector of the whole study.
scenes = {name: place(make_specimen(name)) for name in (crystal, protein)}
noisy = scenes[crystal].expose(max(doses), seed).views

# %% [markdown]
# ## The paper's network at work
#
# An encoder halves the field and doubles the channels from block to block; a decoder takes it back up.
# What the encoder saw at each size is handed over, but through an {term}`attention gate` (Eq. 2),
#
# $$
# x' = x \odot \alpha, \qquad \alpha = \psi\left(\mathrm{ReLU}(W_g\,g + W_x\,x)\right),
# $$ (eq-gate)
#
# in which x is what the encoder hands over, g the decoder's signal, $W_g$, $W_x$ and ψ are 1 × 1
# convolutions, the last with a sigmoid so that the map α lies between 0 and 1, and ⊙ multiplies place by
# place. The last layers make r² channels, a {term}`pixel shuffle` lays them out as one image r times
# finer, r = 3, and a 1 × 1 convolution ends it.

# %% [markdown]
# The first gate of the shipped network, written out. The last line checks that the package's layer does
# the same.

# %%
network = load_network("AttentionUNet")
layer = network.gates[0]


def convolve(part, maps):
    """A 1 × 1 convolution mixes the channels at every place; batch normalisation scales them."""
    mixing, norm = part[0], part[1]
    mixed = torch.einsum("oc,nchw->nohw", mixing.weight[:, :, 0, 0], maps)
    mixed = mixed + mixing.bias[:, None, None]
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    centred = mixed - norm.running_mean[:, None, None]
    return centred * scale[:, None, None] + norm.bias[:, None, None]


random = torch.Generator().manual_seed(seed)
g = torch.randn(1, layer.gate[0].in_channels, 16, 16, generator=random)
x = torch.randn(1, layer.skip[0].in_channels, 16, 16, generator=random)
with torch.inference_mode():
    alpha = torch.sigmoid(
        convolve(layer.psi, torch.relu(convolve(layer.gate, g) + convolve(layer.skip, x)))
    )
    assert torch.allclose(x * alpha, layer(g, x), atol=1e-5)

# %% [markdown]
# The pixel shuffle moves numbers and computes nothing. Channel 3a + b holds the pixels in row a and column b
# of every 3 × 3 square of the fine image.

# %%
channels = torch.randn(1, 9, 16, 16, generator=random)
shuffled = torch.empty(1, 1, 48, 48)
for channel in range(9):
    row, column = divmod(channel, 3)
    shuffled[0, 0, row::3, column::3] = channels[0, channel]
assert torch.equal(shuffled, network.shuffle(channels))

# %% tags=["remove-cell"]
Image(figures.save(page.architecture(scenes[crystal], noisy, max(doses)), "architecture"))

# %% [markdown]
# ```{figure} ../figures/architecture.png
# :name: fig-architecture
# :alt: The attention U-Net as a diagram whose boxes are what passed through it: views, encoder and decoder blocks, attention maps of the gates, and the sub-pixel head with its image
#
# Re-makes Fig. 1b: the shipped attention U-Net, drawn from one run on the crystal's noisy views: every
# picture is what left that part of the network, with channels × height × width above it. Each block is
# two 3 × 3 convolutions with batch normalisation and ReLU. Of its channels, the one with
# the most structure in the middle of the field is drawn. Grey limits are each picture's own; the
# attention maps share theirs. Bands along a border are the convolutions' own: outside the field they
# see zeros. Scale bar 20 Å.
# ```
#
# The informed network is a smaller U-Net of the same kind; what differs is what it is given. Each of its
# gates has a map for every channel. The dual path registers the views and weighs them against each other;
# a convolution whose kernels follow from each view's angle adds them up for its decoder, which has gates,
# too ({term}`dual path`).

# %% tags=["remove-cell"]
Image(figures.save(page.gates(scenes[crystal], noisy, max(doses)), "architecture_gates"))

# %% [markdown]
# ```{figure} ../figures/architecture_gates.png
# :name: fig-architecture-gates
# :alt: The informed network's inputs, the maps of its gates, its image and deviation; below, where shipped, the dual path's
#
# The same electrons in the informed network and, where its weights are shipped, in the dual path below
# it. Gates: mean over their channels, with
# channels × height × width above. Share of each view: its weight in the mean of all, where 1 is a
# fair share, by its angle in the bright-field disc.
# ```

# %% [markdown]
# ## What they are trained to reduce
#
# The paper's loss, of the network's image x against the target y, both divided by the target's range,
# depends on the scan step (Eqs. 3 and 4):
#
# $$
# L = L_1 + \lambda\,L_\mathrm{VGG} + (1 - \mathrm{MS}) \quad\text{below 1 Å}, \qquad
# L = L_1 + (1 - \mathrm{MS}) \quad\text{above 1 Å},
# $$ (eq-loss)
#
# with λ = 0.006. $L_1$ is the mean of |x − y| over the pixels (Eq. 5). $L_\mathrm{VGG}$ (Eq. 6) compares
# what the first 19 layers of VGG19 {cite}`simonyan2015`, a network trained on photographs, make of the two:
# their squared difference over the number of values. MS is {term}`MS-SSIM`, the structural similarity
# over five scales {cite}`wang2003` (Eq. 7):
#
# $$
# L_\mathrm{VGG} = \frac{1}{CHW}\,\lVert \phi(x) - \phi(y) \rVert^2, \qquad
# \mathrm{MS} = l_5^{\,w_5} \prod_{j=1}^{5} (c_j\,s_j)^{w_j},
# $$ (eq-terms)
#
# φ(·) being those features, C × H × W their number, and $l_j$, $c_j$, $s_j$ how well local means, contrasts
# and structures of x and y agree after j − 1 halvings of the image, weighted by $w_j$. A step of exactly 1 Å
# is left undefined by the paper; here it counts as above.
#
# The informed network gives a mean μ and a {term}`deviation` σ for each pixel; the deviation is how far it
# expects to be off. Its loss is a likelihood in
# which they answer for each other {cite}`seitzer2022`, plus the relative error of every ring of frequency:
#
# $$
# L = \left\langle \sigma_0 \left[ \frac{(y - \mu)^2}{2\sigma^2} + \log\sigma \right] \right\rangle
#  + 0.3\,\left\langle \frac{E}{E + T} \right\rangle .
# $$ (eq-informed)
#
# The first mean is over pixels, in which $\sigma_0$ is the value of σ, held fixed in the gradient; the
# second over rings, in which E is the power of the error μ − y and T that of the {term}`truth` y. For the first, all three are
# taken in units of the direct estimate's own size, so that weak and strong specimens count alike.
#
# Both losses in a few lines, on a random target and a noisy copy of it, with the package's as a check:

# %%
y = torch.rand(1, 1, 192, 192, generator=random)
x = y + 0.1 * torch.randn(y.shape, generator=random)
low, span = y.min(), y.max() - y.min()
unit_x, unit_y = (x - low) / span, (y - low) / span
above = (unit_x - unit_y).abs().mean() + 1 - ms_ssim(unit_x, unit_y, data_range=1.0)
assert torch.allclose(above, PaperLoss(step=1.0)(x, y))

sigma = 0.05 + 0.1 * torch.rand(y.shape, generator=random)
held_fixed = sigma.detach()
likelihood = (held_fixed * ((y - x).square() / (2 * sigma.square()) + sigma.log())).mean()
assert torch.allclose(likelihood, gaussian_likelihood(x, sigma, y))

# %% [markdown]
# ## What they are trained on
#
# Specimens are drawn one after the other and never repeat. Crystals have one of twenty structure types
# with random elements, or a random cell under a space group. They lie in and off zone axes, with grain
# boundaries, vacancies, replaced columns, edges, holes and wedges. There are packed glasses and polymer
# melts, and bundles, rings and globules of ideal helices and strands. Whatever has the elements of one
# of the paper's specimens is refused, and so are closed protein shells and cross-β fibrils: the
# thirteen specimens are held out.

# %% tags=["remove-cell"]
Image(figures.save(page.corpus(), "training_corpus"))

# %% [markdown]
# ```{figure} ../figures/training_corpus.png
# :name: fig-training-corpus
# :alt: Twelve specimens drawn for training: crystals, glasses, polymers and, in the last column, proteins
#
# Twelve of the specimens that the networks are trained on: true phase of each, on its own grey scale.
# Last column: proteins. Scale bars 10 Å and 50 Å.
# ```
#
# The informed network needs no views in training. Direct ptychography is linear in the counts up to the
# estimate of its own smoothing, so counting noise of the right spectrum is added to what a noiseless
# scan gives; a test compares that with drawn electrons.

# %% [markdown]
# ## A small run
#
# A step of the training draws new specimens, doses and electrons, takes the loss of {eq}`eq-informed`, and moves
# the weights against its gradient. One step on two samples, and the loss on the same samples before and after it:

# %%
config = replace(PRESETS[preset], batch=2, specimens=2)
network = build_network(config)
optimiser = torch.optim.AdamW(network.parameters(), config.learning_rate)
parts = make_batch(config, step=0)  # of one regime each

losses = [loss_of(config, network, part) for part in parts]
sum(losses).backward()
optimiser.step()

with torch.inference_mode():
    again = [loss_of(config, network, part) for part in parts]
print(
    f"loss {float(sum(losses)) / len(parts):.3f} before, {float(sum(again)) / len(parts):.3f} after"
)

# %% [markdown]
# The same for more steps is `misr4d.learn.training.train`, which warms the rate up, lets it fall, and keeps an average
# of the weights. `small_run` calls it for the preset, and asks for the mean loss of ten batches that the run did not
# see, of its specimens with other electrons, under the first weights and the last:

# %%
run = recorded(page.small_run, preset=preset)  # kept with the study, or trained now
steps, before, after = PRESETS[preset].steps, run["before"], run["after"]
print(f"loss {before:.3f} before, {after:.3f} after {steps} steps")

# %% tags=["remove-cell"]
small = [(step, loss) for step, loss in run["log"]]
Image(figures.save(page.loss_curves(small, preset), "training_curves"))

# %% [markdown]
# ```{figure} ../figures/training_curves.png
# :name: fig-training-curves
# :alt: Loss against step of the small run and of every shipped network
#
# Loss against step: the small run (left) and the runs whose weights are shipped. The losses are
# different functions; their values cannot be compared. The shipped ones are on a logarithmic scale.
# ```

# %% tags=["remove-input"]
Markdown(page.shipped_table())

# %% [markdown]
# ## On specimens that no training has seen
#
# Each method gets the same electrons. Its image is compared with the truth inside the specimen.

# %%
scene = scenes[protein]
measurement = scene.expose(doses[0], seed)
inside = specimen_mask(scene.truth, scene.pixel)
for method in ("direct", "attention U-Net", "informed"):
    image = METHODS[method](measurement)
    print(f"{method}: {correlation(image, scene.truth, within=inside):.2f}")

# %% tags=["remove-cell"]
found = page.score_networks(scenes, doses, seed)

# %% tags=["remove-cell"]
Image(figures.save(page.pictures(found), "network_images"))

# %% [markdown]
# ```{figure} ../figures/network_images.png
# :name: fig-network-images
# :alt: A crystal and a protein at three doses by direct ptychography and the shipped networks, with truth and the deviation that the informed network predicts
#
# Same electrons and same grey limits (those of the truth) in every row; the inner three quarters of each
# side. Right: standard deviation that the informed network gives for each of its pixels. Scale bars 5 Å
# and 50 Å. All doses of the paper's Fig. 4 are in {doc}`03_dose_series`.
# ```

# %% tags=["remove-input"]
Markdown(page.score_table(found))

# %% tags=["remove-cell"]
figures.save_results(
    "02_training",
    {
        "scores": found.record(),
        "small_run": small,
        "small_run_before_and_after": (before, after),
    },
)

# %% [markdown]
# ## What was seen

# %% tags=["remove-input"]
Markdown(page.seen(found, before, after, steps))

# %% [markdown]
# **Exercise.** The informed network's input at a dose is the direct estimate plus noise of a known
# spectrum. Why can the attention U-Net on raw views not be trained as cheaply?
#
# ```{dropdown} Solution
# Its input is the views themselves, some two hundred, each with Poisson noise in all of its 64 × 64
# pixels: nearly a million numbers are drawn for one sample. The informed network sees three maps of 192 × 192
# pixels, whose noise is one draw of 64 × 64 × 9 complex numbers with a covariance that was worked out
# beforehand.
# ```
