"""Steps to a target and the critical batch size: a planted curve, censoring, coverage."""

import math
import os
from dataclasses import replace

import numpy as np
import planted
import pytest

from sweeper.analysis.frames import load
from sweeper.analysis.view import view_of
from sweeper.analysis.withheld import Withheld
from sweeper.topics.critical_batch_size import estimate as critical_batch_size
from sweeper.topics.critical_batch_size import text as steps_text
from sweeper.topics.critical_batch_size.estimate import critical, first

DRAWS = int(os.environ.get("COVERAGE_DRAWS", "400"))
B = np.array([2, 8, 32, 128], dtype=float)


def curve(size, smallest=100.0):
    return np.log(smallest * (1 + size / B))


def test_the_first_step_is_that_of_a_plain_loop():
    """In the best value so far, with the middle before it."""
    steps = np.array([10.0, 20.0, 30.0, 40.0])
    best = np.array([0.2, 0.5, 0.5, 0.9])
    assert first(steps, best, target=0.5, lowest=False) == pytest.approx(
        (math.log(20), math.log(15), 2)
    )
    assert first(steps, best, target=0.1, lowest=False)[1] == pytest.approx(math.log(5))
    assert all(math.isnan(v) for v in first(steps, best, target=0.95, lowest=False))
    assert first(steps, -best, target=-0.9, lowest=True)[0] == pytest.approx(math.log(40))


@pytest.mark.parametrize("size", [4.0, 16.0, 100.0])
def test_an_exact_curve_gives_its_own_numbers(size):
    """Without noise: Bcrit and Smin to six digits; equal replicates give no interval."""
    found, smallest = critical(B, logs=np.repeat(curve(size)[:, None], 4, axis=1))
    assert found.value == pytest.approx(size, rel=1e-5)
    assert smallest == pytest.approx(100, rel=1e-5)
    assert found.note == "all replicates are equal"
    assert not found.known


def test_the_fit_satisfies_the_hyperbola():
    """(S / Smin - 1)(E / Emin - 1) = 1 with Emin = Bcrit Smin, at any batch size."""
    found, smallest = critical(B, logs=curve(16.0)[:, None])
    for b in (3.0, 50.0):
        s = smallest * (1 + found.value / b)
        assert (s / smallest - 1) * (b * s / (found.value * smallest) - 1) == pytest.approx(1)


@pytest.mark.parametrize("size", [0.01, 1e5])
def test_a_critical_size_far_outside_is_not_told(size):
    """Flat, or in proportion, over all batch sizes."""
    assert isinstance(critical(B, logs=curve(size)[:, None] * np.ones(5)), Withheld)


def test_two_replicates_have_a_value_and_no_interval():
    """n = 2."""
    found, _ = critical(B, logs=curve(16.0)[:, None] + [0.0, 0.1])
    assert found.note == "n = 2"


def test_a_level_that_few_reach_is_left_out():
    """Two of five: out of the fit; with fewer than three levels there is none."""
    rng = np.random.default_rng(0)
    logs = curve(16.0)[:, None] + rng.normal(0, 0.05, (4, 5))
    logs[3, :3] = np.nan
    found, _ = critical(B, logs=logs)
    alone, _ = critical(B[:3], logs=logs[:3])
    assert found == alone
    logs[0, 1:] = np.nan
    assert isinstance(critical(B, logs=logs), Withheld)


def test_coarse_evaluations_give_no_interval():
    """Reached at the second evaluation: when exactly is unknown."""
    logs = curve(16.0)[:, None] + np.random.default_rng(0).normal(0, 0.1, (4, 5))
    found, _ = critical(B, logs=logs, soonest=2)
    assert not found.known
    assert "first evaluations" in found.note


