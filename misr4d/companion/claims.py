"""The paper's claims C1–C14, and what it says of its simulations, judged from results on disk.

Every function takes what the chapters wrote with :func:`misr4d.companion.figures.save_results`, or
the rows of the study, and returns a :class:`~misr4d.companion.verdicts.Claim`; none runs a method.
A claim is judged as the paper makes it, concessions included. Where the paper leaves a word
undefined, such as "resolved", a constant here says what it was taken to mean.

Three rules hold for all. A method that shows nothing inside a specimen (correlation with the truth
below :func:`misr4d.companion.bounds.least_shown`, which no outline without structure reaches) meets
no claim on it, whatever another measure says. What the truth itself could not win tells nothing.
Fewer than :data:`misr4d.companion.verdicts.FEWEST` draws decide nothing, but at infinite dose,
where there is no noise to draw. And ptychography, the rival in most claims, is the best that was
measured: py4DSTEM's, which is the paper's program, or one of today's strongest
(:data:`misr4d.companion.cases.PTYCHOGRAPHY`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from misr4d.companion.bounds import least_shown
from misr4d.companion.cases import CRYSTAL, PROTEIN, PTYCHOGRAPHY, Rows, program, scores
from misr4d.companion.chapter_claims import (
    Results,
    any_number,
    artefacts,
    centre,
    checkerboards,
    fresh_noise,
    peaks,
    released,
)
from misr4d.companion.comparison_claims import (
    CONTRAST_DOSE,
    compared,
    contrast,
    frequency,
    sub_angstrom,
)
from misr4d.companion.dose_claims import electrons, inside, lattice, shell
from misr4d.companion.verdicts import (
    JUDGED_METHODS,
    LEVEL,
    NOT_RUN,
    Claim,
    enough,
    fewest,
    from_parts,
)
from misr4d.core.acquisition import Acquisition
from misr4d.measure.summary import Summary, summarise

__all__ = [
    "CHAPTERS",
    "judge_claims",
    "read_results",
    "thickness",
]

CHAPTERS = (
    "04_line_scans",
    "05_power_spectra",
    "07_structural_orders",
    "08_thickness_and_field",
    "09_released_code",
    "10_ablations",
    "11_invention",
)
"""Chapters whose results are read, beside the study."""

BY_THICKNESS = ("correlation", "weighted_frc")

THINNEST = 20.0  # Å: the crystal's own, paper Fig. 4

THICKEST = 200.0  # Å, paper §3.2; what is thicker is shown beside


def read_results(folder: Path) -> dict[str, Any]:
    """Read the results of every chapter that is judged.

    Parameters
    ----------
    folder : Path
        Output folder of a build; its ``results`` are read.

    Raises
    ------
    FileNotFoundError
        If a chapter has not run; the message names all that are missing.
    """
    paths = {name: folder / "results" / f"{name}.json" for name in CHAPTERS}
    if missing := [name for name, path in paths.items() if not path.is_file()]:
        raise FileNotFoundError(
            f"no results of {', '.join(missing)} in {folder / 'results'}; run "
            f"notebooks/{missing[0]}.py first, or all chapters with `make figures`"
        )
    return {name: json.loads(path.read_text(encoding="utf-8")) for name, path in paths.items()}


Series = Mapping[str, Mapping[float, Mapping[str, Summary]]]


def _thickness_series(results: Results, rows: Rows) -> Series:
    """Summaries by method, thickness and measure: of the study, else of chapter 8.

    At the finite dose at which most was measured. ``kept`` is the correlation as a share of the
    median of the thinnest.
    """
    values: dict[tuple[float, str, float], dict[str, list[float]]] = {}
    for row in results["08_thickness_and_field"]["thickness"]:
        if row.get("specimen", CRYSTAL) == CRYSTAL:
            place = (float(row["dose"]), str(row["method"]), float(row["thickness"]))
            values[place] = {m: [abs(float(v)) for v in row["values"][m]] for m in BY_THICKNESS}
    thick = {
        (float(row["dose"]), str(row["method"]), float(row["thickness"]))
        for row in rows
        if row["specimen"] == CRYSTAL and row.get("thickness") is not None
    }
    for dose, method, level in thick:
        measured = {
            m: list(scores(rows, CRYSTAL, dose, method, m, thickness=level).values())
            for m in BY_THICKNESS
        }
        if all(measured.values()):
            values[dose, method, level] = measured
            # The series leaves out the specimen's own thickness, which the study has anyway.
            thinnest_scores = {
                m: list(scores(rows, CRYSTAL, dose, method, m).values()) for m in measured
            }
            if all(thinnest_scores.values()):
                values[dose, method, THINNEST] = thinnest_scores
    doses = [dose for dose, _, _ in values if math.isfinite(dose)]
    dose = max(sorted(set(doses)), key=doses.count, default=math.nan)
    series: dict[str, dict[float, dict[str, Summary]]] = {}
    for (level_dose, method, level), measured in sorted(values.items()):
        if level_dose == dose:
            curve = series.setdefault(method, {})
            curve[level] = {m: summarise(v) for m, v in measured.items()}
            thinnest = curve[min(curve)]["correlation"].median
            kept_fraction = [v / thinnest if thinnest > 0 else 0.0 for v in measured["correlation"]]
            curve[level]["kept"] = summarise(kept_fraction)
    return series


def _keeps_more(ours: float, theirs: float) -> bool | None:
    """Whether more is kept than by a rival; None if the rival loses nothing and neither do we.

    The truth keeps 1 at any thickness: against a rival that does, nothing can be told.
    """
    if theirs >= 1 - LEVEL and ours >= 1 - LEVEL:
        return None
    return ours > theirs + LEVEL


def thickness(results: Results, rows: Rows) -> Claim:
    """C6: both degrade from 2 to 20 nm, the paper's method less than ptychography."""
    series = _thickness_series(results, rows)

    def rival_at(level: float) -> str | None:
        known = [m for m in PTYCHOGRAPHY if level in series.get(m, {})]
        return max(known, key=lambda m: series[m][level]["correlation"].median, default=None)

    findings = {}
    for method in JUDGED_METHODS:
        if method not in series:
            findings[method] = NOT_RUN
            continue
        curve = series[method]
        parts: list[bool | None] = []
        words, numbers = [], []
        for level, measured in curve.items():
            text = (
                f"{measured['correlation'].text()} inside and {measured['weighted_frc'].text()} by "
                f"rings at {level / 10:g} nm"
            )
            rival = rival_at(level)
            if level > min(curve):
                text += f", {measured['kept'].text()} of the thinnest"
                if rival is not None:
                    text += f" against {series[rival][level]['kept'].text()} of {program(rival)}"
            words.append(text)
            if not min(curve) < level <= THICKEST:
                continue
            if rival is not None and min(series[rival]) != min(curve):
                rival = None  # a share of another thickness is no rival's
            shown = measured["correlation"].median >= least_shown(CRYSTAL)
            holds: bool | None = None
            if not shown:
                holds = False
            elif rival is not None:
                holds = _keeps_more(measured["kept"].median, series[rival][level]["kept"].median)
                if holds is None:
                    words[-1] += ", level where nothing is lost"
                    continue
            curves = [curve] if rival is None else [curve, series[rival]]
            n = min(each[place]["kept"].n for each in curves for place in (level, min(curve)))
            parts.append(enough(holds, n))
            numbers.append(n)
        findings[method] = from_parts(parts, "; ".join(words), fewest(numbers))
    return Claim(
        "C6",
        "§3.2",
        "From 2 to 20 nm all methods degrade, the paper's less than ptychography",
        "Correlation with the true projected phase inside the crystal, as a share of that of the "
        "thinnest: at every greater thickness to 20 nm more must be left than to the best "
        f"ptychography there, by more than {LEVEL:g}, since less is level; and the correlation "
        f"must be {least_shown(CRYSTAL):.2g} or more, because what shows nothing degrades no "
        "further. Where neither loses anything, nothing is told. Over the whole field the outline "
        "would count, which no thickness hides. Tuned were the programs at 18 to 29 Å, trained the "
        "networks at 6 to 300 Å: beyond, a rival may be short of its best. The weighted ring "
        "correlation, "
        "and what is thicker, are beside it.",
        findings,
        ("08_thickness_and_field",),
        remark=_beside_thickness(series, rows),
    )


