"""The wishes of the service's users: what the API writes, and what everybody may read of it.

Nothing here touches a lease or a sweep's own tables. Each wish has a key: the same wish, however
often it is sent, has the effect of one. Its event is written in the same transaction.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import asdict
from typing import Any, TypeVar

from sqlalchemy import (
    Connection,
    String,
    Text,
    and_,
    cast,
    insert,
    literal,
    select,
    type_coerce,
    update,
)

from sweeper.errors import InputError, nearest
from sweeper.store import dialects
from sweeper.store import lease as leases
from sweeper.store.database import Database
from sweeper.store.service_records import (
    Command,
    DriverStart,
    Grant,
    Needs,
    NewSubmission,
    Owner,
    Priority,
    ServiceEvent,
    State,
    Submission,
    SubmissionStanding,
    Usage,
    Verb,
    WantedState,
)
from sweeper.store.service_tables import (
    CommandTable,
    DriverTable,
    EventTable,
    GrantTable,
    LeaderTable,
    StandingTable,
    SubmissionTable,
    UsageTable,
)
from sweeper.store.tables import SweepTable, clock

T = TypeVar("T")
ENDED = frozenset({State.COMPLETE, State.FAILURES, State.CANCELLED})
MOST_EVENTS = 1000  # of one answer
LISTED = ("name", "owner", "priority", "wanted", "generation", "after", "created_at")


class WishRefused(InputError):
    """A wish cannot be granted as things are; nothing was changed."""


class NotYours(WishRefused):
    """The sweep belongs to another owner."""


class Wishes:
    """The service's tables, as the API uses them. Threads may share it."""

    def __init__(self, database: Database) -> None:
        self.database = database

    # --- submissions and commands

    def submit(
        self, new: NewSubmission, *, who: str, adopt: bool = False, like: str = ""
    ) -> tuple[Submission, bool]:
        """Adds a submission; returns it, and whether it is new.

        Args:
            adopt: whether it may be of a sweep that nobody has submitted.
            like: the sweep that it is a changed copy of, for its event.

        Raises:
            WishRefused: the name or the key is taken by another submission, or it waits for a
                sweep that does not exist.
        """
        return self.database.write(lambda c: _submit(c, new, who=who, adopt=adopt, like=like))

    def command(
        self,
        name: str,
        verb: Verb,
        *,
        who: str,
        key: str,
        owner: str | None = None,
        body: dict[str, Any] | None = None,
        why: str = "",
        needs: Needs | None = None,
    ) -> Command:
        """Adds a command, and changes the wish that it is about.

        Args:
            owner: whose sweep it must be; None: anybody's, and those of terminals.
            body: `priority` of PRIORITY, `set` (overrides) of EXTEND, `reasons` of RETRY.
            needs: of the extended sweep.

        Raises:
            NotYours: the sweep is not the owner's.
            WishRefused: there is no such sweep, or the command makes no sense for it.
        """

        def work(connection: Connection) -> Command:
            if owner is not None:
                _check_owner(connection, name, owner)
            row = {"sweep": name, "verb": verb, "body": body or {}, "who": who, "key": key}
            made = dialects.upsert(connection, CommandTable, keys=("who", "key"), changes=())
            made = made.values(**row, asked_at=clock(), done_at=None, outcome="")
            ident = connection.execute(made.returning(CommandTable.id)).scalar()
            if ident is None:
                return _same_command(_command_of(connection, who, key), name, verb)
            outcome = _change(connection, name, verb, body or {}, needs)
            if outcome:
                done = update(CommandTable).where(CommandTable.id == ident)
                connection.execute(done.values(done_at=clock(), outcome=outcome))
            note(connection, name, who, verb, why or _spoken(verb, body or {}))
            return _command_of(connection, who, key)

        return self.database.write(work)

    def latest(self, most: int) -> list[str]:
        """The names of the latest submissions, at most so many."""
        query = select(SubmissionTable.name).order_by(SubmissionTable.id.desc()).limit(most)
        return self._all(query, lambda row: str(row["name"]))

    def submissions(self) -> list[Submission]:
        """All submissions, oldest first, without the texts of their specs."""
        return self._all(select(*light()).order_by(SubmissionTable.id), submission_of)

    def listing(self, name: str | None = None) -> list[Mapping[str, Any]]:
        """All submissions, or one, with state, reason and workers: plain rows, oldest first.

        `state` is None until the supervisor has looked at this generation; `needs` and `window` are
        the texts of their JSON.
        """
        table, standing = SubmissionTable, StandingTable
        current = and_(standing.submission_id == table.id, standing.generation == table.generation)
        query = (
            select(
                *(table.__table__.c[name] for name in LISTED),
                cast(type_coerce(table.needs, String), Text).label("needs"),
                cast(type_coerce(table.window, String), Text).label("window"),
                standing.state,
                standing.reason,
                standing.settled,
                GrantTable.workers,
                GrantTable.since,
            )
            .outerjoin(standing, current)
            .outerjoin(GrantTable, GrantTable.sweep == table.name)
            .order_by(table.id)
        )
        if name is not None:
            query = query.where(table.name == name)
        return self._all(query, lambda row: row)

    def submission(self, name: str) -> Submission | None:
        query = select(SubmissionTable.__table__).where(SubmissionTable.name == name)
        found = self._all(query, submission_of)
        return found[0] if found else None

    def keyed(self, owner: str, key: str) -> bool:
        """Whether an owner's submission has this key."""
        table = SubmissionTable
        query = select(table.id).where(table.owner == owner, table.key == key)
        return bool(self._all(query, lambda row: row))

    def commands(self, name: str) -> list[Command]:
        """The commands about a sweep, oldest first."""
        query = select(CommandTable.__table__).where(CommandTable.sweep == name)
        return self._all(query.order_by(CommandTable.id), command_of)

    def standings(self, ids: Sequence[int] | None = None) -> dict[int, SubmissionStanding]:
        """What has become of submissions, by id; those not yet looked at are left out."""
        query = select(StandingTable.__table__)
        if ids is not None:
            query = query.where(StandingTable.submission_id.in_(list(ids)))
        return {one.submission_id: one for one in self._all(query, standing_of)}

    def grants(self) -> dict[str, Grant]:
        """How many workers each sweep may have."""
        return {one.sweep: one for one in self._all(select(GrantTable.__table__), grant_of)}

    def drivers(self, submission_id: int) -> list[DriverStart]:
        """The starts of a submission's driver, oldest first."""
        query = select(DriverTable.__table__).where(DriverTable.submission_id == submission_id)
        return self._all(query.order_by(DriverTable.number), driver_of)

    def usage(self) -> dict[str, Usage]:
        """What each owner has used."""
        return {one.owner: one for one in self._all(select(UsageTable.__table__), usage_of)}

    # --- events

    def events(
        self, *, name: str | None = None, after: int = 0, most: int = 100, sweeps_only: bool = False
    ) -> list[ServiceEvent]:
        """The latest events, at most so many, with numbers above `after`, oldest first.

        Args:
            sweeps_only: leaves out those of no sweep: of tokens, limits and the lead.
        """
        table = EventTable
        query = select(table.__table__).where(table.id > after)
        if name is not None:
            query = query.where(table.sweep == name)
        if sweeps_only:
            query = query.where(table.sweep != "")
        query = query.order_by(table.id.desc()).limit(min(most, MOST_EVENTS))
        return self._all(query, _event)[::-1]

    def note(self, name: str, *, who: str, what: str, why: str) -> None:
        """Adds an event; a sweep's, or with an empty name the service's own."""
        self.database.write(lambda c: note(c, name, who, what, why))

    # --- others

    def leader(self) -> dict[str, Any] | None:
        """The supervisor that led last: `holder`, whether it `leads` now, `age` of its beat."""
        query = select(*leases.holder_columns(LeaderTable))
        row = self.database.read(lambda c: c.execute(query).first())
        if row is None:
            return None
        leads = leases.alive(row)
        return {"holder": row.holder, "leads": leads, "age": round(max(row.beat_age, 0.0), 1)}

    def now(self) -> float:
        """The database's clock."""
        return self.database.read(lambda c: c.execute(select(clock())).scalar_one())

    def _all(self, query: Any, record: Callable[[Mapping[Any, Any]], T]) -> list[T]:
        rows = self.database.read(lambda connection: connection.execute(query).mappings().all())
        return [record(row) for row in rows]


