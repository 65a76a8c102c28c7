from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch

from misr4d.calibrate.defocus import Search
from misr4d.calibrate.disc import Disc
from misr4d.report.html import report_page

RECORD = {
    "source": "my <scan>.h5",
    "method": "informed",
    "shape": [96, 96],
    "pixel": {"value": [0.333333, 0.333333], "unit": "Å"},
    "signal": {"value": 0.1234, "unit": "rad"},
    "deviation": {"value": 0.0567, "unit": "rad"},
    "half_set_resolution": {
        "direct": {"half-bit": 2.345, "0.143": None},
        "informed": {"half-bit": 1.234, "0.143": 0.6667},
        "finest": 0.6667,
        "unit": "Å",
    },
    "quantities": {
        "defocus": {"value": 487.5, "unit": "Å", "origin": "estimated", "error": 3.21},
        "rotation": {"value": 52.4, "unit": "deg", "origin": "estimated", "error": 0.3},
        "step": {"value": [1.0, 1.25], "unit": "Å", "origin": "given"},
        "transposed": {"value": False, "unit": "", "origin": "file"},
        "hot_pixels": {"value": 17, "unit": "pixel", "origin": "estimated"},
    },
    "bad_pixels": [[3, 4]],
    "warnings": ["the dose is < 10 & low"],
    "provenance": {"misr4d": "0.1", "file": {"specimen": "CaTiO3"}, "weights": "f00d"},
}


@pytest.fixture(scope="module")
def page() -> str:
    frequency = torch.linspace(0.02, 1.5, 40)
    curve = (frequency, torch.exp(-frequency), torch.full((40,), 100.0))
    mean = np.random.default_rng(0).poisson(4.0, (31, 31)).astype(float)
    bad = np.zeros((31, 31), dtype=bool)
    bad[3, 4] = True
    disc = Disc((15.0, 15.0), 9.0, (0.1, 0.1), 0.1)
    image = b"\x89PNG\r\n\x1a\n"
    curves = {"direct": curve, "informed": curve}
    totals = np.random.default_rng(1).poisson(90.0, (40, 32)).astype(float)
    line = np.linspace(-900.0, 900.0, 37)
    score = np.exp(-((line[:, None] - 300.0) ** 2 + (line - 390.0) ** 2) / 2e4)
    search = Search(line, np.where(np.hypot(line[:, None], line) > 900, np.nan, score))
    return report_page(RECORD, image, curves, mean, bad, disc, totals, search)


class Read(HTMLParser):
    """Words, images and the balance of elements."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words, self.images, self.tags, self.open = "", [], set(), []  # type: ignore[var-annotated]
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag == "img":
            self.images.append(dict(attrs))
        if tag not in {"img", "meta"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data + " "


def test_a_page_is_whole_and_asks_for_nothing(page: str) -> None:
    read = Read(page)
    assert read.open == []
    assert not read.tags & {"script", "link", "iframe", "object"}
    assert "http" not in page
    assert not re.search(r"url\(|@import", page)
    assert len(read.images) == 5
    for image in read.images:
        assert image["src"].startswith("data:image/png;base64,")
        assert len(image["alt"]) > 10


def test_a_known_rotation_leaves_a_curve_of_the_defocus() -> None:
    line = np.linspace(-900.0, 900.0, 37)
    search = Search(line, np.exp(-((line - 487.5) ** 2) / 2e4))
    mean, bad = np.ones((31, 31)), np.zeros((31, 31), dtype=bool)
    disc = Disc((15.0, 15.0), 9.0, (0.1, 0.1), 0.1)
    flat = np.full((32, 32), 90.0)
    read = Read(report_page(RECORD, b"\x89PNG\r\n\x1a\n", {}, mean, bad, disc, flat, search))
    assert [image["alt"] for image in read.images][-1] == (
        "How well the views register against the defocus"
    )
    assert len(read.images) == 4


def test_a_page_says_every_number_with_its_origin_and_the_warnings_first(page: str) -> None:
    words = re.sub(r"\s+", " ", Read(page).words)
    for text in (
        "my <scan>.h5",
        "defocus 487.5 ± 3.2 Å estimated",
        "step 1 × 1.25 Å given",
        "transposed no file",
        "hot pixels 17 pixel",
        "signal, rms 0.1234 rad",
        "deviation, rms 0.0567 rad",
        "half-set resolution, direct, half-bit 2.345 Å",
        "half-set resolution, direct, 0.143 none Å",
        "half-set resolution, informed, 0.143 ≤ 0.6667 as far as was compared Å",
        "file: specimen CaTiO3",
        "weights f00d",
    ):
        assert text in words
    assert words.index("the dose is < 10 & low") < words.index("Projected phase")


def test_a_browser_shows_it_without_complaint(page: str, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no browser to show the page in")
    (tmp_path / "report.html").write_text(page, encoding="utf-8")
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr")
    target = (tmp_path / "report.html").as_uri()
    done = subprocess.run(
        [browser, *options, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", target],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "Read this first" in done.stdout
    assert "CONSOLE" not in done.stderr
