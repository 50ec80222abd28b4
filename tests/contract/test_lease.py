"""One writer, fenced: who holds the lease, when it is free, and what the loser may still do."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import delete, select, update
from store_samples import HOLDER, Plan, new_cell, new_sweep

from sweeper.errors import HeldError, LeaseLost
from sweeper.states import Ending, RunState
from sweeper.store import Store
from sweeper.store.lease import BEAT, EXPIRY, here
from sweeper.store.records import Lease, NewPack
from sweeper.store.tables import LeaseTable, RunTable

OTHER = {"host": "another", "pid": 17}


def _age(store: Store, seconds: float) -> None:
    """Moves the last beat into the past, by the database's own clock."""
    query = update(LeaseTable).values(beat_at=LeaseTable.beat_at - seconds)
    store.database.write(lambda connection: connection.execute(query))


def test_a_held_lease_names_its_holder(plan: Plan) -> None:
    """The second launch's message has the host, the pid and the age of the last beat."""
    told = r"'digits' is held by elsewhere, pid 4242, last beat \d+ s"
    with pytest.raises(HeldError, match=told):
        plan.store.acquire(plan.sweep.id, OTHER)
    assert HeldError.exit_code == 5


def test_an_expired_lease_is_taken_over_with_a_higher_epoch(plan: Plan) -> None:
    """After 40 seconds without a beat, and not after 20."""
    _age(plan.store, EXPIRY / 2)
    with pytest.raises(HeldError):
        plan.store.acquire(plan.sweep.id, OTHER)
    _age(plan.store, EXPIRY / 2)
    assert plan.store.acquire(plan.sweep.id, OTHER).epoch == plan.lease.epoch + 1


def test_a_beat_keeps_the_lease(plan: Plan) -> None:
    """And so does any other write."""
    for keep in (plan.store.beat, lambda lease: plan.store.save_prices(lease, {})):
        _age(plan.store, EXPIRY + 5)
        keep(plan.lease)
        with pytest.raises(HeldError):
            plan.store.acquire(plan.sweep.id, OTHER)


def test_a_clock_set_back_does_not_lock_the_sweep(plan: Plan) -> None:
    """A beat from the future comes from no living driver: a living driver has beaten since."""
    _age(plan.store, -3600.0)
    assert plan.store.acquire(plan.sweep.id, OTHER).epoch == plan.lease.epoch + 1


def test_40_a_clock_set_back_a_little_does_not_hold_a_dead_drivers_sweep(plan: Plan) -> None:
    """A beat counts for at most 50 seconds: ten in which it lies in the future, and forty after."""
    _age(plan.store, -BEAT / 2)
    with pytest.raises(HeldError):
        plan.store.acquire(plan.sweep.id, OTHER)
    _age(plan.store, -BEAT)
    found = plan.store.sweep("digits")
    assert found is not None
    assert found.state == "interrupted"
    assert plan.store.acquire(plan.sweep.id, OTHER).epoch == plan.lease.epoch + 1


def test_a_released_lease_is_free_at_once(plan: Plan) -> None:
    """The next driver need not wait, and the last one may not write any more."""
    plan.store.release(plan.lease)
    found = plan.store.sweep("digits")
    assert found is not None
    assert found.holder is None
    with pytest.raises(LeaseLost):
        plan.store.beat(plan.lease)
    assert plan.store.acquire(plan.sweep.id, OTHER).epoch == plan.lease.epoch + 1


def _writes(plan: Plan) -> dict[str, Callable[[Lease], Any]]:
    store, run_id = plan.store, plan.run_ids[0]
    pack = NewPack(key="k", run_ids=(run_id,), form="folded", seconds=0.0)
    return {
        "beat": store.beat,
        "release": store.release,
        "update_sweep": lambda lease: store.update_sweep(lease, state="running"),
        "add_cells": lambda lease: store.add_cells(lease, [new_cell(7)]),
        "hide_cells": lambda lease: store.hide_cells(lease, []),
        "add_packs": lambda lease: store.add_packs(lease, [pack]),
        "add_stage": lambda lease: store.add_stage(lease, number=0, body={"n": 5}),
        "dissolve": lambda lease: store.dissolve(lease, plan.pack.id),
        "begin": lambda lease: store.begin(lease, plan.pack.id, plan.run_ids),
        "record": lambda lease: store.record(lease, [plan.report(run_id)], max_attempts=3),
        "retry_failed": lambda lease: store.retry_failed(lease, None),
        "retry_asked": lambda lease: store.retry_asked(lease, "digits"),
        "save_prices": lambda lease: store.save_prices(lease, {"k": 1}),
        "fenced": lambda lease: store.fenced(lease, lambda _: None),
    }


