"""Chapter 2, networks and their training: its diagrams, pictures, tables and words."""

from __future__ import annotations

import csv
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator
from safetensors.torch import load_file
from torch import Tensor, nn

from misr4d import plotting
from misr4d.companion import bench
from misr4d.companion.chapters.drawing import SIDE, Sheet, size_of, watch
from misr4d.companion.chapters.tables import table
from misr4d.companion.recorded import Case
from misr4d.companion.study import METHODS, NETWORK_OF, UPSAMPLING, Scene
from misr4d.core.acquisition import REGIMES
from misr4d.learn.configuration import PRESETS, build_network
from misr4d.learn.learned import (
    STUDIED,
    attention_unet,
    card,
    dual_path,
    informed,
    load_network,
    trained_detector,
    training_log,
    view_groups,
)
from misr4d.learn.networks import AttentionUNet
from misr4d.learn.recipes import loss_of, make_batch
from misr4d.learn.training import train
from misr4d.specimens.corpus import draw_specimen
from misr4d.specimens.potential import project_atoms, truth

__all__ = [
    "Scores",
    "architecture",
    "cases",
    "corpus",
    "gates",
    "loss_curves",
    "pictures",
    "score_networks",
    "score_table",
    "seen",
    "shipped_table",
    "small_run",
]

HIGH, ROW = 8.1, 1.47  # inches: the page, one level to the next
COLUMNS = {"views": 0.85, "encoder": 2.55, "gates": 4.35, "decoder": 6.15, "output": 8.2}
TOP = HIGH - 1.35  # inches, height of the first level
GAP, ABOVE = SIDE / 2 + 0.04, SIDE / 2 + 0.24  # from a thumbnail's centre to its edge, its label
SHARE = 0.75  # of each side of an image that is shown
KEYS = ("correlation", "correlation_field", "weighted_frc", "resolution")
# Draws of the training corpus that show its kinds, and their places in the figure.
ATOMIC_DRAWS, MOLECULAR_DRAWS = (2, 4, 5, 7, 9, 12, 13, 21, 24, 29), ((6, 1), (12, 5))


def _published() -> AttentionUNet:
    with torch.device("meta"):  # counted, not made
        network: nn.Module = load_network("AttentionUNet")
        return AttentionUNet(int(network.views))  # type: ignore[arg-type]


def _widths(network: AttentionUNet) -> list[int]:
    return [block[0].out_channels for block in network.encoder]  # type: ignore[index]


