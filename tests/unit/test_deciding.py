"""What the supervisor decides: a scene of wishes and facts, and what follows from it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sweeper.service.deciding import NextSteps, Site, decide
from sweeper.service.fair import Supply
from sweeper.store.leading import Scene, SweepFact
from sweeper.store.service_records import (
    Command,
    DriverStart,
    Grant,
    Needs,
    Owner,
    Priority,
    State,
    Submission,
    SubmissionStanding,
    Usage,
    Verb,
    WantedState,
)

NOW, EPOCH = 1_000_000.0, 3
SITE = Site(room=Supply(2.0), epoch=EPOCH, minute=12 * 60)


def wish(name: str = "a", number: int = 1, **changes: Any) -> Submission:
    given: dict[str, Any] = {
        "id": number, "owner": "ann", "spec_text": "", "key": name, "needs": Needs(workers=1),
        "wanted": WantedState.RUNNING, "generation": 1, "created_at": NOW - 3600 + number,
        "updated_at": NOW,
    }  # fmt: skip
    return Submission(name=name, **{**given, **changes})


def start(one: Submission, number: int = 1, **changes: Any) -> DriverStart:
    """A driver of the submission; it has ended if `code` is given."""
    given: dict[str, Any] = {
        "id": 100 * one.id + number, "submission_id": one.id, "number": number,
        "generation": one.generation, "epoch": EPOCH, "holder": {}, "started_at": NOW - 60,
        "ended_at": None, "exit_code": None, "error": "", "rounds_before": 0, "rounds_after": None,
    }  # fmt: skip
    if "code" in changes:
        changes["exit_code"] = changes.pop("code")
        given |= {"ended_at": NOW - 400, "rounds_after": 0}
    return DriverStart(**{**given, **changes})


def scene(*submissions: Submission, drivers: Any = (), **changes: Any) -> Scene:
    starts: dict[int, list[DriverStart]] = {}
    for driver in drivers:
        starts.setdefault(driver.submission_id, []).append(driver)
    given: dict[str, Any] = {
        "now": NOW, "submissions": list(submissions), "standings": {}, "drivers": starts,
        "sweeps": {}, "grants": {}, "usage": {}, "owners": {}, "commands": [], "ended": {},
    }  # fmt: skip
    return Scene(**{**given, **changes})


def granted(*names: str, workers: int = 1, since: float = NOW - 3600) -> dict[str, Grant]:
    return {name: Grant(sweep=name, workers=workers, epoch=EPOCH, since=since) for name in names}


def standing(found: NextSteps, one: Submission) -> SubmissionStanding:
    [only] = [it for it in found.standings if it.submission_id == one.id]
    return only


def test_nothing_is_wanted_and_nothing_happens() -> None:
    """An empty queue stores nothing."""
    assert decide(scene(), SITE).empty


def test_waiting_sweeps_start_while_there_is_room() -> None:
    """With a grant before the start; the rest waits, and says for what."""
    listed = [wish("a", 1), wish("b", 2), wish("c", 3)]
    found = decide(scene(*listed), SITE)
    assert [one.name for one in found.starts] == ["a", "b"]
    assert [(grant.sweep, grant.workers) for grant in found.grants] == [("a", 1), ("b", 1)]
    waits = standing(found, listed[2])
    assert (waits.state, waits.reason) == (State.QUEUED, "waits for workers that others use")
    assert found.events == [("a", "running", "starts"), ("b", "running", "starts")]


ENDS: list[tuple[list[dict[str, Any]], State, str]] = [
    ([{"code": 0}], State.COMPLETE, ""),
    ([{"code": 3, "error": "2 runs failed"}], State.FAILURES, "2 runs failed"),
    ([{"code": 4, "error": "too many"}], State.HALTED, "too many"),
    ([{"code": 2, "error": "no data"}], State.ATTENTION, "no data"),
    ([{"code": 1, "error": "x"}] * 5, State.ATTENTION, "5 starts without progress; the last: x"),
    ([{"code": None}] * 5, State.ATTENTION, "5 starts without progress; the last: "),
    ([{"code": -9}] * 4, State.RUNNING, "starts"),
    ([{"code": 1, "rounds_after": 7}, *[{"code": 1}] * 3], State.RUNNING, "starts"),
    ([{"code": 130}] * 9, State.RUNNING, "starts"),
    ([{"code": 5}] * 9, State.RUNNING, "starts"),
    ([{"code": 6}] * 9, State.RUNNING, "starts"),
    ([{"code": 1}, *[{"code": 6}] * 9, *[{"code": 1}] * 3], State.RUNNING, "starts"),
]


@pytest.mark.parametrize(("ends", "state", "reason"), ENDS)
def test_the_exit_code_decides(ends: list[dict[str, Any]], state: State, reason: str) -> None:
    """A driver that was asked to stop, or that found another, has not failed."""
    one = wish()
    drivers = [start(one, number, **end) for number, end in enumerate(ends, 1)]
    found = decide(scene(one, drivers=drivers), SITE)
    got = standing(found, one)
    assert (got.state, got.reason) == (state, reason)
    assert got.settled == (state is not State.RUNNING)
    assert bool(found.starts) == (state is State.RUNNING)


@pytest.mark.parametrize(("failed", "waits"), [(1, 5), (2, 10), (3, 20), (4, 40)])
def test_after_a_failed_start_the_next_one_waits(failed: int, waits: int) -> None:
    """5 s, doubling; progress begins it again."""
    one = wish()
    for ago, starts in ((waits - 1, False), (waits + 1, True)):
        for code in (1, 6):
            ends = [start(one, n, code=code, ended_at=NOW - ago) for n in range(1, failed + 1)]
            found = decide(scene(one, drivers=ends), SITE)
            assert bool(found.starts) == starts, (code, ago)
    ends = [start(one, 1, code=1), start(one, 2, code=1, rounds_after=4, ended_at=NOW - 6)]
    assert decide(scene(one, drivers=ends), SITE).starts


def test_a_new_wish_forgets_the_failures_of_the_last() -> None:
    """Resume after "needs attention" starts at once."""
    one = wish(generation=2)
    ends = [start(one, n, code=1, generation=1, ended_at=NOW - 1) for n in range(1, 6)]
    assert decide(scene(one, drivers=ends), SITE).starts


WISHES: list[tuple[WantedState, bool, State, bool]] = [
    (WantedState.STOPPED, False, State.STOPPED, True),
    (WantedState.CANCELLED, False, State.CANCELLED, True),
    (WantedState.STOPPED, True, State.STOPPING, False),
    (WantedState.CANCELLED, True, State.STOPPING, False),
    (WantedState.RUNNING, True, State.RUNNING, False),
]


@pytest.mark.parametrize(("wanted", "live", "state", "settled"), WISHES)
def test_what_is_stopped_does_not_start(
    wanted: WantedState, live: bool, state: State, settled: bool
) -> None:
    """A driver that runs reads the wish itself; nothing starts in its place."""
    one = wish(wanted=wanted)
    drivers = [start(one)] if live else []
    found = decide(scene(one, drivers=drivers), SITE)
    got = standing(found, one)
    assert (got.state, got.settled) == (state, settled)
    assert not found.starts


def test_a_driver_that_finished_as_the_stop_came_has_finished() -> None:
    """The fact counts, not the wish; the command is answered with it."""
    one = wish(wanted=WantedState.STOPPED)
    asked = Command(
        id=7, sweep="a", verb=Verb.STOP, body={}, who="ann", key="k", asked_at=NOW,
        done_at=None, outcome="",
    )  # fmt: skip
    found = decide(scene(one, drivers=[start(one, code=0)], commands=[asked]), SITE)
    assert standing(found, one).state is State.COMPLETE
    assert found.done == {7: "complete"}


def test_a_sweep_that_a_terminal_runs_is_live() -> None:
    """Its lease says so, without any driver of the supervisor's."""
    one = wish()
    fact = SweepFact(name="a", alive=True, state="running", reason="", updated_at=NOW)
    found = decide(scene(one, sweeps={"a": fact}), SITE)
    assert not found.starts
    assert standing(found, one).state is State.RUNNING


