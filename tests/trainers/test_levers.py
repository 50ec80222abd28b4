"""Levers reach the training: whole updates against loops written by hand, from the config on."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from plain_networks import PlainMLP, difference, load_blocks
from small_packs import config, images, pack, parameters_of, table, train_steps
from torch import Tensor

from trainers import streams
from trainers.loop import PackTrainer
from trainers.ssl import ssl_views

OPTIMIZERS = [
    pytest.param({"optimizer": "sgd", "lr": 0.2}, id="sgd"),
    pytest.param({"optimizer": "adamw", "lr": 0.02}, id="adamw"),
]
# 20, 14 and 10 samples: positions 0, ln(20/14)/ln 2 and 1 between the majority and the minority.
COUNTS = (20, 14, 10)
EPS = (0.1, 0.1 + 0.2 * math.log(20 / 14) / math.log(2), 0.3)


def smoothed_and_adjusted(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of z + ln(n_c / N) against (1 - eps_y) onehot + eps_y / 3."""
    targets = torch.tensor(
        [[EPS[y] / 3 + (1 - EPS[y]) * (c == y) for c in range(3)] for y in labels.tolist()],
        dtype=torch.float64,
    )
    prior = torch.tensor([math.log(n / 44) for n in COUNTS], dtype=torch.float64)
    return F.cross_entropy(logits + prior, targets)


def rate(step: int, peak: float) -> float:
    """Three updates of warm-up, then half a cosine over the other seven."""
    if step < 3:
        return peak * (step + 1) / 3
    return peak * 0.5 * (1 + math.cos(math.pi * (step - 3) / 7))


@pytest.mark.parametrize("settings", OPTIMIZERS)
@pytest.mark.parametrize(("rule", "factor"), [("none", 1.0), ("sqrt", 0.5), ("linear", 0.25)])
def test_a_step_budget_trains_like_a_loop_by_hand(
    settings: dict[str, Any], rule: str, factor: float
) -> None:
    """Ten updates over two epochs of six: rate, warm-up, smoothing and prior are the config's."""
    trainer = pack(table(), config(
        model="mlp", precision="float64", norm_statistics="running", weight_decay=0.0,
        steps=10, warmup_epochs=0.5, lr_scaling=rule, lr_batch=32, loss="logit_adjusted",
        smoothing={"minority": 0.3, "majority": 0.1}, **settings,
    ))  # fmt: skip
    assert trainer.counts == COUNTS
    plain = PlainMLP(4 + 3 + 4, 32, depth=2, classes=3).double()
    load_blocks(plain, parameters_of(trainer, 0))
    if settings["optimizer"] == "sgd":
        optimizer = torch.optim.SGD(plain.parameters(), lr=1.0, momentum=0.9)
    else:
        optimizer = torch.optim.AdamW(plain.parameters(), weight_decay=0.0)
    for step, batch in enumerate(train_steps(trainer, 10)):
        for group in optimizer.param_groups:
            group["lr"] = rate(step, settings["lr"] * factor)
        optimizer.zero_grad()
        smoothed_and_adjusted(plain(batch.x[0]), batch.labels[0]).backward()
        optimizer.step()
    assert difference(plain, parameters_of(trainer, 0)) < 1e-9


def joint_gradient(trainer: PackTrainer, batch: Any, at: Tensor) -> Tensor:
    """The gradient of the mean loss plus the SSL loss, at the parameters `at`."""
    trainer.pack.parameters.data.copy_(at)
    terms = trainer.objective.terms(trainer.pack, batch, moving=False)
    assert terms.ssl is not None
    return torch.autograd.grad(terms.losses.mean() + terms.ssl.sum(), trainer.pack.parameters.flat)[
        0
    ]


def test_sam_climbs_and_descends_the_joint_loss() -> None:
    """With SSL beside it, both passes of SAM see both losses."""
    settings = {"ssl": {"weight": 0.5}, "precision": "float64", "schedule": "constant"}
    settings |= {"momentum": 0.0, "weight_decay": 0.0}
    trainer = pack(images(), config(sam={"radius": 0.3}, **settings))
    plain = pack(images(), config(**settings))
    start = trainer.pack.parameters.data.clone()
    (batch,) = train_steps(trainer, 1)
    uphill = joint_gradient(plain, batch, start)
    there = joint_gradient(plain, batch, start + 0.3 * uphill / uphill.norm())
    expected = start - 0.05 * there
    assert torch.allclose(trainer.pack.parameters.data, expected, rtol=0, atol=1e-12)


