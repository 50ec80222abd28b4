"""Fault 51: the database fails at the n-th call, for n = 1, 2, ... until it passes.

Each failure is injected below SQLAlchemy, before the call (nothing happened) or after it (it
happened, and the caller got an error): after a commit, that is the unknown commit. Whatever n, the
history must be that of an undisturbed sweep.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from patience import HANG
from servers import Server
from sqlalchemy import event, text
from store_samples import HOLDER, Plan, new_cell, planned

from sweeper.errors import SweeperError
from sweeper.states import Ending, RunState
from sweeper.store import Store, database
from sweeper.store import study as study_module
from sweeper.store.records import NewPack, Report
from sweeper.store.study import Study

MOST_CALLS = 200


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "FIRST_WAIT", 0.001)


class Faults:
    """Fails the n-th call that the store makes to its driver; counts them all."""

    def __init__(self, store: Store, *, fail_at: int, after: bool) -> None:
        self.calls, self.fail_at, self.after = 0, fail_at, after
        self.store = store

    def _error(self) -> Exception:
        if self.store.database.address.dialect == "sqlite":
            error = sqlite3.OperationalError("database is locked")
            error.sqlite_errorname = "SQLITE_BUSY"
            return error
        return psycopg.OperationalError("server closed the connection unexpectedly")

    def around(self, call: Callable[[], Any]) -> Any:
        self.calls += 1
        if self.calls != self.fail_at:
            return call()
        if self.after:
            call()
        raise self._error()

    @contextmanager
    def injected(self) -> Iterator[Faults]:
        engine = self.store.database.engine
        commit = engine.dialect.do_commit

        def execute(cursor: Any, statement: str, parameters: Any, _context: Any) -> bool:
            self.around(lambda: cursor.execute(statement, parameters))
            return True

        def many(cursor: Any, statement: str, parameters: Any, _context: Any) -> bool:
            self.around(lambda: cursor.executemany(statement, parameters))
            return True

        def commits(connection: Any) -> None:
            self.around(lambda: commit(connection))

        event.listen(engine, "do_execute", execute)
        event.listen(engine, "do_executemany", many)
        engine.dialect.do_commit = commits  # type: ignore[method-assign]
        try:
            yield self
        finally:
            event.remove(engine, "do_execute", execute)
            event.remove(engine, "do_executemany", many)
            engine.dialect.do_commit = commit  # type: ignore[method-assign]


def _until_it_passes(
    opened: Callable[..., Store], job: Callable[[Plan], Any], *, after: bool
) -> list[tuple[Plan, Any]]:
    """Runs the job with the n-th call failing, n = 1, 2, ..., each on a sweep of its own."""
    store, outcomes = opened(), []
    for n in range(1, MOST_CALLS):
        plan = planned(store, name=f"sweep-{n}")
        plan.begin(plan.run_ids[:2])
        with Faults(store, fail_at=n, after=after).injected() as faults:
            outcomes.append((plan, job(plan)))
        if faults.calls < n:
            assert n > 4, "the store made hardly a call: the faults miss it"
            return outcomes
    raise AssertionError(f"still failing after {MOST_CALLS} calls")


def _reports(plan: Plan) -> list[Report]:
    first, second = plan.run_ids[:2]
    return [
        plan.report(first, epoch=1),
        plan.report(first, epoch=2, value=0.75, ending=Ending.COMPLETE, correct=b"\0\xff"),
        plan.report(second, epoch=1, value=None, ending=Ending.CRASHED, error="signal 9"),
    ]


def _history(plan: Plan) -> Any:
    """Everything that must not depend on what went wrong: runs by their place, not by their id."""
    store, sweep_id = plan.store, plan.sweep.id
    place = {run.id: number for number, run in enumerate(store.runs(sweep_id))}
    return (
        [(r.state, r.epoch, r.value, r.ending, r.error, r.seconds)
         for r in store.runs(sweep_id)],
        [(place[a.run_id], a.number, a.ending, a.seconds, a.ended_at is None)
         for a in store.attempts(sweep_id)],
        [(place[o.run_id], o.epoch, o.step, o.numbers)
         for o in store.observations(sweep_id, last_only=False)],
        [(place[p.run_id], p.bits) for p in store.predictions(sweep_id)],
        [(c.hash, c.replicates, c.mirrored) for c in store.cells(sweep_id)],
        [(p.key, [place[r] for r in p.run_ids], p.position) for p in store.packs(sweep_id)],
    )  # fmt: skip


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_recording_survives_a_failure_at_any_call(
    opened: Callable[..., Store], after: bool
) -> None:
    """Nothing lost, nothing double."""
    outcomes = _until_it_passes(opened, lambda plan: plan.record(*_reports(plan)), after=after)
    undisturbed = _history(outcomes[-1][0])
    assert [run[0] for run in undisturbed[0][:2]] == [RunState.COMPLETE, RunState.PENDING]
    for plan, states in outcomes:
        assert states == {plan.run_ids[0]: RunState.COMPLETE, plan.run_ids[1]: RunState.PENDING}
        assert _history(plan) == undisturbed


def _beginning(plan: Plan) -> Any:
    made = plan.begin(plan.run_ids[2:])
    open_attempts = {a.run_id: a.id for a in plan.store.attempts(plan.sweep.id) if a.run_id in made}
    return made == open_attempts


def _planning(plan: Plan) -> Any:
    cells = plan.store.add_cells(plan.lease, [new_cell(5), new_cell(0, replicates=(0, 1, 2))])
    runs = (plan.run_ids[0],)
    pack = NewPack(key="new", run_ids=runs, form="folded", seconds=0.0)
    packs = plan.store.add_packs(plan.lease, [pack, pack])
    return len(cells), [p.key for p in packs]


def _retrying(plan: Plan) -> Any:
    report = plan.report(plan.run_ids[0], value=None, ending=Ending.ERROR)
    plan.record(report, max_attempts=1)
    plan.store.retry_failed(plan.lease, None)
    return plan.run(plan.run_ids[0]).state


def _taking(plan: Plan) -> Any:
    plan.store.release(plan.lease)
    return plan.store.acquire(plan.sweep.id, HOLDER).epoch


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("job", [_beginning, _planning, _retrying])
def test_other_writes_survive_a_failure_at_any_call(
    opened: Callable[..., Store], job: Callable[[Plan], Any], after: bool
) -> None:
    """Attempts, cells, packs and retries are made once."""
    outcomes = _until_it_passes(opened, job, after=after)
    undisturbed = (outcomes[-1][1], _history(outcomes[-1][0]))
    for plan, answer in outcomes:
        assert (answer, _history(plan)) == undisturbed


def test_taking_a_lease_survives_a_failure_before_any_call(opened: Callable[..., Store]) -> None:
    """One epoch further, and the runs of before wait again."""
    outcomes = _until_it_passes(opened, _taking, after=False)
    assert {epoch for _, epoch in outcomes} == {2}
    assert {_history(plan)[1][0][2] for plan, _ in outcomes} == {Ending.CANCELLED}


def test_a_take_over_whose_commit_is_unknown_is_not_held_against_us(
    opened: Callable[..., Store],
) -> None:
    """The lease that the lost commit took is found by its token: no HeldError, no second epoch."""
    store = opened()
    for n in range(1, MOST_CALLS):
        plan = planned(store, name=f"sweep-{n}")
        store.release(plan.lease)
        with Faults(store, fail_at=n, after=True).injected() as faults:
            assert store.acquire(plan.sweep.id, HOLDER).epoch == plan.lease.epoch + 1
        if faults.calls < n:
            return
    raise AssertionError("still failing")


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_the_mirror_survives_a_failure_at_any_call(
    opened: Callable[..., Store], store_url: str, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each cell is one trial, whatever failed while it was mirrored."""
    store = opened()
    storage = study_module._storage(store.database.address)  # once: it takes its time
    monkeypatch.setattr(study_module, "_storage", lambda _: storage)
    for n in range(1, MOST_CALLS):
        plan = planned(store, name=f"sweep-{n}")
        plan.begin()
        plan.record(*[plan.report(run, epoch=1, value=0.25) for run in plan.run_ids])
        ends = [plan.report(run, epoch=2, ending=Ending.COMPLETE) for run in plan.run_ids]
        plan.record(*ends)
        study = Study(store_url, plan.sweep.name, objective="accuracy", direction="maximize")
        with Faults(store, fail_at=n, after=after).injected() as faults:
            study.sync(store, plan.lease, plan.sweep)
        trials = study.study.trials
        study.close()
        assert [(t.number, t.value, t.intermediate_values) for t in trials] == [
            (0, 0.5, {1: 0.25, 2: 0.5}), (1, 0.5, {1: 0.25, 2: 0.5}),
        ]  # fmt: skip
        if faults.calls < n:
            return
    raise AssertionError("still failing")


