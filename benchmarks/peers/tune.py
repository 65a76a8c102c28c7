"""Tune the peers' settings on draws of the corpus, which no page scores.

    python benchmarks/peers/tune.py [PEER ...]

A peer's settings are tuned for each regime, by coordinate descent at 300 e⁻/Å², and those that
depend on the dose from there at 100 and 1000 e⁻/Å². Score: the mean of the correlation inside the
specimen and of the ring correlation weighted by the truth's power, over two draws of seed 4
(atomic: its first glass and its first crystal between 20 and 30 Å thick; molecular: its first two
proteins of above 10,000 atoms). Of crystals and glasses phaserEM reconstructs the whole field,
because the best smoothing and updates differ from those of a part; of proteins, and quantem of all,
a corner of 32×32 positions, or 24×24 for quantem's iterations, which are the slowest. Epochs are
scored in one run, which is made twice as long until its second half gains less than 0.002. A grid
whose best value is an end is extended. ``--epochs`` settles the epochs of the settings on record
anew, and leaves these alone. Choices and all scores go to ``notebooks/study/peers_tuning.json``; an
interrupted run goes on where it stopped. Scores of other code, counts, versions or draws are never
taken for today's: they lie under the key of what made them.
"""

from __future__ import annotations

import argparse
import inspect
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from environments import HOME, install, versions
from exchange import measure_counts, run_peer
from rows import counts_of, peer_key
from torch import Tensor

from misr4d.companion.bench import GAIN, late_gain
from misr4d.companion.study import place
from misr4d.core.acquisition import UPSAMPLING
from misr4d.core.files import write_whole
from misr4d.core.keys import result_key
from misr4d.measure.metrics import correlation, specimen_mask
from misr4d.measure.spectra import score_rings
from misr4d.specimens.corpus import draw_specimen

SEED = 4  # no training and no other tuning draws from it
DRAWS = {"atomic": (4, 11), "molecular": (1, 2)}
FIRST, *OTHERS = DOSES = (300.0, 100.0, 1000.0)  # e⁻/Å²
# Positions along either axis, of peer and regime.
CORNER = {
    "phaserEM": {"atomic": 64, "molecular": 32},
    "quantem direct": {"atomic": 32, "molecular": 32},
    "quantem": {"atomic": 24, "molecular": 24},
}
OUT = Path(__file__).resolve().parents[2] / "notebooks" / "study" / "peers_tuning.json"
NOTHING = 0.02  # Å of smoothing: a hundredth of the finest period
PARTS = HOME / "tuning"
Settings = dict[str, Any]
Corner = tuple[Path, Tensor, Tensor, tuple[float, float]]

# Of each setting the values tried first, the factor by which the grid is extended, and its natural
# ends. A factor of None: the values are all that there are.
GRID: dict[str, dict[str, tuple[list[Any], float | None, tuple[Any, ...]]]] = {
    "phaserEM": {
        "rate": ([0.005, 0.01, 0.02], 2.0, ()),
        "smoothing": ([0.0, 0.15, 0.3], 2.0, (0.0,)),  # Å
        "updates": ([32, 64, 128], 2.0, (1,)),  # of an epoch
        "positive": ([True, False], None, ()),
        "likelihood": (["poisson", "anscombe"], None, ()),
    },
    "quantem direct": {
        "noise": ([0.025, 0.1, 0.4], 4.0, ()),  # of the program's own estimate; Wiener alone
        "kernel": (["wiener", "obf", "ssb", "wdd"], None, ()),
    },
    "quantem": {
        "rate": ([0.0005, 0.001, 0.002], 2.0, ()),
        "object": (["potential", "pure_phase"], None, ()),
        "positive": ([True, False], None, ()),  # of a potential alone
        "likelihood": (["l2_amplitude", "poisson"], None, ()),
        "smoothing": ([0.0, 0.15, 0.3], 2.0, (0.0,)),
        "updates": ([16, 32, 64], 2.0, (1,)),
    },
}
BEGIN: dict[str, Settings] = {
    "phaserEM": {
        "rate": 0.01,
        "smoothing": 0.15,
        "updates": 64,
        "positive": True,
        "likelihood": "poisson",
    },
    "quantem direct": {"kernel": "wiener", "noise": 0.1},
    "quantem": {
        "rate": 0.001,
        "smoothing": 0.0,
        "updates": 32,
        "positive": True,
        "likelihood": "l2_amplitude",  # its own default
        "object": "potential",
    },
}
AGAIN = {  # what is tuned at the other doses too
    "phaserEM": ("rate", "smoothing", "updates"),
    "quantem direct": ("kernel", "noise"),
    "quantem": ("smoothing",),
}
# Epochs of a run, twice as many where the second half gains; a direct method has none.
EPOCHS = {"phaserEM": 8, "quantem direct": 1, "quantem": 4}


