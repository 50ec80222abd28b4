"""A sweep that makes room for another one has the numbers of one that nobody disturbed."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import acting
import history
import pytest
from places import SPEC
from supervised import Scene, driver, played

from sweeper.service.drivers import DriverProcesses
from sweeper.service.fair import FairPolicy, Supply
from sweeper.service.supervisor import Offer, Supervisor
from sweeper.states import Ending
from sweeper.store.service_records import Priority, State

UNLESS_HIGH = """
from pathlib import Path
if "name: high" not in Path("sweep.yaml").read_text():
    from sweeper.cli import main
    main()
"""


@pytest.fixture
def held(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Supervisor, acting.Hold]:
    """A supervisor with a sweep of class low, whose two workers are held in their second round."""
    played(monkeypatch, driver(first=UNLESS_HIGH))
    hold = acting.Hold(tmp_path, rounds=1)
    real = partial(DriverProcesses, options=("--plugin", str(hold.plugin)))
    supervisor = scene.another(real, Offer(room=Supply(2.0), policy=FairPolicy(min_run_s=0.0)))
    text = SPEC.replace("workers: 1", "workers: 2")
    scene.submit("faults", text=text, priority=Priority.LOW, workers=2)
    scene.until(hold.holds, supervisor)
    return supervisor, hold


def test_a_preempted_sweep_has_the_numbers_of_an_undisturbed_one(
    scene: Scene, held: tuple[Supervisor, acting.Hold], undisturbed: Path
) -> None:
    """Bit for bit: a fixed design, two workers, drained in the middle of its runs, and continued.

    No run is charged for it, and the sweep of the higher class runs in between.
    """
    supervisor, hold = held
    scene.submit("high", priority=Priority.HIGH, workers=2)
    scene.until(lambda: "finishing the current round" in scene.log("faults"), supervisor)
    assert scene.starts("high") == []
    hold.let_go()
    scene.until(lambda: scene.alive("high"), supervisor)
    assert scene.codes("faults") == [130]
    assert scene.state("faults") is State.QUEUED
    scene.let_go()
    scene.until(lambda: scene.state("faults") is State.COMPLETE, supervisor)
    assert scene.codes("faults") == [130, 0]
    attempts = history.check(scene.url, "faults", rounds=3, like=f"sqlite:///{undisturbed}")
    drained = [one for one in attempts if one.ending is not Ending.COMPLETE]
    assert {one.ending for one in drained} == {Ending.PREEMPTED}


def test_a_sweep_that_loses_a_worker_goes_on_with_the_other(
    scene: Scene, held: tuple[Supervisor, acting.Hold], undisturbed: Path
) -> None:
    """One pack stops after its round, and only then does the other sweep start; equal numbers."""
    supervisor, hold = held
    scene.submit("high", priority=Priority.HIGH, workers=1)
    scene.until(lambda: "workers from now on: 1" in scene.log("faults"), supervisor)
    assert scene.starts("high") == []
    hold.let_go()
    scene.until(lambda: scene.alive("high"), supervisor)
    scene.until(lambda: scene.state("faults") is State.COMPLETE, supervisor)
    assert scene.codes("faults") == [0]
    attempts = history.check(scene.url, "faults", rounds=3, like=f"sqlite:///{undisturbed}")
    stopped = [one for one in attempts if one.ending is not Ending.COMPLETE]
    assert [one.ending for one in stopped] == [Ending.PREEMPTED] * 2, "the runs of one pack"
    assert len({one.pack_id for one in stopped}) == 1
    scene.let_go()
