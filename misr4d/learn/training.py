"""Train a network on specimens that never repeat: ``misr4d train --preset cpu``.

Everything random follows from seed, step and rank, so that a run that was killed resumes from its
last checkpoint and ends with exactly the weights that it would have reached.
"""

from __future__ import annotations

import csv
import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

from misr4d.core.device import pick_device
from misr4d.core.files import whole_file
from misr4d.learn.configuration import Training, build_network, recorded_training
from misr4d.learn.recipes import RECIPES, loss_of, make_batch

__all__ = ["shipped_training", "train"]


def shipped_training(network: str) -> Training:
    """Training that continues from a network's shipped weights, with their settings.

    Raises
    ------
    ValueError
        If no such network is shipped.
    """
    from misr4d.learn.learned import card  # which builds its networks here

    record = card(network)
    return replace(recorded_training(record), start=record["sha256"])


# ---- the loop --------------------------------------------------------------------------------


def _rate(config: Training, step: int) -> float:
    warmup_steps = max(1, round(0.03 * config.steps))
    if step < warmup_steps:
        return config.learning_rate * (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, config.steps - warmup_steps)
    return config.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


class _Run:
    """Weights, their average, the optimiser, and how they are kept on disk."""

    def __init__(self, config: Training, folder: Path, device: str) -> None:
        self.config, self.folder, self.device = config, folder, device
        self.network = build_network(config).to(device)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = {k: v.clone() for k, v in self.network.state_dict().items()}
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), config.learning_rate, weight_decay=config.weight_decay
        )
        self.step = 0

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint.safetensors"

    def begin(self) -> None:
        """Load the weights that the run starts from, if it names any.

        Raises
        ------
        ValueError
            If the shipped weights are others, or belong to a network of another shape.
        """
        if not self.config.start:
            return
        # Imported here, as this module builds networks for that one.
        from misr4d.learn.learned import card, load_network, starting_weights

        own = self.config.network
        known = starting_weights(own)
        if self.config.start not in known:
            raise ValueError(
                f"start is {self.config.start[:12]}…; the shipped weights of {own} have the "
                f"SHA-256 {' or '.join(known)}: give that, or none to start from random weights"
            )
        name = known[self.config.start]
        record = card(name)
        shipped = recorded_training(record)
        for field in ("width", "depth", "inputs", "attention", "head"):
            run_value, shipped_value = getattr(self.config, field), getattr(shipped, field)
            if run_value != shipped_value:
                raise ValueError(
                    f"{field} is {run_value!r}; the weights that the run starts from have "
                    f"{shipped_value!r}"
                )
        self.network.adopt(load_network(name))
        self.average = {k: v.clone() for k, v in self.network.state_dict().items()}

    def follow(self) -> None:
        """Let the average follow the weights."""
        decay = min(self.config.average, (1 + self.step) / (10 + self.step))
        for name, value in self.network.state_dict().items():
            if value.dtype.is_floating_point:
                self.average[name].lerp_(value, 1 - decay)
            else:
                self.average[name].copy_(value)

    def save(self) -> None:
        tensors = {f"network/{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"average/{k}": v for k, v in self.average.items()}
        for index, parameter_state in self.optimiser.state_dict()["state"].items():
            tensors |= {
                f"optimiser/{index}/{k}": torch.as_tensor(v) for k, v in parameter_state.items()
            }
        contiguous = {k: v.detach().cpu().clone().contiguous() for k, v in tensors.items()}
        metadata = {"step": str(self.step), "config": json.dumps(asdict(self.config))}
        _save_tensors(contiguous, self.checkpoint, metadata)

    def restore(self) -> None:
        """Resume from the last checkpoint.

        Raises
        ------
        ValueError
            If it belongs to another run, or is damaged.
        """
        try:
            self._restore()
        except (SafetensorError, KeyError, TypeError, RuntimeError, json.JSONDecodeError) as error:
            raise ValueError(
                f"{self.checkpoint} is damaged ({str(error).splitlines()[0][:200]}); delete it to "
                "start anew"
            ) from error

    def _restore(self) -> None:
        with safe_open(self.checkpoint, "pt") as file:
            metadata = file.metadata()
            # A setting newer than the checkpoint had the value that is now its default.
            stored = asdict(recorded_training({"training": json.loads(metadata["config"])}))
            settings = asdict(self.config)
            if stored != settings:
                differing = [k for k in settings if settings[k] != stored[k]]
                raise ValueError(
                    f"{self.folder} holds a run with other settings ({', '.join(differing)}); "
                    "choose another folder, or delete it"
                )
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        groups: dict[str, dict[str, Tensor]] = {"network": {}, "average": {}, "optimiser": {}}
        for name, value in tensors.items():
            kind, tensor_name = name.split("/", 1)
            groups[kind][tensor_name] = value
        self.network.load_state_dict(groups["network"])
        self.average = {k: v.to(self.device) for k, v in groups["average"].items()}
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in groups["optimiser"].items():
            index, key = name.split("/")
            state.setdefault(int(index), {})[key] = value
        optimiser_state = self.optimiser.state_dict()
        self.optimiser.load_state_dict(
            {"state": state, "param_groups": optimiser_state["param_groups"]}
        )
        self.step = int(metadata["step"])


def _save_tensors(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    with whole_file(path) as temporary:
        save_file(tensors, temporary, metadata)


def train(
    config: Training,
    folder: Path,
    *,
    device: str | None = None,
    workers: int | None = None,
    stop_after: int | None = None,
    report: Callable[[int, float], None] | None = None,
) -> Path:
    """Run a training, or resume one that was interrupted.

    Under ``torchrun`` every process takes its own samples and gradients are averaged; the first
    writes.

    Parameters
    ----------
    config : Training
    folder : Path
        Gets ``checkpoint.safetensors``, ``log.csv``, ``loss.png``, and at the end
        ``weights.safetensors``, the averaged weights.
    device : str, optional
        By default a GPU if there is one.
    workers : int, optional
        Processes that simulate specimens before the first step.
    stop_after : int, optional
        Stop at this step, with a checkpoint, as if interrupted.
    report : callable, optional
        Called with step and loss after every step.

    Returns
    -------
    Path
        The weights, or the checkpoint if the run was stopped before its end.

    Raises
    ------
    ValueError
        If the folder holds a run with other settings, or what it holds is damaged; if there is no
        such device; or if the weights that the run starts from are not those that are shipped.
    """
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    device = pick_device(device, local)
    if world > 1 and not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    folder.mkdir(parents=True, exist_ok=True)
    run = _Run(config, folder, device)
    if run.checkpoint.is_file():
        run.restore()
    else:
        run.begin()
    if config.specimens and rank == 0:
        RECIPES[config.network].prepare(config, workers)
    if world > 1:
        torch.distributed.barrier()
    network: nn.Module = run.network
    if world > 1:
        network = nn.parallel.DistributedDataParallel(run.network)
    network.train()
    log = _Log(folder / "log.csv", run.step) if rank == 0 else None
    last_step = min(config.steps, stop_after or config.steps)
    bar = tqdm(
        total=config.steps, initial=run.step, unit="step", disable=None if rank == 0 else True
    )
    # Wall time on a GPU; on a CPU the time of all cores, which other processes do not lengthen.
    clock = time.monotonic if device.startswith("cuda") else time.process_time
    start_time = clock()
    try:
        while run.step < last_step:
            loss = _one_step(config, run, network, rank, device)
            run.step += 1
            run.follow()
            bar.update()
            if log is not None:
                log.add(run.step, loss, _rate(config, run.step - 1), clock() - start_time)
                bar.set_postfix(loss=f"{log.mean:.4f}")
            if report is not None:
                report(run.step, loss)
            if rank == 0 and (run.step % config.checkpoint == 0 or run.step == last_step):
                assert log is not None
                run.save()
                log.write()
    finally:
        bar.close()
    if world > 1:
        torch.distributed.barrier()
    if run.step < config.steps:
        return run.checkpoint
    weights = folder / "weights.safetensors"
    if rank == 0:
        averaged = {k: v.detach().cpu().contiguous() for k, v in run.average.items()}
        _save_tensors(averaged, weights, {"config": json.dumps(asdict(config))})
    return weights


def _one_step(config: Training, run: _Run, network: nn.Module, rank: int, device: str) -> float:
    for group in run.optimiser.param_groups:
        group["lr"] = _rate(config, run.step)
    run.optimiser.zero_grad()
    batches = make_batch(config, run.step, rank, device)
    total = 0.0
    for batch in batches:
        loss = loss_of(config, network, batch) / len(batches)
        loss.backward()  # type: ignore[no-untyped-call]
        total += float(loss.detach())
    nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    run.optimiser.step()
    return total


class _Log:
    """Loss against step: a CSV, and a picture that is redrawn at every checkpoint."""

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []
        self.mean = math.nan
        self._since: list[float] = []
        self._before = 0.0
        if path.is_file():
            try:
                with path.open(encoding="utf-8", newline="") as file:
                    self.rows = [row for row in csv.DictReader(file) if int(row["step"]) <= step]
                if self.rows:
                    self._before = float(self.rows[-1]["seconds"])
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(f"{path} is no log of a training ({error}); delete it") from error

    def add(self, step: int, loss: float, rate: float, seconds: float) -> None:
        self._since.append(loss)
        self.mean = loss if math.isnan(self.mean) else 0.98 * self.mean + 0.02 * loss
        if step % 20 == 0:
            self.rows.append(
                {
                    "step": step,
                    "loss": f"{sum(self._since) / len(self._since):.6f}",
                    "rate": f"{rate:.3e}",
                    "seconds": f"{self._before + seconds:.1f}",
                }
            )
            self._since.clear()

    def write(self) -> None:
        if not self.rows:
            return
        with (
            whole_file(self.path) as temporary,
            temporary.open("w", encoding="utf-8", newline="") as file,
        ):
            writer = csv.DictWriter(file, list(self.rows[0]))
            writer.writeheader()
            writer.writerows(self.rows)
        self._draw()

    def _draw(self) -> None:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(5, 3), layout="constrained")
        axes = figure.subplots()
        axes.plot(
            [int(r["step"]) for r in self.rows], [float(r["loss"]) for r in self.rows], lw=0.8
        )
        axes.set(xlabel="step", ylabel="loss")
        with whole_file(self.path.with_name("loss.png")) as temporary:
            figure.savefig(temporary, dpi=110)
