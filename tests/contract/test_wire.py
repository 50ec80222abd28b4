"""A network between driver and PostgreSQL that drops, holds or delays, as seen by the store."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from patience import FOR_EVER, HANG, eventually
from proxy import Cut, Proxy, proxied
from servers import Server
from sqlalchemy import text, update
from store_samples import HOLDER, Plan, planned

from sweeper.errors import DatabaseLost, HeldError, LeaseLost, NothingStored, SweeperError
from sweeper.states import Ending, RunState
from sweeper.store import Store, answers, dialects
from sweeper.store import store as store_module
from sweeper.store.glance import Glances, reading
from sweeper.store.lease import EXPIRY
from sweeper.store.tables import LeaseTable


@pytest.fixture
def proxy(postgresql: Server) -> Iterator[Proxy]:
    with proxied(postgresql) as one:
        yield one


@pytest.fixture
def plan(postgresql: Server, proxy: Proxy) -> Iterator[Plan]:
    """A planned sweep that is reached through the proxy, with its runs begun."""
    url = proxy.through(postgresql.make_database())
    with Store.open(url, create=True, patience=HANG) as store:
        plan = planned(store)
        plan.begin()
        yield plan


def in_the_background(work: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """A thread that does it, and what came of it."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(work())
        except SweeperError as error:
            found.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, found


@pytest.mark.parametrize("passed", [True, False], ids=["committed", "not committed"])
def test_30_a_connection_dropped_at_commit_is_an_unknown_commit(
    plan: Plan, proxy: Proxy, passed: bool
) -> None:
    """Whether the server has committed or not, the result is recorded once."""
    first = plan.run_ids[0]
    proxy.cut = Cut(b"COMMIT", passed=passed)
    plan.record(plan.report(first, epoch=1, value=0.25))
    assert proxy.cut.left == 0
    proxy.cut = Cut(b"COMMIT", passed=passed)
    states = plan.record(plan.report(first, epoch=2, ending=Ending.COMPLETE))
    assert proxy.cut.left == 0
    assert states == {first: RunState.COMPLETE}
    assert plan.epochs(first) == [1, 2]
    assert plan.endings(first) == [Ending.COMPLETE]
    assert plan.run(first).seconds == 2.0


@pytest.mark.parametrize("passed", [True, False], ids=["committed", "not committed"])
def test_30_an_attempt_whose_commit_was_dropped_is_begun_once(
    plan: Plan, proxy: Proxy, passed: bool
) -> None:
    """The number of its attempt is the first free one, and no other was made."""
    plan.record(*(plan.report(run, value=None, ending=Ending.CANCELLED) for run in plan.run_ids))
    proxy.cut = Cut(b"COMMIT", passed=passed)
    made = plan.begin()
    numbers = {a.id: a.number for a in plan.store.attempts(plan.sweep.id)}
    assert {numbers[attempt] for attempt in made.values()} == {2}
    assert len(numbers) == 2 * len(plan.run_ids)


