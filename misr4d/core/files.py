"""Files that are written whole or not at all."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["whole_file", "write_whole"]


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Give a name beside a file, with its suffix, and put what is written there in its place.

    If the block raises, what it wrote is deleted and the file stays as it was. Several processes
    may write the same file: the last one to finish remains.

    Parameters
    ----------
    path : str or Path
        Its folder is made if it does not exist.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex}{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_whole(path: str | Path, text: str) -> None:
    """Write a text as it is, in UTF-8, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_bytes(text.encode())
