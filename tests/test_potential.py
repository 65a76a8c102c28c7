from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from misr4d import ATOMIC, optics
from misr4d.potential import Potential, truth
from tests.conftest import weak_phase


def test_truth_is_sigma_times_the_projection_inside_the_band() -> None:
    potential, phase = weak_phase()
    spectrum = torch.fft.fft2(phase.double())
    qx, qy = optics.frequencies((192, 192), (1 / 3, 1 / 3))
    inside = (qx**2 + qy**2).sqrt() <= 2e-2 / ATOMIC.wavelength
    expected = torch.fft.ifft2(spectrum * inside).real
    torch.testing.assert_close(truth(potential, ATOMIC).double(), expected, atol=1e-7, rtol=0)
    residual = torch.fft.fft2(truth(potential, ATOMIC).double())[~inside]
    assert float(residual.abs().max()) < 1e-3


def test_truth_of_part_of_a_cell_is_its_corner() -> None:
    potential, _ = weak_phase()
    part = truth(potential, replace(ATOMIC, scan_shape=(20, 30)))
    torch.testing.assert_close(part, truth(potential, ATOMIC)[:60, :90])


def test_slices_must_have_thicknesses() -> None:
    with pytest.raises(ValueError, match=r"expected \(n, X, Y\) and n thicknesses"):
        Potential(torch.zeros(2, 8, 8), (4.0, 4.0), (1.0,))
