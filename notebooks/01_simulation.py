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
# # From atoms to views
#
# **What the paper says** (§2.2–2.3, Fig. 1a, Fig. 2, Supplementary Fig. 1). A convergent, *defocused*
# electron probe is scanned over the specimen and a diffraction pattern is recorded at every
# position: {term}`4D-STEM`. Read the other way round, each detector pixel inside the
# {term}`bright-field disc` records an image of its own: a
# {term}`virtual bright-field view <virtual bright field>`. Each view is sampled far too coarsely, but
# each is displaced by a different, known, sub-pixel amount. The paper simulates such data with abTEM
# {cite}`madsen2021` and shows how the views drown as the {term}`dose` falls.
#
# **What is measured here.** The same chain, true to scale: atoms → potential → {term}`datacube` → views. The
# direction and size of every view's displacement; whether the fast engine that makes the views of
# all later chapters agrees with abTEM's full scan; and how many electrons a view has.
#
# **How long it takes.** About a minute and a half on one core, most of it abTEM's scan of 4096 positions.

# %% tags=["parameters"]
specimen: str = "Li2CoO3"  # a crystal of misr4d.specimens.catalogue.SPECIMENS
thickness: float = 20.0  # Å along the beam
sampling: float = 1 / 3  # Å, wave field
slice_thickness: float = 2.0  # Å
doses: list[float] = [100.0, 300.0, 1000.0, 10000.0]  # e⁻/Å², finite
defoci: list[float] = [250.0, 500.0, 750.0, 1000.0]  # Å, underfocus, in their section
dose: float = 300.0  # e⁻/Å², of that section
draws: int = 8  # noise draws of that section
seed: int = 0  # of the counting noise

# %% tags=["remove-cell"]
from misr4d.companion.parameters import check_parameters

check_parameters(globals())

# %% tags=["hide-input"]
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Image, Markdown

from misr4d import ATOMIC, plotting
from misr4d.companion import bench, figures
from misr4d.companion.study import METHODS, place
from misr4d.core.datacube import Datacube
from misr4d.core.dose import electrons_per_pixel, expose
from misr4d.learn.learned import attention_unet, informed, load_network
from misr4d.learn.networks import direct_features
from misr4d.measure.metrics import correlation, specimen_mask
from misr4d.measure.summary import plain, select, summarise
from misr4d.reconstruction.bright_field import summed_bright_field
from misr4d.reconstruction.direct import DirectPtychography
from misr4d.simulate.multislice import build_potential, simulate_datacube
from misr4d.simulate.reciprocity import simulate_views
from misr4d.specimens.catalogue import make_specimen
from misr4d.specimens.potential import truth

plotting.use_style()

# %% [markdown]
# ## The specimen and its potential
#
# The crystal is cut to a patch in vacuum, a zone axis along the beam. The vacuum border keeps the
# scan's edges quiet, so that no method is judged by how it treats a cut lattice.

# %%
sample = make_specimen(specimen, thickness=thickness)
potential = build_potential(sample, sampling, slice_thickness)

# %% tags=["remove-input"]
Markdown(
    f"{sample.title}: {len(sample.atoms)} atoms ({sample.atoms.get_chemical_formula()}) in a box "
    f"of {' × '.join(f'{side:g}' for side in sample.atoms.cell.lengths())} Å; "
    f"{len(potential.slices)} slices of {potential.thicknesses[0]:.2f} Å, sampled at "
    f"{potential.sampling[0]:.3f} Å. Source: {sample.source}."
)

# %% [markdown]
# ## The measurement
#
# The *atomic* regime of this study ([](../book/conventions.md)). A detector pixel is chosen five
# times wider than the pixels of the simulated wave field, and every view averages the plane waves
# that fall inside its pixel, as a real camera does.

# %%
pixel = ATOMIC.wavelength / sample.atoms.cell.lengths()[0] * 1e3  # mrad, of the wave field
acquisition = replace(ATOMIC, detector_pixel=5 * pixel, pixel_samples=5)
cube = simulate_datacube(potential, acquisition)
views = cube.views(acquisition)

