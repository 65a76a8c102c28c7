from __future__ import annotations

import csv
import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from scipy.stats import poisson

from misr4d import ATOMIC
from misr4d.core.optics import registering_shift
from misr4d.learn import examples, learned, training
from misr4d.learn.configuration import PRESETS, Training, acquisition_of, build_network
from misr4d.learn.examples import (
    _symmetry,
    _turned,
    _view_order,
    example,
    prepare,
    quick_counts,
)
from misr4d.learn.networks import NETWORKS, Network
from misr4d.learn.recipes import RECIPES, loss_of, make_batch
from misr4d.learn.training import train

TINY = Training(
    width=8, depth=3, steps=12, batch=2, specimens=5, molecular=0.0, checkpoint=4, vacuum=0.2
)


@pytest.fixture(scope="session")
def supply(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five crystals and glasses, simulated once for all tests."""
    folder = tmp_path_factory.mktemp("cache")
    before = os.environ.get("MISR4D_CACHE")
    os.environ["MISR4D_CACHE"] = str(folder)
    try:
        for index in range(5):
            example("atomic", 0, index)
    finally:
        if before is None:
            del os.environ["MISR4D_CACHE"]
        else:
            os.environ["MISR4D_CACHE"] = before
    return folder


@pytest.fixture(autouse=True)
def cached(supply: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISR4D_CACHE", str(supply))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network": "magic"}, "network is 'magic'; expected one of AttentionUNet"),
        ({"steps": 0}, "steps is 0"),
        ({"doses": (100.0, 10.0)}, r"doses are \(100\.0, 10\.0\) e⁻/Å²; expected 0 < low < high"),
        ({"vacuum": 1.5}, "vacuum is 1.5; expected a share"),
        ({"loss": "l3"}, "loss is 'l3'"),
        (
            {"network": "AttentionUNet", "inputs": "sounds"},
            "inputs is 'sounds'; expected one of views, aligned, direct for AttentionUNet",
        ),
        ({"inputs": "aligned"}, "inputs is 'aligned'; expected one of views for DirectInformed"),
        ({"pool": 10_000}, "pool is 10000 and renewed 0.5; expected at most 400 specimens"),
        ({"network": "DualPath", "half": True}, "DualPath is trained in float32 alone"),
        ({"start": "abc"}, "start is 'abc'; expected the SHA-256 of shipped weights"),
        ({"fresh_noise": False}, "maps of direct ptychography are always given fresh noise"),
        (
            {"network": "AttentionUNet", "inputs": "direct", "fresh_noise": False},
            "maps of direct ptychography are always given fresh noise",
        ),
    ],
)
def test_a_wrong_run_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(TINY, **change)  # type: ignore[arg-type]


def test_an_example_is_made_once_and_holds_what_it_says() -> None:
    path = example("atomic", 0, 1)
    before = path.stat().st_mtime_ns
    assert example("atomic", 0, 1).stat().st_mtime_ns == before
    with np.load(path, allow_pickle=False) as stored:
        assert stored["views"].shape == (acquisition_of("atomic", 1).number_of_views, 64, 64)
        assert stored["truth"].shape == (192, 192)
        assert stored["score"].shape == (64 * 64, 9)
        assert 0.3 < float(stored["intensity"]) < 1.1
        assert float(stored["misfit"]) > 0
    assert not list(path.parent.glob("*.tmp"))


@pytest.mark.parametrize("network", ["DirectInformed", "AttentionUNet", "DualPath"])
def test_a_step_is_fixed_by_its_number(network: str) -> None:
    config = replace(TINY, network=network)
    one, same, other = (make_batch(config, step) for step in (3, 3, 4))
    for a, b in zip(one, same, strict=True):
        torch.testing.assert_close(a.target, b.target, rtol=0, atol=0)
        torch.testing.assert_close(a.inputs[0], b.inputs[0], rtol=0, atol=0)
    assert not torch.equal(one[0].inputs[0], other[0].inputs[0])
    assert not torch.equal(one[0].inputs[0], make_batch(config, 3, rank=1)[0].inputs[0])


def test_every_network_has_its_recipe() -> None:
    assert RECIPES.keys() == NETWORKS.keys() == set(learned.SHIPPED)
    for name, kind in NETWORKS.items():
        assert type(build_network(replace(TINY, network=name))) is kind
        assert replace(TINY, network=name).inputs in kind.inputs
    with pytest.raises(NotImplementedError, match="Network does not say how a run builds it"):
        Network.of_run(9, inputs="views", width=8, depth=3, attention=True, head="1x1")


@pytest.mark.parametrize("network", ["DirectInformed", "AttentionUNet", "DualPath"])
def test_a_network_is_given_empty_fields_if_it_says_so(network: str) -> None:
    (batch, *_) = make_batch(replace(TINY, network=network, vacuum=1.0), 0)
    assert (float(batch.target.abs().max()) == 0) == NETWORKS[network].trained_on_vacuum


def test_noise_is_drawn_anew_or_held() -> None:
    """For the ablation of on-the-fly noise: the same specimen has the same noise each time."""
    config = replace(TINY, network="AttentionUNet", fresh_noise=False, batch=8, infinite=0.0)
    seen: dict[tuple[float, ...], float] = {}
    again = 0
    for step in range(3):
        (batch,) = make_batch(config, step)
        for views in batch.inputs[0]:
            key = tuple(views.flatten().sort().values[-5:].tolist())
            again += key in seen
            seen[key] = float(views.sum())
    assert again > 10
    assert len(seen) <= 5


@pytest.mark.parametrize("mean", [0.3, 1.5, 6.0, 12.1, 40.0, 400.0])
def test_quick_counts_follow_poissons_distribution(mean: float) -> None:
    expected = torch.full((32, 200, 200), mean)
    counts = quick_counts(expected, torch.Generator().manual_seed(5))
    assert torch.equal(counts, counts.round())
    assert float(counts.min()) >= 0
    number = np.arange(int(mean + 12 * math.sqrt(mean) + 12))
    seen = np.bincount(counts.int().flatten().numpy(), minlength=len(number)) / counts.numel()
    # Total variation: 0.2 % stated, and what 1.28 million draws scatter.
    scatter = 0.5 * np.sqrt(poisson.pmf(number, mean) / counts.numel()).sum()
    assert 0.5 * np.abs(seen - poisson.pmf(number, mean)).sum() < 0.002 + scatter
    assert float(counts.double().var()) == pytest.approx(mean, rel=0.006)


def test_turned_views_are_the_views_of_a_turned_specimen() -> None:
    """Views turn with the specimen, and so do their displacements."""
    order = {turn: _view_order("atomic", turn) for turn in range(8)}
    acquisition = acquisition_of("atomic", 0)
    k = acquisition.view_frequencies
    shift = registering_shift(k, ATOMIC.wavelength, acquisition.defocus)
    images = torch.rand(3, 6, 6)
    for turn in range(8):
        assert sorted(order[turn].tolist()) == list(range(len(k)))
        moved = shift[order[turn]]
        # What displaced view k before the turn displaces its successor after it.
        expected = shift.clone()
        if turn & 4:
            expected = expected.flip(1)
        if turn & 2:
            expected[:, 0] *= -1
        if turn & 1:
            expected[:, 1] *= -1
        torch.testing.assert_close(moved, expected)
        turned = _turned(images, turn, (0, 0))
        torch.testing.assert_close(turned[:, 0, 0], images[:, 0, 0])  # about pixel (0, 0)
        assert sorted(turned.flatten().tolist()) == sorted(images.flatten().tolist())
    assert len({_symmetry(torch.Generator().manual_seed(s))[0] for s in range(60)}) == 8


def test_direct_estimate_of_a_batch_resembles_its_truth() -> None:
    """Score, noise, symmetry and shift agree: the network's input is an image of its target."""
    config = replace(TINY, batch=8, vacuum=0.0, doses=(5000.0, 20000.0))
    found = []
    for batch in make_batch(config, 0):
        estimate = batch.inputs[0][:, 0]
        for a, b in zip(estimate, batch.target, strict=True):
            found.append(float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1]))
    assert min(found) > 0.5
    assert np.median(found) > 0.8


