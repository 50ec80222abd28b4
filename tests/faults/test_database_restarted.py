"""PostgreSQL that goes away and comes back in the middle of a sweep."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import acting
import history
import pytest
from places import Place, eventually
from servers import NoServer, Server, postgresql_server

from sweeper.store import Store

pytestmark = pytest.mark.slow

SPEC = """
name: restarted
data: {dataset: digits}
train: {epochs: 6, evaluations: 6, batch_size: 32}
scientific:
  train.lr: [0.01, 0.1, 1.0]
replicates: 2
resources: {workers: 1, pack: 2}
"""
SECONDS = 0.25  # a round
AWAY = 6 * SECONDS  # long enough for a round to end meanwhile


@pytest.fixture
def server() -> Iterator[Server]:
    try:
        with postgresql_server() as one:
            yield one
    except NoServer as reason:
        pytest.skip(str(reason))


def test_29_a_restart_of_postgresql_loses_nothing(make_place, server) -> None:
    """Writes are tried again until the server is back; every round is recorded once."""
    place = make_place("place", SPEC, storage=server.make_database())
    plugin = acting.write(place.folder, seconds=SECONDS)
    process = place.start("--plugin", str(plugin))
    eventually(lambda: _rounds(place) >= 4, "no round was ever recorded", process=process)
    server.stop()
    time.sleep(AWAY)
    server.start()
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    attempts = history.check(place.storage, "restarted", rounds=6)
    assert all(a.number == 1 for a in attempts)


def test_9_two_signals_stop_also_while_the_database_is_away(make_place, server) -> None:
    """Who asks twice does not wait for a server; the next launch does what is missing, once."""
    place = make_place("away", SPEC.replace("name: restarted", "name: away"),
                       storage=server.make_database())  # fmt: skip
    plugin = acting.write(place.folder, seconds=SECONDS)
    process = place.start("--plugin", str(plugin))
    eventually(lambda: _rounds(place) >= 2, "no round was ever recorded", process=process)
    server.stop()
    time.sleep(AWAY)  # a round ends, and the driver waits for the server
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert time.monotonic() - began < 5, output
    assert process.returncode == 130, output
    place.assert_no_process_left()
    server.start()
    acting.write(place.folder)
    code, output = place.run("--plugin", str(plugin))
    assert code == 0, output
    history.check(place.storage, "away", rounds=6)


def _rounds(place: Place) -> int:
    with Store.open(place.storage, create=True) as store:
        sweeps = store.sweeps()
        if not sweeps:
            return 0
        return sum(1 for _ in store.observations(sweeps[0].id, last_only=False))
