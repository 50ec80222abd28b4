"""Writes to a reader who may be gone (`sweeper spaces | head -1`), or to a disk that is full."""

from __future__ import annotations

import errno
import io
import os
import stat
import sys
from typing import TextIO, cast

from rich.console import Console


def silence(stream: TextIO) -> None:
    """Discards the rest of a stream, about which Python would complain at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def say(text: str) -> None:
    """Prints a line to stderr; an error in writing it does not stop the command."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        silence(sys.stderr)


class _Error(io.TextIOBase):
    """Standard error, until it can no longer be written."""

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
    """A console on stderr that outlives its reader: a sweep continues if its `tee` is stopped."""

    def __init__(self) -> None:
        super().__init__(file=cast("TextIO", _Error()))


def finished(code: int) -> int:
    """Returns the exit code of a command that ended with `code`, after writing all its output."""
    try:
        print(end="", flush=True)  # raises no error if standard output is closed
    except BrokenPipeError:
        silence(sys.stdout)
    except OSError as error:
        closed = error.errno == errno.EIO and stat.S_ISCHR(os.fstat(sys.stdout.fileno()).st_mode)
        silence(sys.stdout)
        if closed:  # a terminal that is gone, as a pipe's reader may be
            return code
        say(f"sweeper: standard output cannot be written: {error.strerror}")
        return code or 1
    return code
