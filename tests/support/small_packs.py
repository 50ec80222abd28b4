"""Small data sets and packs that the trainer's tests share; seeds are explicit."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainers.config import Config
from trainers.data.dataset import Dataset, image_dataset, table_dataset
from trainers.feed import Batch
from trainers.loop import Member, PackTrainer, RoundResult

SIZES = {"train": 60, "val": 12, "test": 15}


def images(
    *, channels: int = 1, pixels: int = 8, classes: int = 3, train: int = 60, seed: int = 7
) -> Dataset:
    """Noise with a faint class-dependent pattern, uint8."""
    source = np.random.default_rng(seed)
    patterns = source.integers(0, 90, (classes, pixels, pixels, channels))
    x, y = {}, {}
    for split, size in (SIZES | {"train": train}).items():
        y[split] = np.arange(size) % classes
        noise = source.integers(0, 160, (size, pixels, pixels, channels))
        x[split] = (noise + patterns[y[split]]).astype(np.uint8)
    return image_dataset("noise", x, y, classes=tuple(f"c{i}" for i in range(classes)))


def table(*, seed: int = 8) -> Dataset:
    """Four numbers and two columns of codes, three classes."""
    source = np.random.default_rng(seed)
    y = {split: np.arange(size) % 3 for split, size in SIZES.items()}
    x = {split: source.normal(y[split][:, None], 1.0, (len(y[split]), 4)) for split in y}
    codes = {split: source.integers(0, 3, (len(y[split]), 2)) for split in y}
    return table_dataset("rows", x, codes, y, cardinalities=(3, 4), classes=("a", "b", "c"))


def config(*, ratio: float = 0.5, **train: Any) -> Config:
    """A run of two small epochs, each evaluated, unless `train` sets something else."""
    imbalance = {"profile": "exponential", "train_ratio": ratio}
    defaults = {"epochs": 2, "batch_size": 8, "lr": 0.05, "width": 0.25, "evaluations": 1000}
    return Config.model_validate({"data": {"imbalance": imbalance}, "train": defaults | train})


def pack(dataset: Dataset, *configs: Config, replicates: tuple[int, ...] = ()) -> PackTrainer:
    """A trainer of one member a configuration, in replicates 0, 1, 2 ... unless given."""
    numbers = replicates or tuple(range(len(configs)))
    return PackTrainer(dataset, [Member(c, r) for c, r in zip(configs, numbers, strict=True)])


def train_steps(trainer: PackTrainer, steps: int) -> list[Batch]:
    """Makes so many updates, without an evaluation; the batches that were seen."""
    batches = list(trainer.feed.batches(trainer.step, trainer.step + steps))
    for batch in batches:
        trainer.update(batch)
    return batches


def parameters_of(trainer: PackTrainer, member: int) -> dict[str, Tensor]:
    """Copies of one member's parameters, by name."""
    return {n: b[member].clone() for n, b in trainer.pack.parameters.blocks().items()}


def numbers_of(result: RoundResult) -> np.ndarray:
    """The numbers of a round that ends with an evaluation."""
    assert result.numbers is not None
    return result.numbers


def apart(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """The largest difference between two members' parameters."""
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Whether two members' parameters are equal to the bit."""
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)
