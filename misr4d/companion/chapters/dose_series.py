"""Chapter 3, the dose series: what it reconstructs, its figures, tables and words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from misr4d import plotting
from misr4d.companion import bench
from misr4d.companion.bounds import least_shown
from misr4d.companion.cases import best_ptychography, doses_text, program
from misr4d.companion.chapters import dose_curves
from misr4d.companion.chapters.dose_curves import SIGNS, WORDS, Draws
from misr4d.companion.chapters.tables import by_dose, minus, nested, other_measures, table
from misr4d.companion.comparison import Series
from misr4d.companion.dose_claims import SHELL
from misr4d.companion.study import METHODS, UPSAMPLING, Scene, make_scene
from misr4d.companion.study_images import image_of, is_kept, peer_images
from misr4d.learn.learned import card
from misr4d.measure.metrics import dose_to_reach
from misr4d.measure.spectra import RINGS, power_spectrum
from misr4d.measure.summary import plain, select, summarise

__all__ = ["DoseSeries", "seen"]

NETWORKS = ("attention U-Net", "dual path", "informed")
MEASURED = ("summed VBF", "parallax", "direct", *NETWORKS)
PEER = "phaserEM"  # whose images the study holds, of the first draw
SHOWN = ("summed VBF", "parallax", "ptychography", PEER, "direct", *NETWORKS)
LAST = ("attention U-Net", "ptychography", PEER)  # as in the paper, its network over its rival
PART = 0.75  # of each side of an image that is shown
PICKED = 300.0  # e⁻/Å², of the picture that the book opens with and of the second table
MEASURES = ("correlation", "correlation_field", "weighted_frc", "ceiling", "resolution", "lattice")
C1_NETWORK, C1_PTYCHOGRAPHY, C4_PTYCHOGRAPHY = 200.0, 500.0, 1000.0  # e⁻/Å², the paper's §3.2


def fitting(bar: float, width: float) -> float:
    """Length of a scale bar [Å], or a tenth of it where an image is less than twice as wide."""
    return bar if 2 * bar <= width else bar / 10


class DoseSeries:
    """A crystal, a glass and a protein by each method against dose, from the same electrons.

    Parameters
    ----------
    names : sequence of str
        Crystal, glass and protein.
    doses : sequence of float
        Finite [e⁻/Å²]; infinite dose is added.
    rows : sequence of mapping
        The study, which the curves and tables read.

    Attributes
    ----------
    scenes : dict
    every_dose : list of float
        [e⁻/Å²], the last infinite.
    measured : list of dict
        A row for each specimen, method, dose and draw of the page itself.
    images, views : dict
        Of the first draw: ``(X, Y)`` by specimen, method and dose; ``(M, Rx, Ry)`` by specimen
        and dose.
    """

    def __init__(
        self, names: Sequence[str], doses: Sequence[float], rows: Sequence[Mapping[str, Any]]
    ) -> None:
        self.crystal, self.glass, self.protein = names
        self.doses = sorted(doses)
        self.every_dose = [*self.doses, math.inf]
        self.picked = min(self.doses, key=lambda dose: abs(dose - PICKED))
        self.rows = rows
        self.peers = list(dict.fromkeys(r["method"] for r in rows if r["method"] not in METHODS))
        self.programs = ["ptychography", *self.peers]
        self.curved = ["summed VBF", "parallax", *self.programs, "direct", *NETWORKS]
        self.finite = sorted({*self.doses, *(float(row["dose"]) for row in rows)} - {math.inf})
        self.scenes: dict[str, Scene] = {name: make_scene(name) for name in names}
        self.titles = {name: s.specimen.short_title for name, s in self.scenes.items()}
        self.measured: list[dict[str, Any]] = []
        self.images: dict[tuple[str, str, float], Tensor] = {}
        self.views: dict[tuple[str, float], Tensor] = {}
        self.draws = Draws(rows)

    def measure(self, draws: int, seed: int, ptychography_doses: Sequence[float]) -> None:
        """Reconstruct and score every specimen at every dose.

        Parameters
        ----------
        draws : int
            Noise draws at each finite dose.
        seed : int
            Of the first draw.
        ptychography_doses : sequence of float
            Some of the doses, at which the first draw has iterative ptychography [e⁻/Å²], beside
            those of which the study keeps the image.

        Raises
        ------
        ValueError
            If a dose of ptychography is none of the doses.
        """
        if unknown := sorted(set(ptychography_doses) - set(self.every_dose)):
            raise ValueError(
                f"ptychography_doses has {unknown}; expected some of {self.every_dose}"
            )
        stored = peer_images(PEER) if seed == 0 else {}
        for name, scene in self.scenes.items():
            for dose in self.every_dose:
                for draw in range(1 if math.isinf(dose) else draws):
                    measurement = scene.measure(dose, seed + draw)
                    methods = list(MEASURED)
                    if draw == 0:
                        self.views[name, dose] = measurement.views
                        if dose == self.picked and name in (self.crystal, self.protein):
                            methods.append("refined")
                        if dose in ptychography_doses or is_kept("ptychography", measurement, seed):
                            methods.append("ptychography")
                    for method in methods:
                        image = image_of(method, measurement, seed + draw)
                        self._score(image, name, method, dose, draw)
                    if draw == 0 and (name, dose) in stored:
                        self._score(stored[name, dose], name, PEER, dose, draw)
            scene.__dict__.pop("patterns", None)  # they are large
        make_scene.cache_clear()
        self.draws = Draws(self.rows, self.measured)

    def _score(self, image: Tensor, name: str, method: str, dose: float, draw: int) -> None:
        if draw == 0:
            self.images[name, method, dose] = image
        row = {"specimen": name, "method": method, "dose": dose, "draw": draw}
        self.measured.append(row | bench.score_image(image, self.scenes[name]))

    def _shown(self, name: str) -> list[str]:
        """Methods of a specimen's figure, from top to bottom."""
        ran = [m for m in SHOWN if any((name, m, d) in self.images for d in self.every_dose)]
        order = ["direct", *(m for m in ran if m not in ("direct", *LAST)), *LAST]
        return [method for method in order if method in ran]

    def score(self, name: str, method: str, dose: float) -> str:
        """Correlation inside the specimen of the image that is shown."""
        where = {"specimen": name, "method": method, "dose": dose, "draw": 0}
        (value,) = select(self.measured, "correlation", **where)
        return minus(value)

    def absent(self) -> str:
        """Say which doses have no ptychography in the pictures, and how to have it; or nothing."""
        missing = []
        for method in LAST[1:]:
            lacking: dict[str, list[str]] = {}  # specimens by the doses that they lack
            for name, title in self.titles.items():
                doses = [d for d in self.every_dose if (name, method, d) not in self.images]
                if doses:
                    lacking.setdefault(doses_text(doses), []).append(title)
            for at, titles in lacking.items():
                where = "" if len(titles) == len(self.titles) else f" ({', '.join(titles)})"
                missing.append(f"by {program(method)} at {at}{where}")
        if not missing:
            return ""
        return (
            f"Not in these pictures: ptychography {', '.join(missing)}. The study keeps no such image. "
            "`ptychography_doses` asks for py4DSTEM's, which takes minutes each."
        )

    def figure(self, name: str, bar: float) -> Figure:
        """Draw a specimen against dose, a row for each method.

        Parameters
        ----------
        name : str
        bar : float
            Scale bar [Å]; a tenth where that is more than half of the image.
        """
        scene = self.scenes[name]
        field = scene.acquisition.field
        truth, size = plotting.middle(scene.truth - scene.truth.mean(), field, PART)
        pictures, notes = [], []
        for method in self._shown(name):
            row, below = [], []
            for dose in self.every_dose:
                image = self.images.get((name, method, dose))
                row.append(None if image is None else plotting.middle(image, field, PART)[0])
                below.append("" if image is None else self.score(name, method, dose))
            # The truth stands beside direct ptychography, under the same grey limits.
            pictures.append((method, [*row, truth if method == "direct" else None]))
            notes.append([*below, ""])
        labels = [plotting.dose_label(dose) for dose in self.every_dose] + ["truth"]
        bar = fitting(bar, size[1])
        figure = plotting.image_grid(pictures, labels, size, bar=bar, notes=notes)
        for rank, (method, images) in enumerate(pictures):
            axes = figure.axes[rank * len(labels)]
            if images[0] is None:  # a place without an image still names its row
                axes.set_axis_on()
                axes.set(xticks=[], yticks=[], ylabel=method)
                axes.spines[:].set_visible(False)
        return figure

    def hero(self) -> Figure:
        """Draw what the book opens with: the same electrons by every kind of method.

        Of the ptychography programs whose image is there, each specimen has the one that is best in
        the study. Below an image are its correlation inside the specimen and its resolution.
        """
        strip = {
            "attention U-Net": "paper's\nnetwork",
            "direct": "direct\n(no training)",
            "informed": "direct\n+ U-Net",
            "refined": "direct + U-Net,\nrefined",
        }
        figure = Figure(figsize=(7.0, 3.7), layout="constrained")
        grid = figure.subplots(2, len(strip) + 2)
        figure.suptitle(f"the same electrons, {plotting.dose_label(self.picked)}", fontsize=9)
        pair = ((self.crystal, 5.0, 0.5), (self.protein, 50.0, 1.0))
        for row, (name, bar, part) in zip(grid, pair, strict=True):
            scene = self.scenes[name]
            bar = fitting(bar, part * scene.acquisition.field[1])
            there = [m for m in self.programs if (name, m, self.picked) in self.images]
            best = best_ptychography(self.rows, name, self.picked, among=there)
            best = best or next(iter(there), None)  # a study without these has no best
            shown = [
                (label, self.note(name, method), self.images[name, method, self.picked])
                for method, label in strip.items()
            ]
            if best is None:
                row[0].set(xticks=[], yticks=[], title="ptychography\n")
                row[0].text(0.5, 0.5, "not run", ha="center", transform=row[0].transAxes)
            else:
                image = self.images[name, best, self.picked]
                label = f"ptychography\nby {program(best)}"
                shown.insert(0, (label, self.note(name, best), image))
            shown.append(("truth\n", "", scene.truth))
            for axes, (label, note, image) in zip(row[-len(shown) :], shown, strict=True):
                # The middle of the crystal, so that columns can be told apart; limits are its own.
                middle, field = plotting.middle(image, scene.acquisition.field, part)
                bar_here = bar if axes is row[-len(shown)] else None
                plotting.show_image(axes, middle, field, title=label, bar=bar_here)
                axes.set_xlabel(note)
                axes.title.set_fontsize(8)
            kind = "crystal" if name == self.crystal else "protein"
            row[0].set_ylabel(f"{kind}: {scene.specimen.short_title}")
        return figure

    def note(self, name: str, method: str) -> str:
        """Correlation and resolution of an image of the strip."""
        where = {"specimen": name, "method": method, "dose": self.picked, "draw": 0}
        (period,) = select(self.measured, "resolution", **where)
        return f"{self.score(name, method, self.picked)} · {plotting.period_label(period)}"

    def compared(self) -> list[Series]:
        """Images and scores for the page on which a reader compares them."""
        series = []
        for name, scene in self.scenes.items():
            first_draws = [r for r in self.measured if r["specimen"] == name and r["draw"] == 0]
            shown = {
                (m, d): self.images[name, m, d]
                for m in (*SHOWN, "refined")
                for d in self.every_dose
                if (name, m, d) in self.images
            }
            scores = {
                (row["method"], row["dose"]): (
                    row["correlation"],
                    math.inf if row["resolution"] is None else row["resolution"],
                )
                for row in first_draws
            }
            series.append(
                Series(
                    name=name,
                    title=scene.specimen.short_title,
                    field=scene.acquisition.field,
                    bar=fitting(50.0 if name == self.protein else 20.0, scene.acquisition.field[1]),
                    truth=scene.truth,
                    images=shown,
                    scores=scores,
                )
            )
        return series

    def curves(self) -> Figure:
        """Draw correlation and resolution against dose."""
        return dose_curves.curves(
            self.draws, self.scenes, self.curved, self.finite, self.programs, infinite=True
        )

    def correlation_table(self) -> str:
        """Correlation inside the specimen against dose, as a table."""
        return by_dose(self.draws.rows, self.titles, self.curved, self.every_dose)

    def measures_table(self) -> str:
        """Other measures at the dose of the pictures, as a table."""
        return other_measures(self.draws.rows, self.titles, self.curved, self.picked)

    def record(self) -> list[dict[str, Any]]:
        """Every measure of the page's own images."""
        rows = []
        for name, method, dose in self.images:
            where = {"specimen": name, "method": method, "dose": dose}
            values = {key: plain(select(self.measured, key, **where)) for key in MEASURES}
            rows.append({**where, "dose": str(dose), "values": values})
        return rows

    def needed(self, name: str, network: str, dose: float) -> str:
        """Dose at which a network correlates like direct ptychography at `dose`, in words."""
        at = [d for d in self.finite if self.draws.values(name, network, d)]
        if len(at) < 2:
            return "·"  # one dose cannot be interpolated
        curve = torch.tensor([self.draws.median(name, network, d) for d in at])
        target = self.draws.median(name, "direct", dose)
        reached = dose_to_reach(torch.tensor(at), curve, target)
        if math.isinf(reached):
            return f"above {at[-1]:g}"
        return f"below {at[0]:g}" if reached == 0 else f"{reached:.0f}"

    def needed_table(self) -> str:
        """Dose that each network needs for direct ptychography's correlation, as a table."""
        rows = [
            [title, network, *(self.needed(name, network, dose) for dose in self.doses)]
            for name, title in self.titles.items()
            for network in NETWORKS
        ]
        return table(["specimen", "network", *map(plotting.dose_label, self.doses)], rows)

    def lattice_spacing(self) -> float:
        """Period of the crystal's strongest lattice ring [Å]."""
        scene = self.scenes[self.crystal]
        frequency, power, count = power_spectrum(scene.truth, scene.pixel, width=RINGS)
        fine = power * count * (frequency > 1 / bench.LATTICE)
        return 1 / float(frequency[fine.argmax()])


