"""Layers of a pack: each declares its parameters once and computes K members at a time.

Letters: K members, B samples, C channels, I inputs, O outputs, T tokens of D numbers. `x` is in the
form's layout.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from trainers.blueprint import Blueprint, Draw
from trainers.config import TrainConfig
from trainers.fused import EPSILON, Moments, Pass

# Most groups of a group norm, and fewest channels of a group: normalising two values leaves only
# their signs.
MOST_GROUPS = 8
FEWEST_CHANNELS = 4


class Convolution:
    """A square convolution without bias, or with a bias if no norm follows."""

    def __init__(
        self,
        blueprint: Blueprint,
        name: str,
        inputs: int,
        outputs: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        bias: bool = False,
        gain: float = 1.0,
        standardised: bool = False,
        groups: int = 1,
        draw: Draw | None = None,
    ) -> None:
        shape = (outputs, kernel, kernel, inputs // groups)
        draw = draw or he_normal(kernel * kernel * inputs // groups, gain)
        self.weight = blueprint.add(f"{name}.weight", "convolution", shape, draw, decays=True)
        self.bias = blueprint.add(f"{name}.bias", "channels", (outputs,), zeros) if bias else None
        self.stride, self.standardised, self.groups = stride, standardised, groups

    def __call__(self, run: Pass, x: Tensor) -> Tensor:
        return run.form.convolution(
            x,
            run.views[self.weight],
            run.views[self.bias] if self.bias else None,
            members=run.members,
            stride=self.stride,
            groups=self.groups,
            standardised=self.standardised,
        )


class Linear:
    """(K, ..., I) -> (K, ..., O), with bias."""

    def __init__(
        self,
        blueprint: Blueprint,
        name: str,
        inputs: int,
        outputs: int,
        *,
        draw: Draw | None = None,
    ) -> None:
        draw = draw or uniform(inputs)
        self.weight = blueprint.add(
            f"{name}.weight", "linear", (inputs, outputs), draw, decays=True
        )
        self.bias = blueprint.add(f"{name}.bias", "bias", (outputs,), zeros)

    def __call__(self, run: Pass, x: Tensor) -> Tensor:
        weight, bias = run.views[self.weight], run.views[self.bias]
        return by_row(lambda rows: run.form.linear(rows, weight, bias), x)


def by_row(layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Applies a layer of rows (K, N, F) to (K, ..., F)."""
    if x.dim() == 3:
        return layer(x)
    return layer(x.flatten(1, -2)).unflatten(1, x.shape[1:-1])


class Cosine:
    """(K, B, I) -> (K, B, O): `scale` times the cosine between features and each class's weights.

    Source: the classifier of Cao et al. 2019 (arXiv 1906.07413).
    """

    def __init__(
        self, blueprint: Blueprint, name: str, inputs: int, outputs: int, *, scale: float
    ) -> None:
        draw = uniform(inputs)
        self.weight = blueprint.add(
            f"{name}.weight", "linear", (inputs, outputs), draw, decays=True
        )
        self.scale = scale

    def __call__(self, run: Pass, x: Tensor) -> Tensor:
        weight = F.normalize(run.views[self.weight], dim=-2)
        x = F.normalize(x, dim=-1)
        return run.form.linear(x, weight, None) * self.scale


def head(
    blueprint: Blueprint, train: TrainConfig, inputs: int, classes: int
) -> Callable[[Pass, Tensor], Tensor]:
    """The last layer that a configuration asks for, named `head`."""
    if train.head == "cosine":
        return Cosine(blueprint, "head", inputs, classes, scale=train.head_scale)
    return Linear(blueprint, "head", inputs, classes)


