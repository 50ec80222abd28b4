"""Screening: every cell a few times, those that may be the best afresh, decided only once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from scipy import stats
from stages import SPEC, Stage, staged

from sweeper.cli import show
from sweeper.engine import compatibility, preview
from sweeper.errors import SpecError
from sweeper.spec import parse
from sweeper.states import Ending
from sweeper.status import sweep_status
from sweeper.store.records import Lease, Sweep

RATES = (0.01, 0.03, 0.1, 0.3)
PLAN = SPEC.replace("[0.01, 0.1]", str([*RATES])).replace(
    "replicates: 2", "replicates: {screen: 3, confirm: 4}"
)
TRUTH = {0.01: 0.6, 0.03: 0.8, 0.1: 0.805, 0.3: 0.5}  # two are near, two are far behind
Noise = Callable[[float, int], float]
KEPT = {0.03, 0.1}
console = Console(width=200)


def noisy(rate: float, replicate: int) -> float:
    draws = np.random.default_rng([int(1000 * rate), replicate]).normal(0, 0.004)
    return TRUTH[rate] + 0.02 * replicate + draws


def finish(stage: Stage, *, jobs: int = 1000, lost: frozenset[float] = frozenset()) -> None:
    """Plays the worker, until nothing is left or so many packs are done."""
    for _ in range(jobs):
        job = stage.conductor.next_job(stage.worker())
        if job is None:
            return
        rate = [one.config["train"]["lr"] for one in job.members]
        ends = {one.run: Ending.DIVERGED for one, lr in zip(job.members, rate, strict=True)
                if lr in lost}  # fmt: skip

        def value(at: int, job=job, rate=rate) -> float:
            return noisy(rate[at], job.members[at].replicate)

        stage.say(job, 1, value=value)
        stage.say(job, 2, value=value)
        stage.say(job, 3, value=value, end=Ending.COMPLETE, ends=ends)


def sweep_of(stage: Stage) -> Sweep:
    found = stage.store.sweep("staged")
    assert found is not None
    return found


def cells(stage: Stage, role: str) -> dict[float, tuple[int, ...]]:
    return {one.factors["train.lr"]: tuple(one.replicates)
            for one in stage.store.cells(stage.sweep_id) if one.role == role}  # fmt: skip


@contextmanager
def again(folder: Path, spec: str, epoch: int) -> Iterator[Stage]:
    """One launch of several; the lease of the one before has run out."""
    folder.mkdir(exist_ok=True)
    with staged(folder, spec) as stage:
        yield stage
        stage.store.release(Lease(sweep_id=stage.sweep_id, epoch=epoch))


def test_the_cells_that_are_left_get_fresh_replicates_and_no_other_does(tmp_path) -> None:
    """Screened on 0 to 2, reported on 3 to 6: no replicate is both."""
    with staged(tmp_path, PLAN) as stage:
        finish(stage)
        assert cells(stage, "screening") == dict.fromkeys(RATES, (0, 1, 2))
        assert cells(stage, "report") == dict.fromkeys(KEPT, (3, 4, 5, 6))
        assert len(stage.runs()) == 4 * 3 + 2 * 4
        [stage_kept] = sweep_of(stage).stages
        assert (stage_kept["ended"], stage_kept["replicates"]) == ("screened", 3)
        fates = {one["levels"]["train.lr"]: one["fate"] for one in stage_kept["facts"]}
        assert fates == {0.01: "beaten", 0.03: "kept", 0.1: "kept", 0.3: "beaten"}
        assert "left 2 of 4 cells" in stage_kept["text"]
        assert stage_kept["text"] in stage.said


@pytest.mark.parametrize(
    ("plan", "fates"),
    [
        ("{screen: 3, confirm: 4, keep: 1}", ("beaten", "beyond keep", "kept", "beaten")),
        ("{screen: 3, confirm: 4}\nreference: {train.lr: 0.3}",
         ("beaten", "kept", "kept", "reference")),
    ],
)  # fmt: skip
def test_the_cap_and_the_reference_are_followed(tmp_path, plan: str, fates) -> None:
    """At most so many are left by their mean; the reference is one more, beaten or not."""
    with staged(tmp_path, PLAN.replace("{screen: 3, confirm: 4}", plan)) as stage:
        assert stage.launch.staged is not None
        most = stage.launch.staged.may_follow()
        finish(stage)
        facts = sweep_of(stage).stages[0]["facts"]
        assert tuple(one["fate"] for one in facts) == fates
        left = {rate for rate, fate in zip(RATES, fates, strict=True)
                if fate in ("kept", "reference")}  # fmt: skip
        assert set(cells(stage, "report")) == left
        assert most == 4 * (1 if "keep" in plan else 4)


def test_a_cell_whose_runs_all_failed_is_not_left(tmp_path) -> None:
    """And what fails in screening does not stop the rest."""
    with staged(tmp_path, PLAN) as stage:
        finish(stage, lost=frozenset({0.1}))
        facts = {one["levels"]["train.lr"]: one for one in sweep_of(stage).stages[0]["facts"]}
        assert (facts[0.1]["fate"], facts[0.1]["lost"], facts[0.1]["values"]) == ("failed", 3, [])
        assert set(cells(stage, "report")) == {0.03}


def test_nothing_is_decided_while_a_run_is_open(tmp_path) -> None:
    """Screening is judged whole."""
    with staged(tmp_path, PLAN) as stage:
        finish(stage, jobs=1)
        assert stage.conductor.next_job(stage.worker()) is not None
        assert stage.conductor.next_job(stage.worker("t2")) is not None
        assert stage.conductor.next_job(stage.worker("t3")) is None
        assert sweep_of(stage).stages == []


def results(stage: Stage) -> list[Any]:
    names = {one.id: (one.role, one.factors["train.lr"])
             for one in stage.store.cells(stage.sweep_id) if not one.hidden}  # fmt: skip
    return sorted((*names[run.cell_id], run.replicate, run.value) for run in stage.runs())


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> tuple[list[Any], list[Any]]:
    with staged(tmp_path_factory.mktemp("whole"), PLAN) as stage:
        finish(stage)
        return sweep_of(stage).stages, results(stage)


@pytest.mark.parametrize("jobs", [1, 4, 1000])
def test_a_launch_after_a_crash_goes_on_the_same(tmp_path, undisturbed, jobs: int) -> None:
    """Killed in screening, among the fresh runs, or after the end."""
    with again(tmp_path, PLAN, 1) as stage:
        finish(stage, jobs=jobs)
    with again(tmp_path, PLAN, 2) as stage:
        finish(stage)
        assert (sweep_of(stage).stages, results(stage)) == undisturbed
        assert not stage.launch.cells.unasked()


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_crash_around_the_decision_changes_nothing(
    tmp_path, monkeypatch, undisturbed, when: str
) -> None:
    """Killed just before it was kept, or just after, when no fresh run had been made yet."""
    with again(tmp_path, PLAN, 1) as stage, monkeypatch.context() as patch:
        keep = stage.store.add_stage

        def die(*words: Any, **named: Any) -> None:
            if when == "after":
                keep(*words, **named)
            raise KeyboardInterrupt

        patch.setattr(stage.store, "add_stage", die)
        with pytest.raises(KeyboardInterrupt):
            finish(stage)
    with again(tmp_path, PLAN, 2) as stage:
        finish(stage)
        assert (sweep_of(stage).stages, results(stage)) == undisturbed


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "confirm: 4",
            "confirm: 4, keep: 1",
            "replicates: sweep 'staged' in this database decided",
        ),
        ("{screen: 3, confirm: 4}", "7", "replicates: sweep 'staged' in this database decided"),
        ("0.3]", "0.3, 1.0]", "scientific: sweep 'staged' in this database decided"),
        ("epochs: 3", "epochs: 4", "train: sweep 'staged' in this database decided"),
    ],
)
def test_a_decided_screening_cannot_be_planned_anew(tmp_path, old, new, said) -> None:
    """Neither its numbers nor the cells that it was among."""
    with staged(tmp_path, PLAN) as stage:
        finish(stage)
        sweep = sweep_of(stage)
    with pytest.raises(SpecError, match=said):
        compatibility.check(parse(PLAN.replace(old, new)), sweep, has_cells=True)
    compatibility.check(parse(PLAN), sweep, has_cells=True)


def test_more_fresh_replicates_are_of_the_same_cells(tmp_path, undisturbed) -> None:
    """Who is left was decided once, whatever the further replicates say."""
    with again(tmp_path, PLAN, 1) as stage:
        finish(stage)
    more = PLAN.replace("confirm: 4", "confirm: 6")
    with again(tmp_path, more, 2) as stage:
        compatibility.check(parse(more), sweep_of(stage), has_cells=True)
        finish(stage)
        assert cells(stage, "report") == dict.fromkeys(KEPT, tuple(range(3, 9)))
        assert cells(stage, "screening") == dict.fromkeys(RATES, (0, 1, 2))
        before, after = sweep_of(stage).stages
        assert after["facts"] == before["facts"] == undisturbed[0][0]["facts"]
        assert (after["plan"]["confirm"], after["ended"]) == (6, "screened")


def test_what_was_reported_cannot_be_screened_afterwards(tmp_path) -> None:
    """Its numbers have been seen."""
    with staged(tmp_path, SPEC) as stage:
        sweep = sweep_of(stage)
    with pytest.raises(SpecError, match="was planned as 2; give this spec another name"):
        compatibility.check(parse(PLAN), sweep, has_cells=True)


@pytest.mark.parametrize(
    ("plan", "most"),
    [
        ("{screen: 3, confirm: 4}", 16),
        ("{screen: 3, confirm: 4, keep: 1}\nreference: {train.lr: 0.3}", 8),
    ],
)
def test_a_plan_tells_the_fewest_and_the_most_runs(monkeypatch, plan: str, most: int) -> None:
    """One cell is left at least; with a cap that many and the reference at most."""
    monkeypatch.setattr(preview, "_probed", lambda *words, **named: ({}, 1))
    found = preview.preview(parse(PLAN.replace("{screen: 3, confirm: 4}", plan)))
    assert (found.cells, found.runs, found.least_more, found.more_runs) == (4, 12, 4, most)
    assert found.screened_at == pytest.approx(stats.t.ppf(1 - 0.05 / 3, 2) / np.sqrt(3))
    with console.capture() as said:
        show.plan(console, "x", found)
    assert f"and 4 to {most} more runs" in said.get()


def test_the_status_says_what_was_decided(tmp_path) -> None:
    """In a line under the table, and in its JSON."""
    with staged(tmp_path, PLAN) as stage:
        finish(stage)
        found = sweep_status(stage.store, sweep_of(stage))
    assert found["cells"] == {"report": 2, "screening": 4}
    with console.capture() as said:
        show.statuses(console, [found])
    assert "staged: screening with 3 replicates left 2 of 4 cells" in said.get()
