"""The service in numbers, for its metrics: one look at the database, without names of sweeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, and_, case, func, select

from sweeper.states import FAILURES
from sweeper.store import lease as leases
from sweeper.store.database import Database
from sweeper.store.outbox import RECEIVED
from sweeper.store.service_records import State
from sweeper.store.service_tables import (
    DriverTable,
    GrantTable,
    LeaderTable,
    MessageTable,
    StandingTable,
    SubmissionTable,
    UsageTable,
)
from sweeper.store.tables import AttemptTable, LeaseTable, RunTable, clock


@dataclass(frozen=True, kw_only=True)
class ServiceFigures:
    """Counts at one moment.

    Attributes:
        submissions: by (state, priority class).
        longest_wait_s: of those that are queued now, by priority class.
        waits: from submission to first start: for each bound in seconds how many took no longer,
            then the number and the sum of all.
        workers: that grants allow; `busy`: packs in the hands of drivers that are alive.
        room: processors and GPUs to hand out; None: no supervisor has ever led.
        failures: attempts by reason.
        driver_ends: by exit code; "unknown" where nobody saw it.
        messages: by outcome: waiting, received, not received.
        usage: worker seconds and money of each owner.
    """

    submissions: dict[tuple[str, str], int]
    longest_wait_s: dict[str, float]
    waits: tuple[list[int], int, float]
    workers: int
    busy: int
    room: list[float] | None
    leads: bool
    beat_age_s: float | None
    rounds: int
    runs: dict[str, int]
    failures: dict[str, int]
    driver_starts: int
    driver_ends: dict[str, int]
    messages: dict[str, int]
    usage: dict[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])


def figures(database: Database, *, bounds: Sequence[float]) -> ServiceFigures:
    """Counts everything; `bounds` are those of the waiting times, in seconds."""
    return database.read(lambda connection: _figures(connection, bounds))


def _figures(connection: Connection, bounds: Sequence[float]) -> ServiceFigures:
    leader = connection.execute(select(*leases.holder_columns(LeaderTable))).first()
    runs = select(RunTable.state, func.count()).group_by(RunTable.state)
    failed = select(AttemptTable.ending, func.count()).where(
        AttemptTable.ending.in_(list(FAILURES))
    )
    ends = (
        select(DriverTable.exit_code, func.count())
        .where(DriverTable.ended_at.is_not(None))
        .group_by(DriverTable.exit_code)
    )
    usage = select(UsageTable.owner, UsageTable.total, UsageTable.money)
    return ServiceFigures(
        **_queue(connection),
        waits=_waits(connection, bounds),
        workers=_number(connection, select(func.sum(GrantTable.workers))),
        busy=_busy(connection),
        room=leader.holder.get("room") if leader else None,
        leads=leader is not None and leases.alive(leader),
        beat_age_s=max(leader.beat_age, 0.0) if leader else None,
        rounds=_number(connection, select(func.sum(RunTable.epoch))),
        runs={str(state): count for state, count in connection.execute(runs)},
        failures={
            str(ending): count
            for ending, count in connection.execute(failed.group_by(AttemptTable.ending))
        },
        driver_starts=_number(connection, select(func.count(DriverTable.id))),
        driver_ends={
            "unknown" if code is None else str(code): count
            for code, count in connection.execute(ends)
        },
        messages=_messages(connection),
        usage={owner: (total, money) for owner, total, money in connection.execute(usage)},
    )


def _number(connection: Connection, query: Any) -> int:
    return int(connection.execute(query).scalar() or 0)


def _queue(connection: Connection) -> dict[str, Any]:
    table, standing = SubmissionTable, StandingTable
    current = and_(standing.submission_id == table.id, standing.generation == table.generation)
    state = func.coalesce(standing.state, State.QUEUED)
    query = (
        select(state, table.priority, func.count(), func.min(table.created_at))
        .outerjoin(standing, current)
        .group_by(state, table.priority)
    )
    now = float(connection.execute(select(clock())).scalar_one())
    rows: list[tuple[str, str, int, float]] = [tuple(row) for row in connection.execute(query)]  # type: ignore[misc]
    return {
        "submissions": {(state, priority): count for state, priority, count, _ in rows},
        "longest_wait_s": {
            priority: max(now - first, 0.0)
            for state, priority, _, first in rows
            if state == State.QUEUED
        },
    }


def _waits(connection: Connection, bounds: Sequence[float]) -> tuple[list[int], int, float]:
    firsts = select(
        DriverTable.submission_id.label("submission"),
        func.min(DriverTable.started_at).label("started"),
    )
    first = firsts.group_by(DriverTable.submission_id).subquery()
    wait = first.c.started - SubmissionTable.created_at
    within = [func.sum(case((wait <= bound, 1), else_=0)) for bound in bounds]
    query = (
        select(*within, func.count(), func.sum(wait))
        .select_from(first)
        .join(SubmissionTable, SubmissionTable.id == first.c.submission)
    )
    row = [float(value or 0) for value in connection.execute(query).one()]
    return [int(count) for count in row[:-2]], int(row[-2]), max(row[-1], 0.0)


def _busy(connection: Connection) -> int:
    packs = func.count(AttemptTable.pack_id.distinct()).label("packs")
    query = (
        select(packs, *leases.holder_columns())
        .join(LeaseTable, LeaseTable.sweep_id == AttemptTable.sweep_id)
        .where(AttemptTable.ended_at.is_(None), LeaseTable.held)
        .group_by(LeaseTable.sweep_id)
    )
    return sum(row.packs for row in connection.execute(query) if leases.alive(row))


def _messages(connection: Connection) -> dict[str, int]:
    outcome = case(
        (MessageTable.done_at.is_(None), "waiting"),
        (MessageTable.outcome == RECEIVED, "received"),
        else_="not received",
    )
    found = dict.fromkeys(("waiting", "received", "not received"), 0)
    query = select(outcome, func.count()).group_by(outcome)
    return found | {row[0]: row[1] for row in connection.execute(query)}
