"""Error bars taken apart and changing examples, on the page."""

import planted
import pytest

from sweeper.analysis.frames import load
from sweeper.analysis.view import view_of
from sweeper.report import page, verify
from sweeper.report.export import tables_of
from sweeper.store import Store
from sweeper.topics.prediction_changes import section as examples
from sweeper.topics.variance_sources import estimate as variance_sources
from sweeper.topics.variance_sources import section as anatomy

FEW = {planted.BATCH: [2, 8]}  # levels, where how many does not matter


def frames_of(plan):
    return load(planted.Memory(plan), plan.sweep.name)


def shown(topic, found):
    """The section of a topic, which must be there."""
    section = topic.section(found)
    assert section is not None
    return section


@pytest.fixture(scope="module")
def frames():
    return frames_of(planted.with_answers(planted.plan(epochs=2), examples=12))


@pytest.fixture(scope="module")
def found(frames):
    return view_of(frames)


def test_without_answers_there_is_no_section():
    """Older sweeps show what they showed."""
    frames = frames_of(planted.plan(levels=FEW, epochs=2, replicates=3))
    found = view_of(frames)
    assert anatomy.section(found) is None
    assert examples.section(found) is None
    assert "anatomy" not in tables_of(frames)


def differences_of(found):
    sources = found.of(variance_sources.build)
    assert sources is not None
    return sources.differences


def test_a_panel_whose_thin_bars_show_nothing_is_not_drawn():
    """Where both intervals of all differences of a measure are about equal."""
    plan = planted.plan(epochs=2, noise=0.006)
    found = view_of(frames_of(planted.with_answers(plan, examples=12, runs=0.1)))
    panels = {one.id for one in shown(anatomy, found).figures}
    for measure in found.measures[:3]:
        bars = [b for b in differences_of(found) if b.measure == measure and b.factor is found.x]
        wider = [(b.outer.high - b.outer.low) / (b.inner.high - b.inner.low) for b in bars]
        assert (f"anatomy-{measure.name}" in panels) == (max(wider) > 1.1)
    assert len(panels) == 2, "one of three measures, and the shares"


def test_each_difference_has_a_thick_and_a_thin_bar():
    """One panel a measure; the thin bar is the outer interval, the thick one the inner."""
    plan = planted.plan(epochs=2, noise=0.002)
    found = view_of(frames_of(planted.with_answers(plan, examples=12, hard=1.0, runs=0.05)))
    section = shown(anatomy, found)
    panels = section.figures[:-1]
    assert [one.id for one in panels] == [
        "anatomy-minority_accuracy", "anatomy-majority_accuracy", "anatomy-balanced_accuracy",
    ]  # fmt: skip
    thin, thick = panels[0].data[:2]
    assert thin["error_y"]["thickness"] < thick["error_y"]["thickness"]
    bars = [b for b in differences_of(found)
            if b.measure is found.objective and b.factor is found.x and b.held is None]  # fmt: skip
    assert thin["error_y"]["array"] == pytest.approx(
        [b.outer.high - b.outer.value for b in bars], rel=1e-4
    )
    assert thick["error_y"]["arrayminus"] == pytest.approx(
        [b.inner.value - b.inner.low for b in bars], rel=1e-4
    )


def test_the_shares_are_stacked_to_the_whole(frames, found):
    """Runs, test set and the residual of every row add up to 100 %, and stand in the text."""
    figure = shown(anatomy, found).figures[-1]
    assert [one["name"] for one in figure.data] == ["runs", "test set", "single answers"]
    for parts in zip(*[one["x"] for one in figure.data], strict=True):
        assert sum(parts) == pytest.approx(100, abs=0.01)
    assert "differences in minority accuracy: runs" in figure.alt


def test_every_interval_names_its_method_n_family_and_unit(frames, found):
    """In the tables, beside the numbers."""
    section = shown(anatomy, found)
    for label, table in section.tables[:2]:
        for column in ("n", "family", "this test set", "new data", "df", "test examples"):
            assert column in table.head, label
        assert "Student t intervals" in table.note
        assert all(len(row) == len(table.head) for row in table.rows)
    assert "--set data.imbalance.draw=fixed" in section.intro


def test_counts_by_class_and_places_are_listed(frames, found):
    """A row a class at each level of the second factor; long lists are cut and say so."""
    (_, table), *_ = shown(examples, found).tables
    assert len(table.rows) == 20
    assert all(len(row) == len(table.head) for row in table.rows)
    assert examples._places(range(20)) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 8 more"
    assert examples._places(()) == "none"


def test_a_page_with_answers_is_made_again_from_its_own_data(tmp_path):
    """Answers travel inside the page: from a real database to the page, and `verify` agrees."""
    plan = planted.with_answers(planted.plan(levels=FEW, epochs=2, replicates=3), examples=5)
    with Store.open(f"sqlite:///{tmp_path / 'sweeper.db'}", create=True) as store:
        out = page.write(store, planted.fill(store, plan), out=tmp_path / "report.html")
    assert "Where the error bars come from" in out.read_text(encoding="utf-8")
    assert "Which test examples change" in out.read_text(encoding="utf-8")
    assert verify.verify(out).same


def test_the_export_holds_the_answers():
    """Bars, changing examples, and each run's bits in hexadecimal digits."""
    frames = frames_of(planted.with_answers(planted.plan(levels=FEW, epochs=2), examples=12))
    tables = tables_of(frames)
    assert {"anatomy", "examples", "correct"} <= tables.keys()
    assert bytes.fromhex(tables["correct"]["bits"].iloc[0]) == frames.correct["bits"].iloc[0]
    assert len(tables["anatomy"]) == 12  # four measures: two cells, one difference
