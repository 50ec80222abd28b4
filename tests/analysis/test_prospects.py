"""The chance that further replicates put another level first."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sweeper.analysis.prospects import overtaken


def table(rows, seed=1, noise=1.0, n=5):
    rng = np.random.default_rng(seed)
    return pd.DataFrame([[mean + rng.normal(0, noise) for _ in range(n)] for mean in rows])


def test_two_levels_are_as_the_predictive_distribution_says():
    """Against draws of the future: the variance, then the mean, then the replicates."""
    y, more = table([1.0, 0.5]), 7
    d = (y.iloc[0] - y.iloc[1]).to_numpy()
    d = d if d.mean() > 0 else -d
    rng = np.random.default_rng(3)
    n, draws = len(d), 200_000
    sd = np.sqrt((n - 1) * d.var(ddof=1) / rng.chisquare(n - 1, draws))
    mean = rng.normal(d.mean(), sd / math.sqrt(n))
    future = rng.normal(mean, sd / math.sqrt(more))
    simulated = ((n * d.mean() + more * future) < 0).mean()
    error = 5 * math.sqrt(simulated * (1 - simulated) / draws)
    assert overtaken(y, more=more, direction="maximize") == pytest.approx(simulated, abs=error)


def test_a_third_level_far_behind_changes_nothing():
    """Several levels are simulated, two are exact: both agree where the third cannot lead."""
    y = table([1.0, 0.5, -100.0])
    alone = overtaken(y.iloc[:2], more=5, direction="maximize")
    assert alone is not None
    assert overtaken(y, more=5, direction="maximize") == pytest.approx(alone, abs=0.02)


def test_the_direction_turns_the_order_and_not_the_chance():
    """A loss is led by the lowest level."""
    y = table([1.0, 0.3, 0.1])
    highest = overtaken(y, more=5, direction="maximize")
    assert overtaken(-y, more=5, direction="minimize") == pytest.approx(highest)


def test_more_replicates_can_change_more():
    """No further replicate changes nothing; the chance grows with them, up to the t tail."""
    y = table([1.0, 0.5])
    found = [overtaken(y, more=more, direction="maximize") for more in (0, 1, 5, 50, 10**9)]
    assert found[0] == 0.0
    assert (np.diff(np.array(found, dtype=float)) >= 0).all()
    d = np.abs((y.iloc[0] - y.iloc[1]).mean())
    spread = (y.iloc[0] - y.iloc[1]).std(ddof=1)
    assert found[-1] == pytest.approx(stats.t.sf(d / (spread / math.sqrt(5)), 4), rel=1e-3)


@pytest.mark.parametrize("y", [table([1.0, 0.5], n=2), table([1.0]), table([1.0, 0.5], noise=0.0)])
def test_too_little_says_nothing(y):
    """Fewer than three replicates, a single level, or no spread."""
    assert overtaken(y, more=3, direction="maximize") is None
