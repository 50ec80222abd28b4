"""What the supervisor writes: grants, starts of drivers, standings and usage, under its own lease.

One supervisor leads. Its lease is like a sweep's (`lease`), with a row of its own, and every write
names its epoch: one that lost the lead stops at its next write. It never writes a sweep's tables.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import uuid4

from sqlalchemy import Connection, and_, delete, func, insert, not_, or_, select, update

from sweeper.errors import HeldError, LeaseLost
from sweeper.states import FINISHED
from sweeper.store import dialects, outbox
from sweeper.store import lease as leases
from sweeper.store.database import Database
from sweeper.store.reads import chunks
from sweeper.store.service_records import (
    Command,
    DriverStart,
    Grant,
    Leadership,
    Notice,
    Owner,
    State,
    Submission,
    SubmissionStanding,
    Usage,
)
from sweeper.store.service_tables import (
    CommandTable,
    DriverTable,
    GrantTable,
    LeaderTable,
    OwnerTable,
    StandingTable,
    SubmissionTable,
    UsageTable,
)
from sweeper.store.tables import AttemptTable, LeaseTable, RunTable, SweepTable, clock
from sweeper.store.wishes import (
    command_of,
    driver_of,
    grant_of,
    light,
    owner_of,
    standing_of,
    submission_of,
    usage_of,
)

T = TypeVar("T")
SUPERVISOR = "supervisor"
NEAR = 50  # queued submissions of an owner, a class and a reason that a look takes in


@dataclass(frozen=True, kw_only=True)
class SweepFact:
    """A sweep as its driver has left it.

    Attributes:
        alive: whether a driver holds it now.
        state: running, complete, interrupted or halted; as stored, since `updated_at`.
        busy: packs in the hands of its workers.
    """

    name: str
    alive: bool
    state: str
    reason: str
    updated_at: float
    busy: int = 0


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Wishes and facts at one moment, of the submissions that something may happen to.

    Those are all that may have a driver, and the first of the queued ones of each owner, class and
    reason to wait: a queue of ten thousand costs no more than a short one.

    Attributes:
        submissions: without the texts of their specs.
        now: the database's clock.
        standings: by submission.
        drivers: the latest start of each submission's present generation and all that are open.
        ended: names of settled submissions that others wait for.
    """

    now: float
    submissions: list[Submission]
    standings: dict[int, SubmissionStanding]
    drivers: dict[int, list[DriverStart]]
    sweeps: dict[str, SweepFact]
    grants: dict[str, Grant]
    usage: dict[str, Usage]
    owners: dict[str, Owner]
    commands: list[Command]
    ended: dict[str, SubmissionStanding]


