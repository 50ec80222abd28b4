"""Writing to a reader who may have gone, as in `sweeper spaces | head -1`."""

from __future__ import annotations

import os
import sys
from typing import TextIO

from rich.console import Console


def silence(stream: TextIO) -> None:
    """Sends what is left for a stream nowhere, which Python would complain of at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def say(text: str) -> None:
    """Prints a line to stderr; a reader who has gone is no reason to end what is under way."""
    try:
        print(text, file=sys.stderr)
    except BrokenPipeError:
        silence(sys.stderr)


class Lasting(Console):
    """A console on stderr that outlives its reader: a sweep goes on when its `tee` is stopped."""

    def __init__(self) -> None:
        super().__init__(stderr=True)

    def on_broken_pipe(self) -> None:
        self.quiet = True
        silence(sys.stderr)


def finished(code: int) -> int:
    """The exit code of a command that ended with `code`, once all of its output is written."""
    try:
        print(end="", flush=True)  # no error where standard output is closed
    except BrokenPipeError:
        silence(sys.stdout)
    except OSError as error:
        silence(sys.stdout)
        say(f"sweeper: standard output cannot be written: {error.strerror}")
        return code or 1
    return code
