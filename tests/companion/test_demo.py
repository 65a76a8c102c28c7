from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from misr4d.cli import main
from misr4d.companion.demo import Comparison, StandIn, Truth, compare_with_truth, make_stand_in
from misr4d.io.reading import read_scan
from misr4d.report import reconstruct as reports
from misr4d.report.preparation import Prepared, prepare
from misr4d.report.reconstruct import reconstruct_scan

# A share of the defocus, and deg. Of 12 scans of 48 × 48 positions by benchmarks/stand_in.py the
# worst were 1.1 % and 0.5° at 1000 e⁻/Å², 3.5 % and 1.4° at 100.
BOUNDS = {1000.0: (0.02, 0.5), 100.0: (0.06, 2.5)}


@pytest.fixture(scope="module", params=[("Li2CoO3", 0), ("CuZr", 1), ("CuZr", 2)], ids=str)
def stand_in(request: pytest.FixtureRequest) -> StandIn:
    name, seed = request.param
    return make_stand_in(name, seed=seed, positions=48)


@pytest.fixture(scope="module")
def calibrated(
    stand_in: StandIn, tmp_path_factory: pytest.TempPathFactory
) -> dict[float, tuple[Path, Prepared, Truth]]:
    """File of each dose, what was made ready of it, and its truth."""
    found = {}
    for dose in BOUNDS:
        recording, truth = stand_in.expose(dose, 0)
        path = recording.write(tmp_path_factory.mktemp("scan") / "scan.h5")
        found[dose] = path, prepare(read_scan(path)), truth
    return found


@pytest.mark.parametrize("dose", BOUNDS)
def test_the_stand_in_is_calibrated_within_what_is_stated(
    dose: float,
    stand_in: StandIn,
    calibrated: dict[float, tuple[Path, Prepared, Truth]],
) -> None:
    _, found, truth = calibrated[dose]
    rows: dict[str, Comparison] = {row.name: row for row in compare_with_truth(found, truth)}
    defocus, rotation = BOUNDS[dose]
    assert abs(rows["defocus"].error[0]) < defocus * truth.defocus
    assert abs(rows["rotation"].error[0]) < rotation
    assert rows["transposed"].error == (0.0,)
    assert np.hypot(*rows["drift"].error) < 0.06
    assert np.abs(rows["centre"].error).max() < 0.3
    assert rows["dose"].error[0] == pytest.approx(0, abs=0.02 * dose)
    assert rows["bad pixels found"].error == (0.0,)
    assert rows["good taken for bad"].error == (0.0,)
    # That it is a drift and no astigmatism is certain.
    (warning,) = (text for text in found.warnings if "each line of the scan lies" in text)
    assert "astigmatism" not in warning


def test_the_image_is_straightened_and_sharper_for_it(
    stand_in: StandIn,
    calibrated: dict[float, tuple[Path, Prepared, Truth]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path, ready, truth = calibrated[1000.0]
    left = reconstruct_scan(read_scan(path, drift=0.0, astigmatism=0.0), method="direct")
    # What is made ready of this file is at hand.
    monkeypatch.setattr(reports, "prepare", lambda *_, **__: ready)
    found = reconstruct_scan(read_scan(path), method="direct")
    assert left.mean.shape == (144, 144)
    assert left.scan_matrix == ((1.0, 0.0), (0.0, 1.0))
    # Nothing is lost but what the shear takes off, on either side.
    sheared = 144 * abs(truth.drift[1]) / stand_in.acquisition.step[0]
    assert found.mean.shape[1] == pytest.approx(144 - sheared, abs=6)
    assert found.mean.shape[0] == pytest.approx(144 * (1 + truth.drift[0]), abs=6)
    straight, as_it_ran = (
        next(
            r.estimated[0]
            for r in compare_with_truth(report, truth)
            if r.name == "correlation, direct"
        )
        for report in (found, left)
    )
    assert straight > as_it_ran + 0.02
    assert found.record()["scan_matrix"][0][0] == pytest.approx(1 + truth.drift[0], abs=0.04)


def test_the_file_says_no_more_than_a_microscope_would(stand_in: StandIn, tmp_path: Path) -> None:
    recording, truth = stand_in.expose(30.0, 0)
    path = recording.write(tmp_path / "scan.h5")
    scan = read_scan(path)
    assert set(scan.known) == {"energy", "step", "semiangle", "detector_pixel"}
    assert set(scan.provenance) == {"title", "made_by"}
    patterns = np.asarray(scan.patterns[:, :])
    np.testing.assert_array_equal(patterns, recording.cube.patterns)
    # A hot row counts more than the disc, and dead pixels nothing.
    mean = patterns.mean((0, 1))
    assert mean[truth.hot].min() > 1.5 * np.median(mean)
    assert not mean[truth.dead].any()
    with np.load(truth.write(tmp_path / "truth.npz"), allow_pickle=False) as kept:
        assert float(kept["defocus"]) == truth.defocus
        assert kept["phase"].shape == (144, 144)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["scan.h5", "truth.npz"]


def test_electrons_are_counted_once_each(stand_in: StandIn) -> None:
    """Poisson statistics, and the dose that was asked for less what misses the detector."""
    counts = [stand_in.expose(100.0, seed)[0].cube.patterns.astype(float) for seed in (1, 2)]
    good = ~(stand_in.truth.hot | stand_in.truth.dead)
    difference = (counts[0] - counts[1])[:, :, good]
    assert difference.var() / counts[0][:, :, good].mean() == pytest.approx(2.0, rel=0.02)
    share = stand_in.expected.sum((2, 3))
    assert 0.97 < share.min() <= share.max() < 1.001


def test_the_command_compares_with_the_truth_and_leaves_a_report(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        main, ["demo", "--positions", "32", "--drift", "0", "--out", str(tmp_path / "demo")]
    )
    assert done.exit_code == 0, done.output
    assert {"scan.h5", "truth.npz", "report.html"} <= {
        p.name for p in (tmp_path / "demo").iterdir()
    }
    for word in ("true", "estimated", "defocus [Å]", "rotation [deg]", "correlation, informed"):
        assert word in done.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--specimen", "unobtainium"), "unknown specimen 'unobtainium'"),
        (("--positions", "9"), "positions is 9; expected 32 to 64"),
        (("--drift", "2"), "drift is 2.0 of a step; expected 0 to 0.3"),
    ],
)
def test_a_wrong_call_is_one_clear_line(
    arguments: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    done = CliRunner().invoke(main, ["demo", *arguments, "--out", str(tmp_path / "demo")])
    assert done.exit_code == 2
    assert message in done.output
    assert not list(tmp_path.iterdir())
