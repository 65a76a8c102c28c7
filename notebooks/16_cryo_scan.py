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
# # A real cryo scan
#
# **What the paper says** (§2.3). Its scans are all simulated. It is written for specimens that the beam damages, such
# as proteins in ice.
#
# **What is measured here.** A published scan of virus particles in ice at the edge of a carbon film, from its
# file to the image. The program is told the energy, the step and the semi-angle alone. What it finds stands
# beside what the owners state and what another program fitted. There is no {term}`truth` here: what is
# compared is how far the scan agrees with itself.
#
# **The data** are the repository [SeanXPWu/Ptycho.jl](https://github.com/SeanXPWu/Ptycho.jl) by Xiaopeng Wu and
# Yu Lei, under the MIT licence: 127 × 127 positions of 31.25 Å, 300 kV, 1.03 mrad. They are not part of
# this book. `misr4d fetch cryo` fetches them, checks them and keeps the middle of every pattern, summed 2 × 2.
#
# **How long it takes.** Some minutes on one core.

# %% tags=["parameters"]
energy: float = 300e3  # eV, as the owners state
step: float = 31.25  # Å, as the owners state
semiangle: float = 1.03  # mrad, as the owners state
method: str = "informed"  # the network on top of direct ptychography
upsampling: int = 6  # pixels of the image per step of the scan

# %% tags=["hide-input"]
from misr4d.companion.parameters import check_parameters

check_parameters(globals())

# %%
import matplotlib.pyplot as plt
from IPython.display import Image, Markdown

import misr4d
from misr4d import plotting
from misr4d.calibrate.camera import camera_noise
from misr4d.companion import figures
from misr4d.companion.chapters import cryo_scan
from misr4d.specimens.cryo_scan import find_cryo_scan
from misr4d.specimens.fetch import DATASETS

plotting.use_style()
counts = find_cryo_scan(DATASETS["cryo"].path)
report, noise = None, None
if counts is not None:
    report = misr4d.reconstruct(
        counts,
        energy=energy,
        step=step,
        semiangle=semiangle,
        method=method,
        upsampling=upsampling,
    )
    disc = report.detector.disc
    noise = camera_noise(counts, disc.centre, disc.radius)

# %% tags=["remove-input"]
Markdown(
    cryo_scan.MISSING if report is None else "The scan is on this machine and was reconstructed."
)

# %% [markdown]
# ## The detector
#
# Behind thick ice the disc's edge is soft, and more is scattered to one side than to the other
# ({numref}`fig-cryo-camera`, left). The disc is not round either. The aperture is; so the angles are stretched, by
# the projector lenses or by pixels that are not square, and they are corrected for it. That matters: with a
# round disc the views look more as if the specimen had drifted, and the defocus comes out smaller.
#
# Values of this camera are not single electrons. The variance of a sum of pixels grows with their number: an
# electron makes several counts, spread over neighbouring pixels (middle). Electrons therefore cannot be dealt
# to two {term}`half-sets <half-set>` at random: both would share their noise. The half-sets are the even and the
# odd lines of the scan instead (right). What both share besides the specimen, such as a pattern that is fixed on the
# camera, still counts as agreement.

# %% tags=["remove-input", "remove-output"]
figure = cryo_scan.draw_camera(report, noise)
path = figures.save(figure, "cryo_camera")
plt.close(figure)
Image(path)

# %% [markdown]
# ```{figure} ../figures/cryo_camera.png
# :name: fig-cryo-camera
# :alt: Mean diffraction pattern with a fitted ellipse, variance over mean against the side of a block of pixels, and ring correlation of even against odd lines
#
# Square root of the mean pattern with the fitted disc; variance of the difference of neighbouring patterns, over
# the mean, for sums of blocks of pixels, 1 for counted electrons; and ring correlation of direct ptychography
# from the even lines with that from the odd lines.
# ```

# %% [markdown]
# ## What was estimated

# %% tags=["remove-input"]
Markdown(cryo_scan.MISSING if report is None else cryo_scan.estimates(report))

# %% tags=["remove-input"]
Markdown(cryo_scan.MISSING if report is None else cryo_scan.reading_of(report, noise))

