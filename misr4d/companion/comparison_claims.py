"""Claims on comparisons: contrast (C2), frequency (C7), sub-Å (C9), all methods (C10)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from misr4d.companion.bounds import finest, least_shown, marginal_text
from misr4d.companion.cases import CONTRAST as CONTRAST_TO_ERROR
from misr4d.companion.cases import (
    PTYCHOGRAPHY,
    Case,
    Rows,
    behind,
    best_ptychography,
    compare_methods,
    scores_text,
)
from misr4d.companion.chapter_claims import Results
from misr4d.companion.dose_claims import (
    blind_text,
    counted_part,
    curve_of,
    inside,
    lacking_cases,
    missing_text,
    specimens_of,
)
from misr4d.companion.goals import contrast_ratio
from misr4d.companion.verdicts import (
    CANNOT,
    JUDGED_METHODS,
    LEVEL,
    NOT_RUN,
    Claim,
    Finding,
    enough,
    fewest,
    from_parts,
)
from misr4d.core.acquisition import REGIMES, Acquisition
from misr4d.measure.spectra import RINGS
from misr4d.measure.summary import summarise
from misr4d.plotting import dose_label

__all__ = [
    "CONTRAST_DOSE",
    "compared",
    "contrast",
    "frequency",
    "sub_angstrom",
]

CONTRAST, CONTRAST_DOSE = 3.0, 300.0  # paper §3.2; the dose is that of its line scans

COMPARED_DOSE = 1000.0  # e⁻/Å², paper §3.3

ESTABLISHED = ("summed VBF", "iDPC", "parallax")  # paper §3.3, with ptychography

SUB_ANGSTROM = 1.0  # Å


def contrast(rows: Rows) -> Claim:
    """C2: more than three times ptychography's contrast to noise."""
    findings = {}
    for method in JUDGED_METHODS:

        def ratios(
            measure: str, among: Sequence[str] = PTYCHOGRAPHY, method: str = method
        ) -> dict[str, Case]:
            goal = contrast_ratio(
                rows,
                dose=CONTRAST_DOSE,
                factor=CONTRAST,
                method=method,
                measure=measure,
                among=among,
            )
            return {case.specimen: case for case in goal.cases}

        level, masks = ratios(CONTRAST_TO_ERROR), ratios("cnr")
        papers = ratios(CONTRAST_TO_ERROR, PTYCHOGRAPHY[:1])
        if not level:
            findings[method] = NOT_RUN
            continue
        words = []
        for name, case in level.items():
            text = f"{case.lead.text()} times on {name}, {scores_text(case)}"
            if name in masks:
                text += f", by two parts at one resolution {masks[name].lead.text()} times"
            if name in papers and case.rival != PTYCHOGRAPHY[0]:
                text += f", against py4DSTEM {papers[name].lead.text()} times"
            words.append(text)
        lacking = lacking_cases([*level.values()], rows, (CONTRAST_DOSE,))
        text = behind(level.values()) + "; ".join(words) + blind_text(level.values(), rows, method)
        ratio = [case.lead.median for case in level.values()]
        findings[method] = from_parts(
            [
                *(counted_part(case, rows, method) for case in level.values()),
                *(None for _ in lacking),
            ],
            text + missing_text(lacking),
            fewest(case.n for case in level.values()),
            f"{min(ratio):.2f} to {max(ratio):.2f} times, on {len(ratio)} specimens",
        )
    return Claim(
        "C2",
        "§3.2",
        f"More than {CONTRAST:g} times the contrast to noise of ptychography at low dose",
        "Contrast to noise, which the paper does not define. Noise is whatever in an image does "
        "not follow the truth: with r the correlation inside the specimen, the contrast of any two "
        "of its parts over that noise goes as r/√(1 − r²). Smoothing raises it only as far as it "
        "shows more. Median of the ratio, draw by draw, to the best ptychography at "
        f"{CONTRAST_DOSE:g} e⁻/Å². Beside it the usual |μ_s − μ_b|/σ_b between the truth's "
        "brightest 5 % and darkest 40 % inside, every image at one resolution; it decides nothing, "
        "because σ_b holds the specimen's own texture and the truth itself would not be "
        f"{CONTRAST:g} times ahead ({{doc}}`04_line_scans` has the truth's).",
        findings,
        ("06_method_comparison", "04_line_scans"),
    )


