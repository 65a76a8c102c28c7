"""Power of registered views, frequency by frequency, and how much of it is signal.

What :func:`misr4d.calibrate.defocus.estimate_defocus` maximises; see there.
"""

from __future__ import annotations

import math

import numpy as np
import scipy.fft
import torch
from numpy.typing import NDArray
from scipy.special import logsumexp, softmax
from torch import Tensor

from misr4d.calibrate.drift import drift_matrix
from misr4d.core import optics
from misr4d.core.acquisition import Acquisition
from misr4d.core.detector import detector_axes

__all__ = ["PARTS", "Registered"]

# Our choices: number of frequencies, the strongest, enough for 64 × 64 positions and a limit on
# memory; how many the search uses; oversampling of the transform over the detector; number of parts
# that are left out in turn for the error; side of the cells that form these parts, in frequencies.
_FREQUENCIES = 2048
_SEARCHED = 512
_OVERSAMPLING = 4
PARTS = 8
_CELL = 3
# Our choices: ratios of signal to noise that a frequency may have, none to any, and the rounds in
# which their shares in a ring of frequencies are estimated.
_SIGNALS = np.concatenate([[0.0], 0.1 * 3.0 ** np.arange(14)])
_FRACTIONS = _SIGNALS / (1 + _SIGNALS)
_ROUNDS = 30