# %% tags=["remove-input"]
Markdown(
    f"""
| | |
|---|---|
| energy, semi-angle | {acquisition.energy / 1e3:g} keV, {acquisition.semiangle:g} mrad |
| scan | {acquisition.scan_shape[0]} × {acquisition.scan_shape[1]}, step {acquisition.step[0]:g} Å |
| defocus | {acquisition.defocus:g} Å (underfocus) |
| datacube (Rx, Ry, Qx, Qy) | {" × ".join(str(n) for n in cube.patterns.shape)}, \
{cube.detector_pixel[0]:.4f} mrad a pixel |
| views (M, Rx, Ry) | {" × ".join(str(n) for n in views.shape)}, \
{acquisition.detector_pixel:.3f} mrad a pixel |
| largest displacement of a view | {acquisition.largest_view_shift:g} Å \
= {acquisition.largest_view_shift / acquisition.step[0]:g} scan steps |
| finest period: one view / ×3 output / any bright-field method | \
{acquisition.nyquist_period():g} / {acquisition.nyquist_period(3):.3f} / \
{acquisition.information_limit:.3f} Å |
| electrons kept by the recorded patterns | {cube.patterns.sum((2, 3)).mean():.2%} |
"""
)

# %% [markdown]
# ## Views and their displacements
#
# A view is one detector pixel, read at every position of the scan. Here is one cut by hand: the small pixels of
# the wave field inside one pixel of the detector are added, on a scale where a fully lit pixel in vacuum is 1.

# %%
chosen_view = 17
factor = round(acquisition.detector_pixel / cube.detector_pixel[0])  # small pixels along a side
x, y = (
    n // 2 + factor * index - factor // 2
    for n, index in zip(
        cube.patterns.shape[2:], acquisition.detector_index[chosen_view].tolist(), strict=True
    )
)
block = cube.patterns[:, :, x : x + factor, y : y + factor]  # (Rx, Ry, factor, factor)
by_hand = block.sum((2, 3)) * acquisition.pixels_per_disc
assert np.allclose(by_hand, views[chosen_view], atol=1e-4)

# %% [markdown]
# Its displacement, from the pixel's angle and the defocus alone:

# %%
angle = acquisition.view_angles[chosen_view]  # (2,) [mrad]
displacement = acquisition.defocus * angle * 1e-3  # Å: −C₁₀·λk, with C₁₀ = −defocus
assert torch.allclose(displacement, -acquisition.registering_shifts[chosen_view])

# %% [markdown]
# Nine views, laid out by where their pixel sits in the disc, beside the displacement of all of them.
# The displacement is −∇χ(k)/2π = −λ·C₁₀·k, with the wavelength λ and C₁₀ the {term}`defocus` with its
# sign reversed, as in {eq}`eq-chi`: proportional to the pixel's angle λ·k and to the defocus, and known before
# any electron is counted.

# %% tags=["hide-input", "remove-output"]
angles = acquisition.view_angles
offsets = 0.7 * acquisition.semiangle * np.array([-1, 0, 1])
figure = plt.figure(figsize=(7.6, 3.7), layout="constrained")
left, right = figure.subfigures(1, 2, width_ratios=[1.1, 1])
grid = left.subplots(3, 3)
chosen = [
    int((angles - torch.tensor([x, y])).norm(dim=1).argmin())
    for x in offsets / np.sqrt(2)
    for y in offsets / np.sqrt(2)
]
limits = plotting.display_limits([views[index] for index in chosen])
for axes, index in zip(grid.flat, chosen, strict=True):
    plotting.show_image(
        axes,
        views[index],
        acquisition.field,
        title=f"({angles[index, 0]:.1f}, {angles[index, 1]:.1f}) mrad".replace("-", "−"),
        limits=limits,
        bar=5.0 if index == chosen[0] else None,
    )
    axes.title.set_fontsize(7)
axes = right.subplots()
moved = -acquisition.registering_shifts
arrows = axes.quiver(
    angles[:, 1],
    angles[:, 0],
    moved[:, 1],
    moved[:, 0],
    moved.norm(dim=1),
    angles="xy",
    pivot="mid",
    cmap="cividis_r",
)
axes.set(
    xlabel="Qy (mrad)",
    ylabel="Qx (mrad)",
    aspect="equal",
    title="displacement of each view, ∞ dose",
)
axes.invert_yaxis()
right.colorbar(arrows, label="displacement (Å)", shrink=0.7)
path = figures.save(figure, "views_montage")
plt.close(figure)
Image(path)

