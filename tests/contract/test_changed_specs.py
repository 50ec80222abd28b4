"""A spec that changes under its sweep: what is added, taken back, hidden and shown again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import optuna
import pytest
from optuna.distributions import IntDistribution
from optuna.trial import TrialState
from sqlalchemy import event, update
from store_samples import HOLDER, Plan, new_cell

from sweeper.analysis.frames import load
from sweeper.errors import LeaseLost
from sweeper.states import Ending, RunState
from sweeper.status import sweep_status
from sweeper.store import Store
from sweeper.store.lease import EXPIRY
from sweeper.store.records import NewCell
from sweeper.store.study import Study
from sweeper.store.tables import LeaseTable

STATED = {"objective": {"metric": "accuracy"}, "search": {"method": "factorial"}}


@pytest.fixture
def study(store_url: str, plan: Plan) -> Iterator[Study]:
    """The mirror of the planned sweep, not yet made."""
    made = Study(
        store_url, plan.sweep.name, objective="accuracy", direction="maximize",
        sampler=optuna.samplers.RandomSampler(seed=0),
    )  # fmt: skip
    yield made
    made.close()


def _sync(plan: Plan, study: Study) -> int:
    return study.sync(plan.store, plan.lease, plan.sweep)


def _seen(study: Study) -> optuna.Study:
    """As a process sees it that looks for the first time: Optuna keeps finished trials in mind."""
    return optuna.load_study(study_name=study.name, storage=study._storage)


def _trials(study: Study) -> list[optuna.trial.FrozenTrial]:
    return _seen(study).get_trials()


def _expire(store: Store) -> None:
    back = update(LeaseTable).values(beat_at=LeaseTable.beat_at - EXPIRY - 5)
    store.database.write(lambda connection: connection.execute(back))


def test_a_cell_takes_the_factors_that_it_is_asked_for_with(plan: Plan, study: Study) -> None:
    """A factor stated later at the value it had makes no new cell, but its trial has it."""
    for run_id in plan.run_ids:
        plan.finish(run_id)
    _sync(plan, study)
    more = {**new_cell(0).factors, "train.depth": 8}
    (cell,) = plan.store.add_cells(plan.lease, [new_cell(0, factors=more)])
    assert (cell.id, cell.factors, cell.mirrored) == (plan.cells[0].id, more, False)
    assert plan.store.cells(plan.sweep.id)[0] == cell
    _sync(plan, study)
    assert _trials(study)[0].params == more


def test_a_cell_takes_the_configuration_of_this_launch(plan: Plan, study: Study) -> None:
    """Data that have moved are read where they lie now; Optuna has nothing to learn from it."""
    for run_id in plan.run_ids:
        plan.finish(run_id)
    _sync(plan, study)
    moved = {"data": {"path": "/elsewhere.npz"}, "train": {"batch_size": 2}}
    (cell,) = plan.store.add_cells(plan.lease, [new_cell(0, config=moved)])
    assert plan.store.cells(plan.sweep.id)[0].config == cell.config == moved
    assert cell.mirrored


def test_fewer_replicates_let_a_cell_finish(plan: Plan, study: Study) -> None:
    """What is no longer wanted is not waited for; the trial is of the wanted replicates."""
    first, unwanted = plan.run_ids[:2]
    plan.finish(first, value=0.25)
    (cell,) = plan.store.add_cells(plan.lease, [new_cell(0, replicates=(0,))])
    assert cell.replicates == (0,)
    assert _sync(plan, study) == 1
    (trial,) = _trials(study)
    assert (trial.value, trial.user_attrs["n"]) == (0.25, 1)
    counts = plan.store.counts(plan.sweep.id)
    assert (counts[RunState.COMPLETE], counts[RunState.PENDING]) == (1, 2)
    assert plan.run(unwanted).state is RunState.PENDING


def test_results_of_replicates_given_up_are_kept_and_not_used(plan: Plan, study: Study) -> None:
    """Taken back they are in no mean; asked for again they are there, without another run."""
    plan.finish(plan.run_ids[0], value=0.25)
    plan.finish(plan.run_ids[1], value=0.75)
    _sync(plan, study)
    plan.store.add_cells(plan.lease, [new_cell(0, replicates=(0,))])
    assert _sync(plan, study) == 1
    assert _trials(study)[0].value == 0.25
    assert plan.run(plan.run_ids[1]).value == 0.75
    plan.store.add_cells(plan.lease, [new_cell(0)])
    assert _sync(plan, study) == 1
    assert _trials(study)[0].value == 0.5


def test_nobody_retries_what_is_not_wanted(plan: Plan) -> None:
    """A failed run of a hidden cell or of a replicate given up stays as it is."""
    plan.begin([plan.run_ids[1], plan.run_ids[2]])
    for run_id in (plan.run_ids[1], plan.run_ids[2]):
        plan.record(plan.report(run_id, value=None, ending=Ending.DIVERGED))
    plan.store.add_cells(plan.lease, [new_cell(0, replicates=(0,))])
    plan.store.hide_cells(plan.lease, [("report", "cell-0")])
    assert plan.store.retry_failed(plan.lease, None) == 0
    plan.store.add_cells(plan.lease, [new_cell(1)])
    assert plan.store.retry_failed(plan.lease, None) == 1


def test_a_retry_reopens_its_cell_once(plan: Plan, study: Study) -> None:
    """The cell is finished again when its retried run is, and not before."""
    plan.finish(plan.run_ids[0])
    plan.begin([plan.run_ids[1]])
    plan.record(plan.report(plan.run_ids[1], value=None, ending=Ending.DIVERGED))
    plan.store.retry_failed(plan.lease, None)
    plan.store.add_cells(plan.lease, [new_cell(0)])
    assert _sync(plan, study) == 0
    plan.attempts.clear()
    plan.finish(plan.run_ids[1])
    assert _sync(plan, study) == 1


def test_a_cell_is_hidden_by_role_and_hash(plan: Plan) -> None:
    """A pick that tuning no longer makes is hidden, though its candidate is still asked for."""
    plan.store.add_cells(plan.lease, [new_cell(0, role="tuning", replicates=(-1,))])
    plan.store.hide_cells(plan.lease, [("tuning", "cell-0"), ("report", "cell-1")])
    hidden = {(c.role, c.hash): c.hidden for c in plan.store.cells(plan.sweep.id)}
    assert hidden == {
        ("report", "cell-0"): True, ("report", "cell-1"): False, ("tuning", "cell-0"): False,
    }  # fmt: skip


def test_a_hidden_cell_is_nobodys_best_trial(plan: Plan, study: Study) -> None:
    """Reached at another budget, say, its value is neither compared nor learnt from."""
    for run_id, value in zip(plan.run_ids, (0.75, 0.75, 0.25, 0.25), strict=True):
        plan.finish(run_id, value=value)
    _sync(plan, study)
    assert _seen(study).best_trial.value == 0.75
    plan.store.hide_cells(plan.lease, [("report", "cell-1")])
    assert _sync(plan, study) == 1
    gone, kept = _trials(study)
    assert (gone.state, gone.value, gone.intermediate_values) == (TrialState.FAIL, None, {})
    assert gone.user_attrs["sweeper:hidden"] is True
    assert _seen(study).best_trial.number == kept.number
    plan.store.add_cells(plan.lease, [new_cell(0)])
    assert _sync(plan, study) == 1
    assert _seen(study).best_trial.value == 0.75
    assert "sweeper:hidden" not in _trials(study)[0].user_attrs


def test_a_hidden_cell_that_optuna_never_saw_gets_no_trial(plan: Plan, study: Study) -> None:
    """There is nothing to take back; shown again it is mirrored like any other."""
    for run_id in plan.run_ids[:2]:
        plan.finish(run_id)
    plan.store.hide_cells(plan.lease, [])
    assert _sync(plan, study) == 0
    assert _trials(study) == []
    plan.store.add_cells(plan.lease, [new_cell(0)])
    assert _sync(plan, study) == 1


def _ask(plan: Plan, study: Study) -> int:
    number, params = study.ask({"train.batch_size": IntDistribution(2, 32)})
    cell = NewCell(
        hash="asked", role="report", factors=params, config={}, class_counts=(1,),
        replicates=(0,), optuna_number=number,
    )  # fmt: skip
    plan.store.add_cells(plan.lease, [cell])
    return number


def test_hiding_an_unfinished_asked_cell_ends_its_trial(plan: Plan, study: Study) -> None:
    """Nothing stays RUNNING when nobody runs it."""
    _sync(plan, study)
    number = _ask(plan, study)
    assert _trials(study)[number].state is TrialState.RUNNING
    plan.store.hide_cells(plan.lease, [("report", "cell-0"), ("report", "cell-1")])
    _sync(plan, study)
    assert _trials(study)[number].state is TrialState.FAIL
    plan.finish(plan.store.runs(plan.sweep.id)[-1].id, value=0.5)
    assert _sync(plan, study) == 0, "hidden and ended again"


def test_who_lost_the_lease_asks_for_nothing(plan: Plan, study: Study) -> None:
    """No trial is left behind by a driver that was taken over before it asked."""
    with pytest.raises(ValueError, match="sync first"):
        study.ask({})
    _sync(plan, study)
    _expire(plan.store)
    plan.store.acquire(plan.sweep.id, HOLDER)
    with pytest.raises(LeaseLost):
        study.ask({"train.batch_size": IntDistribution(2, 32)})
    assert _trials(study) == []


def test_a_lease_lost_while_asking_leaves_no_trial_running(
    plan: Plan, study: Study, monkeypatch: pytest.MonkeyPatch, store_url: str
) -> None:
    """The asker makes no cell of it, and the next driver ends it, at its own end at the latest."""
    _sync(plan, study)
    other = Study(store_url, plan.sweep.name, objective="accuracy", direction="maximize")
    asked = study._asked

    def taken_over(*question: Any) -> Any:
        _expire(plan.store)
        lease = plan.store.acquire(plan.sweep.id, HOLDER)
        other.sync(plan.store, lease, plan.sweep)
        found = asked(*question)
        plan.lease = lease
        return found

    monkeypatch.setattr(study, "_asked", taken_over)
    with pytest.raises(LeaseLost):
        study.ask({"train.batch_size": IntDistribution(2, 32)})
    other.sync(plan.store, plan.lease, plan.sweep)
    assert [t.state for t in _trials(study)] == [TrialState.RUNNING]
    other.settle(plan.store, plan.lease, plan.sweep)
    other.close()
    assert [t.state for t in _trials(study)] == [TrialState.FAIL]


def test_a_sweep_without_a_living_driver_is_not_running(plan: Plan) -> None:
    """Whatever a killed driver wrote last; its runs are nobody's."""
    plan.begin([plan.run_ids[0]])
    plan.store.update_sweep(plan.lease, state="running", state_reason="")
    alive = plan.store.sweep("digits")
    assert alive is not None
    assert alive.state == "running"
    assert plan.run(plan.run_ids[0]).state is RunState.RUNNING
    _expire(plan.store)
    dead = plan.store.sweep("digits")
    assert dead is not None
    assert (dead.state, dead.alive) == ("interrupted", False)
    assert "driver" in dead.state_reason
    assert plan.run(plan.run_ids[0]).state is RunState.PENDING
    plan.store.release(plan.store.acquire(plan.sweep.id, HOLDER))
    released = plan.store.sweep("digits")
    assert released is not None
    assert released.state == "interrupted"


