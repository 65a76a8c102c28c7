"""Make the images that take long and that pages show, for ``notebooks/study/images.npz``.

    python benchmarks/study_images.py

An image whose code, data and settings are what they were is taken over; the others are made. The
file is written after every specimen, so that an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import click
from tqdm import tqdm

from misr4d.companion.study import METHODS, make_scene
from misr4d.companion.study_images import KEPT, SHOWN, image_key, read_images, write_images


@click.command(help=__doc__)
def main() -> None:
    keys = {case: image_key(*case) for case in SHOWN}
    before = read_images(KEPT)
    images = {key: before[key] for key in keys.values() if key in before}
    # Specimen by specimen and then by electrons, so that both are simulated once.
    missing = sorted(
        (case for case, key in keys.items() if key not in before),
        key=lambda case: (case[1], case[2], case[3]),
    )
    electrons, measurement = None, None
    for count, case in enumerate(tqdm(missing, unit="image"), 1):
        method, name, dose, seed = case
        if measurement is None or electrons != (name, dose, seed):
            measurement, electrons = make_scene(name).measure(dose, seed), (name, dose, seed)
        images[keys[case]] = METHODS[method](measurement)
        if count == len(missing) or missing[count][1] != name:
            write_images(images.items(), KEPT)
    if not missing and len(images) < len(before):
        write_images(images.items(), KEPT)  # without those that no page shows
    print(f"{len(missing)} of {len(images)} images made; {KEPT.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
