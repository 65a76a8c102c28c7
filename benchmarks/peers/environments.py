"""An environment for each peer, with its versions pinned, under ``_build/peers``.

Their requirements exclude each other and this package's: NumPy 2 against 1.26, for one. PtyRAD is
no peer: 1.0.0 does not import on Python 3.11, a syntax error, and on 3.12 it needs torchvision,
beside which PyPI has PyTorch for graphics cards alone, several gigabytes of it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HOME = Path(__file__).resolve().parents[2] / "_build" / "peers"


@dataclass(frozen=True)
class Peer:
    """A program to compare with.

    Parameters
    ----------
    package, version : str
        As the package index knows it.
    python : str
        Version of Python that it runs on.
    beside : tuple of str
        Requirements pinned with it.
    runner : str
        Script beside this file that its environment runs.
    extra : str
        Optional requirements of the package to install.
    """

    package: str
    version: str
    python: str
    beside: tuple[str, ...]
    runner: str
    extra: str = ""

    @property
    def requirements(self) -> list[str]:
        """What pip is asked for."""
        return [f"{self.package}{self.extra}=={self.version}", *self.beside]

    @property
    def interpreter(self) -> Path:
        """Python of the peer's environment."""
        return HOME / self.package / "bin" / "python"


# quantem asks for torchvision and imports it nowhere, so it need not fit a PyTorch for the CPU.
_TORCH = ("torch==2.13.0", "torchvision==0.28.0")
PEERS = {
    # The gradient engine imports JAX whichever backend is asked for.
    "phaserEM": Peer(
        "phaserEM", "0.3.1", "3.11", ("jax==0.10.2", "optax==0.2.8"), "run_phaserem.py", "[jax]"
    ),
    "quantem": Peer("quantem", "0.1.10", "3.11", _TORCH, "run_quantem.py"),
    "quantem direct": Peer("quantem", "0.1.10", "3.11", _TORCH, "run_quantem_direct.py"),
}
"""Every peer by the name that tables give it."""


def install(name: str) -> Path:
    """Make a peer's environment unless it is there; its Python.

    Raises
    ------
    RuntimeError
        If the Python that it needs is missing, or the installation fails.
    """
    peer = PEERS[name]
    folder = peer.interpreter.parents[1]
    wanted = "\n".join(peer.requirements) + "\n"
    done = folder / "requirements.txt"
    if done.is_file() and done.read_text(encoding="utf-8") == wanted:
        return peer.interpreter
    python = shutil.which(f"python{peer.python}")
    if python is None:
        raise RuntimeError(
            f"{name} needs Python {peer.python}, and no python{peer.python} is on the path; "
            "install it, or leave this peer out by naming the others"
        )
    print(f"installing {', '.join(peer.requirements)} into {folder}", flush=True)
    HOME.mkdir(parents=True, exist_ok=True)
    pip = [str(peer.interpreter), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for command in ([python, "-m", "venv", "--clear", str(folder)], [*pip, *peer.requirements]):
        if subprocess.run(command).returncode:
            raise RuntimeError(f"{name} cannot be installed: {' '.join(command)} failed")
    done.write_text(wanted, encoding="utf-8")
    return peer.interpreter


def versions(name: str) -> dict[str, str]:
    """Versions of the peer and of what computes for it, as installed."""
    script = (
        "import sys, platform, json\n"
        "from importlib.metadata import distributions\n"
        "have = {d.name.lower(): d.version for d in distributions()}\n"
        "print(json.dumps({n: have[n] for n in sys.argv[1:] if n in have}"
        " | {'python': platform.python_version()}))"
    )
    names = (PEERS[name].package.lower(), "numpy", "jax", "jaxlib", "optax", "torch")
    command = [str(PEERS[name].interpreter), "-c", script, *names]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    answer: dict[str, str] = json.loads(said)
    return answer


def run_script(name: str, folders: Sequence[Path]) -> None:
    """Run a peer's script on folders, on one core, in its environment.

    Raises
    ------
    RuntimeError
        If the environment cannot be made, or the script fails.
    """
    python = install(name)
    script = Path(__file__).with_name(PEERS[name].runner)
    done = subprocess.run(
        [str(python), str(script), *map(str, folders)],
        env=single_thread(),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"{name} failed in {[*map(str, folders)]}:\n{done.stderr[-2000:]}")


def single_thread() -> dict[str, str]:
    """Environment variables under which a peer uses one core, and keeps freed memory."""
    one = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    return {
        **os.environ,
        **one,
        "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(HOME / "jax_cache"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "MALLOC_MMAP_THRESHOLD_": "4294967296",
        "MALLOC_TRIM_THRESHOLD_": "4294967296",
        "MALLOC_TOP_PAD_": "268435456",
    }