def mean_score(image: Tensor, truth: Tensor, pixel: tuple[float, float], inside: Tensor) -> float:
    """Score that settings are chosen by."""
    rings = score_rings(image, truth, pixel).weighted
    return (correlation(image, truth, within=inside) + rings) / 2


@cache
def counts_made(regime: str, index: int, dose: float, side: int) -> str:
    """Key of the counts of a draw's corner."""
    return counts_of(place, draw_specimen, given=(regime, SEED, index, dose, side))


def scores_made(peer: str, regime: str) -> str:
    """Key of the scores of a peer in a regime, whatever the settings."""
    side = CORNER[peer][regime]
    counts = [counts_made(regime, index, dose, side) for index in DRAWS[regime] for dose in DOSES]
    score = (inspect.getsource(mean_score), correlation, score_rings, specimen_mask)
    return result_key(*score, given=peer_key(peer, counts), data=())


def corner(
    regime: str, index: int, dose: float, side: int
) -> tuple[Path, Tensor, Tensor, tuple[float, float]]:
    """Write a draw's corner; its folder, and truth, mask and pixel size of the ×3 image."""
    folders = {each: PARTS / f"{regime}-{index}-{each:g}-{side}" for each in DOSES}
    scene = place(draw_specimen(regime, SEED, index))
    inside = specimen_mask(scene.truth, scene.pixel)
    part = slice(0, UPSAMPLING * side)
    for each, folder in folders.items():
        measure_counts(folder, counts_made(regime, index, each, side), scene, each, 0, side)
    return folders[dose], scene.truth[part, part], inside[part, part], scene.pixel


