"""The peers' committed tables, and how their images come onto the study's grid."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from misr4d import ATOMIC, plotting
from misr4d.companion import cases
from misr4d.companion.bench import COLUMNS, GAIN, Row, late_gain
from misr4d.companion.study_images import PEER_IMAGES, read_images
from misr4d.core.datacube import Datacube
from misr4d.measure.metrics import psnr
from misr4d.specimens.corpus import draw_specimen, is_held_out
from tests.companion.test_study_rows import by_commit, on_the_studys_python

ROOT = Path(__file__).resolve().parents[2]
STUDY = ROOT / "notebooks" / "study"
PLACE = ROOT / "benchmarks" / "peers"
LABEL = ("CuZr", "phaserEM")


@pytest.fixture(scope="module")
def peers() -> Iterator[dict[str, ModuleType]]:
    """Import the scripts, which import one another as scripts do."""
    sys.path.insert(0, str(PLACE))
    names = ("environments", "exchange", "rows", "tune", "compare")
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


@pytest.fixture(scope="module")
def images() -> dict[str, Tensor]:
    return read_images(PEER_IMAGES)


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


def test_every_scan_has_three_draws_of_the_tuned_settings(
    peers: dict[str, ModuleType], table: dict[str, Any]
) -> None:
    entries = table["rows"]
    rows = peers["rows"]
    scans: dict[tuple[Any, ...], list[int]] = {}
    for entry in entries:
        place = (entry["method"], entry["specimen"], entry["thickness"], entry["dose"])
        scans.setdefault(place, []).append(entry["seed"])
        assert entry["settings"] == rows.tuned(entry["method"], entry["regime"], entry["dose"])
    assert set(map(tuple, scans.values())) == {(0, 1, 2)}
    whole = {(p, s, d) for p, s, thickness, d in scans if thickness is None}
    assert {(s, d) for p, s, d in whole if p == "phaserEM"} == {
        (s, d) for s in rows.SPECIMENS for d in rows.DOSES
    }
    thick = {(p, s, t, d) for p, s, t, d in scans if t is not None}
    assert thick == {("phaserEM", "Li2CoO3", t, 300.0) for t in (50.0, 100.0, 200.0, 300.0)}


@on_the_studys_python
def test_no_row_is_stale_missing_or_without_a_key(
    peers: dict[str, ModuleType], table: dict[str, Any], images: dict[str, Tensor]
) -> None:
    lines = peers["rows"].faults(table["rows"], images)
    assert not lines, "\n".join([f"{len(lines)} faults:", *lines[:5]])


def test_images_drawn_by_the_commit_have_every_score_of_their_rows(
    peers: dict[str, ModuleType], table: dict[str, Any], images: dict[str, Tensor]
) -> None:
    chance = by_commit()
    scans: dict[tuple[str, float | None], dict[str, list[dict[str, Any]]]] = {}
    for entry in table["rows"]:
        by_peer = scans.setdefault((entry["specimen"], entry["thickness"]), {})
        by_peer.setdefault(entry["method"], []).append(entry)
    # Of each specimen, and of one thickness, two images by every peer.
    thick = chance.choice([place for place in scans if place[1] is not None])
    drawn = [
        entry
        for place in [*((name, None) for name in peers["rows"].SPECIMENS), thick]
        for entries in scans[place].values()
        for entry in chance.sample(entries, 2)
    ]
    assert len(drawn) >= 0.1 * len(table["rows"])
    lines = peers["rows"].misscored(drawn, images)
    assert not lines, "\n".join(lines)


def drawn_at(table: dict[str, Any], dose: float) -> list[dict[str, Any]]:
    """Draws of phaserEM on the glass at a dose."""
    return [e for e in table["rows"] if (e["specimen"], e["method"], e["dose"]) == (*LABEL, dose)]


def test_every_score_that_was_changed_is_named(
    peers: dict[str, ModuleType], table: dict[str, Any], images: dict[str, Tensor]
) -> None:
    entry = drawn_at(table, 300.0)[0]
    changed = {
        name: not value if isinstance(value, bool) else 1.02 * value if value else 1.0
        for name, value in entry.items()
        if name in COLUMNS
    }
    lines = peers["rows"].misscored([entry | changed], images)
    assert [line.split(" of ")[0] for line in lines] == list(COLUMNS)
    assert "CuZr" in lines[0]
    assert "phaserEM" in lines[0]


def test_images_that_changed_places_are_named(
    peers: dict[str, ModuleType], table: dict[str, Any], images: dict[str, Tensor]
) -> None:
    """Of two draws at the highest dose, whose images are the most alike."""
    one, other, _ = drawn_at(table, 1000.0)
    exchanged = images | {
        one["image"]: images[other["image"]],
        other["image"]: images[one["image"]],
    }
    lines = peers["rows"].misscored([one, other], exchanged)
    assert {draw for draw in (0, 1) if any(f"draw={draw}" in line for line in lines)} == {0, 1}


@on_the_studys_python
def test_a_row_that_is_not_what_todays_code_makes_is_named(
    peers: dict[str, ModuleType], table: dict[str, Any], images: dict[str, Tensor]
) -> None:
    faults, entries = peers["rows"].faults, table["rows"]
    number = next(i for i, e in enumerate(entries) if e is drawn_at(table, 300.0)[1])
    entry = entries[number]
    here = "phaserEM on CuZr-300-1"

    def altered(**change: Any) -> list[str]:
        changed = [*entries]
        changed[number] = entry | change
        return faults(changed, images)

    deleted = faults(entries[:number] + entries[number + 1 :], images)
    assert [line.split("; ")[0] for line in deleted] == [
        f"{here}: no row",
        f"image {entry['image']} is of no row",
    ]
    (without_key,) = altered(made="")
    assert without_key.startswith(f"{here}: without a key")
    (stale,) = altered(made="0" * 32)
    assert stale.startswith(f"{here}: made by other code, data, settings or version; run")
    (tampered,) = altered(settings=entry["settings"] | {"rate": 9.0})
    assert tampered.startswith(f"{here}: settings not those of its key")
    kept = {key: image for key, image in images.items() if key != entry["image"]}
    (lost,) = faults(entries, kept)
    assert lost.startswith(f"{here}: its image is not kept")
    (twice,) = faults([*entries, entry], images)
    assert twice == "1 rows stand twice in the table"


@pytest.mark.parametrize(
    ("change", "image_stands"),
    [
        ("scoring", True),
        ("simulation", False),
        ("exchange", False),
        ("script", False),
        ("version", False),
        ("settings", False),
    ],
)
def test_a_key_is_of_all_that_makes_a_row(
    change: str,
    image_stands: bool,
    peers: dict[str, ModuleType],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = peers["rows"]
    row = Row("CuZr", "phaserEM", 300.0, 1)
    before = rows.image_key(row), rows.row_key(row)
    texts = {"exchange": "exchange.py", "script": "run_phaserem.py"}
    if change == "scoring":
        monkeypatch.setattr(rows, "score_image", psnr)
    elif change == "simulation":
        monkeypatch.setattr(rows, "make_scene", draw_specimen)
    elif change in texts:
        script = rows._script
        monkeypatch.setattr(
            rows, "_script", lambda name: script(name) + "\nX = 1" * (name == texts[change])
        )
    elif change == "version":
        newer = replace(rows.PEERS["phaserEM"], version="0.3.2")
        monkeypatch.setitem(rows.PEERS, "phaserEM", newer)
    else:
        monkeypatch.setattr(rows, "tuned", lambda *case: {"rate": 9.0})
    after = rows.image_key(row), rows.row_key(row)
    assert after[1] != before[1]
    assert (after[0] == before[0]) is image_stands


def test_comments_in_a_peers_script_are_no_part_of_a_key(
    peers: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = peers["rows"]
    row = Row("CuZr", "quantem direct", 300.0, 1)
    before, script = rows.row_key(row), rows._script
    monkeypatch.setattr(rows, "_script", lambda name: script(name) + "\n# a comment\n")
    assert rows.row_key(row) == before


@pytest.fixture
def bench_of_two(
    peers: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> tuple[Callable[..., list[dict[str, Any]]], list[str]]:
    """Two rows of a fake peer: what runs the comparison and reads its rows, and what it did."""
    compare, done = peers["compare"], list[str]()
    planned = [Row("CuZr", "phaserEM", 300.0, draw) for draw in (0, 1)]
    for module in (compare, peers["rows"]):
        monkeypatch.setattr(module, "planned", lambda: planned)
    monkeypatch.setattr(compare, "HOME", tmp_path)
    monkeypatch.setattr(compare, "IMAGES", tmp_path / "images")
    monkeypatch.setattr(compare, "TABLE", tmp_path / "peers.json")
    monkeypatch.setattr(compare, "PEER_IMAGES", tmp_path / "peers_images.npz")
    monkeypatch.setattr(compare, "make_scene", lambda *place: None)
    monkeypatch.setattr(compare, "measure_counts", lambda folder, *case: None)
    monkeypatch.setattr(compare, "versions", lambda name: {"phaserem": "0.3.1"})

    def run_peer(name: str, tasks: dict[Path, Any]) -> list[Any]:
        done.extend(f"made {folder.name}" for folder in tasks)
        image = torch.linspace(0, len(done), 12).reshape(3, 4)
        return [[peers["exchange"].Course((image,), (2.0,))] for _ in tasks]

    def score(image: Tensor, scene: None) -> dict[str, float]:
        done.append("scored")
        return {"correlation": float(image.max())}

    monkeypatch.setattr(compare, "run_peer", run_peer)
    monkeypatch.setattr(compare, "score_image", score)

    def run(*words: str) -> list[dict[str, Any]]:
        done.clear()
        monkeypatch.setattr(sys, "argv", ["compare.py", *words])
        compare.main()
        assert not list((tmp_path / "images").glob("*"))
        return json.loads((tmp_path / "peers.json").read_text(encoding="utf-8"))["rows"]

    return run, done


def test_the_comparison_redoes_what_has_another_key_and_nothing_else(
    bench_of_two: tuple[Callable[..., list[dict[str, Any]]], list[str]],
    peers: dict[str, ModuleType],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run, done = bench_of_two
    both = ["made CuZr-300-0", "made CuZr-300-1", "scored", "scored"]
    first = run()
    assert done == both
    assert [entry["seconds"] for entry in first] == [2.0, 2.0]
    assert "2 rows, all of today's code" in capsys.readouterr().out
    assert run() == first
    assert done == []
    run("--again")
    assert done == both
    again = run()
    # Other scoring: the kept images are scored again.
    monkeypatch.setattr(peers["rows"], "score_image", psnr)
    scored = run()
    assert done == ["scored", "scored"]
    assert [e["image"] for e in scored] == [e["image"] for e in again]
    assert {e["made"] for e in scored}.isdisjoint(e["made"] for e in again)
    assert [e["seconds"] for e in scored] == [2.0, 2.0]
    # Other settings: a peer that is not asked for keeps its rows, which are named; then it is run.
    tuned = peers["rows"].tuned
    for module in (peers["rows"], peers["compare"]):
        monkeypatch.setattr(module, "tuned", lambda *case: tuned(*case) | {"rate": 9.0})
    capsys.readouterr()
    assert run("quantem") == scored
    assert done == []
    assert capsys.readouterr().out.count("made by other code, data, settings or version") == 2
    redone = run("phaserEM")
    assert done == both
    assert [entry["settings"]["rate"] for entry in redone] == [9.0, 9.0]


def test_counts_of_another_key_are_measured_again(
    peers: dict[str, ModuleType], tmp_path: Path
) -> None:
    exchange, drawn = peers["exchange"], list[int]()

    def measure(dose: float, seed: int) -> SimpleNamespace:
        drawn.append(seed)
        return SimpleNamespace(
            whole=Datacube(np.zeros((4, 4, 9, 9), np.float32), (1.0, 1.0), (1.0, 1.0))
        )

    scene = SimpleNamespace(measure=measure, acquisition=ATOMIC, midplane=ATOMIC)
    exchange.measure_counts(tmp_path, "first", scene, 100.0, 5, 2)
    exchange.measure_counts(tmp_path, "first", scene, 100.0, 6, 2)
    assert exchange.counts_made(tmp_path) == "first"
    exchange.measure_counts(tmp_path, "second", scene, 100.0, 7, 2)
    assert drawn == [5, 7]
    with np.load(tmp_path / "counts.npz") as file:
        arrays = {name: file[name] for name in file.files if name != "made"}
    assert arrays["counts"].shape == (2, 2, 8, 8)
    np.savez(tmp_path / "counts.npz", **arrays)  # as they were before they had keys
    exchange.measure_counts(tmp_path, "second", scene, 100.0, 8)
    assert drawn == [5, 7, 8]


def test_scores_of_a_tuning_lie_under_their_key(
    peers: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tune = peers["tune"]
    monkeypatch.setattr(tune, "PARTS", tmp_path)
    tuner = tune.Tuner("quantem direct", "atomic")
    tuner.path.write_text('[{"draw": 4}]', encoding="utf-8")
    assert tune.Tuner("quantem direct", "atomic").rows == [{"draw": 4}]
    newer = replace(peers["rows"].PEERS["quantem direct"], version="0.2")
    monkeypatch.setitem(peers["rows"].PEERS, "quantem direct", newer)
    assert tune.Tuner("quantem direct", "atomic").rows == []


def test_every_peer_is_a_rival_and_has_a_colour(peers: dict[str, ModuleType]) -> None:
    assert set(peers["environments"].PEERS) == set(cases.PEERS)
    assert set(cases.PEERS) < set(cases.PTYCHOGRAPHY) <= set(plotting.METHOD_COLOURS)


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
    cube = Datacube(np.full((2, 2, 9, 9), 0.3, dtype=np.float32), (1.0, 1.0), (1.0, 1.0))
    with pytest.raises(ValueError, match="whole numbers"):
        peers["exchange"].write_counts(tmp_path, cube, ATOMIC, 5.0, "")
