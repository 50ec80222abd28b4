"""Further replicates by a plan: asked for once a stage is whole, of every cell, and only once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from stages import SPEC, Stage, staged

from sweeper.engine import compatibility
from sweeper.engine.messages import Job
from sweeper.engine.progress import Progress
from sweeper.errors import SpecError
from sweeper.spec import parse
from sweeper.states import Ending
from sweeper.store.records import Lease, Sweep

TARGET = SPEC.replace("replicates: 2", "replicates: {target: 0.01, max: 12, start: 4}")
LOOKS = SPEC.replace("replicates: 2", "replicates: {looks: [5, 8, 11]}")
Noise = Callable[[float, int], float]  # learning rate, replicate -> the objective


def noisy(sd: float, effect: float = 0.0, seed: int = 0) -> Noise:
    draws = np.random.default_rng(seed).normal(0, sd / np.sqrt(2), (2, 40))
    return lambda lr, r: 0.8 + draws[int(lr > 0.05), r] + effect * (lr > 0.05)


def spread(noise: Noise, replicates: int) -> float:
    d = [noise(0.1, r) - noise(0.01, r) for r in range(replicates)]
    return float(np.std(100 * np.array(d, dtype=np.float32), ddof=1))


def finish(stage: Stage, noise: Noise, *, jobs: int = 1000, fail: frozenset[int] = frozenset()):
    """Plays the worker, pack after pack, until nothing is left or so many are done."""
    for _ in range(jobs):
        job = stage.conductor.next_job(stage.worker())
        if job is None:
            return
        play(stage, job, noise, fail)


def play(stage: Stage, job: Job, noise: Noise, fail: frozenset[int]) -> None:
    def value(place: int) -> float:
        one = job.members[place]
        return noise(one.config["train"]["lr"], one.replicate)

    lost = {m.run: Ending.DIVERGED for m in job.members if m.replicate in fail
            and m.config["train"]["lr"] > 0.05}  # fmt: skip
    for round in (1, 2):
        stage.say(job, round, value=value)
    stage.say(job, 3, value=value, end=Ending.COMPLETE, ends=lost)


def sweep_of(stage: Stage) -> Sweep:
    found = stage.store.sweep("staged")
    assert found is not None
    return found


def replicates(stage: Stage) -> list[tuple[int, ...]]:
    return [tuple(cell.replicates) for cell in stage.store.cells(stage.sweep_id)]


@contextmanager
def again(folder: Path, spec: str, epoch: int) -> Iterator[Stage]:
    """A later launch; the lease of the one before has run out."""
    folder.mkdir(exist_ok=True)
    with staged(folder, spec) as stage:
        yield stage
        stage.store.release(Lease(sweep_id=stage.sweep_id, epoch=epoch))


def test_the_spread_of_the_first_stage_says_how_many_follow(tmp_path) -> None:
    """N = ceil((T(.975, 3) s0 / h)^2) by hand; both cells get the same replicates."""
    noise = noisy(0.01)
    with staged(tmp_path, TARGET) as stage:
        finish(stage, noise)
        wanted = int(np.ceil((stats.t.ppf(0.975, 3) * spread(noise, 4) / 1.0) ** 2))
        assert 4 < wanted < 12
        assert replicates(stage) == [tuple(range(wanted))] * 2
        assert len(stage.runs()) == 2 * wanted
        first, last = sweep_of(stage).stages
        assert (first["replicates"], first["wanted"], first["ended"]) == (4, wanted, "")
        assert first["facts"][0]["first"] == [0, 1, 2, 3]
        assert first["facts"][0]["sd"] == pytest.approx(spread(noise, 4), rel=1e-4)
        assert (last["replicates"], last["ended"]) == (wanted, "target")
        assert last["text"] == f"target of 1 point reached with {wanted} replicates"
        assert last["text"] in stage.said


def test_no_more_than_the_cap(tmp_path) -> None:
    """This holds for any noise; the reason states that the target was not reached."""
    with staged(tmp_path, TARGET) as stage:
        finish(stage, noisy(0.2))
        assert replicates(stage) == [tuple(range(12))] * 2
        assert sweep_of(stage).stages[-1]["ended"] == "cap"
        assert "cap of 12 replicates reached" in sweep_of(stage).stages[-1]["text"]


def test_blocks_that_failed_are_made_up_for(tmp_path) -> None:
    """Only complete blocks count, in the first stage and in the second."""
    noise = noisy(0.011)
    with staged(tmp_path, TARGET) as stage:
        finish(stage, noise, fail=frozenset({1, 5}))
        first, *_, last = sweep_of(stage).stages
        assert (first["facts"][0]["n"], first["wanted"]) == (3, 5), "one more tells the spread"
        assert last["facts"][0]["first"] == [0, 2, 3, 4]
        assert last["ended"] == "target"
        assert last["facts"][0]["n"] >= last["facts"][0]["needed"]
        assert last["replicates"] == last["facts"][0]["n"] + 2 > 6


def test_a_look_that_decides_is_the_last(tmp_path) -> None:
    """A large effect needs one look, and the others' replicates are never run."""
    with staged(tmp_path, LOOKS) as stage:
        finish(stage, noisy(0.005, effect=0.1))
        [look] = sweep_of(stage).stages
        assert (look["ended"], look["replicates"]) == ("decided", 5)
        assert look["alpha"] == pytest.approx(0.05 / 3)
        assert "look 1 of 3" in look["text"]