class Leading:
    """The service's tables, as the leading supervisor uses them."""

    def __init__(self, database: Database) -> None:
        self.database = database

    # --- the lead

    def take(self, holder: dict[str, Any]) -> Leadership:
        """Takes the lead; `holder` is best `lease.here()`.

        Raises:
            HeldError: another supervisor leads.
        """
        token = uuid4().hex
        return self.database.write(lambda c: _take(c, holder=holder, token=token))

    def beat(self, lead: Leadership) -> None:
        """Renews the lead; to be called every `lease.BEAT` seconds."""
        self.database.write(lambda c: _touch(c, lead))

    def release(self, lead: Leadership) -> None:
        """Gives the lead back, so that the next supervisor need not wait."""
        mine = LeaderTable.role == lead.role
        self.fenced(lead, lambda c: c.execute(update(LeaderTable).where(mine).values(held=False)))

    def fenced(self, lead: Leadership, work: Callable[[Connection], T]) -> T:
        """Runs `work` in one transaction under the lead, perhaps more than once."""

        def touched(connection: Connection) -> T:
            _touch(connection, lead)
            return work(connection)

        return self.database.write(touched)

    # --- what it sees

    def scene(self) -> Scene:
        """Wishes and facts, in one consistent view."""
        return self.database.read(_scene)

    def spec_text(self, submission_id: int) -> str:
        """The spec of a submission."""
        query = select(SubmissionTable.spec_text).where(SubmissionTable.id == submission_id)
        return self.database.read(lambda c: c.execute(query).scalar_one())

    def rounds(self, name: str) -> int:
        """How many rounds the runs of a sweep have recorded, ended runs counting one more each."""
        query = (
            select(func.coalesce(func.sum(RunTable.epoch), 0), func.count())
            .join(SweepTable, SweepTable.id == RunTable.sweep_id)
            .where(SweepTable.name == name)
        )
        ended = RunTable.state.in_(list(FINISHED))

        def work(connection: Connection) -> int:
            epochs, _ = connection.execute(query).one()
            _, runs = connection.execute(query.where(ended)).one()
            return int(epochs) + int(runs)

        return self.database.read(work)

    # --- what it does

    def begin_driver(self, lead: Leadership, one: Submission, *, rounds: int) -> DriverStart:
        """Stores the start of a driver, before its process exists."""
        table, mine = DriverTable, DriverTable.submission_id == one.id

        def work(connection: Connection) -> DriverStart:
            last = select(func.coalesce(func.max(table.number), 0)).where(mine)
            number = connection.execute(last).scalar_one() + 1
            row = {
                "submission_id": one.id,
                "number": number,
                "generation": one.generation,
                "epoch": lead.epoch,
                "holder": {},
                "error": "",
                "rounds_before": rounds,
            }
            made = insert(table).values(**row, started_at=clock()).returning(table.__table__)
            return driver_of(connection.execute(made).mappings().one())

        return self.fenced(lead, work)

    def name_driver(self, lead: Leadership, driver_id: int, holder: dict[str, Any]) -> None:
        """Stores which process a driver is."""
        query = update(DriverTable).where(DriverTable.id == driver_id).values(holder=holder)
        self.fenced(lead, lambda c: c.execute(query))

    def end_driver(
        self, lead: Leadership, driver_id: int, *, code: int | None, error: str, rounds: int
    ) -> None:
        """Stores the end of a driver; the first end counts. `code` None: unknown."""
        query = (
            update(DriverTable)
            .where(DriverTable.id == driver_id, DriverTable.ended_at.is_(None))
            .values(exit_code=code, error=error, rounds_after=rounds, ended_at=clock())
        )
        self.fenced(lead, lambda c: c.execute(query))

    def record(
        self,
        lead: Leadership,
        *,
        standings: Sequence[SubmissionStanding] = (),
        grants: Sequence[Grant] = (),
        withdrawn: Collection[str] = (),
        usage: Mapping[str, float] | None = None,
        half_life_s: float = 1.0,
        price: float = 0.0,
        done: Mapping[int, str] | None = None,
        events: Sequence[tuple[str, str, str]] = (),
        notices: Sequence[Notice] = (),
        receivers: Collection[str] = (),
    ) -> None:
        """Stores a decision in one transaction.

        Args:
            grants: those that change; `withdrawn`: sweeps that have none any more.
            usage: worker seconds that owners have used since the last call.
            price: of an hour of them.
            done: outcomes of commands that are done.
            events: (sweep, what, why).
            notices: events that happen once.
            receivers: digests of the addresses that get a message about each event.
        """

        def work(connection: Connection) -> None:
            now = connection.execute(select(clock())).scalar_one()
            _put_standings(connection, standings, now)
            for one in grants:
                _put_grant(connection, one, epoch=lead.epoch)
            if withdrawn:
                connection.execute(delete(GrantTable).where(GrantTable.sweep.in_(list(withdrawn))))
            for owner, seconds in (usage or {}).items():
                _charge(connection, owner, seconds, half_life_s, price)
            for command, outcome in (done or {}).items():
                query = update(CommandTable).where(CommandTable.id == command)
                query = query.where(CommandTable.done_at.is_(None))
                connection.execute(query.values(done_at=clock(), outcome=outcome))
            happened = [(*event, None) for event in events]
            happened += [(one.sweep, one.what, one.why, one.key) for one in notices]
            outbox.add_events(connection, happened, who=SUPERVISOR, now=now, receivers=receivers)

        self.fenced(lead, work)


