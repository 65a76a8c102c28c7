"""The parameters of a measurement, and the two regimes of the study.

View frequencies are along the scan's axes, one for each recorded detector pixel. The rotation of
the detector is included in them (:mod:`misr4d.core.detector`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from misr4d.core import optics
from misr4d.core.detector import STRAIGHT, Matrix, detector_axes

__all__ = ["ATOMIC", "MOLECULAR", "REGIMES", "Acquisition", "nearest_regime"]


@dataclass(frozen=True)
class Acquisition:
    """A defocused 4D-STEM measurement: probe, scan and bright-field detector.

    Parameters
    ----------
    defocus : float
        At the entrance surface [Å]; positive is underfocus.
    step : float or (float, float)
        Distance between probe positions along (Rx, Ry) [Å].
    energy : float
        Electron energy [eV].
    semiangle : float
        Convergence semi-angle [mrad].
    scan_shape : (int, int)
        Number of probe positions along (Rx, Ry).
    detector_pixel : float or None
        Side of a detector pixel [mrad]; one pixel is centred on the optical axis. ``None`` takes
        semiangle / 7.5, which puts 177 pixel centres inside the bright-field disc.
    pixel_samples : int
        Plane waves per pixel side that represent a pixel of finite size; odd, so that one is at
        its centre. 1 is a point detector, which no real camera is.
    astigmatism : (float, float)
        Two-fold, C₁₂·cos 2φ₁₂ and C₁₂·sin 2φ₁₂ along the scan's axes [Å]; see
        :mod:`misr4d.core.optics`.
    rotation : float
        Of the detector against the scan [deg], positive from Rx towards Ry.
    transposed : bool
        Whether the detector's axes are swapped, before the rotation.
    scan_matrix : ((float, float), (float, float))
        D, from a position as stated to where the probe was on the specimen, both from the middle
        of the scan; of a steady drift by :func:`misr4d.calibrate.drift.drift_matrix`.
    detector_matrix : ((float, float), (float, float))
        K, from the place of a detector pixel, in pixels of `detector_pixel` from the optical axis
        along the detector's own axes, to the angle that it sees: of pixels that are not square, or
        of a disc that projector lenses made an ellipse, by
        :attr:`misr4d.calibrate.disc.Disc.matrix`.

    Raises
    ------
    ValueError
        If a value is not finite or outside its range, or a matrix not invertible; the message
        says which.
    """

    defocus: float
    step: tuple[float, float]
    energy: float = 300e3  # paper §2.3
    semiangle: float = 10.0  # paper §2.3
    scan_shape: tuple[int, int] = (64, 64)  # paper §2.3
    detector_pixel: float = None  # type: ignore[assignment]  # our choice: 15 pixels per diameter
    pixel_samples: int = 3  # our choice: a camera's pixel is finite; the paper states no detector
    astigmatism: tuple[float, float] = (0.0, 0.0)  # our choice: the paper states none
    rotation: float = 0.0
    transposed: bool = False
    scan_matrix: Matrix = STRAIGHT
    detector_matrix: Matrix = STRAIGHT

    def __post_init__(self) -> None:
        step = (self.step, self.step) if isinstance(self.step, int | float) else tuple(self.step)
        object.__setattr__(self, "step", (float(step[0]), float(step[1])))
        if self.detector_pixel is None:
            object.__setattr__(self, "detector_pixel", self.semiangle / 7.5)
        if not math.isfinite(self.defocus):
            raise ValueError(f"defocus is {self.defocus!r} Å; expected a finite number of Å")
        if len(self.astigmatism) != 2 or not all(math.isfinite(v) for v in self.astigmatism):
            raise ValueError(
                f"astigmatism is {self.astigmatism!r} Å; expected two finite components in Å"
            )
        for name, value, unit in (
            ("step", min(self.step), "Å"),
            ("step", max(self.step), "Å"),
            ("energy", self.energy, "eV"),
            ("semiangle", self.semiangle, "mrad"),
            ("detector_pixel", self.detector_pixel, "mrad"),
        ):
            if not (math.isfinite(value) and value > 0):
                raise ValueError(
                    f"{name} is {value!r} {unit}; expected a positive number of {unit}"
                )
        if len(self.scan_shape) != 2 or min(self.scan_shape) < 1:
            raise ValueError(
                f"scan_shape is {self.scan_shape!r}; expected two positive whole numbers"
            )
        if self.pixel_samples < 1 or self.pixel_samples % 2 == 0:
            raise ValueError(
                f"pixel_samples is {self.pixel_samples!r}; expected an odd whole number, such as 3"
            )
        if self.detector_pixel > self.semiangle:
            raise ValueError(
                f"detector_pixel is {self.detector_pixel:g} mrad, wider than the semi-angle of "
                f"{self.semiangle:g} mrad: there would be one view; take a smaller pixel"
            )
        if not math.isfinite(self.rotation):
            raise ValueError(f"rotation is {self.rotation!r}°; expected a finite number of degrees")
        for name in ("scan_matrix", "detector_matrix"):
            matrix: Matrix = getattr(self, name)
            (a, b), (c, d) = matrix
            if not abs(a * d - b * c) > 1e-6:
                raise ValueError(f"{name} is {matrix!r}; expected an invertible 2 × 2 matrix")

    @property
    def wavelength(self) -> float:
        """Electron wavelength [Å]."""
        return optics.wavelength(self.energy)

    @property
    def field(self) -> tuple[float, float]:
        """Size of the scanned field [Å]."""
        return self.scan_shape[0] * self.step[0], self.scan_shape[1] * self.step[1]

    @property
    def information_limit(self) -> float:
        """Finest period that a bright-field method can transfer, λ/2α [Å]."""
        return self.wavelength / (2e-3 * self.semiangle)

    @property
    def largest_view_shift(self) -> float:
        """Displacement of the view at the rim of the bright-field disc, the largest of all [Å]."""
        return (abs(self.defocus) + math.hypot(*self.astigmatism)) * self.semiangle * 1e-3

    def nyquist_period(self, upsampling: int = 1) -> float:
        """Finest period that the scan grid, refined `upsampling` times, can carry [Å]."""
        return 2 * max(self.step) / upsampling

    def output_shape(self, upsampling: int) -> tuple[int, int]:
        """Pixels of an image `upsampling` times finer than the scan."""
        return self.scan_shape[0] * upsampling, self.scan_shape[1] * upsampling

    @property
    def turned(self) -> bool:
        """Whether the detector is rotated or transposed against the scan, or the scan drifts."""
        return self.rotation != 0 or self.transposed or self.drifts

    @property
    def unturned(self) -> Acquisition:
        """The same measurement as if its detector stood straight and its scan did not drift."""
        return replace(self, rotation=0.0, transposed=False, scan_matrix=STRAIGHT)

    @property
    def drifts(self) -> bool:
        """Whether the scan on the specimen differs from the stated one."""
        return self.scan_matrix != STRAIGHT

    @property
    def distorted(self) -> bool:
        """Whether angles on the detector are stretched: then its pixels are not all alike."""
        return self.detector_matrix != STRAIGHT

    @cached_property
    def _scan(self) -> Tensor:
        return torch.tensor(self.scan_matrix, dtype=torch.float64)

    @property
    def distortion(self) -> Tensor:
        """K, from the places of detector pixels to the angles that they see ``(2, 2)``."""
        return torch.tensor(self.detector_matrix, dtype=torch.float64)

    @property
    def axes(self) -> Tensor:
        """Matrix that takes detector coordinates to scan coordinates ``(2, 2)``."""
        return detector_axes(self.rotation, self.transposed)

    @property
    def detector_index(self) -> Tensor:
        """Detector pixel of each view, counted from the optical axis along (Qx, Qy) ``(M, 2)``."""
        angles = self.view_angles
        if self.turned:
            angles = angles @ self.axes  # the axes are orthogonal: this is the inverse
        if self.distorted:
            angles = angles @ torch.linalg.inv(self.distortion).T
        return torch.round(angles / self.detector_pixel).long()

    @cached_property
    def _pixels(self) -> tuple[Tensor, Tensor]:
        """Frequencies of the samples of every pixel ``(P, S, 2)`` and whether each is lit.

        Along the scan's axes; the disc is round.
        """
        smallest = 1.0
        if self.distorted:
            smallest = float(torch.linalg.svdvals(self.distortion)[-1])
        reach = math.ceil(self.semiangle / (self.detector_pixel * smallest) + 0.5)
        index = torch.arange(-reach, reach + 1, dtype=torch.float64)
        centre = torch.cartesian_prod(index, index)
        fine = (torch.arange(self.pixel_samples, dtype=torch.float64) + 0.5) / self.pixel_samples
        offset = torch.cartesian_prod(fine - 0.5, fine - 0.5)
        k = (centre[:, None] + offset) * (self.detector_pixel * 1e-3 / self.wavelength)
        if self.distorted:
            k = k @ self.distortion.T
        inside_disc = optics.aperture((k**2).sum(-1), self.wavelength, self.semiangle) > 0
        return k @ self.axes.T if self.turned else k, inside_disc

    @cached_property
    def _in_disc(self) -> Tensor:
        """Which pixels have their centre, the middle sample, inside the bright-field disc."""
        inside_disc = self._pixels[1]
        return inside_disc[:, inside_disc.shape[1] // 2]

    @property
    def view_samples(self) -> Tensor:
        """Frequencies of the plane waves behind each view ``(M, pixel_samples², 2)`` [Å⁻¹]."""
        return self._pixels[0][self._in_disc]

    @property
    def view_frequencies(self) -> Tensor:
        """Centres of the detector pixels inside the bright-field disc ``(M, 2)`` [Å⁻¹]."""
        samples = self.view_samples
        return samples[:, samples.shape[1] // 2]

    @property
    def view_angles(self) -> Tensor:
        """Centres of the detector pixels inside the bright-field disc ``(M, 2)`` [mrad]."""
        return self.view_frequencies * (self.wavelength * 1e3)

    @property
    def number_of_views(self) -> int:
        """M, the number of detector pixels with their centre in the bright-field disc."""
        return int(self._in_disc.sum())

    @property
    def view_illumination(self) -> Tensor:
        """Intensity of each view's pixel in vacuum, relative to a fully lit pixel ``(M,)``.

        The fraction of the pixel that the bright-field disc covers: 1 inside, less on the rim.
        """
        return self._pixels[1][self._in_disc].double().mean(1)

    @property
    def vacuum_views(self) -> Tensor:
        """Views without a specimen at infinite dose ``(M, Rx, Ry)``."""
        illumination = self.view_illumination.to(torch.float32)[:, None, None]
        return illumination.expand(-1, *self.scan_shape).clone()

    def relative_to_vacuum(self, views: Tensor) -> Tensor:
        """Divide views ``(..., M, Rx, Ry)`` by the intensity of each pixel in vacuum."""
        illumination = self.view_illumination.to(views.device, torch.float32)
        return views.float() / illumination[:, None, None]

    @property
    def pixels_per_disc(self) -> float:
        """Number of fully lit detector pixels that would collect the whole bright-field disc."""
        inside_disc = self._pixels[1]
        return float(inside_disc.double().mean(1).sum())

    @property
    def registering_shifts(self) -> Tensor:
        """Shift along the scan as stated that registers each view, D⁻¹·λ·C₁₀·k ``(M, 2)`` [Å].

        See :mod:`misr4d.core.optics`.
        """
        shifts = optics.registering_shift(
            self.view_frequencies, self.wavelength, self.defocus, self.astigmatism
        )
        return shifts @ torch.linalg.inv(self._scan).T if self.drifts else shifts

    def chi(self, kx: Tensor, ky: Tensor) -> Tensor:
        """Aberration phase of the probe [rad] at frequencies that broadcast to one shape [Å⁻¹]."""
        phase = optics.chi(kx**2 + ky**2, self.wavelength, self.defocus)
        if any(self.astigmatism):
            phase = phase + optics.astigmatic_chi(kx, ky, self.wavelength, self.astigmatism)
        return phase

    def specimen_frequencies(self, qx: Tensor, qy: Tensor) -> tuple[Tensor, Tensor]:
        """Frequencies on the specimen of those along the scan as stated, D⁻ᵀ·q [Å⁻¹].

        Parameters
        ----------
        qx, qy : Tensor
            They broadcast to one shape. Without drift they are returned unchanged.
        """
        if not self.drifts:
            return qx, qy
        (a, b), (c, d) = torch.linalg.inv(self._scan).tolist()
        return a * qx + c * qy, b * qx + d * qy

    def scan_frequencies(self, k: Tensor) -> Tensor:
        """Undo :meth:`specimen_frequencies` for frequencies ``(..., 2)``: Dᵀ·k."""
        return k @ self._scan.to(k) if self.drifts else k

    def refocused(self, depth: float) -> Acquisition:
        """Return the same measurement with its defocus counted from `depth` Å below the entrance.

        A single-slice method sees a thick specimen best from its middle: depth = thickness / 2.
        """
        return replace(self, defocus=self.defocus - depth)

    def check_wave_sampling(self, sampling: tuple[float, float]) -> None:
        """Raise unless a wave field of this sampling [Å] holds the whole probe.

        Raises
        ------
        ValueError
            If the antialiased band, two thirds of Nyquist, ends inside the semi-angle.
        """
        coarsest = max(sampling)
        limit = optics.wave_sampling_limit(coarsest, self.wavelength)
        if limit < self.semiangle:
            needed_sampling = coarsest * limit / self.semiangle
            raise ValueError(
                f"the wave field is sampled at {coarsest:.3g} Å, which carries {limit:.2f} mrad "
                f"after antialiasing and cuts the {self.semiangle:g} mrad probe; sample the "
                f"potential at {needed_sampling:.3f} Å or finer"
            )

    def check_upsampling(self, upsampling: int) -> None:
        """Raise unless the views determine an image `upsampling` times finer than the scan.

        Raises
        ------
        ValueError
            If there are fewer views than unknown aliases, or if the views are displaced by less
            than a scan step across the disc, so that they all repeat the same samples.
        """
        if upsampling < 1 or int(upsampling) != upsampling:
            raise ValueError(f"upsampling is {upsampling!r}; expected a whole number, 1 or more")
        if upsampling == 1:
            return
        if self.number_of_views < upsampling**2:
            raise ValueError(
                f"{self.number_of_views} views cannot determine {upsampling}×{upsampling} aliases; "
                f"take a detector pixel smaller than {self.detector_pixel:g} mrad or a lower "
                "upsampling"
            )
        smallest_defocus = abs(abs(self.defocus) - math.hypot(*self.astigmatism))
        displacement, coarsest_step = 2 * smallest_defocus * self.semiangle * 1e-3, max(self.step)
        if displacement < coarsest_step:
            needed_defocus = coarsest_step / (2e-3 * self.semiangle)
            raise ValueError(
                f"a defocus of {self.defocus:g} Å displaces the views by {displacement:.3g} Å "
                f"across the disc, less than the scan step of {coarsest_step:g} Å, so they "
                f"repeat the same samples and upsampling {upsampling} is under-determined; use a "
                f"defocus of at least {needed_defocus:.0f} Å or a finer step"
            )


# Step and defocus are our choice, so that crystals are true to scale; the rest is the paper's §2.3.
ATOMIC = Acquisition(defocus=500.0, step=(1.0, 1.0))
MOLECULAR = Acquisition(defocus=1500.0, step=(4.0, 4.0))  # paper §2.3
REGIMES = {"atomic": ATOMIC, "molecular": MOLECULAR}


UPSAMPLING = 3  # paper §2.1.1


def nearest_regime(acquisition: Acquisition) -> str:
    """Regime whose scan step is nearest, by its logarithm."""
    return min(
        REGIMES,
        key=lambda name: abs(math.log(min(acquisition.step) / min(REGIMES[name].step))),
    )
