from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from misr4d import ATOMIC
from misr4d.core import optics
from misr4d.core.dose import count_electrons
from misr4d.core.estimate import Estimate
from misr4d.measure.metrics import correlation
from misr4d.reconstruction.deviance import deviance, expected_deviance
from misr4d.reconstruction.direct import DirectPtychography
from misr4d.reconstruction.forward import ExpectedViews
from misr4d.reconstruction.refine import (
    PriorStrength,
    _Problem,
    as_weak,
    plug_and_play,
    refine,
    refine_scan,
)
from misr4d.simulate.reciprocity import simulate_views
from misr4d.specimens.potential import Potential

# A point detector: nine times quicker, and enough for what is tested of the optimiser.
SMALL = replace(ATOMIC, scan_shape=(32, 32), detector_pixel=2.2, pixel_samples=1)


def random_phase(size: float, seed: int = 0, cutoff: float = 0.7) -> torch.Tensor:
    """Smooth random phase of zero mean on the ×3 grid, of a given root mean square [rad]."""
    noise = torch.randn((96, 96), generator=torch.Generator().manual_seed(seed))
    qx, qy = optics.frequencies((96, 96), (1 / 3, 1 / 3))
    keep = (qx**2 + qy**2).sqrt() < cutoff
    image = torch.fft.ifft2(torch.fft.fft2(noise) * keep).real
    image = image - image.mean()
    return (image / image.std() * size).float()


@pytest.mark.parametrize(("slices", "thickness"), [(1, 0.0), (4, 100.0)])
def test_expected_views_are_those_of_the_simulation(slices: int, thickness: float) -> None:
    phase = random_phase(0.05)
    sigma = optics.interaction_parameter(SMALL.energy)
    spacing = thickness / slices
    potential = Potential(
        (phase / sigma / slices).expand(slices, -1, -1), SMALL.field, (spacing,) * slices
    )
    middle = (slices - 1) / 2 * spacing
    expected = simulate_views(potential, SMALL)
    model = ExpectedViews(SMALL.refocused(middle), thickness=thickness, slices=slices)
    found = torch.cat([model(model.transmission(phase), b) for b in model.batches()])
    error = (found - expected).std() / (expected - 1).std()
    assert float(error) < 3e-3  # the simulation's anti-aliasing is not the model's


def test_an_astigmatic_probe_is_modelled_and_solved_for() -> None:
    phase = random_phase(0.05)
    skewed = replace(SMALL, astigmatism=(70.0, -40.0))
    sigma = optics.interaction_parameter(SMALL.energy)
    views = simulate_views(Potential((phase / sigma)[None], SMALL.field, (1.0,)), skewed)
    model = ExpectedViews(skewed)
    found = torch.cat([model(model.transmission(phase), b) for b in model.batches()])
    assert float((found - views).std() / (views - 1).std()) < 3e-3
    plain = correlation(DirectPtychography(SMALL)(views), phase)
    assert correlation(DirectPtychography(skewed)(views), phase) > plain + 0.05


