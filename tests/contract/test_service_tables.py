"""Wishes, the lead and orders: the service's tables, over SQLite and over PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import update
from store_samples import HOLDER, Plan, new_sweep, planned

from sweeper.errors import HeldError, LeaseLost
from sweeper.states import Ending, RunState
from sweeper.store import Store
from sweeper.store.accounts import Accounts
from sweeper.store.leading import Leading
from sweeper.store.lease import EXPIRY
from sweeper.store.orders import OrderBook
from sweeper.store.service_figures import figures
from sweeper.store.service_records import (
    Grant,
    Leadership,
    Needs,
    NewSubmission,
    Orders,
    Owner,
    Priority,
    Role,
    State,
    Submission,
    SubmissionStanding,
    Verb,
    WantedState,
)
from sweeper.store.service_tables import CommandTable, LeaderTable
from sweeper.store.tables import AttemptTable
from sweeper.store.wishes import Wishes, WishRefused, merged

OTHER = {"host": "another", "pid": 17}


def wish(name: str = "digits", **changes: Any) -> NewSubmission:
    given: dict[str, Any] = {
        "name": name,
        "owner": "ann",
        "spec_text": f"name: {name}\n",
        "overrides": ("train.epochs=2",),
        "needs": Needs(workers=2, runs=8, seconds=60.0),
        "key": f"key of {name}",
    }
    return NewSubmission(**{**given, **changes})


@pytest.fixture
def wishes(store: Store) -> Wishes:
    return Wishes(store.database)


@pytest.fixture
def accounts(store: Store) -> Accounts:
    return Accounts(store.database)


@pytest.fixture
def leading(store: Store) -> Leading:
    return Leading(store.database)


def submitted(wishes: Wishes, name: str = "digits", **changes: Any) -> Submission:
    return wishes.submit(wish(name, **changes), who="ann")[0]


def settle(leading: Leading, lead: Leadership, one: Submission, state: State) -> None:
    standing = SubmissionStanding(
        submission_id=one.id, generation=one.generation, state=state, settled=True
    )
    leading.record(lead, standings=[standing])


# --- submissions


def test_a_submission_comes_back_as_it_was_made(wishes: Wishes) -> None:
    """With its place in time, wanted to run, in its first generation."""
    one, fresh = wishes.submit(wish(priority=Priority.HIGH, window=("22:00", "06:00")), who="ann")
    assert fresh
    assert wishes.submission("digits") == one
    assert (one.wanted, one.generation, one.priority) == (WantedState.RUNNING, 1, Priority.HIGH)
    assert one.needs == Needs(workers=2, runs=8, seconds=60.0)
    assert abs(one.created_at - wishes.now()) < 60
    [event] = wishes.events(name="digits")
    assert (event.who, event.what, event.why) == ("ann", "submit", "priority high")


def test_a_repeated_submission_is_one(wishes: Wishes) -> None:
    """The same key gives the first one back, and no second event."""
    first, again = wishes.submit(wish(), who="ann"), wishes.submit(wish(), who="ann")
    assert again == (first[0], False)
    assert len(wishes.submissions()) == len(wishes.events()) == 1


def test_eight_submissions_with_one_key_at_once_are_one(
    opened: Callable[..., Store],
) -> None:
    """The database decides which of them is the first."""
    found: list[tuple[Submission, bool]] = []
    stores = [opened() for _ in range(8)]

    def submit(store: Store) -> None:
        found.append(Wishes(store.database).submit(wish(), who="ann"))

    threads = [threading.Thread(target=submit, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(fresh for _, fresh in found) == [False] * 7 + [True]
    assert len({one.id for one, _ in found}) == 1


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"key": "new"}, "name: 'digits' is submitted already"),
        ({"key": "new", "owner": "bob"}, "name: 'digits' is submitted already"),
        ({"spec_text": "name: digits # changed"}, "key 'key of digits' belongs to your submission"),
        ({"name": "b", "key": "b", "after": "nobody"}, "--after: no sweep named 'nobody'"),
        ({"name": "plain", "key": "b"}, "'plain' that was not submitted"),
    ],
)
def test_a_submission_that_cannot_be_is_refused(
    store: Store, wishes: Wishes, change: dict[str, Any], told: str
) -> None:
    """With the reason and the fix, and nothing is changed."""
    submitted(wishes)
    store.create_sweep(new_sweep("plain"))
    with pytest.raises(WishRefused, match=told):
        wishes.submit(wish(**change), who="ann")
    assert [one.name for one in wishes.submissions()] == ["digits"]
    assert len(wishes.events()) == 1


def test_an_administrator_may_adopt_a_sweep(store: Store, wishes: Wishes) -> None:
    """A sweep of `sweeper launch` becomes one of the service."""
    store.create_sweep(new_sweep())
    assert wishes.submit(wish(), who="root", adopt=True)[1]


# --- commands

COMMANDS: list[tuple[list[tuple[Verb, dict[str, Any]]], WantedState, int]] = [
    ([(Verb.STOP, {})], WantedState.STOPPED, 1),
    ([(Verb.STOP, {}), (Verb.STOP, {})], WantedState.STOPPED, 1),
    ([(Verb.STOP, {}), (Verb.RESUME, {})], WantedState.RUNNING, 2),
    ([(Verb.RESUME, {})], WantedState.RUNNING, 1),
    ([(Verb.CANCEL, {}), (Verb.CANCEL, {})], WantedState.CANCELLED, 3),
    ([(Verb.STOP, {}), (Verb.RETRY, {"reasons": []})], WantedState.RUNNING, 2),
    ([(Verb.PRIORITY, {"priority": "low"})], WantedState.RUNNING, 1),
    ([(Verb.EXTEND, {"set": ["replicates=9"]})], WantedState.RUNNING, 2),
]


@pytest.mark.parametrize(("commands", "wanted", "generation"), COMMANDS)
def test_a_command_changes_the_wish(
    wishes: Wishes,
    commands: list[tuple[Verb, dict[str, Any]]],
    wanted: WantedState,
    generation: int,
) -> None:
    """Only a wish for more work, or for none ever, begins a generation."""
    submitted(wishes)
    for number, (verb, body) in enumerate(commands):
        wishes.command("digits", verb, who="ann", key=str(number), body=body)
    one = wishes.submission("digits")
    assert one is not None
    assert (one.wanted, one.generation) == (wanted, generation)
    assert [event.what for event in wishes.events()[1:]] == [str(verb) for verb, _ in commands]


def test_extending_keeps_the_other_overrides(wishes: Wishes) -> None:
    """Each key has its last value, and the sweep its new needs."""
    submitted(wishes)
    body = {"set": ["replicates=9", "train.epochs = 4"]}
    needs = Needs(workers=2, runs=36)
    wishes.command("digits", Verb.EXTEND, who="ann", key="k", body=body, needs=needs)
    one = wishes.submission("digits")
    assert one is not None
    assert one.overrides == ("train.epochs = 4", "replicates=9")
    assert one.needs == needs
    assert merged(["a=1", "b=2"], ["a=3"]) == ["a=3", "b=2"]


def test_a_command_sent_twice_is_done_once(wishes: Wishes) -> None:
    """By its key, even after other commands: a late repetition does not undo them."""
    submitted(wishes)
    first = wishes.command("digits", Verb.STOP, who="ann", key="stop")
    wishes.command("digits", Verb.RESUME, who="ann", key="resume")
    assert wishes.command("digits", Verb.STOP, who="ann", key="stop") == first
    one = wishes.submission("digits")
    assert one is not None
    assert one.wanted is WantedState.RUNNING
    assert [command.verb for command in wishes.commands("digits")] == [Verb.STOP, Verb.RESUME]
    with pytest.raises(WishRefused, match="belongs to your command stop 'digits'"):
        wishes.command("digits", Verb.CANCEL, who="ann", key="stop")


WISHED = {
    # The order in which four commands come, and what is wanted then.
    (Verb.STOP, Verb.RESUME, Verb.EXTEND): WantedState.RUNNING,
    (Verb.STOP, Verb.EXTEND, Verb.RESUME): WantedState.RUNNING,
    (Verb.RESUME, Verb.STOP, Verb.EXTEND): WantedState.RUNNING,
    (Verb.RESUME, Verb.EXTEND, Verb.STOP): WantedState.STOPPED,
    (Verb.EXTEND, Verb.RESUME, Verb.STOP): WantedState.STOPPED,
    (Verb.EXTEND, Verb.STOP, Verb.RESUME): WantedState.RUNNING,
}


def test_commands_in_any_order_and_again_in_another(wishes: Wishes) -> None:
    """The order in which they first came counts; what a network repeats later changes nothing."""
    for order, wanted in WISHED.items():
        name = "-".join(order)
        submitted(wishes, name)

        def send(verb: Verb, name: str = name) -> object:
            body = {"set": ["replicates=9"]} if verb is Verb.EXTEND else {}
            return wishes.command(name, verb, who="ann", key=f"{verb} {name}", body=body)

        first = {verb: send(verb) for verb in order}
        one = wishes.submission(name)
        assert one is not None
        assert one.wanted is wanted, order
        for again in WISHED:
            assert {verb: send(verb) for verb in again} == first
        assert wishes.submission(name) == one
        assert [command.verb for command in wishes.commands(name)] == list(order)
        assert len(wishes.events(name=name)) == 1 + len(order)


def test_what_is_cancelled_stays_so(wishes: Wishes) -> None:
    """No later command brings it back."""
    submitted(wishes)
    wishes.command("digits", Verb.CANCEL, who="ann", key="c")
    for verb in (Verb.RESUME, Verb.STOP, Verb.RETRY):
        with pytest.raises(WishRefused, match="'digits' is cancelled"):
            wishes.command("digits", verb, who="ann", key=verb)


def test_a_finished_sweep_is_neither_stopped_nor_cancelled(
    wishes: Wishes, leading: Leading
) -> None:
    """Its answer stays; `resume` looks whether anything is missing."""
    one = submitted(wishes)
    settle(leading, leading.take(HOLDER), one, State.COMPLETE)
    for verb in (Verb.STOP, Verb.CANCEL):
        done = wishes.command("digits", verb, who="ann", key=verb)
        assert (done.outcome, done.done_at is None) == ("nothing to do: it is complete", False)
    wishes.command("digits", Verb.RESUME, who="ann", key="r")
    found = wishes.submission("digits")
    assert found is not None
    assert (found.wanted, found.generation) == (WantedState.RUNNING, 2)


def test_a_sweep_that_was_not_submitted_can_only_be_stopped(store: Store, wishes: Wishes) -> None:
    """Its driver reads the command; the nearest name is offered for a misspelt one."""
    store.create_sweep(new_sweep())
    wishes.command("digits", Verb.STOP, who="ann", key="s")
    with pytest.raises(WishRefused, match="only stop is possible"):
        wishes.command("digits", Verb.RESUME, who="ann", key="r")
    with pytest.raises(WishRefused, match="no sweep named 'digit'; did you mean 'digits'"):
        wishes.command("digit", Verb.STOP, who="ann", key="t")
    assert OrderBook(store.database, "digits").read().stop
    assert OrderBook(store.database, "another").read() == Orders()


# --- events, tokens, owners


def test_events_are_read_from_a_number_on(wishes: Wishes) -> None:
    """A reader that was away continues where it stopped."""
    for number in range(5):
        wishes.note(f"s{number % 2}", who="ann", what="test", why=str(number))
    events = wishes.events()
    assert [event.why for event in events] == list("01234")
    assert [event.why for event in wishes.events(after=events[2].id)] == list("34")
    assert [event.why for event in wishes.events(name="s1", most=1)] == ["3"]


def test_a_token_is_valid_until_it_expires_or_is_revoked(accounts: Accounts) -> None:
    """By the database's clock; an unknown one is none."""
    common: dict[str, Any] = {"digest": "d", "label": "laptop", "owner": "ann", "who": "root"}
    for ident, lasts in (("new", None), ("young", 60.0), ("old", -1.0)):
        accounts.add_token(ident=ident, role=Role.READER, lasts_s=lasts, **common)
    valid = [ident for ident in ("new", "young", "old", "none") if accounts.token(ident)]
    assert valid == ["new", "young"]
    accounts.revoke("new", who="root")
    assert accounts.token("new") is None
    with pytest.raises(WishRefused, match="no token 'none'"):
        accounts.revoke("none", who="root")
    assert {token.id for token in accounts.tokens()} == {"new", "young", "old"}


