"""Every number that a sentence on the study prints is recomputed from its two files by other code.

The sentences are read as a reader would, by their words; nothing of the package's own selection,
pairing, medians or choice of a rival is used.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from misr4d import MOLECULAR
from misr4d.companion import claims, goals
from misr4d.companion.bench import STUDY_FOLDER

Draws = dict[int, float]
Place = tuple[str, str, float, float | None]  # specimen, method, dose, thickness

PROGRAMS = ("ptychography", "phaserEM", "quantem", "quantem direct")
OLD = ("summed VBF", "iDPC", "parallax")
LEARN_NOTHING = (*OLD, "ptychography", "SSB", "OBF", "direct", *PROGRAMS[1:])
NETWORKS = ("attention U-Net", "dual path", "informed", "direct")
SPECIMENS = ("Li2CoO3", "CuZr", "apoferritin")
DOSES = (50.0, 100.0, 200.0, 300.0, 500.0, 1000.0)
MEASURES = {
    "correlation inside": "correlation",
    "resolution": "resolution",
    "weighted ring correlation": "weighted_frc",
}


class Study:
    """The two files, by place and draw."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        for name in ("table.json", "peers.json"):
            text = (STUDY_FOLDER / name).read_text(encoding="utf-8")
            self.rows += [r for r in json.loads(text)["rows"] if r["specimen"] in SPECIMENS]
        self.at: dict[Place, dict[int, dict[str, Any]]] = {}
        for row in self.rows:
            place = (row["specimen"], row["method"], float(row["dose"]), row["thickness"])
            assert row["draw"] not in self.at.setdefault(place, {}), place
            self.at[place][row["draw"]] = row

    def raw(
        self, name: str, method: str, dose: float, column: str, thick: float | None = None
    ) -> Draws:
        """Column by draw, a period that does not exist as infinite."""
        rows = self.at.get((name, method, dose, thick), {})
        return {n: math.inf if row[column] is None else row[column] for n, row in rows.items()}

    def score(self, name: str, method: str, dose: float, column: str) -> Draws:
        """The higher the better: a period as a frequency, a correlation by its size.

        ``contrast`` is the part of an image that follows the truth over the part that does not.
        """
        if column == "contrast":
            sizes = self.raw(name, method, dose, "correlation")
            return {n: float(np.tan(np.arcsin(abs(v)))) for n, v in sizes.items()}
        draws = self.raw(name, method, dose, column)
        if column == "resolution":
            return {n: 1 / v for n, v in draws.items()}
        return {n: abs(v) if column == "correlation" else v for n, v in draws.items()}

    def best(self, name: str, dose: float, column: str) -> str | None:
        medians = {m: s for m in PROGRAMS if (s := self.score(name, m, dose, column))}
        return max(medians, key=lambda m: np.median([*medians[m].values()]), default=None)


@dataclass(frozen=True)
class Spread:
    n: int
    low: float
    median: float
    high: float


def spread(values: Iterable[float]) -> Spread:
    """Median with quartiles of eight or more, the least and the largest of fewer."""
    v = np.sort(np.array([*values], dtype=float))
    if len(v) < 8:
        return Spread(len(v), float(v[0]), float(np.median(v)), float(v[-1]))
    with np.errstate(invalid="ignore"):
        ends = np.nan_to_num(np.quantile(v, [0.25, 0.75]), nan=np.inf)
    return Spread(len(v), float(ends[0]), float(np.median(v)), float(ends[1]))


def paired(ours: Draws, theirs: Draws, *, ratio: bool = False) -> list[float]:
    """Draw by draw; a rival of one draw is that of every draw."""
    alone = [*theirs.values()] * (len(theirs) == 1)
    pairs = [(v, alone[0] if alone else theirs[n]) for n, v in ours.items() if alone or n in theirs]
    return [a / b if ratio else a - b for a, b in pairs]


# Sentences ---------------------------------------------------------------------------------------

NUMBER = r"(?:none|[+−]?(?:\d+\.\d+|∞))(?: Å)?"
SPREAD = rf"{NUMBER} \((?:{NUMBER} to {NUMBER}, )?n = \d+\)"