def test_an_undecided_sweep_ends_at_its_last_look(tmp_path) -> None:
    """Three looks, each with a third of the error, and no fourth."""
    with staged(tmp_path, LOOKS) as stage:
        finish(stage, noisy(0.1))
        stages = sweep_of(stage).stages
        assert [one["replicates"] for one in stages] == [5, 8, 11]
        assert [one["ended"] for one in stages] == ["", "", "last_look"]
        assert sum(one["alpha"] for one in stages) == pytest.approx(0.05)
        assert len(stage.runs()) == 2 * 11


def test_nothing_follows_while_a_run_is_open(tmp_path) -> None:
    """A stage is judged whole, never its quick half."""
    noise = noisy(0.2)
    with staged(tmp_path, TARGET) as stage:
        finish(stage, noise, jobs=1)
        job = stage.conductor.next_job(stage.worker())
        assert job is not None
        assert stage.conductor.next_job(stage.worker("t2")) is None
        assert sweep_of(stage).stages == []


def test_progress_says_what_may_follow(tmp_path) -> None:
    """Up to the cap before the decision, nothing after the last."""
    said: list[Any] = []
    with staged(tmp_path, TARGET) as stage:
        show = stage.launch.show
        show()
        finish(stage, noisy(0.01))
        show()
        said = [one for one in stage.said if isinstance(one, Progress)]
    assert (said[0].may_follow, said[-1].may_follow) == (2 * (12 - 4), 0)


SAME = noisy(0.012, seed=3)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> dict[str, tuple[list[Any], list[Any]]]:
    """Spec -> the stages and the runs of a sweep that nothing happened to."""
    found = {}
    for spec in (TARGET, LOOKS):
        with staged(tmp_path_factory.mktemp("whole"), spec) as stage:
            finish(stage, SAME)
            found[spec] = (sweep_of(stage).stages, results(stage))
    return found


def results(stage: Stage) -> list[Any]:
    return sorted((run.cell_id, run.replicate, run.value) for run in stage.runs())


@pytest.mark.parametrize("spec", [TARGET, LOOKS])
@pytest.mark.parametrize("jobs", [1, 3])
def test_a_launch_after_a_crash_decides_the_same(tmp_path, undisturbed, spec, jobs) -> None:
    """Killed within a stage: the same stages and the same runs as if nothing had happened."""
    with again(tmp_path, spec, 1) as stage:
        finish(stage, SAME, jobs=jobs)
    with again(tmp_path, spec, 2) as stage:
        finish(stage, SAME)
        assert (sweep_of(stage).stages, results(stage)) == undisturbed[spec]


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_crash_around_a_decision_changes_nothing(
    tmp_path, monkeypatch, undisturbed, when: str
) -> None:
    """Killed just before it was kept, or just after, when no replicate had been added yet."""
    with again(tmp_path, TARGET, 1) as stage, monkeypatch.context() as patch:
        keep = stage.store.add_stage

        def die(*words: Any, **named: Any) -> None:
            if when == "after":
                keep(*words, **named)
            raise KeyboardInterrupt

        patch.setattr(stage.store, "add_stage", die)
        with pytest.raises(KeyboardInterrupt):
            finish(stage, SAME)
    with again(tmp_path, TARGET, 2) as stage:
        finish(stage, SAME)
        assert (sweep_of(stage).stages, results(stage)) == undisturbed[TARGET]


def test_a_finished_plan_is_not_judged_again(tmp_path) -> None:
    """The next launch finds nothing to do, and does not repeat the decision."""
    noise = noisy(0.01)
    with again(tmp_path, TARGET, 1) as stage:
        finish(stage, noise)
        before = sweep_of(stage).stages
    with again(tmp_path, TARGET, 2) as stage:
        assert stage.conductor.next_job(stage.worker()) is None
        assert not stage.launch.cells.unasked()
        assert sweep_of(stage).stages == before


def test_a_higher_cap_goes_on_from_the_same_first_stage(tmp_path) -> None:
    """The runs that are there are used, and the spread is the first stage's as before."""
    noise = noisy(0.02, seed=2)
    with again(tmp_path, TARGET, 1) as stage:
        finish(stage, noise)
        assert sweep_of(stage).stages[-1]["ended"] == "cap"
        done = {run.id for run in stage.runs()}
    more = TARGET.replace("max: 12", "max: 16")
    with again(tmp_path, more, 2) as stage:
        stage.store.update_sweep(Lease(sweep_id=stage.sweep_id, epoch=2),
                                 spec=parse(more).model_dump(mode="json"))  # fmt: skip
        finish(stage, noise)
        last = sweep_of(stage).stages[-1]
        assert last["facts"][0]["first"] == [0, 1, 2, 3]
        assert 12 < last["replicates"] <= 16
        assert done < {run.id for run in stage.runs()}


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (LOOKS, LOOKS.replace("11]", "12]"), "replicates.looks"),
        (TARGET, TARGET.replace("start: 4", "start: 6"), "replicates.start"),
    ],
)
def test_what_was_looked_at_cannot_be_planned_anew(tmp_path, before, after, said) -> None:
    """Error that is spent stays spent, and a first stage was the first."""
    with staged(tmp_path, before) as stage:
        finish(stage, noisy(0.01))
        sweep = sweep_of(stage)
    with pytest.raises(SpecError) as refused:
        compatibility.check(parse(after), sweep, has_cells=True)
    assert said in str(refused.value)
    assert "give this spec another name" in str(refused.value)
    compatibility.check(parse(before), sweep, has_cells=True)
