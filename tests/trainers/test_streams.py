"""Random streams: equal names give equal draws, and nothing else has a say."""

from __future__ import annotations

import numpy as np
import pytest

from trainers.streams import generator, order, uniform


def test_equal_names_give_equal_draws_in_any_order() -> None:
    """A stream does not remember what was drawn from others before it."""
    first = generator("data", 3, "order", 2).random(5)
    generator("data", 3, "augment", 2).random(99)
    assert np.array_equal(generator("data", 3, "order", 2).random(5), first)


@pytest.mark.parametrize(
    "other", [("datA", 3, "order", 2), ("data", 4, "order", 2), ("data", 3, "o", 2),
              ("data", 3, "order", 3), ("data", 31, "order", 2)],
)  # fmt: skip
def test_each_name_matters(other: tuple[str, int, str, int]) -> None:
    """Data, replicate, stream and epoch each make another stream."""
    ours = generator("data", 3, "order", 2).random(4)
    assert not np.isin(generator(*other).random(4), ours).any()


def test_names_cannot_run_into_each_other() -> None:
    """Where one name ends and the next begins is part of the key."""
    one, other = generator("d1", 1, "s"), generator("d", 11, "s")
    assert one.random() != other.random()


def test_draws_are_the_same_on_every_machine() -> None:
    """The draws of a name never change: a recorded sweep can continue with a later version."""
    assert generator("data", 0, "order", 1).integers(0, 1000, 4).tolist() == GOLDEN


def test_uniform_draws_nothing_for_width_zero() -> None:
    """A policy that needs no numbers costs none."""
    assert uniform("data", 0, "augment", epoch=0, samples=7, width=0).shape == (7, 0)


def test_a_sample_s_first_draws_do_not_depend_on_how_many_follow() -> None:
    """Cells whose policies begin alike share those draws, and differ by the rest alone."""
    narrow = uniform("data", 0, "augment", epoch=1, samples=50, width=3)
    wide = uniform("data", 0, "augment", epoch=1, samples=50, width=5)
    assert np.array_equal(narrow, wide[:, :3])


def test_uniform_rows_are_float32_below_one() -> None:
    """Draws fit the operations that index with them."""
    drawn = uniform("data", 0, "augment", epoch=0, samples=1000, width=3)
    assert drawn.dtype == np.float32
    assert drawn.min() >= 0
    assert drawn.max() < 1


def test_order_is_a_permutation_of_the_subset() -> None:
    """No sample of the subset is lost, and none from outside comes in."""
    subset = np.array([2, 5, 7, 11, 12])
    assert sorted(order("data", 0, subset, epoch=4, samples=20)) == subset.tolist()


def test_two_samples_keep_their_order_in_any_subset() -> None:
    """The order belongs to the samples: a smaller subset is the larger one's order, thinned."""
    large = order("data", 1, np.arange(50), epoch=0, samples=50)
    small = order("data", 1, np.arange(0, 50, 3), epoch=0, samples=50)
    assert small.tolist() == [i for i in large if i % 3 == 0]


GOLDEN = [987, 272, 632, 28]
