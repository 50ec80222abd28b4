"""Signals: the first stops after the round, the second at once, the third as the system does."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from select import select
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
POLL_SECONDS = 0.2


class StopNow(BaseException):
    """A request to stop at once. Not an Exception, so that no handler on the way catches it."""


class Interrupts:
    """Counts SIGINT and SIGTERM while entered.

    It raises only inside `breaking`, so no transaction is ever interrupted. A third signal has the
    system's own effect, because what should have ended did not end in time.
    """

    def __init__(self) -> None:
        self.count = 0
        self.fault = ""  # why the driver stops without a request
        self.reason = ""  # why it was asked to stop, if not by a signal
        self.preempted = False  # the service wants its workers for others
        self._breaking = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        self.listen()
        return self

    def listen(self) -> None:
        """Takes over the signals, again if needed: Ray takes them too."""
        for number in SIGNALS:
            try:
                before = signal.signal(number, self._take)
            except ValueError:  # not the main thread: the caller's program handles its signals
                return
            self._before.setdefault(number, before)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def breaking(self) -> Iterator[None]:
        """Inside, the first signal raises StopNow: for long work that leaves nothing half done."""
        self._breaking = True
        try:
            if self.count:
                raise StopNow
            yield
        finally:
            self._breaking = False

    def _take(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        if self.count > 2:
            for one in SIGNALS:
                signal.signal(one, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        if self._breaking:
            raise StopNow

    def request(self, reason: str, *, preempted: bool) -> None:
        """Stops the driver like a first signal does, for a reason; the first request counts."""
        if not self.count:
            self.reason, self.preempted = reason, preempted
            self.count = 1

    def insist(self, fault: str) -> None:
        """Stops the driver like a second signal does, because there is nothing left to wait for.

        Args:
            fault: the reason; ignored if the user has asked to stop before.
        """
        self.fault = "" if self.count else fault
        self.count = max(self.count, 2)

    def ask(self, question: str) -> str:
        """Asks a question on standard input and returns the answer.

        Raises:
            StopNow: a signal came instead.
        """
        print(question, end="", flush=True)
        while not self.count:
            ready, _, _ = select([sys.stdin], [], [], POLL_SECONDS)
            if ready:
                return sys.stdin.readline()
        raise StopNow
