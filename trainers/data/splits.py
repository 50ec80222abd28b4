"""Chooses the samples that train, validate and test, by the data's content only.

A part that the file has becomes the split. For a missing part, a stratified share of each class is
held out, at least one sample if the class has enough: a class of one sample is in the training pool
only, a class of two in pool and test, a class of three in all splits. A split without a class
reports no recall for it. Validation from the test split takes the same number of every class, and
at most half of a class.

With groups (patients, sites, users) whole groups are held out, such that each class comes as close
to its share as the groups allow. A class of one group is in the training pool only.

Letters: N samples, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Literal

import numpy as np

from trainers.config import ConfigError
from trainers.data_config import DataConfig
from trainers.streams import generator

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
Picks = dict[str, tuple[str, np.ndarray]]


def pick(
    labels: Mapping[str, np.ndarray],
    config: DataConfig,
    *,
    content: str,
    groups: Mapping[str, np.ndarray] | None = None,
) -> Picks:
    """Chooses each split: the part of the source that it comes from, and sorted indices in it.

    Args:
        labels: part -> (N,) class indices, -1 for samples in no split; "train" is required, "val"
            and "test" if the source has them.
        config: what to hold out, and the cap on a class.
        content: hash of the training part's content, which names the random streams, so that
            another test file does not change pool and validation.
        groups: part -> (N,) integers or text, of every part; None if samples are independent.

    Under `val: none` there is no "val". The cap (`max_per_class`) holds in every split, because
    evaluating a small training set on a large test set would take most of the time. Per-class and
    balanced metrics keep their meaning; plain accuracy becomes that of the capped proportions.

    Raises:
        ConfigError: nothing is left to validate or to test on; parts of the source share a group;
            the source has a validation part and the config asks for another.
    """
    _check_parts(labels, config, groups or {})
    picks = _held_out(labels, config, content=content, groups=groups)
    if config.max_per_class is not None:
        for split, (part, indices) in picks.items():
            kept = cap(labels[part][indices], config.max_per_class, content=content, split=split)
            picks[split] = (part, indices[kept])
    _check_sizes(picks, config)
    return {split: picks[split] for split in SPLITS if split in picks}


def _held_out(
    labels: Mapping[str, np.ndarray],
    config: DataConfig,
    *,
    content: str,
    groups: Mapping[str, np.ndarray] | None,
) -> Picks:
    """The splits before the cap: the source's parts, and what is held out of them."""
    picks: Picks = {part: (part, np.flatnonzero(y >= 0)) for part, y in labels.items()}

    def hold(split: Split, out_of: Split, wanted: np.ndarray) -> None:
        part, rows = picks[out_of]
        of = None if groups is None else groups[part][rows]
        held = hold_out(labels[part][rows], wanted, groups=of, content=content, split=split)
        picks[out_of], picks[split] = (part, np.delete(rows, held)), (part, rows[held])

    if "test" not in picks:
        hold("test", "train", stratified(_counts(labels, picks["train"]), config.test_fraction))
    if "val" not in picks and config.val.source == "pool":
        hold("val", "train", stratified(_counts(labels, picks["train"]), config.val.fraction))
    if config.val.source == "test":
        hold("val", "test", balanced(_counts(labels, picks["test"]), config.val.fraction))
    return picks


def stratified(counts: np.ndarray, share: float) -> np.ndarray:
    """Samples to hold out of each class (C,): its share, at least one, but never the last one."""
    return np.minimum(np.maximum(1, np.round(share * counts)), counts - 1).clip(0).astype(int)