def _touch(connection: Connection, lead: Leadership) -> None:
    query = (
        update(LeaderTable)
        .where(LeaderTable.role == lead.role, LeaderTable.epoch == lead.epoch, LeaderTable.held)
        .values(beat_at=clock())
    )
    if connection.execute(query).rowcount == 0:
        raise LeaseLost("another supervisor leads now; this one has stopped and wrote nothing more")


def _take(connection: Connection, *, holder: dict[str, Any], token: str) -> Leadership:
    table, mine = LeaderTable, LeaderTable.role == SUPERVISOR
    new = {"role": SUPERVISOR, "epoch": 0, "held": False, "holder": {}, "token": ""}
    made = dialects.upsert(connection, table, keys=("role",), changes=())
    connection.execute(made.values(**new, beat_at=clock()))
    query = select(table.epoch, table.token, *leases.holder_columns(table)).where(mine)
    row = connection.execute(query).one()
    if row.token == token:
        return Leadership(role=SUPERVISOR, epoch=row.epoch)
    epoch = leases.retake(connection, table, mine, row, holder=holder, token=token)
    if epoch is None:
        other = leases.describe(connection.execute(query).one()) or {"host": "?", "pid": 0}
        raise HeldError(f"another supervisor leads: {other['host']}, pid {other['pid']}")
    return Leadership(role=SUPERVISOR, epoch=epoch)


def _scene(connection: Connection) -> Scene:
    submissions, standings = _unsettled(connection)
    ids = [one.id for one in submissions]
    names = [one.name for one in submissions]
    grants = [grant_of(row) for row in _rows(connection, select(GrantTable.__table__))]
    commands = select(CommandTable.__table__).where(CommandTable.done_at.is_(None))
    open_ones = [command_of(row) for row in _rows(connection, commands.order_by(CommandTable.id))]
    known = {*names, *(one.sweep for one in open_ones)}
    return Scene(
        now=connection.execute(select(clock())).scalar_one(),
        submissions=submissions,
        standings=standings,
        drivers=_drivers(connection, ids),
        sweeps=_facts(connection, known),
        grants={one.sweep: one for one in grants},
        usage={
            one.owner: one for one in map(usage_of, _rows(connection, select(UsageTable.__table__)))
        },
        owners={
            one.owner: one for one in map(owner_of, _rows(connection, select(OwnerTable.__table__)))
        },
        commands=open_ones,
        ended=_ended(connection, {one.after for one in submissions} - {"", *names}),
    )


def _rows(connection: Connection, query: Any) -> Sequence[Any]:
    return connection.execute(query).mappings().all()


def _unsettled(
    connection: Connection,
) -> tuple[list[Submission], dict[int, SubmissionStanding]]:
    """The submissions that a look takes in, and their standings."""
    table, standing = SubmissionTable, StandingTable
    settled = and_(standing.settled, standing.generation == table.generation)
    place = func.row_number().over(
        partition_by=(table.owner, table.priority, standing.reason), order_by=table.id
    )
    ranked = (
        select(table.id, standing.state, place.label("place"))
        .outerjoin(standing, standing.submission_id == table.id)
        .where(or_(standing.submission_id.is_(None), not_(settled)))
        .subquery()
    )
    waits = func.coalesce(ranked.c.state, State.QUEUED) == State.QUEUED
    query = select(ranked.c.id).where(or_(not_(waits), ranked.c.place <= NEAR))
    ids = sorted(connection.execute(query).scalars())
    found: list[Submission] = []
    standings: list[SubmissionStanding] = []
    for some in chunks(ids):
        query = select(*light()).where(table.id.in_(some)).order_by(table.id)
        found += map(submission_of, _rows(connection, query))
        of = select(standing.__table__).where(standing.submission_id.in_(some))
        standings += map(standing_of, _rows(connection, of))
    return found, {one.submission_id: one for one in standings}


