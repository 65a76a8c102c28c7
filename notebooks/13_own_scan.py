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
# # Your own scan
#
# **What the paper says** (§2.2). Before reconstruction its pipeline calibrates a scan: recentring, an
# affine transformation, the interchange of the domains. How well that must be done, and how well it can
# be done at low dose, is not said; all its scans are simulated, and their geometry is known.
#
# **What is measured here.** What `misr4d reconstruct` makes of a scan of which nobody told it the
# defocus, the rotation or the centre: each step of the calibration, its result against the truth over
# doses, and the image. The scan is a *stand-in*, simulated to be as untidy as a microscope's
# (`misr4d.companion.demo`, or `misr4d demo` on the command line), with the truth kept from the program in a second
# file. A published scan is reconstructed too, if `misr4d fetch WS2` has put it there.
#
# **How long it takes.** About a minute on one core.

# %% tags=["parameters"]
specimen: str = "Li2CoO3"  # of the stand-in
positions: int = 48  # of the scan, each way
doses: list[float] = [30.0, 100.0, 300.0, 1000.0]  # e⁻/Å², finite
draws: int = 2  # noise draws behind each estimate
pictured: float = 1000.0  # e⁻/Å² of the pictures, one of the doses
seed: int = 0  # of the stand-in and the first draw

# %% tags=["hide-input"]
from misr4d.companion.parameters import check_parameters

check_parameters(globals())

# %% tags=["hide-input"]
import tempfile
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Image, Markdown
from matplotlib.patches import Circle

from misr4d import plotting
from misr4d.calibrate.defocus import registered_power
from misr4d.companion import figures
from misr4d.companion.demo import compare_with_truth, make_stand_in
from misr4d.io.reading import read_scan
from misr4d.io.scan import Quantity
from misr4d.report.preparation import prepare
from misr4d.report.reconstruct import reconstruct_scan
from misr4d.specimens.fetch import DATASETS

plotting.use_style()
doses = sorted(doses)
if pictured not in doses:
    raise ValueError(f"pictured is {pictured:g}; expected one of {doses}")
DEFOCUS_GOAL, ROTATION_GOAL = 2.0, 0.5  # % and deg, at the highest dose

# %% [markdown]
# ## What the file says, and what it does not
#
# Each probe position is simulated where the beam really was: on a scan turned against the detector, of a
# specimen that moves on by a share of a step from line to line. Electrons may be counted beside the pixel
# they hit; each is counted once. A row of the detector and some pixels are hot, two are dead.

# %%
stand_in = make_stand_in(specimen, seed=seed, positions=positions)
scans = {}
with tempfile.TemporaryDirectory() as folder:
    for dose in doses:
        for draw in range(draws):
            recording, truth = stand_in.expose(dose, seed + draw)
            scan = read_scan(recording.write(Path(folder) / "scan.h5"))
            # Taken into memory, since the file does not stay.
            scans[dose, draw] = replace(scan, patterns=np.asarray(scan.patterns)), truth
scan, truth = scans[pictured, 0]

# %% tags=["remove-input"]
known = "\n".join(
    f"| {name.replace('_', ' ')} | "
    + " × ".join(f"{v:.6g}" for v in np.atleast_1d(q.value))
    + f" {q.unit} | the file |"
    for name, q in scan.known.items()
)
hidden = "\n".join(
    f"| {name} | {value} | nobody |"
    for name, value in (
        ("defocus", f"{truth.defocus:.1f} Å under focus, from the specimen's middle"),
        ("rotation", f"{truth.rotation:.2f}°"),
        ("transposed", "yes" if truth.transposed else "no"),
        ("centre", f"({truth.centre[0]:.2f}, {truth.centre[1]:.2f}) pixels"),
        ("drift", f"({truth.drift[0]:.3f}, {truth.drift[1]:.3f}) Å a line"),
        ("dose", plotting.dose_label(truth.dose)),
        ("bad pixels", f"{int(truth.hot.sum())} hot, {int(truth.dead.sum())} dead"),
    )
)
Markdown("| quantity | value | who says it |\n|---|---|---|\n" + known + "\n" + hidden)

