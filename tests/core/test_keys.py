from __future__ import annotations

import ast
import math
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import numpy as np
import pytest
import torch

from misr4d import ATOMIC
from misr4d.companion import study
from misr4d.companion.bench import Row, measure_rows, row_key
from misr4d.companion.study import METHODS, NETWORK_OF
from misr4d.companion.sweep import Study, run_key
from misr4d.core import keys
from misr4d.core.datacube import patterns_from_views
from misr4d.core.estimate import Estimate
from misr4d.core.keys import DATA, PACKAGE, result_key, trace
from misr4d.learn import examples, learned
from misr4d.reconstruction import refine
from misr4d.reconstruction.direct import DirectPtychography
from misr4d.reconstruction.tuned import PtychographySettings
from misr4d.simulate import reciprocity
from misr4d.specimens import catalogue as specimens
from misr4d.specimens.catalogue import SPECIMENS, data_files, make_specimen, regime_of
from misr4d.specimens.fetch import cache_folder
from tests.conftest import HAS_PY4DSTEM, weak_phase

MODULES = {path.stem: path for path in PACKAGE.rglob("*.py") if path.stem != "__init__"}
SCENE = {
    *("acquisition", "bench", "datacube", "detector", "dose", "ice", "metrics", "multislice"),
    *("optics", "potential", "patterns", "catalogue", "spectra", "study"),
}
"""What a row of the bench depends on whatever its method."""
NETWORK = {"configuration", "direct", "learned", "networks"}
NOWHERE = {"audit", "claims", "cli", "demo", "figures", "comparison", "goals", "html", "report"}
"""What no image and no row depends on."""


def of_method(method: str) -> Callable[[], str]:
    return lambda: row_key(Row("Li2CoO3", method, 300.0, 0), 0)


def ptychography() -> Callable[..., Any]:
    """Imported when it is asked for, since py4DSTEM may not be installed."""
    from misr4d.reconstruction import classical

    return classical.ptychography


def marked(names: Iterable[str]) -> list[Any]:
    """Names as parameters; ptychography itself needs py4DSTEM."""
    marks = {"ptychography": [pytest.mark.classical]}
    return [pytest.param(name, marks=marks.get(name, [])) for name in names]


NOTEBOOK = """
from misr4d import plotting
from misr4d.companion import figures
from misr4d.specimens.catalogue import make_specimen
plotting.use_style()
figures.output_folder()
make_specimen("Li2CoO3")
"""

# By result: its key, the modules that it depends on, and some that it must not depend on.
CACHES: dict[str, tuple[Callable[[], str], set[str], set[str]]] = {
    "views": (
        lambda: result_key(reciprocity.simulate_views, data=()),
        {"acquisition", "optics", "potential", "reciprocity"},
        {"direct", "dose", "patterns", "refine", "catalogue", "study"},
    ),
    "ptychography": (
        lambda: result_key(ptychography(), data=()),
        {"acquisition", "classical", "datacube", "detector", "optics", "tuned"},
        {"direct", "learned", "patterns", "reciprocity", "refine", "study"},
    ),
    "refined": (
        lambda: result_key(refine.refine, data=()),
        {"acquisition", "direct", "dose", "optics", "refine"},
        {"classical", "patterns", "tuned", "catalogue", "spectra", "study"},
    ),
    "example": (
        lambda: result_key(examples.simulate_example, data=()),
        {
            *("acquisition", "corpus", "direct", "optics", "potential", "patterns", "reciprocity"),
            *("catalogue", "examples"),
        },
        {"classical", "learned", "losses", "refine", "study"},
    ),
    "row: iDPC": (of_method("iDPC"), SCENE | {"dpc"}, {"classical", "direct", "refine"}),
    "row: ptychography": (
        of_method("ptychography"),
        SCENE | {"classical", "direct", "tuned"},  # it starts from the direct phase
        {"corpus", "learned", "reciprocity", "refine", "training"},
    ),
    "row: direct": (of_method("direct"), SCENE | {"direct"}, {"classical", "learned", "refine"}),
    "row: informed": (of_method("informed"), SCENE | NETWORK, {"classical", "corpus", "refine"}),
    "row: refined": (
        of_method("refined"),
        SCENE | NETWORK | {"refine", "tuned"},
        {"classical", "corpus", "losses", "reciprocity"},
    ),
    "sweep": (
        lambda: run_key(
            Study("a", None, ()), {"specimen": "CuZr", "method": "direct", "dose": 100.0, "draw": 0}
        ),
        SCENE | {"direct", "sweep"},
        {"classical", "refine", "reciprocity"},
    ),
    "page": (
        lambda: result_key(NOTEBOOK),
        {"figures", "plotting", "catalogue"},
        {"classical", "direct", "dose", "optics", "study"},
    ),
}


