"""Chapter 11, what a network invents: its scans, their electrons, and the cases measured on them.

All methods see the same electrons. Those of a scan's first draw at the dose of ptychography are
counted in whole diffraction patterns, the others in views binned from the patterns without noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.data import atomic_numbers
from torch import Tensor

from misr4d.companion.recorded import Case, PictureCase
from misr4d.companion.study import METHODS, Measurement, Scene, place
from misr4d.core.acquisition import UPSAMPLING
from misr4d.core.datacube import Datacube
from misr4d.core.dose import count_electrons, electrons_per_pixel, thin
from misr4d.core.estimate import Estimate
from misr4d.learn.learned import STUDIED, attention_unet, dual_path, informed
from misr4d.measure.audit import (
    central_column,
    detect,
    false_peaks,
    overconfidence,
    reliability,
    shuffle_positions,
    signature,
    turn_disc,
)
from misr4d.measure.metrics import correlation, specimen_mask
from misr4d.measure.spectra import fourier_ring_correlation
from misr4d.reconstruction.direct import DirectPtychography
from misr4d.specimens.catalogue import Specimen, make_specimen

__all__ = [
    "AWAY",
    "DEFECTS",
    "EMPTY",
    "ITERATIVE",
    "Questions",
    "atoms_of",
    "defect",
    "defect_pictures",
    "deviation",
    "half_a_carbon",
    "methods",
    "nothing",
    "nothing_pictures",
    "novel",
    "scan",
    "spiral",
]

ITERATIVE = "ptychography"
WIDTH = 3  # of a ring, in Fourier pixels across the field
EMPTY = ("vacuum", "shuffled")
DEFECTS = ("removed", "replaced", "turned")
HALF = 9.0  # Å, pictured around a column; a disc has a margin of MARGIN
MARGIN = 4.0  # Å

AWAY: Mapping[str, tuple[str, str | None]] = {
    "perfect crystal": ("crystal", None),
    "its disc": ("crystal", None),
    "turned disc": ("turned", "its disc"),
    "spiral": ("spiral", "perfect crystal"),
}
"""Where a deviation is looked at: the scan, and what its deviation is compared with."""

Changed = tuple[str, str, str, float]
"""A scan's kind and what matters for it, as :func:`_changed` gives them."""
PERFECT: Changed = ("crystal", "", "", 0.0)


def spiral(columns: int = 110, atoms: int = 5) -> Atoms:
    """Place columns of gold on a sunflower's spiral, which has neither lattice nor randomness.

    Parameters
    ----------
    columns, atoms : int
        Number of columns, and of atoms in each, 4 Å apart along the beam.
    """
    angle = math.pi * (3 - math.sqrt(5)) * np.arange(columns)
    radius = 2.1 * np.sqrt(np.arange(columns) + 0.5)
    flat = np.stack([32 + radius * np.cos(angle), 32 + radius * np.sin(angle)], 1)
    return Atoms(
        ["Au"] * (atoms * columns),
        [(x, y, 0.5 + 4.0 * k) for k in range(atoms) for x, y in flat],
        cell=[64, 64, 21],
        pbc=True,
    )


def atoms_of(
    specimen: Specimen, kind: str, element: str = "", substitute: str = "", radius: float = 0.0
) -> Atoms:
    """Make the atoms of a scan.

    Parameters
    ----------
    specimen : Specimen
        A crystal.
    kind : {"crystal", "vacuum", "spiral", "removed", "replaced", "turned"}
        The last three are the crystal without its column in the middle, with another in its place,
        and with a disc turned by 90°.
    element, substitute : str
        Of the column in the middle, and what replaces it.
    radius : float
        Of the disc [Å].

    Raises
    ------
    ValueError
        If there is no such kind.
    """
    perfect = specimen.atoms
    if kind == "crystal":
        return perfect
    if kind == "vacuum":
        return Atoms(cell=perfect.cell, pbc=True)
    if kind == "spiral":
        return spiral()
    if kind == "turned":
        middle = perfect.cell.lengths()[:2] / 2
        return turn_disc(perfect, (middle[0], middle[1]), radius)
    near, _ = central_column(perfect, atomic_numbers[element])
    if kind == "removed":
        return perfect[~near]
    if kind == "replaced":
        replaced: Atoms = perfect.copy()  # type: ignore[no-untyped-call]
        replaced.numbers[near] = atomic_numbers[substitute]
        return replaced
    raise ValueError(
        f"the scan is {kind!r}; expected crystal, vacuum, spiral, {', '.join(DEFECTS)}"
    )