# %% [markdown]
# ## An image in one call
#
# Counts in memory and three numbers that every microscopist knows give an image
# ({numref}`fig-own-call`); a path to a file in place of the array does the same. All else is estimated. The
# sections below go through what happens inside.

# %% tags=["remove-output"]
import misr4d

patterns = scan.patterns  # counts (Rx, Ry, Qx, Qy): NumPy, dask or a tensor
energy, step, semiangle = (
    scan.value("energy"),
    scan.value("step"),
    scan.value("semiangle"),
)  # eV, Å, mrad

report = misr4d.reconstruct(patterns, energy=energy, step=step, semiangle=semiangle)

print(report.summary())  # every number with its origin, and warnings
phase, deviation = report.phase, report.deviation  # NumPy arrays (3·Rx, 3·Ry) [rad]
Image(figures.save(report.show(), "own_call"))

# %% [markdown]
# ```{figure} ../figures/own_call.png
# :name: fig-own-call
# :alt: Direct ptychography, the informed network's image and its standard deviation, as report.show() draws them
#
# What `report.show()` draws: the image of direct ptychography, the network's that starts from it, and the
# standard deviation of the latter. Scale bar in the first image.
# ```

# %% [markdown]
# ## The detector: bad pixels, disc, centre, dose
#
# Bad pixels come first, because a hot row pulls at everything else. They are found in the sum of all
# patterns and replaced by noise of the level around them, which carries no information
# (`misr4d.calibrate.pixels`). A disc fitted to what is left gives the centre ({numref}`fig-own-detector`). The counts give the dose, less what
# is scattered past the detector.

# %%
ready = prepare(scan)

# %% tags=["hide-input", "remove-output"]
seen, disc = ready.detector, ready.detector.disc
figure, axes = plt.subplots(1, 3, figsize=(7.4, 2.6), layout="constrained")
good = seen.mean[~seen.bad]
axes[0].imshow(np.sqrt(seen.mean), cmap="gray", vmax=np.sqrt(good.max() * 3))
axes[0].set_title("mean pattern as recorded")
axes[1].imshow(np.sqrt(np.where(seen.bad, np.nan, seen.mean)), cmap="gray", vmin=0)
axes[1].imshow(np.where(seen.bad, 1.0, np.nan), cmap="autumn", vmin=1, vmax=2)
for centre, style in ((disc.centre, "-"), (truth.centre, ":")):
    axes[1].add_patch(
        Circle(centre[::-1], disc.radius, fill=False, color="#56b4e9", lw=1.2, ls=style)
    )
axes[1].plot(*truth.centre[::-1], "x", color="#d55e00", ms=6)
axes[1].plot(*disc.centre[::-1], "+", color="#56b4e9", ms=8)
axes[1].set_title("bad pixels (red), fitted disc")
for panel in axes[:2]:
    panel.set(xticks=[], yticks=[])
# Electrons of each position in good pixels, over the area of a step.
area = float(np.prod(scan.known["step"].value))
totals = np.where(seen.bad, 0, scan.patterns).sum((2, 3)) / area
axes[2].hist(totals.ravel(), bins=30, density=True, color="0.75", label="positions")
axis = np.linspace(totals.min(), totals.max(), 200)
mean = totals.mean()
spread = np.sqrt(mean / area)
bell = np.exp(-(((axis - mean) / spread) ** 2) / 2) / (spread * np.sqrt(2 * np.pi))
axes[2].plot(axis, bell, color="#332288", label="counting noise")
peak = 1.15 * bell.max()
axes[2].vlines(ready.quantities["dose"].value, 0, peak, color="k", lw=0.8, label="estimate")
axes[2].vlines(truth.dose, 0, peak, color="#d55e00", ls=":", label="truth")
axes[2].set(yticks=[], xlabel="dose (e⁻/Å²)", title="electrons of each position")
axes[2].spines["left"].set_visible(False)
axes[2].set_ylim(0, 1.6 * bell.max())
axes[2].set_box_aspect(1)
axes[2].legend(fontsize=7, ncols=2, loc="upper center")
figure.suptitle(f"{stand_in.title}, {plotting.dose_label(pictured)}", fontsize=9)
path = figures.save(figure, "own_detector")
plt.close(figure)
Image(path)

