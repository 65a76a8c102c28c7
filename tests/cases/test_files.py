"""Files whose shape or scale was silently taken for another."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from misr4d.io import rosetta
from misr4d.io.reading import read_scan
from tests.io.writers import write_mib


def test_a_scan_of_four_axes_keeps_its_shape(tmp_path: Path) -> None:
    patterns = np.ones((8, 8, 20, 20), "u2")
    np.save(tmp_path / "scan.npy", patterns)
    with pytest.raises(ValueError, match=r"has 8 × 8 positions of its own.*says 4 × 16"):
        read_scan(tmp_path / "scan.npy", scan_shape=(4, 16))
    assert read_scan(tmp_path / "scan.npy", scan_shape=(8, 8)).patterns.shape == patterns.shape
    np.save(tmp_path / "list.npy", patterns.reshape(1, 64, 20, 20))
    assert read_scan(tmp_path / "list.npy", scan_shape=(4, 16)).patterns.shape == (4, 16, 20, 20)


@pytest.mark.parametrize("shape", [(16, 64, 3), (40, 40, 64, 4)])
def test_pictures_in_colour_are_no_patterns(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "colour.npy", np.ones(shape, "u1"))
    with pytest.raises(ValueError, match="colours of pictures"):
        read_scan(tmp_path / "colour.npy", scan_shape=(4, 4) if len(shape) == 3 else None)


@pytest.mark.parametrize(
    ("units", "navigate", "kind"),
    [(("nm", "nm", "keV"), (True, True, False), ""), (("", "", ""), (True, True, False), "EELS")],
)
def test_spectrum_images_are_no_patterns(
    units: tuple[str, ...],
    navigate: tuple[bool, ...],
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    axes = [
        {"size": n, "scale": 1.0, "units": u, "navigate": v, "index_in_array": i}
        for i, (n, u, v) in enumerate(zip((16, 64, 512), units, navigate, strict=True))
    ]
    signal = {
        "data": np.ones((16, 64, 512), "u2"),
        "axes": axes,
        "metadata": {"Signal": {"signal_type": kind}},
    }

    class Plugin:
        @staticmethod
        def file_reader(*_: Any, **__: Any) -> list[dict[str, Any]]:
            return [signal]

    monkeypatch.setattr(rosetta.importlib, "import_module", lambda _: Plugin)  # type: ignore[attr-defined]
    (tmp_path / "map.dm4").write_bytes(b"x")
    with pytest.raises(ValueError, match="holds spectra"):
        read_scan(tmp_path / "map.dm4", scan_shape=(4, 4))


def test_spectra_of_nion_are_no_patterns(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "map.h5", "w") as file:
        data = file.create_dataset("data", data=np.ones((16, 64, 512), "u2"))
        data.attrs["properties"] = json.dumps(
            {"collection_dimension_count": 2, "datum_dimension_count": 1}
        )
    with pytest.raises(ValueError, match="holds spectra"):
        read_scan(tmp_path / "map.h5", scan_shape=(4, 4))


def direct_electron(folder: Path, **changes: Any) -> Path:
    shape = (10, 12, 16, 16)
    head = bytearray(1024)
    struct.pack_into("<4i", head, 0, 16, 16, 120, 6)
    struct.pack_into("<3i", head, 28, 16, 16, 120)
    struct.pack_into("<3f", head, 40, 1, 1, 1)
    head[208:212] = b"MAP "
    counts = np.arange(np.prod(shape), dtype="<u2")
    said = {
        "Scan - Enable": "Enable",
        "Scan - Type": "Raster",
        "Scan - Size X": 12,
        "Scan - Size Y": 10,
        "Scan - Time (seconds)": 1,
        "Scan - Repeat Delay (seconds)": 0,
        "Image Size X (pixels)": 16,
        "Image Size Y (pixels)": 16,
        "Specimen Pixel Size X (nanometers)": 0.15,
        "Specimen Pixel Size Y (nanometers)": 0.12,
        "Diffraction Pixel Size X": 0.05,
        "Diffraction Pixel Size Y": 0.05,
        "Instrument Accelerating Voltage (V)": 300000,
        "Instrument Project TEMorSTEM Mode": 1,
    } | changes
    (folder / "20250101_00001_movie.mrc").write_bytes(bytes(head) + counts.tobytes())
    text = "".join(f"{k:<60}= {v}\n" for k, v in said.items())
    (folder / "20250101_00001_info.txt").write_text(text)
    return folder / "20250101_00001_movie.mrc"


def test_the_scales_of_direct_electron_are_those_of_its_sidecar(tmp_path: Path) -> None:
    scan = read_scan(direct_electron(tmp_path))
    assert scan.patterns.shape == (10, 12, 16, 16)
    assert scan.known["step"].value == pytest.approx((1.2, 1.5))
    assert scan.known["detector_pixel"].value == pytest.approx((0.09844, 0.09844), rel=1e-3)
    assert scan.known["energy"].value == 300e3


@pytest.mark.parametrize("unknown", [-1, 0])
def test_what_direct_electron_does_not_know_is_dropped_with_a_note(
    tmp_path: Path, unknown: Any
) -> None:
    name = "Pixel Size X"
    changes = {f"Specimen {name} (nanometers)": unknown, f"Diffraction {name}": unknown}
    scan = read_scan(direct_electron(tmp_path, **changes))
    assert not {"step", "detector_pixel"} & set(scan.known)
    assert len([note for note in scan.notes if "does not know" in note]) == 2


def empad(folder: Path, raw: str, scans: list[tuple[str, int, int, float]]) -> Path:
    frames = np.zeros((6, 8, 130, 128), "<f4")
    frames[:, :, :128] = np.arange(48).reshape(6, 8, 1, 1)
    frames[:, :, 128:] = -7.0
    frames.tofile(folder / raw)
    modes = "".join(
        f'<scan_parameters mode="{mode}"><scan_resolution_y>{ny}</scan_resolution_y>'
        f"<scan_resolution_x>{nx}</scan_resolution_x><scan_size>{size}</scan_size>"
        "</scan_parameters>"
        for mode, nx, ny, size in scans
    )
    (folder / "scan.xml").write_text(
        f'<root><software_version>1.2.2</software_version><raw_file filename="{raw}"/>'
        "<iom_measurements><full_scan_field_of_view><x>1.152e-9</x><y>1.152e-9</y>"
        "<scale_factor>0.72</scale_factor></full_scan_field_of_view>"
        "<high_voltage>120000</high_voltage></iom_measurements>"
        f"{modes}</root>"
    )
    return folder / "scan.xml"


@pytest.mark.parametrize("raw", ["scan_x8_y6.raw", "my_sample_01.raw"])
def test_an_empad_step_is_of_the_part_that_was_scanned(tmp_path: Path, raw: str) -> None:
    """16 Å of field over 8 positions, a half of it scanned."""
    scans = [("search", 8, 6, 0.5), ("acquire", 256, 256, 1.0)]
    scan = read_scan(empad(tmp_path, raw, scans))
    assert scan.known["step"].value == pytest.approx((1.0, 1.0))
    assert scan.known["energy"].value == 120e3
    patterns = np.asarray(scan.patterns[:, :])
    assert patterns.shape == (6, 8, 128, 128)
    np.testing.assert_array_equal(patterns[:, :, 5, 7], np.arange(48).reshape(6, 8))
    assert patterns.min() == 0


def test_empad_scans_of_one_size_and_two_fields_have_no_step(tmp_path: Path) -> None:
    scan = read_scan(empad(tmp_path, "a.raw", [("search", 8, 6, 0.5), ("acquire", 8, 6, 1.0)]))
    assert "step" not in scan.known
    assert any("no step" in note for note in scan.notes)


def test_empad_frames_that_fit_no_scan_or_two_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds 48 frames"):
        read_scan(empad(tmp_path, "a.raw", [("acquire", 9, 9, 1.0)]))
    with pytest.raises(ValueError, match="fit several of the scans"):
        read_scan(empad(tmp_path, "a.raw", [("a", 8, 6, 1.0), ("b", 6, 8, 1.0)]))
    (tmp_path / "a.raw").unlink()
    with pytest.raises(ValueError, match=r"in a\.raw, which is not beside it"):
        read_scan(tmp_path / "scan.xml")


def test_raw_mode_of_merlin_is_refused_with_a_way_through(tmp_path: Path) -> None:
    path = tmp_path / "raw.mib"
    write_mib(path, np.zeros((2, 3, 8, 8), np.uint16))
    path.write_bytes(path.read_bytes().replace(b",U16,", b",R64,"))
    with pytest.raises(
        ValueError, match=r"raw mode \(R64\).*raw mode off, which makes U16"
    ) as found:
        read_scan(path)
    assert "complete" not in str(found.value)


@pytest.mark.parametrize(
    ("given", "beside", "content"),
    [
        ("scan.hdr", "scan.mib", b""),
        ("1_info.txt", "1_movie.mrc", b""),
        ("frames.raw", "any.xml", b'<root><raw_file filename="frames.raw"/></root>'),
    ],
)
def test_a_sidecar_points_to_the_file_beside_it(
    tmp_path: Path, given: str, beside: str, content: bytes
) -> None:
    (tmp_path / given).write_bytes(b"x")
    (tmp_path / beside).write_bytes(content)
    (tmp_path / "other.npy").write_bytes(b"")
    with pytest.raises(ValueError, match=f"give {beside}, which is beside it"):
        read_scan(tmp_path / given)
