"""The set of best levels: plain loops and scipy's paired t as oracle, properties, words."""

import math

import numpy as np
import pandas as pd
import planted
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sweeper.analysis.factors import Factor
from sweeper.analysis.frames import load
from sweeper.analysis.measures import Measure
from sweeper.analysis.view import view_of
from sweeper.topics.best_levels import estimate as best_levels
from sweeper.topics.best_levels import text as words_factors
from sweeper.topics.best_levels.estimate import best_set

B = Factor("train.batch_size", "batch size", (2, 8, 32, 128), "log2", 8)
UP = Measure("accuracy", "accuracy", ("test", "accuracy", ""), "points", "maximize")
DOWN = Measure("loss", "loss", ("test", "loss", ""), "", "minimize")


def frame(y):
    return pd.DataFrame(y, index=pd.Index(B.levels, dtype=object))


def noisy(seed, means, replicates=6):
    rng = np.random.default_rng(seed)
    y = np.array(means)[:, None] + rng.normal(size=replicates) + rng.normal(size=(4, replicates))
    return frame(y)


def beaten_by_hand(y, sign=1):
    """Level -> those that beat it, by scipy's one-sided paired t at .05 / (a - 1)."""
    found = {}
    for j in y.index:
        for k in y.index:
            both = y.loc[[j, k]].dropna(axis=1)
            if j == k or both.shape[1] < 3:
                continue
            p = stats.ttest_rel(sign * both.loc[k], sign * both.loc[j], alternative="greater")
            if p.pvalue < 0.05 / (len(y) - 1):
                found.setdefault(j, set()).add(k)
    return found


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("measure", "sign"), [(UP, 1), (DOWN, -1)])
def test_a_level_stays_unless_another_beats_it(seed, measure, sign):
    """Kept, beaten and by whom: as plain loops over scipy's paired t say."""
    y = noisy(seed, [1.5, 1.2, 0.0, -2.0])
    expected = beaten_by_hand(y, sign)
    one = best_set(y, factor=B, measure=measure)
    assert set(one.beaten) == set(expected)
    assert one.kept == tuple(level for level in B.levels if level not in expected)
    for level, against in one.beaten.items():
        assert against.ahead in expected[level]
        assert against.behind == level
        assert against.lead == pytest.approx(sign * (y.loc[against.ahead] - y.loc[level]).mean())


def test_p_is_scipys_times_the_family():
    """One-sided, Bonferroni over the other levels."""
    y = noisy(3, [3, 0, 0, 0])
    one = best_set(y, factor=B, measure=UP)
    for level, against in one.beaten.items():
        p = stats.ttest_rel(y.loc[against.ahead], y.loc[level], alternative="greater").pvalue
        assert against.p == pytest.approx(min(3 * p, 1), rel=1e-9)
    assert one.family == 3


def test_every_pair_that_stays_says_how_many_replicates_would_part_it():
    """N = ((T(.975, R - 1) + 0.84) sd / mean)^2, rounded up, and more than there are."""
    y = noisy(5, [0.3, 0.0, 0.2, -4.0])
    one = best_set(y, factor=B, measure=UP)
    assert len(one.ties) == len(one.kept) * (len(one.kept) - 1) / 2 > 0
    for tie in one.ties:
        d = y.loc[tie.ahead] - y.loc[tie.behind]
        assert tie.lead == pytest.approx(d.mean())
        assert tie.lead >= 0
        need = ((stats.t.ppf(0.975, 5) + 0.84) * d.std() / d.mean()) ** 2
        assert tie.needed == max(math.ceil(need), 7)


def test_a_pair_uses_the_replicates_that_have_both():
    """Holes shorten the pairs that they touch, and no others."""
    y = noisy(7, [2, 0, 0, 0])
    y.loc[8, 0] = math.nan
    one = best_set(y, factor=B, measure=UP)
    assert one.n == 5
    assert "over 5 to 6 replicates" in one.method
    assert set(one.beaten) == set(beaten_by_hand(y))


@pytest.mark.parametrize("replicates", [0, 1, 2])
def test_below_three_replicates_all_levels_stay(replicates):
    """Points only: nothing is beaten, and the note says why."""
    one = best_set(noisy(1, [9, 0, 0, 0], replicates), factor=B, measure=UP)
    assert one.kept == B.levels
    assert one.note
    assert words_factors.best_levels(one).startswith("No level of batch size is left out: n")