def test_roles_are_ordered() -> None:
    """Each may do what those before it may."""
    allowed = {(a, b) for a in Role for b in Role if a.allows(b)}
    assert allowed == {
        ("reader", "reader"), ("submitter", "reader"), ("submitter", "submitter"),
        ("admin", "reader"), ("admin", "submitter"), ("admin", "admin"),
    }  # fmt: skip


def test_an_owners_limits_are_set_and_set_again(accounts: Accounts) -> None:
    """The last ones hold."""
    accounts.set_owner(Owner(owner="ann", weight=2.0, most_sweeps=3), who="root")
    accounts.set_owner(Owner(owner="ann", weight=1.0, most_hours=5.0), who="root")
    assert accounts.owners() == {"ann": Owner(owner="ann", weight=1.0, most_hours=5.0)}


# --- the lead


def _age(store: Store, seconds: float) -> None:
    query = update(LeaderTable).values(beat_at=LeaderTable.beat_at - seconds)
    store.database.write(lambda connection: connection.execute(query))


def test_one_supervisor_leads(store: Store, leading: Leading) -> None:
    """The second is refused, until the first gives the lead back or is silent."""
    first = leading.take(HOLDER)
    with pytest.raises(HeldError, match="another supervisor leads: elsewhere, pid 4242"):
        leading.take(OTHER)
    leading.release(first)
    second = leading.take(OTHER)
    _age(store, EXPIRY + 5)
    third = leading.take(HOLDER)
    assert (first.epoch, second.epoch, third.epoch) == (1, 2, 3)
    leading.beat(third)


