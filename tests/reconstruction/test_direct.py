from __future__ import annotations

import math
from dataclasses import replace
from typing import get_args

import pytest
import torch

from misr4d import ATOMIC, MOLECULAR
from misr4d.core import optics
from misr4d.core.dose import expose
from misr4d.measure.metrics import correlation
from misr4d.reconstruction.direct import DirectPtychography, Solver, covering_factor, stack_defoci
from misr4d.simulate.reciprocity import simulate_views
from misr4d.specimens.potential import Potential, truth
from tests.conftest import weak_phase


@pytest.fixture(scope="module")
def weak() -> tuple[torch.Tensor, torch.Tensor]:
    potential, _ = weak_phase()
    return simulate_views(potential, ATOMIC), truth(potential, ATOMIC)


@pytest.fixture(scope="module")
def method() -> DirectPtychography:
    return DirectPtychography(ATOMIC)


def test_weak_phase_is_recovered_with_sign_and_scale(
    weak: tuple[torch.Tensor, torch.Tensor], method: DirectPtychography
) -> None:
    views, reference = weak
    image = method(views)
    assert image.shape == (192, 192)
    assert correlation(image, reference) >= 0.98
    gain = float((image * reference).sum() / (reference * reference).sum())
    assert gain == pytest.approx(1.0, abs=0.02)


def test_solving_aliases_together_beats_treating_them_as_noise(
    weak: tuple[torch.Tensor, torch.Tensor], method: DirectPtychography
) -> None:
    views, reference = weak
    alone = correlation(method(views, solver="wiener"), reference)
    assert correlation(method(views), reference) > alone + 0.02


def test_every_solver_shows_the_phase_and_joint_does_best(
    weak: tuple[torch.Tensor, torch.Tensor], method: DirectPtychography
) -> None:
    views, reference = weak
    scores = {s: correlation(method(views, solver=s), reference) for s in get_args(Solver)}
    assert min(scores.values()) > 0.7
    assert max(scores, key=lambda s: scores[s]) == "joint"


def test_optimum_bright_field_has_white_noise(method: DirectPtychography) -> None:
    vacuum = expose(ATOMIC.vacuum_views, ATOMIC, 100.0, torch.Generator().manual_seed(0))
    power = torch.fft.fft2(method(vacuum, solver="obf")).abs() ** 2
    qx, qy = optics.frequencies((192, 192), (1 / 3, 1 / 3))
    radius = (qx**2 + qy**2).sqrt()
    inner = power[(radius > 0.1) & (radius < 0.3)].mean()
    outer = power[(radius > 0.7) & (radius < 0.9)].mean()
    assert float(inner / outer) == pytest.approx(1.0, abs=0.1)


def test_kernel_is_the_closed_form_of_one_cosine() -> None:
    """The contrast of φ = ε·cos 2πqx in each view is 2iε·γ/2, from views made by multislice."""
    n = 5
    x = torch.arange(192, dtype=torch.float64) / 192
    phase = (1e-3 * torch.cos(2 * math.pi * n * x))[:, None].expand(192, 192)
    volts = (phase / optics.interaction_parameter(300e3)).float()[None]
    views = simulate_views(Potential(volts, (64.0, 64.0), (1.0,)), ATOMIC)
    measured = torch.fft.fft2(views.double(), norm="forward")[:, n, 0]
    method = DirectPtychography(ATOMIC)
    index = method._gather(torch.arange(192.0 * 192).reshape(192, 192))
    where = (index == n * 192).nonzero()[0]
    gamma = method._adjoint[where[0], where[1]].conj() / method._scale
    expected = 1j * 0.5e-3 * gamma
    torch.testing.assert_close(measured.to(torch.complex64), expected, atol=3e-6, rtol=2e-2)


def test_error_falls_with_dose(
    weak: tuple[torch.Tensor, torch.Tensor], method: DirectPtychography
) -> None:
    potential, _ = weak_phase(0.1)
    views, reference = simulate_views(potential, ATOMIC), truth(potential, ATOMIC)
    scores = [
        correlation(method(expose(views, ATOMIC, d, torch.Generator().manual_seed(0))), reference)
        for d in (30.0, 300.0, 3000.0, math.inf)
    ]
    assert scores == sorted(scores)
    assert scores[-1] > 0.98


def test_noise_read_off_the_views_is_the_shot_noise(
    weak: tuple[torch.Tensor, torch.Tensor], method: DirectPtychography
) -> None:
    noisy = expose(weak[0], ATOMIC, 200.0, torch.Generator().manual_seed(0))
    expected = ATOMIC.pixels_per_disc / (200.0 * 64 * 64)
    assert float(method.statistic(noisy).noise) == pytest.approx(expected, rel=0.01)


def test_batch_is_a_loop(
    weak: tuple[torch.Tensor, torch.Tensor], method: DirectPtychography
) -> None:
    stack = torch.stack([weak[0], weak[0].flip(1)])
    together = method(stack)
    torch.testing.assert_close(together[1], method(stack[1]))
    assert together.shape == (2, 192, 192)


