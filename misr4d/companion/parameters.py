"""Typed notebook parameters: an unknown or mistyped one is an error, not a shrug."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from typing import Any

__all__ = ["check_parameters"]

_KERNEL_NAMES = {"In", "Out", "exit", "quit", "get_ipython", "open"}
_PLAIN = (bool, int, float, str, list, tuple, dict, type(None))


def check_parameters(namespace: Mapping[str, Any]) -> None:
    """Check a notebook's parameters against the annotations of its parameters cell.

    Call it right after that cell, before anything else is defined. Whatever papermill injected is
    then a plain value in the namespace, and the annotated names are the ones that exist.

    Parameters
    ----------
    namespace : mapping
        The notebook's ``globals()``.

    Raises
    ------
    TypeError
        If a parameter was injected that the notebook does not have, or a value has the wrong
        type; the message lists the parameters and their types.
    """
    declared: Mapping[str, Any] = namespace.get("__annotations__", {})
    listing = ", ".join(f"{name}: {_spell(kind)}" for name, kind in declared.items())
    for name, value in namespace.items():
        if name.startswith("_") or name in _KERNEL_NAMES or name in declared:
            continue
        if type(value) in _PLAIN:
            raise TypeError(f"unknown parameter {name!r}; this notebook takes {listing}")
    for name, kind in declared.items():
        value = namespace[name]
        if not _fits(value, kind):
            raise TypeError(
                f"parameter {name} is {value!r}; expected {_spell(kind)}. This notebook takes "
                f"{listing}"
            )


def _spell(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) and not typing.get_args(kind) else str(kind)


def _fits(value: Any, kind: Any) -> bool:
    if isinstance(kind, str):  # a notebook with postponed annotations
        kind = {"int": int, "float": float, "str": str, "bool": bool}.get(kind, object)
    inner = typing.get_args(kind)
    if inner and typing.get_origin(kind) is list:
        return isinstance(value, list) and all(_fits(item, inner[0]) for item in value)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, kind)
