"""What the live page is given: measurements, atoms and a blank scan, as numbers and packed arrays.

The page counts electrons and reconstructs by itself. What it cannot make is here: views by
multislice, the truth, and the phases of atoms that a reader takes out or puts in.
"""

from __future__ import annotations

import base64
import math
import zlib
from dataclasses import replace
from typing import Any

import numpy as np
from ase.data import atomic_numbers
from numpy.typing import NDArray

from misr4d.companion.study import UPSAMPLING, Scene
from misr4d.core.acquisition import ATOMIC, Acquisition
from misr4d.core.dose import electrons_per_pixel
from misr4d.core.optics import interaction_parameter
from misr4d.measure.metrics import specimen_mask
from misr4d.reconstruction.direct import AMPLITUDE_CONTRAST
from misr4d.simulate.patterns import camera_pixel
from misr4d.specimens.potential import project_atoms

__all__ = ["STAMPS", "atom_spectrum", "describe_blank", "describe_scene", "pack_array", "packed"]

STAMPS = ("C", "O", "Co", "Zr", "Au")
"""Elements that a reader may put into a drawing: our choice, from faint to strong."""


def packed(content: bytes) -> str:
    """Deflate, and write in letters."""
    return base64.b64encode(zlib.compress(content, 9)).decode("ascii")


def pack_array(values: NDArray[Any], kind: str) -> str:
    """Pack an array as numbers of one kind, such as ``"<f4"``."""
    return packed(np.ascontiguousarray(values, dtype=kind).tobytes())


def _geometry(midplane: Acquisition, regime: str) -> dict[str, Any]:
    """Say what direct ptychography and an exposure need to know of a measurement."""
    return {
        "size": midplane.scan_shape[0],
        "step": midplane.step[0],
        "upsampling": UPSAMPLING,
        "views": midplane.number_of_views,
        "axial": int((midplane.view_frequencies**2).sum(1).argmin()),
        "wavelength": midplane.wavelength,
        "defocus": midplane.defocus,
        "semiangle": midplane.semiangle,
        "contrast": AMPLITUDE_CONTRAST[regime],
        "electronsPerDose": electrons_per_pixel(1.0, midplane),
        "samples": pack_array(midplane.view_samples.numpy(), "<f8"),
    }


def describe_scene(scene: Scene) -> dict[str, Any]:
    """Measurement of a scene as the page needs it.

    Expected views are in 16 bits. Atoms are given where single ones can be told apart: in the
    atomic regime.
    """
    views = scene.measure(math.inf, 0).views.numpy().astype(np.float64)
    lowest, spread = float(views.min()), float(np.ptp(views))
    found = {
        **_geometry(scene.midplane, scene.specimen.regime),
        "lowest": lowest,
        "range": spread,
        "intensity": pack_array(np.round((views - lowest) / spread * 65535), "<u2"),
        "truth": pack_array(scene.truth.numpy(), "<f4"),
        "inside": pack_array(specimen_mask(scene.truth, scene.pixel).numpy(), "u1"),
    }
    if scene.specimen.regime == "atomic":
        atoms: Any = scene.specimen.atoms
        symbols = sorted(set(atoms.get_chemical_symbols()))
        places = [symbols.index(one) for one in atoms.get_chemical_symbols()]
        found["atoms"] = pack_array(atoms.get_positions()[:, :2], "<f4")
        found["kinds"] = pack_array(np.array(places), "u1")
        found["elements"] = _spectra(symbols, scene.midplane)
    return found


def describe_blank() -> dict[str, Any]:
    """Scan of nothing in the atomic regime, as the page needs it: vacuum, or a drawing."""
    acquisition = replace(ATOMIC, detector_pixel=camera_pixel(ATOMIC.wavelength))
    return {**_geometry(acquisition, "atomic"), "elements": _spectra(STAMPS, acquisition)}


def _spectra(symbols: tuple[str, ...] | list[str], acquisition: Acquisition) -> dict[str, Any]:
    return {one: [float(f"{v:.5g}") for v in atom_spectrum(one, acquisition)] for one in symbols}


def atom_spectrum(symbol: str, acquisition: Acquisition) -> list[float]:
    """Spectrum of the true phase of one atom, which is real and isotropic.

    Parameters
    ----------
    symbol : str
        Of its element.
    acquisition : Acquisition
        Gives energy, semi-angle and scan.

    Returns
    -------
    list of float
        ∫∫ φ·exp(−2πi q·r) d²r at q = 0, 1/L, 2/L, … past 2α/λ, where the truth ends [rad·Å²]; L is
        the field.
    """
    shape = acquisition.output_shape(UPSAMPLING)
    length, width = acquisition.field
    # At a corner of the periodic field its spectrum has no imaginary part.
    atom = project_atoms([atomic_numbers[symbol]], [[0, 0, 0.5]], (length, width), shape, [1.0])
    phase = atom.slices.double().sum(0).numpy() * interaction_parameter(acquisition.energy)
    spectrum = np.fft.fft2(phase)[:, 0].real * (length * width / phase.size)
    cut = 2e-3 * acquisition.semiangle / acquisition.wavelength * length
    return [float(value) for value in spectrum[: math.ceil(cut) + 1]]
