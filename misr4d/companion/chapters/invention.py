"""Chapter 11, what a network invents: its scans, their electrons, and what is measured on them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.data import atomic_numbers
from torch import Tensor

from misr4d.companion.study import METHODS, Measurement, place
from misr4d.core.datacube import Datacube
from misr4d.core.dose import count_electrons, electrons_per_pixel, thin
from misr4d.core.estimate import Estimate
from misr4d.learn.learned import SHIPPED, attention_unet, dual_path, informed
from misr4d.measure.audit import (
    ErrorRatio,
    Reliability,
    central_column,
    detect,
    error_ratio,
    false_peaks,
    overconfidence,
    reliability,
    shuffle_positions,
    signature,
    turn_disc,
)
from misr4d.measure.metrics import correlation, specimen_mask
from misr4d.measure.spectra import fourier_ring_correlation
from misr4d.specimens.catalogue import Specimen

__all__ = ["Audit", "spiral"]

ITERATIVE = "ptychography"
WIDTH = 3  # of a ring, in Fourier pixels across the field


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


class Audit:
    """Scans whose answer is known, reconstructed by each method from the same electrons.

    Parameters
    ----------
    specimen : Specimen
        A crystal.
    doses : sequence of float
        [e⁻/Å²].
    draws : int
        Noise draws behind each median.
    seed : int
        Of the first draw.
    ptychography_dose : float or None
        One of the doses, at which iterative ptychography has one draw [e⁻/Å²]; none leaves it out.

    Notes
    -----
    expected, truths : dict
        Of every scan: views without counting noise ``(M, Rx, Ry)``, and true phase ``(X, Y)``.
    nothing : dict
        False peaks in 100 Å², by scan, method and dose.
    shares, chances, distances, places : dict
        Of every defect, by method and dose: shares shown, detection probabilities, d′; and the
        places that were examined.
    inside, whole, promised : dict
        Of the spiral, by method and dose: correlations and overconfidence of its halves.
    reliabilities, error_ratios : dict
        Of the informed network's deviation, by case and dose.

    Raises
    ------
    ValueError
        If the dose of ptychography is none of the doses.
    """

    def __init__(
        self,
        specimen: Specimen,
        doses: Sequence[float],
        draws: int,
        seed: int,
        ptychography_dose: float | None,
    ) -> None:
        if ptychography_dose is not None and ptychography_dose not in doses:
            raise ValueError(
                f"ptychography_dose is {ptychography_dose:g}; expected one of {list(doses)}"
            )
        self.specimen, self.doses, self.draws, self.seed = specimen, list(doses), draws, seed
        self.ptychography_dose = ptychography_dose
        self.home = place(specimen)
        self.direct, self.acquisition = self.home.direct, self.home.acquisition
        self.pixel = self.home.pixel
        direct = self.direct
        self.methods: dict[str, Callable[[Tensor], Tensor]] = {
            "direct": direct,
            "attention U-Net": lambda views: attention_unet(views, direct.acquisition),
            "dual path": lambda views: dual_path(views, direct.acquisition),
            "informed": lambda views: informed(direct, views).mean,
        }
        if "DualPath" not in SHIPPED:
            del self.methods["dual path"]
        self.shown = [*self.methods, *([ITERATIVE] if ptychography_dose is not None else [])]
        carbon = Atoms("C", [[32.0, 32.0, 1.0]], cell=[64, 64, 2], pbc=True)
        atom = place(replace(specimen, atoms=carbon)).truth
        self.threshold = float(atom.max() - atom.median()) / 2
        self.expected: dict[str, Tensor] = {}
        self.truths: dict[str, Tensor] = {}
        self._counted: dict[str, list[Tensor]] = {}  # at ptychography's dose: whole and halves
        self._iterated: dict[str, Tensor] = {}
        self.nothing: dict[tuple[str, str, float], list[float]] = {}
        self.pictures: dict[tuple[str, str, float], Tensor] = {}
        self.shares: dict[tuple[str, str, float], list[float]] = {}
        self.chances: dict[tuple[str, str, float], list[float]] = {}
        self.distances: dict[tuple[str, str, float], float] = {}
        self.places: dict[str, int] = {}
        self.estimates: dict[tuple[str, float, int], Estimate] = {}
        self.inside: dict[tuple[str, float], list[float]] = {}
        self.whole: dict[tuple[str, float], list[float]] = {}
        self.promised: dict[tuple[str, float], list[float]] = {}
        self.scan("crystal", specimen.atoms)
        self.scan("vacuum", Atoms(cell=specimen.atoms.cell, pbc=True))

    def scan(self, kind: str, atoms: Atoms) -> None:
        """Simulate a scan's patterns, and count the electrons that ptychography sees in them."""
        scene = place(replace(self.specimen, atoms=atoms))
        self.truths[kind] = scene.truth
        self.expected[kind] = scene.patterns.views(self.acquisition)
        if self.ptychography_dose is not None:
            # Electrons of their own for the perfect crystal, with which the defects are compared.
            number = self.seed + (kind == "crystal")
            measurement = scene.measure(self.ptychography_dose, number)
            self._iterated[kind] = METHODS[ITERATIVE](measurement)
            assert measurement.halves is not None
            self._counted[kind] = [self._counts(m) for m in (measurement, *measurement.halves)]
            if kind == "crystal":
                self._shuffle_patterns(measurement)
        del scene.__dict__["patterns"]  # 150 MB

    def _counts(self, measurement: Measurement) -> Tensor:
        share = electrons_per_pixel(measurement.dose, self.acquisition)
        return (measurement.views * share).round()

    def _shuffle_patterns(self, measurement: Measurement) -> None:
        """Shuffle the positions in each detector pixel on its own, for ptychography."""
        cube = measurement.whole
        pixels = cube.patterns.reshape(-1, *cube.patterns.shape[2:])
        mixed = np.random.default_rng(self.seed).permuted(pixels, axis=0)
        shuffled = Datacube(mixed.reshape(cube.patterns.shape), cube.step, cube.detector_pixel)
        views = shuffled.views(self.acquisition)
        mixed_up = replace(measurement, patterns=shuffled)
        self._iterated["shuffled"] = METHODS[ITERATIVE](mixed_up)
        self._counted["shuffled"] = [self._counts(replace(measurement, views=views))]

    def _generator(self, number: int) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed + number)

    def electrons(self, kind: str, dose: float, draw: int = 0) -> Tensor:
        """Electrons in the views of one draw ``(M, Rx, Ry)``.

        Those of ptychography's patterns where it has some. The scan ``"shuffled"`` is the
        crystal's, its positions shuffled in each view on its own.
        """
        if (dose, draw) == (self.ptychography_dose, 0) and kind in self._counted:
            return self._counted[kind][0]
        if kind == "shuffled":
            counts = self.electrons("crystal", dose, 5000 + draw)
            return shuffle_positions(counts, self._generator(1000 + draw))
        first = 2000 if kind == "crystal" else 0
        generator = self._generator(first + draw)
        return count_electrons(self.expected[kind], self.acquisition, dose, generator)

    def views(self, kind: str, dose: float, draw: int = 0) -> Tensor:
        """Return the views of one draw, relative to a fully lit pixel; at infinite dose without noise."""
        if math.isinf(dose):
            return self.expected[kind]
        return self.electrons(kind, dose, draw) / electrons_per_pixel(dose, self.acquisition)

    def halves(self, kind: str, dose: float, draw: int = 0) -> list[Tensor]:
        """Return the views of the two halves of one draw's electrons."""
        share = electrons_per_pixel(dose, self.acquisition)
        if (dose, draw) == (self.ptychography_dose, 0):
            parts = self._counted[kind][1:]
        else:
            parts = list(thin(self.electrons(kind, dose, draw), self._generator(500 + draw)))
        return [2 * part / share for part in parts]

    def reconstruct(self, kind: str, dose: float, draw: int = 0) -> dict[str, Tensor]:
        """Image by each method of one draw; the informed network's estimate is kept."""
        views = self.views(kind, dose, draw)
        estimate = informed(self.direct, views)
        self.estimates[kind, dose, draw] = estimate
        images = {
            label: estimate.mean if label == "informed" else method(views)
            for label, method in self.methods.items()
        }
        if (dose, draw) == (self.ptychography_dose, 0) and kind in self._iterated:
            images[ITERATIVE] = self._iterated[kind]
        return images

    def count_false_peaks(self) -> None:
        """Count false peaks of every method in vacuum and in the shuffled scan."""
        everywhere = torch.ones_like(self.truths["crystal"], dtype=torch.bool)
        for dose in self.doses:
            for draw in range(self.draws):
                for kind in ("vacuum", "shuffled"):
                    for label, image in self.reconstruct(kind, dose, draw).items():
                        peaks = false_peaks(image, everywhere, self.threshold, self.pixel)
                        self.nothing.setdefault((kind, label, dose), []).append(100 * peaks)
                        self.pictures.setdefault((kind, label, dose), image)

    def _every_image(self, kind: str) -> dict[tuple[str, float], list[Tensor]]:
        images: dict[tuple[str, float], list[Tensor]] = {}
        for dose in (*self.doses, math.inf):
            for draw in range(1 if math.isinf(dose) else self.draws):
                for label, image in self.reconstruct(kind, dose, draw).items():
                    images.setdefault((label, dose), []).append(image)
        return images

    def find_defects(self, defects: Mapping[str, Atoms]) -> None:
        """Ask of every method and dose whether its images show each defect of the crystal."""
        perfect = self._every_image("crystal")
        for kind, atoms in defects.items():
            self.scan(kind, atoms)
            target = signature(self.truths["crystal"], self.truths[kind])
            for (label, dose), images in self._every_image(kind).items():
                seen = detect(target, images, perfect[label, dose])
                self.shares[kind, label, dose] = list(seen.shares)
                self.chances[kind, label, dose] = list(seen.probabilities)
                self.distances[kind, label, dose] = seen.d_prime
                self.places[kind] = seen.places
                self.pictures[kind, label, dose] = images[0]

    def ask_halves(self, kind: str) -> None:
        """Compare what two halves of a scan's electrons promise with what is true."""
        truth = self.truths[kind]
        inside = specimen_mask(truth, self.pixel)

        def ring(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            return fourier_ring_correlation(first, second, self.pixel, width=WIDTH)

        for dose in self.doses:
            for draw in range(self.draws):
                halves = self.halves(kind, dose, draw)
                for label, image in self.reconstruct(kind, dose, draw).items():
                    self.whole.setdefault((label, dose), []).append(correlation(image, truth))
                    within = correlation(image, truth, within=inside)
                    self.inside.setdefault((label, dose), []).append(within)
                    if label not in self.methods:
                        continue
                    a, b = (self.methods[label](half) for half in halves)
                    frequency, between, count = ring(a, b)
                    first, second = (ring(half, truth)[1] for half in (a, b))
                    band = frequency < 1 / self.acquisition.information_limit
                    over = overconfidence(between[band], first[band], second[band], count[band])
                    self.promised.setdefault((label, dose), []).append(over)

    def test_deviation(self, disc: Tensor) -> None:
        """Compare the informed network's deviation with its error, at home and away.

        Parameters
        ----------
        disc : Tensor
            Boolean ``(X, Y)``: the pixels of the turned disc.
        """
        self.disc = disc
        # What is looked at: scan, pixels, and what its deviation is compared with.
        self.cases: dict[str, tuple[str, Tensor | None, str | None]] = {
            "perfect crystal": ("crystal", None, None),
            "its disc": ("crystal", disc, None),
            "turned disc": ("turned", disc, "its disc"),
            "spiral": ("spiral", None, "perfect crystal"),
        }
        self.reliabilities: dict[tuple[str, float], list[Reliability]] = {
            (name, dose): [self._reliability(kind, dose, n, where) for n in range(self.draws)]
            for name, (kind, where, _) in self.cases.items()
            for dose in self.doses
        }
        self.error_ratios: dict[tuple[str, float], ErrorRatio] = {
            (name, dose): error_ratio(
                self.reliabilities[home, dose], self.reliabilities[name, dose]
            )
            for name, (*_, home) in self.cases.items()
            if home is not None
            for dose in self.doses
        }

    @property
    def interval_shares(self) -> tuple[float, ...]:
        """Shares of the pixels that the deviation's intervals name."""
        return tuple(self.estimates["crystal", self.doses[0], 0].intervals or ())

    def _reliability(self, kind: str, dose: float, draw: int, where: Tensor | None) -> Reliability:
        found = self.estimates[kind, dose, draw]
        widths = {share: found.interval(share) for share in self.interval_shares}
        return reliability(found.mean, self.truths[kind], found.deviation, widths, where)

    def defects(
        self, element: str, substitute: str, radius: float
    ) -> tuple[dict[str, Atoms], tuple[float, float]]:
        """Make the crystals with a column removed, replaced, and with a disc turned by 90°.

        Parameters
        ----------
        element, substitute : str
            Of the column in the middle, and what replaces it.
        radius : float
            Of the disc [Å].

        Returns
        -------
        defects : dict of str to Atoms
        target : (float, float)
            Where the column is [Å].
        """
        perfect = self.specimen.atoms
        near, target = central_column(perfect, atomic_numbers[element])
        replaced = perfect.copy()  # type: ignore[no-untyped-call]
        replaced.numbers[near] = atomic_numbers[substitute]
        middle = perfect.cell.lengths()[:2] / 2
        turned = turn_disc(perfect, (middle[0], middle[1]), radius)
        changed = {
            "removed": perfect[~near],
            f"{element} → {substitute}": replaced,
            "turned": turned,
        }
        return changed, (float(target[0]), float(target[1]))

    def record(self) -> dict[str, Any]:
        """Everything that was measured, as the claims page reads it."""
        none = self.ptychography_dose is None
        return {
            "threshold_rad": self.threshold,
            "ptychography": "not run" if none else "one draw at one dose",
            "reliability": [
                {
                    "where": name,
                    "dose": d,
                    "predicted_rad": [one.predicted for one in found],
                    "error_rad": [one.error for one in found],
                    "covered": {
                        str(share): [one.covered[share] for one in found]
                        for share in self.interval_shares
                    },
                }
                for (name, d), found in self.reliabilities.items()
            ],
            "rise": [
                {
                    "where": name,
                    "dose": d,
                    "predicted": ratio.predicted,
                    "error": ratio.observed,
                    "follows": ratio.predicted_rises,
                }
                for (name, d), ratio in self.error_ratios.items()
            ],
            "nothing": [
                {"kind": k, "method": m, "dose": d, "per_100_A2": sorted(v)}
                for (k, m, d), v in self.nothing.items()
            ],
            "detection": [
                {
                    "kind": k,
                    "method": m,
                    "dose": str(d),
                    "shares": self.shares[k, m, d],
                    "probabilities": v,
                    "d_prime": str(self.distances[k, m, d]),
                    "places": self.places[k],
                }
                for (k, m, d), v in self.chances.items()
            ],
            "novel": [
                {
                    "method": m,
                    "dose": d,
                    "correlation": sorted(self.inside[m, d]),
                    "correlation_whole_field": sorted(v),
                    "overconfidence": sorted(self.promised[m, d])
                    if (m, d) in self.promised
                    else None,
                }
                for (m, d), v in self.whole.items()
            ],
        }
