"""Comparisons of methods draw by draw: scores from the tables, the best rival, words for them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from misr4d.measure.metrics import contrast_to_error
from misr4d.measure.summary import Summary, summarise
from misr4d.plotting import dose_label

__all__ = [
    "CLASSICAL",
    "CONTRAST",
    "CRYSTAL",
    "GLASS",
    "MEASURE_NAMES",
    "OURS",
    "PEERS",
    "PERIODS",
    "PROTEIN",
    "PTYCHOGRAPHY",
    "Case",
    "Rows",
    "behind",
    "best_ptychography",
    "compare_methods",
    "doses_text",
    "is_inverted",
    "lead_text",
    "period_text",
    "program",
    "scores",
    "scores_text",
    "sign_of",
    "where_run",
]

CLASSICAL = ("summed VBF", "iDPC", "parallax", "ptychography", "SSB", "OBF", "direct")
"""Methods of the package that learn nothing."""

PEERS = ("phaserEM", "quantem", "quantem direct")
"""Ptychography by today's strongest programs, where the table holds it: two iterative, one not."""

PTYCHOGRAPHY = ("ptychography", *PEERS)
"""Ptychography by other programs, first py4DSTEM's, which is the paper's program."""

OURS = "informed"

CONTRAST = "contrast_to_error"
"""Measure made of the correlation inside, by :func:`misr4d.measure.metrics.contrast_to_error`."""

PERIODS = ("resolution", "last_ring", "half_bit", "half_0143")

Rows = Sequence[Mapping[str, Any]]

CRYSTAL, GLASS, PROTEIN = "Li2CoO3", "CuZr", "apoferritin"  # of the paper's Fig. 4

MEASURE_NAMES = {
    "correlation": "correlation inside the specimen",
    "resolution": "FRC-0.5 resolution",
    "weighted_frc": "weighted ring correlation",
}


def program(method: str) -> str:
    """Name a method in a sentence, ptychography by its program."""
    return "py4DSTEM" if method == "ptychography" else method


@dataclass(frozen=True)
class Case:
    """One comparison behind a goal.

    Parameters
    ----------
    specimen : str
    dose : float
        e⁻/Å².
    rival : str
        Method compared with.
    measure : str
        Column of the table.
    ours, theirs : Summary
        Score of each: of a period its frequency [Å⁻¹], of a correlation its size. Ours has no draw
        where a dose is compared and the method was not run at the rival's.
    lead : Summary
        What the goal is about, over pairs of draws: a difference or a ratio.
    met : bool or None
        None if the table cannot tell.
    standing : int
        1 if the median of `lead` is in our favour, −1 if in the rival's, 0 if level.
    bounded : bool
        That median is an upper bound, because the lowest dose measured is past the target already.
    inverted : bool
        The rival's images show the truth with its sign turned; they are ranked by what they show.
    """

    specimen: str
    dose: float
    rival: str
    measure: str
    ours: Summary
    theirs: Summary
    lead: Summary
    met: bool | None
    standing: int
    bounded: bool = False
    inverted: bool = False

    @property
    def n(self) -> int:
        """Draws that the comparison rests on: of the side that has fewer."""
        return min(self.lead.n, self.theirs.n)

    @property
    def ahead(self) -> bool:
        """Whether the median is in our favour."""
        return self.standing > 0

    @property
    def against(self) -> str:
        """The rival in words."""
        return program(self.rival) + (" (inverted)" if self.inverted else "")


def _of(
    rows: Rows, specimen: str, dose: float, method: str, thickness: float | None = None
) -> list[Mapping[str, Any]]:
    """Rows of one method on one specimen at one dose; of the specimen's own thickness by default.

    Rows of a series of thickness or defocus are of other scans, and enter only if asked for.
    """
    return [
        row
        for row in rows
        if (row["specimen"], row["method"], float(row["dose"])) == (specimen, method, dose)
        and row.get("thickness") == thickness
        and row.get("defocus") is None
    ]


