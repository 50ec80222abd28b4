"""Every error that Sweeper raises on purpose.

    SweeperError            exit 1
    ├── InputError          exit 2    the user's input; lines, no traceback
    │   ├── SpecError                 a spec file or an override
    │   ├── StoreError                a database URL, a database that is not ours
    │   │   └── NothingStored         no such database, or no sweep in it
    │   └── ClusterAway     exit 6    no Ray cluster answers there, or it does not yet
    ├── HeldError           exit 5    another driver holds the sweep
    ├── LeaseLost           exit 5    another driver has taken the sweep over
    ├── DatabaseLost        exit 1    the database does not answer, is full or unusable
    │   └── DatabaseMoved             its file is no longer where it was
    ├── EngineError         exit 1    Ray or a worker failed in a way that no retry repairs
    └── SweepHalted         exit 4    too many failures, or a limit is reached

The message is written for the user: what, where (file:line), which value, and the nearest valid
one or the next command.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


MOST_CHOICES = 50  # that a message lists


class SweeperError(Exception):
    """A problem that Sweeper itself detected."""

    exit_code = 1

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines for the user."""
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
    """The database does not exist, or has no sweep."""


class ClusterAway(InputError):
    """No Ray cluster answers at an address: it is wrong, or the cluster's head restarts."""

    exit_code = 6


class HeldError(SweeperError):
    """Another driver holds this sweep."""

    exit_code = 5


class LeaseLost(SweeperError):
    """Another driver has taken this sweep over; this one has stopped writing."""

    exit_code = 5


class DatabaseLost(SweeperError):
    """The database does not answer, or can no longer be used; the same command continues later."""


class DatabaseMoved(DatabaseLost):
    """The file of a SQLite database was moved, deleted or replaced while it was in use."""


class EngineError(SweeperError):
    """The cluster or a worker failed in a way that no retry repairs."""


class SweepHalted(SweeperError):
    """The sweep stopped itself, because runs kept failing or a limit was reached."""

    exit_code = 4


def nearest(word: str, valid: Iterable[str]) -> str:
    """The end of an error message: `; did you mean 'x'?`, or the list of valid words."""
    choices = sorted(valid)
    close = get_close_matches(word, choices, n=1, cutoff=0.6)
    if close:
        return f"; did you mean '{close[0]}'?"
    shown = [*choices[:MOST_CHOICES], *(["..."] if len(choices) > MOST_CHOICES else [])]
    return f"; valid: {', '.join(shown)}" if choices else ""
