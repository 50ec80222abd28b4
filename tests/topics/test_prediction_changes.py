"""Which test examples change between the ends of the axis, and how many would by luck."""

import itertools
from dataclasses import replace

import numpy as np
import planted
import pytest
from looks import look_of

from sweeper.topics.prediction_changes import estimate as examples
from sweeper.topics.prediction_changes.text import changes

BATCH = planted.BATCH


def test_most_runs_decide_and_half_is_neither():
    """By hand: gained, lost, unchanged, and a tie at one end."""
    low = np.array([[0, 1, 1, 1, 0.5], [0, 1, 1, 0, 0.5], [1, 1, 1, 0, 0.5]])
    high = np.array([[1, 0, 1, 1, 1], [1, 0, 1, 1, 1], [0, 1, 1, 1, 1]])
    assert examples.changed(low, high=high).tolist() == [1, -1, 0, 1, 0]


@pytest.mark.parametrize("runs", [3, 4, 5])
@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.9, 1.0])
def test_luck_is_what_all_repeats_together_give(runs, share):
    """Against an enumeration of every pair of repeats, each run right with that chance."""
    total = 0.0
    for first in itertools.product((0, 1), repeat=runs):
        for second in itertools.product((0, 1), repeat=runs):
            a, b = sum(first) / runs, sum(second) / runs
            right = sum(first) + sum(second)
            if (a - 0.5) * (b - 0.5) < 0:
                total += share**right * (1 - share) ** (2 * runs - right)
    assert examples.by_luck(np.array([share]), runs=runs)[0] == pytest.approx(total)


def test_luck_told_from_the_runs_is_about_right():
    """Two repeats of one end, five runs each: within a third of what changes."""
    rng = np.random.default_rng(0)
    p = 1 / (1 + np.exp(-rng.normal(1, 2, 20_000)))
    one, two = (rng.binomial(5, p) / 5 for _ in range(2))
    seen = np.abs(examples.changed(one[None], high=two[None])).sum()
    told = examples.by_luck(one, runs=5).sum()
    assert 2 / 3 < told / seen < 3 / 2


def planned(right, *, labels):
    """Two batch sizes, three replicates; right: (cell, replicate) -> the examples answered."""
    plan = planted.plan(levels={BATCH: [2, 64]}, replicates=3, epochs=2, classes=("a", "b", "c"))
    plan = planted.with_answers(plan, examples=len(labels) // 3)
    numbers, correct = {}, {}
    names = {c: ("test", "recall", f"class:{name}") for c, name in enumerate("abc")}
    for key, matrix in plan.numbers.items():
        bits = np.isin(np.arange(len(labels)), right[key])
        correct[key] = np.packbits(bits, bitorder="little").tobytes()
        numbers[key] = matrix.copy()
        for c, name in names.items():
            numbers[key][-1, plan.layout.index(name)] = bits[labels == c].mean()
    facts = plan.sweep.facts | {"labels": {"test": planted.pack_labels(labels)}}
    facts["counts"] = facts["counts"] | {"test": np.bincount(labels).tolist()}
    return replace(plan, sweep=replace(plan.sweep, facts=facts), numbers=numbers, correct=correct)


def test_places_are_those_of_the_test_split():
    """In the data set's own order, by class, whatever the order of the labels."""
    labels = np.array([2, 0, 1, 0, 2, 1, 1, 0, 2])
    right = {
        (0, 0): [0, 1, 2, 8], (0, 1): [0, 1, 2], (0, 2): [0, 1, 7],
        (1, 0): [0, 7, 4], (1, 1): [0, 7, 4], (1, 2): [1, 0, 2],
    }  # fmt: skip
    plan = planned(right, labels=labels)
    (found,) = examples.build(look_of(plan))
    by_class = {one.name: (one.gained, one.lost, one.support) for one in found.classes}
    assert by_class == {"a": ((7,), (1,), 3), "b": ((), (2,), 3), "c": ((4,), (), 3)}
    assert (found.gained, found.lost, found.n) == (2, 2, 3)
    assert (found.low, found.high, found.held) == (2, 64, None)
    rows = examples.rows([found])
    assert sorted(zip(rows["test_example"], rows["change"], strict=True)) == [
        (1, "lost"), (2, "lost"), (4, "gained"), (7, "gained"),
    ]  # fmt: skip
    said = changes(found, thing="test images")
    assert said.startswith("From batch size 2 to 64, 2 test images are lost and 2 gained.")


def test_each_level_of_the_second_factor_is_looked_at():
    """Two train ratios, two lists; counts add up over classes."""
    plan = planted.with_answers(planted.plan(epochs=2), examples=10)
    found = examples.build(look_of(plan))
    assert [one.at for one in found] == [0.05, 1.0]
    for one in found:
        assert one.gained + one.lost == sum(len(c.gained) + len(c.lost) for c in one.classes)
        assert one.chance > 0
        assert sum(c.support for c in one.classes) == 100


def test_two_replicates_make_no_majority():
    """Fewer than three: nothing is listed."""
    plan = planted.with_answers(planted.plan(epochs=2, replicates=2), examples=10)
    assert examples.build(look_of(plan)) == ()
