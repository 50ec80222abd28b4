"""The imbalanced subset that a run trains on: how many of each class, and which."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trainers.config import Imbalance
from trainers.streams import generator


def class_counts(pool: Sequence[int], imbalance: Imbalance) -> tuple[int, ...]:
    """Samples of each class in the training subset, in label order.

    Every class has at least one. `n_max` is the smallest class of the pool, so that the profile
    alone makes the imbalance; `natural` takes the pool as it is.

    Args:
        pool: samples of each class in the training pool, all at least 1.
        imbalance: the profile and its ratio r.

    Source: LDAM-DRW's recipe, with which published long-tail results were made.
    """
    return PROFILES[imbalance.profile](tuple(pool), imbalance.train_ratio)


def draw_subset(
    y_pool: np.ndarray, counts: Sequence[int], *, fingerprint: str, replicate: int
) -> np.ndarray:
    """Which samples of the pool a replicate trains on: their indices, sorted.

    Each class has a stream of its own and gives the first n_c of its shuffled samples, without
    replacement. So the subsets of a replicate are nested across ratios.
    """
    chosen = []
    for label, count in enumerate(counts):
        members = np.flatnonzero(y_pool == label)
        shuffled = generator(fingerprint, replicate, f"subset:{label}").permutation(members)
        chosen.append(shuffled[:count])
    return np.sort(np.concatenate(chosen))


def _natural(pool: tuple[int, ...], ratio: float) -> tuple[int, ...]:
    return pool


def _exponential(pool: tuple[int, ...], ratio: float) -> tuple[int, ...]:
    # Not a running product: n_max * mu^c differs by a sample for some ratios.
    largest, last = min(pool), len(pool) - 1
    return tuple(max(1, int(largest * ratio ** (c / last))) for c in range(len(pool)))


def _step(pool: tuple[int, ...], ratio: float) -> tuple[int, ...]:
    largest, half = min(pool), len(pool) // 2
    return (largest,) * half + (max(1, int(largest * ratio)),) * (len(pool) - half)


PROFILES = {"natural": _natural, "exponential": _exponential, "step": _step}