# %% [markdown]
# ```{figure} ../figures/views_montage.png
# :name: fig-views-montage
# :alt: Nine virtual bright-field views of a crystal patch, and a map of arrows that grow with the angle
#
# Re-makes Fig. 1a. Left: nine views at infinite dose under one pair of grey limits, each titled with
# the angle (Qx, Qy) of its detector pixel; scale bar 5 Å. The patch moves with the pixel. Right: the
# displacement of every view.
# ```

# %% [markdown]
# ## The same views, by reciprocity
#
# By {term}`reciprocity`, one plane wave sent backwards from each detector pixel replaces one probe for
# each position. A pixel of finite size takes many plane waves, of which a few are propagated and the
# others interpolated. The two ways must agree to far less than counting noise, because everything that
# follows uses the faster; with every wave propagated (`exact=True`) they agree to rounding.

# %%
fast = simulate_views(potential, acquisition)
agreement = correlation(fast.flatten(1), views.flatten(1))
difference = float((fast - views).square().mean().sqrt() / views.std())

# %% tags=["hide-input", "remove-output"]
outer = chosen[2]
figure, grid = plt.subplots(1, 3, figsize=(7.2, 2.7), layout="constrained")
pair = plotting.display_limits([views[outer], fast[outer]])
residual = fast[outer] - views[outer]
span = float(residual.abs().max())
for axes, image, title, grey in (
    (grid[0], views[outer], "cut from abTEM's datacube, ∞ dose", pair),
    (grid[1], fast[outer], "by reciprocity, ∞ dose", pair),
    (grid[2], residual, f"difference, grey range ±{span:.1e}", (-span, span)),
):
    plotting.show_image(axes, image, acquisition.field, title=title, limits=grey, bar=20.0)
path = figures.save(figure, "reciprocity_check")
plt.close(figure)
Image(path)

# %% [markdown]
# ```{figure} ../figures/reciprocity_check.png
# :name: fig-reciprocity-check
# :alt: One view from the full scan, the same view by reciprocity, and their small difference, which is that of interpolated waves
#
# One off-axis view made in two ways, and their difference on a grey range of its own: what the
# interpolation of waves within a detector pixel leaves.
# ```

# %% tags=["remove-input"]
Markdown(
    f"Over all {len(views)} views the correlation is {agreement:.6f} and the RMS difference "
    f"{difference:.1%} of the views' own variation."
)

# %% [markdown]
# ## Views against dose
#
# Dose is counted on the specimen. At a step of 1 Å each position receives as many electrons as the
# dose has per Å², and they are shared among all the pixels of the disc.

# %% tags=["hide-input", "remove-output"]
reference = truth(potential, acquisition)
generator = torch.Generator().manual_seed(seed)
noisy = [expose(views, acquisition, dose, generator) for dose in doses] + [views]
labels = [plotting.dose_label(dose) for dose in [*doses, np.inf]]
single = [stack[chosen[4]] for stack in noisy]
summed = [summed_bright_field(stack, acquisition) for stack in noisy]
figure = plotting.image_grid(
    [("one view", single), ("summed VBF", summed)],
    labels,
    acquisition.field,
    bar=5.0,
    common=[False] * (len(doses) - 1) + [True, True],
)
path = figures.save(figure, "vbf_against_dose")
Image(path)

# %% [markdown]
# ```{figure} ../figures/vbf_against_dose.png
# :name: fig-vbf-against-dose
# :alt: One view and the sum of all views at rising dose; the single view is mostly noise until high dose
#
# Re-makes Suppl. Fig. 1. Top: the axial view. Bottom: the sum of all views, which has all the
# electrons and little phase contrast. Each row has one pair of grey limits, set by its two highest
# doses; scale bar 5 Å.
# ```

# %% tags=["remove-input"]
shares = [electrons_per_pixel(dose, acquisition) for dose in doses]
signal = [correlation(image, views[chosen[4]]) for image in single[:-1]]
rows = "\n".join(
    f"| {dose:g} | {share:.2f} | {score:.2f} |"
    for dose, share, score in zip(doses, shares, signal, strict=True)
)
Markdown(
    "| dose (e⁻/Å²) | electrons per pixel and position | correlation of one view with itself at ∞ "
    f"dose |\n|---|---|---|\n{rows}"
)

