"""The command line: ``misr4d --help``."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import click

from misr4d import __version__

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Low-dose 4D-STEM super-resolution, tested: companion to the paper 4D-MISR."""


@main.command()
@click.argument("specimen")
@click.option("--thickness", type=float, help="Thickness along the beam, Å.")
def info(specimen: str, thickness: float | None) -> None:
    """Print a SPECIMEN's composition, density, size, source and licence."""
    from misr4d.specimens import describe, format_description, make_specimen

    try:
        click.echo(format_description(describe(make_specimen(specimen, thickness=thickness))))
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _numbers(values: tuple[str, ...]) -> tuple[float, ...]:
    try:
        return tuple(math.inf if v in {"inf", "∞"} else float(v) for v in values)
    except ValueError as error:
        raise click.UsageError(f"a dose is not a number: {error}") from None


@main.command()
@click.option("--quick", "size", flag_value="quick", default="quick", help="Minutes, as in CI.")
@click.option("--full", "size", flag_value="full", help="Every specimen, dose and draw: hours.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("_output/bench"),
    show_default=True,
    help="Folder of the table; a run in it takes up where the last one stopped.",
)
@click.option("--specimen", "specimens", multiple=True, help="Only these; may be repeated.")
@click.option("--dose", "doses", multiple=True, help="Only these, e⁻/Å² or inf; may be repeated.")
@click.option("--method", "methods", multiple=True, help="Only these; may be repeated.")
@click.option("--draws", type=int, help="Noise draws of every method.")
@click.option("--workers", type=click.IntRange(1), help="Local processes (default: one a core).")
@click.option("--scheduler", help="Address of a running dask scheduler, instead of local ones.")
def bench(
    size: str,
    out: Path,
    specimens: tuple[str, ...],
    doses: tuple[str, ...],
    methods: tuple[str, ...],
    draws: int | None,
    workers: int | None,
    scheduler: str | None,
) -> None:
    """Measure specimens × doses × methods × draws into one table."""
    from dataclasses import replace

    from misr4d.bench import PLANS, run

    logging.getLogger("distributed").setLevel(logging.ERROR)
    base = PLANS[size]
    try:
        plan = replace(
            base,
            specimens=specimens or base.specimens,
            doses=_numbers(doses) or base.doses,
            methods=methods or base.methods,
            draws=draws or base.draws,
            # An explicit choice of doses or methods holds for ptychography too.
            ptychography_doses=None if doses else base.ptychography_doses,
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    out.mkdir(parents=True, exist_ok=True)
    rows = run(plan, out, scheduler=scheduler, workers=workers)
    click.echo(f"{len(rows)} rows in {out / 'table.csv'} and {out / 'table.json'}")
    if plan.left_out and plan == base:
        click.echo(f"this plan leaves out: {plan.left_out}")


@main.command()
@click.option(
    "--preset",
    type=click.Choice(["ci", "cpu", "paper", "gpu"]),
    default="cpu",
    show_default=True,
    help="ci: a minute; cpu: under two hours on two cores; paper and gpu: on a GPU.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("_output/training"),
    show_default=True,
    help="Folder of checkpoint, log and weights; a run in it goes on where the last one stopped.",
)
@click.option(
    "--network",
    type=click.Choice(["DirectInformed", "AttentionUNet", "DualPath"]),
    help="Instead of the preset's.",
)
@click.option("--width", type=click.IntRange(1), help="Channels of its first level.")
@click.option("--steps", type=click.IntRange(1), help="Optimiser steps.")
@click.option("--batch", type=click.IntRange(1), help="Samples in a step.")
@click.option("--specimens", type=click.IntRange(0), help="Distinct specimens; 0: never again.")
@click.option("--seed", type=int, help="Of everything.")
@click.option("--device", help="Such as cpu or cuda:0; by default a GPU if there is one.")
@click.option("--workers", type=click.IntRange(1), help="Processes that simulate specimens.")
def train(
    preset: str, out: Path, device: str | None, workers: int | None, **changes: str | int | None
) -> None:
    """Train a network on specimens that never repeat.

    On several GPUs: torchrun --nproc-per-node=4 -m misr4d.cli train --preset gpu
    """
    from dataclasses import replace

    from misr4d.training import PRESETS
    from misr4d.training import train as run

    given = {name: value for name, value in changes.items() if value is not None}
    try:
        config = replace(PRESETS[preset], **given)  # type: ignore[arg-type]
        result = run(config, out, device=device, workers=workers)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    click.echo(f"{result}; log and picture of the loss in {out}")


if __name__ == "__main__":
    main()
