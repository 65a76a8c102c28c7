from __future__ import annotations

import contextlib
import gc
import json
import pickle
import shutil
import struct
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
import zarr
from numpy.typing import NDArray

from misr4d.io.reading import READERS, read_scan
from misr4d.io.rosetta import _of_microscope
from misr4d.io.scan import QUANTITIES, Scan
from misr4d.io.survey import survey
from tests.io.writers import (
    ENERGY,
    PIXEL,
    SAID,
    SHAPE,
    STEP,
    WRITERS,
    kinds,
    scan_axes,
    write_dm4,
    write_empad,
    write_hspy,
    write_mib,
    write_nion,
    write_py4dstem,
    write_velox,
)

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture
def counts() -> NDArray[np.uint8]:
    return np.random.default_rng(0).poisson(3.0, SHAPE).astype(np.uint8)


@pytest.mark.parametrize("kind", kinds(WRITERS))
def test_what_a_real_writer_wrote_is_read_lazily_with_what_it_says(
    kind: str, tmp_path: Path, counts: NDArray[np.uint8]
) -> None:
    name, reader, write = WRITERS[kind]
    write(tmp_path / name, counts)
    scan = read_scan(tmp_path / name)
    assert scan.reader == reader
    assert kind == "npz" or type(scan.patterns) is not np.ndarray
    np.testing.assert_array_equal(np.asarray(scan.patterns[:, :]), counts)
    for quantity, value in SAID.get(kind, {}).items():
        assert scan.known[quantity].value == pytest.approx(value, rel=1e-5), quantity
        assert scan.known[quantity].origin == "file"
    seen = survey(scan)
    assert seen.whole
    np.testing.assert_allclose(seen.mean, counts.mean((0, 1)))
    np.testing.assert_array_equal(seen.totals, counts.sum((2, 3)))


def test_empad_is_read_with_the_xml_beside_it(tmp_path: Path) -> None:
    patterns = np.random.default_rng(0).poisson(3.0, (3, 4, 128, 128)).astype(np.float32)
    write_empad(tmp_path / "scan.xml", patterns)
    scan = read_scan(tmp_path / "scan.xml", energy=ENERGY)
    np.testing.assert_array_equal(np.asarray(scan.patterns[:, :]), patterns)
    assert scan.known["step"].value == pytest.approx((STEP, STEP))
    assert scan.known["detector_pixel"].value == pytest.approx((PIXEL, PIXEL))


@pytest.mark.parametrize("kind", ["mib", "velox", "tvips"])
def test_what_lists_its_patterns_is_read_once_the_scan_is_given(
    kind: str, tmp_path: Path, counts: NDArray[np.uint8]
) -> None:
    path = tmp_path / {"mib": "scan.mib", "velox": "scan.emd", "tvips": "scan_000.tvips"}[kind]
    if kind == "mib":
        write_mib(path, counts, hdr=False)
    elif kind == "velox":
        write_velox(path, counts)
    else:
        shutil.copy(DATA / "test_tvips_2345_000.tvips", path)
    shape = (2, 3) if kind == "tvips" else SHAPE[:2]
    with pytest.raises(ValueError, match="say how they were scanned"):
        read_scan(path)
    scan = read_scan(path, scan_shape=shape)
    assert scan.patterns.shape[:2] == shape
    assert kind != "velox" or scan.known["energy"].value == ENERGY
    if kind != "tvips":
        np.testing.assert_array_equal(np.asarray(scan.patterns[:, :]), counts)


def test_files_that_instruments_wrote_are_read() -> None:
    """Real ones, of the few bytes that HyperSpy keeps for its tests; see tests/data."""
    scan = read_scan(DATA / "test2.blo", energy=ENERGY)
    assert scan.patterns.shape == (2, 3, 5, 5)
    assert scan.known["step"].value == pytest.approx((640.0, 640.0))
    scan = read_scan(DATA / "test-10.dm4", scan_shape=(1, 2))
    np.testing.assert_array_equal(
        np.asarray(scan.patterns[:, :]), np.arange(1, 9).reshape(1, 2, 2, 2)
    )


