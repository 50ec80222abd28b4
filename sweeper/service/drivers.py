"""Starts drivers, processes of `sweeper launch`, and finds out how they ended.

A driver outlives the supervisor that started it: it runs in a session of its own, and its output
goes to a file. The next supervisor knows it by its process number and the time of its start.
"""

from __future__ import annotations

import json
import logging
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from sweeper.errors import InputError
from sweeper.service.deciding import COMPLETE, HALTED, INTERRUPTED, WITH_FAILURES
from sweeper.store import lease as leases
from sweeper.store.leading import SweepFact
from sweeper.store.service_records import DriverStart, Submission

SWEEPER = (sys.executable, "-P", "-c", "from sweeper.cli import main; main()")
GRACE_S = 60.0  # in which a driver that nobody knows may still take its lease
TAIL_BYTES = 4096
VERDICT_SECONDS = 300.0
SECRETS = ("SWEEPER_TOKEN", "SWEEPER_NOTIFY")
SPEC, LOG = "sweep.yaml", "driver.log"


class ServiceFolder:
    """Where the service keeps a folder for each submission: its spec file and its drivers' log."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def make(self) -> None:
        """Makes the folder, for this user only.

        Raises:
            InputError: it cannot be made.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"--folder: {self.path} cannot be made: {error.strerror}") from error

    def of(self, submission_id: int) -> Path:
        """The folder of a submission."""
        return self.path / str(submission_id)

    def tail(self, submission_id: int, *, most: int = TAIL_BYTES) -> str:
        """The end of the drivers' log; empty without one."""
        try:
            with (self.of(submission_id) / LOG).open("rb") as file:
                file.seek(0, os.SEEK_END)
                file.seek(max(0, file.tell() - most))
                return file.read().decode("utf-8", "replace")
        except OSError:
            return ""


class DriverProcesses:
    """The drivers of this machine.

    Args:
        storage: the database's URL, which drivers get in their environment.
        options: of `sweeper launch`, such as plug-ins.
    """

    def __init__(self, folder: ServiceFolder, *, storage: str, options: Sequence[str] = ()) -> None:
        self._folder, self._storage, self._options = folder, storage, tuple(options)
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, driver: DriverStart, one: Submission) -> dict[str, Any]:
        """Starts the process; returns it as the holder of a lease.

        Raises:
            OSError: there is no process, or no folder for it.
        """
        folder = self._folder.of(one.id)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / SPEC).write_text(one.spec_text, encoding="utf-8")
        words = ["launch", SPEC, "--yes", *self._options]
        words += [word for override in one.overrides for word in ("--set", override)]
        with (folder / LOG).open("ab") as log:
            log.write(f"--- start {driver.number}: sweeper {shlex.join(words)}\n".encode())
            log.flush()
            child = subprocess.Popen(  # noqa: S603  our own interpreter, and no shell
                [*SWEEPER, *words],
                cwd=folder,
                env=environment(os.environ, self._storage),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._children[driver.id] = child
        return leases.process(child.pid)

    def ended(self, driver: DriverStart, fact: SweepFact | None, *, now: float) -> bool:
        """Returns whether a driver has ended, as far as this machine and the database know."""
        child = self._children.get(driver.id)
        if child is not None:
            return child.poll() is not None
        if driver.holder and leases.gone(driver.holder):
            return True
        here = driver.holder.get("machine") == leases.here()["machine"]
        if driver.holder and here:
            return False
        return not (fact and fact.alive) and now - driver.started_at > GRACE_S

    def code(self, driver: DriverStart, fact: SweepFact | None) -> int | None:
        """How a driver ended; where nobody saw it, what its sweep says; None: it died."""
        child = self._children.pop(driver.id, None)
        if child is not None:
            return child.returncode
        if fact is None or fact.updated_at < driver.started_at:
            return None
        if fact.state == "complete":
            return WITH_FAILURES if fact.reason else COMPLETE
        return {"halted": HALTED, "interrupted": INTERRUPTED}.get(fact.state)

    def last_words(self, one: Submission, code: int | None = None) -> str:
        """The last line that a driver has written, without what the command line puts before.

        A driver that a signal ended has not written why: the signal is named.
        Control characters become spaces: a terminal would obey them, and PostgreSQL takes no NUL.
        """
        lines = [line.strip() for line in self._folder.tail(one.id).splitlines()]
        said = [_message(line) for line in lines if line and not line.startswith("--- start")]
        last = said[-1].removeprefix("sweeper: ").partition(" Continue with:")[0] if said else ""
        last = "".join(one if one.isprintable() else " " for one in last[:300])
        if code is None or code >= 0:
            return last
        ended = f"signal {-code} ended it ({signal.strsignal(-code)})"
        return f"{ended}; its last line: {last}" if last else ended

    def ask_to_end(self, driver: DriverStart) -> None:
        """Asks a driver of this machine to finish its round; does nothing to another one."""
        here = driver.holder.get("machine") == leases.here()["machine"]
        if here and driver.holder["machine"] and not leases.gone(driver.holder):
            with suppress(ProcessLookupError):
                os.kill(int(driver.holder["pid"]), signal.SIGTERM)


def _message(line: str) -> str:
    """What a line of a log says, which may be a JSON object."""
    if line.startswith("{"):
        with suppress(ValueError, KeyError, TypeError):
            return str(json.loads(line)["message"])
    return line


def verdict(name: str, storage: str) -> str:
    """The answer of a sweep that has ended, in a line; empty if there is none.

    The statistics take seconds and memory, so they have a process of their own.
    """
    try:
        found = subprocess.run(  # noqa: S603  our own interpreter, and no shell
            [*SWEEPER, "status", "--json", "--", name],
            env=environment(os.environ, storage),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=VERDICT_SECONDS,
            check=True,
        )
        [status] = json.loads(found.stdout)["sweeps"]
        return str(status["answer"])
    except (OSError, subprocess.SubprocessError, ValueError, KeyError) as error:
        logging.getLogger(__name__).warning("no verdict of %s: %s", name, type(error).__name__)
        return ""


def environment(given: Mapping[str, str], storage: str) -> dict[str, str]:
    """A driver's environment: the database, and no secret of the service."""
    kept = {name: value for name, value in given.items() if name not in SECRETS}
    return {**kept, "SWEEPER_STORAGE": storage, "NO_COLOR": "1"}
