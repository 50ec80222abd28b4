"""Embeddings of a table's numbers: each column becomes a vector before the first layer.

Source: Gorishniy et al. 2022 (arXiv 2203.05556); defaults and start values as in its package
rtdl_num_embeddings.

Letters: K members, B samples, F columns of numbers, D numbers of an embedding, N frequencies or
bins.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from trainers.blueprint import Blueprint
from trainers.config import TrainConfig
from trainers.data.shape import TableShape
from trainers.fused import Pass
from trainers.levers import NumericalEmbedding
from trainers.models.layers import uniform, zeros

Embedding = Callable[[Pass, Tensor], Tensor]
FARTHEST = 3.0  # standard deviations of a frequency at the start


class Columnwise:
    """A vector for each number: w x + b, with the column's own w and b. (K, B, F) -> (K, B, F, D).

    Weights of columns do not decay, as in the paper's code.
    """

    def __init__(self, blueprint: Blueprint, name: str, columns: int, size: int) -> None:
        shape, draw = (columns, size), uniform(size)
        self.weight = blueprint.add(f"{name}.weight", "free", shape, draw)
        self.bias = blueprint.add(f"{name}.bias", "free", shape, draw)

    def __call__(self, run: Pass, x: Tensor) -> Tensor:
        weight, bias = run.views[self.weight][:, None], run.views[self.bias][:, None]
        return x[..., None] * weight + bias


class LinearEmbedding:
    """ReLU of a linear function of each number."""

    def __init__(
        self, blueprint: Blueprint, key: NumericalEmbedding, shape: TableShape, size: int
    ) -> None:
        self.linear = Columnwise(blueprint, "embedding.linear", shape.numbers, size)

    def __call__(self, run: Pass, x: Tensor) -> Tensor:
        return torch.relu(self.linear(run, x))


class Mixed:
    """A linear layer of each column's own, without bias: (K, B, F, N) -> (K, B, F, D)."""

    def __init__(
        self,
        blueprint: Blueprint,
        name: str,
        shape: tuple[int, int, int],
        draw: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray],
    ) -> None:
        self.weight = blueprint.add(name, "free", shape, draw)

    def __call__(self, run: Pass, x: Tensor) -> Tensor:
        return (x.transpose(1, 2) @ run.views[self.weight]).transpose(1, 2)


class PeriodicEmbedding:
    """ReLU of a linear layer over cosine and sine of 2 pi c x, with learned frequencies c (PLR)."""

    def __init__(
        self, blueprint: Blueprint, key: NumericalEmbedding, shape: TableShape, size: int
    ) -> None:
        columns = shape.numbers
        self.frequencies = blueprint.add(
            "embedding.frequencies", "free", (columns, key.frequencies), cut_normal(key.sigma)
        )
        waves = 2 * key.frequencies
        draw, whole = uniform(waves), (columns, waves, size)
        self.linear = Mixed(blueprint, "embedding.linear.weight", whole, draw)
        self.bias = blueprint.add("embedding.linear.bias", "free", (columns, size), draw)

    def __call__(self, run: Pass, x: Tensor) -> Tensor:
        angle = 2.0 * math.pi * x[..., None] * run.views[self.frequencies][:, None]
        waves = torch.cat([angle.cos(), angle.sin()], dim=-1)
        return torch.relu(self.linear(run, waves) + run.views[self.bias][:, None])


class PiecewiseLinearEmbedding:
    """A linear embedding plus a linear layer over the piecewise-linear encoding of each number.

    The second part starts at 0, so training begins with a linear embedding (version B of the
    package, from Gorishniy et al. 2024, arXiv 2410.24210). Bins hold equally many rows of the
    training pool.
    """

    def __init__(
        self, blueprint: Blueprint, key: NumericalEmbedding, shape: TableShape, size: int
    ) -> None:
        columns = shape.numbers
        self.linear = Columnwise(blueprint, "embedding.linear", columns, size)
        self.bins = Mixed(blueprint, "embedding.bins.weight", (columns, key.bins, size), zeros)
        edges = blueprint.constant("embedding.edges", lambda: shape.edges(key.bins))
        self.encoding = torch.from_numpy(encoding_of(edges))

    def __call__(self, run: Pass, x: Tensor) -> Tensor:
        return self.linear(run, x) + self.bins(run, encoded(x, self.encoding.to(x)))


def encoding_of(edges: np.ndarray) -> np.ndarray:
    """The left edge, 1 / width, least and most value of each bin: (4, F, bins).

    Args:
        edges: (F, bins + 1), as `TableShape.edges`; a bin without width is always 0.
    """
    left, width = edges[:, :-1], np.diff(edges, axis=1)
    least, most = np.zeros_like(left), np.ones_like(left)
    least[:, 0] = -np.inf
    most[np.arange(len(edges)), np.maximum((width > 0).sum(axis=1), 1) - 1] = np.inf
    scale = np.divide(1.0, width, out=np.zeros_like(width), where=width > 0)
    return np.stack([left, scale, least, most])


def encoded(x: Tensor, encoding: Tensor) -> Tensor:
    """How far each number is through each bin, in 0..1: (K, B, F) -> (K, B, F, bins).

    The first bin goes on below 0 and the last above 1, so no number is cut off.
    """
    left, scale, least, most = encoding
    return ((x[..., None] - left) * scale).clamp(least, most)


def cut_normal(sigma: float):
    """Normal numbers of this standard deviation, cut off at three of them."""

    def draw(source: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        drawn = source.standard_normal(shape, dtype=np.float32)
        return drawn.clip(-FARTHEST, FARTHEST) * np.float32(sigma)

    return draw


EMBEDDINGS: dict[str, Callable[[Blueprint, NumericalEmbedding, TableShape, int], Embedding]] = {
    "linear": LinearEmbedding,
    "periodic": PeriodicEmbedding,
    "piecewise_linear": PiecewiseLinearEmbedding,
}


class NumbersEntrance:
    """A table's rows with their numbers embedded, (K, B, F) -> (K, B, width); codes stay one-hot.

    Attributes:
        sizes: the numbers that each column becomes.
    """

    def __init__(self, blueprint: Blueprint, train: TrainConfig, inputs: tuple[int, ...]) -> None:
        shape, key = shape_of(inputs), train.numerical_embedding
        self.numbers, self.embedding, size = shape.numbers, None, 1
        if key.kind != "none" and shape.numbers:
            size = key.size
            self.embedding = EMBEDDINGS[key.kind](blueprint, key, shape, size)
        self.sizes = [size] * shape.numbers + list(shape.cardinalities)
        self.width = sum(self.sizes)

    def __call__(self, run: Pass, x: Tensor) -> Tensor:
        if self.embedding is None:
            return x
        numbers, codes = x[..., : self.numbers], x[..., self.numbers :]
        return torch.cat([self.embedding(run, numbers).flatten(2), codes], dim=-1)


def shape_of(inputs: tuple[int, ...]) -> TableShape:
    """The columns of a table; all are numbers unless the inputs say otherwise."""
    return inputs if isinstance(inputs, TableShape) else TableShape.of(inputs[0], ())
