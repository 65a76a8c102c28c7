"""Virtual bright-field views, registered by the known geometry and summed."""

from __future__ import annotations

from torch import Tensor

from misr4d.core import optics
from misr4d.core.acquisition import Acquisition

__all__ = ["summed_bright_field"]


def summed_bright_field(views: Tensor, acquisition: Acquisition, upsampling: int = 1) -> Tensor:
    """Sum of all views as they are: the image of a bright-field detector over the whole disc.

    Parameters
    ----------
    views : Tensor
        ``(..., M, Rx, Ry)``, relative to a fully lit pixel in vacuum.
    acquisition : Acquisition
        Says what each pixel gets in vacuum.
    upsampling : int
        Pixels per scan step, by Fourier interpolation; it adds no information.

    Returns
    -------
    Tensor
        Intensity relative to vacuum ``(..., upsampling·Rx, upsampling·Ry)``.
    """
    image = views.sum(-3) / float(acquisition.view_illumination.sum())
    shape = (upsampling * image.shape[-2], upsampling * image.shape[-1])
    return optics.fourier_resample(image, shape)
