from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from misr4d.reconstruction.direct import AMPLITUDE_CONTRAST
from misr4d.reconstruction.tuned import (
    contrast_tuning,
    prior_strength,
    ptychography_settings,
    ptychography_tuning,
    refine_tuning,
)
from misr4d.specimens.catalogue import SPECIMENS, make_specimen

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ("tuning_draws", "tune_ptychography", "calibrate_direct", "calibrate_refine")
TUNED = ("step_size", "batches", "object_type", "lowpass", "start")
Rows = list[dict[str, Any]]
Key = tuple[Any, ...]


def means(rows: Iterable[dict[str, Any]], names: Iterable[str], score: str) -> dict[Key, float]:
    """Mean score of each combination of `names` that all draws were scored at."""
    scores: dict[Key, list[float]] = {}
    for row in rows:
        scores.setdefault(tuple(row[name] for name in names), []).append(row[score])
    whole = max(len(values) for values in scores.values())
    return {key: sum(v) / len(v) for key, v in scores.items() if len(v) == whole}


def lies_inside(value: float, tried: Iterable[float]) -> bool:
    """Whether values were tried on either side."""
    others = set(tried)
    return any(other < value for other in others) and any(other > value for other in others)


def number(value: Any) -> float:
    """Position of a value along its axis; no filter is one of infinite frequency."""
    return math.inf if value is None else float(value)


def courses(row: dict[str, Any], field: str) -> dict[Key, dict[int, float]]:
    """Mean score over the draws after each number of iterations, by settings."""
    case = {"regime": row["regime"], "dose": row["dose"], "field": field}
    flat: Rows = [
        {name: run[name] for name in TUNED} | {"iterations": n, "score": score}
        for run in ptychography_tuning()["runs"]
        if case.items() <= run.items()
        for n, score in zip(run["iterations"], run["score"], strict=True)
    ]
    found: dict[Key, dict[int, float]] = {}
    for (*key, n), mean in means(flat, (*TUNED, "iterations"), "score").items():
        found.setdefault(tuple(key), {})[n] = mean
    return found


@pytest.mark.parametrize("field", ["quarter", "whole"])
@pytest.mark.parametrize("row", ptychography_tuning()["choice"], ids=str)
def test_ptychography_is_not_chosen_at_the_end_of_a_grid(row: dict[str, Any], field: str) -> None:
    record, runs = ptychography_tuning(), courses(row, field)
    chosen = row if field == "whole" else row["quarter"]
    here = tuple(chosen[name] for name in TUNED)
    course = runs[here]
    best = course[chosen["iterations"]]
    assert best == max(mean for n, mean in course.items() if n > 0)
    if field == "whole":
        assert best == pytest.approx(row["score"], abs=1e-4)
        others = (mean for other in runs.values() for n, mean in other.items() if n > 0)
        assert best >= max(others) - record["gain"]
        # A start that iterations do not improve on would be no ptychography.
        assert best > course.get(0, 0.0) + record["gain"]
    # The start itself is no iteration. Inside its course, or at the end of one that no longer rises
    # when it is doubled.
    earlier = max(mean for n, mean in course.items() if 2 * n <= max(course))
    fallen = course[max(course)] < best - 0.01
    assert lies_inside(chosen["iterations"], course) or best - earlier < record["rising"]
    assert fallen or best - earlier < record["rising"]
    for name in ("step_size", "lowpass", "batches") if field == "quarter" else ("step_size",):
        place = TUNED.index(name)
        line = {
            number(key[place]): max(mean for n, mean in other.items() if n > 0)
            for key, other in runs.items()
            if key[:place] + key[place + 1 :] == here[:place] + here[place + 1 :]
        }
        value = number(chosen[name])
        below = [score for other, score in line.items() if other < value]
        above = [score for other, score in line.items() if other > value]
        at_bound = {"batches": value == 1, "lowpass": chosen["lowpass"] is None}.get(name, False)
        assert (below and above) or (at_bound and name in record["bounds"]), name
        assert max(below + above) <= best + record["gain"]


