"""How an image is judged. Every measure says what it removes before it compares."""

from __future__ import annotations

import itertools
import math

import pytorch_msssim
import torch
from scipy import ndimage
from torch import Tensor

__all__ = [
    "checkerboard",
    "contrast_to_error",
    "contrast_to_noise",
    "correlation",
    "dose_to_reach",
    "line_profile",
    "ms_ssim",
    "peak_to_background",
    "psnr",
    "specimen_mask",
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


def correlation(image: Tensor, reference: Tensor, *, within: Tensor | None = None) -> float:
    """Pearson correlation of two images ``(X, Y)``: blind to offset and positive gain.

    Over a whole field it is mostly the outline of the specimen. Inside the specimen it tells
    whether its structure is shown: an image that is flat there has none.

    Parameters
    ----------
    image, reference : Tensor
        ``(X, Y)``.
    within : Tensor, optional
        Boolean ``(X, Y)``; only these pixels count, such as those of :func:`specimen_mask`.

    Raises
    ------
    ValueError
        If shapes differ, values are not finite, or the mask holds fewer than two pixels.
    """
    check_pair(image, reference)
    a, b = image.double(), reference.double()
    if within is not None:
        if within.shape != image.shape or int(within.sum()) < 2:
            raise ValueError(
                f"within has shape {tuple(within.shape)} and {int(within.sum())} pixels; expected "
                f"{tuple(image.shape)} and at least two"
            )
        a, b = a[within], b[within]
    a, b = a - a.mean(), b - b.mean()
    norm = float(a.norm() * b.norm())
    return float((a * b).sum()) / norm if norm > 0 else 0.0


FILLED = 2.0  # Å, our choice: a blur of this deviation closes the gaps between atomic columns
SUPPORT = 0.2  # our choice: of the blurred phase's maximum; a protein's rim thins out gradually


def specimen_mask(truth: Tensor, sampling: tuple[float, float]) -> Tensor:
    """Where the specimen is, from the true phase alone: the inside of every page.

    The phase is blurred by a Gaussian of 2 Å, so that gaps between columns close; what is above a
    fifth of the blurred maximum is specimen, and so are holes that it encloses.

    Parameters
    ----------
    truth : Tensor
        True phase ``(X, Y)`` [rad]; vacuum is 0, so its mean must not have been removed.
    sampling : (float, float)
        Pixel size [Å].

    Returns
    -------
    Tensor
        Boolean ``(X, Y)``; the whole field where the specimen fills it.

    Raises
    ------
    ValueError
        If the truth is not finite, not ``(X, Y)``, or nowhere positive.
    """
    check_pair(truth, truth)
    blurred = ndimage.gaussian_filter(
        truth.double().cpu().numpy(), [FILLED / step for step in sampling], mode="wrap"
    )
    if not blurred.max() > 0:
        raise ValueError(
            f"the truth is {blurred.max():g} rad at most; expected a specimen, whose phase is "
            "positive and 0 in vacuum"
        )
    inside = ndimage.binary_fill_holes(blurred > SUPPORT * blurred.max())
    return torch.from_numpy(inside).to(truth.device)


def psnr(image: Tensor, reference: Tensor) -> float:
    """Peak signal-to-noise ratio [dB] after the best offset and one gain.

    The peak is the reference's range. Both images are ``(X, Y)``; identical ones give ``inf``. The
    gain has either sign, so inverted contrast is not punished: read it beside :func:`correlation`.

    Raises
    ------
    ValueError
        If shapes differ, values are not finite or the reference is constant.
    """
    check_pair(image, reference)
    scaled_image, b = _fitted(image, reference)
    span = float(b.max() - b.min())
    error = float(((scaled_image - b) ** 2).mean())
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

    The gain has either sign, as in :func:`psnr`.

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
    scaled_image, b = _fitted(image, reference)
    span = float(b.max() - b.min())
    shortest_side = min(image.shape)
    if shortest_side < 33:
        raise ValueError(f"the images have a side of {shortest_side} pixels; expected at least 33")
    window = min(11, 1 + 2 * ((shortest_side - 1) // 32))  # the library: side > 16 (window − 1)
    value = pytorch_msssim.ms_ssim(
        scaled_image[None, None], b[None, None], data_range=span, win_size=window
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
    number_of_points = points or max(2, round(2 * length / float(pixel.min())))
    distance = torch.linspace(0, length, number_of_points, dtype=torch.float64)
    lanes = max(1, 2 * round(width / float(pixel.min())) + 1) if width > 0 else 1
    offset = torch.linspace(-width / 2, width / 2, lanes, dtype=torch.float64)
    if lanes == 1:
        offset = torch.zeros(1, dtype=torch.float64)
    positions = a + distance[:, None, None] * along + offset[None, :, None] * across
    grid = positions / pixel
    limit = torch.tensor(image.shape, dtype=torch.float64) - 1
    if (grid < -1e-9).any() or (grid > limit + 1e-9).any():
        raise ValueError(
            f"the line from {start} to {end} Å, {width:g} Å wide, leaves the image of "
            f"{[float(v) for v in limit * pixel]} Å"
        )
    lower = torch.minimum(grid.clamp_min(0).floor(), (limit - 1).clamp_min(0)).long()
    fraction = grid - lower
    value = torch.zeros(grid.shape[:-1], dtype=torch.float64)
    upper = torch.minimum(lower + 1, limit.long())
    for dx, wx in ((lower[..., 0], 1 - fraction[..., 0]), (upper[..., 0], fraction[..., 0])):
        for dy, wy in ((lower[..., 1], 1 - fraction[..., 1]), (upper[..., 1], fraction[..., 1])):
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
        offset and positive gain. ``inf`` if all valleys are equally deep, zero for
        a flat profile.

    Raises
    ------
    ValueError
        If lengths differ, values are not finite, or the true profile has no peak or fewer than
        two valleys.
    """
    if profile.shape != truth.shape or profile.ndim != 1:
        raise ValueError(
            f"profile {tuple(profile.shape)} and truth {tuple(truth.shape)} cannot be compared; "
            "expected two profiles along one line"
        )
    if not (torch.isfinite(profile).all() and torch.isfinite(truth).all()):
        raise ValueError("a profile holds values that are not finite; nothing can be measured")
    inner_truth, mid_level = truth[1:-1], (truth.max() + truth.min()) / 2
    peak = (inner_truth > truth[:-2]) & (inner_truth >= truth[2:]) & (inner_truth > mid_level)
    valley = (inner_truth < truth[:-2]) & (inner_truth <= truth[2:]) & (inner_truth < mid_level)
    if not peak.any() or int(valley.sum()) < 2:
        raise ValueError(
            f"the true profile has {int(peak.sum())} peaks and {int(valley.sum())} valleys; "
            "expected at least one and two: take a longer line"
        )
    top, bottom = profile[1:-1][peak].double(), profile[1:-1][valley].double()
    height, spread = float(top.mean() - bottom.mean()), float(bottom.std())
    if height == 0:
        return 0.0
    return height / spread if spread > 0 else math.copysign(math.inf, height)


def truth_masks(
    truth: Tensor, *, signal: float = 0.95, background: float = 0.4, within: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Masks of signal and background, fixed from the true phase alone.

    Parameters
    ----------
    truth : Tensor
        ``(X, Y)``.
    signal, background : float
        Pixels at or above the first quantile of the truth are signal, at or below the second
        background. A plateau counts whole: all of a flat disc, or of the vacuum around it.
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
        If the quantiles are out of order, `within` does not fit, or the truth does not vary
        between them, so that there is no signal to mask.
    """
    if not 0 < background < signal < 1:
        raise ValueError(
            f"background is {background!r} and signal {signal!r}; expected "
            "0 < background < signal < 1"
        )
    inside = torch.ones_like(truth, dtype=torch.bool) if within is None else within
    levels = torch.tensor([background, signal], dtype=torch.float64)
    if inside.shape != truth.shape:
        raise ValueError(f"within has shape {tuple(inside.shape)}; expected {tuple(truth.shape)}")
    if not inside.any():
        raise ValueError("within holds no pixel; nothing can be masked")
    values = truth.double()
    background_level, signal_level = torch.quantile(values[inside], levels)
    if not signal_level > background_level:
        raise ValueError(
            f"the signal mask is empty: the truth is {float(background_level):g} at its "
            f"{background:g} quantile and {float(signal_level):g} at its {signal:g} quantile; "
            "move the quantiles or set within"
        )
    return inside & (values >= signal_level), inside & (values <= background_level)


def contrast_to_noise(image: Tensor, signal: Tensor, background: Tensor) -> float:
    """Contrast to noise |μ_s − μ_b| / σ_b of an image ``(X, Y)`` between two masks.

    Raises
    ------
    ValueError
        If a mask is empty or of another shape, the image is not finite under it, or the
        background has no spread.
    """
    for name, mask in (("signal", signal), ("background", background)):
        if mask.shape != image.shape or not mask.any():
            raise ValueError(
                f"the {name} mask has shape {tuple(mask.shape)} and {int(mask.sum())} pixels; "
                f"expected {tuple(image.shape)} and at least one"
            )
    s, b = image[signal].double(), image[background].double()
    if not (torch.isfinite(s).all() and torch.isfinite(b).all()):
        raise ValueError("the image holds values that are not finite; nothing can be measured")
    spread = float(b.std()) if len(b) > 1 else 0.0
    if not spread > 0:
        raise ValueError("the background has no spread; contrast to noise cannot be defined")
    return abs(float(s.mean() - b.mean())) / spread


def checkerboard(image: Tensor, period: int, *, reach: int = 6) -> float:
    """Power of a pattern that repeats every `period` pixels, over that of its surroundings.

    A pixel shuffle writes each pixel of a block by weights of its own; where these disagree, a
    pattern of the block's period appears in the whole image, at multiples of the frequency
    1/period along both axes. Both powers are geometric means, so that white noise gives about 1.

    Parameters
    ----------
    image : Tensor
        ``(X, Y)``, its sides multiples of the period.
    period : int
        The up-sampling factor.
    reach : int
        The surroundings: frequency steps to either side.

    Raises
    ------
    ValueError
        If the image is not finite, or its sides are no multiples of the period or too short.
    """
    check_pair(image, image)
    nx, ny = image.shape
    if period < 2 or nx % period or ny % period or min(nx, ny) <= 2 * reach * period:
        raise ValueError(
            f"image {nx} × {ny} and period {period} do not fit; expected a period of 2 or more, "
            f"and sides that are multiples of it above {2 * reach * period} pixels"
        )
    power = torch.fft.fft2(image.double() - image.double().mean()).abs().square()
    log_power = (power + 1e-12 * power.mean() + 1e-300).log()
    ratios = []
    for order in range(1, period**2):
        centre = (order // period * (nx // period), order % period * (ny // period))
        surroundings = torch.roll(log_power, (reach - centre[0], reach - centre[1]), (0, 1))
        surroundings = surroundings[: 2 * reach + 1, : 2 * reach + 1]
        peak = surroundings[reach, reach]
        ratios.append(peak - (surroundings.sum() - peak) / (surroundings.numel() - 1))
    return float(torch.stack(ratios).mean().exp())


def contrast_to_error(correlation: float) -> float:
    """Contrast over error of an image, up to a factor that is the same for all methods.

    With r the correlation, an image is a·truth + error, and the difference between any two of its
    parts over the error's deviation is proportional to r/√(1 − r²): ratios of methods are ratios
    of that. Smoothing raises it only if the image then shows more; the truth's is infinite.

    Parameters
    ----------
    correlation : float
        Inside the specimen, from −1 to 1; its sign does not count.
    """
    magnitude = abs(correlation)
    return magnitude / math.sqrt(1 - magnitude**2) if magnitude < 1 else math.inf


def dose_to_reach(doses: Tensor, scores: Tensor, target: float) -> float:
    """Dose at which a rising score first reaches a target [e⁻/Å²].

    Parameters
    ----------
    doses : Tensor
        ``(n,)``, rising [e⁻/Å²].
    scores : Tensor
        ``(n,)``, one for each dose, such as the median over draws; higher is better, so give
        1/resolution for a resolution.
    target : float
        Score to reach.

    Returns
    -------
    float
        By linear interpolation over the logarithm of the dose. Nothing is extrapolated: ``0.0`` if
        the lowest dose is already past the target, ``inf`` if no dose reaches it.

    Raises
    ------
    ValueError
        If shapes do not match, doses do not rise or a value is not finite.
    """
    if scores.ndim != 1 or scores.shape != doses.shape:
        raise ValueError(
            f"scores {tuple(scores.shape)} do not match {tuple(doses.shape)} doses; expected one "
            "score for each dose"
        )
    if len(doses) < 2 or not (doses[1:] > doses[:-1]).all() or not doses[0] > 0:
        raise ValueError(f"doses are {doses.tolist()}; expected two or more, positive and rising")
    if not (torch.isfinite(doses).all() and torch.isfinite(scores).all()):
        raise ValueError(
            "doses or scores hold values that are not finite; leave those doses out, and give "
            "1/resolution instead of resolution"
        )
    if not math.isfinite(target):
        raise ValueError(f"target is {target!r}; expected a finite score")
    log_doses, values = doses.double().log().tolist(), scores.double().tolist()
    if values[0] > target:
        return 0.0
    if values[0] == target:
        return float(doses[0])
    for j, (low, high) in enumerate(itertools.pairwise(values)):
        if low < target <= high:
            fraction = (target - low) / (high - low)
            return math.exp(log_doses[j] + fraction * (log_doses[j + 1] - log_doses[j]))
    return math.inf
