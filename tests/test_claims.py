from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from misr4d import ATOMIC, MOLECULAR, claims
from misr4d.bench import COLUMNS
from misr4d.claims import CANNOT, CHAPTERS, METHODS, NOT, OPEN, PARTLY, REPRODUCED

UNET = "attention U-Net"
RIVALS = ("summed VBF", "iDPC", "parallax", "ptychography")


def q(value: float) -> dict[str, str]:
    return {key: str(value) for key in ("q25", "median", "q75")}


def dose_rows(specimen: str, method: str, measure: str, values: Mapping[float, float]) -> list[Any]:
    return [
        {"specimen": specimen, "method": method, "dose": d, measure: q(v)}
        for d, v in values.items()
    ]


def bench(method: str, dose: float, *, specimen: str = "CuZr", **scores: Any) -> list[Any]:
    """Two equal draws as the bench writes them."""
    return [
        {
            "specimen": specimen,
            "method": method,
            "dose": "inf" if math.isinf(dose) else dose,
            "draw": draw,
            "regime": "molecular" if specimen == "apoferritin" else "atomic",
            **dict.fromkeys(COLUMNS),
            **scores,
        }
        for draw in (0, 1)
    ]


def series(rings: Mapping[str, Mapping[float, float]]) -> dict[str, Any]:
    rows = [r for m, v in rings.items() for r in dose_rows("Li2CoO3", m, "lattice", v)]
    return {"03_dose_series": {"summary": rows}}


def verdicts(claim: claims.Claim) -> dict[str, str]:
    return {method: finding.verdict for method, finding in claim.findings.items()}


FAILS = {300.0: 0.2, 1000.0: 0.9}  # ptychography, as the paper has it


def test_lattice_needs_success_of_the_network_and_failure_of_ptychography() -> None:
    good, late = {100.0: 0.3, 200.0: 0.6, 500.0: 0.9}, {100.0: 0.3, 200.0: 0.4, 500.0: 0.9}
    claim = claims.lattice(series({UNET: good, "informed": late, "ptychography": FAILS}))
    assert verdicts(claim) == {
        UNET: REPRODUCED,
        "dual path": OPEN,
        "informed": NOT,
        "direct": OPEN,
    }
    assert "from 200 e⁻/Å² on" in claim.evidence
    assert "0.20 at 300 e⁻/Å²" in claim.remark
    # A ring that is lost again at a higher dose does not stand from the lower one on.
    lost = {100.0: 0.3, 200.0: 0.6, 300.0: 0.4, 500.0: 0.9}
    assert claims.lattice(series({UNET: lost, "ptychography": FAILS})).verdict == NOT
    tuned = {300.0: 0.99}
    claim = claims.lattice(series({UNET: good, "ptychography": tuned}))
    assert claim.verdict == PARTLY
    assert "It does not fail there" in claim.remark
    assert claims.lattice(series({UNET: good})).verdict == OPEN
    assert claims.lattice(series({UNET: {300.0: 0.9}, "ptychography": FAILS})).verdict == OPEN


def test_shell_is_resolved_where_the_period_is_finer_than_the_wall() -> None:
    def judged(own: Mapping[float, float], rival: float) -> str:
        rows = dose_rows("apoferritin", UNET, "resolution", own)
        rows += dose_rows("apoferritin", "ptychography", "resolution", {300.0: rival, 1000.0: 5.0})
        return claims.shell({"03_dose_series": {"summary": rows}}).verdict

    assert judged({100.0: 30.0, 300.0: 12.0, 1000.0: 8.0}, math.inf) == REPRODUCED
    assert judged({100.0: 30.0, 300.0: 12.0, 1000.0: 8.0}, 10.0) == PARTLY
    assert judged({100.0: math.inf, 300.0: 30.0, 1000.0: 8.0}, math.inf) == NOT


