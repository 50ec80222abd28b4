"""ResNets with shortcuts of option A, against the network of the published long-tailed results."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from small_packs import apart, config, images, pack, parameters_of, train_steps
from torch import Tensor, nn

from trainers.config import ConfigError


class Block(nn.Module):
    """LDAM-DRW's `BasicBlock` with option A: every second pixel, channels padded by a quarter."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(after)
        self.second = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(after)
        self.changes = stride > 1 or before != after
        self.after = after

    def forward(self, x: Tensor) -> Tensor:
        y = self.second_norm(self.second(F.relu(self.first_norm(self.first(x)))))
        if self.changes:
            quarter = self.after // 4
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, quarter, quarter))
        return F.relu(y + x)


class Plain(nn.Module):
    """Depth 8: a stem, three stages of a block, the mean, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 1, 1, bias=False)
        self.stem_norm = nn.BatchNorm2d(8)
        self.stages = nn.ModuleList([Block(8, 8, 1), Block(8, 16, 2), Block(16, 32, 2)])
        self.head = nn.Linear(32, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem_norm(self.stem(x)))
        for stage in self.stages:
            x = stage(x)
        return self.head(x.mean((2, 3)))


EXACT = {"precision": "float64", "width": 0.5, "shortcut": "padding", "schedule": "constant"}


def test_updates_are_those_of_the_published_network() -> None:
    """Four updates of SGD in float64; there is no parameter of a projection."""
    trainer = pack(images(channels=3), config(**EXACT, weight_decay=0.0))
    start = parameters_of(trainer, 0)
    assert not any("shortcut" in name for name in start)
    plain = Plain().double()
    own = dict(plain.named_parameters())
    places = {name: name.replace(".norm.", "_norm.") for name in start}
    for stage in range(3):
        places = {
            name: place.replace(f"stage{stage + 1}.0", f"stages.{stage}")
            for name, place in places.items()
        }
    assert set(places.values()) == own.keys()

    def as_plain(value: Tensor) -> Tensor:
        if value.dim() == 4:
            return value.permute(0, 3, 1, 2)
        return value.T if value.dim() == 2 else value

    with torch.no_grad():
        for name, place in places.items():
            own[place].copy_(as_plain(start[name]))
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.05, momentum=0.9)
    for batch in train_steps(trainer, 4):
        optimizer.zero_grad()
        F.cross_entropy(plain(batch.x), batch.labels[0]).backward()
        optimizer.step()
    for name, value in parameters_of(trainer, 0).items():
        assert torch.allclose(own[places[name]], as_plain(value), rtol=0, atol=1e-11), name


def test_a_pack_of_them_is_its_members_alone() -> None:
    """Channels are padded for each member by itself."""
    runs = [config(**EXACT, lr=0.05 * (1 + i)) for i in range(3)]
    together = pack(images(channels=3), *runs)
    train_steps(together, 3)
    for position, one in enumerate(runs):
        alone = pack(images(channels=3), one, replicates=(position,))
        train_steps(alone, 3)
        assert apart(parameters_of(together, position), parameters_of(alone, 0)) < 1e-10


def test_a_wide_network_has_no_such_shortcut() -> None:
    """Depth 6n+4 projects within its blocks; the error says what fits."""
    with pytest.raises(ConfigError, match="needs a resnet of depth 6n"):
        pack(images(), config(depth=10, shortcut="padding"))
