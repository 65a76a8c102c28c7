"""misr4d: an executable companion to the paper *4D-MISR* (low-dose 4D-STEM super-resolution).

Axes are ``(Rx, Ry, Qx, Qy)`` for a datacube and ``(M, Rx, Ry)`` for a stack of views. Lengths are
in Å, scattering angles in mrad, spatial frequencies in Å⁻¹, energies in eV, phases in rad and
doses in e⁻/Å². The signs are those of :mod:`misr4d.core.optics`.
"""

from importlib.metadata import version

from misr4d.core.acquisition import ATOMIC, MOLECULAR, REGIMES, Acquisition

__version__ = version("misr4d")

__all__ = ["ATOMIC", "MOLECULAR", "REGIMES", "Acquisition", "__version__"]
