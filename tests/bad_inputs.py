"""What was tried to break the commands, and what they say: the one home of that table.

``tests/test_bad_inputs.py`` tries all of it. The tables of ``book/own_scans.md`` are made of it:

    python -m tests.bad_inputs
"""

from __future__ import annotations

import gzip
import os
import pickle
import re
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import zarr
from numpy.typing import NDArray

from misr4d.io.reading import READERS
from tests.cases import corpus

PAGE = Path(__file__).resolve().parent.parent / "book" / "own_scans.md"
KNOWN = ("--energy", "300e3", "--step", "1", "--semiangle", "10", "--defocus", "500")
SHAPE = (32, 32, 9, 9)


@dataclass(frozen=True)
class BadFile:
    """A file that is no scan.

    Parameters
    ----------
    tried : str
        In words, as the page has it.
    name : str
    make : callable or None
        Makes it at a path; none for a file that is not there.
    says : str
        What stands in the one line that the command prints.
    options : tuple of str
        Beside the file's name.
    """

    tried: str
    name: str
    make: Callable[[Path], object] | None
    says: str
    options: tuple[str, ...] = KNOWN


@dataclass(frozen=True)
class BadCall:
    """A command line that cannot be carried out: its arguments, and what stands in the line."""

    arguments: tuple[str, ...]
    says: str


def _save(patterns: NDArray[Any]) -> Callable[[Path], object]:
    def save(path: Path) -> None:
        with path.open("wb") as file:  # under any name
            np.save(file, patterns)

    return save


def _bytes(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def _full(value: float) -> NDArray[Any]:
    return np.full(SHAPE, value, dtype=np.float32)


def _zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "no scan")


def _cut(make: Callable[[Path], object], share: float) -> Callable[[Path], object]:
    """Break a file off."""

    def cut(path: Path) -> None:
        make(path)
        whole = path.read_bytes()
        path.write_bytes(whole[: int(share * len(whole))])

    return cut


def _counts(shape: tuple[int, ...] = SHAPE) -> NDArray[np.uint16]:
    return np.random.default_rng(0).poisson(3.0, shape).astype(np.uint16)


def _hdf5(path: Path, **options: Any) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=_counts(), **options)


def _packed(path: Path) -> None:
    _hdf5(path, chunks=(1, 32, 9, 9), compression="gzip")


def _empty_hdf5(path: Path) -> None:
    h5py.File(path, "w").close()


def _two_scans(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["a"], file["b"] = _counts(), _counts()


def _claiming(shape: tuple[int, ...], written: bool) -> Callable[[Path], object]:
    """HDF5 of a few kilobytes that claims more."""

    def make(path: Path) -> None:
        with h5py.File(path, "w") as file:
            data = file.create_dataset("data", shape, "u2", chunks=(1, 1, 64, 64))
            if written:
                data[0, 0] = 1

    return make


def _header_claims(path: Path) -> None:
    header = b"{'descr': '<u2', 'fortran_order': False, 'shape': (4096, 4096, 256, 256), }"
    header += b" " * (117 - len(header)) + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(999))


def _code_in_header(path: Path) -> None:
    header = b"{'descr': '<u2', 'fortran_order': False, 'shape': __import__('os').getcwd(), }"
    header += b" " * (117 - len(header)) + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)


def _archive_claims(path: Path) -> None:
    _header_claims(path.with_suffix(".part"))
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(path.with_suffix(".part"), "patterns.npy")
    path.with_suffix(".part").unlink()


def _zip_bomb(path: Path) -> None:
    """80 MiB of zeros in 80 KiB; the test leaves the command less memory than that to spare."""
    np.savez_compressed(path, patterns=np.zeros((32, 32, 100, 100), np.float64))


