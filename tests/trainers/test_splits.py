"""Splits: stratified, fixed by content, with a rule for classes too small to divide."""

import numpy as np
import pytest

from trainers.config import ConfigError
from trainers.data.splits import cap, pick
from trainers.data_config import DataConfig

Y = np.repeat([0, 1, 2], [200, 40, 12])


def _pick(y=None, *, content="content", **fields):
    labels = {"train": Y if y is None else np.asarray(y)}
    return pick(labels, DataConfig.model_validate(fields), content=content)


def test_the_three_splits_part_the_data():
    """Every sample is in one split exactly."""
    picks = _pick()
    together = np.sort(np.concatenate([rows for _, rows in picks.values()]))
    assert together.tolist() == list(range(len(Y)))


def test_each_class_gives_its_share():
    """Test takes its fraction of every class, validation its fraction of what is left."""
    picks = _pick(test_fraction=0.25, val={"fraction": 0.2})
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
        _pick(val={"fraction": 0.1})["test"][1].tolist()
        == _pick(val={"fraction": 0.4})["test"][1].tolist()
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
    picks = _pick(max_per_class=8, test_fraction=0.25, val={"fraction": 0.2})
    counts = {split: np.bincount(Y[rows]).tolist() for split, (_, rows) in picks.items()}
    assert counts == {"test": [8, 8, 3], "val": [8, 6, 2], "train": [8, 8, 7]}


def test_a_smaller_cap_keeps_part_of_a_larger_one():
    """Caps are nested, so that a cheap sweep looks at part of the same data."""
    few = cap(Y, 5, content="content", split="train")
    many = cap(Y, 9, content="content", split="train")
    assert set(few) < set(many)


def test_no_validation_sample_at_all_is_refused():
    """Two samples a class leave nothing to select on, which the message says."""
    with pytest.raises(ConfigError, match=r"data\.val\.fraction: 0\.15 leaves no sample for val"):
        _pick(np.repeat([0, 1], 2))


def test_validation_out_of_the_test_split_is_balanced_and_leaves_the_pool_whole():
    """The same number of each class, as far as half of a class goes; nothing leaves the pool."""
    labels = {"train": Y, "test": np.repeat([0, 1, 2], [200, 100, 4])}
    config = DataConfig.model_validate({"val": {"from": "test", "fraction": 0.15}})
    picks = pick(labels, config, content="content")
    counts = {s: np.bincount(labels[part][rows]).tolist() for s, (part, rows) in picks.items()}
    assert counts == {"train": [200, 40, 12], "val": [15, 15, 2], "test": [185, 85, 2]}
    assert not set(picks["val"][1]) & set(picks["test"][1])


def test_without_validation_there_are_two_splits():
    """`val: none` leaves the pool whole, and nothing to select on."""
    picks = pick({"train": Y, "test": Y[:50]}, DataConfig.model_validate({"val": "none"}),
                 content="content")  # fmt: skip
    assert {split: len(rows) for split, (_, rows) in picks.items()} == {"train": 252, "test": 50}


def test_an_empty_test_split_is_refused_before_validation_is_taken_out_of_it():
    """A sample a class, a group a class, or a test part of other classes leaves nothing to test."""
    refused = pytest.raises(ConfigError, match=r"data\.test_fraction: 0\.25 leaves no sample for")
    with refused:
        _pick(np.arange(3), val="test")
    with refused:
        _grouped(np.repeat([0, 1], 4), np.repeat([0, 1], 4), val="test")
    with refused:
        pick({"train": Y, "test": np.full(5, -1)}, DataConfig.model_validate({"val": "test"}),
             content="content")  # fmt: skip


@pytest.mark.parametrize("source", ["test", "none"])
def test_a_validation_part_of_the_file_is_never_dropped_in_silence(source):
    """A file with a validation part takes `from: pool` only."""
    config = DataConfig.model_validate({"val": source})
    with pytest.raises(
        ConfigError, match=rf"data\.val\.from: '{source}' is not possible: the file has"
    ):
        pick({"train": Y, "val": Y[:9], "test": Y[:50]}, config, content="content")


# Groups: rows that belong together are in one split.


def _grouped(y, groups, **fields):
    config = DataConfig.model_validate({"group": "patient", **fields})
    picks = pick({"train": y}, config, content="content", groups={"train": groups})
    return {split: rows for split, (_, rows) in picks.items()}


def test_no_group_is_in_two_splits():
    """Whatever its classes, a group goes to one split as a whole."""
    rng = np.random.default_rng(0)
    groups, y = rng.integers(0, 80, 900), rng.integers(0, 5, 900)
    for fields in ({}, {"val": "test"}, {"val": "none"}):
        rows = _grouped(y, groups, **fields)
        seen = [group for own in rows.values() for group in np.unique(groups[own])]
        assert sorted(seen) == list(range(80))


def test_classes_keep_their_shares_where_groups_allow():
    """With many small groups each class gives its share, to within a group."""
    rng = np.random.default_rng(1)
    label = np.repeat([0, 1, 2], [200, 60, 20])  # of a group
    sizes = rng.integers(1, 4, 280)
    y, groups = np.repeat(label, sizes), np.repeat(np.arange(280), sizes)
    rows = _grouped(y, groups, test_fraction=0.25, val={"fraction": 0.2})
    total = np.bincount(y)
    assert np.abs(np.bincount(y[rows["test"]]) - 0.25 * total).max() <= 3
    assert np.abs(np.bincount(y[rows["val"]]) - 0.2 * 0.75 * total).max() <= 3


@pytest.mark.parametrize(
    ("count", "train", "val", "test"), [(1, 1, 0, 0), (2, 1, 0, 1), (3, 1, 1, 1)]
)
def test_a_class_of_few_groups_is_trained_on_first(count, train, val, test):
    """One group goes to the pool, the second to the test, the third to validation."""
    y = np.repeat([0, 1], [400, 8 * count])
    groups = np.arange(len(y)) // 8
    found = {s: int((y[rows] == 1).sum()) // 8 for s, rows in _grouped(y, groups).items()}
    assert found == {"train": train, "val": val, "test": test}


def test_groups_are_split_by_content_alone():
    """The names of the groups decide, not the order of the rows."""
    rng = np.random.default_rng(2)
    groups, y = np.array([f"p{g}" for g in rng.integers(0, 40, 300)]), rng.integers(0, 2, 300)
    order = rng.permutation(300)
    test = set(groups[_grouped(y, groups)["test"]])
    assert test == set(groups[order][_grouped(y[order], groups[order])["test"]])


def test_parts_that_share_a_group_are_refused_with_their_number():
    """A leak in the file itself cannot be mended here: the message counts it and names a group."""
    labels = {"train": np.array([0, 1, 0, 1]), "test": np.array([0, 1, 1])}
    groups = {"train": np.array(list("abcd")), "test": np.array(list("cde"))}
    config = DataConfig(group="patient")
    with pytest.raises(ConfigError) as refused:
        pick(labels, config, content="content", groups=groups)
    assert str(refused.value).startswith(
        "data.group: 'patient' 2 groups are both in the file's train part and in its test part, "
        "such as 'c'"
    )


def test_too_few_groups_are_named_as_the_reason():
    """One patient cannot be split."""
    with pytest.raises(ConfigError, match=r"leaves no sample for test: .* too few groups"):
        _grouped(np.repeat([0, 1], 20), np.repeat("p1", 40))
