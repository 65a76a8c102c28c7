from __future__ import annotations

import math

import pytest
import torch

from misr4d.audit import false_peaks, overconfidence, survival
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


def test_wrong_input_is_refused() -> None:
    image, empty = torch.zeros(8, 8), torch.ones(8, 8, dtype=torch.bool)
    with pytest.raises(ValueError, match="height is 0"):
        false_peaks(image, empty, 0, (1.0, 1.0))
    with pytest.raises(ValueError, match="holds no pixel"):
        false_peaks(image, ~empty, 1.0, (1.0, 1.0))
    with pytest.raises(ValueError, match="are the same"):
        survival(image, image, image)
    with pytest.raises(ValueError, match=r"expected one, \(rings,\)"):
        overconfidence(torch.zeros(3), torch.zeros(3), torch.zeros(4))
