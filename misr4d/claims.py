"""The paper's claims C1–C14, and what it says of its simulations, judged from results on disk.

Every function takes what the chapters wrote with :func:`misr4d.figures.save_results`, or the
bench's rows, and returns a :class:`Claim`; none runs a method. Where the paper leaves a word
undefined, such as "resolved", a constant here says what it was taken to mean.

A verdict is one for each method. That of the claim is the verdict on the network that the claim is
about, with the weights shipped here; the other methods stand beside it.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from misr4d.acquisition import Acquisition
from misr4d.figures import dose_label
from misr4d.goals import Case, compare, contrast_ratio, dose_ratio

__all__ = [
    "CANNOT",
    "CHAPTERS",
    "MARKS",
    "METHODS",
    "NOT",
    "OPEN",
    "PARTLY",
    "REPRODUCED",
    "Claim",
    "Finding",
    "anchor",
    "chip",
    "counted",
    "judge",
    "plain_strip",
    "read_results",
    "strip",
]

REPRODUCED, PARTLY, NOT = "reproduced", "partly", "not reproduced"
CANNOT = "cannot hold"  # with a derivation
OPEN = "not decided"  # the results on disk do not hold what it takes

MARKS: Mapping[str, tuple[str, str]] = {
    REPRODUCED: ("✔", "#1b5e20"),
    PARTLY: ("◐", "#7a4f00"),
    NOT: ("✘", "#a31515"),
    CANNOT: ("⊘", "#4a148c"),
    OPEN: ("?", "#455a64"),
}
"""Sign and colour of each verdict: the sign suffices, and white on the colour is legible."""

SUBJECT = "attention U-Net"  # the paper's network, of §2.1.1
METHODS = (SUBJECT, "dual path", "informed", "direct")
"""Methods judged: the paper's two networks, and beside them the two of this book."""

CHAPTERS = (
    "03_dose_series",
    "04_line_scans",
    "05_power_spectra",
    "06_method_comparison",
    "07_structural_orders",
    "08_thickness_and_field",
    "09_released_code",
    "10_ablations",
    "11_invention",
)
"""Chapters whose results are read."""

CRYSTAL, PROTEIN = "Li2CoO3", "apoferritin"  # of the paper's Fig. 4
LATTICE = 0.5  # our choice: the threshold of every ring correlation with the truth here
LATTICE_DOSE, LATTICE_RIVAL = 200.0, 500.0  # e⁻/Å², paper §3.2
SHELL = 20.0  # Å: apoferritin's wall, between a hollow of 80 Å and an outside of 120 Å
SHELL_RIVAL = 1000.0  # e⁻/Å², paper §3.2
CONTRAST, CONTRAST_DOSE = 3.0, 300.0  # paper §3.2; the dose is that of its line scans
SHARE = 0.4  # of the electrons: the paper's 60 % fewer
KEPT = 0.8  # our choice, the paper gives no number: four fifths of the best is a tolerance
LOST = 0.5  # our choice: what loses more than half is no longer tolerated in any sense
NEAR = 0.75  # our choice: three quarters of the reference's peak to background is near it
LEVEL = 0.02  # our choice: correlations that differ by less are level
SEEN = 0.5  # our choice: half of a defect's contrast, or of a full correlation, is seen
COMPARED_DOSE = 1000.0  # e⁻/Å², paper §3.3
ESTABLISHED = ("summed VBF", "iDPC", "parallax", "ptychography")  # paper §3.3
SUB_ANGSTROM = 1.0  # Å
SAME = 0.01  # our choice: what differs by less than a hundredth is as the paper says
SAMPLED, DECLARED = 0.1, 1.0  # Å, of the released crystal script's potential
SEMIANGLE = 10.0  # mrad, paper §2.3

Results = Mapping[str, Any]
Rows = Sequence[Mapping[str, Any]]
Quartiles = tuple[float, float, float]


@dataclass(frozen=True)
class Finding:
    """What one method does with a claim.

    Parameters
    ----------
    verdict : str
    text : str
        What was measured, with its spread.
    share : (int, int), optional
        In how many of how many comparisons it holds, where the verdict is such a count.
    """

    verdict: str
    text: str
    share: tuple[int, int] | None = None


@dataclass(frozen=True)
class Claim:
    """A claim, how it was measured, and what was found.

    Parameters
    ----------
    number : str
        ``C1`` to ``C14`` as in the paper map, ``R1`` on for the released code.
    section : str
        Of the paper.
    statement, measure : str
        What the paper says, in our words, and what was measured and why.
    findings : mapping
        :class:`Finding` by method; one named ``""`` where no method is involved.
    sources : tuple of str
        Chapters that measured it.
    subject : str
        The method that the claim is about.
    remark : str
        What else belongs to it, such as a derivation or the rival's numbers.
    """

    number: str
    section: str
    statement: str
    measure: str
    findings: Mapping[str, Finding]
    sources: tuple[str, ...]
    subject: str = SUBJECT
    remark: str = field(default="")

    def __post_init__(self) -> None:
        if self.subject not in self.findings:
            raise ValueError(
                f"claim {self.number} is about {self.subject!r}, of which there is no finding; "
                f"expected it among {', '.join(map(repr, self.findings))}"
            )

    @property
    def verdict(self) -> str:
        """The verdict on the method that the claim is about."""
        return self.findings[self.subject].verdict

    @property
    def evidence(self) -> str:
        """What was measured of the method that the claim is about."""
        return self.findings[self.subject].text


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


