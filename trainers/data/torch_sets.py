"""Data sets of PyTorch: any map-style `torch.utils.data.Dataset` of images or rows with labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from PIL import Image

from trainers.blocks import ConfigError
from trainers.data.dataset import Dataset, image_dataset, table_dataset
from trainers.data.pixels import COLOUR, GREY, plain


class MapStyle(Protocol):
    """A data set by index; an item is a pair of a sample and the number of its class."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


def from_torch(
    name: str,
    *,
    train: MapStyle,
    test: MapStyle,
    val: MapStyle | None = None,
    classes: Sequence[str] | None = None,
) -> Dataset:
    """Reads one data set of PyTorch for each split into memory.

    A sample is a PIL image, a tensor of an image (C, H, W) or (H, W) of uint8 or of numbers in
    0..1, or a tensor of a row (F,), whose columns are scaled to mean 0 and deviation 1 over the
    pool. Each sample is read once, so transforms must not be random.

    Args:
        name: its name in messages and reports.
        train: the pool.
        val: without it there is no validation split.
        classes: names by number; without them `train.classes`, or else the numbers.

    Raises:
        ConfigError: samples of several sizes or kinds, numbers outside 0..1, or wrong labels.
    """
    parts = {"train": train} | ({"val": val} if val is not None else {}) | {"test": test}
    items = {split: [part[i] for i in range(len(part))] for split, part in parts.items()}
    samples = {split: [item[0] for item in own] for split, own in items.items()}
    labels = {split: np.array([int(item[1]) for item in own]) for split, own in items.items()}
    found = classes or getattr(train, "classes", None)
    names = tuple(map(str, found or range(int(max(own.max() for own in labels.values())) + 1)))
    for split, own in labels.items():
        if own.min() < 0 or own.max() >= len(names):
            raise _refused(name, f"has labels outside 0 to {len(names) - 1} in its split {split}")
    arrays = _stacked(name, samples)
    if arrays["train"].ndim == 2:
        return _table(name, arrays, labels, names)
    for split, x in arrays.items():
        if x.dtype != np.uint8 and (x.min() < 0 or x.max() > 1):
            reason = f"has pixels outside 0..1 in its split {split}: leave out a transform that "
            raise _refused(name, f"{reason}normalises, because Sweeper does it")
    return image_dataset(name, arrays, labels, classes=names)


def _stacked(name: str, samples: dict[str, list[Any]]) -> dict[str, np.ndarray]:
    """The samples of each split as (N, H, W, C), or (N, F)."""
    everything = [sample for own in samples.values() for sample in own]
    colour = any(isinstance(s, Image.Image) and s.mode not in GREY for s in everything)
    arrays = {
        split: [_array(name, s, colour=colour) for s in own] for split, own in samples.items()
    }
    shapes = {one.shape for own in arrays.values() for one in own}
    if len(shapes) > 1:
        shown = " and ".join(map(str, sorted(shapes)[:2]))
        raise _refused(name, f"has samples of several shapes, {shown}: resize them to one")
    return {split: np.stack(own) for split, own in arrays.items()}


def _array(name: str, sample: Any, *, colour: bool) -> np.ndarray:
    """An image (H, W, C) of uint8 or float32, or a row (F,)."""
    if isinstance(sample, Image.Image):
        if sample.mode not in GREY + COLOUR:
            raise _refused(name, f"has an image of Pillow's mode {sample.mode}: convert it to RGB")
        pixels = np.asarray(plain(sample, "RGB" if colour else "L"))
        return pixels if colour else pixels[..., None]
    array = np.asarray(sample)
    array = array if array.dtype == np.uint8 and array.ndim > 1 else array.astype(np.float32)
    if array.ndim == 2:
        return array[..., None]
    if array.ndim in (1, 3):
        return array.transpose(1, 2, 0) if array.ndim == 3 else array
    raise _refused(name, f"has a sample of {array.ndim} dimensions: 1 (rows) to 3 (images) fit")


def _table(
    name: str, rows: dict[str, np.ndarray], labels: dict[str, np.ndarray], names: tuple[str, ...]
) -> Dataset:
    mean, std = rows["train"].mean(0), rows["train"].std(0)
    scaled = {split: (x - mean) / np.where(std > 0, std, 1) for split, x in rows.items()}
    codes = {split: np.empty((len(x), 0)) for split, x in rows.items()}
    return table_dataset(name, scaled, codes, labels, cardinalities=(), classes=names)


def _refused(name: str, reason: str) -> ConfigError:
    return ConfigError("data.dataset", name, reason)