def _word(case: Case) -> str:
    unit = " Å⁻¹" if case.measure == "resolution" else ""
    return (
        f"{scores_text(case)}, {case.lead.text(3, sign=True)}{unit}, on {case.specimen} at "
        f"{dose_label(case.dose)}"
    )


def _range(cases: Sequence[Case]) -> str:
    """Word the best case and the worst."""
    if not cases:
        return ""
    worst, best = (extreme(cases, key=lambda case: case.lead.median) for extreme in (min, max))
    if worst is best:
        return f", {_word(best)}"
    return f", at best {_word(best)}; at worst {_word(worst)}"


def _ring(rows: Rows, specimen: str) -> float:
    """Width of a ring of a specimen's scan [Å⁻¹]: frequencies nearer than that are level."""
    regime = next(str(row["regime"]) for row in rows if row["specimen"] == specimen)
    return RINGS / min(REGIMES[regime].field)


def _cases(
    rows: Rows, dose: float, measure: str, method: str, others: Sequence[str] = ()
) -> tuple[list[Case], list[Case]]:
    """Per specimen the comparison that is hardest to win: best ptychography and all others.

    Won is what is ahead by more than is level: a ring, or :data:`LEVEL` of a correlation.

    Returns
    -------
    list, list
        Comparisons that can be won or are lost; and those that tell nothing, because the rival is
        so near the measure's end that not even the truth would be ahead, and the method is level.
    """
    cases: list[Case] = []
    level: list[Case] = []
    for name in specimens_of(rows):
        best = best_ptychography(rows, name, dose, measure)
        if best is None:
            continue
        margin = _ring(rows, name) if measure in ("resolution", "frequency") else LEVEL
        against = [
            compare_methods(
                *(rows, name, dose, rival, measure),
                lambda s, margin=margin: s.median > margin,  # type: ignore[misc]
                method=method,
            )
            for rival in (best, *others)
        ]
        known = [case for case in against if case is not None]
        if len(known) == len(against):
            case = min(known, key=lambda case: case.lead.median)
            ended = _end(name, measure) - case.theirs.median <= margin
            (level if ended and abs(case.lead.median) <= margin else cases).append(case)
    return cases, level


def _end(specimen: str, measure: str) -> float:
    """Score of the truth itself."""
    if measure == "frequency":  # of the image's own spectrum: noise has one as well
        return math.inf
    return finest(specimen) if measure == "resolution" else 1.0


def _level_text(cases: Sequence[Case]) -> str:
    """Name the comparisons that the truth itself would not win."""
    where = ", ".join(
        f"{case.against} on {case.specimen} at {dose_label(case.dose)}" for case in cases
    )
    return (
        f"; level at the end of the measure, where the truth is too, with {where}" if where else ""
    )


def _won(cases: Sequence[Case]) -> int:
    return sum(case.met is True for case in cases)


def frequency(results: Results, rows: Rows) -> Claim:
    """C7: a higher resolvable frequency than ptychography."""
    doses = sorted({float(r["dose"]) for r in rows if r["method"] in PTYCHOGRAPHY})
    doses = [dose for dose in doses if math.isfinite(dose)]
    findings = {}
    for method in JUDGED_METHODS:
        sorted_cases = {
            measure: [_cases(rows, dose, measure, method) for dose in doses]
            for measure in ("resolution", "weighted_frc", "frequency")
        }
        by_truth, weighted, shown = (
            [case for cases, _ in each for case in cases] for each in sorted_cases.values()
        )
        level = [case for _, ended in sorted_cases["resolution"] for case in ended]
        if not by_truth and not level:
            findings[method] = NOT_RUN
            continue
        lacking = lacking_cases([*by_truth, *level], rows, doses)
        parts = [counted_part(case, rows, method) for case in by_truth] + [None for _ in lacking]
        text = (
            f"{behind(by_truth)}finer by the truth in {parts.count(True)} of {len(parts)} "
            f"comparisons, higher weighted ring correlation in {_won(weighted)} of "
            f"{len(weighted)}, higher frequency of the power spectrum in "
            f"{_won(shown)} of {len(shown)}{_range(by_truth)}{_level_text(level)}"
            f"{blind_text(by_truth, rows, method)}{missing_text(lacking)}"
        )
        findings[method] = from_parts(parts, text, fewest(c.n for c in (*by_truth, *level)))
    spectra = results["05_power_spectra"]["highest_frequency"]
    empty = ", ".join(
        f"{value:.2f} Å⁻¹ without and {spectra[key.removesuffix(' / empty')]:.2f} Å⁻¹ with "
        f"{key.split(' / ')[0]} in it ({key.split(' / ')[1]})"
        for key, value in spectra.items()
        if key.endswith(" / empty") and key.split(" / ")[1] in (JUDGED_METHODS[0], "direct")
    )
    return Claim(
        "C7",
        "§3.2, Suppl. Fig. 3",
        "A higher resolvable frequency than ptychography's",
        "Ring correlation with the truth 0.5, over the rings in which the truth has power, "
        "compared as a frequency with the best ptychography's: higher is what is so by more than a "
        "ring, which is as finely as this measure can tell; what is level with a rival that has "
        "reached the measure's end, as the truth would be, is left out. The paper reads the "
        "frequency off "
        "the power spectrum; that is counted too but decides nothing, because an empty scan has "
        "such a frequency as well. The weighted ring correlation is beside it.",
        findings,
        ("06_method_comparison", "05_power_spectra"),
        remark=" ".join(
            text
            for text in (
                marginal_text(specimens_of(rows)),
                f"The power spectrum's highest frequency of a scan: {empty}." if empty else "",
            )
            if text
        ),
    )


