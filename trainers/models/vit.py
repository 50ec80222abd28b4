"""A vision transformer: patches as places, a class token, and blocks of attention.

Source: Dosovitskiy et al. 2021 (arXiv 2010.11929), layer by layer as in torchvision; width 1, depth
12 and 3 heads are DeiT-Tiny (Touvron et al. 2021).

Letters: K members, B samples, T places, F features.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from trainers.blueprint import Blueprint
from trainers.config import TrainConfig
from trainers.fused import Pass
from trainers.models.layers import (
    Attention,
    Convolution,
    Dropout,
    LayerNorm,
    Linear,
    StochasticDepth,
    head,
    normal,
)

FEATURES = 192
DRAW = normal(0.02)
EPSILON = 1e-6  # of layer norms, as published


class ViT:
    """Patches, class token and positions, blocks, layer norm, linear head on the class token."""

    default_depth = 12

    def __init__(
        self, blueprint: Blueprint, train: TrainConfig, *, inputs: tuple[int, ...], classes: int
    ) -> None:
        own, depth = train.parameters("vit"), train.depth or self.default_depth
        self.width = own.heads * max(1, round(FEATURES * train.width / own.heads))
        self.patches = Convolution(
            blueprint,
            "patches",
            inputs[0],
            self.width,
            kernel=own.patch,
            stride=own.patch,
            bias=True,
            draw=DRAW,
        )
        places = 1 + (inputs[1] // own.patch) * (inputs[2] // own.patch)
        self.token = blueprint.add("token", "free", (1, self.width), DRAW)
        self.positions = blueprint.add("positions", "free", (places, self.width), DRAW)
        self.blocks = [
            Transformer(
                blueprint,
                f"block{i}",
                self.width,
                own.heads,
                [StochasticDepth(f"block{i}.{part}", i, depth) for part in ("first", "second")],
            )
            for i in range(depth)
        ]
        self.norm = LayerNorm(blueprint, "last.norm", self.width, epsilon=EPSILON)
        self.dropout = Dropout("head")
        self.head = head(blueprint, train, self.width, classes)

    def features(self, run: Pass, x: Tensor) -> Tensor:
        """Images in the form's layout -> the class token's features, (K, B, width)."""
        x = run.form.places(self.patches(run, x), run.members)
        token = run.views[self.token][:, None].to(x.dtype).expand(-1, x.shape[1], -1, -1)
        x = torch.cat([token, x], dim=2) + run.views[self.positions][:, None]
        for block in self.blocks:
            x = block(run, x)
        return self.norm(run, x[:, :, 0])

    def logits(self, run: Pass, features: Tensor) -> Tensor:
        """(K, B, width) -> (K, B, classes)."""
        return self.head(run, self.dropout(run, features))


class Transformer:
    """x + attention(norm(x)), then x + linear(gelu(linear(norm(x)))), of places (K, B, T, F)."""

    def __init__(
        self,
        blueprint: Blueprint,
        name: str,
        features: int,
        heads: int,
        drops: Sequence[StochasticDepth],
    ) -> None:
        self.first_drop, self.second_drop = drops
        self.first_norm = LayerNorm(blueprint, f"{name}.first.norm", features, epsilon=EPSILON)
        self.attention = Attention(blueprint, f"{name}.attention", features, heads, draw=DRAW)
        self.second_norm = LayerNorm(blueprint, f"{name}.second.norm", features, epsilon=EPSILON)
        self.first = Linear(blueprint, f"{name}.first", features, 4 * features, draw=DRAW)
        self.second = Linear(blueprint, f"{name}.second", 4 * features, features, draw=DRAW)

    def __call__(self, run: Pass, x: Tensor) -> Tensor:
        x = x + self.first_drop.places(run, self.attention(run, self.first_norm(run, x)))
        inner = F.gelu(self.first(run, self.second_norm(run, x)))
        return x + self.second_drop.places(run, self.second(run, inner))
