"""What the service wants of a sweep's driver, as the driver reads it beside each beat.

A driver never needs the service: without a submission and without a command nothing is wanted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, func, select, true, update

from sweeper.store.database import Database
from sweeper.store.service_records import Orders, Verb, WantedState
from sweeper.store.service_tables import CommandTable, GrantTable, LeaderTable, SubmissionTable
from sweeper.store.tables import clock

HOUR_S = 3600.0

STOPPED = "stopped by a command of the service"
CANCELLED = "cancelled by a command of the service"


class OrderBook:
    """Reads the orders for one sweep. Only the present leader's grants count.

    Args:
        name: the sweep's.
    """

    def __init__(self, database: Database, name: str) -> None:
        self._database, self._name = database, name
        self._workers: int | None = None  # of the last grant that counted

    def read(self) -> Orders:
        """The present orders."""
        return self._database.read(self._read)

    def _read(self, connection: Connection) -> Orders:
        wanted = connection.execute(
            select(SubmissionTable.wanted).where(SubmissionTable.name == self._name)
        ).scalar()
        if wanted is None:
            return Orders(stop=STOPPED if self._told(connection) else "")
        if wanted != WantedState.RUNNING:
            return Orders(stop=STOPPED if wanted == WantedState.STOPPED else CANCELLED)
        grant = connection.execute(_GRANT, {"name": self._name}).first()
        if grant is None:
            return Orders(workers=self._workers)
        if grant.reason and grant.valid:
            return Orders(stop=grant.reason, preempted=True)
        if grant.valid or self._workers is None:
            self._workers = grant.workers or None
        return Orders(workers=self._workers)

    def _told(self, connection: Connection) -> bool:
        """Whether somebody has asked to stop a sweep that was not submitted."""
        query = select(CommandTable.id).where(
            CommandTable.sweep == self._name,
            CommandTable.verb == Verb.STOP,
            CommandTable.done_at.is_(None),
        )
        return connection.execute(query.limit(1)).first() is not None


_GRANT = (
    select(
        GrantTable.workers,
        GrantTable.reason,
        func.coalesce(GrantTable.epoch == LeaderTable.epoch, False).label("valid"),
    )
    .outerjoin(LeaderTable, true())
    .where(GrantTable.sweep == bindparam("name"))
)


@dataclass(frozen=True)
class AskedRetry:
    """A command to try failed runs again.

    Attributes:
        reasons: why they failed; empty for any reason.
        since: only those that failed after this time.
    """

    id: int
    reasons: Sequence[str]
    since: float | None


def asked_retries(connection: Connection, name: str) -> list[AskedRetry]:
    """The open commands to try failed runs of a sweep again, in their order."""
    query = select(CommandTable.id, CommandTable.body, CommandTable.asked_at).where(
        CommandTable.sweep == name,
        CommandTable.verb == Verb.RETRY,
        CommandTable.done_at.is_(None),
    )
    rows = connection.execute(query.order_by(CommandTable.id))
    return [
        AskedRetry(
            id=row.id,
            reasons=row.body.get("reasons", ()),
            since=row.asked_at - HOUR_S * hours if (hours := row.body.get("hours")) else None,
        )
        for row in rows
    ]


def retried(connection: Connection, command: int, count: int) -> None:
    """Marks a command to try runs again as done."""
    query = update(CommandTable).where(CommandTable.id == command)
    outcome = f"{count} runs are tried again"
    connection.execute(query.values(done_at=clock(), outcome=outcome))
