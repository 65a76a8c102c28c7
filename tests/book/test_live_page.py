"""The live page as a reader uses it: at a laptop and on a phone, by keys, mouse and touch."""

from __future__ import annotations

import asyncio
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import numpy as np
import pytest
import torch

from misr4d.companion.live_data import atom_spectrum, describe_blank, pack_array
from misr4d.core.acquisition import ATOMIC, UPSAMPLING
from misr4d.reconstruction.forward import ExpectedViews
from misr4d.simulate.patterns import camera_pixel
from misr4d.specimens.potential import project_atoms, truth
from tests.book.test_live import browser, evaluate, lay_out, live

COLUMNS = [(float(x), float(y)) for x in range(20, 48, 4) for y in range(20, 48, 4)]  # Å


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page with a thin crystal of two cobalt atoms a column in the place of Li2CoO3."""
    folder = lay_out(tmp_path_factory.mktemp("site"), ())
    acquisition = replace(ATOMIC, detector_pixel=camera_pixel(ATOMIC.wavelength))
    atoms = [(x, y, z) for x, y in COLUMNS for z in (0.25, 0.75)]
    shape = acquisition.output_shape(UPSAMPLING)
    potential = project_atoms([27] * len(atoms), atoms, acquisition.field, shape, [1.0])
    phase = truth(potential, acquisition)
    model = ExpectedViews(acquisition, UPSAMPLING)
    with torch.inference_mode():
        views = model(model.transmission(phase)).numpy()
    lowest, spread = float(views.min()), float(np.ptp(views))
    described = {
        **describe_blank(),
        "lowest": lowest,
        "range": spread,
        "intensity": pack_array(np.round((views - lowest) / spread * 65535), "<u2"),
        "truth": pack_array(phase.numpy(), "<f4"),
        "inside": pack_array(np.ones(shape), "u1"),
        "atoms": pack_array(np.array(atoms)[:, :2], "<f4"),
        "kinds": pack_array(np.zeros(len(atoms)), "u1"),
        "elements": {"Co": atom_spectrum("Co", acquisition)},
    }
    text = live.script({"Li2CoO3": described})
    (folder / "live" / "Li2CoO3.js").write_text(text, encoding="ascii")
    return folder


# Wait for the page to come to rest; then return what it shows.
REST = """
new Promise((resolve) => {
  const look = () => {
    const text = document.querySelector("[role=status]").textContent;
    if (document.body.classList.contains("live-busy")
        || !/from electrons|Nothing to show/.test(text)) setTimeout(look, 50);
    else setTimeout(() => resolve(JSON.stringify({
      status: text,
      said: Object.fromEntries([...document.querySelectorAll("[data-picture]")].map((figure) =>
        [figure.dataset.picture, figure.querySelector(".live-said").textContent])),
      scales: [...document.querySelectorAll("[data-picture] .live-scale")]
        .map((scale) => scale.textContent),
      pair: document.querySelector("figure.live-main figcaption strong").textContent,
      main: document.querySelector("figure.live-main .live-said").textContent,
      bar: document.querySelector(".live-stage .live-bar").textContent,
      cursor: document.querySelector("#live-cursor").value,
      atoms: document.querySelector("#live-atoms output").value,
      note: document.querySelector("#live-draw output[name=note]").value,
      widths: [...document.querySelectorAll("figure canvas")].map((c) => c.clientWidth),
      slide: document.querySelector("#live-slide output[name=one]").value,
      sum: document.querySelector("#live-slide output[name=all]").value,
      page: [document.documentElement.scrollWidth, window.innerWidth],
      order: [".live-main", "#live-controls"].map((s) =>
        document.querySelector(s).getBoundingClientRect().top),
      link: location.hash,
    })), 400);
  };
  setTimeout(look, 100);
})
"""
CLICK = "(document.querySelector('[data-do=%s]').click(), Promise.resolve('clicked'))"
SET = """((element) => {
  element.value = %s;
  element.dispatchEvent(new Event("input", {bubbles: true}));
  element.dispatchEvent(new Event("change", {bubbles: true}));
  return Promise.resolve("set");
})(document.querySelector(%s))"""


class Reader:
    """One who uses the page."""

    def __init__(self, page: Any) -> None:
        self.page = page

    async def rest(self) -> dict[str, Any]:
        return dict(json.loads(await evaluate(self.page, REST)))

    async def click(self, name: str) -> dict[str, Any]:
        await evaluate(self.page, CLICK % name)
        return await self.rest()

    async def choose(self, selector: str, value: str) -> dict[str, Any]:
        await evaluate(self.page, SET % (json.dumps(value), json.dumps(selector)))
        return await self.rest()

    async def box(self, selector: str) -> dict[str, float]:
        code = f"""(() => {{
          const element = document.querySelector({json.dumps(selector)});
          element.scrollIntoView({{block: "center"}});
          return Promise.resolve(JSON.stringify(element.getBoundingClientRect()));
        }})()"""
        return dict(json.loads(await evaluate(self.page, code)))

    async def keys(self, selector: str, *keys: str, shift: bool = False) -> dict[str, Any]:
        focus = f"document.querySelector({json.dumps(selector)}).focus()"
        await self.page.say("Runtime.evaluate", expression=focus)
        codes = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Home": 36}
        for key in keys:
            pressed: dict[str, Any] = {"key": key, "windowsVirtualKeyCode": codes.get(key, 0)}
            pressed["modifiers"] = 8 if shift else 0
            if key not in codes:
                pressed["text"] = key
            await self.page.say("Input.dispatchKeyEvent", type="keyDown", **pressed)
            await self.page.say("Input.dispatchKeyEvent", type="keyUp", key=key)
        return await self.rest()

    async def mouse(self, selector: str, x: float, y: float) -> dict[str, Any]:
        box = await self.box(selector)
        at = {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]}
        await self.page.say("Input.dispatchMouseEvent", type="mouseMoved", **at)
        return await self.rest()

    async def touch(self, selector: str, *fingers: list[tuple[float, float]]) -> dict[str, Any]:
        """Fingers at places of an element, one list for each moment."""
        box = await self.box(selector)
        for number, moment in enumerate(fingers):
            points = [
                {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"], "id": i}
                for i, (x, y) in enumerate(moment)
            ]
            kind = "touchMove" if number else "touchStart"
            await self.page.say("Input.dispatchTouchEvent", type=kind, touchPoints=points)
        await self.page.say("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
        return await self.rest()


async def use(site: Path, do: Any, *, width: int, link: str = "") -> dict[str, dict[str, Any]]:
    """Open the page, let a reader do things, and give what was seen, asked and thrown."""
    async with browser.opened(browser.find_browser()) as page:
        phone = width < 600
        size = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": phone}
        await page.say("Emulation.setDeviceMetricsOverride", **size)
        await page.say("Emulation.setTouchEmulationEnabled", enabled=phone)
        await page.say("Page.navigate", url=(site / "book" / "live.html").as_uri() + link)
        await page.wait("Page.loadEventFired")
        seen: dict[str, dict[str, Any]] = await do(Reader(page))
        events = [(event.get("method"), event.get("params", {})) for event in page.events]
    asked = [p["request"]["url"] for m, p in events if m == "Network.requestWillBeSent"]
    own = (site.as_uri(), "blob:", "data:")
    assert [url for url in asked if not url.startswith(own)] == []
    assert [p for m, p in events if m == "Runtime.exceptionThrown"] == []
    entries = [p["entry"] for m, p in events if m == "Log.entryAdded"]
    assert [entry["text"] for entry in entries if entry["level"] == "error"] == []
    loaded = {Path(url).stem for url in asked if url.endswith(".js")}
    sizes = json.loads((site / "live" / "sizes.js").read_text().split(", ", 1)[1][:-3])
    seen["loaded"] = {name: sizes[name] for name in loaded if name in sizes}
    return seen


def number(text: str) -> float:
    return float(text.replace("−", "-"))


async def at_the_laptop(reader: Reader) -> dict[str, dict[str, Any]]:
    seen = {"first": await reader.rest()}
    seen["cursor"] = await reader.mouse("[data-picture=truth] canvas", 0.5, 0.5)
    seen["zoomed"] = await reader.click("closer")
    seen["keys"] = await reader.keys("[data-picture=mean] canvas", "+", "ArrowRight", "ArrowDown")
    seen["out"] = await reader.click("column")
    seen["riddle"] = await reader.click("rings")
    await reader.click("rings")
    seen["back"] = await reader.click("back")
    seen["whole"] = await reader.click("whole")
    tell = "(document.querySelector('[name=tell]').click(), Promise.resolve('told'))"
    await evaluate(reader.page, tell)
    seen["slide"] = await reader.keys("#live-slide-one", *("ArrowUp",) * 4, shift=True)
    seen["sum"] = await reader.choose("#live-slide [name=share]", "1")
    seen["difference"] = await reader.choose("[name=show]", "difference")
    seen["overlay"] = await reader.choose("[name=show]", "overlay")
    await reader.choose("[name=show]", "divider")
    seen["divider"] = await reader.keys(".compare-divider", "Home", "ArrowRight", "ArrowRight")
    seen["next"] = await reader.click("next")
    seen["dose"] = await reader.choose("[name=dose]", "17")
    sheet = "Promise.resolve(JSON.stringify([shown.sheet().width, shown.sheet().height]))"
    seen["sheet"] = {"size": json.loads(await evaluate(reader.page, sheet))}
    return seen


def test_a_reader_at_a_laptop_measures_zooms_and_takes_atoms_out(site: Path) -> None:
    seen = asyncio.run(use(site, at_the_laptop, width=1280, link="#dose=5000&seed=4"))
    first = seen["first"]
    assert first["status"].startswith("Li₂CoO₃ at 5,000 e⁻/Å², seed 4: ")
    assert min(width for width in first["widths"] if width) >= 400
    assert first["page"][0] <= first["page"][1]
    for name in ("direct", "paper", "mean", "sample"):
        correlation = first["said"][name].split("correlation inside the specimen ")[1]
        assert 0.2 < number(correlation) < 1
    assert all(scale.endswith(("rad", "electrons")) for scale in first["scales"])
    assert first["pair"] == "The paper's network | Direct ptychography"
    # The cursor stands on the column in the middle of the crystal, where the phase is highest.
    assert seen["cursor"]["cursor"].startswith("32.")
    assert number(seen["cursor"]["cursor"].split("Truth ")[1].split(" rad")[0]) > 0.3
    assert (first["bar"], seen["zoomed"]["bar"], seen["keys"]["bar"]) == ("20 Å", "10 Å", "5 Å")
    assert seen["keys"]["cursor"] != seen["cursor"]["cursor"]
    assert seen["out"]["atoms"] == "Taken out: 2 Co; a yellow ring marks the place."
    assert parse_qs(seen["out"]["link"][1:])["out"] == ["48,49"]
    gone = number(seen["out"]["cursor"].split("Truth ")[1].split(" rad")[0])
    assert abs(gone) < 0.1  # and the electrons say so, without a prior:
    assert number(seen["out"]["cursor"].split("ptychography ")[1].split(",")[0]) < 0.15
    riddle = parse_qs(seen["riddle"]["link"][1:])
    assert (riddle["out"], riddle["rings"]) == (["48,49"], ["hidden"])
    assert seen["riddle"]["atoms"] == "Something is taken out. Where?"
    assert "out" not in parse_qs(seen["back"]["link"][1:])
    assert seen["whole"]["bar"] == "20 Å"
    # By hand and by geometry, λ·defocus·angle, the view near the rim moves by the same.
    assert seen["slide"]["slide"].startswith("Moved by −4.0 Å down, 0.0 Å across")
    assert "Geometry says −4.3 Å down, 0.0 Å across" in seen["slide"]["slide"]
    fits = [number(seen[n]["slide"].split("correlate by ")[1][:4]) for n in ("whole", "slide")]
    assert fits[1] > fits[0]
    contrasts = [number(seen[n]["sum"].split("contrast of ")[1][:3]) for n in ("slide", "sum")]
    assert contrasts[1] > 2 * contrasts[0]
    assert seen["difference"]["pair"] == "The paper's network minus Direct ptychography"
    assert seen["difference"]["main"].startswith("they differ by ")
    assert seen["overlay"]["main"].startswith("The paper's network in magenta, Direct")
    assert parse_qs(seen["divider"]["link"][1:])["divider"] == ["4"]
    assert seen["next"]["said"]["sample"].startswith("number 2 of 4")
    assert seen["dose"]["said"]["view"].startswith("expected intensity")
    assert seen["sheet"]["size"] == [1264, 1008]


async def on_a_phone(reader: Reader) -> dict[str, dict[str, Any]]:
    seen = {"first": await reader.rest()}
    size = "Promise.resolve(document.querySelector('[data-size=first]').textContent)"
    seen["size"] = {"said": await evaluate(reader.page, size)}
    seen["tap"] = await reader.touch("[data-picture=direct] canvas", [(0.25, 0.75)])
    apart = [[(0.5, 0.45), (0.5, 0.55)], [(0.5, 0.3), (0.5, 0.7)], [(0.5, 0.25), (0.5, 0.75)]]
    seen["pinch"] = await reader.touch("[data-picture=direct] canvas", *apart)
    seen["divider"] = await reader.touch(".compare-divider", [(0.5, 0.5)], [(2.5, 0.5)])
    seen["example"] = await reader.click("example")
    seen["own"] = await reader.click("measure")
    await reader.click("clear")
    seen["drawn"] = await reader.touch("#live-pad", [(0.5, 0.5)])
    await reader.keys("#live-pad", "ArrowDown", "ArrowDown", " ")
    seen["stamp"] = await reader.click("measure")
    phase = "Promise.resolve(JSON.stringify([own.phase[96 * 192 + 96], own.phase[102 * 192 + 96]]))"
    seen["phase"] = {"stamped": json.loads(await evaluate(reader.page, phase))}
    return seen


def test_a_reader_on_a_phone_sees_vacuum_and_draws(site: Path) -> None:
    seen = asyncio.run(use(site, on_a_phone, width=390, link="#specimen=vacuum&dose=50"))
    first = seen["first"]
    assert first["status"].startswith("Vacuum: nothing at all at 50 e⁻/Å²")
    for name in ("direct", "paper", "mean"):
        assert "it invents" in first["said"][name]
    assert first["page"][0] <= 390
    assert first["order"][0] < first["order"][1]  # the picture comes first
    # What the page says that it loads is what it loads.
    assert seen["size"]["said"] == f"{sum(seen['loaded'].values()) / 1e6:.1f}"
    assert set(seen["loaded"]) == {"runtime", "network", "paper", "blank"}
    assert seen["tap"]["cursor"].startswith("48.0 Å down, 16.0 Å across")
    assert seen["pinch"]["bar"] in ("5 Å", "10 Å")
    assert int(parse_qs(seen["divider"]["link"][1:])["divider"][0]) > 60
    assert "One is missing" in seen["example"]["note"]
    assert seen["own"]["status"].startswith("Your own drawing at 50 e⁻/Å²")
    assert "correlation over the field" in seen["own"]["said"]["direct"]
    # An atom by a tap in the middle, and another 2 Å below it by the keys.
    assert min(seen["phase"]["stamped"]) > 0.1
    assert seen["stamp"]["said"]["truth"].startswith("the phase that was drawn")


OPEN = """(async () => {
  const bytes = Uint8Array.from(atob("%s"), (letter) => letter.charCodeAt(0));
  const files = new DataTransfer();
  files.items.add(new File([bytes], "phase.npy"));
  const input = document.querySelector("#live-draw").elements.file;
  input.files = files.files;
  input.dispatchEvent(new Event("change"));
  await new Promise((resolve) => setTimeout(resolve, 300));
  return JSON.stringify({
    note: document.querySelector("#live-draw output[name=note]").value,
    phase: Array.from(own.phase),
  });
})()"""


def npy(array: Any) -> str:
    import base64

    buffer = io.BytesIO()
    np.save(buffer, array)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


async def drop_files(reader: Reader) -> dict[str, dict[str, Any]]:
    ramp = np.linspace(0, 1, 192)[:, None] * np.linspace(0, 2, 192)
    files = {
        "same": ramp,
        "turned": np.asfortranarray(ramp),
        "fine": np.kron(ramp, np.ones((3, 3))).astype("f4"),
        "coarse": np.full((16, 16), 0.5),
        "bytes": np.ones((20, 20), "u1"),
        "strong": 100 * ramp,
        "three": np.zeros((4, 4, 4)),
        "complex": np.zeros((20, 20), complex),
        "nan": np.full((20, 20), np.nan),
        "small": np.zeros((4, 4)),
    }
    await reader.rest()
    return {n: json.loads(await evaluate(reader.page, OPEN % npy(a))) for n, a in files.items()}


def test_files_are_read_as_numpy_wrote_them_or_refused_in_words(site: Path) -> None:
    seen = asyncio.run(use(site, drop_files, width=1280, link="#specimen=vacuum"))
    ramp = np.linspace(0, 1, 192)[:, None] * np.linspace(0, 2, 192)
    for name in ("same", "turned", "fine"):
        phase = np.reshape(seen[name]["phase"], (192, 192))
        np.testing.assert_allclose(phase, ramp, atol=0.01)
    assert "192 × 192 pixels" in seen["same"]["note"]
    assert set(seen["coarse"]["phase"]) == {0.5}
    assert set(seen["bytes"]["phase"]) == {1.0}
    for name, words in (
        ("strong", "its largest value is 200; expected a phase in rad, at most π"),
        ("three", "its shape is (4, 4, 4); expected a square picture"),
        ("complex", "its numbers are <c16; expected"),
        ("nan", "it holds a value that is no number"),
        ("small", "it has 4 pixels a side; expected 16 to 1024"),
    ):
        assert words in seen[name]["note"], name
        assert set(seen[name]["phase"]) == {1.0}  # what was there stays
