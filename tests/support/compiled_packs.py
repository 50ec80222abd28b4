"""Packs in the compiled forms: noise to train on, the networks and levers that the tests train."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainers.config import Config
from trainers.data.dataset import Dataset, image_dataset
from trainers.forms import FORMS
from trainers.loop import Member, PackTrainer

COMPILED = [form for form in FORMS if form.startswith("compiled_")]
BEST = next(iter(FORMS))
IMBALANCE = {"imbalance": {"profile": "exponential", "train_ratio": 0.1}}
SHARP = {"radius": 0.1, "asymmetry": 1.0}

NETWORKS: dict[str, dict[str, Any]] = {
    "batch norm": {},
    "group norm": {"norm": "group", "width": 0.75},
    "layer norm": {"norm": "layer", "width": 0.3},
    "no norm": {"norm": "none"},
    "padded shortcuts": {"shortcut": "padding"},
    "preactivation": {"depth": 16, "width": 0.5},
    "cosine head": {"head": "cosine", "loss": "ldam"},
    "ImageNet stem": {"model": "resnet18", "stem": "imagenet", "width": 0.25},
    "joint SimCLR": {"ssl": {"weight": 0.5}},
    "joint BYOL": {"ssl": {"weight": 0.5, "loss": "byol"}},
    "masked images": {"ssl": {"weight": 0.5, "loss": "masked"}},
    "running statistics": {"norm_statistics": "running"},
}

LEVERS: dict[str, dict[str, Any]] = {
    "SGD": {"nesterov": True},
    "AdamW": {"optimizer": "adamw"},
    "SAM-A": {"sam": SHARP},
    "SAM-A, plain": {"sam": SHARP | {"normaliser": "plain"}},
    "SimCLR": {"ssl": {"weight": 0.5}},
    "VICReg": {"ssl": {"weight": 0.5, "loss": "vicreg"}},
    "Barlow Twins": {"ssl": {"weight": 0.5, "loss": "barlow_twins"}},
    "EMA and augmentation": {"average": "ema", "augmentation": "flip_crop", "norm": "group"},
}


def noise(shape: tuple[int, ...]) -> Dataset:
    """Images of five classes that have nothing in common."""
    source, y = np.random.default_rng(0), {}
    for split, size in {"train": 120, "val": 20, "test": 40}.items():
        y[split] = np.arange(size) % 5
    x = {s: source.integers(0, 256, (len(v), *shape)).astype(np.uint8) for s, v in y.items()}
    return image_dataset("noise", x, y, classes=tuple("abcde"))


def pack(
    dataset: Dataset, form: str, *, members: int = 3, data: dict[str, Any] = IMBALANCE, **train: Any
) -> PackTrainer:
    """Members of different replicates, rates and decays."""
    settings = {
        "batch_size": 20,
        "epochs": 2,
        "evaluations": 2,
        "width": 0.5,
        "precision": "float32",
    } | train
    configs = [
        Config.model_validate(
            {"data": data, "train": {"lr": 0.02 + 0.01 * k, "weight_decay": 1e-3 * k} | settings}
        )
        for k in range(members)
    ]
    made = [Member(config, replicate) for replicate, config in enumerate(configs)]
    return PackTrainer(dataset, made, form=form)


@contextmanager
def on_threads(count: int) -> Iterator[None]:
    """A context in which PyTorch, and so the executor, has so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def gradient(trainer: PackTrainer) -> tuple[Tensor, Tensor]:
    """The gradient (K P,) and the logits of the first batch."""
    grad, terms = trainer._gradient(next(iter(trainer.feed.batches(0, 1))))
    return grad, terms.logits.detach()
