"""A data set in memory: arrays of each split, classes, and a fingerprint of the content.

Letters: N samples, C channels, H x W pixels, F numeric columns, G categorical columns.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np

from trainers.data.columns import Encoder
from trainers.data.repeats import repeats
from trainers.data.rows import Rows, arrays, parts
from trainers.data.shape import TableShape
from trainers.data.splits import SPLITS

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Dataset:
    """The samples for training and evaluation; "train" is the pool from which subsets are drawn.

    The splits are train, val and test, in this order; without validation there is no val.

    Attributes:
        x: split -> (N, C, H, W) uint8, or float32 in 0..1; for tables (N, F) float32, scaled,
            F may be 0.
        codes: split -> (N, G) int64 for tables, G may be 0; None for images. Code 0 is missing
            or not in the pool.
        cardinalities: the number of codes of each categorical column, 0 included.
        y: split -> (N,) int64, indices into `classes`.
        fingerprint: SHA-256 of classes and arrays, never of a path.
        mean, std: (C,) float32, over the pool's pixels in 0..1 (uint8 divided by 255); a constant
            channel has std 1. Empty for tables.
        encoder: converts a table's columns to numbers; None for images.
        columns: the kinds of a table's columns, for `facts`; None for images.
        left_out: class name -> samples of a class that `min_per_class` left out.
    """

    name: str
    kind: Literal["image", "table"]
    x: dict[str, np.ndarray]
    codes: dict[str, np.ndarray] | None
    cardinalities: tuple[int, ...]
    y: dict[str, np.ndarray]
    classes: tuple[str, ...]
    fingerprint: str
    mean: np.ndarray
    std: np.ndarray
    encoder: Encoder | None = None
    left_out: Mapping[str, int] = field(default_factory=dict[str, int])
    columns: Mapping[str, Any] | None = None

    @cached_property
    def repeats(self) -> dict[str, int]:
        """Counts of equal samples (`trainers.data.repeats`), computed once."""
        return repeats(self.x, self.codes)

    @property
    def size_bytes(self) -> int:
        """The bytes of all samples."""
        found = (self.x, self.codes or {})
        return sum(array.nbytes for own in found for array in own.values())

    @property
    def inputs(self) -> tuple[int, ...]:
        """A network's input shape: (C, H, W) of images, a `TableShape` of tables."""
        pool = self.x["train"]
        if self.kind == "image":
            return tuple(pool.shape[1:])
        return TableShape.of(pool.shape[1], self.cardinalities, pool)

    @property
    def facts(self) -> dict[str, Any]:
        """Everything that checks and reports need to know about the data, as JSON.

        `shape` is [C, H, W] for images and [F] for tables. `counts` are the samples of each class.
        `labels` are the classes of the test split, in its order, in the format of `pack_labels`.
        `columns` are the kinds of a table's columns (a saved model holds the levels too).
        """
        return {
            "fingerprint": self.fingerprint,
            "kind": self.kind,
            "classes": list(self.classes),
            "shape": list(self.x["train"].shape[1:]),
            "cardinalities": list(self.cardinalities),
            "counts": {split: self._counts(split) for split in self.y},
            "bytes": self.size_bytes,
            "left_out": dict(self.left_out),
            "repeats": self.repeats,
            "labels": {"test": pack_labels(self.y["test"])},
            "columns": None if self.columns is None else dict(self.columns),
        }

    def _counts(self, split: str) -> list[int]:
        return np.bincount(self.y[split], minlength=len(self.classes)).tolist()


def pack_labels(labels: np.ndarray) -> str:
    """Encodes labels (N,) as text: zlib of little-endian 16-bit numbers, in hexadecimal digits."""
    return zlib.compress(labels.astype("<u2").tobytes(), 9).hex()


def image_dataset(
    name: str,
    x: Mapping[str, Rows],
    y: Arrays,
    *,
    classes: tuple[str, ...],
    left_out: Mapping[str, int] | None = None,
) -> Dataset:
    """Makes a data set of images: split -> (N, H, W) or (N, H, W, C), uint8 or 0..1 floats."""
    splits = [split for split in SPLITS if split in y]
    pixels = arrays({split: x[split] for split in splits}, _channels_first)
    labels = {split: y[split].astype(np.int64) for split in splits}
    mean, std = _channel_moments(pixels["train"])
    mark = fingerprint(classes, *pixels.values(), *labels.values())
    return Dataset(
        name, "image", pixels, None, (), labels, classes, mark, mean, std, left_out=left_out or {}
    )


def table_dataset(
    name: str,
    x: Arrays,
    codes: Arrays,
    y: Arrays,
    *,
    cardinalities: tuple[int, ...],
    classes: tuple[str, ...],
    encoder: Encoder | None = None,
    columns: Mapping[str, Any] | None = None,
    left_out: Mapping[str, int] | None = None,
) -> Dataset:
    """Makes a data set of scaled numbers (N, F) and codes (N, G) of each split."""
    splits = [split for split in SPLITS if split in y]
    numbers = {split: x[split].astype(np.float32) for split in splits}
    kept = {split: codes[split].astype(np.int64) for split in splits}
    labels = {split: y[split].astype(np.int64) for split in splits}
    mark = fingerprint(classes, *numbers.values(), *kept.values(), *labels.values())
    none = np.empty(0, dtype=np.float32)
    return Dataset(
        name,
        "table",
        numbers,
        kept,
        cardinalities,
        labels,
        classes,
        mark,
        none,
        none,
        encoder,
        left_out or {},
        columns,
    )


def fingerprint(names: tuple[str, ...], *arrays: np.ndarray) -> str:
    """Returns the SHA-256 of names and of each array's type, shape and numbers, in hexadecimal."""
    digest = hashlib.sha256(json.dumps(names).encode())
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _channels_first(x: np.ndarray) -> np.ndarray:
    x = x[..., None] if x.ndim == 3 else x
    return x.transpose(0, 3, 1, 2)


def _channel_moments(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean and standard deviation of each channel, in units of 0..1: two of (C,) float32."""
    unit = 255.0 if pixels.dtype == np.uint8 else 1.0
    total, squares = np.zeros(pixels.shape[1]), np.zeros(pixels.shape[1])
    for rows in parts(pixels.shape):
        part = pixels[rows] / np.float64(unit)
        total += part.sum(axis=(0, 2, 3))
        squares += np.einsum("nchw,nchw->c", part, part)
    count = pixels[:, 0].size
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0.0))
    return mean.astype(np.float32), np.where(std > 1e-6, std, 1.0).astype(np.float32)