def test_equal_differences_beat_nobody():
    """No variance is a saturated metric, not certainty."""
    y = frame(np.array([[2.0], [1.0], [1.0], [1.0]]) + np.arange(5))
    one = best_set(y, factor=B, measure=UP)
    assert one.kept == B.levels
    assert "gives no test" in one.note
    assert all(tie.needed is None for tie in one.ties)


grids = st.lists(
    st.lists(st.floats(0, 100), min_size=5, max_size=5), min_size=4, max_size=4
)  # fmt: skip


@settings(max_examples=60)
@given(grids, st.randoms(use_true_random=False))
def test_neither_a_replicates_offset_nor_their_order_changes_the_set(values, random):
    """Blocks cancel; replicates have no order."""
    y = frame(np.round(values, 3))
    order = random.sample(range(5), 5)
    moved = y[order] + [random.randint(-50, 50) for _ in order]
    one, two = (best_set(each, factor=B, measure=UP) for each in (y, moved))
    close = [abs(p - 0.05) < 1e-6 for pairs in (one.ties, one.beaten.values()) for p in
             (against.p for against in pairs)]  # fmt: skip
    assert one.kept == two.kept or any(close)


holes = st.lists(
    st.lists(st.one_of(st.floats(0, 100), st.just(math.nan)), min_size=5, max_size=5),
    min_size=4, max_size=4,
)  # fmt: skip


@settings(max_examples=60)
@given(holes)
def test_any_holes_leave_a_set_that_is_not_empty(values):
    """Whatever is missing: each level is either kept or beaten, and one is kept."""
    one = best_set(frame(values), factor=B, measure=UP)
    assert one.kept
    assert set(one.kept) | set(one.beaten) == set(B.levels)
    assert not set(one.kept) & set(one.beaten)


def test_levels_that_beat_each_other_in_a_circle_all_stay():
    """Each pair shares other replicates: no level is unbeaten, so none is left out."""
    y = np.full((4, 9), math.nan)
    for at, (ahead, behind) in enumerate([(0, 1), (1, 2), (2, 0)]):
        columns = slice(3 * at, 3 * at + 3)
        y[ahead, columns], y[behind, columns] = [50.0, 50.1, 50.2], [10.0, 10.2, 10.3]
    y[3] = np.arange(9) / 100
    one = best_set(frame(y), factor=B, measure=UP)
    assert one.kept == B.levels
    assert one.note == best_levels.CIRCLE


def told(kept, beaten, n=5, held=None, at=None):
    lost = {level: best_levels.Against(2, level, 1.0, 1.0, n, 0.01, None) for level in beaten}
    return words_factors.best_levels(
        best_levels.BestSet(B, UP, held, at, tuple(kept), lost, (), n, 3, "t")
    )


def test_the_set_in_words():
    """No claim that a level that stays is the best, nor that two that stay are equal."""
    assert told([2, 8], [32, 128]) == (
        "Batch sizes 2 and 8 cannot be told apart at the top; 32 and 128 are beaten."
    )
    assert told([2], [8, 32, 128]) == (
        "Only batch size 2 is not beaten by another level; 8, 32 and 128 are beaten."
    )
    assert told([2, 8, 32], [128], n=4).startswith("The runs suggest that batch sizes 2, 8 and 32")
    assert told([2, 8, 32, 128], []) == (
        "No batch size is beaten: 2, 8, 32 and 128 cannot be told apart at the top."
    )


@pytest.mark.parametrize(
    ("one", "many"),
    [("batch size", "batch sizes"), ("SSL loss", "SSL losses"), ("density", "densities"),
     ("smoothing of the minority", "smoothings of the minority")],
)  # fmt: skip
def test_more_than_one_level_has_a_plural(one, many):
    """The head of the name, not its end."""
    assert words_factors.plural(one) == many


def test_the_answer_has_a_set_for_each_factor_and_for_each_line():
    """Two factors over all, and the axis at each level of the second; as rows, all levels."""
    plan = planted.plan(seed=2, noise=0.004)
    found = view_of(load(planted.Memory(plan), plan.sweep.name))
    keys = [(one.factor.name, one.at) for one in found.of(best_levels.build)]
    assert keys == [("batch size", None), ("train ratio", None), ("batch size", 0.05),
                    ("batch size", 1.0)]  # fmt: skip
    rows = best_levels.rows(found.of(best_levels.build))
    listed = rows[rows["kind"] != "tie"]
    assert len(listed) == 4 + 2 + 4 + 4
    assert set(listed["kind"]) == {"kept", "beaten"}