def _together(parts: Sequence[bool | None]) -> str:
    """Verdict on parts that must all hold."""
    if True in parts and False in parts:
        return PARTLY
    if not parts or None in parts:
        return OPEN
    return REPRODUCED if True in parts else NOT


def _against(own: bool | None, rival_fails: bool | None) -> str:
    """Verdict on a claim that a method succeeds where ptychography fails."""
    if own is False:
        return NOT
    if own is None or rival_fails is None:
        return OPEN
    return REPRODUCED if rival_fails else PARTLY


def _counted(parts: Sequence[bool | None], text: str) -> Finding:
    """Judge comparisons that must all hold."""
    return Finding(_together(parts), text, (parts.count(True), len(parts)) if parts else None)


def _number(value: float, digits: int = 2, *, sign: bool = False) -> str:
    plus = "+" if sign else ""
    return "∞" if math.isinf(value) else f"{value:{plus}.{digits}f}".replace("-", "−")


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _spread(values: Sequence[float], digits: int = 2, *, sign: bool = False) -> str:
    low, middle, high = (_number(v, digits, sign=sign) for v in values)
    return middle if low == middle == high else f"{middle} ({low} to {high})"


def _period(values: Sequence[float]) -> str:
    return "none" if math.isinf(values[1]) else f"{_spread(values, 1)} Å"


def _quartiles(values: Sequence[float]) -> Quartiles:
    low, middle, high = np.percentile([float(v) for v in values], [25, 50, 75], method="nearest")
    return float(low), float(middle), float(high)


_NOT_RUN = Finding(OPEN, "not run")


# The dose series -----------------------------------------------------------------------------


def _curve(results: Results, specimen: str, method: str, measure: str) -> dict[float, Quartiles]:
    """Quartiles by finite dose, rising; empty if the chapter did not run the method."""
    found = {}
    for row in results["03_dose_series"]["summary"]:
        dose = float(row["dose"])
        if (row["specimen"], row["method"]) == (specimen, method) and math.isfinite(dose):
            low, middle, high = (float(row[measure][q]) for q in ("q25", "median", "q75"))
            found[dose] = (low, middle, high)
    return dict(sorted(found.items()))


def _holds_from(curve: Mapping[float, Quartiles], holds: Callable[[Quartiles], bool]) -> float:
    """Lowest dose from which on a condition holds at every dose; inf if at none."""
    start = math.inf
    for dose in sorted(curve, reverse=True):
        if not holds(curve[dose]):
            break
        start = dose
    return start


def _ends(curve: Mapping[float, Quartiles], word: Callable[[Quartiles], str]) -> str:
    """Word every dose of a curve."""
    return ", ".join(f"{word(values)} at {dose:g}" for dose, values in curve.items()) + " e⁻/Å²"


def _since(start: float) -> str:
    return "at no dose" if math.isinf(start) else f"from {start:g} e⁻/Å² on"


def _rival(
    curve: Mapping[float, Quartiles],
    word: Callable[[Quartiles], str],
    below: float,
    fails: bool | None,
) -> str:
    if fails is None:
        return f"Tuned ptychography was not run below {below:g} e⁻/Å²."
    verdict = (
        "It fails there, as the paper says."
        if fails
        else "It does not fail there, so no method can have more than a part of this claim."
    )
    return f"Tuned ptychography, one draw, below {below:g} e⁻/Å²: {_ends(curve, word)}. {verdict}"


def lattice(results: Results) -> Claim:
    """C1: the lattice from 200 e⁻/Å² on, where ptychography fails below 500."""
    rival = _curve(results, CRYSTAL, "ptychography", "lattice")
    rival = {dose: values for dose, values in rival.items() if dose < LATTICE_RIVAL}
    fails = all(values[2] < LATTICE for values in rival.values()) if rival else None
    findings = {}
    for method in METHODS:
        curve = _curve(results, CRYSTAL, method, "lattice")
        if not curve:
            findings[method] = _NOT_RUN
            continue
        start = _holds_from(curve, lambda values: values[0] >= LATTICE)
        own = start <= LATTICE_DOSE if min(curve) <= LATTICE_DOSE else None
        text = f"the lattice stands {_since(start)}: {_ends(curve, _spread)}"
        findings[method] = Finding(_against(own, fails), text)
    return Claim(
        "C1",
        "§3.2, Fig. 4a",
        f"The lattice of Li₂CoO₃ shows from {LATTICE_DOSE:g} e⁻/Å², where ptychography fails below "
        f"{LATTICE_RIVAL:g}",
        "Correlation with the truth in the ring of the crystal's strongest lattice frequencies, "
        "because a lattice is those frequencies and no others. It stands where the lower quartile "
        f"is {LATTICE:g} or more at this dose and every higher one; ptychography fails where the "
        f"ring is below {LATTICE:g}.",
        findings,
        ("03_dose_series",),
        remark=_rival(rival, _spread, LATTICE_RIVAL, fails),
    )


