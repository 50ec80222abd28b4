"""Networks of others: any `torch.nn.Module` whose output depends on its inputs and parameters.

A plug-in file adds it:

    def small(inputs, classes):
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(math.prod(inputs), classes))

    add(Entry("model", "small", network(small), data=("image",)))

One member is computed by a functional call on the pack's flat parameters, several members by
`torch.func.vmap` over them. A module with running statistics or with dropout is called once for
each member instead.

Letters: K members, B samples, C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from zlib import crc32

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.modules.batchnorm import _BatchNorm

from trainers.blocks import ConfigError
from trainers.blueprint import Blueprint
from trainers.config import TrainConfig
from trainers.fused import Pass

Factory = Callable[[tuple[int, ...], int], nn.Module]
SAMPLES = 2  # of the batch that a module is tried with


def network(factory: Factory) -> Callable[..., ModuleNetwork]:
    """What a catalogue entry of kind `model` needs, from a function that makes a module.

    Args:
        factory: makes a module for inputs of a shape, (C, H, W) or (F,), and a number of classes. A
            module with the methods `forward_features` and `forward_head` (timm's names) can also be
            trained with an SSL loss.
    """

    def make(
        blueprint: Blueprint, train: TrainConfig, *, inputs: tuple[int, ...], classes: int
    ) -> ModuleNetwork:
        return ModuleNetwork(blueprint, train, factory, inputs=inputs, classes=classes)

    return make


class ModuleNetwork:
    """A module as a network of a pack.

    Batch norms keep their running statistics where the trainer keeps its own, so checkpoints,
    clean statistics and averages have them. What a module draws in training (dropout, stochastic
    depth) comes from PyTorch's generator, which each pass seeds with the keys of the member's first
    sample: it is the same after a resume, in any pack and in both passes of SAM. A pass without
    keys, such as an evaluation, draws nothing.

    Raises:
        ConfigError: the module does not compute such inputs, changes a buffer that no checkpoint
            holds, or has no features for an SSL loss.
    """

    def __init__(
        self,
        blueprint: Blueprint,
        train: TrainConfig,
        factory: Factory,
        *,
        inputs: tuple[int, ...],
        classes: int,
    ) -> None:
        self._module = _made(factory, inputs, classes, seed=0)
        self._names = [name for name, _ in self._module.named_parameters()]
        self._norms = _norms(self._module, train)
        self._images = len(inputs) == 3
        self._channels = inputs[0]
        self._split = hasattr(self._module, "forward_features")
        if train.ssl.weight > 0 and not self._split:
            reason = f"needs features, and the module of model {train.model!r} has no method "
            raise ConfigError("train.ssl.weight", train.ssl.weight, f"{reason}forward_features")
        self._random = _tried(self._module, train, inputs, classes)
        blueprint.random |= self._random
        self.width = self._features_width(inputs)
        for name, parameter in self._module.named_parameters():
            blueprint.add(
                f"module.{name}",
                "free",
                tuple(parameter.shape),
                _unused,
                decays=parameter.dim() > 1,
            )
        for name, norm in self._norms.items():
            blueprint.norms[name] = norm.num_features
        self._rows: dict[str, int] = {}
        for name, norm in self._norms.items():
            norm.register_forward_pre_hook(self._counting(name))

        blueprint.head = f"module.{self._names[-1].rpartition('.')[0]}."

        def start(source: np.random.Generator) -> Mapping[str, np.ndarray]:
            fresh = _made(factory, inputs, classes, seed=int(source.integers(2**62)))
            return {f"module.{n}": p.detach().numpy() for n, p in fresh.named_parameters()}

        blueprint.start = start

    def _features_width(self, inputs: tuple[int, ...]) -> int:
        if not self._split:
            return 0
        with torch.no_grad():
            method = _Method(self._module.eval(), "forward_features")
            return int(method(torch.zeros(SAMPLES, *inputs)).flatten(1).shape[1])

    def _counting(self, name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        """A hook that notes how many numbers of a channel a batch norm sees."""

        def hook(norm: nn.Module, args: tuple[Tensor, ...]) -> None:
            self._rows[name] = args[0].numel() // args[0].shape[1]

        return hook

    def features(self, run: Pass, x: Tensor) -> Tensor:
        """The module's features (K, B, width); its inputs, (K, B, ...), if it has no features."""
        x = self._unfolded(x, run.members)
        found = self._call(run, x, "forward_features").flatten(2) if self._split else x
        if run.moments is not None:  # of the norms behind the features
            self.logits(run, found)
        return found

    def logits(self, run: Pass, features: Tensor) -> Tensor:
        """(K, B, classes)."""
        return self._call(run, features, "forward_head" if self._split else "forward")

    def _unfolded(self, x: Tensor, members: int) -> Tensor:
        """(K, B, ...) of the form's layout."""
        if not self._images:
            return x
        return x.unflatten(1, (members, self._channels)).transpose(0, 1).contiguous()

    def _call(self, run: Pass, x: Tensor, method: str) -> Tensor:
        self._module.to(x.device, next(iter(run.views.values())).dtype)  # buffers that are constant
        self._module.train(run.training and (run.masks is not None or not self._random))
        for norm in self._norms.values():
            norm.train(run.training)
        views = {f"module.{name}": run.views[f"module.{name}"] for name in self._names}
        module = _Method(self._module, method)
        if run.members > 1 and not self._norms and not self._random:
            return vmap(lambda own, one: functional_call(module, own, (one,)))(views, x)
        seeds = run.masks.seeds if run.masks and self._random else [None] * run.members
        statistics = {name: self._statistics(run, name) for name in self._norms}
        self._rows.clear()
        parts = []
        for k in range(run.members):
            own = {name: view[k] for name, view in views.items()}
            for name, (mean, var) in statistics.items():
                own |= {f"{name}.running_mean": mean[k], f"{name}.running_var": var[k]}
                own[f"{name}.num_batches_tracked"] = torch.zeros_like(mean[k, 0], dtype=torch.long)
            with self._measuring(run), _seeded(seeds[k], method, x.device):
                parts.append(functional_call(module, own, (x[k],)))
        if run.moments is not None:
            for name, rows in self._rows.items():
                mean, var = statistics[name]
                run.moments[name] = mean.flatten(), var.flatten() * ((rows - 1) / rows)
        return torch.stack(parts)

    def _statistics(self, run: Pass, name: str) -> tuple[Tensor, Tensor]:
        """The mean and variance of a batch norm, (K, C) each, which training passes change.

        A pass that changes no statistics gets some that nobody reads.
        """
        if run.statistics is not None:
            mean, var = run.statistics[name]
            return mean.view(run.members, -1), var.view(run.members, -1)
        like = next(iter(run.views.values()))
        shape = (run.members, self._norms[name].num_features)
        return like.new_zeros(shape), like.new_ones(shape)

    @contextmanager
    def _measuring(self, run: Pass) -> Iterator[None]:
        """A context in which the statistics become the batch's, if moments are asked for."""
        if run.moments is None:
            yield
            return
        before = {name: norm.momentum for name, norm in self._norms.items()}
        for norm in self._norms.values():
            norm.momentum = 1.0
        try:
            yield
        finally:
            for name, norm in self._norms.items():
                norm.momentum = before[name]


class _Method(nn.Module):
    """A module whose forward pass is another method of a module."""

    def __init__(self, module: nn.Module, method: str) -> None:
        super().__init__()
        self.module, self.method = module, method

    def forward(self, x: Tensor) -> Any:
        return getattr(self.module, self.method)(x)


@contextmanager
def _seeded(seed: int | None, method: str, device: torch.device) -> Iterator[None]:
    """A context in which PyTorch's generators start from a seed; afterwards they are as before."""
    if seed is None:
        yield
        return
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed + crc32(method.encode()))
        yield


