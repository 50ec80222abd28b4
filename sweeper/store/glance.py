"""A glance at one sweep for its live page: one read transaction of narrow rows.

What never changes, the cells and packs, is kept between two glances. A glance is only taken when
something has changed since the last one.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Connection, String, and_, case, func, select, type_coerce
from sqlalchemy.types import NullType

from sweeper.errors import NothingStored
from sweeper.states import FAILURES, Ending, RunState
from sweeper.store import dialects, reads
from sweeper.store.database import Database
from sweeper.store.reads import Reader
from sweeper.store.records import Attempt, Cell, Pack, Run, Sweep
from sweeper.store.store import Store
from sweeper.store.tables import (
    AttemptTable,
    CellTable,
    LeaseTable,
    ObservationTable,
    PackTable,
    RunTable,
    SweepTable,
    clock,
)

T = TypeVar("T")
MOST_EVENTS = 100
LONGEST_ERROR = 2000  # characters from the end of an attempt's error
# The letter of a run's state; a failed run has the letter of its reason.
LEFT, RUNNING, NO_VALUE = ".", "r", "n"  # NO_VALUE: complete, and its objective is not finite
CODES: dict[str, str] = {
    RunState.PENDING: LEFT,
    RunState.RUNNING: RUNNING,
    RunState.COMPLETE: "c",
    RunState.PRUNED: "p",
}
FAILED: dict[str, str] = {
    str(ending): chr(ord("A") + at) for at, ending in enumerate(sorted(FAILURES))
}
PATIENCE = 2.0  # seconds: a page says that the database is away, rather than wait for it


class Place(NamedTuple):
    """Where a run stands in the sweep: what never changes of it."""

    id: int
    cell_id: int
    replicate: int


class Spent(NamedTuple):
    """The training time of a pack's attempt, and whether the pack ended there."""

    pack_id: int
    seconds: float
    ended: bool


class TakeOver(NamedTuple):
    """A further driver of the sweep: its lease's number, and when its first attempt began."""

    epoch: int
    started_at: float


@dataclass(frozen=True, kw_only=True)
class Glance:
    """One sweep at one moment.

    Attributes:
        mark: differs from another glance's if anything differs.
        codes: a letter for each run, in the order of `runs`: see `CODES` and `FAILED`.
        epochs: the last epoch of each running run, by run.
        running: the open attempts; none without a living driver.
        lost: the last attempts that did not complete their runs, the newest first.
        spent: of each attempt at a pack.
    """

    mark: tuple[Any, ...]
    sweep: Sweep
    cells: Sequence[Cell]
    packs: Sequence[Pack]
    runs: Sequence[Place]
    codes: str
    epochs: Mapping[int, int]
    running: Sequence[Attempt]
    lost: Sequence[Attempt]
    spent: Sequence[Spent]
    takeovers: Sequence[TakeOver]


class Pulse(NamedTuple):
    """When a sweep was looked at, and its driver's last beat, by the database's clock."""

    at: float
    beat: float


