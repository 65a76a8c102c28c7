"""Tasks on dask workers: in order, a few at a time, whole though a worker dies."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from misr4d import ATOMIC
from misr4d.core import workers
from misr4d.core.dose import electrons_per_pixel, expose
from misr4d.core.estimate import Estimate
from misr4d.core.workers import TaskPool, each_done, in_this_process, task_pool
from misr4d.learn.learned import informed_tiled
from misr4d.reconstruction.refine import refine_scan
from misr4d.simulate.reciprocity import simulate_views
from tests.conftest import weak_phase


@pytest.fixture(scope="module")
def pool() -> Iterator[TaskPool]:
    with task_pool(workers=2) as found:
        yield found


def whose(number: int, mark: str = "") -> tuple[int, int]:
    """Say who did a task; the third kills its process, once, and leaves a mark."""
    if number == 3 and mark and not Path(mark).exists():
        Path(mark).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number, os.getpid()


def test_results_come_in_order_and_a_few_tasks_are_under_way(pool: TaskPool) -> None:
    drawn: list[int] = []
    deadline = time.monotonic() + 60
    # Another test may have killed one of the two workers: it comes back.
    while len({pid for _, pid in pool(whose, ((n,) for n in range(8)))}) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.2)

    def tasks() -> Iterator[tuple[int]]:
        for number in range(12):
            drawn.append(number)
            yield (number,)

    found = pool(whose, tasks())
    first = next(found)
    # Two for each of two threads, and the one that stopped the drawing.
    assert len(drawn) == 5
    every = [first, *found]
    assert [number for number, _ in every] == list(range(12))
    assert len({pid for _, pid in every}) == 2
    assert os.getpid() not in {pid for _, pid in every}


def test_a_task_whose_worker_dies_is_done_again(pool: TaskPool, tmp_path: Path) -> None:
    every = list(pool(whose, ((number, str(tmp_path / "died")) for number in range(8))))
    assert (tmp_path / "died").exists()
    assert [number for number, _ in every] == list(range(8))


def test_what_goes_wrong_on_a_worker_is_raised_here(pool: TaskPool) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        list(pool(int, [("1",), ("one",)]))


def test_without_workers_tasks_are_done_here() -> None:
    with task_pool() as found:
        assert found is in_this_process
        assert list(found(whose, [(1,), (2,)])) == [(1, os.getpid()), (2, os.getpid())]


def test_workers_of_this_machine_that_do_not_start_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import distributed

    def wait(client: object, fewest: int, timeout: float) -> None:
        raise TimeoutError

    monkeypatch.setattr(distributed.Client, "wait_for_workers", wait)
    with pytest.raises(ValueError, match="of 1 worker processes on this machine"):
        list(each_done(whose, [(1,)], workers=1))


def test_a_scheduler_that_is_not_there_or_has_no_worker_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import distributed
    from dask import config

    with (
        config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(ValueError, match=r"no scheduler answers at 'tcp://127\.0\.0\.1:1'"),
    ):
        list(each_done(whose, [(1,)], "tcp://127.0.0.1:1"))
    monkeypatch.setattr(workers, "_JOINED", 0.2)
    with (
        distributed.LocalCluster(
            n_workers=0,
            dashboard_address=None,
            scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
        ) as cluster,
        pytest.raises(ValueError, match="had no worker for"),
        task_pool(cluster.scheduler_address),
    ):
        pass


def test_tiles_are_the_same_wherever_they_are_made(pool: TaskPool) -> None:
    potential, phase = weak_phase(0.1)
    acquisition = replace(ATOMIC, defocus=300.0)
    generator = torch.Generator().manual_seed(0)
    views = expose(simulate_views(potential, acquisition), acquisition, 1000.0, generator)
    one, other = (
        informed_tiled(views, acquisition, tile=48, overlap=12, pool=way)
        for way in (in_this_process, pool)
    )
    torch.testing.assert_close(one.mean, other.mean, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(one.deviation, other.deviation, atol=1e-4, rtol=1e-3)
    counts = (views * electrons_per_pixel(1000.0, acquisition)).round()
    first = Estimate(one.mean, one.deviation)
    refined = [
        refine_scan(counts, acquisition, 1000.0, first, tile=48, evaluations=3, pool=way)
        for way in (in_this_process, pool)
    ]
    torch.testing.assert_close(refined[0].image, refined[1].image, atol=1e-3, rtol=1e-2)
    assert refined[0].deviance_z == pytest.approx(refined[1].deviance_z, abs=0.1)
    error = [(image - phase).square().mean() for image in (one.mean, refined[1].image)]
    assert error[1] < error[0]
