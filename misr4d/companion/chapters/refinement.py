"""Chapter 12, refinement: what it runs over specimens, doses and wrong assumptions."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import product
from typing import Any

import torch
from ase import Atoms
from ase.data import atomic_numbers
from torch import Tensor

from misr4d.companion.recorded import Case, all_recorded
from misr4d.companion.study import (
    METHODS,
    UPSAMPLING,
    Measurement,
    Scene,
    first_stage,
    make_scene,
    place,
)
from misr4d.companion.study_images import image_of
from misr4d.core.estimate import Estimate
from misr4d.learn.learned import informed
from misr4d.measure.audit import (
    Signature,
    central_column,
    detect,
    false_peaks,
    shuffle_positions,
    signature,
)
from misr4d.measure.metrics import correlation, specimen_mask
from misr4d.measure.spectra import score_rings
from misr4d.measure.summary import select
from misr4d.reconstruction.direct import AMPLITUDE_CONTRAST, DirectPtychography
from misr4d.reconstruction.refine import Refined, plug_and_play, refine
from misr4d.reconstruction.tuned import prior_strength

__all__ = [
    "CANDIDATES",
    "DEFOCUS_ERRORS",
    "TRIO",
    "Explained",
    "Invented",
    "StudyRows",
    "all_assumptions",
    "all_columns",
    "all_empty",
    "all_ways",
    "cases",
    "column",
    "empty",
    "explained",
    "foreign_image",
    "longest_refinement",
    "measure",
    "second_stage",
    "seconds",
    "taken_for_thin",
    "three_specimens",
    "ways",
]

TRIO = ("Li2CoO3", "CuZr", "apoferritin")  # the paper's Fig. 4
CRYSTAL, GLASS = TRIO[:2]
STAGES = ("direct", "informed", "refined")
WAYS = ("first stage", "prior", "plug and play")
CANDIDATES: Mapping[str, tuple[str, float | None]] = {
    "Li₂CoO₃, 2 nm": (CRYSTAL, None),
    "Li₂CoO₃, 5 nm": (CRYSTAL, 50.0),
    "Cu-Zr glass": (GLASS, None),
}
"""Specimen and thickness [Å] of the comparison of both ways to use a network."""
DEFOCUS_ERRORS = (0.0, 0.05, 0.2)
"""Of the defocus, that an assumption is wrong by."""
THICK = 200.0  # Å, of the crystal that is taken for thin
MANY = 10.0  # times as many electrons: the second dose of wrong defoci

Explained = Mapping[str, Sequence[Mapping[str, Any]]]
"""By assumption, what each draw says: ``deviance``, ``excess`` and whether it ``warned``."""
Invented = Mapping[tuple[str, float, str], Sequence[float]]
"""False peaks in 100 Å² of each draw, by scan, dose [e⁻/Å²] and stage."""


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
) -> dict[str, dict[str, Tensor]]:
    """Reconstruct each scene by both stages from the same electrons.

    Returns
    -------
    dict
        By specimen and stage ``(X, Y)`` [rad], and ``change``, in deviations.
    """
    images = {}
    for name, scene in scenes.items():
        measurement = scene.measure(dose, seed)
        first = first_stage(scene, measurement.views)
        refined = image_of("refined", measurement, seed)
        scene.__dict__.pop("patterns", None)  # they are large
        images[name] = {
            "direct": scene.direct(measurement.views),
            "informed": first.mean,
            "refined": refined,
            "change": (refined - first.mean) / first.deviation,
        }
    return images


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


# ---- cases, each measured once and kept with the study ---------------------------------------


def seconds(specimen: str, dose: float, seed: int) -> dict[str, float]:
    """Time a refinement on one core [s], the first stage and the kernels apart."""
    scene = make_scene(specimen)
    measurement = scene.expose(dose, seed)
    first = first_stage(scene, measurement.views)
    began = time.process_time()
    second_stage(scene, measurement, first)
    return {"seconds": time.process_time() - began}


def ways(
    specimen: str, thickness: float | None, dose: float, seed: int
) -> dict[str, dict[str, float]]:
    """Use the network as a prior and as a plug-and-play denoiser, and measure both.

    Returns
    -------
    dict
        By way, what :func:`measure` says.
    """
    scene = make_scene(specimen, thickness)
    measurement = scene.expose(dose, seed)

    def again(views: Tensor) -> Estimate:
        return first_stage(scene, views)

    first = again(measurement.views)
    strength = prior_strength(scene.specimen.regime)
    plugged = plug_and_play(measurement.counts, scene.direct, dose, again, strength=strength)
    images = (first.mean, second_stage(scene, measurement, first).image, plugged.image)
    return {way: measure(image, scene) for way, image in zip(WAYS, images, strict=True)}


def _verdict(refined: Refined) -> dict[str, Any]:
    return {
        "deviance": refined.deviance,
        "excess": refined.deviance_z,
        "warned": refined.warning is not None,
    }


def explained(error: float, dose: float, seed: int) -> dict[str, Any]:
    """Refine the crystal with everything as it is, but a defocus that is wrong by a share of it.

    Returns
    -------
    dict
        ``deviance``, ``excess``, whether it ``warned``, and the share by which the defocus is
        wrong after it was fitted along, ``left``.
    """
    scene = make_scene(CRYSTAL)
    counted, midplane = scene.expose(dose, seed), scene.midplane
    method = DirectPtychography(
        replace(midplane, defocus=midplane.defocus * (1 + error)),
        UPSAMPLING,
        aliases=UPSAMPLING,
        amplitude_contrast=AMPLITUDE_CONTRAST[scene.specimen.regime],
    )
    prior, strength = informed(method, counted.views), prior_strength(scene.specimen.regime)
    refined, fitted = (
        refine(counted.counts, method, dose, prior, strength=strength, fit_defocus=fit)
        for fit in (False, True)
    )
    return {**_verdict(refined), "left": fitted.defocus / midplane.defocus - 1}


def taken_for_thin(thickness: float, dose: float, seed: int) -> dict[str, Any]:
    """Refine a thick crystal as if it were thin; what :func:`explained` says, without the fit."""
    scene = make_scene(CRYSTAL, thickness)
    exposed = scene.expose(dose, seed)
    return _verdict(second_stage(scene, exposed, first_stage(scene, exposed.views)))


def foreign_image(dose: float, seed: int) -> dict[str, Any]:
    """Ask whether the glass's image explains the crystal's electrons, without refining it."""
    crystal, glass = make_scene(CRYSTAL), make_scene(GLASS)
    foreign = first_stage(glass, glass.expose(dose, seed).views)
    return _verdict(second_stage(crystal, crystal.expose(dose, seed), foreign, evaluations=1))


@lru_cache(maxsize=1)
def _column_missing() -> tuple[Scene, Signature]:
    """Take the column of cobalt in the middle out of the crystal."""
    crystal = make_scene(CRYSTAL)
    atoms = crystal.specimen.atoms
    near, _ = central_column(atoms, atomic_numbers["Co"])
    holed = place(replace(crystal.specimen, atoms=atoms[~near]))
    return holed, signature(crystal.truth, holed.truth)


def _four_ways(scene: Scene, measurement: Measurement, painted: Estimate) -> dict[str, Tensor]:
    """Image by each method; the painted first stage comes from other electrons."""
    refined = second_stage(scene, measurement, painted, independent=True)
    return {
        "direct": scene.direct(measurement.views),
        "informed": first_stage(scene, measurement.views).mean,
        "painted over, not refined": painted.mean,
        "painted over, refined": refined.image,
    }


def column(dose: float, seed: int) -> dict[str, dict[str, float]]:
    """Refine a first stage of the perfect crystal by electrons of one with a column missing.

    Returns
    -------
    dict
        By way, ``share`` shown and detection ``probability``.
    """
    crystal = make_scene(CRYSTAL)
    holed, missing = _column_missing()
    first, second = (
        first_stage(crystal, crystal.expose(dose, seed + number).views) for number in (100, 300)
    )
    with_defect = _four_ways(holed, holed.expose(dose, seed), first)
    without = _four_ways(crystal, crystal.expose(dose, seed + 200), second)
    seen = {way: detect(missing, [with_defect[way]], [without[way]]) for way in with_defect}
    return {
        way: {"share": detection.shares[0], "probability": detection.probabilities[0]}
        for way, detection in seen.items()
    }


def empty(kind: str, dose: float, seed: int) -> dict[str, float]:
    """Count false peaks in 100 Å² of vacuum, or of the crystal's scan shuffled, by stage.

    Parameters
    ----------
    kind : {"vacuum", "shuffled"}
        Ptychography, which needs patterns, is run on vacuum.
    dose : float
        e⁻/Å².
    seed : int
    """
    crystal = make_scene(CRYSTAL)

    def other(atoms: Atoms) -> Scene:
        return place(replace(crystal.specimen, atoms=atoms))

    carbon = other(Atoms("C", [[32.0, 32.0, 1.0]], cell=[64, 64, 2], pbc=True)).truth
    threshold = float(carbon.max() - carbon.median()) / 2
    if kind == "vacuum":
        scene = other(Atoms(cell=crystal.specimen.atoms.cell, pbc=True))
        measurement = scene.measure(dose, seed)
    else:
        scene = crystal
        generator = torch.Generator().manual_seed(seed + 1000)
        measurement = scene.expose(dose, seed)
        mixed = shuffle_positions(measurement.views, generator)
        measurement = replace(measurement, views=mixed)
    first = first_stage(scene, measurement.views)
    images = {
        "direct": scene.direct(measurement.views),
        "first": first.mean,
        "second": second_stage(scene, measurement, first).image,
    }
    if measurement.patterns is not None:
        images["ptychography"] = METHODS["ptychography"](measurement)
    everywhere = torch.ones_like(crystal.truth, dtype=torch.bool)
    return {
        stage: 100 * false_peaks(image, everywhere, threshold, crystal.pixel)
        for stage, image in images.items()
    }


# ---- what the page asks for -------------------------------------------------------------------


def _seconds(dose: float, seed: int) -> list[Case]:
    return [(seconds, {"specimen": name, "dose": dose, "seed": seed}) for name in TRIO]


def _ways(doses: Sequence[float], draws: int, seed: int) -> list[Case]:
    return [
        (ways, {"specimen": name, "thickness": thickness, "dose": dose, "seed": seed + draw})
        for (name, thickness), dose, draw in product(CANDIDATES.values(), doses, range(draws))
    ]


def _defoci(dose: float, draws: int, seed: int) -> list[Case]:
    return [
        (explained, {"error": error, "dose": level, "seed": seed + draw})
        for level, error, draw in product((dose, MANY * dose), DEFOCUS_ERRORS, range(draws))
    ]


def _others(dose: float, draws: int, seed: int) -> list[Case]:
    seeds = range(seed, seed + draws)
    thin = [(taken_for_thin, {"thickness": THICK, "dose": dose, "seed": s}) for s in seeds]
    return [*thin, *((foreign_image, {"dose": dose, "seed": s}) for s in seeds)]


def _columns(doses: Sequence[float], draws: int, seed: int) -> list[Case]:
    return [
        (column, {"dose": dose, "seed": seed + draw}) for dose, draw in product(doses, range(draws))
    ]


def _empty(doses: Sequence[float], draws: int, seed: int) -> list[Case]:
    return [
        (empty, {"kind": kind, "dose": dose, "seed": seed + draw})
        for kind, dose, draw in product(("vacuum", "shuffled"), doses, range(draws))
    ]


def cases(
    pictured: float = 300.0,
    check_dose: float = 3000.0,
    detected: Sequence[float] = (100.0, 300.0, 1000.0, 3000.0, 10_000.0, 30_000.0),
    empty_doses: Sequence[float] = (100.0, 300.0),
    draws: int = 3,
    seed: int = 0,
) -> list[Case]:
    """List what the study keeps for the page: arguments are its parameters, as they are there."""
    return [
        *_seconds(pictured, seed),
        *_ways((pictured, check_dose), draws, seed),
        *_defoci(check_dose, draws, seed),
        *_others(check_dose, draws, seed),
        *_columns(detected, draws, seed),
        *_empty(empty_doses, draws, seed),
    ]


def _add_draw(row: dict[str, Any], found: Mapping[str, Mapping[str, float]]) -> None:
    """Append what a draw shows by each way to the values of the draws before it."""
    for way, measures in found.items():
        for key, value in measures.items():
            row.setdefault(way, {}).setdefault(key, []).append(value)


def longest_refinement(dose: float, seed: int) -> float:
    """Longest of the refinements of three specimens, on one core [s]."""
    return max(float(found["seconds"]) for _, found in all_recorded(_seconds(dose, seed)))


def all_ways(doses: Sequence[float], draws: int, seed: int) -> list[dict[str, Any]]:
    """Both ways to use a network, of every candidate and dose.

    Returns
    -------
    list of dict
        ``specimen``, ``dose`` and, by way and measure, a value for each draw.
    """
    labels = {place: label for label, place in CANDIDATES.items()}
    rows: dict[tuple[str, float], dict[str, Any]] = {}
    for given, found in all_recorded(_ways(doses, draws, seed)):
        label, dose = labels[given["specimen"], given["thickness"]], given["dose"]
        row = rows.setdefault((label, dose), {"specimen": label, "dose": dose})
        _add_draw(row, found)
    return list(rows.values())


def all_assumptions(
    dose: float, draws: int, seed: int
) -> tuple[dict[str, list[dict[str, Any]]], list[dict[str, Any]]]:
    """Refine under what is true and under what is not.

    Returns
    -------
    explained : dict
        At this dose, see :data:`Explained`.
    defoci : list of dict
        By ``error`` of the defocus and ``dose``, at this dose and ten times as many electrons: for
        each draw the ``excess``, and the error that is ``left`` after a fit.
    """
    cases: dict[str, list[dict[str, Any]]] = {}
    rows: dict[tuple[float, float], dict[str, Any]] = {}
    for given, found in all_recorded(_defoci(dose, draws, seed)):
        error, level = given["error"], given["dose"]
        if level == dose:
            label = f"defocus wrong by {100 * error:g} %" if error else "the crystal as it is"
            cases.setdefault(label, []).append(found)
        empty_row = {"error": error, "dose": level, "excess": [], "left": []}
        row = rows.setdefault((error, level), empty_row)
        row["excess"].append(found["excess"])
        row["left"].append(found["left"])
    for given, found in all_recorded(_others(dose, draws, seed)):
        thick = f"{THICK / 10:g} nm thick, taken for thin"
        label = thick if "thickness" in given else "another specimen's image, not refined"
        cases.setdefault(label, []).append(found)
    return cases, list(rows.values())


def all_columns(doses: Sequence[float], draws: int, seed: int) -> list[dict[str, Any]]:
    """Ask at every dose when the data overrule the prior.

    Returns
    -------
    list of dict
        ``dose``, and by way a value for each draw of ``share`` and ``probability``.
    """
    rows: dict[float, dict[str, Any]] = {}
    for given, found in all_recorded(_columns(doses, draws, seed)):
        row = rows.setdefault(given["dose"], {"dose": given["dose"]})
        _add_draw(row, found)
    return list(rows.values())


def all_empty(doses: Sequence[float], draws: int, seed: int) -> Invented:
    """Count false peaks of every scan, dose, stage and draw."""
    counts: dict[tuple[str, float, str], list[float]] = {}
    for given, peaks in all_recorded(_empty(doses, draws, seed)):
        for stage, count in peaks.items():
            counts.setdefault((given["kind"], given["dose"], stage), []).append(count)
    return counts