def _changed(kind: str, element: str, substitute: str, radius: float) -> Changed:
    """Leave out of a scan's description what does not matter for its kind."""
    return (
        kind,
        element if kind in ("removed", "replaced") else "",
        substitute if kind == "replaced" else "",
        radius if kind == "turned" else 0.0,
    )


@lru_cache(maxsize=8)
def scan(
    crystal: str, kind: str, element: str = "", substitute: str = "", radius: float = 0.0
) -> Scene:
    """Put a scan's atoms under the crystal's measurement; arguments are those of :func:`atoms_of`.

    Parameters
    ----------
    crystal : str
        Name of a specimen.
    """
    specimen = make_specimen(crystal)
    return place(replace(specimen, atoms=atoms_of(specimen, kind, element, substitute, radius)))


@lru_cache(maxsize=8)
def half_a_carbon(crystal: str) -> float:
    """Half the height of a carbon atom under the crystal's measurement [rad]."""
    carbon = Atoms("C", [[32.0, 32.0, 1.0]], cell=[64, 64, 2], pbc=True)
    atom = place(replace(make_specimen(crystal), atoms=carbon)).truth
    return float(atom.max() - atom.median()) / 2


def methods(direct: DirectPtychography) -> dict[str, Callable[[Tensor], Tensor]]:
    """Methods that need views alone, by name: from views to an image."""
    by_name: dict[str, Callable[[Tensor], Tensor]] = {
        "direct": direct,
        "attention U-Net": lambda views: attention_unet(views, direct.acquisition),
        "dual path": lambda views: dual_path(views, direct.acquisition),
        "informed": lambda views: informed(direct, views).mean,
    }
    if "DualPath" not in STUDIED:
        del by_name["dual path"]
    return by_name


@lru_cache(maxsize=1)
def _simulated(crystal: str, changed: Changed) -> Scene:
    """Return a scene whose patterns are kept while it is the last that was asked for: 150 MB."""
    scene = scan(crystal, *changed)
    return Scene(scene.specimen, scene.acquisition, scene.potential)


@lru_cache(maxsize=8)
def _expected(crystal: str, changed: Changed) -> Tensor:
    """Bin views without counting noise from patterns ``(M, Rx, Ry)``."""
    scene = _simulated(crystal, changed)
    return scene.patterns.views(scene.acquisition)


@dataclass(frozen=True)
class Counted:
    """Electrons of patterns, and what ptychography makes of them.

    Parameters
    ----------
    whole : Tensor
        Electrons in the views ``(M, Rx, Ry)``.
    halves : tuple of Tensor
        The same, dealt to two halves; none of a shuffled scan.
    image : Tensor
        ``(X, Y)`` [rad].
    """

    whole: Tensor
    halves: tuple[Tensor, ...]
    image: Tensor


def _counts(measurement: Measurement, views: Tensor | None = None) -> Tensor:
    share = electrons_per_pixel(measurement.dose, measurement.scene.acquisition)
    return ((measurement.views if views is None else views) * share).round()


@lru_cache(maxsize=8)
def _counted(crystal: str, changed: Changed, dose: float, seed: int) -> Counted:
    """Count the electrons that ptychography sees in a scan's patterns, and run it."""
    kind = changed[0]
    scene = _simulated(crystal, PERFECT if kind == "shuffled" else changed)
    # Electrons of their own for the perfect crystal, with which the defects are compared.
    measurement = scene.measure(dose, seed + (kind in ("crystal", "shuffled")))
    if kind == "shuffled":  # the positions in each detector pixel on its own
        cube = measurement.whole
        pixels = cube.patterns.reshape(-1, *cube.patterns.shape[2:])
        mixed = np.random.default_rng(seed).permuted(pixels, axis=0)
        shuffled = Datacube(mixed.reshape(cube.patterns.shape), cube.step, cube.detector_pixel)
        whole = _counts(measurement, shuffled.views(scene.acquisition))
        return Counted(whole, (), METHODS[ITERATIVE](replace(measurement, patterns=shuffled)))
    assert measurement.halves is not None
    halves = tuple(_counts(half) for half in measurement.halves)
    return Counted(_counts(measurement), halves, METHODS[ITERATIVE](measurement))


def _electrons(
    crystal: str, changed: Changed, dose: float, draw: int, seed: int, patterns: bool
) -> Tensor:
    """Electrons in the views of one draw; a shuffled scan is the crystal's, shuffled view by view."""
    if patterns:
        return _counted(crystal, changed, dose, seed).whole
    if changed[0] == "shuffled":
        counts = _electrons(crystal, PERFECT, dose, 5000 + draw, seed, False)
        return shuffle_positions(counts, torch.Generator().manual_seed(seed + 1000 + draw))
    first = 2000 if changed[0] == "crystal" else 0
    generator = torch.Generator().manual_seed(seed + first + draw)
    acquisition = scan(crystal, "crystal").acquisition
    return count_electrons(_expected(crystal, changed), acquisition, dose, generator)


