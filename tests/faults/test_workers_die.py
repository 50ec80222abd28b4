"""Workers that are killed or kill themselves: runs are tried again, each with its own reason."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass

import acting
import history
import pytest
from patience import eventually
from places import SPEC, Place, ended

from sweeper.states import Ending, RunState
from sweeper.store import Store
from sweeper.store.records import Attempt, Run


def test_13_a_worker_killed_mid_epoch_goes_on_from_its_checkpoint(place, undisturbed) -> None:
    """SIGKILL to the worker ends its attempts as crashed; the next gives bitwise equal numbers.

    The whole pack dies with it (fault 23): each of its runs is tried again exactly once.
    """
    hold = acting.Hold(place.folder, rounds=2)
    process = place.start("--plugin", str(hold.plugin))
    eventually(hold.holds, "the third round was never begun", process=process)
    assert list(place.folder.glob("sweep.db.files/**/round-*")), "no checkpoint"
    [worker] = place.workers()
    worker.send_signal(signal.SIGKILL)
    hold.let_go()
    code, output = ended(process)
    assert code == 0, output
    tried = history.check(place.storage, "faults", rounds=3, like=f"sqlite:///{undisturbed}")
    again = [a for a in tried if a.number == 2]
    assert [a.ending for a in again] == [Ending.COMPLETE] * 2
    assert all(a.from_epoch > 0 for a in again), "the checkpoint was not used"
    first = [a for a in tried if a.run_id in {b.run_id for b in again} and a.number == 1]
    assert [a.ending for a in first] == [Ending.CRASHED] * 2
    assert all(a.error for a in first)
    assert not list(place.folder.glob("sweep.db.files/**/round-*")), "checkpoints were left"


@pytest.mark.soak
def test_23_a_pack_that_dies_is_tried_again_whole(place) -> None:
    """All K members of a pack go back to the queue, once each, and end complete."""
    place.write_spec(
        SPEC.replace("[16, 32, 64]", "[16, 64]")
        .replace("replicates: 2", "replicates: 4")
        .replace("pack: 2", "pack: 4")
    )
    acting.write(place.folder, faults={0.05: "os exit once"})
    code, output = place.run("--plugin", str(place.folder / "acting_plugin.py"))
    assert code == 0, output
    tried = history.check(place.storage, "faults", rounds=3)
    again = [a for a in tried if a.number > 1]
    assert [(a.number, a.ending) for a in again] == [(2, Ending.COMPLETE)] * 4
    assert len({a.run_id for a in again}) == 4
    assert sum(a.ending is Ending.CRASHED for a in tried) == 4


@pytest.mark.soak
def test_26_a_worker_that_hangs_is_ended_and_its_runs_tried_again(place) -> None:
    """A round that never ends ends the attempt as `timeout`; the next one has a fresh worker."""
    place.write_spec(SPEC.replace("limits: {", "limits: {hang_seconds: 10, "))
    part, hold = acting.write(place.folder), acting.Hold(place.folder, rounds=1)
    process = place.start("--plugin", str(part), "--plugin", str(hold.plugin))
    eventually(hold.holds, "the second round was never begun", process=process)
    eventually(lambda: hung(place), "no attempt timed out", process=process)
    hold.let_go()
    code, output = ended(process)
    assert code == 0, output
    history.check(place.storage, "faults", rounds=3)
    assert all("no progress for" in a.error for a in hung(place))


def hung(place: Place) -> list[Attempt]:
    """The attempts that were ended since they did not get on."""
    with Store.open(place.storage, create=False) as store:
        [sweep] = store.sweeps()
        return [a for a in store.attempts(sweep.id) if a.ending is Ending.TIMEOUT]


# Ray's words for a process that is gone without a word of its own.
DEAD = "The actor is dead because its worker process has died"
FAULTS = {
    0.01: "raise",
    0.02: "exit",
    0.03: "os exit",
    0.04: "segfault",
    0.05: "abort",
    0.06: "overflow",
    0.07: "diverge",
    0.08: "out of memory",
    0.09: "stack overflow",
}
FAULTY = f"""
name: faulty
data: {{dataset: digits}}
train: {{epochs: 3, batch_size: 32}}
scientific:
  train.lr: {[*FAULTS, 0.1]}
replicates: 1
resources: {{workers: 2, pack: 1}}
limits: {{attempts: 1}}
"""


@dataclass(frozen=True)
class Faulty:
    """A sweep of which every cell but one fails, each in its own way."""

    code: int
    output: str
    runs: dict[float, Run]
    attempts: dict[float, list[Attempt]]


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Faulty]:
    place = Place(tmp_path_factory.mktemp("faulty"), FAULTY)
    plugin = acting.write(place.folder, faults=FAULTS)
    try:
        code, output = place.run("--plugin", str(plugin))
        yield _read(place, code, output)
        place.assert_no_process_left()
    finally:
        place.close()


def _read(place: Place, code: int, output: str) -> Faulty:
    with Store.open(place.storage, create=False) as store:
        [sweep] = store.sweeps()
        of_cell = {c.id: c.factors["train.lr"] for c in store.cells(sweep.id)}
        runs = {of_cell[r.cell_id]: r for r in store.runs(sweep.id)}
        tried = {
            lr: [a for a in store.attempts(sweep.id) if a.run_id == r.id] for lr, r in runs.items()
        }
    return Faulty(code, output, runs, tried)


@pytest.mark.parametrize(
    ("fault", "ending", "said"),
    [
        ("raise", Ending.ERROR, "ValueError: the part demands it"),
        ("exit", Ending.CRASHED, "exit code 7"),
        ("os exit", Ending.CRASHED, DEAD),
        ("segfault", Ending.CRASHED, DEAD),
        ("abort", Ending.CRASHED, DEAD),
        ("stack overflow", Ending.CRASHED, DEAD),
        ("overflow", Ending.ERROR, "RecursionError: maximum recursion depth exceeded"),
        ("out of memory", Ending.OUT_OF_MEMORY, "CUDA out of memory"),
    ],
)
def test_25_ways_to_die_are_told_apart(faulty, fault, ending, said) -> None:
    """A cell that fails keeps its reason and the text of the error, also when a process died."""
    [lr] = [lr for lr, name in FAULTS.items() if name == fault]
    assert faulty.runs[lr].state is RunState.FAILED
    assert faulty.runs[lr].ending is ending
    assert [a.ending for a in faulty.attempts[lr]] == [ending]
    assert said in faulty.attempts[lr][-1].error
    assert said in faulty.runs[lr].error


def test_25_the_sweep_goes_on_around_its_poisoned_cells(faulty) -> None:
    """A failing cell does not affect other cells; the exit code shows that there were failures."""
    assert faulty.code == 3, faulty.output
    assert faulty.runs[0.1].state is RunState.COMPLETE
    assert len(faulty.attempts[0.1]) == 1


def test_24_a_run_that_is_not_finite_ends_at_once(faulty) -> None:
    """Divergence is a result: it is final at the round it shows, and never tried again."""
    assert faulty.runs[0.07].state is RunState.FAILED
    assert faulty.runs[0.07].ending is Ending.DIVERGED
    assert faulty.runs[0.07].epoch == 2
    assert len(faulty.attempts[0.07]) == 1
