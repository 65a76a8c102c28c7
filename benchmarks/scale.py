"""Cost and memory against the number of positions, for files that are larger than memory.

    python benchmarks/scale.py                       # 64² to 512² positions: a factor of 64
    python benchmarks/scale.py --sides 1024 --detector 256 --stages reconstruct  # 128 GiB

The file is a virtual HDF5 of a kilobyte: it repeats one small recording, written beside it without
compression, over the whole scan. Each side is measured in a process of its own. Printed are seconds
and peak memory of the preparation (three passes over all patterns), of the views, and of the whole
reconstruction with its half-sets, and how they grow; with workers, what these hold beside.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import h5py
import numpy as np
import psutil

from misr4d.report.report import METHOD_NAMES, Method

SOURCE = 32  # positions along each axis of what is repeated
STAGES = ("prepare", "views", "reconstruct")


def write_repeated(path: Path, side: int, detector: int) -> Path:
    """Write `side` × `side` positions of `detector` × `detector` pixels, 16 bit."""
    x = np.arange(detector) - detector // 2
    disc = (np.hypot(x[:, None], x) <= detector / 6).astype(float)
    rng = np.random.default_rng(0)
    object_ = 1 + 0.2 * rng.standard_normal((SOURCE, SOURCE, 1, 1))
    counts = rng.poisson(np.clip(object_, 0, None) * disc * 0.5 + 0.01).astype(np.uint16)
    source = path.with_name(f"source{detector}.h5")
    if not source.exists():
        with h5py.File(source, "w") as file:
            file["data"] = counts
    layout = h5py.VirtualLayout((side, side, detector, detector), "u2")
    seen = h5py.VirtualSource(source.name, "data", counts.shape)
    for i in range(0, side, SOURCE):
        for j in range(0, side, SOURCE):
            layout[i : i + SOURCE, j : j + SOURCE] = seen
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("data", layout)
    return path


def peak() -> float:
    """Most memory that this process has held [MiB]."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Workers(threading.Thread):
    """Watch the processes that this one starts: the most memory that all of them held at once."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak, self._over = 0.0, threading.Event()

    def run(self) -> None:
        """Look every half second."""
        while not self._over.wait(0.5):
            held = 0
            for child in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    held += child.memory_info().rss
            self.peak = max(self.peak, held / 2**20)

    def stop(self) -> float:
        """End the watch; the peak [MiB]."""
        self._over.set()
        self.join()
        return self.peak


def measure(
    side: int,
    detector: int,
    stages: list[str],
    method: Method = "direct",
    workers: int | None = None,
) -> dict[str, float]:
    """Seconds and peak memory of each stage, in this process."""
    from misr4d.io.reading import read_scan
    from misr4d.report.preparation import prepare
    from misr4d.report.reconstruct import reconstruct_scan

    known = {"energy": 300e3, "step": 1.0, "semiangle": 10.0, "defocus": 500.0, "rotation": 0.0}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scan.h5"
        # In a process of its own, whose memory is not counted.
        size = ("--sides", str(side), "--detector", str(detector))
        subprocess.run([sys.executable, __file__, "--write", path, *size], check=True)
        scan = read_scan(path, **known)
        found: dict[str, float] = {"before": peak()}
        began = time.perf_counter()
        if {"prepare", "views"} & set(stages):
            ready = prepare(scan)
            found["prepare"], found["prepare_peak"] = time.perf_counter() - began, peak()
        if "views" in stages:
            began = time.perf_counter()
            views = ready.cube.views(ready.acquisition)
            found["views"], found["views_peak"] = time.perf_counter() - began, peak()
            found["views_size"] = views.numel() * 4 / 2**20
            del views
        if "reconstruct" in stages:
            watch = Workers()
            watch.start()
            began = time.perf_counter()
            reconstruct_scan(scan, method=method, workers=workers)
            found["reconstruct"] = time.perf_counter() - began
            found["reconstruct_peak"] = peak()
            found["workers_peak"] = watch.stop()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sides", type=int, nargs="+", default=[64, 128, 256, 512])
    parser.add_argument("--detector", type=int, default=48)
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--method", choices=METHOD_NAMES, default="direct")
    parser.add_argument("--workers", type=int, help="deal the tiles to so many processes")
    parser.add_argument("--one", action="store_true", help="measure in this process, print JSON")
    parser.add_argument("--write", type=Path, help="write the file and do no more")
    given = parser.parse_args()
    if given.write is not None:
        write_repeated(given.write, given.sides[0], given.detector)
        return
    if given.one:
        found = measure(given.sides[0], given.detector, given.stages, given.method, given.workers)
        print(json.dumps(found))
        return
    first: dict[str, float] = {}
    for side in given.sides:
        command = [sys.executable, __file__, "--one", "--sides", str(side)]
        command += ["--detector", str(given.detector), "--stages", *given.stages]
        command += ["--method", given.method]
        if given.workers is not None:
            command += ["--workers", str(given.workers)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found = json.loads(done.stdout.splitlines()[-1])
        first = first or {"side": side, **found}
        size = side**2 * given.detector**2 * 2 / 2**20
        print(f"{side}² positions × {given.detector}² pixels, {size:.0f} MiB in 16 bit:")
        for stage in given.stages:
            times = found[stage] / first[stage]
            print(
                f"  {stage:12} {found[stage]:8.2f} s, {times:6.2f} × the first's for "
                f"{(side / first['side']) ** 2:.0f} × the positions; peak "
                f"{found[stage + '_peak'] - found['before']:.0f} MiB above {found['before']:.0f}"
            )
        if given.workers is not None and "workers_peak" in found:
            print(f"  its workers and their nanny held {found['workers_peak']:.0f} MiB together")
        if "views_size" in found:
            print(f"  the views take {found['views_size']:.0f} MiB")


if __name__ == "__main__":
    main()
