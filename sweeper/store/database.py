"""One connection, one transaction at a time, retried until the database answers.

A commit that errors is *unknown*: the transaction may have happened. Callers of `write` therefore
pass work that may run twice: it looks up by key what exists before it adds anything.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    ProgrammingError,
    SQLAlchemyError,
)

from sweeper.errors import (
    DatabaseLost,
    DatabaseMoved,
    NothingStored,
    StoreError,
    SweeperError,
)
from sweeper.store import dialects
from sweeper.store.answers import AnswerWatch
from sweeper.store.dialects import Address

T = TypeVar("T")
LOG = logging.getLogger(__name__)
FIRST_WAIT, LONGEST_WAIT = 0.05, 5.0  # seconds
POLL_SECONDS = 0.2  # how often `give_up` is checked
OURS = (
    DataError,
    IntegrityError,
    ProgrammingError,
)  # our own mistakes are never retried and never hidden


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """Waits for a database, by some clock; a simulation has its own."""

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    uniform: Callable[[float, float], float] = random.uniform
    lock: Callable[[], AbstractContextManager[Any]] = threading.RLock


class Outage:
    """Since when a database fails, and with which error; shared by similar requests."""

    def __init__(self) -> None:
        self.since: float | None = None
        self.error: SweeperError | None = None

    def met(self, error: SweeperError, *, now: float) -> None:
        """Notes another failure."""
        self.since = now if self.since is None else self.since
        self.error = error

    def over(self) -> None:
        self.since = self.error = None


class Database:
    """A database that threads may share.

    Args:
        patience: seconds of retries when the database is lost or busy, counted since its last
            success: later requests in the same outage wait for the rest only.

    Attributes:
        give_up: checked while waiting for the database; true ends the wait.
        in_use: whether a launch works with it, so that errors are not the user's input.
    """

    def __init__(
        self, address: Address, *, patience: float, waiting: Waiting | None = None
    ) -> None:
        self.address = address
        self.engine = dialects.connect(address)
        self.patience = patience
        self.give_up: Callable[[], bool] = never
        self.in_use = False
        self._waiting = waiting or Waiting()
        self._lock = self._waiting.lock()
        self._connection: Connection | None = None
        self._file = dialects.identity(address)
        self._answers: AnswerWatch | None = None
        # A full disk can still be read, so reads and writes have separate outages.
        self._outages = {True: Outage(), False: Outage()}

    def __repr__(self) -> str:
        return f"Database({self.address.label})"

    def write(self, work: Callable[[Connection], T]) -> T:
        """Commits `work` and returns its result; may run it more than once."""
        return self._retried(work, reading=False)

    def read(self, work: Callable[[Connection], T]) -> T:
        """Returns the result of `work` on one consistent view of the database."""
        return self._retried(work, reading=True)

    def twin(self, *, patience: float) -> Database:
        """The same database with a separate connection."""
        return Database(self.address, patience=patience, waiting=self._waiting)

    def watch(self, answers: AnswerWatch, *, limit: float) -> None:
        """Waits at most `limit` seconds for a server's answer to a statement."""
        self._answers = answers
        answers.watch(self.engine, limit=limit)

    def close(self) -> None:
        with self._lock:
            self._drop()
            self.engine.dispose()

    def save(self, path: Path) -> bool:
        """Copies a SQLite database that is still open to a new file; returns whether one was open.

        Raises:
            OSError: the file cannot be made.
            sqlite3.Error: it cannot be written.
        """
        with self._lock:
            if self._connection is None:
                return False
            dialects.copy(raw(self._connection), path)
            return True

    def _retried(self, work: Callable[[Connection], T], *, reading: bool) -> T:
        def once() -> T:
            with self._lock:  # free between two tries
                return self._once(work, reading=reading)

        try:
            return patiently(
                once,
                address=self.address,
                patience=self.patience,
                give_up=self.give_up,
                outage=self._outages[reading],
                waiting=self._waiting,
            )
        except StoreError as error:
            if self.in_use and not isinstance(error, NothingStored):
                raise DatabaseLost(str(error)) from error
            raise

    def _once(self, work: Callable[[Connection], T], *, reading: bool) -> T:
        self._check_file(reading=reading)
        connection = None
        try:
            connection = self._connected()
            connection.info["reading"] = reading
            with connection.begin():
                return work(connection)
        except SQLAlchemyError:
            self._drop()
            raise
        finally:
            if self._answers is not None and connection is not None and not connection.closed:
                self._answers.answered(raw(connection))

    def _check_file(self, *, reading: bool) -> None:
        """Raises if the file was replaced, because SQLite would continue with the open one.

        Raises:
            DatabaseMoved: it was moved, deleted or replaced.
        """
        if self._file is None or (reading and self._connection is not None):
            return
        if dialects.identity(self.address) != self._file:
            raise DatabaseMoved(f"{self.address.label}: the file was moved, deleted or replaced")

    def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = self.engine.connect()
        return self._connection

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(SQLAlchemyError):  # closing may fail on a broken connection
                connection.close()


def never() -> bool:
    return False


def patiently(
    work: Callable[[], T],
    *,
    address: Address,
    patience: float,
    give_up: Callable[[], bool] = never,
    outage: Outage | None = None,
    waiting: Waiting | None = None,
) -> T:
    """Returns the result of `work`, and retries it while the database is busy or unreachable.

    Args:
        outage: earlier failures; `patience` counts from their start, and a request that is told
            to give up makes no further try.

    Raises:
        DatabaseLost: it stayed so for `patience` seconds, or until `give_up`.
        StoreError: it refuses access, or is damaged.
    """
    outage, waiting, wait = outage or Outage(), waiting or Waiting(), FIRST_WAIT
    while True:
        if outage.error is not None and give_up():
            raise outage.error
        try:
            result = work()
            outage.over()
            return result
        except DBAPIError as error:
            now = waiting.monotonic()
            transient = _transient(error)
            explained = dialects.explain(address, error.orig)
            if transient:
                outage.met(explained, now=now)
            late = outage.since is not None and now + wait > outage.since + patience
            if late or not transient or give_up():
                raise explained from error
            LOG.warning("%s; trying again", explained)
        # The jitter keeps two drivers from colliding again and again.
        _pause(wait * waiting.uniform(0.5, 1.0), give_up, waiting)
        wait = min(2 * wait, LONGEST_WAIT)


def _transient(error: DBAPIError) -> bool:
    """Returns whether to try again.

    Raises:
        DBAPIError: our own mistake, unchanged.
    """
    transient = dialects.transient(error)
    if isinstance(error, OURS) and not (transient or dialects.forbidden(error)):
        raise error
    return transient


def raw(connection: Connection) -> Any:
    """The connection of the database's own driver."""
    return connection.connection.dbapi_connection


def _pause(seconds: float, give_up: Callable[[], bool], waiting: Waiting) -> None:
    until = waiting.monotonic() + seconds
    while (left := until - waiting.monotonic()) > 0 and not give_up():
        waiting.sleep(min(left, POLL_SECONDS))
