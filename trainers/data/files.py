"""Opens the files that a user names, and reads tables with Arrow, safely.

Nothing here unpickles. Every error is a ConfigError that names the key and the fix. It quotes the
path as the spec has it. It quotes a column or a value only if the whole file was read as a table,
because a path may lead to a file of secrets.
"""

from __future__ import annotations

import csv
import gzip
import io
import os
import re
import stat
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from difflib import get_close_matches
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from trainers.config import ConfigError
from trainers.data_config import DATA_ROOTS, DataConfig

Refuse = Callable[[str], ConfigError]

SOURCE_KEYS = (
    "path", "test_path", "target", "group", "columns", "missing", "drop", "features",
    "labels", "test_labels", "image", "suffix", "size",
)  # fmt: skip
_PARQUET, _CSV = (".parquet", ".pq"), (".csv", ".csv.gz")
_PANDAS_INDEX = re.compile(r"__index_level_\d+__")
MAX_NAME = 200  # characters of a column's name
_COLUMNS = re.compile(r"Expected (\d+) columns, got (\d+)")
_CSV_BLOCK = 1 << 25  # bytes that Arrow reads at a time; a row must fit


def refusal(config: DataConfig, key: str) -> Refuse:
    """Returns a maker of ConfigErrors for a key of the `data` block: `raise refuse("is empty")`."""
    return partial(ConfigError, f"data.{key}", getattr(config, key))


def refuse_unused(config: DataConfig, *used: str) -> None:
    """Raises a ConfigError if a key is set that this data set does not read."""
    for key in SOURCE_KEYS:
        if key not in used and getattr(config, key):
            reason = f"is not used by dataset {config.dataset!r}: leave it out"
            raise refusal(config, key)(reason)


def existing_path(config: DataConfig, key: str, *, folder: bool = False) -> Path:
    """Returns the path of the file (or folder) that `data.KEY` names; a ConfigError if unusable."""
    refuse, given = refusal(config, key), getattr(config, key)
    if given is None:
        wanted = "folder" if folder else "file"
        raise refuse(f"is missing: dataset {config.dataset!r} reads a {wanted}, name it here")
    return readable(Path(given).expanduser(), refuse, folder=folder)


def readable(path: Path, refuse: Refuse, *, folder: bool = False) -> Path:
    """Returns `path` if it is a readable file (or folder)."""
    wanted = "folder" if folder else "file"
    check_root(path, refuse)
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise refuse(f"cannot be opened: {reason}") from error
    if not (stat.S_ISDIR(mode) if folder else stat.S_ISREG(mode)):
        raise refuse(f"is not a {wanted}")
    if not os.access(path, os.R_OK):
        raise refuse("cannot be read: its permissions do not allow it")
    return path


def check_root(path: Path, refuse: Refuse) -> None:
    """Checks that `path`, with links resolved, is in each folder that a DATA_ROOTS variable names.

    Raises:
        ConfigError: it is not, or the variable does not name a folder.
    """
    for name in DATA_ROOTS:
        root = os.environ.get(name)
        if not root:
            continue
        if not os.path.isdir(root):
            raise refuse(f"is not read: {name}={root} is not a folder")
        try:
            inside = path.resolve().is_relative_to(Path(root).resolve())
        except (OSError, RuntimeError, ValueError):
            inside = False  # a link to itself, or not a path
        if not inside:
            raise refuse(f"does not lie in {name}={root}, links resolved: move it there")


def read_table(path: Path, refuse: Refuse, *, known: Collection[str] = ()) -> pa.Table:
    """Reads a whole Parquet or CSV file (`.csv`, `.csv.gz`) and checks its columns' names.

    A CSV has at least two columns, or a column whose name is in `known`: any text file is a CSV of
    one column.

    In the result, text has Arrow's type `string` and bytes are `binary` or `large_binary`,
    whichever program wrote the file. CSV has no types: all its columns are text as written, with ""
    for an empty field.

    Raises:
        ConfigError: the kind of file is unknown or it cannot be read; it has no rows, a column
            without a name, two columns of one name, or extension types, which may hold code.
    """
    readers = {_PARQUET: _read_parquet, _CSV: partial(_read_csv, known=known)}
    for endings, read in readers.items():
        if path.name.lower().endswith(endings):
            table = _checked(read(path, refuse), refuse)
            index = [name for name in table.column_names if _PANDAS_INDEX.fullmatch(name)]
            return table.drop_columns(index)
    raise refuse("is of an unknown kind: it should end in .parquet, .csv or .csv.gz")


def has_types(path: str | os.PathLike[str]) -> bool:
    """Returns whether the file states its columns' types: Parquet does, CSV does not."""
    return os.fspath(path).lower().endswith(_PARQUET)


def by_name(table: pa.Table) -> dict[str, pa.ChunkedArray]:
    """Returns columns by name; Arrow's own look-up is slow for tables with many columns."""
    return dict(zip(table.column_names, table.columns, strict=True))


def nearest(name: str, names: Iterable[str]) -> str:
    """The end of a message about an unknown name."""
    near = get_close_matches(name, list(names), n=1, cutoff=0.0)
    return f"; the nearest is {near[0]!r}" if near else ""


def column(table: pa.Table, name: str, config: DataConfig, *, key: str) -> pa.ChunkedArray:
    """Returns a column by name; if it is missing, the ConfigError of `key` names the nearest."""
    if name not in table.column_names:
        reason = f"needs a column {name!r} and there is none{nearest(name, table.column_names)}"
        raise refusal(config, key)(reason)
    return table.column(name)


