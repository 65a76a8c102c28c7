"""Measurements of single cases that take long, kept with the study under the key of what made them.

A case is a function of this package and arguments that JSON can hold. A page asks :func:`recorded`
and gets what the study holds, or, where code, data or arguments are others, what is measured then.
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

from misr4d.companion.bench import STUDY_FOLDER
from misr4d.core.files import write_whole
from misr4d.core.keys import result_key

__all__ = [
    "RECORD",
    "UNCHECKED",
    "Case",
    "case_key",
    "differences",
    "measured",
    "read_record",
    "recorded",
    "write_record",
]

RECORD = STUDY_FOLDER / "measurements.json"
"""The file: one line a case, with function, arguments, key and what was measured."""
UNCHECKED = "seconds"
"""Values of this name are times: of one machine, and not expected to come again."""
_NEAR, _SHARE = 0.01, 0.01  # our choice: how far a value may differ on another processor

Case = tuple[Callable[..., Any], Mapping[str, Any]]
"""A function and its arguments by name."""


def case_key(case: Case) -> str:
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
