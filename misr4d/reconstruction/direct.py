"""Direct ptychography with up-sampling: the linear estimator that everything else must beat.

For a weak object exp(iφ − aφ) the spectrum of view k is I_k(q) = i·φ(q)·γ_k(q), with

    γ_k(q) = (1 + ia)·ψ*(k)ψ(k−q) − (1 − ia)·ψ(k)ψ*(k+q),   ψ = A·exp(−iχ),

where a is the amplitude contrast, zero for a pure phase object. The scan samples each view too
coarsely, so that a sampled frequency holds r² frequencies of the object, its aliases. The M views
see them with different weights γ, because defocus displaces each view differently: M linear
equations for r² unknowns at each frequency, solved here by least squares with a prior.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal, get_args

import torch
from torch import Tensor

from misr4d.core import optics
from misr4d.core.acquisition import UPSAMPLING, Acquisition, nearest_regime

__all__ = [
    "AMPLITUDE_CONTRAST",
    "DirectPtychography",
    "Statistic",
    "covering_factor",
    "stack_defoci",
    "starting_point",
]

Solver = Literal["joint", "wiener", "obf", "ssb"]

AMPLITUDE_CONTRAST = {"atomic": 0.05, "molecular": 0.01}
"""Amplitude contrast by regime: our choice, near the best on draws of the corpus.

