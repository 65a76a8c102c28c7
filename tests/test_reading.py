from __future__ import annotations

import gc
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import py4DSTEM
import pytest
import rsciio.blockfile
import rsciio.hspy
import tifffile
import zarr
from numpy.typing import NDArray

from misr4d import optics
from misr4d.reading import QUANTITIES, READERS, Scan, read_scan, survey

STEP, PIXEL, ENERGY = 1.5, 0.8, 200e3
SHAPE = (5, 6, 9, 9)


@pytest.fixture
def counts() -> NDArray[np.uint8]:
    return np.random.default_rng(0).poisson(3.0, SHAPE).astype(np.uint8)


def axes() -> list[dict[str, Any]]:
    """Axes as RosettaSciIO writes them, in nm and nm⁻¹ as its microscopes do."""
    pixel = PIXEL * 1e-3 / optics.wavelength(ENERGY) * 10
    scales = (STEP / 10, STEP / 10, pixel, pixel)
    units = ("nm", "nm", "1/nm", "1/nm")
    return [
        {
            "name": name,
            "scale": scale,
            "offset": 0.0,
            "size": size,
            "units": unit,
            "index_in_array": index,
            "navigate": index < 2,
        }
        for index, (name, scale, size, unit) in enumerate(
            zip("yxnm", scales, SHAPE, units, strict=True)
        )
    ]


MICROSCOPE = {"TEM": {"beam_energy": 200.0, "convergence_angle": 12.0}}


def write_hspy(path: Path, patterns: NDArray[Any]) -> None:
    metadata = {
        "General": {"title": "scan"},
        "Signal": {"signal_type": ""},
        "Acquisition_instrument": MICROSCOPE,
    }
    rsciio.hspy.file_writer(
        str(path),
        {
            "data": patterns,
            "axes": axes(),
            "metadata": metadata,
            "original_metadata": {},
            "tmp_parameters": {},
            "attributes": {"ragged": False, "_lazy": False},
            "learning_results": {},
            "models": {},
            "package_info": {"package": "", "package_version": ""},
        },
    )


def write_zspy(path: Path, patterns: NDArray[Any]) -> None:
    """Lay out what HyperSpy does; the writer of RosettaSciIO needs an older zarr."""
    root = zarr.open_group(str(path), mode="w", zarr_format=2)
    root.attrs.update({"file_format": "ZSpy", "file_format_version": "3.1"})
    group = root.create_group("Experiments").create_group("scan")
    group.create_array("data", data=patterns, chunks=(2, 3, *SHAPE[2:]))
    for index, axis in enumerate(axes()):
        group.create_group(f"axis-{index}").attrs.update({"_type": "UniformDataAxis", **axis})
    metadata = group.create_group("metadata")
    metadata.create_group("General").attrs["title"] = "scan"
    for name, values in MICROSCOPE.items():
        metadata.create_group("Acquisition_instrument").create_group(name).attrs.update(values)
    group.create_group("original_metadata")


def write_blo(path: Path, patterns: NDArray[Any]) -> None:
    listed = axes()
    for axis in listed[2:]:
        axis["units"] = "cm"
    signal = {
        "data": patterns,
        "axes": listed,
        "metadata": {},
        "original_metadata": {},
        "attributes": {"_lazy": False},
    }
    rsciio.blockfile.file_writer(str(path), signal)


def write_py4dstem(path: Path, patterns: NDArray[Any]) -> None:
    cube = py4DSTEM.DataCube(patterns)
    cube.calibration.set_R_pixel_size(STEP)
    cube.calibration.set_R_pixel_units("A")
    cube.calibration.set_Q_pixel_size(PIXEL * 1e-3 / optics.wavelength(ENERGY))
    cube.calibration.set_Q_pixel_units("A^-1")
    cube.calibration.set_QR_rotflip_degrees((-12.0, True))
    py4DSTEM.save(str(path), cube, mode="o")


