"""Values that are no counts: they are replaced, used as noise, or offset, and always named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from misr4d.io.survey import survey
from misr4d.measure.metrics import correlation
from misr4d.report.preparation import Prepared, prepare
from misr4d.report.reconstruct import reconstruct_scan
from misr4d.report.report import Report
from tests.cases.scans import mean_scan, scan_of

DOSE = 3000.0


@pytest.fixture(scope="module")
def counts() -> NDArray[np.uint16]:
    return np.random.default_rng(0).poisson(mean_scan() * DOSE).astype(np.uint16)


@pytest.fixture(scope="module")
def clean(counts: NDArray[np.uint16]) -> Report:
    return reconstruct_scan(scan_of(counts), method="direct")


def marked(counts: NDArray[np.uint16], kind: str, value: float, every: int) -> NDArray[Any]:
    """Counts in which some values of the disc are a mark."""
    spoilt = counts.astype(kind)
    spoilt.reshape(-1)[7::every] = value
    return spoilt


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("f4", np.nan),
        ("f4", np.inf),
        ("f4", -1.0),
        ("f8", 1e30),
        ("i2", -32768),
        ("i4", -1),
        ("u2", 65535),
        ("u4", 2**32 - 1),
        ("u8", 2**64 - 1),
    ],
)
def test_a_mark_is_no_count_of_its_position(
    counts: NDArray[np.uint16], clean: Report, kind: str, value: float
) -> None:
    spoilt = marked(counts, kind, value, 997)
    report = reconstruct_scan(scan_of(spoilt), method="direct")
    number = len(spoilt.reshape(-1)[7::997])
    assert any(f"{number} of {spoilt.size} values are no readings" in w for w in report.warnings)
    assert report.quantities["dead_pixels"].value == 0
    dose = clean.quantities["dose"].value
    assert report.quantities["dose"].value == pytest.approx(dose, rel=2e-3)
    assert correlation(report.mean, clean.mean) > 0.99
    assert report.quantities["noise"].value == pytest.approx(1.0, abs=0.08)


@pytest.mark.parametrize("value", [np.nan, -1.0])
def test_a_pixel_that_is_always_a_mark_is_a_bad_one(
    counts: NDArray[np.uint16], clean: Report, value: float
) -> None:
    spoilt = counts.astype("f4")
    spoilt[:, :, 20, 25] = value
    spoilt[:, :, :2] = value  # two rows of them, as a gap between chips
    ready = prepare(scan_of(spoilt))
    assert ready.counted
    assert ready.quantities["dead_pixels"].value == 81
    assert ready.detector.bad[20, 25]
    assert ready.quantities["dose"].value == pytest.approx(clean.quantities["dose"].value, rel=5e-3)
    kept = prepare(scan_of(spoilt), bad_pixels="none")
    assert kept.detector.bad.sum() == 81


@pytest.mark.parametrize("value", [np.nan, -1.0])
def test_patterns_without_a_reading_are_blank(
    counts: NDArray[np.uint16], clean: Report, value: float
) -> None:
    spoilt = counts.astype("f4")
    spoilt[11, 2] = spoilt[30, 17:19] = value
    report = reconstruct_scan(scan_of(spoilt), method="direct")
    said = " ".join(report.warnings)
    assert "3 patterns have none in half of their pixels and are blank" in said
    assert "(11, 2)" in said
    assert report.quantities["dose"].value == pytest.approx(
        clean.quantities["dose"].value, rel=5e-3
    )
    assert correlation(report.mean, clean.mean) > 0.99


def camera(counts: NDArray[np.uint16], gain: float, level: float, noise: float) -> NDArray[Any]:
    read = np.random.default_rng(4).normal(level, noise, counts.shape)
    return (counts * gain + read).astype(np.float32)


@pytest.mark.parametrize(("gain", "noise"), [(150.0, 12.0), (37.0, 30.0)])
@pytest.mark.parametrize("whole", [False, True])
def test_read_noise_around_zero_is_used_as_it_is(
    counts: NDArray[np.uint16], clean: Report, gain: float, noise: float, whole: bool
) -> None:
    """Cut off at zero, it would add electrons in every pixel."""
    patterns = camera(counts, gain, 0.0, noise)
    if whole:
        patterns = np.rint(patterns).astype("i4")
    ready = prepare(scan_of(patterns, gain=gain))
    assert ready.quantities["dose"].value == pytest.approx(clean.quantities["dose"].value, rel=0.01)
    assert not ready.detector.bad.any()
    assert any("are below 0, as read noise" in w for w in ready.warnings)
    ungained = prepare(scan_of(patterns))
    assert not ungained.counted
    assert not ungained.detector.bad.any()
    assert "dose" not in ungained.quantities


def test_marks_in_read_noise_are_told_from_it(counts: NDArray[np.uint16], clean: Report) -> None:
    patterns = camera(counts, 150.0, 0.0, 12.0)
    patterns[3, 7, 20, 20], patterns[5, 5, 21, 21], patterns[9, 9, 22, 22] = np.nan, -9999, np.inf
    ready = prepare(scan_of(patterns, gain=150.0))
    assert any("3 of" in w and "no readings" in w for w in ready.warnings)
    assert ready.quantities["dose"].value == pytest.approx(clean.quantities["dose"].value, rel=0.01)


def offset_of(ready: Prepared) -> float:
    return float(ready.quantities["offset"].value)


@pytest.mark.parametrize("given", [False, True])
def test_too_much_subtracted_is_added_again(
    counts: NDArray[np.uint16], clean: Report, given: bool
) -> None:
    dose = clean.quantities["dose"].value
    patterns = counts.astype("i2") - 5
    known = {"offset": -5.0} if given else {}
    ready = prepare(scan_of(patterns, **known))
    assert offset_of(ready) == -5
    assert ready.quantities["dose"].value == pytest.approx(dose, rel=1e-6)
    assert ready.counted
    noisy = camera(counts, 37.0, -30.0, 10.0)
    known = {"offset": -30.0} if given else {}
    ready = prepare(scan_of(noisy, gain=37.0, **known))
    assert offset_of(ready) == pytest.approx(-30.0, abs=0.7)
    assert ready.quantities["dose"].value == pytest.approx(dose, rel=0.02)


def test_a_scan_that_is_mostly_marks_is_refused(counts: NDArray[np.uint16]) -> None:
    spoilt = counts.astype("f4")
    spoilt[:, :30] = np.nan
    with pytest.raises(ValueError, match=r"no reading in 75% of its values: it holds nan"):
        survey(scan_of(spoilt))


def test_a_value_is_replaced_the_same_however_it_is_read(counts: NDArray[np.uint16]) -> None:
    from misr4d.calibrate.pixels import ValuesReplaced

    spoilt = marked(counts, "u2", 65535, 101)
    seen = survey(scan_of(spoilt))
    replaced = ValuesReplaced(spoilt, seen.limits, seen.mean, counted=True)
    every = slice(None)
    whole = replaced[every, every, every, every]
    np.testing.assert_array_equal(replaced[5:9, 3:30, 10:30, every], whole[5:9, 3:30, 10:30])
    mark = spoilt == 65535
    np.testing.assert_array_equal(whole[~mark], counts[~mark])
    assert whole[mark].mean() == pytest.approx(counts[mark].mean(), rel=0.05)