def test_a_change_of_the_spec_drains_the_driver_of_the_old_one() -> None:
    """Once it has ended, the next one starts with the new spec."""
    one = wish(generation=2)
    found = decide(scene(one, drivers=[start(one, generation=1)], grants=granted("a")), SITE)
    assert [(grant.workers, grant.reason) for grant in found.grants] == [
        (1, "it starts again, as was asked for")
    ]
    assert not found.starts


def test_a_higher_class_drains_a_lower_one_and_waits_for_its_end() -> None:
    """The workers are given on only when they are free."""
    needs = Needs(workers=2)
    old, high = wish("old", 1, needs=needs), wish("high", 2, priority=Priority.HIGH, needs=needs)
    has = {"drivers": [start(old)], "grants": granted("old", workers=2)}
    found = decide(scene(old, high, **has), SITE)
    [grant] = found.grants
    assert (grant.sweep, grant.workers) == ("old", 2)
    assert grant.reason == "preempted: it makes room for high (ann, high)"
    asked = {**has, "grants": {"old": replace(grant, epoch=EPOCH, since=NOW - 3600)}}
    for again in (found, decide(scene(old, high, **asked), SITE)):
        assert not again.starts
        assert standing(again, high).reason == "next; others finish their round first"
    assert not again.grants
    young = {**has, "grants": granted("old", workers=2, since=NOW - 10)}
    [kept] = decide(scene(old, high, **young), SITE).grants
    assert (kept.sweep, kept.workers, kept.reason) == ("old", 1, "")


