"""What every store promises: one truth, legal moves, each result once, in a stable order."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest
from sqlalchemy import update
from store_samples import HOLDER, LAYOUT, Plan, new_cell, new_sweep, numbers, planned

from sweeper.errors import StoreError
from sweeper.states import Ending, RunState
from sweeper.store import Store
from sweeper.store.records import End, NewPack, Report
from sweeper.store.tables import AttemptTable


def test_a_sweep_comes_back_as_it_was_stated(store: Store) -> None:
    """Text, spec, layout, facts and provenance survive the database unchanged."""
    new = new_sweep(question="Größer? <b>\U0001f914", spec_text="a: 1\r\n\tb", spec={"x": [1, 2.5]})
    store.create_sweep(new)
    found = store.sweep("digits")
    assert found is not None
    assert {key: getattr(found, key) for key in vars(new)} == vars(new)
    assert found.layout == LAYOUT
    assert found.created_at.utcoffset() is not None
    assert (found.holder, found.state) == (None, "interrupted")


def test_creating_a_sweep_again_changes_nothing(store: Store) -> None:
    """The name is the identity: the second call returns the first sweep."""
    first = store.create_sweep(new_sweep())
    assert store.create_sweep(new_sweep(question="another")) == first
    assert [sweep.id for sweep in store.sweeps()] == [first.id]
    assert store.sweep("other") is None


def test_sweeps_of_one_database_do_not_mix(store: Store) -> None:
    """Cells, runs, packs and counts belong to one sweep."""
    one, other = planned(store), planned(store, name="other")
    one.finish(one.run_ids[0])
    assert not set(one.run_ids) & set(other.run_ids)
    assert store.counts(other.sweep.id)[RunState.PENDING] == 4
    assert list(store.observations(other.sweep.id, last_only=False)) == []


def test_a_run_of_another_sweep_is_not_begun(store: Store) -> None:
    """A lease lets nobody touch another sweep's runs."""
    one, other = planned(store), planned(store, name="other")
    with pytest.raises(ValueError, match="do not exist"):
        store.begin(one.lease, one.pack.id, other.run_ids)


def test_updating_a_sweep_changes_what_is_given(plan: Plan) -> None:
    """What is not given stays."""
    plan.store.update_sweep(plan.lease, state="halted", state_reason="10 in a row\0")
    found = plan.store.sweep("digits")
    assert found is not None
    assert (found.state, found.state_reason) == ("halted", "10 in a row\N{REPLACEMENT CHARACTER}")
    assert found.spec == plan.sweep.spec
    assert found.updated_at >= plan.sweep.updated_at


def test_prices_are_kept(plan: Plan) -> None:
    """What the probe measured is there for the next launch."""
    assert plan.store.prices(plan.sweep.id) == {}
    plan.store.save_prices(plan.lease, {"k": {"1": 0.5}})
    assert plan.store.prices(plan.sweep.id) == {"k": {"1": 0.5}}


def test_cells_come_back_in_the_order_given(store: Store) -> None:
    """Old ones among new ones included, each with a run for each replicate."""
    plan = planned(store, cells=[new_cell(2)])
    added = store.add_cells(plan.lease, [new_cell(n) for n in (3, 2, 1)])
    assert [cell.hash for cell in added] == ["cell-3", "cell-2", "cell-1"]
    assert added[1].id == plan.cells[0].id
    runs = store.runs(plan.sweep.id)
    assert [(r.cell_id, r.replicate) for r in runs] == [
        (cell.id, replicate) for cell in (added[1], added[0], added[2]) for replicate in (0, 1)
    ]
    assert {run.state for run in runs} == {RunState.PENDING}


def test_adding_a_cell_again_keeps_its_runs(plan: Plan) -> None:
    """The same spec again adds nothing and forgets nothing."""
    plan.finish(plan.run_ids[0])
    before = plan.store.runs(plan.sweep.id)
    plan.store.add_cells(plan.lease, [new_cell(1), new_cell(0)])
    assert plan.store.runs(plan.sweep.id) == before
    assert len(plan.store.cells(plan.sweep.id)) == 2


def test_more_replicates_add_only_the_missing_runs(plan: Plan) -> None:
    """Finished runs stay, and the cell is to be mirrored anew."""
    for run_id in plan.run_ids:
        plan.finish(run_id)
    (cell,) = plan.store.add_cells(plan.lease, [new_cell(0, replicates=(0, 1, 2))])
    assert (cell.replicates, cell.mirrored) == ((0, 1, 2), False)
    assert plan.store.counts(plan.sweep.id)[RunState.PENDING] == 1


