"""How signals, errors inside Tune and a database that is away end a launch."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, repeat

import pytest
from patience import FOR_EVER, HANG, eventually
from sqlalchemy.exc import OperationalError

from sweeper.engine import driver
from sweeper.engine.heartbeat import Heartbeat
from sweeper.engine.interrupts import Interrupts, StopNow
from sweeper.errors import DatabaseMoved, LeaseLost, SweeperError
from sweeper.store import dialects
from sweeper.store.database import patiently


@contextmanager
def signalled() -> Iterator[None]:
    """SIGINT to this process while it waits for something."""
    timer = threading.Timer(0.05, os.kill, [os.getpid(), signal.SIGINT])
    timer.start()
    yield
    timer.join()


def test_signals_are_counted_and_cut_nothing() -> None:
    """A transaction that a signal cut in two would leave a state that nobody meant."""
    with Interrupts() as interrupts:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.raise_signal(number)
        assert interrupts.count == 2


def test_a_signal_ends_work_that_leaves_nothing_half_done() -> None:
    """Data may take minutes to load: nobody should wait for them to stop."""
    with Interrupts() as interrupts, signalled():
        with pytest.raises(StopNow), interrupts.breaking():
            time.sleep(FOR_EVER)
        with pytest.raises(StopNow), interrupts.breaking():
            pytest.fail("begun after the signal")


def test_a_third_signal_ends_the_process_whatever_it_does() -> None:
    """Two have not been enough (fault 10): the next launch puts right what is left open."""
    code = (
        "import os, signal, time\n"
        "from sweeper.engine.interrupts import Interrupts\n"
        "with Interrupts():\n"
        "    for _ in range(3):\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "    time.sleep(60)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], timeout=HANG, check=False)
    assert ended.returncode == -signal.SIGINT


def test_a_signal_answers_the_question(monkeypatch) -> None:
    """At the prompt nothing runs yet: one signal is enough."""
    reading, writing = os.pipe()
    with os.fdopen(reading) as silent, os.fdopen(writing, "w"):
        monkeypatch.setattr(sys, "stdin", silent)
        with Interrupts() as interrupts, signalled(), pytest.raises(StopNow):
            interrupts.ask("Start? [y/N] ")


def test_an_answer_is_taken(monkeypatch) -> None:
    """What is typed is what is answered."""
    reading, writing = os.pipe()
    with os.fdopen(reading) as typed, os.fdopen(writing, "w") as keyboard:
        monkeypatch.setattr(sys, "stdin", typed)
        keyboard.write("y\n")
        keyboard.flush()
        assert Interrupts().ask("Start? [y/N] ") == "y\n"


def test_patience_with_a_database_ends_when_asked() -> None:
    """Asked twice to stop, the driver does not wait a minute for a server to come back."""
    gone = OperationalError("SELECT 1", {}, Exception("gone"), connection_invalidated=True)

    def work() -> None:
        raise gone

    answers = chain([False] * 5, repeat(True))
    address = dialects.parse("sqlite:///a.db")
    with pytest.raises(SweeperError):
        patiently(work, address=address, patience=FOR_EVER, give_up=lambda: next(answers))


def test_a_reason_is_kept_in_a_line() -> None:
    """A traceback names folders of this machine, and the reason is shown in a table."""
    error = RuntimeError('Traceback (most recent call last):\n  File "/home/me/x.py"\n' + "x" * 999)
    assert driver.brief(error) == "RuntimeError: Traceback (most recent call last):"


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("postgresql://me:secret@host/db", "postgresql://me:***@host/db"),
        ("--storage=postgresql://me:secret@host/db", "--storage=postgresql://me:***@host/db"),
        ("postgresql://host/db?password=secret", "postgresql://host/db?password=***"),
        (
            "postgresql+psycopg://me@host/db?sslmode=require&password=secret",
            "postgresql+psycopg://me@host/db?password=***&sslmode=require",
        ),
        ("postgresql://me:p%40ss%3Aword@host/db", "postgresql://me:***@host/db"),
        ("sqlite:///~/a.db", "sqlite:///~/a.db"),
        ("--set", "--set"),
        ("train.lr=0.1", "train.lr=0.1"),
        ("ray://head:10001", "ray://head:10001"),
    ],
)
def test_the_command_to_go_on_with_tells_no_password(word, shown) -> None:
    """It is printed, and so is kept in logs."""
    assert driver._without_password(word) == shown


def test_a_beat_that_fails_is_said_by_the_thread_that_beats() -> None:
    """The lease may be lost by it, and the driver's loop may hang on the same database."""
    back, said = threading.Event(), list[str]()

    def beat() -> None:
        if not back.is_set():
            raise OSError("no route to host")

    with Heartbeat(beat, say=said.append, seconds=0.01) as heartbeat:
        eventually(lambda: said, "the trouble is never said")
        back.set()
        eventually(lambda: len(said) > 1, "the end of the trouble is never said")
        heartbeat.check()
    assert said == [
        "the lease could not be renewed, trying again: OSError: no route to host",
        "the lease is renewed again",
    ]


@pytest.mark.parametrize("error", [LeaseLost("another"), DatabaseMoved("a.db: gone")])
def test_a_lease_that_is_gone_stops_the_driver(error) -> None:
    """Another driver has it, or the file that it stands in is no longer there."""

    def beat() -> None:
        raise error

    with Heartbeat(beat, seconds=0.01) as heartbeat:
        heartbeat._thread.join(timeout=HANG)
        with pytest.raises(type(error)):
            heartbeat.check()


LAST = """
import os, signal, sys, time
from sweeper.engine.exits import LastResort
from sweeper.engine.interrupts import Interrupts
with (
    Interrupts() as interrupts,
    LastResort(interrupts, say=print, command="sweeper launch a.yaml") as last,
):
    last.record = {record}
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGINT)
    while True:
        time.sleep({for_ever})
"""


@pytest.mark.parametrize(
    "record",
    ["lambda: print('recorded')", f"lambda: time.sleep({FOR_EVER})"],
    ids=["does", "hangs"],
)
def test_9_a_second_signal_ends_a_driver_that_hears_nothing(record: str) -> None:
    """What can be recorded is recorded; the message always has the command that continues."""
    code = LAST.format(record=record, for_ever=FOR_EVER)
    ended = subprocess.run(
        [sys.executable, "-c", code], timeout=HANG, check=False, capture_output=True, text=True
    )
    assert ended.returncode == 130, ended.stderr
    *before, last = ended.stdout.splitlines()
    assert before == (["recorded"] if "print" in record else [])
    assert last == "interrupted: stopped by a signal. Continue with: sweeper launch a.yaml"
