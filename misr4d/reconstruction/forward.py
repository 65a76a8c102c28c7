"""Expected views of a phase, differentiable: the forward model of the refinement."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from misr4d.core import optics
from misr4d.core.acquisition import Acquisition

__all__ = ["ExpectedViews"]

_WAVES = 1 << 22  # complex values in a batch of plane waves: 32 MB

_CACHED = 1 << 17  # of the boxes that a core works on at once: 1 MB, by trial

_KEPT = 40_000_000  # of the pupils that are kept from one evaluation to the next: 320 MB

_FINEST = 0.75  # Å: the wave field's sampling is at most this


class ExpectedViews:
    """Expected views of a phase, by multislice of tilted plane waves; differentiable.

    The model of :func:`misr4d.simulate.reciprocity.simulate_views` for a specimen that is the same
    at all depths: each of n slices holds 1/n of the phase.

    Parameters
    ----------
    acquisition : Acquisition
        Its defocus counted from the middle of the specimen.
    upsampling : int
        Pixels of the phase per scan step.
    thickness : float
        Of the specimen [Å].
    slices : int
        How many; one is the phase-object approximation in the middle of the specimen.
    device : torch.device or str
        Where to compute.

    Raises
    ------
    ValueError
        If the thickness or the number of slices is out of range.
    """

    def __init__(
        self,
        acquisition: Acquisition,
        upsampling: int = 3,
        *,
        thickness: float = 0.0,
        slices: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        if slices < 1 or not (math.isfinite(thickness) and thickness >= 0):
            raise ValueError(
                f"thickness is {thickness!r} Å in {slices} slices; expected 0 Å or more in 1 or "
                "more slices"
            )
        self.acquisition, self.slices, self.device = acquisition, slices, torch.device(device)
        self.image_shape = acquisition.output_shape(upsampling)
        factor = max(upsampling, math.ceil(max(acquisition.step) / _FINEST))
        self.shape = acquisition.output_shape(factor)
        self.samples = acquisition.view_samples.to(self.device)  # (M, S, 2)
        self.spacing = thickness / slices
        self._radius = acquisition.semiangle * 1e-3 / acquisition.wavelength
        # A wave's image holds the frequencies in the aperture around its own, which lie in a box.
        # On a scan that drifts the aperture is an ellipse: how far it reaches along each axis.
        axes = acquisition.scan_frequencies(torch.eye(2, dtype=torch.float64))
        half_sizes = [
            math.ceil(self._radius * reach * field_length + 0.5)
            for reach, field_length in zip(
                axes.norm(dim=0).tolist(), acquisition.field, strict=True
            )
        ]
        self.box = (2 * half_sizes[0] + 1, 2 * half_sizes[1] + 1)
        wave_frequencies = acquisition.scan_frequencies(acquisition.view_samples)
        box_centres = torch.round(wave_frequencies * torch.tensor(acquisition.field)).long()
        # (M, S, 2), counted from frequency zero
        self._corner = box_centres - torch.tensor(half_sizes)
        # There is no signal beyond the wave field's grid: it is padded as far as the boxes reach.
        lowest, highest = (
            self._corner.amin((0, 1)),
            self._corner.amax((0, 1)) + torch.tensor(self.box),
        )
        grid = torch.tensor(self.shape)
        self._margin = max(
            0, *(-lowest - grid // 2).tolist(), *(highest - (grid + 1) // 2).tolist()
        )
        self._kept: dict[tuple[int, int], tuple[float, Tensor]] = {}

    def __len__(self) -> int:
        return len(self.samples)

    def transmission(self, phase: Tensor) -> Tensor:
        """Transmission of one slice on the wave field's grid."""
        fine_phase = optics.fourier_resample(phase, self.shape)
        return torch.polar(torch.ones_like(fine_phase), fine_phase / self.slices)

    def batches(self) -> list[slice]:
        """Divide the views into batches that are computed at once, by memory."""
        grid = self.shape if self.slices > 1 else self.acquisition.scan_shape
        return self._divided(slice(None), _WAVES // math.prod(grid))

    def _divided(self, views: slice, waves: int) -> list[slice]:
        """Divide views into batches of about `waves` waves, each of at least one view."""
        start, stop, _ = views.indices(len(self))
        count = max(1, waves // self.samples.shape[1])
        return [slice(i, min(i + count, stop)) for i in range(start, stop, count)]

    def __call__(
        self, transmission: Tensor, views: slice = slice(None), *, defocus: Tensor | None = None
    ) -> Tensor:
        """Compute views ``(m, Rx, Ry)``, relative to a fully lit pixel in vacuum.

        Parameters
        ----------
        transmission : Tensor
            As from :meth:`transmission`.
        views : slice
            Which of them.
        defocus : Tensor, optional
            Scalar [Å], with respect to which to differentiate; by default the acquisition's.
        """
        spectra = self._spectra(transmission, self.samples[views].reshape(-1, 2))
        expected_views: Tensor = _Imaging.apply(spectra, defocus, self, views)  # type: ignore[no-untyped-call]
        return expected_views

    def chunks(self, views: slice) -> list[slice]:
        """Divide views into those whose boxes fit the cache of a core, or a device's memory."""
        capacity = _CACHED if self.device.type == "cpu" else _WAVES
        return self._divided(views, capacity // math.prod(self.box))

    def laid_out(self, spectrum: Tensor) -> Tensor:
        """Spectrum with frequency zero in the middle, padded so that it holds every box."""
        padding = (self._margin,) * 4
        padded: Tensor = functional.pad(torch.fft.fftshift(spectrum, (-2, -1)), padding)
        return padded

    def taken_back(self, padded: Tensor) -> Tensor:
        """Undo :meth:`laid_out`."""
        window = tuple(slice(self._margin, self._margin + n) for n in self.shape)
        spectrum: Tensor = torch.fft.ifftshift(padded[..., window[0], window[1]], (-2, -1))
        return spectrum

    def corners(self, views: slice) -> Tensor:
        """First corner of each wave's box in a spectrum from :meth:`laid_out` ``(m·S, 2)``."""
        unpadded_corners = self._corner[views].reshape(-1, 2)
        corners: Tensor = unpadded_corners + self._margin + torch.tensor(self.shape) // 2
        return corners

    def frequencies(self, views: slice) -> tuple[Tensor, Tensor]:
        """Frequencies of the boxes from each wave's own ``(m·S, box)`` or broadcast to it [Å⁻¹]."""
        acq = self.acquisition
        k = self.samples[views].reshape(-1, 2)
        corner = self._corner[views].reshape(-1, 2).to(self.device)
        steps = [torch.arange(n, device=self.device) for n in self.box]
        qx, qy = acq.specimen_frequencies(
            (corner[:, 0, None, None] + steps[0][:, None]) / acq.field[0],
            (corner[:, 1, None, None] + steps[1]) / acq.field[1],
        )
        return qx - k[:, 0, None, None], qy - k[:, 1, None, None]

    def pupils(self, views: slice, defocus: Tensor | None, dtype: torch.dtype) -> Tensor:
        """Aperture and aberrations of each wave in its box ``(m·S, box)``."""
        acq = self.acquisition
        c10 = acq.defocus if defocus is None else float(defocus)
        key = (views.start, views.stop)
        if (cached := self._kept.get(key)) and (cached[0], cached[1].dtype) == (c10, dtype):
            return cached[1]
        x, y = self.frequencies(views)
        x2, y2 = x**2, y**2
        # χ is a sum over the axes, so its phase factor is a product; the first slice lies above
        # the middle, from which the defocus counts.
        angle = math.pi * acq.wavelength * (c10 + (self.slices - 1) / 2 * self.spacing)
        # The angles are float64, whatever the precision of the image.
        axis_factors = [torch.exp(1j * (angle * square)).to(dtype) for square in (x2, y2)]
        pupil = axis_factors[0] * axis_factors[1]
        if any(acq.astigmatism):
            astigmatic_phase = optics.astigmatic_chi(x, y, acq.wavelength, acq.astigmatism)
            pupil *= torch.exp(-1j * astigmatic_phase).to(dtype)
        pupil.masked_fill_(x2 + y2 > self._radius**2 * (1 + 1e-9), 0)
        if self.samples[..., 0].numel() * math.prod(self.box) <= _KEPT:
            self._kept[key] = (c10, pupil)
        return pupil

    def _spectra(self, transmission: Tensor, k: Tensor) -> Tensor:
        """Spectrum behind all slices: one for all waves, or ``(B, X, Y)`` where they propagate."""
        if self.slices == 1:
            spectrum: Tensor = torch.fft.fft2(transmission, norm="forward")
            return spectrum
        lam = self.acquisition.wavelength
        sampling = tuple(s / n for s, n in zip(self.acquisition.field, self.shape, strict=True))
        qx, qy = self.acquisition.specimen_frequencies(
            *optics.frequencies(self.shape, (sampling[0], sampling[1]), device=self.device)
        )
        ax, ay = ((q - k[:, i, None, None]) ** 2 for i, q in enumerate((qx, qy)))
        angle = -math.pi * lam * self.spacing
        kx, ky = (torch.exp(1j * angle * a).to(transmission.dtype) for a in (ax, ay))
        u = transmission
        for _ in range(self.slices - 1):
            u = torch.fft.ifft2(torch.fft.fft2(u) * kx * ky) * transmission
        spectra: Tensor = torch.fft.fft2(u, norm="forward")
        return spectra


class _Imaging(torch.autograd.Function):
    """Views of a model from the spectra behind its specimen, and the derivative.

    The derivative is written out because there is one box for each wave. Here the boxes pass
    through the cache a few at a time; by automatic differentiation they would all go through
    memory.
    """

    @staticmethod
    def forward(
        ctx: Any, spectra: Tensor, defocus: Tensor | None, model: ExpectedViews, views: slice
    ) -> Tensor:
        views = slice(*views.indices(len(model)))
        ctx.model, ctx.views = model, views
        scan, samples = model.acquisition.scan_shape, model.samples.shape[1]
        laid_out = model.laid_out(spectra)
        needs_gradient = any(ctx.needs_input_grad)
        waves, images = [], []
        for chunk in model.chunks(views):
            box = _boxes(laid_out, model, chunk, views)
            box *= model.pupils(chunk, defocus, box.dtype)
            # Sampling in space is folding in frequency; where the box begins changes no modulus.
            folded = box.new_zeros((len(box), *scan))
            for scan_index, box_index in _folds(model):
                folded[scan_index] += box[box_index]
            wave = torch.fft.ifft2(folded, norm="forward")
            intensity = wave.real.square() + wave.imag.square()
            images.append(intensity.reshape(-1, samples, *scan).mean(1))
            if needs_gradient:
                waves.append(wave)
        ctx.save_for_backward(laid_out, defocus, *waves)
        return torch.cat(images)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None, None, None]:
        model, views = ctx.model, ctx.views
        laid_out, defocus, *waves = ctx.saved_tensors
        (gradient,) = gradients
        scan, samples = model.acquisition.scan_shape, model.samples.shape[1]
        conjugate_gradient = torch.zeros_like(laid_out)  # the conjugate of the derivative
        defocus_gradient = torch.zeros((), dtype=torch.float64, device=laid_out.device)
        for chunk, wave in zip(model.chunks(views), waves, strict=True):
            view_gradient = gradient[chunk.start - views.start : chunk.stop - views.start]
            weighted = wave.reshape(-1, samples, *scan) * (2 / samples * view_gradient)[:, None]
            folded = torch.fft.fft2(weighted.reshape(wave.shape)).conj().resolve_conj()
            pupil = model.pupils(chunk, defocus, wave.dtype)
            box = torch.empty_like(pupil)
            for scan_index, box_index in _folds(model):
                torch.mul(folded[scan_index], pupil[box_index], out=box[box_index])
            if ctx.needs_input_grad[1]:
                x, y = model.frequencies(chunk)
                focus_change = (box * _boxes(laid_out, model, chunk, views)).imag * (x**2 + y**2)
                defocus_gradient -= math.pi * model.acquisition.wavelength * focus_change.sum()
            corners = model.corners(chunk).tolist()
            first_wave = (chunk.start - views.start) * samples
            for index, (wave_box, (row, column)) in enumerate(zip(box, corners, strict=True)):
                target = (
                    conjugate_gradient
                    if conjugate_gradient.ndim == 2
                    else conjugate_gradient[first_wave + index]
                )
                target[row : row + wave_box.shape[0], column : column + wave_box.shape[1]] += (
                    wave_box
                )
        returned_gradient = defocus_gradient if ctx.needs_input_grad[1] else None
        return model.taken_back(conjugate_gradient).conj(), returned_gradient, None, None


def _boxes(laid_out: Tensor, model: ExpectedViews, chunk: slice, views: slice) -> Tensor:
    """Box of each wave of some views ``(m·S, box)``, from a spectrum for all or one for each."""
    corner, size = model.corners(chunk).to(laid_out.device), model.box
    all_boxes = laid_out.unfold(-2, size[0], 1).unfold(-2, size[1], 1)
    if laid_out.ndim == 2:
        return all_boxes[corner[:, 0], corner[:, 1]]
    first_wave = (chunk.start - views.start) * model.samples.shape[1]
    wave = torch.arange(first_wave, first_wave + len(corner), device=laid_out.device)
    return all_boxes[wave, corner[:, 0], corner[:, 1]]


def _folds(model: ExpectedViews) -> Iterator[tuple[Any, Any]]:
    """Yield pairs of indices: where to add on the scan's grid, and which part of the box to add."""
    scan = model.acquisition.scan_shape
    for row in range(0, model.box[0], scan[0]):
        for column in range(0, model.box[1], scan[1]):
            height = min(scan[0], model.box[0] - row)
            width = min(scan[1], model.box[1] - column)
            yield (
                (slice(None), slice(height), slice(width)),
                (slice(None), slice(row, row + height), slice(column, column + width)),
            )
