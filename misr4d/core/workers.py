"""Tasks distributed to dask workers, on this machine or on others.

:func:`each_done` is for independent tasks, such as the rows of a benchmark. :func:`task_pool` is
for tasks whose results are needed in order, such as the tiles of a scan; memory holds a few.
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

# By default glibc returns the memory of large arrays and maps it again for the next one: with
# fresh pages this is more than half of the time of array work.
SIDE_BY_SIDE = {
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
    **dict.fromkeys(("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"), str(2**30)),
}
"""Environment of one of several parallel processes: one thread, memory of arrays kept."""
_JOINED = 60  # s within which a scheduler must have a worker: our choice
_AHEAD = 2  # tasks per thread that are sent before the first result is taken: our choice


def in_this_process(work: Callable[..., Any], tasks: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
    """Do one task after the other in this process: the :data:`TaskPool` without workers."""
    for task in tasks:
        yield work(*task)


@contextlib.contextmanager
def task_pool(scheduler: str | None = None, workers: int | None = None) -> Iterator[TaskPool]:
    """Start workers, or use those of a scheduler; their tasks end with this context.

    Parameters
    ----------
    scheduler : str, optional
        Address of a running dask scheduler, whose workers have this package.
    workers : int, optional
        Processes on this machine, each with one thread. Without a scheduler and workers, tasks are
        done :func:`in_this_process`.

    Yields
    ------
    TaskPool
        Two tasks per thread run or wait at once. Memory holds their arguments and results.

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
            most_under_way = _AHEAD * max(1, sum(client.ncores().values()))
            futures: deque[Any] = deque()
            for index, task in enumerate(tasks):
                if len(futures) == most_under_way:
                    yield futures.popleft().result()
                futures.append(client.submit(work, *task, priority=-index, pure=False))
            while futures:
                yield futures.popleft().result()

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
        Processes of the local cluster; by default one per core.

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
        for future in completed(futures, loop=client.loop):
            yield futures[future], future.result()
            future.release()


@contextlib.contextmanager
def _client(scheduler: str | None, workers: int | None) -> Iterator[Any]:
    """Connect to a scheduler, or to a local cluster that ends with this context."""
    import distributed
    from dask import config as dask_settings

    dask: Any = distributed  # its functions carry no types

    with contextlib.ExitStack() as stack:
        if scheduler is None:
            count = workers or os.cpu_count() or 1
            # Dask's default releases workers' memory above 64 KiB.
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
            fewest = count
        else:
            address, fewest = scheduler, 1
        try:
            # Not dask's default: two runs at once would leave each other's behind.
            client = stack.enter_context(dask.Client(address, set_as_default=False))
        except (OSError, ValueError) as error:
            raise ValueError(
                f"no scheduler answers at {scheduler!r} ({error}); start one by `dask scheduler` "
                "and give its address, such as tcp://127.0.0.1:8786"
            ) from error
        try:
            client.wait_for_workers(fewest, timeout=_JOINED)
        except TimeoutError:
            if scheduler is None:
                raise ValueError(
                    f"of {fewest} worker processes on this machine, {len(client.ncores())} started "
                    f"within {_JOINED} s; ask for fewer by --workers"
                ) from None
            raise ValueError(
                f"the scheduler at {scheduler!r} had no worker for {_JOINED} s; start some by "
                f"`dask worker {scheduler}`, where this package is installed"
            ) from None
        yield client
