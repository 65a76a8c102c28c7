from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure

from misr4d import plotting
from misr4d.companion import figures


def test_a_figure_is_saved_whole_under_its_registered_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MISR4D_OUTPUT", str(tmp_path))
    images = [torch.rand(12, 12), torch.rand(12, 12)]
    grid = plotting.image_grid([("direct", images)], ["100", "300"], (64.0, 64.0), bar=20.0)
    path = figures.save(grid, "dose_series_crystal")
    assert path == tmp_path / "figures" / "dose_series_crystal.png"
    assert path.read_bytes()[:4] == b"\x89PNG"
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    with pytest.raises(ValueError, match="unknown figure 'nonsense'; registered: views_montage"):
        figures.save(grid, "nonsense")


def test_a_row_is_compared_under_the_same_limits() -> None:
    dark, bright = torch.zeros(10, 10), torch.ones(10, 10)
    grid = plotting.image_grid([("direct", [dark, bright])], ["a", "b"], (10.0, 10.0), bar=2.0)
    limits = [axes.get_images()[0].get_clim() for axes in grid.axes]
    assert limits[0] == limits[1]


def test_scale_bar_has_its_length_and_must_fit() -> None:
    grid = plotting.image_grid([("x", [torch.rand(8, 8)])], ["a"], (64.0, 64.0), bar=20.0)
    assert grid.axes[0].patches[0].get_width() == 20.0
    with pytest.raises(ValueError, match="does not fit an image"):
        plotting.scale_bar(grid.axes[0], 100.0)


def test_the_middle_is_cut_in_whole_pixels_with_its_true_size() -> None:
    image = torch.arange(100).reshape(10, 10)
    for part, pixels in ((1.0, 10), (0.8, 8), (0.7, 6)):
        cut, field = plotting.middle(image, (20.0, 40.0), part)
        assert cut.shape == (pixels, pixels)
        assert field == pytest.approx((2.0 * pixels, 4.0 * pixels))
        assert cut[0, 0] == image[(10 - pixels) // 2, (10 - pixels) // 2]


@pytest.mark.parametrize("upright", [False, True])
def test_a_limit_is_a_line_with_its_name_beside_it(upright: bool) -> None:
    axes = Figure().subplots()
    plotting.mark_limit(axes, 0.4, "λ/2α", upright=upright)
    (line,), (text,) = axes.lines, axes.texts
    assert set(line.get_xdata() if upright else line.get_ydata()) == {0.4}
    assert text.get_text() == "λ/2α"
    assert text.xy[not upright] == 0.4


def test_dose_labels() -> None:
    assert plotting.dose_label(300.0) == "300 e⁻/Å²"
    assert plotting.dose_label(math.inf) == "∞ dose"


def test_results_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISR4D_OUTPUT", str(tmp_path))
    path = figures.save_results("01_simulation", {"correlation": 0.5})
    assert path.read_text() == '{\n "correlation": 0.5\n}\n'


def test_a_run_by_hand_says_where_its_figures_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MISR4D_OUTPUT", "named")
    figures.save_results("01_simulation", {})
    assert capsys.readouterr().out == ""
    monkeypatch.delenv("MISR4D_OUTPUT")
    figures.save_results("01_simulation", {})
    assert str(tmp_path / "_output") in capsys.readouterr().out
    assert (tmp_path / "_output" / "results" / "01_simulation.json").is_file()


def test_a_note_stands_under_its_image_and_a_period_has_a_unit() -> None:
    image = torch.rand(4, 4)
    figure = plotting.image_grid(
        [("direct", [image, None])], ["a", "b"], (4.0, 4.0), bar=1.0, notes=[["0.83", ""]]
    )
    assert [axes.get_xlabel() for axes in figure.axes] == ["0.83", ""]
    assert plotting.period_label(1.234) == "1.23 Å"
    assert plotting.period_label(float("inf")) == "none"
