"""Which cells a pruner may stop, whom it compares them with, and what goes with them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import optuna
import pytest
from scipy import stats
from stages import SPEC, Stage, staged

from sweeper import search
from sweeper.design import candidates, designs
from sweeper.engine.cells import REPORT, TUNING, CellMaker
from sweeper.engine.messages import Job
from sweeper.engine.pruning import Pruning, group_of, pruning_of
from sweeper.engine.tuning import TunedCells
from sweeper.spec import parse
from sweeper.states import Ending, RunState
from sweeper.store.records import Cell, NewCell

PRUNED = "pruner: {method: asha, reduction: 3}\n"


@pytest.fixture
def stage(tmp_path: Path, monkeypatch) -> Iterator[Callable[[str], Stage]]:
    """Stages whose pruner stops a cell as soon as its mean is below one half."""
    monkeypatch.setattr(search, "pruner", lambda spec: optuna.pruners.ThresholdPruner(lower=0.5))
    with ExitStack() as stack:
        yield lambda spec: stack.enter_context(staged(tmp_path, spec))


def low(place: int) -> float:
    return 0.1


def test_a_cell_that_has_a_complete_run_is_never_pruned(stage) -> None:
    """When replicates are raised, a value that stands would be thrown away with its cell."""
    one = stage(SPEC + PRUNED)
    job = one.begin()
    ahead, behind, *others = (member.run for member in job.members)
    one.say(replace(job, drops=dict.fromkeys(others, 3)), 1, ends={ahead: Ending.COMPLETE})
    one.say(job, 2, value=low)
    states = {r.id: r.state for r in one.runs()}
    assert states == {
        ahead: RunState.COMPLETE,
        behind: RunState.RUNNING,
        **dict.fromkeys(others, RunState.PRUNED),
    }
    assert set(one.hand.dropped) == set(others)


def test_a_pruned_cell_takes_its_other_open_runs_with_it(stage) -> None:
    """Those that wait end with it, those that another worker has with their next evaluation.

    A step's arithmetic depends on who takes part: what is recorded is when they left.
    """
    spec = SPEC.replace("replicates: 2", "replicates: 3").replace("pack: 4", "pack: 6")
    one = stage(spec + PRUNED)
    for name in ("once", "twice"):
        one.say(one.begin(name), 0, worker=name, failure=(Ending.ERROR, "parts the pack"))
    jobs: dict[str, Job] = {}
    for name in ("elsewhere", "here", "waits"):
        jobs[name] = one.begin(name)
        assert len(jobs[name].members) == 1
    one.say(jobs["waits"], 1, worker="waits", value=low)
    one.lose("waits", Ending.NODE_LOST)
    for name in ("elsewhere", "here"):
        one.say(jobs[name], 1, worker=name, value=low)
    of_cell = {job.members[0].run for job in jobs.values()}
    elsewhere = jobs["elsewhere"].members[0].run
    assert pruned_at(one) == dict.fromkeys(of_cell - {elsewhere}, 1)
    one.say(jobs["elsewhere"], 2, worker="elsewhere", value=lambda place: 0.9)
    assert pruned_at(one) == dict.fromkeys(of_cell, 1) | {elsewhere: 2}
    assert one.worker("elsewhere").dropped == [elsewhere]
    left = [one.begin(f"left {n}").members[0].run for n in range(3)]
    assert not set(left) & of_cell
    assert one.conductor.next_job(one.worker("more")) is None


def pruned_at(one: Stage) -> dict[int, int]:
    """The epoch of each run that was pruned."""
    return {r.id: r.epoch for r in one.runs() if r.state is RunState.PRUNED}


@pytest.mark.parametrize("end", ["lost", "launched again"])
def test_a_run_of_a_pruned_cell_whose_worker_is_gone_is_not_tried_again(stage, end: str) -> None:
    """It leaves at what is recorded of it, in this launch or the next."""
    one = stage(SPEC + PRUNED)
    for name in ("once", "twice"):
        one.say(one.begin(name), 0, worker=name, failure=(Ending.ERROR, "parts the pack"))
    jobs = {name: one.begin(name) for name in ("elsewhere", "here")}
    [elsewhere], [here] = ([m.run for m in job.members] for job in jobs.values())
    one.say(jobs["elsewhere"], 1, worker="elsewhere", value=low)
    one.say(jobs["here"], 1, worker="here", value=low)
    assert pruned_at(one) == {here: 1}
    if end == "lost":
        one.lose("elsewhere", Ending.NODE_LOST)
    else:
        one.conductor.cancel_all("stopped")
        one.store.release(one.launch.session.lease)
        one = stage(SPEC + PRUNED)
    assert pruned_at(one) == {here: 1, elsewhere: 1}


def test_a_pruner_is_asked_only_where_there_is_a_value(stage) -> None:
    """Rounds without an evaluation pass by; the next value decides."""
    one = stage(SPEC + PRUNED)
    job = one.begin()
    one.say(job, 1, value=low, skipped=True)
    assert not one.hand.dropped
    one.say(job, 2, value=low)
    assert set(one.hand.dropped) == {member.run for member in job.members}
    assert {(r.state, r.epoch) for r in one.runs()} == {(RunState.PRUNED, 2)}


def test_a_member_that_diverged_between_two_evaluations_is_not_waited_for(stage) -> None:
    """Its cell is judged by those that have a value."""
    one = stage(SPEC + PRUNED)
    job = one.begin()
    gone = job.members[0].run
    one.say(job, 1, skipped=True, ends={gone: Ending.DIVERGED})
    one.say(replace(job, drops={gone: 1}), 2, value=low)
    states = {r.id: r.state for r in one.runs()}
    assert states.pop(gone) is RunState.FAILED
    assert set(states.values()) == {RunState.PRUNED}


TUNED = """
name: tuned
data: {dataset: digits}
train: {epochs: 3, batch_size: 32}
scientific:
  train.batch_size: [16, 32]
