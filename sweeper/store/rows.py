"""All rows of one sweep, as the tables have them: out of a database, and into another one.

Rows keep their ids where these are free, as in an empty database; else all ids of a table move by
the same number, so that their order stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, func, insert, select, text

from sweeper.errors import InputError, StoreError
from sweeper.store import reads
from sweeper.store.records import Sweep
from sweeper.store.tables import (
    AttemptTable,
    CellTable,
    ObservationTable,
    PackTable,
    PredictionTable,
    RunTable,
    StageTable,
    StoredTable,
    SweepTable,
)

Row = dict[str, Any]
Table = type[StoredTable]
CHUNK = 2048  # rows at once

# Each before those that refer to it. The lease is no part of a sweep: another database gives a new
# one.
TABLES: tuple[Table, ...] = (
    SweepTable, CellTable, RunTable, PackTable, AttemptTable, ObservationTable, PredictionTable,
    StageTable,
)  # fmt: skip
REFERENCES: Mapping[str, Table] = {
    "sweep_id": SweepTable, "cell_id": CellTable, "run_id": RunTable, "pack_id": PackTable,
}  # fmt: skip
RUN_IDS = "run_ids"  # of a pack: a list of runs


def name_of(table: Table) -> str:
    """The table's name without the prefix, such as `run`."""
    return str(table.__tablename__).removeprefix("sweeper_")


def columns_of(table: Table) -> list[Any]:
    return list(table.__table__.columns)


def chunks(connection: Connection, table: Table, sweep_id: int) -> Iterator[list[Row]]:
    """The rows of a sweep in a table, in the order of their keys."""
    query = _query(table, sweep_id).execution_options(yield_per=CHUNK)
    for part in connection.execute(query).mappings().partitions():
        yield [dict(row) for row in part]


def _query(table: Table, sweep_id: int) -> Select[Any]:
    keys = [column for column in columns_of(table) if column.primary_key]
    query = select(table.__table__).order_by(*keys)
    if table is SweepTable:
        return query.where(SweepTable.id == sweep_id)
    if table in (ObservationTable, PredictionTable):
        mine = select(RunTable.id).where(RunTable.sweep_id == sweep_id)
        return query.where(table.__table__.c.run_id.in_(mine))
    return query.where(table.__table__.c.sweep_id == sweep_id)


@dataclass
class _Moved:
    """The ids that the rows of a table had, and by how much they move."""

    had: set[int]
    by: int


def add(connection: Connection, tables: Mapping[Table, Iterable[list[Row]]], name: str) -> Sweep:
    """Adds a sweep under a name; returns it, also where an earlier try has added it.

    Args:
        tables: each with chunks of its rows.

    Raises:
        StoreError: another sweep has the name.
        InputError: the rows are not those of one sweep.
    """
    moved: dict[Table, _Moved] = {}
    for table in TABLES:
        for rows in tables[table]:
            if table is SweepTable:
                if len(rows) != 1 or moved:
                    raise _broken(table, "more than one sweep")
                [row] = rows
                if (known := _known(connection, row, name)) is not None:
                    return known
                rows = [row if row["name"] == name else _renamed(row, name)]
            _insert(connection, table, rows, moved)
        if table is SweepTable and not moved:
            raise _broken(table, "no sweep")
    _settle_sequences(connection, moved)
    new = moved[SweepTable]
    [sweep] = reads.sweeps(connection, SweepTable.id == min(new.had) + new.by)
    return sweep


def _renamed(row: Row, name: str) -> Row:
    return {**row, "name": name, "spec": {**row["spec"], "name": name}}


def _known(connection: Connection, row: Row, name: str) -> Sweep | None:
    """What an earlier try of this call has added, whose commit was unknown.

    Raises:
        StoreError: another sweep has the name.
    """
    query = select(SweepTable.created_at, SweepTable.provenance).where(SweepTable.name == name)
    found = connection.execute(query).first()
    if found is None:
        return None
    if (found.created_at, found.provenance) != (row["created_at"], row["provenance"]):
        raise StoreError(
            f"--name: a sweep '{name}' is in this database already; choose another name"
        )
    return reads.sweeps(connection, SweepTable.name == name)[0]


def _insert(
    connection: Connection, table: Table, rows: list[Row], moved: dict[Table, _Moved]
) -> None:
    """Adds rows with their ids and references moved."""
    own = "id" in table.__table__.columns
    if own and table not in moved and rows:
        moved[table] = _Moved(set(), _shift(connection, table, first=min(r["id"] for r in rows)))
    made = [_referring(table, row, moved) for row in rows]
    if own:
        for row in made:
            moved[table].had.add(row["id"])
            row["id"] += moved[table].by
    if made:
        connection.execute(insert(table), made)


def _referring(table: Table, row: Row, moved: Mapping[Table, _Moved]) -> Row:
    found = dict(row)
    for column, target in REFERENCES.items():
        if column in found:
            found[column] = _place(table, column, found[column], moved.get(target))
    if RUN_IDS in found:
        runs = moved.get(RunTable)
        found[RUN_IDS] = [_place(table, RUN_IDS, one, runs) for one in found[RUN_IDS]]
    return found


def _place(table: Table, column: str, value: Any, target: _Moved | None) -> int:
    if target is None or value not in target.had:
        raise _broken(table, f"{column} {value!r} is not there")
    return value + target.by


def _shift(connection: Connection, table: Table, *, first: int) -> int:
    """By how much ids from `first` on must move to be free."""
    last = connection.execute(select(func.max(table.__table__.c.id))).scalar()
    return 0 if last is None else max(0, last + 1 - first)


def _settle_sequences(connection: Connection, moved: Iterable[Table]) -> None:
    """PostgreSQL counts on from the highest id: rows with given ids do not count by themselves."""
    if connection.dialect.name != "postgresql":
        return
    for table in moved:
        name = table.__tablename__
        query = f"SELECT setval(pg_get_serial_sequence('{name}', 'id'), max(id)) FROM {name}"  # noqa: S608
        connection.execute(text(query))


def _broken(table: Table, why: str) -> InputError:
    return InputError(f"the archive is broken: table {name_of(table)}: {why}")
