"""Observed coverage of the intervals, by simulation: 400 seeded draws, 4 sigma allowed."""

import math

import numpy as np
import pandas as pd
import pytest

from sweeper.analysis.effects import paired
from sweeper.analysis.factors import Factor
from sweeper.analysis.intervals import mean_interval
from sweeper.analysis.trend import interaction, trend

DRAWS = 400
SLACK = 4 * math.sqrt(0.95 * 0.05 / DRAWS)
B = Factor("train.batch_size", "batch size", (2, 8, 32, 128), "log2", 8)


def frame(y):
    return pd.DataFrame(y, index=pd.Index(B.levels, dtype=object), columns=range(y.shape[1]))


def correlated(rng, levels, replicates, rho):
    """Noise (levels, R) that is AR(rho) across levels."""
    e = rng.normal(size=(levels, replicates))
    for i in range(1, levels):
        e[i] = rho * e[i - 1] + math.sqrt(1 - rho**2) * e[i]
    return e


LAWS = {
    "normal": lambda rng, r: rng.normal(size=(4, r)),
    "unequal variances": lambda rng, r: rng.normal(size=(4, r)) * [[4], [2], [1], [1]],
    "autocorrelated": lambda rng, r: correlated(rng, 4, r, 0.7),
    "random slopes": lambda rng, r: (
        rng.normal(size=(4, r)) + B.positions[:, None] * rng.normal(size=r)
    ),
}


@pytest.mark.parametrize("replicates", [3, 5, 10])
def test_a_mean_is_covered_95_times_in_100(replicates):
    """Normal noise: exact, within the error of the simulation."""
    rng = np.random.default_rng(replicates)
    hits = [
        one.low <= 1.0 <= one.high
        for one in (mean_interval(rng.normal(1, 1, replicates)) for _ in range(DRAWS))
    ]
    assert abs(np.mean(hits) - 0.95) <= SLACK


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("replicates", [3, 5])
def test_all_differences_are_covered_together(law, replicates):
    """Simultaneous: in 95 of 100 sweeps, every interval against the reference is right."""
    rng = np.random.default_rng([replicates, *law.encode()])
    truth = np.array([[1.0], [0.0], [-0.5], [-2.0]])
    hits = []
    for _ in range(DRAWS):
        y = frame(truth + LAWS[law](rng, replicates))
        found = paired(y, reference=8, direction="maximize")
        target = {2: 1.0, 32: -0.5, 128: -2.0}
        hits.append(all(d.estimate.low <= target[d.level] <= d.estimate.high for d in found))
    assert np.mean(hits) >= 0.95 - SLACK


@pytest.mark.parametrize("law", LAWS)
def test_a_slope_is_covered_95_times_in_100(law):
    """Slope per replicate, then t: holds where a pooled regression fails."""
    rng = np.random.default_rng([7, *law.encode()])
    slope = 0.4
    hits = []
    for _ in range(DRAWS):
        y = slope * B.positions[:, None] + LAWS[law](rng, 5) + rng.normal(size=5)
        one = trend(frame(y), factor=B).estimate
        hits.append(one.low <= slope <= one.high)
    assert abs(np.mean(hits) - 0.95) <= SLACK


def test_an_interaction_is_covered_95_times_in_100():
    """The difference of two slopes, within replicates."""
    rng = np.random.default_rng(11)
    hits = []
    for _ in range(DRAWS):
        lines = [
            trend(frame(b * B.positions[:, None] + rng.normal(size=(4, 5))), factor=B, at=at)
            for at, b in (("weak", -0.2), ("strong", -0.7))
        ]
        one = interaction(lines[0], strong=lines[1]).estimate
        hits.append(one.low <= -0.5 <= one.high)
    assert abs(np.mean(hits) - 0.95) <= SLACK


@pytest.mark.parametrize("law", ["normal", "unequal variances", "autocorrelated"])
def test_a_sweep_without_effects_seldom_claims_one(law):
    """Family-wise error of the paired differences under the null."""
    rng = np.random.default_rng([13, *law.encode()])
    false = []
    for _ in range(DRAWS):
        found = paired(frame(LAWS[law](rng, 5)), reference=8, direction="maximize")
        false.append(any(d.estimate.low > 0 or d.estimate.high < 0 for d in found))
    assert np.mean(false) <= 0.05 + SLACK