class Tuner:
    """Scores of one peer in one regime."""

    def __init__(self, peer: str, regime: str) -> None:
        self.peer, self.regime = peer, regime
        self.made = scores_made(peer, regime)
        self.path = PARTS / f"{peer}-{regime}-{self.made}.json"
        text = self.path.read_text(encoding="utf-8") if self.path.is_file() else "[]"
        self.rows: list[dict[str, Any]] = json.loads(text)
        self._corners: dict[tuple[int, float], Corner] = {}

    def score(self, candidates: Sequence[Settings], dose: float) -> list[tuple[float, int]]:
        """Best mean score over the draws of each, and after how many epochs."""
        epochs = [EPOCHS[self.peer]] * len(candidates)
        while True:
            self.run(candidates, dose, epochs)
            results, lengths, courses = [], [], []
            for settings in candidates:
                rows = [self.on_record(settings, dose, i) for i in DRAWS[self.regime]]
                means = np.mean([row["scores"] for row in rows if row], axis=0)
                best = int(means.argmax())
                results.append((float(means[best]), best + 1))
                lengths.append(len(means))
                courses.append(means)
            # An end of the epochs matters only where the settings may be chosen.
            number = results.index(max(results))
            if late_gain(courses[number]) < GAIN or EPOCHS[self.peer] == 1:
                return results
            epochs = [2 * n if i == number else 1 for i, n in enumerate(lengths)]

    def on_record(self, settings: Settings, dose: float, index: int) -> dict[str, Any] | None:
        """Row of scores after each epoch."""
        label = {"draw": index, "dose": dose, "settings": settings}
        return next((row for row in self.rows if row.items() >= label.items()), None)

    def run(self, candidates: Sequence[Settings], dose: float, epochs: Sequence[int]) -> None:
        """Run what is not on record for as many epochs, all in one process of the peer."""
        tasks: dict[Path, list[dict[str, Any]]] = {}
        for index in DRAWS[self.regime]:
            for settings, count in zip(candidates, epochs, strict=True):
                row = self.on_record(settings, dose, index)
                if row is None or len(row["scores"]) < count:
                    folder = self.corner(index, dose)[0]
                    runs = tasks.setdefault(folder, [])
                    runs.append(settings | {"epochs": list(range(1, count + 1))})
        if not tasks:
            return
        results = dict(zip(tasks, run_peer(self.peer, tasks), strict=True))
        for index in DRAWS[self.regime]:
            folder, truth, inside, pixel = self.corner(index, dose)
            for asked, course in zip(tasks.get(folder, []), results.get(folder, []), strict=True):
                settings = {name: value for name, value in asked.items() if name != "epochs"}
                label = {"draw": index, "dose": dose, "settings": settings}
                scores = [round(mean_score(i, truth, pixel, inside), 4) for i in course.images]
                self.rows = [old for old in self.rows if not old.items() >= label.items()]
                row = label | {"scores": scores, "seconds": round(course.seconds[-1], 1)}
                self.rows.append(row)
                best = int(np.argmax(scores))
                print(self.peer, self.regime, label, scores[best], best + 1, flush=True)
        write_whole(self.path, json.dumps(self.rows))

    def corner(self, index: int, dose: float) -> Corner:
        """Find a draw's corner, which one process makes once."""
        if (index, dose) not in self._corners:
            self._corners[index, dose] = corner(
                self.regime, index, dose, CORNER[self.peer][self.regime]
            )
        return self._corners[index, dose]

    def descend(self, begin: Settings, dose: float, again: bool) -> tuple[Settings, dict[str, Any]]:
        """Improve one setting after the other; the grids that were tried.

        Two rounds at the first dose, the second for numbers alone; one round at the others.
        """
        grid = GRID[self.peer]
        rounds = [[n for n in grid if n in AGAIN[self.peer]]]
        if not again:
            rounds = [list(grid), [n for n in grid if grid[n][1] is not None]]
        chosen, tried = dict(begin), dict[str, Any]()
        for names in rounds:
            for name in names:
                chosen[name], tried[name] = self.bracket(chosen, dose, name)
        return chosen, tried

    def bracket(self, given: Settings, dose: float, name: str) -> tuple[Any, list[Any]]:
        """Best value of one setting; the grid reaches beyond it on both sides."""
        values, factor, ends = GRID[self.peer][name]
        if factor and given != BEGIN[self.peer] | {name: given[name]}:  # later: neighbours alone
            now = given[name]
            near = {type(now)(now / factor), now, type(now)(now * factor)}
            values = [v for v in near if v] if now else [v for v in values if v <= values[1]]
        values = sorted({*values, given[name]}) if factor else list(values)
        while True:
            results = self.score([given | {name: value} for value in values], dose)
            if max(results) == min(results):  # without effect, as Wiener's noise on other kernels
                return given[name], values
            best = values[results.index(max(results))]
            if factor is None or best in ends:
                return best, values
            if best == values[0]:
                lower = type(best)(best / factor)
                # Half of next to nothing is nothing, where a setting has that end.
                values.insert(0, 0.0 if 0.0 in ends and lower < NOTHING else lower)
            elif best == values[-1]:
                values.append(type(best)(best * factor))
            else:
                return best, values


