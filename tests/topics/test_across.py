"""Several sweeps of one question: the task is the unit (statistics 2.11)."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sweeper.topics.across import estimate as across
from sweeper.topics.performance_profiles.estimate import profiles


def tasks(means: dict[str, list[float]], *, noise: float = 0.0, replicates: int = 5, seed: int = 0):
    """y[task][level, r]: the given means, an offset a replicate, and noise."""
    rng = np.random.default_rng(seed)
    return {
        name: pd.DataFrame(
            np.array(levels)[:, None]
            + rng.normal(0, noise, replicates)
            + rng.normal(0, noise, (len(levels), replicates)),
            index=pd.Index([2, 8, 32][: len(levels)], dtype=object),
            columns=range(replicates),
        )
        for name, levels in means.items()
    }


SIX = {f"task {t}": [0.8 - 0.1 * t, 0.7 - 0.1 * t, 0.5 - 0.1 * t] for t in range(6)}


def test_a_difference_is_taken_over_tasks_and_not_over_replicates() -> None:
    """The interval is the paired t of scipy over the tasks' means: n is the number of tasks."""
    y = tasks(SIX, noise=0.02)
    found = {one.level: one for one in across.standings(y, reference=8, sign=1.0)}
    a, b = (np.array([one.iloc[place].mean() for one in y.values()]) for place in (0, 1))
    oracle = stats.ttest_rel(a, b)
    low, high = oracle.confidence_interval(1 - 0.05 / 2)
    one = found[2].difference
    assert one is not None
    assert one.n == 6
    assert one.family == 2
    np.testing.assert_allclose([one.low, one.high, one.p], [low, high, oracle.pvalue])
    assert "tasks" in one.method
    assert found[2].p_wilcoxon == pytest.approx(stats.wilcoxon(a, b, method="exact")[1])


def test_four_tasks_give_points_and_no_interval() -> None:
    """Fewer than five tasks describe; they do not test."""
    y = tasks(dict(list(SIX.items())[:4]), noise=0.02)
    one = across.standings(y, reference=8, sign=1.0)[0]
    assert one.difference is not None
    assert not one.difference.known
    assert "5" in one.difference.note
    assert math.isnan(one.p_wilcoxon)
    assert not one.adopt


def test_the_interquartile_mean_is_that_of_the_middle_half() -> None:
    """The mean of the sorted values without the lowest and the highest quarter."""
    y = tasks({"a": [0.1, 0.2], "b": [0.5, 0.3]}, noise=0.05, replicates=4)
    values = sorted([*y["a"].iloc[0], *y["b"].iloc[0]])
    assert across.interquartile_mean(y, 0) == pytest.approx(sum(values[2:6]) / 4)


def test_the_probability_of_improvement_is_the_share_of_pairs_won() -> None:
    """Mann and Whitney's U over n m; a tie is half a win."""
    a, b = np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.5])
    u = stats.mannwhitneyu(a, b).statistic
    assert across.probability_of_improvement(a, b) == pytest.approx(u / 6)
    assert across.probability_of_improvement(a, a) == 0.5
    assert math.isnan(across.probability_of_improvement(a, np.array([])))


def test_a_level_that_wins_everywhere_is_worth_adopting_and_one_that_loses_is_not() -> None:
    """Adopt: the interval above one half, the estimate above three quarters."""
    y = tasks(SIX | {"task 6": [0.3, 0.31, 0.1]}, noise=0.01)
    found = {one.level: one for one in across.standings(y, reference=8, sign=1.0)}
    assert found[2].adopt
    assert not found[32].adopt
    lower_is_better = {one.level: one for one in across.standings(y, reference=8, sign=-1.0)}
    assert not lower_is_better[2].adopt
    assert lower_is_better[32].wins is not None
    assert found[32].wins is not None
    assert lower_is_better[32].wins.value == pytest.approx(1 - found[32].wins.value)


def test_the_agreement_of_rankings_is_kendalls_w() -> None:
    """W = (mean of the pairwise rank correlations (T - 1) + 1) / T; 1 when all agree."""
    assert across.agreement(tasks(SIX)) == pytest.approx(1.0)
    y = tasks({"a": [1, 2, 3], "b": [1, 3, 2], "c": [3, 1, 2]})
    rhos = [rho for _, _, rho in across.correlations(y)]
    assert across.agreement(y) == pytest.approx((np.mean(rhos) * 2 + 1) / 3)
    oracle = stats.spearmanr([1, 2, 3], [1, 3, 2])[0]
    assert {(a, b): rho for a, b, rho in across.correlations(y)}["a", "b"] == pytest.approx(oracle)


def test_a_level_without_runs_in_a_task_gives_no_number_instead_of_a_wrong_one() -> None:
    """NaN stays NaN, and other levels are not touched by it."""
    y = tasks(SIX, noise=0.01)
    y["task 0"].iloc[0] = np.nan
    found = {one.level: one for one in across.standings(y, reference=8, sign=1.0)}
    assert found[2].difference is not None
    assert found[2].difference.n == 5
    assert found[32].difference is not None
    assert found[32].difference.n == 6
    assert math.isnan(across.agreement(y))


@pytest.mark.parametrize("lowest", [False, True])
def test_a_profile_counts_tasks_however_many_replicates_they_have(lowest: bool) -> None:
    """By hand: the share of tasks whose mean is at least as good; one has ten times the runs."""
    y = tasks(SIX, noise=0.05) | tasks({"task 6": [0.9, 0.2, 0.1]}, noise=0.05, replicates=50)
    found = profiles(y, lowest=lowest, least=5)
    assert found is not None
    for tau in [*found.thresholds, 0.0, 0.33, 1.5]:
        for place, level in enumerate([2, 8, 32]):
            means = [sum(one.iloc[place]) / one.shape[1] for one in y.values()]
            # A threshold is itself a mean: rounding of the last digit is no difference.
            met = sum(mean <= tau + 1e-12 if lowest else mean >= tau - 1e-12 for mean in means)
            assert found.shares(level, at=[tau])[0] == pytest.approx(met / 7)


def test_profiles_are_over_the_tasks_that_have_every_level() -> None:
    """All levels on the same tasks; below five of them there are none."""
    y = tasks(SIX, noise=0.01)
    y["task 0"].iloc[0] = np.nan
    y["task 1"].iloc[1, 0] = 99.0
    y["task 1"].iloc[2, 0] = np.nan
    found = profiles(y, lowest=False, least=5)
    assert found is not None
    assert found.tasks == tuple(f"task {t}" for t in range(1, 6))
    assert max(found.thresholds) < 1, "a replicate that lacks a level is out for all levels"
    y["task 5"].iloc[2] = np.nan
    assert profiles(y, lowest=False, least=5) is None