@lru_cache(maxsize=64)
def _reconstructed(
    crystal: str, changed: Changed, dose: float | None, draw: int, seed: int, patterns: bool
) -> tuple[Estimate, dict[str, Tensor]]:
    """Image by each method of one draw, and the informed network's estimate.

    Parameters
    ----------
    dose : float or None
        e⁻/Å²; none is without counting noise.
    patterns : bool
        Whether the electrons are counted in patterns, of which ptychography makes an image too.
    """
    home = scan(crystal, "crystal")
    if dose is None:
        views = _expected(crystal, changed)
    else:
        counts = _electrons(crystal, changed, dose, draw, seed, patterns)
        views = counts / electrons_per_pixel(dose, home.acquisition)
    estimate = informed(home.direct, views)
    images = {
        label: estimate.mean if label == "informed" else method(views)
        for label, method in methods(home.direct).items()
    }
    if patterns and dose is not None:
        images[ITERATIVE] = _counted(crystal, changed, dose, seed).image
    return estimate, images


# ---- cases, each measured once and kept with the study ---------------------------------------


def nothing(
    crystal: str, kind: str, dose: float, draw: int, seed: int, patterns: bool
) -> dict[str, float]:
    """Count false peaks in 100 Å² of vacuum, or of the crystal's scan shuffled, by method.

    Parameters
    ----------
    crystal : str
    kind : {"vacuum", "shuffled"}
    dose : float
        e⁻/Å².
    draw, seed : int
        Of the noise, and of its first draw.
    patterns : bool
        Whether electrons are counted in patterns, of which ptychography makes an image too.
    """
    _, images = _reconstructed(crystal, (kind, "", "", 0.0), dose, draw, seed, patterns)
    home, threshold = scan(crystal, "crystal"), half_a_carbon(crystal)
    everywhere = torch.ones_like(home.truth, dtype=torch.bool)
    return {
        label: 100 * false_peaks(image, everywhere, threshold, home.pixel)
        for label, image in images.items()
    }


def defect(
    crystal: str,
    kind: str,
    element: str,
    substitute: str,
    radius: float,
    dose: float | None,
    draws: int,
    seed: int,
    patterns: bool,
) -> dict[str, dict[str, Any]]:
    """Ask of every method whether its images show a defect of the crystal.

    Parameters
    ----------
    crystal, kind, element, substitute, radius
        As for :func:`scan`.
    dose : float or None
        e⁻/Å²; none is without counting noise, which has one draw.
    draws, seed : int
        Number of draws of both the defect and the perfect crystal, and seed of the first.
    patterns : bool
        Whether electrons of the first draw are counted in patterns.

    Returns
    -------
    dict
        By method ``shares``, ``probabilities``, ``d_prime`` (none where it is infinite) and
        ``places``, see :class:`misr4d.measure.audit.Detection`.
    """
    scans = [_changed(what, element, substitute, radius) for what in ("crystal", kind)]
    perfect, changed = (
        [
            _reconstructed(crystal, what, dose, n, seed, patterns and n == 0)[1]
            for n in range(draws if dose is not None else 1)
        ]
        for what in scans
    )
    target = signature(*(scan(crystal, *what).truth for what in scans))
    seen = {
        label: detect(
            target,
            [images[label] for images in changed if label in images],
            [images[label] for images in perfect if label in images],
        )
        for label in changed[0]
    }
    return {
        label: {
            "shares": list(found.shares),
            "probabilities": list(found.probabilities),
            "d_prime": found.d_prime if math.isfinite(found.d_prime) else None,
            "places": found.places,
        }
        for label, found in seen.items()
    }