class Norm:
    """Batch norm, group norm, layer norm (of one group), or none, over C channels.

    A batch norm that is not `evaluated` has no statistics. `ghost` is the number of samples of its
    virtual batches, 0 for whole ones.
    """

    def __init__(
        self,
        blueprint: Blueprint,
        name: str,
        channels: int,
        *,
        kind: str,
        evaluated: bool = True,
        ghost: int = 0,
    ) -> None:
        self.kind, self.name, self.evaluated, self.ghost = kind, name, evaluated, ghost
        self.groups = 1 if kind == "layer" else groups_of(channels)
        if kind == "none":
            return
        self.weight = blueprint.add(f"{name}.weight", "channels", (channels,), ones)
        self.bias = blueprint.add(f"{name}.bias", "channels", (channels,), zeros)
        if kind == "batch" and evaluated:
            blueprint.norms[name] = channels

    def __call__(self, run: Pass, x: Tensor) -> Tensor:
        if self.kind == "none":
            return x
        weight, bias = run.views[self.weight], run.views[self.bias]
        if self.kind == "batch":
            return self._batch(run, x, weight, bias)
        return run.form.group_norm(x, weight, bias, members=run.members, groups=self.groups)

    def _batch(self, run: Pass, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        if run.moments is not None and self.evaluated:
            return self._measured(run, run.moments, x, weight, bias)
        statistics = run.statistics[self.name] if run.statistics and self.evaluated else None
        return run.form.batch_norm(
            x, weight, bias, training=run.training, statistics=statistics, ghost=self.ghost
        )

    def _measured(
        self, run: Pass, moments: Moments, x: Tensor, weight: Tensor, bias: Tensor
    ) -> Tensor:
        # With momentum 1 the statistics become the batch's; another pass over x would double the
        # cost.
        mean, var = torch.zeros_like(weight), torch.zeros_like(weight)
        out = run.form.batch_norm(
            x, weight, bias, training=True, statistics=(mean, var), momentum=1.0
        )
        samples = x.numel() // weight.numel()
        moments[self.name] = mean, var * ((samples - 1) / samples)
        return out


class LayerNorm:
    """Layer norm of each sample or token, (K, ..., F) (Ba et al. 2016)."""

    def __init__(
        self, blueprint: Blueprint, name: str, size: int, *, epsilon: float = EPSILON
    ) -> None:
        self.weight = blueprint.add(f"{name}.weight", "bias", (size,), ones)
        self.bias = blueprint.add(f"{name}.bias", "bias", (size,), zeros)
        self.epsilon = epsilon

    def __call__(self, run: Pass, x: Tensor) -> Tensor:
        weight, bias = run.views[self.weight], run.views[self.bias]
        return by_row(lambda rows: run.form.layer_norm(rows, weight, bias, self.epsilon), x)


class Attention:
    """Multi-head self-attention over tokens, (K, B, T, D) -> (K, B, T, D) (Vaswani et al. 2017)."""

    def __init__(
        self, blueprint: Blueprint, name: str, size: int, heads: int, *, draw: Draw | None = None
    ) -> None:
        self.entering = Linear(blueprint, f"{name}.qkv", size, 3 * size, draw=draw)
        self.leaving = Linear(blueprint, f"{name}.out", size, size, draw=draw)
        self.heads = heads

    def __call__(self, run: Pass, x: Tensor, *, tokens: int | None = None) -> Tensor:
        """Attends from each token to all of them; from the first `tokens` only, where it is set."""
        entered = self.entering(run, x)
        return self.leaving(run, run.form.attention(entered, heads=self.heads, tokens=tokens))


class Dropout:
    """Dropout of features (K, B, ...), at each member's rate (Srivastava et al. 2014)."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, run: Pass, x: Tensor) -> Tensor:
        return x if run.masks is None else run.masks.dropped(self.name, x)


class StochasticDepth:
    """Leaves out a residual block's branch, for each sample by itself (Huang et al. 2016).

    Block i of n has i / (n - 1) of the rate, as in timm, and what is kept is scaled up.
    """

    def __init__(self, name: str, index: int, blocks: int) -> None:
        self.name, self.share = name, index / max(1, blocks - 1)

    def __call__(self, run: Pass, branch: Tensor) -> Tensor:
        factors = self._factors(run)
        return branch if factors is None else run.form.weighed(branch, factors, run.members)

    def places(self, run: Pass, branch: Tensor) -> Tensor:
        """The same for the places of samples, (K, B, T, F)."""
        factors = self._factors(run)
        return branch if factors is None else branch * factors[..., None, None].to(branch.dtype)

    def _factors(self, run: Pass) -> Tensor | None:
        return run.masks.branch(self.name, self.share) if run.masks and self.share else None


def norm(blueprint: Blueprint, train: TrainConfig, name: str, channels: int) -> Norm:
    """The norm that a configuration asks for."""
    return Norm(blueprint, name, channels, kind=train.norm, ghost=train.ghost_batch)


def groups_of(channels: int) -> int:
    """The largest number of equal groups for a group norm: 8 of 64 channels, 4 of 16."""
    most = max(1, min(MOST_GROUPS, channels // FEWEST_CHANNELS))
    return max(groups for groups in range(1, most + 1) if channels % groups == 0)


def he_normal(fan_in: int, gain: float = 1.0):
    """Normal numbers of variance gain^2 2 / fan_in (He et al. 2015)."""
    scale = np.float32(gain * math.sqrt(2.0 / fan_in))
    return lambda source, shape: source.standard_normal(shape, dtype=np.float32) * scale


def normal(deviation: float):
    """Normal numbers of a standard deviation."""
    scale = np.float32(deviation)
    return lambda source, shape: source.standard_normal(shape, dtype=np.float32) * scale


def uniform(fan_in: int):
    """Uniform numbers within 1 / sqrt(fan_in), PyTorch's default of linear layers."""
    bound = np.float32(1.0 / math.sqrt(fan_in))
    return lambda source, shape: (source.random(shape, dtype=np.float32) * 2 - 1) * bound


def zeros(source: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Returns zeros; draws nothing."""
    return np.zeros(shape, dtype=np.float32)


def ones(source: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Returns ones; draws nothing."""
    return np.ones(shape, dtype=np.float32)
