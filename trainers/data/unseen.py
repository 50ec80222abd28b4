"""Reads new data for a saved model, as its training data were read, with or without classes.

Letters: N samples, C channels, H x W pixels, F numeric columns, G categorical columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from trainers.config import ConfigError
from trainers.data import encoded, folder, images, npz, pixels, schema
from trainers.data.columns import Encoder
from trainers.data.dataset import Dataset
from trainers.data.files import Refuse, by_name, read_table, readable
from trainers.data.labels import are_whole, known_labels, names_in

# An archive's arrays of images and of labels; of an archive with parts, the test part.
ARRAYS = {
    "images": "labels", "x": "y", "x_test": "y_test", "test_images": "test_labels",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Inputs:
    """A model's inputs and their scaling: everything needed to read new data.

    Attributes:
        shape: (C, H, W) of images, () of tables.
        mean, std: of each channel, (C,) float32; empty for tables.
        encoder: of a table's columns; None for images.
        target: the column that holds the class, if there is one.
        image: the column of image files.
        size: pixels a side to which image files are resized, by the rule of `trainers.data.pixels`;
            None if they must have the model's size.
    """

    kind: Literal["image", "table"]
    shape: tuple[int, ...]
    mean: np.ndarray
    std: np.ndarray
    encoder: Encoder | None
    target: str | None
    image: str = images.IMAGE
    size: int | None = None

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        target: str | None,
        *,
        image: str | None = None,
        size: int | None = None,
    ) -> Inputs:
        """Takes the inputs of a data set.

        Raises:
            ValueError: a table without its encoder.
        """
        if dataset.kind == "table" and dataset.encoder is None:
            raise ValueError("this table does not say how its columns were encoded")
        shape = dataset.x["train"].shape[1:] if dataset.kind == "image" else ()
        name = target or (images.LABEL if dataset.kind == "image" else None)
        return cls(
            dataset.kind,
            shape,
            dataset.mean,
            dataset.std,
            dataset.encoder,
            name,
            image or images.IMAGE,
            size,
        )

    def as_json(self) -> dict[str, Any]:
        """Everything as JSON; float32 numbers stay exact."""
        tree: dict[str, Any] = {"kind": self.kind, "target": self.target}
        if self.encoder is not None:
            return tree | {"columns": self.encoder.as_json()}
        scaling = {"mean": self.mean.tolist(), "std": self.std.tolist()}
        resizing = None if self.size is None else {"size": self.size, "rule": pixels.RULE}
        files = {"image": self.image, "resizing": resizing}
        return tree | {"shape": list(self.shape), **scaling, **files}

    @classmethod
    def of_json(cls, tree: Mapping[str, Any]) -> Inputs:
        """Restores from `as_json`; a KeyError, TypeError or ValueError if the JSON is not valid."""
        columns = tree.get("columns")
        mean, std = (np.array(tree.get(key, ()), dtype=np.float32) for key in ("mean", "std"))
        if tree["kind"] not in ("image", "table") or (tree["kind"] == "table") == (columns is None):
            raise ValueError("neither images nor a table")
        encoder = None if columns is None else Encoder.of_json(columns)
        resizing = tree.get("resizing")
        if resizing is not None and resizing["rule"] != pixels.RULE:
            reason = f"resizes images by rule {resizing['rule']}, and this version by rule "
            raise ConfigError("model", "model.json", f"{reason}{pixels.RULE}: train it again")
        return cls(
            tree["kind"],
            tuple(tree.get("shape", ())),
            mean,
            std,
            encoder,
            tree["target"],
            tree.get("image", images.IMAGE),
            None if resizing is None else resizing["size"],
        )


@dataclass(frozen=True, eq=False)
class Samples:
    """Samples as a model takes them: `x` and `codes` as in `Dataset`, one part.

    Attributes:
        y: (N,) int64, indices into the model's classes, -1 if the file has another class or no
            class for the sample; None if the file has no classes.
        names: (N,) text, the class names in the file, "" if the sample has none; None as y.
        rows: (N,), the samples' positions in the file, from 0.
        files: (N,) the names of the files, if the samples are files of a folder.
        strange: for each categorical column, the number of values without a code in the model;
            columns without such values are left out.
    """

    x: np.ndarray
    codes: np.ndarray | None
    y: np.ndarray | None
    rows: np.ndarray
    names: np.ndarray | None = None
    files: tuple[str, ...] | None = None
    strange: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)


def read(path: Path, inputs: Inputs, classes: Sequence[str]) -> Samples:
    """Reads the samples of a file (`.npz`, `.parquet`, `.csv`, `.csv.gz`) or a folder of images.

    An archive has `images` (and `labels`), `x` (and `y`), or the test part under a usual name; if
    `split` marks a test part (2), only that part is read. A table has the model's columns, or its
    column of image files. A folder has images, or class folders, or parts, of which test is read.

    Raises:
        ConfigError: of the key `data`: the file cannot be read, or columns or pixels do not fit.
    """
    refuse = partial(ConfigError, "data", str(path))
    if path.is_dir() and inputs.kind == "image":
        return _folder(readable(path, refuse, folder=True), inputs, classes, refuse)
    readable(path, refuse)
    if path.suffix.lower() == ".npz":
        if inputs.kind == "table":
            raise refuse("is an archive of images; this model takes a table: .parquet or .csv")
        return _archive(path, inputs, classes, refuse)
    takes = [inputs.image] if inputs.encoder is None else list(inputs.encoder.kinds)
    found = read_table(path, refuse, known=takes)
    names = _names(found, inputs, classes, refuse)
    y = None if names is None else indices(names, classes)
    rows = np.arange(found.num_rows)
    if inputs.encoder is None:
        files = images.cells(_column(found, inputs.image, refuse), inputs.image, refuse)
        return Samples(_pixels(files, inputs, refuse), None, y, rows, names)
    encoder = inputs.encoder
    columns = schema.read(by_name(found), encoder.kinds, schema.Rule(refuse, encoder.missing))
    x, codes = encoder.encode(columns.numbers, columns.texts, rows)
    strange = encoder.strange(columns.texts, rows)
    return Samples(x.astype(np.float32), codes, y, rows, names, strange=strange)


def _folder(root: Path, inputs: Inputs, classes: Sequence[str], refuse: Refuse) -> Samples:
    files, names = folder.unseen(root, refuse)
    y = None if names is None else indices(names, classes)
    x = _pixels(files, inputs, refuse)
    return Samples(x, None, y, np.arange(len(files)), names, tuple(files.names))


def _pixels(files: encoded.Files, inputs: Inputs, refuse: Refuse) -> np.ndarray:
    return _fitting(encoded.read(files, inputs.size, colour=inputs.shape[0] == 3), inputs, refuse)


def _archive(path: Path, inputs: Inputs, classes: Sequence[str], refuse: Refuse) -> Samples:
    with npz.Archive(path, refuse) as archive:
        name = next((array for array in ARRAYS if array in archive.names), None)
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
    labels = None if labels is None else npz.one_axis(labels, refuse)
    if labels is not None and labels.shape != (len(x),):
        raise refuse(f"has {len(x):,} images and labels of shape {labels.shape}: give one for each")
    x = _fitting(x[rows], inputs, refuse)
    if labels is None:
        return Samples(x, None, None, rows)
    given = named(labels[rows], classes, refuse, names)
    return Samples(x, None, indices(given, classes), rows, given)


def _fitting(x: np.ndarray, inputs: Inputs, refuse: Refuse) -> np.ndarray:
    """Returns images (N, H, W) or (N, H, W, C) channels first, if they have the model's size."""
    x = x[..., None] if x.ndim == 3 else x
    x = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    if x.shape[1:] != inputs.shape:
        raise refuse(f"has images of {_form(x.shape[1:])}; the model takes {_form(inputs.shape)}")
    return x