def test_the_same_configuration_may_be_tuned_and_reported(plan: Plan) -> None:
    """A cell's identity is its hash within its role."""
    tuning = new_cell(0, role="tuning", replicates=(-1, -2))
    (cell,) = plan.store.add_cells(plan.lease, [tuning])
    assert cell.id not in {other.id for other in plan.cells}
    assert cell.replicates == (-1, -2)


def test_hidden_cells_keep_their_results_and_leave_the_counts(plan: Plan) -> None:
    """Levels that the spec no longer has are kept, hidden; asked for again, they are back."""
    plan.finish(plan.run_ids[0])
    plan.store.hide_cells(plan.lease, [("report", "cell-1")])
    assert [cell.hidden for cell in plan.store.cells(plan.sweep.id)] == [True, False]
    assert plan.store.counts(plan.sweep.id)[RunState.COMPLETE] == 0
    plan.store.add_cells(plan.lease, [new_cell(0)])
    assert plan.store.counts(plan.sweep.id)[RunState.COMPLETE] == 1


def test_packs_keep_the_plans_order_and_their_composition(plan: Plan) -> None:
    """Positions rise over calls, run ids come back as given, and a pack can be dissolved."""
    packs = [NewPack(key=k, run_ids=(3, 1), form="looped", seconds=0.5) for k in "ab"]
    added = plan.store.add_packs(plan.lease, packs)
    assert plan.store.add_packs(plan.lease, []) == []
    plan.store.dissolve(plan.lease, added[0].id)
    found = plan.store.packs(plan.sweep.id)
    assert [(p.key, p.dissolved) for p in found] == [("k", False), ("a", True), ("b", False)]
    assert found[1].run_ids == (3, 1)
    assert [p.position for p in found] == sorted({p.position for p in found})


def test_attempts_exist_before_dispatch(plan: Plan) -> None:
    """Beginning makes one open attempt a run and moves the runs to RUNNING."""
    made = plan.begin(plan.run_ids[:2])
    attempts = plan.store.attempts(plan.sweep.id)
    assert {a.run_id: a.id for a in attempts} == made
    assert {(a.number, a.lease_epoch, a.ending, a.ended_at) for a in attempts} == {
        (1, plan.lease.epoch, None, None)
    }
    assert plan.store.counts(plan.sweep.id)[RunState.RUNNING] == 2


def test_a_finished_run_is_never_begun_again(plan: Plan) -> None:
    """COMPLETE is final."""
    plan.finish(plan.run_ids[0])
    with pytest.raises(ValueError, match="cannot go"):
        plan.begin([plan.run_ids[0]])


def test_a_run_is_not_begun_in_two_packs(plan: Plan) -> None:
    """At any time one attempt at most holds a run."""
    plan.begin()
    (other,) = plan.store.add_packs(
        plan.lease, [NewPack(key="k", run_ids=(plan.run_ids[0],), form="folded", seconds=0.0)]
    )
    with pytest.raises(ValueError, match="cannot go"):
        plan.store.begin(plan.lease, other.id, other.run_ids)


def test_a_result_is_recorded_with_its_numbers(plan: Plan) -> None:
    """Every epoch's vector, the value, the time, the node and the device come back."""
    run_id = plan.run_ids[0]
    plan.begin()
    plan.record(plan.report(run_id, epoch=1, node="n1", device="cpu", from_epoch=0))
    states = plan.record(plan.report(run_id, epoch=2, value=0.75, ending=Ending.COMPLETE))
    run = plan.run(run_id)
    assert states == {run_id: RunState.COMPLETE}
    assert (run.state, run.ending, run.epoch, run.value) == (
        RunState.COMPLETE, Ending.COMPLETE, 2, 0.75,
    )  # fmt: skip
    assert run.seconds == 2.0
    seen = list(plan.store.observations(plan.sweep.id, last_only=False))
    assert [(o.epoch, o.step, o.numbers) for o in seen] == [
        (1, 10, numbers(0.5)), (2, 20, numbers(0.75)),
    ]  # fmt: skip
    attempt = plan.store.attempts(plan.sweep.id)[0]
    assert (attempt.node, attempt.device, attempt.seconds) == ("n1", "cpu", 2.0)
    assert attempt.ended_at is not None
    assert attempt.ended_at >= attempt.started_at


def test_last_only_gives_each_run_its_last_epoch(plan: Plan) -> None:
    """By run, one vector each."""
    for run_id, epochs in zip(plan.run_ids[:2], (3, 2), strict=True):
        plan.finish(run_id, epochs=epochs)
    seen = list(plan.store.observations(plan.sweep.id, last_only=True))
    assert [(o.run_id, o.epoch) for o in seen] == [(plan.run_ids[0], 3), (plan.run_ids[1], 2)]


