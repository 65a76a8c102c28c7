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
# **What the paper says** (§2.1, Fig. 1b, Eqs. 1–7). An attention U-Net {cite}`ronneberger2015,oktay2018`
# takes the stacked views and ends in a sub-pixel head {cite}`shi2016`; it is trained on simulated data with noise drawn anew in every epoch, so that it does
# not overfit (claim C13), with losses that depend on the scan step. The text of §2.2 describes another
# network, which fuses any number of views (claim C14).
#
# **What is measured here.** Both networks are in `misr4d.learn.networks`, and a third that starts from
# {term}`direct ptychography`, the {term}`informed network`. Those whose weights are shipped were trained on the same endless specimens; the table
# below says how large they are and how long that took, which is little. This page draws them at work,
# shows what they are trained on, a small run, the curves of the shipped runs, and what they make of
# specimens that no training has seen. Electrons are counted in the bright disc's pixels alone: other draws
# than the study's, of the same detector.
#
# **How long it takes.** About two minutes on two cores, most of it the small run.

# %% tags=["parameters"]
preset: str = "ci"  # training preset of the small run
crystal: str = "Li2CoO3"  # held out, scanned in the atomic regime
protein: str = "apoferritin"  # held out, scanned in the molecular regime
doses: list[float] = [100.0, 300.0, 1000.0]  # e⁻/Å² of the pictures
seed: int = 0  # of the noise draw

# %% tags=["remove-cell"]
from misr4d.companion.parameters import check_parameters

check_parameters(globals())

# %% tags=["hide-input"]
import csv
import math

import matplotlib.pyplot as plt
import torch
from IPython.display import Image, Markdown
from matplotlib.ticker import LogLocator, MaxNLocator
from pytorch_msssim import ms_ssim
from safetensors.torch import load_file

from misr4d import REGIMES, plotting
from misr4d.companion import bench, figures
from misr4d.companion.study import METHODS as STUDIED
from misr4d.companion.study import UPSAMPLING, place
from misr4d.learn.configuration import PRESETS, build_network
from misr4d.learn.examples import make_batch
from misr4d.learn.learned import (
    SHIPPED,
    attention_unet,
    card,
    dual_path,
    informed,
    load_network,
    trained_detector,
    training_log,
    view_groups,
)
from misr4d.learn.losses import PaperLoss, gaussian_likelihood
from misr4d.learn.networks import AttentionUNet
from misr4d.learn.training import loss_of, train
from misr4d.specimens.catalogue import make_specimen
from misr4d.specimens.corpus import draw_specimen
from misr4d.specimens.potential import project_atoms, truth

plotting.use_style()


# Held out from the training, on the detector of the whole study.
scenes = {name: place(make_specimen(name)) for name in (crystal, protein)}

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

# %% tags=["hide-input"]
scene = scenes[crystal]
specimen, acquisition, method, reference = (
    scene.specimen,
    scene.acquisition,
    scene.direct,
    scene.truth,
)
noisy = scene.expose(max(doses), seed).views


def watch(parts, run):
    """Run, and return what entered and left each named part."""
    seen = {}
    hooks = [
        part.register_forward_hook(
            lambda _, inputs, output, name=name: seen.update({name: (inputs, output)})
        )
        for name, part in parts.items()
    ]
    run()
    for hook in hooks:
        hook.remove()
    return seen


parts = {
    f"{kind}{level}": part
    for kind in ("encoder", "gates", "decoder")
    for level, part in enumerate(getattr(network, kind))
}
parts |= {"activation": network.activation, "shuffle": network.shuffle, "head": network.head}
passed = watch(parts, lambda: attention_unet(noisy, method.acquisition, network=network))
seen = {name: output[0] for name, (_, output) in passed.items()}
with torch.inference_mode():
    alphas = [
        gate.attention(*passed[f"gates{level}"][0])[0] for level, gate in enumerate(network.gates)
    ]
with torch.device("meta"):  # counted, not made
    as_published = AttentionUNet(network.views)

