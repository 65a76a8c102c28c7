"""Write the ten exercises as two notebooks: a hand-out with skeletons, and one with solutions.

    python book/exercises.py [FOLDER]

Both come from ``notebooks/14_exercises.py``. In the hand-out a skeleton takes the place of each
solution, and the cell that checks the answer stays. Nothing is run, so this takes seconds.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jupytext
import nbformat

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "notebooks" / "14_exercises.py"
_HEADING = re.compile(r"## (\d+)\. ")
_SKELETON = re.compile(r"\n*```python\n(.*?)\n```\n*$", re.DOTALL)
# What only the book can show: a role with words of its own, or with the name of a page.
_ROLES = (
    (re.compile(r"\{\w+\}`([^`<]+?) <[^>`]+>`"), r"\1"),
    (re.compile(r"\{doc\}`(?:[^`]*/)?([^`/]+)`"), r"*\1*"),
    (re.compile(r"\{\w+\}`([^`]+)`"), r"\1"),
    (re.compile(r"\[\]\(([^)]+)\)"), r"*\1*"),
)


def plain(text: str) -> str:
    """Markdown that Jupyter shows, of the book's."""
    for pattern, replacement in _ROLES:
        text = pattern.sub(replacement, text)
    return text


def parts(cells: list[Any]) -> Iterator[tuple[Any, str, Any, Any]]:
    """Yield each exercise: its task, the skeleton within, its solution and its check.

    Raises
    ------
    ValueError
        If an exercise lacks one of them.
    """
    for place, cell in enumerate(cells):
        if not (found := _HEADING.match(cell.source)):
            continue
        skeleton = _SKELETON.search(cell.source)
        solution, check = cells[place + 1 : place + 3]
        tags = [solution.metadata.get("tags"), check.metadata.get("tags")]
        if skeleton is None or tags != [["hide-cell"], ["check"]]:
            raise ValueError(
                f"exercise {found[1]} of {SOURCE.name} has the tags {tags} after its task; "
                "expected a skeleton at the task's end, then a cell tagged hide-cell and one "
                "tagged check"
            )
        yield cell, skeleton[1], solution, check


def notebooks() -> tuple[nbformat.NotebookNode, nbformat.NotebookNode]:
    """Make the hand-out and the notebook with solutions; ids of cells are those of their places."""
    source = jupytext.read(SOURCE)
    first = next(i for i, cell in enumerate(source.cells) if _HEADING.match(cell.source))
    start = source.cells[:first]
    handout, solved = ([_copied(cell) for cell in start] for _ in range(2))
    for task, skeleton, solution, check in parts(source.cells):
        words = _SKELETON.sub("", task.source)
        for cells in (handout, solved):
            cells.append(nbformat.v4.new_markdown_cell(plain(words)))
        handout.append(nbformat.v4.new_code_cell(skeleton))
        solved.append(_copied(solution))
        for cells in (handout, solved):
            cells.append(_copied(check))
    made = []
    for cells in (handout, solved):
        for number, cell in enumerate(cells):
            cell["id"] = f"cell-{number}"
        made.append(nbformat.v4.new_notebook(cells=cells, metadata=source.metadata))
    return made[0], made[1]


def _copied(cell: Any) -> Any:
    """Copy a cell, without the tags that only the book knows."""
    if cell.cell_type == "markdown":
        return nbformat.v4.new_markdown_cell(plain(cell.source))
    kept = [tag for tag in cell.metadata.get("tags", []) if tag in ("parameters", "check")]
    return nbformat.v4.new_code_cell(cell.source, metadata={"tags": kept} if kept else {})


def main(folder: Path) -> None:
    """Write both into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, notebook in zip(("handout", "solutions"), notebooks(), strict=True):
        path = folder / f"{name}.ipynb"
        nbformat.write(notebook, path)
        print(f"wrote {path}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "_build" / "exercises")
