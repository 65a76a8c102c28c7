from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from ase import Atoms

from misr4d.audit import (
    Reliability,
    central_column,
    false_peaks,
    overconfidence,
    reliability,
    rise,
    shuffle_positions,
    survival,
    turn_disc,
)
from misr4d.spectra import fourier_ring_correlation


def dots(*places: tuple[int, int], height: float = 1.0) -> torch.Tensor:
    x = torch.arange(90.0)
    image = torch.zeros(90, 90)
    for px, py in places:
        image += height * torch.exp(-((x[:, None] - px) ** 2 + (x[None] - py) ** 2) / 8)
    return image


def test_false_peaks_are_counted_where_nothing_is() -> None:
    image = dots((20, 20), (60, 30), (60, 70)) + 3.0
    empty = torch.ones(90, 90, dtype=torch.bool)
    empty[:40, :40] = False  # the first dot is real
    area = float(empty.sum()) / 9
    assert false_peaks(image, empty, 0.5, (1 / 3, 1 / 3)) == pytest.approx(2 / area)
    assert false_peaks(image, empty, 1.5, (1 / 3, 1 / 3)) == 0
    # Two maxima closer than the distance are one.
    close = dots((60, 30)) + dots((60, 36), height=0.9)
    assert false_peaks(close, empty, 0.5, (1 / 3, 1 / 3), distance=1.0) == pytest.approx(2 / area)
    assert false_peaks(close, empty, 0.5, (1 / 3, 1 / 3), distance=3.0) == pytest.approx(1 / area)


def test_survival_is_one_where_shown_and_zero_where_painted_over() -> None:
    whole = dots((20, 20), (20, 60), (60, 20), (60, 60), (40, 40))
    defect = dots((20, 20), (20, 60), (60, 20), (60, 60))
    assert survival(defect, whole, defect) == pytest.approx(1, abs=1e-3)
    assert survival(whole, whole, defect) == pytest.approx(0, abs=1e-3)
    half = dots((20, 20), (20, 60), (60, 20), (60, 60)) + dots((40, 40), height=0.5)
    # Blind to the image's gain and offset.
    assert survival(0.3 * half - 2, whole, defect) == pytest.approx(0.5, abs=1e-3)


def test_survival_does_not_drift_with_noise() -> None:
    whole = dots((20, 20), (20, 60), (60, 20), (60, 60), (40, 40))
    defect = dots((20, 20), (20, 60), (60, 20), (60, 60))
    generator = torch.Generator().manual_seed(0)
    noisy = [defect + 0.2 * torch.randn(defect.shape, generator=generator) for _ in range(40)]
    found = torch.tensor([survival(image, whole, defect) for image in noisy])
    assert float(found.mean()) == pytest.approx(1, abs=4 * float(found.std()) / math.sqrt(40))
    assert 0 < float(found.std()) < 0.5


def test_independent_halves_promise_what_holds() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn((128, 128), generator=generator)

    def noise() -> torch.Tensor:
        return 0.8 * torch.randn((128, 128), generator=generator)

    a, b = truth + noise(), truth + noise()
    _, halves, count = fourier_ring_correlation(a, b, (1.0, 1.0))
    _, true, _ = fourier_ring_correlation(a + b, truth, (1.0, 1.0))
    assert overconfidence(halves, true, count) == pytest.approx(0, abs=0.02)
    # The same invention in both halves: they agree, and are wrong.
    painted = torch.randn((128, 128), generator=generator)
    _, halves, count = fourier_ring_correlation(a + painted, b + painted, (1.0, 1.0))
    _, true, _ = fourier_ring_correlation(a + b + 2 * painted, truth, (1.0, 1.0))
    assert overconfidence(halves, true, count) > 0.15


def test_a_true_deviation_covers_what_it_says() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn((200, 200), generator=generator)
    deviation = 0.1 + torch.rand((200, 200), generator=generator)
    image = truth + deviation * torch.randn((200, 200), generator=generator)
    widths = {0.68: 0.99446 * deviation, 0.95: 1.95996 * deviation}  # of a normal distribution
    # Blind to the image's offset.
    found = reliability(image + 7, truth - 2, deviation, widths)
    assert found.found == pytest.approx(found.foretold, rel=0.02)
    assert found.covered[0.68] == pytest.approx(0.68, abs=0.01)
    assert found.covered[0.95] == pytest.approx(0.95, abs=0.01)
    # Wrong in one corner only, where the deviation does not say so.
    corner = torch.zeros((200, 200), dtype=torch.bool)
    corner[:50, :50] = True
    worse = truth + torch.where(corner, 3.0, 1.0) * (image - truth)
    there = reliability(worse, truth, deviation, widths, corner)
    elsewhere = reliability(worse, truth, deviation, widths, ~corner)
    assert there.found == pytest.approx(3 * there.foretold, rel=0.05)
    assert there.covered[0.95] < 0.6
    assert elsewhere.found == pytest.approx(elsewhere.foretold, rel=0.02)


