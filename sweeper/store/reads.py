"""Reads from the store: rows become records, in a stable order.

A driver that could not write any more leaves runs RUNNING and attempts open. No process runs them,
so readers see what the next launch will write: the run is pending, the attempt was cancelled.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime
from functools import cache, partial
from typing import Any, NamedTuple, TypeVar

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

from sweeper.states import UNCOUNTED, Ending, RunState
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


class Drivers(NamedTuple):
    """The sweeps with a living driver, and each sweep's last driver beat."""

    alive: frozenset[int]
    beats: dict[int, float]


class Reader:
    """The part of the store that only reads; it needs no lease."""

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
        """The cells in the order they were added, including hidden ones."""
        query = select(CellTable.__table__).where(CellTable.sweep_id == sweep_id)
        return self._all(query.order_by(CellTable.id), cell)

    def runs(self, sweep_id: int) -> list[Run]:
        """The runs in the order they were added."""
        query = select(RunTable.__table__).where(RunTable.sweep_id == sweep_id)
        return self._true(query.order_by(RunTable.id), _run_now)

    def runs_of(self, cell_ids: Sequence[int]) -> list[Run]:
        """The runs of these cells in the order they were added."""
        found: list[Run] = []
        for some in chunks(cell_ids):
            query = select(RunTable.__table__).where(RunTable.cell_id.in_(some))
            found += self._true(query.order_by(RunTable.id), _run_now)
        return sorted(found, key=lambda one: one.id)

    def packs(self, sweep_id: int) -> list[Pack]:
        """The packs in the plan's order, including dissolved ones."""
        query = select(PackTable.__table__).where(PackTable.sweep_id == sweep_id)
        return self._all(query.order_by(PackTable.position), pack)

    def attempts(self, sweep_id: int) -> list[Attempt]:
        """The attempts in the order they began."""
        query = select(AttemptTable.__table__).where(AttemptTable.sweep_id == sweep_id)
        return self._true(query.order_by(AttemptTable.id), _attempt_now)

    def roles(self, sweep_id: int) -> dict[str, int]:
        """The number of visible cells of each role."""
        query = (
            select(CellTable.role, func.count())
            .where(CellTable.sweep_id == sweep_id, ~CellTable.hidden)
            .group_by(CellTable.role)
            .order_by(CellTable.role)
        )
        return {row[0]: row[1] for row in self.database.read(lambda c: c.execute(query).all())}

    def counts(self, sweep_id: int) -> dict[RunState, int]:
        """The number of wanted runs of visible cells in each state."""
        found = Counter[RunState]()
        for (state, _), count in self.endings(sweep_id).items():
            found[state] += count
        return {state: found[state] for state in RunState}

    def endings(self, sweep_id: int) -> Counter[tuple[RunState, Ending | None]]:
        """The number of wanted runs of visible cells, by state and last ending."""
        wanted = cast(CellTable.replicates, Text)
        columns = RunTable.state, RunTable.ending, RunTable.replicate, wanted
        query = (
            select(*columns, func.count())
            .join(CellTable, CellTable.id == RunTable.cell_id)
            .where(RunTable.sweep_id == sweep_id, ~CellTable.hidden)
            .group_by(*columns)
        )
        rows, drivers = self.database.read(
            lambda c: (c.execute(query).all(), _drivers(c, [sweep_id]))
        )
        found = Counter[tuple[RunState, Ending | None]]()
        for state, ending, replicate, replicates, count in rows:
            if replicate in json.loads(replicates):
                found[_state_now(state, owned=sweep_id in drivers.alive), ending] += count
        return found

    def paces(self, *, most: int = 30) -> list[tuple[dict[str, Any], float]]:
        """(spec, seconds of training a round) of the latest sweeps with complete runs."""
        seconds, rounds = func.sum(RunTable.seconds), func.sum(RunTable.epoch)
        query = (
            select(RunTable.sweep_id, (seconds / rounds).label("pace"))
            .where(RunTable.state == RunState.COMPLETE, RunTable.epoch > 0)
            .group_by(RunTable.sweep_id)
            .order_by(RunTable.sweep_id.desc())
            .limit(most)
            .subquery()
        )
        specs = select(SweepTable.spec, query.c.pace).join(query, query.c.sweep_id == SweepTable.id)
        specs = specs.order_by(SweepTable.id.desc())
        rows = self.database.read(lambda connection: connection.execute(specs).all())
        return [(row.spec, row.pace) for row in rows]

    def failures(self, sweep_id: int) -> dict[int, int]:
        """Attempts that count towards a run's failure, by run; runs without any are left out."""
        return self.database.read(lambda c: failures(c, AttemptTable.sweep_id == sweep_id))

    def prices(self, sweep_id: int) -> dict[str, Any]:
        """The prices that `save_prices` stored; empty before."""
        query = select(SweepTable.prices).where(SweepTable.id == sweep_id)
        return self.database.read(lambda c: c.execute(query).scalar_one())

    def observations(self, sweep_id: int, *, last_only: bool) -> Iterator[Observations]:
        """Every run's numbers by run and epoch, or of its last epoch only.

        Reads a chunk of runs at a time, so memory does not grow with the sweep.
        """
        for some in self._run_ids(sweep_id):
            yield from self.database.read(
                lambda c, some=some: observations(c, some, last_only=last_only)
            )

    def last_observations(self, run_ids: Sequence[int]) -> list[Observations]:
        """The numbers of some runs at their last epoch."""
        return [
            one
            for some in chunks(run_ids)
            for one in self.database.read(
                lambda c, some=some: observations(c, some, last_only=True)
            )
        ]

    def curves(self, sweep_id: int, at: Sequence[int]) -> Iterator[Sequence[Sequence[Any]]]:
        """The numbers at these places of the layout, in every vector, by run and epoch.

        Yields:
            rows of a chunk of runs: (run id, epoch, step, number, next number ...). A number is its
            four bytes in the vector. The database extracts them, so the rest is not transferred.
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
        """Each complete run's predictions on the test split; runs without any are left out."""

        def there(connection: Connection) -> bool:
            return inspect(connection).has_table(PredictionTable.__tablename__)

        if not self.database.read(there):  # an older Sweeper made it, and no launch has updated it
            return []
        query = (
            select(PredictionTable.__table__)
            .join(RunTable, RunTable.id == PredictionTable.run_id)
            .where(RunTable.sweep_id == sweep_id)
            .order_by(PredictionTable.run_id)
        )
        return self._all(query, lambda row: Predictions(run_id=row.run_id, bits=row.bits))

    def _true(self, query: Select[Any], record: Callable[[Row, Drivers], T]) -> list[T]:
        """Rows as records, corrected for sweeps without a living driver."""

        def read(connection: Connection) -> list[T]:
            rows = connection.execute(query).all()
            drivers = _drivers(connection, {row.sweep_id for row in rows})
            return [record(row, drivers) for row in rows]

        return self.database.read(read)

    def _all(self, query: Select[Any], record: Any) -> list[Any]:
        rows = self.database.read(lambda connection: connection.execute(query).all())
        return [record(row) for row in rows]