# %% [markdown]
# ```{figure} ../figures/own_detector.png
# :name: fig-own-detector
# :alt: Mean pattern with a hot row, the same with its bad pixels marked and the fitted disc, and a histogram of the electrons of every position
#
# Square root of the mean pattern, over-exposed on the hot row; the bad pixels that were found, with the
# fitted disc and its centre (blue, +) and the true centre (orange, ×); and the electrons that good pixels
# counted at each position, with the spread that counting noise alone gives them. The specimen is thin and
# scatters nearly all within the detector, so that the mean is the dose, less the bad pixels' share.
# ```

# %% [markdown]
# ## Rotation and defocus, from how the views register
#
# Each bright-field view is displaced by defocus times its angle, turned as the detector is. For a trial
# of both the views are shifted back and added up: at the right one their sum is strong. That map
# ({numref}`fig-own-focus`) is searched for either way round of the detector's axes. Its top is then refined by what two side bands
# explain, with the drift beside it, since a drift displaces the views too, but not as a turn or a focus
# would (`misr4d.calibrate.defocus`).

# %%
views = ready.cube.views(ready.acquisition)
found = {n: ready.quantities[n].value for n in ("defocus", "rotation", "transposed", "drift")}
defoci = np.linspace(0.05, 2.0, 79) * truth.defocus
angles = np.arange(-180.0, 180.0, 2.5)
power = {
    way: registered_power(views, ready.acquisition.unturned, defoci, angles, way)
    for way in (found["transposed"], not found["transposed"])
}

# %% tags=["hide-input", "remove-output"]
figure, axes = plt.subplots(
    1, 3, figsize=(7.4, 2.6), layout="constrained", width_ratios=[1, 1, 1.1]
)
top = max(values.max() for values in power.values())
low = min(np.median(values) for values in power.values())
for panel, (way, values) in zip(axes, power.items(), strict=False):
    panel.imshow(
        (values - low) / (top - low),
        vmin=0,
        vmax=1,
        cmap="viridis",
        aspect="auto",
        origin="lower",
        extent=(-180, 180, defoci[0], defoci[-1]),
    )
    panel.set(
        xlabel="rotation (deg)",
        xticks=(-180, -90, 0, 90, 180),
        title="axes swapped" if way else "axes as recorded",
    )
axes[0].set_ylabel("defocus (Å)")
axes[0].plot(
    truth.rotation, truth.defocus, "o", ms=11, mfc="none", mec="#d55e00", mew=1.5, label="truth"
)
axes[0].plot(found["rotation"], found["defocus"], "+", ms=7, color="w", mew=1.2, label="estimate")
axes[0].legend(
    fontsize=7, labelcolor="w", loc="upper right" if truth.rotation < 0 else "upper left"
)
near = int(np.abs(angles - found["rotation"]).argmin())
for (way, values), colour in zip(power.items(), ("#332288", "0.6"), strict=True):
    label = "axes swapped" if way else "as recorded"
    axes[2].plot(defoci, (values[:, near] - low) / (top - low), color=colour, label=label)
axes[2].vlines(truth.defocus, 0, 1.1, color="#d55e00", ls=":", label="truth")
axes[2].vlines(found["defocus"], 0, 1.1, color="k", lw=0.8, label="estimate")
axes[2].set(
    xlabel="defocus (Å)",
    ylabel="registered power (relative)",
    title=f"at {found['rotation']:.1f}°".replace("-", "−"),
    ylim=(-0.05, 1.6),
    yticks=(0, 0.5, 1),
)
axes[2].legend(fontsize=7, ncols=2, loc="upper center")
figure.suptitle(f"{stand_in.title}, {plotting.dose_label(pictured)}", fontsize=9)
path = figures.save(figure, "own_focus")
plt.close(figure)
Image(path)

