"""Files that rosettasciio reads, and what its readers leave out or set wrong."""

from __future__ import annotations

import importlib
import math
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from misr4d.io.scan import UnfitError, on_disk
from misr4d.io.units import (
    ANGLES,
    ENERGIES,
    FREQUENCIES,
    LENGTHS,
    Calibration,
    Reading,
    choose_array,
    energy_of,
    spelling,
)

__all__ = ["ROSETTA", "read_rosetta"]


# By name, because some of its other readers evaluate or unpickle the content of a file.
ROSETTA: Mapping[str, str] = {
    ".mib": "quantumdetector",
    ".dm3": "digitalmicrograph",
    ".dm4": "digitalmicrograph",
    ".blo": "blockfile",
    ".hspy": "hspy",
    ".zspy": "zspy",
    ".emd": "emd",
    ".de5": "emd",
    ".xml": "empad",
    ".tvips": "tvips",
    ".nxs": "nexus",
    ".ser": "tia",
    ".emi": "tia",
    ".app5": "topspin",
    ".mrc": "mrc",
    ".prz": "pantarhei",
    ".tif": "tiff",
    ".tiff": "tiff",
}
"""Plugin of RosettaSciIO that reads a file, by its extension."""


def read_rosetta(path: Path, dataset: str | None) -> Reading:
    """Read a file of a format of :data:`ROSETTA`."""
    name = ROSETTA[path.suffix.lower()]
    if name == "quantumdetector":
        _refuse_raw_mode(path)
    # Only this reader would open the file for writing.
    options = {"mode": "r"} if name == "zspy" else {}
    if name == "empad":
        empad_map = _read_empad(path)
        if empad_map is not None:
            return empad_map
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # some readers leave the file open
        read_file = importlib.import_module(f"rsciio.{name}").file_reader
        signals = read_file(str(path), lazy=True, **options)
    arrays: dict[str, Any] = {}
    for index, signal in enumerate(signals):
        title = signal.get("metadata", {}).get("General", {}).get("title") or f"signal {index}"
        if signal["data"].ndim in (3, 4):
            arrays[title if title not in arrays else f"{title} {index}"] = signal["data"]
    patterns = choose_array(arrays, dataset)
    signal = next(s for s in signals if s["data"] is patterns)
    _refuse_spectra(signal)
    calibration = Calibration()
    with calibration.noting():
        # Its reader of EMD 0.2 reverses the axes, which ncempy writes in C order.
        patterns = _read_signal(signal, calibration, reverses=name == "emd")
    return Reading(patterns, calibration.values, calibration.pixel, tuple(calibration.notes))


def _read_signal(signal: Mapping[str, Any], calibration: Calibration, *, reverses: bool) -> Any:
    """Read axes and microscope of a signal; return its patterns, with the scan's axes first."""
    for name, key, scale in (
        ("energy", "beam_energy", 1e3),
        ("semiangle", "convergence_angle", 1.0),
    ):
        value = _of_microscope(signal, key)
        if isinstance(value, int | float | np.number) and value > 0:  # 0 means not set
            calibration.values[name] = float(value) * scale
    patterns, axes = signal["data"], signal["axes"]
    camera_info = signal.get("original_metadata", {}).get("de_metadata")
    if camera_info is not None:
        _read_direct_electron(camera_info, patterns.ndim == 4, calibration)
        return patterns
    if len(axes) != patterns.ndim or not all("scale" in a for a in axes):
        return patterns
    axes = sorted(axes, key=lambda a: a.get("index_in_array", axes.index(a)))
    sizes, units = [a["scale"] for a in axes], [a.get("units") or "" for a in axes]
    length = _camera_length(signal)
    _read_original(signal.get("original_metadata", {}), calibration)
    units = [_angle_of_topspin(size, unit) for size, unit in zip(sizes, units, strict=True)]
    if patterns.ndim == 3:  # a list has a detector, and a scan that only the user knows
        calibration.detector((sizes[1], sizes[2]), (units[1], units[2]), length)
        return patterns
    angular = [spelling(u) in ANGLES or spelling(u) in FREQUENCIES for u in units]
    if angular == [True, True, False, False]:  # some microscopes store the detector's axes first
        order = (2, 3, 0, 1) if not reverses else (3, 2, 1, 0)
        patterns = patterns.transpose(order)
        sizes, units = [sizes[i] for i in order], [units[i] for i in order]
    calibration.scan((sizes[0], sizes[1]), (units[0], units[1]))
    calibration.detector((sizes[2], sizes[3]), (units[2], units[3]), length)
    return patterns