@pytest.fixture
def touched(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """Change what the source of a module is read as."""
    read = keys._read
    changed: dict[str, Any] = {}

    def altered(path: Path) -> Any:
        return changed.get(path.stem) or read(path)

    def touch(module: str, added: str = "assert True\n") -> None:
        text = MODULES[module].read_text(encoding="utf-8") + added
        changed.clear()
        changed[module] = keys._divide(keys._Undocumented().visit(ast.parse(text)))
        keys._trace.cache_clear()

    monkeypatch.setattr(keys, "_read", altered)
    yield touch
    keys._trace.cache_clear()


@pytest.mark.parametrize("name", marked(CACHES))
def test_a_key_changes_with_what_it_depends_on_and_with_nothing_else(
    name: str, touched: Callable[[str], None]
) -> None:
    make, needed, foreign = CACHES[name]
    before = make()
    changed = set()
    for module in needed | foreign | NOWHERE:
        touched(module)
        if make() != before:
            changed.add(module)
    assert needed <= changed
    assert not changed & (foreign | (NOWHERE - needed))


def test_rows_of_every_method_are_untouched_by_what_only_draws_or_judges(
    touched: Callable[[str], None],
) -> None:
    before = {method: of_method(method)() for method in METHODS}
    assert len(set(before.values())) == len(METHODS)
    for module in NOWHERE | {"keys", "workers", "reading"}:
        touched(module)
        assert {method: of_method(method)() for method in METHODS} == before


def test_comments_and_unused_functions_do_not_enter(
    touched: Callable[[str, str], None],
) -> None:
    before = of_method("direct")()
    touched("direct", "# a comment\n\ndef unused() -> int:\n    return 1\n")
    assert of_method("direct")() == before
    assert result_key("a = 1  # one\n") == result_key("a = 1\n") != result_key("a = 2\n")


SUM = """
def total(values, scale=1.0):
    found = 0.0
    for one in values:
        found += scale * one
    return sum(part for part in [found])
"""


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"found": "weighted_sum", "one": "value", "part": "term"}, True),
        ({"found": "one", "one": "found"}, True),
        ({"found": "one"}, False),  # two variables become one
        ({"scale": "gain"}, False),  # a parameter, which callers may name
        ({"sum": "max"}, False),
        ({"scale * one": "one * scale"}, False),
    ],
)
def test_names_of_a_functions_own_variables_do_not_enter(
    change: dict[str, str], same: bool
) -> None:
    changed = SUM
    for number, old in enumerate(change):
        changed = changed.replace(old, f"<{number}>")
    for number, new in enumerate(change.values()):
        changed = changed.replace(f"<{number}>", new)
    ast.parse(changed)
    assert (trace(SUM).digest == trace(changed).digest) == same


def test_an_import_that_may_fail_enters_like_any_other(
    touched: Callable[[str, str], None],
) -> None:
    """It binds a name or stops; what chooses between two meanings is code that counts."""
    before = of_method("direct")()
    for plain in (
        "try:\n    import h5py\nexcept ImportError as e:\n    raise ImportError('no') from e\n",
        "if 1 + 1 == 2:\n    import h5py\n",
    ):
        touched("direct", plain)
        assert of_method("direct")() == before
    for choice in (
        "try:\n    import h5py as f\nexcept ImportError:\n    import zarr as f\n",
        "try:\n    import h5py\nexcept ImportError:\n    print('none')\n",
        "if 1 + 1 == 2:\n    import h5py as f\nelse:\n    import zarr as f\n",
        "raise ImportError\n",
    ):
        touched("direct", choice)
        assert of_method("direct")() != before
    text = "try:\n    import h5py\nexcept ImportError:\n    raise\nname = h5py.File\n"
    assert trace(text).outside == ("h5py",)
    assert result_key(text) == result_key("import h5py\nname = h5py.File\n")


def test_a_numpy_scalar_has_one_key_under_every_numpy() -> None:
    """NumPy 2 prints ``np.float64(0.1)`` where NumPy 1 prints ``0.1``."""
    digests = []
    for value in (np.float64(0.1), np.float32(0.1), np.int64(3)):
        pieces: list[bytes] = []
        keys._absorb(lambda piece, pieces=pieces: pieces.append(bytes(piece)), value, [])
        digests.append(b"".join(pieces))
    assert digests == [
        b"<float64>0.1</>",
        b"<float32>0.10000000149011612</>",
        b"<int64>3</>",
    ]
    with pytest.raises(TypeError, match="is nan"):
        result_key("", given=np.float64("nan"))


