"""The service's tables: wishes, and what the supervisor does about them.

docs/service.md has a matrix of the tables and their only writers.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from sweeper.store.tables import StoredTable

NAME, PERSON, WORD = String(512), String(128), String(16)


class SubmissionTable(StoredTable):
    """The wish that a sweep should run. `generation` rises with each wish for more work."""

    __tablename__ = "sweeper_submission"
    __table_args__ = (
        UniqueConstraint("owner", "key"),
        Index(None, "owner", "priority", "id", "generation"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(NAME, unique=True)
    owner: Mapped[str] = mapped_column(PERSON)
    spec_text: Mapped[str]
    overrides: Mapped[list[Any]]
    needs: Mapped[dict[str, Any]]
    priority: Mapped[str] = mapped_column(WORD)
    after: Mapped[str] = mapped_column(NAME)
    window: Mapped[list[Any]]
    notify: Mapped[list[Any]] = mapped_column(default=list)
    key: Mapped[str] = mapped_column(String(64))
    wanted: Mapped[str] = mapped_column(WORD)
    generation: Mapped[int]
    created_at: Mapped[float]
    updated_at: Mapped[float]


class CommandTable(StoredTable):
    """A command about a sweep; (`who`, `key`) identifies it, however often it is sent."""

    __tablename__ = "sweeper_command"
    __table_args__ = (UniqueConstraint("who", "key"), Index(None, "sweep", "done_at"))
    id: Mapped[int] = mapped_column(primary_key=True)
    sweep: Mapped[str] = mapped_column(NAME)
    verb: Mapped[str] = mapped_column(WORD)
    body: Mapped[dict[str, Any]]
    who: Mapped[str] = mapped_column(PERSON)
    key: Mapped[str] = mapped_column(String(64))
    asked_at: Mapped[float]
    done_at: Mapped[float | None]
    outcome: Mapped[str]


class TokenTable(StoredTable):
    """A right to use the service; of the secret only the SHA-256 is stored.

    With a `sweep` it is a link: it shows the page of that sweep, and nothing else.
    """

    __tablename__ = "sweeper_token"
    id: Mapped[str] = mapped_column(WORD, primary_key=True)
    hash: Mapped[str] = mapped_column(String(64))
    label: Mapped[str] = mapped_column(PERSON)
    owner: Mapped[str] = mapped_column(PERSON)
    role: Mapped[str] = mapped_column(WORD)
    created_at: Mapped[float]
    expires_at: Mapped[float | None]
    revoked_at: Mapped[float | None]
    sweep: Mapped[str | None] = mapped_column(NAME)


class EventTable(StoredTable):
    """What happened: who did what, when and why. Rows are only ever added.

    An event that may happen once has a `key`.
    """

    __tablename__ = "sweeper_event"
    __table_args__ = (Index(None, "sweep", "id"), Index(None, "key", unique=True))
    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[float]
    sweep: Mapped[str] = mapped_column(NAME)
    who: Mapped[str] = mapped_column(PERSON)
    what: Mapped[str] = mapped_column(String(64))
    why: Mapped[str]
    key: Mapped[str | None] = mapped_column(String(128))


class MessageTable(StoredTable):
    """A message about an event to a receiver, written in the transaction of the event.

    `receiver` is a digest of its address, which may hold a secret. `sending`: a sender has claimed
    the message and has not yet recorded what came of it.
    """

    __tablename__ = "sweeper_message"
    __table_args__ = (UniqueConstraint("event_id", "receiver"), Index(None, "done_at", "next_at"))
    id: Mapped[int] = mapped_column(primary_key=True)
    event_id: Mapped[int] = mapped_column(ForeignKey("sweeper_event.id"))
    receiver: Mapped[str] = mapped_column(String(32))
    sweep: Mapped[str] = mapped_column(NAME)
    body: Mapped[dict[str, Any]]
    tries: Mapped[int]
    sending: Mapped[bool]
    next_at: Mapped[float]
    done_at: Mapped[float | None]
    outcome: Mapped[str]


class OwnerTable(StoredTable):
    """An owner's share and limits; None is no limit."""

    __tablename__ = "sweeper_owner"
    owner: Mapped[str] = mapped_column(PERSON, primary_key=True)
    weight: Mapped[float]
    most_sweeps: Mapped[int | None]
    most_workers: Mapped[int | None]
    most_hours: Mapped[float | None]
    most_money: Mapped[float | None]


class LeaderTable(StoredTable):
    """The right to decide, a lease like a sweep's (`LeaseTable`); one row for the supervisor."""

    __tablename__ = "sweeper_leader"
    role: Mapped[str] = mapped_column(String(32), primary_key=True)
    epoch: Mapped[int]
    held: Mapped[bool]
    holder: Mapped[dict[str, Any]]
    token: Mapped[str] = mapped_column(String(32))
    beat_at: Mapped[float]


class GrantTable(StoredTable):
    """How many workers a sweep may have; 0 asks its driver to stop. `epoch` is the leader's."""

    __tablename__ = "sweeper_grant"
    sweep: Mapped[str] = mapped_column(NAME, primary_key=True)
    workers: Mapped[int]
    reason: Mapped[str]
    epoch: Mapped[int]
    since: Mapped[float]


class DriverTable(StoredTable):
    """A start of a driver, stored before its process exists. `holder` is empty until it does."""

    __tablename__ = "sweeper_driver"
    __table_args__ = (UniqueConstraint("submission_id", "number"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    submission_id: Mapped[int] = mapped_column(ForeignKey("sweeper_submission.id"))
    number: Mapped[int]
    generation: Mapped[int]
    epoch: Mapped[int]
    holder: Mapped[dict[str, Any]]
    started_at: Mapped[float]
    ended_at: Mapped[float | None]
    exit_code: Mapped[int | None]
    error: Mapped[str]
    rounds_before: Mapped[int]
    rounds_after: Mapped[int | None]


class StandingTable(StoredTable):
    """What has become of a submission; `settled`: nothing more to do in this generation."""

    __tablename__ = "sweeper_standing"
    submission_id: Mapped[int] = mapped_column(
        ForeignKey("sweeper_submission.id"), primary_key=True, autoincrement=False
    )
    generation: Mapped[int]
    state: Mapped[str] = mapped_column(WORD)
    reason: Mapped[str]
    settled: Mapped[bool]
    since: Mapped[float]


class UsageTable(StoredTable):
    """Worker seconds that an owner has used, `recent` with a half-life, as of `at`; the cost."""

    __tablename__ = "sweeper_usage"
    owner: Mapped[str] = mapped_column(PERSON, primary_key=True)
    recent: Mapped[float]
    total: Mapped[float]
    at: Mapped[float]
    money: Mapped[float]