@pytest.mark.parametrize("row", ptychography_tuning()["choice"], ids=str)
def test_other_starts_and_kinds_of_object_were_tried(row: dict[str, Any]) -> None:
    runs = courses(row, "quarter")
    infinite = math.isinf(float(row["dose"]))
    scores = {key: max(m for n, m in course.items() if n > 0) for key, course in runs.items()}
    best = max(scores, key=lambda key: scores[key])
    tried = {"object_type": {"complex", "potential"}}
    if row["dose"] == ptychography_tuning()["other starts"]:
        tried["start"] = {"flat", "parallax", "direct"}
    for name, values in tried.items():
        assert {key[TUNED.index(name)] for key in runs} == values
        assert row[name] == best[TUNED.index(name)] or infinite
    # Without noise no iterations improve on direct ptychography; the reference begins flat.
    assert row["start"] == ("flat" if infinite else "direct")
    if infinite:
        begun = [course for key, course in runs.items() if key[TUNED.index("start")] == "direct"]
        assert begun
        assert all(max(c.values()) < c[0] + 0.002 for c in begun)
    assert row["draws"] >= 2
    assert row["lowest"] <= row["score"] <= row["highest"]


@pytest.mark.parametrize("row", contrast_tuning()["choice"], ids=str)
def test_amplitude_contrast_is_not_chosen_at_the_end_of_a_grid(row: dict[str, Any]) -> None:
    record = contrast_tuning()
    grid = record["grid"]
    rows = [r["scores"] for r in record["scores"] if r["regime"] == row["regime"]]
    mean = [sum(scores) / len(scores) for scores in zip(*rows, strict=True)]
    assert mean[grid.index(row["contrast"])] == max(mean) == pytest.approx(row["score"], abs=1e-4)
    assert lies_inside(row["contrast"], grid)
    assert lies_inside(row["in_use"], grid)
    assert row["draws"] == len(
        {r["draw"] for r in record["scores"] if r["regime"] == row["regime"]}
    )
    assert row["draws"] >= 4
    # Networks are trained on images with the value in use: it gives way to a lead that matters.
    assert AMPLITUDE_CONTRAST[row["regime"]] == row["in_use"]
    lead = max(mean) - mean[grid.index(row["in_use"])]
    assert lead == pytest.approx(row["lead"], abs=1e-4)
    assert lead < 0.005


def test_prior_strength_of_the_refinement_is_not_chosen_at_the_end_of_a_grid() -> None:
    for row in refine_tuning()["choice"]:
        rows = [
            r
            for r in refine_tuning()["scores"]
            if r["regime"] == row["regime"] and r["weight"] is not None and not r["painted"]
        ]
        assert lies_inside(row["weight"], {r["weight"] for r in rows})
        # A tail of inf never gives way: there is nothing beyond it.
        assert row["tail"] == "inf" or lies_inside(
            float(row["tail"]), {float(r["tail"]) for r in rows}
        )


@pytest.mark.parametrize("script", SCRIPTS)
def test_no_tuning_script_names_a_scored_specimen(script: str) -> None:
    text = (ROOT / "benchmarks" / f"{script}.py").read_text(encoding="utf-8")
    assert not {name for name in SPECIMENS if re.search(rf"\b{name}\b", text)}
    titles = {make_specimen(name).title.split()[0] for name in SPECIMENS}
    assert not {title for title in titles if re.search(rf"(?<!\w){re.escape(title)}(?!\w)", text)}
    assert "make_specimen" not in text
    assert "make_scene" not in text


def test_nothing_scored_or_trained_on_is_in_a_record_of_tuning() -> None:
    trained = {
        json.loads(path.read_text(encoding="utf-8"))["training"]["seed"]
        for path in (ROOT / "misr4d" / "data" / "weights").glob("*.json")
    }
    scored = {make_specimen(name).title for name in SPECIMENS} | set(SPECIMENS)
    for record, rows in ((ptychography_tuning(), "runs"), (contrast_tuning(), "scores")):
        assert record["seed"] not in trained
        assert not {row["specimen"] for row in record[rows]} & scored
        assert all(isinstance(row["draw"], int) for row in record[rows])
    # Here a specimen is the number of a draw, and no name.
    assert all(type(row["specimen"]) is int for row in refine_tuning()["scores"])


def test_every_json_of_tuning_has_its_test() -> None:
    found = {path.name for path in (files("misr4d") / "data").iterdir() if "tuning" in path.name}
    assert found == {"ptychography_tuning.json", "contrast_tuning.json", "refine_tuning.json"}


def test_settings_are_those_of_the_nearest_dose() -> None:
    assert ptychography_settings("atomic", 110.0) == ptychography_settings("atomic", 100.0)
    low, high = ptychography_settings("atomic", 100.0), ptychography_settings("atomic", math.inf)
    assert low != high
    with pytest.raises(ValueError, match="no ptychography settings for regime 'cosmic'"):
        ptychography_settings("cosmic", 100.0)
    with pytest.raises(ValueError, match="no prior strength for regime 'cosmic'"):
        prior_strength("cosmic")