def scores(
    rows: Rows,
    specimen: str,
    dose: float,
    method: str,
    measure: str,
    *,
    thickness: float | None = None,
) -> dict[int, float]:
    """Score of each draw, the higher the better.

    A period becomes its frequency [Å⁻¹], none becomes 0. A correlation counts by its size, and of
    an inverted image the mean ring correlation too: what the image shows is there, upside down.
    :data:`CONTRAST` is made of the correlation inside.

    Parameters
    ----------
    rows : sequence of mappings
        The bench's table.
    specimen, method, measure : str
    dose : float
        e⁻/Å².
    thickness : float, optional
        Of a thickness series [Å]; by default the specimen's own.

    Returns
    -------
    dict
        By draw; empty if the table does not hold the measure.
    """
    by_draw = {}
    for row in _of(rows, specimen, dose, method, thickness):
        value = row.get("correlation" if measure == CONTRAST else measure)
        if measure == CONTRAST and value is not None:
            value = contrast_to_error(float(value))
        elif measure in PERIODS:
            value = 0.0 if value is None else 1 / float(value)
        elif value is not None and (
            measure.startswith("correlation") or (measure == "weighted_frc" and row.get("inverted"))
        ):
            value = abs(value)
        if value is not None:
            by_draw[int(row["draw"])] = float(value)
    return by_draw


def sign_of(value: float) -> int:
    """Sign of a number: −1, 0 or 1."""
    return (value > 0) - (value < 0)


def is_inverted(rows: Rows, specimen: str, dose: float, method: str) -> bool:
    """Whether most draws of a method show the truth with its sign turned."""
    signs = [bool(row.get("inverted")) for row in _of(rows, specimen, dose, method)]
    return 2 * sum(signs) > len(signs)


def best_ptychography(
    rows: Rows,
    specimen: str,
    dose: float,
    measure: str = "correlation",
    *,
    thickness: float | None = None,
    among: Sequence[str] = PTYCHOGRAPHY,
) -> str | None:
    """Name the ptychography with the highest median score: py4DSTEM's or a peer's.

    Parameters
    ----------
    rows : sequence of mappings
        The bench's table, with the peers' rows.
    specimen, measure : str
    dose : float
        e⁻/Å².
    thickness : float, optional
        Of a thickness series [Å].
    among : sequence of str
        Methods to choose from.

    Returns
    -------
    str or None
        None if none of them was measured there.
    """
    medians = {
        method: summarise(values.values()).median
        for method in among
        if (values := scores(rows, specimen, dose, method, measure, thickness=thickness))
    }
    return max(medians, key=lambda method: medians[method]) if medians else None


def where_run(rows: Rows) -> str:
    """Say at which doses each ptychography was measured, and which against thickness.

    The best of them at a dose is the best of those that ran there.
    """
    chosen = [row for row in rows if row["method"] in PTYCHOGRAPHY and not row.get("defocus")]
    parts = []
    for method in PTYCHOGRAPHY:
        plain = [r for r in chosen if r["method"] == method and r.get("thickness") is None]
        if plain:
            doses = sorted({float(row["dose"]) for row in plain} - {math.inf})
            parts.append(f"{program(method)} at {doses_text(doses)}")
    thick = [m for m in PTYCHOGRAPHY if any(r["method"] == m and r["thickness"] for r in chosen)]
    if not parts:
        return "no program"
    text = "; ".join(parts)
    return text + f"; against thickness {', '.join(map(program, thick))}" if thick else text


def _pairs(ours: Mapping[int, float], theirs: Mapping[int, float]) -> list[tuple[float, float]]:
    if len(theirs) == 1:
        (only,) = theirs.values()
        return [(value, only) for value in ours.values()]
    return [(ours[draw], theirs[draw]) for draw in sorted(ours.keys() & theirs.keys())]


