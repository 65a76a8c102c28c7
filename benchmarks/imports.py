"""CPU time of imports and of ``misr4d --help``, beside an older commit.

    python benchmarks/imports.py [--old COMMIT] [--runs 7]

Each case is a process of its own, run on this checkout and on the older commit in turn, so that a
busy machine slows both; the CPU time is the process's own, the interpreter's start with it. Printed
and written to ``benchmarks/imports.json`` are the medians and their ratio, beside the goal.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[1]
OUT = Path(__file__).with_suffix(".json")
OLD = "946c3dc"  # the last commit of flat modules
_HELP = "import sys; from misr4d.cli import main; main(['--help'], standalone_mode=False)"
# By what is measured: the code now, the code then, and the highest ratio that is asked for.
CASES = {
    "import misr4d": ("import misr4d", "import misr4d", 0.15),
    "misr4d --help": (_HELP, _HELP, 0.15),
    "import misr4d.report.report": ("import misr4d.report.report", "import misr4d.report", 0.5),
}


def cpu_time(code: str, tree: Path) -> float:
    """CPU time of a process [s] that runs the code on the package of a checkout."""
    check = f"; assert sys.modules['misr4d'].__file__.startswith({str(tree)!r})"
    environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", f"import sys; {code}{check}"],
        cwd=tree,
        env=environment,
        stdout=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise click.ClickException(f"{code!r} failed on {tree}, with the error above")
    return usage.ru_utime + usage.ru_stime


def compare(old: Path, runs: int) -> dict[str, dict[str, float]]:
    """Medians of each case, alternating between the two checkouts after one run to warm up."""
    results = {}
    for name, (now, then, goal) in CASES.items():
        times: dict[str, list[float]] = {"now": [], "then": []}
        for run in range(runs + 1):
            for side, code, tree in (("now", now, ROOT), ("then", then, old)):
                seconds = cpu_time(code, tree)
                if run:  # the first one compiles
                    times[side].append(seconds)
        middle = {side: statistics.median(values) for side, values in times.items()}
        results[name] = {
            **{f"{side} [s]": round(value, 3) for side, value in middle.items()},
            "ratio": round(middle["now"] / middle["then"], 3),
            "goal": goal,
        }
    return results


@click.command(help=__doc__)
@click.option("--old", default=OLD, show_default=True, help="Commit to compare with.")
@click.option("--runs", type=click.IntRange(1), default=7, show_default=True)
def main(old: str, runs: int) -> None:
    git = ["git", "-C", str(ROOT)]
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder).resolve() / "old"
        subprocess.run([*git, "worktree", "add", "-q", "--detach", str(tree), old], check=True)
        try:
            results = compare(tree, runs)
        finally:
            subprocess.run([*git, "worktree", "remove", "--force", str(tree)], check=True)
    described = [*git, "describe", "--always", "--dirty"]
    commit = subprocess.run(described, check=True, capture_output=True, text=True).stdout.strip()
    record = {
        "command": f"python benchmarks/imports.py --old {old} --runs {runs}",
        "commit": commit,
        "python": platform.python_version(),
        "median CPU time": results,
    }
    OUT.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"{'':28}  now [s]  then [s]   ratio   goal")
    for name, row in results.items():
        print(
            f"{name:28}  {row['now [s]']:7.3f}  {row['then [s]']:8.3f}  {row['ratio']:6.3f}"
            f"  {row['goal']:5.2f}  {'met' if row['ratio'] <= row['goal'] else 'missed'}"
        )


if __name__ == "__main__":
    main()
