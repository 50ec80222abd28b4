"""Tables: Parquet or CSV with numeric and categorical columns, and a column that is the class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from trainers.config import DataConfig
from trainers.data.columns import Encoder, Levels, Scale, Text
from trainers.data.dataset import Dataset, fingerprint, table_dataset
from trainers.data.files import (
    Refuse,
    column,
    existing_path,
    groups,
    read_table,
    refusal,
    refuse_unused,
)
from trainers.data.labels import Labels, arrow_labels, encode
from trainers.data.splits import Picks, pick


@dataclass(frozen=True, eq=False)
class _Columns:
    """A file's features in its order: numbers (N,) float64, NaN where missing, and categories."""

    numbers: dict[str, np.ndarray]
    texts: dict[str, Text]


def load(config: DataConfig) -> Dataset:
    """The table in `path` (and `test_path`), its class in `target`, scaled by the pool alone.

    Text, categories and booleans are categorical; whole and decimal numbers are numeric.

    Raises:
        ConfigError: a column is missing or its type cannot be used, or the classes cannot.
    """
    refuse_unused(config, "path", "test_path", "target", "group")
    keys = {"train": "path"} | ({"test": "test_path"} if config.test_path is not None else {})
    tables = {
        part: read_table(existing_path(config, key), refusal(config, key))
        for part, key in keys.items()
    }
    labels = {
        part: arrow_labels(_target(table, config), str(config.target), refusal(config, keys[part]))
        for part, table in tables.items()
    }
    y, classes, left_out = encode(labels, None, refusal(config, "path"), least=config.min_per_class)
    columns = {"train": _read(tables["train"], config)}
    if "test" in tables:
        columns["test"] = _read_like(columns["train"], tables["test"], config)
    picks = pick(
        y,
        config,
        content=_content(classes, columns["train"], y["train"]),
        groups=groups(tables, config, keys),
    )
    return _encode(columns, Labels(y, classes, left_out), picks)


def _encode(
    columns: Mapping[str, _Columns],
    labels: Labels,
    picks: Picks,
) -> Dataset:
    pool = picks["train"][1]
    source = columns["train"]
    encoder = Encoder(
        {name: Scale.fit(values[pool]) for name, values in source.numbers.items()},
        {name: Levels.fit(values, pool) for name, values in source.texts.items()},
    )
    x, codes = {}, {}
    for split, (part, rows) in picks.items():
        own = columns[part]
        x[split], codes[split] = encoder.encode(own.numbers, own.texts, rows)
    return table_dataset(
        "table",
        x,
        codes,
        {split: labels.y[part][rows] for split, (part, rows) in picks.items()},
        cardinalities=encoder.cardinalities,
        classes=labels.classes,
        encoder=encoder,
        left_out=labels.left_out,
    )


def _target(table: pa.Table, config: DataConfig) -> pa.ChunkedArray:
    if config.target is None:
        names = ", ".join(table.column_names)
        reason = f"is missing: name the column that holds the class, one of {names}"
        raise refusal(config, "target")(reason)
    return column(table, config.target, config, key="target")


def _read(table: pa.Table, config: DataConfig) -> _Columns:
    apart = (config.target, config.group)
    features = [name for name in table.column_names if name not in apart]
    if not features:
        raise refusal(config, "path")(f"has no columns beside {config.target!r}")
    numbers, texts = {}, {}
    for name in features:
        values = table.column(name)
        if _is_number(values.type):
            numbers[name] = floats(values, name, refusal(config, "path"))
        else:
            texts[name] = text(values, name, refusal(config, "path"))
    return _Columns(numbers, texts)


def _read_like(train: _Columns, table: pa.Table, config: DataConfig) -> _Columns:
    """The test file's columns, found by name and read as the training file's were."""
    found = {
        name: column(table, name, config, key="test_path")
        for name in (*train.numbers, *train.texts)
    }
    refuse = refusal(config, "test_path")
    return _Columns(
        {name: floats(found[name], name, refuse) for name in train.numbers},
        {name: text(found[name], name, refuse) for name in train.texts},
    )


def floats(values: pa.ChunkedArray, name: str, refuse: Refuse) -> np.ndarray:
    """A column of numbers, (N,) float64, NaN where missing; ConfigError where it is none."""
    if not (_is_number(values.type) or pa.types.is_null(values.type)):
        raise refuse(f"has {values.type} in column {name!r}, which holds numbers in data.path")
    numbers = values.cast(pa.float64(), safe=False).to_numpy()
    if np.isinf(numbers).any():
        raise refuse(f"has infinite numbers in column {name!r}: mend or empty them")
    return numbers


def text(values: pa.ChunkedArray, name: str, refuse: Refuse) -> Text:
    """A column of categories; ConfigError where its type cannot be one."""
    kind = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
    checks = (pa.types.is_string, pa.types.is_large_string, pa.types.is_boolean, pa.types.is_null)
    if not any(is_kind(kind) for is_kind in (*checks, _is_number)):
        reason = f"has a column {name!r} of type {kind}, which no network takes"
        raise refuse(f"{reason}: turn it into numbers or text, or leave it out")
    return Text.read(values)


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)


def _content(classes: tuple[str, ...], columns: _Columns, y: np.ndarray) -> str:
    """Hash of a part as it was read, before anything is scaled."""
    names = [*classes, *columns.numbers, *columns.texts]
    arrays = [y, *columns.numbers.values()]
    for text in columns.texts.values():
        # Sorted: the order in which levels are met belongs to the file's form, not its content.
        sorted_levels = Levels(tuple(sorted(text.levels)))
        names += sorted_levels.levels
        arrays.append(sorted_levels.codes(text))
    return fingerprint(tuple(names), *arrays)