def _camera_length(signal: Mapping[str, Any]) -> float | None:
    """Camera length [Å] of a .blo, whose pixel is one of the screen.

    In all other files a pixel that is a length is one of an image of the specimen.
    """
    header = signal.get("original_metadata", {}).get("blockfile_header")
    if header is None or not header["SDP"]:  # without it the reader takes 1 cm for the pixel
        return None
    return float(header["Camera_length"]) * LENGTHS["mm"] / 10


def _angle_of_topspin(size: Any, unit: Any) -> Any:
    """Say what "Angle" of TopSpin means: radians, as no pixel is as wide as 10 mrad."""
    return "rad" if spelling(unit) == "angle" and 0 < float(size) < 0.01 else unit


def _read_original(said: Any, calibration: Calibration) -> None:
    """Take an energy that RosettaSciIO does not: of TopSpin, and of NeXus."""
    if "energy" in calibration.values or not isinstance(said, Mapping):
        return
    for key, value in said.items():
        if key in ("GunHighVoltage", "incident_energy", "incident_beam_energy"):
            content = value if isinstance(value, Mapping) else {"value": value}
            number = next(
                (content[k] for k in ("value", "Value", "data", "#text") if k in content), None
            )
            attributes = content.get("attrs", content)
            energy = energy_of(number, attributes.get("units", attributes.get("Unit", "")))
            if energy is not None:
                calibration.values["energy"] = energy
        else:
            _read_original(value, calibration)


def _refuse_raw_mode(path: Path) -> None:
    """Raise if a Merlin camera wrote its counters as they are, which RosettaSciIO does not read."""
    with path.open("rb") as file:
        header = file.read(384).split(b",")
    if header[0] == b"MQ1" and header[6:7] == [b"R64"]:
        raise UnfitError(
            "was recorded in Merlin's raw mode (R64), whose bits are not in the order of pixels: "
            "convert it, as LiberTEM's reader of .mib can, and give the array as .npy, or record "
            "12-bit counts with raw mode off, which makes U16"
        )


def _refuse_spectra(signal: Mapping[str, Any]) -> None:
    """Raise if a signal has a spectrum at each position and not a pattern."""
    axes = signal.get("axes", [])
    units = {spelling(a.get("units") or "") for a in axes}
    kind = str(signal.get("metadata", {}).get("Signal", {}).get("signal_type") or "")
    flags = [a["navigate"] for a in axes if "navigate" in a]
    one_axis = len(flags) == len(axes) > 0 and flags.count(False) == 1
    if one_axis or units & ENERGIES or kind.startswith(("EELS", "EDS", "Luminescence")):
        raise UnfitError(
            f"holds spectra{f' ({kind})' if kind else ''} of shape {tuple(signal['data'].shape)} "
            "and not diffraction patterns"
        )


def _read_direct_electron(said: Mapping[str, Any], mapped: bool, calibration: Calibration) -> None:
    """Read the sidecar of a Direct Electron camera, since RosettaSciIO replaces each scale.

    Numbers that the camera software does not know are −1 in it.
    """

    def number(key: str) -> float | None:
        try:
            value = float(said.get(key, -1))
        except (TypeError, ValueError):
            return None
        return value if math.isfinite(value) and value > 0 else None

    energy = number("Instrument Accelerating Voltage (V)")
    if energy is not None:
        calibration.values["energy"] = energy
    for quantity, unit, key in (
        ("scan step", "nm", "Specimen Pixel Size {} (nanometers)"),
        ("detector pixel", "1/nm", "Diffraction Pixel Size {}"),
    ):
        size_x, size_y = (number(key.format(axis)) for axis in "YX")
        if size_x is None or size_y is None:
            calibration.notes.append(f"the camera's info file does not know the {quantity}")
        elif quantity == "detector pixel":
            calibration.detector((size_x, size_y), (unit, unit))
        elif mapped:
            calibration.scan((size_x, size_y), (unit, unit))


