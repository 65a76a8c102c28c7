"""Cases that the study keeps: today's, of the page's own parameters, and measured again."""

from __future__ import annotations

import hashlib
import inspect
import json
import math
import random
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import jupytext
import pytest

from misr4d.companion import recorded as module
from misr4d.companion.chapters import refinement
from misr4d.companion.recorded import (
    RECORD,
    case_key,
    case_of,
    differences,
    measured,
    read_record,
    recorded,
    write_record,
)
from tests.companion.test_study_rows import on_the_studys_python
from tests.scripts import load_script

ROOT = Path(__file__).resolve().parents[2]
QUICK = ("empty", "column", "foreign_image", "taken_for_thin")  # seconds each, not minutes


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script("benchmarks/record.py")


@on_the_studys_python
def test_no_case_is_stale_and_none_is_missing(script: ModuleType) -> None:
    wanted = {case_key(case) for case in script.wanted()}
    entries = read_record()
    assert {entry["key"] for entry in entries} == wanted, "run `python benchmarks/record.py`"
    assert len(entries) == len(wanted)
    assert all(case_key(case_of(entry)) == entry["key"] for entry in entries)


def test_the_page_asks_for_what_is_kept() -> None:
    notebook = jupytext.read(ROOT / "notebooks" / "12_refinement.py")
    (cell,) = (c for c in notebook.cells if "parameters" in c.metadata.get("tags", ()))
    values: dict[str, Any] = {}
    exec(cell.source, values)
    for name, parameter in inspect.signature(refinement.cases).parameters.items():
        assert list(_each(values[name])) == list(_each(parameter.default)), name


def _each(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


def test_a_case_drawn_by_the_commit_is_measured_again() -> None:
    command = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    chance = random.Random(commit or hashlib.sha256(RECORD.read_bytes()).hexdigest())
    # Not the vacuum, whose ptychography takes a minute and is in the study's rows.
    quick = [
        entry
        for entry in read_record()
        if entry["function"].rpartition(":")[2] in QUICK
        and entry["arguments"].get("kind") != "vacuum"
    ]
    entry = chance.choice(quick)
    lines = differences(entry["value"], measured(case_of(entry)))
    assert not lines, f"{entry['function']} of {entry['arguments']}: {lines}"


def double(number: float, word: str = "") -> dict[str, Any]:
    """Return something that JSON holds, and a time."""
    return {"twice": 2 * number, "word": word, "list": (1, math.pi), "seconds": 3.0}


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "RECORD", tmp_path / "measurements.json")
    monkeypatch.setattr(
        module, "case_key", lambda case: f"{case[0].__name__} {sorted(case[1].items())}"
    )
    monkeypatch.setattr(module, "_stored", module._stored.__wrapped__)
    return tmp_path / "measurements.json"


def test_what_is_kept_is_returned_and_what_is_not_is_measured(record: Path) -> None:
    assert recorded(double, number=4.0)["twice"] == 8.0  # there is no file
    write_record([(double, {"number": 4.0})], [{"twice": 9.0}])
    assert recorded(double, number=4.0) == {"twice": 9.0}
    assert recorded(double, number=4.5)["twice"] == 9.0
    assert recorded(double, number=4.0, word="a")["word"] == "a"
    (entry,) = json.loads(record.read_text(encoding="utf-8"))
    assert case_of(entry) == (double, {"number": 4.0})


def test_a_caller_cannot_change_what_is_kept(record: Path) -> None:
    write_record([(double, {"number": 4.0})], [{"list": [1]}])
    recorded(double, number=4.0)["list"].append(2)
    assert recorded(double, number=4.0) == {"list": [1]}


def test_a_measurement_is_finite_and_as_json_holds_it() -> None:
    assert measured((double, {"number": 4.0}))["list"] == [1, 3.14159]
    with pytest.raises(ValueError, match="inf"):
        measured((double, {"number": math.inf}))


def test_differences_are_named_and_times_are_not() -> None:
    old = {"a": {"b": [1.0, 50.0]}, "seconds": 3.0, "word": "x", "warned": True}
    assert differences(old, json.loads(json.dumps(old)) | {"seconds": 9.0}) == []
    assert differences(old, old | {"a": {"b": [1.015, 50.4]}}) == []
    assert differences(old, old | {"a": {"b": [1.03, 50.0]}}) == ["value.a.b.0 is 1.03 and was 1.0"]
    assert len(differences(old, old | {"a": {"b": [1.0, 51.0]}})) == 1  # two per cent
    assert len(differences(old, old | {"word": "y", "warned": False})) == 2
    assert len(differences(old, {"a": 1.0})) == 1
