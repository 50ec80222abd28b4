"""Dropout and stochastic depth, against plain networks with masks by whole numbers of Python."""

from __future__ import annotations

from collections.abc import Callable
from zlib import crc32

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from plain_networks import Basic, PlainMLP, PlainResNet, difference, load_blocks
from small_packs import apart, config, images, pack, parameters_of, same, table, train_steps
from torch import Tensor

from trainers import streams
from trainers.config import ConfigError, pack_key
from trainers.feed import Batch
from trainers.loop import PackTrainer
from trainers.masks import DropRates, Masks

EXACT = {"precision": "float64", "schedule": "constant", "weight_decay": 0.0}


def hashed(x: int) -> int:
    """Wellons' lowbias32, as published."""
    x ^= x >> 16
    x = x * 0x7FEB352D % 2**32
    x ^= x >> 15
    x = x * 0x846CA68B % 2**32
    return x ^ (x >> 16)


def factors(keys: np.ndarray, layer: str, rate: float, units: int) -> Tensor:
    """1 / (1 - rate) where a unit of a sample is kept, else 0: (B, units)."""
    rows = []
    for first, second in (keys * 2**24).astype(np.int64).tolist():
        own = hashed((hashed(first ^ crc32(layer.encode())) + second) % 2**32)
        numbers = [hashed((own + 0x9E3779B9 * unit) % 2**32) for unit in range(units)]
        rows.append([(number >= rate * 2**32) / (1 - rate) for number in numbers])
    return torch.tensor(rows, dtype=torch.float64)


def keys_of(trainer: PackTrainer, epoch: int) -> np.ndarray:
    """The draws of an epoch's samples in its order, straight from the stream: (n, 2)."""
    order = trainer.feed.samplers[0].order(epoch)
    samples = len(trainer.pool.y["train"])
    args = (trainer.fingerprint, trainer.feed.replicates[0], "masks")
    return streams.uniform(*args, epoch=epoch, samples=samples, width=2)[order]


class DroppingMLP(PlainMLP):
    def masked(self, x: Tensor, keys: np.ndarray, rate: float) -> Tensor:
        for i in range(self.depth):
            x = F.relu(getattr(self, f"hidden{i}_norm")(getattr(self, f"hidden{i}")(x)))
            x = x * factors(keys, f"hidden{i}", rate, x.shape[1])
        return self.head(x)


class DroppingResNet(PlainResNet):
    """A network of basic blocks; a dropped branch leaves the block's shortcut."""

    def masked(self, x: Tensor, keys: np.ndarray, dropout: float, depth: float) -> Tensor:
        x = F.relu(self.stem_norm(self.stem(x)))
        for i, (name, block) in enumerate(self.blocks.items()):
            assert isinstance(block, Basic)
            y = F.relu(block.first_norm(block.first(x)))
            y = block.second_norm(block.second(y))
            own = factors(keys, name.replace("_", "."), depth * i / (len(self.blocks) - 1), 1)
            if block.projects:
                x = block.shortcut_norm(block.shortcut(x))
            x = F.relu(y * own[..., None, None] + x)
        x = x.mean((2, 3))
        return self.head(x * factors(keys, "head", dropout, x.shape[1]))


def test_updates_of_an_mlp_are_those_of_plain_dropout() -> None:
    """Three updates of SGD in float64, with the stream's own draws."""
    trainer = pack(table(), config(model="mlp", dropout=0.4, **EXACT))
    plain = DroppingMLP(11, 32, depth=2, classes=3).double()
    follow(trainer, plain, lambda batch, keys: plain.masked(batch.x[0], keys, 0.4))


def test_updates_of_a_residual_network_are_those_of_plain_dropout_and_depth() -> None:
    """Dropout stands before the head; the first block keeps its branch, the last drops most."""
    settings = {"dropout": 0.3, "stochastic_depth": 0.6}
    trainer = pack(images(), config(width=0.5, **settings, **EXACT))
    plain = DroppingResNet(8, 8, channels=1, classes=3).double()
    follow(trainer, plain, lambda batch, keys: plain.masked(batch.x, keys, 0.3, 0.6))


