"""The script that says what is taken from a folder of real files."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.scripts import load_script


def test_every_file_of_a_folder_is_described_or_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real_files = load_script("benchmarks/real_files.py")
    folder = tmp_path / "files"
    (folder / "deep").mkdir(parents=True)
    patterns = np.ones((4, 5, 8, 9), "u2")
    np.savez(folder / "stated.npz", patterns=patterns, energy=300e3, step=(1.0, 1.5))
    np.save(folder / "deep" / "list.npy", patterns.reshape(20, 8, 9))
    (folder / "notes.txt").write_text("no scan")
    (folder / "broken.mib").write_bytes(b"MQ1")
    with h5py.File(folder / "empty.h5", "w"):
        pass
    assert real_files.main([str(folder), "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert (tmp_path / "out" / "table.md").read_text() == printed
    rows = {r["file"]: r for r in json.loads((tmp_path / "out" / "table.json").read_text())}
    assert set(rows) == {"stated.npz", "deep/list.npy", "broken.mib", "empty.h5"}
    stated = rows["stated.npz"]
    assert stated["shape"] == [4, 5, 8, 9]
    assert stated["taken"]["step"] == {"value": [1.0, 1.5], "unit": "Å", "origin": "file"}
    assert stated["to give"] == ["--semiangle"]
    assert rows["deep/list.npy"]["shape"] == [20, 8, 9]
    assert "--scan-shape" in rows["deep/list.npy"]["to give"]
    assert rows["broken.mib"]["outcome"] == rows["empty.h5"]["outcome"] == "refused"
    assert str(tmp_path) not in printed
    assert "energy 3e+05 eV; step 1 × 1.5 Å" in printed
    assert printed.endswith("4 files: 2 read, 2 refused\n")

    def fail(*_: object) -> None:
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr(real_files, "read_scan", fail)
    assert real_files.main([str(folder), "--out", str(tmp_path / "out")]) == 1
    assert "ZeroDivisionError: a fault" in capsys.readouterr().out