def test_a_server_restarted_between_two_writes_is_waited_for(postgresql: Server) -> None:
    """The connection is gone; the next write makes another and goes on."""
    with Store.open(postgresql.make_database(), create=True, patience=HANG) as store:
        plan = planned(store)
        plan.begin()
        postgresql.stop()
        postgresql.start()
        plan.record(*[plan.report(run, ending=Ending.COMPLETE) for run in plan.run_ids])
        assert store.counts(plan.sweep.id)[RunState.COMPLETE] == 4


def test_patience_ends_with_one_line(plan: Plan) -> None:
    """A database that stays busy is an error of its own, not a traceback of the driver's."""
    plan.begin()
    plan.store.database.patience = 0.05
    faults = Faults(plan.store, fail_at=-1, after=False)
    faults.around = lambda _: (_ for _ in ()).throw(faults._error())  # type: ignore[method-assign]
    with faults.injected(), pytest.raises(SweeperError, match="does not answer") as caught:
        plan.record(plan.report(plan.run_ids[0]))
    assert "\n" not in str(caught.value)
    assert plan.epochs(plan.run_ids[0]) == []


def test_a_mistake_of_ours_is_never_retried(plan: Plan) -> None:
    """What no waiting mends comes out at once, and rolls everything back."""
    calls: list[int] = []

    def work(connection: Any) -> None:
        calls.append(1)
        connection.execute(text("DELETE FROM sweeper_observation"))
        raise ValueError("ours")

    plan.finish(plan.run_ids[0])
    with pytest.raises(ValueError, match="ours"):
        plan.store.database.write(work)
    assert (len(calls), plan.epochs(plan.run_ids[0])) == (1, [1, 2])