def seen(series: DoseSeries, more: Mapping[float, Sequence[float]], aliases: int) -> str:
    """Write what was seen.

    Parameters
    ----------
    series : DoseSeries
    more : mapping
        Correlation of the protein with the image's aliases solved and with `aliases`, by dose.
    aliases : int
        Along each axis.
    """
    scenes, doses, finite, draws = series.scenes, series.doses, series.finite, series.draws
    crystal, glass, protein = series.crystal, series.glass, series.protein
    values, median, period, needed = draws.values, draws.median, draws.period, series.needed
    programs, curved, picked = series.programs, series.curved, series.picked

    def best_program(name: str, dose: float, column: str) -> str | None:
        return draws.best(programs, name, dose, column)

    first, last = doses[0], doses[-1]
    cases = [(name, dose) for name in scenes for dose in sorted({*finite, math.inf})]

    def called(method: str) -> str:
        return "informed network" if method == "informed" else method

    def ahead(method: str, rival: str, column: str) -> tuple[int, int]:
        """In how many specimens and doses a method's median is ahead, of those where both have one."""
        both = [
            (median(n, method, d, column), median(n, rival, d, column))
            for n, d in cases
            if values(n, method, d) and values(n, rival, d)
        ]
        return sum(SIGNS[column] * a > SIGNS[column] * b for a, b in both), len(both)

    def lead(method: str, rival: str) -> str:
        return ", ".join(
            "by {} in {} of {}".format(WORDS[c], *ahead(method, rival, c)) for c in SIGNS
        )

    def overtakes(method: str, ours: str) -> str:
        """By which measures a ptychography program is ahead of one of our methods, and how often."""
        counts = {column: ahead(method, ours, column) for column in SIGNS}
        return ", ".join(f"by {WORDS[c]} in {n} of {of}" for c, (n, of) in counts.items() if n)

    names = {"direct": "direct ptychography", "informed": "the informed network"}
    rivals = nested(
        f"{program(m)} is ahead of {words} {overtakes(m, ours)} cases"
        for m in programs
        for ours, words in names.items()
        if overtakes(m, ours)
    )
    opening = (
        "* **Where ptychography by another program is ahead**, of the specimens and doses that both "
        f"have:{rivals}\n"
        if rivals
        else ""
    )

    def listed(method: str, dose: float) -> str:
        return ", ".join(f"{median(name, method, dose):.2f}" for name in scenes)

    def lattice_from(method: str) -> float | None:
        """Lowest dose from which on the crystal's lattice ring correlates by a half, if any."""
        lowest = None
        for dose in reversed([d for d in finite if values(crystal, method, d)]):
            if median(crystal, method, dose, "lattice") < 0.5:
                break
            lowest = dose
        return lowest

    turned = {
        m: sum(bool(v) and summarise(v).median > 0.5 for v in flags)
        for m in curved
        if (flags := [values(n, m, d, "inverted") for n, d in cases])
    }
    inverted = "; ".join(
        f"{m} shows the truth with its sign turned in {count} of {len(cases)} specimens and doses"
        for m, count in turned.items()
        if count
    )
    inverted = (
        f"Where a correlation is negative, the truth is inverted: {inverted}." if inverted else ""
    )

    shown_best = {
        name: max(("summed VBF", "parallax"), key=lambda m: abs(median(name, m, first)))
        for name in scenes
    }
    networks = nested(
        f"the {called(m)} correlates by {listed(m, first)}; it is ahead {lead(m, 'direct')} cases"
        for m in NETWORKS
    )
    saved = nested(
        f"the {called(m)} "
        + ", ".join(f"{needed(n, m, last)} on {scenes[n].specimen.short_title}" for n in scenes)
        for m in NETWORKS
    )
    lattice = {m: lattice_from(m) for m in curved if any(values(crystal, m, d) for d in finite)}
    ring_from = ", ".join(
        f"{program(m)} {'at none' if d is None else f'{d:g}'}" for m, d in lattice.items()
    )
    measured_at = [d for d in finite if d >= C1_NETWORK and values(crystal, NETWORKS[0], d)]
    if measured_at:
        held = [m for m in NETWORKS if (d := lattice[m]) is not None and d <= C1_NETWORK]
        without = [m for m in NETWORKS if m not in held]
        c1 = "".join(
            f"At {doses_text(measured_at)} {', '.join(f'the {called(m)}' for m in which)} "
            f"{'has' if len(which) == 1 else 'have'} {word} lattice by this measure. "
            for which, word in ((held, "the"), (without, "no"))
            if which
        ).rstrip()
    else:
        c1 = f"No network was measured at {C1_NETWORK:g} e⁻/Å² or more, so this part is open."
    below = [
        (dose, method)
        for dose in finite
        if dose < C1_PTYCHOGRAPHY and (method := best_program(crystal, dose, "lattice"))
    ]
    if below:
        ring = [median(crystal, m, d, "lattice") for d, m in below]
        c1 += (
            " The best ptychography correlates in this ring by "
            + ", ".join(
                f"{r:.2f} at {d:g} e⁻/Å² ({program(m)})"
                for r, (d, m) in zip(ring, below, strict=True)
            )
            + (": that is a failure." if max(ring) < 0.5 else ": that is no failure.")
        )
    c4 = nested(
        f"{names.get(m, f'the {m}')} {median(protein, m, first):.2f} ({period(protein, m, first)}) to "
        f"{median(protein, m, last):.2f} ({period(protein, m, last)})"
        for m in ("direct", *NETWORKS)
    )
    shell = [  # as claim C4 has it, but dose by dose
        f"{d:g}"
        for d in finite
        if max(values(protein, "direct", d, "resolution"), default=math.inf) <= SHELL
        and median(protein, "direct", d) >= least_shown(protein)
    ]
    c4_ptychography = ", ".join(
        f"{median(protein, m, d):.2f} ({period(protein, m, d)}) at {d:g} e⁻/Å² by {program(m)}"
        for d in finite
        if d < C4_PTYCHOGRAPHY and (m := best_program(protein, d, "resolution"))
    )
    past = {}  # the finest that passes a limit, by specimen and method, and by how many rings
    for name, scene in scenes.items():
        acquisition = scene.acquisition
        limit = max(acquisition.information_limit, acquisition.nyquist_period(UPSAMPLING))
        for method in curved:
            reached = [median(name, method, d, "resolution") for n, d in cases if n == name]
            finest = min((r for r in reached if not math.isnan(r)), default=math.inf)
            if finest < limit:
                rings = (1 / finest - 1 / limit) * max(acquisition.field) / RINGS
                past[name, method] = finest, rings
    if past:
        small = all(excess < 1 for _, excess in past.values())
        limits = (
            "Past them by this measure: "
            + ", ".join(
                f"{m} on {scenes[n].specimen.short_title} ({r:.3f} Å)"
                for (n, m), (r, _) in past.items()
            )
            + (
                ", each by less than a ring's width, which is as finely as this measure can tell."
                if small
                else ": beyond a limit no electron says anything, and a network speaks from its training."
            )
        )
    else:
        limits = "No curve passes them."
    return f"""
Direct ptychography, without any training, correlates with the truth by
{min(median(n, "direct", first) for n in scenes):.2f} or more inside each of the three specimens at {first:g} e⁻/Å².
A {{term}}`draw` is one random counting of the electrons.

{opening}* At {first:g} e⁻/Å² direct ptychography, closed-form and untrained, correlates
  {median(crystal, "direct", first):.2f} with the true phase inside {scenes[crystal].specimen.short_title},
  {median(glass, "direct", first):.2f} inside {scenes[glass].specimen.short_title} and
  {median(protein, "direct", first):.2f} inside {scenes[protein].specimen.short_title}; the better of summed VBF
  and parallax, whatever its sign, reaches
  {", ".join(f"{abs(median(n, shown_best[n], first)):.2f}" for n in scenes)}. {inverted}
* **What the networks change**: their correlation on the three at {first:g} e⁻/Å², and in how many of all cases they
  are ahead of direct ptychography on the same electrons.{networks}
* **Electrons.** The dose [e⁻/Å²] at which a network has direct ptychography's correlation at {last:g}:{saved}
* The attention U-Net is narrower than the paper's and was trained for
  {card("AttentionUNet")["seconds"] / 60:.0f} minutes, so what it lacks is no verdict on the paper's own
  weights.
* **Claim C1** (the network has the lattice of Li₂CoO₃ from {C1_NETWORK:g} e⁻/Å², ptychography fails below
  {C1_PTYCHOGRAPHY:g}). The ring of the crystal's strongest lattice frequencies, at
  {series.lattice_spacing():.2f} Å, correlates with the truth by one half or more from these doses on, in
  e⁻/Å²: {ring_from}. {c1}
* **Claim C4** (the shell of apoferritin sharpens with dose, ptychography is noise until
  {C4_PTYCHOGRAPHY:g} e⁻/Å²). The best ptychography, noise by the claim, has {c4_ptychography or "no row here"}. Without
  a network, by direct ptychography, every draw resolves the wall at {f"{', '.join(shell)} e⁻/Å²" if shell else "no dose"}.
  Correlation inside the specimen and resolution go from {first:g} to {last:g} e⁻/Å²:{c4}
* **More aliases.** Solving {aliases} × {aliases} aliases, all that reach 2α at the protein's
  4 Å step, instead of the {UPSAMPLING} × {UPSAMPLING} of the image changes the correlation from
  {more[picked][0]:.4f} to {more[picked][1]:.4f} at {picked:g} e⁻/Å² and from {more[math.inf][0]:.4f} to
  {more[math.inf][1]:.4f} at infinite dose (first draw). That is not worth
  {aliases**2 / UPSAMPLING**2:.0f} times the unknowns, so the whole study solves the
  {UPSAMPLING} × {UPSAMPLING}.
* **Limits** are λ/2α = {scenes[crystal].acquisition.information_limit:.3f} Å on the crystal and the
  glass, and the output's Nyquist period of
  {scenes[protein].acquisition.nyquist_period(UPSAMPLING):.2f} Å on the protein. {limits} At a 4 Å step
  the ×3 image cannot carry sub-Ångström detail, whoever makes it (claim C9).
"""
