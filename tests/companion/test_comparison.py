from __future__ import annotations

import asyncio
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from misr4d.companion.comparison import LEVELS, Series, save_frames
from tests.book.test_pages import ROOT, build, check
from tests.scripts import load_script

browser_module = load_script("benchmarks/browser.py")

DOSES = [100.0, 300.0, math.inf]


def series(name: str, **changes: Any) -> Series:
    """Four methods, of which two have one dose each, and not the same."""
    pairs = [(m, d) for m in ("direct", "informed") for d in DOSES] + [("ptychography", 300.0)]
    pairs.append(("refined", 100.0))
    generator = torch.Generator().manual_seed(0)
    ramp = torch.linspace(0, 1, 24).expand(24, 24)
    given: dict[str, Any] = {
        "name": name,
        "title": name.title(),
        "field": (64.0, 64.0),
        "bar": 20.0,
        "truth": ramp,
        "images": {p: ramp + 0.1 * torch.randn(24, 24, generator=generator) for p in pairs},
        "scores": {p: (0.01 * i - 0.02, math.inf if i == 0 else 2.0) for i, p in enumerate(pairs)},
    }
    return Series(**{**given, **changes})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MISR4D_OUTPUT", str(tmp_path / "run"))
    save_frames([series("crystal"), series("protein", bar=50.0)], DOSES)
    return tmp_path / "run"


def test_the_index_names_every_file_and_no_other(folder: Path) -> None:
    index = json.loads((folder / "frames" / "index.json").read_text(encoding="utf-8"))
    assert index["doses"] == [100.0, 300.0, "inf"]
    named = {"index.json"}
    for entry in index["specimens"]:
        assert list(entry["frames"]) == ["direct", "informed", "ptychography", "refined", "truth"]
        assert [f is None for f in entry["frames"]["ptychography"]] == [True, False, True]
        for frames in entry["frames"].values():
            assert len(frames) == len(DOSES)
            named |= {frame["file"] for frame in frames if frame}
    assert {path.name for path in (folder / "frames").iterdir()} == named
    first = index["specimens"][0]["frames"]["direct"][0]
    assert first == {"file": "crystal_0_0.png", "correlation": -0.02, "resolution": None}
    assert index["specimens"][1]["bar"] == 50.0


def test_a_frame_has_the_images_pixels_in_few_levels_under_its_rows_limits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MISR4D_OUTPUT", str(tmp_path))
    ramp = torch.linspace(0, 1, 200).expand(10, 200)
    pairs = {("direct", 100.0): ramp, ("direct", 300.0): 2 * ramp}
    scores = dict.fromkeys(pairs, (0.5, 2.0))
    one = series("ramp", truth=ramp, images=pairs, scores=scores)
    save_frames([one], [100.0, 300.0])
    dim, bright = (np.asarray(Image.open(tmp_path / f"frames/ramp_0_{i}.png")) for i in (0, 1))
    assert dim.shape == (10, 200)
    assert dim.dtype == np.uint8
    assert len(np.unique(bright)) <= LEVELS
    assert (np.diff(bright[0].astype(int)) >= 0).all()
    # The truth's mean is removed, so that the row's lowest value is −1/2 and its highest 2.
    assert dim[0, 0] == pytest.approx(255 * 0.5 / 2.5, abs=4)
    assert dim[0, -1] == pytest.approx(255 * 1.5 / 2.5, abs=4)
    assert bright[0, -1] == 255


def test_frames_are_written_whole_or_not_at_all(folder: Path) -> None:
    before = sorted((folder / "frames").iterdir())
    with pytest.raises(ValueError, match="at 200 e⁻/Å²; expected one of"):
        save_frames([series("crystal", images={("direct", 200.0): torch.zeros(4, 4)})], DOSES)
    with pytest.raises(ValueError, match="no scores of direct at 100"):
        save_frames([series("crystal", scores={})], DOSES)
    with pytest.raises(ValueError, match="no image by 'OBF'"):
        save_frames([series("crystal", like="OBF")], DOSES)
    assert sorted((folder / "frames").iterdir()) == before
    save_frames([series("glass")], DOSES)
    names = {path.name.split("_")[0] for path in (folder / "frames").glob("*.png")}
    assert names == {"glass"}


@pytest.fixture
def page(folder: Path, tmp_path: Path) -> Path:
    """The page of comparisons as the book has it, without the theme."""
    site = tmp_path / "site"
    (site / "book").mkdir(parents=True)
    build.stage_frames(folder, site / "explore")
    source = (ROOT / "book" / "explore.md").read_text(encoding="utf-8")
    raw = re.findall(r"```\{raw\} html\n(.*?)```", source, re.DOTALL)
    path = site / "book" / "explore.html"
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    path.write_text(head + "".join(raw), encoding="utf-8")
    return path


