"""Established methods by py4DSTEM, behind one call each: parallax, iterative DPC, ptychography.

All return an image on the same grid: `upsampling` pixels per scan step, first pixel on the first
probe position. py4DSTEM comes with the extra ``classical``, on Python 3.11 and 3.12; without it
this module cannot be imported (``ModuleNotFoundError``).
"""

from __future__ import annotations

import contextlib
import io
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import scipy.fft
import torch
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from torch import Tensor

from misr4d.core import optics
from misr4d.core.acquisition import Acquisition
from misr4d.core.datacube import Datacube, patterns_from_views
from misr4d.reconstruction.tuned import PtychographySettings

try:
    import py4DSTEM
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "parallax, iterative DPC and iterative ptychography are py4DSTEM's, which cannot be "
        f"imported ({error}); install it with: pip install 'misr4d[classical]', on Python 3.11 or "
        "3.12. It needs NumPy below 2, which has no wheels for Python 3.13. Every other method "
        "runs without it",
        name=error.name,
    ) from error

__all__ = ["iterative_dpc", "parallax", "ptychography", "ptychography_course"]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress py4DSTEM's printing and its warnings on sampling limits."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _single_precision(transform: Callable[[Tensor], Tensor]) -> Callable[[Any], Any]:
    return lambda array: transform(torch.from_numpy(np.asarray(array, np.complex64))).numpy()


class _Quicker:
    """NumPy for py4DSTEM's ptychography: complex64 is transformed in single precision.

    NumPy 1 transforms it in double. Everything that is not defined here comes from NumPy itself.
    """

    fft = SimpleNamespace(
        **{
            **vars(np.fft),
            "fft2": _single_precision(torch.fft.fft2),
            "ifft2": _single_precision(torch.fft.ifft2),
        }
    )

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