def balanced(counts: np.ndarray, share: float) -> np.ndarray:
    """Samples to hold out of each class (C,): an equal number, in total a share of all.

    A class gives at most half of its samples, so that enough remain to report on.
    """
    classes = max(1, np.count_nonzero(counts))  # the test split may be empty
    each = max(1, round(share * counts.sum() / classes))
    return np.minimum(each, counts // 2)


def hold_out(
    y: np.ndarray,
    wanted: np.ndarray,
    *,
    content: str,
    split: str,
    groups: np.ndarray | None = None,
) -> np.ndarray:
    """Sorted indices of the samples to hold out: `wanted` (C,) of each class, or whole groups."""
    if groups is not None:
        return _hold_out_groups(y, wanted, groups, content=content, split=split)
    held = [np.empty(0, dtype=np.int64)]
    for label in np.unique(y):
        members = np.flatnonzero(y == label)
        shuffled = generator(content, 0, f"split:{split}:{label}").permutation(members)
        held.append(shuffled[: wanted[label]])
    return np.sort(np.concatenate(held))


def _hold_out_groups(
    y: np.ndarray, wanted: np.ndarray, groups: np.ndarray, *, content: str, split: str
) -> np.ndarray:
    """Holds out groups in random order, each if that brings the classes nearer to `wanted`.

    Then a class without held-out samples gives its smallest group, if it has another group. No
    class ever gives its last group.
    """
    names, of = np.unique(groups, return_inverse=True)
    ledger = _Ledger(y, of, wanted)
    order = generator(content, 0, f"split:{split}:groups").permutation(len(names)).tolist()
    for group in order:
        if ledger.gains(group):
            ledger.take(group)
    for label in np.flatnonzero(wanted).tolist():
        if not ledger.held[label]:
            spare = [group for group in order if ledger.has(group, label) and ledger.spares(group)]
            if spare:
                ledger.take(min(spare, key=ledger.size))
    return np.flatnonzero(np.isin(of, sorted(ledger.taken)))


class _Ledger:
    """Counts the samples of each class that are held out, and those that a group would add.

    Args:
        y: (N,) classes.
        of: (N,) groups, numbered from 0.
        wanted: (C,) samples of each class to hold out.
    """

    def __init__(self, y: np.ndarray, of: np.ndarray, wanted: np.ndarray) -> None:
        pairs, counts = np.unique(np.stack([of, y], axis=1), axis=0, return_counts=True)
        self._content: dict[int, list[tuple[int, int]]] = {}
        for (group, label), count in zip(pairs.tolist(), counts.tolist(), strict=True):
            self._content.setdefault(group, []).append((label, count))
        self._total = np.bincount(y, minlength=len(wanted)).tolist()
        self._wanted, self.held = wanted.tolist(), [0] * len(wanted)
        self.taken: set[int] = set()

    def size(self, group: int) -> int:
        return sum(count for _, count in self._content[group])

    def has(self, group: int, label: int) -> bool:
        return any(own == label for own, _ in self._content[group])

    def spares(self, group: int) -> bool:
        """Returns whether every class keeps a sample if the group is held out."""
        return group not in self.taken and all(
            self.held[label] + count < self._total[label] for label, count in self._content[group]
        )

    def gains(self, group: int) -> bool:
        """Returns whether holding out the group brings the classes nearer to `wanted`."""
        change = 0.0
        for label, count in self._content[group]:
            off = self.held[label] - self._wanted[label]
            change += ((off + count) ** 2 - off**2) / self._total[label] ** 2
        return change < 0 and self.spares(group)

    def take(self, group: int) -> None:
        self.taken.add(group)
        for label, count in self._content[group]:
            self.held[label] += count


def cap(y: np.ndarray, most: int, *, content: str, split: str) -> np.ndarray:
    """Sorted indices of at most `most` samples of every class."""
    kept = [np.empty(0, dtype=np.int64)]
    for label in np.unique(y):
        members = np.flatnonzero(y == label)
        shuffled = generator(content, 0, f"cap:{split}:{label}").permutation(members)
        kept.append(shuffled[:most])
    return np.sort(np.concatenate(kept))


def _counts(labels: Mapping[str, np.ndarray], picked: tuple[str, np.ndarray]) -> np.ndarray:
    """Samples of each class (C,) among the picked ones."""
    part, rows = picked
    classes = 1 + max(int(y.max()) for y in labels.values())
    return np.bincount(labels[part][rows], minlength=classes)


def _check_parts(
    labels: Mapping[str, np.ndarray], config: DataConfig, groups: Mapping[str, np.ndarray]
) -> None:
    """Checks that the source's parts match the spec and share no group."""
    if "val" in labels and config.val.source != "pool":
        reason = "is not possible: the file has its own validation part, which pool uses; "
        raise ConfigError("data.val.from", config.val.source, reason + "write pool, or take it out")
    used = {part: np.unique(of[labels[part] >= 0]) for part, of in groups.items()}
    for one, other in combinations(used, 2):
        shared = np.intersect1d(used[one], used[other])
        if len(shared):
            many = f"{len(shared):,} groups are" if len(shared) > 1 else "one group is"
            reason = f"{many} both in the file's {one} part and in its {other} part, such as "
            raise ConfigError(
                "data.group",
                config.group,
                f"{reason}{str(shared[0])!r}: move each group whole "
                "into one part, or give all samples in one part, and they are split here",
            )


def _check_sizes(picks: Picks, config: DataConfig) -> None:
    keys = {
        "test": ("test_fraction", config.test_fraction),
        "val": ("val.fraction", config.val.fraction),
    }
    for split, (key, share) in keys.items():
        if split in picks and not len(picks[split][1]):
            few = "samples" if config.group is None else f"groups ({config.group})"
            reason = f"leaves no sample for {split}: every class has too few {few}"
            raise ConfigError(f"data.{key}", share, reason)
