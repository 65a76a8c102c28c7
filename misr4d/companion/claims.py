"""The paper's claims C1–C14, and what it says of its simulations, judged from results on disk.

Every function takes what the chapters wrote with :func:`misr4d.companion.figures.save_results`, or
the rows of the study, and returns a :class:`~misr4d.companion.verdicts.Claim`; none runs a method.
A claim is judged as the paper makes it, concessions included. Where the paper leaves a word
undefined, such as "resolved", a constant here says what it was taken to mean.

Three rules hold for all. A method that shows nothing inside a specimen (correlation with the truth
below :data:`misr4d.companion.verdicts.SEEN`) meets no claim on it, whatever another measure says.
Fewer than :data:`misr4d.companion.verdicts.FEWEST` draws decide nothing, but at infinite dose,
where there is no noise to draw. And ptychography, the rival in most claims, is the best that was
measured: py4DSTEM's, which is the paper's program, or one of today's strongest
(:data:`misr4d.companion.goals.PTYCHOGRAPHY`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from misr4d.companion.chapter_claims import (
    LEVEL,
    any_number,
    artefacts,
    centre,
    checkerboards,
    fresh_noise,
    peaks,
    released,
)
from misr4d.companion.goals import CONTRAST as CONTRAST_TO_ERROR
from misr4d.companion.goals import (
    PTYCHOGRAPHY,
    Case,
    behind,
    best_ptychography,
    compare_methods,
    contrast_ratio,
    dose_ratio,
    program,
    scores,
    scores_text,
)
from misr4d.companion.verdicts import (
    CANNOT,
    JUDGED_METHODS,
    NOT,
    NOT_RUN,
    OPEN,
    PARTLY,
    REPRODUCED,
    SEEN,
    Claim,
    Finding,
    enough,
    fewest,
    from_parts,
    percent,
)
from misr4d.companion.verdicts import plain_strip as plain_strip  # the book's build reads them here
from misr4d.companion.verdicts import strip as strip
from misr4d.core.acquisition import REGIMES, Acquisition
from misr4d.measure.spectra import RINGS
from misr4d.measure.summary import Summary, summarise
from misr4d.plotting import dose_label

__all__ = ["CHAPTERS", "judge_claims", "read_results"]

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

CRYSTAL, PROTEIN = "Li2CoO3", "apoferritin"  # of the paper's Fig. 4
LATTICE = 0.5  # our choice: the threshold of every ring correlation with the truth here
LATTICE_DOSE, LATTICE_RIVAL = 200.0, 500.0  # e⁻/Å², paper §3.2
SHELL = 20.0  # Å: apoferritin's wall, between a hollow of 80 Å and an outside of 120 Å
SHELL_RIVAL = 1000.0  # e⁻/Å², paper §3.2
CONTRAST, CONTRAST_DOSE = 3.0, 300.0  # paper §3.2; the dose is that of its line scans
SHARE = 0.4  # of the electrons: the paper's 60 % fewer
BY_THICKNESS = ("correlation", "weighted_frc")
THINNEST = 20.0  # Å: the crystal's own, paper Fig. 4
THICKEST = 200.0  # Å, paper §3.2; what is thicker is shown beside
COMPARED_DOSE = 1000.0  # e⁻/Å², paper §3.3
ESTABLISHED = ("summed VBF", "iDPC", "parallax")  # paper §3.3, with ptychography
SUB_ANGSTROM = 1.0  # Å

Results = Mapping[str, Any]
Rows = Sequence[Mapping[str, Any]]


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


# Against ptychography ---------------------------------------------------------------------------


def _against(holds: bool | None, rival_fails: bool | None) -> str:
    """Verdict on a claim that a method succeeds where ptychography fails."""
    if holds is False:
        return NOT
    if holds is None or rival_fails is None:
        return OPEN
    return REPRODUCED if rival_fails else PARTLY


def _inside(rows: Rows, specimen: str, dose: float, method: str) -> Summary | None:
    """Size of the correlation with the truth inside the specimen."""
    values = scores(rows, specimen, dose, method, "correlation")
    return summarise(values.values()) if values else None


def _part(case: Case, rows: Rows, method: str) -> bool | None:
    """Whether a comparison counts for a method: it is met, and the method shows something there."""
    shown = _inside(rows, case.specimen, case.dose, method)
    if shown is None:
        return None
    return enough(False if shown.median < SEEN else case.met, case.n, case.dose)


def _lacking(cases: Sequence[Case], rows: Rows, doses: Sequence[float]) -> list[tuple[str, float]]:
    """Specimens and doses of the table at which a comparison is missing: they leave it open."""
    compared = {(case.specimen, case.dose) for case in cases}
    return [(s, d) for s in _specimens(rows) for d in doses if (s, d) not in compared]


def _missing(lacking: Sequence[tuple[str, float]]) -> str:
    where = ", ".join(f"{name} at {dose_label(dose)}" for name, dose in lacking)
    return f"; not measured: {where}" if lacking else ""


def _blind(cases: Iterable[Case], rows: Rows, method: str) -> str:
    """Name the comparisons that do not count, because the method shows nothing there."""
    weak = {
        (case.specimen, case.dose): shown
        for case in cases
        if (shown := _inside(rows, case.specimen, case.dose, method)) and shown.median < SEEN
    }
    where = ", ".join(f"{s} at {dose_label(d)} ({v.text()})" for (s, d), v in weak.items())
    return f"; not counted, since it shows too little inside: {where}" if weak else ""


def _angstrom(period: float) -> str:
    return "none" if math.isinf(period) else f"{period:.1f} Å"


def _period(summary: Summary) -> str:
    return summary.text(word=_angstrom)


# Curves against dose -------------------------------------------------------------------------


Curve = Mapping[float, Summary]


def _curve(rows: Rows, specimen: str, method: str, measure: str) -> dict[float, Summary]:
    """Summary at every finite dose, rising; of a period as a period [Å]. Empty if not run."""
    curve = {}
    for dose in sorted({float(row["dose"]) for row in rows}):
        values = list(scores(rows, specimen, dose, method, measure).values())
        if measure == "resolution":
            values = [1 / v if v > 0 else math.inf for v in values]
        if values and math.isfinite(dose):
            curve[dose] = summarise(values)
    return curve


def _best_curve(
    rows: Rows, specimen: str, measure: str, below: float
) -> dict[float, tuple[str, Summary]]:
    """Best ptychography at every dose below one: its name and its summary."""
    curves = {method: _curve(rows, specimen, method, measure) for method in PTYCHOGRAPHY}
    best = {}
    for dose in sorted({dose for curve in curves.values() for dose in curve if dose < below}):
        name = best_ptychography(rows, specimen, dose, measure)
        if name is not None:
            best[dose] = (name, curves[name][dose])
    return best


def _holds_from(curve: Curve, holds: Callable[[float, Summary], bool]) -> float:
    """Lowest dose from which on a condition holds at every dose; inf if at none."""
    start = math.inf
    for dose in sorted(curve, reverse=True):
        if not holds(dose, curve[dose]):
            break
        start = dose
    return start


def _first_above(curve: Curve, dose: float) -> float:
    """Lowest dose of a curve that is higher than another; inf if none is."""
    return min((level for level in curve if level > dose), default=math.inf)


def _drawn(curve: Curve, best: Mapping[float, tuple[str, Summary]]) -> int:
    """Fewest draws of a method's curve and of the ptychography that it is held against."""
    return min(summary.n for summary in (*curve.values(), *(rival for _, rival in best.values())))