def test_33_a_statement_that_nobody_answers_is_cut_and_tried_again(
    plan: Plan, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A partition that the system's own limits do not notice: the proxy acknowledges every byte."""
    monkeypatch.setattr(store_module, "LIMIT_SECONDS", 0.5)
    plan.store.attend(lambda: False)
    proxy.hold()
    proxy.let_go()  # for connections to come; what was sent on this one is never answered
    plan.record(plan.report(plan.run_ids[0], ending=Ending.COMPLETE))
    assert plan.run(plan.run_ids[0]).state is RunState.COMPLETE


def test_33_a_server_that_accepts_and_says_nothing_is_asked_again(
    plan: Plan, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that is never made is as transient as a statement that is never answered."""
    monkeypatch.setattr(store_module, "LIMIT_SECONDS", 0.5)
    plan.store.attend(lambda: False)
    proxy.hold()
    report = plan.report(plan.run_ids[0], ending=Ending.COMPLETE)
    waiting, found = in_the_background(lambda: plan.record(report))
    met = plan.store.database._outages[False]
    eventually(lambda: "timeout expired" in str(met.error), "no connection was tried")
    assert not found
    proxy.let_go()
    waiting.join(timeout=HANG)
    assert found == [{plan.run_ids[0]: RunState.COMPLETE}]


def test_33_a_page_is_told_that_nobody_answers(
    plan: Plan, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its question ends as when the database is away, and the next one is answered."""
    monkeypatch.setattr(store_module, "LIMIT_SECONDS", 0.5)
    url = plan.store.database.address.url.render_as_string(hide_password=False)
    with reading(url) as store:
        glances = Glances(store.database, plan.sweep.name)
        assert glances.take()[1] is not None
        proxy.hold()
        with pytest.raises(DatabaseLost, match="does not answer"):
            glances.take()
        proxy.let_go()
        assert glances.take()[1] is not None
        with pytest.raises(NothingStored):
            Glances(store.database, "another").take()


def test_33_a_beat_does_not_wait_for_a_statement_that_hangs(
    plan: Plan, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A beat has a connection of its own, and does not wait for the connection that hangs."""
    monkeypatch.setattr(store_module, "LIMIT_SECONDS", FOR_EVER)
    insists = threading.Event()
    plan.store.attend(insists.is_set)
    proxy.hold()
    proxy.let_go()
    report = plan.report(plan.run_ids[0], ending=Ending.COMPLETE)
    hanging, found = in_the_background(lambda: plan.record(report))
    eventually(lambda: plan.store._answers and plan.store._answers._waiting, "nothing was sent")
    plan.store.beat(plan.lease)
    assert hanging.is_alive()
    insists.set()
    hanging.join(timeout=HANG)
    assert [type(one) for one in found] == [DatabaseLost]


def test_33_who_insists_does_not_ask_a_database_again_that_is_away(
    plan: Plan, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each further write ends at once with the same words, without a new connection."""
    monkeypatch.setattr(store_module, "LIMIT_SECONDS", FOR_EVER)
    monkeypatch.setattr(answers, "HURRIED_SECONDS", 0.0)
    plan.store.attend(lambda: True)
    proxy.hold()
    with pytest.raises(DatabaseLost, match="does not answer") as first:
        plan.store.release(plan.lease)
    connections = len(proxy._wires)
    with pytest.raises(DatabaseLost) as again:
        plan.store.release(plan.lease)
    assert str(again.value) == str(first.value)
    assert len(proxy._wires) == connections


def test_33_a_transaction_that_was_lost_does_not_keep_its_lock(
    postgresql: Server, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server ends what waits for a client that is gone, and the lease can be renewed again."""
    monkeypatch.setattr(dialects, "IDLE_SECONDS", 0.5)
    url = postgresql.make_database()
    over = threading.Event()
    with (
        Store.open(proxy.through(url), create=True) as lost,
        Store.open(url, create=False, patience=HANG) as store,
    ):
        plan = planned(store)
        lost.database.patience, store.pulse.patience = 0.0, HANG

        def takes_the_lock(_: Any) -> None:
            proxy.hold()  # from here on neither a commit nor a farewell gets through
            over.wait()

        in_the_background(lambda: lost.fenced(plan.lease, takes_the_lock))
        eventually(lambda: not proxy.flows(), "the lock was never taken")
        store.beat(plan.lease)
        over.set()
        proxy.resume()


@pytest.mark.parametrize(
    "state", ["40001", "40P01", "25006", "57014", "57P01", "57P05", "25P03", "53300", "08006"]
)
def test_32_what_a_server_fails_with_for_a_moment_is_tried_again(
    postgresql: Server, state: str
) -> None:
    """Serialisation failures, deadlocks, cancelled statements, a standby, restarts, no room."""
    raised: list[str] = []
    with Store.open(postgresql.emptied_database(), create=True) as store:

        def work(connection: Any) -> str:
            if not raised:
                raised.append(state)
                body = f"RAISE EXCEPTION 'injected' USING ERRCODE = '{state}';"
                connection.execute(text(f"DO $$ BEGIN {body} END $$"))
            return "done"

        assert store.database.write(work) == "done"
    assert raised == [state]


def _read_only(url: str, value: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute("SET default_transaction_read_only = off")
        connection.execute(
            f"ALTER DATABASE {name} SET default_transaction_read_only = {value}".encode()
        )
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def test_33_a_failover_is_waited_for(postgresql: Server) -> None:
    """A server that allows reading only, as a new primary does at first, is asked again.

    With no patience left the message says what it is.
    """
    url = postgresql.make_database()
    with Store.open(url, create=True, patience=HANG) as store:
        plan = planned(store)
        plan.begin()
        _read_only(url, "on")
        report = plan.report(plan.run_ids[0], ending=Ending.COMPLETE)
        waiting, found = in_the_background(lambda: plan.record(report))
        met = store.database._outages[False]
        eventually(lambda: "allows reading only" in str(met.error), "nothing was refused")
        _read_only(url, "off")
        waiting.join(timeout=HANG)
        assert found == [{plan.run_ids[0]: RunState.COMPLETE}]
        _read_only(url, "on")
        store.database.patience = 0.0
        for said in ("terminating connection", "allows reading only"):
            with pytest.raises(DatabaseLost, match=said):
                store.save_prices(plan.lease, {})


def test_50_a_driver_that_was_cut_off_for_too_long_is_taken_over(
    postgresql: Server, proxy: Proxy
) -> None:
    """Its lease expires by the database's clock; what it sends when it is back changes nothing."""
    url = postgresql.make_database()
    with (
        Store.open(proxy.through(url), create=True, patience=HANG) as cut_off,
        Store.open(url, create=False) as other,
    ):
        plan = planned(cut_off)
        plan.begin()
        with pytest.raises(HeldError):
            other.acquire(plan.sweep.id, HOLDER)
        proxy.hold()
        report = plan.report(plan.run_ids[0], value=0.25, ending=Ending.COMPLETE)
        late, found = in_the_background(lambda: plan.record(report))
        expire = update(LeaseTable).values(beat_at=LeaseTable.beat_at - 2 * EXPIRY)
        other.database.write(lambda connection: connection.execute(expire))
        lease = other.acquire(plan.sweep.id, HOLDER)
        proxy.resume()
        late.join(timeout=HANG)
        assert [type(one) for one in found] == [LeaseLost]
        mine = Plan(other, plan.sweep, lease, plan.cells, plan.run_ids, plan.pack)
        mine.begin()
        mine.record(mine.report(plan.run_ids[0], value=0.75, ending=Ending.COMPLETE))
        assert mine.endings(plan.run_ids[0]) == [Ending.CANCELLED, Ending.COMPLETE]
        assert mine.run(plan.run_ids[0]).value == 0.75
