"""What a figure marks beside its means: single replicates, and intervals that are cut."""

from itertools import pairwise

import planted
import pytest

from sweeper.analysis.frames import load
from sweeper.analysis.view import view_of
from sweeper.topics.registry import sections


def section(name, **settings):
    plan = planted.plan(**settings)
    frames = load(planted.Memory(plan), plan.sweep.name)
    return {one.id: one for _, one in sections(view_of(frames))}[name]


def test_each_replicate_is_a_line_through_the_reference():
    """The overall row: its differences level by level, 0 at the reference, a gap after each."""
    [figure] = section("differences", replicates=4).figures
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
    [figure] = section("differences", replicates=13).figures
    assert figure.data[0]["mode"] == "markers"


@pytest.mark.parametrize("noise", [0.12, 0.001])
def test_an_interval_that_is_cut_is_marked(noise):
    """An arrow at 100 where an interval continues beyond; the introduction explains it."""
    near = section("response", noise=noise, truth=lambda factors: 0.97, replicates=3)
    symbols = [
        str(trace.get("marker", {}).get("symbol")) for one in near.figures for trace in one.data
    ]
    arrows = [one for one in symbols if one.startswith("arrow-")]
    assert bool(arrows) == ("An arrow at 0 or 100" in near.intro) == (noise > 0.1)


def test_means_are_joined_by_a_curve_without_hills_of_its_own():
    """Through every mean, and between two of them never beyond both; words are joined straight."""
    for figure in section("response").figures:
        curves = [one for one in figure.data if one.get("meta") == "between"]
        means = [one for one in figure.data if "error_y" in one]
        assert len(curves) == len(means) == 2
        for curve, mean in zip(curves, means, strict=True):
            at = dict(zip(curve["x"], curve["y"], strict=True))
            assert [at[x] for x in mean["x"]] == pytest.approx(mean["y"], rel=1e-4)
            ends = list(zip(mean["x"], mean["y"], strict=True))
            for (a, one), (b, two) in pairwise(ends):
                inside = [y for x, y in at.items() if a <= x <= b]
                assert min(one, two) - 1e-3 <= min(inside) <= max(inside) <= max(one, two) + 1e-3
    words = section("response", levels={"train.augmentation": ["none", "mixup", "cutmix"]},
                    truth=lambda factors: 0.8)  # fmt: skip
    assert not [one for figure in words.figures for one in figure.data if "meta" in one]
