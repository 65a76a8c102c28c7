from __future__ import annotations

import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
import yaml
from docutils import nodes
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from tests.scripts import load_script

ROOT = Path(__file__).resolve().parents[2]


build, check, rendering = (
    load_script(f"book/{name}.py") for name in ("build", "check", "rendering")
)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Two pages that are in order, one linking to a place on the other."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "style.css").write_text("p { background: url('dot.png') }")
    (tmp_path / "dot.png").write_bytes(b"x" * 100)
    (tmp_path / "index.html").write_text(
        '<link rel="stylesheet" href="style.css"><link rel="canonical" href="https://x.org">'
        '<a href="sub/two.html#here">two</a> <a href="https://x.org">elsewhere</a>'
        '<img src="dot.png" alt="a dot"><script>let u = "https://x.org/later.js"</script>'
    )
    (tmp_path / "sub" / "two.html").write_text('<p id="here">x <a href="../index.html">back</a>')
    return tmp_path


def test_a_site_in_order_passes(site: Path) -> None:
    assert list(check.problems(site)) == []


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('<a href="none.html">x</a>', "none.html does not exist"),
        ('<a href="index.html#gone">x</a>', "index.html#gone names no place on that page"),
        ('<a href="#gone">x</a>', "#gone names no place on that page"),
        ('<p id="x">one</p><p id="x">two</p>', "two elements have the id x"),
        ('<img src="gone.png" alt="a dot">', "gone.png does not exist"),
        ('<img src="dot.png">', "image dot.png has no alt text"),
        ('<img src="dot.png" alt=" ">', "image dot.png has no alt text"),
        ('<script src="https://x.org/a.js"></script>', "asks https://x.org/a.js from the network"),
        ('<script src="//x.org/a.js"></script>', "asks //x.org/a.js from the network"),
        ('<link rel="stylesheet" href="https://x.org/a.css">', "asks https://x.org/a.css"),
        ("<style>@import 'https://x.org/a.css';</style>", "asks https://x.org/a.css"),
        ('<p style="background: url(https://x.org/a.png)">', "asks https://x.org/a.png"),
        ('<img srcset="dot.png 1x, gone.png 2x" src="dot.png" alt="a dot">', "gone.png does not"),
    ],
)
def test_each_fault_is_named_with_its_page(site: Path, line: str, complaint: str) -> None:
    (site / "index.html").write_text(line)
    (found,) = check.problems(site)
    assert found.startswith("index.html: ")
    assert complaint in found


def test_a_heavy_page_and_a_style_sheet_that_asks_the_network_are_named(site: Path) -> None:
    (site / "style.css").write_text("@font-face { src: url(https://x.org/f.woff) }")
    heavy, asking = check.problems(site, heaviest=200)
    assert "index.html" in heavy
    assert "the limit is 200" in heavy
    assert asking == "style.css: asks https://x.org/f.woff from the network"


def test_an_empty_folder_is_no_book(tmp_path: Path) -> None:
    assert list(check.problems(tmp_path)) == [f"{tmp_path}: no page"]


def test_equations_become_mathml() -> None:
    inline = rendering.mathml(nodes.math("", r"\mathbf k \ge r^2"))
    assert inline.startswith("<math")
    assert "≥" in inline
    block = rendering.mathml(nodes.math_block("", r"a &= b \\ c &= d"), block=True)
    assert 'display="block"' in block
    assert block.count("<mtr>") == 2


def test_moduli_in_docstrings_are_plain_bars() -> None:
    assert rendering.escape_moduli("Σ_k|γ_k(q)|² of ``a | b``") == r"Σ_k\|γ_k(q)\|² of ``a | b``"