def _drivers(connection: Connection, ids: Sequence[int]) -> dict[int, list[DriverStart]]:
    """The starts of unsettled submissions, oldest first."""
    table, found = DriverTable, dict[int, list[DriverStart]]()
    for some in chunks(ids):
        query = select(table.__table__).where(table.submission_id.in_(some)).order_by(table.number)
        for one in map(driver_of, _rows(connection, query)):
            found.setdefault(one.submission_id, []).append(one)
    return found


def _facts(connection: Connection, names: Collection[str]) -> dict[str, SweepFact]:
    found: dict[str, SweepFact] = {}
    for some in chunks(sorted(names)):
        query = (
            select(
                SweepTable.id,
                SweepTable.name,
                SweepTable.state,
                SweepTable.state_reason,
                SweepTable.updated_at,
                *leases.holder_columns(),
            )
            .join(LeaseTable, LeaseTable.sweep_id == SweepTable.id)
            .where(SweepTable.name.in_(some))
        )
        rows = connection.execute(query).all()
        busy = _busy(connection, [row.id for row in rows if leases.alive(row)])
        for row in rows:
            found[row.name] = SweepFact(
                name=row.name,
                alive=leases.alive(row),
                state=row.state,
                reason=row.state_reason,
                updated_at=row.updated_at,
                busy=busy.get(row.id, 0),
            )
    return found


def _busy(connection: Connection, sweep_ids: Collection[int]) -> dict[int, int]:
    """The packs of sweeps that are in work; those without any are left out."""
    query = (
        select(AttemptTable.sweep_id, func.count(AttemptTable.pack_id.distinct()))
        .where(AttemptTable.sweep_id.in_(sweep_ids), AttemptTable.ended_at.is_(None))
        .group_by(AttemptTable.sweep_id)
    )
    return {row[0]: row[1] for row in connection.execute(query)} if sweep_ids else {}


def _ended(connection: Connection, names: Collection[str]) -> dict[str, SubmissionStanding]:
    if not names:
        return {}
    query = (
        select(SubmissionTable.name.label("of"), StandingTable.__table__)
        .join(SubmissionTable, SubmissionTable.id == StandingTable.submission_id)
        .where(SubmissionTable.name.in_(sorted(names)))
    )
    rows = [dict(row) for row in _rows(connection, query)]
    return {row.pop("of"): standing_of(row) for row in rows}


def _put_standings(
    connection: Connection, standings: Sequence[SubmissionStanding], now: float
) -> None:
    changes = ("generation", "state", "reason", "settled", "since")
    query = dialects.upsert(connection, StandingTable, keys=("submission_id",), changes=changes)
    rows = [{**vars(one), "since": now} for one in standings]
    if rows:
        connection.execute(query, rows)


def _put_grant(connection: Connection, one: Grant, *, epoch: int) -> None:
    before = select(GrantTable.workers).where(GrantTable.sweep == one.sweep)
    held = connection.execute(before.where(GrantTable.reason == "")).scalar()
    began = not (one.reason or held)
    changes = ("workers", "reason", "epoch", *(("since",) if began else ()))
    query = dialects.upsert(connection, GrantTable, keys=("sweep",), changes=changes)
    row = {"sweep": one.sweep, "workers": one.workers, "reason": one.reason, "epoch": epoch}
    connection.execute(query.values(**row, since=clock()))


def _charge(
    connection: Connection, owner: str, seconds: float, half_life_s: float, price: float
) -> None:
    now = connection.execute(select(clock())).scalar_one()
    row = (
        connection.execute(select(UsageTable.__table__).where(UsageTable.owner == owner))
        .mappings()
        .first()
    )
    old = Usage(owner=owner, at=now) if row is None else usage_of(row)
    faded = old.recent * 0.5 ** (max(now - old.at, 0.0) / half_life_s)
    money = old.money + seconds / 3600 * price
    new = {"recent": faded + seconds, "total": old.total + seconds, "at": now, "money": money}
    query = dialects.upsert(connection, UsageTable, keys=("owner",), changes=tuple(new))
    connection.execute(query.values(owner=owner, **new))
