from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from misr4d.companion import chapter_claims
from misr4d.companion.bounds import featureless
from misr4d.companion.verdicts import CANNOT, CONTRADICTED, NOT, OPEN, PARTLY, REPRODUCED, Claim

UNET = "attention U-Net"


def verdicts(claim: Claim) -> dict[str, str]:
    return {method: finding.verdict for method, finding in claim.findings.items()}


def test_centre_is_best_only_if_no_other_frame_is_better() -> None:
    def judged(*values: float, draws: int = 4) -> str:
        bands = ((0.0, 5.0), (5.0, 10.0), (10.0, 32.0))
        edge = [
            {"method": UNET, "dose": "300.0", "band": list(b), "values": [v] * draws}
            for b, v in zip(bands, values, strict=True)
        ]
        return chapter_claims.centre({"08_thickness_and_field": {"edge": edge}}).verdict

    assert judged(0.2, 0.5, 0.6) == REPRODUCED
    assert judged(0.2, 0.61, 0.6) == REPRODUCED  # level
    assert judged(0.2, 0.7, 0.6) == PARTLY
    assert judged(0.7, 0.6, 0.5) == NOT
    assert judged(0.1, 0.2, 0.3) == NOT  # the best of nothing
    assert judged(0.2, 0.5, 0.6, draws=2) == OPEN


def audited(*methods: tuple[str, float, float, float]) -> dict[str, Any]:
    """Results in which each method has false peaks, detections and a correlation inside."""
    nothing, detection, table = [], [], []
    for name, found, told, inside in methods:
        nothing.append({"kind": "vacuum", "method": name, "dose": 50.0, "per_100_A2": [found] * 4})
        for dose, values in ((50.0, [told] * 4), (math.inf, [0.1])):
            record = {"kind": "turned", "method": name, "dose": str(dose)}
            detection.append({**record, "probabilities": values, "shares": values})
        row = {"specimen": "MoS2", "method": name, "dose": "300.0"}
        table.append({**row, "values": {"correlation": [inside] * 4}})
        table.append({**row, "dose": "inf", "values": {"correlation": [0.9]}})
    audit = {"nothing": nothing, "detection": detection}
    return {"11_invention": audit, "07_structural_orders": {"dose": 300.0, "table": table}}


def test_artefacts_are_held_against_direct_ptychography_at_the_same_dose() -> None:
    direct = ("direct", 8.0, 0.9, 0.8)  # noisy at 50 e⁻/Å²
    claim = chapter_claims.artefacts(audited((UNET, 5.0, 0.9, 0.8), direct))
    assert verdicts(claim)[UNET] == REPRODUCED
    assert verdicts(claim)["direct"] == OPEN  # the standard is not judged by itself

    def judged(*scores: float) -> str:
        return chapter_claims.artefacts(audited((UNET, *scores), direct)).verdict

    assert judged(9.0, 0.9, 0.8) == PARTLY  # more peaks than the noise of the linear method
    assert judged(5.0, 0.6, 0.8) == NOT  # tells no defect
    assert judged(9.0, 0.6, 0.2) == NOT


def test_false_peaks_are_compared_draw_by_draw() -> None:
    """One noisy draw of direct ptychography does not excuse peaks in the others."""
    results = audited((UNET, 5.0, 0.9, 0.8), ("direct", 8.0, 0.9, 0.8))
    for row in results["11_invention"]["nothing"]:
        row["per_100_A2"] = {UNET: [5.0] * 4, "direct": [0.0, 0.0, 4.0, 13.3]}[row["method"]]
    claim = chapter_claims.artefacts(results)
    assert claim.verdict == PARTLY
    assert "draw by draw +3.00" in claim.evidence


def test_a_defect_that_is_painted_over_is_not_shown() -> None:
    """A thirtieth of a defect, without noise, is told from none with certainty."""
    results = audited((UNET, 0.0, 1.0, 0.8), ("direct", 8.0, 0.9, 0.8))
    assert chapter_claims.artefacts(results).verdict == REPRODUCED
    for row in results["11_invention"]["detection"]:
        row["shares"] = [0.03 if row["method"] == UNET else 0.4] * len(row["shares"])
    claim = chapter_claims.artefacts(results)
    assert claim.verdict == NOT
    assert "a defect told in 0 of 1 tests" in claim.evidence
    assert "0.03 (n = 4) of its strength against 0.40 (n = 4)" in claim.evidence


