"""Measurements of single cases that take long, kept with the study under the key of what made them.

A case is a function of this package and arguments that JSON can hold. A page asks :func:`recorded`
and gets what the study holds, or, where code, data or arguments are others, what is measured then.
:func:`pictured` does the same for functions that make images.
``python benchmarks/record.py`` measures what pages ask for by default and the study lacks.
"""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from torch import Tensor

from misr4d.companion.bench import STUDY_FOLDER
from misr4d.companion.study_images import read_images, write_images
from misr4d.core.files import write_whole
from misr4d.core.keys import result_key

__all__ = [
    "PICTURES",
    "RECORD",
    "UNCHECKED",
    "Case",
    "PictureCase",
    "all_recorded",
    "case_key",
    "case_of",
    "differences",
    "measured",
    "pictured",
    "read_pictures",
    "read_record",
    "recorded",
    "write_pictures",
    "write_record",
]

RECORD = STUDY_FOLDER / "measurements.json"
"""The file: one line a case, with function, arguments, key and what was measured."""
PICTURES = STUDY_FOLDER / "pictures.npz"
"""The file of images, as of :func:`misr4d.companion.study_images.read_images`: ``KEY NAME``."""
UNCHECKED = "seconds"
"""Values of this name are times: of one machine, and not expected to come again."""
_NEAR, _SHARE = 0.01, 0.01  # our choice: how far a value may differ on another processor

Case = tuple[Callable[..., Any], Mapping[str, Any]]
"""A function and its arguments by name."""
PictureCase = tuple[Callable[..., Mapping[str, Tensor]], Mapping[str, Any]]
"""A function that makes images by name, and its arguments."""


def case_key(case: Case | PictureCase) -> str:
    """Return the key of a case: code and data that its function depends on, and its arguments."""
    function, arguments = case
    return result_key(function, given=dict(arguments))


def measured(case: Case) -> Any:
    """Measure a case now, as JSON holds it: floats of six digits, lists, mappings, texts."""
    function, arguments = case
    return _plain(function(**arguments))


def recorded(function: Callable[..., Any], **arguments: Any) -> Any:
    """Return what a function measures: from the study, or measured now.

    Parameters
    ----------
    function : callable
        Of this package; it is given the arguments and nothing else.
    **arguments
        Numbers and texts.
    """
    case = (function, arguments)
    found = _stored().get(case_key(case))
    return measured(case) if found is None else json.loads(found)


def all_recorded(cases: Sequence[Case]) -> list[tuple[Mapping[str, Any], Any]]:
    """Return the arguments of each case and what it measures, from the study or measured now."""
    return [(arguments, recorded(function, **arguments)) for function, arguments in cases]


def pictured(function: Callable[..., Mapping[str, Tensor]], **arguments: Any) -> dict[str, Tensor]:
    """Return the images that a function makes: from the study, or made now.

    Parameters
    ----------
    function : callable
        Of this package; it is given the arguments and nothing else, and returns images by name.
    **arguments
        Numbers and texts, and lists of them.
    """
    kept = _pictures().get(case_key((function, arguments)))
    if kept is None:
        return dict(function(**arguments))
    return {name: image.clone() for name, image in kept.items()}


@cache
def _pictures() -> Mapping[str, Mapping[str, Tensor]]:
    return read_pictures()


def read_pictures(path: Path | None = None) -> dict[str, dict[str, Tensor]]:
    """Read images by the key of their case and by name; none where there is no file."""
    pictures: dict[str, dict[str, Tensor]] = {}
    for label, image in read_images(PICTURES if path is None else path).items():
        key, _, name = label.partition(" ")
        pictures.setdefault(key, {})[name] = image
    return pictures


def write_pictures(pictures: Mapping[str, Mapping[str, Tensor]], path: Path | None = None) -> None:
    """Write images by the key of their case and by name; the file is whole or as it was."""
    images = (
        (f"{key} {name}", image)
        for key, by_name in pictures.items()
        for name, image in by_name.items()
    )
    write_images(images, PICTURES if path is None else path)


@cache
def _stored() -> Mapping[str, str]:
    return {entry["key"]: json.dumps(entry["value"]) for entry in read_record()}


def read_record(path: Path | None = None) -> list[dict[str, Any]]:
    """Read every case of a record; none where there is no file."""
    path = RECORD if path is None else path
    if not path.is_file():
        return []
    cases: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return cases


def case_of(entry: Mapping[str, Any]) -> Case:
    """Return the case that an entry of a record is of."""
    module, _, name = entry["function"].partition(":")
    return getattr(importlib.import_module(module), name), entry["arguments"]


def write_record(cases: Sequence[Case], values: Sequence[Any], path: Path | None = None) -> None:
    """Write a record, a line a case, so that changes show; the file is whole or as it was."""
    lines = [
        json.dumps(
            {
                "function": f"{function.__module__}:{function.__qualname__}",
                "arguments": dict(arguments),
                "key": case_key((function, arguments)),
                "value": value,
            },
            ensure_ascii=False,
            allow_nan=False,
        )
        for (function, arguments), value in zip(cases, values, strict=True)
    ]
    write_whole(RECORD if path is None else path, "[\n " + ",\n ".join(lines) + "\n]\n")


def differences(old: Any, new: Any, name: str = "value") -> list[str]:
    """Name what another measurement of a case does not give again."""
    if name.rpartition(".")[2] == UNCHECKED:
        return []
    if isinstance(old, Mapping) and isinstance(new, Mapping) and old.keys() == new.keys():
        return [line for key in old for line in differences(old[key], new[key], f"{name}.{key}")]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = enumerate(zip(old, new, strict=True))
        return [line for n, (a, b) in pairs for line in differences(a, b, f"{name}.{n}")]
    numbers = all(isinstance(v, float | int) and not isinstance(v, bool) for v in (old, new))
    if old == new or (numbers and abs(new - old) <= _NEAR + _SHARE * abs(old)):
        return []
    return [f"{name} is {new} and was {old}"]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"a measurement is {value}; a record holds finite numbers")
        return float(f"{value:.6g}")
    return value
