"""A driver that the cluster starts itself: `ray job submit`, as docs/cluster.md describes."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from importlib.util import find_spec

import acting
import history
import pytest
from clusters import Cluster, free_port
from patience import HANG, eventually
from places import ROOT, SCRIPT, Place, rounds_recorded

from sweeper.states import Ending
from sweeper.store import Store

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(
        find_spec("aiohttp_cors") is None,
        reason="needs ray[default], which has the server that takes submitted jobs",
    ),
]

SPEC = """
name: submitted
data: {dataset: digits}
train: {epochs: 20, evaluations: 20, batch_size: 32}
scientific:
  train.lr: [0.01, 0.1]
replicates: 2
resources: {workers: 1, pack: 2}
"""
WAIT = json.dumps({"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(int(HANG))}})


def test_a_submitted_launch_stops_and_continues_like_any_other(make_place) -> None:
    """`ray job stop` finishes the round; the same job submitted again does what is missing."""
    with Cluster(jobs=free_port()) as cluster:
        cluster.join()
        place = make_place("submitted", SPEC)
        acting.write(place.folder, seconds=0.5)
        first = _submit(place, cluster)
        eventually(lambda: rounds_recorded(place) >= 2, "no round is ever recorded")
        assert "stopped" in _job(cluster, "stop", first)
        assert "Continue with:" in _job(cluster, "logs", first)
        with Store.open(place.storage, create=False) as store:
            [sweep] = store.sweeps()
        assert (sweep.state, sweep.holder) == ("interrupted", None)
        second = _submit(place, cluster)
        assert "4 of 4 runs are complete" in _job(cluster, "logs", "--follow", second)
        assert "succeeded" in _job(cluster, "status", second)
    attempts = history.check(place.storage, "submitted", rounds=20)
    assert {a.ending for a in attempts} == {Ending.CANCELLED, Ending.COMPLETE}


def _submit(place: Place, cluster: Cluster) -> str:
    """The job of a launch; the database's address is in a file that only this user can read."""
    secret = place.folder / "sweeper.env"
    secret.touch(mode=0o600)
    secret.write_text(f"export SWEEPER_STORAGE={shlex.quote(place.storage)}\n")
    words = [sys.executable, str(SCRIPT), "never", "launch", str(place.folder / "spec.yaml")]
    words += ["--plugin", str(place.folder / "acting_plugin.py"), "--ray-address", "auto", "--yes"]
    script = f". {shlex.quote(str(secret))} && {shlex.join(words)}"
    options = ["--no-wait", "--runtime-env-json", WAIT]
    said = _job(cluster, "submit", *options, "--", "sh", "-c", script)
    return said.split("Job '", 1)[1].split("'", 1)[0]


def _job(cluster: Cluster, verb: str, *words: str) -> str:
    """What `ray job` writes."""
    address = f"--address=http://127.0.0.1:{cluster.jobs}"
    ran = subprocess.run(
        [sys.executable, "-m", "ray.scripts.scripts", "job", verb, address, *words],
        env={**os.environ, **cluster.environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=HANG,
    )
    return ran.stdout + ran.stderr
