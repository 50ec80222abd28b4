"""Samplers that decide which batches have minority samples, at equal exposure.

Every sample comes once an epoch, as in `shuffled`, and in batches of the same sizes. Only the
company differs: it shows whether minority samples have to be in a batch for its gain.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from trainers import streams
from trainers.batches import batch_sizes
from trainers.groups import class_groups
from trainers.samplers import Exposure


class _Composed(ABC):
    """The shuffled order, with the minority's samples moved to chosen places."""

    def __init__(self, draw: Exposure) -> None:
        self._draw = draw
        classes = int(draw.labels.max()) + 1
        counts = np.bincount(draw.labels[draw.subset], minlength=classes).tolist()
        self._minority = np.isin(draw.labels, class_groups(counts)["minority"])

    def order(self, epoch: int) -> np.ndarray:
        """Pool indices, (n,)."""
        one = self._draw
        order = streams.order(
            one.fingerprint, one.replicate, one.subset, epoch=epoch, samples=len(one.labels)
        )
        few = self._minority[order]
        at = self.minority_places(len(order), int(few.sum()), epoch)
        taken = np.zeros(len(order), dtype=bool)
        taken[at] = True
        placed = np.empty_like(order)
        placed[taken], placed[~taken] = order[few], order[~few]
        return placed

    @abstractmethod
    def minority_places(self, samples: int, minority: int, epoch: int) -> np.ndarray:
        """The places of the minority's samples in the epoch."""


class Spread(_Composed):
    """Minority samples at equal distances: each batch has its share, as far as it goes."""

    def minority_places(self, samples: int, minority: int, epoch: int) -> np.ndarray:
        del epoch
        return (np.arange(minority) * samples + samples // 2) // max(1, minority)


class Concentrated(_Composed):
    """Minority samples fill as few batches as possible, which are drawn for each epoch."""

    def minority_places(self, samples: int, minority: int, epoch: int) -> np.ndarray:
        one = self._draw
        sizes = batch_sizes(samples, one.train.batch_size)
        batches = np.split(np.arange(samples), np.cumsum(sizes)[:-1])
        source = streams.generator(one.fingerprint, one.replicate, "batches", epoch)
        return np.concatenate([batches[i] for i in source.permutation(len(sizes))])[:minority]
