"""One key for every result on disk: a hash of the code, data and arguments that it depends on.

Code is traced by its syntax, definition by definition. The trace starts at the function that makes
the result and follows every name, through every module of the package. Five things do not enter:
comments, docstrings, layout, definitions that are never named, and the module in which a definition
is written. A definition that moves with its text unchanged gives the same key. The names of a
function's variables do not enter either, except those of its parameters. For external packages two
things enter: the versions of those that the traced code names, and the full names of its imports.

The caller states what the trace cannot see: files that are read (:data:`DATA`), and tables of
functions of which a result uses one entry (`apart`). ``tests/core/test_keys.py`` runs the cached
functions and compares every function that was called with the trace.
"""

from __future__ import annotations

import ast
import copy
import hashlib
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache, cached_property
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

__all__ = ["DATA", "PACKAGE", "Trace", "result_key", "trace"]

PACKAGE = Path(__file__).resolve().parents[1]
"""Folder of the package whose sources are traced."""

DATA: Mapping[str, Sequence[str]] = {
    "specimens.catalogue": ("*.npz",),
    "learn.learned": ("weights/*",),
    "reconstruction.tuned": (
        "contrast_tuning.json",
        "ptychography_tuning.json",
        "refine_tuning.json",
    ),
}
"""Files below ``data`` that a module reads; a file may also be named by a string in the code."""

Root = Callable[..., Any] | str
"""A function or class of the package, or the source text of a notebook or a script."""


@dataclass
class _Module:
    """Top-level statements of one source file, docstrings removed.

    Parameters
    ----------
    bound : dict
        Statements by the name that they bind.
    loose : list of ast.stmt
        Statements that bind no name. They always enter.
    imports : dict
        Local name to (module, name). The second is empty if the module itself is meant.
    """

    bound: dict[str, list[ast.stmt]] = field(default_factory=dict)
    loose: list[ast.stmt] = field(default_factory=list)
    imports: dict[str, tuple[str, str]] = field(default_factory=dict)


