"""What the driver decides when workers report, fail, or say nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from stages import SPEC, Stage, staged

from sweeper.engine.messages import Refusal
from sweeper.errors import EngineError
from sweeper.states import Ending, RunState


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Callable[..., Stage]]:
    """Makes a stage; its database is closed afterwards."""
    with ExitStack() as stack:
        yield lambda spec=SPEC: stack.enter_context(staged(tmp_path, spec))


def test_an_attempt_exists_before_its_job_is_handed_out(stage) -> None:
    """Whatever happens to the worker, the database knows that somebody had the run."""
    one = stage()
    job = one.begin()
    attempts = one.store.attempts(one.sweep_id)
    assert sorted(a.id for a in attempts) == sorted(m.attempt for m in job.members)
    assert all(a.ended_at is None for a in attempts)
    assert {r.state for r in one.runs()} == {RunState.RUNNING}


@pytest.mark.parametrize(("val", "read"), [("pool", False), ("test", False), ("none", True)])
def test_only_without_validation_is_a_value_read_on_the_test_split(stage, val, read) -> None:
    """The run's value is the objective on val; with `none` there is no val to read."""
    one = stage(SPEC.replace("dataset: digits", f"dataset: digits, val: {val}"))
    assert (one.objective == one.tested) is read
    assert one.store.sweep("staged").spec["objective"]["split"] == ("test" if read else "val")


def test_rounds_between_are_written_at_most_once_a_second_and_ends_at_once(stage) -> None:
    """A commit a round would cost more than the round; a result is never held back."""
    one = stage()
    job = one.begin()
    one.say(job, 1)
    one.conductor.tick()
    assert {r.epoch for r in one.runs()} == {0}
    one.clock.now += 1.0
    one.conductor.tick()
    assert {r.epoch for r in one.runs()} == {1}
    one.say(job, 2)
    one.say(job, 3, end=Ending.COMPLETE)
    assert {(r.epoch, r.state) for r in one.runs()} == {(3, RunState.COMPLETE)}
    assert {r.value for r in one.runs()} == {0.5}
    assert one.conductor.exhausted()


def test_47_a_round_that_is_delivered_again_is_not_taken_in(stage) -> None:
    """The curve keeps every later round, and what decides sees each round once."""
    one = stage()
    job = one.begin()
    for number in (1, 2, 1, 2):
        one.say(job, number)
    another = tuple(replace(m, attempt=m.attempt - 1) for m in job.members)
    one.say(replace(job, members=another), 3, end=Ending.COMPLETE)  # of another job
    assert {r.state for r in one.runs()} == {RunState.RUNNING}
    one.say(job, 3, end=Ending.COMPLETE)
    seen = one.store.observations(one.sweep_id, last_only=False)
    assert sorted(o.epoch for o in seen) == sorted([1, 2, 3] * len(job.members))


def test_a_round_without_an_evaluation_moves_nothing_but_the_clock(stage) -> None:
    """The time spent is recorded; a checkpoint must not be taken for numbers that are there."""
    one = stage()
    job = one.begin()
    one.say(job, 1, skipped=True)
    one.clock.now += 1.0
    one.conductor.tick()
    assert {(r.epoch, r.seconds) for r in one.runs()} == {(0, 1.0)}
    one.say(job, 2)
    one.lose()
    assert one.begin("t2").recorded == 2


def test_a_run_that_diverges_between_two_evaluations_ends_at_its_epoch(stage) -> None:
    """It has no numbers there; its pack mates go on."""
    one = stage()
    job = one.begin()
    gone = job.members[0].run
    one.say(job, 2, skipped=True, ends={gone: Ending.DIVERGED})
    [ended] = [r for r in one.runs() if r.state is RunState.FAILED]
    assert (ended.id, ended.epoch, ended.ending) == (gone, 2, Ending.DIVERGED)
    assert not list(one.store.observations(one.sweep_id, last_only=False))
    one.lose()
    again = one.begin("t2")
    assert again.drops == {gone: 3}, "it is to diverge again, and not to leave before"
    assert again.recorded == 0


def test_out_of_memory_halves_the_pack(stage) -> None:
    """The same pack would fail again; two halves may fit."""
    one = stage()
    job = one.begin()
    assert len(job.members) == 4
    one.say(job, 0, failure=(Ending.OUT_OF_MEMORY, "no room"))
    halves = [one.begin("t2"), one.begin("t3")]
    assert [len(half.members) for half in halves] == [2, 2]
    runs = {m.run for half in halves for m in half.members}
    assert runs == {m.run for m in job.members}


