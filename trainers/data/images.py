"""Image files (JPEG, PNG, WebP, BMP) in a column of a Parquet file, also in Hugging Face's form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trainers.config import ConfigError
from trainers.data import encoded
from trainers.data.dataset import Dataset
from trainers.data.files import (
    Refuse,
    column,
    existing_path,
    groups,
    read_table,
    refusal,
    refuse_unused,
)
from trainers.data.labels import arrow_labels, encode, names_in
from trainers.data_config import DataConfig

IMAGE, LABEL = "image", "label"  # the columns that are read if no key names others


def load(config: DataConfig) -> Dataset:
    """Loads the images of `path` (and `test_path`), column `image`; classes in `target` or `label`.

    Class names come from the file's metadata if it has any. Only the images that a split keeps are
    decoded, so `max_per_class` also makes loading faster.

    Raises:
        ConfigError: images that are truncated, too large, or of several sizes without `size`.
    """
    refuse_unused(config, "path", "test_path", "target", "group", "image", "size")
    keys = {"train": "path"} | ({"test": "test_path"} if config.test_path is not None else {})
    tables = {
        part: read_table(existing_path(config, key), refusal(config, key))
        for part, key in keys.items()
    }
    target = config.target or LABEL
    names = [names_in(table.schema.metadata, target) for table in tables.values()]
    if len(set(names)) > 1:
        raise refusal(config, "test_path")("has other `classes` in its metadata than data.path")
    files = {part: _files(table, config, key=keys[part]) for part, table in tables.items()}
    labels = {part: _labels(table, config, key=keys[part]) for part, table in tables.items()}
    found = encode(labels, names[0], refusal(config, "path"), least=config.min_per_class)
    return encoded.dataset(files, found, config, groups(tables, config, keys))


@dataclass(frozen=True)
class ImageColumn:
    """Image files in the rows of a column."""

    content: Sequence[bytes]
    raised: Refuse

    def __len__(self) -> int:
        return len(self.content)

    def read(self, row: int) -> bytes:
        return self.content[row]

    def refuse(self, row: int, reason: str) -> ConfigError:
        return self.raised(f"has an image, row {row} counted from 0, that {reason}")


def cells(images: pa.ChunkedArray, name: str, refuse: Refuse) -> ImageColumn:
    """The files in a column: bytes, or Hugging Face's struct with a field `bytes`.

    The struct's field `path` names the file's former place and is never opened.

    Raises:
        ConfigError: the column holds something else, or a row has no bytes.
    """
    kind = images.type
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        images = pc.struct_field(images, "bytes")  # pyright: ignore[reportAttributeAccessIssue]
    if not (pa.types.is_binary(images.type) or pa.types.is_large_binary(images.type)):
        reason = f"has a column {name!r} of type {kind}: bytes of image files are needed, or a "
        raise refuse(f"{reason}struct of them as Hugging Face's `datasets` writes it")
    if images.null_count:
        reason = f"has {images.null_count:,} rows without an image in column {name!r}"
        if pa.types.is_struct(kind):
            reason += ", or with its path alone, which is not followed: store the bytes"
        raise refuse(reason)
    return ImageColumn(images.to_pylist(), refuse)


def _files(table: pa.Table, config: DataConfig, *, key: str) -> ImageColumn:
    name = config.image or IMAGE
    blamed = "image" if config.image else key
    return cells(column(table, name, config, key=blamed), name, refusal(config, key))


def _labels(table: pa.Table, config: DataConfig, *, key: str) -> np.ndarray:
    name = config.target or LABEL
    blamed = "target" if config.target else key
    return arrow_labels(column(table, name, config, key=blamed), name, refusal(config, key))
