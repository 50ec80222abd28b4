"""Networks of the user's own: a `torch.nn.Module` in a pack, against an ordinary training loop."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_packs import (
    apart,
    config,
    images,
    numbers_of,
    pack,
    parameters_of,
    same,
    table,
    train_steps,
)
from torch import Tensor, nn

from trainers import catalogue
from trainers.catalogue import Entry
from trainers.config import ConfigError
from trainers.models.module import network


class Small(nn.Module):
    """A convolution, batch norm of the batch, layer norm, and a head, under timm's names."""

    def __init__(self, inputs: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(inputs[0], 6, 3, 2)
        self.norm = nn.BatchNorm2d(6, track_running_stats=False)
        self.scale = nn.Parameter(torch.ones(6))
        self.last = nn.LayerNorm(6)
        self.head = nn.Linear(6, classes)

    def forward_features(self, x: Tensor) -> Tensor:
        x = F.gelu(self.norm(self.stem(x))).mean((2, 3))
        return self.last(x * self.scale)

    def forward_head(self, features: Tensor) -> Tensor:
        return self.head(features)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))


def perceptron(inputs: tuple[int, ...], classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(math.prod(inputs), 8), nn.Tanh(), nn.Linear(8, classes)
    )


@pytest.fixture(autouse=True)
def own_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three networks that a plug-in would add; afterwards the catalogue is as before."""
    monkeypatch.setattr(catalogue, "_ENTRIES", dict(catalogue._ENTRIES))
    catalogue.add(Entry("model", "small", network(Small), data=("image",)))
    catalogue.add(Entry("model", "perceptron", network(perceptron)))


EXACT: dict[str, Any] = {"model": "small", "precision": "float64"}


def test_updates_are_those_of_an_ordinary_loop() -> None:
    """Five updates of SGD with momentum and decay, in float64."""
    trainer = pack(images(channels=3), config(schedule="constant", **EXACT))
    plain = Small((3, 8, 8), 3).double()
    with torch.no_grad():
        for name, parameter in plain.named_parameters():
            parameter.copy_(parameters_of(trainer, 0)[f"module.{name}"])
    decays = [p for p in plain.parameters() if p.dim() > 1]
    rest = [p for p in plain.parameters() if p.dim() <= 1]
    groups = [{"params": decays, "weight_decay": 5e-4}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=0.05, momentum=0.9)
    for batch in train_steps(trainer, 5):
        optimizer.zero_grad()
        F.cross_entropy(plain(batch.x), batch.labels[0]).backward()
        optimizer.step()
    got = parameters_of(trainer, 0)
    for name, parameter in plain.named_parameters():
        assert torch.allclose(parameter, got[f"module.{name}"], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"sam": {"radius": 0.1, "asymmetry": 1.0}},
        {"ssl": {"weight": 0.5}, "augmentation": "flip_crop+mixup"},
        {"ssl": {"weight": 0.5, "loss": "byol"}, "average": "ema"},
        {"loss": "focal", "class_weights": "sqrt", "optimizer": "adamw"},
    ],
    ids=["plain", "sam", "ssl and mixup", "byol", "focal"],
)
def test_a_pack_of_modules_is_its_members_alone(settings: dict[str, Any]) -> None:
    """Three members at once, by vmap, are three runs by functional calls."""
    runs = [config(**EXACT, **settings, weight_decay=1e-3 * i) for i in range(3)]
    together = pack(images(channels=3), *runs)
    train_steps(together, 3)
    for position, one in enumerate(runs):
        alone = pack(images(channels=3), one, replicates=(position,))
        train_steps(alone, 3)
        assert apart(parameters_of(together, position), parameters_of(alone, 0)) < 1e-8


def test_a_module_without_features_trains_on_tables_and_images() -> None:
    """It needs a forward pass only; evaluation, resume and a member's departure work."""
    for data in (table(), images()):
        runs = [config(model="perceptron"), config(model="perceptron", lr=0.1)]
        whole, again = pack(data, *runs), pack(data, *runs)
        whole.train_round()
        tensors, meta = whole.state()
        again.load_state({name: one.clone() for name, one in tensors.items()}, meta)
        for one, other in zip(whole.train_round(), again.train_round(), strict=True):
            assert numbers_of(one).tobytes() == numbers_of(other).tobytes()
        again.drop(0)
        assert same(parameters_of(again, 0), parameters_of(whole, 1))


def test_start_values_are_the_modules_own_and_belong_to_the_replicate() -> None:
    """Equal in any pack, other in another replicate; a parameter set to 1 starts at 1."""
    data = images(channels=3)
    alone = parameters_of(pack(data, config(**EXACT), replicates=(4,)), 0)
    packed = pack(data, config(**EXACT), config(**EXACT), replicates=(1, 4))
    assert same(alone, parameters_of(packed, 1))
    assert not same(alone, parameters_of(packed, 0))
    assert alone["module.scale"].tolist() == [1.0] * 6
    bound = 1 / math.sqrt(3 * 9)
    weights = alone["module.stem.weight"]
    assert np.abs(weights.numpy()).max() <= bound


def test_an_ssl_loss_needs_features() -> None:
    """A module with a forward pass alone has none to project."""
    with pytest.raises(ConfigError, match="has no method forward_features"):
        pack(images(), config(model="perceptron", ssl={"weight": 0.5}))


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (nn.BatchNorm2d(3), "running statistics in its layer '0'"),
        (nn.Dropout(0.5), "draws random numbers in its layer '0'"),
    ],
)
def test_what_no_checkpoint_or_stream_holds_is_refused(layer: nn.Module, reason: str) -> None:
    """The layer is named, and what to do."""
    made = network(lambda inputs, classes: nn.Sequential(layer, perceptron(inputs, classes)))
    catalogue.add(Entry("model", "odd", made))
    with pytest.raises(ConfigError, match=reason):
        pack(images(channels=3), config(model="odd"))
