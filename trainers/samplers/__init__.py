"""Samplers: which training samples an epoch has, and in which order; a file for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from trainers.config import TrainConfig


@dataclass(frozen=True)
class Exposure:
    """What a sampler draws from, of one member.

    Attributes:
        fingerprint: of the data; with `replicate` it names the random streams.
        replicate: the member's replicate.
        subset: (n,) pool indices of the training subset, rising.
        labels: (N,) classes of the pool's samples.
        train: the member's configuration.
        epochs: how long the run is.
    """

    fingerprint: str
    replicate: int
    subset: np.ndarray
    labels: np.ndarray
    train: TrainConfig
    epochs: float


class Sampler(Protocol):
    """The order of each epoch, an entry of kind `sampler`."""

    def __init__(self, draw: Exposure) -> None: ...

    def order(self, epoch: int) -> np.ndarray:
        """Pool indices, (n,), as many in every epoch; a sample may come several times or never.

        The order must depend on nothing but `draw` and `epoch`, so that a run can be resumed.
        """
        ...
