"""Optimizers on the flat tensor against torch.optim, and the schedule against its formula."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from small_packs import config, images, pack, parameters_of
from torch import Tensor

from trainers.config import TrainConfig
from trainers.optimizers import peak_rate, schedule

OPTIMIZERS = [
    pytest.param({}, id="sgd"),
    pytest.param({"nesterov": True}, id="nesterov"),
    pytest.param({"momentum": 0.0}, id="no momentum"),
    pytest.param({"optimizer": "adamw", "lr": 0.01, "weight_decay": 0.1}, id="adamw"),
    pytest.param({"decay_norm_and_bias": True, "weight_decay": 0.1}, id="decay all"),
    pytest.param({"weight_decay": 0.0}, id="no decay"),
]


def torch_optimizer(train: TrainConfig, parameters: dict[str, Tensor]) -> torch.optim.Optimizer:
    """What anybody would write: norms and biases in a group of their own, without decay."""
    decayed = [p for p in parameters.values() if p.dim() > 1]
    rest = [p for p in parameters.values() if p.dim() == 1]
    apart = train.weight_decay if train.decay_norm_and_bias else 0.0
    groups = [
        {"params": decayed, "weight_decay": train.weight_decay},
        {"params": rest, "weight_decay": apart},
    ]
    if train.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=train.lr, betas=(train.momentum, 0.999))
    return torch.optim.SGD(groups, lr=train.lr, momentum=train.momentum, nesterov=train.nesterov)


@pytest.mark.parametrize("settings", OPTIMIZERS)
@pytest.mark.parametrize("members", [1, 3])
def test_updates_are_those_of_torch(settings: dict[str, Any], members: int) -> None:
    """Four updates with given gradients end where torch.optim's do, in every member.

    With three members they differ in rate, momentum and decay, so that the vectors are tried too.
    """
    base = config(precision="float64", **settings).train
    configs = [config(precision="float64", **settings | vary(base, k)) for k in range(members)]
    trainer = pack(images(), *configs)
    ours = trainer.pack.parameters
    copies = [
        {n: p.requires_grad_() for n, p in parameters_of(trainer, k).items()}
        for k in range(members)
    ]
    oracles = [torch_optimizer(c.train, p) for c, p in zip(configs, copies, strict=True)]
    source = torch.Generator().manual_seed(0)
    for step in range(4):
        grad = torch.randn(ours.flat.shape, generator=source, dtype=torch.float64)
        blocks = ours.layout.split(grad)
        for k in range(members):
            for name, parameter in copies[k].items():
                parameter.grad = blocks[name][k].view(parameter.shape).clone()
            oracles[k].step()
        trainer.optimizer.update(grad, step=step, share=1.0)
    for k in range(members):
        for name, value in parameters_of(trainer, k).items():
            assert torch.allclose(value, copies[k][name], rtol=1e-12, atol=1e-13)


def vary(train: TrainConfig, k: int) -> dict[str, float]:
    """Member k's own rate, momentum and decay; member 0 keeps the base's."""
    return {
        "lr": train.lr * (1 + k),
        "momentum": train.momentum / (1 + k) if not train.nesterov or k == 0 else 0.5,
        "weight_decay": train.weight_decay * (1 + 2 * k),
    }


def test_a_share_of_the_rate_scales_the_update() -> None:
    """The schedule's share multiplies the learning rate and nothing else."""
    trainer = pack(images(), config(precision="float64", weight_decay=0.0))
    before = trainer.pack.parameters.data.clone()
    trainer.optimizer.update(torch.ones_like(before), step=0, share=0.25)
    assert torch.allclose(before - trainer.pack.parameters.data, torch.tensor(0.25 * 0.05).double())


@pytest.mark.parametrize(("rule", "rate"), [("none", 0.1), ("sqrt", 0.05), ("linear", 0.025)])
def test_peak_rate_follows_the_batch_size(rule: Any, rate: float) -> None:
    """A quarter of the batch that the rate is meant for takes 1, 1/2 or 1/4 of it."""
    train = TrainConfig(lr=0.1, batch_size=32, lr_batch=128, lr_scaling=rule)
    assert peak_rate(train) == pytest.approx(rate)


def test_schedule_warms_up_then_falls_along_a_cosine() -> None:
    """Linear over half an epoch of 8 steps, from there half a cosine over the other 28."""
    train = TrainConfig(warmup_epochs=0.5)
    shares = [schedule(train, s, steps=32, epoch_steps=8) for s in range(32)]
    assert shares[:4] == [0.25, 0.5, 0.75, 1.0]
    expected = [(1 + math.cos(math.pi * t / 28)) / 2 for t in range(28)]
    assert shares[4:] == pytest.approx(expected)


def test_constant_schedule_stays_at_its_peak() -> None:
    """Without decay every update takes the whole rate."""
    train = TrainConfig(schedule="constant")
    assert {schedule(train, s, steps=9, epoch_steps=3) for s in range(9)} == {1.0}
