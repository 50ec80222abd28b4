"""A whole sweep in one file: out of one database, and into another one as it was.

The file is a zip of its rows (a Parquet file a table), spec, report, Optuna journal and events,
with a manifest that has the hash of each. Only members with known names are read, and nothing is
unpacked.
"""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, BinaryIO

import optuna
import pyarrow as pa
import pyarrow.parquet as pq
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from sqlalchemy import JSON, Boolean, Connection, Double, Integer, LargeBinary
from sqlalchemy.types import Enum as EnumType

from sweeper import __version__
from sweeper.analysis.frames import Frames, load
from sweeper.dashboard import reading_storage
from sweeper.errors import InputError, NothingStored
from sweeper.report import archive as carry
from sweeper.report import page
from sweeper.report.archive import UNREADABLE
from sweeper.report.manifest import manifest
from sweeper.store import rows
from sweeper.store.glance import Within
from sweeper.store.mirror import OURS
from sweeper.store.reads import Reader
from sweeper.store.records import Sweep
from sweeper.store.schema import REVISIONS
from sweeper.store.store import ENDINGS, Store
from sweeper.store.study import storage_of
from sweeper.store.wishes import Wishes

FORMAT = 1  # it grows when an archive of before can no longer be read
MANIFEST, SPEC, REPORT, JOURNAL = "manifest.json", "spec.yaml", "report.html", "optuna.log"
EVENTS, README = "events.json", "README.txt"
MOST_TEXT = 1_000_000_000  # bytes of a text that is read whole
EPOCH = (1980, 1, 1, 0, 0, 0)  # of every file in the zip: no clock
PICKLES = "cma:"  # attributes that Optuna would unpickle; Sweeper writes none
EXPLAINED = """Everything about one sweep of Sweeper's.

rows/*.parquet  the rows of its tables, as the database had them (pandas.read_parquet)
spec.yaml       its spec
report.html     its report, one page for a browser
optuna.log      its studies: optuna.storages.JournalStorage(
                    optuna.storages.journal.JournalFileBackend("optuna.log"))
events.json     who did what with it, when and why, if a service ran it
manifest.json   the hash of each file, and where the numbers come from

Into another database: sweeper import FILE --storage sqlite:///other.db
"""


# --- out


def write(store: Store, name: str, out: BinaryIO) -> None:
    """Writes a sweep into a file.

    Raises:
        StoreError: there is no such sweep.
    """
    with tempfile.TemporaryDirectory() as folder:
        frames, counts = store.database.read(lambda c: _taken(c, name, Path(folder)))
        _write(store, frames, counts, Path(folder), out)


def _taken(connection: Connection, name: str, folder: Path) -> tuple[Frames, dict[str, int]]:
    """The frames for the report, and the tables in files, from one view of the database."""
    frames = load(Reader(Within(connection)), name)
    return frames, _rows_to(folder, connection, frames.sweep.id)


def _write(
    store: Store, frames: Frames, counts: Mapping[str, int], folder: Path, out: BinaryIO
) -> None:
    name = frames.sweep.name
    block = carry.dump(carry.clean(frames))
    hashes: dict[str, dict[str, Any]] = {}
    with zipfile.ZipFile(out, "w") as archive:

        def add(member: str, data: bytes | Path, how: int = zipfile.ZIP_DEFLATED) -> None:
            hashes[member] = _add(archive, member, data, how)

        for table in rows.TABLES:
            member = _member(table)
            add(member, folder / Path(member).name, zipfile.ZIP_STORED)
        add(SPEC, frames.sweep.spec_text.encode())
        add(REPORT, page.html(frames).encode())
        if (journal := _journal(_url(store), name, folder / JOURNAL)) is not None:
            add(JOURNAL, journal)
        add(EVENTS, _json(_events(store, name)))
        add(README, EXPLAINED.encode())
        found = {
            "archive": FORMAT,
            "sweeper": __version__,
            "schema": REVISIONS[-1],
            "sweep": name,
            "rows": counts,
            "files": hashes,
            "provenance": manifest(frames, block),
        }
        _add(archive, MANIFEST, _json(found), zipfile.ZIP_DEFLATED)


def _url(store: Store) -> str:
    return store.database.address.url.render_as_string(hide_password=False)