def write_abtem(path: Path, patterns: NDArray[Any]) -> None:
    from abtem.core.axes import ScanAxis
    from abtem.measurements import DiffractionPatterns

    pixel = PIXEL * 1e-3 / optics.wavelength(ENERGY)
    DiffractionPatterns(
        patterns.astype(np.float32),
        sampling=(pixel, pixel),
        ensemble_axes_metadata=[ScanAxis(sampling=STEP, units="Å") for _ in range(2)],
        fftshift=True,
        metadata={"energy": ENERGY, "semiangle_cutoff": 12.0},
    ).to_zarr(str(path))


def write_hdf5(path: Path, patterns: NDArray[Any]) -> None:
    with h5py.File(path, "w") as file:
        file["entry/mask"] = np.ones((3, 3))
        file["entry/data"] = patterns


WRITERS: dict[str, tuple[str, str, Callable[[Path, NDArray[Any]], object]]] = {
    "npy": ("scan.npy", "NumPy", np.save),
    "npz": ("scan.npz", "NumPy", lambda p, a: np.savez(p, a, step=STEP, energy=ENERGY)),
    "big-endian": ("scan.npy", "NumPy", lambda p, a: np.save(p, a.astype(">u2"))),
    "py4DSTEM": ("scan.h5", "h5py, as EMD 1.0", write_py4dstem),
    "hdf5": ("scan.hdf5", "h5py", write_hdf5),
    "zarr": ("scan.zarr", "zarr", lambda p, a: zarr.save_array(str(p), a)),
    "abTEM": ("scan.zarr", "zarr", write_abtem),
    "hspy": ("scan.hspy", "RosettaSciIO", write_hspy),
    "zspy": ("scan.zspy", "RosettaSciIO", write_zspy),
    "blo": ("scan.blo", "RosettaSciIO", write_blo),
}

SAID: dict[str, dict[str, Any]] = {
    "npz": {"step": (STEP, STEP), "energy": ENERGY},
    "py4DSTEM": {"step": (STEP, STEP), "rotation": -12.0, "transposed": True},
    "abTEM": {"step": (STEP, STEP), "detector_pixel": (PIXEL, PIXEL), "semiangle": 12.0},
    "hspy": {"step": (STEP, STEP), "detector_pixel": (PIXEL, PIXEL), "energy": ENERGY},
    "zspy": {"step": (STEP, STEP), "detector_pixel": (PIXEL, PIXEL), "semiangle": 12.0},
    "blo": {"step": (STEP, STEP)},
}


@pytest.mark.parametrize("kind", WRITERS)
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


def test_a_frequency_becomes_an_angle_once_the_energy_is_given(
    tmp_path: Path, counts: NDArray[np.uint8]
) -> None:
    write_py4dstem(tmp_path / "scan.h5", counts)
    scan = read_scan(tmp_path / "scan.h5")
    assert "detector_pixel" not in scan.known
    assert "without energy" in scan.notes[0]
    scan = read_scan(tmp_path / "scan.h5", energy=ENERGY)
    assert scan.datacube.detector_pixel == pytest.approx((PIXEL, PIXEL))


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


def test_unknown_units_are_noted_and_not_guessed(tmp_path: Path, counts: NDArray[np.uint8]) -> None:
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
    ("at", "value", "message"),
    [
        ((3, 2, 1, 4), float("nan"), r"holds nan at position \(3, 2\), pixel \(1, 4\)"),
        ((0, 5, 8, 7), -2.0, r"holds -2.0 at position \(0, 5\), pixel \(8, 7\)"),
        ((4, 0, 0, 0), float("inf"), r"holds inf at position \(4, 0\)"),
    ],
)
def test_a_survey_says_where_a_value_is_wrong(
    at: tuple[int, ...],
    value: float,
    message: str,
    tmp_path: Path,
    counts: NDArray[np.uint8],
) -> None:
    np.save(tmp_path / "scan.npy", bad(counts, at, value))
    with pytest.raises(ValueError, match=message):
        survey(read_scan(tmp_path / "scan.npy"))


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
