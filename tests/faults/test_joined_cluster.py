"""Faults of a joined cluster: nodes that come late, die, differ or lack the data; its head too."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import acting
import history
import pytest
from clusters import Cluster, launch
from patience import eventually
from places import Place, ended, rounds_recorded

from sweeper.states import Ending, RunState
from sweeper.store import Store
from sweeper.store.records import Attempt

SPEC = """
name: joined
data: {dataset: digits, max_per_class: 20}
train: {depth: 8, width: 0.25, epochs: 4, batch_size: 32, evaluations: 4}
scientific:
  train.lr: [0.01, 0.1]
replicates: 2
resources: {pack: 2}
limits: {checkpoint_seconds: 0.01}
"""


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster() as made:
        yield made


@pytest.fixture
def joined(make_place: Callable[..., Place], cluster: Cluster) -> Place:
    """A place whose drivers may join the cluster."""
    place = make_place("joined", SPEC)
    place.environment |= cluster.environment
    return place


def attempts(place: Place) -> list[Attempt]:
    with Store.open(place.storage, create=False) as store:
        [sweep] = store.sweeps()
        return store.attempts(sweep.id)


def running(place: Place) -> int:
    """Runs that the database says are running; none while there is no database."""
    try:
        with Store.open(place.storage, create=False) as store:
            [sweep] = store.sweeps()
            return store.counts(sweep.id)[RunState.RUNNING]
    except Exception:  # noqa: BLE001  the database may be half made
        return 0


def read(process: subprocess.Popen[str], *wanted: str) -> str:
    """Returns what a driver prints until it has printed all these texts."""
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if all(one in said for one in wanted):
            return said
    raise AssertionError(f"never said: {wanted}\n{said}")


def test_16_a_node_that_dies_costs_its_runs_nothing(joined, cluster) -> None:
    """A10, A7, A8: waits for a node, loses it, waits again; its runs wait, uncounted, meanwhile.

    The head offers no processor; who joins late is used.
    """
    hold = acting.Hold(joined.folder, rounds=2)
    process = launch(joined, cluster, "--plugin", str(hold.plugin))
    read(process, "waiting for a worker (1 CPU): the cluster has 1 node with room for 0")
    first = cluster.join()
    eventually(hold.holds, "the third round was never begun", process=process)
    assert running(joined) == 2
    first.die()
    eventually(lambda: not running(joined), "runs of a dead node still run", process=process)
    hold.let_go()
    cluster.join(cpus=2)
    code, output = ended(process)
    assert code == 0, output
    tried = history.check(joined.storage, "joined", rounds=4)
    lost = [a for a in tried if a.ending is not Ending.COMPLETE]
    assert {a.ending for a in lost} == {Ending.NODE_LOST}
    assert len(lost) == 2
    assert all(a.node for a in lost)


@pytest.mark.soak
def test_49_a_node_that_is_told_to_go_costs_its_runs_nothing(joined, cluster) -> None:
    """SIGTERM to its Ray, as when a node is taken back: its runs go on elsewhere."""
    hold = acting.Hold(joined.folder, rounds=2)
    first = cluster.join()
    process = launch(joined, cluster, "--plugin", str(hold.plugin))
    eventually(hold.holds, "the third round was never begun", process=process)
    [raylet] = [one for one in first.processes() if one.name() == "raylet"]
    raylet.terminate()
    eventually(lambda: not running(joined), "runs of a node that went run", process=process)
    hold.let_go()
    cluster.join(cpus=2)
    code, output = ended(process)
    assert code == 0, output
    tried = history.check(joined.storage, "joined", rounds=4)
    lost = [a.ending for a in tried if a.ending is not Ending.COMPLETE]
    assert len(lost) == 2
    assert set(lost) <= {Ending.NODE_LOST, Ending.PREEMPTED}


@pytest.mark.soak
def test_17_a_head_that_dies_ends_the_launch_within_seconds(joined, cluster) -> None:
    """A6: it records what there is, gives the lease back and prints the command that goes on."""
    hold = acting.Hold(joined.folder, rounds=2)
    cluster.join()
    process = launch(joined, cluster, "--plugin", str(hold.plugin))
    eventually(hold.holds, "the third round was never begun", process=process)
    cluster.head.die()
    code, output = ended(process)
    assert code == 1, output
    assert "Ray has ended by itself" in output
    assert "Continue with: sweeper launch" in output
    history.check_nobody_runs(joined.storage, "joined")


@pytest.mark.soak
def test_15_a_worker_that_is_stopped_is_replaced(joined, cluster) -> None:
    """A9: no sign of life for `limits.silent_seconds` is reported; its runs lose nothing."""
    joined.write_spec(SPEC.replace("limits: {", "limits: {silent_seconds: 5, "))
    hold = acting.Hold(joined.folder, rounds=2)
    node = cluster.join()
    process = launch(joined, cluster, "--plugin", str(hold.plugin))
    eventually(hold.holds, "the third round was never begun", process=process)
    [worker] = node.workers()
    worker.send_signal(signal.SIGSTOP)
    read(process, "has given no sign of life for")
    hold.let_go()
    code, output = ended(process)
    assert code == 0, output
    tried = history.check(joined.storage, "joined", rounds=4)
    assert [a.ending for a in tried if a.ending is not Ending.COMPLETE] == [Ending.SILENT] * 2


def another_trainer(folder: Path) -> dict[str, str]:
    """Variables of a node whose trainer is of an older version."""
    (folder / "sitecustomize.py").write_text("import trainers\ntrainers.VERSION = '0'\n")
    return {"PYTHONPATH": f"{folder}:{Path(__file__).parents[2]}"}


def without(folder: Path) -> str:
    """What takes a folder from a node."""
    if subprocess.run(["unshare", "--mount", "true"], check=False).returncode:
        pytest.skip("needs to mount a file system")
    return f"mount -t tmpfs none {folder}"


def test_43_44_nodes_that_cannot_do_the_work_are_named_and_not_used(
    joined, cluster, tmp_path
) -> None:
    """A2, A3: another version of the trainer, and no data; what they cost is not counted."""
    import numpy as np

    data, rng = tmp_path / "data", np.random.default_rng(0)
    data.mkdir()
    images = rng.integers(0, 256, (80, 8, 8), dtype=np.uint8)
    np.savez(data / "some.npz", images=images, labels=np.arange(80) % 4)
    joined.write_spec(
        SPEC.replace(
            "{dataset: digits, max_per_class: 20}", f"{{dataset: npz, path: {data}/some.npz}}"
        ).replace("limits: {", "limits: {attempts: 1, ")
    )
    hold = acting.Hold(joined.folder, rounds=1)
    good = cluster.join()
    cluster.join(more=another_trainer(tmp_path))
    cluster.join(shell=without(data))
    process = launch(joined, cluster, "--plugin", str(hold.plugin))
    said = read(process, "trainer 0 instead of", "is no longer used: the data cannot be read")
    hold.let_go()
    code, output = ended(process)
    assert code == 0, said + output
    assert rounds_recorded(joined) == 16
    tried = attempts(joined)
    assert {a.ending for a in tried} == {Ending.COMPLETE, Ending.NODE_UNFIT}
    unfit = [a for a in tried if a.ending is Ending.NODE_UNFIT]
    assert len({a.node for a in unfit}) == 1
    assert all("the data cannot be read" in a.error for a in unfit)
    assert good.process.poll() is None