def shell(results: Results) -> Claim:
    """C4: apoferritin's shell as dose rises, where ptychography is noise until 1000."""
    rival = _curve(results, PROTEIN, "ptychography", "resolution")
    rival = {dose: values for dose, values in rival.items() if dose < SHELL_RIVAL}
    fails = all(values[0] > SHELL for values in rival.values()) if rival else None
    findings = {}
    for method in METHODS:
        curve = _curve(results, PROTEIN, method, "resolution")
        if not curve:
            findings[method] = _NOT_RUN
            continue
        start = _holds_from(curve, lambda values: values[2] <= SHELL)
        own = start < SHELL_RIVAL if min(curve) < SHELL_RIVAL else None
        text = f"the shell is resolved {_since(start)}: {_ends(curve, _period)}"
        findings[method] = Finding(_against(own, fails), text)
    return Claim(
        "C4",
        "§3.2, Fig. 4c",
        "The shell of apoferritin is resolved as the dose rises, where ptychography is noise until "
        f"{SHELL_RIVAL:g} e⁻/Å²",
        "Period at which the ring correlation with the truth falls below 0.5. The shell is "
        f"resolved where that is finer than its wall, {SHELL:g} Å, at this dose and every higher "
        "one.",
        findings,
        ("03_dose_series",),
        remark=_rival(rival, _period, SHELL_RIVAL, fails),
    )


# The bench -----------------------------------------------------------------------------------


def _specimens(rows: Rows) -> list[str]:
    return list(dict.fromkeys(str(row["specimen"]) for row in rows))


def _has(rows: Rows, method: str) -> bool:
    return any(row["method"] == method for row in rows)


def contrast(rows: Rows) -> Claim:
    """C2: more than three times ptychography's contrast to noise."""
    findings = {}
    for method in METHODS:
        cases = contrast_ratio(rows, dose=CONTRAST_DOSE, factor=CONTRAST, method=method).cases
        text = "; ".join(
            f"{_spread((c.low, c.middle, c.high))} times on {c.specimen}, {_number(c.ours, 1)} "
            f"against {_number(c.theirs, 1)}"
            for c in cases
        )
        findings[method] = _counted([c.met for c in cases], text) if cases else _NOT_RUN
    return Claim(
        "C2",
        "§3.2",
        f"More than {CONTRAST:g} times the contrast to noise of ptychography at low dose",
        "Contrast to noise, which the paper does not define: |μ_s − μ_b|/σ_b between the truth's "
        "brightest 5 % and darkest 40 %, so that no image chooses its own masks; median of the "
        f"ratio to tuned ptychography at {CONTRAST_DOSE:g} e⁻/Å². Smoothing raises it without "
        "showing more, so C3 and C7 stand beside it.",
        findings,
        ("06_method_comparison",),
    )


def electrons(rows: Rows) -> Claim:
    """C3: as much recovered with 60 % fewer electrons."""
    findings = {}
    for method in METHODS:
        cases = dose_ratio(rows, SHARE, method=method).cases
        if not cases:
            findings[method] = _NOT_RUN
            continue
        words = [
            f"{'less than ' if c.bounded else ''}{_spread((c.low, c.middle, c.high))} of "
            f"ptychography's {c.dose:g} e⁻/Å² on {c.specimen}"
            for c in cases
            if math.isfinite(c.middle)
        ]
        if never := [f"{c.specimen} at {c.dose:g}" for c in cases if math.isinf(c.middle)]:
            words.append(f"never, at the doses measured, as fine as on {', '.join(never)} e⁻/Å²")
        findings[method] = _counted([c.met for c in cases], "; ".join(words))
    return Claim(
        "C3",
        "§3",
        f"Equal recovery with {_percent(1 - SHARE)} fewer electrons",
        "Dose at which a method resolves as finely as tuned ptychography (ring correlation with "
        "the truth 0.5), over ptychography's dose; interpolated draw by draw, never extrapolated. "
        "Resolution, because correlation rewards the shape of a specimen.",
        findings,
        ("06_method_comparison",),
    )


def _word(case: Case, measure: str) -> str:
    if measure == "resolution":
        ours, theirs = (
            f"{1 / value:.2f} Å" if value > 0 else "none" for value in (case.ours, case.theirs)
        )
    else:
        ours, theirs = _number(case.ours), _number(case.theirs)
    spread = _spread((case.low, case.middle, case.high), 3, sign=True)
    unit = "" if measure == "correlation" else " Å⁻¹"
    return (
        f"{ours} against {theirs} of {case.rival}, {spread}{unit}, on {case.specimen} at "
        f"{case.dose:g} e⁻/Å²"
    )


