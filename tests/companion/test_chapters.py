"""Parts that pages share; the pages themselves run in ``tests/book`` and in the build."""

from __future__ import annotations

import math

import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

from misr4d import ATOMIC
from misr4d.companion.bench import FAST, differing, read_study
from misr4d.companion.chapters import drawing, simulation, structural_orders, tables
from misr4d.companion.chapters.dose_curves import Draws
from misr4d.companion.chapters.dose_series import LAST, DoseSeries
from misr4d.companion.chapters.invention import Audit
from misr4d.companion.chapters.invention_cases import Questions, atoms_of, spiral
from misr4d.companion.chapters.structural_orders import Specimens
from misr4d.companion.study import Scene
from misr4d.companion.study_images import GALLERY
from misr4d.measure.summary import summarise
from misr4d.specimens.catalogue import SPECIMENS, make_specimen

ROWS = [
    {"specimen": "A", "method": "direct", "dose": dose, "draw": draw, "thickness": None}
    | {"correlation": dose / 1000 + draw / 100, "resolution": period, "weighted_frc": 0.5}
    for dose, period in ((100.0, None), (500.0, 2.0))
    for draw in range(3)
]


def test_a_table_has_a_line_for_each_row() -> None:
    assert tables.table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


def test_numbers_are_written_as_on_all_pages() -> None:
    assert tables.minus(-0.123) == "−0.12"
    assert tables.spread([], "correlation") == "·"
    assert tables.spread([0.1, 0.2, 0.3]) == "0.20 (0.10 to 0.30, n = 3)"
    assert tables.spread([2.0], "resolution") == "2.00 Å (n = 1)"
    assert tables.spread([math.inf], "resolution") == "none (n = 1)"


def test_tables_of_draws_leave_out_what_did_not_run() -> None:
    text = tables.by_dose(ROWS, {"A": "one", "B": "two"}, ["direct", "iDPC"], [100.0, 500.0])
    lines = text.splitlines()
    assert lines[-1] == "| one | direct | 0.11 (0.10 to 0.12, n = 3) | 0.51 (0.50 to 0.52, n = 3) |"
    assert len([line for line in lines if line.startswith("| ")]) == 3
    more = tables.other_measures(ROWS, {"A": "one"}, ["direct"], 100.0, ("resolution",))
    assert more.splitlines()[-1] == "| one | direct | none (n = 3) |"
    assert "100 e⁻/Å²" in more


def test_draws_of_the_study_come_first_and_the_pages_own_fill_in() -> None:
    own = [row | {"correlation": 0.9} for row in ROWS]
    own += [{**ROWS[0], "method": "informed", "correlation": 0.8}]
    draws = Draws([*ROWS, {**ROWS[0], "thickness": 50.0}], own)
    assert draws.values("A", "direct", 100.0) == pytest.approx([0.1, 0.11, 0.12])
    assert draws.median("A", "informed", 100.0) == 0.8
    assert math.isnan(draws.median("A", "iDPC", 100.0))
    assert draws.period("A", "direct", 500.0) == "2.00 Å"
    assert draws.best(["direct", "informed", "iDPC"], "A", 100.0) == "informed"
    assert draws.best(["iDPC"], "A", 100.0) is None


def test_watching_a_network_keeps_what_passed_and_leaves_no_hook() -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    given = torch.ones(1, 2)
    made, passed = drawing.watch({"first": network[0]}, lambda: network(given))
    (inputs,), output = passed["first"]
    assert torch.equal(inputs, given)
    assert torch.equal(made, output.relu())

    def failing() -> None:
        network(given)
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        drawing.watch({"first": network[0]}, failing)
    assert not network[0]._forward_hooks


def test_a_curve_ends_at_its_median_where_the_spread_is_infinite() -> None:
    axes = Figure().subplots()
    drawn = [(100.0, summarise([1.0, 2.0, math.inf])), (200.0, summarise([math.inf]))]
    assert drawing.plot_spread(axes, drawn, "direct")
    assert axes.lines[0].get_xydata().tolist() == [[100.0, 2.0]]
    assert axes.collections[0].get_datalim(axes.transData).y1 == 2.0
    assert not drawing.plot_spread(axes, drawn[1:], "direct")


def test_a_dose_axis_names_the_doses_and_limits_their_periods() -> None:
    axes = Figure().subplots()
    drawing.dose_ticks(axes, [100.0, 300.0])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["100", "300"]
    drawing.mark_periods(axes, ATOMIC)
    heights = [line.get_ydata()[0] for line in axes.lines]
    assert heights == [2.0, pytest.approx(2 / 3), ATOMIC.information_limit]


def test_a_picture_lies_where_the_sheet_is_told_in_inches() -> None:
    sheet = drawing.Sheet(8.0, 4.0)
    axes = sheet.picture(torch.rand(4, 4), 2.0, 1.0, side=1.0)
    box = axes.get_position()
    assert [box.x0, box.y0, box.width, box.height] == pytest.approx(
        [1.5 / 8, 0.5 / 4, 1 / 8, 1 / 4]
    )
    sheet.arrow((1.0, 1.0), (2.0, 1.0), label="x")
    assert "x" in [text.get_text() for text in sheet.page.texts]
    assert drawing.size_of(torch.zeros(3, 4)) == "3 × 4"


