"""Tuned settings on record, and the grids that they were chosen from.

``benchmarks/tune_ptychography.py`` wrote ``data/ptychography_tuning.json``,
``benchmarks/calibrate_refine.py`` wrote ``data/refine_tuning.json``, and
``benchmarks/calibrate_direct.py`` wrote ``data/contrast_tuning.json``: all on draws of
:mod:`misr4d.specimens.corpus`, none of which any page scores.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from misr4d.reconstruction.refine import PriorStrength

__all__ = [
    "PtychographySettings",
    "contrast_tuning",
    "prior_strength",
    "ptychography_settings",
    "ptychography_tuning",
    "refine_tuning",
]


@cache
def _record(name: str) -> dict[str, Any]:
    path = files("misr4d") / "data" / f"{name}.json"
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record


def ptychography_tuning() -> dict[str, Any]:
    """Read the record of ptychography's tuning: every score, and the choice."""
    return _record("ptychography_tuning")


def refine_tuning() -> dict[str, Any]:
    """Read how the second stage's trust in the first was chosen: every score, and the choice."""
    return _record("refine_tuning")


def contrast_tuning() -> dict[str, Any]:
    """Read how the amplitude contrast of direct ptychography was chosen, score by score."""
    return _record("contrast_tuning")


def prior_strength(regime: str) -> PriorStrength:
    """Look up how far :func:`misr4d.reconstruction.refine.refine` trusts the first stage.

    Raises
    ------
    ValueError
        If the regime is not on record.
    """
    for row in refine_tuning()["choice"]:
        if row["regime"] == regime:
            return PriorStrength(float(row["weight"]), float(row["tail"]))
    raise ValueError(f"no prior strength for regime {regime!r}; known: atomic, molecular")


def ptychography_settings(regime: str, dose: float) -> PtychographySettings:
    """Look up the settings tuned for a regime at the nearest dose on record (by its logarithm).

    Parameters
    ----------
    regime : {"atomic", "molecular"}
    dose : float
        e⁻/Å²; ``inf`` takes the settings tuned at infinite dose.

    Raises
    ------
    ValueError
        If the regime is not on record.
    """
    choices = [row for row in ptychography_tuning()["choice"] if row["regime"] == regime]
    if not choices:
        raise ValueError(
            f"no ptychography settings for regime {regime!r}; known: atomic, molecular"
        )

    def distance(row: dict[str, Any]) -> float:
        recorded_dose = float(row["dose"])
        if math.isinf(recorded_dose) or math.isinf(dose):
            return 0.0 if recorded_dose == dose else math.inf
        return abs(math.log(recorded_dose / dose))

    nearest = min(choices, key=distance)
    setting_names = ("step_size", "batches", "iterations", "object_type", "lowpass", "start")
    return PtychographySettings(**{name: nearest[name] for name in setting_names})


@dataclass(frozen=True)
class PtychographySettings:
    """What is tuned in single-slice ptychography, by ``benchmarks/tune_ptychography.py``."""

    iterations: int = 8  # py4DSTEM's default
    step_size: float = 0.5  # py4DSTEM's default
    batches: int = 8  # updates per iteration; our choice, py4DSTEM's default is one
    object_type: Literal["complex", "potential"] = "complex"  # py4DSTEM's default
    lowpass: float | None = None  # Å⁻¹; Butterworth filter between iterations, none by default
    start: Literal["flat", "parallax", "direct"] = "flat"  # the first object; py4DSTEM's default
