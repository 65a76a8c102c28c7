"""The committed study is what today's code would measure."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import platform
import random
import subprocess
import sys
from typing import Any

import pytest

from misr4d.companion import bench
from misr4d.companion.bench import STUDY, STUDY_FOLDER, differing, measure_rows, read_table, row_of
from misr4d.companion.study import METHODS, make_scene
from misr4d.companion.study_images import KEPT, SHOWN, image_key, read_images

RECORD = json.loads((STUDY_FOLDER / "table.json").read_text(encoding="utf-8"))
MADE_ON = RECORD["versions"]["python"]
# A key holds the Python's minor version, so that on another no row has the key of today's code.
on_the_studys_python = pytest.mark.skipif(
    sys.version_info[:2] != tuple(map(int, MADE_ON.split(".")[:2])),
    reason=f"keys of the study are of Python {MADE_ON}; this is {platform.python_version()}",
)


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return read_table(STUDY_FOLDER)


def test_the_study_is_whole(rows: list[dict[str, Any]]) -> None:
    missing = bench.missing_rows(rows)
    assert not missing, "\n".join([f"{len(missing)} rows are missing:", *missing[:5]])
    planned = {row for plan in STUDY for row in plan.rows()}
    assert len(rows) == len(planned)


def test_a_row_that_was_deleted_is_named(rows: list[dict[str, Any]]) -> None:
    entry = random.choice(rows)
    (line,) = bench.missing_rows([row for row in rows if row is not entry])
    assert line.startswith(f"{entry['method']} on {entry['specimen']}")
    assert line.endswith(f"draw {entry['draw']}: not measured; run `misr4d bench --study`")


def draws(
    rows: list[dict[str, Any]],
    column: str,
    *place: str,
    dose: float,
    thickness: float | None = None,
) -> list[float]:
    """Values of one method on one specimen; an error where one is missing."""
    return [
        float(row[column])
        for row in rows
        if (row["specimen"], row["method"]) == place
        and (float(row["dose"]), row["thickness"]) == (dose, thickness)
    ]


def test_cases_that_two_readers_found_wrong_are_right(rows: list[dict[str, Any]]) -> None:
    """At 300 e⁻/Å², each with the number that the book once printed."""
    # An empty ring ended the crystal at 3.37 Å and the protein at 18.5 Å.
    crystal = draws(rows, "resolution", "Li2CoO3", "direct", dose=300.0)
    protein = draws(rows, "resolution", "apoferritin", "ptychography", dose=300.0)
    assert len(crystal) == 8
    assert len(protein) == 3
    assert max(crystal) < 2.0
    assert max(protein) < 6.0
    # The outline alone correlates with the whole field, and not inside.
    for method in ("direct", "dual path", "attention U-Net"):
        for thickness in (None, 200.0):
            place: dict[str, Any] = {"dose": 300.0, "thickness": thickness}
            field = draws(rows, "correlation_field", "Li2CoO3", method, **place)
            inside = draws(rows, "correlation", "Li2CoO3", method, **place)
            assert max(inside) < min(field)
            if thickness:
                assert min(field) > 0.4
                assert max(inside) < 0.3
    # Ptychography of the protein was stopped at 0.66, and still rose at 0.77.
    assert min(draws(rows, "correlation_field", "apoferritin", "ptychography", dose=300.0)) > 0.77
    # Another detector gave SSB of the crystal 0.51, the finite one 0.18.
    ssb = draws(rows, "correlation_field", "Li2CoO3", "SSB", dose=300.0)
    assert 0.15 < min(ssb) <= max(ssb) < 0.25


@on_the_studys_python
def test_no_row_is_stale(rows: list[dict[str, Any]]) -> None:
    stale = bench.stale_rows(rows)
    assert not stale, "\n".join([f"{len(stale)} of {len(rows)} rows are stale:", *stale[:5]])


@on_the_studys_python
def test_a_row_of_other_code_is_named(
    rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = next(r for r in rows if r["method"] == "direct" and r["thickness"] is None)
    assert bench.stale_rows([one]) == []
    (line,) = bench.stale_rows([{**one, "made": "0" * 24}])
    assert line.startswith(f"direct on {one['specimen']} at")
    monkeypatch.setattr(bench, "row_key", lambda row, seed: "another")
    assert len(bench.stale_rows([one])) == 1


def by_commit() -> random.Random:
    """Draw by the commit, or by the study where there is none."""
    command = ["git", "-C", str(STUDY_FOLDER), "rev-parse", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    table = (STUDY_FOLDER / "table.json").read_bytes()
    return random.Random(commit or hashlib.sha256(table).hexdigest())


def sample(rows: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Draw rows by the commit: at least one in a hundred, and at least one of each method.

    Of two specimens, so that the patterns of no more are simulated: one of those that slow methods
    were run on, and one of all.
    """
    chance = by_commit()
    groups: dict[tuple[str, float, int], list[dict[str, Any]]] = {}
    for row in rows:
        if row["thickness"] is None and math.isfinite(float(row["dose"])):
            electrons = (str(row["specimen"]), float(row["dose"]), int(row["draw"]))
            groups.setdefault(electrons, []).append(row)
    # Its electrons were given to every method.
    first = chance.choice([e for e, group in groups.items() if len(group) == len(METHODS)])
    name = chance.choice(sorted({name for name, _, _ in groups}))
    slow = ("ptychography", "refined")
    others = chance.sample([e for e in groups if e[0] == name and e != first], 3)
    return [
        groups[first],
        *([row for row in groups[e] if row["method"] not in slow] for e in others),
    ]


