"""Claims that a chapter measured for itself: C5, C8 and C11 to C14, and R1 to R4.

As those of :mod:`misr4d.companion.claims`, they are judged from what the chapters wrote with
:func:`misr4d.companion.figures.save_results`, by the same rules. A chapter that states a verdict
takes its :attr:`~misr4d.companion.verdicts.Claim.sentence` from here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from misr4d.companion.bounds import featureless, least_shown
from misr4d.companion.cases import CRYSTAL, GLASS, PROTEIN, PTYCHOGRAPHY
from misr4d.companion.verdicts import (
    CANNOT,
    CONTRADICTED,
    FEWEST,
    JUDGED_METHODS,
    LEVEL,
    NOT,
    NOT_RUN,
    OPEN,
    PARTLY,
    REPRODUCED,
    SEEN,
    SUBJECT,
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
    "any_number",
    "artefacts",
    "centre",
    "checkerboards",
    "fresh_noise",
    "peaks",
    "released",
]

KEPT = 0.8  # our choice, the paper gives no number: four fifths of the best is a tolerance
LOST = 0.5  # our choice: what loses more than half is no longer tolerated in any sense
NEAR = 0.75  # our choice: three quarters of the reference's peak to background is near it
TOLD = 0.9  # our choice, of a probability by which two things are told apart: 0.5 is a guess
SAME = 0.01  # our choice: what differs by less than a hundredth is as the paper says
SAMPLED, DECLARED = 0.1, 1.0  # Å, of the released crystal script's potential
SEMIANGLE = 10.0  # mrad, paper §2.3
CODEBASE = (
    "The paper states that its exact codebase is not public: what contradicts its text is the code "
    "that was released with it, which need not be the code that made its figures."
)

Results = Mapping[str, Any]
Place = tuple[str, float]
"""What was tried, and the dose [e⁻/Å²]."""


@dataclass(frozen=True)
class Detection:
    """How surely a defect is told from the perfect crystal, and how much of it is shown."""

    probability: Summary
    share: Summary


def centre(results: Results) -> Claim:
    """C5: best in the centre of the field."""
    edge = results["08_thickness_and_field"]["edge"]
    findings = {}
    for method in JUDGED_METHODS:
        chosen = [row for row in edge if row["method"] == method]
        parts, words, numbers = [], [], []
        for dose in dict.fromkeys(str(row["dose"]) for row in chosen):
            by_band = {
                tuple(row["band"]): summarise(row["values"])
                for row in chosen
                if str(row["dose"]) == dose
            }
            bands = sorted(by_band)
            middle, rim = by_band[bands[-1]].median, by_band[bands[0]].median
            best = max(band.median for band in by_band.values())
            n, level = min(band.n for band in by_band.values()), float(dose)
            if math.isfinite(level):
                numbers.append(n)
            for holds in (middle > rim + LEVEL, middle >= best - LEVEL):
                parts.append(enough(holds and middle >= SEEN, n, level))
            words.append(
                ", ".join(f"{by_band[b].text()} at {b[0]:g}–{b[1]:g} Å" for b in bands)
                + f" from the edge ({dose_label(level)})"
            )
        text = "; ".join(words)
        findings[method] = from_parts(parts, text, fewest(numbers)) if chosen else NOT_RUN
    return Claim(
        "C5",
        "§3.2",
        "The reconstruction is best in the centre of the field",
        "Correlation with the truth in frames at a distance from the edge of a scan that ends "
        "inside a crystal, Li₂CoO₃, the only specimen that was tried: better in the middle than in "
        "the outermost frame, and nowhere better than in the middle, at each dose; what differs by "
        f"{LEVEL:g} or less is level. A middle below {SEEN:g} shows nothing that could be best.",
        findings,
        ("08_thickness_and_field",),
        remark="Near the edge a view looks at matter that others never see, over as much as the "
        "largest displacement of a view, |C₁₀|·α: any method has that frame, trained or not.",
    )


def artefacts(results: Results) -> Claim:
    """C8: one model for all kinds of order, without introducing artefacts."""
    audit, orders = results["11_invention"], results["07_structural_orders"]
    peaks: dict[str, dict[Place, list[float]]] = {}
    for row in audit["nothing"]:
        place = (str(row["kind"]), float(row["dose"]))
        peaks.setdefault(row["method"], {})[place] = [float(v) for v in row["per_100_A2"]]
    told: dict[str, dict[Place, Detection]] = {}
    for row in audit["detection"]:
        if math.isfinite(float(row["dose"])):
            place = (str(row["kind"]), float(row["dose"]))
            told.setdefault(row["method"], {})[place] = Detection(
                summarise(row["probabilities"]), summarise(row["shares"])
            )
    inside: dict[str, dict[str, Summary]] = {}
    for row in orders["table"]:
        if float(row["dose"]) == orders["dose"]:
            values = [abs(float(v)) for v in row["values"]["correlation"]]
            inside.setdefault(row["method"], {})[row["specimen"]] = summarise(values)
    findings = {}
    for method in JUDGED_METHODS:
        if not all(method in t and "direct" in t for t in (peaks, told, inside)):
            findings[method] = NOT_RUN
            continue
        finding = _invention(
            peaks[method],
            peaks["direct"],
            told[method],
            told["direct"],
            inside[method],
            float(orders["dose"]),
        )
        if method == "direct":  # against itself it cannot fail
            finding = Finding(OPEN, f"the standard of the others: {finding.text}", n=finding.n)
        findings[method] = finding
    return Claim(
        "C8",
        "§3.1, Fig. 3",
        "One model serves crystals, proteins and disordered solids without introducing artefacts",
        "Three tests with a known answer. In vacuum and in a shuffled scan the false peaks may not "
        "be more than those of direct ptychography, whose only prior is a spectrum that it reads "
        "off the data, from the same electrons: the median of the difference, draw by draw. A "
        "removed, replaced or turned part must be told from the "
        f"perfect crystal with a probability of {TOLD:g} or more (0.5 is a guess), and shown with "
        f"at least {percent(LOST)} of the strength that it has in direct ptychography, so that it "
        "is not painted over, wherever direct ptychography tells it, and each kind at one dose at "
        "least. And inside each of the "
        f"specimens the correlation must be {SEEN:g} or more, and more than that of an outline "
        "without structure. A method that tells no defect, or "
        "shows no specimen, is not reproduced, however empty its vacuum. Direct ptychography is "
        "the standard and gets no verdict.",
        findings,
        ("11_invention", "07_structural_orders"),
    )


def _invention(
    peaks: Mapping[Place, Sequence[float]],
    limit: Mapping[Place, Sequence[float]],
    told: Mapping[Place, Detection],
    standard: Mapping[Place, Detection],
    inside: Mapping[str, Summary],
    dose: float,
) -> Finding:
    """Judge claim C8 of one method; `limit` and `standard` are direct ptychography's."""
    shared, places = sorted(peaks.keys() & limit.keys()), sorted(told.keys() & standard.keys())
    more = {
        place: summarise(a - b for a, b in zip(peaks[place], limit[place], strict=True))
        for place in shared
    }
    asked = {place for place in places if standard[place].probability.median >= TOLD}
    detected = {
        place
        for place in places
        if told[place].probability.median >= TOLD
        and told[place].share.median >= LOST * standard[place].share.median
    }
    kinds = {kind for kind, _ in places}
    detections = [each[place] for place in places for each in (told, standard)]
    n = min(
        summary.n
        for summary in (*more.values(), *inside.values(), *(d.probability for d in detections))
    )
    shown = {name for name, summary in inside.items() if summary.median >= least_shown(name)}
    parts: list[bool | None] = [
        all(summary.median <= 0 for summary in more.values()) if shared else None,
        asked <= detected and kinds == {kind for kind, _ in detected} if asked else None,
        shown == inside.keys(),
    ]
    parts = [enough(part, n) for part in parts]
    text = ""
    if shared:
        most = max(shared, key=lambda place: more[place].median)
        ours, theirs = (summarise(each[most]) for each in (peaks, limit))
        text += (
            f"false peaks in 100 Å² at worst {ours.text()} against {theirs.text()} of direct "
            f"ptychography, draw by draw {more[most].text(sign=True)} ({most[0]}, "
            f"{dose_label(most[1])}); "
        )
    if places:
        least = min(
            places, key=lambda place: told[place].share.median / standard[place].share.median
        )
        text += (
            f"a defect told in {len(detected)} of {len(places)} tests, direct ptychography in "
            f"{len(asked)}, the least with {told[least].share.text()} of its strength against "
            f"{standard[least].share.text()} ({least[0]}, {dose_label(least[1])}); "
        )
    worst = min(inside, key=lambda name: inside[name].median)
    text += (
        f"{len(shown)} of {len(inside)} specimens shown, the least by {inside[worst].text()} "
        f"inside ({worst}, {dose_label(dose)})"
    )
    if blank := [
        f"{name} ({inside[name].text()} against {featureless(name):.2f})"
        for name in sorted(inside.keys() - shown)
        if inside[name].median >= SEEN
    ]:
        text += f"; no better than an outline without structure: {', '.join(blank)}"
    finding = from_parts(parts, text, n)
    if finding.verdict == PARTLY and not (detected and shown):
        return Finding(NOT, f"{text}; an image without features invents nothing", finding.share, n)
    return finding


