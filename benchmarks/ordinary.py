"""What a user would write without Sweeper: an ordinary network, a DataLoader, a training loop.

ResNet-8 of width 16 on digits, 77,754 parameters, as an `nn.Module`; SGD with momentum, cosine
decay by step; loss, recall and precision by class on val and test after every epoch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from trainers.data import load
from trainers.data_config import DataConfig

LR, LR_BATCH, MOMENTUM, WEIGHT_DECAY = 0.1, 128, 0.9, 5e-4


class Block(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.norm_1 = nn.BatchNorm2d(after)
        self.second = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.norm_2 = nn.BatchNorm2d(after)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(
                nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(B, before, H, W) -> (B, after, H / stride, W / stride)."""
        y = functional.relu(self.norm_1(self.first(x)))
        return functional.relu(self.norm_2(self.second(y)) + self.shortcut(x))


class ResNet8(nn.Sequential):
    """Three stages of one block, 16, 32 and 64 channels."""

    def __init__(self, classes: int, channels: int = 1) -> None:
        super().__init__(
            nn.Conv2d(channels, 16, 3, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            Block(16, 16, 1),
            Block(16, 32, 2),
            Block(32, 64, 2),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(64, classes),
        )


@cache
def splits() -> dict[str, TensorDataset]:
    """Digits in the splits that Sweeper uses, normalised."""
    data = load(DataConfig())
    mean, std = data.mean.reshape(-1, 1, 1), data.std.reshape(-1, 1, 1)

    def tensors(split: str) -> TensorDataset:
        x = data.x[split].astype(np.float32)
        x = x / 255.0 if data.x[split].dtype == np.uint8 else x
        return TensorDataset(
            torch.from_numpy((x - mean) / std).float(), torch.from_numpy(data.y[split])
        )

    return {split: tensors(split) for split in ("train", "val", "test")}


def measure(model: nn.Module, data: TensorDataset) -> dict[str, Any]:
    """Loss, accuracy, and recall and precision by class."""
    model.eval()
    x, y = data.tensors
    with torch.no_grad():
        return numbers(model(x), y)


def numbers(logits: Tensor, y: Tensor, classes: int = 10) -> dict[str, Any]:
    """Loss, accuracy, and recall and precision by class, of (N, C) and (N,)."""
    table = torch.bincount(y * classes + logits.argmax(1), minlength=classes**2)
    table = table.reshape(classes, classes).double()
    hits = table.diagonal()
    recall = hits / table.sum(1).clamp(min=1)
    return {
        "loss": functional.cross_entropy(logits, y).item(),
        "accuracy": (hits.sum() / table.sum()).item(),
        "minority_accuracy": recall[-(classes // 3) :].mean().item(),
        "recall": recall.tolist(),
        "precision": (hits / table.sum(0).clamp(min=1)).tolist(),
    }


def train(*, batch_size: int, seed: int, epochs: int) -> Iterator[dict[str, Any]]:
    """Train one network; after each epoch its numbers on val and test."""
    torch.manual_seed(seed)
    data = splits()
    loader = DataLoader(data["train"], batch_size=batch_size, shuffle=True)
    model = ResNet8(10)
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=LR * math.sqrt(batch_size / LR_BATCH),
        momentum=MOMENTUM,
        weight_decay=WEIGHT_DECAY,
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * len(loader))
    for _ in range(epochs):
        model.train()
        for x, y in loader:
            optimizer.zero_grad()
            functional.cross_entropy(model(x), y).backward()
            optimizer.step()
            schedule.step()
        yield {split: measure(model, data[split]) for split in ("val", "test")}


def train_together(
    *, batch_size: int, seeds: Sequence[int], epochs: int
) -> Iterator[list[dict[str, dict[str, Any]]]]:
    """Train a network for each seed at once, by `vmap`; after each epoch the numbers of each."""
    models = []
    for seed in seeds:
        torch.manual_seed(seed)
        models.append(ResNet8(10))
    parameters, buffers = stack_module_state(models)
    empty, data = models[0].to("meta"), splits()
    x, y = data["train"].tensors
    optimizer = torch.optim.SGD(
        parameters.values(),
        lr=LR * math.sqrt(batch_size / LR_BATCH),
        momentum=MOMENTUM,
        weight_decay=WEIGHT_DECAY,
    )
    batches = math.ceil(len(x) / batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * batches)

    def logits(own: dict[str, Tensor], rest: dict[str, Tensor], x: Tensor) -> Tensor:
        return functional_call(empty, (own, rest), (x,))

    def loss(own: dict[str, Tensor], rest: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return functional.cross_entropy(logits(own, rest, x), y)

    gradients, evaluated = vmap(grad(loss)), vmap(logits, in_dims=(0, 0, None))
    sources = [torch.Generator().manual_seed(seed) for seed in seeds]
    for _ in range(epochs):
        empty.train()
        order = torch.stack([torch.randperm(len(x), generator=one) for one in sources])
        for index in order.split(batch_size, dim=1):
            found = gradients(parameters, buffers, x[index], y[index])
            for name, parameter in parameters.items():
                parameter.grad = found[name]
            optimizer.step()
            schedule.step()
        empty.eval()
        with torch.no_grad():
            seen = {s: evaluated(parameters, buffers, data[s].tensors[0]) for s in ("val", "test")}
        yield [
            {split: numbers(of[member], data[split].tensors[1]) for split, of in seen.items()}
            for member in range(len(seeds))
        ]