@pytest.mark.parametrize(("busy", "given"), [(0, 2), (1, 2), (2, 1), (3, 0)])
def test_a_worker_that_still_has_a_pack_is_not_given_on(busy: int, given: int) -> None:
    """A sweep that was given fewer workers lets them go after the round, not before."""
    old = wish("old", 1, needs=Needs(workers=3))
    new = wish("new", 2, priority=Priority.HIGH, needs=Needs(workers=2))
    site = replace(SITE, room=Supply(3.0))
    fact = SweepFact(name="old", alive=True, state="", reason="", updated_at=NOW, busy=busy)
    has = {"drivers": [start(old)], "grants": granted("old"), "sweeps": {"old": fact}}
    found = {it.sweep: it.workers for it in decide(scene(old, new, **has), site).grants}
    assert found.get("new", 0) == given
    assert max(busy, found.get("old", 1)) + given <= 3


def test_a_sweep_that_lost_workers_gets_back_those_that_it_still_has() -> None:
    """Nobody else waits any more: its grant grows again, though no worker is free."""
    one, site = wish(needs=Needs(workers=3)), replace(SITE, room=Supply(3.0))
    fact = SweepFact(name="a", alive=True, state="", reason="", updated_at=NOW, busy=3)
    has = {"drivers": [start(one)], "grants": granted("a"), "sweeps": {"a": fact}}
    [grant] = decide(scene(one, **has), site).grants
    assert grant.workers == 3


def test_a_sweep_grows_into_workers_that_are_free() -> None:
    """Those of a sweep that still has to end come later."""
    one = wish("a", 1, needs=Needs(workers=4))
    leaving = wish("b", 2, wanted=WantedState.STOPPED)
    site, has = replace(SITE, room=Supply(4.0)), granted("a") | granted("b", workers=2)
    both = scene(one, leaving, drivers=[start(one), start(leaving)], grants=has)
    assert [(it.sweep, it.workers) for it in decide(both, site).grants] == [("a", 2)]
    low = wish("b", 2, priority=Priority.LOW, needs=Needs(workers=2))
    ended = scene(one, low, drivers=[start(one), start(low)], grants=has)
    found = {it.sweep: (it.workers, bool(it.reason)) for it in decide(ended, site).grants}
    assert found == {"a": (2, False), "b": (2, True)}


