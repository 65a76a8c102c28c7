"""Every wrong input that was thought of: one clear line, exit code 2, nothing left behind."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from misr4d import cli
from misr4d.cli import main
from misr4d.io import scan
from misr4d.io.emd import Recording
from misr4d.io.reading import read_scan
from misr4d.report.reconstruct import reconstruct_scan
from misr4d.report.report import FILES as WRITTEN
from misr4d.report.report import Report
from misr4d.specimens import catalogue as specimens
from tests import bad_inputs
from tests.bad_inputs import CALLS, FILES, LISTS, VALUES, BadCall, BadFile


@pytest.fixture(scope="module")
def path(small_recording: Recording, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_recording.write(tmp_path_factory.mktemp("scan") / "scan.h5")


@pytest.fixture(scope="module")
def report(path: Path) -> Report:
    return reconstruct_scan(read_scan(path), method="direct")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def refused(done: Result, says: str, code: int = 2) -> None:
    assert done.exit_code == code, done.output
    (line,) = [x for x in done.output.splitlines() if x.startswith("Error: ")]
    assert says in line
    assert "Traceback" not in done.output


# A file that its reader gave up on is closed by the collector: here, and not in another test.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("bad", FILES, ids=lambda b: b.tried)
def test_a_bad_file_is_one_clear_line_and_leaves_nothing(
    bad: BadFile, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if bad.make is not None:
        bad.make(here / bad.name)
    monkeypatch.setattr(scan, "_memory", lambda: 2.0**28)  # so that small bombs are bombs
    done = call("reconstruct", bad.name, *bad.options, "--out", "result")
    refused(done, bad.says)
    assert {p.name for p in here.iterdir()} <= {bad.name}
    del done
    gc.collect()


@pytest.mark.parametrize("bad", LISTS, ids=lambda b: b.tried)
def test_a_bad_list_of_bad_pixels_is_refused(bad: BadFile, here: Path, path: Path) -> None:
    if bad.make is not None:
        bad.make(here / bad.name)
    refused(call("reconstruct", str(path), "--bad-pixels", bad.name), bad.says)
    assert {p.name for p in here.iterdir()} <= {bad.name}


@pytest.mark.parametrize("bad", CALLS, ids=lambda b: " ".join(b.arguments))
def test_a_wrong_call_is_one_clear_line_and_leaves_nothing(bad: BadCall, here: Path) -> None:
    refused(call(*bad.arguments), bad.says)
    assert not list(here.iterdir())


@pytest.mark.parametrize("bad", VALUES, ids=lambda b: " ".join(b.arguments))
def test_a_wrong_value_is_named(bad: BadCall, here: Path, path: Path) -> None:
    refused(call("reconstruct", str(path), "--method", "direct", *bad.arguments), bad.says)
    assert not list(here.iterdir())


def test_every_command_has_been_tried() -> None:
    assert {bad.arguments[0] for bad in CALLS} >= set(main.commands)


# --- Permissions ---------------------------------------------------------------------------------


@pytest.fixture
def powerless() -> Iterator[Path]:
    """A folder in which this process, even if it is root, has no rights but those it gives."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield folder
    finally:
        if root:
            os.seteuid(0)
        for sub in (folder, *folder.iterdir()):
            sub.chmod(0o700)
        shutil.rmtree(folder)


def test_a_file_without_permission_is_said_to_be_so(powerless: Path) -> None:
    np.save(powerless / "scan.npy", np.ones((32, 32, 9, 9)))
    (powerless / "scan.npy").chmod(0)
    (powerless / "closed").mkdir(mode=0)
    for name in ("scan.npy", "closed/scan.npy"):
        done = call("reconstruct", str(powerless / name), "--out", str(powerless / "result"))
        refused(done, "Permission denied")
    assert {p.name for p in powerless.iterdir()} == {"scan.npy", "closed"}


def test_a_folder_without_permission_is_refused_before_the_work(powerless: Path) -> None:
    (powerless / "closed").mkdir(mode=0o500)
    for command in (
        ("bench", "--out", "closed/table"),
        ("train", "--out", "closed/run"),
        ("simulate", "CaTiO3", "--dose", "300", "--out", "closed/scan.h5"),
        ("reconstruct", "scan.npy", "--out", "closed/result"),
    ):
        target = str(powerless / command[-1])
        refused(call(*command[:-1], target), "no permission for")
    assert not list((powerless / "closed").iterdir())


# --- What nobody foresaw, and interruptions -------------------------------------------------------


def test_what_nobody_foresaw_is_one_line_and_a_traceback_on_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("a fault\nof ours")

    monkeypatch.setattr(specimens, "describe", fail)
    done = call("info", "CaTiO3")
    refused(done, "ZeroDivisionError, which was not foreseen: a fault (`main --debug info", 1)
    done = call("--debug", "info", "CaTiO3")
    assert done.exit_code == 1
    assert "Traceback" in done.output
    assert done.output.count("Error: ZeroDivisionError") == 1
    done = call("--debug", "info", "unobtainium")  # bad input too shows where it was found
    assert done.exit_code == 2
    assert "make_specimen" in done.output


def test_an_interruption_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(specimens, "describe", interrupt)
    done = call("info", "CaTiO3")
    assert done.exit_code == 130
    assert done.output == "\nInterrupted; nothing is left half-written.\n"


@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_killed_while_it_writes_a_report_is_there_whole_or_not_at_all(
    number: signal.Signals,
    existing: bool,
    report: Report,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "deep" / "result"
    if existing:
        report.write(folder)
    before = {p.name: p.read_bytes() for p in folder.iterdir()} if existing else {}
    ready, go = os.pipe()

    def stuck(*_: Any) -> None:
        os.write(go, b"x")
        signal.pause()

    monkeypatch.setattr(Report, "_draw", stuck)
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGTERM, cli._terminate)
        try:
            report.write(folder)
        except SystemExit as error:
            os._exit(int(str(error)))
        os._exit(99)
    assert os.read(ready, 1) == b"x"
    os.kill(child, number)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.close(ready)
    os.close(go)
    left = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()}
    if number == signal.SIGTERM:
        assert code == 143
        assert {p.name for p in tmp_path.iterdir()} == ({"deep"} if existing else set())
    else:  # nothing can be cleared away, but it is hidden
        assert code == -9
        assert all("/.misr4d-" in name for name in left if Path(name).name not in before)
    found = {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()} if existing else {}
    assert found == before
    assert set(before) in (set(), set(WRITTEN))


def test_a_damaged_checkpoint_is_said_to_be_so(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.safetensors").write_bytes(b"\x08" + bytes(20))
    refused(call("train", "--preset", "ci", "--out", str(tmp_path)), "delete it to start anew")
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.safetensors"]


# --- The page ---------------------------------------------------------------------------------


def test_the_page_holds_the_tables_of_what_was_tried() -> None:
    text = bad_inputs.PAGE.read_text(encoding="utf-8")
    assert bad_inputs.written(text) == text, "run python -m tests.bad_inputs"
