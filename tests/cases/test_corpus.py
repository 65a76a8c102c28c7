"""Every writer of the corpus: its counts, and just the quantities that it states."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from misr4d.io.reading import read_scan
from tests.cases.corpus import CORPUS, SHAPE, Written


@pytest.mark.parametrize("written", CORPUS, ids=lambda w: w.writer)
def test_what_is_taken_from_a_file_is_what_its_writer_meant(
    written: Written, tmp_path: Path
) -> None:
    counts = np.random.default_rng(0).poisson(1.0, SHAPE).astype(np.uint16)
    written.write(tmp_path / written.name, counts)
    scan = read_scan(tmp_path / written.name, **written.needs)
    np.testing.assert_array_equal(np.asarray(scan.patterns[:, :]), counts)
    stated = {name: q.value for name, q in scan.known.items() if q.origin == "file"}
    assert set(stated) == set(written.takes)
    for name, value in written.takes.items():
        assert stated[name] == pytest.approx(value, rel=1e-5), name