def _ends(curve: Curve, word: Callable[[Summary], str]) -> str:
    """Word every dose of a curve."""
    return ", ".join(f"{word(values)} at {dose:g}" for dose, values in curve.items()) + " e⁻/Å²"


def _since(start: float) -> str:
    return "at no dose" if math.isinf(start) else f"from {start:g} e⁻/Å² on"


def _rival_fails(
    best: Mapping[float, tuple[str, Summary]], fails: Callable[[Summary], bool]
) -> bool | None:
    """Whether even the best ptychography fails at every dose that was measured."""
    if not best or any(
        enough(True, summary.n, dose) is None for dose, (_, summary) in best.items()
    ):
        return None
    return all(fails(summary) for _, summary in best.values())


def _rival(
    rows: Rows,
    specimen: str,
    measure: str,
    below: float,
    word: Callable[[Summary], str],
    fails: bool | None,
) -> str:
    """Say what the best ptychography does below a dose, and the paper's program beside it."""
    best = _best_curve(rows, specimen, measure, below)
    if not best:
        return f"Ptychography was not run below {below:g} e⁻/Å²."
    ends = ", ".join(
        f"{word(summary)} at {dose:g} ({program(name)})" for dose, (name, summary) in best.items()
    )
    verdict = {
        True: "It fails there, as the paper says.",
        False: "It does not fail there, so no method can have more than a part of this claim.",
        None: "These are too few draws to say whether it fails.",
    }[fails]
    text = f"The best ptychography below {below:g} e⁻/Å²: {ends}. {verdict}"
    papers = {
        dose: summary
        for dose, summary in _curve(rows, specimen, PTYCHOGRAPHY[0], measure).items()
        if dose in best and best[dose][0] != PTYCHOGRAPHY[0]
    }
    return text + (f" py4DSTEM, the paper's program: {_ends(papers, word)}." if papers else "")


