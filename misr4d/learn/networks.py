"""Networks: the paper's attention U-Net, the dual path of its text, and two informed by physics.

All take measurements in physical scale and return phases in rad. The first two see the views; the
others start from direct ptychography and return their own uncertainty, one for the paper's two
settings and one for any instrument.
"""

from __future__ import annotations

import itertools
import math
from typing import ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from misr4d.core.acquisition import UPSAMPLING
from misr4d.learn.ranges import PERIODS, SHIFTS, STEPS
from misr4d.reconstruction.direct import DirectPtychography, Statistic

__all__ = [
    "NETWORKS",
    "AttentionGate",
    "AttentionUNet",
    "DirectInformed",
    "DualPath",
    "InstrumentInformed",
    "Network",
    "conditions",
    "direct_features",
    "register",
]


class Network(nn.Module):
    """What a network states of itself to the code that trains or loads it.

    Its batches and its loss are in :mod:`misr4d.learn.recipes`. Code that only reconstructs does
    not import that module.
    """

    inputs: ClassVar[tuple[str, ...]] = ("views",)
    """What ``Training.inputs`` may be."""
    mixed_precision: ClassVar[bool] = True
    """Whether its products may be computed in bfloat16 while it trains."""
    takes_maps: ClassVar[bool] = False
    """Whether it always starts from maps of direct ptychography, and never sees the views."""
    trained_on_vacuum: ClassVar[bool] = False
    """Whether some of its samples are empty fields; ``Training.vacuum`` is their share."""
    adopts: ClassVar[tuple[str, ...]] = ()
    """Other networks of whose weights a run may start."""

    @classmethod
    def of_run(
        cls, views: int, *, inputs: str, width: int, depth: int, attention: bool, head: str
    ) -> Self:
        """Build the network of a training run, untrained, from torch's global random state.

        Parameters
        ----------
        views : int
            Number of views that the detector records.
        inputs, width, depth, attention, head
            As of :class:`misr4d.learn.configuration.Training`; a network ignores what it lacks.
        """
        raise NotImplementedError(f"{cls.__name__} does not say how a run builds it")

    def adopt(self, other: nn.Module) -> None:
        """Take over the weights of another network, of this kind or of one that it adopts."""
        self.load_state_dict(other.state_dict())


