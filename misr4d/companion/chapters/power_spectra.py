"""Chapter 5, power spectra and ring correlation: what it measures, its figures and words."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from torch import Tensor

from misr4d import plotting
from misr4d.companion.chapters.tables import spread, table
from misr4d.companion.study import METHODS, Measurement, Scene, make_scene
from misr4d.companion.study_images import image_of
from misr4d.core.dose import expose
from misr4d.measure.snr import shot_noise_bound, spectral_snr
from misr4d.measure.spectra import (
    RINGS,
    fourier_ring_correlation,
    half_bit_threshold,
    highest_resolvable_frequency,
    power_spectrum,
    resolution,
    ring_mean,
    score_rings,
)
from misr4d.measure.summary import plain, summarise

__all__ = ["Spectra", "seen"]

NETWORKS = ("attention U-Net", "dual path", "informed")
SHOWN = ("summed VBF", "parallax", "ptychography", "direct", *NETWORKS)
LINEAR = ("summed VBF", "parallax", "direct")  # their noise is the same with and without specimen
DRAWN = ("truth", "ptychography", "direct", *NETWORKS)
DEPTH = 6.0  # decades of power that are shown
KEYS = ("highest_frequency", "resolution", "last_ring", "weighted_frc")


class Spectra:
    """Three specimens by each method at one dose, their halves, draws, and an empty scan.

    Parameters
    ----------
    names : sequence of str
        Specimens.
    dose : float
        [e⁻/Å²].
    draws, seed : int
        Noise draws, of ptychography one; the seed of the first.

    Notes
    -----
    images, halves, empty : dict
        By specimen and method: ``(X, Y)`` of the first draw, of its two halves, of an empty scan.
    values : dict
        Measures of each draw, by specimen, method and measure.
    period : dict
        Half-bit resolution between half-sets [Å], by specimen and method.
    empty_frequency : dict
        Highest frequency of an empty scan's power spectrum [Å⁻¹], by specimen and method.
    share : dict
        Of the bound by counting noise that direct ptychography reaches, by specimen.
    """

    def __init__(self, names: Sequence[str], dose: float, draws: int, seed: int) -> None:
        self.dose = dose
        self.scenes: dict[str, Scene] = {name: make_scene(name) for name in names}
        self.images: dict[tuple[str, str], Tensor] = {}
        self.halves: dict[tuple[str, str], list[Tensor]] = {}
        self.stacks: dict[tuple[str, str], list[Tensor]] = {}
        self.empty: dict[tuple[str, str], Tensor] = {}
        self.values: dict[tuple[str, str, str], list[float]] = {}
        for name, scene in self.scenes.items():
            for draw in range(draws):
                self._measure(name, draw, seed)
            # An empty scan: every lit pixel expects its share, nothing else.
            acquisition, generator = scene.acquisition, torch.Generator().manual_seed(seed)
            noisy = expose(acquisition.vacuum_views, acquisition, dose, generator)
            vacuum = Measurement(scene, dose, None, noisy)
            for method in (*LINEAR, *NETWORKS):
                self.empty[name, method] = METHODS[method](vacuum)
        self.empty_frequency = {
            key: self._highest(image, key[0])
            for key, image in self.empty.items()
            if key[1] != "summed VBF"
        }
        self.period: dict[tuple[str, str], float] = {}
        for (name, method), (first, second) in self.halves.items():
            scene = self.scenes[name]
            counting = score_rings(self.images[name, method], scene.truth, scene.pixel).counting
            frequency, curve, count = fourier_ring_correlation(
                first, second, scene.pixel, width=RINGS
            )
            self.period[name, method] = resolution(
                frequency, curve, half_bit_threshold(count), counting=counting
            )
        self.share: dict[str, float] = {}

    def _highest(self, image: Tensor, name: str) -> float:
        spectrum = power_spectrum(image, self.scenes[name].pixel, width=RINGS)
        return highest_resolvable_frequency(*spectrum)

    def _measure(self, name: str, draw: int, seed: int) -> None:
        scene = self.scenes[name]
        measurement = scene.measure(self.dose, seed + draw)
        for method in SHOWN:
            if method == "ptychography" and draw:
                continue
            image = image_of(method, measurement, seed + draw)
            rings = score_rings(image, scene.truth, scene.pixel)
            top = self._highest(image, name)
            measures = (top, rings.resolution, rings.last_ring, rings.weighted)
            for key, value in zip(KEYS, measures, strict=True):
                self.values.setdefault((name, method, key), []).append(value)
            if method in LINEAR:
                self.stacks.setdefault((name, method), []).append(image)
            if draw == 0:
                self.images[name, method] = image
                if method != "ptychography":
                    assert measurement.halves is not None
                    self.halves[name, method] = [METHODS[method](h) for h in measurement.halves]

    def power_figure(self) -> Figure:
        """Draw isotropic power spectra, with those of empty scans (Suppl. Fig. 3)."""
        figure = Figure(figsize=(9.2, 5.6), layout="constrained")
        grid = figure.subplots(2, len(self.scenes), sharex="col")
        handles: dict[str, Any] = {}
        for column, (name, scene) in enumerate(self.scenes.items()):
            frequency, true_power, _ = power_spectrum(scene.truth, scene.pixel, width=RINGS)
            level = float(true_power.max())
            for axes, methods in zip(
                grid[:, column], (SHOWN[:4], ("direct", *NETWORKS)), strict=True
            ):
                handles["truth"] = axes.semilogy(frequency, true_power, color="black")[0]
                for method in methods:
                    colour = plotting.METHOD_COLOURS[method]
                    power = self._power(self.images[name, method], scene)
                    (handles[method],) = axes.semilogy(*power, color=colour)
                    if (name, method) in self.empty_frequency:
                        power = self._power(self.empty[name, method], scene)
                        axes.semilogy(*power, ":", color=colour)
                axes.set(ylim=(1e-8 * level, 5 * level))
                _mark_limits(axes, scene)
            grid[0, column].set_title(scene.specimen.short_title)
            grid[1, column].set_xlabel("spatial frequency (Å⁻¹)")
        for axes, kind in zip(
            grid[:, 0], ("without training", "networks, and direct"), strict=True
        ):
            axes.set_ylabel(f"{kind}\npower density (units² Å²)")
        order = handles.values(), handles.keys()
        figure.legend(*order, loc="outside lower center", ncols=4, fontsize=7)
        return figure

    def _power(self, image: Tensor, scene: Scene) -> tuple[Tensor, Tensor]:
        frequency, power, _ = power_spectrum(image, scene.pixel, width=RINGS)
        return frequency, power.clamp_min(1e-12)

    def plane_figure(self) -> Figure:
        """Draw power spectra in two dimensions, each as a share of its maximum."""
        figure = Figure(figsize=(9.2, 4.9), layout="constrained")
        grid = figure.subplots(len(self.scenes), len(DRAWN), squeeze=False)
        for row, (name, scene) in zip(grid, self.scenes.items(), strict=True):
            top, aperture = 0.5 / max(scene.pixel), 1 / scene.acquisition.information_limit
            for axes, method in zip(row, DRAWN, strict=True):
                image = scene.truth if method == "truth" else self.images[name, method]
                spectrum = torch.fft.fft2(image.double() - image.double().mean()).abs().square()
                log_power = (
                    torch.fft.fftshift(spectrum / spectrum.max()).clamp_min(10**-DEPTH).log10()
                )
                extent = (-top, top, top, -top)
                picture = axes.imshow(log_power, cmap="magma", vmin=-DEPTH, vmax=0, extent=extent)
                axes.set(xticks=[], yticks=[], title=method if row is grid[0] else "")
                if aperture < top:
                    axes.add_patch(
                        Circle((0, 0), aperture, fill=False, color="white", ls="--", lw=0.6)
                    )
                if method == DRAWN[0]:
                    plotting.scale_bar(axes, 0.2 if aperture > top else 0.5, "")
            row[0].set_ylabel(textwrap.fill(scene.specimen.short_title, 16))
        figure.colorbar(picture, ax=grid, shrink=0.5, label="log₁₀ of the share of the maximum")
        figure.suptitle(plotting.dose_label(self.dose), fontsize=9)
        return figure

    def ring_figure(self) -> Figure:
        """Draw ring correlation with the truth and between half-sets."""
        figure = Figure(figsize=(9.2, 5.4), layout="constrained")
        grid = figure.subplots(2, len(self.scenes), sharex="col")
        for column, (name, scene) in enumerate(self.scenes.items()):
            top, bottom = grid[:, column]
            for method in SHOWN:
                colour = plotting.METHOD_COLOURS[method]
                rings = score_rings(self.images[name, method], scene.truth, scene.pixel)
                # Interpolating the summed bright field does not raise its Nyquist frequency.
                finest = scene.acquisition.step if method == "summed VBF" else scene.pixel
                shown = rings.frequency <= 0.5 / max(finest)
                top.plot(rings.frequency[shown], rings.curve[shown], color=colour, label=method)
                if (name, method) in self.halves:
                    first, second = self.halves[name, method]
                    frequency, curve, count = fourier_ring_correlation(
                        first, second, scene.pixel, width=RINGS
                    )
                    bottom.plot(frequency[shown], curve[shown], color=colour)
            top.axhline(0.5, color="0.6", lw=0.8, ls=":")
            half = float(rings.frequency[1] - rings.frequency[0]) / 2
            for axes in (top, bottom):
                for q in rings.frequency[~rings.counting].tolist():
                    axes.axvspan(q - half, q + half, color="0.94", lw=0, zorder=0)
            threshold = half_bit_threshold(count)
            bottom.plot(frequency, threshold, color="0.3", lw=0.8, ls="--", label="½ bit")
            bottom.axhline(0.143, color="0.6", lw=0.8, ls=":", label="0.143")
            for axes in (top, bottom):
                axes.set_ylim(top=1.02)
                _mark_limits(axes, scene)
            top.set_title(scene.specimen.short_title)
            bottom.set_xlabel("spatial frequency (Å⁻¹)")
        grid[0, 0].set_ylabel("ring correlation\nwith the truth")
        grid[1, 0].set_ylabel("ring correlation\nbetween half-sets")
        handles = [axes.get_legend_handles_labels() for axes in grid[:, 0]]
        both = (a + b for a, b in zip(*handles, strict=True))
        figure.legend(*both, loc="outside lower center", ncols=5, fontsize=7)
        return figure

    def snr_figure(self) -> Figure:
        """Draw the spectral signal to noise of linear methods, and the bound by counting noise."""
        figure = Figure(figsize=(9.2, 3.0), layout="constrained")
        grid = figure.subplots(1, len(self.scenes))
        for axes, (name, scene) in zip(grid, self.scenes.items(), strict=True):
            bound = shot_noise_bound(scene.direct, scene.truth, self.dose)
            frequency, allowed, _ = ring_mean(bound, scene.pixel, width=RINGS)
            axes.semilogy(frequency, allowed.clamp_min(1e-6), color="black", ls="--", label="bound")
            for method in LINEAR:
                stack = torch.stack(self.stacks[name, method])
                frequency, ratio, _ = spectral_snr(stack, scene.pixel, width=RINGS)
                if method == "direct":
                    self.share[name] = summarise((ratio / allowed)[allowed > 1].tolist()).median
                positive, colour = ratio > 0, plotting.METHOD_COLOURS[method]
                points = (frequency[positive], ratio[positive])
                axes.semilogy(*points, ".-", ms=3, lw=0.8, color=colour, label=method)
            axes.axhline(1, color="0.6", lw=0.8, ls=":")
            title = scene.specimen.short_title
            axes.set(xlabel="spatial frequency (Å⁻¹)", title=title, ylim=(1e-2, None))
            _mark_limits(axes, scene)
        grid[0].set_ylabel("spectral signal to noise")
        handles = grid[0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside lower center", ncols=4, fontsize=7)
        return figure

    def table(self) -> str:
        """Every measure of every method, as a table."""
        head = ["specimen", "method", "highest frequency of the power spectrum (Å⁻¹)"]
        head += ["the same, empty scan", "resolution", "last ring", "weighted FRC"]
        rows = []
        for name, scene in self.scenes.items():
            for method in SHOWN:
                empty = self.empty_frequency.get((name, method))
                half = self.period.get((name, method))
                cells = [spread(self.values[name, method, key], key) for key in KEYS]
                cells.insert(1, "·" if empty is None else f"{empty:.2f}")
                cells.append("·" if half is None else plotting.period_label(half))
                rows.append([scene.specimen.short_title, method, *cells])
        return (
            "Median, and in brackets the spread and the number n of draws (quartiles from eight draws on, "
            "least to largest of fewer). Half-sets and empty scans: the first draw.\n\n"
            + table([*head, "half-sets, ½ bit"], rows)
        )

    def record(self) -> dict[str, Any]:
        """Everything that was measured."""
        top = {f"{n} / {m}": self.values[n, m, KEYS[0]][0] for n in self.scenes for m in SHOWN} | {
            f"{n} / {m} / empty": value for (n, m), value in self.empty_frequency.items()
        }
        return {
            "dose": self.dose,
            "highest_frequency": top,
            "values": [
                {
                    "specimen": n,
                    "method": m,
                    "values": {key: plain(self.values[n, m, key]) for key in KEYS},
                }
                for n in self.scenes
                for m in SHOWN
            ],
            "half_bit": {" / ".join(key): plain([value]) for key, value in self.period.items()},
            "share_of_bound": self.share,
        }


def _mark_limits(axes: Axes, scene: Scene) -> None:
    """Mark the frequencies beyond which a view, or any bright-field method, has nothing."""
    acquisition, top = scene.acquisition, 0.5 / max(scene.pixel)
    for value, text in (
        (0.5 / max(acquisition.step), "Nyquist of a view"),
        (1 / acquisition.information_limit, "2α/λ"),
    ):
        if value < top:
            plotting.mark_limit(axes, value, text, upright=True)
    axes.set_xlim(0, top)


def seen(found: Spectra) -> str:
    """Write what was seen."""
    crystal, glass, protein = found.scenes
    scenes, dose, share = found.scenes, found.dose, found.share

    def number(name: str, method: str, empty: str = "") -> str:
        """Highest frequency of the power spectrum: the median with a specimen, one draw without."""
        if empty:
            return f"{found.empty_frequency[name, method]:.2f}"
        return f"{summarise(found.values[name, method, KEYS[0]]).median:.2f}"

    def fine(name: str, method: str) -> str:
        median = summarise(found.values[name, method, "resolution"]).median
        return plotting.period_label(median)

    def halved(name: str, method: str) -> str:
        return plotting.period_label(found.period[name, method])

    return f"""