def _add(archive: zipfile.ZipFile, member: str, data: bytes | Path, how: int) -> dict[str, Any]:
    """Adds a file; returns its size and hash."""
    entry = zipfile.ZipInfo(member, EPOCH)
    entry.create_system, entry.compress_type = 3, how
    entry.external_attr = 0o600 << 16
    source = io.BytesIO(data) if isinstance(data, bytes) else data.open("rb")
    digest, size = hashlib.sha256(), 0
    with source, archive.open(entry, "w", force_zip64=True) as target:
        while part := source.read(1 << 20):
            digest.update(part)
            size += len(part)
            target.write(part)
    return {"bytes": size, "sha256": digest.hexdigest()}


def _json(tree: Any) -> bytes:
    return json.dumps(tree, indent=1, ensure_ascii=False).encode()


def _member(table: rows.Table) -> str:
    return f"rows/{rows.name_of(table)}.parquet"


def _rows_to(folder: Path, connection: Connection, sweep_id: int) -> dict[str, int]:
    """Writes all tables from one view of the database; returns how many rows each has."""
    counts = {}
    for table in rows.TABLES:
        schema, count = _schema(table), 0
        path = folder / Path(_member(table)).name
        with pq.ParquetWriter(path, schema, compression="zstd") as writer:
            for some in rows.chunks(connection, table, sweep_id):
                packed = [{key: _packed(value) for key, value in row.items()} for row in some]
                writer.write_table(pa.Table.from_pylist(_texts(table, packed), schema=schema))
                count += len(some)
        counts[rows.name_of(table)] = count
    return counts


def _schema(table: rows.Table) -> pa.Schema:
    return pa.schema((column.name, _kind(column.type)) for column in rows.columns_of(table))


def _kind(column: Any) -> pa.DataType:
    match column:
        case Integer():
            return pa.int64()
        case Double():
            return pa.float64()
        case Boolean():
            return pa.bool_()
        case LargeBinary():
            return pa.binary()
        case _:
            return pa.string()