def order_of(trainer: PackTrainer) -> np.ndarray:
    """Pool indices of member 0's subset in the order of epoch 0."""
    subset = trainer.feed.subset_index[0].numpy()
    samples = len(trainer.pool.y["train"])
    return streams.order(trainer.fingerprint, 0, subset, epoch=0, samples=samples)


def epoch_inputs(trainer: PackTrainer) -> Tensor:
    return torch.cat([b.x for b in trainer.feed.batches(0, trainer.feed.epoch_steps)])


def test_a_sample_is_augmented_alike_in_any_subset() -> None:
    """Draws belong to the sample, not to its place: train ratios are compared on equal images."""
    data = images()
    large, small = (pack(data, config(augmentation="flip_crop", ratio=r)) for r in (1.0, 0.3))
    found = dict(zip(order_of(large).tolist(), epoch_inputs(large), strict=True))
    order = order_of(small).tolist()
    assert len(order) == 36
    assert order != order_of(large)[:36].tolist()
    for sample, x in zip(order, epoch_inputs(small), strict=True):
        assert torch.equal(x, found[sample])


def draws(trainer: PackTrainer, width: int) -> tuple[Tensor, Tensor]:
    """Those of both views of every pool sample in epoch 0, as the streams name them."""
    samples = len(trainer.pool.y["train"])
    one, two = (
        streams.uniform(trainer.fingerprint, 0, name, epoch=0, samples=samples, width=width)
        for name in ("ssl_view_1", "ssl_view_2")
    )
    return torch.from_numpy(one), torch.from_numpy(two)


def test_views_of_images_are_drawn_from_the_pool_and_normalised() -> None:
    """A view is cut out of the image as it is in 0..1, then normalised as view 0 is."""
    data = images(channels=3)
    trainer = pack(data, config(ssl={"weight": 1.0}))
    batch = next(trainer.feed.batches(0, 1))
    order = order_of(trainer)[: len(batch.x)]
    raw = torch.from_numpy(data.x["train"][order]).div(255)[None]
    expected = ssl_views(raw, tuple(u[order][None] for u in draws(trainer, 11)))  # type: ignore[arg-type]
    mean, std = (torch.from_numpy(v).view(-1, 1, 1) for v in (data.mean, data.std))
    assert batch.views is not None
    for view, wanted in zip(batch.views, expected, strict=True):
        assert torch.allclose(view, (wanted[0] - mean) / std, atol=1e-6)


def test_later_turns_of_a_view_have_draws_of_their_own() -> None:
    """With a multiple, a sample that shows again in the next SSL batch looks different."""
    trainer = pack(images(), config(ssl={"weight": 1.0, "batch_multiple": 2}))
    first, second = trainer.feed.batches(0, 2)
    assert first.views is not None
    assert second.views is not None
    size = len(second.x)
    for again, own in zip(first.views, second.views, strict=True):
        assert not torch.equal(again[size:], own[:size])


def test_corrupted_rows_take_values_from_the_whole_subset() -> None:
    """SCARF's marginals are those of the training subset: a batch of two has none to speak of."""
    data = table()
    trainer = pack(data, config(model="mlp", ssl={"weight": 1.0}))
    batch = next(trainer.feed.batches(0, 1))
    assert data.codes is not None
    rows = torch.from_numpy(np.hstack([data.x["train"], data.codes["train"].astype(np.float32)]))
    order = order_of(trainer)[: batch.x.shape[1]]
    one, two = (u[order][None] for u in draws(trainer, 2 * rows.shape[1]))
    subset = rows[trainer.feed.subset_index[0]][None]
    _, corrupted = ssl_views(rows[order][None], (one, two), subset)
    assert batch.views is not None
    numbers, codes = corrupted[0].split([4, 2], dim=1)
    hot = [F.one_hot(codes[:, g].long(), n).float() for g, n in enumerate(data.cardinalities)]
    assert torch.allclose(batch.views[1][0], torch.cat([numbers, *hot], dim=1))
    assert torch.equal(batch.views[0], batch.x)
