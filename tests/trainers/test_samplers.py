"""Samplers: shares of the classes, company in batches, and draws of samples that come again."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from small_packs import config, images, pack

from trainers.feed import occurrences
from trainers.loop import PackTrainer
from trainers.samplers.balanced import places


def trainer(**train: Any) -> PackTrainer:
    """One member on classes of 40, 17 and 8 samples."""
    return pack(images(train=120), config(ratio=0.2, **train))


def epoch(one: PackTrainer, number: int = 0) -> np.ndarray:
    """The pool indices of an epoch."""
    return one.feed.samplers[0].order(number)


def counted(one: PackTrainer, number: int = 0) -> list[int]:
    labels = one.pool.y["train"].numpy()[epoch(one, number)]
    return np.bincount(labels, minlength=3).tolist()


def test_each_sampler_gives_classes_their_shares() -> None:
    """65 places: by size, equal, by the root of the size."""
    assert counted(trainer()) == [40, 17, 8]
    assert counted(trainer(sampler="balanced")) == [22, 22, 21]
    roots = np.sqrt([40, 17, 8])
    exact = 65 * roots / roots.sum()
    got = counted(trainer(sampler="sqrt"))
    assert np.abs(np.array(got) - exact).max() < 1
    assert sum(got) == 65


def test_progressive_goes_from_own_to_equal_shares() -> None:
    """p_c = (1 - t/T) n_c/N + t/T 1/C: the first epoch, the middle and the last."""
    one = trainer(sampler="progressive", epochs=5)
    assert counted(one, 0) == [40, 17, 8]
    assert counted(one, 4) == [22, 22, 21]
    middle = 65 * (np.array([40, 17, 8]) / 65 / 2 + 1 / 6)
    assert np.abs(np.array(counted(one, 2)) - middle).max() < 1


def test_places_sum_to_the_total() -> None:
    """Largest remainders, whatever the shares."""
    source = np.random.default_rng(0)
    for _ in range(100):
        shares = source.dirichlet(np.ones(7))
        got = places(shares, 53)
        assert got.sum() == 53
        assert np.abs(got - 53 * shares).max() < 1


@pytest.mark.parametrize("name", ["balanced", "sqrt", "progressive"])
def test_no_sample_comes_twice_before_its_class_has_come_once(name: str) -> None:
    """Counts of a class's samples differ by one at most, in every epoch."""
    one = trainer(sampler=name, epochs=3)
    labels = one.pool.y["train"].numpy()
    for number in range(3):
        seen = Counter(epoch(one, number).tolist())
        for label in range(3):
            own = [seen[i] for i in one._subsets[0].tolist() if labels[i] == label]
            assert max(own) - min(own) <= 1


@pytest.mark.parametrize("name", ["spread", "concentrated", "guaranteed"])
def test_composed_epochs_have_every_sample_once(name: str) -> None:
    """Equal exposure: only the company in the batches differs from a shuffled epoch."""
    one = trainer(sampler=name)
    for number in range(3):
        assert sorted(epoch(one, number).tolist()) == sorted(one._subsets[0].tolist())
    assert epoch(one, 0).tolist() != epoch(one, 1).tolist()


def minority_in_batches(one: PackTrainer) -> list[int]:
    """Samples of the smallest class (a third of three classes) in each batch of an epoch."""
    return [
        int((batch.labels[0] == 2).sum()) for batch in one.feed.batches(0, one.feed.epoch_steps)
    ]


def test_spread_batches_share_the_minority_and_concentrated_ones_do_not() -> None:
    """8 samples in 8 batches of 8 or 9: one each, or one batch full."""
    assert minority_in_batches(trainer(sampler="spread")) == [1] * 8
    found = minority_in_batches(trainer(sampler="concentrated"))
    assert sum(found) == 8
    assert sum(count > 0 for count in found) <= 2


@pytest.mark.parametrize("number", range(3))
def test_guaranteed_batches_have_a_minority_sample_each(number: int) -> None:
    """8 samples in 8 batches: one each; in 16: one each in 8 of them; in 3: some in all."""
    one = trainer(sampler="guaranteed", epochs=5)
    labels = [batch.labels[0] for batch in one.feed.batches(number * 8, number * 8 + 8)]
    assert [int((own == 2).sum()) for own in labels] == [1] * 8
    many = trainer(sampler="guaranteed", batch_size=4)
    assert sorted(minority_in_batches(many)) == [0] * 8 + [1] * 8
    few = minority_in_batches(trainer(sampler="guaranteed", batch_size=24))
    assert len(few) == 3
    assert min(few) > 0
    assert sum(few) == 8


@pytest.mark.parametrize("size", [3, 8, 20, 40, 64])
def test_separate_batches_never_mix_and_every_sample_keeps_its_exposure(size: int) -> None:
    """Over 30 epochs: pure batches; in a group, samples differ by one; groups keep their share.

    A batch of 20 or 64 is larger than the minority of 8.
    """
    one = trainer(sampler="separate", batch_size=size, epochs=30, norm="none")
    labels = one.pool.y["train"].numpy()
    ends = np.cumsum(one.feed.sizes)[:-1]
    seen: Counter[int] = Counter()
    for number in range(30):
        order = epoch(one, number)
        assert len(order) == 65
        for batch in np.split(labels[order] == 2, ends):
            assert batch.all() or not batch.any()
        seen.update(order.tolist())
    minority = [seen[i] for i in one._subsets[0].tolist() if labels[i] == 2]
    others = [seen[i] for i in one._subsets[0].tolist() if labels[i] != 2]
    assert max(minority) - min(minority) <= 1
    assert max(others) - min(others) <= 1
    assert 30 * 8 - one.feed.sizes[0] < sum(minority) <= 30 * 8


def test_occurrences_count_what_came_before() -> None:
    """In the order of the array."""
    assert occurrences(np.array([5, 2, 5, 5, 2, 9])).tolist() == [0, 0, 1, 2, 1, 0]


def test_a_sample_that_comes_again_is_augmented_again() -> None:
    """Its first occurrence is augmented as in a shuffled epoch, the second in another way."""
    balanced = trainer(sampler="balanced", augmentation="flip_crop")
    shuffled = trainer(augmentation="flip_crop")

    def by_sample(one: PackTrainer) -> dict[int, list[torch.Tensor]]:
        inputs = torch.cat([batch.x for batch in one.feed.batches(0, one.feed.epoch_steps)])
        seen: dict[int, list[torch.Tensor]] = {}
        for sample, x in zip(epoch(one).tolist(), inputs, strict=True):
            seen.setdefault(sample, []).append(x)
        return seen

    again, once = by_sample(balanced), by_sample(shuffled)
    both = again.keys() & once.keys()
    assert all(torch.equal(again[sample][0], once[sample][0]) for sample in both)
    repeated = [found for found in again.values() if len(found) > 1]
    assert repeated
    different = sum(not torch.equal(found[0], found[1]) for found in repeated)
    assert different > len(repeated) / 2
