from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from misr4d import ATOMIC, Acquisition
from misr4d.calibrate.calibration import calibrate, estimate_rotation
from misr4d.calibrate.descan import Descan, fit_descan, recentre
from misr4d.calibrate.disc import find_disc
from misr4d.calibrate.drift import correct_scan, drift_matrix, straighten
from misr4d.core.datacube import Datacube
from misr4d.simulate.patterns import simulate_patterns
from tests.conftest import weak_phase


def drawn(
    shape: tuple[int, int], centre: tuple[float, float], radius: float, fine: int = 16
) -> NDArray[np.float64]:
    """Share of every pixel that a disc covers, by counting points in it."""
    x, y = (
        (np.arange(n * fine) + 0.5) / fine - 0.5 - c for n, c in zip(shape, centre, strict=True)
    )
    lit = x[:, None] ** 2 + y[None, :] ** 2 <= radius**2
    return lit.reshape(shape[0], fine, shape[1], fine).mean((1, 3))


@pytest.mark.parametrize(
    ("shape", "centre", "radius"),
    [
        ((21, 23), (9.3, 12.6), 7.45),
        ((48, 40), (25.71, 18.2), 12.8),
        ((96, 96), (44.5, 49.9), 37.2),
    ],
)
def test_disc_is_found_to_a_fiftieth_of_a_pixel_without_noise(
    shape: tuple[int, int], centre: tuple[float, float], radius: float
) -> None:
    disc = find_disc(0.3 * drawn(shape, centre, radius) + 0.01)
    assert disc.centre == pytest.approx(centre, abs=0.02)
    assert disc.radius == pytest.approx(radius, abs=0.02)


@pytest.mark.parametrize(("electrons", "most"), [(4, 0.15), (50, 0.04)])
def test_disc_is_found_in_few_electrons_and_its_error_is_what_it_says(
    electrons: int, most: float
) -> None:
    """Root mean square of 24 draws, electrons to a lit pixel and 2 % of that as background."""
    rng = np.random.default_rng(0)
    wrong, score = [], []
    for _ in range(24):
        known = (*(11 + rng.uniform(-2, 2, 2)), 7.5 + rng.uniform(-0.5, 0.5))
        disc = find_disc(rng.poisson(electrons * (drawn((23, 23), known[:2], known[2]) + 0.02)))
        wrong.append(np.subtract((*disc.centre, disc.radius), known))
        score.append(wrong[-1] / (*disc.centre_error, disc.radius_error))
    assert np.sqrt(np.mean(np.square(wrong), 0)).max() < most
    assert 0.6 < np.std(score) < 1.6


def test_an_uneven_disc_does_not_move() -> None:
    ramp = 1 + 0.02 * np.arange(-16, 17)[:, None] + 0.001 * np.arange(-16, 17)[None, :] ** 2
    disc = find_disc(drawn((33, 33), (16.3, 15.8), 10.2) * ramp)
    assert disc.centre == pytest.approx((16.3, 15.8), abs=0.05)
    assert disc.radius == pytest.approx(10.2, abs=0.05)


