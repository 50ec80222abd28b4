"""Cuts the connection of a statement that the server does not answer.

A network can drop packets without breaking a connection, and a proxy can acknowledge what it never
forwards. The system's own time limits notice neither, and the statement would wait for ever. After
the cut the statement ends as with any lost connection, and its transaction is tried again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, event

from sweeper.store import dialects

LIMIT_SECONDS = 20.0  # half of the time after which another driver may take the lease
HURRIED_SECONDS = 1.5  # once the driver was asked to stop at once
LOOK_SECONDS = 0.2


@dataclass
class PendingStatement:
    """A connection with a statement that is not answered yet."""

    connection: Any
    since: float
    limit: float


class AnswerWatch:
    """Watches, in its own thread, for statements that the server does not answer.

    Args:
        hurried: whether the driver was asked to stop at once.
    """

    def __init__(self, hurried: Callable[[], bool]) -> None:
        self._hurried = hurried
        self._waiting: dict[int, PendingStatement] = {}
        self._lock = threading.Lock()  # a connection is cut before it is closed, or not at all
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweeper-answers", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._over.set()

    def watch(self, engine: Engine, *, limit: float = LIMIT_SECONDS) -> None:
        """Gives each statement of a server's engine at most `limit` seconds for its answer."""

        def connected(connection: Any, _: object) -> None:
            self._sent(connection, limit)

        def sent(connection: Connection, *_: object) -> None:
            if not connection.invalidated:  # a lost connection only closes
                self._sent(_raw(connection), limit)

        def answered(connection: Connection, *_: object) -> None:
            self.answered(_raw(connection))

        def returned(connection: Any, *_: object) -> None:
            self.answered(connection)

        event.listen(engine, "connect", connected, insert=True)  # before SQLAlchemy's own
        event.listen(engine, "before_cursor_execute", sent)
        event.listen(engine, "after_cursor_execute", answered)
        event.listen(engine, "commit", sent)
        event.listen(engine, "rollback", sent)
        event.listen(engine, "checkin", returned)

    def _sent(self, connection: Any, limit: float) -> None:
        with self._lock:
            self._waiting[id(connection)] = PendingStatement(connection, time.monotonic(), limit)

    def answered(self, connection: Any) -> None:
        """Ends the wait for this connection."""
        with self._lock:
            self._waiting.pop(id(connection), None)

    def _run(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            longest = HURRIED_SECONDS if self._hurried() else float("inf")
            now = time.monotonic()
            with self._lock:
                for key, one in list(self._waiting.items()):
                    if now - one.since > min(one.limit, longest):
                        del self._waiting[key]
                        dialects.cut(one.connection)


def _raw(connection: Connection) -> Any:
    return connection.connection.dbapi_connection