@pytest.mark.parametrize("strength", [PriorStrength(), PriorStrength(3.0, 0.6)])
def test_gradient_against_finite_differences(strength: PriorStrength) -> None:
    """In float64, of phase, dose factor and defocus, with several slices and samples a pixel."""
    acquisition = replace(SMALL, scan_shape=(12, 12), detector_pixel=6.0, pixel_samples=3)
    model = ExpectedViews(acquisition, thickness=40.0, slices=2)
    generator = torch.Generator().manual_seed(1)
    phase = 0.2 * torch.randn((36, 36), generator=generator, dtype=torch.float64)
    counts = torch.poisson(torch.full((len(model), 12, 12), 3.0), generator=generator).double()
    prior = torch.full_like(phase, 0.3)
    scan_mask = torch.ones((12, 12), dtype=torch.float64)
    scan_mask[:2] = 0
    problem = _Problem(
        counts,
        model,
        3.0,
        1e-3,
        torch.zeros_like(phase),
        prior,
        strength,
        lower_phase=-0.1,
        scan_mask=scan_mask,
    )

    def loss(x: torch.Tensor, gain: float, defocus: float) -> float:
        one = torch.tensor([gain, defocus], dtype=torch.float64)
        found, _, _, own = problem.evaluate(x, one[0], one[1], gradient=False)
        return found / 2 + own

    at = [phase.clone(), torch.tensor(1.02).double(), torch.tensor(500.0).double()]
    leaves = [value.requires_grad_() for value in at]
    problem.evaluate(leaves[0], leaves[1], leaves[2], gradient=True)
    direction = torch.randn(phase.shape, generator=generator, dtype=torch.float64)
    h = 1e-5
    slope = (
        loss(phase + h * direction, 1.02, 500.0) - loss(phase - h * direction, 1.02, 500.0)
    ) / (2 * h)
    assert leaves[0].grad is not None
    assert slope == pytest.approx(float((leaves[0].grad * direction).sum()), rel=1e-6)
    slope = (loss(phase, 1.02 + h, 500.0) - loss(phase, 1.02 - h, 500.0)) / (2 * h)
    assert slope == pytest.approx(float(leaves[1].grad), rel=1e-5)  # type: ignore[arg-type]
    slope = (loss(phase, 1.02, 500.0 + 1e-2) - loss(phase, 1.02, 500.0 - 1e-2)) / 2e-2
    assert slope == pytest.approx(float(leaves[2].grad), rel=1e-5)  # type: ignore[arg-type]


@pytest.mark.parametrize("slices", [1, 2])
@pytest.mark.parametrize("astigmatism", [(0.0, 0.0), (30.0, -20.0)])
def test_derivatives_are_those_of_finite_differences(
    slices: int, astigmatism: tuple[float, float]
) -> None:
    acquisition = replace(
        SMALL, scan_shape=(8, 8), detector_pixel=4.0, pixel_samples=3, astigmatism=astigmatism
    )
    model = ExpectedViews(acquisition, thickness=40.0, slices=slices)
    generator = torch.Generator().manual_seed(0)
    shape = acquisition.output_shape(3)
    phase, along = (
        torch.randn(shape, generator=generator, dtype=torch.float64) * scale for scale in (0.3, 1.0)
    )
    weight = torch.randn(len(model), 8, 8, generator=generator, dtype=torch.float64)

    def total(phase: torch.Tensor, defocus: torch.Tensor) -> torch.Tensor:
        return (model(model.transmission(phase), defocus=defocus) * weight).sum()

    phase.requires_grad_()
    defocus = torch.tensor(acquisition.defocus, dtype=torch.float64, requires_grad=True)
    by_phase, by_defocus = torch.autograd.grad(total(phase, defocus), (phase, defocus))
    with torch.no_grad():
        moved = [total(phase + step * along, defocus) for step in (1e-5, -1e-5)]
        focused = [total(phase, defocus + step) for step in (1e-3, -1e-3)]
    assert float((by_phase * along).sum()) == pytest.approx(
        float(moved[0] - moved[1]) / 2e-5, rel=1e-5
    )
    assert float(by_defocus) == pytest.approx(float(focused[0] - focused[1]) / 2e-3, rel=1e-5)


def test_expected_deviance_is_that_of_drawn_counts() -> None:
    generator = torch.Generator().manual_seed(0)
    for rate in (0.02, 0.7, 5.0, 80.0):
        expected = torch.full((400_000,), rate)
        drawn = deviance(torch.poisson(expected, generator=generator), expected).double()
        mean, variance = (float(v[0]) for v in expected_deviance(expected[:1]))
        assert float(drawn.mean()) == pytest.approx(mean, rel=0.01)
        assert float(drawn.var()) == pytest.approx(variance, rel=0.03)
    mean, variance = expected_deviance(torch.tensor([900.0]))
    assert float(mean) == pytest.approx(1, abs=1e-3)
    assert float(variance) == pytest.approx(2, abs=1e-2)


