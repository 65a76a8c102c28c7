"""One key for every result on disk: a hash of the code, data and arguments that it depends on.

Code is traced by its syntax, definition by definition, from the function that makes the result to
all that it names, and to what these name, through every module of the package. Comments, docstrings
and layout do not enter, nor does what is never named, nor the module in which a definition lies:
one that is moved with its text unchanged makes the same results. Nor do the names of a function's
own variables, its parameters apart. Of packages outside, the versions enter of those that the
traced code names, and the full names of what it imports from them.

What the trace cannot see is said by the caller: files that are read (:data:`DATA`), and tables of
functions of which a result uses one entry (`apart`). ``tests/core/test_keys.py`` runs what is
cached and compares each function that was called with the trace.
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
        Statements that bind no name: they always enter.
    imports : dict
        Local name to (module, name), the latter empty where the module itself is meant.
    """

    bound: dict[str, list[ast.stmt]] = field(default_factory=dict)
    loose: list[ast.stmt] = field(default_factory=list)
    imports: dict[str, tuple[str, str]] = field(default_factory=dict)


class _Undocumented(ast.NodeTransformer):
    """Removes docstrings: they change no result."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [part for part in node.body if not _is_text(part)] or [ast.Pass()]
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
        """Put a number, which no other name can be, in a variable's place."""
        if node.id in self.variables:
            node.id = self.numbers.setdefault(node.id, str(len(self.numbers)))
        return node


