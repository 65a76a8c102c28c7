"""What the front page says of time: of today's methods, never of an image that is read back."""

from __future__ import annotations

from typing import Any

import pytest

from misr4d.companion import study, timing
from misr4d.companion.recorded import read_record


def test_only_methods_that_are_run_anew_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    made_once = study._made_once

    def read_back(kind: str, *others: Any) -> Any:
        assert kind == "views", "an image was read back, which takes no time"
        return made_once(kind, *others)

    monkeypatch.setattr(study, "_made_once", read_back)
    for name in timing.TIMED:
        assert timing.seconds(name, "Li2CoO3", 300.0, 0)["seconds"] > 0


def test_a_method_that_is_not_timed_is_refused() -> None:
    with pytest.raises(ValueError, match="'refined'; expected one of 'attention U-Net'"):
        timing.seconds("refined", "Li2CoO3", 300.0, 0)


def test_the_record_has_every_case() -> None:
    kept = [e["arguments"] for e in read_record() if e["function"] == f"{timing.__name__}:seconds"]
    assert kept == [arguments for _, arguments in timing.cases()]
