"""Lines for the user on stderr, and the same lines with more detail in a log.

The log is Python's own: each module of `sweeper` and `trainers` may log under its name.
`--log-file` keeps all of it, `--verbose` shows it on stderr. With `--log-format json` each line of
both is a JSON object, with the sweep, run and attempt that it is about. No password or token gets
into a log.
"""

from __future__ import annotations

import json
import logging
import platform
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from sweeper import __version__
from sweeper.cli.masking import masked
from sweeper.errors import InputError, nearest
from sweeper.states import FINISHED

if TYPE_CHECKING:
    from sweeper.engine.progress import Event

LOGGED = ("sweeper", "trainers")
LOG = logging.getLogger("sweeper.cli")
SHOWN = logging.getLogger("sweeper.shown")  # lines that stderr has anyway
FORMS = ("text", "json")
FIELDS = ("sweep", "run", "runs", "attempt", "pack", "worker")  # what a line may be about
_about: dict[str, object] = {}  # what all lines are about
FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


class _Masked(logging.Formatter):
    """A line, and a traceback below it, without secrets."""

    def format(self, record: logging.LogRecord) -> str:
        return masked(super().format(record))


class _Json(logging.Formatter):
    """A JSON object, without secrets."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        found: dict[str, object] = {
            "time": at,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": masked(record.getMessage()),
            **_about,
            **{name: getattr(record, name) for name in FIELDS if hasattr(record, name)},
        }
        if record.exc_info:
            found["error"] = masked(self.formatException(record.exc_info))
        return json.dumps(found, ensure_ascii=False, default=str)


class _Stderr(logging.Handler):
    """Prints what the user does not see anyway; as JSON everything, because nothing else is."""

    def emit(self, record: logging.LogRecord) -> None:
        from sweeper.cli import streams

        if record.name != SHOWN.name or isinstance(self.formatter, _Json):
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


def say(text: str, **fields: object) -> None:
    """Prints a line to stderr, and logs it.

    Args:
        fields: what it is about, of FIELDS.
    """
    from sweeper.cli import streams

    SHOWN.info("%s", text, extra=fields)
    if not as_json():
        streams.say(text)


def complain(text: str) -> None:
    """Prints an error or a warning to stderr as one line, and logs it."""
    from sweeper.cli import streams

    line = " ".join(text.split())
    SHOWN.warning("%s", line)
    if not as_json():
        streams.say(f"sweeper: {line}")


def about(**fields: object) -> None:
    """Says what all further lines of this process are about."""
    _about.update(fields)


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
        _about.clear()


def begin(*, verbose: bool, file: Path | None, form: str = "text") -> None:
    """Begins to log, to a file, to stderr, or to both.

    Raises:
        InputError: the file cannot be written, or there is no such format.
    """
    if form not in FORMS:
        raise InputError(f"--log-format: {form!r} is not known{nearest(form, FORMS)}")
    handlers: list[logging.Handler] = [_Stderr()] if verbose or form == "json" else []
    for handler in handlers:
        handler.setLevel(logging.DEBUG if verbose else logging.INFO)
    if file is not None:
        handlers.append(_opened(file))
    for handler in handlers:
        plain = _Masked(FORMAT, "%Y-%m-%d %H:%M:%S")
        handler.setFormatter(_Json() if form == "json" else plain)
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


def as_json() -> bool:
    """Returns whether stderr is a log of JSON objects."""
    return any(
        isinstance(handler, _Stderr) and isinstance(handler.formatter, _Json)
        for handler in logging.getLogger(LOGGED[0]).handlers
    )


def traceback() -> None:
    """Logs the traceback of the error that is being handled."""
    LOG.error("internal error", exc_info=True)