class Glances:
    """Takes glances at one sweep.

    Args:
        database: opened by `reading`.
    """

    def __init__(self, database: Database, name: str) -> None:
        self._database, self._name = database, name
        self._cells: tuple[Any, Sequence[Cell]] = (None, ())
        self._packs: tuple[Any, Sequence[Pack]] = (None, ())
        self._runs: Sequence[Place] = ()

    def take(self, *, unlike: tuple[Any, ...] | None = None) -> tuple[Pulse, Glance | None]:
        """The pulse and a glance; no glance if all is as in the glance with the mark `unlike`.

        Raises:
            NothingStored: there is no such sweep.
        """
        return self._database.read(lambda connection: self._take(connection, unlike))

    def _take(
        self, connection: Connection, unlike: tuple[Any, ...] | None
    ) -> tuple[Pulse, Glance | None]:
        found = reads.sweeps(connection, SweepTable.name == self._name)
        if not found:
            raise NothingStored(f"no sweep named {self._name!r} in this database")
        lease = select(clock(), LeaseTable.beat_at).where(LeaseTable.sweep_id == found[0].id)
        pulse = Pulse(*connection.execute(lease).one())
        mark = _mark(connection, found[0])
        return pulse, None if mark == unlike else self._whole(connection, found[0], mark)

    def _whole(self, connection: Connection, sweep: Sweep, mark: tuple[Any, ...]) -> Glance:
        reader = Reader(Within(connection))
        codes = _codes(connection, sweep.id)
        if len(codes) != len(self._runs):  # runs are only ever added
            self._runs = _places(connection, sweep.id)
        return Glance(
            mark=mark,
            sweep=sweep,
            cells=self._kept_cells(connection, reader, sweep.id),
            packs=self._kept_packs(connection, reader, sweep.id),
            runs=self._runs,
            codes=codes if sweep.alive else codes.replace(RUNNING, LEFT),
            epochs=_epochs(connection, sweep.id) if sweep.alive else {},
            running=_running(connection, sweep) if sweep.alive else (),
            lost=_lost(connection, sweep.id),
            spent=_spent(connection, sweep.id),
            takeovers=_takeovers(connection, sweep.id),
        )

    def _kept_cells(self, connection: Connection, reader: Reader, sweep_id: int) -> Sequence[Cell]:
        """The cells; read again when a cell or a run was added, or cells were hidden."""
        runs = select(func.count()).where(RunTable.sweep_id == sweep_id).scalar_subquery()
        hidden = func.count().filter(CellTable.hidden)
        query = select(func.count(), hidden, runs).where(CellTable.sweep_id == sweep_id)
        key = tuple(connection.execute(query).one())
        if key != self._cells[0]:
            self._cells = key, reader.cells(sweep_id)
        return self._cells[1]

    def _kept_packs(self, connection: Connection, reader: Reader, sweep_id: int) -> Sequence[Pack]:
        dissolved = func.count().filter(PackTable.dissolved)
        query = select(func.count(), dissolved).where(PackTable.sweep_id == sweep_id)
        key = tuple(connection.execute(query).one())
        if key != self._packs[0]:
            self._packs = key, reader.packs(sweep_id)
        return self._packs[1]


class Within(Database):
    """A database whose reads share one transaction that is already open."""

    def __init__(self, connection: Connection) -> None:
        self._open = connection

    def read(self, work: Any) -> Any:
        """Returns the result of `work` in the open transaction."""
        return work(self._open)


def reading(url: str) -> Store:
    """Opens a store whose connection cannot write, and that waits for no answer without end.

    Raises:
        StoreError: as `Store.open` does.
    """
    store = Store.open(url, create=False, patience=PATIENCE)
    dialects.forbid_writing(store.database.engine)
    store.database.close()  # the next connection is made under the ban
    store.attend(lambda: False)
    return store


def newest(connection: Connection, *, skip: int, most: int) -> tuple[list[Sweep], int]:
    """At most so many sweeps after the newest ones that are skipped, and how many there are."""
    total = connection.execute(select(func.count()).select_from(SweepTable)).scalar_one()
    ids = select(SweepTable.id).order_by(SweepTable.id.desc()).offset(skip).limit(most)
    chosen = list(connection.execute(ids).scalars())
    return list(reversed(reads.sweeps(connection, SweepTable.id.in_(chosen)))), total


def _mark(connection: Connection, sweep: Sweep) -> tuple[Any, ...]:
    """What differs whenever anything that a page shows has changed."""
    table = RunTable
    query = select(type_coerce(table.state, String), func.count(), func.sum(table.epoch))
    states = connection.execute(query.where(table.sweep_id == sweep.id).group_by(table.state)).all()
    attempts = connection.execute(
        select(
            func.max(AttemptTable.id),
            func.count(AttemptTable.ended_at),
            func.sum(AttemptTable.seconds),
        ).where(AttemptTable.sweep_id == sweep.id)
    ).one()
    about = (sweep.updated_at, sweep.state, sweep.alive, len(sweep.stages))
    return (*about, *map(tuple, sorted(states)), *attempts)


def _places(connection: Connection, sweep_id: int) -> list[Place]:
    table = RunTable
    query = select(table.id, table.cell_id, table.replicate).where(table.sweep_id == sweep_id)
    return [Place(*row) for row in connection.execute(query.order_by(table.id))]


