"""Lines for the user on stderr, and the same lines with more detail in a log.

The log is Python's own: each module of `sweeper` and `trainers` may log under its name.
`--log-file` keeps all of it, `--verbose` shows it on stderr. No password or token gets into a log.
"""

from __future__ import annotations

import logging
import platform
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sweeper import __version__
from sweeper.cli.masking import masked
from sweeper.errors import InputError
from sweeper.states import FINISHED

if TYPE_CHECKING:
    from sweeper.engine.progress import Event

LOGGED = ("sweeper", "trainers")
LOG = logging.getLogger("sweeper.cli")
SHOWN = logging.getLogger("sweeper.shown")  # lines that stderr has anyway
FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


class _Masked(logging.Formatter):
    """A line, and a traceback below it, without secrets."""

    def format(self, record: logging.LogRecord) -> str:
        return masked(super().format(record))


class _Stderr(logging.Handler):
    """Prints what the user does not see anyway."""

    def emit(self, record: logging.LogRecord) -> None:
        from sweeper.cli import streams

        if record.name != SHOWN.name:
            streams.say(self.format(record))


class _File(logging.FileHandler):
    """A log file. A disk that is full ends the log and not the sweep."""

    def handleError(self, record: logging.LogRecord) -> None:
        from sweeper.cli import streams

        self.setLevel(logging.CRITICAL + 1)
        streams.say(f"sweeper: warning: {self.baseFilename}: cannot be written; the log ends here")

    def close(self) -> None:
        with suppress(OSError):  # reported above, when the line was to be written
            super().close()


class Watched:
    """Passes a launch's events on, and logs them; progress only where more runs have ended."""

    def __init__(self, show: Callable[[Event], None]) -> None:
        self._show, self._ended = show, -1

    def __call__(self, event: Event) -> None:
        self._show(event)
        if isinstance(event, str):
            SHOWN.info("%s", event)
            return
        from sweeper.engine.progress import Probing
        from sweeper.live import counts, time_left

        if isinstance(event, Probing):
            SHOWN.info("timed %d of %d kinds of runs", event.done, event.total)
        elif (ended := sum(event.runs.get(state, 0) for state in FINISHED)) != self._ended:
            self._ended = ended
            SHOWN.info("%s; time left: %s", counts(event), time_left(event))


def say(text: str) -> None:
    """Prints a line to stderr, and logs it."""
    from sweeper.cli import streams

    SHOWN.info("%s", text)
    streams.say(text)


def complain(text: str) -> None:
    """Prints an error or a warning to stderr as one line, and logs it."""
    from sweeper.cli import streams

    line = " ".join(text.split())
    SHOWN.warning("%s", line)
    streams.say(f"sweeper: {line}")


@contextmanager
def ending() -> Iterator[None]:
    """Ends, when it is left, the logs that `begin` has begun."""
    quiet = logging.NullHandler()  # else Python prints warnings of loggers without handlers
    for name in LOGGED:
        logging.getLogger(name).addHandler(quiet)
    try:
        yield
    finally:
        for name in LOGGED:
            logger = logging.getLogger(name)
            for handler in [*logger.handlers]:
                if isinstance(handler, logging.NullHandler | _Stderr | _File):
                    logger.removeHandler(handler)
                    handler.close()
            logger.setLevel(logging.NOTSET)


def begin(*, verbose: bool, file: Path | None) -> None:
    """Begins to log, to a file, to stderr, or to both.

    Raises:
        InputError: the file cannot be written.
    """
    handlers: list[logging.Handler] = [_Stderr()] if verbose else []
    if file is not None:
        handlers.append(_opened(file))
    for handler in handlers:
        handler.setFormatter(_Masked(FORMAT, "%Y-%m-%d %H:%M:%S"))
        for name in LOGGED:
            logging.getLogger(name).addHandler(handler)
            logging.getLogger(name).setLevel(logging.DEBUG)


def opening(words: Sequence[str], chosen: Iterable[str]) -> None:
    """Logs what a fault report needs first: version, command, and settings that were chosen."""
    LOG.info("sweeper %s on Python %s", __version__, platform.python_version())
    LOG.info("command: %s", shlex.join(["sweeper", *words]))
    for setting in chosen:
        LOG.info("setting: %s", setting)


def _opened(file: Path) -> _File:
    try:
        return _File(file, encoding="utf-8")
    except OSError as error:
        reason = error.strerror or "not a file"
        raise InputError(f"--log-file {file}: cannot be written: {reason}") from error


def file() -> str:
    """Returns the path of the log file, or "" without one."""
    handlers = logging.getLogger(LOGGED[0]).handlers
    return next((handler.baseFilename for handler in handlers if isinstance(handler, _File)), "")


def shown() -> bool:
    """Returns whether the log is shown on stderr."""
    return any(isinstance(handler, _Stderr) for handler in logging.getLogger(LOGGED[0]).handlers)


def traceback() -> None:
    """Logs the traceback of the error that is being handled."""
    LOG.error("internal error", exc_info=True)
