"""What replicates can find: power against simulation, the smallest effect, and its pilot."""

import math

import numpy as np
import pytest
from planted import BATCH, Memory, plan
from scipy import stats

from sweeper.analysis import power
from sweeper.analysis.frames import load
from sweeper.analysis.planned import stein, stein_interval
from sweeper.engine.detectable import detectable, pilots
from sweeper.spec import parse

DRAWS = 4000


@pytest.mark.parametrize(
    ("d", "n", "family", "shares"), [(1.0, 10, 1, 1), (2.0, 5, 1, 1), (1.5, 8, 3, 1), (1, 20, 3, 3)]
)
def test_power_is_what_is_simulated(d, n, family, shares):
    """t tests by hand on drawn differences, within 4 sigma."""
    x = np.random.default_rng(n).normal(d, 1, (DRAWS, n))
    t = np.abs(x.mean(axis=1)) / (x.std(axis=1, ddof=1) / math.sqrt(n))
    seen = np.mean(t > stats.t.ppf(1 - 0.05 / (2 * family * shares), n - 1))
    told = power.power(d, n=n, family=family, shares=shares)
    assert abs(seen - told) <= 4 * math.sqrt(told * (1 - told) / DRAWS)


@pytest.mark.parametrize(("n", "d"), [(5, 2.0), (6, 1.5), (10, 1.0), (15, 0.8), (34, 0.5)])
def test_the_smallest_effects_are_those_of_the_table(n, d):
    """Replicates for d at 80 % power: 5, 6, 10, 15, 34 are the fewest that reach it."""
    assert power.smallest(n=n) <= d
    assert power.smallest(n=n - 1) > d


@pytest.mark.parametrize("family", [1, 3, 12])
@pytest.mark.parametrize("n", [3, 5, 20])
def test_the_smallest_effect_has_the_power_asked_for(n, family):
    """Its power is 80 %, and for two replicates no power is given."""
    d = power.smallest(n=n, family=family)
    assert power.power(d, n=n, family=family) == pytest.approx(0.8, abs=1e-4)
    assert math.isnan(power.smallest(n=2))


def test_the_smallest_effect_of_a_target_is_what_is_simulated():
    """Found in 80 of 100 two-stage sweeps, whatever the spread is."""
    rng, h = np.random.default_rng(2), 0.5
    effect, hits = power.smallest_of_target(h, start=5), []
    for _ in range(1000):
        first = rng.normal(effect, 1, 5)
        n = stein(first, half_width=h, cap=10**5)
        x = np.concatenate([first, rng.normal(effect, 1, n - 5)])
        hits.append(stein_interval(x, first=first, half_width=h).low > 0)
    assert abs(np.mean(hits) - 0.8) <= 4 * math.sqrt(0.16 / 1000)


def test_a_pilot_is_the_noisiest_pair():
    """The largest sd of the differences of any two levels, in points."""
    made = plan(levels={BATCH: [2, 8, 32]}, replicates=6)
    frames = load(Memory(made), made.sweep.name)
    column = frames.numbers[("test", "minority_accuracy", "")] * 100
    y = column.to_numpy().reshape(3, 6)
    [(factor, pilot)] = power.pilots(frames).items()
    sds = [np.std(y[i] - y[j], ddof=1) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert (factor, pilot.n) == (BATCH, 6)
    assert pilot.sd == pytest.approx(max(sds))


SPEC = "name: n\nscientific:\n  train.batch_size: [2, 8, 32, 128]\n"


@pytest.mark.parametrize(
    ("replicates", "n", "family", "shares"),
    [("5", 5, 6, 1), ("{looks: [5, 10, 20]}", 20, 6, 3), ("12", 12, 6, 1)],
)
def test_a_plan_says_what_it_can_find(replicates, n, family, shares):
    """In sd of differences without a pilot, in points with one."""
    spec = parse(f"{SPEC}replicates: {replicates}")
    [one] = detectable(spec)
    d = power.smallest(n=n, family=family, shares=shares)
    assert (one.d, one.effect, one.family) == (pytest.approx(d), None, 6)
    [one] = detectable(spec, {"train.batch_size": power.Pilot(0.9, 5)})
    assert (one.effect, one.unit) == (pytest.approx(0.9 * d), "points")


def test_a_target_says_what_it_can_find():
    """The effect follows from the target; after a noisy pilot, the limit leaves more."""
    spec = parse(f"{SPEC}replicates: {{target: 0.01, max: 20}}")
    wide, near = stats.t.ppf([1 - 0.05 / 12, 0.8], 4)
    [one] = detectable(spec)
    assert (one.d, one.effect) == (None, pytest.approx(1 + near / wide))
    [noisy] = detectable(spec, {"train.batch_size": power.Pilot(9.0, 5)})
    assert noisy.effect == pytest.approx(9.0 * power.smallest(n=20, family=6))


@pytest.mark.parametrize(
    "more",
    [
        "replicates: 2",
        "search: {method: qmc, trials: 4}",
        "  train.sam.asymmetry: {levels: [0.0, 1.0], when: {train.batch_size: 2}}",
    ],
)
def test_nothing_is_told_where_nothing_is_compared_in_pairs(more):
    """Too few replicates, or no whole grid."""
    assert detectable(parse(SPEC + more)) == ()


def test_a_database_that_is_not_there_is_no_pilot(tmp_path):
    """A plan is made before any run exists, so there is no message about a pilot."""
    said = []
    assert pilots("n", f"sqlite:///{tmp_path}/none.db", say=said.append) == {}
    assert said == []
    (tmp_path / "bad.db").write_bytes(b"nothing")
    assert pilots("n", f"sqlite:///{tmp_path}/bad.db", say=said.append) == {}
    assert len(said) == 1