A power spectrum cannot tell how fine an image is right, because an empty scan has a "resolution" by it too. Ring
correlation with the truth can.

A {{term}}`draw` is one random counting of the electrons.

* **Claim C7** cannot be settled by power spectra. On an empty scan the spectrum of direct ptychography
  still has a "highest resolvable frequency" of {number(crystal, "direct", "empty")} Å⁻¹ in the atomic and
  {number(protein, "direct", "empty")} Å⁻¹ in the molecular regime, against {number(crystal, "direct")} and
  {number(protein, "direct")} Å⁻¹ with the specimens in place: the measure mostly sees where a method's own
  filter ends.
* The paper's network has {number(crystal, "attention U-Net")} and {number(protein, "attention U-Net")} Å⁻¹
  with the specimens, {number(crystal, "attention U-Net", "empty")} and
  {number(protein, "attention U-Net", "empty")} Å⁻¹ of an empty scan; the informed network
  {number(crystal, "informed")} and {number(protein, "informed")} with,
  {number(crystal, "informed", "empty")} and {number(protein, "informed", "empty")} without.
* What survives comparison with the truth at {dose:g} e⁻/Å², up to the finest period at which every ring with
  power holds: {fine(crystal, "direct")} for direct, {fine(crystal, "ptychography")} for tuned ptychography,
  {fine(crystal, "attention U-Net")} for the paper's network and {fine(crystal, "informed")} for the informed
  one on {scenes[crystal].specimen.short_title}; {fine(glass, "direct")}, {fine(glass, "ptychography")},
  {fine(glass, "attention U-Net")} and {fine(glass, "informed")} on {scenes[glass].specimen.short_title};
  {fine(protein, "direct")}, {fine(protein, "ptychography")}, {fine(protein, "attention U-Net")} and
  {fine(protein, "informed")} on {scenes[protein].specimen.short_title}.
* Between half-sets the informed network promises {halved(crystal, "informed")} on the crystal and
  {halved(protein, "informed")} on the protein: what its prior draws into both halves counts as
  agreement. {{doc}}`11_invention` measures by how much.
* Where the bound exceeds one, direct ptychography reaches {share[crystal]:.0%} of it on the crystal and
  {share[protein]:.0%} on the protein (median over rings). What is missing is the price of telling aliases
  apart, and of specimens that are not weak.
"""