@dataclass(frozen=True)
class Printed:
    """A spread or a whole number as printed, and what it should be."""

    where: str
    text: str
    expected: Spread | int

    @property
    def numbers(self) -> int:
        return 1 if isinstance(self.expected, int) else len(re.findall(NUMBER, self.text)) + 1

    @property
    def agrees(self) -> bool:
        if isinstance(self.expected, int):
            return int(self.text) == self.expected
        shown = re.findall(NUMBER, self.text)
        e = self.expected
        asked = [e.median, e.low, e.high] if len(shown) == 3 else [e.median] * 3
        drawn = int(self.text.partition("n = ")[2].rstrip(")"))
        return drawn == e.n and all(
            same(a, b) for a, b in zip(shown * (4 - len(shown)), asked, strict=False)
        )


def same(text: str, value: float) -> bool:
    text = text.replace("−", "-").removesuffix(" Å")
    if text in ("none", "∞"):
        return math.isinf(value)
    half = 0.5 * 10 ** -len(text.partition(".")[2])
    return abs(float(text) - value) <= half * 1.0001


def as_shown(scores: Spread, text: str) -> Spread:
    """A frequency where it is printed as a period."""
    if "Å" not in text and "none" not in text:
        return scores
    low, median, high = (1 / v if v else math.inf for v in (scores.low, scores.median, scores.high))
    return Spread(scores.n, low, median, high)


def curve(where: str, text: str, column: Callable[[float], Draws]) -> Iterator[Printed]:
    for words, dose in re.findall(rf"({SPREAD}) at (\d+)", text):
        yield Printed(f"{where} at {dose}", words, spread(column(float(dose)).values()))


def series(study: Study) -> Iterator[Printed]:
    """C1 and C4: a ring or a period, and the correlation inside, against dose."""
    for claim, name, column in (
        (claims.lattice(study.rows), "Li2CoO3", "lattice"),
        (claims.shell(study.rows), "apoferritin", "resolution"),
    ):
        for method in NETWORKS:
            text = claim.findings[method].text
            first, second = text.split(", correlation inside")
            for part, key in ((first, column), (second, "correlation")):
                shown = [
                    *curve(
                        f"{claim.number} {method} {key}",
                        part,
                        lambda d, m=method, k=key, n=name: study.raw(n, m, d, k),
                    )
                ]
                assert len(shown) == len(DOSES), part
                yield from shown
        best = claim.remark.partition(" py4DSTEM, ")[0]
        matches = re.findall(rf"({SPREAD}) at (\d+) \((\w+)\)", best)
        below = 500.0 if column == "lattice" else 1000.0  # e⁻/Å², where the paper's fails
        assert len(matches) == sum(dose < below for dose in DOSES), best
        for words, dose, program in matches:
            rival = study.best(name, float(dose), column)
            assert rival is not None
            where = f"{claim.number} rival at {dose}"
            assert program == rival.replace("ptychography", "py4DSTEM"), where
            values = study.raw(name, rival, float(dose), column).values()
            yield Printed(where, words, spread(values))


def contrast(study: Study) -> Iterator[Printed]:
    """C2 and the goal: ratios to the best ptychography and to the paper's program."""
    texts = {m: f.text for m, f in claims.contrast(study.rows).findings.items()}
    goal = goals.contrast_ratio(study.rows).measured
    for method, text in [*texts.items(), ("informed", goal)]:
        matches = [*re.finditer(rf"({SPREAD}) times on (\w+), ({SPREAD}) against ({SPREAD})", text)]
        assert {m[2] for m in matches} == set(SPECIMENS), text
        for match, after in zip(matches, [*matches[1:], None], strict=True):
            name, where = match[2], f"C2 {method} {match[2]}"
            rival = study.best(name, 300.0, "contrast")
            assert rival is not None
            ours = study.score(name, method, 300.0, "contrast")
            theirs = study.score(name, rival, 300.0, "contrast")
            both = [v for n, v in ours.items() if n in theirs]
            yield Printed(where, match[1], spread(paired(ours, theirs, ratio=True)))
            yield Printed(f"{where} ours", match[3], spread(both))
            yield Printed(f"{where} theirs", match[4], spread(theirs.values()))
            rest = text[match.end() : after.start() if after else None]
            for phrase, column, other in (
                ("by two parts at one resolution", "cnr", study.best(name, 300.0, "cnr")),
                ("against py4DSTEM", "contrast", "ptychography"),
            ):
                for words in re.findall(rf"{phrase} ({SPREAD}) times", rest):
                    pair = [study.score(name, m, 300.0, column) for m in (method, str(other))]
                    yield Printed(f"{where} {phrase}", words, spread(paired(*pair, ratio=True)))