class Registered:
    """Power of registered views, frequency by frequency, for trials of M."""

    def __init__(self, views: Tensor, acquisition: Acquisition) -> None:
        index = acquisition.detector_index.numpy()
        nx, ny = acquisition.scan_shape
        # The edge of a field does not move between views, and is faded out.
        from scipy.signal.windows import tukey  # scipy.signal takes a second to load

        window = torch.from_numpy(np.multiply.outer(tukey(nx, 0.5), tukey(ny, 0.5))).float()
        mean_views = (views * window).sum((1, 2), keepdim=True) / window.sum()
        spectra = torch.fft.rfft2((views - mean_views) * window)
        qx, qy = optics.frequencies((nx, ny), acquisition.step)
        grid_shape = spectra.shape[1:]
        qx, qy = qx.expand(grid_shape), qy[:, : grid_shape[1]].abs().expand(grid_shape)
        q = (qx**2 + qy**2).sqrt()
        # Nothing is transferred beyond 2α; the lowest frequencies hold what drifts.
        inside = (q > 1.5 / min(acquisition.field)) & (q < 1 / acquisition.information_limit)
        power = torch.where(inside, spectra.abs().square().sum(0).double(), -1.0).flatten()
        strongest = power.topk(min(_FREQUENCIES, int(inside.sum()))).indices
        if len(strongest) == 0 or not float(power[strongest].sum()) > 0:
            raise ValueError("the views do not vary over the scan; they show no defocus")
        self.q = torch.stack([qx.flatten()[strongest], qy.flatten()[strongest]], 1).numpy()
        self.values = spectra.flatten(1)[:, strongest].T.contiguous().numpy()  # (F, M)
        # The fading correlates neighbours: they are left out together, and the strongest cells
        # are distributed first.
        cell = np.floor_divide(np.rint(self.q * acquisition.field), _CELL)
        _, first_index, cell_index = np.unique(cell, axis=0, return_index=True, return_inverse=True)
        self.part = first_index.argsort().argsort()[cell_index.ravel()] % PARTS
        # The view of a pixel on the rim is displaced according to the lit part of the pixel.
        samples = acquisition.view_samples
        inside_disc = optics.aperture(
            (samples**2).sum(-1), acquisition.wavelength, acquisition.semiangle
        )
        centroid = (samples * inside_disc[..., None]).sum(1) / inside_disc.sum(1, keepdim=True)
        self.angles = centroid.numpy() * acquisition.wavelength
        self.side = _OVERSAMPLING * (2 * int(np.abs(index).max()) + 1)
        self.scale = acquisition.detector_pixel * 1e-3 * self.side
        self.distortion = acquisition.distortion.numpy()
        self.wavelength = acquisition.wavelength
        self.acquisition = acquisition
        self.radius = acquisition.semiangle * 1e-3 / acquisition.wavelength
        self.pixel = acquisition.detector_pixel * 1e-3 / acquisition.wavelength
        searched = self.values[:_SEARCHED]
        grid = np.zeros((len(searched), self.side, self.side), dtype=np.complex64)
        grid[:, index[:, 0], index[:, 1]] = searched
        self.power = (np.abs(scipy.fft.fft2(grid)) ** 2).astype(np.float32)

    def rough(self, matrices: NDArray[np.float64]) -> NDArray[np.float64]:
        """Power for many M ``(T, 2, 2)`` [Å/rad], by linear interpolation ``(T,)``."""
        frequency_index, q = np.arange(len(self.power)), self.q[: len(self.power)]
        matrices = matrices @ self.distortion  # from the places of pixels
        powers = np.empty(len(matrices))
        for start in range(0, len(matrices), 64):
            position = np.einsum("fi,tij->tfj", q, matrices[start : start + 64]) * self.scale
            lower_pixel = np.floor(position).astype(np.intp)
            fraction = (position - lower_pixel).astype(np.float32)
            x0, y0 = (lower_pixel[..., a] % self.side for a in (0, 1))
            x1, y1 = (x0 + 1) % self.side, (y0 + 1) % self.side
            px, py = fraction[..., 0], fraction[..., 1]
            lower_row = (
                self.power[frequency_index, x0, y0] * (1 - px)
                + self.power[frequency_index, x1, y0] * px
            )
            upper_row = (
                self.power[frequency_index, x0, y1] * (1 - px)
                + self.power[frequency_index, x1, y1] * px
            )
            total = lower_row * (1 - py) + upper_row * py
            powers[start : start + 64] = total.sum(1, dtype=np.float64)
        return powers

    def _covered(self, square: NDArray[np.float64]) -> NDArray[np.float32]:
        """Fraction of a pixel inside the disc, from its squared distance [Å⁻²]."""
        depth = (self.radius - np.sqrt(np.maximum(square, 0)).astype(np.float32)) / self.pixel
        covered: NDArray[np.float32] = np.clip(depth + np.float32(0.5), 0, 1)
        return covered

    def explained(
        self, point: NDArray[np.float64], beside: NDArray[np.float64], transposed: bool
    ) -> NDArray[np.float64]:
        """Power of every frequency that two side bands at this defocus explain ``(F,)``."""
        defocus = float(np.hypot(*point))
        turn = detector_axes(math.degrees(math.atan2(point[1], point[0])), transposed).numpy()
        k = self.angles @ turn.T / self.wavelength
        scan = self.acquisition
        along, across, a, b = beside
        q = self.q @ np.linalg.inv(drift_matrix((along, across), scan.step, scan.scan_shape))
        cross = q @ k.T
        skew = q @ (k @ np.array([[a, b], [b, -a]])).T if a or b else 0.0
        length = (q**2).sum(1)[:, None]
        # exp(−2πi·λ(C₁₀ + A)k·q), with C₁₀ = −defocus, removes the displacement of a view.
        angle = 2 * np.pi * self.wavelength * defocus
        turned = np.exp((1j * angle * (cross - skew / defocus)).astype(np.complex64))
        turned *= self.values
        sides, sums = [], []
        for sign in (-1, 1):
            square = (k**2).sum(1) + length + 2 * sign * cross
            side = self._covered(square)
            band = turned * side
            # Of a pixel that the band's edge crosses, only the part inside counts: its middle lies
            # further in, towards −sign·q, by half of the part that is not covered.
            crossed = np.nonzero((side > 0) & (side < 1))
            towards = (-sign * length - cross)[crossed] / np.sqrt(square[crossed])
            phase_shift = (1 - side[crossed]) * (self.pixel / 2 * angle) * towards
            band[crossed] *= np.exp(1j * phase_shift)
            sides.append(side)
            sums.append(band.sum(1))
        (minus, plus), (first_sum, second_sum) = sides, sums
        # The Gram matrix of the two, regularised where they cover the same views.
        a, d = ((side**2).sum(1) + 0.1 for side in (minus, plus))
        c = (minus * plus).sum(1)
        overlap_power = 2 * c * (first_sum.conj() * second_sum).real
        power = d * np.abs(first_sum) ** 2 + a * np.abs(second_sum) ** 2 - overlap_power
        explained_power: NDArray[np.float64] = power.astype(np.float64) / (a * d - c**2)
        return explained_power

    def likelihood(self, explained: NDArray[np.float64]) -> NDArray[np.float64]:
        """Logarithm of the likelihood of trials' explained power, by `_SIGNALS` ``(T, F, S)``.

        Each ratio of signal to noise is as likely as its share in the frequency's ring, which is
        estimated from the first trial (empirical Bayes): in glass most frequencies of a ring hold
        some signal, in a crystal a few hold much and the others none.
        """
        total = (np.abs(self.values) ** 2).sum(1)
        noise = float(np.median((total - explained[0]) / max(1, self.values.shape[1] - 2)))
        noise = max(noise, 1e-9 * float(total.mean()))  # of views without noise
        # Two side bands are two complex amplitudes.
        likelihood: NDArray[np.float64] = np.multiply.outer(explained / noise, _FRACTIONS)
        likelihood -= 2 * np.log1p(_SIGNALS)
        ring = (np.hypot(*self.q.T) * min(self.acquisition.field)).astype(int) // _CELL
        member = np.eye(ring.max() + 1)[ring]
        shares = np.zeros(likelihood.shape[1:])
        for _ in range(_ROUNDS):
            sums = member.T @ softmax(likelihood[0] + shares, 1)
            shares = member @ np.log(np.maximum(sums, 1e-30))
        likelihood += shares
        return likelihood

    def reliability(self, explained: NDArray[np.float64]) -> NDArray[np.float64]:
        """Fraction of the explained power that is not noise, a Wiener weight ``(F,)``.

        By its own power alone, a frequency whose noise happens to fit a trial would hold the
        estimate there. By the mean of its ring alone, Bragg peaks would count too little.
        """
        weight: NDArray[np.float64] = softmax(self.likelihood(explained[None])[0], 1) @ _FRACTIONS
        return weight

    def evidence(
        self, points: NDArray[np.float64], distortions: NDArray[np.float64], transposed: bool
    ) -> NDArray[np.float64]:
        """Logarithm of the likelihood of trials over that of the first ``(T,)``.

        Fading the edge makes neighbouring frequencies alike, so that they count half.
        """
        explained = np.stack(
            [self.explained(p, d, transposed) for p, d in zip(points, distortions, strict=True)]
        )
        total = logsumexp(self.likelihood(explained), 2).sum(1)
        gain: NDArray[np.float64] = (total - total[0]) / 2
        return gain
