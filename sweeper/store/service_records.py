"""The inputs and outputs of the service's part of the store: a frozen record for each table.

Times are seconds since 1970 by the database's clock: they are compared and subtracted, and only
the command line and the page show them as dates.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Priority(StrEnum):
    """A priority class; a sweep of a higher class goes before every sweep of a lower one."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"

    @property
    def rank(self) -> int:
        """0 for the class that goes first."""
        return RANKS[self]


RANKS = {str(one): number for number, one in enumerate(Priority)}  # of priority classes


class WantedState(StrEnum):
    """What an owner wants of a sweep now."""

    RUNNING = "running"
    STOPPED = "stopped"  # keeps its place among the submissions; `resume` continues it
    CANCELLED = "cancelled"  # never again; what is recorded stays


class Verb(StrEnum):
    """A command about a sweep."""

    STOP = "stop"
    RESUME = "resume"
    CANCEL = "cancel"
    PRIORITY = "priority"
    RETRY = "retry"
    EXTEND = "extend"


class Role(StrEnum):
    """What a token allows; each role may do what those before it may."""

    READER = "reader"  # sees all sweeps
    SUBMITTER = "submitter"  # submits, and commands the sweeps of its owner
    ADMIN = "admin"  # commands all sweeps, and gives tokens and limits

    def allows(self, needed: Role) -> bool:
        """Returns whether a token of this role may do what `needed` may."""
        order = list(Role)
        return order.index(self) >= order.index(needed)


class State(StrEnum):
    """What has become of a submission."""

    QUEUED = "queued"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    CANCELLED = "cancelled"
    COMPLETE = "complete"
    FAILURES = "failures"  # finished, and some runs failed
    HALTED = "halted"  # the sweep stopped itself: failures in a row, or its limit of hours
    ATTENTION = "attention"  # nobody but a person can help


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a sweep takes, as found when it was submitted.

    Attributes:
        workers: the most that it can use; None: any number.
        seconds: of one worker's time, for all runs, as estimated.
    """

    workers: int | None = None
    cpus: float = 1.0
    gpus: float = 0.0
    runs: int = 0
    seconds: float = 0.0

    @property
    def cost(self) -> float:
        """What an hour of one of its workers is charged: its GPUs, or 1 without a GPU."""
        return self.gpus or 1.0


@dataclass(frozen=True, kw_only=True)
class NewSubmission:
    """A wish that a sweep should run.

    Attributes:
        overrides: `KEY=VALUE`, as after `--set`.
        after: the name of a sweep that must have finished before; empty for none.
        window: (start, end) of a daily window as "HH:MM", in the server's time; empty for none.
        notify: addresses that get a message about each event of the sweep; they may hold secrets.
        key: the same for each repetition of one wish.
    """

    name: str
    owner: str
    spec_text: str
    overrides: tuple[str, ...] = ()
    needs: Needs = field(default_factory=Needs)
    priority: Priority = Priority.NORMAL
    after: str = ""
    window: tuple[str, ...] = ()
    notify: tuple[str, ...] = field(default=(), repr=False)
    key: str


@dataclass(frozen=True, kw_only=True)
class Submission(NewSubmission):
    id: int
    wanted: WantedState
    generation: int
    created_at: float
    updated_at: float


@dataclass(frozen=True, kw_only=True)
class Command:
    id: int
    sweep: str
    verb: Verb
    body: dict[str, Any]
    who: str
    key: str
    asked_at: float
    done_at: float | None
    outcome: str


@dataclass(frozen=True, kw_only=True)
class Token:
    """A right to use the service; `hash` is of its secret, which is shown once and never stored.

    Attributes:
        sweep: the one sweep whose page a link shows; None: a token for the whole service.
    """

    id: str
    hash: str = field(repr=False)
    label: str
    owner: str
    role: Role
    created_at: float
    expires_at: float | None
    revoked_at: float | None
    sweep: str | None = None


@dataclass(frozen=True, kw_only=True)
class ServiceEvent:
    id: int
    at: float
    sweep: str
    who: str
    what: str
    why: str
    key: str | None = None


@dataclass(frozen=True, kw_only=True)
class Notice:
    """An event that happens once: the second one with the same `key` is none."""

    sweep: str
    what: str
    why: str
    key: str


@dataclass(frozen=True, kw_only=True)
class OutboxMessage:
    """A message about an event to a receiver.

    Attributes:
        receiver: a digest of its address.
        body: `id` (of the event, for receivers), `event`, `sweep`, `owner`, `reason`, `at`, and
            `verdict` once it is known.
        tries: how often a sender has claimed it.
        sending: the last claim has no outcome yet.
        next_at: not before then.
    """

    id: int
    event_id: int
    receiver: str
    sweep: str
    body: dict[str, Any]
    tries: int
    sending: bool
    next_at: float
    done_at: float | None
    outcome: str


@dataclass(frozen=True, kw_only=True)
class Owner:
    """An owner's share of the cluster and limits; None is no limit."""

    owner: str
    weight: float = 1.0
    most_sweeps: int | None = None
    most_workers: int | None = None
    most_hours: float | None = None  # of workers, or of GPUs if they have any
    most_money: float | None = None


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Worker seconds that an owner has used until `at`; `recent` halves with time. Their cost."""

    owner: str
    recent: float = 0.0
    total: float = 0.0
    at: float = 0.0
    money: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Leadership:
    """The supervisor's right to decide."""

    role: str
    epoch: int


@dataclass(frozen=True, kw_only=True)
class Grant:
    """How many workers a sweep may have.

    Attributes:
        workers: those that its driver has, also while it makes room.
        reason: why the driver is to make room; empty: it is not.
        since: when the sweep last came from none to some.
    """

    sweep: str
    workers: int
    reason: str = ""
    epoch: int = 0
    since: float = 0.0


@dataclass(frozen=True, kw_only=True)
class DriverStart:
    """A driver that the supervisor has started.

    Attributes:
        holder: the process, as in `lease.here()`; empty until it exists.
        rounds_before: rounds that the sweep's runs had recorded when it began; `rounds_after`: when
            it ended.
    """

    id: int
    submission_id: int
    number: int
    generation: int
    epoch: int
    holder: dict[str, Any]
    started_at: float
    ended_at: float | None
    exit_code: int | None
    error: str
    rounds_before: int
    rounds_after: int | None

    @property
    def progressed(self) -> bool:
        """Whether the sweep got further while it ran."""
        return self.rounds_after is not None and self.rounds_after > self.rounds_before


@dataclass(frozen=True, kw_only=True)
class SubmissionStanding:
    """What has become of a submission in its `generation`.

    Attributes:
        reason: a sentence.
        settled: the supervisor has nothing more to do for this generation.
    """

    submission_id: int
    generation: int
    state: State
    reason: str = ""
    settled: bool = False
    since: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Orders:
    """What the service wants of a sweep's driver.

    Attributes:
        stop: why the driver should drain and end; empty: it should go on.
        preempted: the sweep goes on later; otherwise somebody stopped it.
        workers: how many workers it may have; None without a grant.
    """

    stop: str = ""
    preempted: bool = False
    workers: int | None = None
