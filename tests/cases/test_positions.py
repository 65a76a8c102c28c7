"""Measured scan positions: a regular grid is used, any other refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from misr4d.calibrate.drift import drift_matrix
from misr4d.cli import main
from misr4d.io.positions import fit_grid
from misr4d.io.scan import Scan

SHAPE, STEP = (40, 36), (1.2, 1.0)


def grid(
    drift: tuple[float, float] = (0.0, 0.0), turn: float = 0.0, noise: float = 0.0
) -> NDArray[np.float64]:
    """Positions of a scan that drifts by the package's own convention, on a turned stage."""
    places = np.stack(
        np.meshgrid(*(np.arange(n) * s for n, s in zip(SHAPE, STEP, strict=True)), indexing="ij"),
        -1,
    )
    places = places @ drift_matrix(drift, STEP, SHAPE).T
    angle = np.deg2rad(turn)
    turned = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    rng = np.random.default_rng(0)
    return places @ turned.T + 300.0 + rng.normal(0, noise, places.shape)


@pytest.mark.parametrize("turn", [0.0, 17.0, -80.0, 170.0])
@pytest.mark.parametrize("shear", [0.0, 0.25, -0.3])
def test_a_turned_and_sheared_grid_is_step_and_drift(turn: float, shear: float) -> None:
    fitted = fit_grid(grid((0.0, shear), turn, 0.005), SHAPE)
    assert fitted.step == pytest.approx(STEP, abs=2e-3)
    assert fitted.drift == pytest.approx((0.0, shear), abs=2e-3)
    assert fitted.turn == pytest.approx(turn, abs=0.1)


def test_columns_may_be_exchanged() -> None:
    assert fit_grid(grid()[..., ::-1].reshape(-1, 2), SHAPE).step == pytest.approx(STEP)


def spiral() -> NDArray[np.float64]:
    n = np.arange(SHAPE[0] * SHAPE[1])
    return np.stack([np.sqrt(n) * np.cos(2.4 * n), np.sqrt(n) * np.sin(2.4 * n)], -1)


def serpentine() -> NDArray[np.float64]:
    places = grid()
    places[1::2] = places[1::2, ::-1]
    return places


@pytest.mark.parametrize(
    ("positions", "says"),
    [
        (spiral(), "no regular grid"),
        (serpentine(), "run to and fro.*reverse every other line of both"),
        (grid(noise=0.2), "no regular grid"),
        (grid()[:-1], "expected two finite numbers"),
        (np.full((*SHAPE, 2), np.nan), "expected two finite numbers"),
        (np.zeros((*SHAPE, 2)), "no regular grid"),
    ],
    ids=["spiral", "serpentine", "noisy", "too few", "not finite", "all the same"],
)
def test_other_positions_are_refused(positions: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        fit_grid(positions, SHAPE)


@pytest.mark.parametrize("suffix", [".npy", ".csv", ".txt"])
def test_positions_from_a_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"positions{suffix}"
    places = grid((0.0, 0.2), 30.0).reshape(-1, 2)
    if suffix == ".npy":
        np.save(path, places)
    else:
        np.savetxt(path, places, delimiter="," if suffix == ".csv" else " ")
    np.save(tmp_path / "scan.npy", np.ones((SHAPE[0] * SHAPE[1], 9, 9), "u1"))
    options = "--scan-shape 40 36 --energy 300e3 --semiangle 10 --scan-crop 0 34 0 36 --dry-run"
    result = CliRunner().invoke(
        main,
        ["reconstruct", str(tmp_path / "scan.npy"), "--positions", str(path), *options.split()],
    )
    assert result.exit_code == 0, result.output
    assert "1.2 × 1 Å (given)" in result.output
    assert "turned by 30.0°" in result.output
    with pytest.raises(ValueError, match="leave --step out"):
        Scan.from_array(np.ones((*SHAPE, 9, 9), "u1"), positions=places, step=1.0)
    scan = Scan.from_array(np.ones((*SHAPE, 9, 9), "u1"), positions=str(path))
    assert scan.known["drift"].value == pytest.approx((0.0, 0.2))


def test_a_file_that_holds_no_positions_is_refused(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("one two")
    with pytest.raises(ValueError, match=r"words\.txt cannot be read"):
        Scan.from_array(np.ones((*SHAPE, 9, 9), "u1"), positions=tmp_path / "words.txt")
