"""Encoded images (JPEG, PNG, WebP, BMP) in a column of a Parquet file."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Sequence
from functools import partial

import numpy as np
import pyarrow as pa
from PIL import Image

from trainers.config import ConfigError, DataConfig
from trainers.data.dataset import Dataset, fingerprint, image_dataset
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
from trainers.data.splits import pick

FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
MODES = ("L", "RGB")
MAX_SIDE = 1024


def load(config: DataConfig) -> Dataset:
    """Images of `path` (and `test_path`), column `image`; classes in `target` or else `label`.

    Names of classes are taken from the file's metadata, key `classes`, where it has one. Only the
    images that a split keeps are decoded: `max_per_class` makes loading short too.

    Raises:
        ConfigError: images that are truncated, too large, or of several sizes or modes.
    """
    refuse_unused(config, "path", "test_path", "target", "group")
    keys = {"train": "path"} | ({"test": "test_path"} if config.test_path is not None else {})
    tables = {part: _read(config, key) for part, key in keys.items()}
    refuse = refusal(config, "path")
    files = {part: _bytes(table, config, key=keys[part]) for part, table in tables.items()}
    names = [names_in(table.schema.metadata) for table in tables.values()]
    if len(set(names)) > 1:
        raise refusal(config, "test_path")("has other `classes` in its metadata than data.path")
    labels = {part: _labels(table, config, key=keys[part]) for part, table in tables.items()}
    y, classes, left_out = encode(labels, names[0], refuse, least=config.min_per_class)
    picks = pick(
        y,
        config,
        content=_content(classes, files["train"], y["train"]),
        groups=groups(tables, config, keys),
    )
    decoded, form = {}, None
    for split, (part, chosen) in picks.items():
        decoded[split] = decode(files[part], chosen, refusal(config, keys[part]), form=form)
        form = decoded[split].shape[1:]
    kept = {split: y[part][chosen] for split, (part, chosen) in picks.items()}
    return image_dataset("images", decoded, kept, classes=classes, left_out=left_out)


def decode(
    files: Sequence[bytes],
    rows: np.ndarray,
    refuse: Refuse,
    *,
    form: tuple[int, ...] | None = None,
) -> np.ndarray:
    """The images of `rows`: (N, H, W) or (N, H, W, 3) uint8, of `form` where that is given."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # sizes are checked below
        form = form or _decode_one(files[rows[0]], partial(_in_row, refuse, rows[0])).shape
        pixels = np.empty((len(rows), *form), dtype=np.uint8)
        for position, row in enumerate(rows):
            image = _decode_one(files[row], partial(_in_row, refuse, row))
            if image.shape != form:
                reason = f"is {image.shape}, others are {form}: make all one size and mode"
                raise _in_row(refuse, row, reason)
            pixels[position] = image
    return pixels


def _decode_one(encoded: bytes, refuse: Refuse) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(encoded), formats=FORMATS) as image:
            size, mode = image.size, image.mode
            if max(size) <= MAX_SIDE and mode in MODES:
                return np.asarray(image)
    except Exception as error:  # Pillow's decoders raise what they like
        reason = str(error) if "BytesIO" not in str(error) else "not a JPEG, PNG, WebP or BMP"
        raise refuse(f"cannot be decoded ({reason}): replace or leave it out") from error
    if max(size) > MAX_SIDE:
        raise refuse(f"has {size[0]} x {size[1]} pixels, at most {MAX_SIDE} a side: reduce it")
    raise refuse(f"has Pillow's mode {mode}: convert all to L (grey) or RGB")


def _in_row(refuse: Refuse, row: int, reason: str) -> ConfigError:
    return refuse(f"has an image, row {row} counted from 0, that {reason}")


def _read(config: DataConfig, key: str) -> pa.Table:
    return read_table(existing_path(config, key), refusal(config, key))


def _bytes(table: pa.Table, config: DataConfig, *, key: str) -> list[bytes]:
    return encoded(column(table, "image", config, key=key), refusal(config, key))


def encoded(images: pa.ChunkedArray, refuse: Refuse) -> list[bytes]:
    """The files in a column, one a row.

    Raises:
        ConfigError: it holds something else, or a row has none.
    """
    if not (pa.types.is_binary(images.type) or pa.types.is_large_binary(images.type)):
        reason = f"has a column 'image' of type {images.type}: bytes of image files are needed"
        raise refuse(reason)
    if images.null_count:
        raise refuse(f"has {images.null_count:,} rows without an image")
    return images.to_pylist()


def _labels(table: pa.Table, config: DataConfig, *, key: str) -> np.ndarray:
    name = config.target or "label"
    blamed = "target" if config.target else key
    return arrow_labels(column(table, name, config, key=blamed), name, refusal(config, key))


def _content(classes: tuple[str, ...], images: list[bytes], y: np.ndarray) -> str:
    """Hash of a part as it is stored, before anything is decoded."""
    digest = hashlib.sha256()
    for image in images:
        digest.update(len(image).to_bytes(8, "little") + image)
    return fingerprint((*classes, digest.hexdigest()), y)
