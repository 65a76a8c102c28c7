from __future__ import annotations

import math
from dataclasses import replace
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
import torch
from ase import Atoms

from misr4d import ATOMIC
from misr4d.companion.study import METHODS, Scene, make_scene, place, starting_phase
from misr4d.core.dose import electrons_per_pixel
from misr4d.measure.audit import false_peaks
from misr4d.measure.metrics import correlation
from misr4d.reconstruction import refine
from misr4d.simulate import reciprocity
from misr4d.simulate.patterns import camera_pixel
from misr4d.specimens.catalogue import Specimen, make_specimen
from misr4d.specimens.potential import Potential


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_scene("apoferritin")


def test_what_is_scored_has_still_atoms_a_point_source_and_a_detector_that_counts(
    scene: Scene,
) -> None:
    """As the pages say; and nobody scores anything else by default."""
    defaults = {
        name: parameter.default
        for function in (place, Scene.expose)
        for name, parameter in signature(function).parameters.items()
    }
    assert [defaults[name] for name in ("thermal", "source", "noise", "bias")] == [0.0] * 4
    assert scene.source == 0.0
    assert not {"thermal", "source", "noise", "bias"} & {
        *signature(make_scene).parameters,
        *signature(Scene.measure).parameters,
    }


def test_halves_are_the_same_electrons(scene: Scene) -> None:
    measurement = scene.measure(100.0, seed=3)
    assert measurement.halves is not None
    a, b = (half.views for half in measurement.halves)
    torch.testing.assert_close((a + b) / 2, measurement.views)
    # Independent noise: what one half has more of says nothing about the other.
    expected = scene.measure(math.inf, 0).views
    assert abs(correlation((a - expected).flatten(1), (b - expected).flatten(1))) < 0.005
    assert a.var() > measurement.views.var()


def test_a_seed_fixes_the_electrons(scene: Scene) -> None:
    first = scene.measure(100.0, seed=3).views
    torch.testing.assert_close(first, scene.measure(100.0, seed=3).views, rtol=0, atol=0)
    assert (first != scene.measure(100.0, seed=4).views).any()


def test_views_and_patterns_hold_the_same_electrons(scene: Scene) -> None:
    measurement = scene.measure(300.0, seed=0)
    pixels = scene.acquisition.pixels_per_disc
    inside = measurement.views.sum(0) / pixels
    total = torch.from_numpy(measurement.whole.patterns.sum((2, 3)))
    assert (inside <= total + 1e-5).all()
    assert float(inside.mean()) == pytest.approx(0.95, abs=0.05)


def test_both_routes_to_counts_have_the_same_rate() -> None:
    """In vacuum: views by reciprocity, and binned from patterns, rim pixels lit in part alike."""
    pixel = camera_pixel(ATOMIC.wavelength)
    acquisition = replace(ATOMIC, scan_shape=(48, 48), detector_pixel=pixel, pixel_samples=3)
    empty = Specimen("vacuum", "vacuum", Atoms(cell=[48, 48, 2]), "atomic", "test", "test")
    blank = Potential(torch.zeros(1, 144, 144), (48.0, 48.0), (2.0,))
    scene = Scene(empty, acquisition, blank)
    lit = acquisition.view_illumination.float()
    assert float(lit.min()) < 0.6
    torch.testing.assert_close(scene.patterns.views(acquisition).mean((1, 2)), lit)
    torch.testing.assert_close(scene.expected_views.mean((1, 2)), lit)
    dose = 100.0
    share = electrons_per_pixel(dose, acquisition)
    for measurement in (scene.measure(dose, 0), scene.expose(dose, 0)):
        # Poisson: mean and variance of the electrons are the same, within five standard errors.
        counts = measurement.views * share
        rate = float(lit.mean()) * share
        error = math.sqrt(rate / counts.numel())
        assert float(counts.mean()) == pytest.approx(rate, abs=5 * error)
        own = counts.var((1, 2)).mean()
        assert float(own) == pytest.approx(rate, rel=0.03)


@pytest.mark.classical
def test_a_first_phase_is_that_of_the_method_named(scene: Scene) -> None:
    measurement = scene.measure(300.0, seed=0)
    assert starting_phase(measurement, "flat") is None
    direct, aligned = (starting_phase(measurement, name) for name in ("direct", "parallax"))
    assert direct is not None
    assert aligned is not None
    torch.testing.assert_close(direct, METHODS["direct"](measurement))
    torch.testing.assert_close(aligned.std(), direct.std())
    assert correlation(aligned, METHODS["parallax"](measurement)) == pytest.approx(1.0)
    # Patterns alone count: what they were replaced by is what is started from.
    other = scene.measure(300.0, seed=1)
    swapped = replace(measurement, patterns=other.patterns)
    again = starting_phase(swapped, "direct")
    assert again is not None
    torch.testing.assert_close(again, METHODS["direct"](other))


