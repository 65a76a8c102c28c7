"""Chapter 7, thirteen specimens: its galleries, tables and words."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ase.data.colors import jmol_colors
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from tqdm import tqdm

from misr4d import plotting
from misr4d.companion import bench
from misr4d.companion.chapters.tables import by_dose, other_measures, table
from misr4d.companion.study import METHODS, SIMULATION, Measurement, Scene, make_scene
from misr4d.companion.study_images import GALLERY, kept_image
from misr4d.core.acquisition import REGIMES, Acquisition
from misr4d.measure.summary import plain, select, summarise
from misr4d.simulate.patterns import camera_pixel
from misr4d.specimens.catalogue import SPECIMENS, Specimen, describe

__all__ = ["CRYSTALS", "Specimens", "parameter_table", "seen"]

CRYSTALS = ("MoS2", "AlPO", "NCM", "CaTiO3", "Li2CoO3")
OTHERS = ("correlation_field", "weighted_frc", "ceiling", "resolution", "last_ring")


def draw_atoms(axes: Axes, sample: Specimen, field: tuple[float, float]) -> None:
    """Draw atoms in a field's middle seen along the beam, coloured by element, entrance nearest.

    Parameters
    ----------
    axes : Axes
    sample : Specimen
    field : (float, float)
        What is shown [Å].
    """
    atoms = sample.atoms
    side = atoms.cell.lengths()[:2]
    low, high = (side - field) / 2, (side + field) / 2
    r = atoms.positions
    inside = ((r[:, :2] >= low) & (r[:, :2] <= high)).all(1) & (atoms.numbers > 1)
    order = r[inside, 2].argsort()[::-1]
    xy, numbers = r[inside][order, :2], atoms.numbers[inside][order]
    size = (6.0 if sample.regime == "atomic" else 0.25) * (side[0] / field[0]) ** 2
    axes.scatter(xy[:, 1], xy[:, 0], s=size, c=jmol_colors[numbers], edgecolors="k", linewidths=0.1)
    axes.set(xlim=(low[1], high[1]), ylim=(high[0], low[0]), xticks=[], yticks=[], aspect="equal")
    for spine in axes.spines.values():
        spine.set_visible(False)


class Specimens:
    """Every specimen by the fast methods: images at one dose, scores at several.

    Scores and images are the study's. What it lacks is made here, of the electrons that the study
    would count: half a minute for the patterns of a specimen, then seconds for each dose and draw.

    Parameters
    ----------
    rows : sequence of mapping
        The study, of every specimen, as :func:`misr4d.companion.bench.read_study` returns it.
    dose : float
        Of the pictures [e⁻/Å²].
    doses : sequence of float
        Finite, of the tables [e⁻/Å²]; infinite dose is added.
    draws, seed : int
        Noise draws, and the seed of the first.
    names : sequence of str
        By default every specimen.

    Attributes
    ----------
    rows : list of dict
        One for each specimen, method, dose and draw.
    measured : int
        How many of them the study lacks.
    images : dict
        ``(X, Y)`` [rad] of the first draw, by specimen and method, and of the truth.
    """

    def __init__(
        self,
        rows: Sequence[Mapping[str, Any]],
        dose: float,
        doses: Sequence[float],
        draws: int,
        seed: int,
        names: Sequence[str] = SPECIMENS,
    ) -> None:
        self.dose, self.draws, self.levels = dose, draws, (*doses, math.inf)
        self.names, self.measured = names, 0
        self.rows: list[Mapping[str, Any]] = []
        self.specimens: dict[str, Specimen] = {}
        self.images: dict[tuple[str, str], Tensor] = {}
        electrons = [
            (level, 0 if math.isinf(level) else seed + draw)
            for level in dict.fromkeys((dose, *self.levels))
            for draw in range(1 if math.isinf(level) else draws)
        ]
        study = {
            (row["specimen"], row["method"], float(row["dose"]), row["seed"]): row
            for row in rows
            if row["method"] in bench.FAST and row["thickness"] is None
        }
        with tqdm(total=len(names) * len(electrons), unit="measurement", disable=None) as bar:
            for name in names:
                scene = make_scene(name)
                self.specimens[name] = scene.specimen
                self.images[name, "truth"] = scene.truth - scene.truth.mean()
                for level, drawn in electrons:
                    self._gather(scene, level, drawn, study, (level, drawn) == electrons[0])
                    bar.update()
                scene.__dict__.pop("patterns", None)  # they are large
        make_scene.cache_clear()
        self.titles = {name: sample.short_title for name, sample in self.specimens.items()}
        atomic = [name for name, s in self.specimens.items() if s.regime == "atomic"]
        self.disordered = [name for name in atomic if name not in CRYSTALS]
        self.proteins = [name for name in self.specimens if name not in atomic]

    def _gather(
        self,
        scene: Scene,
        level: float,
        seed: int,
        study: Mapping[tuple[str, str, float, int], Mapping[str, Any]],
        pictured: bool,
    ) -> None:
        """Take scores, and images if pictured, from the study; make those that it lacks."""
        name = scene.specimen.name
        pictures = {m: kept_image(m, name, level, seed) for m in GALLERY if pictured}
        rows = {m: study.get((name, m, level, seed)) for m in bench.FAST}
        measurement: Measurement | None = None
        for method, row in rows.items():
            image = pictures.get(method)
            if row is None or (method in pictures and image is None):
                if measurement is None:
                    measurement = scene.measure(level, seed)
                image = METHODS[method](measurement)
            if row is None:
                assert image is not None
                row = {"specimen": name, "method": method, "dose": level, "seed": seed}
                row |= bench.score_image(image, scene)
                self.measured += 1
            self.rows.append(row)
            if pictured and image is not None:
                self.images[name, method] = image

    def values(self, name: str, method: str, level: float, key: str) -> list[float]:
        """One value for each draw."""
        return select(self.rows, key, specimen=name, method=method, dose=level)

    def median(self, name: str, method: str, level: float, key: str = "correlation") -> float:
        """Median of the draws."""
        return summarise(self.values(name, method, level, key)).median

    def gallery(self, names: Sequence[str], part: float, bar: float) -> Figure:
        """Draw a column for each specimen: atoms, reconstructions and true phase of its middle.

        Parameters
        ----------
        names : sequence of str
        part : float
            Of each side that is shown.
        bar : float
            Scale bar [Å].
        """
        labels = ("atoms", *GALLERY, "true phase")
        size = (1.6 * len(names), 1.6 * len(labels) + 0.3)
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(len(labels), len(names), squeeze=False)
        for name, panels in zip(names, grid.T, strict=True):
            specimen = self.specimens[name]
            whole = REGIMES[specimen.regime].field
            cut = [plotting.middle(self.images[name, m], whole, part) for m in (*GALLERY, "truth")]
            truth, field = cut[-1]
            limits = plotting.display_limits([truth], 0.5)
            draw_atoms(panels[0], specimen, field)
            panels[0].set_title(textwrap.fill(specimen.short_title, 18))
            for axes, (image, _) in zip(panels[1:], cut, strict=True):
                first = name == names[0] and axes is panels[1]
                plotting.show_image(axes, image, field, limits=limits, bar=bar if first else None)
        for axes, label in zip(grid[:, 0], labels, strict=True):
            axes.set_ylabel(label)
        return figure

    def sources(self) -> str:
        """Say how many scores are the study's, and how many the page's own."""
        if not self.measured:
            return f"All {len(self.rows)} scores are the study's."
        return (
            f"Of {len(self.rows)} scores {len(self.rows) - self.measured} are the study's; the "
            "others were measured for this page."
        )

    def correlation_table(self) -> str:
        """Correlation inside each specimen against dose, as a table."""
        return by_dose(self.rows, self.titles, bench.FAST, self.levels)

    def measures_table(self) -> str:
        """Other measures at the dose of the pictures, as a table."""
        return other_measures(self.rows, self.titles, bench.FAST, self.dose, OTHERS)

    def specimen_table(self) -> str:
        """Write formula, thickness, source and licence of each, beside direct ptychography's score."""

        def direct(name: str, level: float) -> str:
            period = plotting.period_label(self.median(name, "direct", level, "resolution"))
            return f"{self.median(name, 'direct', level):.2f}, {period}"

        rows = [
            [
                f"`{name}`",
                specimen.title,
                describe(specimen)["formula"],
                f"{specimen.thickness:.0f}",
                direct(name, self.dose),
                direct(name, math.inf),
                specimen.source,
                specimen.licence,
            ]
            for name, specimen in self.specimens.items()
        ]
        measured = f"direct at {self.dose:g} e⁻/Å²: correlation inside, resolution"
        head = ["name", "specimen", "formula", "thickness (Å)", measured, "at ∞"]
        return table([*head, "source", "licence"], rows)

    def record(self) -> dict[str, Any]:
        """Everything that was measured."""
        keys = ("correlation", "correlation_field", "resolution", "weighted_frc")
        return {
            "dose": self.dose,
            "draws": self.draws,
            "table": [
                {
                    "specimen": n,
                    "method": m,
                    "dose": str(d),
                    "values": {key: plain(self.values(n, m, d, key)) for key in keys},
                }
                for n in self.names
                for m in bench.FAST
                for d in self.levels
            ],
        }


