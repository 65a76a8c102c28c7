from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from misr4d import ATOMIC, MOLECULAR
from misr4d.core.acquisition import nearest_regime
from misr4d.core.dose import expose
from misr4d.core.estimate import Estimate
from misr4d.learn import learned
from misr4d.learn.configuration import Training, acquisition_of, build_network
from misr4d.learn.learned import (
    SHIPPED,
    _joined,
    amend,
    attention_unet,
    calibrated_intervals,
    card,
    dual_path,
    informed,
    informed_tiled,
    load_network,
    pack,
    starting_weights,
    trained_detector,
    training_log,
    view_groups,
)
from misr4d.learn.networks import AttentionUNet, DirectInformed, DualPath
from misr4d.measure.metrics import correlation
from misr4d.reconstruction.direct import AMPLITUDE_CONTRAST, DirectPtychography
from misr4d.simulate.reciprocity import simulate_views
from tests.conftest import weak_phase


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package folder of its own, with a small network in it, which no later test may find."""
    monkeypatch.setattr(learned, "_FOLDER", tmp_path)
    load_network.cache_clear()
    config = Training(width=8, depth=3)
    network = build_network(config)
    torch.nn.init.normal_(network.body.output.weight, std=0.01)  # type: ignore[union-attr, arg-type]
    weights = tmp_path / "run" / "weights.safetensors"
    weights.parent.mkdir()
    weights.with_name("log.csv").write_text("step,loss\n20,0.5\n", encoding="utf-8")
    save_file(network.state_dict(), weights, {"config": json.dumps(vars(config))})
    factors = [
        {"regime": "atomic", "factors": {"0.68": 1.1, "0.95": 2.2}},
        {"regime": "molecular", "factors": {"0.68": 0.9, "0.95": 1.9}},
    ]
    known = {"device": "a test", "calibration": {"intervals": factors}}
    pack(weights, "DirectInformed", known)
    yield tmp_path
    load_network.cache_clear()


def test_a_packed_network_comes_back(shipped: Path) -> None:
    record = card("DirectInformed")
    assert record["device"] == "a test"
    assert record["training"]["width"] == 8
    assert training_log("DirectInformed") == [{"step": 20.0, "loss": 0.5}]
    network = load_network("DirectInformed")
    assert not network.training
    assert record["parameters"] == sum(p.numel() for p in network.parameters())
    maps, step = torch.randn(1, 3, 96, 96), torch.ones(1)
    assert isinstance(network, DirectInformed)
    assert network(maps, step)[0].shape == (1, 96, 96)


def test_a_run_from_another_networks_weights_goes_on_from_its_log(shipped: Path) -> None:
    """As the network for any instrument starts from that for the paper's settings."""
    first = card("DirectInformed")
    assert starting_weights("InstrumentInformed") == {first["sha256"]: "DirectInformed"}
    head = "step,loss,rate,seconds\n"
    (shipped / "DirectInformed.csv").write_text(head + "20,0.5,1e-3,10.0\n", encoding="utf-8")
    config = Training(
        network="InstrumentInformed", width=8, depth=3, specimens=2, start=first["sha256"]
    )
    network = build_network(config)
    network.adopt(load_network("DirectInformed"))
    weights = shipped / "run" / "weights.safetensors"
    weights.with_name("log.csv").write_text(head + "20,0.4,1e-4,7.5\n", encoding="utf-8")
    save_file(network.state_dict(), weights, {"config": json.dumps(vars(config))})
    pack(weights, "InstrumentInformed", {"device": "a test"})
    record = card("InstrumentInformed")
    assert [run["network"] for run in record["before"]] == ["DirectInformed"]
    assert record["seconds"] == 17.5
    assert [row["step"] for row in training_log("InstrumentInformed")] == [20.0, 40.0]
    assert set(starting_weights("InstrumentInformed")) == {first["sha256"], record["sha256"]}
    wrong = Training(network="InstrumentInformed", width=8, depth=3, start="0" * 64)
    save_file(network.state_dict(), weights, {"config": json.dumps(vars(wrong))})
    with pytest.raises(ValueError, match="the run went on from weights 000000000000…; shipped are"):
        pack(weights, "InstrumentInformed", {})


def test_weights_that_do_not_match_their_card_are_refused(shipped: Path) -> None:
    load_network.cache_clear()
    path = shipped / "DirectInformed.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match=r"their card says .*: install the package anew"):
        load_network("DirectInformed")


def test_an_unknown_network_lists_the_shipped(shipped: Path) -> None:
    with pytest.raises(ValueError, match="no weights for 'magic'; shipped are DirectInformed"):
        card("magic")


