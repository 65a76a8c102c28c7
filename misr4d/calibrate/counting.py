"""Dose of every position, from the recorded values, and views with dose and floor corrected.

The total of a pattern hardly depends on the specimen: a weak phase object only moves electrons
about on the detector. Totals that change along whole lines, over the scan, or from one position to
the next in the same way in both halves of the disc, are therefore due to the beam. These changes
are divided out of the views. Views at positions without beam are interpolated from those around.

The floor of the counter is found in :mod:`misr4d.calibrate.floor`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import lil_matrix
from scipy.sparse.linalg import splu
from scipy.stats import poisson
from torch import Tensor

from misr4d.calibrate.disc import Disc
from misr4d.core.acquisition import Acquisition
from misr4d.core.datacube import Datacube, ScanPart

__all__ = [
    "SIGNIFICANT",
    "BeamDose",
    "LevelledCube",
    "common_flicker",
    "cropped",
    "find_beam_dose",
    "flicker",
    "halves_of_totals",
    "with_flicker",
]

SIGNIFICANT = 7.0
"""Standard errors beyond which a change or a level is taken for real (our choice)."""

# Our choices: sizes beyond which a change is the beam's, and not a variation by specimens. Totals
# of the corpus' crystals and glasses vary by 0.4 % between lines.
_LINE, _PROFILE, _TREND, _FLICKER = 0.03, 0.01, 0.02, 0.02
# Fractions of the usual dose below which there was no beam, or an outermost line is flyback.
_BLANK, _FLYBACK = 0.1, 0.75
_MOST_BLANK = 0.25
_GROUPS = 12  # parts of a line, which must all show a change that is attributed to the whole line
_EDGE = 4  # outermost lines on a side that may be left out


@dataclass(frozen=True)
class BeamDose:
    """Dose of every position, from the totals of the detector.

    Parameters
    ----------
    relative : ndarray
        ``(Rx, Ry)``, of mean 1 over the positions with beam, and 1 where there was none.
    blank : ndarray
        Positions without beam ``(Rx, Ry)`` of bool.
    part : (slice, slice)
        The scan without blanked or flyback lines at its edges. Other fields refer to all of it.
    notes : tuple of str
        Findings in words, with the numbers of the lines.
    """

    relative: NDArray[np.float64]
    blank: NDArray[np.bool_]
    part: tuple[slice, slice]
    notes: tuple[str, ...]

    @property
    def even(self) -> bool:
        """Whether the dose is even: nothing was found."""
        return not self.notes


def _listed(numbers: Sequence[int]) -> str:
    """Write line numbers with runs joined: 3, 7-9."""
    runs: list[list[int]] = []
    for n in sorted(numbers):
        if runs and n == runs[-1][1] + 1:
            runs[-1][1] = n
        else:
            runs.append([n, n])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def _lines(axis: int, numbers: Sequence[int]) -> str:
    return f"{'line' if len(numbers) == 1 else 'lines'} {'R' + 'xy'[axis]} = {_listed(numbers)}"


def find_beam_dose(totals: NDArray[Any]) -> BeamDose:
    """Find lines and positions with a different dose in the totals of all patterns.

    The search is in this order: positions and lines without beam; outermost lines whose dose
    differs from their neighbours', as after flyback; single lines with a different dose; a common
    profile of all lines, or else a linear trend, along either axis. A change of a whole line must
    show in each of its twelve parts: no specimen has such edges. For flicker see :func:`flicker`.

    Parameters
    ----------
    totals : ndarray
        ``(Rx, Ry)`` [electrons], those of the whole detector without its floor.

    Returns
    -------
    BeamDose
        See its ``even``.
    """
    counts = np.maximum(np.asarray(totals, dtype=np.float64), 0)
    shape = counts.shape
    blank, lines = _find_blank(counts)
    notes: list[str] = []
    limits = [[0, shape[0]], [0, shape[1]]]
    left_out: list[list[int]] = [[], []]
    for axis in (0, 1):
        left_out[axis] = _outermost(counts, blank, lines[axis], axis, limits[axis])
        if left_out[axis]:
            notes.append(
                f"{_lines(axis, left_out[axis])} at the edge of the scan received another dose "
                "than the lines beside, as flyback and a blanked beam leave them: left out"
            )
    window = (slice(*limits[0]), slice(*limits[1]))
    for axis in (0, 1):
        blank_lines = [n for n in lines[axis] if n not in left_out[axis]]
        if blank_lines:
            notes.append(
                f"{_lines(axis, blank_lines)} received no beam: continued from those beside"
            )
    inside = np.zeros(shape, dtype=bool)
    inside[window] = True
    single = blank & inside
    single[lines[0]] = False
    single[:, lines[1]] = False
    if single.any():
        examples = ", ".join(str(tuple(p)) for p in np.argwhere(single)[:5].tolist())
        ellipsis = " …" if single.sum() > 5 else ""
        notes.append(
            f"{int(single.sum())} of {single.size} positions, such as {examples}{ellipsis}, "
            "received no beam: continued from those around"
        )
    relative = np.ones(shape)
    good = inside & ~blank
    for axis in (0, 1):
        factor, single_lines = _other_lines(counts, good, relative, axis)
        if single_lines:
            level = ", ".join(f"{factor[n]:.0%}" for n in single_lines[:6])
            notes.append(
                f"{_lines(axis, single_lines)} received {level}"
                f"{' …' if len(single_lines) > 6 else ''} of the dose of those beside: divided out"
            )
            relative *= factor[:, None] if axis == 0 else factor[None, :]
    for axis in (0, 1):
        factor, note = _common(counts, good, relative, axis)
        if note:
            notes.append(note)
            relative *= factor[:, None] if axis == 0 else factor[None, :]
    relative[~good] = 1.0
    relative[good] /= relative[good].mean()
    return BeamDose(relative, blank, window, tuple(notes))


def _find_blank(counts: NDArray[np.float64]) -> tuple[NDArray[np.bool_], list[list[int]]]:
    """Positions without beam, and the whole lines without beam along each axis."""
    usual_count = float(np.median(counts)) or float(counts.mean())
    chance = 1e-3 / counts.size

    def none(values: NDArray[np.float64], expected: float) -> NDArray[np.bool_]:
        without_beam: NDArray[np.bool_] = values < _BLANK * expected
        without_beam &= poisson.cdf(values, 3 * _BLANK * expected) < chance
        return without_beam

    blank = none(counts, usual_count)
    lines: list[list[int]] = []
    for axis in (0, 1):
        sums = counts.sum(1 - axis)
        blank_lines = none(sums, float(np.median(sums)) or float(sums.mean()))
        lines.append(np.flatnonzero(blank_lines).tolist())
    blank[lines[0]] = True
    blank[:, lines[1]] = True
    if blank.mean() > _MOST_BLANK:
        return np.zeros_like(blank), [[], []]
    return blank, lines


def _in_groups(
    counts: NDArray[np.float64], good: NDArray[np.bool_], relative: NDArray[np.float64], axis: int
) -> NDArray[np.float64]:
    """Mean of every part of every line ``(lines, groups)``; NaN where all is blank."""
    values, usable = (counts / relative, good) if axis == 0 else ((counts / relative).T, good.T)
    group = np.arange(values.shape[1]) * _GROUPS // values.shape[1]
    sums = np.stack([np.where(usable, values, 0)[:, group == g].sum(1) for g in range(_GROUPS)], 1)
    number = np.stack([usable[:, group == g].sum(1) for g in range(_GROUPS)], 1)
    means: NDArray[np.float64] = np.divide(
        sums, number, out=np.full(sums.shape, np.nan), where=number > 0
    )
    return means


def _outermost(
    counts: NDArray[np.float64],
    blank: NDArray[np.bool_],
    lines: list[int],
    axis: int,
    bound: list[int],
) -> list[int]:
    """Lines to leave out at both edges; `bound` is narrowed."""
    means = _in_groups(counts, np.ones(counts.shape, dtype=bool), np.ones(counts.shape), axis)
    size = counts.shape[1 - axis]
    left_out: list[int] = []
    for edge, inward in ((0, 1), (len(means) - 1, -1)):
        doubtful: list[int] = []
        for n in range(_EDGE):
            line = edge + inward * n
            neighbours = [line + inward * distance for distance in (1, 2, 3, 4)]
            neighbours = [neighbour for neighbour in neighbours if neighbour not in lines]
            expected = np.median(means[neighbours], axis=0)
            if line in lines:
                doubtful.append(line)
                continue
            total = means[line].mean() * size
            ratio = means[line].mean() / max(expected.mean(), 1e-9)
            error = math.sqrt(1 / max(total, 1) + 0.3 / max(expected.mean() * size, 1))
            relative_means = means[line] / np.maximum(expected, 1e-9)
            side = np.sign(ratio - 1)
            most_groups = (side * (relative_means - 1) > 0).mean() > 0.8
            differs = ratio < _FLYBACK or ratio > 1 / _FLYBACK
            if not (
                differs and most_groups and abs(ratio - 1) > SIGNIFICANT * error * max(ratio, 1)
            ):
                break
            doubtful.append(line)
        left_out += doubtful
        if inward == 1:
            bound[0] = edge + len(doubtful)
        else:
            bound[1] = edge + 1 - len(doubtful)
    return sorted(left_out)


def _other_lines(
    counts: NDArray[np.float64], good: NDArray[np.bool_], relative: NDArray[np.float64], axis: int
) -> tuple[NDArray[np.float64], list[int]]:
    """Relative dose of lines that differ from those on both sides, and their numbers."""
    means = _in_groups(counts, good, relative, axis)
    usable = np.flatnonzero(np.isfinite(means).all(1))
    factor = np.ones(len(means))
    if len(usable) < 8:
        return factor, []
    usable_means = means[usable]
    size = good.sum(1 - axis)[usable]
    ratio, sided, relative_means = (
        np.ones(len(usable_means)),
        np.zeros((len(usable_means), 2)),
        np.ones(usable_means.shape),
    )
    for i in range(len(usable_means)):
        lines_before, lines_after = usable_means[max(0, i - 2) : i], usable_means[i + 1 : i + 3]
        neighbours = np.concatenate([lines_before, lines_after])
        expected = np.median(neighbours, axis=0)
        ratio[i] = usable_means[i].mean() / max(float(expected.mean()), 1e-9)
        relative_means[i] = usable_means[i] / np.maximum(expected, 1e-9)
        for side, rows in enumerate((lines_before, lines_after)):
            sided[i, side] = (
                usable_means[i].mean() / max(float(rows.mean()), 1e-9) if len(rows) else np.nan
            )
    spread = 1.4826 * float(np.median(np.abs(ratio - np.median(ratio))))
    error = np.sqrt(1.3 / np.maximum(usable_means.mean(1) * size, 1)) * np.maximum(ratio, 0.3)
    limit = np.maximum(_LINE, SIGNIFICANT * np.maximum(error, spread))
    step = ratio - 1
    differs = np.abs(step) > limit
    sign = np.sign(step)[:, None]
    with np.errstate(invalid="ignore"):
        both_sides = ((sign * (sided - 1) > np.abs(step)[:, None] / 3) | np.isnan(sided)).all(1)
    most_groups = (sign * (relative_means - 1) > 0).mean(1) > 0.8
    chosen = np.flatnonzero(differs & both_sides & most_groups)
    factor[usable[chosen]] = ratio[chosen]
    return factor, usable[chosen].tolist()


def _common(
    counts: NDArray[np.float64], good: NDArray[np.bool_], relative: NDArray[np.float64], axis: int
) -> tuple[NDArray[np.float64], str]:
    """Relative dose common to all parts of the lines along an axis, and a note on it."""
    means = _in_groups(counts, good, relative, axis)
    factor = np.ones(len(means))
    usable = np.isfinite(means).all(1)
    levels = np.nanmean(means[usable], axis=0) if usable.any() else np.zeros(1)
    if usable.sum() < 8 or not (levels > 0).all():
        return factor, ""
    relative_means = means[usable] / levels
    name = "R" + "xy"[axis]
    # A profile of any shape, if every part of the lines follows it.
    profile = relative_means.mean(1)
    noise = float((relative_means - profile[:, None]).var(1, ddof=1).mean()) / _GROUPS
    signal = float(profile.var())
    if signal > max(_PROFILE**2, 9 * noise):
        deviation = profile - profile.mean()
        slopes_on_profile = (relative_means * deviation[:, None]).sum(0) / (deviation**2).sum()
        if (slopes_on_profile > 0.6).all() and (slopes_on_profile < 1.4).all():
            factor[usable] = profile
            return factor, (
                f"the dose changes along {name} from {profile.min():.1%} to {profile.max():.1%} "
                "of its mean, alike in all lines: divided out"
            )
    # There may be a trend together with a specimen that also shows in the totals.
    x = np.linspace(-0.5, 0.5, len(means))[usable]
    x = x - x.mean()
    slopes = (relative_means * x[:, None]).sum(0) / (x**2).sum()
    slope = float(slopes.mean())
    error = float(slopes.std(ddof=1)) / math.sqrt(_GROUPS)
    counting_error = math.sqrt(1 / ((x**2).mean() * max(float(counts[good].sum()), 1.0)))
    alike = (np.sign(slope) * slopes > 0.3 * abs(slope)).all()
    if abs(slope) > max(_TREND, SIGNIFICANT * error, 5 * counting_error) and alike:
        factor = 1 + slope * (np.linspace(-0.5, 0.5, len(means)) - 0.0)
        return factor, (
            f"the dose {'falls' if slope < 0 else 'rises'} by {abs(slope):.1%} along {name} over "
            "the scan, alike in all lines: divided out"
        )
    return factor, ""


# --- Flicker --------------------------------------------------------------------------------------


def _spectrum(totals: NDArray[np.float64], dose: BeamDose) -> NDArray[np.complex128]:
    """Spectrum of the relative totals at high frequencies, of unit power for unit variance."""
    values = totals[dose.part] / dose.relative[dose.part]
    good = ~dose.blank[dose.part]
    values = np.where(good, values / values[good].mean() - 1, 0)
    spectrum = np.fft.fft2(values) / math.sqrt(values.size)
    x, y = (np.abs(np.fft.fftfreq(n)) for n in values.shape)
    high: NDArray[np.complex128] = spectrum[(x[:, None] > 0.1) | (y[None, :] > 0.1)]
    return high


def flicker(totals: NDArray[Any], dose: BeamDose) -> float:
    """Relative variance of totals from position to position beyond counting noise; 0 if none.

    Noise beyond counting noise raises it too: :func:`common_flicker` separates the two.
    """
    counts = np.asarray(totals, dtype=np.float64)
    power = np.abs(_spectrum(counts, dose)) ** 2
    level = float(power.mean())
    good = ~dose.blank[dose.part]
    expected = float((1 / np.maximum(counts[dose.part][good], 1)).mean())
    error = 2 * level / math.sqrt(len(power))
    excess_variance = level - expected
    return excess_variance if excess_variance > max(_FLICKER**2, SIGNIFICANT * error) else 0.0


def halves_of_totals(cube: Datacube, disc: Disc) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Totals of two opposite quadrants of the disc, and of the other two ``(Rx, Ry)``."""
    shape = (cube.patterns.shape[2], cube.patterns.shape[3])
    x, y = (np.arange(n) - c for n, c in zip(shape, disc.centre, strict=True))
    first_half = (x[:, None] * y[None, :] > 0) & disc.mask(shape)
    second_half = ~(x[:, None] * y[None, :] > 0) & disc.mask(shape)
    sums = np.zeros((2, *cube.patterns.shape[:2]))
    for positions, block in cube.read(label="flicker"):
        for half, mask in enumerate((first_half, second_half)):
            sums[half][positions] = block[:, :, mask].sum(2, dtype=np.float64)
    return sums[0], sums[1]