# %% tags=["hide-input", "remove-output"]
WIDE, HIGH, SIDE, ROW = 9.4, 8.1, 0.98, 1.47  # inches: figure, thumbnail, one level to the next
COLUMNS = {"views": 0.85, "encoder": 2.55, "gates": 4.35, "decoder": 6.15, "output": 8.2}
TOP = HIGH - 1.35  # height of the first level
figure = plt.figure(figsize=(WIDE, HIGH))
page = figure.add_axes((0, 0, 1, 1))
page.set(xlim=(0, WIDE), ylim=(0, HIGH))
page.axis("off")
LINE = {"color": "0.35", "lw": 1.0}


def height(level):
    return TOP - ROW * level


def size_of(tensor):
    return " × ".join(map(str, tensor.shape))


def thumbnail(image, x, y, label="", side=SIDE, **shown):
    """An image around (x, y) [inches], its label above."""
    axes = figure.add_axes(((x - side / 2) / WIDE, (y - side / 2) / HIGH, side / WIDE, side / HIGH))
    if "vmin" not in shown:
        shown["vmin"], shown["vmax"] = plotting.display_limits([image], 0.5)
    axes.imshow(image.numpy(), **shown)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(visible=True, color="0.35", lw=0.6)
    page.text(x, y + side / 2 + 0.05, label, ha="center", va="bottom", fontsize=7.5)
    return axes


