"""An update of a pack against the same number of ordinary updates, one after the other.

A line has the images (or `table`), the batch size, members K, milliseconds of an ordinary update
and of the pack's, K times the first divided by the second for each form, and the share of this
core's peak (measured in the same turns by products of large matrices) that the best form reaches;
the products of a padding are not counted.

Each time is the least of many turns, in which everything runs for a fiftieth of a second, updates
one after the other as in training; times are of the thread. Other processes still slow down what
does not fit the cache, ordinary updates included.

    python benchmarks/packs.py [--members 1,10] [--seconds 4] [--only 8x8,28x28,table]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from ordinary import ResNet8
from torch import nn
from turns import Clock, become_a_worker, least

from trainers.config import Config
from trainers.data.dataset import Dataset, image_dataset, table_dataset
from trainers.forms import FORMS
from trainers.loop import Member, PackTrainer
from trainers.shapes import calls

CLASSES, SAMPLES, NUMBERS = 10, 1280, 32
SHAPES = {
    "8x8": ((8, 8, 1), (2, 8, 32, 128)),
    "28x28": ((28, 28, 1), (2, 8, 32, 128)),
    "32x32x3": ((32, 32, 3), (2, 8, 32, 128)),
    "table": ((NUMBERS,), (2, 32, 256)),
}
SIDE = 768  # of the matrices
BLOCK = 0.02  # seconds of a way's updates in a turn


def noise(shape: tuple[int, ...]) -> Dataset:
    """Noise of ten classes."""
    source = np.random.default_rng(0)
    sizes = {"train": SAMPLES, "val": 20, "test": 20}
    y = {split: np.arange(size) % CLASSES for split, size in sizes.items()}
    names = tuple(f"c{i}" for i in range(CLASSES))
    if len(shape) == 1:
        rows = {s: source.normal(size=(n, *shape)).astype(np.float32) for s, n in sizes.items()}
        codes = {s: np.zeros((n, 0), dtype=np.int64) for s, n in sizes.items()}
        return table_dataset("noise", rows, codes, y, cardinalities=(), classes=names)
    x = {s: source.integers(0, 256, (n, *shape)).astype(np.uint8) for s, n in sizes.items()}
    return image_dataset("noise", x, y, classes=names)


def config(shape: tuple[int, ...], batch: int, **more: Any) -> Config:
    """SGD with momentum."""
    model = "mlp" if len(shape) == 1 else "resnet"
    train = {"model": model, "batch_size": batch, "lr": 0.05, "epochs": 1000, "evaluations": 1}
    train |= more
    return Config.model_validate({"train": train})


def packed(dataset: Dataset, made: Config, members: int, form: str) -> Callable[[], object]:
    """An update of a pack, from a batch that is ready."""
    trainer = PackTrainer(dataset, [Member(made, r) for r in range(members)], form=form)
    batch = next(iter(trainer.feed.batches(0, 1)))
    return lambda: trainer.update(batch)


def ordinary(shape: tuple[int, ...], batch: int) -> Callable[[], object]:
    """An update in ordinary PyTorch, from a batch that is ready."""
    if len(shape) == 1:
        layers = [nn.Linear(NUMBERS, 128), nn.BatchNorm1d(128), nn.ReLU()]
        layers += [nn.Linear(128, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, CLASSES)]
        network: nn.Module = nn.Sequential(*layers)
        x = torch.randn(batch, NUMBERS)
    else:
        network = ResNet8(CLASSES, shape[2])
        x = torch.rand(batch, shape[2], *shape[:2])
    y = torch.randint(CLASSES, (batch,))
    optimizer = torch.optim.SGD(network.parameters(), 0.05, 0.9, weight_decay=5e-4)

    def update() -> None:
        F.cross_entropy(network(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()

    return update


def timed(
    ways: dict[str, Callable[[], object]], wanted: float, clock: Clock = time.thread_time
) -> dict[str, float]:
    """The least seconds of each, in turns that take about so long together."""
    took = least(ways, turns=1, times=dict.fromkeys(ways, 3), clock=clock)
    times = {name: max(1, round(BLOCK / took[name])) for name in ways}
    turn = sum(took[name] * times[name] for name in ways)
    return least(ways, turns=max(3, round(wanted / turn)), times=times, clock=clock)


def products(made: Config, dataset: Dataset, members: int) -> float:
    """Floating-point operations of an update: three times those of a forward pass."""
    batch, inputs = made.train.batch_size, dataset.inputs
    layers = calls(made.train, inputs=inputs, classes=CLASSES, samples=SAMPLES, members=members)
    assert all(layer.batch in (batch, 1) for layer in layers)
    return 6.0 * sum(layer.multiply_adds * _real(layer) for layer in layers)


def _real(layer: Any) -> float:
    """The share of a convolution's products that are not with a padding."""
    if layer.kind != "convolution" or layer.kernel == 1:
        return 1.0
    share = 1.0
    for side in layer.size:
        outputs = range((side - 1) // layer.stride + 1)
        taps = [
            y * layer.stride - layer.kernel // 2 + d for y in outputs for d in range(layer.kernel)
        ]
        share *= sum(0 <= tap < side for tap in taps) / len(taps)
    return share


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--members", default="1,10")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--only", default=",".join(SHAPES))
    given = parser.parse_args()
    become_a_worker()
    best = next(iter(FORMS))
    a, b, c = (torch.randn(SIDE, SIDE) for _ in range(3))
    for name in given.only.split(","):
        shape, batches = SHAPES[name]
        dataset = noise(shape)
        for batch in batches:
            made = config(shape, batch)
            for members in map(int, given.members.split(",")):
                ways: dict[str, Callable[[], object]] = {
                    form: packed(dataset, made, members, form) for form in {best, "folded"}
                }
                ways["ordinary"] = ordinary(shape, batch)
                ways["matrices"] = lambda: torch.mm(a, b, out=c)
                took = timed(ways, given.seconds)
                print(line(name, made, dataset, members, took, best), flush=True)


def line(
    name: str, made: Config, dataset: Dataset, members: int, took: dict[str, float], best: str
) -> str:
    """A line of the table."""
    gains = "  ".join(
        f"{form} {members * took['ordinary'] / took[form]:5.2f} x"
        for form in dict.fromkeys((best, "folded"))
    )
    peak = 2.0 * SIDE**3 / took["matrices"]
    share = products(made, dataset, members) / took[best] / peak
    return (
        f"{name:8} batch {made.train.batch_size:3}  K={members:<3}"
        f" ordinary {1e3 * took['ordinary']:7.2f} ms  pack {1e3 * took[best]:8.2f} ms"
        f"  {gains}  {share:4.0%} of {peak / 1e9:.0f} GFLOP/s"
    )


if __name__ == "__main__":
    main()