def tune(peer: str, regime: str) -> list[dict[str, Any]]:
    """Choose a peer's settings for a regime: a row for each dose."""
    tuner = Tuner(peer, regime)
    begin = dict(BEGIN[peer])
    choices = []
    for dose in DOSES:
        settings, grids = tuner.descend(begin, dose, dose != FIRST)
        [(score, epochs)] = tuner.score([settings], dose)
        tried = tuner.on_record(settings, dose, DRAWS[regime][0])
        assert tried is not None
        choices.append(
            {
                "peer": peer,
                "regime": regime,
                "dose": dose,
                "settings": settings,
                "epochs": epochs,
                "score": round(score, 4),
                "grids": grids | {"epochs": list(range(1, len(tried["scores"]) + 1))},
            }
        )
        if dose == FIRST and set(AGAIN[peer]) < set(GRID[peer]):  # else each dose begins afresh
            begin = settings
    return choices


def settle(peer: str, regime: str) -> list[dict[str, Any]]:
    """Choose the epochs of a peer's settings on record anew."""
    tuner = Tuner(peer, regime)
    record = json.loads(OUT.read_text(encoding="utf-8"))
    if not tuner.rows and record.get("made", {}).get(f"{peer}, {regime}") == tuner.made:
        tuner.rows = record["scores"][f"{peer}, {regime}"]
        write_whole(tuner.path, json.dumps(tuner.rows))
    choices = []
    for row in record["choice"]:
        if (row["peer"], row["regime"]) == (peer, regime):
            [(score, epochs)] = tuner.score([row["settings"]], row["dose"])
            tried = tuner.on_record(row["settings"], row["dose"], DRAWS[regime][0])
            assert tried is not None
            grids = row["grids"] | {"epochs": list(range(1, len(tried["scores"]) + 1))}
            choices.append(row | {"epochs": epochs, "score": round(score, 4), "grids": grids})
    return choices


def write(peer: str, regime: str, choices: list[dict[str, Any]]) -> None:
    """Put a peer's choices for a regime on record, beside those of others."""
    record = json.loads(OUT.read_text(encoding="utf-8")) if OUT.is_file() else {}
    name, tuner = f"{peer}, {regime}", Tuner(peer, regime)
    others = [
        row for row in record.get("choice", []) if (row["peer"], row["regime"]) != (peer, regime)
    ]
    record = {
        "command": "python benchmarks/peers/tune.py",
        "score": "mean of correlation inside the specimen and power-weighted ring correlation",
        "seed": SEED,
        "draws": DRAWS,
        "corner": CORNER,
        "natural ends": {
            name: {setting: ends for setting, (_, _, ends) in grid.items() if ends}
            | ({"epochs": [1]} if EPOCHS[name] > 1 else {})
            for name, grid in GRID.items()
        },
        "alternatives": {
            name: [setting for setting, (_, factor, _) in grid.items() if factor is None]
            + (["epochs"] if EPOCHS[name] == 1 else [])
            for name, grid in GRID.items()
        },
        "versions": record.get("versions", {}) | {peer: versions(peer)},
        "choice": sorted([*others, *choices], key=lambda row: (row["peer"], row["regime"])),
        "made": record.get("made", {}) | {name: tuner.made},
        "scores": record.get("scores", {}) | {name: tuner.rows},
    }
    write_whole(OUT, json.dumps(record, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("peers", nargs="*", metavar="PEER", help=f"of {', '.join(GRID)}")
    parser.add_argument("--regime", choices=DRAWS, help="one alone")
    parser.add_argument("--epochs", action="store_true", help="of the settings on record alone")
    given = parser.parse_args()
    if unknown := [name for name in given.peers if name not in GRID]:
        parser.error(f"unknown peer {unknown[0]!r}; known: {', '.join(GRID)}")
    torch.set_num_threads(1)
    for peer in given.peers or GRID:
        install(peer)
        for regime in [given.regime] if given.regime else DRAWS:
            choices = settle(peer, regime) if given.epochs else tune(peer, regime)
            write(peer, regime, choices)
            for row in choices:
                print({k: v for k, v in row.items() if k != "grids"}, flush=True)


if __name__ == "__main__":
    main()
