"""Signals: once means finish the round and go, twice means go."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Counts SIGINT and SIGTERM while entered; never raises, so no transaction is cut in two."""

    def __init__(self) -> None:
        self.count = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        self.listen()
        return self

    def listen(self) -> None:
        """Takes the signals, again if need be: Ray sets a handler of its own when it starts."""
        for number in SIGNALS:
            try:
                before = signal.signal(number, self._take)
            except ValueError:  # not the main thread: the caller's program handles its signals
                return
            self._before.setdefault(number, before)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _take(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
