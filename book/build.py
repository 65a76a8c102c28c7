"""Stage, execute and render the book.

    python book/build.py figures --profile ci     # run the notebooks that changed
    python book/build.py figure --name hero       # run the one that makes this figure
    python book/build.py book --profile ci        # … and render the pages
    python book/build.py pair                     # rewrite notebooks/*.ipynb from their sources
    python book/build.py readme --profile ci      # refresh the README's picture and verdicts

A notebook runs again when its code, its parameters, the package or the pins have changed since it
last ran under the same profile; its prose is taken anew each time. Everything is written below
``_build``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import papermill
import yaml
from PIL import Image

from misr4d.companion import front_page
from misr4d.companion.agreement import disagreements
from misr4d.companion.bench import STUDY_FOLDER, draws_as_the_study, read_study
from misr4d.companion.comparison import LEVELS
from misr4d.companion.figures import REGISTER
from misr4d.companion.verdicts import plain_strip, strip
from misr4d.core.keys import result_key, trace
from misr4d.core.workers import SIDE_BY_SIDE
from misr4d.specimens.catalogue import SPECIMENS
from misr4d.specimens.cryo_scan import FOLDER_VARIABLE
from misr4d.specimens.fetch import DATASETS

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "_build"
STAGE = BUILD / "stage"
SHARED_CRYO_SCAN = ROOT.parent / "shared" / "data" / "cryo_scan"  # taken if it lies there
KEPT = "misr4d.companion.bench:STUDY_FOLDER"  # named by whatever reads rows, cases or images of it
JUDGE = "15_claims"  # comes last: it reads what the others wrote
# The longest come first, so that cores end together. The dose series leaves in the cache views, and
# any ptychography that the study lacks, which the last ones would make too if they did not wait.
FIRST, LATER = ("11", "02", "07", "06", "13", "03", "09", "12", "01"), ("04", "05")


def _turn(path: Path) -> tuple[bool, int, int, str]:
    """Place of a notebook in the order of running."""
    number = path.stem[:2]
    first = FIRST.index(number) if number in FIRST else len(FIRST)
    later = LATER.index(number) if number in LATER else -1
    return path.stem == JUDGE, first, later, path.stem


NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.py"), key=_turn)
SEEN_HEADING = "## What was seen"
CHANGED = ("<!-- what changed: written by make readme -->\n", "<!-- end of what changed -->\n")
OPENING = ("<!-- result: written by make readme -->\n", "<!-- end of result -->\n")
VERDICTS = ("<!-- verdicts: written by make readme -->\n", "<!-- end of verdicts -->\n")


def stripped(source: Path) -> nbformat.NotebookNode:
    """Notebook of a py:percent source, without outputs and with reproducible cell ids."""
    notebook = jupytext.read(source)
    for index, cell in enumerate(notebook.cells):
        cell["id"] = hashlib.sha256(f"{source.stem}/{index}".encode()).hexdigest()[:8]
    return notebook


def pair() -> None:
    """Write each notebook's ``.ipynb`` beside its source."""
    for source in NOTEBOOKS:
        target = source.with_suffix(".ipynb")
        text = nbformat.writes(stripped(source), version=4) + "\n"
        if not target.exists() or target.read_text(encoding="utf-8") != text:
            target.write_text(text, encoding="utf-8")
            print(f"wrote {target.relative_to(ROOT)}")


def read_profile(profile: str) -> dict[str, dict[str, Any]]:
    """Parameters of every notebook under a profile; an unknown profile or notebook is an error."""
    path = ROOT / "notebooks" / "params" / f"{profile}.yaml"
    if not path.exists():
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml")))
        raise SystemExit(f"unknown profile {profile!r}; known: {known}")
    values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    stems = [source.stem for source in NOTEBOOKS]
    if unknown := sorted(set(values) - set(stems)):
        raise SystemExit(f"{path.name} names {unknown}; notebooks are {stems}")
    return {stem: dict(values.get(stem) or {}) for stem in stems}


def fingerprint(source: Path, parameters: dict[str, Any], folder: Path) -> str:
    """Hash of everything that a notebook's result depends on; `folder` is the profile's."""
    cells = stripped(source).cells
    # Of prose only that it stands there: `refresh_prose` finds a cell by its place. Of code every
    # letter, since the page shows it.
    shown = [
        (cell.cell_type, cell.metadata, cell.source if cell.cell_type == "code" else "")
        for cell in cells
    ]
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    inputs = sorted((folder / "results").glob("*.json")) if source.stem == JUDGE else []
    if any(label == KEPT for label, _ in trace(code).parts):
        inputs += sorted(STUDY_FOLDER.glob("*"))
    read = [(path.name, path.read_bytes()) for path in inputs if path.stem != JUDGE]
    if "find_cryo_scan" in code:  # which has a checksum: it is there, or it is not
        at_hand = DATASETS["cryo"].path.is_file() or os.environ.get(FOLDER_VARIABLE)
        read.append(("cryo scan", b"at hand" if at_hand else b""))
    pins = (ROOT / "constraints.txt").read_bytes()
    return result_key(code, given=(sys.version, parameters, json.dumps(shown), pins, read))