def test_shifting_the_scan_shifts_the_image(
    weak: tuple[torch.Tensor, torch.Tensor], method: DirectPtychography
) -> None:
    moved = method(weak[0].roll((5, -7), (1, 2)))
    torch.testing.assert_close(moved, method(weak[0]).roll((15, -21), (0, 1)), atol=1e-5, rtol=0)


def test_gradients_reach_the_views(method: DirectPtychography) -> None:
    views = 1 + 0.01 * torch.randn(177, 64, 64, generator=torch.Generator().manual_seed(0))
    views.requires_grad_()
    method(views).square().sum().backward()
    assert views.grad is not None
    assert torch.isfinite(views.grad).all()
    assert float(views.grad.abs().max()) > 0


def test_white_prior_damps_towards_zero(
    weak: tuple[torch.Tensor, torch.Tensor], method: DirectPtychography
) -> None:
    noisy = expose(weak[0], ATOMIC, 100.0, torch.Generator().manual_seed(0))
    strong, loose = method(noisy, prior=1e-6), method(noisy, prior=1.0)
    assert float(strong.std()) < 0.1 * float(loose.std())


def test_pixels_of_finite_size_are_modelled() -> None:
    potential, _ = weak_phase()
    views, reference = simulate_views(potential, ATOMIC), truth(potential, ATOMIC)
    right = correlation(DirectPtychography(ATOMIC)(views), reference)
    wrong = correlation(DirectPtychography(replace(ATOMIC, pixel_samples=1))(views), reference)
    assert right >= 0.98
    assert right > wrong


def test_vacuum_at_infinite_dose_is_an_image_of_nothing(method: DirectPtychography) -> None:
    """Rim views average to their lit share and not to one: that must not show."""
    for solver in get_args(Solver):
        assert float(method(ATOMIC.vacuum_views, solver=solver).abs().max()) < 1e-6
    assert float(method.statistic(ATOMIC.vacuum_views).noise) < 1e-12


def test_noise_of_empty_scans_is_what_least_squares_says() -> None:
    """Views weigh by the electrons of their pixels: score, estimate and OBF have stated variances.

    Per view the variance is m/n, m the lit share and n the electrons of a full pixel in the scan,
    so that Σ|γ|²/(m·n) is that of the score and its weighted inverse that of the Wiener estimate.
    """
    small = replace(ATOMIC, scan_shape=(32, 32), detector_pixel=2.2)
    assert float(small.view_illumination.min()) < 0.7
    method = DirectPtychography(small)
    draw = torch.Generator().manual_seed(0)
    empty = torch.stack([expose(small.vacuum_views, small, 50.0, draw) for _ in range(60)])
    statistic = method.statistic(empty)
    variance = small.pixels_per_disc / (50.0 * 32 * 32)
    assert float(statistic.noise.mean()) == pytest.approx(variance, rel=0.01)
    kernel = method._kernel(small, torch.device("cpu"))
    lit = small.view_illumination
    weight = (kernel.abs().double() ** 2 / lit[:, None]).sum(1)
    seen = method._measured & (method._ring > 0)
    power = (statistic.score.abs().double() ** 2).mean(0)
    for part in (method._ring < 8, method._ring >= 8):
        chosen = seen & part
        ratio = power[chosen] / (weight[chosen] * variance)
        assert float(ratio.mean()) == pytest.approx(1.0, abs=0.03)
    # Weights of m → 1 would leave a larger error in what they estimate.
    equal = (kernel.abs().double() ** 2).sum(1) ** 2 / (
        kernel.abs().double() ** 2 * lit[:, None]
    ).sum(1)
    assert bool((weight[seen] >= equal[seen] * (1 - 1e-6)).all())
    spectrum = torch.fft.fft2(method(empty, solver="obf"), norm="forward").abs().square().mean(0)
    information = method.information()
    inner = information > 0.1 * information.max()
    low = inner & (information < information[inner].median())
    ratio = spectrum[inner & ~low].mean() / spectrum[low].mean()
    assert float(ratio) == pytest.approx(1.0, abs=0.05)


def test_covering_factor_reaches_the_transfer_limit() -> None:
    assert covering_factor(ATOMIC) == 2
    assert covering_factor(MOLECULAR) == 8


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m(torch.ones(3, 64, 64)), r"views have shape \(3, 64, 64\); expected"),
        (lambda m: m(torch.full((177, 64, 64), math.nan)), "not finite"),
        (lambda m: m(torch.ones(177, 64, 64), prior=-1.0), r"prior is -1\.0"),
        (lambda m: m(torch.ones(177, 64, 64), solver="best"), "expected one of"),
        (lambda m: DirectPtychography(replace(ATOMIC, defocus=0.0)), "under-determined"),
        (lambda m: DirectPtychography(ATOMIC, 3, aliases=2), "aliases is 2"),
        (lambda m: DirectPtychography(ATOMIC, amplitude_contrast=-1), "amplitude_contrast is -1"),
    ],
)
def test_bad_input_is_named(call, message: str, method: DirectPtychography) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        call(method)