# %% [markdown]
# ```{figure} ../figures/own_focus.png
# :name: fig-own-focus
# :alt: Power of the registered views against defocus and rotation for both ways round of the detector's axes, and its profile along the defocus
#
# Power of the registered views over its median, for the detector's axes as they turn out to be (left)
# and the other way round (middle), and along the defocus at the rotation that was found (right). The
# search looks at similarities alone; drift and side bands move the refined estimate off its top.
# ```

# %% [markdown]
# ## Estimates against the truth
#
# The same specimen on the same scan, at other doses and with other electrons ({numref}`fig-own-estimates`).

# %%
table, failed = [], []
for (dose, draw), (one, known) in scans.items():
    try:
        prepared = ready if (dose, draw) == (pictured, 0) else prepare(one)
    except ValueError as error:
        failed.append({"dose": dose, "draw": draw, "error": str(error)})
        continue
    rows = {row.name: row for row in compare_with_truth(prepared, known)}
    step = stand_in.acquisition.step[0]
    table.append(
        {
            "dose": dose,
            "draw": draw,
            "defocus": 100 * rows["defocus"].error[0] / known.defocus,
            "defocus_stated": 100 * rows["defocus"].stated / known.defocus,
            "rotation": rows["rotation"].error[0],
            "rotation_stated": rows["rotation"].stated,
            "drift": float(np.hypot(*rows["drift"].error)) / step,
            "drift_stated": rows["drift"].stated / step,
            "centre": float(np.hypot(*rows["centre"].error)),
            "dose_error": 100 * rows["dose"].error[0] / dose,
            "transposed": rows["transposed"].error == (0.0,),
            "missed": -int(rows["bad pixels found"].error[0]),
            "invented": int(rows["good taken for bad"].error[0]),
        }
    )

# %% tags=["hide-input", "remove-output"]
figure, axes = plt.subplots(1, 3, figsize=(7.4, 2.4), layout="constrained", sharex=True)
for panel, (key, label, goal) in zip(
    axes,
    (
        ("defocus", "error of defocus (%)", DEFOCUS_GOAL),
        ("rotation", "error of rotation (deg)", ROTATION_GOAL),
        ("drift", "error of drift (steps a line)", None),
    ),
    strict=True,
):
    panel.errorbar(
        [row["dose"] * (1 + 0.06 * (row["draw"] - (draws - 1) / 2)) for row in table],
        [row[key] for row in table],
        [row[f"{key}_stated"] for row in table],
        fmt="o",
        ms=3,
        lw=0.8,
        capsize=2,
        color="#332288",
    )
    if goal is not None:
        panel.axhspan(-goal, goal, color="0.9", lw=0)
    panel.axhline(0, color="0.6", lw=0.8)
    if key == "drift":
        panel.set_ylim(0)
    panel.set(xscale="log", xlabel="dose (e⁻/Å²)", ylabel=label)
    panel.set_xticks(doses, [f"{d:g}" for d in doses])
    panel.minorticks_off()
figure.suptitle(f"{stand_in.title}, {positions} × {positions} positions", fontsize=9)
path = figures.save(figure, "own_estimates")
plt.close(figure)
Image(path)

# %% [markdown]
# ```{figure} ../figures/own_estimates.png
# :name: fig-own-estimates
# :alt: Errors of defocus, rotation and drift against dose, with the standard errors that the program states
#
# Estimate less truth, each with the standard error that the report states. Grey: the goal at the highest
# dose, 2 % of the defocus and half a degree.
# ```

# %% tags=["remove-input"]
lines = "\n".join(
    f"| {row['dose']:g} | {row['draw']} | {row['defocus']:+.1f} % ± {row['defocus_stated']:.1f} | "
    f"{row['rotation']:+.2f}° ± {row['rotation_stated']:.2f} | "
    f"{'right' if row['transposed'] else 'wrong'} | {row['drift']:.3f} | {row['centre']:.2f} px | "
    f"{row['dose_error']:+.1f} % | {row['missed']} / {row['invented']} |"
    for row in table
)
lines += "".join(
    f"\n| {f['dose']:g} | {f['draw']} | none: {f['error'][:90]}… | | | | | | |" for f in failed
)
Markdown(
    "Errors of the estimates ± what the report states; drift in steps a line; bad pixels missed / good "
    "ones taken for bad:\n\n"
    "| e⁻/Å² | draw | defocus | rotation | axes | drift | centre | dose | pixels |\n"
    "|---|---|---|---|---|---|---|---|---|\n" + lines
)