@pytest.mark.parametrize(
    ("size", "slices", "thickness", "share"), [(0.05, 1, 20.0, 0.3), (0.5, 4, 100.0, 0.1)]
)
def test_a_weak_and_a_strong_object_are_recovered(
    size: float, slices: int, thickness: float, share: float
) -> None:
    """With many electrons and a weak prior, where direct ptychography is off if it is strong."""
    phase = random_phase(size)
    method = DirectPtychography(SMALL, aliases=3)
    model = ExpectedViews(SMALL, thickness=thickness, slices=slices)
    exact = torch.cat([model(model.transmission(phase), b) for b in model.batches()])
    counts = count_electrons(exact, SMALL, 1e6, torch.Generator().manual_seed(0))
    views = counts / (1e6 / SMALL.pixels_per_disc)
    linear = method(views)
    prior = Estimate(linear, torch.full_like(linear, share * size))
    found = refine(counts, method, 1e6, prior, thickness=thickness, slices=slices, evaluations=45)
    assert correlation(found.image, phase) > 0.99
    assert correlation(found.image, phase) > correlation(linear, phase) - 2e-3
    assert abs(found.deviance_z) < 4
    assert found.warning is None
    assert found.history[0] >= found.history[-1]
    torch.testing.assert_close(
        found.change, (found.image - linear + linear.mean()) / prior.deviation, rtol=1e-4, atol=1e-4
    )


def test_a_wrong_defocus_is_noticed_and_fitted() -> None:
    phase = random_phase(0.1)
    method = DirectPtychography(SMALL, aliases=3)
    model = ExpectedViews(SMALL)
    exact = model(model.transmission(phase))
    dose = 3e4
    counts = count_electrons(exact, SMALL, dose, torch.Generator().manual_seed(0))
    share = dose / SMALL.pixels_per_disc
    wrong = DirectPtychography(replace(SMALL, defocus=SMALL.defocus + 60), aliases=3)
    right, off, fitted = (
        refine(
            counts,
            one,
            dose,
            Estimate(one(counts / share), torch.full_like(phase, 0.03)),
            fit_defocus=fit,
            evaluations=40,
        )
        for one, fit in ((method, False), (wrong, False), (wrong, True))
    )
    assert right.deviance_z < 4
    assert right.warning is None
    assert off.deviance_z > 10
    assert off.warning is not None
    assert "check defocus" in off.warning
    assert abs(fitted.defocus - SMALL.defocus) < 10
    assert fitted.deviance_z < off.deviance_z / 2
    assert correlation(fitted.image, phase) > correlation(off.image, phase)


@pytest.mark.parametrize("dose", [100.0, 1000.0, 1e4])
def test_deviance_z_is_zero_for_counts_of_the_model_at_any_dose(dose: float) -> None:
    """Of a periodic field, and of a cut from a larger one; the prior holds and is independent."""
    draws, field = 5, replace(SMALL, scan_shape=(48, 48))
    method, wide = DirectPtychography(SMALL, aliases=3), ExpectedViews(field)
    model = ExpectedViews(SMALL)
    prior = Estimate(torch.zeros(96, 96), torch.full((96, 96), 0.1))
    periodic, cut = [], []
    for seed in range(draws):
        generator = torch.Generator().manual_seed(seed)
        outer = 0.1 * torch.randn(144, 144, generator=generator)
        inner = outer[24:120, 24:120]
        with torch.no_grad():
            exact = torch.cat([model(model.transmission(inner), b) for b in model.batches()])
            whole = torch.cat([wide(wide.transmission(outer), b) for b in wide.batches()])
        counts = count_electrons(exact, SMALL, dose, generator)
        found = refine(counts, method, dose, prior, independent=True, evaluations=30)
        periodic.append(found.deviance_z)
        counts = count_electrons(whole[:, 8:40, 8:40], SMALL, dose, generator)
        found = refine_scan(counts, SMALL, dose, prior, independent=True, evaluations=30)
        cut.append(found.deviance_z)
    # The standard deviation of each is 1; in a cut the rim is known to about one more.
    assert abs(sum(periodic) / draws) < 3 / math.sqrt(draws)
    assert abs(sum(cut) / draws) < 1 + 3 / math.sqrt(draws)


