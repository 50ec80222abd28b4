"""A stage of self-supervision alone, and layers that are frozen or slow after it."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from small_packs import config, images, pack, parameters_of, same, table, train_steps

from trainers.config import ConfigError
from trainers.loop import PackTrainer
from trainers.optimizers import schedule

SSL: dict[str, Any] = {"weight": 0.5, "pretraining": 0.5}
EXACT: dict[str, Any] = {"precision": "float64", "weight_decay": 0.0}


def trained(steps: int, *, replicate: int = 0, **train: Any) -> PackTrainer:
    trainer = pack(images(channels=3), config(**EXACT | train), replicates=(replicate,))
    train_steps(trainer, steps)
    return trainer


def stage(**train: Any) -> int:
    """The updates of the stage, half of the run's."""
    return pack(images(channels=3), config(**train)).steps // 2


def test_labels_have_no_part_in_the_stage() -> None:
    """Another supervised loss gives the same weights to its end, and the head stays as drawn."""
    steps = stage()
    one, other = (trained(steps, ssl=SSL, loss=loss) for loss in ("cross_entropy", "focal"))
    start = parameters_of(trained(0, ssl=SSL), 0)
    assert same(parameters_of(one, 0), parameters_of(other, 0))
    for name, value in parameters_of(one, 0).items():
        moved = not torch.equal(value, start[name])
        assert moved != name.startswith("head."), name
    train_steps(one, 1)
    train_steps(other, 1)
    assert not same(parameters_of(one, 0), parameters_of(other, 0))


def test_the_stage_minimises_the_ssl_loss_whatever_its_weight() -> None:
    steps = stage()
    light, heavy = (trained(steps, ssl=SSL | {"weight": weight}) for weight in (0.1, 2.0))
    assert same(parameters_of(light, 0), parameters_of(heavy, 0))


def test_without_joint_the_labels_are_alone_after_the_stage() -> None:
    """The first update after it is that of a plain run from the same weights."""
    steps = stage()
    first = trained(steps, ssl=SSL | {"joint": False}, momentum=0.0, schedule="constant")
    plain = pack(images(channels=3), config(**EXACT, momentum=0.0, schedule="constant"))
    blocks = plain.pack.parameters.blocks()
    for name, value in parameters_of(first, 0).items():
        if name in blocks:
            blocks[name].copy_(value[None])
    plain.step = steps
    train_steps(first, 1)
    train_steps(plain, 1)
    for name, value in parameters_of(plain, 0).items():
        assert torch.allclose(value, parameters_of(first, 0)[name], rtol=0, atol=1e-13), name


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("factor", [0.0, 0.25])
def test_the_body_moves_by_its_share_of_the_update(optimizer: str, factor: float) -> None:
    whole, slow = (
        pack(images(channels=3), config(precision="float64", optimizer=optimizer, body_lr=rate))
        for rate in (1.0, factor)
    )
    start = parameters_of(whole, 0)
    train_steps(whole, 1)
    train_steps(slow, 1)
    moved, held = parameters_of(whole, 0), parameters_of(slow, 0)
    for name, before in start.items():
        own = 1.0 if name.startswith("head.") else factor
        expected = before + own * (moved[name] - before)
        if own in (0.0, 1.0):
            assert torch.equal(held[name], moved[name] if own else before), name
        else:
            assert torch.allclose(held[name], expected, rtol=0, atol=1e-14), name


def test_the_body_is_free_in_the_stage_and_frozen_after_it() -> None:
    steps = stage()
    frozen = trained(steps, ssl=SSL, body_lr=0.0)
    assert same(parameters_of(frozen, 0), parameters_of(trained(steps, ssl=SSL), 0))
    before = parameters_of(frozen, 0)
    train_steps(frozen, 2)
    for name, value in parameters_of(frozen, 0).items():
        assert torch.equal(value, before[name]) != name.startswith("head."), name


def test_each_stage_has_a_schedule() -> None:
    """A cosine over the first 25 of 100 updates, and one over the rest, each with its warm-up."""
    train = config(ssl={"weight": 1.0, "pretraining": 0.25}, warmup_epochs=0.5).train
    found = [schedule(train, step, steps=100, epoch_steps=10) for step in range(100)]

    def cosine(step: int, steps: int) -> float:
        warm = 5
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / (steps - warm)))

    expected = [cosine(step, 25) for step in range(25)] + [cosine(step, 75) for step in range(75)]
    assert found == pytest.approx(expected)


def test_views_cost_nothing_once_no_loss_uses_them() -> None:
    trainer = pack(images(), config(epochs=4, ssl=SSL | {"joint": False}))
    seen = [batch.views is not None for batch in trainer.feed.batches(0, trainer.steps)]
    assert seen[: trainer.steps // 2] == [True] * (trainer.steps // 2)
    assert not any(seen[-trainer.feed.epoch_steps :])


def test_a_loss_that_is_never_used_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"train\.ssl\.joint: False leaves no place"):
        pack(images(), config(ssl={"weight": 1.0, "joint": False}))


def test_a_table_is_pretrained_too() -> None:
    train: dict[str, Any] = {
        "model": "mlp",
        "ssl": {"weight": 1.0, "loss": "scarf", "pretraining": 0.5},
    }
    trainer = pack(table(), config(**train))
    while trainer.round < trainer.rounds:
        (result,) = trainer.train_round()
        assert result.finite