_EMPAD = np.dtype([("data", "<f4", (128, 128)), ("footer", "<f4", (2, 128))])


def _read_empad(path: Path) -> Reading | None:
    """Read a map of EMPAD's software from version 1.2 on; return None for an older XML.

    Its sidecar lists the settings of several kinds of scan under the same keys. The size of the raw
    file shows which was recorded. Only a fraction ``scan_size`` of the field was scanned.
    """
    root = ET.parse(path).getroot()
    scans = [s for s in root.findall("scan_parameters") if s.find("scan_resolution_x") is not None]
    raw = root.find("raw_file")
    if raw is None or not scans:
        return None
    name = raw.get("filename") or (raw.text or "").strip()
    file = path.parent / Path(name.replace("\\", "/")).name
    if not file.is_file():
        raise UnfitError(f"its patterns are in {file.name}, which is not beside it; copy it there")
    frames, remainder = divmod(file.stat().st_size, _EMPAD.itemsize)
    if remainder or not frames:
        raise UnfitError(f"{file.name} is not whole frames of 130 × 128 values; is it complete?")

    def number(element: ET.Element, key: str) -> float:
        return float(element.findtext(key, "nan"))

    fitting = {}
    for scan in scans:
        nx, ny = (int(number(scan, f"scan_resolution_{axis}")) for axis in "yx")
        if nx * ny == frames:
            fitting[nx, ny, number(scan, "scan_size")] = scan.get("mode")
    if not fitting:
        listed = ", ".join(
            f"{number(s, 'scan_resolution_y'):g} × {number(s, 'scan_resolution_x'):g}"
            for s in scans
        )
        raise UnfitError(
            f"{file.name} holds {frames} frames, and the scans that the XML lists have {listed} "
            "positions; is it complete?"
        )
    shapes = {key[:2] for key in fitting}
    if len(shapes) > 1:
        raise UnfitError(
            f"its {frames} frames fit several of the scans that it lists ({sorted(shapes)}); keep "
            "the one that was recorded in the XML"
        )
    nx, ny = shapes.pop()
    calibration = Calibration()
    with calibration.noting():
        field = root.find("iom_measurements/full_scan_field_of_view")
        sizes = {key[2] for key in fitting}
        if field is not None and len(sizes) == 1:
            # The field is that of the longer side. It is stored multiplied by the scale factor.
            width = number(field, "x") / float(field.findtext("scale_factor", "1"))
            step = width * sizes.pop() / max(nx, ny)
            if math.isfinite(step):
                calibration.scan((step, step), ("m", "m"))
        if "step" not in calibration.values:
            calibration.notes.append(
                "the XML does not say which part of the field was scanned: no step"
            )
        pixel = root.findtext("iom_measurements/calibrated_pixelsize")
        if pixel is not None:
            calibration.detector((float(pixel) * 1e9,) * 2, ("1/nm", "1/nm"))
        volts = float(root.findtext("iom_measurements/high_voltage", "nan"))
        if math.isfinite(volts) and volts > 0:  # 0 means not known
            calibration.values["energy"] = volts
    frames_on_disk = np.memmap(file, _EMPAD, "r", shape=(nx, ny))["data"]
    patterns = on_disk(frames_on_disk, ("auto", "auto", -1, -1))
    return Reading(patterns, calibration.values, calibration.pixel, tuple(calibration.notes))


def _of_microscope(signal: Mapping[str, Any], key: str) -> Any:
    """Look up a microscope setting, also if RosettaSciIO only maps it to other metadata."""
    instrument = signal.get("metadata", {}).get("Acquisition_instrument", {})
    if key in instrument.get("TEM", {}):
        return instrument["TEM"][key]
    for place, (target, convert) in signal.get("mapping", {}).items():
        if target.split(".")[0] == "Acquisition_instrument" and target.split(".")[-1] == key:
            value: Any = signal.get("original_metadata", {})
            for key_part in place.split("."):
                # TIA writes a blank where RosettaSciIO's table has an underscore.
                parts = value if isinstance(value, Mapping) else {}
                value = parts.get(key_part, parts.get(key_part.replace("_", " ", 1)))
            if value is not None:
                return convert(value) if convert else value
    return None
