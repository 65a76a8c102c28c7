"""Scans over instruments: that they are what they say, and what the network for them is told."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from misr4d.core.acquisition import ATOMIC, MOLECULAR, UPSAMPLING, Acquisition
from misr4d.core.dose import electrons_per_pixel, expose
from misr4d.learn import instruments
from misr4d.learn.configuration import Training, build_network
from misr4d.learn.examples import generator_of, symmetric
from misr4d.learn.instruments import draw_instrument, prepare_scans, scan
from misr4d.learn.learned import network_for
from misr4d.learn.networks import DirectInformed, InstrumentInformed, conditions
from misr4d.learn.ranges import PERIODS, SEMIANGLES, SHIFTS, STEPS, deepest, outside
from misr4d.learn.recipes import make_batch
from misr4d.learn.training import train
from misr4d.measure.metrics import correlation
from misr4d.reconstruction.direct import starting_point

TINY = Training(
    network="InstrumentInformed", width=8, depth=3, steps=4, batch=2, specimens=2, checkpoint=2
)


@pytest.fixture(scope="module")
def supply(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def cached(supply: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISR4D_CACHE", str(supply))
    instruments._scan_and_method.cache_clear()


def test_an_instrument_is_fixed_by_its_numbers_and_within_the_stated_ranges() -> None:
    drawn = [draw_instrument(7, index) for index in range(60)]
    assert draw_instrument(7, 3) == drawn[3] != draw_instrument(8, 3)
    for each in drawn:
        acquisition = each.acquisition
        acquisition.check_upsampling(UPSAMPLING)
        step = acquisition.step[0]
        assert SEMIANGLES[0] <= acquisition.semiangle <= SEMIANGLES[1]
        assert STEPS[each.regime][0] <= step <= STEPS[each.regime][1]
        assert PERIODS[0] <= step / acquisition.information_limit <= PERIODS[1]
        # Astigmatism adds at most 8 % to what defocus alone displaces.
        assert SHIFTS[0] <= acquisition.largest_view_shift / step <= 1.08 * SHIFTS[1] + 1e-9
        assert acquisition.number_of_views >= UPSAMPLING**2
    assert {each.regime for each in drawn} == {"atomic", "molecular"}
    assert any(each.acquisition.defocus < 0 for each in drawn)


def test_a_scan_shows_its_specimen_and_counts_as_electrons_do() -> None:
    measured = scan(0, 0)
    acquisition = measured.instrument.acquisition
    method = starting_point(acquisition)
    assert abs(float(measured.truth.mean())) < 1e-6
    exact = method.solve(measured.statistic)[0]
    assert correlation(exact, measured.truth) > 0.95
    # What is added to the statistic has the variance of counted electrons, here of vacuum.
    dose = 200.0
    electrons = electrons_per_pixel(dose, acquisition)
    counted = expose(acquisition.vacuum_views, acquisition, dose, generator_of(3))
    real = method.statistic(counted)
    drawn, truth = measured.expose(method, dose, generator_of(4), vacuum=True)
    assert float(truth.abs().max()) == 0
    assert float(drawn.noise) == pytest.approx(1 / electrons / 48**2, rel=1e-5)
    assert float(real.noise) == pytest.approx(float(drawn.noise), rel=0.02)
    powers = [float(s.score.abs().square().mean()) for s in (real, drawn)]
    assert powers[0] == pytest.approx(powers[1], rel=0.1)
    # The detector's own noise adds, weighed by the lit part of every pixel.
    noisy, _ = measured.expose(method, dose, generator_of(4), detector=2.0, vacuum=True)
    rim = float((1 / acquisition.view_illumination).mean())
    assert float(noisy.noise) == pytest.approx(
        (1 / electrons + rim * (2 / electrons) ** 2) / 48**2, rel=1e-5
    )
    # Without counting nothing is added.
    same, _ = measured.expose(method, math.inf, generator_of(5))
    torch.testing.assert_close(same.score, measured.statistic.score)


def test_scans_are_made_once(supply: Path) -> None:
    prepare_scans(TINY, workers=1)
    files = {path: path.stat().st_mtime_ns for path in supply.rglob("instruments/*/*.npz")}
    assert len(files) == 2
    prepare_scans(TINY, workers=1)
    assert {path: path.stat().st_mtime_ns for path in supply.rglob("instruments/*/*.npz")} == files
    with pytest.raises(ValueError, match="specimens is 0; a training over instruments needs"):
        prepare_scans(replace(TINY, specimens=0))


def test_a_step_is_fixed_by_its_number_and_each_sample_told_its_instrument() -> None:
    one, same, other = (make_batch(TINY, step) for step in (3, 3, 4))
    torch.testing.assert_close(one[0].inputs[0], same[0].inputs[0], rtol=0, atol=0)
    assert not torch.equal(one[0].inputs[0], other[0].inputs[0])
    told = torch.cat([part.inputs[1] for part in one])
    known = torch.stack(
        [conditions(starting_point(draw_instrument(0, index).acquisition)) for index in range(2)]
    )
    for row in told:
        assert (known == row).all(1).any()
    (empty, *_) = make_batch(replace(TINY, vacuum=1.0), 0)
    assert float(empty.target.abs().max()) == 0


def test_conditions_are_those_of_the_measurement() -> None:
    acquisition = Acquisition(defocus=400.0, step=(1.2, 1.2), energy=200e3, semiangle=8.0)
    step, periods, shift = conditions(starting_point(acquisition)).tolist()
    assert step == pytest.approx(1.2)
    assert periods == pytest.approx(1.2 * 2 * 8e-3 / 0.0250793, rel=1e-4)  # step · 2α/λ at 200 kV
    assert shift == pytest.approx(400 * 8e-3 / 1.2)
    # A scan of 31 Å steps at 1 mrad is taken for the coarsest that was trained.
    coarse = Acquisition(defocus=130e3, step=(31.25, 31.25), semiangle=1.03, scan_shape=(32, 32))
    step, periods, _ = conditions(starting_point(coarse, 6)).tolist()
    assert step == pytest.approx(5.3)
    assert periods == pytest.approx(31.25 / 2 * 2 * 1.03e-3 / 0.0196875, rel=1e-4)


def test_what_no_training_had_is_said() -> None:
    assert outside(ATOMIC) == []
    assert outside(MOLECULAR) == []
    (energy,) = outside(replace(ATOMIC, energy=30e3, semiangle=25.0, defocus=200.0))
    assert energy.startswith("the energy is 30 keV, outside of the 60 to 300 keV of the network's")
    coarse = Acquisition(defocus=130e3, step=(31.25, 31.25), semiangle=1.03, scan_shape=(32, 32))
    # Three depths of focus at 300 kV and 30 mrad: 3 · 0.019687 Å / (0.03)².
    assert deepest(Acquisition(defocus=80.0, step=0.4, semiangle=30.0)) == pytest.approx(
        65.6, abs=0.1
    )
    assert [text.split(" is ")[0] for text in outside(coarse, 6)] == [
        "the semi-angle",
        "the pixel of the image",
    ]


def test_symmetries_move_images_by_whole_steps() -> None:
    image = torch.arange(36.0).reshape(6, 6)
    generator = generator_of(1)
    for _ in range(20):
        turned = symmetric(torch.stack([image, 2 * image]), generator)
        torch.testing.assert_close(2 * turned[0], turned[1])
        assert sorted(turned[0].ravel().tolist()) == list(range(36))
        # Blocks of three by three pixels stay what a scan position holds, up to the symmetry.
        i, j = np.argwhere(turned[0].numpy() == 0)[0]
        assert i % UPSAMPLING == 0
        assert j % UPSAMPLING == 0


def test_it_starts_as_the_network_whose_weights_it_adopts() -> None:
    torch.manual_seed(0)
    known = DirectInformed(8, 3).eval()
    for parameter in known.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    other = InstrumentInformed(8, 3).eval()
    other.adopt(known)
    maps = torch.randn(2, 3, 48, 48)
    step = torch.tensor([0.8, 1.5])
    told = torch.stack([step, torch.tensor([0.7, 3.0]), torch.tensor([2.0, 9.0])], 1)
    for a, b in zip(known(maps, step), other(maps, told), strict=True):
        torch.testing.assert_close(a, b)
    twin = InstrumentInformed(8, 3).eval()
    twin.adopt(other)
    torch.testing.assert_close(twin(maps, told)[0], other(maps, told)[0])
    with pytest.raises(ValueError, match="take its width and depth"):
        InstrumentInformed(12, 3).adopt(known)


def test_a_killed_run_ends_in_the_same_weights(tmp_path: Path) -> None:
    whole = load_file(train(TINY, tmp_path / "whole", device="cpu", workers=1))
    train(TINY, tmp_path / "killed", device="cpu", workers=1, stop_after=2)
    resumed = load_file(train(TINY, tmp_path / "killed", device="cpu", workers=1))
    assert whole.keys() == build_network(TINY).state_dict().keys()
    for name, value in whole.items():
        torch.testing.assert_close(value, resumed[name], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("acquisition", "upsampling", "name"),
    [
        (ATOMIC, 3, "DirectInformed"),
        (MOLECULAR, 3, "DirectInformed"),
        (replace(ATOMIC, defocus=600.0), 3, "DirectInformed"),
        (replace(ATOMIC, step=(2.0, 2.0), defocus=1000.0), 6, "DirectInformed"),
        (replace(ATOMIC, energy=80e3), 3, "InstrumentInformed"),
        (replace(ATOMIC, semiangle=20.0), 3, "InstrumentInformed"),
        (replace(ATOMIC, defocus=1500.0), 3, "InstrumentInformed"),
        (replace(ATOMIC, astigmatism=(20.0, 0.0)), 3, "InstrumentInformed"),
        (replace(MOLECULAR, step=(2.0, 2.0)), 3, "InstrumentInformed"),
    ],
)
def test_the_network_follows_the_measurement(
    acquisition: Acquisition, upsampling: int, name: str
) -> None:
    assert network_for(acquisition, upsampling) == name