def test_frames_count_for_the_weight_of_their_page(page: Path) -> None:
    site = page.parent.parent
    assert list(check.problems(site)) == []
    frames = sum(path.stat().st_size for path in (site / "explore" / "frames").iterdir())
    whole = frames + len(page.read_bytes())
    assert list(check.problems(site, whole)) == []
    assert "with its images" in next(check.problems(site, whole - 1))
    # Images for readers without scripts are an alternative, not an addition.
    (site / "book" / "plain.png").write_bytes(b"x" * frames)
    text = page.read_text().replace("</noscript>", '<img src="plain.png" alt="x"></noscript>')
    page.write_text(text)
    assert list(check.problems(site, whole + 100)) == []
    page.write_text(text.replace("../explore/frames/", "../nowhere/"))
    assert any("no folder ../nowhere/" in line for line in check.problems(site))


SHOWN = """JSON.stringify({
  images: [...document.querySelectorAll('.compare-half')].reverse().map((half) => {
    return half.querySelector('img').src.split('/').pop();
  }),
  loaded: [...document.querySelectorAll('.compare-half img')].map(
    (image) => image.naturalWidth),
  captions: [...document.querySelectorAll('.compare-captions output')].map((o) => o.textContent),
  stops: document.querySelector('.compare-dose input').max,
  link: location.hash,
  dose: document.querySelector('.compare-dose input').getAttribute('aria-valuetext'),
  divider: document.querySelector('[role=slider]').getAttribute('aria-valuenow'),
  said: document.querySelector('[role=slider]').getAttribute('aria-valuetext'),
  clip: document.querySelector('.compare-left').style.clipPath,
  bar: document.querySelector('.compare-bar').textContent,
})"""


# Play the blind test to its end, always for the left picture.
PLAY = """(() => {
  const [blind, said] = [document.querySelector('#blind'), []];
  for (let round = 0; round < 10; round++) {
    blind.querySelector(':scope > button').click();
    const files = [...blind.querySelectorAll('img')].map((i) => i.src.split('/').pop());
    const before = blind.querySelector('[role=status]').textContent;
    blind.querySelector('.blind-pair button').click();
    const after = blind.querySelector('[role=status]').textContent;
    said.push({files, before, after});
  }
  return JSON.stringify(said);
})()"""

# Whether all fits a phone's width, and what comes first.
LAYOUT = """JSON.stringify({
  width: document.documentElement.scrollWidth,
  top: document.querySelector('.compare-stage').getBoundingClientRect().top,
  controls: document.querySelector('.compare-controls').getBoundingClientRect().top,
})"""


async def evaluate(browser: Any, expression: str) -> str:
    answer = await browser.say("Runtime.evaluate", expression=expression)
    return str(answer["result"]["value"])


async def press(browser: Any, selector: str, *keys: str) -> None:
    codes = {"ArrowLeft": 37, "ArrowRight": 39, "End": 35, "Home": 36, "PageUp": 33}
    focus = f"document.querySelector({selector!r}).focus()"
    await browser.say("Runtime.evaluate", expression=focus)
    for key in keys:
        pressed = {"key": key, "code": key, "windowsVirtualKeyCode": codes[key]}
        await browser.say("Input.dispatchKeyEvent", type="keyDown", **pressed)
        await browser.say("Input.dispatchKeyEvent", type="keyUp", **pressed)


async def shown(browser: Any) -> dict[str, Any]:
    await asyncio.sleep(0.2)  # images come from disk
    answer = await browser.say("Runtime.evaluate", expression=SHOWN)
    found: dict[str, Any] = json.loads(answer["result"]["value"])
    return found


async def choose(browser: Any, place: int, value: str) -> None:
    expression = f"""(() => {{
      const select = document.querySelectorAll('.compare-controls select')[{place}];
      select.value = {value!r};
      select.dispatchEvent(new Event('change'));
    }})()"""
    await browser.say("Runtime.evaluate", expression=expression)