def _beside_thickness(series: Series, rows: Rows) -> str:
    """Every ptychography's correlations, and those of apoferritin, which is as thick as it is."""
    text = "; ".join(
        f"{program(m)} "
        + ", ".join(f"{v['correlation'].text()} at {t / 10:g} nm" for t, v in series[m].items())
        for m in PTYCHOGRAPHY
        if m in series
    )
    protein = {m: inside(rows, PROTEIN, CONTRAST_DOSE, m) for m in (*JUDGED_METHODS, *PTYCHOGRAPHY)}
    whole = ", ".join(f"{v.text()} ({program(m)})" for m, v in protein.items() if v is not None)
    text = f"Ptychography, correlation inside: {text}. " if text else ""
    if whole:
        text += f"On {PROTEIN}, at its own thickness and {CONTRAST_DOSE:g} e⁻/Å²: {whole}."
    return text.strip()


def judge_claims(
    results: Results, rows: Rows, acquisition: Acquisition, upsampling: int = 3
) -> list[Claim]:
    """Judge every claim, in order.

    Parameters
    ----------
    results : mapping
        As from :func:`read_results`.
    rows : sequence of mappings
        The study's rows, with those of the peers.
    acquisition : Acquisition
        The paper's measurement (§2.3).
    upsampling : int
        The paper's, r (§2.1.1).

    Raises
    ------
    KeyError
        If a chapter's results lack what is read of it.
    """
    return [
        lattice(rows),
        contrast(rows),
        electrons(rows),
        shell(rows),
        centre(results),
        thickness(results, rows),
        frequency(results, rows),
        artefacts(results),
        sub_angstrom(rows, acquisition, upsampling),
        compared(rows),
        peaks(results),
        checkerboards(results),
        fresh_noise(results),
        any_number(results),
        *released(results),
    ]