def calls(work: Callable[[], object]) -> set[str]:
    """Run something, and list the package's functions that were called."""
    called: set[CodeType] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call":  # of every package, so as little as can be is done here
            called.add(frame.f_code)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
    seen: set[str] = set()
    for code in called:
        path = Path(code.co_filename)
        if path.is_relative_to(PACKAGE):
            module = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
            seen.add(f"{module}:{code.co_qualname.split('.<locals>')[0]}")
    return seen


def untraced(work: Callable[[], object], *roots: Callable[..., Any], **options: Any) -> set[str]:
    """Functions that ran without being part of the key."""
    known = {label for label, _ in trace(*roots, **options).parts}
    shells = {label for label in known if any(other.startswith(f"{label}.") for other in known)}
    missed = set()
    for label in calls(work):
        owner, _, member = label.rpartition(".")
        dunder = member.startswith("__")
        inside = owner in known and (dunder or owner not in shells)
        made_here = label.endswith(("<module>", "<lambda>", "__create_fn__"))
        if not (label in known or inside or made_here or label.startswith("misr4d.core.keys:")):
            missed.add(label)
    return missed


@dataclass(frozen=True)
class Run:
    """Something that is cached, on a small scale."""

    roots: tuple[Callable[..., Any], ...]
    work: Callable[[], object]


@cache
def small_runs() -> dict[str, Run]:
    acquisition = replace(ATOMIC, scan_shape=(32, 32))
    potential, _ = weak_phase()
    views = reciprocity.simulate_views(potential, acquisition)
    direct = DirectPtychography(acquisition, 3, aliases=3)
    counts = torch.poisson(views * 50, generator=torch.Generator().manual_seed(0))
    image = direct(counts / 50)
    first = Estimate(image, torch.full_like(image, 0.1))
    cube, _ = patterns_from_views(views, acquisition)
    settings = PtychographySettings(iterations=1)
    runs = {
        "views": Run(
            (reciprocity.simulate_views,),
            lambda: reciprocity.simulate_views(potential, acquisition),
        ),
        "refined": Run(
            (refine.refine,), lambda: refine.refine(counts, direct, 9000.0, first, evaluations=2)
        ),
        "example": Run(
            (examples.simulate_example,), lambda: examples.simulate_example("molecular", 0, 0)
        ),
    }
    if HAS_PY4DSTEM:
        solve = ptychography()
        runs["ptychography"] = Run((solve,), lambda: solve(cube, acquisition, 3, settings))
    return runs


@pytest.mark.parametrize("name", marked(["views", "refined", "ptychography", "example"]))
def test_whatever_runs_is_part_of_the_key(name: str) -> None:
    """The trace by syntax against what is called as an image is made."""
    run = small_runs()[name]
    assert not untraced(run.work, *run.roots)


@pytest.mark.classical
def test_whatever_makes_a_row_is_part_of_its_key() -> None:
    specimen = "apoferritin"
    methods = [name for name in METHODS if name not in ("ptychography", "refined")]
    study.make_scene.cache_clear()
    row = Row(specimen, methods[0], 300.0, 0)
    apart = {"apart": ("misr4d.companion.study:METHODS",)}
    assert not untraced(lambda: measure_rows([row], 0), measure_rows, METHODS[methods[0]], **apart)
    measurement = study.make_scene(specimen).measure(300.0, 0)
    for name in methods:
        work = METHODS[name]
        assert not untraced(lambda work=work: work(measurement), measure_rows, work, **apart)


def test_every_file_of_the_package_has_its_reader() -> None:
    """A file of data that no reader declares would change results under the same key."""
    folder = PACKAGE / "data"
    declared = {path for globs in DATA.values() for glob in globs for path in folder.glob(glob)}
    # A file may also be named by a string, in the package or in a notebook.
    sources = [*PACKAGE.rglob("*.py"), *(PACKAGE.parent / "notebooks").glob("*.py")]
    code = "".join(path.read_text(encoding="utf-8") for path in sources)
    declared |= {path for path in folder.glob("*.json") if f'"{path.name}"' in code}
    present = {p for p in folder.rglob("*") if p.is_file() and p.suffix not in (".py", ".pyc")}
    assert present == declared
    code = 'from importlib.resources import files\nfiles("misr4d") / "data" / "ablations.json"\n'
    assert trace(code).files == ["ablations.json"]
    assert "CuZr.npz" in trace(make_specimen).files


