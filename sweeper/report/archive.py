"""A sweep's frames as one block of bytes inside the page, and back, exactly.

The block is a zip file: `sweep.json`, and one Parquet file (zstd) a frame. What must not leave the
machine is taken out before (`clean`), and the page is made from the block alone, so that
`sweeper verify` can make it again.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
import zlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, fields, replace
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from sweeper.analysis import bits
from sweeper.analysis.frames import Frames
from sweeper.analysis.measures import REPORTED
from sweeper.drawing.redact import GONE, last_part, scrub, scrub_kept, scrub_spec
from sweeper.errors import InputError
from sweeper.store.records import Sweep
from trainers.data_config import PLACES

SEVERAL = "several.json"  # of a block that holds the blocks of several sweeps
TABLES = ("cells", "runs", "numbers", "curves", "attempts", "packs", "correct")
SWEEP = "sweep.json"
FORMAT = 1  # it grows when a block of before can no longer be read
MOST_BYTES = 1_000_000_000  # of a frame in memory: a page that claims more is refused
MOST_SWEEPS = 100  # of one page
MOST_TEXT = 64_000_000  # of sweep.json
MOST_COLUMNS = 100_000
ROWS = 4096  # read at once, so that a small file cannot grow beyond measure unseen
ERROR_CHARACTERS = 300
MOST_CLASSES = 30  # whose numbers are carried whole; of more, what the page shows of a class
SHOWN = ("recall", "support")
EPOCH = (1980, 1, 1, 0, 0, 0)  # of every file in the zip: no clock
UNREADABLE = (
    zipfile.BadZipFile, zlib.error, pa.ArrowException, OSError, EOFError, KeyError, IndexError,
    ValueError, TypeError, NotImplementedError, RuntimeError, MemoryError,
)  # fmt: skip
KIND = b"sweeper"  # of a column: how its values are written


class CarryError(InputError):
    """The data inside a page cannot be read."""


# --- what must not leave -------------------------------------------------------------------------


def clean(frames: Frames) -> Frames:
    """The frames without a path, host, address or label; of an error its last line."""
    frames = bits.sorted_by_class(frames)
    sweep, hosts = frames.sweep, {str(one) for one in frames.attempts["node"] if one}
    spec = {**sweep.spec, "data": _without_folders(sweep.spec.get("data", {}))}
    return replace(
        frames,
        sweep=replace(
            sweep,
            spec=spec,
            spec_text=scrub_spec(sweep.spec_text),
            facts=scrub_kept(sweep.facts),
            provenance=scrub_kept(sweep.provenance),
            state_reason=scrub(sweep.state_reason),
            holder=None,
        ),
        cells=frames.cells.assign(
            config=_objects(map(_clean_config, frames.cells["config"]), index=frames.cells.index)
        ),
        numbers=_needed(frames.numbers),
        runs=frames.runs.assign(error=_last_lines(frames.runs["error"], hosts=hosts)),
        attempts=frames.attempts.assign(
            node=_texts("" for _ in frames.attempts.index).set_axis(frames.attempts.index),
            error=_last_lines(frames.attempts["error"], hosts=hosts),
        ),
    )


def _needed(numbers: pd.DataFrame) -> pd.DataFrame:
    """Without what no report uses: single classes on other splits than the reported one."""
    keys = list(numbers.columns)
    many = len({target for _, _, target in keys if target.startswith("class:")}) > MOST_CLASSES
    kept = [
        not target.startswith("class:") or (split == REPORTED and (metric in SHOWN or not many))
        for split, metric, target in keys
    ]
    return numbers.loc[:, kept]


def _without_folders(data: Mapping[str, Any]) -> dict[str, Any]:
    """The block `data` of a spec or configuration with the last part of its paths."""
    return {
        key: last_part(value) if key in PLACES and isinstance(value, str) else value
        for key, value in data.items()
    }


def _clean_config(config: Mapping[str, Any]) -> dict[str, Any]:
    return {**config, "data": _without_folders(config["data"])}


def _last_lines(errors: pd.Series, *, hosts: Collection[str]) -> pd.Series:
    lines = (_last_line(text, hosts) if isinstance(text, str) else "" for text in errors)
    return _texts(lines).set_axis(errors.index)


def _texts(values: Iterable[str]) -> pd.Series:
    return pd.Series(list(values), dtype="str")


def _last_line(text: str, hosts: Collection[str]) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    line = scrub(lines[-1])[:ERROR_CHARACTERS] if lines else ""
    for host in sorted(hosts):
        line = re.sub(rf"(?<!\w){re.escape(host)}(?!\w)", GONE, line)
    return line


def _objects(values: Iterable[Any], *, index: pd.Index) -> pd.Series:
    return pd.Series(list(values), index=index, dtype=object)


# --- out -----------------------------------------------------------------------------------------


def dump(frames: Frames) -> bytes:
    """The frames as they are; the same frames give the same bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        tree = {"format": FORMAT, "sweep": asdict(frames.sweep)}
        text = json.dumps(tree, default=datetime.isoformat, ensure_ascii=False)
        _add(archive, SWEEP, text.encode(), zipfile.ZIP_DEFLATED)
        for name in TABLES:
            frame = getattr(frames, name)
            if name == "numbers":
                frame = frame.set_axis(["/".join(key) for key in frame.columns], axis=1)
            _add(archive, f"{name}.parquet", _parquet(frame), zipfile.ZIP_STORED)
    return out.getvalue()


