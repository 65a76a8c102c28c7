"""A study's measurements: one specimen, one scan, the same electrons for every method."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from misr4d.core.acquisition import REGIMES, UPSAMPLING, Acquisition
from misr4d.core.datacube import Datacube
from misr4d.core.dose import electrons_per_pixel, electrons_per_probe, expose
from misr4d.core.estimate import Estimate
from misr4d.core.files import whole_file
from misr4d.core.keys import result_key
from misr4d.learn.learned import attention_unet, card, dual_path, informed, load_network
from misr4d.reconstruction import refine as refinement
from misr4d.reconstruction.bright_field import summed_bright_field
from misr4d.reconstruction.direct import AMPLITUDE_CONTRAST, DirectPtychography
from misr4d.reconstruction.dpc import idpc
from misr4d.reconstruction.tuned import prior_strength, ptychography_settings
from misr4d.simulate import reciprocity
from misr4d.simulate.multislice import build_potential
from misr4d.simulate.patterns import WINDOW, camera_pixel, simulate_patterns
from misr4d.specimens.catalogue import Specimen, data_files, make_specimen, regime_of
from misr4d.specimens.fetch import cache_folder
from misr4d.specimens.potential import Potential, Thermal, truth

__all__ = [
    "METHODS",
    "NETWORK_OF",
    "UPSAMPLING",
    "Measurement",
    "Scene",
    "first_stage",
    "make_scene",
    "method_key",
    "place",
    "starting_phase",
]

# Wave-field sampling and slice thickness [Å] of each regime, and the largest recorded angle
# [mrad]: our choice; the ×3 image of a 4 Å scan carries nothing that angles above 13 mrad add.
SIMULATION = {"atomic": (1 / 3, 2.0, 20.0), "molecular": (0.5, 20.0, 13.0)}


@dataclass(frozen=True)
class Scene:
    """A specimen under a measurement at infinite dose.

    Parameters
    ----------
    specimen : Specimen
    acquisition : Acquisition
        Its detector pixel is three of the simulated ones; a camera averages over them.
    potential : Potential
    source : float
        Standard deviation of the effective source [Å], for the views alone; 0 is a point.
    """

    specimen: Specimen
    acquisition: Acquisition
    potential: Potential
    source: float = 0.0

    @cached_property
    def patterns(self) -> Datacube:
        """Diffraction patterns at infinite dose, as fractions of the electrons.

        Raises
        ------
        ValueError
            If the source is no point: blurring would take probe positions between those scanned.
        """
        if self.source:
            raise ValueError(
                f"the source has a deviation of {self.source:g} Å; patterns are simulated of a "
                "point source alone: use Scene.expose, or take source 0"
            )
        angle = SIMULATION[self.specimen.regime][2]
        return simulate_patterns(self.potential, self.acquisition, window=WINDOW, max_angle=angle)

    @cached_property
    def expected_views(self) -> Tensor:
        """Views at infinite dose by reciprocity ``(M, Rx, Ry)``, without the patterns.

        They take long: views made before are read back from the cache.
        """
        inputs = (self.potential, self.acquisition, self.source)
        key = result_key(reciprocity.simulate_views, given=inputs, data=())
        return _made_once(
            "views",
            key,
            lambda: reciprocity.simulate_views(
                self.potential, self.acquisition, source=self.source
            ),
        )

    @cached_property
    def truth(self) -> Tensor:
        """Projected phase on the ×3 grid [rad]."""
        return truth(self.potential, self.acquisition, UPSAMPLING)

    @property
    def midplane(self) -> Acquisition:
        """The measurement with its defocus counted from the middle of the specimen."""
        return self.acquisition.refocused(self.potential.thickness / 2)

    @property
    def pixel(self) -> tuple[float, float]:
        """Pixel size of the ×3 image [Å]."""
        step = self.acquisition.step
        return step[0] / UPSAMPLING, step[1] / UPSAMPLING

    @cached_property
    def direct(self) -> DirectPtychography:
        """Direct ptychography for this measurement, its kernels ready."""
        contrast = AMPLITUDE_CONTRAST[self.specimen.regime]
        return DirectPtychography(
            self.midplane, UPSAMPLING, aliases=UPSAMPLING, amplitude_contrast=contrast
        )

    def measure(self, dose: float, seed: int) -> Measurement:
        """Count electrons in every detector pixel; views are binned from the same counts.

        Parameters
        ----------
        dose : float
            e⁻/Å²; ``inf`` gives the expected patterns.
        seed : int
            Of the counting noise.
        """
        if math.isinf(dose):
            return self._measurement(dose, self.patterns)
        # Counts are drawn as two halves: their sum is Poisson too, and the halves are what
        # binomial thinning of the sum would give.
        generator = torch.Generator().manual_seed(seed)
        electrons = electrons_per_probe(dose, self.acquisition)
        expected = torch.from_numpy(self.patterns.patterns) * (electrons / 2)
        first, second = (torch.poisson(expected, generator=generator) for _ in range(2))
        whole = torch.add(first, second, out=expected).div_(electrons)
        halves = [
            self._measurement(dose / 2, self._fractions(half.div_(electrons / 2)))
            for half in (first, second)
        ]
        return self._measurement(dose, self._fractions(whole), (halves[0], halves[1]))

    def expose(
        self, dose: float, seed: int, *, noise: float = 0.0, bias: float = 0.0
    ) -> Measurement:
        """Count electrons in the bright disc's pixels alone: quicker, and for most methods all.

        Parameters
        ----------
        dose : float
            e⁻/Å²; ``inf`` gives the expected views.
        seed : int
            Of the noise.
        noise, bias : float
            Of the detector [electrons a pixel], as in :func:`misr4d.core.dose.add_detector_noise`;
            by default it counts and adds nothing.
        """
        generator = torch.Generator().manual_seed(seed)
        views = expose(
            self.expected_views, self.acquisition, dose, generator, noise=noise, bias=bias
        )
        return Measurement(self, dose, None, views)

    def _fractions(self, patterns: Tensor) -> Datacube:
        return replace(self.patterns, patterns=patterns.numpy())

    def _measurement(
        self,
        dose: float,
        cube: Datacube,
        halves: tuple[Measurement, Measurement] | None = None,
    ) -> Measurement:
        return Measurement(self, dose, cube, cube.views(self.acquisition), halves)


@dataclass(frozen=True)
class Measurement:
    """What a method is given: noisy patterns and the views cut from them.

    Parameters
    ----------
    scene : Scene
    dose : float
        e⁻/Å².
    patterns : Datacube or None
        As fractions of the electrons; none where only views were simulated.
    views : Tensor
        ``(M, Rx, Ry)``, relative to a fully lit pixel in vacuum.
    halves : (Measurement, Measurement) or None
        The same electrons, dealt to two independent measurements of half the dose; none at
        infinite dose, or without patterns.
    """

    scene: Scene
    dose: float
    patterns: Datacube | None
    views: Tensor
    halves: tuple[Measurement, Measurement] | None = None

    @property
    def counts(self) -> Tensor:
        """Electrons of every view and position ``(M, Rx, Ry)``.

        Raises
        ------
        ValueError
            At infinite dose.
        """
        if math.isinf(self.dose):
            raise ValueError(
                "dose is inf e⁻/Å²; refinement weighs counts, so it needs a finite one"
            )
        return (self.views * electrons_per_pixel(self.dose, self.scene.acquisition)).round()

    @property
    def whole(self) -> Datacube:
        """The patterns.

        Raises
        ------
        ValueError
            If only views were simulated.
        """
        if self.patterns is None:
            raise ValueError(
                f"the scan of {self.scene.specimen.name} at {self.dose:g} e⁻/Å² holds views alone; "
                "iDPC and ptychography need its patterns: use Scene.measure, not Scene.expose"
            )
        return self.patterns


@lru_cache(maxsize=2)
def make_scene(name: str, thickness: float | None = None, defocus: float | None = None) -> Scene:
    """Build a scene by specimen name, cached for the process.

    Parameters
    ----------
    name : str
        One of ``misr4d.specimens.catalogue.SPECIMENS``.
    thickness, defocus : float, optional
        In Å; the specimen's and the regime's own unless given.
    """
    return place(make_specimen(name, thickness=thickness), defocus)


def place(
    specimen: Specimen,
    defocus: float | None = None,
    *,
    thermal: Thermal = 0.0,
    source: float = 0.0,
) -> Scene:
    """Put a specimen under its regime's measurement, the detector as the networks know it.

    Parameters
    ----------
    specimen : Specimen
    defocus : float, optional
        In Å; the regime's own unless given.
    thermal : float or mapping
        Thermal displacement of the atoms [Å], see :data:`misr4d.specimens.potential.Thermal`; by
        default, and in every specimen that is scored, they stand still.
    source : float
        Standard deviation of the effective source [Å]; by default, and in all that is scored, it
        is a point.
    """
    acquisition = REGIMES[specimen.regime]
    if defocus is not None:
        acquisition = replace(acquisition, defocus=defocus)
    acquisition = replace(acquisition, detector_pixel=camera_pixel(acquisition.wavelength))
    acquisition.check_upsampling(UPSAMPLING)
    sampling, slice_thickness, _ = SIMULATION[specimen.regime]
    potential = build_potential(specimen, sampling, slice_thickness, thermal=thermal)
    return Scene(specimen, acquisition, potential, source)


def _made_once(kind: str, key: str, make: Callable[[], Tensor]) -> Tensor:
    """Read back an image that takes long, if one was made before under the same key."""
    path = cache_folder() / kind / f"{key}.npy"
    if path.is_file():
        return torch.from_numpy(np.load(path, allow_pickle=False))
    image = make()
    with whole_file(path) as temporary:
        np.save(temporary, image.numpy(), allow_pickle=False)
    return image


def _summed_bright_field(m: Measurement) -> Tensor:
    return summed_bright_field(m.views, m.scene.acquisition, UPSAMPLING)


def _idpc(m: Measurement) -> Tensor:
    return idpc(m.whole, m.scene.acquisition, UPSAMPLING)


def _parallax(m: Measurement) -> Tensor:
    from misr4d.reconstruction.classical import parallax  # loads py4DSTEM

    return parallax(m.views, m.scene.midplane, UPSAMPLING)


def starting_phase(m: Measurement, start: str) -> Tensor | None:
    """Phase that iterative ptychography starts from, on the ×3 grid; none for a flat object.

    Parameters
    ----------
    m : Measurement
    start : {"flat", "parallax", "direct"}
        ``PtychographySettings.start``. The image of parallax is no phase in rad: it is given the
        spread of direct ptychography's.
    """
    if start == "flat":
        return None
    views = m.whole.views(m.scene.acquisition)  # not m.views: patterns may have been replaced
    direct = m.scene.direct(views)
    if start == "direct":
        return direct
    from misr4d.reconstruction.classical import parallax  # loads py4DSTEM

    image = parallax(views, m.scene.midplane, UPSAMPLING)
    return image * (direct.std() / image.std())


def _ptychography(m: Measurement) -> Tensor:
    from misr4d.reconstruction import classical  # loads py4DSTEM

    settings = ptychography_settings(m.scene.specimen.regime, m.dose)
    initial = starting_phase(m, settings.start)
    inputs = (m.whole, m.scene.midplane, UPSAMPLING, settings)
    key = result_key(classical.ptychography, given=(inputs, initial), data=())
    return _made_once("ptychography", key, lambda: classical.ptychography(*inputs, initial=initial))


def _ssb(m: Measurement) -> Tensor:
    return m.scene.direct(m.views, solver="ssb")


def _obf(m: Measurement) -> Tensor:
    return m.scene.direct(m.views, solver="obf")


def _direct(m: Measurement) -> Tensor:
    return m.scene.direct(m.views)


def _attention_unet(m: Measurement) -> Tensor:
    return attention_unet(m.views, m.scene.midplane)


def _dual_path(m: Measurement) -> Tensor:
    return dual_path(m.views, m.scene.midplane)


def first_stage(scene: Scene, views: Tensor) -> Estimate:
    """Reconstruct by the network of the paper's settings, however thick the specimen is.

    From its middle, a thick specimen is measured at another defocus than the settings have.
    """
    return informed(scene.direct, views, network=load_network("DirectInformed"))


def _informed(m: Measurement) -> Tensor:
    return first_stage(m.scene, m.views).mean


def _refined(m: Measurement) -> Tensor:
    counts, first, direct = m.counts, first_stage(m.scene, m.views), m.scene.direct
    strength = prior_strength(m.scene.specimen.regime)
    kernels = (m.scene.midplane, UPSAMPLING, AMPLITUDE_CONTRAST[m.scene.specimen.regime])
    inputs = (counts, kernels, m.dose, first, strength)
    key = result_key(refinement.refine, given=inputs, data=())
    return _made_once(
        "refined",
        key,
        lambda: refinement.refine(counts, direct, m.dose, first, strength=strength).image,
    )


METHODS: Mapping[str, Callable[[Measurement], Tensor]] = {
    "summed VBF": _summed_bright_field,
    "iDPC": _idpc,
    "parallax": _parallax,
    "ptychography": _ptychography,
    "SSB": _ssb,
    "OBF": _obf,
    "direct": _direct,
    "attention U-Net": _attention_unet,
    "dual path": _dual_path,
    "informed": _informed,
    "refined": _refined,
}
"""Every method of the study by name: from a measurement to an image on the ×3 grid.

