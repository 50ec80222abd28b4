"""Every error that Sweeper raises on purpose.

    SweeperError            exit 1
    ├── InputError          exit 2    the user's input; lines, no traceback
    │   ├── SpecError                 a spec file or an override
    │   └── StoreError                a database URL, a database that is not ours
    │       └── NothingStored         no such database, or no sweep in it
    ├── HeldError           exit 5    another driver holds the sweep
    ├── LeaseLost           exit 5    another driver has taken the sweep over
    ├── DatabaseLost        exit 1    the database stays away, is full, or can be used no more
    │   └── DatabaseMoved             its file is no longer where it was
    ├── EngineError         exit 1    Ray or a worker failed in a way that no retry mends
    └── SweepHalted         exit 4    the sweep has stopped itself

The message is written for the user: what, where (file:line), which value, and the nearest valid
one or the next command.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class SweeperError(Exception):
    """Something went wrong that Sweeper itself noticed."""

    exit_code = 1

    @property
    def lines(self) -> tuple[str, ...]:
        """What the user reads."""
        return (str(self),)


class InputError(SweeperError):
    """The input cannot be used; nothing was started."""

    exit_code = 2


class SpecError(InputError):
    """A spec file or an override has problems, one on each line.

    Attributes:
        line: the line of the file; 0 for an override, a whole file, or several problems.
    """

    def __init__(self, *lines: str, line: int = 0) -> None:
        super().__init__("\n".join(lines))
        self._lines = lines
        self.line = line

    @property
    def lines(self) -> tuple[str, ...]:
        return self._lines


class StoreError(InputError):
    """A database cannot be opened, or is not one of Sweeper's."""


class NothingStored(StoreError):
    """There is no such database, or no sweep in it."""


class HeldError(SweeperError):
    """Another driver holds this sweep."""

    exit_code = 5


class LeaseLost(SweeperError):
    """Another driver has taken this sweep over; this one has stopped writing."""

    exit_code = 5


class DatabaseLost(SweeperError):
    """The database does not answer, or cannot be used any more; the same command goes on later."""


class DatabaseMoved(DatabaseLost):
    """The file of a SQLite database was moved, deleted or replaced while it was in use."""


class EngineError(SweeperError):
    """The cluster or a worker failed in a way that no retry mends."""


class SweepHalted(SweeperError):
    """The sweep has stopped itself: its runs fail one after the other, or a limit is reached."""

    exit_code = 4


def nearest(word: str, valid: Iterable[str]) -> str:
    """A tail for an error message: `; did you mean 'x'?`, or the list of what is valid."""
    choices = sorted(valid)
    close = get_close_matches(word, choices, n=1, cutoff=0.6)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; valid: {', '.join(choices)}" if choices else ""
