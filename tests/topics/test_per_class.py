"""Recall class by class, and the class size at which small batches start to win."""

import math
from dataclasses import replace

import numpy as np
import planted
import pytest
from scipy import stats

from sweeper.analysis.frames import load
from sweeper.analysis.intervals import fieller
from sweeper.analysis.view import view_of
from sweeper.analysis.withheld import Withheld
from sweeper.report import page
from sweeper.states import Ending
from sweeper.topics.per_class import estimate as per_class
from sweeper.topics.per_class import text as words_groups
from sweeper.topics.per_class.estimate import Crossing, crossing

DRAWS = 400
SIZES = np.array([100, 71, 51, 36, 26, 18, 13, 9, 6, 5])  # exponential, ratio 0.05


def gain(factors, label):
    """Batch 2 against 128 is 0 at 20 samples, and gains 3 points a halving below."""
    doublings = math.log2(factors[planted.BATCH]) - 4
    size = int(100 * factors[planted.RATIO] ** (label / 9))
    return 0.6 + 0.005 * doublings * math.log2(size / 20)


def sweep(recall=gain, **settings):
    plan = planted.with_recalls(planted.plan(), recall, **settings)
    return view_of(load(planted.Memory(plan), plan.sweep.name)).of(per_class.build)


@pytest.fixture(scope="module")
def one():
    return sweep()


def test_classes_stand_by_frequency_at_the_strongest_imbalance(one):
    """The most frequent first, with the counts of that level."""
    assert (one.held.path, one.at) == (planted.RATIO, 0.05)
    samples = [row.samples for row in one.classes]
    assert samples == [int(100 * 0.05 ** (c / 9)) for c in range(10)]
    assert [row.name for row in one.classes] == list(planted.CLASSES)


def test_recalls_and_differences_are_scipys(one):
    """t interval of the mean, and the paired difference, from the frames by plain loops."""
    plan = planted.with_recalls(planted.plan(), gain)
    frames = load(planted.Memory(plan), plan.sweep.name)
    key = ("test", "recall", "class:7")
    y = {}
    for run, row in frames.runs.iterrows():
        factors = frames.cells["factors"][row["cell"]]
        if factors[planted.RATIO] == 0.05:
            y[factors[planted.BATCH], row["replicate"]] = 100 * frames.numbers.loc[run, key]
    two, eight = ([y[level, r] for r in range(5)] for level in (2, 8))
    row = one.classes[7]
    low, high = stats.t.interval(0.95, 4, np.mean(two), stats.sem(two))
    assert (row.recall[0].low, row.recall[0].high) == pytest.approx((low, high))
    test = stats.ttest_rel(two, eight)
    assert row.changes[0].p == pytest.approx(test.pvalue)
    assert row.changes[0].family == 3
    assert row.changes[1] is None  # the reference


def test_the_planted_crossing_is_found(one):
    """About 20 samples, small batches winning on rarer classes, five of ten."""
    found = one.crossing
    assert isinstance(found, Crossing)
    assert found.samples.low < 20 < found.samples.high
    assert found.rarer
    assert found.beyond == 5
    assert (found.low, found.high) == (2, 128)
    told = words_groups.crossing(one)
    assert told.startswith("Batch size 2 does better than 128 for classes of fewer than about ")
    assert "Fieller interval" in told
    assert "n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}5" in told


def test_a_gain_that_does_not_depend_on_the_class_has_no_crossing():
    """Without a relation the page states this, and gives no number."""
    found = sweep(lambda factors, label: 0.6, noise=0.03)
    assert isinstance(found.crossing, Withheld)
    assert "cannot be told" in words_groups.crossing(found)


def test_a_gain_for_every_class_has_no_crossing():
    """The line stays on one side over all classes."""

    def better(factors, label):
        return gain(factors, label) - 0.02 * math.log2(factors[planted.BATCH])

    found = sweep(better).crossing
    assert isinstance(found, Withheld)
    assert found.reason == "No crossing: the fitted line favours batch size 2 for every class."


def test_fieller_is_where_the_t_test_stops_rejecting():
    """At both ends of the interval the mean line's p is 0.05, by scipy."""
    rng = np.random.default_rng(4)
    z = np.log2(SIZES)
    d = -2.0 * (z - 4.5)[:, None] + rng.normal(0, 3, (10, 6))
    found, rarer = crossing(z, d=d)
    assert rarer
    for size in (found.low, found.high):
        heights = [np.polyval(np.polyfit(z, d[:, r], 1), math.log2(size)) for r in range(6)]
        assert stats.ttest_1samp(heights, 0).pvalue == pytest.approx(0.05, abs=1e-6)


