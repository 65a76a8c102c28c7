"""Exercises: each has a skeleton and a check, and one command makes both notebooks."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import jupytext
import nbformat
import pytest

from tests.scripts import load_script

exercises = load_script("book/exercises.py")


def assigned(code: str) -> set[str]:
    """Names that code gives."""
    return {
        node.id if isinstance(node, ast.Name) else node.name
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.FunctionDef)
        or (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
    } | {
        (alias.asname or alias.name).split(".")[0]
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }


def used(code: str) -> set[str]:
    names = (n for n in ast.walk(ast.parse(code)) if isinstance(n, ast.Name))
    return {name.id for name in names if isinstance(name.ctx, ast.Load)}


def test_every_exercise_has_level_time_skeleton_and_a_check_that_can_fail() -> None:
    cells = jupytext.read(exercises.SOURCE).cells
    found = list(exercises.parts(cells))
    assert len(found) == 10
    first = cells.index(found[0][0])
    setup = assigned("\n".join(c.source for c in cells[:first] if c.cell_type == "code"))
    builtin = {"abs", "float", "len", "all", "ValueError", "AssertionError"}
    for task, skeleton, solution, check in found:
        level = re.search(r"\*(Basic|Middle|Advanced), (\d+) minutes\.\*", task.source)
        assert level, task.source[:40]
        assert 5 <= int(level[2]) <= 40
        assert "..." in skeleton or "[]" in skeleton
        assert "assert" in check.source or "raise" in check.source
        # Each stands on its own: a check needs nothing but the setup and the skeleton's names,
        free = used(check.source) - assigned(check.source) - builtin
        assert free <= setup | assigned(skeleton), free - setup - assigned(skeleton)
        # at least one of which the student has to find, and the solution gives those.
        open_names = {
            name for name in free if re.search(rf"(?m)^{name}\b.*(\.\.\.|\[\])", skeleton)
        }
        open_names |= free & {"claims", "honest", "lying"}
        assert open_names
        assert open_names <= assigned(solution.source)


def test_one_command_writes_handout_and_solutions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exercises.main(tmp_path)
    assert "handout.ipynb" in capsys.readouterr().out
    handout, solved = (
        nbformat.read(tmp_path / f"{name}.ipynb", 4) for name in ("handout", "solutions")
    )
    for notebook in (handout, solved):
        nbformat.validate(notebook)
        text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
        assert "{term}" not in text
        assert "```python" not in text
        assert len(re.findall(r"(?m)^## \d+\. ", text)) == 10
    given = "\n".join(cell.source for cell in handout.cells)
    for _, skeleton, solution, check in exercises.parts(jupytext.read(exercises.SOURCE).cells):
        assert skeleton in given
        assert check.source in given
        assert solution.source not in given
        assert any(cell.source == solution.source for cell in solved.cells)
    # Nothing of a solution is left: not its words either.
    assert "The package refuses" not in given
    assert "What was seen" not in given


def test_an_exercise_without_its_check_is_an_error() -> None:
    cells = jupytext.read(exercises.SOURCE).cells
    broken = [cell for cell in cells if cell.metadata.get("tags") != ["check"]]
    with pytest.raises(ValueError, match="exercise 1 of 14_exercises"):
        list(exercises.parts(broken))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("{term}`thinning`", "thinning"),
        ("{term}`Direct ptychography <direct ptychography>` takes", "Direct ptychography takes"),
        ("{doc}`../notebooks/11_invention`", "*11_invention*"),
        ("[](../book/teaching.md)", "*../book/teaching.md*"),
        ("{eq}`eq-weak`", "eq-weak"),
    ],
)
def test_words_of_the_book_become_plain(text: str, shown: str) -> None:
    assert exercises.plain(text) == shown


def test_ninety_minutes_are_ninety_and_exercises_fit_their_slots() -> None:
    page = (exercises.ROOT / "book" / "teaching.md").read_text(encoding="utf-8")
    lesson = page.split("## Ninety minutes")[1].split("###")[0]
    rows = re.findall(r"(?m)^\| (\d+)–(\d+) \|(.*)$", lesson)
    slots = [(int(start), int(end)) for start, end, _ in rows]
    assert [start for start, _ in slots] == [0, *(end for _, end in slots[:-1])]
    assert slots[-1][1] == 90
    tasks = [cell.source for cell in jupytext.read(exercises.SOURCE).cells]
    stated = {
        int(number): int(minutes)
        for task in tasks
        for number, minutes in re.findall(r"(?s)^## (\d+)\. .*?, (\d+) minutes\.\*", task)
    }
    assert set(stated) == set(range(1, 11))
    asked = {
        slot: [int(number) for number in re.findall(r"\d+", found[1])]
        for slot, (_, _, row) in zip(slots, rows, strict=True)
        if (found := re.search(r"exercises? ([\d, and]+) <", row))
    }
    assert asked
    for (start, end), numbers in asked.items():
        assert sum(stated[number] for number in numbers) <= end - start
