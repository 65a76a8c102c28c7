"""A name that begins with an underscore is used in its own file alone, as are py4DSTEM's."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import misr4d

PACKAGE = Path(misr4d.__file__).parent


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def private_uses(text: str) -> list[str]:
    """Private names that a file imports, or takes from an object of another file's class."""
    nodes = list(ast.walk(ast.parse(text)))
    defined = {n.name for n in nodes if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    defined |= {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    uses = []
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            names = [*str(node.module).split("."), *(alias.name for alias in node.names)]
            uses += [f"line {node.lineno}: import of {name}" for name in names if private(name)]
        elif isinstance(node, ast.Attribute) and private(node.attr) and node.attr not in defined:
            inherited = ast.unparse(node.value) in {"self", "cls", "super()"}
            uses += [] if inherited else [f"line {node.lineno}: {ast.unparse(node)}"]
    return uses


@pytest.mark.parametrize(
    ("text", "use"),
    [
        ("from misr4d.core.datacube import Datacube, _Part", "line 1: import of _Part"),
        ("from misr4d import _private", "line 1: import of _private"),
        ("from misr4d.core import keys\nkeys._read(path)", "line 2: keys._read"),
        ("run = Ptychography()\nimage = run._object", "line 2: run._object"),
    ],
)
def test_private_uses_are_seen(text: str, use: str) -> None:
    assert private_uses(text) == [use]


def test_what_is_private_to_a_file_is_used_there() -> None:
    assert private_uses("def _read(): ...\nclass A:\n    def _b(self): ...\nA()._b()") == []
    assert private_uses("class Quick(Theirs):\n    def f(self): return self._object") == []
    assert private_uses("from __future__ import annotations\nmodule.__name__") == []


def test_no_module_uses_private_names_of_another_one() -> None:
    uses = [
        f"{path.relative_to(PACKAGE)}, {use}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for use in private_uses(path.read_text(encoding="utf-8"))
    ]
    assert not uses, "give what is shared a public name and a docstring:\n" + "\n".join(uses)