def _range(cases: Sequence[Case], measure: str) -> str:
    """Word the best case and the worst."""
    worst, best = (one(cases, key=lambda case: case.middle) for one in (min, max))
    return f"at best {_word(best, measure)}; at worst {_word(worst, measure)}"


def _cases(rows: Rows, dose: float, rivals: Sequence[str], measure: str, method: str) -> list[Case]:
    """Per specimen the comparison with the rival that is hardest to beat."""
    cases = []
    for name in _specimens(rows):
        found = [
            compare(rows, name, dose, rival, measure, lambda _l, m, _h: m > 0, method=method)
            for rival in rivals
        ]
        known = [case for case in found if case is not None]
        if known and len(known) == len(rivals):
            cases.append(min(known, key=lambda case: case.middle))
    return cases


def frequency(results: Results, rows: Rows) -> Claim:
    """C7: a higher resolvable frequency than ptychography."""
    doses = sorted({float(r["dose"]) for r in rows if r["method"] == "ptychography"})
    doses = [dose for dose in doses if math.isfinite(dose)]
    findings = {}
    for method in METHODS:
        true, shown = (
            [case for d in doses for case in _cases(rows, d, ("ptychography",), measure, method)]
            for measure in ("resolution", "frequency")
        )
        if not true:
            findings[method] = _NOT_RUN
            continue
        text = (
            f"finer by the truth in {sum(bool(c.met) for c in true)} of {len(true)} comparisons, "
            f"by the power spectrum in {sum(bool(c.met) for c in shown)} of {len(shown)}. By the "
            f"truth {_range(true, 'resolution')}"
        )
        findings[method] = _counted([case.met for case in true], text)
    spectra = results["05_power_spectra"]["highest_frequency"]
    empty = ", ".join(
        f"{value:.2f} Å⁻¹ without and {spectra[key.removesuffix(' / empty')]:.2f} Å⁻¹ with "
        f"{key.split(' / ')[0]} in it ({key.split(' / ')[1]})"
        for key, value in spectra.items()
        if key.endswith(" / empty") and key.split(" / ")[1] in (SUBJECT, "direct")
    )
    return Claim(
        "C7",
        "§3.2, Suppl. Fig. 3",
        "A higher resolvable frequency than ptychography's",
        "Ring correlation with the truth 0.5, compared as a frequency. The paper reads the "
        "frequency off the power spectrum; that is counted too but decides nothing, because an "
        "empty scan has such a frequency as well.",
        findings,
        ("06_method_comparison", "05_power_spectra"),
        remark=f"The power spectrum's highest frequency of a scan: {empty}." if empty else "",
    )


def compared(rows: Rows) -> Claim:
    """C10: ahead of bright field, iDPC, parallax and ptychography at 1000 e⁻/Å²."""
    findings = {}
    for method in METHODS:
        both = {
            measure: _cases(rows, COMPARED_DOSE, ESTABLISHED, measure, method)
            for measure in ("correlation", "resolution")
        }
        every = [(measure, case) for measure, cases in both.items() for case in cases]
        if not every:
            findings[method] = _NOT_RUN
            continue
        text = "against the best of the four, " + "; ".join(
            f"by {measure} ahead on {sum(bool(c.met) for c in cases)} of {len(cases)} specimens, "
            + _range(cases, measure)
            for measure, cases in both.items()
            if cases
        )
        findings[method] = _counted([case.met for _, case in every], text)
    return Claim(
        "C10",
        "§3.3, Fig. 5",
        f"Better than bright field, iDPC, parallax and ptychography at {COMPARED_DOSE:g} e⁻/Å²",
        "Correlation with the truth, and ring correlation 0.5 compared as a frequency, because "
        "correlation alone rewards low frequencies; the median difference, draw by draw on the "
        "same electrons, from the best of the four on each specimen. Ptychography is tuned and has "
        "one draw.",
        findings,
        ("06_method_comparison",),
    )


