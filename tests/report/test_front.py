"""The front door: an array or a file in, an image out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import dask.array
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

import misr4d
from misr4d.io.emd import Recording

NEEDED = {"energy": 300e3, "step": 1.0, "semiangle": 10.0}


@pytest.fixture(scope="module")
def report(small_recording: Recording) -> misr4d.Report:
    defocus = small_recording.quantities["defocus"]
    return misr4d.reconstruct(small_recording.cube.patterns, defocus=defocus, **NEEDED)


def test_an_array_becomes_an_image_in_numpy(
    report: misr4d.Report, small_recording: Recording
) -> None:
    truth = small_recording.truth.numpy()
    for array in (report.phase, report.deviation):
        assert isinstance(array, np.ndarray)
        assert array.shape == truth.shape
    assert np.corrcoef(report.phase.ravel(), truth.ravel())[0, 1] > 0.85
    assert isinstance(report.show(), Figure)


@pytest.mark.parametrize("kind", ["tensor", "dask", "listed", "file", "scan"])
def test_however_patterns_come_the_image_is_the_same(
    kind: str, report: misr4d.Report, small_recording: Recording, tmp_path: Path
) -> None:
    patterns = small_recording.cube.patterns
    known = NEEDED | {"defocus": small_recording.quantities["defocus"]}
    if kind == "tensor":
        again = misr4d.reconstruct(torch.from_numpy(patterns.astype(np.int32)), **known)
    elif kind == "dask":
        again = misr4d.reconstruct(dask.array.from_array(patterns, (8, 8, -1, -1)), **known)
    elif kind == "listed":
        listed = patterns.reshape(-1, *patterns.shape[2:])
        again = misr4d.reconstruct(listed, scan_shape=patterns.shape[:2], **known)
    elif kind == "file":
        np.save(tmp_path / "scan.npy", patterns)
        again = misr4d.reconstruct(str(tmp_path / "scan.npy"), **known)
    else:
        again = misr4d.reconstruct(misr4d.Scan.from_array(patterns, **known))
    np.testing.assert_array_equal(again.phase, report.phase)


def test_what_is_missing_or_wrong_is_named(small_recording: Recording) -> None:
    patterns = small_recording.cube.patterns
    with pytest.raises(ValueError, match="the energy is neither in array nor given"):
        misr4d.reconstruct(patterns, step=1.0, semiangle=10.0)
    with pytest.raises(TypeError, match="unknown quantity 'voltage'"):
        misr4d.reconstruct(patterns, voltage=300e3, **NEEDED)
    with pytest.raises(ValueError, match="the array lists 1024 patterns"):
        misr4d.reconstruct(patterns.reshape(-1, *patterns.shape[2:]), **NEEDED)
    with pytest.raises(ValueError, match="energy is given beside a Scan"):
        misr4d.reconstruct(misr4d.Scan.from_array(patterns, **NEEDED), energy=200e3)
    with pytest.raises(ValueError, match="are an array already"):
        misr4d.reconstruct(patterns, dataset="data", **NEEDED)


def test_neither_the_package_nor_its_help_loads_what_it_does_not_need() -> None:
    code = (
        "import sys; before = set(sys.modules); import misr4d; {}; "
        "heavy = {{'torch', 'abtem', 'py4DSTEM', 'numpy', 'matplotlib'}} & set(sys.modules); "
        "sys.exit(','.join(sorted(heavy)) or 0)"
    )
    ask = "from misr4d.cli import main; main(['--help'], standalone_mode=False)"
    for work in ("dir(misr4d)", ask):
        done = subprocess.run([sys.executable, "-c", code.format(work)], capture_output=True)
        assert done.returncode == 0, done.stderr
    code = (
        "import sys; import misr4d.report.report; "
        "heavy = {'abtem', 'py4DSTEM', 'misr4d.learn.training'} & set(sys.modules); "
        "sys.exit(','.join(sorted(heavy)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert done.returncode == 0, done.stderr
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        misr4d.nothing  # noqa: B018