Ptychography and refinement take long: an image made before is read back from the cache.
"""

NETWORK_OF: Mapping[str, str] = {
    "attention U-Net": "AttentionUNet",
    "dual path": "DualPath",
    "informed": "DirectInformed",
    "refined": "DirectInformed",
}
"""Shipped network behind each method that has one."""


def method_key(
    method: str, specimen: str, dose: float, *roots: Callable[..., Any], given: Any
) -> str:
    """Return the key of what a method shows of a specimen of the study.

    Parameters
    ----------
    method, specimen : str
    dose : float
        e⁻/Å².
    *roots : callable
        What makes the result of scene and method.
    given : object
        Everything else that they are given.

    Notes
    -----
    Of the tuned settings those enter that are used, of the networks the method's own, and of the
    specimens' files this one's.
    """
    regime = regime_of(specimen)
    tuned: object = None
    if method == "ptychography":
        tuned = ptychography_settings(regime, dose)
    elif method == "refined":
        tuned = prior_strength(regime)
    network = NETWORK_OF.get(method)
    # Of its card the run that built it: scores on it may be measured anew without new weights.
    weights = [f"weights/{network}.safetensors"] if network else []
    trained = card(network)["training"] if network else None
    return result_key(
        METHODS[method],
        *roots,
        given=(method, specimen, dose, tuned, trained, given),
        data=[*data_files(specimen), *weights],
        apart=(f"{__name__}:METHODS",),
    )
