"""Subsets of the pool: how many of each class, and that only the replicate changes a draw."""

import numpy as np
import pytest

from trainers.check import check, check_counts, smallest_ratio
from trainers.config import Config, ConfigError
from trainers.data.imbalance import class_counts, draw_subset
from trainers.data_config import Imbalance

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


def test_n_max_is_the_size_of_the_largest_class():
    """It makes the subset smaller than the pool allows, at the same ratio."""
    few = Imbalance(profile="exponential", train_ratio=0.1, n_max=100)
    assert class_counts([500, 400, 300], few) == (100, 31, 10)


@pytest.mark.parametrize(
    ("pool", "n_max", "ratio", "most"),
    [((300, 100, 300), 101, 1.0, 100), ((500, 90, 7), 300, 0.1, 79), ((500, 90, 7), 89, 0.09, 88)],
)
def test_an_n_max_beyond_the_pool_is_refused_with_the_largest_that_it_has(pool, n_max, ratio, most):
    """The message names the class that is short, its count, and a value that is accepted."""
    named = dict(zip("abc", pool, strict=True))

    def asked(n_max):
        return Imbalance(profile="exponential", train_ratio=ratio, n_max=n_max)

    with pytest.raises(ConfigError, match=f"at most {most} is possible at ratio {ratio:g}") as told:
        check_counts(asked(n_max), named)
    assert told.value.key == "data.imbalance.n_max"
    assert check_counts(asked(most), named)[0] == most
    with pytest.raises(ConfigError):
        check_counts(asked(most + 1), named)


def test_a_ratio_that_the_data_cannot_reach_is_refused_with_the_smallest_that_they_can():
    """A class without samples gets none: the ratio would differ from the stated ratio."""
    pool = {"a": 40, "b": 30, "c": 35}
    with pytest.raises(ConfigError, match=r"has 30 samples, so the smallest ratio is 0\.0334$"):
        check_counts(Imbalance(profile="step", train_ratio=1e-9), pool)
    reached = Imbalance(profile="exponential", train_ratio=0.0334)
    assert check_counts(reached, pool) == (30, 5, 1)


def test_the_ratio_that_a_message_offers_is_accepted():
    """For every n_max the offered ratio gives the last class a sample, and is nearly 1 / n_max."""
    for n_max in [*range(1, 3000), 5000, 12_345, 999_999]:
        ratio = smallest_ratio(n_max)
        assert int(n_max * ratio) == 1
        assert ratio <= 1.01 / n_max


def test_a_class_of_one_sample_is_named_where_it_makes_the_subset_small():
    """The smallest classes set n_max, so the messages say which they are, and what to do."""
    pool = {"a": 200, "rare": 1, "few": 1}
    told = "smallest class sets n_max, here 'rare', 'few' with 1 sample: use profile: natural, or"
    with pytest.raises(ConfigError, match=f"the smallest ratio is 1; the pool's {told}"):
        check_counts(Imbalance(profile="exponential", train_ratio=0.1), pool)
    facts = {"kind": "image", "shape": [1, 8, 8], "classes": list(pool)}
    facts["counts"] = {"train": list(pool.values())}
    even = {"data": {"imbalance": {"profile": "step"}}, "train": {"batch_size": 8}}
    with pytest.raises(ConfigError, match=f"more than the 3 samples .* the pool's {told}"):
        check(Config.model_validate(even), facts)


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
