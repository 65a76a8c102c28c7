"""One set of pins: pyproject, constraints.txt and environment.yml cannot drift apart."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {name.lower().replace("_", "-"): pin for name, pin in pairs}


def direct() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    return {re.split(r"[<>=!\[; ]", item)[0].lower() for group in groups for item in group}


def test_every_direct_dependency_is_pinned_and_installed_so() -> None:
    for name in direct():
        assert name in pins(), name
        assert version(name).split("+")[0] == pins()[name], name


def test_conda_environment_leads_to_the_same_pins() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    conda = [item for item in environment["dependencies"] if isinstance(item, str)]
    (pip,) = [item["pip"] for item in environment["dependencies"] if isinstance(item, dict)]
    assert pip == ["-c constraints.txt", "-e .[book,test]"]
    assert "python=3.11" in conda
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == ">=3.11,<3.12"
    # Nothing that pip pins may be chosen by conda as well.
    assert not {re.split(r"[<>=]", item)[0] for item in conda} & (set(pins()) - {"pip"})


def test_make_installs_under_the_constraints() -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert '-c constraints.txt -e ".[book,test]"' in makefile
