"""An update of each lever as people write it: ordinary PyTorch, and the libraries that they use.

torch.optim, pytorch-optimizer's SAM, torchvision's transforms in a DataLoader, and lightly's losses
(`pip install lightly`). Batches lie in memory, except where the lever is the loader.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import repeat
from typing import Any

import torch
import torch.nn.functional as F
from ordinary import ResNet8
from pytorch_optimizer import SAM
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler
from torchvision.transforms import v2

PIXELS, CHANNELS, CLASSES, SAMPLES = 32, 3, 10, 640
RATE, ADAM_RATE, DECAY, WEIGHT = 0.05, 1e-3, 5e-4, 0.5

Update = Callable[[], Any]
Build = Callable[[int], Update]


def _optimizer(kind: str, network: nn.Module) -> torch.optim.Optimizer:
    if kind == "adamw":
        return torch.optim.AdamW(network.parameters(), ADAM_RATE, weight_decay=DECAY)
    return torch.optim.SGD(network.parameters(), RATE, 0.9, weight_decay=DECAY)


def _noise(batch: int) -> tuple[Tensor, Tensor]:
    return torch.rand(batch, CHANNELS, PIXELS, PIXELS), torch.randint(CLASSES, (batch,))


def supervised(
    optimizer: str = "sgd",
    *,
    weighted: bool = False,
    averaged: bool = False,
    batches: Callable[[int], Iterator[tuple[Tensor, Tensor]]] = lambda batch: repeat(_noise(batch)),
) -> Build:
    """Cross-entropy; `batches` says where they come from."""

    def build(batch: int) -> Update:
        network = ResNet8(CLASSES, CHANNELS)
        descent, source = _optimizer(optimizer, network), batches(batch)
        weight = torch.ones(CLASSES) if weighted else None
        average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn()) if averaged else None

        def update() -> None:
            x, y = next(source)
            F.cross_entropy(network(x), y, weight).backward()
            descent.step()
            descent.zero_grad()
            if average is not None:
                average.update_parameters(network)

        return update

    return build


def sharp(*, adaptive: bool = False) -> Build:
    """SAM, or ASAM."""

    def build(batch: int) -> Update:
        network, (x, y) = ResNet8(CLASSES, CHANNELS), _noise(batch)
        sgd: Any = torch.optim.SGD
        settings: dict[str, Any] = {"lr": RATE, "momentum": 0.9, "weight_decay": DECAY}
        descent = SAM(network.parameters(), sgd, rho=0.1, adaptive=adaptive, **settings)

        def update() -> None:
            F.cross_entropy(network(x), y).backward()
            descent.first_step(zero_grad=True)
            F.cross_entropy(network(x), y).backward()
            descent.second_step(zero_grad=True)

        return update

    return build


def two_views(loss: str) -> Build:
    """Cross-entropy beside a loss of lightly on two views, which lie in memory too."""

    def build(batch: int) -> Update:
        import lightly.loss

        compare = getattr(lightly.loss, loss)()
        body = ResNet8(CLASSES, CHANNELS)
        head = body[-1]
        body[-1] = nn.Identity()
        projector = nn.Sequential(
            nn.Linear(64, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, 128)
        )
        network = nn.ModuleList([body, head, projector])
        descent = _optimizer("sgd", network)
        (x, y), (one, _), (two, _) = (_noise(batch) for _ in range(3))

        def update() -> None:
            objective = F.cross_entropy(head(body(x)), y)
            objective += WEIGHT * compare(projector(body(one)), projector(body(two)))
            objective.backward()
            descent.step()
            descent.zero_grad()

        return update

    return build


def loaded(
    *transforms: v2.Transform, mixing: v2.Transform | None = None, balanced: bool = False
) -> Callable[[int], Iterator[tuple[Tensor, Tensor]]]:
    """The endless batches of a DataLoader, in this process, with transforms of each image."""
    finish = [v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.25] * 3)]
    change = v2.Compose([*transforms, *finish])
    x = torch.randint(256, (SAMPLES, CHANNELS, PIXELS, PIXELS), dtype=torch.uint8)
    data = TensorDataset(x, torch.randint(CLASSES, (SAMPLES,)))

    def collate(items: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        images, labels = zip(*items, strict=True)
        batch = torch.stack([change(image) for image in images]), torch.stack(labels)
        return mixing(*batch) if mixing else batch

    def batches(batch: int) -> Iterator[tuple[Tensor, Tensor]]:
        sampler = WeightedRandomSampler([1.0] * SAMPLES, SAMPLES) if balanced else None
        loader = DataLoader(data, batch, shuffle=not balanced, sampler=sampler, collate_fn=collate)
        while True:
            yield from loader

    return batches
