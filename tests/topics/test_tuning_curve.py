"""Tuning curves: exact bands, oracles by simulation and closed forms, and the words."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
import planted
import pytest
from scipy import stats

from sweeper.analysis import bands
from sweeper.analysis.frames import load
from sweeper.analysis.view import view_of
from sweeper.topics.tuning_curve import estimate
from sweeper.topics.tuning_curve.estimate import best_of

DRAWS = int(os.environ.get("COVERAGE_DRAWS", "400"))


@pytest.mark.parametrize(("n", "half"), [(5, 0.4), (30, 0.2), (100, 0.1)])
def test_the_probability_of_a_band_of_equal_width_is_kolmogorovs(n: int, half: float) -> None:
    """The exact distribution of the largest distance is known (SciPy's kstwo)."""
    ranks = np.arange(1, n + 1)
    low, high = np.clip(ranks / n - half, 0, 1), np.clip((ranks - 1) / n + half, 0, 1)
    assert bands.inside(low, high) == pytest.approx(stats.kstwo.cdf(half, n), abs=1e-6)


def test_one_value_has_the_limits_of_one_uniform_number() -> None:
    """F at a single value is uniform: the middle 95 % of 0 to 1."""
    low, high = bands.limits(1, 0.95)
    assert (low[0], high[0]) == pytest.approx((0.025, 0.975))


def test_two_values_are_inside_as_often_as_the_area_says() -> None:
    """The probability of two ordered uniform numbers in a box is twice an area."""
    low, high = np.array([0.1, 0.3]), np.array([0.6, 0.95])
    grid = (np.arange(2000) + 0.5) / 2000
    first, second = np.meshgrid(grid, grid)
    both = (first < second) & (first >= 0.1) & (first <= 0.6) & (second >= 0.3) & (second <= 0.95)
    assert bands.inside(low, high) == pytest.approx(2 * both.mean(), abs=2e-3)


@pytest.mark.parametrize("n", [3, 20, 120])
def test_all_limits_hold_at_once_as_often_as_they_say(n: int) -> None:
    """Simulated order statistics of uniform numbers, within three standard errors."""
    draws = 20_000
    low, high = bands.limits(n, 0.95)
    u = np.sort(np.random.default_rng(n).random((draws, n)), axis=1)
    rate = ((u >= low) & (u <= high)).all(axis=1).mean()
    assert rate == pytest.approx(0.95, abs=3 * (0.95 * 0.05 / draws) ** 0.5)


def test_the_limits_of_many_values_are_wider_and_hold() -> None:
    """Above a thousand values the band of Dvoretzky, Kiefer and Wolfowitz is used."""
    n = bands.MOST + 500
    low, high = bands.limits(n, 0.95)
    assert bands.inside(low, high) >= 0.95


Sampler = Callable[[np.random.Generator, int], np.ndarray]
# A sampler and the quantile function of one trial.
TRUTHS: dict[str, tuple[Sampler, Callable[[np.ndarray], np.ndarray]]] = {
    "skewed": (lambda rng, n: rng.beta(2, 5, n), lambda p: stats.beta.ppf(p, 2, 5)),
    "heavy": (lambda rng, n: rng.standard_t(2, n), lambda p: stats.t.ppf(p, 2)),
    "many ties": (
        lambda rng, n: np.where(rng.random(n) < 0.44, 0.1, np.ceil(10 * rng.random(n)) / 10),
        lambda p: np.where(p <= 0.44 + 0.056, 0.1, np.ceil(10 * (p - 0.44) / 0.56) / 10),
    ),
}


@pytest.mark.parametrize("name", TRUTHS)
@pytest.mark.parametrize("minimize", [False, True])
def test_the_band_holds_the_whole_true_curve(name: str, minimize: bool) -> None:
    """At every number of trials at once, in at least 95 of 100 sweeps; ties make it safer."""
    draw, quantile = TRUTHS[name]
    trials = np.arange(1, 25)
    sign = -1 if minimize else 1
    truth = sign * quantile(0.5 ** (1 / trials))
    rng, held = np.random.default_rng(7), 0
    for _ in range(DRAWS):
        y = sign * draw(rng, 40)
        _, low, high = best_of(y, trials, level=0.95, minimize=minimize)
        held += bool(((low <= truth + 1e-9) & (truth - 1e-9 <= high)).all())
    assert held / DRAWS >= 0.95 - 3 * (0.95 * 0.05 / DRAWS) ** 0.5


def test_the_curve_is_what_resampling_gives() -> None:
    """The median of the best of n draws with replacement, by brute force."""
    rng = np.random.default_rng(3)
    y = rng.normal(size=31)
    trials = np.array([1, 2, 5, 12])
    value, _, _ = best_of(y, trials, level=0.95)
    for n, got in zip(trials, value, strict=True):
        best = rng.choice(y, size=(20_000, n)).max(axis=1)
        near = np.quantile(best, [0.48, 0.52])
        assert near[0] <= got <= near[1]


def test_the_band_of_trials_is_the_band_of_the_distribution() -> None:
    """Read off a fine grid of F's own band, by a plain loop."""
    rng = np.random.default_rng(5)
    y = np.sort(rng.normal(size=25))
    low, high = bands.limits(25, 0.95)
    trials = np.arange(1, 15)
    _, below, above = best_of(y, trials, level=0.95)
    for n, lower, upper in zip(trials, below, above, strict=True):
        p = 0.5 ** (1 / n)
        reached = [one for one, least in zip(y, low, strict=True) if least >= p]
        assert upper == (min(reached) if reached else np.inf)
        missed = [one for one, most in zip(y, high, strict=True) if most < p]
        assert lower == (max(missed) if missed else -np.inf)


@pytest.mark.parametrize(
    "kind", [planted.scattered, planted.everything, lambda: planted.plan(epochs=2, replicates=3)]
)
def test_no_other_sweep_has_a_tuning_curve(kind: Callable[[], planted.Plan]) -> None:
    """Grids, Sobol points and repeated settings are no sample of single random trials."""
    made = kind()
    assert view_of(load(planted.Memory(made), made.sweep.name)).of(estimate.build) is None