@pytest.mark.parametrize("kind", kinds(["npy", "py4DSTEM", "abTEM", "hspy", "blo", "dm4", "mib"]))
def test_no_axis_need_be_as_long_as_another(kind: str, tmp_path: Path) -> None:
    name, _, write = WRITERS[kind]
    patterns = np.random.default_rng(1).poisson(2.0, (4, 7, 6, 6 if kind == "blo" else 11))
    write(tmp_path / name, patterns.astype(np.uint8))
    scan = read_scan(tmp_path / name, energy=ENERGY, step=(1.0, 2.5), rotation=30.0)
    np.testing.assert_array_equal(np.asarray(scan.patterns[:, :]), patterns)
    assert scan.known["step"].value == (1.0, 2.5)
    assert {scan.known[n].origin for n in ("energy", "step", "rotation")} == {"given"}


def test_a_calibration_that_makes_no_sense_is_noted_and_can_be_given(
    tmp_path: Path, counts: NDArray[np.uint8]
) -> None:
    write_nion(tmp_path / "scan.h5", counts)
    with h5py.File(tmp_path / "scan.h5", "a") as file:
        file["data"].attrs["properties"] = '{"dimensional_calibrations": 7'
    scan = read_scan(tmp_path / "scan.h5", step=2.0)
    assert "makes no sense" in scan.notes[0]
    assert scan.known["step"].value == (2.0, 2.0)
    # A unit that fits no axis is noted too, and what was not set is not taken for zero.
    write_dm4(tmp_path / "scan.dm4", counts)
    content = (tmp_path / "scan.dm4").read_bytes()
    at = content.index(struct.pack("<f", ENERGY))
    changed = content[:at] + bytes(4) + content[at + 4 :]
    (tmp_path / "scan.dm4").write_bytes(changed.replace("nm".encode("utf-16-le"), b"?\0!\0"))
    scan = read_scan(tmp_path / "scan.dm4")
    assert "energy" not in scan.known
    assert any("is ?!" in note for note in scan.notes)


@pytest.mark.classical
def test_a_frequency_becomes_an_angle_once_the_energy_is_given(
    tmp_path: Path, counts: NDArray[np.uint8]
) -> None:
    write_py4dstem(tmp_path / "scan.h5", counts)
    scan = read_scan(tmp_path / "scan.h5")
    assert "detector_pixel" not in scan.known
    assert "without energy" in scan.notes[0]
    scan = read_scan(tmp_path / "scan.h5", energy=ENERGY)
    assert scan.datacube.detector_pixel == pytest.approx((PIXEL, PIXEL))


@pytest.mark.classical
def test_what_is_given_replaces_what_the_file_says(
    tmp_path: Path, counts: NDArray[np.uint8]
) -> None:
    write_py4dstem(tmp_path / "scan.h5", counts)
    scan = read_scan(tmp_path / "scan.h5", step=(2.0, 3.0), detector_pixel=1.1, rotation=7)
    assert scan.datacube.step == (2.0, 3.0)
    assert scan.datacube.detector_pixel == (1.1, 1.1)
    assert scan.known["rotation"].value == 7
    assert {scan.known[n].origin for n in ("step", "detector_pixel", "rotation")} == {"given"}
    assert scan.known["transposed"].origin == "file"
    json.dumps({k: q.record() for k, q in scan.known.items()})


def test_a_list_of_patterns_needs_the_shape_of_its_scan(
    tmp_path: Path, counts: NDArray[np.uint8]
) -> None:
    np.save(tmp_path / "list.npy", counts.reshape(30, 9, 9))
    with pytest.raises(ValueError, match="--scan-shape RX RY"):
        read_scan(tmp_path / "list.npy")
    with pytest.raises(ValueError, match="not 5 × 7 positions"):
        read_scan(tmp_path / "list.npy", scan_shape=(5, 7))
    scan = read_scan(tmp_path / "list.npy", scan_shape=(5, 6))
    np.testing.assert_array_equal(scan.patterns, counts)
    zarr.save_array(str(tmp_path / "list.zarr"), counts.reshape(30, 9, 9))
    scan = read_scan(tmp_path / "list.zarr", scan_shape=(5, 6))
    np.testing.assert_array_equal(scan.patterns, counts)


