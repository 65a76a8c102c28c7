"""Small true-to-scale measurements that several test modules share."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from ase import Atoms
from torch import Tensor

from misr4d import ATOMIC, Acquisition
from misr4d.companion.demo import record_scan
from misr4d.core import optics
from misr4d.core.workers import SIDE_BY_SIDE
from misr4d.io.emd import Recording
from misr4d.simulate.multislice import build_potential
from misr4d.specimens.catalogue import Specimen
from misr4d.specimens.potential import Potential

# For the workers of tests that run side by side, and for the processes that tests start.
os.environ.update(SIDE_BY_SIDE)
if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)

Test = TypeVar("Test", bound=Any)  # what has the path of its file

HAS_PY4DSTEM = find_spec("py4DSTEM") is not None
NO_PY4DSTEM = "needs py4DSTEM: pip install 'misr4d[classical]', on Python 3.11 or 3.12"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the seed of the order in which tests run."""
    parser.addoption(
        "--shuffle",
        type=int,
        metavar="SEED",
        help="seed of the order of test files and of the tests in each; 0 is the order as written "
        "(default: another seed each time, printed at the top)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Draw the order of this run, or take it from the process that started this worker."""
    drawn = getattr(config, "workerinput", {}).get("shuffle", random.SystemRandom().getrandbits(16))
    if config.option.shuffle is None:
        config.option.shuffle = drawn


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_configure_node(node: Any) -> None:
    """Tell a worker the order, since all of them must have the same."""
    node.workerinput["shuffle"] = node.config.option.shuffle


def pytest_report_header(config: pytest.Config) -> str:
    """Say how to repeat this order."""
    return f"order of tests: --shuffle {config.option.shuffle}"


LONGEST = (
    *("test_demo", "test_defocus", "test_bench", "test_study_rows", "test_training", "test_keys"),
    *("test_report", "test_study", "test_workers", "test_classical", "test_notebooks", "test_live"),
)
"""Files of a minute or more. They come first, so that no core waits for another at the end."""


def shuffled(items: list[Test], seed: int) -> list[Test]:
    """Shuffle test files, and the tests of each file, which stay together for their fixtures.

    The :data:`LONGEST` come before the others.
    """
    files: dict[Path, list[Test]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    if seed:
        generator = random.Random(seed)
        for tests in files.values():
            generator.shuffle(tests)
        order = list(files)
        generator.shuffle(order)
        order.sort(key=lambda path: path.stem not in LONGEST)
        files = {path: files[path] for path in order}
    return [item for tests in files.values() for item in tests]


@pytest.hookimpl(tryfirst=True)  # before pytest groups tests by the parameters of their fixtures
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put tests in random order, and leave out what needs py4DSTEM where it is not installed."""
    items[:] = shuffled(items, config.option.shuffle)
    if not HAS_PY4DSTEM:
        for item in items:
            if item.get_closest_marker("classical"):
                item.add_marker(pytest.mark.skip(reason=NO_PY4DSTEM))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many tests were left out for want of py4DSTEM."""
    skipped = terminalreporter.stats.get("skipped", [])
    number = sum(NO_PY4DSTEM in str(report.longrepr) for report in skipped)
    if number:
        terminalreporter.write_line(f"{number} tests left out: each {NO_PY4DSTEM}")


@pytest.fixture(scope="session", autouse=True)
def cache_of_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep tests, and the processes that they start, out of the user's cache.

    Tests that run side by side share one folder: what is in it is written whole, under its key.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MISR4D_CACHE", str(folder))
        yield folder


@dataclass(frozen=True)
class Scene:
    """A specimen's potential and the measurement made of it."""

    potential: Potential
    acquisition: Acquisition


def perovskite(thickness: float) -> Specimen:
    """CaTiO₃ in its cubic form, 4×4 cells of 3.795 Å, as many layers as the thickness holds."""
    a = 3.795
    cell = [("Ca", 0, 0, 0), ("Ti", 0.5, 0.5, 0.5)]
    cell += [("O", 0.5, 0.5, 0.0), ("O", 0.5, 0.0, 0.5), ("O", 0.0, 0.5, 0.5)]
    unit = Atoms([c[0] for c in cell], scaled_positions=[c[1:] for c in cell], cell=[a] * 3)
    atoms = unit * (4, 4, max(1, round(thickness / a)))
    # Displacements break the symmetry, so that a flipped or transposed axis cannot pass.
    atoms.positions += np.random.default_rng(1).normal(0, 0.15, atoms.positions.shape)
    height = atoms.cell.lengths()[2]
    atoms.positions[:, 2] = atoms.positions[:, 2] % height
    return Specimen("perovskite", "CaTiO₃", atoms, "atomic", "test", "test")


@pytest.fixture(scope="session", params=[4.0, 200.0], ids=["thin", "20nm"])
def perovskite_scene(request: pytest.FixtureRequest) -> Scene:
    """16×16 positions over a 15.18 Å cell, at least four slices."""
    specimen = perovskite(request.param)
    potential = build_potential(specimen, 0.25, 0.9 if request.param < 10 else 4.0)
    assert len(potential.slices) >= 4
    step = specimen.atoms.cell.lengths()[0] / 16
    pixel = ATOMIC.wavelength / specimen.atoms.cell.lengths()[0] * 1e3
    # abTEM's detector pixels are points: one frequency of the cell each.
    acquisition = replace(
        ATOMIC,
        step=(step, step),
        scan_shape=(16, 16),
        defocus=150.0,
        detector_pixel=pixel,
        pixel_samples=1,
    )
    return Scene(potential, acquisition)


def weak_phase(amplitude: float = 0.01, seed: int = 0) -> tuple[Potential, Tensor]:
    """One slice of smooth random phase over the atomic field, and that phase [rad]."""
    noise = torch.randn(192, 192, generator=torch.Generator().manual_seed(seed))
    qx, qy = optics.frequencies((192, 192), (1 / 3, 1 / 3))
    soft = torch.exp(-(qx**2 + qy**2) / 0.6**2)
    phase = torch.fft.ifft2(torch.fft.fft2(noise.double()) * soft).real
    phase = (phase - phase.mean()) / phase.std() * amplitude
    volts = (phase / optics.interaction_parameter(300e3)).float()[None]
    return Potential(volts, (64.0, 64.0), (1.0,)), phase.float()


@pytest.fixture(scope="session")
def small_recording() -> Recording:
    """32 × 32 positions over a corner of CaTiO₃ and the vacuum around it, at 2000 e⁻/Å²."""
    return record_scan("CaTiO3", 2000.0, positions=32)
