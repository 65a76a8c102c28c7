"""How much of the counts' noise a refinement fits: by how much its deviance is expected to fall.

:func:`misr4d.reconstruction.refine.refine` stops where an image explains the counts better than
their own noise allows. This noise is counted here, with what the image fits of it left out.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["Freedom"]


def _thinned(values: Tensor, count: int) -> Tensor:
    """Pick about `count` of the values, evenly by rank: indices into them."""
    order = values.flatten().argsort()
    ranks = (torch.arange(min(count, len(order))) + 0.5) * len(order) / min(count, len(order))
    indices: Tensor = order[ranks.long().to(order.device)]
    return indices


class Freedom:
    """By how much an image's deviance is expected to lie below that of the truth.

    The specimen is taken as stationary near each pixel. At a frequency of information H the first
    stage has the error 1/(H + p₀), and took the share k = H/(H + p₀) of the counts' noise; with a
    prior of precision P the image takes g = (H + P·k)/(H + P). Its deviance lies 2g lower for the
    noise that is fitted, and g² + (1 − g)²·H/p₀ higher for what is off. A first stage
    that is independent of the counts has k = 0 and p₀ = 1/σ².

    Parameters
    ----------
    data : Tensor
        H of every frequency where all positions are recorded.
    seen_fraction : Tensor
        Share of the views that see each pixel from a recorded position: in a rim whose counts are
        not known it falls to 0, and nothing there is fitted.
    precision : Tensor
        1/σ² of the first stage, pixel by pixel.
    weight, tail : float
        Of :class:`misr4d.reconstruction.refine.PriorStrength`.
    curvature : float
        Of the expected deviance (:func:`misr4d.reconstruction.deviance.deviance_curvature`).
    independent : bool
        Whether the first stage has not seen these counts.
    """

    _SIZE = 384  # of the sample of pixels and of frequencies: within 1 % of all of them

    def __init__(
        self,
        data: Tensor,
        seen_fraction: Tensor,
        precision: Tensor,
        weight: float,
        tail: float,
        curvature: float,
        independent: bool,
    ) -> None:
        self._pixels = _thinned(precision * (1 + seen_fraction), self._SIZE)
        self._strength, self._tail, self._curvature = weight, tail, curvature
        information = data.flatten()[_thinned(data, self._SIZE)].double()
        pixel_precision = precision.flatten()[self._pixels].double()[:, None]
        self._precision = pixel_precision
        self._data = seen_fraction.flatten()[self._pixels].double()[:, None] * information
        self._weight = precision.numel() / len(self._pixels) / len(information)
        self._known = (
            torch.zeros_like(pixel_precision) if independent else torch.ones_like(pixel_precision)
        )
        self._prior = pixel_precision if independent else self._before(pixel_precision)

    def _before(self, precision: Tensor) -> Tensor:
        """Precision p₀ before the counts, from that after them: 1/σ² = 1/mean(1/(H + p₀))."""
        low, high = 1e-9 * precision, precision
        for _ in range(40):
            trial = (low * high).sqrt()
            precision_after = 1 / (1 / (self._data + trial)).mean(1, keepdim=True)
            low = torch.where(precision_after < precision, trial, low)
            high = torch.where(precision_after < precision, high, trial)
        return high

    def __call__(self, squared: Tensor) -> float:
        """Freedom where the image lies by the squared distance u² from the first stage."""
        distance = squared.flatten()[self._pixels].double()[:, None]
        prior_precision = self._strength * self._precision / (1 + distance / self._tail**2)
        first_stage_gain = self._known * self._data / (self._data + self._prior)
        image_gain = (self._data + prior_precision * first_stage_gain) / (
            self._data + prior_precision
        )
        error_deviance = image_gain**2 + (1 - image_gain) ** 2 * self._data / self._prior
        return self._weight * (1 - self._curvature) * float((2 * image_gain - error_deviance).sum())