def _codes(connection: Connection, sweep_id: int) -> str:
    """The letters of all runs, joined by the database: rows of their own would take ten times as
    long.
    """
    table, state = RunTable, type_coerce(RunTable.state, String)
    ending = type_coerce(table.ending, String)
    failed = case(FAILED, value=ending, else_=FAILED[Ending.ERROR])
    letter = case(
        (and_(state == RunState.COMPLETE, table.value.is_(None)), NO_VALUE),
        (state == RunState.FAILED, failed),
        else_=case(CODES, value=state),
    )
    rows = select(letter.label("code")).where(table.sweep_id == sweep_id).order_by(table.id)
    joined = func.aggregate_strings(rows.subquery().c.code, "")
    return connection.execute(select(joined)).scalar() or ""


def _epochs(connection: Connection, sweep_id: int) -> dict[int, int]:
    table = RunTable
    running = type_coerce(table.state, String) == RunState.RUNNING
    query = select(table.id, table.epoch).where(table.sweep_id == sweep_id, running)
    return {row[0]: row[1] for row in connection.execute(query)}


def _attempts(connection: Connection, *conditions: Any) -> Any:
    table = AttemptTable
    error = func.substr(table.error, func.greatest(1, func.length(table.error) - LONGEST_ERROR))
    if connection.dialect.name == "sqlite":
        error = func.substr(table.error, -LONGEST_ERROR)
    columns = [one for one in table.__table__.columns if one.name != "error"]
    return select(*columns, error.label("error")).where(*conditions)


def _running(connection: Connection, sweep: Sweep) -> list[Attempt]:
    open_ones = AttemptTable.sweep_id == sweep.id, AttemptTable.ended_at.is_(None)
    rows = connection.execute(_attempts(connection, *open_ones).order_by(AttemptTable.id))
    return [reads.record(Attempt, row) for row in rows]


def _lost(connection: Connection, sweep_id: int) -> list[Attempt]:
    table = AttemptTable
    ending = type_coerce(table.ending, String)
    lost = ending.not_in(("complete", "pruned"))
    query = _attempts(connection, table.sweep_id == sweep_id, table.ended_at.is_not(None), lost)
    rows = connection.execute(query.order_by(table.ended_at.desc()).limit(MOST_EVENTS))
    return [reads.record(Attempt, row) for row in rows]


def _spent(connection: Connection, sweep_id: int) -> list[Spent]:
    """The members of a pack train in the same seconds."""
    table = AttemptTable
    query = select(
        table.pack_id,
        func.max(table.seconds),
        func.count(table.ended_at) == func.count(),
    ).where(table.sweep_id == sweep_id)
    rows = connection.execute(query.group_by(table.pack_id, table.started_at))
    return [Spent(row[0], row[1], bool(row[2])) for row in rows]


def _takeovers(connection: Connection, sweep_id: int) -> list[TakeOver]:
    """The drivers after the first one, the oldest first."""
    table = AttemptTable
    query = select(table.lease_epoch, func.min(table.started_at)).where(table.sweep_id == sweep_id)
    rows = connection.execute(query.group_by(table.lease_epoch).order_by(table.lease_epoch)).all()
    return [TakeOver(*row) for row in rows[1:]]


@dataclass(frozen=True, kw_only=True)
class History:
    """What became of one run.

    Attributes:
        curve: the objective where the sweep selects, by epoch; empty where it is not recorded.
    """

    run: Run
    attempts: Sequence[Attempt]
    curve: Sequence[tuple[int, float]]


def history(connection: Connection, sweep: Sweep, run_id: int) -> History:
    """The attempts of a run, the first one first, and its curve."""
    row = connection.execute(select(RunTable.__table__).where(RunTable.id == run_id)).one()
    mine = _attempts(connection, AttemptTable.run_id == run_id).order_by(AttemptTable.number)
    attempts = [reads.record(Attempt, one) for one in connection.execute(mine)]
    return History(
        run=reads.record(Run, row), attempts=attempts, curve=_curve(connection, sweep, run_id)
    )


def _curve(connection: Connection, sweep: Sweep, run_id: int) -> list[tuple[int, float]]:
    key = (sweep.objective_split, sweep.spec["objective"]["metric"], "")
    if key not in sweep.layout:
        return []
    table, at = ObservationTable, sweep.layout.index(key)
    number = func.substr(table.numbers, 4 * at + 1, 4, type_=NullType())
    query = select(table.epoch, number).where(table.run_id == run_id).order_by(table.epoch)
    rows: Any = connection.execute(query)
    return [(epoch, struct.unpack("<f", value)[0]) for epoch, value in rows]
