"""The table of all pairs: scipy's paired t as oracle, properties, and what is read off it."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sweeper.analysis.intervals import replicates_for
from sweeper.analysis.pairs import (
    Need,
    ResponseShape,
    ShapeKind,
    all_pairs,
    needed,
    shape_of,
    standings,
    undecided,
)

MARGIN = 1.0


def noisy(seed, means, replicates=6):
    """y (a, R): replicates have offsets of their own, which levels share."""
    rng = np.random.default_rng(seed)
    size = (len(means), replicates)
    return np.array(means)[:, None] + 5 * rng.normal(size=replicates) + rng.normal(size=size)


def by_scipy(y, i, j, pairs, level=0.95):
    """The paired t interval of level i minus level j at .05 over all pairs."""
    found = stats.ttest_rel(y[i], y[j])
    ends = found.confidence_interval(1 - (1 - level) / pairs)
    return float(ends.low), float(ends.high), float(found.pvalue)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_each_pair_is_a_paired_t_at_a_share_of_the_error(seed, direction):
    """Bonferroni over a (a - 1) / 2 pairs, each with its own variance."""
    y = noisy(seed, [1.5, 1.2, 0.0, -2.0])
    found = all_pairs(y, direction=direction)
    sign = 1 if direction == "maximize" else -1
    for i, j in combinations(range(4), 2):
        low, high, p = by_scipy(y, i, j, pairs=6)
        one = found.estimate(i, j)
        assert (one.low, one.high, one.p) == pytest.approx((low, high, p))
        better = sorted((sign * low, sign * high))
        assert (found.low[i, j], found.high[i, j]) == pytest.approx(tuple(better))
        assert (found.low[j, i], found.high[j, i]) == pytest.approx((-better[1], -better[0]))
    assert found.family == 6


def test_a_replicate_that_lacks_a_level_is_left_out_of_all_pairs():
    """Complete blocks: else better would not be transitive."""
    y = noisy(3, [2, 0, 0, 0])
    y[1, 4] = math.nan
    whole = all_pairs(np.delete(y, 4, axis=1))
    found = all_pairs(y)
    assert found.n == 5
    assert found.low == pytest.approx(whole.low)
    assert found.high == pytest.approx(whole.high)


def test_planned_looks_have_their_share_of_the_error():
    """A third of it, split over the pairs."""
    y = noisy(5, [1, 0, 0])
    one = all_pairs(y, shares=3).estimate(0, 1)
    low, high, _ = by_scipy(y, 0, 1, pairs=9)
    assert (one.low, one.high) == pytest.approx((low, high))


def test_two_stages_have_the_first_spread_and_its_degrees_of_freedom():
    """The mean is of all replicates; the half-width is at least the one asked for."""
    y = noisy(6, [1, 0, 0], replicates=12)
    for floor in (0.0, 50.0):
        one = all_pairs(y, first=[0, 1, 3, 4, 5], floor=floor).estimate(0, 2)
        d = y[0] - y[2]
        half = stats.t.ppf(1 - 0.05 / 6, 4) * np.std(d[[0, 1, 3, 4, 5]], ddof=1) / math.sqrt(12)
        assert one.value == pytest.approx(d.mean())
        assert one.high - one.value == pytest.approx(max(half, floor))


def test_no_difference_of_two_accuracies_is_larger_than_100_points():
    """Three replicates that vary widely allow no more; a missing interval stays missing."""
    y = np.array([[0.0, 100.0, 40.0], [100.0, 5.0, 60.0]])
    wide = all_pairs(y).estimate(0, 1)
    assert wide.low < -100.0
    held = all_pairs(y).within(100.0).estimate(0, 1)
    assert (held.low, held.high, held.value) == (-100.0, 100.0, wide.value)
    two = all_pairs(y[:, :2])
    assert np.array_equal(two.within(100.0).high, two.high)


@pytest.mark.parametrize("replicates", [0, 1, 2])
def test_below_three_replicates_nothing_is_beaten(replicates):
    """Points only, and the note says why."""
    found = all_pairs(noisy(1, [9, 0, 0], replicates))
    assert not found.beaten.any()
    assert found.note == f"n = {replicates}"
    assert not found.estimate(0, 1).known


def test_equal_differences_beat_nobody():
    """No variance is a sign of a saturated metric, not of certainty."""
    found = all_pairs(np.array([[2.0], [1.0], [1.0]]) + np.arange(5))
    assert not found.beaten.any()
    assert found.note == "some levels differ by the same in all replicates"
    assert needed(found, 1, margin=MARGIN) is None


numbers = st.integers(3, 6).flatmap(
    lambda a: st.lists(
        st.lists(st.floats(0, 100).map(lambda x: round(x, 2)), min_size=4, max_size=4),
        min_size=a,
        max_size=a,
    )
)


@settings(max_examples=150)
@given(numbers)
def test_what_is_said_of_levels_is_consistent(values):
    """Better is transitive; a level is beaten exactly if a pair says so; means fit the words."""
    y = np.array(values)
    found = all_pairs(y)
    better = found.low > 0
    a, means = len(y), y.mean(axis=1)
    for i in range(a):
        for j in range(a):
            for k in range(a):
                if i != j != k != i and np.isfinite(found.low[[i, j, i], [j, k, k]]).all():
                    assert found.low[i, k] >= found.low[i, j] + found.low[j, k] - 1e-9
                    assert better[i, k] or not (better[i, j] and better[j, k])
    told = standings(found)
    assert any(not one.beaten for one in told)
    for j, one in enumerate(told):
        behind = means.max() - means[j]
        assert one.beaten == better[:, j].any()
        assert one.mean == pytest.approx(behind, abs=1e-9)
        assert one.least <= behind + 1e-9
        assert one.most >= behind - 1e-9
        assert one.beaten == (one.least > 0)
        assert one.by is None or better[one.by, j]
    assert not told[int(means.argmax())].beaten
    true_of_the_means(shape_of(found, margin=MARGIN), means)


def true_of_the_means(shape, means):
    """A shape that is stated holds for the means that were seen."""
    best = int(means.argmax())
    match shape.kind:
        case ShapeKind.FLAT:
            assert np.ptp(means) <= MARGIN + 1e-9
        case ShapeKind.FALLS:
            assert best < shape.start
        case ShapeKind.RISES:
            assert best >= shape.start
        case ShapeKind.BETWEEN:
            assert shape.start <= best <= shape.end
        case ShapeKind.DIPS:
            at = shape.start
            assert max(means[:at]) > means[at] < max(means[at + 1 :])


@settings(max_examples=60)
@given(numbers, st.randoms(use_true_random=False))
def test_neither_offsets_nor_the_order_of_replicates_nor_of_levels_matter(values, random):
    """Blocks cancel; replicates have no order; the table follows its levels."""
    y = np.array(values)
    order = random.sample(range(y.shape[1]), y.shape[1])
    rows = random.sample(range(len(y)), len(y))
    moved = (y[:, order] + [random.randint(-50, 50) for _ in order])[rows]
    one, two = all_pairs(y), all_pairs(moved, levels=rows)
    for i, j in combinations(range(len(y)), 2):
        first, second = one.estimate(i, j), two.estimate(i, j)
        assert (first.low, first.high) == pytest.approx((second.low, second.high), nan_ok=True)


def clear(means, sd=0.01):
    """A table in which every difference of the means is seen."""
    rng = np.random.default_rng(1)
    return all_pairs(np.array(means)[:, None] + sd * rng.normal(size=(len(means), 10)))


@pytest.mark.parametrize(
    ("means", "shape"),
    [
        ([5, 5.1, 5.2, 5], ResponseShape(ShapeKind.FLAT)),
        ([5, 8, 8, 2], ResponseShape(ShapeKind.BETWEEN, 1, 2)),
        ([8, 8, 5, 2], ResponseShape(ShapeKind.FALLS, 2)),
        ([8, 5, 8, 2], ResponseShape(ShapeKind.DIPS, 1)),
        ([1, 5, 8, 8], ResponseShape(ShapeKind.RISES, 2)),
        ([1, 5, 8, 2], ResponseShape(ShapeKind.BETWEEN, 2, 2)),
    ],
)
def test_the_shape_is_read_off_the_table(means, shape):
    """The rules of the table of shapes, where the noise is small."""
    noise = 0.2 if len(set(means)) == 3 and means.count(8) == 2 else 0.01
    assert shape_of(clear(means, noise), margin=MARGIN) == shape


def test_without_a_margin_nothing_is_flat():
    """A loss has no difference that is known not to matter."""
    found = clear([5, 5, 5], 0.1)
    assert shape_of(found, margin=None).kind is ShapeKind.UNDECIDED
    assert undecided(found, margin=None) == (0, 1, 2)
    assert undecided(found, margin=MARGIN) == ()


@pytest.mark.parametrize(
    ("ratio", "levels", "expected"),
    [(2, 4, 7), (1, 4, 16), (0.5, 4, 52), (2, 8, 9), (0.5, 8, 68)],
)
def test_the_price_of_a_difference_is_that_of_the_published_table(ratio, levels, expected):
    """N >= ((T(1 - .05 / (2k), N - 1) + 0.84) / ratio)^2."""
    pairs = levels * (levels - 1) // 2
    assert replicates_for(ratio, family=pairs, n=3) == expected
    for n, short in ((expected, False), (expected - 1, True)):
        wanted = ((stats.t.ppf(1 - 0.05 / (2 * pairs), n - 1) + 0.84) / ratio) ** 2
        assert (wanted > n) == short


def test_an_open_level_is_settled_by_the_fewer_replicates():
    """By separating it from a level ahead, or by showing it about equal to the best."""
    y = noisy(4, [1.0, 0.0, -9.0], replicates=5)
    found = all_pairs(y)
    d = y[0] - y[1]
    if d.mean() < 0:
        d = -d
    apart = replicates_for(abs(d.mean()) / d.std(ddof=1), family=3, n=5)
    equal = replicates_for(MARGIN / d.std(ddof=1), family=3, n=4, z=1.28)
    assert apart is not None
    assert equal is not None
    behind = 1 if y[0].mean() > y[1].mean() else 0
    assert set(undecided(found, margin=MARGIN)) == {0, 1}
    fewest = min([(apart, False), (equal + 1, True)])
    assert needed(found, behind, margin=MARGIN) == Need(*fewest)
    assert needed(found, 1 - behind, margin=None) is None, "nothing is ahead of it"
