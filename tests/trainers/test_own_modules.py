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
from trainers.loop import PackTrainer
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


class Usual(nn.Module):
    """Batch norm with running statistics, and dropout, as most modules have them."""

    def __init__(self, inputs: tuple[int, ...], classes: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.stem = nn.Conv2d(inputs[0], 6, 3, 2)
        self.norm = nn.BatchNorm2d(6, momentum=0.2)
        self.dropout = nn.Dropout(dropout)
        self.last = nn.Linear(6, 6)
        self.last_norm = nn.BatchNorm1d(6, affine=False)
        self.head = nn.Linear(6, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.stem(x))).mean((2, 3))
        return self.head(self.last_norm(self.last(self.dropout(x))))


def dropping(inputs: tuple[int, ...], classes: int) -> nn.Module:
    return Usual(inputs, classes, dropout=0.5)


def loaded(trainer: PackTrainer, plain: nn.Module) -> nn.Module:
    """The plain module with the parameters of the first member."""
    with torch.no_grad():
        for name, parameter in plain.named_parameters():
            parameter.copy_(parameters_of(trainer, 0)[f"module.{name}"])
    return plain


def test_running_statistics_are_those_of_an_ordinary_loop() -> None:
    """After three updates in float64, and evaluations use them, in a pack of two as well."""
    catalogue.add(Entry("model", "usual", network(Usual), data=("image",)))
    settings: dict[str, Any] = {"model": "usual", "norm_statistics": "running"}
    settings |= {"precision": "float64", "schedule": "constant", "weight_decay": 0.0}
    runs = [config(**settings), config(**settings, sam={"radius": 0.0}, momentum=0.5)]
    trainer = pack(images(channels=3), *runs)
    plain = loaded(trainer, Usual((3, 8, 8), 3).double())
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.05, momentum=0.9)
    for batch in train_steps(trainer, 3):
        optimizer.zero_grad()
        x = batch.x.unflatten(1, (2, 3))[:, 0]
        F.cross_entropy(plain(x), batch.labels[0]).backward()
        optimizer.step()
    for name in ("norm", "last_norm"):
        mean, var = trainer.pack.statistics.views[f"module.{name}"]
        layer = getattr(plain, name)
        assert torch.allclose(mean.view(2, -1)[0], layer.running_mean, rtol=0, atol=1e-12)
        assert torch.allclose(var.view(2, -1)[0], layer.running_var, rtol=0, atol=1e-12)
    x = next(trainer.split_batches("test"))[1].unflatten(1, (2, 3))[:, 0]
    assert torch.allclose(trainer.evaluate()["test"][0], plain.eval()(x), rtol=0, atol=1e-12)


def test_clean_statistics_are_those_of_the_subset() -> None:
    """Mean and variance over the training subset, of every batch norm, as one batch gives them."""
    catalogue.add(Entry("model", "usual", network(dropping), data=("image",)))
    trainer = pack(images(channels=3), config(model="usual", precision="float64"))
    plain = loaded(trainer, Usual((3, 8, 8), 3).double())
    with trainer.evaluated():
        ((samples, x),) = trainer._subset_batches()
        seen: dict[str, Tensor] = {}
        for name in ("norm", "last_norm"):
            hook = lambda layer, args, name=name: seen.update({name: args[0]})  # noqa: E731
            getattr(plain, name).register_forward_pre_hook(hook)
        plain(x)
        for name, values in seen.items():
            rows = values.transpose(0, 1).flatten(1)
            mean, var = trainer.pack.statistics.views[f"module.{name}"]
            assert torch.allclose(mean, rows.mean(1), rtol=0, atol=1e-12)
            assert torch.allclose(var, rows.var(1, correction=0), rtol=0, atol=1e-12)
    assert samples == sum(trainer.counts)


def test_what_a_module_draws_belongs_to_the_run() -> None:
    """Equal alone, packed, after a resume and in both passes of SAM; evaluations draw nothing."""
    catalogue.add(Entry("model", "usual", network(dropping), data=("image",)))
    exact = {"model": "usual", "precision": "float64", "epochs": 3}
    runs = [config(**exact), config(**exact, lr=0.1)]
    together, again = pack(images(channels=3), *runs), pack(images(channels=3), *runs)
    together.train_round()
    tensors, meta = together.state()
    again.load_state({name: one.clone() for name, one in tensors.items()}, meta)
    torch.manual_seed(5)  # the state of the process does not matter, nor is it changed
    before = torch.random.get_rng_state()
    for one, other in zip(together.train_round(), again.train_round(), strict=True):
        assert numbers_of(one).tobytes() == numbers_of(other).tobytes()
    assert torch.equal(before, torch.random.get_rng_state())
    alone = pack(images(channels=3), runs[1], replicates=(1,))
    alone.train_round()
    alone.train_round()
    assert apart(parameters_of(together, 1), parameters_of(alone, 0)) < 1e-10
    assert torch.equal(alone.evaluate()["test"], alone.evaluate()["test"])
    sharp = pack(images(channels=3), config(**exact, sam={"radius": 1e-9}))
    plain = pack(images(channels=3), runs[0])
    for trainer in (sharp, plain):
        train_steps(trainer, 3)
    assert apart(parameters_of(sharp, 0), parameters_of(plain, 0)) < 1e-6
    sure = pack(images(channels=3), config(model="small", precision="float64"))
    assert next(sure.feed.batches(0, 1)).keys is None


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (nn.InstanceNorm2d(3, track_running_stats=True), "changes its buffer '0.running_mean'"),
        (nn.BatchNorm2d(3, momentum=None), "averages all batches in its layer '0'"),
        (nn.Conv2d(4, 3, 1), r"does not compute inputs of shape \(3, 8, 8\): .* channels"),
        (nn.Conv2d(3, 3, 3), r"does not compute inputs of shape"),
    ],
)
def test_what_no_checkpoint_holds_or_cannot_run_is_refused(layer: nn.Module, reason: str) -> None:
    """The layer is named, and what to do."""
    made = network(lambda inputs, classes: nn.Sequential(layer, perceptron(inputs, classes)))
    catalogue.add(Entry("model", "odd", made))
    with pytest.raises(ConfigError, match=reason):
        pack(images(channels=3), config(model="odd"))
