"""Half-sets are independent, and lie on each other."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from misr4d import ATOMIC
from misr4d.calibrate.counting import LevelledCube
from misr4d.core.acquisition import UPSAMPLING
from misr4d.reconstruction.direct import starting_point
from misr4d.report.half_sets import (
    half_set_curve,
    halves_by_lines,
    halves_of_counts,
    on_first_lines,
)

ACQUISITION = replace(ATOMIC, scan_shape=(48, 48))


def agreement(a: Tensor, b: Tensor, pixel: tuple[float, float]) -> float:
    """Mean correlation of the rings, weighted by their pixels."""
    _, curve, count = half_set_curve(a, b, pixel, ACQUISITION.information_limit)
    return float((curve * count).sum() / count.sum())


def test_halves_by_lines_do_not_agree_on_the_noise_of_a_camera_that_does_not_count() -> None:
    """An empty field, where an electron leaves five counts in its pixel and the one below."""
    electrons = 3.0
    generator = torch.Generator().manual_seed(0)
    lit = ACQUISITION.vacuum_views
    events = torch.poisson(lit * electrons, generator=generator)
    counts = 3 * events + 2 * events.roll(1, 0)
    views = counts / (5 * electrons)
    half, (even, odd) = halves_by_lines(views, ACQUISITION)
    pixel = (half.step[0] / UPSAMPLING, half.step[1] / UPSAMPLING)
    method = starting_point(half)
    by_lines = agreement(method(even), on_first_lines(method(odd)), pixel)
    whole = starting_point(ACQUISITION)
    pixel = (ACQUISITION.detector_pixel, ACQUISITION.detector_pixel)
    number = 5 * electrons * ACQUISITION.pixels_per_disc
    cube = LevelledCube(np.zeros((48, 48, 1, 1)), ACQUISITION.step, pixel, number)
    ready = cast(Any, SimpleNamespace(cube=cube, acquisition=ACQUISITION))
    images = [whole(part) for part in halves_of_counts(views, ready, 0)]
    dealt = agreement(images[0], images[1], (ACQUISITION.step[0] / 3, ACQUISITION.step[1] / 3))
    assert abs(by_lines) < 0.06
    assert dealt > 0.3


def test_odd_lines_are_moved_onto_even_ones() -> None:
    """A wave over the field, sampled from a step later on, comes to lie on itself."""
    steps = torch.arange(24 * UPSAMPLING, dtype=torch.float64)[:, None] / UPSAMPLING  # of a half
    across = torch.ones(1, 30, dtype=torch.float64)
    even, odd = (torch.sin(2 * torch.pi * 5 * (steps + late) / 24) * across for late in (0, 0.5))
    torch.testing.assert_close(on_first_lines(odd), even)


def test_lines_too_far_apart_for_the_views_are_said_to_be() -> None:
    near = replace(ACQUISITION, defocus=60.0)
    with pytest.raises(ValueError, match="less than the scan step of 2"):
        halves_by_lines(near.vacuum_views, near)