def execute(profile: str, only: str | None = None) -> Path:
    """Run the notebooks that changed, as many at once as there are cores; return their folder.

    With `only`, the stem of one notebook, the others are left alone.
    """
    folder = BUILD / profile
    (folder / "notebooks").mkdir(parents=True, exist_ok=True)
    os.environ["MISR4D_OUTPUT"] = str(folder)
    if SHARED_CRYO_SCAN.is_dir():
        os.environ.setdefault(FOLDER_VARIABLE, str(SHARED_CRYO_SCAN))
    values = read_profile(profile)
    *most, last = [source for source in NOTEBOOKS if only in (None, source.stem)]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    for name, value in SIDE_BY_SIDE.items():
        os.environ.setdefault(name, value)
    with ThreadPoolExecutor(cores or 1) as pool:
        waiting = [
            pool.submit(execute_notebook, source, values[source.stem], folder) for source in most
        ]
        try:
            for one in as_completed(waiting):
                one.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    execute_notebook(last, values[last.stem], folder)
    return folder


def execute_notebook(source: Path, parameters: dict[str, Any], folder: Path) -> None:
    """Run a notebook in a profile's folder, unless nothing that it depends on has changed."""
    key = fingerprint(source, parameters, folder)
    done = folder / "notebooks" / f"{source.stem}.key"
    target = folder / "notebooks" / f"{source.stem}.ipynb"
    if target.exists() and done.exists() and done.read_text() == key:
        print(f"{source.stem}: unchanged, not run again")
        return
    done.unlink(missing_ok=True)
    for name, entry in REGISTER.items():
        if entry.notebook == source.stem:
            (folder / "figures" / f"{name}.png").unlink(missing_ok=True)
    began = time.monotonic()
    print(f"{source.stem}: running with {parameters or 'its own parameters'}", flush=True)
    plain, running = folder / f"{source.stem}.plain.ipynb", folder / f"{source.stem}.run.ipynb"
    nbformat.write(stripped(source), plain)
    # papermill writes as it goes and leaves `running` behind if a cell fails.
    papermill.execute_notebook(
        plain,
        running,
        parameters=parameters,
        kernel_name="python3",
        cwd=str(folder),
        progress_bar=False,
    )
    plain.unlink()
    running.replace(target)
    done.write_text(key)
    print(f"{source.stem}: done in {time.monotonic() - began:.0f} s", flush=True)


def check_figures(folder: Path) -> None:
    """Fail unless the run made every registered figure and no other."""
    made = {path.stem for path in (folder / "figures").glob("*.png")}
    if made != set(REGISTER):
        raise SystemExit(
            f"figures registered but not made: {sorted(set(REGISTER) - made)}; made but not "
            f"registered: {sorted(made - set(REGISTER))} (see misr4d/companion/figures.py)"
        )


def slim(source: Path, target: Path) -> None:
    """Write a figure as light as its reader cannot tell: no unused channels, 64 levels of grey.

    Noise does not compress: half of the bytes of a dose series would be levels that no eye tells
    apart. A figure with colours keeps all of its levels, and so does the original.
    """
    with Image.open(source) as figure:
        opaque = figure.convert("RGB")
    red, green, blue = opaque.split()
    if red.tobytes() == green.tobytes() == blue.tobytes():
        step = 255 / (LEVELS - 1)
        opaque = red.point([round(round(level / step) * step) for level in range(256)])
    opaque.save(target, dpi=figure.info.get("dpi"), optimize=True)


def refresh_prose(executed: nbformat.NotebookNode, source: Path) -> None:
    """Give an executed notebook the prose that its source has now."""
    prose = {cell["id"]: cell.source for cell in stripped(source).cells}
    for cell in executed.cells:
        if cell.cell_type == "markdown":
            cell.source = prose[cell["id"]]