def novel(
    crystal: str, dose: float, draw: int, seed: int, patterns: bool
) -> dict[str, dict[str, float]]:
    """Compare what two halves of the spiral's electrons promise with what is true.

    Parameters
    ----------
    crystal, dose, draw, seed, patterns
        As for :func:`nothing`.

    Returns
    -------
    dict
        By method its correlation ``inside`` the specimen and in the ``whole`` field, and but for
        ptychography the ``overconfidence`` of its halves.
    """
    changed, home = ("spiral", "", "", 0.0), scan(crystal, "crystal")
    truth = scan(crystal, "spiral").truth
    inside = specimen_mask(truth, home.pixel)
    share = electrons_per_pixel(dose, home.acquisition)
    if patterns:
        halves = _counted(crystal, changed, dose, seed).halves
    else:
        counts = _electrons(crystal, changed, dose, draw, seed, patterns)
        halves = thin(counts, torch.Generator().manual_seed(seed + 500 + draw))
    by_name = methods(home.direct)

    def ring(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return fourier_ring_correlation(first, second, home.pixel, width=WIDTH)

    measures = {}
    for label, image in _reconstructed(crystal, changed, dose, draw, seed, patterns)[1].items():
        measures[label] = {
            "inside": correlation(image, truth, within=inside),
            "whole": correlation(image, truth),
        }
        if label in by_name:
            a, b = (by_name[label](2 * half / share) for half in halves)
            frequency, between, count = ring(a, b)
            first, second = (ring(half, truth)[1] for half in (a, b))
            band = frequency < 1 / home.acquisition.information_limit
            over = overconfidence(between[band], first[band], second[band], count[band])
            measures[label]["overconfidence"] = over
    return measures


def deviation(
    crystal: str, radius: float, dose: float, draw: int, seed: int, patterns: bool
) -> dict[str, dict[str, Any]]:
    """Compare the informed network's deviation with its error, at home and away.

    Parameters
    ----------
    crystal, dose, draw, seed, patterns
        As for :func:`nothing`.
    radius : float
        Of the turned disc [Å].

    Returns
    -------
    dict
        By what is looked at, see :data:`AWAY`: ``predicted`` and ``error`` [rad], and by its share
        how much of the pixels an interval ``covered``.
    """
    home = scan(crystal, "crystal")
    x, y = (torch.arange(n) * step for n, step in zip(home.truth.shape, home.pixel, strict=True))
    middle = home.specimen.atoms.cell.lengths() / 2
    disc = (x[:, None] - middle[0]) ** 2 + (y - middle[1]) ** 2 < radius**2
    rows = {}
    for name, (kind, _) in AWAY.items():
        changed = _changed(kind, "", "", radius)
        estimate, _ = _reconstructed(crystal, changed, dose, draw, seed, patterns)
        widths = {share: estimate.interval(share) for share in estimate.intervals or ()}
        truth, where = scan(crystal, *changed).truth, disc if "disc" in name else None
        found = reliability(estimate.mean, truth, estimate.deviation, widths, where)
        rows[name] = {
            "predicted": found.predicted,
            "error": found.error,
            "covered": {str(share): value for share, value in found.covered.items()},
        }
    return rows


def nothing_pictures(
    crystal: str, kind: str, dose: float, seed: int, patterns: bool, labels: Sequence[str]
) -> dict[str, Tensor]:
    """Reconstruct the first draw of vacuum or of the shuffled scan, as :func:`nothing` does.

    Parameters
    ----------
    labels : sequence of str
        Methods whose images ``(X, Y)`` [rad] are wanted.
    """
    _, images = _reconstructed(crystal, (kind, "", "", 0.0), dose, 0, seed, patterns)
    return {label: images[label] for label in labels}


def defect_pictures(
    crystal: str,
    kind: str,
    element: str,
    substitute: str,
    radius: float,
    dose: float,
    seed: int,
    patterns: bool,
) -> dict[str, Tensor]:
    """Cut the surroundings of a defect out of the images of the first draw, and out of the truth.

    Arguments are those of :func:`defect`; images ``(x, y)`` [rad] are by method.
    """
    changed, home = _changed(kind, element, substitute, radius), scan(crystal, "crystal")
    _, images = _reconstructed(crystal, changed, dose, 0, seed, patterns)
    truth = scan(crystal, *changed).truth
    if kind == "turned":
        centre, half = home.specimen.atoms.cell.lengths()[:2] / 2, radius + MARGIN
    else:
        _, centre = central_column(home.specimen.atoms, atomic_numbers[element])
        half = HALF
    reach = round(half * UPSAMPLING)
    x, y = (round(float(c) * UPSAMPLING) for c in centre[:2])
    whole = {**images, "truth": truth - truth.mean()}
    return {
        label: image[x - reach : x + reach, y - reach : y + reach] for label, image in whole.items()
    }


# ---- what the page asks for -------------------------------------------------------------------


@dataclass(frozen=True)
class Questions:
    """What the page asks; by default what its own parameters ask.

    Parameters
    ----------
    crystal : str
        Name of a specimen.
    element, substitute : str
        Of the column that is removed or replaced, and what replaces it.
    doses : sequence of float
        [e⁻/Å²].
    draws : int
        Noise draws behind each median.
    seed : int
        Of the first draw.
    swapped_radius : float
        Of the turned disc [Å].
    with_ptychography : bool
    ptychography_dose : float
        One of the doses, at which iterative ptychography has one draw [e⁻/Å²].

    Raises
    ------
    ValueError
        If the dose of ptychography is none of the doses.
    """

    crystal: str = "Li2CoO3"
    element: str = "Co"
    substitute: str = "Li"
    doses: Sequence[float] = (50.0, 100.0, 300.0, 1000.0)
    draws: int = 8
    seed: int = 0
    swapped_radius: float = 10.0
    with_ptychography: bool = True
    ptychography_dose: float = 1000.0

    def __post_init__(self) -> None:
        if self.with_ptychography and self.ptychography_dose not in self.doses:
            raise ValueError(
                f"ptychography_dose is {self.ptychography_dose:g}; expected one of "
                f"{list(self.doses)}"
            )

    @property
    def _changes(self) -> dict[str, Any]:
        return {
            "element": self.element,
            "substitute": self.substitute,
            "radius": self.swapped_radius,
        }

    def _patterns(self, dose: float | None, draw: int = 0) -> bool:
        return self.with_ptychography and (dose, draw) == (self.ptychography_dose, 0)

    def _of_draws(self) -> list[dict[str, Any]]:
        """Arguments that the cases of one draw share."""
        return [
            {
                "crystal": self.crystal,
                "dose": dose,
                "draw": draw,
                "seed": self.seed,
                "patterns": self._patterns(dose, draw),
            }
            for dose, draw in product(self.doses, range(self.draws))
        ]

    def nothing(self) -> list[Case]:
        """Cases of vacuum and of the shuffled scan."""
        given = product(EMPTY, self._of_draws())
        return [(nothing, {"kind": kind, **arguments}) for kind, arguments in given]

    def defects(self) -> list[Case]:
        """Cases of the changed crystals."""
        return [
            (
                defect,
                {
                    "crystal": self.crystal,
                    "kind": kind,
                    **self._changes,
                    "dose": dose,
                    "draws": self.draws,
                    "seed": self.seed,
                    "patterns": self._patterns(dose),
                },
            )
            for kind, dose in product(DEFECTS, (*self.doses, None))
        ]

    def novel(self) -> list[Case]:
        """Cases of the spiral."""
        return [(novel, arguments) for arguments in self._of_draws()]

    def deviations(self) -> list[Case]:
        """Cases of the informed network's deviation."""
        radius = {"radius": self.swapped_radius}
        return [(deviation, radius | arguments) for arguments in self._of_draws()]

    def cases(self) -> list[Case]:
        """Everything that is measured."""
        return [*self.nothing(), *self.defects(), *self.novel(), *self.deviations()]

    @property
    def shown_dose(self) -> float:
        """Dose at which vacuum and the shuffled scan are pictured, but for ptychography's."""
        return self.doses[min(1, len(self.doses) - 1)]

    @property
    def shown_defects(self) -> list[tuple[str, float]]:
        """Defects that are pictured, and at which dose; the last is ptychography's, if it runs."""
        highest = self.ptychography_dose if self.with_ptychography else self.doses[-1]
        lower = max((dose for dose in self.doses if dose < highest), default=highest)
        return [("removed", lower), ("removed", highest), ("turned", highest)]

    def nothing_pictures(self) -> list[PictureCase]:
        """Images of vacuum and of the shuffled scan."""
        home = scan(self.crystal, "crystal")
        wanted = [(self.shown_dose, list(methods(home.direct)))]
        if self.with_ptychography:
            wanted.append((self.ptychography_dose, [ITERATIVE]))
        return [
            (
                nothing_pictures,
                {
                    "crystal": self.crystal,
                    "kind": kind,
                    "dose": dose,
                    "seed": self.seed,
                    "patterns": self._patterns(dose),
                    "labels": labels,
                },
            )
            for kind, (dose, labels) in product(EMPTY, wanted)
        ]

    def defect_pictures(self) -> list[PictureCase]:
        """Images of the surroundings of defects."""
        return [
            (
                defect_pictures,
                {
                    "crystal": self.crystal,
                    "kind": kind,
                    **self._changes,
                    "dose": dose,
                    "seed": self.seed,
                    "patterns": self._patterns(dose),
                },
            )
            for kind, dose in self.shown_defects
        ]

    def pictures(self) -> list[PictureCase]:
        """Everything that is pictured."""
        return [*self.nothing_pictures(), *self.defect_pictures()]