class _Trap:
    """Leaves a trace if it is ever unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, ("sprung",))


def _objects() -> NDArray[Any]:
    objects = np.empty(1, dtype=object)
    objects[0] = _Trap()
    return objects


def _pickled_npy(path: Path) -> None:
    np.save(path, _objects(), allow_pickle=True)


def _pickled_npz(path: Path) -> None:
    np.savez(path, patterns=_objects())


def _zarr(path: Path, chunks: tuple[int, ...] = (8, 8, 9, 9)) -> Path:
    zarr.create_array(path, data=_counts(), chunks=chunks)
    return path


def _no_chunks(path: Path) -> None:
    zarr.create_array(path, shape=SHAPE, chunks=SHAPE, dtype="u2")


def _zarr_damaged(path: Path) -> None:
    (_zarr(path) / "zarr.json").write_text('{"zarr_format": 3, "node', encoding="utf-8")


def _zarr_chunk_damaged(path: Path) -> None:
    (_zarr(path) / "c" / "1" / "1" / "0" / "0").write_bytes(b"not a chunk")


def _zarr_large_chunk(path: Path) -> None:
    shape = (4096, 4096, 64, 64)
    zarr.create_array(path, shape=shape, chunks=(4096, 4096, 16, 16), dtype="u2")
    (path / "c" / "0" / "0" / "0").mkdir(parents=True)
    (path / "c" / "0" / "0" / "0" / "0").write_bytes(b"")


def _npz(**values: Any) -> Callable[[Path], object]:
    return lambda path: np.savez(path, patterns=_counts(), **values)


def _empad_without_raw(path: Path) -> None:
    path.write_text(
        "<root><raw_file filename='scan_x32_y32.raw'/><pix_x>32</pix_x><pix_y>32</pix_y></root>",
        encoding="utf-8",
    )


def _xml_bomb(path: Path) -> None:
    entities = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12))
    path.write_text(
        f'<?xml version="1.0"?><!DOCTYPE root [<!ENTITY a0 "aaaaaaaaaa">{entities}]>'
        "<root>&a11;</root>",
        encoding="utf-8",
    )


def _dangling(path: Path) -> None:
    path.symlink_to("gone.npy")


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


FILES: tuple[BadFile, ...] = (
    BadFile("no such file", "scan.npy", None, "there is no file"),
    BadFile("a link to nothing", "scan.npy", _dangling, "is a link to gone.npy, which does not"),
    BadFile("a named pipe", "scan.npy", os.mkfifo, "is neither a file nor a folder"),
    BadFile("an endless device", "scan.npy", _device, "is neither a file nor a folder"),
    BadFile("a name too long", "a" * 300 + ".npy", None, "cannot be reached: File name too long"),
    BadFile("a folder", "scan", Path.mkdir, "is a folder, which no reader takes"),
    BadFile("an empty folder named .zarr", "scan.zarr", Path.mkdir, "is a folder, which no reader"),
    BadFile("an empty folder named .zspy", "scan.zspy", Path.mkdir, "cannot be read by RosettaSci"),
    BadFile("an unknown kind of file", "scan.txt", Path.touch, "kind '.txt', which no reader"),
    BadFile("an empty .npy", "scan.npy", Path.touch, "cannot be read by NumPy"),
    BadFile("an empty .npz", "scan.npz", Path.touch, "cannot be read by NumPy"),
    BadFile("an empty .h5", "scan.h5", Path.touch, "cannot be read by h5py"),
    BadFile("an empty .mib", "scan.mib", Path.touch, "cannot be read by RosettaSciIO"),
    BadFile("an empty .dm4", "scan.dm4", Path.touch, "cannot be read by RosettaSciIO"),
    BadFile("an empty .tif", "scan.tif", Path.touch, "cannot be read by RosettaSciIO"),
    BadFile("a .zip of something else", "scan.zip", _zip, "which no reader takes"),
    BadFile(
        "a .toml of something else", "scan.toml", _bytes(b"a = 1"), "no description of a RAW_CSR"
    ),
    BadFile(".ndata1 without data", "scan.ndata1", _zip, "holds no data.npy, only readme.txt"),
    BadFile("random bytes, .blo", "scan.blo", _bytes(b"hello" * 99), "cannot be read by Rosetta"),
    BadFile("random bytes, .hspy", "scan.hspy", _bytes(b"hello"), "cannot be read by Rosetta"),
    BadFile("random bytes, .mib", "scan.mib", _bytes(b"MQ1,0,0,9,9" * 40), "cannot be read by"),
    BadFile("random bytes, .dm4", "scan.dm4", _bytes(bytes(range(256))), "cannot be read by"),
    BadFile(".npy broken off in its header", "scan.npy", _cut(_save(_counts()), 3e-4), "by NumPy"),
    BadFile(".npy broken off", "scan.npy", _cut(_save(_counts()), 0.5), "cannot be read by NumPy"),
    BadFile(".npz broken off", "scan.npz", _cut(_npz(), 0.5), "cannot be read by NumPy"),
    BadFile("HDF5 broken off", "scan.h5", _cut(_hdf5, 0.5), "cannot be read by h5py"),
    BadFile("packed HDF5 broken off", "scan.h5", _cut(_packed, 0.95), "cannot be read by h5py"),
    BadFile("an array in a .h5 file", "scan.h5", _save(_counts()), "is it a NumPy array (.npy)?"),
    BadFile("HDF5 in a .npy file", "scan.npy", _hdf5, "is it HDF5 (.h5)?"),
    BadFile(
        "a gzip archive",
        "scan.h5",
        lambda p: p.write_bytes(gzip.compress(b"scan" * 99)),
        "is it a gzip archive",
    ),
    BadFile("a pickle in .npy", "scan.npy", _pickled_npy, "never loaded"),
    BadFile("a pickle in .npz", "scan.npz", _pickled_npz, "never loaded"),
    BadFile("a bare pickle", "scan.npy", _bytes(pickle.dumps(_Trap())), "never loaded"),
    BadFile("code in the header of .npy", "scan.npy", _code_in_header, "cannot be read by NumPy"),
    BadFile("NaN throughout", "scan.npy", _save(_full(np.nan)), "no reading in 100% of its values"),
    BadFile(
        "infinity throughout", "scan.npy", _save(_full(np.inf)), "holds inf at position (0, 0)"
    ),
    BadFile("absurd numbers", "scan.npy", _save(_full(1e30)), "expected counts or intensities"),
    BadFile("negative numbers alone", "scan.npy", _save(_full(-1.0)), "it holds -1.0 at position"),
    BadFile("zero dose", "scan.npy", _save(np.zeros(SHAPE, np.uint16)), "holds no electron"),
    BadFile("all saturated", "scan.npy", _save(np.full(SHAPE, 65535, np.uint16)), "is constant"),
    BadFile("bytes in wrong order", "scan.npy", _save(_counts().byteswap()), "in the wrong order"),
    BadFile(
        "bytes of floats in wrong order",
        "scan.npy",
        _save(np.ones(SHAPE, np.float32).byteswap()),
        "in the wrong order",
    ),
    BadFile("complex numbers", "scan.npy", _save(np.ones(SHAPE, complex)), "of type complex128"),
    BadFile("words", "scan.npy", _save(np.full(SHAPE, "a")), "holds values of type <U1"),
    BadFile("five axes", "scan.npy", _save(np.ones((1, *SHAPE))), "has five axes"),
    BadFile("two axes", "scan.npy", _save(np.ones((32, 32))), "has 2 axes"),
    BadFile(
        "four axes with another --scan-shape",
        "scan.npy",
        _save(_counts()),
        "positions of its own",
        (*KNOWN, "--scan-shape", "16", "64"),
    ),
    BadFile(
        "--axes that are none",
        "scan.npy",
        _save(_counts()),
        "expected the order in which the file has them",
        (*KNOWN, "--axes", "x,y,u,v"),
    ),
    BadFile(
        "--positions that are not there",
        "scan.npy",
        _save(_counts()),
        "expected .npy or a text of two columns",
        ("--energy", "300e3", "--semiangle", "10", "--positions", "gone.txt"),
    ),
    BadFile("pictures in colour", "scan.npy", _save(np.ones((32, 32, 32, 3))), "looks like the 3"),
    BadFile("a list of patterns", "scan.npy", _save(_counts((64, 9, 9))), "--scan-shape RX RY"),
    BadFile(
        "a list with another --scan-shape",
        "scan.npy",
        _save(_counts((64, 9, 9))),
        "which is not 8 × 9 positions",
        (*KNOWN, "--scan-shape", "8", "9"),
    ),
    BadFile(
        "surplus frames, without --skip-frames",
        "scan.npy",
        _save(_counts((66, 9, 9))),
        "frames are left over",
        (*KNOWN, "--scan-shape", "8", "8"),
    ),
    BadFile("an empty scan", "scan.npy", _save(_counts((0, 32, 9, 9))), "there is nothing in it"),
    BadFile("few positions", "scan.npy", _save(_counts((31, 32, 9, 9))), "at least 32 × 32"),
    BadFile("a detector of 1 pixel", "scan.npy", _save(_counts((32, 32, 1, 1))), "5 pixels a side"),
    BadFile("no disc", "scan.npy", _save(_counts()), "no disc stands out of"),
    BadFile(
        "HDF5 without an array", "scan.h5", _empty_hdf5, "holds no array of three or four axes"
    ),
    BadFile("HDF5 with two scans", "scan.h5", _two_scans, "name one: --dataset"),
    BadFile(
        "a --dataset that is not there",
        "scan.h5",
        _two_scans,
        "has no array 'c'",
        (*KNOWN, "--dataset", "c"),
    ),
    BadFile(
        "HDF5 never written to",
        "scan.h5",
        _claiming((256, 256, 64, 64), False),
        "was never written to",
    ),
    BadFile(
        "2 kB of HDF5 that claim 64 TiB",
        "scan.h5",
        _claiming((2**14, 2**13, 2**9, 2**9), True),
        "claims the shape",
    ),
    BadFile(".npy that claims 2 TiB", "scan.npy", _header_claims, "cannot be read by NumPy"),
    BadFile(".npz that claims 2 TiB", "scan.npz", _archive_claims, "which is more than it holds"),
    BadFile("a zip bomb", "scan.npz", _zip_bomb, "save it by numpy.save as .npy"),
    BadFile("an XML bomb", "scan.xml", _xml_bomb, "cannot be read by RosettaSciIO"),
    BadFile("Zarr in huge chunks", "scan.zarr", _zarr_large_chunk, "store it in smaller chunks"),
    BadFile("Zarr without a chunk", "scan.zarr", _no_chunks, "no chunk of its array was ever"),
    BadFile("Zarr, metadata damaged", "scan.zarr", _zarr_damaged, "cannot be read by zarr"),
    BadFile("Zarr, a chunk damaged", "scan.zarr", _zarr_chunk_damaged, "breaks off or is damaged"),
    BadFile("EMPAD .xml alone", "scan.xml", _empad_without_raw, "No such file or directory"),
    BadFile("300 eV in the file", "scan.npz", _npz(energy=300.0), "energy is 300.0 eV (sc", ()),
    BadFile("a step of NaN in it", "scan.npz", _npz(step=np.nan), "step is nan Å (scan.npz)", ()),
    BadFile("no energy anywhere", "scan.npz", _npz(step=1.0), "pass --energy, in eV", ()),
    BadFile(
        "a detector pixel 5 times as long as wide",
        "scan.npz",
        _npz(energy=3e5, step=1.0, semiangle=10.0, detector_pixel=(1.0, 5.0)),
        "expected one at most 4 times as long as wide",
        (),
    ),
)
"""Files that are no scan, for ``misr4d reconstruct``."""


LISTS: tuple[BadFile, ...] = (
    BadFile("a list of bad pixels that is not there", "bad.txt", None, "No such file"),
    BadFile("one that is no text", "bad.txt", _bytes(b"\xff\xfe\x00"), "cannot be read as a list"),
    BadFile("a pixel off the detector", "bad.txt", _bytes(b"1,2\n3,99\n"), "line 2, is '3,99'"),
    BadFile("a line that is no pixel", "bad.txt", _bytes(b"one\n"), "line 1, is 'one'"),
    BadFile("all pixels", "bad.txt", _bytes(b"*,*\n"), "all pixels of the detector are bad"),
)
"""Lists for ``--bad-pixels``, beside a scan that is one."""

CALLS: tuple[BadCall, ...] = (
    BadCall(("info", "unobtainium"), "unknown specimen 'unobtainium'"),
    BadCall(("info", "Li2CoO3", "--thickness", "-1"), "thickness is -1"),
    BadCall(("info", "Li2CoO3", "--thickness", "nan"), "thickness is nan"),
    BadCall(("info", "Li2CoO3", "--thickness", "1e9"), "is not in the range x<=10000"),
    BadCall(("bench", "--dose", "much"), "a dose is not a number"),
    BadCall(("bench", "--dose", "-3"), "dose is -3"),
    BadCall(("bench", "--dose", "nan"), "dose is nan"),
    BadCall(("bench", "--dose", "1e999"), "a dose is 1e999 e⁻/Å²; expected at most 1e+12"),
    BadCall(("bench", "--specimen", "unobtainium"), "unknown specimen 'unobtainium'"),
    BadCall(("bench", "--method", "magic"), "unknown method 'magic'"),
    BadCall(("bench", "--method", "refined", "--dose", "inf"), "the plan holds no row"),
    BadCall(("bench", "--draws", "0"), "0 is not in the range x>=1"),
    BadCall(("bench", "--workers", "100000"), "100000 is not in the range 1<=x<=256"),
    BadCall(("bench", "--out", "/dev/null/table"), "cannot be made: /dev/null is a file"),
    BadCall(("bench", "--scheduler", "nowhere"), "no scheduler answers at 'nowhere'"),
    BadCall(("train", "--network", "magic"), "'magic' is not one of 'DirectInformed'"),
    BadCall(("train", "--width", "0"), "0 is not in the range 1<=x<=1024"),
    BadCall(("train", "--network", "DualPath", "--half"), "DualPath is trained in float32 alone"),
    BadCall(("train", "--device", "abacus"), "device is 'abacus'"),
    BadCall(("train", "--device", "cuda:99"), "device is 'cuda:99'"),
    BadCall(("train", "--seed", "-1"), "-1 is not in the range"),
    BadCall(("train", "--out", "/dev/null"), "cannot be made: /dev/null is a file"),
    BadCall(("simulate", "unobtainium", "--dose", "300"), "unknown specimen 'unobtainium'"),
    BadCall(("simulate", "CaTiO3"), "Missing option '--dose'"),
    BadCall(("simulate", "CaTiO3", "--dose", "0"), "dose is 0.0 e⁻/Å²"),
    BadCall(("simulate", "CaTiO3", "--dose", "nan"), "dose is nan e⁻/Å²"),
    BadCall(("simulate", "CaTiO3", "--dose", "1e30"), "a dose is 1e30 e⁻/Å²"),
    BadCall(("simulate", "CaTiO3", "--dose", "1", "--positions", "9"), "positions is 9"),
    BadCall(("simulate", "CaTiO3", "--dose", "1", "--defocus", "nan"), "defocus is nan"),
    BadCall(("simulate", "CaTiO3", "--dose", "1", "--defocus", "1e30"), "at a defocus of 1e+30 Å"),
    BadCall(("simulate", "CaTiO3", "--dose", "1", "--out", "no/scan.h5"), "a folder that exists"),
    BadCall(("demo", "--specimen", "unobtainium"), "unknown specimen 'unobtainium'"),
    BadCall(("demo", "--dose", "0"), "dose is 0 e⁻/Å²"),
    BadCall(("demo", "--dose", "inf"), "dose is inf e⁻/Å²"),
    BadCall(("demo", "--dose", "1e30"), "a dose is 1e30 e⁻/Å²"),
    BadCall(("demo", "--positions", "9"), "positions is 9"),
    BadCall(("demo", "--drift", "5"), "drift is 5.0 of a step"),
    BadCall(("demo", "--seed", "-1"), "-1 is not in the range"),
    BadCall(("fetch",), "Missing argument 'NAME'"),
    BadCall(("fetch", "nothing"), "unknown data set 'nothing'"),
    BadCall(("reconstruct",), "Missing argument 'FILE'"),
    BadCall(("reconstruct", "x.npy", "--method", "magic"), "'magic' is not one of"),
    BadCall(("reconstruct", "x.npy", "--bad-pixels", "b", "--keep-all-pixels"), "exclude each"),
    BadCall(("reconstruct", "x.npy", "--scan-shape", "-3", "5"), "-3 is not in the range"),
    BadCall(("reconstruct", "x.npy", "--workers", "0"), "0 is not in the range 1<=x<=256"),
    BadCall(("reconstruct", "x.npy", "--step", "wide"), "'wide' is not a valid float"),
    BadCall(("reconstruct", "x.npy", "--out", "/dev/null/a"), "cannot be made: /dev/null is a"),
    BadCall(("sweep", "gone.yaml"), "gone.yaml cannot be read as YAML"),
    BadCall(("sweep",), "Missing argument 'STUDY'"),
    BadCall(("teleport",), "No such command 'teleport'"),
)
"""Command lines that cannot be carried out."""

VALUES: tuple[BadCall, ...] = (
    BadCall(("--energy", "300"), "energy is 300.0 eV (--energy); expected a number between 10000"),
    BadCall(("--energy", "nan"), "energy is nan eV"),
    BadCall(("--step", "0"), "step is 0.0 Å"),
    BadCall(("--step", "-1"), "step is -1.0 Å"),
    BadCall(("--semiangle", "0"), "semiangle is 0.0 mrad"),
    BadCall(("--detector-pixel", "1e9"), "detector pixel is 1000000000.0 mrad"),
    BadCall(("--detector-pixel", "9.9"), "take a detector pixel smaller than 9.9 mrad"),
    BadCall(("--defocus", "inf"), "defocus is inf Å"),
    BadCall(("--defocus", "0"), "use a defocus of at least 50 Å"),
    BadCall(("--defocus", "1e6"), "out of the field of 32 × 32 Å; check --defocus"),
    BadCall(("--rotation", "1e6"), "rotation is 1000000.0 deg"),
    BadCall(("--thickness", "-5"), "thickness is -5.0 Å"),
    BadCall(("--dose", "0"), "dose is 0.0 e⁻/Å²"),
    BadCall(("--gain", "-2"), "gain is -2.0 counts per electron"),
    BadCall(("--drift", "1e9", "0"), "drift is [1000000000.0, 0.0] Å a line"),
    BadCall(("--drift", "-1", "0"), "expected less than half a step"),
    BadCall(("--astigmatism", "1e9", "0"), "astigmatism is [1000000000.0, 0.0] Å"),
    BadCall(("--offset", "nan"), "offset is nan counts of a pixel without electrons"),
    BadCall(("--offset", "1e6"), "check --offset"),
    BadCall(("--centre", "500", "500"), "off a detector of"),
    BadCall(("--centre", "-1", "3"), "centre is [-1.0, 3.0] pixel"),
)
"""Values given for a scan that is one, to ``misr4d reconstruct``."""


# --- The page ------------------------------------------------------------------------------------


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    return "\n".join([_row(*head), "|" + "---|" * len(head), *(_row(*row) for row in rows)])


def tables() -> dict[str, str]:
    """The page's tables by name, in Markdown."""
    said = ("tried", "what the line says")
    calls = [(f"`misr4d {' '.join(bad.arguments)}`", f"`{bad.says}`") for bad in CALLS]
    values = [(f"`{' '.join(bad.arguments)}`", f"`{bad.says}`") for bad in VALUES]
    return {
        "readers": _table(("read by", "which files"), [(r.name, r.what) for r in READERS]),
        "writers": _table(("written by", "taken from the file", "to be given"), corpus.table()),
        "files": _table(said, [(bad.tried, f"`{bad.says}`") for bad in (*FILES, *LISTS)]),
        "calls": _table(said, calls + values),
    }


def written(text: str) -> str:
    """The page with its tables as they are now."""
    for name, table in tables().items():
        mark = re.escape(f"<!-- {name}: written by python -m tests.bad_inputs -->")
        found = re.subn(
            rf"({mark}\n).*?(<!-- end of {name} -->)",
            lambda match, table=table: f"{match[1]}\n{table}\n\n{match[2]}",
            text,
            flags=re.DOTALL,
        )
        if found[1] != 1:
            raise ValueError(f"{PAGE} has {found[1]} places for the table {name}; expected one")
        text = found[0]
    return text


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
