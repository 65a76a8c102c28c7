"""Install the package's wheel on each Python of this machine, and try what it is for.

    python benchmarks/pythons.py [--python PATH]... [--wheels FOLDER] [--tests "tests/io …"]

For each Python: a fresh environment below ``_build/pythons``, the wheel with the pins of
``constraints.txt``, ``misr4d --help``, the smallest ``misr4d demo``, and the tests. The wheel must
hold every file of the package as it is committed, byte for byte; the tests then run from this
checkout, with what was installed around it. Printed is a table; ``benchmarks/pythons.json`` keeps
the last row of each Python. The exit code is 1 if anything failed. An environment takes about
1.5 GB, and one on Linux with PyPI's build of torch 7 GB: ``--wheels`` names a folder of wheels for
pip to look in first.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
import zipfile
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / "_build" / "pythons"
OUT = Path(__file__).with_suffix(".json")
VERSIONS = ("3.11", "3.12", "3.13")
TESTS = (
    "tests/test_environment.py tests/core tests/io tests/calibrate tests/simulate "
    "tests/reconstruction tests/learn/test_learned.py tests/measure tests/report"
)
DEMO = ("demo", "--positions", "32", "--out")
SHOWN = ("numpy", "abtem", "torch", "py4dstem")
NOT_SHIPPED = re.compile(r"misr4d/data/build_\w+\.py")  # what made the data, and no part of it


def interpreters() -> list[Path]:
    """Return a Python of each version, from the path or from pyenv's folder."""
    answer = []
    for version in VERSIONS:
        of_pyenv = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
        on_path = shutil.which(f"python{version}")
        works = [p for p in (on_path, *map(str, of_pyenv)) if p and _version(Path(p))]
        answer += [Path(works[0])] if works else []
    return answer


def _version(python: Path) -> str:
    """Version of a Python; empty if it does not start, as a shim of pyenv may not."""
    command = [str(python), "-c", "import platform; print(platform.python_version())"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def build(folder: Path) -> Path:
    """Build the wheel of this checkout."""
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), "."]
    with tempfile.TemporaryDirectory() as copy:  # an old build/ would end up in the wheel
        tracked = subprocess.run(
            ["git", "ls-files", "-z", "misr4d", "pyproject.toml", "README.md", "LICENSE"],
            cwd=ROOT,
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for name in filter(None, tracked.split("\0")):
            target = Path(copy) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target)
        subprocess.run(command, cwd=copy, check=True)
        check_wheel(next(folder.glob("misr4d-*.whl")), Path(copy))
    return next(folder.glob("misr4d-*.whl"))


def check_wheel(wheel: Path, source: Path) -> None:
    """Hold the wheel's files to those of the source.

    Raises
    ------
    click.ClickException
        If a file is missing or differs: weights, data, ``py.typed`` or code.
    """
    with zipfile.ZipFile(wheel) as archive:
        shipped = {
            name: hashlib.sha256(archive.read(name)).digest()
            for name in archive.namelist()
            if name.startswith("misr4d/")
        }
    needed = {
        path.relative_to(source).as_posix(): hashlib.sha256(path.read_bytes()).digest()
        for path in (source / "misr4d").rglob("*")
        if path.is_file()
    }
    needed = {name: value for name, value in needed.items() if not NOT_SHIPPED.fullmatch(name)}
    wrong = sorted(name for name, value in needed.items() if shipped.get(name) != value)
    assert "misr4d/py.typed" in needed
    if wrong:
        raise click.ClickException(f"{wheel.name} lacks or changes {', '.join(wrong)}")
    print(f"{wheel.name}: {len(needed)} files of the package, all there and unchanged")


def install(python: Path, wheel: Path, extras: str, wheels: Path | None, reuse: bool) -> Path:
    """Make an environment for a Python, and install the wheel in it; its Python."""
    folder = HOME / _version(python)
    inside = folder / "bin" / "python"
    if not (reuse and inside.exists()):
        subprocess.run([str(python), "-m", "venv", "--clear", str(folder)], check=True)
    pip = [str(inside), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    pip += ["-c", str(ROOT / "constraints.txt")]
    if wheels is not None:
        pip += ["--find-links", str(wheels)]
    if reuse:  # the version stays the same from one build to the next
        subprocess.run([*pip, "--force-reinstall", "--no-deps", str(wheel)], check=True)
    subprocess.run([*pip, f"{wheel}[{extras}]"], check=True)
    return inside


def counted(python: Path, tests: list[str], folder: Path) -> dict[str, Any]:
    """Run tests, and count them by outcome; those that failed are named."""
    report = folder / "tests.xml"
    command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}"]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "MPLBACKEND": "Agg",
    }
    done = subprocess.run([*command, *tests], cwd=ROOT, env=environment)
    if not report.is_file():
        return {"failed": [f"pytest stopped with code {done.returncode}"]}
    suite = ET.parse(report).getroot()[0]
    number = {key: int(suite.get(key, "0")) for key in ("tests", "failures", "errors", "skipped")}
    wrong = number["failures"] + number["errors"]
    named = [
        f"{case.get('classname')}::{case.get('name')}"
        for case in suite.iter("testcase")
        if case.find("failure") is not None or case.find("error") is not None
    ]
    return {
        "passed": number["tests"] - wrong - number["skipped"],
        "left out": number["skipped"],
        "failed": named,
    }


