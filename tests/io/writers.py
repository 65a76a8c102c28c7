"""Scans as real writers write them: one function a format, by its own library if it has one."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import rsciio.blockfile
import rsciio.emd
import rsciio.hspy
import zarr
from numpy.typing import NDArray

from misr4d.core import optics

STEP, PIXEL, ENERGY = 1.5, 0.8, 200e3
SHAPE = (5, 6, 9, 9)


def scan_axes(shape: tuple[int, ...] = SHAPE) -> list[dict[str, Any]]:
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
            zip("yxnm", scales, shape, units, strict=True)
        )
    ]


MICROSCOPE = {"TEM": {"beam_energy": 200.0, "convergence_angle": 12.0}}


def write_hspy(
    path: Path, patterns: NDArray[Any], axes: list[dict[str, Any]] | None = None
) -> None:
    metadata = {
        "General": {"title": "scan"},
        "Signal": {"signal_type": ""},
        "Acquisition_instrument": MICROSCOPE,
    }
    rsciio.hspy.file_writer(
        str(path),
        {
            "data": patterns,
            "axes": axes or scan_axes(patterns.shape),
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
    group.create_array("data", data=patterns, chunks=(2, 3, *patterns.shape[2:]))
    for index, axis in enumerate(scan_axes(patterns.shape)):
        group.create_group(f"axis-{index}").attrs.update({"_type": "UniformDataAxis", **axis})
    metadata = group.create_group("metadata")
    metadata.create_group("General").attrs["title"] = "scan"
    for name, values in MICROSCOPE.items():
        metadata.create_group("Acquisition_instrument").create_group(name).attrs.update(values)
    group.create_group("original_metadata")


def write_blo(path: Path, patterns: NDArray[Any]) -> None:
    listed = scan_axes(patterns.shape)
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
    import py4DSTEM

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


def write_abtem_11(path: Path, patterns: NDArray[Any]) -> None:
    """Zarr as abTEM 1.0.11 writes it, whose attributes are not those of 1.0.9."""
    pixel = PIXEL * 1e-3 / optics.wavelength(ENERGY)
    said = {"energy": ENERGY, "semiangle_cutoff": 12.0}
    axis = {"sampling": STEP, "units": "Å", "type": "ScanAxis"}
    kwargs = {
        "sampling": {"_type": "tuple", "_value": [pixel, pixel]},
        "ensemble_axes_metadata": [axis, axis],
        "metadata": said,
    }
    group = zarr.open_group(str(path), mode="w")
    group.create_array("array0", data=patterns.astype(np.float32))
    group.attrs["metadata0"] = {**said, "type": "DiffractionPatterns", "kwargs": kwargs}


def write_hdf5(path: Path, patterns: NDArray[Any]) -> None:
    with h5py.File(path, "w") as file:
        file["entry/mask"] = np.ones((3, 3))
        file["entry/data"] = patterns


def write_nion(path: Path, patterns: NDArray[Any]) -> None:
    """Lay out what Nion Swift does: an array, and a JSON text of its properties."""
    pixel = PIXEL * 1e-3
    scales, units = (STEP / 10, STEP / 10, pixel, pixel), ("nm", "nm", "rad", "rad")
    properties = {
        "dimensional_calibrations": [
            {"offset": 0.0, "scale": s, "units": u} for s, u in zip(scales, units, strict=True)
        ],
        "metadata": {"instrument": {"high_tension": ENERGY}},
    }
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=patterns).attrs["properties"] = json.dumps(properties)


def write_ncem(path: Path, patterns: NDArray[Any]) -> None:
    """EMD of the Berkeley Lab, by RosettaSciIO's writer."""
    rsciio.emd.file_writer(
        str(path),
        {
            "data": patterns,
            "axes": scan_axes(patterns.shape),
            "metadata": {"General": {"title": "scan"}, "Signal": {"signal_type": ""}},
            "original_metadata": {},
            "attributes": {"_lazy": False},
        },
    )


