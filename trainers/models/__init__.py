"""Networks, a file for each. A network declares its parameters and computes K members."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from trainers.blueprint import Blueprint
from trainers.config import TrainConfig
from trainers.fused import Pass


class Network(Protocol):
    """A network, an entry of kind `model`; `width` is the number of its features."""

    width: int

    def __init__(
        self, blueprint: Blueprint, train: TrainConfig, *, inputs: tuple[int, ...], classes: int
    ) -> None: ...

    def features(self, run: Pass, x: Tensor) -> Tensor:
        """The features of a batch: (K, B, width)."""
        ...

    def logits(self, run: Pass, features: Tensor) -> Tensor:
        """(K, B, classes); (K, B, k, classes) of k submodels, which are trained and used together.

        The loss is the mean of the submodels' losses, a prediction the mean of their probabilities.
        """
        ...