class AttentionGate(nn.Module):
    """Attention on a skip connection: x′ = x ⊙ ψ(ReLU(W_g·g + W_x·x)), paper Eq. 2.

    W_g, W_x and ψ are 1×1 convolutions with batch normalisation, ψ ends in a sigmoid.

    Parameters
    ----------
    gate, skip, inner : int
        Channels of the gating signal g, of the skip x, and between.
    """

    def __init__(self, gate: int, skip: int, inner: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(nn.Conv2d(gate, inner, 1), nn.BatchNorm2d(inner))
        self.skip = nn.Sequential(nn.Conv2d(skip, inner, 1), nn.BatchNorm2d(inner))
        self.psi = nn.Sequential(nn.Conv2d(inner, 1, 1), nn.BatchNorm2d(1), nn.Sigmoid())

    def attention(self, g: Tensor, x: Tensor) -> Tensor:
        """Attention map in [0, 1] ``(N, 1, H, W)``."""
        attention_map: Tensor = self.psi(torch.relu(self.gate(g) + self.skip(x)))
        return attention_map

    def forward(self, g: Tensor, x: Tensor) -> Tensor:
        """Gate the skip: ``(N, G, H, W), (N, C, H, W) → (N, C, H, W)``."""
        return x * self.attention(g, x)


class _Block(nn.Sequential):
    """Two 3×3 convolutions, each with batch normalisation and ReLU (paper §2.1.1)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        layers: list[nn.Module] = []
        for channels in (inputs, outputs):
            layers += [
                nn.Conv2d(channels, outputs, 3, padding=1),
                nn.BatchNorm2d(outputs),
                nn.ReLU(inplace=True),
            ]
        super().__init__(*layers)


class _Up(nn.Sequential):
    """Nearest-neighbour up-sampling, 3×3 convolution, batch normalisation, ReLU (§2.1.1)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(
            nn.Upsample(scale_factor=2, mode="nearest"),
            nn.Conv2d(inputs, outputs, 3, padding=1),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


class AttentionUNet(Network):
    """The paper's network, §2.1.1: attention U-Net on the stacked views, sub-pixel head.

    Parameters
    ----------
    views : int
        M, fixed: the views are the input channels.
    width : int
        Channels of the first block; the paper's is 64, doubled four times to 1024.
    depth : int
        Blocks of the encoder; the paper's is 5. The field must be a multiple of 2^(depth − 1).
    attention : bool
        Gate the skips (paper) or not (for the ablation).
    head : {"1x1", "3x3", "none"}
        After the pixel shuffle: the paper's 1×1 convolution against checkerboards, the released
        code's 3×3 smoothing, or nothing.
    """

    inputs = ("views", "aligned", "direct")

    def __init__(
        self,
        views: int,
        width: int = 64,  # paper §2.1.1
        depth: int = 5,  # paper §2.1.1
        attention: bool = True,
        head: str = "1x1",
    ) -> None:
        super().__init__()
        if head not in {"1x1", "3x3", "none"}:
            raise ValueError(f"head is {head!r}; expected '1x1', '3x3' or 'none'")
        self.views, self.depth = views, depth
        widths = [width * 2**level for level in range(depth)]
        self.encoder = nn.ModuleList(
            _Block(a, b) for a, b in zip([views, *widths], widths, strict=False)
        )
        self.up = nn.ModuleList(_Up(2 * w, w) for w in widths[:-1])
        self.gates = nn.ModuleList(AttentionGate(w, w, max(1, w // 2)) for w in widths[:-1])
        self.decoder = nn.ModuleList(_Block(2 * w, w) for w in widths[:-1])
        if not attention:
            self.gates = nn.ModuleList()
        self.output = nn.Conv2d(widths[0], UPSAMPLING**2, 1)
        self.activation = nn.PReLU()
        self.shuffle = nn.PixelShuffle(UPSAMPLING)
        self.head: nn.Module = nn.Identity()
        if head != "none":
            size = int(head[0])
            self.head = nn.Conv2d(1, 1, size, padding=size // 2)

    @classmethod
    def of_run(
        cls, views: int, *, inputs: str, width: int, depth: int, attention: bool, head: str
    ) -> Self:
        """Build it for the views, or for the maps of direct ptychography at the scan's pixels."""
        channels = FEATURES * UPSAMPLING**2 if inputs == "direct" else views
        return cls(channels, width, depth, attention, head)

    def forward(self, views: Tensor) -> Tensor:
        """Reconstruct: ``(N, M, Rx, Ry) → (N, 1, 3·Rx, 3·Ry)`` [rad].

        Raises
        ------
        ValueError
            If M or the field does not fit the network.
        """
        multiple = 2 ** (self.depth - 1)
        if views.shape[1] != self.views or views.shape[2] % multiple or views.shape[3] % multiple:
            raise ValueError(
                f"views have shape {tuple(views.shape)}; expected (N, {self.views}, Rx, Ry) with "
                f"Rx and Ry multiples of {multiple}"
            )
        x, skips = views, []
        for level, block in enumerate(self.encoder):
            x = block(x if level == 0 else functional.max_pool2d(x, 2))
            skips.append(x)
        for level in range(self.depth - 2, -1, -1):
            g = self.up[level](x)
            skip = skips[level]
            if len(self.gates):
                skip = self.gates[level](g, skip)
            x = self.decoder[level](torch.cat([skip, g], 1))
        image: Tensor = self.head(self.shuffle(self.activation(self.output(x))))
        return image


class DualPath(Network):
    """The fusion that the paper's §2.2 describes and the released code does not contain.

    Views enter as a set: any number, in any order. Each is registered by its known displacement
    and gated; then one convolution adds them up, in which the kernel of each view follows from an
    embedding of its angle and of what its displacement leaves below one scan step. Two pathways
    take turns on coarse views: what the views have in common refines the features of each, and
    the features of each refine the embedding of its angle. A U-Net with gates at every scale
    makes the image.

    Parameters
    ----------
    width : int
        Channels of a coarse view's features.
    rounds : int
        Turns of the two pathways; 0 leaves views without gates.
    fused : int
        Channels of the sum over views.
    decoder : int
        Channels of the decoder's first level.
    """

    pool = 4  # our choice: scan positions a side that a coarse view's pixel averages
    size = 3  # our choice: of a view's kernel
    embedding = 64  # our choice: length of an angle's embedding
    # Views are a contrast of a per cent on a mean of one, for which bfloat16 has no digits.
    mixed_precision = False

    def __init__(self, width: int = 8, rounds: int = 1, fused: int = 64, decoder: int = 32) -> None:
        super().__init__()
        length = self.embedding
        self.embed = nn.Sequential(
            *(nn.Linear(14, length), nn.SiLU(), nn.Linear(length, length), nn.SiLU()),
            nn.Linear(length, length),
        )
        self.encode = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1)
        )
        self.film = nn.ModuleList(nn.Linear(length, 2 * width) for _ in range(rounds))
        self.weigh = nn.ModuleList(nn.Conv2d(2 * width, 1, 1) for _ in range(rounds))
        self.spatial = nn.ModuleList(
            nn.Conv2d(2 * width, width, 3, padding=1) for _ in range(rounds)
        )
        self.angular = nn.ModuleList(
            nn.Sequential(
                nn.Linear(2 * width + length, length), nn.SiLU(), nn.Linear(length, length)
            )
            for _ in range(rounds)
        )
        for parameter in self.weigh.parameters():  # gates are open at first
            nn.init.zeros_(parameter)
        self.fused = fused
        self.kernel = nn.Linear(length, fused * self.size**2)
        self.decoder = _GatedUNet(fused, decoder, UPSAMPLING**2)
        self.shuffle = nn.PixelShuffle(UPSAMPLING)
        self.head = nn.Conv2d(1, 1, 1)

    @classmethod
    def of_run(
        cls, views: int, *, inputs: str, width: int, depth: int, attention: bool, head: str
    ) -> Self:
        """Build it for any number of views; its depth is its own."""
        return cls(width)

    def forward(self, views: Tensor, shifts: Tensor, angles: Tensor) -> Tensor:
        """Reconstruct from any number of views.

        Parameters
        ----------
        views : Tensor
            ``(N, M, Rx, Ry)``, relative to a fully lit pixel in vacuum.
        shifts : Tensor
            Displacement that registers each view ``(M, 2)`` [scan steps].
        angles : Tensor
            Angle of each view over the semi-angle ``(M, 2)``.

        Returns
        -------
        Tensor
            ``(N, 1, 3·Rx, 3·Ry)`` [rad].
        """
        n, m = views.shape[:2]
        if shifts.shape != (m, 2) or angles.shape != (m, 2):
            raise ValueError(
                f"shifts {tuple(shifts.shape)} and angles {tuple(angles.shape)} do not fit {m} "
                f"views; expected ({m}, 2) each"
            )
        contrast = register(views, shifts) - 1
        rest = shifts - shifts.round()
        turn = 2 * math.pi * rest
        half_turn = math.pi * angles
        known = torch.cat(
            [
                *(angles, angles.square(), half_turn.sin(), half_turn.cos()),
                *(rest, turn.sin(), turn.cos()),
            ],
            1,
        ).to(views.dtype)
        angular = self.embed(known).expand(n, m, -1)
        if len(self.film):
            attention, angular = self._two_paths(contrast, angular)
            contrast = contrast * attention
        # A mean over the views, of which ten times the size is about that of one of them.
        kernels = 10 * self.kernel(angular) / m
        kernels = kernels.reshape(n, m, self.fused, self.size, self.size).transpose(1, 2)
        fused = torch.cat(
            [
                functional.conv2d(each[None], kernel, padding=self.size // 2)
                for each, kernel in zip(contrast, kernels, strict=True)
            ]
        )
        image: Tensor = self.head(self.shuffle(self.decoder(fused)))
        return image

    def _two_paths(self, contrast: Tensor, angular: Tensor) -> tuple[Tensor, Tensor]:
        """Let coarse views and angles refine each other; gates of the views, and the angles."""
        n, m, height, width = contrast.shape
        pad = (0, -width % self.pool, 0, -height % self.pool)
        coarse = functional.avg_pool2d(functional.pad(contrast, pad, mode="replicate"), self.pool)
        size = coarse.shape[2:]
        # Averaging takes noise by as much: the factor gives the coarse view its size back.
        x = self.encode(self.pool * coarse.reshape(n * m, 1, *size)).reshape(n, m, -1, *size)
        attention = torch.ones_like(coarse)
        for film, weigh, spatial, refine in zip(
            self.film, self.weigh, self.spatial, self.angular, strict=True
        ):
            gain, offset = film(angular).chunk(2, -1)
            x = x * (1 + gain[..., None, None]) + offset[..., None, None]
            joined = torch.cat([x, x.mean(1, keepdim=True).expand_as(x)], 2).flatten(0, 1)
            attention = torch.softmax(weigh(joined).reshape(n, m, *size), 1) * m
            # What the views have in common refines the features of each …
            x = x + functional.silu(spatial(joined)).reshape(x.shape)
            # … and the features of each refine the embedding of its angle.
            gated = x * attention[:, :, None]
            cues = torch.cat([x.mean((-2, -1)), gated.mean((-2, -1)), angular], -1)
            angular = angular + refine(cues)
        gates = functional.interpolate(attention, scale_factor=float(self.pool), mode="nearest")
        return gates[..., :height, :width], angular


def register(views: Tensor, shifts: Tensor) -> Tensor:
    """Move views by known displacements, in Fourier space, cyclically.

    Parameters
    ----------
    views : Tensor
        ``(..., M, Rx, Ry)``.
    shifts : Tensor
        ``(M, 2)`` [scan steps].
    """
    nx, ny = views.shape[-2:]
    qx = torch.fft.fftfreq(nx, device=views.device)[:, None]
    qy = torch.fft.rfftfreq(ny, device=views.device)[None, :]
    turns = shifts[:, 0, None, None] * qx + shifts[:, 1, None, None] * qy
    moved = torch.fft.rfft2(views) * torch.exp(-2j * math.pi * turns)
    registered: Tensor = torch.fft.irfft2(moved, s=(nx, ny))
    return registered


class _Residual(nn.Module):
    """Two 3×3 convolutions around a residual connection, without normalisation."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.second(functional.silu(self.first(x)))
        return functional.silu(self.skip(x) + residual)


class _GatedUNet(nn.Module):
    """Lean attention U-Net on any field: it pads to a whole number of its strides.

    Without normalisation, so that the amplitude of the input is preserved; its last layer starts
    at zero, so that training starts from what the input already holds.
    """

    def __init__(self, inputs: int, width: int, outputs: int, depth: int = 4) -> None:
        super().__init__()
        widths = [width, *(round(width * 1.5**level) for level in range(1, depth))]
        self.depth = depth
        self.encoder = nn.ModuleList(
            _Residual(a, b) for a, b in zip([inputs, *widths], widths, strict=False)
        )
        pairs = list(itertools.pairwise(widths))
        self.gates = nn.ModuleList(nn.Conv2d(a + b, a, 1) for a, b in pairs)
        self.decoder = nn.ModuleList(_Residual(a + b, a) for a, b in pairs)
        self.output = nn.Conv2d(widths[0], outputs, 3, padding=1)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)  # type: ignore[arg-type]

    def attention(self, level: int, g: Tensor, x: Tensor) -> Tensor:
        return torch.sigmoid(self.gates[level](torch.cat([x, g], 1)))

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        multiple = 2 ** (self.depth - 1)
        extra = (-width % multiple, -height % multiple)
        x = functional.pad(x, (0, extra[0], 0, extra[1]), mode="replicate")
        skips = []
        for level, block in enumerate(self.encoder):
            x = block(x if level == 0 else functional.avg_pool2d(x, 2))
            skips.append(x)
        for level in range(self.depth - 2, -1, -1):
            g = functional.interpolate(x, scale_factor=2.0, mode="nearest")
            skip = skips[level]
            x = self.decoder[level](torch.cat([skip * self.attention(level, g, skip), g], 1))
        image: Tensor = self.output(x)[..., :height, :width]
        return image


_SIGNAL_SCALES = (1.0, 10.0)  # as smooth as the spectrum asks, and ten times sharper
FEATURES = len(_SIGNAL_SCALES) + 1  # maps of direct_features


def direct_features(method: DirectPtychography, statistic: Statistic) -> tuple[Tensor, Tensor]:
    """Compute the maps that :class:`DirectInformed` starts from.

    Parameters
    ----------
    method : DirectPtychography
    statistic : Statistic
        Of N measurements.

    Returns
    -------
    maps : Tensor
        ``(N, 3, r·Rx, r·Ry)``: the direct estimate [rad], one ten times less smoothed [rad], and
        the whitened one, in units of its own noise.
    step : Tensor
        Step ``(N,)`` [Å] of a scan of which the image has three pixels a step, as in training.
    """
    maps = torch.cat(
        [method.estimates(statistic, _SIGNAL_SCALES), method.whitened(statistic)[:, None]], 1
    )
    step = min(method.acquisition.step) / (method.upsampling / UPSAMPLING)
    return maps, torch.full((len(maps),), step, device=maps.device)


class DirectInformed(Network):
    """Direct ptychography, refined by a lean attention U-Net that knows how noisy it is.

    The maps are divided by their own root mean square, so that the network sees shapes of one
    size; the sizes themselves enter as constant channels, and the signal-to-noise ratio with them,
    since the whitened map has noise of unit variance. What comes out is added to the direct
    estimate, in its scale.

    Parameters
    ----------
    width : int
        Channels at the resolution of the scan.
    depth : int
        Levels of the U-Net.
    """

    takes_maps = True
    trained_on_vacuum = True
    conditions: ClassVar[int] = 1
    """Numbers that it is told of the measurement."""

    def __init__(self, width: int = 48, depth: int = 4) -> None:
        super().__init__()
        self.unshuffle = nn.PixelUnshuffle(UPSAMPLING)
        self.shuffle = nn.PixelShuffle(UPSAMPLING)
        inputs = FEATURES * UPSAMPLING**2 + FEATURES + self.conditions
        self.body = _GatedUNet(inputs, width, 2 * UPSAMPLING**2, depth)

    @classmethod
    def of_run(
        cls, views: int, *, inputs: str, width: int, depth: int, attention: bool, head: str
    ) -> Self:
        """Build it; the number of views does not enter its maps."""
        return cls(width, depth)

    def forward(self, maps: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Refine: ``(N, 3, r·Rx, r·Ry) → (N, r·Rx, r·Ry) twice``, mean and deviation [rad].

        Parameters
        ----------
        maps : Tensor
            As from :func:`direct_features`.
        condition : Tensor
            The step of :func:`direct_features` ``(N,)``; of a network with more conditions, those
            of :func:`conditions` ``(N, 3)``.
        """
        size = maps.square().mean((-2, -1), keepdim=True).sqrt().clamp_min(1e-6)  # (N, 3, 1, 1)
        numbers = condition.reshape(len(maps), self.conditions, 1, 1)
        logs = torch.cat([size.log10(), numbers.log10()], 1)
        x = self.unshuffle(maps / size)
        constants = logs.expand(-1, -1, *x.shape[-2:])
        output = self.shuffle(self.body(torch.cat([x, constants], 1)))
        scale = size[:, 0]
        mean: Tensor = maps[:, 0] + scale * output[:, 0]
        deviation: Tensor = scale * functional.softplus(output[:, 1]).clamp_min(1e-3)
        return mean, deviation


def conditions(method: DirectPtychography) -> Tensor:
    """Return what :class:`InstrumentInformed` is told of a measurement ``(3,)``.

    The step [Å] of a scan of which the image has three pixels a step, as in training; that step in
    units of λ/2α; and the displacement of the outermost view, in such steps. What is outside of
    what was trained counts as the nearest value inside.
    """
    acquisition = method.acquisition
    step = min(acquisition.step) / (method.upsampling / UPSAMPLING)
    shift = max(a.largest_view_shift for a in method.acquisitions)
    values = (step, step / acquisition.information_limit, shift / step)
    ranges = ((STEPS["atomic"][0], STEPS["molecular"][1]), PERIODS, SHIFTS)
    return torch.tensor([min(max(v, r[0]), r[1]) for v, r in zip(values, ranges, strict=True)])


class InstrumentInformed(DirectInformed):
    """:class:`DirectInformed` for any instrument: it is told the limits of the measurement, too."""

    conditions = 3
    adopts = ("DirectInformed",)

    def adopt(self, other: nn.Module) -> None:
        """Take over the weights of one of its kind or of a :class:`DirectInformed` as wide.

        The conditions that it does not know start without effect: at first both give one image.

        Raises
        ------
        ValueError
            If the networks differ in more than their conditions.
        """
        state = dict(other.state_dict())
        missing = self.conditions - DirectInformed.conditions
        for name, own in self.state_dict().items():
            if own.ndim == 4 and own.shape[1] == state[name].shape[1] + missing:
                state[name] = functional.pad(state[name], (0, 0, 0, 0, 0, missing))
            if state[name].shape != own.shape:
                raise ValueError(
                    f"{name} has shape {tuple(own.shape)}, and {tuple(state[name].shape)} in the "
                    "network that the run starts from; take its width and depth"
                )
        self.load_state_dict(state)


NETWORKS: dict[str, type[Network]] = {
    "AttentionUNet": AttentionUNet,
    "DualPath": DualPath,
    "DirectInformed": DirectInformed,
    "InstrumentInformed": InstrumentInformed,
}
"""Networks by name."""
