"""Tasks dealt to dask workers, on this machine or on others.

:func:`each_done` is for tasks that stand for themselves, such as a bench's rows; :func:`task_pool`
for those whose results are wanted in order, such as a scan's tiles, of which memory holds a few.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

__all__ = ["SIDE_BY_SIDE", "TaskPool", "each_done", "in_this_process", "task_pool"]

TaskPool = Callable[[Callable[..., Any], Iterable[tuple[Any, ...]]], Iterator[Any]]
"""From a function and the arguments of each task to the results, in the order of the tasks."""

# By default glibc gives the memory of large arrays back and maps it anew: more than half of the
# time of array work on fresh pages.
SIDE_BY_SIDE = {
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
    **dict.fromkeys(("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"), str(2**30)),
}
"""Environment of a process that works beside others like it: one thread, memory of arrays kept."""
_JOINED = 60  # seconds within which a scheduler must have a worker: our choice
_AHEAD = 2  # tasks a thread that are sent before the first result is taken: our choice


def in_this_process(work: Callable[..., Any], tasks: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
    """Do one task after the other in this process: the :data:`TaskPool` without workers."""
    for task in tasks:
        yield work(*task)


@contextlib.contextmanager
def task_pool(scheduler: str | None = None, workers: int | None = None) -> Iterator[TaskPool]:
    """Start workers, or join those of a scheduler, and end with what was dealt to them.

    Parameters
    ----------
    scheduler : str, optional
        Address of a running dask scheduler, whose workers have this package.
    workers : int, optional
        Processes on this machine, of one thread each. Without either, tasks are done
        :func:`in_this_process`.

    Yields
    ------
    TaskPool
        Two tasks a thread are under way at once, whose arguments and results memory holds.

    Raises
    ------
    ValueError
        If no scheduler answers at the address, or it has no worker.
    """
    if scheduler is None and workers is None:
        yield in_this_process
        return
    with _client(scheduler, workers) as client:

        def pool(work: Callable[..., Any], tasks: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
            ahead = _AHEAD * max(1, sum(client.ncores().values()))
            waiting: deque[Any] = deque()
            for index, task in enumerate(tasks):
                if len(waiting) == ahead:
                    yield waiting.popleft().result()
                waiting.append(client.submit(work, *task, priority=-index, pure=False))
            while waiting:
                yield waiting.popleft().result()

        yield pool


def each_done(
    work: Callable[..., Any],
    tasks: Sequence[tuple[Any, ...]],
    scheduler: str | None = None,
    workers: int | None = None,
) -> Iterator[tuple[int, Any]]:
    """Call a function for every task on dask workers, the first tasks first.

    Parameters
    ----------
    work : callable
        Runs on a worker, in one thread.
    tasks : sequence of tuple
        Its arguments.
    scheduler : str, optional
        Address of a running dask scheduler; by default a local cluster is started.
    workers : int, optional
        Processes of the local cluster; by default one a core.

    Yields
    ------
    int, object
        Index of a task and what the function returned, in the order in which they are done.

    Raises
    ------
    ValueError
        If no scheduler answers at the address, or it has no worker.
    """
    import distributed

    with _client(scheduler, workers) as client:
        futures = {
            client.submit(work, *task, priority=-index, pure=False): index
            for index, task in enumerate(tasks)
        }
        completed: Any = distributed.as_completed
        for done in completed(futures, loop=client.loop):
            yield futures[done], done.result()
            done.release()


@contextlib.contextmanager
def _client(scheduler: str | None, workers: int | None) -> Iterator[Any]:
    """Connect to a scheduler, or to a cluster of this machine's that lives as long as this."""
    import distributed
    from dask import config as dask_settings

    dask: Any = distributed  # its functions carry no types

    with contextlib.ExitStack() as stack:
        if scheduler is None:
            count = workers or os.cpu_count() or 1
            # Dask's own trims workers' memory at 64 KiB.
            environment = {"distributed.nanny.pre-spawn-environ": SIDE_BY_SIDE}
            stack.enter_context(dask_settings.set(environment))
            address = stack.enter_context(
                dask.LocalCluster(
                    n_workers=count,
                    threads_per_worker=1,
                    dashboard_address=None,
                    # Its page of counters takes a free port: the usual one may serve another run.
                    scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
                )
            )
        else:
            address = scheduler
        try:
            # Not dask's default: two runs at once would leave each other's behind.
            client = stack.enter_context(dask.Client(address, set_as_default=False))
        except (OSError, ValueError) as error:
            raise ValueError(
                f"no scheduler answers at {scheduler!r} ({error}); start one by `dask scheduler` "
                "and give its address, such as tcp://127.0.0.1:8786"
            ) from error
        try:
            client.wait_for_workers(1, timeout=_JOINED)
        except TimeoutError:
            raise ValueError(
                f"the scheduler at {scheduler!r} had no worker for {_JOINED} s; start some by "
                f"`dask worker {scheduler}`, where this package is installed"
            ) from None
        yield client