class _QuickPtychography(py4DSTEM.process.phase.SingleslicePtychography):  # type: ignore[misc]
    """py4DSTEM's gradient descent with the same steps, in which nothing is computed twice.

    Nothing else in this package uses attributes of py4DSTEM that are not public.

    Positions at the same fraction of a pixel share one shifted probe, the object's transmission is
    computed once for all patches, and a measured modulus
    replaces the computed one without computing the phase.
    """

    _object_initial: Any

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._xp = _Quicker()

    def start_from(self, phase: NDArray[Any], spacing: Sequence[float]) -> None:
        """Take a phase [rad] on a grid that begins at the first probe position as first object.

        The object reaches beyond the scan, as the probe does; there the phase's edge is repeated.
        """
        start_position = np.asarray(self._positions_px)[0]
        grid = [
            (np.arange(n) - start_position[axis]) * self.sampling[axis] / spacing[axis]
            for axis, n in enumerate(self._object_shape)
        ]
        phase_on_grid = map_coordinates(
            phase, np.meshgrid(*grid, indexing="ij"), order=3, mode="nearest"
        )
        potential = self._object_type == "potential"
        initial_object = (
            phase_on_grid.astype(np.float32) if potential else np.exp(1j * phase_on_grid)
        )
        self._object_initial = initial_object.astype(self._object_initial.dtype)

    def phase_on_grid(self, shape: Sequence[int], spacing: Sequence[float]) -> NDArray[Any]:
        """Return the object's phase [rad] on a grid that begins at the first probe position.

        Parameters
        ----------
        shape : (int, int)
            Pixels of the grid.
        spacing : (float, float)
            Their size [Å].
        """
        object_array = np.asarray(self._object)
        phase = object_array if self._object_type == "potential" else np.angle(object_array)
        start_position = np.asarray(self._positions_px)[0]
        grid = [
            start_position[axis] + np.arange(n) * (spacing[axis] / self.sampling[axis])
            for axis, n in enumerate(shape)
        ]
        image: NDArray[Any] = map_coordinates(
            phase, np.meshgrid(*grid, indexing="ij"), order=3, mode="nearest"
        )
        return image

    def _return_shifted_probes(self, probe: Any, fractions: Any) -> Any:
        # The patterns do not resolve a thousandth of a pixel.
        distinct_fractions, probe_index = np.unique(
            np.round(fractions, 3), axis=0, return_inverse=True
        )
        if 2 * len(distinct_fractions) > len(fractions):
            return super()._return_shifted_probes(probe, fractions)
        shifted = super()._return_shifted_probes(probe, distinct_fractions)
        return shifted if len(distinct_fractions) == 1 else shifted[probe_index]

    def _overlap_projection(
        self, current: Any, rows: Any, columns: Any, shifted_probes: Any
    ) -> tuple[Any, Any, Any]:
        potential = self._object_type == "potential"
        patches = (np.exp(1j * current) if potential else current)[rows, columns]
        return shifted_probes, patches, shifted_probes * patches

    def _gradient_descent_fourier_projection(
        self, amplitudes: Any, overlap: Any, fourier_mask: Any, virtual_detector_masks: Any
    ) -> tuple[Any, Any]:
        wave = self._xp.fft.fft2(overlap)
        modulus = np.abs(wave)
        error = ((amplitudes - modulus) ** 2).sum()
        wave *= amplitudes / np.maximum(modulus, np.finfo(np.float32).tiny) - 1
        return self._xp.fft.ifft2(wave), error

    def _sum_overlapping_patches_bincounts(self, patches: Any, positions_px: Any) -> Any:
        size = patches.shape[-2:]
        corners = np.round(positions_px).astype(int) - [n // 2 for n in size]
        shape = tuple(self._object_shape)
        if (corners < 0).any() or (corners + size > shape).any():  # a patch wraps around the edge
            patches = np.broadcast_to(patches, (len(corners), *size))
            return super()._sum_overlapping_patches_bincounts(patches, positions_px)
        centred = np.fft.fftshift(patches, (-2, -1))
        total = np.zeros(shape, centred.dtype)
        for patch, (x, y) in zip(
            np.broadcast_to(centred, (len(corners), *size)), corners.tolist(), strict=True
        ):
            total[x : x + size[0], y : y + size[1]] += patch
        return total


def _py4dstem(cube: Datacube, acquisition: Acquisition) -> py4DSTEM.DataCube:
    """Calibrated py4DSTEM datacube of the same patterns."""
    if acquisition.turned:
        raise ValueError(
            f"the detector is turned by {acquisition.rotation:g}°, which this call does not hand "
            "to py4DSTEM; use idpc or direct ptychography, which take it into account"
        )
    if acquisition.distorted:
        raise ValueError(
            f"the detector is distorted by {acquisition.detector_matrix}; py4DSTEM takes square "
            "pixels only: use idpc or direct ptychography, which take it into account"
        )
    if any(acquisition.astigmatism):
        raise ValueError(
            f"the probe has two-fold astigmatism, {acquisition.astigmatism} Å, which this call "
            "does not hand to py4DSTEM; use direct ptychography, which takes it into account"
        )
    if abs(cube.step[0] - cube.step[1]) > 1e-6 * cube.step[0]:
        raise ValueError(f"the scan step is {cube.step} Å; py4DSTEM takes square steps only")
    datacube = py4DSTEM.DataCube(cube.patterns)
    datacube.calibration.set_R_pixel_size(cube.step[0])
    datacube.calibration.set_R_pixel_units("A")
    datacube.calibration.set_Q_pixel_size(cube.detector_pixel[0] * 1e-3 / acquisition.wavelength)
    datacube.calibration.set_Q_pixel_units("A^-1")
    return datacube


def _centres(cube: Datacube) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Optical axis of every pattern [detector pixels]; it is known here."""
    ones = np.ones(cube.patterns.shape[:2])
    return ones * (cube.patterns.shape[2] // 2), ones * (cube.patterns.shape[3] // 2)


def parallax(
    views: Tensor,
    acquisition: Acquisition,
    upsampling: int = 3,
    *,
    align: bool = False,
    fit: bool = False,
    correct: bool = True,
) -> Tensor:
    """Parallax (tilt-corrected bright field) by py4DSTEM: register the views, then merge them.

    Parameters
    ----------
    views : Tensor
        ``(M, Rx, Ry)``, relative to a fully lit pixel in vacuum.
    acquisition : Acquisition
        Its defocus, counted from the middle of the specimen, gives the registering shifts.
    upsampling : int
        Kernel-density up-sampling factor.
    align : bool
        Refine the shifts by cross-correlation. Off by default: the defocus is known here, as it
        is to every other method, and at low dose cross-correlation loses it.
    fit : bool
        Fit the aberrations to the refined shifts and correct with the fitted ones, instead of the
        known defocus; needs `align`. Off by default for the same reason.
    correct : bool
        Flip the sign of the contrast transfer function where it is negative, which turns the
        aligned bright-field image into a phase image.

    Returns
    -------
    Tensor
        ``(upsampling·Rx, upsampling·Ry)``; proportional to the phase if `correct`.

    Raises
    ------
    ValueError
        If step, defocus and detector leave the up-sampled image under-determined, or `fit` is
        asked for without `align`.

    References
    ----------
    Varnavides et al., arXiv:2309.05250; Yu et al., Nature Methods (2025), tilt-corrected
    bright-field STEM.
    """
    if fit and not align:
        raise ValueError("fit is True and align False; aberrations are fitted to aligned shifts")
    acquisition.check_upsampling(upsampling)
    cube, mask = patterns_from_views(views, acquisition)
    datacube = _py4dstem(cube, acquisition)
    with _quiet():
        reconstruction = py4DSTEM.process.phase.Parallax(
            energy=acquisition.energy,
            datacube=datacube,
            verbose=False,
            defocus=acquisition.defocus,
            object_padding_px=(0, 0),
            device="cpu",
        )
        reconstruction.preprocess(
            edge_blend=1e-3,  # our choice: the field is periodic, so no edge is blended away
            dp_mask=mask,
            plot_average_bf=False,
            force_rotation_angle_deg=0,
            force_transpose=False,
        )
        if align:
            reconstruction.reconstruct(reset=True, plot_aligned_bf=False, progress_bar=False)
        reconstruction.subpixel_alignment(
            kde_upsample_factor=upsampling,
            plot_upsampled_BF_comparison=False,
            progress_bar=False,
        )
        if fit:
            reconstruction.aberration_fit()
        else:
            reconstruction.aberrations_C1 = -acquisition.defocus
        if correct:
            reconstruction.aberration_correct(use_CTF_fit=fit, plot_corrected_phase=False)
            image = reconstruction.recon_phase_corrected
        else:
            image = reconstruction.recon_BF_subpixel_aligned
    return torch.from_numpy(image.copy()).float()


def iterative_dpc(
    cube: Datacube, acquisition: Acquisition, upsampling: int = 1, *, iterations: int = 64
) -> Tensor:
    """Differential phase contrast integrated iteratively by py4DSTEM, which pads the field.

    Parameters, return and sign are those of :func:`misr4d.reconstruction.dpc.idpc`; `iterations`
    is py4DSTEM's default.
    """
    with _quiet():
        reconstruction = py4DSTEM.process.phase.DPC(
            energy=acquisition.energy, datacube=_py4dstem(cube, acquisition), verbose=False
        )
        reconstruction.preprocess(
            force_com_shifts=_centres(cube),
            force_com_rotation=0,
            force_com_transpose=False,
            plot_center_of_mass=False,
            plot_rotation=False,
        )
        reconstruction.reconstruct(max_iter=iterations, progress_bar=False)
        # py4DSTEM integrates the centre of mass in Å⁻¹, which lacks the 2π of a phase gradient.
        image = 2 * np.pi * torch.from_numpy(np.array(reconstruction.object_phase, dtype=float))
    image = image - image.mean()
    shape = (upsampling * image.shape[0], upsampling * image.shape[1])
    return optics.fourier_resample(image, shape).float()


def ptychography(
    cube: Datacube,
    acquisition: Acquisition,
    upsampling: int = 3,
    settings: PtychographySettings | None = None,
    *,
    initial: Tensor | None = None,
    seed: int = 0,
) -> Tensor:
    """Single-slice iterative ptychography by py4DSTEM, with a known and fixed probe.

    Parameters
    ----------
    cube : Datacube
        Patterns, as counts or fractions.
    acquisition : Acquisition
        Its defocus, counted from the middle of the specimen, and aperture give the probe.
    upsampling : int
        Output pixels per scan step; the object is solved on its own grid and interpolated.
    settings : PtychographySettings, optional
        py4DSTEM's defaults unless given; at low dose they must be tuned.
    initial : Tensor, optional
        Phase ``(upsampling·Rx, upsampling·Ry)`` [rad] to start from, by the method that
        ``settings.start`` names. Without it the run starts from a flat object.
    seed : int
        Order of the batches.

    Returns
    -------
    Tensor
        Phase ``(upsampling·Rx, upsampling·Ry)`` [rad], of zero mean.

    Raises
    ------
    ValueError
        If the settings name a start and none is given, or the other way round, or it does not fit
        the scan.

    References
    ----------
    Varnavides et al., arXiv:2309.05250.
    """
    settings = settings or PtychographySettings()
    checkpoint_images = ptychography_course(
        cube, acquisition, upsampling, settings, [settings.iterations], initial=initial, seed=seed
    )
    return dict(checkpoint_images)[settings.iterations]


def ptychography_course(
    cube: Datacube,
    acquisition: Acquisition,
    upsampling: int,
    settings: PtychographySettings,
    checkpoints: Sequence[int],
    *,
    initial: Tensor | None = None,
    seed: int = 0,
) -> Iterator[tuple[int, Tensor]]:
    """Yield images of one :func:`ptychography` run after several numbers of iterations.

    Parameters are those of :func:`ptychography`; `checkpoints` are in rising order and replace
    ``settings.iterations``.
    """
    shape = tuple(upsampling * n for n in cube.patterns.shape[:2])
    if (initial is None) != (settings.start == "flat"):
        raise ValueError(
            f"start is {settings.start!r} and initial is {'not ' * (initial is None)}given; "
            "expected a phase for any start but 'flat', which has none"
        )
    if initial is not None and (tuple(initial.shape) != shape or not initial.isfinite().all()):
        raise ValueError(
            f"initial has shape {tuple(initial.shape)} or is not finite; expected {shape}, "
            f"{upsampling} pixels per scan step"
        )
    cube = _fast_window(cube)
    batch_size = math.ceil(cube.patterns.shape[0] * cube.patterns.shape[1] / settings.batches)
    with _quiet():
        reconstruction = _QuickPtychography(
            energy=acquisition.energy,
            datacube=_py4dstem(cube, acquisition),
            defocus=acquisition.defocus,
            semiangle_cutoff=acquisition.semiangle,
            rolloff=0.0,
            object_type=settings.object_type,
            device="cpu",
            verbose=False,
        )
        reconstruction.preprocess(
            force_com_shifts=_centres(cube),
            force_com_rotation=0,
            force_com_transpose=False,
            shifting_interpolation_order=1,  # exact, as the axis lies on a pixel
            plot_center_of_mass=False,
            plot_rotation=False,
            plot_probe_overlaps=False,
            max_batch_size=batch_size,
        )
    spacing = [step / upsampling for step in cube.step]
    if initial is not None:
        reconstruction.start_from(initial.numpy(), spacing)
    finished_iterations = 0
    for checkpoint in checkpoints:
        with _quiet():
            reconstruction.reconstruct(
                num_iter=checkpoint - finished_iterations,
                step_size=settings.step_size,
                max_batch_size=batch_size,
                fix_probe=True,
                reset=finished_iterations == 0,
                seed_random=seed + finished_iterations,
                progress_bar=False,
                q_lowpass=settings.lowpass,
                butterworth_filter=settings.lowpass is not None,
            )
        finished_iterations = checkpoint
        image = reconstruction.phase_on_grid(shape, spacing)
        yield checkpoint, torch.from_numpy(image - image.mean()).float()


def _fast_window(cube: Datacube) -> Datacube:
    """Crop the patterns to an even size with small prime factors, for fast transforms."""
    window = []
    for n in cube.patterns.shape[2:]:
        size = next(m for m in range(n, 0, -1) if m % 2 == 0 and scipy.fft.next_fast_len(m) == m)
        window.append(slice(n // 2 - size // 2, n // 2 + size // 2))
    trimmed = np.ascontiguousarray(cube.patterns[:, :, window[0], window[1]])
    return Datacube(trimmed, cube.step, cube.detector_pixel)
