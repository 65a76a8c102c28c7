"""abTEM in three functions: potential of a specimen, probe, and full 4D datacube."""

from __future__ import annotations

import math
from typing import Any

import abtem
import numpy as np
import torch

from misr4d.core import optics
from misr4d.core.acquisition import Acquisition
from misr4d.core.datacube import Datacube
from misr4d.specimens.catalogue import Specimen
from misr4d.specimens.ice import ice_slices
from misr4d.specimens.potential import Potential, Thermal, rms_displacement

__all__ = ["build_potential", "make_probe", "repeatable", "simulate_datacube"]

_REFINEMENT = 3  # our choice, see build_potential


def repeatable() -> Any:
    """Context in which abTEM gives the same digits in every run.

    FFTW's default plans depend on timings, so that the last digits and drawn counts would too.
    """
    return abtem.config.set({"fftw.planning_effort": "FFTW_ESTIMATE"})


def build_potential(
    specimen: Specimen,
    sampling: float,
    slice_thickness: float = 2.0,
    *,
    thermal: Thermal = 0.0,
) -> Potential:
    """Project the atoms' potentials onto slices (Lobato parametrisation, independent atoms).

    Parameters
    ----------
    specimen : Specimen
    sampling : float
        Upper bound of the lateral sampling [Å]; the nearest finer one that divides the cell into
        a product of small primes is used. abTEM interpolates atoms between pixels, which blurs
        them at the samplings used here. Therefore it computes a grid three times finer, which is
        then cropped in Fourier space. ``tests/specimens/test_potential.py`` bounds the remaining
        difference from the exact phases of :func:`misr4d.specimens.potential.project_atoms`.
    slice_thickness : float
        Upper bound of the slice thickness [Å]; slices are equally thick.
    thermal : float or mapping
        Of :data:`misr4d.specimens.potential.Thermal`; by default the atoms do not vibrate. It
        does not change ice.

    Returns
    -------
    Potential
        Each atom's whole potential is projected into the slice that holds its nucleus. Vitreous
        ice around a molecule is a continuum, see :mod:`misr4d.specimens.ice`.

    Raises
    ------
    ValueError
        If sampling or thickness is not positive and finite, or an element's displacement is not
        given or not valid.
    """
    for name, value in (("sampling", sampling), ("slice_thickness", slice_thickness)):
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} is {value!r} Å; expected a positive number of Å")
    cell = specimen.atoms.cell.lengths()
    number = math.ceil(cell[2] / slice_thickness - 1e-9)
    shape = (_grid_size(cell[0], sampling), _grid_size(cell[1], sampling))
    displacements = np.array(
        [rms_displacement(atomic_number, thermal) for atomic_number in specimen.atoms.numbers]
    )
    element_slices = []
    # Vacuum is a potential too.
    for displacement in np.unique(displacements) if len(displacements) else (0.0,):
        abtem_potential = abtem.Potential(
            specimen.atoms[displacements == displacement],
            gpts=(_REFINEMENT * shape[0], _REFINEMENT * shape[1]),
            slice_thickness=cell[2] / number,
            parametrization="lobato",  # our choice: correct at both ends (abTEM's default)
            projection="infinite",  # our choice: as in the paper's code; slices stay a few Å
            periodic=True,
        )
        with repeatable():
            array = np.asarray(abtem_potential.build(lazy=False).array, dtype=np.float32)
        projected = torch.stack(
            [optics.fourier_resample(image, shape) for image in torch.from_numpy(array)]
        )
        if displacement:
            qx, qy = optics.frequencies(shape, (cell[0] / shape[0], cell[1] / shape[1]))
            blur = optics.gaussian_transfer(qx**2 + qy**2, float(displacement))
            projected = torch.fft.ifft2(torch.fft.fft2(projected) * blur).real.float()
        element_slices.append(projected)
    slices = torch.stack(element_slices).sum(0) if len(element_slices) > 1 else element_slices[0]
    thicknesses = tuple(float(dz) for dz in abtem_potential.slice_thickness)
    if specimen.ice:
        slices = slices + torch.from_numpy(ice_slices(specimen, shape, thicknesses))
    return Potential(slices, (float(cell[0]), float(cell[1])), thicknesses)


def _grid_size(side: float, sampling: float) -> int:
    """Smallest even number of points, of primes 2, 3 and 5, that samples a side finely enough."""
    n = math.ceil(side / sampling - 1e-9)
    n += n % 2
    while True:
        remainder = n
        for prime in (2, 3, 5):
            while remainder % prime == 0:
                remainder //= prime
        if remainder == 1:
            return n
        n += 2


def make_probe(potential: Potential, acquisition: Acquisition) -> abtem.Probe:
    """Make the abTEM probe on the potential's grid, with a hard aperture."""
    a, b = acquisition.astigmatism
    return abtem.Probe(
        energy=acquisition.energy,
        semiangle_cutoff=acquisition.semiangle,
        defocus=acquisition.defocus,
        C12=math.hypot(a, b),
        phi12=math.atan2(b, a) / 2,
        soft=False,
        extent=potential.cell,
        gpts=(potential.slices.shape[1], potential.slices.shape[2]),
    )


def simulate_datacube(
    potential: Potential,
    acquisition: Acquisition,
    *,
    max_angle: float | None = None,
    max_batch: int = 64,
    cut_probe: bool = False,
) -> Datacube:
    """Scan the probe over the specimen with abTEM: the reference for everything faster.

    Parameters
    ----------
    potential : Potential
    acquisition : Acquisition
        Its detector is ignored: the datacube's pixels are those of the wave field, λ/cell.
    max_angle : float, optional
        Largest recorded angle [mrad]; default twice the semi-angle, capped by the wave field.
    max_batch : int
        Probe positions propagated at once.
    cut_probe : bool
        Continue if the sampling cuts the probe, as abTEM itself does; see
        :mod:`misr4d.companion.released`.

    Returns
    -------
    Datacube
        Patterns are fractions of the incident electrons.

    Raises
    ------
    ValueError
        If the potential's sampling cuts the probe or its cell does not fit the scan.
    """
    if not cut_probe:
        acquisition.check_wave_sampling(potential.sampling)
    potential.check_scan(acquisition)
    probe = make_probe(potential, acquisition)
    array = abtem.PotentialArray(
        potential.slices.cpu().numpy(), potential.thicknesses, extent=potential.cell
    )
    scan = abtem.GridScan(
        start=(0, 0), end=acquisition.field, gpts=acquisition.scan_shape, endpoint=False
    )
    cutoff_angle = min(probe.cutoff_angles) - 1e-6
    detector = abtem.PixelatedDetector(
        max_angle=min(max_angle or 2 * acquisition.semiangle, cutoff_angle)
    )
    with repeatable():
        measured = probe.scan(array, scan=scan, detectors=detector, max_batch=max_batch, lazy=False)
    assert isinstance(measured, abtem.measurements.DiffractionPatterns)
    patterns = np.asarray(measured.array, dtype=np.float32)
    pixel = measured.angular_sampling
    return Datacube(patterns, acquisition.step, (float(pixel[0]), float(pixel[1])))
