"""The store: every write of a sweep, one transaction a method, under the sweep's lease.

Threads may share a store. A write touches the lease row first and raises `LeaseLost` if another
driver took the sweep. A method may run its transaction more than once, if the database was busy or
unreachable or the result of a commit is unknown: each looks up by key what exists already, so that
two runs have the effect of one. Methods raise `SweeperError` if the database stays unreachable for
longer than `patience`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from itertools import count
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from sqlalchemy import Connection, Engine, bindparam, exists, func, insert, select, text, update
from sqlalchemy import inspect as inspect_database

from sweeper.errors import StoreError
from sweeper.states import Ending, RunState, move
from sweeper.store import cells as cell_rows
from sweeper.store import dialects, orders, reads, recording, retries, schema
from sweeper.store import lease as leases
from sweeper.store.answers import LIMIT_SECONDS, AnswerWatch
from sweeper.store.database import Database
from sweeper.store.reads import Reader
from sweeper.store.records import (
    Cell,
    Lease,
    NewCell,
    NewPack,
    NewSweep,
    Pack,
    Report,
    Sweep,
)
from sweeper.store.tables import (
    AttemptTable,
    LeaseTable,
    PackTable,
    RunTable,
    StageTable,
    SweepTable,
    clock,
)

T = TypeVar("T")
OPENING_PATIENCE = 3.0  # seconds: opening should report an unreachable database soon
# The ending of a study's name, by the role of its cells; the study of reported cells is NAME.
ENDINGS = {"report": "", "tuning": ".tuning", "screening": ".screening"}


class Store(Reader):
    """Sweeper's tables in one database.

    Attributes:
        pulse: a server's database with a separate connection, for lease beats: a statement that
            hangs on the other connection does not delay them.
    """

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        server = database.address.path is None
        self.pulse = database.twin(patience=leases.BEAT) if server else database
        self._answers: AnswerWatch | None = None

    @classmethod
    def open(cls, url: str, *, create: bool, patience: float = 60.0) -> Store:
        """Opens the store behind a database URL.

        Args:
            create: whether to make a missing file and missing tables; otherwise only reads.
            patience: seconds of retries when the database is lost or busy.

        Raises:
            NothingStored: missing or empty, when not `create`.
            StoreError: unknown driver, not ours, damaged, newer, read-only, on a network's disk.
            SweeperError: a server that does not answer.
        """
        address = dialects.parse(url)
        dialects.check_file(address, create=create)
        database = Database(address, patience=min(patience, OPENING_PATIENCE))
        try:
            schema.prepare(database, create=create)
        except BaseException:
            database.close()
            raise
        database.patience = patience
        return cls(database)

    def __repr__(self) -> str:
        return f"Store({self.database.address.label})"

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for database in (self.database, self.pulse):
            database.close()
        if self._answers is not None:
            self._answers.close()

    def attend(self, give_up: Callable[[], bool]) -> None:
        """Prepares for a launch: no state of the database may keep the launch from ending.

        Args:
            give_up: whether the driver was asked to stop at once, which ends all waiting.
        """
        server = self.database.address.path is None
        self._answers = AnswerWatch(give_up) if server else None
        for database, limit in ((self.database, LIMIT_SECONDS), (self.pulse, leases.BEAT)):
            database.give_up, database.in_use = give_up, True
            if self._answers is not None:
                database.watch(self._answers, limit=limit)

    def attend_to(self, engine: Engine) -> None:
        """Does the same for a server's engine that is not the store's own."""
        if self._answers is not None:
            self._answers.watch(engine)

    def save(self) -> Path | None:
        """Copies an open SQLite database whose file was deleted to its folder; None if closed.

        Raises:
            OSError: the copy cannot be made.
            sqlite3.Error: the copy cannot be written.
        """
        old = self.database.address.path
        if old is None:
            return None
        names = (old.with_name(f"{old.name}.saved-{number}") for number in count(1))
        path = next(name for name in names if not name.exists())
        return path if self.database.save(path) else None

    # --- the sweep and its lease

    def create_sweep(self, new: NewSweep) -> Sweep:
        """Returns the sweep of that name: an existing sweep unchanged, or else a new one.

        Raises:
            StoreError: Optuna has a study of that name that is not ours.
        """
        return self.database.write(lambda connection: create_sweep(connection, new))

    def acquire(self, sweep_id: int, holder: dict[str, Any]) -> Lease:
        """Takes the right to write; `holder` is best `lease.here()`.

        The same transaction ends open attempts of earlier drivers as CANCELLED and sets their runs
        to PENDING, so a driver that dies next leaves no false RUNNING.

        Raises:
            HeldError: another driver holds it, and is not known to be dead.
        """
        token = uuid4().hex

        def take(connection: Connection) -> Lease:
            lease = leases.take(connection, sweep_id, holder=holder, token=token)
            _reclaim(connection, lease, before=lease.epoch)
            return lease

        return self.database.write(take)

    def beat(self, lease: Lease) -> None:
        """Renews the lease; to be called every `lease.BEAT` seconds."""
        self.pulse.write(lambda connection: leases.touch(connection, lease))

    def release(self, lease: Lease) -> None:
        """Gives the lease back, so that the next driver need not wait.

        The same transaction ends open attempts as CANCELLED: nothing stays RUNNING that no process
        runs.
        """
        self.fenced(lease, lambda c: _give_back(c, lease))

    def update_sweep(
        self,
        lease: Lease,
        *,
        question: str | None = None,
        facts: dict[str, Any] | None = None,
        spec_text: str | None = None,
        spec: dict[str, Any] | None = None,
        provenance: dict[str, Any] | None = None,
        state: str | None = None,
        state_reason: str | None = None,
    ) -> None:
        """Changes the given fields."""
        given = {
            "question": question,
            "facts": facts,
            "spec_text": spec_text,
            "spec": spec,
            "provenance": provenance,
            "state": state,
            "state_reason": None if state_reason is None else recording.clean(state_reason),
        }
        self._update_sweep(lease, {key: value for key, value in given.items() if value is not None})

    def save_prices(self, lease: Lease, prices: dict[str, Any]) -> None:
        """Stores the prices that the probe measured."""
        self._update_sweep(lease, {"prices": prices})

    def add_stage(self, lease: Lease, *, number: int, body: dict[str, Any]) -> None:
        """Stores decision `number` (0, 1 ...) about the replicates; an existing one stays."""
        row = {"sweep_id": lease.sweep_id, "number": number, "body": body}
        keys = ("sweep_id", "number")
        self.fenced(
            lease,
            lambda c: c.execute(dialects.upsert(c, StageTable, keys=keys, changes=()), row),
        )

    # --- cells and packs

    def add_cells(self, lease: Lease, cells: Sequence[NewCell]) -> list[Cell]:
        """Adds cells, in the order given; existing cells (by role and hash) keep their runs.

        `replicates` are the wanted ones. Missing runs are made; results of replicates that are no
        longer wanted are kept and not used. Hidden cells become visible. A cell whose factors or
        replicates have changed is mirrored again once its wanted runs have ended.
        """
        return self.fenced(lease, lambda c: cell_rows.add(c, lease.sweep_id, cells))

    def hide_cells(self, lease: Lease, kept: Collection[tuple[str, str]]) -> None:
        """Hides the cells that the spec no longer has: all except these (role, hash).

        Their results are kept; their trials no longer count.
        """
        keys = frozenset(kept)
        self.fenced(lease, lambda c: cell_rows.hide(c, lease.sweep_id, keys))

    def add_packs(self, lease: Lease, packs: Sequence[NewPack]) -> list[Pack]:
        """Adds packs after the existing ones, in the order given."""
        token = uuid4().hex
        return self.fenced(lease, lambda c: _add_packs(c, lease.sweep_id, packs, token))

    def dissolve(self, lease: Lease, pack_id: int) -> None:
        """Marks a pack whose open runs are packed again."""
        query = update(PackTable).where(
            PackTable.id == pack_id, PackTable.sweep_id == lease.sweep_id
        )
        self.fenced(lease, lambda c: c.execute(query.values(dissolved=True)))

    # --- attempts and results

    def begin(self, lease: Lease, pack_id: int, run_ids: Sequence[int]) -> dict[int, int]:
        """Makes an attempt for each run, before dispatch: run -> attempt. Runs become RUNNING.

        Raises:
            ValueError: a run is finished, or running in another pack.
        """
        return self.fenced(lease, lambda c: _begin(c, lease, pack_id, run_ids))

    def record(
        self, lease: Lease, reports: Sequence[Report], *, max_attempts: int
    ) -> dict[int, RunState]:
        """Records reports of attempts, in order, in one transaction: run -> its new state.

        See `recording` for which reports count. `attempt_id` 0 ends a run without attempts.
        """
        return self.fenced(
            lease, lambda c: cell_rows.record(c, lease.sweep_id, reports, max_attempts)
        )

    def retry_failed(
        self, lease: Lease, endings: Collection[Ending] | None, *, hours: float | None = None
    ) -> int:
        """Sets wanted failed runs, with these ends or any, to PENDING; attempts count from 0 again.

        Args:
            hours: only runs that failed in the last so many hours.

        Returns:
            the number of runs.
        """
        since = None if hours is None else clock() - orders.HOUR_S * hours
        return self.fenced(lease, lambda c: retries.reset(c, lease.sweep_id, endings, since=since))

    def retry_asked(self, lease: Lease, name: str) -> int:
        """Does what commands of the service ask for: failed runs of sweep `name` wait again.

        The same transaction marks the commands as done.

        Returns:
            the number of runs.
        """

        return self.fenced(lease, lambda c: retries.as_asked(c, lease.sweep_id, name))

    # --- how a write is made

    def fenced(self, lease: Lease, work: Callable[[Connection], T]) -> T:
        """Runs `work` in one transaction under the lease, perhaps more than once."""

        def touched(connection: Connection) -> T:
            leases.touch(connection, lease)
            return work(connection)

        return self.database.write(touched)

    def _update_sweep(self, lease: Lease, values: dict[str, Any]) -> None:
        query = update(SweepTable).where(SweepTable.id == lease.sweep_id)
        self.fenced(lease, lambda c: c.execute(query.values(**values, updated_at=clock())))


def create_sweep(connection: Connection, new: NewSweep) -> Sweep:
    """See `Store.create_sweep`."""
    found = reads.sweeps(connection, SweepTable.name == new.name)
    if found:
        return found[0]
    for role, ending in ENDINGS.items():
        if ending and new.name.endswith(ending):
            raise StoreError(
                f"sweep '{new.name}': '{ending}' is for the study of a sweep's {role} cells"
            )
    _refuse_foreign_study(connection, new.name)
    sweep_id = connection.execute(
        insert(SweepTable)
        .values(
            name=new.name,
            question=new.question,
            spec_text=new.spec_text,
            spec=new.spec,
            layout=[list(key) for key in new.layout],
            facts=new.facts,
            provenance=new.provenance,
            prices={},
            state="interrupted",
            state_reason="",
            lease_epoch=0,
            created_at=clock(),
            updated_at=clock(),
        )
        .returning(SweepTable.id)
    ).scalar_one()
    connection.execute(
        insert(LeaseTable).values(
            sweep_id=sweep_id, epoch=0, held=False, holder={}, token="", beat_at=clock()
        )
    )
    return reads.sweeps(connection, SweepTable.id == sweep_id)[0]


def _refuse_foreign_study(connection: Connection, name: str) -> None:
    if not inspect_database(connection).has_table("studies"):
        return
    query = text("SELECT study_name FROM studies WHERE study_name IN :names")
    query = query.bindparams(bindparam("names", expanding=True))
    names = [name + ending for ending in ENDINGS.values()]
    found = connection.execute(query, {"names": names}).scalars().first()
    if found is not None:
        raise StoreError(
            f"the database has an Optuna study '{found}' that is not Sweeper's; "
            "give the sweep another name, or another database"
        )


def _add_packs(
    connection: Connection, sweep_id: int, packs: Sequence[NewPack], token: str
) -> list[Pack]:
    mine = select(PackTable.__table__).where(PackTable.token == token)
    mine = mine.order_by(PackTable.position)
    if packs and connection.execute(mine.limit(1)).first() is None:
        last = select(func.coalesce(func.max(PackTable.position), 0))
        first = 1 + connection.execute(last.where(PackTable.sweep_id == sweep_id)).scalar_one()
        rows = [
            {
                "sweep_id": sweep_id,
                "position": position,
                "key": pack.key,
                "form": pack.form,
                "run_ids": list(pack.run_ids),
                "seconds": pack.seconds,
                "dissolved": False,
                "token": token,
            }
            for position, pack in enumerate(packs, first)
        ]
        connection.execute(insert(PackTable), rows)
    return [reads.pack(row) for row in connection.execute(mine)]


def _begin(
    connection: Connection, lease: Lease, pack_id: int, run_ids: Sequence[int]
) -> dict[int, int]:
    begun = _begun(connection, lease, pack_id, run_ids)
    fresh = [run_id for run_id in run_ids if run_id not in begun]
    if not fresh:
        return begun
    states = connection.execute(
        select(RunTable.id, RunTable.state).where(
            RunTable.id.in_(fresh), RunTable.sweep_id == lease.sweep_id
        )
    ).all()
    if len(states) != len(set(fresh)):
        raise ValueError(f"runs {sorted(set(fresh) - {row.id for row in states})} do not exist")
    for row in states:
        move(row.state, RunState.RUNNING)
    connection.execute(
        update(RunTable).where(RunTable.id.in_(fresh)).values(state=RunState.RUNNING)
    )
    return begun | _attempts(connection, lease, pack_id, fresh)


def _begun(
    connection: Connection, lease: Lease, pack_id: int, run_ids: Sequence[int]
) -> dict[int, int]:
    """What an earlier try of this call did, if the result of its commit was unknown."""
    rows = connection.execute(
        select(AttemptTable.run_id, AttemptTable.id).where(
            AttemptTable.run_id.in_(run_ids),
            AttemptTable.pack_id == pack_id,
            AttemptTable.lease_epoch == lease.epoch,
            AttemptTable.ended_at.is_(None),
        )
    )
    return {row.run_id: row.id for row in rows}


def _attempts(
    connection: Connection, lease: Lease, pack_id: int, run_ids: Sequence[int]
) -> dict[int, int]:
    counted = connection.execute(
        select(AttemptTable.run_id, func.max(AttemptTable.number).label("number"))
        .where(AttemptTable.run_id.in_(run_ids))
        .group_by(AttemptTable.run_id)
    )
    before = {row.run_id: row.number for row in counted}
    now = connection.execute(select(clock())).scalar_one()
    rows = [
        {
            "sweep_id": lease.sweep_id,
            "run_id": run_id,
            "pack_id": pack_id,
            "number": before.get(run_id, 0) + 1,
            "lease_epoch": lease.epoch,
            "node": "",
            "device": "",
            "started_at": now,
            "from_epoch": 0,
            "seconds": 0.0,
            "error": "",
        }
        for run_id in run_ids
    ]
    made = connection.execute(
        insert(AttemptTable).returning(AttemptTable.run_id, AttemptTable.id), rows
    )
    return {row.run_id: row.id for row in made}


def _give_back(connection: Connection, lease: Lease) -> None:
    _reclaim(connection, lease, before=lease.epoch + 1)
    leases.give_back(connection, lease)


def _reclaim(connection: Connection, lease: Lease, *, before: int) -> None:
    """Ends open attempts of drivers with an epoch below `before`; their runs become PENDING."""
    connection.execute(
        update(AttemptTable)
        .where(
            AttemptTable.sweep_id == lease.sweep_id,
            AttemptTable.ended_at.is_(None),
            AttemptTable.lease_epoch < before,
        )
        .values(ending=Ending.CANCELLED, ended_at=clock(), error=leases.GONE)
    )
    owned = exists().where(AttemptTable.run_id == RunTable.id, AttemptTable.ended_at.is_(None))
    connection.execute(
        update(RunTable)
        .where(RunTable.sweep_id == lease.sweep_id, RunTable.state == RunState.RUNNING, ~owned)
        .values(state=move(RunState.RUNNING, RunState.PENDING), ending=Ending.CANCELLED)
    )