def _packed(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value


def _texts(table: rows.Table, some: list[rows.Row]) -> list[rows.Row]:
    """Rows with the values of JSON columns as text."""
    names = [column.name for column in rows.columns_of(table) if isinstance(column.type, JSON)]
    return [{**row, **{name: _text(row[name]) for name in names}} if names else row for row in some]


def _text(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False)


def _journal(url: str, name: str, path: Path) -> Path | None:
    """The sweep's studies as a journal of Optuna's; None if there are none."""
    try:
        source = reading_storage(url)
    except (InputError, NothingStored):
        return None
    try:
        known = {study.study_name for study in source.get_all_studies()}
        with _quiet(), _journal_storage(path) as target:
            for study in [name + ending for ending in ENDINGS.values() if name + ending in known]:
                optuna.copy_study(from_study_name=study, from_storage=source, to_storage=target)
    finally:
        source.remove_session()
        source.engine.dispose()
    return path if path.exists() and path.stat().st_size else None


@contextmanager
def _journal_storage(path: Path) -> Iterator[JournalStorage]:
    storage = JournalStorage(JournalFileBackend(str(path)))
    try:
        yield storage
    finally:
        storage.remove_session()


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna says each study that it makes."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def _events(store: Store, name: str) -> list[dict[str, Any]]:
    return [vars(one) for one in Wishes(store.database).events(name=name, most=1000)]


# --- in


@dataclass(frozen=True)
class SweepArchive:
    """An archive that was read and found whole."""

    path: Path
    manifest: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The sweep's name."""
        return str(self.manifest["sweep"])

    def count(self, table: str) -> int:
        return int(self.manifest["rows"][table])


def is_archive(path: Path) -> bool:
    """Whether it is a file of `write`."""
    if not path.is_file():
        return False
    with suppress(*UNREADABLE), zipfile.ZipFile(path) as archive:
        return "archive" in _tree(archive)
    return False


def read(path: Path) -> SweepArchive:
    """An archive, after a look at the hash of each of its files.

    Raises:
        InputError: it cannot be read, is of another version, or is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            tree = _tree(archive)
            if tree["archive"] != FORMAT or tree["schema"] not in REVISIONS:
                raise InputError(f"{path}: made by a newer Sweeper; upgrade Sweeper")
            wanted = {_member(table) for table in rows.TABLES}
            for member in sorted(wanted | set(tree["files"])):
                if _digest(archive, member) != tree["files"][member]["sha256"]:
                    raise InputError(f"{path}: {member} is damaged: its hash is another one")
    except UNREADABLE as error:
        raise InputError(f"{path}: cannot be read ({type(error).__name__}: {error})") from error
    return SweepArchive(path, tree)


def _tree(archive: zipfile.ZipFile) -> dict[str, Any]:
    return json.loads(_small(archive, MANIFEST))


def _small(archive: zipfile.ZipFile, member: str) -> bytes:
    if archive.getinfo(member).file_size > MOST_TEXT:
        raise ValueError(f"{member} is too large")
    return archive.read(member)


def _digest(archive: zipfile.ZipFile, member: str) -> str:
    with archive.open(member) as file:
        digest = hashlib.sha256()
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


def keep(store: Store, archive: SweepArchive, *, name: str = "") -> Sweep:
    """Adds the sweep to a database, with its studies.

    Args:
        name: another name for it.

    Raises:
        StoreError: a sweep or a study has the name.
        InputError: the archive is broken.
    """
    name = name or archive.name
    with storage_of(_url(store)) as target, zipfile.ZipFile(archive.path) as file:
        names = {archive.name + ending: name + ending for ending in ENDINGS.values()}
        known = {study.study_name for study in target.get_all_studies()} & set(names.values())
        if known and store.sweep(name) is None:
            raise InputError(
                f"--name: the database has an Optuna study '{min(known)}' already; "
                "choose another name"
            )
        with _studies(archive, file) as source:
            try:
                sweep = store.database.write(lambda c: _rows_from(c, file, name))
            except UNREADABLE as error:
                raise InputError(f"{archive.path}: the archive is broken: {error}") from error
            if source is not None and not known:
                _copy_studies(source, target, names, sweep=name)
    return sweep


@contextmanager
def _studies(archive: SweepArchive, file: zipfile.ZipFile) -> Iterator[JournalStorage | None]:
    """The journal of an archive; None if it has none.

    Raises:
        InputError: Optuna cannot read it, or would unpickle something.
    """
    if JOURNAL not in archive.manifest["files"]:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, JOURNAL)
        path.write_bytes(_small(file, JOURNAL))
        try:
            source = JournalStorage(JournalFileBackend(str(path)))
            _refuse_pickles(source)
        except (*UNREADABLE, AttributeError, AssertionError) as error:
            raise InputError(f"{archive.path}: Optuna cannot read its journal: {error}") from error
        yield source
        source.remove_session()


def _rows_from(connection: Connection, file: zipfile.ZipFile, name: str) -> Sweep:
    return rows.add(connection, {table: _chunks(file, table) for table in rows.TABLES}, name)


def _chunks(file: zipfile.ZipFile, table: rows.Table) -> Iterator[list[rows.Row]]:
    with file.open(_member(table)) as opened:
        parquet = pq.ParquetFile(opened)
        if not parquet.schema_arrow.equals(_schema(table)):
            raise InputError(f"the archive is broken: table {rows.name_of(table)}: other columns")
        for batch in parquet.iter_batches(batch_size=rows.CHUNK):
            yield [_unpacked(table, row) for row in batch.to_pylist()]


def _unpacked(table: rows.Table, row: rows.Row) -> rows.Row:
    for column in rows.columns_of(table):
        value = row[column.name]
        if value is None:
            continue
        if isinstance(column.type, JSON):
            row[column.name] = json.loads(value)
        elif isinstance(column.type, EnumType) and column.type.enum_class is not None:
            row[column.name] = column.type.enum_class(value)
    return row


def _copy_studies(
    source: JournalStorage, target: RDBStorage, names: Mapping[str, str], *, sweep: str
) -> None:
    """Adds the studies under their names here."""
    known = {study.study_name for study in source.get_all_studies()}
    with _quiet():
        for study in [one for one in names if one in known]:
            optuna.copy_study(
                from_study_name=study,
                from_storage=source,
                to_storage=target,
                to_study_name=names[study],
            )
            made = target.get_study_id_from_name(names[study])
            target.set_study_user_attr(made, OURS, sweep)


def _refuse_pickles(source: BaseStorage) -> None:
    """Raises if an attribute is one that Optuna would unpickle.

    Raises:
        InputError: it is.
    """
    for study in source.get_all_studies():
        trials = source.get_all_trials(study._study_id, deepcopy=False)
        keys = {key for one in trials for key in one.system_attrs} | set(study.system_attrs)
        if any(key.startswith(PICKLES) for key in keys):
            raise InputError("the archive's Optuna journal has a pickle in it; it is not imported")
