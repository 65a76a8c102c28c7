"""Doses that change, floors and counters at their end: what comes out is what went in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from misr4d.calibrate.counting import find_beam_dose
from misr4d.calibrate.floor import find_floor
from misr4d.io.survey import survey
from misr4d.measure.metrics import correlation
from misr4d.report.preparation import prepare
from misr4d.report.reconstruct import reconstruct_scan
from misr4d.report.report import Report
from tests.cases.scans import mean_scan, scan_of

DOSE = 3000.0
SHAPE = (40, 40)
Counts = NDArray[np.uint16]


@pytest.fixture(scope="module")
def mean() -> NDArray[np.float64]:
    return mean_scan()


@pytest.fixture(scope="module")
def counts(mean: NDArray[np.float64]) -> Counts:
    return np.random.default_rng(0).poisson(mean * DOSE).astype(np.uint16)


@pytest.fixture(scope="module")
def clean(counts: Counts) -> Report:
    report = reconstruct_scan(scan_of(counts), method="direct")
    assert "offset" not in report.quantities
    assert "dose_variation" not in report.quantities
    return report


def thinned(counts: Counts, share: NDArray[np.float64]) -> Counts:
    """Counts of a beam of so large a share at every position."""
    whole = np.broadcast_to(share, SHAPE)[:, :, None, None]
    return np.random.default_rng(5).binomial(counts, whole).astype(np.uint16)


def column(value: float) -> NDArray[np.float64]:
    share = np.ones(SHAPE)
    share[:, 20] = value
    return share


def rows(first: int, last: int, value: float) -> NDArray[np.float64]:
    share = np.ones(SHAPE)
    share[first:last] = value
    return share


def flicker() -> NDArray[np.float64]:
    return np.clip(1 - 0.08 * np.abs(np.random.default_rng(1).normal(size=SHAPE)), 0, 1)


@pytest.mark.parametrize(
    ("share", "says"),
    [
        (column(0.5), "line Ry = 20 received 50% of the dose"),
        (rows(11, 12, 0.6), "line Rx = 11 received 60% of the dose"),
        (rows(25, 40, 0.7), "the dose changes along Rx"),
        (rows(10, 14, 0.5), "the dose changes along Rx"),
        (np.linspace(1, 0.9, 40)[:, None], "the dose changes along Rx"),
        (np.linspace(0.85, 1, 40)[None, :], "the dose changes along Ry"),
        (flicker(), "the dose flickers from position to position"),
        (0.9 + 0.1 * np.sin(np.arange(1600) * 0.37).reshape(SHAPE), "the dose flickers"),
    ],
    ids=["column", "row", "step", "rows", "decay", "settling", "flicker", "mains"],
)
def test_a_dose_that_changes_is_divided_out_and_named(
    counts: Counts, clean: Report, share: NDArray[np.float64], says: str
) -> None:
    uneven = scan_of(thinned(counts, share))
    report = reconstruct_scan(uneven, method="direct")
    assert any(says in text for text in report.warnings)
    assert correlation(report.mean, clean.mean) > 0.98
    assert report.quantities["noise"].value == pytest.approx(1.0, abs=0.08)
    spread = float((np.broadcast_to(share, SHAPE) / np.mean(share)).std())
    assert report.quantities["dose_variation"].value == pytest.approx(spread, rel=0.25)
    ignored = reconstruct_scan(uneven, method="direct", level_dose=False)
    assert correlation(ignored.mean, clean.mean) < correlation(report.mean, clean.mean)
    assert "dose_variation" not in ignored.quantities


def test_half_sets_of_an_uneven_dose_are_dealt_as_counted(counts: Counts, clean: Report) -> None:
    report = reconstruct_scan(scan_of(thinned(counts, column(0.5))), method="direct")
    limit = report.resolution["direct"]["half-bit"]
    assert limit == pytest.approx(clean.resolution["direct"]["half-bit"], rel=0.1)


def test_a_dose_is_used_or_said_to_be_unused(mean: NDArray[np.float64], counts: Counts) -> None:
    """Of patterns in fractions nobody knows the electrons, unless counts per electron are given."""
    fractions = mean.astype(np.float32)
    unused = prepare(scan_of(fractions, dose=100.0))
    assert any("the dose of 100 e⁻/Å² is not used" in text for text in unused.warnings)
    assert unused.cube.electrons == pytest.approx(prepare(scan_of(fractions)).cube.electrons)
    area = float(np.prod(unused.acquisition.step))
    for used in (scan_of(counts, dose=100.0), scan_of(fractions, dose=100.0, gain=0.01)):
        ready = prepare(used)
        gain = used.known["gain"].value if "gain" in used.known else 1.0
        assert ready.cube.electrons == pytest.approx(100.0 * area * gain)
        assert not any("is not used" in text for text in ready.warnings)


def test_lines_and_positions_without_beam_are_kept_out(counts: Counts, clean: Report) -> None:
    blanked = counts.copy()
    blanked[20:22] = 0
    blanked[5, 9] = 0
    report = reconstruct_scan(scan_of(blanked), method="direct")
    assert correlation(report.mean, clean.mean) > 0.97
    dose = report.quantities["dose"].value
    assert dose == pytest.approx(clean.quantities["dose"].value, rel=0.01)
    said = " ".join(report.warnings)
    assert "lines Rx = 20-21 received no beam" in said
    assert "(5, 9)" in said


def test_flyback_and_blanked_edges_are_left_out(counts: Counts, clean: Report) -> None:
    flyback = np.concatenate([counts, counts[:, -1:] // 2], axis=1)
    report = reconstruct_scan(scan_of(flyback), method="direct")
    assert report.mean.shape == clean.mean.shape
    assert correlation(report.mean, clean.mean) > 0.999
    assert any("line Ry = 40 at the edge" in text for text in report.warnings)
    dark = counts.copy()
    dark[:2] = 0
    assert prepare(scan_of(dark)).acquisition.scan_shape == (38, 40)
    with pytest.raises(ValueError, match="positions with beam"):
        prepare(scan_of(flyback[:, 9:]))  # 32 of them, one of which is flyback


def test_a_scan_with_hardly_an_electron_a_position_is_no_blanked_one() -> None:
    totals = np.random.default_rng(0).poisson(0.5, (48, 48))
    assert find_beam_dose(totals).even


@pytest.mark.parametrize("dose", [10.0, 100.0, 1e3, 1e4])
def test_clean_counts_raise_no_alarm(mean: NDArray[np.float64], dose: float) -> None:
    for seed in range(12):
        counts = np.random.default_rng(seed).poisson(mean * dose).astype(np.uint16)
        seen = survey(scan_of(counts))
        assert find_beam_dose(seen.totals).even
        good = np.ones(counts.shape[2:], dtype=bool)
        assert find_floor(seen.mean, good, seen.least, counts[:, :, 0, 0].size) is None
        assert not seen.clipped


def test_a_specimen_in_a_beam_that_fades_is_no_beam() -> None:
    """A thick patch takes a tenth of the electrons; of that nothing is taken for the beam's."""
    share = np.ones((48, 48))
    share[12:40, 10:34] = 0.9
    rng = np.random.default_rng(0)
    assert find_beam_dose(rng.poisson(3000 * share)).even
    fading = find_beam_dose(rng.poisson(3000 * share * np.linspace(1, 0.8, 48)[:, None]))
    assert fading.relative[0].mean() / fading.relative[-1].mean() == pytest.approx(1.25, rel=0.05)


