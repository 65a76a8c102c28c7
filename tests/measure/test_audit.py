from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from ase import Atoms

from misr4d.measure.audit import (
    Reliability,
    central_column,
    detect,
    error_ratio,
    false_peaks,
    overconfidence,
    reliability,
    shuffle_positions,
    signature,
    turn_disc,
)
from misr4d.measure.spectra import fourier_ring_correlation


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


def lattice(*, without: bool = False) -> torch.Tensor:
    """Nine columns, the middle one of them missing if asked."""
    places = [(x, y) for x in (21, 45, 69) for y in (21, 45, 69)]
    return dots(*(p for p in places if not (without and p == (45, 45))))


def test_a_signature_answers_to_the_defect_at_its_place_alone() -> None:
    whole, holed = lattice(), lattice(without=True)
    template = signature(whole, holed)
    assert template.template.mean() == pytest.approx(0, abs=1e-9)
    assert float((template.responses(holed) - template.responses(whole))[0]) == pytest.approx(1)
    # Nothing is unexplained in the truth, whatever its scale and offset.
    assert float(template.unexplained(3 * whole - 2).abs().max()) < 1e-6
    assert float(template.unexplained(holed)[0]) == pytest.approx(1, abs=0.15)


def test_the_truth_is_detected_and_nothing_that_shows_no_defect() -> None:
    whole, holed = lattice(), lattice(without=True)
    template = signature(whole, holed)
    full = detect(template, [holed], [whole])
    assert full.shares == pytest.approx((1.0,))
    assert full.probabilities == (1.0,)
    assert full.d_prime > 50
    # Half of the contrast, and another offset, are half of the share, and as plain.
    half = detect(template, [0.5 * holed - 2], [0.5 * whole + 1])
    assert half.shares == pytest.approx((0.5,))
    assert half.probabilities == (1.0,)
    # An inverted image shows the opposite.
    assert detect(template, [-holed], [-whole]).probabilities == (0.0,)
    # Nothing, the perfect crystal, and stripes: whether or not they cross the defect.
    x = torch.arange(90.0)
    nothing = {"flat": torch.zeros(90, 90), "painted over": whole}
    nothing |= {
        f"stripes of {period}": torch.sin(2 * math.pi * (x[:, None] + 0.3 * x) / period + 1)
        for period in (9.0, 17.3, 24.0, 40.0)
    }
    for name, image in nothing.items():
        found = detect(template, [image, image + 1e-4], [image])
        assert found.shares == pytest.approx((0, 0), abs=1e-6), name
        assert all(0.3 < p < 0.7 for p in found.probabilities), name
        assert found.d_prime == 0, name


def test_noise_detects_nothing_on_average() -> None:
    whole, holed = lattice(), lattice(without=True)
    template = signature(whole, holed)
    generator = torch.Generator().manual_seed(0)

    def noisy(image: torch.Tensor, size: float, count: int) -> list[torch.Tensor]:
        return [image + size * torch.randn(image.shape, generator=generator) for _ in range(count)]

    empty = torch.zeros(90, 90)
    found = detect(template, noisy(empty, 1.0, 60), noisy(empty, 1.0, 60))
    for values, mean in ((found.shares, 0.0), (found.probabilities, 0.5)):
        error = float(np.std(values)) / math.sqrt(60)
        assert np.mean(values) == pytest.approx(mean, abs=4 * error)
    assert abs(found.d_prime) < 0.6
    # Shares scatter about the truth, and detection falls as noise grows.
    weak, strong = (detect(template, noisy(holed, s, 60), noisy(whole, s, 60)) for s in (1.0, 6.0))
    error = float(np.std(weak.shares)) / math.sqrt(60)
    assert np.mean(weak.shares) == pytest.approx(1, abs=6 * error)
    assert np.mean(weak.probabilities) > 0.97
    assert 0.5 < np.mean(strong.probabilities) < 0.95
    assert weak.d_prime > 4 * strong.d_prime > 0
    # Stripes that are stronger than the crystal hide the defect that is there.
    x = torch.arange(90.0)
    stripes = 20 * torch.sin(2 * math.pi * (x[:, None] + 0.3 * x) / 17.3)
    hidden = detect(template, [holed + stripes], [whole + stripes])
    assert hidden.d_prime < 1
    assert hidden.probabilities[0] < 0.9
    # Stripes that carry a twentieth of the defect, always the same, do not pass.
    faint = detect(template, [0.05 * holed + stripes / 20], [0.05 * whole + stripes / 20])
    assert faint.shares == pytest.approx((0.05,))
    assert 0.4 < faint.probabilities[0] < 0.75