def write_mib(path: Path, patterns: NDArray[Any], hdr: bool = True) -> None:
    """Frames of Quantum Detectors, each behind its header of 384 bytes, and the .hdr beside.

    By the manual of Merlin and RosettaSciIO's reader; nobody has a writer. Lines run upwards.
    """
    frames = patterns.reshape(-1, *patterns.shape[2:])[:, ::-1].astype(">u2")
    nx, ny = frames.shape[1:]
    with path.open("wb") as file:
        for number, frame in enumerate(frames, 1):
            head = f"MQ1,{number:06},00384,01,{ny:04},{nx:04},U16,   1x1,01,2026-01-01 12:00:00,"
            head += "0.001,0,0,0,0,MQ1A,2026-01-01T12:00:00.000000000Z,1000000ns,12,"
            file.write(head.encode().ljust(384, b"\0") + frame.tobytes())
    if hdr:
        path.with_suffix(".hdr").write_text(
            f"HDR,\nFrames in Acquisition (Number):\t{len(frames)}\n"
            f"Frames per Trigger (Number):\t{patterns.shape[1]}\nEnd\t\n",
            encoding="utf-8",
        )


def write_dm4(path: Path, patterns: NDArray[Any], detector_first: bool = False) -> None:
    """Tags of Gatan's DM4, big-endian about little-endian values, fastest axis first.

    By the description of the format at https://er-c.org/cbb/info/dmformat and RosettaSciIO's
    reader; nobody has a writer.
    """

    def tag(name: str, kind: int, content: bytes) -> bytes:
        head = struct.pack(">BH", kind, len(name)) + name.encode()
        return head + struct.pack(">Q", len(content)) + content

    def group(name: str, *tags: bytes) -> bytes:
        return tag(name, 20, struct.pack(">BBQ", 1, 0, len(tags)) + b"".join(tags))

    def number(name: str, code: int, form: str, value: float) -> bytes:
        info = struct.pack(">QQ", 1, code)
        return tag(name, 21, b"%%%%" + info + struct.pack("<" + form, value))

    def text(name: str, value: str) -> bytes:
        info = struct.pack(">QQQQ", 3, 20, 4, len(value))
        return tag(name, 21, b"%%%%" + info + value.encode("utf-16-le"))

    listed = scan_axes(patterns.shape)
    stored = patterns.transpose(2, 3, 0, 1) if detector_first else patterns
    listed = listed[2:] + listed[:2] if detector_first else listed
    calibrations = group(
        "Dimension",
        *(
            group(
                "",
                number("Origin", 6, "f", 0.0),
                number("Scale", 6, "f", axis["scale"]),
                text("Units", axis["units"]),
            )
            for axis in listed[::-1]
        ),
    )
    data = np.ascontiguousarray(stored, "<u2").tobytes()
    info = struct.pack(">QQQQ", 3, 20, 4, stored.size)
    image = group(
        "ImageData",
        group("Calibrations", calibrations),
        tag("Data", 21, b"%%%%" + info + data),
        number("DataType", 5, "I", 10),
        group("Dimensions", *(number("", 5, "I", n) for n in stored.shape[::-1])),
        number("PixelDepth", 5, "I", 2),
    )
    tags = group("ImageTags", group("Microscope Info", number("Voltage", 6, "f", ENERGY)))
    root = group("ImageList", group("", image, tags, text("Name", "scan")))
    body = struct.pack(">BBQ", 1, 0, 1) + root
    path.write_bytes(struct.pack(">IQI", 4, len(body), 1) + body + bytes(8))


def write_empad(path: Path, patterns: NDArray[Any]) -> None:
    """EMPAD: 128 × 128 floats and two more rows a position, and what scanned them, as XML."""
    nx, ny = patterns.shape[:2]
    frames = np.zeros((nx, ny, 130, 128), "<f4")
    frames[:, :, :128] = patterns
    frames.tofile(path.with_name(f"scan_x{ny}_y{nx}.raw"))
    field = [STEP * 1e-10 * n for n in (nx, ny)]
    pixel = PIXEL * 1e-3 / optics.wavelength(ENERGY) * 10 * 1e-9  # 1/m, as the reader takes it
    path.write_text(  # in one line: RosettaSciIO takes a line's end for what the parent says
        f'<root><raw_file filename="scan_x{ny}_y{nx}.raw"/><pix_x>{ny}</pix_x><pix_y>{nx}</pix_y>'
        f"<iom_measurements><optics.get_full_scan_field_of_view>{field}"
        f"</optics.get_full_scan_field_of_view><calibrated_pixelsize>{pixel}"
        "</calibrated_pixelsize></iom_measurements></root>",
        encoding="utf-8",
    )


