"""Orders of the service reach a launch: it stops, makes room, and keeps to its grant."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from patience import eventually
from store_samples import planned

from sweeper.engine.interrupts import Interrupts
from sweeper.engine.obedience import Crew, Obedience
from sweeper.engine.worker_pool import PooledWorker, WorkerPool
from sweeper.errors import DatabaseLost
from sweeper.store import Store
from sweeper.store.service_records import Orders, Verb
from sweeper.store.wishes import Wishes


def looked(*orders: Orders | Exception) -> tuple[Interrupts, Crew]:
    """What a launch knows after these answers of the database."""
    interrupts, crew, nowhere = Interrupts(), Crew(), Any
    obedience = Obedience(nowhere, "s", interrupts, crew)  # type: ignore[arg-type]
    for one in orders:

        def read(one: Orders | Exception = one) -> Orders:
            if isinstance(one, Exception):
                raise one
            return one

        obedience.look(read)
    return interrupts, crew


def test_without_a_service_nothing_is_wanted() -> None:
    """As many workers as there is room for, and no end."""
    interrupts, crew = looked(Orders())
    assert (interrupts.count, interrupts.reason, crew.limit) == (0, "", None)


def test_an_order_to_stop_is_a_first_signal_with_a_reason() -> None:
    """The first reason counts, and no order ever counts as a second signal."""
    interrupts, _ = looked(
        Orders(stop="room for bob", preempted=True), Orders(stop="stopped by ann")
    )
    assert (interrupts.count, interrupts.reason, interrupts.preempted) == (1, "room for bob", True)
    interrupts, _ = looked(Orders(stop="stopped by ann"))
    assert (interrupts.count, interrupts.preempted) == (1, False)


def test_a_signal_of_the_user_comes_first() -> None:
    """A launch that was stopped in its terminal says so."""
    interrupts = Interrupts()
    interrupts.count = 1
    interrupts.request("stopped by ann", preempted=False)
    assert (interrupts.count, interrupts.reason) == (1, "")


def test_a_grant_changes_the_crew_and_an_outage_does_not() -> None:
    """Orders that cannot be read leave everything as it is."""
    assert looked(Orders(workers=3))[1].limit == 3
    assert looked(Orders(workers=3), DatabaseLost("away"))[1].limit == 3
    assert looked(Orders(workers=3), Orders())[1].limit is None


def test_a_command_reaches_a_launch_through_the_database(tmp_path: Any) -> None:
    """Read in a thread, over a connection of its own."""
    with Store.open(f"sqlite:///{tmp_path}/a.db", create=True) as store:
        planned(store)
        interrupts, crew = Interrupts(), Crew()
        with Obedience(store.database, "digits", interrupts, crew):
            Wishes(store.database).command("digits", Verb.STOP, who="ann", key="k")
            eventually(lambda: interrupts.count, "the command was not read")
    assert interrupts.reason == "stopped by a command of the service"


# --- the number of workers


class Actor:
    """Takes every call and never answers."""

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(remote=lambda *a: object())


class Jobs:
    """A source that always has a job."""

    draining = False

    def __init__(self) -> None:
        self.given: list[str] = []

    def next_job(self, worker: PooledWorker) -> Any:
        self.given.append(worker.id)
        return object()


def pool_of(
    number: int, *, limit: int | None, room: int = 4
) -> tuple[WorkerPool, list[PooledWorker]]:
    """A pool of idle workers, with room for four."""
    pool: Any = WorkerPool.__new__(WorkerPool)
    node: Any = SimpleNamespace(id="n", name="n")
    made = [PooledWorker(one, Actor(), node, now=0.0) for one in range(number)]
    for worker in made:
        worker.ready, worker.call = True, None
        worker.kill = lambda: None
    pool._workers = {worker.id: worker for worker in made}
    pool._limit = lambda: limit
    pool._terms = SimpleNamespace(joined=False)
    pool._room = SimpleNamespace(total=room, usable=lambda node: True, lives=lambda node: True)
    return pool, made


def test_the_crew_is_as_large_as_granted() -> None:
    """At least one, at most what there is room for."""
    for limit, room in ((None, 4), (3, 3), (9, 4), (1, 1)):
        assert pool_of(0, limit=limit)[0].room == room


def test_only_as_many_workers_get_a_job_as_are_granted() -> None:
    """A worker above the number gets none, and is given back."""
    pool, made = pool_of(4, limit=2)
    jobs: Any = Jobs()
    pool._hand_out(jobs)
    assert len(jobs.given) == 2
    left = [worker for worker in made if not worker.busy]
    assert [pool._give_back(worker, 0.0, 0) for worker in left] == [True, True]
    assert not any(pool._give_back(worker, 0.0, 0) for worker in made if worker.busy)


def test_a_larger_grant_lets_idle_workers_work() -> None:
    """From the next turn of the loop on."""
    pool, made = pool_of(3, limit=None)
    jobs: Any = Jobs()
    pool._hand_out(jobs)
    assert len(jobs.given) == 3
    assert all(worker.busy for worker in made)