def test_what_is_always_out_of_memory_runs_alone_at_last(stage) -> None:
    """Halving 16 runs three times would use up every attempt before one has run alone."""
    spec = SPEC.replace("replicates: 2", "replicates: 8").replace("pack: 4", "pack: 16")
    one, sizes = stage(spec + "limits: {attempts: 3, failures: 100}\n"), []
    trials = 0
    while not one.conductor.exhausted():
        trials += 1
        job = one.begin(f"t{trials}")
        sizes.append(len(job.members))
        if sizes[-1] > 1:
            one.say(job, 0, worker=f"t{trials}", failure=(Ending.OUT_OF_MEMORY, "no room"))
        else:
            one.say(job, 3, worker=f"t{trials}", end=Ending.COMPLETE)
    assert sizes == [16, 8, 8] + [1] * 16
    assert {r.state for r in one.runs()} == {RunState.COMPLETE}


def test_fewer_workers_take_a_pack_from_its_worker_after_the_round(stage) -> None:
    """It is saved, nothing counts against its runs, and it goes on before other packs."""
    one = stage(SPEC.replace("pack: 4", "pack: 1"))
    jobs = [one.begin(name) for name in ("t1", "t2", "t3")]
    one.launch.request.crew.limit = 1
    for number, job in enumerate(jobs, 1):
        one.say(job, 1, worker=f"t{number}")
    assert [(hand.saved, hand.left) for hand in one.hands.values()] == [(1, True)] * 2 + [
        (0, False)
    ]
    assert list(one.conductor.running_packs) == ["t3"]
    ended = {a.run_id: a.ending for a in one.store.attempts(one.sweep_id) if a.ended_at is not None}
    assert ended == {job.members[0].run: Ending.PREEMPTED for job in jobs[:2]}
    assert [one.begin("t4").pack, one.begin("t5").pack] == [jobs[1].pack, jobs[0].pack]
    assert not any(one.store.failures(one.sweep_id).values())


def test_one_worker_may_always_go_on(stage) -> None:
    """Whoever is to lose the last one is drained, which is an order of its own."""
    one = stage()
    job = one.begin()
    one.launch.request.crew.limit = 0
    one.say(job, 1)
    assert list(one.conductor.running_packs) == ["t1"]
    one.say(job, 3, end=Ending.COMPLETE)
    assert {r.state for r in one.runs()} == {RunState.COMPLETE}


def test_members_that_diverge_beside_others_that_go_on_halt_nothing(stage) -> None:
    """Ten of twenty members that diverge at once mean a wide range, not a broken sweep."""
    levels = ", ".join(f"{0.01 * n:.2f}" for n in range(1, 21))
    spec = SPEC.replace("[0.01, 0.1]", f"[{levels}]").replace("replicates: 2", "replicates: 1")
    one = stage(spec.replace("pack: 4", "pack: 20") + "limits: {failures: 5}\n")
    job = one.begin()
    ten = [member.run for member in job.members[10:]]
    one.say(job, 1, ends=dict.fromkeys(ten, Ending.DIVERGED))
    assert not one.conductor.halted
    rest = replace(job, drops=dict.fromkeys(ten, 1))
    one.say(rest, 2, end=Ending.DIVERGED)
    assert "cells in a row ended with diverged" in one.conductor.halted


def test_a_worker_that_says_done_as_it_is_killed_has_done_it(stage) -> None:
    """Its result was on its way: nothing is tried again, and its loss ends no other pack."""
    one = stage(SPEC.replace("pack: 4", "pack: 2") + "limits: {run_seconds: 60}\n")
    job = one.begin("late")
    one.clock.now += 61
    one.conductor.tick()
    assert one.worker("late").killed
    one.say(job, 3, worker="late", end=Ending.COMPLETE)
    other = one.begin("next")
    one.lose("late")
    mine = {m.run for m in other.members}
    assert {r.state for r in one.runs() if r.id in mine} == {RunState.RUNNING}
    assert {a.ending for a in one.store.attempts(one.sweep_id) if a.run_id not in mine} == {
        Ending.COMPLETE
    }


def test_47_a_message_of_an_earlier_job_is_not_taken_for_the_next(stage) -> None:
    """Delivered late or twice, it neither ends the next job nor is charged to it."""
    one = stage()
    first = one.begin()
    one.say(first, 0, failure=(Ending.ERROR, "raised"))
    second = one.begin()
    assert second.pack == first.pack
    one.say(first, 0, failure=(Ending.ERROR, "raised"))
    one.say(first, 3, end=Ending.COMPLETE)
    assert [a.ending for a in one.store.attempts(one.sweep_id)][-1] is None
    one.say(second, 3, end=Ending.COMPLETE)
    assert {r.state for r in one.runs()} == {RunState.COMPLETE}


