"""Class counts of long-tail CIFAR, as published: LDAM's recipe with integer truncation."""

import pytest

from trainers.check import check_counts
from trainers.config import ConfigError
from trainers.data.imbalance import class_counts
from trainers.data_config import Imbalance

CIFAR10_LT = {
    0.1: (5000, 3871, 2997, 2320, 1796, 1391, 1077, 834, 645, 500),
    0.02: (5000, 3237, 2096, 1357, 878, 568, 368, 238, 154, 100),
    0.01: (5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50),
    0.005: (5000, 2775, 1540, 854, 474, 263, 146, 81, 45, 25),
    0.001: (5000, 2320, 1077, 500, 232, 107, 50, 23, 10, 5),
}
# ratio -> last class, total, classes with more than 100 / 20 to 100 / fewer than 20 samples
CIFAR100_LT = {
    0.1: (50, 19573, (69, 31, 0)),
    0.02: (10, 12608, (41, 41, 18)),
    0.01: (5, 10847, (35, 35, 30)),
    0.005: (2, 9502, (30, 31, 39)),
}


def _exponential(ratio: float) -> Imbalance:
    return Imbalance(profile="exponential", train_ratio=ratio)


@pytest.mark.parametrize(("ratio", "counts"), CIFAR10_LT.items())
def test_cifar10_long_tail_has_the_published_counts(ratio, counts):
    """Every class of CIFAR-10-LT has the count of LDAM's code at that ratio."""
    assert class_counts([5000] * 10, _exponential(ratio)) == counts


@pytest.mark.parametrize(("ratio", "expected"), CIFAR100_LT.items())
def test_cifar100_long_tail_has_the_published_totals(ratio, expected):
    """CIFAR-100-LT has the published last class, total and shots, none lost to rounding."""
    counts = class_counts([500] * 100, _exponential(ratio))
    head = sum(count > 100 for count in counts)
    tail = sum(count < 20 for count in counts)
    assert (counts[-1], sum(counts), (head, 100 - head - tail, tail)) == expected


def test_a_ratio_of_1_in_1000_is_out_of_reach_of_cifar100():
    """The last of 100 classes would get int(0.5) = 0 samples, and one would be another ratio."""
    assert class_counts([500] * 100, _exponential(0.001))[-1] == 0
    with pytest.raises(ConfigError, match=r"the smallest ratio is 0\.002"):
        check_counts(_exponential(0.001), {str(c): 500 for c in range(100)})


def test_step_profile_halves_the_classes():
    """The first C // 2 classes keep n_max, the others int(n_max r)."""
    step = Imbalance(profile="step", train_ratio=0.01)
    assert class_counts([5000] * 10, step) == (5000,) * 5 + (50,) * 5
    assert class_counts([90] * 3, Imbalance(profile="step", train_ratio=0.1)) == (90, 9, 9)