@pytest.mark.parametrize("noise", [1e6, 3.0, 0.3], ids=["no signal", "weak", "strong"])
def test_honest_halves_are_not_overconfident(noise: float) -> None:
    """Within three standard errors of zero, over many draws, whatever the signal."""
    generator = torch.Generator().manual_seed(0)
    honest, painted = [], []
    for _ in range(150):
        truth, invented = (torch.randn((48, 48), generator=generator) for _ in range(2))
        halves = [truth + noise * torch.randn((48, 48), generator=generator) for _ in range(2)]
        for values, images in (
            (honest, halves),
            (painted, [half + 0.7 * noise * invented for half in halves]),
        ):
            curves = [
                fourier_ring_correlation(a, b, (1.0, 1.0), width=3)
                for a, b in (images, (images[0], truth), (images[1], truth))
            ]
            values.append(overconfidence(*(curve for _, curve, _ in curves), curves[0][2]))
    error = float(np.std(honest)) / math.sqrt(len(honest))
    assert abs(np.mean(honest)) < 3 * error
    assert error < 3e-3
    # What is painted into both is seen: 0.7² of 1 + 0.7² without signal, less where there is some.
    assert np.mean(painted) > 10 * error
    if noise > 100:
        assert np.mean(painted) == pytest.approx(0.49 / 1.49, abs=0.01)


def test_a_true_deviation_covers_what_it_says() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn((200, 200), generator=generator)
    deviation = 0.1 + torch.rand((200, 200), generator=generator)
    image = truth + deviation * torch.randn((200, 200), generator=generator)
    widths = {0.68: 0.99446 * deviation, 0.95: 1.95996 * deviation}  # of a normal distribution
    # Blind to the image's offset.
    found = reliability(image + 7, truth - 2, deviation, widths)
    assert found.error == pytest.approx(found.predicted, rel=0.02)
    assert found.covered[0.68] == pytest.approx(0.68, abs=0.01)
    assert found.covered[0.95] == pytest.approx(0.95, abs=0.01)
    # Wrong in one corner only, where the deviation does not say so.
    corner = torch.zeros((200, 200), dtype=torch.bool)
    corner[:50, :50] = True
    worse = truth + torch.where(corner, 3.0, 1.0) * (image - truth)
    there = reliability(worse, truth, deviation, widths, corner)
    elsewhere = reliability(worse, truth, deviation, widths, ~corner)
    assert there.error == pytest.approx(3 * there.predicted, rel=0.05)
    assert there.covered[0.95] < 0.6
    assert elsewhere.error == pytest.approx(elsewhere.predicted, rel=0.02)


def test_a_deviation_follows_the_error_or_does_not() -> None:
    home = [Reliability(1.0, 1.0, {}), Reliability(2.0, 2.0, {}), Reliability(4.0, 4.0, {})]
    more = [Reliability(1.5 * one.predicted, 3 * one.error, {}) for one in home]
    found = error_ratio(home, more)
    assert (found.predicted, found.observed, found.predicted_rises) == (1.5, 3.0, True)
    blind = [Reliability(0.9 * one.predicted, 3 * one.error, {}) for one in home]
    assert error_ratio(home, blind).predicted_rises is False
    assert error_ratio(home, home).predicted_rises is None
    with pytest.raises(ValueError, match="3 draws of the reference and 2 of the other"):
        error_ratio(home, home[:2])


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
        signature(image, image)
    template = signature(image, dots((4, 4))[:8, :8])
    with pytest.raises(ValueError, match="0 images with the defect and 1 without"):
        detect(template, [], [image])
    with pytest.raises(ValueError, match="cannot be compared"):
        detect(template, [torch.zeros(9, 9)], [image])
    with pytest.raises(ValueError, match="what counts holds no pixel"):
        reliability(image, image, image, {}, ~empty)
    with pytest.raises(ValueError, match=r"expected one, \(rings,\)"):
        overconfidence(torch.zeros(3), torch.zeros(3), torch.zeros(3), torch.zeros(4))


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
