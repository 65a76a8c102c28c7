"""What other writers leave in their files is read as they mean it, or refused in one line."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import zarr
from numpy.typing import NDArray
from zarr.storage import LocalStore

from misr4d.core import optics
from misr4d.io import rosetta
from misr4d.io.reading import read_scan
from misr4d.io.scan import Scan

ENERGY, STEP, PIXEL = 300e3, (1.5, 1.2), (0.4, 0.5)
WAVELENGTH = optics.wavelength(ENERGY)


@pytest.fixture
def counts() -> NDArray[np.uint16]:
    return np.random.default_rng(0).poisson(1.0, (6, 5, 8, 9)).astype(np.uint16)


def frequency(scale: float = 1.0) -> tuple[float, float]:
    return PIXEL[0] * 1e-3 / WAVELENGTH * scale, PIXEL[1] * 1e-3 / WAVELENGTH * scale


def right(scan: Scan, counts: NDArray[Any], *names: str) -> None:
    np.testing.assert_array_equal(np.asarray(scan.patterns[:, :]), counts)
    part = slice(2, 4), slice(1, None), slice(3, 5), slice(2, None)
    np.testing.assert_array_equal(np.asarray(scan.patterns[part]), counts[part])
    truth = {"step": STEP, "detector_pixel": PIXEL, "energy": ENERGY}
    for name in names or truth:
        assert scan.known[name].value == pytest.approx(truth[name], rel=1e-6), name
        assert scan.known[name].origin == "file"


def signal(counts: NDArray[Any], sizes: Any, unit: str, **original: Any) -> dict[str, Any]:
    """What RosettaSciIO hands over, with four calibrated axes."""
    scales = (STEP[0] / 10, STEP[1] / 10, *sizes)
    axes = [
        {"size": n, "scale": s, "units": u, "index_in_array": i}
        for i, (n, s, u) in enumerate(
            zip(counts.shape, scales, ("nm", "nm", unit, unit), strict=True)
        )
    ]
    return {"data": counts, "axes": axes, "metadata": {}, "original_metadata": original}


@pytest.fixture
def read_signal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    def read(content: dict[str, Any], suffix: str = ".hspy", **given: Any) -> Scan:
        class Plugin:
            @staticmethod
            def file_reader(*_: Any, **__: Any) -> list[dict[str, Any]]:
                return [content]

        monkeypatch.setattr(rosetta.importlib, "import_module", lambda _: Plugin)  # type: ignore[attr-defined]
        (tmp_path / f"scan{suffix}").write_bytes(b"x")
        return read_scan(tmp_path / f"scan{suffix}", **given)

    return read


@pytest.mark.parametrize(
    ("unit", "scale"),
    [
        ("mrad", None),
        ("mrads", None),
        ("rad", 1e-3),
        ("2th_rad", 1e-3),
        ("2th_deg", np.rad2deg(1e-3)),
        ("deg", np.rad2deg(1e-3)),
        ("A^-1", 1.0),
        ("Å^-1", 1.0),
        ("$A^{-1}$", 1.0),
        (r"$\\AA^{-1}$", 1.0),
        ("1/Å", 1.0),
        ("1 / nm", 10.0),
        ("nm-1", 10.0),
        ("nm^-1", 10.0),
        ("n_m^-1", 10.0),
        ("[n_m_^-1]", 10.0),
        ("k_A^-1", 1.0),
        ("k_nm^-1", 10.0),
        ("q_A^-1", 2 * np.pi),
        ("q_nm^-1", 20 * np.pi),
        ("1/pm", 0.01),
        ("1/m", 1e10),
    ],
)
def test_units_of_a_detector_pixel(
    counts: NDArray[np.uint16], read_signal: Any, unit: str, scale: float | None
) -> None:
    angular = scale is None or "rad" in unit or "deg" in unit
    sizes = tuple(p * (scale or 1.0) for p in PIXEL) if angular else frequency(scale or 1.0)
    scan = read_signal(signal(counts, sizes, unit), energy=ENERGY)
    right(scan, counts, "step", "detector_pixel")
    assert not scan.notes


@pytest.mark.parametrize(("unit", "known"), [("furlong^-1", "not known"), ("cm", "camera length")])
def test_an_unknown_unit_is_named(
    counts: NDArray[np.uint16], read_signal: Any, unit: str, known: str
) -> None:
    scan = read_signal(signal(counts, (1.0, 1.0), unit), energy=ENERGY)
    assert "detector_pixel" not in scan.known
    assert known in scan.notes[0]
    assert "note: the unit of the file's detector pixel" in scan.inventory()


def test_a_pixel_of_an_image_is_no_angle_whatever_the_camera_length(
    counts: NDArray[np.uint16], read_signal: Any
) -> None:
    content = signal(counts, (1.0, 1.0), "µm")
    content["metadata"] = {"Acquisition_instrument": {"TEM": {"camera_length": 200.0}}}
    assert "detector_pixel" not in read_signal(content, energy=ENERGY).known


def test_a_camera_length_turns_centimetres_into_an_angle(
    counts: NDArray[np.uint16], read_signal: Any
) -> None:
    """20 cm, in the tenths of a millimetre of a .blo."""
    header = {"Camera_length": 2000, "SDP": 1.0}
    sizes = [p * 1e-3 * 20 for p in PIXEL]
    content = signal(counts, sizes, "cm", blockfile_header=header)
    right(read_signal(content, ".blo"), counts, "step", "detector_pixel")
    for missing in ({"Camera_length": 0, "SDP": 1.0}, {"Camera_length": 2000, "SDP": 0.0}):
        content = signal(counts, sizes, "cm", blockfile_header=missing)
        assert "detector_pixel" not in read_signal(content, ".blo").known


@pytest.mark.parametrize(
    "volts", ["300000", 300000.0, {"#text": "300000"}, {"value": 300, "units": "kV"}]
)
def test_topspin_states_angles_in_radians_and_the_voltage(
    counts: NDArray[np.uint16], read_signal: Any, volts: Any
) -> None:
    content = signal(
        counts, [p * 1e-3 for p in PIXEL], "Angle", Microscope={"GunHighVoltage": volts}
    )
    right(read_signal(content, ".app5"), counts)


def write_nexus(
    path: Path,
    counts: NDArray[np.uint16],
    value: float = 300.0,
    unit: str = "keV",
    place: str = "axes of the group",
) -> None:
    names, units = ["y", "x", "ky", "kx"], ("Å", "Å", "mrad", "mrad")
    with h5py.File(path, "w") as file:
        energy = file.create_dataset("entry/instrument/beam/incident_energy", data=value)
        energy.attrs["units"] = unit
        data = file.create_dataset("entry/data/data", data=counts)
        if place == "axes of the group":
            file["entry/data"].attrs["axes"] = names
        else:
            data.attrs["axes"] = ":".join(names)
        sizes = (*STEP, *PIXEL)
        for name, n, size, axis_unit in zip(names, counts.shape, sizes, units, strict=True):
            axis = file["entry/data"].create_dataset(name, data=np.arange(n) * size)
            axis.attrs["units"] = axis_unit


@pytest.mark.parametrize(
    ("value", "unit"), [(300.0, "keV"), (3e5, "eV"), (300.0, ""), (0.3, "MeV")]
)
@pytest.mark.parametrize("place", ["axes of the group", "axes of the data"])
def test_nexus_in_hdf5(
    tmp_path: Path, counts: NDArray[np.uint16], value: float, unit: str, place: str
) -> None:
    write_nexus(tmp_path / "scan.h5", counts, value, unit, place)
    right(read_scan(tmp_path / "scan.h5"), counts)


def test_dims_of_emd_in_hdf5(tmp_path: Path, counts: NDArray[np.uint16]) -> None:
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        group = file.create_group("data/scan")
        group.attrs["emd_group_type"] = 1
        group["data"] = counts
        for number, (n, size, unit) in enumerate(
            zip(counts.shape, (*STEP, *PIXEL), ("[Å]", "[Å]", "[mrad]", "[mrad]"), strict=True), 1
        ):
            group.create_dataset(f"dim{number}", data=5 + np.arange(n) * size).attrs["units"] = unit
    right(read_scan(tmp_path / "scan.h5"), counts, "step", "detector_pixel")


def write_emdfile(path: Path, counts: NDArray[np.uint16]) -> None:
    import emdfile

    array = emdfile.Array(
        counts,
        name="scan",
        dims=[[0, s] for s in (*STEP, *frequency())],
        dim_names=["Rx", "Ry", "Qx", "Qy"],
        dim_units=["A", "A", "A^-1", "A^-1"],
    )
    emdfile.save(str(path), array)


def test_an_array_of_emdfile(tmp_path: Path, counts: NDArray[np.uint16]) -> None:
    write_emdfile(tmp_path / "scan.h5", counts)
    right(read_scan(tmp_path / "scan.h5", energy=ENERGY), counts, "step", "detector_pixel")


def write_ncempy(path: Path, counts: NDArray[np.uint16]) -> None:
    from ncempy.io import emd

    sizes = (STEP[0] / 10, STEP[1] / 10, *frequency(10.0))
    units = ("[n_m]", "[n_m]", "[n_m^-1]", "[n_m^-1]")
    dims = tuple(
        (np.arange(n) * s, name, unit)
        for n, s, name, unit in zip(counts.shape, sizes, ("y", "x", "ky", "kx"), units, strict=True)
    )
    file = emd.fileEMD(str(path), readonly=False)
    file.put_emdgroup("scan", counts, dims)
    del file


@pytest.mark.parametrize("suffix", [".emd", ".h5"])
def test_emd_of_ncempy(tmp_path: Path, counts: NDArray[np.uint16], suffix: str) -> None:
    write_ncempy(tmp_path / f"scan{suffix}", counts)
    scan = read_scan(tmp_path / f"scan{suffix}", energy=ENERGY)
    right(scan, counts, "step", "detector_pixel")


def write_quantem(path: Path, counts: NDArray[np.uint16]) -> None:
    """As quantem 0.1.10 lays out a Dataset4dstem: arrays, and a list as numbered attributes."""
    group = zarr.group(store=LocalStore(path), overwrite=True)
    group.attrs["_autoserialize"] = {"version": 1, "class_name": "Dataset4dstem"}
    group.create_array("_array", data=counts, chunks=(2, 2, 8, 9))
    group.create_array("_sampling", data=np.array([*STEP, *frequency()]))
    group.create_array("_origin", data=np.zeros(4))
    units = group.create_group("_units")
    units.attrs.update(
        {"_container_type": "list", **dict(zip("0123", ("A", "A", "A^-1", "A^-1"), strict=True))}
    )


def zipped(folder: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(folder).as_posix())
    return path


@pytest.mark.parametrize("archive", [False, True])
def test_a_data_set_of_quantem(tmp_path: Path, counts: NDArray[np.uint16], archive: bool) -> None:
    path = tmp_path / "scan"
    write_quantem(path, counts)
    if archive:
        path = zipped(path, tmp_path / "scan.zip")
    right(read_scan(path, energy=ENERGY), counts, "step", "detector_pixel")


def test_an_archive_of_zarr_without_chunks_or_arrays_is_refused(
    tmp_path: Path, counts: NDArray[np.uint16]
) -> None:
    zarr.create_array(tmp_path / "bare", shape=counts.shape, chunks=counts.shape, dtype="u2")
    with pytest.raises(ValueError, match="no chunk of its array"):
        read_scan(zipped(tmp_path / "bare", tmp_path / "bare.zip"))
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("readme.txt", "no scan")
    with pytest.raises(ValueError, match="which no reader takes"):
        read_scan(tmp_path / "other.zip")


def write_ndata(path: Path, counts: NDArray[np.uint16], packed: bool = False) -> None:
    """As Nion Swift lays out its archives."""
    sizes = (STEP[0] / 10, STEP[1] / 10, *(p * 1e-3 for p in PIXEL))
    units = ("nm", "nm", "rad", "rad")
    said = {
        "spatial_calibrations": [
            {"offset": 0.0, "scale": s, "units": u} for s, u in zip(sizes, units, strict=True)
        ],
        "metadata": {"instrument": {"high_tension": ENERGY}},
    }
    content = io.BytesIO()
    np.save(content, counts)
    method = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("data.npy", content.getvalue())
        archive.writestr("metadata.json", json.dumps(said))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("suffix", [".ndata1", ".ndata"])
def test_an_archive_of_nion_swift(
    tmp_path: Path, counts: NDArray[np.uint16], suffix: str, packed: bool
) -> None:
    write_ndata(tmp_path / f"scan{suffix}", counts, packed)
    scan = read_scan(tmp_path / f"scan{suffix}")
    right(scan, counts)
    assert packed or type(scan.patterns) is not np.ndarray  # it stays on disk


def test_an_array_that_nion_swift_exported(tmp_path: Path, counts: NDArray[np.uint16]) -> None:
    write_ndata(tmp_path / "archive.ndata1", counts)
    with zipfile.ZipFile(tmp_path / "archive.ndata1") as archive:
        (tmp_path / "scan.npy").write_bytes(archive.read("data.npy"))
        (tmp_path / "scan.json").write_bytes(archive.read("metadata.json"))
    right(read_scan(tmp_path / "scan.npy"), counts)
    for other in ("[1]", "{", '{"step": 3}'):  # of another program
        (tmp_path / "scan.json").write_text(other, encoding="utf-8")
        assert read_scan(tmp_path / "scan.npy").known == {}


def lists(counts: NDArray[np.uint16]) -> list[NDArray[np.uint32]]:
    rng = np.random.default_rng(0)
    numbers = np.arange(counts.shape[2] * counts.shape[3], dtype=np.uint32)
    return [
        rng.permutation(np.repeat(numbers, frame.ravel())) for frame in counts.reshape(30, 8, 9)
    ]


def write_events(path: Path, events: list[Any], places: NDArray[Any]) -> None:
    """As stempy 3.6 lays out the electrons of a scan of 6 × 5 positions, 8 × 9 pixels."""
    kind = h5py.special_dtype(vlen=np.uint32)
    with h5py.File(path, "w") as file:
        frames = file.create_dataset("electron_events/frames", (len(events),), kind)
        for number, event in enumerate(events):
            frames[number] = event
        frames.attrs["Nx"], frames.attrs["Ny"] = 8, 9
        positions = file.create_dataset("electron_events/scan_positions", data=places.astype("i4"))
        positions.attrs["Nx"], positions.attrs["Ny"] = 5, 6


@pytest.mark.parametrize("order", ["in order", "shuffled", "two frames each", "frames missing"])
def test_electrons_of_stempy(tmp_path: Path, counts: NDArray[np.uint16], order: str) -> None:
    events, places = lists(counts), np.arange(30)
    if order == "shuffled":
        places = np.random.default_rng(1).permutation(30)
        events = [events[n] for n in places]
    elif order == "two frames each":
        events = [half for e in events for half in (e[: len(e) // 3], e[len(e) // 3 :])]
        places = np.repeat(places, 2)
    elif order == "frames missing":
        events, places = events[2:], places[2:]
    write_events(tmp_path / "scan.h5", events, places)
    scan = read_scan(tmp_path / "scan.h5")
    if order == "frames missing":
        assert scan.notes == ("2 positions have no frame and are blank",)
        counts[0, :2] = 0
    np.testing.assert_array_equal(np.asarray(scan.patterns[:, :]), counts)
    np.testing.assert_array_equal(scan.patterns[2:4, 1:, 3:5, 2:], counts[2:4, 1:, 3:5, 2:])
    crop = read_scan(tmp_path / "scan.h5", scan_crop=(1, 4, 0, 5)).patterns
    np.testing.assert_array_equal(np.asarray(crop[:, :]), counts[1:4])


def write_csr(folder: Path, counts: NDArray[np.uint16]) -> Path:
    flat = counts.reshape(30, -1)
    hit = [np.flatnonzero(frame) for frame in flat]
    np.cumsum([0, *map(len, hit)]).astype("<i4").tofile(folder / "rows.dat")
    np.concatenate(hit).astype("<i4").tofile(folder / "columns.dat")
    np.concatenate([f[h] for f, h in zip(flat, hit, strict=True)]).astype("<u2").tofile(
        folder / "values.dat"
    )
    text = (
        '[params]\nfiletype = "raw_csr"\nnav_shape = [6, 5]\nsig_shape = [8, 9]\n[raw_csr]\n'
        'indptr_file = "rows.dat"\nindptr_dtype = "<i4"\nindices_file = "columns.dat"\n'
        'indices_dtype = "<i4"\ndata_file = "values.dat"\ndata_dtype = "<u2"\n'
    )
    (folder / "scan.toml").write_text(text, encoding="utf-8")
    return folder / "scan.toml"


def test_electrons_of_libertem(tmp_path: Path, counts: NDArray[np.uint16]) -> None:
    path = write_csr(tmp_path, counts)
    scan = read_scan(path)
    np.testing.assert_array_equal(np.asarray(scan.patterns[:, :]), counts)
    np.testing.assert_array_equal(scan.patterns[2:4, 1:, 3:5, 2:], counts[2:4, 1:, 3:5, 2:])
    text = path.read_text()
    path.write_text(text.replace("[6, 5]", "[7, 5]"))
    with pytest.raises(ValueError, match=r"do not fit 7 × 5 positions; is it complete"):
        read_scan(path)
    path.write_text(text.replace("[6, 5]", "[5, 5]"))
    assert "5 frames after the last position" in read_scan(path).notes[0]
    path.write_text('[tool]\nname = "x"\n')
    with pytest.raises(ValueError, match="no description of a RAW_CSR scan"):
        read_scan(path)
    path.write_text(text)
    (tmp_path / "values.dat").unlink()
    with pytest.raises(ValueError, match=r"values\.dat, which is not beside it"):
        read_scan(path)


def test_an_archive_of_panta_rhei(tmp_path: Path, counts: NDArray[np.uint16]) -> None:
    np.savez(tmp_path / "scan.npz", data=counts, meta_data_json=json.dumps([{}]))
    (tmp_path / "scan.npz").rename(tmp_path / "scan.prz")
    scan = read_scan(tmp_path / "scan.prz")
    np.testing.assert_array_equal(np.asarray(scan.patterns[:, :]), counts)