def lattice(rows: Rows) -> Claim:
    """C1: the lattice from 200 e⁻/Å² on, where ptychography fails below 500."""
    best = _best_curve(rows, CRYSTAL, "lattice", LATTICE_RIVAL)
    fails = _rival_fails(best, lambda ring: ring.largest < LATTICE)
    findings = {}
    for method in JUDGED_METHODS:
        curve = _curve(rows, CRYSTAL, method, "lattice")
        if not curve:
            findings[method] = NOT_RUN
            continue
        inside = _curve(rows, CRYSTAL, method, "correlation")

        def holds(dose: float, ring: Summary, inside: Curve = inside) -> bool:
            return ring.least >= LATTICE and dose in inside and inside[dose].median >= SEEN

        start = _holds_from(curve, holds)
        n = _drawn(curve, best)
        met: bool | None = start <= LATTICE_DOSE
        if not met and LATTICE_DOSE not in curve and _first_above(curve, LATTICE_DOSE) == start:
            met = None  # shown as soon as it was looked for
        text = (
            f"the lattice is shown {_since(start)}: ring correlation {_ends(curve, Summary.text)}, "
            f"correlation inside the crystal {_ends(inside, Summary.text)}"
        )
        findings[method] = Finding(_against(enough(met, n), fails), text, n=n)
    return Claim(
        "C1",
        "§3.2, Fig. 4a",
        f"The lattice of Li₂CoO₃ shows from {LATTICE_DOSE:g} e⁻/Å², where ptychography fails below "
        f"{LATTICE_RIVAL:g}",
        "Correlation with the truth in the ring of the crystal's strongest lattice frequencies, "
        "because a lattice is those frequencies and no others. It is shown where every draw has "
        f"{LATTICE:g} or more, and the correlation inside the crystal is {SEEN:g} or more, at this "
        "dose and every higher one; ptychography fails where every draw of the best of it is below "
        f"{LATTICE:g}.",
        findings,
        ("03_dose_series", "06_method_comparison"),
        remark=_rival(rows, CRYSTAL, "lattice", LATTICE_RIVAL, Summary.text, fails),
    )