def test_a_deviation_follows_the_error_or_does_not() -> None:
    home = [Reliability(1.0, 1.0, {}), Reliability(2.0, 2.0, {}), Reliability(4.0, 4.0, {})]
    more = [Reliability(1.5 * one.foretold, 3 * one.found, {}) for one in home]
    found = rise(home, more)
    assert (found.foretold, found.found, found.follows) == (1.5, 3.0, True)
    blind = [Reliability(0.9 * one.foretold, 3 * one.found, {}) for one in home]
    assert rise(home, blind).follows is False
    assert rise(home, home).follows is None
    with pytest.raises(ValueError, match="3 draws of the reference and 2 of the other"):
        rise(home, home[:2])


def test_a_turned_disc_is_the_same_lattice_another_way_round() -> None:
    x, y, z = np.meshgrid(np.arange(20) * 2.0, np.arange(13) * 3.0, [0.5, 2.5], indexing="ij")
    places = np.stack([x.ravel(), y.ravel(), z.ravel()], 1)
    atoms = Atoms(["C"] * len(places), places, cell=[40, 39, 4], pbc=True)
    centre, radius = (20.0, 18.0), 9.0  # on an atom
    turned = turn_disc(atoms, centre, radius)
    inside = np.linalg.norm(turned.positions[:, :2] - centre, axis=1) < radius
    before = np.linalg.norm(places[:, :2] - centre, axis=1) < radius
    # What stayed is untouched; rows 3 Å apart along y are 3 Å apart along x inside.
    np.testing.assert_array_equal(turned.positions[~inside], places[~before])
    inner = turned.positions[inside] - [*centre, 0]
    np.testing.assert_allclose(inner[:, 0] / 3, (inner[:, 0] / 3).round(), atol=1e-9)
    np.testing.assert_allclose(inner[:, 1] / 2, (inner[:, 1] / 2).round(), atol=1e-9)
    assert inside.sum() > 0.8 * before.sum()
    distances = turned.get_all_distances(mic=True)
    assert distances[np.triu_indices(len(turned), 1)].min() >= 1.2
    # A whole turn changes nothing.
    np.testing.assert_allclose(turn_disc(atoms, centre, radius, angle=360).positions, places)
    with pytest.raises(ValueError, match="leaves the cell of 40 × 39"):
        turn_disc(atoms, (5.0, 18.0), radius)
    with pytest.raises(ValueError, match="holds no atom"):
        turn_disc(atoms, (21.0, 19.5), 0.5)


def test_wrong_input_is_refused() -> None:
    image, empty = torch.zeros(8, 8), torch.ones(8, 8, dtype=torch.bool)
    with pytest.raises(ValueError, match="height is 0"):
        false_peaks(image, empty, 0, (1.0, 1.0))
    with pytest.raises(ValueError, match="holds no pixel"):
        false_peaks(image, ~empty, 1.0, (1.0, 1.0))
    with pytest.raises(ValueError, match="are the same"):
        survival(image, image, image)
    with pytest.raises(ValueError, match="what counts holds no pixel"):
        reliability(image, image, image, {}, ~empty)
    with pytest.raises(ValueError, match=r"expected one, \(rings,\)"):
        overconfidence(torch.zeros(3), torch.zeros(3), torch.zeros(4))


def test_shuffling_keeps_each_views_counts_and_not_their_places() -> None:
    views = torch.arange(3 * 8 * 8.0).reshape(3, 8, 8)
    mixed = shuffle_positions(views, torch.Generator().manual_seed(0))
    assert (mixed != views).any()
    torch.testing.assert_close(mixed.flatten(1).sort(1).values, views.flatten(1))
    assert (mixed[0].argsort() != (mixed[1] - 64).argsort()).any()  # each view in its own order


def test_central_column_is_whole_and_of_its_element() -> None:
    positions = [[5.0, 5.2, 1.0], [5.0, 5.2, 3.0], [5.3, 5.2, 2.0], [1.0, 1.0, 1.0]]
    atoms = Atoms("Co2OCo", positions, cell=[10, 10, 4])
    column, place = central_column(atoms, 27)
    assert column.tolist() == [True, True, False, False]
    np.testing.assert_allclose(place, (5.0, 5.2))
