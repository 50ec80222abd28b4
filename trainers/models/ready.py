"""Networks of torchvision and timm by name: `model: torchvision:resnet18`, `model: timm:resnet18`.

They start from drawn weights, and are computed like a module of the user's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from functools import partial
from importlib import import_module
from typing import Any

import torchvision
from torch import Tensor, nn

from trainers.blocks import ConfigError
from trainers.blueprint import Blueprint
from trainers.config import TrainConfig
from trainers.models.module import ModuleNetwork

COLOURS = 3  # channels that torchvision's networks need


class Ready(nn.Module):
    """A classifier, split at its last linear layer into features and head; grey becomes colour."""

    def __init__(self, body: nn.Module, word: str, *, classes: int, colour: bool) -> None:
        super().__init__()
        found = [
            (name, layer)
            for name, layer in body.named_modules()
            if isinstance(layer, nn.Linear) and layer.out_features == classes
        ]
        if not found:
            reason = "does not end in a linear layer, which its head would be; use another"
            raise ConfigError("train.model", word, reason)
        name, self.head = found[-1]
        body.set_submodule(name, nn.Identity())
        self.body, self.colour = body, colour

    def forward_features(self, x: Tensor) -> Tensor:
        return self.body(x.expand(-1, COLOURS, -1, -1) if self.colour else x)

    def forward_head(self, features: Tensor) -> Tensor:
        return self.head(features)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))


def torchvision_network(
    blueprint: Blueprint, train: TrainConfig, *, inputs: tuple[int, ...], classes: int
) -> ModuleNetwork:
    """A network of `torchvision.models`."""

    def factory(inputs: tuple[int, ...], classes: int) -> nn.Module:
        body = torchvision.models.get_model(_name(train.model), weights=None, num_classes=classes)
        return Ready(body, train.model, classes=classes, colour=inputs[0] == 1)

    return ModuleNetwork(blueprint, train, factory, inputs=inputs, classes=classes)


def timm_network(
    blueprint: Blueprint, train: TrainConfig, *, inputs: tuple[int, ...], classes: int
) -> ModuleNetwork:
    """A network of `timm.create_model`, for images of the data's channels and size."""
    timm: Any = import_module("timm")

    def factory(inputs: tuple[int, ...], classes: int) -> nn.Module:
        made = partial(
            timm.create_model, _name(train.model), num_classes=classes, in_chans=inputs[0]
        )
        try:  # networks with positions need the size, others do not take it
            body = made(img_size=inputs[1:])
        except TypeError:
            body = made()
        return Ready(body, train.model, classes=classes, colour=False)

    return ModuleNetwork(blueprint, train, factory, inputs=inputs, classes=classes)


def check_torchvision(word: str) -> None:
    """Checks that torchvision has a network of this name."""
    _check(word, torchvision.models.list_models(module=torchvision.models))


def check_timm(word: str) -> None:
    """Checks that timm has a network of this name."""
    timm: Any = import_module("timm")

    if not timm.is_model(_name(word)):
        _check(word, timm.list_models())


def _name(word: str) -> str:
    return word.partition(":")[2]


def _check(word: str, names: Sequence[str]) -> None:
    if _name(word) in names:
        return
    family = word.partition(":")[0]
    near = get_close_matches(_name(word), names, n=1, cutoff=0.0)[0]
    reason = f"is not a network of {family}; the nearest is '{family}:{near}'; there are "
    raise ConfigError("train.model", word, reason + ", ".join(names))
