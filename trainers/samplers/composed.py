"""Samplers that decide which batches have minority samples, at equal exposure.

Every sample comes as often as in `shuffled`, and in batches of the same sizes. Only the company
differs: it shows whether minority samples have to be in a batch for its gain.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from trainers import streams
from trainers.batches import batch_sizes
from trainers.groups import class_groups
from trainers.samplers import Exposure


class _ByGroup(ABC):
    """The part that these samplers share: which samples are the minority's, and the batches."""

    def __init__(self, draw: Exposure) -> None:
        self._draw = draw
        classes = int(draw.labels.max()) + 1
        counts = np.bincount(draw.labels[draw.subset], minlength=classes).tolist()
        self._minority = np.isin(draw.labels, class_groups(counts)["minority"])
        self._sizes = batch_sizes(len(draw.subset), draw.train.batch_size)

    @abstractmethod
    def order(self, epoch: int) -> np.ndarray:
        """Pool indices, (n,)."""

    def _shuffled(self, subset: np.ndarray, epoch: int) -> np.ndarray:
        one = self._draw
        return streams.order(
            one.fingerprint, one.replicate, subset, epoch=epoch, samples=len(one.labels)
        )

    def _source(self, epoch: int) -> np.random.Generator:
        return streams.generator(self._draw.fingerprint, self._draw.replicate, "batches", epoch)

    def _batches(self) -> list[np.ndarray]:
        """The places of each batch in an epoch."""
        return np.split(np.arange(sum(self._sizes)), np.cumsum(self._sizes)[:-1])


class _Composed(_ByGroup):
    """The shuffled order, with the minority's samples moved to chosen places."""

    def order(self, epoch: int) -> np.ndarray:
        order = self._shuffled(self._draw.subset, epoch)
        few = self._minority[order]
        at = self.minority_places(len(order), int(few.sum()), epoch)
        return merged(order[few], order[~few], at)

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
        del samples
        batches = self._batches()
        drawn = self._source(epoch).permutation(len(batches))
        return np.concatenate([batches[i] for i in drawn])[:minority]


class Guaranteed(_Composed):
    """Each batch has a minority sample; the others are anywhere, as in `shuffled`.

    With fewer minority samples than batches, as many batches as there are samples have one each.
    """

    def minority_places(self, samples: int, minority: int, epoch: int) -> np.ndarray:
        source = self._source(epoch)
        firsts = np.array([source.choice(places) for places in self._batches()])
        given = source.permutation(firsts)[:minority]
        others = source.permutation(np.setdiff1d(np.arange(samples), given))
        return np.concatenate([given, others[: minority - len(given)]])


class Separate(_ByGroup):
    """No batch has both minority and other samples: the minority has whole batches of its own.

    They are drawn for each epoch, and as many over the run as its samples fill: a fraction of a
    batch waits for later epochs, so a minority that is smaller than a batch has one every few
    epochs, with each sample several times. A smaller or larger last batch is never the minority's.
    Each sample comes as often as in `shuffled`, to within one batch of its group.
    """

    def order(self, epoch: int) -> np.ndarray:
        subset, few = self._draw.subset, self._minority[self._draw.subset]
        own, size = int(few.sum()), self._sizes[0]
        before, after = epoch * own // size, (epoch + 1) * own // size
        batches = [places for places in self._batches() if len(places) == size]
        drawn = self._source(epoch).permutation(len(batches))[: after - before]
        at = np.concatenate([np.empty(0, dtype=np.int64), *(batches[i] for i in drawn)])
        others = len(subset) * epoch - size * before
        return merged(
            self._in_turn(subset[few], size * before, len(at)),
            self._in_turn(subset[~few], others, len(subset) - len(at)),
            at,
        )

    def _in_turn(self, own: np.ndarray, start: int, number: int) -> np.ndarray:
        """Samples from `start` on of an endless sequence: a group, shuffled, again and again."""
        turns = range(start // len(own), (start + number - 1) // len(own) + 1)
        sequence = [np.empty(0, dtype=own.dtype), *(self._shuffled(own, turn) for turn in turns)]
        first = start - turns.start * len(own)
        return np.concatenate(sequence)[first : first + number]


def merged(few: np.ndarray, others: np.ndarray, at: np.ndarray) -> np.ndarray:
    """An order with `few` at the places `at`, rising, and the others at the rest."""
    taken = np.zeros(len(few) + len(others), dtype=bool)
    taken[at] = True
    placed = np.empty(len(taken), dtype=others.dtype)
    placed[taken], placed[~taken] = few, others
    return placed
