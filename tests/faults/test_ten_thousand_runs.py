"""The whole promise at once: ten thousand runs, nodes that die, a server that restarts."""

from __future__ import annotations

import os
import subprocess
import threading
from collections import Counter

import history
import psutil
import pytest
from clusters import Cluster, Node, launch
from patience import eventually
from places import ROOT, Place
from servers import Server

from sweeper.states import Ending, RunState
from sweeper.store import Store

pytestmark = pytest.mark.soak

RUNS = int(os.environ.get("SOAK_RUNS", "10000"))
BETWEEN_DEATHS = 1000  # runs: about a minute's on two cores
BETWEEN_RESTARTS = 5000
GROWTH = 1.25  # of the driver's memory, over the last four fifths of the runs
SPEC = f"""
name: many
data: {{dataset: digits}}
train: {{epochs: 1, batch_size: 32}}
scientific:
  train.lr: {{low: 0.001, high: 1.0, log: true, levels: {RUNS // 10}}}
  train.weight_decay: [0.0, 0.0005]
replicates: 5
resources: {{pack: 1}}
"""


def test_48_ten_thousand_runs_survive_nodes_and_servers_that_die(make_place, server) -> None:
    """None is lost, none is recorded twice, and the driver's memory stays flat."""
    with Cluster() as cluster:
        place = make_place("many", SPEC, storage=server.make_database())
        place.environment |= cluster.environment
        nodes = [cluster.join(), cluster.join()]
        process = launch(place, cluster, "--plugin", str(ROOT / "benchmarks" / "nothing.py"))
        said: list[str] = []
        reading = threading.Thread(target=_read, args=(process, said))
        reading.start()
        memory = _disturb(place, cluster, nodes, server, process)
        code = process.wait()
        reading.join()
        assert code == 0, said[-5:]
    attempts = history.check(place.storage, "many", rounds=1)
    endings = Counter(a.ending for a in attempts)
    assert endings[Ending.COMPLETE] == RUNS
    assert set(endings) <= {Ending.COMPLETE, Ending.NODE_LOST}
    assert memory[-1] < GROWTH * memory[len(memory) // 5], memory


def _read(process: subprocess.Popen[str], said: list[str]) -> None:
    assert process.stdout is not None
    said.extend(process.stdout)


def _disturb(
    place: Place,
    cluster: Cluster,
    nodes: list[Node],
    server: Server,
    process: subprocess.Popen[str],
) -> list[int]:
    """Kills a node after so many runs, and another joins; the driver's memory each time."""
    memory = []
    for target in range(BETWEEN_DEATHS // 2, RUNS, BETWEEN_DEATHS):
        eventually(
            lambda target=target: _complete(place) >= target,
            f"{target} runs are never complete",
            process=process,
        )
        memory.append(psutil.Process(process.pid).memory_info().rss)
        nodes.pop(0).die()
        nodes.append(cluster.join())
        if target % BETWEEN_RESTARTS < BETWEEN_DEATHS:
            server.stop()
            server.start()
    return memory


def _complete(place: Place) -> int:
    with Store.open(place.storage, create=True) as store:
        sweeps = store.sweeps()
        return store.counts(sweeps[0].id)[RunState.COMPLETE] if sweeps else 0
