"""Expected batches without a class, against scipy, a draw, and the trainers' own groups."""

import math
from functools import cache

import numpy as np
import planted
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sweeper.analysis import wording
from sweeper.analysis.frames import load
from sweeper.analysis.view import view_of
from sweeper.topics.missed_batches import estimate as missed_batches
from sweeper.topics.missed_batches import text as missed_batches_text
from sweeper.topics.missed_batches.estimate import MINORITY, with_replacement, without


@cache
def usual():
    found = absence()
    assert found is not None
    return found


def absence(**settings):
    plan = planted.plan(**settings)
    return view_of(load(planted.Memory(plan), plan.sweep.name)).of(missed_batches.build)


@given(st.integers(1, 400), st.data())
def test_the_share_is_the_hypergeometric_one(total, data):
    """Equal to scipy's, for every class size and batch that the data allow."""
    n, batch = data.draw(st.integers(0, total)), data.draw(st.integers(1, total))
    seen = float(without(n, total=total, batch=batch))
    assert seen == pytest.approx(float(stats.hypergeom.pmf(0, total, n, batch)), abs=1e-9)


def test_the_share_is_what_permutations_give():
    """Batches cut from a shuffled epoch, counted."""
    rng = np.random.default_rng(0)
    labels = np.array([1] * 6 + [0] * 54)
    missed = [not rng.permutation(labels)[:10].any() for _ in range(4000)]
    expected = float(without(6, total=60, batch=10))
    assert abs(np.mean(missed) - expected) < 4 * math.sqrt(expected * (1 - expected) / 4000)


@pytest.mark.parametrize(
    ("n", "total", "batch", "share"),
    [(0, 10, 4, 1.0), (10, 10, 4, 0.0), (3, 10, 10, 0.0), (3, 10, 64, 0.0), (7, 10, 4, 0.0)],
)
def test_the_ends_are_exact(n, total, batch, share):
    """No sample of the class, only its samples, whole batches, too few samples of other classes."""
    assert float(without(n, total=total, batch=batch)) == share


def test_with_replacement_it_is_the_power():
    """(1 - p)^B, and larger than without replacement."""
    assert float(with_replacement(5, total=50, batch=8)) == pytest.approx(0.9**8)
    assert float(without(5, total=50, batch=8)) < 0.9**8


def test_each_level_has_its_own_share():
    """The planted counts: the minority at batch size 8 under the strong imbalance."""
    found = usual()
    counts = [int(100 * 0.05 ** (c / 9)) for c in range(10)]
    one = next(s for s in found.of(MINORITY, by=0.05) if s.x == 8)
    rare = sum(counts[-3:])
    assert one.without == pytest.approx(stats.hypergeom.pmf(0, sum(counts), rare, 8))
    assert one.samples == rare
    assert found.classes == planted.CLASSES


def test_more_imbalance_and_smaller_batches_miss_more():
    """Monotone in both."""
    found = usual()
    strong, weak = ([s.without for s in found.of(MINORITY, by=by)] for by in (0.05, 1.0))
    assert strong == sorted(strong, reverse=True)
    assert all(a > b for a, b in zip(strong, weak, strict=True))


def test_it_is_left_out_where_nothing_of_it_varies():
    """Neither batch size nor train ratio in the figure; or no factor at all."""
    assert absence(levels={"train.width": [1, 2, 4]}, truth=planted.flat) is None
    assert absence(levels={planted.BATCH: [8]}) is None


def test_the_sentence_names_both_ends():
    """At the strongest imbalance."""
    told = missed_batches_text.absence(usual())
    assert "at train ratio 0.05 (the strongest imbalance)" in told
    assert "88\N{NO-BREAK SPACE}% at batch size 2" in told


@pytest.mark.parametrize(("value", "text"), [(0.0, "0.0"), (0.0001, "under 0.05"), (0.5, "50")])
def test_a_small_share_is_not_called_none(value, text):
    """A share below 0.05 % is written as such."""
    assert wording.share(value) == f"{text}\N{NO-BREAK SPACE}%"