def dump_all(blocks: Iterable[bytes]) -> bytes:
    """Blocks of several sweeps as one, in their order."""
    out, held = io.BytesIO(), list(blocks)
    with zipfile.ZipFile(out, "w") as archive:
        tree = {"format": FORMAT, "sweeps": len(held)}
        _add(archive, SEVERAL, json.dumps(tree).encode(), zipfile.ZIP_STORED)
        for at, block in enumerate(held):
            _add(archive, _place(at), block, zipfile.ZIP_STORED)
    return out.getvalue()


def _place(at: int) -> str:
    return f"{at:03d}.zip"


def _add(archive: zipfile.ZipFile, name: str, data: bytes, how: int) -> None:
    entry = zipfile.ZipInfo(name, EPOCH)
    entry.create_system, entry.compress_type = 3, how
    archive.writestr(entry, data)


def _parquet(frame: pd.DataFrame) -> bytes:
    """Column by column, so that each type comes back as it was; the index is the first column."""
    index = frame.index.to_series(name=frame.index.name)
    written = [_encode(index), *[_encode(frame.iloc[:, at]) for at in range(frame.shape[1])]]
    names = [str(frame.index.name or ""), *map(str, frame.columns)]
    schema = pa.schema(
        pa.field(name, values.type, metadata={KIND: kind.encode()})
        for name, (values, kind) in zip(names, written, strict=True)
    )
    out = io.BytesIO()
    pq.write_table(
        pa.Table.from_arrays([values for values, _ in written], schema=schema),
        out,
        compression="zstd",
        compression_level=9,
        write_statistics=False,
        use_dictionary=False,
        column_encoding={
            name: "BYTE_STREAM_SPLIT" if pa.types.is_floating(values.type) else "PLAIN"
            for name, (values, _) in zip(names, written, strict=True)
        },
    )
    return out.getvalue()


def _encode(values: pd.Series) -> tuple[pa.Array, str]:
    """A column as Arrow has it, and how to read it back."""
    if values.dtype == object:
        if len(values) and all(isinstance(one, bytes) for one in values):
            return pa.array(list(values), pa.binary()), "bytes"
        inner = [None if one is None else json.dumps(one, ensure_ascii=False) for one in values]
        tuples = any(isinstance(one, tuple) for one in values)
        return pa.array(inner, pa.string()), "tuple" if tuples else "json"
    if values.dtype == "float64":
        with np.errstate(over="ignore"):
            narrow = values.to_numpy(dtype="float32")
        if ((narrow == values) | values.isna()).all():
            return pa.array(narrow), "float64"
    return pa.Array.from_pandas(values), str(values.dtype)