def note(connection: Connection, name: str, who: str, what: str, why: str) -> None:
    """Adds an event."""
    row = {"sweep": name, "who": who, "what": what, "why": why}
    connection.execute(insert(EventTable).values(**row, at=clock()))


def light() -> list[Any]:
    """The columns of a submission, without the text of its spec."""
    columns = SubmissionTable.__table__.columns
    return [*(one for one in columns if one.name != "spec_text"), literal("").label("spec_text")]


# --- rows as records


def submission_of(row: Mapping[Any, Any]) -> Submission:
    changed = {
        "overrides": tuple(row["overrides"]),
        "window": tuple(row["window"]),
        "notify": tuple(row["notify"]),
        "needs": Needs(**row["needs"]),
        "priority": Priority(row["priority"]),
        "wanted": WantedState(row["wanted"]),
    }
    return Submission(**{**row, **changed})


def standing_of(row: Mapping[Any, Any]) -> SubmissionStanding:
    return SubmissionStanding(**{**row, "state": State(row["state"])})


def grant_of(row: Mapping[Any, Any]) -> Grant:
    return Grant(**row)


def driver_of(row: Mapping[Any, Any]) -> DriverStart:
    return DriverStart(**row)


def usage_of(row: Mapping[Any, Any]) -> Usage:
    return Usage(**row)


