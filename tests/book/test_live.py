"""The live page: what the browser computes is what the package computes."""

from __future__ import annotations

import asyncio
import base64
import functools
import http.server
import json
import math
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor

from misr4d.companion.study import make_scene
from misr4d.core.dose import electrons_per_pixel
from misr4d.learn.learned import attention_unet, informed, load_network
from misr4d.learn.networks import DirectInformed, direct_features
from misr4d.measure.metrics import correlation
from tests.scripts import load_script

live, browser = load_script("book/live.py"), load_script("benchmarks/browser.py")
ROOT = Path(__file__).resolve().parents[2]
SPECIMEN = "apoferritin"


def narrow() -> DirectInformed:
    """Make a network of another size than the shipped one, whose last layer is not zero."""
    torch.manual_seed(0)
    network = DirectInformed(width=8, depth=3).eval()
    torch.nn.init.normal_(network.body.output.weight, std=0.05)
    return network


@pytest.mark.parametrize("width", ["shipped", "narrow"])
def test_exported_network_is_the_networks(width: str, tmp_path: Path) -> None:
    network = load_network("DirectInformed") if width == "shipped" else narrow()
    live.export(network, tmp_path / "network.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "network.onnx")
    generator = torch.Generator().manual_seed(0)
    for step in (1.0, 4.0):
        maps = torch.randn(1, 3, 192, 192, generator=generator) * 0.2
        with torch.inference_mode():
            expected = network(maps, torch.tensor([step]))
        given = {"maps": maps.numpy(), "step": np.float32([step])}
        for found, wanted in zip(session.run(None, given), expected, strict=True):
            np.testing.assert_allclose(found, wanted, atol=1e-4 * float(wanted.std()), rtol=1e-4)


def test_runtime_that_npm_cannot_get_is_said_on_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "npm", lambda arguments: 1)
    assert live.RUNTIME in live.runtime(tmp_path)["missing"]


def test_runtime_that_is_not_the_pinned_one_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / f"{live.RUNTIME.replace('@', '-')}.tgz"
    archive.write_bytes(b"another file")
    with pytest.raises(SystemExit, match="SHA-512"):
        live.runtime(tmp_path)
    assert not archive.exists()


def test_page_offers_the_specimens_that_are_laid_out() -> None:
    page = (ROOT / "book" / "live.md").read_text(encoding="utf-8")
    choice = page.split('name="specimen"')[1].split("</select>")[0]
    offered = tuple(re.findall(r'<option value="(\w+)">', choice))
    assert offered == (*live.SPECIMENS, "vacuum", "own")


