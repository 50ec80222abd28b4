"""Subsets of the pool: how many of each class, and that only the replicate changes a draw."""

import numpy as np
import pytest

from trainers.config import Imbalance
from trainers.data.imbalance import class_counts, draw_subset

Y = np.repeat([0, 1, 2], 100)


def _draw(counts, *, fingerprint="data", replicate=0):
    return draw_subset(Y, counts, fingerprint=fingerprint, replicate=replicate)


def test_natural_profile_is_the_pool():
    """Without a profile a run trains on the whole pool."""
    assert class_counts([7, 3, 5], Imbalance()) == (7, 3, 5)
    assert _draw((100, 100, 100)).tolist() == list(range(300))


@pytest.mark.parametrize("profile", ["exponential", "step"])
def test_profiles_start_from_the_smallest_class_of_the_pool(profile):
    """An uneven pool must not add its own imbalance to that of the profile."""
    even = Imbalance(profile=profile, train_ratio=1.0)
    assert class_counts([40, 12, 30], even) == (12, 12, 12)


@pytest.mark.parametrize("profile", ["exponential", "step"])
def test_two_classes_have_exactly_the_ratio(profile):
    """With two classes both profiles are n_max and int(n_max r)."""
    assert class_counts([200, 300], Imbalance(profile=profile, train_ratio=0.1)) == (200, 20)


def test_subset_has_the_counts_without_replacement():
    """Each class gives exactly its count, and no sample twice."""
    chosen = _draw((50, 20, 3))
    assert np.bincount(Y[chosen]).tolist() == [50, 20, 3]
    assert len(np.unique(chosen)) == 73
    assert (np.diff(chosen) > 0).all()


def test_subsets_are_nested_across_ratios():
    """A stronger imbalance only takes samples away, so ratios are compared within replicates."""
    assert set(_draw((50, 10, 2))) < set(_draw((50, 20, 5)))


def test_a_class_is_drawn_alike_whatever_the_others():
    """Changing one class's count leaves the samples of the other classes as they were."""
    one, other = _draw((50, 20, 3)), _draw((50, 90, 3))
    assert [i for i in one if Y[i] != 1] == [i for i in other if Y[i] != 1]


def test_replicates_and_data_sets_draw_differently():
    """Another replicate, or other data, is another draw."""
    base = _draw((30, 30, 30)).tolist()
    assert base == _draw((30, 30, 30)).tolist()
    assert base != _draw((30, 30, 30), replicate=1).tolist()
    assert base != _draw((30, 30, 30), fingerprint="other").tolist()


def test_each_sample_is_equally_likely():
    """Over many replicates every sample of a class is drawn about equally often."""
    times = np.zeros(300)
    for replicate in range(400):
        times[_draw((10, 10, 10), replicate=replicate)] += 1
    # 400 draws at p = 0.1: mean 40, sd 6; 300 samples stay within 4.5 sd.
    assert times.mean() == 40
    assert 13 < times.min() < times.max() < 67
