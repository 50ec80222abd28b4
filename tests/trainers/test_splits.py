"""Splits: stratified, fixed by content, with a rule for classes too small to divide."""

import numpy as np
import pytest

from trainers.config import ConfigError, DataConfig
from trainers.data.splits import cap, hold_out, pick

Y = np.repeat([0, 1, 2], [200, 40, 12])


def _pick(y=None, *, content="content", **fields):
    labels = {"train": Y if y is None else np.asarray(y)}
    return pick(labels, DataConfig(**fields), content=content)


def test_the_three_splits_part_the_data():
    """Every sample is in one split exactly."""
    picks = _pick()
    together = np.sort(np.concatenate([rows for _, rows in picks.values()]))
    assert together.tolist() == list(range(len(Y)))


def test_each_class_gives_its_share():
    """Test takes its fraction of every class, validation its fraction of what is left."""
    picks = _pick(test_fraction=0.25, val_fraction=0.2)
    counts = {split: np.bincount(Y[rows]).tolist() for split, (_, rows) in picks.items()}
    assert counts == {"test": [50, 10, 3], "val": [30, 6, 2], "train": [120, 24, 7]}


@pytest.mark.parametrize(
    ("samples", "train", "val", "test"), [(1, 1, 0, 0), (2, 1, 0, 1), (3, 1, 1, 1)]
)
def test_a_tiny_class_is_trained_on_first(samples, train, val, test):
    """One sample goes to the pool, the second to the test, the third to validation."""
    y = np.repeat([0, 1], [40, samples])
    found = {split: int((y[rows] == 1).sum()) for split, (_, rows) in _pick(y).items()}
    assert found == {"train": train, "val": val, "test": test}


def test_the_split_is_a_property_of_the_content():
    """The same content splits the same way, other content otherwise."""
    assert _pick()["test"][1].tolist() == _pick()["test"][1].tolist()
    assert _pick()["test"][1].tolist() != _pick(content="other")["test"][1].tolist()


def test_the_test_split_does_not_move_with_the_validation_share():
    """What is reported must not change with how much is kept for selection."""
    assert (
        _pick(val_fraction=0.1)["test"][1].tolist() == _pick(val_fraction=0.4)["test"][1].tolist()
    )


def test_parts_of_the_source_are_the_splits():
    """A file with its own test and validation parts is divided no further."""
    labels = {"train": Y, "val": Y[:30], "test": Y[:50]}
    picks = pick(labels, DataConfig(), content="content")
    assert {split: (part, len(rows)) for split, (part, rows) in picks.items()} == {
        "train": ("train", 252), "val": ("val", 30), "test": ("test", 50),
    }  # fmt: skip


def test_a_given_test_part_leaves_validation_to_the_pool():
    """With a test part alone, validation comes out of the training part."""
    picks = pick({"train": Y, "test": Y[:50]}, DataConfig(), content="content")
    assert picks["test"][0] == "test"
    assert picks["val"][0] == "train"
    assert not set(picks["val"][1]) & set(picks["train"][1])


def test_the_cap_holds_in_every_split():
    """Small classes stay whole; large ones are cut to the cap in pool, validation and test."""
    picks = _pick(max_per_class=8, test_fraction=0.25, val_fraction=0.2)
    counts = {split: np.bincount(Y[rows]).tolist() for split, (_, rows) in picks.items()}
    assert counts == {"test": [8, 8, 3], "val": [8, 6, 2], "train": [8, 8, 7]}


def test_a_smaller_cap_keeps_part_of_a_larger_one():
    """Caps are nested, so that a cheap sweep looks at part of the same data."""
    few = cap(Y, 5, content="content", split="train")
    many = cap(Y, 9, content="content", split="train")
    assert set(few) < set(many)


def test_held_out_and_kept_are_complements():
    """Nothing is lost or doubled by holding out."""
    kept, held = hold_out(Y, 0.3, content="content", split="val")
    assert sorted([*kept, *held]) == list(range(len(Y)))


def test_no_validation_sample_at_all_is_refused():
    """Two samples a class leave nothing to select on, which the message says."""
    with pytest.raises(ConfigError, match=r"data\.val_fraction: 0\.15 leaves no sample for val"):
        _pick(np.repeat([0, 1], 2))