def test_an_estimate_carries_the_calibration_of_what_made_it(shipped: Path) -> None:
    own = Estimate(torch.zeros(2, 2), torch.full((2, 2), 0.5), {0.68: 1.1, 0.95: 2.2})
    torch.testing.assert_close(own.interval(0.95), torch.full((2, 2), 1.1))
    with pytest.raises(ValueError, match=r"coverage is 0\.5; calibrated are 0\.68, 0\.95"):
        own.interval(0.5)
    with pytest.raises(ValueError, match="this estimate has no calibration"):
        Estimate(own.mean, own.deviation).interval(0.95)
    # The shipped network's is that of the regime, as tiles too; another network has none.
    for acquisition, factor in ((ATOMIC, 2.2), (MOLECULAR, 1.9)):
        small = replace(acquisition, scan_shape=(32, 32))
        method = DirectPtychography(small, aliases=3)
        noise = torch.randn(
            small.number_of_views, 32, 32, generator=torch.Generator().manual_seed(0)
        )
        views = 1 + 0.1 * noise
        for found in (informed(method, views), informed_tiled(views, small)):
            torch.testing.assert_close(found.interval(0.95), found.deviation * factor)
        other = informed(method, views, network=load_network("DirectInformed"))
        assert other.intervals is None
    # Of a card without calibration nothing is known.
    amend("DirectInformed", {"calibration": {}})
    assert calibrated_intervals("DirectInformed", ATOMIC) is None
    with pytest.raises(ValueError, match="sha256 on the card of DirectInformed belongs to its w"):
        amend("DirectInformed", {"sha256": "0"})


def test_tiles_agree_with_the_whole_field() -> None:
    """An untrained network is direct ptychography: tiles must join into the image of the whole."""
    potential, _ = weak_phase(0.1)
    acquisition = replace(ATOMIC, defocus=300.0)
    views = simulate_views(potential, acquisition)
    network = DirectInformed(width=8, depth=3).eval()
    contrast = AMPLITUDE_CONTRAST["atomic"]
    method = DirectPtychography(acquisition, aliases=3, amplitude_contrast=contrast)
    whole = informed(method, views, network=network)
    torch.testing.assert_close(whole.mean, method(views), atol=1e-5, rtol=1e-4)
    asked = []

    def read(rows: slice, columns: slice) -> torch.Tensor:
        asked.append((rows, columns))
        return views[:, rows, columns]

    tiled = informed_tiled(read, acquisition, tile=48, overlap=12, network=network)
    assert len(asked) == 4
    assert tiled.mean.shape == tiled.deviation.shape == (192, 192)
    assert correlation(tiled.mean[18:-18, 18:-18], whole.mean[18:-18, 18:-18]) > 0.97
    one = informed_tiled(views, acquisition, tile=64, network=network)
    torch.testing.assert_close(one.mean, whole.mean, atol=1e-5, rtol=1e-4)


def test_fields_and_tiles_that_do_not_fit_are_refused() -> None:
    network = DirectInformed(width=8, depth=3)
    small = replace(ATOMIC, scan_shape=(31, 64))
    with pytest.raises(ValueError, match="31 × 64 positions; expected at least 32 × 32"):
        informed_tiled(torch.zeros(177, 31, 64), small, network=network)
    with pytest.raises(ValueError, match="tile is 40 and overlap 20"):
        informed_tiled(torch.zeros(177, 64, 64), ATOMIC, tile=40, overlap=20, network=network)


def test_networks_on_views_take_what_they_were_made_for() -> None:
    acquisition = acquisition_of("atomic", 2)
    views = torch.rand(acquisition.number_of_views, 40, 36)
    unet = AttentionUNet(len(views), width=4).eval()
    image = attention_unet(views, acquisition, network=unet)
    assert image.shape == (120, 108)
    assert float(image.mean()) == pytest.approx(0, abs=1e-5)
    with pytest.raises(ValueError, match=r"177 views of .* use DirectInformed or DualPath"):
        attention_unet(torch.rand(177, 40, 36), ATOMIC, network=unet)
    small = replace(ATOMIC, scan_shape=(40, 36))
    found = dual_path(
        torch.rand(177, 40, 36), small, network=DualPath(4, fused=8, decoder=8).eval()
    )
    assert found.shape == (120, 108)


def test_groups_of_views_cover_the_disc_once_whatever_the_order() -> None:
    acquisition = acquisition_of("atomic", 2)
    groups = view_groups(acquisition)
    assert sorted(k for own in groups for k in own) == list(range(acquisition.number_of_views))
    sizes = [len(own) for own in groups]
    assert max(sizes) - min(sizes) <= 1
    for own in groups:
        assert float(acquisition.view_angles[own].mean(0).norm()) < 0.2 * acquisition.semiangle
    turned = replace(acquisition, rotation=90.0)
    angles = {tuple(a) for a in acquisition.view_angles[groups[0]].round(decimals=6).tolist()}
    again = {
        tuple(a) for a in turned.view_angles[view_groups(turned)[0]].round(decimals=6).tolist()
    }
    assert angles == again  # the same angles, listed in another order


