"""The rules of the queue: class first, fair between owners, first come, and none for ever."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.service.fair import (
    HOUR,
    ArrivalStream,
    FairPolicy,
    QueueEntry,
    Supply,
    arrival_streams,
    forecast,
    shares,
)
from sweeper.store.service_records import Priority

POLICY, NOW = FairPolicy(), 1_000_000.0
HIGH, NORMAL, LOW = Priority.HIGH, Priority.NORMAL, Priority.LOW


def entry(name: str, owner: str = "ann", *, age: float = 100.0, **changes: Any) -> QueueEntry:
    given: dict[str, Any] = {
        "priority": NORMAL, "worker": Supply(1.0), "most": 8, "seconds": HOUR
    }  # fmt: skip
    return QueueEntry(name=name, owner=owner, since=NOW - age, **{**given, **changes})


def shared(*entries: QueueEntry, **changes: Any) -> dict[str, int]:
    given: dict[str, Any] = {"usage": {}, "weights": {}, "room": Supply(4.0)}
    return shares(entries, now=NOW, policy=POLICY, **{**given, **changes})


@pytest.mark.parametrize(
    ("share", "gpus", "workers"),
    [(0.25, 1, 4), (0.1, 1, 10), (0.4, 2, 4), (0.6, 2, 2), (0.34, 3, 6), (1.0, 3, 3), (2.0, 5, 2)],
)
def test_a_share_of_a_gpu_is_of_one_gpu(share: float, gpus: int, workers: int) -> None:
    """What several GPUs have left over does not add up to room for another worker."""
    one, room = Supply(1.0, share), Supply(100.0, float(gpus))
    assert room.times(one) == workers
    assert room.less(one, workers - 1).fits(one)
    assert not room.less(one, workers).fits(one)
    assert shared(entry("a", worker=one, most=99), room=room) == {"a": workers}


@pytest.mark.parametrize(
    ("entries", "found"),
    [
        ([], {}),
        ([entry("a")], {"a": 4}),
        ([entry("a", most=2)], {"a": 2}),
        ([entry("a", most=3), entry("b")], {"a": 3, "b": 1}),
        ([entry("b", age=5), entry("a", age=6)], {"a": 4}),
        ([entry("a"), entry("b", "bob")], {"a": 2, "b": 2}),
        ([entry("a"), entry("b", "bob", most=1)], {"a": 3, "b": 1}),
        ([entry("a"), entry("b", "bob", priority=HIGH)], {"b": 4}),
        ([entry("a"), entry("b", priority=HIGH, most=1)], {"a": 3, "b": 1}),
        ([entry("a", priority=LOW), entry("b", age=1)], {"b": 4}),
    ],
)
def test_workers_go_by_class_then_owner_then_time(
    entries: list[QueueEntry], found: dict[str, int]
) -> None:
    """Four workers, and what each sweep gets of them."""
    assert shared(*entries) == found


def test_the_owner_who_has_used_less_goes_first() -> None:
    """An hour of a worker counts as much as an hour used before; weights divide both."""
    both = (entry("a"), entry("b", "bob"))
    assert shared(*both, usage={"ann": 100 * HOUR}) == {"b": 4}
    assert shared(*both, usage={"ann": 1.5 * HOUR}) == {"a": 1, "b": 3}
    assert shared(*both, weights={"ann": 3.0}) == {"a": 3, "b": 1}


def test_a_gpu_costs_what_it_costs() -> None:
    """Workers with two GPUs count twice, and only GPUs that are free are given."""
    two = {"worker": Supply(1.0, 2.0), "cost": 2.0}
    one = entry("b", "bob", worker=Supply(1.0, 1.0))
    found = shared(entry("a", **two), one, room=Supply(100.0, 6.0))
    assert found == {"a": 2, "b": 2}


def test_a_sweep_that_needs_more_than_is_free_does_not_hold_others_back() -> None:
    """And what it needs is kept for nobody else that comes later in its class."""
    big = entry("big", worker=Supply(3.0), most=1)
    assert shared(big, entry("small", age=1), room=Supply(4.0)) == {"big": 1, "small": 1}
    assert shared(entry("never", worker=Supply(9.0)), entry("b", age=1)) == {"b": 4}


def test_age_raises_the_class() -> None:
    """A day for each class, so that a stream of higher sweeps cannot starve a lower one."""
    day = POLICY.ageing_s
    fresh = entry("fresh", "bob", priority=HIGH)
    for age, first in ((1.9 * day, "fresh"), (2.1 * day, "old")):
        found = shared(fresh, entry("old", priority=LOW, age=age, most=2), room=Supply(2.0))
        assert set(found) == ({"fresh"} if first == "fresh" else {"fresh", "old"})
    own = entry("own", priority=HIGH)
    assert shared(own, entry("old", priority=LOW, age=2.1 * day)) == {"old": 4}


def test_a_young_sweep_keeps_one_worker() -> None:
    """For the minimum run time; then it makes room for a higher class."""
    high = entry("high", "bob", priority=HIGH)
    young = entry("young", workers=4, granted_at=NOW - 60)
    assert shared(high, young) == {"high": 3, "young": 1}
    old = entry("old", workers=4, granted_at=NOW - POLICY.min_run_s)
    assert shared(high, old) == {"high": 4}


entries = st.builds(
    entry,
    st.sampled_from([f"s{n}" for n in range(40)]),
    st.sampled_from(["ann", "bob", "cem"]),
    age=st.floats(0, 1e6),
    priority=st.sampled_from(list(Priority)),
    most=st.integers(1, 9),
    worker=st.builds(Supply, st.sampled_from([1.0, 2.0, 0.5]), st.sampled_from([0.0, 1.0])),
    workers=st.integers(0, 2),
    granted_at=st.floats(NOW - 2000, NOW),
)


@given(
    st.lists(entries, unique_by=lambda one: one.name, max_size=12),
    st.builds(Supply, st.integers(0, 12).map(float), st.integers(0, 6).map(float)),
    st.dictionaries(st.sampled_from(["ann", "bob"]), st.floats(0, 1e6)),
)
def test_what_is_handed_out_is_there_and_nothing_useful_is_left(
    listed: list[QueueEntry], room: Supply, usage: dict[str, float]
) -> None:
    """No more than the room, at most what a sweep can use, and no worker idle that fits one."""
    found = shares(listed, room=room, usage=usage, weights={}, now=NOW, policy=POLICY)
    named = {one.name: one for one in listed}
    left = room
    for name, number in found.items():
        assert 0 < number <= named[name].most
        left = left.less(named[name].worker, number)
    assert left.cpus > -1e-6
    assert left.gpus > -1e-6
    for one in listed:
        assert found.get(one.name, 0) == one.most or not left.fits(one.worker)
    again = shares(listed[::-1], room=room, usage=usage, weights={}, now=NOW, policy=POLICY)
    assert again == found  # the order of the list means nothing


def foreseen(*entries: QueueEntry, **changes: Any) -> dict[str, float]:
    given: dict[str, Any] = {
        "usage": {}, "weights": {}, "now": NOW, "policy": POLICY, "room": Supply(4.0)
    }  # fmt: skip
    return {name: round(at) for name, at in forecast(entries, **{**given, **changes}).items()}


def test_the_start_of_a_waiting_sweep_is_foreseen() -> None:
    """By the ends of those before it; a sweep that nothing holds back starts now."""
    running = entry("a", workers=4, granted_at=NOW - HOUR, most=4, seconds=4 * HOUR)
    first, second = entry("b", age=50, most=4), entry("c", age=40, most=4)
    assert foreseen(running, first, second) == {"b": 3600, "c": 3600 + 900}
    assert foreseen(entry("b")) == {"b": 0}
    assert foreseen(running, entry("never", worker=Supply(9.0))) == {}


def test_new_sweeps_of_higher_classes_are_foreseen_as_they_came_lately() -> None:
    """One of 20 minutes each half hour goes first; those of the same class or lower do not."""
    running = entry("a", workers=4, granted_at=NOW - HOUR, most=4, seconds=4 * HOUR)
    waiting = entry("b", age=50, most=4)
    often = ArrivalStream(gap_s=10.0, seconds=9 * HOUR, most=4, worker=Supply(1.0))
    lower = {Priority.NORMAL: often, Priority.LOW: often}
    assert foreseen(running, waiting, arriving=lower) == {"b": 3600}
    high = ArrivalStream(gap_s=HOUR / 2, seconds=4 * HOUR / 3, most=4, worker=Supply(1.0))
    found = foreseen(running, waiting, arriving={Priority.HIGH: high})
    # "a" has worked for an hour after 30 minutes and 10 of each later half hour.
    assert found == {"b": 3600 + 4 * 1200}
    assert foreseen(entry("c"), arriving={Priority.HIGH: high}) == {"c": 0}


def test_streams_are_the_means_of_what_has_come() -> None:
    """By class; a class of which nothing came has none."""
    listed = [(entry("a", seconds=10.0, most=1), 1), (entry("b", seconds=25.0, most=4), 2)]
    assert arrival_streams(listed, window_s=150.0) == {
        Priority.NORMAL: ArrivalStream(gap_s=50.0, seconds=20.0, most=3, worker=Supply(1.0))
    }


def test_ten_thousand_waiting_sweeps_all_get_a_forecast() -> None:
    """Those far behind by the work before them, in order."""
    many = [entry(f"{n:05}", f"o{n % 3}", age=10_000 - n, most=4) for n in range(10_000)]
    found = forecast(many, room=Supply(4.0), usage={}, weights={}, now=NOW, policy=POLICY)
    assert len(found) == 10_000
    far = [found[f"{n:05}"] for n in range(5000, 10_000)]
    assert far == sorted(far)
