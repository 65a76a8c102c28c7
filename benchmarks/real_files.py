"""Say what `misr4d info` takes from every file of a folder of real ones, and what it leaves.

    python benchmarks/real_files.py FOLDER --out _output/real_files

The files are those of whoever runs it, such as public test data; none is part of the repository.
Nothing is read but what a file says of itself. Writes a table for people (``table.md``) and one for
machines (``table.json``) to the folder of ``--out``, and prints the first. An error that nobody
foresaw is a fault, and makes the exit code 1.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from misr4d.core.files import write_whole
from misr4d.io.reading import READERS, read_scan
from misr4d.io.scan import REQUIRED, Scan, flag

SIDECARS = (".hdr", ".json", ".txt", ".md", ".log", ".csv")
"""Files beside a scan that are no scan."""


def scans_in(folder: Path) -> Iterator[Path]:
    """Files and folders below `folder` that a reader takes, or that are no known sidecar."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            if any(reader.takes(path) for reader in READERS):
                yield path
            else:
                yield from scans_in(path)
        elif path.suffix.lower() not in SIDECARS:
            yield path


def _opened(path: Path) -> tuple[Scan, int]:
    """Open a scan; of a list of patterns, whose scan only its user knows, return their number."""
    try:
        return read_scan(path), 0
    except ValueError as error:
        listed = re.search(r"lists (\d+) patterns", str(error))
        if listed is None:
            raise
        number = int(listed[1])
        return read_scan(path, scan_shape=(1, number)), number


def described(path: Path, folder: Path) -> dict[str, Any]:
    """Say what is taken from a file, what must be given and what is not used, or why not."""
    row: dict[str, Any] = {"file": path.relative_to(folder).as_posix()}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of other readers
            scan, listed = _opened(path)
    except ValueError as error:
        return {**row, "outcome": "refused", "says": str(error).replace(f"{folder}/", "")}
    except Exception as error:  # a fault of ours, or of a reader that was not foreseen
        return {**row, "outcome": "fault", "says": f"{type(error).__name__}: {error}"}
    return {
        **row,
        "outcome": "read",
        "reader": scan.reader,
        "shape": [listed, *scan.patterns.shape[2:]] if listed else list(scan.patterns.shape),
        "type": scan.patterns.dtype.name,
        "taken": {n: q.record() for n, q in scan.known.items()},
        "to give": [flag(n) for n in REQUIRED if n not in scan.known]
        + ["--scan-shape"] * bool(listed),
        "not used": list(scan.notes),
    }


def _number(entry: dict[str, Any]) -> str:
    values = entry["value"] if isinstance(entry["value"], list) else [entry["value"]]
    text = " × ".join(f"{v:.5g}" for v in dict.fromkeys(values))
    return f"{text} {entry['unit']}".strip()


def table(rows: list[dict[str, Any]]) -> str:
    """All files in Markdown, a line each."""
    lines = ["| file | shape and type | taken | to give | not used |", "|---|---|---|---|---|"]
    for row in rows:
        cells = [row["file"]]
        if row["outcome"] == "read":
            taken = (f"{n.replace('_', ' ')} {_number(q)}" for n, q in row["taken"].items())
            cells += [
                f"{' × '.join(map(str, row['shape']))}, {row['type']}",
                "; ".join(taken) or "nothing",
                ", ".join(row["to give"]) or "nothing",
                "; ".join(row["not used"]) or "nothing",
            ]
        else:
            cells += [row["outcome"], "", "", row["says"]]
        clean = (cell.replace("|", "\\|").replace("\n", " ") for cell in cells)
        lines.append(f"| {' | '.join(clean)} |")
    kinds = [row["outcome"] for row in rows]
    summary = ", ".join(f"{kinds.count(k)} {k}" for k in ("read", "refused", "fault") if k in kinds)
    return "\n".join([*lines, "", f"{len(rows)} files: {summary or 'none'}"])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, help="of the files, with those in folders below it")
    parser.add_argument("--out", type=Path, default=Path("_output/real_files"))
    given = parser.parse_args(arguments)
    if not given.folder.is_dir():
        parser.error(f"there is no folder {given.folder}")
    rows = [described(path, given.folder) for path in scans_in(given.folder)]
    text = table(rows)
    given.out.mkdir(parents=True, exist_ok=True)
    write_whole(given.out / "table.md", text + "\n")
    write_whole(given.out / "table.json", json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
    print(text)
    return int(any(row["outcome"] == "fault" for row in rows))


if __name__ == "__main__":
    sys.exit(main())