def shell(rows: Rows) -> Claim:
    """C4: apoferritin's shell as dose rises, where ptychography is noise until 1000."""
    best = _best_curve(rows, PROTEIN, "resolution", SHELL_RIVAL)
    fails = _rival_fails(best, lambda period: period.least > SHELL)
    findings = {}
    for method in JUDGED_METHODS:
        curve = _curve(rows, PROTEIN, method, "resolution")
        if not curve:
            findings[method] = NOT_RUN
            continue
        inside = _curve(rows, PROTEIN, method, "correlation")

        def holds(dose: float, period: Summary, inside: Curve = inside) -> bool:
            return period.largest <= SHELL and dose in inside and inside[dose].median >= SEEN

        start = _holds_from(curve, holds)
        n = _drawn(curve, best)
        met = start < SHELL_RIVAL if min(curve) < SHELL_RIVAL else None
        text = (
            f"the shell is resolved {_since(start)}: {_ends(curve, _period)}, correlation inside "
            f"the protein {_ends(inside, Summary.text)}"
        )
        findings[method] = Finding(_against(enough(met, n), fails), text, n=n)
    return Claim(
        "C4",
        "§3.2, Fig. 4c",
        "The shell of apoferritin is resolved as the dose rises, where ptychography is noise until "
        f"{SHELL_RIVAL:g} e⁻/Å²",
        "Period up to which the ring correlation with the truth stays above 0.5, over the rings in "
        "which the truth has power. The shell is resolved where every draw is finer than its wall, "
        f"{SHELL:g} Å, and the correlation inside is {SEEN:g} or more, at this dose and every "
        "higher one; ptychography is noise where no draw of the best of it is finer.",
        findings,
        ("03_dose_series", "06_method_comparison"),
        remark=_rival(rows, PROTEIN, "resolution", SHELL_RIVAL, _period, fails),
    )