@pytest.mark.parametrize("name", SPECIMENS)
def test_a_specimens_files_are_those_that_it_is_made_from(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    load = np.load
    monkeypatch.setattr(
        specimens.np, "load", lambda path: (opened.append(Path(path).name), load(path))[1]
    )
    made = make_specimen(name)
    assert tuple(opened) == data_files(name)
    assert made.regime == regime_of(name)


@pytest.mark.parametrize("method", NETWORK_OF)
def test_a_methods_network_is_the_one_that_it_loads(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []

    def note(name: str, device: str = "cpu") -> Any:
        loaded.append(name)
        raise InterruptedError

    for module in (learned, study):
        monkeypatch.setattr(module, "load_network", note)
    scene = study.place(make_specimen("Li2CoO3"))
    measurement = scene.expose(300.0, 0)
    with pytest.raises(InterruptedError):
        METHODS[method](measurement)
    assert loaded == [NETWORK_OF[method]]


def test_a_rows_key_holds_its_weights_its_specimen_and_its_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def all_keys() -> dict[str, str]:
        rows = [Row(s, m, 300.0, 0) for s in ("CuZr", "Li2CoO3") for m in METHODS]
        return {f"{row.specimen} {row.method}": row_key(row, 0) for row in rows}

    def changed() -> set[str]:
        after = all_keys()
        return {name for name, value in before.items() if after[name] != value}

    before = all_keys()
    of_file = keys._file_hash
    for file, expected in (
        ("DualPath.safetensors", {"CuZr dual path", "Li2CoO3 dual path"}),
        ("CuZr.npz", {f"CuZr {method}" for method in METHODS}),
        ("ptychography_tuning.json", set()),
    ):
        monkeypatch.setattr(
            keys, "_file_hash", lambda path, file=file: of_file(path)[path.name == file :]
        )
        assert changed() == expected
    monkeypatch.setattr(keys, "_file_hash", of_file)
    monkeypatch.setattr(study, "ptychography_settings", lambda *_: PtychographySettings())
    assert changed() == {"CuZr ptychography", "Li2CoO3 ptychography"}


@pytest.mark.parametrize(
    "given",
    [
        1,
        1.0,
        True,
        "1",
        None,
        (1,),
        [1],
        {"a": 1},
        math.inf,
        np.ones(2),
        np.ones(2, np.float32),
        torch.ones(2, 1),
        ATOMIC,
        replace(ATOMIC, semiangle=9.0),
        ((1,), 2),
        ((1, 2),),
    ],
    ids=repr,
)
def test_each_argument_has_a_key_of_its_own(given: object) -> None:
    others = [1, 1.0, True, "1", None, (1,), [1], {"a": 1}, math.inf, ((1,), 2), ((1, 2),), ATOMIC]
    same = [o for o in others if type(o) is type(given) and o == given]
    key = result_key("", given=given)
    assert [o for o in others if result_key("", given=o) == key] == same


def test_what_cannot_enter_a_key_is_refused() -> None:
    with pytest.raises(TypeError, match="type function cannot enter a key"):
        result_key("", given=calls)
    with pytest.raises(TypeError, match="is nan"):
        result_key("", given=math.nan)
    with pytest.raises(ValueError, match="cannot be traced; expected a named function of misr4d"):
        result_key(lambda: 1)
    with pytest.raises(ValueError, match=r"import \*` cannot be traced; import names from full"):
        result_key("from misr4d.companion.study import *")


class Longer(Estimate):
    """A kind of estimate that no code of the package names."""


def test_an_argument_of_a_kind_brings_its_own_code() -> None:
    """A subclass that the code never names enters with the argument."""
    values = torch.zeros(2, 2), torch.ones(2, 2)
    assert result_key("", given=Longer(*values)) != result_key("", given=Estimate(*values))


def test_tests_keep_out_of_the_users_cache(cache_of_tests: Path) -> None:
    """Neither a test nor a process that it starts reads or writes ``~/.cache``."""
    code = "from misr4d.specimens.fetch import cache_folder; print(cache_folder())"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert cache_folder() == cache_of_tests == Path(child.stdout.strip())
    assert Path.home() / ".cache" not in cache_of_tests.parents


def test_two_builds_of_one_release_share_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose PyTorch is not the CPU's build would find every row of the study stale."""
    real = keys.version
    monkeypatch.setattr(keys, "version", lambda name: real(name).partition("+")[0] + "+cu130")
    keys._version.cache_clear()
    other = keys._version("torch")
    monkeypatch.undo()
    keys._version.cache_clear()
    assert other == keys._version("torch") == real("torch").partition("+")[0]