def lay_out(folder: Path, specimens: tuple[str, ...]) -> Path:
    """Lay out the page's own part, without the book around it; skip where that cannot be."""
    if browser.find_browser() is None:
        pytest.skip("no browser is installed")
    live.lay(folder / "live", ROOT / "_build" / "live", specimens)
    if 'live.take("missing"' in (folder / "live" / "runtime.js").read_text():
        pytest.skip(f"npm could not get {live.RUNTIME}")
    shutil.copytree(ROOT / "book" / "explore", folder / "explore")
    page = (ROOT / "book" / "live.md").read_text(encoding="utf-8")
    parts = re.findall(r"^```\{raw\} html\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    (folder / "book").mkdir()
    head = '<!doctype html><html lang="en"><meta charset="utf-8"><title>Live</title>'
    head += '<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">'
    (folder / "book" / "live.html").write_text(head + "".join(parts), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lay_out(tmp_path_factory.mktemp("site"), (SPECIMEN,))


@pytest.fixture
def served(site: Path) -> Iterator[str]:
    """Serve the page and give its address."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/book/live.html#specimen={SPECIMEN}"
        server.shutdown()
        thread.join()


# Reconstruct in the page; arrays come back as letters.
RUN = """
live.run(%s).then(async (found) => {
  const letters = (array) => new Promise((resolve) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.split(",")[1]);
    reader.readAsDataURL(new Blob([array]));
  });
  const result = {noise: found.noise};
  for (const name of ["views", "maps", "mean", "deviation", "paper"])
    result[name] = await letters(found[name]);
  return JSON.stringify(result);
})
"""
# Keep what a promise gives.
KEEP = """
window.kept = null;
(%s).then((text) => { kept = {text}; }, (error) => { kept = {error: `${error}`}; });
"""
# What the page says of the drawing that it makes by itself.
SAID = """
new Promise((resolve) => {
  const look = () => {
    const text = document.querySelector("[role=status]").textContent;
    if (/from electrons|Nothing to show/.test(text)) resolve(text); else setTimeout(look, 50);
  };
  look();
})
"""


async def evaluate(page: Any, promise: str) -> str:
    """Text that a promise of the page gives, asked for until it is there: a machine may be busy."""
    await page.say("Runtime.evaluate", expression=KEEP % promise.strip())
    for _ in range(600):
        answer = await page.say("Runtime.evaluate", expression="JSON.stringify(kept)")
        if kept := json.loads(answer["result"]["value"]):
            assert "text" in kept, kept
            return str(kept["text"])
        await asyncio.sleep(0.5)
    raise TimeoutError("the page gave nothing within five minutes")


async def visit(address: str, requests: list[str]) -> tuple[list[dict[str, Any]], str, list[str]]:
    """Return what the page reconstructs, what it says, and what it asked for and threw."""
    found = []
    async with browser.opened(browser.find_browser()) as page:
        await page.say("Page.navigate", url=address)
        await page.wait("Page.loadEventFired")
        for request in requests:
            result = json.loads(await evaluate(page, RUN % request))
            for name in ("views", "maps", "mean", "deviation", "paper"):
                content = base64.b64decode(result[name])
                result[name] = torch.from_numpy(np.frombuffer(content, "<f4").copy())
            found.append(result)
        said = "" if requests else await evaluate(page, SAID)
        given = [(event.get("method"), event.get("params", {})) for event in page.events]
    asked = [p["request"]["url"] for m, p in given if m == "Network.requestWillBeSent"]
    thrown = [str(p) for m, p in given if m == "Runtime.exceptionThrown"]
    known = (address.rsplit("/book/", 1)[0], "blob:", "data:")
    return found, said, thrown + [url for url in asked if not url.startswith(known)]


def check_close(found: Tensor, wanted: Tensor) -> None:
    """Compare two images to 1e-3 of the range of the wanted one."""
    difference = float((found.reshape(wanted.shape) - wanted).abs().max())
    assert difference < 1e-3 * float(wanted.max() - wanted.min())


def test_browser_agrees_with_torch_to_a_thousandth(served: str) -> None:
    requests = [
        f"{{specimen: '{SPECIMEN}', dose: {dose}, seed: 3}}" for dose in ("300", "Infinity")
    ]
    results, _, wrong = asyncio.run(visit(served, requests))
    assert not wrong
    scene = make_scene(SPECIMEN)
    method = scene.direct
    for result in results:
        views = result["views"].reshape(method.number_of_views, 64, 64)
        statistic = method.statistic(views)
        assert result["noise"] == pytest.approx(float(statistic.noise[0]), rel=1e-3)
        features = direct_features(method, statistic)[0][0]
        for found, wanted in zip(result["maps"].reshape(features.shape), features, strict=True):
            check_close(found, wanted)
        estimate = informed(method, views)
        check_close(result["mean"], estimate.mean)
        check_close(result["deviation"], estimate.deviation)
        check_bytes(result["paper"], attention_unet(views, scene.acquisition), scene.truth)
    check_counts(results[0]["views"], results[1]["views"], electrons_per_pixel(300, scene.midplane))


def check_bytes(found: Tensor, wanted: Tensor, phase: Tensor) -> None:
    """Bound what weights in bytes change of the paper's network's image."""
    difference = found.reshape(wanted.shape) - wanted
    assert float(difference.std()) < 0.01 * float(wanted.std())
    images = (found.reshape(wanted.shape), wanted)
    assert correlation(*images) > 0.9999
    correlations = [correlation(image, phase) for image in images]
    assert correlations[0] == pytest.approx(correlations[1], abs=0.001)


def check_counts(views: Tensor, intensity: Tensor, electrons: float) -> None:
    """Whole electrons, with the mean and the variance of Poisson's distribution."""
    counts, expected = views.double() * electrons, intensity.double() * electrons
    np.testing.assert_allclose(counts, counts.round(), atol=1e-3)
    standard = (counts - expected) / expected.sqrt()
    assert abs(float(standard.mean())) < 5 / math.sqrt(len(standard))
    # The square of a standardised Poisson number has the variance 2 + 1/λ.
    spread = float((2 + 1 / expected).mean().sqrt()) / math.sqrt(len(standard))
    assert abs(float(standard.square().mean()) - 1) < 5 * spread


def test_page_works_from_disk(site: Path) -> None:
    _, said, wrong = asyncio.run(
        visit(f"{(site / 'book' / 'live.html').as_uri()}#specimen=apoferritin&seed=7", [])
    )
    assert not wrong
    assert said.startswith("Apoferritin at 300 e⁻/Å², seed 7: ")
    assert said.endswith("s from electrons to images.")