def sub_angstrom(rows: Rows, acquisition: Acquisition, upsampling: int) -> Claim:
    """C9: sub-Ångström features; cannot hold where grid or aperture end before.

    Parameters
    ----------
    rows : sequence of mappings
    acquisition : Acquisition
        The paper's measurement.
    upsampling : int
        The paper's, r.
    """
    held, limit = acquisition.nyquist_period(upsampling), acquisition.information_limit
    step = max(acquisition.step)
    finest = {}
    for regime in dict.fromkeys(str(row["regime"]) for row in rows):
        for method in METHODS:
            own = [r for r in rows if (r["regime"], r["method"]) == (regime, method)]
            known = [float(r["resolution"]) for r in own if r["resolution"] is not None]
            if known:
                finest[regime, method] = min(known)
    ends = max(held, limit)
    if ends > SUB_ANGSTROM:
        findings = {
            method: Finding(
                CANNOT,
                f"pixels of {step:g}/{upsampling} Å carry nothing finer than {held:.2f} Å",
            )
            for method in METHODS
        }
    else:
        findings = {
            method: Finding(
                _together([finest["molecular", method] < SUB_ANGSTROM]),
                f"finest {finest['molecular', method]:.2f} Å",
            )
            if ("molecular", method) in finest
            else _NOT_RUN
            for method in METHODS
        }
    atomic = ", ".join(
        f"{value:.2f} Å ({method})"
        for (regime, method), value in finest.items()
        if regime == "atomic"
    )
    remark = (
        f"Two bounds hold before any method is chosen. A grid of pixels p carries periods down to "
        f"2p: with a step of {step:g} Å and r = {upsampling} that is 2 × {step:g}/{upsampling} = "
        f"{held:.2f} Å, and a period below {SUB_ANGSTROM:g} Å would need r of at least "
        f"{math.ceil(2 * step / SUB_ANGSTROM)}. And a bright-field method transfers periods down "
        f"to λ/2α = {limit:.3f} Å, {100 * (1 - limit):.1f} % below {SUB_ANGSTROM:g} Å at the "
        "very best."
    )
    if atomic:
        remark += (
            f" On the finer scan of this book's crystals and glasses, where only λ/2α binds, the "
            f"finest of all draws and doses, infinite dose included: {atomic}."
        )
    return Claim(
        "C9",
        "throughout",
        "Features below one Ångström are recovered",
        "The finest period that the output grid and the aperture can carry: arithmetic, which no "
        "training changes.",
        findings,
        ("06_method_comparison",),
        remark=remark,
    )


# Chapters of one question --------------------------------------------------------------------


def centre(results: Results) -> Claim:
    """C5: best in the centre of the field."""
    edge = results["08_thickness_and_field"]["edge"]
    findings = {}
    for method in METHODS:
        own = [row for row in edge if row["method"] == method]
        parts, words = [], []
        for dose in dict.fromkeys(str(row["dose"]) for row in own):
            found = {
                tuple(row["band"]): float(row["correlation"])
                for row in own
                if str(row["dose"]) == dose
            }
            bands = sorted(found)
            middle, rim, best = found[bands[-1]], found[bands[0]], max(found.values())
            parts += [middle > rim + LEVEL, middle >= best - LEVEL]
            words.append(
                ", ".join(f"{_number(found[b])} at {b[0]:g}–{b[1]:g} Å" for b in bands)
                + f" from the edge ({dose_label(float(dose))})"
            )
        findings[method] = _counted(parts, "; ".join(words)) if own else _NOT_RUN
    return Claim(
        "C5",
        "§3.2",
        "The reconstruction is best in the centre of the field",
        "Correlation with the truth in frames at a distance from the edge of a scan that ends "
        "inside the crystal, median over the draws: better in the middle than in the outermost "
        f"frame, and nowhere better than in the middle, at each dose; what differs by {LEVEL:g} or "
        "less is level.",
        findings,
        ("08_thickness_and_field",),
        remark="Near the edge a view looks at matter that others never see, over as much as the "
        "largest displacement of a view, |C₁₀|·α: any method has that frame, trained or not.",
    )


def thickness(results: Results) -> Claim:
    """C6: tolerance to thickness from 2 to 20 nm."""
    table = results["08_thickness_and_field"]["thickness"]
    findings = {}
    for method in METHODS:
        own = [
            row for row in table if row["method"] == method and math.isfinite(float(row["dose"]))
        ]
        if not own:
            findings[method] = _NOT_RUN
            continue
        spreads = {
            float(row["thickness"]): {
                key: [float(v) for v in row[key]] for key in ("correlation", "resolution")
            }
            for row in own
        }
        thick = max(spreads)
        correlations = {t: one["correlation"][1] for t, one in spreads.items()}
        resolved = {t: 1 / one["resolution"][1] for t, one in spreads.items()}  # 1/∞ is none
        parts = [
            min(values.values()) >= KEPT * max(values.values()) > 0
            for values in (correlations, resolved)
        ]
        text = ", ".join(
            f"{_spread(one['correlation'])} and {_period(one['resolution'])} at {t / 10:g} nm"
            for t, one in sorted(spreads.items())
        )
        kept = correlations[thick] / max(correlations.values())
        text += f"; at {thick / 10:g} nm {_percent(kept)} of the best correlation is left"
        findings[method] = _counted(parts, text)
    return Claim(
        "C6",
        "§3.2",
        "Thickness from 2 to 20 nm is tolerated",
        "Correlation with the true projected phase, and the frequency at which the ring "
        f"correlation with the truth is 0.5. Tolerated: at every thickness {_percent(KEPT)} of the "
        "best, each of the two.",
        findings,
        ("08_thickness_and_field",),
    )


