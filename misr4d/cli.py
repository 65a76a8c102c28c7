"""The command line: ``misr4d --help``."""

from __future__ import annotations

import contextlib
import json
import logging
import signal
import sys
import threading
import traceback
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import click

from misr4d import __version__
from misr4d.options import (
    POSITIVE,
    SEED,
    THICKNESS,
    WORKERS,
    Dose,
    Output,
    bad_pixel_options,
    file_options,
    quantity_options,
    where_tasks_run,
)

__all__ = ["main"]


# Exit codes: an unforeseen error, and stopped by Ctrl-C or a signal (128 + its number).
_UNFORESEEN, _INTERRUPTED, _TERMINATED = 1, 128 + signal.SIGINT, 128 + signal.SIGTERM


class _Command(click.Command):
    """Command whose ``ValueError`` is about what it was given."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ValueError as error:
            raise click.UsageError(str(error), ctx) from None


class _Commands(click.Group):
    """Commands that say in one line what went wrong; ``--debug`` shows the traceback too."""

    command_class = _Command

    def invoke(self, ctx: click.Context) -> Any:
        debug = ctx.params.get("debug", False)
        try:
            return super().invoke(ctx)
        except (click.exceptions.Exit, click.Abort):
            raise
        except click.ClickException as error:
            if debug and error.__context__ is not None:
                traceback.print_exception(error.__context__)
            raise
        except KeyboardInterrupt:
            click.echo("\nInterrupted; nothing is left half-written.", err=True)
            ctx.exit(_INTERRUPTED)
        except Exception as error:
            if debug:
                traceback.print_exc()
            message = (str(error).strip() or "no more is known").splitlines()[0]
            command = f"{ctx.command_path} --debug {ctx.invoked_subcommand or ''}".strip()
            click.echo(
                f"Error: {type(error).__name__}, which was not foreseen: {message} (`{command} …` "
                "shows the traceback)",
                err=True,
            )
            ctx.exit(_UNFORESEEN)


def _terminate(number: int, frame: FrameType | None) -> None:
    """Stop as Ctrl-C does, so that half-written files are removed."""
    raise SystemExit(_TERMINATED)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
@click.option("--debug", is_flag=True, help="Show the traceback of what goes wrong.")
@click.pass_context
def main(ctx: click.Context, debug: bool) -> None:
    """Low-dose 4D-STEM super-resolution, tested: companion to the paper 4D-MISR.

    Exits with 2 for bad input, 1 for an error that nobody foresaw, 130 if interrupted.
    """
    for stream in (sys.stdout, sys.stderr):  # a terminal without Å must not stop a run
        with contextlib.suppress(AttributeError):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    if threading.current_thread() is threading.main_thread():
        previous_handler = signal.signal(signal.SIGTERM, _terminate)
        ctx.call_on_close(lambda: signal.signal(signal.SIGTERM, previous_handler))


@main.command()
@click.argument("target", metavar="SPECIMEN|FILE")
@click.option("--thickness", type=THICKNESS, help="Thickness of a specimen along the beam, Å.")
@file_options
def info(target: str, thickness: float | None, **arrangement: Any) -> None:
    """Print what a SPECIMEN is made of, or what the scan in FILE states and what it lacks.

    Of a specimen: composition, density, size, source and licence. Of a scan: shape, type, stated
    quantities with their units, those that must be given, and statements that are not used. The
    patterns are not read.
    """
    if not Path(target).exists() and not Path(target).suffix:
        from misr4d.specimens.catalogue import describe, format_description, make_specimen

        click.echo(format_description(describe(make_specimen(target, thickness=thickness))))
        return
    if thickness is not None:
        raise ValueError("--thickness is of a specimen by name; a scan has none to choose")
    from misr4d.io.reading import read_scan

    click.echo(read_scan(Path(target), **arrangement).inventory())


@main.command()
@click.option("--quick", "size", flag_value="quick", default="quick", help="Minutes, as in CI.")
@click.option("--full", "size", flag_value="full", help="Every specimen, dose and draw: hours.")
@click.option("--study", "size", flag_value="study", help="What pages and verdicts read: hours.")
@click.option(
    "--out",
    type=Output(file_okay=False, path_type=Path),
    default=Path("_output/bench"),
    show_default=True,
    help="Folder of the table; a run in it takes up where the last one stopped.",
)
@click.option("--specimen", "specimens", multiple=True, help="Only these; may be repeated.")
@click.option(
    "--dose", "doses", type=Dose(), multiple=True, help="Only these, e⁻/Å² or inf; may be repeated."
)
@click.option("--method", "methods", multiple=True, help="Only these; may be repeated.")
@click.option("--draws", type=POSITIVE, help="Noise draws of every method.")
@where_tasks_run()
def bench(
    size: str,
    out: Path,
    specimens: tuple[str, ...],
    doses: tuple[float, ...],
    methods: tuple[str, ...],
    draws: int | None,
    workers: int | None,
    scheduler: str | None,
) -> None:
    """Measure specimens × doses × methods × draws into one table."""
    from dataclasses import replace

    from misr4d.companion.bench import PLANS, Plan, run_bench

    logging.getLogger("distributed").setLevel(logging.ERROR)
    full_plan = PLANS[size]
    base = full_plan if isinstance(full_plan, Plan) else full_plan[0]
    narrowed = bool(specimens or doses or methods or draws)
    plan = replace(
        base,
        specimens=specimens or base.specimens,
        doses=doses or base.doses,
        methods=methods or base.methods,
        draws=draws or base.draws,
        # An explicit choice of doses or methods holds for ptychography too.
        slow_doses=None if doses else base.slow_doses,
    )
    plan_to_run = plan if narrowed else full_plan
    rows = run_bench(plan_to_run, out, scheduler=scheduler, workers=workers)
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
    type=Output(file_okay=False, path_type=Path),
    default=Path("_output/training"),
    show_default=True,
    help="Folder of checkpoint, log and weights; a run in it goes on where the last one stopped.",
)
@click.option(
    "--network",
    type=click.Choice(["DirectInformed", "AttentionUNet", "DualPath", "InstrumentInformed"]),
    help="Instead of the preset's.",
)
@click.option("--width", type=click.IntRange(1, 1024), help="Channels of its first level.")
@click.option("--depth", type=click.IntRange(1, 8), help="Its levels; DualPath has its own.")
@click.option("--views", type=click.IntRange(1, 10_000), help="Views of a DualPath sample.")
@click.option("--steps", type=click.IntRange(1, 10**9), help="Optimiser steps.")
@click.option("--batch", type=click.IntRange(1, 4096), help="Samples in a step.")
@click.option(
    "--specimens", type=click.IntRange(0, 10**6), help="Distinct specimens; 0: never again."
)
@click.option(
    "--half/--no-half", default=None, help="bfloat16 on a CPU too, instead of the preset's."
)
@click.option(
    "--learning-rate", type=click.FloatRange(0, 1, min_open=True), help="Highest, of AdamW."
)
@click.option(
    "--continue-shipped",
    is_flag=True,
    help="Start from the shipped weights of the network, with the settings on their card instead "
    "of a preset's.",
)
@click.option("--start", help="SHA-256 of the shipped weights to start from, as on their card.")
@click.option("--seed", type=SEED, help="Of everything.")
@click.option("--repeat", type=SEED, help="Another number draws other noise of each specimen.")
@click.option("--device", help="Such as cpu or cuda:0; by default a GPU if there is one.")
@click.option("--workers", type=WORKERS, help="Processes that simulate specimens.")
def train(
    preset: str,
    out: Path,
    continue_shipped: bool,
    device: str | None,
    workers: int | None,
    **changes: str | float | None,
) -> None:
    """Train a network on specimens that never repeat.

    On several GPUs: torchrun --nproc-per-node=4 -m misr4d.cli train --preset gpu
    """
    from dataclasses import replace

    from misr4d.learn.configuration import PRESETS
    from misr4d.learn.training import shipped_training
    from misr4d.learn.training import train as run

    settings = {name: value for name, value in changes.items() if value is not None}
    base = PRESETS[preset]
    if continue_shipped:
        base = shipped_training(str(settings.get("network", base.network)))
    config = replace(base, **settings)  # type: ignore[arg-type]
    result = run(config, out, device=device, workers=workers)
    click.echo(f"{result}; log and picture of the loss in {out}")


@main.command(
    epilog="\b\nExample:\n  misr4d simulate Li2CoO3 --dose 300 --out scan.h5\n"
    "  misr4d reconstruct scan.h5 --out result"
)
@click.argument("specimen")
@click.option(
    "--dose",
    type=Dose(),
    required=True,
    help="e⁻/Å² on the specimen, or inf for no counting noise.",
)
@click.option(
    "--out",
    type=Output(dir_okay=False, path_type=Path),
    default=Path("scan.h5"),
    show_default=True,
    help="File to write: EMD 1.0, which py4DSTEM reads too.",
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Of the counting noise.")
@click.option("--thickness", type=THICKNESS, help="Thickness along the beam, Å.")
@click.option("--defocus", type=float, help="Å, positive is underfocus.")
@click.option("--positions", type=int, help="Scan only N × N of them, 32 or more: quicker.")
def simulate(
    specimen: str,
    dose: float,
    out: Path,
    seed: int,
    thickness: float | None,
    defocus: float | None,
    positions: int | None,
) -> None:
    """Simulate a scan of SPECIMEN and write the electrons of every detector pixel.

    SPECIMEN is one of the paper's, such as Li2CoO3, CuZr or apoferritin; a wrong name lists them.
    """
    from misr4d.companion.demo import record_scan

    recording = record_scan(
        specimen,
        dose,
        seed=seed,
        thickness=thickness,
        defocus=defocus,
        positions=positions,
    )
    path = recording.write(out)
    rx, ry, qx, qy = recording.cube.patterns.shape
    click.echo(f"{path}: {rx} × {ry} positions, {qx} × {qy} pixels, with the truth beside them")


@main.command(
    epilog="\b\nExamples:\n  misr4d reconstruct scan.h5 --out result\n"
    "  misr4d reconstruct my.mib --scan-shape 256 256 --energy 300e3 --semiangle 10 \\\n"
    "      --step 1.2 --defocus 800 --out result"
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=Output(file_okay=False, path_type=Path),
    default=Path("_output/reconstruction"),
    show_default=True,
    help="Folder of report.html, report.json, image.png, image.npz and image.h5.",
)
@click.option(
    "--method",
    type=click.Choice(["informed", "direct", "refined"]),
    default="informed",
    show_default=True,
    help="The shipped network that starts from direct ptychography, that alone, or the network's "
    "image refined by the electrons: minutes.",
)
@click.option(
    "--upsampling",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Pixels of the image per scan step; 3, 6, 9 … unless the method is direct.",
)
@quantity_options
@file_options
@bad_pixel_options
@click.option(
    "--keep-dose",
    is_flag=True,
    help="Do not look for lines and positions of another dose, nor leave out flyback.",
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Of the half-sets.")
@click.option("--device", help="Such as cpu or cuda:0; by default a GPU if there is one.")
@where_tasks_run("Local processes for the tiles of a scan larger than 64 × 64 (default: this one).")
@click.option("--dry-run", is_flag=True, help="Say what was read and would be done; write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON, for machines.")
def reconstruct(
    file: Path,
    out: Path,
    method: Literal["informed", "direct", "refined"],
    upsampling: int,
    bad_pixels: Path | None,
    mask: Path | None,
    keep_all_pixels: bool,
    keep_dose: bool,
    seed: int,
    device: str | None,
    workers: int | None,
    scheduler: str | None,
    dry_run: bool,
    as_json: bool,
    **arrangement_and_quantities: Any,
) -> None:
    """Reconstruct the scan in FILE, on a grid finer than its positions.

    Reads NumPy, HDF5 and EMD of py4DSTEM, Zarr of abTEM, and by RosettaSciIO what cameras write
    (.mib, .dm4, .blo, .hspy, .emd, …). Energy, step and semi-angle come from the file, unless
    given. Centre, disc, drift, rotation and, if need be, the defocus are estimated, unless given.
    Hot and dead detector pixels are found and replaced by noise of the level around them. What the
    detector reads without electrons is subtracted, and a dose that changes from line to line or
    position to position divided out, where the patterns show it; the report says so.
    No training is needed.
    """
    from misr4d.calibrate.pixels import read_bad_pixels
    from misr4d.io.mask import read_mask
    from misr4d.io.reading import read_scan
    from misr4d.report.reconstruct import plan
    from misr4d.report.reconstruct import reconstruct_scan as run

    logging.getLogger("distributed").setLevel(logging.ERROR)
    if (bad_pixels is not None) + (mask is not None) + keep_all_pixels > 1:
        raise click.UsageError("--bad-pixels, --mask and --keep-all-pixels exclude each other")
    scan = read_scan(file, **arrangement_and_quantities)
    if dry_run:
        click.echo(plan(scan, method, upsampling))
        click.echo(f"nothing was written; it would be to {out}")
        return
    click.echo(scan.described(), err=True)
    choice: Any = "none" if keep_all_pixels else "found"
    if bad_pixels is not None:
        choice = read_bad_pixels(bad_pixels, scan.patterns.shape[2:])
    if mask is not None:
        choice = read_mask(mask, scan.patterns.shape[2:])
    report = run(
        scan,
        method=method,
        upsampling=upsampling,
        seed=seed,
        bad_pixels=choice,
        level_dose=not keep_dose,
        device=device,
        scheduler=scheduler,
        workers=workers,
    )
    paths = report.write(out)
    if as_json:
        click.echo(json.dumps(report.record(), indent=1, ensure_ascii=False))
    else:
        click.echo(report.summary())
        click.echo("written: " + ", ".join(str(p) for p in paths))


@main.command(
    epilog="\b\nExample:\n  misr4d sweep notebooks/params/study_thickness.yaml --workers 2"
)
@click.argument("study", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=Output(file_okay=False, path_type=Path),
    default=Path("_output/sweep"),
    show_default=True,
    help="Folder in which the study gets its own; a study in it takes up where it stopped.",
)
@where_tasks_run()
@click.option("--dry-run", is_flag=True, help="List the runs; do and write nothing.")
def sweep(
    study: Path, out: Path, workers: int | None, scheduler: str | None, dry_run: bool
) -> None:
    """Run every combination of a grid of parameters into one table.

    STUDY is a YAML file: `bench: true` or `notebook: FILE.ipynb`, and below `grid` a list of
    values for each parameter; below `parameters` those that are the same in every run.
    """
    from misr4d.companion.sweep import read_study
    from misr4d.companion.sweep import sweep as run

    logging.getLogger("distributed").setLevel(logging.ERROR)
    study_plan = read_study(study)
    if dry_run:
        for parameters in study_plan.runs:
            click.echo(", ".join(f"{name} {value}" for name, value in parameters.items()))
        click.echo(f"{len(study_plan.runs)} runs; nothing was done")
        return
    rows = run(study_plan, out, scheduler=scheduler, workers=workers)
    click.echo(
        f"{len(rows)} rows in {out / study_plan.name / 'table.csv'} and table.json beside it"
    )


@main.command(epilog="\b\nExample:\n  misr4d demo --out demo\n  xdg-open demo/report.html")
@click.option(
    "--out",
    type=Output(file_okay=False, path_type=Path),
    default=Path("_output/demo"),
    show_default=True,
    help="Folder of scan.h5, truth.npz and the files of misr4d reconstruct.",
)
@click.option("--specimen", default="Li2CoO3", show_default=True, help="One of the paper's.")
@click.option(
    "--dose",
    type=Dose(finite=True),
    default="1000",
    show_default=True,
    help="e⁻/Å² on the specimen, finite.",
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Of all that is by chance.")
@click.option(
    "--positions", type=int, default=64, show_default=True, help="N × N, 32 or more: quicker."
)
@click.option(
    "--drift", type=float, default=0.15, show_default=True, help="A line, as a share of the step."
)
@click.option(
    "--transpose/--no-transpose",
    "transposed",
    default=None,
    help="Whether the detector's axes are swapped; by default left to chance.",
)
def demo(
    out: Path,
    specimen: str,
    dose: float,
    seed: int,
    positions: int,
    drift: float,
    transposed: bool | None,
) -> None:
    """Reconstruct a stand-in for a scan of one's own, and compare with the truth.

    The scan is simulated as a microscope would hand it over: of unknown defocus, on a turned and
    perhaps transposed detector with hot pixels, of a specimen that drifts. scan.h5 is then
    reconstructed as by misr4d reconstruct; what it does not say is in truth.npz.
    """
    from misr4d.companion.demo import format_comparison, make_stand_in, run_demo

    click.echo(f"simulating {specimen}, {positions} × {positions} positions …", err=True)
    stand_in = make_stand_in(
        specimen, seed=seed, positions=positions, drift=drift, transposed=transposed
    )
    report, rows = run_demo(out, stand_in, dose, seed)
    click.echo(report.summary())
    click.echo("\n" + format_comparison(rows))
    click.echo(f"\nopen {out / 'report.html'}")


@main.command()
@click.argument("name")
def fetch(name: str) -> None:
    """Fetch a published scan by NAME: WS2 (12.5 MB), PdNiP (305 MB) or cryo (331 MB).

    It is checked against its published sum and kept, whole or not at all; what is there already
    is not fetched again.
    """
    from misr4d.specimens.fetch import DATASETS, fetch_dataset

    try:
        path = fetch_dataset(name)
    except OSError as error:  # of the network, or of the disk
        raise click.ClickException(str(error)) from None
    click.echo(f"{path}: {DATASETS[name].title}, {DATASETS[name].licence}")


if __name__ == "__main__":
    main()