def test_some_numbers_alone_come_in_the_order_asked_for(plan: Plan) -> None:
    """They are the whole vector's at these places, whatever the database."""
    plan.finish(plan.run_ids[0], epochs=2)
    whole = [np.frombuffer(o.numbers, "<f4")
             for o in plan.store.observations(plan.sweep.id, last_only=False)]  # fmt: skip
    places = [len(whole[0]) - 1, 0]
    [rows] = plan.store.curves(plan.sweep.id, places)
    assert [tuple(row[:3]) for row in rows] == [(plan.run_ids[0], 1, 10), (plan.run_ids[0], 2, 20)]
    np.testing.assert_array_equal(
        [np.frombuffer(b"".join(row[3:]), "<f4") for row in rows], [one[places] for one in whole]
    )


def test_recording_a_report_twice_is_recording_it_once(plan: Plan) -> None:
    """The same message again changes neither numbers, nor times, nor states."""
    run_id = plan.run_ids[0]
    plan.begin()
    reports = [
        plan.report(run_id, epoch=1),
        plan.report(run_id, epoch=2, ending=Ending.COMPLETE),
    ]
    plan.record(*reports)
    once = (plan.run(run_id), plan.store.attempts(plan.sweep.id), plan.epochs(run_id))
    plan.record(*reports)
    assert (plan.run(run_id), plan.store.attempts(plan.sweep.id), plan.epochs(run_id)) == once


def test_the_first_result_wins_and_the_later_is_superseded(plan: Plan) -> None:
    """A worker that was given up comes back with another result: it changes nothing."""
    run_id = plan.run_ids[0]
    plan.begin([run_id])
    lost = plan.report(run_id, epoch=2, value=0.9, ending=Ending.COMPLETE)
    plan.record(plan.report(run_id, value=None, ending=Ending.NODE_LOST))
    plan.begin([run_id])
    plan.record(plan.report(run_id, epoch=2, value=0.5, ending=Ending.COMPLETE))
    plan.record(lost)
    assert plan.endings(run_id) == [Ending.SUPERSEDED, Ending.COMPLETE]
    assert plan.run(run_id).value == 0.5
    seen = list(plan.store.observations(plan.sweep.id, last_only=False))
    assert [o.numbers for o in seen] == [numbers(0.5)]


def test_a_given_up_attempt_has_no_say_while_another_runs(plan: Plan) -> None:
    """Numbers of two attempts never mix in one curve."""
    run_id = plan.run_ids[0]
    plan.begin([run_id])
    late = plan.report(run_id, epoch=5, value=0.9, ending=Ending.COMPLETE)
    plan.record(plan.report(run_id, value=None, ending=Ending.NODE_LOST))
    plan.begin([run_id])
    plan.record(plan.report(run_id, epoch=1))
    assert plan.record(late) == {run_id: RunState.RUNNING}
    assert plan.epochs(run_id) == [1]


def test_an_epoch_recorded_again_cuts_off_what_lay_behind(plan: Plan) -> None:
    """A run that goes on from an earlier checkpoint writes its curve anew from there."""
    run_id = plan.run_ids[0]
    plan.begin([run_id])
    plan.record(*[plan.report(run_id, epoch=epoch) for epoch in (1, 2, 3, 4)])
    plan.record(plan.report(run_id, value=None, ending=Ending.CRASHED))
    plan.begin([run_id])
    plan.record(plan.report(run_id, epoch=3, value=0.7, from_epoch=2))
    assert (plan.epochs(run_id), plan.run(run_id).epoch) == ([1, 2, 3], 3)


@pytest.mark.parametrize(
    ("delivered", "kept"),
    [((1, 2, 1, 3), [1, 2, 3]), ((1, 2, 2, 1, 3, 2), [1, 2, 3]), ((2, 1, 3), [1, 2, 3])],
)
def test_47_an_attempt_never_goes_back(plan: Plan, delivered, kept) -> None:
    """A round that is delivered again, or late, cuts no later round of the same attempt."""
    run_id = plan.run_ids[0]
    plan.begin([run_id])
    for epoch in delivered:
        plan.record(plan.report(run_id, epoch=epoch, value=epoch / 10))
    assert plan.run(run_id).epoch == 3
    plan.record(plan.report(run_id, epoch=4, value=0.4, ending=Ending.COMPLETE))
    assert plan.epochs(run_id) == [*kept, 4]
    seen = plan.store.observations(plan.sweep.id, last_only=False)
    assert [o.numbers for o in seen] == [numbers(epoch / 10) for epoch in (*kept, 4)]