# %% [markdown]
# ## Several defoci
#
# The paper simulates several defoci (§2.2). Defocus sets how far the views are displaced, and which frequencies
# each of them carries. Direct ptychography knows it from the measurement. The informed network was trained
# at a few defoci about the study's own, so that far from these it works off its training. Electrons are
# counted in the bright disc's pixels alone.

# %% tags=["hide-input"]
blurred, made, table = {}, {}, []
for defocus in defoci:
    placed = place(sample, defocus)
    blurred[defocus] = placed
    for draw in range(draws):
        exposed = placed.expose(dose, seed + draw)
        for method in ("direct", "informed"):
            image = METHODS[method](exposed)
            made.setdefault((method, defocus), image)
            row = {"method": method, "defocus": defocus, "draw": draw}
            table.append(row | bench.score_image(image, placed))

# %% tags=["hide-input", "remove-output"]
corner = torch.tensor([1.0, 1.0]) * 0.5 * ATOMIC.semiangle  # mrad, an off-axis view
number = int((placed.acquisition.view_angles - corner).norm(dim=1).argmin())
shown, notes = [], []
shown.append(("one view", [blurred[d].expected_views[number] for d in defoci]))
notes.append([f"shift {blurred[d].acquisition.largest_view_shift:g} Å at most" for d in defoci])
for method in ("direct", "informed"):
    shown.append((method, [made[method, d] for d in defoci]))
    first = [select(table, "correlation", method=method, defocus=d, draw=0)[0] for d in defoci]
    notes.append([f"{score:.2f}".replace("-", "−") for score in first])
figure = plotting.image_grid(
    shown, [f"{d:g} Å" for d in defoci], acquisition.field, bar=10.0, notes=notes
)
path = figures.save(figure, "several_defoci")
Image(path)

# %% [markdown]
# ```{figure} ../figures/several_defoci.png
# :name: fig-several-defoci
# :alt: One view at infinite dose and two reconstructions at low dose of a crystal patch, at four defoci
#
# The same crystal at several defoci. Top: one off-axis view at infinite dose, and the largest displacement of any
# view. Below: direct ptychography and the informed network at low dose, with their correlation inside the
# specimen. Each row has one pair of grey limits; scale bar 10 Å.
# ```

# %% tags=["remove-input"]
WORDS = {"correlation": None, "weighted_frc": None, "resolution": plotting.period_label}


def score_text(method, defocus, key):
    return summarise(select(table, key, method=method, defocus=defocus)).text(word=WORDS[key])


Markdown(
    f"At {plotting.dose_label(dose)}: correlation {{term}}`inside the specimen`, ring correlation weighted by the "
    "truth's power, and the finest period up to which every {term}`ring with power` holds. Median, and in "
    "brackets the spread and the number n of draws (quartiles from eight draws on).\n\n"
    "| method | defocus (Å) | correlation | weighted FRC | resolution |\n|---|---|---|---|---|\n"
    + "\n".join(
        f"| {m} | {d:g} | " + " | ".join(score_text(m, d, key) for key in WORDS) + " |"
        for m in ("direct", "informed")
        for d in defoci
    )
)

# %% [markdown]
# ## The whole way
#
# What the paper draws as its workflow, with what passed through each function in one run: down to the
# noisy views, and from them to an image by {term}`direct ptychography`, by the {term}`informed network`
# that starts from it, and by the paper's attention U-Net. The study's detector is finer than the one above, so
# the counted views are of that one. Electrons are counted in the bright disc's pixels alone.

# %% tags=["hide-input"]
picked = min(doses, key=lambda dose: abs(dose - 1000))
scene = place(sample)
counted = scene.expose(picked, seed).views
statistic = scene.direct.statistic(counted)
known = scene.truth
within = specimen_mask(known, scene.pixel)
inputs, _ = direct_features(scene.direct, statistic)


def watch(part, run):
    """Run, and return the result with what left a part of a network."""
    seen = []
    hook = part.register_forward_hook(lambda _, given, output: seen.append(output))
    result = run()
    hook.remove()
    return result, seen[0]