def artefacts(results: Results) -> Claim:
    """C8: generalises without introducing artefacts."""
    audit, orders = results["11_invention"], results["07_structural_orders"]
    findings = {}
    for method in METHODS:
        nothing = [row for row in audit["nothing"] if row["method"] == method]
        defects = [
            row
            for row in audit["survival"]
            if row["method"] == method and math.isfinite(float(row["dose"]))
        ]
        found = {
            row["specimen"]: [float(v) for v in row["correlation"]]
            for row in orders["table"]
            if row["method"] == method and float(row["dose"]) == orders["dose"]
        }
        if not (nothing and defects and found):
            findings[method] = _NOT_RUN
            continue
        peaks = {
            (row["kind"], float(row["dose"])): _quartiles(row["per_100_A2"]) for row in nothing
        }
        shown = {(r["kind"], float(r["dose"])): _quartiles(r["values"]) for r in defects}
        parts = [
            not any(values[1] for values in peaks.values()),
            all(values[1] >= SEEN for values in shown.values()),
            all(values[1] >= SEEN for values in found.values()),
        ]
        most = max(peaks, key=lambda key: peaks[key][1])
        least = min(shown, key=lambda key: shown[key][1])
        worst = min(found, key=lambda name: found[name][1])
        text = (
            f"false peaks in 100 Å² at most {_spread(peaks[most])} ({most[0]}, {most[1]:g} e⁻/Å²); "
            f"survival of a defect at least {_spread(shown[least])} ({least[0]}, {least[1]:g} "
            f"e⁻/Å²); correlation on {len(found)} specimens at least {_spread(found[worst])} "
            f"({worst}, {orders['dose']:g} e⁻/Å²)"
        )
        findings[method] = _counted(parts, text)
    return Claim(
        "C8",
        "§3.1, Fig. 3",
        "One model serves crystals, proteins and disordered solids without introducing artefacts",
        "Three tests with a known answer. Vacuum and a shuffled scan may show no peak as high as "
        f"half a carbon atom; a removed, replaced or turned part must show by {_percent(SEEN)} or "
        f"more, at every dose measured; and each of the specimens must correlate by {SEEN:g} or "
        "more at one dose. Medians.",
        findings,
        ("11_invention", "07_structural_orders"),
    )


def peaks(results: Results) -> Claim:
    """C11: peak to background near the infinite-dose reference."""
    chapter = results["04_line_scans"]
    found = {
        (row["specimen"], row["method"]): [float(v) for v in row["peaks"]]
        for row in chapter["summary"]
    }
    names = list(dict.fromkeys(name for name, _ in found))
    findings = {}
    for method in (*METHODS, "ptychography"):
        parts: list[bool | None] = []
        words = []
        for name in names:
            own, reference = found.get((name, method)), found[name, "ptycho∞"][1]
            if own is None:
                continue
            if not (math.isfinite(reference) and reference > 0):
                parts.append(None)
                words.append(f"{_spread(own)} on {name}, whose reference has no finite value")
                continue
            share = own[1] / reference
            parts.append(share >= NEAR)
            words.append(f"{_spread(own)}, {_number(share)} of the reference's, on {name}")
        findings[method] = _counted(parts, "; ".join(words)) if words else _NOT_RUN
    rival = findings.pop("ptychography")
    return Claim(
        "C11",
        "§3.2, Fig. 4d–f",
        f"Line scans at {chapter['dose']:g} e⁻/Å² have peaks near those of infinite-dose "
        "ptychography",
        "Height of the true line's peaks over its valleys, over the spread at the valleys. Near "
        f"the reference: {_percent(NEAR)} of that of tuned ptychography at infinite dose, on each "
        "specimen.",
        findings,
        ("04_line_scans",),
        remark=f"Tuned ptychography at the same dose: {rival.text}.",
    )


def checkerboards(results: Results) -> Claim:
    """C12: the 1×1 convolution removes checkerboards; cannot, on one channel.

    Raises
    ------
    ValueError
        If the measurement contradicts the derivation.
    """
    chapter = results["10_ablations"]
    before, after = (float(v) for v in chapter["checkerboard_before_and_after_the_1x1"])
    if abs(after - before) > SAME * before:
        raise ValueError(
            f"the checkerboard is {before:g} before and {after:g} after the 1×1 convolution; "
            "expected the same, since one channel times a number keeps every ratio of powers; "
            "check the network's head"
        )
    heads = ", ".join(
        f"{_spread([float(v) for v in values])} ({label})"
        for label, values in chapter["checkerboard"].items()
    )
    text = (
        f"checkerboard {before:.4f} before the shipped network's 1×1 convolution, {after:.4f} after"
    )
    return Claim(
        "C12",
        "§2.1.1",
        "The 1×1 convolution after the pixel shuffle removes checkerboards",
        "Power of what repeats every r pixels over that of the neighbouring frequencies (1 is "
        "none), before and after that layer of the shipped network.",
        {SUBJECT: Finding(CANNOT, text)},
        ("10_ablations",),
        remark="After the shuffle there is one channel, so the layer has one weight and one bias: "
        "y = w·x + b. Every frequency but zero is multiplied by the same w, and no ratio of powers "
        f"changes. Trained with each layer after the shuffle, the measure is {heads}.",
    )


