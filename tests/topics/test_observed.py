"""What the observers measured: means, paired changes, quotients of means, and their course."""

import math

import numpy as np
import planted
import pytest
from observed_plan import EFFECT, MARGIN, METRICS, NOISE, SQUARE, VARIANCE, watched
from scipy import stats

from sweeper.analysis.frames import load
from sweeper.analysis.view import view_of
from sweeper.topics.observed import section as page
from sweeper.topics.observed import text
from sweeper.topics.observed.estimate import build, quotient, rows


def view(plan):
    return view_of(load(planted.Memory(plan), plan.sweep.name))


def built(plan):
    found = view(plan).of(build)
    assert found is not None
    return found


def of(plan, cell, key, *, epoch=-1):
    at = plan.layout.index(key)
    return np.array([plan.numbers[cell, r][epoch, at] for r in range(6)], dtype=float)


def test_a_mean_and_a_change_are_those_of_the_runs():
    plan = watched()
    found = built(plan)
    key = ("test", MARGIN, "group:minority")
    (one,) = [n for n in found.numbers if (n.split, n.metric, n.target) == key]
    base = of(plan, found.factor.levels.index(found.factor.reference), key)
    for at, (mean, change) in enumerate(zip(one.means, one.changes, strict=True)):
        values = of(plan, at, key)
        t = stats.ttest_1samp(values, 0.0)
        low, high = t.confidence_interval(0.95)
        assert (mean.value, mean.low, mean.high) == pytest.approx((values.mean(), low, high))
        if change is not None:
            paired = stats.ttest_rel(values, base).confidence_interval(1 - 0.05 / 3)
            assert (change.low, change.high) == pytest.approx(tuple(paired))
            assert change.family == 3


def test_a_quotient_divides_means_over_runs():
    plan = watched()
    found = built(plan)
    for one in (n for n in found.numbers if n.metric == NOISE):
        assert one.changes == (None,) * 4
        for at, mean in enumerate(one.means):
            above = of(plan, at, ("train", VARIANCE, one.target))
            below = of(plan, at, ("train", SQUARE, one.target))
            assert mean.value == pytest.approx(above.mean() / below.mean())
            assert mean.low < mean.value < mean.high


def test_the_interval_of_a_quotient_covers_95_times_in_100():
    source = np.random.default_rng(2)
    draws = source.multivariate_normal([2.0, 0.5], [[0.2, 0.03], [0.03, 0.02]], (2000, 6))
    found = [quotient(one[:, 0], below=one[:, 1]) for one in draws]
    told = [one for one in found if one.known]
    hits = sum(one.low <= 4.0 <= one.high for one in told)
    assert len(told) > 1900
    # A set without two ends always covers; those that are told hold nearly their level.
    covered = (hits + len(found) - len(told)) / len(found)
    assert abs(covered - 0.95) < 4 * math.sqrt(0.95 * 0.05 / 2000)


@pytest.mark.parametrize(
    ("below", "note"),
    [
        ([-1.0, -2.0, -1.5], "the mean below is not positive"),
        ([0.1, -2.0, 2.5], "the mean below may be 0"),
        ([1.0, math.nan, 2.0], "n = 2"),
        ([math.nan] * 3, "n = 0"),
    ],
)
def test_a_quotient_says_why_it_has_no_interval(below, note):
    one = quotient(np.array([1.0, 2.0, 3.0]), below=np.array(below))
    assert not one.known
    assert one.note == note


def test_the_course_of_a_quotient_follows_the_evaluations():
    plan = watched()
    found = built(plan)
    assert {(one.metric, one.target) for one in found.courses} == {
        (NOISE, target) for target in ("group:minority", "group:majority", "")
    }
    one = next(c for c in found.courses if c.level == 8 and c.target == "group:majority")
    assert one.epochs == tuple(range(1, plan.epochs + 1))
    for epoch, value in enumerate(one.values):
        above = of(plan, 1, ("train", VARIANCE, one.target), epoch=epoch)
        below = of(plan, 1, ("train", SQUARE, one.target), epoch=epoch)
        assert value == pytest.approx(above.mean() / below.mean(), rel=1e-6)


def test_the_page_and_the_export_have_what_was_observed():
    seen = view(watched())
    found, section = seen.of(build), page.section(seen)
    assert found is not None
    assert section is not None
    assert section.finding.startswith("Logit margin of the minority on test: \N{MINUS SIGN}0.7")
    assert "at batch size 128 from batch size 8." in section.finding
    assert [one.title.split(" (")[0] for one in section.figures] == [
        "gradient noise along the training: minority solid, majority dotted",
        "logit margin on test",
        "gradient noise on train",
        "gradient variance on train",
        "gradient square on train",
    ]
    assert len(rows(found)) == 4 * 3 * len(METRICS)
    assert any("Fieller" in one for one in text.methods(seen))


def test_a_change_that_is_not_sure_is_not_told():
    seen = view(watched(effect=dict.fromkeys(EFFECT, 0.0)))
    section = page.section(seen)
    assert section is not None
    assert section.finding.startswith("No level surely differs")


def test_a_sweep_without_observers_has_no_such_part():
    seen = view(planted.plan())
    assert page.section(seen) is None
    assert rows(seen.of(build)) == []