informing, attending = load_network("DirectInformed"), load_network("AttentionUNet")
image, gate = watch(
    informing.body.gates[0],
    lambda: informed(scene.direct, counted, network=informing).mean,
)
fused, attention = watch(
    attending.gates[0].psi, lambda: attention_unet(counted, scene.midplane, network=attending)
)

# %% tags=["hide-input", "remove-output"]
WIDE, HIGH, SIDE, PITCH = 7.2, 5.7, 0.98, 1.43  # inches: figure, thumbnail, one column to the next
ROWS = (4.75, 2.75, 0.8)  # inches, of the thumbnails' centres
figure = plt.figure(figsize=(WIDE, HIGH))
page = figure.add_axes((0, 0, 1, 1))
page.set(xlim=(0, WIDE), ylim=(0, HIGH))
page.axis("off")
LINE = {"color": "0.35", "lw": 1.0}


def centre(column, row):
    return 0.74 + PITCH * column, ROWS[row]


def stage(column, row, maker, picture, below, **shown):
    """What a function made, its name above and what it is below."""
    x, y = centre(column, row)
    axes = figure.add_axes(((x - SIDE / 2) / WIDE, (y - SIDE / 2) / HIGH, SIDE / WIDE, SIDE / HIGH))
    if "cmap" not in shown:
        shown["vmin"], shown["vmax"] = plotting.display_limits([picture])
    axes.imshow(np.asarray(picture), **shown)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(visible=True, color="0.35", lw=0.6)
    page.text(x, y + SIDE / 2 + 0.05, maker, ha="center", va="bottom", fontsize=7.5, weight="bold")
    page.text(x, y - SIDE / 2 - 0.06, below, ha="center", va="top", fontsize=7.5)
    return axes


