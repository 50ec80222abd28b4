"""Messages about events, over SQLite and over PostgreSQL: written with the event, sent once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from receiving import mailbox
from sqlalchemy import update
from store_samples import HOLDER, planned

from sweeper.errors import LeaseLost
from sweeper.service.messages import Addressees, Messenger
from sweeper.service.receivers import owners_receiver
from sweeper.states import Ending
from sweeper.store import Store
from sweeper.store.leading import Leading
from sweeper.store.lease import EXPIRY
from sweeper.store.outbox import CLAIM_S, FAILURE, Outbox, digest
from sweeper.store.service_records import Leadership, NewSubmission, Notice
from sweeper.store.service_tables import LeaderTable, MessageTable
from sweeper.store.service_watch import work_of
from sweeper.store.wishes import Wishes

OWN = "https://hooks.example.org/ann"


@pytest.fixture
def wishes(store: Store) -> Wishes:
    found = Wishes(store.database)
    for name, notify in (("a", (OWN,)), ("b", ())):
        new = NewSubmission(name=name, owner="ann", spec_text="", notify=notify, key=name)
        found.submit(new, who="ann")
    return found


def happened(store: Store, *names: str, receivers: tuple[str, ...] = ("r",)) -> Leadership:
    """Lets sweeps be complete, as the supervisor writes it."""
    leading = Leading(store.database)
    lead = leading.take(HOLDER)
    events = [(name, "complete", "2 runs") for name in names]
    leading.record(lead, events=events, receivers=receivers)
    leading.release(lead)
    return lead


def test_a_message_is_written_with_its_event(store: Store, wishes: Wishes) -> None:
    """One to each receiver of the server and of the submission, with the same id; else none."""
    leading = Leading(store.database)
    lead = leading.take(HOLDER)
    events = [("a", "complete", "2 runs"), ("a", "running", "starts"), ("b", "drain", "")]
    leading.record(lead, events=events, receivers=("r", "s"))
    listed = Outbox(store.database).messages("a")
    assert [one.receiver for one in listed] == ["r", "s", digest(OWN)]
    assert len({one.body["id"] for one in listed}) == 1
    body = listed[0].body
    assert (body["event"], body["owner"], body["reason"]) == ("finished", "ann", "2 runs")
    assert Outbox(store.database).messages("b") == []
    assert [event.what for event in wishes.events()[2:]] == ["running", "drain", "complete"]


def test_a_leader_that_was_replaced_writes_neither_event_nor_message(
    store: Store, wishes: Wishes
) -> None:
    """Both belong to one transaction, under the lead."""
    leading = Leading(store.database)
    lead = leading.take(HOLDER)
    old = update(LeaderTable).values(beat_at=LeaderTable.beat_at - EXPIRY - 5)
    store.database.write(lambda connection: connection.execute(old))
    Leading(store.database).take({"host": "another", "pid": 17})
    with pytest.raises(LeaseLost):
        leading.record(lead, events=[("a", "complete", "")], receivers=("r",))
    assert Outbox(store.database).messages("a") == []
    assert [event.what for event in wishes.events()] == ["submit", "submit"]


def test_a_notice_is_given_once(store: Store, wishes: Wishes) -> None:
    """Though two supervisors find it, and the first one again."""
    notice = Notice(sweep="b", what=FAILURE, why="crashed", key="failure:2:crashed")
    leading = Leading(store.database)
    for _ in range(3):
        lead = leading.take(HOLDER)
        leading.record(lead, notices=[notice, notice], receivers=("r",))
        leading.release(lead)
    assert len(Outbox(store.database).messages("b")) == 1
    assert [event.what for event in wishes.events(name="b")] == ["submit", FAILURE]


def test_two_senders_send_each_message_once(opened: Callable[..., Store], wishes: Wishes) -> None:
    """Only one of them wins a message."""
    with mailbox() as box:
        receiver = owners_receiver(box.url)
        happened(opened(), *"ab" * 8, receivers=(receiver.id,))
        stores = [opened() for _ in range(2)]
        addressees = Addressees(owners=(receiver,))
        senders = [Messenger(Outbox(one.database), addressees) for one in stores]

        def work(sender: Messenger) -> None:
            while sender.step():
                pass

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(work, senders))
        assert len(box.keys) == len(set(box.keys)) == 16


def test_a_claim_without_an_outcome_runs_out(store: Store, wishes: Wishes) -> None:
    """Then the message may be claimed again, by one sender; a late outcome changes nothing."""
    happened(store, "b")
    box = Outbox(store.database)
    [one] = box.due(most=9)
    assert box.claim(one, body=one.body)
    assert not box.claim(one, body=one.body)
    assert box.due(most=9) == []
    older = update(MessageTable).values(next_at=MessageTable.next_at - CLAIM_S - 1)
    store.database.write(lambda connection: connection.execute(older))
    [again] = box.due(most=9)
    assert (again.sending, again.tries) == (True, 1)
    assert box.claim(again, body=one.body)
    box.failed(one, outcome="too late", wait_s=0.0)
    box.received(again)
    box.received(one, outcome="later still")
    [done] = box.messages("b")
    assert (done.outcome, done.sending, box.waiting()) == ("received", False, 0)


def test_progress_and_failures_are_seen(store: Store) -> None:
    """Rounds with ended runs, and the first error of each reason that counts."""
    plan = planned(store)
    assert work_of(store.database, ["digits", "nothing"])["digits"].rounds == 0
    plan.begin(plan.run_ids[:2])
    plan.record(plan.report(plan.run_ids[0], epoch=2))
    plan.record(plan.report(plan.run_ids[1], epoch=1, ending=Ending.DIVERGED, error="nan"))
    work = work_of(store.database, ["digits"])["digits"]
    assert (work.rounds, work.failures) == (4, {"diverged": "nan"})