def test_47_a_later_attempt_goes_back_to_its_checkpoint_once(plan: Plan) -> None:
    """It may report rounds without an evaluation first; what it cuts is another attempt's."""
    run_id = plan.run_ids[0]
    plan.begin([run_id])
    plan.record(*[plan.report(run_id, epoch=epoch) for epoch in (2, 4, 6)])
    plan.record(plan.report(run_id, value=None, ending=Ending.CRASHED))
    plan.begin([run_id])
    plan.record(plan.report(run_id, epoch=3, value=None, from_epoch=2))
    again = [plan.report(run_id, epoch=epoch, value=0.7) for epoch in (4, 6)]
    plan.record(again[0])
    assert plan.epochs(run_id) == [2, 4]
    plan.record(again[1])
    plan.record(again[0])
    assert (plan.epochs(run_id), plan.run(run_id).epoch) == ([2, 4, 6], 6)


def test_a_run_fails_when_its_counted_attempts_are_spent(plan: Plan) -> None:
    """Node losses do not count, errors do; the deciding attempt's text is kept."""
    run_id, states = plan.run_ids[0], []
    for ending in (Ending.ERROR, Ending.NODE_LOST, Ending.PREEMPTED, Ending.CRASHED):
        plan.begin([run_id])
        report = plan.report(run_id, value=None, ending=ending, error=f"{ending}\0\ud800")
        states.append(plan.record(report, max_attempts=2)[run_id])
    assert states == [RunState.PENDING] * 3 + [RunState.FAILED]
    run = plan.run(run_id)
    assert run.ending is Ending.CRASHED
    assert run.error == "crashed\N{REPLACEMENT CHARACTER}?"
    assert [a.number for a in plan.store.attempts(plan.sweep.id)] == [1, 2, 3, 4]


@pytest.mark.parametrize("ending", [Ending.DIVERGED, Ending.BAD_CONFIG])
def test_what_would_end_the_same_way_is_not_tried_again(plan: Plan, ending: Ending) -> None:
    """Diverging and a configuration that cannot be used fail the run at once."""
    plan.begin([plan.run_ids[0]])
    plan.record(plan.report(plan.run_ids[0], value=None, ending=ending), max_attempts=9)
    assert plan.run(plan.run_ids[0]).state is RunState.FAILED


def test_a_pruned_run_keeps_its_epoch_and_has_no_value(plan: Plan) -> None:
    """Values reached at different budgets are never mixed."""
    plan.begin([plan.run_ids[0]])
    plan.record(plan.report(plan.run_ids[0], epoch=3, ending=Ending.PRUNED))
    run = plan.run(plan.run_ids[0])
    assert (run.state, run.epoch, run.value) == (RunState.PRUNED, 3, None)


def test_a_run_that_never_began_can_be_pruned(plan: Plan) -> None:
    """A cell is pruned as a whole, its waiting replicates with it, without an attempt."""
    report = Report(run_id=plan.run_ids[1], attempt_id=0, end=End(ending=Ending.PRUNED))
    assert plan.record(report) == {plan.run_ids[1]: RunState.PRUNED}
    assert plan.record(report) == {plan.run_ids[1]: RunState.PRUNED}
    assert plan.store.attempts(plan.sweep.id) == []


def test_a_value_that_is_not_finite_is_none(plan: Plan) -> None:
    """Both databases say the same of it."""
    plan.finish(plan.run_ids[0], value=float("nan"))
    assert plan.run(plan.run_ids[0]).value is None


@pytest.mark.parametrize(("run", "attempt"), [(99, 1), (0, 99), (1, 0)])
def test_a_report_of_nothing_that_exists_is_refused(plan: Plan, run: int, attempt: int) -> None:
    """An unknown run, an unknown attempt, or another run's attempt: nothing is written."""
    made = plan.begin()
    ids = dict(enumerate(plan.run_ids))
    report = Report(
        run_id=ids.get(run, run),
        attempt_id=made.get(ids.get(attempt, -1), attempt),
        epoch=1,
        numbers=numbers(0.5),
    )
    with pytest.raises(ValueError, match=r"there is no run|has no attempt"):
        plan.record(plan.report(plan.run_ids[3]), report)
    assert list(plan.store.observations(plan.sweep.id, last_only=False)) == []


