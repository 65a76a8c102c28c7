from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import pytest
from numpy.typing import NDArray

from misr4d.calibrate.pixels import PixelsReplaced, find_bad_pixels, read_bad_pixels
from misr4d.io.emd import Recording


@pytest.fixture(scope="module")
def expected(small_recording: Recording) -> NDArray[np.float64]:
    """What a scan of CaTiO₃ at 2000 e⁻/Å² counted, to be drawn again at other doses."""
    total: NDArray[np.float64] = small_recording.cube.patterns.sum((0, 1), dtype=np.float64)
    return total


@pytest.mark.parametrize("dose", [0.3, 3.0, 30.0, 300.0, 2000.0])
def test_good_pixels_raise_fewer_false_alarms_than_stated(
    dose: float, expected: NDArray[np.float64]
) -> None:
    """None in 40 scans, where one in a thousand is stated."""
    rng = np.random.default_rng(0)
    for _ in range(40):
        assert not find_bad_pixels(rng.poisson(expected * (dose / 2000.0))).mask.any()


@pytest.mark.parametrize("dose", [300.0, 2000.0])
def test_a_hot_pixel_a_dead_one_and_a_hot_row_are_found(
    dose: float, expected: NDArray[np.float64]
) -> None:
    rng = np.random.default_rng(1)
    rate = expected * (dose / 2000.0)
    middle = rate.shape[0] // 2
    rate[middle + 3, middle - 5] *= 5  # in the disc
    rate[middle - 4, middle + 2] = 0
    rate[middle + 9] = 2 * rate[middle + 9] + 1
    rate[:, middle - 30] += rate.max() / 4
    found = find_bad_pixels(rng.poisson(rate))
    hot = np.zeros(rate.shape, dtype=bool)
    hot[middle + 3, middle - 5] = True
    hot[middle + 9] = True
    hot[:, middle - 30] = True
    np.testing.assert_array_equal(found.hot, hot)
    np.testing.assert_array_equal(np.argwhere(found.dead), [[middle - 4, middle + 2]])


def test_what_is_no_pattern_is_refused() -> None:
    for counts in (np.ones((4, 9)), np.full((9, 9), -1.0), np.full((9, 9), np.nan)):
        with pytest.raises(ValueError, match=r"expected .Qx, Qy., at least 5 pixels a side"):
            find_bad_pixels(counts)


@pytest.mark.parametrize("wrap", [np.asarray, dask.array.asarray])
def test_bad_pixels_become_noise_at_the_level_around_and_the_rest_stays(wrap: Any) -> None:
    rng = np.random.default_rng(0)
    patterns = rng.poisson(4.0, (40, 40, 7, 7)).astype(np.uint8)
    bad = np.zeros((7, 7), dtype=bool)
    bad[3] = bad[0, 0] = True
    spoilt = patterns.copy()
    spoilt[:, :, bad] = 255
    replaced = PixelsReplaced(wrap(spoilt), bad, spoilt.mean((0, 1)))
    whole = replaced[:, :]
    assert whole.dtype == np.uint8
    np.testing.assert_array_equal(whole[:, :, ~bad], patterns[:, :, ~bad])
    filled = whole[:, :, bad].astype(float)
    assert filled.mean() == pytest.approx(4.0, rel=0.02)
    assert filled.var() == pytest.approx(4.0, rel=0.05)
    part = replaced[3:9, 4:5, 2:5, 1:]
    np.testing.assert_array_equal(part, whole[3:9, 4:5, 2:5, 1:])
    level = PixelsReplaced(spoilt.astype(np.float32), bad, spoilt.mean((0, 1)), counted=False)
    assert np.ptp(level[:, :][:, :, 0, 0]) == 0
    with pytest.raises(ValueError, match="all pixels"):
        PixelsReplaced(spoilt, np.ones((7, 7), dtype=bool))


def test_a_list_of_bad_pixels_is_read(tmp_path: Path) -> None:
    path = tmp_path / "bad.txt"
    path.write_text("# row,column\n2,3\n\n 1, 0  # hot\n4,*\n", encoding="utf-8")
    expected = np.zeros((5, 4), dtype=bool)
    expected[2, 3] = expected[1, 0] = expected[4] = True
    np.testing.assert_array_equal(read_bad_pixels(path, (5, 4)), expected)


@pytest.mark.parametrize("line", ["5,0", "0,4", "-1,0", "1", "1,2,3", "a,b", "1.5,2"])
def test_a_wrong_line_is_named(line: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.txt"
    path.write_text(f"0,0\n{line}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=f"line 2, is '{line}'; expected row,column"):
        read_bad_pixels(path, (5, 4))
    with pytest.raises(ValueError, match="cannot be read as a list of bad pixels"):
        read_bad_pixels(tmp_path / "none.txt", (5, 4))
