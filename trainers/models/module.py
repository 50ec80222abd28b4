"""The user's own network: any `torch.nn.Module` whose output depends on its inputs and parameters.

A plug-in file adds it:

    def small(inputs, classes):
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(math.prod(inputs), classes))

    add(Entry("model", "small", network(small), data=("image",)))

One member is computed by a functional call on the pack's flat parameters, several members by
`torch.func.vmap` over them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from trainers.blocks import ConfigError
from trainers.config import TrainConfig
from trainers.fused import Blueprint, Pass

Factory = Callable[[tuple[int, ...], int], nn.Module]
RANDOM = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.RReLU)


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

    Raises:
        ConfigError: the module has running statistics or layers that draw random numbers, which no
            checkpoint and no stream holds; or an SSL loss needs features that it does not have.
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
        _refuse_state(self._module, train)
        self._names = [name for name, _ in self._module.named_parameters()]
        self._images = len(inputs) == 3
        self._channels = inputs[0]
        self._split = hasattr(self._module, "forward_features")
        if train.ssl.weight > 0 and not self._split:
            reason = f"needs features, and the module of model {train.model!r} has no method "
            raise ConfigError("train.ssl.weight", train.ssl.weight, f"{reason}forward_features")
        self.width = self._features_width(inputs)
        for name, parameter in self._module.named_parameters():
            blueprint.add(
                f"module.{name}",
                "free",
                tuple(parameter.shape),
                _unused,
                decays=parameter.dim() > 1,
            )

        def start(source: np.random.Generator) -> Mapping[str, np.ndarray]:
            fresh = _made(factory, inputs, classes, seed=int(source.integers(2**62)))
            return {f"module.{n}": p.detach().numpy() for n, p in fresh.named_parameters()}

        blueprint.start = start

    def _features_width(self, inputs: tuple[int, ...]) -> int:
        if not self._split:
            return 0
        with torch.no_grad():
            features = _Method(self._module, "forward_features")(torch.zeros(2, *inputs))
        return int(features.flatten(1).shape[1])

    def features(self, run: Pass, x: Tensor) -> Tensor:
        """The module's features (K, B, width); its inputs, (K, B, ...), if it has no features."""
        x = self._unfolded(x, run.members)
        return self._call(run, x, "forward_features").flatten(2) if self._split else x

    def logits(self, run: Pass, features: Tensor) -> Tensor:
        """(K, B, classes)."""
        return self._call(run, features, "forward_head" if self._split else "forward")

    def _unfolded(self, x: Tensor, members: int) -> Tensor:
        """(K, B, ...) of the form's layout."""
        if not self._images:
            return x
        return x.unflatten(1, (members, self._channels)).transpose(0, 1).contiguous()

    def _call(self, run: Pass, x: Tensor, method: str) -> Tensor:
        views = {name: run.views[f"module.{name}"] for name in self._names}
        module = _Method(self._module, method)
        if run.members == 1:
            own = {f"module.{name}": view[0] for name, view in views.items()}
            return functional_call(module, own, (x[0],)).unsqueeze(0)
        stacked = {f"module.{name}": view for name, view in views.items()}
        return vmap(lambda own, one: functional_call(module, own, (one,)))(stacked, x)


class _Method(nn.Module):
    """A module whose forward pass is another method of a module."""

    def __init__(self, module: nn.Module, method: str) -> None:
        super().__init__()
        self.module, self.method = module, method

    def forward(self, x: Tensor) -> Any:
        return getattr(self.module, self.method)(x)


def _made(factory: Factory, inputs: tuple[int, ...], classes: int, *, seed: int) -> nn.Module:
    """A module drawn from a seed; PyTorch's own state of random numbers is put back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return factory(inputs, classes)


def _refuse_state(module: nn.Module, train: TrainConfig) -> None:
    for name, layer in module.named_modules():
        if getattr(layer, "track_running_stats", False):
            reason = f"has running statistics in its layer {name!r}, which no checkpoint holds; "
            reason += "set track_running_stats=False, or use group or layer norm"
            raise ConfigError("train.model", train.model, reason)
        if isinstance(layer, RANDOM) and getattr(layer, "p", 1.0) > 0:
            reason = f"draws random numbers in its layer {name!r}, which no stream of the run names"
            raise ConfigError("train.model", train.model, f"{reason}; set p=0")


def _unused(source: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    raise AssertionError("the parameters of a module are drawn together")