def try_out(python: Path, inside: Path, tests: list[str]) -> dict[str, Any]:
    """Run what the package is for in its environment, away from the checkout."""
    script = (
        "import json, sys\nfrom importlib.metadata import distributions\nimport misr4d\n"
        "assert misr4d.__file__.startswith(sys.prefix), misr4d.__file__\n"
        "have = {d.name.lower(): d.version for d in distributions()}\n"
        "print(json.dumps({n: have.get(n) for n in sys.argv[1:]}))"
    )
    row: dict[str, Any] = {"python": _version(python)}
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    with tempfile.TemporaryDirectory() as folder:
        run: dict[str, Any] = {"cwd": folder, "env": environment, "text": True}
        said = subprocess.run(
            [str(inside), "-c", script, *SHOWN], **run, check=True, capture_output=True
        )
        row.update(json.loads(said.stdout))
        cli = str(inside.with_name("misr4d"))
        for name, command in (("--help", [cli, "--help"]), ("demo", [cli, *DEMO, "demo"])):
            began = time.perf_counter()
            done = subprocess.run(command, **run, capture_output=True)
            passed = not done.returncode and (
                name != "demo" or Path(folder, "demo/report.html").is_file()
            )
            row[name] = f"{time.perf_counter() - began:.1f} s" if passed else "failed"
            if not passed:
                print(done.stdout, done.stderr, file=sys.stderr)
        row["tests"] = counted(inside, tests, Path(folder)) if tests else None
    return row


def failed(row: dict[str, Any]) -> bool:
    """Whether anything of a row went wrong."""
    return "failed" in (row["--help"], row["demo"]) or bool((row["tests"] or {}).get("failed"))


def table(rows: list[dict[str, Any]]) -> str:
    """Lay rows out in columns."""
    cells = [["Python", *SHOWN, "--help", "demo", "passed", "left out", "failed"]]
    for row in rows:
        tests = row["tests"] or {}
        counts = [tests.get("passed", "-"), tests.get("left out", "-"), "-"]
        if tests:
            counts[2] = len(tests["failed"])
        named = [row["python"], *(row[n] or "-" for n in SHOWN), row["--help"], row["demo"]]
        cells.append([str(cell) for cell in (*named, *counts)])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    )


@click.command(help=__doc__)
@click.option(
    "--python",
    "pythons",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="May be repeated; by default one of each version from 3.11 to 3.13 that is there.",
)
@click.option(
    "--wheels",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Wheels that pip looks at beside its index, such as a CPU build of torch.",
)
@click.option("--extras", default="test", show_default=True, help="What is installed with it.")
@click.option("--tests", default=TESTS, help="What pytest is given; '' runs none, 'tests' all.")
@click.option("--reuse", is_flag=True, help="Keep environments of an earlier run.")
def main(
    pythons: tuple[Path, ...], wheels: Path | None, extras: str, tests: str, reuse: bool
) -> None:
    chosen = list(pythons) or interpreters()
    if not chosen:
        raise click.ClickException(f"no Python {', '.join(VERSIONS)} is here; name one: --python")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        wheel = build(Path(folder))
        for python in chosen:
            inside = install(python, wheel, extras, wheels, reuse)
            rows.append(try_out(python, inside, shlex.split(tests)))
    for row in rows:
        row |= {"asked": tests, "extras": extras}
    kept = json.loads(OUT.read_text(encoding="utf-8"))["rows"] if OUT.is_file() else []
    tried = {row["python"] for row in rows}
    every = sorted(
        [*rows, *(row for row in kept if row["python"] not in tried)],
        key=lambda row: [int(part) for part in row["python"].split(".")],
    )
    OUT.write_text(json.dumps({"rows": every}, indent=1) + "\n", encoding="utf-8")
    print(table(rows))
    for row in rows:
        for name in (row["tests"] or {}).get("failed", ()):
            print(f"failed on Python {row['python']}: {name}")
    if any(map(failed, rows)):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