def test_a_grant_follows_a_change_of_leader() -> None:
    """The new leader writes it again, under its own epoch, and otherwise leaves it alone."""
    one = wish()
    running = scene(one, drivers=[start(one)], grants=granted("a"))
    assert not decide(running, SITE).grants
    [grant] = decide(running, replace(SITE, epoch=EPOCH + 1)).grants
    assert grant.workers == 1


def test_grants_of_sweeps_that_no_longer_run_are_withdrawn() -> None:
    """A launch from a terminal is not bound by what is over."""
    one = wish()
    found = decide(scene(one, drivers=[start(one, code=0)], grants=granted("a", "gone")), SITE)
    assert found.withdrawn == ["a", "gone"]


@pytest.mark.parametrize(
    ("state", "waits"),
    [
        (None, "waits for b to finish"),
        (State.COMPLETE, ""),
        (State.FAILURES, ""),
        (State.STOPPED, "waits for b, which is stopped"),
        (State.ATTENTION, "waits for b, which is attention"),
    ],
)
def test_a_sweep_waits_for_the_one_before_it(state: State | None, waits: str) -> None:
    """Until it has finished, with or without failures."""
    one, before = wish("a", 1, after="b"), wish("b", 2)
    if state is None:
        found = decide(scene(one, before, drivers=[start(before)]), SITE)
    else:
        ended = SubmissionStanding(submission_id=2, generation=1, state=state, settled=True)
        found = decide(scene(one, ended={"b": ended}), SITE)
    got = standing(found, one)
    assert (got.reason, bool(found.starts)) == ((waits, False) if waits else ("starts", True))


@pytest.mark.parametrize(
    ("window", "minute", "inside"),
    [
        (("22:00", "06:00"), 23 * 60, True),
        (("22:00", "06:00"), 5 * 60 + 59, True),
        (("22:00", "06:00"), 6 * 60, False),
        (("09:30", "17:00"), 9 * 60 + 29, False),
        (("09:30", "17:00"), 9 * 60 + 30, True),
    ],
)
def test_a_sweep_runs_in_its_hours(window: tuple[str, str], minute: int, inside: bool) -> None:
    """Outside of them it waits, and a running one is drained."""
    one, site = wish(window=window), replace(SITE, minute=minute)
    assert bool(decide(scene(one), site).starts) == inside
    found = decide(scene(one, drivers=[start(one)], grants=granted("a")), site)
    assert [grant.workers for grant in found.grants] == ([] if inside else [1])


def test_a_sweep_without_progress_is_drained_and_needs_attention() -> None:
    """Resume tries again; one that got further meanwhile only waits at its place."""
    one, why = wish(), "no progress for 4.0 h"
    site = replace(SITE, stalled={"a": why})
    found = decide(scene(one, drivers=[start(one)], grants=granted("a")), site)
    assert [(grant.workers, grant.reason) for grant in found.grants] == [(1, why)]
    ended = start(one, code=130, error=why)
    got = standing(decide(scene(one, drivers=[ended]), SITE), one)
    assert (got.state, got.reason, got.settled) == (State.ATTENTION, why, True)
    assert decide(scene(replace(one, generation=2), drivers=[ended]), SITE).starts
    assert decide(scene(one, drivers=[replace(ended, rounds_after=3)]), SITE).starts


