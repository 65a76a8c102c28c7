"""Chapter 2 reads the record of short trainings, and says what more of them would bring."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from misr4d.companion.chapters.scaling_page import GROUPS, PUBLISHED, Scaling


def run(network: str, width: int | None, samples: int, score: float) -> dict[str, Any]:
    names = [name for groups in GROUPS.values() for name in groups]
    return {
        "network": network,
        "width": width,
        "samples": samples,
        "scores": [
            {"specimen": name, "dose": 300.0, "draw": 0, "correlation": score, "weighted_frc": 0.5}
            for name in names
        ],
    }


def record(widths: tuple[int, ...], direct: float = 0.8) -> dict[str, Any]:
    """Runs whose 1 − correlation is 2 · samples^(−0.1) · width^(−0.05), with a little scatter."""
    runs = [
        run(
            "AttentionUNet",
            width,
            samples,
            1 - 2 * samples**-0.1 * width**-0.05 * (1 + 0.002 * (-1) ** (width // 16 + n)),
        )
        for width in widths
        for n, samples in enumerate((3200, 12_800))
    ]
    return {
        "command": "a test",
        "samples": 204_800,
        "runs": [*runs, run("direct", None, 1, direct)],
    }


def test_the_trend_is_followed_to_the_papers_size() -> None:
    page = Scaling(record((16, 32, 64)))
    expected = 1 - 2 * 204_800**-0.1 * PUBLISHED**-0.05
    for groups in GROUPS.values():
        trend = page.trend(groups)
        assert trend is not None
        middle, low, high = trend.at(204_800, PUBLISHED)
        assert middle == pytest.approx(expected, abs=0.01)
        assert low < middle < high
    text = page.text()
    assert f"{expected:.2f} is expected" in text
    assert text.count("which is behind direct ptychography") == 2
    assert "3,200 samples, 12,800 samples" in text
    better = Scaling(record((16, 32, 64), direct=0.1)).text()
    assert better.count("which is ahead of direct ptychography") == 2


def test_few_runs_carry_no_trend() -> None:
    page = Scaling(record((16, 32)))
    assert page.text().count("So few runs carry no trend.") == 2
    assert not [line for axes in page.figure().axes for line in axes.lines if line.get_ls() == ":"]


def test_the_figure_has_a_line_a_width_and_the_limits() -> None:
    left, right = Scaling(record((16, 32, 64))).figure().axes
    legend = left.get_legend()
    assert legend is not None
    assert [t.get_text() for t in legend.get_texts()] == ["width 16", "width 32", "width 64"]
    for axes in (left, right):
        (trend,) = [line for line in axes.lines if line.get_ls() == ":"]
        assert float(np.asarray(trend.get_xdata())[-1]) == pytest.approx(204_800)


def test_the_record_of_the_repository_has_runs_of_several_widths() -> None:
    page = Scaling()
    assert len(page.widths) >= 2
    assert all(run["training"]["half"] for run in page.runs)