# RosettaSciIO leaves a TIFF that it reads lazily open.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_calibrated_list_of_patterns_keeps_its_detector_pixel(
    tmp_path: Path, counts: NDArray[np.uint8]
) -> None:
    listed = counts.reshape(-1, *SHAPE[2:])
    axes = [
        axis | {"index_in_array": index, "size": size, "navigate": index == 0}
        for index, (axis, size) in enumerate(zip(scan_axes()[1:], listed.shape, strict=True))
    ]
    write_hspy(tmp_path / "list.hspy", listed, axes)
    scan = read_scan(tmp_path / "list.hspy", scan_shape=SHAPE[:2])
    assert scan.known["detector_pixel"].value == pytest.approx((PIXEL, PIXEL))
    assert "step" not in scan.known
    np.testing.assert_array_equal(np.asarray(scan.patterns), counts)


def test_a_setting_is_found_under_a_key_with_a_blank_or_an_underscore() -> None:
    mapping = {"Info.High_tension_kV": ("Acquisition_instrument.TEM.beam_energy", float)}
    for key in ("High tension_kV", "High_tension_kV"):
        signal = {"mapping": mapping, "original_metadata": {"Info": {key: "200"}}}
        assert _of_microscope(signal, "beam_energy") == 200.0
    assert _of_microscope({"mapping": mapping}, "beam_energy") is None


# RosettaSciIO leaves the file open for as long as the array lives.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_stack_of_tiff_is_a_list_of_patterns(tmp_path: Path, counts: NDArray[np.uint8]) -> None:
    path = tmp_path / "list.tif"
    tifffile.imwrite(path, counts.reshape(30, 9, 9), photometric="minisblack")
    np.testing.assert_array_equal(read_scan(path, scan_shape=(5, 6)).patterns, counts)
    gc.collect()


def test_one_of_several_arrays_is_named(tmp_path: Path, counts: NDArray[np.uint8]) -> None:
    np.savez(tmp_path / "two.npz", a=counts, b=counts + 1)
    with pytest.raises(ValueError, match=r"several arrays.*a \(5, 6, 9, 9\).*--dataset"):
        read_scan(tmp_path / "two.npz")
    np.testing.assert_array_equal(read_scan(tmp_path / "two.npz", dataset="b").patterns, counts + 1)
    with pytest.raises(ValueError, match="has no array 'c'"):
        read_scan(tmp_path / "two.npz", dataset="c")


def test_no_pickle_is_loaded(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "sprung",))

    objects = np.empty(1, dtype=object)
    objects[0] = Trap()
    np.save(tmp_path / "trap.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "trap.npz", patterns=objects)
    (tmp_path / "bare.npy").write_bytes(pickle.dumps(Trap()))
    for name in ("trap.npy", "trap.npz", "bare.npy"):
        with pytest.raises(ValueError, match="never loaded"):
            read_scan(tmp_path / name)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("energy", 300.0, "energy is 300.0 eV .*--energy.* between 10000 and"),
        ("step", 0.0, "step is 0.0 Å"),
        ("step", float("nan"), "step is nan Å"),
        ("step", (1.0, 2.0, 3.0), "expected one number or two"),
        ("semiangle", -3.0, "semiangle is -3.0 mrad"),
        ("detector_pixel", "wide", "detector pixel is wide mrad"),
        ("defocus", float("inf"), "defocus is inf Å"),
    ],
)
def test_a_value_out_of_range_is_named(
    name: str, value: Any, message: str, tmp_path: Path, counts: NDArray[np.uint8]
) -> None:
    np.save(tmp_path / "scan.npy", counts)
    with pytest.raises(ValueError, match=message):
        read_scan(tmp_path / "scan.npy", **{name: value})
    np.savez(tmp_path / "scan.npz", counts, **{name: np.asarray(value)})
    if isinstance(value, float):
        with pytest.raises(ValueError, match=r"\(scan\.npz\)"):
            read_scan(tmp_path / "scan.npz")


@pytest.mark.classical
def test_unknown_units_are_noted_and_not_guessed(tmp_path: Path, counts: NDArray[np.uint8]) -> None:
    import py4DSTEM

    cube = py4DSTEM.DataCube(counts)
    cube.calibration.set_R_pixel_size(2.0)
    cube.calibration.set_R_pixel_units("furlong")
    py4DSTEM.save(str(tmp_path / "scan.h5"), cube, mode="o")
    scan = read_scan(tmp_path / "scan.h5")
    assert "step" not in scan.known
    assert "furlong" in scan.notes[0]
    with pytest.raises(
        ValueError, match=r"the step is neither in scan\.h5 nor given.*--step, in Å"
    ):
        scan.value("step")


