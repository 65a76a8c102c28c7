"""Established methods behind one call each: summed bright field and py4DSTEM's parallax."""

from __future__ import annotations

import contextlib
import io
import warnings

import py4DSTEM
import torch
from torch import Tensor

from misr4d import optics
from misr4d.acquisition import Acquisition
from misr4d.datacube import patterns_from_views

__all__ = ["parallax", "summed_bright_field"]


def summed_bright_field(views: Tensor, upsampling: int = 1) -> Tensor:
    """Sum of all views as they are: the image of a bright-field detector over the whole disc.

    Parameters
    ----------
    views : Tensor
        ``(..., M, Rx, Ry)``, relative to a fully lit pixel in vacuum.
    upsampling : int
        Pixels per scan step, by Fourier interpolation; it adds no information.

    Returns
    -------
    Tensor
        Mean relative intensity ``(..., upsampling·Rx, upsampling·Ry)``.
    """
    image = views.mean(-3)
    shape = (upsampling * image.shape[-2], upsampling * image.shape[-1])
    return optics.fourier_resample(image, shape)


def parallax(
    views: Tensor,
    acquisition: Acquisition,
    upsampling: int = 3,
    *,
    align: bool = False,
    correct: bool = True,
) -> Tensor:
    """Parallax (tilt-corrected bright field) by py4DSTEM: register the views, then merge them.

    Parameters
    ----------
    views : Tensor
        ``(M, Rx, Ry)``, relative to a fully lit pixel in vacuum.
    acquisition : Acquisition
        Its defocus, counted from the middle of the specimen, gives the registering shifts.
    upsampling : int
        Kernel-density up-sampling factor.
    align : bool
        Refine the shifts by cross-correlation. Off by default: the defocus is known here, as it
        is to every other method, and at low dose cross-correlation loses it.
    correct : bool
        Flip the sign of the contrast transfer function where it is negative, which turns the
        aligned bright-field image into a phase image.

    Returns
    -------
    Tensor
        ``(upsampling·Rx, upsampling·Ry)``; proportional to the phase if `correct`.

    Raises
    ------
    ValueError
        If step, defocus and detector leave the up-sampled image under-determined.

    References
    ----------
    Varnavides et al., arXiv:2309.05250; Yu et al., Nature Methods (2025), tilt-corrected
    bright-field STEM.
    """
    acquisition.check_upsampling(upsampling)
    cube, mask = patterns_from_views(views, acquisition)
    datacube = py4DSTEM.DataCube(cube.patterns)
    datacube.calibration.set_R_pixel_size(acquisition.step[0])
    datacube.calibration.set_R_pixel_units("A")
    datacube.calibration.set_Q_pixel_size(
        acquisition.detector_pixel * 1e-3 / acquisition.wavelength
    )
    datacube.calibration.set_Q_pixel_units("A^-1")
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # py4DSTEM announces its sampling limits, drawn here anyway
        run = py4DSTEM.process.phase.Parallax(
            energy=acquisition.energy,
            datacube=datacube,
            verbose=False,
            defocus=acquisition.defocus,
            object_padding_px=(0, 0),
            device="cpu",
        )
        run.preprocess(
            edge_blend=1e-3,  # our choice: the field is periodic, so no edge is blended away
            dp_mask=mask,
            plot_average_bf=False,
            force_rotation_angle_deg=0,
            force_transpose=False,
        )
        if align:
            run.reconstruct(reset=True, plot_aligned_bf=False, progress_bar=False)
        run.subpixel_alignment(
            kde_upsample_factor=upsampling,
            plot_upsampled_BF_comparison=False,
            progress_bar=False,
        )
        if correct:
            run.aberrations_C1 = -acquisition.defocus
            run.aberration_correct(use_CTF_fit=False, plot_corrected_phase=False)
            image = run.recon_phase_corrected
        else:
            image = run.recon_BF_subpixel_aligned
    return torch.from_numpy(image.copy()).float()