def test_a_first_stage_that_saw_the_counts_has_fitted_their_noise() -> None:
    """The posterior mean of a flat prior, by the direct method, leaves less than the truth does."""
    dose, size = 1000.0, 0.1
    method, model = DirectPtychography(SMALL, aliases=3), ExpectedViews(SMALL)
    share = dose / SMALL.pixels_per_disc
    data = share / 9 * method.information().clamp_min(0)
    deviation = float((1 / (data + 1 / size**2)).mean().sqrt())
    seen, blind = [], []
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        phase = size * torch.randn(96, 96, generator=generator)
        with torch.no_grad():
            exact = torch.cat([model(model.transmission(phase), b) for b in model.batches()])
        counts = count_electrons(exact, SMALL, dose, generator)
        first = method(counts / share, prior=size**2 / 9)
        prior = Estimate(first, torch.full_like(first, deviation))
        sure = PriorStrength(1e4)  # the image stays the first stage
        seen.append(refine(counts, method, dose, prior, strength=sure, evaluations=2).deviance_z)
        blind.append(
            refine(
                counts, method, dose, prior, strength=sure, independent=True, evaluations=2
            ).deviance_z
        )
    assert abs(sum(seen) / 5) < 3 / math.sqrt(5)
    assert sum(blind) < sum(seen) - 5 * 1.5


