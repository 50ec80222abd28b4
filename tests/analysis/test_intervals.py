"""Intervals and adjusted p values against scipy and statsmodels."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from sweeper.analysis.intervals import (
    clopper_pearson,
    holm,
    mean_interval,
    replicates_needed,
    sign_flip,
)

P_VALUES = [
    [0.01, 0.04, 0.03, 0.5],
    [0.001, 0.001, 0.2],
    [0.9],
    [0.02, 0.02, 0.02],
    [1.0, 0.049],
]


@pytest.mark.parametrize("n", [3, 5, 10])
def test_the_interval_of_a_paired_difference_is_scipys(n):
    """Mean, bounds and p of differences agree with ttest_rel to 1e-9."""
    rng = np.random.default_rng(n)
    a, b = rng.normal(1, 2, n), rng.normal(0, 1, n)
    known = stats.ttest_rel(a, b)
    bounds = known.confidence_interval(0.95)
    one = mean_interval(a - b)
    assert one.p == pytest.approx(known.pvalue, rel=1e-9)
    assert (one.low, one.high) == pytest.approx((bounds.low, bounds.high), rel=1e-9)


@pytest.mark.parametrize("family", [2, 3, 6])
def test_a_family_widens_the_interval_as_bonferroni_says(family):
    """k comparisons at 95 % together are single intervals at 1 - 0.05 / k."""
    values = np.random.default_rng(1).normal(size=6)
    known = stats.ttest_1samp(values, 0).confidence_interval(1 - 0.05 / family)
    one = mean_interval(values, family=family)
    assert (one.low, one.high) == pytest.approx((known.low, known.high), rel=1e-9)


@pytest.mark.parametrize(("count", "n"), [(0, 5), (1, 5), (5, 5), (3, 10), (0, 10), (7, 40)])
def test_the_interval_of_a_share_is_statsmodels_beta(count, n):
    """Clopper-Pearson is statsmodels' method `beta`."""
    known = proportion_confint(count, n, method="beta")
    assert clopper_pearson(count, n=n) == pytest.approx(known, abs=1e-9)


@pytest.mark.parametrize(("n", "high"), [(5, 0.45), (10, 0.26)])
def test_no_failure_at_all_still_allows_many(n, high):
    """0 of 5 allows 45 % and 0 of 10 allows 26 %, one-sided."""
    assert clopper_pearson(0, n=n, one_sided=True)[1] == pytest.approx(high, abs=0.005)


@pytest.mark.parametrize("p", P_VALUES)
def test_adjusted_p_values_follow_holms_steps(p):
    """The i-th smallest of k is multiplied by k - i + 1, and none is below the one before."""
    least, expected = 0.0, [0.0] * len(p)
    for step, at in enumerate(sorted(range(len(p)), key=lambda one: p[one])):
        least = max(least, min(1.0, (len(p) - step) * p[at]))
        expected[at] = least
    assert holm(p) == pytest.approx(expected, abs=1e-12)
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1], abs=1e-12)


def test_a_missing_p_value_stays_missing_and_does_not_count():
    """A level without an interval makes the others no stricter."""
    adjusted = holm([0.01, math.nan, 0.04])
    assert math.isnan(adjusted[1])
    assert adjusted[[0, 2]] == pytest.approx([0.02, 0.04])


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 2.0], [math.nan, 1.0, math.inf, 2.0]])
def test_fewer_than_three_replicates_get_no_interval(values):
    """Two values are drawn as points; the note states n."""
    one = mean_interval(values)
    assert not one.known
    assert one.note == f"n = {one.n}"


def test_equal_replicates_get_no_interval_of_width_zero():
    """No variance is n/a: a saturated metric is not certainty."""
    one = mean_interval([0.7, 0.7, 0.7, 0.7, 0.7])
    assert one.value == pytest.approx(0.7)
    assert not one.known
    assert "equal" in one.note


@given(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=30), st.floats(-1e3, 1e3))
def test_adding_a_constant_moves_the_interval_and_nothing_else(values, constant):
    """Location shifts; width does not."""
    before, after = mean_interval(values), mean_interval(np.asarray(values) + constant)
    if before.known and after.known:
        width = before.high - before.low
        assert after.high - after.low == pytest.approx(width, rel=1e-6, abs=1e-6)
        assert after.value == pytest.approx(before.value + constant, abs=1e-6)


@given(st.lists(st.one_of(st.floats(), st.just(math.nan)), max_size=12))
def test_any_numbers_give_a_defined_estimate(values):
    """NaN and infinities are left out; an interval always holds its mean."""
    with np.errstate(over="ignore", invalid="ignore"):
        one = mean_interval(values)
    assert one.n == sum(math.isfinite(value) for value in values)
    if one.known:
        assert one.low <= one.value <= one.high


@pytest.mark.parametrize("family", [1, 3])
def test_replicates_needed_are_the_fewest_that_the_formula_allows(family):
    """N >= ((T(1 - .05 / (2 family), N - 1) + 0.84) sd / |mean|)^2, by a plain loop."""
    values = np.random.default_rng(3).normal(0.3, 1, 5)
    ratio = abs(values.mean()) / values.std(ddof=1)
    n = 6
    while n < ((stats.t.ppf(1 - 0.025 / family, n - 1) + 0.84) / ratio) ** 2:
        n += 1
    assert replicates_needed(mean_interval(values, family=family)) == n > 6


@pytest.mark.parametrize("n", [6, 7, 11])
def test_the_p_of_signs_is_that_of_every_flip(n):
    """scipy's exact permutation test of one sample, and a plain loop over all signs."""
    d = np.random.default_rng(n).normal(0.6, 1, n)
    flips = np.array(list(product([1, -1], repeat=n)))
    loop = np.mean(np.abs(flips @ d) >= abs(d.sum()) - 1e-12)
    oracle = stats.permutation_test(
        (d,), np.mean, permutation_type="samples", n_resamples=len(flips)
    )
    assert sign_flip(d) == pytest.approx(loop) == pytest.approx(oracle.pvalue)


def test_signs_tell_nothing_below_six_replicates():
    """The smallest p of five is 0.0625; six give 0.03125, forty no more work."""
    assert math.isnan(sign_flip([1.0] * 5))
    assert sign_flip([1.0, 2.0, 3.0, 4.0, 5.0, math.nan, 6.0]) == pytest.approx(2 / 64)
    assert sign_flip([0.0] * 6) == 1.0
    assert 0 < sign_flip(np.random.default_rng(1).normal(size=40)) <= 1
    assert math.isnan(sign_flip([1.0] * 41))