def test_a_supervisor_that_lost_the_lead_writes_nothing(
    store: Store, wishes: Wishes, leading: Leading
) -> None:
    """Each of its writes stops it."""
    one = submitted(wishes)
    old = leading.take(HOLDER)
    started = leading.begin_driver(old, one, rounds=0)
    _age(store, EXPIRY + 5)
    leading.take(OTHER)
    writes: dict[str, Callable[[], Any]] = {
        "beat": lambda: leading.beat(old),
        "release": lambda: leading.release(old),
        "fenced": lambda: leading.fenced(old, lambda _: None),
        "begin_driver": lambda: leading.begin_driver(old, one, rounds=0),
        "name_driver": lambda: leading.name_driver(old, started.id, HOLDER),
        "end_driver": lambda: leading.end_driver(old, started.id, code=0, error="", rounds=0),
        "record": lambda: leading.record(old, grants=[Grant(sweep="digits", workers=2)]),
    }
    taking = {
        name
        for name, method in vars(Leading).items()
        if "lead" in getattr(method, "__annotations__", {})
    }
    assert taking == set(writes)
    for write in writes.values():
        with pytest.raises(LeaseLost, match="another supervisor leads now"):
            write()
    assert wishes.grants() == {}
    assert wishes.drivers(one.id) == [started]


