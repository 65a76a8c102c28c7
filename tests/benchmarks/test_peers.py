"""The peers' committed tables, and how their images come onto the study's grid."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from misr4d import plotting
from misr4d.companion import cases
from misr4d.companion.bench import GAIN, late_gain, score_image
from misr4d.companion.study import make_scene
from misr4d.specimens.corpus import draw_specimen, is_held_out

ROOT = Path(__file__).resolve().parents[2]
STUDY = ROOT / "notebooks" / "study"
PLACE = ROOT / "benchmarks" / "peers"
LABEL = ("CuZr", "phaserEM")


@pytest.fixture(scope="module")
def peers() -> Iterator[dict[str, ModuleType]]:
    """Import the scripts, which import one another as scripts do."""
    sys.path.insert(0, str(PLACE))
    names = ("environments", "exchange", "tune", "compare")
    try:
        yield {name: __import__(name) for name in names}
    finally:
        sys.path.remove(str(PLACE))
        for name in names:
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def tuning() -> dict[str, Any]:
    return json.loads((STUDY / "peers_tuning.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def table() -> dict[str, Any]:
    return json.loads((STUDY / "peers.json").read_text(encoding="utf-8"))


def test_nothing_is_chosen_at_a_grids_end(tuning: dict[str, Any]) -> None:
    for row in tuning["choice"]:
        for name, values in row["grids"].items():
            if name in tuning["alternatives"][row["peer"]]:
                continue
            choice = row["epochs"] if name == "epochs" else row["settings"][name]
            natural = tuning["natural ends"][row["peer"]].get(name, [])
            assert choice in values, (row["peer"], row["regime"], row["dose"], name)
            inside = min(values) < choice < max(values)
            assert inside or choice in natural, (row["peer"], row["regime"], row["dose"], name)


def test_choices_are_the_best_on_record(tuning: dict[str, Any]) -> None:
    for choice in tuning["choice"]:
        where = (choice["peer"], choice["regime"], choice["dose"])
        rows = [
            row
            for row in tuning["scores"][f"{choice['peer']}, {choice['regime']}"]
            if row["dose"] == choice["dose"] and row["settings"] == choice["settings"]
        ]
        assert len(rows) == len(tuning["draws"][choice["regime"]]) >= 2, where
        means = [
            statistics.mean(scores) for scores in zip(*(r["scores"] for r in rows), strict=True)
        ]
        assert 1 + int(np.argmax(means)) == choice["epochs"], where
        assert max(means) == pytest.approx(choice["score"], abs=1e-3), where
        # Not stopped while it climbs: the second half of the epochs gains nothing.
        assert late_gain(means) < GAIN, where


def test_tuning_specimens_are_scored_nowhere(tuning: dict[str, Any]) -> None:
    for regime, indices in tuning["draws"].items():
        for index in indices:
            specimen = draw_specimen(regime, tuning["seed"], index)
            assert specimen.regime == regime
            assert not is_held_out(specimen.atoms)


def test_versions_are_those_that_the_environments_pin(
    peers: dict[str, ModuleType], tuning: dict[str, Any], table: dict[str, Any]
) -> None:
    pinned = peers["environments"].PEERS
    for record in (tuning, table):
        for name, versions in record["versions"].items():
            assert versions[pinned[name].package.lower()] == pinned[name].version
            assert versions["python"].startswith(pinned[name].python)
    assert {row["version"] for row in table["rows"]} == {
        pinned[row["method"]].version for row in table["rows"]
    }


def test_each_number_has_three_draws_and_the_tuned_settings(
    peers: dict[str, ModuleType], table: dict[str, Any]
) -> None:
    compare = peers["compare"]
    rows = table["rows"]
    assert any(row["method"] == "phaserEM" for row in rows)
    for peer in {row["method"] for row in rows}:
        for specimen in compare.SPECIMENS:
            for dose in compare.FEWER.get(peer, compare.DOSES):
                drawn = [
                    row
                    for row in rows
                    if (row["method"], row["specimen"], row["dose"]) == (peer, specimen, dose)
                ]
                assert {row["seed"] for row in drawn} == set(range(compare.DRAWS))
                assert compare.DRAWS >= 3
                for row in drawn:
                    assert row["settings"] == compare.tuned(peer, row["regime"], dose)


@pytest.mark.parametrize("name", ["Li2CoO3-300", "apoferritin-1000"])
def test_stored_image_has_the_score_of_its_row(name: str, table: dict[str, Any]) -> None:
    specimen, dose = name.split("-")
    with np.load(STUDY / "peers_images.npz") as file:
        low, step = file[f"{name}-scale"]
        image = torch.from_numpy(low + step * file[name].astype(np.float64)).float()
    row = next(
        row
        for row in table["rows"]
        if (row["method"], row["specimen"], row["dose"], row["draw"])
        == ("phaserEM", specimen, float(dose), 0)
    )
    again = score_image(image, make_scene(specimen))
    for column in ("correlation", "correlation_field", "ceiling", "weighted_frc"):
        assert again[column] == pytest.approx(row[column], abs=0.003), column


def test_images_for_the_book_are_small(peers: dict[str, ModuleType]) -> None:
    path = STUDY / "peers_images.npz"
    assert path.stat().st_size < 1e6
    with np.load(path) as file:
        shown = {name for name in file.files if not name.endswith("-scale")}
    compare = peers["compare"]
    assert shown == {f"{s}-{d:g}" for s in compare.SPECIMENS for d in compare.DOSES}


def test_every_peer_is_a_rival_and_has_a_colour(peers: dict[str, ModuleType]) -> None:
    assert set(peers["environments"].PEERS) == set(cases.PEERS)
    assert set(cases.PEERS) < set(cases.PTYCHOGRAPHY) <= set(plotting.METHOD_COLOURS)


def test_a_row_on_record_stands_while_its_settings_are_the_tuned_ones(
    peers: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    compare = peers["compare"]
    monkeypatch.setattr(compare, "IMAGES", tmp_path)
    monkeypatch.setattr(compare, "SPECIMENS", ("CuZr",))
    recorded, _ = compare.on_record()
    rows = compare.tabulate(["phaserEM"], recorded)
    assert rows == [r for r in recorded.values() if (r["specimen"], r["method"]) == LABEL]
    stale = {k: r | {"settings": r["settings"] | {"rate": 9.0}} for k, r in recorded.items()}
    assert compare.tabulate(["phaserEM"], stale) == []


def test_a_setting_without_effect_is_left_alone(
    peers: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tune = peers["tune"]
    monkeypatch.setattr(tune, "PARTS", tmp_path)
    tuner = tune.Tuner("quantem direct", "atomic")
    monkeypatch.setattr(tuner, "score", lambda candidates, dose: [(0.5, 1)] * len(candidates))
    chosen = tune.BEGIN["quantem direct"] | {"kernel": "ssb"}
    assert tuner.bracket(chosen, 300.0, "noise")[0] == chosen["noise"]


def test_a_bracket_reaches_beyond_its_best_value(
    peers: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tune = peers["tune"]
    monkeypatch.setattr(tune, "PARTS", tmp_path)
    tuner = tune.Tuner("phaserEM", "atomic")

    def score(candidates: list[dict[str, Any]], dose: float) -> list[tuple[float, int]]:
        return [(-abs(np.log(c["rate"] / 0.3)), 1) for c in candidates]

    monkeypatch.setattr(tuner, "score", score)
    best, tried = tuner.bracket(dict(tune.BEGIN["phaserEM"]), 300.0, "rate")
    assert best == pytest.approx(0.32)
    assert min(tried) < best < max(tried)


@pytest.mark.parametrize("shape", [(40, 44), (41, 45)])
def test_band_limited_image_comes_onto_the_grid_exactly(
    peers: dict[str, ModuleType], shape: tuple[int, int]
) -> None:
    first, pixel, scan, step = np.array([6.5, 3.25]), np.array([0.5, 0.4]), (8, 6), 1.0

    def wave(x: Any, y: Any) -> Any:
        periods = shape * pixel  # the peer's field repeats
        return np.cos(2 * np.pi * (3 * x / periods[0] - 5 * y / periods[1]) + 0.4)

    theirs = wave(
        *np.meshgrid(*(np.arange(n) * p for n, p in zip(shape, pixel, strict=True)), indexing="ij")
    )
    ours = [f * p + np.arange(3 * n) * step / 3 for f, p, n in zip(first, pixel, scan, strict=True)]
    expected = wave(*np.meshgrid(*ours, indexing="ij"))
    image = peers["exchange"].on_scan_grid(theirs, first, pixel, scan, step)
    np.testing.assert_allclose(image, expected - expected.mean(), atol=1e-6)


def test_patterns_that_are_no_counts_are_refused(
    peers: dict[str, ModuleType], tmp_path: Path
) -> None:
    from misr4d import ATOMIC
    from misr4d.core.datacube import Datacube

    cube = Datacube(np.full((2, 2, 9, 9), 0.3, dtype=np.float32), (1.0, 1.0), (1.0, 1.0))
    with pytest.raises(ValueError, match="whole numbers"):
        peers["exchange"].write_counts(tmp_path, cube, ATOMIC, 5.0)
