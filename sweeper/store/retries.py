"""Lets failed runs wait again, as a user or a command of the service asks."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import ColumnElement, Connection, func, select, update

from sweeper.states import Ending, RunState, move
from sweeper.store import cells as cell_rows
from sweeper.store import orders
from sweeper.store.reads import chunks
from sweeper.store.tables import AttemptTable, CellTable, RunTable, SweepTable, clock


def as_asked(connection: Connection, sweep_id: int, name: str) -> int:
    """See `Store.retry_asked`."""
    total = 0
    for asked in orders.asked_retries(connection, name):
        endings = [Ending(reason) for reason in asked.reasons] or None
        count = reset(connection, sweep_id, endings, since=asked.since)
        orders.retried(connection, asked.id, count)
        total += count
    return total


def reset(
    connection: Connection,
    sweep_id: int,
    endings: Collection[Ending] | None,
    *,
    since: float | ColumnElement[float] | None = None,
) -> int:
    """See `Store.retry_failed`; `since`: only runs whose last attempt ended after this time."""
    query = (
        select(RunTable.id, RunTable.cell_id, RunTable.replicate, CellTable.replicates)
        .join(CellTable, CellTable.id == RunTable.cell_id)
        .where(RunTable.sweep_id == sweep_id, RunTable.state == RunState.FAILED)
        .where(~CellTable.hidden)
    )
    if endings is not None:
        query = query.where(RunTable.ending.in_(list(endings)))
    if since is not None:
        last = select(func.max(AttemptTable.ended_at)).where(AttemptTable.run_id == RunTable.id)
        query = query.where(last.scalar_subquery() >= since)
    rows = [row for row in connection.execute(query) if row.replicate in row.replicates]
    made = select(func.coalesce(func.max(AttemptTable.number), 0))
    made = made.where(AttemptTable.run_id == RunTable.id).scalar_subquery()
    for some in chunks([row.id for row in rows]):
        connection.execute(
            update(RunTable)
            .where(RunTable.id.in_(some))
            .values(state=move(RunState.FAILED, RunState.PENDING), forgiven=made)
        )
    cell_rows.reopen(connection, [row.cell_id for row in rows])
    if rows:
        text = f"{len(rows)} runs are to be tried again"
        connection.execute(
            update(SweepTable)
            .where(SweepTable.id == sweep_id)
            .values(state="interrupted", state_reason=text, updated_at=clock())
        )
    return len(rows)
