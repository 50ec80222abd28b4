"""Data that a saved model has not seen: read as its training data were, with or without classes.

Letters: N samples, C channels, H x W pixels, F numeric columns, G categorical columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from trainers.config import ConfigError
from trainers.data import images, npz, table
from trainers.data.columns import Encoder
from trainers.data.dataset import Dataset
from trainers.data.files import Refuse, read_table, readable
from trainers.data.labels import arrow_labels, names_in

# An archive's arrays by what they are; of one that was trained on, the test part.
ARRAYS = {"images": "labels", "x": "y", "x_test": "y_test"}


@dataclass(frozen=True, eq=False)
class Inputs:
    """What a model takes, and how it was scaled: all that new data must be read with.

    Attributes:
        shape: (C, H, W) of images, () of tables.
        mean, std: of each channel, (C,) float32; empty for tables.
        encoder: of a table's columns; None for images.
        target: the column that holds the class, where there is one.
    """

    kind: Literal["image", "table"]
    shape: tuple[int, ...]
    mean: np.ndarray
    std: np.ndarray
    encoder: Encoder | None
    target: str | None

    @classmethod
    def of(cls, dataset: Dataset, target: str | None) -> Inputs:
        """Those of a data set.

        Raises:
            ValueError: a table that does not say how it was encoded.
        """
        if dataset.kind == "table" and dataset.encoder is None:
            raise ValueError("this table does not say how its columns were encoded")
        shape = dataset.x["train"].shape[1:] if dataset.kind == "image" else ()
        name = target or ("label" if dataset.kind == "image" else None)
        return cls(dataset.kind, shape, dataset.mean, dataset.std, dataset.encoder, name)

    def as_json(self) -> dict[str, Any]:
        """All of it; float32 numbers survive as they are."""
        tree: dict[str, Any] = {"kind": self.kind, "target": self.target}
        if self.encoder is not None:
            return tree | {"columns": self.encoder.as_json()}
        scaling = {"mean": self.mean.tolist(), "std": self.std.tolist()}
        return tree | {"shape": list(self.shape), **scaling}

    @classmethod
    def of_json(cls, tree: Mapping[str, Any]) -> Inputs:
        """From `as_json`; a KeyError, TypeError or ValueError where it is not that."""
        columns = tree.get("columns")
        mean, std = (np.array(tree.get(key, ()), dtype=np.float32) for key in ("mean", "std"))
        if tree["kind"] not in ("image", "table") or (tree["kind"] == "table") == (columns is None):
            raise ValueError("neither images nor a table")
        encoder = None if columns is None else Encoder.of_json(columns)
        return cls(tree["kind"], tuple(tree.get("shape", ())), mean, std, encoder, tree["target"])


@dataclass(frozen=True, eq=False)
class Samples:
    """Samples as a model takes them: `x` and `codes` as in `Dataset`, one part; y (N,) or None.

    `rows` are the samples' places in the file, (N,), counted from 0.
    """

    x: np.ndarray
    codes: np.ndarray | None
    y: np.ndarray | None
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)


def read(path: Path, inputs: Inputs, classes: Sequence[str]) -> Samples:
    """The samples of a file: `.npz`, or `.parquet`, `.csv`, `.csv.gz`.

    An archive has `images` (and `labels`), `x` (and `y`), or else `x_test` (and `y_test`); where a
    `split` marks a test part (2), that alone is read. A table has the model's columns, images lie
    in a column `image`.

    Raises:
        ConfigError: of the key `data`: the file cannot be read, columns or pixels do not fit.
    """
    refuse = partial(ConfigError, "data", str(path))
    readable(path, refuse)
    if path.suffix.lower() == ".npz":
        if inputs.kind == "table":
            raise refuse("is an archive of images; this model takes a table: .parquet or .csv")
        return _archive(path, inputs, classes, refuse)
    found = read_table(path, refuse)
    labels = _labels(found, inputs, refuse)
    y = (
        None
        if labels is None
        else indices(labels, classes, refuse, names_in(found.schema.metadata))
    )
    rows = np.arange(found.num_rows)
    if inputs.encoder is None:
        encoded = images.encoded(_column(found, "image", refuse), refuse)
        return Samples(
            _fitting(images.decode(encoded, rows, refuse), inputs, refuse), None, y, rows
        )
    x, codes = _table(found, inputs.encoder, refuse)
    return Samples(x, codes, y, rows)


def _archive(path: Path, inputs: Inputs, classes: Sequence[str], refuse: Refuse) -> Samples:
    with npz.Archive(path, refuse) as archive:
        name = next((one for one in ARRAYS if one in archive.names), None)
        if name is None:
            held = ", ".join(archive.names) or "nothing"
            raise refuse(f"holds {held}: the model reads an array called {', '.join(ARRAYS)}")
        x = npz.images({name: archive[name]}, refuse)[name]
        labels = archive[ARRAYS[name]] if ARRAYS[name] in archive.names else None
        rows = np.arange(len(x))
        if name == "images" and "split" in archive.names:
            split = archive["split"]
            if split.shape != rows.shape:
                raise refuse(f"has {len(x):,} images and a split of shape {split.shape}")
            rows = np.flatnonzero(split == 2) if (split == 2).any() else rows
        names = npz.class_names(archive, refuse)
    if labels is not None and labels.shape != (len(x),):
        raise refuse(f"has {len(x):,} images and labels of shape {labels.shape}: one an image")
    y = None if labels is None else indices(labels, classes, refuse, names)[rows]
    return Samples(_fitting(x[rows], inputs, refuse), None, y, rows)


def _fitting(x: np.ndarray, inputs: Inputs, refuse: Refuse) -> np.ndarray:
    """Images (N, H, W) or (N, H, W, C) with their channels first, if they are the model's size."""
    x = x[..., None] if x.ndim == 3 else x
    x = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    if x.shape[1:] != inputs.shape:
        raise refuse(f"has images of {_form(x.shape[1:])}; the model takes {_form(inputs.shape)}")
    return x