@pytest.mark.parametrize("public", ["", "https://github.com/someone/misr4d"])
def test_a_book_has_launch_buttons_where_the_repository_is_public(
    public: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    own["repository"]["url"] = ""  # as long as nobody has filled it in
    (tmp_path / "_config.yml").write_text(yaml.safe_dump(own), encoding="utf-8")
    monkeypatch.setattr(build, "ROOT", tmp_path)
    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
    if public:
        monkeypatch.setenv("GITHUB_REPOSITORY", "someone/misr4d")
    build.stage_config(tmp_path / "staged.yml")
    settings = yaml.safe_load((tmp_path / "staged.yml").read_text(encoding="utf-8"))
    if public:
        assert settings["repository"] == {"url": public, "branch": "main"}
        assert settings["launch_buttons"] == own["launch_buttons"]
        assert f"git clone --depth 1 --branch main {public} misr4d" in build.launch_text()
    else:
        assert not {"repository", "launch_buttons"} & set(settings)
        assert "no launch buttons" in build.launch_text()
    assert settings["sphinx"] == own["sphinx"]


def test_prose_is_new_without_a_run(tmp_path: Path) -> None:
    """A notebook whose prose alone changed keeps its key, and the page has the new words."""
    source = tmp_path / "a.py"
    code, keys = "# %%\nprint(1)\n", []
    for words, last in (("old", code), ("new", code), ("new", code.replace("1", "2"))):
        source.write_text(f"# %% [markdown]\n# {words}\n\n{last}", encoding="utf-8")
        keys.append(build.fingerprint(source, {}, tmp_path))
    assert keys[0] == keys[1] != keys[2]
    ran = build.stripped(source)
    ran.cells[0].source = "old"
    build.refresh_prose(ran, source)
    assert ran.cells[0].source == "new"
    source.write_text(f"# %% [markdown]\n# a\n\n# %% [markdown]\n# b\n\n{code}", encoding="utf-8")
    assert build.fingerprint(source, {}, tmp_path) != keys[0]


@pytest.mark.parametrize("coloured", [False, True])
def test_a_slim_figure_keeps_its_colours_and_64_greys(tmp_path: Path, coloured: bool) -> None:
    rng = np.random.default_rng(0)
    pixels = np.repeat(rng.integers(0, 256, (40, 50, 1), dtype=np.uint8), 4, 2)
    pixels[..., 3] = 255
    pixels[0, 0, 0] ^= coloured
    Image.fromarray(pixels).save(tmp_path / "fat.png")
    build.slim(tmp_path / "fat.png", tmp_path / "slim.png")
    with Image.open(tmp_path / "slim.png") as slim:
        assert slim.mode == ("RGB" if coloured else "L")
        kept = np.asarray(slim.convert("RGBA")).astype(int)
    if coloured:
        np.testing.assert_array_equal(kept, pixels)
    else:
        np.testing.assert_allclose(kept, pixels, atol=2)
        assert len(np.unique(kept)) == 64
        assert (kept.min(), kept.max()) == (0, 255)
    assert (tmp_path / "slim.png").stat().st_size < (tmp_path / "fat.png").stat().st_size


def test_the_readmes_block_is_rewritten_between_its_marks_only() -> None:
    start, end = build.VERDICTS
    text = f"before\n{start}old\n{end}after\n"
    once = build.between(text, "new\n")
    assert once == f"before\n{start}new\n{end}after\n"
    assert build.between(once, "new\n") == once
    for wrong in ("nothing", f"{end}{start}", text + text):
        with pytest.raises(ValueError, match="expected '<!-- verdicts"):
            build.between(wrong, "new\n")


def test_the_readme_has_a_block_with_a_verdict_on_every_claim() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    start, end = build.VERDICTS
    block = readme.split(start)[1].split(end)[0]
    named = re.findall(r"\b([CR]\d+) [✔◐✘⊘?≠]", block)
    drawn = re.findall(r"\b(C\d+) \d", block)
    assert named == [f"C{n}" for n in range(1, 15)] + [f"R{n}" for n in range(1, 5)]
    # How many draws are behind each, but for what a derivation settles.
    assert drawn == [name for name in named[:14] if f"{name} ⊘" not in block]
    assert build.between(readme, block) == readme


def executed(*outputs: str, heading: str = "## What was seen") -> nbformat.NotebookNode:
    """Return a chapter as papermill leaves it."""
    shown = [new_output("display_data", {"text/markdown": text}) for text in outputs]
    cells = [new_markdown_cell("# Title\n\n**What the paper says.** This.")]
    return new_notebook(
        cells=[*cells, new_markdown_cell(heading), new_code_cell("", outputs=shown)]
    )


def test_a_chapter_opens_with_what_was_seen() -> None:
    notebook = executed("\nIt holds by 0.7.\nTwice.\n\n* more\n")
    build.put_in_short(notebook, "01")
    assert notebook.cells[0].source == (
        "# Title\n\n**In short.** It holds by 0.7.\nTwice.\n\n**What the paper says.** This."
    )


@pytest.mark.parametrize(
    "notebook",
    [executed(), executed("* a list\n\nthen a sentence"), executed("yes", heading="## Else")],
)
def test_a_chapter_without_a_conclusion_is_named(notebook: nbformat.NotebookNode) -> None:
    with pytest.raises(ValueError, match="01 has no conclusion to open with"):
        build.put_in_short(notebook, "01")


def test_the_image_of_a_figure_opens_at_full_size() -> None:
    plain = '<p><img alt="icon" src="icon.png" /></p>'
    figure = '<figure class="a" id="f">\n<img alt="x" class="b" src="../_images/x.png" />\n'
    context = {"body": plain + figure}
    rendering.link_full_size(None, "page", "page.html", context, None)
    assert context["body"] == plain + (
        '<figure class="a" id="f">\n<a class="full-size" href="../_images/x.png" '
        'title="Open at full size"><img alt="x" class="b" src="../_images/x.png" /></a>\n'
    )
    empty: dict[str, str] = {}
    rendering.link_full_size(None, "search", "search.html", empty, None)
    assert empty == {}


def test_a_page_has_an_icon_that_is_not_asked_from_anywhere(site: Path) -> None:
    context = {"metatags": '<meta name="x" content="y">'}
    rendering.add_icon(None, "index", "page.html", context, None)
    assert context["metatags"].startswith('<meta name="x" content="y"><link rel="icon"')
    (site / "index.html").write_text(context["metatags"])
    assert list(check.problems(site)) == []
