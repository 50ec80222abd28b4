"""The questions that a store answers: rows become records, in a stable order."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime
from functools import cache, partial
from typing import Any, TypeVar

from sqlalchemy import (
    Connection,
    Row,
    Select,
    Text,
    and_,
    cast,
    func,
    inspect,
    select,
)
from sqlalchemy.types import NullType

from sweeper.states import UNCOUNTED, RunState
from sweeper.store import lease as leases
from sweeper.store.database import Database
from sweeper.store.records import Attempt, Cell, Observations, Pack, Predictions, Run, Sweep
from sweeper.store.tables import (
    AttemptTable,
    CellTable,
    LeaseTable,
    ObservationTable,
    PackTable,
    PredictionTable,
    RunTable,
    StageTable,
    SweepTable,
)

T = TypeVar("T")
CHUNK = 500  # keys in one IN (...), far below both databases' limits


class Reader:
    """The half of the store that only reads; needs no lease."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def sweep(self, name: str) -> Sweep | None:
        """The sweep of that name."""
        found = self.database.read(lambda c: sweeps(c, SweepTable.name == name))
        return found[0] if found else None

    def sweeps(self) -> list[Sweep]:
        """All sweeps, oldest first."""
        return self.database.read(sweeps)

    def cells(self, sweep_id: int) -> list[Cell]:
        """The cells in the order they were added, hidden ones included."""
        query = select(CellTable.__table__).where(CellTable.sweep_id == sweep_id)
        return self._all(query.order_by(CellTable.id), cell)

    def runs(self, sweep_id: int) -> list[Run]:
        """The runs in the order they were added."""
        query = select(RunTable.__table__).where(RunTable.sweep_id == sweep_id)
        return self._all(query.order_by(RunTable.id), run)

    def runs_of(self, cell_ids: Sequence[int]) -> list[Run]:
        """The runs of these cells in the order they were added."""
        found: list[Run] = []
        for some in chunks(cell_ids):
            query = select(RunTable.__table__).where(RunTable.cell_id.in_(some))
            found += self._all(query.order_by(RunTable.id), run)
        return sorted(found, key=lambda one: one.id)

    def packs(self, sweep_id: int) -> list[Pack]:
        """The packs in the plan's order, dissolved ones included."""
        query = select(PackTable.__table__).where(PackTable.sweep_id == sweep_id)
        return self._all(query.order_by(PackTable.position), pack)

    def attempts(self, sweep_id: int) -> list[Attempt]:
        """The attempts in the order they began."""
        query = select(AttemptTable.__table__).where(AttemptTable.sweep_id == sweep_id)
        return self._all(query.order_by(AttemptTable.id), attempt)

    def counts(self, sweep_id: int) -> dict[RunState, int]:
        """How many wanted runs of cells that are not hidden stand in each state."""
        wanted = cast(CellTable.replicates, Text)
        query = (
            select(RunTable.state, RunTable.replicate, wanted, func.count())
            .join(CellTable, CellTable.id == RunTable.cell_id)
            .where(RunTable.sweep_id == sweep_id, ~CellTable.hidden)
            .group_by(RunTable.state, RunTable.replicate, wanted)
        )
        found = Counter[RunState]()
        for state, replicate, replicates, count in self.database.read(
            lambda c: c.execute(query).all()
        ):
            found[state] += count if replicate in json.loads(replicates) else 0
        return {state: found[state] for state in RunState}

    def failures(self, sweep_id: int) -> dict[int, int]:
        """How many attempts count towards a run's failure; runs without any are left out."""
        return self.database.read(lambda c: failures(c, AttemptTable.sweep_id == sweep_id))

    def prices(self, sweep_id: int) -> dict[str, Any]:
        """What `save_prices` kept; empty before."""
        query = select(SweepTable.prices).where(SweepTable.id == sweep_id)
        return self.database.read(lambda c: c.execute(query).scalar_one())

    def observations(self, sweep_id: int, *, last_only: bool) -> Iterator[Observations]:
        """Every run's numbers by run and epoch, or of its last epoch only.

        Reads a chunk of runs at a time: memory does not grow with the sweep.
        """
        for some in self._run_ids(sweep_id):
            yield from self.database.read(
                lambda c, some=some: observations(c, some, last_only=last_only)
            )

    def curves(self, sweep_id: int, at: Sequence[int]) -> Iterator[Sequence[Sequence[Any]]]:
        """Of every vector the numbers at these places of the layout, by run and epoch.

        Yields:
            rows of a chunk of runs: (run id, epoch, step, one number, the next ...), a number as
            the four bytes that it is in the vector. The database takes them out, so that the rest
            need not travel.
        """
        table = ObservationTable
        numbers = [func.substr(table.numbers, 4 * place + 1, 4, type_=NullType()) for place in at]
        query = select(table.run_id, table.epoch, table.step, *numbers)
        for some in self._run_ids(sweep_id):
            chunk = query.where(table.run_id.in_(some)).order_by(table.run_id, table.epoch)
            yield self.database.read(lambda c, chunk=chunk: c.execute(chunk).all())

    def _run_ids(self, sweep_id: int) -> Iterator[Sequence[int]]:
        query = select(RunTable.id).where(RunTable.sweep_id == sweep_id).order_by(RunTable.id)
        return chunks(self.database.read(lambda c: c.execute(query).scalars().all()))

    def predictions(self, sweep_id: int) -> list[Predictions]:
        """What each complete run has right of the test split, by run; runs without are left out."""

        def there(connection: Connection) -> bool:
            return inspect(connection).has_table(PredictionTable.__tablename__)

        if not self.database.read(there):  # of an older Sweeper, and nobody has launched since
            return []
        query = (
            select(PredictionTable.__table__)
            .join(RunTable, RunTable.id == PredictionTable.run_id)
            .where(RunTable.sweep_id == sweep_id)
            .order_by(PredictionTable.run_id)
        )
        return self._all(query, lambda row: Predictions(run_id=row.run_id, bits=row.bits))

    def _all(self, query: Select[Any], record: Any) -> list[Any]:
        rows = self.database.read(lambda connection: connection.execute(query).all())
        return [record(row) for row in rows]