@pytest.mark.parametrize("replicates", [3, 5, 10])
@pytest.mark.parametrize("slopes", [0.0, 1.0])
def test_the_crossing_is_covered_95_times_in_100(replicates, slopes):
    """A clear relation; also where each replicate has a slope of its own."""
    rng = np.random.default_rng([replicates, int(slopes)])
    z, hits = np.log2(SIZES), []
    for _ in range(DRAWS):
        slope = -6.0 + slopes * rng.normal(size=replicates)
        noise = rng.normal(0, 3, (10, replicates)) + rng.normal(0, 2, replicates)
        found = crossing(z, d=slope * (z - math.log2(20))[:, None] + noise)
        if not isinstance(found, Withheld):
            hits.append(found[0].low <= 20 <= found[0].high)
    assert len(hits) > 0.9 * DRAWS
    assert abs(np.mean(hits) - 0.95) <= 4 * math.sqrt(0.95 * 0.05 / len(hits))


def test_without_a_relation_a_crossing_is_claimed_5_times_in_100():
    """The interval is finite only where the slope differs from 0."""
    rng = np.random.default_rng(8)
    z = np.log2(SIZES)
    told = [not isinstance(crossing(z, d=rng.normal(0, 3, (10, 5))), Withheld)
            for _ in range(DRAWS)]  # fmt: skip
    assert np.mean(told) <= 0.05 + 4 * math.sqrt(0.95 * 0.05 / DRAWS)


@pytest.mark.parametrize(
    "d",
    [np.ones((10, 2)), np.outer(np.log2(SIZES), np.ones(5)), np.full((10, 5), np.nan)],
    ids=["n=2", "zero variance", "all missing"],
)
def test_what_gives_no_interval_gives_no_crossing(d):
    """Too few replicates, equal ones, none."""
    assert isinstance(crossing(np.log2(SIZES), d=d), Withheld)


def test_a_flat_slope_has_no_two_ends():
    """b within its own error: None."""
    assert fieller(1.0, 0.1, v=np.array([[1.0, 0.0], [0.0, 1.0]]), quantile=2.0) is None


def test_a_missing_run_takes_its_replicate_away():
    """Complete blocks: four replicates are left in the differences of that level."""
    plan = planted.with_recalls(planted.plan(), gain)
    plan = replace(plan, endings={(1, 2): (Ending.DIVERGED, "nan")})  # batch 2, ratio 0.05
    one = view_of(load(planted.Memory(plan), plan.sweep.name)).of(per_class.build)
    row = one.classes[0]
    assert [e.n for e in row.recall] == [4, 5, 5, 5]
    assert row.changes[0].n == 4
    assert one.crossing.samples.n == 4


def test_one_replicate_gives_points_without_intervals():
    """n = 1: values, no interval, no crossing."""
    plan = planted.with_recalls(planted.plan(replicates=1), gain)
    one = view_of(load(planted.Memory(plan), plan.sweep.name)).of(per_class.build)
    assert not one.classes[0].recall[0].known
    assert isinstance(one.crossing, Withheld)


def test_a_class_without_test_samples_has_no_number_and_takes_none_from_the_others():
    """One class absent: n = 0 and n/a for it, the crossing from the rest, and a page."""
    plan = planted.with_recalls(planted.plan(), gain)
    name = plan.sweep.facts["classes"][3]
    at = plan.layout.index(("test", "recall", f"class:{name}"))
    for matrix in plan.numbers.values():
        matrix[:, at] = math.nan
    frames = load(planted.Memory(plan), plan.sweep.name)
    one = view_of(frames).of(per_class.build)
    absent = next(row for row in one.classes if row.name == name)
    assert {(e.n, e.known) for e in absent.recall} == {(0, False)}
    others = [row for row in one.classes if row.name != name]
    assert all(e.n == 5 and e.known for row in others for e in row.recall)
    assert one.crossing.samples.n == 5
    assert "n/a" in page.html(frames)


def test_balanced_classes_and_a_varying_size_have_no_crossing():
    """Equal counts; or the train ratio itself on the axis."""
    flat = planted.with_recalls(planted.plan(levels={planted.BATCH: [2, 8]}), lambda f, c: 0.5)
    found = view_of(load(planted.Memory(flat), flat.sweep.name)).of(per_class.build)
    assert found.crossing == Withheld("The classes are too alike in size.")
    along = planted.plan(levels={planted.RATIO: [0.01, 0.1, 1.0]})
    found = view_of(load(planted.Memory(along), along.sweep.name)).of(per_class.build)
    assert found.crossing == Withheld("The class sizes change with train ratio.")


def test_classes_that_take_every_size_in_turn_have_no_crossing():
    """Where each replicate draws the order, recalls stay by class, and sizes are all the mean."""
    plan = planted.with_recalls(planted.plan(), gain)
    for cell in plan.cells:
        cell.config.setdefault("data", {}).setdefault("imbalance", {})["order"] = "permuted"
    found = view_of(load(planted.Memory(plan), plan.sweep.name)).of(per_class.build)
    assert [row.name for row in found.classes] == list(planted.CLASSES)
    assert len({row.samples for row in found.classes}) == 1
    assert found.crossing == Withheld(per_class.DRAWN)