def test_a_note_of_a_worker_is_told_once(stage) -> None:
    """A full disk would fill the screen as well."""
    one = stage()
    job = one.begin()
    for round in (1, 2):
        one.say(job, round, note="no checkpoint can be written")
    assert one.said.count("no checkpoint can be written") == 1


def test_before_its_last_attempt_a_pack_is_taken_apart(stage) -> None:
    """One poisoned member must not cost the others their last attempt."""
    one = stage()
    for name in ("t1", "t2"):
        job = one.begin(name)
        assert len(job.members) == 4
        one.say(job, 0, worker=name, failure=(Ending.ERROR, "poison"))
    alone = [one.begin(f"alone {n}") for n in range(4)]
    assert [len(job.members) for job in alone] == [1, 1, 1, 1]
    one.say(alone[0], 0, worker="alone 0", failure=(Ending.ERROR, "poison"))
    for n in range(1, 4):
        one.say(alone[n], 3, worker=f"alone {n}", end=Ending.COMPLETE)
    states = sorted(r.state for r in one.runs())
    assert states == [RunState.COMPLETE] * 3 + [RunState.FAILED]
    assert [r.error for r in one.runs() if r.state is RunState.FAILED] == ["poison"]


def test_failures_of_one_reason_in_a_row_halt_the_sweep(stage) -> None:
    """Ten thousand runs are not tried to learn that none of them can work."""
    levels = ", ".join(f"{0.01 * n:.2f}" for n in range(1, 21))
    spec = SPEC.replace("[0.01, 0.1]", f"[{levels}]").replace("pack: 4", "pack: 1")
    one = stage(spec + "limits: {failures: 5, attempts: 1}\n")
    for n in range(5):
        assert not one.conductor.halted
        job = one.begin(f"t{n}")
        one.say(job, 0, worker=f"t{n}", failure=(Ending.ERROR, "no"))
    assert one.conductor.halted == "5 cells in a row ended with error; the last: no"
    assert one.conductor.next_job(one.worker("more")) is None
    assert one.conductor.exhausted()


def test_a_run_that_takes_too_long_is_killed_and_says_so(stage) -> None:
    """A worker that hangs never reports: the driver's clock ends it."""
    one = stage(SPEC + "limits: {run_seconds: 60}\n")
    one.begin()
    one.clock.now += 59
    one.conductor.tick()
    assert not one.hand.killed
    one.clock.now += 2
    one.conductor.tick()
    assert one.hand.killed
    one.lose()
    assert {a.ending for a in one.store.attempts(one.sweep_id)} == {Ending.TIMEOUT}


def test_26_a_worker_that_lives_and_does_not_get_on_is_ended(stage) -> None:
    """A first round may take as long as data take to load; a later one ten times its price."""
    one = stage(SPEC + "limits: {loading_seconds: 500, hang_seconds: 100}\n")
    job = one.begin()
    for seconds, ended in ((400, False), (101, True)):
        let_pass(one, seconds)
        assert one.hand.killed is ended
    one.lose()
    again = one.begin("t2")
    one.say(again, 1, worker="t2")
    let_pass(one, 99)
    assert not one.worker("t2").killed
    let_pass(one, 2)
    assert one.worker("t2").killed
    one.lose("t2", Ending.CRASHED, "the actor is dead")
    tried = [a for a in one.store.attempts(one.sweep_id) if a.ended_at is not None]
    assert {a.ending for a in tried} == {Ending.TIMEOUT}
    assert {a.error.partition(" after")[0].partition(" for")[0] for a in tried} == {
        "no first round",
        "no progress",
    }
    assert len(tried) == 2 * len(job.members)


def test_a_driver_that_was_stopped_itself_ends_nobody(stage) -> None:
    """Messages that workers sent meanwhile have not been read yet."""
    one = stage(SPEC + "limits: {loading_seconds: 500, hang_seconds: 100}\n")
    job = one.begin()
    one.say(job, 1)
    one.conductor.tick()
    one.clock.now += 3600
    one.conductor.tick()
    assert not one.hand.killed


def let_pass(one: Stage, seconds: int) -> None:
    """Time in which the driver itself is awake."""
    for _ in range(seconds):
        one.clock.now += 1
        one.conductor.tick()


def test_15_the_first_silence_costs_a_run_nothing_and_the_second_an_attempt(stage) -> None:
    """A node that hangs is not the run's fault, but a run may hang each worker that it gets."""
    one = stage()
    endings = []
    for name in ("t1", "t2"):
        one.begin(name)
        one.lose(name, Ending.SILENT, "no sign of life")
        [last] = {
            a.ending for a in one.store.attempts(one.sweep_id) if a.number == len(endings) + 1
        }
        endings.append(last)
    assert endings == [Ending.SILENT, Ending.TIMEOUT]


