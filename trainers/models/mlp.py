"""A multilayer perceptron for tables: hidden layers of linear, norm and ReLU, and a linear head."""

from __future__ import annotations

import torch
from torch import Tensor

from trainers.blueprint import Blueprint
from trainers.config import TrainConfig
from trainers.fused import Pass
from trainers.models.embeddings import NumbersEntrance
from trainers.models.layers import Dropout, Linear, head, norm

UNITS = 128


class MLP:
    """`depth` hidden layers of `width` times 128 units over numbers and one-hot codes."""

    default_depth = 2

    def __init__(
        self, blueprint: Blueprint, train: TrainConfig, *, inputs: tuple[int, ...], classes: int
    ) -> None:
        self.width = max(1, round(UNITS * train.width))
        self.entrance = NumbersEntrance(blueprint, train, inputs)
        sizes = [self.entrance.width] + [self.width] * (train.depth or self.default_depth)
        self.hidden = [
            (
                Linear(blueprint, f"hidden{i}", sizes[i], sizes[i + 1]),
                norm(blueprint, train, f"hidden{i}.norm", sizes[i + 1]),
                Dropout(f"hidden{i}"),
            )
            for i in range(len(sizes) - 1)
        ]
        self.head = head(blueprint, train, self.width, classes)

    def features(self, run: Pass, x: Tensor) -> Tensor:
        """(K, B, F) -> (K, B, width)."""
        x = self.entrance(run, x)
        for linear, normed, dropout in self.hidden:
            x = dropout(run, torch.relu(normed(run, linear(run, x))))
        return x

    def logits(self, run: Pass, features: Tensor) -> Tensor:
        """(K, B, width) -> (K, B, classes)."""
        return self.head(run, features)