def test_quantities_and_readers_are_named_once() -> None:
    assert len({r.name for r in READERS}) == len(READERS)
    with pytest.raises(TypeError, match="unknown quantity 'voltage'"):
        read_scan(__file__, voltage=3)
    assert all(low < high for _, low, high in QUANTITIES.values())


def bad(patterns: NDArray[Any], at: tuple[int, ...], value: float) -> NDArray[Any]:
    changed = patterns.astype(np.float32)
    changed[at] = value
    return changed


@pytest.mark.parametrize(
    ("at", "value"),
    [((3, 2, 1, 4), float("nan")), ((0, 5, 8, 7), -2.0), ((4, 0, 0, 0), float("inf"))],
)
def test_a_survey_counts_values_that_are_no_readings(
    at: tuple[int, ...], value: float, tmp_path: Path, counts: NDArray[np.uint8]
) -> None:
    np.save(tmp_path / "scan.npy", bad(counts, at, value))
    seen = survey(read_scan(tmp_path / "scan.npy"))
    assert seen.invalid is not None
    assert np.argwhere(seen.invalid).tolist() == [list(at[2:])]
    without = bad(counts, at, 0.0)
    np.testing.assert_allclose(seen.totals, without.sum((2, 3)))
    assert seen.mean[at[2:]] == pytest.approx(without[:, :, at[2], at[3]].sum() / 29)


def test_fractions_are_told_from_counts_and_nothing_from_something(
    tmp_path: Path, counts: NDArray[np.uint8]
) -> None:
    np.save(tmp_path / "parts.npy", counts / 100)
    assert not survey(read_scan(tmp_path / "parts.npy")).whole
    np.save(tmp_path / "none.npy", counts * 0)
    with pytest.raises(ValueError, match="holds no electron"):
        survey(read_scan(tmp_path / "none.npy"))


def test_a_file_cut_short_is_said_to_be_so(tmp_path: Path) -> None:
    patterns = np.random.default_rng(0).integers(0, 255, (8, 8, 32, 32), dtype=np.uint8)
    with h5py.File(tmp_path / "whole.h5", "w") as file:
        file.create_dataset("data", data=patterns, chunks=(1, 8, 32, 32), compression="gzip")
    whole = (tmp_path / "whole.h5").read_bytes()
    for part in (0.02, 0.5, 0.95):
        (tmp_path / "part.h5").write_bytes(whole[: int(part * len(whole))])
        with pytest.raises(ValueError, match=r"complete|breaks off"):
            survey(read_scan(tmp_path / "part.h5"))


def test_a_scan_says_what_it_holds(tmp_path: Path, counts: NDArray[np.uint8]) -> None:
    np.save(tmp_path / "scan.npy", counts)
    scan = read_scan(tmp_path / "scan.npy")
    assert isinstance(scan, Scan)
    assert scan.described().startswith("scan.npy: 5 × 6 positions, 9 × 9 pixels, uint8")


# Readers that give up halfway leave files to the collector.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    "kind", kinds(k for k in WRITERS if k not in {"zarr", "abTEM", "abTEM 1.0.11", "zspy"})
)
def test_whatever_a_file_has_lost_or_got_wrong_it_is_read_or_refused(
    kind: str, tmp_path: Path, counts: NDArray[np.uint8]
) -> None:
    name, _, write = WRITERS[kind]
    write(tmp_path / name, counts)
    whole = (tmp_path / name).read_bytes()
    rng = np.random.default_rng(0)
    trials = [whole[: int(share * len(whole))] for share in (0.01, 0.2, 0.6, 0.97)]
    for _ in range(8):
        changed = np.frombuffer(whole, np.uint8).copy()
        changed[rng.integers(0, min(len(whole), 4096), 6)] = rng.integers(0, 256, 6)
        trials.append(changed.tobytes())
    for content in trials:
        (tmp_path / name).write_bytes(content)
        with contextlib.suppress(ValueError):
            survey(read_scan(tmp_path / name))
    gc.collect()
