"""Halts a sweep whose runs all fail for the same reason, instead of trying all of them."""

from __future__ import annotations

from collections.abc import Iterable

from sweeper.engine import endings
from sweeper.states import UNCOUNTED, Ending


class CircuitBreaker:
    """Watches attempts' ends in order; `tripped` is the reason to halt, or empty.

    It counts cells, not attempts: a single bad cell is stopped by its own limit of attempts. Ends
    that no run is responsible for count only if they never stop.
    """

    def __init__(self, *, failures: int, attempts: int) -> None:
        self._cells_at_most = failures
        self._endings_at_most = failures * (attempts + 1)
        self._reason: Ending | None = None
        self._cells: set[int] = set()
        self._endings = 0
        self._error = ""

    def success(self) -> None:
        """Notes that a run has finished."""
        self._reason, self._endings = None, 0
        self._cells.clear()

    def failure(self, ending: Ending, cells: Iterable[int], error: str = "") -> None:
        """Notes that a pack, or members of it, ended for this reason."""
        if ending is not self._reason:
            self.success()
        self._reason = ending
        self._endings += 1
        self._error = endings.gist(error)
        if ending not in UNCOUNTED:
            self._cells.update(cells)

    @property
    def tripped(self) -> str:
        if self._reason is None:
            return ""
        last = f"; the last: {self._error}" if self._error else ""
        if len(self._cells) >= self._cells_at_most:
            return f"{len(self._cells)} cells in a row ended with {self._reason}{last}"
        if self._endings >= self._endings_at_most:
            return f"{self._endings} attempts in a row ended with {self._reason}{last}"
        return ""
