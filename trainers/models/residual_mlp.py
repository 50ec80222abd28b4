"""A residual network for tables.

Source: Gorishniy et al. 2021 (arXiv 2106.11959), section 3.2, "ResNet".
"""

from __future__ import annotations

import torch
from torch import Tensor

from trainers.blueprint import Blueprint
from trainers.config import TrainConfig
from trainers.fused import Pass
from trainers.models.embeddings import NumbersEntrance
from trainers.models.layers import Dropout, Linear, head, norm

UNITS = 128
HIDDEN = 2  # times the units, inside a block


class ResidualMLP:
    """A linear layer, then `depth` blocks of `width` times 128 units, a norm and ReLU."""

    default_depth = 2

    def __init__(
        self, blueprint: Blueprint, train: TrainConfig, *, inputs: tuple[int, ...], classes: int
    ) -> None:
        self.width = max(1, round(UNITS * train.width))
        self.entrance = NumbersEntrance(blueprint, train, inputs)
        self.first = Linear(blueprint, "first", self.entrance.width, self.width)
        self.blocks = [
            ResidualBranch(blueprint, f"block{i}", self.width, train)
            for i in range(train.depth or self.default_depth)
        ]
        self.norm = norm(blueprint, train, "last.norm", self.width)
        self.head = head(blueprint, train, self.width, classes)

    def features(self, run: Pass, x: Tensor) -> Tensor:
        """(K, B, F) -> (K, B, width)."""
        x = self.first(run, self.entrance(run, x))
        for block in self.blocks:
            x = x + block(run, x)
        return torch.relu(self.norm(run, x))

    def logits(self, run: Pass, features: Tensor) -> Tensor:
        """(K, B, width) -> (K, B, classes)."""
        return self.head(run, features)


class ResidualBranch:
    """A residual branch: norm, linear, ReLU, dropout, linear."""

    def __init__(self, blueprint: Blueprint, name: str, units: int, train: TrainConfig) -> None:
        self.norm = norm(blueprint, train, f"{name}.norm", units)
        self.first = Linear(blueprint, f"{name}.first", units, HIDDEN * units)
        self.dropout = Dropout(name)
        self.second = Linear(blueprint, f"{name}.second", HIDDEN * units, units)

    def __call__(self, run: Pass, x: Tensor) -> Tensor:
        hidden = torch.relu(self.first(run, self.norm(run, x)))
        return self.second(run, self.dropout(run, hidden))
