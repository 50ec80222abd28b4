"""Ctrl-C and SIGTERM: once ends the round and the driver, twice ends the driver."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import acting
import history
import pytest
from patience import FOR_EVER, MOMENT, eventually
from places import Place, ended, rounds_recorded

from sweeper.states import Ending
from sweeper.store.records import Attempt

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


def launch(place: Place, *more: Path, point: str = "never") -> subprocess.Popen[str]:
    plugins = [place.folder / "acting_plugin.py", *more]
    return place.start(*(word for path in plugins for word in ("--plugin", str(path))), point=point)


def wait_for_rounds(place: Place, process: subprocess.Popen[str], rounds: int) -> None:
    eventually(lambda: rounds_recorded(place) >= rounds, "no round recorded", process=process)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(signal.SIGINT, signal.SIGTERM, id="ctrl_c first"),
        pytest.param(signal.SIGTERM, signal.SIGINT, id="sigterm first", marks=pytest.mark.soak),
    ],
)
def test_8_one_signal_finishes_the_round(acted, first, second) -> None:
    """The round is finished and kept, exit 130, and the command that goes on is printed.

    A terminal or `timeout` signals the whole group, as here the second time: Ray stays, and the
    driver ends as for itself. A signal after the last round, as Ray is ended, changes nothing.
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
    code, output = ended(process)
    assert code == 130, output
    assert "Continue with: sweeper launch" in " ".join(output.split())
    history.check_nobody_runs(place.storage, "signals")
    place.assert_no_process_left()


def finishes(place: Place) -> list[Attempt]:
    """The attempts, once another launch has done what is missing."""
    acting.write(place.folder)
    code, output = ended(launch(place, point="a signal as Ray ends"))
    assert code == 0, output
    acting.check_numbers(place.storage, "signals", runs=4)
    return history.check(place.storage, "signals", rounds=40)


def test_9_two_signals_stop_without_the_end_of_the_round(acted) -> None:
    """Whoever insists need not wait for a round, and still nothing is left RUNNING."""
    hold = acting.Hold(acted.folder, rounds=0)
    process = launch(acted, hold.plugin)
    eventually(hold.holds, "no round was ever begun", process=process)
    interrupt_twice(process)
    history.check_nobody_runs(acted.storage, "signals")
    acted.assert_no_process_left()
    finishes(acted)


def interrupt_twice(process: subprocess.Popen[str]) -> None:
    """It must end, though what it does never would, and say how to go on."""
    process.send_signal(signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=MOMENT)  # where nothing is begun yet, one signal is enough
    process.send_signal(signal.SIGTERM)  # two of a kind may reach a busy process as one
    code, output = ended(process)
    # Where one was enough, the other may meet a process that only clears up.
    assert code in (130, -signal.SIGTERM), output
    assert code != 130 or "Continue with: sweeper launch" in " ".join(output.split())


@pytest.mark.parametrize(
    ("where", "hangs"),
    [
        ("the probe", "Acting.time_steps = hang"),
        ("reading the data", "data_facts.inspect = hang"),
    ],
)
def test_9_two_signals_stop_whatever_hangs(place, where, hangs) -> None:
    """Neither a probe that never answers nor data that take for ever keep the driver."""
    place.write_spec(SPEC.replace("pack: 2", "pack: auto"))
    plugin = acting.write(place.folder)
    mark = place.folder / "hangs"
    body = f"def hang(*_):\n    Path({str(mark)!r}).touch()\n    time.sleep({FOR_EVER})\n"
    plugin.write_text(f"{plugin.read_text()}\n{body}\n{hangs}\n")
    process = launch(place)
    eventually(mark.exists, f"{where} was never reached", process=process)
    interrupt_twice(process)
    place.assert_no_process_left()