def test_a_ring_without_structure_shows_no_protein() -> None:
    results = audited((UNET, 0.0, 1.0, 0.6), ("direct", 8.0, 0.9, 0.8))
    for row in results["07_structural_orders"]["table"]:
        row["specimen"] = "apoferritin"
    assert featureless("apoferritin") > 0.6
    claim = chapter_claims.artefacts(results)
    assert claim.verdict == NOT
    assert (
        "no better than an outline without structure: apoferritin (0.60 (n = 4)" in claim.evidence
    )


def test_an_image_without_features_invents_nothing_and_earns_nothing() -> None:
    claim = chapter_claims.artefacts(audited((UNET, 0.0, 0.5, 0.0), ("direct", 8.0, 0.9, 0.8)))
    assert claim.verdict == NOT
    assert "an image without features invents nothing" in claim.evidence


def test_a_perfect_image_meets_the_rule_on_artefacts() -> None:
    perfect = (UNET, 0.0, 1.0, 1.0)
    assert chapter_claims.artefacts(audited(perfect, ("direct", 8.0, 0.8, 0.8))).verdict == OPEN
    assert (
        chapter_claims.artefacts(audited(perfect, ("direct", 8.0, 0.9, 0.8))).verdict == REPRODUCED
    )


def scans(
    own: float,
    inside: float,
    told: float,
    *,
    reference: float = 4.0,
    protein: float = 1.0,
    glass: float = 0.8,
) -> dict[str, Any]:
    summary, around = [], []
    for name, scale in (("Li2CoO3", 1.0), ("apoferritin", protein)):
        for method, peak in ((UNET, own * scale), ("ptychography", 1.0), ("ptycho∞", reference)):
            values = {"peaks": [peak] * 4, "correlation": [inside] * 4}
            summary.append({"specimen": name, "method": method, "values": values})
    for method in (UNET, "ptychography"):
        values = {"peaks": [1.0] * 4, "correlation": [glass] * 4}
        summary.append({"specimen": "CuZr", "method": method, "values": values})
    for method, share in ((UNET, told), ("ptychography", 0.7)):
        around.append({"specimen": "CuZr", "method": method, "values": [share] * 4})
    return {"04_line_scans": {"dose": 300.0, "summary": summary, "surroundings": around}}


def test_line_scans_are_judged_as_the_paper_claims_them() -> None:
    assert chapter_claims.peaks(scans(3.5, 0.8, 0.95)).verdict == REPRODUCED
    assert chapter_claims.peaks(scans(3.5, 0.8, 0.6)).verdict == PARTLY  # the glass is not told
    assert chapter_claims.peaks(scans(1.0, 0.8, 0.6)).verdict == NOT
    assert (
        chapter_claims.peaks(scans(3.5, 0.2, 0.95)).verdict == PARTLY
    )  # peaks of what is not there
    assert chapter_claims.peaks(scans(3.0, 0.8, 0.6, reference=math.inf)).verdict == OPEN
    assert chapter_claims.peaks(scans(3.5, 0.8, 0.95, glass=0.5)).verdict == PARTLY  # an outline
    # Nothing is claimed of apoferritin: its peaks decide nothing.
    claim = chapter_claims.peaks(scans(3.5, 0.8, 0.95, protein=0.0))
    assert claim.verdict == REPRODUCED
    assert "beside it 0.00 (n = 4) on apoferritin" in claim.evidence
    assert "0.70 (n = 4)" in claim.remark


ABLATIONS: dict[str, Any] = {
    "checkerboard": {"1×1": [1.0, 1.1, 1.2], "3×3": [1.0, 1.0, 1.1], "none": [1.0, 1.1, 1.3]},
    "checkerboard_before_and_after_the_1x1": [1.2345, 1.2345],
    "loss_seen_and_unseen": {
        "as the paper": [[0.30, 0.31], [0.31, 0.31], [0.30, 0.31]],
        "fixed noise": [[0.20, 0.40], [0.21, 0.38], [0.20, 0.39]],
    },
    "views": [
        {"method": "dual path", "views": 249, "values": [0.7, 0.8, 0.8]},
        {"method": "dual path", "views": 21, "values": [0.6, 0.7, 0.7]},
        {"method": "direct", "views": 249, "values": [0.8] * 3},
        {"method": "direct", "views": 21, "values": [0.5] * 3},
    ],
}


def ablated(**changes: Any) -> dict[str, Any]:
    return {"10_ablations": {**copy.deepcopy(ABLATIONS), **changes}}