def test_the_scene_has_what_is_not_settled(plan: Plan, wishes: Wishes, leading: Leading) -> None:
    """Wishes and facts of open submissions, and the standing of those that others wait for."""
    lead, done = leading.take(HOLDER), submitted(wishes, "done")
    settle(leading, lead, done, State.COMPLETE)
    wishes.submit(wish("digits"), who="ann", adopt=True)
    submitted(wishes, "next", after="done")
    wishes.command("digits", Verb.STOP, who="ann", key="s")
    scene = leading.scene()
    assert [one.name for one in scene.submissions] == ["digits", "next"]
    assert scene.ended["done"].state is State.COMPLETE
    assert (scene.sweeps["digits"].alive, scene.sweeps["digits"].state) == (True, "interrupted")
    assert [command.verb for command in scene.commands] == [Verb.STOP]
    wishes.command("done", Verb.RESUME, who="ann", key="r")
    assert [one.name for one in leading.scene().submissions] == ["done", "digits", "next"]


def test_a_driver_is_stored_before_it_exists_and_ends_once(
    wishes: Wishes, leading: Leading
) -> None:
    """The first known end counts."""
    one, lead = submitted(wishes), leading.take(HOLDER)
    first = leading.begin_driver(lead, one, rounds=3)
    assert (first.number, first.holder, first.ended_at) == (1, {}, None)
    leading.name_driver(lead, first.id, HOLDER)
    leading.end_driver(lead, first.id, code=1, error="no data", rounds=3)
    leading.end_driver(lead, first.id, code=0, error="", rounds=9)
    second = leading.begin_driver(lead, one, rounds=3)
    leading.end_driver(lead, second.id, code=None, error="", rounds=4)
    found = wishes.drivers(one.id)
    assert [(d.number, d.exit_code, d.error, d.progressed) for d in found] == [
        (1, 1, "no data", False),
        (2, None, "", True),
    ]