def fresh_noise(results: Results) -> Claim:
    """C13: noise drawn anew prevents overfitting."""
    losses = results["10_ablations"]["loss_seen_and_unseen"]
    fixed, fresh = (np.array(losses[k], float) for k in ("fixed noise", "as the paper"))
    wide, usual = fixed[:, 1] - fixed[:, 0], fresh[:, 1] - fresh[:, 0]
    parts = [bool(wide.min() > usual.max()), bool(fresh[:, 1].max() < fixed[:, 1].min())]
    gaps = [", ".join(f"{v:+.3f}".replace("-", "−") for v in gap) for gap in (wide, usual)]
    unseen = [", ".join(f"{v:.3f}" for v in one[:, 1]) for one in (fixed, fresh)]
    text = (
        f"loss on unseen less seen samples, each training: {gaps[0]} with noise drawn once, "
        f"{gaps[1]} with noise drawn anew; unseen loss {unseen[0]} and {unseen[1]}"
    )
    return Claim(
        "C13",
        "§2.1.2",
        "Noise drawn anew in every epoch prevents overfitting",
        "A small attention U-Net trained with noise drawn once or anew. Reproduced if in every "
        "training fixed noise leaves the wider gap between unseen and seen samples, and the higher "
        "loss on unseen ones.",
        {SUBJECT: _counted(parts, text)},
        ("10_ablations",),
    )


def any_number(results: Results) -> Claim:
    """C14: any number of views."""
    table = results["10_ablations"]["views"]
    findings = {}
    for method in ("dual path", "direct"):
        found = {
            int(row["views"]): _quartiles(row["correlation"])
            for row in table
            if row["method"] == method
        }
        if not found:
            findings[method] = _NOT_RUN
            continue
        text = ", ".join(
            f"{_spread(values)} with {views} views" for views, values in sorted(found.items())
        )
        if len(found) < 2:
            findings[method] = Finding(OPEN, text)
            continue
        best = max(values[1] for values in found.values())
        kept = min(values[1] for values in found.values()) / best if best > 0 else 0.0
        verdict = REPRODUCED if kept >= KEPT else PARTLY if kept >= LOST else NOT
        findings[method] = Finding(verdict, f"{text}; the least is {_percent(kept)} of the best")
    findings[SUBJECT] = Finding(
        CANNOT, "its first layer has as many channels as there are views, so another number fails"
    )
    return Claim(
        "C14",
        "§2.2",
        "The fusion takes any number of views",
        "One set of weights on a bright disc that is cut into fewer and larger pixels, which see "
        f"the same electrons: reproduced if every number of views keeps {_percent(KEPT)} of the "
        f"best correlation with the truth, partly if {_percent(LOST)}.",
        findings,
        ("10_ablations",),
        subject="dual path",
    )


# The released code ---------------------------------------------------------------------------


def _as_stated(departure: float) -> str:
    return CANNOT if abs(departure) > SAME else REPRODUCED


def released(results: Results) -> list[Claim]:
    """R1–R4: what the paper says of its simulations, against the released code."""
    chapter = results["09_released_code"]
    label, areal = float(chapter["label"]), float(chapter["areal_dose"])
    area, position = (_quartiles(chapter[f"correlation_per_{key}"]) for key in ("area", "position"))
    small, large = (chapter["crystal"][k] for k in ("true to scale", "ten times larger"))
    factor = DECLARED / SAMPLED
    column = float(large["dose"]) / float(small["dose"]) * factor**2
    coarse = chapter["probe"][f"{DECLARED:.3f}"]
    outside = {float(angle): float(share) for angle, share in chapter["outside"].items()}
    common: dict[str, Any] = {"sources": ("09_released_code",), "subject": ""}
    return [
        Claim(
            "R1",
            "§2.2–2.3",
            "Doses are electrons per Å² of specimen",
            "The released code's unit on the paper's protein scan, and direct ptychography at both "
            "readings of the same number.",
            {
                "": Finding(
                    _as_stated(label / areal - 1),
                    f"{label:g} in the code is {areal:.1f} e⁻/Å², {label / areal:.1f} times less; "
                    f"direct ptychography correlates {_spread(position)} there and "
                    f"{_spread(area)} at {label:g} e⁻/Å²",
                )
            },
            remark="The code scales each pattern to sum 1 and multiplies by the number: electrons "
            "per position. Over the square of the step that is "
            f"{label:g}/{math.sqrt(label / areal):.2f}² e⁻/Å².",
            **common,
        ),
        Claim(
            "R2",
            "§2.2–2.3",
            "Crystals 15 Å wide and 20 Å thick are simulated",
            "Declared over sampled pixel of the released crystal script, and the electrons that a "
            "column gets from the same number per position.",
            {
                "": Finding(
                    _as_stated(factor - 1),
                    f"lengths across the beam are {factor:g} times too large, and a column gets "
                    f"{column:.0f} times the electrons; the correlation with the truth is "
                    f"{_spread(_quartiles(large['correlation']))} against "
                    f"{_spread(_quartiles(small['correlation']))} true to scale",
                )
            },
            remark=f"A potential sampled at {SAMPLED:g} Å is declared to be at {DECLARED:g} Å: a "
            f"period d is imaged as {factor:g}·d, so that a resolution in Å quoted for it is "
            "no resolution of the crystal.",
            **common,
        ),
        Claim(
            "R3",
            "§2.3",
            f"The probe has a semi-angle of {SEMIANGLE:g} mrad",
            f"Largest angle that abTEM carries at the released {DECLARED:g} Å sampling, and its "
            "share of the probe's electrons.",
            {
                "": Finding(
                    _as_stated(min(float(coarse["angle"]) / SEMIANGLE - 1, 0.0)),
                    f"{coarse['angle']:.1f} mrad and {_percent(coarse['share'])} of the electrons",
                )
            },
            remark="A wave is limited to two thirds of the grid's Nyquist frequency, so that a "
            f"product with the specimen cannot alias: ⅔·λ/2p with p = {DECLARED:g} Å.",
            **common,
        ),
        Claim(
            "R4",
            "Fig. 1a",
            "The views are bright-field views",
            "Share of the released 32 × 32 detector pixels beyond the aperture, for the angles to "
            "which a detector may reach.",
            {
                "": Finding(
                    _as_stated(max(outside.values())),
                    " and ".join(
                        f"{_percent(share)} of the pixels for a detector to {angle:g} mrad"
                        for angle, share in outside.items()
                    )
                    + " are dark field",
                )
            },
            remark=f"A square detector beyond {SEMIANGLE:g} mrad has pixels outside a disc of that "
            "radius; they carry next to no electrons and no parallax.",
            **common,
        ),
    ]