def test_limits_hold_a_sweep_back_and_say_so() -> None:
    """By number of sweeps, by hours used, by money spent, and by workers."""
    running, waiting = wish("a", 1), wish("b", 2, needs=Needs(workers=2))
    base = {"drivers": [start(running)], "grants": granted("a")}
    cases: list[tuple[dict[str, Any], dict[str, Any], str]] = [
        ({"most_sweeps": 1}, {}, "waits for another sweep of ann: 1 at a time"),
        ({"most_hours": 2.0}, {"total": 7200.0}, "ann has used 2.0 of 2 hours"),
        ({"most_money": 9.5}, {"money": 9.5}, "ann has spent 9.50 of 9.50"),
        ({"most_workers": 1}, {}, "waits for workers of ann: 1 at most"),
    ]
    for limits, used, reason in cases:
        found = decide(
            scene(
                running, waiting, owners={"ann": Owner(owner="ann", **limits)},
                usage={"ann": Usage(owner="ann", at=NOW, **used)}, **base,
            ),
            SITE,
        )  # fmt: skip
        assert standing(found, waiting).reason == reason
        assert not found.starts
    owners = {"ann": Owner(owner="ann", most_workers=1)}
    [grant] = decide(scene(waiting, owners=owners), SITE).grants
    assert grant.workers == 1


def test_an_owner_gets_no_more_workers_than_the_limit() -> None:
    """Over all sweeps together, those that still have to end included; others get the rest."""
    listed = [wish(name, number, needs=Needs(workers=4)) for number, name in enumerate("abc", 1)]
    other = wish("d", 9, owner="bob", needs=Needs(workers=4))
    owners = {"ann": Owner(owner="ann", most_workers=5)}
    site = replace(SITE, room=Supply(16.0))
    found = decide(scene(*listed, other, owners=owners), site)
    assert [(grant.sweep, grant.workers) for grant in found.grants] == [
        ("a", 4), ("b", 1), ("d", 4),
    ]  # fmt: skip
    leaving = wish("x", 8, wanted=WantedState.STOPPED)
    held = scene(
        *listed, leaving, owners=owners, drivers=[start(leaving)], grants=granted("x", workers=3)
    )
    assert [(one.sweep, one.workers) for one in decide(held, site).grants] == [("a", 2)]


def test_a_running_sweep_is_drained_when_its_owner_has_used_everything() -> None:
    """After its round; it waits then, and goes on when the limit is raised."""
    one, owners = wish(), {"ann": Owner(owner="ann", most_hours=1.0)}
    usage = {"ann": Usage(owner="ann", total=3600.0, at=NOW)}
    given = {"drivers": [start(one)], "grants": granted("a"), "usage": usage}
    found = decide(scene(one, owners=owners, **given), SITE)
    assert [grant.reason for grant in found.grants] == ["ann has used 1.0 of 1 hours"]
    assert standing(found, one).reason == "finishes the round: ann has used 1.0 of 1 hours"
    ended = {**given, "drivers": [start(one, code=130)], "grants": {}}
    waits = decide(scene(one, owners=owners, **ended), SITE)
    assert standing(waits, one).reason == "ann has used 1.0 of 1 hours"
    assert not waits.starts
    raised = {"ann": Owner(owner="ann", most_hours=2.0)}
    assert decide(scene(one, owners=raised, **ended), SITE).starts


def test_a_sweep_that_no_machine_has_room_for_says_so() -> None:
    """And does not hold back the others."""
    big, small = wish("big", 1, needs=Needs(workers=1, gpus=1.0)), wish("small", 2)
    found = decide(scene(big, small), SITE)
    assert standing(found, big).reason == "no room: a worker needs 1 CPU and 1 GPU"
    assert [one.name for one in found.starts] == ["small"]


def test_the_same_scene_gives_the_same_steps_and_then_none() -> None:
    """What is stored already is not stored again."""
    one, two = wish("a", 1), wish("b", 2, wanted=WantedState.STOPPED)
    first = decide(scene(one, two), SITE)
    assert first == decide(scene(one, two), SITE)
    after = scene(
        one, two, drivers=[start(one)], grants=granted("a"),
        standings={it.submission_id: replace(it, reason="" if it.submission_id == 1 else it.reason)
                   for it in first.standings},
    )  # fmt: skip
    assert decide(after, SITE).empty