def test_bad_input_is_named() -> None:
    method = DirectPtychography(SMALL, aliases=3)
    counts = torch.ones((SMALL.number_of_views, 32, 32))
    prior = Estimate(torch.zeros(96, 96), torch.ones(96, 96))
    with pytest.raises(ValueError, match="counts hold negative values"):
        refine(-counts, method, 100.0, prior)
    with pytest.raises(ValueError, match="dose is inf"):
        refine(counts, method, math.inf, prior)
    with pytest.raises(ValueError, match=r"the prior has shape \(9, 9\); expected \(96, 96\)"):
        refine(counts, method, 100.0, Estimate(torch.zeros(9, 9), torch.ones(9, 9)))
    with pytest.raises(ValueError, match=r"weight is 0\.0; expected a positive number"):
        PriorStrength(weight=0.0)
    with pytest.raises(ValueError, match=r"tail is -1; expected a positive number of deviations"):
        PriorStrength(tail=-1)
    with pytest.raises(ValueError, match=r"scan_mask has shape \(9, 9\); expected the scan's"):
        refine(counts, method, 100.0, prior, scan_mask=torch.ones(9, 9, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"thickness is -1\.0 Å in 1 slices"):
        ExpectedViews(SMALL, thickness=-1.0)


def test_the_tail_gives_way_to_a_missing_column_and_not_to_noise() -> None:
    """Against a Gaussian of the same weight: more of what is far off, no more of what is near."""
    narrow, wide = PriorStrength(10.0), PriorStrength(10.0, 0.3)
    near, far = torch.tensor(0.01), torch.tensor(25.0)
    assert float(wide.penalty(near)) == pytest.approx(float(narrow.penalty(near)), rel=0.06)
    assert float(wide.penalty(far)) < 0.03 * float(narrow.penalty(far))

    phase = random_phase(0.05)
    x = torch.arange(96) / 3
    column = 0.8 * torch.exp(-((x[:, None] - 16) ** 2 + (x - 16) ** 2) / (2 * 0.45**2))
    method, model = DirectPtychography(SMALL, aliases=3), ExpectedViews(SMALL)
    exact = torch.cat([model(model.transmission(phase), b) for b in model.batches()])
    dose = 3000.0
    counts = count_electrons(exact, SMALL, dose, torch.Generator().manual_seed(0))
    painted = Estimate(phase + column, torch.full_like(phase, 0.05))
    left, moved = {}, {}
    disc = column > 0.05
    for strength in (narrow, wide):
        image = refine(counts, method, dose, painted, strength=strength).image
        image = image - image[~disc].mean() + phase[~disc].mean()
        left[strength] = float(((image - phase) * column).sum() / column.square().sum())
        moved[strength] = float((image - phase)[~disc].std())
    assert left[wide] < 0.3 < 0.6 < left[narrow]
    assert moved[wide] < 0.02


def test_counts_that_are_not_known_do_not_count() -> None:
    """Garbage where nothing was recorded changes nothing."""
    phase = random_phase(0.1)
    method, model = DirectPtychography(SMALL, aliases=3), ExpectedViews(SMALL)
    exact = torch.cat([model(model.transmission(phase), b) for b in model.batches()])
    counts = count_electrons(exact, SMALL, 1000.0, torch.Generator().manual_seed(0))
    scan_mask = torch.ones(32, 32, dtype=torch.bool)
    scan_mask[:, 28:] = False
    spoilt = torch.where(scan_mask, counts, counts.flip(0) * 3)
    prior = Estimate(torch.zeros_like(phase), torch.full_like(phase, 0.1))
    whole, half, same = (
        refine(c, method, 1000.0, prior, scan_mask=r, evaluations=8)
        for c, r in ((spoilt, None), (spoilt, scan_mask), (counts, scan_mask))
    )
    torch.testing.assert_close(half.image, same.image)
    assert half.deviance_z == pytest.approx(same.deviance_z)
    assert (whole.image - same.image).abs().max() > 0.01


def test_nothing_is_left_below_vacuum() -> None:
    """Where the truth is empty, the noise that would go below is kept up."""
    phase = random_phase(0.2, cutoff=0.5).clamp_min(0.1)
    vacuum = float((phase - phase.mean()).min())
    method, model = DirectPtychography(SMALL, aliases=3), ExpectedViews(SMALL)
    exact = torch.cat([model(model.transmission(phase), b) for b in model.batches()])
    dose = 1000.0
    counts = count_electrons(exact, SMALL, dose, torch.Generator().manual_seed(0))
    share = dose / SMALL.pixels_per_disc
    prior = Estimate(method(counts / share), torch.full_like(phase, 0.1))
    free, bound = (refine(counts, method, dose, prior, lower_phase=v).image for v in (None, vacuum))
    below = [float((vacuum - image).clamp_min(0).square().mean().sqrt()) for image in (free, bound)]
    assert below[1] < 0.6 * below[0]
    assert correlation(bound, phase) > correlation(free, phase)
    with pytest.raises(ValueError, match="lower_phase is inf"):
        refine(counts, method, dose, prior, lower_phase=math.inf)


def test_a_strong_specimen_is_seen_as_a_weak_one() -> None:
    model, method = ExpectedViews(SMALL), DirectPtychography(SMALL, aliases=3)
    strong = random_phase(0.5)

    def views(phase: torch.Tensor) -> torch.Tensor:
        return torch.cat([model(model.transmission(phase), b) for b in model.batches()])

    raw, mended = views(strong), as_weak(views(strong), model, strong)
    assert correlation(method(mended), strong) > correlation(method(raw), strong) + 0.005
    # Of a faint specimen there is nothing to remove.
    faint = random_phase(1e-3)
    torch.testing.assert_close(as_weak(views(faint), model, faint), views(faint), atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="the model has 2 slices"):
        as_weak(views(strong), ExpectedViews(SMALL, thickness=10.0, slices=2), strong)


def test_plug_and_play_asks_the_network_in_every_round() -> None:
    model, method = ExpectedViews(SMALL), DirectPtychography(SMALL, aliases=3)
    phase = random_phase(0.3)
    exact = torch.cat([model(model.transmission(phase), b) for b in model.batches()])
    dose = 3000.0
    counts = count_electrons(exact, SMALL, dose, torch.Generator().manual_seed(0))
    asked = []

    def denoise(views: torch.Tensor) -> Estimate:
        asked.append(views)
        return Estimate(method(views), torch.full_like(phase, 0.1))

    found = plug_and_play(counts, method, dose, denoise, rounds=2)
    assert len(asked) == 2
    assert (asked[0] != asked[1]).any()
    assert correlation(found.image, phase) > correlation(method(asked[0]), phase)
    with pytest.raises(ValueError, match="rounds is 0"):
        plug_and_play(counts, method, dose, denoise, rounds=0)
