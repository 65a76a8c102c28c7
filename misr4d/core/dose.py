"""Electrons: the convention for dose, and counting noise.

Dose is in e⁻/Å² on the specimen. A probe position receives dose × step_x × step_y electrons; the
a fully lit detector pixel receives that number over ``acquisition.pixels_per_disc`` in vacuum.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from misr4d.core.acquisition import Acquisition

__all__ = [
    "add_detector_noise",
    "count_electrons",
    "electrons_per_pixel",
    "electrons_per_probe",
    "expose",
    "thin",
]


def electrons_per_probe(dose: float, acquisition: Acquisition) -> float:
    """Electrons that each probe position receives: dose × step_x × step_y.

    Parameters
    ----------
    dose : float
        e⁻/Å²; ``inf`` is allowed.
    acquisition : Acquisition

    Raises
    ------
    ValueError
        If the dose is zero, negative or not a number.
    """
    if math.isnan(dose) or dose <= 0:
        raise ValueError(
            f"dose is {dose!r} e⁻/Å²; expected a positive number, or inf for no counting noise"
        )
    return dose * acquisition.step[0] * acquisition.step[1]


def electrons_per_pixel(dose: float, acquisition: Acquisition) -> float:
    """Electrons that a fully lit detector pixel receives at one probe position in vacuum."""
    return electrons_per_probe(dose, acquisition) / acquisition.pixels_per_disc


def count_electrons(
    views: Tensor, acquisition: Acquisition, dose: float, generator: torch.Generator
) -> Tensor:
    """Draw the electrons that each pixel counts.

    Parameters
    ----------
    views : Tensor
        Expected intensities ``(..., M, Rx, Ry)``, relative to a fully lit pixel in vacuum.
    acquisition : Acquisition
    dose : float
        e⁻/Å², finite.
    generator : torch.Generator
        Source of randomness.

    Returns
    -------
    Tensor
        Whole numbers of electrons, float32, of the same shape.

    Raises
    ------
    ValueError
        If the dose is not positive and finite, or the views are negative or not finite.
    """
    electrons = electrons_per_pixel(dose, acquisition)
    if math.isinf(dose):
        raise ValueError("dose is inf e⁻/Å²; electrons can only be counted at a finite dose")
    if not torch.isfinite(views).all() or (views < 0).any():
        raise ValueError("views hold negative or non-finite values; expected intensities")
    return torch.poisson(views * electrons, generator=generator)


def add_detector_noise(
    views: Tensor, electrons: float, noise: float, bias: float, generator: torch.Generator
) -> Tensor:
    """Add a detector's Gaussian noise to views, as in the paper's §2.1.2.

    Parameters
    ----------
    views : Tensor
        ``(..., M, Rx, Ry)``, relative to a fully lit pixel in vacuum.
    electrons : float
        Electrons of such a pixel, from :func:`electrons_per_pixel`.
    noise : float
        Standard deviation at each pixel and position [electrons].
    bias : float
        Standard deviation of an offset that a pixel keeps throughout the scan [electrons].
    generator : torch.Generator
        Source of randomness, of the device of the views.

    Raises
    ------
    ValueError
        If a deviation is negative or not finite.
    """
    for name, value in (("noise", noise), ("bias", bias)):
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(
                f"{name} is {value!r} electrons a pixel; expected 0 or a positive number of them"
            )
    device = generator.device
    pixel_noise = torch.randn(views.shape, generator=generator, device=device)
    pixel_offset = torch.randn((*views.shape[:-2], 1, 1), generator=generator, device=device)
    return views + (noise * pixel_noise + bias * pixel_offset) / electrons


def expose(
    views: Tensor,
    acquisition: Acquisition,
    dose: float,
    generator: torch.Generator,
    *,
    noise: float = 0.0,
    bias: float = 0.0,
) -> Tensor:
    """Return views as measured at a dose, on the same relative scale as the expected ones.

    Parameters, errors and shapes are those of :func:`count_electrons` and, for the detector's own
    noise, of :func:`add_detector_noise`; by default electrons are counted and nothing is added. An
    infinite dose returns the expected views unchanged.
    """
    if math.isinf(dose) and dose > 0:
        return views
    electrons = electrons_per_pixel(dose, acquisition)
    counted = count_electrons(views, acquisition, dose, generator) / electrons
    if noise == bias == 0:
        return counted
    return add_detector_noise(counted, electrons, noise, bias, generator)


def thin(
    counts: Tensor, generator: torch.Generator, *, fraction: float = 0.5
) -> tuple[Tensor, Tensor]:
    """Divide counted electrons at random into two independent measurements.

    Each electron goes to the first with probability `fraction`, independently of all others. If
    the counts are Poisson, both parts are Poisson and independent.

    Parameters
    ----------
    counts : Tensor
        Whole numbers of electrons, any shape.
    generator : torch.Generator
        Source of randomness.
    fraction : float
        Between 0 and 1.

    Returns
    -------
    Tensor, Tensor
        Of the same shape; they add up to `counts`.

    Raises
    ------
    ValueError
        If counts are negative, not whole or not finite, or the fraction is not between 0 and 1.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"fraction is {fraction!r}; expected a number between 0 and 1")
    electrons = counts.double()  # float32 would lose single electrons above 2²⁴
    if (
        not torch.isfinite(electrons).all()
        or (electrons < 0).any()
        or (electrons != electrons.round()).any()
    ):
        raise ValueError(
            "counts hold negative, fractional or non-finite values; thinning needs whole electrons "
            "as counted, before any scaling or background subtraction"
        )
    first_counts = torch.binomial(
        electrons, torch.full_like(electrons, fraction), generator=generator
    )
    return first_counts.to(counts.dtype), (electrons - first_counts).to(counts.dtype)