def test_pixel_and_semiangle_are_two_sides_of_one_radius() -> None:
    disc = find_disc(drawn((41, 41), (20.0, 20.0), 15.0))
    assert disc.detector_pixel(21.0) == pytest.approx(1.4, rel=2e-3)
    assert disc.semiangle(disc.detector_pixel(21.0)) == pytest.approx(21.0)
    assert disc.mask((41, 41)).sum() == pytest.approx(math.pi * 15**2, rel=0.02)
    assert disc.mask((41, 41), 0.5).sum() == pytest.approx(math.pi * 7.5**2, rel=0.02)
    with pytest.raises(ValueError, match="fraction is 0"):
        disc.mask((41, 41), 0)
    with pytest.raises(ValueError, match="semiangle is nan"):
        disc.detector_pixel(math.nan)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (np.zeros((9, 9)), "constant"),
        (np.full((9, 9), np.nan), "not finite"),
        (np.zeros((3, 9, 9)), "average a datacube"),
        (drawn((21, 21), (3.0, 10.0), 7.0), "not wholly on a detector"),
    ],
)
def test_a_pattern_without_a_whole_disc_is_named(
    pattern: NDArray[np.float64], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        find_disc(pattern)


def drifting(
    scan: tuple[int, int], slope: NDArray[np.float64], counts: float, seed: int = 0
) -> tuple[Datacube, NDArray[np.float64]]:
    """Counts of a disc of radius 6.4 pixels whose centre runs along a plane; and its centres."""
    x, y = np.arange(scan[0]) - (scan[0] - 1) / 2, np.arange(scan[1]) - (scan[1] - 1) / 2
    place = np.stack(np.meshgrid(x, y, indexing="ij"))
    centres = np.array([13.2, 15.6])[:, None, None] + np.einsum("ab,bxy->axy", slope, place)
    rng = np.random.default_rng(seed)
    patterns = np.empty((*scan, 29, 31), dtype=np.uint16)
    for i, j in np.ndindex(scan):
        disc = drawn((29, 31), (centres[0, i, j], centres[1, i, j]), 6.4, fine=4)
        patterns[i, j] = rng.poisson(counts * (disc / disc.sum() + 0.1 / disc.size))
    return Datacube(patterns, (1.0, 1.0), (1.0, 1.0)), centres


SLOPE = np.array([[0.05, -0.12], [0.09, 0.02]])


def test_descan_is_a_plane_known_to_its_error_at_twenty_electrons_a_position() -> None:
    cube, centres = drifting((32, 30), SLOPE, 20.0)
    found = fit_descan(cube)
    assert np.abs(found.slope - SLOPE).max() < 4 * found.slope_error.max()
    assert found.slope_error.max() < 0.005
    assert np.abs(found.centres((32, 30)) - centres).max() < 0.25


def test_calibration_undoes_descan_and_finds_the_pixel() -> None:
    cube, _ = drifting((32, 30), SLOPE, 60.0)
    flat, disc = calibrate(cube, 10.0)
    assert flat.patterns.dtype == np.uint16
    assert flat.patterns.sum() == cube.patterns.sum()
    assert disc.centre == pytest.approx((14, 15), abs=0.1)
    assert disc.radius == pytest.approx(6.4, abs=0.1)
    assert disc.stretch == 1.0
    assert flat.detector_pixel[0] == pytest.approx(10.0 / 6.4, rel=0.02)
    assert flat.electrons == pytest.approx(66.0, rel=0.01)
    # The axis runs over 3.6 pixels in one direction and half as much across: an ellipse is left,
    # whose edge is not that of a disc.
    smeared = calibrate(cube, 10.0, descan=False)[1]
    assert smeared.stretch > 1.03
    assert smeared.radius_error > 3 * disc.radius_error


def test_whole_pixels_keep_every_count() -> None:
    rng = np.random.default_rng(0)
    patterns = rng.poisson(2.0, (3, 4, 12, 15)).astype(np.uint8)
    cube = Datacube(patterns, (1.0, 1.0), (1.0, 1.0))
    moved = recentre(cube, (4.4, 9.8))
    np.testing.assert_array_equal(moved.patterns, np.roll(patterns, (2, -3), (2, 3)))
    assert moved.patterns.dtype == np.uint8
    middle = rng.integers(3, 9, (2, 3, 4)).astype(float)
    each = recentre(cube, middle).patterns
    for i, j in np.ndindex(3, 4):
        shift = (6 - int(middle[0, i, j]), 7 - int(middle[1, i, j]))
        np.testing.assert_array_equal(each[i, j], np.roll(patterns[i, j], shift, (0, 1)))


def test_parts_of_a_pixel_are_exact_in_the_mean_and_no_longer_poisson() -> None:
    rng = np.random.default_rng(0)
    patterns = np.zeros((20, 20, 17, 17), dtype=np.uint16)
    patterns[:, :, 5:11, 6:12] = rng.poisson(5.0, (20, 20, 6, 6))
    cube = Datacube(patterns, (1.0, 1.0), (1.0, 1.0))
    moved = recentre(cube, (7.7, 8.45), subpixel=True).patterns
    before, after = patterns.sum((2, 3)), moved.sum((2, 3))
    np.testing.assert_allclose(after, before, rtol=1e-5)
    for axis, shift in ((2, 8 - 7.7), (3, 8 - 8.45)):
        index = np.arange(17).reshape(-1, 1) if axis == 2 else np.arange(17)
        walk = ((moved - patterns) * index).sum((2, 3)) / before
        np.testing.assert_allclose(walk, shift, atol=1e-4)
    inside = moved[:, :, 7:10, 8:10]
    assert inside.var() < 0.6 * inside.mean()
    assert moved.dtype == np.float32


def test_bad_centres_are_named() -> None:
    cube = Datacube(np.zeros((3, 3, 9, 9)), (1.0, 1.0), (1.0, 1.0))
    with pytest.raises(ValueError, match="off a detector"):
        recentre(cube, (4.0, 12.0))
    with pytest.raises(ValueError, match="expected \\(2,\\) or one for each position"):
        recentre(cube, np.zeros((2, 4, 4)))
    with pytest.raises(ValueError, match="blocks is \\(8, 8\\)"):
        fit_descan(cube)
    with pytest.raises(ValueError, match="hold electrons"):
        fit_descan(cube, (2, 2))
    plane = Descan((4.0, 4.0), np.full((2, 2), 9.0), np.zeros((2, 2)))
    with pytest.raises(ValueError, match="check the fit"):
        recentre(cube, plane)


@pytest.fixture(scope="module")
def upright() -> tuple[Datacube, Acquisition]:
    """Patterns of a 32×32 scan of a weak phase, detector pixels a third of the views'."""
    pixel = 3 * ATOMIC.wavelength / 48.0 * 1e3
    few = replace(ATOMIC, scan_shape=(32, 32), detector_pixel=pixel, pixel_samples=3)
    return simulate_patterns(weak_phase(0.1)[0], few, max_angle=13.0), few


def turned(cube: Datacube, rotation: float, transposed: bool) -> Datacube:
    """Let each detector pixel see the direction R(θ)·T·k, R from Rx towards Ry, by resampling."""
    n = cube.patterns.shape[2]
    k = np.stack(np.meshgrid(np.arange(n), np.arange(n), indexing="ij")) - n // 2
    kx, ky = (k[1], k[0]) if transposed else (k[0], k[1])
    c, s = math.cos(math.radians(rotation)), math.sin(math.radians(rotation))
    at = np.stack([c * kx - s * ky, s * kx + c * ky]) + n // 2
    flat = cube.patterns.reshape(-1, n, n)
    moved = np.stack([map_coordinates(p, at, order=1, mode="nearest") for p in flat])
    return replace(cube, patterns=moved.reshape(cube.patterns.shape))


@pytest.mark.parametrize("by", ["views", "curl"])
@pytest.mark.parametrize(
    ("rotation", "transposed"), [(0.0, False), (25.0, False), (-140.0, False), (70.0, True)]
)
def test_rotation_and_transpose_are_recovered(
    rotation: float, transposed: bool, by: str, upright: tuple[Datacube, Acquisition]
) -> None:
    cube, acquisition = upright
    found = estimate_rotation(turned(cube, rotation, transposed), acquisition, by)  # type: ignore[arg-type]
    assert found.transposed == transposed
    assert found.rotation == pytest.approx(rotation, abs=1.0)
    assert not found.ambiguous


def test_a_detector_turned_by_a_quarter_says_which_way(
    upright: tuple[Datacube, Acquisition],
) -> None:
    """By +90° a pixel on +Qx sees +Ry: index arithmetic alone, no resampling."""
    cube, acquisition = upright
    swapped = cube.patterns.swapaxes(2, 3)[:, :, :, ::-1]  # new[a, b] = old[-b, a]
    assert swapped[3, 5, 40, 32] == cube.patterns[3, 5, cube.patterns.shape[2] - 1 - 32, 40]
    found = estimate_rotation(replace(cube, patterns=swapped), acquisition)
    assert found.rotation == pytest.approx(90.0, abs=0.5)
    assert found.by == "views"


def test_views_need_far_fewer_electrons_than_the_curl(
    upright: tuple[Datacube, Acquisition],
) -> None:
    cube, acquisition = upright
    electrons = 300.0  # a position, which is 300 e⁻/Å²
    noisy = np.random.default_rng(0).poisson(cube.patterns * electrons).astype(np.uint16)
    counted = replace(cube, patterns=noisy, electrons=electrons)
    views = estimate_rotation(counted, acquisition)
    assert abs(views.rotation) < 2.0
    assert not views.ambiguous
    assert estimate_rotation(counted, acquisition, "curl").ambiguous


def test_without_displaced_views_the_half_turn_is_left_open(
    upright: tuple[Datacube, Acquisition],
) -> None:
    cube, acquisition = upright
    found = estimate_rotation(cube, replace(acquisition, defocus=50.0))
    assert found.by == "curl"
    assert found.ambiguous
    assert min(abs(found.rotation), 180 - abs(found.rotation)) < 1.0
    with pytest.raises(ValueError, match="use by='curl'"):
        estimate_rotation(cube, replace(acquisition, defocus=50.0), "views")


def test_rotation_needs_something_to_see(upright: tuple[Datacube, Acquisition]) -> None:
    cube, acquisition = upright
    still = replace(cube, patterns=np.ones_like(cube.patterns))
    with pytest.raises(ValueError, match="do not vary"):
        estimate_rotation(still, acquisition)
    with pytest.raises(ValueError, match="by is 'eye'"):
        estimate_rotation(cube, acquisition, "eye")  # type: ignore[arg-type]
    already = estimate_rotation(cube, acquisition).applied(acquisition)
    with pytest.raises(ValueError, match="turned already"):
        estimate_rotation(cube, already)


def hills(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 + 0.1 * np.sin(0.4 * x + 0.2 * y) + 0.1 * np.cos(0.15 * x - 0.35 * y)


@pytest.mark.parametrize(
    "matrix",
    [[[1.0, 0.0], [0.08, 1.0]], [[0.95, 0.04], [-0.03, 1.05]], [[0.98, -0.17], [0.17, 0.98]]],
)
def test_a_distorted_scan_is_put_back_on_its_grid(matrix: list[list[float]]) -> None:
    """Linear interpolation of a smooth function, 20 samples a period: error below 1 %."""
    affine, step = np.array(matrix), (0.8, 1.25)
    x, y = (np.arange(n) * s - (n - 1) * s / 2 for n, s in zip((40, 30), step, strict=True))
    gx, gy = np.meshgrid(x, y, indexing="ij")
    seen = hills(affine[0, 0] * gx + affine[0, 1] * gy, affine[1, 0] * gx + affine[1, 1] * gy)
    views = torch.from_numpy(np.stack([seen, 2 * seen])).float()
    corrected, inside = correct_scan(views, step, affine)
    expected = hills(gx, gy)
    worst = np.abs(corrected[0].numpy() - expected)[inside.numpy()].max()
    assert worst < 0.01
    assert np.abs(seen - expected).max() > 5 * worst
    assert inside.float().mean() > 0.7
    torch.testing.assert_close(corrected[1], 2 * corrected[0])


def test_lines_that_drift_are_the_matrix_that_the_docstring_gives() -> None:
    drift, step = 0.1, (0.8, 1.25)
    i, j = np.meshgrid(np.arange(40) - 19.5, np.arange(30) - 14.5, indexing="ij")
    seen = hills(i * step[0], j * step[1] + drift * i)
    matrix = np.array([[1.0, 0.0], [drift / step[0], 1.0]])
    corrected, inside = correct_scan(torch.from_numpy(seen)[None], step, matrix)
    wrong = np.abs(corrected[0].numpy() - hills(i * step[0], j * step[1]))[inside.numpy()]
    assert wrong.max() < 0.01


def test_an_undistorted_scan_stays_and_a_flat_one_is_refused() -> None:
    views = torch.rand(3, 6, 7, generator=torch.Generator().manual_seed(0))
    same, inside = correct_scan(views, (1.0, 2.0), np.eye(2))
    torch.testing.assert_close(same, views)
    assert inside.all()
    with pytest.raises(ValueError, match="invertible"):
        correct_scan(views, (1.0, 2.0), np.ones((2, 2)))


def test_a_drift_moves_each_line_by_as_much_and_grows_along_it() -> None:
    matrix = drift_matrix((0.1, -0.2), (1.0, 2.0), (8, 16))
    # From a position to the one below, and from the first to the one after the last of a line.
    np.testing.assert_allclose(matrix @ [1.0, 0.0], [1.1, -0.2])
    np.testing.assert_allclose(matrix @ [0.0, 32.0], [0.1, 31.8])


@pytest.mark.parametrize("moving", [False, True])
def test_a_window_of_recentred_patterns_is_that_of_the_whole(moving: bool) -> None:
    """Whether all are moved alike, so that only the window is read, or each by its own."""
    rng = np.random.default_rng(0)
    cube = Datacube(rng.integers(0, 99, (6, 5, 9, 11), dtype=np.uint16), (1.0, 1.0), (1.0, 1.0))
    centres = np.full((2, 6, 5), 3.2)
    if moving:
        centres += rng.uniform(-1.5, 1.5, centres.shape)
    found = recentre(cube, centres).patterns
    wrapped = np.empty_like(cube.patterns)
    for i, j in np.ndindex(6, 5):
        by = np.round([4, 5] - centres[:, i, j]).astype(int)
        wrapped[i, j] = np.roll(cube.patterns[i, j], tuple(by), (0, 1))
    np.testing.assert_array_equal(np.asarray(found), wrapped)
    for window in ((slice(2, 7), slice(3, 8)), (slice(0, 9), slice(0, 4)), (slice(5, 9),)):
        part = found[1:4, 2:5, *window]
        np.testing.assert_array_equal(part, wrapped[1:4, 2:5, *window])


@pytest.mark.parametrize("drift", [(0.15, 0.0), (-0.1, 0.12), (0.05, -0.2)])
def test_an_image_of_a_drifting_scan_is_straightened(drift: tuple[float, float]) -> None:
    """Within a rectangle of which the scan saw all, and no smaller than that need be."""
    shape, step = (60, 48), (0.8, 1.25)
    matrix = drift_matrix(drift, step, shape)
    i, j = np.meshgrid(np.arange(60) - 29.5, np.arange(48) - 23.5, indexing="ij")
    x, y = np.einsum("ab,bij->aij", matrix, np.stack([i * step[0], j * step[1]]))
    image = torch.from_numpy(hills(x, y))
    found = straighten(image[None], step, matrix)[0].numpy()
    nx, ny = found.shape
    i, j = np.meshgrid(np.arange(nx) - (nx - 1) / 2, np.arange(ny) - (ny - 1) / 2, indexing="ij")
    expected = hills(i * step[0], j * step[1])
    wrong = np.abs(found - expected)
    assert wrong.max() < 0.01  # a spline is not sure of the edge
    assert wrong[4:-4, 4:-4].max() < 3e-4
    corners = np.array([[a * (nx - 1), b * (ny - 1)] for a in (-1, 1) for b in (-1, 1)]) / 2 * step
    seen = np.abs(corners @ np.linalg.inv(matrix).T / step)
    room = (np.array(shape) - 1) / 2
    assert (seen <= room + 1e-9).all()
    assert (seen.max(0) > room - 1.0).any()
    lost = abs(drift[1]) / step[0] * nx * step[0] / step[1]
    assert nx >= 59 * min(1 + drift[0] / step[0], 1.0) - 1
    assert ny >= 48 - lost - 3


def test_a_straight_image_stays() -> None:
    image = torch.rand(9, 12, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(straighten(image, (1.0, 2.0), np.eye(2)), image)