def judge(
    results: Results, rows: Rows, acquisition: Acquisition, upsampling: int = 3
) -> list[Claim]:
    """Judge every claim, in order.

    Parameters
    ----------
    results : mapping
        As from :func:`read_results`.
    rows : sequence of mappings
        The bench's table.
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
        lattice(results),
        contrast(rows),
        electrons(rows),
        shell(results),
        centre(results),
        thickness(results),
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


# On a page ------------------------------------------------------------------------------------


def anchor(number: str) -> str:
    """Name of a claim's place on the claims page, as in ``claim-c1``."""
    return f"claim-{number.lower()}"


def chip(verdict: str, text: str = "") -> str:
    """Mark a verdict in HTML: its sign, and a text on its colour, by default the verdict."""
    sign, colour = MARKS[verdict]
    style = f"background:{colour};color:#fff;padding:0 .4em;border-radius:.25em;white-space:nowrap"
    return f'<span style="{style}">{sign} {text or verdict}</span>'


def counted(verdicts: Iterable[str], *, signs: bool = False) -> str:
    """Say how often each verdict was given, as in ``1 reproduced, 7 partly``."""
    count = Counter(verdicts)
    given = [verdict for verdict in MARKS if count[verdict]]
    return ", ".join(f"{MARKS[v][0] + ' ' if signs else ''}{count[v]} {v}" for v in given)


def _by_kind(found: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """Results of the claims page under two headings: what is measured, what is simulated."""
    paper = [claim for claim in found if claim["number"].startswith("C")]
    code = [claim for claim in found if claim["number"].startswith("R")]
    return [
        (f"Of {len(paper)} claims", paper),
        (f"Of {len(code)} statements on the simulations, held against the released code", code),
    ]


def strip(found: Sequence[Mapping[str, Any]], page: str) -> str:
    """Sum up the claims in HTML: a linked chip for each, and how often each verdict was given.

    Parameters
    ----------
    found : sequence of mappings
        ``claims`` of the claims page's results: ``number``, ``statement`` and ``verdict`` of each.
    page : str
        Address of the claims page, relative to where the strip stands.
    """
    lines = []
    for heading, chosen in _by_kind(found):
        chips = " ".join(
            f'<a class="verdict" href="{page}#{anchor(claim["number"])}" '
            f'title="{escape(claim["statement"])}: {claim["verdict"]}">'
            f"{chip(claim['verdict'], claim['number'])}</a>"
            for claim in chosen
        )
        count = counted((claim["verdict"] for claim in chosen), signs=True)
        lines.append(f'<p class="verdicts">{chips}<br>{heading}: {count}.</p>')
    return "\n".join(lines) + "\n"


def plain_strip(found: Sequence[Mapping[str, Any]]) -> str:
    """Sum up the claims in Markdown without colours or links; `found` as in :func:`strip`."""
    parts = []
    for heading, chosen in _by_kind(found):
        signs = " · ".join(f"{claim['number']} {MARKS[claim['verdict']][0]}" for claim in chosen)
        count = counted((claim["verdict"] for claim in chosen), signs=True)
        parts.append(f"{signs}\n\n{heading}: {count}.")
    return "\n\n".join(parts) + "\n"
