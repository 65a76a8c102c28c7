"""Open every rendered page in headless Chromium as a reader would, and report what is wrong.

    python benchmarks/read_pages.py _build/html --out _output/pages

Each page is opened at laptop and phone width, light and dark. Reported are console errors, requests
that leave the machine, pages wider than the window, and text whose contrast is below WCAG's 4.5 : 1
(3 : 1 where it is large). Screenshots land in the folder given; looking at them is still needed.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import itertools
import json
import sys
from pathlib import Path
from typing import Any

from browser import BROWSERS, Browser, find_browser, opened

WIDTHS = {"laptop": (1280, 800, False), "phone": (390, 844, True)}
# What the reading of one page finds: too wide elements, and text of too little contrast.
LOOK = """
(() => {
  const wide = document.documentElement.scrollWidth - window.innerWidth;
  const shown = (e) => e.getClientRects().length && getComputedStyle(e).visibility != 'hidden';
  const scrolls = (e) => {
    for (let p = e.parentElement; p; p = p.parentElement)
      if (['auto', 'scroll', 'hidden', 'clip'].includes(getComputedStyle(p).overflowX)
          && p !== document.body && p !== document.documentElement) return true;
    return false;
  };
  const out = wide <= 1 ? [] : [...document.querySelectorAll('body *')].filter(
    (e) => shown(e) && e.getBoundingClientRect().right > window.innerWidth + 1 && !scrolls(e));
  const name = (e) => e.tagName.toLowerCase() + (e.className && e.className.baseVal === undefined
    ? '.' + [...e.classList].join('.') : '');
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const known = new Map();
  const rgba = (text) => {
    if (!known.has(text)) known.set(text, drawn(text));
    return [...known.get(text)];
  };
  const drawn = (text) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = text; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, under) => [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3]));
  const behind = (e) => {
    const layers = [];
    for (let p = e; p; p = p.parentElement) layers.push(rgba(getComputedStyle(p).backgroundColor));
    return layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255]);
  };
  const light = (c) => {
    const [r, g, b] = c.map((v) => v / 255).map(
      (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const pale = {};
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let n = walk.nextNode(); n; n = walk.nextNode()) {
    const e = n.parentElement;
    if (!n.data.trim() || !shown(e) || e.closest('script, style, noscript')) continue;
    const style = getComputedStyle(e), under = behind(e);
    let alpha = 1;
    for (let p = e; p; p = p.parentElement) alpha *= parseFloat(getComputedStyle(p).opacity);
    if (alpha == 0) continue;
    const ink = rgba(style.color); ink[3] *= alpha;
    const [a, b] = [light(over(ink, under)), light(under)];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && parseInt(style.fontWeight) >= 700);
    if (ratio < (large ? 3 : 4.5) - 0.005)
      pale[`${name(e)} ${ratio.toFixed(2)}`] ??= n.data.trim().slice(0, 40);
  }
  return JSON.stringify({wide, out: out.slice(-3).map(name), pale,
    height: document.documentElement.scrollHeight});
})()
"""


def complaints(events: list[dict[str, Any]]) -> list[str]:
    """Sort console errors and requests to elsewhere out of what the browser said."""
    found = []
    for event in events:
        method, given = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            details = given["exceptionDetails"]
            found.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Log.entryAdded" and given["entry"]["level"] == "error":
            found.append(f"{given['entry']['text']} {given['entry'].get('url', '')}")
        elif method == "Runtime.consoleAPICalled" and given["type"] == "error":
            found.append(" ".join(str(a.get("value", a.get("description"))) for a in given["args"]))
        elif method == "Network.requestWillBeSent":
            url = given["request"]["url"]
            if not url.startswith(("file:", "data:", "blob:", "chrome-")):
                found.append(f"asks {url} from the network")
    return found


async def look(browser: Browser, page: Path, width: str, scheme: str, shot: Path) -> list[str]:
    """Open one page in one way; return what is wrong with it."""
    across, high, mobile = WIDTHS[width]
    screen = {"deviceScaleFactor": 1, "mobile": mobile}
    await browser.say("Emulation.setDeviceMetricsOverride", width=across, height=high, **screen)
    features = [
        {"name": "prefers-color-scheme", "value": scheme},
        {"name": "prefers-reduced-motion", "value": "reduce"},
    ]
    await browser.say("Emulation.setEmulatedMedia", features=features)
    browser.events.clear()
    await browser.say("Page.navigate", url=page.as_uri())
    await browser.wait("Page.loadEventFired")
    await asyncio.sleep(0.3)  # scripts that run once the page is there
    answer = await browser.say("Runtime.evaluate", expression=LOOK)
    if "exceptionDetails" in answer:
        raise RuntimeError(f"{page}: {answer['exceptionDetails']['exception']['description']}")
    seen = json.loads(answer["result"]["value"])
    # In a window as high as the page: a capture beyond the window lays it out anew, at times wider.
    whole = min(seen["height"], 16000)
    await browser.say("Emulation.setDeviceMetricsOverride", width=across, height=whole, **screen)
    picture = await browser.say("Page.captureScreenshot")
    shot.write_bytes(base64.b64decode(picture["data"]))
    found = complaints(browser.events)
    if seen["wide"] > 1:
        found.append(f"{seen['wide']} px wider than the window: {', '.join(seen['out'])}")
    found += [f"contrast of {where}: {text!r}" for where, text in seen["pale"].items()]
    return found


async def read(folder: Path, out: Path, names: list[str]) -> int:
    """Open all pages in all ways, print what is wrong, and return how much that was."""
    program = find_browser()
    if program is None:
        raise SystemExit(f"no browser: expected one of {', '.join(BROWSERS)}; install chromium")
    pages = [
        page
        for page in sorted(folder.resolve().rglob("*.html"))
        if not page.relative_to(folder.resolve()).parts[0].startswith("_")
        and (not names or page.stem in names)
        # The front door only sends the reader on, to a page that is read itself.
        and 'http-equiv="refresh"' not in page.read_text(encoding="utf-8").lower()
    ]
    if not pages:
        raise SystemExit(f"no page in {folder}; expected a rendered book, as `make book` leaves it")
    out.mkdir(parents=True, exist_ok=True)
    wrong = 0
    async with opened(program) as browser:
        for page, width, scheme in itertools.product(pages, WIDTHS, ("light", "dark")):
            shot = out / f"{page.stem}_{width}_{scheme}.png"
            for line in dict.fromkeys(await look(browser, page, width, scheme, shot)):
                wrong += 1
                where = page.relative_to(folder.resolve())
                print(f"{where} ({width}, {scheme}): {line}", flush=True)
    print(f"{len(pages)} pages opened in {len(WIDTHS) * 2} ways; {wrong} complaints; see {out}")
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description="Open every page in headless Chromium.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("_output/pages"))
    parser.add_argument(
        "--page", action="append", default=[], help="stem of a page; by default all"
    )
    options = parser.parse_args()
    sys.exit(1 if asyncio.run(read(options.folder, options.out, options.page)) else 0)


if __name__ == "__main__":
    main()
