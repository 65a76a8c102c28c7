"""Seconds that a method takes for one scan's image, kept with the study."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import MappingProxyType

from torch import Tensor

from misr4d.companion.recorded import Case
from misr4d.companion.study import METHODS, UPSAMPLING, Measurement, make_scene, starting_phase
from misr4d.reconstruction.tuned import ptychography_settings

__all__ = ["DOSE", "SEED", "TIMED", "cases", "seconds"]

DOSE, SEED = 300.0, 0  # e⁻/Å², and of the electrons: those of the book's first picture
_SPECIMENS = ("Li2CoO3", "apoferritin")
_LONG = 5.0  # s, our choice: what is shorter is timed again, since a first run also loads


def _ptychography(m: Measurement) -> Tensor:
    """Run py4DSTEM's ptychography as tuned; the study would read an earlier image back."""
    from misr4d.reconstruction import classical  # loads py4DSTEM

    settings = ptychography_settings(m.scene.specimen.regime, m.dose)
    initial = starting_phase(m, settings.start)
    return classical.ptychography(m.whole, m.scene.midplane, UPSAMPLING, settings, initial=initial)


TIMED: Mapping[str, Callable[[Measurement], Tensor]] = MappingProxyType(
    {
        "ptychography": _ptychography,
        **{name: METHODS[name] for name in ("attention U-Net", "direct", "informed")},
    }
)
"""Methods timed here. Chapter 12 times a refinement, and ``benchmarks/peers`` the peers."""


def seconds(method: str, specimen: str, dose: float, seed: int) -> dict[str, float]:
    """Time a method's image of one scan, in seconds of one core.

    The kernels of direct ptychography depend on the measurement alone and are not counted. A short
    run is timed three times and the shortest counts.

    Parameters
    ----------
    method : str
        Of :data:`TIMED`.
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
    scene = make_scene(specimen)
    measurement = (scene.measure if method == "ptychography" else scene.expose)(dose, seed)
    TIMED["direct"](measurement)  # makes the kernels
    times: list[float] = []
    while not times or (len(times) < 3 and times[-1] < _LONG):
        began = time.process_time()
        TIMED[method](measurement)
        times.append(time.process_time() - began)
    return {"seconds": min(times)}


def cases() -> list[Case]:
    """List what the study keeps of the front page: every timed method on crystal and protein."""
    return [
        (seconds, {"method": method, "specimen": name, "dose": DOSE, "seed": SEED})
        for name in _SPECIMENS
        for method in TIMED
    ]
