"""Instruments that `InstrumentInformed` was trained on: our choice of what microscopes offer."""

from __future__ import annotations

from misr4d.core.acquisition import UPSAMPLING, Acquisition

__all__ = [
    "DEPTHS",
    "ENERGIES",
    "PERIODS",
    "PIXELS",
    "POSITIONS",
    "SEMIANGLES",
    "SHIFTS",
    "STEPS",
    "deepest",
    "outside",
]

ENERGIES = (60e3, 80e3, 100e3, 120e3, 200e3, 300e3)
"""What microscopes offer [eV]."""
SEMIANGLES = (3.0, 35.0)
"""Ends of the semi-angle [mrad], log-uniform."""
STEPS = {"atomic": (0.35, 1.7), "molecular": (1.5, 5.3)}
"""Ends of the step [Å], log-uniform: a field of :data:`POSITIONS` fits the corpus's boxes."""
PERIODS = (0.5, 4.5)
"""Ends of the step in units of λ/2α: from a scan that needs no up-sampling to a very coarse one."""
SHIFTS = (0.6, 12.0)
"""Ends of the displacement of the outermost view [steps], log-uniform."""
PIXELS = (3.0, 10.0)
"""Ends of the pixels in a semi-angle, log-uniform."""
POSITIONS = 48
"""Of the scan, along each axis."""


DEPTHS = 3.0
"""Thickness, in depths of focus λ/α², up to which the stated deviation was found to hold."""


def deepest(acquisition: Acquisition) -> float:
    """Thickness [Å] up to which the deviation of `InstrumentInformed` was found to hold.

    Beyond a few depths of focus views do not show the projected phase, and no image of one plane
    does: ``benchmarks/instruments.py`` measures by how much the deviation is then too small.
    """
    return DEPTHS * acquisition.wavelength / (acquisition.semiangle * 1e-3) ** 2


def outside(acquisition: Acquisition, upsampling: int = UPSAMPLING) -> list[str]:
    """Say what of a measurement no training scan had, with value and range; nothing if all is in.

    Parameters
    ----------
    acquisition : Acquisition
    upsampling : int
        Pixels of the image per scan step: of more than three the step counts as so much finer.
    """
    step = min(acquisition.step) / (upsampling / UPSAMPLING)
    lowest, highest = STEPS["atomic"][0], STEPS["molecular"][1]
    values = (
        ("energy", acquisition.energy / 1e3, (min(ENERGIES) / 1e3, max(ENERGIES) / 1e3), "keV"),
        ("semi-angle", acquisition.semiangle, SEMIANGLES, "mrad"),
        ("pixel of the image", step / UPSAMPLING, (lowest / UPSAMPLING, highest / UPSAMPLING), "Å"),
        ("step", step / acquisition.information_limit, PERIODS, "times λ/2α"),
        ("largest displacement of a view", acquisition.largest_view_shift / step, SHIFTS, "steps"),
    )
    return [
        f"the {name} is {value:.3g} {unit}, outside of the {low:.3g} to {high:.3g} {unit} of the "
        "network's training"
        for name, value, (low, high), unit in values
        if not 0.99 * low <= value <= 1.01 * high
    ]
