"""Ctrl-C and SIGTERM: once ends the round and the driver, twice ends the driver."""

from __future__ import annotations

import signal
import subprocess
import time

import acting
import history
import pytest
from places import Place, eventually

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


def launch(place: Place):
    return place.start("--plugin", str(place.folder / "acting_plugin.py"))


def rounds_recorded(place: Place) -> int:
    try:
        with Store.open(place.storage, create=False) as store:
            [sweep] = store.sweeps()
            return sum(1 for _ in store.observations(sweep.id, last_only=False))
    except Exception:  # noqa: BLE001  the database may be half made
        return 0


def wait_for_rounds(place: Place, process: subprocess.Popen[str]) -> None:
    eventually(lambda: rounds_recorded(place) >= 2, "no round recorded", process=process)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl_c", "sigterm"])
def test_8_one_signal_finishes_the_round(acted, number) -> None:
    """The round is finished and kept, exit 130, and the command that goes on is printed."""
    process = launch(acted)
    wait_for_rounds(acted, process)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "Go on with: sweeper launch" in " ".join(output.split())
    history.check_nobody_runs(acted.storage, "signals")
    acted.assert_no_process_left()
    again = launch(acted)
    output, _ = again.communicate(timeout=60)
    assert again.returncode == 0, output
    attempts = history.check(acted.storage, "signals", rounds=5)
    assert {a.ending for a in attempts} == {Ending.CANCELLED, Ending.COMPLETE}
    assert any(a.from_epoch > 0 for a in attempts), "nothing went on from a checkpoint"


def test_9_two_signals_stop_within_five_seconds(acted) -> None:
    """Whoever insists need not wait for the round, and still nothing is left RUNNING."""
    acting.write(acted.folder, seconds=20.0)
    process = launch(acted)
    with_attempt = lambda: running(acted)  # noqa: E731
    eventually(with_attempt, "nothing ever ran", process=process)
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert time.monotonic() - began < 5
    assert process.returncode == 130, output
    history.check_nobody_runs(acted.storage, "signals")
    acted.assert_no_process_left()


def running(place: Place) -> bool:
    try:
        with Store.open(place.storage, create=False) as store:
            [sweep] = store.sweeps()
            return store.counts(sweep.id)[RunState.RUNNING] > 0
    except Exception:  # noqa: BLE001  the database may be half made
        return False
