"""House style, scale bars, image rows, and the register of every figure in the book."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from misr4d.core.files import whole_file, write_whole

__all__ = ["REGISTER", "Entry", "output_folder", "save", "save_results"]


@dataclass(frozen=True)
class Entry:
    """A registered figure: the notebook that draws it, what it re-makes, and its text."""

    notebook: str
    paper: str
    caption: str


REGISTER: Mapping[str, Entry] = {
    "views_montage": Entry(
        "01_simulation",
        "Fig. 1a",
        "Virtual bright-field views of Li₂CoO₃ and the displacement of each",
    ),
    "reciprocity_check": Entry(
        "01_simulation", "-", "A view cut from abTEM's datacube, the same by reciprocity"
    ),
    "vbf_against_dose": Entry(
        "01_simulation", "Suppl. Fig. 1", "One view and the sum of all, against dose"
    ),
    "several_defoci": Entry("01_simulation", "-", "A view and two reconstructions at four defoci"),
    "workflow": Entry(
        "01_simulation", "Fig. 2", "From atoms to images, drawn from what each function made"
    ),
    "architecture": Entry(
        "02_training", "Fig. 1b", "The attention U-Net, drawn from one run, with its attention maps"
    ),
    "architecture_gates": Entry(
        "02_training", "-", "What the other networks start from, their gates and their images"
    ),
    "training_corpus": Entry("02_training", "-", "Twelve specimens drawn for training"),
    "training_curves": Entry("02_training", "-", "Loss of a small run and of the shipped networks"),
    "network_images": Entry(
        "02_training", "-", "Crystal and protein by direct ptychography and the networks"
    ),
    "hero": Entry(
        "03_dose_series", "-", "Crystal and protein at 300 e⁻/Å² by every kind of method"
    ),
    "dose_series_crystal": Entry(
        "03_dose_series", "Fig. 4a", "Li₂CoO₃ against dose: untrained methods, networks, truth"
    ),
    "dose_series_glass": Entry(
        "03_dose_series", "Fig. 4b", "Cu-Zr glass against dose: untrained methods, networks, truth"
    ),
    "dose_series_protein": Entry(
        "03_dose_series", "Fig. 4c", "Apoferritin against dose: untrained methods, networks, truth"
    ),
    "dose_series_curves": Entry(
        "03_dose_series", "-", "Correlation inside the specimen and resolution against dose"
    ),
    "line_scans": Entry(
        "04_line_scans", "Fig. 4d–f", "Line profiles of three specimens at 300 e⁻/Å²"
    ),
    "line_scan_images": Entry(
        "04_line_scans", "-", "The reconstructions of these specimens, with the line on each"
    ),
    "power_spectra": Entry(
        "05_power_spectra", "Suppl. Fig. 3", "Isotropic power spectra, with empty scans"
    ),
    "power_spectra_2d": Entry(
        "05_power_spectra", "-", "Power spectra of three specimens in two dimensions"
    ),
    "ring_correlation": Entry(
        "05_power_spectra", "-", "Ring correlation with the truth and between half-sets"
    ),
    "spectral_snr": Entry(
        "05_power_spectra", "-", "Spectral signal to noise and the bound by counting noise"
    ),
    "method_comparison": Entry(
        "06_method_comparison", "Fig. 5", "Three specimens by each method at one dose"
    ),
    "method_curves": Entry(
        "06_method_comparison", "-", "Correlation and resolution against dose, all methods"
    ),
    "specimens_crystals": Entry(
        "07_structural_orders", "Fig. 3a", "Model beside reconstruction: crystals"
    ),
    "specimens_proteins": Entry(
        "07_structural_orders", "Fig. 3b", "Model beside reconstruction: proteins"
    ),
    "specimens_disordered": Entry(
        "07_structural_orders", "Fig. 3c", "Model beside reconstruction: polymer and glasses"
    ),
    "thickness_images": Entry(
        "08_thickness_and_field", "-", "Li₂CoO₃ from 2 to 20 nm by each method"
    ),
    "thickness_curves": Entry(
        "08_thickness_and_field", "-", "Correlation and resolution against thickness"
    ),
    "edge_of_the_field": Entry(
        "08_thickness_and_field", "-", "Correlation against the distance from the edge"
    ),
    "ablations": Entry(
        "10_ablations", "-", "Correlation of eight variants of a small attention U-Net"
    ),
    "invention_nothing": Entry(
        "11_invention", "-", "What each method makes of vacuum and of a shuffled scan"
    ),
    "invention_defect": Entry(
        "11_invention", "-", "A removed column and a turned disc by each method"
    ),
    "invention_detection": Entry(
        "11_invention", "-", "Share shown and detection of three defects against dose"
    ),
    "refined_images": Entry(
        "12_refinement", "-", "First and second stage, truth, and where the electrons moved it"
    ),
    "refined_curves": Entry(
        "12_refinement", "-", "Correlation and resolved frequency of both stages against dose"
    ),
    "refined_detection": Entry(
        "12_refinement", "-", "A missing column under a first stage that painted it over"
    ),
    "own_call": Entry("13_own_scan", "-", "A stand-in reconstructed by misr4d.reconstruct"),
    "own_detector": Entry(
        "13_own_scan",
        "-",
        "A stand-in's mean pattern, its bad pixels, disc and centre, and its dose",
    ),
    "own_focus": Entry(
        "13_own_scan", "-", "Power of the registered views against defocus and rotation"
    ),
    "own_estimates": Entry(
        "13_own_scan", "-", "Errors of defocus, rotation and drift against dose"
    ),
    "own_images": Entry(
        "13_own_scan", "-", "A stand-in reconstructed from its file, beside the truth"
    ),
    "cryo_camera": Entry(
        "16_cryo_scan", "-", "A published scan's mean pattern, noise of its camera, and half-sets"
    ),
    "cryo_images": Entry(
        "16_cryo_scan", "-", "Virus particles in ice, by direct ptychography and the network"
    ),
    "cryo_refined": Entry(
        "16_cryo_scan", "-", "A part of the scan refined by its counts, beside what it starts from"
    ),
    "cryo_quantem": Entry("16_cryo_scan", "-", "Another program's image of the same counts"),
    "instrument_images": Entry(
        "17_instruments", "-", "A glass at 200 kV and 26 mrad: direct, network, deviation, truth"
    ),
    "instrument_cells": Entry(
        "17_instruments", "-", "Gain over direct and coverage of thirteen instruments against dose"
    ),
    "instruments_drawn": Entry(
        "17_instruments", "-", "Gain and coverage over angle, depth of focus and dose"
    ),
    "released_dose": Entry(
        "09_released_code", "-", "A dose per area and the same number per position"
    ),
    "released_magnified": Entry(
        "09_released_code", "-", "A crystal true to scale and ten times larger"
    ),
    "released_probe": Entry(
        "09_released_code", "-", "The probe that a coarse wave field cuts, and its views"
    ),
}
"""Every figure of the book by its name; ``tests/book/test_book.py`` holds the run to it."""


def output_folder() -> Path:
    """Folder for figures and results: ``$MISR4D_OUTPUT``, or ``_output`` where the work runs."""
    return Path(os.environ.get("MISR4D_OUTPUT", "_output"))


def save(figure: Figure, name: str) -> Path:
    """Save a registered figure as PNG under its name, whole or not at all.

    Raises
    ------
    ValueError
        If the name is not registered; the message lists the names.
    """
    if name not in REGISTER:
        raise ValueError(f"unknown figure {name!r}; registered: {', '.join(REGISTER)}")
    path = output_folder() / "figures" / f"{name}.png"
    with whole_file(path) as temporary:
        figure.savefig(temporary, metadata={"Software": None})
    return path


def save_results(notebook: str, results: Mapping[str, Any]) -> Path:
    """Save the numbers that a notebook's prose and other pages read, as JSON.

    Where no ``$MISR4D_OUTPUT`` names the folder, as in a run of one chapter by hand, print it.
    """
    path = output_folder() / "results" / f"{notebook}.json"
    write_whole(path, json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    if "MISR4D_OUTPUT" not in os.environ:
        print(f"Figures and numbers of {notebook} are in {output_folder().resolve()}")
    return path
