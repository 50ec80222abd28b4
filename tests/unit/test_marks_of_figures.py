"""What a figure marks beside its means: single replicates, and intervals that are cut."""

import planted
import pytest

from sweeper.analysis.frames import load
from sweeper.analysis.view import view_of
from sweeper.topics.differences import section as differences
from sweeper.topics.response import section as response


def section(topic, **settings):
    plan = planted.plan(**settings)
    made = topic.TOPIC.section(view_of(load(planted.Memory(plan), plan.sweep.name)))
    assert made is not None
    return made


def test_each_replicate_is_a_line_through_the_reference():
    """The overall row: its differences level by level, 0 at the reference, a gap after each."""
    [figure] = section(differences, replicates=4).figures
    raw, *_ = figure.data
    assert raw["mode"] == "lines+markers"
    gaps = [at for at, value in enumerate(raw["y"]) if value is None]
    assert gaps == [4, 9, 14, 19]
    for start in (0, 5, 10, 15):
        assert raw["x"][start : start + 4] == sorted(raw["x"][start : start + 4])
        assert raw["y"][start + 1] == 0.0, "8 is the reference, the second level"
        assert set(raw["text"][start : start + 5]) == {f"replicate {start // 5}"}
    assert figure.data[2]["mode"] == "markers", "a level of the second factor"


def test_many_replicates_are_no_lines():
    """More than a dozen would be a haze."""
    [figure] = section(differences, replicates=13).figures
    assert figure.data[0]["mode"] == "markers"


@pytest.mark.parametrize("noise", [0.12, 0.001])
def test_an_interval_that_is_cut_is_marked(noise):
    """An arrow at 100 where an interval continues beyond; the introduction explains it."""
    near = section(response, noise=noise, truth=lambda factors: 0.97, replicates=3)
    symbols = [
        str(trace.get("marker", {}).get("symbol")) for one in near.figures for trace in one.data
    ]
    arrows = [one for one in symbols if one.startswith("arrow-")]
    assert bool(arrows) == ("An arrow at 0 or 100" in near.intro) == (noise > 0.1)


def test_means_are_joined_by_straight_lines():
    """One line a level through its means alone: no shape between them is drawn."""
    for figure in section(response).figures:
        means = [one for one in figure.data if "error_y" in one]
        lines = [one for one in figure.data if "lines" in one["mode"]]
        assert lines == means
        assert [len(one["x"]) for one in lines] == [4, 4]
        assert not any("shape" in one["line"] for one in lines)


@pytest.mark.parametrize(("truth", "noise", "near"), [(0.14, 0.03, True), (0.9, 0.01, False)])
def test_the_chance_level_is_drawn_where_the_data_are_near_it(truth, noise, near):
    """A dotted line at 10 %, one in ten classes, with its name; the axis reaches it."""
    figure = section(response, truth=lambda factors: truth, noise=noise).figures[0]
    lines = [one for one in figure.data if one.get("name") == "chance"]
    assert bool(lines) == near
    for line in lines:
        assert line["y"] == [10.0, 10.0]
        assert line["text"][0].startswith("chance, 10")
        low, high = figure.layout["yaxis"]["range"]
        assert low <= 10 <= high


def test_an_axis_shows_the_part_that_the_data_fill():
    """Its ends lie close around marks and bars, and the title names them."""
    for figure in section(response, noise=0.01).figures:
        low, high = figure.layout["yaxis"]["range"]
        bars = [one for one in figure.data if "error_y" in one]
        tops, ends = [], []
        for one in bars:
            sizes = one["error_y"]
            tops += [y + up for y, up in zip(one["y"], sizes["array"], strict=True)]
            ends += [y - down for y, down in zip(one["y"], sizes["arrayminus"], strict=True)]
        assert low < min(ends) < low + 0.25 * (high - low)
        assert high > max(tops) > high - 0.25 * (high - low)
        assert f"axis {low:.0f} to {min(high, 100):.0f}" in figure.title