def test_44_a_node_that_cannot_do_the_work_costs_its_runs_nothing(stage) -> None:
    """The attempt names the node and what the node lacks; the run is not at fault."""
    one = stage(SPEC + "limits: {attempts: 1}\n")
    job = one.begin()
    one.say(job, 0, unfit="the data cannot be read: no such file")
    tried = one.store.attempts(one.sweep_id)
    assert {a.ending for a in tried} == {Ending.NODE_UNFIT}
    assert {(a.node, a.error) for a in tried} == {
        ("here", "here: the data cannot be read: no such file")
    }
    assert {r.state for r in one.runs()} == {RunState.PENDING}
    assert {m.run for m in one.begin("t2").members} == {m.run for m in job.members}


def test_the_limit_of_hours_halts(stage) -> None:
    """What is in flight ends after its round; nothing further begins."""
    one = stage(SPEC.replace("pack: 4", "pack: 2") + "limits: {hours: 1}\n")
    job = one.begin()
    one.clock.now += 3601
    one.conductor.tick()
    assert "1 hours" in one.conductor.halted
    one.say(job, 1)
    assert one.hand.saved == 1, "no checkpoint was asked for"
    assert {a.ending for a in one.store.attempts(one.sweep_id)} == {Ending.CANCELLED}
    assert {r.state for r in one.runs()} == {RunState.PENDING}


def test_a_pack_that_goes_on_replays_what_had_finished(stage) -> None:
    """A step's arithmetic depends on the pack's size, so the pack keeps its history."""
    one = stage()
    job = one.begin()
    first, *rest = job.members
    one.say(job, 1)
    one.conductor.message(one.hand, _diverged(one, job, first, round=2))
    one.lose()
    again = one.begin("t2")
    assert [m.run for m in again.members] == [m.run for m in job.members]
    assert again.drops == {first.run: 3}, "it is to diverge again, and not to leave before"
    assert again.recorded == 2
    assert [m.attempt == 0 for m in again.members] == [True, False, False, False]
    assert again.identity == job.identity
    assert len(rest) == 3


def _diverged(one: Stage, job, member, *, round: int):
    from sweeper.engine.messages import MemberResult, Message, PackProgress

    members = tuple(
        MemberResult(run=m.run, attempt=m.attempt, numbers=bytes(4 * one.length))
        for m in job.members
    )
    gone = replace(members[0], end=Ending.DIVERGED)
    assert gone.run == member.run
    reached = PackProgress(round=round, rounds=3, step=round, epoch=round, evaluation=round)
    return Message(
        pack=job.pack, job=job.number, reached=reached, seconds=1.0, node="", device="",
        from_epoch=0, members=(gone, *members[1:]), done=False,
    )  # fmt: skip


def test_a_pruned_cell_leaves_its_pack_with_its_epoch(stage) -> None:
    """All its replicates stop together, at the round they were judged by; the others go on."""
    spec = SPEC.replace("[0.01, 0.1]", "[0.01, 0.1, 1.0]").replace("pack: 4", "pack: 6")
    one = stage(spec + "pruner: {method: asha, reduction: 3}\n")
    job = one.begin()
    lr = {m.run: m.config["train"]["lr"] for m in job.members}
    worth = {0.01: 0.2, 0.1: 0.9, 1.0: 0.5}
    one.say(job, 1, value=lambda place: worth[lr[job.members[place].run]])
    pruned = [r for r in one.runs() if r.state is RunState.PRUNED]
    assert pruned
    assert {r.epoch for r in pruned} == {1}
    assert {r.id for r in pruned} == set(one.hand.dropped)
    assert all(lr[r.id] != 0.1 for r in pruned), "the best cell was pruned"
    assert len({r.cell_id for r in pruned}) * 2 == len(pruned), "half a cell was pruned"


def test_a_pack_that_a_node_would_compute_wrongly_goes_on_in_the_next_form(stage) -> None:
    """Nothing is held against its runs, and further packs of its kind take that form."""
    one = stage()
    job = one.begin()
    one.say(job, 0, refusal=Refusal(text="form 'folded' is wrong here", form="native"))
    again = one.begin("t2")
    assert (job.form, again.form) == ("folded", "native")
    assert {m.run for m in again.members} == {m.run for m in job.members}
    assert {a.ending for a in one.store.attempts(one.sweep_id) if a.ended_at is not None} == {
        Ending.CANCELLED
    }


def test_a_pack_that_no_form_computes_right_stops_the_launch(stage) -> None:
    """The error names the layer."""
    one = stage()
    job = one.begin()
    with pytest.raises(EngineError, match="no form is left"):
        one.say(job, 0, refusal=Refusal(text="no form is left to train with: a layer"))