def test_usage_adds_up_and_fades(store: Store, wishes: Wishes, leading: Leading) -> None:
    """The recent part halves with time, the total does not."""
    lead = leading.take(HOLDER)
    for _ in range(2):
        leading.record(lead, usage={"ann": 30.0}, half_life_s=3600.0, price=120.0)
    leading.record(lead, usage={"bob": 10.0}, half_life_s=1e-9)
    leading.record(lead, usage={"bob": 10.0}, half_life_s=1e-9)
    found = wishes.usage()
    assert (found["ann"].total, found["ann"].money) == (60.0, 2.0)
    assert 59.0 < found["ann"].recent <= 60.0
    assert (found["bob"].total, round(found["bob"].recent, 3)) == (20.0, 10.0)


def test_the_service_is_counted(store: Store, wishes: Wishes, leading: Leading) -> None:
    """Also before there is anything to count."""
    empty = figures(store.database, bounds=(60.0,))
    assert (empty.submissions, empty.waits, empty.leads, empty.busy) == (
        {},
        ([0], 0, 0.0),
        False,
        0,
    )
    one = submitted(wishes)
    lead = leading.take({**HOLDER, "room": [2.0, 0.0]})
    leading.record(lead, grants=[Grant(sweep="digits", workers=2)])
    leading.begin_driver(lead, one, rounds=0)
    plan = planned(store)
    plan.begin(plan.run_ids[:2])
    found = figures(store.database, bounds=(60.0,))
    assert found.submissions == {("queued", "normal"): 1}
    assert (found.waits[0], found.waits[1], found.room) == ([1], 1, [2.0, 0.0])
    assert (found.leads, found.workers, found.busy, found.driver_starts) == (True, 2, 1, 1)
    assert found.runs == {"pending": 2, "running": 2}
    assert leading.scene().sweeps["digits"].busy == 1


# --- orders


