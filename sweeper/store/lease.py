"""The right to write to a sweep: a lease with a fencing epoch, by the database's own clock.

A driver renews the lease every `BEAT` seconds. After `EXPIRY` without renewal any driver may take
it, which raises its epoch. Every write first touches the lease row with the epoch it knows, so a
driver that lost the lease stops at its next write. Each function works inside the caller's
transaction.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    bindparam,
    insert,
    or_,
    select,
    update,
)

from sweeper.errors import HeldError, LeaseLost
from sweeper.store.records import Lease
from sweeper.store.tables import LeaseTable, SweepTable, clock

BEAT, EXPIRY = 10.0, 40.0  # seconds
GONE = "its driver stopped or died"  # why an attempt ended, and why its sweep is interrupted


def age(table: type[Any]) -> ColumnElement[float]:
    """Seconds since the last beat of a table's lease."""
    return clock() - table.beat_at


def expired(table: type[Any]) -> ColumnElement[bool]:
    """Whether a table's lease is free because its holder no longer beats."""
    # A beat from the future means that the clock was set back: a living driver beats soon after.
    return or_(age(table) > EXPIRY, age(table) < -BEAT)


_TOUCH = (
    update(LeaseTable)
    .where(LeaseTable.sweep_id == bindparam("mine"), LeaseTable.epoch == bindparam("known"))
    .where(LeaseTable.held)
    .values(beat_at=clock())
)


def here() -> dict[str, Any]:
    """This process as the holder of a lease."""
    return process(os.getpid())


def process(pid: int) -> dict[str, Any]:
    """A process of this machine: host, pid, and marks that no later process has."""
    return {
        "host": socket.gethostname(),
        "pid": pid,
        "started": _started(pid),
        "machine": _machine(),
    }


def touch(connection: Connection, lease: Lease) -> None:
    """Renews the lease and locks its row until the transaction ends.

    Raises:
        LeaseLost: another epoch has the sweep, or the lease was released.
    """
    mine = {"mine": lease.sweep_id, "known": lease.epoch}
    result = connection.execute(_TOUCH, mine)
    if result.rowcount == 0:
        raise LeaseLost(
            "another driver has taken this sweep over; this one has stopped and wrote nothing more"
        )


def take(connection: Connection, sweep_id: int, *, holder: dict[str, Any], token: str) -> Lease:
    """Takes the lease if it is free, expired, or held by a dead process of this machine.

    `token` is new for each call: finding it in the row means that this call succeeded before.

    Raises:
        HeldError: another driver holds it.
    """
    row = _row(connection, sweep_id)
    if row is None:
        return _make(connection, sweep_id, holder=holder, token=token)
    if row.token == token:
        return Lease(sweep_id=sweep_id, epoch=row.epoch)
    mine = LeaseTable.sweep_id == sweep_id
    epoch = retake(connection, LeaseTable, mine, row, holder=holder, token=token)
    if epoch is None:
        raise HeldError(_held_by(_row(connection, sweep_id) or row))
    _remember(connection, sweep_id, epoch)
    return Lease(sweep_id=sweep_id, epoch=epoch)


def retake(
    connection: Connection,
    table: type[Any],
    mine: ColumnElement[bool],
    row: Row,
    *,
    holder: dict[str, Any],
    token: str,
) -> int | None:
    """Takes an existing lease of `table` if it is free; returns its new epoch, or None.

    Args:
        mine: which row of the table.
        row: that row as just read.
    """
    free = [~table.held, expired(table)]
    if row.held and gone(row.holder):
        free.append(table.epoch == row.epoch)
    return connection.execute(
        update(table)
        .where(mine, or_(*free))
        .values(epoch=table.epoch + 1, held=True, holder=holder, token=token, beat_at=clock())
        .returning(table.epoch)
    ).scalar()


def give_back(connection: Connection, lease: Lease) -> None:
    """Frees the lease at once.

    Raises:
        LeaseLost: it no longer belongs to this driver.
    """
    touch(connection, lease)
    connection.execute(
        update(LeaseTable).where(LeaseTable.sweep_id == lease.sweep_id).values(held=False)
    )


def holder_columns(table: type[Any] = LeaseTable) -> tuple[Any, ...]:
    """The columns for `describe`, in a SELECT that joins the lease."""
    return (
        table.held,
        table.holder,
        age(table).label("beat_age"),
        expired(table).label("expired"),
    )


def describe(row: Row) -> dict[str, Any] | None:
    """The holder of a joined row (host, pid, beat age in seconds, expired), or None."""
    if not row.held:
        return None
    return {
        "host": row.holder.get("host", "?"),
        "pid": row.holder.get("pid", 0),
        "age": round(max(row.beat_age, 0.0), 1),
        "expired": bool(row.expired) or gone(row.holder),
    }


def alive(row: Row) -> bool:
    """Returns whether a driver holds the joined row, as far as database and machine know."""
    holder = describe(row)
    return holder is not None and not holder["expired"]


def gone(holder: dict[str, Any]) -> bool:
    """Returns whether the holder was a process of this machine that no longer runs.

    It is wrong only on the side of waiting: without `machine` (the boot and the process namespace)
    in the holder the answer is no, and the lease has to expire.
    """
    machine = _machine()
    if not machine or holder.get("machine") != machine:
        return False
    return _started(int(holder["pid"])) != holder.get("started")


def _row(connection: Connection, sweep_id: int) -> Row | None:
    columns = (LeaseTable.epoch, LeaseTable.token, SweepTable.name, *holder_columns())
    return connection.execute(
        select(*columns)
        .join(SweepTable, SweepTable.id == LeaseTable.sweep_id)
        .where(LeaseTable.sweep_id == sweep_id)
    ).first()


def _make(connection: Connection, sweep_id: int, *, holder: dict[str, Any], token: str) -> Lease:
    """Makes a lease row for a sweep whose row was deleted by hand, above every earlier epoch."""
    last = connection.execute(
        select(SweepTable.lease_epoch).where(SweepTable.id == sweep_id)
    ).scalar_one()
    connection.execute(
        insert(LeaseTable).values(
            sweep_id=sweep_id,
            epoch=last + 1,
            held=True,
            holder=holder,
            token=token,
            beat_at=clock(),
        )
    )
    _remember(connection, sweep_id, last + 1)
    return Lease(sweep_id=sweep_id, epoch=last + 1)


def _remember(connection: Connection, sweep_id: int, epoch: int) -> None:
    connection.execute(
        update(SweepTable).where(SweepTable.id == sweep_id).values(lease_epoch=epoch)
    )


def _held_by(row: Row) -> str:
    holder = describe(row) or {"host": "?", "pid": 0, "age": 0.0}
    return (
        f"sweep '{row.name}' is held by {holder['host']}, pid {holder['pid']}, "
        f"last beat {holder['age']:.0f} s ago; a lease is free {EXPIRY:.0f} s after the last beat"
    )


def _started(pid: int) -> str:
    """The start of a running process in clock ticks since boot; empty if it does not run."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def _machine() -> str:
    """This boot and this process namespace; empty if /proc does not have them."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""
