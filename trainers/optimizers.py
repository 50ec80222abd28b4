"""Optimizers on the flat tensor of a pack, and the schedule of the rate.

Letters: K members, P parameters of one member, B samples, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor

from trainers.compiled.layout import CompiledLayout, computes
from trainers.config import TrainConfig
from trainers.hyper import Hyper
from trainers.layout import Layout
from trainers.parameters import Parameters

ADAM_EPSILON = 1e-8


def of_members(values: Sequence[float], layout: Layout, like: Tensor) -> float | Tensor:
    """A number if all members agree, or else each member's number at its positions: (K P,)."""
    if len(set(values)) == 1:
        return values[0]
    return layout.spread(torch.tensor(values, dtype=like.dtype, device=like.device))


def peak_rate(train: TrainConfig) -> float:
    """The peak learning rate, scaled by batch size according to `lr_scaling`."""
    power = {"none": 0.0, "sqrt": 0.5, "linear": 1.0}[train.lr_scaling]
    return train.lr * (train.batch_size / train.lr_batch) ** power


def second_beta(train: TrainConfig) -> float:
    """AdamW's second beta; scaled by `samples` it forgets after the same number of samples.

    beta2^(B / B_0), which holds the half-life of the second moment in samples fixed (Marek et al.
    2025, arXiv 2507.07101).
    """
    if train.beta2_scaling == "none":
        return train.beta2
    return train.beta2 ** (train.batch_size / train.lr_batch)


