"""Optimizers on the flat tensor against torch.optim, and the schedule against its formula."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from small_packs import config, images, pack, parameters_of
from torch import Tensor

from trainers.config import TrainConfig
from trainers.optimizers import peak_rate, schedule, second_beta

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


@pytest.mark.parametrize("milestones", [(0.8, 0.9), (0.25, 0.5, 0.75), (0.0, 0.51), ()])
@pytest.mark.parametrize("factor", [0.01, 0.5])
def test_milestones_are_those_of_torch(milestones: tuple[float, ...], factor: float) -> None:
    """MultiStepLR with the milestones in updates; none is a constant rate."""
    steps = 20
    train = TrainConfig(schedule="milestones", milestones=milestones, milestone_factor=factor)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    ends = [round(share * steps) for share in milestones]
    official = torch.optim.lr_scheduler.MultiStepLR(optimizer, ends, gamma=factor)
    for step in range(steps):
        found = schedule(train, step, steps=steps, epoch_steps=5)
        assert found == pytest.approx(official.get_last_lr()[0])
        optimizer.step()
        official.step()


def test_milestones_follow_a_warm_up() -> None:
    """The rate rises over the warm-up, stays, and is cut (the recipe of LDAM)."""
    train = TrainConfig(schedule="milestones", milestones=(0.5,), warmup_epochs=0.4)
    shares = [schedule(train, s, steps=20, epoch_steps=10) for s in range(20)]
    assert shares == pytest.approx([0.25, 0.5, 0.75, 1.0, *[1.0] * 6, *[0.01] * 10])


@pytest.mark.parametrize("scaling", ["none", "samples"])
@pytest.mark.parametrize("size", [2, 8, 32])
def test_beta2_is_scaled_by_the_batch_and_used_as_torch_uses_it(scaling: Any, size: int) -> None:
    """beta2^(B / B_0), a member its own; AdamW of torch with these betas takes the same steps."""
    betas = (0.9, 0.99)
    settings: dict[str, Any] = {"optimizer": "adamw", "lr": 0.01, "batch_size": size}
    settings |= {"lr_batch": 8, "beta2_scaling": scaling, "precision": "float64"}
    trainer = pack(images(), *(config(**settings, beta2=beta) for beta in betas))
    expected = [beta ** (size / 8 if scaling == "samples" else 1) for beta in betas]
    found = [second_beta(member.config.train) for member in trainer.members]
    assert found == pytest.approx(expected)
    blocks = [parameters_of(trainer, k) for k in range(2)]
    oracles = [
        torch.optim.AdamW(
            [
                {"params": [p for p in own.values() if p.dim() > 1], "weight_decay": 5e-4},
                {"params": [p for p in own.values() if p.dim() == 1], "weight_decay": 0.0},
            ],
            lr=0.01,
            betas=(0.9, beta2),
        )
        for own, beta2 in zip(blocks, expected, strict=True)
    ]
    source = torch.Generator().manual_seed(1)
    for step in range(3):
        parameters = trainer.pack.parameters
        grad = torch.randn(parameters.flat.shape, generator=source, dtype=torch.float64)
        parts = parameters.layout.split(grad)
        for own, oracle, k in zip(blocks, oracles, range(2), strict=True):
            for name, parameter in own.items():
                parameter.grad = parts[name][k].view(parameter.shape).clone()
            oracle.step()
        trainer.optimizer.update(grad, step=step, share=1.0)
    for k, own in enumerate(blocks):
        for name, value in parameters_of(trainer, k).items():
            assert torch.allclose(value, own[name], rtol=1e-12, atol=1e-13)


def test_scaled_betas_forget_after_the_same_number_of_samples() -> None:
    """The half-life in updates times the batch size is constant."""
    lives = []
    for size in (8, 64, 256):
        train = TrainConfig(batch_size=size, lr_batch=128, beta2_scaling="samples", beta2=0.95)
        lives.append(size * math.log(0.5) / math.log(second_beta(train)))
    assert lives == pytest.approx([lives[0]] * 3)