def compared(rows: Rows) -> Claim:
    """C10: ahead of bright field, iDPC, parallax and ptychography at 1000 e⁻/Å²."""
    findings = {}
    for method in JUDGED_METHODS:
        both = {
            measure: _cases(rows, COMPARED_DOSE, measure, method, ESTABLISHED)
            for measure in ("correlation", "resolution", "weighted_frc")
        }
        every = [case for cases, _ in both.values() for case in cases]
        level = [case for _, ended in both.values() for case in ended]
        if not every and not level:
            findings[method] = NOT_RUN
            continue
        names = {
            "correlation": "correlation inside",
            "resolution": "resolution",
            "weighted_frc": "weighted ring correlation",
        }
        text = behind(every) + "; ".join(
            f"by {names[measure]} ahead of the best of the four on {_won(cases)} "
            f"of {len(cases)} specimens{_range(cases)}{_level_text(ended)}"
            for measure, (cases, ended) in both.items()
            if cases or ended
        )
        lacking = [
            place
            for cases, ended in both.values()
            for place in lacking_cases([*cases, *ended], rows, (COMPARED_DOSE,))
        ]
        parts = [*(counted_part(case, rows, method) for case in every), *(None for _ in lacking)]
        findings[method] = from_parts(
            parts,
            text + blind_text(every, rows, method) + missing_text(list(dict.fromkeys(lacking))),
            fewest(c.n for c in (*every, *level)),
            f"true in {parts.count(True)} of {len(parts)} comparisons",
        )
    return Claim(
        "C10",
        "§3.3, Fig. 5",
        f"Better than bright field, iDPC, parallax and ptychography at {COMPARED_DOSE:g} e⁻/Å²",
        "Correlation with the truth inside the specimen, ring correlation 0.5 over the rings in "
        "which the truth has power, compared as a frequency, and the mean ring correlation "
        "weighted by the truth's power: the median difference, draw by draw on the same electrons, "
        "from the best of the four on each specimen. Ahead is what is so by more than a ring, or "
        f"by more than {LEVEL:g} of a correlation; where the rival is nearer than that to the end "
        "of a measure, where the truth itself is, what is level with it is left out. Ptychography "
        "is the best measured. An image "
        "that shows the truth with its sign turned, inside or ring by ring, is called inverted and "
        "ranked by the size of its correlations; what period it resolves is not measured.",
        findings,
        ("06_method_comparison",),
        remark=" ".join(t for t in (_upside_down(rows), marginal_text(specimens_of(rows))) if t),
    )


def _upside_down(rows: Rows) -> str:
    """Name the methods whose images are inverted at the dose of the comparison."""
    inverted: dict[str, list[str]] = {}
    for name in specimens_of(rows):
        for method in ESTABLISHED:
            chosen = [
                row
                for row in rows
                if (row["specimen"], row["method"], float(row["dose"]))
                == (name, method, COMPARED_DOSE)
                and row.get("inverted")
                and row.get("thickness") is None
            ]
            if chosen:
                inside, rings = (
                    summarise(float(row[measure]) for row in chosen)
                    for measure in ("correlation", "weighted_frc")
                )
                inverted.setdefault(method, []).append(
                    f"{inside.text()} and {rings.text()} on {name}"
                )
    if not inverted:
        return ""
    words = "; ".join(f"{method} {', '.join(where)}" for method, where in inverted.items())
    return f"Inverted, by correlation inside and weighted ring correlation: {words}."


