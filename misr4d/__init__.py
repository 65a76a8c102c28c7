"""misr4d: an executable companion to the paper *4D-MISR* (low-dose 4D-STEM super-resolution).

Axes are ``(Rx, Ry, Qx, Qy)`` for a datacube and ``(M, Rx, Ry)`` for a stack of views. Lengths are
in Å, scattering angles in mrad, spatial frequencies in Å⁻¹, energies in eV, phases in rad and
doses in e⁻/Å². The signs are those of :mod:`misr4d.core.optics`.
"""

from __future__ import annotations

import importlib
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from misr4d.core.acquisition import ATOMIC, MOLECULAR, REGIMES, Acquisition
    from misr4d.core.estimate import Estimate
    from misr4d.io.reading import read_scan
    from misr4d.io.scan import Scan
    from misr4d.reconstruction.direct import DirectPtychography
    from misr4d.report.front import reconstruct
    from misr4d.report.report import Report

__version__ = version("misr4d")

__all__ = [
    "ATOMIC",
    "MOLECULAR",
    "REGIMES",
    "Acquisition",
    "DirectPtychography",
    "Estimate",
    "Report",
    "Scan",
    "__version__",
    "read_scan",
    "reconstruct",
]

_HOMES = {
    **dict.fromkeys(("ATOMIC", "MOLECULAR", "REGIMES", "Acquisition"), "core.acquisition"),
    "DirectPtychography": "reconstruction.direct",
    "Estimate": "core.estimate",
    "Report": "report.report",
    "Scan": "io.scan",
    "read_scan": "io.reading",
    "reconstruct": "report.front",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: the package itself loads no torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'misr4d' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"misr4d.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
