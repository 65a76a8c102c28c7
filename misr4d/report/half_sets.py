"""Two independent measurements out of one scan, and how far their images agree.

Single electrons are dealt to two halves at random. Where a value is not a number of electrons, as
on a camera that gives several counts for one, or shares them between neighbouring pixels, such
halves would share their noise and agree on it. There the halves are every other line of the scan,
whose patterns were recorded one by one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from misr4d.core.acquisition import UPSAMPLING, Acquisition
from misr4d.core.dose import thin
from misr4d.measure.spectra import fourier_ring_correlation, half_bit_threshold, resolution
from misr4d.report.preparation import Prepared

__all__ = [
    "half_set_curve",
    "half_set_resolution",
    "halves_by_lines",
    "halves_of_counts",
    "on_first_lines",
]


def halves_of_counts(views: Tensor, ready: Prepared, seed: int) -> Iterator[Tensor]:
    """Divide the counted electrons of the bright field into two independent measurements.

    The second overwrites the first: a scan of a million positions has a gigabyte of views.

    Parameters
    ----------
    views : Tensor
        ``(M, Rx, Ry)``, as :meth:`misr4d.core.datacube.Datacube.views` cuts them.
    ready : Prepared
    seed : int

    Yields
    ------
    Tensor
        ``(M, Rx, Ry)``, in the units of `views`.
    """
    electrons_in_pixel = ready.cube.electrons / ready.acquisition.pixels_per_disc
    generator = torch.Generator().manual_seed(seed)
    half = torch.empty_like(views)
    cube, acquisition = ready.cube, ready.acquisition
    for index, view in enumerate(views):  # one at a time: thinning works in double precision
        # Electrons are divided as they were counted.
        counted = cube.recorded(view, acquisition) * electrons_in_pixel
        half_counts = thin(counted.round(), generator)[0] * (2 / electrons_in_pixel)
        half[index] = cube.levelled(half_counts, acquisition)
    yield half
    for half_view, view in zip(half, views, strict=True):
        half_view.neg_().add_(view, alpha=2)
    yield half


def halves_by_lines(
    views: Tensor, acquisition: Acquisition, upsampling: int = UPSAMPLING
) -> tuple[Acquisition, tuple[Tensor, Tensor]]:
    """Divide a scan into its even and its odd lines, each a scan of twice the step along Rx.

    Parameters
    ----------
    views : Tensor
        ``(M, Rx, Ry)``.
    acquisition : Acquisition
    upsampling : int
        Of the images that will be made of them.

    Returns
    -------
    Acquisition, (Tensor, Tensor)
        That of each half, and the halves ``(M, Rx // 2, Ry)``. The second begins a step later:
        see :func:`on_first_lines`.

    Raises
    ------
    ValueError
        If half the lines do not determine the image, because the views are displaced too little.
    """
    lines = acquisition.scan_shape[0] // 2
    half = replace(
        acquisition,
        step=(2 * acquisition.step[0], acquisition.step[1]),
        scan_shape=(lines, acquisition.scan_shape[1]),
    )
    half.check_upsampling(upsampling)
    return half, (views[:, 0 : 2 * lines : 2], views[:, 1 : 2 * lines : 2])


def on_first_lines(image: Tensor, upsampling: int = UPSAMPLING) -> Tensor:
    """Move the image of the odd lines ``(X, Y)`` to the places of the even lines' image.

    It begins a step of the scan later, half a step of the half-set, and is moved by a ramp of
    phase, around the field's edge.
    """
    frequency = torch.fft.fftfreq(image.shape[0], dtype=torch.float64)[:, None]
    ramp = torch.polar(torch.ones_like(frequency), -math.pi * upsampling * frequency)
    moved: Tensor = torch.fft.ifft2(torch.fft.fft2(image.double()) * ramp).real.to(image)
    return moved


def half_set_curve(
    a: Tensor, b: Tensor, pixel: tuple[float, float], finest: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Correlate two half-sets' images ring by ring: frequency, correlation, pixels of the ring.

    The rim is faded out, an eighth of the field on each side: a real field is not periodic, and
    the jump at its edge is the same in both halves. Nothing finer than the information limit is
    measured; what fading leaks there from coarser detail is the same in both halves too.
    """
    from scipy.signal.windows import tukey  # scipy.signal takes a second to load

    window = torch.from_numpy(np.multiply.outer(*(tukey(n, 0.25) for n in a.shape)))
    a, b = ((image - image.mean()) * window for image in (a, b))
    frequency, curve, count = fourier_ring_correlation(a, b, pixel, width=2)
    measured = frequency <= 1 / finest
    return frequency[measured], curve[measured], count[measured]


def half_set_resolution(frequency: Tensor, curve: Tensor, count: Tensor) -> dict[str, float]:
    """Period at which the half-sets' images stop agreeing [Å], by two thresholds.

    A crystal's images stop agreeing at the first gap between its reflections. Without a truth this
    cannot be distinguished from the end, so the period of the finest ring that agrees is given too.
    """
    threshold = half_bit_threshold(count)
    # Beyond chance: 100 rings without signal have one above three deviations in a scan of eight.
    agree = (curve > torch.maximum(threshold, 3 / count.double().sqrt())).nonzero()
    return {
        "half-bit": resolution(frequency, curve, threshold),
        "0.143": resolution(frequency, curve, 0.143),
        "finest ring": 1 / float(frequency[int(agree[-1])]) if len(agree) else math.inf,
    }