def put_in_short(notebook: nbformat.NotebookNode, name: str) -> None:
    """Open an executed chapter with the conclusion that its *What was seen* begins with.

    Raises
    ------
    ValueError
        If it has none: that part must be written by the cell below its heading, and begin with a
        paragraph.
    """
    cells = notebook.cells
    places = [n for n, cell in enumerate(cells) if cell.source.strip() == SEEN_HEADING]
    below = cells[places[0] + 1 :][:1] if len(places) == 1 else []
    data = [output.get("data", {}) for cell in below for output in cell.get("outputs", [])]
    texts = [shown["text/markdown"] for shown in data if "text/markdown" in shown]
    paragraph = "".join(texts[0]).strip().split("\n\n")[0] if texts else ""
    if not paragraph or paragraph.startswith(("* ", "- ", "#", "|")):
        raise ValueError(
            f"{name} has no conclusion to open with: below one cell {SEEN_HEADING!r} expected a "
            f"cell whose Markdown begins with a paragraph, found {paragraph[:60]!r}"
        )
    title, _, rest = cells[0].source.partition("\n\n")
    cells[0].source = f"{title}\n\n**In short.** {paragraph}\n\n{rest}"


def repository() -> dict[str, str] | None:
    """Public address and branch: of ``_config.yml``, or of the GitHub workflow that runs this."""
    settings = dict(
        yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["repository"]
    )
    if not settings["url"] and (name := os.environ.get("GITHUB_REPOSITORY")):
        settings["url"] = f"{os.environ.get('GITHUB_SERVER_URL', 'https://github.com')}/{name}"
    return settings if settings["url"] else None


def stage_config(target: Path) -> None:
    """Write the settings; without a public address there is nothing that a button could open."""
    settings = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    if found := repository():
        settings["repository"] = found
    else:
        del settings["repository"], settings["launch_buttons"]
    text = yaml.safe_dump(settings, allow_unicode=True, sort_keys=False)
    target.write_text(text, encoding="utf-8")


def launch_text() -> str:
    """Say what the launch buttons open, or why there are none."""
    found = repository()
    if found is None:
        return (
            "This copy was built where no public address of the repository is known, so it has no "
            "launch buttons; `repository.url` in `_config.yml` gives them to every chapter.\n"
        )
    first = f"!git clone --depth 1 --branch {found['branch']} {found['url']} misr4d"
    return (
        f"The rocket above each chapter opens its notebook from <{found['url']}>.\n\n"
        "For Colab, choose a runtime with Python 3.11 or 3.12 (on 3.13 all runs but parallax and "
        "ptychography of py4DSTEM) and run this "
        f"first:\n\n```text\n{first}\n%pip install -q -c misr4d/constraints.txt "
        "'./misr4d[classical]'\n```\n"
    )


def read_judged(folder: Path) -> dict[str, Any]:
    """Read what the claims page saved: ``claims`` and ``what_changed``."""
    text = (folder / "results" / f"{JUDGE}.json").read_text(encoding="utf-8")
    judged: dict[str, Any] = json.loads(text)
    return judged


def between(text: str, block: str, marks: tuple[str, str] = VERDICTS) -> str:
    """Put a block between two marks in a text, in place of what stands there."""
    counts = [text.count(mark) for mark in marks]
    if counts != [1, 1] or text.index(marks[0]) > text.index(marks[1]):
        raise ValueError(
            f"expected {marks[0]!r} and then {marks[1]!r}, each once; found {counts[0]} and "
            f"{counts[1]}, or in the other order; put them where the block shall stand"
        )
    before, rest = text.split(marks[0])
    return before + marks[0] + block + marks[1] + rest.split(marks[1])[1]


def front_texts(claims: list[dict[str, Any]]) -> dict[str, str]:
    """Write what book and README open with, part by part: each becomes a fragment of that name."""
    rows = read_study()
    return {
        "opening": front_page.opening(rows),
        "table": front_page.table(rows),
        "rivals": front_page.rivals(rows),
        "claims": front_page.claims_in_words(claims),
        "caveat": front_page.caveat(),
    }


def refresh_readme(folder: Path) -> None:
    """Give README and change log the picture and the verdicts of a profile's run."""
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    judged = read_judged(folder)
    parts = front_texts(judged["claims"])
    text = between(text, f"{parts.pop('opening')}\n", OPENING)
    block = "\n\n".join(part.strip() for part in (*parts.values(), plain_strip(judged["claims"])))
    readme.write_text(between(text, f"{block}\n"), encoding="utf-8")
    log = ROOT / "book" / "changes.md"
    block = f"\n{judged['what_changed']}\n\n"
    log.write_text(between(log.read_text(encoding="utf-8"), block, CHANGED), encoding="utf-8")
    shutil.copy(folder / "figures" / "hero.png", ROOT / "book" / "images")


