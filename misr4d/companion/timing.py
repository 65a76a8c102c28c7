"""Seconds that a method takes for one scan's image, kept with the study."""

from __future__ import annotations

import time

from misr4d.companion.recorded import Case
from misr4d.companion.study import METHODS, make_scene

__all__ = ["DOSE", "SEED", "TIMED", "cases", "seconds"]

DOSE, SEED = 300.0, 0  # e⁻/Å², and of the electrons: those of the book's first picture
_SPECIMENS = ("Li2CoO3", "apoferritin")
_RUNS = 3  # the first also loads weights

TIMED = ("attention U-Net", "direct", "informed")
"""Methods timed here. Of py4DSTEM's ptychography the record of its tuning has the seconds, of a
refinement chapter 12, of other programs their rows: those images are read back by the study."""


def seconds(method: str, specimen: str, dose: float, seed: int) -> dict[str, float]:
    """Time a method's image of one scan, in seconds of one core: the shortest of three runs.

    The kernels of direct ptychography depend on the measurement alone and are not counted.

    Parameters
    ----------
    method : str
        One of :data:`TIMED`.
    specimen : str
        Of the study.
    dose : float
        Finite [e⁻/Å²].
    seed : int
        Of the electrons.

    Returns
    -------
    dict
        ``seconds`` [s].

    Raises
    ------
    ValueError
        If the method is not timed here.
    """
    if method not in TIMED:
        raise ValueError(f"method is {method!r}; expected one of {', '.join(map(repr, TIMED))}")
    measurement = make_scene(specimen).expose(dose, seed)
    METHODS["direct"](measurement)  # makes the kernels
    times = []
    for _ in range(_RUNS):
        began = time.process_time()
        METHODS[method](measurement)
        times.append(time.process_time() - began)
    return {"seconds": min(times)}


def cases() -> list[Case]:
    """List what the study keeps of the front page: every timed method on crystal and protein."""
    return [
        (seconds, {"method": method, "specimen": name, "dose": DOSE, "seed": SEED})
        for name in _SPECIMENS
        for method in TIMED
    ]
