"""Seconds of an update of each lever, as ratios to a plain update and to ordinary PyTorch.

Aims: at one member no lever is slower than the same update in ordinary PyTorch with the libraries
that people use (`references.py`); SAM, ASAM and weighted SAM-A take at most 2.1 times a plain
update, SimCLR, VICReg and Barlow Twins 3.1 times, others 1.1 times their counted passes (a pass is
a third forward, two thirds backward); augmentation takes at most a fifth of an update on 32x32.

Each cell is the least of several turns of an epoch; in a turn every lever and its reference run one
after the other, so that a slow moment of the machine meets all of them. Times are of the thread,
batches and their augmentation included. A line has the batch size, the lever, members K,
milliseconds of a member's update, and its ratios to a plain update, to its counted passes and to
ordinary PyTorch; a `!` marks what misses an aim. `probe` is the K that a launch's probe finds best
for a plain update. The form is the one that a launch would try first.

    python benchmarks/trainer.py [--quick] [--levers SimCLR,SAM] [--batches 2,8,32,128]
        [--members 1,8,probe] [--turns 5] [--form folded]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
from references import (
    CHANNELS,
    CLASSES,
    PIXELS,
    SAMPLES,
    Build,
    Update,
    loaded,
    sharp,
    supervised,
    two_views,
)
from torchvision.transforms import v2
from turns import become_a_worker, least

from sweeper.engine.timing import seconds_per_step
from sweeper.plan import Price, best_k
from trainers.config import Config
from trainers.data.dataset import Dataset, image_dataset
from trainers.forms import FORMS
from trainers.loop import Member, PackTrainer

RATIO = 0.1  # of the smallest class to the largest
EPOCH = 256  # samples, and one more, so no batch is smaller than the others
PROBED, PROBED_SAMPLES = (1, 5, 10, 20), 640  # Ks, and the most samples of a pack's batch


@dataclass(frozen=True)
class Lever:
    """A lever's settings under `train`, its passes, the most that it may take, its reference."""

    train: dict[str, Any]
    passes: float | Callable[[int], float] = 1.0
    most: float | None = None  # times a plain update; None: 1.1 times the passes
    reference: Build | None = None

    def counted(self, batch: int) -> float:
        """The passes of an update, in updates of one pass."""
        return self.passes(batch) if callable(self.passes) else self.passes


def one_backward_each(batch: int) -> float:
    """The passes of a forward and a backward for each class, as many as a batch has on average."""
    sizes = RATIO ** (np.arange(CLASSES) / (CLASSES - 1))
    return (1 + 2 * float(np.sum(1 - (1 - sizes / sizes.sum()) ** batch))) / 3


def ssl(loss: str, **settings: Any) -> dict[str, Any]:
    """The settings of a joint SSL loss."""
    return {"ssl": {"weight": 0.5, "loss": loss}, **settings}


def sam(method: str = "sam", radius: float = 0.1, asymmetry: float = 1.0) -> dict[str, Any]:
    """The settings of a step of the SAM family."""
    return {"sam": {"method": method, "radius": radius, "asymmetry": asymmetry}}


CROP = (v2.RandomHorizontalFlip(), v2.RandomCrop(PIXELS, padding=4))
LEVERS = {
    "plain": Lever({}, reference=supervised()),
    "adamw": Lever({"optimizer": "adamw", "lr": 0.001}, reference=supervised("adamw")),
    "SAM": Lever(sam(asymmetry=0.0), 2, 2.1, sharp()),
    "SAM-A": Lever(sam(), 2, 2.1),
    "ASAM": Lever(sam("asam", 1.0, 0.0), 2, 2.1, sharp(adaptive=True)),
    "ImbSAM": Lever(sam("imbsam"), 8 / 3),
    "Focal-SAM": Lever(sam("focal_sam"), 8 / 3),
    "CC-SAM": Lever(sam("cc_sam", 1e-3)),
    "SimCLR": Lever(ssl("simclr"), 3, 3.1, two_views("NTXentLoss")),
    "VICReg": Lever(ssl("vicreg"), 3, 3.1, two_views("VICRegLoss")),
    "Barlow Twins": Lever(ssl("barlow_twins"), 3, 3.1, two_views("BarlowTwinsLoss")),
    "BYOL": Lever(ssl("byol"), 11 / 3),
    "masked": Lever(ssl("masked"), 2),
    "focal": Lever({"loss": "focal"}),
    "LDAM": Lever({"loss": "ldam", "head": "cosine"}),
    "vector scaling": Lever({"loss": "vs"}),
    "class weights": Lever({"class_weights": "inverse"}, reference=supervised(weighted=True)),
    "balanced": Lever({"sampler": "balanced"}, reference=supervised(batches=loaded(balanced=True))),
    "class-normalised": Lever({"gradient": "class_normalised"}, one_backward_each),
    "EMA": Lever({"average": "ema"}, reference=supervised(averaged=True)),
    "flip_crop": Lever({"augmentation": "flip_crop"}, 1, 1.2, supervised(batches=loaded(*CROP))),
    "TrivialAugment": Lever(
        {"augmentation": "trivial_augment"},
        1,
        1.2,
        supervised(batches=loaded(v2.TrivialAugmentWide())),
    ),
    "mixup": Lever(
        {"augmentation": "mixup"},
        1,
        1.2,
        supervised(batches=loaded(mixing=v2.MixUp(num_classes=CLASSES))),
    ),
}