def pedestal(counts: Counts, value: int) -> NDArray[Any]:
    return counts + np.uint16(value)


def dark(counts: Counts, value: float) -> NDArray[Any]:
    extra = np.random.default_rng(2).poisson(value, counts.shape)
    return (counts + extra).astype(np.uint16)


@pytest.mark.parametrize(
    ("make", "value"), [(pedestal, 1), (pedestal, 100), (dark, 0.2), (dark, 2.0)]
)
def test_a_floor_is_found_and_not_counted_as_electrons(
    counts: Counts, clean: Report, make: Any, value: float
) -> None:
    report = reconstruct_scan(scan_of(make(counts, value)), method="direct")
    assert report.quantities["offset"].value == pytest.approx(value, rel=0.02, abs=0.01)
    assert report.quantities["offset"].origin == "estimated"
    dose = clean.quantities["dose"].value
    assert report.quantities["dose"].value == pytest.approx(dose, rel=0.02)
    assert correlation(report.mean, clean.mean) > 0.95
    assert float(report.mean.std() / clean.mean.std()) == pytest.approx(1.0, abs=0.1)
    assert report.quantities["noise"].value == pytest.approx(1.0, abs=0.1)
    assert any("without electrons" in text for text in report.warnings)
    given = prepare(scan_of(make(counts, value), offset=float(value)))
    assert given.quantities["dose"].value == pytest.approx(dose, rel=0.02)
    assert given.quantities["offset"].origin == "given"


