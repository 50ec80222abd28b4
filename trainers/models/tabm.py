"""TabM: k multilayer perceptrons that share their weights, trained and used together.

Source: Gorishniy et al. 2024 (arXiv 2410.24210), with the start values of its package tabm. Each
perceptron, a submodel, scales what enters and what leaves a shared layer. The loss is the mean of
the submodels' losses; a prediction is the mean of their probabilities.

Letters: K members, B samples, k submodels, F numbers of a row, C classes.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from trainers.blueprint import Blueprint
from trainers.config import TrainConfig
from trainers.fused import Pass
from trainers.models.embeddings import NumbersEntrance
from trainers.models.layers import Dropout, ones, uniform

UNITS = 512


class TabM:
    """`depth` hidden layers of `width` times 512 units, without norms.

    Its logits are (K, B, k, C): `trainers.pack` takes the means over submodels.
    """

    default_depth = 3

    def __init__(
        self, blueprint: Blueprint, train: TrainConfig, *, inputs: tuple[int, ...], classes: int
    ) -> None:
        self.submodels = train.parameters("tabm").submodels
        self.entrance = NumbersEntrance(blueprint, train, inputs)
        units = max(1, round(UNITS * train.width))
        depth = train.depth or self.default_depth
        sizes = [self.entrance.width] + [units] * depth
        start = start_scales(self.entrance)
        self.hidden = [
            (
                SharedLinear(
                    blueprint,
                    f"hidden{i}",
                    sizes[i],
                    sizes[i + 1],
                    self.submodels,
                    scales=ones if i else start,
                ),
                Dropout(f"hidden{i}"),
            )
            for i in range(depth)
        ]
        self.units, self.width = units, self.submodels * units
        draw = uniform(units)
        self.head = blueprint.add(
            "head.weight", "free", (self.submodels, units, classes), draw, decays=True
        )
        self.head_bias = blueprint.add("head.bias", "free", (self.submodels, classes), draw)

    def features(self, run: Pass, x: Tensor) -> Tensor:
        """(K, B, F) -> (K, B, k units), the submodels side by side."""
        x = self.entrance(run, x)[:, :, None].expand(-1, -1, self.submodels, -1)
        for linear, dropout in self.hidden:
            x = dropout(run, torch.relu(linear(run, x)))
        return x.flatten(2)

    def logits(self, run: Pass, features: Tensor) -> Tensor:
        """(K, B, k units) -> (K, B, k, C)."""
        x = features.unflatten(2, (self.submodels, -1)).transpose(1, 2)
        return (x @ run.views[self.head]).transpose(1, 2) + run.views[self.head_bias][:, None]


class SharedLinear:
    """A linear layer that the submodels share, (K, B, k, I) -> (K, B, k, O): ((x r) W) s + b."""

    def __init__(
        self, blueprint: Blueprint, name: str, inputs: int, outputs: int, submodels: int, *, scales
    ) -> None:
        draw = uniform(inputs)
        self.weight = blueprint.add(
            f"{name}.weight", "linear", (inputs, outputs), draw, decays=True
        )
        self.entering = blueprint.add(f"{name}.entering", "free", (submodels, inputs), scales)
        self.leaving = blueprint.add(f"{name}.leaving", "free", (submodels, outputs), ones)
        self.bias = blueprint.add(f"{name}.bias", "free", (submodels, outputs), repeated(draw))

    def __call__(self, run: Pass, x: Tensor) -> Tensor:
        entering, leaving, bias = (
            run.views[name][:, None] for name in (self.entering, self.leaving, self.bias)
        )
        shared = run.form.linear((x * entering).flatten(1, 2), run.views[self.weight], None)
        return shared.unflatten(1, x.shape[1:3]) * leaving + bias


def repeated(draw):
    """The same numbers for each submodel, in shape (k, n)."""

    def repeat(source: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return np.tile(draw(source, shape[1:]), (shape[0], 1))

    return repeat


def start_scales(entrance: NumbersEntrance):
    """The first layer's scales of what enters, a number for each submodel and column.

    Random signs, or normal numbers where the columns are embedded.
    """

    def draw(source: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        drawn = source.standard_normal((shape[0], len(entrance.sizes)), dtype=np.float32)
        scales = np.sign(drawn) if entrance.embedding is None else drawn
        return np.repeat(scales, entrance.sizes, axis=1)

    return draw
