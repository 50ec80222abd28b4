"""Messages about events: written in the transaction of the event, sent afterwards, then recorded.

A sender claims a message by an update that only one sender can win, sends it, and records what
came of it. One that dies in between leaves a claim without an outcome; after `CLAIM_S` the message
may be claimed again. So a message is sent at least once, always with the same `id`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, func, insert, select, update

from sweeper.store import dialects
from sweeper.store.database import Database
from sweeper.store.service_records import OutboxMessage, State
from sweeper.store.service_tables import EventTable, MessageTable, SubmissionTable
from sweeper.store.tables import clock

CLAIM_S = 60.0  # in which a sender records what came of a message
RECEIVED = "received"  # the outcome of a message that its receiver has
FINISHED, HALTED, ATTENTION = "finished", "halted", "needs attention"
QUIET, BUDGET, FAILURE = "no progress", "budget nearly spent", "first failure of a kind"
# What an event is called in messages; there are no messages about other events.
SENT = {
    str(State.COMPLETE): FINISHED,
    str(State.FAILURES): FINISHED,
    str(State.HALTED): HALTED,
    str(State.ATTENTION): ATTENTION,
    **{word: word for word in (QUIET, BUDGET, FAILURE)},
}

Happened = tuple[str, str, str, str | None]  # sweep, what, why, key


def digest(address: str) -> str:
    """The name of a receiver in the outbox."""
    return hashlib.sha256(address.encode()).hexdigest()[:32]


class Outbox:
    """The messages, as those who send them use them. Threads may share it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def due(self, *, most: int) -> list[OutboxMessage]:
        """Messages that may be sent now, the longest due first."""
        table = MessageTable
        query = select(table.__table__).where(table.done_at.is_(None), table.next_at <= clock())
        query = query.order_by(table.next_at, table.id).limit(most)
        rows = self._database.read(lambda c: c.execute(query).mappings().all())
        return [OutboxMessage(**row) for row in rows]

    def claim(self, one: OutboxMessage, *, body: Mapping[str, Any]) -> bool:
        """Notes that the message is being sent now, as `body`; false if another sender does it."""
        query = _mine(one).values(
            tries=one.tries + 1, sending=True, next_at=clock() + CLAIM_S, body=dict(body)
        )
        return self._database.write(lambda c: c.execute(query).rowcount == 1)

    def received(self, one: OutboxMessage, *, outcome: str = RECEIVED) -> None:
        """Notes that nothing more is to be done; the first outcome counts."""
        query = update(MessageTable).where(
            MessageTable.id == one.id, MessageTable.done_at.is_(None)
        )
        query = query.values(done_at=clock(), sending=False, outcome=outcome)
        self._database.write(lambda c: c.execute(query))

    def failed(self, one: OutboxMessage, *, outcome: str, wait_s: float) -> None:
        """Notes that a claimed message did not arrive, and when to try again."""
        claimed = _mine(one, tries=one.tries + 1)
        query = claimed.values(sending=False, next_at=clock() + wait_s, outcome=outcome)
        self._database.write(lambda c: c.execute(query))

    def addresses(self, name: str) -> tuple[str, ...]:
        """The receivers that the submitter of a sweep has named."""
        query = select(SubmissionTable.notify).where(SubmissionTable.name == name)
        return tuple(self._database.read(lambda c: c.execute(query).scalar()) or ())

    def messages(self, name: str) -> list[OutboxMessage]:
        """All messages about a sweep, oldest first."""
        query = select(MessageTable.__table__).where(MessageTable.sweep == name)
        query = query.order_by(MessageTable.id)
        rows = self._database.read(lambda c: c.execute(query).mappings().all())
        return [OutboxMessage(**row) for row in rows]

    def waiting(self) -> int:
        """How many messages are to be sent."""
        query = select(func.count()).where(MessageTable.done_at.is_(None))
        return self._database.read(lambda c: c.execute(query).scalar_one())


def _mine(one: OutboxMessage, *, tries: int | None = None) -> Any:
    """An update of a message that nobody else has claimed meanwhile."""
    table, same = MessageTable, one.tries if tries is None else tries
    return update(table).where(table.id == one.id, table.tries == same, table.done_at.is_(None))


def add_events(
    connection: Connection,
    happened: Sequence[Happened],
    *,
    who: str,
    now: float,
    receivers: Collection[str],
) -> None:
    """Adds events, and a message to each receiver about those that people want to hear of.

    An event whose key is there already is left out, with its messages.
    """
    quiet = [one for one in happened if one[1] not in SENT and one[3] is None]
    if quiet:
        rows = [{**_row(one), "who": who, "at": now} for one in quiet]
        connection.execute(insert(EventTable), rows)
    for one in happened:
        if one[1] not in SENT and one[3] is None:
            continue
        made = dialects.upsert(connection, EventTable, keys=("key",), changes=())
        made = made.values(**_row(one), who=who, at=now).returning(EventTable.id)
        event = connection.execute(made).scalar()
        if event is not None and one[1] in SENT:
            _add_messages(connection, event, one, now=now, receivers=receivers)


def _row(one: Happened) -> dict[str, Any]:
    return dict(zip(("sweep", "what", "why", "key"), one, strict=True))


def _add_messages(
    connection: Connection, event: int, one: Happened, *, now: float, receivers: Collection[str]
) -> None:
    name, what, why, _ = one
    query = select(SubmissionTable.owner, SubmissionTable.notify)
    row = connection.execute(query.where(SubmissionTable.name == name)).first()
    own = [] if row is None else [digest(address) for address in row.notify]
    body = {
        "id": f"{event}-{uuid4().hex[:16]}",  # a restored database gives numbers again
        "event": SENT[what],
        "sweep": name,
        "owner": "" if row is None else row.owner,
        "reason": why,
        "at": datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds"),
    }
    new = {"event_id": event, "sweep": name, "body": body, "next_at": now, "outcome": ""}
    rows = [
        {**new, "receiver": receiver, "tries": 0, "sending": False}
        for receiver in dict.fromkeys([*receivers, *own])
    ]
    if rows:
        connection.execute(insert(MessageTable), rows)
