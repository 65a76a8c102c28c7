"""A study's measurements: one specimen, one scan, the same electrons for every method."""

from __future__ import annotations

import hashlib
import inspect
import math
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import Tensor

from misr4d import acquisition, classical, optics, reciprocity
from misr4d import refine as refinement
from misr4d.acquisition import REGIMES, Acquisition
from misr4d.classical import idpc, parallax, summed_bright_field
from misr4d.datacube import Datacube
from misr4d.direct import AMPLITUDE_CONTRAST, DirectPtychography
from misr4d.dose import electrons_per_pixel, electrons_per_probe, expose
from misr4d.fetch import cache_folder
from misr4d.learned import attention_unet, dual_path, informed
from misr4d.multislice import build_potential
from misr4d.networks import UPSAMPLING
from misr4d.potential import Potential, truth
from misr4d.probes import WINDOW, camera_pixel, simulate_patterns
from misr4d.settings import prior_trust, ptychography_settings
from misr4d.specimens import Specimen, make_specimen

__all__ = ["METHODS", "UPSAMPLING", "Measurement", "Scene", "make_scene", "place", "starting_phase"]

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
    """

    specimen: Specimen
    acquisition: Acquisition
    potential: Potential

    @cached_property
    def patterns(self) -> Datacube:
        """Diffraction patterns at infinite dose, as fractions of the electrons."""
        angle = SIMULATION[self.specimen.regime][2]
        return simulate_patterns(self.potential, self.acquisition, window=WINDOW, max_angle=angle)

    @cached_property
    def expected_views(self) -> Tensor:
        """Views at infinite dose by reciprocity ``(M, Rx, Ry)``, without the patterns.

        They take long: views made before are read back from the cache.
        """
        potential = self.potential
        entering = (
            np.ascontiguousarray(potential.slices.numpy()).data,
            (potential.cell, potential.thicknesses, asdict(self.acquisition), version("torch")),
            *map(inspect.getsource, (acquisition, optics, reciprocity)),
        )
        return _kept(
            "views", entering, lambda: reciprocity.simulate_views(potential, self.acquisition)
        )

    @cached_property
    def truth(self) -> Tensor:
        """Projected phase on the ×3 grid [rad]."""
        return truth(self.potential, self.acquisition, UPSAMPLING)

    @property
    def focused(self) -> Acquisition:
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
            self.focused, UPSAMPLING, aliases=UPSAMPLING, amplitude_contrast=contrast
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

    def expose(self, dose: float, seed: int) -> Measurement:
        """Count electrons in the bright disc's pixels alone: quicker, and for most methods all.

        Parameters
        ----------
        dose : float
            e⁻/Å²; ``inf`` gives the expected views.
        seed : int
            Of the counting noise.
        """
        generator = torch.Generator().manual_seed(seed)
        views = expose(self.expected_views, self.acquisition, dose, generator)
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
        One of ``misr4d.specimens.SPECIMENS``.
    thickness, defocus : float, optional
        In Å; the specimen's and the regime's own unless given.
    """
    return place(make_specimen(name, thickness=thickness), defocus)


def place(specimen: Specimen, defocus: float | None = None) -> Scene:
    """Put a specimen under its regime's measurement, the detector as the networks know it.

    Parameters
    ----------
    specimen : Specimen
    defocus : float, optional
        In Å; the regime's own unless given.
    """
    acquisition = REGIMES[specimen.regime]
    if defocus is not None:
        acquisition = replace(acquisition, defocus=defocus)
    acquisition = replace(acquisition, detector_pixel=camera_pixel(acquisition.wavelength))
    acquisition.check_upsampling(UPSAMPLING)
    sampling, slice_thickness, _ = SIMULATION[specimen.regime]
    return Scene(specimen, acquisition, build_potential(specimen, sampling, slice_thickness))


def _kept(kind: str, entering: Sequence[Any], make: Callable[[], Tensor]) -> Tensor:
    """Read back an image that takes long, if it was made before from all that enters."""
    digest = hashlib.sha256()
    for one in entering:
        data = one if isinstance(one, bytes | memoryview) else repr(one).encode()
        digest.update(data)
    path = cache_folder() / kind / f"{digest.hexdigest()[:32]}.npy"
    if path.is_file():
        return torch.from_numpy(np.load(path, allow_pickle=False))
    image = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as file:
        np.save(file, image.numpy(), allow_pickle=False)
    os.replace(file.name, path)
    return image


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
    image = parallax(views, m.scene.focused, UPSAMPLING)
    return image * (direct.std() / image.std())


def _ptychography(m: Measurement) -> Tensor:
    settings = ptychography_settings(m.scene.specimen.regime, m.dose)
    geometry = (m.whole.step, m.whole.detector_pixel, asdict(m.scene.focused))
    initial = starting_phase(m, settings.start)
    entering = (
        np.ascontiguousarray(m.whole.patterns).data,
        (geometry, asdict(settings), UPSAMPLING, version("py4dstem")),
        inspect.getsource(classical),
        b"" if initial is None else initial.numpy().data,
    )
    return _kept(
        "ptychography",
        entering,
        lambda: classical.ptychography(
            m.whole, m.scene.focused, UPSAMPLING, settings, initial=initial
        ),
    )


def _refined(m: Measurement) -> Tensor:
    counts, first = m.counts, informed(m.scene.direct, m.views)
    trust = prior_trust(m.scene.specimen.regime)
    entering = (
        counts.numpy().data,
        first.mean.numpy().data,
        first.deviation.numpy().data,
        (m.dose, asdict(m.scene.focused), asdict(trust), UPSAMPLING, version("torch")),
        inspect.getsource(refinement),
    )
    return _kept(
        "refined",
        entering,
        lambda: refinement.refine(counts, m.scene.direct, m.dose, first, trust=trust).image,
    )


METHODS: Mapping[str, Callable[[Measurement], Tensor]] = {
    "summed VBF": lambda m: summed_bright_field(m.views, m.scene.acquisition, UPSAMPLING),
    "iDPC": lambda m: idpc(m.whole, m.scene.acquisition, UPSAMPLING),
    "parallax": lambda m: parallax(m.views, m.scene.focused, UPSAMPLING),
    "ptychography": _ptychography,
    "SSB": lambda m: m.scene.direct(m.views, solver="ssb"),
    "OBF": lambda m: m.scene.direct(m.views, solver="obf"),
    "direct": lambda m: m.scene.direct(m.views),
    "attention U-Net": lambda m: attention_unet(m.views, m.scene.focused),
    "dual path": lambda m: dual_path(m.views, m.scene.focused),
    "informed": lambda m: informed(m.scene.direct, m.views).mean,
    "refined": _refined,
}
"""Every method of the study by name: from a measurement to an image on the ×3 grid.

Ptychography and refinement take long: an image made before is read back from the cache.
"""