def _made(factory: Factory, inputs: tuple[int, ...], classes: int, *, seed: int) -> nn.Module:
    """A module drawn from a seed; PyTorch's own state of random numbers is put back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return factory(inputs, classes)


def _norms(module: nn.Module, train: TrainConfig) -> dict[str, _BatchNorm]:
    """The batch norms with running statistics, by name."""
    found: dict[str, _BatchNorm] = {}
    for name, layer in module.named_modules():
        if isinstance(layer, _BatchNorm) and layer.track_running_stats:
            if layer.momentum is None:
                reason = f"averages all batches in its layer {name!r}; give it a momentum, such as "
                raise ConfigError("train.model", train.model, f"{reason}0.1")
            found[f"module.{name}" if name else "module"] = layer
    return found


def _tried(module: nn.Module, train: TrainConfig, inputs: tuple[int, ...], classes: int) -> bool:
    """Whether a training pass draws random numbers.

    Raises:
        ConfigError: the pass fails, returns no logits, or changes buffers that are no batch norm's.
    """
    own = {id(layer) for layer in module.modules() if isinstance(layer, _BatchNorm)}
    buffers = {
        f"{name}.{key}".removeprefix("."): buffer
        for name, layer in module.named_modules()
        if id(layer) not in own
        for key, buffer in layer.named_buffers(recurse=False)
    }
    before = {name: buffer.clone() for name, buffer in buffers.items()}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        x = torch.randn(SAMPLES, *inputs)
        state = torch.random.get_rng_state()
        try:
            out = module.train()(x)
        except (RuntimeError, ValueError, TypeError, AssertionError) as error:
            reason = f"does not compute inputs of shape {inputs}: {error}"
            raise ConfigError("train.model", train.model, reason) from error
        random = not torch.equal(state, torch.random.get_rng_state())
    if not isinstance(out, Tensor) or tuple(out.shape) != (SAMPLES, classes):
        reason = f"does not return logits of shape (samples, {classes}) in training"
        raise ConfigError("train.model", train.model, reason)
    for name, buffer in buffers.items():
        if not torch.equal(buffer, before[name]):
            reason = f"changes its buffer {name!r} in training, which no checkpoint holds: use a "
            reason += "layer without it, such as batch, group or layer norm"
            raise ConfigError("train.model", train.model, reason)
    return random


def _unused(source: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    raise AssertionError("the parameters of a module are drawn together")