def test_pixels_on_the_rim_count_by_what_lights_them() -> None:
    """Vacuum looks the same through pixels that the disc covers in part as through whole ones."""
    finite = acquisition_of("atomic", 2)
    points = replace(finite, pixel_samples=1)
    lit = finite.view_illumination.float()
    assert float(lit.min()) < 0.6
    vacuum = torch.ones(points.number_of_views, 32, 32)
    for call, network in (
        (attention_unet, AttentionUNet(points.number_of_views, width=4).eval()),
        (dual_path, DualPath(4, fused=8, decoder=8).eval()),
    ):
        one = call(vacuum, points, network=network)
        other = call(vacuum * lit[:, None, None], finite, network=network)
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_nearest_regime_goes_by_the_step() -> None:
    assert nearest_regime(ATOMIC) == "atomic"
    assert nearest_regime(replace(MOLECULAR, step=(2.5, 2.5))) == "molecular"
    assert nearest_regime(replace(ATOMIC, step=(0.4, 0.4))) == "atomic"


def test_noise_added_to_the_statistic_is_that_of_counted_electrons() -> None:
    """Training adds noise to the score: mean, power and cross terms as from Poisson draws."""
    potential, _ = weak_phase(0.2)
    acquisition = replace(acquisition_of("atomic", 2), scan_shape=(32, 32), step=(2.0, 2.0))
    views = simulate_views(potential, acquisition)
    method = DirectPtychography(acquisition, aliases=3)
    exact = method.statistic(views)
    generator = torch.Generator().manual_seed(0)
    counted = torch.stack([expose(views, acquisition, 50.0, generator) for _ in range(24)])
    statistic = method.statistic(counted)
    electrons = 50.0 * 4.0 / acquisition.pixels_per_disc
    variance = acquisition.relative_to_vacuum(views).mean() / (electrons * 32 * 32)
    drawn = method.draw_noise(variance.repeat(24), generator)
    differences = statistic.score - exact.score
    gram = method._gram * variance
    for noise in (differences, drawn):
        power = float(noise.abs().square().mean())
        assert power == pytest.approx(float(gram.diagonal(dim1=-2, dim2=-1).real.mean()), rel=0.05)
        covariance = torch.einsum("nfa,nfb->fab", noise, noise.conj()) / 24
        overlap = float((covariance * gram.conj()).real.sum() / gram.abs().square().sum())
        assert overlap == pytest.approx(1.0, abs=0.05)
    # What the measurement says of its own noise is what was drawn, and what the model missed.
    expected = float(variance + exact.noise[0])
    assert float(statistic.noise.mean()) == pytest.approx(expected, rel=0.03)
    images = method.whitened(type(statistic)(drawn, variance.repeat(24)))
    measured = method.information() > 1e-3 * method.information().max()
    power = torch.fft.fft2(images, norm="ortho").abs().square().mean(0)[measured].mean()
    assert float(power) == pytest.approx(1.0, abs=0.05)


def test_log_of_a_run_that_went_on_goes_on() -> None:
    head = "step,loss,rate,seconds\n"
    joined = _joined(head + "20,0.5,1e-3,10.0\n", head + "20,0.4,1e-4,7.5\n40,0.3,1e-5,15.0\n")
    assert joined.splitlines()[1:] == ["20,0.5,1e-3,10.0", "40,0.4,1e-4,17.5", "60,0.3,1e-5,25.0"]


def test_cards_state_the_time_of_all_runs() -> None:
    for name in ("AttentionUNet", "DirectInformed"):
        assert card(name)["seconds"] == training_log(name)[-1]["seconds"]
        steps = sum(run["steps"] for run in [card(name)["training"], *card(name)["before"]])
        assert steps == training_log(name)[-1]["step"]


def test_cards_say_which_detector_each_run_saw() -> None:
    for name in SHIPPED:
        record = card(name)
        assert len(record["pixel_samples"]) == len(record.get("before", [])) + 1
        assert "pixels" in trained_detector(record)
    runs = {"network": "n", "training": {"steps": 1}, "before": [{"steps": 3}]}
    mixed = trained_detector({**runs, "pixel_samples": [1, 3]})
    assert mixed == "point pixels, and finite ones in 1 of 4 steps"
    assert trained_detector({**runs, "pixel_samples": [3, 3]}) == "finite pixels"
    with pytest.raises(ValueError, match="1 pixel_samples for 2 runs"):
        trained_detector({**runs, "pixel_samples": [3]})