def compare_methods(
    rows: Rows,
    specimen: str,
    dose: float,
    rival: str,
    measure: str,
    met: Callable[[Summary], bool],
    *,
    ratio: bool = False,
    method: str = OURS,
) -> Case | None:
    """Compare a method with a rival on one specimen at one dose.

    Parameters
    ----------
    rows : sequence of mappings
        The bench's table.
    specimen, rival, method : str
    dose : float
        e⁻/Å².
    measure : str
        Column of the table, scored as :func:`scores` says.
    met : callable
        From the summary of the pairwise differences, or ratios, to the verdict.
    ratio : bool
        Take ours over theirs instead of ours less theirs.

    Returns
    -------
    Case or None
        None if the table does not hold both.

    Raises
    ------
    ValueError
        If a ratio to zero is asked for.
    """
    ours = scores(rows, specimen, dose, method, measure)
    theirs = scores(rows, specimen, dose, rival, measure)
    pairs = _pairs(ours, theirs)
    if not pairs:
        return None
    if ratio and any(b == 0 for _, b in pairs):
        raise ValueError(
            f"{rival} has a {measure} of 0 on {specimen} at {dose:g} e⁻/Å²; no ratio to it exists"
        )
    lead = summarise(a / b if ratio else a - b for a, b in pairs)
    return Case(
        specimen,
        dose,
        rival,
        measure,
        summarise(a for a, _ in pairs),
        summarise([b for _, b in pairs] if len(theirs) > 1 else theirs.values()),
        lead,
        bool(met(lead)),
        sign_of(lead.median - (1 if ratio else 0)),
        inverted=is_inverted(rows, specimen, dose, rival),
    )


def period_text(frequency: float) -> str:
    """Write a frequency [Å⁻¹] as its period; 0 resolves nothing."""
    return f"{1 / frequency:.2f} Å" if frequency > 0 else "none"


def scores_text(case: Case, digits: int = 2) -> str:
    """Scores of both sides with their spread, as in ``0.90 (n = 8) against 0.85 (n = 3)``."""
    word = period_text if case.measure in PERIODS else None
    ours, theirs = (side.text(digits, word=word) for side in (case.ours, case.theirs))
    return f"{ours} against {theirs} of {case.against}"


def _where(case: Case) -> str:
    return f"on {case.specimen} at {dose_label(case.dose)}"


def lead_text(case: Case) -> str:
    """Word an advantage, with its spread."""
    unit = " Å⁻¹" if case.measure in PERIODS else ""
    lead = case.lead.text(3, sign=True)
    return f"{scores_text(case, 3)}, {lead}{unit}, {_where(case)}"


def behind(cases: Iterable[Case]) -> str:
    """Say where a ptychography is ahead, to open a finding with; empty if nowhere."""
    cases = list(cases)
    several = len({case.measure for case in cases}) > 1
    lost: dict[tuple[str, str, float], list[str]] = {}
    for case in cases:
        if case.standing < 0 and case.rival in PTYCHOGRAPHY:
            where = lost.setdefault((program(case.rival), case.specimen, case.dose), [])
            where.append(MEASURE_NAMES.get(case.measure, case.measure))
    alike: dict[tuple[str, str, str], list[float]] = {}  # doses at which the same holds
    for (rival, specimen, dose), measures in lost.items():
        by = f" by {' and '.join(measures)}" if several else ""
        alike.setdefault((rival, specimen, by), []).append(dose)
    words = [
        f"{rival} on {specimen} at {doses_text(doses)}{by}"
        for (rival, specimen, by), doses in alike.items()
    ]
    return f"behind {', '.join(words)}; " if words else ""


def doses_text(doses: Sequence[float]) -> str:
    """Doses as a list in words, as in ``100, 300 and 1000 e⁻/Å²``."""
    names = [f"{d:g}" for d in doses if math.isfinite(d)]
    text = " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
    infinite = [dose_label(math.inf)] if not all(map(math.isfinite, doses)) else []
    return " and ".join(([f"{text} e⁻/Å²"] if names else []) + infinite)