def _form(shape: Sequence[int]) -> str:
    channels, height, width = shape
    return f"{height} x {width} pixels, {'grey' if channels == 1 else 'colour'}"


def _table(found: pa.Table, encoder: Encoder, refuse: Refuse) -> tuple[np.ndarray, np.ndarray]:
    wanted = [*encoder.scales, *encoder.levels]
    missing = [name for name in wanted if name not in found.column_names]
    if missing:
        some = ", ".join(map(repr, missing[:10])) + (" ..." if len(missing) > 10 else "")
        word = "column" if len(missing) == 1 else f"{len(missing)} columns"
        held = ", ".join(found.column_names[:20])
        raise refuse(f"lacks the {word} {some} that the model takes; it has {held}")
    numbers = {name: table.floats(found.column(name), name, refuse) for name in encoder.scales}
    texts = {name: table.text(found.column(name), name, refuse) for name in encoder.levels}
    x, codes = encoder.encode(numbers, texts, np.arange(found.num_rows))
    return x.astype(np.float32), codes


def _column(found: pa.Table, name: str, refuse: Refuse) -> pa.ChunkedArray:
    if name not in found.column_names:
        held = ", ".join(found.column_names[:20])
        raise refuse(f"lacks the column {name!r} that the model takes; it has {held}")
    return found.column(name)


def _labels(found: pa.Table, inputs: Inputs, refuse: Refuse) -> np.ndarray | None:
    """The classes, where the file has them; a column of nothing but missing values has none."""
    if inputs.target is None or inputs.target not in found.column_names:
        return None
    values = found.column(inputs.target)
    if values.null_count == len(values):
        return None
    return arrow_labels(values, inputs.target, refuse)


def indices(
    labels: np.ndarray, classes: Sequence[str], refuse: Refuse, names: Sequence[str] | None
) -> np.ndarray:
    """Labels (N,), as text or whole numbers, as indices into the model's classes.

    Whole numbers index `names` where the file has them. Else they are the classes' own names,
    or, where no class is called so, their places.
    """
    if labels.dtype.kind not in "iubU":
        raise refuse(f"has labels of type {labels.dtype}: use whole numbers or text")
    own = {name: index for index, name in enumerate(classes)}
    if labels.dtype.kind == "U":
        words = labels
    else:
        whole = labels.astype(np.int64)
        if names is None and not own.keys() & set(map(str, np.unique(whole))):
            names = classes
        if names is not None and len(whole) and not (0 <= whole.min() <= whole.max() < len(names)):
            raise refuse(f"has labels outside of 0 to {len(names) - 1}")
        words = np.array(names)[whole] if names is not None else whole.astype(np.str_)
    levels, places = np.unique(words, return_inverse=True)
    unknown = [str(level) for level in levels if level not in own]
    if unknown:
        reason = f"has the class {unknown[0]!r}, which the model does not know"
        raise refuse(f"{reason}; it knows {', '.join(classes[:20])}")
    return np.array([own[level] for level in levels], dtype=np.int64)[places]