def test_one_channel_times_a_number_keeps_its_checkerboard() -> None:
    assert chapter_claims.checkerboards(ablated()).verdict == CANNOT
    with pytest.raises(ValueError, match=r"2 before and 1 after the 1×1 convolution; expected"):
        chapter_claims.checkerboards(ablated(checkerboard_before_and_after_the_1x1=[2.0, 1.0]))


def test_fixed_noise_overfits_by_gap_and_by_loss_in_three_trainings() -> None:
    def judged(fixed: list[list[float]]) -> str:
        losses = {**ABLATIONS["loss_seen_and_unseen"], "fixed noise": fixed}
        return chapter_claims.fresh_noise(ablated(loss_seen_and_unseen=losses)).verdict

    assert judged([[0.20, 0.40], [0.21, 0.38], [0.20, 0.39]]) == REPRODUCED
    assert judged([[0.20, 0.30], [0.20, 0.29], [0.20, 0.29]]) == PARTLY
    assert judged([[0.30, 0.30], [0.29, 0.29], [0.29, 0.29]]) == NOT
    assert judged([[0.20, 0.40], [0.21, 0.38]]) == OPEN


def test_chapter_and_claims_page_say_the_same_of_an_ablation() -> None:
    for claim in (chapter_claims.checkerboards(ablated()), chapter_claims.fresh_noise(ablated())):
        start = f"**{claim.statement}** (claim {claim.number}): {claim.verdict}. "
        assert claim.sentence.startswith(start)
        evidence = claim.sentence.removeprefix(start)
        assert evidence[0] == claim.evidence[0].upper()
        assert evidence[1:] == f"{claim.evidence[1:]}."
    page = Path(__file__).parents[2] / "notebooks" / "10_ablations.py"
    text = page.read_text(encoding="utf-8")
    assert all(f"{{{number}.sentence}}" in text for number in ("C12", "C13", "C14"))


def test_any_number_of_views_is_about_the_fusion() -> None:
    claim = chapter_claims.any_number(ablated())
    assert (claim.subject, claim.verdict) == ("dual path", REPRODUCED)
    assert verdicts(claim) == {"dual path": REPRODUCED, "direct": PARTLY, UNET: CANNOT}

    def judged(*values: tuple[int, Sequence[float]]) -> str:
        rows = [{"method": "dual path", "views": n, "values": list(v)} for n, v in values]
        return chapter_claims.any_number(ablated(views=rows)).verdict

    assert judged((249, [0.8] * 3), (21, [0.2] * 3)) == NOT
    assert judged((249, [0.8] * 3)) == OPEN
    assert judged((249, [0.8] * 2), (21, [0.8] * 2)) == OPEN
    # Stripes keep all of the little that they show.
    assert judged((249, [0.34] * 3), (21, [0.34] * 3)) == NOT
    # Of four draws the median decides, not the upper quartile.
    assert judged((249, [0.8] * 4), (21, [0.5, 0.5, 0.62, 0.9])) == PARTLY


RELEASED: dict[str, Any] = {
    "label": 200.0,
    "areal_dose": 200 / (256 / 63) ** 2,
    "correlation_per_area": [0.4, 0.44, 0.4, 0.6],
    "correlation_per_position": [0.1, 0.12, 0.11, 0.1],
    "crystal": {
        "true to scale": {"dose": 200.0, "correlation": [0.8, 0.81]},
        "ten times larger": {"dose": 36.0, "correlation": [0.5, 0.51]},
    },
    "probe": {"1.000": {"share": 0.43, "angle": 6.5}, "0.500": {"share": 1.0, "angle": 10.0}},
    "outside": {"13.2": 0.55, "19.7": 0.8},
}


def test_released_code_contradicts_the_text_and_need_not_be_the_papers() -> None:
    judged = chapter_claims.released({"09_released_code": RELEASED})
    assert [c.verdict for c in judged] == [CONTRADICTED] * 4
    assert all("exact codebase is not public" in c.remark for c in judged)
    assert "12.1 e⁻/Å², 16.5 times less" in judged[0].evidence
    assert "0.42 (0.40 to 0.60, n = 4)" in judged[0].evidence  # the median of four, not the third
    assert "200/4.06² e⁻/Å²" in judged[0].remark
    assert "a column gets 18 times the electrons" in judged[1].evidence
    same = {**RELEASED, "areal_dose": 200.0, "outside": {"10.0": 0.0}}
    same["probe"] = {"1.000": {"share": 1.0, "angle": 10.0}}
    assert [c.verdict for c in chapter_claims.released({"09_released_code": same})] == [
        *(REPRODUCED, CONTRADICTED, REPRODUCED, REPRODUCED)
    ]
