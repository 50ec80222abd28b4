"""Draws the imbalanced subset that a run trains on: how many samples of each class, and which."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trainers.data_config import Imbalance
from trainers.streams import generator


def class_counts(pool: Sequence[int], imbalance: Imbalance) -> tuple[int, ...]:
    """Samples of each class in the training subset, in label order, or from large to small.

    A class gets 0 if the ratio is too small for n_max, and more than the pool has if n_max is too
    large; `trainers.check` rejects both. `natural` takes the whole pool.

    Args:
        pool: samples of each class in the training pool, all at least 1.
        imbalance: the profile, its ratio r, and n_max. The default n_max is the size of the pool's
            smallest class, so that only the profile makes the imbalance.

    Source: the recipe of LDAM-DRW, used for the published long-tailed results.
    """
    if imbalance.profile == "natural":
        return tuple(pool)
    n_max = imbalance.n_max or min(pool)
    return tuple(int(n_max * share) for share in shares(len(pool), imbalance))


def shares(classes: int, imbalance: Imbalance) -> list[float]:
    """Each class's share of n_max, in label order, from 1 down to the ratio."""
    ratio, half = imbalance.train_ratio, classes // 2
    if imbalance.profile == "step":
        return [1.0] * half + [ratio] * (classes - half)
    # Not a running product: n_max * mu^c differs by one sample for some ratios.
    return [ratio ** (c / (classes - 1)) for c in range(classes)]


def class_places(
    classes: int, imbalance: Imbalance, *, fingerprint: str, replicate: int
) -> np.ndarray:
    """The place of each class in the order of sizes, from 0 for the largest: (classes,) int64."""
    if imbalance.order == "by_label":
        return np.arange(classes)
    drawn = 0 if imbalance.draw == "fixed" else replicate
    return generator(fingerprint, drawn, "class order").permutation(classes)


def sizes_by_label(
    counts: Sequence[int], imbalance: Imbalance, *, fingerprint: str, replicate: int
) -> list[int]:
    """Training samples of each class in label order, from those of the places."""
    places = class_places(len(counts), imbalance, fingerprint=fingerprint, replicate=replicate)
    return [counts[place] for place in places]


def subset_of(
    y_pool: np.ndarray,
    counts: Sequence[int],
    imbalance: Imbalance,
    *,
    fingerprint: str,
    replicate: int,
) -> np.ndarray:
    """The training subset of a run, as `draw_subset`; a fixed draw is that of replicate 0.

    Args:
        counts: of the classes from large to small, where their order is drawn.
    """
    own = 0 if imbalance.draw == "fixed" else replicate
    sizes = sizes_by_label(counts, imbalance, fingerprint=fingerprint, replicate=replicate)
    return draw_subset(y_pool, sizes, fingerprint=fingerprint, replicate=own)


def draw_subset(
    y_pool: np.ndarray, counts: Sequence[int], *, fingerprint: str, replicate: int
) -> np.ndarray:
    """Draws a replicate's training subset: sorted indices of samples in the pool.

    Each class has its own random stream and gives the first n_c of its shuffled samples, without
    replacement. So the subsets of a replicate are nested across ratios.
    """
    chosen = []
    for label, count in enumerate(counts):
        members = np.flatnonzero(y_pool == label)
        shuffled = generator(fingerprint, replicate, f"subset:{label}").permutation(members)
        chosen.append(shuffled[:count])
    return np.sort(np.concatenate(chosen))