def parameter_table() -> str:
    """Every parameter of the simulations and where it comes from, as a table."""
    atomic, molecular = REGIMES["atomic"], REGIMES["molecular"]

    def both(what: str, form: Callable[[Acquisition], str], origin: str) -> list[str]:
        return [what, form(atomic), form(molecular), origin]

    parameters = [
        both("energy", lambda a: f"{a.energy / 1e3:g} keV", "paper §2.3"),
        both("convergence semi-angle", lambda a: f"{a.semiangle:g} mrad", "paper §2.3"),
        both("positions", lambda a: f"{a.scan_shape[0]} × {a.scan_shape[1]}", "paper §2.3"),
        both(
            "scan step",
            lambda a: f"{a.step[0]:g} Å",
            "molecular: paper §2.3; atomic: our choice, so that crystals are true to scale (the released "
            "code declares atoms ten times too large)",
        ),
        both(
            "defocus at the entrance",
            lambda a: f"{a.defocus:g} Å",
            "molecular: paper §2.3; atomic: our choice, views displaced by about as many scan steps",
        ),
        both(
            "detector pixel",
            lambda a: f"{a.detector_pixel:.2f} mrad",
            "our choice; where whole patterns are simulated, three of their pixels, "
            f"{camera_pixel(atomic.wavelength):.2f} mrad",
        ),
        both(
            "views",
            lambda a: f"{a.number_of_views}",
            "follows ({ref}`other pages <views-per-page>`); the released code takes 32 × 32",
        ),
        [
            "wave-field sampling",
            *(f"{SIMULATION[k][0]:.3f} Å" for k in ("atomic", "molecular")),
            "our choice, so that the probe is whole (released code: 1 Å, which cuts it)",
        ],
        [
            "slice thickness",
            *(f"{SIMULATION[k][1]:g} Å" for k in ("atomic", "molecular")),
            "our choice",
        ],
        ["thickness", "20 Å", "the molecule's own", "paper Fig. 4 (2 nm; 16.1 nm for apoferritin)"],
        ["vacuum around", "10 Å", "to the edge of the field", "our choice"],
        ["up-sampling", "3", "3", "paper §2.1.1"],
        [
            "atomic potentials",
            "Lobato, independent atoms",
            "the same",
            "our choice, abTEM's default",
        ],
        [
            "dose",
            "e⁻/Å² on the specimen",
            "the same",
            "paper (released code: electrons per position)",
        ],
    ]

    return table(["parameter", "atomic", "molecular", "origin"], parameters)


