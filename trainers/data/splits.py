"""Which samples train, validate and test; fixed by the data's content, never by a replicate.

Where a file brings a part of its own, that part is the split. Where it does not, a stratified
share of each class is held out, at least one sample where the class can spare it: a class of one
sample is in the training pool only, one of two in pool and test, one of three in all. Splits
that lack a class report no recall for it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from trainers.config import ConfigError, DataConfig
from trainers.streams import generator

Picks = dict[str, tuple[str, np.ndarray]]


def pick(labels: Mapping[str, np.ndarray], config: DataConfig, *, content: str) -> Picks:
    """For each split, the part of the source it comes from and the sorted indices in that part.

    Args:
        labels: part -> (N,) class indices; "train" always, "val" and "test" where the source
            has them.
        config: the shares to hold out, and the cap on a class.
        content: hash of the training part's content, which names the random streams; so another
            test file leaves pool and validation as they were.

    The cap (`max_per_class`) holds in every split: a small training set measured on a large test
    set spends its time on measuring. Per-class and balanced metrics keep their meaning, while
    plain accuracy becomes that of the capped proportions.

    Raises:
        ConfigError: nothing is left to validate on.
    """
    picks: Picks = {part: (part, np.arange(len(y))) for part, y in labels.items()}
    shares = {"test": config.test_fraction, "val": config.val_fraction}
    for split, share in shares.items():
        if split not in labels:
            pool = picks["train"][1]
            kept, held = hold_out(labels["train"][pool], share, content=content, split=split)
            picks["train"], picks[split] = ("train", pool[kept]), ("train", pool[held])
    if config.max_per_class is not None:
        for split, (part, indices) in picks.items():
            kept = cap(labels[part][indices], config.max_per_class, content=content, split=split)
            picks[split] = (part, indices[kept])
    for split, share in shares.items():
        if not len(picks[split][1]):
            reason = f"leaves no sample for {split}: every class has too few samples"
            raise ConfigError(f"data.{split}_fraction", share, reason)
    return picks


def hold_out(
    y: np.ndarray, share: float, *, content: str, split: str
) -> tuple[np.ndarray, np.ndarray]:
    """The kept and the held-out indices, both sorted, with `share` of every class held out."""
    held = []
    for label in np.unique(y):
        members = np.flatnonzero(y == label)
        count = min(max(1, round(share * len(members))), len(members) - 1)
        shuffled = generator(content, 0, f"split:{split}:{label}").permutation(members)
        held.append(shuffled[:count])
    out = np.sort(np.concatenate(held))
    return np.setdiff1d(np.arange(len(y)), out, assume_unique=True), out


def cap(y: np.ndarray, most: int, *, content: str, split: str) -> np.ndarray:
    """Sorted indices of at most `most` samples of every class."""
    kept = [np.empty(0, dtype=np.int64)]
    for label in np.unique(y):
        members = np.flatnonzero(y == label)
        shuffled = generator(content, 0, f"cap:{split}:{label}").permutation(members)
        kept.append(shuffled[:most])
    return np.sort(np.concatenate(kept))