def peaks(results: Results) -> Claim:
    """C11: peaks near the reference on the crystal, specimen from surroundings on the glass."""
    chapter = results["04_line_scans"]
    lines = {
        (row["specimen"], row["method"]): {k: summarise(v) for k, v in row["values"].items()}
        for row in chapter["summary"]
    }
    around = {
        (row["specimen"], row["method"]): summarise(row["values"])
        for row in chapter["surroundings"]
    }
    reference = lines.get((CRYSTAL, "ptycho∞"), {}).get("peaks")
    level = float(chapter["dose"])

    def crystal(method: str) -> tuple[bool | None, str, int] | None:
        measured = lines.get((CRYSTAL, method))
        if measured is None or reference is None:
            return None
        height, shown = measured["peaks"], measured["correlation"]
        text = f"{height.text()} on {CRYSTAL}"
        if not (math.isfinite(reference.median) and reference.median > 0):
            return None, f"{text}, whose reference has no finite value", height.n
        text += (
            f", {height.median / reference.median:.2f} of the reference's {reference.text()}, with "
            f"a correlation of {shown.text()} inside"
        )
        least = least_shown(CRYSTAL)
        holds = height.median >= NEAR * reference.median and abs(shown.median) >= least
        return holds, text, height.n

    def seen_on_glass(method: str) -> bool | None:
        measured = lines.get((GLASS, method))
        return (
            None if measured is None else abs(measured["correlation"].median) >= least_shown(GLASS)
        )

    findings = {}
    for method in (*JUDGED_METHODS, PTYCHOGRAPHY[0]):
        first, second = crystal(method), around.get((GLASS, method))
        if first is None or second is None:
            findings[method] = NOT_RUN
            continue
        n = min(first[2], second.n)
        parts = [
            enough(first[0], first[2], level),
            enough(second.median >= TOLD and seen_on_glass(method), second.n, level),
        ]
        text = f"{first[1]}; specimen told from surroundings on {GLASS} by {second.text()}"
        if (GLASS, method) in lines:
            text += f", in an image that correlates by {lines[GLASS, method]['correlation'].text()}"
        if (PROTEIN, method) in lines:
            text += f"; beside it {lines[PROTEIN, method]['peaks'].text()} on {PROTEIN}"
        findings[method] = from_parts(parts, text, n)
    rival = findings.pop(PTYCHOGRAPHY[0])
    return Claim(
        "C11",
        "§3.2, Fig. 4d–f",
        f"In line scans at {level:g} e⁻/Å² the peaks of Li₂CoO₃ are near those of infinite-dose "
        "ptychography, and Cu-Zr can be told from its surroundings",
        "Height of the true line's peaks over its valleys, over the spread at the valleys: near "
        f"is {percent(NEAR)} or more of that of tuned ptychography at infinite dose, in an image "
        f"that correlates by {SEEN:g} or more inside, on the glass too, where an outline without "
        f"structure has {featureless(GLASS):.2f}. Specimen from surroundings: the share of "
        "pairs, a pixel inside and one outside along the line, of which the brighter is inside; "
        f"told apart from {TOLD:g} on. No such claim is made of apoferritin.",
        findings,
        ("04_line_scans",),
        remark=f"py4DSTEM at the same dose: {rival.text}.",
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
        f"{summarise(values).text()} ({label})" for label, values in chapter["checkerboard"].items()
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
    gaps, unseen = {}, {}
    for name in ("fixed noise", "as the paper"):
        pairs = [(float(seen), float(new)) for seen, new in losses[name]]
        gaps[name] = [new - seen for seen, new in pairs]
        unseen[name] = [new for _, new in pairs]
    fixed, fresh = "fixed noise", "as the paper"
    n = min(len(values) for values in gaps.values())
    parts = [
        enough(min(gaps[fixed]) > max(gaps[fresh]), n),
        enough(max(unseen[fresh]) < min(unseen[fixed]), n),
    ]
    text = (
        "loss on unseen less seen samples "
        f"{summarise(gaps[fixed]).text(3, sign=True)} with noise drawn once, "
        f"{summarise(gaps[fresh]).text(3, sign=True)} with noise drawn anew; unseen loss "
        f"{summarise(unseen[fixed]).text(3)} and {summarise(unseen[fresh]).text(3)}; n counts "
        "trainings"
    )
    if n < FEWEST:
        text += f", and fewer than {FEWEST} decide nothing"
    return Claim(
        "C13",
        "§2.1.2",
        "Noise drawn anew in every epoch prevents overfitting",
        "A small attention U-Net trained with noise drawn once or anew. Reproduced if in every "
        "training fixed noise leaves the wider gap between unseen and seen samples, and the higher "
        "loss on unseen ones.",
        {SUBJECT: from_parts(parts, text, n)},
        ("10_ablations",),
    )


def any_number(results: Results) -> Claim:
    """C14: any number of views."""
    table = results["10_ablations"]["views"]
    findings = {}
    for method in ("dual path", "direct"):
        by_views = {
            int(row["views"]): summarise(abs(float(v)) for v in row["values"])
            for row in table
            if row["method"] == method
        }
        if not by_views:
            findings[method] = NOT_RUN
            continue
        n = min(summary.n for summary in by_views.values())
        text = ", ".join(
            f"{summary.text()} with {views} views" for views, summary in sorted(by_views.items())
        )
        if len(by_views) < 2 or n < FEWEST:
            findings[method] = Finding(OPEN, text, n=n)
            continue
        medians = [summary.median for summary in by_views.values()]
        best, least = max(medians), min(medians)
        text += f"; the least is {percent(least / best if best > 0 else 0.0)} of the best"
        if best < SEEN:
            verdict, text = NOT, f"{text}, and even the best is below {SEEN:g}: nothing is shown"
        elif least < LOST * best:
            verdict = NOT
        else:
            verdict = REPRODUCED if least >= max(KEPT * best, SEEN) else PARTLY
        findings[method] = Finding(verdict, text, n=n)
    findings[SUBJECT] = Finding(
        CANNOT, "its first layer has as many channels as there are views, so another number fails"
    )
    return Claim(
        "C14",
        "§2.2",
        "The fusion takes any number of views",
        "One set of weights on a bright disc that is cut into fewer and larger pixels, which see "
        "the same electrons: reproduced if every number of views has a correlation with the truth "
        f"inside the specimen of {SEEN:g} or more, and {percent(KEPT)} of the best; partly if the "
        f"best has {SEEN:g} and every number {percent(LOST)} of it.",
        findings,
        ("10_ablations",),
        subject="dual path",
    )


# The released code ---------------------------------------------------------------------------


def _as_stated(departure: float) -> str:
    return CONTRADICTED if abs(departure) > SAME else REPRODUCED


def released(results: Results) -> list[Claim]:
    """R1–R4: what the paper says of its simulations, against the released code."""
    chapter = results["09_released_code"]
    label, areal = float(chapter["label"]), float(chapter["areal_dose"])
    area, position = (
        summarise(chapter[f"correlation_per_{key}"]).text() for key in ("area", "position")
    )
    small, large = (chapter["crystal"][k] for k in ("true to scale", "ten times larger"))
    factor = DECLARED / SAMPLED
    column = float(large["dose"]) / float(small["dose"]) * factor**2
    coarse = chapter["probe"][f"{DECLARED:.3f}"]
    outside = {float(angle): float(fraction) for angle, fraction in chapter["outside"].items()}
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
                    "inside the protein, direct ptychography correlates with the truth by "
                    f"{position} there and by {area} at {label:g} e⁻/Å²",
                )
            },
            remark="The code scales each pattern to sum 1 and multiplies by the number: electrons "
            "per position. Over the square of the step that is "
            f"{label:g}/{math.sqrt(label / areal):.2f}² e⁻/Å². {CODEBASE}",
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
                    f"{column:.0f} times the electrons; the correlation with the truth inside the "
                    f"specimen is {summarise(large['correlation']).text()} against "
                    f"{summarise(small['correlation']).text()} true to scale",
                )
            },
            remark=f"A potential sampled at {SAMPLED:g} Å is declared to be at {DECLARED:g} Å: a "
            f"period d is imaged as {factor:g}·d, so that a resolution in Å quoted for it is "
            f"no resolution of the crystal. {CODEBASE}",
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
                    f"{coarse['angle']:.1f} mrad and {percent(coarse['share'])} of the electrons",
                )
            },
            remark="A wave is limited to two thirds of the grid's Nyquist frequency, so that a "
            f"product with the specimen cannot alias: ⅔·λ/2p with p = {DECLARED:g} Å. {CODEBASE}",
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
                        f"{percent(fraction)} of the pixels for a detector to {angle:g} mrad"
                        for angle, fraction in outside.items()
                    )
                    + " are dark field",
                )
            },
            remark=f"A square detector beyond {SEMIANGLE:g} mrad has pixels outside a disc of that "
            f"radius; they carry next to no electrons and no parallax. {CODEBASE}",
            **common,
        ),
    ]