def test_a_camera_with_gain_and_pedestal_gives_the_dose(counts: Counts, clean: Report) -> None:
    noise = np.random.default_rng(4).normal(0, 5, counts.shape)
    camera = np.rint(counts * 37.0 + 100 + noise).astype(np.uint16)
    ready = prepare(scan_of(camera, gain=37.0))
    dose = clean.quantities["dose"].value
    assert ready.quantities["dose"].value == pytest.approx(dose, rel=0.01)
    assert ready.quantities["offset"].value == pytest.approx(100.0, abs=0.5)
    assert prepare(scan_of(camera, gain=37.0, offset=0.0)).quantities["dose"].value > 1.3 * dose


def test_an_offset_that_leaves_nothing_is_refused(counts: Counts) -> None:
    with pytest.raises(ValueError, match="check --offset"):
        prepare(scan_of(counts, offset=1000.0))


@pytest.mark.parametrize("end", [2, 5, 8])
def test_a_counter_at_its_end_is_named(counts: Counts, end: int) -> None:
    clipped = np.minimum(counts, end).astype(np.uint8)
    share = float((clipped == end).mean())
    assert share > 1e-4
    assert any("the counter ended there" in t for t in prepare(scan_of(clipped)).warnings)


@pytest.mark.parametrize(
    ("rows", "columns"),
    [(slice(20, 22), slice(None)), (slice(17, 20), slice(19, 21)), (slice(24, 27), slice(None))],
)
def test_a_dead_area_is_found_where_the_disc_is(
    counts: Counts, clean: Report, rows: slice, columns: slice
) -> None:
    dead = counts.copy()
    dead[:, :, rows, columns] = 0
    ready = prepare(scan_of(dead))
    radius = ready.quantities["disc_radius"].value
    assert radius == pytest.approx(clean.quantities["disc_radius"].value, abs=0.25)
    x, y = np.indices(dead.shape[2:]) - 20
    lit = np.hypot(x, y) < radius - 1
    area = np.zeros(dead.shape[2:], dtype=bool)
    area[rows, columns] = True
    np.testing.assert_array_equal(ready.detector.bad & lit, area & lit)
    number = ready.quantities["dead_pixels"].value + ready.quantities["hot_pixels"].value
    assert number == int(ready.detector.bad.sum())


def test_a_given_centre_must_leave_the_disc_on_the_detector(counts: Counts) -> None:
    with pytest.raises(ValueError, match="not wholly on a detector of 40 × 40"):
        prepare(scan_of(counts, centre=(9.0, 20.0)))
    ready = prepare(scan_of(counts, centre=(22.5, 20.0)))
    assert any("check --centre" in text for text in ready.warnings)
    assert not any("centre" in t for t in prepare(scan_of(counts, centre=(20.0, 20.0))).warnings)


def test_a_descan_that_leads_the_disc_off_the_detector_is_refused(counts: Counts) -> None:
    moved = counts.copy()
    for i in range(40):
        moved[i] = np.roll(counts[i], round((i - 20) * 0.6), axis=1)
    with pytest.raises(ValueError, match="not wholly on"):
        prepare(scan_of(moved))
