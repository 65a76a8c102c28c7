"""Files are written whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from misr4d.core.files import whole_file, write_whole


def test_a_file_is_there_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "image.npz"
    with whole_file(path) as temporary:
        assert temporary.suffix == ".npz"  # NumPy and Matplotlib go by it
        temporary.write_bytes(b"half")
        assert not path.exists()
        temporary.write_bytes(b"whole")
    assert path.read_bytes() == b"whole"
    assert list(path.parent.iterdir()) == [path]


def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    write_whole(path, "µ\n")
    with pytest.raises(KeyboardInterrupt), whole_file(path) as temporary:  # noqa: PT012
        temporary.write_text("ha")
        raise KeyboardInterrupt
    assert path.read_bytes() == "µ\n".encode()
    assert list(tmp_path.iterdir()) == [path]
