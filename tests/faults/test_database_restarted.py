"""PostgreSQL that goes away and comes back in the middle of a sweep."""

from __future__ import annotations

import signal
import time

import acting
import history
import pytest
from patience import MOMENT, eventually
from places import Place, ended

from sweeper.store import Store

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
PATIENT = "with patience for ever"


def test_29_a_restart_of_postgresql_loses_nothing(make_place, server) -> None:
    """Writes are tried again until the server is back; every round is recorded once."""
    place = make_place("place", SPEC, storage=server.make_database())
    plugin = acting.write(place.folder, seconds=SECONDS)
    process = place.start("--plugin", str(plugin), point=PATIENT)
    eventually(lambda: _rounds(place) >= 4, "no round was ever recorded", process=process)
    server.stop()
    time.sleep(MOMENT)
    server.start()
    code, output = ended(process)
    assert code == 0, output
    attempts = history.check(place.storage, "restarted", rounds=6)
    assert all(a.number == 1 for a in attempts)


@pytest.mark.soak
def test_9_two_signals_stop_also_while_the_database_is_away(make_place, server) -> None:
    """Who asks twice does not wait for a server; the next launch does what is missing, once."""
    place = make_place("away", SPEC.replace("name: restarted", "name: away"),
                       storage=server.make_database())  # fmt: skip
    plugin = acting.write(place.folder, seconds=SECONDS)
    process = place.start("--plugin", str(plugin), point=PATIENT)
    eventually(lambda: _rounds(place) >= 2, "no round was ever recorded", process=process)
    server.stop()
    time.sleep(MOMENT)
    for number in (signal.SIGINT, signal.SIGTERM):
        process.send_signal(number)
    code, output = ended(process)
    assert code == 130, output
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
