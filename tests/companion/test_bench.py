from __future__ import annotations

import csv
import json
import math
import os
import shutil
import signal
import threading
import time
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import dask
import pytest

from misr4d.companion import bench
from misr4d.companion.bench import QUICK, STUDY, Plan, Row, read_study, read_table, run_bench
from misr4d.companion.study import METHODS
from misr4d.specimens.catalogue import SPECIMENS
from tests.companion.test_sweep import here

SMALL = Plan(
    specimens=("apoferritin",),
    doses=(100.0, 1000.0, math.inf),
    methods=("summed VBF", "direct"),
    draws=3,
)


def fake(rows: list[Row], seed: int) -> list[dict[str, Any]]:
    """Score nothing, quickly, as a worker would."""
    time.sleep(0.05)
    return [
        {"specimen": r.specimen, "method": r.method, "dose": str(r.dose), "draw": r.draw}
        for r in rows
    ]


def named(row: Row, seed: int) -> str:
    """Key of a fake row; the true one follows the code of the package alone."""
    return f"{row.specimen}-{row.method}-{row.dose}-{row.draw}-{row.thickness}-{seed}"


@pytest.fixture
def quick_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "measure_rows", fake)
    monkeypatch.setattr(bench, "row_key", named)


@pytest.fixture
def no_workers(quick_rows: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Score nothing, in this process: real workers are those of other tests."""
    monkeypatch.setattr(bench, "each_done", here)


def parts(folder: Path) -> dict[str, int]:
    return {p.name: p.stat().st_mtime_ns for p in (folder / "parts").iterdir()}


def test_plan_names_every_row_once() -> None:
    rows = list(SMALL.rows())
    assert len(rows) == len(set(rows)) == 2 * (3 + 3 + 1)
    slow = [row for row in QUICK.rows() if row.method == "ptychography"]
    refined = {row.dose for row in QUICK.rows() if row.method == "refined"}
    assert refined == {300.0, 1000.0}  # no counts at infinite dose
    assert {row.dose for row in slow} == {300.0, 1000.0, math.inf}
    assert {row.draw for row in slow} == {0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"specimens": ("unobtainium",)}, "unknown specimen 'unobtainium'; known: MoS2"),
        ({"methods": ("magic",)}, "unknown method 'magic'; known: summed VBF"),
        ({"doses": (-1.0,)}, r"dose is -1\.0 e⁻/Å²"),
        ({"doses": (math.nan,)}, "dose is nan"),
        ({"draws": 0}, "draws is 0"),
    ],
)
def test_a_wrong_plan_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **change)


def test_the_table_comes_out_whole_though_a_worker_dies(tmp_path: Path) -> None:
    """Two worker processes, real reconstructions; one is killed on the way."""
    import distributed

    with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        dashboard_address=None,
        scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
    ) as cluster:
        pids = [worker.process.pid for worker in cluster.workers.values()]
        result: list[dict[str, Any]] = []
        work = threading.Thread(
            target=lambda: result.extend(
                run_bench(SMALL, tmp_path, scheduler=cluster.scheduler_address, progress=False)
            )
        )
        work.start()
        while work.is_alive() and not (tmp_path / "parts").exists():
            time.sleep(0.05)
        assert len(list((tmp_path / "parts").iterdir())) < len(list(SMALL.rows()))
        os.kill(pids[0], signal.SIGKILL)
        work.join(240)
    assert [(r["method"], str(r["dose"]), r["draw"]) for r in result] == [
        (r.method, str(r.dose), r.draw) for r in SMALL.rows()
    ]
    table = {(r["method"], str(r["dose"]), r["draw"]): r for r in read_table(tmp_path)}
    for dose in ("100.0", "1000.0", "inf"):
        assert table["direct", dose, 0]["correlation"] > 0.5
        assert table["summed VBF", dose, 0]["correlation"] < 0
    assert table["direct", "100.0", 0]["half_bit"] > table["direct", "1000.0", 0]["half_bit"]
    assert table["direct", "inf", 0]["half_bit"] is None
    # Draws differ, and their spread is that of counting noise.
    found = {table["direct", "100.0", draw]["correlation"] for draw in range(3)}
    assert len(found) == 3
    assert max(found) - min(found) < 0.2

    before = parts(tmp_path)
    again = run_bench(SMALL, tmp_path, progress=False)
    assert again == result
    assert parts(tmp_path) == before


def test_an_interrupted_run_takes_up_where_it_stopped(
    tmp_path: Path, no_workers: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_bench(replace(SMALL, doses=(100.0,)), tmp_path, progress=False)
    first = parts(tmp_path)
    run_bench(SMALL, tmp_path, progress=False)
    second = parts(tmp_path)
    assert len(first) == 6
    assert len(second) == 14
    assert {name: second[name] for name in first} == first
    # A damaged row is measured again.
    next((tmp_path / "parts").iterdir()).write_text('{"specimen": "apo', encoding="utf-8")
    assert len(run_bench(SMALL, tmp_path, progress=False)) == 14
    # Other code, other numbers: nothing old is taken for new.
    monkeypatch.setattr(bench, "row_key", lambda *row: f"other {named(*row)}")
    run_bench(SMALL, tmp_path, progress=False)
    assert len(parts(tmp_path)) == 28


def test_rows_of_a_table_are_not_measured_again(
    tmp_path: Path, quick_rows: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The committed study is a table without parts."""
    rows = run_bench(SMALL, tmp_path, workers=1, progress=False)
    shutil.rmtree(tmp_path / "parts")

    def measured(*_: object) -> None:
        raise AssertionError("a row was measured again")

    monkeypatch.setattr(bench, "_compute", measured)
    assert run_bench(SMALL, tmp_path, workers=1, progress=False) == rows
    assert len(parts(tmp_path)) == len(rows)
    shutil.rmtree(tmp_path / "parts")
    monkeypatch.setattr(bench, "row_key", lambda *row: f"other {named(*row)}")
    with pytest.raises(AssertionError, match="measured again"):
        run_bench(SMALL, tmp_path, workers=1, progress=False)


def test_two_runs_at_once_agree(tmp_path: Path, quick_rows: None) -> None:
    tables: list[list[dict[str, Any]]] = []
    threads = [
        threading.Thread(
            target=lambda: tables.append(run_bench(SMALL, tmp_path, workers=1, progress=False))
        )
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tables[0] == tables[1] == read_table(tmp_path)
    assert {p.suffix for p in tmp_path.iterdir()} == {"", ".csv", ".json"}
    assert not list(tmp_path.rglob(".*"))
    assert dask.config.get("scheduler", None) is None  # nothing is left that others compute by


def test_the_table_says_how_it_was_made(tmp_path: Path, no_workers: None) -> None:
    run_bench(SMALL, tmp_path, progress=False)
    record = json.loads((tmp_path / "table.json").read_text(encoding="utf-8"))
    assert record["plan"]["doses"] == ["100.0", "1000.0", "inf"]
    assert record["plan"]["seed"] == 0
    assert {"torch", "abtem", "py4dstem", "python"} <= set(record["versions"])
    assert record["commit"] is None or len(record["commit"]) >= 7
    with (tmp_path / "table.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(record["rows"]) == 14


def test_no_table_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="run `misr4d bench` first"):
        read_table(tmp_path)


def test_the_quick_plan_holds_every_method() -> None:
    assert set(QUICK.methods) == set(METHODS)


def test_the_study_has_enough_draws_for_a_verdict() -> None:
    for plan in STUDY:
        for row in plan.rows():
            assert row.draw < (3 if row.method in ("ptychography", "refined") else 8)
        assert plan.draws == 8
        assert plan.slow_draws == 3 or plan.methods == bench.FAST
    assert {100.0, 200.0, 300.0, 500.0, 1000.0, math.inf} <= set(STUDY[0].doses)
    thick = {row.thickness for row in STUDY[1].rows() if row.method == "ptychography"}
    assert thick == {50.0, 100.0, 200.0, 300.0}  # 20 Å is the specimen's own


def test_the_study_measures_every_specimen_by_every_fast_method() -> None:
    rows = {(r.specimen, r.method, r.dose, r.draw) for plan in STUDY for r in plan.rows()}
    for name, method in product(SPECIMENS, METHODS):
        if method not in ("ptychography", "refined"):
            assert {(name, method, dose, 7) for dose in (300.0, 1000.0)} < rows
            assert (name, method, math.inf, 0) in rows


def test_a_missing_row_is_named() -> None:
    plan = replace(SMALL, specimens=("NCM",))
    entries = [
        {"specimen": r.specimen, "method": r.method, "dose": str(r.dose), "draw": r.draw}
        for r in plan.rows()
    ]
    assert bench.missing_rows(entries, [plan]) == []
    lost = entries.pop(1)
    assert (lost["method"], lost["draw"]) == ("summed VBF", 1)
    assert bench.missing_rows(entries, [plan]) == [
        "summed VBF on NCM at 100 e⁻/Å², draw 1: not measured; run `misr4d bench --study`"
    ]


def test_several_plans_make_one_table(tmp_path: Path, no_workers: None) -> None:
    thick = replace(SMALL, specimens=("Li2CoO3",), doses=(100.0,), thicknesses=(50.0, 100.0))
    rows = run_bench((SMALL, thick), tmp_path, progress=False)
    assert len(rows) == 14 + 2 * 2 * 3
    assert len({row["made"] for row in rows}) == len(rows)
    with pytest.raises(ValueError, match="expected one for a table"):
        run_bench((SMALL, replace(thick, seed=1)), tmp_path, progress=False)
    with pytest.raises(ValueError, match="thickness is -1"):
        replace(SMALL, thicknesses=(-1.0,))


def test_the_study_is_read_with_its_peers(tmp_path: Path, no_workers: None) -> None:
    with pytest.raises(FileNotFoundError, match="no table at"):
        read_study(tmp_path)
    run_bench(SMALL, tmp_path, progress=False)
    (tmp_path / "peers.json").write_text('{"rows": [{"method": "phaserEM"}]}', encoding="utf-8")
    rows = read_study(tmp_path)
    assert len(rows) == 15
    assert rows[-1]["method"] == "phaserEM"


def test_comparisons_read_the_specimens_that_slow_methods_were_run_on(tmp_path: Path) -> None:
    """A specimen without the rival would leave every claim on comparisons open."""
    rows = [
        {"specimen": name, "method": method}
        for name, method in (("NCM", "direct"), ("CuZr", "direct"), ("CuZr", "ptychography"))
    ]
    (tmp_path / "table.json").write_text(json.dumps({"rows": rows}), encoding="utf-8")
    assert read_study(tmp_path) == rows[1:]
    assert read_study(tmp_path, specimens=("NCM",)) == rows[:1]
    assert read_study(tmp_path, specimens=SPECIMENS) == rows
    assert {row["specimen"] for row in read_study()} == set(STUDY[0].specimens)
