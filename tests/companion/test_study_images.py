"""Images that the study keeps: never another's, and the ones made today."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from misr4d.companion import study_images
from misr4d.companion.bench import STUDY, read_study, row_of, score_image
from misr4d.companion.study import Measurement, make_scene
from misr4d.companion.study_images import (
    GALLERY,
    KEPT,
    PEER_IMAGES,
    SHOWN,
    image_key,
    image_of,
    is_kept,
    kept_image,
    peer_images,
    read_images,
    write_images,
)
from misr4d.specimens.catalogue import SPECIMENS
from tests.companion.test_study_rows import on_the_studys_python


@on_the_studys_python
def test_no_image_is_stale_and_none_is_missing() -> None:
    wanted = {image_key(*case) for case in SHOWN}
    assert set(read_images(KEPT)) == wanted, "run `python benchmarks/study_images.py`"


@on_the_studys_python
@pytest.mark.parametrize(
    "case",
    [
        ("ptychography", "Li2CoO3", 300.0, 2),
        ("ptychography", "apoferritin", math.inf, 0),
        ("refined", "CuZr", 300.0, 0),
        ("informed", "neurotensin_receptor", 300.0, 0),
    ],
)
def test_a_kept_image_has_the_scores_of_its_row(case: tuple[str, str, float, int]) -> None:
    method, name, dose, seed = case
    (row,) = (
        entry
        for entry in read_study(specimens=(name,))
        if (entry["method"], entry["specimen"], entry["thickness"]) == (method, name, None)
        and (float(entry["dose"]), entry["seed"]) == (dose, seed)
    )
    scores = score_image(read_images(KEPT)[image_key(*case)], make_scene(name))
    for column in ("correlation", "weighted_frc", "ceiling", "resolution", "ms_ssim"):
        assert scores[column] == pytest.approx(row[column], rel=2e-4), column


def test_shown_images_have_rows_or_doses_between_them() -> None:
    rows = {(r.method, r.specimen, r.dose, r.draw) for plan in STUDY for r in plan.rows()}
    beside = [case for case in SHOWN if case not in rows]
    assert {dose for _, _, dose, _ in beside} == {200.0, 500.0}
    assert {(m, name, 300.0, 0) for m in GALLERY for name in SPECIMENS} <= set(SHOWN)
    assert row_of({"specimen": "a", "method": "b", "dose": "inf", "draw": 0}).dose == math.inf


@pytest.fixture
def measurement() -> Measurement:
    scene = make_scene("Li2CoO3")
    return Measurement(scene, 300.0, None, scene.acquisition.vacuum_views)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[torch.Tensor]:
    """Keep one image, of a method that makes another."""
    kept = torch.linspace(-1, 2, 12).reshape(3, 4)
    write_images([("key", kept)], tmp_path / "images.npz")
    monkeypatch.setattr(study_images, "KEPT", tmp_path / "images.npz")
    monkeypatch.setattr(study_images, "image_key", lambda *case: "key")
    monkeypatch.setattr(study_images, "METHODS", {"refined": lambda m: torch.zeros(3, 4)})
    study_images._kept.cache_clear()
    yield kept
    study_images._kept.cache_clear()


def test_the_kept_image_is_taken_for_its_own_electrons_alone(
    measurement: Measurement, made: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert torch.allclose(image_of("refined", measurement, 0), made, atol=3 / 65_535)
    assert is_kept("refined", measurement, 0)
    scene = measurement.scene
    turned = replace(scene.acquisition, rotation=1.0)
    others = [
        (measurement, 3),  # another seed
        (replace(measurement, dose=301.0), 0),
        (replace(measurement, scene=replace(scene, acquisition=turned)), 0),
        (replace(measurement, scene=replace(scene, source=0.5)), 0),
        (replace(measurement, scene=make_scene("Li2CoO3", 40.0)), 0),
    ]
    for other, seed in others:
        assert not image_of("refined", other, seed).any(), (other.dose, seed)
        assert not is_kept("refined", other, seed)
    monkeypatch.setattr(study_images, "image_key", lambda *case: "that of other code")
    assert not image_of("refined", measurement, 0).any()


def test_a_kept_image_needs_no_electrons_and_is_refused_when_stale(
    made: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = kept_image("direct", "NCM", 300.0, 0)
    assert image is not None
    assert torch.allclose(image, made, atol=3 / 65_535)
    for other in (("direct", "NCM", 301.0, 0), ("direct", "NCM", 300.0, 1), ("SSB", "NCM", 300, 0)):
        assert kept_image(*other) is None, other
    monkeypatch.setattr(study_images, "image_key", lambda *case: "that of other code")
    assert kept_image("direct", "NCM", 300.0, 0) is None


def test_a_caller_cannot_change_the_kept_image(
    measurement: Measurement, made: torch.Tensor
) -> None:
    image_of("refined", measurement, 0).zero_()
    assert torch.allclose(image_of("refined", measurement, 0), made, atol=3 / 65_535)


def test_images_are_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "images.npz"
    assert read_images(path) == {}
    flat, wide = torch.full((2, 3), 0.5), torch.tensor([[-3.0, 0.0, 1e3]])
    write_images([("flat", flat), ("wide", wide)], path)
    again = read_images(path)
    assert torch.equal(again["flat"], flat)
    assert float((again["wide"] - wide).abs().max()) <= 1003 / 65_535
    before = path.read_bytes()
    with pytest.raises(ValueError, match="not finite"):
        write_images([("bad", torch.tensor([[np.nan]]))], path)
    assert path.read_bytes() == before


def test_images_of_fewer_levels_are_written_again_as_they_were(tmp_path: Path) -> None:
    first, second = tmp_path / "first.npz", tmp_path / "second.npz"
    image = torch.randn(40, 50, generator=torch.Generator().manual_seed(0))
    write_images([("noise", image)], first, 4096)
    stored = read_images(first)["noise"]
    half = float(image.max() - image.min()) / 4095 / 2
    assert 0.9 * half < float((stored - image).abs().max()) < 1.01 * half
    write_images([("noise", stored)], second, 4096)
    assert first.read_bytes() == second.read_bytes()


def test_images_of_a_peer_are_those_of_its_first_draws(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rows = [
        {"method": method, "specimen": "CuZr", "dose": 100.0, "draw": draw, "thickness": thickness}
        for method in ("one", "other")
        for draw in (0, 1)
        for thickness in (None, 50.0)
    ]
    rows = [row | {"image": str(number)} for number, row in enumerate(rows)]
    (tmp_path / "peers.json").write_text(json.dumps({"rows": rows}), encoding="utf-8")
    images = {str(number): torch.full((2, 2), float(number)) for number in range(len(rows))}
    monkeypatch.setattr(study_images, "STUDY_FOLDER", tmp_path)
    monkeypatch.setattr(study_images, "PEER_IMAGES", tmp_path / "peers_images.npz")
    write_images(images.items(), tmp_path / "peers_images.npz")
    (place, image), *others = peer_images("other").items()
    assert (place, float(image.mean()), others) == (("CuZr", 100.0), 4.0, [])


def test_the_files_are_small() -> None:
    assert KEPT.stat().st_size < 5e6
    assert PEER_IMAGES.stat().st_size < 9e6
