"""What the live page is given is what the package has."""

from __future__ import annotations

import base64
import math
import zlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from misr4d.companion.live_data import STAMPS, atom_spectrum, describe_blank, describe_scene
from misr4d.companion.study import Scene
from misr4d.core.acquisition import ATOMIC, UPSAMPLING
from misr4d.core.dose import electrons_per_pixel
from misr4d.measure.metrics import specimen_mask
from misr4d.simulate.multislice import build_potential
from misr4d.simulate.patterns import camera_pixel
from misr4d.specimens.catalogue import make_specimen
from misr4d.specimens.potential import project_atoms, truth


def unpacked(text: str, kind: str) -> NDArray[Any]:
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), kind)


@pytest.fixture(scope="module")
def scene() -> Scene:
    """Small crystal under a small scan."""
    sample = make_specimen("MoS2", field=48.0, thickness=4.0, border=2.0)
    regime = replace(ATOMIC, scan_shape=(16, 16))
    scan = replace(regime, detector_pixel=camera_pixel(ATOMIC.wavelength), pixel_samples=3)
    return Scene(sample, scan, build_potential(sample, sampling=1 / 3))


def test_a_scene_is_described_as_it_is(scene: Scene) -> None:
    found = describe_scene(scene)
    views = scene.measure(math.inf, 0).views.numpy()
    levels = unpacked(found["intensity"], "<u2").reshape(views.shape)
    stored = found["lowest"] + levels * (found["range"] / 65535)
    np.testing.assert_allclose(stored, views, atol=0.51 * found["range"] / 65535 + 1e-6)
    shape = scene.truth.shape
    np.testing.assert_array_equal(unpacked(found["truth"], "<f4").reshape(shape), scene.truth)
    inside = unpacked(found["inside"], "u1").reshape(shape)
    np.testing.assert_array_equal(inside, specimen_mask(scene.truth, scene.pixel))
    atoms: Any = scene.specimen.atoms
    np.testing.assert_allclose(
        unpacked(found["atoms"], "<f4").reshape(-1, 2), atoms.get_positions()[:, :2], atol=1e-4
    )
    symbols = list(found["elements"])
    assert [symbols[kind] for kind in unpacked(found["kinds"], "u1")] == (
        atoms.get_chemical_symbols()
    )
    assert found["defocus"] == scene.midplane.defocus
    assert found["electronsPerDose"] == electrons_per_pixel(1.0, scene.acquisition)
    axial = scene.acquisition.view_frequencies[found["axial"]]
    assert float(axial.norm()) < 1e-9


def test_a_blank_has_the_geometry_of_the_atomic_regime_and_atoms_to_draw() -> None:
    found = describe_blank()
    assert (found["size"], found["step"], found["defocus"]) == (64, 1.0, ATOMIC.defocus)
    assert list(found["elements"]) == list(STAMPS)
    assert "intensity" not in found


@pytest.mark.parametrize(("symbol", "number"), [("C", 6), ("Au", 79)])
def test_spectrum_of_an_atom_gives_its_true_phase(symbol: str, number: int) -> None:
    acquisition = replace(ATOMIC, detector_pixel=camera_pixel(ATOMIC.wavelength))
    shape, length = acquisition.output_shape(UPSAMPLING), acquisition.field[0]
    atom = project_atoms([number], [[32.0, 32.0, 0.5]], acquisition.field, shape, [1.0])
    phase = truth(atom, acquisition).double().numpy()
    # The highest value is the spectrum's integral over the disc of radius 2α/λ.
    table = np.array(atom_spectrum(symbol, acquisition))
    cut = 2e-3 * acquisition.semiangle / acquisition.wavelength
    q = np.linspace(0, cut, 5000)
    values = np.interp(q, np.arange(len(table)) / length, table)
    height = float((2 * math.pi * q * values).mean()) * cut
    assert float(phase.max()) == pytest.approx(height, rel=0.01)
