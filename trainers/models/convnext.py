"""ConvNeXt: depthwise convolutions of 7x7 pixels, and two linear layers at each pixel.

Source: Liu et al. 2022 (arXiv 2201.03545), layer by layer as in torchvision; the sizes are those of
ConvNeXt-Atto (timm) at width 1 and depth 12, those of ConvNeXt-Tiny at width 2.4 and depth 18.

Letters: K members, B samples, C channels, H x W pixels.
"""

from __future__ import annotations

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from trainers.blueprint import Blueprint
from trainers.config import TrainConfig
from trainers.fused import Pass
from trainers.models.layers import (
    Convolution,
    Dropout,
    LayerNorm,
    Linear,
    StochasticDepth,
    head,
    normal,
)
from trainers.models.resnet import channels_of

CHANNELS = 40
STAGES = (1, 1, 3, 1)  # their shares of the blocks
DRAW = normal(0.02)
EPSILON = 1e-6  # of layer norms, as published
LAYER_SCALE = 1e-6


class ConvNeXt:
    """A stem of patches, four stages of blocks, mean over pixels, layer norm, linear head."""

    default_depth = 12

    def __init__(
        self, blueprint: Blueprint, train: TrainConfig, *, inputs: tuple[int, ...], classes: int
    ) -> None:
        share, patch = (train.depth or self.default_depth) // 6, train.parameters("convnext").patch
        channels = channels_of(train.width, CHANNELS)
        self.stem = _patches(blueprint, "stem", inputs[0], channels, patch)
        self.stem_norm = LayerNorm(blueprint, "stem.norm", channels, epsilon=EPSILON)
        self.stages: list[tuple[Halving | None, list[ConvNeXtBlock]]] = []
        blocks = share * sum(STAGES)
        for stage, part in enumerate(STAGES):
            name = f"stage{stage + 1}"
            halving = Halving(blueprint, f"{name}.halving", channels) if stage else None
            channels *= 2 if stage else 1
            first = share * sum(STAGES[:stage])
            self.stages.append(
                (
                    halving,
                    [
                        ConvNeXtBlock(
                            blueprint,
                            f"{name}.{index}",
                            channels,
                            StochasticDepth(f"{name}.{index}", first + index, blocks),
                        )
                        for index in range(share * part)
                    ],
                )
            )
        self.width = channels
        self.norm = LayerNorm(blueprint, "last.norm", channels, epsilon=EPSILON)
        self.dropout = Dropout("head")
        self.head = head(blueprint, train, channels, classes)

    def features(self, run: Pass, x: Tensor) -> Tensor:
        """Images in the form's layout -> (K, B, width)."""
        x = _normed(run, self.stem_norm, self.stem(run, x))
        for halving, blocks in self.stages:
            x = halving(run, x) if halving else x
            for block in blocks:
                x = block(run, x)
        return self.norm(run, run.form.pooled(x, run.members))

    def logits(self, run: Pass, features: Tensor) -> Tensor:
        """(K, B, width) -> (K, B, classes)."""
        return self.head(run, self.dropout(run, features))


class Halving:
    """A layer norm and a convolution of 2x2 pixels to twice the channels."""

    def __init__(self, blueprint: Blueprint, name: str, channels: int) -> None:
        self.norm = LayerNorm(blueprint, f"{name}.norm", channels, epsilon=EPSILON)
        self.convolution = _patches(blueprint, name, channels, 2 * channels, 2)

    def __call__(self, run: Pass, x: Tensor) -> Tensor:
        return self.convolution(run, _normed(run, self.norm, x))


class ConvNeXtBlock:
    """x + scale * linear(gelu(linear(norm(depthwise convolution of x))))."""

    def __init__(
        self, blueprint: Blueprint, name: str, channels: int, drop: StochasticDepth
    ) -> None:
        self.drop = drop
        self.convolution = Convolution(
            blueprint,
            f"{name}.convolution",
            channels,
            channels,
            kernel=7,
            groups=channels,
            bias=True,
            draw=DRAW,
        )
        self.norm = LayerNorm(blueprint, f"{name}.norm", channels, epsilon=EPSILON)
        self.first = Linear(blueprint, f"{name}.first", channels, 4 * channels, draw=DRAW)
        self.second = Linear(blueprint, f"{name}.second", 4 * channels, channels, draw=DRAW)
        self.scale = blueprint.add(f"{name}.scale", "free", (channels,), _small)

    def __call__(self, run: Pass, x: Tensor) -> Tensor:
        branch = self.norm(run, run.form.places(self.convolution(run, x), run.members))
        branch = self.second(run, F.gelu(self.first(run, branch)))
        branch = self.drop.places(run, branch * run.views[self.scale][:, None, None])
        return x + run.form.grid(branch, (x.shape[2], x.shape[3]))


def _small(source: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    del source
    return np.full(shape, LAYER_SCALE, dtype=np.float32)


def _patches(blueprint: Blueprint, name: str, inputs: int, outputs: int, side: int) -> Convolution:
    """A convolution of patches beside each other."""
    return Convolution(
        blueprint, name, inputs, outputs, kernel=side, stride=side, bias=True, draw=DRAW
    )


def _normed(run: Pass, norm: LayerNorm, x: Tensor) -> Tensor:
    """A layer norm over the channels of each pixel of images."""
    places = norm(run, run.form.places(x, run.members))
    return run.form.grid(places, (x.shape[2], x.shape[3]))