nuisance:
  train.lr: {low: 0.001, high: 1.0, log: true, trials: 3}
replicates: 2
"""


def cells(maker: CellMaker, new: list[NewCell]) -> list[Cell]:
    return [
        Cell(**vars(cell), id=number, sweep_id=1, mirrored=False, hidden=False)
        for number, cell in enumerate(new)
    ]


def test_candidates_are_compared_with_their_rivals_only() -> None:
    """A candidate judged by those of another scientific cell would fall for what is asked about."""
    spec = parse(TUNED)
    maker = CellMaker(spec)
    tuning = cells(maker, TunedCells(spec, maker).first())
    groups: dict[str, set[int]] = {}
    for cell in tuning:
        group = group_of(cell, spec.scientific)
        groups.setdefault(group, set()).add(cell.factors["train.batch_size"])
    assert sorted(map(sorted, groups.values())) == [[16], [32]]
    made = [maker.make(design, role=REPORT) for design in designs(spec)]
    assert len({group_of(cell, spec.scientific) for cell in cells(maker, made)}) == 1


def test_a_pruner_sees_one_study_a_group() -> None:
    """The best of a poor group stays, whatever another group is worth."""
    asha = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=2)
    pruning = Pruning(asha, direction="maximize")
    for cell, value in enumerate((0.9, 0.8, 0.7)):
        pruning.see(cell, group="rich", replicate=0, evaluation=1, value=value, of=[0])
    assert not pruning.see(7, group="poor", replicate=0, evaluation=1, value=0.1, of=[0])
    assert pruning.see(8, group="rich", replicate=0, evaluation=1, value=0.1, of=[0])


def judged(pruning: Pruning, cell: int, values: list[float], *, evaluation: int = 1) -> bool:
    """Whether the cell stops once its last replicate has a value."""
    *_, last = (
        pruning.see(
            cell,
            group="g",
            replicate=at,
            evaluation=evaluation,
            value=value,
            of=range(len(values)),
        )
        for at, value in enumerate(values)
    )
    return last


def wilcoxon() -> Pruning:
    lines = TUNED.replace("replicates: 2", "replicates: 5").split("nuisance:")
    spec = parse(lines[0] + "replicates: 5\npruner: wilcoxon\n")
    return pruning_of(search.pruner(spec), direction="maximize")


BASE = [0.1, 0.5, 0.9, 0.3, 0.7]  # replicates differ far more than cells do


def test_wilcoxon_pairs_replicates() -> None:
    """Each replicate is a little worse: in pairs that is certain, and the means are close."""
    worse, shuffled = (
        [one - 0.01 * (at + 1) for at, one in enumerate(BASE)],
        [0.9, 0.1, 0.5, 0.7, 0.2],
    )
    for values, stops in ((worse, True), (shuffled, False)):
        pruning = wilcoxon()
        assert not judged(pruning, 1, BASE)
        pruning.end(1, value=fmean(BASE), pruned=False)
        assert judged(pruning, 2, values) is stops
        test: Any = stats.wilcoxon(np.subtract(values, BASE), alternative="less")
        assert bool(test.pvalue < 0.1) is stops


def test_wilcoxon_compares_at_equal_evaluations_with_the_best_finished_cell() -> None:
    """A cell at its first evaluation is not held against another's last one."""
    pruning = wilcoxon()
    assert not judged(pruning, 1, BASE)
    assert not judged(pruning, 1, [one + 0.5 for one in BASE], evaluation=2)
    assert not judged(pruning, 2, [one - 0.05 for one in BASE])  # no cell has finished
    pruning.end(1, value=1.0, pruned=False)
    assert not judged(pruning, 3, [one + 0.01 * (at + 1) for at, one in enumerate(BASE)])
    assert judged(pruning, 3, [one + 0.4 for one in BASE], evaluation=2)


def test_wilcoxon_judges_no_cell_with_a_diverged_replicate() -> None:
    """Nor does such a cell stop another."""
    pruning = wilcoxon()
    assert not judged(pruning, 1, [0.9, math.nan, 0.9, 0.9, 0.9])
    pruning.end(1, value=0.9, pruned=False)
    assert not judged(pruning, 2, [0.1] * 5)
    pruning.end(2, value=None, pruned=False)
    assert not judged(pruning, 3, [0.05] * 5)


def test_a_cell_whose_candidates_all_fail_is_told(monkeypatch) -> None:
    """It has nothing to report, and a report that merely lacks it would not say so."""
    spec, said = parse(TUNED), []
    maker = CellMaker(spec)
    tuned = TunedCells(spec, maker, say=said.append)
    tuning = cells(maker, tuned.first())
    worth = {16: [], 32: [0.5]}
    picks = [
        new
        for cell in tuning
        for new in tuned.after(cell, {cell.hash: worth[cell.factors["train.batch_size"]]})
    ]
    assert [new.factors["train.batch_size"] for new in picks] == [32]
    assert tuned.unpicked == [{"train.batch_size": 16}]
    [text] = said
    assert "train.batch_size=16" in text
    assert len(candidates(spec, next(designs(spec)))) == 3
    assert {cell.role for cell in tuning} == {TUNING}