def chunks(items: Sequence[T], size: int = CHUNK) -> Iterator[Sequence[T]]:
    """`items`, at most `size` at a time."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def sweeps(connection: Connection, *conditions: Any) -> list[Sweep]:
    """The sweeps that meet the conditions, with who holds them, oldest first."""
    query = (
        select(SweepTable.__table__, *leases.holder_columns())
        .outerjoin(LeaseTable, LeaseTable.sweep_id == SweepTable.id)
        .where(*conditions)
        .order_by(SweepTable.id)
    )
    rows = connection.execute(query).all()
    decided = _stages(connection, [row.id for row in rows])
    return [_sweep(row, decided.get(row.id, [])) for row in rows]


def _stages(connection: Connection, sweep_ids: Sequence[int]) -> dict[int, list[dict[str, Any]]]:
    if not inspect(connection).has_table(StageTable.__tablename__):
        return {}  # of an older Sweeper, and nobody has launched since
    found: dict[int, list[dict[str, Any]]] = {}
    for some in chunks(sweep_ids):
        query = select(StageTable.sweep_id, StageTable.body).where(StageTable.sweep_id.in_(some))
        for sweep_id, body in connection.execute(query.order_by(StageTable.number)):
            found.setdefault(sweep_id, []).append(body)
    return found


def failures(connection: Connection, *conditions: Any) -> dict[int, int]:
    """How many attempts of each run count towards its failure, of the attempts that are meant."""
    query = (
        select(AttemptTable.run_id, func.count())
        .join(RunTable, RunTable.id == AttemptTable.run_id)
        .where(*conditions, AttemptTable.ending.is_not(None))
        .where(AttemptTable.ending.not_in(UNCOUNTED), AttemptTable.number > RunTable.forgiven)
        .group_by(AttemptTable.run_id)
    )
    return {row[0]: row[1] for row in connection.execute(query)}


def observations(
    connection: Connection, run_ids: Sequence[int], *, last_only: bool
) -> list[Observations]:
    """The numbers of some runs, by run and epoch."""
    table = ObservationTable
    query = select(table.run_id, table.epoch, table.step, table.numbers)
    query = query.where(table.run_id.in_(run_ids))
    if last_only:
        last = and_(RunTable.id == table.run_id, RunTable.epoch == table.epoch)
        query = query.join(RunTable, last)
    query = query.order_by(table.run_id, table.epoch)
    return [Observations(*row) for row in connection.execute(query).all()]


def record(kind: type[T], row: Row, **changes: Any) -> T:
    """A row as a record: each field from the column of its name, or as given."""
    columns = row._mapping
    return kind(**{name: _read(name, columns[name]) for name in _names(kind) - changes.keys()},
                **changes)  # fmt: skip


@cache
def _names(kind: type) -> frozenset[str]:
    return frozenset(field.name for field in fields(kind))


def _read(name: str, value: Any) -> Any:
    convert = CONVERT.get(name)
    return value if convert is None or value is None else convert(value)


def _sweep(row: Row, stages: list[dict[str, Any]]) -> Sweep:
    holder = leases.describe(row)
    found = record(Sweep, row, holder=holder, stages=stages)
    if found.state == "running" and not found.alive:
        return replace(found, state="interrupted", state_reason="its driver stopped or died")
    return found


cell, run = partial(record, Cell), partial(record, Run)
pack, attempt = partial(record, Pack), partial(record, Attempt)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _keys(layout: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    return tuple(map(tuple, layout))


# What the database holds in another form than the records do, by column.
CONVERT: dict[str, Callable[[Any], Any]] = {
    "layout": _keys,
    "class_counts": tuple,
    "replicates": tuple,
    "run_ids": tuple,
    "created_at": _moment,
    "updated_at": _moment,
    "started_at": _moment,
    "ended_at": _moment,
}
