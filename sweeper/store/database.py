"""One connection, one transaction at a time, retried until the database answers.

A commit that errors is *unknown*: the transaction may have happened. Whoever calls `write` gives
work that may be done twice: it looks up by key what is there before it adds to it.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    ProgrammingError,
    SQLAlchemyError,
)

from sweeper.store import dialects
from sweeper.store.dialects import Address

T = TypeVar("T")
FIRST_WAIT, LONGEST_WAIT = 0.05, 5.0  # seconds
POLL_SECONDS = 0.2  # how soon `give_up` is heard
OURS = (
    DataError,
    IntegrityError,
    ProgrammingError,
)  # our own mistakes: never retried, never hidden


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """What waits for a database, and by which clock; a simulation brings its own."""

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    uniform: Callable[[float, float], float] = random.uniform
    lock: Callable[[], AbstractContextManager[Any]] = threading.RLock


class Database:
    """A database that threads may share.

    Args:
        patience: seconds that a lost or busy database is tried again for.

    Attributes:
        give_up: asked while waiting for the database; true ends the patience.
    """

    def __init__(
        self, address: Address, *, patience: float, waiting: Waiting | None = None
    ) -> None:
        self.address = address
        self.engine = dialects.connect(address)
        self.patience = patience
        self.give_up: Callable[[], bool] = never
        self._waiting = waiting or Waiting()
        self._lock = self._waiting.lock()
        self._connection: Connection | None = None

    def __repr__(self) -> str:
        return f"Database({self.address.label})"

    def write(self, work: Callable[[Connection], T]) -> T:
        """The result of `work`, committed. `work` may be run more than once."""
        return self._retried(work, reading=False)

    def read(self, work: Callable[[Connection], T]) -> T:
        """The result of `work` on one consistent view of the database."""
        return self._retried(work, reading=True)

    def close(self) -> None:
        with self._lock:
            self._drop()
            self.engine.dispose()

    def _retried(self, work: Callable[[Connection], T], *, reading: bool) -> T:
        def once() -> T:
            with self._lock:  # free between two tries
                return self._once(work, reading=reading)

        return patiently(
            once,
            address=self.address,
            patience=self.patience,
            give_up=self.give_up,
            waiting=self._waiting,
        )

    def _once(self, work: Callable[[Connection], T], *, reading: bool) -> T:
        try:
            connection = self._connected()
            connection.info["reading"] = reading
            with connection.begin():
                return work(connection)
        except SQLAlchemyError:
            self._drop()
            raise

    def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = self.engine.connect()
        return self._connection

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(SQLAlchemyError):  # it may be broken already: that is why it goes
                connection.close()


def never() -> bool:
    return False


def patiently(
    work: Callable[[], T],
    *,
    address: Address,
    patience: float,
    give_up: Callable[[], bool] = never,
    waiting: Waiting | None = None,
) -> T:
    """The result of `work`, tried again while the database is busy or gone.

    Raises:
        SweeperError: it stayed so for `patience` seconds, or until `give_up`, or will not let
            us in.
    """
    waiting = waiting or Waiting()
    deadline, wait = waiting.monotonic() + patience, FIRST_WAIT
    while True:
        try:
            return work()
        except DBAPIError as error:
            if isinstance(error, OURS) and not (
                dialects.transient(error) or dialects.forbidden(error)
            ):
                raise
            late = waiting.monotonic() + wait > deadline or give_up()
            if late or not dialects.transient(error):
                raise dialects.explain(address, error.orig) from error
        # The jitter keeps two drivers from meeting again and again.
        _pause(wait * waiting.uniform(0.5, 1.0), give_up, waiting)
        wait = min(2 * wait, LONGEST_WAIT)


def _pause(seconds: float, give_up: Callable[[], bool], waiting: Waiting) -> None:
    until = waiting.monotonic() + seconds
    while (left := until - waiting.monotonic()) > 0 and not give_up():
        waiting.sleep(min(left, POLL_SECONDS))
