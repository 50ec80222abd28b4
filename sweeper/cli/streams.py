"""Writing to a reader who may have gone (`sweeper spaces | head -1`), or to a disk that is full."""

from __future__ import annotations

import io
import os
import sys
from typing import TextIO, cast

from rich.console import Console


def silence(stream: TextIO) -> None:
    """Sends what is left for a stream nowhere, which Python would complain of at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def say(text: str) -> None:
    """Prints a line to stderr; where it cannot be written, what is under way goes on."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        silence(sys.stderr)


class _Error(io.TextIOBase):
    """Standard error, until it cannot be written any more."""

    def write(self, text: str, /) -> int:
        try:
            sys.stderr.write(text)
        except OSError:
            silence(sys.stderr)
        return len(text)

    def flush(self) -> None:
        try:
            sys.stderr.flush()
        except OSError:
            silence(sys.stderr)

    def isatty(self) -> bool:
        return sys.stderr.isatty()

    def fileno(self) -> int:
        return sys.stderr.fileno()

    @property
    def encoding(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return sys.stderr.encoding


class Lasting(Console):
    """A console on stderr that outlives its reader: a sweep goes on when its `tee` is stopped."""

    def __init__(self) -> None:
        super().__init__(file=cast("TextIO", _Error()))


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