def evaluated(rng, replicates, *, size, every, sd):
    """Logs as `first` gives them: true steps with noise, seen at whole evaluations only."""
    steps = np.exp(curve(size)[:, None] + rng.normal(0, 0.1, replicates)
                   + rng.normal(0, sd, (len(B), replicates)))  # fmt: skip
    at = np.ceil(steps * B[:, None] / every) if every else None
    seen = steps if at is None else (at - 0.5) * every / B[:, None]
    return np.log(seen), math.inf if at is None else float(np.median(at, axis=1).min())


@pytest.mark.parametrize("replicates", [3, 5, 10])
@pytest.mark.parametrize("size", [8.0, 32.0])
@pytest.mark.parametrize("every", [0, 300])
def test_the_critical_size_is_covered_90_times_in_100(replicates, size, every):
    """The jackknife in logs, with exact steps and with coarse evaluations: the stated floor."""
    rng = np.random.default_rng([replicates, int(size), every])
    hits = []
    for _ in range(DRAWS // 4):
        logs, soonest = evaluated(rng, replicates, size=size, every=every, sd=0.1)
        found = critical(B, logs=logs, soonest=soonest)
        if not isinstance(found, Withheld) and found[0].known:
            hits.append(found[0].low <= size <= found[0].high)
    assert len(hits) > 0.8 * (DRAWS // 4)
    assert np.mean(hits) >= 0.90 - 4 * math.sqrt(0.9 * 0.1 / len(hits))


def sweep(size=16.0, *, never=(), epochs=40):
    """Runs that reach 0.8 on val at 100 (1 + size / B) steps, evaluated often; the rest never."""
    plan = planted.plan(levels={planted.BATCH: [2, 8, 32, 128]}, truth=lambda f: 0.8,
                        epochs=epochs)  # fmt: skip
    column = plan.layout.index(("val", "minority_accuracy", ""))
    rng, numbers = np.random.default_rng(5), dict(plan.numbers)
    for cell, replicate in numbers:
        b = plan.cells[cell].factors[planted.BATCH]
        steps = 100 * (1 + size / b) * math.exp(rng.normal(0, 0.05))
        at = steps / 10  # planted.Memory evaluates every ten steps
        curve = np.where(np.arange(1, epochs + 1) >= at, 0.8, 0.3)
        if (cell, replicate) in never:
            curve[:] = 0.3
        numbers[cell, replicate] = numbers[cell, replicate].copy()
        numbers[cell, replicate][:, column] = curve
    plan = replace(plan, numbers=numbers)
    return view_of(load(planted.Memory(plan), plan.sweep.name)).of(critical_batch_size.build)


def test_a_planted_critical_size_is_found_from_the_curves():
    """Through frames, running best and target; the interval holds the truth."""
    found = sweep(epochs=100)
    line = found.lines[0]
    assert line.target == pytest.approx(0.95 * 80, abs=1e-3)
    assert line.critical.low < 16 < line.critical.high
    assert len(line.fitted) > 10
    told = steps_text.critical(found, line)
    assert "jackknife interval" in told
    assert "n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}5" in told


def test_runs_that_never_reach_it_are_counted_and_not_fitted():
    """Censored: named by replicate, and in the sentence."""
    found = sweep(never={(1, 2), (1, 4)}, epochs=100)
    reached = found.lines[0].reached[1]
    assert reached.censored == (2, 4)
    assert sorted(reached.steps) == [0, 1, 3]
    assert "2 replicates never reach it" in " ".join(steps_text.efficiency(found))


def test_it_needs_batch_size_on_the_axis():
    """Another factor, or no grid."""
    plan = planted.plan(levels={"train.width": [1, 2, 4]}, truth=planted.flat)
    assert (
        view_of(load(planted.Memory(plan), plan.sweep.name)).of(critical_batch_size.build) is None
    )
    plan = planted.plan(levels={planted.BATCH: [2, 8]}, method="random")
    assert (
        view_of(load(planted.Memory(plan), plan.sweep.name)).of(critical_batch_size.build) is None
    )