def follow(
    trainer: PackTrainer, plain: torch.nn.Module, logits: Callable[[Batch, np.ndarray], Tensor]
) -> None:
    """Trains both for three updates and compares the parameters."""
    load_blocks(plain, parameters_of(trainer, 0))
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.05, momentum=0.9)
    keys, start = keys_of(trainer, 0), 0
    for batch in train_steps(trainer, 3):
        size = batch.labels.shape[1]
        optimizer.zero_grad()
        out = logits(batch, keys[start : start + size])
        F.cross_entropy(out, batch.labels[0]).backward()
        optimizer.step()
        start += size
    assert difference(plain, parameters_of(trainer, 0)) < 1e-11


def test_members_have_rates_of_their_own() -> None:
    """In a pack of three, each trains as alone, and evaluations drop nothing."""
    runs = [config(dropout=0.2 * i, stochastic_depth=0.3 * i, **EXACT) for i in (1, 2, 3)]
    together = pack(images(), *runs)
    train_steps(together, 3)
    for position, one in enumerate(runs):
        alone = pack(images(), one, replicates=(position,))
        train_steps(alone, 3)
        assert apart(parameters_of(together, position), parameters_of(alone, 0)) < 1e-9
    assert torch.equal(together.evaluate()["test"], together.evaluate()["test"])


def test_masks_belong_to_samples() -> None:
    """A sample's mask is the same in batches of 4 and 12; SAM's second pass sees the first's."""
    small, large = (
        pack(table(), config(model="mlp", dropout=0.5, batch_size=size)) for size in (4, 12)
    )
    (whole,) = large.feed.batches(0, 1)
    parts = list(small.feed.batches(0, 3))
    assert whole.keys is not None
    assert torch.equal(torch.cat([b.keys for b in parts if b.keys is not None], 1), whole.keys)
    flat = config(model="mlp", dropout=0.5, sam={"radius": 1e-9}, **EXACT)
    sharp, plain = pack(table(), flat), pack(table(), config(model="mlp", dropout=0.5, **EXACT))
    train_steps(sharp, 3)
    train_steps(plain, 3)
    assert apart(parameters_of(sharp, 0), parameters_of(plain, 0)) < 1e-6


def test_a_rate_drops_its_share_and_layers_differ() -> None:
    """Over 200,000 units within four standard errors; no two layers, samples, units agree."""
    keys = np.random.default_rng(3).random((400, 2), dtype=np.float32)
    masks = Masks(torch.from_numpy(keys)[None], DropRates(torch.tensor([0.3]), None))
    first, second = (masks.dropped(n, torch.ones(1, 400, 500))[0] > 0 for n in ("a", "b"))
    error = (0.3 * 0.7 / 200_000) ** 0.5
    for kept in (first, second):
        assert abs(float(kept.float().mean()) - 0.7) < 4 * error
    pairs = ((first, second), (first[1:], first[:-1]), (first[:, 1:], first[:, :-1]))
    for one, other in pairs:
        agree = float((one == other).float().mean())
        assert abs(agree - (0.3**2 + 0.7**2)) < 4 * (0.58 * 0.42 / 200_000) ** 0.5


def test_rates_of_zero_are_the_plain_run_and_make_another_pack() -> None:
    """Bit for bit; and a run that drops is packed with those that drop."""
    with_it = pack(images(), config(dropout=0.0, stochastic_depth=0.0))
    without = pack(images(), config())
    train_steps(with_it, 6)
    train_steps(without, 6)
    assert same(parameters_of(with_it, 0), parameters_of(without, 0))
    plain, half, most = (pack_key(config(dropout=rate)) for rate in (0.0, 0.5, 0.9))
    assert plain == pack_key(config())
    assert plain != half == most


def test_a_network_without_a_place_for_it_is_refused() -> None:
    """The error names the key and the networks that have one."""
    reason = "train.stochastic_depth: 0.2 has no place in model 'mlp': use 0.0, or one of resnet"
    with pytest.raises(ConfigError, match=reason):
        pack(table(), config(model="mlp", stochastic_depth=0.2))
