"""One set of pins: pyproject, constraints.txt and environment.yml cannot drift apart."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
import tomllib
from importlib.metadata import requires, version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from packaging.markers import Marker
from packaging.requirements import Requirement

from tests.conftest import HAS_PY4DSTEM, LONGEST, shuffled

ROOT = Path(__file__).resolve().parent.parent


def pins(python: str | None = None) -> dict[str, str]:
    """What ``constraints.txt`` pins, for this Python or the one named (such as ``"3.13"``)."""
    where = {} if python is None else {"python_version": python}
    pairs = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        pin, _, marker = line.partition(";")
        if pin and not pin.startswith("#") and (not marker or Marker(marker).evaluate(where)):
            name, _, number = pin.strip().partition("==")
            pairs[name.lower().replace("_", "-")] = number
    return pairs


def project() -> dict[str, Any]:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    whole: dict[str, Any] = tomllib.loads(text)["project"]
    return whole


def direct() -> set[str]:
    """Packages that this Python is asked to install."""
    groups = [project()["dependencies"], *project()["optional-dependencies"].values()]
    wanted = [Requirement(item) for group in groups for item in group]
    names = {w.name.lower() for w in wanted if w.marker is None or w.marker.evaluate()}
    return names - {"misr4d"}


@pytest.mark.skipif(not HAS_PY4DSTEM, reason="not the environment of `make`: py4DSTEM is missing")
def test_every_direct_dependency_is_pinned_and_installed_so() -> None:
    for name in direct():
        assert name in pins(), name
        assert version(name).split("+")[0] == pins()[name], name


def test_each_python_has_one_pin_of_each_package() -> None:
    """py4DSTEM keeps NumPy below 2 where it is installed, and nothing does on Python 3.13."""
    for python, numpy in (("3.11", "1."), ("3.12", "1."), ("3.13", "2.")):
        found = pins(python)
        assert found["numpy"].startswith(numpy)
        assert set(found) == set(pins("3.11"))
        assert found["torch"] == pins("3.11")["torch"]
    (classical,) = map(Requirement, project()["optional-dependencies"]["classical"])
    assert classical.name == "py4dstem"
    assert classical.marker is not None
    have = [p for p in ("3.11", "3.12", "3.13") if classical.marker.evaluate({"python_version": p})]
    assert have == ["3.11", "3.12"]
    assert "py4dstem" not in project()["dependencies"]
    for extra in ("book", "test"):
        assert "misr4d[classical]" in project()["optional-dependencies"][extra]


def test_what_rosettasciio_needs_to_read_comes_with_the_package() -> None:
    """It leaves that to extras, and py4DSTEM's own requirements hid what was missing."""
    wanted = map(Requirement, requires("rosettasciio") or ())
    formats = ("app5", "arina", "blockfile", "hdf5")
    needed = {
        need.name.lower()
        for need in wanted
        if need.marker and any(need.marker.evaluate({"extra": name}) for name in formats)
    }
    core = {Requirement(item).name.lower() for item in project()["dependencies"]}
    assert "scikit-image" in needed
    assert needed <= core


def test_conda_environment_leads_to_the_same_pins() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    conda = [item for item in environment["dependencies"] if isinstance(item, str)]
    (pip,) = [item["pip"] for item in environment["dependencies"] if isinstance(item, dict)]
    assert pip == ["-c constraints.txt", "-e .[book,test]"]
    assert "python=3.11" in conda
    assert project()["requires-python"] == ">=3.11,<3.14"
    # Nothing that pip pins may be chosen by conda as well.
    assert not {re.split(r"[<>=]", item)[0] for item in conda} & (set(pins()) - {"pip"})


def test_make_installs_under_the_constraints() -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert '-c constraints.txt -e ".[book,test]"' in makefile


@pytest.mark.parametrize(
    ("python", "refused"),
    [("3.10.1", True), ("3.11.7", False), ("3.12.1", False), ("3.13.0", True)],
)
def test_make_says_which_python_the_book_needs(python: str, refused: bool) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (check,) = re.findall(r"@\$\(PYTHON\) -c '(.*)'", makefile)
    numbers = tuple(map(int, python.split(".")))
    fake = f"import sys; sys.version_info = {numbers}; sys.version = '{python} (main)'; "
    done = subprocess.run([sys.executable, "-c", fake + check], capture_output=True, text=True)
    assert (done.returncode != 0) == refused
    if refused:
        assert f"need Python 3.11 or 3.12, for which py4DSTEM can be had; this is {python}." in (
            done.stderr
        )
        assert "On Python 3.13 the package alone works" in done.stderr


def test_a_seed_is_an_order_of_files_and_of_their_tests(request: pytest.FixtureRequest) -> None:
    """Files stay whole, so that what their tests share is made once."""
    tests = [SimpleNamespace(path=Path(f"{file}.py"), test=i) for file in "abc" for i in range(8)]
    for seed in (1, 2):
        order = shuffled(tests, seed)
        assert order == shuffled(tests, seed)
        assert order != tests
        assert sorted(order, key=tests.index) == tests
        assert len([*itertools.groupby(order, key=lambda item: item.path)]) == 3
    assert shuffled(tests, 1) != shuffled(tests, 2)
    assert shuffled(tests, 0) == tests
    for seed in (1, 2):
        first = shuffled([*tests, SimpleNamespace(path=Path("test_demo.py"), test=0)], seed)[0]
        assert first.path.stem in LONGEST
    assert request.config.option.shuffle is not None
    assert set(LONGEST) <= {path.stem for path in Path(__file__).parent.rglob("test_*.py")}