def test_failed_runs_are_retried_by_ending(plan: Plan) -> None:
    """The attempts before a retry no longer count."""
    for run_id, ending in zip(plan.run_ids[:2], (Ending.ERROR, Ending.DIVERGED), strict=True):
        plan.begin([run_id])
        plan.record(plan.report(run_id, value=None, ending=ending), max_attempts=1)
    assert plan.store.retry_failed(plan.lease, [Ending.ERROR]) == 1
    assert plan.run(plan.run_ids[1]).state is RunState.FAILED
    plan.begin([plan.run_ids[0]])
    again = plan.report(plan.run_ids[0], value=None, ending=Ending.ERROR)
    assert plan.record(again, max_attempts=2) == {plan.run_ids[0]: RunState.PENDING}
    assert plan.store.retry_failed(plan.lease, None) == 1


def test_failed_runs_are_retried_by_age(plan: Plan) -> None:
    """Only those whose last attempt ended in the last so many hours, by the database's clock."""
    for run_id in plan.run_ids[:2]:
        plan.begin([run_id])
        plan.record(plan.report(run_id, value=None, ending=Ending.ERROR), max_attempts=1)
    old = update(AttemptTable).where(AttemptTable.run_id == plan.run_ids[0])
    earlier = old.values(ended_at=AttemptTable.ended_at - 3 * 3600)
    plan.store.database.write(lambda connection: connection.execute(earlier))
    assert plan.store.retry_failed(plan.lease, None, hours=2) == 1
    assert plan.run(plan.run_ids[0]).state is RunState.FAILED
    assert plan.store.retry_failed(plan.lease, [Ending.CRASHED], hours=4) == 0
    assert plan.store.retry_failed(plan.lease, [Ending.ERROR], hours=4) == 1


def test_counts_name_every_state(plan: Plan) -> None:
    """One number a state, zeros included; they add up to all runs."""
    plan.finish(plan.run_ids[0])
    plan.begin([plan.run_ids[1]])
    assert plan.store.counts(plan.sweep.id) == {
        RunState.PENDING: 2, RunState.RUNNING: 1, RunState.COMPLETE: 1,
        RunState.PRUNED: 0, RunState.FAILED: 0,
    }  # fmt: skip


def test_many_keys_in_one_call(store: Store) -> None:
    """More cells and reports than one statement may name."""
    plan = planned(store, cells=[new_cell(n, replicates=(0,)) for n in range(1100)])
    plan.begin(plan.run_ids)
    plan.record(*[plan.report(run_id, ending=Ending.COMPLETE) for run_id in plan.run_ids])
    assert store.counts(plan.sweep.id)[RunState.COMPLETE] == 1100
    assert len(list(store.observations(plan.sweep.id, last_only=True))) == 1100
    store.hide_cells(plan.lease, [])
    assert sum(store.counts(plan.sweep.id).values()) == 0


def test_threads_may_share_a_store(plan: Plan) -> None:
    """The heart-beat and two recorders at once: nothing lost, no error."""
    plan.begin()
    errors: list[BaseException] = []

    def work(job: Callable[[int], object]) -> None:
        try:
            for turn in range(1, 20):
                job(turn)
        except BaseException as error:  # noqa: BLE001 - handed to the test
            errors.append(error)

    jobs = [
        lambda _: plan.store.beat(plan.lease),
        lambda turn: plan.record(plan.report(plan.run_ids[0], epoch=turn)),
        lambda turn: plan.record(plan.report(plan.run_ids[1], epoch=turn)),
    ]
    threads = [threading.Thread(target=work, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert [len(plan.epochs(run_id)) for run_id in plan.run_ids[:2]] == [19, 19]


def test_a_reader_beside_the_writer_never_breaks_it(
    plan: Plan, opened: Callable[..., Store]
) -> None:
    """The dashboard and `sweeper status` look on from other connections, mid-read included."""
    reader = opened(create=False)
    seen = reader.observations(plan.sweep.id, last_only=False)
    for run_id in plan.run_ids:
        plan.finish(run_id)
        assert reader.sweep("digits") is not None
    assert len(list(seen)) == 8
    assert reader.counts(plan.sweep.id)[RunState.COMPLETE] == 4


def test_a_name_of_a_tuning_study_is_refused(store: Store) -> None:
    """NAME.tuning is the study of another sweep's tuning cells."""
    with pytest.raises(StoreError, match=r"digits\.tuning"):
        store.create_sweep(new_sweep("digits.tuning"))


def test_a_second_open_finds_what_the_first_wrote(plan: Plan, opened: Callable[..., Store]) -> None:
    """Everything is in the database, nothing in the process."""
    plan.finish(plan.run_ids[0])
    plan.store.close()
    again = opened(create=False)
    assert again.counts(plan.sweep.id)[RunState.COMPLETE] == 1
    found = again.sweep("digits")
    assert found is not None
    assert found.holder is not None
    assert found.holder["host"] == HOLDER["host"]