@pytest.mark.classical
def test_rows_drawn_by_the_commit_are_measured_again(rows: list[dict[str, Any]]) -> None:
    groups = sample(rows)
    drawn = [entry for group in groups for entry in group]
    assert {entry["method"] for entry in drawn} == set(METHODS)
    assert len(drawn) >= 0.01 * len(rows)
    lines = []
    for group in groups:
        seed = int(group[0]["seed"]) - int(group[0]["draw"])
        again = measure_rows([row_of(entry) for entry in group], seed)
        if are_other_electrons(group, again):
            for entry, new in zip(group, again, strict=True):
                lines += beyond_the_draws(new, rows_like(entry, rows))
            continue
        for entry, new in zip(group, again, strict=True):
            lines += differing(entry, new)
            lines += kept_image_differs(entry)
    assert not lines, "\n".join(lines)


UNTRAINED = ("summed VBF", "iDPC", "parallax", "SSB", "OBF", "direct")


def are_other_electrons(group: list[dict[str, Any]], again: list[dict[str, Any]]) -> bool:
    """Whether this processor draws other electrons than the study's: most methods then differ.

    Counts are drawn by rejection from rates in float32. Where another processor rounds a rate
    otherwise, a draw may be rejected that was not, and all that follow are others. A number that
    somebody changed differs alone.
    """
    differences = [
        abs(new["correlation"] - entry["correlation"])
        for entry, new in zip(group, again, strict=True)
        if entry["method"] in UNTRAINED
    ]
    return 2 * sum(d > 2e-5 for d in differences) >= len(differences) > 0


def rows_like(entry: dict[str, Any], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All draws of a row's method on its specimen at its dose."""
    same = ("specimen", "method", "dose", "thickness")
    return [row for row in rows if all(row[key] == entry[key] for key in same)]


def beyond_the_draws(new: dict[str, Any], draws: list[dict[str, Any]]) -> list[str]:
    """Name the scores of other electrons that are far outside of what the study's draws have."""
    lines = []
    for name in ("correlation", "correlation_field", "weighted_frc", "ceiling", "psnr", "ms_ssim"):
        values = [float(row[name]) for row in draws]
        reach = 2 * (max(values) - min(values)) + 0.02 * max(1.0, *map(abs, values))
        if not min(values) - reach <= new[name] <= max(values) + reach:
            lines.append(f"{name} of {row_of(new)} is {new[name]}; the study's draws have {values}")
    return lines


def test_other_electrons_are_told_from_a_changed_number(rows: list[dict[str, Any]]) -> None:
    group = [
        row
        for row in rows
        if (row["specimen"], row["dose"], row["draw"], row["thickness"]) == ("CuZr", 300.0, 0, None)
    ]
    assert not are_other_electrons(group, group)
    one = [copy.copy(row) for row in group]
    one[0]["correlation"] *= 1.02
    assert not are_other_electrons(one, group)
    other = [{**row, "correlation": row["correlation"] + 0.001} for row in group]
    assert are_other_electrons(group, other)
    direct = next(row for row in group if row["method"] == "direct")
    assert beyond_the_draws(direct, rows_like(direct, rows)) == []
    wrong = {**direct, "correlation": direct["correlation"] - 0.3}
    assert len(beyond_the_draws(wrong, rows_like(direct, rows))) == 1


def kept_image_differs(entry: dict[str, Any]) -> list[str]:
    """Compare a row's image with the one that the study keeps, if it keeps one."""
    method, name, dose, seed = case = (
        str(entry["method"]),
        str(entry["specimen"]),
        float(entry["dose"]),
        int(entry["seed"]),
    )
    kept = read_images(KEPT).get(image_key(*case)) if case in SHOWN else None
    if kept is None:
        return []
    # Made just before, by slow methods: from the cache.
    image = METHODS[method](make_scene(name).measure(dose, seed))
    error = float((image - kept).std() / image.std())
    return [f"image of {case} differs by {error:.4f} of its spread"] if error > 0.02 else []


def test_a_number_that_was_changed_is_found(rows: list[dict[str, Any]]) -> None:
    entry = next(r for r in rows if r["method"] == "direct" and float(r["dose"]) == 1000)
    assert differing(entry, entry) == []
    for name in ("correlation", "weighted_frc", "cnr", "psnr"):
        changed = copy.copy(entry) | {name: 1.02 * entry[name]}
        assert len(differing(changed, entry)) == 1, name
