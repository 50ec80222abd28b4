"""After a database was restored from a backup: who wrote to the later one may not write to it.

A driver or a supervisor of the time after the backup may still run. It knows a number of a lease
that the restored rows have, or will have again. So all numbers rise beyond those that can have been
given since, and no lease is held.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, func, select, update

from sweeper.errors import StoreError
from sweeper.store.database import Database
from sweeper.store.service_tables import LeaderTable, TokenTable
from sweeper.store.tables import LeaseTable, SweepTable, clock
from sweeper.store.wishes import note

STEP = 1_000_000  # leases that can have been taken since a backup
MOST = 2_000_000_000  # a number of a lease has 32 bits


@dataclass(frozen=True)
class Restored:
    """What was raised: leases of sweeps, and tokens that are valid as the backup has them."""

    sweeps: int
    tokens: int


def raise_leases(database: Database, *, who: str) -> Restored:
    """Raises the number of each sweep's lease and of the supervisor's, and frees them.

    Raises:
        StoreError: a number would not fit any more.
    """

    def work(connection: Connection) -> Restored:
        numbers = [
            connection.execute(select(func.max(column))).scalar() or 0
            for column in (SweepTable.lease_epoch, LeaseTable.epoch, LeaderTable.epoch)
        ]
        if max(numbers) + STEP > MOST:
            raise StoreError("the numbers of leases are used up; import each sweep's archive")
        for table in (LeaseTable, LeaderTable):
            raised = {"epoch": table.epoch + STEP, "held": False}
            connection.execute(update(table).values(**raised))
        sweeps = update(SweepTable).values(lease_epoch=SweepTable.lease_epoch + STEP)
        count = connection.execute(sweeps).rowcount
        valid = select(func.count()).where(
            TokenTable.revoked_at.is_(None),
            TokenTable.expires_at.is_(None) | (TokenTable.expires_at > clock()),
        )
        tokens = connection.execute(valid).scalar_one()
        note(connection, "", who, "restored", "from a backup; the numbers of all leases rose")
        return Restored(sweeps=count, tokens=tokens)

    return database.write(work)