def common_flicker(
    halves: tuple[NDArray[np.float64], NDArray[np.float64]], dose: BeamDose
) -> float:
    """Relative variance between positions that two halves of the disc have in common; 0 if none.

    Noise of any kind is independent in the two halves, and a phase object moves electrons from one
    half to the other. Flicker of the beam is the same in both.
    """
    first_spectrum, second_spectrum = (_spectrum(half, dose) for half in halves)
    common_variance = float((first_spectrum * second_spectrum.conj()).real.mean())
    error = math.sqrt(
        float((np.abs(first_spectrum) ** 2).mean() * (np.abs(second_spectrum) ** 2).mean())
    )
    error /= math.sqrt(len(first_spectrum))
    return common_variance if common_variance > max(_FLICKER**2, SIGNIFICANT * error) else 0.0


def with_flicker(dose: BeamDose, totals: NDArray[Any], variance: float) -> BeamDose:
    """Add the flicker from position to position, as far as counting noise allows."""
    counts = np.asarray(totals, dtype=np.float64)
    values = counts / dose.relative
    good = np.zeros(counts.shape, dtype=bool)
    good[dose.part] = True
    good &= ~dose.blank
    mean = float(values[good].mean())
    noise = float((1 / np.maximum(counts[good], 1)).mean())
    change = variance / (variance + noise) * (values / mean - 1)
    relative = np.where(good, dose.relative * np.maximum(1 + change, _BLANK), 1.0)
    relative[good] /= relative[good].mean()
    note = (
        f"the dose flickers from position to position by {math.sqrt(variance):.1%}, alike in both "
        "halves of the disc: divided out"
    )
    return BeamDose(relative, dose.blank, dose.part, (*dose.notes, note))