def pair(unet: Mapping[str, Any], rival: Mapping[str, Any], **more: Any) -> list[Any]:
    return bench(UNET, 300.0, **unet, **more) + bench("ptychography", 300.0, **rival, **more)


def test_contrast_is_judged_specimen_by_specimen() -> None:
    high, low = pair({"cnr": 9.0}, {"cnr": 2.0}), pair({"cnr": 4.0}, {"cnr": 2.0}, specimen="MoS2")
    assert claims.contrast(high).verdict == REPRODUCED
    assert claims.contrast(low).verdict == NOT
    claim = claims.contrast(high + low)
    assert claim.verdict == PARTLY
    assert "4.50" in claim.evidence
    assert claim.findings[UNET].share == (1, 2)
    assert verdicts(claim)["informed"] == OPEN


def test_electrons_follow_the_dose_at_equal_resolution() -> None:
    def judged(at_100: float, at_1000: float) -> str:
        rows = bench(UNET, 100.0, resolution=at_100) + bench(UNET, 1000.0, resolution=at_1000)
        return claims.electrons(rows + bench("ptychography", 1000.0, resolution=2.0)).verdict

    assert judged(4.0, 1.0) == REPRODUCED
    assert judged(4.0, 1.95) == NOT
    assert judged(4.0, 3.0) == NOT
    rows = bench(UNET, 500.0, resolution=1.0) + bench(UNET, 1000.0, resolution=0.9)
    rows += bench("ptychography", 1000.0, resolution=2.0)
    assert claims.electrons(rows).verdict == OPEN  # past the target at the lowest dose already


def spectra() -> dict[str, Any]:
    found = {"CuZr / direct": 0.92, "CuZr / direct / empty": 0.83}
    return {"05_power_spectra": {"highest_frequency": found}}


def test_frequency_is_decided_by_the_truth_not_by_the_power_spectrum() -> None:
    finer = pair({"resolution": 1.0, "frequency": 0.5}, {"resolution": 2.0, "frequency": 1.0})
    coarser = pair(
        {"resolution": 3.0, "frequency": 1.5},
        {"resolution": 2.0, "frequency": 1.0},
        specimen="MoS2",
    )
    assert claims.frequency(spectra(), finer).verdict == REPRODUCED
    claim = claims.frequency(spectra(), coarser)
    assert claim.verdict == NOT
    assert "by the power spectrum in 1 of 1" in claim.evidence
    assert "0.83 Å⁻¹ without and 0.92 Å⁻¹ with" in claim.remark
    assert claims.frequency(spectra(), finer + coarser).verdict == PARTLY
    assert verdicts(claim)["direct"] == OPEN


def test_compared_methods_must_all_be_beaten_by_both_measures() -> None:
    def judged(correlation: float, resolution: float, rivals: tuple[str, ...] = RIVALS) -> str:
        rows = bench(UNET, 1000.0, correlation=correlation, resolution=resolution)
        for n, rival in enumerate(rivals):
            rows += bench(rival, 1000.0, correlation=0.5 + n / 10, resolution=4.0 - n)
        return claims.compared(rows).verdict

    assert judged(0.9, 0.8) == REPRODUCED
    assert judged(0.75, 0.8) == PARTLY  # ahead of three by correlation is not ahead of all
    assert judged(0.75, 3.0) == NOT
    assert judged(0.9, 0.8, RIVALS[:3]) == OPEN


def test_sub_angstrom_is_arithmetic_on_the_papers_grid() -> None:
    rows = bench("informed", 300.0, resolution=0.99)
    claim = claims.sub_angstrom(rows, MOLECULAR, 3)
    assert set(verdicts(claim).values()) == {CANNOT}
    assert "2.67 Å" in claim.evidence
    assert "r of at least 8" in claim.remark
    assert "0.99 Å (informed)" in claim.remark
    # Where neither grid nor aperture stands in the way, the measurement decides.
    fine = replace(ATOMIC, semiangle=20.0)
    rows = bench(UNET, 300.0, specimen="apoferritin", resolution=0.9)
    rows += bench("direct", 300.0, specimen="apoferritin", resolution=1.4)
    found = verdicts(claims.sub_angstrom(rows, fine, 3))
    assert (found[UNET], found["direct"], found["informed"]) == (REPRODUCED, NOT, OPEN)