COARSE = replace(ATOMIC, step=(2.0, 2.0), scan_shape=(32, 32))


def test_two_halves_of_one_measurement_are_their_mean() -> None:
    views = torch.rand(2, 177, 32, 32, generator=torch.Generator().manual_seed(0))
    stacked, both = stack_defoci([(views[0], COARSE), (views[1], COARSE)])
    assert stacked.shape == (354, 32, 32)
    together = DirectPtychography(both)
    alone = DirectPtychography(COARSE)
    torch.testing.assert_close(
        together(stacked, solver="ssb"), alone(views.mean(0), solver="ssb"), atol=1e-5, rtol=1e-3
    )
    both_inform, one_informs = together.information(), alone.information()
    torch.testing.assert_close(both_inform, 2 * one_informs, rtol=1e-5, atol=1e-5)  # of float32


def test_two_defoci_fill_each_others_gaps_and_do_better_for_the_same_electrons() -> None:
    potential, _ = weak_phase(0.1)
    reference, dose = truth(potential, COARSE), 1000.0
    # A point detector: a finite pixel blurs the larger defocus more, and takes its gain.
    acquisitions = [replace(COARSE, defocus=d, pixel_samples=1) for d in (500.0, 900.0)]
    clean = [simulate_views(potential, a) for a in acquisitions]
    singles = [DirectPtychography(a) for a in acquisitions]
    joint = DirectPtychography(acquisitions)

    # A single defocus passes least where πλ·C₁₀·q² is π. It is a dip, not a zero: frequencies
    # that only one side band reaches pass at any defocus.
    qx, qy = optics.frequencies((96, 96), (2 / 3, 2 / 3))
    radius = (qx**2 + qy**2).sqrt()
    for method, defocus, gain in ((singles[0], 500.0, 1.15), (singles[1], 900.0, 2.0)):
        ring = (radius - 1 / math.sqrt(ATOMIC.wavelength * defocus)).abs() < 0.01
        dip = float(method.information()[ring].mean())
        assert float(joint.information()[ring].mean()) / 2 > gain * dip

    def score(method: DirectPtychography, parts: list[int], seed: int) -> float:
        draw = torch.Generator().manual_seed(seed)
        share = dose / len(parts)
        noisy = [(expose(clean[i], acquisitions[i], share, draw), acquisitions[i]) for i in parts]
        return correlation(method(stack_defoci(noisy)[0]), reference)

    scores = [
        sum(score(method, parts, seed) for seed in range(4)) / 4
        for method, parts in ((singles[0], [0]), (singles[1], [1]), (joint, [0, 1]))
    ]
    assert scores[2] > max(scores[:2])


def test_unequal_doses_are_weighted_as_they_deserve() -> None:
    potential, _ = weak_phase(0.1)
    reference, doses = truth(potential, COARSE), (1000.0, 20.0)
    # A point detector: a finite pixel blurs the larger defocus more, and takes its gain.
    acquisitions = [replace(COARSE, defocus=d, pixel_samples=1) for d in (500.0, 900.0)]
    draw = torch.Generator().manual_seed(0)
    noisy, _ = stack_defoci(
        [
            (expose(simulate_views(potential, a), a, d, draw), a)
            for a, d in zip(acquisitions, doses, strict=True)
        ]
    )
    told = DirectPtychography(acquisitions, doses=doses)(noisy)
    untold = DirectPtychography(acquisitions)(noisy)
    assert correlation(told, reference) > correlation(untold, reference) + 0.05


def test_measurements_that_do_not_belong_together_are_named() -> None:
    other = replace(COARSE, step=(1.0, 1.0))
    with pytest.raises(ValueError, match="the acquisitions have step"):
        DirectPtychography([COARSE, other])
    with pytest.raises(ValueError, match="there is no acquisition"):
        DirectPtychography([])
    with pytest.raises(ValueError, match="for each of 2 acquisitions"):
        DirectPtychography([COARSE, COARSE], doses=[1.0])
    with pytest.raises(ValueError, match="views at a defocus of 500 Å have shape"):
        stack_defoci([(torch.ones(3, 32, 32), COARSE)])


def test_no_draw_of_nothing_is_full_of_fringes() -> None:
    # Rings near 2α transfer next to nothing: their noise, taken for the specimen's power, once let
    # one empty scan in four have fringes twenty times as high as the others.
    acquisition = replace(ATOMIC, scan_shape=(48, 48))
    method = DirectPtychography(acquisition, 3, aliases=3)
    vacuum = acquisition.vacuum_views
    spreads = []
    for seed in range(16):
        generator = torch.Generator().manual_seed(seed)
        spreads.append(float(method(expose(vacuum, acquisition, 100.0, generator)).std()))
    ordered = sorted(spreads)
    assert ordered[-1] < 5 * ordered[8]
    assert ordered[-1] < 0.1