# %% [markdown]
# ## The image
#
# From the file alone, with all of the above estimated ({numref}`fig-own-images`). The estimated drift enters
# the model: each view is taken to be sampled where the probe was, not where the scan says. The image that comes
# out is then put on a straight grid and cropped to what the scan saw all of. Beside it stands what comes out if
# the drift is left out (`--drift 0 0 --astigmatism 0 0`), as most programs would; the truth is shown where
# either image has it.

# %%
report = reconstruct_scan(scan, seed=seed)
nothing = Quantity((0.0, 0.0), "Å", "given")
still = {**scan.known, "drift": nothing, "astigmatism": nothing}
ignored = reconstruct_scan(replace(scan, known=still), seed=seed)
scores = {row.name: row.estimated[0] for row in compare_with_truth(report, truth)}
scores |= {
    f"{row.name}, drift ignored": row.estimated[0]
    for row in compare_with_truth(ignored, truth)
    if row.name.startswith("correlation")
}

# %% tags=["hide-input", "remove-output"]
phase = torch.from_numpy(truth.phase)
limits = plotting.display_limits([phase - phase.mean()], 0.5)
figure, grid = plt.subplots(2, 3, figsize=(7.4, 5.2), layout="constrained")
rows = (
    (
        (f"direct, drift ignored: {scores['correlation, direct, drift ignored']:.2f}", "direct"),
        (f"informed, drift ignored: {scores['correlation, informed, drift ignored']:.2f}", "mean"),
    ),
    (
        (f"direct: {scores['correlation, direct']:.2f}", "direct"),
        (f"informed: {scores['correlation, informed']:.2f}", "mean"),
    ),
)
for axes, found, titles, where in zip(
    grid, (ignored, report), rows, ("as scanned", "straightened"), strict=True
):
    field = tuple(n * p for n, p in zip(found.mean.shape, found.pixel, strict=True))
    seen = found.straightened(phase)
    images = [(title, getattr(found, name)) for title, name in titles]
    for panel, (title, image) in zip(
        axes, [*images, (f"truth, {where}", seen - seen.mean())], strict=True
    ):
        plotting.show_image(
            panel,
            image,
            field,
            title=title,
            limits=limits,
            bar=(10.0 if field[0] < 100 else 50.0) if panel is axes[0] else None,
        )
figure.suptitle(
    f"{stand_in.title}, {plotting.dose_label(pictured)}, nothing given; correlation with the truth",
    fontsize=9,
)
path = figures.save(figure, "own_images")
plt.close(figure)
Image(path)

# %% [markdown]
# ```{figure} ../figures/own_images.png
# :name: fig-own-images
# :alt: Direct ptychography, the informed network's image and the truth, above with the drift ignored and sheared, below straightened and sharper
#
# The stand-in reconstructed from its file, all under the truth's grey limits, the number being the correlation
# with the truth beside it. Above, the drift ignored: the lattice is sheared and its finest detail blurred. Below, as
# `misr4d reconstruct` does it: solved for where the probe was, straightened, and cropped. Scale bars in the first
# images.
# ```

# %% tags=["remove-input"]
Markdown(
    "What the report warns of, word by word:\n\n"
    + "\n".join(f"- {text}" for text in report.warnings)
)