def cropped(patterns: Any, part: tuple[slice, slice]) -> Any:
    """Take a part of a scan, sliced on reading. The whole scan is returned unchanged."""
    whole_scan = all(s == slice(0, n) for s, n in zip(part, patterns.shape, strict=False))
    return patterns if whole_scan else ScanPart(patterns, part)


# --- Views ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LevelledCube(Datacube):
    """A datacube whose views are corrected for uneven dose and for a floor.

    Its patterns stay as recorded.

    Parameters
    ----------
    relative : ndarray or None
        Dose of every position, relative to the mean ``(Rx, Ry)``.
    blank : ndarray or None
        Positions without beam ``(Rx, Ry)`` of bool, whose views are interpolated from those around.
    floor : float
        Counts of a detector pixel at every position that are not electrons.
    """

    relative: NDArray[np.float64] | None = None
    blank: NDArray[np.bool_] | None = None
    floor: float = 0.0

    def middle(self, most: int) -> LevelledCube:
        """Crop the scan like :meth:`misr4d.core.datacube.Datacube.middle`, with its dose."""
        cube = super().middle(most)
        assert isinstance(cube, LevelledCube)  # cropped by `replace`
        if cube is self:
            return self
        window = cube.patterns.part  # type: ignore[attr-defined]
        relative = None if self.relative is None else self.relative[window]
        blank = None if self.blank is None else self.blank[window]
        return replace(cube, relative=relative, blank=blank)

    def views(self, acquisition: Acquisition) -> Tensor:
        """Cut views like :meth:`misr4d.core.datacube.Datacube.views`, and level them."""
        return self.levelled(super().views(acquisition), acquisition)

    def floor_of_view(self, acquisition: Acquisition) -> float:
        """Floor in a view, on the views' scale."""
        pixels = round(acquisition.detector_pixel / self.detector_pixel[0]) ** 2
        return self.floor * pixels * acquisition.pixels_per_disc / self.electrons

    def noise(self, level: float, acquisition: Acquisition) -> float:
        """Ratio of the mean variance of a view of this level to that at an even dose."""
        uneven = 1.0 if self.relative is None else float((1 / self.relative).mean())
        return uneven * (1 + self.floor_of_view(acquisition) / level)

    def levelled(self, views: Tensor, acquisition: Acquisition) -> Tensor:
        """Remove floor and uneven dose from recorded views ``(..., Rx, Ry)``, in place."""
        views -= self.floor_of_view(acquisition)
        if self.relative is not None:
            views /= torch.from_numpy(self.relative).to(views)
        if self.blank is not None and self.blank.any():
            _continue(views, self.blank)
        return views

    def recorded(self, views: Tensor, acquisition: Acquisition) -> Tensor:
        """Restore floor and uneven dose; zero where there was no beam."""
        counts = views.clone()
        if self.relative is not None:
            counts *= torch.from_numpy(self.relative).to(views)
        counts += self.floor_of_view(acquisition)
        if self.blank is not None:
            counts[..., torch.from_numpy(self.blank)] = 0
        return counts