def test_centre_is_best_only_if_no_other_frame_is_better() -> None:
    def judged(*values: float) -> str:
        bands = ((0.0, 5.0), (5.0, 10.0), (10.0, 32.0))
        edge = [
            {"method": UNET, "dose": "300.0", "band": list(b), "correlation": v}
            for b, v in zip(bands, values, strict=True)
        ]
        return claims.centre({"08_thickness_and_field": {"edge": edge}}).verdict

    assert judged(0.2, 0.5, 0.6) == REPRODUCED
    assert judged(0.2, 0.61, 0.6) == REPRODUCED  # level
    assert judged(0.2, 0.7, 0.6) == PARTLY
    assert judged(0.7, 0.6, 0.5) == NOT


def test_thickness_must_keep_correlation_and_resolution() -> None:
    def judged(correlation: float, resolution: float) -> str:
        table = [
            {
                "method": UNET,
                "thickness": t,
                "dose": "300.0",
                "correlation": [str(c)] * 3,
                "resolution": [str(r)] * 3,
            }
            for t, c, r in ((20.0, 0.8, 2.0), (200.0, correlation, resolution))
        ]
        return claims.thickness({"08_thickness_and_field": {"thickness": table}}).verdict

    assert judged(0.7, 2.2) == REPRODUCED
    assert judged(0.7, 4.0) == PARTLY
    assert judged(0.3, math.inf) == NOT


def test_artefacts_fail_by_peaks_in_vacuum_by_lost_defects_and_by_lost_specimens() -> None:
    def judged(peaks: float, survival: float, correlation: float) -> str:
        audit = {
            "nothing": [
                {"kind": "vacuum", "method": UNET, "dose": 100.0, "per_100_A2": [peaks] * 3}
            ],
            "survival": [
                {"kind": "turned", "method": UNET, "dose": "100.0", "values": [survival] * 3},
                {"kind": "turned", "method": UNET, "dose": "inf", "values": [0.1]},
            ],
        }
        one = {"specimen": "MoS2", "method": UNET, "correlation": [str(correlation)] * 3}
        table = [{**one, "dose": "300.0"}, {**one, "dose": "inf", "correlation": ["0.9"] * 3}]
        orders = {"dose": 300.0, "table": table}
        return claims.artefacts({"11_invention": audit, "07_structural_orders": orders}).verdict

    assert judged(0.0, 0.9, 0.8) == REPRODUCED
    assert judged(0.0, 0.4, 0.8) == PARTLY
    assert judged(1.0, 0.9, 0.8) == PARTLY
    assert judged(1.0, 0.2, 0.1) == NOT


def test_peaks_are_near_the_reference_or_not() -> None:
    def judged(*own: float, reference: float = 4.0) -> str:
        rows = []
        for n, value in enumerate(own):
            for method, peak in ((UNET, value), ("ptychography", 1.0), ("ptycho∞", reference)):
                rows.append({"specimen": str(n), "method": method, "peaks": [peak] * 3})
        return claims.peaks({"04_line_scans": {"dose": 300.0, "summary": rows}}).verdict

    assert judged(3.5, 5.0) == REPRODUCED
    assert judged(3.5, 1.0) == PARTLY
    assert judged(1.0, 1.0) == NOT
    assert judged(3.0, reference=math.inf) == OPEN


