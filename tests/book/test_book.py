from __future__ import annotations

import itertools
import re
from pathlib import Path

import jupytext
import pytest
import yaml

from misr4d import __version__
from misr4d.companion import figures, study
from misr4d.companion.figures import REGISTER
from misr4d.specimens import catalogue as specimens

ROOT = Path(__file__).resolve().parents[2]
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


# The paper's figures, and the chapter of the section that each belongs to.
PAPER = {
    "Fig. 1a": "01_simulation",
    "Fig. 1b": "02_training",
    "Fig. 2": "01_simulation",
    "Fig. 3a": "07_structural_orders",
    "Fig. 3b": "07_structural_orders",
    "Fig. 3c": "07_structural_orders",
    "Fig. 4a": "03_dose_series",
    "Fig. 4b": "03_dose_series",
    "Fig. 4c": "03_dose_series",
    "Fig. 4d–f": "04_line_scans",
    "Fig. 5": "06_method_comparison",
    "Suppl. Fig. 1": "01_simulation",
    "Suppl. Fig. 3": "05_power_spectra",
}


def test_every_figure_of_the_paper_is_re_made_once_in_its_sections_chapter() -> None:
    found = [(entry.paper, entry.notebook) for entry in REGISTER.values() if entry.paper != "-"]
    assert sorted(found) == sorted(PAPER.items())


def test_a_caption_says_which_figure_of_the_paper_it_re_makes() -> None:
    for name, entry in REGISTER.items():
        source = (ROOT / "notebooks" / f"{entry.notebook}.py").read_text(encoding="utf-8")
        block = re.search(rf"{{figure}} \.\./figures/{name}\.png\n(.*?)```", source, re.DOTALL)
        said = re.findall(r"Re-makes ((?:Suppl\. )?Fig\. \d\w?(?:–\w)?)", block[1] if block else "")
        assert said == ([] if entry.paper == "-" else [entry.paper]), name


def test_every_registered_figure_is_referred_to() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    for name in REGISTER:
        assert f"{{numref}}`fig-{name.replace('_', '-')}`" in text, name


def test_the_papers_table_has_a_number_and_is_in_the_map() -> None:
    paper_map = (ROOT / "book" / "paper_map.md").read_text(encoding="utf-8")
    (row,) = (line for line in paper_map.splitlines() if line.startswith("| Suppl. Table 1 "))
    assert "{numref}`tab-parameters`" in row
    chapter = (ROOT / "notebooks" / "07_structural_orders.py").read_text(encoding="utf-8")
    assert ":name: tab-parameters" in chapter


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


MODULES = sorted(
    ".".join(path.relative_to(ROOT / "misr4d").with_suffix("").parts)
    for path in (ROOT / "misr4d").rglob("*.py")
    if path.stem != "__init__" and path.parent.name != "data"
)


def test_api_reference_has_every_module_once() -> None:
    api = (ROOT / "book" / "api.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"automodule:: misr4d\.([\w.]+)", api)) == MODULES


def guide(heading: str) -> list[list[str]]:
    """First two columns of the table in a section of the contributors' guide, without its head."""
    text = (ROOT / "book" / "contributing.md").read_text(encoding="utf-8")
    section = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return [line.split("|")[1:3] for line in section.splitlines() if line.startswith("| ")][1:]


def test_the_contributors_map_has_every_module_once() -> None:
    modules = {
        (room.replace("/", ".") + "." if room else "") + module
        for rooms, names in guide("The map of the code")
        for room in re.findall(r"`([\w/]+)/`", rooms) or [""]
        for module in re.findall(r"`(\w+)`", names)
    }
    assert sorted(modules) == MODULES


def test_every_fault_has_tests_that_exist() -> None:
    faults = guide("Faults that may not come back")
    assert len(faults) == 14
    for fault, tests in faults:
        folder, source = "", ""
        for path, name in re.findall(r"`([a-z_/]+\.py)`|`(test_\w+)`", tests):
            if path:
                folder = path.rpartition("/")[0] or folder
                file = ROOT / "tests" / folder / path.rpartition("/")[2]
                source = file.read_text(encoding="utf-8")
            else:
                assert f"\ndef {name}(" in source, (fault, name)
        assert source, fault


def test_the_contributors_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A specimen, a method and a figure are added as the page says, then taken out again."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MISR4D_OUTPUT", str(tmp_path))
    monkeypatch.setattr(specimens, "SPECIMENS", specimens.SPECIMENS)
    for owner, name in ((specimens, "_CRYSTALS"), (study, "METHODS"), (figures, "REGISTER")):
        monkeypatch.setattr(owner, name, dict(getattr(owner, name)))
    monkeypatch.setattr("misr4d.companion.bench.METHODS", study.METHODS)
    guide = (ROOT / "book" / "contributing.md").read_text(encoding="utf-8")
    namespace: dict[str, object] = {}
    blocks = re.findall(r"^```python\n(.*?)^```", guide, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 5
    for block in blocks:
        exec(compile(block, "contributing.md", "exec"), namespace)
    assert (tmp_path / "figures" / "silicon_truth.png").is_file()


def test_changes_name_the_version_and_start_with_what_is_not_released() -> None:
    text = (ROOT / "book" / "changes.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE)[:2] == ["Unreleased", __version__]


def test_glossary_is_in_order_and_says_each_term_once() -> None:
    text = (ROOT / "book" / "glossary.md").read_text(encoding="utf-8")
    body = text.split("```{glossary}")[1].split("```")[0]
    terms = [line for line in body.splitlines() if line and not line.startswith(" ")]
    assert terms == sorted(set(terms), key=str.lower)
    assert set(re.findall(r"\{term\}`(?:[^`<]*<)?([^`>]+)>?`", text)) <= set(terms)


def test_words_that_a_chapters_helpers_link_are_in_the_glossary() -> None:
    glossary = (ROOT / "book" / "glossary.md").read_text(encoding="utf-8").splitlines()
    folder = ROOT / "misr4d" / "companion" / "chapters"
    text = "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.py"))
    linked = set(re.findall(r"\{term\}+`(?:[^`<]*<)?([^`>]+)>?`", text))
    assert len(linked) >= 3
    assert linked <= set(glossary)


def test_chapters_link_the_words_of_the_glossary() -> None:
    for page in sorted((ROOT / "notebooks").glob("*.py")):
        if page.stem < "12":  # the paper's sections, the released code, ablations, invention
            links = re.findall(r"\{term\}`", page.read_text(encoding="utf-8"))
            assert len(links) >= 2, page.stem


def test_every_chapter_ends_with_an_exercise_and_a_folded_solution() -> None:
    for page in sorted((ROOT / "notebooks").glob("*.py")):
        if page.stem != "14_exercises":
            last = jupytext.read(page).cells[-1].source
            assert last.startswith("**Exercise.** "), page.stem
            assert "```{dropdown} Solution\n" in last, page.stem


def test_ten_exercises_each_with_a_folded_solution() -> None:
    cells = jupytext.read(ROOT / "notebooks" / "14_exercises.py").cells
    numbers = []
    for cell, following in itertools.pairwise(cells):
        if found := re.match(r"## (\d+)\. ", cell.source):
            numbers.append(int(found[1]))
            assert following.metadata.get("tags") == ["hide-cell"]
    assert numbers == list(range(1, 11))