# --- in ------------------------------------------------------------------------------------------


def read(block: bytes) -> Frames:
    """The frames that `dump` wrote.

    Raises:
        CarryError: the block is no such zip file, or holds more than a report can.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(block)) as archive:
            sweep = _sweep(json.loads(_member(archive, SWEEP)))
            tables = {name: _frame(_member(archive, f"{name}.parquet")) for name in TABLES}
    except UNREADABLE as error:
        raise CarryError(f"its data cannot be read ({type(error).__name__})") from error
    keys = [tuple(name.split("/", 2)) for name in tables["numbers"].columns]
    if not set(keys) <= set(sweep.layout):
        raise CarryError("its data cannot be read (the numbers do not fit the layout)")
    columns = pd.MultiIndex.from_tuples(keys, names=["split", "metric", "target"])
    return Frames(sweep=sweep, **{**tables, "numbers": tables["numbers"].set_axis(columns, axis=1)})


def holds_several(block: bytes) -> bool:
    """Whether the block is one of `dump_all`."""
    try:
        with zipfile.ZipFile(io.BytesIO(block)) as archive:
            return SEVERAL in archive.namelist()
    except UNREADABLE:
        return False


def split(block: bytes) -> list[bytes]:
    """The blocks that `dump_all` was given.

    Raises:
        CarryError: it is not such a block, or holds more than its own size.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(block)) as archive:
            if sum(one.file_size for one in archive.infolist()) > len(block):
                raise CarryError("its data are larger than any report's")
            tree = json.loads(archive.read(SEVERAL))
            if tree["format"] != FORMAT or not 2 <= tree["sweeps"] <= MOST_SWEEPS:
                raise CarryError("its data are of another version of Sweeper")
            return [archive.read(_place(at)) for at in range(tree["sweeps"])]
    except UNREADABLE as error:
        raise CarryError(f"its data cannot be read ({type(error).__name__})") from error


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    if archive.getinfo(name).file_size > (MOST_TEXT if name == SWEEP else MOST_BYTES):
        raise CarryError("its data are larger than any report's")
    return archive.read(name)


def _sweep(tree: dict[str, Any]) -> Sweep:
    tree, made = tree["sweep"], tree["format"]
    if made != FORMAT or set(tree) != {one.name for one in fields(Sweep)}:
        raise CarryError("its data are of another version of Sweeper")
    times = {key: datetime.fromisoformat(tree[key]) for key in ("created_at", "updated_at")}
    return Sweep(**{**tree, **times, "layout": tuple(map(tuple, tree["layout"]))})


def _frame(data: bytes) -> pd.DataFrame:
    file = pq.ParquetFile(io.BytesIO(data))
    if file.metadata.num_columns > MOST_COLUMNS:
        raise CarryError("its data are larger than any report's")
    schema, batches, size = file.schema_arrow, [], 0
    for batch in file.iter_batches(batch_size=ROWS):
        size += batch.nbytes
        if size > MOST_BYTES:
            raise CarryError("its data are larger than any report's")
        batches.append(batch)
    table = pa.Table.from_batches(batches, schema=schema)
    columns = [_decode(table.column(at), field) for at, field in enumerate(schema)]
    index = pd.Index(columns[0].array, name=schema.field(0).name or None)
    frame = pd.DataFrame(dict(enumerate(columns[1:])))
    return frame.set_axis([field.name for field in schema][1:], axis=1).set_axis(index, axis=0)


def _decode(values: pa.ChunkedArray, field: pa.Field) -> pd.Series:
    kind = (field.metadata or {}).get(KIND, b"").decode()
    if kind == "bytes":
        return pd.Series(values.to_pylist(), dtype=object)
    if kind not in ("json", "tuple"):
        return values.to_pandas().astype(kind)
    inner = [None if one is None else json.loads(one) for one in values.to_pylist()]
    if kind == "tuple":
        inner = [tuple(one) if isinstance(one, list) else one for one in inner]
    return pd.Series(inner, dtype=object)
