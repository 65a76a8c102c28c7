from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from misr4d import ATOMIC
from misr4d.learn.configuration import view_geometry
from misr4d.learn.networks import (
    AttentionGate,
    AttentionUNet,
    DirectInformed,
    DualPath,
    direct_features,
)
from misr4d.reconstruction.direct import DirectPtychography


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_attention_unet_has_the_papers_layers() -> None:
    """Five blocks of two 3×3 convolutions, 64 to 1024 channels, four gates, sub-pixel head."""
    m, widths = 177, (64, 128, 256, 512, 1024)
    network = AttentionUNet(m)

    def conv(a: int, b: int, size: int) -> int:
        return a * b * size**2 + b

    expected = 0
    for a, b in zip((m, *widths), widths, strict=False):  # encoder, with batch normalisation
        expected += conv(a, b, 3) + 2 * b + conv(b, b, 3) + 2 * b
    for w in widths[:-1]:
        expected += conv(2 * w, w, 3) + 2 * w  # up-sampling
        expected += conv(2 * w, w, 3) + 2 * w + conv(w, w, 3) + 2 * w  # decoder
        f = w // 2  # gate: two 1×1 convolutions, ψ, and their normalisations
        expected += 2 * (conv(w, f, 1) + 2 * f) + conv(f, 1, 1) + 2
    expected += conv(64, 9, 1) + 1 + conv(1, 1, 1)  # head, PReLU, 1×1 convolution
    assert parameters(network) == expected
    assert 34e6 < expected < 36e6


@pytest.mark.parametrize("head", ["1x1", "3x3", "none"])
def test_attention_unet_triples_the_scan(head: str) -> None:
    network = AttentionUNet(5, width=4, depth=3, head=head).eval()
    assert network(torch.rand(2, 5, 32, 48)).shape == (2, 1, 96, 144)
    with pytest.raises(
        ValueError, match=r"expected \(N, 5, Rx, Ry\) with Rx and Ry multiples of 4"
    ):
        network(torch.rand(2, 6, 32, 32))
    with pytest.raises(ValueError, match="multiples of 4"):
        network(torch.rand(2, 5, 34, 32))


def test_attention_unet_refuses_another_head() -> None:
    with pytest.raises(ValueError, match="head is '5x5'"):
        AttentionUNet(5, head="5x5")


def test_gate_is_equation_two() -> None:
    """x′ = x ⊙ σ(BN(w·ReLU(BN(W_g g) + BN(W_x x)))) by hand, with drawn statistics."""
    torch.manual_seed(0)
    gate = AttentionGate(3, 4, 2).eval()
    for module in gate.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    g, x = torch.randn(1, 3, 2, 2), torch.randn(1, 4, 2, 2)

    def by_hand(sequence: nn.Module, value: torch.Tensor) -> torch.Tensor:
        conv, norm = list(sequence.children())[:2]
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        assert conv.bias is not None
        assert norm.running_mean is not None
        assert norm.running_var is not None
        out = conv.weight[:, :, 0, 0] @ value + conv.bias
        scaled = (out - norm.running_mean) / (norm.running_var + norm.eps).sqrt()
        return scaled * norm.weight + norm.bias

    for i in range(2):
        for j in range(2):
            inner = (by_hand(gate.gate, g[0, :, i, j]) + by_hand(gate.skip, x[0, :, i, j])).relu()
            expected = x[0, :, i, j] * torch.sigmoid(by_hand(gate.psi, inner))
            torch.testing.assert_close(gate(g, x)[0, :, i, j], expected, atol=1e-6, rtol=1e-5)


def dual() -> DualPath:
    torch.manual_seed(1)
    network = DualPath(width=4, fused=8, decoder=8)
    for parameter in network.parameters():  # the last layer starts at zero, which tests nothing
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    return network.eval()


def test_dual_path_does_not_mind_the_order_of_views() -> None:
    network, order = dual(), torch.randperm(20, generator=torch.Generator().manual_seed(0))
    views, shifts, angles = torch.rand(1, 20, 32, 32), 3 * torch.randn(20, 2), torch.randn(20, 2)
    with torch.no_grad():
        one = network(views, shifts, angles)
        other = network(views[:, order], shifts[order], angles[order])
    assert float(one.std()) > 1e-4
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_dual_path_takes_any_number_of_views_and_uses_their_angles() -> None:
    network = dual()
    views, shifts, angles = torch.rand(2, 12, 32, 40), 3 * torch.randn(12, 2), torch.randn(12, 2)
    with torch.no_grad():
        whole = network(views, shifts, angles)
        fewer = network(views[:, :7], shifts[:7], angles[:7])
        twice = network(views.repeat(1, 2, 1, 1), shifts.repeat(2, 1), angles.repeat(2, 1))
        moved = network(views, shifts + 0.3, angles)
        turned = network(views, shifts, -angles)
    assert whole.shape == fewer.shape == (2, 1, 96, 120)
    # The set is averaged: every view twice is the same set.
    torch.testing.assert_close(whole, twice, atol=1e-5, rtol=1e-4)
    for other in (fewer, moved, turned):
        assert float((other - whole).std()) > 10 * float((twice - whole).std())


def test_dual_path_refuses_geometry_of_other_views() -> None:
    with pytest.raises(ValueError, match=r"do not fit 5 views; expected \(5, 2\) each"):
        dual()(torch.rand(1, 5, 32, 32), torch.zeros(4, 2), torch.zeros(5, 2))


def test_view_geometry_registers_the_views() -> None:
    """A view at the rim is displaced by defocus × angle: 5 Å, five steps, in the atomic regime."""
    shifts, angles = view_geometry(ATOMIC)
    rim = angles.norm(dim=1).argmax()
    found = float(shifts[rim].norm())
    assert found == pytest.approx(ATOMIC.largest_view_shift * float(angles[rim].norm()), rel=1e-5)
    torch.testing.assert_close(shifts, -5.0 * angles, atol=1e-4, rtol=1e-4)


def test_untrained_informed_network_returns_the_direct_estimate() -> None:
    """It starts from physics: before any training its mean is direct ptychography."""
    acquisition = replace(ATOMIC, scan_shape=(32, 36))
    method = DirectPtychography(acquisition)
    generator = torch.Generator().manual_seed(0)
    views = torch.poisson(torch.full((2, 177, 32, 36), 3.0), generator=generator) / 3
    maps, step = direct_features(method, method.statistic(views))
    assert maps.shape == (2, 3, 96, 108)
    torch.testing.assert_close(maps[:, 0], method(views))
    assert step.tolist() == [1.0, 1.0]
    mean, deviation = DirectInformed(width=8, depth=3)(maps, step)
    torch.testing.assert_close(mean, maps[:, 0])
    assert (deviation > 0).all()


def test_informed_network_keeps_the_scale_of_the_phase() -> None:
    """Maps twice as large, of the same shape, differ in the constant channels alone."""
    torch.manual_seed(0)
    network = DirectInformed(width=8, depth=3).eval()
    nn.init.normal_(network.body.output.weight, std=0.1)
    with torch.no_grad():
        network.body.encoder[0].first.weight[:, -4:] = 0  # type: ignore[index, union-attr]
        network.body.encoder[0].skip.weight[:, -4:] = 0  # type: ignore[index, union-attr]
        maps, step = torch.randn(1, 3, 96, 96), torch.ones(1)
        mean, deviation = network(maps, step)
        larger, wider = network(2 * maps, step)
    torch.testing.assert_close(larger, 2 * mean, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(wider, 2 * deviation, atol=1e-4, rtol=1e-4)
    assert math.isfinite(float(mean.sum()))
