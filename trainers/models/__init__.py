"""Networks by name. A network declares its parameters on a blueprint and computes K members."""

from __future__ import annotations

from typing import ClassVar, Literal, Protocol

from torch import Tensor

from trainers.config import TrainConfig
from trainers.fused import Blueprint, Pass
from trainers.models.mlp import MLP
from trainers.models.resnet import ResNet


class Network(Protocol):
    """The interface of a network; `width` is the number of its features."""

    kind: ClassVar[Literal["image", "table"]]
    width: int

    def __init__(
        self, blueprint: Blueprint, train: TrainConfig, *, inputs: tuple[int, ...], classes: int
    ) -> None: ...

    def features(self, run: Pass, x: Tensor) -> Tensor:
        """The features of a batch: (K, B, width)."""
        ...

    def logits(self, run: Pass, features: Tensor) -> Tensor:
        """(K, B, classes)."""
        ...


MODELS: dict[str, type[Network]] = {"resnet": ResNet, "mlp": MLP}