def _continue(views: Tensor, blank: NDArray[np.bool_]) -> None:
    """Replace views at blank positions by the harmonic interpolation of those around."""
    blank_positions = np.argwhere(blank)
    blank_index = {tuple(p): i for i, p in enumerate(blank_positions.tolist())}
    nx, ny = blank.shape
    laplacian, boundary = (
        lil_matrix((len(blank_positions),) * 2),
        lil_matrix((len(blank_positions), blank.size)),
    )
    for (x, y), i in blank_index.items():
        neighbours = [(x - 1, y), (x + 1, y), (x, y - 1), (x, y + 1)]
        neighbours = [(a, b) for a, b in neighbours if 0 <= a < nx and 0 <= b < ny]
        laplacian[i, i] = len(neighbours)
        for a, b in neighbours:
            if (a, b) in blank_index:
                laplacian[i, blank_index[a, b]] = -1
            else:
                boundary[i, a * ny + b] = 1
    solver, boundary = splu(laplacian.tocsc()), boundary.tocsr()
    flat = views.reshape(-1, nx * ny)
    at = torch.from_numpy(blank_positions[:, 0] * ny + blank_positions[:, 1])
    for view in flat:
        view[at] = torch.from_numpy(solver.solve(boundary @ view.double().numpy())).to(view)
