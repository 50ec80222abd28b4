"""The head for self-supervised losses: d -> 2d -> 128."""

from __future__ import annotations

import torch
from torch import Tensor

from trainers.blueprint import Blueprint
from trainers.fused import Pass
from trainers.models.layers import Linear, Norm

OUTPUTS = 128


class Projector:
    """Linear, norm, ReLU, linear, on a network's features."""

    def __init__(
        self, blueprint: Blueprint, inputs: int, *, norm: str, name: str = "projector"
    ) -> None:
        self.first = Linear(blueprint, f"{name}.first", inputs, 2 * inputs)
        self.norm = Norm(blueprint, f"{name}.norm", 2 * inputs, kind=norm, evaluated=False)
        self.second = Linear(blueprint, f"{name}.second", 2 * inputs, OUTPUTS)

    def __call__(self, run: Pass, features: Tensor) -> Tensor:
        """(K, n, d) -> (K, n, 128)."""
        return self.second(run, torch.relu(self.norm(run, self.first(run, features))))