# %% [markdown]
# ## Where it fails
#
# * **Half a turn.** Underfocus at one rotation and overfocus half a turn from there displace the views
#   alike; the report says so. A calibration of the microscope settles it, or a look at the contrast.
# * **Drift or astigmatism.** A steady drift and two-fold astigmatism stretch the pattern of displacements
#   alike. One scan cannot tell them apart: the drift that is reported holds if the probe was stigmated.
#   A second scan with the fast axis turned by a quarter tells them apart, since the drift turns and the
#   lens does not. `--drift 0 0` says that the specimen stood still: then astigmatism is sought instead, and
#   the image solved for with it. If the lattice is known, it shows which of the two images is true.
# * **Few electrons.** The estimates scatter more, as the error says that is stated for them; below some dose
#   none stands out and the program refuses.
# * **A drift that changes**, flyback errors, damage, coma: not simulated and not estimated.
#
# ## A published scan

# %% tags=["remove-input"]
published = DATASETS["WS2"]
outcome = {}
if published.path.is_file():
    try:
        real = reconstruct_scan(read_scan(published.path))
        outcome = real.record()
        text = (
            f"{published.title} ({published.licence}), calibrated and reconstructed as it is:\n\n"
            "```\n" + real.summary() + "\n```"
        )
    except ValueError as error:
        outcome = {"error": str(error)}
        text = f"{published.title} is in the cache, and is refused: {error}."
else:
    text = (
        f"{published.title} ({published.licence}) is not on this machine, and this page asks nothing of "
        "the network: `misr4d fetch WS2` gets it, and the next run of this chapter shows it here."
    )
Markdown(text)

# %% tags=["remove-cell"]
figures.save_results(
    "13_own_scan",
    {
        "specimen": specimen,
        "positions": positions,
        "estimates": table,
        "failed": failed,
        "scores": scores,
        "warnings": list(report.warnings),
        "published": outcome,
    },
)

# %% tags=["remove-input"]


def counted(dose):
    return sum(row["dose"] == dose for row in table)


def worst(dose, key):
    values = [abs(row[key]) for row in table if row["dose"] == dose]
    return max(values) if values else float("nan")


high, least = doses[-1], doses[0]
met = worst(high, "defocus") < DEFOCUS_GOAL and worst(high, "rotation") < ROTATION_GOAL
sides = sum(row["transposed"] for row in table)
beyond = sum(
    abs(row[key]) > 3 * row[f"{key}_stated"] for row in table for key in ("defocus", "rotation")
)
Markdown(
    "## What was seen\n\n"
    f"At {plotting.dose_label(high)} (n = {counted(high)}) the defocus was within {worst(high, 'defocus'):.1f} % of the truth and "
    f"the rotation within {worst(high, 'rotation'):.2f}°: the goal of {DEFOCUS_GOAL:g} % and "
    f"{ROTATION_GOAL:g}° is {'met' if met else 'missed'}. At {plotting.dose_label(least)} (n = {counted(least)}) they were within "
    f"{worst(least, 'defocus'):.1f} % and {worst(least, 'rotation'):.1f}°. The detector's axes were told "
    f"right in {sides} of {len(table) + len(failed)} scans. Of {2 * len(table)} estimates {beyond} were off "
    "by more than three of the standard errors that were stated for them. The informed image of the "
    f"stand-in correlates with the truth at {scores['correlation, informed']:.2f}, direct ptychography's at "
    f"{scores['correlation, direct']:.2f}, with nothing given but energy, step, semi-angle and detector pixel; "
    f"were the drift ignored, it would be {scores['correlation, informed, drift ignored']:.2f} and "
    f"{scores['correlation, direct, drift ignored']:.2f}."
)

# %% [markdown]
# **Exercise.** How far off may the defocus be before the outermost view misses its place by half a pixel of
# the image? Compare with the errors above, and with the rotation that does the same.
#
# ```{dropdown} Solution
# A view at the rim of the disc is displaced by α times the defocus; a share ε of the defocus misplaces it by
# ε·α·|defocus|, which is ε times `ready.acquisition.largest_view_shift`. Half a pixel of the image is a
# sixth of the step, so ε may be step / (6·α·|defocus|): with a displacement of some five steps, about
# 3 %. A rotation by δ misplaces the same view by δ·α·|defocus|, across instead of along: 0.03 rad, about
# two degrees. Beyond that fine detail of outer and inner views no longer adds up, and the image loses its
# resolution first.
# ```
