from __future__ import annotations

import re
from pathlib import Path

import yaml

from misr4d.figures import REGISTER

ROOT = Path(__file__).resolve().parent.parent
PAGES = [*(ROOT / "book").glob("*.md"), *(ROOT / "notebooks").glob("*.py")]


def test_every_registered_figure_is_drawn_where_the_register_says() -> None:
    for name, entry in REGISTER.items():
        source = (ROOT / "notebooks" / f"{entry.notebook}.py").read_text(encoding="utf-8")
        assert re.search(rf'figures\.save\([^"]*"{name}"\)', source), name


def test_every_registered_figure_stands_on_a_page_with_label_and_alt_text() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    for name in REGISTER:
        label = "fig-" + name.replace("_", "-")
        pattern = (
            rf"{{figure}} \.\./figures/{name}\.png\n(# )?:name: {label}\n(# )?:alt: \S.{{20,}}"
        )
        assert len(re.findall(pattern, text)) == 1, name


def test_register_and_paper_map_agree() -> None:
    paper_map = (ROOT / "book" / "paper_map.md").read_text(encoding="utf-8")
    for name, entry in REGISTER.items():
        if entry.paper != "-":
            row = next(line for line in paper_map.splitlines() if entry.paper in line)
            assert f"fig-{name.replace('_', '-')}" in row, name


def test_symbols_of_the_paper_map_exist() -> None:
    import importlib

    paper_map = (ROOT / "book" / "paper_map.md").read_text(encoding="utf-8")
    symbols = set(re.findall(r"`(misr4d\.[\w.]+)`", paper_map))
    assert symbols
    for symbol in symbols:
        parts = symbol.split(".")
        module = importlib.import_module(parts[0])
        target: object = module
        for depth, part in enumerate(parts[1:], 2):
            if not hasattr(target, part):
                target = importlib.import_module(".".join(parts[:depth]))
            else:
                target = getattr(target, part)


def test_table_of_contents_names_every_page_once() -> None:
    toc = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text())
    listed = [toc["root"]] + [c["file"] for part in toc["parts"] for c in part["chapters"]]
    existing = {f"book/{p.stem}" for p in (ROOT / "book").glob("*.md")}
    existing |= {f"notebooks/{p.stem}" for p in (ROOT / "notebooks").glob("*.py")}
    assert sorted(listed) == sorted(existing)


def test_readme_shows_the_projects_own_picture() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "book/images/hero.png" in readme
    assert (ROOT / "book" / "images" / "hero.png").stat().st_size < 1_000_000
