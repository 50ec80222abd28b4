"""The questions that a store answers: rows become records, in a stable order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from sqlalchemy import Connection, Row, Select, and_, func, select

from sweeper.states import RunState
from sweeper.store import lease as leases
from sweeper.store.database import Database
from sweeper.store.records import Attempt, Cell, Observations, Pack, Run, Sweep
from sweeper.store.tables import (
    AttemptTable,
    CellTable,
    LeaseTable,
    ObservationTable,
    PackTable,
    RunTable,
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
        """How many runs of cells that are not hidden stand in each state."""
        query = (
            select(RunTable.state, func.count())
            .join(CellTable, CellTable.id == RunTable.cell_id)
            .where(RunTable.sweep_id == sweep_id, ~CellTable.hidden)
            .group_by(RunTable.state)
        )
        found = {row[0]: row[1] for row in self.database.read(lambda c: c.execute(query).all())}
        return {state: found.get(state, 0) for state in RunState}

    def prices(self, sweep_id: int) -> dict[str, Any]:
        """What `save_prices` kept; empty before."""
        query = select(SweepTable.prices).where(SweepTable.id == sweep_id)
        return self.database.read(lambda c: c.execute(query).scalar_one())

    def observations(self, sweep_id: int, *, last_only: bool) -> Iterator[Observations]:
        """Every run's numbers by run and epoch, or of its last epoch only.

        Reads a chunk of runs at a time: memory does not grow with the sweep.
        """
        query = select(RunTable.id).where(RunTable.sweep_id == sweep_id).order_by(RunTable.id)
        ids = self.database.read(lambda c: c.execute(query).scalars().all())
        for some in chunks(ids):
            yield from self.database.read(
                lambda c, some=some: observations(c, some, last_only=last_only)
            )

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
    return [_sweep(row) for row in connection.execute(query)]


def observations(
    connection: Connection, run_ids: Sequence[int], *, last_only: bool
) -> list[Observations]:
    """The numbers of some runs, by run and epoch."""
    query = select(ObservationTable.__table__).where(ObservationTable.run_id.in_(run_ids))
    if last_only:
        last = and_(
            RunTable.id == ObservationTable.run_id, RunTable.epoch == ObservationTable.epoch
        )
        query = query.join(RunTable, last)
    query = query.order_by(ObservationTable.run_id, ObservationTable.epoch)
    return [
        Observations(run_id=row.run_id, epoch=row.epoch, step=row.step, numbers=row.numbers)
        for row in connection.execute(query)
    ]


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _sweep(row: Row) -> Sweep:
    return Sweep(
        id=row.id,
        name=row.name,
        question=row.question,
        spec_text=row.spec_text,
        spec=row.spec,
        layout=tuple((split, metric, target) for split, metric, target in row.layout),
        facts=row.facts,
        provenance=row.provenance,
        created_at=_moment(row.created_at),
        updated_at=_moment(row.updated_at),
        state=row.state,
        state_reason=row.state_reason,
        holder=leases.describe(row),
    )


def cell(row: Row) -> Cell:
    return Cell(
        id=row.id,
        sweep_id=row.sweep_id,
        hash=row.hash,
        role=row.role,
        factors=row.factors,
        config=row.config,
        class_counts=tuple(row.class_counts),
        replicates=tuple(row.replicates),
        optuna_number=row.optuna_number,
        mirrored=row.mirrored,
        hidden=row.hidden,
    )


def run(row: Row) -> Run:
    return Run(
        id=row.id,
        cell_id=row.cell_id,
        replicate=row.replicate,
        state=row.state,
        epoch=row.epoch,
        value=row.value,
        ending=row.ending,
        error=row.error,
        seconds=row.seconds,
    )


def pack(row: Row) -> Pack:
    return Pack(
        id=row.id,
        sweep_id=row.sweep_id,
        position=row.position,
        key=row.key,
        run_ids=tuple(row.run_ids),
        form=row.form,
        seconds=row.seconds,
        dissolved=row.dissolved,
    )


def attempt(row: Row) -> Attempt:
    return Attempt(
        id=row.id,
        run_id=row.run_id,
        pack_id=row.pack_id,
        number=row.number,
        lease_epoch=row.lease_epoch,
        node=row.node,
        device=row.device,
        started_at=_moment(row.started_at),
        ended_at=None if row.ended_at is None else _moment(row.ended_at),
        from_epoch=row.from_epoch,
        seconds=row.seconds,
        ending=row.ending,
        error=row.error,
    )