def test_no_electron_is_counted_at_infinite_dose(scene: Scene) -> None:
    measurement = scene.measure(math.inf, 0)
    assert measurement.halves is None
    assert measurement.patterns is scene.patterns


def test_views_are_simulated_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISR4D_CACHE", str(tmp_path))
    specimen = make_specimen("Li2CoO3")
    first = place(specimen).expected_views

    @wraps(reciprocity.simulate_views)  # keys are traced by name
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("simulated")

    monkeypatch.setattr(reciprocity, "simulate_views", refuse)
    torch.testing.assert_close(place(specimen).expected_views, first, rtol=0, atol=0)
    with pytest.raises(AssertionError, match="simulated"):
        _ = place(specimen, 490.0).expected_views


def test_views_alone_serve_what_needs_no_patterns() -> None:
    scene = place(make_specimen("Li2CoO3"))
    exposed = scene.expose(300.0, seed=2)
    torch.testing.assert_close(exposed.views, scene.expose(300.0, seed=2).views, rtol=0, atol=0)
    assert exposed.views.shape == (scene.acquisition.number_of_views, 64, 64)
    assert correlation(METHODS["direct"](exposed), scene.truth) > 0.8


BY_PY4DSTEM = {name: [pytest.mark.classical] for name in ("parallax", "ptychography")}
QUICK = [name for name in METHODS if name not in ("ptychography", "refined")]


def methods(*names: str) -> list[Any]:
    return [pytest.param(name, marks=BY_PY4DSTEM.get(name, [])) for name in names]


@pytest.mark.parametrize("method", methods("iDPC", "ptychography"))
def test_what_needs_patterns_says_that_there_are_views_alone(method: str) -> None:
    exposed = place(make_specimen("Li2CoO3")).expose(300.0, seed=2)
    with pytest.raises(ValueError, match="Li2CoO3 at 300 e⁻/Å² holds views alone"):
        METHODS[method](exposed)


def test_refinement_is_kept_and_needs_a_finite_dose(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MISR4D_CACHE", str(tmp_path))
    scene = place(make_specimen("Li2CoO3"))
    measurement = scene.expose(300.0, seed=0)
    image = METHODS["refined"](measurement)
    assert correlation(image, scene.truth) > correlation(
        METHODS["direct"](measurement), scene.truth
    )

    @wraps(refine.refine)
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("refined again")

    monkeypatch.setattr(refine, "refine", refuse)
    torch.testing.assert_close(METHODS["refined"](measurement), image, rtol=0, atol=0)
    with pytest.raises(ValueError, match="dose is inf"):
        METHODS["refined"](scene.expose(math.inf, 0))


@pytest.mark.parametrize("method", methods(*QUICK))
def test_every_method_improves_with_the_dose(scene: Scene, method: str) -> None:
    """On the ×3 grid, upright, and nearer to the truth with more electrons."""
    low, high = (METHODS[method](scene.measure(dose, 0)) for dose in (30.0, math.inf))
    assert low.shape == high.shape == scene.truth.shape
    if method == "summed VBF":  # amplitude contrast, dark where the phase is large
        assert correlation(high, scene.truth) < -0.2
    else:
        assert correlation(high, scene.truth) > max(0.3, correlation(low, scene.truth))


def test_a_defocus_that_repeats_the_samples_is_refused() -> None:
    with pytest.raises(ValueError, match="defocus of 50 Å displaces the views by 1 Å"):
        make_scene("apoferritin", defocus=50.0)


def test_vacuum_is_one_whichever_way_it_is_measured() -> None:
    """Patterns and reciprocity agree on what a partly lit pixel gets, and so do false peaks."""
    specimen = make_specimen("Li2CoO3")
    cell = [*specimen.atoms.cell.lengths()[:2], 4.0]  # two slices: as empty as ten
    blank = place(replace(specimen, atoms=Atoms(cell=cell, pbc=True)))
    expected = blank.acquisition.vacuum_views
    assert float(expected.min()) < 0.7
    for measured in (blank.measure(math.inf, 0), blank.expose(math.inf, 0)):
        torch.testing.assert_close(measured.views, expected, atol=1e-4, rtol=0)
        assert float(METHODS["direct"](measured).abs().max()) < 1e-4
    everywhere = torch.ones(blank.truth.shape, dtype=torch.bool)
    # Under a fixed prior the estimate is linear, so that draws differ by counting alone.
    prior, counts, spreads = 0.003, [], []
    for measure in (blank.measure, blank.expose):
        images = [blank.direct(measure(100.0, seed).views, prior=prior) for seed in range(4)]
        spreads.append(float(torch.stack(images).std()))
        peaks = [false_peaks(i, everywhere, 2.5 * spreads[0], blank.pixel) for i in images]
        counts.append(sum(peaks) * math.prod(blank.acquisition.field))
    assert spreads[1] == pytest.approx(spreads[0], rel=0.03)
    assert min(counts) > 100
    assert abs(counts[0] - counts[1]) < 4 * math.sqrt(sum(counts))
