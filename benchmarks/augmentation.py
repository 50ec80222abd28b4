"""Microseconds of a processor for an augmented image of 32x32x3, beside torchvision.

Ours augments 512 images of a batch in one call, with one thread; torchvision's transforms of the
same name take one image of 8-bit numbers after the other, as in a DataLoader's worker. The peer is
timed in the same turns, so that a slow moment of the machine meets both.

Aim: AutoAugment in at most 20 us.

    python benchmarks/augmentation.py [--turns 10]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from torchvision.transforms import v2
from turns import become_a_worker, least

from trainers.augment import parse
from trainers.config import Config

PIXELS, IMAGES, AIM = 32, 512, 20.0
WAYS: dict[str, tuple[str, Callable[[], object]]] = {
    "flip and crop": (
        "flip_crop",
        lambda: v2.Compose([v2.RandomHorizontalFlip(), v2.RandomCrop(PIXELS, padding=4)]),
    ),
    "AutoAugment": ("auto_augment", lambda: v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10)),
    "RandAugment": ("rand_augment", v2.RandAugment),
    "TrivialAugment": ("trivial_augment", v2.TrivialAugmentWide),
}


def ours(name: str) -> Callable[[], object]:
    """Augments all images, with draws that are made before."""
    policy = parse(Config.model_validate({"train": {"augmentation": name}}).train)
    x = torch.rand(IMAGES, 3, PIXELS, PIXELS)
    draws = torch.rand(IMAGES, policy.width())
    return lambda: policy.apply(x.clone(), draws)


def torchvisions(make: Callable[[], object]) -> Callable[[], object]:
    """Augments all images, one after the other."""
    transform = make()
    assert callable(transform)
    images = torch.randint(256, (IMAGES, 3, PIXELS, PIXELS), dtype=torch.uint8)
    return lambda: [transform(image) for image in images]


def main() -> None:
    """Prints a line for each policy."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--turns", type=int, default=10)
    given = parser.parse_args()
    become_a_worker()
    torch.manual_seed(0)
    ways = {(name, "ours"): ours(policy) for name, (policy, _) in WAYS.items()}
    ways |= {(name, "torchvision"): torchvisions(make) for name, (_, make) in WAYS.items()}
    times = {way: 10 if way[1] == "ours" else 1 for way in ways}
    found = least(ways, turns=given.turns, times=times)
    for name in WAYS:
        mine, peer = (1e6 * found[name, whose] / IMAGES for whose in ("ours", "torchvision"))
        missed = " !" if name == "AutoAugment" and mine > AIM else ""
        print(f"{name:15} {mine:6.1f} us, torchvision {peer:6.1f} us: {peer / mine:.1f} x{missed}")


if __name__ == "__main__":
    main()
