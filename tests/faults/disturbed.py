"""Runs the `sweeper` command and kills its own process at a named point. For the fault tests.

    python disturbed.py POINT launch SPEC --storage URL ...

Points wrap methods from outside: the product itself has no hooks. `never` is the plain command.
A launch ends without its answer, unless the variable WITH_ANSWER is set.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
from collections.abc import Callable
from itertools import count
from typing import Any


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def later(seconds: float) -> None:
    threading.Timer(seconds, die).start()


def wrap(owner: type, name: str, *, before: Callable[..., Any] | None = None,
         after: Callable[..., Any] | None = None) -> None:  # fmt: skip
    """Calls `before` and `after` around a method, with its arguments."""
    inner = getattr(owner, name)

    def outer(self: Any, *args: Any, **kwargs: Any) -> Any:
        if before is not None:
            before(self, *args, **kwargs)
        result = inner(self, *args, **kwargs)
        if after is not None:
            after(self, *args, **kwargs)
        return result

    setattr(owner, name, outer)


def ends_something(reports: Any) -> bool:
    return any(report.end is not None for report in reports)


def before_first_run() -> None:
    from sweeper.store.store import Store

    wrap(Store, "begin", before=lambda *a, **k: die())


def after_dispatch() -> None:
    from sweeper.engine.conductor import Conductor

    wrap(Conductor, "message", before=lambda *a, **k: die())


def between_evaluations() -> None:
    """After round 7, which ends without an evaluation; all before is recorded."""
    from sweeper.engine.conductor import Conductor

    def check(conductor: Any, worker: Any, message: Any) -> None:
        if message.reached.round == 7:
            conductor._recorder.flush()
            die()

    wrap(Conductor, "message", after=check)


def before_commit() -> None:
    from sweeper.store.store import Store

    def check(store: Any, lease: Any, reports: Any, **_: Any) -> None:
        if ends_something(reports):
            die()

    wrap(Store, "record", before=check)


def inside_commit() -> None:
    from sqlalchemy import event

    from sweeper.store.store import Store

    def check(store: Any, lease: Any, reports: Any, **_: Any) -> None:
        if ends_something(reports):
            # Called when everything is written and COMMIT is about to be sent.
            event.listen(store.database.engine, "commit", lambda connection: die())

    wrap(Store, "record", before=check)


def after_commit() -> None:
    from sweeper.store.store import Store

    def check(store: Any, lease: Any, reports: Any, **_: Any) -> None:
        if ends_something(reports):
            die()

    wrap(Store, "record", after=check)


def after_decision() -> None:
    from sweeper.store.store import Store

    wrap(Store, "add_stage", after=lambda *a, **k: die())


def writing_report() -> None:
    from pathlib import Path

    wrap(Path, "replace", before=lambda *a, **k: die())


def patient_for_ever() -> None:
    """Does not die: waits for the database as long as it is away."""
    from sweeper.store import database

    patiently = database.patiently
    database.patiently = lambda work, **more: patiently(work, **{**more, "patience": 1e6})


def patient_for_a_moment() -> None:
    """Does not die: gives a database up that fails for longer than a second."""
    from sweeper.store import database

    patiently = database.patiently
    database.patiently = lambda work, **more: patiently(work, **{**more, "patience": 1.0})


def never_answered() -> None:
    """Does not die: waits for the database, and for each of its answers, for ever."""
    from sweeper.store import lease, store

    store.LIMIT_SECONDS = lease.BEAT = 1e6
    patient_for_ever()


def as_ray_ends() -> None:
    """Does not die: is asked to end while it ends Ray's processes."""
    from ray._private.node import Node

    wrap(Node, "kill_all_processes", before=lambda *a, **k: os.kill(os.getpid(), signal.SIGTERM))


def at_random(seed: str) -> None:
    """Some time after a commit, and before the tenth that follows it; later with each kill.

    An undisturbed launch commits more than 50 times.
    """
    from sqlalchemy import Engine, event

    kill = int(seed.rpartition(".")[2])
    draw = random.Random(seed)
    at, seconds = draw.randint(1, 25 * (1 + kill)), draw.uniform(0.0, 2.0)
    commits = count(1)

    def commit(connection: Any) -> None:
        number = next(commits)
        if number == at:
            later(seconds)
        if number == at + 10:
            die()

    event.listen(Engine, "commit", commit)


POINTS: dict[str, Callable[[], None]] = {
    "never": lambda: None,
    "before the first run": before_first_run,
    "between dispatch and first report": after_dispatch,
    "between result and commit": before_commit,
    "inside the commit": inside_commit,
    "after the commit, before the mirror": after_commit,
    "after a decision, before what follows": after_decision,
    "between two evaluations": between_evaluations,
    "while the report is written": writing_report,
    "a signal as Ray ends": as_ray_ends,
    "with patience for ever": patient_for_ever,
    "with little patience": patient_for_a_moment,
    "with answers awaited for ever": never_answered,
}


def without_answer() -> None:
    """Leaves out the answer at the end of a launch: its statistics take two seconds to load."""
    from sweeper.engine import driver

    driver._write_note = lambda session: ()


def main() -> None:
    point, *arguments = sys.argv[1:]
    if arguments[0] == "launch" and "WITH_ANSWER" not in os.environ:
        without_answer()
    if point.startswith("seed "):
        at_random(point)
    else:
        POINTS[point]()
    sys.argv = ["sweeper", *arguments]
    from sweeper.cli import main as sweeper

    sweeper()


if __name__ == "__main__":
    main()