ABLATIONS: dict[str, Any] = {
    "difference_from_the_paper": {"no head": [-0.01, 0.0, 0.01]},
    "checkerboard": {"1×1": [1.0, 1.1, 1.2], "3×3": [1.0, 1.0, 1.1], "none": [1.0, 1.1, 1.3]},
    "checkerboard_before_and_after_the_1x1": [1.2345, 1.2345],
    "loss_seen_and_unseen": {
        "as the paper": [[0.30, 0.31], [0.31, 0.31]],
        "fixed noise": [[0.20, 0.40], [0.21, 0.38]],
    },
    "views": [
        {"method": "dual path", "views": 249, "correlation": [0.7, 0.8]},
        {"method": "dual path", "views": 21, "correlation": [0.6, 0.7]},
        {"method": "direct", "views": 249, "correlation": [0.8]},
        {"method": "direct", "views": 21, "correlation": [0.5]},
    ],
}


def ablated(**changes: Any) -> dict[str, Any]:
    return {"10_ablations": {**copy.deepcopy(ABLATIONS), **changes}}


def test_one_channel_times_a_number_keeps_its_checkerboard() -> None:
    assert claims.checkerboards(ablated()).verdict == CANNOT
    with pytest.raises(ValueError, match=r"2 before and 1 after the 1×1 convolution; expected"):
        claims.checkerboards(ablated(checkerboard_before_and_after_the_1x1=[2.0, 1.0]))


def test_fixed_noise_overfits_by_gap_and_by_loss() -> None:
    def judged(fixed: list[list[float]]) -> str:
        losses = {"as the paper": [[0.30, 0.31], [0.31, 0.31]], "fixed noise": fixed}
        return claims.fresh_noise(ablated(loss_seen_and_unseen=losses)).verdict

    assert judged([[0.20, 0.40], [0.21, 0.38]]) == REPRODUCED
    assert judged([[0.20, 0.30], [0.20, 0.29]]) == PARTLY
    assert judged([[0.30, 0.30], [0.29, 0.29]]) == NOT


def test_any_number_of_views_is_about_the_fusion() -> None:
    claim = claims.any_number(ablated())
    assert (claim.subject, claim.verdict) == ("dual path", REPRODUCED)
    assert verdicts(claim) == {"dual path": REPRODUCED, "direct": PARTLY, UNET: CANNOT}

    def judged(*found: tuple[int, float]) -> str:
        rows = [{"method": "dual path", "views": n, "correlation": [r]} for n, r in found]
        return claims.any_number(ablated(views=rows)).verdict

    assert judged((249, 0.8), (21, 0.2)) == NOT
    assert judged((249, 0.8)) == OPEN


RELEASED: dict[str, Any] = {
    "label": 200.0,
    "areal_dose": 200 / (256 / 63) ** 2,
    "correlation_per_area": [0.4, 0.42, 0.41],
    "correlation_per_position": [0.1, 0.12, 0.11],
    "crystal": {
        "true to scale": {"dose": 200.0, "correlation": [0.8, 0.81]},
        "ten times larger": {"dose": 36.0, "correlation": [0.5, 0.51]},
    },
    "probe": {"1.000": {"share": 0.43, "angle": 6.5}, "0.500": {"share": 1.0, "angle": 10.0}},
    "outside": {"13.2": 0.55, "19.7": 0.8},
}


def test_released_code_departs_from_the_text_by_arithmetic() -> None:
    found = claims.released({"09_released_code": RELEASED})
    assert [c.verdict for c in found] == [CANNOT] * 4
    assert "12.1 e⁻/Å², 16.5 times less" in found[0].evidence
    assert "200/4.06² e⁻/Å²" in found[0].remark
    assert "a column gets 18 times the electrons" in found[1].evidence
    same = {**RELEASED, "areal_dose": 200.0, "outside": {"10.0": 0.0}}
    same["probe"] = {"1.000": {"share": 1.0, "angle": 10.0}}
    assert [c.verdict for c in claims.released({"09_released_code": same})] == [
        *(REPRODUCED, CANNOT, REPRODUCED, REPRODUCED)
    ]


