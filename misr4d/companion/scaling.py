"""Would more training change a verdict? Scores of many runs against width and samples.

``benchmarks/scaling.py`` trains one network at one width and one share of the paper's budget, and
adds its scores to ``data/scaling.json``; here they are read, and followed to the paper's size.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from misr4d.measure.summary import Summary, summarise

__all__ = ["Trend", "fit_trend", "read_scaling", "run_score"]

FEWEST_RUNS = 5  # our choice: two more than the three numbers that are fitted


def read_scaling() -> dict[str, Any]:
    """Read the record: ``samples`` of the paper's budget, and ``runs``."""
    path = files("misr4d") / "data" / "scaling.json"
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record


def run_score(run: Mapping[str, Any], groups: Sequence[str], measure: str) -> Summary:
    """Summarise a run's score over specimens and draws: median and quartiles.

    Parameters
    ----------
    run : mapping
        Of the record.
    groups : sequence of str
        Specimens that count, such as ``unseen atomic`` or ``Li2CoO3``.
    measure : {"correlation", "weighted_frc"}

    Raises
    ------
    ValueError
        If the run has no score of these.
    """
    values = [row[measure] for row in run["scores"] if row["specimen"] in groups]
    if not values:
        raise ValueError(f"the run has no {measure} of {', '.join(groups)}; run the scaling again")
    return summarise(values)


@dataclass(frozen=True)
class Trend:
    """What a score falls short of 1 by, as a power of samples and width.

    log(1 − score) = constant − by_samples · log(samples) − by_width · log(width).

    Parameters
    ----------
    constant, by_samples, by_width : float
    covariance : ndarray
        Of the three ``(3, 3)``, from the residuals.
    residual : float
        Standard deviation of a run about the trend, of the logarithm.
    n : int
        Runs that were fitted.
    """

    constant: float
    by_samples: float
    by_width: float
    covariance: NDArray[np.float64]
    residual: float
    n: int

    def at(
        self, samples: float, width: float, coverage: float = 0.68
    ) -> tuple[float, float, float]:
        """Score of a run of another size: expected, and ends of its prediction interval.

        Parameters
        ----------
        samples, width : float
        coverage : float
            Of the runs that the interval should hold, from the t distribution.
        """
        place = np.array([1.0, -math.log(samples), -math.log(width)])
        middle = float(place @ [self.constant, self.by_samples, self.by_width])
        deviation = math.sqrt(float(place @ self.covariance @ place) + self.residual**2)
        reach = float(student.ppf(0.5 + coverage / 2, self.n - 3)) * deviation
        low, expected, high = (1 - math.exp(middle + side) for side in (reach, 0.0, -reach))
        return expected, low, high


def fit_trend(points: Sequence[tuple[float, float, float]]) -> Trend | None:
    """Fit the trend by least squares.

    Parameters
    ----------
    points : sequence of (float, float, float)
        Samples, width and score of each run; scores below 1.

    Returns
    -------
    Trend or None
        None if there are fewer than five runs, or all have one width or one number of samples.

    Raises
    ------
    ValueError
        If a score is 1 or more, or samples or width are not positive.
    """
    table = np.array(points, dtype=np.float64).reshape(-1, 3)
    if (table[:, 2] >= 1).any() or (table[:, :2] <= 0).any():
        raise ValueError("expected positive samples and widths, and scores below 1")
    if len(table) < FEWEST_RUNS or any(len(np.unique(table[:, k])) < 2 for k in (0, 1)):
        return None
    design = np.column_stack([np.ones(len(table)), -np.log(table[:, 0]), -np.log(table[:, 1])])
    missing = np.log(1 - table[:, 2])
    solution, _, rank, _ = np.linalg.lstsq(design, missing, rcond=None)
    if rank < 3:
        return None
    variance = float(np.square(missing - design @ solution).sum() / (len(table) - 3))
    covariance = variance * np.linalg.inv(design.T @ design)
    constant, by_samples, by_width = (float(value) for value in solution)
    return Trend(constant, by_samples, by_width, covariance, math.sqrt(variance), len(table))