def needed(scores: Sequence[float], target: float) -> float:
    """Dose at which a curve first reaches a target, linear in the dose's logarithm."""
    if scores[0] >= target:
        return DOSES[0]
    for (d, a), (e, b) in pairwise(zip(DOSES, scores, strict=True)):
        if a < target <= b:
            return float(10 ** np.interp(target, [a, b], np.log10([d, e])))
    return math.inf


def electrons(study: Study) -> Iterator[Printed]:
    """C3 and the goals: the dose for ptychography's resolution, as a share of its own."""
    texts = {m: f.text for m, f in claims.electrons(study.rows).findings.items()}
    goal = goals.dose_ratio(study.rows, 0.4).measured
    for method, text in [*texts.items(), ("informed", goal)]:
        for words, dose, program, name in re.findall(
            rf"({SPREAD}) of (?:the )?(\d+) e⁻/Å² of (\w+) on (\w+)", text
        ):
            rival = study.best(name, float(dose), "resolution")
            assert rival is not None
            assert program == rival.replace("ptychography", "py4DSTEM")
            targets = study.score(name, rival, float(dose), "resolution")
            ratios = []
            for n, target in targets.items():
                ours = [study.score(name, method, d, "resolution")[n] for d in DOSES]
                ratios.append(needed(ours, target) / float(dose))
            yield Printed(f"C3 {method} {name} {dose}", words, spread(ratios))


def hardest(
    study: Study, name: str, dose: float, column: str, method: str, rivals: Sequence[str]
) -> tuple[str, list[float]]:
    """The rival with the smallest median difference, and the differences."""
    ours = study.score(name, method, dose, column)
    leads = {
        rival: paired(ours, theirs)
        for rival in rivals
        if rival != method and (theirs := study.score(name, rival, dose, column))
    }
    rival = min(leads, key=lambda r: np.median(leads[r]))
    return rival, leads[rival]


LEAD = rf"({SPREAD}) against ({SPREAD}) of ([\w ]+), ({SPREAD})(?: Å⁻¹)?, on (\w+) at (\d+)"


def led(
    study: Study,
    where: str,
    text: str,
    column: str,
    method: str,
    rivals: Callable[[str, float], Sequence[str]],
) -> Iterator[Printed]:
    for ours, theirs, program, lead, name, dose in re.findall(LEAD, text):
        rival, leads = hardest(study, name, float(dose), column, method, rivals(name, float(dose)))
        here = f"{where} {method} {name} {dose} {column}"
        assert program == rival.replace("ptychography", "py4DSTEM"), here
        yield Printed(here, lead, spread(leads))
        them = study.score(name, rival, float(dose), column)
        us = study.score(name, method, float(dose), column)
        us = {n: v for n, v in us.items() if n in them or len(them) == 1}
        for words, draws in ((ours, us), (theirs, them)):
            yield Printed(here, words, as_shown(spread(draws.values()), words))


def margin(name: str, column: str) -> float:
    """What is level: a ring three steps wide of a field of 64 or 256 Å, or 0.02."""
    if column in ("resolution", "frequency"):
        return 3 / (256.0 if name == "apoferritin" else 64.0)
    return 0.02


