from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from misr4d import ATOMIC, MOLECULAR
from misr4d.companion.released import (
    areal_dose,
    carried_probe,
    count_per_pattern,
    magnified,
    scan_with_cut_probe,
)
from misr4d.core.datacube import Datacube
from misr4d.core.dose import electrons_per_probe
from misr4d.specimens.potential import Potential, truth


def test_electrons_per_position_are_few_per_area_at_a_coarse_step() -> None:
    """256 Å over 63 steps: "200" is 12 e⁻/Å²."""
    released = replace(MOLECULAR, step=(256 / 63, 256 / 63))
    assert areal_dose(200.0, released) == pytest.approx(200 / (256 / 63) ** 2)
    assert areal_dose(200.0, released) == pytest.approx(12.1, abs=0.05)
    assert electrons_per_probe(areal_dose(200.0, released), released) == pytest.approx(200)


def test_every_pattern_gets_the_same_electrons() -> None:
    """Also where the specimen scattered half of them off the detector: that contrast is lost."""
    patterns = np.full((2, 1, 10, 10), 0.01, dtype=np.float32)
    patterns[1] *= 0.5
    cube = Datacube(patterns, (4.0, 4.0), (1.0, 1.0))
    counted = count_per_pattern(cube, 1e5, np.random.default_rng(0))
    total = counted.patterns.sum((2, 3))
    assert total == pytest.approx(1.0, abs=5 / math.sqrt(1e5))
    with pytest.raises(ValueError, match="electrons is 0"):
        count_per_pattern(cube, 0, np.random.default_rng(0))
    with pytest.raises(ValueError, match="a pattern is empty"):
        count_per_pattern(replace(cube, patterns=patterns * 0), 10, np.random.default_rng(0))


def test_a_magnified_potential_has_the_same_phase_over_a_larger_field() -> None:
    slices = torch.rand(2, 64, 64, generator=torch.Generator().manual_seed(0))
    small = Potential(slices, (6.4, 6.4), (2.0, 2.0))
    large = magnified(small)
    assert large.cell == (64.0, 64.0)
    assert large.thickness == small.thickness
    image = truth(large, replace(ATOMIC, scan_shape=(64, 64)), 1)
    assert image.shape == (64, 64)
    with pytest.raises(ValueError, match="factor is 0"):
        magnified(small, 0)


@pytest.mark.parametrize("sampling", [1.0, 0.5])
def test_abtem_cuts_the_probe_where_we_refuse_to(sampling: float) -> None:
    found = carried_probe(sampling, MOLECULAR, extent=120.0)
    assert found.intensity.sum() * found.sampling**2 == pytest.approx(found.share)
    if sampling == 1.0:
        assert found.angle == pytest.approx(6.5, abs=0.2)
        assert found.share == pytest.approx((6.5 / 10) ** 2, rel=0.05)
        with pytest.raises(ValueError, match="cuts the 10 mrad probe"):
            MOLECULAR.check_wave_sampling((sampling, sampling))
    else:
        assert found.share == pytest.approx(1.0, abs=1e-4)
        assert found.angle == pytest.approx(10.0, abs=0.2)
        MOLECULAR.check_wave_sampling((sampling, sampling))


def test_a_scan_with_a_cut_probe_is_dark_at_the_rim() -> None:
    few = replace(MOLECULAR, scan_shape=(2, 2), defocus=0.0)
    empty = Potential(torch.zeros(1, 120, 120), (120.0, 120.0), (2.0,))
    cube = scan_with_cut_probe(empty, few)
    pixel = cube.detector_pixel[0]
    n = cube.patterns.shape[2]
    axis = (np.arange(n) - n // 2) * pixel
    radius = np.hypot(axis[:, None], axis[None, :])
    assert radius.max() > 10
    assert cube.patterns[..., radius > 6.7].sum() < 1e-12
    assert cube.patterns[..., radius < 6.3].min() > 0
