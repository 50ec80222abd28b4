"""The networks of `trainers.models` in ordinary PyTorch: oracles, one run each."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Basic(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(outputs)
        self.projects = stride > 1 or inputs != outputs
        if self.projects:
            self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut_norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        branch = F.relu(self.first_norm(self.first(x)))
        branch = self.second_norm(self.second(branch))
        return F.relu(branch + (self.shortcut_norm(self.shortcut(x)) if self.projects else x))


class Preactivation(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first_norm = nn.BatchNorm2d(inputs)
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.projects = stride > 1 or inputs != outputs
        if self.projects:
            self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.first_norm(x))
        branch = self.second(F.relu(self.second_norm(self.first(active))))
        return branch + (self.shortcut(active) if self.projects else x)


class PlainResNet(nn.Module):
    """Depth 6n+2 of basic blocks, or 6n+4 of preactivation blocks."""

    def __init__(self, depth: int, base: int, *, channels: int, classes: int) -> None:
        super().__init__()
        self.wide = depth % 6 == 4
        width = 16 if self.wide else base
        self.stem = nn.Conv2d(channels, width, 3, 1, 1, bias=False)
        self.blocks = nn.ModuleDict()
        if not self.wide:
            self.stem_norm = nn.BatchNorm2d(width)
        for stage in range(3):
            for index in range((depth - 2) // 6):
                stride = 2 if stage > 0 and index == 0 else 1
                block = Preactivation if self.wide else Basic
                self.blocks[f"stage{stage + 1}_{index}"] = block(width, base * 2**stage, stride)
                width = base * 2**stage
        if self.wide:
            self.last_norm = nn.BatchNorm2d(width)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x if self.wide else F.relu(self.stem_norm(x))
        for block in self.blocks.values():
            x = block(x)
        x = F.relu(self.last_norm(x)) if self.wide else x
        return self.head(x.mean((2, 3)))


class PlainMLP(nn.Module):
    def __init__(self, inputs: int, units: int, *, depth: int, classes: int) -> None:
        super().__init__()
        sizes = [inputs] + [units] * depth
        for i in range(depth):
            setattr(self, f"hidden{i}", nn.Linear(sizes[i], sizes[i + 1]))
            setattr(self, f"hidden{i}_norm", nn.BatchNorm1d(units))
        self.depth = depth
        self.head = nn.Linear(units, classes)

    def forward(self, x: Tensor) -> Tensor:
        for i in range(self.depth):
            x = F.relu(getattr(self, f"hidden{i}_norm")(getattr(self, f"hidden{i}")(x)))
        return self.head(x)


def place_of(name: str) -> str:
    """Where a plain network keeps the parameter of that name."""
    parts = name.replace(".norm.", "_norm.").split(".")
    if parts[0].startswith("stage"):
        parts = ["blocks", f"{parts[0]}_{parts[1]}", *parts[2:]]
    return ".".join(parts)


def as_plain(value: Tensor) -> Tensor:
    """A block of one member in PyTorch's own order of dimensions."""
    if value.dim() == 4:
        return value.permute(0, 3, 1, 2)
    return value.T if value.dim() == 2 else value


def load_blocks(network: nn.Module, blocks: dict[str, Tensor]) -> None:
    """Copies every parameter of one member into a plain network; none may be left over."""
    own = dict(network.named_parameters())
    assert {place_of(name) for name in blocks} == own.keys()
    with torch.no_grad():
        for name, value in blocks.items():
            own[place_of(name)].copy_(as_plain(value))


def difference(network: nn.Module, blocks: dict[str, Tensor]) -> float:
    """The largest difference between a plain network's parameters and one member's."""
    own = dict(network.named_parameters())
    return max(
        float((own[place_of(name)] - as_plain(value)).abs().max().detach())
        for name, value in blocks.items()
    )
