"""The cryo scan's archive, in miniature: 3 × 3 positions, arrays of two lines."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

import misr4d.specimens.cryo_scan as module
from misr4d.specimens.fetch import DATASETS, Dataset, fetch_dataset
from tests.specimens.test_fetch import Server, server  # noqa: F401

PATTERNS = np.random.default_rng(0).integers(0, 60, (9, 256, 256), dtype=np.uint8)


def expected() -> NDArray[np.uint8]:
    """Pixel by pixel, as the owners' axes and the crop say."""
    counts = np.zeros((3, 3, 64, 64), dtype=np.uint8)
    for index, pattern in enumerate(PATTERNS):
        for x in range(64):
            for y in range(64):
                block = pattern[64 + 2 * x : 66 + 2 * x, 62 + 2 * y : 64 + 2 * y]
                counts[index // 3, index % 3, x, y] = block.sum()
    return counts


@pytest.fixture(autouse=True)
def miniature(monkeypatch: pytest.MonkeyPatch) -> NDArray[np.uint8]:
    counts = expected()
    sums = tuple(hashlib.sha256(counts[a : a + 2].tobytes()).hexdigest() for a in (0, 2))
    for name, value in {"_SIDE": 3, "_PART": 2, "_SUMS": sums}.items():
        monkeypatch.setattr(module, name, value)
    return counts


def archive(patterns: NDArray[np.uint8], folder: Path) -> Path:
    packed = folder / "archive"
    with tarfile.open(packed, mode="w:gz") as files:
        for number, pattern in enumerate(patterns, 1):
            content = io.BytesIO()
            with h5py.File(content, "w") as stored:
                stored["dp"] = pattern
            member = tarfile.TarInfo(f"Ptycho.jl-5ff/test_data/dp_{number}.mat")
            member.size = len(content.getvalue())
            files.addfile(member, io.BytesIO(content.getvalue()))
        files.addfile(tarfile.TarInfo("Ptycho.jl-5ff/README.md"), io.BytesIO())
    return packed


def test_the_archive_becomes_one_array(tmp_path: Path, miniature: NDArray[np.uint8]) -> None:
    target = module.from_archive(archive(PATTERNS, tmp_path), tmp_path / "scan.npy")
    np.testing.assert_array_equal(np.load(target), miniature)
    found = module.find_cryo_scan(target)
    assert found is not None
    np.testing.assert_array_equal(found, miniature)


def test_what_is_missing_or_damaged_is_said_and_nothing_is_written(tmp_path: Path) -> None:
    folder = tmp_path / "written"
    folder.mkdir()
    target = folder / "scan.npy"
    with pytest.raises(ValueError, match="holds 8 of 9 positions"):
        module.from_archive(archive(PATTERNS[:8], tmp_path), target)
    damaged = PATTERNS.copy()
    damaged[7, 100, 100] += 1
    with pytest.raises(ValueError, match="lines 2 to 2 have the SHA-256"):
        module.from_archive(archive(damaged, tmp_path), target)
    with pytest.raises(ValueError, match="none of 9 positions"):
        module.from_archive(archive(np.concatenate([PATTERNS, damaged[:1]]), tmp_path), target)
    assert list(folder.iterdir()) == []
    with pytest.raises(ValueError, match="at most 255"):
        module.cut(np.full((256, 256), 90, dtype=np.uint8))


def test_the_scan_is_found_where_it_lies(
    tmp_path: Path, miniature: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MISR4D_CRYO_SCAN", raising=False)
    assert module.find_cryo_scan(tmp_path / "none.npy") is None
    monkeypatch.setenv("MISR4D_CRYO_SCAN", str(tmp_path))
    np.savez(tmp_path / "rota_rows000.npz", counts=miniature[:2])
    with pytest.raises(ValueError, match=r"has no rota_rows002\.npz"):
        module.find_cryo_scan(tmp_path / "none.npy")
    np.savez(tmp_path / "rota_rows002.npz", counts=miniature[2:])
    found = module.find_cryo_scan(tmp_path / "none.npy")
    assert found is not None
    np.testing.assert_array_equal(found, miniature)


def test_it_is_fetched_once_and_the_archive_goes(
    server: Server,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    miniature: NDArray[np.uint8],
) -> None:
    monkeypatch.setenv("MISR4D_CACHE", str(tmp_path))

    def unpack(fetched: Path, target: Path) -> Path:
        assert fetched.is_file()
        return module.from_archive(archive(PATTERNS, tmp_path), target)

    small = Dataset("a scan", server.address + "/ok", "MIT", "scan.npy", unpack)
    monkeypatch.setitem(DATASETS, "small", small)  # type: ignore[index]
    path = fetch_dataset("small")
    fetch_dataset("small")
    assert server.asked() == ["/ok"]
    assert [p.name for p in path.parent.iterdir()] == ["scan.npy"]
    np.testing.assert_array_equal(np.load(path), miniature)
