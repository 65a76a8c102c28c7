"""Views by reciprocity: tilted plane waves instead of one probe per position.

The amplitude that probe position R sends to detector frequency k is the image at R of a plane wave
of frequency −k that crosses the specimen backwards, seen through the probe's aperture and
aberrations. Plane waves therefore give every bright-field view of the whole field (Cowley 1969).

A detector pixel of finite size needs many plane waves. Referred to the middle of the specimen, the
exit wave changes slowly with the tilt. A few tilts are therefore propagated, and those between
them are interpolated, as beams are in the partitioned PRISM algorithm (Pelz et al. 2021).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from misr4d.core import optics
from misr4d.core.acquisition import Acquisition
from misr4d.specimens.potential import Potential

__all__ = ["simulate_views"]

_Node = tuple[int, int]

# Largest phase [rad], at the edge of the aperture, by which the wave that left either surface
# changes from one propagated tilt to the next: our choice, by benchmarks/finite_pixels.py.
_TILT_PHASE = 0.35

_TILT_MARGIN = 0.4  # of the band beyond the aperture: our choice, by the same

_PUPILS = 64  # number kept: in the study's geometry nine are enough for all plane waves


def simulate_views(
    potential: Potential,
    acquisition: Acquisition,
    *,
    source: float = 0.0,
    exact: bool | None = None,
    device: torch.device | str = "cpu",
    batch: int = 16,
) -> Tensor:
    """Simulate the bright-field views of a specimen at infinite dose by multislice.

    Parameters
    ----------
    potential : Potential
        Its cell is periodic and holds a whole number of scan steps.
    acquisition : Acquisition
    source : float
        Standard deviation of the effective source, a Gaussian, along one axis in the plane of the
        specimen [Å]: the incoherent sum over its points. By default it is a point.
    exact : bool, optional
        Whether each plane wave is propagated separately, ``pixel_samples²`` of them for each view,
        or interpolated between a few. By default only point pixels are exact. The error of the
        interpolation is measured by ``benchmarks/finite_pixels.py``.
    device : torch.device or str
        Where to compute.
    batch : int
        Plane waves propagated at once; memory grows with it.

    Returns
    -------
    Tensor
        ``(M, Rx, Ry)``, float32 on `device`, relative to a fully lit detector pixel in vacuum, in
        the order of ``acquisition.view_frequencies``. In vacuum a view is
        ``acquisition.view_illumination`` everywhere, below one on the rim.

    Raises
    ------
    ValueError
        If the potential's sampling cuts the probe, its cell does not fit the scan, or the source is
        negative or not finite.

    Notes
    -----
    The band limit is abTEM's, so that the two agree to rounding. The wave of frequency −k is
    carried as its periodic part u(r) = w(r)·exp(2πi k·r), which lets k lie off the grid.
    """
    acquisition.check_wave_sampling(potential.sampling)
    steps = potential.check_scan(acquisition)
    if not (math.isfinite(source) and source >= 0):
        raise ValueError(f"source is {source!r} Å; expected 0 or a positive number of Å")
    waves = _Waves(potential, acquisition, torch.device(device))
    midplane = acquisition.refocused(waves.middle)
    imaging = _Imaging(potential, midplane, steps, waves.device, source)
    samples = acquisition.view_samples.to(device)
    nx, ny = acquisition.scan_shape
    views = torch.empty((len(samples), nx, ny), device=device)
    if exact if exact is not None else samples.shape[1] == 1:
        flat = samples.reshape(-1, 2)
        images = torch.empty((len(flat), nx, ny), device=device)
        for start in range(0, len(flat), batch):
            k = flat[start : start + batch]
            for index, spectrum in enumerate(imaging.resize(waves.spectra(k))):
                wave = slice(start + index, start + index + 1)
                images[wave] = imaging(spectrum[None], flat[wave])[:, :nx, :ny]
        return images.reshape(*samples.shape[:2], nx, ny).mean(1)
    for view, nodes, weights in waves.shared(samples, imaging, batch):
        views[view] = imaging(nodes, samples[view], weights)[:, :nx, :ny].mean(0)
    return views


class _Waves:
    """Plane waves that have crossed a specimen backwards, referred to its middle."""

    def __init__(
        self, potential: Potential, acquisition: Acquisition, device: torch.device
    ) -> None:
        self.potential, self.device = potential, device
        self.wavelength = acquisition.wavelength
        shape = (potential.slices.shape[1], potential.slices.shape[2])
        self.q = optics.frequencies(shape, potential.sampling, device=device)
        sigma = optics.interaction_parameter(acquisition.energy)
        band = optics.antialias_aperture(
            self.q[0] ** 2 + self.q[1] ** 2, potential.sampling
        ).float()
        self.transmission = []
        for slice_potential in potential.slices:
            slice_transmission = torch.exp(
                1j * sigma * slice_potential.to(device=device, dtype=torch.float32)
            )
            self.transmission.append(torch.fft.ifft2(torch.fft.fft2(slice_transmission) * band))
        # The free space behind the last slice changes no intensity in the detector plane.
        self.path = sum(potential.thicknesses[:-1])
        self.middle = self.path / 2
        radius = 1e-3 * acquisition.semiangle / self.wavelength
        # Distance between propagated tilts [Å⁻¹]. The phase is that of the specimen's
        # surfaces at the edge of the aperture; the band limit of a tilt must cut only outside it.
        phase_per_tilt = 2 * math.pi * radius * self.wavelength * self.middle
        largest_angle = optics.wave_sampling_limit(max(potential.sampling), self.wavelength)
        band_beyond_aperture = 1e-3 * largest_angle / self.wavelength - radius
        self.spacing = min(
            _TILT_PHASE / max(phase_per_tilt, 1e-12), _TILT_MARGIN * band_beyond_aperture
        )

    def spectra(self, k: Tensor, *, level: bool = False) -> Tensor:
        """Spectra of the waves of frequencies −k ``(B, 2)`` from the middle ``(B, X, Y)``.

        Parameters
        ----------
        level : bool
            Remove the phase of the unscattered wave, which differs between tilts.
        """
        fx, fy = (q - component[:, None, None] for q, component in zip(self.q, k.T, strict=True))
        band = optics.antialias_aperture((fx**2 + fy**2).float(), self.potential.sampling)
        wave = self.transmission[-1]
        kernels: dict[float, Tensor] = {}
        thicknesses = self.potential.thicknesses[-2::-1]
        for slice_transmission, dz in zip(self.transmission[-2::-1], thicknesses, strict=True):
            if dz not in kernels:
                kernels[dz] = self._free(fx, fy, dz) * band
            wave = torch.fft.ifft2(torch.fft.fft2(wave) * kernels[dz]) * slice_transmission
        spectrum: Tensor = torch.fft.fft2(wave, norm="forward").expand(len(k), -1, -1)
        if self.path == 0:
            return spectrum
        spectrum = spectrum * self._free(fx, fy, -self.middle)
        if level:
            angle = math.pi * self.wavelength * self.middle * (k**2).sum(1)
            spectrum *= torch.polar(torch.ones_like(angle), angle).to(spectrum.dtype)[:, None, None]
        return spectrum

    def _free(self, fx: Tensor, fy: Tensor, distance: float) -> Tensor:
        """Propagator over free space, a product along the axes ``(B, X, Y)``."""
        factors = []
        for f in (fx, fy):
            angle = -math.pi * self.wavelength * distance * f**2
            factors.append(torch.polar(torch.ones_like(angle), angle).to(torch.complex64))
        propagator: Tensor = factors[0] * factors[1]
        return propagator

    def shared(
        self, samples: Tensor, imaging: _Imaging, batch: int
    ) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Propagate a lattice of tilts, and give the weights that make each view's waves from them.

        Yields
        ------
        int, Tensor, Tensor
            A view, spectra ``(n, X', Y')`` of the tilts about its pixel on the imaging grid, and
            the weights ``(S, n)`` of each in the view's waves: quadratic along both axes.
        """
        if self.path == 0:
            common_spectrum = imaging.resize(self.spectra(samples[:1, 0]))
            for view in range(len(samples)):
                yield view, common_spectrum, torch.ones((samples.shape[1], 1), device=self.device)
            return
        centre = samples[:, samples.shape[1] // 2]
        node = torch.round(centre / self.spacing)
        # From the node nearest the pixel (M, S, 2), and weights along each axis (M, S, 2, 3).
        offset = samples / self.spacing - node[:, None]
        axis_weights = torch.stack(
            [offset * (offset - 1) / 2, 1 - offset**2, offset * (offset + 1) / 2], -1
        )
        weights = (
            torch.einsum("msi,msj->msij", axis_weights[:, :, 0], axis_weights[:, :, 1])
            .flatten(2)
            .float()
        )
        order = sorted(range(len(samples)), key=lambda view: node[view].tolist())
        cached: dict[_Node, Tensor] = {}
        for row in sorted({int(i) for i in node[:, 0]}):
            views = [view for view in order if int(node[view, 0]) == row]
            around = {view: _around(row, int(node[view, 1])) for view in views}
            cached = {key: value for key, value in cached.items() if key[0] >= row - 1}
            missing = sorted({key for keys in around.values() for key in keys} - cached.keys())
            for start in range(0, len(missing), batch):
                keys = missing[start : start + batch]
                k = torch.tensor(keys, dtype=samples.dtype, device=self.device) * self.spacing
                spectra = imaging.resize(self.spectra(k, level=True))
                cached |= {
                    key: spectrum.clone() for key, spectrum in zip(keys, spectra, strict=True)
                }
            for view in views:
                yield view, torch.stack([cached[key] for key in around[view]]), weights[view]


def _around(row: int, column: int) -> list[_Node]:
    return [(row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]


class _Imaging:
    """The probe's aperture and aberrations, on no more frequencies than the aperture holds."""

    def __init__(
        self,
        potential: Potential,
        acquisition: Acquisition,
        steps: tuple[int, int],
        device: torch.device,
        source: float = 0.0,
    ) -> None:
        self.acquisition, self.steps, self.device = acquisition, steps, device
        self.source = source
        self.cell = torch.tensor(potential.cell, dtype=torch.float64)
        self.radius = 1e-3 * acquisition.semiangle / acquisition.wavelength
        # The image of the wave of frequency −k is band-limited to α around k.
        reach = 2 * self.radius
        self.shape = tuple(math.ceil(2 * reach * side) + 3 for side in potential.cell)
        self.box = tuple(math.floor(2 * self.radius * side + 1e-5) + 1 for side in potential.cell)
        self.pupils: dict[tuple[float, ...], Tensor] = {}

    def resize(self, spectra: Tensor) -> Tensor:
        """Crop spectra to the frequencies that any aperture reaches ``(B, X', Y')``."""
        return optics.resize_spectrum(spectra, (self.shape[0], self.shape[1]))

    def __call__(self, nodes: Tensor, k: Tensor, weights: Tensor | None = None) -> Tensor:
        """Intensities on the scan's grid ``(S, X, Y)`` of waves of frequencies −k ``(S, 2)``.

        Parameters
        ----------
        nodes : Tensor
            Spectra ``(n, X', Y')``, resized.
        weights : Tensor, optional
            Weight of each spectrum in each wave ``(S, n)``; without weights there is one wave.
        """
        turns = k.cpu() * self.cell  # counted in frequencies of the cell
        lowest = torch.ceil(turns - self.radius * self.cell - 1e-6)
        corner = lowest.min(0).values
        size = (lowest.max(0).values - corner).long() + torch.tensor(self.box)
        rows, columns = (
            ((torch.arange(int(n)) + int(c)) % side).to(self.device)
            for n, c, side in zip(size, corner, self.shape, strict=True)
        )
        cropped = nodes[:, rows[:, None], columns]
        if weights is not None:
            mixed = weights @ torch.view_as_real(cropped).flatten(1)
            cropped = torch.view_as_complex(mixed.reshape(len(k), *cropped.shape[1:], 2))
        folded = torch.zeros((len(k), *self.steps), dtype=cropped.dtype, device=self.device)
        (bx, by), (sx, sy) = self.box, self.steps
        for index, (offset, start) in enumerate(
            zip((lowest - turns).tolist(), (lowest - corner).long().tolist(), strict=True)
        ):
            x, y = start
            seen_spectrum = cropped[index, x : x + bx, y : y + by] * self._pupil(offset)
            if self.source:
                folded[index] = self._blurred(seen_spectrum)
                continue
            # Sampling in space is aliasing in frequency; the start gives only a plane-wave factor.
            for i in range(0, bx, sx):
                for j in range(0, by, sy):
                    block = seen_spectrum[i : i + sx, j : j + sy]
                    folded[index, : block.shape[0], : block.shape[1]] += block
        image: Tensor = torch.fft.ifft2(folded, norm="forward")
        return image.real if self.source else image.abs() ** 2

    def _blurred(self, seen: Tensor) -> Tensor:
        """Spectrum of the intensity under an extended source, folded onto the scan's grid.

        Frequencies above the scan's Nyquist are damped at their true value, not at their alias.
        """
        shape = (2 * self.box[0], 2 * self.box[1])  # holds the aperture's autocorrelation
        intensity = torch.fft.ifft2(seen, s=shape, norm="forward").abs() ** 2
        spectrum = torch.fft.fft2(intensity, norm="forward")
        turns = [torch.fft.fftfreq(n, 1 / n, device=self.device).round() for n in shape]
        qx, qy = (n / side for n, side in zip(turns, self.cell.tolist(), strict=True))
        blur = optics.gaussian_transfer(qx[:, None] ** 2 + qy**2, self.source)
        rows, columns = (n.long() % step for n, step in zip(turns, self.steps, strict=True))
        folded = torch.zeros(self.steps, dtype=spectrum.dtype, device=self.device)
        return folded.index_put((rows[:, None], columns), spectrum * blur, accumulate=True)

    def _pupil(self, offset: list[float]) -> Tensor:
        """A·exp(−iχ) on a box that starts at `offset` from the tilt, in units of 1/cell."""
        key = tuple(round(component, 9) for component in offset)
        if key not in self.pupils:
            if len(self.pupils) >= _PUPILS:
                self.pupils.pop(next(iter(self.pupils)))
            kx, ky = (
                (torch.arange(n, dtype=torch.float64) + component) / side
                for n, component, side in zip(self.box, key, self.cell.tolist(), strict=True)
            )
            kx, ky = kx[:, None].to(self.device), ky[None, :].to(self.device)
            acq = self.acquisition
            inside = optics.aperture(kx**2 + ky**2, acq.wavelength, acq.semiangle)
            pupil = torch.polar(inside, -acq.chi(kx, ky)).to(torch.complex64)
            self.pupils[key] = pupil
        return self.pupils[key]
