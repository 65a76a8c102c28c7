"""How an image is judged. Every measure says what it removes before it compares."""

from __future__ import annotations

import math

import pytorch_msssim
import torch
from torch import Tensor

__all__ = [
    "contrast_to_noise",
    "correlation",
    "electrons_saved",
    "line_profile",
    "ms_ssim",
    "peak_to_background",
    "psnr",
    "truth_masks",
]


def check_pair(image: Tensor, reference: Tensor) -> None:
    """Raise ``ValueError`` unless two images can be compared."""
    if image.shape != reference.shape or image.ndim != 2:
        raise ValueError(
            f"image {tuple(image.shape)} and reference {tuple(reference.shape)} cannot be "
            "compared; expected two images of one shape"
        )
    if not (torch.isfinite(image).all() and torch.isfinite(reference).all()):
        raise ValueError("an image holds values that are not finite; nothing can be measured")


def correlation(image: Tensor, reference: Tensor) -> float:
    """Pearson correlation of two images ``(X, Y)``: blind to offset and positive gain.

    Raises
    ------
    ValueError
        If shapes differ or values are not finite.
    """
    check_pair(image, reference)
    a = image.double() - image.double().mean()
    b = reference.double() - reference.double().mean()
    norm = float(a.norm() * b.norm())
    return float((a * b).sum()) / norm if norm > 0 else 0.0


def psnr(image: Tensor, reference: Tensor) -> float:
    """Peak signal-to-noise ratio [dB] after the best offset and one gain.

    The peak is the reference's range. Both images are ``(X, Y)``; identical ones give ``inf``.

    Raises
    ------
    ValueError
        If shapes differ, values are not finite or the reference is constant.
    """
    check_pair(image, reference)
    fitted, b = _fitted(image, reference)
    span = float(b.max() - b.min())
    error = float(((fitted - b) ** 2).mean())
    return math.inf if error == 0 else 10 * math.log10(span**2 / error)


