"""Cost and error of interpolating the plane waves of finite pixels, beside propagating each.

    python benchmarks/finite_pixels.py [--old reciprocity.py]

CPU seconds of one thread, and the root mean square of the difference over that of the contrast. An
older ``misr4d/simulate/reciprocity.py`` given with ``--old`` (``git show
COMMIT:misr4d/simulate/reciprocity.py``) takes the place of the exact path in both. What the two
constants of the module should be is what ``--phase`` and ``--margin`` show.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from pathlib import Path

import click
import torch
from torch import Tensor

from misr4d.companion.study import place
from misr4d.simulate import reciprocity
from misr4d.specimens.catalogue import make_specimen

CASES = (("Li2CoO3", None), ("apoferritin", None), ("CaTiO3", 125.0), ("CaTiO3", 200.0))


def timed(simulate: Callable[[], Tensor]) -> tuple[Tensor, float]:
    """Return views, and the CPU time that they took [s]."""
    began = time.process_time()
    views = simulate()
    return views, time.process_time() - began


@click.command(help=__doc__)
@click.option("--old", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--phase", "phases", type=float, multiple=True, default=[reciprocity._TILT_PHASE])
@click.option("--margin", "margins", type=float, multiple=True, default=[reciprocity._TILT_MARGIN])
@click.option("--specimen", "names", multiple=True, default=[], help="Only these.")
def main(
    old: Path | None, phases: list[float], margins: list[float], names: tuple[str, ...]
) -> None:
    torch.set_num_threads(1)
    former = None
    if old is not None:
        spec = importlib.util.spec_from_file_location("former_reciprocity", old)
        assert spec is not None
        assert spec.loader is not None
        former = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(former)
    print("specimen      Å    phase  margin   each s  shared s  times  error of contrast")
    for name, thickness in CASES:
        if names and name not in names:
            continue
        scene = place(make_specimen(name, thickness=thickness))
        given = (scene.potential, scene.acquisition)
        reference, each = timed(
            (lambda: former.simulate_views(*given))  # noqa: B023
            if former is not None
            else (lambda: reciprocity.simulate_views(*given, exact=True))  # noqa: B023
        )
        # What varies within each view: the smaller measure, where a thick specimen darkens all.
        contrast = (reference - reference.mean((1, 2), keepdim=True)).square().mean().sqrt()
        for phase in phases:
            for margin in margins:
                reciprocity._TILT_PHASE, reciprocity._TILT_MARGIN = phase, margin
                views, shared = timed(lambda: reciprocity.simulate_views(*given))  # noqa: B023
                error = float((views - reference).square().mean().sqrt() / contrast)
                print(
                    f"{name:12} {scene.potential.thickness:4.0f}  {phase:6.2f}  {margin:6.2f}  "
                    f"{each:7.1f}  {shared:8.2f}  {each / shared:5.1f}  {error:.2%}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