def test_loss_falls() -> None:
    """On the same samples, which differ too much from each other to compare those of two steps."""
    config = replace(TINY, steps=60, batch=4, learning_rate=3e-3)
    network = build_network(config)
    optimiser = torch.optim.AdamW(network.parameters(), 3e-3)

    def mean_loss() -> float:
        with torch.no_grad():
            parts = [batch for step in range(8) for batch in make_batch(config, 100 + step)]
            return float(np.mean([float(loss_of(config, network, batch)) for batch in parts]))

    before = mean_loss()
    for step in range(60):
        optimiser.zero_grad()
        batches = make_batch(config, step)
        torch.stack([loss_of(config, network, batch) for batch in batches]).mean().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    # By little: the first loss is that of the direct estimate, which has no fringes to remove.
    assert mean_loss() < before - 0.003


@pytest.mark.parametrize("network", ["DirectInformed", "AttentionUNet"])
def test_half_precision_rounds_the_network_and_not_its_loss(network: str) -> None:
    config = replace(TINY, network=network)
    batch = make_batch(config, 0)[0]
    net = build_network(config)
    if network == "DirectInformed":  # its last layer starts at zero: let it do something
        net.body.output.weight.data.normal_(0, 0.02, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole = loss_of(config, net, batch)
        half = loss_of(replace(config, half=True), net, batch)
    assert half.dtype == torch.float32
    assert half != whole
    assert half == pytest.approx(float(whole), rel=0.02)


def test_a_run_that_was_stopped_ends_where_it_would_have(tmp_path: Path) -> None:
    whole = load_file(train(TINY, tmp_path / "whole", device="cpu"))
    for end in (5, 8):
        stopped = train(TINY, tmp_path / "parts", device="cpu", stop_after=end)
        assert stopped.name == "checkpoint.safetensors"
    parts = load_file(train(TINY, tmp_path / "parts", device="cpu"))
    assert whole.keys() == parts.keys()
    for name, value in whole.items():
        torch.testing.assert_close(value, parts[name], rtol=0, atol=0, msg=name)
    assert (tmp_path / "parts" / "loss.png").is_file() is False  # fewer steps than a log row
    with pytest.raises(ValueError, match=r"other settings \(learning_rate\)"):
        train(replace(TINY, learning_rate=1e-2), tmp_path / "parts", device="cpu")


def test_a_run_goes_on_from_shipped_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the very weights, checked by their checksum, and resumed exactly without them."""
    name = "DirectInformed"
    config = replace(
        training.shipped_training(name), steps=4, batch=1, checkpoint=1, specimens=5, molecular=0.0
    )
    assert config.start == learned.card(name)["sha256"]
    shipped = learned.load_network(name).state_dict()
    still = replace(config, steps=1, learning_rate=1e-12, weight_decay=0.0)
    for key, value in load_file(train(still, tmp_path / "still", device="cpu")).items():
        torch.testing.assert_close(value, shipped[key], atol=1e-6, rtol=0)
    whole = load_file(train(config, tmp_path / "whole", device="cpu"))
    train(config, tmp_path / "parts", device="cpu", stop_after=2)
    record = learned.card(name)
    monkeypatch.setattr(learned, "card", lambda _: record | {"sha256": "0" * 64})
    parts = load_file(train(config, tmp_path / "parts", device="cpu"))
    for key, value in whole.items():
        torch.testing.assert_close(value, parts[key], rtol=0, atol=0)
    with pytest.raises(ValueError, match=r"the shipped weights of DirectInformed have the SHA-256"):
        train(config, tmp_path / "others", device="cpu")
    monkeypatch.undo()
    with pytest.raises(ValueError, match="width is 8; the weights that the run starts from have"):
        train(replace(config, width=8), tmp_path / "narrow", device="cpu")


def test_examples_have_the_finite_pixels_of_the_study() -> None:
    acquisition = acquisition_of("atomic", 1)
    assert acquisition.pixel_samples == 3
    rim = acquisition.view_illumination < 0.7
    with np.load(example("atomic", 0, 1), allow_pickle=False) as stored:
        views = torch.from_numpy(stored["views"]).float()
    assert float(views[rim].mean()) < 0.75 * float(views[~rim].mean())
    # The networks of views see them relative to vacuum.
    config = replace(TINY, network="AttentionUNet", infinite=1.0, detector_noise=0.0)
    (batch,) = make_batch(config, 0)
    means = batch.inputs[0].mean((0, 2, 3))
    assert float(means[rim].mean()) == pytest.approx(float(means[~rim].mean()), rel=0.25)


def test_a_run_from_before_a_setting_existed_goes_on(tmp_path: Path) -> None:
    checkpoint = train(TINY, tmp_path, device="cpu", stop_after=2)
    with safe_open(checkpoint, "pt") as file:
        metadata = file.metadata()
    config = json.loads(metadata["config"])
    del config["half"]
    save_file(load_file(checkpoint), checkpoint, metadata | {"config": json.dumps(config)})
    assert train(TINY, tmp_path, device="cpu", stop_after=3) == checkpoint


def start(folder: Path) -> subprocess.Popen[bytes]:
    """Train in a process of its own."""
    code = (
        "from dataclasses import replace; from pathlib import Path\n"
        "from tests.learn.test_training import TINY; from misr4d.learn.training import train\n"
        f"train(replace(TINY, steps=24, checkpoint=2), Path({str(folder)!r}), device='cpu')"
    )
    root = Path(__file__).parents[2]
    return subprocess.Popen([sys.executable, "-W", "ignore", "-c", code], cwd=root)


def test_a_run_that_was_killed_goes_on(tmp_path: Path, supply: Path) -> None:
    """Killed without warning after a checkpoint, then run to the end: the same weights."""
    process = start(tmp_path / "killed")
    checkpoint = tmp_path / "killed" / "checkpoint.safetensors"
    deadline = time.monotonic() + 240
    while not checkpoint.is_file() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert checkpoint.is_file()
    assert not (tmp_path / "killed" / "weights.safetensors").is_file()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the process
    try:
        for folder in ("killed", "straight"):
            train(replace(TINY, steps=24, checkpoint=2), tmp_path / folder, device="cpu")
    finally:
        torch.set_num_threads(threads)
    resumed = load_file(tmp_path / "killed" / "weights.safetensors")
    straight = load_file(tmp_path / "straight" / "weights.safetensors")
    for name, value in straight.items():
        torch.testing.assert_close(value, resumed[name], rtol=0, atol=0, msg=name)
    with (tmp_path / "killed" / "log.csv").open(encoding="utf-8", newline="") as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["20"]


def test_two_processes_train_one_network(tmp_path: Path, supply: Path) -> None:
    """Under torchrun with gloo: one set of weights, which is not that of one process."""
    code = (
        "from dataclasses import replace; from pathlib import Path\n"
        "from tests.learn.test_training import TINY; from misr4d.learn.training import train\n"
        f"train(replace(TINY, steps=3), Path({str(tmp_path / 'two')!r}), device='cpu')"
    )
    script = tmp_path / "run.py"
    script.write_text(code, encoding="utf-8")
    root = Path(__file__).parents[2]
    subprocess.run(
        [
            *(sys.executable, "-W", "ignore", "-m", "torch.distributed.run"),
            *("--nproc-per-node=2", "--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0"),
            str(script),
        ],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        check=True,
        timeout=300,
    )
    two = load_file(tmp_path / "two" / "weights.safetensors")
    one = load_file(train(replace(TINY, steps=3), tmp_path / "one", device="cpu"))
    assert two.keys() == one.keys()
    assert any(not torch.equal(two[name], one[name]) for name in one)
    assert all(torch.isfinite(value).all() for value in two.values())


def test_an_endless_supply_cannot_be_prepared() -> None:
    with pytest.raises(ValueError, match="specimens is 0, an endless supply"):
        prepare(replace(TINY, specimens=0))


def test_an_endless_supply_moves_on_and_leaves_nothing_on_disk(
    monkeypatch: pytest.MonkeyPatch, supply: Path
) -> None:
    """Specimens enter and leave by the step alone, so that a resumed run meets the same ones."""
    made: list[int] = []
    real = examples.simulate_example

    def counted(regime: str, seed: int, index: int, **options: Any) -> dict[str, torch.Tensor]:
        made.append(index)
        # The five of the supply stand for all: what they look like does not matter here.
        return real(regime, seed, index % 5, **options)

    monkeypatch.setattr(examples, "simulate_example", counted)
    examples._fresh_example.cache_clear()
    files = sorted(supply.rglob("*"))
    config = replace(TINY, specimens=0, pool=5, renewed=0.5, batch=1, vacuum=0.0)
    early = make_batch(config, 0)
    make_batch(config, 20)
    assert made[0] < 5
    assert 10 <= made[1] < 15
    make_batch(config, 0)
    assert len(made) == 2  # held in memory
    examples._fresh_example.cache_clear()
    (again,) = make_batch(config, 0)
    torch.testing.assert_close(again.inputs[0], early[0].inputs[0], rtol=0, atol=0)
    assert sorted(supply.rglob("*")) == files
    examples._fresh_example.cache_clear()


def test_inputs_of_the_ablations(supply: Path) -> None:
    """Aligned views of a crystal agree better with each other than raw ones do."""
    config = replace(
        TINY, network="AttentionUNet", doses=(1e6, 2e6), batch=2, detector_noise=0.0, infinite=1.0
    )
    (raw,) = make_batch(config, 1)
    (registered,) = make_batch(replace(config, inputs="aligned"), 1)
    spread = [float(b.inputs[0].mean(1).var()) for b in (raw, registered)]
    assert spread[1] > 1.2 * spread[0]  # what is in register survives the mean over views
    torch.testing.assert_close(raw.target, registered.target)
    (direct,) = make_batch(replace(config, inputs="direct"), 1)
    network = build_network(replace(config, inputs="direct"))
    assert network(direct.inputs[0]).shape == (2, 1, 192, 192)
    with pytest.raises(ValueError, match="inputs is 'aligned'; expected one of views for"):
        replace(TINY, inputs="aligned")


def test_presets_are_runs() -> None:
    assert set(PRESETS) == {"ci", "cpu", "paper", "gpu"}
    paper = PRESETS["paper"]
    assert (paper.network, paper.width, paper.depth) == ("AttentionUNet", 64, 5)