def _fitted(image: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    """Image with the gain that fits the reference best, and the reference, both of zero mean."""
    a = image.double() - image.double().mean()
    b = reference.double() - reference.double().mean()
    if float(b.max() - b.min()) == 0:
        raise ValueError("the reference is constant; a peak signal cannot be defined")
    energy = float((a * a).sum())
    return a * (float((a * b).sum()) / energy if energy > 0 else 0.0), b


def ms_ssim(image: Tensor, reference: Tensor) -> float:
    """Multi-scale structural similarity after the best offset and one gain, by pytorch-msssim.

    Parameters
    ----------
    image, reference : Tensor
        ``(X, Y)``, both sides at least 33 pixels. Five scales, and a window of 11 where the sides
        are above 160 pixels, else the largest odd one that five scales allow: values of images of
        different sizes are then not comparable.

    Raises
    ------
    ValueError
        If shapes differ, values are not finite, the reference is constant, or a side is too short.

    References
    ----------
    Wang, Simoncelli & Bovik, Asilomar Conf. Signals (2003).
    """
    check_pair(image, reference)
    fitted, b = _fitted(image, reference)
    span = float(b.max() - b.min())
    side = min(image.shape)
    if side < 33:
        raise ValueError(f"the images have a side of {side} pixels; expected at least 33")
    window = min(11, 1 + 2 * ((side - 1) // 32))  # the library: side > 16 (window − 1)
    value = pytorch_msssim.ms_ssim(
        fitted[None, None], b[None, None], data_range=span, win_size=window
    )
    return float(value)


def line_profile(
    image: Tensor,
    start: tuple[float, float],
    end: tuple[float, float],
    sampling: tuple[float, float],
    *,
    width: float = 0.0,
    points: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Values along a line, averaged across a width.

    Parameters
    ----------
    image : Tensor
        ``(X, Y)``; pixel (i, j) sits at (i·sampling_x, j·sampling_y).
    start, end : (float, float)
        Ends of the line [Å].
    sampling : (float, float)
        Pixel size [Å].
    width : float
        Width across which to average [Å]; 0 takes the line alone.
    points : int, optional
        Samples along the line; by default two per pixel.

    Returns
    -------
    distance, value : Tensor
        Distance from `start` [Å] and bilinear interpolation of the image there.

    Raises
    ------
    ValueError
        If the line has no length or leaves the image.
    """
    a, b = torch.tensor(start, dtype=torch.float64), torch.tensor(end, dtype=torch.float64)
    pixel = torch.tensor(sampling, dtype=torch.float64)
    length = float((b - a).norm())
    if length == 0:
        raise ValueError(f"the line from {start} to {end} Å has no length")
    along = (b - a) / length
    across = torch.stack([-along[1], along[0]])
    number = points or max(2, round(2 * length / float(pixel.min())))
    distance = torch.linspace(0, length, number, dtype=torch.float64)
    lanes = max(1, 2 * round(width / float(pixel.min())) + 1) if width > 0 else 1
    offset = torch.linspace(-width / 2, width / 2, lanes, dtype=torch.float64)
    if lanes == 1:
        offset = torch.zeros(1, dtype=torch.float64)
    where = a + distance[:, None, None] * along + offset[None, :, None] * across
    grid = where / pixel
    limit = torch.tensor(image.shape, dtype=torch.float64) - 1
    if (grid < -1e-9).any() or (grid > limit + 1e-9).any():
        raise ValueError(
            f"the line from {start} to {end} Å, {width:g} Å wide, leaves the image of "
            f"{[float(v) for v in limit * pixel]} Å"
        )
    low = torch.minimum(grid.clamp_min(0).floor(), (limit - 1).clamp_min(0)).long()
    part = grid - low
    value = torch.zeros(grid.shape[:-1], dtype=torch.float64)
    high = torch.minimum(low + 1, limit.long())
    for dx, wx in ((low[..., 0], 1 - part[..., 0]), (high[..., 0], part[..., 0])):
        for dy, wy in ((low[..., 1], 1 - part[..., 1]), (high[..., 1], part[..., 1])):
            value += wx * wy * image.double()[dx, dy]
    return distance, value.mean(1)


def peak_to_background(profile: Tensor, truth: Tensor) -> float:
    """Height of a profile's peaks above the valleys between them, over the valleys' spread.

    Where peaks and valleys are is read from the true profile, so that noise cannot choose its own
    peaks: peaks are its local maxima above the middle of its range, valleys its local minima
    below. The paper gives no definition.

    Parameters
    ----------
    profile, truth : Tensor
        ``(n,)`` along one line, as from :func:`line_profile`.

    Returns
    -------
    float
        (mean at the peaks − mean at the valleys) / standard deviation at the valleys; blind to
        offset and gain.

    Raises
    ------
    ValueError
        If lengths differ, or the true profile has no peak or fewer than two valleys.
    """
    if profile.shape != truth.shape or profile.ndim != 1:
        raise ValueError(
            f"profile {tuple(profile.shape)} and truth {tuple(truth.shape)} cannot be compared; "
            "expected two profiles along one line"
        )
    inner, middle = truth[1:-1], (truth.max() + truth.min()) / 2
    peak = (inner > truth[:-2]) & (inner >= truth[2:]) & (inner > middle)
    valley = (inner < truth[:-2]) & (inner <= truth[2:]) & (inner < middle)
    if not peak.any() or int(valley.sum()) < 2:
        raise ValueError(
            f"the true profile has {int(peak.sum())} peaks and {int(valley.sum())} valleys; "
            "expected at least one and two: take a longer line"
        )
    top, bottom = profile[1:-1][peak].double(), profile[1:-1][valley].double()
    return float((top.mean() - bottom.mean()) / bottom.std().clamp_min(1e-300))


def truth_masks(
    truth: Tensor, *, signal: float = 0.95, background: float = 0.4, within: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Masks of signal and background, fixed from the true phase alone.

    Parameters
    ----------
    truth : Tensor
        ``(X, Y)``.
    signal, background : float
        Pixels above the first quantile of the truth are signal, below the second background.
    within : Tensor, optional
        Boolean ``(X, Y)``; only these pixels count, such as the inside of a crystal, whose
        background is then the gaps between columns.

    Returns
    -------
    signal, background : Tensor
        Boolean ``(X, Y)``.

    Raises
    ------
    ValueError
        If the quantiles are out of order or a mask would be empty.
    """
    if not 0 < background < signal < 1:
        raise ValueError(
            f"background is {background!r} and signal {signal!r}; expected "
            "0 < background < signal < 1"
        )
    inside = torch.ones_like(truth, dtype=torch.bool) if within is None else within
    levels = torch.tensor([background, signal], dtype=torch.float64)
    if not inside.any():
        raise ValueError("within holds no pixel; nothing can be masked")
    low, high = torch.quantile(truth[inside].double(), levels)
    bright, dark = inside & (truth > high), inside & (truth < low)
    for name, mask in (("signal", bright), ("background", dark)):
        if not mask.any():
            raise ValueError(f"the {name} mask is empty: the truth hardly varies there")
    return bright, dark


def contrast_to_noise(image: Tensor, signal: Tensor, background: Tensor) -> float:
    """Contrast to noise |μ_s − μ_b| / σ_b of an image ``(X, Y)`` between two masks.

    Raises
    ------
    ValueError
        If a mask is empty or of another shape, or the background has no spread.
    """
    for name, mask in (("signal", signal), ("background", background)):
        if mask.shape != image.shape or not mask.any():
            raise ValueError(
                f"the {name} mask has shape {tuple(mask.shape)} and {int(mask.sum())} pixels; "
                f"expected {tuple(image.shape)} and at least one"
            )
    s, b = image[signal].double(), image[background].double()
    spread = float(b.std())
    if not spread > 0:
        raise ValueError("the background has no spread; contrast to noise cannot be defined")
    return abs(float(s.mean() - b.mean())) / spread


def electrons_saved(
    doses: Tensor, method: Tensor, baseline: Tensor, generator: torch.Generator, *, draws: int = 500
) -> tuple[Tensor, Tensor]:
    """How many times fewer electrons a method needs than a baseline, for the same score.

    For each dose the baseline's median score is looked up on the method's median curve, by linear
    interpolation over the logarithm of the dose. Nothing is extrapolated: where the method passes
    that score below the lowest dose, or never, the answer is not a number.

    Parameters
    ----------
    doses : Tensor
        ``(n,)``, rising [e⁻/Å²].
    method, baseline : Tensor
        Scores ``(draws, n)`` that rise with quality, such as correlation.
    generator : torch.Generator
        Of the bootstrap over noise draws.
    draws : int
        Bootstrap samples.

    Returns
    -------
    ratio, quartiles : Tensor
        Dose of the baseline over that of the method ``(n,)``, and its first and third quartile
        ``(2, n)``.

    Raises
    ------
    ValueError
        If shapes do not match or doses do not rise.
    """
    if method.shape[1:] != doses.shape or baseline.shape[1:] != doses.shape:
        raise ValueError(
            f"scores {tuple(method.shape)} and {tuple(baseline.shape)} do not match "
            f"{tuple(doses.shape)} doses; expected (draws, doses)"
        )
    if len(doses) < 2 or (doses[1:] <= doses[:-1]).any():
        raise ValueError(f"doses are {doses.tolist()}; expected two or more, rising")
    log = doses.double().log()

    def ratio(a: Tensor, b: Tensor) -> Tensor:
        found = torch.full_like(log, math.nan)
        for i, wanted in enumerate(b):
            for j in range(len(a) - 1):
                low, high = a[j], a[j + 1]
                if low <= wanted <= high and high > low:
                    part = (wanted - low) / (high - low)
                    found[i] = (log[i] - (log[j] + part * (log[j + 1] - log[j]))).exp()
                    break
        return found

    def resample(scores: Tensor) -> Tensor:
        pick = torch.randint(len(scores), (len(scores),), generator=generator)
        return scores.double()[pick].median(0).values

    whole = ratio(method.double().median(0).values, baseline.double().median(0).values)
    samples = torch.stack([ratio(resample(method), resample(baseline)) for _ in range(draws)])
    return whole, samples.nanquantile(torch.tensor([0.25, 0.75], dtype=torch.float64), dim=0)
