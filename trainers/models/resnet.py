"""Residual networks for small images, from ResNet-8 on 8x8 to WideResNet-28-10 on 32x32.

Depth 6n+2: basic blocks (He et al. 2016, section 4.2, with option B or A), `width` times 16, 32 and
64 channels, stem included. Depth 6n+4: preactivation blocks behind a stem of 16 channels
(Zagoruyko & Komodakis 2016).
"""

from __future__ import annotations

import torch
from torch import Tensor

from trainers.config import TrainConfig
from trainers.fused import Blueprint, Pass
from trainers.models.layers import Convolution, Dropout, Norm, StochasticDepth, head

CHANNELS = 16
STAGES = (1, 2, 4)


def channels_of(width: float) -> int:
    """Channels of the first stage: `width` times 16, rounded, at least 1."""
    return max(1, round(CHANNELS * width))


class ResNet:
    """Stem, three stages of n residual blocks, mean over pixels, linear head."""

    default_depth = 8

    def __init__(
        self, blueprint: Blueprint, train: TrainConfig, *, inputs: tuple[int, ...], classes: int
    ) -> None:
        depth = train.depth or self.default_depth
        wide = depth % 6 == 4
        block, first = (PreactivationBlock, CHANNELS) if wide else (BasicBlock, None)
        base = channels_of(train.width)
        channels = first or base
        self.stem = Convolution(
            blueprint, "stem", inputs[0], channels, bias=train.norm == "none" and not wide
        )
        self.stem_norm = None if wide else Norm(blueprint, "stem.norm", channels, kind=train.norm)
        self.blocks, number = [], (depth - 2) // 6
        for stage, factor in enumerate(STAGES):
            for index in range(number):
                name, stride = f"stage{stage + 1}.{index}", 2 if stage and not index else 1
                outputs = base * factor
                drop = StochasticDepth(name, len(self.blocks), number * len(STAGES))
                self.blocks.append(block(blueprint, name, channels, outputs, stride, drop, train))
                channels = outputs
        self.last_norm = Norm(blueprint, "last.norm", channels, kind=train.norm) if wide else None
        self.width = channels
        self.dropout = Dropout("head")
        self.head = head(blueprint, train, channels, classes)

    def features(self, run: Pass, x: Tensor) -> Tensor:
        """Images in the form's layout -> (K, B, width)."""
        x = self.stem(run, x)
        if self.stem_norm:
            x = torch.relu_(self.stem_norm(run, x))
        for block in self.blocks:
            x = block(run, x)
        if self.last_norm:
            x = torch.relu_(self.last_norm(run, x))
        return run.form.pooled(x, run.members)

    def logits(self, run: Pass, features: Tensor) -> Tensor:
        """(K, B, width) -> (K, B, classes)."""
        return self.head(run, self.dropout(run, features))


class BasicBlock:
    """relu(x' + norm(conv(relu(norm(conv(x)))))), x' fitted where the shape changes.

    Fitted by a projection (option B), or by leaving out pixels and padding channels (option A).
    """

    def __init__(
        self,
        blueprint: Blueprint,
        name: str,
        inputs: int,
        outputs: int,
        stride: int,
        drop: StochasticDepth,
        train: TrainConfig,
    ) -> None:
        self.drop = drop
        norm, bare = train.norm, train.norm == "none"
        self.first = Convolution(
            blueprint, f"{name}.first", inputs, outputs, stride=stride, bias=bare
        )
        self.first_norm = Norm(blueprint, f"{name}.first.norm", outputs, kind=norm)
        # Without norms a branch that starts at zero keeps deep networks trainable (Fixup, 2019).
        self.second = Convolution(
            blueprint, f"{name}.second", outputs, outputs, bias=bare, gain=0.0 if bare else 1.0
        )
        self.second_norm = Norm(blueprint, f"{name}.second.norm", outputs, kind=norm)
        self.shortcut = self.shortcut_norm = None
        changes = stride > 1 or inputs != outputs
        self.padding = (stride, outputs) if changes and train.shortcut == "padding" else None
        if changes and self.padding is None:
            self.shortcut = Convolution(
                blueprint, f"{name}.shortcut", inputs, outputs, kernel=1, stride=stride, bias=bare
            )
            self.shortcut_norm = Norm(blueprint, f"{name}.shortcut.norm", outputs, kind=norm)

    def __call__(self, run: Pass, x: Tensor) -> Tensor:
        branch = torch.relu_(self.first_norm(run, self.first(run, x)))
        branch = self.drop(run, self.second_norm(run, self.second(run, branch)))
        if self.padding:
            stride, channels = self.padding
            x = run.form.padded(x, members=run.members, stride=stride, channels=channels)
        elif self.shortcut and self.shortcut_norm:
            x = self.shortcut_norm(run, self.shortcut(run, x))
        return torch.relu_(branch.add_(x))


class PreactivationBlock:
    """x' + conv(relu(norm(conv(relu(norm(x)))))); a projection x' sees relu(norm(x))."""

    def __init__(
        self,
        blueprint: Blueprint,
        name: str,
        inputs: int,
        outputs: int,
        stride: int,
        drop: StochasticDepth,
        train: TrainConfig,
    ) -> None:
        norm, bare = train.norm, train.norm == "none"
        self.bare, self.drop = bare, drop
        self.first_norm = Norm(blueprint, f"{name}.first.norm", inputs, kind=norm)
        self.first = Convolution(
            blueprint, f"{name}.first", inputs, outputs, stride=stride, bias=bare
        )
        self.second_norm = Norm(blueprint, f"{name}.second.norm", outputs, kind=norm)
        self.second = Convolution(
            blueprint, f"{name}.second", outputs, outputs, bias=bare, gain=0.0 if bare else 1.0
        )
        self.shortcut = None
        if stride > 1 or inputs != outputs:
            self.shortcut = Convolution(
                blueprint, f"{name}.shortcut", inputs, outputs, kernel=1, stride=stride
            )

    def __call__(self, run: Pass, x: Tensor) -> Tensor:
        active = torch.relu(self.first_norm(run, x))
        branch = torch.relu(self.second_norm(run, self.first(run, active)))
        branch = self.drop(run, self.second(run, branch))
        return branch.add_(self.shortcut(run, active) if self.shortcut else x)
