from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import emdfile
import h5py
import numpy as np
import pytest
import torch

from misr4d import ATOMIC
from misr4d.io.emd import Recording
from misr4d.io.reading import read_scan
from misr4d.io.scan import Quantity, Scan
from misr4d.measure.metrics import correlation
from misr4d.reconstruction.refine import refine_scan
from misr4d.report import reconstruct as reports
from misr4d.report.half_sets import half_set_resolution
from misr4d.report.preparation import prepare
from misr4d.report.reconstruct import reconstruct_scan
from misr4d.report.report import Report


@pytest.fixture(scope="module")
def path(small_recording: Recording, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_recording.write(tmp_path_factory.mktemp("scan") / "scan.h5")


@pytest.fixture(scope="module")
def report(path: Path) -> Report:
    return reconstruct_scan(read_scan(path))


@pytest.mark.classical
def test_py4dstem_reads_our_file_calibrated_with_the_truth_in_it(
    path: Path, small_recording: Recording
) -> None:
    import py4DSTEM

    cube = py4DSTEM.read(str(path))
    assert isinstance(cube, py4DSTEM.DataCube)
    np.testing.assert_array_equal(cube.data, small_recording.cube.patterns)
    assert cube.calibration.get_Q_pixel_units() == "mrad"
    assert cube.calibration.get_Q_pixel_size() == small_recording.cube.detector_pixel[0]
    np.testing.assert_array_equal(cube.tree("truth").data, small_recording.truth.numpy())
    assert cube.root.metadata["misr4d"]["specimen"] == "CaTiO3"
    with h5py.File(path, "r") as file:
        assert file["datacube_root/datacube/data"].compression == "gzip"


def test_the_truth_comes_back_from_our_file(report: Report, small_recording: Recording) -> None:
    """2000 e⁻/Å² on a corner of CaTiO₃ and vacuum: the field is not periodic."""
    truth = small_recording.truth
    assert correlation(report.mean, truth) > 0.85
    assert correlation(report.direct, truth) > 0.8
    assert report.mean.shape == truth.shape
    assert {q.origin for n, q in report.quantities.items() if n in small_recording.quantities} == {
        "file"
    }
    assert report.provenance["file"]["specimen"] == "CaTiO3"


def test_bad_pixels_are_found_counted_and_cost_little(path: Path, report: Report) -> None:
    scan = read_scan(path)
    spoilt = np.array(scan.patterns[:, :]).astype(np.uint16)
    middle = spoilt.shape[2] // 2
    spoilt[:, :, middle + 2] += 20
    spoilt[:, :, middle - 6, middle - 4] = 0
    wrong = replace(scan, patterns=spoilt)
    found = reconstruct_scan(wrong, method="direct")
    assert found.quantities["hot_pixels"].value == spoilt.shape[3]
    assert [middle - 6, middle - 4] in found.record()["bad_pixels"]
    assert report.record()["bad_pixels"] == []
    assert correlation(found.mean, report.direct) > 0.97
    mask = np.zeros(spoilt.shape[2:], dtype=bool)
    mask[middle + 2 : middle + 4] = True
    ready = prepare(wrong, mask)
    assert ready.quantities["bad_pixels"].origin == "given"
    np.testing.assert_array_equal(ready.detector.bad, mask)
    assert any("bad pixels cover" in text for text in ready.warnings)
    with pytest.raises(ValueError, match="bad_pixels has shape"):
        prepare(wrong, mask[1:])


def test_half_sets_agree_further_with_more_electrons(report: Report, path: Path) -> None:
    whole = report.resolution["direct"]["half-bit"]
    assert min(min(r.values()) for r in report.resolution.values()) >= ATOMIC.information_limit
    scan = read_scan(path)
    thinned = np.random.default_rng(0).binomial(np.asarray(scan.patterns[:, :]), 0.02)
    fewer = reconstruct_scan(replace(scan, patterns=thinned), method="direct")
    assert whole < fewer.resolution["direct"]["half-bit"]


def test_nothing_but_energy_step_semiangle_and_defocus_is_needed(
    path: Path, small_recording: Recording, tmp_path: Path
) -> None:
    """Bare counts, off centre on the detector: centre, pixel and rotation are estimated."""
    patterns = np.roll(small_recording.cube.patterns, (3, -2), (2, 3))
    np.save(tmp_path / "bare.npy", patterns)
    known = {n: small_recording.quantities[n] for n in ("energy", "step", "semiangle", "defocus")}
    scan = read_scan(tmp_path / "bare.npy", **known, thickness=20.0)
    ready = prepare(scan)
    found = ready.quantities
    middle = patterns.shape[2] // 2
    assert found["centre"].value == pytest.approx((middle + 3, middle - 2), abs=0.3)
    pixel = small_recording.cube.detector_pixel[0]
    assert found["detector_pixel"].value[0] == pytest.approx(pixel, rel=0.02)
    assert found["dose"].value == pytest.approx(small_recording.provenance["dose"], rel=0.1)
    assert found["rotation"].value == pytest.approx(0.0, abs=3.0)
    assert not found["transposed"].value
    assert {found[n].origin for n in ("centre", "rotation", "detector_pixel")} == {"estimated"}


def test_a_drift_and_astigmatism_that_are_given_enter_the_measurement(path: Path) -> None:
    given = {"drift": (0.1, -0.05), "astigmatism": (20.0, 5.0)}
    found = prepare(read_scan(path, **given)).acquisition
    assert found.turned
    assert found.astigmatism == (20.0, 5.0)
    np.testing.assert_allclose(np.array(found.scan_matrix)[:, 0], [1.1, -0.05])
    assert prepare(read_scan(path, drift=(0.0, 0.0))).acquisition.astigmatism == (0.0, 0.0)


def test_an_unknown_defocus_and_rotation_are_found_from_the_views(
    path: Path, small_recording: Recording
) -> None:
    """The detector is turned by a quarter and transposed, which the file does not say."""
    scan = read_scan(path)
    turned = np.asarray(scan.patterns[:, :])[:, :, :, ::-1]
    kept = {n: q for n, q in scan.known.items() if n not in {"defocus", "rotation", "transposed"}}
    ready = prepare(replace(scan, patterns=turned, known=kept))
    true = small_recording.quantities["defocus"] - small_recording.quantities["thickness"] / 2
    assert ready.quantities["defocus"].value == pytest.approx(true, rel=0.03)
    assert ready.quantities["transposed"].value
    # Qy backwards is a transpose, then a quarter turn.
    assert abs(ready.quantities["rotation"].value) == pytest.approx(90.0, abs=2.0)
    assert "half a turn" in ready.warnings[-1]


def test_what_is_written_is_whole_and_says_all(report: Report, tmp_path: Path) -> None:
    written = report.write(tmp_path / "new" / "result")
    assert sorted(p.name for p in (tmp_path / "new" / "result").iterdir()) == [
        "image.h5",
        "image.npz",
        "image.png",
        "report.html",
        "report.json",
    ]
    root = emdfile.read(str(written[0]), emdpath="misr4d")
    np.testing.assert_array_equal(root.tree("mean").data, report.mean.numpy())
    assert root.tree("deviation").dims[0][1] == pytest.approx(report.pixel[0])
    assert json.loads(root.metadata["report"]["json"]) == report.record()
    with np.load(written[1], allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["mean"], report.mean.numpy())
        assert arrays["deviation"].shape == arrays["direct"].shape == arrays["mean"].shape
        inside = json.loads(str(arrays["provenance"]))
    record = json.loads(written[4].read_text(encoding="utf-8"))
    assert record == inside == report.record()
    assert record["quantities"]["defocus"]["origin"] == "file"
    assert record["half_set_resolution"]["unit"] == "Å"
    assert written[2].read_bytes().startswith(b"\x89PNG")


def test_half_sets_that_agree_to_the_end_do_not_say_where_they_part(report: Report) -> None:
    end = report.finest_ring
    assert end is not None
    assert report.record()["half_set_resolution"]["finest"] == end
    agreed = replace(report, resolution={"direct": {"half-bit": end, "0.143": 2 * end}})
    assert f"≤ {end:.3g} Å by half-bit, {2 * end:.3g} Å by 0.143" in agreed.summary()
    parted = replace(report, resolution={"direct": {"half-bit": 2 * end}})
    assert "≤" not in parted.summary()


def test_a_write_that_fails_leaves_nothing(
    report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez_compressed", fail)
    with pytest.raises(OSError, match="disk full"):
        report.write(tmp_path)
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ValueError, match="cannot be written to"):
        report.write(tmp_path / "file" / "result")


def test_a_report_over_another_is_marked_whole_at_the_end(
    report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped on the way, files of two reports lie side by side: the record is not there then."""
    report.write(tmp_path)
    move, moved = os.replace, []

    def stopped(source: Path, target: Path) -> None:
        if len(moved) == 3:
            raise KeyboardInterrupt
        moved.append(Path(target).name)
        move(source, target)

    monkeypatch.setattr(os, "replace", stopped)
    with pytest.raises(KeyboardInterrupt):
        report.write(tmp_path)
    assert len(moved) == 3
    assert not (tmp_path / "report.json").exists()
    monkeypatch.undo()
    assert [p.name for p in report.write(tmp_path)] == sorted(p.name for p in tmp_path.iterdir())


@pytest.fixture(scope="module")
def refined(path: Path) -> Report:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reports, "refine_scan", partial(refine_scan, evaluations=8))
        return reconstruct_scan(read_scan(path), method="refined")


def test_the_refined_image_stands_beside_both_that_it_starts_from(
    path: Path,
    report: Report,
    refined: Report,
    small_recording: Recording,
    tmp_path: Path,
) -> None:
    """The field is not periodic: without a rim of unknown counts, its edge would be wrong."""
    found = refined
    assert list(found.images) == ["direct", "informed", "refined"] == list(found.resolution)
    torch.testing.assert_close(found.images["informed"], report.mean)
    truth, rim = small_recording.truth, 9
    inner = (slice(rim, -rim), slice(rim, -rim))
    assert correlation(found.mean, truth) > correlation(report.mean, truth) - 0.002
    assert correlation(found.mean[inner], truth[inner]) > 0.9
    assert abs(found.quantities["deviance_z"].value) < 5
    assert found.quantities["fitted_gain"].value == pytest.approx(1.0, abs=0.02)
    assert found.quantities["fitted_defocus"].value == pytest.approx(
        prepare(read_scan(path)).acquisition.defocus
    )  # the file said it
    assert found.provenance["prior_strength"]["tail"]
    with np.load(found.write(tmp_path)[1], allow_pickle=False) as arrays:
        assert {"mean", "direct", "informed", "refined", "deviation"} <= set(arrays)
        np.testing.assert_array_equal(arrays["refined"], arrays["mean"])
    scan = read_scan(path)
    parts = np.asarray(scan.patterns[:, :]) / np.float32(1.7e3)
    with pytest.raises(ValueError, match="does not hold counts of single electrons"):
        reconstruct_scan(replace(scan, patterns=parts), method="refined")


def test_several_counts_an_electron_widen_the_likelihood_of_the_refinement(
    path: Path, refined: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every electron of the same scan makes four counts: its image is the same."""
    monkeypatch.setattr(reports, "refine_scan", partial(refine_scan, evaluations=8))
    scan = read_scan(path)
    known = {n: q for n, q in scan.known.items() if n != "dose"}
    fourfold = 4 * np.asarray(scan.patterns[:, :])
    found = reconstruct_scan(replace(scan, patterns=fourfold, known=known), method="refined")
    assert found.quantities["noise"].value == pytest.approx(4.0, rel=0.1)
    assert correlation(found.mean, refined.mean) > 0.995
    assert float(found.mean.std()) == pytest.approx(float(refined.mean.std()), rel=0.03)
    assert "deviance_z" not in found.quantities
    assert any("counts an electron for every" in warning for warning in found.warnings)


def test_fractions_have_half_sets_of_lines(path: Path, report: Report) -> None:
    scan = read_scan(path)
    known = {n: q for n, q in scan.known.items() if n != "dose"}
    parts = np.asarray(scan.patterns[:, :]) / np.float32(1.7e3)
    found = reconstruct_scan(replace(scan, patterns=parts, known=known), method="direct")
    assert set(found.resolution) == {"direct"}
    by_electrons = report.resolution["direct"]["half-bit"]
    assert found.resolution["direct"]["half-bit"] == pytest.approx(by_electrons, rel=0.3)
    assert any("even and the odd lines" in warning for warning in found.warnings)
    assert "not whole numbers" in found.warnings[0]
    assert found.deviation is None


def test_counts_of_a_camera_that_does_not_count_are_noticed(report: Report, path: Path) -> None:
    assert report.quantities["noise"].value == pytest.approx(1.0, abs=0.1)
    scan = read_scan(path)
    known = {n: q for n, q in scan.known.items() if n != "dose"}
    scaled = replace(scan, patterns=np.asarray(scan.patterns[:, :]).astype(np.uint16) * 5)
    found = reconstruct_scan(replace(scaled, known=known), method="direct")
    assert found.quantities["noise"].value == pytest.approx(5.0, rel=0.1)
    assert "pass --gain" in found.warnings[0]
    known["gain"] = Quantity(5.0, "counts per electron", "given")
    found = reconstruct_scan(replace(scaled, known=known), method="direct")
    assert set(found.resolution) == {"direct"}
    assert found.quantities["dose"].value == pytest.approx(2000.0, rel=0.1)
    assert "count 5 per electron" in found.warnings[0]


def test_warnings_are_raised_where_the_network_was_not_trained(report: Report) -> None:
    far = replace(ATOMIC, step=(20.0, 20.0), semiangle=1.5, energy=30e3, defocus=50_000.0)
    text = " ".join(reports._training_range_warnings(report, far, 3))
    for word in ("pixel of the image is 6.67 Å", "semi-angle is 1.5 mrad", "energy is 30 keV"):
        assert word in text
    # Twelve pixels a step of 20 Å are those of three a step of 5 Å.
    assert "pixel" not in " ".join(reports._training_range_warnings(report, far, 12))
    # The network for any instrument takes another; at a wide angle it says how thick is too thick.
    wide = replace(ATOMIC, step=(0.4, 0.4), semiangle=30.0, defocus=80.0)
    (text,) = reports._training_range_warnings(report, wide, 3)
    assert text.startswith("views of a specimen thicker than 66 Å, three times λ/α²")
    assert not reports._training_range_warnings(report, replace(ATOMIC, energy=200e3), 3)
    noisy = replace(report, deviation=torch.full_like(report.mean, 10.0))
    assert "larger than the signal" in " ".join(reports._training_range_warnings(noisy, ATOMIC, 3))
    none = replace(report, resolution={"direct": {"half-bit": math.inf}, "informed": {}})
    assert "agree at no frequency" in " ".join(reports._training_range_warnings(none, ATOMIC, 3))


@pytest.mark.parametrize(
    ("left_out", "message"),
    [
        ("energy", "the energy is neither in scan.h5 nor given; pass --energy, in eV"),
        ("step", "the step is neither .* pass --step, in Å"),
        (("semiangle", "detector_pixel"), "the semiangle is neither .* pass --semiangle, in mrad"),
    ],
)
def test_what_must_be_known_is_asked_for(
    left_out: str | tuple[str, ...], message: str, path: Path
) -> None:
    scan = read_scan(path)
    gone = {left_out} if isinstance(left_out, str) else set(left_out)
    with pytest.raises(ValueError, match=message):
        prepare(replace(scan, known={n: q for n, q in scan.known.items() if n not in gone}))


def test_a_scan_too_small_or_without_a_defocus_to_be_seen_is_refused(path: Path) -> None:
    scan: Scan = read_scan(path)
    with pytest.raises(ValueError, match="31 × 32 positions; expected at least 32 × 32"):
        prepare(replace(scan, patterns=np.asarray(scan.patterns[:31])))
    with pytest.raises(ValueError, match="unknown method 'magic'"):
        reconstruct_scan(scan, method="magic")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="device is 'abacus'"):
        reconstruct_scan(scan, device="abacus")
    known = {n: q for n, q in scan.known.items() if n != "defocus"}
    rng = np.random.default_rng(0)
    patterns = np.asarray(scan.patterns[:, :])
    empty = rng.poisson(np.broadcast_to(patterns.mean((0, 1)), patterns.shape))
    with pytest.raises(ValueError, match=r"the views show none.*pass --defocus"):
        prepare(replace(scan, patterns=empty, known=known))


SCALE = """
import json, sys
import torch
import scale
from misr4d.report import report
from misr4d.core.estimate import (Estimate,)

def flat(views, acquisition, **_):  # tiles have the memory of one, and take long
    image = torch.randn(acquisition.output_shape(3), generator=torch.Generator().manual_seed(0))
    return Estimate(image, image)

report.informed_tiled = flat
found = [scale.measure(side, 48, ["reconstruct"])["reconstruct_peak"] for side in (96, 256)]
print(json.dumps(found))
"""


def test_a_large_scan_is_reconstructed_in_the_memory_of_its_views_twice() -> None:
    """256 × 256 positions, 290 MiB that a virtual file repeats, of which 48 are views."""
    folder = Path(__file__).resolve().parents[2]
    paths = [str(folder), str(folder / "benchmarks")]
    done = subprocess.run(
        [sys.executable, "-c", SCALE],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    small, large = json.loads(done.stdout.splitlines()[-1])
    positions = 256**2 - 96**2
    views = 193 * positions * 4 / 2**20
    # Twice the views, and images of nine pixels a position.
    assert large - small < 2.2 * views
    assert 2.2 * views < 0.6 * positions * 48**2 * 2 / 2**20


def test_a_dry_run_says_what_is_known_and_missing_and_reads_no_pattern(path: Path) -> None:
    scan = read_scan(path)
    unread: Any = SimpleNamespace(shape=(1024, 1024, 256, 256), dtype=np.dtype(np.uint16))
    known = {n: q for n, q in scan.known.items() if n not in {"defocus", "centre"}}
    text = reports.plan(replace(scan, patterns=unread, known=known))
    assert "energy         300000 eV (file)" in text
    assert "to be estimated: centre, defocus" in text
    assert "3072 × 3072 pixels by informed in 961 tiles" in text
    with pytest.raises(ValueError, match="pass --energy"):
        reports.plan(replace(scan, known={}))


def test_half_sets_of_a_crystal_agree_beyond_a_gap() -> None:
    frequency = torch.arange(1, 11, dtype=torch.float64) / 10
    curve = torch.tensor([0.9, 0.9, 0.0, 0.0, 0.9, 0.0, 0.0, 0.0, 0.0, 0.0])
    periods = half_set_resolution(frequency, curve, torch.full((10,), 400.0))
    assert periods["half-bit"] > 3.3
    assert periods["finest ring"] == pytest.approx(2.0)
    nothing = half_set_resolution(frequency, 0 * curve, torch.full((10,), 400.0))
    assert nothing["finest ring"] == math.inf
