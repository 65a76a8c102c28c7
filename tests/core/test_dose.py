from __future__ import annotations

import math

import pytest
import torch

from misr4d import ATOMIC, MOLECULAR
from misr4d.core.dose import count_electrons, electrons_per_pixel, electrons_per_probe, expose, thin


def test_electrons_per_probe_is_dose_times_step_squared() -> None:
    assert electrons_per_probe(200.0, ATOMIC) == 200.0
    assert electrons_per_probe(200.0, MOLECULAR) == 3200.0
    assert electrons_per_pixel(200.0, MOLECULAR) == pytest.approx(
        3200.0 / MOLECULAR.pixels_per_disc
    )


def test_counts_have_poisson_mean_and_variance_and_conserve_the_dose() -> None:
    views = torch.ones(177, 64, 64)
    views[:88] = 0.5
    counts = count_electrons(views, ATOMIC, 1000.0, torch.Generator().manual_seed(0))
    share = 1000.0 / 177
    for part, level in ((counts[:88], 0.5), (counts[88:], 1.0)):
        mean = level * share
        error = math.sqrt(mean / part.numel())
        assert float(part.mean()) == pytest.approx(mean, abs=4 * error)
        assert float(part.var()) == pytest.approx(mean, rel=0.02)
    vacuum = count_electrons(torch.ones(177, 64, 64), ATOMIC, 50.0, torch.Generator())
    assert float(vacuum.sum()) / 64**2 == pytest.approx(50.0, rel=0.01)


def test_exposed_views_stay_on_the_relative_scale() -> None:
    views = torch.full((177, 64, 64), 0.8)
    noisy = expose(views, MOLECULAR, 100.0, torch.Generator().manual_seed(1))
    assert float(noisy.mean()) == pytest.approx(0.8, rel=0.01)
    assert expose(views, MOLECULAR, math.inf, torch.Generator()) is views


def test_seed_fixes_the_draw() -> None:
    views = torch.ones(5, 8, 8)
    draws = [expose(views, ATOMIC, 300.0, torch.Generator().manual_seed(s)) for s in (3, 3, 4)]
    torch.testing.assert_close(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


@pytest.mark.parametrize("dose", [0.0, -5.0, math.nan, -math.inf])
def test_bad_doses_are_named(dose: float) -> None:
    with pytest.raises(ValueError, match=r"dose is .* e⁻/Å²; expected a positive number"):
        expose(torch.ones(2, 3, 3), ATOMIC, dose, torch.Generator())


def test_counting_needs_finite_dose_and_intensities() -> None:
    with pytest.raises(ValueError, match="finite dose"):
        count_electrons(torch.ones(2, 3, 3), ATOMIC, math.inf, torch.Generator())
    with pytest.raises(ValueError, match="negative or non-finite"):
        count_electrons(torch.full((2, 3, 3), -1.0), ATOMIC, 10.0, torch.Generator())


def test_thinned_halves_are_independent_poisson_counts_that_add_up() -> None:
    generator = torch.Generator().manual_seed(0)
    counts = torch.poisson(torch.full((400, 400), 6.0), generator=generator)
    a, b = thin(counts, generator)
    torch.testing.assert_close(a + b, counts, rtol=0, atol=0)
    for half in (a, b):
        assert float(half.mean()) == pytest.approx(3.0, abs=0.02)
        assert float(half.var()) == pytest.approx(3.0, abs=0.05)
    covariance = ((a - a.mean()) * (b - b.mean())).mean()
    assert abs(float(covariance)) < 0.03
    few, _ = thin(counts, generator, fraction=0.1)
    assert float(few.mean()) == pytest.approx(0.6, abs=0.01)


def test_thinning_loses_no_electron_of_large_or_whole_number_counts() -> None:
    """2²⁴ + 1 is the first whole number that float32 does not hold."""
    for counts in (
        torch.tensor([[2**24 + 1, 10**8 + 1], [0, 3]]),
        torch.tensor([[7, 200], [0, 255]], dtype=torch.uint8),
    ):
        a, b = thin(counts, torch.Generator().manual_seed(0))
        assert a.dtype == counts.dtype
        assert torch.equal(a + b, counts)
        assert (a[1, 0], b[1, 0]) == (0, 0)


def test_halves_of_other_than_poisson_counts_show_that_they_are_dealt() -> None:
    """A fixed count of 8 leaves halves that know each other: variance 2 and correlation −1."""
    generator = torch.Generator().manual_seed(0)
    a, b = thin(torch.full((300, 300), 8.0), generator)
    assert float(a.var()) == pytest.approx(2.0, abs=0.05)
    assert float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1]) == pytest.approx(-1)


@pytest.mark.parametrize("bad", [0.5, -1.0, math.nan, math.inf])
def test_only_whole_electrons_can_be_thinned(bad: float) -> None:
    with pytest.raises(ValueError, match="thinning needs whole electrons"):
        thin(torch.tensor([1.0, bad]), torch.Generator())
    with pytest.raises(ValueError, match="fraction is 1"):
        thin(torch.ones(2), torch.Generator(), fraction=1.0)
