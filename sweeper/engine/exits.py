"""Ends a launch when the database, or something else that the driver waits for, blocks it."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable

from sweeper.engine import cluster
from sweeper.engine.interrupts import Interrupts
from sweeper.errors import DatabaseLost, DatabaseMoved, SweeperError
from sweeper.store.records import Lease
from sweeper.store.store import Store

INTERRUPTED = 130
PATIENT_SECONDS = 3.0  # for a driver that was asked twice to end by itself
RECORD_SECONDS = 1.5
LOOK_SECONDS = 0.2


def without_database(error: DatabaseLost, store: Store, lease: Lease, *, command: str) -> str:
    """The last message of a launch whose database failed; saves what was recorded.

    Args:
        command: the command that continues the sweep.
    """
    if not isinstance(error, DatabaseMoved):
        return f"interrupted: {error}. Continue with: {command}"
    old = store.database.address.path
    assert old is not None  # noqa: S101  only a file is moved
    try:
        path = store.save()
    except (OSError, sqlite3.Error) as reason:
        return f"interrupted: {error}; a copy could not be written: {reason}"
    if path is None:
        return f"interrupted: {error}; it was not open any more, so there is no copy"
    with Store.open(f"sqlite:///{path}", create=True) as copy:
        set_down(copy, lease, "its file was moved, deleted or replaced")
    return (
        f"interrupted: {error}. All that was recorded is saved in {path}: "
        f"rename it to {old.name}, and continue with: {command}"
    )


def set_down(store: Store, lease: Lease, why: str) -> None:
    """Records that the launch was interrupted, ends what is open, and gives the lease back."""
    store.update_sweep(lease, state="interrupted", state_reason=why)
    store.release(lease)


class LastResort:
    """While entered: a driver that was asked twice to stop ends within five seconds.

    The main thread may wait for something that ignores signals. Then this thread records what it
    can and ends the process.

    Attributes:
        record: records the interruption; set once there is a lease.
    """

    def __init__(self, interrupts: Interrupts, *, say: Callable[[str], None], command: str) -> None:
        self._interrupts, self._say, self._command = interrupts, say, command
        self.record: Callable[[], None] = lambda: None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweeper-last-resort", daemon=True)

    def __enter__(self) -> LastResort:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()

    def _run(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            # The watch handles a fault of Ray, because it knows more about it.
            if self._interrupts.count >= 2 and not self._interrupts.fault:
                if not self._over.wait(PATIENT_SECONDS):
                    self._end()
                return

    def _end(self) -> None:
        recording = threading.Thread(target=self._recorded, daemon=True)
        recording.start()
        recording.join(timeout=RECORD_SECONDS)
        self._say(f"interrupted: stopped by a signal. Continue with: {self._command}")
        cluster.end(INTERRUPTED)

    def _recorded(self) -> None:
        try:
            self.record()
        except SweeperError:
            return  # the database is unreachable too: the next launch ends what is open
