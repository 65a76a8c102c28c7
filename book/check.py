"""Read the rendered book as a reader without a network would; exit with what is wrong.

    python book/check.py _build/html

Every link, image and anchor within the book must resolve, no id may stand twice, every image must
have words for those who do not see it, nothing may be asked from the network, and a page with its
images must stay light. To its images belong those that its script may load, in the folder that
``data-frames`` names, or those for readers without scripts, whichever are more. Links that a reader
may follow to elsewhere are not visited.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

HEAVIEST = 3_000_000
"""Bytes of a page with its images."""

# Attributes that make a browser fetch, by element. An `a` only offers.
_FETCHED = {
    "audio": ("src",),
    "embed": ("src",),
    "iframe": ("src",),
    "img": ("src", "srcset"),
    "input": ("src",),
    "object": ("data",),
    "script": ("src",),
    "source": ("src", "srcset"),
    "track": ("src",),
    "video": ("src", "poster"),
}
_FETCHED_RELATIONS = {"stylesheet", "icon", "preload", "modulepreload", "manifest", "prefetch"}
_STYLE_URL = re.compile(
    r"""url\(\s*(?:"([^"]*)"|'([^']*)'|([^)"']*))\s*\)|@import\s+["']([^"']+)["']"""
)


@dataclass
class Page(HTMLParser):
    """One page: what can be linked to, what it links to, what it makes a browser fetch."""

    path: Path
    anchors: set[str] = field(default_factory=set, init=False)
    twice: list[str] = field(default_factory=list, init=False)
    links: list[str] = field(default_factory=list, init=False)
    fetched: list[str] = field(default_factory=list, init=False)
    images: list[tuple[str, str]] = field(default_factory=list, init=False)
    plain: set[str] = field(default_factory=set, init=False)  # images in a noscript
    frames: list[str] = field(default_factory=list, init=False)
    _in_style: bool = field(default=False, init=False)
    _in_noscript: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take in one element."""
        given = {name: value or "" for name, value in attrs}
        if given.get("id") in self.anchors:
            self.twice.append(given["id"])
        named = ("id", "name") if tag == "a" else ("id",)
        self.anchors.update(given[name] for name in named if given.get(name))
        if tag in ("a", "area") and "href" in given:
            self.links.append(given["href"])
        if tag == "link" and _FETCHED_RELATIONS & set(given.get("rel", "").split()):
            self.fetched.append(given.get("href", ""))
        for name in _FETCHED.get(tag, ()):
            value = given.get(name, "")
            if name == "srcset":
                self.fetched.extend(one.split()[0] for one in value.split(",") if one.strip())
            elif value:
                self.fetched.append(value)
        if tag == "img":
            self.images.append((given.get("src", ""), given.get("alt", "").strip()))
            if self._in_noscript:
                self.plain.add(given.get("src", ""))
        if "data-frames" in given:
            self.frames.append(given["data-frames"])
        if "style" in given:
            self.fetched.extend(style_urls(given["style"]))
        self._in_style = tag == "style"
        self._in_noscript = self._in_noscript or tag == "noscript"

    def handle_endtag(self, tag: str) -> None:
        """Take in the end of one element."""
        self._in_noscript = self._in_noscript and tag != "noscript"

    def handle_data(self, data: str) -> None:
        """Take in the text of a style sheet within the page."""
        if self._in_style:
            self.fetched.extend(style_urls(data))
            self._in_style = False


def style_urls(text: str) -> list[str]:
    """List what a style sheet makes a browser fetch."""
    found = ("".join(groups) for groups in _STYLE_URL.findall(text))
    return [url for url in found if url and not url.startswith(("data:", "#"))]


def problems(folder: Path, heaviest: int = HEAVIEST) -> Iterator[str]:
    """Yield what is wrong with the book in a folder, one line each."""
    folder = folder.resolve()
    pages = {
        path: Page(path)
        for path in sorted(folder.rglob("*.html"))
        if not path.relative_to(folder).parts[0].startswith("_")
    }
    if not pages:
        yield f"{folder}: no page"
    for path, page in pages.items():
        where = path.relative_to(folder)
        for name in page.frames:
            if not _target(path, name).is_dir():
                yield f"{where}: no folder {name} of frames"
        for link in [*page.links, *page.fetched]:
            yield from _link(link, page, pages, where, fetched=link in page.fetched)
        yield from (f"{where}: two elements have the id {one}" for one in page.twice)
        yield from (f"{where}: image {src} has no alt text" for src, alt in page.images if not alt)
        weight = len(path.read_bytes()) + _images_weight(path, page)
        if weight > heaviest:
            yield f"{where}: {weight:,} bytes with its images; the limit is {heaviest:,}"
    for sheet in sorted(folder.rglob("*.css")):
        for url in style_urls(sheet.read_text(encoding="utf-8")):
            if _is_elsewhere(url):
                yield f"{sheet.relative_to(folder)}: asks {url} from the network"
            elif not _target(sheet, url).is_file():
                yield f"{sheet.relative_to(folder)}: {url} does not exist"


def _images_weight(path: Path, page: Page) -> int:
    """Bytes of the images that a browser may load, with scripts or without: the larger."""
    sources = {src for src, _ in page.images if not src.startswith("data:")}
    without = {_target(path, src) for src in sources}
    scripted = {_target(path, src) for src in sources - page.plain}
    scripted |= {file for name in page.frames for file in _target(path, name).rglob("*")}
    return max(
        sum(file.stat().st_size for file in files if file.is_file())
        for files in (scripted, without)
    )


def _is_elsewhere(link: str) -> bool:
    return link.startswith("//") or bool(urlsplit(link).scheme)


def _target(page: Path, link: str) -> Path:
    relative = unquote(urlsplit(link).path)
    return (page.parent / relative).resolve() if relative else page


def _link(
    link: str, page: Page, pages: dict[Path, Page], where: Path, *, fetched: bool
) -> Iterator[str]:
    if _is_elsewhere(link):
        if fetched and not link.startswith("data:"):
            yield f"{where}: asks {link} from the network"
        return
    target, anchor = _target(page.path, link), unquote(urlsplit(link).fragment)
    if target.is_dir():
        target = target / "index.html"
    if not target.is_file():
        yield f"{where}: {link} does not exist"
    elif anchor and target in pages and anchor not in pages[target].anchors:
        yield f"{where}: {link} names no place on that page"


def main() -> None:
    """Check the folder that the command line names."""
    folder = Path(sys.argv[1])
    found = list(dict.fromkeys(problems(folder)))
    print("\n".join(found))
    if found:
        raise SystemExit(f"{len(found)} problems on the pages of {folder}")
    print(f"{folder}: links, images, alt texts, weights and network requests are in order")


if __name__ == "__main__":
    main()
