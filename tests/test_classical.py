from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from misr4d import ATOMIC
from misr4d.classical import parallax, summed_bright_field
from misr4d.metrics import correlation
from misr4d.potential import truth
from misr4d.reciprocity import simulate_views
from tests.conftest import weak_phase


@pytest.fixture(scope="module")
def weak() -> tuple[torch.Tensor, torch.Tensor]:
    potential, _ = weak_phase(0.02)
    return simulate_views(potential, ATOMIC), truth(potential, ATOMIC)


def test_summed_bright_field_is_the_mean_view() -> None:
    views = torch.rand(4, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(summed_bright_field(views), views.mean(0))
    fine = summed_bright_field(views, 3)
    assert fine.shape == (24, 24)
    torch.testing.assert_close(fine.mean(), views.mean())


def test_summed_bright_field_hardly_sees_a_weak_phase(
    weak: tuple[torch.Tensor, torch.Tensor],
) -> None:
    views, _ = weak
    assert float(summed_bright_field(views).std()) < 0.2 * float(views.std())


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


def test_alignment_by_cross_correlation_finds_the_known_shifts(
    weak: tuple[torch.Tensor, torch.Tensor],
) -> None:
    views, _ = weak
    known, found = parallax(views, ATOMIC), parallax(views, ATOMIC, align=True)
    assert correlation(known, found) > 0.95


def test_parallax_refuses_views_without_displacement() -> None:
    with pytest.raises(ValueError, match="under-determined"):
        parallax(torch.ones(177, 64, 64), replace(ATOMIC, defocus=0.0))
