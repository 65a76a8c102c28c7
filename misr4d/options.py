"""Options that commands share, and the types of their values."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any, TypeVar

import click

__all__ = [
    "POSITIVE",
    "SEED",
    "THICKNESS",
    "WORKERS",
    "Dose",
    "OneOrTwo",
    "Output",
    "bad_pixel_options",
    "file_options",
    "quantity_options",
    "where_tasks_run",
]

Command = TypeVar("Command", bound=Callable[..., Any])

POSITIVE = click.IntRange(1)
SEED = click.IntRange(0, 2**62)
THICKNESS = click.FloatRange(max=1e4)  # Å; a micrometre is no transmission specimen
WORKERS = click.IntRange(1, 256)
_MOST_ELECTRONS = 1e12  # e⁻/Å²; more than any specimen has received


class Output(click.Path):
    """Output path of a command, refused before the work if it cannot be made or written to."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path as a ``Path``."""
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        try:
            if path.is_symlink() and not path.exists():
                self.fail(f"{path} is a link to {os.readlink(path)}, which does not exist")
            existing_folder = path if self.dir_okay else path.parent
            if not self.dir_okay and not existing_folder.is_dir():
                self.fail(f"{path} cannot be written; expected a file in a folder that exists")
            while not existing_folder.exists():
                existing_folder = existing_folder.parent
            if not existing_folder.is_dir():
                self.fail(f"{path} cannot be made: {existing_folder} is a file")
            effective_ids = os.access in os.supports_effective_ids
            if not os.access(existing_folder, os.W_OK | os.X_OK, effective_ids=effective_ids):
                self.fail(f"{path} cannot be written: no permission for {existing_folder}")
        except OSError as error:
            self.fail(f"{path} cannot be written: {error.strerror}")
        return path


class OneOrTwo(click.ParamType):  # type: ignore[type-arg]  # generic in newer click only
    """One number, or two along the two axes: ``0.6`` or ``0.6,0.45``."""

    name = "number[,number]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return one number, or a pair."""
        try:
            numbers = tuple(float(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not a valid float, nor two with a comma between", param, ctx)
        if len(numbers) > 2:
            self.fail(f"{value!r} are {len(numbers)} numbers; expected one or two", param, ctx)
        return numbers if len(numbers) == 2 else numbers[0]


class Dose(click.ParamType):  # type: ignore[type-arg]  # generic in newer click only
    """Electrons per Å² of specimen, or inf where that means no counting noise."""

    name = "dose"

    def __init__(self, *, finite: bool = False) -> None:
        self.finite = finite

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the dose as a number."""
        text = str(value)
        try:
            dose = math.inf if text == "∞" else float(text)
        except ValueError:
            self.fail(f"a dose is not a number: {text!r}", param, ctx)
        if dose > _MOST_ELECTRONS and text not in {"inf", "∞"}:
            expected = f"at most {_MOST_ELECTRONS:g}" + ("" if self.finite else ", or inf")
            self.fail(f"a dose is {text} e⁻/Å²; expected {expected}", param, ctx)
        if self.finite and not (math.isfinite(dose) and dose > 0):
            self.fail(f"dose is {text} e⁻/Å²; expected a finite number above 0", param, ctx)
        return dose


def _options(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Give a command several options, in this order on its help page."""
    return lambda command: reduce(lambda done, option: option(done), reversed(options), command)


def where_tasks_run(
    workers: str = "Local processes (default: one a core).",
) -> Callable[[Command], Command]:
    """Give a command ``--workers``, with this help, and ``--scheduler``."""
    return _options(
        click.option("--workers", type=WORKERS, help=workers),
        click.option(
            "--scheduler", help="Address of a running dask scheduler, instead of local ones."
        ),
    )


file_options = _options(
    click.option("--dataset", help="Which array, of a file that holds several."),
    click.option(
        "--scan-shape", type=POSITIVE, nargs=2, help="Positions RX RY of a list of patterns."
    ),
    click.option(
        "--skip-frames",
        type=click.IntRange(0),
        help="Frames of a list before the first position; 0 if surplus ones come last.",
    ),
    click.option(
        "--frames-per-position",
        type=POSITIVE,
        default=1,
        show_default=True,
        help="Consecutive frames of a position, which are summed.",
    ),
    click.option(
        "--axes",
        help="Order of the array's axes as `misr4d info` shows them, such as Qx,Qy,Rx,Ry; "
        "R,Qx,Qy for a list of patterns.",
    ),
    click.option(
        "--positions",
        type=click.Path(path_type=Path),
        help="Measured scan positions, Å: .npy or a text of two columns; instead of step and "
        "drift.",
    ),
    click.option(
        "--scan-crop",
        type=click.IntRange(0),
        nargs=4,
        help="Use only these positions: RX from and to, RY from and to, counted from 0, the last "
        "not included.",
    ),
)
"""What a file does not say of how its patterns are arranged."""

quantity_options = _options(
    click.option("--energy", type=float, help="Of the electrons, eV: 300e3 for 300 kV."),
    click.option(
        "--step",
        type=OneOrTwo(),
        help="Distance between probe positions, Å; two numbers, as 1.0,1.2, along Rx and Ry.",
    ),
    click.option("--semiangle", type=float, help="Convergence semi-angle, mrad."),
    click.option(
        "--detector-pixel",
        type=OneOrTwo(),
        help="Side of a detector pixel, mrad; two numbers, as 0.6,0.45, along Qx and Qy.",
    ),
    click.option("--defocus", type=float, help="Å, positive is underfocus."),
    click.option("--rotation", type=float, help="Of the detector against the scan, deg, Rx to Ry."),
    click.option(
        "--transpose/--no-transpose",
        "transposed",
        default=None,
        help="Whether the detector's axes are swapped, before the rotation.",
    ),
    click.option(
        "--thickness", type=float, help="Of the specimen, Å, if defocus counts from its top."
    ),
    click.option("--dose", type=float, help="e⁻/Å²; by default from the counts."),
    click.option(
        "--gain", type=float, help="Counts per electron, of a camera that does not count."
    ),
    click.option(
        "--offset",
        type=float,
        help="Counts that a detector pixel reads without electrons; by default the level far from "
        "the disc, if that is certain.",
    ),
    click.option("--centre", type=float, nargs=2, help="Optical axis on the detector, pixels."),
    click.option(
        "--drift",
        type=float,
        nargs=2,
        help="How far each line lies from where it should, beyond the one before, along Rx and Ry, "
        "Å.",
    ),
    click.option(
        "--astigmatism",
        type=float,
        nargs=2,
        help="Two-fold, C12·cos 2φ and C12·sin 2φ along the scan, Å; sought if the drift is given.",
    ),
)
"""Known quantities of a scan: what is given here is taken instead of what the file says."""

bad_pixel_options = _options(
    click.option(
        "--bad-pixels",
        type=click.Path(path_type=Path),
        help="List of bad detector pixels, a line each: row,column, or 12,* for a row.",
    ),
    click.option(
        "--mask",
        type=click.Path(path_type=Path),
        help="Picture of the bad detector pixels, .npy or .tif: 0 is good.",
    ),
    click.option("--keep-all-pixels", is_flag=True, help="Do not look for hot and dead pixels."),
)
"""Which detector pixels are replaced."""