def _last_rings(specimens: Sequence[str]) -> str:
    ends = ", ".join(f"{1 / finest(name):.3f} Å on {name}" for name in specimens)
    return f" ({ends})" if ends else ""


def sub_angstrom(rows: Rows, acquisition: Acquisition, upsampling: int) -> Claim:
    """C9: sub-Ångström features, where grid and aperture allow them.

    Parameters
    ----------
    rows : sequence of mappings
    acquisition : Acquisition
        The paper's measurement.
    upsampling : int
        The paper's, r.
    """
    atomic = REGIMES["atomic"]
    limit, grid = atomic.information_limit, atomic.nyquist_period(upsampling)
    specimens = specimens_of([row for row in rows if row.get("regime") == "atomic"])
    findings = {}
    for method in JUDGED_METHODS:
        curves = {name: curve_of(rows, name, method, "resolution") for name in specimens}
        curves = {name: curve for name, curve in curves.items() if curve}
        if max(limit, grid) >= SUB_ANGSTROM:
            text = f"grid and aperture end at {max(limit, grid):.3f} Å"
            findings[method] = Finding(CANNOT, text)
            continue
        if not curves:
            findings[method] = NOT_RUN
            continue
        parts, words = [], []
        for name, curve in curves.items():
            dose, best = min(curve.items(), key=lambda item: item[1].median)
            shown = inside(rows, name, dose, method)
            needed = min(1 / SUB_ANGSTROM + _ring(rows, name) / 2, finest(name))
            fine = 1 / best.median >= needed * (1 - 1e-4)  # the table has six digits
            met = fine and shown is not None and shown.median >= least_shown(name)
            parts.append(enough(met, best.n, dose))
            word = best.text(word=lambda v: "none" if math.isinf(v) else f"{v:.3f} Å")
            words.append(f"{word} on {name} at {dose:g} e⁻/Å²")
        findings[method] = from_parts(
            parts,
            f"finest with a step of {atomic.step[0]:g} Å: {', '.join(words)}",
            fewest(s.n for curve in curves.values() for s in curve.values()),
        )
    step, held = max(acquisition.step), acquisition.nyquist_period(upsampling)
    wave = acquisition.wavelength
    finest_carried = (
        f"it carries nothing finer than 2 × {step:g}/{upsampling} = {held:.2f} Å, and a period "
        f"below {SUB_ANGSTROM:g} Å would need r above {2 * step / SUB_ANGSTROM:g}"
        if held >= SUB_ANGSTROM
        else f"it carries periods down to 2 × {step:g}/{upsampling} = {held:.2f} Å"
    )
    return Claim(
        "C9",
        "throughout",
        "Features below one Ångström are recovered",
        "Period up to which the ring correlation with the truth stays above 0.5, at the finite "
        f"dose where it is finest, on this book's scan of crystals and glasses (step "
        f"{atomic.step[0]:g} Å, {atomic.semiangle:g} mrad), which grid and aperture allow to go "
        f"below {SUB_ANGSTROM:g} Å: its median must, on each specimen, and so must the whole ring "
        "that it is the middle of, or it must be the last ring that this scan has, which is all "
        f"that the truth itself reaches{_last_rings(specimens)}.",
        findings,
        ("06_method_comparison",),
        remark=(
            "Where the claim can hold at all is arithmetic. Pixels of a step over r carry periods "
            f"down to 2·step/r, so that with r = {upsampling} the step must be below "
            f"{SUB_ANGSTROM * upsampling / 2:g} Å; the paper's losses name steps below 1 Å (Eq. 3)."
            " And a bright-field method transfers periods down to λ/2α, "
            f"{limit:.3f} Å at {atomic.semiangle:g} mrad: the semi-angle must be above "
            f"{1e3 * wave / (2 * SUB_ANGSTROM):.2f} mrad at {acquisition.energy / 1e3:g} keV, and "
            f"{acquisition.semiangle:g} mrad leaves {100 * (1 - limit / SUB_ANGSTROM):.1f} % "
            f"below {SUB_ANGSTROM:g} Å, where transfer is about to end; twice the angle would "
            f"reach {limit / 2:.2f} Å. The scan of the paper's §2.3 has a step of {step:g} Å: "
            f"{finest_carried}."
        ),
    )
