"""Seconds of an update of each lever, as ratios to a plain update and to ordinary PyTorch.

Aims: at one member no lever is slower than the same update in ordinary PyTorch with the libraries
that people use (torch.optim, pytorch-optimizer's SAM); SAM, ASAM and weighted SAM-A take at most
2.1 times a plain update, SimCLR, VICReg and Barlow Twins 3.1 times, others 1.1 times what their
passes count (a backward pass as two); augmentation takes at most a fifth of an update on 32x32.

Each cell is the median of several turns; in a turn every lever and its reference run one after the
other, so that a slow moment of the machine meets all of them. Times are of the thread, so that
other processes count little. A line has the batch size, the lever, members K, milliseconds of a
member's update, and its ratios to a plain update and to ordinary PyTorch.

    python benchmarks/trainer.py [--batches 2,8,32,128] [--members 1,8] [--updates 20] [--turns 5]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from ordinary import ResNet8
from pytorch_optimizer import SAM

from trainers.config import Config
from trainers.data.dataset import Dataset, image_dataset
from trainers.loop import Member, PackTrainer

PIXELS, CHANNELS, CLASSES, SAMPLES = 32, 3, 10, 1280
SHARP = {"radius": 0.1, "asymmetry": 1.0}
LEVERS: dict[str, dict[str, Any]] = {
    "plain": {},
    "adamw": {"optimizer": "adamw", "lr": 0.001},
    "SAM": {"sam": {"radius": 0.1}},
    "SAM-A": {"sam": SHARP},
    "ASAM": {"sam": {"radius": 1.0, "method": "asam"}},
    "ImbSAM": {"sam": SHARP | {"method": "imbsam"}},
    "Focal-SAM": {"sam": SHARP | {"method": "focal_sam"}},
    "CC-SAM": {"sam": {"radius": 1e-3, "method": "cc_sam"}},
    "SimCLR": {"ssl": {"weight": 0.5}},
    "VICReg": {"ssl": {"weight": 0.5, "loss": "vicreg"}},
    "Barlow Twins": {"ssl": {"weight": 0.5, "loss": "barlow_twins"}},
    "BYOL": {"ssl": {"weight": 0.5, "loss": "byol"}},
    "masked": {"ssl": {"weight": 0.5, "loss": "masked"}},
    "focal": {"loss": "focal"},
    "LDAM": {"loss": "ldam", "head": "cosine"},
    "vector scaling": {"loss": "vs"},
    "class weights": {"class_weights": "inverse"},
    "balanced": {"sampler": "balanced"},
    "class-normalised": {"gradient": "class_normalised"},
    "EMA": {"average": "ema"},
    "flip_crop": {"augmentation": "flip_crop"},
    "TrivialAugment": {"augmentation": "trivial_augment"},
    "mixup": {"augmentation": "mixup"},
}
# Levers with an update in ordinary PyTorch to compare with, at one member.
REFERENCES = ("plain", "adamw", "SAM", "class weights")


def data() -> Dataset:
    """Noise of CIFAR's shape, with rare classes made by the configuration."""
    source = np.random.default_rng(0)
    sizes = {"train": SAMPLES, "val": 20, "test": 20}
    y = {split: np.arange(size) % CLASSES for split, size in sizes.items()}
    shape = (PIXELS, PIXELS, CHANNELS)
    x = {s: source.integers(0, 256, (n, *shape)).astype(np.uint8) for s, n in sizes.items()}
    names = tuple(f"c{i}" for i in range(CLASSES))
    return image_dataset("noise", x, y, classes=names)


def packed(dataset: Dataset, batch: int, members: int, train: dict[str, Any]) -> Callable[[], None]:
    """Makes one update of a pack, preparing its batch."""
    settings = {"batch_size": batch, "lr": 0.05, "epochs": 1000, "evaluations": 1} | train
    imbalance = {"profile": "exponential", "train_ratio": 0.1}
    config = Config.model_validate({"data": {"imbalance": imbalance}, "train": settings})
    trainer = PackTrainer(dataset, [Member(config, replicate) for replicate in range(members)])
    batches = trainer.feed.batches(0, 10**9)
    return lambda: (trainer.update(next(batches)), None)[1]


def ordinary(batch: int, lever: str) -> Callable[[], None]:
    """Makes one update in ordinary PyTorch, from a batch that lies in memory."""
    network = ResNet8(CLASSES, CHANNELS)
    x = torch.rand(batch, CHANNELS, PIXELS, PIXELS)
    y = torch.randint(CLASSES, (batch,))
    weight = torch.ones(CLASSES) if lever == "class weights" else None
    if lever == "adamw":
        optimizer: Any = torch.optim.AdamW(network.parameters(), lr=0.001, weight_decay=5e-4)
    elif lever == "SAM":
        optimizer = SAM(network.parameters(), torch.optim.SGD, rho=0.1, lr=0.05, momentum=0.9)
    else:
        optimizer = torch.optim.SGD(network.parameters(), 0.05, 0.9, weight_decay=5e-4)

    def passes() -> None:
        F.cross_entropy(network(x), y, weight).backward()

    def update() -> None:
        passes()
        if lever == "SAM":
            optimizer.first_step(zero_grad=True)
            passes()
            optimizer.second_step(zero_grad=True)
        else:
            optimizer.step()
            optimizer.zero_grad()

    return update


def seconds(update: Callable[[], None], updates: int) -> float:
    """Seconds of the thread for one update."""
    start = time.thread_time()
    for _ in range(updates):
        update()
    return (time.thread_time() - start) / updates


def lines(batch: int, members: list[int], updates: int, turns: int) -> Iterator[str]:
    """A line for each lever and number of members."""
    dataset = data()
    ways = {
        (name, k): packed(dataset, batch, k, train)
        for name, train in LEVERS.items()
        for k in members
    }
    ways |= {(name, 0): ordinary(batch, name) for name in REFERENCES}
    for update in ways.values():
        update()
    taken: dict[tuple[str, int], list[float]] = {way: [] for way in ways}
    for _ in range(turns):
        for way, update in ways.items():
            taken[way].append(seconds(update, updates))
    median = {way: statistics.median(times) for way, times in taken.items()}
    for (name, k), each in median.items():
        if k == 0:
            continue
        line = f"{batch:5}  {name:17} K={k:<3} {1000 * each / k:8.2f} ms"
        line += f"  {each / median['plain', k]:5.2f} x plain"
        if k == 1 and (name, 0) in median:
            line += f"  {each / median[name, 0]:5.2f} x ordinary PyTorch"
        yield line


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--batches", default="2,8,32,128")
    parser.add_argument("--members", default="1,8")
    parser.add_argument("--updates", type=int, default=20)
    parser.add_argument("--turns", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    members = [int(k) for k in given.members.split(",")]
    for batch in map(int, given.batches.split(",")):
        for line in lines(batch, members, given.updates, given.turns):
            print(line, flush=True)


if __name__ == "__main__":
    main()
