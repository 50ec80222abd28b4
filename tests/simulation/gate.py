"""The way to the database: every statement and commit passes a gate where things go wrong.

A statement may be slow, fail, or be the last of its process. A commit may not happen, or happen
and raise an error all the same.
"""

from __future__ import annotations

import sqlite3
from typing import Any

from sqlalchemy import Engine, event

from tests.simulation.world import LATENCY, Killed, World

UNIX_DAY = 2440587.5  # 1970 as a Julian day


def lost(name: str) -> sqlite3.OperationalError:
    """The database's error of this name."""
    error = sqlite3.OperationalError(f"played: {name}")
    error.sqlite_errorname = name
    return error


class Gate:
    """Stands between the processes and the database: one engine, used by each process in turn.

    One engine for all: statements are compiled once.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._commit_it = engine.dialect.do_commit
        engine.dialect.do_commit = self._commit  # type: ignore[method-assign]
        event.listen(engine, "connect", self._connected)
        event.listen(engine, "do_execute", self._execute)
        event.listen(engine, "do_executemany", self._execute)
        self.world: World  # of the present simulation

    def _connected(self, connection: sqlite3.Connection, _: object) -> None:
        world, process = self.world, World.here()
        connection.execute("PRAGMA busy_timeout = 0")
        connection.execute("PRAGMA synchronous = OFF")
        connection.create_function("julianday", 1, lambda _: world.wall() / 86400 + UNIX_DAY)
        connection.create_function("sim_now", 0, lambda: world.now)
        connection.create_function("sim_pid", 0, lambda: process.pid)

    def _execute(self, cursor: Any, statement: str, *_: object) -> None:
        world, process = self.world, World.here()
        process.check()
        begins = statement.startswith("BEGIN")
        if begins:
            process.reading = statement == "BEGIN"
            world.sleep(world.dice.expovariate(1 / LATENCY))
        if world.troubled and not process.spared:
            self._trouble()

    def _trouble(self) -> None:
        world, process, faults = self.world, World.here(), self.world.faults
        luck = world.dice.random()
        if luck < faults.statement_kill:
            self._die("at a statement")
        luck -= faults.statement_kill
        if luck < faults.stop:
            world.sleep(world.stop(process))
        luck -= faults.stop
        if 0 <= luck < faults.slow:
            world.hamper(world.dice.expovariate(1 / faults.slow_seconds))
        self._cut_off()

    def _cut_off(self) -> None:
        """A partition swallows what is sent, until somebody gives up waiting."""
        world, process = self.world, World.here()
        if process.cut_off_until > world.now:
            world.hamper(min(process.cut_off_until - world.now, world.dice.uniform(0, 15)))
            raise lost("SQLITE_IOERR")

    def _die(self, when: str) -> None:
        process = World.here()
        self.world.say(process.name, f"dies {when}")
        self.world.kill(process)
        raise Killed

    def _commit(self, connection: Any) -> None:
        world, process, faults = self.world, World.here(), self.world.faults
        process.check()
        if not world.troubled or process.reading or process.spared:
            self._commit_it(connection)
            return
        if world.disk_full:
            raise lost("SQLITE_FULL")
        self._trouble()
        if world.chance(faults.refused):
            raise lost("SQLITE_BUSY")
        self._commit_it(connection)
        if world.chance(faults.statement_kill):
            self._die("after a commit")
        if world.chance(faults.unknown):
            world.say(process.name, "a commit is unknown")
            raise lost("SQLITE_IOERR")