# %% [markdown]
# ## The image
#
# The views are displaced by more than four steps of the scan, and an image six times finer than the scan is
# made of them ({numref}`fig-cryo-images`). An aperture of 1.03 mrad passes periods down to 9.6 Å; on the usual
# grid, three times finer than the scan, nothing below 21 Å could be shown, and of its half-sets by lines nothing
# below 42 Å compared.

# %% tags=["remove-input", "remove-output"]
figure = cryo_scan.draw_images(report)
path = figures.save(figure, "cryo_images")
plt.close(figure)
Image(path)

# %% [markdown]
# ```{figure} ../figures/cryo_images.png
# :name: fig-cryo-images
# :alt: Phase of virus particles in ice at the edge of a carbon film by direct ptychography, by the network on top of it, and their difference
#
# Phase by direct ptychography, by the network on top of it, and what the network changed, all on one scale of
# grey. The network was trained on simulated specimens of another step and semi-angle: where it differs, the
# data did not decide.
# ```

# %% [markdown]
# ## Refined by the counts
#
# The refinement asks the counts again ({doc}`12_refinement`). Its likelihood is that of single electrons. Here an electron
# makes several counts, so the counts are divided by as many as their noise says, which makes the likelihood wider and the
# prior stronger ({numref}`fig-cryo-refined`). A part of 48 × 48 positions is refined.

# %%
part = None
if report is not None:
    geometry = {
        name: report.quantities[name].value for name in ("defocus", "rotation", "transposed")
    }
    part = misr4d.reconstruct(
        counts[cryo_scan.REFINED_PART],
        energy=energy,
        step=step,
        semiangle=semiangle,
        method="refined",
        upsampling=upsampling,
        **geometry,
    )

# %% tags=["remove-input", "remove-output"]
figure = cryo_scan.draw_refined(part)
path = figures.save(figure, "cryo_refined")
plt.close(figure)
Image(path)

# %% [markdown]
# ```{figure} ../figures/cryo_refined.png
# :name: fig-cryo-refined
# :alt: Phase of a part of the scan by direct ptychography, by the network, after refinement by the counts, and what refinement changed
#
# A part of the scan by direct ptychography, by the network and refined, on one scale of grey, and what the refinement
# changed of the network's image.
# ```

# %% tags=["remove-input"]
Markdown(cryo_scan.MISSING if part is None else cryo_scan.reading_of_refined(part))

# %% [markdown]
# ## Another program's image of the same counts
#
# quantem 0.1.10 was given the same counts, and where the disc and its centre were found. Defocus,
# astigmatism and rotation are its own fit, and its detector has no ellipse. Its image was made once, by
# `benchmarks/peers/cryo_scan.py`, and is kept with its versions and settings ({numref}`fig-cryo-quantem`).

# %% tags=["remove-input", "remove-output"]
figure = cryo_scan.draw_quantem(report)
path = figures.save(figure, "cryo_quantem")
plt.close(figure)
Image(path)

# %% [markdown]
# ```{figure} ../figures/cryo_quantem.png
# :name: fig-cryo-quantem
# :alt: Phase of the same scan by direct ptychography of this package and by quantem, whole and without slow changes
#
# Above: direct ptychography by this package and by quantem from the same counts. Below: the same without periods
# above 500 Å. Each panel has its own grey scale, of all but the darkest and brightest half per cent.
# ```

# %% tags=["remove-input"]
Markdown(cryo_scan.MISSING if report is None else cryo_scan.beside_quantem(report))

# %% [markdown]
# The report warns of what speaks against the image:

# %% tags=["remove-input"]
if report is not None:
    for warning in report.warnings:
        print("*", warning)

# %% [markdown]
# ## What was seen

# %% tags=["remove-input"]
Markdown(cryo_scan.MISSING if report is None else cryo_scan.conclusion(report))

# %% [markdown]
# **Exercise.** The owners state a pixel of 0.033076 mrad. Pass it as `detector_pixel` beside the semi-angle. By how much
# does the defocus change, and why by as much as the pixel?
#
# ```{dropdown} Solution
# A view is displaced by defocus times angle, and the angle of a view is its place on the detector times the pixel.
# The displacement is what the scan shows. With a pixel 3 % smaller, every angle is 3 % smaller, and the same
# displacements take a defocus 3 % larger. Without the pixel its side is the semi-angle over the radius of the disc, so
# the error of that radius is an error of the defocus too.
# ```