def told(study: Study, name: str, dose: float, column: str, rival: str, lead: list[float]) -> bool:
    """Whether a comparison tells anything: not if both are where the truth itself is."""
    if column == "frequency":
        return True
    finest = 1 / (2.69474 if name == "apoferritin" else 0.984615)
    end = finest if column == "resolution" else 1.0
    theirs = [*study.score(name, rival, dose, column).values()]
    level = margin(name, column)
    return bool(end - np.median(theirs) > level or abs(np.median(lead)) > level)


def compared(study: Study) -> Iterator[Printed]:
    """C7 and C10: differences from the best ptychography, and from all four methods."""

    def programs(name: str, dose: float, column: str) -> list[str]:
        return [best] if (best := study.best(name, dose, column)) else []

    claim = claims.compared(study.rows)
    pattern = r"by ([a-z ]+) ahead of the best of the four on (\d) of (\d) specimens"
    for method in NETWORKS:
        text = claim.findings[method].text
        heads = [*re.finditer(pattern, text)]
        assert [MEASURES[h[1]] for h in heads] == [*MEASURES.values()], text
        for head, after in zip(heads, [*heads[1:], None], strict=True):
            column = MEASURES[head[1]]

            def rivals(name: str, dose: float, column: str = column) -> list[str]:
                return [*programs(name, dose, column), *OLD, "ptychography"]

            leads = {
                s: hardest(study, s, 1000.0, column, method, rivals(s, 1000.0)) for s in SPECIMENS
            }
            leads = {s: v for s, v in leads.items() if told(study, s, 1000.0, column, *v)}
            ahead = sum(bool(np.median(v) > margin(s, column)) for s, (_, v) in leads.items())
            yield Printed(f"C10 {method} {column}", head[2], ahead)
            yield Printed(f"C10 {method} {column}", head[3], len(leads))
            rest = text[head.end() : after.start() if after else None]
            yield from led(study, "C10", rest, column, method, rivals)
    spectra = {"05_power_spectra": {"highest_frequency": {}}}
    claim = claims.frequency(spectra, study.rows)
    places = [(s, d) for s in SPECIMENS for d in DOSES]
    for method in NETWORKS:
        text = claim.findings[method].text
        for phrase, column in (
            ("higher weighted ring correlation in", "weighted_frc"),
            ("higher frequency of the power spectrum in", "frequency"),
        ):
            every = {
                (s, d): hardest(study, s, d, column, method, programs(s, d, column))
                for s, d in places
            }
            leads = {p: v for p, v in every.items() if told(study, *p, column, *v)}
            ((ahead, of),) = re.findall(rf"{phrase} (\d+) of (\d+)", text)
            won = sum(bool(np.median(v) > margin(s, column)) for (s, _), (_, v) in leads.items())
            yield Printed(f"C7 {method} {column}", ahead, won)
            yield Printed(f"C7 {method} {column}", of, len(leads))
        yield from led(
            study, "C7", text, "resolution", method, lambda s, d: programs(s, d, "resolution")
        )


def thickness(study: Study) -> Iterator[Printed]:
    """C6: correlations against thickness, and what is left of the thinnest."""
    claim = claims.thickness({"08_thickness_and_field": {"thickness": []}}, study.rows)

    def at(method: str, level: float, column: str) -> Draws:
        thick = None if level == 20.0 else level
        return study.raw("Li2CoO3", method, 300.0, column, thick)

    def left(method: str, level: float) -> Spread:
        thinnest = np.median([abs(v) for v in at(method, 20.0, "correlation").values()])
        return spread(abs(v) / thinnest for v in at(method, level, "correlation").values())

    for method in NETWORKS:
        text = claim.findings[method].text
        matches = re.findall(rf"({SPREAD}) inside and ({SPREAD}) by rings at (\d+) nm", text)
        assert [float(nm) for *_, nm in matches] == [2, 5, 10, 20, 30]
        for inside, rings, nm in matches:
            level = 10 * float(nm)
            for words, column in ((inside, "correlation"), (rings, "weighted_frc")):
                values = at(method, level, column).values()
                yield Printed(f"C6 {method} {nm} nm {column}", words, spread(values))
        shares = re.findall(rf"({SPREAD}) of the thinnest against ({SPREAD}) of (\w+)", text)
        for (ours, theirs, program), level in zip(shares, (50.0, 100.0, 200.0, 300.0), strict=True):
            sizes = {m: [abs(v) for v in at(m, level, "correlation").values()] for m in PROGRAMS}
            rival = max((m for m in PROGRAMS if sizes[m]), key=lambda m: np.median(sizes[m]))
            assert program == rival.replace("ptychography", "py4DSTEM"), level
            yield Printed(f"C6 {method} {level:g} Å kept", ours, left(method, level))
            yield Printed(f"C6 {method} {level:g} Å rival", theirs, left(rival, level))


