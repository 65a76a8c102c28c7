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
# # A scan of one's own
#
# **What the paper says** (§2.2). Before reconstruction its pipeline calibrates a scan: recentring, an
# affine transformation, the interchange of the domains. How well that must be done, and how well it can
# be done at low dose, is not said; all its scans are simulated, and their geometry is known.
#
# **What is measured here.** What `misr4d reconstruct` makes of a scan of which nobody told it the
# defocus, the rotation or the centre: each step of the calibration, its result against the truth over
# doses, and the image. The scan is a *stand-in*, simulated to be as untidy as a microscope's
# (`misr4d.demo`, or `misr4d demo` on the command line), with the truth kept from the program in a second
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
from misr4d.parameters import check_parameters

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

from misr4d import figures
from misr4d.calibration import drift_matrix
from misr4d.demo import compare, make_stand_in
from misr4d.detector import detector_axes
from misr4d.fetch import DATASETS
from misr4d.focus import registered_power
from misr4d.reading import read_scan
from misr4d.report import prepare, reconstruct

figures.use_style()
doses = sorted(doses)
if pictured not in doses:
    raise ValueError(f"pictured is {pictured:g}; expected one of {doses}")

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
    + " × ".join(f"{v:.4g}" for v in np.atleast_1d(q.value))
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
        ("dose", figures.dose_label(truth.dose)),
        ("bad pixels", f"{int(truth.hot.sum())} hot, {int(truth.dead.sum())} dead"),
    )
)
Markdown("| quantity | value | who says it |\n|---|---|---|\n" + known + "\n" + hidden)

# %% [markdown]
# ## The detector: bad pixels, disc, centre, dose
#
# Bad pixels come first, because a hot row pulls at everything else. They are found in the sum of all
# patterns and replaced by noise of the level around them, which carries no information
# (`misr4d.pixels`). A disc fitted to what is left gives the centre. The counts give the dose, less what
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
totals = np.where(seen.bad, 0, scan.patterns).sum((2, 3))
shown = axes[2].imshow(totals / np.prod(scan.known["step"].value), cmap="gray")
axes[2].set(xticks=[], yticks=[], title="electrons in good pixels (e⁻/Å²)")
figure.colorbar(shown, ax=axes[2], shrink=0.8)
figure.suptitle(f"{stand_in.title.split(',')[0]}, {figures.dose_label(pictured)}", fontsize=9)
path = figures.save(figure, "own_detector")
plt.close(figure)
Image(path)

# %% [markdown]
# ```{figure} ../figures/own_detector.png
# :name: fig-own-detector
# :alt: Mean pattern with a hot row, the same with its bad pixels marked and the fitted disc, and the electrons of every position
#
# Square root of the mean pattern, over-exposed on the hot row; the bad pixels that were found, with the
# fitted disc and its centre (blue, +) and the true centre (orange, ×); and what every position received.
# ```

# %% [markdown]
# ## Rotation and defocus, from how the views register
#
# Each bright-field view is displaced by defocus times its angle, turned by the detector's rotation. For
# every pair of defocus and rotation the views can be shifted back and added up; at the right pair their
# sum is strong. That map is searched for both ways round of the detector's axes, and its top is refined by
# what two side bands explain, the drift beside it (`misr4d.focus`).

# %%
acquisition = replace(ready.acquisition)
views = ready.cube.views(acquisition)
plain = stand_in.acquisition.__class__(
    defocus=0.0,
    step=acquisition.step,
    energy=acquisition.energy,
    semiangle=acquisition.semiangle,
    scan_shape=acquisition.scan_shape,
    detector_pixel=acquisition.detector_pixel,
)
found = {name: ready.quantities[name].value for name in ("defocus", "rotation", "transposed")}
defoci = np.linspace(0.1, 2.0, 77) * truth.defocus
rotations = np.arange(-180.0, 180.0, 2.5)
maps = {
    way: registered_power(views, plain, defoci, rotations, way)
    for way in (found["transposed"], not found["transposed"])
}
slices = {
    "defocus": registered_power(views, plain, defoci, [found["rotation"]], found["transposed"]),
    "rotation": registered_power(views, plain, [found["defocus"]], rotations, found["transposed"]),
}
