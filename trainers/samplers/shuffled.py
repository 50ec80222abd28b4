"""Every sample once an epoch, in random order."""

from __future__ import annotations

import numpy as np

from trainers import streams
from trainers.samplers import Exposure


class Shuffled:
    """A permutation of the subset; two samples keep their order in every subset that has both."""

    def __init__(self, draw: Exposure) -> None:
        self._draw = draw

    def order(self, epoch: int) -> np.ndarray:
        """Pool indices, (n,)."""
        one = self._draw
        return streams.order(
            one.fingerprint, one.replicate, one.subset, epoch=epoch, samples=len(one.labels)
        )
