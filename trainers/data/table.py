"""Reads tables: Parquet or CSV with numeric and categorical columns, and a column of classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

import numpy as np
import pyarrow as pa

from trainers.config import ConfigError
from trainers.data.columns import MAX_LEVELS, Encoder, Kind, LevelCodes, NumberScale
from trainers.data.dataset import Dataset, fingerprint, table_dataset
from trainers.data.files import (
    by_name,
    column,
    existing_path,
    groups,
    has_types,
    nearest,
    read_table,
    refusal,
    refuse_unused,
)
from trainers.data.labels import Labels, arrow_labels, encode
from trainers.data.schema import Columns, Rule, read
from trainers.data.splits import Picks, pick
from trainers.data_config import DataConfig, Token

_ABOUT_COLUMNS = ("columns", "missing", "drop", "features")


def load(config: DataConfig) -> Dataset:
    """Loads the table in `path` (and `test_path`), its class in `target`, scaled by the pool only.

    The file `path` and the key `columns` decide the kinds of the columns; see
    `trainers.data.schema`.

    Raises:
        ConfigError: a column is missing, or its type or the classes cannot be used.
    """
    refuse_unused(config, "path", "test_path", "target", "group", *_ABOUT_COLUMNS)
    keys = {"train": "path"} | ({"test": "test_path"} if config.test_path is not None else {})
    refusals = {part: refusal(config, key) for part, key in keys.items()}
    tables = {
        part: read_table(existing_path(config, key), refusals[part]) for part, key in keys.items()
    }
    labels = {
        part: arrow_labels(_target(table, config), str(config.target), refusals[part])
        for part, table in tables.items()
    }
    y, classes, left_out = encode(labels, None, refusals["train"], least=config.min_per_class)
    kinds = _kinds(tables["train"].column_names, config)
    columns: dict[str, Columns] = {}
    for part, table in tables.items():
        rule = Rule(refusals[part], config.missing, typed=has_types(getattr(config, keys[part])))
        columns[part] = read(by_name(table), kinds, rule)
        kinds = columns[part].kinds
    picks = pick(
        y,
        config,
        content=_content(classes, columns["train"], y["train"]),
        groups=groups(tables, config, keys),
    )
    return encode_table(columns, Labels(y, classes, left_out), picks, missing=config.missing)


def encode_table(
    columns: Mapping[str, Columns],
    labels: Labels,
    picks: Picks,
    *,
    name: str = "table",
    missing: tuple[Token, ...] = (),
) -> Dataset:
    """Makes the data set of a table's columns by part, encoded by the pool only."""
    pool = picks["train"][1]
    source = columns["train"]
    encoder = Encoder(
        {name: NumberScale.fit(values[pool]) for name, values in source.numbers.items()},
        {name: LevelCodes.fit(values, pool) for name, values in source.texts.items()},
        missing,
    )
    x, codes = {}, {}
    for split, (part, rows) in picks.items():
        own = columns[part]
        x[split], codes[split] = encoder.encode(own.numbers, own.texts, rows)
    part, rows = picks["test"]
    unseen = encoder.strange(columns[part].texts, rows)
    said = encoder.schema | {
        "cut": _cut(source, pool),
        "unseen": {name: count for name, count in unseen.items() if 2 * count > len(rows)},
    }
    return table_dataset(
        name,
        x,
        codes,
        {split: labels.y[part][rows] for split, (part, rows) in picks.items()},
        cardinalities=encoder.cardinalities,
        classes=labels.classes,
        encoder=encoder,
        columns=said,
        left_out=labels.left_out,
    )


def _cut(columns: Columns, pool: np.ndarray) -> dict[str, int]:
    """The number of the pool's levels, for each category with more levels than codes."""
    codes = {name: text.codes[pool] for name, text in columns.texts.items()}
    shown = {name: len(np.unique(own[own >= 0])) for name, own in codes.items()}
    return {name: count for name, count in shown.items() if count > MAX_LEVELS}


def _target(table: pa.Table, config: DataConfig) -> pa.ChunkedArray:
    if config.target is None:
        names = ", ".join(table.column_names)
        reason = f"is missing: name the column that holds the class, one of {names}"
        raise refusal(config, "target")(reason)
    return column(table, config.target, config, key="target")


def _kinds(names: list[str], config: DataConfig) -> Mapping[str, Kind | None]:
    """The features in the file's order, with the kinds that `columns` gives them."""
    said: dict[str, Kind | None] = {
        name: kind for name, kind in config.columns.items() if kind != "ignore"
    }
    ignored = config.columns.keys() - said.keys()
    for key in ("columns", "drop", "features"):
        _check_columns(getattr(config, key), names, config, key=key)
    if config.drop and config.features:
        raise refusal(config, "features")("cannot be combined with data.drop: use one of them")
    out = {config.target, config.group, *config.drop, *ignored}
    asked = set(config.features or names)
    found = [name for name in names if name in asked and name not in out]
    if not found:
        raise refusal(config, "path")(f"has no columns to learn from beside {config.target!r}")
    return {name: said.get(name) for name in found}


def _check_columns(words: Iterable[str], names: list[str], config: DataConfig, *, key: str) -> None:
    """Checks that a key names features of the file."""
    known = set(names)
    for word in words:
        refuse = partial(ConfigError, f"data.{key}", word)
        if word not in known:
            raise refuse(f"is no column of data.path{nearest(word, names)}")
        if word == config.target:
            raise refuse("is data.target, the class, not a feature: leave it out here")
        if word == config.group:
            raise refuse("is data.group, not a feature: leave it out here")


def _content(classes: tuple[str, ...], columns: Columns, y: np.ndarray) -> str:
    """A hash of a part as it was read, before scaling."""
    names = [*classes, *columns.numbers, *columns.texts]
    arrays = [y, *columns.numbers.values()]
    for text in columns.texts.values():
        # Sorted, because the order in which levels occur depends on the file format.
        sorted_levels = LevelCodes(tuple(sorted(text.levels)))
        names += sorted_levels.levels
        arrays.append(sorted_levels.codes(text))
    return fingerprint(tuple(names), *arrays)
