from __future__ import annotations

from typing import Any

import pytest

from misr4d.companion.parameters import check_parameters

DECLARED = {"dose": float, "draws": int, "specimen": str, "doses": list[float]}


def namespace(**values: Any) -> dict[str, Any]:
    defaults = {"dose": 1.0, "draws": 2, "specimen": "MoS2", "doses": [1.0, 2]}
    return {"__annotations__": DECLARED, "In": [], "_i": "x"} | defaults | values


def test_declared_parameters_pass_and_whole_numbers_are_floats() -> None:
    check_parameters(namespace(dose=300))


def test_unknown_parameter_lists_the_known() -> None:
    message = (
        r"unknown parameter 'dosis'; this notebook takes dose: float, draws: int, .*doses: list"
    )
    with pytest.raises(TypeError, match=message):
        check_parameters(namespace(dosis=3.0))


@pytest.mark.parametrize(
    "wrong", [{"dose": "300"}, {"draws": 2.5}, {"draws": True}, {"doses": [1.0, "2"]}]
)
def test_wrong_types_are_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=f"parameter {next(iter(wrong))} is .*expected"):
        check_parameters(namespace(**wrong))