class _Undocumented(ast.NodeTransformer):
    """Removes docstrings: they change no result."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [statement for statement in node.body if not _is_text(statement)] or [
                ast.Pass()
            ]
        return node


class _Unimported(ast.NodeTransformer):
    """Removes imports."""

    def visit_Import(self, node: ast.Import) -> None:
        """Leave it out."""

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """Leave it out."""


class _Numbered(ast.NodeTransformer):
    """Numbers the variables of a function, in the order in which it names them."""

    def __init__(self, variables: set[str]) -> None:
        self.variables = variables
        self.numbers: dict[str, str] = {}

    def visit_Name(self, node: ast.Name) -> ast.Name:
        """Replace a variable by a number, which cannot be another name."""
        if node.id in self.variables:
            node.id = self.numbers.setdefault(node.id, str(len(self.numbers)))
        return node


class _Anonymous(ast.NodeTransformer):
    """Makes functions equal if they differ only in the names of their variables."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """Replace the variables of a function, and of functions inside it, by numbers."""
        nodes = list(ast.walk(node))
        stored = {p.id for p in nodes if isinstance(p, ast.Name) and isinstance(p.ctx, ast.Store)}
        # Names with a meaning outside this function, or bound in another way, are not changed.
        reserved = {p.arg for p in nodes if isinstance(p, ast.arg)}
        for child in nodes:
            if isinstance(child, ast.Global | ast.Nonlocal):
                reserved.update(child.names)
            elif isinstance(child, ast.ExceptHandler | ast.MatchAs | ast.MatchStar):
                reserved.add(child.name or "")
            elif isinstance(child, ast.ClassDef):
                reserved.update(p.id for p in ast.walk(child) if isinstance(p, ast.Name))
            elif isinstance(child, ast.MatchMapping):
                reserved.add(child.rest or "")
        return _Numbered(stored - reserved).visit(node)  # type: ignore[no-any-return]


def _is_text(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _imported(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield the names that an import binds, and what each means."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            full_name = alias.name if alias.asname else alias.name.split(".")[0]
            yield alias.asname or full_name, (full_name, "")
        return
    if node.level or any(alias.name == "*" for alias in node.names):
        raise ValueError(f"`{ast.unparse(node)}` cannot be traced; import names from full modules")
    for alias in node.names:
        yield alias.asname or alias.name, (str(node.module), alias.name)


def _only_imports(node: ast.stmt) -> bool:
    """Whether a statement only imports, or raises where an import fails.

    An ``if`` with an ``else``, or an ``except`` that does more than raise, is a choice: False.
    """
    if isinstance(node, ast.If):
        return not node.orelse and all(map(_only_imports, node.body))
    if isinstance(node, ast.Try):
        handler_statements = [statement for handler in node.handlers for statement in handler.body]
        guarded_statements = [*node.body, *node.orelse, *node.finalbody]
        return all(map(_only_imports, guarded_statements)) and all(
            isinstance(p, ast.Raise) for p in handler_statements
        )
    return isinstance(node, ast.Import | ast.ImportFrom | ast.Pass)


def _divide(tree: ast.Module) -> _Module:
    """Sort statements by the names they bind; those inside ``if`` and ``try`` are included."""
    module = _Module()

    def names(target: ast.expr) -> list[str]:
        if isinstance(target, ast.Tuple | ast.List):
            return [name for element in target.elts for name in names(element)]
        return [target.id] if isinstance(target, ast.Name) else []

    for statement in tree.body:
        bound: list[str] = []
        for node in ast.walk(statement) if isinstance(statement, ast.If | ast.Try) else [statement]:
            if isinstance(node, ast.Import | ast.ImportFrom):
                module.imports.update(_imported(node))
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                bound.append(node.name)
            elif isinstance(node, ast.Assign):
                bound += [name for target in node.targets for name in names(target)]
            elif isinstance(node, ast.AnnAssign | ast.AugAssign):
                bound += names(node.target)
        for name in bound:
            module.bound.setdefault(name, []).append(statement)
        if not bound and not _only_imports(statement):
            module.loose.append(statement)
    return module


@cache
def _source(root: Path, module: str) -> Path | None:
    package, *submodules = module.split(".")
    if package != root.name:
        return None
    place = root.joinpath(*submodules)
    for path in (place.with_suffix(".py"), place / "__init__.py"):
        if path.is_file() and (submodules or path.name == "__init__.py"):
            return path
    return None


@cache
def _read(path: Path) -> _Module:
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return _divide(_Undocumented().visit(tree))


@dataclass(frozen=True)
class Trace:
    """What some code depends on.

    Parameters
    ----------
    parts : tuple of (str, str)
        Names of the definitions that are reached, such as ``misr4d.companion.study:Scene.truth``,
        sorted, with the hash of each.
    outside : tuple of str
        What they import from outside this package, such as ``numpy`` or ``torch.nn``, sorted.
    texts : frozenset of str
        Every string in them.
    """

    parts: tuple[tuple[str, str], ...]
    outside: tuple[str, ...]
    texts: frozenset[str]

    @cached_property
    def digest(self) -> bytes:
        """Hash of the definitions and of the versions of what is outside."""
        code = sorted((label.rpartition(":")[2], node) for label, node in self.parts)
        packages = {name.split(".")[0] for name in self.outside} - sys.stdlib_module_names
        versions = [(name, _version(name)) for name in sorted(packages)]
        contents = (code, self.outside, versions, sys.version_info[:2])
        return hashlib.sha256(repr(contents).encode()).digest()

    @property
    def modules(self) -> set[str]:
        """Modules of the package that enter, such as ``study``."""
        return {name.split(":")[0].partition(".")[2] for name, _ in self.parts}

    @property
    def files(self) -> list[str]:
        """Files below ``data`` that these modules read, or that a string names."""
        folder = PACKAGE / "data"
        globs = [glob for module in self.modules for glob in DATA.get(module, ())]
        paths = {path for glob in globs for path in folder.glob(glob)}
        paths |= {path for path in folder.glob("*.json") if path.name in self.texts}
        return sorted(path.relative_to(folder).as_posix() for path in paths)


class _Tracer:
    """Follows names from definition to definition."""

    def __init__(self, root: Path, apart: Iterable[str]) -> None:
        self.root = root
        self.reached: dict[str, ast.AST] = {name: ast.Pass() for name in apart}
        self.outside: set[str] = set()
        self.attributes: set[str] = set()
        self.texts: set[str] = set()
        # Methods of dataclasses, which enter only where their name is used.
        self.waiting: dict[str, list[tuple[str, str, ast.AST]]] = {}

    def file(self, module: str) -> Path | None:
        """Source of a module of the package."""
        return _source(self.root, module)

    def reach(self, module: str, name: str) -> None:
        """Enter a name of a module, wherever it is defined. An empty name is the whole module."""
        if module.split(".")[0] != self.root.name:
            self.outside.add(f"{module}.{name}".rstrip("."))
            return
        if f"{module}.{name}".startswith(f"{self.root.name}.core.keys"):
            return  # a key names a result and changes none
        path = self.file(module)
        if path is None:
            raise ValueError(f"{module} has no source below {self.root}; it cannot be traced")
        source = _read(path)
        submodule = self.file(f"{module}.{name}") if name else None
        if name in source.bound:
            for index, statement in enumerate(source.bound[name]):
                self.enter(module, f"{name}#{index}" if index else name, statement)
        elif name in source.imports:
            self.reach(*source.imports[name])
        elif name.startswith("__"):
            pass  # of the module itself, such as __file__
        elif submodule is None and "__getattr__" in source.bound:
            raise ValueError(
                f"{module} gives {name} only when it runs, which cannot be traced; import it from "
                "where it is defined, or also below `if TYPE_CHECKING`"
            )
        elif submodule is None:
            for bound in source.bound:
                self.reach(module, bound)
        if submodule is not None:
            self.loose(f"{module}.{name}")

    def loose(self, module: str) -> None:
        """Enter the statements of a module that always run."""
        path = self.file(module)
        assert path is not None
        for index, statement in enumerate(_read(path).loose):
            self.enter(module, f"statement {index}", statement)

    def enter(self, module: str, name: str, node: ast.AST) -> None:
        """Add a definition and everything that it names."""
        label = f"{module}:{name}"
        if label in self.reached:
            return
        if isinstance(node, ast.ClassDef) and _is_dataclass(node):
            node, methods = _shell(node)
            for method in methods:
                if method.name in self.attributes:
                    self.enter(module, f"{name}.{method.name}", method)
                else:
                    waiting = self.waiting.setdefault(method.name, [])
                    waiting.append((module, f"{name}.{method.name}", method))
        self.reached[label] = node
        if self.file(module) is not None:
            self.loose(module)
            self.follow(module, node, _read(self.file(module) or Path()))

    def follow(self, module: str, node: ast.AST, source: _Module) -> None:
        """Reach all names in some code. `source` gives their meaning."""
        local = dict(source.imports)
        nodes, inner_imports = _parts(node)
        local.update(inner_imports)
        uses_getattr = any(
            isinstance(p, ast.Name) and p.id in ("getattr", "attrgetter") for p in nodes
        )
        bases: set[int] = set()
        for child in nodes:
            if isinstance(child, ast.Attribute):
                self.call(child.attr)
                base = self._module_of(child.value, local)
                if base is not None:
                    bases.add(id(child.value))
                    self.reach(base, child.attr)
            elif isinstance(child, ast.Constant) and isinstance(child.value, str):
                self.texts.add(child.value)
                if uses_getattr:
                    self.call(child.value)
        for child in nodes:
            if not isinstance(child, ast.Name | ast.Attribute) or id(child) in bases:
                continue
            full_name = self._module_of(child, local)
            if full_name is not None:  # a module as such, which may be handed on
                self.reach(full_name, "")
            elif isinstance(child, ast.Name) and child.id in local:
                self.reach(*local[child.id])
            if isinstance(child, ast.Name) and child.id in source.bound:
                self.reach(module, child.id)

    def _module_of(self, node: ast.expr, local: Mapping[str, tuple[str, str]]) -> str | None:
        """Return the module that a name or a chain of attributes refers to, if any."""
        if isinstance(node, ast.Attribute):
            base = self._module_of(node.value, local)
            full_name = base and f"{base}.{node.attr}"
        else:
            target = local.get(node.id) if isinstance(node, ast.Name) else None
            full_name = target and ".".join(filter(None, target))
        return full_name if full_name and self.file(full_name) is not None else None

    def call(self, name: str) -> None:
        """Add the waiting methods of this name."""
        self.attributes.add(name)
        for module, label, node in self.waiting.pop(name, ()):
            self.enter(module, label, node)


def _is_dataclass(node: ast.ClassDef) -> bool:
    return any("dataclass" in ast.dump(decorator) for decorator in node.decorator_list)


@cache
def _shell(node: ast.ClassDef) -> tuple[ast.ClassDef, list[ast.FunctionDef]]:
    """Divide a dataclass into the part that always enters and the methods called by name."""
    methods = [
        statement
        for statement in node.body
        if isinstance(statement, ast.FunctionDef) and not statement.name.startswith("__")
    ]
    remaining = [statement for statement in node.body if statement not in methods]
    shell = ast.ClassDef(node.name, node.bases, node.keywords, remaining, node.decorator_list)
    return shell, methods


@cache
def _parts(node: ast.AST) -> tuple[list[ast.AST], dict[str, tuple[str, str]]]:
    """List the names, attributes and texts in some code, and its own imports."""
    nodes: list[ast.AST] = []
    imports: dict[str, tuple[str, str]] = {}
    for child in ast.walk(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            imports.update(_imported(child))
        elif isinstance(child, ast.Name | ast.Attribute | ast.Constant):
            nodes.append(child)
    return nodes, imports


@cache
def _node_hash(node: ast.AST) -> str:
    """Hash a definition without its imports, whose targets are traced, and its variables' names."""
    definition = _Anonymous().visit(_Unimported().visit(copy.deepcopy(node)))
    return hashlib.sha256(ast.dump(definition).encode()).hexdigest()


