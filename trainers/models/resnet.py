"""Residual networks for small images, from ResNet-8 on 8x8 to WideResNet-28-10 on 32x32.

Depth 6n+2: basic blocks (He et al. 2016, section 4.2, with option B or A), `width` times 16, 32 and
64 channels, stem included. Depth 6n+4: preactivation blocks behind a stem of 16 channels
(Zagoruyko & Komodakis 2016).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainers.blueprint import Blueprint
from trainers.config import TrainConfig
from trainers.fused import Pass
from trainers.models.layers import Convolution, Dropout, Norm, StochasticDepth, head, norm

CHANNELS = 16
STAGES = (1, 2, 4)


def channels_of(width: float, channels: int = CHANNELS) -> int:
    """Channels of the first stage: `width` times `channels`, rounded, at least 1."""
    return max(1, round(channels * width))


@dataclass(frozen=True)
class Parts:
    """Makes the convolutions and norms that a configuration asks for.

    Without norms convolutions have biases.
    """

    blueprint: Blueprint
    train: TrainConfig

    def convolution(
        self,
        name: str,
        inputs: int,
        outputs: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        last: bool = False,
        bias: bool | None = None,
    ) -> Convolution:
        """Declares a convolution; the `last` one of a branch without norms starts at zero."""
        bare = self.train.norm == "none"
        return Convolution(
            self.blueprint,
            name,
            inputs,
            outputs,
            kernel=kernel,
            stride=stride,
            bias=bare if bias is None else bias,
            # It keeps deep networks trainable (Fixup, 2019).
            gain=0.0 if bare and last else 1.0,
            standardised=self.train.weight_standardisation,
        )

    def norm(self, name: str, channels: int) -> Norm:
        """Declares a norm."""
        return norm(self.blueprint, self.train, name, channels)


class Stem:
    """The first layers: a 3x3 convolution, or 7x7 of stride 2 with a maximum behind it."""

    def __init__(
        self, parts: Parts, inputs: int, channels: int, *, kind: str, normed: bool = True
    ) -> None:
        kernel, stride = (7, 2) if kind == "imagenet" else (3, 1)
        bias = None if normed else False
        self.convolution = parts.convolution(
            "stem", inputs, channels, kernel=kernel, stride=stride, bias=bias
        )
        self.norm = parts.norm("stem.norm", channels) if normed else None
        self.pools = kind == "imagenet"

    def __call__(self, run: Pass, x: Tensor) -> Tensor:
        x = self.convolution(run, x)
        if self.norm:
            x = torch.relu_(self.norm(run, x))
        return run.form.max_pooled(x) if self.pools else x


class ResidualNetwork:
    """The passes of a residual network: stem, blocks, mean over pixels, head."""

    stem: Stem
    blocks: list[Any]
    last_norm: Norm | None = None  # before the mean
    dropout: Dropout
    head: Any

    def features(self, run: Pass, x: Tensor) -> Tensor:
        """Images in the form's layout -> (K, B, width)."""
        x = self.stem(run, x)
        for block in self.blocks:
            x = block(run, x)
        if self.last_norm:
            x = torch.relu_(self.last_norm(run, x))
        return run.form.pooled(x, run.members)

    def logits(self, run: Pass, features: Tensor) -> Tensor:
        """(K, B, width) -> (K, B, classes)."""
        return self.head(run, self.dropout(run, features))


class ResNet(ResidualNetwork):
    """Stem, three stages of n residual blocks, mean over pixels, linear head."""

    default_depth = 8

    def __init__(
        self, blueprint: Blueprint, train: TrainConfig, *, inputs: tuple[int, ...], classes: int
    ) -> None:
        depth, parts = train.depth or self.default_depth, Parts(blueprint, train)
        wide = depth % 6 == 4
        block, first = (PreactivationBlock, CHANNELS) if wide else (BasicBlock, None)
        base = channels_of(train.width)
        channels = first or base
        self.stem = Stem(parts, inputs[0], channels, kind=train.stem or "cifar", normed=not wide)
        self.blocks, number = [], (depth - 2) // 6
        for stage, factor in enumerate(STAGES):
            for index in range(number):
                name, stride = f"stage{stage + 1}.{index}", 2 if stage and not index else 1
                outputs = base * factor
                drop = StochasticDepth(name, len(self.blocks), number * len(STAGES))
                self.blocks.append(block(parts, name, channels, outputs, stride, drop))
                channels = outputs
        self.last_norm = parts.norm("last.norm", channels) if wide else None
        self.width = channels
        self.dropout = Dropout("head")
        self.head = head(blueprint, train, channels, classes)


class Shortcut:
    """Fits a block's input to its output where the shape changes.

    By a projection (option B), or by leaving out pixels and padding channels (option A).
    """

    def __init__(self, parts: Parts, name: str, inputs: int, outputs: int, stride: int) -> None:
        self.stride, self.outputs = stride, outputs
        self.changes = stride > 1 or inputs != outputs
        self.projection = self.norm = None
        if self.changes and parts.train.shortcut == "projection":
            self.projection = parts.convolution(name, inputs, outputs, kernel=1, stride=stride)
            self.norm = parts.norm(f"{name}.norm", outputs)

    def __call__(self, run: Pass, x: Tensor) -> Tensor:
        if self.projection and self.norm:
            return self.norm(run, self.projection(run, x))
        if not self.changes:
            return x
        return run.form.padded(x, members=run.members, stride=self.stride, channels=self.outputs)


class BasicBlock:
    """relu(x' + norm(conv(relu(norm(conv(x)))))), x' fitted where the shape changes."""

    def __init__(
        self,
        parts: Parts,
        name: str,
        inputs: int,
        outputs: int,
        stride: int,
        drop: StochasticDepth,
    ) -> None:
        self.drop = drop
        self.first = parts.convolution(f"{name}.first", inputs, outputs, stride=stride)
        self.first_norm = parts.norm(f"{name}.first.norm", outputs)
        self.second = parts.convolution(f"{name}.second", outputs, outputs, last=True)
        self.second_norm = parts.norm(f"{name}.second.norm", outputs)
        self.shortcut = Shortcut(parts, f"{name}.shortcut", inputs, outputs, stride)

    def __call__(self, run: Pass, x: Tensor) -> Tensor:
        branch = torch.relu_(self.first_norm(run, self.first(run, x)))
        branch = self.drop(run, self.second_norm(run, self.second(run, branch)))
        return torch.relu_(branch.add_(self.shortcut(run, x)))


class PreactivationBlock:
    """x' + conv(relu(norm(conv(relu(norm(x)))))); a projection x' sees relu(norm(x))."""

    def __init__(
        self,
        parts: Parts,
        name: str,
        inputs: int,
        outputs: int,
        stride: int,
        drop: StochasticDepth,
    ) -> None:
        self.drop = drop
        self.first_norm = parts.norm(f"{name}.first.norm", inputs)
        self.first = parts.convolution(f"{name}.first", inputs, outputs, stride=stride)
        self.second_norm = parts.norm(f"{name}.second.norm", outputs)
        self.second = parts.convolution(f"{name}.second", outputs, outputs, last=True)
        self.shortcut = None
        if stride > 1 or inputs != outputs:
            self.shortcut = parts.convolution(
                f"{name}.shortcut", inputs, outputs, kernel=1, stride=stride, bias=False
            )

    def __call__(self, run: Pass, x: Tensor) -> Tensor:
        active = torch.relu(self.first_norm(run, x))
        branch = torch.relu(self.second_norm(run, self.first(run, active)))
        branch = self.drop(run, self.second(run, branch))
        return branch.add_(self.shortcut(run, active) if self.shortcut else x)
