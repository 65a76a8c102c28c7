from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import torch

from misr4d import ATOMIC, Acquisition
from misr4d.core import optics
from misr4d.core.datacube import Datacube
from misr4d.measure.metrics import correlation
from misr4d.reconstruction.bright_field import (
    summed_bright_field,
)
from misr4d.reconstruction.dpc import idpc
from misr4d.reconstruction.tuned import (
    PtychographySettings,
)
from misr4d.simulate.patterns import simulate_patterns
from misr4d.simulate.reciprocity import simulate_views
from misr4d.specimens.potential import truth
from tests.conftest import HAS_PY4DSTEM, weak_phase

if HAS_PY4DSTEM:
    import py4DSTEM

    from misr4d.reconstruction import classical
    from misr4d.reconstruction.classical import (
        iterative_dpc,
        parallax,
        ptychography,
        ptychography_course,
    )


def test_without_py4dstem_one_error_says_where_it_can_be_had() -> None:
    code = "import sys; sys.modules['py4DSTEM'] = None; import misr4d.reconstruction.classical"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ModuleNotFoundError: parallax, iterative DPC and iterative")
    assert "pip install 'misr4d[classical]', on Python 3.11 or 3.12" in last
    code = "import sys; sys.modules['py4DSTEM'] = None; import misr4d.companion.study, misr4d.cli"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.fixture(scope="module")
def weak() -> tuple[torch.Tensor, torch.Tensor]:
    potential, _ = weak_phase(0.02)
    return simulate_views(potential, ATOMIC), truth(potential, ATOMIC)