def seen(page: Specimens) -> str:
    """Write what was seen."""
    dose = page.dose

    def extent(method: str, level: float = dose) -> str:
        worst, *_, best = sorted(page.names, key=lambda name: page.median(name, method, level))
        return " and ".join(
            f"{page.median(name, method, level):.2f} ({page.titles[name]})"
            for name in (worst, best)
        )

    highest = dict.fromkeys(bench.FAST, 0)
    for name in page.names:
        highest[max(bench.FAST, key=lambda m: page.median(name, m, dose))] += 1
    lowest = [
        f"{page.titles[n]} ({page.median(n, 'direct', dose):.2f})"
        for n in sorted(page.names, key=lambda name: page.median(name, "direct", dose))[:3]
    ]
    ahead = {
        method: sum(
            page.median(n, method, dose) > page.median(n, "direct", dose) for n in page.names
        )
        for method in ("attention U-Net", "informed")
    }
    return f"""
At {dose:g} e⁻/Å² the informed network is ahead of direct ptychography on {ahead["informed"]} of {len(page.names)} specimens,
and the paper's network, as trained here, on {ahead["attention U-Net"]}, by correlation inside the specimen.

* At {dose:g} e⁻/Å² the paper's network correlates between {extent("attention U-Net")} inside the specimen, the
  informed network between {extent("informed")}, direct ptychography, which is untrained,
  between {extent("direct")}; at infinite dose the last between {extent("direct", math.inf)}.
* Of the fast methods, highest in correlation inside at {dose:g} e⁻/Å²:
  {", ".join(f"{m} on {n}" for m, n in highest.items() if n)} of {len(page.names)} specimens.
  Direct ptychography is lowest on {", ".join(lowest)}. The phase of a small protein lies at low frequencies, where
  defocused {{term}}`views <virtual bright field>` transfer little.
* Along the beam a glass or a polymer 20 Å thick is a superposition of layers: a resolved spot is
  seldom an atom, and no picture of this kind shows the disorder in three dimensions.
* **Claim C8** says that one trained network serves all of these and adds nothing false. How well each is
  served is in the table; what is false is counted in {{doc}}`11_invention`, where the answer is known.
"""