async def explore(program: str, page: Path) -> dict[str, dict[str, Any]]:
    """Use the page by keys, mouse and touch; return what it shows after each."""
    seen = {}
    async with browser_module.opened(program) as browser:
        size = {"width": 700, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        await browser.say("Emulation.setDeviceMetricsOverride", **size)
        await browser.say("Page.navigate", url=page.as_uri())
        await browser.wait("Page.loadEventFired")
        seen["first"] = await shown(browser)
        await press(browser, "[role=slider]", "ArrowRight", "ArrowRight", "ArrowLeft", "PageUp")
        seen["divider"] = await shown(browser)
        await press(browser, "[role=slider]", "End", "ArrowRight")
        seen["end"] = await shown(browser)
        await choose(browser, 1, "direct")
        await press(browser, ".compare-dose input", "ArrowRight")
        seen["dose"] = await shown(browser)
        await choose(browser, 2, "ptychography")
        seen["one dose"] = await shown(browser)
        await choose(browser, 1, "refined")
        seen["none in common"] = await shown(browser)
        await choose(browser, 1, "direct")
        await choose(browser, 0, "1")
        await choose(browser, 2, "truth")
        seen["truth"] = await shown(browser)
        where = "JSON.stringify(document.querySelector('.compare-stage').getBoundingClientRect())"
        answer = await browser.say("Runtime.evaluate", expression=where)
        box = json.loads(answer["result"]["value"])
        quarter, y = box["x"] + box["width"] / 4, box["y"] + box["height"] / 2
        for kind, x in (("Pressed", box["right"] - 2), ("Moved", quarter), ("Released", quarter)):
            mouse = {"type": f"mouse{kind}", "x": x, "y": y, "button": "left", "clickCount": 1}
            await browser.say("Input.dispatchMouseEvent", buttons=1, **mouse)
        seen["mouse"] = await shown(browser)
        await browser.say("Emulation.setTouchEmulationEnabled", enabled=True)
        across = quarter + box["width"] / 2
        for kind, x in (("Start", quarter), ("Move", quarter + 40), ("Move", across)):
            points = [{"x": x, "y": y}]
            await browser.say("Input.dispatchTouchEvent", type=f"touch{kind}", touchPoints=points)
        await browser.say("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
        seen["touch"] = await shown(browser)
        hidden = "String(document.querySelector('.blind-pair').offsetHeight)"
        seen["waiting"] = {"height": await evaluate(browser, hidden)}
        seen["blind"] = json.loads(await evaluate(browser, PLAY))
        phone = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
        await browser.say("Emulation.setDeviceMetricsOverride", **phone)
        seen["phone"] = json.loads(await evaluate(browser, LAYOUT))
        # The link alone brings back what was seen.
        await browser.say("Page.navigate", url="about:blank")
        events = list(browser.events)
        browser.events.clear()
        await browser.say("Page.navigate", url=page.as_uri() + seen["touch"]["link"])
        await browser.wait("Page.loadEventFired")
        seen["link"] = await shown(browser)
        events += browser.events
        asked = [
            event["params"]["request"]["url"]
            for event in events
            if event.get("method") == "Network.requestWillBeSent"
        ]
        faults = [e for e in events if e.get("method") == "Runtime.exceptionThrown"]
        seen["asked"] = {"urls": asked, "faults": faults}
    return seen


def test_the_page_compares_two_methods_by_key_mouse_and_touch(page: Path) -> None:
    program = browser_module.find_browser()
    if program is None:
        pytest.skip("no browser found; install chromium")
    seen = asyncio.run(explore(program, page))
    first = seen["first"]
    # The paper's pair, at the only dose that both were run at.
    assert first["images"] == ["crystal_2_1.png", "crystal_1_1.png"]
    assert first["loaded"] == [24, 24]
    assert first["captions"] == [
        "ptychography, 300 e⁻/Å²: correlation 0.04, resolution 2.00 Å",
        "direct + U-Net, 300 e⁻/Å²: correlation 0.02, resolution 2.00 Å",
    ]
    assert (first["divider"], first["dose"], first["bar"]) == ("50", "300 e⁻/Å²", "20 Å")
    assert first["stops"] == "0"
    assert seen["divider"]["divider"] == "62"
    assert seen["divider"]["clip"] == "inset(0px 38% 0px 0px)"
    assert seen["divider"]["said"] == "62 % ptychography, 38 % direct + U-Net"
    assert seen["end"]["divider"] == "100"
    assert seen["dose"]["dose"] == "∞ dose"
    assert seen["dose"]["stops"] == "2"
    assert seen["dose"]["images"] == ["crystal_0_2.png", "crystal_1_2.png"]
    # No stop of the slider is without an image.
    assert seen["one dose"]["images"] == ["crystal_0_1.png", "crystal_2_1.png"]
    assert (seen["one dose"]["stops"], seen["one dose"]["dose"]) == ("0", "300 e⁻/Å²")
    assert seen["none in common"]["images"] == ["crystal_3_0.png", "crystal_truth.png"]
    assert seen["truth"]["images"] == ["protein_0_0.png", "protein_truth.png"]
    assert seen["truth"]["captions"][1] == "truth"
    assert seen["truth"]["bar"] == "50 Å"
    assert int(seen["mouse"]["divider"]) == 25
    assert int(seen["touch"]["divider"]) == 75
    assert seen["touch"]["link"] == (
        "#specimen=protein&dose=100&left=direct&right=truth&divider=75"
    )
    assert seen["link"] == seen["touch"]
    assert seen["waiting"]["height"] == "0"  # nothing is shown before the test starts
    check_blind(seen["blind"])
    phone = seen["phone"]
    assert phone["width"] <= 390
    assert phone["top"] < phone["controls"]
    assert all(url.startswith(("file:", "data:")) for url in seen["asked"]["urls"])
    assert seen["asked"]["faults"] == []


def check_blind(rounds: list[dict[str, Any]]) -> None:
    """Each round shows the truth once, says nothing before the answer and counts rightly."""
    right = 0
    for number, played in enumerate(rounds, 1):
        left, other = (name.endswith("_truth.png") for name in played["files"])
        assert left != other
        assert played["before"].startswith(f"Round {number} of 10: ")
        assert "correlation" not in played["before"]
        right += left
        assert played["after"].startswith("Right" if left else "Wrong")
        assert f"{right} of {number} so far" in played["after"]
    assert "5 of 10 on average" in rounds[-1]["after"]