def test_summed_bright_field_is_the_mean_view() -> None:
    points = replace(ATOMIC, pixel_samples=1)
    views = torch.rand(177, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(summed_bright_field(views, points), views.mean(0))
    fine = summed_bright_field(views, points, 3)
    assert fine.shape == (24, 24)
    torch.testing.assert_close(fine.mean(), views.mean())
    # Finite pixels on the rim get less: vacuum is one all the same.
    vacuum = summed_bright_field(ATOMIC.vacuum_views, ATOMIC)
    torch.testing.assert_close(vacuum, torch.ones_like(vacuum))


def test_summed_bright_field_hardly_sees_a_weak_phase(
    weak: tuple[torch.Tensor, torch.Tensor],
) -> None:
    views, _ = weak
    assert float(summed_bright_field(views, ATOMIC).std()) < 0.2 * float(views.std())


@pytest.mark.classical
def test_parallax_shows_the_phase_upright_and_in_place(
    weak: tuple[torch.Tensor, torch.Tensor],
) -> None:
    views, reference = weak
    image = parallax(views, ATOMIC)
    assert image.shape == reference.shape
    score = correlation(image, reference)
    assert score > 0.4
    # Neither an offset of one scan step nor the other sense of defocus does as well.
    assert score > correlation(image.roll(3, 0), reference) + 0.1
    assert score > correlation(parallax(views, replace(ATOMIC, defocus=-500.0)), reference) + 0.1


@pytest.mark.classical
def test_alignment_by_cross_correlation_finds_the_known_shifts(
    weak: tuple[torch.Tensor, torch.Tensor],
) -> None:
    views, _ = weak
    known, found = parallax(views, ATOMIC), parallax(views, ATOMIC, align=True)
    assert correlation(known, found) > 0.95


@pytest.mark.classical
def test_fitted_aberrations_stand_in_for_a_defocus_that_is_not_known(
    weak: tuple[torch.Tensor, torch.Tensor],
) -> None:
    views, phase = weak
    wrong = replace(ATOMIC, defocus=350.0)
    told = parallax(views, ATOMIC, align=True)
    misled = parallax(views, wrong, align=True)
    fitted = parallax(views, wrong, align=True, fit=True)
    assert correlation(fitted, phase) > correlation(misled, phase) + 0.2
    assert correlation(fitted, told) > 0.99
    with pytest.raises(ValueError, match="fit is True and align False"):
        parallax(views, ATOMIC, fit=True)


@pytest.mark.classical
def test_parallax_refuses_views_without_displacement() -> None:
    with pytest.raises(ValueError, match="under-determined"):
        parallax(torch.ones(177, 64, 64), replace(ATOMIC, defocus=0.0))


@pytest.fixture(scope="module")
def small() -> tuple[Datacube, Acquisition, torch.Tensor]:
    """Patterns of a 32×32 scan of a weak smooth phase, and that phase."""
    few = replace(ATOMIC, scan_shape=(32, 32))
    potential, _ = weak_phase(0.05)
    return simulate_patterns(potential, few), few, truth(potential, few)


def patterns_of_gradient(phase: torch.Tensor) -> Datacube:
    """Two-spot patterns whose centre of mass is ∇φ/2π, differentiated in Fourier space."""
    qx, qy = optics.frequencies((phase.shape[0], phase.shape[1]), (1.0, 1.0))
    spectrum = torch.fft.fft2(phase.double())
    pixel = 0.5e-3 / ATOMIC.wavelength  # Å⁻¹
    patterns = np.zeros((*phase.shape, 9, 9), dtype=np.float32)
    for axis, q in enumerate((qx, qy)):
        share = (torch.fft.ifft2(1j * q * spectrum).real / (2 * pixel)).numpy()
        for side in (-1, 1):
            spot = (4 + 4 * side, 4) if axis == 0 else (4, 4 + 4 * side)
            patterns[:, :, spot[0], spot[1]] = (1 + side * share) / 4
    return Datacube(patterns, (1.0, 1.0), (0.5, 0.5))


def test_idpc_integrates_a_known_gradient() -> None:
    x = torch.arange(32, dtype=torch.float64) / 32
    phase = 0.3 * torch.cos(2 * torch.pi * (2 * x[:, None] - 3 * x[None, :]))
    image = idpc(patterns_of_gradient(phase), ATOMIC)
    torch.testing.assert_close(image.double(), phase, atol=1e-4, rtol=0)


@pytest.mark.classical
def test_both_forms_of_dpc_agree_where_the_edges_are_quiet() -> None:
    x = (torch.arange(48, dtype=torch.float64) - 22) ** 2
    phase = 0.5 * torch.exp(-(x[:, None] + x[None, :] / 2) / (2 * 4.0**2))
    cube = patterns_of_gradient(phase)
    fourier, iterated = idpc(cube, ATOMIC), iterative_dpc(cube, ATOMIC)
    assert correlation(fourier, iterated) > 0.99
    gain = float((fourier * iterated).sum() / (fourier * fourier).sum())
    assert gain == pytest.approx(1.0, abs=0.05)


@pytest.mark.classical
def test_ptychography_recovers_the_phase_where_it_is(
    small: tuple[Datacube, Acquisition, torch.Tensor],
) -> None:
    cube, acquisition, reference = small
    course = dict(
        ptychography_course(cube, acquisition, 3, PtychographySettings(batches=16), [1, 6])
    )
    scores = {
        n: correlation(image[12:-12, 12:-12], reference[12:-12, 12:-12])
        for n, image in course.items()
    }
    assert scores[6] > scores[1]
    assert scores[6] > 0.9
    again = ptychography(cube, acquisition, 3, PtychographySettings(iterations=1, batches=16))
    torch.testing.assert_close(again, course[1])
    gain = float((course[6] * reference).sum() / (reference * (reference - reference.mean())).sum())
    assert gain == pytest.approx(1.0, abs=0.3)


@pytest.mark.classical
@pytest.mark.parametrize("object_type", ["complex", "potential"])
@pytest.mark.parametrize("step", [1.0, 1.1])  # the second is no whole number of object pixels
def test_what_makes_py4dstem_quicker_changes_nothing_that_shows(
    small: tuple[Datacube, Acquisition, torch.Tensor],
    monkeypatch: pytest.MonkeyPatch,
    object_type: Literal["complex", "potential"],
    step: float,
) -> None:
    exact, acquisition, _ = small
    counts = np.random.default_rng(0).poisson(exact.patterns * 1000.0).astype(np.float32)
    cube = replace(exact, patterns=counts, step=(step, step))
    settings = PtychographySettings(iterations=3, batches=16, object_type=object_type, lowpass=0.8)
    quicker = ptychography(cube, acquisition, 3, settings)

    class Plain(py4DSTEM.process.phase.SingleslicePtychography):  # type: ignore[misc]
        phase_on_grid = classical._QuickPtychography.phase_on_grid

    monkeypatch.setattr(classical, "_QuickPtychography", Plain)
    theirs = ptychography(cube, acquisition, 3, settings)
    # Where the model is dark its phase is rounding noise, so the two are not equal to the bit.
    assert correlation(quicker, theirs) > 0.999


@pytest.mark.classical
@pytest.mark.parametrize("object_type", ["complex", "potential"])
def test_ptychography_begins_with_the_phase_that_it_is_given(
    small: tuple[Datacube, Acquisition, torch.Tensor],
    object_type: Literal["complex", "potential"],
) -> None:
    cube, acquisition, _ = small
    settings = PtychographySettings(
        iterations=1, step_size=1e-6, batches=1, object_type=object_type, start="direct"
    )
    # A bump off the middle: py4DSTEM takes the edge of a potential for 0, and clips below.
    x, y = (torch.arange(96) - middle for middle in (40, 55))
    phase = 0.3 * torch.exp(-(x[:, None] ** 2 + y**2) / (2 * 6.0**2))
    image = ptychography(cube, acquisition, 3, settings, initial=phase)
    torch.testing.assert_close(image, phase - phase.mean(), atol=2e-3, rtol=0)


@pytest.mark.classical
@pytest.mark.parametrize(
    ("start", "initial", "message"),
    [
        ("flat", torch.zeros(96, 96), "start is 'flat' and initial is given"),
        ("direct", None, "start is 'direct' and initial is not given"),
        ("direct", torch.zeros(32, 32), r"initial has shape \(32, 32\).*expected \(96, 96\)"),
        ("direct", torch.full((96, 96), math.nan), "is not finite"),
    ],
)
def test_a_start_and_its_phase_go_together(
    small: tuple[Datacube, Acquisition, torch.Tensor],
    start: Literal["flat", "direct"],
    initial: torch.Tensor | None,
    message: str,
) -> None:
    cube, acquisition, _ = small
    with pytest.raises(ValueError, match=message):
        ptychography(cube, acquisition, 3, PtychographySettings(start=start), initial=initial)
