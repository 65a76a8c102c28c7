from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from misr4d import ATOMIC
from misr4d.datacube import Datacube, patterns_from_views

SMALL = replace(ATOMIC, scan_shape=(5, 6))


def test_views_to_patterns_and_back() -> None:
    views = torch.rand(177, 5, 6, generator=torch.Generator().manual_seed(0))
    cube, mask = patterns_from_views(views, SMALL)
    assert cube.patterns.shape == (5, 6, 15, 15)
    assert mask.sum() == 177
    torch.testing.assert_close(cube.views(SMALL), views)
    assert (cube.patterns[:, :, ~mask] == 0).all()


def test_interchange_keeps_scan_and_detector_axes_apart() -> None:
    patterns = np.zeros((5, 6, 21, 23), dtype=np.float32)
    patterns[3, 1, 10 + 4, 11 - 2] = 1.0
    views = Datacube(patterns, SMALL.step, (SMALL.detector_pixel,) * 2).views(SMALL)
    found = views.nonzero()
    assert found.shape == (1, 3)
    index = SMALL.view_angles[found[0, 0]] / SMALL.detector_pixel
    torch.testing.assert_close(index, torch.tensor([4.0, -2.0], dtype=torch.float64))
    assert found[0, 1:].tolist() == [3, 1]


@pytest.mark.parametrize("side", [20, 21])
def test_binning_sums_around_the_axis(side: int) -> None:
    patterns = np.zeros((1, 1, side, side), dtype=np.float32)
    middle = side // 2
    patterns[0, 0, middle - 1 : middle + 2, middle - 1 : middle + 2] = 1
    binned = Datacube(patterns, (1.0, 1.0), (0.5, 0.5)).binned(3)
    centre = binned.patterns.shape[2] // 2
    assert binned.patterns[0, 0, centre, centre] == 9
    assert binned.patterns.sum() == 9
    assert binned.detector_pixel == (1.5, 1.5)


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="expected four axes"):
        Datacube(np.zeros((3, 3, 3), np.float32), (1.0, 1.0), (1.0, 1.0))
    cube = Datacube(np.zeros((5, 6, 9, 9), np.float32), SMALL.step, (SMALL.detector_pixel,) * 2)
    with pytest.raises(ValueError, match="binning factor is 2"):
        cube.binned(2)
    with pytest.raises(ValueError, match="end inside the 10 mrad disc"):
        cube.views(SMALL)
    with pytest.raises(ValueError, match="the datacube has"):
        cube.views(ATOMIC)
    with pytest.raises(ValueError, match="odd whole multiple"):
        cube.views(replace(SMALL, detector_pixel=2 * SMALL.detector_pixel))
