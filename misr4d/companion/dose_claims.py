"""Claims on curves against dose: the lattice (C1), electrons (C3) and the shell (C4)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from misr4d.companion.bounds import least_shown, marginal_text
from misr4d.companion.cases import (
    CRYSTAL,
    PROTEIN,
    PTYCHOGRAPHY,
    Case,
    Rows,
    behind,
    best_ptychography,
    program,
    scores,
)
from misr4d.companion.goals import dose_ratio
from misr4d.companion.verdicts import (
    JUDGED_METHODS,
    NOT,
    NOT_RUN,
    OPEN,
    PARTLY,
    REPRODUCED,
    Claim,
    Finding,
    enough,
    fewest,
    from_parts,
    percent,
)
from misr4d.measure.summary import Summary, summarise
from misr4d.plotting import dose_label

__all__ = [
    "Curve",
    "blind_text",
    "counted_part",
    "curve_of",
    "electrons",
    "inside",
    "lacking_cases",
    "lattice",
    "missing_text",
    "shell",
    "specimens_of",
]

LATTICE = 0.5  # our choice: the threshold of every ring correlation with the truth here

LATTICE_DOSE, LATTICE_RIVAL = 200.0, 500.0  # e⁻/Å², paper §3.2

SHELL = 20.0  # Å: apoferritin's wall, between a hollow of 80 Å and an outside of 120 Å

SHELL_RIVAL = 1000.0  # e⁻/Å², paper §3.2

SHARE = 0.4  # of the electrons: the paper's 60 % fewer


def _against(holds: bool | None, rival_fails: bool | None) -> str:
    """Verdict on a claim that a method succeeds where ptychography fails."""
    if holds is False:
        return NOT
    if holds is None or rival_fails is None:
        return OPEN
    return REPRODUCED if rival_fails else PARTLY


def inside(rows: Rows, specimen: str, dose: float, method: str) -> Summary | None:
    """Size of the correlation with the truth inside the specimen."""
    values = scores(rows, specimen, dose, method, "correlation")
    return summarise(values.values()) if values else None


def counted_part(case: Case, rows: Rows, method: str) -> bool | None:
    """Whether a comparison counts for a method: it is met, and the method shows something there."""
    shown = inside(rows, case.specimen, case.dose, method)
    if shown is None:
        return None
    blind = shown.median < least_shown(case.specimen)
    return enough(False if blind else case.met, case.n, case.dose)


def lacking_cases(
    cases: Sequence[Case], rows: Rows, doses: Sequence[float]
) -> list[tuple[str, float]]:
    """Specimens and doses of the table at which a comparison is missing: they leave it open."""
    compared = {(case.specimen, case.dose) for case in cases}
    return [(s, d) for s in specimens_of(rows) for d in doses if (s, d) not in compared]


def missing_text(lacking: Sequence[tuple[str, float]]) -> str:
    """Say what was not measured."""
    where = ", ".join(f"{name} at {dose_label(dose)}" for name, dose in lacking)
    return f"; not measured: {where}" if lacking else ""


def blind_text(cases: Iterable[Case], rows: Rows, method: str) -> str:
    """Name the comparisons that do not count, because the method shows nothing there."""
    weak = {
        (case.specimen, case.dose): shown
        for case in cases
        if (shown := inside(rows, case.specimen, case.dose, method))
        and shown.median < least_shown(case.specimen)
    }
    where = ", ".join(f"{s} at {dose_label(d)} ({v.text()})" for (s, d), v in weak.items())
    return f"; not counted, since it shows too little inside: {where}" if weak else ""


def _angstrom(period: float) -> str:
    return "none" if math.isinf(period) else f"{period:.1f} Å"


def _period(summary: Summary) -> str:
    return summary.text(word=_angstrom)


Curve = Mapping[float, Summary]


def curve_of(rows: Rows, specimen: str, method: str, measure: str) -> dict[float, Summary]:
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
    curves = {method: curve_of(rows, specimen, method, measure) for method in PTYCHOGRAPHY}
    best = {}
    for dose in sorted({dose for curve in curves.values() for dose in curve if dose < below}):
        name = best_ptychography(rows, specimen, dose, measure)
        if name is not None:
            best[dose] = (name, curves[name][dose])
    return best


def _shown_from(
    specimen: str, curve: Curve, within: Curve, holds: Callable[[Summary], bool]
) -> float:
    """Lowest dose from which on a condition holds at every dose, in an image; inf if at none.

    An image is what shows something of the specimen inside (`within`): see
    :func:`misr4d.companion.bounds.least_shown`.
    """
    start, least = math.inf, least_shown(specimen)
    for dose in sorted(curve, reverse=True):
        if not (holds(curve[dose]) and dose in within and within[dose].median >= least):
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


def _short(start: float, fails: bool | None) -> str:
    """Say from where on a method succeeds, and whether ptychography fails where it should."""
    rival = {
        True: ", and ptychography fails",
        False: ", but ptychography does not fail",
        None: "",
    }[fails]
    return f"shown {_since(start)}{rival}"


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
        for dose, summary in curve_of(rows, specimen, PTYCHOGRAPHY[0], measure).items()
        if dose in best and best[dose][0] != PTYCHOGRAPHY[0]
    }
    return text + (f" py4DSTEM, the paper's program: {_ends(papers, word)}." if papers else "")


def lattice(rows: Rows) -> Claim:
    """C1: the lattice from 200 e⁻/Å² on, where ptychography fails below 500."""
    best = _best_curve(rows, CRYSTAL, "lattice", LATTICE_RIVAL)
    fails = _rival_fails(best, lambda ring: ring.largest < LATTICE)
    findings = {}
    for method in JUDGED_METHODS:
        curve = curve_of(rows, CRYSTAL, method, "lattice")
        if not curve:
            findings[method] = NOT_RUN
            continue
        within = curve_of(rows, CRYSTAL, method, "correlation")
        start = _shown_from(CRYSTAL, curve, within, lambda ring: ring.least >= LATTICE)
        n = _drawn(curve, best)
        met: bool | None = start <= LATTICE_DOSE
        if not met and LATTICE_DOSE not in curve and _first_above(curve, LATTICE_DOSE) == start:
            met = None  # shown as soon as it was looked for
        text = (
            f"the lattice is shown {_since(start)}: ring correlation {_ends(curve, Summary.text)}, "
            f"correlation inside the crystal {_ends(within, Summary.text)}"
        )
        verdict = _against(enough(met, n), fails)
        findings[method] = Finding(verdict, text, n=n, short=_short(start, fails))
    return Claim(
        "C1",
        "§3.2, Fig. 4a",
        f"The lattice of Li₂CoO₃ shows from {LATTICE_DOSE:g} e⁻/Å², where ptychography fails below "
        f"{LATTICE_RIVAL:g}",
        "Correlation with the truth in the ring of the crystal's strongest lattice frequencies, "
        "because a lattice is those frequencies and no others. It is shown where every draw has "
        f"{LATTICE:g} or more, and the correlation inside the crystal is "
        f"{least_shown(CRYSTAL):.2g} or more, at this dose and every higher one; ptychography "
        f"fails where every draw of the best of it is below {LATTICE:g}.",
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
        curve = curve_of(rows, PROTEIN, method, "resolution")
        if not curve:
            findings[method] = NOT_RUN
            continue
        within = curve_of(rows, PROTEIN, method, "correlation")
        start = _shown_from(PROTEIN, curve, within, lambda period: period.largest <= SHELL)
        n = _drawn(curve, best)
        met = start < SHELL_RIVAL if min(curve) < SHELL_RIVAL else None
        text = (
            f"the shell is resolved {_since(start)}: {_ends(curve, _period)}, correlation inside "
            f"the protein {_ends(within, Summary.text)}"
        )
        verdict = _against(enough(met, n), fails)
        findings[method] = Finding(verdict, text, n=n, short=_short(start, fails))
    return Claim(
        "C4",
        "§3.2, Fig. 4c",
        "The shell of apoferritin is resolved as the dose rises, where ptychography is noise until "
        f"{SHELL_RIVAL:g} e⁻/Å²",
        "Period up to which the ring correlation with the truth stays above 0.5, over the rings in "
        "which the truth has power. The shell is resolved where every draw is finer than its wall, "
        f"{SHELL:g} Å, and the correlation inside is {least_shown(PROTEIN):.2f} or more, which a "
        "shell without structure does not reach, at this dose and every "
        "higher one; ptychography is noise where no draw of the best of it is finer.",
        findings,
        ("03_dose_series", "06_method_comparison"),
        remark=_rival(rows, PROTEIN, "resolution", SHELL_RIVAL, _period, fails),
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
        text = behind(cases) + _dose_words(cases) + blind_text(reached, rows, method)
        text += (
            f"; by the weighted ring correlation in {sum(c.met is True for c in beside)} of "
            f"{len(beside)} comparisons"
        )
        parts = [counted_part(case, rows, method) for case in reached]
        short = f"true in {parts.count(True)} of {len(parts)} comparisons"
        findings[method] = from_parts(parts, text, fewest(c.n for c in cases), short)
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
        remark=marginal_text(specimens_of(rows)),
    )


def specimens_of(rows: Rows) -> list[str]:
    """Specimens in the order of the table."""
    return list(dict.fromkeys(str(row["specimen"]) for row in rows))