def test_nine_views_lie_in_three_rows_around_the_axial_one() -> None:
    angles = ATOMIC.view_angles[simulation.nine_views(ATOMIC)]
    assert angles[4].norm() == ATOMIC.view_angles.norm(dim=1).min()
    assert (angles[:3, 0] < 0).all()
    assert (angles[6:, 0] > 0).all()


def test_the_spiral_has_no_two_columns_closer_than_an_atom() -> None:
    atoms = spiral()
    assert len(atoms) == 550
    flat = atoms.positions[:110, :2]
    distances = torch.pdist(torch.from_numpy(flat))
    assert distances.min() > 2.0
    assert (flat > 5).all()
    assert (flat < 59).all()


def test_an_audit_refuses_a_dose_of_ptychography_that_is_not_among_the_doses() -> None:
    with pytest.raises(ValueError, match=r"ptychography_dose is 70; expected one of \[50\.0\]"):
        Questions(doses=[50.0], ptychography_dose=70.0)
    without = Questions(doses=[50.0], with_ptychography=False)
    assert {dose for _, dose in without.shown_defects} == {50.0}


def test_the_changed_crystals_of_the_audit() -> None:
    crystal = make_specimen("Li2CoO3")
    kinds = ("crystal", "removed", "replaced", "turned", "vacuum")
    whole, holed, replaced, turned, empty = (
        atoms_of(crystal, kind, "Co", "Li", 10.0) for kind in kinds
    )
    column = len(whole) - len(holed)
    assert 0 < column < 20
    assert (whole.numbers != replaced.numbers).sum() == column
    assert set(whole.numbers[whole.numbers != replaced.numbers]) == {27}
    assert len(empty) == 0
    moved = (whole.positions != turned.positions).any(1) if len(turned) == len(whole) else [True]
    assert any(moved)
    with pytest.raises(ValueError, match="the scan is 'bent'; expected crystal, vacuum"):
        atoms_of(crystal, "bent", "Co")


def test_pictures_say_which_doses_have_no_ptychography() -> None:
    page = DoseSeries.__new__(DoseSeries)  # without its scenes
    page.titles, page.every_dose = {"a": "A", "b": "B"}, [50.0, math.inf]
    both = [(name, m, d) for name in "ab" for m in LAST for d in page.every_dose]
    page.images = dict.fromkeys(both, torch.zeros(2, 2))
    assert page.absent() == ""
    del page.images["a", "phaserEM", 50.0], page.images["b", "phaserEM", 50.0]
    del page.images["b", "ptychography", math.inf]
    assert page.absent().startswith(
        "Not in these pictures: ptychography by py4DSTEM at ∞ dose (B), by phaserEM at 50 e⁻/Å². "
    )


def test_all_specimens_are_shown_without_a_simulation(monkeypatch: pytest.MonkeyPatch) -> None:
    # On another Python than the study's no kept image has the key of today's code.
    monkeypatch.setattr(structural_orders, "kept_image", lambda *case: torch.zeros(3, 3))

    def simulated(*_: object) -> None:
        raise AssertionError("a measurement was simulated")

    monkeypatch.setattr(Scene, "measure", simulated)
    rows = read_study(specimens=SPECIMENS)
    page = Specimens(rows, 300.0, [300.0, 1000.0], 8, 0, names=("NCM", "Pmt"))
    assert len(page.rows) == 2 * len(FAST) * (8 + 8 + 1)
    assert page.sources() == "All 306 scores are the study's."
    assert {name for name, _ in page.images} == {"NCM", "Pmt"}
    assert {method for _, method in page.images} == {*GALLERY, "truth"}
    assert len(page.values("NCM", "informed", math.inf, "correlation")) == 1
    monkeypatch.setattr(structural_orders, "kept_image", lambda *case: None)
    with pytest.raises(AssertionError, match="was simulated"):
        Specimens(rows, 300.0, [300.0], 8, 0, names=("NCM",))
    with pytest.raises(AssertionError, match="was simulated"):
        Specimens(rows, 200.0, [300.0], 8, 0, names=("NCM",))


def test_what_the_study_lacks_is_measured_as_the_study_does() -> None:
    rows = read_study(specimens=("CaTiO3",))
    where = {"method": "OBF", "dose": 1000.0, "draw": 2}
    (lost,) = (row for row in rows if where.items() <= row.items())
    page = Specimens(
        [row for row in rows if row is not lost], 300.0, [1000.0], 3, 0, names=("CaTiO3",)
    )
    assert page.measured == 1
    assert page.sources().startswith("Of 63 scores 62 are the study's; the others were measured")
    (again,) = (row for row in page.rows if row not in rows)
    half_sets = {"half_bit": lost["half_bit"], "half_0143": lost["half_0143"]}  # not for one page
    assert differing(lost, again | half_sets) == []


def test_the_audits_record_keeps_the_order_of_the_draws() -> None:
    """Methods are compared draw by draw on the same electrons."""
    page = Audit.__new__(Audit)  # without its cases
    page.threshold, page.doses, page.ptychography_dose = 0.1, [50.0], None
    page.reliabilities, page.error_ratios, page.shares, page.chances = {}, {}, {}, {}
    page.distances, page.places = {}, {}
    page.nothing = {("vacuum", "direct", 50.0): [3.0, 0.0, 1.0]}
    page.whole = page.inside = {("direct", 50.0): [0.5, 0.3, 0.4]}
    page.promised = {}
    record = page.record()
    assert record["nothing"][0]["per_100_A2"] == [3.0, 0.0, 1.0]
    assert record["novel"][0]["correlation"] == [0.5, 0.3, 0.4]