def schedule(train: TrainConfig, step: int, *, steps: int, epoch_steps: int) -> float:
    """The share of the peak rate at update `step`, counted from 0, of `steps` updates.

    Pretraining and the training after it have a schedule each.
    Linear up to 1 over the warm-up, then a half cosine that would reach 0 at `steps`; or 1, cut by
    `milestone_factor` at each milestone.
    """
    first = pretraining_steps(train, steps)
    step, steps = (step, first) if step < first else (step - first, steps - first)
    warm = min(round(train.warmup_epochs * epoch_steps), steps)
    if step < warm:
        return (step + 1) / warm
    if train.schedule == "constant":
        return 1.0
    if train.schedule == "milestones":
        passed = sum(step >= round(share * steps) for share in train.milestones)
        return train.milestone_factor**passed
    return 0.5 * (1.0 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def pretraining_steps(train: TrainConfig, steps: int) -> int:
    """The updates of a run's `steps` that train on the SSL loss alone."""
    return round(train.ssl.pretraining * steps) if train.ssl.weight > 0 else 0


class Optimizer(Protocol):
    """Changes a pack's parameters by their gradient; an entry of kind `optimizer`.

    Attributes:
        buffers: name -> (K P,), its whole state except the count of updates.
    """

    buffers: dict[str, Tensor]

    def __init__(self, parameters: Parameters, hyper: Hyper) -> None: ...

    def update(self, grad: Tensor, *, step: int, share: float) -> None:
        """Makes an update at `share` of the peak rate; `step` counts from 0; overwrites `grad`."""
        ...


class BodyRate:
    """Slows or freezes all layers but the head: their updates are multiplied by `body_lr`.

    That is a rate of `body_lr` times the head's, for any optimizer; 0 leaves them to the bit.

    Args:
        start: the update at which it begins.
        head: how the names of the last layer's parameters begin.
    """

    def __init__(self, parameters: Parameters, hyper: Hyper, *, start: int, head: str) -> None:
        self._parameters, self._start = parameters, start
        rates = hyper.tensor("body_lr")
        self._factors: Tensor | None = None
        if any(value != 1.0 for value in hyper.values("body_lr")):
            self._factors = parameters.layout.spread(rates)
            for name, block in parameters.layout.split(self._factors).items():
                if name.startswith(head):
                    block.fill_(1.0)

    @contextmanager
    def applied(self, step: int) -> Iterator[None]:
        """A context in which an optimizer makes update `step`."""
        if self._factors is None or step < self._start:
            yield
            return
        data = self._parameters.data
        before = data.clone()
        yield
        torch.lerp(before, data, self._factors, out=data)


class SGD:
    """Stochastic gradient descent with momentum, optionally Nesterov's, as in `torch.optim.SGD`."""

    def __init__(self, parameters: Parameters, hyper: Hyper) -> None:
        layout, data = parameters.layout, parameters.data
        self.parameters = parameters
        self.lr = of_members([peak_rate(t) for t in hyper.trains], layout, data)
        self.momentum = of_members(hyper.values("momentum"), layout, data)
        self.decay = Decay(parameters, hyper)
        self.nesterov = hyper.first.nesterov
        self._numbers = [(peak_rate(t), t.momentum, t.weight_decay) for t in hyper.trains]
        self.buffers = {"momentum": torch.zeros_like(data)}

    def update(self, grad: Tensor, *, step: int, share: float) -> None:
        data, velocity = self.parameters.data, self.buffers["momentum"]
        layout = self.parameters.layout
        if isinstance(layout, CompiledLayout) and computes(data):
            numbers = [(share * rate, beta, decay) for rate, beta, decay in self._numbers]
            blocks = self.decay.blocks
            layout.sgd(data, grad, velocity, numbers, decaying=blocks, nesterov=self.nesterov)
            return
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

    def __init__(self, parameters: Parameters, hyper: Hyper) -> None:
        everything = hyper.first.decay_norm_and_bias
        self.end = parameters.data.numel() if everything else parameters.decaying
        rates = of_members(hyper.values("weight_decay"), parameters.layout, parameters.data)
        self.rates = rates[: self.end] if isinstance(rates, Tensor) else rates
        self.decayed = parameters.data[: self.end]
        self.blocks = sum(p.decays or everything for p in parameters.specs)

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

    def __init__(self, parameters: Parameters, hyper: Hyper) -> None:
        layout, data = parameters.layout, parameters.data
        self.parameters = parameters
        self.lr = of_members([peak_rate(t) for t in hyper.trains], layout, data)
        self._trains = hyper.trains
        self.beta1 = of_members(hyper.values("momentum"), layout, data)
        self.beta2 = of_members([second_beta(t) for t in hyper.trains], layout, data)
        self.decay = Decay(parameters, hyper)
        self.buffers = {"mean": torch.zeros_like(data), "square": torch.zeros_like(data)}

    def update(self, grad: Tensor, *, step: int, share: float) -> None:
        mean, layout = self.buffers["mean"], self.parameters.layout
        if isinstance(layout, CompiledLayout) and computes(grad):
            moments = mean, self.buffers["square"]
            numbers = [_adamw_numbers(train, step, share) for train in self._trains]
            data, blocks = self.parameters.data, self.decay.blocks
            layout.adamw(data, grad, moments, numbers, decaying=blocks)
            return
        self.decay.shrink(self.lr, share)
        mean.lerp_(grad, 1.0 - self.beta1)
        scale = self._second_moment(grad, step).add_(ADAM_EPSILON)
        rate = self.lr / (1.0 - self.beta1 ** (step + 1))
        if isinstance(rate, Tensor):
            self.parameters.data.addcdiv_(mean * rate, scale, value=-share)
        else:
            self.parameters.data.addcdiv_(mean, scale, value=-share * rate)

    def _second_moment(self, grad: Tensor, step: int) -> Tensor:
        """The root of the average square of the gradient, without the bias of its start."""
        square, beta = self.buffers["square"], self.beta2
        if isinstance(beta, Tensor):
            square.mul_(beta).addcmul_(grad, grad * (1.0 - beta))
            return square.sqrt() / (1.0 - beta ** (step + 1)).sqrt()
        square.mul_(beta).addcmul_(grad, grad, value=1.0 - beta)
        return square.sqrt() / math.sqrt(1.0 - beta ** (step + 1))


def _adamw_numbers(train: TrainConfig, step: int, share: float) -> tuple[float, ...]:
    """Rate, 1 - beta1, 1 - beta2, the factor of decay, and what corrects the second moment."""
    rate, beta1, beta2 = share * peak_rate(train), train.momentum, second_beta(train)
    root = 1.0 / math.sqrt(1.0 - beta2 ** (step + 1))
    corrected = rate / (1.0 - beta1 ** (step + 1))
    return corrected, 1.0 - beta1, 1.0 - beta2, 1.0 - rate * train.weight_decay, root
