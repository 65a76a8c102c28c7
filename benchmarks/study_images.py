"""Make the images by slow methods that pages show, for ``notebooks/study/images.npz``.

    python benchmarks/study_images.py

An image whose code, data and settings are what they were is taken over; the others are made, a
minute each or less, and kept in the cache, so that an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import click
from tqdm import tqdm

from misr4d.companion.study import METHODS, make_scene
from misr4d.companion.study_images import KEPT, SHOWN, image_key, read_images, write_images


@click.command(help=__doc__)
def main() -> None:
    before, images = read_images(KEPT), {}
    # Specimen by specimen and then by electrons, so that both are simulated once.
    order = sorted(SHOWN, key=lambda case: (case[1], case[2], case[3]))
    made, electrons, measurement = 0, None, None
    for method, name, dose, seed in tqdm(order, unit="image"):
        key = image_key(method, name, dose, seed)
        if key in before:
            images[key] = before[key]
            continue
        if measurement is None or electrons != (name, dose, seed):
            measurement, electrons = make_scene(name).measure(dose, seed), (name, dose, seed)
        images[key] = METHODS[method](measurement)
        made += 1
    if made or set(before) != set(images):
        write_images(images.items(), KEPT)
    print(f"{made} of {len(images)} images made; {KEPT.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