def stage_frames(folder: Path, target: Path) -> None:
    """Lay out what the page of comparisons loads: its script and style, frames and their index.

    The index is a script, because a page that is opened from disk may not fetch a file.
    """
    shutil.copytree(ROOT / "book" / "explore", target)
    shutil.copytree(folder / "frames", target / "frames")
    index = (target / "frames" / "index.json").rename(target / "frames.js")
    text = index.read_text(encoding="utf-8").strip()
    index.write_text(f"const FRAMES = {text};\n", encoding="utf-8")


def check_agreement(folder: Path) -> None:
    """Fail if a quantity has one number on one page and another elsewhere.

    Where the processor draws other electrons than the study's, pages that draw their own must
    differ from it; that is said, and the build goes on.
    """
    lines = disagreements(folder / "results", read_study(specimens=SPECIMENS))
    if lines and draws_as_the_study():
        raise SystemExit("\n".join([*lines, f"{len(lines)} numbers differ between pages"]))
    if lines:
        print(
            f"{len(lines)} numbers of single draws differ between pages: this processor rounds "
            "otherwise than the study's, and draws other electrons"
        )


def stage(folder: Path) -> None:
    """Lay out what jupyter-book reads: pages, executed notebooks, figures."""
    shutil.rmtree(STAGE, ignore_errors=True)
    (STAGE / "notebooks").mkdir(parents=True)
    stage_config(STAGE / "_config.yml")
    shutil.copy(ROOT / "book" / "_toc.yml", STAGE)
    kept = ("build.py", "check.py", "live.py", "_toc.yml", "_static", "explore", "live", "images")
    ignored = shutil.ignore_patterns(*kept, "__*")
    shutil.copytree(ROOT / "book", STAGE / "book", ignore=ignored)
    shutil.copytree(ROOT / "book" / "_static", STAGE / "_static")
    stage_frames(folder, STAGE / "extra" / "explore")
    subprocess.run(
        [sys.executable, ROOT / "book" / "live.py", STAGE / "extra" / "live"], check=True
    )
    (STAGE / "fragments").mkdir()
    claims = read_judged(folder)["claims"]
    chips = strip(claims, f"../notebooks/{JUDGE}.html")
    (STAGE / "fragments" / "verdicts.md").write_text(chips, encoding="utf-8")
    for name, part in front_texts(claims).items():
        (STAGE / "fragments" / f"{name}.md").write_text(f"{part}\n", encoding="utf-8")
    (STAGE / "fragments" / "launch.md").write_text(launch_text(), encoding="utf-8")
    (STAGE / "figures").mkdir()
    for figure in (folder / "figures").glob("*.png"):
        slim(figure, STAGE / "figures" / figure.name)
    for source in NOTEBOOKS:
        notebook = nbformat.read(folder / "notebooks" / f"{source.stem}.ipynb", as_version=4)
        refresh_prose(notebook, source)
        put_in_short(notebook, source.stem)
        notebook.metadata.pop("papermill", None)
        for cell in notebook.cells:
            cell.metadata.pop("papermill", None)
        nbformat.write(notebook, STAGE / "notebooks" / f"{source.stem}.ipynb")


def render() -> None:
    """Render the stage strictly: a warning, an unresolved reference or a broken link fails."""
    command = [str(Path(sys.executable).with_name("jupyter-book")), "build", str(STAGE)]
    command += ["-W", "-n", "--keep-going", "--path-output", str(ROOT)]
    subprocess.run(command, check=True)
    subprocess.run([sys.executable, ROOT / "book" / "check.py", BUILD / "html"], check=True)
    print(f"\nThe book is at {BUILD / 'html' / 'index.html'}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Stage, execute and render the book.")
    parser.add_argument("what", choices=["figures", "figure", "book", "pair", "readme"])
    parser.add_argument("--profile", default="ci")
    parser.add_argument("--name", choices=sorted(REGISTER), metavar="NAME", help="of one figure")
    options = parser.parse_args()
    if options.what == "pair":
        pair()
        return
    read_profile(options.profile)
    if (options.what == "figure") != (options.name is not None):
        known = ", ".join(sorted(REGISTER))
        raise SystemExit(f"`figure` takes --name, and nothing else does; figures are {known}")
    only = REGISTER[options.name].notebook if options.name else None
    try:
        folder = execute(options.profile, only)
    except papermill.PapermillExecutionError as error:
        raise SystemExit(f"a notebook failed: {error}") from None
    if options.what == "figure":
        print(folder / "figures" / f"{options.name}.png")
        return
    check_figures(folder)
    if options.what == "readme":
        refresh_readme(folder)
    if options.what == "book":
        check_agreement(folder)
        stage(folder)
        render()


if __name__ == "__main__":
    main()