class _Anonymous(ast.NodeTransformer):
    """Makes functions that differ in the names of their own variables alone the same."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """Give the variables of a function, and of those within it, numbers."""
        parts = list(ast.walk(node))
        stored = {p.id for p in parts if isinstance(p, ast.Name) and isinstance(p.ctx, ast.Store)}
        # Names that mean more than a variable of this function, or are bound in another way, stay.
        kept = {p.arg for p in parts if isinstance(p, ast.arg)}
        for part in parts:
            if isinstance(part, ast.Global | ast.Nonlocal):
                kept.update(part.names)
            elif isinstance(part, ast.ExceptHandler | ast.MatchAs | ast.MatchStar):
                kept.add(part.name or "")
            elif isinstance(part, ast.ClassDef):
                kept.update(p.id for p in ast.walk(part) if isinstance(p, ast.Name))
            elif isinstance(part, ast.MatchMapping):
                kept.add(part.rest or "")
        return _Numbered(stored - kept).visit(node)  # type: ignore[no-any-return]


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
            whole = alias.name if alias.asname else alias.name.split(".")[0]
            yield alias.asname or whole, (whole, "")
        return
    if node.level or any(alias.name == "*" for alias in node.names):
        raise ValueError(f"`{ast.unparse(node)}` cannot be traced; import names from full modules")
    for alias in node.names:
        yield alias.asname or alias.name, (str(node.module), alias.name)


def _only_imports(node: ast.stmt) -> bool:
    """Whether a statement imports, or fails to, and does nothing else.

    An ``if`` with an ``else``, and an ``except`` that does more than raise, choose between two.
    """
    if isinstance(node, ast.If):
        return not node.orelse and all(map(_only_imports, node.body))
    if isinstance(node, ast.Try):
        rescued = [part for handler in node.handlers for part in handler.body]
        tried = [*node.body, *node.orelse, *node.finalbody]
        return all(map(_only_imports, tried)) and all(isinstance(p, ast.Raise) for p in rescued)
    return isinstance(node, ast.Import | ast.ImportFrom | ast.Pass)


def _divide(tree: ast.Module) -> _Module:
    """Sort a file's statements by what they bind; those below ``if`` and ``try`` count as top."""
    module = _Module()

    def names(target: ast.expr) -> list[str]:
        if isinstance(target, ast.Tuple | ast.List):
            return [name for part in target.elts for name in names(part)]
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
    head, *rest = module.split(".")
    if head != root.name:
        return None
    place = root.joinpath(*rest)
    for path in (place.with_suffix(".py"), place / "__init__.py"):
        if path.is_file() and (rest or path.name == "__init__.py"):
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
        whole = (code, self.outside, versions, sys.version_info[:2])
        return hashlib.sha256(repr(whole).encode()).digest()

    @property
    def modules(self) -> set[str]:
        """Modules of the package that enter, such as ``study``."""
        return {name.split(":")[0].partition(".")[2] for name, _ in self.parts}

    @property
    def files(self) -> list[str]:
        """Files below ``data`` that these modules read, or that a string names."""
        folder = PACKAGE / "data"
        globs = [glob for module in self.modules for glob in DATA.get(module, ())]
        read = {path for glob in globs for path in folder.glob(glob)}
        read |= {path for path in folder.glob("*.json") if path.name in self.texts}
        return sorted(path.relative_to(folder).as_posix() for path in read)


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
        """Enter a name of a module, wherever it is defined; an empty one is the whole module."""
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
        """Enter the statements of a module that run whatever is used of it."""
        path = self.file(module)
        assert path is not None
        for index, statement in enumerate(_read(path).loose):
            self.enter(module, f"statement {index}", statement)

    def enter(self, module: str, name: str, node: ast.AST) -> None:
        """Take in a definition, and all that it names."""
        label = f"{module}:{name}"
        if label in self.reached:
            return
        if isinstance(node, ast.ClassDef) and _is_dataclass(node):
            node, methods = _shell(node)
            for part in methods:
                if part.name in self.attributes:
                    self.enter(module, f"{name}.{part.name}", part)
                else:
                    waiting = self.waiting.setdefault(part.name, [])
                    waiting.append((module, f"{name}.{part.name}", part))
        self.reached[label] = node
        if self.file(module) is not None:
            self.loose(module)
            self.follow(module, node, _read(self.file(module) or Path()))

    def follow(self, module: str, node: ast.AST, source: _Module) -> None:
        """Reach all names of a piece of code; `source` says what they mean."""
        local = dict(source.imports)
        parts, inner = _parts(node)
        local.update(inner)
        asks = any(isinstance(p, ast.Name) and p.id in ("getattr", "attrgetter") for p in parts)
        bases: set[int] = set()
        for part in parts:
            if isinstance(part, ast.Attribute):
                self.call(part.attr)
                base = self._module_of(part.value, local)
                if base is not None:
                    bases.add(id(part.value))
                    self.reach(base, part.attr)
            elif isinstance(part, ast.Constant) and isinstance(part.value, str):
                self.texts.add(part.value)
                if asks:
                    self.call(part.value)
        for part in parts:
            if not isinstance(part, ast.Name | ast.Attribute) or id(part) in bases:
                continue
            whole = self._module_of(part, local)
            if whole is not None:  # a module as such, which may be handed on
                self.reach(whole, "")
            elif isinstance(part, ast.Name) and part.id in local:
                self.reach(*local[part.id])
            if isinstance(part, ast.Name) and part.id in source.bound:
                self.reach(module, part.id)

    def _module_of(self, node: ast.expr, local: Mapping[str, tuple[str, str]]) -> str | None:
        """Return the module that a name or a chain of attributes means, if it means one."""
        if isinstance(node, ast.Attribute):
            base = self._module_of(node.value, local)
            whole = base and f"{base}.{node.attr}"
        else:
            target = local.get(node.id) if isinstance(node, ast.Name) else None
            whole = target and ".".join(filter(None, target))
        return whole if whole and self.file(whole) is not None else None

    def call(self, name: str) -> None:
        """Take in the waiting methods of a name."""
        self.attributes.add(name)
        for module, label, node in self.waiting.pop(name, ()):
            self.enter(module, label, node)


def _is_dataclass(node: ast.ClassDef) -> bool:
    return any("dataclass" in ast.dump(part) for part in node.decorator_list)