# Comparisons ---------------------------------------------------------------------------------


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
        lacking = _lacking([*level.values()], rows, (CONTRAST_DOSE,))
        text = behind(level.values()) + "; ".join(words) + _blind(level.values(), rows, method)
        findings[method] = from_parts(
            [*(_part(case, rows, method) for case in level.values()), *(None for _ in lacking)],
            text + _missing(lacking),
            fewest(case.n for case in level.values()),
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


def _dose_words(cases: Sequence[Case]) -> str:
    words = [
        f"{'less than ' if c.bounded else ''}{c.lead.text()} of the {c.dose:g} e⁻/Å² of "
        f"{c.against} on {c.specimen}"
        for c in cases
        if math.isfinite(c.lead.median)
    ]
    if never := [
        f"{c.against} on {c.specimen} at {c.dose:g} (n = {c.n})"
        for c in cases
        if math.isinf(c.lead.median)
    ]:
        words.append(f"never, at the doses measured, as fine as {', '.join(never)} e⁻/Å²")
    return "; ".join(words)


def _reached(case: Case, rows: Rows) -> float:
    """Lowest dose measured at which a method is as fine as its rival; the rival's if at none."""
    needed = case.lead.median * case.dose * (1 - 1e-9)  # interpolation rounds
    doses = sorted({float(row["dose"]) for row in rows})
    return next((dose for dose in doses if needed <= dose < math.inf), case.dose)


def electrons(rows: Rows) -> Claim:
    """C3: as much recovered with 60 % fewer electrons."""
    findings = {}
    for method in JUDGED_METHODS:
        cases = dose_ratio(rows, SHARE, method=method).cases
        if not cases:
            findings[method] = NOT_RUN
            continue
        beside = dose_ratio(rows, SHARE, method=method, measure="weighted_frc").cases
        reached = [replace(case, dose=_reached(case, rows)) for case in cases]
        text = behind(cases) + _dose_words(cases) + _blind(reached, rows, method)
        text += (
            f"; by the weighted ring correlation in {sum(c.met is True for c in beside)} of "
            f"{len(beside)} comparisons"
        )
        findings[method] = from_parts(
            [_part(case, rows, method) for case in reached], text, fewest(c.n for c in cases)
        )
    return Claim(
        "C3",
        "§3",
        f"Equal recovery with {percent(1 - SHARE)} fewer electrons",
        "Dose at which a method resolves as finely as the best ptychography (ring correlation with "
        "the truth 0.5, over the rings in which the truth has power), over ptychography's dose; "
        "interpolated draw by draw, never extrapolated, at every dose of which "
        f"{percent(SHARE)} was measured. What must show something inside is the "
        "image at the lower dose. The mean ring correlation, weighted by the truth's power, is "
        "compared in the same way beside it.",
        findings,
        ("06_method_comparison",),
    )


def _word(case: Case) -> str:
    unit = " Å⁻¹" if case.measure == "resolution" else ""
    return (
        f"{scores_text(case)}, {case.lead.text(3, sign=True)}{unit}, on {case.specimen} at "
        f"{dose_label(case.dose)}"
    )


def _range(cases: Sequence[Case]) -> str:
    """Word the best case and the worst."""
    worst, best = (one(cases, key=lambda case: case.lead.median) for one in (min, max))
    if worst is best:
        return _word(best)
    return f"at best {_word(best)}; at worst {_word(worst)}"


def _specimens(rows: Rows) -> list[str]:
    return list(dict.fromkeys(str(row["specimen"]) for row in rows))


def _ring(rows: Rows, specimen: str) -> float:
    """Width of a ring of a specimen's scan [Å⁻¹]: frequencies nearer than that are level."""
    regime = next(str(row["regime"]) for row in rows if row["specimen"] == specimen)
    return RINGS / min(REGIMES[regime].field)


def _cases(
    rows: Rows, dose: float, measure: str, method: str, others: Sequence[str] = ()
) -> list[Case]:
    """Per specimen the comparison that is hardest to win: best ptychography and all others.

    Won is what is ahead by more than is level: a ring, or :data:`LEVEL` of a correlation.
    """
    cases = []
    for name in _specimens(rows):
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
            cases.append(min(known, key=lambda case: case.lead.median))
    return cases


def _won(cases: Sequence[Case]) -> int:
    return sum(case.met is True for case in cases)


def frequency(results: Results, rows: Rows) -> Claim:
    """C7: a higher resolvable frequency than ptychography."""
    doses = sorted({float(r["dose"]) for r in rows if r["method"] in PTYCHOGRAPHY})
    doses = [dose for dose in doses if math.isfinite(dose)]
    findings = {}
    for method in JUDGED_METHODS:
        by_truth, weighted, shown = (
            [case for d in doses for case in _cases(rows, d, measure, method)]
            for measure in ("resolution", "weighted_frc", "frequency")
        )
        if not by_truth:
            findings[method] = NOT_RUN
            continue
        lacking = _lacking(by_truth, rows, doses)
        parts = [_part(case, rows, method) for case in by_truth] + [None for _ in lacking]
        text = (
            f"{behind(by_truth)}finer by the truth in {parts.count(True)} of {len(parts)} "
            f"comparisons, higher weighted ring correlation in {_won(weighted)} of "
            f"{len(weighted)}, higher frequency of the power spectrum in "
            f"{_won(shown)} of {len(shown)}; by the truth {_range(by_truth)}"
            f"{_blind(by_truth, rows, method)}{_missing(lacking)}"
        )
        findings[method] = from_parts(parts, text, fewest(c.n for c in by_truth))
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
        "ring, which is as finely as this measure can tell. The paper reads the frequency off "
        "the power spectrum; that is counted too but decides nothing, because an empty scan has "
        "such a frequency as well. The weighted ring correlation is beside it.",
        findings,
        ("06_method_comparison", "05_power_spectra"),
        remark=f"The power spectrum's highest frequency of a scan: {empty}." if empty else "",
    )


