from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from misr4d import figures


def test_a_figure_is_saved_whole_under_its_registered_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MISR4D_OUTPUT", str(tmp_path))
    images = [torch.rand(12, 12), torch.rand(12, 12)]
    grid = figures.image_grid([("direct", images)], ["100", "300"], (64.0, 64.0), bar=20.0)
    path = figures.save(grid, "dose_series_crystal")
    assert path == tmp_path / "figures" / "dose_series_crystal.png"
    assert path.read_bytes()[:4] == b"\x89PNG"
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    with pytest.raises(ValueError, match="unknown figure 'nonsense'; registered: views_montage"):
        figures.save(grid, "nonsense")


def test_a_row_is_compared_under_the_same_limits() -> None:
    dark, bright = torch.zeros(10, 10), torch.ones(10, 10)
    grid = figures.image_grid([("direct", [dark, bright])], ["a", "b"], (10.0, 10.0), bar=2.0)
    limits = [axes.get_images()[0].get_clim() for axes in grid.axes]
    assert limits[0] == limits[1]


def test_scale_bar_has_its_length_and_must_fit() -> None:
    grid = figures.image_grid([("x", [torch.rand(8, 8)])], ["a"], (64.0, 64.0), bar=20.0)
    assert grid.axes[0].patches[0].get_width() == 20.0
    with pytest.raises(ValueError, match="does not fit an image"):
        figures.scale_bar(grid.axes[0], 100.0)


def test_dose_labels() -> None:
    assert figures.dose_label(300.0) == "300 e⁻/Å²"
    assert figures.dose_label(math.inf) == "∞ dose"


def test_results_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISR4D_OUTPUT", str(tmp_path))
    path = figures.save_results("01_simulation", {"correlation": 0.5})
    assert path.read_text() == '{\n "correlation": 0.5\n}\n'
