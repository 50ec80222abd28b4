"""Residual networks of four stages: ResNet-18, 34 and 50, layer by layer those of torchvision."""

from __future__ import annotations

import torch
from torch import Tensor

from trainers.blueprint import Blueprint
from trainers.config import TrainConfig
from trainers.fused import Pass
from trainers.models.layers import Dropout, StochasticDepth, head
from trainers.models.resnet import BasicBlock, Parts, ResidualNetwork, Shortcut, Stem, channels_of

CHANNELS = 64
BLOCKS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3)}
EXPANSION = 4  # of a bottleneck's last convolution


class ImageNetResNet(ResidualNetwork):
    """Stem, stages of `width` times 64, 128, 256 and 512 channels, mean over pixels, head.

    Source: He et al. 2016 (arXiv 1512.03385), table 1; the stride of a bottleneck is in its 3x3
    convolution, as in torchvision.
    """

    def __init__(
        self, blueprint: Blueprint, train: TrainConfig, *, inputs: tuple[int, ...], classes: int
    ) -> None:
        parts, numbers = Parts(blueprint, train), BLOCKS[train.model]
        block, expansion = (Bottleneck, EXPANSION) if train.model == "resnet50" else (BasicBlock, 1)
        base = channels = channels_of(train.width, CHANNELS)
        self.stem = Stem(parts, inputs[0], channels, kind=train.stem or "imagenet")
        self.blocks = []
        for stage, number in enumerate(numbers):
            for index in range(number):
                name, stride = f"stage{stage + 1}.{index}", 2 if stage and not index else 1
                outputs = base * 2**stage * expansion
                drop = StochasticDepth(name, len(self.blocks), sum(numbers))
                self.blocks.append(block(parts, name, channels, outputs, stride, drop))
                channels = outputs
        self.width = channels
        self.dropout = Dropout("head")
        self.head = head(blueprint, train, channels, classes)


class Bottleneck:
    """relu(x' + norm(1x1(relu(norm(3x3(relu(norm(1x1(x)))))))), with a quarter of the channels."""

    def __init__(
        self,
        parts: Parts,
        name: str,
        inputs: int,
        outputs: int,
        stride: int,
        drop: StochasticDepth,
    ) -> None:
        self.drop, inner = drop, outputs // EXPANSION
        self.first = parts.convolution(f"{name}.first", inputs, inner, kernel=1)
        self.first_norm = parts.norm(f"{name}.first.norm", inner)
        self.second = parts.convolution(f"{name}.second", inner, inner, stride=stride)
        self.second_norm = parts.norm(f"{name}.second.norm", inner)
        self.third = parts.convolution(f"{name}.third", inner, outputs, kernel=1, last=True)
        self.third_norm = parts.norm(f"{name}.third.norm", outputs)
        self.shortcut = Shortcut(parts, f"{name}.shortcut", inputs, outputs, stride)

    def __call__(self, run: Pass, x: Tensor) -> Tensor:
        branch = torch.relu_(self.first_norm(run, self.first(run, x)))
        branch = torch.relu_(self.second_norm(run, self.second(run, branch)))
        branch = self.drop(run, self.third_norm(run, self.third(run, branch)))
        return torch.relu_(branch.add_(self.shortcut(run, x)))
