"""Ctrl-C and SIGTERM: once ends the round and the driver, twice ends the driver."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator

import acting
import history
import pytest
from places import PATIENCE, Place, eventually, rounds_recorded

from sweeper.states import Ending, RunState
from sweeper.store import Store

pytestmark = pytest.mark.slow

SPEC = """
name: signals
data: {dataset: digits}
train: {epochs: 5, batch_size: 32}
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


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The database of the same sweep, to which no signal was sent."""
    place = Place(tmp_path_factory.mktemp("untouched"), SPEC)
    plugin = acting.write(place.folder)
    try:
        code, output = place.run("--plugin", str(plugin))
        assert code == 0, output
        yield place.storage
    finally:
        place.close()


def launch(place: Place):
    return place.start("--plugin", str(place.folder / "acting_plugin.py"))


def wait_for_rounds(place: Place, process: subprocess.Popen[str]) -> None:
    eventually(lambda: rounds_recorded(place) >= 2, "no round recorded", process=process)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl_c", "sigterm"])
def test_8_one_signal_finishes_the_round(acted, untouched, number) -> None:
    """The round is finished and kept, exit 130, and the command that goes on is printed."""
    process = launch(acted)
    wait_for_rounds(acted, process)
    process.send_signal(number)
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, output
    assert "Go on with: sweeper launch" in " ".join(output.split())
    history.check_nobody_runs(acted.storage, "signals")
    acted.assert_no_process_left()
    again = launch(acted)
    output, _ = again.communicate(timeout=PATIENCE)
    assert again.returncode == 0, output
    attempts = history.check(acted.storage, "signals", rounds=5, like=untouched)
    assert {a.ending for a in attempts} == {Ending.CANCELLED, Ending.COMPLETE}
    assert any(a.from_epoch > 0 for a in attempts), "nothing went on from a checkpoint"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl_c", "sigterm"])
def test_a_signal_to_the_whole_group_leaves_ray_to_the_driver(acted, untouched, number) -> None:
    """A terminal or `timeout` signals the group: Ray stays, and the driver ends as for itself."""
    process = launch(acted)
    wait_for_rounds(acted, process)
    before = rounds_recorded(acted)
    rays = [one for one in acted.ours() if one.pid != process.pid]
    assert rays
    assert all(os.getpgid(one.pid) != process.pid for one in rays)
    os.killpg(process.pid, number)
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, output
    assert "Go on with: sweeper launch" in " ".join(output.split())
    assert rounds_recorded(acted) > before, "the round was not finished"
    history.check_nobody_runs(acted.storage, "signals")
    acted.assert_no_process_left()
    again = launch(acted)
    output, _ = again.communicate(timeout=PATIENCE)
    assert again.returncode == 0, output
    attempts = history.check(acted.storage, "signals", rounds=5, like=untouched)
    assert {a.ending for a in attempts} == {Ending.CANCELLED, Ending.COMPLETE}
    assert any(a.from_epoch > 0 for a in attempts), "nothing went on from a checkpoint"


def test_9_two_signals_stop_within_five_seconds(acted, untouched) -> None:
    """Whoever insists need not wait for the round, and still nothing is left RUNNING."""
    acting.write(acted.folder, seconds=20.0)
    process = launch(acted)
    with_attempt = lambda: running(acted)  # noqa: E731
    eventually(with_attempt, "nothing ever ran", process=process)
    time.sleep(2)
    interrupt_twice(process)
    history.check_nobody_runs(acted.storage, "signals")
    acted.assert_no_process_left()
    acting.write(acted.folder)
    again = launch(acted)
    output, _ = again.communicate(timeout=PATIENCE)
    assert again.returncode == 0, output
    history.check(acted.storage, "signals", rounds=5, like=untouched)


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