def test_a_retry_makes_a_complete_sweep_interrupted(plan: Plan) -> None:
    """There is something to do again, and status says so."""
    plan.store.update_sweep(plan.lease, state="complete", state_reason="1 runs failed")
    assert plan.store.retry_failed(plan.lease, None) == 0
    assert _state(plan) == ("complete", "1 runs failed")
    plan.begin([plan.run_ids[0]])
    plan.record(plan.report(plan.run_ids[0], value=None, ending=Ending.DIVERGED))
    plan.store.retry_failed(plan.lease, None)
    assert _state(plan) == ("interrupted", "1 runs are to be tried again")


def _state(plan: Plan) -> tuple[str, str]:
    found = plan.store.sweep("digits")
    assert found is not None
    return found.state, found.state_reason


def test_question_and_facts_can_be_restated(plan: Plan) -> None:
    """A later launch may ask in other words, of data that have grown."""
    plan.store.update_sweep(plan.lease, question="And now?", facts={"fingerprint": "g"})
    found = plan.store.sweep("digits")
    assert found is not None
    assert (found.question, found.facts) == ("And now?", {"fingerprint": "g"})
    assert found.provenance == plan.sweep.provenance


def test_failures_are_counted_by_the_database(plan: Plan) -> None:
    """Only those that count, since the last retry; no error's text is read for it."""
    one, two = plan.run_ids[:2]
    for run_id, ending in ((one, Ending.ERROR), (one, Ending.NODE_LOST), (two, Ending.CRASHED)):
        plan.begin([run_id])
        plan.record(plan.report(run_id, value=None, ending=ending, error="x" * 999))
    plan.begin([plan.run_ids[2]])
    with _sent(plan.store) as sent:
        assert plan.store.failures(plan.sweep.id) == {one: 1, two: 1}
    assert not any("error" in statement for statement in sent)
    plan.begin([one])
    plan.record(plan.report(one, value=None, ending=Ending.ERROR), max_attempts=2)
    plan.store.retry_failed(plan.lease, None)
    assert plan.store.failures(plan.sweep.id) == {two: 1}