def trace(*roots: Root, apart: Sequence[str] = ()) -> Trace:
    """Find what functions, classes or texts of code depend on.

    Parameters
    ----------
    *roots : callable or str
        What makes the result: functions and classes of the package, or source text.
    apart : sequence of str
        Definitions that do not enter although they are named, such as
        ``misr4d.companion.study:METHODS``: a table of functions of which the result uses only those
        among `roots`.

    Raises
    ------
    ValueError
        If something named cannot be traced: a lambda, or a name that a module makes as it runs.
    """
    names = tuple(r if isinstance(r, str) else f"{r.__module__}:{r.__qualname__}" for r in roots)
    texts = tuple(isinstance(root, str) for root in roots)
    return _trace(PACKAGE, names, texts, tuple(apart))


@cache
def _trace(
    root: Path, roots: tuple[str, ...], texts: tuple[bool, ...], apart: tuple[str, ...]
) -> Trace:
    tracer = _Tracer(root, apart)
    for start, text in zip(roots, texts, strict=True):
        if text:
            source = _divide(_Undocumented().visit(ast.parse(start)))
            tree = ast.Module([s for part in source.bound.values() for s in part], [])
            tree.body += source.loose
            tracer.reached[f"text {len(tracer.reached)}:"] = tree
            tracer.follow("", tree, _Module(imports=source.imports))
            continue
        module, name = start.split(":")
        if "<" in name or module.split(".")[0] != root.name:
            raise ValueError(f"{start} cannot be traced; expected a named function of {root.name}")
        tracer.reach(module, name.split(".")[0])
        for part in name.split(".")[1:]:
            tracer.call(part)
    hashes = {
        label: _node_hash(node) for label, node in tracer.reached.items() if label not in apart
    }
    return Trace(
        tuple(sorted(hashes.items())), tuple(sorted(tracer.outside)), frozenset(tracer.texts)
    )


