"""What a supervisor sees of the sweeps that run: how far they are, and how runs have failed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from sqlalchemy import Connection, case, func, select

from sweeper.states import FAILURES, FINISHED
from sweeper.store.database import Database
from sweeper.store.tables import AttemptTable, RunTable, SweepTable


@dataclass(frozen=True, kw_only=True)
class SweepWork:
    """How far a sweep is.

    Attributes:
        rounds: that its runs have recorded, ended runs counting one more each.
        failures: the first error of each reason that attempts failed for.
    """

    name: str
    rounds: int = 0
    failures: dict[str, str] = field(default_factory=dict[str, str])


def work_of(database: Database, names: Collection[str]) -> dict[str, SweepWork]:
    """How far sweeps are, by name; those that no driver has made yet are left out."""
    return database.read(lambda connection: _work(connection, sorted(names)))


def _work(connection: Connection, names: list[str]) -> dict[str, SweepWork]:
    ended = case((RunTable.state.in_(list(FINISHED)), 1), else_=0)
    query = (
        select(SweepTable.name, func.coalesce(func.sum(RunTable.epoch + ended), 0))
        .outerjoin(RunTable, RunTable.sweep_id == SweepTable.id)
        .where(SweepTable.name.in_(names))
        .group_by(SweepTable.name)
    )
    found = {
        name: SweepWork(name=name, rounds=int(rounds)) for name, rounds in connection.execute(query)
    }
    firsts = (
        select(func.min(AttemptTable.id))
        .join(SweepTable, SweepTable.id == AttemptTable.sweep_id)
        .where(SweepTable.name.in_(names), AttemptTable.ending.in_(list(FAILURES)))
        .group_by(AttemptTable.sweep_id, AttemptTable.ending)
    )
    query = (
        select(SweepTable.name, AttemptTable.ending, AttemptTable.error)
        .join(SweepTable, SweepTable.id == AttemptTable.sweep_id)
        .where(AttemptTable.id.in_(firsts))
    )
    for name, ending, error in connection.execute(query):
        found[name].failures[str(ending)] = error
    return found
