"""The sections on fairness, classes, exchange, missed batches and steps: what they hold."""

import json
import re
from dataclasses import asdict

import planted
import pytest

from sweeper.analysis.frames import load
from sweeper.analysis.view import view_of
from sweeper.report import export
from sweeper.states import Ending
from sweeper.topics.critical_batch_size import section as efficiency
from sweeper.topics.fairness import section as fairness
from sweeper.topics.missed_batches import section as absence
from sweeper.topics.per_class import section as classes
from sweeper.topics.tradeoff import section as exchange

TOPICS = {"absence": absence, "classes": classes, "efficiency": efficiency,
          "exchange": exchange, "fairness": fairness}  # fmt: skip
RATES = (0.01, 0.1, 1.0)


def planned(**settings):
    plan = planted.plan(**settings)
    return planted.with_tuning(plan, RATES, truth=lambda factors, rate: 0.8 - abs(rate - 0.1))


def made(plan):
    frames = load(planted.Memory(plan), plan.sweep.name)
    found = view_of(frames)
    return {name: topic.section(found) for name, topic in TOPICS.items()}


@pytest.fixture(scope="module")
def full():
    return made(planned())


@pytest.mark.parametrize("topic", TOPICS)
def test_every_figure_has_words_and_a_table(full, topic):
    """Alt text that names the table, and at least one table of rows as wide as its head."""
    one = full[topic]
    assert one.id == topic
    assert one.figures
    for figure in one.figures:
        assert "table below holds the same numbers" in figure.alt
    assert one.tables
    for _, table in one.tables:
        assert table.rows
        assert all(len(row) == len(table.head) for row in table.rows)


@pytest.mark.parametrize("topic", TOPICS)
def test_figures_are_json_without_nan(full, topic):
    """What the page's script can read."""
    for figure in full[topic].figures:
        json.dumps(asdict(figure), allow_nan=False)


@pytest.mark.parametrize("topic", ["classes", "efficiency"])
def test_intervals_name_method_n_and_family(full, topic):
    """In the table's note and columns."""
    [(_, table)] = full[topic].tables
    assert "95 %" in table.note or "t intervals" in table.note
    assert "n" in table.head
    assert topic != "classes" or "family" in table.head


def test_the_slider_only_looks_up(full):
    """21 stops, each with the marker of every trace of marks; filled are the best cells."""
    [figure] = full["exchange"].figures
    assert len(figure.slider.stops) == 21
    assert figure.slider.start == 10
    for stop in figure.slider.stops:
        shown = [s for patch in stop.patch.values() for s in patch["marker"]["symbol"]]
        [best] = re.findall(r"(\d+) of 8 cells", stop.said)
        assert sum(not one.endswith("-open") for one in shown) == int(best)
    here = figure.slider.stops[10].patch
    assert all(figure.data[at]["marker"] == patch["marker"] for at, patch in here.items())


def test_the_pick_is_ringed_and_each_level_keeps_its_look(full):
    """The same colour and marker for a batch size in both panels."""
    looks = [
        {trace["name"]: (trace["line"]["color"], trace["marker"]["symbol"])
         for trace in figure.data if "lines" in trace["mode"]}
        for figure in full["fairness"].figures
    ]  # fmt: skip
    assert looks[0] == looks[1]
    assert len(set(looks[0].values())) == 4
    rings = [trace for trace in full["fairness"].figures[0].data
             if trace["marker"]["symbol"] == "circle-open"]  # fmt: skip
    assert [len(ring["x"]) for ring in rings] == [1, 1, 1, 1]


def test_the_heat_map_has_the_most_frequent_class_on_top(full):
    """In the order of training samples, which stand beside the name."""
    [figure] = full["classes"].figures
    assert figure.data[0]["y"][0] == "0 (100)"
    assert figure.layout["yaxis"]["autorange"] == "reversed"


@pytest.mark.parametrize("replicates", [1, 2])
def test_few_replicates_have_sections_without_intervals(replicates):
    """n = 1 and 2: points, no verdicts, no failure."""
    parts = made(planned(replicates=replicates))
    assert parts["exchange"].figures[0].slider is None
    assert "cannot be told" in parts["classes"].reading


def test_lost_cells_and_hostile_names_are_drawn():
    """All runs of a cell lost; a class named as markup is shown as written."""
    endings = {(0, r): (Ending.DIVERGED, "nan") for r in range(3)}
    names = ("<b>x</b>", *planted.CLASSES[1:])
    parts = made(planned(replicates=3, failures=endings, classes=names))
    [figure] = parts["classes"].figures
    assert any("&lt;b&gt;x" in name for name in figure.data[0]["y"])


def test_a_sweep_without_a_complete_run_has_none_of_them():
    """Nothing has finished: no section, no error."""
    endings = {(cell, r): (None, "") for cell in range(8) for r in range(3)}
    parts = made(planted.plan(replicates=3, failures=endings))
    assert set(parts.values()) == {None}


def test_the_tables_of_the_export_hold_them():
    """A row a tuning point, a class and level, a cell, a share, a step."""
    plan = planned()
    tables = export.tables_of(load(planted.Memory(plan), plan.sweep.name))
    assert len(tables["tuning"]) == 8 * len(RATES)
    assert tables["tuning"]["picked"].sum() == 8
    assert len(tables["classes"]) == 10 * 4
    assert len(tables["exchange"]) == 8
    assert len(tables["absence"]) == 8 * 11
    assert len(tables["steps"]) == 8 * 5
    assert set(tables["fairness"]["condition"]) == {
        "tuned rate", "equal budget", "not at an edge", "complete blocks", "no collapse",
    }  # fmt: skip
