"""Cases and pictures that the study keeps: today's, of the pages' own parameters, made again."""

from __future__ import annotations

import hashlib
import inspect
import json
import math
import random
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import jupytext
import pytest
import torch
import yaml

from misr4d.companion import recorded as module
from misr4d.companion.bench import draws_as_the_study
from misr4d.companion.chapters import method_comparison, own_scan, refinement, training
from misr4d.companion.chapters.invention_cases import Questions
from misr4d.companion.recorded import (
    PICTURES,
    RECORD,
    case_key,
    case_of,
    differences,
    measured,
    pictured,
    read_pictures,
    read_record,
    recorded,
    write_pictures,
    write_record,
)
from tests.companion.test_study_rows import on_the_studys_python
from tests.scripts import load_script

ROOT = Path(__file__).resolve().parents[2]
# Seconds each, not minutes
QUICK = ("empty", "column", "foreign_image", "taken_for_thin", "nothing", "novel")


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
    wanted = {case_key(case) for case in script.wanted_pictures()}
    assert read_pictures().keys() == wanted, "run `python benchmarks/record.py`"


@pytest.mark.parametrize(
    ("page", "asked"),
    [
        ("02_training", training.cases),
        ("06_method_comparison", method_comparison.cases),
        ("11_invention", Questions),
        ("12_refinement", refinement.cases),
        ("13_own_scan", own_scan.cases),
    ],
)
def test_the_page_asks_for_what_is_kept(page: str, asked: Callable[..., Any]) -> None:
    notebook = jupytext.read(ROOT / "notebooks" / f"{page}.py")
    (cell,) = (c for c in notebook.cells if "parameters" in c.metadata.get("tags", ()))
    values: dict[str, Any] = {}
    exec(cell.source, values)
    quick = yaml.safe_load((ROOT / "notebooks/params/ci.yaml").read_text(encoding="utf-8"))
    values |= quick[page]
    for name, parameter in inspect.signature(asked).parameters.items():
        assert list(_each(values[name])) == list(_each(parameter.default)), name


def _each(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


def runs_ptychography(function: str, arguments: dict[str, Any], **_: Any) -> bool:
    """Which takes a minute, and is in the study's rows."""
    if function.endswith("refinement:empty"):
        return bool(arguments["kind"] == "vacuum")
    return bool(arguments.get("patterns"))


def test_a_case_drawn_by_the_commit_is_measured_again() -> None:
    command = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    chance = random.Random(commit or hashlib.sha256(RECORD.read_bytes()).hexdigest())
    quick = [
        entry
        for entry in read_record()
        if entry["function"].rpartition(":")[2] in QUICK and not runs_ptychography(**entry)
    ]
    entry = chance.choice(quick)
    lines = differences(entry["value"], measured(case_of(entry)))
    if lines and not draws_as_the_study():
        pytest.skip("this processor draws other electrons than the study's: nothing can be told")
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


def ramps(number: float) -> dict[str, torch.Tensor]:
    """Return images by name."""
    return {"up": torch.linspace(0, number, 6).reshape(2, 3), "a name": torch.full((1, 2), number)}


def test_pictures_that_are_kept_are_returned_and_others_are_made(
    record: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PICTURES", record.with_name("pictures.npz"))
    monkeypatch.setattr(module, "_pictures", module._pictures.__wrapped__)
    monkeypatch.setattr(module, "case_key", lambda case: f"{case[1]['number']:g}")
    assert pictured(ramps, number=4.0).keys() == {"up", "a name"}  # there is no file
    write_pictures({"4": ramps(number=5.0)})
    kept = pictured(ramps, number=4.0)
    assert kept.keys() == {"up", "a name"}
    assert torch.allclose(kept["up"], ramps(5.0)["up"], atol=5 / 65_535)
    kept["up"].zero_()
    assert pictured(ramps, number=4.0)["up"].any()
    assert torch.equal(pictured(ramps, number=4.5)["up"], ramps(4.5)["up"])


def test_the_file_of_pictures_is_small() -> None:
    assert PICTURES.stat().st_size < 2e6


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
