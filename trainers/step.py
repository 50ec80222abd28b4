"""An update of a pack: optimizers on the flat tensor, the schedule, and the ascent of SAM-A.

Letters: K members, P parameters of one member, B samples, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from trainers.config import TrainConfig
from trainers.fused import Layout, Parameters

BETA2 = 0.999
ADAM_EPSILON = 1e-8
NORM_EPSILON = 1e-12
# The longest ascent of the plain normaliser, in radii.
LONGEST = 5.0


def of_members(values: Sequence[float], layout: Layout, like: Tensor) -> float | Tensor:
    """A number if all members agree, or else each member's number at its positions: (K P,)."""
    if len(set(values)) == 1:
        return values[0]
    return layout.spread(torch.tensor(values, dtype=like.dtype, device=like.device))


def peak_rate(train: TrainConfig) -> float:
    """The peak learning rate, scaled by batch size according to `lr_scaling`."""
    power = {"none": 0.0, "sqrt": 0.5, "linear": 1.0}[train.lr_scaling]
    return train.lr * (train.batch_size / train.lr_batch) ** power


def schedule(train: TrainConfig, step: int, *, steps: int, epoch_steps: int) -> float:
    """The share of the peak rate at update `step`, counted from 0, of `steps` updates.

    Linear up to 1 over the warm-up, then a half cosine that would reach 0 at `steps`.
    """
    warm = min(round(train.warmup_epochs * epoch_steps), steps)
    if step < warm:
        return (step + 1) / warm
    if train.schedule == "constant":
        return 1.0
    return 0.5 * (1.0 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


class Optimizer(Protocol):
    """Changes a pack's parameters by their gradient.

    Attributes:
        buffers: name -> (K P,), its whole state except the count of updates.
    """

    buffers: dict[str, Tensor]

    def update(self, grad: Tensor, *, step: int, share: float) -> None:
        """Makes an update at `share` of the peak rate; `step` counts from 0; overwrites `grad`."""
        ...


class SGD:
    """Stochastic gradient descent with momentum, optionally Nesterov's, as in `torch.optim.SGD`."""

    def __init__(self, parameters: Parameters, trains: Sequence[TrainConfig]) -> None:
        layout, data = parameters.layout, parameters.data
        self.parameters = parameters
        self.lr = of_members([peak_rate(t) for t in trains], layout, data)
        self.momentum = of_members([t.momentum for t in trains], layout, data)
        self.decay = Decay(parameters, trains)
        self.nesterov = trains[0].nesterov
        self.buffers = {"momentum": torch.zeros_like(data)}

    def update(self, grad: Tensor, *, step: int, share: float) -> None:
        data, velocity = self.parameters.data, self.buffers["momentum"]
        self.decay.add_to(grad)
        accumulate(velocity, self.momentum, grad)
        if self.nesterov:
            descend(data, grad, self.lr, share)
            velocity_share = velocity * self.momentum
            descend(data, velocity_share, self.lr, share)
        else:
            descend(data, velocity, self.lr, share)


def accumulate(velocity: Tensor, momentum: float | Tensor, grad: Tensor) -> None:
    """velocity <- momentum velocity + grad."""
    if isinstance(momentum, Tensor):
        torch.addcmul(grad, velocity, momentum, out=velocity)
    else:
        torch.add(grad, velocity, alpha=momentum, out=velocity)


def descend(data: Tensor, direction: Tensor, lr: float | Tensor, share: float) -> None:
    """data <- data - share lr direction."""
    if isinstance(lr, Tensor):
        data.addcmul_(direction, lr, value=-share)
    else:
        data.add_(direction, alpha=-share * lr)


class Decay:
    """Weight decay of all parameters, or of all except norms and biases."""

    def __init__(self, parameters: Parameters, trains: Sequence[TrainConfig]) -> None:
        everything = trains[0].decay_norm_and_bias
        self.end = parameters.data.numel() if everything else parameters.decaying
        rates = of_members([t.weight_decay for t in trains], parameters.layout, parameters.data)
        self.rates = rates[: self.end] if isinstance(rates, Tensor) else rates
        self.decayed = parameters.data[: self.end]

    def add_to(self, grad: Tensor) -> None:
        """grad <- grad + rate data: the gradient of the penalty."""
        if isinstance(self.rates, Tensor):
            grad[: self.end].addcmul_(self.decayed, self.rates)
        elif self.rates:
            grad[: self.end].add_(self.decayed, alpha=self.rates)

    def shrink(self, lr: float | Tensor, share: float) -> None:
        """data <- data (1 - share lr rate): AdamW's decoupled decay."""
        lr = lr[: self.end] if isinstance(lr, Tensor) else lr
        self.decayed.mul_(1.0 - lr * share * self.rates)


class AdamW:
    """AdamW as in `torch.optim.AdamW`: decoupled decay; `momentum` is the first beta."""

    def __init__(self, parameters: Parameters, trains: Sequence[TrainConfig]) -> None:
        layout, data = parameters.layout, parameters.data
        self.parameters = parameters
        self.lr = of_members([peak_rate(t) for t in trains], layout, data)
        self.beta1 = of_members([t.momentum for t in trains], layout, data)
        self.decay = Decay(parameters, trains)
        self.buffers = {"mean": torch.zeros_like(data), "square": torch.zeros_like(data)}

    def update(self, grad: Tensor, *, step: int, share: float) -> None:
        mean, square = self.buffers["mean"], self.buffers["square"]
        self.decay.shrink(self.lr, share)
        mean.lerp_(grad, 1.0 - self.beta1)
        square.mul_(BETA2).addcmul_(grad, grad, value=1.0 - BETA2)
        scale = (square.sqrt() / math.sqrt(1.0 - BETA2 ** (step + 1))).add_(ADAM_EPSILON)
        rate = self.lr / (1.0 - self.beta1 ** (step + 1))
        if isinstance(rate, Tensor):
            self.parameters.data.addcdiv_(mean * rate, scale, value=-share)
        else:
            self.parameters.data.addcdiv_(mean, scale, value=-share * rate)


class Ascent:
    """SAM-A: takes gradients a radius uphill, where uphill favours small classes.

    A sample of class c has weight a_c = (n_max / n_c)^asymmetry in the ascent, and 1 elsewhere.
    With asymmetry 0 this is SAM (Foret et al. 2021), bit for bit.

    `weighted` follows the authors' code: eps = rho g_a / |g_a|, g_a the gradient of the weighted
    mean loss of the batch. `plain` is the literal "larger step": eps = rho g_a / |g|, with a scaled
    to mean 1 over the training samples, and at most 5 rho long.

    Attributes:
        class_weights: (K, C), a of each member's classes.
        two_gradients: whether `plain` needs the unweighted gradient too.
    """

    def __init__(
        self, parameters: Parameters, trains: Sequence[TrainConfig], counts: Sequence[int]
    ) -> None:
        data = parameters.data
        self.parameters = parameters
        self.radius = torch.tensor([t.sam.radius for t in trains], dtype=data.dtype).to(data)
        self.plain = trains[0].sam.normaliser == "plain"
        self.two_gradients = self.plain and any(t.sam.asymmetry for t in trains)
        rows = [class_weights(counts, t.sam.asymmetry, to_mean_one=self.plain) for t in trains]
        self.class_weights = torch.stack(rows).to(data)
        self._home = torch.empty_like(data)

    def mean_loss(self, losses: Tensor, weights: Tensor) -> Tensor:
        """The ascent's loss of each member, from (K, B) losses and sample weights: (K,)."""
        if self.plain:
            return (weights * losses).mean(1)
        return (weights * losses).sum(1) / weights.sum(1)

    def climb(self, tilted: Tensor, unweighted: Tensor | None) -> None:
        """Moves the parameters uphill by g_a, `tilted`, which it overwrites; `unweighted` is g."""
        norms = self.parameters.layout.norms
        length = norms(tilted)
        factors = self.radius / (length + NORM_EPSILON)
        if unweighted is not None:
            literal = self.radius / (norms(unweighted) + NORM_EPSILON)
            factors = torch.minimum(literal, LONGEST * factors)
        self._home.copy_(self.parameters.data)
        self.parameters.data.add_(self.parameters.layout.scale_(tilted, factors))

    def return_home(self) -> None:
        """Restores the parameters, to the bit."""
        self.parameters.data.copy_(self._home)


def class_weights(counts: Sequence[int], asymmetry: float, *, to_mean_one: bool) -> Tensor:
    """(n_max / n_c)^asymmetry, (C,) float64; scaled to mean 1 over the samples if asked."""
    sizes = torch.tensor(counts, dtype=torch.float64)
    weights = (sizes.max() / sizes.clamp(min=1)) ** asymmetry
    return weights * sizes.sum() / (weights * sizes).sum() if to_mean_one else weights


OPTIMIZERS: dict[str, Callable[[Parameters, Sequence[TrainConfig]], Optimizer]] = {
    "sgd": SGD,
    "adamw": AdamW,
}