def arrow(*points, label="", at=(0, 0), side="center"):
    """An arrow along points [inches], its label at an offset from the middle of the first leg."""
    page.plot(*zip(*points[:-1], strict=True), **LINE)
    page.annotate(
        "",
        points[-1],
        points[-2],
        arrowprops={"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 1, "mutation_scale": 9, **LINE},
    )
    middle = [(a + b) / 2 + d for a, b, d in zip(points[0], points[1], at, strict=True)]
    page.text(*middle, label, ha=side, va="center", fontsize=7)


def feature(block):
    """The channel with the most structure in the field's middle, where the specimen is."""
    a, b = (n // 4 for n in block.shape[1:])
    inside = block[:, a:-a, b:-b].std((1, 2))
    return block[(inside / block.amax((1, 2)).clamp_min(1e-6)).argmax()]


GAP, ABOVE = SIDE / 2 + 0.04, SIDE / 2 + 0.24  # from a thumbnail's centre to its edge, to its label
axial = int(acquisition.view_angles.norm(dim=1).argmin())
left = COLUMNS["views"]
for rank, number in enumerate((0, len(noisy) - 1, axial)):
    offset = 0.13 * (1 - rank)
    label = size_of(noisy) if rank == 0 else ""
    thumbnail(noisy[number], left + offset, TOP + offset, label)
arrow((left + GAP + 0.14, TOP), (COLUMNS["encoder"] - GAP, TOP))
limits = {"vmin": float(min(a.min() for a in alphas)), "vmax": float(max(a.max() for a in alphas))}
for level in range(network.depth):
    y = height(level)
    block, x = seen[f"encoder{level}"], COLUMNS["encoder"]
    thumbnail(feature(block), x, y, size_of(block))
    if level == network.depth - 1:
        break
    arrow((x, y - GAP), (x, y - ROW + ABOVE), label="max-pool", at=(0.06, 0), side="left")
    gate, up = COLUMNS["gates"], COLUMNS["decoder"]
    shown = thumbnail(alphas[level][0], gate, y, size_of(alphas[level]), cmap="viridis", **limits)
    block = seen[f"decoder{level}"]
    thumbnail(feature(block), up, y, size_of(block))
    arrow((x + GAP, y), (gate - GAP, y), label="x", at=(0, 0.1))
    arrow((gate + GAP, y), (up - GAP, y), label="x ⊙ α", at=(0, 0.1))
    # From the level below: up-sampled it joins the gated skip, and it is the gate's signal g.
    below = y - ROW / 2 - 0.02
    start = [(up, y - ROW + ABOVE)]
    if level == network.depth - 2:
        start = [(x + GAP, y - ROW), (up, y - ROW)]
    arrow(*start, (up, y - GAP))
    page.text(up + 0.06, below, "×2, conv", ha="left", va="center", fontsize=7)
    arrow((up, below), (gate, below), (gate, y - GAP), label="g", at=(0, 0.09))

right, big = COLUMNS["output"], 1.2
channels = seen["activation"]
sheet = torch.nn.functional.pad(channels, (1, 1, 1, 1), value=float("nan"))
r = UPSAMPLING
sheet = sheet.reshape(r, r, *sheet.shape[1:]).permute(0, 2, 1, 3).flatten(2).flatten(0, 1)
image = seen["head"][0] - seen["head"].mean()
centred = reference - reference.mean()
drawn = (
    (sheet, f"1×1 conv, PReLU: {size_of(channels)}", plotting.display_limits([channels], 0.5)),
    (seen["shuffle"][0], f"PixelShuffle({r}): {size_of(seen['shuffle'])}", None),
    (image, f"1×1 conv: {size_of(seen['head'])}", plotting.display_limits([image], 0.5)),
    (centred, "truth", plotting.display_limits([centred], 0.5)),
)
drop = (TOP - height(network.depth - 1)) / 3.45
for rank, (picture, label, grey) in enumerate(drawn):
    y = TOP - drop * rank
    grey = {} if grey is None else {"vmin": grey[0], "vmax": grey[1]}
    field = (0, acquisition.field[1], acquisition.field[0], 0)
    axes = thumbnail(picture, right, y, label, big, extent=field, **grey)
    if rank in (1, 2):
        arrow((right, y + drop - big / 2 - 0.02), (right, y + big / 2 + 0.22))
plotting.scale_bar(axes, 20.0)
arrow((COLUMNS["decoder"] + GAP, TOP), (right - big / 2 - 0.04, TOP))

for key, heading in (
    ("views", f"views of {specimen.short_title}\n{plotting.dose_label(max(doses))}"),
    ("encoder", "encoder block\none of its channels"),
    ("gates", "attention gate\nα of Eq. 2"),
    ("decoder", "decoder block\none of its channels"),
    ("output", "output\nsub-pixel head"),
):
    page.text(COLUMNS[key], HIGH - 0.12, heading, ha="center", va="top", fontsize=8.5)
bar = figure.add_axes(((COLUMNS["gates"] - 0.6) / WIDE, 0.42 / HIGH, 1.2 / WIDE, 0.1 / HIGH))
figure.colorbar(shown.images[0], cax=bar, orientation="horizontal", label="α")
bar.tick_params(labelsize=7)


def widths(model):
    return [block[0].out_channels for block in model.encoder]


def millions(model):
    return f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f} M parameters"


for rank, (owner, model) in enumerate((("here", network), ("in the paper", as_published))):
    page.text(
        COLUMNS["views"] - 0.65,
        1.35 - 0.62 * rank,
        f"channels {owner}:\n{', '.join(map(str, widths(model)))}\n{millions(model)}",
        va="top",
        fontsize=7.5,
    )
path = figures.save(figure, "architecture")
plt.close(figure)
Image(path)

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

# %% tags=["hide-input"]
rows = {}


def gate_maps(passed, parts):
    """Mean over the channels of each gate's maps, with the size of what it gates."""
    maps = {name: torch.sigmoid(passed[name][1][0]) for name in parts}
    return [(f"gate {size_of(alpha)}", alpha.mean(0), "viridis") for alpha in maps.values()]


model = load_network("DirectInformed")
parts = {f"gate {level}": gate for level, gate in enumerate(model.body.gates)}
passed = watch(parts | {"network": model}, lambda: informed(method, noisy, network=model))
given, (mean, deviation) = passed["network"][0][0][0], passed["network"][1]
rows["informed"] = [
    ("direct estimate", given[0], "gray"),
    ("whitened", given[-1], "gray"),
    *gate_maps(passed, parts),
    ("image", mean[0], "gray"),
    ("deviation (rad)", deviation[0], "viridis"),
]
if "DualPath" in SHIPPED:
    model = load_network("DualPath")
    parts = {f"gate {level}": gate for level, gate in enumerate(model.decoder.gates)}
    whole = {"views": model.weigh[-1], "network": model}
    passed = watch(parts | whole, lambda: dual_path(noisy, method.acquisition, network=model))
    # A softmax over the views of a group, times their number: one is a fair share.
    group = view_groups(method.acquisition)[-1]
    share = torch.softmax(passed["views"][1][:, 0], 0) * len(group)
    rows["dual path"] = [
        ("axial view", noisy[axial], "gray"),
        ("share of each view", share.mean((1, 2)), "disc"),
        *gate_maps(passed, parts),
        ("image", passed["network"][1][0, 0], "gray"),
        ("truth", reference, "gray"),
    ]

# %% tags=["hide-input", "remove-output"]
figure, grid = plt.subplots(
    len(rows), 7, figsize=(9.4, 1.75 * len(rows)), layout="constrained", squeeze=False
)
for line, (owner, panels) in zip(grid, rows.items(), strict=True):
    for axes, (label, picture, kind) in zip(line, panels, strict=True):
        axes.set(xticks=[], yticks=[])
        axes.set_title(label, fontsize=8)
        if kind == "disc":
            at = acquisition.view_angles[group]
            shown = axes.scatter(at[:, 1], -at[:, 0], c=picture, s=9, marker="s", cmap="viridis")
            axes.set(aspect="equal")
            axes.spines[:].set_visible(False)
        elif kind == "gray":
            plotting.show_image(axes, picture, acquisition.field, title=label)
            axes.title.set_fontsize(8)
        else:
            shown = axes.imshow(picture, cmap=kind)
        if kind != "gray":
            scale = figure.colorbar(shown, ax=axes, location="bottom", shrink=0.9, aspect=12)
            scale.ax.tick_params(labelsize=6)
            scale.locator = MaxNLocator(2)
    line[0].set_ylabel(owner)
plotting.scale_bar(grid[0, 0], 20.0)
figure.suptitle(f"{specimen.short_title}, {plotting.dose_label(max(doses))}", fontsize=9)
path = figures.save(figure, "architecture_gates")
plt.close(figure)
Image(path)

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
# Specimens are drawn one after the other and never repeat: twenty structure types with random elements,
# random cells under a space group, in and off zone axes, with grain boundaries, vacancies, replaced
# columns, edges, holes and wedges; packed glasses; polymer melts; bundles, rings and globules of
# ideal helices and strands. Whatever has the elements of one of the paper's specimens is refused, and
# so are closed protein shells and cross-β fibrils: the thirteen specimens are held out.

# %% tags=["hide-input", "remove-output"]
figure = plt.figure(figsize=(9.0, 3.4), layout="constrained")
for rank, index in enumerate((2, 4, 5, 7, 9, 12, 13, 21, 24, 29)):
    specimen = draw_specimen("atomic", 0, index)
    cell = specimen.atoms.cell.lengths()
    potential = project_atoms(
        specimen.atoms.numbers,
        specimen.atoms.positions,
        (cell[0], cell[1]),
        (round(3 * cell[0]), round(3 * cell[1])),
        (cell[2],),
    )
    axes = figure.add_subplot(2, 6, rank + 1 + (rank >= 5))
    bar = 10.0 if rank == 0 else None
    title = f"{specimen.name}, {cell[2] / 10:.1f} nm"
    plotting.show_image(
        axes, truth(potential, REGIMES["atomic"]), (64.0, 64.0), title=title, bar=bar
    )
for rank, index in ((6, 1), (12, 5)):
    specimen = draw_specimen("molecular", 0, index)
    cell = specimen.atoms.cell.lengths()
    potential = project_atoms(
        specimen.atoms.numbers, specimen.atoms.positions, (256.0, 256.0), (480, 480), (cell[2],)
    )
    axes = figure.add_subplot(2, 6, rank)
    bar = 50.0 if rank == 6 else None
    title = f"{specimen.name}, {cell[2] / 10:.1f} nm"
    plotting.show_image(
        axes, truth(potential, REGIMES["molecular"]), (256.0, 256.0), title=title, bar=bar
    )
path = figures.save(figure, "training_corpus")
plt.close(figure)
Image(path)

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
# The same code at a size that a page can bear: an informed network under {eq}`eq-informed`.

# %%
config = PRESETS[preset]
folder = figures.output_folder() / "training" / preset
weights = train(config, folder, device="cpu")
trained = build_network(config)


def loss_on_the_same_samples(network):
    """Mean loss over batches that the run did not see: its specimens, other electrons."""
    network.eval()
    with torch.inference_mode():
        parts = [batch for step in range(10) for batch in make_batch(config, config.steps + step)]
        return float(torch.stack([loss_of(config, network, batch) for batch in parts]).mean())


before = loss_on_the_same_samples(trained)
trained.load_state_dict(load_file(weights))
after = loss_on_the_same_samples(trained)
with (folder / "log.csv").open(encoding="utf-8", newline="") as file:
    small = [(int(row["step"]), float(row["loss"])) for row in csv.DictReader(file)]

# %% tags=["hide-input", "remove-output"]
figure, grid = plt.subplots(1, 1 + len(SHIPPED), figsize=(9.0, 2.5), layout="constrained")
grid[0].plot(*zip(*small, strict=True), "o-", ms=3, color="#d55e00")
grid[0].set(title=f"this page's run ({preset})", xlabel="step", ylabel="loss")
for axes, name in zip(grid[1:], SHIPPED, strict=True):
    log = training_log(name)
    axes.plot([row["step"] for row in log], [row["loss"] for row in log], lw=0.9, color="#0072b2")
    axes.set(title=name, xlabel="step", yscale="log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("")
path = figures.save(figure, "training_curves")
plt.close(figure)
Image(path)

# %% [markdown]
# ```{figure} ../figures/training_curves.png
# :name: fig-training-curves
# :alt: Loss against step of the run on this page and of every shipped network
#
# Loss against step: the run on this page (left) and the runs whose weights are shipped. The losses are
# different functions; their values cannot be compared. The shipped ones are on a logarithmic scale.
# ```

# %% tags=["remove-input"]
rows = "\n".join(
    f"| {name} | {card(name)['parameters'] / 1e6:.2f} M | {card(name)['training']['steps']} × "
    f"{card(name)['training']['batch']} | {card(name)['seconds'] / 60:.0f} min, {card(name)['device']} | "
    f"{trained_detector(card(name))} | "
    f"`{card(name)['sha256'][:12]}…` |"
    for name in SHIPPED
)
Markdown(
    "| network | parameters | steps × samples | trained for | on views of | checksum |\n|---|---|---|---|---|---|\n"
    + rows
)

# %% [markdown]
# ## On specimens that no training has seen

# %% tags=["hide-input"]
names = {"AttentionUNet": "attention U-Net", "DualPath": "dual path", "DirectInformed": "informed"}
NETWORKS = {label: name for name, label in names.items() if name in SHIPPED}
METHODS = ("direct", *NETWORKS)
images, scores = {}, {}
for name, scene in scenes.items():
    for dose in doses:
        measurement = scene.expose(dose, seed)
        for label in METHODS:
            image = images[name, label, dose] = STUDIED[label](measurement)
            scores[name, label, dose] = bench.score_image(image, scene)
        images[name, "deviation", dose] = informed(scene.direct, measurement.views).deviation

# %% tags=["hide-input", "remove-output"]
SHARE = 0.75  # of each side that is shown
columns = len(METHODS) + 2
figure = plt.figure(figsize=(9.2, 2 * (len(doses) * 7.6 / columns + 0.2)), layout="constrained")
upper, lower = figure.subfigures(2, 1)
for part, name in ((upper, crystal), (lower, protein)):
    scene = scenes[name]
    specimen, acquisition, reference = scene.specimen, scene.acquisition, scene.truth
    bar = 5.0 if specimen.regime == "atomic" else 50.0
    grid = part.subplots(len(doses), columns, squeeze=False)
    centred = reference - reference.mean()
    limits = plotting.display_limits([centred], 0.5)
    for row, dose in zip(grid, doses, strict=True):
        shown = [images[name, label, dose] for label in METHODS]
        for axes, image, label in zip(row, [*shown, centred], [*METHODS, "truth"], strict=False):
            first = dose == doses[0]
            plotting.show_image(
                axes,
                *plotting.middle(image, acquisition.field, SHARE),
                title=label if first else "",
                limits=limits,
                bar=bar if first and label == METHODS[0] else None,
            )
        deviation, field = plotting.middle(
            images[name, "deviation", dose], acquisition.field, SHARE
        )
        picture = row[-1].imshow(deviation, cmap="viridis", extent=(0, field[1], field[0], 0))
        row[-1].set(xticks=[], yticks=[], title="deviation (rad)" if dose == doses[0] else "")
        part.colorbar(picture, ax=row[-1], fraction=0.046)
        row[0].set_ylabel(plotting.dose_label(dose))
    part.suptitle(specimen.short_title, fontsize=9)
path = figures.save(figure, "network_images")
plt.close(figure)
Image(path)

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
def entry(name, label, dose):
    shown = scores[name, label, dose]
    fine = math.inf if shown["resolution"] is None else shown["resolution"]
    return (
        f"{shown['correlation']:.2f}, {shown['correlation_field']:.2f}, {shown['weighted_frc']:.2f}, "
        f"{plotting.period_label(fine)}"
    )


lines = [
    f"| {scenes[name].specimen.short_title} | {label} | "
    + " | ".join(entry(name, label, dose) for dose in doses)
    + " |"
    for name in scenes
    for label in METHODS
]
Markdown(
    "Correlation {term}`inside the specimen` and over the whole field, ring correlation weighted by the "
    "truth's power, and the finest period up to which every {term}`ring with power` holds; one noise draw:\n\n| specimen | method | "
    + " | ".join(plotting.dose_label(dose) for dose in doses)
    + " |\n"
    + "|---" * (2 + len(doses))
    + "|\n"
    + "\n".join(lines)
)

# %% tags=["remove-cell"]
KEYS = ("correlation", "correlation_field", "weighted_frc", "resolution")
figures.save_results(
    "02_training",
    {
        "scores": [
            {
                "specimen": name,
                "method": label,
                "dose": dose,
                **{key: shown[key] for key in KEYS},
            }
            for (name, label, dose), shown in scores.items()
        ],
        "small_run": small,
        "small_run_before_and_after": (before, after),
    },
)

# %% tags=["remove-input"]
coverage = card("DirectInformed")["calibration"]["coverage"]
cases = len(scenes) * len(doses)


def held(share):
    """Least and largest share of pixels in an interval, over regimes and doses."""
    values = [row["coverage"] for row in coverage if row["share"] == share]
    return f"{min(values):.1%} to {max(values):.1%}"


def ahead(label, key):
    """Cases in which a network is ahead of direct ptychography."""
    pairs = [
        (scores[name, label, dose][key], scores[name, "direct", dose][key])
        for name in scenes
        for dose in doses
    ]
    return sum(ours > theirs for ours, theirs in pairs)


def lowest_dose(label):
    return ", ".join(
        f"{scenes[name].specimen.short_title} "
        f"{scores[name, 'direct', doses[0]]['correlation']:.2f} → "
        f"{scores[name, label, doses[0]]['correlation']:.2f}"
        for name in scenes
    )


lines = [
    f"* **{label[0].upper() + label[1:]}**, trained for {card(name)['seconds'] / 60:.0f} minutes: correlates "
    f"better inside the specimen than direct ptychography in {ahead(label, 'correlation')} of {cases} "
    f"cases above, and by rings weighted with the truth's power in {ahead(label, 'weighted_frc')}. At {doses[0]:g} e⁻/Å², from direct ptychography's "
    f"correlation to its own: {lowest_dose(label)}."
    for label, name in NETWORKS.items()
]
runs = [card("AttentionUNet")["training"], *card("AttentionUNet")["before"]]
stacks = sum(run["steps"] * run["batch"] for run in runs)
Markdown(
    f"""
## What was seen

Training works at small size, and the shipped networks are compared here with {{term}}`direct ptychography` on two
specimens that they never saw. A *draw* is one random counting of the electrons; all scores are of one draw.

* The small run scatters, because every step meets other specimens and doses. On the same samples its
  loss is {before:.3f} before and {after:.3f} after {config.steps} steps.
"""
    + "\n".join(lines)
    + f"""
* **The paper's network** is {widths(network)[0]} channels wide here, where the paper's has
  {widths(as_published)[0]}, and saw {stacks} noisy stacks. What it lacks is a
  statement about this training, not about the paper's, which was far longer: whatever the geometry of
  the views gives direct ptychography for nothing, it has to learn.
* The deviation's intervals, calibrated on other draws than they are checked on, hold {held(0.68)} of
  the pixels of specimens like those of the training where 68 % are wanted, and {held(0.95)} where 95 %
  are, depending on regime and dose. What it holds off that distribution is open. What the networks invent is the question of
  the chapter on invention.
"""
)

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
