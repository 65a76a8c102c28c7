"""Integrated differential phase contrast (iDPC), in Fourier form."""

from __future__ import annotations

import torch
from torch import Tensor

from misr4d.core import optics
from misr4d.core.acquisition import Acquisition
from misr4d.core.datacube import Datacube, centre_of_mass

__all__ = ["idpc"]


def idpc(cube: Datacube, acquisition: Acquisition, upsampling: int = 1) -> Tensor:
    """Integrated differential phase contrast in Fourier form.

    The centre of mass is the gradient of the phase, blurred by the probe's intensity, over 2π; so
    φ(q) = Σ q·CoM(q) / (i·q²).

    Parameters
    ----------
    cube : Datacube
    acquisition : Acquisition
        Gives the wavelength.
    upsampling : int
        Pixels per scan step, by Fourier interpolation; it adds no information.

    Returns
    -------
    Tensor
        ``(upsampling·Rx, upsampling·Ry)`` [rad], of zero mean.

    References
    ----------
    Lazić, Bosch & Lazar, Ultramicroscopy 160, 265 (2016).
    """
    com = centre_of_mass(cube, acquisition).double()
    shape = (com.shape[1], com.shape[2])
    qx, qy = acquisition.specimen_frequencies(*optics.frequencies(shape, cube.step))
    q2 = qx**2 + qy**2
    q2[0, 0] = 1
    spectra = torch.fft.fft2(com)
    phase = (qx * spectra[0] + qy * spectra[1]) / (1j * q2)
    phase[0, 0] = 0
    image = torch.fft.ifft2(phase).real
    return optics.fourier_resample(image, (upsampling * shape[0], upsampling * shape[1])).float()