def test_every_write_of_a_driver_that_was_taken_over_stops_it(plan: Plan) -> None:
    """Each method raises LeaseLost, and the database stays as the new driver has it."""
    plan.begin([plan.run_ids[0]])
    _age(plan.store, EXPIRY + 5)
    plan.store.acquire(plan.sweep.id, OTHER)
    before = _everything(plan)
    for name, write in _writes(plan).items():
        with pytest.raises(LeaseLost):
            pytest.fail(f"{name} returned {write(plan.lease)!r}")
    assert _everything(plan) == before


def test_every_method_that_takes_a_lease_is_in_that_list(plan: Plan) -> None:
    """A new write cannot be forgotten."""
    taking = {
        name
        for name, method in vars(Store).items()
        if not name.startswith("_") and "lease" in getattr(method, "__annotations__", {})
    }
    assert taking == set(_writes(plan))


def _everything(plan: Plan) -> tuple[Any, ...]:
    store, sweep_id = plan.store, plan.sweep.id
    return (
        store.cells(sweep_id), store.runs(sweep_id), store.packs(sweep_id),
        store.attempts(sweep_id), store.prices(sweep_id),
        list(store.observations(sweep_id, last_only=False)),
    )  # fmt: skip


def test_of_two_drivers_at_once_one_wins(plan: Plan, opened: Callable[..., Store]) -> None:
    """Acquiring is atomic: eight stores, one lease."""
    plan.store.release(plan.lease)
    won: list[Lease] = []
    lost: list[HeldError] = []

    def race(store: Store, number: int) -> None:
        try:
            won.append(store.acquire(plan.sweep.id, {"host": "h", "pid": number}))
        except HeldError as error:
            lost.append(error)

    stores = [opened() for _ in range(8)]
    threads = [threading.Thread(target=race, args=(s, n)) for n, s in enumerate(stores)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(lost)) == (1, 7)


def test_a_lease_row_deleted_by_hand_comes_back_above_all_epochs(plan: Plan) -> None:
    """The driver that held it stops; the next one gets an epoch that nobody had."""
    plan.store.database.write(lambda connection: connection.execute(delete(LeaseTable)))
    with pytest.raises(LeaseLost):
        plan.store.beat(plan.lease)
    assert plan.store.acquire(plan.sweep.id, OTHER).epoch == plan.lease.epoch + 1


