"""Packs on a GPU against ordinary runs, one after the other, and against the card's peak.

A line has the network and images, the batch size, members K, milliseconds of an ordinary update
(eager, and by `torch.compile`), and for each form of packs how many times as fast K members train;
then the share of the card's measured bfloat16 peak that the best form reaches.

Aims: 40 x at batch 2 with K = 20 against ordinary eager updates, 1.5 x at batch 128, and
WideResNet-28-10 at half of the peak. It has not run yet: it needs a GPU of CUDA, and refuses
without one.

    python benchmarks/gpu.py [--members 1,20] [--updates 50] [--only 8x8,28x28,32x32x3,wide]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from packs import SAMPLES, config, noise, products
from torch import Tensor, nn

from trainers.config import Config
from trainers.data.dataset import Dataset
from trainers.forms import GPU_FORMS
from trainers.fused import Pass
from trainers.loop import Member, PackTrainer

SHAPES: dict[str, tuple[tuple[int, ...], dict[str, Any], tuple[int, ...]]] = {
    "8x8": ((8, 8, 1), {}, (2, 8, 32, 128)),
    "28x28": ((28, 28, 1), {}, (2, 8, 32, 128)),
    "32x32x3": ((32, 32, 3), {}, (2, 8, 32, 128)),
    "wide": ((32, 32, 3), {"depth": 28, "width": 10.0}, (16, 128)),  # WideResNet-28-10, alone
}
TURNS, SIDE = 7, 8192
WARM_UPS = 5


def milliseconds(update: Callable[[], object], updates: int) -> float:
    """How long an update takes, over so many, on the card's own clock."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(updates):
        update()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / updates


def medians(ways: dict[str, Callable[[], object]], updates: int) -> dict[str, float]:
    """The median over turns in which every way runs."""
    for way in ways.values():
        for _ in range(WARM_UPS):
            way()
    turns = [{name: milliseconds(way, updates) for name, way in ways.items()} for _ in range(TURNS)]
    return {name: float(np.median([turn[name] for turn in turns])) for name in ways}


def packed(dataset: Dataset, made: Config, members: int, form: str) -> Callable[[], object]:
    """An update of a pack, from a batch that is ready."""
    runs = [Member(made, replicate) for replicate in range(members)]
    trainer = PackTrainer(dataset, runs, device="cuda", form=form)
    batch = next(iter(trainer.feed.batches(0, 1)))
    return lambda: trainer.update(batch)


class Ordinary(nn.Module):
    """One member's network of a pack as an ordinary module, with the pack's own layers at K = 1."""

    def __init__(self, dataset: Dataset, made: Config) -> None:
        super().__init__()
        pack = PackTrainer(dataset, [Member(made, 0)], device="cuda").pack
        self._design, self._specs = pack.design, pack.parameters.specs
        blocks = pack.parameters.blocks()
        self.own = nn.ParameterList([nn.Parameter(blocks[s.name][0].clone()) for s in self._specs])

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, C), from parameters that are separate tensors, as in ordinary training."""
        form, network = self._design.form, self._design.network
        specs = zip(self._specs, self.own, strict=True)
        views = {spec.name: form.view(own.flatten(), spec, 1) for spec, own in specs}
        run = Pass(form, 1, views, True)
        return network.logits(run, network.features(run, x))[0]


def ordinary(dataset: Dataset, made: Config, *, compiled: bool) -> Callable[[], object]:
    """An update in ordinary PyTorch: autocast, backward, SGD."""
    network = Ordinary(dataset, made)
    forward = torch.compile(network) if compiled else network
    channels, *size = dataset.inputs
    x = torch.rand(made.train.batch_size, channels, *size, device="cuda")
    x = x.to(memory_format=torch.channels_last)
    y = torch.randint(len(dataset.classes), (made.train.batch_size,), device="cuda")
    optimizer = torch.optim.SGD(network.parameters(), 0.05, 0.9, weight_decay=5e-4, fused=True)

    def update() -> None:
        with torch.autocast("cuda", dtype=torch.bfloat16):
            loss = F.cross_entropy(forward(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return update


def peak() -> float:
    """Floating-point operations a second of a product of large bfloat16 matrices."""
    a, b = (torch.randn(SIDE, SIDE, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    return 2.0 * SIDE**3 / (medians({"product": lambda: a @ b}, 20)["product"] / 1e3)


def lines(name: str, members: list[int], updates: int, most: float) -> None:
    """Prints a line for each batch size and number of members."""
    shape, network, batches = SHAPES[name]
    dataset = noise(shape)
    for batch in batches:
        made = config(shape, batch, precision="bfloat16", **network)
        for k in [1] if network else members:
            ways: dict[str, Callable[[], object]] = {
                "eager": ordinary(dataset, made, compiled=False),
                "compiled": ordinary(dataset, made, compiled=True),
            }
            ways |= {form: packed(dataset, made, k, form) for form in GPU_FORMS}
            took = medians(ways, updates)
            gains = "  ".join(f"{f} {k * took['eager'] / took[f]:6.2f} x" for f in GPU_FORMS)
            best = min(took[form] for form in GPU_FORMS)
            share = products(made, dataset, k) / (best / 1e3) / most
            print(
                f"{name:8} batch {batch:3}  K={k:<3} eager {took['eager']:7.3f} ms  compiled "
                f"{took['compiled']:7.3f} ms  {gains}  {share:4.0%} of {most / 1e12:.0f} TFLOP/s",
                flush=True,
            )


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--members", default="1,20")
    parser.add_argument("--updates", type=int, default=50)
    parser.add_argument("--only", default=",".join(SHAPES))
    given: Any = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("benchmarks/gpu.py: PyTorch finds no GPU of CUDA here")
    assert SAMPLES >= 128  # a batch is whole
    most = peak()
    for name in given.only.split(","):
        lines(name, list(map(int, given.members.split(","))), given.updates, most)


if __name__ == "__main__":
    main()