def write_velox(path: Path, patterns: NDArray[Any]) -> None:
    """EMD of Velox: frames along the last axis, and JSON for each; by RosettaSciIO's reader."""
    frames = patterns.reshape(-1, *patterns.shape[2:]).transpose(1, 2, 0)
    metadata = {
        "BinaryResult": {"DetectorIndex": "0", "PixelSize": {"height": "1", "width": "1"}},
        "Detectors": {"Detector-0": {"DetectorName": "Ceta", "ExposureTime": "0.001"}},
        "Scan": {},
        "Acquisition": {"AcquisitionStartDatetime": {"DateTime": "1500000000"}},
        "CustomProperties": {},
        "Optics": {"AccelerationVoltage": str(ENERGY)},
        "General": {"title": "scan"},
    }
    text = np.frombuffer(json.dumps(metadata).encode(), np.uint8)
    with h5py.File(path, "w") as file:
        file["Version"] = [b'{"format": "Velox", "version": "1.11"}']
        group = file.create_group("Data/Image/" + "0" * 32)
        group.create_dataset("Data", data=frames, chunks=(*frames.shape[:2], 1))
        group["Metadata"] = np.repeat(text[:, None], frames.shape[2], 1)


WRITERS: dict[str, tuple[str, str, Callable[[Path, NDArray[Any]], object]]] = {
    "npy": ("scan.npy", "NumPy", np.save),
    "npz": ("scan.npz", "NumPy", lambda p, a: np.savez(p, a, step=STEP, energy=ENERGY)),
    "big-endian": ("scan.npy", "NumPy", lambda p, a: np.save(p, a.astype(">u2"))),
    "py4DSTEM": ("scan.h5", "h5py, as EMD 1.0", write_py4dstem),
    "hdf5": ("scan.hdf5", "h5py", write_hdf5),
    "zarr": ("scan.zarr", "zarr", lambda p, a: zarr.save_array(str(p), a)),
    "abTEM": ("scan.zarr", "zarr", write_abtem),
    "abTEM 1.0.11": ("scan.zarr", "zarr", write_abtem_11),
    "hspy": ("scan.hspy", "RosettaSciIO", write_hspy),
    "zspy": ("scan.zspy", "RosettaSciIO", write_zspy),
    "blo": ("scan.blo", "RosettaSciIO", write_blo),
    "Nion": ("scan.h5", "h5py", write_nion),
    "Nion export": ("scan.nhdf", "h5py", write_nion),
    "NCEM": ("scan.emd", "RosettaSciIO", write_ncem),
    "mib": ("scan.mib", "RosettaSciIO", write_mib),
    "dm4": ("scan.dm4", "RosettaSciIO", write_dm4),
    "dm4, detector first": (
        "scan.dm4",
        "RosettaSciIO",
        lambda p, a: write_dm4(p, a, detector_first=True),
    ),
}

SAID: dict[str, dict[str, Any]] = {
    "npz": {"step": (STEP, STEP), "energy": ENERGY},
    "py4DSTEM": {"step": (STEP, STEP), "rotation": -12.0, "transposed": True},
    "abTEM": {"step": (STEP, STEP), "detector_pixel": (PIXEL, PIXEL), "semiangle": 12.0},
    "abTEM 1.0.11": {"step": (STEP, STEP), "energy": ENERGY, "semiangle": 12.0},
    "hspy": {"step": (STEP, STEP), "detector_pixel": (PIXEL, PIXEL), "energy": ENERGY},
    "zspy": {"step": (STEP, STEP), "detector_pixel": (PIXEL, PIXEL), "semiangle": 12.0},
    "blo": {"step": (STEP, STEP)},
    "Nion": {"step": (STEP, STEP), "detector_pixel": (PIXEL, PIXEL), "energy": ENERGY},
    "NCEM": {"step": (STEP, STEP)},
    "dm4": {"step": (STEP, STEP), "detector_pixel": (PIXEL, PIXEL), "energy": ENERGY},
    "dm4, detector first": {"step": (STEP, STEP), "detector_pixel": (PIXEL, PIXEL)},
}


def kinds(names: Iterable[str]) -> list[Any]:
    """Writers as parameters; that of py4DSTEM needs it."""
    marks = {"py4DSTEM": [pytest.mark.classical]}
    return [pytest.param(name, marks=marks.get(name, [])) for name in names]
