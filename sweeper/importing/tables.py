"""Tables in files: CSV, JSON lines or a JSON list, and Parquet. Nothing is unpickled."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from sweeper.errors import InputError
from sweeper.importing.source import Source, digest_of

MOST_BYTES = 2_000_000_000


def read(path: Path) -> Source:
    """The table in a file, by the end of its name.

    Raises:
        InputError: it cannot be read, or has no rows.
    """
    kind, reader, first = KINDS[path.suffix.lower()]
    if path.stat().st_size > MOST_BYTES:
        raise InputError(f"{path}: is larger than {MOST_BYTES // 10**9} GB; leave out some columns")
    try:
        frame = reader(path)
    except (OSError, ValueError, pa.ArrowException) as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: is no {kind} that can be read: {line}") from error
    if not len(frame):
        raise InputError(f"{path}: has no rows")
    frame.columns = [str(column) for column in frame.columns]
    if not frame.columns.is_unique:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise InputError(f"{path}: has two columns {twice!r}; rename one of them")
    word = "row" if kind == "Parquet" else "line"
    return Source(
        kind=kind,
        name=path.name,
        frame=frame.reset_index(drop=True),
        where=lambda at: f"{word} {at + first}",
        digest=digest_of({path.name: path}),
    )


def _csv(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, encoding="utf-8-sig", skip_blank_lines=False)


def _tsv(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, sep="\t", encoding="utf-8-sig", skip_blank_lines=False)


def _parquet(path: Path) -> pd.DataFrame:
    return pq.read_table(path).to_pandas()


def _lines(path: Path) -> pd.DataFrame:
    """A row for each line; a block inside a line becomes columns `outer.inner`."""
    rows = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        try:
            row = json.loads(line) if line.strip() else {}
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from error
        rows.append(row)
    return of_blocks(rows)


def _list(path: Path) -> pd.DataFrame:
    tree = json.loads(path.read_text("utf-8"))
    return of_blocks(tree if isinstance(tree, list) else [tree])


def of_blocks(rows: list[Any]) -> pd.DataFrame:
    """A row for each block.

    Raises:
        ValueError: a row is no block of names and values.
    """
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise ValueError(f"entry {number} is no block of names and values")
    return pd.json_normalize(rows)


Reader = Callable[[Path], pd.DataFrame]
# The end of a file's name -> the format, its reader, and the number of the first row's line.
KINDS: dict[str, tuple[str, Reader, int]] = {
    ".csv": ("CSV", _csv, 2),
    ".tsv": ("TSV", _tsv, 2),
    ".jsonl": ("JSON lines", _lines, 1),
    ".ndjson": ("JSON lines", _lines, 1),
    ".json": ("JSON", _list, 1),
    ".parquet": ("Parquet", _parquet, 1),
}