class _sent:
    """Collects the statements that a store sends."""

    def __init__(self, store: Store) -> None:
        self._engine = store.database.engine
        self._statements: list[str] = []
        self._note: Callable[..., None] = lambda _c, _cursor, statement, *_: (
            self._statements.append(statement)
        )

    def __enter__(self) -> list[str]:
        event.listen(self._engine, "before_cursor_execute", self._note)
        return self._statements

    def __exit__(self, *_: object) -> None:
        event.remove(self._engine, "before_cursor_execute", self._note)


def test_status_and_report_count_what_is_wanted_and_alive(plan: Plan) -> None:
    """A killed driver's run is left to do, and a replicate given up is neither done nor left."""
    plan.finish(plan.run_ids[0])
    plan.finish(plan.run_ids[1])
    plan.begin(plan.run_ids[2:])
    plan.store.update_sweep(plan.lease, state="running", spec=STATED)
    plan.store.add_cells(plan.lease, [new_cell(0, replicates=(0,))])
    assert _status(plan) == {"complete": 1, "running": 2, "pending": 0}
    _expire(plan.store)
    assert _status(plan) == {"complete": 1, "running": 0, "pending": 2}
    frames = load(plan.store, "digits")
    assert sorted(frames.runs["state"]) == ["complete", "pending", "pending"]
    assert set(frames.curves["run"]) == {plan.run_ids[0]}
    assert list(frames.numbers.index) == [plan.run_ids[0]]


def _status(plan: Plan) -> dict[str, int]:
    sweep = plan.store.sweep("digits")
    assert sweep is not None
    runs = sweep_status(plan.store, sweep)["runs"]
    return {name: runs[name] for name in ("complete", "running", "pending")}
