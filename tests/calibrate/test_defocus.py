from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from misr4d import ATOMIC, MOLECULAR, Acquisition
from misr4d.calibrate.defocus import estimate_defocus, registered_power
from misr4d.calibrate.registration import Registered
from misr4d.core.dose import expose
from misr4d.simulate.reciprocity import simulate_views
from tests.conftest import weak_phase


def views_of(acquisition: Acquisition, dose: float, seed: int = 0) -> torch.Tensor:
    """Views of a weak random phase, counted."""
    potential, _ = weak_phase(0.1, seed)
    views = simulate_views(potential, acquisition)
    return expose(views, acquisition, dose, torch.Generator().manual_seed(seed))


def unturned(acquisition: Acquisition, positions: int = 64) -> Acquisition:
    return Acquisition(
        defocus=0.0,
        step=acquisition.step,
        scan_shape=(positions, positions),
        detector_pixel=acquisition.detector_pixel,
    )


@pytest.mark.parametrize(
    ("defocus", "rotation", "transposed"), [(300.0, 0.0, False), (900.0, -137.0, True)]
)
def test_defocus_and_rotation_are_found_in_few_electrons(
    defocus: float, rotation: float, transposed: bool
) -> None:
    """At 300 e⁻/Å², and their errors are what they say."""
    true = replace(ATOMIC, defocus=defocus, rotation=rotation, transposed=transposed)
    found = estimate_defocus(views_of(true, 300.0), unturned(true))
    assert not found.ambiguous
    assert found.transposed == transposed
    assert found.defocus == pytest.approx(defocus, rel=0.02)
    assert found.rotation == pytest.approx(rotation, abs=1.0)
    assert abs(found.defocus - defocus) < 4 * found.error + 2.0
    assert abs(found.rotation - rotation) < 4 * found.rotation_error + 0.1
    assert found.error < 0.02 * defocus


def test_a_known_rotation_tells_overfocus_from_underfocus() -> None:
    true = replace(ATOMIC, defocus=-500.0, rotation=30.0)
    views = views_of(true, 300.0)
    found = estimate_defocus(views, unturned(true), (30.0, False))
    assert found.defocus == pytest.approx(-500.0, rel=0.02)
    assert (found.rotation, found.rotation_error) == (30.0, 0.0)
    assert found.search is not None
    assert found.search.defoci[np.nanargmax(found.search.score)] == pytest.approx(-500, abs=60)
    # Without it underfocus is assumed, half a turn from there.
    free = estimate_defocus(views, unturned(true))
    assert free.search is not None
    x, y = np.unravel_index(np.nanargmax(free.search.score), free.search.score.shape)
    place = free.search.defoci[[x, y]]
    turn = np.radians(free.rotation)
    np.testing.assert_allclose(place, 500 * np.array([np.cos(turn), np.sin(turn)]), atol=60)
    assert float(np.nanmax(free.search.score)) == pytest.approx(free.score)
    assert free.defocus == pytest.approx(500.0, rel=0.02)
    assert free.rotation == pytest.approx(-150.0, abs=1.0)


def test_a_scan_that_does_not_drift_is_not_said_to() -> None:
    """Those that drift are in test_demo."""
    still = estimate_defocus(views_of(ATOMIC, 300.0), unturned(ATOMIC))
    assert still.drift == (0.0, 0.0)
    assert max(still.drift_error) < 0.02


def test_the_noise_of_few_electrons_is_not_taken_for_drift() -> None:
    """Frequencies whose noise fitted a trial were trusted: this scan was said to drift by 8 %."""
    small = replace(unturned(ATOMIC), scan_shape=(32, 32))
    still = estimate_defocus(views_of(ATOMIC, 100.0)[:, :32, :32], small)
    assert still.drift == (0.0, 0.0)
    # Noise makes several maxima, and the errors cover them.
    assert 15.0 < still.error < 40.0
    assert abs(still.defocus - 500.0) < 3 * still.error
    assert 1.0 < still.rotation_error < 4.0
    assert abs(still.rotation) < 3 * still.rotation_error


def test_few_strong_frequencies_count_among_many_of_noise() -> None:
    """Bragg peaks keep their weight, which the mean of their ring would take from them."""
    rng = np.random.default_rng(0)
    flat = torch.ones(ATOMIC.number_of_views, *ATOMIC.scan_shape)
    registered = Registered(
        expose(flat, ATOMIC, 100.0, torch.Generator().manual_seed(0)), unturned(ATOMIC)
    )
    noise = float(np.median((np.abs(registered.values) ** 2).mean(1)))
    explained = noise * rng.gamma(2.0, size=len(registered.values))
    explained[::100] = 40.0 * noise
    weight = registered.reliability(explained)
    peak = np.zeros(len(weight), dtype=bool)
    peak[::100] = True
    assert weight[peak].min() > 0.9
    assert weight[~peak].mean() < 0.08


def test_astigmatism_is_found_where_the_drift_is_known() -> None:
    """Of a turned detector, over as under focus, its axes along the scan's."""
    lens, part = (35.0, -25.0), 40
    for defocus in (500.0, -500.0):
        true = replace(ATOMIC, defocus=defocus, astigmatism=lens, rotation=30.0, transposed=True)
        views = views_of(true, 3000.0)[:, :part, :part]
        found = estimate_defocus(views, unturned(true, part), (30.0, True), (0.0, 0.0))
        assert found.defocus == pytest.approx(defocus, rel=0.02)
        np.testing.assert_allclose(found.astigmatism, lens, atol=6.0)
        assert np.abs(np.subtract(found.astigmatism, lens)).max() < 4 * max(found.astigmatism_error)
        assert found.drift == (0.0, 0.0)
    # Said to be known, it leaves no drift; not known, and nor the rotation, it is taken for one.
    said = estimate_defocus(views, unturned(true, part), (30.0, True), None, lens)
    assert said.drift == (0.0, 0.0)
    assert said.astigmatism == pytest.approx(lens)
    taken = estimate_defocus(views, unturned(true, part))
    assert np.hypot(*taken.drift) == pytest.approx(2 * np.hypot(*lens) / 500, rel=0.3)
    stigmated = views_of(ATOMIC, 900.0)[:, :part, :part]
    still = estimate_defocus(stigmated, unturned(ATOMIC, part), None, (0.0, 0.0))
    assert still.astigmatism == (0.0, 0.0)


def test_the_map_is_highest_where_the_views_register() -> None:
    true = replace(ATOMIC, rotation=40.0)
    power = registered_power(
        views_of(true, 300.0), unturned(ATOMIC), [300.0, 500.0, 700.0], [20.0, 40.0, 60.0]
    )
    assert power.shape == (3, 3)
    assert power.argmax() == 4


def test_noise_alone_is_said_to_be_ambiguous() -> None:
    flat = torch.ones(ATOMIC.number_of_views, 32, 32)
    noise = expose(flat, ATOMIC, 100.0, torch.Generator().manual_seed(0))
    assert estimate_defocus(noise, unturned(ATOMIC, 32)).ambiguous
    with pytest.raises(ValueError, match="do not vary"):
        estimate_defocus(flat, unturned(ATOMIC, 32))
    with pytest.raises(ValueError, match="turned already"):
        estimate_defocus(flat, replace(MOLECULAR, rotation=1.0))