@cache
def _shell(node: ast.ClassDef) -> tuple[ast.ClassDef, list[ast.FunctionDef]]:
    """Divide a dataclass into what it always is and the methods that are called by name."""
    methods = [
        part
        for part in node.body
        if isinstance(part, ast.FunctionDef) and not part.name.startswith("__")
    ]
    stays = [part for part in node.body if part not in methods]
    shell = ast.ClassDef(node.name, node.bases, node.keywords, stays, node.decorator_list)
    return shell, methods


@cache
def _parts(node: ast.AST) -> tuple[list[ast.AST], dict[str, tuple[str, str]]]:
    """List the names, attributes and texts in a piece of code, and what it imports by itself."""
    parts: list[ast.AST] = []
    imports: dict[str, tuple[str, str]] = {}
    for part in ast.walk(node):
        if isinstance(part, ast.Import | ast.ImportFrom):
            imports.update(_imported(part))
        elif isinstance(part, ast.Name | ast.Attribute | ast.Constant):
            parts.append(part)
    return parts, imports


@cache
def _node_hash(node: ast.AST) -> str:
    """Hash a definition without its imports, whose targets are traced, and its variables' names."""
    whole = _Anonymous().visit(_Unimported().visit(copy.deepcopy(node)))
    return hashlib.sha256(ast.dump(whole).encode()).hexdigest()


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
    found = tuple(r if isinstance(r, str) else f"{r.__module__}:{r.__qualname__}" for r in roots)
    texts = tuple(isinstance(root, str) for root in roots)
    return _trace(PACKAGE, found, texts, tuple(apart))


@cache
def _trace(
    root: Path, roots: tuple[str, ...], texts: tuple[bool, ...], apart: tuple[str, ...]
) -> Trace:
    tracer = _Tracer(root, apart)
    for start, text in zip(roots, texts, strict=True):
        if text:
            source = _divide(_Undocumented().visit(ast.parse(start)))
            whole = ast.Module([s for part in source.bound.values() for s in part], [])
            whole.body += source.loose
            tracer.reached[f"text {len(tracer.reached)}:"] = whole
            tracer.follow("", whole, _Module(imports=source.imports))
            continue
        module, name = start.split(":")
        if "<" in name or module.split(".")[0] != root.name:
            raise ValueError(f"{start} cannot be traced; expected a named function of {root.name}")
        tracer.reach(module, name.split(".")[0])
        for part in name.split(".")[1:]:
            tracer.call(part)
    parts = {
        label: _node_hash(node) for label, node in tracer.reached.items() if label not in apart
    }
    return Trace(
        tuple(sorted(parts.items())), tuple(sorted(tracer.outside)), frozenset(tracer.texts)
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
        What the functions are given: numbers, texts, arrays, tensors, dataclasses, and sequences
        and mappings of these.
    data : iterable of str, optional
        Files below the package's ``data`` that enter; by default all that the code may read.

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
    own = [c for c in dict.fromkeys(classes) if c.__module__.split(".")[0] == PACKAGE.name]
    code = trace(*roots, *own, apart=apart)
    digest.update(code.digest)
    for name in code.files if data is None else sorted(set(data)):
        digest.update(name.encode() + _file_hash(PACKAGE / "data" / name))
    return digest.hexdigest()[:32]


def _absorb(update: Callable[[Any], None], value: Any, classes: list[type]) -> None:
    """Feed a value to a hash, so that different values of whatever kind feed it differently."""
    kind = type(value)
    update(f"<{kind.__name__}>".encode())
    if isinstance(value, np.generic):
        value = value.item()  # its own repr is another under NumPy 1 and 2
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray):
        update(f"{value.dtype} {value.shape}".encode())
        update(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)
    elif is_dataclass(value) and not isinstance(value, type):
        classes.append(kind)
        for part in fields(value):
            update(part.name.encode())
            _absorb(update, getattr(value, part.name), classes)
    elif isinstance(value, Mapping):
        for key in sorted(value, key=repr):
            _absorb(update, key, classes)
            _absorb(update, value[key], classes)
    elif isinstance(value, list | tuple | set | frozenset):
        for part in sorted(value, key=repr) if isinstance(value, set | frozenset) else value:
            _absorb(update, part, classes)
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