``benchmarks/calibrate_direct.py`` finds the best, and
:func:`misr4d.reconstruction.tuned.contrast_tuning` says by how little. The shipped networks are
trained on images with these values.
"""

# Rings of the spectrum differ from their neighbours' mean by as much as this factor (our choice).
_RING_SPREAD = 3.0
# Share of the largest Gram eigenvalue's scale below which a direction counts as not measured.
_RANK_TOLERANCE = 1e-3


def covering_factor(acquisition: Acquisition) -> int:
    """Smallest up-sampling whose grid carries (to 5 %) the transfer limit 2α."""
    periods = max(acquisition.step) * 2 / acquisition.information_limit
    return max(1, math.ceil(0.95 * periods))


def stack_defoci(
    measurements: Sequence[tuple[Tensor, Acquisition]],
) -> tuple[Tensor, tuple[Acquisition, ...]]:
    """Join measurements of one specimen at several defoci into one stack of views.

    Parameters
    ----------
    measurements : sequence of (Tensor, Acquisition)
        Views ``(..., M_i, Rx, Ry)`` and what they were measured with; scan, energy and semi-angle
        are the same.

    Returns
    -------
    Tensor, tuple of Acquisition
        Views ``(..., ΣM_i, Rx, Ry)`` and acquisitions, both as :class:`DirectPtychography` takes
        them.

    Raises
    ------
    ValueError
        If there is no measurement, they differ in more than defocus and detector, or views do
        not fit their acquisition.
    """
    acquisitions = _same_scan([a for _, a in measurements])
    for views, acquisition in measurements:
        expected = (acquisition.number_of_views, *acquisition.scan_shape)
        if tuple(views.shape[-3:]) != expected:
            raise ValueError(
                f"views at a defocus of {acquisition.defocus:g} Å have shape "
                f"{tuple(views.shape)}; expected (..., {', '.join(map(str, expected))})"
            )
    return torch.cat([views for views, _ in measurements], -3), acquisitions


def _same_scan(acquisitions: Sequence[Acquisition]) -> tuple[Acquisition, ...]:
    """Return the acquisitions if they can be solved together."""
    if not acquisitions:
        raise ValueError("there is no acquisition; expected one or more")
    for name in ("scan_shape", "step", "energy", "semiangle"):
        values = {getattr(a, name) for a in acquisitions}
        if len(values) > 1:
            raise ValueError(
                f"the acquisitions have {name} {sorted(values)}; expected one for all: only "
                "defocus and detector may differ"
            )
    return tuple(acquisitions)


@dataclass(frozen=True)
class Statistic:
    """Everything that the views tell about a weak phase, and their noise.

    Parameters
    ----------
    score : Tensor
        Σ_k γ_k*(q)·(−i)·I_k(q)/m_k ``(N, Rx·Ry, r²)``, complex64, m_k the share of view k's pixel
        that the disc lights: linear in the counts.
    noise : Tensor
        Variance of a fully lit view's spectrum that no object explains ``(N,)``; that of view k is
        m_k times as large.
    """

    score: Tensor
    noise: Tensor


class DirectPtychography:
    """Wiener direct ptychography on a grid finer than the scan.

    Construction fixes everything that does not depend on the electrons; the call is linear algebra
    on a few thousand small systems.

    Parameters
    ----------
    acquisition : Acquisition or sequence of them
        Its defocus should be counted from the middle of the specimen: ``refocused``. Several, of
        different defoci, are solved together: their normal equations add up, and what one
        defocus transfers weakly another may transfer well. Their views are stacked; see
        :func:`stack_defoci`.
    upsampling : int
        Output pixels per scan step.
    aliases : int, optional
        Factor whose aliases are solved; at least `upsampling`, and by default enough to cover 2α.
        The result is cropped in Fourier space to `upsampling`.
    amplitude_contrast : float
        Ratio a of absorption to phase. Electrons scattered out of the aperture are lost to every
        view; at the lowest frequencies, where phase contrast vanishes, that is all there is.
    doses : sequence of float, optional
        Relative doses of several acquisitions, by which their views are weighted; by default
        equal.
    device : torch.device or str
        Where to compute.

    Raises
    ------
    ValueError
        If step, defocus and detector leave the aliases under-determined, if several acquisitions
        differ in their scan, or the doses are not one positive number for each.

    References
    ----------
    Rodenburg, McCallum & Nellist, Ultramicroscopy 48, 304 (1993), for the linear inversion;
    Yang et al., Ultramicroscopy 151, 232 (2015), for its double-overlap weights.
    """

    def __init__(
        self,
        acquisition: Acquisition | Sequence[Acquisition],
        upsampling: int = 3,
        *,
        aliases: int | None = None,
        amplitude_contrast: float = 0.0,
        doses: Sequence[float] | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        acquisitions = [acquisition] if isinstance(acquisition, Acquisition) else list(acquisition)
        self.acquisitions = _same_scan(acquisitions)
        self.acquisition = self.acquisitions[0]
        most_displaced = max(self.acquisitions, key=lambda a: a.largest_view_shift)
        most_displaced.check_upsampling(upsampling)
        if aliases is None:
            aliases = max(upsampling, covering_factor(self.acquisition))
        if aliases < upsampling:
            raise ValueError(f"aliases is {aliases}; expected at least upsampling, {upsampling}")
        most_displaced.check_upsampling(aliases)
        if not (math.isfinite(amplitude_contrast) and amplitude_contrast >= 0):
            raise ValueError(
                f"amplitude_contrast is {amplitude_contrast!r}; expected a number of 0 or more"
            )
        self.upsampling = upsampling
        self.aliases = aliases
        self.amplitude_contrast = amplitude_contrast
        self.number_of_views = sum(a.number_of_views for a in self.acquisitions)
        self._scale = self._whitening(doses).to(device)
        self._lit = self._vacuum().sqrt().to(device)
        kernels = [self._kernel(a, torch.device(device)) for a in self.acquisitions]
        kernel = torch.cat(kernels, 1) if len(kernels) > 1 else kernels[0]
        kernel *= self._scale[:, None]
        self._adjoint = kernel.mH.contiguous()  # (F, r², M)
        self._gram = self._adjoint @ kernel  # (F, r², r²)
        self._weight = self._gram.diagonal(dim1=-2, dim2=-1).real.clone()  # (F, r²)
        self._power = self._gram.abs() ** 2
        self._measured = self._weight > 1e-6 * self._weight.max()
        self._ring = self._rings(torch.device(device))
        identity = torch.eye(aliases**2, device=device)
        floor = _RANK_TOLERANCE * self._weight.max()
        self._rough = torch.linalg.inv(self._gram + floor * identity)
        hat_matrix = self._rough @ self._gram
        trace = hat_matrix.diagonal(dim1=-2, dim2=-1).real.sum()
        number_of_values = self.number_of_views * math.prod(self.acquisition.scan_shape)
        self._freedom = float(number_of_values - 2 * trace + (hat_matrix.abs() ** 2).sum())

    def _vacuum(self) -> Tensor:
        """Join the vacuum intensities of the pixels of all acquisitions ``(M,)``."""
        return torch.cat([a.view_illumination for a in self.acquisitions]).float()

    def _whitening(self, doses: Sequence[float] | None) -> Tensor:
        """Factor that makes the noise of all views equal ``(M,)``."""
        count = len(self.acquisitions)
        relative_doses = [1.0] * count if doses is None else [float(d) for d in doses]
        if len(relative_doses) != count or not all(
            math.isfinite(d) and d > 0 for d in relative_doses
        ):
            raise ValueError(
                f"doses is {doses!r}; expected a positive number for each of {count} acquisitions"
            )
        # A pixel that is a larger part of the disc gets more electrons at the same dose.
        electrons = [
            d / a.pixels_per_disc for d, a in zip(relative_doses, self.acquisitions, strict=True)
        ]
        mean = sum(electrons) / count
        weight = torch.cat(
            [
                torch.full((a.number_of_views,), e / mean)
                for a, e in zip(self.acquisitions, electrons, strict=True)
            ]
        )
        # A pixel on the rim counts fewer electrons, and its noise has their variance.
        return (weight / self._vacuum()).sqrt()

    def _kernel(self, acq: Acquisition, device: torch.device) -> Tensor:
        """γ for every sampled frequency, view and alias ``(Rx·Ry, M, r²)``, complex64."""
        lam = acq.wavelength
        shape = acq.output_shape(self.aliases)
        # From minus to plus Nyquist, both included, so that −q lies on the grid with every q.
        fx, fy = (
            torch.arange(-(n // 2), n // 2 + 1, dtype=torch.float64, device=device)
            * (self.aliases / (n * step))
            for n, step in zip(shape, acq.step, strict=True)
        )
        qx, qy = acq.specimen_frequencies(fx[:, None], fy[None, :])
        along_x = torch.stack(acq.specimen_frequencies(fx, torch.zeros_like(fx)))
        along_y = torch.stack(acq.specimen_frequencies(torch.zeros_like(fy), fy))
        a = self.amplitude_contrast
        samples = acq.view_samples.to(device)
        # χ is quadratic: χ(k−q) − χ(k) = χ(q) − ∇χ(k)·q, and ∇χ(k)·q a sum along both axes.
        slope = 2 * math.pi * optics.registering_shift(samples, lam, acq.defocus, acq.astigmatism)
        phase_factor = torch.polar(
            torch.ones(1, 1, dtype=fx.dtype, device=device), -acq.chi(qx, qy)
        )
        kernel = torch.empty(
            (acq.scan_shape[0] * acq.scan_shape[1], len(samples), self.aliases**2),
            dtype=torch.complex64,
            device=device,
        )
        for index, pixel in enumerate(samples):
            # ψ*(k)·ψ(k−q); its mirror image, conjugated, is ψ(k)·ψ*(k+q).
            minus = torch.zeros((len(fx), len(fy)), dtype=torch.complex128, device=device)
            aperture_values = optics.aperture((pixel**2).sum(-1), lam, acq.semiangle)
            for (kx, ky), to_x, to_y, transmitted in zip(
                pixel, slope[index] @ along_x, slope[index] @ along_y, aperture_values, strict=True
            ):
                overlap = optics.aperture((kx - qx) ** 2 + (ky - qy) ** 2, lam, acq.semiangle)
                ramp = (
                    torch.polar(transmitted, to_x)[:, None]
                    * torch.polar(transmitted, to_y)[None, :]
                )
                minus += overlap * ramp
            minus *= phase_factor
            gamma = (1 + 1j * a) * minus - (1 - 1j * a) * minus.flip(0, 1).conj()
            gamma = torch.fft.ifftshift(gamma[: shape[0], : shape[1]])
            kernel[:, index] = self._gather(gamma / len(pixel))
        return kernel

    def information(self) -> Tensor:
        """Σ_k |γ_k(q)|²/m_k over the views, m_k the lit share of their pixels ``(r·Rx, r·Ry)``.

        On the output grid, in the order of ``torch.fft.fft2``. Several acquisitions add up, each
        weighted by its dose over their mean dose.
        """
        fine_spectrum = self._spread(self._weight.to(torch.complex128))
        shape = self.acquisition.output_shape(self.upsampling)
        return optics.resize_spectrum(fine_spectrum, shape).real.cpu()

    def _gather(self, spectrum: Tensor) -> Tensor:
        """Group a fine spectrum by sampled frequency: ``(r·Rx, r·Ry) → (Rx·Ry, r²)``."""
        r, (nx, ny) = self.aliases, self.acquisition.scan_shape
        return spectrum.reshape(r, nx, r, ny).permute(1, 3, 0, 2).reshape(nx * ny, r * r)

    def _spread(self, grouped: Tensor) -> Tensor:
        """Undo :meth:`_gather`."""
        r, (nx, ny) = self.aliases, self.acquisition.scan_shape
        return grouped.reshape(nx, ny, r, r).permute(2, 0, 3, 1).reshape(r * nx, r * ny)

    def _rings(self, device: torch.device) -> Tensor:
        """Ring of |q| that each unknown belongs to ``(Rx·Ry, r²)``; ring 0 is the mean alone."""
        acq = self.acquisition
        shape = acq.output_shape(self.aliases)
        spacing = (acq.step[0] / self.aliases, acq.step[1] / self.aliases)
        qx, qy = acq.specimen_frequencies(*optics.frequencies(shape, spacing, device=device))
        radius = (qx**2 + qy**2).sqrt() * min(acq.field)
        # Our choice: rings one frequency wide, or 6 % of the radius once that is wider.
        edges = [0.5]
        while edges[-1] < float(radius.max()):
            edges.append(edges[-1] + max(1.0, 0.06 * edges[-1]))
        bounds = torch.tensor(edges, dtype=radius.dtype, device=device)
        return self._gather(torch.bucketize(radius.contiguous(), bounds))

    def __call__(
        self,
        views: Tensor,
        *,
        prior: float | None = None,
        solver: Solver = "joint",
    ) -> Tensor:
        """Reconstruct the phase.

        Parameters
        ----------
        views : Tensor
            ``(..., M, Rx, Ry)``, relative to a fully lit pixel in vacuum, in the order of
            ``acquisition.view_frequencies``, one acquisition after the other. Leading axes are
            independent measurements.
        prior : float, optional
            Expected power density of the phase [rad²·Å²], the same at all frequencies. By default
            it is estimated ring by ring from the views themselves, and so is the noise.
        solver : {"joint", "wiener", "obf", "ssb"}
            How the aliases of a frequency are separated. ``joint`` solves them together. The
            others treat each as if the rest were noise, and differ in their weights: ``wiener``
            is least squares with the prior, ``obf`` (optimum bright field) has white noise at all
            frequencies, ``ssb`` (single side band) takes the phase of γ alone and divides by the
            sum of its moduli. `prior` matters to the first two.

        Returns
        -------
        Tensor
            ``(..., r·Rx, r·Ry)`` [rad], of zero mean: the views do not carry the mean phase.

        Raises
        ------
        ValueError
            If the views do not fit the acquisition or are not finite, or the prior is not
            positive.
        """
        self.check_views(views)
        if prior is not None and not (math.isfinite(prior) and prior > 0):
            raise ValueError(f"prior is {prior!r} rad²·Å²; expected a positive number")
        if solver not in get_args(Solver):
            raise ValueError(f"solver is {solver!r}; expected one of {get_args(Solver)}")
        if solver == "ssb":
            # This method takes the counts unweighted: it has no model of the noise.
            spectra = self._spectra(views.reshape(-1, *views.shape[-3:])) * self._lit
            modulus = self._adjoint.abs() * self._lit
            kernel_phases = self._adjoint / self._adjoint.abs().clamp_min(1e-12)
            phase = -1j * torch.einsum("fam,nfm->nfa", kernel_phases, spectra)
            images = self._image(phase / modulus.sum(-1).clamp_min(1e-12))
        else:
            images = self.solve(self.statistic(views), prior=prior, solver=solver)
        return images.reshape(*views.shape[:-3], *images.shape[1:])

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self._gram.device

    def forget_views(self) -> None:
        """Free the memory of what only views need: afterwards, statistics alone can be solved."""
        self._adjoint = self._adjoint[..., :0].clone()

    def check_views(self, views: Tensor) -> None:
        """Raise ``ValueError`` unless views fit the acquisition and are finite."""
        if self._adjoint.shape[-1] == 0:
            raise ValueError("this method forgot its views; make another one to give it views")
        expected = (self.number_of_views, *self.acquisition.scan_shape)
        if tuple(views.shape[-3:]) != expected:
            raise ValueError(
                f"views have shape {tuple(views.shape)}; expected (..., {expected[0]}, "
                f"{expected[1]}, {expected[2]}) for this acquisition"
            )
        if not torch.isfinite(views).all():
            raise ValueError("views hold values that are not finite; mask or replace them first")

    def statistic(self, views: Tensor) -> Statistic:
        """Sum the views into the sufficient statistic of a weak phase.

        Parameters
        ----------
        views : Tensor
            ``(..., M, Rx, Ry)`` as for the call; leading axes are flattened into N.
        """
        stacks = views.reshape(-1, *views.shape[-3:])
        scores, noises = [], []
        # One at a time: the spectra of a stack are the largest array here.
        for measurement in stacks:
            spectra = self._spectra(measurement[None])
            score = -1j * (self._adjoint @ spectra[0, ..., None])[..., 0]
            scores.append(score)
            noises.append(self._noise(spectra[0], score))
        return Statistic(torch.stack(scores), torch.stack(noises))

    def solve(
        self,
        statistic: Statistic,
        *,
        prior: float | None = None,
        solver: Literal["joint", "wiener", "obf"] = "joint",
        signal_scale: float = 1.0,
    ) -> Tensor:
        """Reconstruct from the sufficient statistic ``(N, r·Rx, r·Ry)`` [rad].

        Parameters
        ----------
        statistic : Statistic
        prior, solver
            As for the call.
        signal_scale : float
            Factor on the expected power: above one, it smooths less and keeps more noise.
        """
        score = statistic.score
        if solver == "obf":
            # Scaled so that a frequency of the mean weight keeps its modulus.
            mean = self._weight[self._measured].mean()
            return self._image(score / (self._weight.clamp_min(1e-12) * mean).sqrt())
        damping = self._damping(statistic, prior) / signal_scale
        return self._image(self._least_squares(score, damping, solver))

    def estimates(self, statistic: Statistic, signal_scales: Sequence[float]) -> Tensor:
        """Joint solutions under several factors on the expected power ``(N, T, r·Rx, r·Ry)``."""
        damping = self._damping(statistic, None)
        phases = [self._least_squares(statistic.score, damping / s, "joint") for s in signal_scales]
        return torch.stack([self._image(phase) for phase in phases], 1)

    def _least_squares(
        self, score: Tensor, damping: Tensor, solver: Literal["joint", "wiener"]
    ) -> Tensor:
        if solver == "wiener":
            return score / (self._weight + damping)
        phases = []
        for measurement_score, measurement_damping in zip(score, damping, strict=True):
            normal = self._gram + torch.diag_embed(measurement_damping).to(self._gram.dtype)
            factor = torch.linalg.cholesky(normal)
            phases.append(torch.cholesky_solve(measurement_score[..., None], factor)[..., 0])
        return torch.stack(phases)

    def whitened(self, statistic: Statistic) -> Tensor:
        """Image in which the noise is white with unit variance ``(N, r·Rx, r·Ry)``.

        The optimum bright field in units of its own noise: visible structure in it is signal.
        """
        scale = (self._weight.clamp_min(1e-12) * statistic.noise[:, None, None]).sqrt()
        shape = self.acquisition.output_shape(self.upsampling)
        white: Tensor = self._image(statistic.score / scale) / math.sqrt(math.prod(shape))
        return white

    def draw_noise(self, variance: Tensor, generator: torch.Generator) -> Tensor:
        """Draw what counting noise adds to the score ``(N, Rx·Ry, r²)``.

        Since the score is linear in the counts, noise of the right covariance can be added to a
        noiseless one: no views are drawn.

        Parameters
        ----------
        variance : Tensor
            Variance of a fully lit view's spectrum ``(N,)``: mean intensity relative to vacuum,
            over the electrons that a fully lit pixel counts there in the whole scan.
        generator : torch.Generator
            Source of randomness, on the CPU.
        """
        shape = (len(variance), *self._weight.shape)
        draws = torch.randn((*shape, 2), generator=generator)
        white = torch.view_as_complex(draws).to(self._gram.device) * math.sqrt(0.5)
        noise = torch.einsum("fab,nfb->nfa", self._noise_factor, white)
        fine_spectra = torch.stack([self._spread(spectrum) for spectrum in noise])
        # The spectrum of a real image, with the same covariance: its Hermitian part, times √2.
        mirrored = torch.roll(torch.flip(fine_spectra, (-2, -1)), (1, 1), (-2, -1)).conj()
        hermitian_spectra = (fine_spectra + mirrored) * math.sqrt(0.5)
        grouped = torch.stack([self._gather(spectrum) for spectrum in hermitian_spectra])
        scaled_noise: Tensor = grouped * variance.to(grouped.device).sqrt()[:, None, None]
        return scaled_noise

    @cached_property
    def _noise_factor(self) -> Tensor:
        """Matrix square root of the Gram matrix ``(Rx·Ry, r², r²)``."""
        values, vectors = torch.linalg.eigh(self._gram)
        root: Tensor = (vectors * values.clamp_min(0).sqrt()[:, None, :]) @ vectors.mH
        return root

    def _spectra(self, stacks: Tensor) -> Tensor:
        """Whitened spectra of the views without their mean ``(N, Rx·Ry, M)``."""
        views = stacks.to(self._gram.device, torch.float32)
        spectra: Tensor = torch.fft.fft2(views, norm="forward").flatten(2).mT * self._scale
        spectra[:, 0] = 0  # the mean intensity carries no information about the phase
        return spectra

    def _image(self, phase: Tensor) -> Tensor:
        """Images of grouped spectra: ``(N, Rx·Ry, r²) → (N, r·Rx, r·Ry)``."""
        determined = self._measured & (self._ring > 0)
        phase = torch.where(determined, phase, torch.zeros_like(phase))
        shape = self.acquisition.output_shape(self.upsampling)
        spectra = torch.stack(
            [
                optics.resize_spectrum(self._spread(grouped_spectrum), shape)
                for grouped_spectrum in phase
            ]
        )
        image: Tensor = torch.fft.ifft2(spectra, norm="forward").real
        return image

    def _damping(self, statistic: Statistic, prior: float | None) -> Tensor:
        """Noise over expected power of every unknown ``(N, F, r²)``."""
        noise = statistic.noise[:, None, None]
        if prior is not None:
            flat = torch.full_like(self._weight, prior / math.prod(self.acquisition.field))
            return noise / flat
        return noise / self._spectrum(statistic.score, noise)[:, self._ring]

    def _noise(self, spectra: Tensor, score: Tensor) -> Tensor:
        """Variance of a view's spectrum that no object explains.

        At low dose this is the shot noise; at high dose it is what the linear model misses. The
        degrees of freedom are those of the residual of a ridge regression.
        """
        rough = (self._rough @ score[..., None])[..., 0]
        predicted = (self._gram @ rough[..., None])[..., 0]
        residual = (
            (spectra.abs() ** 2).sum(dtype=torch.float64)
            - 2 * (rough.conj() * score).real.sum(dtype=torch.float64)
            + (rough.conj() * predicted).real.sum(dtype=torch.float64)
        )
        return torch.clamp(residual / self._freedom, min=1e-16).float()

    def _spectrum(self, score: Tensor, noise: Tensor, iterations: int = 15) -> Tensor:
        """Estimate the object's isotropic power spectrum, ring by ring ``(N, rings)`` [rad²].

        Least squares on E|score|² = |Gram|²·S + noise·Gram, whose variance is its square, iterated,
        because both the weights and the aliases' share depend on S. Where a ring transfers almost
        nothing, as near 2α and at the lowest frequencies, noise would be taken for power: such a
        ring is shrunk towards its neighbours, each by its error.
        """
        count = int(self._ring.max()) + 1
        ring = self._ring.flatten()
        power = torch.zeros((len(score), count), device=score.device)
        observed = score.abs() ** 2

        def total(values: Tensor) -> Tensor:
            return torch.zeros_like(power).index_add(1, ring, values.flatten(1))

        for _ in range(iterations):
            own_power = self._weight**2 * power[:, self._ring]
            signal_power = (self._power @ power[:, self._ring].permute(1, 2, 0)).permute(2, 0, 1)
            model = signal_power + noise * self._weight
            inverse = self._measured * (self._weight / torch.where(self._measured, model, 1.0)) ** 2
            numerator = total((observed - model + own_power) * inverse)
            denominator = total(self._weight**2 * inverse)
            power = torch.where(
                denominator > 0, numerator / denominator.clamp_min(1e-37), 0.0
            ).clamp_min(0)
        # Precision of a ring's power if the ring were empty, so only noise and its aliases count.
        # In double precision, since these are fourth powers.
        noise_and_aliases = torch.where(
            self._measured, (model - own_power).double(), 1.0
        ).clamp_min(1e-37)
        certainty = torch.zeros(power.shape, dtype=torch.float64, device=score.device).index_add(
            1, ring, (self._measured * (self._weight**2 / noise_and_aliases) ** 2).flatten(1)
        )[:, None, 1:]
        kernel = torch.tensor([1.0, 2.0, 3.0, 2.0, 1.0], device=score.device, dtype=torch.float64)
        kernel, ring_power = kernel[None, None], power.double()[:, None, 1:]
        neighbour_weight = torch.conv1d(certainty, kernel, padding=2).clamp_min(1e-37)
        neighbour_mean = torch.conv1d(ring_power * certainty, kernel, padding=2) / neighbour_weight
        # Weight of the ring against its neighbours' mean: 0 for a ring that is not known at all.
        ring_weight = certainty * (_RING_SPREAD * neighbour_mean).square()
        shrunk = (ring_power * ring_weight + neighbour_mean) / (ring_weight + 1)
        # A ring that noise drove to zero keeps a tenth of its neighbours' mean (our choice).
        smooth = torch.maximum(shrunk, 0.1 * neighbour_mean)[:, 0].clamp_min(1e-14).to(power.dtype)
        return torch.cat([smooth[:, :1], smooth], 1)


@lru_cache(maxsize=2)
def starting_point(
    acquisition: Acquisition,
    upsampling: int = UPSAMPLING,
    *,
    amplitude_contrast: float | None = None,
    device: str = "cpu",
) -> DirectPtychography:
    """Set up direct ptychography as `DirectInformed` starts from it; the last two are cached.

    Parameters
    ----------
    acquisition : Acquisition
        Its defocus counted from the specimen's middle.
    upsampling : int
        Pixels of the image per scan step; as many aliases are solved, and no more.
    amplitude_contrast : float, optional
        By default that of the regime with the nearest step.
    device : str
        Where to compute.
    """
    if amplitude_contrast is None:
        amplitude_contrast = AMPLITUDE_CONTRAST[nearest_regime(acquisition)]
    return DirectPtychography(
        acquisition,
        upsampling,
        aliases=upsampling,
        amplitude_contrast=amplitude_contrast,
        device=device,
    )