def test_a_killed_driver_of_this_machine_is_known_to_be_dead(store: Store) -> None:
    """The lease of a dead driver need not expire; that of a living driver on this machine must."""
    sweep = store.create_sweep(new_sweep())
    code = "import json; from sweeper.store.lease import here; print(json.dumps(here()))"
    script = [sys.executable, "-c", f"{code}; input()"]
    with subprocess.Popen(script, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        holder = __import__("json").loads(child.stdout.readline())
        first = store.acquire(sweep.id, holder)
        with pytest.raises(HeldError):
            store.acquire(sweep.id, here())
        child.kill()
    found = store.sweep("digits")
    assert found is not None
    assert found.holder is not None
    assert found.holder["expired"]
    assert store.acquire(sweep.id, here()).epoch == first.epoch + 1


@pytest.mark.parametrize(
    "change", [{"machine": "other boot pid:[1]"}, {"machine": ""}, {"host": "h", "machine": None}]
)
def test_a_process_of_an_unknown_machine_is_not_known_to_be_dead(
    store: Store, change: dict[str, Any]
) -> None:
    """Another host, boot or container may have used the same number: the lease has to expire."""
    sweep = store.create_sweep(new_sweep())
    store.acquire(sweep.id, {**here(), "pid": 2**22 + 1, "started": "1", **change})
    with pytest.raises(HeldError):
        store.acquire(sweep.id, here())


def test_a_later_process_with_the_same_number_is_another(store: Store) -> None:
    """Process numbers are used again; the time of the start distinguishes the processes."""
    sweep = store.create_sweep(new_sweep())
    store.acquire(sweep.id, {**here(), "started": "1"})
    assert store.acquire(sweep.id, here()).epoch == 2


def test_here_names_this_process() -> None:
    """Host and pid, for people to find it."""
    assert here()["pid"] == os.getpid()
    assert here()["host"]


def test_a_take_over_reclaims_what_ran(plan: Plan) -> None:
    """Open attempts of earlier drivers end CANCELLED, uncounted; their runs wait again.

    In the transaction that takes the lease: a driver that dies just after it leaves nothing that
    is shown as running under its own, young lease.
    """
    plan.begin(plan.run_ids[:2])
    plan.record(plan.report(plan.run_ids[0], epoch=2, ending=Ending.COMPLETE))
    _age(plan.store, EXPIRY + 5)
    lease = plan.store.acquire(plan.sweep.id, HOLDER)
    assert plan.endings(plan.run_ids[1]) == [Ending.CANCELLED]
    counts = plan.store.counts(plan.sweep.id)
    assert (counts[RunState.COMPLETE], counts[RunState.PENDING]) == (1, 3)
    plan.lease = lease
    plan.begin([plan.run_ids[1]])
    assert plan.endings(plan.run_ids[1]) == [Ending.CANCELLED, None]


def _as_read(plan: Plan) -> tuple[Any, ...]:
    """The first run and its attempt, as each reader sees them."""
    run, counts = plan.run(plan.run_ids[0]), plan.store.counts(plan.sweep.id)
    [attempt] = plan.store.attempts(plan.sweep.id)
    [again] = [r for r in plan.store.runs_of([run.cell_id]) if r.id == run.id]
    assert again == run
    return run.state, run.ending, counts[RunState.RUNNING], counts[RunState.PENDING], attempt.ending


RUNS = (RunState.RUNNING, None, 1, 3, None)
NOBODY_RUNS = (RunState.PENDING, Ending.CANCELLED, 0, 4, Ending.CANCELLED)


@pytest.mark.parametrize("how", ["expired", "deleted"])
def test_every_reader_is_told_that_nobody_runs_what_has_no_driver(plan: Plan, how: str) -> None:
    """A driver that could not write has left rows RUNNING; they are as the next launch leaves them.

    Runs, counts and attempts say the same, before that launch and after it.
    """
    plan.begin([plan.run_ids[0]])
    assert _as_read(plan) == RUNS
    if how == "expired":
        _age(plan.store, EXPIRY + 5)
    else:
        plan.store.database.write(lambda connection: connection.execute(delete(LeaseTable)))
    assert _as_read(plan) == NOBODY_RUNS
    [attempt] = plan.store.attempts(plan.sweep.id)
    assert attempt.ended_at is not None
    assert attempt.ended_at >= attempt.started_at
    plan.store.acquire(plan.sweep.id, HOLDER)
    assert _as_read(plan) == NOBODY_RUNS
    [written] = plan.store.attempts(plan.sweep.id)
    assert written.error == attempt.error


def test_giving_the_lease_back_ends_what_is_open(plan: Plan) -> None:
    """Whatever the driver has forgotten of: no row stays RUNNING under nobody's lease."""
    plan.begin([plan.run_ids[0]])
    plan.store.release(plan.lease)
    query = select(RunTable.state).where(RunTable.id == plan.run_ids[0])
    state = plan.store.database.read(lambda connection: connection.execute(query).scalar_one())
    assert state is RunState.PENDING
    assert plan.endings(plan.run_ids[0]) == [Ending.CANCELLED]


def test_status_tells_who_holds_the_sweep(plan: Plan) -> None:
    """Host, pid, age of the beat, and whether it has expired."""
    _age(plan.store, EXPIRY + 60)
    found = plan.store.sweep("digits")
    assert found is not None
    assert found.holder is not None
    age = found.holder.pop("age")
    assert found.holder == {"host": "elsewhere", "pid": 4242, "expired": True}
    assert 99.0 < age < 130.0