def _form(shape: Sequence[int]) -> str:
    channels, height, width = shape
    return f"{height} x {width} pixels, {'grey' if channels == 1 else 'colour'}"


def _column(found: pa.Table, name: str, refuse: Refuse) -> pa.ChunkedArray:
    if name not in found.column_names:
        held = ", ".join(found.column_names[:20])
        raise refuse(f"lacks the column {name!r} that the model takes; it has {held}")
    return found.column(name)


def _names(
    found: pa.Table, inputs: Inputs, classes: Sequence[str], refuse: Refuse
) -> np.ndarray | None:
    """The class names, if the file has any."""
    if inputs.target is None or inputs.target not in found.column_names:
        return None
    labels = known_labels(found.column(inputs.target), inputs.target, refuse)
    if labels.dtype.kind == "U" and not (labels != "").any():
        return None
    return named(labels, classes, refuse, names_in(found.schema.metadata, inputs.target))


def named(
    labels: np.ndarray, classes: Sequence[str], refuse: Refuse, names: Sequence[str] | None
) -> np.ndarray:
    """Returns labels (N,), text or whole numbers, as class names; "" if there is none.

    Whole numbers index `names` if the file has them. Otherwise they are class names, or indices of
    classes if no class has such a name and all are valid indices.
    """
    if labels.dtype.kind not in "iubU":
        raise refuse(f"has labels of type {labels.dtype}: use whole numbers or text")
    if labels.dtype.kind == "U":
        levels, places = np.unique(labels, return_inverse=True)
        if names is not None or not are_whole([level for level in levels.tolist() if level]):
            return labels
        whole = np.array([int(level or -1) for level in levels])
    else:
        whole, places = np.unique(labels.astype(np.int64), return_inverse=True)
        levels = whole.astype(np.str_)
    inside = (whole >= 0) & (whole < len(classes if names is None else names))
    if names is not None and not inside.all():
        raise refuse(f"has labels outside of 0 to {len(names) - 1}")
    if names is None and (set(levels) & set(classes) or not (inside | (levels == "")).all()):
        return levels[places]
    own = classes if names is None else names
    return np.array([own[at] if at >= 0 else "" for at in whole], dtype=np.str_)[places]


def indices(names: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """Converts class names (N,) to indices (N,) int64 of the model's classes, or -1."""
    own = {name: index for index, name in enumerate(classes)}
    levels, places = np.unique(names, return_inverse=True)
    return np.array([own.get(level, -1) for level in levels.tolist()], dtype=np.int64)[places]
