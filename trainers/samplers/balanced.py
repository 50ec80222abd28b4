"""Samplers that give small classes more places in an epoch than they have samples."""

from __future__ import annotations

import numpy as np

from trainers import streams
from trainers.samplers import Exposure


class Balanced:
    """An epoch of n places that classes share by `power`: n_c^power, in random order.

    0 gives each class an equal number of places, 1 its own number of samples. A class's samples
    take its places in turn, in an order drawn for each epoch, so that no sample comes twice before
    all have come once. (Drawing with replacement would leave out a third of a class by chance.)

    Source: Kang et al. 2020 (arXiv 1910.09217), equation 1.
    """

    power = 0.0

    def __init__(self, draw: Exposure) -> None:
        self._draw = draw
        labels = draw.labels[draw.subset]
        self._members = [draw.subset[labels == label] for label in np.unique(labels)]
        self._sizes = np.array([len(own) for own in self._members], dtype=np.float64)

    def order(self, epoch: int) -> np.ndarray:
        """Pool indices, (n,)."""
        one = self._draw
        keys = streams.generator(one.fingerprint, one.replicate, "order", epoch).random(
            (2, len(one.labels))
        )
        quotas = places(self.shares(epoch), len(one.subset))
        chosen = np.concatenate([
            np.resize(own[np.argsort(keys[0][own], kind="stable")], quota)
            for own, quota in zip(self._members, quotas, strict=True)
        ])  # fmt: skip
        mixing = streams.generator(one.fingerprint, one.replicate, "places", epoch)
        return chosen[np.argsort(mixing.random(len(chosen)), kind="stable")]

    def shares(self, epoch: int) -> np.ndarray:
        """Each class's share of the epoch's places; they sum to 1."""
        del epoch
        weights = self._sizes**self.power
        return weights / weights.sum()


class SquareRoot(Balanced):
    """Places by the square root of the number of samples (Mahajan et al. 2018)."""

    power = 0.5


class Progressive(Balanced):
    """From the samples' own shares in the first epoch to equal shares in the last.

    p_c = (1 - t/T) n_c/N + t/T 1/C.

    Source: Kang et al. 2020 (arXiv 1910.09217), equation 2.
    """

    def shares(self, epoch: int) -> np.ndarray:
        own, equal = self._sizes / self._sizes.sum(), 1.0 / len(self._sizes)
        progress = min(1.0, epoch / max(1.0, self._draw.epochs - 1.0))
        return (1.0 - progress) * own + progress * equal


def places(shares: np.ndarray, total: int) -> np.ndarray:
    """Whole numbers near `shares` times `total` that sum to it: largest remainders first."""
    exact = shares * total
    found = np.floor(exact).astype(np.int64)
    missing = total - int(found.sum())
    found[np.argsort(found - exact, kind="stable")[:missing]] += 1
    return found