def owner_of(row: Mapping[Any, Any]) -> Owner:
    return Owner(**row)


def _event(row: Mapping[Any, Any]) -> ServiceEvent:
    return ServiceEvent(**row)


def command_of(row: Mapping[Any, Any]) -> Command:
    return Command(**{**row, "verb": Verb(row["verb"])})


# --- submitting


def _submit(
    connection: Connection, new: NewSubmission, *, who: str, adopt: bool, like: str
) -> tuple[Submission, bool]:
    names = _submitted(connection, new)  # before the look: who took the name since then is seen
    if (known := _known(connection, new)) is not None:
        return known, False
    _check_new(connection, new, names, adopt=adopt)
    lists = {name: list(getattr(new, name)) for name in ("overrides", "window", "notify")}
    row = asdict(new) | lists
    times = {"created_at": clock(), "updated_at": clock()}
    made = dialects.upsert(connection, SubmissionTable, keys=(), changes=())
    made = made.values(**row, wanted=WantedState.RUNNING, generation=1, **times)
    ident = connection.execute(made.returning(SubmissionTable.id)).scalar()
    one = _known(connection, new)
    if one is None:
        raise _taken(new)  # another one has come in between
    if ident is None:
        return one, False
    said = f"priority {new.priority}" + (f", after {new.after}" if new.after else "")
    said += f", a changed copy of {like}" if like else ""
    note(connection, new.name, who, "submit", said)
    return one, True


def _known(connection: Connection, new: NewSubmission) -> Submission | None:
    """The submission that an earlier sending of the same wish has made.

    Raises:
        WishRefused: the key belongs to another wish.
    """
    table = SubmissionTable
    mine = select(table.__table__).where(table.owner == new.owner, table.key == new.key)
    row = connection.execute(mine).mappings().first()
    if row is None:
        return None
    known = submission_of(row)
    if (known.name, known.spec_text) != (new.name, new.spec_text):
        raise WishRefused(
            f"key {new.key!r} belongs to your submission {known.name!r}; use another key"
        )
    return known


def _taken(new: NewSubmission) -> WishRefused:
    return WishRefused(
        f"name: {new.name!r} is submitted already; to add to it: sweeper extend, to run it "
        "again: sweeper resume or retry, else give this sweep another name"
    )


def _submitted(connection: Connection, new: NewSubmission) -> set[str]:
    """Which of the names that a submission has are submitted: its own, and what it waits for."""
    names = select(SubmissionTable.name).where(SubmissionTable.name.in_([new.name, new.after]))
    return set(connection.execute(names).scalars())


def _check_new(
    connection: Connection, new: NewSubmission, names: Container[str], *, adopt: bool
) -> None:
    if new.name in names:
        raise _taken(new)
    if new.after and new.after not in names:
        raise WishRefused(f"--after: no sweep named {new.after!r} is submitted")
    there = select(SweepTable.id).where(SweepTable.name == new.name)
    if not adopt and connection.execute(there).first() is not None:
        raise WishRefused(
            f"name: this database has a sweep {new.name!r} that was not submitted; give this one "
            "another name (an administrator may submit that sweep)"
        )


# --- commanding