def groups(
    tables: Mapping[str, pa.Table], config: DataConfig, keys: Mapping[str, str]
) -> dict[str, np.ndarray] | None:
    """Returns each part's groups (N,) as text, from the column of `data.group`, if that is set.

    Args:
        tables: part -> its rows.
        config: the configuration with the column's name.
        keys: part -> the key of `data` that names its file.

    Raises:
        ConfigError: the column is missing, is the class, or has a row without a group.
    """
    if config.group is None:
        return None
    if config.group == config.target:
        reason = "is the class: name the column that groups the samples, such as patients"
        raise refusal(config, "group")(reason)
    return {part: _group_column(table, config, key=keys[part]) for part, table in tables.items()}


def _group_column(table: pa.Table, config: DataConfig, *, key: str) -> np.ndarray:
    refuse = refusal(config, "group")
    values = column(table, str(config.group), config, key="group" if key == "path" else key)
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    try:
        texts = values.cast(pa.string())
    except pa.ArrowException as error:
        raise refuse(f"is a column of type {values.type}: store names or whole numbers") from error
    found = np.array(texts.fill_null("").to_pylist(), dtype=np.str_)
    gaps = int((found == "").sum())
    if gaps:
        raise refuse(f"has {gaps:,} rows of data.{key} without a value: fill them")
    return found


def _read_parquet(path: Path, refuse: Refuse) -> pa.Table:
    try:
        file = pq.ParquetFile(path)
        for field in file.schema_arrow:
            if _is_extension(field):
                raise refuse(
                    f"has a column {field.name!r} of an extension type, which is never read: "
                    "store it as numbers, text or bytes"
                )
        return _in_usual_types(file.read())
    except (pa.ArrowException, OSError) as error:
        raise refuse(f"cannot be read as Parquet: {_first_line(error)}") from error


def _is_extension(field: pa.Field) -> bool:
    named = field.metadata is not None and b"ARROW:extension:name" in field.metadata
    return named or isinstance(field.type, pa.BaseExtensionType)


def _in_usual_types(table: pa.Table) -> pa.Table:
    """Replaces Arrow's views, which Polars writes, and large text with the usual types."""
    columns = [
        column if column.type.equals(kind := _usual(column.type)) else column.cast(kind)
        for column in table.columns
    ]
    return pa.table(columns, names=table.column_names, metadata=table.schema.metadata)


def _usual(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        value = _usual(kind.value_type)
        return kind if value.equals(kind.value_type) else value
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_usual(field.type)) for field in kind])
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_binary_view(kind):
        return pa.large_binary()
    return kind


def _read_csv(path: Path, refuse: Refuse, *, known: Collection[str]) -> pa.Table:
    names = _header(path, refuse)
    if len(names) == 1 and names[0] not in known:
        raise refuse("is no table: its first line has no comma, so it names no columns")
    if any(len(name) > MAX_NAME or not name.isprintable() for name in names):
        raise refuse("is no table: its first line names no columns")
    read = pa_csv.ReadOptions(column_names=names, skip_rows_after_names=1, block_size=_CSV_BLOCK)
    parse = pa_csv.ParseOptions(newlines_in_values=True)
    convert = pa_csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()))
    try:
        return pa_csv.read_csv(
            str(path), read_options=read, parse_options=parse, convert_options=convert
        )
    except (pa.ArrowException, OSError) as error:
        raise refuse(_unread(error)) from error


def _unread(error: Exception) -> str:
    """Why a CSV cannot be read, without the line that Arrow quotes."""
    if "invalid UTF8" in str(error):
        return "is not UTF-8 text: save it as UTF-8"
    found = _COLUMNS.search(str(error))
    if found:
        return (
            f"cannot be read as CSV: a line has {found[2]} columns, the first line has {found[1]}"
        )
    return f"cannot be read as CSV ({type(error).__name__}): is it damaged?"


def _header(path: Path, refuse: Refuse) -> list[str]:
    """The column names of a CSV."""
    try:
        with (
            gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file,
            io.TextIOWrapper(file, "utf-8-sig", newline="") as text,
        ):
            line = next(csv.reader(text), [])
            rows = next(text, None) is not None
    except UnicodeDecodeError as error:
        raise refuse("is not UTF-8 text: save it as UTF-8") from error
    except gzip.BadGzipFile as error:
        raise refuse("cannot be read as CSV: it is not packed by gzip") from error
    except (OSError, EOFError, zlib.error, csv.Error) as error:
        raise refuse(f"cannot be read as CSV: {_first_line(error)}") from error
    if not "".join(line).strip():
        raise refuse("has no header: the first line should name the columns")
    found = max(";\t|", key=line[0].count)
    if len(line) == 1 and found in line[0]:
        raise refuse(f"has {found!r} between its columns: separate them by commas")
    if not rows:
        raise refuse("has no rows")
    return line


def _checked(table: pa.Table, refuse: Refuse) -> pa.Table:
    _check_names(table.column_names, refuse)
    if table.num_rows == 0:
        raise refuse("has no rows")
    return table


def _check_names(names: list[str], refuse: Refuse) -> None:
    if "" in names:
        raise refuse("has a column without a name, perhaps row numbers: name it or leave it out")
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise refuse(f"has two columns called {twice[0]!r}: rename one")


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
