"""Chapter 12, refinement: what it runs over specimens, doses and wrong assumptions."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from ase import Atoms
from torch import Tensor

from misr4d.companion.study import METHODS, UPSAMPLING, Measurement, Scene, place
from misr4d.core.estimate import Estimate
from misr4d.learn.learned import informed
from misr4d.measure.audit import Signature, detect, false_peaks, shuffle_positions
from misr4d.measure.metrics import correlation, specimen_mask
from misr4d.measure.spectra import score_rings
from misr4d.measure.summary import select
from misr4d.reconstruction.direct import AMPLITUDE_CONTRAST, DirectPtychography
from misr4d.reconstruction.refine import Refined, plug_and_play, refine
from misr4d.reconstruction.tuned import prior_strength

__all__ = [
    "StudyRows",
    "four_ways",
    "invent",
    "measure",
    "off_focus",
    "overrule",
    "second_stage",
    "three_specimens",
    "two_ways",
    "wrong_assumptions",
    "wrong_defoci",
]

STAGES = ("direct", "informed", "refined")
WAYS = ("first stage", "prior", "plug and play")


def second_stage(
    scene: Scene, measurement: Measurement, first: Estimate, **options: Any
) -> Refined:
    """Refine a first stage by the electrons of a measurement's views, as tuned.

    Parameters
    ----------
    scene : Scene
    measurement : Measurement
    first : Estimate
    **options
        As for :func:`misr4d.reconstruction.refine.refine`.
    """
    strength = prior_strength(scene.specimen.regime)
    return refine(
        measurement.counts, scene.direct, measurement.dose, first, strength=strength, **options
    )


def measure(image: Tensor, scene: Scene) -> dict[str, float]:
    """Correlation inside the specimen, and how fine the image follows the truth [Å⁻¹]."""
    mask = specimen_mask(scene.truth, scene.pixel)
    rings = score_rings(image, scene.truth, scene.pixel)
    return {
        "correlation": correlation(image, scene.truth, within=mask),
        "frequency": 1 / rings.resolution,
    }


def three_specimens(
    scenes: Mapping[str, Scene], dose: float, seed: int
) -> tuple[dict[str, dict[str, Tensor]], list[float]]:
    """Reconstruct each scene by both stages from the same electrons.

    Returns
    -------
    images : dict
        By specimen and stage ``(X, Y)`` [rad], and ``change``, in deviations.
    seconds : list of float
        That each refinement took.
    """
    images, seconds = {}, []
    for name, scene in scenes.items():
        measurement = scene.expose(dose, seed)
        first = informed(scene.direct, measurement.views)
        began = time.perf_counter()
        found = second_stage(scene, measurement, first)
        seconds.append(time.perf_counter() - began)
        images[name] = {
            "direct": scene.direct(measurement.views),
            "informed": first.mean,
            "refined": found.image,
            "change": found.change,
        }
    return images, seconds


class StudyRows:
    """Rows of the committed study for both stages.

    Parameters
    ----------
    rows : sequence of mapping
        As :func:`misr4d.companion.bench.read_study` returns them.
    names : sequence of str
        Specimens, at their own thickness.
    """

    def __init__(self, rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> None:
        self.names = list(names)
        self.rows = [r for r in rows if r["specimen"] in names and r["thickness"] is None]
        refined = [row for row in self.rows if row["method"] == "refined"]
        self.doses = sorted({float(row["dose"]) for row in refined} - {math.inf})
        self.draws = sorted({row["draw"] for row in refined})

    def values(self, name: str, method: str, dose: float, key: str) -> list[float]:
        """One value for each draw that the second stage has."""
        where = {"specimen": name, "method": method, "dose": dose}
        column = "resolution" if key == "frequency" else key
        drawn = [select(self.rows, column, draw=draw, **where)[0] for draw in self.draws]
        return [1 / period for period in drawn] if key == "frequency" else drawn

    def record(self) -> list[dict[str, Any]]:
        """Every value, by specimen, dose, method and measure."""
        return [
            {
                "specimen": name,
                "dose": dose,
                "method": method,
                key: self.values(name, method, dose, key),
            }
            for name in self.names
            for dose in self.doses
            for method in STAGES
            for key in ("correlation", "frequency")
        ]


def two_ways(
    candidates: Mapping[str, Scene], doses: Sequence[float], seed: int
) -> list[dict[str, Any]]:
    """Use the network as a prior and as a plug-and-play denoiser, and measure both.

    Returns
    -------
    list of dict
        A row for each candidate and dose, with what :func:`measure` says of each way.
    """
    rows = []
    for label, scene in candidates.items():
        for dose in doses:
            measurement = scene.expose(dose, seed)
            first = informed(scene.direct, measurement.views)

            def again(views: Tensor, scene: Scene = scene) -> Estimate:
                return informed(scene.direct, views)

            strength = prior_strength(scene.specimen.regime)
            plugged = plug_and_play(
                measurement.counts, scene.direct, dose, again, strength=strength
            )
            images = (first.mean, second_stage(scene, measurement, first).image, plugged.image)
            found = {way: measure(image, scene) for way, image in zip(WAYS, images, strict=True)}
            rows.append({"specimen": label, "dose": dose} | found)
    return rows


def off_focus(scene: Scene, error: float, counted: Measurement, **options: Any) -> Refined:
    """Refine with everything as it is, but a defocus that is wrong by a share of it."""
    midplane = scene.midplane
    method = DirectPtychography(
        replace(midplane, defocus=midplane.defocus * (1 + error)),
        UPSAMPLING,
        aliases=UPSAMPLING,
        amplitude_contrast=AMPLITUDE_CONTRAST[scene.specimen.regime],
    )
    prior, strength = informed(method, counted.views), prior_strength(scene.specimen.regime)
    return refine(counted.counts, method, counted.dose, prior, strength=strength, **options)


def wrong_defoci(
    scene: Scene, errors: Sequence[float], measurements: Sequence[Measurement]
) -> tuple[list[dict[str, float]], dict[tuple[float, float], Refined]]:
    """Refine under wrong defoci: what the excess says, and what is left when it is fitted.

    Returns
    -------
    rows : list of dict
        Error, dose [e⁻/Å²], excess of the deviance and error after the fit.
    refined : dict
        Without the fit, by error and dose.
    """
    refined = {
        (error, counted.dose): off_focus(scene, error, counted)
        for counted in measurements
        for error in errors
    }
    rows = []
    for counted in measurements:
        for error in errors:
            fitted = off_focus(scene, error, counted, fit_defocus=True).defocus
            rows.append(
                {
                    "error": error,
                    "dose": counted.dose,
                    "excess": refined[error, counted.dose].deviance_z,
                    "left": fitted / scene.midplane.defocus - 1,
                }
            )
    return rows, refined


def wrong_assumptions(
    crystal: Scene, thick: Scene, glass: Scene, counted: Measurement, seed: int
) -> dict[str, Refined]:
    """Take a thick specimen for thin, and another specimen's image for the crystal's."""
    exposed, other = (scene.expose(counted.dose, seed) for scene in (thick, glass))
    foreign = informed(glass.direct, other.views)
    return {
        "20 nm thick, taken for thin": second_stage(
            thick, exposed, informed(thick.direct, exposed.views)
        ),
        "another specimen's image, not refined": second_stage(
            crystal, counted, foreign, evaluations=1
        ),
    }


def four_ways(scene: Scene, measurement: Measurement, painted: Estimate) -> dict[str, Tensor]:
    """Image by each method; the painted first stage comes from other electrons."""
    refined = second_stage(scene, measurement, painted, independent=True)
    return {
        "direct": scene.direct(measurement.views),
        "informed": informed(scene.direct, measurement.views).mean,
        "painted over, not refined": painted.mean,
        "painted over, refined": refined.image,
    }


def overrule(
    crystal: Scene, holed: Scene, missing: Signature, doses: Sequence[float], seed: int
) -> list[dict[str, Any]]:
    """Refine a first stage of the perfect crystal by electrons of one with a column missing.

    Returns
    -------
    list of dict
        A row for each dose: share shown by each way, and their detection ``probabilities``.
    """
    rows = []
    for dose in doses:
        first, second = (
            informed(crystal.direct, crystal.expose(dose, seed + number).views)
            for number in (100, 300)
        )
        with_defect = four_ways(holed, holed.expose(dose, seed), first)
        without = four_ways(crystal, crystal.expose(dose, seed + 200), second)
        seen = {way: detect(missing, [with_defect[way]], [without[way]]) for way in with_defect}
        rows.append(
            {"dose": dose}
            | {way: one.shares[0] for way, one in seen.items()}
            | {"probabilities": {way: one.probabilities[0] for way, one in seen.items()}}
        )
    return rows


def invent(
    crystal: Scene, doses: Sequence[float], draws: int, seed: int
) -> dict[tuple[str, float, str], list[float]]:
    """Count false peaks in 100 Å² of vacuum and of a shuffled scan, by scan, dose and stage."""

    def other(atoms: Atoms) -> Scene:
        return place(replace(crystal.specimen, atoms=atoms))

    carbon = other(Atoms("C", [[32.0, 32.0, 1.0]], cell=[64, 64, 2], pbc=True)).truth
    threshold = float(carbon.max() - carbon.median()) / 2
    everywhere = torch.ones_like(crystal.truth, dtype=torch.bool)
    vacuum = other(Atoms(cell=crystal.specimen.atoms.cell, pbc=True))
    found: dict[tuple[str, float, str], list[float]] = {}
    for dose in doses:
        for draw in range(draws):
            mixed = crystal.expose(dose, seed + draw)
            generator = torch.Generator().manual_seed(seed + 1000 + draw)
            mixed = replace(mixed, views=shuffle_positions(mixed.views, generator))
            # The first draw of vacuum has whole patterns, which ptychography needs.
            empty = (vacuum.expose if draw else vacuum.measure)(dose, seed + draw)
            for kind, scene, measurement in (
                ("vacuum", vacuum, empty),
                ("shuffled", crystal, mixed),
            ):
                first = informed(scene.direct, measurement.views)
                images = {
                    "direct": scene.direct(measurement.views),
                    "first": first.mean,
                    "second": second_stage(scene, measurement, first).image,
                }
                if measurement.patterns is not None:
                    images["ptychography"] = METHODS["ptychography"](measurement)
                for stage, image in images.items():
                    count = 100 * false_peaks(image, everywhere, threshold, crystal.pixel)
                    found.setdefault((kind, dose, stage), []).append(count)
    return found
