"""The script that installs the wheel on each Python: what it refuses, and how it counts."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import click
import pytest

from tests.scripts import load_script

pythons = load_script("benchmarks/pythons.py")
FILES = {"misr4d/py.typed": "", "misr4d/data/weights/a.safetensors": "w", "misr4d/cli.py": "c = 1"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, None),
        ({"misr4d/data/weights/a.safetensors": None}, "lacks or changes misr4d/data/weights/a.saf"),
        ({"misr4d/cli.py": "c = 2"}, "lacks or changes misr4d/cli.py"),
        ({"misr4d/py.typed": None}, "lacks or changes misr4d/py.typed"),
    ],
)
def test_a_wheel_that_is_not_the_package_is_refused(
    change: dict[str, str | None], message: str | None, tmp_path: Path
) -> None:
    for name, text in {**FILES, "misr4d/data/build_glasses.py": "not shipped"}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    wheel = tmp_path / "misr4d-0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, shipped in {**FILES, **change}.items():
            if shipped is not None:
                archive.writestr(name, shipped)
    if message is None:
        pythons.check_wheel(wheel, tmp_path)
        return
    with pytest.raises(click.ClickException, match=message):
        pythons.check_wheel(wheel, tmp_path)


def test_tests_are_counted_by_outcome_and_failures_named(tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text(
        "import pytest\ndef test_a(): pass\ndef test_b(): assert False\n"
        "@pytest.mark.skip(reason='-')\ndef test_c(): pass\n"
    )
    (tmp_path / "test_broken.py").write_text("raise ImportError\n")
    counts = pythons.counted(Path(sys.executable), [str(tmp_path), "-c", "/dev/null"], tmp_path)
    assert (counts["passed"], counts["left out"], len(counts["failed"])) == (0, 0, 1)  # collection
    (tmp_path / "test_broken.py").unlink()
    counts = pythons.counted(Path(sys.executable), [str(tmp_path), "-c", "/dev/null"], tmp_path)
    assert (counts["passed"], counts["left out"]) == (1, 1)
    assert counts["failed"][0].endswith("test_some::test_b")
    row = {"python": "3.13.0", "--help": "1 s", "demo": "2 s", "tests": counts}
    assert pythons.failed(row)
    assert not pythons.failed({**row, "tests": {**counts, "failed": []}})
    assert pythons.failed({**row, "tests": None, "demo": "failed"})
    shown = pythons.table([{**row, **dict.fromkeys(pythons.SHOWN, "1.0"), "py4dstem": None}])
    assert shown.splitlines()[1].split() == [
        *("3.13.0", "1.0", "1.0", "1.0", "-", "1", "s", "2", "s", "1", "1", "1")
    ]