def finest(study: Study) -> Iterator[Printed]:
    """C9: the finest period of all doses."""
    claim = claims.sub_angstrom(study.rows, MOLECULAR, 3)
    for method in NETWORKS:
        text = claim.findings[method].text
        matches = re.findall(rf"({SPREAD}) on (\w+) at (\d+)", text)
        assert [name for _, name, _ in matches] == ["Li2CoO3", "CuZr"]
        for words, name, dose in matches:
            periods = {d: study.raw(name, method, d, "resolution").values() for d in DOSES}
            best = min(DOSES, key=lambda d: np.median([*periods[d]]))
            yield Printed(f"C9 {method} {name} dose", dose, int(best))
            yield Printed(f"C9 {method} {name}", words, spread(periods[best]))


def asked(study: Study) -> Iterator[Printed]:
    """The learned method's goals: against all that learns nothing, and against the direct one."""
    crystals = ("Li2CoO3", "CuZr")
    for column in ("correlation", "resolution"):
        text = goals.beats_classical(study.rows, column).measured
        leads = [
            hardest(study, s, d, column, "informed", LEARN_NOTHING)[1]
            for s in crystals
            for d in DOSES
        ]
        (ahead, of), (clear,) = (
            re.findall(r"ahead in (\d+) of (\d+)", text)[0],
            re.findall(r"spread too in (\d+)", text),
        )
        where = f"goal {column}"
        yield Printed(where, ahead, sum(bool(np.median(v) > 0) for v in leads))
        yield Printed(where, of, len(leads))
        yield Printed(where, clear, sum(spread(v).low > 0 for v in leads))
        yield from led(study, where, text, column, "informed", lambda *_: LEARN_NOTHING)
        text = goals.never_worse_than_direct(study.rows, column).measured
        places = [(s, d) for s in SPECIMENS for d in (*DOSES, math.inf)]
        against = [hardest(study, s, d, column, "informed", ["direct"])[1] for s, d in places]
        (worse, of) = re.findall(r"worse in (\d+) of (\d+)", text)[0]
        yield Printed(f"{where} direct", worse, sum(spread(v).high < 0 for v in against))
        yield Printed(f"{where} direct", of, len(places))
        yield from led(study, f"{where} direct", text, column, "informed", lambda *_: ["direct"])


SENTENCES = (series, contrast, electrons, compared, thickness, finest, asked)


@pytest.fixture(scope="module")
def study() -> Study:
    return Study()


@pytest.mark.parametrize("sentences", SENTENCES, ids=lambda f: f.__name__)
def test_every_number_of_the_sentences_is_the_tables(
    sentences: Callable[[Study], Iterator[Printed]], study: Study
) -> None:
    printed = [*sentences(study)]
    assert sum(part.numbers for part in printed) >= 10
    assert not [part for part in printed if not part.agrees]


def test_a_number_that_is_not_the_tables_is_noticed(study: Study) -> None:
    for part in series(study):
        (first, *_) = re.findall(NUMBER, part.text)
        wrong = first.replace("0.", "1.", 1) if "0." in first else f"9{first}"
        assert part.agrees
        assert not Printed(part.where, part.text.replace(first, wrong, 1), part.expected).agrees
        other = part.text.replace("n = 8", "n = 7").replace("n = 3", "n = 2")
        assert not Printed(part.where, other, part.expected).agrees