def _feature(block: Tensor) -> Tensor:
    """Return the channel with the most structure in the field's middle, where the specimen is."""
    a, b = (n // 4 for n in block.shape[1:])
    inside = block[:, a:-a, b:-b].std((1, 2))
    return block[(inside / block.amax((1, 2)).clamp_min(1e-6)).argmax()]


def _labelled(
    sheet: Sheet,
    image: Tensor,
    x: float,
    y: float,
    label: str = "",
    side: float = SIDE,
    **shown: Any,
) -> Any:
    axes = sheet.picture(image, x, y, side, percent=0.5, **shown)
    sheet.write(x, y + side / 2 + 0.05, label, va="bottom")
    return axes


def architecture(scene: Scene, views: Tensor, dose: float) -> Figure:
    """Draw the shipped attention U-Net from one run: what left each of its parts (Fig. 1b).

    Parameters
    ----------
    scene : Scene
    views : Tensor
        ``(M, Rx, Ry)``, counted.
    dose : float
        For the heading [e⁻/Å²].
    """
    network: Any = load_network("AttentionUNet")
    parts = {
        f"{kind}{level}": part
        for kind in ("encoder", "gates", "decoder")
        for level, part in enumerate(getattr(network, kind))
    }
    parts |= {name: getattr(network, name) for name in ("activation", "shuffle", "head")}
    _, passed = watch(parts, lambda: attention_unet(views, scene.midplane, network=network))
    seen = {name: output[0] for name, (_, output) in passed.items()}
    with torch.inference_mode():
        alphas = [
            gate.attention(*passed[f"gates{level}"][0])[0]
            for level, gate in enumerate(network.gates)
        ]
    sheet = Sheet(9.4, HIGH)
    shown = _body_of_the_network(sheet, scene, views, seen, alphas)
    _head_of_the_network(sheet, scene, seen, len(alphas))
    for key, heading in (
        ("views", f"views of {scene.specimen.short_title}\n{plotting.dose_label(dose)}"),
        ("encoder", "encoder block\none of its channels"),
        ("gates", "attention gate\nα of Eq. 2"),
        ("decoder", "decoder block\none of its channels"),
        ("output", "output\nsub-pixel head"),
    ):
        sheet.write(COLUMNS[key], HIGH - 0.12, heading, va="top", fontsize=8.5)
    left, low = (COLUMNS["gates"] - 0.6) / sheet.width, 0.42 / HIGH
    bar = sheet.figure.add_axes((left, low, 1.2 / sheet.width, 0.1 / HIGH))
    sheet.figure.colorbar(shown.images[0], cax=bar, orientation="horizontal", label="α")
    bar.tick_params(labelsize=7)
    for rank, (owner, model) in enumerate((("here", network), ("in the paper", _published()))):
        millions = sum(p.numel() for p in model.parameters()) / 1e6
        channels = ", ".join(map(str, _widths(model)))
        text = f"channels {owner}:\n{channels}\n{millions:.1f} M parameters"
        sheet.write(COLUMNS["views"] - 0.65, 1.35 - 0.62 * rank, text, va="top", ha="left")
    return sheet.figure


def _body_of_the_network(
    sheet: Sheet, scene: Scene, views: Tensor, seen: Mapping[str, Tensor], alphas: Sequence[Tensor]
) -> Any:
    """Draw views, encoder, gates and decoder; return the last gate's axes."""
    axial = int(scene.acquisition.view_angles.norm(dim=1).argmin())
    left = COLUMNS["views"]
    for rank, number in enumerate((0, len(views) - 1, axial)):
        offset = 0.13 * (1 - rank)
        label = size_of(views) if rank == 0 else ""
        _labelled(sheet, views[number], left + offset, TOP + offset, label)
    sheet.arrow((left + GAP + 0.14, TOP), (COLUMNS["encoder"] - GAP, TOP))
    limits = {
        "vmin": float(min(a.min() for a in alphas)),
        "vmax": float(max(a.max() for a in alphas)),
    }
    x, gate, up = COLUMNS["encoder"], COLUMNS["gates"], COLUMNS["decoder"]
    shown = None
    for level in range(len(alphas) + 1):
        y = TOP - ROW * level
        block = seen[f"encoder{level}"]
        _labelled(sheet, _feature(block), x, y, size_of(block))
        if level == len(alphas):
            break
        sheet.arrow((x, y - GAP), (x, y - ROW + ABOVE), label="max-pool", at=(0.06, 0), side="left")
        alpha = alphas[level]
        shown = _labelled(sheet, alpha[0], gate, y, size_of(alpha), cmap="viridis", **limits)
        block = seen[f"decoder{level}"]
        _labelled(sheet, _feature(block), up, y, size_of(block))
        sheet.arrow((x + GAP, y), (gate - GAP, y), label="x", at=(0, 0.1))
        sheet.arrow((gate + GAP, y), (up - GAP, y), label="x ⊙ α", at=(0, 0.1))
        # From the level below: up-sampled it joins the gated skip, and it is the gate's signal g.
        below = y - ROW / 2 - 0.02
        start = [(up, y - ROW + ABOVE)]
        if level == len(alphas) - 1:
            start = [(x + GAP, y - ROW), (up, y - ROW)]
        sheet.arrow(*start, (up, y - GAP))
        sheet.write(up + 0.06, below, "×2, conv", ha="left", va="center", fontsize=7)
        sheet.arrow((up, below), (gate, below), (gate, y - GAP), label="g", at=(0, 0.09))
    return shown


def _head_of_the_network(
    sheet: Sheet, scene: Scene, seen: Mapping[str, Tensor], levels: int
) -> None:
    """Draw what the sub-pixel head makes of the last decoder block, above the truth."""
    right, big, r = COLUMNS["output"], 1.2, UPSAMPLING
    channels, field = seen["activation"], scene.acquisition.field
    tiled = torch.nn.functional.pad(channels, (1, 1, 1, 1), value=float("nan"))
    tiled = tiled.reshape(r, r, *tiled.shape[1:]).permute(0, 2, 1, 3).flatten(2).flatten(0, 1)
    image = seen["head"][0] - seen["head"].mean()
    centred = scene.truth - scene.truth.mean()
    drawn = (
        (tiled, f"1×1 conv, PReLU: {size_of(channels)}", channels),
        (seen["shuffle"][0], f"PixelShuffle({r}): {size_of(seen['shuffle'])}", seen["shuffle"][0]),
        (image, f"1×1 conv: {size_of(seen['head'])}", image),
        (centred, "truth", centred),
    )
    drop = ROW * levels / 3.45
    for rank, (picture, label, of) in enumerate(drawn):
        y = TOP - drop * rank
        low, high = plotting.display_limits([of], 0.5)
        extent = (0, field[1], field[0], 0)
        axes = _labelled(sheet, picture, right, y, label, big, extent=extent, vmin=low, vmax=high)
        if rank in (1, 2):
            sheet.arrow((right, y + drop - big / 2 - 0.02), (right, y + big / 2 + 0.22))
    plotting.scale_bar(axes, 20.0)
    sheet.arrow((COLUMNS["decoder"] + GAP, TOP), (right - big / 2 - 0.04, TOP))


def _gate_maps(passed: Mapping[str, Any], parts: Mapping[str, Any]) -> list[tuple[str, Any, str]]:
    """Mean over the channels of each gate's maps, with the size of what it gates."""
    maps = [torch.sigmoid(passed[name][1][0]) for name in parts]
    return [(f"gate {size_of(alpha)}", alpha.mean(0), "viridis") for alpha in maps]


def gates(scene: Scene, views: Tensor, dose: float) -> Figure:
    """Draw inputs, gates and outputs of the informed network and, where shipped, the dual path.

    Parameters are those of :func:`architecture`.
    """
    acquisition = scene.midplane
    rows: dict[str, list[tuple[str, Any, str]]] = {}
    model: Any = load_network("DirectInformed")
    parts = {f"gate {level}": gate for level, gate in enumerate(model.body.gates)}
    whole = parts | {"network": model}
    _, passed = watch(whole, lambda: informed(scene.direct, views, network=model))
    given, (mean, deviation) = passed["network"][0][0][0], passed["network"][1]
    rows["informed"] = [
        ("direct estimate", given[0], "gray"),
        ("whitened", given[-1], "gray"),
        *_gate_maps(passed, parts),
        ("image", mean[0], "gray"),
        ("deviation (rad)", deviation[0], "viridis"),
    ]
    group = view_groups(acquisition)[-1]
    if "DualPath" in STUDIED:
        model = load_network("DualPath")
        parts = {f"gate {level}": gate for level, gate in enumerate(model.decoder.gates)}
        whole = parts | {"views": model.weigh[-1], "network": model}
        _, passed = watch(whole, lambda: dual_path(views, acquisition, network=model))
        # A softmax over the views of a group, times their number: one is a fair share.
        share = torch.softmax(passed["views"][1][:, 0], 0) * len(group)
        axial = int(acquisition.view_angles.norm(dim=1).argmin())
        rows["dual path"] = [
            ("axial view", views[axial], "gray"),
            ("share of each view", share.mean((1, 2)), "disc"),
            *_gate_maps(passed, parts),
            ("image", passed["network"][1][0, 0], "gray"),
            ("truth", scene.truth, "gray"),
        ]
    figure = Figure(figsize=(9.4, 1.75 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), 7, squeeze=False)
    for line, (owner, panels) in zip(grid, rows.items(), strict=True):
        for axes, (label, picture, kind) in zip(line, panels, strict=True):
            axes.set(xticks=[], yticks=[])
            axes.set_title(label, fontsize=8)
            if kind == "disc":
                x, y = acquisition.view_angles[group].T
                shown = axes.scatter(y, -x, c=picture, s=9, marker="s", cmap="viridis")
                axes.set(aspect="equal")
                axes.spines[:].set_visible(False)
            elif kind == "gray":
                plotting.show_image(axes, picture, acquisition.field, title=label)
                axes.title.set_fontsize(8)
            else:
                shown = axes.imshow(picture, cmap=kind)
            if kind != "gray":
                scale = figure.colorbar(shown, ax=axes, location="bottom", shrink=0.9, aspect=12)
                scale.ax.tick_params(labelsize=6)
                scale.locator = MaxNLocator(2)
        line[0].set_ylabel(owner)
    plotting.scale_bar(grid[0, 0], 20.0)
    title = f"{scene.specimen.short_title}, {plotting.dose_label(dose)}"
    figure.suptitle(title, fontsize=9)
    return figure


def corpus() -> Figure:
    """Draw the true phase of twelve specimens as the training draws them."""
    figure = Figure(figsize=(9.0, 3.4), layout="constrained")
    places = [(rank + 1 + (rank >= 5), "atomic", n) for rank, n in enumerate(ATOMIC_DRAWS)]
    places += [(place, "molecular", n) for place, n in MOLECULAR_DRAWS]
    barred = set()
    for place, regime, number in places:
        specimen = draw_specimen(regime, 0, number)
        acquisition = REGIMES[regime]
        cell, atoms = specimen.atoms.cell.lengths(), specimen.atoms
        side = (cell[0], cell[1]) if regime == "atomic" else acquisition.field
        pixels = tuple(round(3 * s) for s in side) if regime == "atomic" else (480, 480)
        potential = project_atoms(
            atoms.numbers, atoms.positions, side, (pixels[0], pixels[1]), (cell[2],)
        )
        plotting.show_image(
            figure.add_subplot(2, 6, place),
            truth(potential, acquisition),
            acquisition.field,
            title=f"{specimen.name}, {cell[2] / 10:.1f} nm",
            bar=None if regime in barred else 10.0 if regime == "atomic" else 50.0,
        )
        barred.add(regime)
    return figure


def small_run(preset: str) -> dict[str, Any]:
    """Train one of the presets, and ask for its loss on samples that it did not see.

    Parameters
    ----------
    preset : str
        Of :data:`misr4d.learn.configuration.PRESETS`.

    Returns
    -------
    dict
        ``log`` of (step, loss); ``before`` and ``after`` the run, the mean loss of ten batches of
        its specimens with other electrons.
    """
    config = PRESETS[preset]
    network = build_network(config)

    def mean_loss() -> float:
        network.eval()
        with torch.inference_mode():
            parts = [part for n in range(10) for part in make_batch(config, config.steps + n)]
            return float(torch.stack([loss_of(config, network, part) for part in parts]).mean())

    with tempfile.TemporaryDirectory() as folder:
        weights = load_file(train(config, Path(folder), device="cpu"))
        with (Path(folder) / "log.csv").open(encoding="utf-8", newline="") as file:
            log = [(int(row["step"]), float(row["loss"])) for row in csv.DictReader(file)]
    before = mean_loss()
    network.load_state_dict(weights)
    return {"log": log, "before": before, "after": mean_loss()}


def cases(preset: str = "ci") -> list[Case]:
    """List what the study keeps for the page: arguments are its parameters, as they are there."""
    return [(small_run, {"preset": preset})]


def loss_curves(log: Sequence[tuple[int, float]], preset: str) -> Figure:
    """Draw the loss against step of a page's own run and of the shipped ones.

    Parameters
    ----------
    log : sequence of (int, float)
        Step and loss of the page's run.
    preset : str
        Its name.
    """
    figure = Figure(figsize=(9.0, 2.5), layout="constrained")
    first, *others = figure.subplots(1, 1 + len(STUDIED))
    first.plot(*zip(*log, strict=True), "o-", ms=3, color="#d55e00")
    first.set(title=f"the small run ({preset})", xlabel="step", ylabel="loss")
    for axes, name in zip(others, STUDIED, strict=True):
        rows = training_log(name)
        steps, losses = ([row[key] for row in rows] for key in ("step", "loss"))
        axes.plot(steps, losses, lw=0.9, color="#0072b2")
        axes.set(title=name, xlabel="step", yscale="log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("")
    return figure


def shipped_table() -> str:
    """Size, training and checksum of every shipped network, as a table."""
    rows = []
    for name in STUDIED:
        record = card(name)
        run = record["training"]
        rows.append(
            [
                name,
                f"{record['parameters'] / 1e6:.2f} M",
                f"{run['steps']} × {run['batch']}",
                f"{record['seconds'] / 60:.0f} min, {record['device']}",
                trained_detector(record),
                f"`{record['sha256'][:12]}…`",
            ]
        )
    head = ["network", "parameters", "steps × samples", "trained for", "on views of", "checksum"]
    return table(head, rows)


class Scores:
    """Images of held-out specimens by direct ptychography and the networks, and their scores.

    Attributes
    ----------
    scenes : dict
    doses : list of float
        [e⁻/Å²].
    methods : list of str
        Direct ptychography first.
    images, deviations : dict
        ``(X, Y)`` by specimen, method and dose; by specimen and dose [rad].
    scores : dict
        Of each image, as :func:`misr4d.companion.bench.score_image` returns them.
    """

    def __init__(self, scenes: Mapping[str, Scene], doses: Sequence[float]) -> None:
        self.scenes, self.doses = scenes, list(doses)
        shipped = [m for m, name in NETWORK_OF.items() if name in STUDIED and m != "refined"]
        self.networks = shipped
        self.methods = ["direct", *shipped]
        self.images: dict[tuple[str, str, float], Tensor] = {}
        self.deviations: dict[tuple[str, float], Tensor] = {}
        self.scores: dict[tuple[str, str, float], dict[str, Any]] = {}

    def record(self) -> list[dict[str, Any]]:
        """Rows of specimen, method, dose and measures."""
        return [
            {"specimen": name, "method": label, "dose": dose, **{key: found[key] for key in KEYS}}
            for (name, label, dose), found in self.scores.items()
        ]


def score_networks(scenes: Mapping[str, Scene], doses: Sequence[float], seed: int) -> Scores:
    """Reconstruct and score every specimen at every dose, one draw of each."""
    found = Scores(scenes, doses)
    for name, scene in scenes.items():
        for dose in doses:
            measurement = scene.expose(dose, seed)
            for label in found.methods:
                image = found.images[name, label, dose] = METHODS[label](measurement)
                found.scores[name, label, dose] = bench.score_image(image, scene)
            estimate = informed(scene.direct, measurement.views)
            found.deviations[name, dose] = estimate.deviation
    return found


def pictures(found: Scores) -> Figure:
    """Draw each specimen at each dose by each method, with truth and predicted deviation."""
    columns, doses = len(found.methods) + 2, found.doses
    high = len(found.scenes) * (len(doses) * 7.6 / columns + 0.2)
    figure = Figure(figsize=(9.2, high), layout="constrained")
    parts = figure.subfigures(len(found.scenes), 1, squeeze=False)[:, 0]
    for part, (name, scene) in zip(parts, found.scenes.items(), strict=True):
        field = scene.acquisition.field
        bar = 5.0 if scene.specimen.regime == "atomic" else 50.0
        grid = part.subplots(len(doses), columns, squeeze=False)
        centred = scene.truth - scene.truth.mean()
        limits = plotting.display_limits([centred], 0.5)
        for row, dose in zip(grid, doses, strict=True):
            first = dose == doses[0]
            shown = {label: found.images[name, label, dose] for label in found.methods}
            for axes, (label, image) in zip(
                row, [*shown.items(), ("truth", centred)], strict=False
            ):
                plotting.show_image(
                    axes,
                    *plotting.middle(image, field, SHARE),
                    title=label if first else "",
                    limits=limits,
                    bar=bar if first and label == found.methods[0] else None,
                )
            deviation, size = plotting.middle(found.deviations[name, dose], field, SHARE)
            picture = row[-1].imshow(deviation, cmap="viridis", extent=(0, size[1], size[0], 0))
            row[-1].set(xticks=[], yticks=[], title="deviation (rad)" if first else "")
            part.colorbar(picture, ax=row[-1], fraction=0.046)
            row[0].set_ylabel(plotting.dose_label(dose))
        part.suptitle(scene.specimen.short_title, fontsize=9)
    return figure


def score_table(found: Scores) -> str:
    """Scores of every image, as a table."""

    def entry(name: str, label: str, dose: float) -> str:
        shown = found.scores[name, label, dose]
        fine = math.inf if shown["resolution"] is None else shown["resolution"]
        measures = [f"{shown[key]:.2f}" for key in KEYS[:3]]
        return ", ".join([*measures, plotting.period_label(fine)])

    rows = [
        [scene.specimen.short_title, label, *(entry(name, label, dose) for dose in found.doses)]
        for name, scene in found.scenes.items()
        for label in found.methods
    ]
    return (
        "Correlation {term}`inside the specimen` and over the whole field, ring correlation weighted by the "
        "truth's power, and the finest period up to which every {term}`ring with power` holds; one noise draw:\n\n"
        + table(["specimen", "method", *map(plotting.dose_label, found.doses)], rows)
    )


def seen(found: Scores, before: float, after: float, steps: int) -> str:
    """Write what was seen.

    Parameters
    ----------
    found : Scores
    before, after : float
        Loss of the page's run on the same samples.
    steps : int
        Of that run.
    """
    low = found.doses[0]
    narrow: Any = load_network("AttentionUNet")
    coverage = card("DirectInformed")["calibration"]["coverage"]
    cases = len(found.scenes) * len(found.doses)

    def held(share: float) -> str:
        """Least and largest share of pixels in an interval, over regimes and doses."""
        values = [row["coverage"] for row in coverage if row["share"] == share]
        return f"{min(values):.1%} to {max(values):.1%}"

    def ahead(label: str, key: str) -> int:
        """Cases in which a network is ahead of direct ptychography."""
        pairs = [
            (found.scores[name, label, dose][key], found.scores[name, "direct", dose][key])
            for name in found.scenes
            for dose in found.doses
        ]
        return sum(ours > theirs for ours, theirs in pairs)

    def lowest_dose(label: str) -> str:
        return ", ".join(
            f"{found.scenes[name].specimen.short_title} "
            f"{found.scores[name, 'direct', low]['correlation']:.2f} → "
            f"{found.scores[name, label, low]['correlation']:.2f}"
            for name in found.scenes
        )

    lines = [
        f"* **{label[0].upper() + label[1:]}**, trained for {card(name)['seconds'] / 60:.0f} minutes: correlates "
        f"better inside the specimen than direct ptychography in {ahead(label, 'correlation')} of {cases} "
        f"cases above, and by rings weighted with the truth's power in {ahead(label, 'weighted_frc')}. At {low:g} e⁻/Å², from direct ptychography's "
        f"correlation to its own: {lowest_dose(label)}."
        for label, name in ((label, NETWORK_OF[label]) for label in found.networks)
    ]
    runs = [card("AttentionUNet")["training"], *card("AttentionUNet")["before"]]
    stacks = sum(run["steps"] * run["batch"] for run in runs)
    return (
        f"""
The {{term}}`informed network` correlates better with the truth than {{term}}`direct ptychography` in
{ahead("informed", "correlation")} of {cases} cases of specimens that it never saw, and the paper's network, as trained
here, in {ahead("attention U-Net", "correlation")}.

All scores are of one {{term}}`draw`, which is one random counting of the electrons.

* The small run scatters, because every step meets other specimens and doses. On the same samples its
  loss is {before:.3f} before and {after:.3f} after {steps} steps.
"""
        + "\n".join(lines)
        + f"""
* **The paper's network** is {_widths(narrow)[0]} channels wide here, where the paper's has
  {_widths(_published())[0]}, and saw {stacks} noisy stacks. What it lacks is a
  statement about this training, not about the paper's, which was far longer: whatever the geometry of
  the views gives direct ptychography for nothing, it has to learn.
* The deviation's intervals, calibrated on other draws than they are checked on, hold {held(0.68)} of
  the pixels of specimens like those of the training where 68 % are wanted, and {held(0.95)} where 95 %
  are, depending on regime and dose. What it holds off that distribution is open. What the networks invent is the question of
  the chapter on invention.
"""
    )