def arrow(*points):
    page.plot(*zip(*points[:-1], strict=True), **LINE)
    head = {"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 1, "mutation_scale": 9}
    page.annotate("", points[-1], points[-2], arrowprops=head | LINE)


def onward(row, *columns):
    """Arrows from these columns of a row to the next."""
    for column in columns:
        x, y = centre(column, row)
        arrow((x + SIDE / 2 + 0.04, y), (x + PITCH - SIDE / 2 - 0.04, y))


def name_of(function):
    return function.__qualname__.replace(".", ".\n")


def size_of(array):
    return " × ".join(map(str, array.shape))


def scored(picture):
    return f"{size_of(picture)}\ncorrelation {correlation(picture, known, within=within):.2f}"


side = sample.atoms.cell.lengths()[:2]
density = np.histogram2d(
    *sample.atoms.positions[:, :2].T,
    bins=96,
    range=[(0, side[0]), (0, side[1])],
    weights=sample.atoms.numbers,
)[0]
middle = tuple(n // 2 for n in acquisition.scan_shape)
axial = counted[int(scene.midplane.view_angles.norm(dim=1).argmin())]
field = {"extent": (0, acquisition.field[1], acquisition.field[0], 0)}
drawn = stage(
    0,
    0,
    name_of(make_specimen),
    density,
    f"{len(sample.atoms)} atoms\n{sample.short_title}",
    **field,
)
plotting.scale_bar(drawn, 20.0)
volts = potential.slices
stage(1, 0, name_of(build_potential), volts.sum(0), f"{size_of(volts)}\nslices, x, y")
pattern = np.sqrt(cube.patterns[middle])
stage(2, 0, name_of(simulate_datacube), pattern, f"{size_of(cube.patterns)}\nRx, Ry, Qx, Qy")
stage(3, 0, name_of(Datacube.views), fast[chosen[2]], f"{size_of(views)}\nviews, Rx, Ry")
stage(4, 0, name_of(expose), axial, f"{size_of(counted)}\n{plotting.dose_label(picked)}")
onward(0, 0, 1, 2, 3)

whitened, direct_image = inputs[0, -1], scene.direct.solve(statistic)[0]
stage(0, 1, name_of(DirectPtychography.whitened), whitened, size_of(whitened))
stage(1, 1, name_of(DirectPtychography.solve), direct_image, scored(direct_image))
opened = torch.sigmoid(gate[0]).mean(0)  # mean of its channels
stage(2, 1, f"{type(informing).__name__}\nfirst gate", opened, size_of(gate[0]), cmap="viridis")
stage(3, 1, name_of(informed), image, scored(image))
onward(1, 0, 1, 2)
name = type(attending).__name__
stage(1, 2, f"{name}\nviews as channels", counted.mean(0), f"{size_of(counted)}\ntheir mean")
stage(2, 2, f"{name}\nfirst gate", attention[0, 0], size_of(attention[0]), cmap="viridis")
stage(3, 2, name_of(attention_unet), fused, scored(fused))
onward(2, 1, 2)
drawn = stage(4, 1, name_of(truth), known, size_of(known), **field)
plotting.scale_bar(drawn, 20.0)
# From the counted views down to both ways.
(right, top), (left, low) = centre(4, 0), centre(1, 2)
first = centre(0, 1)
bus = (ROWS[0] + ROWS[1]) / 2 - 0.02
start, corner = (right, top - SIDE / 2 - 0.36), (right, bus)
arrow(start, corner, (0.1, bus), (0.1, first[1]), (first[0] - SIDE / 2 - 0.04, first[1]))
arrow((0.1, first[1]), (0.1, low), (left - SIDE / 2 - 0.04, low))
path = figures.save(figure, "workflow")
plt.close(figure)
Image(path)

# %% [markdown]
# ```{figure} ../figures/workflow.png
# :name: fig-workflow
# :alt: The workflow as a chain of thumbnails with arrows, from atoms by potential, datacube and views to images by direct ptychography and two networks, beside the truth
#
# Re-makes Fig. 2. Every picture is what the function above it made in this run, with its shape below; of
# stacks one slice, view or mean is drawn. Top: a specimen's atoms become a potential, a datacube (the
# square root of one pattern), views, and counted views. Middle: direct ptychography and the network
# that starts from it, and the truth. Bottom: the paper's network, to which the views are channels. Grey
# limits are each picture's own; the correlation is with the truth, {term}`inside the specimen`. Scale bars 20 Å.
# ```

# %% tags=["remove-cell"]
figures.save_results(
    "01_simulation",
    {
        "specimen": specimen,
        "views": len(views),
        "reciprocity_correlation": agreement,
        "reciprocity_relative_rms": difference,
        "doses": doses,
        "electrons_per_pixel": shares,
        "single_view_correlation": signal,
        "defoci": [
            {
                "method": m,
                "defocus": d,
                "dose": dose,
                "values": {key: plain(select(table, key, method=m, defocus=d)) for key in WORDS},
            }
            for m in ("direct", "informed")
            for d in defoci
        ],
    },
)


# %% tags=["remove-input"]
def over_defoci(method):
    return ", ".join(
        f"{summarise(select(table, 'correlation', method=method, defocus=d)).median:.2f} at {d:g} Å"
        for d in defoci
    )


Markdown(
    f"""
## What was seen

Views displaced by known sub-pixel amounts come out of a simulation that is true to scale. At {doses[0]:g} e⁻/Å² one view
correlates with its own noiseless self by {signal[0]:.2f}.

* The chain of §2.2–2.3 runs true to scale, and views displaced by known sub-pixel amounts come out
  of it. **Fig. 1a and 2 are reproduced** in substance.
* Views by reciprocity equal abTEM's to {difference:.1%} of their variation, so later chapters
  may use them.
* At {doses[0]:g} e⁻/Å² a detector pixel receives {shares[0]:.2f} electrons a position: a single view
  correlates {signal[0]:.2f} with its own infinite-dose self. What a method recovers at such a dose
  it recovers from the ensemble. **Supplementary Fig. 1 is reproduced** in substance.
* **Several defoci.** At {dose:g} e⁻/Å² direct ptychography correlates {over_defoci("direct")} inside the specimen,
  the informed network {over_defoci("informed")}.
"""
)

# %% [markdown]
# **Exercise.** Double the defocus (`replace(ATOMIC, defocus=1000.0, …)`). What happens to the
# displacements, and to the contrast of a single view?
#
# ```{dropdown} Solution
# The displacements double, since they are λ·C₁₀·k. The contrast of each view changes too: the
# transfer 2·sin(πλ·C₁₀·q²) oscillates faster in q, so low frequencies gain and high ones cross more
# zeros. Run the cells again and look.
# ```