@cache
def _version(package: str) -> str:
    names = _distributions().get(package)
    # Not the build: "2.13.0+cpu" and PyPI's "2.13.0" are one release of PyTorch.
    return version(names[0]).partition("+")[0] if names else "none"


@cache
def _distributions() -> Mapping[str, list[str]]:
    return packages_distributions()


@cache
def _file_hash(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()


def result_key(
    *roots: Root,
    given: Any = (),
    data: Iterable[str] | None = None,
    apart: Sequence[str] = (),
) -> str:
    """Return the key of a result: 32 hexadecimal digits.

    Parameters
    ----------
    *roots, apart :
        As for :func:`trace`.
    given : object
        Arguments of the functions: numbers, texts, arrays, tensors, dataclasses, and sequences
        and mappings of these.
    data : iterable of str, optional
        Files below the package's ``data`` that enter; by default all files that the code may read.

    Raises
    ------
    ValueError, TypeError
        If code cannot be traced, or an argument cannot enter a key.
    FileNotFoundError
        If there is no such file.
    """
    digest = hashlib.sha256()
    classes: list[type] = []
    _absorb(digest.update, given, classes)
    package_classes = [
        c for c in dict.fromkeys(classes) if c.__module__.split(".")[0] == PACKAGE.name
    ]
    code = trace(*roots, *package_classes, apart=apart)
    digest.update(code.digest)
    for name in code.files if data is None else sorted(set(data)):
        digest.update(name.encode() + _file_hash(PACKAGE / "data" / name))
    return digest.hexdigest()[:32]


def _absorb(update: Callable[[Any], None], value: Any, classes: list[type]) -> None:
    """Add a value to a hash, so that different values of any type give different hashes."""
    kind = type(value)
    update(f"<{kind.__name__}>".encode())
    if isinstance(value, np.generic):
        value = value.item()  # its repr differs between NumPy 1 and 2
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray):
        update(f"{value.dtype} {value.shape}".encode())
        update(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)
    elif is_dataclass(value) and not isinstance(value, type):
        classes.append(kind)
        for item in fields(value):
            update(item.name.encode())
            _absorb(update, getattr(value, item.name), classes)
    elif isinstance(value, Mapping):
        for key in sorted(value, key=repr):
            _absorb(update, key, classes)
            _absorb(update, value[key], classes)
    elif isinstance(value, list | tuple | set | frozenset):
        for item in sorted(value, key=repr) if isinstance(value, set | frozenset) else value:
            _absorb(update, item, classes)
    elif value is None or isinstance(value, str | bytes | bool | int | float | complex):
        update(repr(value).encode())
        if isinstance(value, float) and math.isnan(value):
            raise TypeError("an argument is nan; expected a value that equals itself")
    else:
        raise TypeError(
            f"an argument of type {kind.__name__} cannot enter a key; expected numbers, texts, "
            "arrays, dataclasses, and sequences and mappings of these"
        )
    update(b"</>")
