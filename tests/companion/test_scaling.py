from __future__ import annotations

import numpy as np
import pytest

from misr4d.companion.scaling import fit_trend, run_score

SIZES = [(samples, width) for samples in (3200.0, 12800.0, 51200.0) for width in (16.0, 32.0, 64.0)]


def law(samples: float, width: float) -> float:
    return 1 - 4.0 * samples**-0.2 * width**-0.1


def test_a_power_law_is_found_again_and_followed() -> None:
    found = fit_trend([(s, w, law(s, w)) for s, w in SIZES])
    assert found is not None
    assert (found.by_samples, found.by_width) == pytest.approx((0.2, 0.1), abs=1e-6)
    assert found.at(204800.0, 64.0) == pytest.approx((law(204800.0, 64.0),) * 3, abs=1e-5)


def test_the_interval_holds_its_share_of_new_runs() -> None:
    generator = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        noise = 0.05 * generator.standard_normal(len(SIZES) + 1)
        runs = [
            (s, w, 1 - (1 - law(s, w)) * np.exp(e))
            for (s, w), e in zip(SIZES, noise[1:], strict=True)
        ]
        found = fit_trend(runs)
        assert found is not None
        _, low, high = found.at(204800.0, 64.0)
        held += low < 1 - (1 - law(204800.0, 64.0)) * np.exp(noise[0]) < high
    assert held / 400 == pytest.approx(0.68, abs=0.07)  # three standard errors


def test_what_cannot_be_fitted_has_no_trend() -> None:
    assert fit_trend([(100.0, 16.0, 0.5)] * 4) is None
    assert fit_trend([(100.0 * k, 16.0, 0.1 * k) for k in range(1, 7)]) is None  # one width
    together = [(100.0 * k, 10.0 * k, 0.1 * k) for k in range(1, 7)]  # width rises with samples
    assert fit_trend(together) is None
    with pytest.raises(ValueError, match="scores below 1"):
        fit_trend([(100.0, 16.0, 1.0)] * 6)


def test_the_score_of_a_run_is_of_the_groups_that_were_asked_for() -> None:
    rows = [
        {"specimen": name, "correlation": value}
        for name, value in (("Li2CoO3", 0.2), ("Li2CoO3", 0.4), ("CuZr", 0.9))
    ]
    assert run_score({"scores": rows}, ["Li2CoO3"], "correlation").median == pytest.approx(0.3)
    with pytest.raises(ValueError, match="no correlation of apoferritin"):
        run_score({"scores": rows}, ["apoferritin"], "correlation")
