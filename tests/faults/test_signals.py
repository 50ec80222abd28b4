"""Ctrl-C and SIGTERM: once ends the round and the driver, twice ends the driver."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import acting
import history
import pytest
from places import PATIENCE, Place, eventually, rounds_recorded

from sweeper.states import Ending, RunState
from sweeper.store import Store
from sweeper.store.records import Attempt

pytestmark = pytest.mark.slow

SPEC = """
name: signals
data: {dataset: digits}
train: {epochs: 40, evaluations: 40, batch_size: 32}
scientific:
  train.lr: [0.01, 0.1]
replicates: 2
resources: {workers: 1, pack: 2}
"""
SECONDS = 0.5  # a round


@pytest.fixture
def acted(place: Place) -> Place:
    """A place whose runs take some seconds and have nothing to compute."""
    place.write_spec(SPEC)
    acting.write(place.folder, seconds=SECONDS)
    return place


def launch(place: Place):
    return place.start("--plugin", str(place.folder / "acting_plugin.py"))


def wait_for_rounds(place: Place, process: subprocess.Popen[str], rounds: int) -> None:
    eventually(lambda: rounds_recorded(place) >= rounds, "no round recorded", process=process)


@pytest.mark.parametrize(
    ("first", "second"),
    [(signal.SIGINT, signal.SIGTERM), (signal.SIGTERM, signal.SIGINT)],
    ids=["ctrl_c first", "sigterm first"],
)
def test_8_one_signal_finishes_the_round(acted, first, second) -> None:
    """The round is finished and kept, exit 130, and the command that goes on is printed.

    A terminal or `timeout` signals the whole group, as here the second time: Ray stays, and the
    driver ends as for itself.
    """
    process = launch(acted)
    wait_for_rounds(acted, process, 2)
    process.send_signal(first)
    ends_in_order(acted, process)
    again = launch(acted)
    before = rounds_recorded(acted)
    wait_for_rounds(acted, again, before + 1)
    before = rounds_recorded(acted)
    rays = [one for one in acted.ours() if one.pid != again.pid]
    assert rays
    assert all(os.getpgid(one.pid) != again.pid for one in rays)
    os.killpg(again.pid, second)
    ends_in_order(acted, again)
    assert rounds_recorded(acted) > before, "the round was not finished"
    tried = finishes(acted)
    assert {a.ending for a in tried} == {Ending.CANCELLED, Ending.COMPLETE}
    begun = {a.lease_epoch for a in tried if a.from_epoch > 0}
    assert len(begun) == 2, "a launch did not go on from its checkpoint"


def ends_in_order(place: Place, process: subprocess.Popen[str]) -> None:
    """A driver that was signalled once."""
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, output
    assert "Go on with: sweeper launch" in " ".join(output.split())
    history.check_nobody_runs(place.storage, "signals")
    place.assert_no_process_left()


def finishes(place: Place) -> list[Attempt]:
    """The attempts, once another launch has done what is missing."""
    acting.write(place.folder)
    process = launch(place)
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output
    acting.check_numbers(place.storage, "signals", runs=4)
    return history.check(place.storage, "signals", rounds=40)


def test_9_two_signals_stop_within_five_seconds(acted) -> None:
    """Whoever insists need not wait for the round, and still nothing is left RUNNING."""
    acting.write(acted.folder, seconds=20.0)
    process = launch(acted)
    with_attempt = lambda: running(acted)  # noqa: E731
    eventually(with_attempt, "nothing ever ran", process=process)
    time.sleep(2)
    interrupt_twice(process)
    history.check_nobody_runs(acted.storage, "signals")
    acted.assert_no_process_left()
    finishes(acted)


def interrupt_twice(process: subprocess.Popen[str]) -> str:
    """Its output; it must end within five seconds of the last signal, and say how to go on."""
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    try:
        process.wait(timeout=1)  # where nothing is begun yet, one signal is enough
    except subprocess.TimeoutExpired:
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=PATIENCE)
    assert time.monotonic() - began < 5, output
    # Where one was enough, the other may meet a process that only clears up: to a shell 130 too.
    assert process.returncode in (130, -signal.SIGINT), output
    assert "Go on with: sweeper launch" in " ".join(output.split())
    return output


@pytest.mark.parametrize(
    ("where", "hangs"),
    [
        ("the probe", "Acting.time_steps = hang"),
        ("reading the data", "worker.inspect = hang"),
    ],
)
def test_9_two_signals_stop_whatever_hangs(place, where, hangs) -> None:
    """Neither a probe that never answers nor data that take for ever keep the driver."""
    place.write_spec(SPEC.replace("pack: 2", "pack: auto"))
    plugin = acting.write(place.folder)
    mark = place.folder / "hangs"
    body = f"def hang(*_):\n    Path({str(mark)!r}).touch()\n    time.sleep(600)\n"
    plugin.write_text(f"{plugin.read_text()}\n{body}\n{hangs}\n")
    process = launch(place)
    eventually(mark.exists, f"{where} was never reached", process=process)
    interrupt_twice(process)
    place.assert_no_process_left()


def running(place: Place) -> bool:
    try:
        with Store.open(place.storage, create=False) as store:
            [sweep] = store.sweeps()
            return store.counts(sweep.id)[RunState.RUNNING] > 0
    except Exception:  # noqa: BLE001  the database may be half made
        return False