def test_a_driver_reads_its_orders(store: Store, wishes: Wishes, leading: Leading) -> None:
    """Its grant, that it should make room, that somebody stopped it."""
    submitted(wishes)
    lead, book = leading.take(HOLDER), OrderBook(store.database, "digits")
    assert book.read() == Orders()
    leading.record(lead, grants=[Grant(sweep="digits", workers=3)])
    assert book.read() == Orders(workers=3)
    leading.record(lead, grants=[Grant(sweep="digits", workers=3, reason="room for bob")])
    assert book.read() == Orders(stop="room for bob", preempted=True)
    wishes.command("digits", Verb.STOP, who="ann", key="s")
    assert book.read().stop.startswith("stopped by a command")
    wishes.command("digits", Verb.CANCEL, who="ann", key="c")
    assert book.read().stop.startswith("cancelled by a command")


def test_a_grant_of_a_leader_that_was_replaced_does_not_count(
    store: Store, wishes: Wishes, leading: Leading
) -> None:
    """The driver keeps its workers until the new leader has decided."""
    submitted(wishes)
    lead, book = leading.take(HOLDER), OrderBook(store.database, "digits")
    leading.record(lead, grants=[Grant(sweep="digits", workers=3)])
    assert book.read().workers == 3
    leading.record(lead, grants=[Grant(sweep="digits", workers=3, reason="room")])
    leading.release(lead)
    new = leading.take(OTHER)
    assert book.read() == Orders(workers=3)
    leading.record(new, grants=[Grant(sweep="digits", workers=1)])
    assert book.read() == Orders(workers=1)
    leading.record(new, withdrawn=["digits"])
    assert book.read() == Orders(workers=1)


def test_a_grants_age_counts_from_no_workers(wishes: Wishes, leading: Leading) -> None:
    """More or fewer workers do not begin the minimum run time again; a drain ends it."""
    lead = leading.take(HOLDER)
    since: list[float] = []
    for workers, reason in ((1, ""), (2, ""), (2, "room"), (1, "")):
        leading.record(lead, grants=[Grant(sweep="digits", workers=workers, reason=reason)])
        since.append(wishes.grants()["digits"].since)
    assert since[0] == since[1] == since[2] < since[3]


def test_a_command_to_try_again_is_done_by_the_driver_once(plan: Plan, wishes: Wishes) -> None:
    """In one transaction with its outcome; only runs that ended for the named reasons."""
    wishes.submit(wish(), who="ann", adopt=True)
    failed, diverged = plan.run_ids[:2]
    plan.begin([failed, diverged])
    for run, ending in ((failed, Ending.BAD_CONFIG), (diverged, Ending.DIVERGED)):
        plan.record(plan.report(run, value=None, ending=ending))
    body = {"reasons": ["diverged"]}
    wishes.command("digits", Verb.RETRY, who="ann", key="r", body=body)
    assert plan.store.retry_asked(plan.lease, "digits") == 1
    assert plan.store.retry_asked(plan.lease, "digits") == 0
    assert plan.run(failed).state is RunState.FAILED
    assert plan.run(diverged).state is RunState.PENDING
    [command] = wishes.commands("digits")
    assert (command.outcome, command.done_at is None) == ("1 runs are tried again", False)


def test_the_hours_of_a_retry_count_from_when_it_was_asked_for(plan: Plan, wishes: Wishes) -> None:
    """A driver that does it late tries the same runs again."""
    wishes.submit(wish(), who="ann", adopt=True)
    for run in plan.run_ids[:2]:
        plan.begin([run])
        plan.record(plan.report(run, value=None, ending=Ending.DIVERGED))
    wishes.command("digits", Verb.RETRY, who="ann", key="r", body={"reasons": [], "hours": 2.0})
    first = update(AttemptTable).where(AttemptTable.run_id == plan.run_ids[0])
    for earlier in (
        first.values(ended_at=AttemptTable.ended_at - 4 * 3600),
        update(CommandTable).values(asked_at=CommandTable.asked_at - 3 * 3600),
    ):
        plan.store.database.write(lambda connection, query=earlier: connection.execute(query))
    assert plan.store.retry_asked(plan.lease, "digits") == 2