def chunks(items: Sequence[T], size: int = CHUNK) -> Iterator[Sequence[T]]:
    """Yields `items` in pieces of at most `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def sweeps(connection: Connection, *conditions: Any) -> list[Sweep]:
    """The sweeps that meet the conditions, with their drivers, oldest first."""
    query = (
        select(SweepTable.__table__, *leases.holder_columns())
        .outerjoin(LeaseTable, LeaseTable.sweep_id == SweepTable.id)
        .where(*conditions)
        .order_by(SweepTable.id)
    )
    rows = connection.execute(query).all()
    decided = _stages(connection, [row.id for row in rows])
    return [_sweep(row, decided.get(row.id, [])) for row in rows]


def _drivers(connection: Connection, sweep_ids: Collection[int]) -> Drivers:
    query = select(LeaseTable.sweep_id, LeaseTable.beat_at, *leases.holder_columns())
    rows = connection.execute(query.where(LeaseTable.sweep_id.in_(sweep_ids))).all()
    return Drivers(
        alive=frozenset(row.sweep_id for row in rows if leases.alive(row)),
        beats={row.sweep_id: row.beat_at for row in rows},
    )


def _stages(connection: Connection, sweep_ids: Sequence[int]) -> dict[int, list[dict[str, Any]]]:
    if not inspect(connection).has_table(StageTable.__tablename__):
        return {}  # an older Sweeper made it, and no launch has updated it
    found: dict[int, list[dict[str, Any]]] = {}
    for some in chunks(sweep_ids):
        query = select(StageTable.sweep_id, StageTable.body).where(StageTable.sweep_id.in_(some))
        for sweep_id, body in connection.execute(query.order_by(StageTable.number)):
            found.setdefault(sweep_id, []).append(body)
    return found


def failures(connection: Connection, *conditions: Any) -> dict[int, int]:
    """The number of counted attempts of each run, among the attempts that `where` selects."""
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
    return kind(
        **{name: _read(name, columns[name]) for name in _names(kind) - changes.keys()}, **changes
    )


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
        return replace(found, state="interrupted", state_reason=leases.GONE)
    return found


cell, run, pack = partial(record, Cell), partial(record, Run), partial(record, Pack)


def _state_now(state: RunState, *, owned: bool) -> RunState:
    return RunState.PENDING if state is RunState.RUNNING and not owned else state


def _run_now(row: Row, drivers: Drivers) -> Run:
    state = _state_now(row.state, owned=row.sweep_id in drivers.alive)
    if state is row.state:
        return run(row)
    return record(Run, row, state=state, ending=Ending.CANCELLED)


def _attempt_now(row: Row, drivers: Drivers) -> Attempt:
    if row.ended_at is not None or row.sweep_id in drivers.alive:
        return record(Attempt, row)
    ended_at = max(row.started_at, drivers.beats.get(row.sweep_id, 0.0))
    return record(
        Attempt, row, ending=Ending.CANCELLED, ended_at=_moment(ended_at), error=leases.GONE
    )


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _keys(layout: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    return tuple(map(tuple, layout))


# Conversions of columns that the database stores in another form than the records.
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
