"""Reads CIFAR-10, CIFAR-100 and the MNIST family from files in torchvision's layout.

Nothing is ever downloaded. CIFAR's files are pickles: torchvision opens them only if their MD5 is
the published one. MNIST's files hold plain numbers and are read here.
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from trainers.data.dataset import Dataset, fingerprint, image_dataset
from trainers.data.files import Refuse, check_root, existing_path, refusal, refuse_unused
from trainers.data.labels import encode
from trainers.data.rows import Picked
from trainers.data.splits import pick
from trainers.data_config import DataConfig

Part = tuple[np.ndarray, np.ndarray]

CIFAR = {"cifar10": "CIFAR10", "cifar100": "CIFAR100"}
MNIST = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "kmnist": "KMNIST"}
FASHION = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


def load_cifar(config: DataConfig) -> Dataset:
    """Loads 32x32 colour images, in the published training and test parts."""
    from torchvision import datasets

    refuse, folder = _source(config)
    kind = getattr(datasets, CIFAR[config.dataset])
    try:
        sets = {"train": kind(folder, train=True), "test": kind(folder, train=False)}
    except (RuntimeError, OSError) as error:
        reason = f"does not hold {config.dataset} as torchvision lays it out, or it is damaged"
        raise refuse(f"{reason}; nothing is downloaded here") from error
    parts = {part: (own.data, np.asarray(own.targets)) for part, own in sets.items()}
    return _dataset(config, parts, tuple(sets["train"].classes), refuse)


def load_mnist(config: DataConfig) -> Dataset:
    """Loads 28x28 grey images from FOLDER/MNIST/raw (FashionMNIST, KMNIST), gzip or not."""
    refuse, folder = _source(config)
    raw = folder / MNIST[config.dataset] / "raw"
    parts = {
        part: (
            read_idx(raw / f"{stem}-images-idx3-ubyte", refuse),
            read_idx(raw / f"{stem}-labels-idx1-ubyte", refuse),
        )
        for part, stem in (("train", "train"), ("test", "t10k"))
    }
    for part, (images, labels) in parts.items():
        if images.shape != (len(labels), 28, 28):
            reason = f"has {part} images of shape {images.shape} and {labels.shape} labels"
            raise refuse(f"{reason}: is it damaged?")
    digits = tuple(str(digit) for digit in range(10))
    names = FASHION if config.dataset == "fashion_mnist" else digits
    return _dataset(config, parts, names, refuse)


def read_idx(path: Path, refuse: Refuse) -> np.ndarray:
    """Reads bytes in the IDX format: two zeros, type 8, rank, big-endian sizes, data."""
    packed = path.with_name(path.name + ".gz")
    check_root(path if path.exists() else packed, refuse)
    try:
        content = path.read_bytes() if path.exists() else gzip.decompress(packed.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        reason = f"does not hold {path.name}, or it is damaged; nothing is downloaded here"
        raise refuse(reason) from error
    rank = content[3] if len(content) > 3 else 0
    head, data = content[: 4 + 4 * rank], content[4 + 4 * rank :]
    whole = content[:3] == b"\x00\x00\x08" and len(head) == 4 + 4 * rank
    sizes = np.frombuffer(head[4:], dtype=">u4") if whole else np.array([])
    if not whole or math.prod(map(int, sizes)) != len(data):
        raise refuse(f"has a damaged {path.name}: fetch it again")
    return np.frombuffer(data, dtype=np.uint8).reshape(sizes.astype(int))


def _source(config: DataConfig) -> tuple[Refuse, Path]:
    refuse_unused(config, "path")
    return refusal(config, "path"), existing_path(config, "path", folder=True)


def _dataset(
    config: DataConfig, parts: dict[str, Part], names: tuple[str, ...], refuse: Refuse
) -> Dataset:
    images = {part: pixels for part, (pixels, _) in parts.items()}
    labels = {part: own for part, (_, own) in parts.items()}
    y, classes, left_out = encode(labels, names, refuse, least=config.min_per_class)
    picks = pick(y, config, content=fingerprint(classes, images["train"], y["train"]))
    return image_dataset(
        config.dataset,
        {split: Picked(images[part], chosen) for split, (part, chosen) in picks.items()},
        {split: y[part][chosen] for split, (part, chosen) in picks.items()},
        classes=classes,
        left_out=left_out,
    )