def compared(rows: Rows) -> Claim:
    """C10: ahead of bright field, iDPC, parallax and ptychography at 1000 e⁻/Å²."""
    findings = {}
    for method in JUDGED_METHODS:
        both = {
            measure: _cases(rows, COMPARED_DOSE, measure, method, ESTABLISHED)
            for measure in ("correlation", "resolution", "weighted_frc")
        }
        every = [case for cases in both.values() for case in cases]
        if not every:
            findings[method] = NOT_RUN
            continue
        names = {
            "correlation": "correlation inside",
            "resolution": "resolution",
            "weighted_frc": "weighted ring correlation",
        }
        text = behind(every) + "; ".join(
            f"by {names[measure]} ahead of the best of the four on {_won(cases)} "
            f"of {len(cases)} specimens, {_range(cases)}"
            for measure, cases in both.items()
            if cases
        )
        lacking = [p for cases in both.values() for p in _lacking(cases, rows, (COMPARED_DOSE,))]
        findings[method] = from_parts(
            [*(_part(case, rows, method) for case in every), *(None for _ in lacking)],
            text + _blind(every, rows, method) + _missing(list(dict.fromkeys(lacking))),
            fewest(c.n for c in every),
        )
    return Claim(
        "C10",
        "§3.3, Fig. 5",
        f"Better than bright field, iDPC, parallax and ptychography at {COMPARED_DOSE:g} e⁻/Å²",
        "Correlation with the truth inside the specimen, ring correlation 0.5 over the rings in "
        "which the truth has power, compared as a frequency, and the mean ring correlation "
        "weighted by the truth's power: the median difference, draw by draw on the same electrons, "
        "from the best of the four on each specimen. Ahead is what is so by more than a ring, or "
        f"by more than {LEVEL:g} of a correlation. Ptychography is the best measured. An image "
        "that shows the truth with its sign turned, inside or ring by ring, is called inverted and "
        "ranked by the size of its correlations; what period it resolves is not measured.",
        findings,
        ("06_method_comparison",),
        remark=_upside_down(rows),
    )


def _upside_down(rows: Rows) -> str:
    """Name the methods whose images are inverted at the dose of the comparison."""
    inverted: dict[str, list[str]] = {}
    for name in _specimens(rows):
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
    specimens = _specimens([row for row in rows if row.get("regime") == "atomic"])
    findings = {}
    for method in JUDGED_METHODS:
        curves = {name: _curve(rows, name, method, "resolution") for name in specimens}
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
            dose, finest = min(curve.items(), key=lambda item: item[1].median)
            shown = _inside(rows, name, dose, method)
            fine = 1 / finest.median >= 1 / SUB_ANGSTROM + _ring(rows, name) / 2
            met = fine and shown is not None and shown.median >= SEEN
            parts.append(enough(met, finest.n, dose))
            word = finest.text(word=lambda v: "none" if math.isinf(v) else f"{v:.3f} Å")
            words.append(f"{word} on {name} at {dose:g} e⁻/Å²")
        findings[method] = from_parts(
            parts,
            f"finest with a step of {atomic.step[0]:g} Å: {', '.join(words)}",
            fewest(s.n for curve in curves.values() for s in curve.values()),
        )
    step, held = max(acquisition.step), acquisition.nyquist_period(upsampling)
    wave = acquisition.wavelength
    own = (
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
        "that it is the middle of.",
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
            f"{own}."
        ),
    )


# Thickness ------------------------------------------------------------------------------------


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
            own = {m: list(scores(rows, CRYSTAL, dose, method, m).values()) for m in measured}
            if all(own.values()):
                values[dose, method, THINNEST] = own
    doses = [dose for dose, _, _ in values if math.isfinite(dose)]
    dose = max(sorted(set(doses)), key=doses.count, default=math.nan)
    series: dict[str, dict[float, dict[str, Summary]]] = {}
    for (level_dose, method, level), measured in sorted(values.items()):
        if level_dose == dose:
            curve = series.setdefault(method, {})
            curve[level] = {m: summarise(v) for m, v in measured.items()}
            thinnest = curve[min(curve)]["correlation"].median
            share = [v / thinnest if thinnest > 0 else 0.0 for v in measured["correlation"]]
            curve[level]["kept"] = summarise(share)
    return series


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
            shown = measured["correlation"].median >= SEEN
            holds: bool | None = None
            if not shown:
                holds = False
            elif rival is not None:
                holds = measured["kept"].median > series[rival][level]["kept"].median + LEVEL
            curves = [curve] if rival is None else [curve, series[rival]]
            n = min(one[place]["kept"].n for one in curves for place in (level, min(curve)))
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
        f"must be {SEEN:g} or more, because what shows nothing degrades no further. Over the whole "
        "field the outline would count, which no thickness hides. The weighted ring correlation, "
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
    protein = {
        m: _inside(rows, PROTEIN, CONTRAST_DOSE, m) for m in (*JUDGED_METHODS, *PTYCHOGRAPHY)
    }
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