def everything() -> tuple[dict[str, Any], list[Any]]:
    """Results of every chapter, as far as they are read, and a table."""
    dose = {
        "summary": [
            *dose_rows("Li2CoO3", UNET, "lattice", {200.0: 0.6}),
            *dose_rows("apoferritin", UNET, "resolution", {200.0: 15.0}),
        ]
    }
    scans = {"dose": 300.0, "summary": []}
    field = {"edge": [], "thickness": []}
    audit = {"nothing": [], "survival": []}
    power, orders = spectra()["05_power_spectra"], {"dose": 300.0, "table": []}
    results = dict(
        zip(
            CHAPTERS,
            (dose, scans, power, {}, orders, field, RELEASED, ABLATIONS, audit),
            strict=True,
        )
    )
    return results, pair({"cnr": 9.0, "resolution": 1.0}, {"cnr": 2.0, "resolution": 2.0})


def test_every_claim_is_judged_once_and_in_order() -> None:
    found = claims.judge(*everything(), MOLECULAR)
    assert [c.number for c in found] == [f"C{n}" for n in range(1, 15)] + ["R1", "R2", "R3", "R4"]
    for claim in found:
        assert claim.section
        assert claim.statement
        assert claim.measure.endswith(".")
        assert set(claim.sources) <= set(CHAPTERS)
        assert set(verdicts(claim).values()) <= {REPRODUCED, PARTLY, NOT, CANNOT, OPEN}
        assert all(finding.text for finding in claim.findings.values())


def test_a_claim_has_a_finding_on_what_it_is_about() -> None:
    with pytest.raises(ValueError, match="claim C1 is about 'attention U-Net'"):
        claims.Claim("C1", "§3", "x", "y", {"direct": claims.Finding(NOT, "z")}, ())
    assert METHODS[0] == UNET


def test_missing_results_name_the_chapter_to_run_first(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    for name in CHAPTERS[1:]:
        (tmp_path / "results" / f"{name}.json").write_text(json.dumps({"made_by": name}))
    with pytest.raises(FileNotFoundError, match=r"run notebooks/03_dose_series\.py first"):
        claims.read_results(tmp_path)
    (tmp_path / "results" / "03_dose_series.json").write_text("{}")
    assert claims.read_results(tmp_path)["11_invention"] == {"made_by": "11_invention"}


FOUND = [
    {"number": "C1", "statement": 'A "lattice" < shows', "verdict": PARTLY},
    {"number": "C2", "statement": "Contrast", "verdict": REPRODUCED},
    {"number": "R1", "statement": "Doses", "verdict": CANNOT},
]


def test_a_strip_has_a_linked_chip_for_each_claim_and_counts() -> None:
    text = claims.strip(FOUND, "claims.html")
    assert re.findall(r'href="claims.html#(claim-\w+)"', text) == [
        "claim-c1",
        "claim-c2",
        "claim-r1",
    ]
    assert 'title="A &quot;lattice&quot; &lt; shows: partly"' in text
    assert "Of 2 claims: ✔ 1 reproduced, ◐ 1 partly." in text
    assert "\n\n" not in text  # a blank line would end the HTML in Markdown
    assert "C1 ◐ · C2 ✔\n\nOf 2 claims: ✔ 1 reproduced, ◐ 1 partly." in claims.plain_strip(FOUND)
    assert claims.counted([PARTLY, CANNOT, PARTLY]) == "2 partly, 1 cannot hold"


def test_every_verdict_has_a_sign_of_its_own_and_a_colour_that_white_reads_on() -> None:
    assert set(claims.MARKS) == {REPRODUCED, PARTLY, NOT, CANNOT, OPEN}
    assert len({sign for sign, _ in claims.MARKS.values()}) == len(claims.MARKS)
    for _, colour in claims.MARKS.values():
        levels = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in levels]
        luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
        assert 1.05 / (luminance + 0.05) > 4.5
