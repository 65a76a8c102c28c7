"""Chapter 11, what a network invents: what was measured, as the page and the claims read it."""

from __future__ import annotations

import math
from typing import Any

from ase.data import atomic_numbers
from torch import Tensor

from misr4d.companion.chapters.invention_cases import (
    AWAY,
    ITERATIVE,
    Questions,
    half_a_carbon,
    methods,
    scan,
)
from misr4d.companion.recorded import all_recorded, pictured
from misr4d.companion.study import Scene
from misr4d.measure.audit import ErrorRatio, Reliability, central_column, error_ratio

__all__ = ["Audit"]


class Audit:
    """Answers to the page's questions, kept with the study or measured now.

    Parameters
    ----------
    questions : Questions

    Notes
    -----
    nothing : dict
        False peaks in 100 Å², by scan, method and dose.
    shares, chances, distances, places : dict
        Of every defect, by method and dose (infinite without counting noise): shares shown,
        detection probabilities, d′ (none where it is infinite); and the places that were examined.
    inside, whole, promised : dict
        Of the spiral, by method and dose: correlations and overconfidence of its halves.
    reliabilities, error_ratios : dict
        Of the informed network's deviation, by case and dose.
    pictures : dict
        Images of the first draw by scan, method and dose, of a defect cut out around it; of a
        defect ``"truth"`` too.
    """

    def __init__(self, questions: Questions) -> None:
        self.questions = questions
        self.doses, self.draws = list(questions.doses), questions.draws
        self.home = scan(questions.crystal, "crystal")
        self.direct, self.acquisition = self.home.direct, self.home.acquisition
        self.pixel = self.home.pixel
        self.threshold = half_a_carbon(questions.crystal)
        self.ptychography_dose = (
            questions.ptychography_dose if questions.with_ptychography else None
        )
        self.methods = list(methods(self.direct))
        self.shown = [*self.methods, *([ITERATIVE] if questions.with_ptychography else [])]
        self._ask_nothing()
        self._ask_defects()
        self._ask_novel()
        self._ask_deviations()
        self._take_pictures()

    def scan(self, kind: str) -> Scene:
        """Return a scan: of the crystal, of what it is changed to, of the spiral or of vacuum."""
        asked = self.questions
        return scan(asked.crystal, kind, asked.element, asked.substitute, asked.swapped_radius)

    @property
    def target(self) -> tuple[float, float]:
        """Where the changed column is [Å]."""
        number = atomic_numbers[self.questions.element]
        _, (x, y) = central_column(self.home.specimen.atoms, number)
        return float(x), float(y)

    def _name(self, kind: str) -> str:
        replaced = f"{self.questions.element} → {self.questions.substitute}"
        return replaced if kind == "replaced" else kind

    def _ask_nothing(self) -> None:
        self.nothing: dict[tuple[str, str, float], list[float]] = {}
        for given, found in all_recorded(self.questions.nothing()):
            for label, peaks in found.items():
                place = given["kind"], label, given["dose"]
                self.nothing.setdefault(place, []).append(peaks)

    def _ask_defects(self) -> None:
        self.shares: dict[tuple[str, str, float], list[float]] = {}
        self.chances: dict[tuple[str, str, float], list[float]] = {}
        self.distances: dict[tuple[str, str, float], float | None] = {}
        self.places: dict[str, int] = {}
        for given, found in all_recorded(self.questions.defects()):
            kind = self._name(given["kind"])
            dose = math.inf if given["dose"] is None else given["dose"]
            for label, seen in found.items():
                self.shares[kind, label, dose] = seen["shares"]
                self.chances[kind, label, dose] = seen["probabilities"]
                self.distances[kind, label, dose] = seen["d_prime"]
                self.places[kind] = seen["places"]

    def _ask_novel(self) -> None:
        self.inside: dict[tuple[str, float], list[float]] = {}
        self.whole: dict[tuple[str, float], list[float]] = {}
        self.promised: dict[tuple[str, float], list[float]] = {}
        for given, found in all_recorded(self.questions.novel()):
            for label, measures in found.items():
                place = label, given["dose"]
                self.inside.setdefault(place, []).append(measures["inside"])
                self.whole.setdefault(place, []).append(measures["whole"])
                if "overconfidence" in measures:
                    self.promised.setdefault(place, []).append(measures["overconfidence"])

    def _ask_deviations(self) -> None:
        self.reliabilities: dict[tuple[str, float], list[Reliability]] = {}
        for given, found in all_recorded(self.questions.deviations()):
            for name, row in found.items():
                covered = {float(share): value for share, value in row["covered"].items()}
                one = Reliability(row["predicted"], row["error"], covered)
                self.reliabilities.setdefault((name, given["dose"]), []).append(one)
        self.error_ratios: dict[tuple[str, float], ErrorRatio] = {
            (name, dose): error_ratio(
                self.reliabilities[home, dose], self.reliabilities[name, dose]
            )
            for name, (_, home) in AWAY.items()
            if home is not None
            for dose in self.doses
        }

    def _take_pictures(self) -> None:
        self.pictures: dict[tuple[str, str, float], Tensor] = {}
        for function, given in self.questions.pictures():
            for label, image in pictured(function, **given).items():
                self.pictures[given["kind"], label, given["dose"]] = image

    @property
    def interval_shares(self) -> tuple[float, ...]:
        """Shares of the pixels that the deviation's intervals name."""
        return tuple(self.reliabilities["perfect crystal", self.doses[0]][0].covered)

    def record(self) -> dict[str, Any]:
        """Everything that was measured, as the claims page reads it."""
        none = self.ptychography_dose is None
        return {
            "threshold_rad": self.threshold,
            "ptychography": "not run" if none else "one draw at one dose",
            "reliability": [
                {
                    "where": name,
                    "dose": d,
                    "predicted_rad": [one.predicted for one in found],
                    "error_rad": [one.error for one in found],
                    "covered": {
                        str(share): [one.covered[share] for one in found]
                        for share in self.interval_shares
                    },
                }
                for (name, d), found in self.reliabilities.items()
            ],
            "rise": [
                {
                    "where": name,
                    "dose": d,
                    "predicted": ratio.predicted,
                    "error": ratio.observed,
                    "follows": ratio.predicted_rises,
                }
                for (name, d), ratio in self.error_ratios.items()
            ],
            "nothing": [
                {"kind": k, "method": m, "dose": d, "per_100_A2": list(v)}
                for (k, m, d), v in self.nothing.items()
            ],
            "detection": [
                {
                    "kind": k,
                    "method": m,
                    "dose": str(d),
                    "shares": self.shares[k, m, d],
                    "probabilities": v,
                    "d_prime": self.distances[k, m, d],
                    "places": self.places[k],
                }
                for (k, m, d), v in self.chances.items()
            ],
            "novel": [
                {
                    "method": m,
                    "dose": d,
                    "correlation": list(self.inside[m, d]),
                    "correlation_whole_field": list(v),
                    "overconfidence": list(self.promised[m, d])
                    if (m, d) in self.promised
                    else None,
                }
                for (m, d), v in self.whole.items()
            ],
        }