def data() -> Dataset:
    """Noise of CIFAR's shape, with rare classes made by the configuration."""
    source = np.random.default_rng(0)
    sizes = {"train": SAMPLES, "val": 20, "test": 20}
    y = {split: np.arange(size) % CLASSES for split, size in sizes.items()}
    shape = (PIXELS, PIXELS, CHANNELS)
    x = {s: source.integers(0, 256, (n, *shape)).astype(np.uint8) for s, n in sizes.items()}
    return image_dataset("noise", x, y, classes=tuple(f"c{i}" for i in range(CLASSES)))


def trainer(
    dataset: Dataset, batch: int, members: int, train: dict[str, Any], *, form: str
) -> PackTrainer:
    """A pack of one configuration."""
    settings = {"batch_size": batch, "lr": 0.05, "epochs": 1000, "evaluations": 1} | train
    imbalance = {"profile": "exponential", "train_ratio": RATIO}
    config = Config.model_validate({"data": {"imbalance": imbalance}, "train": settings})
    runs = [Member(config, replicate) for replicate in range(members)]
    return PackTrainer(dataset, runs, form=form)


def packed(
    dataset: Dataset, batch: int, members: int, train: dict[str, Any], *, form: str
) -> Update:
    """Makes an update of a pack, preparing its batch."""
    pack = trainer(dataset, batch, members, train, form=form)
    batches = pack.feed.batches(0, 10**9)
    return lambda: pack.update(next(batches))


def probed(dataset: Dataset, batch: int, *, form: str) -> int:
    """The K that a launch would choose for a plain update, of those that its probe times."""
    fitting = [k for k in PROBED if k == 1 or k * batch <= PROBED_SAMPLES]
    timed = seconds_per_step({k: trainer(dataset, batch, k, {}, form=form) for k in fitting})
    seconds = {k: update for k, (update, _) in timed.items()}
    return best_k(Price("", seconds, form, 1), max(fitting), max(fitting))


def lines(
    batch: int, members: list[str], names: list[str], *, turns: int, form: str
) -> Iterator[str]:
    """A line for each lever and number of members."""
    dataset = data()
    ways = {(n, 0): build(batch) for n in names if (build := LEVERS[n].reference)}
    ordinary: dict[str, float] = {}
    for wanted in members:
        k = probed(dataset, batch, form=form) if wanted == "probe" else int(wanted)
        ways |= {
            (name, k): packed(dataset, batch, k, LEVERS[name].train, form=form) for name in names
        }
        updates = dict.fromkeys(ways, EPOCH // batch)
        taken = least(ways, turns=turns if k == 1 else max(2, turns // 2), times=updates)
        ordinary |= {name: each for (name, k), each in taken.items() if k == 0}
        for name in names:
            yield line(batch, name, k, taken, ordinary.get(name))
        ways = {}


def line(
    batch: int, name: str, k: int, taken: dict[tuple[str, int], float], ordinary: float | None
) -> str:
    """A line of the table; aims are for one member."""
    lever, each = LEVERS[name], taken[name, k]
    plain, passes = each / taken["plain", k], lever.counted(batch)
    missed = k == 1 and plain > (lever.most or 1.1 * passes)
    text = f"{batch:5}  {name:17} K={k:<3} {1000 * each / k:8.2f} ms  {plain:5.2f} x plain"
    text += f"{'!' if missed else ' '} {plain / passes:5.2f} x passes"
    if ordinary:
        share = each / k / ordinary
        text += f"  {share:5.2f} x ordinary PyTorch{'!' if k == 1 and share > 1 else ''}"
    return text


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="batches 2 and 32, one member")
    parser.add_argument("--levers", help=f"of {', '.join(LEVERS)}")
    parser.add_argument("--batches")
    parser.add_argument("--members")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--form", choices=list(FORMS), default=next(iter(FORMS)))
    given = parser.parse_args()
    become_a_worker()
    names = list(dict.fromkeys(["plain", *(given.levers.split(",") if given.levers else LEVERS)]))
    if unknown := set(names) - set(LEVERS):
        parser.error(
            f"no lever is named {', '.join(sorted(unknown))}; there are {', '.join(LEVERS)}"
        )
    members = (given.members or ("1" if given.quick else "1,8,probe")).split(",")
    if find_spec("lightly") is None:
        parser.error("its references need lightly: pip install 'lightly>=1.5'")
    for batch in map(int, (given.batches or ("2,32" if given.quick else "2,8,32,128")).split(",")):
        for text in lines(batch, members, names, turns=given.turns, form=given.form):
            print(text, flush=True)


if __name__ == "__main__":
    main()