def _command_of(connection: Connection, who: str, key: str) -> Command:
    query = select(CommandTable.__table__)
    query = query.where(CommandTable.who == who, CommandTable.key == key)
    return command_of(connection.execute(query).mappings().one())


def _same_command(known: Command, name: str, verb: Verb) -> Command:
    if (known.sweep, known.verb) != (name, verb):
        raise WishRefused(
            f"key {known.key!r} belongs to your command {known.verb} {known.sweep!r}; use another"
        )
    return known


def _check_owner(connection: Connection, name: str, owner: str) -> None:
    mine = SubmissionTable.owner == owner
    query = select(SubmissionTable.id).where(SubmissionTable.name == name, mine)
    if connection.execute(query).first() is not None:
        return
    if name not in (names := _names(connection)):
        raise WishRefused(f"no sweep named {name!r}{nearest(name, names)}")
    raise NotYours(f"sweep {name!r} is not yours; its owner or an administrator may do it")


def _names(connection: Connection) -> set[str]:
    """The names of all sweeps, submitted or not."""
    names = set(connection.execute(select(SweepTable.name)).scalars())
    return names | set(connection.execute(select(SubmissionTable.name)).scalars())


def _change(
    connection: Connection, name: str, verb: Verb, body: dict[str, Any], needs: Needs | None
) -> str:
    """Changes the wish; returns the outcome of a command that is done with that."""
    table = SubmissionTable
    query = select(table.__table__).where(table.name == name)
    row = connection.execute(query).mappings().first()
    if row is None:
        return _unsubmitted(connection, name, verb)
    old = submission_of(row)
    query = select(StandingTable.state).where(StandingTable.submission_id == old.id)
    settled = query.where(StandingTable.settled, StandingTable.generation == old.generation)
    state = connection.execute(settled).scalar()
    values, outcome = _values(old, verb, body, settled=None if state is None else State(state))
    if needs is not None:
        values["needs"] = asdict(needs)
    if values:
        connection.execute(
            update(table).where(table.id == old.id).values(**values, updated_at=clock())
        )
    return outcome


def _unsubmitted(connection: Connection, name: str, verb: Verb) -> str:
    """A sweep that `sweeper launch` runs in a terminal can only be stopped."""
    query = select(SweepTable.id).where(SweepTable.name == name)
    if connection.execute(query).first() is None:
        names = _names(connection)
        raise WishRefused(f"no sweep named {name!r}{nearest(name, names)}")
    if verb is not Verb.STOP:
        raise WishRefused(
            f"sweep {name!r} was not submitted: sweeper launch runs it; only stop is possible here"
        )
    return ""


def _values(
    old: Submission, verb: Verb, body: dict[str, Any], *, settled: State | None
) -> tuple[dict[str, Any], str]:
    """The columns that a command changes, and its outcome if it is done with that.

    Args:
        settled: what has become of it, if there is nothing more to do.
    """
    if old.wanted is WantedState.CANCELLED and verb is not Verb.CANCEL:
        raise WishRefused(f"sweep {old.name!r} is cancelled; submit it under another name")
    again = {"wanted": WantedState.RUNNING, "generation": old.generation + 1}
    match verb:
        case Verb.STOP if settled is not None:
            return {}, f"nothing to do: it is {settled}"
        case Verb.STOP:
            return {"wanted": WantedState.STOPPED}, ""
        case Verb.CANCEL if settled in ENDED:
            return {}, f"nothing to do: it is {settled}"
        case Verb.CANCEL:
            return {"wanted": WantedState.CANCELLED, "generation": old.generation + 1}, ""
        case Verb.RESUME if old.wanted is WantedState.RUNNING and settled is None:
            return {}, "nothing to do: it is queued or running"
        case Verb.RESUME | Verb.RETRY:
            return again, ""
        case Verb.EXTEND:
            return again | {"overrides": merged(old.overrides, body["set"])}, ""
        case Verb.PRIORITY:
            return {"priority": Priority(body["priority"])}, "done"
    raise ValueError(verb)


def merged(old: Sequence[str], new: Sequence[str]) -> list[str]:
    """Overrides in which each key has its last value."""
    found: dict[str, str] = {}
    for word in [*old, *new]:
        found[word.partition("=")[0].strip()] = word
    return list(found.values())


def _spoken(verb: Verb, body: dict[str, Any]) -> str:
    return f"{verb} {json.dumps(body)}" if body else str(verb)
