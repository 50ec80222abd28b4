"""The settings of a pack's members, as tensors with a number for each member."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from trainers.config import TrainConfig


class Hyper:
    """The settings of K members.

    Members share their pack key, so they differ only in fields marked `PerMember`; `first` has the
    value of every other field.
    """

    def __init__(self, trains: Sequence[TrainConfig], like: Tensor) -> None:
        self.trains, self.like = tuple(trains), like

    @property
    def first(self) -> TrainConfig:
        """The configuration of the first member."""
        return self.trains[0]

    def values(self, path: str) -> list[Any]:
        """Each member's value of a key of `train`, such as `sam.radius` or `focal.gamma`."""
        return [_value(train, path) for train in self.trains]

    def tensor(self, path: str) -> Tensor:
        """Each member's number: (K,)."""
        return torch.tensor(self.values(path), dtype=self.like.dtype).to(self.like)

    def any(self, path: str) -> bool:
        """Whether a member's value is not 0."""
        return any(self.values(path))


def _value(train: TrainConfig, path: str) -> Any:
    first, *rest = path.split(".")
    value = getattr(train, first) if first in TrainConfig.model_fields else train.parameters(first)
    for name in rest:
        value = getattr(value, name)
    return value
